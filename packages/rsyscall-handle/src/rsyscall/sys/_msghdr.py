"""Messages for `sendmsg` and `recvmsg`, and control data; import them from `rsyscall.sys.socket`.

A control message can carry file descriptors, which makes received control data a resource: the code that
reads it owns the fds in it, and if it is never read they leak. So `recvmsg` returns it as a `LinearPointer`,
to be read exactly once; and so is the header that leads to it.

Layout of control data: one `struct cmsghdr` and its data after another, each beginning at a multiple of the
word size. The length in a header does not count the padding behind the data; the length of the whole, with
which the kernel answers, mostly does, except where the buffer ended before. A buffer that is too small cuts
the last message short, and `MsghdrFlags.CTRUNC` says so.
"""

from __future__ import annotations

import abc
import builtins
import importlib
import logging
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rsyscall.cstruct import CStruct, i32, nested, u32, u64
from rsyscall.handle.pointer import LinearPointer
from rsyscall.struct import FixedSerializer, Serializable, Serializer
from rsyscall.sys._sockaddr import Sockaddr, _address_length
from rsyscall.sys._socket_constants import SCM, SOL, MsghdrFlags
from rsyscall.sys._socket_structs import Ucred

if TYPE_CHECKING:
    from contextlib import ExitStack

    import typing_extensions

    from rsyscall.handle.fd import FileDescriptorTask
    from rsyscall.handle.pointer import Pointer, ReadablePointer, WrittenPointer
    from rsyscall.near.record import CallRecord
    from rsyscall.sys.uio import IovecList

__all__ = [
    "CMSG_ALIGN",
    "CMSG_LEN",
    "CMSG_SPACE",
    "Cmsg",
    "CmsgList",
    "CmsgListSerializer",
    "CmsgRaw",
    "CmsgSerializer",
    "CmsgUcred",
    "Cmsghdr",
    "Mmsghdr",
    "Msghdr",
    "RecvMsghdr",
    "RecvMsghdrOut",
    "RecvMsghdrOutSerializer",
    "SendMsghdr",
]

logger = logging.getLogger(__name__)

T = TypeVar("T")
T_cmsg = TypeVar("T_cmsg", bound="Cmsg")
T_cmsglist = TypeVar("T_cmsglist", bound="CmsgList")
# The class of the address of a received message. Without one it is not type-checked.
if TYPE_CHECKING:
    T_name = typing_extensions.TypeVar("T_name", default=Any)
else:
    T_name = TypeVar("T_name")

_INT = struct.Struct("=i")
_WORD = 8


class _CutOffError(ValueError):
    """Control data ends before the message does."""


class Cmsghdr(CStruct, c="struct cmsghdr", headers=("sys/socket.h",)):
    """`struct cmsghdr`: the header in front of the data of a control message.

    manpage: cmsg(3)
    """

    len: int = u64("cmsg_len")
    level: int = i32("cmsg_level")
    type: int = i32("cmsg_type")


class Msghdr(CStruct, c="struct msghdr", headers=("sys/socket.h",)):
    """`struct msghdr`, as numbers; `SendMsghdr` and `RecvMsghdr` are what calls take.

    manpage: recvmsg(2)
    """

    name: int = u64("msg_name")
    namelen: int = u32("msg_namelen")
    iov: int = u64("msg_iov")
    iovlen: int = u64("msg_iovlen")
    control: int = u64("msg_control")
    controllen: int = u64("msg_controllen")
    flags: int = i32("msg_flags")


class Mmsghdr(CStruct, c="struct mmsghdr", headers=("#define _GNU_SOURCE", "sys/socket.h")):
    """`struct mmsghdr`, as numbers; `SendMmsghdrList` and `RecvMmsghdrList` are what calls take.

    manpage: recvmmsg(2)
    """

    hdr: Msghdr = nested("msg_hdr", Msghdr)
    len: int = u32("msg_len")


_CMSGHDR = Cmsghdr.layout().codec
_MSGHDR = Msghdr.layout().codec


def CMSG_ALIGN(length: int) -> int:
    """`length` bytes, rounded up to where the next control message can begin."""
    return (length + _WORD - 1) & -_WORD


def CMSG_LEN(length: int) -> int:
    """Bytes of a control message with `length` bytes of data, without the padding behind it.

    manpage: cmsg(3)
    """
    return _CMSGHDR.size + length


