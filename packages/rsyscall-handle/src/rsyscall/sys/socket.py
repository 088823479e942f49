"""`<sys/socket.h>`: sockets.

All fds made here are CLOEXEC, whether or not that is asked for: what a program is to inherit is said when it
is started.

A message with control data is received like this:

    hdr = await thr.ptr(RecvMsghdr(None, iovec, await thr.malloc(CmsgList, CMSG_SPACE(4))))
    valid, rest, hdr_out = await sock.recvmsg(hdr)
    control = await (await hdr_out.read()).control.read()
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsyscall.handle._facade import facade

if TYPE_CHECKING:
    from rsyscall.sys._cmsg_fds import CmsgPidfd, CmsgSCMRights
    from rsyscall.sys._cmsg_known import (
        CmsgMark,
        CmsgPriority,
        CmsgRxqOvfl,
        CmsgTimestamp,
        CmsgTimestamping,
        CmsgTimestampns,
        CmsgTxtime,
        ScmTimestamping,
    )
    from rsyscall.sys._mmsg import (
        MmsgFileDescriptor,
        MmsgLengths,
        RecvMmsghdrList,
        RecvMmsghdrOut,
        SendMmsghdrList,
    )
    from rsyscall.sys._mmsg import _recvmmsg as _recvmmsg
    from rsyscall.sys._mmsg import _sendmmsg as _sendmmsg
    from rsyscall.sys._msghdr import (
        CMSG_ALIGN,
        CMSG_LEN,
        CMSG_SPACE,
        Cmsg,
        Cmsghdr,
        CmsgList,
        CmsgListSerializer,
        CmsgRaw,
        CmsgSerializer,
        CmsgUcred,
        Mmsghdr,
        Msghdr,
        RecvMsghdr,
        RecvMsghdrOut,
        RecvMsghdrOutSerializer,
        SendMsghdr,
    )
    from rsyscall.sys._sockaddr import (
        Sockaddr,
        SockaddrStorage,
        Sockbuf,
        SockbufSerializer,
        T_sockaddr,
        family_to_class,
    )
    from rsyscall.sys._sockaddr import (
        _register_sockaddr as _register_sockaddr,
    )
    from rsyscall.sys._socket_calls import SocketFileDescriptor
    from rsyscall.sys._socket_constants import (
        SCM,
        SO,
        SOCK_BUF_LOCK,
        SOCK_TXREHASH,
        SOL,
        MsghdrFlags,
        RecvmsgFlags,
        SendmsgFlags,
    )
    from rsyscall.sys._socket_flags import AF, MSG, SHUT, SOCK
    from rsyscall.sys._socket_near import _accept as _accept
    from rsyscall.sys._socket_near import _bind as _bind
    from rsyscall.sys._socket_near import _connect as _connect
    from rsyscall.sys._socket_near import _getpeername as _getpeername
    from rsyscall.sys._socket_near import _getsockname as _getsockname
    from rsyscall.sys._socket_near import _getsockopt as _getsockopt
    from rsyscall.sys._socket_near import _listen as _listen
    from rsyscall.sys._socket_near import _recv as _recv
    from rsyscall.sys._socket_near import _recvmsg as _recvmsg
    from rsyscall.sys._socket_near import _send as _send
    from rsyscall.sys._socket_near import _sendmsg as _sendmsg
    from rsyscall.sys._socket_near import _setsockopt as _setsockopt
    from rsyscall.sys._socket_near import _shutdown as _shutdown
    from rsyscall.sys._socket_structs import Linger, Socketpair, SocketpairSerializer, Ucred
    from rsyscall.sys._socket_task import SocketTask
    from rsyscall.sys._socket_task import _socket as _socket
    from rsyscall.sys._socket_task import _socketpair as _socketpair
else:
    # Most programs need no more than a few of the constants.
    __getattr__ = facade(
        __name__,
        {
            "rsyscall.sys._cmsg_fds": [
                "CmsgPidfd",
                "CmsgSCMRights",
            ],
            "rsyscall.sys._cmsg_known": [
                "CmsgMark",
                "CmsgPriority",
                "CmsgRxqOvfl",
                "CmsgTimestamp",
                "CmsgTimestamping",
                "CmsgTimestampns",
                "CmsgTxtime",
                "ScmTimestamping",
            ],
            "rsyscall.sys._mmsg": [
                "MmsgFileDescriptor",
                "MmsgLengths",
                "RecvMmsghdrList",
                "RecvMmsghdrOut",
                "SendMmsghdrList",
                "_recvmmsg",
                "_sendmmsg",
            ],
            "rsyscall.sys._msghdr": [
                "CMSG_ALIGN",
                "CMSG_LEN",
                "CMSG_SPACE",
                "Cmsg",
                "Cmsghdr",
                "CmsgList",
                "CmsgListSerializer",
                "CmsgRaw",
                "CmsgSerializer",
                "CmsgUcred",
                "Mmsghdr",
                "Msghdr",
                "RecvMsghdr",
                "RecvMsghdrOut",
                "RecvMsghdrOutSerializer",
                "SendMsghdr",
            ],
            "rsyscall.sys._sockaddr": [
                "Sockaddr",
                "SockaddrStorage",
                "Sockbuf",
                "SockbufSerializer",
                "T_sockaddr",
                "family_to_class",
                "_register_sockaddr",
            ],
            "rsyscall.sys._socket_calls": [
                "SocketFileDescriptor",
            ],
            "rsyscall.sys._socket_constants": [
                "SCM",
                "SO",
                "SOCK_BUF_LOCK",
                "SOCK_TXREHASH",
                "SOL",
                "MsghdrFlags",
                "RecvmsgFlags",
                "SendmsgFlags",
            ],
            "rsyscall.sys._socket_flags": [
                "AF",
                "MSG",
                "SHUT",
                "SOCK",
            ],
            "rsyscall.sys._socket_near": [
                "_accept",
                "_bind",
                "_connect",
                "_getpeername",
                "_getsockname",
                "_getsockopt",
                "_listen",
                "_recv",
                "_recvmsg",
                "_send",
                "_sendmsg",
                "_setsockopt",
                "_shutdown",
            ],
            "rsyscall.sys._socket_task": [
                "SocketTask",
                "_socket",
                "_socketpair",
            ],
            "rsyscall.sys._socket_structs": [
                "Linger",
                "Socketpair",
                "SocketpairSerializer",
                "Ucred",
            ],
        },
    )

__all__ = [
    "CmsgMark",
    "CmsgPriority",
    "CmsgRxqOvfl",
    "CmsgTimestamp",
    "CmsgTimestamping",
    "CmsgTimestampns",
    "CmsgTxtime",
    "ScmTimestamping",
    "AF",
    "CMSG_ALIGN",
    "CMSG_LEN",
    "CMSG_SPACE",
    "MSG",
    "SCM",
    "SHUT",
    "SO",
    "SOCK",
    "SOCK_BUF_LOCK",
    "SOCK_TXREHASH",
    "SOL",
    "Cmsg",
    "CmsgList",
    "CmsgListSerializer",
    "CmsgPidfd",
    "CmsgRaw",
    "CmsgSCMRights",
    "CmsgSerializer",
    "CmsgUcred",
    "Cmsghdr",
    "Linger",
    "MmsgFileDescriptor",
    "MmsgLengths",
    "Mmsghdr",
    "Msghdr",
    "MsghdrFlags",
    "RecvMmsghdrList",
    "RecvMmsghdrOut",
    "RecvMsghdr",
    "RecvMsghdrOut",
    "RecvMsghdrOutSerializer",
    "RecvmsgFlags",
    "SendMmsghdrList",
    "SendMsghdr",
    "SendmsgFlags",
    "Sockaddr",
    "SockaddrStorage",
    "Sockbuf",
    "SockbufSerializer",
    "SocketFileDescriptor",
    "SocketTask",
    "Socketpair",
    "SocketpairSerializer",
    "T_sockaddr",
    "Ucred",
    "family_to_class",
]
