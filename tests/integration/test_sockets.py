"""Sockets of a child: made, connected, waited for, and passed on."""

from __future__ import annotations

import errno
import gc
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path as LocalPath

import pytest
import trio
import trio.testing
from waiting import wait_for_call, wait_until

from rsyscall.fcntl import O
from rsyscall.handle import FileDescriptor, WrittenPointer
from rsyscall.memory.ram import RAM
from rsyscall.near import SYS, SyscallHangup
from rsyscall.netinet.in_ import SockaddrIn, SockaddrIn6
from rsyscall.path import Path
from rsyscall.sched import CLONE
from rsyscall.signal import SIG
from rsyscall.sys.socket import (
    AF,
    CMSG_SPACE,
    MSG,
    SHUT,
    SOCK,
    CmsgList,
    CmsgSCMRights,
    MsghdrFlags,
    RecvMmsghdrList,
    RecvMsghdr,
    SendmsgFlags,
    SendMsghdr,
    Sockaddr,
    SockaddrStorage,
    Sockbuf,
)
from rsyscall.sys.uio import IovecList
from rsyscall.sys.un import SockaddrUn
from rsyscall.tasks.local import local_thread
from rsyscall.thread import ChildThread, Thread

from .support import cloned, read_exactly, write_all


async def name_of(thread: ChildThread, sock: FileDescriptor) -> Sockaddr:
    buf = await sock.getsockname(await thread.ptr(Sockbuf(await thread.malloc(SockaddrStorage))))
    return (await (await buf.read()).buf.read()).parse()


async def bound_to_loopback(
    thread: ChildThread, type: SOCK
) -> tuple[FileDescriptor, WrittenPointer[SockaddrIn]]:
    sock = await thread.socket(AF.INET, type)
    return sock, await thread.ptr(await thread.bind_getsockname(sock, SockaddrIn(0, "127.0.0.1")))


async def test_streams(child: ChildThread) -> None:
    listener, address = await bound_to_loopback(child, SOCK.STREAM)
    await listener.listen(10)
    client = await child.socket(AF.INET, SOCK.STREAM)
    await client.connect(address)
    buf = await child.ptr(Sockbuf(await child.malloc(SockaddrStorage)))
    server, answer = await listener.accept(SOCK.NONE, buf)
    peer = await (await answer.read()).buf.read()
    assert peer.parse() == await name_of(child, client)
    await write_all(child, client, b"hello")
    assert await read_exactly(child, server, 5) == b"hello"


async def test_datagrams(child: ChildThread) -> None:
    receiver, address = await bound_to_loopback(child, SOCK.DGRAM)
    sender = await child.socket(AF.INET, SOCK.DGRAM)
    await sender.connect(address)
    await write_all(child, sender, b"hello")
    valid, _ = await receiver.read(await child.malloc(bytes, 100))
    assert await valid.read() == b"hello"


async def test_writing_to_a_stream_that_is_not_connected(child: ChildThread) -> None:
    """No signal kills the process."""
    sock = await child.socket(AF.INET, SOCK.STREAM)
    with pytest.raises(BrokenPipeError):
        await sock.write(await child.ptr(b"hello"))
    assert await child.task.getuid() == os.getuid()


async def test_unix_sockets(child: ChildThread, tmp_path: LocalPath) -> None:
    address = await child.ptr(await SockaddrUn.from_path(child, Path(tmp_path / "sock")))
    listener = await child.socket(AF.UNIX, SOCK.STREAM)
    await listener.bind(address)
    await listener.listen(10)
    client = await child.socket(AF.UNIX, SOCK.STREAM)
    await client.connect(address)
    server, _ = await listener.accept(
        SOCK.NONE, await child.ptr(Sockbuf(await child.malloc(SockaddrStorage)))
    )
    await write_all(child, client, b"hello")
    assert await read_exactly(child, server, 5) == b"hello"
    assert await name_of(child, server) == address.value


