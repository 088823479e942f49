"""The relay of another architecture, which is copied into the memory of the process there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from rsyscall.loader import NativeLoader
from rsyscall.multiplexed import Multiplexer, SharedStream
from rsyscall.network.connection import FDPassConnection
from rsyscall.tasks.stdio import _start_relay
from rsyscall.turns import Turns

from .guest import GuestThread, connect
from .machine import Machine, running

if TYPE_CHECKING:
    from rsyscall.handle import FileDescriptor

pytestmark = pytest.mark.slow


def test_channels(machine: Machine) -> None:
    with running(machine) as stream:
        guest = trio.run(connect, stream)
        trio.run(_talk, guest)
        trio.run(guest.task.sysif.close_interface)


async def _talk(guest: GuestThread) -> None:
    """In a guest of its own: the stream is changed over for good."""
    shared = guest.task.sysif
    assert isinstance(shared, SharedStream)
    private: set[FileDescriptor] = set()
    multiplexer = Multiplexer(
        shared,
        guest.task,
        guest.ram,
        NativeLoader.make_from_addresses(guest.task, guest.hello.symbols),
        guest.epoller.epoll_waiter,
        guest.hello.machine,
        private,
        Turns(),
        _start_relay,
    )
    connection = await FDPassConnection.make(guest.task, guest.ram, guest.epoller)
    channels = await multiplexer.open_async_channels(connection, 3)
    assert multiplexer.running
    data = bytes(range(256)) * 1000
    for ours, theirs in reversed(channels):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ours.write_all_bytes, data)
            got = b""
            while len(got) < len(data):
                got += await guest.read(theirs, 65536)
        assert got == data
        await theirs.write(await guest.ram.ptr(b"answer"))
        assert await ours.read_some_bytes() == b"answer"
        await theirs.close()
        assert await ours.read_some_bytes() == b""
        await ours.close()
    assert await guest.task.getpid() == guest.task.process.near
