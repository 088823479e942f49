"""Using the memory of a pointer without owning it.

System calls consume their pointers. A function that has only borrowed a pointer, and wants to use it in a
system call or to split it, makes a span of it: a second pointer to the same memory, which may be consumed,
split and dropped without any effect on the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from rsyscall.handle.allocation import AllocationInterface
from rsyscall.handle.pointer import Pointer
from rsyscall.near.record import NothingToFree

__all__ = ["SpanAllocation", "to_span"]

T = TypeVar("T")


@dataclass
class SpanAllocation(NothingToFree, AllocationInterface):
    """Part of another allocation, without owning it.

    It is usable as long as the other allocation is. Freeing it does nothing, since the memory belongs to the
    original pointer. Any number of spans may overlap.

    Args:
        alloc: the allocation that owns the memory.
        _offset: where the span begins, in bytes from the start of `alloc`.
        _size: bytes in the span.

    Raises:
        ValueError: the span is not inside of `alloc`.
    """

    alloc: AllocationInterface
    _offset: int
    _size: int

    def __post_init__(self) -> None:
        if self._offset < 0 or self._size < 0 or self._offset + self._size > self.alloc.size():
            raise ValueError(
                f"a span of {self._size} bytes at {self._offset} is not inside of {self.alloc.size()} bytes"
            )

    def offset(self) -> int:
        """The offset from the start of the mapping; UseAfterFreeError if the owner has freed the memory."""
        return self.alloc.offset() + self._offset

    def size(self) -> int:
        """The size of the span in bytes."""
        return self._size

    def split(self, size: int) -> tuple[SpanAllocation, SpanAllocation]:
        """Two spans, of the first `size` bytes and of the rest; ValueError if there are not as many."""
        if not 0 <= size <= self._size:
            raise ValueError(f"cannot split {size} bytes off a span of {self._size}")
        return (
            SpanAllocation(self.alloc, self._offset, size),
            SpanAllocation(self.alloc, self._offset + size, self._size - size),
        )

    def merge(self, other: AllocationInterface) -> SpanAllocation:
        """One span of this one and `other`, a span of the same allocation that begins where this one ends.

        Raises:
            ValueError: `other` is not that.
        """
        if not isinstance(other, SpanAllocation) or other.alloc is not self.alloc:
            raise ValueError(f"not a span of the same allocation: {other}")
        if other._offset != self._offset + self._size:
            raise ValueError(f"the second span does not begin where the first one ends: {self} and {other}")
        return SpanAllocation(self.alloc, self._offset, self._size + other._size)


def to_span(ptr: Pointer[T]) -> Pointer[T]:
    """A second pointer to the memory of `ptr`, which owns nothing and may be consumed freely.

    It becomes unusable (UseAfterFreeError) when the memory of `ptr` is freed, or `ptr` is split or merged.
    """
    return ptr.with_allocation(SpanAllocation(ptr.allocation, 0, ptr.size()))
