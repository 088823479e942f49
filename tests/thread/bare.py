"""The local process without a `Thread`: the smallest thing that epollers and connections can be tested with.

The task and its memory are made once, when this is imported; epollers are made by the tests and closed by
them.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

import trio

from rsyscall import far
from rsyscall.epoller import AsyncFileDescriptor, Epoller
from rsyscall.fcntl import O
from rsyscall.handle import FDTable, FileDescriptor, Task
from rsyscall.memory.allocator import AllocatorClient
from rsyscall.memory.local import LocalMemoryTransport
from rsyscall.memory.ram import RAM
from rsyscall.near import LocalSyscall
from rsyscall.near import types as near
from rsyscall.sys.epoll import EpollFlag
from rsyscall.sys.socket import AF, SOCK, Socketpair
from rsyscall.unistd.pipe import Pipe

T = t.TypeVar("T")


def run_now(coro: t.Coroutine[t.Any, t.Any, T]) -> T:
    """Run a coroutine that makes only local calls, and therefore never suspends."""
    try:
        coro.send(None)
    except StopIteration as exn:
        return t.cast(T, exn.value)
    coro.close()
    raise AssertionError("the coroutine suspended")


def make_local_task() -> Task:
    """Another task for this very process, which claims to have tables and spaces of its own."""
    pid = os.getpid()
    task = Task(near.Process(pid), FDTable(pid), far.AddressSpace(pid), far.PidNamespace(pid))
    task.sysif = LocalSyscall()
    return task


task = make_local_task()
ram = RAM(task, LocalMemoryTransport(task), AllocatorClient.make_allocator(task))
_keeps_the_first_arena = run_now(ram.malloc(bytes, 1))


def adopt(number: int) -> FileDescriptor:
    """Make a handle for a file descriptor that Python made."""
    return task.make_fd_handle(near.FileDescriptor(number))


async def make_epoller() -> Epoller:
    """A subsidiary epoller of trio, as that of the local thread."""
    epfd = await task.epoll_create(EpollFlag.CLOEXEC)

    async def wait_readable() -> None:
        await trio.lowlevel.wait_readable(int(epfd.near))

    return Epoller.make_subsidiary(ram, epfd, wait_readable)


@contextlib.asynccontextmanager
async def local_epoller() -> t.AsyncIterator[Epoller]:
    """An epoller that is closed at the end."""
    epoller = await make_epoller()
    try:
        yield epoller
    finally:
        # The loop goes on until the end of the run.
        trio.lowlevel.notify_closing(int(epoller.epfd.near))
        await epoller.epfd.invalidate()
        await task.run_fd_table_gc()


async def pipe(flags: O = O.NONBLOCK) -> Pipe:
    """A pipe; non-blocking, unless told otherwise."""
    return await (await task.pipe(await ram.malloc(Pipe), flags)).read()


async def socketpair(type: SOCK = SOCK.STREAM | SOCK.NONBLOCK) -> Socketpair:
    """A pair of Unix sockets; non-blocking, unless told otherwise."""
    return await (await task.socketpair(AF.UNIX, type, 0, await ram.malloc(Socketpair))).read()


async def make_afd(epoller: Epoller, fd: FileDescriptor) -> AsyncFileDescriptor:
    """An async file descriptor used through the local task."""
    return await AsyncFileDescriptor.make(epoller, ram, fd)


@contextlib.asynccontextmanager
async def closing(*things: t.Any) -> t.AsyncIterator[None]:
    """Close file descriptors and async file descriptors at the end, if the test has not."""
    try:
        yield
    finally:
        for thing in things:
            await (thing.close() if isinstance(thing, AsyncFileDescriptor) else thing.invalidate())
