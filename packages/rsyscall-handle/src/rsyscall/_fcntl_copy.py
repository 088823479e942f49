"""The calls of `<fcntl.h>` that move data between pipes and files, or reserve, drop and write back parts of
files. `rsyscall.fcntl` has the names.
"""

from __future__ import annotations

import enum
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import TYPE_CHECKING, Any

from rsyscall.handle.arguments import ADDRESS, FDNUM, LONG, SIZE, Memory, call, choice, flags
from rsyscall.handle.buffers import require_size
from rsyscall.handle.fd import BaseFileDescriptor
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.struct import Int64

if TYPE_CHECKING:
    from rsyscall.handle.fd import FileDescriptorTask
    from rsyscall.handle.pointer import Pointer, WrittenPointer
    from rsyscall.near.sysif import SyscallInterface
    from rsyscall.sys.uio import IovecList

__all__ = ["FALLOC_FL", "POSIX_FADV", "SPLICE_F", "SYNC_FILE_RANGE", "CopyFileDescriptor"]

_IOVEC_SIZE = 16


class SPLICE_F(enum.IntFlag):
    """`SPLICE_F_*`: flags of `splice`, `tee` and `vmsplice`.

    manpage: splice(2)
    """

    NONE = 0
    MOVE = 1
    NONBLOCK = 2
    MORE = 4
    GIFT = 8


class FALLOC_FL(enum.IntFlag):
    """`FALLOC_FL_*`: what `fallocate` does with a range; without a flag it reserves space.

    manpage: fallocate(2)
    """

    NONE = 0x0
    KEEP_SIZE = 0x1
    PUNCH_HOLE = 0x2
    NO_HIDE_STALE = 0x4
    COLLAPSE_RANGE = 0x8
    ZERO_RANGE = 0x10
    INSERT_RANGE = 0x20
    UNSHARE_RANGE = 0x40
    WRITE_ZEROES = 0x80  # since Linux 6.17


class POSIX_FADV(enum.IntEnum):
    """`POSIX_FADV_*`: how a program will use a part of a file.

    manpage: posix_fadvise(2)
    """

    NORMAL = 0
    RANDOM = 1
    SEQUENTIAL = 2
    WILLNEED = 3
    DONTNEED = 4
    NOREUSE = 5


class SYNC_FILE_RANGE(enum.IntFlag):
    """`SYNC_FILE_RANGE_*`: whether `sync_file_range` waits before, writes, and waits after.

    manpage: sync_file_range(2)
    """

    NONE = 0
    WAIT_BEFORE = 1
    WRITE = 2
    WAIT_AFTER = 4
    WRITE_AND_WAIT = 7


OFFSET = Memory("offset", size=8)
"""The address of an offset in a file, or NULL."""


def borrow_offset(
    offset: Pointer[Int64] | None, task: FileDescriptorTask[Any]
) -> AbstractContextManager[near.Address | None]:
    """Borrow an offset in memory; None stands for the position of the file."""
    if offset is None:
        return nullcontext()
    require_size(offset, Int64.sizeof())
    return offset.borrow(task)


