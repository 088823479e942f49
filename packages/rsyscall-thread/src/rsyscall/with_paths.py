"""Short forms of what is done with files by their paths: values in, values out."""

from __future__ import annotations

import contextlib
import errno
import operator
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING, TypeVar, overload

import trio

from rsyscall.command import StrOrBytesPath
from rsyscall.fcntl import AT, O
from rsyscall.handle import FileDescriptor
from rsyscall.with_files import Data, WithFiles, as_bytes

if TYPE_CHECKING:
    from rsyscall.far_files import FarFiles
    from rsyscall.linux.dirent import Dirent
    from rsyscall.path import Path
    from rsyscall.sys.stat import S_IF, Stat
    from rsyscall.sys.utsname import Utsname

__all__ = ["WithPaths"]

T_path = TypeVar("T_path", bound=StrOrBytesPath)

# The kernel makes no longer paths; it would cut the target of a link.
_PATH_MAX = 4096
_DIRECTORY_READ = 32768
_DOTS = (".", "..")
_NO_LINK = O.DIRECTORY | O.NOFOLLOW
# What is said where a directory was. Of the last two Linux says one or the other for a symbolic link.
_NO_DIRECTORY = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_MOST_ID = 2**32 - 2


@contextlib.contextmanager
def _about(path: StrOrBytesPath) -> Iterator[None]:
    """An OSError is about this path, whatever it is called inside, or whatever has been opened."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename = path if isinstance(path, str | PurePath) else os.fsdecode(path)
            error.filename2 = None
        raise


def _check_id(name: str, value: int) -> None:
    # The kernel takes 32 bits: of 2**32 it sees 0, which is root.
    if not -1 <= operator.index(value) <= _MOST_ID:
        raise ValueError(f"{name}: expected a number of 32 bits, or -1 to leave it as it is, not {value}")


class WithPaths(WithFiles):
    """Files and directories of a process, by their paths.

    A path is text, bytes, or an object that stands for one, such as a `Path`. It is looked up by the process:
    from its root and working directory, in its mount namespace, with its permissions. The `filename` of an
    OSError is the path. A call that waits for a disk, or for the other end of a FIFO, blocks the
    process. In our own one a signal that the program handles interrupts such a wait: InterruptedError.
    """

    async def open(self, path: StrOrBytesPath, flags: O = O.RDONLY, mode: int = 0o644) -> FileDescriptor:
        """Open a file.

        Args:
            path: of the file.
            flags: members of O. Close-on-exec is always set.
            mode: permissions of a file that `O.CREAT` creates, less the umask.

        Returns:
            A descriptor of this process; `async with` closes it.

        Raises:
            OSError: ENOENT, EACCES, EISDIR, EEXIST, EMFILE and others.

        manpage: open(2)
        """
        if not isinstance(flags, int):
            raise TypeError(f"flags: expected members of O, such as O.WRONLY | O.CREAT, not {flags!r}")
        return await self.task.open(await self._path(path), flags, mode)

    async def read_file(self, path: StrOrBytesPath) -> bytes:
        """Read a whole file.

        Raises:
            OSError: ENOENT, EACCES, EISDIR and others.
        """
        if (far := self._far_files()) is not None:
            data, opened = await far.read_file(path)
            if data is not None:
                return data
            if opened is not None:
                with _about(path):
                    async with opened:
                        return await self.read_to_eof(opened)
        file = await self.open(path)
        with _about(path):
            async with file:
                return await self.read_to_eof(file)

    def _far_files(self) -> FarFiles | None:
        """Short forms that cost less, if this process is driven over a stream."""
        if not self.task.sysif.pipelines:
            return None
        from rsyscall.far_files import far_files

        return far_files(self.task, self.ram)

    async def write_file(
        self,
        path: StrOrBytesPath,
        data: Data,
        mode: int = 0o644,
        *,
        append: bool = False,
        atomic: bool = False,
    ) -> None:
        """Write a whole file, which is created or truncated.

        Args:
            path: of the file.
            data: its contents.
            mode: permissions, if the file is created, less the umask.
            append: write behind what is there.
            atomic: write another file in the same directory and, when it is on the disk, rename it: a process
                that opens the path finds the old contents or the new ones, also after a crash. The new file
                has the permissions `mode`; a symbolic link is replaced.

        Raises:
            ValueError: `append` and `atomic`.
            OSError: ENOENT, EACCES, EISDIR, ENOSPC and others. If that is while writing, and `atomic` is not
                given, a part of the data may be there.
        """
        if append and atomic:
            raise ValueError("append, atomic: one does not go with the other")
        # Before the file is truncated: nothing is lost if they cannot be written.
        data = as_bytes(data)
        if atomic:
            await self._replace_file(path, data, mode)
            return
        flags = O.WRONLY | O.CREAT | (O.APPEND if append else O.TRUNC)
        if (far := self._far_files()) is not None and 0 < len(data) <= far.MOST:
            opened, rest = await far.open_with(path, flags, mode, data)
            with _about(path):
                async with opened:
                    await self._write_pointer(opened, rest)
            return
        file = await self.open(path, flags, mode)
        with _about(path):
            async with file:
                await self.write_all(file, data)

    async def _replace_file(self, path: StrOrBytesPath, data: Data, mode: int) -> None:
        directory, name = os.path.split(os.fsdecode(path))
        if name in ("", ".", ".."):
            raise ValueError(f"path: expected that of a file, not {path!r}")
        # The name may have been chosen as long as it can be.
        temporary = os.path.join(directory, f".{os.urandom(8).hex()}.tmp")
        with _about(path):
            file = await self.open(temporary, O.WRONLY | O.CREAT | O.EXCL, mode)
            try:
                async with file:
                    await self.write_all(file, data)
                    await file.fsync()
                await self.rename(temporary, path)
            except BaseException:
                with trio.CancelScope(shield=True):
                    await self.unlink(temporary, missing_ok=True)
                raise

    @overload
    async def spit(self, path: FileDescriptor, text: str | bytes) -> None: ...
    @overload
    async def spit(self, path: Path, text: str | bytes, mode: int = 0o644) -> Path: ...
    async def spit(self, path: Path | FileDescriptor, text: str | bytes, mode: int = 0o644) -> Path | None:
        """Write a whole file: open, truncate, write all, close. Blocks the process while a pipe is full.

        Args:
            path: of the file; or an open descriptor, which is closed.
            text: the contents.
            mode: permissions, if the file is created.

        Returns:
            The path, or None for a descriptor.
        """
        if isinstance(path, FileDescriptor):
            async with path:
                await self.write_all(path, text)
            return None
        await self.write_file(path, text, mode)
        return path

    async def stat(self, path: StrOrBytesPath) -> Stat:
        """What the kernel says about a file; about that which a symbolic link leads to.

        Raises:
            OSError: ENOENT, ENOTDIR, EACCES, ELOOP.

        manpage: stat(2)
        """
        from rsyscall.sys.stat import Stat

        if (far := self._far_files()) is not None:
            return await far.stat(path, AT.NONE)
        return await (await self.task.stat(await self._path(path), await self.ram.malloc(Stat))).read()

    async def lstat(self, path: StrOrBytesPath) -> Stat:
        """As `stat`, about a symbolic link itself. manpage: stat(2)."""
        from rsyscall.sys.stat import Stat

        if (far := self._far_files()) is not None:
            return await far.stat(path, AT.SYMLINK_NOFOLLOW)
        return await (await self.task.lstat(await self._path(path), await self.ram.malloc(Stat))).read()

    async def _kind(self, path: StrOrBytesPath) -> S_IF | None:
        try:
            return (await self.stat(path)).mode.type
        except (FileNotFoundError, NotADirectoryError):
            return None

    async def exists(self, path: StrOrBytesPath) -> bool:
        """Whether there is a file, of any kind. A symbolic link that leads nowhere is none.

        Raises:
            OSError: EACCES, ELOOP: it is not known.
        """
        return await self._kind(path) is not None

    async def is_file(self, path: StrOrBytesPath) -> bool:
        """Whether there is a regular file, or a symbolic link to one. Raises as `exists`."""
        from rsyscall.sys.stat import S_IF

        return await self._kind(path) == S_IF.REG

    async def is_dir(self, path: StrOrBytesPath) -> bool:
        """Whether there is a directory, or a symbolic link to one. Raises as `exists`."""
        from rsyscall.sys.stat import S_IF

        return await self._kind(path) == S_IF.DIR

    async def scandir(self, path: StrOrBytesPath = ".") -> list[Dirent]:
        """The entries of a directory without "." and "..", in the order of the kernel.

        Returns:
            For each its `name` and `type`; a file system that does not keep the type says `DT.UNKNOWN`.

        Raises:
            OSError: ENOENT, ENOTDIR, EACCES.

        manpage: getdents(2)
        """
        return await self._scandir(path, O.DIRECTORY)

    async def _scandir(self, path: StrOrBytesPath, flags: O) -> list[Dirent]:
        from rsyscall.linux.dirent import DirentList

        found: list[Dirent] = []
        if (far := self._far_files()) is not None:
            listing = await far.scandir(path, flags)
            if listing is not None:
                return [entry for entry in listing if entry.name not in _DOTS]
        async with await self.open(path, O.RDONLY | flags) as directory:
            while True:
                filled, _ = await directory.getdents(await self.ram.malloc(DirentList, _DIRECTORY_READ))
                if filled.size() == 0:
                    return found
                found += [entry for entry in await filled.read() if entry.name not in _DOTS]
                await trio.lowlevel.checkpoint()

    async def listdir(self, path: StrOrBytesPath = ".") -> list[str]:
        """The names in a directory without "." and "..", in the order of the kernel; see `scandir`."""
        return [entry.name for entry in await self.scandir(path)]

    async def walk(self, top: StrOrBytesPath) -> AsyncIterator[tuple[Path, list[str], list[str]]]:
        """All directories at and below `top`, each before those in it; symbolic links are not followed.

            async for directory, subdirectories, others in thread.walk("/etc"):
                print(directory, others)

        Yields:
            The path of a directory; the names of the directories in it, from which you may remove those that
            are not to be visited; the other names. A directory that disappears meanwhile is left out, also
            if something else, such as a symbolic link, has taken its place.

        Raises:
            OSError: ENOENT, ENOTDIR, EACCES.
        """
        from rsyscall.linux.dirent import DT
        from rsyscall.path import Path
        from rsyscall.sys.stat import S_IF

        root = Path(os.fsdecode(top))
        waiting = [root]
        while waiting:
            directory = waiting.pop()
            try:
                if directory is root:
                    entries = await self._scandir(top, O.DIRECTORY)
                else:
                    entries = await self._scandir(directory, _NO_LINK)
            except OSError as error:
                if directory is root or error.errno not in _NO_DIRECTORY:
                    raise
                continue
            subdirectories: list[str] = []
            others: list[str] = []
            for entry in entries:
                inside = entry.type == DT.DIR
                if entry.type == DT.UNKNOWN:
                    try:
                        inside = (await self.lstat(directory / entry.name)).mode.type == S_IF.DIR
                    except FileNotFoundError:
                        continue
                (subdirectories if inside else others).append(entry.name)
            yield directory, subdirectories, others
            waiting += [directory / name for name in reversed(subdirectories)]

    async def glob(self, pattern: StrOrBytesPath) -> list[Path]:
        """The files whose paths match a pattern.

        `*` stands for any characters, `?` for one, `[a-z]` for one of those: within a name, and not for a dot
        at its beginning. `**` as a whole part stands for any number of directories, without hidden ones and
        without following symbolic links; at the end for all that is below them, too.

        Args:
            pattern: relative to the working directory, or absolute. With a slash at its end it finds
                directories alone.

        Returns:
            The paths in order, relative if the pattern is. A directory that may not be read, or disappears
            meanwhile, has no matches.

        Raises:
            OSError: EIO, EMFILE and others.
        """
        from rsyscall.globbing import find_matches

        return await find_matches(self, pattern)

    async def mkdir(
        self, path: T_path, mode: int = 0o755, *, parents: bool = False, exist_ok: bool = False
    ) -> T_path:
        """Make a directory.

        Args:
            path: of the directory.
            mode: permissions, less the umask.
            parents: make those above it that are missing, too, with the permissions 0o755, less the umask.
            exist_ok: leave it as it is if it is there.

        Returns:
            The path.

        Raises:
            OSError: EEXIST, ENOENT (one above it is missing), ENOTDIR, EACCES.

        manpage: mkdir(2)
        """
        pointer = await self._path(path)
        try:
            try:
                await self.task.mkdir(pointer, mode)
            except FileNotFoundError:
                above = os.path.dirname(os.fsdecode(path).rstrip("/"))
                if not parents or not above:
                    raise
                await self.mkdir(above, parents=True, exist_ok=True)
                await self.task.mkdir(pointer, mode)
        except FileExistsError:
            if not exist_ok or not await self.is_dir(path):
                raise
        return path

    async def rmdir(self, path: StrOrBytesPath) -> None:
        """Remove an empty directory. manpage: rmdir(2)."""
        await self.task.rmdir(await self._path(path))

    async def rmtree(self, path: StrOrBytesPath) -> None:
        """Remove a directory with everything in it. Symbolic links are not followed.

        Permissions are no obstacle, as far as the user may change them. Cancellation: the rest stays.

        Raises:
            ValueError: the path has no last name, or that is ".." .
            OSError: ENOENT; ENOTDIR, also for a symbolic link; EBUSY (a mount is there or below); ENOTEMPTY
                (others go on writing there); EACCES, EPERM. `filename` is the path that was not removed.

        manpage: unlinkat(2)
        """
        from rsyscall.path import Path
        from rsyscall.stdlib._remove_tree import remove_tree

        whole = Path(os.fsdecode(path))
        if whole.name in ("", ".."):
            raise ValueError(f"path: expected that of a directory by its own name, not {path!r}")
        await self.lstat(whole)
        async with await self.open(whole.parent, O.PATH | O.DIRECTORY) as parent:
            await remove_tree(self.ram, parent, whole.name, whole)

    async def unlink(self, path: StrOrBytesPath, missing_ok: bool = False) -> None:
        """Remove a name of a file that is no directory.

        Args:
            path: the name.
            missing_ok: it need not be there.

        Raises:
            OSError: ENOENT, EISDIR, EACCES.

        manpage: unlink(2)
        """
        try:
            await self.task.unlink(await self._path(path))
        except FileNotFoundError:
            if not missing_ok:
                raise

    async def rename(self, oldpath: StrOrBytesPath, newpath: StrOrBytesPath) -> None:
        """Give a file another name, in place of what has that name.

        Raises:
            OSError: ENOENT, EXDEV (other file system), EISDIR, ENOTEMPTY, EACCES; `filename` is the old path,
                `filename2` the new one.

        manpage: rename(2)
        """
        await self.task.rename(await self._path(oldpath), await self._path(newpath))

    async def link(self, oldpath: StrOrBytesPath, newpath: StrOrBytesPath) -> None:
        """Give a file one more name. manpage: link(2)."""
        await self.task.link(await self._path(oldpath), await self._path(newpath))

    async def symlink(self, target: StrOrBytesPath, linkpath: StrOrBytesPath) -> None:
        """Make a symbolic link.

        Args:
            target: where it leads.
            linkpath: its own path.

        Raises:
            OSError: EEXIST, ENOENT, EACCES; `filename` is the target, `filename2` the path.

        manpage: symlink(2)
        """
        await self.task.symlink(await self._path(target), await self._path(linkpath))

    async def readlink(self, path: StrOrBytesPath) -> str:
        """Where a symbolic link leads.

        Raises:
            OSError: EINVAL (no link), ENOENT.

        manpage: readlink(2)
        """
        if (far := self._far_files()) is not None:
            return os.fsdecode(await far.readlink(path, _PATH_MAX))
        filled, _ = await self.task.readlink(await self._path(path), await self.ram.malloc(bytes, _PATH_MAX))
        return os.fsdecode(await filled.read())

    async def chmod(self, path: StrOrBytesPath, mode: int, *, follow_symlinks: bool = True) -> None:
        """Set the permissions of a file.

        Args:
            path: of the file.
            mode: the permissions.
            follow_symlinks: change what a symbolic link leads to, and not the link, which Linux refuses.

        Raises:
            OSError: EPERM (another user's), ENOENT; without `follow_symlinks` EOPNOTSUPP (a link), and ENOSYS
                before Linux 6.6.

        manpage: chmod(2)
        """
        flags = AT.NONE if follow_symlinks else AT.SYMLINK_NOFOLLOW
        await self.task.chmod(await self._path(path), mode, flags)

    async def chown(
        self, path: StrOrBytesPath, owner: int, group: int, *, follow_symlinks: bool = True
    ) -> None:
        """Set the user and the group of a file.

        Args:
            path: of the file.
            owner, group: their numbers; -1 leaves one as it is.
            follow_symlinks: change what a symbolic link leads to, and not the link.

        Raises:
            ValueError: a number is not one of 32 bits.
            OSError: EPERM (needs CAP_CHOWN), ENOENT, EINVAL (not mapped in the user namespace).

        manpage: chown(2)
        """
        _check_id("owner", owner)
        _check_id("group", group)
        call = self.task.chown if follow_symlinks else self.task.lchown
        await call(await self._path(path), owner, group)

    async def getcwd(self) -> str:
        """The working directory; it begins with "(unreachable)" if it is not below the root.

        Raises:
            OSError: ENOENT (it was removed).

        manpage: getcwd(2)
        """
        return await self._getcwd()

    async def uname(self) -> Utsname:
        """Names of the system, the host name among them. manpage: uname(2)."""
        from rsyscall.sys.utsname import Utsname

        return await (await self.task.uname(await self.ram.malloc(Utsname))).read()

    async def getgroups(self) -> list[int]:
        """The supplementary groups. manpage: getgroups(2)."""
        from rsyscall.unistd import GroupList

        count = await self.task.getgroups()
        if not count:
            return []
        filled, _ = await self.task.getgroups(await self.ram.malloc(GroupList, 4 * count))
        return list(await filled.read())
