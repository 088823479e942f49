"""Tests of `rsyscall.sys.socket`: calls, addresses and options. Messages are in `test_socket_msg`."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsyscall.far import AddressSpaceMismatchError
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.handle.fd import InvalidHandleError, ManipulatingFDTableError, SharedHandleError
from rsyscall.handle.pointer import LinearReadError
from rsyscall.handle.task import Task
from rsyscall.near import types as near
from rsyscall.netinet.in_ import SockaddrIn, SockaddrIn6
from rsyscall.netinet.ip import IPPROTO, IPV6
from rsyscall.struct import Int32
from rsyscall.sys.socket import (
    AF,
    MSG,
    SHUT,
    SO,
    SOCK,
    SOL,
    Linger,
    Sockaddr,
    SockaddrStorage,
    Sockbuf,
    Socketpair,
    Ucred,
    _register_sockaddr,
    family_to_class,
)
from rsyscall.sys.un import SockaddrUn

from .helpers import forked
from .support import Local, forget, is_open, make_task, open_fds, retyped

LOCALHOST = "127.0.0.1"


async def socketpair(local: Local, type: SOCK = SOCK.STREAM) -> Socketpair:
    pair = await local.task.socketpair(AF.UNIX, type, 0, await local.malloc(Socketpair))
    return await pair.read()


async def listening(local: Local, flags: SOCK = SOCK.NONE) -> tuple[Any, SockaddrIn]:
    """A TCP socket that others can connect to, and its address."""
    sock = await local.task.socket(AF.INET, SOCK.STREAM | flags)
    await sock.bind(await local.ptr(SockaddrIn(0, LOCALHOST)))
    await sock.listen(5)
    return sock, await name_of(local, sock, SockaddrIn)


async def name_of(local: Local, sock: Any, typ: type[Any]) -> Any:
    result = await sock.getsockname(await local.ptr(Sockbuf(await local.malloc(typ))))
    return await (await result.read()).buf.read()


async def get_option(local: Local, sock: Any, level: int, option: int, typ: type[Any] = Int32) -> Any:
    result = await sock.getsockopt(level, option, await local.ptr(Sockbuf(await local.malloc(typ))))
    return await (await result.read()).buf.read()


async def receive(local: Local, sock: Any, flags: MSG = MSG.NONE) -> bytes:
    valid, _ = await sock.recv(await local.malloc(bytes, 100), flags)
    data: bytes = await valid.read()
    return data


# making sockets


async def test_socketpair(local: Local) -> None:
    pair = await socketpair(local)
    await pair.first.send(await local.ptr(b"there"), MSG.NONE)
    assert await receive(local, pair.second) == b"there"
    await pair.second.send(await local.ptr(b"back"), MSG.NONE)
    assert await receive(local, pair.first) == b"back"


async def test_the_result_of_socketpair_is_read_once(local: Local, task: Task) -> None:
    pair = await task.socketpair(AF.UNIX, SOCK.STREAM, 0, await local.malloc(Socketpair))
    await pair.read()
    with pytest.raises(LinearReadError):
        await pair.read()


async def test_both_sockets_are_taken_over_or_none(local: Local, task: Task) -> None:
    before = open_fds()
    result = await task.socketpair(AF.UNIX, SOCK.STREAM, 0, await local.malloc(Socketpair))
    first, second = sorted(set(open_fds()) - set(before))
    thief = task.make_fd_handle(near.FileDescriptor(second))
    with pytest.raises(SharedHandleError):
        await result.read()
    await task.run_fd_table_gc()
    assert is_open(first)
    forget(thief)
    task.manipulating_fd_table = True
    with pytest.raises(ManipulatingFDTableError):
        await result.read()
    task.manipulating_fd_table = False
    pair = await result.read()
    assert (int(pair.first), int(pair.second)) == (first, second)


async def test_socketpair_makes_handles_of_the_calling_task(local: Local, task: Task) -> None:
    """Whichever task the memory was allocated for."""
    other = make_task(task, share_fd_table=False)
    buffer = await local.malloc(Socketpair)
    pair = await (await other.socketpair(AF.UNIX, SOCK.STREAM, 0, buffer)).read()
    assert pair.first.task is other
    assert pair.second.task is other
    await pair.first.close()
    await pair.second.close()


async def test_all_sockets_are_cloexec(local: Local, task: Task) -> None:
    pair = await socketpair(local, SOCK.STREAM | SOCK.NONBLOCK)
    listener, addr = await listening(local)
    client = await task.socket(AF.INET, SOCK.STREAM)
    await client.connect(await local.ptr(addr))
    accepted = await listener.accept(SOCK.NONBLOCK)
    for fd in pair.first, pair.second, listener, client, accepted:
        assert fcntl.fcntl(int(fd), fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    for fd in pair.first, accepted:
        assert fcntl.fcntl(int(fd), fcntl.F_GETFL) & os.O_NONBLOCK


async def test_kinds() -> None:
    assert (SOCK.SEQPACKET | SOCK.NONBLOCK | SOCK.CLOEXEC).kind == SOCK.SEQPACKET
    assert SOCK.RAW.kind == SOCK.RAW


# connections


async def test_accept_tells_the_peer(local: Local, task: Task) -> None:
    listener, addr = await listening(local)
    client = await task.socket(AF.INET, SOCK.STREAM)
    await client.connect(await local.ptr(addr))
    sockbuf = await local.ptr(Sockbuf(await local.malloc(SockaddrStorage)))
    accepted, sockbuf = await listener.accept(SOCK.NONE, sockbuf)
    result = await sockbuf.read()
    assert result.buf.size() == 16
    assert result.buf_rest is not None
    assert result.buf_rest.size() == 112
    peer = (await result.buf.read()).parse()
    assert peer == await name_of(local, client, SockaddrIn)
    back = await client.getpeername(await local.ptr(Sockbuf(await local.malloc(SockaddrIn))))
    assert await (await back.read()).buf.read() == addr
    await accepted.send(await local.ptr(b"data"), MSG.NONE)
    assert await receive(local, client) == b"data"


async def test_accept_without_anybody(local: Local) -> None:
    listener, _ = await listening(local, SOCK.NONBLOCK)
    sockbuf = await local.ptr(Sockbuf(await local.malloc(SockaddrIn)))
    for _ in range(2):
        # a Sockbuf that got no answer can be used again
        with pytest.raises(BlockingIOError) as info:
            await listener.accept(SOCK.NONE, sockbuf)
    assert info.value.filename is listener


async def test_ipv6(local: Local, task: Task) -> None:
    listener = await task.socket(AF.INET6, SOCK.STREAM, IPPROTO.TCP)
    await listener.setsockopt(IPPROTO.IPV6, IPV6.V6ONLY, await local.ptr(Int32(1)))
    await listener.bind(await local.ptr(SockaddrIn6(0, "::1")))
    await listener.listen(1)
    addr = await name_of(local, listener, SockaddrIn6)
    assert addr.addr_as_string() == "::1"
    client = await task.socket(AF.INET6, SOCK.STREAM)
    await client.connect(await local.ptr(addr))
    assert (await name_of(local, client, SockaddrStorage)).parse().addr == addr.addr


async def test_shutdown(local: Local) -> None:
    pair = await socketpair(local)
    await pair.first.send(await local.ptr(b"before"), MSG.NONE)
    await pair.second.shutdown(SHUT.RD)
    assert await receive(local, pair.second) == b"before"
    assert await receive(local, pair.second) == b""
    with pytest.raises(BrokenPipeError):
        await pair.first.send(await local.ptr(b"after"), MSG.NOSIGNAL)


async def test_datagrams_from_and_to(local: Local, task: Task) -> None:
    one, two = await task.socket(AF.INET, SOCK.DGRAM), await task.socket(AF.INET, SOCK.DGRAM)
    for sock in one, two:
        await sock.bind(await local.ptr(SockaddrIn(0, LOCALHOST)))
    to = await local.ptr(await name_of(local, two, SockaddrIn))
    sent, rest = await one.sendto(await local.ptr(b"datagram"), MSG.NONE, to)
    assert (sent.size(), rest.size()) == (8, 0)
    sender = await local.ptr(Sockbuf(await local.malloc(SockaddrStorage)))
    valid, rest, sender = await two.recvfrom(await local.malloc(bytes, 20), MSG.NONE, sender)
    assert await valid.read() == b"datagram"
    assert rest.size() == 12
    assert (await (await sender.read()).buf.read()).parse() == await name_of(local, one, SockaddrIn)


async def test_peek_and_trunc(local: Local) -> None:
    pair = await socketpair(local, SOCK.DGRAM)
    await pair.first.send(await local.ptr(b"a datagram"), MSG.NONE)
    assert await receive(local, pair.second, MSG.PEEK) == b"a datagram"
    # the kernel says 10, but there were only 4 bytes of room
    valid, rest = await pair.second.recv(await local.malloc(bytes, 4), MSG.TRUNC)
    assert await valid.read() == b"a da"
    assert rest.size() == 0


async def test_partial_send(local: Local) -> None:
    pair = await socketpair(local, SOCK.STREAM | SOCK.NONBLOCK)
    size = 1 << 20
    sent, rest = await pair.first.send(await local.malloc(bytes, size), MSG.NONE)
    assert 0 < sent.size() < size
    assert sent.size() + rest.size() == size
    with pytest.raises(BlockingIOError) as info:
        await pair.first.send(rest, MSG.NONE)
    assert info.value.filename is pair.first
    assert rest.valid


# options


async def test_options(local: Local, task: Task) -> None:
    sock = await task.socket(AF.INET, SOCK.STREAM)
    assert await get_option(local, sock, SOL.SOCKET, SO.TYPE) == SOCK.STREAM
    assert await get_option(local, sock, SOL.SOCKET, SO.REUSEADDR) == 0
    await sock.setsockopt(SOL.SOCKET, SO.REUSEADDR, await local.ptr(Int32(1)))
    assert await get_option(local, sock, SOL.SOCKET, SO.REUSEADDR) == 1
    await sock.setsockopt(SOL.SOCKET, SO.LINGER, await local.ptr(Linger(True, 7)))
    assert await get_option(local, sock, SOL.SOCKET, SO.LINGER, Linger) == Linger(True, 7)


async def test_an_option_larger_than_the_buffer(local: Local) -> None:
    pair = await socketpair(local)
    whole = await get_option(local, pair.first, SOL.SOCKET, SO.PEERCRED, Ucred)
    assert whole == Ucred(os.getpid(), os.getuid(), os.getgid())
    small, _ = (await local.malloc(Ucred)).split(4)
    result = await pair.first.getsockopt(SOL.SOCKET, SO.PEERCRED, await local.ptr(Sockbuf(small)))
    assert (await result.read()).buf.size() == 4


# Sockbuf


async def test_a_length_has_four_bytes(local: Local) -> None:
    buf = await local.malloc(bytes, 300)
    sockbuf = await local.ptr(Sockbuf(buf))
    assert sockbuf.size() == 4
    assert sockbuf.serializer.to_bytes(Sockbuf(buf)) == struct.pack("=I", 300)


async def test_a_length_among_other_bytes(local: Local) -> None:
    """The kernel writes 4 bytes; what comes behind them is not part of the length."""
    pair = await socketpair(local)
    buf = await local.malloc(SockaddrStorage)
    ptr = await local.ptr(b"\xff" * 8)
    sockbuf = retyped(ptr, Sockbuf(buf).get_self_serializer(local.task), Sockbuf)
    written = await sockbuf.write(Sockbuf(buf))
    result = await (await pair.first.getsockname(written)).read()
    assert await result.buf.read() == SockaddrStorage(AF.UNIX, b"")


async def test_a_buffer_that_was_too_small(local: Local) -> None:
    listener, _addr = await listening(local)
    small, _ = (await local.malloc(SockaddrIn)).split(8)
    result = await listener.getsockname(await local.ptr(Sockbuf(small)))
    with pytest.raises(ValueError):
        await result.read()
    assert small.valid


async def test_a_sockbuf_takes_one_answer(local: Local) -> None:
    """Afterwards the length in memory is the kernel's, which may be more than there is room for."""
    listener, _addr = await listening(local)
    small, guard = (await local.malloc(SockaddrIn)).split(8)
    guard = await retyped(guard, local.serializer_of(bytes), bytes).write(b"untouchd")
    sockbuf = await local.ptr(Sockbuf(small))
    await listener.getsockname(sockbuf)
    with pytest.raises(ValueError):
        await listener.getsockname(sockbuf)
    assert await guard.read() == b"untouchd"
    again = await sockbuf.write(Sockbuf(small))
    with pytest.raises(OSError):
        await listener.getpeername(again)
    await listener.getsockname(again)
    assert await guard.read() == b"untouchd"


