"""The constants of `<sys/socket.h>` and `<linux/socket.h>`; import them from `rsyscall.sys.socket`."""

from __future__ import annotations

import enum

from rsyscall.sys._socket_flags import AF, MSG, SHUT, SOCK

__all__ = [
    "AF",
    "MSG",
    "SCM",
    "SHUT",
    "SO",
    "SOCK",
    "SOCK_BUF_LOCK",
    "SOCK_TXREHASH",
    "SOL",
    "MsghdrFlags",
    "RecvmsgFlags",
    "SendmsgFlags",
]


class SOL(enum.IntEnum):
    """`SOL_*`: levels of socket options and of control messages.

    manpage: getsockopt(2)
    """

    IP = 0
    SOCKET = 1
    TCP = 6
    UDP = 17
    IPV6 = 41
    ICMPV6 = 58
    SCTP = 132
    UDPLITE = 136
    RAW = 255
    IPX = 256
    AX25 = 257
    ATALK = 258
    NETROM = 259
    ROSE = 260
    DECNET = 261
    X25 = 262
    PACKET = 263
    ATM = 264
    AAL = 265
    IRDA = 266
    NETBEUI = 267
    LLC = 268
    DCCP = 269
    NETLINK = 270
    TIPC = 271
    RXRPC = 272
    PPPOL2TP = 273
    BLUETOOTH = 274
    PNPIPE = 275
    RDS = 276
    IUCV = 277
    CAIF = 278
    ALG = 279
    NFC = 280
    KCM = 281
    TLS = 282
    XDP = 283
    MPTCP = 284
    MCTP = 285
    SMC = 286
    VSOCK = 287


class SO(enum.IntEnum):
    """`SO_*`: options at level `SOL.SOCKET`.

    manpage: socket(7)
    """

    DEBUG = 1
    REUSEADDR = 2
    TYPE = 3
    ERROR = 4
    DONTROUTE = 5
    BROADCAST = 6
    SNDBUF = 7
    RCVBUF = 8
    KEEPALIVE = 9
    OOBINLINE = 10
    NO_CHECK = 11
    PRIORITY = 12
    LINGER = 13
    BSDCOMPAT = 14
    REUSEPORT = 15
    PASSCRED = 16
    PEERCRED = 17
    RCVLOWAT = 18
    SNDLOWAT = 19
    RCVTIMEO = 20
    RCVTIMEO_OLD = 20
    SNDTIMEO = 21
    SNDTIMEO_OLD = 21
    SECURITY_AUTHENTICATION = 22
    SECURITY_ENCRYPTION_TRANSPORT = 23
    SECURITY_ENCRYPTION_NETWORK = 24
    BINDTODEVICE = 25
    ATTACH_FILTER = 26
    GET_FILTER = 26
    DETACH_FILTER = 27
    DETACH_BPF = 27
    PEERNAME = 28
    TIMESTAMP = 29
    TIMESTAMP_OLD = 29
    ACCEPTCONN = 30
    PEERSEC = 31
    SNDBUFFORCE = 32
    RCVBUFFORCE = 33
    PASSSEC = 34
    TIMESTAMPNS = 35
    TIMESTAMPNS_OLD = 35
    MARK = 36
    TIMESTAMPING = 37
    TIMESTAMPING_OLD = 37
    PROTOCOL = 38
    DOMAIN = 39
    RXQ_OVFL = 40
    WIFI_STATUS = 41
    PEEK_OFF = 42
    NOFCS = 43
    LOCK_FILTER = 44
    SELECT_ERR_QUEUE = 45
    BUSY_POLL = 46
    MAX_PACING_RATE = 47
    BPF_EXTENSIONS = 48
    INCOMING_CPU = 49
    ATTACH_BPF = 50
    ATTACH_REUSEPORT_CBPF = 51
    ATTACH_REUSEPORT_EBPF = 52
    CNX_ADVICE = 53
    MEMINFO = 55
    INCOMING_NAPI_ID = 56
    COOKIE = 57
    PEERGROUPS = 59
    ZEROCOPY = 60
    TXTIME = 61
    BINDTOIFINDEX = 62
    TIMESTAMP_NEW = 63
    TIMESTAMPNS_NEW = 64
    TIMESTAMPING_NEW = 65
    RCVTIMEO_NEW = 66
    SNDTIMEO_NEW = 67
    DETACH_REUSEPORT_BPF = 68
    PREFER_BUSY_POLL = 69
    BUSY_POLL_BUDGET = 70
    NETNS_COOKIE = 71
    BUF_LOCK = 72
    RESERVE_MEM = 73
    TXREHASH = 74
    RCVMARK = 75
    PASSPIDFD = 76  # Linux 6.5
    PEERPIDFD = 77  # Linux 6.5
    DEVMEM_LINEAR = 78  # Linux 6.12
    DEVMEM_DMABUF = 79  # Linux 6.12
    DEVMEM_DONTNEED = 80  # Linux 6.12
    RCVPRIORITY = 82  # Linux 6.14
    PASSRIGHTS = 83  # Linux 6.16
    INQ = 84  # Linux 6.17
    RIGHTS_NOTRUNC = 85  # Linux 7.3


