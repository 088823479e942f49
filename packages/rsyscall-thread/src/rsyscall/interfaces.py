"""The interfaces of a network namespace, their addresses, and its routes: see `Thread.net`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import TYPE_CHECKING

from rsyscall.handle import FileDescriptor, Task
from rsyscall.linux.netlink import NLA_F, NLM_F, Nlattr, Nlmsg, build_attributes, parse_attributes
from rsyscall.linux.rtnetlink import (
    IFA,
    IFA_F,
    IFLA,
    IFLA_INFO,
    RT_SCOPE,
    RT_TABLE,
    RTA,
    RTM,
    RTN,
    RTPROT,
    VETH_INFO,
    Ifaddrmsg,
    Ifinfomsg,
    Rtmsg,
)
from rsyscall.net.if_ import IFF
from rsyscall.netlink_socket import NetlinkSocket
from rsyscall.sys.socket import AF

if TYPE_CHECKING:
    from rsyscall.memory.ram import RAM

__all__ = ["InterfaceAddress", "Interfaces", "Link", "Route"]

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network

_TYPE_MASK = ~int(NLA_F.NESTED | NLA_F.NET_BYTEORDER)
_FAMILIES = {4: AF.INET, 6: AF.INET6}


@dataclass(frozen=True)
class Link:
    """A network interface.

    Attributes:
        index: its number in the network namespace.
        name: its name.
        kind: "veth", "bridge" and the like; None for loopback and hardware.
        flags: `IFF.UP` if it is in use, `IFF.RUNNING` if it is connected.
        mtu: bytes that a packet may have.
        address: of the hardware; empty if it has none.
        master: the index of the bridge, say, that it belongs to; None if there is none.
        link: the index of the interface that it is on top of, or, of a veth, connected to; None if there is
            none. If `link_netnsid` is not None, it is an index of that other network namespace.
        link_netnsid: the number that our network namespace has given to the one of `link`.
    """

    index: int
    name: str
    kind: str | None
    flags: IFF
    mtu: int
    address: bytes
    master: int | None
    link: int | None
    link_netnsid: int | None


@dataclass(frozen=True)
class InterfaceAddress:
    """An address of a network interface.

    Attributes:
        index: of the interface.
        address: the address and how many of its bits are those of the network.
        peer: the address at the other end of a point-to-point link; None elsewhere.
        flags: `IFA_F.TENTATIVE` while the kernel looks for others that have it, for example.
        scope: how far away it is valid.
    """

    index: int
    address: IPInterface
    peer: IPAddress | None
    flags: IFA_F
    scope: RT_SCOPE | int


@dataclass(frozen=True)
class Route:
    """A route.

    Attributes:
        destination: what is reached by it; a network of prefix length 0 for a default route.
        gateway: the router, of IPv4 or IPv6, whichever the destination is; None if that is on the link, or if
            there are several routers.
        index: of the interface; None if it has none, or several.
        source: the address that our packets have; None if the kernel chooses.
        metric: of several routes the one with the lowest is taken.
        table: that it is in.
        protocol: who has made it.
        scope: how far away the destination is.
        type: `RTN.UNICAST` for an ordinary one.
    """

    destination: IPNetwork
    gateway: IPAddress | None
    index: int | None
    source: IPAddress | None
    metric: int
    table: RT_TABLE | int
    protocol: RTPROT | int
    scope: RT_SCOPE | int
    type: RTN | int


def _number(value: int) -> bytes:
    if not isinstance(value, int):
        raise TypeError(f"expected a number of 32 bits, not {value!r}")
    if not 0 <= value < 1 << 32:
        raise ValueError(f"expected a number of 32 bits, not negative, and not {value}")
    return value.to_bytes(4, "little")


def _text(value: str) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"expected a name, not {value!r}")
    # The kernel takes an empty name for none: it changes nothing, or chooses one.
    if not value or "\0" in value:
        raise ValueError(f"expected a name without NUL characters that is not empty, not {value!r}")
    return os.fsencode(value) + b"\0"


def _attributes(data: bytes) -> dict[int, bytes]:
    """The attributes by their types. Of several of one type the last counts."""
    return {attribute.type & _TYPE_MASK: attribute.value for attribute in parse_attributes(data)}


def _int(attributes: Mapping[int, bytes], type: int) -> int | None:
    return int.from_bytes(attributes[type], "little") if type in attributes else None


def _string(attributes: Mapping[int, bytes], type: int) -> str | None:
    return os.fsdecode(attributes[type].split(b"\0")[0]) if type in attributes else None


def _ip(attributes: Mapping[int, bytes], type: int) -> IPAddress | None:
    return ip_address(attributes[type]) if type in attributes else None


def _via(attributes: Mapping[int, bytes]) -> IPAddress | None:
    """A router of another family than the route: the family, two bytes, and its address."""
    via = attributes.get(RTA.VIA, b"")
    family = int.from_bytes(via[:2], "little")
    return ip_address(via[2:]) if family in _FAMILIES.values() else None


def _link(message: Nlmsg) -> Link:
    info = Ifinfomsg.from_bytes(message.payload)
    found = _attributes(message.payload[Ifinfomsg.sizeof() :])
    netnsid = _int(found, IFLA.LINK_NETNSID)
    return Link(
        info.index,
        _string(found, IFLA.IFNAME) or "",
        _string(_attributes(found.get(IFLA.LINKINFO, b"")), IFLA_INFO.KIND),
        info.flags,
        _int(found, IFLA.MTU) or 0,
        found.get(IFLA.ADDRESS, b""),
        _int(found, IFLA.MASTER),
        _int(found, IFLA.LINK) or None,
        netnsid,
    )


def _address(message: Nlmsg) -> InterfaceAddress | None:
    info = Ifaddrmsg.from_bytes(message.payload)
    found = _attributes(message.payload[Ifaddrmsg.sizeof() :])
    # IFA_ADDRESS is the other end of a point-to-point link; without IFA_LOCAL there is no other end.
    address, local = _ip(found, IFA.ADDRESS), _ip(found, IFA.LOCAL)
    own = local or address
    if info.family not in _FAMILIES.values() or own is None:
        return None
    return InterfaceAddress(
        info.index,
        ip_interface((own, info.prefixlen)),
        None if local is None or local == address else address,
        IFA_F(_int(found, IFA.FLAGS) or info.flags),
        info.scope,
    )


def _route(message: Nlmsg) -> Route | None:
    info = Rtmsg.from_bytes(message.payload)
    found = _attributes(message.payload[Rtmsg.sizeof() :])
    if info.family == AF.INET:
        destination: IPNetwork = IPv4Network((found.get(RTA.DST, bytes(4)), info.dst_len))
    elif info.family == AF.INET6:
        destination = IPv6Network((found.get(RTA.DST, bytes(16)), info.dst_len))
    else:
        return None
    table = _int(found, RTA.TABLE) or info.table
    return Route(
        destination,
        _ip(found, RTA.GATEWAY) or _via(found),
        _int(found, RTA.OIF),
        _ip(found, RTA.PREFSRC),
        _int(found, RTA.PRIORITY) or 0,
        RT_TABLE(table) if table in RT_TABLE._value2member_map_ else table,
        info.protocol,
        info.scope,
        info.type,
    )


class Interfaces:
    """The network namespace that a process is in. Each method uses a socket of its own.

    An interface is given by its name, addresses as text or as objects of `ipaddress`. The `filename` of an
    OSError is the interface, the address or the destination; its text has the kernel's explanation, if there
    is one. What changes something needs CAP_NET_ADMIN over the namespace, and raises EPERM without it.

    Args:
        task: of the process.
        ram: its memory.

    manpage: rtnetlink(7), ip(8)
    """

    def __init__(self, task: Task, ram: RAM) -> None:
        self.task = task
        self.ram = ram

    async def _request(
        self, type: RTM, payload: bytes, flags: NLM_F = NLM_F.NONE, what: object = None
    ) -> list[Nlmsg]:
        async with await NetlinkSocket.make(self.task, self.ram) as sock:
            return await sock.request(type, payload, flags, what)

    # ---------------------------------------------------------------------------------- interfaces

    async def add_link(
        self,
        name: str,
        kind: str,
        *,
        peer: str | None = None,
        peer_netns: FileDescriptor | None = None,
        netns: FileDescriptor | None = None,
        master: str | None = None,
        link: str | None = None,
        mtu: int | None = None,
        address: bytes | None = None,
        data: Sequence[Nlattr] = (),
    ) -> None:
        """Make an interface. It is not in use until `set_up`.

        Args:
            name: its name, at most 15 bytes. In one like "tap%d" the kernel puts a number that is free.
            kind: "veth", "bridge", "dummy" or another that the kernel knows.
            peer: of a veth, the name of the other end.
            peer_netns: where the other end is: a network namespace, such as `/proc/self/ns/net` of a process
                in it, as a descriptor of this process.
            netns: where the interface is, if not here.
            master: the bridge, say, that it belongs to.
            link: the interface that it is on top of, for kinds like "vlan" and "macvlan".
            mtu: bytes that a packet may have.
            address: of the hardware.
            data: attributes of that kind, those of `IFLA_INFO.DATA`.

        Raises:
            ValueError: `peer` and `data` for another kind than "veth".
            OSError: EEXIST (there is one of that name), EOPNOTSUPP (the kernel does not know the kind),
                EPERM, EINVAL and others.
        """
        if kind != "veth" and (peer is not None or peer_netns is not None):
            raise ValueError(f"peer, peer_netns: only a veth has another end, not {kind!r}")
        info = [Nlattr(IFLA_INFO.KIND, _text(kind))]
        with _Borrowed(self.task) as borrowed:
            inner = list(data)
            if kind == "veth" and (peer is not None or peer_netns is not None):
                end = [] if peer is None else [Nlattr(IFLA.IFNAME, _text(peer))]
                end += borrowed.netns(peer_netns)
                value = Ifinfomsg().to_bytes() + build_attributes(end)
                inner.append(Nlattr(VETH_INFO.PEER | NLA_F.NESTED, value))
            if inner:
                info.append(Nlattr(IFLA_INFO.DATA | NLA_F.NESTED, build_attributes(inner)))
            attributes = [
                Nlattr(IFLA.IFNAME, _text(name)),
                Nlattr(IFLA.LINKINFO | NLA_F.NESTED, build_attributes(info)),
                *borrowed.netns(netns),
                *await self._properties(master, mtu, address),
            ]
            if link is not None:
                attributes.append(Nlattr(IFLA.LINK, _number((await self.link(link)).index)))
            payload = Ifinfomsg().to_bytes() + build_attributes(attributes)
            await self._request(RTM.NEWLINK, payload, NLM_F.CREATE | NLM_F.EXCL, name)

    async def _properties(self, master: str | None, mtu: int | None, address: bytes | None) -> list[Nlattr]:
        attributes = []
        if master is not None:
            index = (await self.link(master)).index if master else 0
            attributes.append(Nlattr(IFLA.MASTER, _number(index)))
        if mtu is not None:
            attributes.append(Nlattr(IFLA.MTU, _number(mtu)))
        if address is not None:
            if not isinstance(address, bytes):
                raise TypeError(f"address: expected the bytes of a hardware address, not {address!r}")
            attributes.append(Nlattr(IFLA.ADDRESS, address))
        return attributes

    async def set_link(
        self,
        interface: str,
        *,
        up: bool | None = None,
        name: str | None = None,
        netns: FileDescriptor | None = None,
        master: str | None = None,
        mtu: int | None = None,
        address: bytes | None = None,
    ) -> None:
        """Change an interface.

        Args:
            interface: which one.
            up: put it into use, or out of use.
            name: its new name.
            netns: move it to that network namespace; see `add_link`.
            master: the bridge, say, that it belongs to from now on; empty for none.
            mtu: bytes that a packet may have.
            address: of the hardware.

        Raises:
            OSError: ENODEV (no such interface), EBUSY (in use), EEXIST, EPERM, EINVAL and others.
        """
        index = (await self.link(interface)).index
        with _Borrowed(self.task) as borrowed:
            attributes = [*borrowed.netns(netns), *await self._properties(master, mtu, address)]
            if name is not None:
                attributes.append(Nlattr(IFLA.IFNAME, _text(name)))
            flags, change = (IFF.UP if up else IFF.NONE), (0 if up is None else int(IFF.UP))
            header = Ifinfomsg(index=index, flags=flags, change=change)
            payload = header.to_bytes() + build_attributes(attributes)
            await self._request(RTM.NEWLINK, payload, what=interface)

    async def set_up(self, interface: str) -> None:
        """Put an interface into use; see `set_link`."""
        await self.set_link(interface, up=True)

    async def delete_link(self, interface: str) -> None:
        """Delete an interface; of a veth, both ends.

        Raises:
            OSError: ENODEV (no such interface), EOPNOTSUPP (this kind cannot be deleted), EPERM.
        """
        payload = Ifinfomsg().to_bytes() + build_attributes([Nlattr(IFLA.IFNAME, _text(interface))])
        await self._request(RTM.DELLINK, payload, what=interface)

    async def link(self, interface: str) -> Link:
        """Describe an interface.

        Raises:
            OSError: ENODEV (no such interface).
        """
        payload = Ifinfomsg().to_bytes() + build_attributes([Nlattr(IFLA.IFNAME, _text(interface))])
        [message] = await self._request(RTM.GETLINK, payload, what=interface)
        return _link(message)

    async def list_links(self) -> list[Link]:
        """All interfaces."""
        return [_link(one) for one in await self._request(RTM.GETLINK, Ifinfomsg().to_bytes(), NLM_F.DUMP)]

    # ---------------------------------------------------------------------------------- addresses

    async def add_address(
        self,
        interface: str,
        address: str | IPInterface,
        *,
        peer: str | IPAddress | None = None,
        flags: IFA_F = IFA_F.NONE,
    ) -> None:
        """Give an address to an interface. The kernel adds a route to its network, once the interface is up.

        Args:
            interface: which one.
            address: with the length of its prefix: "10.0.0.1/24".
            peer: the address at the other end of a point-to-point link.
            flags: `IFA_F.NODAD` to use an IPv6 address at once, without looking for others that have it.

        Raises:
            ValueError: no such address.
            OSError: ENODEV (no such interface), EEXIST (it has the address), EPERM and others.
        """
        payload = await self._address_request(interface, address, peer, flags)
        await self._request(RTM.NEWADDR, payload, NLM_F.CREATE | NLM_F.EXCL, str(address))

    async def delete_address(self, interface: str, address: str | IPInterface) -> None:
        """Take an address from an interface.

        Raises:
            OSError: ENODEV (no such interface), EADDRNOTAVAIL (it does not have the address), EPERM.
        """
        payload = await self._address_request(interface, address, None, IFA_F.NONE)
        await self._request(RTM.DELADDR, payload, what=str(address))

    async def _address_request(
        self, interface: str, address: str | IPInterface, peer: str | IPAddress | None, flags: IFA_F
    ) -> bytes:
        if isinstance(address, int):
            # `ipaddress` takes a number for an address: 5 would be 0.0.0.5.
            raise TypeError(f"address: expected text or an object of ipaddress, not {address!r}")
        own = ip_interface(address)
        other = own.ip if peer is None else ip_address(peer)
        if other.version != own.version:
            raise ValueError(f"peer: {peer} is not of the family of {address}")
        header = Ifaddrmsg(
            _FAMILIES[own.version], own.network.prefixlen, index=(await self.link(interface)).index
        )
        attributes = [Nlattr(IFA.LOCAL, own.packed), Nlattr(IFA.ADDRESS, other.packed)]
        if flags:
            attributes.append(Nlattr(IFA.FLAGS, _number(flags)))
        return header.to_bytes() + build_attributes(attributes)

    async def list_addresses(self, interface: str | None = None) -> list[InterfaceAddress]:
        """All addresses of one interface, or of all of them.

        Raises:
            OSError: ENODEV (no such interface).
        """
        index = None if interface is None else (await self.link(interface)).index
        messages = await self._request(RTM.GETADDR, Ifaddrmsg().to_bytes(), NLM_F.DUMP)
        return [
            found for found in map(_address, messages) if found is not None and index in (None, found.index)
        ]

    # ---------------------------------------------------------------------------------- routes

    async def add_route(
        self,
        destination: str | IPNetwork,
        *,
        gateway: str | IPAddress | None = None,
        interface: str | None = None,
        source: str | IPAddress | None = None,
        metric: int | None = None,
        table: RT_TABLE | int = RT_TABLE.MAIN,
        type: RTN = RTN.UNICAST,
    ) -> None:
        """Add a route.

        Args:
            destination: a network, an address, or "default" with a gateway or a source.
            gateway: the router; without one the destination is on the link.
            interface: sends the packets; with a gateway, the kernel finds it.
            source: the address that packets from here have.
            metric: of several routes the one with the lowest is taken.
            table: where to add it.
            type: `RTN.UNREACHABLE` and the like need neither gateway nor interface.

        Raises:
            ValueError: no such network or address, or one of another family.
            OSError: EEXIST, ENETUNREACH (no way to the gateway), ENODEV (no such interface), EPERM and
                others.
        """
        payload = await self._route_request(destination, gateway, interface, source, metric, table, type)
        await self._request(RTM.NEWROUTE, payload, NLM_F.CREATE | NLM_F.EXCL, str(destination))

    async def delete_route(
        self,
        destination: str | IPNetwork,
        *,
        gateway: str | IPAddress | None = None,
        interface: str | None = None,
        metric: int | None = None,
        table: RT_TABLE | int = RT_TABLE.MAIN,
    ) -> None:
        """Delete the first route for which all of this is so; see `add_route`.

        Raises:
            OSError: ESRCH (there is none), EPERM.
        """
        payload = await self._route_request(destination, gateway, interface, None, metric, table, RTN.UNSPEC)
        await self._request(RTM.DELROUTE, payload, what=str(destination))

    async def _route_request(
        self,
        destination: str | IPNetwork,
        gateway: str | IPAddress | None,
        interface: str | None,
        source: str | IPAddress | None,
        metric: int | None,
        table: RT_TABLE | int,
        type: RTN,
    ) -> bytes:
        router = None if gateway is None else ip_address(gateway)
        own = None if source is None else ip_address(source)
        if destination == "default":
            known = router or own
            if known is None:
                raise ValueError(
                    "destination: give 0.0.0.0/0 or ::/0, or a gateway or a source, for a default route"
                )
            destination = "0.0.0.0/0" if known.version == 4 else "::/0"
        network = ip_network(destination)
        attributes = [Nlattr(RTA.DST, network.network_address.packed), Nlattr(RTA.TABLE, _number(table))]
        for kind, one in ((RTA.GATEWAY, router), (RTA.PREFSRC, own)):
            if one is not None:
                if one.version != network.version:
                    raise ValueError(f"{one} is not of the family of {network}")
                attributes.append(Nlattr(kind, one.packed))
        if interface is not None:
            attributes.append(Nlattr(RTA.OIF, _number((await self.link(interface)).index)))
        if metric is not None:
            attributes.append(Nlattr(RTA.PRIORITY, _number(metric)))
        scope = RT_SCOPE.UNIVERSE
        if type == RTN.UNSPEC:
            # Of any scope.
            scope = RT_SCOPE.NOWHERE
        elif network.version == 4 and router is None and type == RTN.UNICAST:
            scope = RT_SCOPE.LINK
        header = Rtmsg(
            _FAMILIES[network.version],
            network.prefixlen,
            table=table if table < 256 else RT_TABLE.COMPAT,
            protocol=RTPROT.UNSPEC if type == RTN.UNSPEC else RTPROT.STATIC,
            scope=scope,
            type=type,
        )
        return header.to_bytes() + build_attributes(attributes)

    async def list_routes(self, table: RT_TABLE | int | None = RT_TABLE.MAIN) -> list[Route]:
        """All routes of a table; of all tables if it is None."""
        messages = await self._request(RTM.GETROUTE, Rtmsg().to_bytes(), NLM_F.DUMP)
        return [
            found for found in map(_route, messages) if found is not None and table in (None, found.table)
        ]


class _Borrowed:
    """Descriptors whose numbers are in a message, for as long as it takes."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._stack = ExitStack()

    def __enter__(self) -> _Borrowed:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def netns(self, fd: FileDescriptor | None) -> list[Nlattr]:
        if fd is None:
            return []
        return [Nlattr(IFLA.NET_NS_FD, _number(int(self._stack.enter_context(fd.borrow(self._task)))))]
