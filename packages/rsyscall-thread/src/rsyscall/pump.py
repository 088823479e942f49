"""Moving bytes between the program and the pipes of a command, in both directions at once.

Each pipe has a task of its own, so that a command that does not read what it is fed, or whose output is not
taken, holds up nothing but that pipe. At most one piece per pipe is in memory beside what the caller gave and
what it wants to keep.

In our own process, where a local call costs a microsecond, the pumps read and write by number and let trio
wait. Elsewhere they use an `AsyncFileDescriptor` of the process.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from fcntl import fcntl
from io import BytesIO
from typing import TYPE_CHECKING, Protocol, cast

import trio

from rsyscall.fcntl import F
from rsyscall.near import nr

if TYPE_CHECKING:
    from rsyscall.epoller import AsyncFileDescriptor
    from rsyscall.native.fast import OwnedPipe

__all__ = ["LARGE_PIPE", "PIPE_SIZE", "Collector", "LocalEnd", "RemoteEnd", "enlarge", "feed", "pump_out"]

# A pipe has room for this much at first, and may have that much.
PIPE_SIZE = 1 << 16
LARGE_PIPE = 1 << 18

Feed = AsyncIterable[bytes] | Iterable[bytes]
Sink = Callable[[bytes], Awaitable[object]]


class End(Protocol):
    """Our end of a pipe."""

    @property
    def number(self) -> int:
        """Of its descriptor."""
        ...

    async def read(self, size: int) -> bytes:
        """Read once; b"" at the end."""
        ...

    async def write(self, data: memoryview) -> int:
        """Write once; returns how much."""
        ...

    async def read_now(self, size: int) -> bytes:
        """Read what is there, without waiting; b"" if that is nothing."""
        ...

    async def enlarge(self) -> None:
        """Give the pipe more room, if that is possible."""
        ...

    async def close(self) -> None:
        """Close it."""
        ...


def enlarge(number: int) -> None:
    """Give a pipe of our own process more room, if that is possible."""
    try:
        fcntl(number, F.SETPIPE_SZ, LARGE_PIPE)
    except OSError:
        pass  # the user has too much in pipes already


class LocalEnd:
    """An end in our own process."""

    __slots__ = ("_pipe", "number")

    def __init__(self, pipe: OwnedPipe) -> None:
        self._pipe = pipe
        self.number: int = pipe.ours

    async def read(self, size: int) -> bytes:
        while True:
            try:
                data = os.read(self.number, size)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self.number)
            else:
                return data

    async def write(self, data: memoryview) -> int:
        while True:
            try:
                return os.write(self.number, data)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self.number)

    async def read_now(self, size: int) -> bytes:
        try:
            return os.read(self.number, size)
        except BlockingIOError:
            return b""

    async def enlarge(self) -> None:
        enlarge(self.number)

    async def close(self) -> None:
        self._pipe.close_ours()


class RemoteEnd:
    """An end in another process."""

    __slots__ = ("afd",)

    def __init__(self, afd: AsyncFileDescriptor) -> None:
        self.afd: AsyncFileDescriptor = afd

    @property
    def number(self) -> int:
        return int(self.afd.handle)

    async def read(self, size: int) -> bytes:
        return await self.afd.read_some_bytes(size)

    async def write(self, data: memoryview) -> int:
        written, _ = await self.afd.write(await self.afd.ram.ptr(bytes(data)))
        return written.size()

    async def read_now(self, size: int) -> bytes:
        try:
            valid, _ = await self.afd.handle.read(await self.afd.ram.malloc(bytes, size))
            return await valid.read()
        except BlockingIOError:
            return b""

    async def enlarge(self) -> None:
        fd = self.afd.handle
        try:
            await fd.task.sysif.syscall(nr.fcntl, fd.near, F.SETPIPE_SZ, LARGE_PIPE)
        except OSError:
            pass

    async def close(self) -> None:
        await self.afd.close()


class Collector:
    """Keeps the output of a command, up to a limit.

    Args:
        limit: how many bytes to keep; None for all.
        exceeded: called once, when there is more.
    """

    __slots__ = ("_buffer", "_exceeded", "_room", "truncated")

    def __init__(self, limit: int | None, exceeded: Callable[[], None] | None) -> None:
        # A BytesIO gives out its contents without a copy.
        self._buffer = BytesIO()
        self._room = limit
        self._exceeded = exceeded
        self.truncated: bool = False

    def take(self, data: bytes) -> None:
        """Keep what there is room for."""
        room = self._room
        if room is not None:
            if len(data) > room:
                data = data[:room]
                if not self.truncated:
                    self.truncated = True
                    if self._exceeded is not None:
                        self._exceeded()
            self._room = room - len(data)
        self._buffer.write(data)

    def value(self) -> bytes:
        """What was kept."""
        return self._buffer.getvalue()


async def pump_out(end: End, take: Callable[[bytes], None] | None, sink: Sink | None) -> None:
    """Read up to the end, and give every piece to `take` or `sink`."""
    size = 4096 if sink is None else PIPE_SIZE
    while data := await end.read(size):
        if take is not None:
            take(data)
        if sink is not None:
            await sink(data)
        if len(data) == size < LARGE_PIPE:
            if size == PIPE_SIZE:
                await end.enlarge()
                size = LARGE_PIPE
            else:
                size = PIPE_SIZE
        # To read what is there is no checkpoint.
        await trio.lowlevel.checkpoint()


async def feed(end: End, source: bytes | bytearray | memoryview | Feed) -> None:
    """Write everything, and close. A command that stops reading is no error."""
    try:
        if isinstance(source, bytes | bytearray | memoryview):
            await _write(end, cast("bytes", source))
        elif isinstance(source, AsyncIterable):
            async for piece in source:
                if not await _write(end, piece):
                    break
        else:
            for piece in source:
                if not await _write(end, piece):
                    break
    finally:
        with trio.CancelScope(shield=True):
            await end.close()


async def _write(end: End, data: bytes) -> bool:
    """Write everything; returns False if no process will read it."""
    with memoryview(data) as view, view.cast("B") as octets:
        if len(octets) > PIPE_SIZE:
            await end.enlarge()
        start = 0
        while start < len(octets):
            with octets[start : start + LARGE_PIPE] as piece:
                try:
                    start += await end.write(piece)
                except BrokenPipeError:
                    return False
            await trio.lowlevel.checkpoint()
    return True
