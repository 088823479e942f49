"""Paths as text. They belong to no process, and no operation on them looks at the file system."""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any, TypeVar

__all__ = ["Path"]

T = TypeVar("T", bound="Path")


class Path(pathlib.PurePosixPath):
    """A path in the file system of some process.

    Like `pathlib.PurePosixPath`, but the constructor of a subclass may take other arguments than path
    segments; it calls `super().__init__` with the segments. Paths derived from such an object (`sub / "x"`,
    `sub.parent`) are plain `Path`s.

    Args:
        segments: joined as `PurePosixPath` joins them.
    """

    __slots__ = ()

    if sys.version_info >= (3, 12):
        # Since 3.12 a subclass may override the constructor, and with_segments makes derived paths.

        def __init__(self, *segments: str | os.PathLike[str]) -> None:
            super().__init__(*segments)

        def with_segments(self, *segments: str | os.PathLike[str]) -> Path:
            """Make a path derived from this one: always a plain `Path`."""
            return Path(*segments)

    else:
        # Before 3.12, __new__ parses the path from the arguments, which may be meant for the __init__ of a
        # subclass; and derived paths get the class of their origin, whose constructor does not run.

        def __new__(cls: type[T], *args: Any, **kwargs: Any) -> T:
            new: Any = super().__new__
            made: T = new(cls, *args) if cls is Path else new(cls)
            return made

        def __init__(self, *segments: str | os.PathLike[str]) -> None:
            if type(self) is not Path:
                _become(self, pathlib.PurePosixPath(*segments))

        def __truediv__(self, key: str | os.PathLike[str]) -> Path:
            return self._plain(super().__truediv__(key))

        def __rtruediv__(self, key: str | os.PathLike[str]) -> Path:
            return self._plain(super().__rtruediv__(key))

        def joinpath(self, *args: str | os.PathLike[str]) -> Path:
            """Return this path followed by the arguments."""
            return self._plain(super().joinpath(*args))

        def relative_to(self, *args: str | os.PathLike[str]) -> Path:
            """Return this path relative to the arguments; ValueError if it does not begin with them."""
            return self._plain(super().relative_to(*args))

        def with_name(self, name: str) -> Path:
            """Return the path with another last component."""
            return self._plain(super().with_name(name))

        def with_stem(self, stem: str) -> Path:
            """Return the path with another last component, which keeps its suffix."""
            return self._plain(super().with_stem(stem))

        def with_suffix(self, suffix: str) -> Path:
            """Return the path with another suffix of the last component."""
            return self._plain(super().with_suffix(suffix))

        @property
        def parent(self) -> Path:
            """The path without its last component."""
            return self._plain(super().parent)

        @property
        def parents(self) -> Sequence[Path]:
            """The paths of all directories above, the nearest one first."""
            return tuple(self._plain(path) for path in super().parents)

        def _plain(self, derived: pathlib.PurePosixPath) -> Path:
            return derived if type(derived) is Path else Path(*derived.parts)

    def __reduce__(self) -> tuple[type[Path], tuple[str, ...]]:
        # The constructor of a subclass may not take segments.
        return (Path, tuple(self.parts))


def _become(path: pathlib.PurePosixPath, other: pathlib.PurePosixPath) -> None:
    """Copy the state of `other`, in all of its slots, to `path`."""
    for cls in type(other).__mro__:
        for slot in cls.__dict__.get("__slots__", ()):
            if hasattr(other, slot):
                object.__setattr__(path, slot, getattr(other, slot))
            elif hasattr(path, slot):
                # Cached from the old state.
                object.__delattr__(path, slot)
