"""Processes with memory of their own, which we drive all the same.

A child that shares our memory is cheap, and unfit to stay beside a command that is not trusted: what may
trace the child reads and writes our memory. Nor can it have attributes of its own that the kernel keeps per
address space. So a child can execute `rsyscall-stub` instead, a static program of a few kilobytes that serves
our calls over a stream:

* **Executed by descriptor.** The program is in a sealed memory file, made once per descriptor table. Nothing
  is looked up in the root directory of the child, which may be empty.
* **Named descriptors.** Exec closes what is marked close-on-exec. So right before it the child takes that
  mark from what it keeps, and the program sets it again at once.
* **Not trusted.** What such a process can reach is its own: its end of the stream, a socket for descriptors
  that no other process sends to, and an epoll instance, which we wait for by a copy of our own. A stream is
  parsed by `rsyscall.near.stream`, which believes nothing.
* **Children.** A process that it clones in turn is a copy of it: the copy has the same functions at the same
  addresses, and starts on a stack that was written before the clone. It gets memory of its own that way, and
  closes its copy of the other's end of the stream, so that the end of that stream still tells of an exec.
  Where
  they share a table, we ask the kernel whether they still do: exec ends that (kcmp(2)).
"""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import trio

from rsyscall.background import RunLoop, run_now, weakly
from rsyscall.clone import abandon, clone_error, clone_process
from rsyscall.epoller import AsyncFileDescriptor, Epoller
from rsyscall.far import AddressSpace, PidNamespace
from rsyscall.fcntl import AT, FD, F
from rsyscall.fd_collector import close_dropped
from rsyscall.handle import FDTable, Task
from rsyscall.handle.fd import STANDARD
from rsyscall.loader import NativeLoader, Trampoline
from rsyscall.memory.allocator import AllocatorClient
from rsyscall.memory.ram import RAM
from rsyscall.memory.socket_transport import StreamMemoryTransport
from rsyscall.monitor import ChildProcessMonitor
from rsyscall.native import Symbols, destructor, symbols
from rsyscall.near import Syscall, SyscallHangup, as_syscalls, nr
from rsyscall.near.calls import Fact, having
from rsyscall.near.protocol import HelloParser, ProtocolError
from rsyscall.sched import CLONE, Stack
from rsyscall.signal import Sigset
from rsyscall.spawn import ExecImage, Spawning
from rsyscall.stream import SyscallConnection
from rsyscall.stub_program import NAME, get_capabilities, keep_capabilities, last_capability, stub_descriptor

if TYPE_CHECKING:
    from rsyscall.handle import FileDescriptor, Pointer
    from rsyscall.handle.fd import BaseFileDescriptor
    from rsyscall.hub import ProgramHub
    from rsyscall.monitor import AsyncChildProcess
    from rsyscall.near.protocol import Hello
    from rsyscall.near.record import CallRecord
    from rsyscall.network.connection import Connection
    from rsyscall.pidfd import Pidfd

    class _Thread(Protocol):
        """A `Thread`."""

        task: Task
        ram: RAM
        connection: Connection
        loader: NativeLoader
        epoller: Epoller
        monitor: ChildProcessMonitor


__all__ = ["OwnMemory", "clone_own_memory"]

logger = logging.getLogger(__name__)

_STACK_SIZE = 16384
_TRAMPOLINE_SIZE = 64
_LEAVING = having(Fact.LEAVES)
_KCMP_FILES = 2
# Between two looks at a process that executes a program, in seconds.
_PAUSE = 0.001


@dataclass
class OwnMemory:
    """The parts of a new process that are not its parent's."""

    process: AsyncChildProcess
    task: Task
    ram: RAM
    connection: Connection
    loader: NativeLoader
    epoller: Epoller
    monitor: ChildProcessMonitor


