"""`rsyscall.sys.resource`."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.sys.resource import PRIO, RLIM_INFINITY, RLIMIT, RUSAGE, Rlimit, Rusage

from .helpers import forked
from .support import Local


@forked
async def test_limits(local: Local, tmp_path: Path) -> None:
    task = local.task
    await task.setrlimit(RLIMIT.NOFILE, await local.ptr(Rlimit(50, 60)))
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (50, 60)
    buf = await local.malloc(Rlimit)
    assert await task.getrlimit(RLIMIT.NOFILE, buf) is buf
    assert await buf.read() == Rlimit(50, 60)
    await task.prlimit(RLIMIT.NOFILE, await local.ptr(Rlimit(40, 60)), buf)
    assert await buf.read() == Rlimit(50, 60)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (40, 60)
    await task.setrlimit(RLIMIT.CPU, await local.ptr(Rlimit(1000, RLIM_INFINITY)))
    assert resource.getrlimit(resource.RLIMIT_CPU) == (1000, resource.RLIM_INFINITY)
    with pytest.raises(OSError, match="Invalid argument") as caught:
        await task.setrlimit(RLIMIT.NOFILE, await local.ptr(Rlimit(70, 60)))
    assert caught.value.filename == RLIMIT.NOFILE


@forked
async def test_priority(local: Local, tmp_path: Path) -> None:
    nice = min(os.getpriority(os.PRIO_PROCESS, 0) + 7, 19)  # without privileges no less than it is
    await local.task.setpriority(PRIO.PROCESS, nice)
    assert await local.task.getpriority(PRIO.PROCESS) == 20 - nice


async def test_usage(local: Local) -> None:
    buf = await local.malloc(Rusage)
    assert await local.task.getrusage(RUSAGE.SELF, buf) is buf
    usage = await buf.read()
    assert usage.maxrss > 1000
    assert 0 < float(usage.utime) <= resource.getrusage(resource.RUSAGE_SELF).ru_utime


async def test_memory_that_is_too_small(local: Local) -> None:
    small = await local.malloc(Rlimit)
    with pytest.raises(BufferTooSmallError):
        await local.task.getrusage(RUSAGE.SELF, small)  # type: ignore[arg-type] # the wrong type, on purpose
