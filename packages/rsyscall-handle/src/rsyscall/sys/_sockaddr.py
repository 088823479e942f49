"""Socket addresses, and (buffer, length) pairs for receiving them; import them from `rsyscall.sys.socket`.

An address has a length beside its bytes, and for AF_UNIX the length is part of the name: so `SockaddrStorage`
keeps exactly the bytes that it was given, and the calls hand the kernel the length of the address and not
that of the memory it is in.
"""

from __future__ import annotations

import importlib
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from rsyscall.struct import HasSerializer, Serializer, Struct
from rsyscall.sys._socket_constants import AF

if TYPE_CHECKING:
    import rsyscall.far
    import rsyscall.near
    from rsyscall.handle.pointer import Pointer, WrittenPointer

__all__ = ["Sockaddr", "SockaddrStorage", "Sockbuf", "SockbufSerializer", "T_sockaddr", "family_to_class"]

T = TypeVar("T")
T_self = TypeVar("T_self")

_FAMILY = struct.Struct("=H")
_SOCKLEN = struct.Struct("=I")
_SOCKADDR_DATA = 14
_STORAGE_SIZE = 128

family_to_class: dict[AF, type[Sockaddr]] = {}
"""The class for the addresses of each family, as far as their modules have been imported."""

# Where the class of a family lives, so that parse() does not depend on what happens to be imported.
_FAMILY_MODULES = {
    AF.UNIX: "rsyscall.sys.un",
    AF.INET: "rsyscall.netinet.in_",
    AF.INET6: "rsyscall.netinet.in_",
    AF.NETLINK: "rsyscall.linux.netlink",
    AF.PACKET: "rsyscall.linux.if_packet",
    AF.ALG: "rsyscall.linux.if_alg",
    AF.VSOCK: "rsyscall.linux.vm_sockets",
}


def _register_sockaddr(sockaddr: type[Sockaddr]) -> None:
    """Make `Sockaddr.parse` use this class for the addresses of its `family`; there is one for each."""
    registered = family_to_class.get(sockaddr.family)
    if registered is not None:
        raise ValueError(
            "a class for this address family is already registered", sockaddr.family, registered, sockaddr
        )
    family_to_class[sockaddr.family] = sockaddr


def _class_of_family(family: AF) -> type[Sockaddr] | None:
    module = _FAMILY_MODULES.get(family)
    if module is not None and family not in family_to_class:
        importlib.import_module(module)
    return family_to_class.get(family)


def _family_from_int(family: int) -> AF:
    try:
        return AF(family)
    except ValueError:
        # A family that is newer than the table stays a plain number: everything but its name still works.
        return cast(AF, family)


def _split_family(data: bytes) -> tuple[AF, bytes]:
    if len(data) < _FAMILY.size:
        # What recvmsg, accept and getpeername give for a peer without any address.
        return AF.UNSPEC, b""
    return _family_from_int(_FAMILY.unpack_from(data)[0]), bytes(data[_FAMILY.size :])


class Sockaddr(Struct):
    """`struct sockaddr`: the address of a socket, of any family.

    A base class: `SockaddrUn`, `SockaddrIn` and so on are the addresses to make, and `SockaddrStorage` is the
    one to receive.

    Args:
        family: the address family.
        data: the bytes after the family, 14 at most.

    manpage: sockaddr(3type)
    """

    family: AF
    data: bytes

    # How many bytes longer than the whole structure the kernel may say an address is, without anything having
    # been cut off.
    _UNWRITTEN = 0

    def __init__(self, family: AF, data: bytes) -> None:
        if len(data) > _SOCKADDR_DATA:
            raise ValueError("too long for struct sockaddr; use SockaddrStorage", len(data))
        self.family = family
        self.data = data

    def to_bytes(self) -> bytes:
        """The 16 bytes of the structure, filled up with zeros."""
        return _FAMILY.pack(self.family) + self.data.ljust(_SOCKADDR_DATA, b"\0")

    @classmethod
    def from_bytes(cls: type[T_self], data: bytes) -> T_self:
        """Parse the bytes from the kernel. Any bytes can be parsed: no bytes at all are the family UNSPEC."""
        family, rest = _split_family(data)
        return cast("type[Any]", cls)(family, rest[:_SOCKADDR_DATA])  # type: ignore[no-any-return]

    @classmethod
    def sizeof(cls) -> int:
        """16 bytes."""
        return _FAMILY.size + _SOCKADDR_DATA

    @classmethod
    def check_family(cls, family: AF) -> None:
        """Raise ValueError unless `family` is the family of this class."""
        if family != cls.family:
            raise ValueError("address of another family", family, cls.family)

    def parse(self) -> Sockaddr:
        """The same address as an object of the class for its family; this one, if there is no such class.

        Raises:
            ValueError, struct.error: if it is not an address of its family, for instance because it was cut
            off.
        """
        cls = _class_of_family(self.family)
        if cls is None or isinstance(self, cls):
            return self
        return cls.from_bytes(self._unpadded())

    def _unpadded(self) -> bytes:
        return _FAMILY.pack(self.family) + self.data

    def __eq__(self, other: object) -> bool:
        if type(other) is not Sockaddr or type(self) is not Sockaddr:
            return NotImplemented
        return self.to_bytes() == other.to_bytes()

    def __hash__(self) -> int:
        return hash(self.to_bytes())

    def __repr__(self) -> str:
        return f"{type(self).__name__}(family={self.family!r}, data={self.data!r})"


