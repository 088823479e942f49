"""The calls of `<time.h>`: reading and setting clocks, sleeping, and timers that send signals."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import rsyscall.far
from rsyscall._signal_info import Sigevent
from rsyscall.handle.arguments import INT, OUT_INT, call, choice, flags, given, out
from rsyscall.handle.buffers import require_size, require_size_if_given
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.struct import Int32
from rsyscall.time import CLOCK, TIMER, Itimerspec, Timespec

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer, WrittenPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["TimeTask"]


class TimeTask(rsyscall.far.Task):
    """Clocks, sleeping, and timers that send signals."""

    async def clock_gettime(self, clockid: CLOCK | int, tp: Pointer[Timespec]) -> Pointer[Timespec]:
        """`clock_gettime(clockid, tp)`: what a clock shows.

        Args:
            clockid: the clock; a number for that of a process, a thread or a device.
            tp: not consumed; the same memory is returned.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EINVAL (no such clock); `filename` is the clock.

        manpage: clock_gettime(2)
        """
        check_pointers(tp)
        require_size(tp, Timespec.sizeof())
        with tp.borrow(self) as addr, naming(clockid):
            await _clock_gettime(self.sysif, clockid, addr)
        return tp

    async def clock_getres(self, clockid: CLOCK | int, res: Pointer[Timespec]) -> Pointer[Timespec]:
        """`clock_getres(clockid, res)`: the resolution of a clock.

        Args:
            res: not consumed; the same memory is returned.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EINVAL (no such clock); `filename` is the clock.

        manpage: clock_getres(2)
        """
        check_pointers(res)
        require_size(res, Timespec.sizeof())
        with res.borrow(self) as addr, naming(clockid):
            await _clock_getres(self.sysif, clockid, addr)
        return res

    async def clock_settime(self, clockid: CLOCK | int, tp: WrittenPointer[Timespec]) -> None:
        """`clock_settime(clockid, tp)`: set a clock of the machine.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EPERM (needs CAP_SYS_TIME in the first user namespace), EINVAL (a clock that cannot be
                set, or a time out of range); `filename` is the clock.

        manpage: clock_settime(2)
        """
        check_pointers(tp)
        require_size(tp, Timespec.sizeof())
        with tp.borrow(self) as addr, naming(clockid):
            await _clock_settime(self.sysif, clockid, addr)

    async def clock_nanosleep(
        self,
        clockid: CLOCK | int,
        flags: TIMER,
        t: WrittenPointer[Timespec],
        remain: Pointer[Timespec] | None = None,
    ) -> None:
        """`clock_nanosleep(clockid, flags, t, remain)`: let the process sleep, in which it makes no calls.

        Args:
            flags: `TIMER.ABSTIME` if `t` is a point in time of the clock, and not a duration.
            t: until when, or how long.
            remain: where to put what is left of a duration if a signal ends the sleep.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EINTR (a signal), EINVAL (a clock that cannot be used for this, or a time out of range);
                `filename` is the clock.

        manpage: clock_nanosleep(2)
        """
        check_pointers(t)
        require_size(t, Timespec.sizeof())
        require_size_if_given(remain, Timespec.sizeof())
        with ExitStack() as stack:
            addr = stack.enter_context(t.borrow(self))
            remain_addr = self._borrow_optional(stack, remain)
            with naming(clockid):
                await _clock_nanosleep(self.sysif, clockid, flags, addr, remain_addr)

    async def nanosleep(
        self, duration: WrittenPointer[Timespec], rem: Pointer[Timespec] | None = None
    ) -> None:
        """`nanosleep(duration, rem)`: let the process sleep, in which it makes no calls.

        Args:
            duration: how long, on `CLOCK.MONOTONIC`.
            rem: where to put what is left if a signal ends the sleep.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EINTR (a signal), EINVAL (a time out of range); `filename` is the duration.

        manpage: nanosleep(2)
        """
        check_pointers(duration)
        require_size(duration, Timespec.sizeof())
        require_size_if_given(rem, Timespec.sizeof())
        with ExitStack() as stack:
            addr = stack.enter_context(duration.borrow(self))
            rem_addr = self._borrow_optional(stack, rem)
            with naming(duration.value):
                await _nanosleep(self.sysif, addr, rem_addr)

    async def timer_create(
        self, clockid: CLOCK | int, sevp: WrittenPointer[Sigevent] | None, timerid: Pointer[Int32]
    ) -> Pointer[Int32]:
        """`timer_create(clockid, sevp, timerid)`: make a timer, stopped. `timer_delete` or an exec ends it.

        Args:
            sevp: what happens when it expires; None for SIGALRM with the number of the timer.
            timerid: where to put that number; not consumed, the same memory is returned.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EINVAL, EAGAIN, EPERM (an alarm clock without CAP_WAKE_ALARM); `filename` is the clock.

        manpage: timer_create(2)
        """
        check_pointers(timerid)
        require_size(timerid, Int32.sizeof())
        require_size_if_given(sevp, Sigevent.sizeof())
        with ExitStack() as stack:
            sevp_addr = self._borrow_optional(stack, sevp)
            addr = stack.enter_context(timerid.borrow(self))
            with naming(clockid):
                await _timer_create(self.sysif, clockid, sevp_addr, addr)
        return timerid

    async def timer_settime(
        self,
        timerid: int,
        flags: TIMER,
        new_value: WrittenPointer[Itimerspec],
        old_value: Pointer[Itimerspec] | None = None,
    ) -> None:
        """`timer_settime(timerid, flags, new_value, old_value)`: set a timer going, or stop it.

        Args:
            flags: `TIMER.ABSTIME` if `new_value.value` is a point in time of the clock.
            new_value: first expiration, and interval of the next ones; a first one of 0 stops the timer.
            old_value: where to put the setting before.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EINVAL (no such timer, or nanoseconds out of range); `filename` is the number.

        manpage: timer_settime(2)
        """
        check_pointers(new_value)
        require_size(new_value, Itimerspec.sizeof())
        require_size_if_given(old_value, Itimerspec.sizeof())
        with ExitStack() as stack:
            addr = stack.enter_context(new_value.borrow(self))
            old_addr = self._borrow_optional(stack, old_value)
            with naming(timerid):
                await _timer_settime(self.sysif, timerid, flags, addr, old_addr)

    async def timer_gettime(self, timerid: int, curr_value: Pointer[Itimerspec]) -> Pointer[Itimerspec]:
        """`timer_gettime(timerid, curr_value)`: how long until the timer expires next, and its interval.

        Args:
            curr_value: not consumed; the same memory is returned.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EINVAL (no such timer); `filename` is the number.

        manpage: timer_gettime(2)
        """
        check_pointers(curr_value)
        require_size(curr_value, Itimerspec.sizeof())
        with curr_value.borrow(self) as addr, naming(timerid):
            await _timer_gettime(self.sysif, timerid, addr)
        return curr_value

    async def timer_getoverrun(self, timerid: int) -> int:
        """`timer_getoverrun(timerid)`: how often it expired between the last signal and its delivery.

        Raises:
            OSError: EINVAL (no such timer); `filename` is the number.

        manpage: timer_getoverrun(2)
        """
        with naming(timerid):
            return await _timer_getoverrun(self.sysif, timerid)

    async def timer_delete(self, timerid: int) -> None:
        """`timer_delete(timerid)`: end a timer.

        Raises:
            OSError: EINVAL (no such timer); `filename` is the number.

        manpage: timer_delete(2)
        """
        with naming(timerid):
            await _timer_delete(self.sysif, timerid)


_CLOCK = choice(CLOCK, "CLOCK_")
_FLAGS = flags(TIMER, "TIMER_")


@call("clock_gettime", _CLOCK, out(Timespec))
async def _clock_gettime(sysif: SyscallInterface, clockid: CLOCK | int, tp: near.Address) -> None:
    """The raw call."""
    await sysif.syscall(nr.clock_gettime, clockid, tp)


@call("clock_getres", _CLOCK, out(Timespec))
async def _clock_getres(sysif: SyscallInterface, clockid: CLOCK | int, res: near.Address) -> None:
    """The raw call."""
    await sysif.syscall(nr.clock_getres, clockid, res)


@call("clock_settime", _CLOCK, given(Timespec))
async def _clock_settime(sysif: SyscallInterface, clockid: CLOCK | int, tp: near.Address) -> None:
    """The raw call."""
    await sysif.syscall(nr.clock_settime, clockid, tp)


@call("clock_nanosleep", _CLOCK, _FLAGS, given(Timespec), out(Timespec))
async def _clock_nanosleep(
    sysif: SyscallInterface,
    clockid: CLOCK | int,
    flags: TIMER,
    t: near.Address,
    remain: near.Address | None,
) -> None:
    """The raw call."""
    await sysif.syscall(nr.clock_nanosleep, clockid, flags, t, remain or 0)


@call("nanosleep", given(Timespec), out(Timespec))
async def _nanosleep(sysif: SyscallInterface, duration: near.Address, rem: near.Address | None) -> None:
    """The raw call."""
    await sysif.syscall(nr.nanosleep, duration, rem or 0)


@call("timer_create", _CLOCK, given(Sigevent), OUT_INT)
async def _timer_create(
    sysif: SyscallInterface, clockid: CLOCK | int, sevp: near.Address | None, timerid: near.Address
) -> None:
    """The raw call."""
    await sysif.syscall(nr.timer_create, clockid, sevp or 0, timerid)


@call("timer_settime", INT, _FLAGS, given(Itimerspec), out(Itimerspec))
async def _timer_settime(
    sysif: SyscallInterface,
    timerid: int,
    flags: TIMER,
    new_value: near.Address,
    old_value: near.Address | None,
) -> None:
    """The raw call."""
    await sysif.syscall(nr.timer_settime, timerid, flags, new_value, old_value or 0)


@call("timer_gettime", INT, out(Itimerspec))
async def _timer_gettime(sysif: SyscallInterface, timerid: int, curr_value: near.Address) -> None:
    """The raw call."""
    await sysif.syscall(nr.timer_gettime, timerid, curr_value)


@call("timer_getoverrun", INT)
async def _timer_getoverrun(sysif: SyscallInterface, timerid: int) -> int:
    """The raw call."""
    return await sysif.syscall(nr.timer_getoverrun, timerid)


@call("timer_delete", INT)
async def _timer_delete(sysif: SyscallInterface, timerid: int) -> None:
    """The raw call."""
    await sysif.syscall(nr.timer_delete, timerid)
