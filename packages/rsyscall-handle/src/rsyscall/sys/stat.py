"""`<sys/stat.h>`: what the kernel knows about a file."""

from __future__ import annotations

import enum
import operator
import struct
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from rsyscall.handle.fd import BaseFileDescriptor
from rsyscall.near import native_abi, nr
from rsyscall.near.naming import naming
from rsyscall.struct import Serializer, Struct
from rsyscall.time import Timespec

if TYPE_CHECKING:
    from rsyscall.handle.fd import FileDescriptorTask
    from rsyscall.handle.pointer import Pointer
    from rsyscall.near import SyscallInterface
    from rsyscall.near import types as near
    from rsyscall.near.abi import StructLayout

__all__ = ["S_I", "S_IF", "Mode", "Stat", "StatFileDescriptor", "TypeMode"]


class S_IF(enum.IntEnum):
    """`S_IF*`: what kind of file it is. `IFO` is the C name without its prefix, `FIFO` the readable one.

    Files that are in no file system (epoll instances, eventfds...) have no kind: `S_IF(0)`.

    manpage: inode(7)
    """

    FIFO = 0o010000
    IFO = 0o010000
    CHR = 0o020000
    DIR = 0o040000
    BLK = 0o060000
    REG = 0o100000
    LNK = 0o120000
    SOCK = 0o140000
    MT = 0o170000  # the mask

    @classmethod
    def _missing_(cls, value: object) -> S_IF | None:
        # A kind that has no name is still a number that has to survive a round trip.
        if not isinstance(value, int):
            return None
        member = int.__new__(cls, value)
        member._name_ = f"{value:#o}"
        member._value_ = value
        return member


class S_I(enum.IntFlag):
    """`S_I*`: permissions and the three bits above them.

    manpage: inode(7)
    """

    SUID = 0o4000
    SGID = 0o2000
    SVTX = 0o1000
    RWXU = 0o700
    RUSR = 0o400
    READ = 0o400
    WUSR = 0o200
    WRITE = 0o200
    XUSR = 0o100
    EXEC = 0o100
    RWXG = 0o070
    RGRP = 0o040
    WGRP = 0o020
    XGRP = 0o010
    RWXO = 0o007
    ROTH = 0o004
    WOTH = 0o002
    XOTH = 0o001


