"""Pointers: who owns memory, who may look at it, and when it is given back."""

from __future__ import annotations

import _thread
import gc
import logging
import os
import signal
import struct
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rsyscall import far
from rsyscall.far import AddressSpace, AddressSpaceMismatchError
from rsyscall.handle.fd import ManipulatingFDTableError
from rsyscall.handle.pointer import (
    LinearPointer,
    LinearReadError,
    MemoryGateway,
    Pointer,
    PointerMergeError,
    ReadablePointer,
    UseAfterFreeError,
    WrittenPointer,
)
from rsyscall.native import fast
from rsyscall.near import types as near
from rsyscall.near.record import borrow_pointer
from rsyscall.struct import BytesSerializer, Int32, Serializer, StrSerializer
from rsyscall.sys.mman import MemoryMapping
from rsyscall.unistd.pipe import Pipe

from .support import Local, linearized, make_task, retyped, run


@pytest.fixture(autouse=True)
def no_memory_is_lost(local: Local) -> Iterator[None]:
    """All memory is given back once the last reference to it is dropped."""
    yield
    gc.collect()
    assert local.arena.live_bytes() == 0


async def test_write_and_read(local: Local) -> None:
    empty = await local.malloc(Int32)
    written = await empty.write(Int32(7))
    assert type(written) is WrittenPointer
    assert written.value == 7
    assert await written.read() == 7
    assert not empty.valid
    assert written.size() == 4


async def test_split_and_merge(local: Local) -> None:
    whole = await local.ptr(b"abcdef")
    address = whole.near
    left, right = whole.split(2)
    assert (left.size(), right.size()) == (2, 4)
    assert type(left) is type(right) is Pointer
    assert right.near == address + 2
    with pytest.raises(UseAfterFreeError, match="no longer valid"):
        whole.near  # noqa: B018
    with pytest.raises(PointerMergeError):
        right + left
    assert left.valid
    assert right.valid
    again = left + right
    assert await again.read() == b"abcdef"
    assert not left.valid
    assert not right.valid


async def test_wrong_splits_change_nothing(local: Local) -> None:
    whole = await local.ptr(b"abcdef")
    for size in (-1, 7):
        with pytest.raises(ValueError, match="6 bytes"):
            whole.split(size)
    assert await whole.read() == b"abcdef"
    left, right = whole.split(6)
    assert (left.size(), right.size()) == (6, 0)


async def test_merging_strangers(local: Local) -> None:
    one, two = await local.ptr(b"a" * 16), await local.ptr(b"b" * 16)
    left, middle = two.split(4)
    for pair in ((two, one), (left, one)):
        with pytest.raises((PointerMergeError, UseAfterFreeError)):
            pair[0].merge(pair[1])
    with pytest.raises(PointerMergeError, match="itself"):
        one.merge(one)
    with pytest.raises(TypeError):
        one + 3  # type: ignore[operator]  # that is the point
    with pytest.raises(TypeError):
        3 + one  # type: ignore[operator]  # that is the point
    other = MemoryMapping(local.task, local.arena.mapping.near, far.File())
    foreign = Pointer(other, local.gateway, BytesSerializer(), local.arena.allocate(0, 1), bytes)
    with pytest.raises(PointerMergeError, match="same mapping"):
        one.merge(foreign)
    assert one.valid
    assert (left + middle).size() == 16


async def test_adding_to_nothing(local: Local) -> None:
    data: Pointer[bytes] | None = None
    left, right = (await local.ptr(b"abcdef")).split(3)
    data += left
    assert data is left
    data += right
    assert await data.read() == b"abcdef"


async def test_dropping_parts_frees_them(local: Local) -> None:
    whole = await local.ptr(b"abcdef")
    left, right = whole.split(2)
    assert local.arena.live_bytes() == 6
    del whole, left
    assert local.arena.live_bytes() == 4
    a, b = right.split(1)
    del right
    a.free()
    a.free()
    assert local.arena.live_bytes() == 3
    with pytest.raises(UseAfterFreeError):
        await a.read()
    with pytest.raises(UseAfterFreeError):
        a.split(0)
    with pytest.raises(UseAfterFreeError):
        b.merge(a)
    del b
    assert local.arena.live_bytes() == 0


