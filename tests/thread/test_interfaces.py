"""Interfaces, addresses and routes of network namespaces, and the netlink sockets that they go over."""

from __future__ import annotations

import errno
from contextlib import asynccontextmanager
from ipaddress import IPv4Interface, ip_address, ip_interface, ip_network
from typing import TYPE_CHECKING, Any

import pytest
from support import local_thread

from rsyscall.interfaces import InterfaceAddress, Interfaces
from rsyscall.linux.netlink import (
    NETLINK,
    NLM_F,
    NLMSG,
    Nlattr,
    Nlmsg,
    Nlmsgerr,
    Nlmsghdr,
    SockaddrNl,
    build_attributes,
    build_messages,
)
from rsyscall.linux.rtnetlink import (
    IFA,
    IFA_F,
    IFLA,
    RT_SCOPE,
    RT_TABLE,
    RTA,
    RTM,
    RTN,
    RTPROT,
    Ifaddrmsg,
    Ifinfomsg,
    Rtmsg,
)
from rsyscall.net.if_ import IFF
from rsyscall.netlink_socket import NetlinkSocket
from rsyscall.sched import CLONE
from rsyscall.sys.socket import AF, MSG, SOCK
from rsyscall.thread import ChildThread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.needs("network namespaces")


@asynccontextmanager
async def sandbox(flags: CLONE = CLONE.NEWUSER | CLONE.NEWNET | CLONE.FILES) -> AsyncIterator[ChildThread]:
    child = await local_thread.clone(flags)
    async with child.process:
        yield child


async def make(net: Interfaces, name: str, kind: str, **options: int) -> None:
    """Add an interface, if the kernel knows the kind."""
    try:
        await net.add_link(name, kind, **options)  # type: ignore[arg-type]  # only mtu is given
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        pytest.skip(f"kernel: it has no interfaces of the kind {kind}")


async def test_a_new_namespace_has_loopback(transport: str) -> None:
    async with sandbox() as child:
        [lo] = await child.net.list_links()
        assert (lo.index, lo.name, lo.kind, lo.mtu, lo.address) == (1, "lo", None, 65536, bytes(6))
        assert (lo.master, lo.link, lo.link_netnsid) == (None, None, None)
        assert IFF.LOOPBACK in lo.flags
        assert IFF.UP not in lo.flags
        assert await child.net.list_addresses() == []
        await child.net.set_up("lo")
        assert IFF.UP in (await child.net.link("lo")).flags
        [address] = [one for one in await child.net.list_addresses("lo") if one.address.version == 4]
        assert address == InterfaceAddress(
            1, IPv4Interface("127.0.0.1/8"), None, IFA_F.PERMANENT, RT_SCOPE.HOST
        )
        await child.net.set_link("lo", up=False)
        assert IFF.UP not in (await child.net.link("lo")).flags


async def test_veth_in_two_namespaces(transport: str) -> None:
    async with sandbox() as one:
        other = await one.clone(CLONE.NEWNET | CLONE.FILES)
        async with other.process:
            namespace = await other.open("/proc/self/ns/net")
            await make(one.net, "probe", "bridge")
            await one.net.add_link("here", "veth", peer="there", peer_netns=namespace, mtu=1400)
            here, there = await one.net.link("here"), await other.net.link("there")
            assert (here.kind, there.kind, here.mtu) == ("veth", "veth", 1400)
            assert (here.link, there.link) == (there.index, here.index)
            assert None not in (here.link_netnsid, there.link_netnsid)
            await one.net.add_link("pair", "veth", peer="riap", netns=namespace)
            assert (await other.net.link("pair")).link_netnsid is not None
            await one.net.set_link("riap", netns=namespace, name="moved")
            assert {link.name for link in await other.net.list_links()} >= {"lo", "there", "pair", "moved"}
            await namespace.close()
            await other.net.delete_link("there")
            with pytest.raises(OSError, match="No such device") as caught:
                await one.net.link("here")
            assert (caught.value.errno, caught.value.filename) == (errno.ENODEV, "here")


