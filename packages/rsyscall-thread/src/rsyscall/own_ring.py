"""The ring of a process with memory of its own: in a memory file that both sides have mapped.

The file is sealed, so that it keeps its size whatever the process does. In front is the ring, which the C
code of a ring in shared memory serves. Behind it is the arena: memory of the process that we reach by a plain
copy, and that `Thread.ptr` and `malloc` take first. Other memory of the process is copied by way of the file:
the process writes it into the file, or reads it from there.

Between us and the process is a pair of sockets. Either side wakes the other by a byte, and the end of it
tells that the other side is gone. See src/shared_file.c of the native part for what is done against a process
that lies.
"""

from __future__ import annotations

import errno
import fcntl
import os
import weakref
from typing import TYPE_CHECKING, Any, SupportsInt

import trio

from rsyscall.background import RunLoop, weakly
from rsyscall.denied import is_denied
from rsyscall.far import File
from rsyscall.fcntl import F_SEAL
from rsyscall.handle.allocation import WouldWaitError
from rsyscall.linux.memfd import MFD
from rsyscall.memory.allocator import Allocation, AllocatorClient, Arena, UnlimitedAllocator
from rsyscall.memory.ram import RAM
from rsyscall.memory.socket_transport import StreamMemoryTransport
from rsyscall.native import destructor, fast
from rsyscall.near import SYS, SyscallHangup, nr
from rsyscall.near import types as near
from rsyscall.near.sysif import error_of_call
from rsyscall.ring import RingConnection, _Client
from rsyscall.stub_connection import Exited, begin_driving, pidfd_of
from rsyscall.sys.mman import MemoryMapping
from rsyscall.turns import Turns

if TYPE_CHECKING:
    from rsyscall.handle import FileDescriptor, Pointer, Task
    from rsyscall.hub import ProgramHub
    from rsyscall.monitor import AsyncChildProcess
    from rsyscall.native import Ring
    from rsyscall.native.fast import Sleeper
    from rsyscall.pidfd import Pidfd

__all__ = [
    "ArenaTransport",
    "OwnRAM",
    "OwnRingConnection",
    "check_base",
    "connect_by_ring",
    "drive_by_ring",
    "make_file",
    "ring_connection",
]

_NAME = "rsyscall-ring"
_SEALS = F_SEAL.SEAL | F_SEAL.SHRINK | F_SEAL.GROW
_LARGEST_ADDRESS = 2**63
_PAGE = 4096
_connections: weakref.WeakKeyDictionary[Task, weakref.ref[OwnRingConnection]]
_connections = weakref.WeakKeyDictionary()
# Between two looks at a process that executes a program, in seconds.
_FIRST_PAUSE = 0.001
_LAST_PAUSE = 0.05


def make_file() -> int | None:
    """Make the memory file of a process, in our own table; None where that is denied.

    manpage: memfd_create(2), ftruncate(2), fcntl(2) (F_ADD_SEALS)
    """
    try:
        try:
            number = os.memfd_create(_NAME, MFD.CLOEXEC | MFD.ALLOW_SEALING | MFD.NOEXEC_SEAL)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # Before Linux 6.3 there is no such flag.
            number = os.memfd_create(_NAME, MFD.CLOEXEC | MFD.ALLOW_SEALING)
    except OSError as error:
        if is_denied(error):
            return None
        raise
    try:
        os.ftruncate(number, fast.SHARED_SIZE)
        fcntl.fcntl(number, fcntl.F_ADD_SEALS, int(_SEALS))
    except OSError as error:
        os.close(number)
        if is_denied(error) or error.errno == errno.EFBIG:  # RLIMIT_FSIZE
            return None
        raise
    except BaseException:
        os.close(number)
        raise
    return number


class _OwnClient(_Client):
    """The hub's view of a connection; the hub keeps it until the process is gone."""

    __slots__ = ("_memory", "_socket", "_told")

    def __init__(self, connection: OwnRingConnection, socket: int, memory: object) -> None:
        super().__init__(connection)
        self._memory = memory
        self._socket = socket
        self._told = False

    def heard(self) -> None:
        """The process has sent something."""
        if self._ring.heard():
            self.deliver()
        else:
            self.process_left()

    def process_left(self) -> None:
        if not self._told and self._ring.left:
            # And not only its socket has been closed.
            self._memory = None
        self._told = True
        self._ring.exited()
        super().process_left()
        if self._socket >= 0:
            self._hub.unlisten(self._socket)
            # Once: when we are told again, the number may be that of another process's socket.
            self._socket = -1
        self._ring.unshare()

    def exited(self) -> None:
        """The process has exited."""
        self.process_left()
        self._memory = None


class _Arena:
    """The memory of a process that is in the file, for traces."""

    def __init__(self, ring: Ring, base: int) -> None:
        self._ring = ring
        self._end = base + fast.SHARED_SIZE

    def read(self, address: int, length: int) -> bytes:
        """As many of the bytes there as are in the file."""
        return self._ring.read(address, max(0, min(length, self._end - address))) or b""


