"""Flags that only clone3 takes, wherever a process clones: clone would take no notice of them."""

from __future__ import annotations

import errno

import pytest
from support import local_thread

from rsyscall.sched import CLONE
from rsyscall.thread import Thread


async def check(parent: Thread, own_memory: bool = False) -> None:
    child = await parent.clone(CLONE.CLEAR_SIGHAND, own_memory=own_memory)
    async with child.process:
        assert await child.task.getpid() == child.task.process.near
    try:
        child = await parent.clone(CLONE.NNP, own_memory=own_memory)
    except OSError as error:
        # Before Linux 7.3.
        assert (error.errno, error.filename) == (errno.EINVAL, CLONE.NNP)  # noqa: PT017 (it may work)
        return
    async with child.process:
        assert await child.task.prctl_get_no_new_privs()


async def test_of_processes_that_share_our_memory(transport: str) -> None:
    await check(local_thread)
    child = await local_thread.clone()
    async with child.process:
        await check(child)


async def test_of_processes_with_memory_of_their_own(transport: str) -> None:
    await check(local_thread, own_memory=True)
    child = await local_thread.clone(own_memory=True)
    async with child.process:
        await check(child)
        await check(child, own_memory=True)


async def test_without_clone3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rsyscall.clone_call._clone3_missing", True)
    with pytest.raises(OSError, match="only clone3 takes these flags") as caught:
        await local_thread.clone(CLONE.NNP)
    assert (caught.value.errno, caught.value.filename) == (errno.EINVAL, CLONE.NNP)
    child = await local_thread.clone(CLONE.CLEAR_SIGHAND)
    await child.exit(0)
