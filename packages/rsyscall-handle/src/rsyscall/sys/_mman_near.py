"""Constants and raw calls of `<sys/mman.h>`; import them from `rsyscall.sys.mman`."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import rsyscall.near
from rsyscall.handle.arguments import ADDRESS, FDNUM, SIZE, Kind, call, choice, flags
from rsyscall.near import nr
from rsyscall.near.record import CallRecord

if TYPE_CHECKING:
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["MADV", "MAP", "MAP_HUGE_MASK", "MAP_HUGE_SHIFT", "PROT", "mmap_record"]


class PROT(enum.IntFlag):
    """`PROT_*`: the permitted accesses to pages.

    manpage: mmap(2)
    """

    NONE = 0
    READ = 0x1
    WRITE = 0x2
    EXEC = 0x4
    SEM = 0x8
    BTI = 0x10  # aarch64
    MTE = 0x20  # aarch64
    GROWSDOWN = 0x01000000  # mprotect: extend the change to the start of a mapping that grows down
    GROWSUP = 0x02000000


class MAP(enum.IntFlag):
    """`MAP_*`: how pages are mapped.

    Exactly one of `SHARED`, `PRIVATE`, `SHARED_VALIDATE` (which is the number 3, not the two together) and
    `DROPPABLE`, or-ed with the others. `HUGETLB` may be or-ed with one `HUGE_*` member; those are encoded
    sizes, not independent bits.

    manpage: mmap(2)
    """

    FILE = 0
    SHARED = 0x01
    PRIVATE = 0x02
    SHARED_VALIDATE = 0x03
    DROPPABLE = 0x08  # since Linux 6.11
    FIXED = 0x10
    ANONYMOUS = 0x20
    ANON = 0x20
    BIT32 = 0x40  # MAP_32BIT; x86_64
    ABOVE4G = 0x80  # x86_64, since Linux 6.6
    GROWSDOWN = 0x0100
    DENYWRITE = 0x0800
    EXECUTABLE = 0x1000
    LOCKED = 0x2000
    NORESERVE = 0x4000
    POPULATE = 0x8000
    NONBLOCK = 0x10000
    STACK = 0x20000
    HUGETLB = 0x40000
    SYNC = 0x80000
    FIXED_NOREPLACE = 0x100000
    UNINITIALIZED = 0x4000000
    HUGE_16KB = 14 << 26
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


MAP_HUGE_SHIFT = 26
MAP_HUGE_MASK = 0x3F


class MADV(enum.IntFlag):
    """`MADV_*`: advice about pages. Single values, not bits, in spite of the type.

    manpage: madvise(2)
    """

    NORMAL = 0
    RANDOM = 1
    SEQUENTIAL = 2
    WILLNEED = 3
    DONTNEED = 4
    FREE = 8
    REMOVE = 9
    DONTFORK = 10
    DOFORK = 11
    MERGEABLE = 12
    UNMERGEABLE = 13
    HUGEPAGE = 14
    NOHUGEPAGE = 15
    DONTDUMP = 16
    DODUMP = 17
    WIPEONFORK = 18
    KEEPONFORK = 19
    COLD = 20
    PAGEOUT = 21
    POPULATE_READ = 22
    POPULATE_WRITE = 23
    DONTNEED_LOCKED = 24
    COLLAPSE = 25  # since Linux 6.1
    HWPOISON = 100
    SOFT_OFFLINE = 101
    GUARD_INSTALL = 102  # since Linux 6.13
    GUARD_REMOVE = 103  # since Linux 6.13


_PROT = flags(PROT, "PROT_", zero="PROT_NONE")


def mmap_record(sysif: SyscallInterface, length: int) -> CallRecord:
    """A record that owns the mapping that a call makes, if that is in our own memory."""
    return CallRecord(None, False, length if sysif.shares_memory else 0)


@call("mmap", ADDRESS, SIZE, _PROT, Kind("mmap_flags"), FDNUM, Kind("hex"))
async def _mmap(
    sysif: SyscallInterface,
    record: CallRecord,
    length: int,
    prot: PROT,
    flags: MAP,
    addr: rsyscall.near.Address | None = None,
    fd: rsyscall.near.FileDescriptor | None = None,
    offset: int = 0,
    page_size: int = 4096,
) -> rsyscall.near.MemoryMapping:
    """The raw call; `page_size` is only recorded."""
    address = await sysif.recorded_syscall(
        record, nr.mmap, addr or 0, length, prot, flags, -1 if fd is None else fd, offset
    )
    return rsyscall.near.MemoryMapping(address=address, length=length, page_size=page_size)


@call("munmap", ADDRESS, SIZE)
async def _munmap(sysif: SyscallInterface, record: CallRecord, mapping: rsyscall.near.MemoryMapping) -> None:
    """The raw call."""
    await sysif.recorded_syscall(record, nr.munmap, mapping.address, mapping.length)


@call("madvise", ADDRESS, SIZE, choice(MADV, "MADV_"))
async def _madvise(sysif: SyscallInterface, mapping: rsyscall.near.MemoryMapping, advice: MADV) -> None:
    """The raw call."""
    await sysif.syscall(nr.madvise, mapping.address, mapping.length, advice)


@call("mprotect", ADDRESS, SIZE, _PROT)
async def _mprotect(sysif: SyscallInterface, mapping: rsyscall.near.MemoryMapping, prot: PROT) -> None:
    """The raw call."""
    await sysif.syscall(nr.mprotect, mapping.address, mapping.length, prot)
