"""A supervisor that is killed and started again; its service and their listening socket do not notice.

What has to stay belongs to a persistent process: the socket, and the service, which is its child. The
supervisor is the program that drives it, and keeps nothing itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import trio

from rsyscall import AsyncChildProcess, Command, FileDescriptor, local_thread
from rsyscall.netinet.in_ import SockaddrIn
from rsyscall.sys.socket import AF, SOCK
from rsyscall.sys.wait import W
from rsyscall.tasks.persistent import PersistentThread, clone_persistent, connect_persistent

# Descriptor 0 is the socket. It says who it is.
SERVICE = (
    'open(my $l, "+<&=", 0) or die; while (accept(my $client, $l)) { print $client "$$\\n"; close $client }'
)


async def find_holder(path: Path) -> PersistentThread:
    """The persistent process that an earlier supervisor has left, or else a new one."""
    try:
        return await connect_persistent(local_thread, path)
    except ConnectionRefusedError:
        path.unlink()  # its process has ended
    except FileNotFoundError:
        pass
    holder = await clone_persistent(local_thread, path)
    await holder.make_persistent()
    return holder


async def find_listener(holder: PersistentThread) -> tuple[FileDescriptor, int]:
    """Its listening socket, and the port of that: both are in the store of the process, once it listens."""
    store = await holder.read_store()
    if store:
        number, port = map(int, store.split())
        return await holder.adopt_descriptor(number), port
    listener = await holder.socket(AF.INET, SOCK.STREAM)
    address = await holder.bind_getsockname(listener, SockaddrIn(0, "127.0.0.1"))
    await listener.listen(10)
    await holder.write_store(b"%d %d" % (listener.near, address.port))
    return listener, address.port


async def start_service(holder: PersistentThread, listener: FileDescriptor) -> AsyncChildProcess:
    child = await holder.clone()
    await child.inherit_fd(listener).dup2(child.stdin)
    return await child.exec(Command("/usr/bin/perl", ["service", "-e", SERVICE], {}))


async def supervise(path: Path) -> None:
    """Keep the service running until our input ends; each time, print the port and the process id."""
    holder = await find_holder(path)
    listener, port = await find_listener(holder)
    services = [await holder.adopt_child(pid) for pid in await holder.children()]
    # This ends a child in which the earlier supervisor had not executed the service yet.
    await holder.close_unadopted()

    async def keep_running() -> None:
        while True:
            service = services.pop() if services else await start_service(holder, listener)
            print(f"{port} {service.pid}", flush=True)
            await service.waitpid(W.EXITED)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_running)
        await trio.lowlevel.wait_readable(0)
        nursery.cancel_scope.cancel()
    await holder.end()


async def ask(port: int) -> int:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        return int(b"".join([data async for data in stream]))


async def start_supervisor(nursery: trio.Nursery, path: Path) -> trio.Process:
    """Run this program as a supervisor."""
    run = partial(trio.run_process, stdin=subprocess.PIPE, stdout=subprocess.PIPE, check=False)
    process: trio.Process = await nursery.start(run, [sys.executable, __file__, str(path)])
    return process


async def news(supervisor: trio.Process) -> tuple[int, int]:
    """The port and the process id that it prints."""
    assert supervisor.stdout is not None
    line = b""
    while not line.endswith(b"\n"):
        line += await supervisor.stdout.receive_some(1)
    port, pid = map(int, line.split())
    return port, pid


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "holder")
        async with trio.open_nursery() as nursery:
            first = await start_supervisor(nursery, path)
            port, pid = await news(first)
            first.kill()
            await first.wait()
            print("the supervisor is killed, and the service answers:", await ask(port) == pid)
            second = await start_supervisor(nursery, path)
            print("another supervisor finds the service:", await news(second) == (port, pid))
            os.kill(pid, signal.SIGKILL)
            _, pid = await news(second)
            print("the service is killed, and a new one answers:", await ask(port) == pid)
            assert second.stdin is not None
            await second.stdin.aclose()


if __name__ == "__main__":
    trio.run(supervise, Path(sys.argv[1])) if sys.argv[1:] else trio.run(main)
