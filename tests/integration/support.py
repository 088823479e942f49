"""Helpers that several tests of the whole share."""

from __future__ import annotations

import os
import resource
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio
import trio.testing

from rsyscall.command import Command
from rsyscall.epoller import AsyncFileDescriptor, Epoller
from rsyscall.fcntl import O
from rsyscall.handle import FileDescriptor
from rsyscall.monitor import AsyncChildProcess
from rsyscall.net.if_ import IFF, SIOC, Ifreq
from rsyscall.sched import CLONE
from rsyscall.sys.socket import AF, SOCK
from rsyscall.sys.wait import W
from rsyscall.thread import ChildThread, Thread
from rsyscall.unistd import Pipe


def sh(script: str) -> Command:
    """A command that runs a shell script."""
    return Command("/bin/sh", ["sh", "-c", script], {})


async def errors_by_limit(work: Callable[[], Awaitable[None]], more: int) -> list[int | None]:
    """Do some work under every limit of open descriptors, from 3 to that many more than are open.

    Returns:
        The error numbers, where it failed.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    errors: list[int | None] = []
    for limit in range(3, highest + more):
        try:
            with trio.fail_after(30):
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
                await work()
        except OSError as error:
            errors.append(error.errno)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return errors


@asynccontextmanager
async def cloned(thread: Thread, flags: CLONE = CLONE.NONE) -> AsyncIterator[ChildThread]:
    """A child that is killed and reaped in the end."""
    child = await thread.clone(flags)
    async with child.process:
        yield child


@asynccontextmanager
async def pipe_of(thread: Thread, flags: O = O(0)) -> AsyncIterator[Pipe]:
    """A pipe that is closed in the end."""
    pipe = await thread.pipe(flags)
    try:
        yield pipe
    finally:
        with trio.CancelScope(shield=True):
            await close(pipe.read, pipe.write)


async def close(*fds: FileDescriptor) -> None:
    """Close those that have not been closed yet."""
    for fd in fds:
        if fd.valid:
            await fd.invalidate()


async def finish(child: ChildThread) -> None:
    """Let the process exit, and reap it."""
    await child.exit(0)
    assert (await child.process.waitpid(W.EXITED)).clean()


async def write_all(thread: Thread, fd: FileDescriptor, data: bytes) -> None:
    """Write bytes, waiting for each part."""
    _, rest = await fd.write(await thread.ptr(data))
    while rest.size():
        _, rest = await fd.write(rest)


async def read_exactly(thread: Thread, fd: FileDescriptor, size: int) -> bytes:
    """Read this many bytes, waiting for them; fewer if the end comes before."""
    data = b""
    while len(data) < size:
        valid, _ = await fd.read(await thread.malloc(bytes, size - len(data)))
        if not valid.size():
            break
        data += await valid.read()
    return data


async def do_async_things(thread: Thread, epoller: Epoller | None = None, size: int = 100) -> None:
    """Move bytes through a pipe whose ends wait in trio; the reader comes first."""
    epoller = epoller or thread.epoller
    pipe = await thread.pipe(O.NONBLOCK)
    reader = await AsyncFileDescriptor.make(epoller, thread.ram, pipe.read)
    writer = await AsyncFileDescriptor.make(epoller, thread.ram, pipe.write)
    data = os.urandom(size)
    received = bytearray()

    async def read() -> None:
        while len(received) < size:
            received.extend(await reader.read_some_bytes())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        assert not received
        await writer.write_all_bytes(data)
    assert received == data
    await reader.close()
    await writer.close()


async def send_through(sender: AsyncFileDescriptor, receiver: AsyncFileDescriptor, size: int) -> None:
    """Send bytes through connected sockets; they arrive as they were."""
    data, received = os.urandom(size), b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.write_all_bytes, data)
        while len(received) < size:
            received += await receiver.read_some_bytes()
    assert received == data


async def exec_with(
    child: ChildThread,
    command: Command,
    stdin: FileDescriptor | None = None,
    stdout: FileDescriptor | None = None,
) -> AsyncChildProcess:
    """Execute a command with other standard streams; descriptors are those of a parent."""
    if stdin is not None:
        await child.inherit_fd(stdin).dup2(child.stdin)
    if stdout is not None:
        await child.inherit_fd(stdout).dup2(child.stdout)
    return await child.exec(command)


async def bring_up_loopback(thread: Thread) -> None:
    """In a network namespace of its own: make 127.0.0.1 usable."""
    async with await thread.socket(AF.INET, SOCK.DGRAM) as sock:
        request = await thread.ptr(Ifreq("lo", flags=IFF.UP))
        await sock.ioctl(SIOC.SIFFLAGS, request)
