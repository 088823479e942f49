"""Processes in namespaces of their own."""

from __future__ import annotations

import errno
import os

import pytest
import trio

from rsyscall.fcntl import O
from rsyscall.handle import FileDescriptor
from rsyscall.net.if_ import IFF, SIOC, TUNSETIFF, Ifreq
from rsyscall.netinet.in_ import SockaddrIn
from rsyscall.path import Path
from rsyscall.sched import CLONE
from rsyscall.stdlib import mkdtemp
from rsyscall.struct import Int32
from rsyscall.sys.mount import MS
from rsyscall.sys.socket import AF, SO, SOCK, SOL, Sockbuf
from rsyscall.sys.syscall import SYS
from rsyscall.sys.utsname import Utsname
from rsyscall.sys.wait import W
from rsyscall.tasks.local import local_thread
from rsyscall.thread import Thread

from .support import bring_up_loopback, cloned, close, exec_with, finish, pipe_of, read_exactly, sh, write_all

pytestmark = pytest.mark.usefixtures("transport")


@pytest.mark.needs("mount namespaces")
async def test_another_root_directory() -> None:
    async with await mkdtemp(local_thread) as root:
        async with cloned(local_thread, CLONE.NEWUSER | CLONE.NEWNS) as child:
            await child.mkdir(root / "proc")
            await child.mount("/proc", root / "proc", "", MS.BIND | MS.REC, "")
            await child.chroot(root)
            async with await child.task.open(await child.ptr(Path("/proc/self")), O.RDONLY | O.DIRECTORY):
                pass
            with pytest.raises(FileNotFoundError):
                await child.task.open(await child.ptr(Path("/bin")), O.RDONLY)
        assert os.listdir(root / "proc") == []


@pytest.mark.needs("uts namespaces")
async def test_another_host_name() -> None:
    before = os.uname().nodename
    async with cloned(local_thread, CLONE.NEWUSER | CLONE.NEWUTS) as child:
        await child.task.sethostname(await child.ptr("integration"))
        assert (await (await child.task.uname(await child.malloc(Utsname))).read()).nodename == "integration"
    assert os.uname().nodename == before


@pytest.mark.needs("user namespaces")
async def test_user_mappings() -> None:
    async with cloned(local_thread) as child:
        await child.unshare_user(0, 0)
        assert await child.task.getuid() == await child.task.getgid() == 0
    async with cloned(local_thread, CLONE.NEWUSER) as child:
        assert await child.task.getuid() == os.getuid()
        assert await child.task.getgid() == os.getgid()


# ---- Process ids


@pytest.mark.needs("pid namespaces")
async def test_the_end_of_an_init_is_the_end_of_a_program() -> None:
    pair = await local_thread.socketpair(AF.UNIX, SOCK.STREAM)
    init = await local_thread.clone(CLONE.NEWUSER | CLONE.NEWPID | CLONE.FILES)
    child = await init.clone()
    await exec_with(child, sh("exec cat"), pair.second, pair.second)
    await pair.second.close()
    await write_all(local_thread, pair.first, b"hello")
    assert await read_exactly(local_thread, pair.first, 5) == b"hello"
    await finish(init)
    assert await read_exactly(local_thread, pair.first, 1) == b""
    await pair.first.close()


@pytest.mark.needs("pid namespaces")
async def test_the_end_of_an_init_is_the_end_of_a_daemon() -> None:
    """No process waits for the daemon: its parent has exited, and so has its parent's parent."""
    async with pipe_of(local_thread) as pipe:
        init = await local_thread.clone(CLONE.NEWUSER | CLONE.NEWPID | CLONE.FILES)
        child = await init.clone()
        number = await child.inherit_fd(pipe.write).as_argument()
        await pipe.write.close()
        process = await child.exec(sh(f"{{ sleep inf & }} & echo started >/proc/self/fd/{number}"))
        assert await read_exactly(local_thread, pipe.read, 8) == b"started\n"
        await process.check()
        reader = await local_thread.make_afd(pipe.read, set_nonblock=True)
        with trio.move_on_after(0.01) as scope:
            await reader.read_some_bytes()
        assert scope.cancelled_caught, "it has the pipe"
        await finish(init)
        with trio.fail_after(60):
            assert await reader.read_some_bytes() == b""
        await reader.close()


async def set_last_pid(init: Thread, pid: int) -> None:
    """The next process of this namespace gets the first number after this one that is free."""
    async with await init.task.open(await init.ptr(Path("/proc/sys/kernel/ns_last_pid")), O.WRONLY) as fd:
        await write_all(init, fd, b"%d" % pid)


@pytest.mark.needs("pid namespaces", "ns_last_pid")
async def test_the_number_of_a_process_group_is_taken() -> None:
    async with cloned(local_thread, CLONE.NEWUSER | CLONE.NEWPID) as init:
        leader = await init.clone()
        assert int(await leader.task.getpid()) == int(leader.process.process.near) == 2
        await leader.task.setpgid()
        await set_last_pid(init, 9)
        member = await init.clone()
        assert int(await member.task.getpid()) == 10
        await member.task.setpgid(leader.process.process)
        assert int(await member.task.getpgid()) == 2
        await leader.exit(0)
        await leader.process.waitpid(W.EXITED)
        death = leader.process.process.death_state
        assert death is not None
        assert death.pid == 2
        assert int(await member.task.getpgid()) == 2
        await set_last_pid(init, 1)
        other = await init.clone()
        assert int(await other.task.getpid()) == 3, "2 is not free as long as the group has members"
        with pytest.raises(ProcessLookupError):
            await init.task.sysif.syscall(SYS.kill, 2, 0)