@pytest.mark.needs("other users")
@forked
async def test_a_length_that_came_with_an_error_is_an_answer(local: Local, tmp_path: Path) -> None:
    """With ERANGE the kernel says how much there was, which is more than there is room for."""
    os.setgroups(range(1000, 1020))
    pair = await socketpair(local)
    both = await (await local.malloc(bytes, 96)).write(b"u" * 96)
    small, guard = both.split(16)
    sockbuf = await local.ptr(Sockbuf(small))
    for _again in range(2):
        with pytest.raises((OSError, ValueError)) as caught:
            await pair.first.getsockopt(SOL.SOCKET, SO.PEERGROUPS, sockbuf)
        assert getattr(caught.value, "errno", errno.ERANGE) == errno.ERANGE
    assert await guard.read() == b"u" * 80
    with pytest.raises(ValueError) as caught_size:
        await sockbuf.read()
    assert caught_size.value.args[1:] == (16, 80)
    result = await pair.first.getsockopt(SOL.SOCKET, SO.PEERGROUPS, await local.ptr(Sockbuf(small + guard)))
    assert len(await (await result.read()).buf.read()) == 80


async def test_reading_a_sockbuf_twice(local: Local) -> None:
    pair = await socketpair(local)
    result = await pair.first.getsockname(await local.ptr(Sockbuf(await local.malloc(SockaddrUn))))
    await result.read()
    with pytest.raises(UseAfterFreeError):
        await result.read()