async def test_a_bridge_and_what_belongs_to_it() -> None:
    async with sandbox() as child:
        net = child.net
        await make(net, "bridge", "bridge", mtu=1300)
        bridge = await net.link("bridge")
        assert (bridge.kind, bridge.mtu) == ("bridge", 1300)
        await net.add_link("port", "veth", peer="end", master="bridge", address=b"\2\0\0\0\0\1")
        port = await net.link("port")
        assert (port.master, port.address) == (bridge.index, b"\2\0\0\0\0\1")
        end = await net.link("end")
        assert (end.link, end.link_netnsid, end.master) == (port.index, None, None)
        await net.set_link("end", master="bridge", mtu=1200, name="dne", address=b"\2\0\0\0\0\2")
        end = await net.link("dne")
        assert (end.master, end.mtu, end.address) == (bridge.index, 1200, b"\2\0\0\0\0\2")
        await net.set_link("dne", master="")
        assert (await net.link("dne")).master is None
        await net.delete_link("bridge")
        assert (await net.link("port")).master is None


async def test_kinds_with_attributes_of_their_own() -> None:
    async with sandbox() as child:
        await child.net.add_link("end", "veth", peer="other")
        try:
            # IFLA_MACVLAN_MODE, MACVLAN_MODE_BRIDGE
            mode = Nlattr(1, (4).to_bytes(4, "little"))
            await child.net.add_link("above", "macvlan", link="end", data=[mode])
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            pytest.skip("kernel: it has no macvlan")
        assert (await child.net.link("above")).link == (await child.net.link("end")).index


async def test_addresses() -> None:
    async with sandbox() as child:
        net = child.net
        await net.add_link("one", "veth", peer="two")
        index = (await net.link("one")).index
        await net.add_address("one", "10.0.0.1/24")
        await net.add_address("one", IPv4Interface("10.1.0.1/32"), peer="10.1.0.2")
        await net.add_address("one", "fd00::1/64", flags=IFA_F.NODAD)
        await net.add_address("two", "10.2.0.1/16")
        found = {str(one.address): one for one in await net.list_addresses("one")}
        assert set(found) == {"10.0.0.1/24", "10.1.0.1/32", "fd00::1/64"}
        assert {one.index for one in found.values()} == {index}
        assert found["10.0.0.1/24"].peer is None
        assert found["10.1.0.1/32"].peer == ip_address("10.1.0.2")
        assert found["fd00::1/64"].flags & (IFA_F.NODAD | IFA_F.TENTATIVE) == IFA_F.NODAD
        assert len(await net.list_addresses()) == 4
        with pytest.raises(FileExistsError) as caught:
            await net.add_address("one", "10.0.0.1/24")
        assert caught.value.filename == "10.0.0.1/24"
        await net.delete_address("one", "10.0.0.1/24")
        with pytest.raises(OSError, match="Cannot assign") as missing:
            await net.delete_address("one", "10.0.0.1/24")
        assert missing.value.errno == errno.EADDRNOTAVAIL
        assert ip_interface("10.0.0.1/24") not in {one.address for one in await net.list_addresses()}


async def test_routes() -> None:
    async with sandbox() as child:
        net = child.net
        await net.add_link("one", "veth", peer="two")
        await net.add_address("one", "10.0.0.1/24")
        await net.add_address("one", "fd00::1/64", flags=IFA_F.NODAD)
        for name in ("one", "two"):
            await net.set_up(name)
        index = (await net.link("one")).index
        await net.add_route("default", gateway="10.0.0.2", metric=50)
        await net.add_route("10.9.0.0/16", interface="one", source="10.0.0.1")
        await net.add_route("10.8.0.0/16", type=RTN.UNREACHABLE)
        await net.add_route(ip_network("10.7.0.0/16"), gateway=ip_address("10.0.0.3"), table=1000)
        await net.add_route("fd01::/64", gateway="fd00::2", interface="one")
        found = {str(route.destination): route for route in await net.list_routes()}
        default = found["0.0.0.0/0"]
        assert (default.gateway, default.index, default.metric) == (ip_address("10.0.0.2"), index, 50)
        assert (default.table, default.protocol, default.type) == (RT_TABLE.MAIN, RTPROT.STATIC, RTN.UNICAST)
        on_link = found["10.9.0.0/16"]
        assert (on_link.gateway, on_link.source, on_link.scope) == (
            None,
            ip_address("10.0.0.1"),
            RT_SCOPE.LINK,
        )
        assert found["10.0.0.0/24"].protocol == RTPROT.KERNEL
        assert (found["10.8.0.0/16"].type, found["10.8.0.0/16"].index) == (RTN.UNREACHABLE, None)
        assert found["fd01::/64"].gateway == ip_address("fd00::2")
        assert "10.7.0.0/16" not in found
        [other] = await net.list_routes(1000)
        assert (str(other.destination), other.table) == ("10.7.0.0/16", 1000)
        everything = await net.list_routes(None)
        assert {RT_TABLE.MAIN, RT_TABLE.LOCAL, 1000} <= {route.table for route in everything}
        await net.delete_route("default", gateway="10.0.0.2")
        await net.delete_route("10.8.0.0/16")
        await net.delete_route("10.7.0.0/16", table=1000)
        await net.delete_route("fd01::/64", interface="one", metric=1024)
        left = {str(route.destination) for route in await net.list_routes(None)}
        assert left & {"0.0.0.0/0", "10.7.0.0/16", "10.8.0.0/16", "fd01::/64"} == set()
        with pytest.raises(ProcessLookupError) as caught:
            await net.delete_route("10.8.0.0/16")
        assert caught.value.filename == "10.8.0.0/16"


