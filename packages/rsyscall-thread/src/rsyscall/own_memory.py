"""Processes with memory of their own, which we drive all the same.

A child that shares our memory is cheap, and unfit to stay beside a command that is not trusted: what may
trace the child reads and writes our memory. Nor can it have attributes of its own that the kernel keeps per
address space. So a child can execute `rsyscall-stub` instead, a static program of a few kilobytes that serves
our calls through a ring in a memory file (`rsyscall.own_ring`), or over a stream where no such file can be
made or mapped:

* **Executed by descriptor.** The program is in a sealed memory file, made once per descriptor table. Nothing
  is looked up in the root directory of the child, which may be empty.
* **Named descriptors.** Exec closes what is marked close-on-exec. So right before it the child takes that
  mark from what it keeps, and the program sets it again at once.
* **Not trusted.** What such a process can reach is its own: its memory file, its end of the socket, a socket
  for descriptors that no other process sends to, and an epoll instance, which we wait for by a copy of our
  own. A stream is parsed by `rsyscall.near.stream`, which believes nothing.
* **Children.** A process that it clones in turn shares its memory, or is a copy of it: see
  `rsyscall.own_children`.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import trio

from rsyscall.child_process import end_process
from rsyscall.clone import clone_error, make_child_task
from rsyscall.denied import is_denied
from rsyscall.epoller import AsyncFileDescriptor, Epoller
from rsyscall.exec_image import ExecImage
from rsyscall.exits import EXEC_SPIN_US
from rsyscall.far import AddressSpace
from rsyscall.fcntl import AT, FD, F, O
from rsyscall.handle import FDTable, FileDescriptor, Task
from rsyscall.handle.fd import STANDARD
from rsyscall.loader import LazyLoader
from rsyscall.memory.allocator import AllocatorClient
from rsyscall.memory.ram import RAM
from rsyscall.memory.socket_transport import StreamMemoryTransport
from rsyscall.native import Symbols
from rsyscall.native.fast import spin_for_exit
from rsyscall.near import Syscall, SyscallHangup, nr
from rsyscall.near import types as near
from rsyscall.near.protocol import HelloParser, ProtocolError
from rsyscall.near.record import CallRecord
from rsyscall.network.private import (
    PassingConnection,
    PrivateConnection,
    epoll_waiter,
    make_passage,
    open_epoll,
    passing,
)
from rsyscall.own_children import clone_child
from rsyscall.own_parts import OwnMemory, ParentThread, close_all, monitor_for
from rsyscall.own_ring import OwnRAM, OwnRingConnection, check_base, connect_by_ring, drive_by_ring, make_file
from rsyscall.sched import CLONE
from rsyscall.settings import transport_name
from rsyscall.spawn import Spawning, launch
from rsyscall.stub_connection import Exited, drive
from rsyscall.stub_program import NAME, get_capabilities, keep_capabilities, last_capability, stub_descriptor

if TYPE_CHECKING:
    from rsyscall.epoll_loop import EpollWaiter
    from rsyscall.handle.fd import BaseFileDescriptor
    from rsyscall.hub import ProgramHub
    from rsyscall.monitor import AsyncChildProcess
    from rsyscall.native import Ring
    from rsyscall.near.protocol import Hello
    from rsyscall.network.connection import Connection

__all__ = ["OwnMemory", "clone_own_memory"]

logger: logging.Logger = logging.getLogger(__name__)

# In plain numbers: members of a flag class are combined by Python code.
_FILES = int(CLONE.FILES)
_NEWUSER = int(CLONE.NEWUSER)


async def clone_own_memory(
    thr: ParentThread, flags: CLONE, own_memory: bool, descriptors: Sequence[FileDescriptor] = ()
) -> OwnMemory:
    """Make a child of `thr` with memory of its own, or of a `thr` that has that.

    Args:
        thr: the parent, which may have memory of its own, too.
        own_memory: it is not to share the memory of `thr`.
        flags: namespaces and FS; FILES only if the parent has memory of its own, too.
        descriptors: of `thr`, which the child is to have. The child of a process with memory of its own has
            all of them.

    Raises:
        ValueError: FILES: exec gives a process a table of its own.
        OSError: as clone(2) and execve(2).
    """
    if thr.loader.hub is None:
        return await clone_child(thr, flags, not own_memory)
    if int(flags) & _FILES:
        raise ValueError(
            "own_memory is not possible with CLONE.FILES: the child executes a program, and exec gives it "
            "a descriptor table of its own"
        )
    return await _execute_stub(thr, thr.loader.hub, flags, descriptors)


class _TableAfterExec(FDTable):
    """The table of a process that has executed the program: a copy, in which only these numbers are left."""

    def __init__(self, parent: FDTable, numbers: set[int]) -> None:
        # What is inherited directly from a parent table is not asked about.
        super().__init__(0, FDTable(0, parent))
        self._numbers = numbers

    def _can_inherit(self, fd: BaseFileDescriptor) -> bool:
        return fd.near.number in self._numbers and super()._can_inherit(fd)


class _Ends:
    """What we make for a new process: pairs of an end for us and one in the table of its parent.

    Attributes:
        ring: None where a memory file is denied.
        numbers: of what only the child is to have: its end of the socket, the file if there is one, its end
            of the passage for descriptors, its epoll instance.
    """

    def __init__(self, connection: PassingConnection) -> None:
        self.ring: Ring | None = None
        self.numbers: list[near.FileDescriptor] = []
        self._connection = connection
        # Our ends.
        self._access: AsyncFileDescriptor | FileDescriptor | None = None
        self._passage: FileDescriptor | None = None
        self._epoll: FileDescriptor | None = None
        # In the parent's table, for the time until the child has copies: by handles, or owned by a record.
        self._remote: list[FileDescriptor] = []
        self._record: CallRecord | None = None

    async def open(self, hub: ProgramHub, parent: Task) -> None:
        """Make all of it."""
        connection = self._connection
        if transport_name() == "ring" and parent.fd_table is hub.task.fd_table:
            self._open_here(hub)
        if self.ring is None:
            [(self._access, stream)] = await connection.open_channels(1)
            self._remote.append(stream)
            self.ring, file = await _make_ring(connection, hub, self._access)
            if file is not None:
                self._remote.append(file)
            self._passage, passage = await make_passage(connection)
            self._remote.append(passage)
            self._epoll, epfd = await open_epoll(connection)
            self._remote.append(epfd)
            self.numbers = [fd.near for fd in self._remote]

    def _open_here(self, hub: ProgramHub) -> None:
        """The same where no descriptor has to be sent, in one go; nothing is done where that is denied."""
        ring, record = hub.make_ring(), CallRecord(hub.task.fd_table)
        self._record = record
        try:
            file, socket, our_passage, passage, our_epoll, epoll = ring.open(record)
        except OSError as error:
            if is_denied(error) or error.errno == errno.EFBIG:
                return
            raise
        adopt = hub.task._adopt
        self._passage = adopt(near.FileDescriptor(our_passage), record)
        self._epoll = adopt(near.FileDescriptor(our_epoll), record)
        self.numbers = [near.FileDescriptor(number) for number in (socket, file, passage, epoll)]
        self.ring = ring

    async def close_remote(self) -> None:
        """Close what only the child is to have."""
        if self._record is not None:
            close = self._connection.access_task.sysif.recorded_syscall
            for number in self._record.owned:
                await close(self._record, nr.close, number)
        while self._remote:
            await self._remote[-1].invalidate()
            self._remote.pop()

    async def open_stream(self) -> AsyncFileDescriptor:
        """Our end of the socket, as that of a stream."""
        ours, access = self._access, self._connection
        if ours is None:
            assert self.ring is not None
            ours = access.access_task.make_fd_handle(near.FileDescriptor(os.dup(self.ring.socket)))
        assert not isinstance(ours, AsyncFileDescriptor)
        self._access = ours
        await ours.fcntl(F.SETFL, O.NONBLOCK)
        self._access = stream = await AsyncFileDescriptor.make(access.access_epoller, access.access_ram, ours)
        return stream

    async def close_access(self) -> None:
        """Close our end of the socket, of which the ring has a copy."""
        if isinstance(self._access, FileDescriptor):
            await self._access.invalidate()

    def connect(self, task: Task, ram: RAM, passage: FileDescriptor) -> Connection:
        """The connection of the child."""
        assert self._passage is not None
        return PrivateConnection(self._connection, self._passage, task, ram, passage)

    def epoll_waiter(self) -> EpollWaiter:
        """What waits for the epoll instance of the child."""
        assert self._epoll is not None
        return epoll_waiter(self._connection, self._epoll)

    async def close(self) -> None:
        if self._record is not None:
            self._record.give_up()
        await close_all([self._access, self._passage, self._epoll, *self._remote])


# Between its creation and the moment when an object owns it, a process must not get lost because of a
# KeyboardInterrupt.
@trio.lowlevel.enable_ki_protection
async def _execute_stub(
    thr: ParentThread, hub: ProgramHub, flags: CLONE, descriptors: Sequence[FileDescriptor]
) -> OwnMemory:
    """Make a child that executes the program."""
    task = thr.task
    if int(flags) & _NEWUSER:
        # All of them, as root of a namespace that has no root yet.
        root = False
        every = 2 ** (last_capability() + 1) - 1
        capabilities = every, every, 0
    else:
        root = await task.getuid() == 0 or await task.geteuid() == 0
        capabilities = await get_capabilities(thr)
    _, permitted, inheritable = capabilities
    program = await stub_descriptor(thr, hub)
    kept = list(descriptors)
    plain = await _without_cloexec(task, kept)
    ends = _Ends(passing(thr.connection))
    process: AsyncChildProcess | None = None
    try:
        await ends.open(hub, task)
        ring, own = ends.ring, ends.numbers
        role = "serve" if ring is None else "ring"
        marked = [*own, *(fd.near for fd in kept if fd not in plain)]
        numbers = [str(fd.number) for fd in marked]
        image = await ExecImage.make(thr.ram, "", [NAME, role, *map(str, capabilities), *numbers], [])
        image.path_text = NAME
        calls = [Syscall(nr.fcntl, fd, F.SETFD, 0) for fd in marked]
        if permitted and not root:
            keeping, memory = await keep_capabilities(thr.ram, permitted, inheritable)
            calls += keeping
            image.keep += (memory,)
        calls.append(
            Syscall(nr.execveat, program.near, image.path, image.argv, image.envp, int(AT.EMPTY_PATH))
        )
        # Before the clone: what is opened meanwhile is perhaps not in the copy.
        table = _TableAfterExec(task.fd_table, {int(fd.near) for fd in kept}.union(STANDARD))
        exited = Exited(hub)
        spawning = await launch(thr, hub, flags, calls, image, exited, unshown=len(calls) - 1)
        process = spawning.process
        space = AddressSpace(process.process.near.id)
        child = make_child_task(task, process.process, int(flags), table, space)
        server_fd, *files, passage, epfd = map(child.make_fd_handle, own)
        # Meanwhile the program starts: what takes long and does not depend on its greeting is done now.
        await ends.close_remote()
        waiter = ends.epoll_waiter()
        by_ring: tuple[OwnRingConnection, OwnRAM] | None = None
        if ring is not None:
            sysif = connect_by_ring(hub, child, process, ring, server_fd, files[0])
            by_ring = sysif, OwnRAM(child, ring)
        ram = _ram_by_stream(child) if by_ring is None else by_ring[1]
        connection, epoller = ends.connect(child, ram, passage), Epoller(waiter, ram, epfd)
        pid = process.process.near.id if task.pidns is hub.task.pidns else 0
        greeting = None if ring is None else await _wait_for_greeting(ring, pid, spawning)
        if by_ring is not None and greeting is not None:
            base, hello = greeting
            check_base(child, base)
            for part in by_ring:
                part.locate(base)
            drive_by_ring(task, hub, child, process, exited, by_ring[0])
            await ends.close_access()
        else:
            if by_ring is not None:
                by_ring[0].give_up()
                ram = _ram_by_stream(child)
                connection, epoller = ends.connect(child, ram, passage), Epoller(waiter, ram, epfd)
            stream = await ends.open_stream()
            hello = await _receive_hello(stream, spawning, flags)
            drive(task, hub, child, process, exited, stream, server_fd)
        loader = LazyLoader(child, Symbols._make(hello.symbols[: len(Symbols._fields)]))
        monitor = monitor_for(thr, child, ram, flags, process)
        return OwnMemory(process, child, ram, connection, loader, epoller, monitor)
    except BaseException:
        if process is not None:
            await end_process(process)
        await ends.close()
        raise


def _ram_by_stream(child: Task) -> RAM:
    return RAM(child, StreamMemoryTransport(child), AllocatorClient.make_allocator(child))


async def _make_ring(
    connection: PassingConnection, hub: ProgramHub, ours: FileDescriptor
) -> tuple[Ring | None, FileDescriptor | None]:
    """A ring in a memory file, and the descriptor of that in the parent; None where that is denied.

    Args:
        ours: our end of the socket; the ring gets a copy.
    """
    number = make_file() if transport_name() == "ring" else None
    if number is None:
        return None, None
    file = hub.task.make_fd_handle(near.FileDescriptor(number))
    try:
        ring = hub.make_ring()
        try:
            ring.share(number, int(ours))
        except OSError as error:
            if not is_denied(error):
                raise
            await file.invalidate()
            return None, None
        [theirs] = await connection.move_fds([file])
    except BaseException:
        await close_all([file])
        raise
    return ring, theirs


async def _wait_for_greeting(ring: Ring, pid: int, spawning: Spawning) -> tuple[int, Hello] | None:
    """Wait until the process runs the program and has greeted by its ring.

    Returns:
        where the file is in the process, and the greeting; None: it uses its socket, which may have ended.

    Raises:
        SyscallHangup: it has said what it cannot say.
    """
    greeting = ring.greeted(EXEC_SPIN_US if spawning.hub.exits.spin_us else 0.0, pid)
    if greeting is None:
        await trio.lowlevel.wait_readable(ring.socket)
        greeting = ring.greeted(0.0, pid)
        if greeting is None:
            return None
    try:
        hello = HelloParser().feed(greeting[0])
    except ProtocolError as error:
        raise SyscallHangup(f"the new process did not greet: {error}") from error
    if hello is None:
        raise SyscallHangup("the new process did not greet: its greeting is not complete")
    spawning.left()
    return greeting[1], hello


async def _without_cloexec(task: Task, fds: Sequence[FileDescriptor]) -> set[FileDescriptor]:
    """Those that programs inherit anyway."""
    plain = set()
    for fd in fds:
        if fd.task.fd_table is not task.fd_table:
            raise ValueError(f"{fd} is not a descriptor of {task}, which the child is cloned from")
        if not FD(await fd.fcntl(F.GETFD)) & FD.CLOEXEC:
            plain.add(fd)
    return plain


async def _receive_hello(access: AsyncFileDescriptor, spawning: Spawning, flags: CLONE) -> Hello:
    """Wait until the process runs the program, and read its greeting.

    Raises:
        OSError: one of its calls failed. No process is left.
        SyscallHangup: it has gone before it greeted.
    """
    parser = HelloParser()
    # In most cases it comes sooner than we could sleep and be woken.
    spin_for_exit(int(access.handle.near), EXEC_SPIN_US if spawning.hub.exits.spin_us else 0.0)
    try:
        while True:
            data = await access.read_some_bytes(parser.missing)
            if not data:
                await spawning.wait()
                parser.finish()
            hello = parser.feed(data)
            if hello is not None:
                spawning.left()
                return hello
    except ProtocolError as error:
        raise SyscallHangup(f"the new process did not greet: {error}") from error
    except OSError as error:
        raise clone_error(error, flags) if error.filename is None else error from None
