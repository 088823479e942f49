"""Finding files by patterns of their paths: see `Thread.glob`."""

from __future__ import annotations

import errno
import fnmatch
import os
import re
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Protocol

from rsyscall.linux.dirent import DT
from rsyscall.path import Path

if TYPE_CHECKING:
    from rsyscall.command import StrOrBytesPath
    from rsyscall.linux.dirent import Dirent
    from rsyscall.sys.stat import Stat

    class _Reader(Protocol):
        """The parts of a `Thread` by which directories are read."""

        async def scandir(self, path: StrOrBytesPath = ...) -> list[Dirent]: ...
        async def lstat(self, path: StrOrBytesPath) -> Stat: ...
        async def is_dir(self, path: StrOrBytesPath) -> bool: ...


__all__ = ["find_matches"]

_MAGIC = re.compile(r"[*?[]")
# What there is to say of a directory that is not there, is none, or is not for us.
_NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.ENAMETOOLONG)


async def _entries(thread: _Reader, directory: Path) -> list[Dirent]:
    try:
        return await thread.scandir(directory)
    except OSError as error:
        if error.errno in _NOTHING_THERE:
            return []
        raise


async def _is_directory(thread: _Reader, path: Path, entry: Dirent, *, follow: bool) -> bool:
    if entry.type == DT.UNKNOWN or (follow and entry.type == DT.LNK):
        if follow:
            return await _leads_to_directory(thread, path)
        try:
            return (await thread.lstat(path)).mode.type.name == "DIR"
        except OSError as error:
            if error.errno in _NOTHING_THERE:
                return False
            raise
    return entry.type == DT.DIR


async def _leads_to_directory(thread: _Reader, path: Path) -> bool:
    try:
        return await thread.is_dir(path)
    except OSError as error:
        if error.errno in _NOTHING_THERE:
            return False
        raise


async def _exists(thread: _Reader, path: Path) -> bool:
    try:
        await thread.lstat(path)
    except OSError as error:
        if error.errno in _NOTHING_THERE:
            return False
        raise
    return True


def _matcher(part: str) -> Callable[[str], bool]:
    """Whether a name matches, as in a shell: a dot at its beginning has to be in the pattern."""
    match = re.compile(fnmatch.translate(part)).match
    hidden = part.startswith(".")
    return lambda name: (hidden or not name.startswith(".")) and match(name) is not None


async def _below(thread: _Reader, top: Path, *, directories: bool) -> AsyncIterator[Path]:
    """A directory and what is below it, or the directories alone, without hidden ones."""
    waiting = [top]
    while waiting:
        directory = waiting.pop()
        yield directory
        for entry in await _entries(thread, directory):
            if entry.name.startswith("."):
                continue
            path = directory / entry.name
            if await _is_directory(thread, path, entry, follow=False):
                waiting.append(path)
            elif not directories:
                yield path


async def find_matches(thread: _Reader, pattern: StrOrBytesPath) -> list[Path]:
    """See `Thread.glob`."""
    text = os.fsdecode(pattern)
    whole = Path(text)
    parts = list(whole.parts)
    if text and not parts:
        return [whole]  # "." and "./"
    only_directories = text.endswith("/")
    found = {Path()}
    if whole.is_absolute():
        found = {Path(parts.pop(0))}
    while parts:
        part = parts.pop(0)
        last = not parts
        directories = only_directories or not last
        paths: set[Path] = set()
        for base in found:
            if part == "**":
                paths |= {path async for path in _below(thread, base, directories=directories)}
            elif not _MAGIC.search(part):
                path = base / part
                if last and not directories:
                    there = await _exists(thread, path)
                elif last or parts[0] == "**":
                    there = await _leads_to_directory(thread, path)
                else:
                    there = True  # or its directory will have nothing that matches
                if there:
                    paths.add(path)
            else:
                matches = _matcher(part)
                for entry in await _entries(thread, base):
                    path = base / entry.name
                    if matches(entry.name) and (
                        not directories or await _is_directory(thread, path, entry, follow=True)
                    ):
                        paths.add(path)
        found = paths
    return sorted(found - {Path()})
