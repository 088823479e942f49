"""Short forms for files of a process that is far away: how many round trips they take, what they leave."""

from __future__ import annotations

import contextlib
import os
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path as LocalPath
from typing import Any

import pytest
import trio
from every_place import Trier, try_every_place
from waiting import wait_until

from rsyscall.command import Command
from rsyscall.tasks.local import local_thread
from rsyscall.tasks.stdio import StdioThread, stdio_bootstrap
from rsyscall.thread import Thread

# Between two turns, in seconds.
DELAY = 0.03
# A fault takes too many turns each time.
ATTEMPTS = 5


async def start(count: LocalPath, delay: float) -> StdioThread:
    """A thread behind a shell, and behind what counts the turns, in a file."""
    count.write_bytes(bytes(8))
    relay = [sys.executable, str(LocalPath(__file__).with_name("turns.py")), str(count), str(delay)]
    command = Command(sys.executable, [*relay, "/bin/sh", "-c"], dict(os.environ))
    return await stdio_bootstrap(local_thread, command)


@contextlib.asynccontextmanager
async def far_away(count: LocalPath, delay: float = DELAY) -> AsyncIterator[StdioThread]:
    async with await start(count, delay) as thread:
        yield thread


async def turns(count: LocalPath, work: Awaitable[object]) -> int:
    """How many round trips some work takes."""
    before = _read(count)
    await work
    return _read(count) - before


async def fewest_turns(count: LocalPath, work: Callable[[], Awaitable[object]], most: int) -> int:
    """The same for work that is done again if it took more than `most`: a busy machine adds turns."""
    taken = []
    while len(taken) < ATTEMPTS and (not taken or taken[-1] > most):
        taken.append(await turns(count, work()))
    return min(taken)


def _read(count: LocalPath) -> int:
    number: int = struct.unpack("=q", count.read_bytes())[0]
    return number


def numbers(thread: Thread) -> set[int]:
    """The descriptors of a process on this host."""
    return {int(name) for name in os.listdir(f"/proc/{thread.task.process.near.id}/fd")}


async def test_round_trips_until_there_is_a_thread(tmp_path: LocalPath) -> None:
    """What does not depend on each other is done at the same time."""
    count = tmp_path / "count"
    async with far_away(count):
        assert _read(count) <= 5  # one after the other they take 8


async def test_round_trips(tmp_path: LocalPath) -> None:
    count, some = tmp_path / "count", tmp_path / "directory"
    some.mkdir()
    (some / "file").write_bytes(b"contents")
    (some / "link").symlink_to("file")
    (some / "long").symlink_to("x" * 300)
    async with far_away(count) as thread:
        await thread.read_file(some / "file")  # memory has been mapped
        before = numbers(thread)
        assert await turns(count, thread.stat(some / "file")) == 1
        assert await turns(count, thread.lstat(some / "link")) == 1
        assert await turns(count, thread.exists(some / "nothing")) == 1
        assert await turns(count, thread.readlink(some / "link")) == 1
        assert await turns(count, thread.readlink(some / "long")) == 2
        assert await turns(count, thread.read_file(some / "file")) == 2
        assert await turns(count, thread.listdir(some)) == 2
        assert await turns(count, thread.write_file(some / "file", b"others")) == 3
        assert await turns(count, thread.write_file(some / "file", b", more", append=True)) == 3
        assert (some / "file").read_bytes() == b"others, more"
        await wait_until(lambda: numbers(thread) <= before)


