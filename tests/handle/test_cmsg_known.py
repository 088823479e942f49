"""Control messages of the levels of sockets: what is sent takes effect, and what is received is typed."""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
import subprocess
import sys
import time
from typing import Any

import pytest

from rsyscall.linux.errqueue import SO_EE_ORIGIN, SockExtendedErr
from rsyscall.linux.if_alg import ALG_OP, CmsgAlgAeadAssoclen, CmsgAlgOp
from rsyscall.linux.if_packet import (
    PACKET_OPTION,
    TP_STATUS,
    CmsgPacketAuxdata,
    SockaddrLl,
    TpacketAuxdata,
)
from rsyscall.linux.netlink import NETLINK, NETLINK_OPTION, CmsgNetlinkPktinfo, NlPktinfo, SockaddrNl
from rsyscall.netinet.in_ import SockaddrIn, SockaddrIn6
from rsyscall.netinet.ip import (
    IP,
    IPV6,
    MCAST,
    CmsgIpPktinfo,
    CmsgIpRecverr,
    CmsgIpTos,
    CmsgIpTtl,
    CmsgIpv6Hoplimit,
    CmsgIpv6Pktinfo,
    CmsgIpv6Recverr,
    CmsgIpv6Tclass,
    GroupReq,
    GroupSourceReq,
    In6Pktinfo,
    InPktinfo,
    IpMreqn,
    IpMreqSource,
    Ipv6Mreq,
)
from rsyscall.netinet.udp import UDP, CmsgUdpGro, CmsgUdpSegment
from rsyscall.struct import Int32
from rsyscall.sys.socket import (
    AF,
    MSG,
    SO,
    SOCK,
    SOL,
    Cmsg,
    CmsgList,
    CmsgMark,
    CmsgPriority,
    CmsgRaw,
    CmsgRxqOvfl,
    CmsgTimestamp,
    CmsgTimestamping,
    CmsgTimestampns,
    CmsgTxtime,
    RecvMmsghdrList,
    RecvmsgFlags,
    RecvMsghdr,
    ScmTimestamping,
    Sockbuf,
)
from rsyscall.sys.time import Timeval
from rsyscall.sys.uio import IovecList
from rsyscall.time import Timespec

from .support import Local, make_task
from .test_socket_msg import receive, send

LOOPBACK = ipaddress.IPv4Address("127.0.0.1")
LOOPBACK6 = ipaddress.IPv6Address("::1")
INTERFACE = socket.if_nametoindex("lo")

OTHER = ipaddress.IPv4Address("127.0.0.2")
V4 = SockaddrIn(0, "127.0.0.1")
V6 = SockaddrIn6(0, "::1")


async def socket_of(
    local: Local, address: SockaddrIn | SockaddrIn6, *options: tuple[SOL, int]
) -> tuple[Any, Any]:
    """A socket for datagrams with these options, and its address."""
    sock = await local.task.socket(AF.INET if isinstance(address, SockaddrIn) else AF.INET6, SOCK.DGRAM)
    try:
        await sock.bind(await local.ptr(address))
    except OSError as error:
        if isinstance(address, SockaddrIn6):
            pytest.skip(f"place: {error}")
        raise
    for level, option in options:
        await sock.setsockopt(level, option, await local.ptr(Int32(1)))
    name = await sock.getsockname(await local.ptr(Sockbuf(await local.malloc(type(address)))))
    return sock, await (await name.read()).buf.read()


async def received(local: Local, sock: Any, flags: RecvmsgFlags = RecvmsgFlags.NONE) -> list[Cmsg]:
    """The control messages of the next message."""
    _, header = await receive(local, sock, flags=flags)
    return list(await header.control.read()) if header.control is not None else []


