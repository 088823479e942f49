"""`<sys/stat.h>`: the attributes of files."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from rsyscall import far
from rsyscall.cstruct import CStruct, i64, nested, u16, u32, u64
from rsyscall.fcntl import AT
from rsyscall.handle._later import late, later_names
from rsyscall.handle.arguments import DIRFD, FDNUM, PATH, call, directory, flags, out
from rsyscall.handle.buffers import require_size
from rsyscall.handle.fd import BaseFileDescriptor
from rsyscall.handle.pointer import Pointer, not_a_pointer
from rsyscall.near import nr
from rsyscall.near.light_dataclass import light_dataclass
from rsyscall.near.naming import naming
from rsyscall.time import Timespec

if TYPE_CHECKING:
    from rsyscall.handle.pointer import PathPointer
    from rsyscall.near import SyscallInterface
    from rsyscall.near import types as near

if TYPE_CHECKING:
    from rsyscall.sys._stat_files import UTIME as UTIME
    from rsyscall.sys._stat_files import FileTimes as FileTimes
else:
    __getattr__ = later_names(__name__, "rsyscall.sys._stat_files")

__all__ = [
    "STATX",
    "STATX_ATTR",
    "S_I",
    "S_IF",
    "Mode",
    "Stat",
    "StatFileDescriptor",
    "StatTask",
    "Statx",
    "StatxTimestamp",
    "TypeMode",
]


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


@light_dataclass(eq=False)
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


class STATX(enum.IntFlag):
    """`STATX_*`: the members of a `Statx` that are asked for, and those that are filled in.

    manpage: statx(2)
    """

    NONE = 0
    TYPE = 0x1
    MODE = 0x2
    NLINK = 0x4
    UID = 0x8
    GID = 0x10
    ATIME = 0x20
    MTIME = 0x40
    CTIME = 0x80
    INO = 0x100
    SIZE = 0x200
    BLOCKS = 0x400
    BASIC_STATS = 0x7FF
    BTIME = 0x800
    ALL = 0xFFF  # what it meant in Linux 4.11; nothing newer was added
    MNT_ID = 0x1000
    DIOALIGN = 0x2000
    MNT_ID_UNIQUE = 0x4000  # since Linux 6.8
    SUBVOL = 0x8000  # since Linux 6.10
    WRITE_ATOMIC = 0x10000  # since Linux 6.11
    DIO_READ_ALIGN = 0x20000  # since Linux 6.14
    _RESERVED = 0x80000000  # refused by the kernel


class STATX_ATTR(enum.IntFlag):
    """`STATX_ATTR_*`: attributes of a file.

    manpage: statx(2)
    """

    NONE = 0
    COMPRESSED = 0x4
    IMMUTABLE = 0x10
    APPEND = 0x20
    NODUMP = 0x40
    ENCRYPTED = 0x800
    AUTOMOUNT = 0x1000
    MOUNT_ROOT = 0x2000
    VERITY = 0x100000
    DAX = 0x200000
    WRITE_ATOMIC = 0x400000  # since Linux 6.11


class StatxTimestamp(CStruct, c="struct statx_timestamp", headers=("linux/stat.h",)):
    """`struct statx_timestamp`: seconds since 1970, and nanoseconds, from 0 to 999 999 999, after that."""

    sec: int = i64("tv_sec")
    nsec: int = u32("tv_nsec")

    def to_nanos(self) -> int:
        """The whole time in nanoseconds."""
        return Timespec(self.sec, self.nsec).to_nanos()


class Statx(CStruct, c="struct statx", headers=("linux/stat.h",), size=256, brief=("mask", "mode", "size")):
    """`struct statx`: what `statx` says about a file.

    `mask` says which members the file system has filled in; the others are 0, or made up. `size` is in bytes,
    `blocks` in units of 512 bytes. Times are `atime` (last read), `btime` (creation), `ctime` (last change of
    anything about the file), `mtime` (last write). Of the bits in `attributes`, those in `attributes_mask`
    mean something.

    manpage: statx(2)
    """

    mask: STATX = u32("stx_mask", STATX)
    blksize: int = u32("stx_blksize")
    attributes: STATX_ATTR = u64("stx_attributes", STATX_ATTR)
    nlink: int = u32("stx_nlink")
    uid: int = u32("stx_uid")
    gid: int = u32("stx_gid")
    mode: TypeMode = u16("stx_mode", TypeMode.from_int, encode=int)
    ino: int = u64("stx_ino")
    size: int = u64("stx_size")
    blocks: int = u64("stx_blocks")
    attributes_mask: STATX_ATTR = u64("stx_attributes_mask", STATX_ATTR)
    atime: StatxTimestamp = nested("stx_atime", StatxTimestamp)
    btime: StatxTimestamp = nested("stx_btime", StatxTimestamp)
    ctime: StatxTimestamp = nested("stx_ctime", StatxTimestamp)
    mtime: StatxTimestamp = nested("stx_mtime", StatxTimestamp)
    rdev_major: int = u32("stx_rdev_major")
    rdev_minor: int = u32("stx_rdev_minor")
    dev_major: int = u32("stx_dev_major")
    dev_minor: int = u32("stx_dev_minor")
    mnt_id: int = u64("stx_mnt_id")
    dio_mem_align: int = u32("stx_dio_mem_align")
    dio_offset_align: int = u32("stx_dio_offset_align")
    subvol: int = u64("stx_subvol")  # since Linux 6.10
    atomic_write_unit_min: int = u32("stx_atomic_write_unit_min")  # since Linux 6.11
    atomic_write_unit_max: int = u32("stx_atomic_write_unit_max")  # since Linux 6.11
    atomic_write_segments_max: int = u32("stx_atomic_write_segments_max")  # since Linux 6.11
    dio_read_offset_align: int = u32("stx_dio_read_offset_align")  # since Linux 6.14
    atomic_write_unit_max_opt: int = u32("stx_atomic_write_unit_max_opt")  # since Linux 6.16


# One body for each call that is a method of a directory descriptor and of a task. `dirfd` is the number of a
# descriptor that the method has checked; None is the working directory.


async def _stat(
    task: far.Task, dirfd: near.FileDescriptor | None, path: PathPointer, statbuf: Pointer[Stat], flags: AT
) -> Pointer[Stat]:
    require_size(statbuf, Stat.layout(task.sysif.abi).size)
    if not isinstance(path, Pointer):
        raise not_a_pointer(path)
    with path.borrow(task) as path_addr, statbuf.borrow(task) as statbuf_addr, naming(path.value):
        await _newfstatat(task.sysif, dirfd, path_addr, statbuf_addr, flags)
    return statbuf


async def _statx_at(
    task: far.Task,
    dirfd: near.FileDescriptor | None,
    path: PathPointer,
    flags: AT,
    mask: STATX,
    statxbuf: Pointer[Statx],
) -> Pointer[Statx]:
    require_size(statxbuf, Statx.sizeof())
    if not isinstance(path, Pointer):
        raise not_a_pointer(path)
    with path.borrow(task) as path_addr, statxbuf.borrow(task) as statxbuf_addr, naming(path.value):
        await _statx(task.sysif, dirfd, path_addr, flags, mask, statxbuf_addr)
    return statxbuf


@late
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

    async def statx(
        self, path: PathPointer, flags: AT, mask: STATX, statxbuf: Pointer[Statx]
    ) -> Pointer[Statx]:
        """`statx(fd, path, flags, mask, statxbuf)`: the requested attributes of a file below this directory.

        Args:
            path: not consumed. An empty one means this descriptor itself, with `AT.EMPTY_PATH`.
            flags: those of `fstatat`, and `AT.STATX_FORCE_SYNC` or `AT.STATX_DONT_SYNC`: whether a network
                file system asks its server.
            mask: the requested attributes. The kernel may fill in more, or fewer: see `Statx.mask`.
            statxbuf: room for a `Statx`; not consumed.

        Returns:
            The memory of `statxbuf`, filled in.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: ENOENT, ENOTDIR, EACCES, EINVAL (unknown flags)...; `filename` is the path.

        manpage: statx(2)
        """
        self._validate()
        return await _statx_at(self.task, self.near, path, flags, mask, statxbuf)


@late
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

    async def statx(
        self, path: PathPointer, flags: AT, mask: STATX, statxbuf: Pointer[Statx]
    ) -> Pointer[Statx]:
        """`statx(AT_FDCWD, path, flags, mask, statxbuf)`: what is asked for about a file by its path; see
        `FileDescriptor.statx`.

        manpage: statx(2)
        """
        return await _statx_at(self, None, path, flags, mask, statxbuf)


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
    await sysif.syscall(nr.newfstatat, directory(dirfd), path, statbuf, flags)


@call(
    "statx",
    DIRFD,
    PATH,
    flags(
        AT, "AT_", ["SYMLINK_NOFOLLOW", "EMPTY_PATH", "NO_AUTOMOUNT", "STATX_FORCE_SYNC", "STATX_DONT_SYNC"]
    ),
    flags(STATX, "STATX_"),
    out(Statx),
)
async def _statx(
    sysif: SyscallInterface,
    dirfd: near.FileDescriptor | None,
    path: near.Address,
    flags: AT,
    mask: STATX,
    statxbuf: near.Address,
) -> None:
    """The raw call; None is the working directory."""
    await sysif.syscall(nr.statx, directory(dirfd), path, flags, mask, statxbuf)
