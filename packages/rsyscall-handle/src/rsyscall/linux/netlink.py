"""`<linux/netlink.h>`: sockets that carry messages to and from the kernel."""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from rsyscall.cstruct import CStruct, constant, i32, nested, u16, u32
from rsyscall.sys._cmsg_known import CmsgStruct
from rsyscall.sys.socket import AF, SOL, Sockaddr, _register_sockaddr

__all__ = [
    "NETLINK",
    "NETLINK_OPTION",
    "NLA_F",
    "NLMSG",
    "NLMSGERR_ATTR",
    "NLM_F",
    "CmsgNetlinkPktinfo",
    "NlPktinfo",
    "Nlattr",
    "Nlmsg",
    "Nlmsgerr",
    "Nlmsghdr",
    "SockaddrNl",
    "build_attributes",
    "build_messages",
    "parse_attributes",
    "parse_messages",
]


class NETLINK(enum.IntEnum):
    """`NETLINK_*`: the protocol of a netlink socket, that is, the part of the kernel to talk to.

    manpage: netlink(7)
    """

    ROUTE = 0
    UNUSED = 1
    USERSOCK = 2
    FIREWALL = 3
    SOCK_DIAG = 4
    INET_DIAG = 4
    NFLOG = 5
    XFRM = 6
    SELINUX = 7
    ISCSI = 8
    AUDIT = 9
    FIB_LOOKUP = 10
    CONNECTOR = 11
    NETFILTER = 12
    IP6_FW = 13
    DNRTMSG = 14
    KOBJECT_UEVENT = 15
    GENERIC = 16
    SCSITRANSPORT = 18
    ECRYPTFS = 19
    RDMA = 20
    CRYPTO = 21
    SMC = 22


class NETLINK_OPTION(enum.IntEnum):
    """`NETLINK_*`: socket options at level `SOL.NETLINK`; most take an `Int32`.

    `EXT_ACK` adds attributes, `NLMSGERR_ATTR`, to an error; `CAP_ACK` leaves the request out of it.

    manpage: netlink(7)
    """

    ADD_MEMBERSHIP = 1
    DROP_MEMBERSHIP = 2
    PKTINFO = 3
    BROADCAST_ERROR = 4
    NO_ENOBUFS = 5
    RX_RING = 6
    TX_RING = 7
    LISTEN_ALL_NSID = 8
    LIST_MEMBERSHIPS = 9
    CAP_ACK = 10
    EXT_ACK = 11
    GET_STRICT_CHK = 12


class NLM_F(enum.IntFlag):
    """`NLM_F_*`: flags of a message; what the upper ones mean depends on its type.

    manpage: netlink(7)
    """

    NONE = 0
    REQUEST = 0x01
    MULTI = 0x02
    ACK = 0x04
    ECHO = 0x08
    DUMP_INTR = 0x10
    DUMP_FILTERED = 0x20
    # of requests that get something
    ROOT = 0x100
    MATCH = 0x200
    ATOMIC = 0x400
    DUMP = 0x300
    # of requests that make something
    REPLACE = 0x100
    EXCL = 0x200
    CREATE = 0x400
    APPEND = 0x800
    # of requests that delete something
    NONREC = 0x100
    BULK = 0x200
    # of acknowledgements
    CAPPED = 0x100
    ACK_TLVS = 0x200


class NLMSG(enum.IntEnum):
    """`NLMSG_*`: types of messages that all protocols have; their own begin at `MIN_TYPE`.

    manpage: netlink(7)
    """

    NOOP = 0x1
    ERROR = 0x2
    DONE = 0x3
    OVERRUN = 0x4
    MIN_TYPE = 0x10


class NLMSGERR_ATTR(enum.IntEnum):
    """`NLMSGERR_ATTR_*`: attributes of an error, with `NETLINK_OPTION.EXT_ACK`.

    manpage: netlink(7)
    """

    UNUSED = 0
    MSG = 1
    OFFS = 2
    COOKIE = 3
    POLICY = 4
    MISS_TYPE = 5
    MISS_NEST = 6


class NLA_F(enum.IntFlag):
    """`NLA_F_*`: bits in the type of an attribute.

    manpage: netlink(7)
    """

    NONE = 0
    NET_BYTEORDER = 0x4000
    NESTED = 0x8000


class SockaddrNl(CStruct, Sockaddr, c="struct sockaddr_nl", headers=("linux/netlink.h",), frozen=True):
    """`struct sockaddr_nl`: the address of a netlink socket.

    Args:
        pid: number of the socket, often but not always that of a process; 0 is the kernel, and in `bind`
            lets the kernel choose.
        groups: a bit for each multicast group, such as `RTMGRP`.

    manpage: netlink(7)
    """

    family: ClassVar[AF] = constant(u16("nl_family"), AF.NETLINK)  # type: ignore[misc]  # the same for all of them
    pid: int = u32("nl_pid", offset=4)
    groups: int = u32("nl_groups", offset=8)


