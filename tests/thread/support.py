"""The local thread of the tests of this layer, and what several tests ask for."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from rsyscall.command import Command
from rsyscall.epoller import Epoller
from rsyscall.local import LocalThread
from rsyscall.thread import Thread

local_thread = LocalThread()


def sh(script: str) -> Command:
    """A command that runs a shell script."""
    return Command("/bin/sh", ["sh", "-c", script], {})


async def do_async_things(epoller: Epoller, thread: Thread, size: int = 100) -> None:
    """Move bytes through a pipe of `thread` whose both ends are used through `epoller`; check them."""
    import trio

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
        await trio.sleep(0.001)
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


def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Wait, blocking, until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def is_running(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")
