"""`<netinet/in.h>`: the addresses of IPv4 and IPv6 sockets.

Ports and addresses are in host order here, as people write them; the classes put them in network order for
the kernel.
"""

from __future__ import annotations

import enum
import ipaddress
import operator
from typing import ClassVar

from rsyscall.cstruct import CStruct, array, be16, constant, u16, u32
from rsyscall.sys.socket import AF, Sockaddr, _register_sockaddr

__all__ = ["IN6ADDR_ANY", "IN6ADDR_LOOPBACK", "INADDR", "SockaddrIn", "SockaddrIn6"]

_PACKED = operator.attrgetter("packed")


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


def _check_port(port: int) -> None:
    if not 0 <= port <= 0xFFFF:
        raise ValueError("a port is a number from 0 to 65535", port)


class SockaddrIn(CStruct, Sockaddr, c="struct sockaddr_in", headers=("netinet/in.h",), size=16, frozen=True):
    """`struct sockaddr_in`: an IPv4 address and port.

    Args:
        port: 0 to 65535; 0 in `bind` lets the kernel choose one.
        addr: "192.0.2.1", or the number (0x7f000001 is 127.0.0.1; 0 is any address), or an `IPv4Address`.

    manpage: ip(7)
    """

    family: ClassVar[AF] = constant(u16("sin_family"), AF.INET)  # type: ignore[misc]  # the same for all of them
    port: int = be16("sin_port")
    addr: ipaddress.IPv4Address = array("sin_addr", 4, ipaddress.IPv4Address, encode=_PACKED)

    def __init__(self, port: int, addr: str | int | ipaddress.IPv4Address) -> None:
        _check_port(port)
        object.__setattr__(self, "port", port)
        object.__setattr__(self, "addr", ipaddress.IPv4Address(addr))

    def addr_as_string(self) -> str:
        """The address alone, as "192.0.2.1"."""
        return str(self.addr)

    def __str__(self) -> str:
        return f"SockaddrIn({self.addr}:{self.port})"


class SockaddrIn6(CStruct, Sockaddr, c="struct sockaddr_in6", headers=("netinet/in.h",), frozen=True):
    """`struct sockaddr_in6`: an IPv6 address and port.

    Args:
        port: 0 to 65535; 0 in `bind` lets the kernel choose one.
        addr: "2001:db8::1", or the number, or an `IPv6Address`. A zone is taken if it is a number
            ("fe80::1%2"); a name means nothing outside one network namespace and is refused.
        flowinfo: as the kernel has it, in network order.
        scope_id: index of the interface, for link-local addresses.

    manpage: ipv6(7)
    """

    family: ClassVar[AF] = constant(u16("sin6_family"), AF.INET6)  # type: ignore[misc]  # the same for all of them
    port: int = be16("sin6_port")
    addr: ipaddress.IPv6Address = array("sin6_addr", 16, ipaddress.IPv6Address, encode=_PACKED, offset=8)
    flowinfo: int = u32("sin6_flowinfo", offset=4)
    scope_id: int = u32("sin6_scope_id", offset=24)

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

    def addr_as_string(self) -> str:
        """The address alone, as "2001:db8::1"."""
        return str(self.addr)

    def __str__(self) -> str:
        return f"SockaddrIn6([{self.addr}]:{self.port})"


_register_sockaddr(SockaddrIn)
_register_sockaddr(SockaddrIn6)