async def test_of_ipv4(local: Local) -> None:
    receiving, address = await socket_of(
        local, V4, (SOL.IP, IP.PKTINFO), (SOL.IP, IP.RECVTTL), (SOL.IP, IP.RECVTOS)
    )
    sending, _ = await socket_of(local, SockaddrIn(0, 0))
    control = CmsgList([CmsgIpTtl(9), CmsgIpTos(8), CmsgIpPktinfo(InPktinfo(spec_dst=OTHER))])
    await send(local, sending, control, name=address)
    found = await received(local, receiving)
    assert set(map(repr, found)) == set(
        map(repr, [CmsgIpTtl(9), CmsgIpTos(8), CmsgIpPktinfo(InPktinfo(INTERFACE, LOOPBACK, LOOPBACK))])
    )
    # From the address that a message names.
    read_from = await local.ptr(Sockbuf(await local.malloc(SockaddrIn)))
    await send(local, sending, CmsgList([CmsgIpPktinfo(InPktinfo(spec_dst=OTHER))]), name=address)
    _, _, source = await receiving.recvfrom(await local.malloc(bytes, 10), MSG.NONE, read_from)
    assert (await (await source.read()).buf.read()).addr == OTHER


async def test_of_ipv6(local: Local) -> None:
    receiving, address = await socket_of(
        local, V6, (SOL.IPV6, IPV6.RECVPKTINFO), (SOL.IPV6, IPV6.RECVHOPLIMIT), (SOL.IPV6, IPV6.RECVTCLASS)
    )
    sending, _ = await socket_of(local, V6)
    sent = [CmsgIpv6Hoplimit(9), CmsgIpv6Tclass(8), CmsgIpv6Pktinfo(In6Pktinfo(LOOPBACK6, INTERFACE))]
    await send(local, sending, CmsgList(sent), name=address)
    assert set(map(repr, await received(local, receiving))) == set(map(repr, sent))


@pytest.mark.parametrize("address", [V4, V6], ids=["IPv4", "IPv6"])
async def test_errors(local: Local, address: SockaddrIn | SockaddrIn6) -> None:
    """No socket has the port any more. The host says so, and the kernel queues that as an error."""
    closed, nowhere = await socket_of(local, address)
    await closed.close()
    option = (SOL.IP, IP.RECVERR) if address is V4 else (SOL.IPV6, IPV6.RECVERR)
    sending, _ = await socket_of(local, address, option)
    await send(local, sending, None, name=nowhere)
    [error] = await received(local, sending, RecvmsgFlags.ERRQUEUE)
    assert isinstance(error, CmsgIpRecverr | CmsgIpv6Recverr)
    origin, kind, code = (
        (SO_EE_ORIGIN.ICMP, 3, 3) if isinstance(error, CmsgIpRecverr) else (SO_EE_ORIGIN.ICMP6, 1, 4)
    )
    assert error.value == SockExtendedErr(errno.ECONNREFUSED, origin, kind, code)
    assert error.offender is not None
    assert error.offender.addr == nowhere.addr


async def test_several_datagrams_at_once(local: Local) -> None:
    receiving, address = await socket_of(local, V4, (SOL.UDP, UDP.GRO))
    sending, _ = await socket_of(local, V4)
    await send(local, sending, CmsgList([CmsgUdpSegment(40)]), bytes(95), name=address)
    assert await received(local, receiving) == [CmsgUdpGro(40)]


async def test_times(local: Local) -> None:
    before = time.time()
    for option, kind in ((SO.TIMESTAMP, CmsgTimestamp), (SO.TIMESTAMPNS, CmsgTimestampns)):
        receiving, address = await socket_of(local, V4, (SOL.SOCKET, option))
        sending, _ = await socket_of(local, V4)
        await send(local, sending, None, name=address)
        [cmsg] = await received(local, receiving)
        assert isinstance(cmsg, kind)
        assert before - 1 < cmsg.value.sec < time.time() + 1
    receiving, address = await socket_of(local, V4)
    software = 1 << 3 | 1 << 4  # SOF_TIMESTAMPING_RX_SOFTWARE, and SOFTWARE: to report it
    await receiving.setsockopt(SOL.SOCKET, SO.TIMESTAMPING, await local.ptr(Int32(software)))
    # The kernel begins to stamp what arrives a little after the option was set: its work queue does it.
    stamps: list[Cmsg] = []
    while not stamps:
        await send(local, sending, None, name=address)
        stamps = await received(local, receiving)
    [cmsg] = stamps
    assert isinstance(cmsg, CmsgTimestamping)
    assert before - 1 < cmsg.value.software.sec < time.time() + 1
    assert cmsg.value.hardware == Timespec(0, 0)


