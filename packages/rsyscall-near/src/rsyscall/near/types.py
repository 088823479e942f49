"""Identifiers as the kernel takes and returns them.

They are values: immutable, hashable, compared by value, and they own nothing. What they name depends on the
process that uses them, and nothing here says which process that is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import FrozenInstanceError, dataclass
from typing import NoReturn

from rsyscall.native.fast import set_word_types
from rsyscall.near.light_dataclass import light_dataclass

__all__ = [
    "Address",
    "FileDescriptor",
    "MemoryMapping",
    "Pgid",
    "Pid",
    "Process",
    "ProcessGroup",
    "WatchDescriptor",
]


class _Number:
    """What the identifiers of one number have in common.

    Each is a dataclass with the number under a name of its own. The methods are written here once: to have a
    dataclass generate them for each takes a good part of the time in which a program starts.
    """

    __slots__ = ("_value",)
    _value: int

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __eq__(self, other: object) -> bool:
        return self._value == other._value if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash((self._value,))

    def __reduce__(self) -> tuple[type[_Number], tuple[int]]:
        return type(self), (self._value,)

    def __int__(self) -> int:
        return self._value

    __index__ = __int__


_slot = vars(_Number)["_value"]
_set = _slot.__set__
_number = dataclass(init=False, repr=False, eq=False)


@_number
class FileDescriptor(_Number):
    """The number of a file descriptor in some file descriptor table."""

    __slots__ = ()

    number: int = _slot

    def __init__(self, number: int) -> None:
        _set(self, number)

    def __str__(self) -> str:
        return f"FD({self.number})"

    __repr__ = __str__


@_number
class WatchDescriptor(_Number):
    """The number of a watch; it has a meaning for the one inotify instance that returned it.

    manpage: inotify(7)
    """

    __slots__ = ()

    number: int = _slot

    def __init__(self, number: int) -> None:
        _set(self, number)

    def __str__(self) -> str:
        return f"WD({self.number})"

    __repr__ = __str__


@_number
class Address(_Number):
    """An address in some address space; adding and subtracting a number of bytes gives another."""

    __slots__ = ()

    address: int = _slot

    def __init__(self, address: int) -> None:
        _set(self, address)

    def __add__(self, other: int) -> Address:
        return Address(self.address + other)

    def __sub__(self, other: int) -> Address:
        return Address(self.address - other)

    def __str__(self) -> str:
        return f"Address({self.address:#x})"

    __repr__ = __str__


@light_dataclass(frozen=True)
class MemoryMapping:
    """A range of pages in some address space.

    Address, length and page size are in bytes.

    The page size is part of the identity because the kernel silently rounds up the length given to munmap(2):
    with a wrong idea of the page size it removes more than was meant, and it does not say what the page size
    of a mapping is.

    Raises:
        ValueError: the address or the length is not a multiple of the page size. (An empty range may start
            anywhere.)
    """

    __slots__ = ("address", "length", "page_size")

    address: int
    length: int
    page_size: int

    def __post_init__(self) -> None:
        if self.page_size <= 0:
            raise ValueError(f"page size must be positive, not {self.page_size}")
        if self.length < 0:
            raise ValueError(f"the length of a mapping cannot be negative: {self.length}")
        if self.length % self.page_size:
            raise ValueError(
                f"length {self.length:#x} is not a multiple of the page size {self.page_size:#x}"
            )
        if self.length and self.address % self.page_size:
            raise ValueError(
                f"address {self.address:#x} is not a multiple of the page size {self.page_size:#x}"
            )

    def as_address(self) -> Address:
        """The address of the first byte."""
        return Address(self.address)

    @property
    def pages(self) -> int:
        """How many pages the mapping has."""
        return self.length // self.page_size

    def __getitem__(self, index: int | slice) -> MemoryMapping:
        """`mapping[i]` is page i as a mapping, `mapping[a:b]` the pages from a up to b, without b.

        Raises:
            ValueError: a page outside the mapping, a slice with a step, or one without start or stop.
        """
        if isinstance(index, slice):
            if index.step is not None:
                raise ValueError("a slice of a mapping cannot have a step")
            if index.start is None or index.stop is None:
                raise ValueError("a slice of a mapping needs both a start and a stop")
            start, stop = index.start, index.stop
        else:
            start, stop = index, index + 1
        if not 0 <= start <= stop <= self.pages:
            raise ValueError(f"pages {start}:{stop} are not inside a mapping of {self.pages} pages")
        return MemoryMapping(
            self.address + start * self.page_size, (stop - start) * self.page_size, self.page_size
        )

    def __iter__(self) -> Iterator[MemoryMapping]:
        """The pages, one by one."""
        return (self[i] for i in range(self.pages))

    def __str__(self) -> str:
        if self.page_size == 4096:
            return f"MMap({self.address:#x}, {self.length})"
        return f"MMap(pgsz={self.page_size}, {self.address:#x}, {self.length})"

    __repr__ = __str__


@_number
class Process(_Number):
    """The id of a process in some pid namespace."""

    __slots__ = ()

    id: int = _slot

    def __init__(self, id: int) -> None:
        _set(self, id)

    def __str__(self) -> str:
        return f"Process({self.id})"

    __repr__ = __str__


@_number
class ProcessGroup(_Number):
    """The id of a process group in some pid namespace."""

    __slots__ = ()

    id: int = _slot

    def __init__(self, id: int) -> None:
        _set(self, id)

    def __repr__(self) -> str:
        return f"ProcessGroup(id={self.id})"


Pid = Process
Pgid = ProcessGroup


# C code takes the numbers out of arguments without a function of Python.
set_word_types({FileDescriptor: "number", Address: "address", Process: "id", ProcessGroup: "id"})
