"""What a program needs once to drive processes that share its memory.

`ProgramHub` watches, with one epoll instance and one background task for any number of processes:

* the pipe by which servers announce answers that a caller waits for;
* a pidfd per process, for its exit;
* futex words, through the monitor process, for processes that leave our memory by exec.

It also owns the pool of rings and stacks (`rsyscall.native.Hub`).
"""

from __future__ import annotations

import errno
import os
import select
import signal
import struct
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import trio

from rsyscall import far
from rsyscall.background import RunLoop, program_has_ended, run_now
from rsyscall.denied import is_denied, pid_behind, reap, reap_by_pidfd, send_signal, wait4
from rsyscall.dumpable import DumpableGuard
from rsyscall.far import AddressSpace
from rsyscall.native import Hub, Ring, read_memory, symbols
from rsyscall.native._fast import OwnedPidfd, forget_watched, spin_for_exit
from rsyscall.near import Syscall, SyscallError, SyscallHangup, SyscallSendError, nr
from rsyscall.near import types as near
from rsyscall.sched import CLONE
from rsyscall.signal import SIG, HowSIG, Siginfo, Sigset
from rsyscall.sys.mman import MAP, PROT
from rsyscall.sys.wait import ChildState, IdType, W

if TYPE_CHECKING:
    from typing import Protocol

    from rsyscall.handle import FileDescriptor, Task
    from rsyscall.handle.process import ChildProcess

    class RingClient(Protocol):
        """Who takes the answers of one ring."""

        def deliver(self) -> None: ...

    class Offer(Protocol):
        """A copy of a descriptor that a process is to send us; see `rsyscall.network.connection.Offer`."""

        call: Syscall

        def take(self) -> int: ...

        def forget(self) -> None: ...

    class Sender(Protocol):
        """Has a process send us copies of descriptors."""

        def offer(self, number: int) -> Offer | None: ...


__all__ = ["ProgramHub", "clone_block", "hub_of", "run_now", "spin_budgets", "transport_name"]

_P_PIDFD = int(IdType.PIDFD)
_WNOHANG_WALL = int(W.NOHANG | W.ALL)
_SIGINFO_SIZE = Siginfo.sizeof()

SPIN_US = 100.0
"""Default spin budget of either side, in microseconds: what waking a sleeping process costs."""

EXEC_SPIN_US = 150.0
"""How long to look for the outcome of an exec before sleeping: what the kernel takes for one, and some."""


# How long a destructor waits for the exit of an idle process, in seconds.
_PATIENCE = 0.05


