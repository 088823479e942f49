"""Structures that are declared field by field."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import struct
import types
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsyscall.cstruct import (
    CStruct,
    StructError,
    array,
    be16,
    constant,
    i16,
    i32,
    i64,
    nested,
    string,
    u8,
    u16,
    u32,
    u64,
)
from rsyscall.near.abi import ABIS
from rsyscall.signal import Sigaction, Sighandler
from rsyscall.sys.epoll import EPOLL, EpollEvent
from rsyscall.sys.stat import Stat

from .support import make_task


class Colour(enum.IntEnum):
    RED = 1
    GREEN = 2


class Inner(CStruct, c="struct inner"):
    small: int = u8("i_small")
    wide: int = i64("i_wide", default=-1)


class Apart(CStruct, c="struct apart", size=20):
    """The members of the inner structure are apart."""

    number: Inner = nested("a_number", Inner, ("a_small", "a_wide"), ((0, "H"), (12, "i")))
    other: int = u16("a_other")
    end: int = u32("a_end", offset=16)


class Outer(CStruct, c="struct outer", size=80, frozen=True):
    colour: Colour = u16("o_colour", Colour)
    inner: Inner = nested("o_inner", Inner)
    number: int = i16("o_number")
    port: int = be16("o_port")
    name: str = string("o_name", 8)
    data: bytes = array("o_data", 3)
    last: int = u32("o_last", offset=56, default=0)


inners = st.builds(Inner, st.integers(0, 255), st.integers(-(2**63), 2**63 - 1))
outers = st.builds(
    Outer,
    st.sampled_from(Colour),
    inners,
    st.integers(-(2**15), 2**15 - 1),
    st.integers(0, 0xFFFF),
    st.text("abc", max_size=7),
    st.binary(min_size=3, max_size=3),
    st.integers(0, 2**32 - 1),
)


@given(outers)
def test_round_trip(value: Outer) -> None:
    data = value.to_bytes()
    assert len(data) == Outer.sizeof() == 80
    assert Outer.from_bytes(data) == value
    assert Outer.from_bytes(data + b"more") == value
    assert type(Outer.from_bytes(data).colour) is Colour


def test_members_are_where_a_compiler_puts_them() -> None:
    assert [(m.name, m.offset, m.size) for m in Outer.layout().members] == [
        ("o_colour", 0, 2),
        ("o_inner.i_small", 8, 1),
        ("o_inner.i_wide", 16, 8),
        ("o_number", 24, 2),
        ("o_port", 26, 2),
        ("o_name", 28, 8),
        ("o_data", 36, 3),
        ("o_last", 56, 4),
    ]
    assert Inner.sizeof() == 16
    value = Outer(Colour.GREEN, Inner(3), -2, 80, "abc", b"xyz", 7)
    assert value.to_bytes() == struct.pack(
        "<H6xB7xqh2s8s3s17xI20x", 2, 3, -1, -2, b"\0\x50", b"abc", b"xyz", 7
    )


def test_it_is_a_dataclass() -> None:
    assert [field.name for field in dataclasses.fields(Inner)] == ["small", "wide"]
    assert Inner(3) == Inner(small=3, wide=-1) != Inner(4)
    assert repr(Inner(3)) == "Inner(small=3, wide=-1)"
    value = Outer(Colour.RED, Inner(1), 0, 0, "", b"")
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.port = 5  # type: ignore[misc]  # that is what is tried
    assert hash(dataclasses.replace(value, inner=0)) == hash(dataclasses.replace(value, inner=0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"number": 2**15}, "Outer.number is 32768, which does not fit in i16"),
        ({"inner": Inner(-1)}, "Outer.inner.small is -1, which does not fit in u8"),
        ({"port": 65536}, "Outer.port is 65536, which does not fit in"),
        ({"last": "x"}, "Outer.last is 'x', which does not fit in u32"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, object], message: str) -> None:
    value = dataclasses.replace(Outer(Colour.RED, Inner(0), 0, 0, "", b""), **change)
    with pytest.raises(StructError, match=message):
        value.to_bytes()


def test_too_few_bytes() -> None:
    for kind in (ValueError, struct.error):
        with pytest.raises(kind, match="Inner takes 16 bytes, there are 15"):
            Inner.from_bytes(bytes(15))


def test_strings_are_cut_and_end_with_a_nul() -> None:
    value = Outer(Colour.RED, Inner(0), 0, 0, "0123456789", b"")
    assert Outer.from_bytes(value.to_bytes()).name == "0123456"


class Tagged(CStruct, c="struct tagged"):
    tag = constant(u32("t_tag"), 7)
    value: int = i32("t_value")


def test_a_constant_is_written_and_checked() -> None:
    assert Tagged.tag == 7
    assert Tagged(5).to_bytes() == struct.pack("<Ii", 7, 5)
    assert Tagged.from_bytes(struct.pack("<Ii", 7, 5)) == Tagged(5)
    with pytest.raises(StructError, match=r"Tagged\.tag is 7, not 8"):
        Tagged.from_bytes(struct.pack("<Ii", 8, 5))


class Derived(Inner):
    """Without fields of its own."""

    def to_bytes(self) -> bytes:
        return super().to_bytes()[:1]


def test_derived_classes() -> None:
    derived = Derived.from_bytes(Inner(3, 4).to_bytes())
    assert type(derived) is Derived
    assert derived.to_bytes() == b"\3"
    assert Inner(3, 4).to_bytes() == struct.pack("<B7xq", 3, 4)


def test_wrong_declarations_are_refused() -> None:
    class Overlap(CStruct, c="struct overlap"):
        first: int = u64("first")
        second: int = u32("second", offset=4)

    class TooSmall(CStruct, c="struct small", size=7):
        first: int = u64("first")

    with pytest.raises(TypeError, match=r"Overlap\.second overlaps"):
        Overlap.layout()
    with pytest.raises(TypeError, match="TooSmall takes 8 bytes, not 7"):
        TooSmall.layout()
    with pytest.raises(TypeError, match="Longer adds fields"):

        class Longer(Inner, c="struct longer"):
            more: int = u32("l_more")


@pytest.mark.parametrize("abi", ABIS.values(), ids=lambda abi: abi.name)
@pytest.mark.parametrize(
    "value",
    [
        EpollEvent(2**40, EPOLL.IN | EPOLL.ET),
        Sigaction(Sighandler.IGN),
        Stat.from_bytes(bytes(144)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_structures_of_other_architectures(value: CStruct, abi: object) -> None:
    task = make_task()
    task.sysif = type("Foreign", (type(task.sysif),), {"abi": abi})()
    serializer = type(value).get_serializer(task)
    data = serializer.to_bytes(value)
    layout = type(value).layout(task.sysif.abi)
    assert len(data) >= layout.size
    assert serializer.from_bytes(data[: layout.size]) == value
    assert (serializer is type(value)) == (layout is type(value).layout())


def make_class(name: str, **options: Any) -> Any:
    body = {
        "__annotations__": {"small": "int", "wide": "int"},
        "small": u8("small"),
        "wide": u32("wide", default=7),
        "__module__": __name__,
    }
    return types.new_class(name, (CStruct,), {"c": "struct s", **options}, lambda names: names.update(body))


@pytest.mark.parametrize("frozen", [False, True])
def test_a_class_that_was_not_used_is_a_dataclass(frozen: bool) -> None:
    """The first use of a class makes it a dataclass, whichever use that is."""
    assert [field.name for field in dataclasses.fields(make_class("A", frozen=frozen))] == ["small", "wide"]
    assert str(inspect.signature(make_class("B", frozen=frozen))).startswith(
        "(small: 'int', wide: 'int' = 7)"
    )
    assert dataclasses.is_dataclass(make_class("C", frozen=frozen))
    assert (make_class("D").wide, hasattr(make_class("D"), "small")) == (7, False)
    assert make_class("E", frozen=frozen).from_bytes(bytes(8)) is not None
    cls = make_class("F", frozen=frozen)
    value = cls.__new__(cls)  # as pickle does it
    vars(value).update(small=1, wide=2)
    assert repr(value) == "F(small=1, wide=2)"
    first, second = make_class("G", frozen=frozen), make_class("G", frozen=frozen)
    assert first(1) == first(1, 7) != second(1)
    assert isinstance(first.__hash__, types.FunctionType) is frozen
    if frozen:
        with pytest.raises(dataclasses.FrozenInstanceError):
            first(1).small = 2


def test_a_class_with_a_method_of_its_own_that_a_dataclass_has() -> None:
    class Own(CStruct, c="struct s"):
        small: int = u8("small")

        def __init__(self, text: str) -> None:
            super().__init__()
            self.small = int(text)

        def __repr__(self) -> str:
            return f"Own<{self.small}>"

    assert repr(Own("5")) == "Own<5>"
    assert Own("5") == Own("5")

    class Derived(Own):
        def __init__(self) -> None:
            super().__init__("6")

    assert repr(Derived()) == "Own<6>"


def test_many_threads_make_the_first_object() -> None:
    for _ in range(50):
        cls = make_class("Shared")
        with ThreadPoolExecutor(4) as pool:
            values = list(pool.map(lambda number, cls=cls: cls(number), range(8)))
        assert values == [cls(number) for number in range(8)]


def test_members_of_an_inner_structure_that_are_apart() -> None:
    value = Apart(Inner(2, -3), 4, 5)
    data = value.to_bytes()
    assert data == struct.pack("<HH8xiI", 2, 4, -3, 5)
    assert Apart.from_bytes(data) == value
    assert [(m.name, m.offset, m.size) for m in Apart.layout().members] == [
        ("a_small", 0, 2),
        ("a_other", 2, 2),
        ("a_wide", 12, 4),
        ("a_end", 16, 4),
    ]
    with pytest.raises(StructError, match=r"Apart\.number\.wide is 4294967296, which does not fit in i32"):
        Apart(Inner(1, 1 << 32), 4, 5).to_bytes()
