"""Children of a process with memory of its own.

They are not made as ours are, for the process is not trusted: it clones them because we tell it to, and says
which process it has made.

* **Where it has a ring**, they share its memory, and have rings and stacks in the same memory file, at
  addresses that we allocate in the arena. Their exec ends their hold on a robust mutex (futex(2)).
* **Where it has a stream**, or there is no room in the arena, they are copies of it, each over a stream of
  its own: a copy has the same functions at the same addresses. It closes its copies of the others' ends of
  their streams, so that the end of one still tells of an exec. Where they share a table, we ask the kernel
  whether they still do: exec ends that (kcmp(2)).
"""

from __future__ import annotations

import contextlib
import os
import struct
from array import array
from functools import partial
from typing import TYPE_CHECKING

import trio

from rsyscall.background import run_now
from rsyscall.child_process import end_process
from rsyscall.clone import clone_error, make_child_task
from rsyscall.clone_call import clone_on_stack
from rsyscall.denied import is_denied
from rsyscall.far import AddressSpace
from rsyscall.handle import FDTable, FileDescriptor, Task
from rsyscall.handle.process import ChildProcess
from rsyscall.loader import Trampoline
from rsyscall.memory.allocator import AllocatorClient
from rsyscall.memory.ram import RAM
from rsyscall.memory.socket_transport import StreamMemoryTransport
from rsyscall.native import fast
from rsyscall.near import Syscall, SyscallError, SyscallHangup, nr
from rsyscall.near import types as near
from rsyscall.near.record import CallRecord
from rsyscall.network.private import make_private
from rsyscall.own_parts import OwnMemory, close_all, monitor_for
from rsyscall.own_ring import ArenaTransport, OwnRAM, connect_by_ring, drive_by_ring, ring_connection
from rsyscall.pidfd import Pidfd
from rsyscall.sched import CLONE, Stack
from rsyscall.settings import transport_name
from rsyscall.stub_connection import Exited, drive

if TYPE_CHECKING:
    from rsyscall.epoller import AsyncFileDescriptor
    from rsyscall.handle import Pointer, WrittenPointer
    from rsyscall.handle.allocation import AllocationInterface
    from rsyscall.hub import ProgramHub
    from rsyscall.monitor import AsyncChildProcess
    from rsyscall.native import Ring
    from rsyscall.own_parts import ParentThread
    from rsyscall.own_ring import OwnRingConnection

__all__ = ["clone_child"]

_STACK_SIZE = 16384
_TRAMPOLINE_SIZE = 64
# Of one whose ring is in a memory file.
_NESTED_STACK_SIZE = 12288
_RING_ALIGNMENT = 64
# What `rsyscall_trampoline` expects: its address, six registers, and the function.
_START = struct.Struct("8Q")


class _Room:
    """Memory of a process for the ring and the stack of a child: in the memory file that it shares with us.

    Attributes:
        ring: of the child.
        memory: keeps the memory.
        stack: where the child starts.
    """

    __slots__ = ("_ring_address", "memory", "relative", "ring", "stack")

    def __init__(
        self, hub: ProgramHub, relative: OwnRingConnection, address: int, memory: AllocationInterface
    ) -> None:
        self.ring: Ring = hub.make_ring()
        self.memory = memory
        self.relative = relative
        self.stack = address + _NESTED_STACK_SIZE - _START.size
        self._ring_address = address + _NESTED_STACK_SIZE

    @staticmethod
    async def find(thr: ParentThread) -> _Room | None:
        """Allocate it; None where there is no such file, or no room in it."""
        relative = ring_connection(thr.task)
        if relative is None or relative.ring.left or transport_name() != "ring":
            return None
        size = _NESTED_STACK_SIZE + fast.NESTED_SIZE
        mapping, memory = await thr.ram.allocator.malloc(size, _RING_ALIGNMENT)
        address = mapping.near.address + memory.offset()
        if relative.ring.read(address, 0) is None or relative.ring.read(address + size, 0) is None:
            return None
        return _Room(thr.monitor.hub, relative, address, memory)

    def prepare(self, thr: ParentThread, ours: FileDescriptor, theirs: FileDescriptor) -> bool:
        """Write the ring and the stack; False if the process has left meanwhile.

        Args:
            ours, theirs: the ends of the socket between us and the child.
        """
        server = thr.loader.shared_ring_server
        if server is None or not self.ring.nest(self.relative.ring, self._ring_address, int(ours)):
            return False
        start = _START.pack(
            int(thr.loader.trampoline_func.near), self._ring_address, int(theirs), 0, 0, 0, 0, server
        )
        return self.relative.ring.write(self.stack, start)


