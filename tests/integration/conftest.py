"""Fixtures of the tests of the whole."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from rsyscall.stub_program import stub_descriptor
from rsyscall.tasks.local import local_thread
from rsyscall.thread import ChildThread, Thread

from .support import cloned, sh
from .ways import WAYS, Way


@pytest.fixture(scope="session")
def warm_up() -> None:
    """Make what is made once per program: epoll instance, connection, watcher, pools."""

    async def main() -> None:
        hub = local_thread.loader.hub
        assert hub is not None
        hub.ensure_watcher()
        await local_thread.open_channels(1)
        await stub_descriptor(local_thread, local_thread.monitor.hub)
        for _ in range(3):
            await local_thread.run(sh("true"))

    trio.run(main)


def _marks(way: Way) -> list[pytest.MarkDecorator]:
    return [pytest.mark.needs(*way.needs), *([pytest.mark.slow] if way.slow else [])]


@pytest.fixture(params=[pytest.param(way, id=way.name, marks=_marks(way)) for way in WAYS])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Way:
    """One of the ways of getting a thread."""
    way = request.param
    assert isinstance(way, Way)
    monkeypatch.setenv("RSYSCALL_TRANSPORT", way.transport)
    return way


@pytest.fixture
async def thread(way: Way) -> AsyncIterator[Thread]:
    """A thread that was got in that way."""
    async with way.open() as thread:
        yield thread
    if thread is not local_thread:
        # The object itself is kept for longer than the check for leaks.
        vars(thread).clear()


@pytest.fixture(params=["ring", "stream"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """One of the ways to drive processes that share our memory."""
    name = request.param
    assert isinstance(name, str)
    monkeypatch.setenv("RSYSCALL_TRANSPORT", name)
    return name


@pytest.fixture
async def child(transport: str) -> AsyncIterator[ChildThread]:
    """A child that is driven in this way."""
    async with cloned(local_thread) as child:
        yield child
    vars(child).clear()
