"""Waiting for file descriptors, in any process, from trio.

One epoll instance has one `EpollWaiter`, the only one that calls `epoll_wait` on it. An `Epoller` registers
file descriptors with the instance from one task; tasks that share the instance have an `Epoller` each and one
waiter together.

**Root and subsidiary.** Only one loop in a process may block. In our own process that is trio's, so our
waiter is *subsidiary*: it asks trio to wait until the epoll file descriptor itself is readable, and then
collects events without waiting. In every other process the waiter is the *root*: it lets the process block in
`epoll_wait`. Such a process cannot do anything else meanwhile, so the root also watches the process's
*activity fd*, which is readable when another call is waiting to be executed. That registration is
level-triggered, since it must never be missed, and without OUT, since one can always write to a socket. A
root waits only as long as a task waits for an event: otherwise every call to that process would have to
wake it up first.

**Runs of trio.** The loops belong to the current run of trio, registrations do not: they and their state stay
until the next run, and the loop starts again when a task waits. The end of a run can abandon a root in the
middle of `epoll_wait`, and an exception of a signal handler either kind. The kernel then puts events into our
buffer that no task reads, and since they are edges, it does not report them again. There are three ways out:
to have the result of the abandoned call delivered to the next run, which every kind of connection would have
to support; to register everything anew with EPOLL_CTL_MOD, which reports current readiness, but has to go
through the task that registered each fd, which may be blocked for any time; or to look at the buffer. We look
at the buffer: we keep it, and it is all zeros before each call; an event is never all zeros; and a process
executes its calls in order. So once any later call has been answered, the abandoned one is finished, and all
non-zero entries of the buffer are its events. We do the same when a process gets a new connection for a lost
one.

`rsyscall.epoller_state` has the state of a file descriptor, and the reasons for it. The loop, the epoller and
the registration are one module, since each calls the other two.
"""

from __future__ import annotations

import contextlib
import errno
import typing as t
import weakref

import trio

from rsyscall.background import RunLoop, Waiter, weakly
from rsyscall.denied import any_answer
from rsyscall.epoller_state import FDStatus, RemovedFromEpollError
from rsyscall.handle.process import ChildProcess
from rsyscall.memory.allocator import Allocation
from rsyscall.native import destructor
from rsyscall.near import nr
from rsyscall.near.sysif import SyscallError, SyscallHangup
from rsyscall.opener import opener
from rsyscall.sys.epoll import EPOLL, EPOLL_CTL, EpollEvent, EpollEventList, EpollFlag

if t.TYPE_CHECKING:
    from rsyscall.handle import FileDescriptor, Pointer, Task
    from rsyscall.memory.ram import RAM

__all__ = [
    "EpollWaiter",
    "EpolledFileDescriptor",
    "Epoller",
    "FDStatus",
    "RemovedFromEpollError",
]

MAX_EVENTS = 32
"""How many events one `epoll_wait` collects; the next one collects the others."""

ATTEMPTS = 1000
"""How often a busy process is asked for its activity fd."""

_ACTIVITY_EVENTS = EPOLL.IN | EPOLL.RDHUP | EPOLL.PRI | EPOLL.ERR | EPOLL.HUP


