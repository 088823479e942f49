"""`<linux/fib_rules.h>`: rules, which say in which table of routes a packet is looked up."""

from __future__ import annotations

import enum

from rsyscall.cstruct import CStruct, known, u8, u16, u32
from rsyscall.linux.rtnetlink import RT_TABLE

__all__ = ["FIB_RULE", "FRA", "FR_ACT", "FibRuleHdr", "FibRulePortRange", "FibRuleUidRange"]


class FIB_RULE(enum.IntFlag):
    """`FIB_RULE_*`: flags of a rule.

    manpage: ip-rule(8)
    """

    NONE = 0
    PERMANENT = 0x00000001
    INVERT = 0x00000002
    UNRESOLVED = 0x00000004
    IIF_DETACHED = 0x00000008
    DEV_DETACHED = 0x00000008
    OIF_DETACHED = 0x00000010
    FIND_SADDR = 0x00010000


class FR_ACT(enum.IntEnum):
    """`FR_ACT_*`: what a rule does with a packet.

    manpage: ip-rule(8)
    """

    UNSPEC = 0
    TO_TBL = 1
    GOTO = 2
    NOP = 3
    RES3 = 4
    RES4 = 5
    BLACKHOLE = 6
    UNREACHABLE = 7
    PROHIBIT = 8


class FRA(enum.IntEnum):
    """`FRA_*`: attributes of a rule.

    manpage: ip-rule(8)
    """

    UNSPEC = 0
    DST = 1
    SRC = 2
    IIFNAME = 3
    IFNAME = 3
    GOTO = 4
    UNUSED2 = 5
    PRIORITY = 6
    UNUSED3 = 7
    UNUSED4 = 8
    UNUSED5 = 9
    FWMARK = 10
    FLOW = 11
    TUN_ID = 12
    SUPPRESS_IFGROUP = 13
    SUPPRESS_PREFIXLEN = 14
    TABLE = 15
    FWMASK = 16
    OIFNAME = 17
    PAD = 18
    L3MDEV = 19
    UID_RANGE = 20
    PROTOCOL = 21
    IP_PROTO = 22
    SPORT_RANGE = 23
    DPORT_RANGE = 24
    DSCP = 25  # since Linux 6.13
    FLOWLABEL = 26  # since Linux 6.14
    FLOWLABEL_MASK = 27  # since Linux 6.14
    SPORT_MASK = 28  # since Linux 6.15
    DPORT_MASK = 29  # since Linux 6.15
    DSCP_MASK = 30  # since Linux 6.15


class FibRuleHdr(CStruct, c="struct fib_rule_hdr", headers=("linux/fib_rules.h",), frozen=True):
    """`struct fib_rule_hdr`: a rule, in messages `RTM.NEWRULE`, `RTM.DELRULE` and `RTM.GETRULE`.

    Args:
        family: `AF.INET` or `AF.INET6`.
        dst_len: how many bits of `FRA.DST` a packet has to have.
        src_len: the same of `FRA.SRC`.
        tos: type of service.
        table: of routes, if its number is less than 256; otherwise `FRA.TABLE` has it.
        action: what to do with the packet.
        flags: of the rule.

    manpage: ip-rule(8), rtnetlink(7)
    """

    family: int = u8("family", default=0)
    dst_len: int = u8("dst_len", default=0)
    src_len: int = u8("src_len", default=0)
    tos: int = u8("tos", default=0)
    table: RT_TABLE | int = u8("table", known(RT_TABLE), default=RT_TABLE.UNSPEC)
    action: FR_ACT | int = u8("action", known(FR_ACT), default=FR_ACT.UNSPEC, offset=7)
    flags: FIB_RULE = u32("flags", FIB_RULE, default=FIB_RULE.NONE)


class FibRuleUidRange(CStruct, c="struct fib_rule_uid_range", headers=("linux/fib_rules.h",), frozen=True):
    """`struct fib_rule_uid_range`: the value of `FRA.UID_RANGE`, whose packets the rule is for.

    Args:
        start: the first user.
        end: the last one.
    """

    start: int = u32("start")
    end: int = u32("end")


class FibRulePortRange(CStruct, c="struct fib_rule_port_range", headers=("linux/fib_rules.h",), frozen=True):
    """`struct fib_rule_port_range`: the value of `FRA.SPORT_RANGE` and `FRA.DPORT_RANGE`.

    Args:
        start: the first port, in host order.
        end: the last one.
    """

    start: int = u16("start")
    end: int = u16("end")
