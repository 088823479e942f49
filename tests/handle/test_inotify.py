"""`rsyscall.sys.inotify`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsyscall.near.types import WatchDescriptor
from rsyscall.sys.inotify import IN, InotifyEvent, InotifyEventList, InotifyFlag

from .support import Local

names = st.binary(min_size=1, max_size=255).filter(lambda b: b"\0" not in b).map(os.fsdecode)
events = st.builds(
    InotifyEvent,
    st.integers(-1, 2**31 - 1).map(WatchDescriptor),
    st.integers(0, 2**32 - 1).map(IN),
    st.integers(0, 2**32 - 1),
    names | st.none(),
)


async def read(local: Local, fd: Any) -> InotifyEventList:
    valid, _ = await fd.read(await local.malloc(InotifyEventList, 4096))
    found: InotifyEventList = await valid.read()
    return found


async def test_what_happens_in_a_directory(local: Local, tmp_path: Path) -> None:
    fd = await local.task.inotify_init(InotifyFlag.NONBLOCK)
    wd = await fd.inotify_add_watch(await local.ptr(tmp_path), IN.CREATE | IN.MOVE | IN.DELETE | IN.ONLYDIR)
    with pytest.raises(BlockingIOError):
        await read(local, fd)
    (tmp_path / "file").touch()
    (tmp_path / "dir\udc80").mkdir()
    (tmp_path / "file").rename(tmp_path / "other")
    created, made, old, new = await read(local, fd)
    assert created == InotifyEvent(wd, IN.CREATE, 0, "file")
    assert made == InotifyEvent(wd, IN.CREATE | IN.ISDIR, 0, "dir\udc80")
    assert (old.mask, old.name, new.mask, new.name) == (IN.MOVED_FROM, "file", IN.MOVED_TO, "other")
    assert old.cookie == new.cookie != 0


async def test_a_file_has_one_watch_and_the_last_event_says_that_it_is_gone(
    local: Local, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.touch()
    (tmp_path / "link").symlink_to("file")
    fd = await local.task.inotify_init(InotifyFlag.NONBLOCK)
    wd = await fd.inotify_add_watch(await local.ptr(path), IN.MODIFY)
    assert await fd.inotify_add_watch(await local.ptr(tmp_path / "link"), IN.ATTRIB | IN.MASK_ADD) == wd
    with pytest.raises(FileExistsError):
        await fd.inotify_add_watch(await local.ptr(path), IN.MODIFY | IN.MASK_CREATE)
    path.write_text("x")
    path.chmod(0o600)
    await fd.inotify_rm_watch(wd)
    assert await read(local, fd) == [InotifyEvent(wd, mask) for mask in (IN.MODIFY, IN.ATTRIB, IN.IGNORED)]
    with pytest.raises(OSError, match="Invalid argument") as caught:
        await fd.inotify_rm_watch(wd)
    assert caught.value.filename == (fd, wd)


async def test_errors_name_the_file(local: Local, tmp_path: Path) -> None:
    fd = await local.task.inotify_init()
    assert not os.get_inheritable(int(fd))
    (tmp_path / "file").touch()
    for path, mask, error in (("nothing", IN.OPEN, FileNotFoundError), ("file", IN.ONLYDIR, OSError)):
        with pytest.raises(error) as caught:
            await fd.inotify_add_watch(await local.ptr(tmp_path / path), mask)
        assert caught.value.filename == tmp_path / path


async def test_room_for_one_event_is_enough_for_the_longest_name(local: Local, tmp_path: Path) -> None:
    fd = await local.task.inotify_init(InotifyFlag.NONBLOCK)
    wd = await fd.inotify_add_watch(await local.ptr(tmp_path), IN.CREATE)
    (tmp_path / ("n" * 255)).touch()
    size = InotifyEvent.MINIMUM_SIZE_TO_READ_ONE_EVENT
    assert size == 16 + 255 + 1
    valid, rest = await fd.read(await local.malloc(InotifyEventList, size))
    assert (await valid.read(), rest.size()) == ([InotifyEvent(wd, IN.CREATE, 0, "n" * 255)], 0)


@given(st.lists(events))
def test_round_trip(found: list[InotifyEvent]) -> None:
    data = InotifyEventList(found).to_bytes()
    assert InotifyEventList.from_bytes(data) == found
    assert data == b"".join(event.to_bytes() for event in found)


@pytest.mark.parametrize("cut", [1, 15, 16, 31])
def test_events_that_are_cut_off_are_refused(cut: int) -> None:
    data = InotifyEvent(WatchDescriptor(1), IN.CREATE, 0, "name").to_bytes()
    with pytest.raises(ValueError, match="inotify event"):
        InotifyEventList.from_bytes(data + data[:cut])
