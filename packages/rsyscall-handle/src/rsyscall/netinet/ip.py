"""`<netinet/ip.h>`, `<linux/in.h>`, `<linux/in6.h>`: protocols, and options of IPv4 and IPv6 sockets."""

from __future__ import annotations

import enum
import ipaddress
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from rsyscall.cstruct import CStruct, array, i32, u32
from rsyscall.linux.errqueue import SockExtendedErr
from rsyscall.netinet.in_ import INADDR, SockaddrIn, SockaddrIn6
from rsyscall.sys._cmsg_known import CmsgNumber, CmsgStruct
from rsyscall.sys._msghdr import _CutOffError
from rsyscall.sys.socket import SOL, Sockaddr, SockaddrStorage

if TYPE_CHECKING:
    from rsyscall.handle.fd import FileDescriptorTask

__all__ = [
    "INADDR",
    "IP",
    "IPPROTO",
    "IPV6",
    "IPV6_FLOWINFO_FLOWLABEL",
    "IPV6_FLOWINFO_PRIORITY",
    "IPV6_FL_A",
    "IPV6_FL_F",
    "IPV6_FL_S",
    "IPV6_PMTUDISC",
    "IPV6_PREFER_SRC",
    "IP_DEFAULT_MULTICAST_LOOP",
    "IP_DEFAULT_MULTICAST_TTL",
    "IP_MAX_MEMBERSHIPS",
    "IP_PMTUDISC",
    "MCAST",
    "CmsgIpPktinfo",
    "CmsgIpRecverr",
    "CmsgIpTos",
    "CmsgIpTtl",
    "CmsgIpv6Hoplimit",
    "CmsgIpv6Pktinfo",
    "CmsgIpv6Recverr",
    "CmsgIpv6Tclass",
    "GroupReq",
    "GroupSourceReq",
    "In6Pktinfo",
    "InPktinfo",
    "IpMreqSource",
    "IpMreqn",
    "Ipv6Mreq",
    "SockaddrIn",
    "SockaddrIn6",
]

T_recverr = TypeVar("T_recverr", bound="_CmsgRecverr")

_PACKED = operator.attrgetter("packed")
_ANY = ipaddress.IPv4Address(0)
_ANY6 = ipaddress.IPv6Address(0)


class IPPROTO(enum.IntEnum):
    """`IPPROTO_*`: protocols on top of IP, and IPv6 extension headers.

    manpage: ip(7)
    """

    IP = 0
    HOPOPTS = 0
    ICMP = 1
    IGMP = 2
    IPIP = 4
    TCP = 6
    EGP = 8
    PUP = 12
    UDP = 17
    IDP = 22
    TP = 29
    DCCP = 33
    IPV6 = 41
    ROUTING = 43
    FRAGMENT = 44
    RSVP = 46
    GRE = 47
    ESP = 50
    AH = 51
    ICMPV6 = 58
    NONE = 59
    DSTOPTS = 60
    MTP = 92
    BEETPH = 94
    ENCAP = 98
    PIM = 103
    COMP = 108
    L2TP = 115
    SCTP = 132
    MH = 135
    UDPLITE = 136
    MPLS = 137
    ETHERNET = 143
    AGGFRAG = 144  # Linux 6.14
    RAW = 255
    SMC = 256  # Linux 6.11
    MPTCP = 262