class Mode(int):
    """The lower twelve bits of a file mode; shown in octal."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"0o{self:03o}"

    __str__ = __repr__


@dataclass(eq=False)
class TypeMode:
    """`st_mode`: the kind of a file and its permissions. Equal to the number that stands for both."""

    type: S_IF
    mode: Mode

    @staticmethod
    def from_int(val: int) -> TypeMode:
        """Take a number as the kernel has it apart."""
        return TypeMode(S_IF(val & S_IF.MT.value), Mode(val & 0o7777))

    def __int__(self) -> int:
        return int(self.type) | int(self.mode)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (TypeMode, int)):
            return int(self) == int(other)
        return NotImplemented


class _StatFormat:
    """How `struct stat` is laid out on one architecture, and the order of its members there."""

    # The order of the fields of Stat, times taken apart.
    NAMES = (
        *("st_dev", "st_ino", "st_mode", "st_nlink", "st_uid", "st_gid", "st_rdev", "st_size", "st_blksize"),
        *("st_blocks", "st_atime", "st_atime_nsec", "st_mtime", "st_mtime_nsec", "st_ctime", "st_ctime_nsec"),
    )
    # Some headers call these unsigned, but the kernel writes signed numbers: files may be older than 1970.
    SIGNED = frozenset({"st_size", "st_blocks", "st_blksize", "st_atime", "st_mtime", "st_ctime"})
    CODES = {2: "H", 4: "I", 8: "Q"}

    def __init__(self, layout: StructLayout) -> None:
        parts = ["<"]
        position = 0
        for field in layout.fields:
            code = self.CODES[field.size]
            parts.append(f"{field.offset - position}x{code.lower() if field.name in self.SIGNED else code}")
            position = field.offset + field.size
        parts.append(f"{layout.size - position}x")
        self.codec = struct.Struct("".join(parts))
        there = [field.name for field in layout.fields]
        self.reorder = operator.itemgetter(*(there.index(name) for name in self.NAMES))
        self.order_back = operator.itemgetter(*(self.NAMES.index(name) for name in there))

    def parse(self, data: bytes) -> Stat:
        dev, ino, mode, nlink, uid, gid, rdev, size, blksize, blocks, *times = self.reorder(
            self.codec.unpack_from(data)
        )
        atime, mtime, ctime = (Timespec(*times[i : i + 2]) for i in (0, 2, 4))
        return Stat(
            *(dev, ino, TypeMode.from_int(mode), nlink, uid, gid, rdev, size, blksize, blocks),
            *(atime, mtime, ctime),
        )

    def pack(self, stat: Stat) -> bytes:
        numbers = [
            *(stat.dev, stat.ino, int(stat.mode), stat.nlink, stat.uid, stat.gid, stat.rdev, stat.size),
            *(stat.blksize, stat.blocks, stat.atime.sec, stat.atime.nsec, stat.mtime.sec, stat.mtime.nsec),
            *(stat.ctime.sec, stat.ctime.nsec),
        ]
        return self.codec.pack(*self.order_back(numbers)).ljust(Stat.sizeof(), b"\0")


@cache
def _format_of(layout: StructLayout) -> _StatFormat:
    return _StatFormat(layout)


_NATIVE_LAYOUT = native_abi().stat
_NATIVE_FORMAT = _format_of(_NATIVE_LAYOUT)
# Whatever the architecture of the process that the buffer is for, its struct stat fits.
_SIZE = 144


@dataclass
class Stat(Struct):
    """`struct stat`: what `fstat` says about a file.

    `size` is in bytes, `blocks` in units of 512 bytes, `blksize` in bytes; `dev` and `rdev` are encoded
    device numbers. Times are `atime` (last read), `mtime` (last write), `ctime` (last change of anything said
    here).

    manpage: stat(3type)
    """

    dev: int
    ino: int
    mode: TypeMode
    nlink: int
    uid: int
    gid: int
    rdev: int
    size: int
    blksize: int
    blocks: int
    atime: Timespec
    mtime: Timespec
    ctime: Timespec

    def __post_init__(self) -> None:
        if isinstance(self.mode, int):
            self.mode = TypeMode.from_int(self.mode)

    @property
    def atim(self) -> Timespec:
        """The same as `atime`, by its name in C."""
        return self.atime

    @property
    def mtim(self) -> Timespec:
        """The same as `mtime`, by its name in C."""
        return self.mtime

    @property
    def ctim(self) -> Timespec:
        """The same as `ctime`, by its name in C."""
        return self.ctime

    def to_bytes(self) -> bytes:
        """As the kernel of the running architecture would write it."""
        return _NATIVE_FORMAT.pack(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Stat:
        """Parse what a kernel of the running architecture wrote."""
        return _NATIVE_FORMAT.parse(data)

    @classmethod
    def sizeof(cls) -> int:
        """144 bytes, enough for the structure of any architecture."""
        return _SIZE

    @classmethod
    def get_serializer(cls, task: FileDescriptorTask[Any]) -> Serializer[Stat]:
        """A serializer for the structure as the kernel under `task` writes it."""
        layout = task.sysif.abi.stat
        if layout is _NATIVE_LAYOUT:
            serializer: Serializer[Any] = super().get_serializer(task)
            return serializer
        return _ForeignStatSerializer(layout)


@dataclass
class _ForeignStatSerializer(Serializer[Stat]):
    """The structure as it is on another architecture."""

    layout: StructLayout

    def to_bytes(self, val: Stat) -> bytes:
        return _format_of(self.layout).pack(val)

    def from_bytes(self, data: bytes) -> Stat:
        return _format_of(self.layout).parse(data)


class StatFileDescriptor(BaseFileDescriptor):
    """Asking about the file behind a descriptor."""

    __slots__ = ()

    async def fstat(self, statbuf: Pointer[Stat]) -> Pointer[Stat]:
        """`fstat(fd, statbuf)`: what kind of file is this, how large, whose, how old?

        Works for `O.PATH` descriptors too.

        Args:
            statbuf: room for a `Stat`; not consumed.

        Returns:
            The same memory, filled in.

        Raises:
            ValueError: the memory is too small.
            OSError: EOVERFLOW...; `filename` is this descriptor.

        manpage: stat(2)
        """
        self._validate()
        sysif = self.task.sysif
        if statbuf.size() < sysif.abi.stat.size:
            raise ValueError(f"struct stat takes {sysif.abi.stat.size} bytes, there are {statbuf.size()}")
        with statbuf.borrow(self.task) as statbuf_addr, naming(self):
            await _fstat(sysif, self.near, statbuf_addr)
        return statbuf


async def _fstat(sysif: SyscallInterface, fd: near.FileDescriptor, statbuf: near.Address) -> None:
    """The raw call; how the result is laid out depends on `sysif.abi`."""
    await sysif.syscall(nr.fstat, fd, statbuf)
