"""`<sys/mman.h>`: mapping memory.

A `MemoryMapping` owns pages of an address space. Several may denote the same pages (`for_task`) or parts of
them (`mapping[a:b]`); all that come from one `mmap` share the knowledge of which pages are gone, so that
unmapping twice is an error here and not, in the kernel, the loss of whatever was mapped at that address
since. Nothing is unmapped when a mapping is dropped: pages may be in use without any Python object saying so.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import rsyscall.near
from rsyscall import far
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.handle.fd import BaseFileDescriptor, FileDescriptorTask
from rsyscall.linux.memfd import MFD
from rsyscall.near import nr
from rsyscall.near.record import CallRecord

if TYPE_CHECKING:
    from rsyscall.near.sysif import SyscallInterface

__all__ = [
    "MADV",
    "MAP",
    "MFD",
    "PROT",
    "MappableFileDescriptor",
    "MemoryMapping",
    "MemoryMappingTask",
]


class PROT(enum.IntFlag):
    """`PROT_*`: what may be done with pages.

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


class _Region:
    """What all mappings that came out of one `mmap` know together: the address space, and which addresses are
    unmapped.
    """

    __slots__ = ("address_space", "gone")

    def __init__(self, address_space: far.AddressSpace) -> None:
        self.address_space = address_space
        self.gone: list[tuple[int, int]] = []

    def overlaps_gone(self, start: int, end: int) -> bool:
        """Is any address of `start` up to `end` unmapped, or being unmapped?"""
        return any(start < gone_end and gone_start < end for gone_start, gone_end in self.gone)


class MemoryMapping:
    """Pages mapped in the address space of `task`.

    Immutable; compares and hashes by (task, near, file). `file` is the identity of what is mapped: two
    mappings with the same `file` show the same bytes at the same offset.
    """

    __slots__ = ("__weakref__", "_region", "file", "near", "task")

    task: MemoryMappingTask
    near: rsyscall.near.MemoryMapping
    file: far.File
    _region: _Region

    def __init__(
        self,
        task: MemoryMappingTask,
        near: rsyscall.near.MemoryMapping,
        file: far.File,
        _region: _Region | None = None,
    ) -> None:
        initialize = object.__setattr__
        initialize(self, "task", task)
        initialize(self, "near", near)
        initialize(self, "file", file)
        initialize(self, "_region", _region or _Region(task.address_space))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MemoryMapping):
            return NotImplemented
        return (self.task, self.near, self.file) == (other.task, other.near, other.file)

    def __hash__(self) -> int:
        return hash((self.task, self.near, self.file))

    def __repr__(self) -> str:
        return f"MemoryMapping({self.task}, {self.near}, {self.file})"

    def _validate(self) -> None:
        """Raise unless all pages are still mapped, in the address space that the task is in now."""
        region = self._region
        self.task.check_address_space(region.address_space)
        start = self.near.address
        if region.gone and region.overlaps_gone(start, start + self.near.length):
            raise UseAfterFreeError("the mapping has been unmapped, at least in part", self)

    def for_task(self, task: MemoryMappingTask) -> MemoryMapping:
        """The same pages, to be used through another task of the same address space.

        Raises:
            AddressSpaceMismatchError: `task` is in another address space.
        """
        task.check_address_space(self._region.address_space)
        return MemoryMapping(task, self.near, self.file, self._region)

    def __getitem__(self, key: int | slice) -> MemoryMapping:
        """Some of the pages: `mapping[i]` is page number i, `mapping[a:b]` are pages a up to but not
        including b.

        Raises:
            ValueError: a page number outside the mapping, or a slice with a step or without both ends.
        """
        return MemoryMapping(self.task, self.near[key], self.file, self._region)

    def __iter__(self) -> Iterator[MemoryMapping]:
        """The pages, one by one."""
        return (self[i] for i in range(self.near.pages))

    async def munmap(self) -> None:
        """`munmap(address, length)`: give the pages back. Afterwards this mapping, and all others of these
        pages, are unusable.

        Raises:
            UseAfterFreeError: some of the pages are unmapped already, or another `munmap` of them is under
                way.
            SyscallError: the process has left the address space (exec, exit), or is gone.
            OSError: EINVAL (a wrong page size was given to `mmap`); the pages stay mapped.

        manpage: munmap(2)
        """
        await self._munmap(CallRecord())

    async def _munmap(self, record: CallRecord) -> None:
        self._validate()
        start = self.near.address
        pages = (start, start + self.near.length)
        gone = self._region.gone
        try:
            # Said before the call is made: once it has been, the addresses may belong to somebody else.
            gone.append(pages)
            await _munmap(self.task.sysif, record, self.near)
        except BaseException as exn:
            # Refused by the kernel, or not sent. After a hang-up nobody knows whether it was executed.
            if (record.refused or not record.sent) and pages in gone:
                gone.remove(pages)
            if isinstance(exn, OSError):
                exn.filename = self
            raise

    async def madvise(self, advice: MADV) -> None:
        """`madvise(address, length, advice)`: tell the kernel how the pages are going to be used.

        Some advice destroys contents (`DONTNEED`, `REMOVE`, `FREE`, `GUARD_INSTALL`), for every process that
        shares the memory.

        Raises:
            UseAfterFreeError: some of the pages are unmapped.
            OSError: EINVAL (not for this kind of mapping, unknown to this kernel), ENOMEM, EAGAIN; `filename`
                is this mapping.

        manpage: madvise(2)
        """
        self._validate()
        try:
            await _madvise(self.task.sysif, self.near, advice)
        except OSError as exn:
            exn.filename = self
            raise

    async def mprotect(self, prot: PROT) -> None:
        """`mprotect(address, length, prot)`: change what may be done with the pages, for every process of the
        address space.

        Raises:
            UseAfterFreeError: some of the pages are unmapped.
            OSError: EACCES (a file not open for that), ENOMEM; `filename` is this mapping.

        manpage: mprotect(2)
        """
        self._validate()
        try:
            await _mprotect(self.task.sysif, self.near, prot)
        except OSError as exn:
            exn.filename = self
            raise


