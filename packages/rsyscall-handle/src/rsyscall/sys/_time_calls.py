"""The calls of `<sys/time.h>`: interval timers, and the time of day in microseconds."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import rsyscall.far
from rsyscall.handle.arguments import call, choice, given, out
from rsyscall.handle.buffers import require_size, require_size_if_given
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.sys.time import Itimerval, Timeval, Timezone
from rsyscall.time import ITIMER

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer, WrittenPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["TimevalTask"]


class TimevalTask(rsyscall.far.Task):
    """Interval timers, and the time of day in microseconds."""

    async def getitimer(self, which: ITIMER, curr_value: Pointer[Itimerval]) -> Pointer[Itimerval]:
        """`getitimer(which, curr_value)`: how long until a timer of this process expires, and its interval.

        Args:
            curr_value: not consumed; the same memory is returned.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EINVAL (no such timer); `filename` is `which`.

        manpage: getitimer(2)
        """
        check_pointers(curr_value)
        require_size(curr_value, Itimerval.sizeof())
        with curr_value.borrow(self) as addr, naming(which):
            await _getitimer(self.sysif, which, addr)
        return curr_value

    async def setitimer(
        self, which: ITIMER, new_value: WrittenPointer[Itimerval], old_value: Pointer[Itimerval] | None = None
    ) -> None:
        """`setitimer(which, new_value, old_value)`: set a timer of this process going, or stop it.

        When it expires, the process gets SIGALRM, SIGVTALRM or SIGPROF. It survives an exec.

        Args:
            old_value: where to put the setting before.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EINVAL (no such timer, or microseconds out of range); `filename` is `which`.

        manpage: setitimer(2)
        """
        check_pointers(new_value)
        require_size(new_value, Itimerval.sizeof())
        require_size_if_given(old_value, Itimerval.sizeof())
        with ExitStack() as stack:
            addr = stack.enter_context(new_value.borrow(self))
            old_addr = self._borrow_optional(stack, old_value)
            with naming(which):
                await _setitimer(self.sysif, which, addr, old_addr)

    async def gettimeofday(self, tv: Pointer[Timeval] | None, tz: Pointer[Timezone] | None = None) -> None:
        """`gettimeofday(tv, tz)`: the time, and the time zone of the kernel.

        Args:
            tv, tz: where to put them; not consumed.

        Raises:
            BufferTooSmallError: the memory is too small.

        manpage: gettimeofday(2)
        """
        require_size_if_given(tv, Timeval.sizeof())
        require_size_if_given(tz, Timezone.sizeof())
        with ExitStack() as stack:
            addresses = self._borrow_optional(stack, tv), self._borrow_optional(stack, tz)
            with naming((tv, tz)):
                await _gettimeofday(self.sysif, *addresses)

    async def settimeofday(
        self, tv: WrittenPointer[Timeval] | None, tz: WrittenPointer[Timezone] | None = None
    ) -> None:
        """`settimeofday(tv, tz)`: set the time of the machine, or the time zone of the kernel.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EPERM (needs CAP_SYS_TIME in the first user namespace), EINVAL (out of range); `filename`
                is (tv, tz).

        manpage: settimeofday(2)
        """
        require_size_if_given(tv, Timeval.sizeof())
        require_size_if_given(tz, Timezone.sizeof())
        with ExitStack() as stack:
            addresses = self._borrow_optional(stack, tv), self._borrow_optional(stack, tz)
            with naming((tv, tz)):
                await _settimeofday(self.sysif, *addresses)


_WHICH = choice(ITIMER, "ITIMER_")


@call("getitimer", _WHICH, out(Itimerval))
async def _getitimer(sysif: SyscallInterface, which: ITIMER, curr_value: near.Address) -> None:
    """The raw call."""
    await sysif.syscall(nr.getitimer, which, curr_value)


@call("setitimer", _WHICH, given(Itimerval), out(Itimerval))
async def _setitimer(
    sysif: SyscallInterface, which: ITIMER, new_value: near.Address, old_value: near.Address | None
) -> None:
    """The raw call."""
    await sysif.syscall(nr.setitimer, which, new_value, old_value or 0)


@call("gettimeofday", out(Timeval), out(Timezone))
async def _gettimeofday(sysif: SyscallInterface, tv: near.Address | None, tz: near.Address | None) -> None:
    """The raw call."""
    await sysif.syscall(nr.gettimeofday, tv or 0, tz or 0)


@call("settimeofday", given(Timeval), given(Timezone))
async def _settimeofday(sysif: SyscallInterface, tv: near.Address | None, tz: near.Address | None) -> None:
    """The raw call."""
    await sysif.syscall(nr.settimeofday, tv or 0, tz or 0)
