"""`<sys/file.h>`: locks on whole files."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from rsyscall.handle.arguments import FDNUM, call, flags
from rsyscall.handle.fd import BaseFileDescriptor
from rsyscall.near import nr
from rsyscall.near.naming import naming

if TYPE_CHECKING:
    from rsyscall.near import types as near
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["LOCK", "FlockFileDescriptor"]


class LOCK(enum.IntFlag):
    """`LOCK_*`: a shared or an exclusive lock, or none; `NB` to fail instead of waiting.

    manpage: flock(2)
    """

    SH = 1
    EX = 2
    NB = 4
    UN = 8


class FlockFileDescriptor(BaseFileDescriptor):
    """Locking a file."""

    __slots__ = ()

    async def flock(self, operation: LOCK) -> None:
        """`flock(fd, operation)`: lock the file, change the lock, or unlock it.

        The lock belongs to the open file, so to all descriptors that are copies of this one, in all
        processes; it ends when the last of them is closed. The process waits in the call, unless it is given
        `LOCK.NB`.

        Raises:
            OSError: EWOULDBLOCK (another open file has the lock), EINVAL, EINTR; `filename` is (fd,
                operation).

        manpage: flock(2)
        """
        self._validate()
        with naming((self, operation)):
            await _flock(self.task.sysif, self.near, operation)


@call("flock", FDNUM, flags(LOCK, "LOCK_"))
async def _flock(sysif: SyscallInterface, fd: near.FileDescriptor, operation: LOCK) -> None:
    """The raw call."""
    await sysif.syscall(nr.flock, fd, operation)
