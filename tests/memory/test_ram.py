"""Typed memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.handle.pointer import Pointer, WrittenPointer
from rsyscall.handle.task import Task
from rsyscall.memory.allocation_interface import AllocatorInterface
from rsyscall.memory.allocator import Arena, UnlimitedAllocator
from rsyscall.memory.ram import RAM, BytesSerializer, LaterAllocator
from rsyscall.memory.transport import MemoryTransport
from rsyscall.struct import (
    FixedSerializer,
    HasSerializer,
    Int32,
    Int64,
    PathLikeSerializer,
    Serializable,
    Serializer,
    StrSerializer,
    Struct,
    StructList,
)
from rsyscall.sys.mman import MAP, PROT

from .support import Cancelled, make_task, run


@dataclass
class Pair(Struct):
    """A structure of two bytes."""

    left: int
    right: int

    def to_bytes(self) -> bytes:
        return bytes([self.left, self.right])

    @classmethod
    def from_bytes(cls, data: bytes) -> Pair:
        return cls(data[0], data[1])

    @classmethod
    def sizeof(cls) -> int:
        return 2


@dataclass
class Text(Serializable):
    """A type whose values vary in size."""

    text: str

    def to_bytes(self) -> bytes:
        return self.text.encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Text:
        return cls(data.decode())


@dataclass
class Owned(Struct):
    """A structure whose values belong to a task, as those with file descriptors do."""

    task: Any
    value: int

    @classmethod
    def sizeof(cls) -> int:
        return 1

    @classmethod
    def get_serializer(cls, task: Any) -> Serializer[Owned]:
        return OwnedSerializer(task)


@dataclass
class OwnedSerializer(Serializer[Owned]):
    task: Any

    def to_bytes(self, val: Owned) -> bytes:
        return bytes([val.value])

    def from_bytes(self, data: bytes) -> Owned:
        return Owned(self.task, data[0])


class MyStr(str):
    """A string that is more than a string."""


class MyPath(str, os.PathLike[str]):  # type: ignore[type-arg, unused-ignore]
    """Both a string and a path."""

    def __fspath__(self) -> str:
        return str(self)


class MyBytes(bytes):
    """Bytes that are more than bytes."""


# ---- malloc


@pytest.mark.parametrize(("cls", "size"), [(Int32, 4), (Int64, 8), (Pair, 2), (Owned, 1)])
async def test_malloc_of_types_with_a_fixed_size(ram: RAM, cls: type[Any], size: int) -> None:
    for _ in range(3):
        pointer = await ram.malloc(cls)
        assert type(pointer) is Pointer
        assert pointer.size() == size
        assert pointer.typ is cls
        assert int(pointer.near) % 8 == 0


@pytest.mark.parametrize("cls", [bytes, str, Path, PurePosixPath, Text, MyStr, MyBytes, MyPath])
async def test_malloc_of_types_with_a_given_size(ram: RAM, cls: type[Any]) -> None:
    for size in (0, 1, 13, 4096):
        pointer = await ram.malloc(cls, size)
        assert pointer.size() == size
        assert pointer.typ is cls


async def test_malloc_says_what_is_wrong(ram: RAM) -> None:
    for cls in (bytes, str, Path, Text, int):
        with pytest.raises(TypeError, match=f"{cls.__name__} vary in size"):
            await ram.malloc(cls)  # type: ignore[type-var]  # this is what is tested
    for _ in range(2):
        for fixed in (Int32, Pair, Owned):
            with pytest.raises(TypeError, match=f"size of {fixed.__name__} is fixed"):
                await ram.malloc(fixed, 4)
            await ram.malloc(fixed)
    for unknown in (int, dict, HasSerializer):
        with pytest.raises(TypeError, match=f"type {unknown.__name__}"):
            await ram.malloc(unknown, 4)  # type: ignore[type-var]  # this is what is tested
    with pytest.raises(ValueError, match="negative"):
        await ram.malloc(bytes, -1)


async def test_malloc_serializer(ram: RAM) -> None:
    serializer = OwnedSerializer("owner")
    pointer = await ram.malloc_serializer(serializer, 1, Owned)
    assert pointer.serializer is serializer
    written = await pointer.write(Owned(None, 7))
    assert await written.read() == Owned("owner", 7)


# ---- ptr


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (b"", b""),
        (b"bytes", b"bytes"),
        (b"with\0nul", b"with\0nul"),
        (MyBytes(b"more"), b"more"),
        ("", b"\0"),
        ("text", b"text\0"),
        ("stra\u00dfe", "stra\u00dfe".encode() + b"\0"),
        ("not utf-8 \udcff", b"not utf-8 \xff\0"),
        (MyStr("more"), b"more\0"),
        (Path("/a/b"), b"/a/b\0"),
        (MyPath("x"), b"x\0"),
        (Int32(-2), b"\xfe\xff\xff\xff"),
        (Int64(1), (1).to_bytes(8, "little")),
        (Pair(1, 2), b"\1\2"),
        (Text("varies"), b"varies"),
        (Text(""), b""),
        (Owned(None, 5), b"\5"),
        (StructList(Pair, [Pair(1, 2), Pair(3, 4)]), b"\1\2\3\4"),
        (StructList(Pair, []), b""),
    ],
)
async def test_ptr_round_trip(task: Task, ram: RAM, value: Any, encoded: bytes) -> None:
    for _ in range(2):  # the second time what is known about the type is remembered
        pointer: WrittenPointer[Any] = await ram.ptr(value)
        assert type(pointer) is WrittenPointer
        assert pointer.value is value
        assert pointer.typ is type(value)
        assert pointer.size() == len(encoded)
        assert int(pointer.near) % 8 == 0
        assert await ram.transport.read(pointer) == encoded
        again = await pointer.read()
        if isinstance(value, Owned):
            assert again == Owned(task, value.value)
        else:
            assert again == value
        if isinstance(value, MyPath):
            assert type(again) is MyPath  # taken for a path, not for a string


async def test_ptr_says_what_is_wrong(ram: RAM) -> None:
    for value in (1, None, ["x"], bytearray(b"x"), object()):
        with pytest.raises(TypeError, match=f"type {type(value).__name__}"):
            await ram.ptr(value)  # type: ignore[call-overload]  # this is what is tested
    for nul in ("a\0b", Path("a\0b")):
        with pytest.raises(ValueError, match="null byte"):
            await ram.ptr(nul)


async def test_memory_is_freed_when_the_pointer_is_dropped(ram: RAM, allocator: UnlimitedAllocator) -> None:
    for _ in range(10):
        await ram.ptr(b"x" * 50000)
        await ram.malloc(bytes, 50000)
    assert len(allocator.arenas) == 1


async def test_use_after_free(ram: RAM) -> None:
    pointer = await ram.ptr(b"abcdef")
    pointer.free()
    pointer.free()
    for use in (lambda: pointer.near, lambda: pointer.split(1), lambda: pointer.unsafe()):
        with pytest.raises(UseAfterFreeError):
            use()
    with pytest.raises(UseAfterFreeError):
        await pointer.read()
    with pytest.raises(UseAfterFreeError):
        await pointer.write(b"x")
    assert "freed" in str(pointer)


async def test_splitting_merging_and_writing_through_pointers(ram: RAM) -> None:
    buffer = await ram.malloc(bytes, 100)
    address = buffer.near
    for n in (0, 1, 16, 33, 99, 100):
        filled, rest = (await buffer.write(bytes([n]) * 100)).readable_split(n)
        assert await filled.read() == bytes([n]) * n
        assert rest.size() == 100 - n
        buffer = filled + rest
        assert buffer.near == address
        assert buffer.size() == 100


async def test_write_to_end(ram: RAM) -> None:
    stack = await ram.malloc(bytes, 4096)
    rest, written = await stack.write_to_end(b"fifteen bytes !", 16)
    assert int(written.near) % 16 == 0
    assert written.size() == 15
    assert await written.read() == b"fifteen bytes !"
    assert int(rest.near) + rest.size() == int(written.near)


class _Failing(MemoryTransport):
    """A transport over which nothing gets."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    async def read(self, src: Pointer[Any]) -> bytes:
        raise self.error

    async def write(self, dest: Pointer[Any], data: bytes) -> None:
        raise self.error

    def inherit(self, task: Task) -> MemoryTransport:
        return self


