"""The machine: whose kernel it is, and what we are there."""

from __future__ import annotations

import os

import pytest

from rsyscall.sys.utsname import Utsname
from rsyscall.thread import Thread

pytestmark = pytest.mark.slow


async def test_it_is_a_newer_kernel(thread: Thread) -> None:
    name = await (await thread.task.uname(await thread.malloc(Utsname))).read()
    assert tuple(map(int, name.release.split(".")[:2])) >= (7, 3)
    assert name.machine == "x86_64"
    assert name.release != os.uname().release
    assert await thread.task.getpid() == thread.task.process.near != os.getpid()
    assert await thread.task.getuid() == 0