T_sockaddr = TypeVar("T_sockaddr", bound=Sockaddr)


@dataclass(repr=False)
class SockaddrStorage(Sockaddr):
    """`struct sockaddr_storage`: room for an address of any family, and one that came from there.

    Its bytes are the family and `data` and nothing else, since the length of an address can be part of it.

    Args:
        family: the address family.
        data: the bytes after the family, 126 at most.

    manpage: sockaddr_storage(3type)
    """

    family: AF
    data: bytes

    def __post_init__(self) -> None:
        if len(self.data) > _STORAGE_SIZE - _FAMILY.size:
            raise ValueError("too long for struct sockaddr_storage", len(self.data))

    def to_bytes(self) -> bytes:
        """The family and the data, without any padding."""
        return self._unpadded()

    @classmethod
    def from_bytes(cls, data: bytes) -> SockaddrStorage:
        """Take an address of any family, with its length. No bytes at all are the family UNSPEC."""
        return cls(*_split_family(data[:_STORAGE_SIZE]))

    @classmethod
    def sizeof(cls) -> int:
        """128 bytes: room for every address."""
        return _STORAGE_SIZE


def _address_length(addr: WrittenPointer[Any]) -> int:
    """The length to hand the kernel with an address.

    Not the size of the memory: an address written into a larger buffer would end in whatever the buffer held
    before.
    """
    length = len(addr.serializer.to_bytes(addr.value))
    if length > addr.size():
        raise ValueError("pointer is smaller than the address in it", addr.size(), length)
    return length


@dataclass
class Sockbuf(Generic[T], HasSerializer):
    """A buffer and a length that the kernel reads and overwrites: how addresses and options are received.

    Make a buffer, put the `Sockbuf` of it in memory, hand that to the call and read it:

        buf = await thr.ptr(Sockbuf(await thr.malloc(SockaddrStorage)))
        addr = await (await (await sock.getsockname(buf)).read()).buf.read()

    In memory it is the length alone. Reading it back splits the buffer into what the kernel filled, `buf`,
    and the rest, `buf_rest`; it raises ValueError if the buffer was too small, and leaves the buffer as it
    is. A `Sockbuf` takes one answer: to use its memory again, write a new one there.

    Args:
        buf: where the kernel is to write; all of it may be used.
        buf_rest: only in a `Sockbuf` that was read: the part that the kernel left unused.
    """

    buf: Pointer[T]
    buf_rest: Pointer[T] | None = None
    # The kernel has overwritten the length, so the memory may say more than the buffer has: never to be
    # submitted again.
    _answered: bool = field(default=False, init=False, repr=False, compare=False)

    def get_self_serializer(self, task: rsyscall.far.Task) -> SockbufSerializer[T]:
        """The serializer that knows the buffer to split."""
        return SockbufSerializer(self.buf)


class SockbufSerializer(Serializer[Sockbuf[T]]):
    """Writes the size of one buffer as a `socklen_t`, and splits that buffer by the length read back."""

    def __init__(self, buf: Pointer[T]) -> None:
        self.buf = buf

    def to_bytes(self, val: Sockbuf[T]) -> bytes:
        """The size of the buffer as a `socklen_t`: 4 bytes."""
        return _SOCKLEN.pack(val.buf.size())

    def from_bytes(self, data: bytes) -> Sockbuf[T]:
        """Split the buffer, consuming it, by the length that the kernel wrote."""
        (length,) = _SOCKLEN.unpack_from(data)
        size = self.buf.size()
        if length > size:
            # An AF_UNIX path that fills the whole structure is counted with a terminating NUL that is not
            # written.
            missing = length - size
            typ = self.buf.typ
            if not (issubclass(typ, Sockaddr) and missing <= typ._UNWRITTEN and size == typ.sizeof()):
                raise ValueError("the buffer is too small for what the kernel had", size, length)
            length = size
        valid, rest = self.buf.readable_split(length)
        return Sockbuf(valid, rest)