# Between its creation and the moment when an object owns it, a process must not get lost because of a
# KeyboardInterrupt.
@trio.lowlevel.enable_ki_protection
async def clone_child(thr: ParentThread, flags: CLONE, sharing: bool) -> OwnMemory:
    """Make a child of a process that has memory of its own, and has executed our program.

    Args:
        sharing: it is to share the memory of `thr`, if that is possible.

    Raises:
        OSError: as clone(2).
        SyscallHangup: what the process says about the child cannot be.
    """
    task, hub, monitor = thr.task, thr.monitor.hub, thr.monitor
    access: FileDescriptor | None = None
    stream: AsyncFileDescriptor | None = None
    remote: list[FileDescriptor] = []
    process: AsyncChildProcess | None = None
    clone, watch = CallRecord(), None
    room = await _Room.find(thr) if sharing else None
    try:
        if room is not None:
            [(access, socket)] = await thr.connection.open_channels(1)
            remote.append(socket)
            if not room.prepare(thr, access, socket):
                task.check_not_departed()
                raise SyscallHangup(f"{task} has left")
            stack: tuple[object, WrittenPointer[Stack[Trampoline]]] | None = None
            start, number = room.stack, int(flags | CLONE.VM)
        else:
            [(stream, socket)] = await thr.connection.open_async_channels(1)
            remote.append(socket)
            stack = await _write_stack(thr, socket)
            start, number = int(stack[1].near), int(flags)
        passage, make_connection = await make_private(thr.connection)
        remote.append(passage)
        secret = await thr.ram.ptr(os.urandom(16))
        table = task.fd_table if flags & CLONE.FILES else FDTable(0, task.fd_table)
        exited = Exited(hub)
        number |= int(CLONE.PARENT) if monitor.use_clone_parent else 0
        watch = partial(_watch_child, thr, hub, clone, secret, exited)
        beginning = monitor.task.children.begin() if monitor.task.children is not None else None
        try:
            # The stack of a copy may go as soon as we have seen that it is one.
            await clone_on_stack(task, thr.ram, clone, number, start)
        except OSError as error:
            raise clone_error(error, flags) from None
        process = await watch()
        del beginning, stack
        handle = process.process
        task.check_not_departed()
        shares = room is not None
        space = task.address_space if shares else AddressSpace(handle.near.id)
        child = make_child_task(task, handle, int(flags), table, space)
        own = child.inherit_fd(socket), child.inherit_fd(passage)
        if room is not None:
            room.ring.nested(
                1 if flags & CLONE.NEWPID else handle.near.id,
                handle.near.id if monitor.task.pidns is hub.task.pidns else 0,
            )
            sysif = connect_by_ring(hub, child, process, room.ring, own[0], room.relative, room.memory)
            drive_by_ring(task, hub, child, process, exited, sysif)
            allocator = thr.ram.allocator.inherit(child)
            ram = RAM(child, ArenaTransport(child, room.ring), allocator)
        else:
            assert stream is not None
            drive(task, hub, child, process, exited, stream, own[0])
            ram = RAM(child, StreamMemoryTransport(child), AllocatorClient.make_allocator(child))
        while remote:
            await remote[-1].invalidate()
            remote.pop()
        if access is not None:
            await access.invalidate()
        elif table is not task.fd_table:
            await _close_streams(task.fd_table, child)
        return OwnMemory(
            process,
            child,
            ram,
            make_connection(child, ram, own[1]),
            thr.loader if shares else thr.loader.for_copy(child),
            thr.epoller.inherit(ram),
            monitor_for(thr, child, ram, flags, process),
        )
    except BaseException:
        if process is None and watch is not None and (clone.result or 0) > 0:
            # An exception came after the clone.
            with trio.CancelScope(shield=True), contextlib.suppress(OSError, SyscallError):
                process = await watch()
        if process is not None:
            await end_process(process)
        await close_all([access, stream, *remote])
        raise