class OwnRingConnection(RingConnection):
    """The way to a process with memory of its own, through a ring in a memory file.

    The process is killed when no caller can reach it.

    Args:
        hub, ring, name: see `RingConnection`.
        pidfd: of the process.
        base: where it has the file; see `locate`.
        server_fd: its end of the socket.
        file: its descriptor of the memory file.
        bounce: who may use the part of the file by which other memory is copied.
        memory: kept until the process has left it.

    Attributes:
        base, file, bounce: as given.
        arena: its memory, as far as it is in the file.
    """

    shares_memory = False
    borrows_memory = False

    __slots__ = ("_leaving", "_pidfd", "_server_fd", "_watcher", "arena", "base", "bounce", "file")

    def __init__(
        self,
        hub: ProgramHub,
        ring: Ring,
        name: str,
        pidfd: Pidfd,
        base: int,
        server_fd: FileDescriptor,
        file: FileDescriptor,
        bounce: Turns,
        memory: object,
    ) -> None:
        self.bounce: Turns = bounce
        self.file: FileDescriptor = file
        self._leaving = False
        self._pidfd = pidfd
        self._server_fd = server_fd
        self._watcher = RunLoop(weakly(self, OwnRingConnection._watch_life), f"exec by {name}")
        super().__init__(hub, ring, name)
        self.locate(base)
        self._client: _OwnClient = _OwnClient(self, ring.socket, memory)

    def locate(self, base: int) -> None:
        """Say where the process has the file."""
        self.arena: _Arena = _Arena(self.ring, base)
        self.base: int = base

    def give_up(self) -> None:
        """Leave the process alone when this is dropped: it is driven another way."""
        self._closed = True

    @destructor
    def __del__(self) -> None:
        if not getattr(self, "_closed", True) and os.getpid() == self._hub.pid and self._pidfd.number >= 0:
            if not self.ring.left:
                self._pidfd.kill()
            self._hub.dismissed(self._pidfd)

    def _error(self, result: int, *call: SupportsInt) -> OSError:
        return error_of_call(result, call[0])

    # ---- exec

    def _sleep(self, sleeper: Sleeper, count: int, index: int, leaving: bool, closing: bool) -> None:
        super()._sleep(sleeper, count, index, False, False)
        if leaving:
            self._leaving = True
            self._watcher.ensure_running()

    def deliver(self) -> None:
        """As `RingConnection.deliver`."""
        super().deliver()
        if self._leaving and not self.ring.outstanding:
            self._leaving = False

    async def _watch_life(self) -> None:
        """While a call may execute a program, look whether the process still holds its mutex.

        The end of the socket tells, too, and sooner, unless another process shares the table or has a copy.
        """
        pause = _FIRST_PAUSE
        while self._leaving and not self._gone:
            await trio.sleep(pause)
            pause = min(2 * pause, _LAST_PAUSE)
            if self.ring.left:
                self._client.process_left()

    # ---- memory

    async def read_memory(self, address: SupportsInt, length: int) -> bytes:
        """Copy out of the memory of the process."""
        data = self.ring.read(int(address), length)
        return data if data is not None else await self._read_elsewhere(int(address), length)

    async def write_memory(self, address: SupportsInt, data: bytes) -> None:
        """Copy into the memory of the process."""
        if not self.ring.write(int(address), data):
            await self._write_elsewhere(int(address), data)

    async def _read_elsewhere(self, address: int, length: int) -> bytes:
        """Have the process write its memory into the file. manpage: pwrite(2)."""
        parts = []
        async with self.bounce.next():
            while length > 0:
                size = min(length, fast.BOUNCE_SIZE)
                moved = await self._transfer(nr.pwrite64, address, size)
                part = self.ring.read(self.base + fast.BOUNCE_OFFSET, moved)
                assert part is not None
                parts.append(part)
                address += moved
                length -= moved
        return b"".join(parts)

    async def _write_elsewhere(self, address: int, data: bytes) -> None:
        """Have the process read its memory from the file. manpage: pread(2)."""
        done = 0
        async with self.bounce.next():
            while done < len(data):
                part = data[done : done + fast.BOUNCE_SIZE]
                self.ring.write(self.base + fast.BOUNCE_OFFSET, part)
                done += await self._transfer(nr.pread64, address + done, len(part))

    async def _transfer(self, number: SYS, address: int, size: int) -> int:
        moved = await self.syscall(number, self.file.near.number, address, size, fast.BOUNCE_OFFSET)
        if not 0 < moved <= size:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        return moved

    # ---- the rest of the interface

    def _kill_in_call(self) -> None:
        self._pidfd.kill()

    def get_activity_fd(self) -> FileDescriptor:
        """The end of the socket in the process, which is readable when we have work for it."""
        return self._server_fd


