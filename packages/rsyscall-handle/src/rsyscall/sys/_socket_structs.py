"""Small structures of `<sys/socket.h>`; import them from `rsyscall.sys.socket`."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rsyscall.cstruct import CStruct, i32, u32
from rsyscall.handle.fd import T_held
from rsyscall.near.light_dataclass import light_dataclass
from rsyscall.struct import FixedSize, Serializer
from rsyscall.sys._received import take_over_all

if TYPE_CHECKING:
    from rsyscall.handle.fd import FileDescriptorTask

__all__ = ["Linger", "Socketpair", "SocketpairSerializer", "Ucred"]

T_socketpair = TypeVar("T_socketpair", bound="Socketpair[Any]")

_FD_PAIR = struct.Struct("=ii")


@light_dataclass
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


@light_dataclass
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


class Linger(CStruct, c="struct linger", headers=("sys/socket.h",), frozen=True):
    """`struct linger`: the value of `SO.LINGER`.

    Args:
        onoff: whether closing the socket waits for unsent data.
        linger: for how many seconds.

    manpage: socket(7)
    """

    onoff: bool = i32("l_onoff", bool)
    linger: int = i32("l_linger")


class Ucred(CStruct, c="struct ucred", headers=("sys/socket.h",), frozen=True):
    """`struct ucred`: the identity of a process, for which the kernel vouches; read by `SO.PEERCRED`.

    The numbers are those of the reader's namespaces: pid 0 and the overflow ids (65534) stand for what has no
    number there.

    manpage: unix(7)
    """

    pid: int = i32("pid")
    uid: int = u32("uid")
    gid: int = u32("gid")