def _check_mmap(length: int, flags: MAP, page_size: int) -> None:
    """Refuse what would make a mapping whose extent we do not know, before any call is made."""
    if length <= 0 or length % page_size:
        raise ValueError(f"length {length} is not a positive multiple of the page size {page_size}")
    if flags & (MAP.FIXED | MAP.FIXED_NOREPLACE):
        raise ValueError("a mapping at a fixed address needs an address, which this method does not take")
    if flags & MAP.HUGETLB:
        order = (flags >> MAP_HUGE_SHIFT) & MAP_HUGE_MASK
        # Without the size in the flags it is the system's default, which only the caller can know.
        if order and page_size != 1 << order:
            raise ValueError(f"flags say pages of {1 << order} bytes, page_size says {page_size}")


class MemoryMappingTask(FileDescriptorTask[Any]):
    """Mapping memory that belongs to no file."""

    async def mmap(self, length: int, prot: PROT, flags: MAP, page_size: int = 4096) -> MemoryMapping:
        """`mmap(NULL, length, prot, flags | MAP_ANONYMOUS, -1, 0)`: map fresh memory, filled with zeroes.

        Args:
            length: bytes; a positive multiple of `page_size`.
            flags: exactly one of `MAP.SHARED` and `MAP.PRIVATE`, or-ed with modifiers; `MAP.ANONYMOUS` is
                always added.
            page_size: bytes; the huge page size when `flags` has `MAP.HUGETLB`.

        Returns:
            An owned mapping of `length` bytes: `munmap` it, or leave it to the end of the address space.

        Raises:
            ValueError: `length` is not a multiple of `page_size`; `MAP.FIXED`; a `page_size` that contradicts
                `flags`.
            OSError: ENOMEM, EINVAL, EAGAIN, EPERM.

        manpage: mmap(2)
        """
        _check_mmap(length, flags, page_size)
        record = _mmap_record(self.sysif, length)
        mapping = await self._mmap_recorded(record, length, prot, flags, page_size)
        # The last thing here: nothing unmaps what a mapping that is dropped is of.
        record.release()
        return mapping

    async def _mmap_recorded(
        self, record: CallRecord, length: int, prot: PROT, flags: MAP, page_size: int = 4096
    ) -> MemoryMapping:
        """As `mmap`, where `record` goes on owning the mapping."""
        mapping = await _mmap(self.sysif, record, length, prot, flags | MAP.ANONYMOUS, page_size=page_size)
        return MemoryMapping(self, mapping, far.File())


class MappableFileDescriptor(BaseFileDescriptor):
    """Mapping a file."""

    __slots__ = ()

    task: MemoryMappingTask

    async def mmap(
        self,
        length: int,
        prot: PROT,
        flags: MAP,
        offset: int = 0,
        page_size: int = 4096,
        file: far.File | None = None,
    ) -> MemoryMapping:
        """`mmap(NULL, length, prot, flags, fd, offset)`: map this file into the task's address space.

        The mapping stays when the descriptor is closed.

        Args:
            length: bytes; a positive multiple of `page_size`. Pages beyond the end of the file raise SIGBUS
                when touched.
            flags: exactly one of `MAP.SHARED` and `MAP.PRIVATE`, or-ed with modifiers.
            offset: bytes from the start of the file; a multiple of the page size.
            page_size: bytes; that of the file if it is in hugetlbfs or was made with `MFD.HUGETLB`.
            file: identity of the file, to say that two mappings are of the same one; a new identity if not
                given.

        Returns:
            An owned mapping of `length` bytes: `munmap` it, or leave it to the end of the address space.

        Raises:
            ValueError: `length` is not a multiple of `page_size`; `MAP.FIXED`; a `page_size` that contradicts
                `flags`.
            OSError: EACCES (not open for reading, or not for writing what is shared), ENODEV, ENOMEM, EINVAL,
                EPERM (sealed); `filename` is this descriptor.

        manpage: mmap(2)
        """
        self._validate()
        _check_mmap(length, flags, page_size)
        record = _mmap_record(self.task.sysif, length)
        try:
            near = await _mmap(
                self.task.sysif, record, length, prot, flags, fd=self.near, offset=offset, page_size=page_size
            )
        except OSError as exn:
            exn.filename = self
            raise
        mapping = MemoryMapping(self.task, near, file or far.File())
        record.release()
        return mapping


def _mmap_record(sysif: SyscallInterface, length: int) -> CallRecord:
    """A record that owns what a call of mmap makes, if that is in our own memory."""
    return CallRecord(None, False, length if sysif.shares_memory else 0)


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


async def _munmap(sysif: SyscallInterface, record: CallRecord, mapping: rsyscall.near.MemoryMapping) -> None:
    """The raw call."""
    await sysif.recorded_syscall(record, nr.munmap, mapping.address, mapping.length)


async def _madvise(sysif: SyscallInterface, mapping: rsyscall.near.MemoryMapping, advice: MADV) -> None:
    """The raw call."""
    await sysif.syscall(nr.madvise, mapping.address, mapping.length, advice)


async def _mprotect(sysif: SyscallInterface, mapping: rsyscall.near.MemoryMapping, prot: PROT) -> None:
    """The raw call."""
    await sysif.syscall(nr.mprotect, mapping.address, mapping.length, prot)
