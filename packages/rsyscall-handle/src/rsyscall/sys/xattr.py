"""`<sys/xattr.h>`: extended attributes of files.

An attribute has a name, which begins with the name of its namespace (`user.`, `trusted.`, `security.`,
`system.`), and bytes as its value. `rsyscall.limits` has the lengths of the longest ones.
"""

from __future__ import annotations

import enum
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rsyscall import far
from rsyscall.handle.arguments import FDNUM, OUT, PATH, SIZE, STRING, call, counted, flags
from rsyscall.handle.buffers import require_size
from rsyscall.handle.fd import BaseFileDescriptor
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near.naming import naming
from rsyscall.struct import HasSerializer, Serializable, Serializer

if TYPE_CHECKING:
    from rsyscall.handle.pointer import PathPointer, Pointer, ReadablePointer, WrittenPointer
    from rsyscall.near import types as near
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["XATTR", "XattrArgs", "XattrFileDescriptor", "XattrList", "XattrTask"]

T = TypeVar("T")

XATTR_ARGS = struct.Struct("=QII")
"""How an `XattrArgs` is in memory."""


class XATTR(enum.IntFlag):
    """`XATTR_*`: whether `setxattr` makes an attribute or replaces the value of one. Without a flag: either.

    manpage: setxattr(2)
    """

    NONE = 0
    CREATE = 0x1
    REPLACE = 0x2


class XattrList(list[str], Serializable):
    """What `listxattr` returns: names of attributes.

    Bytes that are not UTF-8 are surrogate escapes.
    """

    def to_bytes(self) -> bytes:
        """Each name, and a NUL behind it."""
        return b"".join(os.fsencode(name) + b"\0" for name in self)

    @classmethod
    def from_bytes(cls, data: bytes) -> XattrList:
        """Parse all names; raises ValueError if there is no NUL behind the last one."""
        if data and data[-1]:
            raise ValueError("no NUL behind the last name of an attribute", data)
        return cls(os.fsdecode(name) for name in data.split(b"\0")[:-1])


@dataclass(frozen=True)
class XattrArgs(Generic[T], HasSerializer):
    """`struct xattr_args`: the value for `setxattrat`, or where `getxattrat` writes the value.

    Args:
        value: all of it.
        flags: for `setxattrat`.
    """

    value: Pointer[T]
    flags: XATTR = XATTR.NONE

    def get_self_serializer(self, task: far.Task) -> _XattrArgsSerializer[T]:
        """The serializer, which knows the pointer."""
        return _XattrArgsSerializer()


class _XattrArgsSerializer(Serializer[XattrArgs[T]]):
    """Writes the address and the size of the value."""

    def to_bytes(self, val: XattrArgs[T]) -> bytes:
        return XATTR_ARGS.pack(int(val.value.near), val.value.size(), val.flags)

    def from_bytes(self, data: bytes) -> XattrArgs[T]:
        raise NotImplementedError("an address cannot be made into a pointer again")


class XattrFileDescriptor(BaseFileDescriptor):
    """Extended attributes of an open file."""

    __slots__ = ()

    async def fsetxattr(
        self, name: WrittenPointer[str], value: Pointer[Any], flags: XATTR = XATTR.NONE
    ) -> None:
        """`fsetxattr(fd, name, value, size, flags)`: set an extended attribute of the file.

        Args:
            name: of the attribute, with its namespace; not consumed.
            value: all of it; not consumed.

        Raises:
            OSError: EEXIST (`XATTR.CREATE`), ENODATA (`XATTR.REPLACE`), EOPNOTSUPP, EPERM, ERANGE (the name
                is too long), ENOSPC, EDQUOT; `filename` is (fd, name).

        manpage: setxattr(2)
        """
        self._validate()
        check_pointers(name, value)
        task = self.task
        with name.borrow(task) as name_addr, value.borrow(task) as value_addr, naming((self, name.value)):
            await _fsetxattr(task.sysif, self.near, name_addr, value_addr, value.size(), flags)

    async def fgetxattr(
        self, name: WrittenPointer[str], value: Pointer[T]
    ) -> tuple[ReadablePointer[T], Pointer[T]]:
        """`fgetxattr(fd, name, value, size)`: read an extended attribute of the file.

        Args:
            name: of the attribute, with its namespace; not consumed.
            value: room for the value, at least a byte. Consumed.

        Returns:
            The part that was filled and the rest.

        Raises:
            BufferTooSmallError: no room at all.
            OSError: ENODATA (no such attribute), ERANGE (too little room), EOPNOTSUPP; `filename` is (fd,
                name).

        manpage: getxattr(2)
        """
        self._validate()
        check_pointers(name, value)
        require_size(value, 1)
        task = self.task
        with name.borrow(task) as name_addr, value.borrow(task) as value_addr, naming((self, name.value)):
            count = await _fgetxattr(task.sysif, self.near, name_addr, value_addr, value.size())
        return value.readable_split(count)

    async def flistxattr(
        self, list: Pointer[XattrList]
    ) -> tuple[ReadablePointer[XattrList], Pointer[XattrList]]:
        """`flistxattr(fd, list, size)`: the names of the extended attributes of the file.

        Args:
            list: room for the names, at least a byte. Consumed.

        Returns:
            The part that was filled and the rest.

        Raises:
            BufferTooSmallError: no room at all.
            OSError: ERANGE (too little room), EOPNOTSUPP; `filename` is the descriptor.

        manpage: listxattr(2)
        """
        self._validate()
        check_pointers(list)
        require_size(list, 1)
        with list.borrow(self.task) as list_addr, naming(self):
            count = await _flistxattr(self.task.sysif, self.near, list_addr, list.size())
        return list.readable_split(count)

    async def fremovexattr(self, name: WrittenPointer[str]) -> None:
        """`fremovexattr(fd, name)`: remove an extended attribute of the file.

        Raises:
            OSError: ENODATA (no such attribute), EOPNOTSUPP, EPERM; `filename` is (fd, name).

        manpage: removexattr(2)
        """
        self._validate()
        check_pointers(name)
        with name.borrow(self.task) as name_addr, naming((self, name.value)):
            await _fremovexattr(self.task.sysif, self.near, name_addr)


