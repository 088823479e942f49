"""Files by name, from `<unistd.h>`, `<fcntl.h>`, `<stdio.h>` and `<sys/stat.h>`.

In methods of a descriptor, a relative path begins at the directory of the descriptor; in methods of a task,
at its working directory. An `OSError` has the path as its `filename`, and in calls with two paths the second
one as `filename2`. No method here consumes a path.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, TypeVar

from rsyscall.fcntl import AT, O
from rsyscall.handle.fd import BaseFileDescriptor, FileDescriptorTask, T_fd
from rsyscall.handle.pointer import (
    PathPointer,
    Pointer,
    ReadablePointer,
    check_pointers,
    not_a_pointer,
)
from rsyscall.near import SyscallInterface
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.near.record import CallRecord
from rsyscall.unistd import _fs_near as raw
from rsyscall.unistd._fs_near import OK, RENAME
from rsyscall.unistd.fds import CloseRangeTask, DupFileDescriptor

__all__ = ["OK", "RENAME", "FSFileDescriptor", "FSTask", "open_along"]

T = TypeVar("T")
# Or-ing numbers is an order of magnitude faster than or-ing flags.
_CLOEXEC = O.CLOEXEC.value


class _WorkingDirectory:
    """Takes the place of a borrowed descriptor, where the working directory is meant."""

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exc: object) -> None:
        pass


_WORKING_DIRECTORY = _WorkingDirectory()


def _borrow_directory(
    fd: BaseFileDescriptor | None, task: FileDescriptorTask[T_fd]
) -> AbstractContextManager[near.FileDescriptor | None]:
    """Borrow the descriptor of a directory; None is the working directory."""
    return _WORKING_DIRECTORY if fd is None else fd.borrow(task)


# One body for each call that is a method of a directory descriptor and of a task. `dirfd` is the number of a
# descriptor that has been checked; None is the working directory.


async def _readlink(
    task: FileDescriptorTask[Any], dirfd: near.FileDescriptor | None, path: PathPointer, buf: Pointer[T]
) -> tuple[ReadablePointer[T], Pointer[T]]:
    if not isinstance(path, Pointer):
        raise not_a_pointer(path)
    with path.borrow(task) as path_addr, buf.borrow(task) as buf_addr, naming(path.value):
        count = await raw._readlinkat(task.sysif, dirfd, path_addr, buf_addr, buf.size())
    return buf.readable_split(count)


async def _access(
    task: FileDescriptorTask[Any], dirfd: near.FileDescriptor | None, path: PathPointer, mode: int, flags: int
) -> None:
    if not isinstance(path, Pointer):
        raise not_a_pointer(path)
    with path.borrow(task) as path_addr, naming(path.value):
        await raw._faccessat(task.sysif, dirfd, path_addr, flags, mode)


async def _open(
    task: FileDescriptorTask[T_fd], dirfd: near.FileDescriptor | None, path: PathPointer, flags: O, mode: int
) -> T_fd:
    if not isinstance(path, Pointer):
        raise not_a_pointer(path)
    record = CallRecord(task.fd_table)
    with path.borrow(task) as path_addr, naming(path.value):
        fd = await raw._openat(task.sysif, record, dirfd, path_addr, int(flags) | _CLOEXEC, mode)
    return task._adopt(fd, record)


async def open_along(
    task: FileDescriptorTask[T_fd], sysif: SyscallInterface, path: near.Address, flags: O, mode: int
) -> T_fd:
    """As `task.open`, by an interface with which other steps travel; see `rsyscall.near.along`.

    Args:
        path: borrowed by the caller.
    """
    record = CallRecord(task.fd_table)
    fd = await raw._openat(sysif, record, None, path, int(flags) | _CLOEXEC, mode)
    return task._adopt(fd, record)


async def _mkdir(
    task: FileDescriptorTask[Any], dirfd: near.FileDescriptor | None, path: PathPointer, mode: int
) -> None:
    if not isinstance(path, Pointer):
        raise not_a_pointer(path)
    with path.borrow(task) as path_addr, naming(path.value):
        await raw._mkdirat(task.sysif, dirfd, path_addr, mode)


async def _unlink(
    task: FileDescriptorTask[Any], dirfd: near.FileDescriptor | None, path: PathPointer, flags: AT
) -> None:
    if not isinstance(path, Pointer):
        raise not_a_pointer(path)
    with path.borrow(task) as path_addr, naming(path.value):
        await raw._unlinkat(task.sysif, dirfd, path_addr, flags)


async def _link(
    task: FileDescriptorTask[Any],
    olddirfd: BaseFileDescriptor | None,
    oldpath: PathPointer,
    newdirfd: BaseFileDescriptor | None,
    newpath: PathPointer,
    flags: AT,
) -> None:
    check_pointers(oldpath, newpath)
    with (
        _borrow_directory(olddirfd, task) as olddir,
        oldpath.borrow(task) as old_addr,
        _borrow_directory(newdirfd, task) as newdir,
        newpath.borrow(task) as new_addr,
        naming(oldpath.value, newpath.value),
    ):
        await raw._linkat(task.sysif, olddir, old_addr, newdir, new_addr, flags)


async def _rename(
    task: FileDescriptorTask[Any],
    olddirfd: BaseFileDescriptor | None,
    oldpath: PathPointer,
    newdirfd: BaseFileDescriptor | None,
    newpath: PathPointer,
    flags: RENAME,
) -> None:
    check_pointers(oldpath, newpath)
    with (
        _borrow_directory(olddirfd, task) as olddir,
        oldpath.borrow(task) as old_addr,
        _borrow_directory(newdirfd, task) as newdir,
        newpath.borrow(task) as new_addr,
        naming(oldpath.value, newpath.value),
    ):
        await raw._renameat2(task.sysif, olddir, old_addr, newdir, new_addr, flags)


async def _symlink(
    task: FileDescriptorTask[Any],
    target: PathPointer,
    newdirfd: near.FileDescriptor | None,
    linkpath: PathPointer,
) -> None:
    check_pointers(target, linkpath)
    with (
        target.borrow(task) as target_addr,
        linkpath.borrow(task) as link_addr,
        naming(target.value, linkpath.value),
    ):
        await raw._symlinkat(task.sysif, target_addr, newdirfd, link_addr)


async def _chmod(
    task: FileDescriptorTask[Any], dirfd: near.FileDescriptor | None, path: PathPointer, mode: int, flags: AT
) -> None:
    if not isinstance(path, Pointer):
        raise not_a_pointer(path)
    with path.borrow(task) as path_addr, naming(path.value):
        await raw._fchmodat(task.sysif, dirfd, path_addr, mode, flags)


async def _chown(
    task: FileDescriptorTask[Any],
    dirfd: near.FileDescriptor | None,
    path: PathPointer,
    owner: int,
    group: int,
    flags: AT,
) -> None:
    if not isinstance(path, Pointer):
        raise not_a_pointer(path)
    with path.borrow(task) as path_addr, naming(path.value):
        await raw._fchownat(task.sysif, dirfd, path_addr, owner, group, flags)


class FSFileDescriptor(DupFileDescriptor):
    """Files below an open directory, and the open file itself."""

    __slots__ = ()

    async def readlinkat(self, path: PathPointer, buf: Pointer[T]) -> tuple[ReadablePointer[T], Pointer[T]]:
        """`readlinkat(fd, path, buf, size)`: the target of a symbolic link.

        Args:
            path: of the link; an empty path for a link that this descriptor refers to, which was opened with
                `O.PATH | O.NOFOLLOW`.
            buf: consumed.

        Returns:
            The part that was filled, with no NUL at its end, and the rest. If the rest is empty, the target
            may have been cut off.

        Raises:
            OSError: EINVAL (not a link), ENOENT (also for an empty path, if this is not a link)... `buf` is
                still valid then.

        manpage: readlink(2)
        """
        self._validate()
        return await _readlink(self.task, self.near, path, buf)

    async def faccessat(self, ptr: PathPointer, mode: OK, flags: AT = AT.NONE) -> None:
        """`faccessat(fd, ptr, mode)`, or `faccessat2` when there are flags: check whether this process may
        use a file as `mode` says.

        The kernel checks the real user and group; with `AT.EACCESS`, the effective ones. For a directory, to
        execute means to search.

        Args:
            ptr: the path.

        Raises:
            OSError: EACCES, ENOENT, ENOSYS (flags need Linux 5.8)...

        manpage: access(2)
        """
        self._validate()
        await _access(self.task, self.near, ptr, mode, flags)

    async def openat(self: T_fd, path: PathPointer, flags: O, mode: int = 0o644) -> T_fd:
        """`openat(fd, path, flags | O_CLOEXEC, mode)`: open a file below this directory.

        Args:
            mode: permissions of a file that is created, less the umask.

        Returns:
            A new descriptor.

        Raises:
            OSError: ENOENT, EACCES, ENOTDIR, EEXIST, EMFILE...

        manpage: open(2)
        """
        self._validate()
        new: T_fd = await _open(self.task, self.near, path, flags, mode)
        return new

    async def mkdirat(self, path: PathPointer, mode: int = 0o755) -> None:
        """`mkdirat(fd, path, mode)`: make a directory; its permissions are `mode` less the umask.

        manpage: mkdir(2)
        """
        self._validate()
        await _mkdir(self.task, self.near, path, mode)

    async def unlinkat(self, path: PathPointer, flags: AT = AT.NONE) -> None:
        """`unlinkat(fd, path, flags)`: remove a name; with `AT.REMOVEDIR`, an empty directory.

        manpage: unlink(2)
        """
        self._validate()
        await _unlink(self.task, self.near, path, flags)

    async def rmdirat(self, path: PathPointer) -> None:
        """`unlinkat(fd, path, AT_REMOVEDIR)`: remove an empty directory.

        manpage: unlink(2)
        """
        await self.unlinkat(path, AT.REMOVEDIR)

    async def linkat(
        self,
        oldpath: PathPointer,
        newdirfd: FSFileDescriptor | None,
        newpath: PathPointer,
        flags: AT = AT.NONE,
    ) -> None:
        """`linkat(fd, oldpath, newdirfd, newpath, flags)`: give a file another name.

        Args:
            oldpath: relative to this directory; with `AT.EMPTY_PATH` and an empty path, the file that this
                descriptor refers to.
            newdirfd: what `newpath` is relative to; None for the working directory.
            flags: `AT.SYMLINK_FOLLOW`: if `oldpath` is a symbolic link, link its target.

        Raises:
            FDTableMismatchError: `newdirfd` is in another table.
            OSError: EEXIST, EXDEV, EPERM (hard links to directories), ENOENT...

        manpage: link(2)
        """
        self._validate()
        await _link(self.task, self, oldpath, newdirfd, newpath, flags)

    async def renameat(
        self,
        oldpath: PathPointer,
        newdirfd: FSFileDescriptor | None,
        newpath: PathPointer,
        flags: RENAME = RENAME.NONE,
    ) -> None:
        """`renameat2(fd, oldpath, newdirfd, newpath, flags)`: move a file; it replaces what was at `newpath`
        in one step.

        Args:
            oldpath: relative to this directory.
            newdirfd: what `newpath` is relative to; None for the working directory.

        Raises:
            FDTableMismatchError: `newdirfd` is in another table.
            OSError: ENOENT, EXDEV, EEXIST (`RENAME.NOREPLACE`), ENOTEMPTY, EINVAL (into itself; flags unknown
                to the file system)...

        manpage: rename(2)
        """
        self._validate()
        await _rename(self.task, self, oldpath, newdirfd, newpath, flags)

    async def symlinkat(self, target: PathPointer, linkpath: PathPointer) -> None:
        """`symlinkat(target, fd, linkpath)`: make a symbolic link at `linkpath`, relative to this directory.

        Args:
            target: the text of the link, any string. Whenever a path leads through the link, the kernel looks
                this up from the directory that the link is in.

        manpage: symlink(2)
        """
        self._validate()
        await _symlink(self.task, target, self.near, linkpath)

    async def fchmodat(self, path: PathPointer, mode: int, flags: AT = AT.NONE) -> None:
        """`fchmodat(fd, path, mode)`, or `fchmodat2` (Linux 6.6) when there are flags: change the permissions
        of a file.

        manpage: chmod(2)
        """
        self._validate()
        await _chmod(self.task, self.near, path, mode, flags)

    async def fchownat(self, path: PathPointer, owner: int, group: int, flags: AT = AT.NONE) -> None:
        """`fchownat(fd, path, owner, group, flags)`: change owner and group of a file; -1 leaves one as it
        is.

        manpage: chown(2)
        """
        self._validate()
        await _chown(self.task, self.near, path, owner, group, flags)

    async def fchmod(self, mode: int) -> None:
        """`fchmod(fd, mode)`: change the permissions of this file.

        manpage: chmod(2)
        """
        self._validate()
        with naming(self):
            await raw._fchmod(self.task.sysif, self.near, mode)

    async def fchown(self, owner: int, group: int) -> None:
        """`fchown(fd, owner, group)`: change owner and group of this file; -1 leaves one as it is.

        manpage: chown(2)
        """
        self._validate()
        with naming(self):
            await raw._fchown(self.task.sysif, self.near, owner, group)

    async def ftruncate(self, length: int) -> None:
        """`ftruncate(fd, length)`: cut this file to `length` bytes, or make it longer with zeroes.

        manpage: truncate(2)
        """
        self._validate()
        with naming(self):
            await raw._ftruncate(self.task.sysif, self.near, length)

    async def fsync(self) -> None:
        """`fsync(fd)`: wait until the data written to this file, and its attributes, are on the disk.

        The kernel reports an error once; data that it could not write may be lost.

        manpage: fsync(2)
        """
        self._validate()
        with naming(self):
            await raw._fsync(self.task.sysif, self.near)

    async def fdatasync(self) -> None:
        """`fdatasync(fd)`: as `fsync`, without the attributes (times) that reading does not need.

        manpage: fsync(2)
        """
        self._validate()
        with naming(self):
            await raw._fdatasync(self.task.sysif, self.near)

    async def syncfs(self) -> None:
        """`syncfs(fd)`: write all data of the file system that this file is in to the disk.

        manpage: sync(2)
        """
        self._validate()
        with naming(self):
            await raw._syncfs(self.task.sysif, self.near)


class FSTask(CloseRangeTask[T_fd]):
    """Files by path, relative to the working directory."""

    async def readlink(self, path: PathPointer, buf: Pointer[T]) -> tuple[ReadablePointer[T], Pointer[T]]:
        """`readlinkat(AT_FDCWD, path, buf, size)`: the target of a symbolic link.

        Args:
            buf: consumed.

        Returns:
            The part that was filled, with no NUL at its end, and the rest. If the rest is empty, the target
            may have been cut off.

        Raises:
            OSError: EINVAL (not a link), ENOENT... `buf` is still valid then.

        manpage: readlink(2)
        """
        return await _readlink(self, None, path, buf)

    async def access(self, path: PathPointer, mode: int, flags: int = 0) -> None:
        """`faccessat(AT_FDCWD, path, mode)`, or `faccessat2` when there are flags: check whether this process
        may use a file as `mode` says; see `FSFileDescriptor.faccessat`.

        Args:
            mode: an `OK`.
            flags: an `AT`.

        Raises:
            OSError: EACCES, ENOENT, ENOSYS (flags need Linux 5.8)...

        manpage: access(2)
        """
        await _access(self, None, path, mode, flags)

    async def open(self, path: PathPointer, flags: O, mode: int = 0o644) -> T_fd:
        """`openat(AT_FDCWD, path, flags | O_CLOEXEC, mode)`: open a file.

        Args:
            mode: permissions of a file that is created, less the umask.

        Returns:
            A new descriptor.

        Raises:
            OSError: ENOENT, EACCES, EISDIR, EEXIST, EMFILE...

        manpage: open(2)
        """
        return await _open(self, None, path, flags, mode)

    async def mkdir(self, path: PathPointer, mode: int = 0o755) -> None:
        """`mkdirat(AT_FDCWD, path, mode)`: make a directory; its permissions are `mode` less the umask.

        manpage: mkdir(2)
        """
        await _mkdir(self, None, path, mode)

    async def unlink(self, path: PathPointer) -> None:
        """`unlinkat(AT_FDCWD, path, 0)`: remove a name of a file that is not a directory.

        manpage: unlink(2)
        """
        await _unlink(self, None, path, AT.NONE)

    async def rmdir(self, path: PathPointer) -> None:
        """`unlinkat(AT_FDCWD, path, AT_REMOVEDIR)`: remove an empty directory.

        manpage: rmdir(2)
        """
        await _unlink(self, None, path, AT.REMOVEDIR)

    async def link(self, oldpath: PathPointer, newpath: PathPointer) -> None:
        """`linkat(AT_FDCWD, oldpath, AT_FDCWD, newpath, 0)`: give a file another name.

        manpage: link(2)
        """
        await _link(self, None, oldpath, None, newpath, AT.NONE)

    async def linkat(
        self,
        olddirfd: FSFileDescriptor | None,
        oldpath: PathPointer,
        newdirfd: FSFileDescriptor | None,
        newpath: PathPointer,
        flags: AT = AT.NONE,
    ) -> None:
        """`linkat(olddirfd, oldpath, newdirfd, newpath, flags)`: give a file another name.

        Args:
            olddirfd, newdirfd: what the paths are relative to; None for the working directory.

        Raises:
            FDTableMismatchError: one of the descriptors is in another table.
            OSError: see `FSFileDescriptor.linkat`.

        manpage: link(2)
        """
        await _link(self, olddirfd, oldpath, newdirfd, newpath, flags)

    async def rename(self, oldpath: PathPointer, newpath: PathPointer) -> None:
        """`renameat2(AT_FDCWD, oldpath, AT_FDCWD, newpath, 0)`: move a file; it replaces what was at
        `newpath` in one step.

        manpage: rename(2)
        """
        await _rename(self, None, oldpath, None, newpath, RENAME.NONE)

    async def renameat(
        self,
        olddirfd: FSFileDescriptor | None,
        oldpath: PathPointer,
        newdirfd: FSFileDescriptor | None,
        newpath: PathPointer,
        flags: RENAME = RENAME.NONE,
    ) -> None:
        """`renameat2(olddirfd, oldpath, newdirfd, newpath, flags)`: move a file.

        Args:
            olddirfd, newdirfd: what the paths are relative to; None for the working directory.

        Raises:
            FDTableMismatchError: one of the descriptors is in another table.
            OSError: see `FSFileDescriptor.renameat`.

        manpage: rename(2)
        """
        await _rename(self, olddirfd, oldpath, newdirfd, newpath, flags)

    async def symlink(self, target: PathPointer, linkpath: PathPointer) -> None:
        """`symlinkat(target, AT_FDCWD, linkpath)`: make a symbolic link at `linkpath` to `target`.

        manpage: symlink(2)
        """
        await _symlink(self, target, None, linkpath)

    async def chmod(self, path: PathPointer, mode: int, flags: AT = AT.NONE) -> None:
        """`fchmodat(AT_FDCWD, path, mode)`, or `fchmodat2` (Linux 6.6) when there are flags: change
        permissions.

        manpage: chmod(2)
        """
        await _chmod(self, None, path, mode, flags)

    async def chown(self, path: PathPointer, owner: int, group: int) -> None:
        """`fchownat(AT_FDCWD, path, owner, group, 0)`: change owner and group of a file; -1 leaves one as it
        is.

        manpage: chown(2)
        """
        await _chown(self, None, path, owner, group, AT.NONE)

    async def lchown(self, path: PathPointer, owner: int, group: int) -> None:
        """`fchownat(AT_FDCWD, path, owner, group, AT_SYMLINK_NOFOLLOW)`: as `chown`, but for a symbolic
        link itself.

        manpage: chown(2)
        """
        await _chown(self, None, path, owner, group, AT.SYMLINK_NOFOLLOW)

    async def truncate(self, path: PathPointer, length: int) -> None:
        """`truncate(path, length)`: cut a file to `length` bytes, or make it longer with zeroes.

        manpage: truncate(2)
        """
        if not isinstance(path, Pointer):
            raise not_a_pointer(path)
        with path.borrow(self) as path_addr, naming(path.value):
            await raw._truncate(self.sysif, path_addr, length)

    async def sync(self) -> None:
        """`sync()`: write all data that is still in memory to the disks, and wait until it is there. Reports
        no errors.

        manpage: sync(2)
        """
        await raw._sync(self.sysif)
