"""`<fcntl.h>`: flags of files and descriptors, locks, seals.

Almost all values are the same on every architecture, but a few flags of `O` differ. The class has the values
of the running architecture, and `encode_open_flags` translates them for a process on another one. The methods
here and in `rsyscall.unistd` do that themselves.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rsyscall.cstruct import CStruct, i16, i32, i64, known, u16, u32
from rsyscall.handle._later import later_names
from rsyscall.handle.arguments import (
    FDNUM,
    NOTHING,
    OPEN_FLAGS,
    buffer,
    by,
    call,
    choice,
    each,
    flags,
    given,
    out,
)
from rsyscall.handle.buffers import require_size
from rsyscall.handle.fd import BaseFileDescriptor
from rsyscall.handle.pointer import Pointer
from rsyscall.near import native_abi, nr
from rsyscall.near.naming import naming

if TYPE_CHECKING:
    import rsyscall.near.types as near
    from rsyscall._fcntl_copy import FALLOC_FL as FALLOC_FL
    from rsyscall._fcntl_copy import POSIX_FADV as POSIX_FADV
    from rsyscall._fcntl_copy import SPLICE_F as SPLICE_F
    from rsyscall._fcntl_copy import SYNC_FILE_RANGE as SYNC_FILE_RANGE
    from rsyscall._fcntl_handle import MAX_HANDLE_SZ as MAX_HANDLE_SZ
    from rsyscall._fcntl_handle import FileHandle as FileHandle
    from rsyscall.near.abi import ABI
    from rsyscall.near.sysif import SyscallInterface
else:
    __getattr__ = later_names(__name__, "rsyscall._fcntl_copy", "rsyscall._fcntl_handle")

__all__ = [
    "AT",
    "DN",
    "F",
    "FD",
    "FD_ROOT",
    "F_LCK",
    "F_OWNER",
    "F_SEAL",
    "O",
    "PIDFD_SELF",
    "RWH",
    "Delegation",
    "FcntlFileDescriptor",
    "Flock",
    "OwnerEx",
    "decode_open_flags",
    "encode_open_flags",
]

_NATIVE_ABI = native_abi()


class AT(enum.IntFlag):
    """`AT_*`: flags of the calls that take a directory and a path relative to it.

    Some bits mean different things in different calls. `FDCWD` is no flag: in place of a directory
    descriptor, it stands for the working directory. Methods take None for that.

    manpage: openat(2)
    """

    NONE = 0
    FDCWD = -100
    SYMLINK_NOFOLLOW = 0x100
    REMOVEDIR = 0x200  # unlinkat
    EACCESS = 0x200  # faccessat
    SYMLINK_FOLLOW = 0x400
    NO_AUTOMOUNT = 0x800
    EMPTY_PATH = 0x1000
    STATX_SYNC_AS_STAT = 0
    STATX_FORCE_SYNC = 0x2000
    STATX_DONT_SYNC = 0x4000
    STATX_SYNC_TYPE = 0x6000
    RECURSIVE = 0x8000
    EXECVE_CHECK = 0x10000  # execveat, since Linux 6.14
    RENAME_NOREPLACE = 0x1  # renameat2, like RENAME.NOREPLACE
    RENAME_EXCHANGE = 0x2
    RENAME_WHITEOUT = 0x4
    HANDLE_MNT_ID_UNIQUE = 0x1  # name_to_handle_at, since Linux 6.12
    HANDLE_CONNECTABLE = 0x2  # name_to_handle_at, since Linux 6.13
    HANDLE_FID = 0x200  # name_to_handle_at, since Linux 6.5

    # As FDCWD is negative, enum (since Python 3.11) knows only a few low bits. These methods know them all.

    def __invert__(self) -> AT:
        """Return all other bits of an unsigned int."""
        return AT(~self.value & 0xFFFFFFFF)

    def __iter__(self) -> Iterator[AT]:
        """Yield each named flag that is set, other than `FDCWD`."""
        return iter([flag for flag in AT if flag.value.bit_count() == 1 and self.value & flag.value])


class O(enum.IntFlag):  # noqa: E742 (the prefix in C is O_)
    """`O_*`: how a file is opened, and flags of an open file.

    There is no `NONE`: opening without any of these is `RDONLY`.

    manpage: open(2)
    """

    RDONLY = 0
    WRONLY = 0o1
    RDWR = 0o2
    ACCMODE = 0o3  # a mask: its bits together are one of the three above
    CREAT = 0o100
    EXCL = 0o200
    NOCTTY = 0o400
    TRUNC = 0o1000
    APPEND = 0o2000
    NONBLOCK = 0o4000
    NDELAY = 0o4000
    DSYNC = 0o10000
    ASYNC = 0o20000
    NOATIME = 0o1000000
    CLOEXEC = 0o2000000
    SYNC = 0o4010000
    RSYNC = 0o4010000
    FSYNC = 0o4010000
    PATH = 0o10000000
    # These differ between architectures. LARGEFILE has the kernel's value, which F.GETFL reports; C libraries
    # define it as 0.
    DIRECT = _NATIVE_ABI.O_DIRECT
    DIRECTORY = _NATIVE_ABI.O_DIRECTORY
    LARGEFILE = _NATIVE_ABI.O_LARGEFILE
    NOFOLLOW = _NATIVE_ABI.O_NOFOLLOW
    TMPFILE = _NATIVE_ABI.O_TMPFILE
    EMPTYPATH = 0x4000000  # since Linux 7.3
    # Private to the kernel, but FUSE servers see them. NONOTIFY has this value until Linux 7.2.
    FMODE_EXEC = 0x20
    FMODE_NONOTIFY = 0x4000000


class F(enum.IntEnum):
    """`F_*`: commands of `fcntl`.

    manpage: fcntl(2)
    """

    DUPFD = 0
    GETFD = 1
    SETFD = 2
    GETFL = 3
    SETFL = 4
    GETLK = 5
    GETLK64 = 5
    SETLK = 6
    SETLK64 = 6
    SETLKW = 7
    SETLKW64 = 7
    SETOWN = 8
    GETOWN = 9
    SETSIG = 10
    GETSIG = 11
    SETOWN_EX = 15
    GETOWN_EX = 16
    GETOWNER_UIDS = 17
    OFD_GETLK = 36
    OFD_SETLK = 37
    OFD_SETLKW = 38
    SETLEASE = 1024
    GETLEASE = 1025
    NOTIFY = 1026
    DUPFD_QUERY = 1027  # since Linux 6.10
    CREATED_QUERY = 1028  # since Linux 6.12
    CANCELLK = 1029
    DUPFD_CLOEXEC = 1030
    SETPIPE_SZ = 1031
    GETPIPE_SZ = 1032
    ADD_SEALS = 1033
    GET_SEALS = 1034
    GET_RW_HINT = 1035
    SET_RW_HINT = 1036
    GET_FILE_RW_HINT = 1037
    SET_FILE_RW_HINT = 1038
    GETDELEG = 1039  # since Linux 6.19
    SETDELEG = 1040  # since Linux 6.19


class F_SEAL(enum.IntEnum):
    """`F_SEAL_*`: what a memory file can forbid for good. The values are bits: or them for `F.ADD_SEALS`.

    manpage: fcntl(2)
    """

    SEAL = 0x1
    SHRINK = 0x2
    GROW = 0x4
    WRITE = 0x8
    FUTURE_WRITE = 0x10
    EXEC = 0x20  # since Linux 6.3


class FD(enum.IntFlag):
    """`FD_*`: flags of a descriptor, as opposed to those of the open file.

    manpage: fcntl(2)
    """

    CLOEXEC = 1


class FD_ROOT(enum.IntEnum):
    """`FD_*_ROOT`: what stands for the root of a file system of the kernel, in the place of a descriptor.

    With `PIDFS` and `NSFS`, `open_by_handle_at` opens a pidfd or a namespace by its handle. `FAILFS` is for
    `fchroot`: every path that begins at such a root directory leads nowhere.

    manpage: open_by_handle_at(2)
    """

    PIDFS = -10002  # since Linux 6.17
    NSFS = -10003  # since Linux 6.18
    FAILFS = -10004  # since Linux 7.3


class PIDFD_SELF(enum.IntEnum):
    """`PIDFD_SELF_*`: what stands for the calling thread, or its process, in the place of a pidfd.

    manpage: pidfd_open(2)
    """

    THREAD = -10000  # since Linux 6.14
    THREAD_GROUP = -10001  # since Linux 6.14


class F_LCK(enum.IntEnum):
    """`F_RDLCK`, `F_WRLCK`, `F_UNLCK`: kinds of locks and leases. `fcntl` refuses `EX` and `SH`.

    manpage: fcntl(2)
    """

    RD = 0
    WR = 1
    UN = 2
    EX = 4
    SH = 8


class F_OWNER(enum.IntEnum):
    """`F_OWNER_*`: who gets the signals of a file.

    manpage: fcntl(2)
    """

    TID = 0
    PID = 1
    PGRP = 2


class DN(enum.IntFlag):
    """`DN_*`: changes of a directory that `F.NOTIFY` asks for.

    manpage: fcntl(2)
    """

    ACCESS = 0x1
    MODIFY = 0x2
    CREATE = 0x4
    DELETE = 0x8
    RENAME = 0x10
    ATTRIB = 0x20
    MULTISHOT = 0x80000000


class RWH(enum.IntEnum):
    """`RWH_*`: how long written data is expected to live, an `Int64` in memory for `F.SET_RW_HINT`.

    manpage: F_GET_RW_HINT(2const)
    """

    WRITE_LIFE_NOT_SET = 0
    WRITE_LIFE_NONE = 1
    WRITE_LIFE_SHORT = 2
    WRITE_LIFE_MEDIUM = 3
    WRITE_LIFE_LONG = 4
    WRITE_LIFE_EXTREME = 5


class Flock(CStruct, c="struct flock", headers=("linux/fcntl.h",)):
    """`struct flock`: a lock on a range of bytes, for `F.GETLK`, `F.SETLK`, `F.OFD_SETLK`...

    `start` is in bytes, from where `whence` (a `SEEK`) says. With a `len` of 0 the lock reaches to the end of
    the file, however large the file grows. `pid` must be 0 for the `OFD_` commands.
    """

    type: F_LCK | int = i16("l_type", known(F_LCK))
    whence: int = i16("l_whence", default=0)
    start: int = i64("l_start", default=0)
    len: int = i64("l_len", default=0)
    pid: int = i32("l_pid", default=0)


class OwnerEx(CStruct, c="struct f_owner_ex", headers=("linux/fcntl.h",)):
    """`struct f_owner_ex`: who gets the signals of a file, for `F.SETOWN_EX` and `F.GETOWN_EX`."""

    type: F_OWNER | int = i32("type", known(F_OWNER))
    pid: int = i32("pid")


class Delegation(CStruct, c="struct delegation", headers=("linux/fcntl.h",)):
    """`struct delegation`: a lease that also breaks when a directory changes, for `F.GETDELEG`, `F.SETDELEG`.
    The kernel reads it for both: for `F.GETDELEG` write an empty one first.

    Args:
        flags: 0; none is defined yet.
        type: `F_LCK.RD`, `F_LCK.WR`, or `F_LCK.UN` for none.
    """

    flags: int = u32("d_flags", default=0)  # since Linux 6.19
    type: F_LCK | int = u16("d_type", known(F_LCK), default=F_LCK.UN)  # since Linux 6.19
    pad: int = u16("__pad", default=0)  # since Linux 6.19


_COMMON_FLAGS = ~(O.DIRECT.value | O.DIRECTORY.value | O.LARGEFILE.value | O.NOFOLLOW.value | O.TMPFILE.value)
# TMPFILE has the bit of DIRECTORY and one of its own.
_TMPFILE_BIT = O.TMPFILE.value & ~O.DIRECTORY.value


def _differing_flags(abi: ABI) -> tuple[tuple[int, int], ...]:
    """Pairs: the bit of a flag on the running architecture, and its bit on `abi`."""
    return (
        (O.DIRECT.value, abi.O_DIRECT),
        (O.DIRECTORY.value, abi.O_DIRECTORY),
        (O.LARGEFILE.value, abi.O_LARGEFILE),
        (O.NOFOLLOW.value, abi.O_NOFOLLOW),
        (_TMPFILE_BIT, abi.O_TMPFILE & ~abi.O_DIRECTORY),
    )


def encode_open_flags(abi: ABI, flags: int) -> int:
    """Return the number that these `O` flags have on the architecture of a process."""
    if abi is _NATIVE_ABI:
        return int(flags)
    result = int(flags) & _COMMON_FLAGS
    for ours, theirs in _differing_flags(abi):
        if flags & ours:
            result |= theirs
    return result


def decode_open_flags(abi: ABI, flags: int) -> O:
    """Return the `O` flags that have this number on the architecture of a process."""
    if abi is _NATIVE_ABI:
        return O(flags)
    pairs = _differing_flags(abi)
    theirs_all = 0
    result = 0
    for ours, theirs in pairs:
        theirs_all |= theirs
        if flags & theirs:
            result |= ours
    return O(result | (flags & ~theirs_all))


_ARGUMENT = by(
    1,
    {
        **each((F.GETFD, F.GETFL, F.GETOWN, F.GETSIG, F.GETLEASE, F.GETPIPE_SZ, F.GET_SEALS), NOTHING),
        F.SETFD: flags(FD, "FD_"),
        F.SETFL: OPEN_FLAGS,
        **each((F.SETLK, F.SETLKW, F.OFD_SETLK, F.OFD_SETLKW), given(Flock)),
        **each((F.GETLK, F.OFD_GETLK), out(Flock)),
        F.SETOWN_EX: given(OwnerEx),
        F.GETOWN_EX: out(OwnerEx),
        F.SETDELEG: given(Delegation),
        F.GETDELEG: out(Delegation),
        F.GETOWNER_UIDS: buffer(8),  # two uid_t
        **each((F.GET_RW_HINT, F.SET_RW_HINT, F.GET_FILE_RW_HINT, F.SET_FILE_RW_HINT), buffer(8)),
    },
)


class FcntlFileDescriptor(BaseFileDescriptor):
    """Operations on a descriptor, or on the file that it refers to."""

    __slots__ = ()

    async def fcntl(self, cmd: F, arg: int | Pointer[Any] | None = None) -> int:
        """`fcntl(fd, cmd, arg)`: do one of many things to this descriptor or its file.

        `F.DUPFD` and `F.DUPFD_CLOEXEC` return a number that no handle owns; `dup` does the same and returns a
        handle.

        Args:
            arg: as the man page says for `cmd`: a number, or a pointer to a structure. A pointer is not
                consumed; read it for what the kernel wrote.

        Returns:
            Depends on `cmd`. For `F.GETFL`, the number of an `O`; for `F.GETOWN`, the id of a process, or the
            negated id of a process group (in C, ids below 4096 look like errors).

        Raises:
            BufferTooSmallError: the memory is smaller than the structure that `cmd` takes.
            OSError: EINVAL, EBADF, EAGAIN or EACCES (another owner has the lock), EPERM, EBUSY; `filename` is
                (fd, cmd, arg).

        manpage: fcntl(2)
        """
        self._validate()
        with naming((self, cmd, arg)):
            if isinstance(arg, Pointer):
                with arg.borrow(self.task) as arg_addr:
                    require_size(arg, _ARGUMENT.size(cmd))
                    return await _fcntl(self.task.sysif, self.near, cmd, arg_addr)
            return await _fcntl(self.task.sysif, self.near, cmd, arg)


@call("fcntl", FDNUM, choice(F, "F_"), _ARGUMENT)
async def _fcntl(
    sysif: SyscallInterface,
    fd: near.FileDescriptor,
    cmd: F,
    arg: int | near.Address | None = None,
) -> int:
    """The raw call. `O` flags are those of the running architecture, as argument and as result; the result
    for `F.GETOWN` is negative for a process group.
    """
    if cmd == F.GETOWN:
        return await _getown(sysif, fd)
    if sysif.abi is not _NATIVE_ABI:
        if cmd == F.SETFL:
            arg = encode_open_flags(sysif.abi, int(arg or 0))
        elif cmd == F.GETFL:
            return int(decode_open_flags(sysif.abi, await sysif.syscall(nr.fcntl, fd, cmd)))
    return await sysif.syscall(nr.fcntl, fd, cmd, 0 if arg is None else arg)


async def _getown(sysif: SyscallInterface, fd: near.FileDescriptor) -> int:
    """The raw call for `F.GETOWN`. A process group, negated, looks like an error if it is below 4096."""
    try:
        owner = await sysif.syscall(nr.fcntl, fd, F.GETOWN)
    except OSError as exn:
        owner = -(exn.errno or 0)
        # If the call did fail, so does this one, for the same reason. No result of this one looks like an
        # error.
        await sysif.syscall(nr.fcntl, fd, F.GETSIG)
    return owner - (1 << 64) if owner >> 63 == 1 else owner
