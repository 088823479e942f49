"""Short forms for files of a process in another place, in as few round trips as possible.

A call waits only for an earlier one whose result it needs. The first round trip writes the path, opens the
file and asks for its size. The second one reads that much and closes the file. If the file has more than
that, it is read again, in the ordinary way.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import trio

from rsyscall.fcntl import AT, O
from rsyscall.handle import FileDescriptor, Task
from rsyscall.handle.fd import close_along
from rsyscall.memory.socket_transport import StreamMemoryTransport
from rsyscall.near import MemoryRead, MemoryWrite, Syscall, nr
from rsyscall.near.along import Along, bytes_of, number_of
from rsyscall.near.naming import naming
from rsyscall.near.protocol import MAX_TRANSFER
from rsyscall.struct import strpath_to_null_terminated_bytes
from rsyscall.unistd.fs import open_along

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rsyscall.command import StrOrBytesPath
    from rsyscall.handle import Pointer
    from rsyscall.linux.dirent import Dirent
    from rsyscall.memory.ram import RAM
    from rsyscall.near import Step
    from rsyscall.near import types as near
    from rsyscall.sys.stat import Stat

__all__ = ["FarFiles", "far_files"]

_FDCWD = -100
# The longest that links usually are; longer ones cost another round trip.
_SHORT_LINK = 256
# Directories with more than that are listed in the ordinary way.
_SHORT_LISTING = 8192
# Room for no entry: then getdents fails with EINVAL, unless there is none.
_NO_ROOM = 8


def far_files(task: Task, ram: RAM) -> FarFiles | None:
    """The short forms for the files of a process, if it pays: None if round trips to it cost nothing."""
    sysif, transport = task.sysif, ram.transport
    if sysif.pipelines and type(transport) is StreamMemoryTransport and transport.task is task:
        return FarFiles(task, ram)
    return None


def _shown(path: StrOrBytesPath) -> str | PurePath:
    """What an error shows of a path."""
    return path if isinstance(path, str | PurePath) else os.fsdecode(path)


def _expected_size(buf: Pointer[Stat], asked: int | bytes, said: int | bytes) -> int:
    """The size of a regular file; 0 for others, and where it is not known."""
    from rsyscall.sys.stat import S_IF

    if asked != 0 or not isinstance(said, bytes):
        return 0
    stat = buf.serializer.from_bytes(said)
    return stat.size if stat.mode.type == S_IF.REG else 0


class FarFiles:
    """Files of one process, whose interface sends several steps at once.

    Args:
        task: the process.
        ram: its memory, which the same interface reaches.
    """

    __slots__ = ("_ram", "_task")

    MOST = MAX_TRANSFER
    """How much is written or read in one go."""

    def __init__(self, task: Task, ram: RAM) -> None:
        self._task = task
        self._ram = ram

    async def stat(self, path: StrOrBytesPath, flags: AT) -> Stat:
        """Ask about a file: one round trip. Raises as `Thread.stat`."""
        buf = await self._stat_buffer()
        with naming(_shown(path)), buf.borrow(self._task) as address:
            async with self._written(path) as (write, path_address):
                steps: list[Step] = [
                    write,
                    Syscall(nr.newfstatat, _FDCWD, path_address, address, flags),
                    MemoryRead(address, buf.size()),
                ]
                _, data = await self._steps(steps)
        return buf.serializer.from_bytes(data)

    async def readlink(self, path: StrOrBytesPath, most: int) -> bytes:
        """Read the target of a symbolic link: one round trip, or two if it is long.

        Args:
            path: of the link.
            most: how long a target can be.
        """
        for size in (_SHORT_LINK, most):
            buf = await self._ram.malloc(bytes, size)
            with naming(_shown(path)), buf.borrow(self._task) as address:
                async with self._written(path) as (write, path_address):
                    call = Syscall(nr.readlinkat, _FDCWD, path_address, address, size)
                    count, data = await self._steps([write, call, MemoryRead(address, size)])
            if count < size:
                break
        return data[:count]

    async def read_file(self, path: StrOrBytesPath) -> tuple[bytes | None, FileDescriptor | None]:
        """Read a whole file: two round trips, if it is regular, of a usual size, and does not grow just now.

        Returns:
            its contents; or the open file, of which nothing has been read; or neither: read it otherwise.
        """
        buf = await self._stat_buffer()
        with buf.borrow(self._task) as address:
            file, (asked, said) = await self._open(
                path,
                O.RDONLY,
                after=lambda path_address: [
                    Syscall(nr.newfstatat, _FDCWD, path_address, address, 0),
                    MemoryRead(address, buf.size()),
                ],
            )
        size = _expected_size(buf, asked, said)
        if not 0 < size <= MAX_TRANSFER:
            return None, file
        # More, to see whether that is all.
        room = await self._room(file, bytes, size + 2)
        with room.borrow(self._task) as start, naming(file):
            along = Along(
                self._task.sysif,
                [
                    Syscall(nr.read, file.near, start, size + 1),
                    Syscall(nr.read, file.near, start + size + 1, 1),
                    MemoryRead(start, size),
                ],
            )
            await close_along(file, along)
            count, more, data = along.results
            if number_of(count) > size or number_of(more):
                return None, None
            return bytes_of(data)[: number_of(count)], None

    async def scandir(self, path: StrOrBytesPath, flags: O) -> list[Dirent] | None:
        """List a directory: two round trips, if it is no large one; None if it is."""
        from rsyscall.linux.dirent import DirentList

        file, _ = await self._open(path, O.RDONLY | flags)
        buf = await self._room(file, DirentList, _SHORT_LISTING + _NO_ROOM)
        with buf.borrow(self._task) as start, naming(file):
            along = Along(
                self._task.sysif,
                [
                    Syscall(nr.getdents64, file.near, start, _SHORT_LISTING),
                    Syscall(nr.getdents64, file.near, start + _SHORT_LISTING, _NO_ROOM),
                    MemoryRead(start, _SHORT_LISTING),
                ],
            )
            await close_along(file, along)
            filled, more, data = along.results
            count = number_of(filled)
            if more != 0:
                return None
            return DirentList.from_bytes(bytes_of(data)[:count])

    async def open_with(
        self, path: StrOrBytesPath, flags: O, mode: int, data: bytes
    ) -> tuple[FileDescriptor, Pointer[bytes]]:
        """Open a file, and write its contents-to-be to the memory of the process: one round trip.

        Args:
            path, flags, mode: as for `open`.
            data: at most `MAX_TRANSFER` bytes, and not none.
        """
        buf = await self._ram.malloc(bytes, len(data))
        with buf.borrow(self._task) as address:
            file, _ = await self._open(path, flags, mode, before=[MemoryWrite(address, data)])
        return file, buf

    # ---- steps

    async def _stat_buffer(self) -> Pointer[Stat]:
        from rsyscall.sys.stat import Stat

        return await self._ram.malloc(Stat)

    async def _room(self, file: FileDescriptor, cls: type[Any], size: int) -> Pointer[Any]:
        """Allocate memory; if that fails, close a file."""
        try:
            room: Pointer[Any] = await self._ram.malloc(cls, size)
            return room
        except BaseException:
            with trio.CancelScope(shield=True):
                await file.invalidate()
            raise

    async def _steps(self, steps: Sequence[Step]) -> tuple[int, bytes]:
        """Write, call and read, in this order; returns the result of the call, and what is read."""
        write, call, data = await self._task.sysif.steps(steps, linked=True)
        number_of(write)
        return number_of(call), bytes_of(data)

    async def _open(
        self,
        path: StrOrBytesPath,
        flags: O,
        mode: int = 0,
        *,
        before: Iterable[Step] = (),
        after: Callable[[near.Address], Iterable[Step]] | None = None,
    ) -> tuple[FileDescriptor, Sequence[int | bytes]]:
        """Open a file, with steps before and after that; returns what came of those after it, too.

        Args:
            after: given the address of the path.
        """
        with naming(_shown(path)):
            async with self._written(path) as (write, address):
                steps = [] if after is None else list(after(address))
                along = Along(self._task.sysif, [write, *before], steps, linked=True)
                file = await open_along(self._task, along, address, flags, mode)
                return file, along.results[-len(steps) :] if steps else []

    @contextlib.asynccontextmanager
    async def _written(self, path: StrOrBytesPath) -> AsyncIterator[tuple[MemoryWrite, near.Address]]:
        """Room for a path, and the step that writes it there."""
        data = strpath_to_null_terminated_bytes(os.fsdecode(path))
        pointer = await self._ram.malloc(bytes, len(data))
        with pointer.borrow(self._task) as address:
            yield MemoryWrite(address, data), address