class NlPktinfo(CStruct, c="struct nl_pktinfo", headers=("linux/netlink.h",), frozen=True):
    """`struct nl_pktinfo`: how a message has come.

    Args:
        group: number of the multicast group to which it was sent; 0: to this socket alone.

    manpage: netlink(7)
    """

    group: int = u32("group")


@dataclass(frozen=True)
class CmsgNetlinkPktinfo(CmsgStruct, level=SOL.NETLINK, type=NETLINK_OPTION.PKTINFO, struct=NlPktinfo):
    """`NETLINK_PKTINFO`: the multicast group of a message; received because of the option.

    manpage: netlink(7)
    """

    value: NlPktinfo


class Nlmsghdr(CStruct, c="struct nlmsghdr", headers=("linux/netlink.h",), frozen=True):
    """`struct nlmsghdr`: what each message begins with.

    Args:
        len: bytes of the message, with this header and without padding.
        type: of the message.
        flags: of the message.
        seq: number that the answer repeats.
        pid: number of the socket that sends.

    manpage: netlink(7)
    """

    len: int = u32("nlmsg_len")
    type: int = u16("nlmsg_type")
    flags: NLM_F = u16("nlmsg_flags", NLM_F, prefix="NLM_F_")
    seq: int = u32("nlmsg_seq", default=0)
    pid: int = u32("nlmsg_pid", default=0)


class Nlmsgerr(CStruct, c="struct nlmsgerr", headers=("linux/netlink.h",), frozen=True):
    """`struct nlmsgerr`: the payload of `NLMSG.ERROR`, which also acknowledges.

    Args:
        error: a negative errno, or 0.
        msg: the header of the request. What follows it is the rest of the request, without
            `NLM_F.CAPPED`, and attributes, `NLMSGERR_ATTR`, with `NLM_F.ACK_TLVS`.

    manpage: netlink(7)
    """

    error: int = i32("error")
    msg: Nlmsghdr = nested("msg", Nlmsghdr)


@dataclass(frozen=True)
class Nlmsg:
    """One message.

    Args:
        type: `NLMSG`, or a type of the protocol.
        flags: of the message.
        payload: what follows the header.
        seq: number that the answer repeats.
        pid: number of the socket that sends; 0 in a request.
    """

    type: int
    flags: NLM_F
    payload: bytes = b""
    seq: int = 0
    pid: int = 0


@dataclass(frozen=True)
class Nlattr:
    """`struct nlattr` with its value.

    Args:
        type: of the attribute, with the bits `NLA_F_*` if it has any.
        value: without padding.
    """

    type: int
    value: bytes


_ATTRIBUTE = struct.Struct("=HH")
_HEADER_SIZE = 16
_ATTRIBUTE_MAX = 0xFFFF - _ATTRIBUTE.size


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def build_messages(messages: Iterable[Nlmsg]) -> bytes:
    """The bytes of the messages, to send in one piece. Raises ValueError if a number does not fit."""
    return b"".join(
        _padded(Nlmsghdr(_HEADER_SIZE + len(m.payload), m.type, m.flags, m.seq, m.pid).to_bytes() + m.payload)
        for m in messages
    )


def parse_messages(data: bytes) -> list[Nlmsg]:
    """The messages in what one `recv` gave.

    Raises:
        ValueError: a length is less than that of a header, or more than there is: the data was cut off, or
            is no list of messages.
    """
    messages = []
    position = 0
    while position < len(data):
        header = Nlmsghdr.from_bytes(data[position : position + _HEADER_SIZE])
        if not _HEADER_SIZE <= header.len <= len(data) - position:
            raise ValueError("wrong length of a netlink message", header.len, len(data) - position)
        payload = bytes(data[position + _HEADER_SIZE : position + header.len])
        messages.append(Nlmsg(header.type, header.flags, payload, header.seq, header.pid))
        position += header.len + -header.len % 4
    return messages


def build_attributes(attributes: Iterable[Nlattr]) -> bytes:
    """The bytes of the attributes. Raises ValueError if a type or a value is too large."""
    built = []
    for attribute in attributes:
        if len(attribute.value) > _ATTRIBUTE_MAX or not 0 <= attribute.type <= 0xFFFF:
            raise ValueError("too large for a netlink attribute", attribute.type, len(attribute.value))
        header = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(attribute.value), attribute.type)
        built.append(_padded(header + attribute.value))
    return b"".join(built)


def parse_attributes(data: bytes) -> list[Nlattr]:
    """The attributes in the rest of a payload, or in the value of an attribute that has others inside.

    Raises:
        ValueError: a length is less than that of a header, or more than there is.
    """
    attributes = []
    position = 0
    while position < len(data):
        left = len(data) - position
        if left < _ATTRIBUTE.size:
            raise ValueError("bytes after the last netlink attribute", left)
        length, kind = _ATTRIBUTE.unpack_from(data, position)
        if not _ATTRIBUTE.size <= length <= left:
            raise ValueError("wrong length of a netlink attribute", length, left)
        attributes.append(Nlattr(kind, bytes(data[position + _ATTRIBUTE.size : position + length])))
        position += length + -length % 4
    return attributes


_register_sockaddr(SockaddrNl)
