"""What Ctrl-C does at the prompt of `rsyscall repl`: it interrupts the input, and no inert child.

The terminal sends SIGINT to every process of its foreground process group, and inert children are in it, as
the programs have to be that they execute. So they ignore SIGINT until then.

An input may wait for a call of an inert child that does not return, and no result of a call is lost. A second
Ctrl-C ends the inert children, as SIGINT would have done, and so the wait.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import trio

from rsyscall.signal import SIG

if TYPE_CHECKING:
    from rsyscall.hub import ProgramHub

__all__ = ["Interrupts"]


class Interrupts:
    """Handles SIGINT for the time of a `with`, in a run of trio, before it goes on to the handler of that.

    Args:
        hub: of this program.
    """

    def __init__(self, hub: ProgramHub) -> None:
        self._hub = hub
        # Of the input that runs; -1: none does.
        self._count = -1
        self._next = signal.getsignal(signal.SIGINT)
        self._token = trio.lowlevel.current_trio_token()

    def __enter__(self) -> Interrupts:
        # Who ignores it has programs that do.
        if callable(self._next):
            self._hub.ignored_until_exec = frozenset({SIG.INT})
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._hub.ignored_until_exec = frozenset()
        if signal.getsignal(signal.SIGINT) == self._handle:
            signal.signal(signal.SIGINT, self._next)

    @contextmanager
    def of_input(self) -> Iterator[None]:
        """An input runs during the block, and may wait for inert children."""
        self._count = 0
        try:
            yield
        finally:
            self._count = -1

    def _handle(self, sig: int, frame: FrameType | None) -> None:
        if self._count >= 0:
            self._count += 1
        if self._count == 2:
            self._token.run_sync_soon(self._end_children)
        assert callable(self._next)
        self._next(sig, frame)

    def _end_children(self) -> None:
        if self._count < 2:
            return
        for task, pidfd in list(self._hub.pidfds.items()):
            if SIG.INT in task.ignored_until_exec and self._hub.is_driving(task):
                pidfd.kill()
