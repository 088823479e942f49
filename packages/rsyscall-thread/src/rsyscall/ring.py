"""Driving a process that shares our memory, through a ring in that memory.

The fast path is one C function: it puts the call into a slot, spins for the answer and takes it. Only when
the answer does not come within the budget does the caller go to sleep in trio, to be woken by the hub.
Answers come in the order of the calls, and the ring knows which task sleeps for which. An exception of a
signal handler may take a caller away between sending and sleeping: its answer is dropped, and never given to
another (see src/ring_sleep.c of the native part).

A process leaves our memory by exec or exit, and then the kernel clears a word that we can see: that tells
calls that will never be answered from calls that take long.

Sending, sleeping, delivering and the end are one module, since each of them reads and changes which calls are
under way.
"""

from __future__ import annotations

import errno
import os
import weakref
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, SupportsInt

import trio

from rsyscall.background import Waiter
from rsyscall.dumpable import CREDENTIAL_CALLS
from rsyscall.native import Ring, destructor, fast
from rsyscall.native.fast import LINKED
from rsyscall.near import (
    SYS,
    Syscall,
    SyscallError,
    SyscallHangup,
    SyscallInterface,
    SyscallSendError,
    nr,
    raise_if_error,
)
from rsyscall.near import types as near
from rsyscall.near.address_space import call_error
from rsyscall.near.calls import Fact, having

if TYPE_CHECKING:
    from rsyscall.handle import FileDescriptor, Task
    from rsyscall.hub import Offer, ProgramHub
    from rsyscall.native.fast import Sleeper
    from rsyscall.near.record import CallRecord

__all__ = ["RingConnection"]

_PENDING, _UNSENT, _HANGUP, _FULL = fast.PENDING, fast.UNSENT, fast.HANGUP, fast.FULL
_MAX_ERRNO = 4095
# How long to spin for the answer of a call that takes no time, in microseconds.
_QUICK_CALL_US = 1000.0

# For all other calls a pending cancellation is delivered before the call is sent. The check would cost the
# quick ones a third of their time.
_UNCHECKED = having(Fact.QUICK) | having(Fact.RELEASES)
# Success is not answered.
_LEAVING = having(Fact.LEAVES)
# May close the descriptor by which answers are announced; then the watcher has to announce them.
_CLOSING = having(Fact.CLOSES)


def _words(call: Sequence[SupportsInt]) -> list[int]:
    """The words that are sent for a call.

    Raises:
        TypeError, OverflowError: as if it had been sent at once.
    """
    words = []
    for value in call:
        if isinstance(value, float | str | bytes | bytearray):
            raise TypeError(
                f"an argument of a system call is an integer or convertible by int(), not {value!r}"
            )
        word = int(value)
        if not -(2**63) <= word < 2**64:
            raise OverflowError(f"{value!r} does not fit into 64 bits")
        words.append(word)
    return words


def _closed_call(*_args: object) -> int:
    return _UNSENT


def _closed_call_many(*_args: object) -> tuple[list[int], int]:
    return [], _UNSENT


class _Caller(Waiter[int]):
    """Waits for one answer."""

    __slots__ = ()

    def answer(self, index: int, result: int) -> None:
        self.send(result)

    def fail(self, error: BaseException) -> None:
        self.throw(error)


class _Collector:
    """Waits for the answers to several calls, in their order. Some may have arrived already."""

    __slots__ = ("results", "total", "waiter")

    def __init__(self, results: list[int], total: int) -> None:
        self.results = results
        self.total = total
        self.waiter: Waiter[None] = Waiter()

    @property
    def done(self) -> bool:
        """Whether all answers have arrived, or no more will."""
        return self.waiter.done

    def answer(self, index: int, result: int) -> None:
        self.results[index:] = [result]
        if index == self.total - 1:
            self.waiter.send(None)

    def fail(self, error: BaseException) -> None:
        self.waiter.throw(error)


class _LateActivityFD:
    """Takes the answer to the call that makes an activity fd, which did not come in time."""

    __slots__ = ("_connection",)

    def __init__(self, connection: RingConnection) -> None:
        self._connection = connection

    def answer(self, index: int, result: int) -> None:
        if result >= 0 and self._connection._activity_fd is None:
            try:
                self._connection._activity_fd = self._connection._take_activity_fd(result)
            except Exception:
                # The next caller gets the error. (Also when the process is about to execute a program, and
                # makes no handles.) Here it would end the loop that delivers all answers.
                pass

    def fail(self, error: BaseException) -> None:
        pass


