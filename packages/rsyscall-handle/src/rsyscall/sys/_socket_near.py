"""The calls of `<sys/socket.h>` without any checks; import them from `rsyscall.sys.socket`."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from rsyscall.handle.arguments import (
    FDNUM,
    INT,
    OUT,
    OUT_INT,
    SIZE,
    Kind,
    Memory,
    call,
    choice,
    counted,
    flags,
)
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.sys._socket_constants import MSG, SHUT, SOCK, SOL

if TYPE_CHECKING:
    from rsyscall.near.record import CallRecord
    from rsyscall.near.sysif import SyscallInterface


_LEVEL = choice(SOL, "SOL_")
_OPTION = Kind("socket_option")
_MSG = flags(MSG, "MSG_")


@call("bind", FDNUM, Memory("sockaddr", length_in=2), SIZE)
async def _bind(
    sysif: SyscallInterface, sockfd: near.FileDescriptor, addr: near.Address, addrlen: int
) -> None:
    """The raw call."""
    await sysif.syscall(nr.bind, sockfd, addr, addrlen)


@call("connect", FDNUM, Memory("sockaddr", length_in=2), SIZE)
async def _connect(
    sysif: SyscallInterface, sockfd: near.FileDescriptor, addr: near.Address, addrlen: int
) -> None:
    """The raw call."""
    await sysif.syscall(nr.connect, sockfd, addr, addrlen)


@call("listen", FDNUM, INT)
async def _listen(sysif: SyscallInterface, sockfd: near.FileDescriptor, backlog: int) -> None:
    """The raw call."""
    await sysif.syscall(nr.listen, sockfd, backlog)


@call(
    "accept4",
    FDNUM,
    Memory("sockaddr_out", after=True, length_in=2),
    OUT_INT,
    flags(SOCK, "SOCK_", ["NONBLOCK", "CLOEXEC"]),
)
async def _accept(
    sysif: SyscallInterface,
    record: CallRecord,
    sockfd: near.FileDescriptor,
    addr: near.Address | None,
    addrlen: near.Address | None,
    flags: int,
) -> near.FileDescriptor:
    """The raw call; `record` owns the number that comes back."""
    return near.FileDescriptor(
        await sysif.recorded_syscall(record, nr.accept4, sockfd, addr or 0, addrlen or 0, flags)
    )


@call("shutdown", FDNUM, choice(SHUT, "SHUT_"))
async def _shutdown(sysif: SyscallInterface, sockfd: near.FileDescriptor, how: SHUT) -> None:
    """The raw call."""
    await sysif.syscall(nr.shutdown, sockfd, how)


@call("getsockname", FDNUM, Memory("sockaddr_out", after=True, length_in=2), OUT_INT)
async def _getsockname(
    sysif: SyscallInterface, sockfd: near.FileDescriptor, addr: near.Address, addrlen: near.Address
) -> None:
    """The raw call."""
    await sysif.syscall(nr.getsockname, sockfd, addr, addrlen)


@call("getpeername", FDNUM, Memory("sockaddr_out", after=True, length_in=2), OUT_INT)
async def _getpeername(
    sysif: SyscallInterface, sockfd: near.FileDescriptor, addr: near.Address, addrlen: near.Address
) -> None:
    """The raw call."""
    await sysif.syscall(nr.getpeername, sockfd, addr, addrlen)


@call("getsockopt", FDNUM, _LEVEL, _OPTION, Memory("option_out", after=True, length_in=4), OUT_INT)
async def _getsockopt(
    sysif: SyscallInterface,
    sockfd: near.FileDescriptor,
    level: int,
    optname: int,
    optval: near.Address,
    optlen: near.Address,
) -> None:
    """The raw call."""
    await sysif.syscall(nr.getsockopt, sockfd, level, optname, optval, optlen)


@call("setsockopt", FDNUM, _LEVEL, _OPTION, Memory("option", length_in=4), SIZE)
async def _setsockopt(
    sysif: SyscallInterface,
    sockfd: near.FileDescriptor,
    level: int,
    optname: int,
    optval: near.Address,
    optlen: int,
) -> None:
    """The raw call."""
    await sysif.syscall(nr.setsockopt, sockfd, level, optname, optval, optlen)


@call("recvfrom", FDNUM, OUT, SIZE, _MSG, Memory("sockaddr_out", after=True, length_in=5), OUT_INT)
async def _recv(
    sysif: SyscallInterface,
    fd: near.FileDescriptor,
    buf: near.Address,
    count: int,
    flags: int,
    addr: near.Address | None = None,
    addrlen: near.Address | None = None,
) -> int:
    """The raw call, recvfrom."""
    return await sysif.syscall(nr.recvfrom, fd, buf, count, flags, addr or 0, addrlen or 0)


@call("sendto", FDNUM, counted(2), SIZE, _MSG, Memory("sockaddr", length_in=5), SIZE)
async def _send(
    sysif: SyscallInterface,
    fd: near.FileDescriptor,
    buf: near.Address,
    count: int,
    flags: int,
    addr: near.Address | None = None,
    addrlen: int = 0,
) -> int:
    """The raw call, sendto."""
    return await sysif.syscall(nr.sendto, fd, buf, count, flags, addr or 0, addrlen)


@call("recvmsg", FDNUM, Memory("message", after=True), _MSG)
async def _recvmsg(
    sysif: SyscallInterface, record: CallRecord, fd: near.FileDescriptor, msg: near.Address, flags: int
) -> int:
    """The raw call; `record` owns received descriptors, if the memory is our own."""
    return await sysif.recorded_syscall(record, nr.recvmsg, fd, msg, flags)


@call("sendmsg", FDNUM, Memory("message"), _MSG)
async def _sendmsg(sysif: SyscallInterface, fd: near.FileDescriptor, msg: near.Address, flags: int) -> int:
    """The raw call."""
    return await sysif.syscall(nr.sendmsg, fd, msg, flags)


async def _may_omit_cmsg_cloexec(
    sysif: SyscallInterface, fd: near.FileDescriptor, error: OSError, descriptors: bool
) -> bool:
    """Whether a message can be received without MSG_CMSG_CLOEXEC, with which the call failed.

    Some kinds of sockets refuse the flag with EINVAL, packet sockets among them. But EINVAL has other
    reasons, too: a UNIX socket is not connected yet, and may be so a moment later. If `descriptors` may
    arrive, they must not be inheritable, so only a packet socket will do, which carries none. It is known by
    its options: with no place to put one, they fail with EFAULT, and those of other sockets otherwise.
    """
    if error.errno != errno.EINVAL or not descriptors:
        return error.errno == errno.EINVAL
    try:
        await _getsockopt(sysif, fd, SOL.PACKET, 0, near.Address(0), near.Address(0))
    except OSError as answer:
        return answer.errno == errno.EFAULT
    return False
