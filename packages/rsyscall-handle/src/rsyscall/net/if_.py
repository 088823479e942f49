"""`<net/if.h>`, `<linux/if_tun.h>` and `<linux/sockios.h>`: network interfaces, through `ioctl`."""

from __future__ import annotations

import enum
import os
import struct
from typing import Any, ClassVar

from rsyscall.net._if_requests import SIOC, TUN, ifreq_size
from rsyscall.struct import Struct
from rsyscall.sys.socket import Sockaddr

__all__ = [
    "IFF",
    "IFNAMSIZ",
    "SIOC",
    "TUN",
    "TUNSETIFF",
    "TUN_F",
    "AddressField",
    "CStringField",
    "IFFField",
    "Ifreq",
    "IntField",
]

IFNAMSIZ = 16
"""Bytes that the name of an interface takes in a structure, with the NUL behind it."""

TUNSETIFF = 0x400454CA
"""`ioctl` request that ties an open /dev/net/tun to an interface; takes an `Ifreq` with name and flags."""


class TUN_F(enum.IntFlag):
    """`TUN_F_*`: the work that the reader of the packets takes over, for `TUN.SETOFFLOAD`.

    manpage: tun(4)
    """

    CSUM = 0x01
    TSO4 = 0x02
    TSO6 = 0x04
    TSO_ECN = 0x08
    UFO = 0x10
    USO4 = 0x20  # since Linux 6.2
    USO6 = 0x40  # since Linux 6.2


class IFF(enum.IntFlag):
    """`IFF_*`: flags of an interface, and after them those that `TUNSETIFF` takes, which are the same bits.

    manpage: netdevice(7)
    """

    NONE = 0
    UP = 0x1
    BROADCAST = 0x2
    DEBUG = 0x4
    LOOPBACK = 0x8
    POINTOPOINT = 0x10
    NOTRAILERS = 0x20
    RUNNING = 0x40
    NOARP = 0x80
    PROMISC = 0x100
    ALLMULTI = 0x200
    MASTER = 0x400
    SLAVE = 0x800
    MULTICAST = 0x1000
    PORTSEL = 0x2000
    AUTOMEDIA = 0x4000
    DYNAMIC = 0x8000
    LOWER_UP = 0x10000
    DORMANT = 0x20000
    ECHO = 0x40000
    VOLATILE = 0x70C5A  # those that SIOC.SIFFLAGS does not change
    # of /dev/net/tun
    TUN = 0x1
    TAP = 0x2
    NAPI = 0x10
    NAPI_FRAGS = 0x20
    NO_CARRIER = 0x40
    MULTI_QUEUE = 0x100
    ATTACH_QUEUE = 0x200
    DETACH_QUEUE = 0x400
    PERSIST = 0x800
    NO_PI = 0x1000
    NOFILTER = 0x1000
    ONE_QUEUE = 0x2000
    VNET_HDR = 0x4000
    TUN_EXCL = 0x8000


_INT = struct.Struct("=i")
_SHORT = struct.Struct("=H")
_SOCKADDR_SIZE = 16

# Offset and size of the members. All but the name are views of one union.
_MEMBERS = {
    "ifr_name": (0, IFNAMSIZ),
    "ifr_addr": (16, _SOCKADDR_SIZE),
    "ifr_dstaddr": (16, _SOCKADDR_SIZE),
    "ifr_broadaddr": (16, _SOCKADDR_SIZE),
    "ifr_netmask": (16, _SOCKADDR_SIZE),
    "ifr_hwaddr": (16, _SOCKADDR_SIZE),
    "ifr_flags": (16, _SHORT.size),
    "ifr_ifindex": (16, _INT.size),
    "ifr_metric": (16, _INT.size),
    "ifr_mtu": (16, _INT.size),
    "ifr_qlen": (16, _INT.size),
    "ifr_slave": (16, IFNAMSIZ),
    "ifr_newname": (16, IFNAMSIZ),
}


