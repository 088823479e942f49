"""`light_dataclass`: the same as `dataclasses.dataclass`, with methods that are not generated."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsyscall.near.light_dataclass import light_dataclass


def make(decorator: Any, frozen: bool, eq: bool) -> Any:
    """The same class, made by the one and by the other."""

    @decorator(frozen=frozen, eq=eq)
    class Point:
        x: int
        label: str = "p"
        seen: list[int] = field(default_factory=list, compare=False)
        hidden: int = field(default=7, repr=False)
        private: int = field(default=3, init=False)

    Point.__qualname__ = "Point"
    return Point


ARGUMENTS = st.lists(st.integers(), max_size=5)
NAMES = st.sampled_from(["x", "label", "seen", "hidden", "private", "other"])
KEYWORDS = st.dictionaries(NAMES, st.integers())


@given(ARGUMENTS, KEYWORDS, st.booleans(), st.booleans())
def test_constructor(args: list[int], keywords: dict[str, int], frozen: bool, eq: bool) -> None:
    """It takes what that of a dataclass takes, refuses what that refuses, and sets the same."""
    ours, theirs = (make(decorator, frozen, eq) for decorator in (light_dataclass, dataclass))
    try:
        expected = theirs(*args, **keywords)
    except TypeError:
        with pytest.raises(TypeError, match=ours.__name__):
            ours(*args, **keywords)
        return
    made = ours(*args, **keywords)
    assert dataclasses.asdict(made) == dataclasses.asdict(expected)
    assert repr(made) == repr(expected)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("eq", [False, True])
def test_comparison(frozen: bool, eq: bool) -> None:
    """Equality and hashes are those of a dataclass."""

    def facts(decorator: Any) -> list[object]:
        cls = make(decorator, frozen, eq)
        one, same, other = cls(1, seen=[1]), cls(1, seen=[2]), cls(2)
        hashed: object = None
        try:
            hashed = hash(one) == hash(same)
        except TypeError:
            hashed = "unhashable"
        return [one == one, one == same, one == other, one != same, one == 1, hashed]

    assert facts(light_dataclass) == facts(dataclass)


def test_frozen() -> None:
    """An attribute of a frozen one can neither be set nor deleted."""
    point = make(light_dataclass, True, True)(1)
    with pytest.raises(FrozenInstanceError, match="'x'"):
        point.x = 2
    with pytest.raises(FrozenInstanceError, match="'x'"):
        del point.x
    assert point.x == 1


@light_dataclass(frozen=True)
class Base:
    """Of a module, for pickle."""

    a: int


@light_dataclass(frozen=True)
class Derived(Base):
    """One that inherits a field."""

    b: str = "b"


@dataclass(frozen=True)
class Ordinary(Base):
    """A dataclass of the standard library that inherits from one of ours."""

    b: str = "b"


@light_dataclass(frozen=True)
class Slotted:
    """One with slots."""

    __slots__ = ("a", "b")

    a: int
    b: int

    def __post_init__(self) -> None:
        if self.b < self.a:
            raise ValueError("wrong order")


@pytest.mark.parametrize("value", [Base(1), Derived(1, "x"), Ordinary(1, "x"), Slotted(1, 2)], ids=repr)
def test_copies(value: Any) -> None:
    """Copies, pickles and replacements are equal; the fields are known to `dataclasses` and to `match`."""
    assert copy.copy(value) == copy.deepcopy(value) == pickle.loads(pickle.dumps(value)) == value
    changed = dataclasses.replace(value, a=0)
    assert (changed.a, changed.b if hasattr(changed, "b") else None) == (
        0,
        value.b if hasattr(value, "b") else None,
    )
    assert changed != value
    assert tuple(found.name for found in dataclasses.fields(value)) == type(value).__match_args__


def test_inheritance() -> None:
    """Bases and subclasses agree on whether they are frozen; other classes are not equal."""
    assert Base(1) != Derived(1)
    with pytest.raises(TypeError, match="frozen"):

        @light_dataclass
        class Unfrozen(Base):
            """A mistake."""

    with pytest.raises(TypeError, match="frozen"):

        @dataclass
        class AlsoUnfrozen(Base):
            """The same mistake, which `dataclass` finds."""


def test_post_init() -> None:
    """`__post_init__` sees the fields and may refuse them."""
    with pytest.raises(ValueError, match="order"):
        Slotted(2, 1)


def test_signature() -> None:
    """`inspect.signature` shows the fields; a constructor that is written in a subclass shows its own."""
    assert str(inspect.signature(Derived)) == "(a: 'int', b: 'str' = 'b') -> None"

    class Own(Base):
        def __init__(self, text: str) -> None:
            super().__init__(int(text))

    assert list(inspect.signature(Own).parameters) == ["text"]
    assert Own("3").a == 3