# addresses of any family


@given(st.sampled_from(list(AF)), st.binary(max_size=126))
def test_storage_keeps_the_length(family: AF, data: bytes) -> None:
    addr = SockaddrStorage(family, data)
    assert len(addr.to_bytes()) == 2 + len(data)
    assert SockaddrStorage.from_bytes(addr.to_bytes()) == addr


@given(st.sampled_from(list(AF)), st.binary(max_size=14))
def test_sockaddr_is_padded(family: AF, data: bytes) -> None:
    addr = Sockaddr(family, data)
    assert len(addr.to_bytes()) == Sockaddr.sizeof() == 16
    assert Sockaddr.from_bytes(addr.to_bytes()) == addr
    assert hash(Sockaddr.from_bytes(addr.to_bytes())) == hash(addr)


def test_families_without_a_class_stay_as_they_are() -> None:
    for addr in (
        Sockaddr(AF.CAN, b"x"),
        SockaddrStorage(AF.BLUETOOTH, b"y"),
        SockaddrStorage.from_bytes(b"\xff\x7fz"),
    ):
        assert addr.parse() is addr
    assert SockaddrStorage.from_bytes(b"\xff\x7fz").family == 0x7FFF


@pytest.mark.parametrize("family", list(AF))
def test_every_family_can_be_parsed_somehow(family: AF) -> None:
    addr = SockaddrStorage(family, bytes(126)).parse()
    assert addr.family == family


