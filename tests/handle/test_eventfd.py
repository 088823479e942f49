"""Tests of `rsyscall.sys.eventfd`."""

from __future__ import annotations

import fcntl
import os

import pytest

from rsyscall.handle.task import Task
from rsyscall.struct import Int64
from rsyscall.sys.eventfd import EFD

from .support import Local


async def test_counts(local: Local, task: Task) -> None:
    fd = await task.eventfd(3)
    await fd.write(await local.ptr(Int64(4)))
    valid, rest = await fd.read(await local.malloc(Int64))
    assert await valid.read() == 7
    assert rest.size() == 0


async def test_semaphore_gives_one_at_a_time(local: Local, task: Task) -> None:
    fd = await task.eventfd(2, EFD.SEMAPHORE | EFD.NONBLOCK)
    for _ in range(2):
        valid, _ = await fd.read(await local.malloc(Int64))
        assert await valid.read() == 1
    with pytest.raises(BlockingIOError):
        await fd.read(await local.malloc(Int64))


async def test_is_always_cloexec(task: Task) -> None:
    fd = await task.eventfd(0)
    assert fcntl.fcntl(int(fd), fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    assert not fcntl.fcntl(int(fd), fcntl.F_GETFL) & os.O_NONBLOCK


@pytest.mark.parametrize("value", [-1, 2**32])
async def test_refuses_what_the_kernel_would_truncate(task: Task, value: int) -> None:
    with pytest.raises(ValueError):
        await task.eventfd(value)
