"""`<linux/dirent.h>`: the entries of a directory."""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rsyscall.cstruct import CStruct, i64, u8, u16, u64
from rsyscall.handle._later import late
from rsyscall.handle.arguments import FDNUM, SIZE, Memory, call
from rsyscall.handle.fd import BaseFileDescriptor
from rsyscall.near import nr
from rsyscall.near.naming import naming
from rsyscall.struct import Serializable

if TYPE_CHECKING:
    import rsyscall.near.types as near
    from rsyscall.handle.pointer import Pointer, ReadablePointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["DT", "Dirent", "DirentHeader", "DirentList", "GetdentsFileDescriptor"]

_ALIGNMENT = 8


class DT(enum.IntEnum):
    """`DT_*`: type of a directory entry.

    File systems need not know it: be prepared for `UNKNOWN`, and ask with `fstatat` or `statx` then.

    manpage: readdir(3)
    """

    UNKNOWN = 0
    FIFO = 1
    CHR = 2
    DIR = 4
    BLK = 6
    REG = 8
    LNK = 10
    SOCK = 12
    WHT = 14

    @classmethod
    def _missing_(cls, value: object) -> DT | None:
        # A type that is newer than this table is a number without a name, not an error.
        if not isinstance(value, int):
            return None
        member = int.__new__(cls, value)
        member._name_ = str(value)
        member._value_ = value
        return member


class DirentHeader(CStruct, c="struct dirent64", headers=("dirent.h",), size=19):
    """What is in front of the name in `struct dirent64`; the name ends with a NUL and is padded."""

    inode: int = u64("d_ino")
    offset: int = i64("d_off")
    length: int = u16("d_reclen")
    type: DT = u8("d_type", DT)


_HEADER = DirentHeader.layout().codec


@dataclass
class Dirent:
    """`struct dirent64`: one entry of a directory.

    `offset` is where the next entry starts, good only for `lseek`; `name` has bytes that are not UTF-8 as
    surrogate escapes.
    """

    inode: int
    offset: int
    type: DT
    name: str

    def to_bytes(self) -> bytes:
        """The entry as `getdents64` would write it, padded to a multiple of 8 bytes."""
        name = os.fsencode(self.name) + b"\0"
        length = -(-(_HEADER.size + len(name)) // _ALIGNMENT) * _ALIGNMENT
        return (_HEADER.pack(self.inode, self.offset, length, self.type) + name).ljust(length, b"\0")


class DirentList(list[Dirent], Serializable):
    """What one call of `getdents` wrote: entries packed one after another."""

    def to_bytes(self) -> bytes:
        """All entries, each padded to a multiple of 8 bytes."""
        return b"".join(entry.to_bytes() for entry in self)

    @classmethod
    def from_bytes(cls, data: bytes) -> DirentList:
        """Parse all entries; raises ValueError when an entry does not fit in `data`."""
        entries = cls()
        position = 0
        while position < len(data):
            end = position + _HEADER.size
            if end > len(data):
                raise ValueError(
                    f"{len(data) - position} bytes left over after {len(entries)} directory entries"
                )
            inode, offset, length, kind = _HEADER.unpack_from(data, position)
            if length <= _HEADER.size or position + length > len(data):
                raise ValueError(f"directory entry at {position} claims {length} of {len(data)} bytes")
            name = data[end : position + length]
            entries.append(Dirent(inode, offset, DT(kind), os.fsdecode(name.split(b"\0", 1)[0])))
            position += length
        return entries


@late
class GetdentsFileDescriptor(BaseFileDescriptor):
    """Reading a directory."""

    __slots__ = ()

    async def getdents(
        self, dirp: Pointer[DirentList]
    ) -> tuple[ReadablePointer[DirentList], Pointer[DirentList]]:
        """`getdents64(fd, dirp, size)`: read the next entries of this directory.

        Args:
            dirp: room for at least one entry: 24 bytes plus the longest name. Consumed.

        Returns:
            The part that was filled and the rest. Nothing filled means the end of the directory.

        Raises:
            OSError: ENOTDIR, EINVAL (the buffer is too small for an entry), ENOENT (the directory was
                removed); `filename` is this descriptor.

        manpage: getdents(2)
        """
        self._validate()
        with dirp.borrow(self.task) as dirp_addr, naming(self):
            count = await _getdents64(self.task.sysif, self.near, dirp_addr, dirp.size())
        return dirp.readable_split(count)


@call("getdents64", FDNUM, Memory("directory_entries", after=True), SIZE)
@call("getdents64", FDNUM, Memory("directory_entries", after=True), SIZE)
async def _getdents64(
    sysif: SyscallInterface, fd: near.FileDescriptor, dirp: near.Address, count: int
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.getdents64, fd, dirp, count)
