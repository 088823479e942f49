"""`<sys/mman.h>`: mapping memory.

What is mapped is a `MemoryMapping`, which is in `rsyscall.handle.mapping`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rsyscall import far
from rsyscall.handle._later import later_names
from rsyscall.handle.fd import BaseFileDescriptor, FileDescriptorTask
from rsyscall.handle.mapping import MemoryMapping
from rsyscall.near.naming import naming
from rsyscall.near.record import CallRecord
from rsyscall.sys._mman_near import MADV, MAP, MAP_HUGE_MASK, MAP_HUGE_SHIFT, PROT, mmap_record
from rsyscall.sys._mman_near import _madvise as _madvise
from rsyscall.sys._mman_near import _mmap as _mmap
from rsyscall.sys._mman_near import _mprotect as _mprotect
from rsyscall.sys._mman_near import _munmap as _munmap

if TYPE_CHECKING:
    from rsyscall.linux.memfd import MFD
    from rsyscall.sys._mman_calls import SHADOW_STACK as SHADOW_STACK
    from rsyscall.sys._mman_calls import Cachestat as Cachestat
    from rsyscall.sys._mman_calls import CachestatRange as CachestatRange
    from rsyscall.sys._mman_pages import MCL as MCL
    from rsyscall.sys._mman_pages import MLOCK as MLOCK
    from rsyscall.sys._mman_pages import MREMAP as MREMAP
    from rsyscall.sys._mman_pages import MS as MS
    from rsyscall.sys._mman_pages import PKEY as PKEY
else:
    __getattr__ = later_names(
        __name__, "rsyscall.sys._mman_pages", "rsyscall.sys._mman_calls", "rsyscall.linux.memfd"
    )

__all__ = [
    "MADV",
    "MAP",
    "MFD",
    "PROT",
    "MappableFileDescriptor",
    "MemoryMapping",
    "MemoryMappingTask",
]


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
        record = mmap_record(self.sysif, length)
        mapping = await self.mmap_recorded(record, length, prot, flags, page_size)
        # The last thing here: nothing unmaps what a mapping that is dropped is of.
        record.release()
        return mapping

    async def mmap_recorded(
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
        record = mmap_record(self.task.sysif, length)
        with naming(self):
            near = await _mmap(
                self.task.sysif, record, length, prot, flags, fd=self.near, offset=offset, page_size=page_size
            )
        mapping = MemoryMapping(self.task, near, file or far.File())
        record.release()
        return mapping