@pytest.mark.parametrize("error", [OSError(14, "Bad address"), Cancelled()])
def test_a_failed_write_gives_the_memory_back(
    task: Task, allocator: UnlimitedAllocator, error: BaseException
) -> None:
    ram = RAM(task, _Failing(error), allocator.inherit(task))
    caught = []
    for value in (b"x" * 60000, "text", Pair(1, 2)):
        with pytest.raises(type(error)) as info:
            run(ram.ptr(value))
        caught.append(info)  # the frames are alive, and the memory is free all the same
    run(allocator.close())


async def test_any_allocator_can_be_used(task: Task, ram: RAM) -> None:
    arena = Arena(await task.mmap(4096, PROT.READ | PROT.WRITE, MAP.PRIVATE))
    other: AllocatorInterface = arena
    ram.allocator = other
    pointer = await ram.ptr(b"in the arena")
    assert pointer.mapping is arena.mapping
    assert (await ram.malloc(Int32)).mapping is arena.mapping
    pointer.free()
    ram.allocator = LaterAllocator()
    null = await ram.malloc(Int32)
    assert int(null.near) == 0
    await arena.close()


async def test_subclasses_may_write_otherwise(task: Task, ram: RAM) -> None:
    class Reversing(RAM):
        async def _write_to_pointer(self, ptr: Pointer[Any], data: Any, data_bytes: bytes) -> Any:
            return await super()._write_to_pointer(ptr, data, data_bytes[::-1])

    pointer = await Reversing(task, ram.transport, ram.allocator).ptr(b"abc")
    assert await pointer.read() == b"cba"
    assert pointer.value == b"abc"


def test_serializers_are_re_exported() -> None:
    assert BytesSerializer().to_bytes(b"x") == b"x"
    assert issubclass(StrSerializer, Serializer)
    assert issubclass(PathLikeSerializer, Serializer)
    assert issubclass(Owned, FixedSerializer)


async def test_a_type_that_needs_a_task_gets_the_right_one(task: Task, ram: RAM) -> None:
    child = make_task(task)
    theirs = RAM(child, ram.transport, ram.allocator.inherit(child))
    for memory, owner in ((ram, task), (theirs, child), (ram, task)):
        assert (await (await memory.ptr(Owned(None, 1))).read()).task is owner
        assert (await (await (await memory.malloc(Owned)).write(Owned(None, 1))).read()).task is owner
