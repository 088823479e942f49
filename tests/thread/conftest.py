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