class ArenaTransport(StreamMemoryTransport):
    """Copies to and from the arena by itself; other memory is copied by the process.

    Args:
        task: of the process.
        ring: of the process.
    """

    __slots__ = ("_address_space", "_ring")

    def __init__(self, task: Task, ring: Ring) -> None:
        super().__init__(task)
        self._address_space = task.address_space
        self._ring = ring

    def inherit(self, task: Task) -> ArenaTransport:
        """A transport to the same memory that goes through `task`; see `StreamMemoryTransport.inherit`."""
        task.check_address_space(self._address_space)
        return ArenaTransport(task, self._ring)

    def read_now(self, src: Pointer[Any]) -> bytes:
        """As `read`, if it is in the arena.

        Raises:
            WouldWaitError: it is not, or the process has left; or the pointer cannot be used, as `read` says.
        """
        allocation = src.allocation
        if type(allocation) is Allocation and allocation.valid and src.valid:
            mapping = src.mapping
            if mapping.task.address_space is self._address_space:
                start = allocation.start
                data = self._ring.read(mapping.near.address + start, allocation.end - start)
                if data is not None:
                    return data
        raise WouldWaitError

    def write_now(self, dest: Pointer[Any], data: bytes) -> None:
        """As `write`, if it is in the arena. Raises as `read_now`."""
        allocation = dest.allocation
        if type(allocation) is Allocation and allocation.valid and dest.valid:
            mapping = dest.mapping
            if mapping.task.address_space is self._address_space:
                start = allocation.start
                if (
                    type(data) is bytes
                    and len(data) <= allocation.end - start
                    and self._ring.write(mapping.near.address + start, data)
                ):
                    return
        raise WouldWaitError

    async def write(self, dest: Pointer[Any], data: bytes) -> None:
        """Copy `data` to the start of what `dest` points to; see `StreamMemoryTransport.write`."""
        try:
            self.write_now(dest, data)
        except WouldWaitError:
            await super().write(dest, data)


class OwnRAM(RAM):
    """Memory of a process that has an arena in a memory file; none before `locate`."""

    def __init__(self, task: Task, ring: Ring) -> None:
        self._shared = UnlimitedAllocator(task)
        self._pin: Allocation | None = None
        super().__init__(task, ArenaTransport(task, ring), AllocatorClient(task, self._shared))
        self._private: RAM | None = None

    def locate(self, base: int) -> None:
        """Say where the process has the file."""
        pages = near.MemoryMapping(base + fast.ARENA_OFFSET, fast.ARENA_SIZE, _PAGE)
        arena = Arena(MemoryMapping(self.task, pages, File()), self._shared.space)
        # So it is never empty, and not unmapped.
        self._pin = arena.allocate(1, 1)

    @property
    def private(self) -> RAM:
        """Memory that copies of the process do not share with it."""
        if self._private is None:
            task = self.task
            self._private = RAM(task, StreamMemoryTransport(task), AllocatorClient.make_allocator(task))
        return self._private


def ring_connection(task: Task) -> OwnRingConnection | None:
    """The way to a process with memory of its own, if that is a ring."""
    reference = _connections.get(task)
    return reference() if reference is not None else None


def check_base(child: Task, base: int) -> None:
    """Refuse an address of the file that cannot be.

    Raises:
        SyscallHangup
    """
    if base % _PAGE or not 0 < base < _LARGEST_ADDRESS - fast.SHARED_SIZE:
        raise SyscallHangup(f"{child} says that its ring is at {base:#x}")


def connect_by_ring(
    hub: ProgramHub,
    child: Task,
    process: AsyncChildProcess,
    ring: Ring,
    server_fd: FileDescriptor,
    shared: OwnRingConnection | FileDescriptor,
    memory: object = None,
) -> OwnRingConnection:
    """Make the interface of `child`; `drive_by_ring` puts it into use.

    Args:
        ring: of the process.
        server_fd: its end of the socket.
        shared: the process whose memory it shares; or its descriptor of the memory file, and `locate` says
            later where it has that.
        memory: what it runs on; kept until it has left it.

    Raises:
        SyscallHangup: it has exited.
    """
    pidfd = pidfd_of(child, process)
    if isinstance(shared, OwnRingConnection):
        base, file, bounce = shared.base, child.inherit_fd(shared.file), shared.bounce
    else:
        base, file, bounce = 0, shared, Turns()
    name = f"process {child.near_process.id}"
    return OwnRingConnection(hub, ring, name, pidfd, base, server_fd, file, bounce, memory)


def drive_by_ring(
    parent: Task,
    hub: ProgramHub,
    child: Task,
    process: AsyncChildProcess,
    exited: Exited,
    sysif: OwnRingConnection,
) -> None:
    """Drive `child`, which has started, by this interface.

    Raises:
        SyscallHangup: it has exited.
    """
    begin_driving(hub, child, process, exited)
    child.infrastructure_fds += (sysif.get_activity_fd(), sysif.file)
    _connections[child] = weakref.ref(sysif)
    exited.process_left = sysif._client.exited
    hub.listen(sysif.ring.socket, sysif._client)
    sysif.attach(child)
    child.sysif = parent.sysif.wrap_child(sysif, sysif.name)
