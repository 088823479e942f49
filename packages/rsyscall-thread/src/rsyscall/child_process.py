"""A child: noticing that it exits, stops or continues, signalling it, and reaping it.

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
import sys
from typing import TYPE_CHECKING, Protocol

import trio

from rsyscall.async_fd import finish
from rsyscall.async_signalfd import SignalEvent, first_of
from rsyscall.denied import is_denied, wait4
from rsyscall.native import destructor
from rsyscall.near import SyscallError
from rsyscall.signal import SIG, Siginfo
from rsyscall.sys.wait import CalledProcessError, ChildState, Rusage, W
from rsyscall.turns import Turns

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from rsyscall.async_fd import AsyncFileDescriptor
    from rsyscall.async_signalfd import AsyncSignalfd
    from rsyscall.handle import Task
    from rsyscall.handle.process import ChildProcess
    from rsyscall.hub import ProgramHub
    from rsyscall.memory.ram import RAM
    from rsyscall.native import Ring
    from rsyscall.pidfd import Pidfd

__all__ = ["AsyncChildProcess", "Monitor", "end_process"]

_EXITED = int(W.EXITED)
_NOWAIT = int(W.NOWAIT)
_NOHANG = int(W.NOHANG)
_STOPS = int(W.STOPPED | W.CONTINUED)

# Between two polls for stops of a child of ours: short enough to notice a short stop, and long enough to cost
# less than a hundredth of a processor.
_SHORTEST_PAUSE = 0.001
_LONGEST_PAUSE = 0.005

# How long a child that may not be signalled has to exit by itself. It does so at once unless it is in a call.
_TIME_TO_LEAVE = 0.5


class Monitor(Protocol):
    """The parts of the monitor of the parent (`ChildProcessMonitor`) that a child needs."""

    @property
    def hub(self) -> ProgramHub: ...
    @property
    def task(self) -> Task: ...

    def sigchld(self) -> AbstractAsyncContextManager[AsyncSignalfd]:
        """The signalfd for SIGCHLD of the parent, for the time of an `async with`."""
        ...

    def parent_left(self) -> SignalEvent:
        """Happens when the parent exits or executes a program."""
        ...


class AsyncChildProcess:
    """A child that can be waited for, by any number of tasks at once.

    As an async context manager it kills the child, if it is still alive, and reaps it. If we may not signal
    the child, but still drive it, we tell it to exit. If it does not exit, or we do not drive it, leaving the
    block raises PermissionError, unless another exception is on its way.

    A tracer may hold a child that was killed (`PTRACE_O.TRACEEXIT`). If the tracer is this OS thread, leaving
    the block resumes the child after half a second. If another tracer does nothing for five seconds, leaving
    the block raises RuntimeError, unless another exception is on its way.

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

    def __init__(self, process: ChildProcess, ram: RAM, monitor: Monitor) -> None:
        self.process = process
        self.ram = ram
        self.monitor = monitor
        self.pidfd: Pidfd | None = None
        # Its ring, if it was prepared to execute a program and may not have done so yet.
        self.executing: Ring | None = None
        self._exited = SignalEvent()
        # Tasks whose calls about the child may suspend take turns.
        self._turns = Turns()
        # One list for each task that waits for stops: changes that another one of them was told of.
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
            # The kernel reports a change only once: read it even if we are cancelled.
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
            f"{self.process} has exited, and its status is lost: other code in this program reaped it, "
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
            ValueError: W.NOWAIT with other changes than exit; W.NOHANG.

        Cancellation: nothing is lost; wait again.

        manpage: waitid(2)
        """
        process = self.process
        # In plain numbers: members of a flag class are combined by Python code, before 3.11 and after.
        numeric = int(options)
        if numeric & _NOHANG:
            raise ValueError(
                "waitpid waits, while other tasks go on: W.NOHANG is not for it; process.death_state is "
                "None until the child has been reaped"
            )
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
            if self._exited.is_set():
                # Another process traces it, and is told first.
                await trio.sleep(_LONGEST_PAUSE)

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
        """Wait until the child has exited, and do not reap it, so that its number is not reused.

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
        """Read a siginfo that may say that the child is dead, before its number is used."""
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
                    await self._reap_killed(any(exc_info))
                except (SyscallError, ChildProcessError):
                    # Its parent has gone: we can reap it no more, and need not.
                    with trio.move_on_after(_TIME_TO_LEAVE):
                        await self._exited.wait()
                except PermissionError:
                    if not await self._let_go() and not any(exc_info):
                        raise

    async def _reap_killed(self, failing: bool) -> None:
        """Wait for the end, and reap the child; `failing`: another exception is on its way."""
        # Who traces has loaded this.
        if self._is_ours and "rsyscall.sys.ptrace" in sys.modules:
            from rsyscall.traced import wait_for_end_of_traced

            sysif = self.process.task.sysif
            await wait_for_end_of_traced(lambda: self.waitpid(W.EXITED), sysif, self.pid, failing)
        else:
            await self.waitpid(W.EXITED)

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
                    return True  # it has been reaped, or its parent has gone
        return self.process.death_state is not None


async def end_process(process: AsyncChildProcess) -> None:
    """Kill and reap a child, even if the calling task is cancelled: for one that its maker cannot return."""
    with trio.CancelScope(shield=True):
        async with process:
            pass
