"""Tests of `rsyscall.net.if_`."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsyscall.handle.task import Task
from rsyscall.net.if_ import IFF, SIOC, TUN, TUNSETIFF, Ifreq
from rsyscall.netinet.in_ import SockaddrIn, SockaddrIn6
from rsyscall.sys.socket import AF, SOCK, Sockaddr
from rsyscall.sys.un import SockaddrUn

from .support import Local

names = st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=15)


@given(names, st.integers(0, 65535), st.ip_addresses(v=4))
def test_name_and_address(name: str, port: int, addr: object) -> None:
    initial = Ifreq(name, addr=SockaddrIn(port, addr))  # type: ignore[arg-type]  # hypothesis gives both versions
    data = initial.to_bytes()
    assert len(data) == Ifreq.sizeof() == 40
    again = Ifreq.from_bytes(data)
    assert again == initial
    assert again.name == name
    assert again.addr == SockaddrIn(port, addr)  # type: ignore[arg-type]  # as above


def test_the_address_is_of_the_class_of_its_family() -> None:
    """So that the attributes of that class are there."""
    address = Ifreq("lo", addr=SockaddrIn(22, "127.0.0.1")).addr
    assert isinstance(address, SockaddrIn)
    assert address.port == 22
    assert address.addr_as_string() == "127.0.0.1"


def test_an_empty_request() -> None:
    request = Ifreq()
    assert request.to_bytes() == bytes(40)
    assert request.name == ""
    assert request.addr == Sockaddr(AF.UNSPEC, bytes(14))
    assert request.flags == IFF.NONE


@given(names, st.integers(0, 65535).map(IFF))
def test_flags(name: str, flags: IFF) -> None:
    request = Ifreq.from_bytes(Ifreq(name, flags=flags).to_bytes())
    assert request.flags == flags
    assert request.ifindex == flags


def test_everything_but_the_name_shares_memory() -> None:
    request = Ifreq("eth0", flags=IFF.UP)
    request.newname = "lan"
    assert request.slave == "lan"
    request.mtu = 1500
    assert request.metric == request.qlen == request.ifindex == 1500
    assert request.name == "eth0"


def test_a_shorter_value_leaves_nothing_of_a_longer_one() -> None:
    request = Ifreq("a-longer-name")
    request.name = "lo"
    assert request.to_bytes()[:16] == b"lo".ljust(16, b"\0")


def test_hardware_addresses_are_not_parsed_as_addresses() -> None:
    ether = 1  # ARPHRD_ETHER, and the number of AF_UNIX
    request = Ifreq("eth0")
    request.hwaddr = Sockaddr(AF(ether), b"\1\2\3\4\5\6")
    assert type(request.hwaddr) is Sockaddr
    assert request.hwaddr.data[:6] == b"\1\2\3\4\5\6"


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError):
        Ifreq("sixteen-bytes-xx")
    with pytest.raises(ValueError):
        Ifreq("nul\0")
    with pytest.raises(ValueError):
        Ifreq("lo", addr=SockaddrIn6(0, "::1"))
    with pytest.raises(ValueError):
        Ifreq("lo", addr=SockaddrUn(b"/a/path/that/is/long"))
    with pytest.raises(ValueError):
        Ifreq("lo", addr=SockaddrIn(0, 0), flags=IFF.UP)
    with pytest.raises(ValueError):
        Ifreq.from_bytes(bytes(39))


def test_initial_bytes() -> None:
    data = Ifreq("lo", flags=IFF.UP).to_bytes()
    assert Ifreq(cffi=data).name == "lo"
    assert Ifreq("eth0", cffi=bytearray(data)).flags == IFF.UP


async def test_the_kernel_understands_it(local: Local, task: Task) -> None:
    sock = await task.socket(AF.INET, SOCK.DGRAM)
    request = await local.ptr(Ifreq("lo"))
    await sock.ioctl(SIOC.GIFINDEX, request)
    index = (await request.read()).ifindex
    assert index == socket.if_nametoindex("lo")
    request = await (await local.malloc(Ifreq)).write(Ifreq())
    byindex = Ifreq()
    byindex.ifindex = index
    request = await local.ptr(byindex)
    await sock.ioctl(SIOC.GIFNAME, request)
    assert (await request.read()).name == "lo"
    request = await local.ptr(Ifreq("lo"))
    await sock.ioctl(SIOC.GIFFLAGS, request)
    assert (await request.read()).flags & IFF.LOOPBACK
    request = await local.ptr(Ifreq("lo"))
    await sock.ioctl(SIOC.GIFHWADDR, request)
    assert (await request.read()).hwaddr.family == 772  # ARPHRD_LOOPBACK


async def test_no_such_interface(local: Local, task: Task) -> None:
    sock = await task.socket(AF.INET, SOCK.DGRAM)
    with pytest.raises(OSError):
        await sock.ioctl(SIOC.GIFINDEX, await local.ptr(Ifreq("no-such-if")))


def test_requests() -> None:
    assert TUNSETIFF == TUN.SETIFF
    assert int(IFF.TUN) == int(IFF.UP)
