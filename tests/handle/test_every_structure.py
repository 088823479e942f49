"""What all declared structures and all flags have in common, tried with each of them.

A newer kernel sends values that have no name here, and structures that are longer.
"""

from __future__ import annotations

import enum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsyscall.cstruct import CStruct, StructError
from rsyscall.linux.futex import RobustListHead
from rsyscall.near.abi import native_abi

from .abi_probe import discover, layouts

DECLARED = [
    cls
    for cls in discover.structures()
    # The last consists of addresses, and is never read.
    if issubclass(cls, CStruct)
    and cls is not RobustListHead
    and layouts.ONLY_ON.get(cls, native_abi().name) == native_abi().name
]
FLAGS = [cls for cls in discover.enums() if issubclass(cls, enum.IntFlag)]
every_structure = pytest.mark.parametrize("cls", DECLARED, ids=lambda cls: cls.__name__)


def random_bytes(cls: type[CStruct], draw: st.DataObject) -> bytes:
    """Any bytes, with the constants of the structure where they belong, and no values between the members."""
    layout = cls.layout(native_abi())
    found = bytearray(cls.sizeof())
    for member in layout.members:
        size = member.size
        found[member.offset : member.offset + size] = draw.draw(st.binary(min_size=size, max_size=size))
    for name, value in cls._constants.items():
        [member] = [m for m in layout.members if m.name == cls._specs[name].member]
        width = member.size
        found[member.offset : member.offset + width] = int(value).to_bytes(width, "little")
    return bytes(found)


@every_structure
@settings(max_examples=20, deadline=None)
@given(draw=st.data())
def test_all_values_are_read(cls: type[CStruct], draw: st.DataObject) -> None:
    data = random_bytes(cls, draw)
    value = cls.from_bytes(data)
    for field in cls.c_fields():
        getattr(value, field.name)
    assert cls.from_bytes(data + bytes(9)).to_bytes() == value.to_bytes()
    again = cls.from_bytes(value.to_bytes())
    assert again.to_bytes() == value.to_bytes()


@pytest.mark.parametrize(
    # Older kernels send less of that.
    "cls",
    [cls for cls in DECLARED if cls.__name__ != "FuseInitIn"],
    ids=lambda cls: cls.__name__,
)
def test_what_is_shorter_is_refused(cls: type[CStruct]) -> None:
    size = cls.layout(native_abi()).size
    with pytest.raises(StructError, match=cls.__name__):
        cls.from_bytes(bytes(size - 1))


@pytest.mark.parametrize("cls", FLAGS, ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
@settings(max_examples=20, deadline=None)
@given(number=st.integers(0, 2**32 - 1))
def test_unknown_flags_stay(cls: type[enum.IntFlag], number: int) -> None:
    assert int(cls(number)) == number
    assert int(cls(number) & cls(0xFF)) == number & 0xFF


def test_there_is_much_to_try() -> None:
    assert len(DECLARED) > 100
    assert len(FLAGS) > 80
