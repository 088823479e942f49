"""Two networks and a router between them, in three network namespaces, without any privilege."""

from __future__ import annotations

import trio

from rsyscall import ChildThread, local_thread
from rsyscall.netinet.in_ import SockaddrIn
from rsyscall.sched import CLONE
from rsyscall.sys.socket import AF, MSG, SOCK


async def connect(router: ChildThread, host: ChildThread, network: str) -> None:
    """Put a cable between the router and the host, which have the addresses 1 and 2 of the network."""
    async with await host.open("/proc/self/ns/net") as namespace:
        name = f"to-{network}"
        await router.net.add_link(name, "veth", peer="eth0", peer_netns=namespace)
    await router.net.add_address(name, f"{network}.1/24")
    await router.net.set_up(name)
    await host.net.add_address("eth0", f"{network}.2/24")
    await host.net.set_up("eth0")
    await host.net.add_route("default", gateway=f"{network}.1")


async def show(name: str, thread: ChildThread) -> None:
    links = {link.index: link.name for link in await thread.net.list_links()}
    for found in await thread.net.list_addresses():
        if found.address.version == 4:
            print(f"{name}: {links[found.index]} has {found.address}")
    for route in await thread.net.list_routes():
        if route.destination.version == 4 and route.index is not None:
            print(f"{name}: {route.destination} by {route.gateway or links[route.index]}")


async def main() -> None:
    # The three share a table of descriptors, and the hosts the user namespace of the router.
    router = await local_thread.clone(CLONE.NEWUSER | CLONE.NEWNET | CLONE.FILES)
    async with router.process:
        left = await router.clone(CLONE.NEWNET | CLONE.FILES)
        right = await router.clone(CLONE.NEWNET | CLONE.FILES)
        async with left.process, right.process:
            await connect(router, left, "10.0.1")
            await connect(router, right, "10.0.2")
            await router.write_file("/proc/sys/net/ipv4/ip_forward", "1")
            for name, thread in {"router": router, "left": left, "right": right}.items():
                await show(name, thread)
            async with (
                await left.socket(AF.INET, SOCK.DGRAM) as sender,
                await right.socket(AF.INET, SOCK.DGRAM) as receiver,
            ):
                address = await right.bind_getsockname(receiver, SockaddrIn(0, "10.0.2.2"))
                await sender.sendto(await left.ptr(b"hello"), MSG.NONE, await left.ptr(address))
                print("right received", await right.read(receiver))


if __name__ == "__main__":
    trio.run(main)
