"""Constants and raw calls of `<sys/mman.h>` that few programs use; import them from `rsyscall.sys.mman`."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import rsyscall.near
from rsyscall.handle.arguments import ADDRESS, INT, NUMBER, SIZE, call, flags
from rsyscall.near import nr
from rsyscall.sys._mman_near import PROT

if TYPE_CHECKING:
    from rsyscall.near.record import CallRecord
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["MCL", "MLOCK", "MREMAP", "MS", "PKEY"]


class MCL(enum.IntFlag):
    """`MCL_*`: which pages `mlockall` locks.

    manpage: mlockall(2)
    """

    NONE = 0
    CURRENT = 0x1
    FUTURE = 0x2
    ONFAULT = 0x4


class MLOCK(enum.IntFlag):
    """`MLOCK_*`: flags of `mlock2`.

    manpage: mlock(2)
    """

    NONE = 0
    ONFAULT = 0x1


class MREMAP(enum.IntFlag):
    """`MREMAP_*`: flags of `mremap`.

    manpage: mremap(2)
    """

    NONE = 0
    MAYMOVE = 0x1
    FIXED = 0x2
    DONTUNMAP = 0x4  # since Linux 5.7


class MS(enum.IntFlag):
    """`MS_*`: what `msync` does. Exactly one of `ASYNC` and `SYNC`, or none.

    manpage: msync(2)
    """

    NONE = 0
    ASYNC = 0x1
    INVALIDATE = 0x2
    SYNC = 0x4


class PKEY(enum.IntFlag):
    """`PKEY_*`: what a protection key forbids. Without a flag it forbids nothing.

    manpage: pkey_alloc(2)
    """

    UNRESTRICTED = 0
    DISABLE_ACCESS = 0x1
    DISABLE_WRITE = 0x2


@call("mlock", ADDRESS, SIZE)
async def _mlock(sysif: SyscallInterface, mapping: rsyscall.near.MemoryMapping) -> None:
    """The raw call."""
    await sysif.syscall(nr.mlock, mapping.address, mapping.length)


@call("mlock2", ADDRESS, SIZE, flags(MLOCK, "MLOCK_"))
async def _mlock2(sysif: SyscallInterface, mapping: rsyscall.near.MemoryMapping, flags: MLOCK) -> None:
    """The raw call."""
    await sysif.syscall(nr.mlock2, mapping.address, mapping.length, flags)


@call("munlock", ADDRESS, SIZE)
async def _munlock(sysif: SyscallInterface, mapping: rsyscall.near.MemoryMapping) -> None:
    """The raw call."""
    await sysif.syscall(nr.munlock, mapping.address, mapping.length)


@call("mlockall", flags(MCL, "MCL_"))
async def _mlockall(sysif: SyscallInterface, flags: MCL) -> None:
    """The raw call."""
    await sysif.syscall(nr.mlockall, flags)


@call("munlockall")
async def _munlockall(sysif: SyscallInterface) -> None:
    """The raw call."""
    await sysif.syscall(nr.munlockall)


@call("msync", ADDRESS, SIZE, flags(MS, "MS_"))
async def _msync(sysif: SyscallInterface, mapping: rsyscall.near.MemoryMapping, flags: MS) -> None:
    """The raw call."""
    await sysif.syscall(nr.msync, mapping.address, mapping.length, flags)


@call("mincore", ADDRESS, SIZE, ADDRESS)
async def _mincore(
    sysif: SyscallInterface, mapping: rsyscall.near.MemoryMapping, vec: rsyscall.near.Address
) -> None:
    """The raw call."""
    await sysif.syscall(nr.mincore, mapping.address, mapping.length, vec)


@call("mremap", ADDRESS, SIZE, SIZE, flags(MREMAP, "MREMAP_"), NUMBER)
async def _mremap(
    sysif: SyscallInterface,
    record: CallRecord,
    mapping: rsyscall.near.MemoryMapping,
    new_length: int,
    flags: MREMAP,
) -> rsyscall.near.MemoryMapping:
    """The raw call."""
    address = await sysif.recorded_syscall(
        record, nr.mremap, mapping.address, mapping.length, new_length, flags
    )
    return rsyscall.near.MemoryMapping(address=address, length=new_length, page_size=mapping.page_size)


@call("mseal", ADDRESS, SIZE, NUMBER)
async def _mseal(sysif: SyscallInterface, mapping: rsyscall.near.MemoryMapping) -> None:
    """The raw call."""
    await sysif.syscall(nr.mseal, mapping.address, mapping.length, 0)


@call("pkey_alloc", NUMBER, flags(PKEY, "PKEY_"))
async def _pkey_alloc(sysif: SyscallInterface, flags: int, access_rights: PKEY) -> int:
    """The raw call."""
    return await sysif.syscall(nr.pkey_alloc, flags, access_rights)


@call("pkey_free", INT)
async def _pkey_free(sysif: SyscallInterface, pkey: int) -> None:
    """The raw call."""
    await sysif.syscall(nr.pkey_free, pkey)


@call("pkey_mprotect", ADDRESS, SIZE, flags(PROT, "PROT_", zero="PROT_NONE"), INT)
async def _pkey_mprotect(
    sysif: SyscallInterface, mapping: rsyscall.near.MemoryMapping, prot: PROT, pkey: int
) -> None:
    """The raw call."""
    await sysif.syscall(nr.pkey_mprotect, mapping.address, mapping.length, prot, pkey)
