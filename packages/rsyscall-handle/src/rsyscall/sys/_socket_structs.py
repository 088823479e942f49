"""Small structures of `<sys/socket.h>`; import them from `rsyscall.sys.socket`."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rsyscall.handle.fd import T_held
from rsyscall.struct import FixedSize, Serializer, Struct
from rsyscall.sys._received import take_over_all

if TYPE_CHECKING:
    from rsyscall.handle.fd import FileDescriptorTask

__all__ = ["Linger", "Socketpair", "SocketpairSerializer", "Ucred"]

T_socketpair = TypeVar("T_socketpair", bound="Socketpair[Any]")

_FD_PAIR = struct.Struct("=ii")
_LINGER = struct.Struct("=ii")
_UCRED = struct.Struct("=iII")


@dataclass
class Socketpair(FixedSize, Generic[T_held]):
    """The two ends of a pair of connected sockets; in memory, the two numbers.

    manpage: socketpair(2)
    """

    first: T_held
    second: T_held

    @classmethod
    def sizeof(cls) -> int:
        """8 bytes."""
        return _FD_PAIR.size

    @classmethod
    def get_serializer(cls: type[T_socketpair], task: FileDescriptorTask[Any]) -> Serializer[T_socketpair]:
        """The serializer that makes handles of `task`."""
        return SocketpairSerializer(cls, task)


@dataclass
class SocketpairSerializer(Serializer[T_socketpair]):
    """Parses the result of `socketpair`, making handles, so it must be done once."""

    cls: type[T_socketpair]
    task: FileDescriptorTask[Any]

    all_or_nothing = True

    def to_bytes(self, val: T_socketpair) -> bytes:
        """The two numbers."""
        return _FD_PAIR.pack(int(val.first), int(val.second))

    def from_bytes(self, data: bytes) -> T_socketpair:
        """Take ownership of the two numbers, or, when it raises, of neither."""
        first, second = take_over_all(self.task, _FD_PAIR.unpack_from(data))
        return self.cls(first, second)


@dataclass(frozen=True)
class Linger(Struct):
    """`struct linger`: the value of `SO.LINGER`.

    Args:
        onoff: whether closing the socket waits for unsent data.
        linger: for how many seconds.

    manpage: socket(7)
    """

    onoff: bool
    linger: int

    def to_bytes(self) -> bytes:
        """The 8 bytes of the structure."""
        return _LINGER.pack(self.onoff, self.linger)

    @classmethod
    def from_bytes(cls, data: bytes) -> Linger:
        """Parse what the kernel wrote; raises `struct.error` when `data` is shorter than 8 bytes."""
        onoff, linger = _LINGER.unpack_from(data)
        return cls(bool(onoff), linger)

    @classmethod
    def sizeof(cls) -> int:
        """8 bytes."""
        return _LINGER.size


@dataclass(frozen=True)
class Ucred(Struct):
    """`struct ucred`: who somebody is, as the kernel vouches for; what `SO.PEERCRED` reads.

    The numbers are those of the reader's namespaces: pid 0 and the overflow ids (65534) stand for what has no
    number there.

    manpage: unix(7)
    """

    pid: int
    uid: int
    gid: int

    def to_bytes(self) -> bytes:
        """The 12 bytes of the structure."""
        return _UCRED.pack(self.pid, self.uid, self.gid)

    @classmethod
    def from_bytes(cls, data: bytes) -> Ucred:
        """Parse what the kernel wrote; raises `struct.error` when `data` is shorter than 12 bytes."""
        return cls(*_UCRED.unpack_from(data))

    @classmethod
    def sizeof(cls) -> int:
        """12 bytes."""
        return _UCRED.size