class XattrTask(far.Task):
    """Extended attributes of files by their paths. No method consumes a path or a name."""

    async def setxattr(
        self, path: PathPointer, name: WrittenPointer[str], value: Pointer[Any], flags: XATTR = XATTR.NONE
    ) -> None:
        """`setxattr(path, name, value, size, flags)`: see `FileDescriptor.fsetxattr`.

        Raises:
            OSError: ENOENT, EACCES..., and those of `fsetxattr`; `filename` is the path, `filename2` the
                name.

        manpage: setxattr(2)
        """
        check_pointers(path, name, value)
        with (
            path.borrow(self) as path_addr,
            name.borrow(self) as name_addr,
            value.borrow(self) as value_addr,
            naming(path.value, name.value),
        ):
            await _setxattr(self.sysif, path_addr, name_addr, value_addr, value.size(), flags)

    async def lsetxattr(
        self, path: PathPointer, name: WrittenPointer[str], value: Pointer[Any], flags: XATTR = XATTR.NONE
    ) -> None:
        """`lsetxattr(path, name, value, size, flags)`: `setxattr`, of a symbolic link itself.

        manpage: setxattr(2)
        """
        check_pointers(path, name, value)
        with (
            path.borrow(self) as path_addr,
            name.borrow(self) as name_addr,
            value.borrow(self) as value_addr,
            naming(path.value, name.value),
        ):
            await _lsetxattr(self.sysif, path_addr, name_addr, value_addr, value.size(), flags)

    async def getxattr(
        self, path: PathPointer, name: WrittenPointer[str], value: Pointer[T]
    ) -> tuple[ReadablePointer[T], Pointer[T]]:
        """`getxattr(path, name, value, size)`: see `FileDescriptor.fgetxattr`.

        Raises:
            OSError: ENOENT, EACCES..., and those of `fgetxattr`; `filename` is the path, `filename2` the
                name.

        manpage: getxattr(2)
        """
        check_pointers(path, name, value)
        require_size(value, 1)
        with (
            path.borrow(self) as path_addr,
            name.borrow(self) as name_addr,
            value.borrow(self) as value_addr,
            naming(path.value, name.value),
        ):
            count = await _getxattr(self.sysif, path_addr, name_addr, value_addr, value.size())
        return value.readable_split(count)

    async def lgetxattr(
        self, path: PathPointer, name: WrittenPointer[str], value: Pointer[T]
    ) -> tuple[ReadablePointer[T], Pointer[T]]:
        """`lgetxattr(path, name, value, size)`: `getxattr`, of a symbolic link itself.

        manpage: getxattr(2)
        """
        check_pointers(path, name, value)
        require_size(value, 1)
        with (
            path.borrow(self) as path_addr,
            name.borrow(self) as name_addr,
            value.borrow(self) as value_addr,
            naming(path.value, name.value),
        ):
            count = await _lgetxattr(self.sysif, path_addr, name_addr, value_addr, value.size())
        return value.readable_split(count)

    async def listxattr(
        self, path: PathPointer, list: Pointer[XattrList]
    ) -> tuple[ReadablePointer[XattrList], Pointer[XattrList]]:
        """`listxattr(path, list, size)`: see `FileDescriptor.flistxattr`.

        Raises:
            OSError: ENOENT, EACCES..., and those of `flistxattr`; `filename` is the path.

        manpage: listxattr(2)
        """
        check_pointers(path, list)
        require_size(list, 1)
        with path.borrow(self) as path_addr, list.borrow(self) as list_addr, naming(path.value):
            count = await _listxattr(self.sysif, path_addr, list_addr, list.size())
        return list.readable_split(count)

    async def llistxattr(
        self, path: PathPointer, list: Pointer[XattrList]
    ) -> tuple[ReadablePointer[XattrList], Pointer[XattrList]]:
        """`llistxattr(path, list, size)`: `listxattr`, of a symbolic link itself.

        manpage: listxattr(2)
        """
        check_pointers(path, list)
        require_size(list, 1)
        with path.borrow(self) as path_addr, list.borrow(self) as list_addr, naming(path.value):
            count = await _llistxattr(self.sysif, path_addr, list_addr, list.size())
        return list.readable_split(count)

    async def removexattr(self, path: PathPointer, name: WrittenPointer[str]) -> None:
        """`removexattr(path, name)`: see `FileDescriptor.fremovexattr`.

        Raises:
            OSError: ENOENT, EACCES..., and those of `fremovexattr`; `filename` is the path, `filename2` the
                name.

        manpage: removexattr(2)
        """
        check_pointers(path, name)
        with path.borrow(self) as path_addr, name.borrow(self) as name_addr, naming(path.value, name.value):
            await _removexattr(self.sysif, path_addr, name_addr)

    async def lremovexattr(self, path: PathPointer, name: WrittenPointer[str]) -> None:
        """`lremovexattr(path, name)`: `removexattr`, of a symbolic link itself.

        manpage: removexattr(2)
        """
        check_pointers(path, name)
        with path.borrow(self) as path_addr, name.borrow(self) as name_addr, naming(path.value, name.value):
            await _lremovexattr(self.sysif, path_addr, name_addr)


