"""Identifiers: values, conversion, printing, and the checks of MemoryMapping."""

from __future__ import annotations

import dataclasses
import operator
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsyscall import near

NUMBERED = [near.FileDescriptor, near.WatchDescriptor, near.Address, near.Process, near.ProcessGroup]


@pytest.mark.parametrize("kind", NUMBERED)
def test_identifiers_are_values(kind: Any) -> None:
    assert kind(3) == kind(3)
    assert kind(3) != kind(4)
    assert kind(3) != 3
    assert len({kind(3), kind(3), kind(4)}) == 2
    assert pickle.loads(pickle.dumps(kind(3))) == kind(3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(kind(3), dataclasses.fields(kind)[0].name, 4)
    assert not hasattr(kind(3), "__dict__")


@pytest.mark.parametrize("kind", NUMBERED)
def test_identifiers_convert_to_int(kind: Any) -> None:
    assert int(kind(7)) == 7
    assert operator.index(kind(7)) == 7


def test_identifiers_of_different_kinds_are_never_equal() -> None:
    values = [kind(1) for kind in NUMBERED]
    for i, one in enumerate(values):
        for other in values[i + 1 :]:
            assert one != other


def test_identifiers_print_compactly() -> None:
    assert str(near.FileDescriptor(3)) == repr(near.FileDescriptor(3)) == "FD(3)"
    assert str(near.WatchDescriptor(1)) == "WD(1)"
    assert str(near.Address(0x1000)) == "Address(0x1000)"
    assert str(near.Process(42)) == "Process(42)"
    assert str(near.ProcessGroup(42)) == "ProcessGroup(id=42)"


def test_newer_names_are_the_same_classes() -> None:
    assert near.Pid is near.Process
    assert near.Pgid is near.ProcessGroup


def test_address_moves_by_bytes() -> None:
    assert near.Address(0x1000) + 16 == near.Address(0x1010)
    assert near.Address(0x1000) - 16 == near.Address(0xFF0)


# ---- MemoryMapping


def test_mapping_prints_its_page_size_when_it_is_unusual() -> None:
    assert str(near.MemoryMapping(0x1000, 8192, 4096)) == "MMap(0x1000, 8192)"
    assert str(near.MemoryMapping(0x200000, 0x200000, 0x200000)) == "MMap(pgsz=2097152, 0x200000, 2097152)"


def test_mapping_is_not_a_number() -> None:
    mapping: Any = near.MemoryMapping(0x1000, 4096, 4096)
    with pytest.raises(TypeError):
        int(mapping)
    assert mapping.as_address() == near.Address(0x1000)


@pytest.mark.parametrize(
    ("address", "length", "page_size", "message"),
    [
        (0x1001, 4096, 4096, "address 0x1001 is not a multiple"),
        (0x1000, 4095, 4096, "length 0xfff is not a multiple"),
        (0x1000, 0x1000, 0x200000, "length 0x1000 is not a multiple"),
        (0x1000, -4096, 4096, "cannot be negative"),
        (0x1000, 4096, 0, "page size must be positive"),
    ],
)
def test_mapping_refuses_what_is_no_range_of_pages(
    address: int, length: int, page_size: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        near.MemoryMapping(address, length, page_size)


def test_mapping_may_be_bytes_or_nothing() -> None:
    # what native code is described with: symbols have no pages
    assert near.MemoryMapping(0x1234, 0, 1).pages == 0
    assert near.MemoryMapping(0x1234, 5, 1).pages == 5
    assert near.MemoryMapping(0x1234, 0, 4096).pages == 0


def test_mapping_gives_its_pages() -> None:
    mapping = near.MemoryMapping(0x10000, 3 * 4096, 4096)
    assert mapping.pages == 3
    assert mapping[1] == near.MemoryMapping(0x11000, 4096, 4096)
    assert mapping[1:3] == near.MemoryMapping(0x11000, 2 * 4096, 4096)
    assert mapping[0:3] == mapping
    assert mapping[2:2].length == 0
    assert list(mapping) == [mapping[0], mapping[1], mapping[2]]


@pytest.mark.parametrize("index", [3, -1, slice(0, 4), slice(-1, 2), slice(2, 1), slice(1), slice(0, None)])
def test_mapping_refuses_pages_outside(index: int | slice) -> None:
    with pytest.raises(ValueError):
        near.MemoryMapping(0x10000, 3 * 4096, 4096)[index]


def test_mapping_refuses_a_step() -> None:
    with pytest.raises(ValueError, match="step"):
        near.MemoryMapping(0x10000, 3 * 4096, 4096)[0:2:1]


@given(st.integers(0, 2**30), st.integers(0, 64), st.sampled_from([1, 4096, 16384, 65536, 1 << 21]))
def test_pages_cover_a_mapping_exactly(page: int, pages: int, page_size: int) -> None:
    mapping = near.MemoryMapping(page * page_size, pages * page_size, page_size)
    position = mapping.address
    for part in mapping:
        assert part.address == position
        position += part.length
    assert position == mapping.address + mapping.length
