"""`<sys/eventfd.h>`: a counter behind a file descriptor, to wake its waiters.

It is read and written as an `Int64`.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from rsyscall.handle._later import late
from rsyscall.handle.arguments import UNSIGNED, call, flags
from rsyscall.handle.fd import BaseFileDescriptor, FileDescriptorTask, T_fd
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.record import CallRecord

if TYPE_CHECKING:
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["EFD", "EventFileDescriptor", "EventfdTask"]


class EFD(enum.IntFlag):
    """`EFD_*`: flags of `eventfd`.

    manpage: eventfd(2)
    """

    NONE = 0
    SEMAPHORE = 0x1
    NONBLOCK = 0x800
    CLOEXEC = 0x80000


@late
class EventFileDescriptor(BaseFileDescriptor):
    """No calls of its own: `read` takes the counter (with `EFD.SEMAPHORE`, 1 of it), `write` adds to it."""

    __slots__ = ()


@late
class EventfdTask(FileDescriptorTask[T_fd]):
    """Creating eventfds."""

    async def eventfd(self, initval: int, flags: EFD = EFD.NONE) -> T_fd:
        """`eventfd2(initval, flags | EFD_CLOEXEC)`: make a counter.

        Args:
            initval: the first value of the counter, below 2**32.
            flags: `EFD.CLOEXEC` is always added.

        Returns:
            A new file descriptor, to be read and written with `Int64`.

        Raises:
            OSError: EMFILE, ENFILE, ENOMEM.

        manpage: eventfd(2)
        """
        if not 0 <= initval < 2**32:
            raise ValueError("an eventfd starts with a number of 32 bits", initval)
        record = CallRecord(self.fd_table)
        return self._adopt(await _eventfd(self.sysif, record, initval, flags | EFD.CLOEXEC), record)


@call("eventfd2", UNSIGNED, flags(EFD, "EFD_"))
async def _eventfd(
    sysif: SyscallInterface, record: CallRecord, initval: int, flags: EFD
) -> near.FileDescriptor:
    """The raw call; `record` owns the number that comes back."""
    return near.FileDescriptor(await sysif.recorded_syscall(record, nr.eventfd2, initval, flags))