_FLAGS = flags(XATTR, "XATTR_")


@call("fsetxattr", FDNUM, STRING, counted(3), SIZE, _FLAGS)
async def _fsetxattr(
    sysif: SyscallInterface,
    fd: near.FileDescriptor,
    name: near.Address,
    value: near.Address,
    size: int,
    flags: XATTR,
) -> None:
    """The raw call."""
    await sysif.syscall(nr.fsetxattr, fd, name, value, size, flags)


@call("setxattr", PATH, STRING, counted(3), SIZE, _FLAGS)
async def _setxattr(
    sysif: SyscallInterface,
    path: near.Address,
    name: near.Address,
    value: near.Address,
    size: int,
    flags: XATTR,
) -> None:
    """The raw call."""
    await sysif.syscall(nr.setxattr, path, name, value, size, flags)


@call("lsetxattr", PATH, STRING, counted(3), SIZE, _FLAGS)
async def _lsetxattr(
    sysif: SyscallInterface,
    path: near.Address,
    name: near.Address,
    value: near.Address,
    size: int,
    flags: XATTR,
) -> None:
    """The raw call."""
    await sysif.syscall(nr.lsetxattr, path, name, value, size, flags)


@call("fgetxattr", FDNUM, STRING, OUT, SIZE)
async def _fgetxattr(
    sysif: SyscallInterface, fd: near.FileDescriptor, name: near.Address, value: near.Address, size: int
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.fgetxattr, fd, name, value, size)


@call("getxattr", PATH, STRING, OUT, SIZE)
async def _getxattr(
    sysif: SyscallInterface, path: near.Address, name: near.Address, value: near.Address, size: int
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.getxattr, path, name, value, size)


@call("lgetxattr", PATH, STRING, OUT, SIZE)
async def _lgetxattr(
    sysif: SyscallInterface, path: near.Address, name: near.Address, value: near.Address, size: int
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.lgetxattr, path, name, value, size)


@call("flistxattr", FDNUM, OUT, SIZE)
async def _flistxattr(sysif: SyscallInterface, fd: near.FileDescriptor, list: near.Address, size: int) -> int:
    """The raw call."""
    return await sysif.syscall(nr.flistxattr, fd, list, size)


@call("listxattr", PATH, OUT, SIZE)
async def _listxattr(sysif: SyscallInterface, path: near.Address, list: near.Address, size: int) -> int:
    """The raw call."""
    return await sysif.syscall(nr.listxattr, path, list, size)


@call("llistxattr", PATH, OUT, SIZE)
async def _llistxattr(sysif: SyscallInterface, path: near.Address, list: near.Address, size: int) -> int:
    """The raw call."""
    return await sysif.syscall(nr.llistxattr, path, list, size)


@call("fremovexattr", FDNUM, STRING)
async def _fremovexattr(sysif: SyscallInterface, fd: near.FileDescriptor, name: near.Address) -> None:
    """The raw call."""
    await sysif.syscall(nr.fremovexattr, fd, name)


@call("removexattr", PATH, STRING)
async def _removexattr(sysif: SyscallInterface, path: near.Address, name: near.Address) -> None:
    """The raw call."""
    await sysif.syscall(nr.removexattr, path, name)


@call("lremovexattr", PATH, STRING)
async def _lremovexattr(sysif: SyscallInterface, path: near.Address, name: near.Address) -> None:
    """The raw call."""
    await sysif.syscall(nr.lremovexattr, path, name)