async def test_round_trips_of_many_at_once(tmp_path: LocalPath) -> None:
    count = tmp_path / "count"
    paths = [tmp_path / f"file-{number}" for number in range(100)]
    read: dict[LocalPath, bytes] = {}

    async with far_away(count) as thread:

        async def at_once(work: Callable[[LocalPath], Awaitable[object]]) -> None:
            async with trio.open_nursery() as nursery:
                for path in paths:
                    nursery.start_soon(work, path)

        async def write_one(path: LocalPath) -> None:
            await thread.write_file(path, path.name)

        async def read_one(path: LocalPath) -> None:
            read[path] = await thread.read_file(path)

        await thread.write_file(tmp_path / "first", bytes(1 << 16))
        before = numbers(thread)
        # The turns of some may lag behind those of others, by one.
        assert await fewest_turns(count, lambda: at_once(write_one), 4) <= 4
        assert await fewest_turns(count, lambda: at_once(read_one), 3) <= 3
        assert read == {path: path.name.encode() for path in paths}
        await wait_until(lambda: numbers(thread) <= before)


async def test_as_from_nearby(tmp_path: LocalPath) -> None:
    """Whatever kind of file it is."""
    (tmp_path / "empty").touch()
    (tmp_path / "large").write_bytes(os.urandom((1 << 20) + 5))
    (tmp_path / "as large as can be").write_bytes(os.urandom(1 << 20))
    (tmp_path / "file").write_bytes(os.urandom(4097))
    (tmp_path / "long link").symlink_to("y" * 4000)
    (tmp_path / "short link").symlink_to("z" * 255)
    (tmp_path / "limit").symlink_to("z" * 256)
    full = tmp_path / "full"
    full.mkdir()
    for number in range(1000):
        (full / f"{number}").touch()
    files = [*(tmp_path / name for name in ("empty", "large", "as large as can be", "file"))]
    # Files whose size is not known; and larger, and smaller than it.
    special = ["/proc/version", "/proc/cpuinfo", "/sys/kernel/mm/transparent_hugepage/enabled", "/dev/null"]
    async with far_away(tmp_path / "count", 0) as thread:
        before = numbers(thread)
        for path in [*map(str, files), *filter(os.path.exists, special)]:
            assert await thread.read_file(path) == await local_thread.read_file(path), path
        for name in ("long link", "short link", "limit"):
            assert await thread.readlink(tmp_path / name) == os.readlink(tmp_path / name)
        for directory in (tmp_path, full, "/proc/self/ns", "/proc"):
            names = await thread.listdir(directory)
            if directory != "/proc":
                assert names == os.listdir(directory)
            else:
                assert "cpuinfo" in names
        for data in (b"", b"x", bytes(1 << 20), bytes((1 << 20) + 1)):
            await thread.write_file(tmp_path / "written", data)
            assert (tmp_path / "written").read_bytes() == data
        await wait_until(lambda: numbers(thread) <= before)


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("read_file", "nothing", FileNotFoundError),
        ("read_file", ".", IsADirectoryError),
        ("write_file", ".", IsADirectoryError),
        ("write_file", "nothing/x", FileNotFoundError),
        ("stat", "nothing", FileNotFoundError),
        ("lstat", "file/x", NotADirectoryError),
        ("readlink", "file", OSError),
        ("listdir", "file", NotADirectoryError),
        ("read_file", "a\0b", ValueError),
        ("stat", "a\0b", ValueError),
    ],
)
async def test_errors(method: str, path: str, kind: type[Exception], tmp_path: LocalPath) -> None:
    """They are those of a process nearby."""
    (tmp_path / "file").touch()
    arguments = [str(tmp_path / path), *([b"data"] if method == "write_file" else [])]
    async with far_away(tmp_path / "count", 0) as thread:
        before = numbers(thread)
        with pytest.raises(kind) as far:
            await getattr(thread, method)(*arguments)
        with pytest.raises(kind) as nearby:
            await getattr(local_thread, method)(*arguments)
        assert str(far.value).split("FD(")[0] == str(nearby.value).split("FD(")[0]
        await wait_until(lambda: numbers(thread) <= before)


