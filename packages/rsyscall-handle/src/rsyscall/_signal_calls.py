"""The less common calls of `<signal.h>`: waiting for signals, and the stack of handlers."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import rsyscall.far
from rsyscall._signal_info import QueuedSiginfo, StackT
from rsyscall.handle.arguments import SIZE, call, given, out
from rsyscall.handle.buffers import require_size, require_size_if_given
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.signal import SIG, Sigset, signal_number
from rsyscall.time import Timespec

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer, WrittenPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["SignalWaitTask"]


class SignalWaitTask(rsyscall.far.Task):
    """Waiting for blocked signals, and the stack of signal handlers."""

    async def sigpending(self, set: Pointer[Sigset]) -> Pointer[Sigset]:
        """`rt_sigpending(set, 8)`: the signals that are pending because they are blocked.

        Args:
            set: not consumed; the same memory is returned.

        Raises:
            BufferTooSmallError: the memory is too small.

        manpage: sigpending(2)
        """
        check_pointers(set)
        require_size(set, Sigset.sizeof())
        with set.borrow(self) as addr, naming(set):
            await _rt_sigpending(self.sysif, addr, Sigset.sizeof())
        return set

    async def sigtimedwait(
        self,
        set: WrittenPointer[Sigset],
        info: Pointer[QueuedSiginfo] | None = None,
        timeout: WrittenPointer[Timespec] | None = None,
    ) -> SIG | int:
        """`rt_sigtimedwait(set, info, timeout, 8)`: take a signal that is pending, or wait for one.

        The process waits in the call, and can make no other calls meanwhile.

        Args:
            set: the signals, which should be blocked.
            info: where to store what was sent with the signal; None to not store it.
            timeout: how long to wait at most: 0 not to wait, None to wait for ever.

        Returns:
            The signal.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EAGAIN (the time is over), EINTR (another signal), EINVAL; `filename` is the set.

        manpage: sigtimedwait(2)
        """
        check_pointers(set)
        require_size(set, Sigset.sizeof())
        require_size_if_given(info, QueuedSiginfo.sizeof())
        require_size_if_given(timeout, Timespec.sizeof())
        with ExitStack() as stack:
            addr = stack.enter_context(set.borrow(self))
            info_addr = self._borrow_optional(stack, info)
            timeout_addr = self._borrow_optional(stack, timeout)
            with naming(set.value):
                found = await _rt_sigtimedwait(self.sysif, addr, info_addr, timeout_addr, Sigset.sizeof())
        return signal_number(found)

    async def sigaltstack(
        self, ss: WrittenPointer[StackT] | None, old_ss: Pointer[StackT] | None = None
    ) -> None:
        """`sigaltstack(ss, old_ss)`: say which stack signal handlers with `SA.ONSTACK` use.

        The kernel keeps the address: the stack must stay allocated until another one, or none, is set.

        Args:
            ss: the stack; None to leave it as it is.
            old_ss: where to store the old setting.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EINVAL, ENOMEM (the stack is too small), EPERM (it is in use); `filename` is (new, old).

        manpage: sigaltstack(2)
        """
        require_size_if_given(ss, StackT.sizeof())
        require_size_if_given(old_ss, StackT.sizeof())
        with ExitStack() as stack:
            addr, old_addr = self._borrow_optional(stack, ss), self._borrow_optional(stack, old_ss)
            with naming((ss, old_ss)):
                await _sigaltstack(self.sysif, addr, old_addr)


@call("rt_sigpending", out(Sigset), SIZE)
async def _rt_sigpending(sysif: SyscallInterface, set: near.Address, sigsetsize: int) -> None:
    """The raw call."""
    await sysif.syscall(nr.rt_sigpending, set, sigsetsize)


@call("rt_sigtimedwait", given(Sigset), out(QueuedSiginfo), given(Timespec), SIZE)
async def _rt_sigtimedwait(
    sysif: SyscallInterface,
    set: near.Address,
    info: near.Address | None,
    timeout: near.Address | None,
    sigsetsize: int,
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.rt_sigtimedwait, set, info or 0, timeout or 0, sigsetsize)


@call("sigaltstack", given(StackT), out(StackT))
async def _sigaltstack(sysif: SyscallInterface, ss: near.Address | None, old_ss: near.Address | None) -> None:
    """The raw call."""
    await sysif.syscall(nr.sigaltstack, ss or 0, old_ss or 0)
