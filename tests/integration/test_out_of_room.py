"""No descriptors, or no room on the disk, on the way to a process: an error says so, and nothing is left."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path as LocalPath

import pytest

from rsyscall.command import Command
from rsyscall.native import stub_path
from rsyscall.path import Path
from rsyscall.sched import CLONE
from rsyscall.tasks.local import local_thread
from rsyscall.tasks.persistent import clone_persistent, connect_persistent
from rsyscall.tasks.stdin_bootstrap import stdin_bootstrap
from rsyscall.tasks.stub import StubServer

from .support import errors_by_limit

pytestmark = pytest.mark.slow


async def behind_a_command(directory: LocalPath) -> None:
    program = str(stub_path())
    _, thread = await stdin_bootstrap(local_thread, Command(program, [program, "stdin"], {}))
    async with thread:
        await thread.task.getppid()


async def in_the_place_of_a_program(directory: LocalPath) -> None:
    async with await StubServer.make(local_thread, Path(directory), "program") as server:
        with subprocess.Popen([directory / "program"]) as process:
            try:
                _, thread = await server.accept()
                async with thread:
                    await thread.exit(0)
            finally:
                process.kill()


async def persistent(directory: LocalPath) -> None:
    made = await clone_persistent(local_thread, directory / "socket")
    assert made.process is not None
    async with made.process:
        again = await connect_persistent(local_thread, directory / "socket", take_over=True)
        await again.task.getppid()
    (directory / "socket").unlink()


@pytest.mark.parametrize("way", [behind_a_command, in_the_place_of_a_program, persistent])
async def test_no_descriptors(tmp_path: LocalPath, way: Callable[[LocalPath], Awaitable[None]]) -> None:
    """Whatever the limit is. The next one works; the check for leaks says that nothing is left."""

    async def go() -> None:
        try:
            await way(tmp_path)
        finally:
            (tmp_path / "socket").unlink(missing_ok=True)

    await way(tmp_path)
    errors = await errors_by_limit(go, 20)
    assert set(errors) == {errno.EMFILE}
    assert len(errors) > 5
    await way(tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.needs("mount namespaces")
async def test_no_room_for_the_program() -> None:
    """What was written of it is removed."""
    child = await local_thread.clone(CLONE.NEWUSER | CLONE.NEWNS, own_memory=True)
    async with child.process:
        await child.make_rprivate()
        await child.mount_tmpfs("/mnt", size=8192)
        with pytest.raises(OSError) as caught:
            await StubServer.make(child, Path("/mnt"), "program")
        assert caught.value.errno == errno.ENOSPC
        assert await child.listdir("/mnt") == []
