"""The calls of `<sys/socket.h>`; import them from `rsyscall.sys.socket`."""

from __future__ import annotations

import errno
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from rsyscall.handle._later import late
from rsyscall.handle.buffers import require_size
from rsyscall.handle.fd import BaseFileDescriptor, FileDescriptorTask
from rsyscall.near.naming import naming
from rsyscall.near.record import CallRecord
from rsyscall.sys._msghdr import (
    Msghdr,
    RecvMsghdr,
    RecvMsghdrOut,
    SendMsghdr,
    T_name,
    _may_get_descriptors,
    _received_header,
)
from rsyscall.sys._sockaddr import (
    Sockaddr,
    Sockbuf,
    T_sockaddr,
    _address_length,
)
from rsyscall.sys._socket_constants import (
    MSG,
    SHUT,
    SOCK,
    RecvmsgFlags,
    SendmsgFlags,
)
from rsyscall.sys._socket_near import (
    _accept,
    _bind,
    _connect,
    _getpeername,
    _getsockname,
    _getsockopt,
    _listen,
    _may_omit_cmsg_cloexec,
    _recv,
    _recvmsg,
    _send,
    _sendmsg,
    _setsockopt,
    _shutdown,
)
from rsyscall.sys.uio import Iovec, IovecList

if TYPE_CHECKING:
    import rsyscall.far
    from rsyscall.handle.pointer import Pointer, ReadablePointer, WrittenPointer
    from rsyscall.near import types as near

__all__ = ["SocketFileDescriptor"]

T = TypeVar("T")
T_fd = TypeVar("T_fd", bound="SocketFileDescriptor")

_SOCKLEN_SIZE = 4
# Or-ing numbers is several times faster than or-ing flags.
_SOCK_CLOEXEC = SOCK.CLOEXEC.value
_CMSG_CLOEXEC = RecvmsgFlags.CMSG_CLOEXEC.value
_IOVEC_SIZE = Iovec.sizeof()
_MSGHDR_SIZE = Msghdr.sizeof()


class _Answer:
    """Borrow of a `Sockbuf` and its buffer for a call that answers it; gives the two addresses.

    Once the kernel has overwritten the length, the memory may say more than there is room for, so there is at
    most one answer: entering raises ValueError after that, and while another call is going on.
    """

    __slots__ = ("_answers", "_buf", "_length", "_sockbuf")

    def __init__(
        self,
        sockbuf: WrittenPointer[Sockbuf[Any]],
        task: rsyscall.far.Task,
        answers: tuple[int, ...] = (errno.ERANGE,),
    ) -> None:
        require_size(sockbuf, _SOCKLEN_SIZE)
        self._answers = answers
        self._sockbuf = sockbuf.value
        self._length = sockbuf.borrow(task)
        self._buf = sockbuf.value.buf.borrow(task)

    def __enter__(self) -> tuple[near.Address, near.Address]:
        if self._sockbuf._answered:
            raise ValueError("this Sockbuf is for the answer to another call; write a new one", self._sockbuf)
        length_near = self._length.__enter__()
        try:
            buf_near = self._buf.__enter__()
        except BaseException:
            self._length.__exit__(None, None, None)
            raise
        self._sockbuf._answered = True
        return buf_near, length_near

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._buf.__exit__(exc_type, exc, traceback)
        self._length.__exit__(exc_type, exc, traceback)
        if exc is not None and not (isinstance(exc, OSError) and exc.errno in self._answers):
            # The kernel has refused the call and written nothing, or no call was made. Other errors are an
            # answer: the length is now that of what did not fit.
            self._sockbuf._answered = False


def _check_msghdr(msg: WrittenPointer[Any]) -> None:
    require_size(msg, _MSGHDR_SIZE)
    iov = msg.value.iov
    require_size(iov, len(iov.value) * _IOVEC_SIZE)


