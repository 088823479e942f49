"""Moving bytes through several pipes of our own process in one task.

Most commands say little and end soon. For these it is a waste to have a task for each pipe, each with its
registration and its sleep. So the task that waits for the end of a command also moves what the command is fed
and what is kept of its output, if it can do so without code of the caller. It waits for all pipes, and for
the exit of the command, by one epoll instance, which is made only if there is anything to wait for.
"""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING, Protocol

import trio

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from rsyscall.monitor import AsyncChildProcess
    from rsyscall.pump import Collector, LocalEnd

__all__ = ["Relay"]

_SMALL = 1 << 12
_PIPE_SIZE = 1 << 16
_LARGE_PIPE = 1 << 18

# How often to read from or write to one pipe before the others have their turn.
_PIECES = 16


class _Pipe(Protocol):
    """Our end of a pipe, and what to do with it."""

    end: LocalEnd
    events: int

    async def move(self) -> bool:
        """Move what can be moved without waiting; returns whether the pipe is at its end."""
        ...


class _Output:
    """Output of a command, which is kept."""

    events = select.EPOLLIN

    def __init__(self, end: LocalEnd, collector: Collector) -> None:
        self.end = end
        self._collector = collector
        self._size = _SMALL

    async def move(self) -> bool:
        number, take = self.end.number, self._collector.take
        for _ in range(_PIECES):
            try:
                data = os.read(number, self._size)
            except BlockingIOError:
                return False
            if not data:
                return True
            take(data)
            if len(data) == self._size < _LARGE_PIPE:
                if self._size == _PIPE_SIZE:
                    await self.end.enlarge()
                    self._size = _LARGE_PIPE
                else:
                    self._size = _PIPE_SIZE
        return False


class _Input:
    """What a command reads. It need not read it all."""

    events = select.EPOLLOUT

    def __init__(self, end: LocalEnd, data: Buffer) -> None:
        self.end = end
        self._rest = memoryview(data).cast("B")
        self.is_large = len(self._rest) > _PIPE_SIZE

    async def move(self) -> bool:
        number, rest = self.end.number, self._rest
        for _ in range(_PIECES):
            if not rest:
                return True
            try:
                written = os.write(number, rest[:_LARGE_PIPE])
            except BlockingIOError:
                return False
            except BrokenPipeError:
                # From now on the number may be that of another file.
                self._rest = rest[:0]
                return True
            self._rest = rest = rest[written:]
        return False


class Relay:
    """The pipes of a command that need no code of the caller.

    It may be run again after it was cancelled.
    """

    __slots__ = ("_epoll", "_pipes")

    def __init__(self) -> None:
        self._pipes: dict[int, _Pipe] = {}
        self._epoll: select.epoll | None = None

    def collect(self, end: LocalEnd, collector: Collector) -> None:
        """Keep what is read from `end`."""
        self._pipes[end.number] = _Output(end, collector)

    async def feed(self, end: LocalEnd, data: Buffer) -> bool:
        """Write `data` to `end`, as much as there is room for at once, and close it when that is all.

        Returns:
            Whether that was all.
        """
        source = _Input(end, data)
        if source.is_large:
            await end.enlarge()
        self._pipes[end.number] = source
        await self._move(end.number)
        return end.number not in self._pipes

    @property
    def done(self) -> bool:
        """Whether all pipes are at their end."""
        return not self._pipes

    async def _move(self, number: int) -> None:
        pipe = self._pipes[number]
        if await pipe.move():
            if self._epoll is not None:
                self._epoll.unregister(number)
            if pipe.events == select.EPOLLOUT:
                await pipe.end.close()
            del self._pipes[number]

    async def run(self, child: AsyncChildProcess | None = None) -> None:
        """Move bytes until all pipes are at their end or `child` has exited, and it makes sense to ask it.

        Cancellation: nothing is lost.
        """
        if child is not None and await child.exits_soon():
            return
        self._epoll = None
        for number in list(self._pipes):
            await self._move(number)
        if not self._pipes:
            return
        epoll = select.epoll(4)
        for number, pipe in self._pipes.items():
            epoll.register(number, pipe.events)
        if child is not None and child.pidfd is not None:
            epoll.register(child.pidfd.number, select.EPOLLIN)
        self._epoll = epoll
        while self._pipes:
            await trio.lowlevel.wait_readable(epoll.fileno())
            for number, _ in epoll.poll(0):
                if number not in self._pipes:
                    return  # the child has exited
                await self._move(number)