async def test_a_router_of_another_family() -> None:
    async with sandbox() as child:
        net = child.net
        await net.add_link("one", "veth", peer="two")
        for name in ("one", "two"):
            await net.set_up(name)
        router = ip_address("fe80::9")
        attributes = [
            Nlattr(RTA.DST, bytes([10, 9, 0, 0])),
            Nlattr(RTA.VIA, int(AF.INET6).to_bytes(2, "little") + router.packed),
            Nlattr(RTA.OIF, (await net.link("one")).index.to_bytes(4, "little")),
        ]
        header = Rtmsg(AF.INET, 16, table=RT_TABLE.MAIN, protocol=RTPROT.STATIC, type=RTN.UNICAST)
        async with await NetlinkSocket.make(child.task, child.ram) as sock:
            payload = header.to_bytes() + build_attributes(attributes)
            await sock.request(RTM.NEWROUTE, payload, NLM_F.CREATE)
        found = {str(route.destination): route.gateway for route in await net.list_routes()}
        assert found["10.9.0.0/16"] == router


async def test_the_kernel_explains_errors() -> None:
    async with sandbox() as child:
        with pytest.raises(
            OSError, match=r"Network is unreachable \(Nexthop has invalid gateway\)"
        ) as caught:
            await child.net.add_route("default", gateway="10.0.0.2")
        assert (caught.value.errno, caught.value.filename) == (errno.ENETUNREACH, "default")
        with pytest.raises(OSError, match=r"not supported \(Unknown device type\)"):
            await child.net.add_link("name", "no such kind")
        with pytest.raises(OSError, match=r"argument|range"):
            await child.net.add_link("a name that is too long", "veth")


async def test_errors_without_a_privilege() -> None:
    async with sandbox(CLONE.NEWUSER) as child:
        with pytest.raises(PermissionError) as caught:
            await child.net.add_link("name", "veth")
        assert caught.value.filename == "name"
        assert "lo" in {link.name for link in await child.net.list_links()}


async def test_wrong_arguments() -> None:
    async with sandbox() as child:
        for call, text in (
            (child.net.add_link("one", "bridge", peer="two"), "only a veth"),
            (child.net.add_link("o\0ne", "bridge"), "NUL"),
            (child.net.set_link("lo", name=""), "empty"),
            (child.net.set_link("lo", mtu=-1), "negative"),
            (child.net.add_route("10.0.0.0/8", interface="lo", metric=1 << 32), "32 bits"),
            (child.net.add_route("10.0.0.0/8", interface="lo", table=-1), "negative"),
            (child.net.add_address("lo", "10.0.0.300/24"), "10.0.0.300"),
            (child.net.add_address("lo", "10.0.0.1/24", peer="fd00::1"), "family"),
            (child.net.add_route("default"), "destination: "),
            (child.net.add_route("10.0.0.1/8", gateway="10.0.0.2"), "host bits"),
            (child.net.add_route("10.0.0.0/8", gateway="fd00::2"), "family"),
        ):
            with pytest.raises(ValueError, match=text):
                await call
        assert [link.name for link in await child.net.list_links()] == ["lo"]