async def test_messages_that_were_dropped(local: Local) -> None:
    receiving, address = await socket_of(local, V4, (SOL.SOCKET, SO.RXQ_OVFL))
    await receiving.setsockopt(SOL.SOCKET, SO.RCVBUF, await local.ptr(Int32(0)))
    sending, _ = await socket_of(local, V4)
    for _ in range(20):
        await send(local, sending, None, bytes(1000), name=address)
    kept = 0
    with pytest.raises(BlockingIOError):
        while True:
            await received(local, receiving, RecvmsgFlags.DONTWAIT)
            kept += 1
    # The next one has the number.
    await send(local, sending, None, name=address)
    assert await received(local, receiving) == [CmsgRxqOvfl(20 - kept)]


@pytest.mark.needs("CAP_SYS_ADMIN")
async def test_marks(local: Local) -> None:
    receiving, address = await socket_of(local, V4, (SOL.SOCKET, SO.RCVMARK))
    sending, _ = await socket_of(local, V4)
    await send(local, sending, CmsgList([CmsgMark(77)]), name=address)
    assert await received(local, receiving) == [CmsgMark(77)]


@pytest.mark.needs("CAP_NET_RAW")
async def test_of_packets(local: Local) -> None:
    """What is known of a packet of which a part is received."""
    receiving = await local.task.socket(AF.PACKET, SOCK.RAW)
    await receiving.setsockopt(SOL.PACKET, PACKET_OPTION.AUXDATA, await local.ptr(Int32(1)))
    await receiving.bind(await local.ptr(SockaddrLl(0x88B5, INTERFACE)))
    sending = await local.task.socket(AF.PACKET, SOCK.RAW)
    await sending.bind(await local.ptr(SockaddrLl(0, INTERFACE)))
    frame = bytes(12) + b"\x88\xb5" + b"rsyscall control messages".ljust(150)
    await sending.send(await local.ptr(frame), MSG.NONE)
    # Another program may use the number of the protocol too.
    while True:
        data, header = await receive(local, receiving)
        if b"".join([await part.read() for part in data]) == frame[:100]:
            break
    assert header.control is not None
    [cmsg] = await header.control.read()
    assert isinstance(cmsg, CmsgPacketAuxdata)
    info = cmsg.value
    assert (info.len, info.snaplen, info.mac, info.net) == (164, 164, 0, 14)
    assert TP_STATUS.USER in info.status
    assert TP_STATUS.VLAN_VALID not in info.status
    # The same for several at once.
    await sending.send(await local.ptr(frame), MSG.NONE)
    text = b""
    while text != frame[:100]:
        iov = await local.ptr(IovecList([await local.malloc(bytes, 100)]))
        place = RecvMsghdr(None, iov, await local.malloc(CmsgList, 200))
        out, _ = await receiving.recvmmsg(await local.ptr(RecvMmsghdrList([place])), RecvmsgFlags.WAITFORONE)
        [message] = await out.read()
        text = b"".join([await part.read() for part in message.valid])
    assert message.hdr.control is not None
    assert [type(cmsg) for cmsg in await message.hdr.control.read()] == [CmsgPacketAuxdata]


@pytest.mark.needs("CAP_NET_ADMIN")
async def test_of_netlink(local: Local) -> None:
    """The number of the group to which a message was sent."""
    receiving = await local.task.socket(AF.NETLINK, SOCK.RAW, NETLINK.USERSOCK)
    await receiving.bind(await local.ptr(SockaddrNl(0, 1 << 4)))
    await receiving.setsockopt(SOL.NETLINK, NETLINK_OPTION.PKTINFO, await local.ptr(Int32(1)))
    sending = await local.task.socket(AF.NETLINK, SOCK.RAW, NETLINK.USERSOCK)
    await sending.bind(await local.ptr(SockaddrNl(0, 0)))
    name = await sending.getsockname(await local.ptr(Sockbuf(await local.malloc(SockaddrNl))))
    own = await (await name.read()).buf.read()
    # There is no socket of the kernel, to which it would go too: the sender gets that one.
    await send(local, sending, None, name=SockaddrNl(own.pid, 1 << 4))
    assert await received(local, receiving) == [CmsgNetlinkPktinfo(NlPktinfo(5))]