async def test_every_consuming_operation_consumes(local: Local) -> None:
    operations: list[Any] = [
        lambda ptr: ptr.split(1),
        lambda ptr: ptr.readable_split(1),
        lambda ptr: ptr.split_from_end(1, 1),
        lambda ptr: ptr.unsafe(),
        lambda ptr: ptr.wrote(b"abc"),
        lambda ptr: retyped(ptr, StrSerializer(), str),
    ]
    makers: list[Any] = [
        lambda ptr: ptr,
        lambda ptr: ptr.unsafe(),
        lambda ptr: ptr.wrote(b"abc"),
    ]
    for operation in operations:
        for make in makers:
            pointer = make(await local.malloc(bytes, 3))
            result = operation(pointer)
            assert not pointer.valid
            with pytest.raises(UseAfterFreeError):
                operation(pointer)
            del result
            assert local.arena.live_bytes() == 0


async def test_types_of_results(local: Local) -> None:
    readable, rest = (await local.malloc(bytes, 4)).readable_split(3)
    assert type(readable) is ReadablePointer
    assert type(rest) is Pointer
    assert type(readable + rest) is Pointer
    written = await local.ptr(b"abc")
    assert type(written.unsafe()) is ReadablePointer
    other = retyped(await local.ptr(b"abc\0"), StrSerializer(), str)
    assert type(other) is Pointer
    assert other.typ is str
    assert await other.read() == "abc"
    alias = other.with_allocation(local.arena.allocate(2, 1))
    assert alias.size() == 2
    assert other.valid


async def test_writing_too_much(local: Local) -> None:
    pointer = await local.malloc(bytes, 3)
    with pytest.raises(ValueError, match=r"4 bytes of b'abcd' do not fit into the 3 bytes of Pointer"):
        await pointer.write(b"abcd")
    assert await (await pointer.write(b"ab")).read() == b"ab\0"


async def test_zero_bytes(local: Local) -> None:
    pointer = await local.ptr(b"")
    assert await pointer.read() == b""
    assert pointer.size() == 0


# At the end


async def test_split_from_end(local: Local) -> None:
    pointer = local.malloc_serializer(BytesSerializer(), 45, bytes)
    start = int(pointer.near)
    left, right = pointer.split_from_end(10, 16)
    assert int(right.near) % 16 == 0
    assert int(right.near) == start + 32
    assert right.size() == 13
    with pytest.raises(ValueError, match="no room"):
        left.split_from_end(33, 1)
    with pytest.raises(ValueError, match="must be positive"):
        left.split_from_end(1, 0)
    assert left.valid


@pytest.mark.parametrize("size", [45, 48])
async def test_write_to_end_keeps_just_the_value(local: Local, size: int) -> None:
    """A buffer whose end is not aligned leaves a surplus, which must not stay part of the value."""
    pointer = local.malloc_serializer(BytesSerializer(), size, bytes)
    rest, written = await pointer.write_to_end(b"0123456789", 16)
    assert written.size() == 10
    assert int(written.near) % 16 == 0
    assert await written.read() == b"0123456789"
    assert int(rest.near) + rest.size() == int(written.near)
    assert local.arena.live_bytes() == rest.size() + 10


async def test_write_to_end_without_room(local: Local) -> None:
    # Not at the start of the mapping, which may happen to be aligned to anything.
    _, pointer = (await local.malloc(bytes, 28)).split(8)
    with pytest.raises(ValueError, match="do not fit"):
        await pointer.write_to_end(b"x" * 21, 1)
    with pytest.raises(ValueError, match="no room"):
        await pointer.write_to_end(b"x" * 20, 4096 * 256)
    assert pointer.valid


# Address spaces


async def test_address_spaces_are_checked(local: Local) -> None:
    pointer = await local.ptr(b"abc")
    sharing, stranger = make_task(local.task), make_task()
    with pointer.borrow(sharing) as address:
        assert address == pointer.near
    with pytest.raises(AddressSpaceMismatchError) as caught, pointer.borrow(stranger):
        raise AssertionError("borrowed")
    assert caught.value.args == (stranger.address_space, local.task.address_space)
    assert f"made in {stranger.address_space}: make it with ptr or malloc" in str(caught.value)
    with pytest.raises(AddressSpaceMismatchError):
        pointer.check_address_space(stranger)
    # nothing is pinned by a borrow that did not begin
    pointer.free()
    assert local.arena.live_bytes() == 0


async def test_pointers_of_a_task_which_executed_something(local: Local) -> None:
    child = make_task(local.task)
    mapping = local.arena.mapping.for_task(child)
    pointer = Pointer(mapping, local.gateway, BytesSerializer(), local.arena.allocate(3, 1), bytes)
    pointer.check_address_space(local.task)
    child.did_exec(None)
    with pytest.raises(AddressSpaceMismatchError):
        pointer.check_address_space(local.task)
    with pytest.raises(AddressSpaceMismatchError), pointer.borrow(local.task):
        raise AssertionError("borrowed")


