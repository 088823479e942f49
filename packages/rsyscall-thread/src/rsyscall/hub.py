"""The parts that a program needs once to drive processes that share its memory.

`ProgramHub` watches, with one epoll instance and one background task for any number of processes:

* the pipe by which servers announce the answers that callers wait for;
* a pidfd per process, for its exit;
* futex words, through the watcher process, for processes that leave our memory by exec.

It also owns the pool of rings and stacks (`rsyscall.native.Hub`).
"""

from __future__ import annotations

import errno
import os
import select
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import trio

from rsyscall import far
from rsyscall.background import RunLoop, program_has_ended, run_now
from rsyscall.clone_call import clone_block
from rsyscall.denied import is_denied, reap
from rsyscall.dumpable import DumpableGuard
from rsyscall.exits import Exits
from rsyscall.far import AddressSpace
from rsyscall.fd_collector import note_run
from rsyscall.native import Hub, Ring, symbols
from rsyscall.native.fast import forget_watched
from rsyscall.near import Syscall, SyscallHangup, nr
from rsyscall.near import types as near
from rsyscall.pidfd import Pidfd
from rsyscall.sched import CLONE
from rsyscall.settings import spin_budgets
from rsyscall.signal import SIG, HowSIG, Sigset
from rsyscall.sys.mman import MAP, PROT

if TYPE_CHECKING:
    from typing import Protocol

    from rsyscall.handle import FDTable, FileDescriptor, Task

    class RingClient(Protocol):
        """Takes the answers of one ring."""

        def deliver(self) -> None: ...

    class OwnRingClient(RingClient, Protocol):
        """Takes the answers of a process with memory of its own."""

        def heard(self) -> None: ...

    class Offer(Protocol):
        """The call by which a process sends us a descriptor; see `rsyscall.network.passing.Offer`."""

        call: Syscall

        def take(self) -> int: ...

        def forget(self) -> None: ...

    class Sender(Protocol):
        """Has a process send us copies of descriptors."""

        def offer(self, number: int) -> Offer | None: ...


__all__ = ["ProgramHub", "hub_of"]


_hubs: weakref.WeakKeyDictionary[AddressSpace, ProgramHub] = weakref.WeakKeyDictionary()


def hub_of(task: Task) -> ProgramHub:
    """The hub of the program that made `task`.

    Raises:
        ValueError: no hub made it.
    """
    try:
        return _hubs[task.address_space]
    except KeyError:
        raise ValueError(f"{task} is not driven by the hub of this program") from None