def CMSG_SPACE(length: int) -> int:
    """Bytes to have in a control buffer for a message with `length` bytes of data.

    manpage: cmsg(3)
    """
    return _CMSGHDR.size + CMSG_ALIGN(length)


class Cmsg(FixedSerializer):
    """A control message. Each known kind is a subclass; a received message of another kind is a `CmsgRaw`.

    manpage: cmsg(3)
    """

    @abc.abstractmethod
    def to_data(self) -> bytes:
        """The bytes after the header."""

    @abc.abstractmethod
    def borrow_with(self, stack: ExitStack, task: FileDescriptorTask[Any]) -> None:
        """Borrow for `task`, until `stack` is left, everything that the message refers to."""

    @classmethod
    @abc.abstractmethod
    def from_data(cls: builtins.type[T], task: FileDescriptorTask[Any], data: bytes) -> T:
        """Take over a received message: fds in it become handles of `task`."""

    @classmethod
    @abc.abstractmethod
    def level(cls) -> SOL:
        """The protocol that the message belongs to."""

    @classmethod
    @abc.abstractmethod
    def type(cls) -> int:
        """The type of message among those of the level."""

    def _level_and_type(self) -> tuple[int, int]:
        return self.level(), self.type()

    @classmethod
    def get_serializer(cls: builtins.type[T_cmsg], task: FileDescriptorTask[Any]) -> CmsgSerializer[T_cmsg]:
        """The serializer for one message with its header."""
        return CmsgSerializer(cls, task)


def _cmsg_to_bytes(cmsg: Cmsg) -> bytes:
    data = cmsg.to_data()
    level, typ = cmsg._level_and_type()
    return _CMSGHDR.pack(CMSG_LEN(len(data)), level, typ) + data.ljust(CMSG_ALIGN(len(data)), b"\0")


def _split_cmsgs(data: bytes) -> list[tuple[int, int, bytes]]:
    """Level, type and data of each control message, as far as they are there."""
    found = []
    offset = 0
    while len(data) - offset >= _CMSGHDR.size:
        length, level, typ = _CMSGHDR.unpack_from(data, offset)
        if length < _CMSGHDR.size:
            break  # zeros, or garbage that would never advance
        found.append((level, typ, bytes(data[offset + _CMSGHDR.size : offset + length])))
        offset += CMSG_ALIGN(length)
    return found


class CmsgSerializer(Serializer[T_cmsg]):
    """Writes and parses one control message of a known class, header included."""

    def __init__(self, cls: type[T_cmsg], task: FileDescriptorTask[Any]) -> None:
        self.cls = cls
        self.task = task

    def to_bytes(self, val: T_cmsg) -> bytes:
        """Header, data and the padding behind."""
        return _cmsg_to_bytes(val)

    def from_bytes(self, data: bytes) -> T_cmsg:
        """Parse the first message in `data`, which has to be of this class.

        Raises ValueError if it is not.
        """
        for level, typ, body in _split_cmsgs(data):
            if (level, typ) != (self.cls.level(), self.cls.type()):
                raise ValueError("another control message than expected", level, typ, self.cls)
            return self.cls.from_data(self.task, body)
        raise ValueError("no control message", len(data))


@dataclass(frozen=True)
class CmsgUcred(Cmsg):
    """`SCM_CREDENTIALS`: the sender's process, user and group; received when `SO.PASSCRED` is set.

    A sender without privileges can give only its own ids.

    manpage: unix(7)
    """

    pid: int
    uid: int
    gid: int

    def to_data(self) -> bytes:
        """A `struct ucred`."""
        return Ucred(self.pid, self.uid, self.gid).to_bytes()

    def borrow_with(self, stack: ExitStack, task: FileDescriptorTask[Any]) -> None:
        """Nothing to borrow: the numbers are plain."""

    @classmethod
    def from_data(cls, task: FileDescriptorTask[Any], data: bytes) -> CmsgUcred:
        """Parse a `struct ucred`. Raises ValueError if it was cut off."""
        if len(data) < Ucred.sizeof():
            raise _CutOffError("credentials were cut off", len(data))
        ucred = Ucred.from_bytes(data)
        return cls(ucred.pid, ucred.uid, ucred.gid)

    @classmethod
    def level(cls) -> SOL:
        """`SOL.SOCKET`."""
        return SOL.SOCKET

    @classmethod
    def type(cls) -> int:
        """`SCM.CREDENTIALS`."""
        return SCM.CREDENTIALS


@dataclass(frozen=True)
class CmsgRaw(Cmsg):
    """A control message as bytes: the class of received messages of every kind without a class here.

    Args:
        cmsg_level: the protocol, mostly a `SOL`.
        cmsg_type: the type of message among those of the level.
        data: the bytes after the header.
    """

    cmsg_level: int
    cmsg_type: int
    data: bytes

    def to_data(self) -> bytes:
        """The bytes after the header."""
        return self.data

    def borrow_with(self, stack: ExitStack, task: FileDescriptorTask[Any]) -> None:
        """Nothing that is known about can be borrowed."""

    @classmethod
    def from_data(cls, task: FileDescriptorTask[Any], data: bytes) -> CmsgRaw:
        """Raises TypeError: the data does not say what it is."""
        raise TypeError("a raw control message has no fixed level and type")

    @classmethod
    def level(cls) -> SOL:
        """Raises TypeError: see `cmsg_level`."""
        raise TypeError("a raw control message has no fixed level")

    @classmethod
    def type(cls) -> int:
        """Raises TypeError: see `cmsg_type`."""
        raise TypeError("a raw control message has no fixed type")

    def _level_and_type(self) -> tuple[int, int]:
        return self.cmsg_level, self.cmsg_type


_CMSG_CLASSES: dict[tuple[int, int], type[Cmsg]] = {}


def _register_cmsg(cls: type[Cmsg]) -> None:
    """Have control messages of this kind received as `cls`."""
    _CMSG_CLASSES[cls.level(), cls.type()] = cls


_register_cmsg(CmsgUcred)
# Above this module. Whatever was imported, no descriptor may arrive without an owner.
_WITH_FDS = {(SOL.SOCKET, SCM.RIGHTS), (SOL.SOCKET, SCM.PIDFD)}
# Which modules have the others, by level. They are imported when such a message is received.
_WITH_CMSGS: dict[int, str] = {
    SOL.SOCKET: "rsyscall.sys._cmsg_known",
    SOL.IP: "rsyscall.netinet.ip",
    SOL.IPV6: "rsyscall.netinet.ip",
    SOL.UDP: "rsyscall.netinet.udp",
    SOL.PACKET: "rsyscall.linux.if_packet",
    SOL.NETLINK: "rsyscall.linux.netlink",
    SOL.ALG: "rsyscall.linux.if_alg",
}


def _class_of(level: int, typ: int) -> type[Cmsg] | None:
    """The class of received messages of this kind."""
    if (level, typ) not in _CMSG_CLASSES:
        module = "rsyscall.sys._cmsg_fds" if (level, typ) in _WITH_FDS else _WITH_CMSGS.get(level)
        if module is not None:
            importlib.import_module(module)
    return _CMSG_CLASSES.get((level, typ))


class CmsgList(list[Cmsg], FixedSerializer):
    """The control data of one message.

    manpage: cmsg(3)
    """

    @classmethod
    def get_serializer(
        cls: type[T_cmsglist], task: FileDescriptorTask[Any]
    ) -> CmsgListSerializer[T_cmsglist]:
        """The serializer whose received fds become handles of `task`."""
        return CmsgListSerializer(cls, task)

    def borrow_with(self, stack: ExitStack, task: FileDescriptorTask[Any]) -> None:
        """Borrow for `task`, until `stack` is left, everything that the messages refer to."""
        for cmsg in self:
            cmsg.borrow_with(stack, task)


class CmsgListSerializer(Serializer[T_cmsglist]):
    """Writes and parses control data. Parsing makes handles for the fds in it, so it must be done once."""

    def __init__(self, cls: type[T_cmsglist], task: FileDescriptorTask[Any]) -> None:
        self.cls = cls
        self.task = task

    def to_bytes(self, val: T_cmsglist) -> bytes:
        """The messages one after another, each padded to the word size."""
        return b"".join(map(_cmsg_to_bytes, val))

    def from_bytes(self, data: bytes) -> T_cmsglist:
        """Parse all messages; those that are unknown or cut off become a `CmsgRaw`."""
        result = self.cls()
        failure: Exception | None = None
        for level, typ, body in _split_cmsgs(data):
            try:
                cls = _class_of(level, typ)
                result.append(cls.from_data(self.task, body) if cls else CmsgRaw(level, typ, body))
            except _CutOffError:
                result.append(CmsgRaw(level, typ, body))
            except Exception as exn:
                # The messages after this one may carry fds too.
                failure = failure or exn
        if failure is not None:
            raise failure
        return result


