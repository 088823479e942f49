"""`<linux/rtnetlink.h>`, `<linux/if_link.h>`, `<linux/if_addr.h>`, `<linux/veth.h>`: networks, by netlink."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TypeVar

from rsyscall.cstruct import CStruct, i32, u8, u16, u32
from rsyscall.net.if_ import IFF

__all__ = [
    "IFA",
    "IFA_F",
    "IFLA",
    "IFLA_INFO",
    "RTA",
    "RTM",
    "RTMGRP",
    "RTM_F",
    "RTN",
    "RTPROT",
    "RT_SCOPE",
    "RT_TABLE",
    "VETH_INFO",
    "Ifaddrmsg",
    "Ifinfomsg",
    "Rtmsg",
]

T_enum = TypeVar("T_enum", bound=enum.IntEnum)


def _known(cls: type[T_enum]) -> Callable[[int], T_enum | int]:
    """Make members of numbers, but leave those that users or newer kernels have defined as they are."""
    numbers: dict[int, T_enum] = {int(member): member for member in cls}
    return lambda number: numbers.get(number, number)


class RTMGRP(enum.IntFlag):
    """`RTMGRP_*`: multicast groups of `NETLINK.ROUTE`, for `SockaddrNl`.

    manpage: rtnetlink(7)
    """

    NONE = 0
    LINK = 0x1
    NOTIFY = 0x2
    NEIGH = 0x4
    TC = 0x8
    IPV4_IFADDR = 0x10
    IPV4_MROUTE = 0x20
    IPV4_ROUTE = 0x40
    IPV4_RULE = 0x80
    IPV6_IFADDR = 0x100
    IPV6_MROUTE = 0x200
    IPV6_ROUTE = 0x400
    IPV6_IFINFO = 0x800
    DECnet_IFADDR = 0x1000
    NOP2 = 0x2000
    DECnet_ROUTE = 0x4000
    DECnet_RULE = 0x8000
    NOP4 = 0x10000
    IPV6_PREFIX = 0x20000
    IPV6_RULE = 0x40000
    MPLS_ROUTE = 0x4000000


class RTM(enum.IntEnum):
    """`RTM_*`: types of messages of `NETLINK.ROUTE`.

    manpage: rtnetlink(7)
    """

    NEWLINK = 16
    DELLINK = 17
    GETLINK = 18
    SETLINK = 19
    NEWADDR = 20
    DELADDR = 21
    GETADDR = 22
    NEWROUTE = 24
    DELROUTE = 25
    GETROUTE = 26
    NEWNEIGH = 28
    DELNEIGH = 29
    GETNEIGH = 30
    NEWRULE = 32
    DELRULE = 33
    GETRULE = 34
    NEWQDISC = 36
    DELQDISC = 37
    GETQDISC = 38
    NEWTCLASS = 40
    DELTCLASS = 41
    GETTCLASS = 42
    NEWTFILTER = 44
    DELTFILTER = 45
    GETTFILTER = 46
    NEWACTION = 48
    DELACTION = 49
    GETACTION = 50
    NEWPREFIX = 52
    GETMULTICAST = 58
    GETANYCAST = 62
    NEWNEIGHTBL = 64
    GETNEIGHTBL = 66
    SETNEIGHTBL = 67
    NEWNDUSEROPT = 68
    NEWADDRLABEL = 72
    DELADDRLABEL = 73
    GETADDRLABEL = 74
    GETDCB = 78
    SETDCB = 79
    NEWNETCONF = 80
    DELNETCONF = 81
    GETNETCONF = 82
    NEWMDB = 84
    DELMDB = 85
    GETMDB = 86
    NEWNSID = 88
    DELNSID = 89
    GETNSID = 90
    NEWSTATS = 92
    GETSTATS = 94
    SETSTATS = 95
    NEWCACHEREPORT = 96
    NEWCHAIN = 100
    DELCHAIN = 101
    GETCHAIN = 102
    NEWNEXTHOP = 104
    DELNEXTHOP = 105
    GETNEXTHOP = 106
    NEWLINKPROP = 108
    DELLINKPROP = 109
    GETLINKPROP = 110
    NEWVLAN = 112
    DELVLAN = 113
    GETVLAN = 114
    NEWNEXTHOPBUCKET = 116
    DELNEXTHOPBUCKET = 117
    GETNEXTHOPBUCKET = 118
    NEWTUNNEL = 120
    DELTUNNEL = 121
    GETTUNNEL = 122


class IFLA(enum.IntEnum):
    """`IFLA_*`: attributes of a link, behind the `Ifinfomsg` of its message.

    manpage: rtnetlink(7)
    """

    UNSPEC = 0
    ADDRESS = 1
    BROADCAST = 2
    IFNAME = 3
    MTU = 4
    LINK = 5
    QDISC = 6
    STATS = 7
    COST = 8
    PRIORITY = 9
    MASTER = 10
    WIRELESS = 11
    PROTINFO = 12
    TXQLEN = 13
    MAP = 14
    WEIGHT = 15
    OPERSTATE = 16
    LINKMODE = 17
    LINKINFO = 18
    NET_NS_PID = 19
    IFALIAS = 20
    NUM_VF = 21
    VFINFO_LIST = 22
    STATS64 = 23
    VF_PORTS = 24
    PORT_SELF = 25
    AF_SPEC = 26
    GROUP = 27
    NET_NS_FD = 28
    EXT_MASK = 29
    PROMISCUITY = 30
    NUM_TX_QUEUES = 31
    NUM_RX_QUEUES = 32
    CARRIER = 33
    PHYS_PORT_ID = 34
    CARRIER_CHANGES = 35
    PHYS_SWITCH_ID = 36
    LINK_NETNSID = 37
    PHYS_PORT_NAME = 38
    PROTO_DOWN = 39
    GSO_MAX_SEGS = 40
    GSO_MAX_SIZE = 41
    PAD = 42
    XDP = 43
    EVENT = 44
    NEW_NETNSID = 45
    IF_NETNSID = 46
    TARGET_NETNSID = 46
    CARRIER_UP_COUNT = 47
    CARRIER_DOWN_COUNT = 48
    NEW_IFINDEX = 49
    MIN_MTU = 50
    MAX_MTU = 51
    PROP_LIST = 52
    ALT_IFNAME = 53
    PERM_ADDRESS = 54
    PROTO_DOWN_REASON = 55
    PARENT_DEV_NAME = 56
    PARENT_DEV_BUS_NAME = 57
    GRO_MAX_SIZE = 58
    TSO_MAX_SIZE = 59
    TSO_MAX_SEGS = 60
    ALLMULTI = 61


class Ifinfomsg(CStruct, c="struct ifinfomsg", headers=("linux/rtnetlink.h",), frozen=True):
    """`struct ifinfomsg`: a link; with `RTM.GETLINK` and `NLM_F.DUMP`, every link of the network namespace.

    Args:
        family: `AF.UNSPEC`.
        type: of the hardware, `ARPHRD_*`.
        index: of the interface.
        flags: of the interface.
        change: the flags that a request changes.

    manpage: rtnetlink(7)
    """

    family: int = u8("ifi_family", default=0)
    type: int = u16("ifi_type", default=0)
    index: int = i32("ifi_index", default=0)
    flags: IFF = u32("ifi_flags", IFF, default=IFF.NONE)
    change: int = u32("ifi_change", default=0)


class IFLA_INFO(enum.IntEnum):
    """`IFLA_INFO_*`: attributes inside of `IFLA.LINKINFO`: what kind of interface it is.

    manpage: rtnetlink(7)
    """

    UNSPEC = 0
    KIND = 1
    DATA = 2
    XSTATS = 3
    SLAVE_KIND = 4
    SLAVE_DATA = 5


class VETH_INFO(enum.IntEnum):
    """`VETH_INFO_*`: attributes inside of `IFLA_INFO.DATA`, for the kind "veth"; `PEER` has an `Ifinfomsg`
    and the `IFLA` of the other end.

    manpage: rtnetlink(7)
    """

    UNSPEC = 0
    PEER = 1


class IFA(enum.IntEnum):
    """`IFA_*`: attributes of an address, behind the `Ifaddrmsg` of its message.

    manpage: rtnetlink(7)
    """

    UNSPEC = 0
    ADDRESS = 1
    LOCAL = 2
    LABEL = 3
    BROADCAST = 4
    ANYCAST = 5
    CACHEINFO = 6
    MULTICAST = 7
    FLAGS = 8
    RT_PRIORITY = 9
    TARGET_NETNSID = 10
    PROTO = 11  # since Linux 5.18


class IFA_F(enum.IntFlag):
    """`IFA_F_*`: flags of an address.

    manpage: rtnetlink(7)
    """

    NONE = 0
    SECONDARY = 0x1
    TEMPORARY = 0x1
    NODAD = 0x2
    OPTIMISTIC = 0x4
    DADFAILED = 0x8
    HOMEADDRESS = 0x10
    DEPRECATED = 0x20
    TENTATIVE = 0x40
    PERMANENT = 0x80
    MANAGETEMPADDR = 0x100
    NOPREFIXROUTE = 0x200
    MCAUTOJOIN = 0x400
    STABLE_PRIVACY = 0x800


class RT_SCOPE(enum.IntEnum):
    """`RT_SCOPE_*`: how far away what an address or a route leads to may be; users may define those between.

    manpage: rtnetlink(7)
    """

    UNIVERSE = 0
    SITE = 200
    LINK = 253
    HOST = 254
    NOWHERE = 255


class Ifaddrmsg(CStruct, c="struct ifaddrmsg", headers=("linux/if_addr.h",), frozen=True):
    """`struct ifaddrmsg`: an address of an interface.

    Args:
        family: `AF.INET` or `AF.INET6`.
        prefixlen: how many bits of the address are those of its network.
        flags: of the address; `IFA.FLAGS` has those that do not fit.
        scope: where the address is valid.
        index: of the interface.

    manpage: rtnetlink(7)
    """

    family: int = u8("ifa_family", default=0)
    prefixlen: int = u8("ifa_prefixlen", default=0)
    flags: IFA_F = u8("ifa_flags", IFA_F, default=IFA_F.NONE)
    scope: RT_SCOPE | int = u8("ifa_scope", _known(RT_SCOPE), prefix="RT_SCOPE_", default=RT_SCOPE.UNIVERSE)
    index: int = u32("ifa_index", default=0)


class RTA(enum.IntEnum):
    """`RTA_*`: attributes of a route, behind the `Rtmsg` of its message.

    manpage: rtnetlink(7)
    """

    UNSPEC = 0
    DST = 1
    SRC = 2
    IIF = 3
    OIF = 4
    GATEWAY = 5
    PRIORITY = 6
    PREFSRC = 7
    METRICS = 8
    MULTIPATH = 9
    PROTOINFO = 10
    FLOW = 11
    CACHEINFO = 12
    SESSION = 13
    MP_ALGO = 14
    TABLE = 15
    MARK = 16
    MFC_STATS = 17
    VIA = 18
    NEWDST = 19
    PREF = 20
    ENCAP_TYPE = 21
    ENCAP = 22
    EXPIRES = 23
    PAD = 24
    UID = 25
    TTL_PROPAGATE = 26
    IP_PROTO = 27
    SPORT = 28
    DPORT = 29
    NH_ID = 30


class RTN(enum.IntEnum):
    """`RTN_*`: what a route does with a packet.

    manpage: rtnetlink(7)
    """

    UNSPEC = 0
    UNICAST = 1
    LOCAL = 2
    BROADCAST = 3
    ANYCAST = 4
    MULTICAST = 5
    BLACKHOLE = 6
    UNREACHABLE = 7
    PROHIBIT = 8
    THROW = 9
    NAT = 10
    XRESOLVE = 11


class RTPROT(enum.IntEnum):
    """`RTPROT_*`: who has made a route.

    manpage: rtnetlink(7)
    """

    UNSPEC = 0
    REDIRECT = 1
    KERNEL = 2
    BOOT = 3
    STATIC = 4
    GATED = 8
    RA = 9
    MRT = 10
    ZEBRA = 11
    BIRD = 12
    DNROUTED = 13
    XORP = 14
    NTK = 15
    DHCP = 16
    MROUTED = 17
    KEEPALIVED = 18
    BABEL = 42
    OPENR = 99
    BGP = 186
    ISIS = 187
    OSPF = 188
    RIP = 189
    EIGRP = 192


class RT_TABLE(enum.IntEnum):
    """`RT_TABLE_*`: tables of routes; those above 255 are in `RTA.TABLE` alone.

    manpage: rtnetlink(7)
    """

    UNSPEC = 0
    COMPAT = 252
    DEFAULT = 253
    MAIN = 254
    LOCAL = 255


class RTM_F(enum.IntFlag):
    """`RTM_F_*`: flags of a route.

    manpage: rtnetlink(7)
    """

    NONE = 0
    NOTIFY = 0x100
    CLONED = 0x200
    EQUALIZE = 0x400
    PREFIX = 0x800
    LOOKUP_TABLE = 0x1000
    FIB_MATCH = 0x2000
    OFFLOAD = 0x4000
    TRAP = 0x8000
    OFFLOAD_FAILED = 0x20000000


class Rtmsg(CStruct, c="struct rtmsg", headers=("linux/rtnetlink.h",), frozen=True):
    """`struct rtmsg`: a route.

    Args:
        family: `AF.INET` or `AF.INET6`.
        dst_len: how many bits of `RTA.DST` a packet has to have; 0 for a default route.
        src_len: the same of `RTA.SRC`.
        tos: type of service.
        table: that the route is in.
        protocol: who has made it.
        scope: how far away what it leads to is.
        type: what it does with a packet.
        flags: of the route.

    manpage: rtnetlink(7)
    """

    family: int = u8("rtm_family", default=0)
    dst_len: int = u8("rtm_dst_len", default=0)
    src_len: int = u8("rtm_src_len", default=0)
    tos: int = u8("rtm_tos", default=0)
    table: RT_TABLE | int = u8("rtm_table", _known(RT_TABLE), prefix="RT_TABLE_", default=RT_TABLE.UNSPEC)
    protocol: RTPROT | int = u8("rtm_protocol", _known(RTPROT), prefix="RTPROT_", default=RTPROT.UNSPEC)
    scope: RT_SCOPE | int = u8("rtm_scope", _known(RT_SCOPE), prefix="RT_SCOPE_", default=RT_SCOPE.UNIVERSE)
    type: RTN | int = u8("rtm_type", _known(RTN), prefix="RTN_", default=RTN.UNSPEC)
    flags: RTM_F = u32("rtm_flags", RTM_F, default=RTM_F.NONE)
