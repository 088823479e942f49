"""`<linux/fs.h>`: attributes that some file systems keep of a file."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from rsyscall import far
from rsyscall.cstruct import CStruct, u32, u64
from rsyscall.fcntl import AT
from rsyscall.handle.arguments import DIRFD, PATH, SIZE, call, directory, flags, given, out
from rsyscall.handle.buffers import require_size
from rsyscall.handle.fd import BaseFileDescriptor
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near.naming import naming

if TYPE_CHECKING:
    from rsyscall.handle.pointer import PathPointer, Pointer
    from rsyscall.near import types as near
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["FS_XFLAG", "FileAttr", "FileAttrFileDescriptor", "FileAttrTask"]


class FS_XFLAG(enum.IntFlag):
    """`FS_XFLAG_*`: attributes of a file.

    manpage: FS_IOC_FSGETXATTR(2const)
    """

    NONE = 0
    REALTIME = 0x1
    PREALLOC = 0x2
    IMMUTABLE = 0x8
    APPEND = 0x10
    SYNC = 0x20
    NOATIME = 0x40
    NODUMP = 0x80
    RTINHERIT = 0x100
    PROJINHERIT = 0x200
    NOSYMLINKS = 0x400
    EXTSIZE = 0x800
    EXTSZINHERIT = 0x1000
    NODEFRAG = 0x2000
    FILESTREAM = 0x4000
    DAX = 0x8000
    COWEXTSIZE = 0x10000
    VERITY = 0x20000  # since Linux 7.0
    CASEFOLD = 0x40000  # since Linux 7.2
    CASENONPRESERVING = 0x80000  # since Linux 7.2
    HASATTR = 0x80000000


class FileAttr(CStruct, c="struct file_attr", headers=("linux/fs.h",)):
    """`struct file_attr`: attributes of a file. `nextents` can only be read.

    manpage: file_attr(2type)
    """

    xflags: FS_XFLAG = u64("fa_xflags", FS_XFLAG)  # since Linux 6.17
    extsize: int = u32("fa_extsize", default=0)  # since Linux 6.17
    nextents: int = u32("fa_nextents", default=0)  # since Linux 6.17
    projid: int = u32("fa_projid", default=0)  # since Linux 6.17
    cowextsize: int = u32("fa_cowextsize", default=0)  # since Linux 6.17


async def _get(
    task: far.Task,
    dirfd: near.FileDescriptor | None,
    path: PathPointer,
    attr: Pointer[FileAttr],
    flags: AT,
) -> Pointer[FileAttr]:
    check_pointers(path, attr)
    require_size(attr, FileAttr.sizeof())
    with path.borrow(task) as path_addr, attr.borrow(task) as attr_addr, naming(path.value):
        await _file_getattr(task.sysif, dirfd, path_addr, attr_addr, attr.size(), flags)
    return attr


async def _set(
    task: far.Task,
    dirfd: near.FileDescriptor | None,
    path: PathPointer,
    attr: Pointer[FileAttr],
    flags: AT,
) -> None:
    check_pointers(path, attr)
    require_size(attr, FileAttr.sizeof())
    with path.borrow(task) as path_addr, attr.borrow(task) as attr_addr, naming(path.value):
        await _file_setattr(task.sysif, dirfd, path_addr, attr_addr, attr.size(), flags)


class FileAttrFileDescriptor(BaseFileDescriptor):
    """Attributes of files below a directory."""

    __slots__ = ()

    async def file_getattr(
        self, path: PathPointer, attr: Pointer[FileAttr], flags: AT = AT.NONE
    ) -> Pointer[FileAttr]:
        """`file_getattr(fd, path, attr, size, flags)`: read the attributes of a file below this directory.

        Args:
            path: empty for this file itself, with `AT.EMPTY_PATH`; not consumed.
            flags: `AT.EMPTY_PATH`, `AT.SYMLINK_NOFOLLOW`.

        Returns:
            `attr`.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EOPNOTSUPP (the file system keeps none), ENOENT, EACCES...; ENOSYS before Linux 6.17;
                `filename` is the path.

        manpage: file_attr(2type)
        """
        self._validate()
        return await _get(self.task, self.near, path, attr, flags)

    async def file_setattr(self, path: PathPointer, attr: Pointer[FileAttr], flags: AT = AT.NONE) -> None:
        """`file_setattr(fd, path, attr, size, flags)`: set all attributes of a file below this directory.

        Args:
            path, flags: as for `file_getattr`.
            attr: what was read, with changes; not consumed.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EOPNOTSUPP (the file system does not keep one of them), EPERM, EINVAL, and those of
                `file_getattr`; `filename` is the path.

        manpage: file_attr(2type)
        """
        self._validate()
        await _set(self.task, self.near, path, attr, flags)


class FileAttrTask(far.Task):
    """Attributes of files by their paths."""

    async def file_getattr(
        self, path: PathPointer, attr: Pointer[FileAttr], flags: AT = AT.NONE
    ) -> Pointer[FileAttr]:
        """`file_getattr(AT_FDCWD, path, attr, size, flags)`: see `FileDescriptor.file_getattr`.

        manpage: file_attr(2type)
        """
        return await _get(self, None, path, attr, flags)

    async def file_setattr(self, path: PathPointer, attr: Pointer[FileAttr], flags: AT = AT.NONE) -> None:
        """`file_setattr(AT_FDCWD, path, attr, size, flags)`: see `FileDescriptor.file_setattr`.

        manpage: file_attr(2type)
        """
        await _set(self, None, path, attr, flags)


_AT_FLAGS = flags(AT, "AT_", ["EMPTY_PATH", "SYMLINK_NOFOLLOW"])


@call("file_getattr", DIRFD, PATH, out(FileAttr), SIZE, _AT_FLAGS)
async def _file_getattr(
    sysif: SyscallInterface,
    dirfd: near.FileDescriptor | None,
    path: near.Address,
    attr: near.Address,
    size: int,
    flags: AT,
) -> None:
    """The raw call; None is the working directory."""
    await sysif.syscall(nr.file_getattr, directory(dirfd), path, attr, size, flags)


@call("file_setattr", DIRFD, PATH, given(FileAttr), SIZE, _AT_FLAGS)
async def _file_setattr(
    sysif: SyscallInterface,
    dirfd: near.FileDescriptor | None,
    path: near.Address,
    attr: near.Address,
    size: int,
    flags: AT,
) -> None:
    """The raw call; None is the working directory."""
    await sysif.syscall(nr.file_setattr, directory(dirfd), path, attr, size, flags)
