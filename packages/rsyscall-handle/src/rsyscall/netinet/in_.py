"""`<netinet/in.h>`: the addresses of IPv4 and IPv6 sockets.

Ports and addresses are in host order here, as everybody writes them; the classes put them in network order
for the kernel.
"""

from __future__ import annotations

import enum
import ipaddress
import struct
from dataclasses import dataclass

from rsyscall.sys.socket import AF, Sockaddr, _register_sockaddr

__all__ = ["IN6ADDR_ANY", "IN6ADDR_LOOPBACK", "INADDR", "SockaddrIn", "SockaddrIn6"]

# Only the family and the scope are in host order. The rest is written as bytes, since one format has one byte
# order.
_SOCKADDR_IN = struct.Struct("=H2s4s8x")
_SOCKADDR_IN6 = struct.Struct("=H2sI16sI")


class INADDR(enum.IntEnum):
    """`INADDR_*`: IPv4 addresses, in host order as everywhere here; `SockaddrIn` takes them.

    manpage: ip(7)
    """

    ANY = 0x00000000  # 0.0.0.0
    LOOPBACK = 0x7F000001  # 127.0.0.1
    BROADCAST = 0xFFFFFFFF  # 255.255.255.255
    NONE = 0xFFFFFFFF  # what C functions return for a wrong address
    DUMMY = 0xC0000008  # 192.0.0.8
    UNSPEC_GROUP = 0xE0000000  # 224.0.0.0
    ALLHOSTS_GROUP = 0xE0000001  # 224.0.0.1
    ALLRTRS_GROUP = 0xE0000002  # 224.0.0.2
    ALLSNOOPERS_GROUP = 0xE000006A  # 224.0.0.106
    MAX_LOCAL_GROUP = 0xE00000FF  # 224.0.0.255


IN6ADDR_ANY = ipaddress.IPv6Address("::")
"""`in6addr_any`: the IPv6 address that means any."""
IN6ADDR_LOOPBACK = ipaddress.IPv6Address("::1")
"""`in6addr_loopback`: the IPv6 address of the host itself."""


def _port_bytes(port: int) -> bytes:
    return port.to_bytes(2, "big")


def _check_port(port: int) -> None:
    if not 0 <= port <= 0xFFFF:
        raise ValueError("a port is a number from 0 to 65535", port)


@dataclass(frozen=True, init=False)
class SockaddrIn(Sockaddr):
    """`struct sockaddr_in`: an IPv4 address and port.

    Args:
        port: 0 to 65535; 0 in `bind` lets the kernel choose one.
        addr: "192.0.2.1", or the number (0x7f000001 is 127.0.0.1; 0 is any address), or an `IPv4Address`.

    manpage: ip(7)
    """

    port: int
    addr: ipaddress.IPv4Address
    family = AF.INET

    def __init__(self, port: int, addr: str | int | ipaddress.IPv4Address) -> None:
        _check_port(port)
        object.__setattr__(self, "port", port)
        object.__setattr__(self, "addr", ipaddress.IPv4Address(addr))

    def to_bytes(self) -> bytes:
        """The 16 bytes of the structure."""
        return _SOCKADDR_IN.pack(AF.INET, _port_bytes(self.port), self.addr.packed)

    @classmethod
    def from_bytes(cls, data: bytes) -> SockaddrIn:
        """Parse what the kernel wrote.

        Raises ValueError for another family, `struct.error` for less than 16 bytes.
        """
        family, port, addr = _SOCKADDR_IN.unpack_from(data)
        cls.check_family(family)
        return cls(int.from_bytes(port, "big"), ipaddress.IPv4Address(addr))

    @classmethod
    def sizeof(cls) -> int:
        """16 bytes."""
        return _SOCKADDR_IN.size

    def addr_as_string(self) -> str:
        """The address alone, as "192.0.2.1"."""
        return str(self.addr)

    def __str__(self) -> str:
        return f"SockaddrIn({self.addr}:{self.port})"


@dataclass(frozen=True, init=False)
class SockaddrIn6(Sockaddr):
    """`struct sockaddr_in6`: an IPv6 address and port.

    Args:
        port: 0 to 65535; 0 in `bind` lets the kernel choose one.
        addr: "2001:db8::1", or the number, or an `IPv6Address`. A zone is taken if it is a number
            ("fe80::1%2"); a name means nothing outside one network namespace and is refused.
        flowinfo: as the kernel has it, in network order.
        scope_id: index of the interface, for link-local addresses.

    manpage: ipv6(7)
    """

    port: int
    addr: ipaddress.IPv6Address
    flowinfo: int
    scope_id: int
    family = AF.INET6

    def __init__(
        self, port: int, addr: str | int | ipaddress.IPv6Address, flowinfo: int = 0, scope_id: int = 0
    ) -> None:
        _check_port(port)
        address = ipaddress.IPv6Address(addr)
        if address.scope_id is not None:
            if not address.scope_id.isdecimal():
                raise ValueError("the zone of an address has to be the index of an interface", str(address))
            scope_id = scope_id or int(address.scope_id)
            address = ipaddress.IPv6Address(address.packed)
        object.__setattr__(self, "port", port)
        object.__setattr__(self, "addr", address)
        object.__setattr__(self, "flowinfo", flowinfo)
        object.__setattr__(self, "scope_id", scope_id)

    def to_bytes(self) -> bytes:
        """The 28 bytes of the structure."""
        return _SOCKADDR_IN6.pack(
            AF.INET6, _port_bytes(self.port), self.flowinfo, self.addr.packed, self.scope_id
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> SockaddrIn6:
        """Parse what the kernel wrote.

        Raises ValueError for another family, `struct.error` for less than 28 bytes.
        """
        family, port, flowinfo, addr, scope_id = _SOCKADDR_IN6.unpack_from(data)
        cls.check_family(family)
        return cls(int.from_bytes(port, "big"), ipaddress.IPv6Address(addr), flowinfo, scope_id)

    @classmethod
    def sizeof(cls) -> int:
        """28 bytes."""
        return _SOCKADDR_IN6.size

    def addr_as_string(self) -> str:
        """The address alone, as "2001:db8::1"."""
        return str(self.addr)

    def __str__(self) -> str:
        return f"SockaddrIn6([{self.addr}]:{self.port})"


_register_sockaddr(SockaddrIn)
_register_sockaddr(SockaddrIn6)
