"""A lock that no exception leaves taken.

`async with trio.Lock()` has a gap: if a signal handler raises after the lock is taken and before the block is
entered, the lock is never released. Here a turn is an object that only the `async with` statement holds. The
lock refers to it weakly; so however the statement is left, the turn ends, at the latest with the object. What
an abandoned run of trio leaves behind counts for nothing in the next.
"""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable
from types import TracebackType

import trio

from rsyscall.background import Waiter
from rsyscall.native import destructor

__all__ = ["Turns"]


class Turns:
    """Lets one task at a time into a block: `async with turns.next(): ...`."""

    __slots__ = ("_current", "_waiters")

    def __init__(self) -> None:
        self._current: weakref.ref[_Turn] | None = None
        self._waiters: list[tuple[trio.lowlevel.TrioToken, Waiter[None]]] = []

    @property
    def taken(self) -> bool:
        """Whether a task of this run is in the block."""
        turn = self._current() if self._current is not None else None
        return turn is not None and not turn.over and turn.run is trio.lowlevel.current_trio_token()

    @property
    def waiting(self) -> int:
        """How many tasks wait for their turn, those of abandoned runs included."""
        return len(self._waiters)

    def next(self, when: Callable[[], Awaitable[None]] | None = None) -> _Turn:
        """Return an async context manager that waits for the turn of the running task.

        Args:
            when: awaited each time before the turn is taken, so that no other task waits for that meanwhile.
        """
        return _Turn(self, when)

    def _wake(self) -> None:
        """Have the longest waiting task try."""
        if self._waiters and not self.taken:
            run = trio.lowlevel.current_trio_token()
            self._waiters = [entry for entry in self._waiters if entry[0] is run]
            for _, waiter in self._waiters[:1]:
                waiter.send(None)

    def _forget(self, waiter: Waiter[None]) -> None:
        self._waiters = [entry for entry in self._waiters if entry[1] is not waiter]


class _Turn:
    __slots__ = ("__weakref__", "_turns", "_when", "over", "run")

    def __init__(self, turns: Turns, when: Callable[[], Awaitable[None]] | None) -> None:
        self._turns = turns
        self._when = when
        self.run: trio.lowlevel.TrioToken = trio.lowlevel.current_trio_token()
        # Last: until then the destructor does nothing.
        self.over: bool = False

    async def __aenter__(self) -> None:
        turns = self._turns
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            if self._when is not None:
                await self._when()
            if not turns.taken:
                turns._current = weakref.ref(self)
                return
            waiter: Waiter[None] = Waiter()
            try:
                turns._waiters.append((self.run, waiter))
                await waiter.wait(cancellable=True)
            except BaseException:
                turns._forget(waiter)
                # It may have been our turn.
                turns._wake()
                raise
            turns._forget(waiter)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    @destructor
    def __del__(self) -> None:
        # In any OS thread, and perhaps in none of the runs.
        if getattr(self, "over", True) or not trio.lowlevel.in_trio_run():
            return
        if self.run is trio.lowlevel.current_trio_token():
            self._end()

    def _end(self) -> None:
        self.over = True
        self._turns._wake()