class ProgramHub:
    """See the module; made once per program by the local thread.

    Args:
        task: the local task; the hub's descriptors are in its table.
    """

    def __init__(self, task: Task) -> None:
        client, server = spin_budgets()
        self.task = task
        self.pid: int = os.getpid()
        news, completion = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._news: FileDescriptor = task.make_fd_handle(near.FileDescriptor(news))
        self.completion: FileDescriptor = task.make_fd_handle(near.FileDescriptor(completion))
        self.native: Hub = Hub(completion, client, server)
        self.native.configure_watcher(self.pid)
        # Signal masks and actions that are all zero, and the memory for the results of our waitid calls.
        self._constants = run_now(task.mmap(4096, PROT.READ | PROT.WRITE, MAP.PRIVATE))
        self.zeros_address: int = self._constants.near.address
        # Programs expect to start with no signal blocked, and with the default actions that Python changed.
        size = Sigset.sizeof()
        self.default_signals: list[Syscall] = [
            Syscall(nr.rt_sigaction, SIG.PIPE, self.zeros_address, 0, size),
            Syscall(nr.rt_sigaction, SIG.XFSZ, self.zeros_address, 0, size),
            Syscall(nr.rt_sigprocmask, HowSIG.SETMASK, self.zeros_address, 0, size),
        ]
        # What new children ignore until they execute a program: at a prompt, Ctrl-C is not for them.
        self.ignored_until_exec: frozenset[SIG] = frozenset()
        self._epoll = select.epoll()
        self._epoll_number = self._epoll.fileno()
        self._epoll.register(news, select.EPOLLIN)
        self._loop = RunLoop(self._run, "rsyscall hub")
        self.exits: Exits = Exits(task, self._epoll, self._loop, self.zeros_address + 256, client)
        self._leaving: dict[Ring, tuple[int, Callable[[], None]]] = {}
        self._connections: dict[Ring, RingClient] = {}
        self._when_left: dict[Ring, list[Callable[[], None]]] = {}
        # The processes that an init has left behind, by the ring of the init.
        self._orphans: dict[Ring, list[Ring]] = {}
        self._mute: set[Ring] = set()
        # The clients of processes with memory of their own, by our end of the socket.
        self._sockets: dict[int, OwnRingClient] = {}
        task.infrastructure_fds = (self.completion,)
        # For each task the numbers that our pipe and the watcher's pidfd have in its table.
        self._standing: weakref.WeakKeyDictionary[Task, tuple[int, int]] = weakref.WeakKeyDictionary()
        self._standing[task] = completion, -1
        self._watcher_fd: FileDescriptor | None = None
        # A pidfd in our own table for every process that we drive.
        self.pidfds: weakref.WeakKeyDictionary[Task, Pidfd] = weakref.WeakKeyDictionary()
        self.rings: weakref.WeakKeyDictionary[Task, Ring] = weakref.WeakKeyDictionary()
        # For each table the descriptor of `rsyscall-stub`; a task in that table keeps it: see own_memory.py.
        self.stubs: weakref.WeakKeyDictionary[FDTable, weakref.ref[FileDescriptor]]
        self.stubs = weakref.WeakKeyDictionary()
        self.senders: weakref.WeakKeyDictionary[Task, weakref.ref[Sender]] = weakref.WeakKeyDictionary()
        _hubs[task.address_space] = self
        self.dumpable: DumpableGuard = DumpableGuard(task, self.pid)
        self.watcher: Ring | None = None
        self._end_watcher: Callable[[], None] | None = None
        self._poller = RunLoop(self._poll, "rsyscall hub: in place of the watcher")

    def standing_fds(self, task: Task) -> tuple[FileDescriptor | None, FileDescriptor | None]:
        """The handles that a process has for our pipe and for the watcher's pidfd, as far as it has them."""
        if task is self.task:
            ours, theirs = self.completion, self._watcher_fd
            return ours if ours.valid else None, theirs if theirs is not None and theirs.valid else None
        completion, watcher_fd = self._standing.get(task, (-1, -1))
        found: dict[int, FileDescriptor] = {}
        for fd in task.infrastructure_fds:
            if fd.valid:
                found.setdefault(fd.near.number, fd)
        return found.get(completion), found.get(watcher_fd)

    def pass_on(self, task: Task, child: Task) -> None:
        """Have `child`, which has been cloned from `task`, inherit the pipe and the watcher's pidfd."""
        self._standing[child] = self._standing.get(task, (-1, -1))
        kept = self.standing_fds(task)
        child.infrastructure_fds = tuple(child.inherit_fd(fd) for fd in kept if fd is not None)

    def is_driving(self, task: Task) -> bool:
        """Whether a process that we made has not executed a program yet, as far as we know."""
        ring = self.rings.get(task)
        return not task.departed if ring is None else not ring.left

    def drives(self, task: Task) -> None:
        """Record that we have made a process with memory of its own."""
        _hubs[task.address_space] = self

    def set_spin(self, client_us: float, server_us: float) -> None:
        """Change how long this program and the processes that it drives spin before they sleep.

        Args:
            client_us: microseconds; 0 to sleep at once.
            server_us: likewise, for processes that wait for work; it takes effect with their next call.
        """
        self.native.set_spin(client_us, server_us)
        self.exits.spin_us = client_us

    def ensure_running(self) -> None:
        """Dispatch events in the current run of trio.

        Raises:
            WrongThreadError: another OS thread owns this hub.
            ForkedProcessError: this is a copy of the program, whose loop would take events from the original.
        """
        self.native.check_owner()
        self._loop.ensure_running()

    def check_owner(self) -> None:
        """Raise unless this is the OS thread that drives these processes, and not a copy of the program.

        Raises:
            WrongThreadError, ForkedProcessError
        """
        self.native.check_owner()

    # ---- rings ----

    def make_ring(self) -> Ring:
        """Return a ring and a stack for a new process.

        Raises:
            WrongThreadError, ForkedProcessError: as `ensure_running`.
        """
        self.check_owner()
        self.ensure_watcher()
        return self.native.ring()

    def waiting(self, ring: Ring, connection: RingClient) -> None:
        """Deliver answers that arrive on this ring to `connection`, until `not_waiting`."""
        self._connections[ring] = connection
        self.ensure_running()
        if ring.mute:
            # A seccomp filter does not let it wake us, so we poll.
            self._mute.add(ring)
            self._poller.ensure_running()

    def not_waiting(self, ring: Ring) -> None:
        """Stop delivering: no call is outstanding on this ring any more."""
        if ring in self._connections:
            del self._connections[ring]
        if ring in self._mute:
            self._mute.discard(ring)

    def listen(self, number: int, client: OwnRingClient) -> None:
        """Tell `client` whenever its process has sent something, until `unlisten`.

        Args:
            number: our end of the socket.
        """
        self._epoll.register(number, select.EPOLLIN)
        self._sockets[number] = client
        self.ensure_running()

    def unlisten(self, number: int) -> None:
        """Forget `listen`, before the socket is closed."""
        if number in self._sockets:
            forget_watched(self._epoll_number, number, self._sockets)

    # ---- descriptors ----

    async def take_descriptor(self, task: Task, number: int) -> int:
        """Return a copy, in our own table, of a descriptor of a process that shares our memory.

        An ordinary user may not take it while our memory is not dumpable; then the process sends it.

        Args:
            task: of the process.
            number: of the descriptor, there.

        Raises:
            OSError: EPERM (we may not take it, and the process has lost its connection), EMFILE.
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
        """As `take_descriptor`; if the process has to make a call to send it, the caller makes that call."""
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
        """As `take_descriptor`, for a descriptor that a call of that process has just opened.

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
            # It may have executed a program, which may have opened another file with this number.
            os.close(ours)
            raise _hangup(task)
        return ours

    # ---- leaving our memory ----

    def dismissed(self, ring: Ring | Pidfd) -> None:
        """Record that no task can reach the process of `ring`, which was told to exit; for destructors."""
        try:
            self.check_owner()
        except RuntimeError:
            return  # in a copy of the program, or in another OS thread: the owner takes care of it
        self.exits.dismissed(ring)

    def when_left(self, ring: Ring, callback: Callable[[], None]) -> None:
        """Call `callback` once, when the process of `ring` has exited or executed a program; now if it has.

        Unlike `watch_leave` this starts no watch: it relies on the existing ones.
        """
        if ring.left:
            callback()
        else:
            self._when_left.setdefault(ring, []).append(callback)

    def left(self, ring: Ring) -> None:
        """Record that the process of `ring` has left our memory; may be called more than once."""
        self.dumpable.left(ring)
        self._tell_left(ring)

    def _tell_left(self, ring: Ring) -> None:
        if ring not in self._when_left:
            return
        callbacks = self._when_left[ring]
        while callbacks:
            callbacks[0]()
            callbacks.pop(0)
        self._when_left.pop(ring, None)

    def exited(self, ring: Ring) -> None:
        """Record that the process of `ring` has exited; may be called before, after or instead of `left`."""
        self.exits.exited(ring)
        self.not_waiting(ring)
        self.dumpable.exited(ring)
        self._tell_left(ring)
        if ring in self._orphans:
            for orphan in self._orphans[ring]:
                self.unwatch_leave(orphan)
                self.exited(orphan)
            self._orphans.pop(ring, None)

    def orphaned(self, ring: Ring, parent: far.Task) -> None:
        """Release a process that we cannot reap: it exits when it looks at its ring, which frees its memory.

        Args:
            ring: of the process.
            parent: our own task; or an init that is gone, whose exit ends the process.
        """
        ring.shutdown()
        if ring in self._leaving:
            return
        if parent is not self.task:
            pidfd = next((found for task, found in self.pidfds.items() if task is parent), None)
            if pidfd is None or not self.exits.is_watched(pidfd):
                self.exited(ring)
                return
            parents_ring = next((found for task, found in self.rings.items() if task is parent), None)
            if parents_ring is not None:
                self._orphans.setdefault(parents_ring, []).append(ring)
        self.watch_leave(ring, partial(self.left, ring))

    def watch_leave(self, ring: Ring, callback: Callable[[], None]) -> None:
        """Call `callback` once, when the process of `ring` has left our memory."""
        if ring in self._leaving:
            return
        index = self.native.watch_word(ring.ctid_address)
        self._leaving[ring] = (index, callback)
        self.ensure_running()
        self.ensure_watcher()
        if index < 0:
            # The watcher takes no more, so we poll.
            self._poller.ensure_running()

    def unwatch_leave(self, ring: Ring) -> None:
        """Undo `watch_leave`: the call by which the process might have left has been answered."""
        if ring in self._leaving:
            entry = self._leaving.pop(ring)
            self.native.unwatch_word(entry[0], ring.ctid_address)

    def discard(self) -> None:
        """End the watcher, close all descriptors that have handles, and let the hub go.

        For a local thread whose OS thread is about to end. Called in that OS thread, after its last run of
        trio: all processes have exited or are about to.
        """
        self.check_owner()
        if _hubs.get(self.task.address_space) is self:
            # The value refers to its key, so this entry alone would keep it alive.
            del _hubs[self.task.address_space]
        if self._end_watcher is not None:
            self._end_watcher()
        for fd in self.task.fd_handles:
            if fd.valid and int(fd) not in self.task.fd_table.keep_open:
                run_now(fd.invalidate())

    def ensure_watcher(self) -> None:
        """Start the watcher process, unless it runs. The first child starts it.

        It shares our memory and nothing else, so that it keeps no descriptor open. It ends with us, and then
        ends our children. Its exit sends no signal, so that a `wait` for any child does not see it. If we
        cannot start it, because there are too many processes or descriptors, we poll instead: a task that
        needs it has sent its call already, and waits for the answer.
        """
        if self.watcher is not None and not self.watcher.left:
            return
        try:
            self._start_watcher()
        except OSError:
            self._poller.ensure_running()

    def _start_watcher(self) -> None:
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
                watcher_fd=-1,
                parent_pid=self.pid,
                completion=-1,
                lasting=True,
            )
        )
        pidfd = Pidfd()
        ring.give_pidfd(pidfd)
        self.watcher = ring
        self.exits.helpers = 1
        started = time.monotonic()
        try:
            # Children poll it beside their descriptors: the watcher ends when we do.
            watcher_fd = self.task.make_fd_handle(near.FileDescriptor(os.dup(pidfd.number)))
        except OSError:
            pass  # there are too many descriptors; the children still end with their stream
        else:
            self._standing[self.task] = self.completion.near.number, watcher_fd.near.number
            before = (self.completion, self._watcher_fd)
            kept = [fd for fd in self.task.infrastructure_fds if fd not in before]
            self._watcher_fd = watcher_fd
            self.task.infrastructure_fds = (self.completion, watcher_fd, *kept)

        def exited() -> None:
            try:
                reap(pid, wait=False)
            except ChildProcessError:
                pass
            self.exits.forget(pidfd)
            pidfd.close()
            ring.exited()
            if self.watcher is ring:
                self.watcher = self._end_watcher = None
                self.exits.helpers = 0
            # It was killed. (If it ends at once, a seccomp filter does not let it sleep.)
            if self._needs_watcher() or time.monotonic() - started > 0.1:
                self.ensure_watcher()

        def end() -> None:
            # It is our child and not reaped, so no other process has its pid.
            os.kill(pid, SIG.KILL)
            reap(pid, wait=True)
            self.exits.forget(pidfd)
            pidfd.close()
            ring.exited()
            self.watcher = self._end_watcher = None

        self._end_watcher = end
        self.exits.watch(pidfd, exited)
        ring.release()

    def _needs_watcher(self) -> bool:
        return bool(self._leaving) or any(ring.deaf for ring in self._connections)

    # ---- dispatching ----

    # When the loop is started again after an exception, it first repeats the delivery that the exception
    # interrupted: nothing announces those answers a second time.

    async def _run(self) -> None:
        note_run(self.task.fd_table)
        try:
            self._deliver_all()
            self._dispatch_rings()
            while True:
                await trio.lowlevel.wait_readable(self._epoll_number)
                if os.getpid() != self.pid:
                    return  # in a copy of the program: the events belong to the original
                self.dispatch()
        except trio.Cancelled:
            if program_has_ended():
                self.exits.settle()
            raise

    # Not inline in `_run`: its variables would keep the last connection alive for the whole run.
    def _deliver_all(self) -> None:
        for connection in list(self._connections.values()):
            connection.deliver()

    async def _poll(self) -> None:
        """Poll for the events that the watcher cannot announce, as long as there are any."""
        tries = 0
        while (
            self._mute
            or any(index < 0 for index, _ in self._leaving.values())
            or (self._needs_watcher() and (self.watcher is None or self.watcher.left))
        ):
            await trio.sleep(0.001)
            self._dispatch_rings()
            for connection in [self._connections[ring] for ring in self._mute if ring in self._connections]:
                connection.deliver()
            tries += 1
            if tries % 100 == 0 and self._needs_watcher():
                self.ensure_watcher()

    def dispatch(self) -> None:
        """Deliver all events that have happened."""
        exited = []
        for number, _ in self._epoll.poll(0, 256):
            if number in self.exits:
                exited.append(number)
            elif number in self._sockets:
                self._sockets[number].heard()
            elif number == self._news.near.number:
                try:
                    os.read(number, 4096)
                except BlockingIOError:
                    pass
            else:
                # An exception came before its callback was registered.
                self._epoll.unregister(number)
        self._dispatch_rings()
        # Exits come last, so that answers from before an exit still reach their callers.
        for number in exited:
            self.exits.tell(number)

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