class _Field:
    """A member of `struct ifreq`, by its name in C, as an attribute of `Ifreq`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._offset, self._size = _MEMBERS[name]

    def _load(self, instance: Ifreq) -> bytes:
        return bytes(instance._data[self._offset : self._offset + self._size])

    def _store(self, instance: Ifreq, data: bytes) -> None:
        instance._data[self._offset : self._offset + self._size] = data.ljust(self._size, b"\0")


class CStringField(_Field):
    """A member that is a string in an array."""

    def __get__(self, instance: Ifreq, owner: type[Ifreq]) -> str:
        """The string, up to the first NUL."""
        return os.fsdecode(self._load(instance).partition(b"\0")[0])

    def __set__(self, instance: Ifreq, value: str) -> None:
        """Put the string there. Raises ValueError if it does not fit, with a NUL behind it."""
        data = os.fsencode(value)
        if len(data) >= self._size or b"\0" in data:
            raise ValueError(f"{self.name} is at most {self._size - 1} bytes without NULs", value)
        self._store(instance, data)


class IntField(_Field):
    """A member that is an `int`."""

    def __get__(self, instance: Ifreq, owner: type[Ifreq]) -> int:
        """The number."""
        number: int = _INT.unpack(self._load(instance))[0]
        return number

    def __set__(self, instance: Ifreq, value: int) -> None:
        """Put the number there; raises `struct.error` if it does not fit."""
        self._store(instance, _INT.pack(value))


class AddressField(_Field):
    """A member that is a `struct sockaddr`."""

    def __get__(self, instance: Ifreq, owner: type[Ifreq]) -> Sockaddr:
        """The address, as an object of the class for its family: for AF.INET a `SockaddrIn`."""
        return Sockaddr.from_bytes(self._load(instance)).parse()

    def __set__(self, instance: Ifreq, value: Sockaddr) -> None:
        """Put the address there. Raises ValueError if it does not fit, as those of IPv6 do not."""
        data = value.to_bytes()
        if len(data) > self._size:
            raise ValueError(f"{self.name} is at most {self._size} bytes", value)
        self._store(instance, data)


class _HardwareAddressField(AddressField):
    """A member that is a `struct sockaddr` with a type of hardware, `ARPHRD_*`, in place of the family."""

    def __get__(self, instance: Ifreq, owner: type[Ifreq]) -> Sockaddr:
        """The address, as it is."""
        return Sockaddr.from_bytes(self._load(instance))


class IFFField(_Field):
    """A member that is a `short` with flags."""

    def __get__(self, instance: Ifreq, owner: type[Ifreq]) -> IFF:
        """The flags."""
        return IFF(_SHORT.unpack(self._load(instance))[0])

    def __set__(self, instance: Ifreq, value: IFF) -> None:
        """Put the flags there; raises `struct.error` for those above the 16 bits."""
        self._store(instance, _SHORT.pack(value))


class Ifreq(Struct):
    """`struct ifreq`: the name of an interface, and one other thing about it.

    Which of the other things it is depends on the request: all attributes but `name` are views of the same
    memory, so setting one changes the others.

    Args:
        name: of the interface, 15 bytes at most.
        addr: an address.
        flags: flags; give only one of `addr` and `flags`.
        cffi: 40 bytes to begin with, instead of zeros: anything that `bytes` accepts.

    manpage: netdevice(7)
    """

    name: CStringField = CStringField("ifr_name")
    addr: AddressField = AddressField("ifr_addr")
    dstaddr: AddressField = AddressField("ifr_dstaddr")
    broadaddr: AddressField = AddressField("ifr_broadaddr")
    netmask: AddressField = AddressField("ifr_netmask")
    hwaddr: _HardwareAddressField = _HardwareAddressField("ifr_hwaddr")
    flags: IFFField = IFFField("ifr_flags")
    ifindex: IntField = IntField("ifr_ifindex")
    metric: IntField = IntField("ifr_metric")
    mtu: IntField = IntField("ifr_mtu")
    qlen: IntField = IntField("ifr_qlen")
    slave: CStringField = CStringField("ifr_slave")
    newname: CStringField = CStringField("ifr_newname")

    def __init__(
        self,
        name: str | None = None,
        *,
        addr: Sockaddr | None = None,
        flags: IFF | None = None,
        cffi: Any = None,
    ) -> None:
        self._data = bytearray(ifreq_size)
        if cffi is not None:
            data = bytes(cffi)
            if len(data) < ifreq_size:
                raise ValueError("too short for struct ifreq", len(data))
            self._data[:] = data[:ifreq_size]
        if addr is not None and flags is not None:
            raise ValueError("an ifreq has room either for an address or for flags")
        if name is not None:
            self.name = name
        if addr is not None:
            self.addr = addr
        if flags is not None:
            self.flags = flags

    def to_bytes(self) -> bytes:
        """The 40 bytes of the structure."""
        return bytes(self._data)

    @classmethod
    def from_bytes(cls, data: bytes) -> Ifreq:
        """Take what the kernel wrote; raises ValueError when `data` is shorter than 40 bytes."""
        return cls(cffi=data)

    @classmethod
    def sizeof(cls) -> int:
        """40 bytes."""
        return ifreq_size

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ifreq):
            return NotImplemented
        return self._data == other._data

    __hash__: ClassVar[None] = None  # type: ignore[assignment]  # mutable; this is how Python spells it

    def __repr__(self) -> str:
        return f"Ifreq({self.name!r}, cffi={bytes(self._data)!r})"