# Borrowing


async def test_memory_stays_while_borrowed(local: Local) -> None:
    pointer = await local.ptr(b"abc")
    with pointer.borrow(local.task), pointer.borrow(local.task):
        pointer.free()
        assert not pointer.valid
        with pytest.raises(UseAfterFreeError):
            pointer.near  # noqa: B018
        assert local.arena.live_bytes() == 3
    assert local.arena.live_bytes() == 0


async def test_the_last_borrow_gives_back(local: Local) -> None:
    pointer = await local.ptr(b"abc")
    first, second = pointer.borrow(local.task), pointer.borrow(local.task)
    first.__enter__()
    second.__enter__()
    pointer.free()
    first.__exit__(None, None, None)
    assert local.arena.live_bytes() == 3
    second.__exit__(None, None, None)
    assert local.arena.live_bytes() == 0


async def test_a_borrow_that_is_dropped_gives_back(local: Local) -> None:
    # As by an exception of a signal handler behind __enter__, which `with` does not see since Python 3.14.
    pointer = await local.ptr(b"abc")
    other = pointer.borrow(local.task)
    with pointer.borrow(local.task):
        other.__enter__()
        other.__enter__()
        pointer.free()
        del other
        assert local.arena.live_bytes() == 3
    assert local.arena.live_bytes() == 0
    pointer = await local.ptr(b"abc")
    pointer.borrow(local.task).__enter__()
    assert pointer.valid
    pointer.free()
    assert local.arena.live_bytes() == 0
    pointer = await local.ptr(b"abc")
    last = pointer.borrow(local.task)
    last.__enter__()
    pointer.free()
    assert local.arena.live_bytes() == 3
    del last
    assert local.arena.live_bytes() == 0


async def test_a_signal_between_entering_and_the_block(local: Local) -> None:
    class Signalled(Pointer[bytes]):
        """The signal arrives when its address is asked for."""

        near = property(_thread.interrupt_main)  # type: ignore[assignment,arg-type]  # its own number is the signal

        def __index__(self) -> int:
            return int(signal.SIGUSR1)

    memory = await local.ptr(b"abc")
    pointer = Signalled(memory.mapping, memory.transport, memory.serializer, memory.allocation, memory.typ)
    memory.valid = False

    def stop(*_: object) -> None:
        raise InterruptedError

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        with pytest.raises(InterruptedError), borrow_pointer(pointer, local.task):
            pass
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not pointer._pins  # nothing else tells


async def test_only_what_was_borrowed_is_given_back(local: Local) -> None:
    pointer = await local.ptr(b"abc")
    borrow = pointer.borrow(local.task)
    with pytest.raises(RuntimeError, match="not entered"):
        borrow.__exit__(None, None, None)
    with borrow:
        pointer.free()
        assert local.arena.live_bytes() == 3
    with pytest.raises(RuntimeError, match="has been left"):
        borrow.__exit__(None, None, None)
    assert local.arena.live_bytes() == 0


async def test_parts_of_borrowed_memory_stay(local: Local) -> None:
    pointer = await local.ptr(b"abcdef")
    with pointer.borrow(local.task):
        left, right = pointer.split(2)
        left.free()
        assert local.arena.live_bytes() == 6
        del right
        assert local.arena.live_bytes() == 6
    assert local.arena.live_bytes() == 0


async def test_memory_borrowed_in_two_parts(local: Local) -> None:
    left, right = (await local.ptr(b"abcdef")).split(2)
    first, second = left.borrow(local.task), right.borrow(local.task)
    first.__enter__()
    second.__enter__()
    whole = left + right
    whole.free()
    first.__exit__(None, None, None)
    assert local.arena.live_bytes() == 6
    second.__exit__(None, None, None)
    assert local.arena.live_bytes() == 0


async def test_a_loop_over_a_buffer_keeps_no_history(local: Local) -> None:
    buffer: Pointer[bytes] = await local.malloc(bytes, 16)
    history = []
    for _ in range(5):
        with buffer.borrow(local.task):
            history.append(weakref.ref(buffer))
            valid, rest = buffer.readable_split(4)
        buffer = valid + rest
    del valid, rest
    assert [ref for ref in history if ref() is not None] == []


async def test_invalid_pointers_cannot_be_borrowed(local: Local) -> None:
    pointer = await local.ptr(b"abc")
    pointer.free()
    with pytest.raises(UseAfterFreeError), pointer.borrow(local.task):
        raise AssertionError("borrowed")


