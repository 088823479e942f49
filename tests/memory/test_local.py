"""Copying within our own address space."""

from __future__ import annotations

import os

import pytest

from rsyscall import far
from rsyscall.far import AddressSpaceMismatchError
from rsyscall.handle.allocation import AllocationInterface, UseAfterFreeError
from rsyscall.handle.pointer import Pointer
from rsyscall.handle.task import Task
from rsyscall.memory.local import LocalMemoryTransport
from rsyscall.memory.ram import RAM, NullAllocation
from rsyscall.native import fast
from rsyscall.near import types as near
from rsyscall.struct import BytesSerializer
from rsyscall.sys.mman import MemoryMapping

from .support import make_task, run


@pytest.mark.parametrize("size", [0, 1, 7, 4096, 100_000, 3_000_000])
async def test_what_is_written_can_be_read(ram: RAM, size: int) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    pointer = await ram.malloc(bytes, size)
    await ram.transport.write(pointer, data[:size])
    assert await ram.transport.read(pointer) == data[:size]
    assert fast.read_memory(int(pointer.near), size) == data[:size]


async def test_shorter_data_leaves_the_rest_alone(ram: RAM) -> None:
    pointer = await ram.ptr(b"abcdef")
    await ram.transport.write(pointer, b"XY")
    assert await pointer.read() == b"XYcdef"


async def test_longer_data_is_refused(ram: RAM) -> None:
    pointer = await ram.ptr(b"abcdef")
    behind = pointer.allocation
    with pytest.raises(ValueError, match="7 bytes"):
        await ram.transport.write(pointer, b"1234567")
    assert await pointer.read() == b"abcdef"
    assert behind.size() == 6


async def test_freed_pointers_are_refused(ram: RAM) -> None:
    pointer = await ram.ptr(b"abcdef")
    pointer.free()
    with pytest.raises(UseAfterFreeError):
        await ram.transport.read(pointer)
    with pytest.raises(UseAfterFreeError):
        await ram.transport.write(pointer, b"")


async def test_consumed_pointers_are_refused(ram: RAM) -> None:
    pointer = await ram.malloc(bytes, 10)
    rest = await pointer.write(b"x")
    with pytest.raises(UseAfterFreeError):
        await ram.transport.read(pointer)
    with pytest.raises(UseAfterFreeError):
        await ram.transport.write(pointer, b"x")
    assert rest.valid


async def test_other_address_spaces_are_refused(task: Task, ram: RAM) -> None:
    stranger = make_task()
    foreign = LocalMemoryTransport(stranger)
    pointer = await ram.ptr(b"abcdef")
    with pytest.raises(AddressSpaceMismatchError):
        await foreign.read(pointer)
    with pytest.raises(AddressSpaceMismatchError):
        await foreign.write(pointer, b"x")
    assert await pointer.read() == b"abcdef"


async def test_memory_of_a_task_that_shares_the_address_space(task: Task, ram: RAM) -> None:
    child = make_task(task)
    theirs = RAM(child, ram.transport, ram.allocator.inherit(child))
    pointer = await theirs.ptr(b"abcdef")
    assert pointer.mapping.task is child
    assert await ram.transport.read(pointer) == b"abcdef"
    # Once it has left, its pointers say nothing about our memory.
    child.address_space = far.AddressSpace(0)
    with pytest.raises(AddressSpaceMismatchError):
        await ram.transport.read(pointer)


def test_a_fork_of_the_program_has_memory_of_its_own(ram: RAM) -> None:
    pointer = run(ram.ptr(b"before"))
    transport = ram.transport
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            if run(transport.read(pointer)) == b"before":
                run(transport.write(pointer, b"after!"))
                status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert status == 0
    assert run(pointer.read()) == b"before"


def test_inherit(task: Task) -> None:
    transport = LocalMemoryTransport(task)
    assert transport.inherit(make_task(task)) is transport
    with pytest.raises(AddressSpaceMismatchError):
        transport.inherit(make_task())


class _At(NullAllocation):
    """An allocation that claims to be somewhere."""

    def __init__(self, start: int, size: int) -> None:
        super().__init__(size)
        self.start = start

    def offset(self) -> int:
        return self.start


@pytest.mark.parametrize(("start", "size"), [(-8, 8), (0, 4097), (4096, 1), (4090, 8), (8192, 0)])
async def test_nothing_is_touched_outside_of_the_mapping(task: Task, ram: RAM, start: int, size: int) -> None:
    mapping = MemoryMapping(task, near.MemoryMapping(4096, 4096, 4096), far.File())
    allocation: AllocationInterface = _At(start, size)
    pointer = Pointer(mapping, ram.transport, BytesSerializer(), allocation, bytes)
    with pytest.raises(ValueError):
        await ram.transport.read(pointer)
    with pytest.raises(ValueError):
        await ram.transport.write(pointer, b"")


async def test_allocation_freed_behind_a_valid_pointer(ram: RAM) -> None:
    for pointer in (await ram.malloc(bytes, 10), await ram.ptr(b"x")):
        pointer.allocation.free()
        assert pointer.valid
        with pytest.raises(UseAfterFreeError):
            pointer.near  # noqa: B018
        with pytest.raises(UseAfterFreeError):
            await pointer.read()
        with pytest.raises(UseAfterFreeError):
            await pointer.write(b"")
        assert str(pointer)
        pointer.free()
