"""The kinds of the arguments of system calls. Each call is described once, beside its raw function.

    @call("mkdirat", DIRFD, PATH, MODE)
    async def _mkdirat(sysif, dirfd, path, mode): ...

Making the call does not need the description. Three things are derived from it: how a trace shows the call,
how much memory `fcntl`, `ioctl` and `prctl` require, and the tests that all calls share. What the kernel does
in a call is in `rsyscall.near.calls`.

A description is a `Kind` for each register. Kinds are data without code, so that they cost nothing at import;
the tracer has a function for each name of a kind. It shows a structure by the declaration of its class. `by`
describes an argument whose kind depends on another argument.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from rsyscall.handle._later import import_descriptions

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
    "array",
    "buffer",
    "by",
    "call",
    "changed",
    "choice",
    "counted",
    "describe",
    "directory",
    "each",
    "flags",
    "given",
    "integers",
    "kinds_of",
    "out",
    "words",
]

T = TypeVar("T")


class Sized(Protocol):
    """A class of structures."""

    def sizeof(self) -> int:
        """The size of a structure, in bytes."""
        ...


class Kind:
    """The kind of an argument.

    Attributes:
        name: the tracer has a function for it, which shows the argument.
        after: whether the call fills the memory, so that a trace can show it only after the call.
        is_address: whether the argument is an address at which the kernel reads or writes memory.
    """

    __slots__ = ("after", "is_address", "name")

    def __init__(self, name: str, after: bool = False, is_address: bool = False) -> None:
        self.name: str = name
        self.after: bool = after
        self.is_address: bool = is_address

    def __repr__(self) -> str:
        return f"<{self.name}>"


class Enumeration(Kind):
    """One member of an enumeration, or several that are or-ed.

    Attributes:
        cls: the enumeration.
        prefix: the beginning that its names have in C.
        only: the members that this call takes, where a bit has several meanings; empty for all.
        renamed: the whole names in C of members that do not have the prefix.
        zero: how a trace shows 0.
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
        self.cls: type[enum.IntEnum | enum.IntFlag] = cls
        self.prefix: str = prefix
        self.only: Sequence[str] = only
        self.renamed: Mapping[str, str] | None = renamed
        self.zero: str = zero


class Memory(Kind):
    """The address of memory.

    Attributes:
        cls: the class of the structure there; None if it is no structure.
        length_in: the index of the argument that says how many bytes, or elements, there are; None if none
            does.
        changed: whether the call reads the memory, too, if it fills it.
    """

    __slots__ = ("_size", "changed", "cls", "length_in")

    def __init__(
        self,
        name: str,
        after: bool = False,
        cls: Sized | None = None,
        length_in: int | None = None,
        size: int = 0,
        changed: bool = False,
    ) -> None:
        super().__init__(name, after, is_address=True)
        self.changed: bool = changed
        self.cls: Sized | None = cls
        self.length_in: int | None = length_in
        self._size = size

    @property
    def size(self) -> int:
        """How many bytes the kernel uses at least; 0 if that depends on the other arguments."""
        return self._size if self.cls is None else self.cls.sizeof()


class By(Kind):
    """One of several kinds: another argument decides which.

    Attributes:
        index: of that argument.
        otherwise: the kind for values of it that have no case.
    """

    __slots__ = ("_cases", "index", "otherwise")

    def __init__(
        self, index: int, cases: Mapping[int, Kind] | Callable[[], Mapping[int, Kind]], otherwise: Kind
    ) -> None:
        super().__init__("by")
        self.index: int = index
        self._cases = cases
        self.otherwise: Kind = otherwise

    @property
    def cases(self) -> Mapping[int, Kind]:
        """The kinds, by the value of the argument that decides."""
        cases = self._cases
        if callable(cases):
            self._cases = cases = cases()
        return cases

    def of(self, value: int) -> Kind:
        """Return the kind for a value of the argument that decides."""
        return self.cases.get(value & 0xFFFFFFFF, self.otherwise)

    def size(self, value: int) -> int:
        """How many bytes of memory the kernel uses for a value; 0 if there is no address, or it depends."""
        kind = self.of(value)
        return kind.size if isinstance(kind, Memory) else 0


