"""The calls of `<sys/socket.h>` without any checks; import them from `rsyscall.sys.socket`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsyscall.near import nr
from rsyscall.near import types as near

if TYPE_CHECKING:
    from rsyscall.near.record import CallRecord
    from rsyscall.near.sysif import SyscallInterface
    from rsyscall.sys._socket_constants import AF, SHUT, SOCK


async def _socket(
    sysif: SyscallInterface, record: CallRecord, domain: AF, type: SOCK, protocol: int
) -> near.FileDescriptor:
    """The raw call; `record` owns the number that comes back."""
    return near.FileDescriptor(await sysif.recorded_syscall(record, nr.socket, domain, type, protocol))


async def _socketpair(
    sysif: SyscallInterface, record: CallRecord, domain: AF, type: SOCK, protocol: int, sv: near.Address
) -> None:
    """The raw call; `record` owns the numbers that are written to `sv`, if that is our own memory."""
    await sysif.recorded_syscall(record, nr.socketpair, domain, type, protocol, sv)


async def _bind(
    sysif: SyscallInterface, sockfd: near.FileDescriptor, addr: near.Address, addrlen: int
) -> None:
    """The raw call."""
    await sysif.syscall(nr.bind, sockfd, addr, addrlen)


async def _connect(
    sysif: SyscallInterface, sockfd: near.FileDescriptor, addr: near.Address, addrlen: int
) -> None:
    """The raw call."""
    await sysif.syscall(nr.connect, sockfd, addr, addrlen)


async def _listen(sysif: SyscallInterface, sockfd: near.FileDescriptor, backlog: int) -> None:
    """The raw call."""
    await sysif.syscall(nr.listen, sockfd, backlog)


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


async def _shutdown(sysif: SyscallInterface, sockfd: near.FileDescriptor, how: SHUT) -> None:
    """The raw call."""
    await sysif.syscall(nr.shutdown, sockfd, how)


async def _getsockname(
    sysif: SyscallInterface, sockfd: near.FileDescriptor, addr: near.Address, addrlen: near.Address
) -> None:
    """The raw call."""
    await sysif.syscall(nr.getsockname, sockfd, addr, addrlen)


async def _getpeername(
    sysif: SyscallInterface, sockfd: near.FileDescriptor, addr: near.Address, addrlen: near.Address
) -> None:
    """The raw call."""
    await sysif.syscall(nr.getpeername, sockfd, addr, addrlen)


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


async def _recvmsg(
    sysif: SyscallInterface, record: CallRecord, fd: near.FileDescriptor, msg: near.Address, flags: int
) -> int:
    """The raw call; `record` owns what is received, if that is in our own memory."""
    return await sysif.recorded_syscall(record, nr.recvmsg, fd, msg, flags)


async def _sendmsg(sysif: SyscallInterface, fd: near.FileDescriptor, msg: near.Address, flags: int) -> int:
    """The raw call."""
    return await sysif.syscall(nr.sendmsg, fd, msg, flags)
