"""Making children, and watching for their exits. child_process.py waits for each, signals it and reaps it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from rsyscall.async_fd import finish
from rsyscall.async_signalfd import AsyncSignalfd, SignalEvent
from rsyscall.background import run_now
from rsyscall.child_process import AsyncChildProcess
from rsyscall.denied import any_answer
from rsyscall.epoller import Epoller
from rsyscall.handle.fd import ManipulatingFDTableError
from rsyscall.handle.process import ChildProcess
from rsyscall.hub import ProgramHub, hub_of
from rsyscall.near import SyscallError, nr
from rsyscall.near.naming import naming
from rsyscall.pidfd import Pidfd
from rsyscall.reaper import Reaper
from rsyscall.sched import CLONE
from rsyscall.signal import SIG, SignalBlock, Sigset
from rsyscall.struct import Int32
from rsyscall.sys.wait import CLD, ChildState, IdType, W
from rsyscall.turns import Turns

if TYPE_CHECKING:
    from rsyscall.handle import Pointer, Task, WrittenPointer
    from rsyscall.linux.futex import FutexNode
    from rsyscall.memory.ram import RAM
    from rsyscall.sched import Stack

__all__ = ["AsyncChildProcess", "AsyncSignalfd", "ChildProcessMonitor"]


class _Sigchld:
    """Use of the monitor's signalfd for the time of one wait, which is protected from interrupts."""

    def __init__(self, monitor: ChildProcessMonitor) -> None:
        self._monitor = monitor

    async def __aenter__(self) -> AsyncSignalfd:
        monitor = self._monitor
        async with monitor._sigchld_turns.next():
            if monitor.sigfd is None:
                monitor.sigfd = await monitor._make_sigchld()
            else:
                monitor.sigfd.ensure_running()
            monitor._sigchld_users += 1
        return monitor.sigfd

    async def __aexit__(self, *exc_info: object) -> None:
        self._monitor._sigchld_users -= 1
        interrupt: KeyboardInterrupt | None = None
        with trio.CancelScope(shield=True):
            while True:
                try:
                    await self._close_unused()
                    break
                except KeyboardInterrupt as error:
                    # While we waited for the lock, most likely. What has been done is not done twice.
                    interrupt = error
        if interrupt is not None:
            raise interrupt

    async def _close_unused(self) -> None:
        monitor = self._monitor
        async with monitor._sigchld_turns.next():
            sigfd = monitor.sigfd
            if monitor._sigchld_users == 0 and sigfd is not None:
                try:
                    await sigfd.close()
                except SyscallError:
                    pass
                monitor.sigfd = None