async def clone_own_memory(
    thr: _Thread, flags: CLONE, descriptors: Sequence[FileDescriptor] = ()
) -> OwnMemory:
    """Make a child of `thr` with memory of its own.

    Args:
        thr: the parent, which may have memory of its own, too.
        flags: namespaces and FS; FILES only if the parent has memory of its own, too.
        descriptors: of `thr`, which the child is to have. The child of a process with memory of its own has
            all of them.

    Raises:
        ValueError: FILES: exec gives a process a table of its own.
        OSError: as clone(2) and execve(2).
    """
    if thr.loader.hub is None:
        return await _fork(thr, flags)
    if flags & CLONE.FILES:
        raise ValueError(
            "own_memory is not possible with CLONE.FILES: it takes an exec, which gives the child "
            "a table of its own"
        )
    return await _execute_stub(thr, thr.loader.hub, flags, descriptors)


# ---- the connection


class _StubConnection(SyscallConnection):
    """The stream to a process with memory of its own.

    A process that is in a call does not see the end of its stream, so it is killed when no caller can reach
    it.
    """

    def __init__(
        self, hub: ProgramHub, pidfd: Pidfd, afd: AsyncFileDescriptor, server_fd: FileDescriptor
    ) -> None:
        # Before the rest: the destructor needs them.
        self._hub = hub
        self._pidfd = pidfd
        # One for each call under way that may be an exec, while others share the table.
        self._leaving: set[object] = set()
        self._watcher = RunLoop(weakly(self._watch_table), f"exec by {server_fd}")
        super().__init__(logger, afd, afd, server_fd, server_fd)

    @destructor
    def __del__(self) -> None:
        super().__del__()
        if not getattr(self, "_closed", True) and os.getpid() == self._hub.pid and self._pidfd.number >= 0:
            if not self._state.ended:
                self._pidfd.kill()
            self._hub.dismissed(self._pidfd)

    async def _call(self, call: Syscall, record: CallRecord | None) -> int:
        if call.number not in _LEAVING or not self._sharers():
            return await super()._call(call, record)
        leaving = self._begin_leaving()
        try:
            return await super()._call(call, record)
        finally:
            self._leaving.discard(leaving)

    @trio.lowlevel.enable_ki_protection
    async def syscalls(self, calls: Sequence[Syscall], linked: bool = False) -> list[int]:
        calls = as_syscalls(calls)
        if _LEAVING.isdisjoint(call.number for call in calls) or not self._sharers():
            return await super().syscalls(calls, linked)
        leaving = self._begin_leaving()
        try:
            return await super().syscalls(calls, linked)
        finally:
            self._leaving.discard(leaving)

    def _begin_leaving(self) -> object:
        leaving = object()
        self._leaving.add(leaving)
        self._watcher.ensure_running()
        return leaving

    def _sharers(self) -> list[int]:
        """The ids of other processes in our table: they keep our end of the stream open."""
        ours = self.server_infd.task
        others = [task for task in ours.fd_table.tasks if task is not ours and not task.departed]
        pidfds = [self._hub.pidfds.get(task) for task in others if isinstance(task, Task)]
        return [pid for pidfd in pidfds if pidfd is not None and (pid := pidfd.pid())]

    async def _watch_table(self) -> None:
        """While a call may execute a program, look whether the process still shares its table: exec ends
        that.

        manpage: kcmp(2)
        """
        while self._leaving and not self._state.ended:
            await trio.sleep(_PAUSE)
            sharers, pid = self._sharers(), self._pidfd.pid()
            if not sharers or not pid:
                continue
            try:
                differs = run_now(self._hub.task.sysif.syscall(nr.kcmp, pid, sharers[0], _KCMP_FILES, 0, 0))
            except OSError:
                continue  # one of them has just exited; or a filter denies the call
            if differs:
                self.process_left()

    @trio.lowlevel.enable_ki_protection
    async def close_interface(self) -> None:
        """As `SyscallConnection.close_interface`; a process that is in a call is killed."""
        if self._state.under_way and not self._state.stopped:
            self.check_owner()  # or a forked copy would kill the child of the original
            self._pidfd.kill()
        await super().close_interface()


def _leaving(reference: weakref.ref[_StubConnection] | None) -> None:
    connection = reference() if reference is not None else None
    if connection is not None:
        connection.process_left()