class _LateOffer:
    """Takes the answer to a call that sends us a descriptor, if that comes too late to be of use."""

    __slots__ = ("_offer",)

    def __init__(self, offer: Offer) -> None:
        self._offer = offer

    def answer(self, index: int, result: int) -> None:
        self._offer.forget()

    def fail(self, error: BaseException) -> None:
        self._offer.forget()


class _Client:
    """The hub's view of a connection.

    It must not keep the connection alive: the unanswered calls may have no waiter any more.
    """

    __slots__ = ("_connection", "_hub", "_ring")

    def __init__(self, connection: RingConnection) -> None:
        self._connection = weakref.ref(connection)
        self._hub = connection._hub
        self._ring = connection.ring

    def deliver(self) -> None:
        connection = self._connection()
        if connection is not None:
            connection.deliver()
        else:
            self._hub.not_waiting(self._ring)

    def process_left(self) -> None:
        connection = self._connection()
        if connection is not None:
            connection.process_left()
        else:
            self._ring.close_doorbell()
            self._hub.not_waiting(self._ring)
            self._hub.left(self._ring)


class RingConnection(SyscallInterface):
    """The way to one process that shares our memory.

    A call that answers within the spin budget is not a checkpoint. A call that may block is a cancellation
    point before it is sent; after that its caller waits for the answer in any case.

    Args:
        hub: shared by all rings of the program.
        ring: of the process, which has been started.
        name: for messages, such as `process 1234`.
    """

    shares_memory = True
    borrows_memory = True

    __slots__ = (
        "__weakref__",
        "_activity_fd",
        "_backlog",
        "_call",
        "_call_many",
        "_client",
        "_closed",
        "_gone",
        "_hub",
        "_recorded_call",
        "_task",
        "name",
        "ring",
    )

    def __init__(self, hub: ProgramHub, ring: Ring, name: str) -> None:
        self.ring: Ring = ring
        self.name: str = name
        self._hub = hub
        self._call = ring.call
        self._recorded_call = ring.recorded_call
        self._call_many = ring.call_many
        # Calls that found no free slot: (sleeper, index among its calls, words, record).
        self._backlog: deque[tuple[Sleeper, int, tuple[int, ...], CallRecord | None]] = deque()
        self._task: weakref.ref[Task] | None = None
        self._activity_fd: FileDescriptor | None = None
        self._client = _Client(self)
        # Whether `process_left` has been done.
        self._gone = False
        # Last: until then the destructor does nothing.
        self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else "left" if self.ring.left else "running"
        return f"RingConnection({self.name}, {state})"

    @destructor
    def __del__(self) -> None:
        # No task can reach the process any more: it goes.
        if not getattr(self, "_closed", True):
            self.ring.shutdown()
            self._hub.dismissed(self.ring)

    def attach(self, task: Task) -> None:
        """Say which task is driven."""
        self._task = weakref.ref(task)

    # ---- calls ----

    # A KeyboardInterrupt would lose the result of a call that has been made.
    @trio.lowlevel.enable_ki_protection
    async def syscall(
        self,
        number: SYS,
        arg1: SupportsInt = 0,
        arg2: SupportsInt = 0,
        arg3: SupportsInt = 0,
        arg4: SupportsInt = 0,
        arg5: SupportsInt = 0,
        arg6: SupportsInt = 0,
    ) -> int:
        """Make a call in the process; see `SyscallInterface.syscall`."""
        if number not in _UNCHECKED:
            if number in CREDENTIAL_CALLS:
                self._hub.dumpable.look()
            await trio.lowlevel.checkpoint_if_cancelled()
        waiter = None
        try:
            result = self._call(number, arg1, arg2, arg3, arg4, arg5, arg6)
            if result >= 0:
                return result
            if result >= -_MAX_ERRNO:
                raise self._error(result, number, arg1, arg2)
            waiter = _Caller()
            call = (number, arg1, arg2, arg3, arg4, arg5, arg6)
            return await self._finish(waiter, result, call, None)
        except BaseException as error:
            await self._outlast(waiter, error)
            raise

    @trio.lowlevel.enable_ki_protection
    async def recorded_syscall(
        self,
        record: CallRecord,
        number: SYS,
        arg1: SupportsInt = 0,
        arg2: SupportsInt = 0,
        arg3: SupportsInt = 0,
        arg4: SupportsInt = 0,
        arg5: SupportsInt = 0,
        arg6: SupportsInt = 0,
    ) -> int:
        """As `syscall`; the outcome is in `record`, too, even if an exception comes at any moment."""
        if number not in _UNCHECKED:
            await trio.lowlevel.checkpoint_if_cancelled()
        waiter = None
        try:
            result = self._recorded_call(record, number, arg1, arg2, arg3, arg4, arg5, arg6)
            if result >= 0:
                return result
            if result >= -_MAX_ERRNO:
                raise self._error(result, number, arg1, arg2)
            waiter = _Caller()
            call = (number, arg1, arg2, arg3, arg4, arg5, arg6)
            return await self._finish(waiter, result, call, record)
        except BaseException as error:
            await self._outlast(waiter, error)
            raise

    async def _finish(
        self, waiter: _Caller, result: int, call: tuple[SupportsInt, ...], record: CallRecord | None
    ) -> int:
        """The rest of a call that was not answered at once.

        Args:
            result: why not.
        """
        if result == _PENDING:
            self._sleep(waiter, 1, 0, call[0] in _LEAVING, call[0] in _CLOSING)
            result = await waiter.wait(cancellable=False)
        elif result == _FULL:
            self._queue(waiter, 0, [call], False, record)
            result = await waiter.wait(cancellable=False)
        elif result == _UNSENT:
            raise self._send_error()
        elif result == _HANGUP:
            self.process_left()
            raise self._hangup()
        if 0 > result >= -_MAX_ERRNO:
            raise self._error(result, *call)
        return result if result >= 0 else result + 2**64

    def _error(self, result: int, *call: SupportsInt) -> OSError:
        return call_error(result, self.name, *call)

    async def _outlast(self, sleeper: _Caller | _Collector | None, error: BaseException) -> None:
        """If calls have been sent whose caller was interrupted on its way to sleep, wait for their answers.

        Until then the kernel may write into memory that the caller lends to them, and takes back when the
        exception goes on. Calls are executed in order: when a later one is answered, they have been.

        Args:
            sleeper: of the caller, if there is one already.
            error: the exception that interrupted it, or that one of its calls or arguments raised.
        """
        ring = self.ring
        if ring.left:
            return  # there is nothing that the kernel could write any more
        if sleeper is not None and sleeper.done:
            return
        if isinstance(error, trio.Cancelled):
            return  # a task in the background, at the end of the run, which is not to be held up
        # All others that have sent something are asleep.
        sent = ring.outstanding and ring.last_sleeper() in (None, sleeper)
        if sent or any(entry[0] is sleeper for entry in self._backlog):
            call = (nr.getpid,)
            try:
                result = self._call(*call)
                if result < 0:
                    await self._finish(_Caller(), result, call, None)
            except (OSError, SyscallError):
                pass

    @trio.lowlevel.enable_ki_protection
    async def syscalls(self, calls: Sequence[Syscall], linked: bool = False) -> list[int]:
        """Make several calls in one go; see `SyscallInterface.syscalls`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        todo: list[Any] = calls if isinstance(calls, list) else list(calls)
        collector = None
        try:
            answer = self._call_many(todo, linked)
            if isinstance(answer, list):
                return answer
            results, code = answer
            collector = _Collector(results, len(todo))
            if code == _UNSENT:
                raise self._send_error()
            if code == _HANGUP:
                raise self._left_in_course(results)
            if (
                code == _PENDING
                and todo[-1][0] in _LEAVING
                and self._hub.exits.block_until_left(self.ring)
                and self.ring.left
            ):
                raise self._left_in_course(results)
            sent = self.ring.outstanding if code == _PENDING else 0
            under_way, rest = todo[len(results) : len(results) + sent], todo[len(results) + sent :]
            answered = len(results)
            if under_way:
                numbers = {call[0] for call in under_way}
                self._sleep(collector, sent, answered, bool(numbers & _LEAVING), bool(numbers & _CLOSING))
            if rest:
                # Behind these calls, or those of others.
                self._queue(collector, answered + sent, rest, linked)
            await self._collect(collector)
        except BaseException as exn:
            await self._outlast(collector, exn)
            raise
        return results

    async def _collect(self, collector: _Collector) -> None:
        """Wait for all answers."""
        try:
            await collector.waiter.wait(cancellable=False)
        except SyscallError as error:
            raise self._lost(collector.results, error) from None

    def _lost(self, results: Sequence[int], error: SyscallError) -> SyscallError:
        """The error for a batch of which these calls were answered."""
        if results and not isinstance(error, SyscallHangup):
            error = self._hangup()
        if isinstance(error, SyscallHangup):
            error.results = list(results)
        return error

    def _left_in_course(self, results: list[int]) -> SyscallHangup:
        """The error for a batch during which the process left: after these results, or after more."""
        error = self._hangup()
        while (result := self.ring.next_result()) not in (_PENDING, _HANGUP):
            results.append(result)
        error.results = results
        self.process_left()
        return error

    def _sleep(self, sleeper: Sleeper, count: int, index: int, leaving: bool, closing: bool) -> None:
        """Let a caller sleep whose `count` calls have been sent and were not answered in time.

        Args:
            index: of the first of them among the calls of the sleeper.
        """
        # First, because the hub throws away an announcement of a ring that it does not know.
        self._hub.waiting(self.ring, self._client)
        self.ring.sleep(sleeper, count, index)
        if leaving:
            self._hub.watch_leave(self.ring, self._client.process_left)
        elif closing or self.ring.deaf:
            self._hub.ensure_watcher()

    def _queue(
        self,
        sleeper: Sleeper,
        first: int,
        calls: Sequence[tuple[SupportsInt, ...]],
        linked: bool,
        record: CallRecord | None = None,
    ) -> None:
        """Send calls behind those that are under way, as soon as there is room."""
        # Convert all of them first: a bad argument sends none.
        words = [_words(call) for call in calls]
        leaving = closing = False
        for index, call in enumerate(words, 1):
            number = call[0]
            leaving |= number in _LEAVING
            closing |= number in _CLOSING
            if linked and index < len(words):
                call[0] = number | LINKED
        self._hub.waiting(self.ring, self._client)  # as in _sleep
        # In one step, which no exception can divide.
        self._backlog.extend(
            [(sleeper, index, tuple(call), record) for index, call in enumerate(words, first)]
        )
        # If the process has left, we are told.
        self.ring.put_backlog(self._backlog)
        self._sleep(sleeper, 0, 0, leaving, closing)

    def deliver(self) -> None:
        """Hand the answers that have arrived to their callers. If this is interrupted, call it again."""
        code = self.ring.deliver()
        while self._backlog and code != _HANGUP:
            if not self.ring.put_backlog(self._backlog):
                if code == _PENDING:
                    return
                # There was room, and yet they could not be sent.
                self._fail()
                return
            code = self.ring.deliver()
        if code == _HANGUP:
            self._fail()
        elif code != _PENDING:
            self._hub.not_waiting(self.ring)
            self._hub.unwatch_leave(self.ring)

    def process_left(self) -> None:
        """The process has left our memory: what is not answered will never be."""
        if self._gone and not self.ring.outstanding and not self._backlog:
            return
        self.deliver()
        if self.ring.outstanding or self._backlog:
            self._fail()
        self.ring.close_doorbell()
        self._hub.left(self.ring)
        self._gone = True

    def _fail(self) -> None:
        for sleeper in self.ring.sleepers():
            sleeper.fail(self._hangup())
        for sleeper, _, _, _ in self._backlog:
            sleeper.fail(self._send_error())
        # Last, so that it can be done again.
        self.ring.forget()
        self._backlog.clear()
        self._hub.not_waiting(self.ring)
        self._hub.unwatch_leave(self.ring)

    def _hangup(self) -> SyscallHangup:
        return SyscallHangup(
            f"{self.name} left before it answered: it has exited, been killed, or executed a program"
        )

    def _send_error(self) -> SyscallSendError:
        return SyscallSendError(
            f"{self.name} cannot be reached: it has exited, been killed, or executed a program"
        )

    # ---- the rest of the interface ----

    def check_owner(self) -> None:
        """Raise unless this is the OS thread, of the very program, that drives the process."""
        self._hub.check_owner()

    async def read_memory(self, address: SupportsInt, length: int) -> bytes:
        """Copy out of the memory that we share. The range has to be readable: nothing checks it."""
        return fast.read_memory(address, length)

    async def write_memory(self, address: SupportsInt, data: bytes) -> None:
        """Copy into the memory that we share. The range has to be writable: nothing checks it."""
        fast.write_memory(address, data)

    @trio.lowlevel.enable_ki_protection
    async def close_interface(self) -> None:
        """Have the process exit, unless it has left our memory already. It is killed if it is in a call.

        Callers hear of the hang-up when it has left our memory, which it may be about to write into.
        """
        if self._closed:
            return
        self.check_owner()
        self._closed = True
        # Not methods, by which we would refer to ourselves.
        self._call = self._recorded_call = _closed_call
        self._call_many = _closed_call_many
        under_way = self.ring.outstanding
        self.ring.shutdown()
        if self.ring.left:
            self._client.process_left()
        elif under_way:
            self._kill_in_call()

    def _kill_in_call(self) -> None:
        """Kill the process, which is in a call."""
        self._hub.watch_leave(self.ring, self._client.process_left)
        task = self._task() if self._task is not None else None
        pidfd = self._hub.pidfds.get(task) if task is not None else None
        if pidfd is not None:
            pidfd.kill()  # if that is not possible it leaves when it likes

    def get_activity_fd(self) -> FileDescriptor:
        """An eventfd in the process that becomes readable when we have work for it.

        Made when first asked for, since most processes never block on behalf of others.

        Raises:
            RuntimeError: the process is in a call at the moment, or does not run (stopped, say). Ask again
                when it has made another call.
            OSError: no descriptor is left, or the process has changed its user, so that we may not take its
                descriptors (pidfd_getfd(2)).
        """
        if self._activity_fd is None:
            task = self._task() if self._task is not None else None
            # Its table may be another one by the time when the descriptor is made. (The answer may be there
            # already, and its caller not know yet.)
            if self.ring.outstanding or (task is not None and task.manipulating_fd_table):
                raise RuntimeError(f"{self.name} is in a call: ask for its activity fd before it blocks")
            from rsyscall.sys.eventfd import EFD

            result = self._call(nr.eventfd2, 0, EFD.NONBLOCK | EFD.CLOEXEC)
            if result == _PENDING and self.ring.wait(_QUICK_CALL_US):
                result = self.ring.next_result()
            if result == _PENDING:
                self._sleep(_LateActivityFD(self), 1, 0, False, False)
                raise RuntimeError(f"{self.name} does not answer: ask for its activity fd when it does")
            if result in (_UNSENT, _HANGUP):
                raise self._send_error()
            raise_if_error(result)
            self._activity_fd = self._take_activity_fd(result)
        return self._activity_fd

    def _take_activity_fd(self, result: int) -> FileDescriptor:
        task = self._task() if self._task is not None else None
        if task is None:
            raise RuntimeError(f"{self.name} is not attached to a task")
        theirs: FileDescriptor = task.make_fd_handle(near.FileDescriptor(result))
        local = self._hub.task
        # Ours belongs to the ring, which must be able to wake the process to the very end; a handle might be
        # collected before it.
        if task.fd_table is local.fd_table:
            ours = os.dup(result)
        else:
            try:
                taken = self._hub.take_or_be_offered(task, result)
            except OSError as error:
                if error.errno in (errno.ESRCH, errno.EBADF):
                    raise self._hangup() from error  # it was killed just now
                raise
            ours = taken if isinstance(taken, int) else self._accept(taken)
        self.ring.watch_activity(ours)
        return theirs

    def _accept(self, offer: Offer) -> int:
        """Have the process send us a descriptor, at once; see `ProgramHub.take_descriptor`."""
        result = _UNSENT if self.ring.outstanding else self._call(*offer.call)
        if result == _PENDING and self.ring.wait(_QUICK_CALL_US):
            result = self.ring.next_result()
        if result >= 0:
            return offer.take()
        if result == _PENDING:
            self._sleep(_LateOffer(offer), 1, 0, False, False)
        else:
            offer.forget()
        if result >= -_MAX_ERRNO:
            raise_if_error(result)
        if result == _HANGUP:
            raise self._hangup()
        raise RuntimeError(f"{self.name} does not answer: ask for its activity fd when it does")
