"""`<sys/statfs.h>`: the state of a file system."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from rsyscall import far
from rsyscall.cstruct import CStruct, array, i64
from rsyscall.handle.arguments import FDNUM, PATH, call, out
from rsyscall.handle.buffers import require_size
from rsyscall.handle.fd import BaseFileDescriptor
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near.naming import naming

if TYPE_CHECKING:
    from rsyscall.handle.pointer import PathPointer, Pointer
    from rsyscall.near import types as near
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["ST", "Statfs", "StatfsFileDescriptor", "StatfsTask"]


class ST(enum.IntFlag):
    """`ST_*`: how a file system is mounted.

    manpage: statfs(2)
    """

    NONE = 0
    RDONLY = 1
    NOSUID = 2
    NODEV = 4
    NOEXEC = 8
    SYNCHRONOUS = 16
    VALID = 32  # of the kernel alone: the others mean something
    MANDLOCK = 64
    NOATIME = 1024
    NODIRATIME = 2048
    RELATIME = 4096
    NOSYMFOLLOW = 8192


class Statfs(
    CStruct, c="struct statfs", headers=("asm/statfs.h",), brief=("type", "bsize", "blocks", "bfree")
):
    """`struct statfs`: the state of a file system.

    `blocks`, `bfree` (free) and `bavail` (free for users without privileges) are in units of `bsize` bytes;
    `files` and `ffree` are inodes. `type` is the magic number of the kind of file system, `fsid` 8 bytes
    without a meaning, `namelen` the most bytes of a name, `frsize` the size of a fragment.

    manpage: statfs(2)
    """

    type: int = i64("f_type")
    bsize: int = i64("f_bsize")
    blocks: int = i64("f_blocks")
    bfree: int = i64("f_bfree")
    bavail: int = i64("f_bavail")
    files: int = i64("f_files")
    ffree: int = i64("f_ffree")
    fsid: bytes = array("f_fsid", 8)
    namelen: int = i64("f_namelen")
    frsize: int = i64("f_frsize")
    flags: ST = i64("f_flags", ST, prefix="ST_")
    spare: bytes = array("f_spare", 32, default=bytes(32))


class StatfsFileDescriptor(BaseFileDescriptor):
    """The file system of an open file."""

    __slots__ = ()

    async def fstatfs(self, buf: Pointer[Statfs]) -> Pointer[Statfs]:
        """`fstatfs(fd, buf)`: the state of the file system that the file is in.

        Args:
            buf: room for a `Statfs`; not consumed.

        Returns:
            The memory of `buf`, filled in.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EIO, ENOSYS (the file system has no state); `filename` is this descriptor.

        manpage: statfs(2)
        """
        self._validate()
        check_pointers(buf)
        require_size(buf, Statfs.sizeof())
        with buf.borrow(self.task) as buf_addr, naming(self):
            await _fstatfs(self.task.sysif, self.near, buf_addr)
        return buf


class StatfsTask(far.Task):
    """The file system at a path."""

    async def statfs(self, path: PathPointer, buf: Pointer[Statfs]) -> Pointer[Statfs]:
        """`statfs(path, buf)`: the state of the file system that a file is in.

        Args:
            path: any file in it; not consumed.
            buf: room for a `Statfs`; not consumed.

        Returns:
            The memory of `buf`, filled in.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: ENOENT, EACCES, ENOTDIR...; `filename` is the path.

        manpage: statfs(2)
        """
        check_pointers(path, buf)
        require_size(buf, Statfs.sizeof())
        with path.borrow(self) as path_addr, buf.borrow(self) as buf_addr, naming(path.value):
            await _statfs(self.sysif, path_addr, buf_addr)
        return buf


@call("fstatfs", FDNUM, out(Statfs))
async def _fstatfs(sysif: SyscallInterface, fd: near.FileDescriptor, buf: near.Address) -> None:
    """The raw call."""
    await sysif.syscall(nr.fstatfs, fd, buf)


@call("statfs", PATH, out(Statfs))
async def _statfs(sysif: SyscallInterface, path: near.Address, buf: near.Address) -> None:
    """The raw call."""
    await sysif.syscall(nr.statfs, path, buf)
