"""Removing a directory with everything below it, while others may still write and rename there.

*Down, and never up.* We keep the descriptors of the directories from the top to the current one open, at most
`HELD` of them. A directory that lies deeper is renamed into the top, under a random name, where its turn
comes later. So any depth takes as many descriptors as a small one. We never look up "..", which leads
elsewhere once a directory has been moved, nor a path of more than one component.

*In place.* A directory that has been moved out of the tree is not ours any more, but its descriptor still
leads to it. So before every step we look up each of these directories again in the one above it.

*Tries.* Other processes may add faster than we remove, also below where we are. So a try enters only
directories that were not changed since it began, and looks at each directory once. The rest is for the next
try, after a pause in which processes that were just killed come to their end. The first try ends because the
directories that existed at its beginning are finite; the later ones have a limit of time.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import secrets
import struct
import typing as t
from collections.abc import Sequence

import trio

from rsyscall.fcntl import AT, O
from rsyscall.linux.dirent import DT, DirentList
from rsyscall.near import nr
from rsyscall.near.sysif import Syscall, error_of
from rsyscall.path import Path
from rsyscall.struct import strpath_to_null_terminated_bytes
from rsyscall.sys.stat import Stat

if t.TYPE_CHECKING:
    from rsyscall.handle import FileDescriptor, WrittenPointer
    from rsyscall.memory.ram import RAM

__all__ = ["remove_tree"]

HELD = 16
"""How many directories are open at a time; for moments one more, and another for an unreadable one."""

LIMIT = 5.0
"""Seconds for the tries after the first."""

# st_dev and st_ino, which begin `struct stat` on every architecture.
_IDENTITY = struct.Struct("=QQ")
_LIST_SIZE = 32768
_UNLINKS_AT_ONCE = 256


async def remove_tree(ram: RAM, parent: FileDescriptor, name: str, path: Path) -> None:
    """Remove a directory with everything below it; does nothing if it is gone.

    Args:
        ram: memory for the task of `parent`.
        parent: the directory that it is in.
        name: its name there.
        path: for error messages.

    Raises:
        OSError: ENOTEMPTY if other processes go on writing there; EBUSY if a file system is mounted there or
            below; ENOTDIR, EACCES, EPERM. `filename` is the path that could not be removed.

    manpage: unlinkat(2)
    """
    left = await _Try(ram, parent, name, path).run()
    deadline = trio.current_time() + LIMIT
    pause = 0.001
    while left is not None:
        if trio.current_time() > deadline:
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), left)
        await trio.sleep(pause)
        pause = min(2 * pause, 0.1)
        left = await _Try(ram, parent, name, path).run(deadline, left)


class _Level:
    """A directory on the way from the top to the current one.

    Attributes:
        name: in the directory above it; `pointer` is the same in memory.
        fd: open for reading.
        identity: device and inode.
        subdirectories: names of those that still have to be removed.
    """

    __slots__ = ("fd", "identity", "name", "pointer", "subdirectories")

    def __init__(self, name: str, pointer: WrittenPointer[str], fd: FileDescriptor, status: Stat) -> None:
        self.name = name
        self.pointer = pointer
        self.fd = fd
        self.identity = status.dev, status.ino
        self.subdirectories: list[str] = []


class _Try:
    """One try; see above. The arguments are those of `remove_tree`."""

    def __init__(self, ram: RAM, parent: FileDescriptor, name: str, path: Path) -> None:
        self.ram = ram
        self.parent = parent
        self.name = name
        self.path = path
        self.levels: list[_Level] = []
        # The first path left for the next try.
        self.left: Path | None = None
        # When it began, by the clock of the file system.
        self.began = (0, 0)
        # The names in the top of the directories that came from deep below.
        self.from_below: set[str] = set()

    async def run(self, deadline: float = math.inf, before: Path | None = None) -> Path | None:
        """Run the try; returns a path that was left over, or None if there is none.

        Args:
            deadline: when to stop, by the clock of trio.
            before: the path that the previous try has left over; returned if this one is stopped.
        """
        try:
            await self._enter(self.parent, self.name)
            while self.levels:
                await trio.lowlevel.checkpoint()
                if trio.current_time() > deadline:
                    self.left = self.left or before
                    break
                if not await self._in_place():
                    continue
                level = self.levels[-1]
                if level.subdirectories:
                    await self._enter(level.fd, level.subdirectories.pop())
                else:
                    await self._finish()
        finally:
            with trio.CancelScope(shield=True):
                while self.levels:
                    await self.levels.pop().fd.close()
        return self.left

    def _above(self, depth: int) -> FileDescriptor:
        """The parent of the directory at this depth."""
        return self.levels[depth - 1].fd if depth else self.parent

    def _path(self, name: str | None = None) -> Path:
        """The path of the current directory, or of a name in it."""
        names = [level.name for level in self.levels[1:]]
        if name is not None and self.levels:
            names.append(name)
        return Path(self.path, *names)

    def _leave(self, name: str | None = None) -> None:
        if self.left is None:
            self.left = self._path(name)

    async def _enter(self, above: FileDescriptor, name: str) -> None:
        """Remove a directory if it is empty; otherwise remove its files, and make it the current one."""
        pointer = await self.ram.ptr(name)
        try:
            # Also to learn of a mount point before anything of what is mounted there is touched: the kernel
            # looks for that (EBUSY) before it looks whether the directory is empty.
            if await self._rmdir(above, pointer, name):
                return
            fd = await self._open(above, pointer)
        except FileNotFoundError:
            return
        except OSError as error:
            if self.levels and error.errno in (errno.ENOTDIR, errno.ELOOP):
                # It was a directory a moment ago.
                self._leave(name)
                return
            error.filename = self._path(name)
            raise
        try:
            status = await _status(self.ram, fd)
            if self.levels and await self._is_new(name, status):
                self._leave(name)
                await fd.close()
                return
            if int(status.mode) & 0o700 != 0o700:
                # If it is another user's, its permissions may suffice as they are.
                with contextlib.suppress(PermissionError):
                    await fd.fchmod(0o700)
            if len(self.levels) == HELD:
                await fd.close()
                await self._move_to_top(above, pointer)
                return
        except BaseException:
            with trio.CancelScope(shield=True):
                await fd.invalidate()
            raise
        self.levels.append(_Level(name, pointer, fd, status))
        if len(self.levels) == 1:
            self.began = await self._now()
        await self._unlink_files()
        if self.levels and not self.levels[-1].subdirectories:
            await self._finish()

    async def _finish(self) -> None:
        """Remove the current directory, which should be empty now; its parent is the next."""
        level = self.levels[-1]
        if not await self._rmdir(self._above(len(self.levels) - 1), level.pointer):
            self._leave()
        self.levels.pop()
        await level.fd.close()

    async def _open(self, above: FileDescriptor, pointer: WrittenPointer[str]) -> FileDescriptor:
        flags = O.RDONLY | O.DIRECTORY | O.NOFOLLOW
        with contextlib.suppress(PermissionError):
            return await above.openat(pointer, flags)
        # By its name, permissions could be changed of what a symbolic link leads to that has replaced it.
        place = await above.openat(pointer, O.PATH | O.DIRECTORY | O.NOFOLLOW)
        async with place:
            try:
                await place.fchmodat(await self.ram.ptr(""), 0o700, AT.EMPTY_PATH)
            except OSError:
                # Linux before 6.6, or a filter that is older.
                link = await self.ram.ptr(f"/proc/self/fd/{int(place)}")
                await place.task.chmod(link, 0o700)
            return await place.openat(await self.ram.ptr("."), flags)

    async def _is_new(self, name: str, status: Stat) -> bool:
        """Whether other processes have made or changed a directory since the try began."""
        changed = status.ctime.sec, status.ctime.nsec
        if changed <= self.began or (len(self.levels) == 1 and name in self.from_below):
            return False
        # Changed in the future: the clock has been set back.
        return changed <= await self._now()

    async def _now(self) -> tuple[int, int]:
        """The time, as the file system sees it: any change of the top will do."""
        top = self.levels[0].fd
        with contextlib.suppress(OSError):
            await top.fchmod(0o700)
        status = await _status(self.ram, top)
        return status.ctime.sec, status.ctime.nsec

    async def _move_to_top(self, above: FileDescriptor, pointer: WrittenPointer[str]) -> None:
        top = self.levels[0]
        name = secrets.token_hex(8)
        try:
            await above.renameat(pointer, top.fd, await self.ram.ptr(name))
        except FileNotFoundError:
            return
        except OSError as error:
            error.filename = self._path(pointer.value)
            raise
        self.from_below.add(name)
        top.subdirectories.append(name)

    async def _in_place(self) -> bool:
        """Give up directories that are not where we entered them; returns whether there were none."""
        task, count = self.parent.task, len(self.levels)
        memory = await self.ram.malloc(bytes, count * Stat.sizeof())
        with contextlib.ExitStack() as stack:
            address = stack.enter_context(memory.borrow(task))
            calls = [
                Syscall(
                    nr.newfstatat,
                    stack.enter_context(self._above(depth).borrow(task)),
                    stack.enter_context(level.pointer.borrow(task)),
                    address + depth * Stat.sizeof(),
                    AT.SYMLINK_NOFOLLOW,
                )
                for depth, level in enumerate(self.levels)
            ]
            results = await task.sysif.syscalls(calls)
        data = await memory.read()
        for depth, level in enumerate(self.levels):
            if results[depth] == 0 and _IDENTITY.unpack_from(data, depth * Stat.sizeof()) == level.identity:
                continue
            if depth == 0 and results[0] == 0 and self.left is None:
                self.left = self.path
            while len(self.levels) > depth:
                await self.levels.pop().fd.close()
            return False
        return True

    async def _unlink_files(self) -> None:
        """Remove the files of the current directory, and list its `subdirectories`."""
        level = self.levels[-1]
        entries = await self._list(level.fd)
        level.subdirectories += [name for name, kind in entries if kind == DT.DIR]
        files = [name for name, kind in entries if kind != DT.DIR]
        for start in range(0, len(files), _UNLINKS_AT_ONCE):
            if start:
                await trio.lowlevel.checkpoint()
                if not await self._in_place():
                    return
            names = files[start : start + _UNLINKS_AT_ONCE]
            level.subdirectories += await self._unlink(level.fd, names)

    async def _list(self, directory: FileDescriptor) -> list[tuple[str, DT]]:
        """Everything in a directory: name and type."""
        found: list[tuple[str, DT]] = []
        memory = await self.ram.malloc(DirentList, _LIST_SIZE)
        while True:
            valid, rest = await directory.getdents(memory)
            if not valid.size():
                return found
            found += [
                (entry.name, entry.type) for entry in await valid.read() if entry.name not in (".", "..")
            ]
            memory = valid + rest
            await trio.lowlevel.checkpoint()

    async def _unlink(self, directory: FileDescriptor, names: Sequence[str]) -> list[str]:
        """Remove files with one submission; returns those that turned out to be directories."""
        directories = []
        strings = [strpath_to_null_terminated_bytes(name) for name in names]
        memory = await self.ram.ptr(b"".join(strings))
        task = directory.task
        with directory.borrow(task) as fd, memory.borrow(task) as address:
            calls = []
            for encoded in strings:
                calls.append(Syscall(nr.unlinkat, fd, address, AT.NONE))
                address += len(encoded)
            results = await task.sysif.syscalls(calls)
        for name, result in zip(names, results, strict=True):
            if result == -errno.EISDIR:
                directories.append(name)
            elif result not in (0, -errno.ENOENT):
                error = error_of(result)
                error.filename = self._path(name)
                raise error
        return directories

    async def _rmdir(
        self, above: FileDescriptor, pointer: WrittenPointer[str], name: str | None = None
    ) -> bool:
        """Remove a directory; returns False if it is not empty. `name` is for error messages."""
        try:
            await above.rmdirat(pointer)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return False
            error.filename = self._path(name)
            raise
        return True


async def _status(ram: RAM, fd: FileDescriptor) -> Stat:
    return await (await fd.fstat(await ram.malloc(Stat))).read()
