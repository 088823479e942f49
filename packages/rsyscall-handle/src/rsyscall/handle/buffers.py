"""The check that memory handed to the kernel is as large as what the kernel reads or writes there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

__all__ = ["BufferTooSmallError", "require_size", "require_size_if_given", "resized_on"]


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


class _Owned(_Sized, Protocol):
    """Memory that can be given back."""

    def free(self) -> None: ...


@contextmanager
def resized_on(number: int, ptr: _Owned) -> Iterator[None]:
    """Within this, free `ptr` if the call fails with this error.

    For memory that says how large it is: with the error the kernel has written there how large it should be,
    and would believe that in the next call.
    """
    try:
        yield
    except OSError as error:
        if error.errno == number:
            ptr.free()
        raise
