"""Those constants of `<sys/socket.h>` that every program needs; import them from `rsyscall.sys.socket`."""

from __future__ import annotations

import enum

__all__ = ["AF", "MSG", "SHUT", "SOCK"]


class AF(enum.IntEnum):
    """`AF_*`: address families.

    manpage: address_families(7)
    """

    UNSPEC = 0
    UNIX = 1
    LOCAL = 1
    FILE = 1
    INET = 2
    AX25 = 3
    IPX = 4
    APPLETALK = 5
    NETROM = 6
    BRIDGE = 7
    ATMPVC = 8
    X25 = 9
    INET6 = 10
    ROSE = 11
    DECnet = 12
    NETBEUI = 13
    SECURITY = 14
    KEY = 15
    NETLINK = 16
    ROUTE = 16
    PACKET = 17
    ASH = 18
    ECONET = 19
    ATMSVC = 20
    RDS = 21
    SNA = 22
    IRDA = 23
    PPPOX = 24
    WANPIPE = 25
    LLC = 26
    IB = 27
    MPLS = 28
    CAN = 29
    TIPC = 30
    BLUETOOTH = 31
    IUCV = 32
    RXRPC = 33
    ISDN = 34
    PHONET = 35
    IEEE802154 = 36
    CAIF = 37
    ALG = 38
    NFC = 39
    VSOCK = 40
    KCM = 41
    QIPCRTR = 42
    SMC = 43
    XDP = 44
    MCTP = 45


class SOCK(enum.IntFlag):
    """`SOCK_*`: the kind of a socket, or-ed with flags for its file descriptor.

    The kinds are numbers and not bits (`RAW` is 3, which is `STREAM | DGRAM`), so `SOCK.STREAM in kind` means
    nothing: compare `kind.kind` instead.

    manpage: socket(2)
    """

    NONE = 0
    STREAM = 1
    DGRAM = 2
    RAW = 3
    RDM = 4
    SEQPACKET = 5
    DCCP = 6
    PACKET = 10
    NONBLOCK = 0x800
    CLOEXEC = 0x80000

    @property
    def kind(self) -> SOCK:
        """The kind alone, without the flags."""
        return self & SOCK(0xF)


class SHUT(enum.IntEnum):
    """`SHUT_*`: which half of a connection to shut down.

    manpage: shutdown(2)
    """

    RD = 0
    WR = 1
    RDWR = 2


class MSG(enum.IntFlag):
    """`MSG_*`: flags of the sending and receiving calls, and of received messages.

    manpage: recv(2)
    """

    NONE = 0
    OOB = 0x1
    PEEK = 0x2
    DONTROUTE = 0x4
    TRYHARD = 0x4
    CTRUNC = 0x8
    PROXY = 0x10
    TRUNC = 0x20
    DONTWAIT = 0x40
    EOR = 0x80
    WAITALL = 0x100
    FIN = 0x200
    SYN = 0x400
    CONFIRM = 0x800
    RST = 0x1000
    ERRQUEUE = 0x2000
    NOSIGNAL = 0x4000
    MORE = 0x8000
    WAITFORONE = 0x10000
    BATCH = 0x40000
    ZEROCOPY = 0x4000000
    FASTOPEN = 0x20000000
    CMSG_CLOEXEC = 0x40000000
