"""`<linux/rtnetlink.h>`, `<linux/if_link.h>`: network interfaces, through netlink."""

from __future__ import annotations

import enum

from rsyscall.cstruct import CStruct, i32, u8, u16, u32
from rsyscall.net.if_ import IFF

__all__ = ["IFLA", "RTM", "RTMGRP", "Ifinfomsg"]


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
