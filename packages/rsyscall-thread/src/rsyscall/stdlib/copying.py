"""Copying files and directories from one process to another, wherever these are.

What is read in one process travels through the program, and is written in the other. Several pieces are under
way at a time, so that a distant process does not wait for each.

*All or nothing.* A copy is made under a temporary name beside its place, and renamed when it is whole. If it
fails, or is cancelled, it is removed.

*Not trusted.* A source that lies about its directories can write nothing outside of the copy: names are
checked, and each file is made new in a directory that was made for it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from rsyscall.background import together
from rsyscall.fcntl import AT, O
from rsyscall.linux.dirent import DT, DirentList
from rsyscall.near import SyscallError
from rsyscall.path import Path
from rsyscall.stdlib._remove_tree import remove_tree
from rsyscall.stdlib.mktemp import random_string
from rsyscall.sys.stat import S_IF, FileTimes, Stat
from rsyscall.unistd import RENAME

if TYPE_CHECKING:
    from rsyscall.handle import FileDescriptor, Pointer
    from rsyscall.memory.ram import RAM
    from rsyscall.thread import Thread

__all__ = ["CopyProgress", "copy_file", "copy_tree"]

_PIECE = 1 << 18
# Of one file, under way at a time.
_PIECES = 4
# Of one directory, at a time.
_FILES = 8
_LIST_SIZE = 1 << 15
_MAX_TARGET = 4096
_KINDS = {S_IF.REG: DT.REG, S_IF.DIR: DT.DIR, S_IF.LNK: DT.LNK}


@dataclass(frozen=True)
class CopyProgress:
    """How far a copy is.

    Attributes:
        path: of the file that a piece was just copied of, at the source.
        copied: bytes of all files so far.
        size: bytes that the files which were begun had then. More may come, in a tree.
        files: how many files are done.
    """

    path: Path
    copied: int
    size: int
    files: int


Report = Callable[[CopyProgress], object]


async def copy_file(
    source: Thread,
    source_path: str | os.PathLike[str],
    destination: Thread,
    destination_path: str | os.PathLike[str],
    *,
    progress: Report | None = None,
) -> CopyProgress:
    """Copy a regular file with its permissions and times. A file that is there already is replaced.

    Set-user-ID and set-group-ID bits are not copied; the owner is the user of `destination`. A file that
    grows meanwhile is copied up to the size that it had at first.

    Args:
        source: reads the file.
        source_path: of it; a symbolic link is followed.
        destination: writes the copy.
        destination_path: of it. It needs the permission to make files in that directory.
        progress: is called after every piece, of 256 KiB at most. What it raises ends the copy.

    Returns:
        What was copied.

    Raises:
        IsADirectoryError: see `copy_tree`.
        OSError: EINVAL, it is no regular file; see open(2), read(2), write(2), rename(2). Nothing has
            changed.
        SyscallError: one of the processes was lost. If it was `destination`, a file with a temporary name may
            be left, which begins with a dot.

    manpage: rename(2)
    """
    copy = _Copy(source, destination, progress)
    path = Path(source_path)
    async with _Place.open(destination, Path(destination_path)) as place:
        with _named(path):
            read = await source.task.open(await source.ptr(path), O.RDONLY | O.NONBLOCK | O.CLOEXEC)
        async with _closing(read):
            await copy.file(read, place.parent, place.temporary, path, place.path)
            await place.rename(RENAME.NONE)
    return copy.state(path)


async def copy_tree(
    source: Thread,
    source_path: str | os.PathLike[str],
    destination: Thread,
    destination_path: str | os.PathLike[str],
    *,
    progress: Report | None = None,
) -> CopyProgress:
    """Copy a directory with all that is in it: files, directories and symbolic links.

    Of files and directories, permissions and times are copied, as by `copy_file`; symbolic links are copied
    as they are. Other file systems that are mounted there are copied, too. Several names of one file become
    several files. Each level of the tree takes a descriptor in both processes.

    Args:
        source: reads the directory.
        source_path: of it.
        destination: writes the copy.
        destination_path: of it, where nothing is.
        progress: as for `copy_file`.

    Returns:
        What was copied.

    Raises:
        FileExistsError: something is at `destination_path`.
        OSError: as `copy_file`; EINVAL also for a device, a socket or a pipe in the tree, and for a copy in
            the directory itself. Nothing is left.
        SyscallError: as `copy_file`.
    """
    copy = _Copy(source, destination, progress)
    path = Path(source_path)
    async with _Place.open(destination, Path(destination_path)) as place:
        with _named(place.path):
            if await place.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        with _named(path):
            read = await source.task.open(await source.ptr(path), O.RDONLY | O.DIRECTORY | O.CLOEXEC)
        async with _closing(read):
            copy.made = place.temporary
            await copy.directory(read, place.parent, place.temporary, path, place.path)
        await place.rename(RENAME.NOREPLACE)
    return copy.state(path)


@dataclass
class _Place:
    """Where a copy comes, and its temporary name beside it."""

    thread: Thread
    path: Path
    parent: FileDescriptor
    temporary: str
    renamed: bool = False

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, thread: Thread, path: Path) -> AsyncIterator[_Place]:
        """What is there under the temporary name in the end is removed."""
        name = os.path.basename(path)
        if name in ("", ".", ".."):
            raise ValueError(f"{path}: expected a path that ends with a name")
        with _named(path):
            above = await thread.ptr(Path(os.path.dirname(path) or "."))
            parent = await thread.task.open(above, O.RDONLY | O.DIRECTORY | O.CLOEXEC)
        async with _closing(parent):
            place = cls(thread, path, parent, f".rsyscall-{random_string()}")
            try:
                yield place
            finally:
                if not place.renamed:
                    with trio.CancelScope(shield=True), contextlib.suppress(OSError, SyscallError):
                        await place._remove()

    async def _remove(self) -> None:
        try:
            await self.parent.unlinkat(await self.thread.ptr(self.temporary))
        except IsADirectoryError:
            await remove_tree(self.thread.ram, self.parent, self.temporary, self.path)

    async def exists(self) -> bool:
        name = await self.thread.ptr(os.path.basename(self.path))
        try:
            await self.parent.fstatat(name, await self.thread.malloc(Stat), AT.SYMLINK_NOFOLLOW)
        except FileNotFoundError:
            return False
        return True

    async def rename(self, flags: RENAME) -> None:
        """Put the copy in its place."""
        names = [await self.thread.ptr(name) for name in (self.temporary, os.path.basename(self.path))]
        with _named(self.path):
            try:
                await self.parent.renameat(names[0], self.parent, names[1], flags)
            except OSError as error:
                if error.errno != errno.EINVAL or not flags:
                    raise
                # Not every file system has flags.
                await self.parent.renameat(names[0], self.parent, names[1])
        self.renamed = True


class _Copy:
    """One copy; counts what was copied."""

    def __init__(self, source: Thread, destination: Thread, progress: Report | None) -> None:
        self._source = source
        self._destination = destination
        self._progress = progress
        self._copied = self._size = self._files = 0
        # The temporary name of a tree: to find it in what is read would have no end.
        self.made = ""

    def state(self, path: Path) -> CopyProgress:
        return CopyProgress(path, self._copied, self._size, self._files)

    def _report(self, path: Path) -> None:
        if self._progress is not None:
            self._progress(self.state(path))

    async def file(
        self, read: FileDescriptor, directory: FileDescriptor, name: str, path: Path, to: Path
    ) -> None:
        """Copy a file that is open into a directory; the paths are for errors."""
        with _named(path):
            status = await _status(self._source.ram, read)
            if status.mode.type == S_IF.DIR:
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if status.mode.type != S_IF.REG:
                raise OSError(errno.EINVAL, "it is no regular file")
        self._size += max(0, status.size)
        with _named(to):
            flags = O.WRONLY | O.CREAT | O.EXCL | O.NOFOLLOW | O.CLOEXEC
            written = await directory.openat(await self._destination.ptr(name), flags, 0o600)
        async with _closing(written):
            await self._contents(read, written, status.size, path, to)
            with _named(to):
                await self._finish(written, status, 0o777)
        self._files += 1
        self._report(path)

    async def _contents(
        self, read: FileDescriptor, written: FileDescriptor, size: int, path: Path, to: Path
    ) -> None:
        position, at_end = 0, False

        async def copy_pieces() -> None:
            nonlocal position, at_end
            while not at_end:
                start = position
                # 0 is said of files in /proc, too.
                end = start + _PIECE if size <= 0 else min(start + _PIECE, size)
                position = end
                if start == end:
                    break
                while start < end:
                    with _named(path):
                        buffer = await self._source.malloc(bytes, end - start)
                        data = await (await read.pread(buffer, start))[0].read()
                    if not data:
                        at_end = True
                        break
                    with _named(to):
                        rest: Pointer[bytes] = await self._destination.ptr(data)
                        while rest.size():
                            part, rest = await written.pwrite(rest, start)
                            start += part.size()
                    self._copied += len(data)
                    self._report(path)
                    # Calls of our own process are none.
                    await trio.lowlevel.checkpoint()

        count = max(1, min(_PIECES, -(-size // _PIECE)))
        await together(*[copy_pieces] * count, cancel_others=True)

    async def directory(
        self, read: FileDescriptor, above: FileDescriptor, name: str, path: Path, to: Path
    ) -> None:
        """Copy a directory that is open into another one."""
        with _named(path):
            status = await _status(self._source.ram, read)
            entries = await self._list(read)
        with _named(to):
            made = await self._destination.ptr(name)
            await above.mkdirat(made, 0o700)
            written = await above.openat(made, O.RDONLY | O.DIRECTORY | O.NOFOLLOW | O.CLOEXEC)
        async with _closing(written):
            others = iter([entry for entry in entries if entry[1] != DT.DIR])

            async def copy_files() -> None:
                for entry, kind in others:
                    await self._entry(read, written, entry, kind, Path(path, entry), Path(to, entry))

            await together(*[copy_files] * _FILES, cancel_others=True)
            for entry, kind in entries:
                if kind == DT.DIR:
                    below = Path(path, entry)
                    with _named(below):
                        fd = await read.openat(await self._source.ptr(entry), _DIRECTORY)
                    async with _closing(fd):
                        await self.directory(fd, written, entry, below, Path(to, entry))
            with _named(to):
                await self._finish(written, status, 0o1777)

    async def _entry(
        self,
        read: FileDescriptor,
        written: FileDescriptor,
        name: str,
        kind: DT,
        path: Path,
        to: Path,
    ) -> None:
        if kind == DT.LNK:
            with _named(path):
                buffer = await self._source.malloc(bytes, _MAX_TARGET)
                target = await (await read.readlinkat(await self._source.ptr(name), buffer))[0].read()
            with _named(to):
                link = await self._destination.ptr(name)
                await written.symlinkat(await self._destination.ptr(os.fsdecode(target)), link)
            return
        with _named(path):
            if kind != DT.REG:
                raise OSError(errno.EINVAL, "it is no file, directory or symbolic link")
            flags = O.RDONLY | O.NONBLOCK | O.NOFOLLOW | O.CLOEXEC
            fd = await read.openat(await self._source.ptr(name), flags)
        async with _closing(fd):
            await self.file(fd, written, name, path, to)

    async def _list(self, directory: FileDescriptor) -> list[tuple[str, DT]]:
        """Everything in a directory: name and kind."""
        found: list[tuple[str, DT]] = []
        while True:
            valid, _ = await directory.getdents(await self._source.malloc(DirentList, _LIST_SIZE))
            if not valid.size():
                return found
            for entry in await valid.read():
                if entry.name in (".", ".."):
                    continue
                if entry.name == self.made:
                    raise OSError(errno.EINVAL, "the copy would be in the directory that it is made of")
                if not entry.name or "/" in entry.name:
                    raise OSError(errno.EPROTO, f"{entry.name!r} is no name of a file")
                kind = entry.type
                if kind == DT.UNKNOWN:
                    name, buffer = await self._source.ptr(entry.name), await self._source.malloc(Stat)
                    status = await (await directory.fstatat(name, buffer, AT.SYMLINK_NOFOLLOW)).read()
                    kind = _KINDS.get(status.mode.type, DT.UNKNOWN)
                found.append((entry.name, kind))

    async def _finish(self, fd: FileDescriptor, status: Stat, mask: int) -> None:
        """Permissions and times."""
        await fd.fchmod(stat.S_IMODE(int(status.mode)) & mask)
        await fd.futimens(await self._destination.ptr(FileTimes(status.atime, status.mtime)))


_DIRECTORY = O.RDONLY | O.DIRECTORY | O.NOFOLLOW | O.CLOEXEC


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say in errors which file it was."""
    try:
        yield
    except OSError as error:
        error.filename = path
        raise


@contextlib.asynccontextmanager
async def _closing(fd: FileDescriptor) -> AsyncIterator[None]:
    """Close a descriptor, also if its process is gone."""
    try:
        yield
    finally:
        with trio.CancelScope(shield=True), contextlib.suppress(SyscallError):
            await fd.invalidate()


async def _status(ram: RAM, fd: FileDescriptor) -> Stat:
    return await (await fd.fstat(await ram.malloc(Stat))).read()
