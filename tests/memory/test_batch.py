"""Several pointers with one allocation."""

from __future__ import annotations

from typing import Any

import pytest

from rsyscall.handle.pointer import Pointer, WrittenPointer
from rsyscall.handle.task import Task
from rsyscall.memory.allocator import Arena, UnlimitedAllocator
from rsyscall.memory.local import LocalMemoryTransport
from rsyscall.memory.ram import (
    RAM,
    BatchWriteSemantics,
    LaterAllocator,
    NoopTransport,
    NullAllocation,
    PrefilledAllocator,
    perform_batch,
)
from rsyscall.struct import Int32, Int64
from rsyscall.sys.mman import MAP, PROT

from .support import check


class Recording(LocalMemoryTransport):
    """Remembers at which addresses it wrote."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.addresses: list[int] = []

    async def write(self, dest: Pointer[Any], data: bytes) -> None:
        self.addresses.append(int(dest.near))
        await super().write(dest, data)


@pytest.fixture
def recording(task: Task) -> Recording:
    return Recording(task)


@pytest.fixture
def ram(task: Task, allocator: UnlimitedAllocator, recording: Recording) -> RAM:
    return RAM(task, recording, allocator.inherit(task))


async def test_a_batch_makes_pointers(ram: RAM, recording: Recording) -> None:
    runs = 0

    async def op(sem: RAM) -> tuple[WrittenPointer[bytes], WrittenPointer[str], Pointer[Int32]]:
        nonlocal runs
        runs += 1
        written = await sem.ptr(b"bytes"), await sem.ptr("string"), await sem.malloc(Int32)
        assert recording.addresses == []
        return written

    first, second, third = await ram.perform_batch(op)
    assert runs == 2
    assert first.value == b"bytes"
    assert await first.read() == b"bytes"
    assert await second.read() == "string"
    # Next to each other, in order, each aligned.
    assert [int(pointer.near) - int(first.near) for pointer in (first, second, third)] == [0, 16, 32]
    await third.write(Int32(5))


async def test_values_may_contain_addresses_of_others(ram: RAM) -> None:
    async def op(sem: RAM) -> tuple[WrittenPointer[bytes], WrittenPointer[Int64]]:
        target = await sem.ptr(b"target")
        return target, await sem.ptr(Int64(int(target.near)))

    target, reference = await ram.perform_batch(op)
    assert await reference.read() == int(target.near)


async def test_a_batch_of_nothing(ram: RAM) -> None:
    async def op(sem: RAM) -> int:
        return 7

    assert await ram.perform_batch(op) == 7


async def test_pointers_can_be_split_in_a_batch(ram: RAM) -> None:
    async def op(sem: RAM) -> tuple[Pointer[bytes], WrittenPointer[bytes]]:
        buffer = await sem.malloc(bytes, 4096)
        left, right = buffer.split(100)
        assert (left.size(), right.size()) == (100, 3996)
        return await (left + right).write_to_end(b"at the end", 16)

    rest, written = await ram.perform_batch(op)
    assert await written.read() == b"at the end"
    assert rest.size() + 16 == 4096


async def test_another_allocator_for_a_batch(task: Task, ram: RAM) -> None:
    arena = Arena(await task.mmap(4096, PROT.READ | PROT.WRITE, MAP.PRIVATE))

    async def op(sem: RAM) -> WrittenPointer[bytes]:
        return await sem.ptr(b"in the arena")

    pointer = await ram.perform_batch(op, arena)
    assert pointer.mapping is arena.mapping
    assert await pointer.read() == b"in the arena"
    pointer.free()
    await arena.close()


@pytest.mark.parametrize("sizes", [(10, 20), (20, 10), (0, 1)])
async def test_a_batch_that_changes_its_mind_is_refused(
    ram: RAM, allocator: UnlimitedAllocator, sizes: tuple[int, int]
) -> None:
    remaining = list(sizes)

    async def op(sem: RAM) -> Pointer[bytes]:
        await sem.ptr(b"the same")
        return await sem.malloc(bytes, remaining.pop())

    with pytest.raises(RuntimeError, match="second time"):
        await ram.perform_batch(op)
    check(allocator.space, allocator.arenas, [])


@pytest.mark.parametrize("counts", [(1, 2), (2, 1), (0, 1), (1, 0)])
async def test_a_batch_that_asks_for_more_or_less_is_refused(
    ram: RAM, allocator: UnlimitedAllocator, counts: tuple[int, int]
) -> None:
    remaining = list(reversed(counts))

    async def op(sem: RAM) -> None:
        for _ in range(remaining.pop()):
            await sem.ptr(b"x")

    with pytest.raises(RuntimeError, match="the second time it ran"):
        await ram.perform_batch(op)
    check(allocator.space, allocator.arenas, [])


@pytest.mark.parametrize("failing", [1, 2])
async def test_a_batch_that_fails_leaves_nothing(
    ram: RAM, allocator: UnlimitedAllocator, recording: Recording, failing: int
) -> None:
    runs = 0

    async def op(sem: RAM) -> None:
        nonlocal runs
        runs += 1
        await sem.ptr(b"x" * 100)
        if runs == failing:
            raise ZeroDivisionError
        await sem.ptr(b"y" * 100)

    with pytest.raises(ZeroDivisionError):
        await ram.perform_batch(op)
    assert recording.addresses == []
    check(allocator.space, allocator.arenas, [])


async def test_memory_cannot_be_read_in_a_batch(ram: RAM) -> None:
    async def op(sem: RAM) -> bytes:
        return await (await sem.ptr(b"x")).read()

    with pytest.raises(RuntimeError, match="batch"):
        await ram.perform_batch(op)


async def test_the_function(task: Task, ram: RAM) -> None:
    async def op(sem: RAM) -> WrittenPointer[str]:
        assert sem.task is task
        return await sem.ptr("text")

    assert await (await perform_batch(task, ram.transport, ram.allocator, op)).read() == "text"


# ---- The parts


def test_halves_of_a_null_allocation_are_in_order() -> None:
    left, right = NullAllocation(10).split(3)
    assert (left.size(), right.size()) == (3, 7)
    assert left.merge(right).size() == 10
    assert (left.offset(), right.offset()) == (0, 3)
    with pytest.raises(ValueError):
        right.merge(left)
    left.free()
    for size in (-1, 11):
        with pytest.raises(ValueError):
            NullAllocation(10).split(size)


async def test_later_allocator_remembers() -> None:
    later = LaterAllocator()
    mapping, allocation = await later.malloc(10, 8)
    await later.malloc(0, 16)
    assert later.allocations == [(10, 8), (0, 16)]
    assert int(mapping.near.as_address()) == 0
    assert allocation.size() == 10
    with pytest.raises(ValueError):
        await later.malloc(-1, 8)


async def test_prefilled_allocator_is_strict(allocator: UnlimitedAllocator) -> None:
    prefilled = PrefilledAllocator(await allocator.bulk_malloc([(1, 1), (2, 1), (3, 64)]))
    assert (await prefilled.malloc(1, 1))[1].size() == 1
    with pytest.raises(RuntimeError):
        await prefilled.malloc(3, 1)
    assert (await prefilled.malloc(2, 1))[1].size() == 2
    with pytest.raises(RuntimeError):
        await prefilled.malloc(3, 4096)
    prefilled.free()
    with pytest.raises(RuntimeError):
        await prefilled.malloc(3, 64)


async def test_batch_write_semantics_put_off_writes(task: Task, ram: RAM, recording: Recording) -> None:
    semantics = BatchWriteSemantics(task, recording, ram.allocator)
    pointer = await semantics.ptr(b"x")
    assert recording.addresses == []
    assert semantics.writes == [(pointer, b"x")]


def test_noop_transport_is_inherited_as_it_is(task: Task) -> None:
    transport = NoopTransport()
    assert transport.inherit(task) is transport
