"""The raw calls behind `rsyscall.unistd.fs`: near arguments, no checks. None for a directory is the working
directory.
"""

from __future__ import annotations

from rsyscall.fcntl import AT, encode_open_flags
from rsyscall.near import SyscallInterface, nr
from rsyscall.near import types as near
from rsyscall.near.record import CallRecord


async def _readlinkat(
    sysif: SyscallInterface,
    dirfd: near.FileDescriptor | None,
    path: near.Address,
    buf: near.Address,
    bufsiz: int,
) -> int:
    return await sysif.syscall(nr.readlinkat, AT.FDCWD if dirfd is None else dirfd, path, buf, bufsiz)


async def _faccessat(
    sysif: SyscallInterface, dirfd: near.FileDescriptor | None, path: near.Address, flags: int, mode: int
) -> None:
    # The old call ignores flags; the new one, since Linux 5.8, is not needed without any.
    directory = AT.FDCWD if dirfd is None else dirfd
    if flags:
        await sysif.syscall(nr.faccessat2, directory, path, mode, flags)
    else:
        await sysif.syscall(nr.faccessat, directory, path, mode)


async def _openat(
    sysif: SyscallInterface,
    record: CallRecord,
    dirfd: near.FileDescriptor | None,
    path: near.Address,
    flags: int,
    mode: int,
) -> near.FileDescriptor:
    """`record` owns the number that comes back."""
    directory = AT.FDCWD if dirfd is None else dirfd
    flags = encode_open_flags(sysif.abi, flags)
    return near.FileDescriptor(await sysif.recorded_syscall(record, nr.openat, directory, path, flags, mode))


async def _fchmod(sysif: SyscallInterface, fd: near.FileDescriptor, mode: int) -> None:
    await sysif.syscall(nr.fchmod, fd, mode)


async def _fchmodat(
    sysif: SyscallInterface, dirfd: near.FileDescriptor | None, path: near.Address, mode: int, flags: int
) -> None:
    # As with faccessat, flags need the newer call; since Linux 6.6.
    directory = AT.FDCWD if dirfd is None else dirfd
    if flags:
        await sysif.syscall(nr.fchmodat2, directory, path, mode, flags)
    else:
        await sysif.syscall(nr.fchmodat, directory, path, mode)


async def _fchown(sysif: SyscallInterface, fd: near.FileDescriptor, owner: int, group: int) -> None:
    await sysif.syscall(nr.fchown, fd, owner, group)


async def _fchownat(
    sysif: SyscallInterface,
    dirfd: near.FileDescriptor | None,
    path: near.Address,
    owner: int,
    group: int,
    flags: int,
) -> None:
    await sysif.syscall(nr.fchownat, AT.FDCWD if dirfd is None else dirfd, path, owner, group, flags)


async def _truncate(sysif: SyscallInterface, path: near.Address, length: int) -> None:
    await sysif.syscall(nr.truncate, path, length)


async def _ftruncate(sysif: SyscallInterface, fd: near.FileDescriptor, length: int) -> None:
    await sysif.syscall(nr.ftruncate, fd, length)


async def _mkdirat(
    sysif: SyscallInterface, dirfd: near.FileDescriptor | None, path: near.Address, mode: int
) -> None:
    await sysif.syscall(nr.mkdirat, AT.FDCWD if dirfd is None else dirfd, path, mode)


async def _unlinkat(
    sysif: SyscallInterface, dirfd: near.FileDescriptor | None, path: near.Address, flags: int
) -> None:
    await sysif.syscall(nr.unlinkat, AT.FDCWD if dirfd is None else dirfd, path, flags)


async def _linkat(
    sysif: SyscallInterface,
    olddirfd: near.FileDescriptor | None,
    oldpath: near.Address,
    newdirfd: near.FileDescriptor | None,
    newpath: near.Address,
    flags: int,
) -> None:
    olddir = AT.FDCWD if olddirfd is None else olddirfd
    newdir = AT.FDCWD if newdirfd is None else newdirfd
    await sysif.syscall(nr.linkat, olddir, oldpath, newdir, newpath, flags)


async def _renameat2(
    sysif: SyscallInterface,
    olddirfd: near.FileDescriptor | None,
    oldpath: near.Address,
    newdirfd: near.FileDescriptor | None,
    newpath: near.Address,
    flags: int,
) -> None:
    olddir = AT.FDCWD if olddirfd is None else olddirfd
    newdir = AT.FDCWD if newdirfd is None else newdirfd
    await sysif.syscall(nr.renameat2, olddir, oldpath, newdir, newpath, flags)


async def _symlinkat(
    sysif: SyscallInterface,
    target: near.Address,
    newdirfd: near.FileDescriptor | None,
    linkpath: near.Address,
) -> None:
    await sysif.syscall(nr.symlinkat, target, AT.FDCWD if newdirfd is None else newdirfd, linkpath)


async def _fsync(sysif: SyscallInterface, fd: near.FileDescriptor) -> None:
    await sysif.syscall(nr.fsync, fd)


async def _fdatasync(sysif: SyscallInterface, fd: near.FileDescriptor) -> None:
    await sysif.syscall(nr.fdatasync, fd)


async def _syncfs(sysif: SyscallInterface, fd: near.FileDescriptor) -> None:
    await sysif.syscall(nr.syncfs, fd)


async def _sync(sysif: SyscallInterface) -> None:
    await sysif.syscall(nr.sync)
