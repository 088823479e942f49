"""The local thread of the tests of this layer, and what several tests ask for."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
import trio.testing
from waiting import wait_for_call

from rsyscall.command import Command
from rsyscall.epoller import Epoller
from rsyscall.local import LocalThread
from rsyscall.near import SYS
from rsyscall.thread import ChildThread, Thread

local_thread = LocalThread()


def sh(script: str) -> Command:
    """A command that runs a shell script."""
    return Command("/bin/sh", ["sh", "-c", script], {})


async def do_async_things(epoller: Epoller, thread: Thread, size: int = 100) -> None:
    """Move bytes through a pipe of `thread` whose both ends are used through `epoller`; check them."""
    from rsyscall.epoller import AsyncFileDescriptor
    from rsyscall.fcntl import O

    pipe = await thread.pipe(O.NONBLOCK)
    reader = await AsyncFileDescriptor.make(epoller, thread.ram, pipe.read)
    writer = await AsyncFileDescriptor.make(epoller, thread.ram, pipe.write)
    data = os.urandom(size)
    received = b""

    async def read() -> None:
        nonlocal received
        while len(received) < size:
            received += await reader.read_some_bytes()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        await writer.write_all_bytes(data)
    assert received == data
    await reader.close()
    await writer.close()


async def assert_thread_works(thread: Thread) -> None:
    """Check that calls, memory and the epoll loop of a thread work."""
    await do_async_things(thread.epoller, thread)


def children() -> set[int]:
    """All our children: zombies, and those whose exit sends no signal, included."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            found.update(map(int, (task / "children").read_text().split()))
        except FileNotFoundError:
            continue  # this OS thread has just ended
    return found


def pid_of(thread: ChildThread) -> int:
    """The process id, as its creator sees it."""
    return thread.process.process.near.id


@asynccontextmanager
async def blocked(thread: ChildThread) -> AsyncIterator[None]:
    """Keep a process in a call, and so all later ones waiting, until the end of the block."""
    [(ours, theirs)] = await thread.open_channels(1)
    buffer = await thread.malloc(bytes, 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs.read, buffer)
        await wait_for_call(pid_of(thread), SYS.read, int(theirs))
        try:
            yield
        finally:
            os.write(int(ours), b"x")
    await ours.close()


def is_running(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")