class EpollWaiter:
    """Calls `epoll_wait` on one epoll instance, and gives out the events.

    Args:
        ram: memory that `epfd.task` can use.
        epfd: the epoll instance; `epoll_wait` is called through its task.
        wait_readable: for a subsidiary: returns when the epoll file descriptor is readable. None for a root.
        timeout: milliseconds that `epoll_wait` may block: 0 for a subsidiary, -1 (for ever) for a root.
    """

    # Above the numbers of all file descriptors. In the class, as destructors may run when globals are gone.
    _FRESH = 10**10

    def __init__(
        self,
        ram: RAM,
        epfd: FileDescriptor,
        wait_readable: t.Callable[[], t.Awaitable[None]] | None,
        timeout: int,
    ) -> None:
        self.ram = ram
        self.epfd = epfd
        self.wait_readable = wait_readable
        self.timeout = timeout
        # The receiver of the events with a number. (None: there is none yet, but the number is taken.)
        self._receivers: dict[int, weakref.ref[EpolledFileDescriptor] | None] = {}
        # Numbers to free when the `epoll_wait` under way has returned.
        self._removed: list[int] = []
        # Numbers that the kernel may report as long as a file is open; we cannot know how long.
        self._haunted: set[int] = set()
        self._fresh = 0
        # The tasks that sleep until an event comes.
        self._sleepers: set[Waiter[None]] = set()
        self._failure: Exception | None = None
        self._loop = RunLoop(weakly(self, EpollWaiter._run), f"epoll of descriptor {epfd.near.number}")
        self._lease: weakref.ref[_Lease] | None = None
        self._layout = epfd.task.sysif.abi.epoll_event
        self._buffer: Pointer[EpollEventList] | None = None
        # Whether there may be events in the buffer which have not been given out.
        self._unsettled = False
        self._activity_fd: FileDescriptor | None = None
        self._activity_number: int | None = None

    def lease(self) -> _Lease:
        """A lease that every `Epoller` on this instance holds: the loop ends with the last of them."""
        lease = self._lease() if self._lease is not None else None
        if lease is None:
            lease = _Lease(self._loop)
            self._lease = weakref.ref(lease)
        return lease

    def allocate_number(self, request: int) -> int:
        """Take a number to register a file descriptor with.

        It is never one that could still be reported for an earlier registration.

        Args:
            request: the number to take if it is free; by custom that of the file descriptor, so that traces
                can be read. If it is not, the last ten digits of the number are the request.
        """
        number = request
        if number in self._receivers or number in self._haunted:
            self._fresh += self._FRESH
            number += self._fresh
        self._receivers[number] = None
        return number

    def remove_number_after_next_epoll_wait(self, number: int) -> None:
        """Free a number whose registration has been deleted.

        A call of `epoll_wait` that is under way may still report it, so it is free when that one has
        returned.
        """
        if self._unsettled:
            self._receivers[number] = None
            self._removed.append(number)
        else:
            self._receivers.pop(number, None)

    def _abandon_number(self, number: int) -> None:
        """Never use a number again: its registration could not be deleted, and the file may still be open.

        Called from destructors. A fresh number is used once anyway, so that what is kept is bounded.
        """
        if number < self._FRESH:
            self._haunted.add(number)
        self._receivers.pop(number, None)

    def _receive(self, number: int, receiver: EpolledFileDescriptor) -> None:
        self._receivers[number] = weakref.ref(receiver)

    def _is_registered(self, fd: FileDescriptor, but: EpolledFileDescriptor) -> bool:
        """Whether there is a registration, which is still needed, that the kernel may take for one of `fd`.

        The kernel tells registrations apart by file and number, and a child may have inherited both.
        """
        for receiver in self._receivers.values():
            other = receiver() if receiver is not None else None
            if other is None or other is but or other._removed or other.fd.near != fd.near:
                continue
            if other.fd.task.fd_table is fd.task.fd_table:
                return True
            process = other.fd.task.process
            dead = isinstance(process, ChildProcess) and not process.alive
            if other.fd.valid and not dead:
                return True
        return False

    def _begin_wait(self, waiter: Waiter[None]) -> None:
        """A task is about to sleep until an event comes."""
        if self._failure is not None:
            raise _another(self._failure)
        self._loop.ensure_running()
        self._sleepers.add(waiter)

    def _end_wait(self, waiter: Waiter[None]) -> None:
        self._sleepers.discard(waiter)

    async def _run(self) -> None:
        """The loop: for a subsidiary until the run of trio ends, for a root as long as a task sleeps."""
        wait_readable = self.wait_readable
        while wait_readable is not None or self._sleepers:
            try:
                # Events that an interrupted collection has left in the buffer make nothing readable.
                if wait_readable is not None and not self._unsettled:
                    await wait_readable()
                try:
                    activity_fd = self._activity_fd_now()
                except RuntimeError:
                    activity_fd = await self._ask_for_activity_fd()
                if activity_fd is not self._activity_fd:
                    await self._watch_activity_fd(activity_fd)
                await self._collect()
            except InterruptedError:
                pass
            except SyscallHangup:
                # If this process gets a new connection, the next call waits for it; if not, the next call
                # says so.
                pass
            except Exception as exn:
                # Tell any exception to the waiting tasks: if it left the loop it would end the whole run.
                self._fail(exn)
                return
            if wait_readable is None:
                # So that the woken tasks can send their calls before the process blocks again.
                await trio.lowlevel.checkpoint()

    async def _ask_for_activity_fd(self) -> FileDescriptor | None:
        """Some processes have an activity fd only when it has been asked for once, in between two calls."""
        for _ in range(ATTEMPTS):
            try:
                return self._activity_fd_now()
            except RuntimeError:
                await any_answer(self.epfd.task.sysif)
                # Let the task that made the other call hear of its end.
                await trio.lowlevel.checkpoint()
        return self._activity_fd_now()

    def _activity_fd_now(self) -> FileDescriptor | None:
        # The near layer, which declares it, does not know the class.
        return t.cast("FileDescriptor | None", self.epfd.task.sysif.get_activity_fd())

    @contextlib.asynccontextmanager
    async def changing_activity_fd(self) -> t.AsyncIterator[None]:
        """While the activity fd becomes another file, under the same number. No other call is made meanwhile.

        The loop may have looked already, and be about to wait: so it is watched again before that can go on.
        """
        await self._watch_activity_fd(None)
        try:
            yield
        finally:
            with trio.CancelScope(shield=True), contextlib.suppress(SyscallError):
                await self._watch_activity_fd(self._activity_fd_now())

    async def _watch_activity_fd(self, activity_fd: FileDescriptor | None) -> None:
        """Watch the activity fd that the process has now; it changes with its connection."""
        old_fd, old_number = self._activity_fd, self._activity_number
        self._activity_fd = self._activity_number = None
        if old_fd is not None and old_number is not None and old_fd.valid:
            try:
                await self.epfd.epoll_ctl(EPOLL_CTL.DEL, old_fd)
            except OSError:
                # Closed already: then the registration is gone, or of a file for which we have no number.
                self._abandon_number(old_number)
            else:
                self.remove_number_after_next_epoll_wait(old_number)
        if activity_fd is None:
            return
        number = self.allocate_number(int(activity_fd.near))
        event = EpollEvent(number, _ACTIVITY_EVENTS)
        try:
            await self.epfd.epoll_ctl(EPOLL_CTL.ADD, activity_fd, await self.ram.ptr(event))
        except FileExistsError:
            # The end of a run of trio took away the answer to an ADD.
            await self.epfd.epoll_ctl(EPOLL_CTL.MOD, activity_fd, await self.ram.ptr(event))
        self._activity_fd, self._activity_number = activity_fd, number

    async def _collect(self) -> None:
        """Call `epoll_wait` once and give out the events."""
        buffer = self._buffer
        if buffer is None:
            buffer = await self.ram.malloc(EpollEventList, MAX_EVENTS * self._layout.size)
            await self._clear(buffer, MAX_EVENTS)
            self._buffer = buffer
        task = self.epfd.task
        if self._unsettled:
            # A call was abandoned. An answer to any later call says that it is over.
            await any_answer(task.sysif)
            await self._take(buffer, MAX_EVENTS)
        # Not the method of the handle, which consumes the pointer: the buffer must stay ours.
        with self.epfd.borrow(task) as epfd, buffer.borrow(task) as events:
            self._unsettled = True
            _set_lent(buffer, True)
            try:
                count = await task.sysif.syscall(nr.epoll_pwait, epfd, events, MAX_EVENTS, self.timeout)
            except OSError:
                self._settled(buffer)
                raise
        if count:
            await self._take(buffer, count)
        else:
            self._settled(buffer)

    async def _take(self, buffer: Pointer[EpollEventList], count: int) -> None:
        """Give out the first `count` events in the buffer, and clear it."""
        _set_lent(buffer, False)
        data = memoryview(await self.ram.transport.read(buffer))[: count * self._layout.size]
        receivers = self._receivers
        for events, number in self._layout.codec.iter_unpack(data):
            receiver = receivers.get(number) if events else None
            epolled = receiver() if receiver is not None else None
            if epolled is not None:
                # Writes down the event at once; a task that this wakes runs only later.
                epolled._told(events)
        await self._clear(buffer, count)
        self._settled(buffer)

    async def _clear(self, buffer: Pointer[EpollEventList], count: int) -> None:
        await self.ram.transport.write(buffer, bytes(count * self._layout.size))

    def release_buffer(self) -> None:
        """Free the memory for events, unless a call may still write to it. The next wait allocates other."""
        if not self._unsettled:
            self._buffer = None

    def _settled(self, buffer: Pointer[EpollEventList]) -> None:
        _set_lent(buffer, False)
        for number in self._removed:
            self._receivers.pop(number, None)
        self._removed.clear()
        self._unsettled = False

    def _fail(self, failure: Exception) -> None:
        """Tell a failure to the tasks that wait; if the kernel has reported it, to those that wait later too.

        Another exception may be that of a signal handler, which says nothing of the epoll instance. A
        TimeoutError that such a handler raises is an OSError, but has no number.
        """
        if isinstance(failure, SyscallError) or (isinstance(failure, OSError) and failure.errno):
            self._failure = failure
        for receiver in list(self._receivers.values()):
            epolled = receiver() if receiver is not None else None
            if epolled is not None:
                epolled._wake_all(failure)

    def __repr__(self) -> str:
        return f"EpollWaiter({self.epfd}, {'root' if self.wait_readable is None else 'subsidiary'})"


