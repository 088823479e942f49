"""`<sys/timerfd.h>`: timers that expire by making a file descriptor readable.

What is read is an `Int64`: how often the timer has expired since the last read.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, overload

from rsyscall.handle._later import late
from rsyscall.handle.arguments import FDNUM, call, choice, flags, given, out
from rsyscall.handle.buffers import require_size
from rsyscall.handle.fd import BaseFileDescriptor, FileDescriptorTask, T_fd
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.near.record import CallRecord
from rsyscall.time import CLOCK, Itimerspec, Timespec

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer, WrittenPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = [
    "CLOCK",
    "TFD",
    "TFD_IOC_SET_TICKS",
    "TFD_TIMER",
    "Itimerspec",
    "TimerFileDescriptor",
    "TimerfdTask",
    "Timespec",
]

TFD_IOC_SET_TICKS = 0x40085400
"""`ioctl` request that sets the number of expirations, from an `Int64`; for checkpoint and restore."""


class TFD(enum.IntFlag):
    """`TFD_*`: flags of `timerfd_create`.

    manpage: timerfd_create(2)
    """

    NONE = 0
    NONBLOCK = 0x800
    CLOEXEC = 0x80000


class TFD_TIMER(enum.IntFlag):
    """`TFD_TIMER_*`: flags of `timerfd_settime`.

    manpage: timerfd_settime(2)
    """

    NONE = 0
    ABSTIME = 0x1
    CANCEL_ON_SET = 0x2


@late
class TimerFileDescriptor(BaseFileDescriptor):
    """Calls on a timerfd."""

    __slots__ = ()

    @overload
    async def timerfd_settime(self, flags: TFD_TIMER, new_value: WrittenPointer[Itimerspec]) -> None: ...
    @overload
    async def timerfd_settime(
        self, flags: TFD_TIMER, new_value: WrittenPointer[Itimerspec], old_value: Pointer[Itimerspec]
    ) -> Pointer[Itimerspec]: ...

    async def timerfd_settime(
        self,
        flags: TFD_TIMER,
        new_value: WrittenPointer[Itimerspec],
        old_value: Pointer[Itimerspec] | None = None,
    ) -> Pointer[Itimerspec] | None:
        """`timerfd_settime(fd, flags, new_value, old_value)`: set the timer going, or stop it.

        Args:
            flags: whether `new_value.value` is a point in time of the timer's clock instead of a duration
                from now.
            new_value: first expiration, and interval between those after it; a first expiration of 0 stops
                the timer.
            old_value: where to put the previous setting.

        Returns:
            `old_value`, if it was given.

        Raises:
            OSError: EINVAL (not a timerfd, or nanoseconds out of range), ECANCELED (the clock was set).

        manpage: timerfd_settime(2)
        """
        self._validate()
        require_size(new_value, Itimerspec.sizeof())
        if old_value is not None:
            require_size(old_value, Itimerspec.sizeof())
        task = self.task
        with naming(self):
            if old_value is None:
                with new_value.borrow(task) as new_near:
                    await _timerfd_settime(task.sysif, self.near, flags, new_near, None)
            else:
                with new_value.borrow(task) as new_near, old_value.borrow(task) as old_near:
                    await _timerfd_settime(task.sysif, self.near, flags, new_near, old_near)
        return old_value

    async def timerfd_gettime(self, curr_value: Pointer[Itimerspec]) -> Pointer[Itimerspec]:
        """`timerfd_gettime(fd, curr_value)`: how long until the timer expires next, and its interval.

        Returns:
            `curr_value`; a `value` of 0 in it means that the timer is stopped.

        Raises:
            OSError: EINVAL (not a timerfd).

        manpage: timerfd_gettime(2)
        """
        self._validate()
        require_size(curr_value, Itimerspec.sizeof())
        with curr_value.borrow(self.task) as curr_near, naming(self):
            await _timerfd_gettime(self.task.sysif, self.near, curr_near)
        return curr_value


@late
class TimerfdTask(FileDescriptorTask[T_fd]):
    """Creating timerfds."""

    async def timerfd_create(self, clockid: CLOCK, flags: TFD = TFD.NONE) -> T_fd:
        """`timerfd_create(clockid, flags | TFD_CLOEXEC)`: make a timer, stopped.

        Args:
            clockid: REALTIME, MONOTONIC, BOOTTIME, REALTIME_ALARM or BOOTTIME_ALARM; the last two wake up the
                machine.
            flags: `TFD.CLOEXEC` is always added.

        Returns:
            A new file descriptor, to be read with `Int64`.

        Raises:
            OSError: EINVAL (another clock), EPERM (an alarm clock without CAP_WAKE_ALARM), EMFILE, ENFILE,
                ENOMEM; `filename` is the clock.

        manpage: timerfd_create(2)
        """
        record = CallRecord(self.fd_table)
        with naming(clockid):
            fd = await _timerfd_create(self.sysif, record, clockid, flags | TFD.CLOEXEC)
        return self._adopt(fd, record)


@call("timerfd_create", choice(CLOCK, "CLOCK_"), flags(TFD, "TFD_"))
async def _timerfd_create(
    sysif: SyscallInterface, record: CallRecord, clockid: CLOCK, flags: TFD
) -> near.FileDescriptor:
    """The raw call; `record` owns the number that comes back."""
    return near.FileDescriptor(await sysif.recorded_syscall(record, nr.timerfd_create, clockid, flags))


@call("timerfd_settime", FDNUM, flags(TFD_TIMER, "TFD_TIMER_"), given(Itimerspec), out(Itimerspec))
async def _timerfd_settime(
    sysif: SyscallInterface,
    fd: near.FileDescriptor,
    flags: TFD_TIMER,
    new_value: near.Address,
    old_value: near.Address | None,
) -> None:
    """The raw call."""
    await sysif.syscall(nr.timerfd_settime, fd, flags, new_value, 0 if old_value is None else old_value)


@call("timerfd_gettime", FDNUM, out(Itimerspec))
async def _timerfd_gettime(
    sysif: SyscallInterface, fd: near.FileDescriptor, curr_value: near.Address
) -> None:
    """The raw call."""
    await sysif.syscall(nr.timerfd_gettime, fd, curr_value)
