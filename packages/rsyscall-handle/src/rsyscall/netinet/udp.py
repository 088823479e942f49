"""`<netinet/udp.h>`: options of UDP sockets, and control messages about several datagrams in one."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from rsyscall.sys._cmsg_known import CmsgNumber
from rsyscall.sys.socket import SOL

__all__ = ["UDP", "UDP_ENCAP", "CmsgUdpGro", "CmsgUdpSegment"]


class UDP(enum.IntEnum):
    """`UDP_*`: options at level `SOL.UDP`.

    manpage: udp(7)
    """

    CORK = 1
    ENCAP = 100
    NO_CHECK6_TX = 101
    NO_CHECK6_RX = 102
    SEGMENT = 103
    GRO = 104


class UDP_ENCAP(enum.IntEnum):
    """`UDP_ENCAP_*`: values of the option `UDP.ENCAP`, what is in the datagrams."""

    ESPINUDP_NON_IKE = 1
    ESPINUDP = 2
    L2TPINUDP = 3
    GTP0 = 4
    GTP1U = 5
    RXRPC = 6


@dataclass(frozen=True)
class CmsgUdpSegment(CmsgNumber, level=SOL.UDP, type=UDP.SEGMENT, format="H"):
    """`UDP_SEGMENT`: send the data as datagrams of this many bytes; the last one has the rest.

    manpage: udp(7)
    """


@dataclass(frozen=True)
class CmsgUdpGro(CmsgNumber, level=SOL.UDP, type=UDP.GRO, format="i"):
    """`UDP_GRO`: what was received are datagrams of this many bytes; of the option `UDP.GRO`.

    manpage: udp(7)
    """
