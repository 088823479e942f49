"""Work that belongs to the current `trio.run`, and waiting for it.

Objects such as the local thread outlive a `trio.run`, while trio's tasks do not. So a background loop is
a *system task* of whatever run is going on, started again in the next run when a task needs it.

Waiting for the answer to a system call that has been sent must not be cut short by cancellation: almost
every call has effects that its caller has to know of. A `CancelScope` with a shield costs ten times what
a call in shared memory costs, so the shield here is an abort function that refuses.

**Exceptions.** A signal handler may raise in a loop as anywhere else. That ends the run: trio cancels the
tasks of the program, and all loops. But those tasks may have sent a call, or reap a child in a shielded
scope, and the loops tell them when it is done. So each run has two *deputies*: tasks that sleep until the run
ends. If the tasks of the program have not ended by then, a deputy restarts the loops that were cut short, and
cancels them when the program has ended. There are two because the exception may hit one of them.

They do the same at the ordinary end of a run for work in the background that has to close descriptors of
other processes before it goes.

Hence the body of a loop must bear being restarted after an exception at any place: objects that outlive it
record what it was doing, and it forgets a piece of work only when that is done.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from functools import partial
from typing import Any, Generic, TypeVar

import outcome
import trio

from rsyscall.near.local import ForkedProcessError, WrongThreadError

__all__ = [
    "RunLoop",
    "Waiter",
    "program_has_ended",
    "run_is_over",
    "run_now",
    "start_background",
    "together",
    "weakly",
]

T = TypeVar("T")

# Set in system tasks. They are cancelled at the end of a run and have to go then, whatever they wait for.
_in_background: ContextVar[bool] = ContextVar("rsyscall_in_background", default=False)

# Cheaper than to ask the kernel each time.
_pid = os.getpid()


def _after_fork() -> None:
    global _pid
    _pid = os.getpid()


os.register_at_fork(after_in_child=_after_fork)


def run_now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, as those of a `LocalSyscall` do, and return its result."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise RuntimeError(f"{coroutine!r} was expected to finish at once, but it waits for something")


# What `start_background` runs in this run.
_at_work: trio.lowlevel.RunVar[weakref.WeakSet[trio.lowlevel.Task] | None] = trio.lowlevel.RunVar(
    "rsyscall_at_work", None
)


async def together(*steps: Callable[[], Awaitable[Any]], cancel_others: bool = False) -> list[Any]:
    """Run these at the same time; returns their results.

    Args:
        cancel_others: when one of them fails, cancel the others. Otherwise they go on to their ends, as they
            have to where what they make is cleaned up by the caller.

    Raises:
        Exception: the first one, without a group, when all have ended.
    """
    results: list[Any] = [None] * len(steps)
    failures: list[Exception] = []

    async def run(index: int) -> None:
        try:
            results[index] = await steps[index]()
        except Exception as error:
            failures.append(error)
            if cancel_others:
                nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for index in range(len(steps)):
            nursery.start_soon(run, index)
    if failures:
        raise failures[0]
    return results


def start_background(body: Callable[[], Awaitable[None]], name: str) -> None:
    """Run `body` once in the background of the current trio run; it is cancelled at the end of the run.

    Other processes answer until it has ended, so it may wait for them, shielded.

    Raises:
        RuntimeError: not called from within a `trio.run`, or the run is ending and takes no more.
    """
    task = _start_system_task(body, name)
    tasks = _at_work.get()
    if tasks is None:
        tasks = weakref.WeakSet()
        _at_work.set(tasks)
    tasks.add(task)


def _start_system_task(body: Callable[[], Awaitable[None]], name: str) -> trio.lowlevel.Task:
    return trio.lowlevel.spawn_system_task(_background, body, name=name)


async def _background(body: Callable[[], Awaitable[None]]) -> None:
    _in_background.set(True)
    await body()


def _loops_may_end() -> bool:
    """Whether no task in this run waits for what the loops receive; asked by a background task."""
    return program_has_ended() and not any(map(_has_not_ended, _at_work.get() or ()))


def _has_not_ended(task: trio.lowlevel.Task) -> bool:
    # trio knows, whatever exception comes where. A count of our own would be wrong after one.
    return task.parent_nursery is not None and task in task.parent_nursery.child_tasks


def program_has_ended() -> bool:
    """Whether the tasks of the program have ended in this run; asked by a background task."""
    nursery = trio.lowlevel.current_task().parent_nursery
    while nursery is not None and nursery.parent_task.parent_nursery is not None:
        nursery = nursery.parent_task.parent_nursery
    # Inside of the nursery of system tasks there is another one, for the main task.
    return nursery is None or nursery.parent_task.child_nurseries[-1] is nursery


def run_is_over() -> bool:
    """Whether this is a background task, and the tasks of the program have ended in this run.

    Unless the task is one of `start_background`, the loops that wait for answers may have ended, too: then a
    shielded wait would never end.
    """
    return _in_background.get() and program_has_ended()


def weakly(owner: T, method: Callable[[T], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    """A method as the body of a loop that `owner` owns, without a circle of references.

    Between two runs of the loop nothing but its owners keeps the object alive; while the body runs it does.
    """
    # A WeakMethod costs ten times as much.
    reference = weakref.ref(owner)

    async def body() -> None:
        alive = reference()
        if alive is not None:
            await method(alive)

    return body


class _Deputies:
    """The loops of one run, and the tasks that take over when an exception has ended it; see the module."""

    __slots__ = ("_started", "_token", "loops")

    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        self.loops: set[RunLoop] = set()
        self._started = 0
        self._token = token

    def ensure_started(self) -> None:
        while self._started < 2:
            _start_system_task(self._stand_by, "rsyscall: deputy")
            self._started += 1

    async def _stand_by(self) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            if not _loops_may_end():
                with trio.CancelScope(shield=True):
                    await self._take_over()
            # The run, and we with it, may be remembered for longer than what the loops keep alive.
            self.loops.clear()
            raise

    async def _take_over(self) -> None:
        async with trio.open_nursery() as nursery:
            while not _loops_may_end():
                for loop in [loop for loop in self.loops if not loop.runs_in(self._token)]:
                    nursery.start_soon(loop._run, self._token, name=loop._name)
                await trio.sleep(0.001)
            nursery.cancel_scope.cancel()


_deputies: trio.lowlevel.RunVar[_Deputies | None] = trio.lowlevel.RunVar("rsyscall_deputies", None)


def _deputies_of(token: trio.lowlevel.TrioToken) -> _Deputies:
    """Those of the current run."""
    deputies = _deputies.get()
    if deputies is None:
        deputies = _Deputies(token)
        _deputies.set(deputies)
    return deputies


class RunLoop:
    """One background coroutine per trio run, started on demand.

    It belongs to the OS thread in which it is first started: there is only one loop, so in another thread it
    would take from the right one what that waits for.

    Args:
        body: the loop; cancelled at the end of the run. When it returns, the next `ensure_running` starts it
            again. An exception that leaves it is a bug, or came from a signal handler; it ends the whole run,
            as in any system task. The body is restarted then, until the tasks of the program have ended.
        name: what to call it in trio's debugging output.
    """

    __slots__ = (
        "_body",
        "_ident",
        "_name",
        "_pid",
        "_running",
        "_scope",
        "_stopped",
        "_thread_name",
        "_tid",
        "_token",
    )

    def __init__(self, body: Callable[[], Awaitable[None]], name: str) -> None:
        self._body = body
        self._name = name
        # The run in which it has been started; an exception that comes right after the start keeps it from
        # being set.
        self._token: trio.lowlevel.TrioToken | None = None
        # The run and the task in which it runs. If an exception kept it from being forgotten, that task has
        # ended.
        self._running: tuple[trio.lowlevel.TrioToken, trio.lowlevel.Task] | None = None
        self._scope: trio.CancelScope | None = None
        self._stopped = False
        # Whose it is, once it has been started. (No thread has 0 as its ident.)
        self._ident = self._tid = self._pid = 0
        self._thread_name = ""

    def ensure_running(self) -> None:
        """Start the loop unless it runs in this `trio.run` already.

        Raises:
            RuntimeError: not called from within a `trio.run`, or the run is ending and takes no more.
            WrongThreadError: that is not a run of the OS thread in which the loop was first started.
            ForkedProcessError: this is a copy of the process in which it was.
        """
        if self._ident and self._pid != _pid:
            raise ForkedProcessError(
                f"the loop {self._name!r} belongs to {self._describe_owner()} of process {self._pid}, "
                f"which forked this one ({_pid})"
            )
        try:
            token = trio.lowlevel.current_trio_token()
        except RuntimeError as error:
            raise RuntimeError(
                "this waits for events in a run of trio, and there is none in this OS thread: use trio.run() "
                "or, from asyncio and synchronous code, rsyscall.Portal and rsyscall.run_sync"
            ) from error
        if self._token is not token:
            # Another thread has another run.
            ident = threading.get_ident()
            if self._ident not in (0, ident):
                raise WrongThreadError(
                    f"the loop {self._name!r} belongs to {self._describe_owner()}; it was used on "
                    f"thread {threading.get_native_id()} ({threading.current_thread().name})"
                )
            deputies = _deputies_of(token)
            deputies.ensure_started()
            _start_system_task(partial(self._run, token), self._name)
            deputies.loops.add(self)
            if not self._ident:
                self._thread_name = threading.current_thread().name
                self._tid = threading.get_native_id()
                self._pid = _pid
                self._ident = ident
            self._token = token

    def _describe_owner(self) -> str:
        return f"thread {self._tid} ({self._thread_name})"

    async def _run(self, token: trio.lowlevel.TrioToken) -> None:
        if self.runs_in(token):
            return
        if not self._stopped:
            self._running = token, trio.lowlevel.current_task()
            self._token = token
            try:
                with trio.CancelScope() as self._scope:
                    await self._body()
            except BaseException:
                # `ensure_running` starts it again, and so does a deputy.
                self._token = self._running = self._scope = None
                if _loops_may_end():
                    _deputies_of(token).loops.discard(self)
                raise
        # In this order: a deputy takes care of it if an exception comes in between.
        self._token = self._running = self._scope = None
        _deputies_of(token).loops.discard(self)

    def runs_in(self, token: trio.lowlevel.TrioToken) -> bool:
        """Whether the loop is under way in this run."""
        running = self._running
        return running is not None and running[0] is token and running[1].coro.cr_frame is not None

    @property
    def is_running(self) -> bool:
        """Whether the loop is under way, in some run."""
        running = self._running
        return running is not None and running[1].coro.cr_frame is not None

    def stop(self) -> None:
        """Cancel the loop, soon and for good; may be called from a destructor and in any OS thread."""
        self._stopped = True
        token, scope = self._token, self._scope
        if token is not None and scope is not None:
            try:
                token.run_sync_soon(scope.cancel)
            except trio.RunFinishedError:
                pass


_TAKEN: outcome.Value[Any] = outcome.Value(None)


class Waiter(Generic[T]):
    """A parked task that is woken once, with a value or an error; before or after it goes to sleep.

    Waking one that has been abandoned, because of cancellation, does nothing; `abandoned` tells.
    """

    __slots__ = ("_outcome", "_run", "_task", "abandoned")

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None
        self._outcome: outcome.Outcome[T] | None = None
        self.abandoned: bool = False

    @property
    def done(self) -> bool:
        """Whether it has been woken."""
        return self._outcome is not None

    def resume(self, value: outcome.Outcome[T]) -> None:
        """Wake the task with this outcome. Harmless when repeated, as an interrupted caller may do."""
        if self.abandoned:
            return
        if self._outcome is None:
            self._outcome = value
        task = self._task
        # trio takes our mark away when it wakes the task. A run that has crashed leaves its tasks behind.
        if (
            task is not None
            and task.custom_sleep_data is self
            and trio.lowlevel.current_trio_token() is self._run
        ):
            trio.lowlevel.reschedule(task, self._outcome)

    def send(self, value: T) -> None:
        """Wake the task with a value."""
        self.resume(outcome.Value(value))

    def throw(self, error: BaseException) -> None:
        """Wake the task with an exception."""
        self.resume(outcome.Error(error))

    async def wait(self, *, cancellable: bool) -> T:
        """Sleep until woken.

        Args:
            cancellable: whether cancellation detaches the waiter; a background loop always is detached.
        """
        task = trio.lowlevel.current_task()
        self._run = trio.lowlevel.current_trio_token()
        detachable = cancellable or _in_background.get()

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            if not detachable:
                return trio.lowlevel.Abort.FAILED
            self.abandoned = True
            return trio.lowlevel.Abort.SUCCEEDED

        try:
            if self._outcome is not None:
                return self._outcome.unwrap()
            self._task = task
            task.custom_sleep_data = self
            result: T = await trio.lowlevel.wait_task_rescheduled(abort)
            return result
        except BaseException:
            # Told so, or interrupted on the way to sleep; it must not be woken from another sleep then.
            self.abandoned = True
            if self._outcome is not None:
                # An error refers to the frames that it went through, and one of them to us.
                self._outcome = _TAKEN
            raise
