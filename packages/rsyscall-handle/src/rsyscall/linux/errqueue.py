"""`<linux/errqueue.h>`: errors and other news about messages that were sent, from the queue of a socket.

They are received with `RecvmsgFlags.ERRQUEUE`, as control messages: `CmsgIpRecverr` and `CmsgIpv6Recverr` of
`rsyscall.netinet.ip`.
"""

from __future__ import annotations

import enum

from rsyscall.cstruct import CStruct, known, u8, u32

__all__ = ["SO_EE_CODE", "SO_EE_ORIGIN", "SockExtendedErr"]


class SO_EE_ORIGIN(enum.IntEnum):
    """`SO_EE_ORIGIN_*`: where news come from.

    manpage: ip(7)
    """

    NONE = 0
    LOCAL = 1
    ICMP = 2
    ICMP6 = 3
    TXSTATUS = 4
    TIMESTAMPING = 4
    ZEROCOPY = 5
    TXTIME = 6


class SO_EE_CODE(enum.IntEnum):
    """`SO_EE_CODE_*`: what is said of a message that was sent with `MSG_ZEROCOPY`, or for a later time."""

    ZEROCOPY_COPIED = 1
    TXTIME_INVALID_PARAM = 1
    TXTIME_MISSED = 2


class SockExtendedErr(
    CStruct, c="struct sock_extended_err", headers=("time.h", "linux/errqueue.h"), frozen=True
):
    """`struct sock_extended_err`: what happened to a message that was sent.

    Args:
        errno: the error; 0: other news.
        origin: where it comes from.
        type: of the ICMP message.
        code: of the ICMP message; or an `SO_EE_CODE`.
        info: the path's MTU for EMSGSIZE; the first of a range of messages for `ZEROCOPY`.
        data: the last of that range.

    manpage: ip(7)
    """

    errno: int = u32("ee_errno")
    origin: SO_EE_ORIGIN | int = u8("ee_origin", known(SO_EE_ORIGIN))
    type: int = u8("ee_type", default=0)
    code: int = u8("ee_code", default=0)
    info: int = u32("ee_info", offset=8, default=0)
    data: int = u32("ee_data", default=0)
