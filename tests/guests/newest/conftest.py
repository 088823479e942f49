"""One machine for all tests of this directory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio

from rsyscall.linux.module import MODULE_INIT
from rsyscall.tasks.stdio import StdioThread

from .machine import DISK_BYTES, missing, start
from .support import opened

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


@pytest.fixture(scope="session")
def disks(machine: StdioThread) -> list[str]:
    """Two disks in the memory of the machine, of `DISK_BYTES` each."""

    async def load() -> None:
        async with await opened(machine, "/modules/brd.ko.xz") as file:
            parameters = f"rd_nr=2 rd_size={DISK_BYTES >> 10}"
            await file.finit_module(await machine.ptr(parameters), MODULE_INIT.COMPRESSED_FILE)
        for name in ("quota_tree", "quota_v2"):
            async with await opened(machine, f"/modules/{name}.ko.xz") as file:
                await file.finit_module(await machine.ptr(""), MODULE_INIT.COMPRESSED_FILE)

    trio.run(load)
    return ["/dev/ram0", "/dev/ram1"]
