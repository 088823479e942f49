"""`rsyscall.inotify_watch`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path as LocalPath

import pytest
import trio
import trio.testing

from rsyscall.inotify_watch import Inotify, InotifyOverflowError, Watch, WatchRemovedError
from rsyscall.path import Path
from rsyscall.sys.inotify import IN, InotifyEvent
from rsyscall.tasks.local import local_thread

SECONDS = 60


@pytest.fixture
async def inotify() -> AsyncIterator[Inotify]:
    async with await Inotify.make(local_thread) as inotify:
        yield inotify


@pytest.mark.parametrize("own_memory", [False, True])
async def test_a_file_is_created(transport: str, own_memory: bool, tmp_path: LocalPath) -> None:
    with trio.fail_after(SECONDS):
        child = await local_thread.clone(own_memory=own_memory)
        async with child.process, await Inotify.make(child) as inotify:
            watch = await inotify.add(Path(tmp_path), IN.CREATE)
            (tmp_path / "foo").touch()
            assert await watch.wait() == [InotifyEvent(watch.wd, IN.CREATE, 0, "foo")]


async def test_tasks_that_wait_for_different_directories(inotify: Inotify, tmp_path: LocalPath) -> None:
    """One of them reads for all; when it is cancelled, another one goes on."""
    watches: list[Watch] = []
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        watches.append(await inotify.add(Path(tmp_path / name), IN.CREATE))
    assert await inotify.add(Path(tmp_path / "a" / ".." / "a"), IN.CREATE) is watches[0]
    got: dict[str, list[str | None]] = {}

    async def wait(name: str, watch: Watch) -> None:
        got[name] = [event.name for event in await watch.wait()]

    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()
            async with trio.open_nursery() as first:

                async def reader() -> None:
                    with scope:
                        await wait("a", watches[0])

                first.start_soon(reader)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(wait, "b", watches[1])
                nursery.start_soon(wait, "c", watches[2])
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
            (tmp_path / "a" / "one").touch()
            (tmp_path / "c" / "two").touch()
            (tmp_path / "b" / "three").touch()
        assert got == {"b": ["three"], "c": ["two"]}
        await wait("a", watches[0])
    assert got["a"] == ["one"]


async def test_other_events_are_discarded_and_later_ones_stay(inotify: Inotify, tmp_path: LocalPath) -> None:
    watch = await inotify.add(Path(tmp_path), IN.CREATE | IN.DELETE)
    for name in ("one", "two", "three"):
        (tmp_path / name).touch()
    (tmp_path / "one").unlink()
    with trio.fail_after(SECONDS):
        assert (await watch.wait_until_event(IN.CREATE, "two")).name == "two"
        assert [event.name for event in watch.pending_events] == ["three", "one"]
        assert (await watch.wait_until_event(IN.DELETE)).name == "one"


async def test_a_watch_that_is_removed(inotify: Inotify, tmp_path: LocalPath) -> None:
    watch = await inotify.add(Path(tmp_path), IN.CREATE)
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def waiting() -> None:
                with pytest.raises(WatchRemovedError, match="watch was removed"):
                    await watch.wait()

            await trio.testing.wait_all_tasks_blocked()
            await watch.remove()
        with pytest.raises(OSError, match="Invalid argument"):
            await watch.remove()
        again = await inotify.add(Path(tmp_path), IN.CREATE)
        assert again is not watch
        (tmp_path / "file").touch()
        assert (await again.wait_until_event(IN.CREATE)).name == "file"


async def test_what_happened_before_the_end_is_told(inotify: Inotify, tmp_path: LocalPath) -> None:
    path = tmp_path / "file"
    path.touch()
    watch = await inotify.add(Path(path), IN.ATTRIB | IN.DELETE_SELF)
    path.unlink()
    with trio.fail_after(SECONDS):
        assert [event.mask for event in await watch.wait()] == [IN.ATTRIB, IN.DELETE_SELF]
        with pytest.raises(WatchRemovedError):
            await watch.wait()


async def test_closing_ends_the_watches(tmp_path: LocalPath) -> None:
    inotify = await Inotify.make(local_thread)
    watches = [await inotify.add(Path(path), IN.CREATE) for path in (tmp_path, "/")]
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:

            async def waiting(watch: Watch) -> None:
                with pytest.raises(WatchRemovedError):
                    await watch.wait()

            for watch in watches:
                nursery.start_soon(waiting, watch)
            await trio.testing.wait_all_tasks_blocked()
            await inotify.close()
    await inotify.close()


@pytest.mark.slow
async def test_lost_events_are_reported_to_every_watch(inotify: Inotify, tmp_path: LocalPath) -> None:
    limit = int(LocalPath("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 100_000:
        pytest.skip("kernel: its queue is long")
    one = await inotify.add(Path(tmp_path), IN.ATTRIB)
    (tmp_path / "dir").mkdir()
    other = await inotify.add(Path(tmp_path / "dir"), IN.ATTRIB)
    for name in ("x", "y"):
        (tmp_path / name).touch()
    # Equal events one after another are one event, so two files take turns.
    for index in range(limit // 2 + 2):
        for name in ("x", "y"):
            (tmp_path / name).chmod(0o600 + index % 2)
    with trio.fail_after(SECONDS):
        with pytest.raises(InotifyOverflowError):
            await other.wait_until_event(IN.ATTRIB)
        assert (await one.wait_until_event(IN.Q_OVERFLOW)).wd.number == -1


async def test_errors_name_the_file(inotify: Inotify) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        await inotify.add(Path("/no/such/file"), IN.CREATE)
    assert str(caught.value.filename) == "/no/such/file"
