"""The kinds of arguments of system calls: one description of each call, beside its raw function.

    @call("mkdirat", DIRFD, PATH, MODE)
    async def _mkdirat(sysif, dirfd, path, mode): ...

The call itself does not use it. Derived from it are the text of a trace, the sizes of memory that `fcntl`,
`ioctl` and `prctl` require, and the tests that all calls share. The book `rsyscall.near.calls` has the other
half: what the kernel does in a call.

A description gives the `Kind` of each register. Kinds are data, without code, so that they cost nothing at
import; the tracer has the code that shows them, by their names. A structure is shown as its class declares
it. An argument whose kind depends on an earlier argument is described with `by`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from rsyscall.near import types as near

__all__ = [
    "ADDRESS",
    "CALLS",
    "DIRFD",
    "ENVIRONMENT",
    "FDNUM",
    "ID",
    "INT",
    "LONG",
    "MODE",
    "NOTHING",
    "NUMBER",
    "OPEN_FLAGS",
    "OUT",
    "OUT_INT",
    "OUT_PAIR",
    "OUT_STRING",
    "PATH",
    "PID",
    "SIGNAL",
    "SIZE",
    "STRING",
    "STRINGS",
    "UNSIGNED",
    "By",
    "Enumeration",
    "Kind",
    "Memory",
    "buffer",
    "by",
    "call",
    "choice",
    "counted",
    "describe",
    "directory",
    "each",
    "flags",
    "given",
    "kinds_of",
    "out",
]

T = TypeVar("T")


class Sized(Protocol):
    """A class of structures."""

    def sizeof(self) -> int:
        """The size of one, in bytes."""
        ...


class Kind:
    """The kind of an argument.

    Attributes:
        name: by which the tracer finds the function that shows it.
        after: whether the call fills it, so that it can be shown only after the call.
        is_address: whether the kernel reads or writes memory there.
    """

    __slots__ = ("after", "is_address", "name")

    def __init__(self, name: str, after: bool = False, is_address: bool = False) -> None:
        self.name = name
        self.after = after
        self.is_address = is_address

    def __repr__(self) -> str:
        return f"<{self.name}>"


class Enumeration(Kind):
    """One member of an enumeration, or bits of several.

    Attributes:
        cls: the enumeration.
        prefix: what its names begin with in C.
        only: the names that count, where a bit has several meanings; all of them if there are none.
        renamed: names that do not have the prefix, as they are in C.
        zero: the name for no bits.
    """

    __slots__ = ("cls", "only", "prefix", "renamed", "zero")

    def __init__(
        self,
        name: str,
        cls: type[enum.IntEnum] | type[enum.IntFlag],
        prefix: str,
        only: Sequence[str] = (),
        renamed: Mapping[str, str] | None = None,
        zero: str = "0",
    ) -> None:
        super().__init__(name)
        self.cls = cls
        self.prefix = prefix
        self.only = only
        self.renamed = renamed
        self.zero = zero


class Memory(Kind):
    """The address of something.

    Attributes:
        cls: the class of the structure there, if it is one.
        length_in: the argument with the number of bytes, if there is one.
    """

    __slots__ = ("_size", "cls", "length_in")

    def __init__(
        self,
        name: str,
        after: bool = False,
        cls: Sized | None = None,
        length_in: int | None = None,
        size: int = 0,
    ) -> None:
        super().__init__(name, after, is_address=True)
        self.cls = cls
        self.length_in = length_in
        self._size = size

    @property
    def size(self) -> int:
        """How many bytes the kernel uses at least; 0 if that depends on other things."""
        return self._size if self.cls is None else self.cls.sizeof()


class By(Kind):
    """One of several kinds.

    Attributes:
        index: of the argument that decides.
        otherwise: the kind for all other values.
    """

    __slots__ = ("_cases", "index", "otherwise")

    def __init__(
        self, index: int, cases: Mapping[int, Kind] | Callable[[], Mapping[int, Kind]], otherwise: Kind
    ) -> None:
        super().__init__("by")
        self.index = index
        self._cases = cases
        self.otherwise = otherwise

    @property
    def cases(self) -> Mapping[int, Kind]:
        """The kinds, by the value of that argument."""
        cases = self._cases
        if callable(cases):
            self._cases = cases = cases()
        return cases

    def of(self, value: int) -> Kind:
        """The kind for that value of the argument that decides."""
        return self.cases.get(value & 0xFFFFFFFF, self.otherwise)

    def size(self, value: int) -> int:
        """How many bytes the kernel uses there for that value; 0 if it is no address, or not known."""
        kind = self.of(value)
        return kind.size if isinstance(kind, Memory) else 0


# Numbers.
INT = Kind("int")
LONG = Kind("long")
UNSIGNED = Kind("unsigned")
SIZE = UNSIGNED
NUMBER = Kind("number")
"""A number of unknown meaning. Left out if it is 0 and the last."""
MODE = Kind("mode")
ADDRESS = Kind("address")
"""An address of which the contents are not shown."""
FDNUM = Kind("fd")
DIRFD = Kind("dirfd")
PID = Kind("pid")
ID = INT
"""A user or a group."""
SIGNAL = Kind("signal")
OPEN_FLAGS = Kind("open_flags")
NOTHING = Kind("nothing")
"""An argument that the call does not take."""

# Memory.
STRING = Memory("string")
"""Bytes with a NUL at the end."""
PATH = STRING
OUT_STRING = Memory("string", after=True)
STRINGS = Memory("strings")
"""An array of strings, with NULL at its end."""
ENVIRONMENT = Memory("environment")
OUT = Memory("out", after=True)
"""Bytes that the call fills; its result is their number."""
OUT_INT = Memory("int_array", after=True, size=4)
OUT_PAIR = Memory("int_array", after=True, size=8)

_AT_FDCWD = -100


def directory(dirfd: near.FileDescriptor | None) -> near.FileDescriptor | int:
    """The `DIRFD` argument of a call: `AT_FDCWD`, which is the working directory, for None."""
    return _AT_FDCWD if dirfd is None else dirfd


def flags(
    cls: type[enum.IntFlag],
    prefix: str,
    only: Sequence[str] = (),
    renamed: Mapping[str, str] | None = None,
    zero: str = "0",
) -> Enumeration:
    """Bits of an enumeration; see `Enumeration`."""
    return Enumeration("flags", cls, prefix, only, renamed, zero)


def choice(cls: type[enum.IntEnum] | type[enum.IntFlag], prefix: str) -> Enumeration:
    """One member of an enumeration."""
    return Enumeration("choice", cls, prefix)


def counted(length_in: int) -> Memory:
    """Bytes that the call reads; argument `length_in`, from 0, says how many."""
    return Memory("counted", length_in=length_in)


def given(cls: Sized) -> Memory:
    """A structure that the call reads."""
    return Memory("struct", cls=cls)


def out(cls: Sized) -> Memory:
    """A structure that the call fills."""
    return Memory("struct", after=True, cls=cls)


def buffer(size: int) -> Memory:
    """Memory of that many bytes, or more; its contents are not shown."""
    return Memory("buffer", size=size)


def by(
    index: int, cases: Mapping[int, Kind] | Callable[[], Mapping[int, Kind]], otherwise: Kind = NUMBER
) -> By:
    """One of several kinds, by the value of the argument `index`, counted from 0.

    Args:
        index: of that argument.
        cases: the kinds, or a function that makes them when they are first asked for.
        otherwise: the kind for all other values.
    """
    return By(index, cases, otherwise)


def each(keys: Iterable[int], kind: Kind) -> dict[int, Kind]:
    """The same kind for several values, for `by`."""
    return dict.fromkeys(keys, kind)


CALLS: dict[str, tuple[Kind, ...]] = {}
"""The kinds of the arguments of each call, by its name; for the header modules that have been imported."""


def describe(name: str, *kinds: Kind) -> None:
    """Describe the arguments of a call that has no raw function."""
    CALLS[name] = kinds


def call(name: str, *kinds: Kind) -> Callable[[T], T]:
    """Describe the arguments of the call that a raw function makes; used repeatedly, if it makes several."""
    CALLS[name] = kinds
    return _itself


def _itself(function: T) -> T:
    return function


def kinds_of(name: str, args: Sequence[int]) -> list[Kind] | None:
    """The kinds of these arguments of a call; None for a call that is not described."""
    kinds = CALLS.get(name)
    if kinds is None:
        return None
    return [kind.of(args[kind.index]) if isinstance(kind, By) else kind for kind in kinds]
