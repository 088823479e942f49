"""`<linux/membarrier.h>`: memory barriers on the CPUs of other threads."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import rsyscall.far
from rsyscall.handle.arguments import INT, call, choice, flags
from rsyscall.near import nr
from rsyscall.near.naming import naming

if TYPE_CHECKING:
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["MEMBARRIER_CMD", "MEMBARRIER_CMD_FLAG", "MembarrierTask"]


class MEMBARRIER_CMD(enum.IntFlag):
    """`MEMBARRIER_CMD_*`: what to do; the answer to `QUERY` has the bits of all that the kernel knows.

    manpage: membarrier(2)
    """

    QUERY = 0
    GLOBAL = 1 << 0
    GLOBAL_EXPEDITED = 1 << 1
    REGISTER_GLOBAL_EXPEDITED = 1 << 2
    PRIVATE_EXPEDITED = 1 << 3
    REGISTER_PRIVATE_EXPEDITED = 1 << 4
    PRIVATE_EXPEDITED_SYNC_CORE = 1 << 5
    REGISTER_PRIVATE_EXPEDITED_SYNC_CORE = 1 << 6
    PRIVATE_EXPEDITED_RSEQ = 1 << 7
    REGISTER_PRIVATE_EXPEDITED_RSEQ = 1 << 8
    GET_REGISTRATIONS = 1 << 9  # since Linux 6.3


class MEMBARRIER_CMD_FLAG(enum.IntFlag):
    """`MEMBARRIER_CMD_FLAG_*`: flags of `membarrier`.

    manpage: membarrier(2)
    """

    NONE = 0
    CPU = 1 << 0


class MembarrierTask(rsyscall.far.Task):
    """Memory barriers."""

    async def membarrier(
        self, cmd: MEMBARRIER_CMD, flags: MEMBARRIER_CMD_FLAG = MEMBARRIER_CMD_FLAG.NONE, cpu_id: int = 0
    ) -> int:
        """`membarrier(cmd, flags, cpu_id)`: order the memory accesses of other threads.

        Args:
            cpu_id: the only CPU, with `MEMBARRIER_CMD_FLAG.CPU`.

        Returns:
            The bits that `QUERY` and `GET_REGISTRATIONS` ask for; 0 for others.

        Raises:
            OSError: EINVAL, EPERM (not registered before), ENOSYS; `filename` is the command.

        manpage: membarrier(2)
        """
        with naming(cmd):
            return await _membarrier(self.sysif, cmd, flags, cpu_id)


@call(
    "membarrier",
    choice(MEMBARRIER_CMD, "MEMBARRIER_CMD_"),
    flags(MEMBARRIER_CMD_FLAG, "MEMBARRIER_CMD_FLAG_"),
    INT,
)
async def _membarrier(
    sysif: SyscallInterface, cmd: MEMBARRIER_CMD, flags: MEMBARRIER_CMD_FLAG, cpu_id: int
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.membarrier, cmd, flags, cpu_id)