class _Exited:
    """Called when the process has exited: passes it on, and keeps nothing alive.

    Args:
        hub: of the program.
        pidfd: of the process.
        first: called first.
    """

    def __init__(self, hub: ProgramHub, first: Callable[[], None] | None = None) -> None:
        self.hub = hub
        self.first = first
        self.pidfd: Pidfd | None = None
        self.connection: weakref.ref[_StubConnection] | None = None

    def __call__(self) -> None:
        if self.first is not None:
            self.first()
        _leaving(self.connection)
        if self.pidfd is not None:
            self.hub.exits.exited(self.pidfd)


def _drive(
    thr: _Thread,
    hub: ProgramHub,
    child: Task,
    process: AsyncChildProcess,
    exited: _Exited,
    access: AsyncFileDescriptor,
    server_fd: FileDescriptor,
) -> None:
    """Make the interface of `child`, whose end of the stream is `server_fd`."""
    pidfd = process.pidfd
    if pidfd is None:
        raise _hangup(child)  # it has exited, and been reaped
    hub.pidfds[child] = pidfd
    hub.drives(child)
    child.infrastructure_fds += (server_fd,)
    sysif = _StubConnection(hub, pidfd, access, server_fd)
    exited.connection = weakref.ref(sysif)
    exited.pidfd = pidfd
    hub.exits.numbers[pidfd] = pidfd.number
    child.sysif = thr.task.sysif.wrap_child(sysif, f"process {child.near_process.id}")


def _hangup(task: Task) -> SyscallHangup:
    return SyscallHangup(f"{task} has exited before it could be driven")


def _make_task(thr: _Thread, process: Any, flags: CLONE, table: FDTable) -> Task:
    task, pid = thr.task, process.near.id
    if table is not task.fd_table:
        table.creator_pid = pid
        close_dropped(table)
    child = Task(
        process,
        table,
        AddressSpace(pid),
        PidNamespace(pid) if flags & CLONE.NEWPID else task.pidns,
        None if flags & CLONE.NEWNS else task.mountns,
    )
    child.sigmask = Sigset(task.sigmask)
    return child


def _monitor_for(thr: _Thread, child: Task, ram: RAM, flags: CLONE) -> ChildProcessMonitor:
    if flags & CLONE.NEWPID:
        # The kernel does not let an init give its children away: it reaps them itself.
        return ChildProcessMonitor.make_own(ram, child, thr.monitor.hub)
    return thr.monitor.inherit_to_child(child, ram)


async def _end(process: AsyncChildProcess) -> None:
    with trio.CancelScope(shield=True):
        async with process:
            pass


async def _close_all(things: Sequence[FileDescriptor | AsyncFileDescriptor | None]) -> None:
    with trio.CancelScope(shield=True):
        for thing in things:
            if thing is None:
                continue
            try:
                if isinstance(thing, AsyncFileDescriptor):
                    await thing.close()
                else:
                    await thing.invalidate()
            except Exception:
                logger.debug("closing %s", thing, exc_info=True)


# ---- by exec


class _TableAfterExec(FDTable):
    """The table of a process that has executed the program: a copy, in which only these numbers are left."""

    def __init__(self, parent: FDTable, numbers: set[int]) -> None:
        # What is inherited directly from a parent table is not asked about.
        super().__init__(0, FDTable(0, parent))
        self._numbers = numbers

    def _can_inherit(self, fd: BaseFileDescriptor) -> bool:
        return fd.near.number in self._numbers and super()._can_inherit(fd)


class _Ends:
    """What we make for a new process: pairs of an end for us and one in the table of its parent."""

    def __init__(self) -> None:
        self.access: AsyncFileDescriptor | None = None
        # In the parent's table, for the time until the child has copies.
        self.remote: list[FileDescriptor] = []

    async def close_remote(self) -> None:
        """Close what only the child is to have."""
        while self.remote:
            await self.remote[-1].invalidate()
            self.remote.pop()

    async def close(self) -> None:
        await _close_all([self.access, *self.remote])


