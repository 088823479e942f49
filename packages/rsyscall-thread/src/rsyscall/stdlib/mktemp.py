"""Temporary directories, and replacing a symbolic link in one step."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import string
import typing as t
from collections.abc import Iterator, Sequence

import trio

from rsyscall.fcntl import AT, O
from rsyscall.linux.dirent import DT, DirentList
from rsyscall.near import nr
from rsyscall.near.sysif import Syscall
from rsyscall.path import Path
from rsyscall.struct import strpath_to_null_terminated_bytes
from rsyscall.unistd import SEEK

if t.TYPE_CHECKING:
    from rsyscall.handle import FileDescriptor, WrittenPointer
    from rsyscall.memory.ram import RAM
    from rsyscall.thread import Thread

__all__ = ["TemporaryDirectory", "mkdtemp", "random_string", "update_symlink"]

StrPath: t.TypeAlias = "str | os.PathLike[str]"

_ALPHABET = string.ascii_letters + string.digits
_LIST_SIZE = 32768
_UNLINKS_AT_ONCE = 256


def random_string(k: int = 8) -> str:
    """Return `k` random letters and digits, which nobody can guess."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(k))


async def update_symlink(thr: Thread, path: WrittenPointer[Path], target: StrPath) -> WrittenPointer[Path]:
    """Make the symbolic link at `path` say `target`, whether or not there is one.

    At every moment there is the old link or the new one. It is made under a temporary name in the same
    directory.

    Args:
        thr: makes the system calls.
        path: where the link is to be; what is there must not be a directory.
        target: what the link is to say.

    Returns:
        `path`.

    Raises:
        OSError: EACCES, EISDIR, ENOENT, EROFS and others; nothing has changed.

    manpage: symlink(2), rename(2)
    """
    where = path.value
    temporary = await thr.ram.ptr(Path(where.parent, f".{where.name}.{random_string()}"))
    await thr.task.symlink(await thr.ram.ptr(os.fspath(target)), temporary)
    try:
        await thr.task.rename(temporary, path)
    except BaseException:
        with trio.CancelScope(shield=True):
            await thr.task.unlink(temporary)
        raise
    return path


async def mkdtemp(thr: Thread, prefix: str = "mkdtemp") -> TemporaryDirectory:
    """Make a temporary directory, which only the user of the process can enter.

    Args:
        thr: makes the system calls. The directory is in the `tmpdir` of its environment.
        prefix: what the name begins with.

    Returns:
        Its path, which is also a context manager that removes it with everything in it.

    Raises:
        OSError: ENOENT if there is no such `tmpdir`, EACCES, ENOSPC, EROFS.

    manpage: mkdir(2)
    """
    parent = Path(thr.environ.tmpdir)
    while True:
        name = f"{prefix}.{random_string()}"
        try:
            await thr.task.mkdir(await thr.ram.ptr(parent / name), 0o700)
        except FileExistsError:
            continue
        return TemporaryDirectory(thr, parent, name)


class TemporaryDirectory(Path):
    """The path of a directory that is going to be removed.

    As an async context manager it removes the directory at the end, also when cancelled; paths derived from
    it are plain paths.

    Args:
        thr: makes the system calls that remove it.
        parent: the directory it is in.
        name: its name there.
    """

    def __init__(self, thr: Thread, parent: Path, name: str) -> None:
        super().__init__(parent, name)
        self.thr = thr

    async def cleanup(self) -> None:
        """Remove the directory and everything below it; does nothing if it is gone.

        Permissions are no obstacle, as far as the user may change them. Symbolic links are not followed.

        Raises:
            OSError: EBUSY if something is mounted there or below, which stays as it is; EACCES, EPERM.

        manpage: unlinkat(2)
        """
        ram = self.thr.ram
        parent = await self.thr.task.open(await ram.ptr(Path(self.parent)), O.PATH | O.DIRECTORY)
        async with parent:
            await _remove_directory(ram, parent, self.name, Path(self))

    async def __aenter__(self) -> TemporaryDirectory:
        """Return the path."""
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        with trio.CancelScope(shield=True):
            await self.cleanup()


async def _remove_directory(ram: RAM, parent: FileDescriptor, name: str, path: Path) -> None:
    """Remove a directory with everything below it; `path` is for error messages."""
    name_ptr = await ram.ptr(name)
    # Also to learn of a mount point before anything of what is mounted there is touched: the kernel looks for
    # that (EBUSY) before it looks whether the directory is empty.
    if await _rmdir(parent, name_ptr, path):
        return
    try:
        try:
            directory = await parent.openat(name_ptr, O.RDONLY | O.DIRECTORY | O.NOFOLLOW)
        except PermissionError:
            await parent.fchmodat(name_ptr, 0o700)
            directory = await parent.openat(name_ptr, O.RDONLY | O.DIRECTORY | O.NOFOLLOW)
    except FileNotFoundError:
        return
    except OSError as exn:
        exn.filename = path
        raise
    async with directory:
        # If it is somebody else's, its permissions may suffice as they are.
        with contextlib.suppress(PermissionError):
            await directory.fchmod(0o700)
        # Again, in case that removing while listing made the listing skip something.
        while entries := await _list(ram, directory):
            subdirectories = [name for name, kind in entries if kind == DT.DIR]
            others = [name for name, kind in entries if kind != DT.DIR]
            subdirectories += await _unlink(ram, directory, others, path)
            for subdirectory in subdirectories:
                await _remove_directory(ram, directory, subdirectory, path / subdirectory)
    if not await _rmdir(parent, name_ptr, path):
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)


async def _rmdir(parent: FileDescriptor, name: WrittenPointer[str], path: Path) -> bool:
    """Remove a directory; returns False if it is not empty."""
    try:
        await parent.rmdirat(name)
    except FileNotFoundError:
        pass
    except OSError as exn:
        if exn.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        exn.filename = path
        raise
    return True


async def _list(ram: RAM, directory: FileDescriptor) -> list[tuple[str, DT]]:
    """Everything in a directory: name and type."""
    await directory.lseek(0, SEEK.SET)
    found: list[tuple[str, DT]] = []
    memory = await ram.malloc(DirentList, _LIST_SIZE)
    while True:
        valid, rest = await directory.getdents(memory)
        if not valid.size():
            return found
        found += [(entry.name, entry.type) for entry in await valid.read() if entry.name not in (".", "..")]
        memory = valid + rest


async def _unlink(ram: RAM, directory: FileDescriptor, names: Sequence[str], path: Path) -> list[str]:
    """Remove files, many with one submission; returns those that turned out to be directories."""
    directories = []
    for some in _pieces(names, _UNLINKS_AT_ONCE):
        strings = [strpath_to_null_terminated_bytes(name) for name in some]
        memory = await ram.ptr(b"".join(strings))
        task = directory.task
        with directory.borrow(task) as fd, memory.borrow(task) as address:
            calls = []
            for encoded in strings:
                calls.append(Syscall(nr.unlinkat, fd, address, AT.NONE))
                address += len(encoded)
            results = await task.sysif.syscalls(calls)
        for name, result in zip(some, results, strict=True):
            if result == -errno.EISDIR:
                directories.append(name)
            elif result not in (0, -errno.ENOENT):
                raise OSError(-result, os.strerror(-result), path / name)
    return directories


def _pieces(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), size):
        yield names[start : start + size]