class IP(enum.IntEnum):
    """`IP_*`: socket options at level `SOL.IP`.

    `PMTUDISC_DONT` is not an option but a value of `MTU_DISCOVER`; `IP_PMTUDISC` has all of those.

    manpage: ip(7)
    """

    PMTUDISC_DONT = 0
    TOS = 1
    TTL = 2
    HDRINCL = 3
    OPTIONS = 4
    ROUTER_ALERT = 5
    RECVOPTS = 6
    RETOPTS = 7
    RECVRETOPTS = 7
    PKTINFO = 8
    PKTOPTIONS = 9
    MTU_DISCOVER = 10
    PMTUDISC = 10
    RECVERR = 11
    RECVTTL = 12
    RECVTOS = 13
    MTU = 14
    FREEBIND = 15
    IPSEC_POLICY = 16
    XFRM_POLICY = 17
    PASSSEC = 18
    TRANSPARENT = 19
    ORIGDSTADDR = 20
    RECVORIGDSTADDR = 20
    MINTTL = 21
    NODEFRAG = 22
    CHECKSUM = 23
    BIND_ADDRESS_NO_PORT = 24
    RECVFRAGSIZE = 25
    RECVERR_RFC4884 = 26
    MULTICAST_IF = 32
    MULTICAST_TTL = 33
    MULTICAST_LOOP = 34
    ADD_MEMBERSHIP = 35
    DROP_MEMBERSHIP = 36
    UNBLOCK_SOURCE = 37
    BLOCK_SOURCE = 38
    ADD_SOURCE_MEMBERSHIP = 39
    DROP_SOURCE_MEMBERSHIP = 40
    MSFILTER = 41
    MULTICAST_ALL = 49
    UNICAST_IF = 50
    LOCAL_PORT_RANGE = 51  # since Linux 6.3
    PROTOCOL = 52  # since Linux 6.4


IP_DEFAULT_MULTICAST_TTL = 1
"""What `IP.MULTICAST_TTL` is at the beginning."""
IP_DEFAULT_MULTICAST_LOOP = 1
"""What `IP.MULTICAST_LOOP` is at the beginning."""
IP_MAX_MEMBERSHIPS = 20
"""How many groups a socket can be in, unless the administrator has changed that."""


class IP_PMTUDISC(enum.IntEnum):
    """`IP_PMTUDISC_*`: values of the option `IP.MTU_DISCOVER`.

    manpage: ip(7)
    """

    DONT = 0
    WANT = 1
    DO = 2
    PROBE = 3
    INTERFACE = 4
    OMIT = 5


class IPV6(enum.IntEnum):
    """`IPV6_*`: socket options at level `SOL.IPV6`.

    manpage: ipv6(7)
    """

    ADDRFORM = 1
    PKTINFO_2292 = 2
    HOPOPTS_2292 = 3
    DSTOPTS_2292 = 4
    RTHDR_2292 = 5
    PKTOPTIONS_2292 = 6
    CHECKSUM = 7
    HOPLIMIT_2292 = 8
    NEXTHOP = 9
    AUTHHDR = 10
    FLOWINFO = 11
    UNICAST_HOPS = 16
    MULTICAST_IF = 17
    MULTICAST_HOPS = 18
    MULTICAST_LOOP = 19
    ADD_MEMBERSHIP = 20
    JOIN_GROUP = 20
    DROP_MEMBERSHIP = 21
    LEAVE_GROUP = 21
    ROUTER_ALERT = 22
    MTU_DISCOVER = 23
    MTU = 24
    RECVERR = 25
    V6ONLY = 26
    JOIN_ANYCAST = 27
    LEAVE_ANYCAST = 28
    MULTICAST_ALL = 29
    ROUTER_ALERT_ISOLATE = 30
    RECVERR_RFC4884 = 31
    FLOWLABEL_MGR = 32
    FLOWINFO_SEND = 33
    IPSEC_POLICY = 34
    XFRM_POLICY = 35
    HDRINCL = 36
    RECVPKTINFO = 49
    PKTINFO = 50
    RECVHOPLIMIT = 51
    HOPLIMIT = 52
    RECVHOPOPTS = 53
    HOPOPTS = 54
    RXHOPOPTS = 54
    RTHDRDSTOPTS = 55
    RECVRTHDR = 56
    RTHDR = 57
    RECVDSTOPTS = 58
    DSTOPTS = 59
    RXDSTOPTS = 59
    RECVPATHMTU = 60
    PATHMTU = 61
    DONTFRAG = 62
    RECVTCLASS = 66
    TCLASS = 67
    AUTOFLOWLABEL = 70
    ADDR_PREFERENCES = 72
    MINHOPCOUNT = 73
    ORIGDSTADDR = 74
    RECVORIGDSTADDR = 74
    TRANSPARENT = 75
    UNICAST_IF = 76
    RECVFRAGSIZE = 77
    FREEBIND = 78


