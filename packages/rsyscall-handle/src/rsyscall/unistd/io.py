"""Reading and writing, from `<unistd.h>`.

Programs make these calls most often. So the methods make the system calls directly; there are no raw
functions.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, TypeVar

from rsyscall.handle.arguments import FDNUM, LONG, OUT, SIZE, call, choice, counted
from rsyscall.handle.fd import BaseFileDescriptor
from rsyscall.near import nr
from rsyscall.near.naming import naming

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer, ReadablePointer

__all__ = ["SEEK", "IOFileDescriptor", "SeekableFileDescriptor"]

T = TypeVar("T")


class SEEK(enum.IntEnum):
    """`SEEK_*`: the position to which an offset is relative.

    manpage: lseek(2)
    """

    SET = 0
    CUR = 1
    END = 2
    DATA = 3
    HOLE = 4


class IOFileDescriptor(BaseFileDescriptor):
    """Reading and writing at the position of the file, if it has one."""

    __slots__ = ()

    @call("read", FDNUM, OUT, SIZE)
    async def read(self, buf: Pointer[T]) -> tuple[ReadablePointer[T], Pointer[T]]:
        """`read(fd, buf, size)`: read what is available and fits in `buf`.

        Args:
            buf: where to put the data; split it first to read less. Consumed.

        Returns:
            The part that was filled and the rest, which together are `buf`. The first is empty at the end of
            the file.

        Raises:
            OSError: EAGAIN, EINTR, EISDIR, EIO...; `filename` is this descriptor. `buf` is still valid then.

        manpage: read(2)
        """
        self._validate()
        task = self.task
        with buf.borrow(task) as buf_addr, naming(self):
            count = await task.sysif.syscall(nr.read, self.near, buf_addr, buf.size())
        return buf.readable_split(count)

    @call("write", FDNUM, counted(2), SIZE)
    async def write(self, buf: Pointer[T]) -> tuple[Pointer[T], Pointer[T]]:
        """`write(fd, buf, size)`: write `buf`, or as much of it as there is room for.

        Args:
            buf: the data; split it first to write less. Consumed.

        Returns:
            The part that was written and the rest, which together are `buf`.

        Raises:
            OSError: EAGAIN, EPIPE (the process gets a SIGPIPE as well), EINTR, ENOSPC...; `filename` is this
                descriptor. `buf` is still valid then.

        manpage: write(2)
        """
        self._validate()
        task = self.task
        with buf.borrow(task) as buf_addr, naming(self):
            count = await task.sysif.syscall(nr.write, self.near, buf_addr, buf.size())
        return buf.split(count)


class SeekableFileDescriptor(IOFileDescriptor):
    """Reading and writing at given positions."""

    __slots__ = ()

    @call("pread64", FDNUM, OUT, SIZE, LONG)
    async def pread(self, buf: Pointer[T], offset: int) -> tuple[ReadablePointer[T], Pointer[T]]:
        """`pread64(fd, buf, size, offset)`: like `read`, at an offset, without moving the position.

        Args:
            offset: bytes from the start of the file.

        Raises:
            OSError: ESPIPE (a pipe or socket has no position), EINVAL (a negative offset), and those of
                `read`.

        manpage: pread(2)
        """
        self._validate()
        task = self.task
        with buf.borrow(task) as buf_addr, naming(self):
            count = await task.sysif.syscall(nr.pread64, self.near, buf_addr, buf.size(), offset)
        return buf.readable_split(count)

    @call("pwrite64", FDNUM, counted(2), SIZE, LONG)
    async def pwrite(self, buf: Pointer[T], offset: int) -> tuple[Pointer[T], Pointer[T]]:
        """`pwrite64(fd, buf, size, offset)`: like `write`, at an offset, without moving the position.

        Args:
            offset: bytes from the start of the file; with `O.APPEND` it is ignored.

        Raises:
            OSError: ESPIPE (a pipe or socket has no position), EINVAL (a negative offset), and those of
                `write`.

        manpage: pwrite(2)
        """
        self._validate()
        task = self.task
        with buf.borrow(task) as buf_addr, naming(self):
            count = await task.sysif.syscall(nr.pwrite64, self.near, buf_addr, buf.size(), offset)
        return buf.split(count)

    @call("lseek", FDNUM, LONG, choice(SEEK, "SEEK_"))
    async def lseek(self, offset: int, whence: SEEK) -> int:
        """`lseek(fd, offset, whence)`: move the position, which all descriptors of the open file share.

        Returns:
            The new position, in bytes from the start of the file.

        Raises:
            OSError: ESPIPE, EINVAL, ENXIO (no data or no hole there); `filename` is this descriptor.

        manpage: lseek(2)
        """
        self._validate()
        with naming(self):
            return await self.task.sysif.syscall(nr.lseek, self.near, offset, whence)
