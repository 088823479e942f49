"""The state of the machine, and random bytes."""

from __future__ import annotations

import os
import time

import pytest

from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.sys.random import GRND
from rsyscall.sys.sysinfo import Sysinfo

from .helpers import no_calls
from .support import Local


async def test_memory_and_age_of_the_machine(local: Local) -> None:
    memory = await local.malloc(Sysinfo)
    info = await (await local.task.sysinfo(memory)).read()
    assert info.totalram * info.mem_unit == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < info.freeram < info.totalram
    assert info.procs > 0
    assert abs(info.uptime - time.clock_gettime(time.CLOCK_BOOTTIME)) < 5
    assert all(0 <= load < 10000 for load in info.loads)
    small, _ = memory.split(Sysinfo.sizeof() - 1)
    with no_calls(local.task), pytest.raises(BufferTooSmallError):
        await local.task.sysinfo(small)


async def test_random_bytes(local: Local) -> None:
    filled, rest = await local.task.getrandom(await local.malloc(bytes, 64), GRND.NONBLOCK)
    assert (filled.size(), rest.size()) == (64, 0)
    first = await filled.read()
    again, _ = await local.task.getrandom(filled)
    second = await again.read()
    assert len(set(first)) > 16
    assert first != second
    with pytest.raises(OSError, match="Invalid") as caught:
        await local.task.getrandom(again, GRND.RANDOM | GRND.INSECURE)
    assert caught.value.filename is again
