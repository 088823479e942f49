"""Tests of `rsyscall.sys.un`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsyscall.handle.fd import InvalidHandleError
from rsyscall.handle.task import Task
from rsyscall.struct import Int32
from rsyscall.sys.socket import AF, SO, SOCK, SOL, Sockaddr, SockaddrStorage, Sockbuf
from rsyscall.sys.un import PathTooLongError, SockaddrUn, SockaddrUnProcFd

from .support import Local

paths = st.binary(min_size=1, max_size=108).filter(lambda path: b"\0" not in path)
abstract_names = st.binary(max_size=107).map(lambda name: b"\0" + name)


async def stream(task: Task) -> Any:
    return await task.socket(AF.UNIX, SOCK.STREAM)


async def name_of(local: Local, sock: Any, typ: type[Any] = SockaddrUn) -> Any:
    result = await sock.getsockname(await local.ptr(Sockbuf(await local.malloc(typ))))
    return await (await result.read()).buf.read()


async def test_path(local: Local, task: Task, tmp_path: Path) -> None:
    addr = SockaddrUn(os.fsencode(tmp_path / "sock"))
    listener, client = await stream(task), await stream(task)
    await listener.bind(await local.ptr(addr))
    await listener.listen(1)
    await client.connect(await local.ptr(addr))
    assert await name_of(local, listener) == addr
    assert (tmp_path / "sock").is_socket()
    assert await name_of(local, client) == SockaddrUn(b"")


async def test_a_path_of_the_full_length(local: Local, task: Task, tmp_path: Path) -> None:
    directory = os.fsencode(tmp_path)
    path = directory + b"/" + b"x" * (108 - len(directory) - 1)
    assert len(path) == 108
    sock = await stream(task)
    await sock.bind(await local.ptr(SockaddrUn(path)))
    assert os.path.exists(path)
    # the kernel counts a NUL that does not fit; nothing is missing all the same
    assert await name_of(local, sock) == SockaddrUn(path)
    storage = await name_of(local, sock, SockaddrStorage)
    assert len(storage.data) == 109
    assert storage.parse() == SockaddrUn(path)


@pytest.mark.parametrize(
    "name", [b"\0rsyscall-test", b"\0rsyscall\0test", b"\0rsyscall-test\0", b"\0" + b"y" * 107]
)
async def test_abstract_names_are_exact(local: Local, task: Task, name: bytes) -> None:
    """A NUL behind an abstract name is a part of the name, so nothing may be appended."""
    addr = SockaddrUn(name)
    assert len(addr.to_bytes()) == 2 + len(name)
    listener, client = await stream(task), await stream(task)
    await listener.bind(await local.ptr(addr))
    await listener.listen(1)
    assert await name_of(local, listener) == addr
    with open("/proc/net/unix", "rb") as sockets:
        assert any(line.endswith(b" @" + name[1:].replace(b"\0", b"@") + b"\n") for line in sockets)
    await client.connect(await local.ptr(addr))
    peer = await client.getpeername(await local.ptr(Sockbuf(await local.malloc(SockaddrUn))))
    assert await (await peer.read()).buf.read() == addr


async def test_abstract_name_in_a_larger_buffer(local: Local, task: Task) -> None:
    """The length of the address counts, not that of the memory that it is in."""
    name = b"\0rsyscall-test-in-a-large-buffer"
    ptr = await (await local.malloc(SockaddrUn)).write(SockaddrUn(name))
    assert ptr.size() == 110
    sock = await stream(task)
    await sock.bind(ptr)
    assert await name_of(local, sock) == SockaddrUn(name)


async def test_autobind(local: Local, task: Task) -> None:
    sock = await stream(task)
    assert await name_of(local, sock) == SockaddrUn(b"")
    await sock.bind(await local.ptr(SockaddrUn(b"")))
    chosen = await name_of(local, sock)
    assert chosen.is_abstract()
    assert len(chosen.path) == 6


async def test_unnamed_peer(local: Local, task: Task, tmp_path: Path) -> None:
    listener, client = await stream(task), await stream(task)
    addr = await local.ptr(SockaddrUn(os.fsencode(tmp_path / "sock")))
    await listener.bind(addr)
    await listener.listen(1)
    await client.connect(addr)
    sockbuf = await local.ptr(Sockbuf(await local.malloc(SockaddrStorage)))
    accepted, sockbuf = await listener.accept(SOCK.NONE, sockbuf)
    peer = await sockbuf.read()
    assert peer.buf.size() == 2
    assert (await peer.buf.read()).parse() == SockaddrUn(b"")
    await accepted.close()


@given(paths | abstract_names | st.just(b""))
def test_round_trip(path: bytes) -> None:
    addr = SockaddrUn(path)
    data = addr.to_bytes()
    assert len(data) <= SockaddrUn.sizeof() == 110
    assert SockaddrUn.from_bytes(data) == addr
    assert SockaddrStorage.from_bytes(data).to_bytes() == data
    assert SockaddrStorage.from_bytes(data).parse() == addr
    assert addr.parse() is addr


def test_what_the_kernel_leaves_behind_a_path_is_ignored() -> None:
    assert SockaddrUn.from_bytes(b"\x01\x00/run/x\x00garbage") == SockaddrUn(b"/run/x")


def test_refuses_what_is_no_address() -> None:
    with pytest.raises(PathTooLongError):
        SockaddrUn(b"x" * 109)
    with pytest.raises(ValueError):
        SockaddrUn(b"/run/a\0b")
    with pytest.raises(ValueError):
        SockaddrUn.from_bytes(b"\x02\x00" + bytes(14))


# from_path


class FakeThread:
    """The two things that `from_path` asks of a thread."""

    def __init__(self, local: Local) -> None:
        self.task = local.task
        self.ptr = local.ptr


@pytest.mark.parametrize("as_path", [False, True])
async def test_short_paths_are_taken_as_they_are(local: Local, tmp_path: Path, as_path: bool) -> None:
    path = tmp_path / "sock"
    addr = await SockaddrUn.from_path(FakeThread(local), path if as_path else os.fspath(path))
    assert addr == SockaddrUn(os.fsencode(path))
    await addr.close()


async def test_long_paths_go_through_the_directory(local: Local, task: Task, tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 200)
    directory.mkdir()
    path = directory / "sock"
    listener, client = await stream(task), await stream(task)
    addr = await SockaddrUn.from_path(FakeThread(local), path)
    assert isinstance(addr, SockaddrUnProcFd)
    await listener.bind(await local.ptr(addr))
    await listener.listen(1)
    assert os.listdir(directory) == ["sock"]
    await addr.close()
    with pytest.raises(InvalidHandleError):
        await addr.close()
    addr = await SockaddrUn.from_path(FakeThread(local), path)
    await client.connect(await local.ptr(addr))
    assert await name_of(local, client) == SockaddrUn(b"")
    await addr.close()
    assert (await listener.accept()).valid


async def test_a_last_component_that_is_too_long_opens_nothing(
    local: Local, task: Task, tmp_path: Path
) -> None:
    before = set(os.listdir("/proc/self/fd"))
    for length in 90, 91, 92, 93, 200:
        name = "n" * length
        path = tmp_path / ("d" * 100) / name
        path.parent.mkdir(exist_ok=True)
        try:
            addr = await SockaddrUn.from_path(FakeThread(local), path)
        except PathTooLongError:
            assert length > 89
        else:
            assert len(addr.path) <= 108
            await addr.close()
    assert set(os.listdir("/proc/self/fd")) == before


async def test_the_directory_has_to_be_there(local: Local, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await SockaddrUn.from_path(FakeThread(local), tmp_path / ("d" * 200) / "sock")


# errors


async def test_errors_say_what_they_are_about(local: Local, task: Task, tmp_path: Path) -> None:
    missing = SockaddrUn(os.fsencode(tmp_path / "missing" / "sock"))
    sock = await stream(task)
    with pytest.raises(FileNotFoundError) as bind:
        await sock.bind(await local.ptr(missing))
    assert bind.value.filename is missing
    with pytest.raises(FileNotFoundError) as connect:
        await sock.connect(await local.ptr(missing))
    assert connect.value.filename is sock
    assert connect.value.filename2 is missing
    assert "missing" in str(connect.value)


async def test_options_of_the_socket(local: Local, task: Task) -> None:
    sock = await stream(task)
    value = await local.ptr(Sockbuf(await local.malloc(Int32)))
    assert await (await (await sock.getsockopt(SOL.SOCKET, SO.DOMAIN, value)).read()).buf.read() == AF.UNIX


def test_is_the_class_of_its_family() -> None:
    assert isinstance(Sockaddr(AF.UNIX, b"/run/x\0").parse(), SockaddrUn)