async def test_a_file_that_grows(tmp_path: LocalPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the question how large it is and reading."""
    path = tmp_path / "log"
    path.write_bytes(b"short")
    async with far_away(tmp_path / "count", 0) as thread:
        before = numbers(thread)
        with after_each_step(monkeypatch, thread, lambda: path.write_bytes(b"longer than it was")):
            assert await thread.read_file(path) == b"longer than it was"
        with after_each_step(monkeypatch, thread, lambda: path.write_bytes(b"less")):
            assert await thread.read_file(path) == b"less"
        await wait_until(lambda: numbers(thread) <= before)


@contextlib.contextmanager
def after_each_step(
    monkeypatch: pytest.MonkeyPatch, thread: Thread, act: Callable[[], object]
) -> Iterator[None]:
    """Do something whenever several steps have been made in a process."""
    sysif = thread.task.sysif
    steps = sysif.steps

    async def make(*args: Any, **kwargs: Any) -> list[int | bytes]:
        results = await steps(*args, **kwargs)
        act()
        return results

    with monkeypatch.context() as patch:
        patch.setattr(sysif, "steps", make)
        yield


WORK: dict[str, Callable[[Thread, LocalPath], Awaitable[object]]] = {
    "read_file": lambda thread, path: thread.read_file(path / "file"),
    "write_file": lambda thread, path: thread.write_file(path / "file", b"written"),
    "listdir": lambda thread, path: thread.listdir(path),
    "stat": lambda thread, path: thread.stat(path / "file"),
    "readlink": lambda thread, path: thread.readlink(path / "link"),
}


@pytest.mark.parametrize("name", WORK)
async def test_cancelled_at_every_step(name: str, tmp_path: LocalPath) -> None:
    """Nothing is left open, and the connection goes on."""
    (tmp_path / "file").write_bytes(b"contents")
    (tmp_path / "link").symlink_to("target")
    async with far_away(tmp_path / "count", 0) as thread:
        await WORK[name](thread, tmp_path)
        before = numbers(thread)
        steps = thread.task.sysif._exchange  # type: ignore[attr-defined]  # what is sent at once
        finished = False
        for limit in range(20):
            made = 0

            async def make(*args: Any) -> None:
                nonlocal made
                made += 1
                if made == limit + 1:  # noqa: B023 # it does not outlive the loop
                    scope.cancel()
                await steps(*args)

            thread.task.sysif._exchange = make  # type: ignore[attr-defined]
            with trio.CancelScope() as scope:
                await WORK[name](thread, tmp_path)
            finished = not scope.cancelled_caught
            del thread.task.sysif._exchange  # type: ignore[attr-defined]
            await thread.stat("/")
            assert await until_closed(thread, before)
            if finished:
                break
        assert finished
        assert limit >= 1


@pytest.mark.parametrize("part", range(4))
def test_interrupted_at_every_place(part: int, tmp_path: LocalPath) -> None:
    """By an exception that comes anywhere."""
    (tmp_path / "file").write_bytes(b"contents")
    thread: StdioThread
    before: set[int]

    async def begin() -> None:
        nonlocal thread, before
        thread = await start(tmp_path / "count", 0)
        await thread.read_file(tmp_path / "file")
        before = numbers(thread)

    async def work(trier: Trier) -> None:
        with trier.armed():
            await thread.read_file(tmp_path / "file")

    async def look() -> None:
        assert await thread.read_file(tmp_path / "file") == b"contents"
        # What was to be closed in the run that has ended.
        await thread.task.fd_table.run_gc()
        assert await until_closed(thread, before)

    trio.run(begin)
    try:
        tried = try_every_place(
            lambda trier: trio.run(work, trier), lambda: trio.run(look), step=64, first=16 * part
        )
    finally:
        trio.run(thread.close)
    assert not tried.wrong, tried
    assert len(tried.places) > 20, tried


async def until_closed(thread: Thread, expected: set[int]) -> bool:
    """Wait until only these descriptors are open: what was dropped is closed in the background."""
    with trio.move_on_after(5):
        while numbers(thread) != expected:  # noqa: ASYNC110 # nothing tells
            await trio.sleep(0.01)
        return True
    return False
