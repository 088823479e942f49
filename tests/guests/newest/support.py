"""What several tests of the machine share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rsyscall.fcntl import O
from rsyscall.handle import FileDescriptor
from rsyscall.sched import CLONE
from rsyscall.sys.capability import CapData, CapHeader
from rsyscall.thread import ChildThread, Thread


@asynccontextmanager
async def child_of(thread: Thread, flags: CLONE = CLONE.NONE) -> AsyncIterator[ChildThread]:
    """A child that may confine itself; it is killed and reaped in the end."""
    child = await thread.clone(flags)
    async with child.process:
        yield child


async def opened(thread: Thread, path: str, flags: O = O.RDONLY) -> FileDescriptor:
    """Open a path."""
    return await thread.task.open(await thread.ptr(path), flags, 0o644)


async def contents(thread: Thread, path: str) -> str:
    """Read a whole file as text."""
    async with await opened(thread, path) as file:
        return (await thread.read_to_eof(file)).decode()


async def drop_capabilities(thread: Thread) -> None:
    """Give up all privileges."""
    header = await thread.ptr(CapHeader())
    await thread.task.capset(header, await thread.ptr(CapData(set(), set(), set())))
