"""`<sys/stat.h>`: what the kernel knows about a file."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from rsyscall import far
from rsyscall.cstruct import CStruct, i64, nested, u32, u64
from rsyscall.fcntl import AT
from rsyscall.handle.arguments import DIRFD, FDNUM, PATH, call, flags, out
from rsyscall.handle.buffers import require_size
from rsyscall.handle.fd import BaseFileDescriptor
from rsyscall.near import nr
from rsyscall.near.naming import naming
from rsyscall.time import Timespec

if TYPE_CHECKING:
    import os

    from rsyscall.handle.pointer import Pointer, WrittenPointer
    from rsyscall.near import SyscallInterface
    from rsyscall.near import types as near

    PathPointer: TypeAlias = WrittenPointer[str | os.PathLike[str]]

__all__ = ["S_I", "S_IF", "Mode", "Stat", "StatFileDescriptor", "StatTask", "TypeMode"]


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


class Stat(
    CStruct,
    c="struct stat",
    headers=("#include <linux/types.h>", "asm/stat.h"),
    variant="stat",
    size=144,
    brief=("mode", "size"),
):
    """`struct stat`: what `fstat` says about a file.

    `size` is in bytes, `blocks` in units of 512 bytes, `blksize` in bytes; `dev` and `rdev` are encoded
    device numbers. Times are `atime` (last read), `mtime` (last write), `ctime` (last change of anything said
    here).

    manpage: stat(3type)
    """

    dev: int = u64("st_dev")
    ino: int = u64("st_ino")
    mode: TypeMode = u32("st_mode", TypeMode.from_int, encode=int)
    nlink: int = u64("st_nlink")
    uid: int = u32("st_uid")
    gid: int = u32("st_gid")
    rdev: int = u64("st_rdev")
    # Some headers call these and the seconds unsigned, but the kernel writes signed numbers: files may be
    # older than 1970.
    size: int = i64("st_size")
    blksize: int = i64("st_blksize")
    blocks: int = i64("st_blocks")
    atime: Timespec = nested("st_atime", Timespec, members=("st_atime", "st_atime_nsec"))
    mtime: Timespec = nested("st_mtime", Timespec, members=("st_mtime", "st_mtime_nsec"))
    ctime: Timespec = nested("st_ctime", Timespec, members=("st_ctime", "st_ctime_nsec"))

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


# One body for each call that is a method of a directory descriptor and of a task. `dirfd` is the number of a
# descriptor that the method has checked; None is the working directory.


async def _stat(
    task: far.Task, dirfd: near.FileDescriptor | None, path: PathPointer, statbuf: Pointer[Stat], flags: AT
) -> Pointer[Stat]:
    require_size(statbuf, Stat.layout(task.sysif.abi).size)
    with path.borrow(task) as path_addr, statbuf.borrow(task) as statbuf_addr, naming(path.value):
        await _newfstatat(task.sysif, dirfd, path_addr, statbuf_addr, flags)
    return statbuf


class StatFileDescriptor(BaseFileDescriptor):
    """Asking about the file behind a descriptor, or about files below a directory."""

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

    async def fstatat(self, path: PathPointer, statbuf: Pointer[Stat], flags: AT = AT.NONE) -> Pointer[Stat]:
        """`fstatat(fd, path, statbuf, flags)`: what `fstat` says, about a file below this directory.

        Args:
            path: not consumed. An empty one means this descriptor itself, with `AT.EMPTY_PATH`.
            statbuf: room for a `Stat`; not consumed.
            flags: `AT.SYMLINK_NOFOLLOW`, `AT.EMPTY_PATH`, `AT.NO_AUTOMOUNT`.

        Returns:
            The memory of `statbuf`, filled in.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: ENOENT, ENOTDIR, EACCES, ELOOP...; `filename` is the path.

        manpage: stat(2)
        """
        self._validate()
        return await _stat(self.task, self.near, path, statbuf, flags)


class StatTask(far.Task):
    """Asking about files by their paths."""

    async def stat(self, path: PathPointer, statbuf: Pointer[Stat]) -> Pointer[Stat]:
        """`fstatat(AT_FDCWD, path, statbuf, 0)`: what `fstat` says, about a file by its path.

        Args:
            path: from the working directory. Not consumed.
            statbuf: room for a `Stat`; not consumed.

        Returns:
            The memory of `statbuf`, filled in.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: ENOENT, ENOTDIR, EACCES, ELOOP...; `filename` is the path.

        manpage: stat(2)
        """
        return await _stat(self, None, path, statbuf, AT.NONE)

    async def lstat(self, path: PathPointer, statbuf: Pointer[Stat]) -> Pointer[Stat]:
        """`fstatat(AT_FDCWD, path, statbuf, AT_SYMLINK_NOFOLLOW)`: like `stat`, but about a symbolic link
        itself.

        manpage: stat(2)
        """
        return await _stat(self, None, path, statbuf, AT.SYMLINK_NOFOLLOW)


@call("fstat", FDNUM, out(Stat))
async def _fstat(sysif: SyscallInterface, fd: near.FileDescriptor, statbuf: near.Address) -> None:
    """The raw call; how the result is laid out depends on `sysif.abi`."""
    await sysif.syscall(nr.fstat, fd, statbuf)


@call(
    "newfstatat", DIRFD, PATH, out(Stat), flags(AT, "AT_", ["SYMLINK_NOFOLLOW", "EMPTY_PATH", "NO_AUTOMOUNT"])
)
async def _newfstatat(
    sysif: SyscallInterface,
    dirfd: near.FileDescriptor | None,
    path: near.Address,
    statbuf: near.Address,
    flags: AT,
) -> None:
    """The raw call; None is the working directory."""
    await sysif.syscall(nr.newfstatat, AT.FDCWD if dirfd is None else dirfd, path, statbuf, flags)
