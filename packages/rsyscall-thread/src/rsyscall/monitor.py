"""Children: noticing that they exit, stop or continue, and reaping them.

The hub watches a pidfd per child, which tells of exits. That needs no signal, so the program's signal mask
and its SIGCHLD disposition stay as they were. The kernel announces stops and continues by SIGCHLD only, which
we cannot use in our own process: the signal is sent to the process, so any of its OS threads may take it; the
program may ignore it, or have a handler for it; and every program that any code starts meanwhile would
inherit a mask in which it is blocked. So while a task waits for a child of ours to stop or to continue, we
poll the kernel, with pauses that grow up to `_LONGEST_PAUSE`.

Where another process is the parent, which is the init of a pid namespace, polling would interrupt its work
all the time, and its signals are ours alone. There the first wait for a stop sets up a signalfd, with SIGCHLD
blocked, and the last such wait to end takes it down again.

Invariants:

* We wait for a child by its own pid, never for "any child": that would reap children of other code, and
  children that were cloned and have not been recorded yet.
* After a child has been reaped the kernel may reuse its pid; `ChildProcess` remembers the death and refuses.
* SIGCHLD says only that something may have changed: signals coalesce, and the wait for another child may have
  consumed one. So we call `waitid` with NOHANG before every sleep, and take the event to sleep for before
  that.
* The kernel tells of a stop once. The task that hears of it tells all others that wait for the same child,
  and nothing can come in between.
"""

from __future__ import annotations

import errno
import math
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from rsyscall.async_fd import AsyncFileDescriptor, finish
from rsyscall.async_signalfd import AsyncSignalfd, SignalEvent, first_of
from rsyscall.background import run_now
from rsyscall.denied import any_answer, is_denied, wait4
from rsyscall.epoller import Epoller
from rsyscall.handle.fd import ManipulatingFDTableError
from rsyscall.handle.process import ChildProcess
from rsyscall.hub import ProgramHub, hub_of
from rsyscall.native import destructor
from rsyscall.near import SyscallError, nr
from rsyscall.near.naming import naming
from rsyscall.pidfd import Pidfd
from rsyscall.reaper import Reaper
from rsyscall.sched import CLONE
from rsyscall.signal import SIG, Siginfo, SignalBlock, Sigset
from rsyscall.struct import Int32
from rsyscall.sys.resource import Rusage
from rsyscall.sys.wait import CLD, CalledProcessError, ChildState, IdType, W
from rsyscall.turns import Turns

if TYPE_CHECKING:
    from rsyscall.handle import Pointer, Task, WrittenPointer
    from rsyscall.linux.futex import FutexNode
    from rsyscall.memory.ram import RAM
    from rsyscall.native import Ring
    from rsyscall.sched import Stack

__all__ = ["AsyncChildProcess", "AsyncSignalfd", "ChildProcessMonitor"]

_EXITED = int(W.EXITED)
_NOWAIT = int(W.NOWAIT)
_STOPS = int(W.STOPPED | W.CONTINUED)

# Between two polls for stops of a child of ours: short enough to notice a short stop, and long enough to cost
# less than a hundredth of a processor.
_SHORTEST_PAUSE = 0.001
_LONGEST_PAUSE = 0.005

# How long a child that may not be signalled has to exit by itself. It does so at once unless it is in a call.
_TIME_TO_LEAVE = 0.5


