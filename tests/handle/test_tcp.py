"""Tests of `rsyscall.netinet.tcp`, with sockets of the machine itself."""

from __future__ import annotations

from typing import Any

import pytest

from rsyscall.netinet.in_ import SockaddrIn
from rsyscall.netinet.tcp import TCP, TCP_CA, TCP_STATE, TcpInfo
from rsyscall.struct import Int32
from rsyscall.sys.socket import AF, SO, SOCK, SOL, SockaddrStorage, Sockbuf

from .support import Local


async def get_option(local: Local, sock: Any, option: int, typ: type[Any]) -> Any:
    result = await sock.getsockopt(SOL.TCP, option, await local.ptr(Sockbuf(await local.malloc(typ))))
    return await (await result.read()).buf.read()


@pytest.mark.parametrize(
    ("option", "value"),
    [(TCP.NODELAY, 1), (TCP.KEEPIDLE, 77), (TCP.KEEPINTVL, 13), (TCP.KEEPCNT, 4), (TCP.USER_TIMEOUT, 9000)],
)
async def test_options(local: Local, option: TCP, value: int) -> None:
    sock = await local.task.socket(AF.INET, SOCK.STREAM)
    await sock.setsockopt(SOL.SOCKET, SO.KEEPALIVE, await local.ptr(Int32(1)))
    assert await get_option(local, sock, option, Int32) != value
    await sock.setsockopt(SOL.TCP, option, await local.ptr(Int32(value)))
    assert await get_option(local, sock, option, Int32) == value
    await sock.close()


async def test_info(local: Local) -> None:
    listener = await local.task.socket(AF.INET, SOCK.STREAM)
    assert (await get_option(local, listener, TCP.INFO, TcpInfo)).state is TCP_STATE.CLOSE
    await listener.bind(await local.ptr(SockaddrIn(0, "127.0.0.1")))
    await listener.listen(1)
    assert (await get_option(local, listener, TCP.INFO, TcpInfo)).state is TCP_STATE.LISTEN
    name = await listener.getsockname(await local.ptr(Sockbuf(await local.malloc(SockaddrStorage))))
    address = await (await name.read()).buf.read()
    client = await local.task.socket(AF.INET, SOCK.STREAM)
    await client.connect(await local.ptr(address))
    info = await get_option(local, client, TCP.INFO, TcpInfo)
    assert info.state is TCP_STATE.ESTABLISHED
    assert info.ca_state is TCP_CA.Open
    assert info.bytes_sent == 0
    await client.write(await local.ptr(b"hello"))
    assert (await get_option(local, client, TCP.INFO, TcpInfo)).bytes_sent == 5
    await client.close()
    await listener.close()


def test_states_without_a_name_are_numbers() -> None:
    info = TcpInfo.from_bytes(b"\x63\x64" + bytes(TcpInfo.sizeof() - 2))
    assert (info.state, info.ca_state) == (0x63, 0x64)
    assert TcpInfo.from_bytes(info.to_bytes()) == info
