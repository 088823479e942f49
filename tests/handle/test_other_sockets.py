"""Addresses of packet sockets, of sockets of virtual machines, and of those for algorithms."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsyscall.handle.task import Task
from rsyscall.linux.if_alg import ALG_OP, ALG_SET, SockaddrAlg
from rsyscall.linux.if_packet import PACKET, PACKET_MR, PACKET_OPTION, PacketMreq, SockaddrLl, TpacketStats
from rsyscall.linux.vm_sockets import SO_VM_SOCKETS, VMADDR_CID, VMADDR_PORT_ANY, SockaddrVm
from rsyscall.sys.socket import AF, MSG, SOCK, SOL, Sockaddr, SockaddrStorage, Sockbuf

from .support import Local

u32s = st.integers(0, 2**32 - 1)
names = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=13)
LOOPBACK = 1
ETH_P_ALL = 3
addresses = st.one_of(
    st.builds(SockaddrVm, u32s, u32s, st.integers(0, 255)),
    st.builds(SockaddrAlg, names, names, u32s, u32s),
    st.builds(
        SockaddrLl,
        st.integers(0, 2**16 - 1),
        st.integers(0, 2**31 - 1),
        st.integers(0, 2**16 - 1),
        st.integers(0, 255),
        st.integers(0, 8),
        st.binary(min_size=8, max_size=8),
    ),
)


async def socket_of_some_kernels(task: Task, family: AF, type: SOCK) -> Any:
    try:
        return await task.socket(family, type, 0)
    except OSError as error:
        if error.errno != errno.EAFNOSUPPORT:
            raise
        pytest.skip(f"kernel: it has no sockets of the family {family.name}")


@given(addresses)
def test_round_trip(address: Sockaddr) -> None:
    data = address.to_bytes()
    assert type(address).from_bytes(data) == address
    assert SockaddrStorage.from_bytes(data).parse() == address


@given(st.sampled_from([SockaddrVm, SockaddrAlg, SockaddrLl]), st.binary(max_size=100))
def test_any_bytes_are_an_address_or_refused(cls: type[Sockaddr], data: bytes) -> None:
    data = int(cls.family).to_bytes(2, "little") + data
    try:
        address = SockaddrStorage.from_bytes(data).parse()
    except ValueError:
        assert len(data) < cls.sizeof()
    else:
        assert isinstance(address, cls)


def test_names_that_the_kernel_would_cut() -> None:
    assert SockaddrAlg("h" * 13, "n" * 63)
    with pytest.raises(ValueError, match=r"type.*13 bytes"):
        SockaddrAlg("h" * 14, "sha256")
    with pytest.raises(ValueError, match=r"name.*63 bytes"):
        SockaddrAlg("hash", "n" * 64)
    with pytest.raises(ValueError, match="without NUL"):
        SockaddrAlg("hash", "sha256\0")


@pytest.mark.needs("CAP_NET_RAW")
async def test_packets(local: Local, task: Task) -> None:
    """What is sent on the loopback device is received by a socket for all packets there."""
    sock = await task.socket(AF.PACKET, SOCK.RAW | SOCK.NONBLOCK, 0)
    await sock.bind(await local.ptr(SockaddrLl(ETH_P_ALL, LOOPBACK)))
    member = await local.ptr(PacketMreq(LOOPBACK, PACKET_MR.PROMISC))
    await sock.setsockopt(SOL.PACKET, PACKET_OPTION.ADD_MEMBERSHIP, member)
    name = await sock.getsockname(await local.ptr(Sockbuf(await local.malloc(SockaddrStorage))))
    bound = (await (await name.read()).buf.read()).parse()
    assert isinstance(bound, SockaddrLl)
    assert (bound.protocol, bound.ifindex, bound.hardware_address) == (ETH_P_ALL, LOOPBACK, bytes(6))
    # From a socket without a protocol, which receives nothing.
    sender = await task.socket(AF.PACKET, SOCK.RAW, 0)
    await sender.bind(await local.ptr(SockaddrLl(0, LOOPBACK)))
    frame = bytes(12) + b"\x88\xb5" + b"rsyscall test"
    await sender.send(await local.ptr(frame), MSG.NONE)
    while True:
        received, _ = await sock.recv(await local.malloc(bytes, 100), MSG.NONE)
        if await received.read() == frame:
            break
    stats = await local.ptr(Sockbuf(await local.malloc(TpacketStats)))
    counted = await sock.getsockopt(SOL.PACKET, PACKET_OPTION.STATISTICS, stats)
    assert (await (await counted.read()).buf.read()).packets >= 1
    assert PACKET.OUTGOING != PACKET.HOST


async def test_virtual_machines(local: Local, task: Task) -> None:
    sock = await socket_of_some_kernels(task, AF.VSOCK, SOCK.STREAM)
    await sock.bind(await local.ptr(SockaddrVm()))
    name = await sock.getsockname(await local.ptr(Sockbuf(await local.malloc(SockaddrStorage))))
    bound = (await (await name.read()).buf.read()).parse()
    assert isinstance(bound, SockaddrVm)
    assert (bound.cid, bound.port) != (VMADDR_CID.ANY, VMADDR_PORT_ANY)
    assert bound.port != VMADDR_PORT_ANY
    size = (1 << 16).to_bytes(8, "little")
    await sock.setsockopt(AF.VSOCK, SO_VM_SOCKETS.BUFFER_SIZE, await local.ptr(size))
    buf = await local.ptr(Sockbuf(await local.malloc(bytes, 8)))
    assert (
        await (await (await sock.getsockopt(AF.VSOCK, SO_VM_SOCKETS.BUFFER_SIZE, buf)).read()).buf.read()
        == size
    )


async def test_algorithms(local: Local, task: Task) -> None:
    sock = await socket_of_some_kernels(task, AF.ALG, SOCK.SEQPACKET)
    await sock.bind(await local.ptr(SockaddrAlg("hash", "sha256")))
    work = await sock.accept()
    await work.send(await local.ptr(b"abc"), MSG.NONE)
    valid, _ = await work.read(await local.malloc(bytes, 64))
    assert (await valid.read()).hex().startswith("ba7816bf")
    assert (ALG_SET.OP, ALG_OP.ENCRYPT) == (3, 1)
