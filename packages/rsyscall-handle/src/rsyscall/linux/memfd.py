"""`<linux/memfd.h>`: files that live in memory and have no name in any file system."""

from __future__ import annotations

import enum
import os
from typing import TYPE_CHECKING

import rsyscall.near.types as near
from rsyscall.handle._later import late
from rsyscall.handle.arguments import STRING, call, flags
from rsyscall.handle.fd import FileDescriptorTask, T_fd
from rsyscall.near import nr
from rsyscall.near.naming import naming
from rsyscall.near.record import CallRecord

if TYPE_CHECKING:
    from rsyscall.handle.pointer import WrittenPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["MFD", "MemfdTask"]


class MFD(enum.IntFlag):
    """`MFD_*`: flags of `memfd_create`.

    `HUGETLB` is or-ed with at most one `HUGE_*` member; those are encoded sizes (the logarithm shifted left
    by `HUGE_SHIFT`), not independent bits.

    manpage: memfd_create(2)
    """

    NONE = 0
    CLOEXEC = 0x1
    ALLOW_SEALING = 0x2
    HUGETLB = 0x4
    NOEXEC_SEAL = 0x8  # since Linux 6.3
    EXEC = 0x10  # since Linux 6.3
    HUGE_64KB = 16 << 26
    HUGE_512KB = 19 << 26
    HUGE_1MB = 20 << 26
    HUGE_2MB = 21 << 26
    HUGE_8MB = 23 << 26
    HUGE_16MB = 24 << 26
    HUGE_32MB = 25 << 26
    HUGE_256MB = 28 << 26
    HUGE_512MB = 29 << 26
    HUGE_1GB = 30 << 26
    HUGE_2GB = 31 << 26
    HUGE_16GB = 34 << 26


MFD_HUGE_SHIFT = 26
MFD_HUGE_MASK = 0x3F


@late
class MemfdTask(FileDescriptorTask[T_fd]):
    """Creating memory files."""

    async def memfd_create(self, name: WrittenPointer[str | os.PathLike[str]], flags: MFD = MFD.NONE) -> T_fd:
        """`memfd_create(name, flags | MFD_CLOEXEC)`: make an empty file in memory.

        Args:
            name: shown as `/memfd:name` in `/proc`; at most 249 bytes, need not be unique.
            flags: `MFD.CLOEXEC` is always added.

        Returns:
            A new descriptor, open for reading and writing, with `O.LARGEFILE`.

        Raises:
            OSError: EMFILE, ENFILE, ENOMEM, EINVAL (name too long, unknown flags); `filename` is the name.

        manpage: memfd_create(2)
        """
        record = CallRecord(self.fd_table)
        with name.borrow(self) as name_addr, naming(name.value):
            fd = await _memfd_create(self.sysif, record, name_addr, flags | MFD.CLOEXEC)
        return self._adopt(fd, record)


@call("memfd_create", STRING, flags(MFD, "MFD_"))
async def _memfd_create(
    sysif: SyscallInterface, record: CallRecord, name: near.Address, flags: MFD
) -> near.FileDescriptor:
    """The raw call; `record` owns the number that comes back."""
    return near.FileDescriptor(await sysif.recorded_syscall(record, nr.memfd_create, name, flags))