@pytest.mark.parametrize(
    "cmsg",
    [
        CmsgIpTtl(1),
        CmsgIpTos(2),
        CmsgIpPktinfo(InPktinfo(3, LOOPBACK, OTHER)),
        CmsgIpv6Pktinfo(In6Pktinfo(LOOPBACK6, 4)),
        CmsgIpv6Hoplimit(5),
        CmsgIpv6Tclass(6),
        CmsgIpRecverr(SockExtendedErr(7, 8, 9, 10, 11, 12), V4),
        CmsgIpRecverr(SockExtendedErr(7, SO_EE_ORIGIN.LOCAL)),
        CmsgIpv6Recverr(SockExtendedErr(7, SO_EE_ORIGIN.ICMP6), V6),
        CmsgIpv6Recverr(SockExtendedErr(7, SO_EE_ORIGIN.NONE)),
        CmsgMark(13),
        CmsgPriority(14),
        CmsgRxqOvfl(15),
        CmsgTimestamp(Timeval(16, 17)),
        CmsgTimestampns(Timespec(18, 19)),
        CmsgTimestamping(ScmTimestamping(Timespec(20, 21), Timespec(0, 0), Timespec(22, 23))),
        CmsgTxtime(1 << 63),
        CmsgUdpGro(24),
        CmsgUdpSegment(25),
        CmsgPacketAuxdata(TpacketAuxdata(TP_STATUS.VLAN_VALID | TP_STATUS.TS_RAW_HARDWARE, 2, 3, 4, 5, 6, 7)),
        CmsgNetlinkPktinfo(NlPktinfo(26)),
        CmsgAlgOp(ALG_OP.ENCRYPT),
        CmsgAlgAeadAssoclen(27),
    ],
    ids=lambda cmsg: type(cmsg).__name__,
)
def test_round_trip(cmsg: Cmsg) -> None:
    serializer = CmsgList.get_serializer(make_task())
    assert serializer.from_bytes(serializer.to_bytes(CmsgList([cmsg, CmsgMark(1)]))) == [cmsg, CmsgMark(1)]
    # Cut off, it stays raw.
    cut = struct.pack("=Qii", 17, cmsg.level(), cmsg.type()) + b"\0"
    if not isinstance(cmsg, CmsgIpTos):
        assert serializer.from_bytes(cut) == [CmsgRaw(cmsg.level(), cmsg.type(), b"\0")]


def test_modules_of_received_ones_are_imported() -> None:
    program = """
from rsyscall.handle.task import Task
import struct, sys
from rsyscall.sys.socket import CmsgList
serializer = CmsgList.get_serializer(None)
kinds = [
    (1, 35, "Timestampns", 16),
    (0, 8, "IpPktinfo", 12),
    (41, 50, "Ipv6Pktinfo", 20),
    (17, 104, "UdpGro", 4),
    (263, 8, "PacketAuxdata", 20),
    (270, 3, "NetlinkPktinfo", 4),
]
for level, type, name, size in kinds:
    [cmsg] = serializer.from_bytes(struct.pack("=Qii", 16 + size, level, type) + bytes(size))
    assert type and cmsg.__class__.__name__ == "Cmsg" + name, cmsg
"""
    subprocess.run([sys.executable, "-c", program], check=True)


