"""One machine for all tests of this directory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio

from rsyscall.tasks.stdio import StdioThread

from .machine import missing, start

BOOT_SECONDS = 120


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StdioThread]:
    """The process in it that the tests drive."""
    if (reason := missing()) is not None:
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("machine")

    async def boot() -> StdioThread:
        with trio.move_on_after(BOOT_SECONDS):
            return await start(directory)
        raise RuntimeError(f"it did not start:\n{(directory / 'console').read_text(errors='replace')}")

    thread = trio.run(boot)
    yield thread
    trio.run(thread.close)


@pytest.fixture(scope="session")
def warm_up(machine: StdioThread) -> None:
    """What is made once must be there before the first count of descriptors."""

    async def clone() -> None:
        # The first child of a run brings the channels.
        child = await machine.clone()
        await child.exit(0)

    trio.run(clone)


@pytest.fixture
def thread(machine: StdioThread) -> StdioThread:
    """The same: the tests change nothing of it that lasts. They confine children of it."""
    return machine
