"""The interface of an allocator.

The interface of the memory that it hands out, which pointers use, is in `rsyscall.handle.allocation`.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rsyscall.handle.allocation import AllocationInterface, OutOfSpaceError, UseAfterFreeError

if TYPE_CHECKING:
    from rsyscall.handle.mapping import MemoryMapping
    from rsyscall.handle.task import Task

__all__ = ["AllocationInterface", "AllocatorInterface", "OutOfSpaceError", "UseAfterFreeError"]


class AllocatorInterface(abc.ABC):
    """Hands out memory in the address space of some task."""

    __slots__ = ()

    @abc.abstractmethod
    async def malloc(self, size: int, alignment: int) -> tuple[MemoryMapping, AllocationInterface]:
        """Allocate memory.

        Args:
            size: bytes; may be 0.
            alignment: a power of two; the absolute address is a multiple of it.

        Returns:
            The mapping that contains the memory, as one of the allocator's task, and the range in it.
        """

    async def bulk_malloc(
        self, sizes: Sequence[tuple[int, int]]
    ) -> Sequence[tuple[MemoryMapping, AllocationInterface]]:
        """Make several allocations of the given (size, alignment); by default one after another."""
        return [await self.malloc(size, alignment) for size, alignment in sizes]

    def inherit(self, task: Task) -> AllocatorInterface:
        """Return an allocator over the same memory for `task`, which shares the address space."""
        raise NotImplementedError(f"{type(self).__name__} cannot be inherited")