class ChildProcessMonitor:
    """Makes children from one process, and watches and reaps them in a process that is their parent.

    Usually the two are not the same: a process that a child of ours clones becomes, by CLONE.PARENT, a child
    of ours, too, so that we can wait for it even if the process in between is gone.

    Args:
        ram: memory of the parent.
        task: the parent, which reaps.
        cloning_task: makes the clone call.
        use_clone_parent: whether these are different processes.
        epoller: the epoll loop that belongs to the parent, if there is one already; for the signalfd.
        hub: watches the exits.
    """

    def __init__(
        self,
        ram: RAM,
        task: Task,
        cloning_task: Task,
        use_clone_parent: bool,
        epoller: Epoller | None,
        hub: ProgramHub,
    ) -> None:
        self.ram = ram
        self.task = task
        self.cloning_task = cloning_task
        self.use_clone_parent = use_clone_parent
        self.hub = hub
        self.sigfd: AsyncSignalfd | None = None
        # Of the process that makes the clone call, if it has other memory than the parent.
        self._cloning_ram: RAM | None = None
        self._epoller = epoller
        self._sigchld_turns = Turns()
        self._sigchld_users = 0
        self._root: ChildProcessMonitor = self
        # Of the parent, if it adopts orphans.
        self.reaper: Reaper | None = None
        self._parent_left: SignalEvent | None = None
        self._signal_block: SignalBlock | None = None

    @staticmethod
    async def make(
        ram: RAM, task: Task, epoller: Epoller, *, signal_block: SignalBlock | None = None
    ) -> ChildProcessMonitor:
        """Make a monitor for children that `task` makes and reaps itself.

        Args:
            ram: memory of `task`.
            task: the parent of the children to come.
            epoller: watches a signalfd, should one be needed.
            signal_block: the owner of the block of SIGCHLD in `task`, if that is blocked already.
        """
        monitor = ChildProcessMonitor(ram, task, task, False, epoller, hub_of(task))
        monitor._signal_block = signal_block
        return monitor

    @staticmethod
    def make_own(ram: RAM, task: Task, hub: ProgramHub) -> ChildProcessMonitor:
        """Make a monitor for children that `task` makes and reaps itself, without an epoll loop as yet."""
        return ChildProcessMonitor(ram, task, task, False, None, hub)

    def for_own_children(self, ram: RAM, task: Task, epoller: Epoller) -> ChildProcessMonitor:
        """A monitor for children that `task`, a child of this one's parent, makes and reaps itself.

        Args:
            ram, epoller: of `task`.
        """
        return ChildProcessMonitor.make_own(ram, task, self.hub)

    def adopt_orphans(self, process: AsyncChildProcess) -> Reaper:
        """Reap the orphans that the parent adopts: an init or a subreaper, which makes its children itself.

        Args:
            process: the parent, as its own parent sees it.
        """
        self.reaper = Reaper(self.ram, self.task, self.hub, process._exited)
        return self.reaper

    def inherit_to_child(self, child_task: Task, ram: RAM | None = None) -> ChildProcessMonitor:
        """Make a monitor that clones from `child_task`; the new processes are children of this one's parent.

        Args:
            child_task: makes the clone call.
            ram: its memory, if that is not this one's.

        Raises:
            ValueError: `child_task` is not a child of this monitor's parent.
        """
        if child_task.parent_task is not self.task:
            raise ValueError(
                f"{child_task} is not a child of {self.task}, so CLONE.PARENT would give its children "
                "to another process"
            )
        child = ChildProcessMonitor(self.ram, self.task, child_task, True, self._epoller, self.hub)
        child._root = self._root
        child._cloning_ram = ram
        return child

    def sigchld(self) -> _Sigchld:
        """The signalfd for SIGCHLD of the parent, for the time of an `async with`."""
        return _Sigchld(self._root)

    def signals_missed(self, task: Task) -> None:
        """The signal mask of `task` was that of a program to be executed, for a moment."""
        root = self._root
        if root.task is task and root.sigfd is not None:
            root.sigfd.fire()

    def parent_left(self) -> SignalEvent:
        """The parent, a process that we drive, exits or executes a program.

        Its children may live on, but no task can wait for them any more.
        """
        root = self._root
        if root._parent_left is None:
            root._parent_left = SignalEvent()
            ring = self.hub.rings.get(self.task)
            if ring is not None:
                self.hub.when_left(ring, root._parent_left.set)
        return root._parent_left

    async def _make_sigchld(self) -> AsyncSignalfd:
        while True:
            try:
                return await self._open_sigchld()
            except ManipulatingFDTableError:
                # The parent is about to exit or to execute a program, and makes no descriptors meanwhile.
                # Calls are executed in order: this one is answered if it stays, and fails if it goes.
                await any_answer(self.task.sysif)
                await trio.lowlevel.checkpoint()

    async def _open_sigchld(self) -> AsyncSignalfd:
        epoller = self._epoller
        if epoller is None or epoller.epoll_waiter.epfd.task is not self.task:
            # The loop blocks in the parent itself; work for the parent interrupts it.
            epoller = self._epoller = await Epoller.make_root(self.ram, self.task)
        return await AsyncSignalfd.make(
            self.ram, self.task, epoller, Sigset({SIG.CHLD}), signal_block=self._signal_block
        )

    def add_child_process(
        self,
        process: ChildProcess,
        pidfd: Pidfd | None = None,
        on_exit: Callable[[], None] | None = None,
    ) -> AsyncChildProcess:
        """Watch a child of this monitor's parent.

        Args:
            process: the child.
            pidfd: of the child, in our own table; opened here by default, by a process id that must be one of
                our own pid namespace.
            on_exit: called once when it has exited, before the tasks that wait for it are woken; must not
                keep the returned object alive.

        Raises:
            ValueError: it is the child of another process; or its id is one of another pid namespace, and
                there is no pidfd.
        """
        if process.task is not self.task:
            raise ValueError(f"{process} is a child of {process.task}, not of {self.task}")
        if pidfd is None:
            if self.task.pidns is not self.hub.task.pidns:
                raise ValueError(
                    f"{process} is in another pid namespace, and its id means another process in ours: "
                    "pass its pidfd"
                )
            with naming(process.near):
                pidfd = Pidfd(run_now(self.hub.task.sysif.syscall(nr.pidfd_open, process.near, 0)))
        pidfd.reaps = self.task is self.hub.task
        child = AsyncChildProcess(process, self.ram, self)
        child.pidfd = pidfd
        reference = weakref.ref(child)
        hub, reaper = self.hub, self._root.reaper
        if reaper is not None:
            reaper.ensure_running()

        def exited() -> None:
            if on_exit is not None:
                on_exit()
            alive = reference()
            if alive is None:
                hub.exits.reap_orphan(process, pidfd)
            else:
                alive._exit_noticed()
            if reaper is not None:
                # Its own children are the parent's now.
                reaper.wake()

        hub.exits.watch(pidfd, exited)
        return child

    # Between its creation and the moment when an object owns it, a process must not get lost.
    @trio.lowlevel.enable_ki_protection
    async def clone(
        self,
        flags: CLONE,
        child_stack: tuple[Pointer[Stack[Any]], WrittenPointer[Stack[Any]]],
        ctid: Pointer[FutexNode] | None = None,
    ) -> AsyncChildProcess:
        """Make a child that starts on a stack of the caller's, and watch it.

        Raises:
            ValueError: the cloning process is in another pid namespace, and we do not drive it, so we cannot
                watch its children.
            OSError: the child could not be made or watched; no process is left.

        manpage: clone(2)
        """
        task, hub = self.cloning_task, self.hub
        if self.use_clone_parent:
            flags |= CLONE.PARENT
        ram = self._cloning_ram if self._cloning_ram is not None else self.ram
        number: Pointer[Int32] | None = None
        if task.fd_table is hub.task.fd_table:
            flags |= CLONE.PIDFD
            number = await ram.malloc(Int32)
        elif task.pidns is not hub.task.pidns:
            # Its id is one of the inner namespace: in ours it belongs to another process.
            if task not in hub.pidfds:
                raise ValueError(
                    f"{task} is in another pid namespace, and we do not drive it, so "
                    "we cannot take a pidfd from it"
                )
            flags |= CLONE.PIDFD
            number = await ram.malloc(Int32)
        process = await task.clone(flags | SIG.CHLD, child_stack, number, ctid, None)
        try:
            pidfd = None if number is None else await self._take_pidfd(int(await finish(number.read)))
            return self.add_child_process(process, pidfd)
        except BaseException:
            with trio.CancelScope(shield=True):
                await self._undo_clone(process)
            raise

    async def _take_pidfd(self, number: int) -> Pidfd:
        """Move a pidfd from the table of the cloning process into ours."""
        task, local = self.cloning_task, self.hub.task
        if task.fd_table is local.fd_table:
            return Pidfd(number)
        pidfd = Pidfd(await self.hub.take_new_descriptor(task, number))
        try:
            await task.sysif.syscall(nr.close, number)
        except SyscallError:
            pass  # gone, and its table with it
        return pidfd

    async def _undo_clone(self, process: ChildProcess) -> None:
        """End and reap a process that was not returned to any caller."""
        try:
            await process.kill(SIG.KILL)
            waited = (IdType.PID, process.near, 0, W.EXITED | W.ALL)
            await self.task.sysif.syscall(nr.waitid, *waited)
        except (OSError, SyscallError):
            return  # we cannot end it, so its memory stays allocated
        process.mark_dead(ChildState.make(CLD.KILLED, process.near.id, 0, SIG.KILL))
