"""Reaping orphans: the children that an init or a subreaper gets when their own parents exit.

The init of a pid namespace becomes the parent of every process in it whose parent exits, and a subreaper
becomes the parent of its orphaned descendants. An orphan stays a zombie until its new parent waits for it. So
if a process that we drive is an init or a subreaper, we have it reap its orphans, in the background.

The reaper must not take a child that we made for an orphan: the task that waits for that child needs its
status. The parent's `Children` knows the pids of the children that have a handle, and whether a clone is
under way whose child has no handle yet. No other process gets the pid of a zombie before it is reaped. So if
there is a zombie without a handle, and *after* that no clone is under way, it is an orphan, and we reap it by
its pid.

SIGCHLD to the new parent is the only sign of a new orphan, and of its exit. A handler or a signalfd for that
signal would disturb the process that we drive. Instead we look:

* at the children of the parent in /proc, whenever one of them has exited and so has left its own children to
  the parent; and again after pauses of up to `_LONGEST_PAUSE`, since deeper descendants may exit, too. The
  parent itself makes no call for this;
* at a pidfd for each orphan that we have found, in our own table, which becomes readable when it exits.

A kernel may lack that file of /proc, and a mount may hide it. Then the parent asks for any zombie among its
children, without reaping it. The kernel shows only the first one: if that is a child which a task has not
waited for yet, the orphans behind it are reaped later.

manpage: pid_namespaces(7), PR_SET_CHILD_SUBREAPER(2const), proc_pid_task(5)
"""

from __future__ import annotations

import logging
import math
import weakref
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from rsyscall.async_fd import finish
from rsyscall.async_signalfd import SignalEvent, first_of
from rsyscall.background import RunLoop, run_now
from rsyscall.denied import fdinfo
from rsyscall.far import Children
from rsyscall.native import destructor
from rsyscall.near import SyscallError, nr
from rsyscall.pidfd import Pidfd
from rsyscall.signal import Siginfo
from rsyscall.sys.wait import ChildState, IdType, W

if TYPE_CHECKING:
    from rsyscall.handle import Task
    from rsyscall.hub import ProgramHub
    from rsyscall.memory.ram import RAM

__all__ = ["Reaper"]

logger: logging.Logger = logging.getLogger(__name__)

# Between two looks, in seconds: doubled while there is nothing new.
_SHORTEST_PAUSE = 0.1
_LONGEST_PAUSE = 1.0

_LOOK = W.EXITED | W.NOHANG | W.ALL


class _Orphan:
    """A child without a handle.

    Attributes:
        pidfd: becomes readable when it exits.
        pid: its pid in the namespace of its parent.
        exited: whether it has exited.
        told: whether the listeners have been told that.
    """

    __slots__ = ("__weakref__", "exited", "pid", "pidfd", "told")

    def __init__(self, pidfd: Pidfd, pid: int) -> None:
        self.pidfd = pidfd
        self.pid = pid
        self.exited = False
        self.told = False


