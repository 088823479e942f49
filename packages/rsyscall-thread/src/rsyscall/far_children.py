"""Children of a process that we reach only over a stream: it may be on another machine, or another user's.

We have no pidfd for such a child, and its pid means nothing here. So its parent does the work that we do for
our own children. That parent is the root of the far side: the process at the other end of our stream.

* **Channels.** A child is served over a channel of its own (`rsyscall.multiplexed`). Where that is denied,
  it is served over a pair of sockets on the far side; the root has the other end, and makes a few calls for
  each call in the child, to pass on the request and the answer.
* **Exits.** The root opens a pidfd of each child, and waits for it in its epoll instance.
* **Copies.** A child is a copy of the process that clones it, with copies of all its descriptors. It must
  close the sockets that lead to other processes: we notice the exec or exit of a process when the last copy
  of its socket is closed. So closing them is the first thing that the child does, and clones are made one at
  a time.
* **Dropped.** When no task can reach a child any more, the root kills and reaps it, a little later.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import weakref
from typing import TYPE_CHECKING, Any

import trio

from rsyscall.async_fd import AsyncFileDescriptor
from rsyscall.async_signalfd import first_of
from rsyscall.background import RunLoop, weakly
from rsyscall.child_process import end_process
from rsyscall.clone import clone_error, make_child_task
from rsyscall.clone_call import clone_on_stack
from rsyscall.denied import any_answer
from rsyscall.epoller import Epoller, RemovedFromEpollError
from rsyscall.far import AddressSpace
from rsyscall.handle import FDTable, Task
from rsyscall.handle.process import ChildProcess, DeadProcessError
from rsyscall.loader import Trampoline
from rsyscall.memory.allocator import AllocatorClient
from rsyscall.memory.ram import RAM
from rsyscall.memory.socket_transport import StreamMemoryTransport
from rsyscall.monitor import AsyncChildProcess, ChildProcessMonitor
from rsyscall.native import destructor
from rsyscall.near import Syscall, SyscallError, nr
from rsyscall.near import types as near
from rsyscall.near.record import CallRecord
from rsyscall.network.private import make_private
from rsyscall.own_parts import OwnMemory
from rsyscall.sched import CLONE, Stack
from rsyscall.signal import SIG, Siginfo
from rsyscall.stub_connection import SharedTableConnection, has_other_table
from rsyscall.sys.wait import ChildState, IdType, W
from rsyscall.turns import Turns

if TYPE_CHECKING:
    from rsyscall.handle import FileDescriptor, Pointer, WrittenPointer
    from rsyscall.hub import ProgramHub
    from rsyscall.linux.futex import FutexNode
    from rsyscall.multiplexed import Multiplexer
    from rsyscall.own_parts import ParentThread
    from rsyscall.reaper import Reaper

__all__ = ["FarMonitor", "FarSide", "clone_far"]

logger: logging.Logger = logging.getLogger(__name__)

_STACK_SIZE = 16384
_TRAMPOLINE_SIZE = 64


class FarSide:
    """Watches, kills and reaps the children of the root of a far side, or of a pid namespace's init there.

    Args:
        task: of that process.
        ram: its memory.
        epoller: waits for its descriptors.
        hub: of our program.
        family: another object of the same far side.

    Attributes:
        multiplexer: for channels to this program over the stream, where the stream can have several.
    """

    def __init__(
        self, task: Task, ram: RAM, epoller: Epoller, hub: ProgramHub, family: FarSide | None = None
    ) -> None:
        self.task = task
        self.ram = ram
        self.epoller = epoller
        self.hub = hub
        # The descriptors, in all tables there, that a child has to close when it has got copies of them.
        self.private: weakref.WeakSet[FileDescriptor]
        self.private = weakref.WeakSet() if family is None else family.private
        self.turns: Turns = Turns() if family is None else family.turns
        self.multiplexer: Multiplexer | None = None if family is None else family.multiplexer
        self.watches: set[_Watch] = set()
        # Of the run of trio in which this was last used.
        self._token = trio.lowlevel.current_trio_token()
        # Children that no task can reach; and whether to reap them, because they have exited, or kill them.
        self._dropped: list[tuple[ChildProcess, bool]] = []
        self._cleaner = RunLoop(weakly(self, FarSide._clean), f"dropped children of {task}")
        # For a process that adopts orphans.
        self.reaper: Reaper | None = None
        hub.drives(task)

    def dropped(self, process: ChildProcess, reap: bool) -> None:
        """Kill or reap this child, which no task can reach any more. For destructors.

        Args:
            process: the child.
            reap: whether it has exited, and only has to be reaped.
        """
        self._dropped.append((process, reap))
        # A destructor may run in another OS thread, and in a run of that.
        try:
            self._token.run_sync_soon(self._clean_now, idempotent=True)
        except trio.RunFinishedError:
            pass  # the next child starts the cleaner

    def _clean_now(self) -> None:
        try:
            self._cleaner.ensure_running()
        except RuntimeError:
            pass  # the run is ending: the next child starts the cleaner, in another run

    def ensure_running(self) -> None:
        """Run the background tasks in the current run of trio."""
        self._token = trio.lowlevel.current_trio_token()
        for watch in list(self.watches):
            watch.loop.ensure_running()
        if self._dropped:
            self._cleaner.ensure_running()
        if self.reaper is not None:
            self.reaper.ensure_running()

    async def _clean(self) -> None:
        while self._dropped:
            process, reap = entry = self._dropped[-1]
            try:
                if process.death_state is None:
                    await (self.reap(process) if reap else process.kill(SIG.KILL))
            except (OSError, SyscallError, DeadProcessError):
                logger.debug("ending %s", process, exc_info=True)
            self._dropped.remove(entry)

    async def reap(self, process: ChildProcess) -> None:
        """Reap a child that no task can wait for. manpage: waitid(2)."""
        await self.task.sysif.syscall(nr.waitid, IdType.PID, process.near.id, 0, W.EXITED | W.ALL, 0)

    async def watch(self, monitor: FarMonitor, process: ChildProcess) -> FarChildProcess:
        """Watch a child that has just been made. If that is not possible, it is killed.

        manpage: pidfd_open(2)
        """
        try:
            return await self.adopt(monitor, process)
        except BaseException:
            with trio.CancelScope(shield=True), contextlib.suppress(OSError, SyscallError):
                await process.kill(SIG.KILL)
                await self.reap(process)
            raise

    async def adopt(self, monitor: FarMonitor, process: ChildProcess) -> FarChildProcess:
        """Watch a child that was made earlier.

        manpage: pidfd_open(2)
        """
        number = await self.task.sysif.syscall(nr.pidfd_open, process.near.id, 0)
        fd = self.task.make_fd_handle(near.FileDescriptor(number))
        self.private.add(fd)
        pidfd = await AsyncFileDescriptor.make(self.epoller, self.ram, fd)
        child = FarChildProcess(process, self.ram, monitor)
        child.watch = _Watch(self, pidfd, child)
        return child


class _Watch:
    """Waits for one child to exit, by a pidfd in the table of its parent."""

    def __init__(self, side: FarSide, pidfd: AsyncFileDescriptor, process: FarChildProcess) -> None:
        self._side = side
        self._pidfd = pidfd
        self._handle = process.process
        self._process = weakref.ref(process)
        self.connection: weakref.ref[_FarConnection] | None = None
        self.loop: RunLoop = RunLoop(self._wait, f"exit of {process}")
        side.watches.add(self)
        self.loop.ensure_running()

    async def _wait(self) -> None:
        try:
            await self._pidfd.when_readable(self._look)
        except (OSError, SyscallError, RemovedFromEpollError):
            pass  # its parent is gone: a task that waits for the child gets an error
        connection = self.connection() if self.connection is not None else None
        if connection is not None:
            connection.process_left()
        del connection
        process = self._process()
        if process is not None:
            process._exit_noticed()
        elif self._handle.death_state is None:
            self._side.dropped(self._handle, True)
        del process
        await self._pidfd.close()
        self._side.watches.discard(self)
        if self._side.reaper is not None:
            # The parent has adopted the children of this child.
            self._side.reaper.wake()

    async def _look(self) -> None:
        """Raise BlockingIOError unless the child has exited."""
        side = self._side
        infop = await side.ram.malloc(Siginfo)
        options = W.EXITED | W.ALL | W.NOHANG | W.NOWAIT
        try:
            await side.task.sysif.syscall(nr.waitid, IdType.PID, self._handle.near.id, infop.near, options, 0)
        except ChildProcessError:
            return  # it has exited and has been reaped
        if not (await infop.read()).pid:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


class FarChildProcess(AsyncChildProcess):
    """A child of a process on a far side."""

    monitor: FarMonitor
    watch: _Watch

    @destructor
    def __del__(self) -> None:
        exited = getattr(self, "_exited", None)
        if exited is not None and exited.is_set() and self.process.death_state is None:
            self.monitor.side.dropped(self.process, True)

    async def waitpid(self, options: W) -> ChildState:
        """As `AsyncChildProcess.waitpid`."""
        self.monitor.side.ensure_running()
        return await super().waitpid(options)

    async def wait_exited(self) -> None:
        """As `AsyncChildProcess.wait_exited`."""
        self.monitor.side.ensure_running()
        await first_of([self._exited])
        if self.process.death_state is None:
            # Raises if the parent is gone, from which alone we could learn how the child exited.
            await any_answer(self.process.task.sysif)


class FarMonitor(ChildProcessMonitor):
    """Makes children on a far side, and watches and reaps them there.

    Args:
        side: the `FarSide` of their parent.
        cloning_task: makes the clone call; the parent by default.
        ram: memory of `cloning_task`.
    """

    def __init__(self, side: FarSide, cloning_task: Task | None = None, ram: RAM | None = None) -> None:
        cloner = side.task if cloning_task is None else cloning_task
        super().__init__(side.ram, side.task, cloner, cloner is not side.task, side.epoller, side.hub)
        self.side = side
        self._cloning_ram = ram

    def inherit_to_child(self, child_task: Task, ram: RAM | None = None) -> FarMonitor:
        """As `ChildProcessMonitor.inherit_to_child`."""
        monitor = FarMonitor(self.side, child_task, ram)
        monitor._root = self._root
        return monitor

    def for_own_children(self, ram: RAM, task: Task, epoller: Epoller) -> FarMonitor:
        """As `ChildProcessMonitor.for_own_children`."""
        return FarMonitor(FarSide(task, ram, epoller, self.hub, self.side))

    def adopt_orphans(self, process: AsyncChildProcess) -> Reaper:
        """As `ChildProcessMonitor.adopt_orphans`."""
        self.side.reaper = super().adopt_orphans(process)
        return self.side.reaper

    @trio.lowlevel.enable_ki_protection
    async def clone(
        self,
        flags: CLONE,
        child_stack: tuple[Pointer[Stack[Any]], WrittenPointer[Stack[Any]]],
        ctid: Pointer[FutexNode] | None = None,
    ) -> AsyncChildProcess:
        """As `ChildProcessMonitor.clone`."""
        if self.use_clone_parent:
            flags |= CLONE.PARENT
        made = await self.cloning_task.clone(flags | SIG.CHLD, child_stack, None, ctid, None)
        return await self.side.watch(
            self, made if made.task is self.task else ChildProcess(self.task, made.near)
        )


class _FarConnection(SharedTableConnection):
    """The stream to a child on a far side; our end of it is in the root there."""

    def __init__(self, process: FarChildProcess, afd: AsyncFileDescriptor, server_fd: FileDescriptor) -> None:
        self._side = process.monitor.side
        self._process = process.process
        super().__init__(afd, server_fd)
        process.watch.connection = weakref.ref(self)

    @destructor
    def __del__(self) -> None:
        super().__del__()
        # A process that is in a call does not notice the end of its stream, so it is killed.
        if not getattr(self, "_closed", True) and not self._state.ended and os.getpid() == self._pid:
            self._side.dropped(self._process, False)

    async def _has_other_table(self, sharers: list[Task]) -> bool:
        # Only siblings and the parent count: the parent knows their pids.
        parent = self._side.task
        ids = [
            (await parent.getpid()).id if other is parent else other.near_process.id
            for other in sharers
            if other is parent or other.parent_task is parent
        ]
        return bool(ids) and await has_other_table(parent, self._process.near.id, ids[0])

    @trio.lowlevel.enable_ki_protection
    async def close_interface(self) -> None:
        """As `SyscallConnection.close_interface`; a process that is in a call is killed."""
        if self._state.under_way and not self._state.stopped:
            self.check_owner()
            with trio.CancelScope(shield=True), contextlib.suppress(OSError, SyscallError, DeadProcessError):
                await self._process.kill(SIG.KILL)
        await super().close_interface()


@trio.lowlevel.enable_ki_protection
async def clone_far(thr: ParentThread, flags: CLONE) -> OwnMemory:
    """Make a child of a process on a far side: a copy of it, served over a stream of its own.

    Raises:
        OSError: as clone(2), pidfd_open(2).
    """
    monitor = thr.monitor
    assert isinstance(monitor, FarMonitor)
    monitor.side.ensure_running()
    async with monitor.side.turns.next():
        return await _clone(thr, monitor, flags)


async def _clone(thr: ParentThread, monitor: FarMonitor, flags: CLONE) -> OwnMemory:
    task, side = thr.task, monitor.side
    process: FarChildProcess | None = None
    clone = CallRecord()
    ours: AsyncFileDescriptor | None = None
    theirs: list[FileDescriptor] = []
    handle: ChildProcess | None = None
    try:
        [(ours, stream)] = await _open_stream(thr, side.multiplexer)
        theirs.append(stream)
        passage, make_connection = await make_private(thr.connection)
        theirs.append(passage)
        side.private.update([ours.handle, *theirs])
        memory: Pointer[Stack[Trampoline]] = await thr.ram.malloc(Stack, _STACK_SIZE)
        _free, rest = memory.split(_STACK_SIZE - _TRAMPOLINE_SIZE)
        start = thr.loader.make_trampoline_stack(Trampoline(thr.loader.server_func, [stream, stream, 0]))
        stack = await rest.write(start)
        # Before the clone: a descriptor that is opened during it may not be in the copy.
        table = task.fd_table if flags & CLONE.FILES else FDTable(0, task.fd_table)
        number = int(flags) | (int(CLONE.PARENT) if monitor.use_clone_parent else 0)
        beginning = side.task.children.begin() if side.task.children is not None else None
        try:
            # The stack may be freed once the copy has been made, which has its own.
            pid = await clone_on_stack(task, thr.ram, clone, number, int(stack.near))
        except OSError as error:
            raise clone_error(error, flags) from None
        handle = ChildProcess(side.task, near.Process(pid))
        del beginning
        process = await side.watch(monitor, handle)
        task.check_not_departed()
        child = make_child_task(task, handle, int(flags), table, AddressSpace(pid))
        side.hub.drives(child)
        own = child.inherit_fd(stream), child.inherit_fd(passage)
        connection = _FarConnection(process, ours, own[0])
        connection.abi = task.sysif.abi
        child.sysif = task.sysif.wrap_child(connection, f"process {pid} of {side.task}")
        child.infrastructure_fds += (own[0],)
        if table is not task.fd_table:
            # Copies of the sockets of other processes, whose exec or exit we would not notice while these are
            # open.
            private = [fd for fd in list(side.private) if fd.valid and fd.task.fd_table is task.fd_table]
            others = {fd.near for fd in private} - {fd.near for fd in theirs}
            await child.sysif.syscalls([Syscall(nr.close, other) for other in others])
        await _close(theirs)
        ram = RAM(child, StreamMemoryTransport(child), AllocatorClient.make_allocator(child))
        channels = make_connection(child, ram, own[1])
        side.private.update([*own, channels.access_fd])
        epoller = thr.epoller.inherit(ram)
        children: FarMonitor
        if flags & CLONE.NEWPID:
            # The kernel does not let an init give its children away: it reaps them itself.
            children = monitor.for_own_children(ram, child, epoller)
            children.adopt_orphans(process)
        else:
            children = monitor.inherit_to_child(child, ram)
        return OwnMemory(process, child, ram, channels, thr.loader.for_copy(child), epoller, children)
    except BaseException:
        with trio.CancelScope(shield=True):
            if process is not None:
                await end_process(process)
            elif handle is None and (clone.result or 0) > 0:
                # An exception came right after the clone.
                lost = ChildProcess(side.task, near.Process(clone.result or 0))
                with contextlib.suppress(OSError, SyscallError):
                    await lost.kill(SIG.KILL)
                    await side.reap(lost)
            await _close(theirs)
            if ours is not None:
                with contextlib.suppress(OSError, SyscallError):
                    await ours.close()
        raise


async def _open_stream(
    thr: ParentThread, multiplexer: Multiplexer | None
) -> list[tuple[AsyncFileDescriptor, FileDescriptor]]:
    """The stream of a new child: to us, where that is possible, and otherwise to the root."""
    if multiplexer is not None and await multiplexer.start():
        return await multiplexer.make_async(await multiplexer.open_in_turn(thr.connection, 1))
    return await thr.connection.open_async_channels(1)


async def _close(fds: list[FileDescriptor]) -> None:
    while fds:
        with contextlib.suppress(SyscallError):
            await fds[-1].invalidate()
        fds.pop()
