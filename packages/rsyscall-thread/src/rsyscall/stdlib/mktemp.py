"""Temporary directories, and replacing a symbolic link in one step."""

from __future__ import annotations

import os
import secrets
import string
import typing as t

import trio

from rsyscall.fcntl import O
from rsyscall.path import Path
from rsyscall.stdlib._remove_tree import remove_tree

if t.TYPE_CHECKING:
    from rsyscall.handle import WrittenPointer
    from rsyscall.thread import Thread

__all__ = ["TemporaryDirectory", "mkdtemp", "random_string", "update_symlink"]

StrPath: t.TypeAlias = "str | os.PathLike[str]"

_ALPHABET = string.ascii_letters + string.digits


def random_string(k: int = 8) -> str:
    """Return `k` random letters and digits, which cannot be guessed."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(k))


async def update_symlink(thr: Thread, path: WrittenPointer[Path], target: StrPath) -> WrittenPointer[Path]:
    """Make the symbolic link at `path` lead to `target`; it need not exist yet.

    At every moment there is the old link or the new one. The new one is made under a temporary name in the
    same directory.

    Args:
        thr: makes the system calls.
        path: of the link; it must not be a directory.
        target: of the link.

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
        prefix: the beginning of the name.

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
    """The path of a directory that will be removed.

    As an async context manager it removes the directory at the end, also when cancelled: other tasks go on
    meanwhile, but the block ends only when the directory is removed. Paths derived from it are plain paths.

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

        Permissions are no obstacle, as far as the user may change them. Symbolic links are not followed, and
        files that other processes move out of the directory meanwhile are left alone. A tree of any depth
        takes about 20 descriptors. Below 16 levels, directories may have other names and places after an
        error.

        Cancellation: the rest stays; call it again.

        Raises:
            OSError: EBUSY if a file system is mounted there or below, which stays as it is; ENOTEMPTY if
                other processes still write there after several tries; EACCES, EPERM. `filename` is the path
                that was not removed.

        manpage: unlinkat(2)
        """
        ram = self.thr.ram
        parent = await self.thr.task.open(await ram.ptr(Path(self.parent)), O.PATH | O.DIRECTORY)
        async with parent:
            await remove_tree(ram, parent, self.name, Path(self))

    async def __aenter__(self) -> TemporaryDirectory:
        """Return the path."""
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        with trio.CancelScope(shield=True):
            await self.cleanup()
