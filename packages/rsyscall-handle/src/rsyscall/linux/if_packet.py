"""`<linux/if_packet.h>`: sockets that send and receive the packets of network devices as they are."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from rsyscall.cstruct import CStruct, array, be16, constant, i32, known, u8, u16, u32
from rsyscall.sys._cmsg_known import CmsgStruct
from rsyscall.sys.socket import AF, SOL, Sockaddr, _register_sockaddr

__all__ = [
    "PACKET",
    "PACKET_FANOUT",
    "PACKET_MR",
    "PACKET_OPTION",
    "TP_STATUS",
    "CmsgPacketAuxdata",
    "PacketMreq",
    "SockaddrLl",
    "TpacketAuxdata",
    "TpacketStats",
]

T_self = TypeVar("T_self", bound="SockaddrLl")


class PACKET(enum.IntEnum):
    """`PACKET_*`: to whom a received packet was sent.

    manpage: packet(7)
    """

    HOST = 0
    BROADCAST = 1
    MULTICAST = 2
    OTHERHOST = 3
    OUTGOING = 4
    LOOPBACK = 5
    USER = 6
    FASTROUTE = 6
    KERNEL = 7


class PACKET_OPTION(enum.IntEnum):
    """`PACKET_*`: socket options at level `SOL.PACKET`; most take an `Int32`.

    manpage: packet(7)
    """

    ADD_MEMBERSHIP = 1
    DROP_MEMBERSHIP = 2
    RECV_OUTPUT = 3
    RX_RING = 5
    STATISTICS = 6
    COPY_THRESH = 7
    AUXDATA = 8
    ORIGDEV = 9
    VERSION = 10
    HDRLEN = 11
    RESERVE = 12
    TX_RING = 13
    LOSS = 14
    VNET_HDR = 15
    TX_TIMESTAMP = 16
    TIMESTAMP = 17
    FANOUT = 18
    TX_HAS_OFF = 19
    QDISC_BYPASS = 20
    ROLLOVER_STATS = 21
    FANOUT_DATA = 22
    IGNORE_OUTGOING = 23


class PACKET_FANOUT(enum.IntEnum):
    """`PACKET_FANOUT_*`: how a group of sockets shares packets, and flags, in the upper half of the option.

    manpage: packet(7)
    """

    HASH = 0
    LB = 1
    CPU = 2
    ROLLOVER = 3
    RND = 4
    QM = 5
    CBPF = 6
    EBPF = 7
    FLAG_ROLLOVER = 0x1000
    FLAG_UNIQUEID = 0x2000
    FLAG_DEFRAG = 0x8000


class PACKET_MR(enum.IntEnum):
    """`PACKET_MR_*`: which packets a membership adds.

    manpage: packet(7)
    """

    MULTICAST = 0
    PROMISC = 1
    ALLMULTI = 2
    UNICAST = 3


class TP_STATUS(enum.IntFlag):
    """`TP_STATUS_*`: what the kernel says of a packet, and who has the memory of one in a ring.

    manpage: packet(7)
    """

    KERNEL = 0
    USER = 1 << 0
    COPY = 1 << 1
    LOSING = 1 << 2
    CSUMNOTREADY = 1 << 3
    VLAN_VALID = 1 << 4
    BLK_TMO = 1 << 5
    VLAN_TPID_VALID = 1 << 6
    CSUM_VALID = 1 << 7
    GSO_TCP = 1 << 8  # since Linux 6.2
    TS_SOFTWARE = 1 << 29
    TS_SYS_HARDWARE = 1 << 30
    TS_RAW_HARDWARE = 1 << 31
    # of a packet to send
    AVAILABLE = 0
    SEND_REQUEST = 1 << 0
    SENDING = 1 << 1
    WRONG_FORMAT = 1 << 2


class SockaddrLl(CStruct, Sockaddr, c="struct sockaddr_ll", headers=("linux/if_packet.h",), frozen=True):
    """`struct sockaddr_ll`: a network device, and an address on its link.

    Args:
        protocol: `ETH_P_*`, the type of the packets; 3 is all, 0 in `bind` none.
        ifindex: number of the device; 0 in `bind` is all.
        hatype: `ARPHRD_*`, the kind of the device; only in received ones.
        pkttype: to whom the packet was sent; only in received ones.
        halen: how many bytes of `addr` count.
        addr: the address on the link, 8 bytes.

    manpage: packet(7)
    """

    family: ClassVar[AF] = constant(u16("sll_family"), AF.PACKET)  # type: ignore[misc]  # the same for all of them
    protocol: int = be16("sll_protocol", default=0)
    ifindex: int = i32("sll_ifindex", default=0)
    hatype: int = u16("sll_hatype", default=0)
    pkttype: PACKET | int = u8("sll_pkttype", known(PACKET), default=PACKET.HOST)
    halen: int = u8("sll_halen", default=0)
    addr: bytes = array("sll_addr", 8, default=bytes(8))

    @property
    def hardware_address(self) -> bytes:
        """The bytes of `addr` that count: 6 of Ethernet."""
        return self.addr[: self.halen]

    @classmethod
    def from_bytes(cls: type[T_self], data: bytes) -> T_self:
        """Parse an address. The kernel leaves out what is behind the address on the link."""
        return super().from_bytes(data.ljust(cls.sizeof(), b"\0"))


class PacketMreq(CStruct, c="struct packet_mreq", headers=("linux/if_packet.h",), frozen=True):
    """`struct packet_mreq`: more packets to receive, for `PACKET_OPTION.ADD_MEMBERSHIP`.

    Args:
        ifindex: number of the device.
        type: which ones.
        alen: how many bytes of `address` count.
        address: on the link, 8 bytes.

    manpage: packet(7)
    """

    ifindex: int = i32("mr_ifindex")
    type: PACKET_MR | int = u16("mr_type")
    alen: int = u16("mr_alen", default=0)
    address: bytes = array("mr_address", 8, default=bytes(8))


class TpacketStats(CStruct, c="struct tpacket_stats", headers=("linux/if_packet.h",), frozen=True):
    """`struct tpacket_stats`: packets since the last `PACKET_OPTION.STATISTICS`, and how many were dropped.

    manpage: packet(7)
    """

    packets: int = u32("tp_packets")
    drops: int = u32("tp_drops")


class TpacketAuxdata(CStruct, c="struct tpacket_auxdata", headers=("linux/if_packet.h",), frozen=True):
    """`struct tpacket_auxdata`: what else is known of a packet.

    Args:
        status: flags, among them which of the following fields count.
        len: bytes of the packet.
        snaplen: bytes of it that a filter has left.
        mac: where its link-layer header begins, in the data of a `SOCK.RAW` socket.
        net: where its network header begins.
        vlan_tci: number and priority of its VLAN, if `TP_STATUS.VLAN_VALID`.
        vlan_tpid: `ETH_P_*`, the kind of VLAN, if `TP_STATUS.VLAN_TPID_VALID`.

    manpage: packet(7)
    """

    status: TP_STATUS = u32("tp_status", TP_STATUS)
    len: int = u32("tp_len")
    snaplen: int = u32("tp_snaplen")
    mac: int = u16("tp_mac", default=0)
    net: int = u16("tp_net", default=0)
    vlan_tci: int = u16("tp_vlan_tci", default=0)
    vlan_tpid: int = u16("tp_vlan_tpid", default=0)


@dataclass(frozen=True)
class CmsgPacketAuxdata(CmsgStruct, level=SOL.PACKET, type=PACKET_OPTION.AUXDATA, struct=TpacketAuxdata):
    """`PACKET_AUXDATA`: what else is known of a packet, such as its VLAN; received because of the option.

    manpage: packet(7)
    """

    value: TpacketAuxdata


_register_sockaddr(SockaddrLl)
