"""The thread of a process in a guest."""

from __future__ import annotations

import logging
import os
import socket

from rsyscall.environ import Environment, ExecutablePathCache
from rsyscall.epoller import AsyncFileDescriptor, Epoller
from rsyscall.far import AddressSpace, MountNamespace, PidNamespace
from rsyscall.fd_collector import close_dropped
from rsyscall.handle import FDTable, FileDescriptor, Task
from rsyscall.memory.allocator import AllocatorClient
from rsyscall.memory.ram import RAM
from rsyscall.memory.socket_transport import StreamMemoryTransport
from rsyscall.multiplexed import SharedStream
from rsyscall.near import types as near
from rsyscall.near.abi import abi_by_machine
from rsyscall.near.protocol import Hello, HelloParser
from rsyscall.tasks.local import local_thread
from rsyscall.thread import Thread

logger = logging.getLogger("guest")


class GuestThread(Thread):
    """A process at the end of a stream, which is its descriptors 0 and 1.

    It makes no processes: there is no monitor, no loader, no connection.
    """

    def __init__(
        self, task: Task, ram: RAM, epoller: Epoller, standard: list[FileDescriptor], hello: Hello
    ) -> None:
        self.task = task
        self.ram = ram
        self.epoller = epoller
        self.hello = hello
        variables = dict(os.fsdecode(entry).split("=", 1) for entry in hello.environment)
        self.environ = Environment(variables, ExecutablePathCache(task, ram, [variables["PATH"]]))
        self.stdin, self.stdout, self.stderr = standard


async def connect(stream: socket.socket) -> GuestThread:
    """Drive the process at the other end of the stream; takes over the stream."""
    parser = HelloParser()
    while (hello := parser.feed(stream.recv(parser.missing))) is None:
        pass
    pid = hello.pid
    task = Task(near.Process(pid), FDTable(pid), AddressSpace(pid), PidNamespace(pid), MountNamespace(pid))
    stream.setblocking(False)
    ours = local_thread.task.make_fd_handle(near.FileDescriptor(stream.detach()))
    afd = await AsyncFileDescriptor.make(local_thread.epoller, local_thread.ram, ours)
    standard = [task.make_fd_handle(near.FileDescriptor(number)) for number in range(3)]
    connection = SharedStream(logger, afd, afd, *(fd.for_task(task) for fd in standard[:2]))
    connection.abi = abi_by_machine(hello.machine).with_page_size(hello.page_size)
    task.sysif = connection
    close_dropped(task.fd_table)
    ram = RAM(task, StreamMemoryTransport(task), AllocatorClient.make_allocator(task))
    return GuestThread(task, ram, await Epoller.make_root(ram, task), standard, hello)