class SOCK_BUF_LOCK(enum.IntFlag):
    """`SOCK_SNDBUF_LOCK`, `SOCK_RCVBUF_LOCK`: values of the option `SO.BUF_LOCK`, which sizes of buffers are
    kept as they are.

    manpage: socket(7)
    """

    NONE = 0
    SNDBUF = 1
    RCVBUF = 2
    MASK = 3


class SOCK_TXREHASH(enum.IntEnum):
    """`SOCK_TXREHASH_*`: values of the option `SO.TXREHASH`, whether to look for another path at timeouts."""

    DISABLED = 0
    ENABLED = 1
    DEFAULT = 255


class SCM(enum.IntEnum):
    """`SCM_*`: types of control messages at level `SOL.SOCKET`.

    manpage: unix(7)
    """

    RIGHTS = 1
    CREDENTIALS = 2
    SECURITY = 3
    PIDFD = 4  # Linux 6.5
    TIMESTAMP = 29
    TIMESTAMPNS = 35
    TIMESTAMPING = 37
    WIFI_STATUS = 41
    TIMESTAMPING_OPT_STATS = 54
    TIMESTAMPING_PKTINFO = 58
    TXTIME = 61
    DEVMEM_LINEAR = 78  # Linux 6.12
    DEVMEM_DMABUF = 79  # Linux 6.12
    TS_OPT_ID = 81  # Linux 6.13
    INQ = 84  # Linux 6.17


class SendmsgFlags(enum.IntFlag):
    """The `MSG_*` flags that `sendmsg` and `sendmmsg` take.

    manpage: sendmsg(2)
    """

    NONE = 0
    OOB = 0x1
    DONTROUTE = 0x4
    DONTWAIT = 0x40
    EOR = 0x80
    CONFIRM = 0x800
    NOSIGNAL = 0x4000
    MORE = 0x8000
    ZEROCOPY = 0x4000000
    FASTOPEN = 0x20000000


class RecvmsgFlags(enum.IntFlag):
    """The `MSG_*` flags that `recvmsg` and `recvmmsg` take; `CMSG_CLOEXEC` is always added.

    `WAITFORONE` is for `recvmmsg`: wait for one message, and take the others that are there.

    manpage: recvmsg(2)
    """

    NONE = 0
    OOB = 0x1
    PEEK = 0x2
    TRUNC = 0x20
    DONTWAIT = 0x40
    WAITALL = 0x100
    ERRQUEUE = 0x2000
    WAITFORONE = 0x10000
    CMSG_CLOEXEC = 0x40000000


class MsghdrFlags(enum.IntFlag):
    """The `MSG_*` flags that `recvmsg` reports about the received message.

    `CTRUNC` means that control messages were lost because the buffer was too small for them.

    manpage: recvmsg(2)
    """

    NONE = 0
    OOB = 0x1
    CTRUNC = 0x8
    TRUNC = 0x20
    EOR = 0x80
    ERRQUEUE = 0x2000
    CMSG_CLOEXEC = 0x40000000
