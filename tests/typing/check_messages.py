# pyright: reportUnnecessaryTypeIgnoreComment=true
"""Types of what is received: the values of control messages, and the handles that come with events."""

from __future__ import annotations

from typing_extensions import assert_type

from rsyscall import FileDescriptor, LinearPointer, Pointer, WrittenPointer
from rsyscall.cstruct import CStruct
from rsyscall.linux.errqueue import SockExtendedErr
from rsyscall.linux.if_packet import CmsgPacketAuxdata, TpacketAuxdata
from rsyscall.linux.netlink import CmsgNetlinkPktinfo, NlPktinfo
from rsyscall.memory.ram import RAM
from rsyscall.netinet.in_ import SockaddrIn, SockaddrIn6
from rsyscall.netinet.ip import (
    CmsgIpPktinfo,
    CmsgIpRecverr,
    CmsgIpTtl,
    CmsgIpv6Hoplimit,
    CmsgIpv6Pktinfo,
    CmsgIpv6Recverr,
    In6Pktinfo,
    InPktinfo,
)
from rsyscall.netinet.udp import CmsgUdpGro
from rsyscall.sys._cmsg_known import CmsgNumber, CmsgStruct
from rsyscall.sys.socket import (
    Cmsg,
    CmsgList,
    CmsgSCMRights,
    CmsgTimestamp,
    CmsgTimestamping,
    CmsgTimestampns,
    CmsgUcred,
    RecvMsghdr,
    RecvMsghdrOut,
    ScmTimestamping,
    SockaddrStorage,
)
from rsyscall.sys.time import Timeval
from rsyscall.sys.uio import IovecList
from rsyscall.time import Timespec


def numbers(received: CmsgList) -> None:
    for cmsg in received:
        assert_type(cmsg, Cmsg)
        _ = cmsg.value  # type: ignore[attr-defined]  # not all have one
        if isinstance(cmsg, CmsgIpTtl):
            assert_type(cmsg.value, int)
        if isinstance(cmsg, (CmsgIpv6Hoplimit, CmsgUdpGro)):
            assert_type(cmsg.value, int)
        if isinstance(cmsg, CmsgNumber):
            assert_type(cmsg.value, int)
        if isinstance(cmsg, CmsgUcred):
            assert_type(cmsg.uid, int)


def structures(received: CmsgList) -> None:
    for cmsg in received:
        if isinstance(cmsg, CmsgStruct):
            assert_type(cmsg.value, CStruct)
        if isinstance(cmsg, CmsgTimestamp):
            assert_type(cmsg.value, Timeval)
        if isinstance(cmsg, CmsgTimestampns):
            assert_type(cmsg.value, Timespec)
        if isinstance(cmsg, CmsgTimestamping):
            assert_type(cmsg.value, ScmTimestamping)
        if isinstance(cmsg, CmsgIpPktinfo):
            assert_type(cmsg.value, InPktinfo)
        if isinstance(cmsg, CmsgIpv6Pktinfo):
            assert_type(cmsg.value, In6Pktinfo)
        if isinstance(cmsg, CmsgNetlinkPktinfo):
            assert_type(cmsg.value, NlPktinfo)
        if isinstance(cmsg, CmsgPacketAuxdata):
            assert_type(cmsg.value, TpacketAuxdata)
        if isinstance(cmsg, CmsgIpRecverr):
            assert_type(cmsg.value, SockExtendedErr)
            assert_type(cmsg.offender, SockaddrIn | None)
        if isinstance(cmsg, CmsgIpv6Recverr):
            assert_type(cmsg.offender, SockaddrIn6 | None)


def making(info: InPktinfo) -> None:
    assert_type(CmsgIpTtl(64), CmsgIpTtl)
    CmsgIpPktinfo(info)
    CmsgIpTtl("64")  # type: ignore[arg-type]
    CmsgIpv6Pktinfo(info)  # type: ignore[arg-type]  # which is of the other family
    CmsgTimestamp(Timespec(1, 0))  # type: ignore[arg-type]  # not nanoseconds
    CmsgSCMRights([1])  # type: ignore[list-item]  # handles, not numbers


async def events(watch: FileDescriptor, buffer: Pointer[bytes]) -> None:
    got, rest = await watch.fanotify_read(buffer)
    assert_type(rest, Pointer[bytes])
    for event in await got.read():
        assert_type(event.fd, FileDescriptor | None)
        assert_type(event.pidfd, FileDescriptor | None)
    faults, _ = await watch.userfaultfd_read(buffer)
    for fault in await faults.read():
        assert_type(fault.fork, FileDescriptor | None)


async def headers(
    sock: FileDescriptor, room: Pointer[SockaddrStorage], iov: WrittenPointer[IovecList], ram: RAM
) -> None:
    hdr = RecvMsghdr(room, iov, None)
    assert_type(hdr, RecvMsghdr[SockaddrStorage])
    _, _, received = await sock.recvmsg(await ram.ptr(hdr))
    out = await received.read()
    assert_type(out, RecvMsghdrOut[SockaddrStorage])
    assert_type(out.control, LinearPointer[CmsgList] | None)
    if out.name is not None:
        assert_type(await out.name.read(), SockaddrStorage)
    nameless: RecvMsghdr = RecvMsghdr(None, iov, None)
    await sock.recvmsg(await ram.ptr(nameless))
    await sock.recvmsg(await ram.ptr(RecvMsghdr(None, iov, None)))
