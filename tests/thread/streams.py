"""Connections over a byte stream: to the real program, and to a peer that the test plays."""

from __future__ import annotations

import logging
import os
import socket
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing
from support import local_thread
from waiting import wait_until

from rsyscall import far
from rsyscall.epoller import AsyncFileDescriptor
from rsyscall.handle import FDTable, Task
from rsyscall.native import stub_path
from rsyscall.near import SYS, SyscallHangup, SyscallSendError
from rsyscall.near import types as near
from rsyscall.near.protocol import REQUEST_SIZE, HelloParser
from rsyscall.stream import SyscallConnection
from rsyscall.thread import Thread

PROT_READ_WRITE = 3
MAP_PRIVATE_ANONYMOUS = 0x22
REQUEST = struct.Struct("=IIQ6Q")

logger = logging.getLogger("test of streams")


class Target:
    """A process that is driven, or a test that pretends to be one, and the connection to it.

    Attributes:
        peer: of a pretender, the other end of the stream.
        process: otherwise, the process.
    """

    def __init__(
        self, conn: SyscallConnection, peer: socket.socket | None, process: subprocess.Popen[bytes] | None
    ) -> None:
        self.conn = conn
        self._peer = peer
        self._process = process
        # Set by code that closes the connection first, since calls that were sent are waited for.
        self.nursery: trio.Nursery
        self._outcomes: list[Any] = []

    @property
    def peer(self) -> socket.socket:
        assert self._peer is not None
        return self._peer

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def is_process(self) -> bool:
        """Whether a process of its own serves it, and not a thread of ours."""
        return self._process is not None

    @property
    def pid(self) -> int:
        return self.process.pid

    async def call(self, number: SYS, *args: int) -> int:
        return await self.conn.syscall(number, *args)

    async def map(self, length: int) -> int:
        return await self.call(SYS.mmap, 0, length, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0)

    async def sleep(self, seconds: float) -> int:
        """Have the process sleep."""
        return await self.call(SYS.nanosleep, await self.timespec(seconds), 0)

    async def timespec(self, seconds: float) -> int:
        """The address of a time in the memory of the process."""
        address = await self.map(16)
        nanoseconds = int(seconds * 1e9)
        await self.conn.write_memory(address, struct.pack("qq", nanoseconds // 10**9, nanoseconds % 10**9))
        return address

    async def begin(self, *calls: Coroutine[Any, Any, Any]) -> None:
        """Start calls, in this order, and let them be sent."""

        async def make(index: int, call: Coroutine[Any, Any, Any]) -> None:
            try:
                self._outcomes[index] = await call
            except (OSError, SyscallHangup, SyscallSendError) as exn:
                self._outcomes[index] = exn

        for call in calls:
            self._outcomes.append(None)
            self.nursery.start_soon(make, len(self._outcomes) - 1, call)
            # trio shuffles those that start together.
            await trio.testing.wait_all_tasks_blocked()

    @property
    def answered(self) -> int:
        """How many of them have an outcome."""
        return len(self._outcomes) - self._outcomes.count(None)

    async def outcomes(self) -> list[Any]:
        """What has become of each: its result or its exception."""
        await wait_until(lambda: None not in self._outcomes)
        return self._outcomes

    async def requests(self, count: int) -> list[tuple[int, int]]:
        """As a pretender, read requests; returns operation and number of each."""
        data = b""
        while len(data) < count * REQUEST_SIZE:
            await trio.lowlevel.wait_readable(self.peer)
            part = self.peer.recv(count * REQUEST_SIZE - len(data))
            assert part
            data += part
        return [(fields[0], fields[2]) for fields in REQUEST.iter_unpack(data)]


def make_connection(tofd: AsyncFileDescriptor, fromfd: AsyncFileDescriptor, pid: int) -> SyscallConnection:
    task = Task(near.Process(pid), FDTable(pid), far.AddressSpace(pid), far.PidNamespace(pid))
    theirs = [task.make_fd_handle(near.FileDescriptor(number)) for number in range(2)]
    conn = SyscallConnection(logger, tofd, fromfd, *theirs)
    task.sysif = conn
    return conn


def read_hello(fd: int) -> None:
    parser = HelloParser()
    while parser.feed(os.read(fd, parser.missing)) is None:
        pass


async def make_afd(number: int, thread: Thread = local_thread) -> AsyncFileDescriptor:
    """An async file descriptor for one of Python's, which is used up; calls on it are made in `thread`."""
    os.set_blocking(number, False)
    fd = local_thread.task.make_fd_handle(near.FileDescriptor(number))
    if thread is not local_thread:
        fd = fd.move(thread.task)
    return await AsyncFileDescriptor.make(thread.epoller, thread.ram, fd)


async def start(thread: Thread = local_thread, pipes: bool = False) -> Target:
    """Start the program with a connection to it, with our end of it in `thread`."""
    if pipes:
        theirs_in, to = os.pipe()
        source, theirs_out = os.pipe()
    else:
        source, theirs_in = (end.detach() for end in socket.socketpair())
        to, theirs_out = source, os.dup(theirs_in)
    process = subprocess.Popen([stub_path(), "stdio"], stdin=theirs_in, stdout=theirs_out, env={})
    os.close(theirs_in)
    os.close(theirs_out)
    read_hello(source)
    fromfd = await make_afd(source, thread)
    tofd = await make_afd(to, thread) if pipes else fromfd
    return Target(make_connection(tofd, fromfd, process.pid), None, process)


async def finish(target: Target) -> None:
    await target.conn.close_interface()
    if target.is_process:
        target.process.wait(40)
    else:
        target.peer.close()


@asynccontextmanager
async def using(target: Target) -> AsyncIterator[Target]:
    """Close a target at the end, and then wait for the calls that are under way."""
    async with trio.open_nursery() as target.nursery:
        try:
            yield target
        finally:
            await finish(target)


@asynccontextmanager
async def program() -> AsyncIterator[Target]:
    """The program, and the connection to it."""
    async with using(await start()) as target:
        yield target


async def pretend() -> Target:
    """Make a stream whose other end is `peer`."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    afd = await make_afd(ours.detach())
    return Target(make_connection(afd, afd, 12345), theirs, None)


@asynccontextmanager
async def pretender() -> AsyncIterator[Target]:
    """A stream whose other end is `peer`."""
    async with using(await pretend()) as target:
        yield target


async def background(call: Callable[[], Awaitable[Any]]) -> None:
    """Start something that the end of the run abandons."""

    async def run() -> None:
        from rsyscall.background import _in_background

        _in_background.set(True)
        await call()

    trio.lowlevel.spawn_system_task(run)
    await trio.testing.wait_all_tasks_blocked()