class _Lease:
    """See `EpollWaiter.lease`.

    The loop of a root keeps the process alive in which it waits, since it is in the middle of a call there.
    So it must end when no task can wait any more.
    """

    __slots__ = ("__weakref__", "_loop")

    def __init__(self, loop: RunLoop) -> None:
        self._loop = loop

    @destructor
    def __del__(self) -> None:
        loop = getattr(self, "_loop", None)
        if loop is not None:
            loop.stop()


class Epoller:
    """Registers file descriptors with an epoll instance, through one task.

    Args:
        epoll_waiter: collects the events.
        ram: memory that the task of `epfd` can use.
        epfd: the epoll instance, as a file descriptor of the task that registers its own descriptors there.
    """

    __slots__ = ("_lease", "epfd", "epoll_waiter", "ram")

    def __init__(self, epoll_waiter: EpollWaiter, ram: RAM, epfd: FileDescriptor) -> None:
        self.epoll_waiter: EpollWaiter = epoll_waiter
        self.ram: RAM = ram
        self.epfd: FileDescriptor = epfd
        self._lease = epoll_waiter.lease()

    @staticmethod
    def make_subsidiary(
        ram: RAM, epfd: FileDescriptor, wait_readable: t.Callable[[], t.Awaitable[None]]
    ) -> Epoller:
        """Make an epoller for a process in which another loop does the waiting.

        Args:
            ram: memory of that process.
            epfd: an epoll instance; becomes the epoller's.
            wait_readable: returns when `epfd` is readable; called in a task of its own, again and again.
        """
        return Epoller(EpollWaiter(ram, epfd, wait_readable, 0), ram, epfd)

    @staticmethod
    async def make_root(ram: RAM, task: Task) -> Epoller:
        """Make an epoller for which `task` itself blocks, while any trio task waits.

        Args:
            ram: memory that `task` can use.
            task: any but the local one, which must not block.

        Raises:
            OSError: EMFILE, ENFILE, ENOMEM; EPERM if the process may not be told of waiting calls.
            SyscallError: the process is gone.

        manpage: epoll_create1(2)
        """
        epfd = (await opener(task).epoll_create(EpollFlag.CLOEXEC)).move(task)
        waiter = EpollWaiter(ram, epfd, None, -1)
        try:
            # Now, as long as the process is not busy.
            await waiter._watch_activity_fd(await waiter._ask_for_activity_fd())
        except BaseException:
            with trio.CancelScope(shield=True), contextlib.suppress(OSError, SyscallError):
                await epfd.invalidate()
            raise
        return Epoller(waiter, ram, epfd)

    @staticmethod
    def make_prepared(ram: RAM, epfd: FileDescriptor, activity_fd: FileDescriptor) -> Epoller:
        """As `make_root`, on an instance in which the process watches its activity fd already.

        Args:
            ram: memory that the task of `epfd` can use.
            epfd: the instance; becomes the epoller's.
            activity_fd: registered there, with its number as data.
        """
        waiter = EpollWaiter(ram, epfd, None, -1)
        waiter._activity_fd = activity_fd
        waiter._activity_number = waiter.allocate_number(int(activity_fd.near))
        return Epoller(waiter, ram, epfd)

    def inherit(self, ram: RAM) -> Epoller:
        """Return an epoller on the same instance for the file descriptors of `ram.task`, a child that
        inherited the instance.
        """
        return Epoller(self.epoll_waiter, ram, ram.task.inherit_fd(self.epfd))

    async def register(self, fd: FileDescriptor, events: EPOLL) -> EpolledFileDescriptor:
        """Start to watch a file descriptor.

        Args:
            fd: of the same file descriptor table as our task.
            events: the events to watch for. With ET each change is told once, as `EpolledFileDescriptor`
                expects; without it every `epoll_wait` reports again all that is ready.

        Returns:
            The registration. Delete it before you close `fd`.

        Raises:
            OSError: EPERM if this kind of file cannot be watched (regular files, directories), EEXIST if the
                number is registered already, by us or by a process that inherited the file with its number,
                ENOSPC, ENOMEM.

        manpage: epoll_ctl(2)
        """
        waiter = self.epoll_waiter
        epolled = EpolledFileDescriptor(self, fd, waiter.allocate_number(int(fd.near)))
        # The first event may come before the answer to the registration.
        waiter._receive(epolled.number, epolled)
        try:
            event = EpollEvent(epolled.number, events)
            try:
                await self.epfd.epoll_ctl(EPOLL_CTL.ADD, fd, await self.ram.ptr(event))
            except FileExistsError:
                if waiter._is_registered(fd, epolled):
                    raise
                # Left by a process that inherited the file with its number and is gone, or by a registration
                # that was dropped. Not MOD: the kernel wakes for the process that has added it.
                with contextlib.suppress(FileNotFoundError):
                    await self.epfd.epoll_ctl(EPOLL_CTL.DEL, fd)
                await self.epfd.epoll_ctl(EPOLL_CTL.ADD, fd, await self.ram.ptr(event))
        except BaseException as exn:
            # When the answer is lost, it may have been registered.
            epolled._remove(haunted=isinstance(exn, SyscallHangup | trio.Cancelled))
            raise
        return epolled