async def test_listening_in_the_event_loop(child: ChildThread, tmp_path: LocalPath) -> None:
    address = await child.ptr(await SockaddrUn.from_path(child, Path(tmp_path / "sock")))
    listener = await child.make_afd(await child.socket(AF.UNIX, SOCK.STREAM | SOCK.NONBLOCK))
    await listener.bind(address)
    await listener.handle.listen(10)
    client = await child.make_afd(await child.socket(AF.UNIX, SOCK.STREAM | SOCK.NONBLOCK))
    await client.connect(address)
    plain, _ = await listener.accept_addr()
    await write_all(child, plain, b"plain")
    assert await client.read_some_bytes() == b"plain"
    await plain.close()
    other = await child.make_afd(await child.socket(AF.UNIX, SOCK.STREAM | SOCK.NONBLOCK))
    await other.connect(address)
    server = await child.make_afd(await listener.accept(SOCK.NONBLOCK))
    received = []
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            received.append(await server.read_some_bytes())

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        await other.write_all_bytes(b"hello")
    assert received == [b"hello"]
    for afd in (server, other, client, listener):
        await afd.close()


async def test_nobody_listens(child: ChildThread) -> None:
    sock, address = await bound_to_loopback(child, SOCK.STREAM)
    client = await child.make_afd(await child.socket(AF.INET, SOCK.STREAM | SOCK.NONBLOCK))
    with pytest.raises(ConnectionRefusedError):
        await client.connect(address)
    await client.close()
    await sock.close()


async def test_passing_a_descriptor(child: ChildThread) -> None:
    pair = await child.socketpair(AF.UNIX, SOCK.STREAM)
    passed = await child.task.open(await child.ptr(Path("/dev/zero")), O.RDONLY)

    async def message(ram: RAM) -> WrittenPointer[SendMsghdr]:
        iov = await ram.ptr(IovecList([await ram.ptr(b"x")]))
        return await ram.ptr(SendMsghdr(None, iov, await ram.ptr(CmsgList([CmsgSCMRights([passed])]))))

    await pair.first.sendmsg(await child.ram.perform_batch(message))

    async def room(ram: RAM) -> WrittenPointer[RecvMsghdr]:
        iov = await ram.ptr(IovecList([await ram.malloc(bytes, 1)]))
        return await ram.ptr(RecvMsghdr(None, iov, await ram.malloc(CmsgList, CMSG_SPACE(4))))

    _, _, header = await pair.second.recvmsg(await child.ram.perform_batch(room))
    out = await header.read()
    assert out.name is None
    assert out.flags == MsghdrFlags.CMSG_CLOEXEC
    assert out.control is not None
    [rights] = await out.control.read()
    assert isinstance(rights, CmsgSCMRights)
    [received] = rights
    assert await read_exactly(child, received, 4) == bytes(4)


async def send_one(thread: Thread, sock: FileDescriptor, passed: FileDescriptor) -> None:
    """Send a message with this descriptor."""
    iov = await thread.ptr(IovecList([await thread.ptr(b"x")]))
    control = await thread.ptr(CmsgList([CmsgSCMRights([passed])]))
    await sock.sendmsg(await thread.ptr(SendMsghdr(None, iov, control)), SendmsgFlags.NONE)


async def places(thread: Thread, count: int) -> WrittenPointer[RecvMmsghdrList]:
    """Room for messages with a descriptor each."""
    hdrs = RecvMmsghdrList()
    for _ in range(count):
        iov = await thread.ptr(IovecList([await thread.malloc(bytes, 1)]))
        hdrs.append(RecvMsghdr(None, iov, await thread.malloc(CmsgList, CMSG_SPACE(4))))
    return await thread.ptr(hdrs)


def copies(fd: FileDescriptor) -> int:
    """How many of our descriptors are for the file of this one."""
    links = [one.readlink() for one in LocalPath("/proc/self/fd").iterdir() if one.is_symlink()]
    return links.count(LocalPath(f"/proc/self/fd/{fd.near.number}").readlink())


