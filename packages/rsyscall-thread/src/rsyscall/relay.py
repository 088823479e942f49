"""Moving bytes through several pipes of our own process in one task.

Most commands say little and end soon. For these it is a waste to have a task for each pipe, each with its
registration and its sleep. So the task that waits for the end of a command also moves what the command is fed
and what is kept of its output, if it can do so without code of the caller. It waits for all pipes, and for
the exit of the command, by one epoll instance, which is made only if there is anything to wait for.
"""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

import trio

from rsyscall.pump import LARGE_PIPE, PIPE_SIZE, enlarge

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from rsyscall.monitor import AsyncChildProcess
    from rsyscall.native.fast import OwnedPipe
    from rsyscall.pump import Collector

__all__ = ["Relay"]

# How often to read from or write to one pipe before the others have their turn.
_PIECES = 16


class _Output:
    """Output of a command, which is kept."""

    __slots__ = ("_large", "_pipe", "_take")

    events = select.EPOLLIN

    def __init__(self, pipe: OwnedPipe, collector: Collector) -> None:
        self._pipe = pipe
        self._take = collector.take
        self._large = False

    def move(self) -> bool:
        """Move what can be moved without waiting; returns whether the pipe is at its end."""
        pipe = self._pipe
        for _ in range(_PIECES):
            data = pipe.read()
            if data:
                self._take(data)
            if pipe.ours < 0:
                return True
            if len(data) < PIPE_SIZE:
                break
            if not self._large:
                self._large = True
                enlarge(pipe.ours)
        return False


class _Input:
    """What a command reads. It need not read it all."""

    __slots__ = ("_pipe", "_rest")

    events = select.EPOLLOUT

    def __init__(self, pipe: OwnedPipe, data: Buffer) -> None:
        self._pipe = pipe
        self._rest = memoryview(data).cast("B")
        if len(self._rest) > PIPE_SIZE:
            enlarge(pipe.ours)

    def move(self) -> bool:
        """Move what can be moved without waiting; returns whether the pipe is at its end, and closed."""
        pipe, rest = self._pipe, self._rest
        for _ in range(_PIECES):
            if not rest or pipe.ours < 0:
                pipe.close_ours()
                return True
            try:
                written = os.write(pipe.ours, rest[:LARGE_PIPE])
            except BlockingIOError:
                break
            except BrokenPipeError:
                written = len(rest)
            self._rest = rest = rest[written:]
        return False


class Relay:
    """The pipes of a command that need no code of the caller.

    It may be run again after it was cancelled.
    """

    __slots__ = ("_pipes",)

    def __init__(self) -> None:
        self._pipes: dict[int, _Input | _Output] = {}

    def collect(self, pipe: OwnedPipe, collector: Collector) -> None:
        """Keep what is read from a pipe."""
        self._pipes[pipe.ours] = _Output(pipe, collector)

    def feed(self, pipe: OwnedPipe, data: Buffer) -> None:
        """Write to a pipe, as much as there is room for at once, and close our end when that is all."""
        source = _Input(pipe, data)
        number = pipe.ours
        if not source.move():
            self._pipes[number] = source

    @property
    def done(self) -> bool:
        """Whether all pipes are at their end."""
        return not self._pipes

    def move(self) -> bool:
        """Move what can be moved without waiting; returns whether all pipes are at their end."""
        for number in list(self._pipes):
            self._move(number)
        return not self._pipes

    def _move(self, number: int) -> None:
        if self._pipes[number].move():
            del self._pipes[number]

    async def run(self, child: AsyncChildProcess | None = None) -> None:
        """Move bytes until all pipes are at their end, or, if it is given, `child` has exited.

        Cancellation: nothing is lost.
        """
        if child is not None and await child.exits_soon():
            return
        while not self.move():
            epoll = select.epoll(4)
            for number, pipe in self._pipes.items():
                epoll.register(number, pipe.events)
            if child is not None and child.pidfd is not None:
                epoll.register(child.pidfd.number, select.EPOLLIN)
            # An end that is closed stays in there, if another process has a copy of it.
            left = len(self._pipes)
            while len(self._pipes) == left:
                await trio.lowlevel.wait_readable(epoll.fileno())
                for number, _ in epoll.poll(0):
                    if number not in self._pipes:
                        return  # the child has exited
                    self._move(number)