class IPV6_PMTUDISC(enum.IntEnum):
    """`IPV6_PMTUDISC_*`: values of the option `IPV6.MTU_DISCOVER`.

    manpage: ipv6(7)
    """

    DONT = 0
    WANT = 1
    DO = 2
    PROBE = 3
    INTERFACE = 4
    OMIT = 5


class IPV6_PREFER_SRC(enum.IntFlag):
    """`IPV6_PREFER_SRC_*`: values of the option `IPV6.ADDR_PREFERENCES`, which source addresses to choose.

    manpage: ipv6(7)
    """

    TMP = 0x0001
    PUBLIC = 0x0002
    COA = 0x0004
    CGA = 0x0008
    PUBTMP_DEFAULT = 0x0100
    HOME = 0x0400
    NONCGA = 0x0800


class IPV6_FL_A(enum.IntEnum):
    """`IPV6_FL_A_*`: the action of the option `IPV6.FLOWLABEL_MGR` on a flow label."""

    GET = 0
    PUT = 1
    RENEW = 2


class IPV6_FL_F(enum.IntFlag):
    """`IPV6_FL_F_*`: how it does that."""

    CREATE = 1
    EXCL = 2
    REFLECT = 4
    REMOTE = 8


class IPV6_FL_S(enum.IntEnum):
    """`IPV6_FL_S_*`: who else may use the flow label."""

    NONE = 0
    EXCL = 1
    PROCESS = 2
    USER = 3
    ANY = 255


IPV6_FLOWINFO_FLOWLABEL = 0x000FFFFF
"""Bits of `flowinfo`, in host order, that are the flow label."""
IPV6_FLOWINFO_PRIORITY = 0x0FF00000
"""Bits of `flowinfo`, in host order, that are the traffic class."""


class MCAST(enum.IntEnum):
    """`MCAST_*`: options at levels `SOL.IP` and `SOL.IPV6` about multicast groups, with addresses of both.

    manpage: ip(7)
    """

    JOIN_GROUP = 42
    BLOCK_SOURCE = 43
    UNBLOCK_SOURCE = 44
    LEAVE_GROUP = 45
    JOIN_SOURCE_GROUP = 46
    LEAVE_SOURCE_GROUP = 47
    MSFILTER = 48


class InPktinfo(CStruct, c="struct in_pktinfo", headers=("netinet/in.h",), frozen=True):
    """`struct in_pktinfo`: which interface and addresses a datagram has.

    Args:
        ifindex: of the interface; 0 in a message that is sent: the kernel chooses.
        spec_dst: our address: where it was received, or from which it is sent.
        addr: the destination in its header, which may be a broadcast address. Not used for sending.

    manpage: ip(7)
    """

    ifindex: int = i32("ipi_ifindex", default=0)
    spec_dst: ipaddress.IPv4Address = array(
        "ipi_spec_dst", 4, ipaddress.IPv4Address, encode=_PACKED, default=_ANY
    )
    addr: ipaddress.IPv4Address = array("ipi_addr", 4, ipaddress.IPv4Address, encode=_PACKED, default=_ANY)


class In6Pktinfo(CStruct, c="struct in6_pktinfo", headers=("netinet/in.h",), frozen=True):
    """`struct in6_pktinfo`: which interface and address a datagram has.

    Args:
        addr: ours: the destination of one that was received, or from which it is sent.
        ifindex: of the interface; 0 in a message that is sent: the kernel chooses.

    manpage: ipv6(7)
    """

    addr: ipaddress.IPv6Address = array("ipi6_addr", 16, ipaddress.IPv6Address, encode=_PACKED, default=_ANY6)
    ifindex: int = u32("ipi6_ifindex", default=0, offset=16)