Then = Callable[[ChildThread, trio.CancelScope, FileDescriptor], Awaitable[None]]


async def receive_and(child: ChildThread, then: Then) -> BaseException | None:
    """Do something while a process that shares our table waits for the second of two messages in one call.

    Args:
        then: gets a scope around the call, and the socket that has sent itself, and can do it once more.

    Returns:
        How the call failed. What it has received is unread.
    """
    pair = await local_thread.socketpair(AF.UNIX, SOCK.DGRAM)
    failure: BaseException | None = None
    scope = trio.CancelScope()

    async def receive() -> None:
        nonlocal failure
        try:
            with scope:
                await child.task.inherit_fd(pair.second).recvmmsg(await places(child, 2))
                await trio.lowlevel.checkpoint()
        except SyscallHangup as error:
            failure = error.with_traceback(None)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_for_call(child.process.process.near.id, SYS.recvmmsg)
        await send_one(local_thread, pair.first, pair.first)
        await wait_until(lambda: copies(pair.first) == 2)
        await then(child, scope, pair.first)
    gc.collect()
    await local_thread.task.run_fd_table_gc()
    await wait_until(lambda: copies(pair.first) == 1)
    await pair.first.close()
    return failure


@pytest.fixture
async def sharing(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ChildThread]:
    """A child that shares our table, over a ring: over a stream only who reads the memory learns of fds."""
    monkeypatch.setenv("RSYSCALL_TRANSPORT", "ring")
    async with cloned(local_thread, CLONE.FILES) as child:
        yield child
    vars(child).clear()


async def test_a_cancelled_receive_closes_what_came(sharing: ChildThread) -> None:
    """It waits until the kernel has answered."""

    async def cancel(child: ChildThread, scope: trio.CancelScope, sender: FileDescriptor) -> None:
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert not scope.cancelled_caught
        await send_one(local_thread, sender, sender)

    assert await receive_and(sharing, cancel) is None


async def test_a_process_that_dies_between_two_messages_loses_no_descriptor(sharing: ChildThread) -> None:
    async def kill(child: ChildThread, scope: trio.CancelScope, sender: FileDescriptor) -> None:
        await child.process.kill(SIG.KILL)

    assert isinstance(await receive_and(sharing, kill), SyscallHangup)


async def test_what_came_before_the_end_can_be_read(child: ChildThread) -> None:
    pair = await child.socketpair(AF.UNIX, SOCK.STREAM)
    await write_all(child, pair.first, b"hello")
    await pair.second.shutdown(SHUT.RD)
    assert await read_exactly(child, pair.second, 5) == b"hello"
    assert await read_exactly(child, pair.second, 1) == b""
    with pytest.raises(BrokenPipeError):
        await pair.first.send(await child.ptr(b"x"), MSG.NOSIGNAL)


async def test_a_path_that_is_too_long_for_an_address(child: ChildThread, tmp_path: LocalPath) -> None:
    directory = tmp_path / ("long" * 50)
    directory.mkdir()
    address = await SockaddrUn.from_path(child, Path(directory / "sock"))
    written = await child.ptr(address)
    listener = await child.socket(AF.UNIX, SOCK.STREAM)
    await listener.bind(written)
    await listener.listen(1)
    client = await child.socket(AF.UNIX, SOCK.STREAM)
    await client.connect(written)
    assert os.listdir(directory) == ["sock"]
    await address.close()


async def test_ipv6(child: ChildThread) -> None:
    try:
        listener = await child.socket(AF.INET6, SOCK.STREAM)
        name = await child.bind_getsockname(listener, SockaddrIn6(0, "::1"))
    except OSError as error:
        if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            pytest.skip("kernel: no IPv6")
        raise
    await listener.listen(1)
    client = await child.socket(AF.INET6, SOCK.STREAM)
    await client.connect(await child.ptr(name))
    server = await listener.accept()
    await write_all(child, server, b"x")
    assert await read_exactly(child, client, 1) == b"x"
