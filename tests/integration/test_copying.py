"""Copies of files and directories between processes."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path as LocalPath

import pytest
import trio

from rsyscall.command import Command
from rsyscall.near import SyscallError
from rsyscall.stdlib import CopyProgress, copy_file, copy_tree
from rsyscall.tasks.local import local_thread
from rsyscall.tasks.stdio import stdio_bootstrap
from rsyscall.thread import Thread

from .support import cloned

PIECE = 1 << 18
DIRECTIONS = ["local to local", "local to far", "far to local", "far to far", "own to child"]


async def get(name: str, stack: AsyncExitStack) -> Thread:
    if name == "local":
        return local_thread
    if name == "child":
        return await stack.enter_async_context(cloned(local_thread))
    if name == "own":
        child = await local_thread.clone(own_memory=True)
        await stack.enter_async_context(child.process)
        return child
    return await stack.enter_async_context(
        await stdio_bootstrap(local_thread, Command("/bin/sh", ["sh", "-c"], {}))
    )


@pytest.fixture(params=DIRECTIONS)
async def ends(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Thread, Thread]]:
    """Two processes, from the first of which we copy to the second."""
    async with AsyncExitStack() as stack:
        threads = [await get(name, stack) for name in request.param.split(" to ")]
        yield threads[0], threads[1]
    for thread in threads:
        if thread is not local_thread:
            # The object itself is kept for longer than the check for leaks.
            vars(thread).clear()


@pytest.fixture
async def far() -> AsyncIterator[Thread]:
    """A process behind a command."""
    async with AsyncExitStack() as stack:
        yield await get("far", stack)


@pytest.mark.parametrize("size", [0, 1, PIECE, 6 * PIECE + 7])
async def test_file(ends: tuple[Thread, Thread], size: int, tmp_path: LocalPath) -> None:
    data = os.urandom(size)
    (tmp_path / "from").write_bytes(data)
    (tmp_path / "from").chmod(0o4751)
    os.utime(tmp_path / "from", ns=(1_000_000_001, -2_000_000_002))
    (tmp_path / "to").write_bytes(b"what was there")
    seen: list[CopyProgress] = []
    done = await copy_file(ends[0], tmp_path / "from", ends[1], tmp_path / "to", progress=seen.append)
    status = (tmp_path / "to").stat()
    assert (tmp_path / "to").read_bytes() == data
    assert stat.S_IMODE(status.st_mode) == 0o751
    assert (status.st_atime_ns, status.st_mtime_ns) == (1_000_000_001, -2_000_000_002)
    assert os.listdir(tmp_path) in (["from", "to"], ["to", "from"])
    assert done == seen[-1] == CopyProgress(seen[0].path, size, size, 1)
    copied = [progress.copied for progress in seen]
    assert copied == sorted(copied)
    assert len(copied) >= 1 + -(-size // PIECE)
    assert str(seen[0].path) == str(tmp_path / "from")


async def test_relative_paths_links_and_files_of_unknown_size(far: Thread, tmp_path: LocalPath) -> None:
    (tmp_path / "link").symlink_to("/proc/self/status")
    await far.task.chdir(await far.ptr(str(tmp_path)))
    await copy_file(far, "link", far, "copy")
    assert f"Pid:\t{far.task.near_process.id}\n" in (tmp_path / "copy").read_text()
    assert not (tmp_path / "copy").is_symlink()


def fill(tree: LocalPath) -> None:
    """Make a directory with a bit of everything."""
    tree.mkdir()
    (tree / "empty").mkdir()
    (tree / "odd \n'\"\\").mkdir(mode=0o705)
    (tree / "odd \n'\"\\" / os.fsdecode(b"\xff")).write_bytes(b"not text")
    (tree / "broken").symlink_to("../nothing here")
    (tree / "below").symlink_to("empty", target_is_directory=True)
    deep = tree / "deep"
    for name in "abcdefgh":
        deep.mkdir()
        (deep / "file").write_text(name)
        (deep / "file").chmod(0o600)
        deep = deep / name
    for number in range(50):
        (tree / f"{number}").write_bytes(b"x" * number)
    (tree / "large").write_bytes(os.urandom(3 * PIECE))
    (tree / "script").write_text("#!/bin/sh\n")
    (tree / "script").chmod(0o755)
    os.utime(tree / "empty", ns=(5, 7))
    tree.chmod(0o2750)


def describe(tree: LocalPath) -> dict[str, tuple[int, bytes | str, int]]:
    """Everything that a copy keeps: modes, contents, times."""
    found = {}
    for path in [tree, *tree.rglob("*")]:
        status = path.lstat()
        content: bytes | str = b""
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_bytes()
        time = 0 if path.is_symlink() else status.st_mtime_ns
        found[str(path.relative_to(tree))] = (status.st_mode & ~0o6000, content, time)
    return found


async def test_tree(ends: tuple[Thread, Thread], tmp_path: LocalPath) -> None:
    fill(tmp_path / "from")
    done = await copy_tree(ends[0], tmp_path / "from", ends[1], tmp_path / "to")
    expected = describe(tmp_path / "from")
    assert describe(tmp_path / "to") == expected
    assert done.files == sum(
        isinstance(content, bytes) and stat.S_ISREG(mode) for mode, content, _ in expected.values()
    )
    assert done.copied == done.size == sum(len(c) for _, c, _ in expected.values() if isinstance(c, bytes))
    with pytest.raises(FileExistsError) as raised:
        await copy_tree(ends[0], tmp_path / "from", ends[1], tmp_path / "to")
    assert raised.value.filename == tmp_path / "to"
    assert sorted(os.listdir(tmp_path)) == ["from", "to"]


async def test_a_tree_is_not_copied_into_itself(tmp_path: LocalPath) -> None:
    (tmp_path / "from" / "sub").mkdir(parents=True)
    with pytest.raises(OSError, match="in the directory that it is made of"):
        await copy_tree(local_thread, tmp_path / "from", local_thread, tmp_path / "from" / "sub" / "copy")
    assert os.listdir(tmp_path / "from" / "sub") == []


async def test_errors_leave_nothing(far: Thread, tmp_path: LocalPath) -> None:
    fill(tmp_path / "from")
    (tmp_path / "file").write_bytes(bytes(5 * PIECE))
    (tmp_path / "kept").write_text("kept")
    before = sorted(os.listdir(tmp_path))

    async def fails(kind: type[Exception], copy: object, *paths: LocalPath | str, **options: object) -> str:
        with pytest.raises(kind) as raised:
            await copy(local_thread, paths[0], far, paths[1], **options)  # type: ignore[operator] # one of two
        assert sorted(os.listdir(tmp_path)) == before
        assert (tmp_path / "kept").read_text() == "kept"
        return str(raised.value)

    def stop(progress: CopyProgress) -> None:
        if progress.copied > 2 * PIECE:
            raise KeyError("enough")

    here = tmp_path
    assert "nothing" in await fails(FileNotFoundError, copy_file, here / "nothing", here / "kept")
    assert "from" in await fails(IsADirectoryError, copy_file, here / "from", here / "kept")
    assert "file" in await fails(NotADirectoryError, copy_tree, here / "file", here / "new")
    assert "deeper" in await fails(FileNotFoundError, copy_file, here / "file", here / "no" / "deeper")
    await fails(OSError, copy_file, here / "file", here / "from")
    await fails(KeyError, copy_file, here / "file", here / "kept", progress=stop)
    await fails(KeyError, copy_tree, here / "from", here / "new", progress=stop)
    for wrong in (here / "..", "/", "", "."):
        await fails(ValueError, copy_file, here / "file", str(wrong))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(here / "from" / "deep" / "a" / "sock"))
        assert "sock" in await fails(OSError, copy_tree, here / "from", here / "new")
    os.mkfifo(here / "from" / "fifo")
    assert "fifo" in await fails(OSError, copy_tree, here / "from", here / "new")
    with pytest.raises(OSError, match="regular") as raised:
        await copy_file(local_thread, here / "from" / "fifo", far, here / "kept")
    assert raised.value.errno == errno.EINVAL


@pytest.mark.parametrize("pieces", [0, 1, 3, 6])
async def test_cancelled(far: Thread, tmp_path: LocalPath, pieces: int) -> None:
    fill(tmp_path / "from")
    with trio.CancelScope() as scope:

        def cancel(progress: CopyProgress) -> None:
            if progress.copied >= pieces * PIECE // 2:
                scope.cancel()

        await copy_tree(far, tmp_path / "from", local_thread, tmp_path / "to", progress=cancel)
    assert scope.cancelled_caught
    assert os.listdir(tmp_path) == ["from"]


async def test_the_source_is_lost(tmp_path: LocalPath) -> None:
    (tmp_path / "file").write_bytes(bytes(8 * PIECE))
    async with cloned(local_thread) as child:

        def kill(progress: CopyProgress) -> None:
            os.kill(child.process.pid, 9)

        with pytest.raises(SyscallError):
            await copy_file(child, tmp_path / "file", local_thread, tmp_path / "copy", progress=kill)
    assert os.listdir(tmp_path) == ["file"]


async def test_other_tasks_go_on(tmp_path: LocalPath) -> None:
    (tmp_path / "file").write_bytes(bytes(40 * PIECE))
    ticks = 0
    async with trio.open_nursery() as nursery:

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await trio.lowlevel.checkpoint()

        nursery.start_soon(tick)
        await copy_file(local_thread, tmp_path / "file", local_thread, tmp_path / "copy")
        nursery.cancel_scope.cancel()
    assert ticks >= 10
