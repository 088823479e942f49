"""The calls of `<sys/mman.h>` that are not about one mapping. `rsyscall.sys.mman` has the names."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from rsyscall import far
from rsyscall.cstruct import CStruct, u64
from rsyscall.fcntl import O
from rsyscall.handle.arguments import (
    ADDRESS,
    FDNUM,
    NUMBER,
    OPEN_FLAGS,
    SIZE,
    array,
    call,
    choice,
    given,
    out,
)
from rsyscall.handle.arguments import flags as argument_flags
from rsyscall.handle.buffers import require_size
from rsyscall.handle.fd import BaseFileDescriptor, FileDescriptorTask, T_fd
from rsyscall.handle.mapping import MemoryMapping
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.near.record import CallRecord
from rsyscall.struct import StructList
from rsyscall.sys._mman_near import MADV, mmap_record
from rsyscall.sys._mman_pages import MCL, PKEY, _mlockall, _munlockall, _pkey_alloc, _pkey_free
from rsyscall.sys.uio import Iovec

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer, WrittenPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = [
    "SHADOW_STACK",
    "Cachestat",
    "CachestatFileDescriptor",
    "CachestatRange",
    "MadviseFileDescriptor",
    "PagesTask",
    "SecretTask",
    "ShadowStackTask",
]


class SHADOW_STACK(enum.IntFlag):
    """`SHADOW_STACK_*`: what `map_shadow_stack` puts into the shadow stack."""

    NONE = 0
    SET_TOKEN = 0x1  # since Linux 6.6
    SET_MARKER = 0x2  # since Linux 6.13


class CachestatRange(CStruct, c="struct cachestat_range", headers=("linux/mman.h",)):
    """`struct cachestat_range`: a part of a file, in bytes; a `len` of 0 reaches to the end.

    manpage: cachestat(2)
    """

    off: int = u64("off", default=0)  # since Linux 6.5
    len: int = u64("len", default=0)  # since Linux 6.5


class Cachestat(CStruct, c="struct cachestat", headers=("linux/mman.h",)):
    """`struct cachestat`: how many pages of a part of a file are in the page cache, dirty...

    manpage: cachestat(2)
    """

    nr_cache: int = u64("nr_cache")  # since Linux 6.5
    nr_dirty: int = u64("nr_dirty")  # since Linux 6.5
    nr_writeback: int = u64("nr_writeback")  # since Linux 6.5
    nr_evicted: int = u64("nr_evicted")  # since Linux 6.5
    nr_recently_evicted: int = u64("nr_recently_evicted")  # since Linux 6.5


class CachestatFileDescriptor(BaseFileDescriptor):
    """The pages of a file that are in memory."""

    __slots__ = ()

    async def cachestat(
        self, cstat_range: Pointer[CachestatRange], cstat: Pointer[Cachestat]
    ) -> Pointer[Cachestat]:
        """`cachestat(fd, cstat_range, cstat, 0)`: count the pages of this file that are in the page cache.

        Args:
            cstat_range: which part of the file; not consumed.

        Returns:
            `cstat`.

        Raises:
            BufferTooSmallError: one of the two is too small.
            OSError: EOPNOTSUPP (hugetlbfs); ENOSYS before Linux 6.5; `filename` is this descriptor.

        manpage: cachestat(2)
        """
        self._validate()
        check_pointers(cstat_range, cstat)
        require_size(cstat_range, CachestatRange.sizeof())
        require_size(cstat, Cachestat.sizeof())
        with cstat_range.borrow(self.task) as range_addr, cstat.borrow(self.task) as addr, naming(self):
            await _cachestat(self.task.sysif, self.near, range_addr, addr)
        return cstat


class MadviseFileDescriptor(BaseFileDescriptor):
    """The memory of the process that a pidfd is of."""

    __slots__ = ()

    async def process_madvise(self, iovec: WrittenPointer[StructList[Iovec]], advice: MADV) -> int:
        """`process_madvise(pidfd, iovec, vlen, advice, 0)`: tell the kernel how the process will use some of
        its memory.

        Args:
            iovec: pieces of its memory, with addresses that mean something to that process; not consumed.
            advice: `MADV.COLD`, `PAGEOUT`, `WILLNEED` or `COLLAPSE`; for our own process any, since Linux
                6.13.

        Returns:
            How many bytes of the pieces were dealt with: an error in a later piece ends the call.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EBADF (no pidfd), ESRCH, EPERM, EINVAL, ENOMEM; `filename` is (pidfd, advice).

        manpage: process_madvise(2)
        """
        self._validate()
        check_pointers(iovec)
        count = len(iovec.value.elems)
        require_size(iovec, count * Iovec.sizeof())
        with iovec.borrow(self.task) as addr, naming((self, advice)):
            return await _process_madvise(self.task.sysif, self.near, addr, count, advice)

    async def process_mrelease(self) -> None:
        """`process_mrelease(pidfd, 0)`: free the memory of the process, which is dying, at once.

        Raises:
            OSError: EBADF (no pidfd), EINVAL (it is not dying), ESRCH (it has no memory any longer); ENOSYS
                before Linux 5.15; `filename` is this descriptor.

        manpage: process_mrelease(2)
        """
        self._validate()
        with naming(self):
            await _process_mrelease(self.task.sysif, self.near)


class PagesTask(far.Task):
    """The address space of the task, and protection keys."""

    async def mlockall(self, flags: MCL) -> None:
        """`mlockall(flags)`: keep the pages of the address space in memory.

        All tasks of the address space have that in common, and perhaps our own program.

        Raises:
            OSError: ENOMEM, EPERM (RLIMIT_MEMLOCK), EINVAL; `filename` is the flags.

        manpage: mlockall(2)
        """
        with naming(flags):
            await _mlockall(self.sysif, flags)

    async def munlockall(self) -> None:
        """`munlockall()`: let the kernel page out any page of the address space again; see `mlockall`.

        manpage: mlockall(2)
        """
        with naming("munlockall"):
            await _munlockall(self.sysif)

    async def pkey_alloc(self, access_rights: PKEY = PKEY.UNRESTRICTED) -> int:
        """`pkey_alloc(0, access_rights)`: make a protection key, for `MemoryMapping.pkey_mprotect`.

        The address space has the key. What it forbids is a matter of each thread; that is set for the thread
        that makes the calls of this task, and for threads that it makes later.

        Returns:
            The key, for `pkey_free`.

        Raises:
            OSError: ENOSPC (all keys are in use, or the CPU has none), EINVAL; `filename` is the rights.

        manpage: pkey_alloc(2)
        """
        with naming(access_rights):
            return await _pkey_alloc(self.sysif, 0, access_rights)

    async def pkey_free(self, pkey: int) -> None:
        """`pkey_free(pkey)`: give a protection key back.

        Pages that still have the key get what the next one with that number forbids.

        Raises:
            OSError: EINVAL (no such key); `filename` is the key.

        manpage: pkey_alloc(2)
        """
        with naming(pkey):
            await _pkey_free(self.sysif, pkey)


class SecretTask(FileDescriptorTask[T_fd]):
    """Memory that no other process can read."""

    async def memfd_secret(self) -> T_fd:
        """`memfd_secret(O_CLOEXEC)`: make a file in memory that only the processes which map it can read.

        Set its size with `ftruncate`, and `mmap` it. `read` and `write` refuse the file, and neither
        `process_vm_readv` nor a debugger gets at the memory.

        Returns:
            A new descriptor.

        Raises:
            OSError: ENOSYS (before Linux 5.14, or switched off: `secretmem.enable`), EMFILE, ENFILE, ENOMEM;
                `filename` is "memfd_secret".

        manpage: memfd_secret(2)
        """
        record = CallRecord(self.fd_table)
        with naming("memfd_secret"):
            fd = await _memfd_secret(self.sysif, record, O.CLOEXEC)
        return self._adopt(fd, record)


class ShadowStackTask(FileDescriptorTask[T_fd]):
    """Memory for return addresses alone."""

    async def map_shadow_stack(
        self, size: int, flags: SHADOW_STACK = SHADOW_STACK.NONE, page_size: int = 4096
    ) -> MemoryMapping:
        """`map_shadow_stack(NULL, size, flags)`: map a shadow stack, where the processor keeps a second copy
        of the return addresses.

        A thread begins to use it when its code says so.

        Args:
            size: bytes; a positive multiple of `page_size`.
            flags: `SHADOW_STACK.SET_TOKEN` lets a thread switch to it.

        Returns:
            An owned mapping of `size` bytes, which may be read: `munmap` it, or leave it to the end of the
            address space.

        Raises:
            ValueError: `size` is not a multiple of `page_size`.
            OSError: EOPNOTSUPP (the processor has none), EINVAL, ENOMEM; ENOSYS before Linux 6.6, or if the
                kernel was built without it; `filename` is the size.

        manpage: map_shadow_stack(2)
        """
        if size <= 0 or size % page_size:
            raise ValueError(f"size {size} is not a positive multiple of the page size {page_size}")
        record = mmap_record(self.sysif, size)
        with naming(size):
            address = await _map_shadow_stack(self.sysif, record, size, flags)
        mapping = MemoryMapping(self, near.MemoryMapping(address, size, page_size), far.File())
        # The last thing here: nothing unmaps what a mapping that is dropped is of.
        record.release()
        return mapping


@call("cachestat", FDNUM, given(CachestatRange), out(Cachestat), NUMBER)
async def _cachestat(
    sysif: SyscallInterface, fd: near.FileDescriptor, cstat_range: near.Address, cstat: near.Address
) -> None:
    """The raw call."""
    await sysif.syscall(nr.cachestat, fd, cstat_range, cstat, 0)


@call("process_madvise", FDNUM, array(Iovec, 2), SIZE, choice(MADV, "MADV_"), NUMBER)
async def _process_madvise(
    sysif: SyscallInterface, pidfd: near.FileDescriptor, iovec: near.Address, vlen: int, advice: MADV
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.process_madvise, pidfd, iovec, vlen, advice, 0)


@call("process_mrelease", FDNUM, NUMBER)
async def _process_mrelease(sysif: SyscallInterface, pidfd: near.FileDescriptor) -> None:
    """The raw call."""
    await sysif.syscall(nr.process_mrelease, pidfd, 0)


@call("memfd_secret", OPEN_FLAGS)
async def _memfd_secret(sysif: SyscallInterface, record: CallRecord, flags: O) -> near.FileDescriptor:
    """The raw call; `record` owns the number that comes back."""
    return near.FileDescriptor(await sysif.recorded_syscall(record, nr.memfd_secret, flags))


@call("map_shadow_stack", ADDRESS, SIZE, argument_flags(SHADOW_STACK, "SHADOW_STACK_"))
async def _map_shadow_stack(
    sysif: SyscallInterface, record: CallRecord, size: int, flags: SHADOW_STACK
) -> int:
    """The raw call."""
    return await sysif.recorded_syscall(record, nr.map_shadow_stack, 0, size, flags)