async def test_groups(local: Local) -> None:
    """A socket gets what is sent to a group that it has joined."""
    group = ipaddress.IPv4Address("239.1.2.3")
    receiving, address = await socket_of(local, SockaddrIn(0, 0), (SOL.IP, IP.PKTINFO))
    sending, _ = await socket_of(local, V4)
    await receiving.setsockopt(SOL.IP, IP.ADD_MEMBERSHIP, await local.ptr(IpMreqn(group, LOOPBACK)))
    await sending.setsockopt(SOL.IP, IP.MULTICAST_IF, await local.ptr(IpMreqn(group, LOOPBACK, INTERFACE)))
    await send(local, sending, None, name=SockaddrIn(address.port, group))
    [cmsg] = await received(local, receiving)
    assert isinstance(cmsg, CmsgIpPktinfo)
    assert cmsg.value.addr == group
    if socket.has_ipv6:
        sock = await local.task.socket(AF.INET6, SOCK.DGRAM)
        joining = Ipv6Mreq(ipaddress.IPv6Address("ff02::1234"), INTERFACE)
        await sock.setsockopt(SOL.IPV6, IPV6.JOIN_GROUP, await local.ptr(joining))
        await sock.setsockopt(SOL.IPV6, IPV6.LEAVE_GROUP, await local.ptr(joining))
        with pytest.raises(OSError, match="Cannot assign"):
            await sock.setsockopt(SOL.IPV6, IPV6.LEAVE_GROUP, await local.ptr(joining))


GROUP = ipaddress.IPv4Address("239.1.2.4")
IN_GROUP = SockaddrIn(0, GROUP)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        (IP.ADD_SOURCE_MEMBERSHIP, IpMreqSource(GROUP, LOOPBACK, OTHER)),
        (MCAST.JOIN_SOURCE_GROUP, GroupSourceReq(INTERFACE, IN_GROUP, SockaddrIn(0, OTHER))),
        (MCAST.JOIN_GROUP, GroupReq(INTERFACE, IN_GROUP)),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_senders_to_groups(
    local: Local, option: int, value: IpMreqSource | GroupSourceReq | GroupReq
) -> None:
    """A socket gets what the sender sends that it has chosen, or all."""
    receiving, address = await socket_of(local, SockaddrIn(0, 0))
    sending, _ = await socket_of(local, SockaddrIn(0, 0))
    await receiving.setsockopt(SOL.IP, option, await local.ptr(value))
    found = []
    for sender in (LOOPBACK, OTHER):
        control = CmsgList([CmsgIpPktinfo(InPktinfo(INTERFACE, sender))])
        await send(local, sending, control, sender.packed, name=SockaddrIn(address.port, GROUP))
    with pytest.raises(BlockingIOError):
        while True:
            data, _ = await receive(local, receiving, flags=RecvmsgFlags.DONTWAIT)
            found += [ipaddress.IPv4Address(await part.read()) for part in data]
    assert found == ([LOOPBACK, OTHER] if isinstance(value, GroupReq) else [OTHER])


async def test_groups_of_ipv6_by_address(local: Local) -> None:
    sock, _ = await socket_of(local, V6)
    group = await local.ptr(GroupReq(INTERFACE, SockaddrIn6(0, "ff02::1235")))
    source = await local.ptr(
        GroupSourceReq(INTERFACE, SockaddrIn6(0, "ff02::1236"), SockaddrIn6(0, "fe80::1"))
    )
    for join, leave, value in (
        (MCAST.JOIN_GROUP, MCAST.LEAVE_GROUP, group),
        (MCAST.JOIN_SOURCE_GROUP, MCAST.LEAVE_SOURCE_GROUP, source),
    ):
        await sock.setsockopt(SOL.IPV6, join, value)
        await sock.setsockopt(SOL.IPV6, leave, value)
        with pytest.raises(OSError, match=r"Cannot assign|Invalid argument"):
            await sock.setsockopt(SOL.IPV6, leave, value)


@pytest.mark.parametrize(
    "value",
    [
        IpMreqSource(GROUP, LOOPBACK, OTHER),
        GroupReq(3, SockaddrIn6(0, LOOPBACK6)),
        GroupSourceReq(4, IN_GROUP, SockaddrIn(0, OTHER)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_groups_round_trip(value: IpMreqSource | GroupReq | GroupSourceReq) -> None:
    assert type(value).from_bytes(value.to_bytes()) == value
