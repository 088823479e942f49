"""`<linux/kcmp.h>`: whether two processes share something."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from rsyscall.cstruct import CStruct, u32
from rsyscall.far import NamespaceMismatchError
from rsyscall.handle.arguments import NUMBER, PID, call, choice
from rsyscall.handle.base_process import BaseProcess
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming

if TYPE_CHECKING:
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["KCMP", "KcmpEpollSlot", "KcmpProcess"]


class KCMP(enum.IntEnum):
    """`KCMP_*`: what to compare.

    manpage: kcmp(2)
    """

    FILE = 0
    VM = 1
    FILES = 2
    FS = 3
    SIGHAND = 4
    IO = 5
    SYSVSEM = 6
    EPOLL_TFD = 7


class KcmpEpollSlot(
    CStruct, c="struct kcmp_epoll_slot", headers=("#include <linux/types.h>", "linux/kcmp.h")
):
    """`struct kcmp_epoll_slot`: a descriptor that an epoll instance waits for, as numbers.

    Args:
        efd: the number of the epoll instance in the second process.
        tfd: the number that was registered.
        toff: which of several registrations of that number.

    manpage: kcmp(2)
    """

    efd: int = u32("efd")
    tfd: int = u32("tfd")
    toff: int = u32("toff", default=0)


class KcmpProcess(BaseProcess):
    """Comparing with another process."""

    async def kcmp(self, other: BaseProcess, type: KCMP, idx1: int = 0, idx2: int = 0) -> int:
        """`kcmp(pid, other, type, idx1, idx2)`: whether this process and another one share something.

        Args:
            other: the other process; its id must be of the same pid namespace.
            idx1, idx2: numbers of a descriptor in either process, for `KCMP.FILE`; for `KCMP.EPOLL_TFD` the
                second is the address of a `KcmpEpollSlot`.

        Returns:
            0 if they share it; else an order: 1 if ours is less, 2 if it is greater, 3 if they only differ.

        Raises:
            NamespaceMismatchError: the ids are of different pid namespaces.
            OSError: EPERM (one may not be traced), ESRCH, EBADF, EINVAL; `filename` is (process, other,
                type).

        manpage: kcmp(2)
        """
        if other.task.pidns is not self.task.pidns:
            raise NamespaceMismatchError(other.task.pidns, self.task.pidns)
        with self._using(), other._using(), naming((self.near, other.near, type)):
            return await _kcmp(self.task.sysif, self.near, other.near, type, idx1, idx2)


@call("kcmp", PID, PID, choice(KCMP, "KCMP_"), NUMBER, NUMBER)
async def _kcmp(
    sysif: SyscallInterface, pid1: near.Process, pid2: near.Process, type: KCMP, idx1: int, idx2: int
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.kcmp, pid1, pid2, type, idx1, idx2)
