"""What pointers need from a memory allocator and from something that moves bytes.

These are interfaces only; implementations are in `rsyscall.memory`, which re-exports everything here.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer
    from rsyscall.handle.task import Task
    from rsyscall.sys.mman import MemoryMapping

__all__ = [
    "AllocationInterface",
    "AllocatorInterface",
    "MemoryGateway",
    "MemoryTransport",
    "OutOfSpaceError",
    "UseAfterFreeError",
    "WouldWaitError",
]


class UseAfterFreeError(Exception):
    """Memory was used that has been freed, or through a pointer that an operation has consumed."""


class OutOfSpaceError(Exception):
    """An allocator with a bounded amount of memory has no room for the request."""


class WouldWaitError(Exception):
    """`read_now` or `write_now` of a gateway would have to wait after all: use `read` or `write`."""


class AllocationInterface(abc.ABC):
    """A range of bytes inside a memory mapping that nobody else has.

    `free` must never wait and must work from a destructor: in any thread, and at interpreter exit.
    """

    __slots__ = ()

    @abc.abstractmethod
    def offset(self) -> int:
        """Return the distance in bytes from the start of the mapping; UseAfterFreeError once invalid."""

    @abc.abstractmethod
    def size(self) -> int:
        """Return the length in bytes."""

    @abc.abstractmethod
    def split(self, size: int) -> tuple[AllocationInterface, AllocationInterface]:
        """Divide into the first `size` bytes and the rest; this object is invalid afterwards.

        Raises:
            ValueError: `size` is negative or more than there is; then nothing has changed.
        """

    @abc.abstractmethod
    def merge(self, other: AllocationInterface) -> AllocationInterface:
        """Join with `other`, which lies directly behind; both objects are invalid afterwards.

        If the two are not neighbours it raises, and both stay as they are.
        """

    @abc.abstractmethod
    def free(self) -> None:
        """Give the memory back; does nothing if that has been done."""


class AllocatorInterface(abc.ABC):
    """Hands out memory in the address space of some task."""

    __slots__ = ()

    @abc.abstractmethod
    async def malloc(self, size: int, alignment: int) -> tuple[MemoryMapping, AllocationInterface]:
        """Allocate memory.

        Args:
            size: bytes; may be 0.
            alignment: a power of two that the absolute address is to be a multiple of.

        Returns:
            The mapping which the memory is in, seen from the allocator's task, and the range in it.
        """

    async def bulk_malloc(
        self, sizes: Sequence[tuple[int, int]]
    ) -> Sequence[tuple[MemoryMapping, AllocationInterface]]:
        """Make several allocations of the given (size, alignment); by default one after another."""
        return [await self.malloc(size, alignment) for size, alignment in sizes]

    def inherit(self, task: Task) -> AllocatorInterface:
        """Return an allocator over the same memory for `task`, which shares the address space."""
        raise NotImplementedError(f"{type(self).__name__} cannot be inherited")


class MemoryGateway(abc.ABC):
    """Moves bytes between our own memory and the memory that a pointer points to.

    An implementation takes the address with `pointer.borrow(task)` or `pointer.near`, which raise if the
    pointer is not usable. Transfers of zero bytes do nothing. Once a transfer has been sent it is waited for
    even when the caller is cancelled.

    Attributes:
        read_now, write_now: the same for a gateway that does not wait, as plain functions; None for others.
            Pointers use them when they are there: most transfers are so short that a coroutine would take
            most of the time. They may raise `WouldWaitError`.
    """

    __slots__ = ()

    read_now: Callable[[Pointer[Any]], bytes] | None = None
    write_now: Callable[[Pointer[Any], bytes], None] | None = None

    @abc.abstractmethod
    async def read(self, src: Pointer[Any]) -> bytes:
        """Return all `src.size()` bytes."""

    @abc.abstractmethod
    async def write(self, dest: Pointer[Any], data: bytes) -> None:
        """Put `data`, which is no longer than `dest`, at its start; what is behind stays as it was."""


class MemoryTransport(MemoryGateway):
    """A gateway that can be handed on to other tasks which share the memory."""

    __slots__ = ()

    @abc.abstractmethod
    def inherit(self, task: Task) -> MemoryTransport:
        """Return a transport to the memory of `task`, a child that shares the address space."""