class IpMreqn(CStruct, c="struct ip_mreqn", headers=("netinet/in.h",), frozen=True):
    """`struct ip_mreqn`: the value of `IP.ADD_MEMBERSHIP`, `IP.DROP_MEMBERSHIP` and `IP.MULTICAST_IF`.

    Args:
        multiaddr: the group.
        address: ours, of the interface.
        ifindex: of the interface; 0: the one with `address`.

    manpage: ip(7)
    """

    multiaddr: ipaddress.IPv4Address = array("imr_multiaddr", 4, ipaddress.IPv4Address, encode=_PACKED)
    address: ipaddress.IPv4Address = array(
        "imr_address", 4, ipaddress.IPv4Address, encode=_PACKED, default=_ANY
    )
    ifindex: int = i32("imr_ifindex", default=0)


class Ipv6Mreq(CStruct, c="struct ipv6_mreq", headers=("netinet/in.h",), frozen=True):
    """`struct ipv6_mreq`: the value of `IPV6.JOIN_GROUP` and `IPV6.LEAVE_GROUP`.

    Args:
        multiaddr: the group.
        ifindex: of the interface; 0: the kernel chooses.

    manpage: ipv6(7)
    """

    multiaddr: ipaddress.IPv6Address = array("ipv6mr_multiaddr", 16, ipaddress.IPv6Address, encode=_PACKED)
    ifindex: int = u32("ipv6mr_interface", default=0, offset=16)


class IpMreqSource(CStruct, c="struct ip_mreq_source", headers=("netinet/in.h",), frozen=True):
    """`struct ip_mreq_source`: the value of options about one sender to a group.

    They are `IP.ADD_SOURCE_MEMBERSHIP`, `IP.DROP_SOURCE_MEMBERSHIP`, `IP.BLOCK_SOURCE`, `IP.UNBLOCK_SOURCE`.

    Args:
        multiaddr: the group.
        interface: our address, of the interface.
        sourceaddr: who sends.

    manpage: ip(7)
    """

    multiaddr: ipaddress.IPv4Address = array("imr_multiaddr", 4, ipaddress.IPv4Address, encode=_PACKED)
    interface: ipaddress.IPv4Address = array("imr_interface", 4, ipaddress.IPv4Address, encode=_PACKED)
    sourceaddr: ipaddress.IPv4Address = array("imr_sourceaddr", 4, ipaddress.IPv4Address, encode=_PACKED)


def _stored(data: bytes) -> Sockaddr:
    return SockaddrStorage.from_bytes(data).parse()


def _to_store(address: Sockaddr) -> bytes:
    return address.to_bytes()


class GroupReq(CStruct, c="struct group_req", headers=("netinet/in.h",), frozen=True):
    """`struct group_req`: the value of `MCAST.JOIN_GROUP` and `MCAST.LEAVE_GROUP`.

    Args:
        interface: its index; 0: the kernel chooses.
        group: a `SockaddrIn` or `SockaddrIn6`; the port is not used.

    manpage: ip(7)
    """

    interface: int = u32("gr_interface")
    group: Sockaddr = array("gr_group", 128, _stored, encode=_to_store, offset=8)


class GroupSourceReq(CStruct, c="struct group_source_req", headers=("netinet/in.h",), frozen=True):
    """`struct group_source_req`: the value of options about one sender to a group.

    They are `MCAST.JOIN_SOURCE_GROUP`, `MCAST.LEAVE_SOURCE_GROUP`, `MCAST.BLOCK_SOURCE`,
    `MCAST.UNBLOCK_SOURCE`.

    Args:
        interface: its index; 0: the kernel chooses.
        group: a `SockaddrIn` or `SockaddrIn6`; the port is not used.
        source: who sends, an address of the same family.

    manpage: ip(7)
    """

    interface: int = u32("gsr_interface")
    group: Sockaddr = array("gsr_group", 128, _stored, encode=_to_store, offset=8)
    source: Sockaddr = array("gsr_source", 128, _stored, encode=_to_store)