async def test_arguments_of_a_wrong_type() -> None:
    wrong: Any
    async with sandbox() as child:
        net = child.net
        for use, wrong, text in (
            (net.link, 1, "a name, not 1"),
            (net.list_addresses, 1, "a name, not 1"),
            (lambda mtu: net.set_link("lo", mtu=mtu), "1500", "32 bits, not '1500'"),
            (lambda address: net.set_link("lo", address=address), "02:00:00:00:00:01", "address: "),
            (lambda address: net.add_address("lo", address), 5, "address: "),
            (lambda address: net.delete_address("lo", address), 5, "address: "),
        ):
            with pytest.raises(TypeError, match=text):
                await use(wrong)


# ------------------------------------------------------------------------------------------ sockets


async def test_a_list_that_changes_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with sandbox() as child:
        # More than the first two pieces have; the second is made while the first is received.
        count = 1200
        flags = NLM_F.REQUEST | NLM_F.CREATE | NLM_F.EXCL
        requests = []
        for number in range(count):
            own = Nlattr(IFA.LOCAL, bytes([10, 0, number >> 8, number & 255]))
            payload = Ifaddrmsg(AF.INET, 32, index=1).to_bytes() + build_attributes([own])
            requests.append(Nlmsg(RTM.NEWADDR, flags, payload))
        async with await NetlinkSocket.make(child.task, child.ram) as sock:
            await sock.send(build_messages(requests))
        receive, received = NetlinkSocket.recv, []

        async def recv(self: NetlinkSocket) -> bytes:
            data = await receive(self)
            received.append(len(data))
            if len(received) == 1:
                monkeypatch.undo()
                await child.net.add_address("lo", "10.1.0.1/32")
                monkeypatch.setattr(NetlinkSocket, "recv", recv)
            return data

        monkeypatch.setattr(NetlinkSocket, "recv", recv)
        found = await child.net.list_addresses()
        addresses = [str(one.address) for one in found]
        # Not the beginning of one list and the end of another.
        assert len(set(addresses)) == len(addresses) == count + 1
        assert "10.1.0.1/32" in addresses
        assert received.count(20) == 2, "the end of two lists"


async def test_a_list_that_changes_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async with sandbox() as child:
        monkeypatch.setattr("rsyscall.netlink_socket._ATTEMPTS", 0)
        with pytest.raises(InterruptedError, match="changed"):
            await child.net.list_links()


async def test_what_other_processes_send_is_ignored() -> None:
    async with sandbox() as child, await NetlinkSocket.make(child.task, child.ram) as sock:
        liar = await child.socket(AF.NETLINK, SOCK.RAW, NETLINK.ROUTE)
        header = Nlmsghdr(36, RTM.GETLINK, NLM_F.REQUEST, 1, sock.port)
        lie = Nlmsg(NLMSG.ERROR, NLM_F.NONE, Nlmsgerr(-errno.EDOM, header).to_bytes(), 1, sock.port)
        address = await child.ptr(SockaddrNl(sock.port, 0))
        await liar.sendto(await child.ptr(build_messages([lie])), MSG.NONE, address)
        name = build_attributes([Nlattr(IFLA.IFNAME, b"lo\0")])
        [message] = await sock.request(RTM.GETLINK, Ifinfomsg().to_bytes() + name)
        assert message.type == RTM.NEWLINK
        with pytest.raises(BlockingIOError):
            await sock.recv()


async def test_answers_to_other_requests_are_ignored() -> None:
    async with sandbox() as child, await NetlinkSocket.make(child.task, child.ram) as sock:
        early = Nlmsg(RTM.NEWADDR, NLM_F.REQUEST | NLM_F.ACK, b"too short", seq=77)
        await sock.send(build_messages([early]))
        name = build_attributes([Nlattr(IFLA.IFNAME, b"no such\0")])
        with pytest.raises(OSError, match="No such device") as caught:
            await sock.request(RTM.GETLINK, Ifinfomsg().to_bytes() + name, what="what")
        assert caught.value.filename == "what"


async def test_sockets_of_unknown_protocols() -> None:
    with pytest.raises(OSError, match="Protocol not supported"):
        await NetlinkSocket.make(local_thread.task, local_thread.ram, 31)  # type: ignore[arg-type]  # tested
