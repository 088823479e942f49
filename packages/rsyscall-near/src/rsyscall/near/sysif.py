"""Sending a system call to a process: the interface that everything above is built on, and its errors.

There are two kinds of failure. When the kernel refuses a call, an ordinary `OSError` is raised, and the
connection to the process still works. When the connection is broken, a `SyscallError` is raised, by this call
and by every later one.
"""

from __future__ import annotations

import abc
import errno
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsInt

from rsyscall.near.abi import ABI, SYS, native_abi

if TYPE_CHECKING:
    from rsyscall.near.record import CallRecord

__all__ = [
    "MemoryRead",
    "MemoryWrite",
    "Step",
    "Syscall",
    "SyscallError",
    "SyscallHangup",
    "SyscallInterface",
    "SyscallSendError",
    "UnusableSyscallInterface",
    "as_syscalls",
    "error_of",
    "error_of_call",
    "raise_if_error",
]

MAX_ERRNO = 4095
"""The kernel returns an error as a number from -4095 to -1; anything else, even if negative, is a result."""


class SyscallError(Exception):
    """The interface is broken for good: this call failed because of it and every later one will."""


class SyscallHangup(SyscallError):
    """The call was sent and the connection broke before its result arrived.

    It is unknown whether it was executed. It is what a successful `execve` or `exit` looks like.

    Attributes:
        results: of a submission of several calls, the raw results of those that were answered.
    """

    results: Sequence[int] = ()


class SyscallSendError(SyscallError):
    """The call could not be sent: it was certainly not executed."""


def raise_if_error(response: int) -> None:
    """Raise the `OSError` that a raw result of the kernel stands for, if it stands for one.

    Args:
        response: what the kernel returned: -4095 to -1 is an error number, negated.

    Raises:
        OSError: of the subclass that belongs to the error number, such as `FileNotFoundError`.
    """
    if -MAX_ERRNO <= response < 0:
        raise OSError(-response, os.strerror(-response))


def error_of(result: int) -> OSError:
    """The error that a negative raw result stands for.

    Args:
        result: -4095 to -1 from a kernel. A process that lies may say anything: then the error is EPROTO.
    """
    if -MAX_ERRNO <= result < 0:
        return OSError(-result, os.strerror(-result))
    return OSError(errno.EPROTO, f"the process says that the result of the call is {result}")


def error_of_call(result: int, number: SupportsInt) -> OSError:
    """The error of a call. That of one which is missing says which one it is, and which kernels have it.

    Args:
        result: the error number, negated: -4095 to -1.
        number: of the call, a member of `SYS`; of any other number the name is not known.
    """
    text = os.strerror(-result)
    if result == -errno.ENOSYS:
        text += _missing(getattr(number, "name", ""))
    return OSError(-result, text)


def _missing(name: str) -> str:
    try:
        # Few programs need it, and one whose files are gone does without.
        from rsyscall.near.calls import BOOK
    except ImportError:
        return f": {name}"
    row = BOOK.get(name)
    return "" if row is None else f": {name}, in Linux since {row.since}" if row.since else f": {name}"


class Syscall(NamedTuple):
    """One system call: its number and up to six arguments."""

    number: SYS
    arg1: SupportsInt = 0
    arg2: SupportsInt = 0
    arg3: SupportsInt = 0
    arg4: SupportsInt = 0
    arg5: SupportsInt = 0
    arg6: SupportsInt = 0

    def args(self) -> tuple[int, int, int, int, int, int]:
        """The six arguments as integers."""
        return (
            int(self.arg1),
            int(self.arg2),
            int(self.arg3),
            int(self.arg4),
            int(self.arg5),
            int(self.arg6),
        )

    def __str__(self) -> str:
        """`name(a, b)`: trailing arguments that are the number 0 are left out."""
        args = [self.arg1, self.arg2, self.arg3, self.arg4, self.arg5, self.arg6]
        while args and isinstance(args[-1], int) and args[-1] == 0:
            args.pop()
        # str() of an IntEnum member is its number since Python 3.11
        name = getattr(self.number, "name", self.number)
        return f"{name}({', '.join(map(str, args))})"


class MemoryWrite(NamedTuple):
    """Bytes for the memory of a process, as one of several steps."""

    address: SupportsInt
    data: bytes


class MemoryRead(NamedTuple):
    """Bytes of the memory of a process, as one of several steps."""

    address: SupportsInt
    length: int


Step = Syscall | MemoryWrite | MemoryRead
"""One of the steps of `SyscallInterface.steps`."""


