"""A supervisor that is killed and started again; its service and their listening socket do not notice.

What has to stay belongs to a persistent process: the socket, and the service, which is its child. The
supervisor is the program that drives it, and keeps nothing itself.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import tempfile
from multiprocessing.connection import Connection
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


async def supervise(path: Path, program: Connection) -> None:
    """Keep the service running until the program says something; tell it the port and the process id."""
    holder = await find_holder(path)
    listener, port = await find_listener(holder)
    services = [await holder.adopt_child(pid) for pid in await holder.children()]
    # This ends a child in which the earlier supervisor had not executed the service yet.
    await holder.close_unadopted()

    async def keep_running() -> None:
        while True:
            service = services.pop() if services else await start_service(holder, listener)
            program.send((port, service.pid))
            await service.waitpid(W.EXITED)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_running)
        await trio.lowlevel.wait_readable(program.fileno())
        nursery.cancel_scope.cancel()
    await holder.end()


class Supervisor:
    """A supervisor in a process of its own."""

    def __init__(self, path: Path) -> None:
        fork = multiprocessing.get_context("fork")
        self.connection, theirs = fork.Pipe()
        self.process = fork.Process(target=trio.run, args=(supervise, path, theirs))
        self.process.start()

    def news(self) -> tuple[int, int]:
        port, pid = self.connection.recv()
        return port, pid


def ask(port: int) -> int:
    with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile() as answer:
        return int(answer.read())


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "holder")
        first = Supervisor(path)
        port, pid = first.news()
        first.process.kill()
        first.process.join()
        print("the supervisor is killed, and the service answers:", ask(port) == pid)
        second = Supervisor(path)
        print("another supervisor finds the service:", second.news() == (port, pid))
        os.kill(pid, signal.SIGKILL)
        _, pid = second.news()
        print("the service is killed, and a new one answers:", ask(port) == pid)
        second.connection.send("end")
        second.process.join()


if __name__ == "__main__":
    main()