# ---- Networks


@pytest.mark.needs("network namespaces")
async def test_a_namespace_that_belongs_to_somebody_else() -> None:
    async with cloned(local_thread, CLONE.NEWUSER) as child, cloned(child) as grandchild:
        namespace = await grandchild.task.open(await grandchild.ptr(Path("/proc/self/ns/net")), O.RDONLY)
        await grandchild.unshare_user()
        with pytest.raises(PermissionError):
            await grandchild.task.setns(namespace, CLONE.NEWNET)


@pytest.mark.needs("network namespaces")
async def test_network_interface() -> None:
    async with cloned(local_thread, CLONE.NEWUSER | CLONE.NEWNET) as child:
        sock = await child.socket(AF.INET, SOCK.STREAM)
        request = await child.ptr(Ifreq("lo"))
        await sock.ioctl(SIOC.GIFINDEX, request)
        assert (await request.read()).ifindex == 1
        await sock.ioctl(SIOC.GIFFLAGS, request)
        assert not (await request.read()).flags & IFF.UP
        await sock.ioctl(SIOC.SIFFLAGS, await child.ptr(Ifreq("lo", flags=IFF.UP)))
        await sock.ioctl(SIOC.GIFFLAGS, request)
        assert (await request.read()).flags & IFF.UP
        address = SockaddrIn(0, "10.0.0.1")
        await sock.ioctl(SIOC.SIFADDR, await child.ptr(Ifreq("lo", addr=address)))
        await sock.ioctl(SIOC.GIFADDR, request)
        assert (await request.read()).addr == address
        with pytest.raises(OSError) as caught:
            await sock.ioctl(SIOC.GIFFLAGS, await child.ptr(Ifreq("no such thing")))
        assert caught.value.errno == errno.ENODEV


@pytest.mark.needs("network namespaces", "/dev/net/tun")
async def test_network_interface_of_our_own() -> None:
    async with cloned(local_thread, CLONE.NEWUSER | CLONE.NEWNET) as child:
        tun = await child.task.open(await child.ptr(Path("/dev/net/tun")), O.RDWR)
        await tun.ioctl(TUNSETIFF, await child.ptr(Ifreq("tun0", flags=IFF.TUN)))
        sock = await child.socket(AF.INET, SOCK.STREAM)
        request = await child.ptr(Ifreq("tun0"))
        await sock.ioctl(SIOC.GIFINDEX, request)
        assert (await request.read()).ifindex > 1
        # It exists as long as the descriptor does.
        await tun.close()
        with pytest.raises(OSError) as caught:
            await sock.ioctl(SIOC.GIFINDEX, request)
        assert caught.value.errno == errno.ENODEV


async def one_port(child: Thread) -> None:
    """In a network of its own: the kernel has a single port to choose."""
    await child.spit(Path("/proc/sys/net/ipv4/ip_local_port_range"), "40000 40000")
    await bring_up_loopback(child)


async def bound(child: Thread, type: SOCK, port: int = 0, reuse: bool = False) -> FileDescriptor:
    sock = await child.socket(AF.INET, type)
    if reuse:
        await sock.setsockopt(SOL.SOCKET, SO.REUSEADDR, await child.ptr(Int32(1)))
    address = await child.bind_getsockname(sock, SockaddrIn(port, "127.0.0.1"))
    assert address.port == 40000
    return sock


@pytest.mark.needs("network namespaces", "settings of namespaces")
async def test_a_socket_whose_peer_has_its_own_address() -> None:
    async with cloned(local_thread, CLONE.NEWUSER | CLONE.NEWNET) as child:
        await one_port(child)
        server = await bound(child, SOCK.STREAM, reuse=True)
        client = await bound(child, SOCK.STREAM, 40000, reuse=True)
        await server.listen(10)
        address = await child.ptr(SockaddrIn(40000, "127.0.0.1"))
        await client.connect(address)
        names = []
        for call in (client.getsockname, client.getpeername):
            buf = await call(await child.ptr(Sockbuf(await child.malloc(SockaddrIn))))
            names.append(await (await buf.read()).buf.read())
        assert names[0] == names[1] == address.value


@pytest.mark.needs("network namespaces", "settings of namespaces")
@pytest.mark.parametrize("type", [SOCK.STREAM, SOCK.DGRAM], ids=["stream", "dgram"])
async def test_no_port_is_left(type: SOCK) -> None:
    async with cloned(local_thread, CLONE.NEWUSER | CLONE.NEWNET) as child:
        await one_port(child)
        first = await bound(child, type)
        with pytest.raises(OSError) as caught:
            await bound(child, type)
        assert caught.value.errno == errno.EADDRINUSE
        await close(first)


@pytest.mark.needs("network namespaces", "settings of namespaces")
async def test_no_port_is_left_for_streams_that_reuse_addresses() -> None:
    async with cloned(local_thread, CLONE.NEWUSER | CLONE.NEWNET) as child:
        await one_port(child)
        first = await bound(child, SOCK.STREAM, reuse=True)
        with pytest.raises(OSError) as caught:
            await bound(child, SOCK.STREAM, reuse=True)
        assert caught.value.errno == errno.EADDRINUSE
        await close(first)


@pytest.mark.needs("network namespaces", "settings of namespaces")
async def test_datagram_sockets_that_share_a_port() -> None:
    async with cloned(local_thread, CLONE.NEWUSER | CLONE.NEWNET) as child:
        await one_port(child)
        first = await bound(child, SOCK.DGRAM, reuse=True)
        await close(first, await bound(child, SOCK.DGRAM, reuse=True))