def as_syscalls(calls: Sequence[Syscall]) -> list[Syscall]:
    """Check the calls given to `SyscallInterface.syscalls`, and return each as a `Syscall`.

    A plain tuple of a number and up to six arguments is accepted.

    Raises:
        TypeError: one of them is something else.
    """
    return [call if isinstance(call, Syscall) else _as_syscall(call) for call in calls]


def _as_syscall(call: object) -> Syscall:
    if not isinstance(call, tuple):
        raise TypeError(
            f"a system call is a Syscall, a tuple of a number and up to 6 arguments, not {call!r}"
        )
    if not 1 <= len(call) <= 7:
        raise TypeError(f"a system call takes a number and up to 6 arguments, got {len(call)} in all")
    return Syscall(*call)


class SyscallInterface(abc.ABC):
    """A way to make system calls in one process: this one, a child, or one on another host.

    An implementation promises: a call is never sent, or its caller waits until it has the result or knows
    that the connection is broken; not even cancellation makes it return earlier. For almost every call has
    effects that the caller has to know of: it has opened a descriptor, reaped a child, taken bytes out of a
    pipe. To interrupt a call that is running, act on the process: after a signal the call fails with EINTR,
    and when the process is killed it raises `SyscallHangup`. Calls sent through one interface are executed in
    the order in which they were sent.
    """

    __slots__ = ()

    abi: ABI = native_abi()
    """The ABI of the process behind this interface."""

    immediate: bool = False
    """Whether the OS thread that asks makes the calls itself, so that awaiting one never suspends."""

    shares_memory: bool = False
    """Whether the process is known to share our memory, so that its addresses are valid here."""

    borrows_memory: bool = False
    """Whether the process shares the memory of a program that goes on when the process has left it. Such a
    process is refused the calls that `rsyscall.near.address_space` calls lasting."""

    pipelines: bool = False
    """Whether `steps` costs one round trip, however many steps there are."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "syscall" in cls.__dict__ and "recorded_syscall" not in cls.__dict__:
            # An inherited one would make its calls without the new `syscall`.
            cls.recorded_syscall = SyscallInterface.recorded_syscall  # type: ignore[method-assign]

    @abc.abstractmethod
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
        """Make one system call in the target and wait for its result.

        Args:
            number: which call; if the target has another architecture, it is translated by name.
            arg1: the arguments, anything that `int()` takes; negative numbers are passed in two's complement.

        Returns:
            The result, which is not negative.

        Raises:
            OSError: the kernel refused the call.
            SyscallSendError: the call was not executed, since the target cannot be reached.
            SyscallHangup: the target was lost after the call was sent.
            UnsupportedSyscallError: the architecture of the target does not have this call; nothing was sent.

        manpage: syscall(2)
        """

    async def syscalls(self, calls: Sequence[Syscall], linked: bool = False) -> list[int]:
        """Make several system calls, in order, as one submission.

        Args:
            calls: the calls; each a `Syscall`, or a plain tuple of a number and up to six arguments (type
                checkers accept only the first).
            linked: after a call that fails, do not make the others: their result is ECANCELED. Otherwise each
                is made whether those before it succeeded or not.

        Returns:
            For every call what the kernel returned, unchanged: -4095 to -1 is an error number, negated (see
            `raise_if_error`).

        Raises:
            TypeError: something in `calls` is neither. None was executed.
            SyscallSendError: the target was lost before the first call; none was executed.
            SyscallHangup: the target was lost later; the results that did arrive are in its `results`.
        """
        results: list[int] = []
        calls = as_syscalls(calls)
        for call in calls:
            try:
                result = await self.syscall(
                    call.number, call.arg1, call.arg2, call.arg3, call.arg4, call.arg5, call.arg6
                )
            except OSError as error:
                if error.errno is None:
                    raise
                result = -error.errno
            except SyscallError as error:
                if not results:
                    raise
                hangup = SyscallHangup("the process was lost in the course of several calls")
                hangup.results = results
                raise hangup from error
            results.append(result)
            if linked and -MAX_ERRNO <= result < 0:
                results += [-errno.ECANCELED] * (len(calls) - len(results))
                break
        return results

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
        """As `syscall`; what comes of the call is in `record` too, also when an exception comes in between.

        An interface that knows the moment when a call is made and that of its answer overrides this. Here a
        call counts as made from the beginning, unless it is cancelled, and what it has made is lost when an
        exception comes between the answer and this method. (A class that overrides only `syscall` gets this
        method, even if it inherits another one.)
        """
        record.begin(number, arg1, arg2, arg3, arg4, arg5, arg6)
        try:
            result = await self.syscall(number, arg1, arg2, arg3, arg4, arg5, arg6)
        except OSError as error:
            if error.errno is not None:  # else it is not the kernel's
                record.answer(-error.errno)
            raise
        except SyscallSendError:
            record.unsent()
            raise
        except (KeyboardInterrupt, GeneratorExit, Exception):
            raise
        except BaseException:
            record.unsent()  # cancelled, so it was not sent
            raise
        record.answer(result)
        return result

    async def steps(
        self, steps: Sequence[Step], linked: bool = False, record: CallRecord | None = None, recorded: int = 0
    ) -> list[int | bytes]:
        """Make calls and move memory, in order, as one submission.

        Args:
            steps: what to do; no call among them makes the process leave its memory or changes credentials.
                `MAX_TRANSFER` of the protocol limits each transfer.
            linked: after a call or a write that fails make no call: its result is ECANCELED. Memory is moved
                all the same.
            record: of the call that is step `recorded`; see `recorded_syscall`.
            recorded: which step that is.

        Returns:
            For every step what came of it: the bytes that were read; of others the number that the kernel
            returned, and of those that failed, of any kind, the error number, negated.

        Raises:
            SyscallError: as `syscalls`.
        """
        results: list[int | bytes] = []
        failed = False
        for index, step in enumerate(steps):
            result: int | bytes
            try:
                if isinstance(step, MemoryRead):
                    result = await self.read_memory(*step)
                elif isinstance(step, MemoryWrite):
                    await self.write_memory(*step)
                    result = len(step.data)
                elif failed:
                    result = -errno.ECANCELED
                elif record is not None and index == recorded:
                    result = await self.recorded_syscall(record, *step)
                else:
                    result = await self.syscall(*step)
            except OSError as error:
                if error.errno is None:
                    raise
                result = -error.errno
                failed = failed or (linked and not isinstance(step, MemoryRead))
            results.append(result)
        return results

    @abc.abstractmethod
    async def close_interface(self) -> None:
        """Close the connection to the target.

        Calls under way raise `SyscallHangup`, later ones `SyscallSendError`. Descriptors in the target stay
        open.
        """

    @abc.abstractmethod
    def get_activity_fd(self) -> object | None:
        """The descriptor in the target that becomes readable when more work is waiting for the target.

        A call that makes the target block has to poll this descriptor, too. None if there is no such
        descriptor. (A handle of the handle layer, which this layer knows nothing about.)
        """

    def check_owner(self) -> None:  # noqa: B027 # most interfaces of others belong to no thread
        """Raise if this thread cannot use this interface; for code that changes something before its call.

        Raises:
            WrongThreadError: it belongs to another OS thread.
            ForkedProcessError: it belongs to the process that forked this one.
        """

    async def read_memory(self, address: SupportsInt, length: int) -> bytes:
        """Copy `length` bytes out of the memory of the target.

        Raises:
            OSError: EFAULT, if part of the range is not readable. (Not every interface can tell: one that
                copies within its own address space crashes instead.)
            SyscallError: the target was lost.
            NotImplementedError: this interface carries no memory; reach it in another way.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot read the memory of its process")

    async def write_memory(self, address: SupportsInt, data: bytes) -> None:
        """Copy `data` into the memory of the target.

        Raises:
            OSError: EFAULT, if part of the range is not writable; a part before it may have been written.
                (Not every interface can tell: one that copies within its own address space crashes instead.)
            SyscallError: the target was lost.
            NotImplementedError: this interface carries no memory; reach it in another way.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot write the memory of its process")

    def wrap_child(self, child: SyscallInterface, name: str) -> SyscallInterface:
        """Called with the interface of each new child of this process; returns the interface to use instead.

        An interface that watches the calls that go through it (a tracer) overrides this to watch those of the
        children too.

        Args:
            child: the interface of the new process.
            name: of the new process, for people to read.
        """
        return child


class UnusableSyscallInterface(SyscallInterface):
    """The interface of a process that cannot be reached yet, or no longer: every call fails unsent."""

    __slots__ = ()

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
        """Raise `SyscallSendError`."""
        raise SyscallSendError("this process has no usable syscall interface")

    async def close_interface(self) -> None:
        """Do nothing: there is nothing to close."""

    def get_activity_fd(self) -> object | None:
        """Raise `SyscallError`: no caller can block in a process that cannot be reached."""
        raise SyscallError("this process has no usable syscall interface, so it has no activity fd")
