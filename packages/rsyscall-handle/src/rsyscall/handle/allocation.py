"""What pointers need from a memory allocator.

This is an interface only; implementations are in `rsyscall.memory`, which re-exports everything here.
"""

from __future__ import annotations

import abc

__all__ = [
    "AllocationInterface",
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
    """A range of bytes inside a memory mapping, of which this is the only owner.

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