# Between its creation and the moment when an object owns it, a process must not get lost because of a
# KeyboardInterrupt.
@trio.lowlevel.enable_ki_protection
async def _execute_stub(
    thr: _Thread, hub: ProgramHub, flags: CLONE, descriptors: Sequence[FileDescriptor]
) -> OwnMemory:
    """Make a child that executes the program."""
    task = thr.task
    if flags & CLONE.NEWUSER:
        # All of them, as root of a namespace that has no root yet.
        root = False
        every = 2 ** (last_capability() + 1) - 1
        capabilities = every, every, 0
    else:
        root = 0 in (await task.getuid(), await task.geteuid())
        capabilities = await get_capabilities(thr)
    _, permitted, inheritable = capabilities
    program = await stub_descriptor(thr, hub)
    kept = list(descriptors)
    plain = await _without_cloexec(task, kept)
    ends = _Ends()
    process: AsyncChildProcess | None = None
    try:
        [(ends.access, stream)] = await thr.connection.open_async_channels(1)
        ends.remote.append(stream)
        passage, make_connection = await thr.connection.prep_own_passage()
        ends.remote.append(passage)
        waiter, epfd = await thr.connection.open_epoll()
        ends.remote.append(epfd)
        own = [stream, passage, epfd]
        marked = [fd for fd in (*own, *kept) if fd not in plain]
        numbers = [str(int(fd.near)) for fd in marked]
        image = await ExecImage.make(thr.ram, "", [NAME, "serve", *map(str, capabilities), *numbers], [])
        image.path_text = NAME
        calls = [Syscall(nr.fcntl, fd.near, F.SETFD, 0) for fd in marked]
        if permitted and not root:
            keeping, memory = await keep_capabilities(thr.ram, permitted, inheritable)
            calls += keeping
            image.keep += (memory,)
        calls.append(
            Syscall(nr.execveat, program.near, image.path, image.argv, image.envp, int(AT.EMPTY_PATH))
        )
        # Before the clone: what is opened meanwhile is perhaps not in the copy.
        table = _TableAfterExec(task.fd_table, {int(fd.near) for fd in (*own, *kept)}.union(STANDARD))
        process, child, exited = await _launch(thr, hub, flags, table, calls, image)
        theirs = [child.inherit_fd(fd) for fd in own]
        await ends.close_remote()
        hello = await _receive_hello(ends.access)
        _drive(thr, hub, child, process, exited, ends.access, theirs[0])
        ram = RAM(child, StreamMemoryTransport(child), AllocatorClient.make_allocator(child))

        return OwnMemory(
            process,
            child,
            ram,
            make_connection(child, ram, theirs[1]),
            NativeLoader.make_from_symbols(child, Symbols._make(hello.symbols[: len(Symbols._fields)])),
            Epoller(waiter, ram, theirs[2]),
            _monitor_for(thr, child, ram, flags),
        )
    except BaseException:
        if process is not None:
            await _end(process)
        await ends.close()
        raise


async def _without_cloexec(task: Task, fds: Sequence[FileDescriptor]) -> set[FileDescriptor]:
    """Those that programs inherit anyway."""
    plain = set()
    for fd in fds:
        if fd.task.fd_table is not task.fd_table:
            raise ValueError(f"{fd} is not a descriptor of {task}, which the child is cloned from")
        if not FD(await fd.fcntl(F.GETFD)) & FD.CLOEXEC:
            plain.add(fd)
    return plain