def spin_budgets() -> tuple[float, float]:
    """How long client and server spin before they sleep, in microseconds.

    From the environment variable RSYSCALL_SPIN_US, one number or two separated by a comma (client, server).
    By default zero where only one processor is available: what we would wait for could not happen meanwhile.

    Raises:
        ValueError: the variable is not understood.
    """
    setting = os.environ.get("RSYSCALL_SPIN_US")
    if setting is None:
        try:
            processors = len(os.sched_getaffinity(0))
        except OSError:  # denied
            processors = os.cpu_count() or 1
        client = server = SPIN_US if processors > 1 else 0.0
        return client, server
    try:
        numbers = [float(number) for number in setting.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or not all(0 <= number < 1e6 for number in numbers):
        raise ValueError(
            f"RSYSCALL_SPIN_US is {setting!r}; expected one or two numbers of microseconds below 1e6"
        )
    return numbers[0], numbers[-1]


def transport_name() -> str:
    """How processes that share our memory are driven: "ring", or "stream" if RSYSCALL_TRANSPORT says so.

    Raises:
        ValueError: the variable is not understood.
    """
    name = os.environ.get("RSYSCALL_TRANSPORT", "ring")
    if name not in ("ring", "stream"):
        raise ValueError(f"RSYSCALL_TRANSPORT is {name!r}; expected 'ring' or 'stream'")
    return name


_hubs: weakref.WeakKeyDictionary[AddressSpace, ProgramHub] = weakref.WeakKeyDictionary()


def hub_of(task: Task) -> ProgramHub:
    """The hub of the program whose memory `task` shares.

    Raises:
        ValueError: `task` has memory of its own.
    """
    try:
        return _hubs[task.address_space]
    except KeyError:
        raise ValueError(f"{task} does not share the memory of this program") from None


class Pidfd(OwnedPidfd):
    """A pidfd in our own table. It is not a handle: nothing but the hub and what watches children uses it."""

    __slots__ = ()

    def kill(self) -> bool:
        """Send SIGKILL; returns whether that was possible. manpage: pidfd_send_signal(2)."""
        try:
            send_signal(self.number, signal.SIGKILL)
        except OSError:
            return False  # dead already, or a process that we may not kill
        return True

    def reap(self) -> None:
        """Reap the child if it has exited; manpage: waitid(2)."""
        if self.number >= 0:
            try:
                reap_by_pidfd(self.number)
            except ChildProcessError:
                pass  # by somebody else; or we are a copy of the program

    def pid(self) -> int:
        """The process id in the namespace of our /proc; 0 if there is no telling."""
        return max(pid_behind(self.number), 0)


class ProgramHub:
    """See the module; made once per program by the local thread.

    Args:
        task: the local task; the hub's descriptors are in its table.
    """

    def __init__(self, task: Task) -> None:
        client, server = spin_budgets()
        self.task = task
        self.pid = os.getpid()
        news, completion = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._news: FileDescriptor = task.make_fd_handle(near.FileDescriptor(news))
        self.completion: FileDescriptor = task.make_fd_handle(near.FileDescriptor(completion))
        self.native = Hub(completion, client, server)
        self.native.configure_monitor(self.pid)
        # For signal masks and actions that are all zero, and for what a waitid of ours reports.
        self._constants = run_now(task.mmap(4096, PROT.READ | PROT.WRITE, MAP.PRIVATE))
        self.zeros_address: int = self._constants.near.address
        self._siginfo_address = self.zeros_address + 256
        # What a program expects: nothing blocked, and the default effect of signals that Python ignores.
        size = Sigset.sizeof()
        self.default_signals = [
            Syscall(nr.rt_sigaction, SIG.PIPE, self.zeros_address, 0, size),
            Syscall(nr.rt_sigaction, SIG.XFSZ, self.zeros_address, 0, size),
            Syscall(nr.rt_sigprocmask, HowSIG.SETMASK, self.zeros_address, 0, size),
        ]
        self._epoll = select.epoll()
        self._epoll_number = self._epoll.fileno()
        self._epoll.register(news, select.EPOLLIN)
        self._exits: dict[int, tuple[Pidfd, Callable[[], None]]] = {}
        self._client_spin_us = client
        self._exit_spins_to_skip = self._exit_spins_failed = 0
        self._leaving: dict[Ring, tuple[int, Callable[[], None]]] = {}
        self._connections: dict[Ring, RingClient] = {}
        self._when_left: dict[Ring, list[Callable[[], None]]] = {}
        # By the ring of the init that they were children of.
        self._orphans: dict[Ring, list[Ring]] = {}
        self._mute: set[Ring] = set()
        # The pidfd by which the exit of each process that we drive is watched.
        self.exit_numbers: dict[Ring, int] = {}
        # Told to exit by a destructor.
        self._dismissed: set[Ring] = set()
        task.infrastructure_fds = (self.completion,)
        # For each task the numbers of our pipe and of the monitor's pidfd, which it has as infrastructure.
        self._standing: weakref.WeakKeyDictionary[Task, tuple[int, int]] = weakref.WeakKeyDictionary()
        self._standing[task] = completion, -1
        self._monitor_fd: FileDescriptor | None = None
        # A pidfd in our own table for every process that we drive.
        self.pidfds: weakref.WeakKeyDictionary[Task, Pidfd] = weakref.WeakKeyDictionary()
        self.rings: weakref.WeakKeyDictionary[Task, Ring] = weakref.WeakKeyDictionary()
        self.senders: weakref.WeakKeyDictionary[Task, weakref.ref[Sender]] = weakref.WeakKeyDictionary()
        _hubs[task.address_space] = self
        self.dumpable = DumpableGuard(task, self.pid)
        self._monitor: Ring | None = None
        self._loop = RunLoop(self._run, "rsyscall hub")
        self._poller = RunLoop(self._poll, "rsyscall hub: in place of the monitor")

    def standing_fds(self, task: Task) -> tuple[FileDescriptor | None, FileDescriptor | None]:
        """What a process has of our pipe and of the monitor's pidfd in its table."""
        if task is self.task:
            ours, theirs = self.completion, self._monitor_fd
            return ours if ours.valid else None, theirs if theirs is not None and theirs.valid else None
        completion, monitor_fd = self._standing.get(task, (-1, -1))
        found: dict[int, FileDescriptor] = {}
        for fd in task.infrastructure_fds:
            if fd.valid:
                found.setdefault(fd.near.number, fd)
        return found.get(completion), found.get(monitor_fd)

    def pass_on(self, task: Task, child: Task) -> None:
        """`child` has been cloned from `task`, and has what that has."""
        self._standing[child] = self._standing.get(task, (-1, -1))
        kept = self.standing_fds(task)
        child.infrastructure_fds = tuple(child.inherit_fd(fd) for fd in kept if fd is not None)

    def set_spin(self, client_us: float, server_us: float) -> None:
        """Change how long this program and the processes that it drives spin before they sleep.

        Args:
            client_us: microseconds; 0 to sleep at once.
            server_us: likewise, for processes that wait for work; it takes effect with their next call.
        """
        self.native.set_spin(client_us, server_us)
        self._client_spin_us = client_us

    def ensure_running(self) -> None:
        """See that events are dispatched in the current trio run.

        Raises:
            WrongThreadError: that is not a run of the OS thread which we belong to.
            ForkedProcessError: this is a copy of the program. Its loop would take events from the original.
        """
        self.native.check_owner()
        self._loop.ensure_running()

    def check_owner(self) -> None:
        """Raise unless this is the OS thread, of the very program, that drives these processes.

        Raises:
            WrongThreadError, ForkedProcessError
        """
        self.native.check_owner()

    # ---- rings ----

    def make_ring(self) -> Ring:
        """Return a ring and a stack for a process to be made.

        Raises:
            WrongThreadError, ForkedProcessError: as `ensure_running`.
        """
        self.check_owner()
        self.ensure_monitor()
        return self.native.ring()

    def waiting(self, ring: Ring, connection: RingClient) -> None:
        """Deliver answers that arrive on this ring to `connection`, until `not_waiting`."""
        self._connections[ring] = connection
        self.ensure_running()
        if ring.mute:
            # A filter denies it to wake us: look by ourselves.
            self._mute.add(ring)
            self._poller.ensure_running()

    def not_waiting(self, ring: Ring) -> None:
        """Nothing is outstanding on this ring any more."""
        self._connections.pop(ring, None)
        self._mute.discard(ring)

    # ---- descriptors ----

    async def take_descriptor(self, task: Task, number: int) -> int:
        """Return a copy, in our own table, of a descriptor of a process that shares our memory.

        While our memory is not dumpable, an ordinary user may not take it: the process has to send it.

        Args:
            task: of the process.
            number: of the descriptor, there.

        Raises:
            OSError: EPERM: we may not take it, and the process has no connection any more; EMFILE.
            SyscallError: the process is gone.

        manpage: pidfd_getfd(2), unix(7)
        """
        taken = self.take_or_be_offered(task, number)
        if isinstance(taken, int):
            return taken
        try:
            await task.sysif.syscall(*taken.call)
        except BaseException:
            taken.forget()
            raise
        return taken.take()

    def take_or_be_offered(self, task: Task, number: int) -> int | Offer:
        """As `take_descriptor`, but what the process has to do for it is left to the caller."""
        pidfd = self.pidfds[task].number
        try:
            return run_now(self.task.sysif.syscall(nr.pidfd_getfd, pidfd, number, 0))
        except OSError as error:
            if not is_denied(error):
                raise
            reference = self.senders.get(task)
            sender = reference() if reference is not None else None
            offer = sender.offer(number) if sender is not None else None
            if offer is None:
                raise
            return offer

    async def take_new_descriptor(self, task: Task, number: int) -> int:
        """As `take_descriptor`, of what a call of that process has just opened.

        Raises:
            SyscallHangup: the process has gone since.
        """
        try:
            ours = await self.take_descriptor(task, number)
        except OSError as error:
            if error.errno in (errno.ESRCH, errno.EBADF):
                raise _hangup(task) from error
            raise
        ring = self.rings.get(task)
        if ring is not None and ring.left:
            # It may have executed a program, and the number be that of another file by now.
            os.close(ours)
            raise _hangup(task)
        return ours

    # ---- exits ----

    def watch_exit(self, pidfd: Pidfd, callback: Callable[[], None]) -> None:
        """Call `callback` once, when the process of `pidfd` has exited."""
        number = pidfd.number
        self._epoll.register(number, select.EPOLLIN)
        self._exits[number] = (pidfd, callback)
        self._loop.ensure_running()

    def unwatch_exit(self, pidfd: Pidfd) -> None:
        """Forget `watch_exit`, before the descriptor is closed. The callback is called now, if it was not."""
        watched = self._exits.get(pidfd.number)
        if watched is not None:
            watched[1]()
            self._forget_exit(pidfd.number, watched)

    def _forget_exit(self, number: int, watched: tuple[Pidfd, Callable[[], None]]) -> None:
        # What was told may have closed the descriptor, and another process may be watched by its number now.
        if self._exits.get(number) is watched:
            forget_watched(self._epoll_number, number, self._exits)

    async def waitid(self, pidfd: Pidfd, options: int) -> ChildState | None:
        """What has happened to a child of our own, if anything; never waits.

        Where waitid is denied, wait4 is asked, which does not tell the user id of the child.

        manpage: waitid(2), wait4(2)
        """
        address = self._siginfo_address
        options |= _WNOHANG_WALL
        try:
            await self.task.sysif.syscall(nr.waitid, _P_PIDFD, pidfd.number, address, options, 0)
        except OSError as error:
            pid = pidfd.pid() if is_denied(error) else 0
            if not pid:
                raise
            return await wait4(self.task.sysif, pid, address, options)
        # Between the call and this nothing else can run: a local call does not suspend.
        siginfo = Siginfo.from_bytes(read_memory(address, _SIGINFO_SIZE))
        return ChildState.make_from_siginfo(siginfo) if siginfo.pid else None

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

    def _may_spin(self) -> bool:
        # With several children at once there is something better to do: to make the next one.
        return bool(self._client_spin_us) and len(self._exits) <= 1 + (self._monitor is not None)

    async def spin_for_exit(self, pidfd: Pidfd, executing: Ring | None = None) -> bool:
        """Look for a moment whether the process exits: cheaper than to sleep and be woken, if it does.

        Only when this program has nothing else to do, and less and less often while it is in vain.

        Returns:
            Whether it has exited; it may have been reaped, too.

        Args:
            pidfd: of the process.
            executing: its ring, if it may still be on its way to executing a program. That takes most of the
                time of a short program, and is looked for first.

        Cancellation: before it looks.
        """
        if self._exit_spins_to_skip:
            self._exit_spins_to_skip -= 1
            return False
        if not self._may_spin():
            return False
        # All others first, and what they are about to do may be to make more children. It takes no time: this
        # child is busy, too. Twice, because the first time we may be woken before others of the same turn.
        for _ in range(2):
            await trio.lowlevel.checkpoint()
            if pidfd.number not in self._exits:
                return True
            if pidfd.exited:
                self._exit_spins_failed = 0
                return True
        if not self._may_spin():
            return False
        if trio.lowlevel.current_statistics().tasks_runnable:
            return False
        if executing is not None and not executing.left:
            executing.wait(EXEC_SPIN_US)
        if spin_for_exit(pidfd.number, self._client_spin_us):
            self._exit_spins_failed = 0
            return True
        self._exit_spins_failed = min(self._exit_spins_failed + 1, 7)
        self._exit_spins_to_skip = (1 << self._exit_spins_failed) - 1
        return False

    def reap_orphan(self, process: ChildProcess, pidfd: Pidfd | None) -> None:
        """Reap an exited child that no task can wait for any more; may be called from a destructor.

        Only our own children: those of an init are reaped with it.
        """
        if pidfd is None or pidfd.number < 0:
            return
        if process.task is self.task and os.getpid() == self.pid:
            pidfd.reap()
        watched = self._exits.get(pidfd.number)
        if watched is not None:
            self._forget_exit(pidfd.number, watched)
        pidfd.close()

    def dismissed(self, ring: Ring) -> None:
        """No task can reach the process of `ring` any more, and it has been told to exit; for destructors."""
        try:
            self.check_owner()
        except RuntimeError:
            return  # a copy of the program, or another OS thread, which this is not the business of
        if ring in self.exit_numbers:
            self._dismissed.add(ring)
        if not self._loop.is_running:
            self._settle()

    def _settle(self) -> None:
        """Reap what has been dismissed, where no run is there to hear of its exit, or none after this one.

        What is in a call exits when that returns; it is left to the next run.
        """
        deadline = time.monotonic() + _PATIENCE
        while (rest := deadline - time.monotonic()) > 0:
            numbers = [self.exit_numbers[ring] for ring in self._dismissed]
            if not numbers:
                break
            poller = select.poll()
            for number in numbers:
                poller.register(number, select.POLLIN)
            for number, _ in poller.poll(rest * 1000):
                watched = self._exits.get(number)
                if watched is not None:
                    watched[1]()
                    self._forget_exit(number, watched)
        self._dismissed.clear()

    # ---- leaving our memory ----

    def when_left(self, ring: Ring, callback: Callable[[], None]) -> None:
        """Call `callback` once, when the process of `ring` has exited or executed a program; now, if it has.

        Unlike `watch_leave` this makes nobody look: it tells what is noticed anyway.
        """
        if ring.left:
            callback()
        else:
            self._when_left.setdefault(ring, []).append(callback)

    def left(self, ring: Ring) -> None:
        """The process of `ring` has left our memory; may be told more than once."""
        self.dumpable.left(ring)
        self._tell_left(ring)

    def _tell_left(self, ring: Ring) -> None:
        callbacks = self._when_left.get(ring, [])
        while callbacks:
            callbacks[0]()
            callbacks.pop(0)
        self._when_left.pop(ring, None)

    def exited(self, ring: Ring) -> None:
        """The process of `ring` has exited; may be told before, after or instead of `left`."""
        self._dismissed.discard(ring)
        self.exit_numbers.pop(ring, None)
        self.not_waiting(ring)
        self.dumpable.exited(ring)
        self._tell_left(ring)
        for orphan in self._orphans.get(ring, ()):
            self.unwatch_leave(orphan)
            self.exited(orphan)
        self._orphans.pop(ring, None)

    def orphaned(self, ring: Ring, parent: far.Task) -> None:
        """Let go of a process that there are no means to reap: its memory is ours again when it leaves that.

        It exits as soon as it looks at its ring.

        Args:
            ring: of the process.
            parent: ourselves; or an init that is gone: when that has exited, so has the process.
        """
        ring.shutdown()
        if ring in self._leaving:
            return
        if parent is not self.task:
            pidfd = next((found for task, found in self.pidfds.items() if task is parent), None)
            if pidfd is None or pidfd.number not in self._exits:
                self.exited(ring)
                return
            parents_ring = next((found for task, found in self.rings.items() if task is parent), None)
            if parents_ring is not None:
                self._orphans.setdefault(parents_ring, []).append(ring)
        self.watch_leave(ring, partial(self.left, ring))

    def watch_leave(self, ring: Ring, callback: Callable[[], None]) -> None:
        """Call `callback` once, as soon as the process of `ring` has left our memory."""
        if ring in self._leaving:
            return
        index = self.native.watch_word(ring.ctid_address)
        self._leaving[ring] = (index, callback)
        self.ensure_running()
        self.ensure_monitor()
        if index < 0:
            # More than the monitor takes.
            self._poller.ensure_running()

    def unwatch_leave(self, ring: Ring) -> None:
        """Forget `watch_leave`: the call that might have made it leave has been answered."""
        entry = self._leaving.pop(ring, None)
        if entry is not None:
            self.native.unwatch_word(entry[0], ring.ctid_address)

    def ensure_monitor(self) -> None:
        """Start the monitor process unless it runs; it does from the first child on.

        It shares our memory and nothing else, so that no descriptor stays open because of it; it ends with
        us, and ends our children then; and it does not announce its exit by a signal, so that a `wait` for
        any child does not see it. If it cannot be started, for want of a process or a descriptor, we look
        ourselves: a task that needs it has sent a call already, which will be answered.
        """
        if self._monitor is not None and not self._monitor.left:
            return
        try:
            self._start_monitor()
        except OSError:
            self._poller.ensure_running()

    def _start_monitor(self) -> None:
        ring = self.native.ring()
        ring.hold(True, None)
        pid = run_now(
            clone_block(
                self.task,
                ring,
                CLONE.NONE,
                0,
                symbols.rsyscall_futex_helper,
                (self.native.address, ring.address),
                monitor_fd=-1,
                parent_pid=self.pid,
                completion=-1,
            )
        )
        pidfd = Pidfd()
        ring.give_pidfd(pidfd)
        self._monitor = ring
        started = time.monotonic()
        try:
            # For children that wait for descriptors: it ends when we do.
            monitor_fd = self.task.make_fd_handle(near.FileDescriptor(os.dup(pidfd.number)))
        except OSError:
            pass  # there is no room for it; they still end with their stream
        else:
            self._standing[self.task] = self.completion.near.number, monitor_fd.near.number
            self._monitor_fd = monitor_fd
            self.task.infrastructure_fds = (self.completion, monitor_fd)

        def exited() -> None:
            try:
                reap(pid, wait=False)
            except ChildProcessError:
                pass
            watched = self._exits.get(pidfd.number)
            if watched is not None:
                self._forget_exit(pidfd.number, watched)
            pidfd.close()
            ring.exited()
            if self._monitor is ring:
                self._monitor = None
            # Somebody killed it. (One that ends at once has a filter under which it cannot sleep.)
            if self._needs_monitor() or time.monotonic() - started > 0.1:
                self.ensure_monitor()

        self.watch_exit(pidfd, exited)
        ring.release()

    def _needs_monitor(self) -> bool:
        return bool(self._leaving) or any(ring.deaf for ring in self._connections)

    # ---- dispatching ----

    # Started again after an exception, it first tells what was being told then: that is forgotten only when
    # it has been told, and is announced by nothing else.

    async def _run(self) -> None:
        try:
            self._deliver_all()
            self._dispatch_rings()
            while True:
                await trio.lowlevel.wait_readable(self._epoll_number)
                if os.getpid() != self.pid:
                    return  # a copy of the program; these events are for the original
                self.dispatch()
        except trio.Cancelled:
            if program_has_ended():
                self._settle()
            raise

    # Not in `_run`, whose variables live as long as the run.
    def _deliver_all(self) -> None:
        for connection in list(self._connections.values()):
            connection.deliver()

    async def _poll(self) -> None:
        """Look for what the monitor cannot tell us, until it can, or there is nothing to be told."""
        tries = 0
        while (
            self._mute
            or any(index < 0 for index, _ in self._leaving.values())
            or (self._needs_monitor() and (self._monitor is None or self._monitor.left))
        ):
            await trio.sleep(0.001)
            self._dispatch_rings()
            tries += 1
            if tries % 100 == 0 and self._needs_monitor():
                self.ensure_monitor()

    def dispatch(self) -> None:
        """Hand out everything that has happened."""
        exited = []
        for number, _ in self._epoll.poll(0, 256):
            if number in self._exits:
                exited.append(number)
            elif number == self._news.near.number:
                try:
                    os.read(number, 4096)
                except BlockingIOError:
                    pass
            else:
                # An exception came before anybody was registered to be told.
                self._epoll.unregister(number)
        self._dispatch_rings()
        # Last: answers that were given before the exit go to their callers.
        for number in exited:
            watched = self._exits.get(number)
            if watched is not None:
                watched[1]()
                self._forget_exit(number, watched)

    def _dispatch_rings(self) -> None:
        for ring in self.native.announced():
            connection = self._connections.get(ring)
            if connection is not None:
                connection.deliver()
            self.native.delivered(ring)
        for ring in [ring for ring in self._leaving if ring.left]:
            self._leaving[ring][1]()
            self.unwatch_leave(ring)


def _hangup(task: Task) -> SyscallHangup:
    return SyscallHangup(f"{task} has exited, been killed, or executed a program")


_SHARE_MEMORY = int(CLONE.VM | CLONE.CHILD_CLEARTID | CLONE.PIDFD)
_PARENT_SETTID = int(CLONE.PARENT_SETTID)
_SIGHAND = int(CLONE.SIGHAND)
_CLEAR_SIGHAND = int(CLONE.CLEAR_SIGHAND)
_CLONE_ARGS = struct.Struct("11Q")
_CLONE_ARGS_SIZE = _CLONE_ARGS.size
_RESET_SIGNALS, _FOREIGN_PID = 1, 4  # RSYS_ORIGIN_RESET_SIGNALS, RSYS_ORIGIN_FOREIGN_PID
_clone3_missing = False


async def clone_block(
    task: Task,
    ring: Ring,
    flags: int,
    exit_signal: int,
    function: int,
    args: tuple[int, ...],
    *,
    monitor_fd: int,
    parent_pid: int,
    completion: int,
    foreign: bool = False,
    cloner: Ring | None = None,
) -> int:
    """Clone, from `task`, a process that calls a native function on the stack of `ring`.

    Its pidfd is `ring.pidfd` afterwards: a number of the table of `task`.

    When the process that clones is lost in the course of it, `ring.pid` is the new process, if there is one
    (0 otherwise, or if nobody knows: then `ring` stays taken).

    Args:
        flags: in addition to VM, CHILD_CLEARTID, PIDFD and CLEAR_SIGHAND.
        exit_signal: 0 or a signal number.
        function: the address of a native function.
        args: up to six register arguments.
        monitor_fd: pidfd of the monitor in the new process' table, or -1.
        parent_pid: what getppid(2) will return there; -1 if unknown.
        completion: the end of the hub's pipe in the new process' table, or -1.
        foreign: `task` is not in our pid namespace; say later what the new process is there (`Ring.set_pid`).
        cloner: the ring of `task`; None if it is our own.

    Returns:
        The process id in the pid namespace of `task`.

    manpage: clone3(2)
    """
    global _clone3_missing
    # In plain numbers: combining members of a flag class takes longer than all the rest.
    flags = int(flags) | _SHARE_MEMORY
    origin_flags = _FOREIGN_PID if foreign else 0
    ring.configure(monitor_fd, parent_pid, completion, origin_flags, 0, cloner)
    if not _clone3_missing:
        # Handlers that Python installed must not run in the child, not even for an instant.
        clear = 0 if flags & _SIGHAND else _CLEAR_SIGHAND
        address = ring.prepare(
            flags | clear | _PARENT_SETTID, exit_signal, symbols.rsyscall_trampoline, function, *args
        )
        try:
            pid = await task.sysif.syscall(nr.clone3, address, _CLONE_ARGS_SIZE)
        except OSError as error:
            ring.not_started()
            if not is_denied(error):
                raise
            # Before Linux 5.3, or a filter that cannot look into the structure: none of the processes has it.
            # Anything else may be due to what is asked for, or to this process.
            _clone3_missing = error.errno == errno.ENOSYS and task.sysif.immediate
        except SyscallSendError:
            ring.not_started()
            raise
        except SyscallError:
            # The kernel writes the id of the new process before that runs, and nothing after the one that
            # clones has gone.
            if await _has_gone(cloner) and not ring.pid:
                ring.not_started()
            else:
                ring.started(ring.pid)
            raise
        else:
            ring.started(pid)
            return pid
    return await _clone_without_clone3(
        task, ring, flags, exit_signal, function, args, monitor_fd, parent_pid, completion, cloner
    )


async def _has_gone(cloner: Ring | None) -> bool:
    """Whether the process of a ring that a call was lost in has left our memory; it is given a second."""
    with trio.CancelScope(shield=True):
        for _ in range(1000):
            if cloner is None or cloner.left:
                break
            await trio.sleep(0.001)
    return cloner is not None and cloner.left


async def _clone_without_clone3(
    task: Task,
    ring: Ring,
    flags: int,
    exit_signal: int,
    function: int,
    args: tuple[int, ...],
    monitor_fd: int,
    parent_pid: int,
    completion: int,
    cloner: Ring | None,
) -> int:
    """Clone by the older call. From our own process, block all signals until the child has reset the handlers
    itself; other processes have none.
    """
    # Handlers that the child shares with us must stay as they are; and they are run in it at its own risk.
    ours = task.sysif.immediate and not flags & _SIGHAND
    before = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals()) if ours else set()
    try:
        if ours:
            mask = sum(1 << (number - 1) for number in before)
            ring.configure(monitor_fd, parent_pid, completion, _RESET_SIGNALS, mask)
        address = ring.prepare(flags, exit_signal, symbols.rsyscall_trampoline, function, *args)
        fields = _CLONE_ARGS.unpack(read_memory(address, _CLONE_ARGS_SIZE))
        _, pidfd, child_tid, _, _, stack, stack_size, *_ = fields
        # PIDFD goes where clone(2) has PARENT_SETTID
        pid = await task.sysif.syscall(nr.clone, flags | exit_signal, stack + stack_size, pidfd, child_tid, 0)
        # Before signals are let through, whose handlers may raise anything.
        ring.started(pid)
    except (OSError, SyscallSendError):
        ring.not_started()
        raise
    except SyscallError:
        if await _has_gone(cloner) and ring.pidfd < 0:
            ring.not_started()
        else:
            ring.started(0)
        raise
    finally:
        if ours:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid
