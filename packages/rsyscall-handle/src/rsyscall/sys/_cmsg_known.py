"""Control messages that hold a number or a structure; import them from the module of their level.

Received ones are parsed by level and type. Those of other levels are beside the options that ask for them:
`rsyscall.netinet.ip`, `rsyscall.netinet.udp`, `rsyscall.linux.if_packet`, `rsyscall.linux.netlink`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from rsyscall.cstruct import CStruct, nested
from rsyscall.sys._msghdr import Cmsg, _CutOffError, _register_cmsg
from rsyscall.sys._socket_constants import SCM, SO, SOL
from rsyscall.sys.time import Timeval
from rsyscall.time import Timespec

if TYPE_CHECKING:
    from contextlib import ExitStack

    from rsyscall.handle.fd import FileDescriptorTask

__all__ = [
    "CmsgMark",
    "CmsgNumber",
    "CmsgPriority",
    "CmsgRxqOvfl",
    "CmsgStruct",
    "CmsgTimestamp",
    "CmsgTimestamping",
    "CmsgTimestampns",
    "CmsgTxtime",
    "ScmTimestamping",
]

T_number = TypeVar("T_number", bound="CmsgNumber")
T_struct = TypeVar("T_struct", bound="CmsgStruct")


class _Known(Cmsg):
    """A kind of message, and that those which are received become objects of it."""

    _level: ClassVar[SOL]
    _type: ClassVar[int]

    def __init_subclass__(cls, level: SOL | None = None, type: int | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if level is not None and type is not None:
            cls._level, cls._type = level, type
            _register_cmsg(cls)

    def borrow_with(self, stack: ExitStack, task: FileDescriptorTask[Any]) -> None:
        """Nothing to borrow: it is plain data."""

    @classmethod
    def level(cls) -> SOL:
        """The protocol that the message belongs to."""
        return cls._level

    @classmethod
    def type(cls) -> int:
        """The type of message among those of the level."""
        return cls._type


@dataclass(frozen=True)
class CmsgNumber(_Known):
    """A control message that is one number."""

    value: int

    _formats: ClassVar[tuple[struct.Struct, ...]]

    def __init_subclass__(cls, format: str = "", **kwargs: Any) -> None:
        cls._formats = tuple(struct.Struct(f"={letter}") for letter in format)
        super().__init_subclass__(**kwargs)

    def to_data(self) -> bytes:
        """The number."""
        return self._formats[0].pack(self.value)

    @classmethod
    def from_data(cls: type[T_number], task: FileDescriptorTask[Any], data: bytes) -> T_number:
        """Parse the number. Raises ValueError if it was cut off."""
        for form in cls._formats:
            if len(data) == form.size:
                return cls(*form.unpack(data))
        raise _CutOffError("a number was cut off", len(data))


@dataclass(frozen=True)
class CmsgStruct(_Known):
    """A control message that is one structure."""

    value: CStruct

    _struct: ClassVar[type[CStruct]]

    def __init_subclass__(cls, struct: type[CStruct] | None = None, **kwargs: Any) -> None:
        if struct is not None:
            cls._struct = struct
        super().__init_subclass__(**kwargs)

    def to_data(self) -> bytes:
        """The structure."""
        return self.value.to_bytes()

    @classmethod
    def from_data(cls: type[T_struct], task: FileDescriptorTask[Any], data: bytes) -> T_struct:
        """Parse the structure. Raises ValueError if it was cut off."""
        if len(data) < cls._struct.sizeof():
            raise _CutOffError("a structure was cut off", len(data))
        return cls(cls._struct.from_bytes(data))


class ScmTimestamping(
    CStruct, c="struct scm_timestamping", headers=("time.h", "linux/errqueue.h"), frozen=True
):
    """`struct scm_timestamping`: three times, of which those are 0 that the kernel has not taken.

    Args:
        software: when the kernel received or sent it.
        deprecated: always 0.
        hardware: when the device did, by its own clock.
    """

    software: Timespec = nested("ts[0]", Timespec)
    deprecated: Timespec = nested("ts[1]", Timespec)
    hardware: Timespec = nested("ts[2]", Timespec)


@dataclass(frozen=True)
class CmsgTimestamp(CmsgStruct, level=SOL.SOCKET, type=SCM.TIMESTAMP, struct=Timeval):
    """`SCM_TIMESTAMP`: when the message was received, in microseconds; of `SO.TIMESTAMP`.

    manpage: socket(7)
    """

    value: Timeval


@dataclass(frozen=True)
class CmsgTimestampns(CmsgStruct, level=SOL.SOCKET, type=SCM.TIMESTAMPNS, struct=Timespec):
    """`SCM_TIMESTAMPNS`: when the message was received, in nanoseconds; of `SO.TIMESTAMPNS`.

    manpage: socket(7)
    """

    value: Timespec


@dataclass(frozen=True)
class CmsgTimestamping(CmsgStruct, level=SOL.SOCKET, type=SCM.TIMESTAMPING, struct=ScmTimestamping):
    """`SCM_TIMESTAMPING`: when the message was received or sent; of `SO.TIMESTAMPING`.

    manpage: socket(7)
    """

    value: ScmTimestamping


@dataclass(frozen=True)
class CmsgRxqOvfl(CmsgNumber, level=SOL.SOCKET, type=SO.RXQ_OVFL, format="I"):
    """`SO_RXQ_OVFL`: how many messages the socket has dropped so far; of `SO.RXQ_OVFL`.

    manpage: socket(7)
    """


@dataclass(frozen=True)
class CmsgMark(CmsgNumber, level=SOL.SOCKET, type=SO.MARK, format="I"):
    """`SO_MARK`: the mark of a message, for routing and filters; received because of `SO.RCVMARK`.

    manpage: socket(7)
    """


@dataclass(frozen=True)
class CmsgPriority(CmsgNumber, level=SOL.SOCKET, type=SO.PRIORITY, format="I"):
    """`SO_PRIORITY`: the priority of a message; sent since Linux 6.14, received because of `SO.RCVPRIORITY`.

    manpage: socket(7)
    """


@dataclass(frozen=True)
class CmsgTxtime(CmsgNumber, level=SOL.SOCKET, type=SCM.TXTIME, format="Q"):
    """`SCM_TXTIME`: when to send a message, in nanoseconds of the clock of `SO.TXTIME`; never received.

    manpage: tc-etf(8)
    """
