"""The calls of `<sys/xattr.h>` for files below a directory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from rsyscall import far
from rsyscall.fcntl import AT
from rsyscall.handle.arguments import ADDRESS, DIRFD, OUT, PATH, SIZE, STRING, call, directory, flags
from rsyscall.handle.buffers import require_size
from rsyscall.handle.fd import BaseFileDescriptor
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near.naming import naming
from rsyscall.sys.xattr import XATTR_ARGS, XattrArgs, XattrList

if TYPE_CHECKING:
    from rsyscall.handle.pointer import PathPointer, Pointer, ReadablePointer, WrittenPointer
    from rsyscall.near import types as near
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["XattrAtFileDescriptor", "XattrAtTask"]

T = TypeVar("T")


@contextlib.contextmanager
def _borrowed(
    task: far.Task, path: PathPointer, name: WrittenPointer[str], args: WrittenPointer[XattrArgs[Any]]
) -> Iterator[tuple[near.Address, near.Address, near.Address]]:
    check_pointers(path, name, args)
    require_size(args, XATTR_ARGS.size)
    with (
        path.borrow(task) as path_addr,
        name.borrow(task) as name_addr,
        args.borrow(task) as args_addr,
        args.value.value.borrow(task),
        naming(path.value, name.value),
    ):
        yield path_addr, name_addr, args_addr


async def _set_at(
    task: far.Task,
    dirfd: near.FileDescriptor | None,
    path: PathPointer,
    name: WrittenPointer[str],
    args: WrittenPointer[XattrArgs[Any]],
    flags: AT,
) -> None:
    with _borrowed(task, path, name, args) as (path_addr, name_addr, args_addr):
        await _setxattrat(task.sysif, dirfd, path_addr, flags, name_addr, args_addr, XATTR_ARGS.size)


async def _get_at(
    task: far.Task,
    dirfd: near.FileDescriptor | None,
    path: PathPointer,
    name: WrittenPointer[str],
    args: WrittenPointer[XattrArgs[T]],
    flags: AT,
) -> tuple[ReadablePointer[T], Pointer[T]]:
    with _borrowed(task, path, name, args) as (path_addr, name_addr, args_addr):
        require_size(args.value.value, 1)
        count = await _getxattrat(task.sysif, dirfd, path_addr, flags, name_addr, args_addr, XATTR_ARGS.size)
    return args.value.value.readable_split(count)


async def _list_at(
    task: far.Task, dirfd: near.FileDescriptor | None, path: PathPointer, list: Pointer[XattrList], flags: AT
) -> tuple[ReadablePointer[XattrList], Pointer[XattrList]]:
    check_pointers(path, list)
    require_size(list, 1)
    with path.borrow(task) as path_addr, list.borrow(task) as list_addr, naming(path.value):
        count = await _listxattrat(task.sysif, dirfd, path_addr, flags, list_addr, list.size())
    return list.readable_split(count)


async def _remove_at(
    task: far.Task,
    dirfd: near.FileDescriptor | None,
    path: PathPointer,
    name: WrittenPointer[str],
    flags: AT,
) -> None:
    check_pointers(path, name)
    with path.borrow(task) as path_addr, name.borrow(task) as name_addr, naming(path.value, name.value):
        await _removexattrat(task.sysif, dirfd, path_addr, flags, name_addr)


class XattrAtFileDescriptor(BaseFileDescriptor):
    """Extended attributes of files below a directory."""

    __slots__ = ()

    async def setxattrat(
        self,
        path: PathPointer,
        name: WrittenPointer[str],
        args: WrittenPointer[XattrArgs[Any]],
        flags: AT = AT.NONE,
    ) -> None:
        """`setxattrat(fd, path, flags, name, args, size)`: set an extended attribute of a file below this
        directory.

        Args:
            path: empty for this file itself, with `AT.EMPTY_PATH`.
            name: of the attribute, with its namespace.
            args: the value; no memory is consumed.
            flags: `AT.EMPTY_PATH`, `AT.SYMLINK_NOFOLLOW`.

        Raises:
            BufferTooSmallError: the memory of `args` is too small.
            OSError: those of `setxattr`; ENOSYS before Linux 6.13; `filename` is the path, `filename2` the
                name.

        manpage: setxattr(2)
        """
        self._validate()
        await _set_at(self.task, self.near, path, name, args, flags)

    async def getxattrat(
        self,
        path: PathPointer,
        name: WrittenPointer[str],
        args: WrittenPointer[XattrArgs[T]],
        flags: AT = AT.NONE,
    ) -> tuple[ReadablePointer[T], Pointer[T]]:
        """`getxattrat(fd, path, flags, name, args, size)`: read an extended attribute of a file below this
        directory.

        Args:
            path, name, flags: as for `setxattrat`.
            args: where to write the value, which is consumed.

        Returns:
            The memory with the value, and the rest.

        Raises:
            BufferTooSmallError: the memory of `args` is too small, or there is none for the value.
            OSError: those of `getxattr`; ENOSYS before Linux 6.13; `filename` is the path, `filename2` the
                name.

        manpage: getxattr(2)
        """
        self._validate()
        return await _get_at(self.task, self.near, path, name, args, flags)

    async def listxattrat(
        self, path: PathPointer, list: Pointer[XattrList], flags: AT = AT.NONE
    ) -> tuple[ReadablePointer[XattrList], Pointer[XattrList]]:
        """`listxattrat(fd, path, flags, list, size)`: list the extended attributes of a file below this
        directory; see `flistxattr`.

        Args:
            path, flags: as for `setxattrat`.

        Raises:
            OSError: those of `listxattr`; ENOSYS before Linux 6.13; `filename` is the path.

        manpage: listxattr(2)
        """
        self._validate()
        return await _list_at(self.task, self.near, path, list, flags)

    async def removexattrat(self, path: PathPointer, name: WrittenPointer[str], flags: AT = AT.NONE) -> None:
        """`removexattrat(fd, path, flags, name)`: remove an extended attribute of a file below this
        directory.

        Args:
            path, name, flags: as for `setxattrat`.

        Raises:
            OSError: those of `removexattr`; ENOSYS before Linux 6.13; `filename` is the path, `filename2`
                the name.

        manpage: removexattr(2)
        """
        self._validate()
        await _remove_at(self.task, self.near, path, name, flags)


class XattrAtTask(far.Task):
    """Extended attributes of files by their paths, with flags."""

    async def setxattrat(
        self,
        path: PathPointer,
        name: WrittenPointer[str],
        args: WrittenPointer[XattrArgs[Any]],
        flags: AT = AT.NONE,
    ) -> None:
        """`setxattrat(AT_FDCWD, path, flags, name, args, size)`: see `FileDescriptor.setxattrat`.

        manpage: setxattr(2)
        """
        await _set_at(self, None, path, name, args, flags)

    async def getxattrat(
        self,
        path: PathPointer,
        name: WrittenPointer[str],
        args: WrittenPointer[XattrArgs[T]],
        flags: AT = AT.NONE,
    ) -> tuple[ReadablePointer[T], Pointer[T]]:
        """`getxattrat(AT_FDCWD, path, flags, name, args, size)`: see `FileDescriptor.getxattrat`.

        manpage: getxattr(2)
        """
        return await _get_at(self, None, path, name, args, flags)

    async def listxattrat(
        self, path: PathPointer, list: Pointer[XattrList], flags: AT = AT.NONE
    ) -> tuple[ReadablePointer[XattrList], Pointer[XattrList]]:
        """`listxattrat(AT_FDCWD, path, flags, list, size)`: see `FileDescriptor.listxattrat`.

        manpage: listxattr(2)
        """
        return await _list_at(self, None, path, list, flags)

    async def removexattrat(self, path: PathPointer, name: WrittenPointer[str], flags: AT = AT.NONE) -> None:
        """`removexattrat(AT_FDCWD, path, flags, name)`: see `FileDescriptor.removexattrat`.

        manpage: removexattr(2)
        """
        await _remove_at(self, None, path, name, flags)


_AT_FLAGS = flags(AT, "AT_", ["EMPTY_PATH", "SYMLINK_NOFOLLOW"])


@call("setxattrat", DIRFD, PATH, _AT_FLAGS, STRING, ADDRESS, SIZE)
async def _setxattrat(
    sysif: SyscallInterface,
    dirfd: near.FileDescriptor | None,
    path: near.Address,
    flags: AT,
    name: near.Address,
    args: near.Address,
    size: int,
) -> None:
    """The raw call; None is the working directory."""
    await sysif.syscall(nr.setxattrat, directory(dirfd), path, flags, name, args, size)


@call("getxattrat", DIRFD, PATH, _AT_FLAGS, STRING, ADDRESS, SIZE)
async def _getxattrat(
    sysif: SyscallInterface,
    dirfd: near.FileDescriptor | None,
    path: near.Address,
    flags: AT,
    name: near.Address,
    args: near.Address,
    size: int,
) -> int:
    """The raw call; None is the working directory."""
    return await sysif.syscall(nr.getxattrat, directory(dirfd), path, flags, name, args, size)


@call("listxattrat", DIRFD, PATH, _AT_FLAGS, OUT, SIZE)
async def _listxattrat(
    sysif: SyscallInterface,
    dirfd: near.FileDescriptor | None,
    path: near.Address,
    flags: AT,
    list: near.Address,
    size: int,
) -> int:
    """The raw call; None is the working directory."""
    return await sysif.syscall(nr.listxattrat, directory(dirfd), path, flags, list, size)


@call("removexattrat", DIRFD, PATH, _AT_FLAGS, STRING)
async def _removexattrat(
    sysif: SyscallInterface,
    dirfd: near.FileDescriptor | None,
    path: near.Address,
    flags: AT,
    name: near.Address,
) -> None:
    """The raw call; None is the working directory."""
    await sysif.syscall(nr.removexattrat, directory(dirfd), path, flags, name)