class FreeingGateway(MemoryGateway):
    """Frees the pointer while its bytes are on the way, as another coroutine could."""

    def __init__(self, local: Local) -> None:
        self.local = local

    async def read(self, src: Pointer[Any]) -> bytes:
        data = await self.local.gateway.read(src)
        src.free()
        assert self.local.arena.live_bytes() == src.size()
        return data

    async def write(self, dest: Pointer[Any], data: bytes) -> None:
        await self.local.gateway.write(dest, data)
        dest.free()
        assert self.local.arena.live_bytes() == dest.size()


async def test_freeing_during_transfers(local: Local) -> None:
    pointer = await local.ptr(b"abc")
    pointer.transport = FreeingGateway(local)
    assert await pointer.read() == b"abc"
    assert local.arena.live_bytes() == 0
    empty = await local.malloc(bytes, 3)
    empty.transport = FreeingGateway(local)
    with pytest.raises(UseAfterFreeError):
        await empty.write(b"abc")
    assert local.arena.live_bytes() == 0


# Linear pointers


async def test_linear_pointers_are_read_once(local: Local) -> None:
    linear = linearized(await local.ptr(b"abc"))
    assert not linear.been_read
    assert await linear.read() == b"abc"
    assert linear.been_read
    with pytest.raises(LinearReadError, match="already"):
        await linear.read()
    with pytest.raises(LinearReadError):
        await linear.linear_read()


async def test_linear_read_gives_the_memory_back(local: Local) -> None:
    linear = linearized(await local.ptr(b"abc"))
    value, memory = await linear.linear_read()
    assert value == b"abc"
    assert type(memory) is Pointer
    assert not linear.valid
    assert await (await memory.write(b"xyz")).read() == b"xyz"


async def test_descriptors_of_a_pipe_have_one_owner(local: Local) -> None:
    """Scenario 15."""
    result = await local.task.pipe(await local.malloc(Pipe))
    pipe = await result.read()
    with pytest.raises(LinearReadError):
        await result.read()
    # scenario 13
    buffer = await local.malloc(bytes, 6)
    await pipe.write.write(await local.ptr(b"abc"))
    valid, rest = await pipe.read.read(buffer)
    assert not buffer.valid
    assert type(valid) is ReadablePointer
    assert await valid.read() == b"abc"
    assert (valid + rest).size() == 6
    await pipe.read.close()
    await pipe.write.close()


async def test_failed_read_can_be_repeated(local: Local) -> None:
    class Broken(MemoryGateway):
        async def read(self, src: Pointer[Any]) -> bytes:
            raise OSError("try again")

        async def write(self, dest: Pointer[Any], data: bytes) -> None:
            raise NotImplementedError

    linear = linearized(await local.ptr(b"abc"))
    linear.transport = Broken()
    with pytest.raises(OSError, match="again"):
        await linear.read()
    linear.transport = local.gateway
    assert await linear.read() == b"abc"


