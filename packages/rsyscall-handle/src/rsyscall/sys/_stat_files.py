"""The calls of `<sys/stat.h>` that make special files and set times. `rsyscall.sys.stat` has the names."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from rsyscall import far
from rsyscall.cstruct import CStruct, nested
from rsyscall.fcntl import AT
from rsyscall.handle.arguments import DIRFD, MODE, PATH, UNSIGNED, call, directory, flags, given
from rsyscall.handle.buffers import require_size
from rsyscall.handle.fd import BaseFileDescriptor
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near.naming import naming
from rsyscall.time import Timespec

if TYPE_CHECKING:
    from rsyscall.handle.pointer import PathPointer, Pointer
    from rsyscall.near import types as near
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["UTIME", "FileTimes", "SpecialFileDescriptor", "SpecialFileTask"]


class UTIME(enum.IntEnum):
    """`UTIME_*`: what a `Timespec` for `utimensat` means if this is its `nsec`.

    manpage: utimensat(2)
    """

    NOW = 0x3FFFFFFF
    OMIT = 0x3FFFFFFE


class FileTimes(
    CStruct,
    c="struct { struct __kernel_timespec atime, mtime; }",
    headers=("linux/time_types.h",),
):
    """`struct timespec times[2]`: when a file was last read, and last written.

    `Timespec(0, UTIME.NOW)` is the current time, `Timespec(0, UTIME.OMIT)` leaves one as it is.

    manpage: utimensat(2)
    """

    atime: Timespec = nested("atime", Timespec)
    mtime: Timespec = nested("mtime", Timespec)


async def _set_times(
    task: far.Task,
    dirfd: near.FileDescriptor | None,
    path: PathPointer,
    times: Pointer[FileTimes],
    flags: AT,
) -> None:
    check_pointers(path, times)
    require_size(times, FileTimes.sizeof())
    with path.borrow(task) as path_addr, times.borrow(task) as times_addr, naming(path.value):
        await _utimensat(task.sysif, dirfd, path_addr, times_addr, flags)


async def _make(
    task: far.Task, dirfd: near.FileDescriptor | None, path: PathPointer, mode: int, dev: int
) -> None:
    check_pointers(path)
    with path.borrow(task) as path_addr, naming(path.value):
        await _mknodat(task.sysif, dirfd, path_addr, mode, dev)


class SpecialFileDescriptor(BaseFileDescriptor):
    """Times of a file, and special files in a directory."""

    __slots__ = ()

    async def futimens(self, times: Pointer[FileTimes]) -> None:
        """`utimensat(fd, NULL, times, 0)`: set the times of this file.

        Args:
            times: not consumed.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EPERM, EACCES, EROFS, EINVAL; `filename` is this descriptor.

        manpage: utimensat(2)
        """
        self._validate()
        check_pointers(times)
        require_size(times, FileTimes.sizeof())
        with times.borrow(self.task) as times_addr, naming(self):
            await _utimensat(self.task.sysif, self.near, None, times_addr, AT.NONE)

    async def utimensat(self, path: PathPointer, times: Pointer[FileTimes], flags: AT = AT.NONE) -> None:
        """`utimensat(fd, path, times, flags)`: set the times of a file below this directory.

        Args:
            path, times: not consumed.
            flags: `AT.SYMLINK_NOFOLLOW`, `AT.EMPTY_PATH`.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: ENOENT, EPERM, EACCES, EROFS, EINVAL...; `filename` is the path.

        manpage: utimensat(2)
        """
        self._validate()
        await _set_times(self.task, self.near, path, times, flags)

    async def mknodat(self, path: PathPointer, mode: int, dev: int = 0) -> None:
        """`mknodat(fd, path, mode, dev)`: make a file of any kind below this directory, but no directory.

        Args:
            path: not consumed.
            mode: the kind, an `S_IF`, or-ed with the permissions, from which the umask is taken.
            dev: number of a device, as `os.makedev` makes it, for `S_IF.CHR` and `S_IF.BLK`.

        Raises:
            OSError: EEXIST, ENOENT, EPERM (devices need CAP_MKNOD), EACCES, ENOSPC...; `filename` is the
                path.

        manpage: mknod(2)
        """
        self._validate()
        await _make(self.task, self.near, path, mode, dev)


class SpecialFileTask(far.Task):
    """Times of files, and special files, by their paths."""

    async def utimensat(self, path: PathPointer, times: Pointer[FileTimes], flags: AT = AT.NONE) -> None:
        """`utimensat(AT_FDCWD, path, times, flags)`: set the times of a file; see `FileDescriptor.utimensat`.

        manpage: utimensat(2)
        """
        await _set_times(self, None, path, times, flags)

    async def mknod(self, path: PathPointer, mode: int, dev: int = 0) -> None:
        """`mknodat(AT_FDCWD, path, mode, dev)`: make a file of any kind; see `FileDescriptor.mknodat`.

        manpage: mknod(2)
        """
        await _make(self, None, path, mode, dev)


@call("utimensat", DIRFD, PATH, given(FileTimes), flags(AT, "AT_", ["SYMLINK_NOFOLLOW", "EMPTY_PATH"]))
async def _utimensat(
    sysif: SyscallInterface,
    dirfd: near.FileDescriptor | None,
    path: near.Address | None,
    times: near.Address,
    flags: AT,
) -> None:
    """The raw call; None is the working directory, or the file `dirfd` itself in place of a path."""
    await sysif.syscall(nr.utimensat, directory(dirfd), 0 if path is None else path, times, flags)


@call("mknodat", DIRFD, PATH, MODE, UNSIGNED)
async def _mknodat(
    sysif: SyscallInterface, dirfd: near.FileDescriptor | None, path: near.Address, mode: int, dev: int
) -> None:
    """The raw call; None is the working directory."""
    await sysif.syscall(nr.mknodat, directory(dirfd), path, mode, dev)
