"""System calls in the running process itself.

`LocalSyscall` is the one `SyscallInterface` that needs no other process. All its coroutines finish without
ever suspending, so an event loop is not necessary: `coro.send(None)` runs one to its end.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import weakref
from _thread import get_ident
from collections.abc import Sequence
from typing import SupportsInt

from rsyscall.native import ForkedProcessError, WrongThreadError, destructor, fast
from rsyscall.near.abi import SYS
from rsyscall.near.record import CallRecord
from rsyscall.near.sysif import MAX_ERRNO, Syscall, SyscallInterface, as_syscalls, error_of_call

__all__ = ["ForkedProcessError", "LocalSyscall", "WrongThreadError"]

logger: logging.Logger = logging.getLogger(__name__)

_syscall = fast.syscall
_recorded_syscall = fast.recorded_syscall

# No thread has these as its ident: idents are addresses.
_UNBOUND = 0
_FORKED = -1
_THREAD_ENDED = -2


class LocalSyscall(SyscallInterface):
    """Makes system calls in the running OS thread, at once: a call that blocks, blocks the whole event loop.

    An instance belongs to the OS thread that first uses it: many system calls act on the calling thread, and
    what the layers above know about the process would be wrong in another one. On any other
    thread it raises `WrongThreadError`, and in a child made by `os.fork` it raises `ForkedProcessError`; make
    a new instance there.

    Args:
        log_calls: log every call and its result at debug level. The default is whether the logger of this
            module is enabled for debug now: asking it again for each call would take a good part of the time
            of the call.
    """

    __slots__ = ("__weakref__", "_ident", "_thread_name", "_tid", "log_calls")

    immediate = True
    shares_memory = True

    def __init__(self, log_calls: bool | None = None) -> None:
        self.log_calls: bool = logger.isEnabledFor(logging.DEBUG) if log_calls is None else log_calls
        self._ident = _UNBOUND
        self._tid = 0
        self._thread_name = ""

    @property
    def unused(self) -> bool:
        """Whether it belongs to no OS thread yet."""
        return self._ident == _UNBOUND

    def __repr__(self) -> str:
        return f"LocalSyscall({self._describe_owner() if self._tid else 'not used yet'})"

    async def syscall(
        self,
        number: SYS,
        arg1: SupportsInt = 0,
        arg2: SupportsInt = 0,
        arg3: SupportsInt = 0,
        arg4: SupportsInt = 0,
        arg5: SupportsInt = 0,
        arg6: SupportsInt = 0,
    ) -> int:
        """Make one system call in the running thread; never suspends, and is not a checkpoint.

        Raises:
            OSError: the kernel refused the call.
            WrongThreadError: this is not the thread that this interface belongs to.
            ForkedProcessError: this is not the process that this interface belongs to.

        manpage: syscall(2)
        """
        if get_ident() != self._ident:
            self._bind()
        if self.log_calls:
            return self._logged_syscall(Syscall(number, arg1, arg2, arg3, arg4, arg5, arg6))
        result = _syscall(number, arg1, arg2, arg3, arg4, arg5, arg6)
        if result < 0:
            return _check_negative(result, number)
        return result

    async def recorded_syscall(
        self,
        record: CallRecord,
        number: SYS,
        arg1: SupportsInt = 0,
        arg2: SupportsInt = 0,
        arg3: SupportsInt = 0,
        arg4: SupportsInt = 0,
        arg5: SupportsInt = 0,
        arg6: SupportsInt = 0,
    ) -> int:
        """As `syscall`; `record` has the outcome too, even if an exception comes at any moment."""
        if get_ident() != self._ident:
            self._bind()
        if self.log_calls:
            return self._logged_syscall(Syscall(number, arg1, arg2, arg3, arg4, arg5, arg6), record)
        result = _recorded_syscall(record, number, arg1, arg2, arg3, arg4, arg5, arg6)
        if result < 0:
            return _check_negative(result, number)
        return result

    async def syscalls(self, calls: Sequence[Syscall], linked: bool = False) -> list[int]:
        """Make several system calls in order; see `SyscallInterface.syscalls`. Never suspends."""
        if get_ident() != self._ident:
            self._bind()
        results: list[int] = []
        calls = as_syscalls(calls)
        for call in calls:
            result = _syscall(*call)
            results.append(result)
            if linked and -MAX_ERRNO <= result < 0:
                results += [-errno.ECANCELED] * (len(calls) - len(results))
                break
        if self.log_calls:
            for call, result in zip(calls, results, strict=True):
                logger.debug("%s -> %d", call, result)
        return results

    def check_owner(self) -> None:
        """Raise unless this OS thread owns this interface; the first thread that asks becomes the owner."""
        if get_ident() != self._ident:
            self._bind()

    async def close_interface(self) -> None:
        """Do nothing: a thread can always make calls in itself."""

    def get_activity_fd(self) -> object | None:
        """None: no other thread sends calls to this thread."""
        return None

    async def read_memory(self, address: SupportsInt, length: int) -> bytes:
        """Copy `length` bytes from our own memory. Nothing checks whether the range is readable."""
        if get_ident() != self._ident:
            self._bind()
        return fast.read_memory(int(address), length)

    async def write_memory(self, address: SupportsInt, data: bytes) -> None:
        """Copy `data` into our own memory. Nothing checks whether the range is writable."""
        if get_ident() != self._ident:
            self._bind()
        fast.write_memory(int(address), data)

    def _logged_syscall(self, call: Syscall, record: CallRecord | None = None) -> int:
        logger.debug("%s", call)
        result = _recorded_syscall(record, call.number, *call.args())
        logger.debug("%s -> %d", call, result)
        return result if result >= 0 else _check_negative(result, call.number)

    def _bind(self) -> None:
        """Make the running thread the owner, or raise the error that says why it cannot be."""
        if self._ident == _FORKED:
            raise ForkedProcessError(
                f"this LocalSyscall belongs to {self._describe_owner()} of the process that forked this one "
                f"(which is process {os.getpid()}); make a new LocalSyscall here"
            )
        if self._ident != _UNBOUND:
            ended = ", which has ended" if self._ident == _THREAD_ENDED else ""
            raise WrongThreadError(
                f"this LocalSyscall belongs to {self._describe_owner()}{ended}; it was used on "
                f"{_describe_thread(threading.current_thread().name, threading.get_native_id())}"
            )
        self._thread_name = threading.current_thread().name
        self._tid = threading.get_native_id()
        self._ident = get_ident()
        _bound.add(self)
        _end_of_thread().owned.add(self)

    def _disown(self, reason: int) -> None:
        """Take the interface from its thread, for this reason. One that was forked stays marked as that."""
        if self._ident != _FORKED:
            self._ident = reason

    def _describe_owner(self) -> str:
        return _describe_thread(self._thread_name, self._tid)


def _describe_thread(name: str, tid: int) -> str:
    return f"thread {tid} ({name})"


def _check_negative(result: int, number: SupportsInt) -> int:
    """Raise the error that a negative result stands for; return any other as an unsigned number."""
    if result >= -MAX_ERRNO:
        raise error_of_call(result, number)
    return result + 2**64


class _EndOfThread:
    """Lives in the locals of a thread, and disowns the interfaces of the thread when it ends.

    Otherwise a later thread that gets the same ident would pass for their owner.
    """

    def __init__(self) -> None:
        self.owned: weakref.WeakSet[LocalSyscall] = weakref.WeakSet()

    @destructor
    def __del__(self) -> None:
        for interface in getattr(self, "owned", ()):
            interface._disown(_THREAD_ENDED)


_thread_locals = threading.local()
_bound: weakref.WeakSet[LocalSyscall] = weakref.WeakSet()


def _end_of_thread() -> _EndOfThread:
    try:
        marker = _thread_locals.marker
    except AttributeError:
        marker = _thread_locals.marker = _EndOfThread()
    assert isinstance(marker, _EndOfThread)
    return marker


def _mark_forked() -> None:
    """In the child of a fork: disown all interfaces that belong to threads of the parent."""
    for interface in _bound:
        interface._disown(_FORKED)
    _bound.clear()


os.register_at_fork(after_in_child=_mark_forked)