@dataclass(frozen=True)
class CmsgIpPktinfo(CmsgStruct, level=SOL.IP, type=IP.PKTINFO, struct=InPktinfo):
    """`IP_PKTINFO`: the interface and addresses of a datagram; received because of the option.

    manpage: ip(7)
    """

    value: InPktinfo


@dataclass(frozen=True)
class CmsgIpTtl(CmsgNumber, level=SOL.IP, type=IP.TTL, format="i"):
    """`IP_TTL`: how many routers a datagram may pass; received because of `IP.RECVTTL`.

    manpage: ip(7)
    """


@dataclass(frozen=True)
class CmsgIpTos(CmsgNumber, level=SOL.IP, type=IP.TOS, format="iB"):
    """`IP_TOS`: the type of service, with the congestion bits; received because of `IP.RECVTOS`.

    manpage: ip(7)
    """


@dataclass(frozen=True)
class CmsgIpv6Pktinfo(CmsgStruct, level=SOL.IPV6, type=IPV6.PKTINFO, struct=In6Pktinfo):
    """`IPV6_PKTINFO`: the interface and address of a datagram; received because of `IPV6.RECVPKTINFO`.

    manpage: ipv6(7)
    """

    value: In6Pktinfo


@dataclass(frozen=True)
class CmsgIpv6Hoplimit(CmsgNumber, level=SOL.IPV6, type=IPV6.HOPLIMIT, format="i"):
    """`IPV6_HOPLIMIT`: how many routers a datagram may pass; received because of `IPV6.RECVHOPLIMIT`.

    manpage: ipv6(7)
    """


@dataclass(frozen=True)
class CmsgIpv6Tclass(CmsgNumber, level=SOL.IPV6, type=IPV6.TCLASS, format="i"):
    """`IPV6_TCLASS`: the traffic class, with the congestion bits; received because of `IPV6.RECVTCLASS`.

    manpage: ipv6(7)
    """


@dataclass(frozen=True)
class _CmsgRecverr(CmsgStruct, struct=SockExtendedErr):
    """An error of a datagram that was sent, and the host that has reported it."""

    value: SockExtendedErr
    offender: SockaddrIn | SockaddrIn6 | None = None

    _address: ClassVar[type[SockaddrIn] | type[SockaddrIn6]]

    def __init_subclass__(cls, address: type[SockaddrIn] | type[SockaddrIn6], **kwargs: Any) -> None:
        cls._address = address
        super().__init_subclass__(**kwargs)

    def to_data(self) -> bytes:
        """The error, and the address or zeros."""
        return self.value.to_bytes() + (
            self.offender.to_bytes() if self.offender else bytes(self._address.sizeof())
        )

    @classmethod
    def from_data(cls: type[T_recverr], task: FileDescriptorTask[Any], data: bytes) -> T_recverr:
        """Parse both. Raises ValueError if the error was cut off."""
        size = SockExtendedErr.sizeof()
        if len(data) < size:
            raise _CutOffError("an error was cut off", len(data))
        address, rest = cls._address, data[size:]
        there = len(rest) >= address.sizeof() and rest[:2] == address.family.to_bytes(2, "little")
        return cls(SockExtendedErr.from_bytes(data), address.from_bytes(rest) if there else None)


@dataclass(frozen=True)
class CmsgIpRecverr(_CmsgRecverr, level=SOL.IP, type=IP.RECVERR, address=SockaddrIn):
    """`IP_RECVERR`: an error of a datagram that was sent, from the error queue; because of the option.

    Args:
        value: the error.
        offender: the host that has reported it; None: this one.

    manpage: ip(7)
    """

    offender: SockaddrIn | None = None


@dataclass(frozen=True)
class CmsgIpv6Recverr(_CmsgRecverr, level=SOL.IPV6, type=IPV6.RECVERR, address=SockaddrIn6):
    """`IPV6_RECVERR`: an error of a datagram that was sent, from the error queue; because of the option.

    Args:
        value: the error.
        offender: the host that has reported it; None: this one.

    manpage: ipv6(7)
    """

    offender: SockaddrIn6 | None = None
