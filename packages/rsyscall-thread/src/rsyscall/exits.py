"""Exits of the processes that we drive and of other children: the hub's epoll watches a pidfd of each.

What a new child is about to do, to execute its program and perhaps to exit, can be waited for in three ways:

* *Spin.* It is the cheapest way while another processor runs the child at once.
* *Block* in the kernel. Our processor then falls idle, and takes the child over if the other one has not
  begun to run it. That pays in virtual machines, where it may take a millisecond until an idle processor
  runs again, and with one processor. The event loop stands still meanwhile, so we block for a moment only,
  and only if this program has no other task.
* *Sleep* in the event loop. That is right for all longer waits. Its Python code takes a tenth of a
  millisecond.

Which way pays is found by trying. After a spin that failed we block, and the next waits begin with that:
twice as many after each further failure. After a block that failed we sleep, and the next waits begin with
that, likewise. After one success the better way is tried every time again.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from rsyscall.background import RunLoop
from rsyscall.denied import is_denied, wait4
from rsyscall.native import read_memory
from rsyscall.native.fast import block_for_exit, forget_watched, spin_for_exit
from rsyscall.near import nr
from rsyscall.pidfd import Pidfd
from rsyscall.signal import SIG, Siginfo
from rsyscall.sys.wait import ChildState, IdType, Rusage, W

if TYPE_CHECKING:
    from rsyscall.handle import Task
    from rsyscall.handle.process import ChildProcess
    from rsyscall.native import Ring

__all__ = ["EXEC_SPIN_US", "Exits"]

EXEC_SPIN_US = 250.0
"""How long to spin for the outcome of an exec before sleeping: a bit more than the kernel takes for one."""

# How long the event loop may stand still, in microseconds: without any other task, and with others.
_LONGEST_BLOCK_US = 2000.0
_LONGEST_BLOCK_BESIDE_OTHERS_US = 250.0

# Waits that begin with a dearer way, at most.
_MOST_FAILURES = 7

# How long a destructor waits for the exit of an idle process, in seconds.
_PATIENCE = 0.05

# How long waits that do not sleep may go on without a turn of the event loop, in seconds.
_LONGEST_TURN = 0.005

_P_PIDFD = int(IdType.PIDFD)
_WNOHANG_WALL = int(W.NOHANG | W.ALL)
_SIGINFO_SIZE = Siginfo.sizeof()
_unpack_siginfo = Siginfo.layout().codec.unpack_from
_RUSAGE_SIZE = Rusage.sizeof()


def _is_only_task() -> bool:
    """Whether the current task is the main one, and the only one but for system tasks."""
    task = trio.lowlevel.current_task()
    nursery = task.parent_nursery
    return (
        nursery is not None
        and not task.child_nurseries
        and nursery.parent_task is trio.lowlevel.current_root_task()
        and len(nursery.child_tasks) == 1
    )


class Exits:
    """Watches for exits, and reaps.

    Args:
        task: the local task.
        epoll: where the pidfds are registered.
        loop: calls `tell` for what the epoll reports.
        siginfo_address: memory for one `siginfo_t` and the `struct rusage` behind it.
        spin_us: how long to spin for an exit before sleeping, in microseconds.

    Attributes:
        spin_us: as given; may be changed.
        helpers: how many of the processes that are watched are the library's own.
        numbers: the pidfd by which the exit of each process that we drive is watched; by its ring, or by the
            pidfd if it has memory of its own.
    """

    def __init__(
        self, task: Task, epoll: select.epoll, loop: RunLoop, siginfo_address: int, spin_us: float
    ) -> None:
        self.task = task
        self.pid: int = os.getpid()
        self.spin_us = spin_us
        self.helpers = 0
        self.numbers: dict[Ring | Pidfd, int] = {}
        self._epoll = epoll
        self._epoll_number = epoll.fileno()
        self._loop = loop
        self._siginfo_address = siginfo_address
        self._watched: dict[int, tuple[Pidfd, Callable[[], None]]] = {}
        # How many of the next waits begin with a block, and with sleep; and failures in a row so far.
        self._blocks = self._spins_failed = 0
        self._sleeps = self._blocks_failed = 0
        self._next_turn = 0.0
        # Told to exit by a destructor.
        self._dismissed: set[Ring | Pidfd] = set()

    def watch(self, pidfd: Pidfd, callback: Callable[[], None]) -> None:
        """Call `callback` once, when the process of `pidfd` has exited."""
        number = pidfd.number
        self._epoll.register(number, select.EPOLLIN)
        self._watched[number] = (pidfd, callback)
        self._loop.ensure_running()

    def __contains__(self, number: int) -> bool:
        return number in self._watched

    def is_watched(self, pidfd: Pidfd) -> bool:
        """Whether an exit is still to be told."""
        return pidfd.number in self._watched

    def unwatch(self, pidfd: Pidfd) -> None:
        """Forget `watch`, before the descriptor is closed. The callback is called now, if it was not."""
        self.tell(pidfd.number)

    def tell(self, number: int) -> None:
        """Tell of the exit of the process that is watched by this number, if there is one."""
        if number in self._watched:
            watched = self._watched[number]
            watched[1]()
            self._forget(number, watched)

    def forget(self, pidfd: Pidfd) -> None:
        """Do not watch this process any more, and tell nothing."""
        watched = self._watched.get(pidfd.number)
        if watched is not None:
            self._forget(pidfd.number, watched)

    def _forget(self, number: int, watched: tuple[Pidfd, Callable[[], None]]) -> None:
        # The callback may have closed the descriptor, and its number may watch another process now.
        if number in self._watched and self._watched[number] is watched:
            forget_watched(self._epoll_number, number, self._watched)

    async def waitid(self, pidfd: Pidfd, options: int) -> ChildState | None:
        """The new state of a child of our own, if it has changed; never waits.

        Where waitid is denied, this calls wait4, which does not tell the user id of the child.

        manpage: waitid(2), wait4(2)
        """
        address = self._siginfo_address
        options |= _WNOHANG_WALL
        try:
            await self.task.sysif.syscall(
                nr.waitid, _P_PIDFD, pidfd.number, address, options, address + _SIGINFO_SIZE
            )
        except OSError as error:
            pid = pidfd.pid() if is_denied(error) and not options & W.NOWAIT else 0
            if not pid:
                raise
            return await wait4(self.task.sysif, pid, address, options)
        # Between the call and this nothing else can run: a local call does not suspend.
        reported = read_memory(address, _SIGINFO_SIZE + _RUSAGE_SIZE)
        # The members of Siginfo, without the object.
        code, pid, uid, status = _unpack_siginfo(reported)
        if not pid:
            return None
        state = ChildState.make(code, pid, uid, status)
        state.__dict__["_rusage"] = reported[_SIGINFO_SIZE:]
        return state

    async def kill(self, pidfd: Pidfd, sig: SIG) -> None:
        """Send a signal to a child that only we reap; by number, where pidfd_send_signal is denied.

        manpage: pidfd_send_signal(2), kill(2)
        """
        syscall = self.task.sysif.syscall
        try:
            await syscall(nr.pidfd_send_signal, pidfd.number, sig, 0, 0)
        except OSError as error:
            pid = pidfd.pid() if is_denied(error) else 0
            if not pid:
                raise
            await syscall(nr.kill, pid, sig)

    def is_alone(self) -> bool:
        """Whether at most one child is watched: with several, to make the next one is better than to wait."""
        return len(self._watched) <= 1 + self.helpers

    def _may_block(self) -> bool:
        return self.is_alone() and _is_only_task()

    def leaves_soon(self, ring: Ring) -> bool:
        """Wait a moment until the process of `ring` executes its program.

        Returns:
            Whether it has, or has failed in one of the calls that it was given.
        """
        if (self._blocks or not self.spin_us) and self._may_block():
            return ring.block(_LONGEST_BLOCK_US)
        if ring.wait(EXEC_SPIN_US):
            self._spins_failed = 0
            return True
        self._spin_failed()
        return self.block_until_left(ring)

    def block_until_left(self, ring: Ring) -> bool:
        """As `leaves_soon`, without a spin; False at once if that would hold up other tasks."""
        return self._may_block() and ring.block(_LONGEST_BLOCK_US)

    def exits_soon_alone(self, pidfd: Pidfd, executing: Ring | None) -> bool:
        """As `exits_soon`, if the program has no other task that it would hold up: then without a turn of the
        event loop before it, in which the loop would hear of the exit and wake the task that tells of exits.
        """
        if self._sleeps or not self._may_block():
            return False
        if self._wait_now(pidfd, executing, _LONGEST_BLOCK_US):
            return True
        self._sleeps += 1  # for the `exits_soon` that comes next
        return False

    def _wait_now(self, pidfd: Pidfd, executing: Ring | None, block_us: float) -> bool:
        if self._blocks:
            self._blocks -= 1
        elif self.spin_us:
            # The exec takes most of the time of a short program.
            if (executing is None or executing.left or executing.wait(EXEC_SPIN_US)) and spin_for_exit(
                pidfd.number, self.spin_us
            ):
                self._spins_failed = self._blocks_failed = 0
                return True
            self._spin_failed()
        if block_for_exit(pidfd.number, block_us):
            self._blocks_failed = 0
            return True
        self._blocks_failed = min(self._blocks_failed + 1, _MOST_FAILURES)
        self._sleeps = (1 << self._blocks_failed) - 1
        return False

    def _spin_failed(self) -> None:
        self._spins_failed = min(self._spins_failed + 1, _MOST_FAILURES)
        self._blocks = (1 << self._spins_failed) - 1

    def turn_is_due(self) -> bool:
        """Whether a wait that was over without sleeping should let the event loop have a turn all the same.

        For the only task, which holds up no other. A turn costs as much as the rest of the wait, and is
        needed only now and then: deadlines pass there, and tasks of the background go on.
        """
        now = time.monotonic()
        if now < self._next_turn:
            return False
        self._next_turn = now + _LONGEST_TURN
        return True

    async def exits_soon(self, pidfd: Pidfd, executing: Ring | None = None) -> bool:
        """Wait a moment for the exit of the process: cheaper than to sleep and be woken, if it exits.

        Only when this program has nothing else to do, and less and less often while it does not pay.

        Returns:
            Whether it has exited; it may have been reaped, too.

        Args:
            pidfd: of the process.
            executing: its ring, if it may still be on its way to executing a program.

        Cancellation: before it waits.
        """
        if self._sleeps:
            self._sleeps -= 1
            return False
        if not self.is_alone():
            return False
        # All others first, and what they are about to do may be to make more children. It takes no time: this
        # child is busy, too. Twice, because the first time we may be woken before others of the same turn.
        for _ in range(2):
            await trio.lowlevel.checkpoint()
            if pidfd.number not in self._watched:
                return True
            if pidfd.exited:
                self._spins_failed = 0
                return True
        if not self.is_alone() or trio.lowlevel.current_statistics().tasks_runnable:
            return False
        return self._wait_now(pidfd, executing, _LONGEST_BLOCK_BESIDE_OTHERS_US)

    def reap_orphan(self, process: ChildProcess, pidfd: Pidfd | None) -> None:
        """Reap an exited child that no task can wait for any more; may be called from a destructor.

        Only our own children: those of an init are reaped with it.
        """
        if pidfd is None or pidfd.number < 0:
            return
        if process.task is self.task and os.getpid() == self.pid:
            pidfd.reap()
        self.forget(pidfd)
        pidfd.close()

    def dismissed(self, ring: Ring | Pidfd) -> None:
        """The process of `ring` has been told to exit, and no task can reach it any more; for destructors."""
        if ring in self.numbers:
            self._dismissed.add(ring)
        if not self._loop.is_running:
            self.settle()

    def settle(self) -> None:
        """Reap dismissed processes when no run of trio is there to hear of their exit, or this is the last.

        A process in a call exits when the call returns; it is left to the next run.
        """
        deadline = time.monotonic() + _PATIENCE
        while (rest := deadline - time.monotonic()) > 0:
            numbers = [self.numbers[ring] for ring in self._dismissed]
            if not numbers:
                break
            poller = select.poll()
            for number in numbers:
                poller.register(number, select.POLLIN)
            for number, _ in poller.poll(rest * 1000):
                self.tell(number)
        self._dismissed.clear()

    def exited(self, ring: Ring | Pidfd) -> None:
        """The process of `ring` has exited, and all callbacks have been or are being called."""
        if ring in self._dismissed:
            self._dismissed.discard(ring)
        if ring in self.numbers:
            del self.numbers[ring]