class AsyncChildProcess:
    """A child that can be waited for, by any number of tasks at once.

    As an async context manager it kills the child, if it is still alive, and reaps it. If we may not signal
    the child, but still drive it, we tell it to exit. If it does not exit, or we do not drive it, leaving the
    block raises PermissionError, unless another exception is on its way.

    Args:
        process: the handle of the child.
        ram: memory of the process that waits for it.
        monitor: of that process.

    Attributes:
        stdin, stdout, stderr: our ends of its pipes, if `Thread.run` was asked for them with PIPE.
    """

    stdin: AsyncFileDescriptor | None = None
    stdout: AsyncFileDescriptor | None = None
    stderr: AsyncFileDescriptor | None = None

    @property
    def pid(self) -> int:
        """The process id, as its parent sees it. It may belong to another process once this one has died."""
        return self.process.near.id

    def __init__(self, process: ChildProcess, ram: RAM, monitor: ChildProcessMonitor) -> None:
        self.process = process
        self.ram = ram
        self.monitor = monitor
        self.pidfd: Pidfd | None = None
        # Its ring, if it was made to execute a program at once and may not have come to that yet.
        self.executing: Ring | None = None
        self._exited = SignalEvent()
        # A task that makes calls about the child that suspend takes a turn.
        self._turns = Turns()
        # One per task that waits for stops: what one of them has found out on behalf of all.
        self._news: list[list[ChildState]] = []
        # Happens when there are news; made when a task waits for them.
        self._told: SignalEvent | None = None

    def __repr__(self) -> str:
        return f"AsyncChildProcess({self.process})"

    @destructor
    def __del__(self) -> None:
        exited = getattr(self, "_exited", None)
        if exited is not None and exited.is_set() and self.process.death_state is None:
            self.monitor.hub.exits.reap_orphan(self.process, self.pidfd)

    @property
    def _is_ours(self) -> bool:
        """Whether it is a child of our own program: then a call about it does not suspend."""
        return self.process.task is self.monitor.hub.task

    def _exit_noticed(self) -> None:
        self.executing = None
        self._exited.set()

    async def _waitid_nohang(self, options: W) -> ChildState | None:
        """The new state of the child, if it has changed; several callers take turns."""
        process = self.process
        pidfd = self.pidfd
        if pidfd is not None and self._is_ours and process.unread_siginfo is None:
            # One local call, which no other task can interrupt. In plain numbers, as in `waitpid`.
            numeric = int(options)
            try:
                state = await self.monitor.hub.exits.waitid(pidfd, numeric)
            except ChildProcessError as error:
                raise self._lost() from error
            if state is not None and state.died() and not numeric & _NOWAIT:
                process.mark_dead(state)
                self._give_up_pidfd()
            return state
        async with self._turns.next():
            if process.death_state is not None:
                return process.death_state
            if process.unread_siginfo is not None:
                # Left by a task that waited by means of the handle. Trusted only if it says something.
                state = await process.read_siginfo()
                if state is not None and state.state(options):
                    return self._noted(state)
                if state is not None:
                    self._tell(state)
            infop = await self.ram.ptr(Siginfo(0, 0, 0, 0))
            rusage = await self.ram.malloc(Rusage)
            try:
                await process.waitid(options | W.NOHANG | W.ALL, infop, rusage=rusage)
            except ChildProcessError as error:
                raise self._lost() from error
            except OSError as error:
                if not is_denied(error) or options & W.NOWAIT:
                    raise
                with process.borrow(), infop.borrow(process.task) as address:
                    sysif, pid = process.task.sysif, process.near.id
                    state = await wait4(sysif, pid, address.address, int(options | W.NOHANG | W.ALL))
                if state is not None and state.died():
                    process.mark_dead(state)
                return None if state is None else self._noted(state)
            # The kernel says it only once: take it, cancelled or not.
            used = await finish(rusage.read)
            state = await finish(process.read_siginfo)
            if state is None:
                return None
            state.__dict__["_rusage"] = used.to_bytes()
            return state if options & W.NOWAIT else self._noted(state)

    def _noted(self, state: ChildState) -> ChildState:
        if state.died():
            self._give_up_pidfd()
        return state

    def _lost(self) -> ChildProcessError:
        return ChildProcessError(
            errno.ECHILD,
            f"{self.process} is gone and its state lost: other code in this program reaped it, "
            "or SIGCHLD is ignored",
            self.process.near,
        )

    def _give_up_pidfd(self) -> None:
        pidfd, self.pidfd = self.pidfd, None
        if pidfd is not None:
            self.monitor.hub.exits.unwatch(pidfd)
            pidfd.close()

    async def waitpid(self, options: W) -> ChildState:
        """Wait until the state of the child changes in one of the given ways.

        Args:
            options: any of W.EXITED, W.STOPPED, W.CONTINUED. With W.EXITED | W.NOWAIT the child is not
                reaped: it stays a zombie, and keeps its number, until a call without W.NOWAIT.

        Returns:
            The state. That of a dead child is remembered: with EXITED every later call returns it, too.

        Raises:
            ChildProcessError: other code reaped the child.
            SyscallError: the process whose child it is has gone.
            ValueError: W.NOWAIT with other changes than exit.

        Cancellation: nothing is lost; wait again.

        manpage: waitid(2)
        """
        process = self.process
        # In plain numbers: members of a flag class are combined by Python code, before 3.11 and after.
        numeric = int(options)
        if numeric & _NOWAIT and numeric & ~_NOWAIT != _EXITED:
            raise ValueError(f"waitpid can wait without reaping for W.EXITED alone, not for {options!r}")
        if numeric & _EXITED and process.death_state is not None:
            return process.death_state
        hub = self.monitor.hub
        hub.ensure_running()
        if numeric & _STOPS:
            return await self._wait_for_stops(options)
        pidfd = self.pidfd
        if pidfd is not None and not self._exited.is_set() and self._is_ours:
            await trio.lowlevel.checkpoint_if_cancelled()
            alone = hub.exits.exits_soon_alone(pidfd, self.executing)
            if alone or pidfd.exited:
                # Before the hub hears of it, which would wake a task of the background for nothing.
                state = await self._waitid_nohang(options)
                if not alone or hub.exits.turn_is_due():
                    await trio.lowlevel.cancel_shielded_checkpoint()
                if state is not None:
                    return state
            elif await hub.exits.exits_soon(pidfd, self.executing):
                state = await self._waitid_nohang(options)
                if state is not None:
                    return state
        while True:
            if self._is_ours:
                await self._exited.wait()
            else:
                await first_of([self._exited, self.monitor.parent_left()])
            state = await self._waitid_nohang(options)
            if state is not None:
                return state

    # With a signalfd an interrupt must not come between setting it up and taking it down; it comes while we
    # sleep.
    @trio.lowlevel.enable_ki_protection
    async def _wait_for_stops(self, options: W) -> ChildState:
        if self._is_ours:
            return await self._next_news(options, None)
        async with self.monitor.sigchld() as sigfd:
            return await self._next_news(options, sigfd)

    async def _next_news(self, options: W, sigfd: AsyncSignalfd | None) -> ChildState:
        """Wait for one of these changes, or for death.

        Args:
            sigfd: announces changes; None to poll.
        """
        asked = options | W.EXITED
        pause = _SHORTEST_PAUSE if sigfd is None else math.inf
        news: list[ChildState] = []
        self._news.append(news)
        try:
            while True:
                while news:
                    state = news.pop(0)
                    if state.state(asked):
                        return state
                # Before waitid is asked: what happens while it is asked must not be missed.
                if self._told is None:
                    self._told = SignalEvent()
                events = [self._told] if sigfd is None else [self._told, sigfd.next_signal]
                exited = self._exited.is_set()
                state_now = await self._waitid_nohang(asked)
                if state_now is not None:
                    self._tell(state_now)
                elif self._exited.is_set() is exited:
                    await first_of(events if exited else [*events, self._exited], pause)
                    pause = min(2 * pause, _LONGEST_PAUSE) if sigfd is None else pause
        finally:
            self._news = [other for other in self._news if other is not news]

    def _tell(self, state: ChildState) -> None:
        """Tell all tasks that wait for stops: the kernel says it once."""
        for news in self._news:
            news.append(state)
        told, self._told = self._told, None
        if told is not None:
            told.set()

    async def exits_soon(self) -> bool:
        """Whether the child has exited, or does so in a moment: see `Exits.exits_soon`."""
        if self.process.death_state is not None or self._exited.is_set():
            return True
        pidfd = self.pidfd
        if pidfd is None or not self._is_ours:
            return False
        exits = self.monitor.hub.exits
        await trio.lowlevel.checkpoint_if_cancelled()
        return (
            pidfd.exited
            or exits.exits_soon_alone(pidfd, self.executing)
            or await exits.exits_soon(pidfd, self.executing)
        )

    async def wait_exited(self) -> None:
        """Wait until the child has exited, and leave it to be reaped: its number is its own until then.

        Raises:
            SyscallError: the process whose child it is has gone.
        """
        self.monitor.hub.ensure_running()
        if self.process.death_state is not None or self._is_ours:
            await self._exited.wait()
            return
        await first_of([self._exited, self.monitor.parent_left()])
        if not self._exited.is_set():
            await self._waitid_nohang(W.EXITED)

    async def wait(self, options: W = W.EXITED | W.STOPPED | W.CONTINUED) -> ChildState:
        """As `waitpid`, by default for every change."""
        return await self.waitpid(options)

    async def check(self) -> ChildState:
        """Wait until the child has exited, and raise unless its status is 0.

        Raises:
            CalledProcessError: it was killed, or exited with a status other than 0.

        Cancellation: sends SIGTERM to the child, if we may.
        """
        try:
            death = await self.waitpid(W.EXITED)
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                try:
                    await self.kill(SIG.TERM)
                except (ProcessLookupError, PermissionError, SyscallError):
                    pass
            raise
        if not death.clean():
            raise CalledProcessError(death, self.process.command)
        return death

    async def kill(self, sig: SIG = SIG.KILL) -> None:
        """Send a signal to the child; does nothing if it is dead already.

        Raises:
            PermissionError: we may not signal it, since its credentials or ours have changed.

        manpage: pidfd_send_signal(2)
        """
        if self.process.death_state is not None:
            return
        if self.pidfd is not None:
            # Without its parent, which may be in a call, or gone.
            try:
                await self.monitor.hub.exits.kill(self.pidfd, sig)
            except ProcessLookupError:
                pass  # dead, and reaped by other code or with its pid namespace
            except PermissionError as error:
                # Those of the dead are looked at as those of the living.
                if not self._is_ours or await self._waitid_nohang(W.EXITED) is None:
                    error.filename = self.process.near
                    raise
            return
        async with self._turns.next():
            await self._read_unread()
            if self.process.death_state is None:
                try:
                    await self.process.kill(sig)
                except ProcessLookupError:
                    pass  # its pid namespace has gone, and all in it

    async def killpg(self, sig: SIG = SIG.KILL) -> None:
        """Send a signal to the process group that the child leads.

        manpage: kill(2)
        """
        async with self._turns.next():
            await self._read_unread()
            if self.process.death_state is None:
                await self.process.killpg(sig)

    async def _read_unread(self) -> None:
        """Before the number of the child is used: read a siginfo that may say that it is dead."""
        if self.process.unread_siginfo is not None:
            state = await self.process.read_siginfo()
            if state is not None:
                self._tell(self._noted(state))

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *exc_info: object) -> None:
        if self.process.death_state is None:
            with trio.CancelScope(shield=True):
                try:
                    await self.kill()
                    await self.waitpid(W.EXITED)
                except (SyscallError, ChildProcessError):
                    # Its parent has gone, and with it the duty and the possibility to reap it.
                    with trio.move_on_after(_TIME_TO_LEAVE):
                        await self._exited.wait()
                except PermissionError:
                    if not await self._let_go() and not any(exc_info):
                        raise

    async def _let_go(self) -> bool:
        """Have the child exit by closing the way to it; returns whether it is dead now."""
        hub = self.monitor.hub
        driven = [task for task in list(hub.pidfds) if task.process is self.process and hub.is_driving(task)]
        for task in driven:
            await task.sysif.close_interface()
        if driven or self._exited.is_set():
            with trio.move_on_after(_TIME_TO_LEAVE):
                try:
                    await self.waitpid(W.EXITED)
                except (SyscallError, ChildProcessError):
                    return True  # it, or its parent, and with that the duty to reap it
        return self.process.death_state is not None


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
        """Reap what the parent adopts; it is an init or a subreaper, and its own monitor.

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
            raise ValueError(f"{child_task} is not a child of {self.task}, so CLONE.PARENT leads elsewhere")
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
                raise ValueError(f"{process} is in another pid namespace: in ours, its id is another process")
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
        """Make a child with a stack of one's own, and watch it.

        Raises:
            ValueError: we have no way to watch it: the cloning process is in another pid namespace, and we do
                not drive it.
            OSError: there is no process left.

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
                raise ValueError(f"{task} is in another pid namespace, and its descriptors are out of reach")
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
            return  # there are no means to end it, and its memory stays its own
        process.mark_dead(ChildState.make(CLD.KILLED, process.near.id, 0, SIG.KILL))