@dataclass
class SendMsghdr(Serializable):
    """`struct msghdr` for `sendmsg`: where the parts of the message are.

    Args:
        name: the address to send to, for sockets that are not connected.
        iov: the data.
        control: control messages. On a stream Linux needs at least one byte of data with them.

    manpage: sendmsg(2)
    """

    name: WrittenPointer[Sockaddr] | None
    iov: WrittenPointer[IovecList]
    control: WrittenPointer[CmsgList] | None

    def to_bytes(self) -> bytes:
        """The 56 bytes of the structure, with the addresses that the parts have now."""
        control = self.control
        return _MSGHDR.pack(
            int(self.name.near) if self.name is not None else 0,
            _address_length(self.name) if self.name is not None else 0,
            int(self.iov.near),
            len(self.iov.value),
            int(control.near) if control is not None else 0,
            # Not the size of the memory, which may be larger than what was written there.
            len(control.serializer.to_bytes(control.value)) if control is not None else 0,
            0,
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> SendMsghdr:
        """Raises NotImplementedError: addresses cannot be made into pointers again."""
        raise NotImplementedError("a msghdr for sending is never read back")

    def borrow_with(self, stack: ExitStack, task: FileDescriptorTask[Any]) -> None:
        """Borrow for `task`, until `stack` is left, everything that the message consists of."""
        if self.name is not None:
            stack.enter_context(self.name.borrow(task))
        stack.enter_context(self.iov.borrow(task))
        self.iov.value.borrow_with(stack, task)
        if self.control is not None:
            stack.enter_context(self.control.borrow(task))
            self.control.value.borrow_with(stack, task)


@dataclass
class RecvMsghdr(Serializable, Generic[T_name]):
    """`struct msghdr` for `recvmsg`: where the parts of the message are to go.

    Args:
        name: room for the sender's address; `SockaddrStorage` has enough.
        iov: room for the data.
        control: room for control messages: the sum of `CMSG_SPACE(bytes of data)` of each.

    manpage: recvmsg(2)
    """

    name: Pointer[T_name] | None
    iov: WrittenPointer[IovecList]
    control: Pointer[CmsgList] | None

    def to_bytes(self) -> bytes:
        """The 56 bytes of the structure, with the addresses that the parts have now."""
        return _MSGHDR.pack(
            int(self.name.near) if self.name is not None else 0,
            self.name.size() if self.name is not None else 0,
            int(self.iov.near),
            len(self.iov.value),
            int(self.control.near) if self.control is not None else 0,
            self.control.size() if self.control is not None else 0,
            0,
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> RecvMsghdr:
        """Raises NotImplementedError: the kernel returns a `RecvMsghdrOut`."""
        raise NotImplementedError("what recvmsg leaves in a msghdr is a RecvMsghdrOut")

    def to_out(self, ptr: Pointer[RecvMsghdr[T_name]]) -> Pointer[RecvMsghdrOut[T_name]]:
        """Consume the pointer to this, which the kernel has overwritten, for one to what it says now."""
        return ptr._reinterpret(RecvMsghdrOutSerializer(self.name, self.control), RecvMsghdrOut)


@dataclass
class RecvMsghdrOut(Generic[T_name]):
    """What `recvmsg` leaves in its `struct msghdr`.

    Args:
        name: the sender's address, which has no bytes at all for a sender without one; None if no room was
            given.
        control: the control messages, to be read exactly once; None if no room was given.
        flags: what happened, such as `MsghdrFlags.CTRUNC`.
        name_rest, control_rest: the unused rest of the room.

    manpage: recvmsg(2)
    """

    name: ReadablePointer[T_name] | None
    control: LinearPointer[CmsgList] | None
    flags: MsghdrFlags
    name_rest: Pointer[T_name] | None
    control_rest: Pointer[CmsgList] | None


@dataclass
class RecvMsghdrOutSerializer(Serializer[RecvMsghdrOut[T_name]], Generic[T_name]):
    """Parses a `struct msghdr` after `recvmsg`, and splits the buffers by the lengths in it, consuming them.

    Args:
        name: the room that was given for the sender's address.
        control: the room that was given for control messages.
        task: whose fd table the received fds are in; as it was said when `control` was allocated, if None.
    """

    name: Pointer[T_name] | None
    control: Pointer[CmsgList] | None
    task: FileDescriptorTask[Any] | None = None
    # Owns what was received, until there are handles.
    _record: CallRecord | None = field(default=None, repr=False, compare=False)

    all_or_nothing = True

    def to_bytes(self, val: RecvMsghdrOut[T_name]) -> bytes:
        """Raises NotImplementedError: only the kernel writes this."""
        raise NotImplementedError("only the kernel writes what a RecvMsghdrOut is read from")

    def from_bytes(self, data: bytes) -> RecvMsghdrOut[T_name]:
        """Parse, and split the buffers, or, when it raises, leave them as they are."""
        for buffer in (self.name, self.control):
            if buffer is not None:
                buffer._validate()
        _, namelen, _, _, _, controllen, flags = _MSGHDR.unpack_from(data)
        name = name_rest = control = control_rest = None
        if self.name is not None:
            # The kernel says how long the address is, even if only a part of it did fit. Raising here would
            # lose the fds.
            name, name_rest = self.name.readable_split(min(namelen, self.name.size()))
        if self.control is not None:
            used, control_rest = self.control.split(min(controllen, self.control.size()))
            if self.task is not None:
                used = used._reinterpret(_control_serializer(used, self.task), used.typ)
            control = used._linearize(self._record) if used.size() else _linear(_EmptyControl, used)
        return RecvMsghdrOut(name, control, MsghdrFlags(flags), name_rest, control_rest)


def _control_serializer(control: Pointer[CmsgList], task: FileDescriptorTask[Any]) -> Serializer[CmsgList]:
    """The same serializer for another task: the fds are in the table of the task that received them."""
    serializer = control.serializer
    cls = serializer.cls if isinstance(serializer, CmsgListSerializer) else CmsgList
    return CmsgListSerializer(cls, task)


class _EmptyControl(LinearPointer[CmsgList]):
    """No control message has come. It can be read like others, but nothing is lost if it is not."""

    __slots__ = ()

    def _log_loss(self, how: str) -> None:
        pass


class _ReceivedHeader(LinearPointer[T]):
    """What control data is reached through. Whether any has come is not known before it is read."""

    __slots__ = ()

    def _log_loss(self, how: str) -> None:
        logger.error(
            "%r is %s without having been read: file descriptors that came with the message are leaked",
            self,
            how,
        )


T_linear = TypeVar("T_linear", bound=LinearPointer[Any])


def _linear(cls: type[T_linear], ptr: Pointer[Any], record: CallRecord | None = None) -> T_linear:
    """Consume the pointer for one of another class."""
    pinned_by = ptr._consume()
    new = cls(ptr.mapping, ptr.transport, ptr.serializer, ptr.allocation, ptr.typ, record)
    new._pinned_by = pinned_by
    return new


def _received_header(
    hdr: RecvMsghdr[T_name],
    ptr: WrittenPointer[RecvMsghdr[T_name]],
    task: FileDescriptorTask[Any],
    received: int,
    record: CallRecord,
) -> Pointer[RecvMsghdrOut[T_name]]:
    """Consume the pointer to `hdr` for one to what `recvmsg`, in `task`, has left there.

    Args:
        received: what the call returned.
        record: of the call.
    """
    # Handles for what was received belong to the receiving task, whichever task the buffer was allocated for.
    serializer = RecvMsghdrOutSerializer(hdr.name, hdr.control, task, record)
    out = hdr.to_out(ptr)._reinterpret(serializer, RecvMsghdrOut)
    # At the end of a stream nothing has come. (Neither has with a message without data, in practice.)
    if received and _may_get_descriptors(hdr):
        cls: type[_ReceivedHeader[RecvMsghdrOut[T_name]]] = _ReceivedHeader
        return _linear(cls, out, record)
    return out


def _may_get_descriptors(hdr: RecvMsghdr) -> bool:
    """Whether there is room for a descriptor."""
    return hdr.control is not None and hdr.control.size() >= CMSG_LEN(_INT.size)
