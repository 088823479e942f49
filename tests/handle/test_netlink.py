"""Tests of `rsyscall.linux.netlink`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsyscall.linux.netlink import (
    NETLINK,
    NLM_F,
    NLMSG,
    Nlattr,
    Nlmsg,
    SockaddrNl,
    build_attributes,
    build_messages,
    parse_attributes,
    parse_messages,
)
from rsyscall.sys.socket import AF, MSG, SOCK, SockaddrStorage, Sockbuf

from .support import Local

halves = st.integers(0, 2**16 - 1)
words = st.integers(0, 2**32 - 1)
messages = st.builds(Nlmsg, halves, halves.map(NLM_F), st.binary(max_size=50), words, words)
attributes = st.builds(Nlattr, halves, st.binary(max_size=50))


@given(words, words)
def test_address(pid: int, groups: int) -> None:
    address = SockaddrNl(pid, groups)
    assert len(address.to_bytes()) == SockaddrNl.sizeof() == 12
    assert SockaddrStorage.from_bytes(address.to_bytes()).parse() == address


@given(st.lists(messages, max_size=4))
def test_messages_round_trip(several: list[Nlmsg]) -> None:
    assert parse_messages(build_messages(several)) == several


@given(st.lists(attributes, max_size=4))
def test_attributes_round_trip(several: list[Nlattr]) -> None:
    assert parse_attributes(build_attributes(several)) == several


@given(st.binary(max_size=200) | st.lists(messages, max_size=3).map(build_messages), st.integers(0, 99))
def test_any_bytes_are_messages_or_refused(data: bytes, cut: int) -> None:
    data = data[: max(0, len(data) - cut)]
    try:
        found = parse_messages(data)
    except ValueError:
        return
    # Up to the padding of the last one, and the bytes in the paddings, nothing is lost or made up.
    assert len(build_messages(found)) - len(data) in range(4)


@given(st.binary(max_size=200) | st.lists(attributes, max_size=3).map(build_attributes), st.integers(0, 99))
def test_any_bytes_are_attributes_or_refused(data: bytes, cut: int) -> None:
    data = data[: max(0, len(data) - cut)]
    try:
        found = parse_attributes(data)
    except ValueError:
        return
    assert len(build_attributes(found)) - len(data) in range(4)


@pytest.mark.parametrize("length", [0, 15, 21, 2**32 - 1])
def test_wrong_length_of_a_message(length: int) -> None:
    with pytest.raises(ValueError, match="length"):
        parse_messages(length.to_bytes(4, "little") + bytes(16))


@pytest.mark.parametrize("length", [0, 3, 9, 2**16 - 1])
def test_wrong_length_of_an_attribute(length: int) -> None:
    with pytest.raises(ValueError, match="length"):
        parse_attributes(length.to_bytes(2, "little") + bytes(6))


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="too large"):
        build_attributes([Nlattr(1, bytes(65532))])
    with pytest.raises(ValueError, match="too large"):
        build_attributes([Nlattr(65536, b"")])
    with pytest.raises(ValueError):
        build_messages([Nlmsg(65536, NLM_F.NONE)])


async def test_the_kernel_acknowledges(local: Local) -> None:
    sock = await local.task.socket(AF.NETLINK, SOCK.RAW, NETLINK.ROUTE)
    await sock.bind(await local.ptr(SockaddrNl(0, 0)))
    name = await sock.getsockname(await local.ptr(Sockbuf(await local.malloc(SockaddrNl))))
    address = await (await name.read()).buf.read()
    request = build_messages([Nlmsg(NLMSG.NOOP, NLM_F.REQUEST | NLM_F.ACK, seq=7)])
    await sock.write(await local.ptr(request))
    valid, _ = await sock.recv(await local.malloc(bytes, 4096), MSG.NONE)
    [answer] = parse_messages(await valid.read())
    assert (answer.type, answer.seq, answer.pid) == (NLMSG.ERROR, 7, address.pid)
    assert answer.payload[:4] == bytes(4)
    await sock.close()
