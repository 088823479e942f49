"""Serialisation."""

from __future__ import annotations

import os
import pathlib
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsyscall.path import Path
from rsyscall.struct import (
    BytesSerializer,
    FixedSerializer,
    FixedSize,
    HasSerializer,
    Int32,
    Int64,
    PathLikeSerializer,
    Serializable,
    Serializer,
    StrSerializer,
    Struct,
    StructList,
    bits,
    string_from_null_terminated_bytes,
    strpath_to_null_terminated_bytes,
)

from .support import Local

no_nul = st.text().filter(lambda text: "\0" not in text and text.isprintable())


@given(st.integers(-(2**31), 2**31 - 1))
def test_int32_round_trip(number: int) -> None:
    data = Int32(number).to_bytes()
    assert data == struct.pack("i", number)
    assert Int32.from_bytes(data) == number
    assert type(Int32.from_bytes(data)) is Int32


@given(st.integers(-(2**63), 2**63 - 1))
def test_int64_round_trip(number: int) -> None:
    data = Int64(number).to_bytes()
    assert data == struct.pack("q", number)
    assert Int64.from_bytes(data) == number


@pytest.mark.parametrize(("cls", "size"), [(Int32, 4), (Int64, 8)])
def test_ints_check_their_size(cls: type[Int32] | type[Int64], size: int) -> None:
    assert cls.sizeof() == size
    with pytest.raises(ValueError, match=f"{size} bytes"):
        cls.from_bytes(b"\0" * (size - 1))
    assert cls.from_bytes(b"\1" + b"\0" * size) == 1
    with pytest.raises(ValueError, match="fit"):
        cls(1 << (8 * size)).to_bytes()
    assert repr(cls(3)) == f"{cls.__name__}(3)"
    assert cls(3) + 1 == 4


@given(st.lists(st.integers(-(2**31), 2**31 - 1)))
def test_struct_list_round_trip(numbers: list[int]) -> None:
    values = StructList(Int32, [Int32(number) for number in numbers])
    serializer = values.get_self_serializer(None)  # type: ignore[arg-type]  # integers do not need a task
    data = serializer.to_bytes(values)
    assert len(data) == 4 * len(numbers)
    assert serializer.from_bytes(data) == values
    assert serializer.from_bytes(data + b"xyz") == values


@given(st.integers(0, 2**80))
def test_bits(number: int) -> None:
    assert sum(1 << index for index in bits(number, one_indexed=False)) == number
    assert sum(1 << (index - 1) for index in bits(number)) == number
    assert list(bits(number)) == sorted(bits(number))


def test_bits_of_a_negative_number() -> None:
    with pytest.raises(ValueError, match="negative"):
        list(bits(-1))


@pytest.mark.slow
@given(no_nul)
def test_string_round_trip(text: str) -> None:
    serializer = StrSerializer()
    data = serializer.to_bytes(text)
    assert data.endswith(b"\0")
    assert serializer.from_bytes(data) == text
    assert serializer.from_bytes(data + b"garbage") == text
    # readlink and others do not terminate
    assert serializer.from_bytes(data[:-1]) == text


def test_undecodable_names_survive() -> None:
    name = os.fsdecode(b"\xff\xfe")
    assert StrSerializer().to_bytes(name) == b"\xff\xfe\0"
    assert string_from_null_terminated_bytes(b"\xff\xfe\0") == name


def test_embedded_nul_is_refused() -> None:
    with pytest.raises(ValueError, match="null byte"):
        strpath_to_null_terminated_bytes("a\0b")


@pytest.mark.parametrize("cls", [Path, pathlib.PurePosixPath])
def test_paths_are_rebuilt_as_their_class(cls: type) -> None:
    serializer: PathLikeSerializer[Any] = PathLikeSerializer(cls)
    back = serializer.from_bytes(serializer.to_bytes(cls("/a/b")))
    assert type(back) is cls
    assert back == cls("/a/b")


def test_bytes_are_bytes() -> None:
    assert BytesSerializer().to_bytes(b"a\0b") == b"a\0b"
    assert BytesSerializer().from_bytes(b"a\0b") == b"a\0b"


def test_base_methods_are_not_implemented(local: Local) -> None:
    class Nothing(Struct):
        pass

    for call in (
        lambda: Serializer[int]().to_bytes(1),
        lambda: Serializer().from_bytes(b""),
        lambda: HasSerializer().get_self_serializer(local.task),
        lambda: FixedSerializer.get_serializer(local.task),
        lambda: FixedSize.sizeof(),
        lambda: Serializable().to_bytes(),
        lambda: Nothing.from_bytes(b""),
        lambda: Nothing.sizeof(),
    ):
        with pytest.raises(NotImplementedError):
            call()


async def test_through_memory(local: Local) -> None:
    pointer = await local.ptr(Int64(-5))
    assert await pointer.read() == -5
    values = StructList(Int32, [Int32(1), Int32(2)])
    assert await (await local.ptr(values)).read() == values
    assert (await local.malloc(Int32)).size() == 4


def test_numbers_are_shown_as_numbers() -> None:
    assert (str(Int32(-5)), str(Int64(7)), f"{Int32(3)}") == ("-5", "7", "3")
    assert (repr(Int32(-5)), repr(Int64(7))) == ("Int32(-5)", "Int64(7)")
