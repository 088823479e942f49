"""A way in for code that does not run in trio: other OS threads, plain synchronous code, asyncio.

The processes of a `LocalThread` belong to one OS thread: the kernel lets only that thread wait for them, and
kills them when it ends (PR_SET_PDEATHSIG). A `Portal` is such an OS thread, with a run of trio in it. Other
threads hand it async functions, any number at once, and get the results; everything that they make there
lives until the portal is closed, whatever becomes of the threads that asked for it.

`run_sync` uses one portal for the whole program, which is started when it is first needed and ends with the
program. After a fork the copy starts another one when it needs it.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio

from rsyscall.local import LocalThread

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from rsyscall.command import Command
    from rsyscall.completed import CompletedCommand
    from rsyscall.running import RunOptions

__all__ = ["Portal", "PortalClosedError", "run_sync"]

T = TypeVar("T")


class PortalClosedError(RuntimeError):
    """A portal was used before it was open, or after it was closed; or it was closed meanwhile."""


def _bound(
    function: Callable[..., Awaitable[T]], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Callable[[], Awaitable[T]]:
    """The call, which is made in the portal.

    Raises:
        TypeError: this is no function.
    """
    if not callable(function):
        raise TypeError(f"expected an async function and its arguments, not {function!r}")

    async def call() -> T:
        result = function(*args, **kwargs)
        if not isinstance(result, Awaitable):
            raise TypeError(f"expected an async function, but {function!r} returned {result!r}")
        return await result

    return call


class _Job(Generic[T]):
    """One call through a portal."""

    def __init__(self, call: Callable[[], Awaitable[T]]) -> None:
        self.future: Future[T] = Future()
        self.scope = trio.CancelScope()
        self._call = call

    async def run(self) -> None:
        """Make the call, in the portal."""
        future = self.future
        try:
            with self.scope:
                result = await self._call()
                future.set_result(result)
            if self.scope.cancelled_caught:
                future.set_exception(CancelledError())
        except trio.Cancelled:
            future.set_exception(PortalClosedError("the portal was closed"))
            raise
        except BaseException as error:
            future.set_exception(error)
            # What is no Exception is for the caller, too: it came from the call, or from its cancellation.

    def cancel(self) -> None:
        """Have the call cancelled, in the portal."""
        self.scope.cancel()


class Portal(AbstractContextManager["Portal"]):
    """An OS thread with a run of trio, and a `LocalThread` in it; a context manager.

    Attributes:
        thread: the local thread. Use it, and what comes from it, only in functions given to the portal.
    """

    thread: LocalThread

    def __init__(self) -> None:
        self._pid = 0
        self._token: trio.lowlevel.TrioToken | None = None
        self._nursery: trio.Nursery | None = None
        self._stop: trio.Event | None = None
        self._os_thread: threading.Thread | None = None

    def open(self) -> Portal:
        """Start the OS thread; returns the portal."""
        if self._os_thread is not None and self._pid == os.getpid():
            raise RuntimeError("the portal is open already")
        started: Future[None] = Future()
        self._pid = os.getpid()
        # A daemon, so that the program can end without closing it. Its children end with it.
        self._os_thread = threading.Thread(
            target=self._main, args=[started], name="rsyscall portal", daemon=True
        )
        self._os_thread.start()
        started.result()
        return self

    def _main(self, started: Future[None]) -> None:
        try:
            self.thread = LocalThread()
            trio.run(self._serve, started)
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)
        finally:
            self._token = self._nursery = self._stop = None
            self.thread.close()
            del self.thread
            # What it made belongs to this OS thread, so it has to go here.
            gc.collect()

    async def _serve(self, started: Future[None]) -> None:
        self._stop = trio.Event()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._token = trio.lowlevel.current_trio_token()
            started.set_result(None)
            await self._stop.wait()
            nursery.cancel_scope.cancel()

    def close(self) -> None:
        """Cancel the calls that go on, wait for their end, and end the OS thread."""
        os_thread, token, stop = self._os_thread, self._token, self._stop
        if os_thread is None or self._pid != os.getpid():
            return
        if token is not None and stop is not None:
            try:
                token.run_sync_soon(stop.set)
            except trio.RunFinishedError:
                pass
        os_thread.join()
        self._os_thread = None

    def __enter__(self) -> Portal:
        return self.open()

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _submit(self, call: Callable[[], Awaitable[T]]) -> _Job[T]:
        token = self._token
        if token is None or self._pid != os.getpid():
            raise PortalClosedError("the portal is not open in this process")
        job = _Job(call)

        def start() -> None:
            nursery = self._nursery
            assert nursery is not None
            try:
                nursery.start_soon(job.run)
            except RuntimeError:
                job.future.set_exception(PortalClosedError("the portal was closed"))

        try:
            token.run_sync_soon(start)
        except trio.RunFinishedError:
            raise PortalClosedError("the portal was closed") from None
        return job

    def _cancel(self, job: _Job[Any]) -> None:
        token = self._token
        if token is not None:
            try:
                token.run_sync_soon(job.cancel)
            except trio.RunFinishedError:
                pass

    def call(self, function: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        """Call an async function in the portal, and wait for its result.

        Args:
            function, args, kwargs: what to call. It may use `thread` of the portal.

        Raises:
            PortalClosedError: the portal is not open, or was closed meanwhile.
            RuntimeError: this is the OS thread of the portal.
            TypeError: this is no async function.

        An exception in the waiting thread, such as KeyboardInterrupt, cancels the call and waits for its end.
        """
        if threading.current_thread() is self._os_thread:
            raise RuntimeError("this is the OS thread of the portal: await the function")
        job = self._submit(_bound(function, args, kwargs))
        try:
            return job.future.result()
        except BaseException:
            if not job.future.done():
                self._cancel(job)
                job.future.exception()
            raise

    async def call_from_asyncio(self, function: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        """As `call`, for a task of asyncio. When that is cancelled, the call is, and it waits for its end."""
        import asyncio

        job = self._submit(_bound(function, args, kwargs))
        waiting = asyncio.wrap_future(job.future)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if not waiting.done():
                self._cancel(job)
                await asyncio.wait([waiting])
            waiting.exception()
            raise

    def run(self, command: Command, check: bool = True, **options: Unpack[RunOptions]) -> CompletedCommand:
        """Run a command and wait for it: `Thread.run` of the portal's thread."""
        return self.call(self._run, command, check, options)

    async def _run(self, command: Command, check: bool, options: RunOptions) -> CompletedCommand:
        return await self.thread.run(command, check, **options)


_lock = threading.Lock()
_portal: Portal | None = None


def _program_portal() -> Portal:
    global _portal
    with _lock:
        if _portal is None or _portal._pid != os.getpid() or _portal._token is None:
            _portal = Portal().open()
        return _portal


def _after_fork() -> None:
    global _lock
    # Another thread may have held it.
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


def run_sync(command: Command, check: bool = True, **options: Unpack[RunOptions]) -> CompletedCommand:
    """Run a command and wait for it, from any OS thread and without trio: `Thread.run` with its options.

    Do not call it in a task of trio or asyncio, where it would block all others: await `Thread.run` there, or
    `Portal.call_from_asyncio`.

    Raises:
        RuntimeError: this is a task of trio.
        As `Thread.run`.
    """
    if trio.lowlevel.in_trio_run():
        raise RuntimeError("run_sync would block the event loop: await the run() of a thread instead")
    return _program_portal().run(command, check, **options)
