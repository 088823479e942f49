"""Tests of `rsyscall.netinet.in_` and `rsyscall.netinet.ip`."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsyscall.netinet.in_ import IN6ADDR_ANY, IN6ADDR_LOOPBACK, INADDR, SockaddrIn, SockaddrIn6
from rsyscall.netinet.ip import IP, IPPROTO, IPV6
from rsyscall.sys.socket import AF, Sockaddr, SockaddrStorage, family_to_class

ports = st.integers(0, 65535)
words = st.integers(0, 2**32 - 1)


@given(ports, st.ip_addresses(v=4))
def test_round_trip(port: int, addr: IPv4Address) -> None:
    sockaddr = SockaddrIn(port, addr)
    data = sockaddr.to_bytes()
    assert len(data) == SockaddrIn.sizeof() == 16
    assert SockaddrIn.from_bytes(data) == sockaddr
    assert SockaddrIn.from_bytes(data + bytes(112)) == sockaddr
    assert Sockaddr.from_bytes(data).parse() == sockaddr
    assert SockaddrStorage.from_bytes(data).parse() == sockaddr
    assert hash(SockaddrIn.from_bytes(data)) == hash(sockaddr)


@given(ports, st.ip_addresses(v=6), words, words)
def test_round_trip_6(port: int, addr: IPv6Address, flowinfo: int, scope_id: int) -> None:
    sockaddr = SockaddrIn6(port, addr, flowinfo, scope_id)
    data = sockaddr.to_bytes()
    assert len(data) == SockaddrIn6.sizeof() == 28
    assert SockaddrIn6.from_bytes(data) == sockaddr
    assert SockaddrStorage.from_bytes(data).parse() == sockaddr


def test_port_and_address_are_in_network_order() -> None:
    data = SockaddrIn(0x1234, "1.2.3.4").to_bytes()
    assert data[2:8] == b"\x12\x34\x01\x02\x03\x04"
    assert SockaddrIn6(0x1234, "::1").to_bytes()[2:4] == b"\x12\x34"


def test_ways_to_say_an_address() -> None:
    same = [SockaddrIn(80, "127.0.0.1"), SockaddrIn(80, 0x7F000001), SockaddrIn(80, IPv4Address("127.0.0.1"))]
    assert same[0] == same[1] == same[2]
    assert SockaddrIn(0, 0).addr_as_string() == "0.0.0.0"
    assert str(SockaddrIn(80, "1.2.3.4")) == "SockaddrIn(1.2.3.4:80)"
    assert str(SockaddrIn6(80, "::1")) == "SockaddrIn6([::1]:80)"
    assert SockaddrIn6(80, 1) == SockaddrIn6(80, "::1")
    assert SockaddrIn6(80, "::1").addr_as_string() == "::1"


def test_well_known_addresses() -> None:
    assert SockaddrIn(80, INADDR.LOOPBACK) == SockaddrIn(80, "127.0.0.1")
    assert SockaddrIn(80, INADDR.ANY).addr_as_string() == "0.0.0.0"
    assert SockaddrIn(80, INADDR.BROADCAST).addr_as_string() == "255.255.255.255"
    assert SockaddrIn6(80, IN6ADDR_LOOPBACK).addr_as_string() == "::1"
    assert SockaddrIn6(80, IN6ADDR_ANY).addr_as_string() == "::"
    for name in INADDR.__members__:
        assert getattr(socket, f"INADDR_{name}", INADDR[name]) == INADDR[name], name


def test_zones() -> None:
    assert SockaddrIn6(80, "fe80::1%3") == SockaddrIn6(80, "fe80::1", scope_id=3)
    with pytest.raises(ValueError):
        SockaddrIn6(80, "fe80::1%eth0")


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_has_16_bits(port: int) -> None:
    with pytest.raises(ValueError):
        SockaddrIn(port, 0)
    with pytest.raises(ValueError):
        SockaddrIn6(port, 0)


def test_another_family_is_refused() -> None:
    with pytest.raises(ValueError):
        SockaddrIn.from_bytes(SockaddrIn6(1, "::1").to_bytes())
    with pytest.raises(ValueError):
        SockaddrIn6.from_bytes(bytes(28))


def test_an_address_does_not_change() -> None:
    with pytest.raises(AttributeError):
        SockaddrIn(1, 2).port = 3  # type: ignore[misc]  # that is the point


def test_families() -> None:
    assert family_to_class[AF.INET] is SockaddrIn
    assert family_to_class[AF.INET6] is SockaddrIn6


def test_constants_agree_with_those_of_python() -> None:
    assert IPPROTO.ICMPV6 == socket.IPPROTO_ICMPV6
    assert IP.MULTICAST_TTL == socket.IP_MULTICAST_TTL
    assert IPV6.V6ONLY == socket.IPV6_V6ONLY