class Reaper:
    """Reaps the orphans of one process that we drive. See `ChildThread.reaper`.

    Args:
        ram: memory of the process.
        task: the process, which must have no children yet.
        hub: watches the exits.
        gone: happens when the process has exited.

    Attributes:
        reaped: how many orphans have been reaped.
    """

    def __init__(self, ram: RAM, task: Task, hub: ProgramHub, gone: SignalEvent) -> None:
        self.reaped: int = 0
        self._ram = ram
        self._task = task
        self._hub = hub
        self._gone = gone
        self._woken = SignalEvent()
        self._stopped = False
        # The keys of both are pids in the namespace of our /proc. No other process gets the pid of a child
        # before the child has been reaped.
        self._orphans: dict[int, _Orphan] = {}
        self._known: dict[int, int] = {}
        # If /proc does not help: the pid of a zombie of which the listeners have been told.
        self._told = 0
        self._listeners: list[trio.MemorySendChannel[ChildState]] = []
        self._children = task.children = task.children or Children()
        self._loop = RunLoop(_looking(weakref.ref(self)), f"rsyscall: orphans of {task}")

    def __repr__(self) -> str:
        return f"Reaper({self._task})"

    @destructor
    def __del__(self) -> None:
        loop = getattr(self, "_loop", None)
        if loop is not None:
            loop.stop()
            for listener in self._listeners:
                listener.close()

    def ends(self) -> trio.MemoryReceiveChannel[ChildState]:
        """Get the states of all orphans that exit from now on. Reaping takes the status away from other code.

        Returns:
            A channel of the states, with pids of the namespace of the parent: `with reaper.ends() as ends:
            async for state in ends: ...`. It ends when the parent exits or executes a program: then we no
            longer reap its orphans. States that are not read are kept in memory.
        """
        send, receive = trio.open_memory_channel[ChildState](math.inf)
        if self._stopped:
            send.close()
        else:
            self._listeners.append(send)
            self.ensure_running()
        return receive

    def ensure_running(self) -> None:
        """Look for orphans in the current run of trio."""
        if not self._stopped:
            self._loop.ensure_running()

    def wake(self) -> None:
        """Look now, because a child has exited."""
        self._woken.set()

    def stop(self) -> None:
        """Stop, because the process has exited or executed a program: its orphans are not ours to reap."""
        self._stopped = True
        while self._orphans:
            _, orphan = self._orphans.popitem()
            self._unwatch(orphan)
        while self._listeners:
            self._listeners.pop().close()
        self._woken.set()

    # ---- looking

    async def _look(self) -> bool:
        """Reap the orphans that have exited; returns whether there was anything new."""
        before = self.reaped, len(self._orphans)
        if self._find():
            for number, orphan in list(self._orphans.items()):
                if orphan.exited and await self._reap(orphan):
                    self._unwatch(orphan)
                    self._orphans.pop(number, None)
        else:
            while await self._reap_any():
                pass
        # An orphan that exited and could not be reaped yet waits for the answer to a clone.
        return before != (self.reaped, len(self._orphans)) or any(
            orphan.exited for orphan in self._orphans.values()
        )

    def _find(self) -> bool:
        """Watch new orphans; returns False if /proc does not list the children of the process."""
        pidfd = self._hub.pidfds.get(self._task)
        init = 0 if pidfd is None else pidfd.pid()
        if init <= 0:
            return False
        try:
            with open(f"/proc/{init}/task/{init}/children", "rb") as file:
                numbers = {int(number) for number in file.read().split()}
            depth = len(fdinfo(pidfd.number, b"NSpid:")) if pidfd is not None else 0
        except (OSError, ValueError):
            return False
        self._known = {number: pid for number, pid in self._known.items() if number in numbers}
        for number in numbers:
            if number in self._orphans:
                continue
            if number in self._known:
                if self._children.handle(self._known[number]) is not None:
                    continue
                del self._known[number]
            if not self._watch(number, depth):
                break
        return True

    def _watch(self, number: int, depth: int) -> bool:
        """Watch the child that has this number in our /proc, unless it has a handle.

        Args:
            number: its pid in our /proc.
            depth: how many pids the parent has: one in each pid namespace that it is in, down from ours.

        Returns:
            False if there is no descriptor left.
        """
        pidfd = Pidfd()
        try:
            pidfd = Pidfd(run_now(self._hub.task.sysif.syscall(nr.pidfd_open, number, 0)))
        except ProcessLookupError:
            return True  # reaped since
        except OSError:
            return False
        # One in each pid namespace, from that of our /proc down.
        ids = fdinfo(pidfd.number, b"NSpid:")
        if len(ids) < depth:
            pidfd.close()  # another process has the pid by now
            return True
        pid = ids[depth - 1]
        if self._children.handle(pid) is not None:
            self._known[number] = pid
            pidfd.close()
            return True
        orphan = self._orphans[number] = _Orphan(pidfd, pid)
        exits, woken = self._hub.exits, weakref.ref(self)
        exits.helpers += 1

        def exited() -> None:
            orphan.exited = True
            exits.helpers -= 1
            alive = woken()
            if alive is None:
                pidfd.close()
            else:
                alive.wake()

        exits.watch(pidfd, exited)
        return True

    def _unwatch(self, orphan: _Orphan) -> None:
        if orphan.pidfd.number >= 0:
            self._hub.exits.unwatch(orphan.pidfd)
            orphan.pidfd.close()

    # ---- reaping

    async def _reap(self, orphan: _Orphan) -> bool:
        """Tell the listeners the state of an orphan and reap it; returns whether we are done with it."""
        if self._children.handle(orphan.pid) is not None:
            return True
        if not self._children.settled:
            return False
        try:
            if not orphan.told:
                state = await self._zombie(IdType.PID, orphan.pid)
                if state is None:
                    return False  # a process that traces it has to wait for it first
                orphan.told = True
                self._tell(state)
            await self._take(orphan.pid)
        except ChildProcessError:
            pass  # other code has reaped it
        return True

    async def _reap_any(self) -> bool:
        """Reap the first zombie of the process, if that is an orphan; returns whether it was."""
        try:
            state = await self._zombie(IdType.ALL, 0)
            if state is None or self._children.handle(state.pid) is not None or not self._children.settled:
                return False
            if self._told != state.pid:
                self._told = state.pid
                self._tell(state)
            await self._take(state.pid)
            self._told = 0
        except ChildProcessError:
            return False
        return True

    async def _zombie(self, kind: IdType, pid: int) -> ChildState | None:
        """The state of an exited child, which stays a zombie."""
        infop = await self._ram.ptr(Siginfo(0, 0, 0, 0))
        with infop.borrow(self._task) as address:
            await self._task.sysif.syscall(nr.waitid, kind, pid, address, _LOOK | W.NOWAIT, 0)
        info = await finish(infop.read)
        return ChildState.make_from_siginfo(info) if info.pid else None

    async def _take(self, pid: int) -> None:
        await self._task.sysif.syscall(nr.waitid, IdType.PID, pid, 0, _LOOK, 0)
        self.reaped += 1

    def _tell(self, state: ChildState) -> None:
        for listener in list(self._listeners):
            try:
                listener.send_nowait(state)
            except trio.BrokenResourceError:
                self._listeners.remove(listener)
                listener.close()


def _looking(reference: weakref.ref[Reaper]) -> Callable[[], Awaitable[None]]:
    """The loop. It refers to the reaper weakly, so that it keeps no process alive while it sleeps."""

    async def loop() -> None:
        pause = _SHORTEST_PAUSE
        while True:
            reaper = reference()
            if reaper is None:
                return
            if reaper._woken.is_set():
                pause = _SHORTEST_PAUSE
            woken = reaper._woken = SignalEvent()
            gone = reaper._gone
            try:
                if not gone.is_set() and not reaper._stopped and await reaper._look():
                    pause = _SHORTEST_PAUSE
            except SyscallError:
                reaper.stop()  # the process is gone; its children have exited, or have another parent
            except OSError as error:
                logger.warning("orphans of %s are not reaped any more: %s", reaper._task, error)
                reaper.stop()
            if gone.is_set():
                reaper.stop()
            if reaper._stopped:
                return
            del reaper
            await first_of([woken, gone], pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    return loop