async def test_unread_linear_pointers_are_complained_about(
    local: Local, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    linear = linearized(await local.ptr(b"abc"))
    del linear
    assert "dropped without having been read" in caplog.text
    caplog.clear()
    linear = linearized(await local.ptr(b"abc"))
    linear.free()
    linear.free()
    assert caplog.text.count("dropped") == 1
    caplog.clear()
    linear = linearized(await local.ptr(b"abc"))
    await linear.read()
    del linear
    assert caplog.text == ""


@pytest.mark.parametrize(
    "consume",
    [
        lambda linear: linear.split(1),
        lambda linear: linear.readable_split(1),
        lambda linear: linear.split_from_end(1, 1),
        lambda linear: linear.merge(linear.with_allocation(linear.allocation.arena.allocate(3, 1))),
        lambda linear: linear.unsafe(),
        linearized,
        lambda linear: retyped(linear, StrSerializer(), str),
        lambda linear: run(linear.write(b"xyz")),
        lambda linear: run(linear.write_to_end(b"z", 1)),
        lambda linear: linear.wrote(b"xyz"),
    ],
)
async def test_a_linear_pointer_is_not_made_into_something_else_unread(
    local: Local, caplog: pytest.LogCaptureFixture, consume: Callable[[LinearPointer[bytes]], Any]
) -> None:
    """After any of these, descriptors in the unread value would stay open without an owner, unnoticed."""
    caplog.set_level(logging.ERROR)
    for read in (True, False):
        linear = linearized(await local.ptr(b"abc"))
        if read:
            await linear.read()
        result = consume(linear)
        assert not linear.valid
        if isinstance(result, LinearPointer):
            await result.read()
        del linear, result
        assert caplog.text.count("without having been read") == (0 if read else 1)
        assert local.arena.live_bytes() == 0


class Refusing(Serializer[bytes]):
    def __init__(self, error: Exception) -> None:
        self.error = error

    def from_bytes(self, data: bytes) -> bytes:
        raise self.error


class RefusingAll(Refusing):
    all_or_nothing = True


@pytest.mark.parametrize(
    ("serializer", "again"),
    [
        (RefusingAll(ValueError("no")), True),
        (Refusing(ManipulatingFDTableError("no")), True),
        (Refusing(ValueError("no")), False),
    ],
)
async def test_a_value_nothing_of_which_was_taken_over_can_be_read_again(
    local: Local, caplog: pytest.LogCaptureFixture, serializer: Serializer[bytes], again: bool
) -> None:
    caplog.set_level(logging.ERROR)
    linear = linearized(await local.ptr(b"abc"))
    working, linear.serializer = linear.serializer, serializer
    with pytest.raises(Exception, match="no"):
        await linear.read()
    linear.serializer = working
    if again:
        assert await linear.read() == b"abc"
    else:
        with pytest.raises(LinearReadError):
            await linear.read()
    linear.free()
    assert not caplog.records


class LocalMemory(MemoryGateway):
    """Refuses the memory of others, as every gateway does."""

    def __init__(self, address_space: AddressSpace) -> None:
        self.address_space = address_space

    async def read(self, src: Pointer[Any]) -> bytes:
        raise AddressSpaceMismatchError(src.mapping.task.address_space, self.address_space)

    async def write(self, dest: Pointer[Any], data: bytes) -> None:
        raise NotImplementedError


async def test_an_exec_takes_care_of_what_was_not_read(
    local: Local, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.ERROR)
    linear = linearized(await local.ptr(b"abc"))
    linear.transport = LocalMemory(local.task.address_space)
    with monkeypatch.context() as patch:
        patch.setattr(linear.mapping.task, "address_space", AddressSpace(0))
        with pytest.raises(AddressSpaceMismatchError):
            await linear.read()
        del linear
    assert caplog.text == ""


# What does not raise


async def test_repr_never_raises(local: Local) -> None:
    pointer = await local.malloc(bytes, 3)
    assert repr(pointer) == f"Pointer[bytes]({pointer.near}, 3)"
    pointer.free()
    assert repr(pointer) == str(pointer) == "Pointer[bytes](freed)"
    written = await local.ptr(b"abc")
    assert repr(written) == f"WrittenPointer[bytes]({written.near}, b'abc')"
    written.free()
    assert repr(written) == "WrittenPointer[bytes](freed, b'abc')"
    readable = (await local.malloc(bytes, 3)).unsafe()
    readable.allocation.free()
    assert repr(readable) == "ReadablePointer[bytes](allocation freed)"
    assert "in repr" in repr(Pointer.__new__(Pointer))


async def test_wrong_construction_does_not_disturb_the_destructor(
    local: Local, capfd: pytest.CaptureFixture[str]
) -> None:
    for cls in (Pointer, LinearPointer, WrittenPointer):
        with pytest.raises(TypeError):
            cls()  # type: ignore[call-arg]  # that is the point
    gc.collect()
    assert capfd.readouterr().err == ""


async def test_identity(local: Local) -> None:
    one = await local.ptr(b"abc")
    other = one.with_allocation(local.arena.allocate(3, 1))
    assert one == one
    assert one != other
    assert len({one, other}) == 2
    assert not hasattr(one, "__dict__")
    assert weakref.ref(one)() is one


async def test_near_needs_the_allocation(local: Local) -> None:
    pointer = await local.malloc(bytes, 3)
    assert isinstance(pointer.near, near.Address)
    pointer.allocation.free()
    with pytest.raises(UseAfterFreeError):
        pointer.near  # noqa: B018


async def test_nothing_is_complained_about_while_the_table_changes(
    local: Local, caplog: pytest.LogCaptureFixture
) -> None:
    """An exec under way closes what was just opened."""
    caplog.set_level(logging.ERROR)
    task = local.task
    linear = await task.pipe(await local.malloc(Pipe))
    numbers = struct.unpack("ii", fast.read_memory(int(linear.near), 8))
    task.manipulating_fd_table = True
    try:
        with pytest.raises(ManipulatingFDTableError):
            await linear.read()
        del linear
    finally:
        task.manipulating_fd_table = False
    assert caplog.text == ""
    for number in numbers:
        os.close(number)