class EpolledFileDescriptor:
    """One registration: the believed state of the file, and the tasks that wait for it.

    Args:
        epoller: registered `fd`.
        fd: the watched descriptor; the registration does not own it.
        number: the data of the events of this registration.
    """

    __slots__ = ("__weakref__", "_removed", "_waits", "epoller", "fd", "number", "status")

    def __init__(self, epoller: Epoller, fd: FileDescriptor, number: int) -> None:
        self.epoller: Epoller = epoller
        self.fd: FileDescriptor = fd
        self.number: int = number
        self.status: FDStatus = FDStatus()
        # The tasks that sleep, and the flags for which they do.
        self._waits: dict[Waiter[None], int] = {}
        self._removed = False

    async def modify(self, events: EPOLL) -> None:
        """Watch for other events; whatever is ready now is reported again.

        Raises:
            OSError: ENOENT if the file descriptor is not registered any more.

        manpage: epoll_ctl(2)
        """
        self._check_not_removed()
        event = await self.epoller.ram.ptr(EpollEvent(self.number, events))
        await self.epoller.epfd.epoll_ctl(EPOLL_CTL.MOD, self.fd, event)

    async def delete(self) -> None:
        """Stop watching; waiting tasks get a `RemovedFromEpollError`. Does nothing if that has been done.

        The file descriptor must still be open: when it is closed first while another one refers to the same
        file, the registration cannot be deleted any more.

        manpage: epoll_ctl(2)
        """
        if self._removed:
            return
        gone = False
        try:
            if self.fd.valid:
                await self.epoller.epfd.epoll_ctl(EPOLL_CTL.DEL, self.fd)
                gone = True
        except OSError as exn:
            # Other code closed the number behind our back. ENOENT says that there is no registration.
            gone = exn.errno == errno.ENOENT
        except SyscallError:
            # The process is gone, and its file descriptors with it; but another process may still have the
            # file open.
            pass
        self._remove(haunted=not gone)

    async def wait_for(self, flags: int) -> None:
        """Sleep until one of `flags` is ready, or not at all if it is believed to be.

        When it returns, it is time to try, no more: the operation may find that another reader or writer was
        faster. Not a checkpoint if it does not sleep. A waiter that is cancelled loses nothing: the
        registration remembers events.

        Raises:
            RemovedFromEpollError: the registration is or was deleted.
            SyscallError: the process that waits for events is gone.
        """
        if self.status.ready(flags):
            return
        self._check_not_removed()
        waiter: Waiter[None] = Waiter()
        try:
            self._waits[waiter] = flags
            self.epoller.epoll_waiter._begin_wait(waiter)
            await waiter.wait(cancellable=True)
        except BaseException:
            # Cancelled; or told of a failure, and then it has been removed.
            self._forget(waiter)
            raise

    def get_current_events(self, flags: int) -> dict[EPOLL, int]:
        """The events of `flags` told so far; give them to `consume` after the operation that acts on them."""
        return self.status.current_events(flags)

    def consume(self, events: t.Mapping[EPOLL, int]) -> None:
        """The events from `get_current_events` have been acted on. Later ones stay."""
        self.status.consume(events)

    def _told(self, events: int) -> None:
        """An event came: write it down, and wake the tasks that wait for it."""
        self.status.told(events)
        if self._waits:
            self._wake(events)

    # Each is forgotten when it has been woken: if an exception comes in between, it is woken again.

    def _wake(self, events: int) -> None:
        for waiter in [waiter for waiter, flags in self._waits.items() if flags & events]:
            waiter.send(None)
            self._forget(waiter)

    def _wake_all(self, failure: Exception) -> None:
        for waiter in list(self._waits):
            waiter.throw(_another(failure))
            self._forget(waiter)

    def _forget(self, waiter: Waiter[None]) -> None:
        self.epoller.epoll_waiter._end_wait(waiter)
        self._waits.pop(waiter, None)

    def _check_not_removed(self) -> None:
        if self._removed:
            raise RemovedFromEpollError(f"{self.fd} is not registered with {self.epoller.epfd} any more")

    def _remove(self, haunted: bool) -> None:
        """The registration is deleted, or cannot be; `haunted` says whether the kernel may still report
        it.
        """
        if self._removed:
            return
        self.status.clear()
        self._wake_all(
            RemovedFromEpollError(f"{self.fd} was removed from {self.epoller.epfd} while being waited for")
        )
        # Interrupted after this, the number is never used again.
        self._removed = True
        waiter = self.epoller.epoll_waiter
        if haunted:
            waiter._abandon_number(self.number)
        else:
            waiter.remove_number_after_next_epoll_wait(self.number)

    @destructor
    def __del__(self) -> None:
        if not getattr(self, "_removed", True):
            self.epoller.epoll_waiter._abandon_number(self.number)

    def __repr__(self) -> str:
        return f"EpolledFileDescriptor({self.fd}, {self.number}, {self.status!r})"


def _set_lent(buffer: Pointer[EpollEventList], lent: bool) -> None:
    """While the kernel may write to a buffer, its memory has no owner.

    If a root is dropped in the middle of a call, the memory is then not given back: it must never be used for
    anything else. And no reference to it, and with it to the process, has to be kept anywhere.
    """
    allocation = buffer.allocation
    if isinstance(allocation, Allocation):
        allocation.valid = not lent


def _another(failure: Exception) -> Exception:
    """A fresh exception like `failure`: one raised in several tasks would collect all their tracebacks."""
    try:
        exn = type(failure)(*failure.args)
    except TypeError:
        return failure
    exn.__cause__ = failure
    return exn
