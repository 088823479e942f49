"""The check that memory handed to the kernel is as large as what the kernel reads or writes there."""

from __future__ import annotations

from typing import Protocol

__all__ = ["BufferTooSmallError", "require_size", "require_size_if_given"]


class BufferTooSmallError(ValueError):
    """A pointer has fewer bytes than the kernel would use; raised before the call.

    The arguments are (actual, needed).
    """


class _Sized(Protocol):
    """The part of a pointer that this module uses."""

    def size(self) -> int: ...


def require_size(ptr: _Sized, size: int) -> None:
    """Raise `BufferTooSmallError` if the memory of `ptr` is shorter than `size` bytes."""
    actual = ptr.size()
    if actual < size:
        raise BufferTooSmallError(actual, size)


def require_size_if_given(ptr: _Sized | None, size: int) -> None:
    """The same, for memory that may be left out."""
    if ptr is not None:
        require_size(ptr, size)