@late
class SocketFileDescriptor(BaseFileDescriptor):
    """Calls on a socket."""

    __slots__ = ()

    async def bind(self, addr: WrittenPointer[Sockaddr]) -> None:
        """`bind(sockfd, addr, addrlen)`: give the socket an address.

        Args:
            addr: the address; its own length is handed over, not that of the memory.

        Raises:
            OSError: EADDRINUSE; EADDRNOTAVAIL; EACCES and EPERM (a privileged port, an unwritable directory);
                ENOENT (no such directory); `filename` is the address.

        manpage: bind(2)
        """
        self._validate()
        with addr.borrow(self.task) as addr_near, naming(addr.value):
            await _bind(self.task.sysif, self.near, addr_near, _address_length(addr))

    async def connect(self, addr: WrittenPointer[Sockaddr]) -> None:
        """`connect(sockfd, addr, addrlen)`: connect the socket to a peer.

        Args:
            addr: the address; its own length is handed over, not that of the memory.

        Raises:
            OSError: ECONNREFUSED; EINPROGRESS (a socket that does not block); EAGAIN (the same for AF_UNIX,
                when the peer's backlog is full); ENOENT; EACCES; `filename` is this handle and `filename2`
                the address.

        manpage: connect(2)
        """
        self._validate()
        with addr.borrow(self.task) as addr_near, naming(self, addr.value):
            await _connect(self.task.sysif, self.near, addr_near, _address_length(addr))

    async def listen(self, backlog: int) -> None:
        """`listen(sockfd, backlog)`: let others connect to the socket.

        Args:
            backlog: how many connections may wait to be accepted.

        Raises:
            OSError: EADDRINUSE; EOPNOTSUPP; `filename` is this handle.

        manpage: listen(2)
        """
        self._validate()
        with naming(self):
            await _listen(self.task.sysif, self.near, backlog)

    @overload
    async def accept(self: T_fd, flags: SOCK = SOCK.NONE) -> T_fd: ...
    @overload
    async def accept(
        self: T_fd, flags: SOCK, addr: WrittenPointer[Sockbuf[T_sockaddr]]
    ) -> tuple[T_fd, WrittenPointer[Sockbuf[T_sockaddr]]]: ...

    async def accept(
        self: T_fd, flags: SOCK = SOCK.NONE, addr: WrittenPointer[Sockbuf[T_sockaddr]] | None = None
    ) -> T_fd | tuple[T_fd, WrittenPointer[Sockbuf[T_sockaddr]]]:
        """`accept4(sockfd, addr, addrlen, flags | SOCK_CLOEXEC)`: take a connection made to this socket.

        Args:
            flags: `SOCK.NONBLOCK` for the new socket; `SOCK.CLOEXEC` is always added.
            addr: where to put the address of the peer.

        Returns:
            The new socket; if `addr` was given, together with it, to be read.

        Raises:
            OSError: EAGAIN; ECONNABORTED and network errors of the new connection (try again); EMFILE;
                ENFILE; EINVAL (not listening); `filename` is this handle.

        manpage: accept4(2)
        """
        self._validate()
        task: FileDescriptorTask[T_fd] = self.task
        record = CallRecord(task.fd_table)
        if addr is None:
            with naming(self):
                fd = await _accept(task.sysif, record, self.near, None, None, int(flags) | _SOCK_CLOEXEC)
            return task._adopt(fd, record)
        with _Answer(addr, task) as (addr_near, addrlen_near), naming(self):
            fd = await _accept(
                task.sysif, record, self.near, addr_near, addrlen_near, int(flags) | _SOCK_CLOEXEC
            )
        return task._adopt(fd, record), addr

    async def shutdown(self, how: SHUT) -> None:
        """`shutdown(sockfd, how)`: end one half of a connection, or both, for all that have the socket open.

        Raises:
            OSError: ENOTCONN; `filename` is this handle.

        manpage: shutdown(2)
        """
        self._validate()
        with naming(self):
            await _shutdown(self.task.sysif, self.near, how)

    async def getsockopt(
        self, level: int, optname: int, optval: WrittenPointer[Sockbuf[T]]
    ) -> Pointer[Sockbuf[T]]:
        """`getsockopt(sockfd, level, optname, optval, optlen)`: read an option.

        Args:
            level: a `SOL`.
            optname: which option of the level, such as a `SO`.
            optval: where to put the value; most are an `Int32`.

        Returns:
            `optval`, to be read.

        Raises:
            OSError: ENOPROTOOPT; EOPNOTSUPP; ERANGE (the buffer is too small, for some options; `optval` has
                been answered with the size of the value); `filename` is (this handle, level, optname).

        manpage: getsockopt(2)
        """
        self._validate()
        with _Answer(optval, self.task) as (optval_near, optlen_near), naming((self, level, optname)):
            await _getsockopt(self.task.sysif, self.near, level, optname, optval_near, optlen_near)
        return optval

    async def setsockopt(self, level: int, optname: int, optval: Pointer[Any]) -> None:
        """`setsockopt(sockfd, level, optname, optval, optlen)`: set an option.

        Args:
            level: a `SOL`.
            optname: which option of the level, such as a `SO`.
            optval: the value, all of the memory of it; most are an `Int32`.

        Raises:
            OSError: EINVAL (a value of the wrong size or range); ENOPROTOOPT; EPERM; `filename` is (this
                handle, level, optname).

        manpage: setsockopt(2)
        """
        self._validate()
        with optval.borrow(self.task) as optval_near, naming((self, level, optname)):
            await _setsockopt(self.task.sysif, self.near, level, optname, optval_near, optval.size())

    async def getsockname(self, addr: WrittenPointer[Sockbuf[T_sockaddr]]) -> Pointer[Sockbuf[T_sockaddr]]:
        """`getsockname(sockfd, addr, addrlen)`: read the address of this socket.

        Args:
            addr: where to put it.

        Returns:
            `addr`, to be read. Whatever was given to `bind` is in it.

        Raises:
            OSError: ENOTSOCK; `filename` is this handle.

        manpage: getsockname(2)
        """
        self._validate()
        with _Answer(addr, self.task) as (addr_near, addrlen_near), naming(self):
            await _getsockname(self.task.sysif, self.near, addr_near, addrlen_near)
        return addr

    async def getpeername(self, addr: WrittenPointer[Sockbuf[T_sockaddr]]) -> Pointer[Sockbuf[T_sockaddr]]:
        """`getpeername(sockfd, addr, addrlen)`: read the address of the peer.

        Args:
            addr: where to put it.

        Returns:
            `addr`, to be read. For an AF_UNIX peer that was never bound it is an address without a path.

        Raises:
            OSError: ENOTCONN; `filename` is this handle.

        manpage: getpeername(2)
        """
        self._validate()
        with _Answer(addr, self.task) as (addr_near, addrlen_near), naming(self):
            await _getpeername(self.task.sysif, self.near, addr_near, addrlen_near)
        return addr

    async def sendmsg(
        self, msg: WrittenPointer[SendMsghdr], flags: SendmsgFlags = SendmsgFlags.NONE
    ) -> tuple[IovecList, IovecList]:
        """`sendmsg(sockfd, msg, flags)`: send data, to an address, with control messages.

        Args:
            msg: where everything is. It is not consumed, and can be sent again if all of it was sent.

        Returns:
            The data that was sent, and the rest. A piece of which only a part was sent is consumed and split.

        Raises:
            FDTableMismatchError: an fd to be sent belongs to another fd table than this socket.
            OSError: EAGAIN; EPIPE (with SIGPIPE, unless `SendmsgFlags.NOSIGNAL`); EMSGSIZE; ETOOMANYREFS;
                `filename` is this handle and `filename2` the address, if there is one.

        manpage: sendmsg(2)
        """
        self._validate()
        _check_msghdr(msg)
        hdr = msg.value
        with ExitStack() as stack:
            msg_near = stack.enter_context(msg.borrow(self.task))
            hdr.borrow_with(stack, self.task)
            with naming(self, None if hdr.name is None else hdr.name.value):
                ret = await _sendmsg(self.task.sysif, self.near, msg_near, flags)
        return hdr.iov.value.split(ret)

    async def recvmsg(
        self, msg: WrittenPointer[RecvMsghdr[T_name]], flags: RecvmsgFlags = RecvmsgFlags.NONE
    ) -> tuple[IovecList, IovecList, Pointer[RecvMsghdrOut[T_name]]]:
        """`recvmsg(sockfd, msg, flags | MSG_CMSG_CLOEXEC)`: receive data, an address and control messages.

        Args:
            msg: where to put everything; consumed, unless the call fails.
            flags: `RecvmsgFlags.CMSG_CLOEXEC` is added, and shows up in the flags of the result. A packet
                socket refuses it, so there the call is made again without it.

        Returns:
            The places that were filled, and the rest (with `RecvmsgFlags.TRUNC` there may be no saying how
            long the message was); and what to read the rest of the results from. With room for control data,
            read that, once, and then `control` in it, which may hold file descriptors.

        Raises:
            OSError: EAGAIN; ECONNREFUSED; `filename` is this handle.

        manpage: recvmsg(2)
        """
        self._validate()
        _check_msghdr(msg)
        hdr = msg.value
        record = CallRecord(self.task.fd_table, True)
        with ExitStack() as stack:
            msg_near = stack.enter_context(msg.borrow(self.task))
            if hdr.name is not None:
                stack.enter_context(hdr.name.borrow(self.task))
            stack.enter_context(hdr.iov.borrow(self.task))
            hdr.iov.value.borrow_with(stack, self.task)
            if hdr.control is not None:
                stack.enter_context(hdr.control.borrow(self.task))
            with naming(self):
                try:
                    ret = await _recvmsg(
                        self.task.sysif, record, self.near, msg_near, int(flags) | _CMSG_CLOEXEC
                    )
                except OSError as error:
                    descriptors = _may_get_descriptors(hdr)
                    if not await _may_omit_cmsg_cloexec(self.task.sysif, self.near, error, descriptors):
                        raise
                    record = CallRecord(self.task.fd_table, True)
                    ret = await _recvmsg(self.task.sysif, record, self.near, msg_near, int(flags))
        # First, since file descriptors that have come are not forgotten from here on, whatever happens.
        out = _received_header(hdr, msg, self.task, ret, record)
        valid, rest = hdr.iov.value.split(min(ret, hdr.iov.value.size()))
        return valid, rest, out

    async def recv(self, buf: Pointer[T], flags: MSG) -> tuple[ReadablePointer[T], Pointer[T]]:
        """`recvfrom(sockfd, buf, len, flags, NULL, NULL)`: receive data.

        Args:
            buf: where to put it; consumed.
            flags: with `MSG.TRUNC` there is no saying how long a message was that did not fit.

        Returns:
            The part that was filled, which is empty at the end of a stream, and the rest.

        Raises:
            OSError: EAGAIN; ECONNREFUSED; ENOTCONN; ENOTSOCK; `filename` is this handle.

        manpage: recv(2)
        """
        self._validate()
        size = buf.size()
        with buf.borrow(self.task) as buf_near, naming(self):
            ret = await _recv(self.task.sysif, self.near, buf_near, size, flags)
        return buf.readable_split(min(ret, size))

    async def send(self, buf: Pointer[T], flags: MSG) -> tuple[Pointer[T], Pointer[T]]:
        """`sendto(sockfd, buf, len, flags, NULL, 0)`: send data to the peer.

        Args:
            buf: the data, all of the memory of it; consumed.

        Returns:
            The part that was sent, and the rest.

        Raises:
            OSError: EAGAIN; EPIPE (with SIGPIPE, unless `MSG.NOSIGNAL`); EMSGSIZE; ENOTCONN; ENOTSOCK;
                `filename` is this handle.

        manpage: send(2)
        """
        self._validate()
        with buf.borrow(self.task) as buf_near, naming(self):
            ret = await _send(self.task.sysif, self.near, buf_near, buf.size(), flags)
        return buf.split(ret)

    async def recvfrom(
        self, buf: Pointer[T], flags: MSG, addr: WrittenPointer[Sockbuf[T_sockaddr]]
    ) -> tuple[ReadablePointer[T], Pointer[T], WrittenPointer[Sockbuf[T_sockaddr]]]:
        """`recvfrom(sockfd, buf, len, flags, addr, addrlen)`: receive data, and from whom.

        Args:
            buf: where to put the data; consumed.
            flags: as for `recv`.
            addr: where to put the address of the sender.

        Returns:
            The part that was filled, the rest, and `addr`, to be read.

        Raises:
            OSError: as for `recv`.

        manpage: recvfrom(2)
        """
        self._validate()
        size = buf.size()
        with (
            buf.borrow(self.task) as buf_near,
            _Answer(addr, self.task) as (addr_near, addrlen_near),
            naming(self),
        ):
            ret = await _recv(self.task.sysif, self.near, buf_near, size, flags, addr_near, addrlen_near)
        valid, rest = buf.readable_split(min(ret, size))
        return valid, rest, addr

    async def sendto(
        self, buf: Pointer[T], flags: MSG, addr: WrittenPointer[Sockaddr]
    ) -> tuple[Pointer[T], Pointer[T]]:
        """`sendto(sockfd, buf, len, flags, addr, addrlen)`: send data to an address.

        Args:
            buf: the data, all of the memory of it; consumed.
            addr: to whom; its own length is handed over, not that of the memory.

        Returns:
            The part that was sent, and the rest.

        Raises:
            OSError: as for `send`; `filename2` is the address.

        manpage: sendto(2)
        """
        self._validate()
        with buf.borrow(self.task) as buf_near, addr.borrow(self.task) as addr_near, naming(self, addr.value):
            ret = await _send(
                self.task.sysif, self.near, buf_near, buf.size(), flags, addr_near, _address_length(addr)
            )
        return buf.split(ret)
