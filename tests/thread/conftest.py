"""The fixtures of this layer's tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import trio

sys.path.insert(0, str(Path(__file__).parent))

from drivers import programs, zygote
from support import local_thread, sh

from rsyscall.stub_program import stub_descriptor

__all__ = ["programs", "transport", "warm_up", "zygote"]


@pytest.hookimpl(tryfirst=True)  # before pytest selects by marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what starts whole programs that use streams.

    Such a program takes half a second, and the same one has run with rings.
    """
    for item in items:
        if (
            isinstance(item, pytest.Function)
            and {"programs", "transport"}.issubset(item.fixturenames)
            and item.callspec.params.get("transport") == "stream"
        ):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def warm_up() -> None:
    """Make what is made once per program: epoll instance, connection, watcher, pools."""

    async def main() -> None:
        assert local_thread.monitor.hub is not None
        local_thread.monitor.hub.ensure_watcher()
        await local_thread.open_channels(1)
        await stub_descriptor(local_thread, local_thread.monitor.hub)
        for _ in range(3):
            await local_thread.run(sh("true"))

    trio.run(main)


@pytest.fixture(params=["ring", "stream"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test over both ways to drive a process that shares our memory."""
    monkeypatch.setenv("RSYSCALL_TRANSPORT", request.param)
    assert os.environ["RSYSCALL_TRANSPORT"] == request.param
    return request.param  # type: ignore[no-any-return] # one of the strings above
