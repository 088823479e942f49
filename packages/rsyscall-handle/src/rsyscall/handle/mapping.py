"""Mapped memory.

A `MemoryMapping` owns pages of an address space. Several may denote the same pages (`for_task`) or parts of
them (`mapping[a:b]`). All that come from one `mmap` share one record of the unmapped pages, so that unmapping
twice is an error here: in the kernel it would destroy a newer mapping at the same address. Dropping a mapping
unmaps nothing: pages may be in use without a Python object that refers to them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import rsyscall.near
from rsyscall import far
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.handle.buffers import require_size
from rsyscall.near.naming import naming
from rsyscall.near.record import CallRecord
from rsyscall.sys._mman_near import MADV, PROT, _madvise, _mprotect, _munmap

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Protocol, TypeVar

    from rsyscall.sys._mman_pages import MLOCK, MREMAP, MS

    class _Buffer(Protocol):
        """The part of a pointer that this module uses, which is below that of pointers."""

        def size(self) -> int: ...

        def borrow(self, task: far.Task) -> AbstractContextManager[rsyscall.near.Address]: ...

    T_buffer = TypeVar("T_buffer", bound=_Buffer)

__all__ = ["MemoryMapping"]

_SMALLEST_PAGE = 4096


class _Region:
    """The common record of all mappings from one `mmap`: the address space, and the unmapped addresses."""

    __slots__ = ("address_space", "gone")

    def __init__(self, address_space: far.AddressSpace) -> None:
        self.address_space: far.AddressSpace = address_space
        self.gone: list[tuple[int, int]] = []

    def overlaps_gone(self, start: int, end: int) -> bool:
        """Is any address of `start` up to `end` unmapped, or being unmapped?"""
        return any(start < gone_end and gone_start < end for gone_start, gone_end in self.gone)


class MemoryMapping:
    """Pages mapped in the address space of `task`.

    Immutable; compares and hashes by (task, near, file). `file` is the identity of the mapped file: two
    mappings with the same `file` show the same bytes at the same offset.
    """

    __slots__ = ("__weakref__", "_region", "file", "near", "task")

    task: far.Task
    near: rsyscall.near.MemoryMapping
    file: far.File
    _region: _Region

    def __init__(
        self,
        task: far.Task,
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

    def for_task(self, task: far.Task) -> MemoryMapping:
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
        await self.munmap_recorded(CallRecord())

    async def munmap_recorded(self, record: CallRecord) -> None:
        """As `munmap`, where `record` tells afterwards whether the call was sent or refused."""
        with self.unmapping(record), naming(self):
            await _munmap(self.task.sysif, record, self.near)

    @contextmanager
    def unmapping(self, record: CallRecord | None = None) -> Iterator[CallRecord]:
        """Context manager for the call that unmaps these pages; gives the record to make the call with.

        Raises (on entry):
            UseAfterFreeError: some of the pages are unmapped already, or being unmapped.
        """
        if record is None:
            record = CallRecord()
        self._validate()
        start = self.near.address
        pages = (start, start + self.near.length)
        gone = self._region.gone
        try:
            # Recorded before the call: after it the kernel may reuse the addresses for another mapping.
            gone.append(pages)
            yield record
        except BaseException:
            # Refused by the kernel, or not sent. After a hang-up it is unknown whether it was executed.
            if (record.refused or not record.sent) and pages in gone:
                gone.remove(pages)
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
        with naming(self):
            await _madvise(self.task.sysif, self.near, advice)

    async def mprotect(self, prot: PROT) -> None:
        """`mprotect(address, length, prot)`: change what may be done with the pages, for every process of the
        address space.

        Raises:
            UseAfterFreeError: some of the pages are unmapped.
            OSError: EACCES (a file not open for that), ENOMEM; `filename` is this mapping.

        manpage: mprotect(2)
        """
        self._validate()
        with naming(self):
            await _mprotect(self.task.sysif, self.near, prot)

    # The module with the raw calls below is imported when the first of them is used: few programs do.

    async def mremap(self, new_length: int, flags: MREMAP) -> MemoryMapping:
        """`mremap(address, length, new_length, flags)`: make these pages more or fewer, or move them.

        Afterwards this mapping, and all others of these pages, are unusable, except with `MREMAP.DONTUNMAP`.

        Args:
            new_length: bytes; a positive multiple of the page size.
            flags: `MREMAP.MAYMOVE` if the address may change; with `MREMAP.DONTUNMAP`, too, the contents move
                and empty pages stay here.

        Returns:
            An owned mapping of `new_length` bytes.

        Raises:
            ValueError: `new_length` is not a multiple of the page size; `MREMAP.FIXED`.
            UseAfterFreeError: some of the pages are unmapped.
            OSError: ENOMEM (no room here, and no `MREMAP.MAYMOVE`), EINVAL, EAGAIN; `filename` is this
                mapping, which stays as it is.

        manpage: mremap(2)
        """
        from rsyscall.sys._mman_pages import MREMAP, _mremap

        page_size = self.near.page_size
        if new_length <= 0 or new_length % page_size:
            raise ValueError(f"length {new_length} is not a positive multiple of the page size {page_size}")
        if flags & MREMAP.FIXED:
            raise ValueError("a mapping at a fixed address needs an address, which this method does not take")
        self._validate()
        start = self.near.address
        pages = (start, start + self.near.length)
        gone = [] if flags & MREMAP.DONTUNMAP else self._region.gone
        sysif = self.task.sysif
        # It owns the pages in our own memory until a mapping does.
        record = CallRecord(None, False, new_length if sysif.shares_memory else 0)
        try:
            # As in `munmap_recorded`.
            gone.append(pages)
            with naming(self):
                moved = await _mremap(sysif, record, self.near, new_length, flags)
        except BaseException:
            if (record.refused or not record.sent) and pages in gone:
                gone.remove(pages)
            raise
        mapping = MemoryMapping(self.task, moved, self.file)
        record.release()
        return mapping

    async def msync(self, flags: MS) -> None:
        """`msync(address, length, flags)`: write changes of a shared file mapping to the file.

        Args:
            flags: `MS.SYNC` to wait until that is done; `rsyscall.sys.mman.MS`, not that of `mount`.

        Raises:
            UseAfterFreeError: some of the pages are unmapped.
            OSError: EIO, EINVAL, EBUSY, ENOMEM; `filename` is this mapping.

        manpage: msync(2)
        """
        from rsyscall.sys._mman_pages import _msync

        self._validate()
        with naming(self):
            await _msync(self.task.sysif, self.near, flags)

    async def mincore(self, vec: T_buffer) -> T_buffer:
        """`mincore(address, length, vec)`: find out which pages are in memory.

        Args:
            vec: a pointer to a byte for each page (of the kernel, not a huge page).

        Returns:
            `vec`; bit 0 of each byte says whether the page is in memory.

        Raises:
            BufferTooSmallError: `vec` is too small.
            UseAfterFreeError: some of the pages are unmapped.
            OSError: EAGAIN, ENOMEM; `filename` is this mapping.

        manpage: mincore(2)
        """
        from rsyscall.sys._mman_pages import _mincore

        self._validate()
        require_size(vec, -(-self.near.length // _SMALLEST_PAGE))
        with vec.borrow(self.task) as vec_addr, naming(self):
            await _mincore(self.task.sysif, self.near, vec_addr)
        return vec

    async def mlock(self) -> None:
        """`mlock(address, length)`: bring the pages into memory, and keep them there.

        Raises:
            UseAfterFreeError: some of the pages are unmapped.
            OSError: ENOMEM (RLIMIT_MEMLOCK), EPERM, EAGAIN; `filename` is this mapping.

        manpage: mlock(2)
        """
        from rsyscall.sys._mman_pages import _mlock

        self._validate()
        with naming(self):
            await _mlock(self.task.sysif, self.near)

    async def mlock2(self, flags: MLOCK) -> None:
        """`mlock2(address, length, flags)`: `mlock`; with `MLOCK.ONFAULT` each page once it is used.

        manpage: mlock(2)
        """
        from rsyscall.sys._mman_pages import _mlock2

        self._validate()
        with naming(self):
            await _mlock2(self.task.sysif, self.near, flags)

    async def munlock(self) -> None:
        """`munlock(address, length)`: let the kernel page the pages out again.

        manpage: mlock(2)
        """
        from rsyscall.sys._mman_pages import _munlock

        self._validate()
        with naming(self):
            await _munlock(self.task.sysif, self.near)

    async def pkey_mprotect(self, prot: PROT, pkey: int) -> None:
        """`pkey_mprotect(address, length, prot, pkey)`: `mprotect`, and give the pages a protection key.

        Args:
            pkey: from `Task.pkey_alloc`; -1 for no change.

        Raises:
            UseAfterFreeError: some of the pages are unmapped.
            OSError: EINVAL (no such key), and those of `mprotect`; `filename` is (this mapping, pkey).

        manpage: pkey_mprotect(2)
        """
        from rsyscall.sys._mman_pages import _pkey_mprotect

        self._validate()
        with naming((self, pkey)):
            await _pkey_mprotect(self.task.sysif, self.near, prot, pkey)

    async def mseal(self) -> None:
        """`mseal(address, length, 0)`: let the pages stay mapped as they are, until the address space ends.

        That cannot be undone: `munmap`, `mremap`, `mprotect` and destructive `madvise` fail with EPERM. If
        the task shares our memory, our own program keeps the pages.

        Raises:
            UseAfterFreeError: some of the pages are unmapped.
            OSError: ENOMEM; ENOSYS before Linux 6.10; `filename` is this mapping.

        manpage: mseal(2)
        """
        from rsyscall.sys._mman_pages import _mseal

        self._validate()
        with naming(self):
            await _mseal(self.task.sysif, self.near)