@pytest.mark.parametrize("data", [b"", b"\x01"])
def test_no_address_at_all(data: bytes) -> None:
    assert SockaddrStorage.from_bytes(data) == SockaddrStorage(AF.UNSPEC, b"")
    assert Sockaddr.from_bytes(data).family is AF.UNSPEC


def test_an_address_that_was_cut_off() -> None:
    with pytest.raises((ValueError, struct.error)):
        SockaddrStorage(AF.INET, b"\0\0\0").parse()


def test_too_long() -> None:
    with pytest.raises(ValueError):
        Sockaddr(AF.INET6, bytes(15))
    with pytest.raises(ValueError):
        SockaddrStorage(AF.INET6, bytes(127))
    assert len(SockaddrStorage.from_bytes(bytes(200)).data) == 126


def test_a_family_has_one_class() -> None:
    class Another(Sockaddr):
        family = AF.UNIX

    with pytest.raises(ValueError):
        _register_sockaddr(Another)
    assert family_to_class[AF.UNIX] is SockaddrUn


def test_parse_does_not_depend_on_what_is_imported() -> None:
    import subprocess
    import sys

    code = (
        "from rsyscall.sys.socket import *\n"
        "print(SockaddrStorage(AF.INET, bytes(14)).parse(), SockaddrStorage(AF.UNIX, b'/x').parse())"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output == "SockaddrIn(0.0.0.0:0) SockaddrUn(path=b'/x')\n"


def test_constants_agree_with_those_of_python() -> None:
    for enum, prefix in ((AF, "AF_"), (SOCK, "SOCK_"), (SO, "SO_"), (MSG, "MSG_"), (SOL, "SOL_")):
        for name, member in enum.__members__.items():
            assert getattr(socket, prefix + name, member) == member, name


# errors and misuse


async def test_errors_say_what_they_are_about(local: Local, task: Task) -> None:
    with pytest.raises(OSError) as info:
        await task.socket(AF.UNIX, SOCK.DCCP)
    assert info.value.filename == (AF.UNIX, SOCK.DCCP, 0)
    with pytest.raises(OSError) as info:
        await task.socketpair(AF.INET, SOCK.STREAM, 0, await local.malloc(Socketpair))
    assert info.value.filename == (AF.INET, SOCK.STREAM, 0)
    sock = await task.socket(AF.INET, SOCK.STREAM)
    elsewhere = SockaddrIn(1, "192.0.2.1")
    with pytest.raises(OSError) as info:
        await sock.bind(await local.ptr(elsewhere))
    assert info.value.errno == errno.EADDRNOTAVAIL
    assert info.value.filename is elsewhere
    nobody = SockaddrIn(1, LOCALHOST)
    with pytest.raises(ConnectionRefusedError) as info:
        await sock.connect(await local.ptr(nobody))
    assert (info.value.filename, info.value.filename2) == (sock, nobody)
    with pytest.raises(OSError) as info:
        await sock.setsockopt(SOL.SOCKET, 9999, await local.ptr(Int32(0)))
    assert info.value.filename == (sock, SOL.SOCKET, 9999)
    with pytest.raises(OSError) as info:
        await get_option(local, sock, SOL.SOCKET, 9999)
    assert info.value.filename == (sock, SOL.SOCKET, 9999)
    with pytest.raises(OSError) as info:
        await sock.getpeername(await local.ptr(Sockbuf(await local.malloc(SockaddrIn))))
    assert info.value.filename is sock
    with pytest.raises(OSError) as info:
        await sock.shutdown(SHUT.RD)
    assert info.value.filename is sock


async def test_not_a_socket(local: Local, task: Task) -> None:
    fd = await task.eventfd(0)
    with pytest.raises(OSError) as info:
        await fd.recv(await local.malloc(bytes, 1), MSG.NONE)
    assert info.value.errno == errno.ENOTSOCK
    assert info.value.filename is fd
    with pytest.raises(OSError) as info:
        await fd.listen(1)
    assert info.value.errno == errno.ENOTSOCK
    with pytest.raises(OSError) as info:
        await fd.getsockname(await local.ptr(Sockbuf(await local.malloc(SockaddrIn))))
    assert info.value.filename is fd


async def test_foreign_memory_is_refused(local: Local, task: Task) -> None:
    pair = await socketpair(local)
    sock = pair.first
    elsewhere = Local.make()
    addr = await elsewhere.ptr(SockaddrIn(0, 0))
    sockbuf = await elsewhere.ptr(Sockbuf(await elsewhere.malloc(SockaddrIn)))
    mixed = await local.ptr(Sockbuf(await elsewhere.malloc(SockaddrIn)))
    data = await elsewhere.ptr(b"data")
    for call in (
        lambda: sock.bind(addr),
        lambda: sock.connect(addr),
        lambda: sock.accept(SOCK.NONE, sockbuf),
        lambda: sock.accept(SOCK.NONE, mixed),
        lambda: sock.getsockname(sockbuf),
        lambda: sock.getsockname(mixed),
        lambda: sock.getpeername(mixed),
        lambda: sock.getsockopt(SOL.SOCKET, SO.TYPE, sockbuf),
        lambda: sock.getsockopt(SOL.SOCKET, SO.TYPE, mixed),
        lambda: sock.setsockopt(SOL.SOCKET, SO.DEBUG, data),
        lambda: sock.send(data, MSG.NONE),
        lambda: sock.recv(data, MSG.NONE),
        lambda: sock.sendto(data, MSG.NONE, addr),
        lambda: sock.recvfrom(data, MSG.NONE, mixed),
    ):
        with pytest.raises(AddressSpaceMismatchError):
            await call()
    with pytest.raises(AddressSpaceMismatchError):
        await task.socketpair(AF.UNIX, SOCK.STREAM, 0, await elsewhere.malloc(Socketpair))


async def test_consumed_and_short_memory_is_refused(local: Local, task: Task) -> None:
    pair = await socketpair(local)
    data = await local.malloc(bytes, 10)
    data.split(5)
    with pytest.raises(UseAfterFreeError):
        await pair.first.send(data, MSG.NONE)
    buf = await local.malloc(SockaddrIn)
    sockbuf = await local.ptr(Sockbuf(buf))
    buf.free()
    with pytest.raises(UseAfterFreeError):
        await pair.first.getsockname(sockbuf)
    short, _ = (await local.malloc(Socketpair)).split(7)
    with pytest.raises(BufferTooSmallError):
        await task.socketpair(AF.UNIX, SOCK.STREAM, 0, short)
    length, _ = (await local.ptr(Sockbuf(await local.malloc(SockaddrIn)))).split(3)
    value = Sockbuf(await local.malloc(SockaddrIn))
    with pytest.raises(BufferTooSmallError):
        await pair.first.getsockname(length.wrote(value))
    address = SockaddrIn(0, 0)
    short_address, _ = (await local.malloc(SockaddrIn)).split(15)
    with pytest.raises(ValueError):
        await pair.first.bind(short_address.wrote(address))


async def test_a_closed_socket_is_refused(local: Local, task: Task) -> None:
    """Even though the number may be open again as something else."""
    pair = await socketpair(local)
    sock = pair.first
    await sock.close()
    again = [await task.eventfd(0) for _ in range(2)]
    assert any(int(fd) == int(sock) for fd in again)
    assert is_open(int(sock))
    addr = await local.ptr(SockaddrIn(0, 0))
    sockbuf = await local.ptr(Sockbuf(await local.malloc(SockaddrIn)))
    data = await local.ptr(b"data")
    for call in (
        lambda: sock.bind(addr),
        lambda: sock.connect(addr),
        lambda: sock.listen(1),
        lambda: sock.accept(),
        lambda: sock.accept(SOCK.NONE, sockbuf),
        lambda: sock.shutdown(SHUT.RD),
        lambda: sock.getsockname(sockbuf),
        lambda: sock.getpeername(sockbuf),
        lambda: sock.getsockopt(SOL.SOCKET, SO.TYPE, sockbuf),
        lambda: sock.setsockopt(SOL.SOCKET, SO.DEBUG, data),
        lambda: sock.send(data, MSG.NONE),
        lambda: sock.recv(data, MSG.NONE),
        lambda: sock.sendto(data, MSG.NONE, addr),
        lambda: sock.recvfrom(data, MSG.NONE, sockbuf),
    ):
        with pytest.raises(InvalidHandleError):
            await call()