class CopyFileDescriptor(BaseFileDescriptor):
    """Moving data between files without memory of the process, and hints about parts of a file.

    If there is an offset in memory for a file, the call starts there and adds to it how many bytes it has
    moved. The position of the file then stays as it is.
    """

    __slots__ = ()

    async def splice(
        self,
        off_in: Pointer[Int64] | None,
        fd_out: BaseFileDescriptor,
        off_out: Pointer[Int64] | None,
        len: int,
        flags: SPLICE_F = SPLICE_F.NONE,
    ) -> int:
        """`splice(fd, off_in, fd_out, off_out, len, flags)`: move data from this file to `fd_out`; one of
        the two is a pipe.

        Args:
            off_in, off_out: where to start in each file; None for a pipe, or for the position of the file.
                Not consumed.
            len: how many bytes at most.

        Returns:
            How many bytes were moved; 0 at the end of this file.

        Raises:
            OSError: EAGAIN, EINVAL (none is a pipe, or a file cannot do that), ESPIPE (an offset for a
                pipe); `filename` is this descriptor, `filename2` is `fd_out`.

        manpage: splice(2)
        """
        self._validate()
        task = self.task
        with (
            fd_out.borrow(task) as out_near,
            borrow_offset(off_in, task) as in_addr,
            borrow_offset(off_out, task) as out_addr,
            naming(self, fd_out),
        ):
            return await _splice(task.sysif, self.near, in_addr, out_near, out_addr, len, flags)

    async def tee(self, fd_out: BaseFileDescriptor, len: int, flags: SPLICE_F = SPLICE_F.NONE) -> int:
        """`tee(fd, fd_out, len, flags)`: copy data from this pipe to another one; the data stays in this one.

        Args:
            len: how many bytes at most.

        Returns:
            How many bytes were copied; 0 if the pipe is empty and has no writer.

        Raises:
            OSError: EAGAIN, EINVAL (one is no pipe, or both are the same); `filename` is this descriptor,
                `filename2` is `fd_out`.

        manpage: tee(2)
        """
        self._validate()
        with fd_out.borrow(self.task) as out_near, naming(self, fd_out):
            return await _tee(self.task.sysif, self.near, out_near, len, flags)

    async def vmsplice(self, iov: WrittenPointer[IovecList], flags: SPLICE_F = SPLICE_F.NONE) -> int:
        """`vmsplice(fd, iov, nr_segs, flags)`: put memory into this pipe, or take data from it.

        A descriptor of the write end puts memory in, one of the read end takes data out. Do not change memory
        that you have put in before it has been read: the pipe refers to it and has no copy.

        Args:
            iov: the memory; not consumed.

        Returns:
            How many bytes were moved.

        Raises:
            OSError: EAGAIN, EBADF (not a pipe), EINVAL; `filename` is this descriptor.

        manpage: vmsplice(2)
        """
        self._validate()
        count = len(iov.value)
        require_size(iov, count * _IOVEC_SIZE)
        with ExitStack() as stack:
            iov_addr = stack.enter_context(iov.borrow(self.task))
            iov.value.borrow_with(stack, self.task)
            with naming(self):
                return await _vmsplice(self.task.sysif, self.near, iov_addr, count, flags)

    async def fallocate(self, mode: FALLOC_FL, offset: int, len: int) -> None:
        """`fallocate(fd, mode, offset, len)`: reserve, free, zero, insert or remove a part of this file.

        Args:
            offset, len: the part, in bytes.

        Raises:
            OSError: EOPNOTSUPP (the file system cannot do that), ENOSPC, EINVAL, EFBIG, ENODEV, ESPIPE,
                ETXTBSY; `filename` is (fd, mode, offset, len).

        manpage: fallocate(2)
        """
        self._validate()
        with naming((self, mode, offset, len)):
            await _fallocate(self.task.sysif, self.near, mode, offset, len)

    async def posix_fadvise(self, offset: int, len: int, advice: POSIX_FADV) -> None:
        """`fadvise64(fd, offset, len, advice)`: tell the kernel how a part of this file will be used.

        Args:
            offset, len: the part, in bytes; a `len` of 0 reaches to the end.

        Raises:
            OSError: EINVAL, ESPIPE (a pipe); `filename` is this descriptor.

        manpage: posix_fadvise(2)
        """
        self._validate()
        with naming(self):
            await _fadvise64(self.task.sysif, self.near, offset, len, advice)

    async def readahead(self, offset: int, count: int) -> None:
        """`readahead(fd, offset, count)`: begin to read a part of this file into the page cache.

        Args:
            offset, count: the part, in bytes.

        Raises:
            OSError: EINVAL (the file cannot do that), EBADF (not open for reading); `filename` is this
                descriptor.

        manpage: readahead(2)
        """
        self._validate()
        with naming(self):
            await _readahead(self.task.sysif, self.near, offset, count)

    async def sync_file_range(self, offset: int, nbytes: int, flags: SYNC_FILE_RANGE) -> None:
        """`sync_file_range(fd, offset, nbytes, flags)`: write a part of this file to the disk.

        This does not write metadata: if the file has grown, its new part may be lost in a crash. `fdatasync`
        writes all that is needed.

        Args:
            offset, nbytes: the part, in bytes; an `nbytes` of 0 reaches to the end.

        Raises:
            OSError: EINVAL, EIO, ENOSPC, ESPIPE (not a file); `filename` is this descriptor.

        manpage: sync_file_range(2)
        """
        self._validate()
        with naming(self):
            await _sync_file_range(self.task.sysif, self.near, offset, nbytes, flags)


_SPLICE = flags(SPLICE_F, "SPLICE_F_")


@call("splice", FDNUM, OFFSET, FDNUM, OFFSET, SIZE, _SPLICE)
async def _splice(
    sysif: SyscallInterface,
    fd_in: near.FileDescriptor,
    off_in: near.Address | None,
    fd_out: near.FileDescriptor,
    off_out: near.Address | None,
    len: int,
    flags: SPLICE_F,
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.splice, fd_in, off_in or 0, fd_out, off_out or 0, len, flags)


@call("tee", FDNUM, FDNUM, SIZE, _SPLICE)
async def _tee(
    sysif: SyscallInterface,
    fd_in: near.FileDescriptor,
    fd_out: near.FileDescriptor,
    len: int,
    flags: SPLICE_F,
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.tee, fd_in, fd_out, len, flags)


@call("vmsplice", FDNUM, ADDRESS, SIZE, _SPLICE)
async def _vmsplice(
    sysif: SyscallInterface, fd: near.FileDescriptor, iov: near.Address, nr_segs: int, flags: SPLICE_F
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.vmsplice, fd, iov, nr_segs, flags)


@call("fallocate", FDNUM, flags(FALLOC_FL, "FALLOC_FL_"), LONG, LONG)
async def _fallocate(
    sysif: SyscallInterface, fd: near.FileDescriptor, mode: FALLOC_FL, offset: int, len: int
) -> None:
    """The raw call."""
    await sysif.syscall(nr.fallocate, fd, mode, offset, len)


@call("fadvise64", FDNUM, LONG, LONG, choice(POSIX_FADV, "POSIX_FADV_"))
async def _fadvise64(
    sysif: SyscallInterface, fd: near.FileDescriptor, offset: int, len: int, advice: POSIX_FADV
) -> None:
    """The raw call."""
    await sysif.syscall(nr.fadvise64, fd, offset, len, advice)


@call("readahead", FDNUM, LONG, SIZE)
async def _readahead(sysif: SyscallInterface, fd: near.FileDescriptor, offset: int, count: int) -> None:
    """The raw call."""
    await sysif.syscall(nr.readahead, fd, offset, count)


@call("sync_file_range", FDNUM, LONG, LONG, flags(SYNC_FILE_RANGE, "SYNC_FILE_RANGE_"))
async def _sync_file_range(
    sysif: SyscallInterface, fd: near.FileDescriptor, offset: int, nbytes: int, flags: SYNC_FILE_RANGE
) -> None:
    """The raw call."""
    await sysif.syscall(nr.sync_file_range, fd, offset, nbytes, flags)