async def _launch(
    thr: _Thread,
    hub: ProgramHub,
    flags: CLONE,
    table: FDTable,
    calls: list[Syscall],
    image: ExecImage,
) -> tuple[AsyncChildProcess, Task, _Exited]:
    """Clone a process that makes `calls`, the last of which executes the program; wait until it runs.

    Raises:
        OSError: a call failed, or the process could not be made. No process is left.
    """
    ring = hub.make_ring()
    handle = None
    try:
        ring.prepare_calls(calls)
        changing = ring.may_change_credentials
        if changing:
            hub.dumpable.look()
        spawning = Spawning(hub, ring, calls, image)
        # Before the process can fail: what it announces must find us.
        hub.waiting(ring, spawning)
        handle, pidfd = await clone_process(
            thr.task, hub, thr.monitor, flags, ring, symbols.rsyscall_ring_server, (ring.address,)
        )
        if spawning.error is not None:
            # It failed before we heard that it exists, and could not be told to exit then.
            ring.shutdown()
        watch = getattr(thr.task.sysif, "watch_prepared", None)
        if watch is not None:
            report = watch(calls, f"process {handle.near.id}")
            if spawning.finished:
                report(spawning._results if spawning.error is not None else ())
            else:
                spawning.report = report
        exited = _Exited(hub, spawning.exited)
        process = spawning.process = thr.monitor.add_child_process(handle, pidfd, exited)
        ring.release()
        if not spawning.finished and (changing or ring.in_user_namespace):
            # Our memory stays undumpable until the process has left it, even if no task waits for that.
            hub.watch_leave(ring, spawning.left)
    except BaseException:
        await abandon(hub, ring, thr.monitor.task, handle)
        hub.not_waiting(ring)
        raise
    try:
        await spawning.wait()
        child = _make_task(thr, handle, flags, table)
    except OSError as error:
        raise clone_error(error, flags) if error.filename is None else error from None
    except BaseException:
        await _end(process)
        raise
    return process, child, exited


async def _receive_hello(access: AsyncFileDescriptor) -> Hello:
    """Read the greeting of the program.

    Raises:
        SyscallHangup: it has gone before it greeted.
    """
    parser = HelloParser()
    try:
        while True:
            data = await access.read_some_bytes(parser.missing)
            if not data:
                parser.finish()
            hello = parser.feed(data)
            if hello is not None:
                return hello
    except ProtocolError as error:
        raise SyscallHangup(f"the new process did not greet: {error}") from error


# ---- by copying a process that has executed the program


@trio.lowlevel.enable_ki_protection
async def _fork(thr: _Thread, flags: CLONE) -> OwnMemory:
    """Make a child of a process that has memory of its own: a copy, served over a stream of its own."""
    task, hub = thr.task, thr.monitor.hub
    [(access, remote)] = await thr.connection.open_async_channels(1)
    process: AsyncChildProcess | None = None
    try:
        memory: Pointer[Stack[Trampoline]] = await thr.ram.malloc(Stack, _STACK_SIZE)
        free, rest = memory.split(_STACK_SIZE - _TRAMPOLINE_SIZE)
        start = thr.loader.make_trampoline_stack(Trampoline(thr.loader.server_func, [remote, remote, 0]))
        stack = await rest.write(start)
        table = task.fd_table if flags & CLONE.FILES else FDTable(0, task.fd_table)
        exited = _Exited(hub)
        try:
            process = await thr.monitor.clone(flags, (free, stack), on_exit=exited)
        except OSError as error:
            raise clone_error(error, flags) from None
        task.check_not_departed()
        child = _make_task(thr, process.process, flags, table)
        theirs = child.inherit_fd(remote)
        await remote.invalidate()
        _drive(thr, hub, child, process, exited, access, theirs)
        if table is not task.fd_table:
            # Copies of the others' ends: while they are open, exec there would not be noticed.
            ends = [other.sysif.get_activity_fd() for other in task.fd_table.tasks if not other.departed]
            await child.sysif.syscalls([Syscall(nr.close, end.near) for end in ends if end is not None])
        ram = RAM(child, StreamMemoryTransport(child), AllocatorClient.make_allocator(child))
        return OwnMemory(
            process,
            child,
            ram,
            thr.connection.inherit(child, ram),
            thr.loader.for_copy(child),
            thr.epoller.inherit(ram),
            _monitor_for(thr, child, ram, flags),
        )
    except BaseException:
        if process is not None:
            await _end(process)
        await _close_all([access, remote])
        raise