async def _write_stack(
    thr: ParentThread, socket: FileDescriptor
) -> tuple[Pointer[Stack[Trampoline]], WrittenPointer[Stack[Trampoline]]]:
    """The stack of a copy, which serves a stream: what it grows into, and where it starts.

    Both are kept until the copy has been looked at: it soon writes there, and so into what the original has
    allocated in their place.
    """
    # A copy that runs on memory which it shares with its original would be disturbed by that.
    ram = thr.ram.private if isinstance(thr.ram, OwnRAM) else thr.ram
    memory: Pointer[Stack[Trampoline]] = await ram.malloc(Stack, _STACK_SIZE)
    free, rest = memory.split(_STACK_SIZE - _TRAMPOLINE_SIZE)
    start = thr.loader.make_trampoline_stack(Trampoline(thr.loader.server_func, [socket, socket, 0]))
    return free, await rest.write(start)


async def _close_streams(parents: FDTable, child: Task) -> None:
    """Close a copy's copies of the others' ends of their streams: while they are open, exec there would not
    be noticed.
    """
    fds = [other.sysif.get_activity_fd() for other in parents.tasks if not other.departed]
    await child.sysif.syscalls([Syscall(nr.close, fd.near) for fd in fds if isinstance(fd, FileDescriptor)])


async def _watch_child(
    thr: ParentThread, hub: ProgramHub, clone: CallRecord, secret: WrittenPointer[bytes], exited: Exited
) -> AsyncChildProcess:
    """Watch the process that a clone has told us of, if it is what that process says.

    Otherwise it could name any process, and have us kill that one. A child has what we wrote into the memory
    of the process before.

    Raises:
        SyscallHangup: it is no child.
    """
    monitor = thr.monitor
    pid = clone.result or 0
    handle = ChildProcess(monitor.task, near.Process(pid))
    if monitor.task.pidns is not hub.task.pidns:
        pid = _pid_of_child(hub.pidfds[monitor.task].pid(), pid)
    if not pid or _read_memory(hub, pid, secret) != secret.value:
        raise SyscallHangup(
            f"{thr.task} says that it has cloned process {handle.near.id}, which is none of its children"
        )
    try:
        pidfd = Pidfd(run_now(hub.task.sysif.syscall(nr.pidfd_open, pid, 0)))
        return monitor.add_child_process(handle, pidfd, exited)
    except BaseException:
        with trio.CancelScope(shield=True):
            await monitor._undo_clone(handle)
        raise


def _read_memory(hub: ProgramHub, pid: int, pointer: WrittenPointer[bytes]) -> bytes | None:
    """What is at this address in another process; None if that cannot be read.

    manpage: process_vm_readv(2), proc_pid_mem(5)
    """
    address, size = pointer.near.address, pointer.size()
    data = array("B", bytes(size))
    ranges = array("Q", [data.buffer_info()[0], size, address, size])
    ours, theirs = ranges.buffer_info()[0], ranges.buffer_info()[0] + 16
    try:
        if run_now(hub.task.sysif.syscall(nr.process_vm_readv, pid, ours, 1, theirs, 1, 0)) == size:
            return data.tobytes()
    except OSError as error:
        if not is_denied(error):
            return None
    try:
        with open(f"/proc/{pid}/mem", "rb", 0) as file:
            return os.pread(file.fileno(), size, address)
    except OSError:
        return None


def _pid_of_child(init: int, inner: int) -> int:
    """The id in our pid namespace of a child of an init that has the id `inner` there; 0 if there is none.

    manpage: proc_pid_task(5), proc_pid_status(5)
    """

    def ids(pid: str | int) -> list[str]:
        with open(f"/proc/{pid}/status") as file:
            return next((line.split()[1:] for line in file if line.startswith("NSpid:")), [])

    try:
        depth = len(ids(init))
        with open(f"/proc/{init}/task/{init}/children") as file:
            children = file.read().split()
    except OSError:
        return 0
    # The last one made is likely to be the last of them.
    for pid in reversed(children):
        try:
            if ids(pid)[depth - 1] == str(inner):
                return int(pid)
        except (OSError, IndexError):
            continue
    return 0
