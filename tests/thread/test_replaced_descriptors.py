"""Descriptors on which the way to a process relies, closed and replaced: the new files are left alone."""

from __future__ import annotations

import struct

import pytest
import trio
from support import local_thread

from rsyscall.near import SYS
from rsyscall.sched import CLONE
from rsyscall.thread import ChildThread

ALL = 2**32 - 1
# Anonymous inodes: all of them look alike to fstat, and most can be written to or read from.
KINDS = {
    "eventfd": (SYS.eventfd2, 0, 0o4000),
    "timerfd": (SYS.timerfd_create, 1, 0o4000),
    "epoll": (SYS.epoll_create1, 0),
    "pipe": None,
}


async def fill(thread: ChildThread, kind: str) -> list[int]:
    """Close all descriptors of a process, open others under the lowest numbers; returns the readable ones."""
    sysif = thread.task.sysif
    await sysif.syscall(SYS.close_range, 3, ALL, 0)
    call = KINDS[kind]
    if call is not None:
        return [await sysif.syscall(*call) for _ in range(30)]
    buf = await thread.malloc(bytes, 8)
    numbers = []
    for _ in range(15):
        await sysif.syscall(SYS.pipe2, buf.near, 0o4000)
        numbers.append(struct.unpack("2i", await sysif.read_memory(buf.near, 8))[0])
    return numbers


async def slow_calls(thread: ChildThread) -> None:
    """Calls whose answers are announced."""
    time = await thread.ptr(struct.pack("qq", 0, 2_000_000))
    with trio.fail_after(60):
        for _ in range(10):
            await thread.task.sysif.syscall(SYS.nanosleep, time.near, 0)


async def assert_untouched(thread: ChildThread, numbers: list[int]) -> None:
    buf = await thread.malloc(bytes, 8)
    for number in numbers:
        with pytest.raises(OSError, match=r"Resource temporarily unavailable|Invalid argument"):
            await thread.task.sysif.syscall(SYS.read, number, buf.near, 8)


@pytest.mark.parametrize("kind", list(KINDS))
async def test_by_a_process_that_shares_the_table(kind: str) -> None:
    owner = await local_thread.clone()
    sharer = await owner.clone(CLONE.FILES)
    await slow_calls(sharer)
    numbers = await fill(owner, kind)
    for thread in (sharer, owner):
        await slow_calls(thread)
        await assert_untouched(owner, numbers)
    await sharer.exit(0)
    await slow_calls(owner)
    await assert_untouched(owner, numbers)
    await owner.exit(0)


@pytest.mark.parametrize("kind", list(KINDS))
async def test_by_the_process_itself(kind: str) -> None:
    thread = await local_thread.clone()
    await slow_calls(thread)
    numbers = await fill(thread, kind)
    await slow_calls(thread)
    await assert_untouched(thread, numbers)
    await thread.exit(0)


async def test_while_many_calls_are_announced() -> None:
    """One process replaces everything again and again while others that share its table answer."""
    owner = await local_thread.clone()
    sharers = [await owner.clone(CLONE.FILES) for _ in range(4)]
    done = False

    async def replace() -> None:
        while not done:
            await assert_untouched(owner, await fill(owner, "eventfd"))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(replace)
        for _ in range(3):
            async with trio.open_nursery() as sleepers:
                for sharer in sharers:
                    sleepers.start_soon(slow_calls, sharer)
        done = True
    for thread in (*sharers, owner):
        await thread.exit(0)
