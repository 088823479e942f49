"""`sendmmsg` and `recvmmsg`; import what is here from `rsyscall.sys.socket`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast, overload

from rsyscall.handle.arguments import FDNUM, SIZE, Memory, call, flags, given
from rsyscall.handle.buffers import require_size
from rsyscall.handle.fd import BaseFileDescriptor
from rsyscall.near import nr
from rsyscall.near.naming import naming
from rsyscall.near.record import CallRecord
from rsyscall.near.sysif import SyscallHangup
from rsyscall.struct import Serializable, Serializer
from rsyscall.sys._msghdr import (
    Mmsghdr,
    RecvMsghdr,
    RecvMsghdrOut,
    RecvMsghdrOutSerializer,
    SendMsghdr,
    _linear,
    _may_get_descriptors,
    _ReceivedHeader,
)
from rsyscall.sys._socket_constants import MSG, RecvmsgFlags, SendmsgFlags
from rsyscall.sys._socket_near import _may_omit_cmsg_cloexec
from rsyscall.sys.uio import Iovec
from rsyscall.time import Timespec

if TYPE_CHECKING:
    from rsyscall.handle.fd import FileDescriptorTask
    from rsyscall.handle.pointer import Pointer, ReadablePointer, WrittenPointer
    from rsyscall.near import types as near
    from rsyscall.near.sysif import SyscallInterface
    from rsyscall.sys.uio import IovecList

__all__ = ["MmsgFileDescriptor", "MmsgLengths", "RecvMmsghdrList", "RecvMmsghdrOut", "SendMmsghdrList"]

_SIZE = Mmsghdr.sizeof()
_LEN = Mmsghdr.layout().members[-1].offset
_CMSG_CLOEXEC = RecvmsgFlags.CMSG_CLOEXEC.value
_IOVEC_SIZE = Iovec.sizeof()


def _to_bytes(hdrs: Iterable[SendMsghdr | RecvMsghdr]) -> bytes:
    return b"".join([hdr.to_bytes().ljust(_SIZE, b"\0") for hdr in hdrs])


def _lengths(data: bytes) -> Iterator[int]:
    """What the kernel has written behind each header."""
    for start in range(0, len(data) - _SIZE + 1, _SIZE):
        yield int.from_bytes(data[start + _LEN : start + _LEN + 4], "little")


class SendMmsghdrList(list[SendMsghdr], Serializable):
    """An array of `struct mmsghdr` for `sendmmsg`: where the parts of each message are.

    manpage: sendmmsg(2)
    """

    def to_bytes(self) -> bytes:
        """64 bytes for each message, with the addresses that its parts have now."""
        return _to_bytes(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> SendMmsghdrList:
        """Raises NotImplementedError: addresses cannot be made into pointers again."""
        raise NotImplementedError("what sendmmsg leaves in an array of mmsghdr are MmsgLengths")


class RecvMmsghdrList(list[RecvMsghdr], Serializable):
    """An array of `struct mmsghdr` for `recvmmsg`: where the parts of each message are to go.

    manpage: recvmmsg(2)
    """

    def to_bytes(self) -> bytes:
        """64 bytes for each message, with the addresses that its parts have now."""
        return _to_bytes(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> RecvMmsghdrList:
        """Raises NotImplementedError: the kernel returns a list of `RecvMmsghdrOut`."""
        raise NotImplementedError("what recvmmsg leaves in an array of mmsghdr are RecvMmsghdrOuts")


class MmsgLengths(list[int], Serializable):
    """How many bytes of each message `sendmmsg` has sent.

    manpage: sendmmsg(2)
    """

    def to_bytes(self) -> bytes:
        """Raises NotImplementedError: only the kernel writes this."""
        raise NotImplementedError("only the kernel writes the lengths of messages")

    @classmethod
    def from_bytes(cls, data: bytes) -> MmsgLengths:
        """The lengths in an array of `struct mmsghdr`."""
        return cls(_lengths(data))


@dataclass
class RecvMmsghdrOut:
    """One of the messages that `recvmmsg` has received.

    Args:
        hdr: its address, control messages and flags, as `recvmsg` leaves them.
        valid: the places that were filled.
        rest: the places that were not.

    manpage: recvmmsg(2)
    """

    hdr: RecvMsghdrOut
    valid: IovecList
    rest: IovecList


def _buffers(hdr: RecvMsghdr) -> Iterator[Pointer[Any]]:
    """What is split when the message is read."""
    if hdr.name is not None:
        yield hdr.name
    if hdr.control is not None:
        yield hdr.control
    yield from hdr.iov.value


class _ReceivedSerializer(Serializer[list[RecvMmsghdrOut]]):
    """Parses an array of `struct mmsghdr` after `recvmmsg`, and splits the buffers by the lengths in it."""

    all_or_nothing = True

    def __init__(self, hdrs: list[RecvMsghdr], task: FileDescriptorTask[Any], record: CallRecord) -> None:
        self._hdrs = hdrs
        self._task = task
        # At once: later there may be anything in the memory.
        self._records: list[CallRecord | None] = [record.part(index) for index in range(len(hdrs))]

    def from_bytes(self, data: bytes) -> list[RecvMmsghdrOut]:
        """Parse, and split the buffers, or, when it raises, leave them as they are."""
        for hdr in self._hdrs:
            for buffer in _buffers(hdr):
                buffer._validate()
        found = []
        for index, (hdr, length, record) in enumerate(
            zip(self._hdrs, _lengths(data), self._records, strict=True)
        ):
            valid, rest = hdr.iov.value.split(min(length, hdr.iov.value.size()))
            serializer = RecvMsghdrOutSerializer(hdr.name, hdr.control, self._task, record)
            found.append(RecvMmsghdrOut(serializer.from_bytes(data[index * _SIZE :]), valid, rest))
        # What is unread of a message goes with the message, even while there is this.
        self._records = [None] * len(found)
        return found


class _SentSerializer(Serializer[MmsgLengths]):
    """Reads how much of each of these messages was sent."""

    def __init__(self, hdrs: list[SendMsghdr]) -> None:
        self._sizes = [hdr.iov.value.size() for hdr in hdrs]

    def from_bytes(self, data: bytes) -> MmsgLengths:
        """Read; never more than there is in a message, which memory that others can write may say."""
        return MmsgLengths(map(min, _lengths(data), self._sizes))


def _received(
    msgvec: WrittenPointer[RecvMmsghdrList], count: int, task: FileDescriptorTask[Any], record: CallRecord
) -> tuple[Pointer[list[RecvMmsghdrOut]], WrittenPointer[RecvMmsghdrList]]:
    """Consume the pointer for one to what `recvmmsg`, in `task`, has left there, and one to the rest."""
    hdrs = msgvec.value
    serializer = _ReceivedSerializer(hdrs[:count], task, record)
    used, unused = msgvec.split(count * _SIZE)
    # Classes with parameters are no types to checkers.
    typ = cast("type[list[RecvMmsghdrOut]]", list)
    out: Pointer[list[RecvMmsghdrOut]] = used._reinterpret(serializer, typ)
    if any(_may_get_descriptors(hdr) for hdr in hdrs[:count]):
        out = _linear(_ReceivedHeader[list[RecvMmsghdrOut]], out, record)
    return out, unused.wrote(RecvMmsghdrList(hdrs[count:]))


def _check(msgvec: WrittenPointer[Any]) -> None:
    require_size(msgvec, len(msgvec.value) * _SIZE)
    for hdr in msgvec.value:
        require_size(hdr.iov, len(hdr.iov.value) * _IOVEC_SIZE)


class MmsgFileDescriptor(BaseFileDescriptor):
    """Sending and receiving several messages at once."""

    __slots__ = ()

    async def sendmmsg(
        self, msgvec: WrittenPointer[SendMmsghdrList], flags: SendmsgFlags = SendmsgFlags.NONE
    ) -> tuple[ReadablePointer[MmsgLengths], WrittenPointer[SendMmsghdrList]]:
        """`sendmmsg(sockfd, msgvec, vlen, flags)`: send several messages.

        Args:
            msgvec: where the messages are; consumed, unless the call fails. The messages themselves stay as
                they are.

        Returns:
            Where to read how many bytes of each message that was sent have been sent; and the messages that
            were not, to be sent by another call. At least one was; the first that could not be is tried again
            by that call, which then says why. The kernel takes `UIO_MAXIOV` messages at most.

        Raises:
            FDTableMismatchError: an fd to be sent belongs to another fd table than this socket.
            OSError: as for `sendmsg`, about the first message; `filename` is this handle.

        manpage: sendmmsg(2)
        """
        self._validate()
        _check(msgvec)
        hdrs = msgvec.value
        with ExitStack() as stack:
            msgvec_near = stack.enter_context(msgvec.borrow(self.task))
            for hdr in hdrs:
                hdr.borrow_with(stack, self.task)
            with naming(self):
                sent = await _sendmmsg(self.task.sysif, self.near, msgvec_near, len(hdrs), flags)
        count = min(sent, len(hdrs))
        used, unused = msgvec.split(count * _SIZE)
        lengths = used._reinterpret(_SentSerializer(hdrs[:count]), MmsgLengths).unsafe()
        return lengths, unused.wrote(SendMmsghdrList(hdrs[count:]))

    @overload
    async def recvmmsg(
        self, msgvec: WrittenPointer[RecvMmsghdrList], flags: RecvmsgFlags = RecvmsgFlags.NONE
    ) -> tuple[Pointer[list[RecvMmsghdrOut]], WrittenPointer[RecvMmsghdrList]]: ...
    @overload
    async def recvmmsg(
        self,
        msgvec: WrittenPointer[RecvMmsghdrList],
        flags: RecvmsgFlags,
        timeout: WrittenPointer[Timespec],
    ) -> tuple[Pointer[list[RecvMmsghdrOut]], WrittenPointer[RecvMmsghdrList], Pointer[Timespec]]: ...

    async def recvmmsg(
        self,
        msgvec: WrittenPointer[RecvMmsghdrList],
        flags: RecvmsgFlags = RecvmsgFlags.NONE,
        timeout: WrittenPointer[Timespec] | None = None,
    ) -> (
        tuple[Pointer[list[RecvMmsghdrOut]], WrittenPointer[RecvMmsghdrList]]
        | tuple[Pointer[list[RecvMmsghdrOut]], WrittenPointer[RecvMmsghdrList], Pointer[Timespec]]
    ):
        """`recvmmsg(sockfd, msgvec, vlen, flags | MSG_CMSG_CLOEXEC, timeout)`: receive several messages.

        Args:
            msgvec: where to put them; consumed, unless the call fails. Each needs buffers of its own.
            flags: `RecvmsgFlags.WAITFORONE` waits for the first message only; without it, or `DONTWAIT`, the
                call waits until there are as many as `msgvec` has room for.
            timeout: for how long to go on; consumed, unless the call fails. The kernel looks at it only after
                a message has come, so if none comes the call never returns.

        Returns:
            What to read a list of the messages from, once if there is room for control data, and then the
            `control` of each; the places that were not used, for another call; and, with `timeout`, where the
            kernel has left how much of it is left.

        Raises:
            ValueError: two messages have the same buffer.
            OSError: as for `recvmsg`, if there is no message; an error after the first one is raised by the
                next call. `filename` is this handle.

        manpage: recvmmsg(2)
        """
        self._validate()
        _check(msgvec)
        hdrs = msgvec.value
        buffers = [buffer for hdr in hdrs for buffer in _buffers(hdr)]
        if len(buffers) != len(set(buffers)):
            raise ValueError("two messages would be received into the same buffer", hdrs)
        if timeout is not None:
            require_size(timeout, Timespec.sizeof())
        record = CallRecord(self.task.fd_table, True)
        with ExitStack() as stack:
            msgvec_near = stack.enter_context(msgvec.borrow(self.task))
            for hdr in hdrs:
                stack.enter_context(hdr.iov.borrow(self.task))
            for buffer in buffers:
                stack.enter_context(buffer.borrow(self.task))
            timeout_near = None if timeout is None else stack.enter_context(timeout.borrow(self.task))
            with naming(self):
                try:
                    received = await _receive(self, record, msgvec_near, hdrs, flags, timeout_near)
                except SyscallHangup:
                    # It may have died while it waited for the next message.
                    record.lost()
                    raise
        out, rest = _received(msgvec, min(received, len(hdrs)), self.task, record)
        return (out, rest) if timeout is None else (out, rest, timeout.unsafe())


_MSG = flags(MSG, "MSG_")


@call("sendmmsg", FDNUM, Memory("messages", after=True), SIZE, _MSG)
async def _sendmmsg(
    sysif: SyscallInterface, fd: near.FileDescriptor, msgvec: near.Address, vlen: int, flags: int
) -> int:
    """The raw call; returns how many messages were sent."""
    return await sysif.syscall(nr.sendmmsg, fd, msgvec, vlen, flags)


@call("recvmmsg", FDNUM, Memory("messages", after=True), SIZE, _MSG, given(Timespec))
async def _recvmmsg(
    sysif: SyscallInterface,
    record: CallRecord,
    fd: near.FileDescriptor,
    msgvec: near.Address,
    vlen: int,
    flags: int,
    timeout: near.Address | None,
) -> int:
    """The raw call; returns how many messages have come. `record` owns descriptors, if it sees the memory."""
    return await sysif.recorded_syscall(record, nr.recvmmsg, fd, msgvec, vlen, flags, timeout or 0)


async def _receive(
    sock: BaseFileDescriptor,
    record: CallRecord,
    msgvec: near.Address,
    hdrs: RecvMmsghdrList,
    flags: RecvmsgFlags,
    timeout: near.Address | None,
) -> int:
    """Make the call with MSG_CMSG_CLOEXEC, where the socket takes it."""
    sysif, number = sock.task.sysif, sock.near
    call = partial(_recvmmsg, sysif, record, number, msgvec, len(hdrs))
    try:
        return await call(int(flags) | _CMSG_CLOEXEC, timeout)
    except OSError as error:
        descriptors = any(map(_may_get_descriptors, hdrs))
        if not await _may_omit_cmsg_cloexec(sysif, number, error, descriptors):
            raise
    return await call(int(flags), timeout)
