"""`<sys/pidfd.h>`: descriptors for processes."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from rsyscall.far import NamespaceMismatchError
from rsyscall.handle.arguments import FDNUM, INT, NUMBER, PID, call, flags
from rsyscall.handle.base_process import BaseProcess
from rsyscall.handle.fd import BaseFileDescriptor, FileDescriptorTask, T_fd
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.near.record import CallRecord

if TYPE_CHECKING:
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["PIDFD", "PidfdFileDescriptor", "PidfdTask"]


class PIDFD(enum.IntFlag):
    """`PIDFD_*`: flags of `pidfd_open`.

    manpage: pidfd_open(2)
    """

    NONE = 0
    NONBLOCK = 0x800
    THREAD = 0x80  # since Linux 6.9


class PidfdFileDescriptor(BaseFileDescriptor):
    """Descriptors of other processes."""

    __slots__ = ()

    async def pidfd_getfd(self: T_fd, targetfd: int) -> T_fd:
        """`pidfd_getfd(pidfd, targetfd, 0)`: get a descriptor for what the process has open.

        Args:
            targetfd: the number there.

        Returns:
            A new descriptor of ours, for the same open file.

        Raises:
            OSError: EBADF (it has no such number), EPERM (it may not be traced), ESRCH; `filename` is (pidfd,
                number).

        manpage: pidfd_getfd(2)
        """
        self._validate()
        task = self.task
        record = CallRecord(task.fd_table)
        with naming((self, targetfd)):
            fd = await _pidfd_getfd(task.sysif, record, self.near, targetfd)
        adopted: T_fd = task._adopt(fd, record)
        return adopted


class PidfdTask(FileDescriptorTask[T_fd]):
    """Making descriptors for processes."""

    async def pidfd_open(self, process: BaseProcess, flags: PIDFD = PIDFD.NONE) -> T_fd:
        """`pidfd_open(pid, flags)`: make a descriptor for a process. It becomes readable when that exits.

        Args:
            process: the process; its id must be of our pid namespace.

        Returns:
            A new descriptor.

        Raises:
            NamespaceMismatchError: the id is of another pid namespace.
            OSError: ESRCH, EINVAL, EMFILE; `filename` is the process.

        manpage: pidfd_open(2)
        """
        if process.task.pidns is not self.pidns:
            raise NamespaceMismatchError(process.task.pidns, self.pidns)
        record = CallRecord(self.fd_table)
        with process._using(), naming(process.near):
            fd = await _pidfd_open(self.sysif, record, process.near, flags)
        return self._adopt(fd, record)


@call("pidfd_getfd", FDNUM, INT, NUMBER)
async def _pidfd_getfd(
    sysif: SyscallInterface, record: CallRecord, pidfd: near.FileDescriptor, targetfd: int
) -> near.FileDescriptor:
    """The raw call; `record` owns the number that comes back."""
    return near.FileDescriptor(await sysif.recorded_syscall(record, nr.pidfd_getfd, pidfd, targetfd, 0))


@call("pidfd_open", PID, flags(PIDFD, "PIDFD_"))
async def _pidfd_open(
    sysif: SyscallInterface, record: CallRecord, pid: near.Process, flags: PIDFD
) -> near.FileDescriptor:
    """The raw call; `record` owns the number that comes back."""
    return near.FileDescriptor(await sysif.recorded_syscall(record, nr.pidfd_open, pid, flags))