# Numbers.
INT = Kind("int")
LONG = Kind("long")
UNSIGNED = Kind("unsigned")
SIZE = UNSIGNED
NUMBER = Kind("number")
"""A number of unknown meaning. A trace leaves it out if it is 0 and the last argument."""
MODE = Kind("mode")
ADDRESS = Kind("address")
"""An address whose memory a trace does not show."""
FDNUM = Kind("fd")
DIRFD = Kind("dirfd")
PID = Kind("pid")
ID = INT
"""The id of a user or a group."""
SIGNAL = Kind("signal")
OPEN_FLAGS = Kind("open_flags")
NOTHING = Kind("nothing")
"""Stands for an argument that the call does not take."""

# Memory.
STRING = Memory("string")
"""Bytes with a NUL at the end."""
PATH = STRING
OUT_STRING = Memory("string", after=True)
STRINGS = Memory("strings")
"""An array of addresses of strings, with NULL at its end."""
ENVIRONMENT = Memory("environment")
OUT = Memory("out", after=True)
"""Bytes that the call fills; its result says how many."""
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
    """Members of an enumeration, or-ed; the arguments are the attributes of `Enumeration`."""
    return Enumeration("flags", cls, prefix, only, renamed, zero)


def choice(
    cls: type[enum.IntEnum] | type[enum.IntFlag], prefix: str, renamed: Mapping[str, str] | None = None
) -> Enumeration:
    """One member of an enumeration; the arguments are the attributes of `Enumeration`."""
    return Enumeration("choice", cls, prefix, (), renamed)


def counted(length_in: int) -> Memory:
    """Bytes that the call reads; the argument with the index `length_in`, from 0, says how many."""
    return Memory("counted", length_in=length_in)


def given(cls: Sized, length_in: int | None = None) -> Memory:
    """A structure that the call reads; shorter or longer, if the argument `length_in` says how long."""
    return Memory("struct", cls=cls, length_in=length_in)


def out(cls: Sized) -> Memory:
    """A structure that the call fills."""
    return Memory("struct", after=True, cls=cls)


def changed(cls: Sized) -> Memory:
    """A structure that the call reads and fills."""
    return Memory("struct", after=True, cls=cls, changed=True)


def array(cls: Sized, count_in: int) -> Memory:
    """Structures that the call reads; the argument with the index `count_in` says how many."""
    return Memory("structs", cls=cls, length_in=count_in)


def integers(count_in: int | None, after: bool = False) -> Memory:
    """Numbers of 32 bits that the call reads or fills.

    Args:
        count_in: the index of the argument that says how many; None if the result does.
        after: whether the call fills them.
    """
    return Memory("integers", after, length_in=count_in)


def words(count_in: int | None, after: bool = False) -> Memory:
    """Numbers of 64 bits; the arguments are those of `integers`."""
    return Memory("words", after, length_in=count_in)


def buffer(size: int) -> Memory:
    """Memory of at least `size` bytes, which a trace does not show."""
    return Memory("buffer", size=size)


def by(
    index: int, cases: Mapping[int, Kind] | Callable[[], Mapping[int, Kind]], otherwise: Kind = NUMBER
) -> By:
    """One of several kinds, which depends on the value of another argument.

    Args:
        index: of that argument, from 0.
        cases: the kind for each value; or a function that returns them, called at the first use.
        otherwise: the kind for all other values.
    """
    return By(index, cases, otherwise)


def each(keys: Iterable[int], kind: Kind) -> dict[int, Kind]:
    """Return cases for `by` in which several values have the same kind."""
    return dict.fromkeys(keys, kind)


CALLS: dict[str, tuple[Kind, ...]] = {}
"""The kinds of the arguments of each call, by its name. Has the calls of the modules imported so far."""


def describe(name: str, *kinds: Kind) -> None:
    """Describe the arguments of a call that has no raw function to decorate."""
    CALLS[name] = kinds


def call(name: str, *kinds: Kind) -> Callable[[T], T]:
    """Decorate a raw function with the description of the call it makes; one decorator for each call."""
    CALLS[name] = kinds
    return _itself


def _itself(function: T) -> T:
    return function


def kinds_of(name: str, args: Sequence[int]) -> list[Kind] | None:
    """Return the kinds for these arguments of a call; None for a call without a description."""
    if name not in CALLS:
        import_descriptions()
    kinds = CALLS.get(name)
    if kinds is None:
        return None
    return [kind.of(args[kind.index]) if isinstance(kind, By) else kind for kind in kinds]
