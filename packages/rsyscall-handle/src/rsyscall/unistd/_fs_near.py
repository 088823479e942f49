"""The raw calls of `rsyscall.unistd.fs`, with near arguments and no checks. None for a directory is the
working directory.
"""

from __future__ import annotations

import enum

from rsyscall.fcntl import AT, encode_open_flags
from rsyscall.handle.arguments import (
    DIRFD,
    FDNUM,
    ID,
    LONG,
    MODE,
    OPEN_FLAGS,
    OUT,
    PATH,
    SIZE,
    STRING,
    Kind,
    call,
    directory,
    flags,
)
from rsyscall.near import SyscallInterface, nr
from rsyscall.near import types as near
from rsyscall.near.record import CallRecord


class OK(enum.IntFlag):
    """`R_OK`, `W_OK`, `X_OK`, `F_OK`: what `access` asks for. `F` asks only whether the file exists.

    manpage: access(2)
    """

    F = 0
    X = 1
    W = 2
    R = 4


class RENAME(enum.IntFlag):
    """`RENAME_*`: flags of `renameat2`.

    manpage: rename(2)
    """

    NONE = 0
    NOREPLACE = 1
    EXCHANGE = 2
    WHITEOUT = 4


_ACCESS = flags(OK, "", renamed={name: f"{name}_OK" for name in "RWXF"}, zero="F_OK")
_FOLLOW = flags(AT, "AT_", ["SYMLINK_FOLLOW", "EMPTY_PATH"])
_NOFOLLOW = flags(AT, "AT_", ["SYMLINK_NOFOLLOW", "EMPTY_PATH", "NO_AUTOMOUNT"])


@call("readlinkat", DIRFD, PATH, OUT, SIZE)
async def _readlinkat(
    sysif: SyscallInterface,
    dirfd: near.FileDescriptor | None,
    path: near.Address,
    buf: near.Address,
    bufsiz: int,
) -> int:
    return await sysif.syscall(nr.readlinkat, directory(dirfd), path, buf, bufsiz)


@call("faccessat", DIRFD, PATH, _ACCESS)
@call("faccessat2", DIRFD, PATH, _ACCESS, flags(AT, "AT_", ["EACCESS", "SYMLINK_NOFOLLOW", "EMPTY_PATH"]))
async def _faccessat(
    sysif: SyscallInterface, dirfd: near.FileDescriptor | None, path: near.Address, flags: int, mode: int
) -> None:
    # faccessat takes no flags, and works on all kernels; faccessat2, since Linux 5.8, takes them.
    if flags:
        await sysif.syscall(nr.faccessat2, directory(dirfd), path, mode, flags)
    else:
        await sysif.syscall(nr.faccessat, directory(dirfd), path, mode)


@call("openat", DIRFD, PATH, OPEN_FLAGS, Kind("mode_if_creating"))
async def _openat(
    sysif: SyscallInterface,
    record: CallRecord,
    dirfd: near.FileDescriptor | None,
    path: near.Address,
    flags: int,
    mode: int,
) -> near.FileDescriptor:
    """`record` owns the new descriptor."""
    flags = encode_open_flags(sysif.abi, flags)
    return near.FileDescriptor(
        await sysif.recorded_syscall(record, nr.openat, directory(dirfd), path, flags, mode)
    )


@call("fchmod", FDNUM, MODE)
async def _fchmod(sysif: SyscallInterface, fd: near.FileDescriptor, mode: int) -> None:
    await sysif.syscall(nr.fchmod, fd, mode)


@call("fchmodat", DIRFD, PATH, MODE)
@call("fchmodat2", DIRFD, PATH, MODE, _NOFOLLOW)
async def _fchmodat(
    sysif: SyscallInterface, dirfd: near.FileDescriptor | None, path: near.Address, mode: int, flags: int
) -> None:
    # As with faccessat. fchmodat2 is there since Linux 6.6.
    if flags:
        await sysif.syscall(nr.fchmodat2, directory(dirfd), path, mode, flags)
    else:
        await sysif.syscall(nr.fchmodat, directory(dirfd), path, mode)


@call("fchown", FDNUM, ID, ID)
async def _fchown(sysif: SyscallInterface, fd: near.FileDescriptor, owner: int, group: int) -> None:
    await sysif.syscall(nr.fchown, fd, owner, group)


@call("fchownat", DIRFD, PATH, ID, ID, _NOFOLLOW)
async def _fchownat(
    sysif: SyscallInterface,
    dirfd: near.FileDescriptor | None,
    path: near.Address,
    owner: int,
    group: int,
    flags: int,
) -> None:
    await sysif.syscall(nr.fchownat, directory(dirfd), path, owner, group, flags)


@call("truncate", PATH, LONG)
async def _truncate(sysif: SyscallInterface, path: near.Address, length: int) -> None:
    await sysif.syscall(nr.truncate, path, length)


@call("ftruncate", FDNUM, LONG)
async def _ftruncate(sysif: SyscallInterface, fd: near.FileDescriptor, length: int) -> None:
    await sysif.syscall(nr.ftruncate, fd, length)


@call("mkdirat", DIRFD, PATH, MODE)
async def _mkdirat(
    sysif: SyscallInterface, dirfd: near.FileDescriptor | None, path: near.Address, mode: int
) -> None:
    await sysif.syscall(nr.mkdirat, directory(dirfd), path, mode)


@call("unlinkat", DIRFD, PATH, flags(AT, "AT_", ["REMOVEDIR"]))
async def _unlinkat(
    sysif: SyscallInterface, dirfd: near.FileDescriptor | None, path: near.Address, flags: int
) -> None:
    await sysif.syscall(nr.unlinkat, directory(dirfd), path, flags)


@call("linkat", DIRFD, PATH, DIRFD, PATH, _FOLLOW)
async def _linkat(
    sysif: SyscallInterface,
    olddirfd: near.FileDescriptor | None,
    oldpath: near.Address,
    newdirfd: near.FileDescriptor | None,
    newpath: near.Address,
    flags: int,
) -> None:
    await sysif.syscall(nr.linkat, directory(olddirfd), oldpath, directory(newdirfd), newpath, flags)


@call("renameat2", DIRFD, PATH, DIRFD, PATH, flags(RENAME, "RENAME_"))
async def _renameat2(
    sysif: SyscallInterface,
    olddirfd: near.FileDescriptor | None,
    oldpath: near.Address,
    newdirfd: near.FileDescriptor | None,
    newpath: near.Address,
    flags: int,
) -> None:
    await sysif.syscall(nr.renameat2, directory(olddirfd), oldpath, directory(newdirfd), newpath, flags)


@call("symlinkat", STRING, DIRFD, PATH)
async def _symlinkat(
    sysif: SyscallInterface,
    target: near.Address,
    newdirfd: near.FileDescriptor | None,
    linkpath: near.Address,
) -> None:
    await sysif.syscall(nr.symlinkat, target, directory(newdirfd), linkpath)


@call("fsync", FDNUM)
async def _fsync(sysif: SyscallInterface, fd: near.FileDescriptor) -> None:
    await sysif.syscall(nr.fsync, fd)


@call("fdatasync", FDNUM)
async def _fdatasync(sysif: SyscallInterface, fd: near.FileDescriptor) -> None:
    await sysif.syscall(nr.fdatasync, fd)


@call("syncfs", FDNUM)
async def _syncfs(sysif: SyscallInterface, fd: near.FileDescriptor) -> None:
    await sysif.syscall(nr.syncfs, fd)


@call("sync")
async def _sync(sysif: SyscallInterface) -> None:
    await sysif.syscall(nr.sync)
