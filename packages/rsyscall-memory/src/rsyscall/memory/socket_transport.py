"""Moving bytes to and from an address space that is not ours.

The bytes travel in the same stream as the system calls of a task (`SyscallInterface.read_memory`,
`write_memory`). So they keep their order with the calls, need no second connection, and cannot block each
other: the connection sends and receives at the same time, for any size of a transfer, and the far side copies
only bytes that have arrived or that were requested. A bad address is `EFAULT` for the caller, and does not
end the far process.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from rsyscall.memory.allocator import Allocation
from rsyscall.memory.span import SpanAllocation, to_span
from rsyscall.memory.transport import BatchMemoryTransport
from rsyscall.near.protocol import split_transfer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsyscall.handle.pointer import Pointer
    from rsyscall.handle.task import Task

__all__ = ["SocketMemoryTransport", "SpanAllocation", "StreamMemoryTransport", "to_span"]


class StreamMemoryTransport(BatchMemoryTransport):
    """Copies to and from memory through the `SyscallInterface` of a task.

    Each transfer costs one round trip, and one more for every further mebibyte. While the process is blocked
    in a system call, its memory cannot be reached this way.

    Attributes:
        task: the task whose `SyscallInterface` carries the bytes.
    """

    __slots__ = ("task",)

    def __init__(self, task: Task) -> None:
        self.task: Task = task

    def inherit(self, task: Task) -> StreamMemoryTransport:
        """A transport to the same memory that goes through `task`.

        Raises:
            AddressSpaceMismatchError: `task` is in another address space.
        """
        task.check_address_space(self.task.address_space)
        return StreamMemoryTransport(task)

    async def read(self, src: Pointer[Any]) -> bytes:
        """Return the bytes that `src` points to.

        The memory stays allocated until all of them have been read, even if `src` is freed meanwhile.

        Raises:
            UseAfterFreeError: `src` was freed or consumed.
            AddressSpaceMismatchError: `src` points into another address space.
            OSError: EFAULT; the memory was unmapped behind our back.
            SyscallError: the process was lost.
        """
        with src.borrow(self.task) as near:
            address = near.address
            read_memory = self.task.sysif.read_memory
            parts = [await read_memory(address + at, length) for at, length in split_transfer(src.size())]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def write(self, dest: Pointer[Any], data: bytes) -> None:
        """Copy `data` to the start of what `dest` points to.

        The memory stays allocated until all of it has been written, even if `dest` is freed meanwhile. If the
        caller is cancelled or the write fails, a part from the start of `data` may have been written.

        Raises:
            ValueError: `data` is longer than what `dest` points to; nothing was written.
            UseAfterFreeError: `dest` was freed or consumed.
            AddressSpaceMismatchError: `dest` points into another address space.
            OSError: EFAULT; the memory was unmapped behind our back.
            SyscallError: the process was lost.
        """
        with dest.borrow(self.task) as near:
            _check_length(dest, data)
            await self._write(near.address, data)

    async def write_batch(self, writes: Sequence[tuple[Pointer[Any], bytes]]) -> None:
        """Write each of the data to its pointer; neighbours travel together. Errors as for `write`."""
        with ExitStack() as stack:
            pieces = []
            for dest, data in writes:
                start = stack.enter_context(dest.borrow(self.task)).address
                _check_length(dest, data)
                if data:
                    pieces.append((start, data, _owned_until(dest, start, data)))
            pieces.sort(key=_by_address)
            run_start = owned = 0
            run = bytearray()
            for start, data, owned_until in pieces:
                gap = start - (run_start + len(run))
                if run and gap >= 0 and start <= owned:
                    run += bytes(gap)
                else:
                    await self._write(run_start, run)
                    run_start = start
                    run = bytearray()
                run += data
                owned = owned_until
            await self._write(run_start, run)

    async def _write(self, address: int, data: bytes | bytearray) -> None:
        write_memory = self.task.sysif.write_memory
        for at, length in split_transfer(len(data)):
            await write_memory(address + at, bytes(data[at : at + length]))


SocketMemoryTransport = StreamMemoryTransport
"""Another name of it, which the documentation uses."""


def _check_length(dest: Pointer[Any], data: bytes) -> None:
    if len(data) > dest.size():
        raise ValueError(f"{len(data)} bytes do not fit at {dest}, which has {dest.size()}")


def _by_address(piece: tuple[int, bytes, int]) -> int:
    return piece[0]


def _owned_until(dest: Pointer[Any], start: int, data: bytes) -> int:
    """The end of the unused bytes behind `data` that belong to `dest`, and so may be overwritten."""
    end = start + len(data)
    allocation = dest.allocation
    if isinstance(allocation, Allocation) and len(data) == allocation.size():
        return end + allocation.slack()
    return end
