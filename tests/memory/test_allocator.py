"""Arenas and allocators, call by call."""

from __future__ import annotations

import gc
import random
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from rsyscall import far
from rsyscall.far import AddressSpaceMismatchError
from rsyscall.handle.allocation import OutOfSpaceError, UseAfterFreeError
from rsyscall.handle.task import Task
from rsyscall.memory import allocation_interface
from rsyscall.memory import allocator as allocator_module
from rsyscall.memory.allocator import (
    LARGEST_ARENA,
    SMALLEST_ARENA,
    Allocation,
    AllocatorClient,
    Arena,
    UnlimitedAllocator,
    align,
)
from rsyscall.near import SYS, LocalSyscall, SyscallHangup, UnusableSyscallInterface
from rsyscall.sys.mman import MAP, PROT

from .support import Cancelled, SuspendingSyscall, check, make_task, mapped, run


async def make_arena(task: Task, length: int = 4096) -> Arena:
    return Arena(await task.mmap(length, PROT.READ | PROT.WRITE, MAP.PRIVATE))


def test_align_rounds_up() -> None:
    assert [align(n, 8) for n in (0, 1, 7, 8, 9)] == [0, 8, 8, 8, 16]
    assert align(10, 3) == 12
    assert align(5, 1) == 5


def test_names_of_lower_layer_are_re_exported() -> None:
    assert allocation_interface.UseAfterFreeError is UseAfterFreeError
    assert allocator_module.OutOfSpaceError is OutOfSpaceError


# ---- Allocations


async def test_split_and_merge_keep_every_byte(task: Task) -> None:
    arena = await make_arena(task)
    whole = arena.allocate(100, 1)
    left, right = whole.split(33)
    assert (left.offset(), left.size(), right.offset(), right.size()) == (0, 33, 33, 67)
    again = left.merge(right)
    assert (again.offset(), again.size()) == (0, 100)
    for consumed in (whole, left, right):
        assert not consumed.valid
        with pytest.raises(UseAfterFreeError):
            consumed.offset()
        with pytest.raises(UseAfterFreeError):
            consumed.split(0)
        with pytest.raises(UseAfterFreeError):
            consumed.merge(again)
        consumed.free()
    assert again.valid
    again.free()
    await arena.close()


async def test_split_at_the_ends_gives_empty_parts(task: Task) -> None:
    arena = await make_arena(task)
    empty, rest = arena.allocate(48, 1).split(0)
    rest, behind = rest.split(48)
    assert (empty.size(), rest.size(), behind.size()) == (0, 48, 0)
    joined = empty.merge(rest).merge(behind)
    assert joined.size() == 48
    check(arena.space, [arena], [joined])
    joined.free()
    await arena.close()


async def test_empty_parts_merge_in_their_order_only(task: Task) -> None:
    arena = await make_arena(task)
    _, whole = await arena.malloc(0, 8)
    left, right = whole.split(0)
    with pytest.raises(ValueError):
        right.merge(left)
    merged = left.merge(right)
    check(arena.space, [arena], [merged])
    merged.free()
    await arena.close()


@pytest.mark.parametrize("size", [-1, 49])
async def test_split_outside_is_refused_and_changes_nothing(task: Task, size: int) -> None:
    arena = await make_arena(task)
    allocation = arena.allocate(48, 1)
    with pytest.raises(ValueError):
        allocation.split(size)
    assert allocation.valid
    assert allocation.size() == 48
    allocation.free()
    await arena.close()


async def test_merge_refuses_what_are_not_neighbours(task: Task) -> None:
    arena, other = await make_arena(task), await make_arena(task)
    first, second, third = arena.allocate(16, 1), arena.allocate(10, 1), arena.allocate(16, 1)
    stranger = other.allocate(16, 1)
    for left, right in [
        (second, first),
        (first, third),
        (first, first),
        (first, stranger),
        (second, third),  # between them are six bytes that belong to the second
    ]:
        with pytest.raises(ValueError):
            left.merge(right)
        assert left.valid
        assert right.valid
    merged = first.merge(second)
    assert (merged.offset(), merged.size()) == (0, 26)
    with pytest.raises(UseAfterFreeError):
        third.merge(second)
    check(arena.space, [arena], [merged, third])
    for allocation in (merged, third, stranger):
        allocation.free()
    await arena.close()
    await other.close()


async def test_free_is_idempotent(task: Task) -> None:
    arena = await make_arena(task)
    allocation = arena.allocate(4096, 1)
    for _ in range(3):
        allocation.free()
    with pytest.raises(UseAfterFreeError):
        allocation.offset()
    assert allocation.size() == 4096
    both = [arena.allocate(2048, 1), arena.allocate(2048, 1)]
    check(arena.space, [arena], both)
    both.clear()
    await arena.close()


async def test_dropped_allocations_are_freed(task: Task) -> None:
    arena = await make_arena(task)
    for _ in range(3):
        left, right = arena.allocate(4096, 1).split(100)
        assert left.valid
        assert right.valid
        del left, right
    await arena.close()


def test_allocation_can_be_made_directly() -> None:
    arena = run(make_arena(make_task()))
    arena.allocate(4096, 1).valid = False  # its bytes are the caller's now
    allocation = Allocation(arena, 0, 4096)
    assert allocation.valid
    assert (allocation.arena, allocation.start, allocation.end) == (arena, 0, 4096)
    allocation.free()
    run(arena.close())


# ---- Arenas


async def test_arena_runs_out_of_space_and_recovers(task: Task) -> None:
    arena = await make_arena(task)
    first, second = arena.allocate(2048, 16), arena.allocate(2048, 16)
    with pytest.raises(OutOfSpaceError):
        arena.allocate(1, 1)
    first.free()
    mapping, third = await arena.malloc(2048, 16)
    assert mapping is arena.mapping
    assert third.offset() == 0
    second.free()
    third.free()
    await arena.close()


async def test_arena_uses_every_byte(task: Task) -> None:
    arena = await make_arena(task)
    held = [arena.allocate(16, 1) for _ in range(256)]
    with pytest.raises(OutOfSpaceError):
        arena.allocate(1, 1)
    check(arena.space, [arena], held)
    held.clear()
    whole = arena.allocate(4096, 4096)
    whole.free()
    await arena.close()


async def test_closing_an_arena_unmaps_it_when_it_is_empty(task: Task) -> None:
    arena = await make_arena(task)
    start = arena.mapping.near.address
    allocation = arena.allocate(8, 8)
    with pytest.raises(ValueError, match="in use"):
        await arena.close()
    assert mapped(start)
    allocation.free()
    await arena.close()
    assert not mapped(start)


async def test_arena_shows_its_allocations(task: Task) -> None:
    arena = await make_arena(task)
    held = [arena.allocate(n, 1) for n in (1, 2, 3)]
    assert arena.allocations == held
    assert "Allocation(16, 18)" in str(arena)
    held += [arena.allocate(1, 1) for _ in range(20)]
    assert "13 more" in str(arena)
    assert len(str(arena)) < 400
    held.clear()
    assert arena.allocations == []
    await arena.close()


@pytest.mark.parametrize(("size", "alignment"), [(-1, 1), (1, 0), (1, -8), (1, 3), (1, 24), (1, 8192)])
async def test_impossible_requests_are_refused(
    allocator: UnlimitedAllocator, size: int, alignment: int
) -> None:
    _, kept = await allocator.malloc(1, 1)
    arena = kept.arena
    with pytest.raises(ValueError):
        await allocator.malloc(size, alignment)
    with pytest.raises(ValueError):
        await allocator.bulk_malloc([(8, 8), (size, alignment)])
    with pytest.raises(ValueError):
        arena.allocate(size, alignment)
    check(allocator.space, allocator.arenas, [kept])


# ---- The unlimited allocator


async def test_alignment_is_honoured(allocator: UnlimitedAllocator) -> None:
    held = []
    for alignment in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096):
        for size in (1, 8, 17, 100, 5000):
            mapping, allocation = await allocator.malloc(size, alignment)
            held.append(allocation)
            assert (mapping.near.address + allocation.offset()) % max(alignment, 16) == 0
            assert allocation.size() == size
    check(allocator.space, allocator.arenas, held)


async def test_zero_sized_allocations_are_allocations(allocator: UnlimitedAllocator) -> None:
    (mapping, first), (_, second) = [await allocator.malloc(0, 8) for _ in range(2)]
    assert first.size() == second.size() == 0
    assert first.offset() != second.offset()
    assert first.offset() <= mapping.near.length
    left, right = first.split(0)
    assert left.merge(right).size() == 0


async def test_no_mmap_while_there_is_room(task: Task) -> None:
    sysif = SuspendingSyscall()
    task.sysif = sysif
    allocator = UnlimitedAllocator(task)
    held = [finish(suspended(lambda: allocator.malloc(100, 8)))]
    assert sysif.numbers == [SYS.mmap]
    for _ in range(500):
        held.append(run(allocator.malloc(100, 8)))
    held.clear()
    held.append(run(allocator.malloc(SMALLEST_ARENA, 8)))
    assert sysif.numbers == [SYS.mmap]
    held.clear()
    task.sysif = make_task().sysif
    await allocator.close()


async def test_arenas_grow_so_that_mappings_are_few(allocator: UnlimitedAllocator) -> None:
    held = [(await allocator.malloc(4096, 8))[1] for _ in range(4096)]
    lengths = [arena.size for arena in allocator.arenas]
    assert sum(lengths) <= 2 * 4096 * 4096
    assert len(lengths) <= 12
    assert lengths[0] == SMALLEST_ARENA
    assert max(lengths) == LARGEST_ARENA
    held.clear()


async def test_a_huge_request_gets_a_mapping_of_its_own_that_is_never_kept(
    allocator: UnlimitedAllocator,
) -> None:
    _, small = await allocator.malloc(1, 1)
    mapping, huge = await allocator.malloc(LARGEST_ARENA + 1, 8)
    assert mapping.near.length == LARGEST_ARENA + SMALLEST_ARENA
    huge.free()
    _, other = await allocator.malloc(1, 1)
    assert len(allocator.arenas) == 1
    assert not mapped(mapping.near.address, mapping.near.length)
    check(allocator.space, allocator.arenas, [small, other])


async def test_memory_is_returned_to_the_kernel(allocator: UnlimitedAllocator) -> None:
    held = [(await allocator.malloc(1000, 8))[1] for _ in range(20000)]
    ranges = [arena.mapping.near for arena in allocator.arenas]
    assert len(ranges) > 5
    random.Random(0).shuffle(held)
    while held:
        held.pop().free()
    # Nothing was unmapped by freeing; the next request does it.
    assert all(mapped(found.address, found.length) for found in ranges)
    _, last = await allocator.malloc(1, 1)
    assert len(allocator.arenas) <= 2
    kept = [arena.mapping.near.address for arena in allocator.arenas]
    for found in ranges:
        assert mapped(found.address, found.length) == (found.address in kept)
    check(allocator.space, allocator.arenas, [last])


async def test_one_empty_arena_is_kept(allocator: UnlimitedAllocator) -> None:
    for _ in range(3):
        held = [(await allocator.malloc(60000, 8))[1] for _ in range(3)]
        assert len({allocation.arena for allocation in held}) > 1
        held.clear()
        _, used = await allocator.malloc(30000, 8)
        assert len(allocator.arenas) == 2
        assert len(allocator.space.empty) == 1
        del used


async def test_neighbours_coalesce_whatever_the_order(allocator: UnlimitedAllocator) -> None:
    chooser = random.Random(1)
    for count in (2, 3, 16, 64):
        held = [(await allocator.malloc(SMALLEST_ARENA // 64, 16))[1] for _ in range(count)]
        chooser.shuffle(held)
        while held:
            held.pop().free()
        _, whole = await allocator.malloc(SMALLEST_ARENA, 16)
        assert len(allocator.arenas) == 1
        whole.free()


async def test_bulk_malloc_gives_neighbours_in_order(allocator: UnlimitedAllocator) -> None:
    requests = [(5, 1), (0, 8), (100, 8), (16, 64), (4096, 4096), (7, 16)]
    results = await allocator.bulk_malloc(requests)
    position = None
    for (mapping, allocation), (size, alignment) in zip(results, requests, strict=True):
        assert allocation.size() == size
        assert (mapping.near.address + allocation.offset()) % alignment == 0
        assert position is None or allocation.offset() >= position
        position = allocation.offset() + size
    assert len({allocation.arena for _, allocation in results}) == 1
    check(allocator.space, allocator.arenas, [allocation for _, allocation in results])
    assert await allocator.bulk_malloc([]) == []


async def test_bulk_malloc_of_more_than_an_arena(allocator: UnlimitedAllocator) -> None:
    results = await allocator.bulk_malloc([(LARGEST_ARENA // 2, 8)] * 5)
    assert len(allocator.arenas) == 1
    check(allocator.space, allocator.arenas, [allocation for _, allocation in results])


async def test_the_kernel_refuses(allocator: UnlimitedAllocator) -> None:
    _, before = await allocator.malloc(100, 8)
    for request in (allocator.malloc(1 << 50, 8), allocator.bulk_malloc([(10, 8), (1 << 50, 8)])):
        with pytest.raises(OSError) as caught:
            await request
        assert isinstance(caught.value, OSError)
    check(allocator.space, allocator.arenas, [before])
    assert len(allocator.arenas) == 1


async def test_closing_an_allocator_in_use_is_refused(task: Task) -> None:
    allocator = UnlimitedAllocator(task)
    _, first = await allocator.malloc(10, 8)
    _, second = await allocator.malloc(LARGEST_ARENA, 8)
    second.free()
    with pytest.raises(ValueError, match="in use"):
        await allocator.close()
    assert all(mapped(arena.mapping.near.address) for arena in allocator.arenas)
    assert "Allocation(0, 10)" in str(allocator)
    first.free()
    await allocator.close()
    # And it can be used again.
    (await allocator.malloc(10, 8))[1].free()
    await allocator.close()


# ---- Clients


async def test_clients_share_memory_and_have_mappings_of_their_own(
    task: Task, allocator: UnlimitedAllocator
) -> None:
    other_task = make_task(task)
    client = AllocatorClient(task, allocator)
    other = client.inherit(other_task)
    mapping, first = await client.malloc(10, 8)
    other_mapping, second = await other.malloc(10, 8)
    assert first.arena is second.arena
    assert mapping.task is task
    assert other_mapping.task is other_task
    assert mapping.near == other_mapping.near
    assert mapping.file is other_mapping.file
    assert (await other.malloc(10, 8))[0] is other_mapping


async def test_make_allocator(task: Task) -> None:
    client = AllocatorClient.make_allocator(task)
    mapping, allocation = await client.malloc(10, 8)
    assert mapping.task is task
    allocation.free()
    await client.allocator.close()


async def test_clients_must_be_in_the_address_space(task: Task, allocator: UnlimitedAllocator) -> None:
    stranger = make_task()
    with pytest.raises(AddressSpaceMismatchError) as caught:
        AllocatorClient(stranger, allocator)
    assert caught.value.args == (stranger.address_space, task.address_space)
    with pytest.raises(AddressSpaceMismatchError):
        allocator.inherit(task).inherit(stranger)


async def test_a_task_that_left_the_address_space_cannot_allocate(
    task: Task, allocator: UnlimitedAllocator
) -> None:
    child = make_task(task)
    client = allocator.inherit(child)
    (await client.malloc(10, 8))[1].free()
    child.address_space = far.AddressSpace(0)
    with pytest.raises(AddressSpaceMismatchError):
        await client.malloc(10, 8)
    with pytest.raises(AddressSpaceMismatchError):
        await client.bulk_malloc([(10, 8)])
    # The arena that it made is of use to the others.
    assert len(allocator.arenas) == 1
    (await allocator.malloc(10, 8))[1].free()


async def test_mappings_of_gone_arenas_are_forgotten(task: Task, allocator: UnlimitedAllocator) -> None:
    client = allocator.inherit(task)
    for _ in range(10):
        held = [await client.malloc(LARGEST_ARENA + 1, 8) for _ in range(3)]
        held.clear()
        (await client.malloc(1, 8))[1].free()
    assert len(client._mappings) <= 4  # a mapping that is kept too long has no other effect


# ---- Suspension, cancellation and failures


def suspended(make: Callable[[], Any]) -> Any:
    """Start a coroutine and run it to where it suspends."""
    started = make()
    started.send(None)
    return started


def finish(started: Any) -> Any:
    """Run a suspended coroutine to its end."""
    try:
        started.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("suspended once more")


def test_cancelled_request_leaves_nothing(task: Task) -> None:
    sysif = SuspendingSyscall()
    task.sysif = sysif
    allocator = UnlimitedAllocator(task)
    started = suspended(lambda: allocator.malloc(10, 8))
    with pytest.raises(Cancelled):
        started.throw(Cancelled())
    assert not allocator.arenas
    started = suspended(lambda: allocator.bulk_malloc([(10, 8), (20, 8)]))
    started.close()
    assert not allocator.arenas
    assert sysif.numbers == []


def test_concurrent_requests_each_map_and_nothing_is_lost(task: Task) -> None:
    sysif = SuspendingSyscall()
    task.sysif = sysif
    allocator = UnlimitedAllocator(task)
    first, second, third = [suspended(lambda: allocator.malloc(40000, 8)) for _ in range(3)]
    with pytest.raises(Cancelled):
        second.throw(Cancelled())
    results = [finish(third), finish(first)]
    assert len(allocator.arenas) == 2
    assert sysif.numbers == [SYS.mmap, SYS.mmap]
    # Meanwhile there is room: the next one does not wait.
    results.append(run(allocator.malloc(20000, 8)))
    check(allocator.space, allocator.arenas, [allocation for _, allocation in results])
    results.clear()
    task.sysif = make_task().sysif
    run(allocator.close())


class _Elsewhere(LocalSyscall):
    """Passes for the interface of another process."""

    __slots__ = ()
    immediate = False


@pytest.mark.parametrize("bulk", [False, True])
def test_the_task_leaves_while_it_maps(task: Task, allocator: UnlimitedAllocator, bulk: bool) -> None:
    task.sysif = _Elsewhere()
    child = make_task(task, SuspendingSyscall())
    client = allocator.inherit(child)
    started = suspended(lambda: client.bulk_malloc([(10, 8)] * 3) if bulk else client.malloc(10, 8))
    other = run(allocator.malloc(10, 8))[1]
    child.address_space = far.AddressSpace(0)
    with pytest.raises(AddressSpaceMismatchError):
        finish(started)
    # What was mapped in the new address space does not belong to us.
    check(allocator.space, allocator.arenas, [other])


def empty_arenas(allocator: UnlimitedAllocator) -> list[int]:
    """Three arenas that are empty: the next request uses one of them, and one may be kept."""
    held = [run(allocator.malloc(60000, 8)) for _ in range(2)]
    held.append(run(allocator.malloc(120000, 8)))
    addresses = [mapping.near.address for mapping, _ in held]
    assert len(set(addresses)) == len(allocator.arenas) == 3
    return addresses


def test_cancelled_while_unmapping(task: Task, allocator: UnlimitedAllocator) -> None:
    addresses = empty_arenas(allocator)
    sysif = SuspendingSyscall()
    task.sysif = sysif
    started = suspended(lambda: allocator.malloc(10, 8))
    with pytest.raises(Cancelled):
        started.throw(Cancelled())
    # The request got nothing, and the arenas are still there to be used or unmapped.
    assert len(allocator.arenas) == 3
    assert all(mapped(address) for address in addresses)
    check(allocator.space, allocator.arenas, [])
    started = suspended(lambda: allocator.malloc(10, 8))
    _, allocation = finish(started)
    assert sysif.numbers == [SYS.munmap]
    assert len(allocator.arenas) == 2
    assert [mapped(address) for address in addresses].count(True) == 2
    check(allocator.space, allocator.arenas, [allocation])
    task.sysif = make_task().sysif


def test_others_allocate_while_one_unmaps(task: Task, allocator: UnlimitedAllocator) -> None:
    empty_arenas(allocator)
    local = task.sysif
    task.sysif = SuspendingSyscall()
    started = suspended(lambda: allocator.malloc(10, 8))
    other = run(allocator.malloc(20, 8))[1]
    _, allocation = finish(started)
    check(allocator.space, allocator.arenas, [allocation, other])
    task.sysif = local


def test_a_task_that_cannot_unmap_leaves_it_to_others(task: Task, allocator: UnlimitedAllocator) -> None:
    task.sysif = _Elsewhere()
    empty_arenas(allocator)
    dead = make_task(task)
    dead.sysif = UnusableSyscallInterface()
    client = allocator.inherit(dead)
    _, allocation = run(client.malloc(10, 8))
    assert len(allocator.arenas) == 3
    check(allocator.space, allocator.arenas, [allocation])
    _, other = run(allocator.malloc(10, 8))
    assert len(allocator.arenas) == 2
    check(allocator.space, allocator.arenas, [allocation, other])


class _Dying(SuspendingSyscall):
    async def syscall(self, number: SYS, *args: Any) -> int:
        await super().syscall(number, *args)
        raise SyscallHangup("died after the call, before the answer")


def test_an_arena_of_unknown_state_is_never_used_again(
    task: Task, allocator: UnlimitedAllocator, caplog: pytest.LogCaptureFixture
) -> None:
    task.sysif = _Elsewhere()
    empty_arenas(allocator)
    dying = make_task(task, _Dying())
    client = allocator.inherit(dying)
    _, allocation = finish(suspended(lambda: client.malloc(10, 8)))
    assert len(allocator.arenas) == 2
    assert "lost track" in caplog.text
    check(allocator.space, allocator.arenas, [allocation])
    run(allocator.malloc(10, 8))


def test_our_own_memory_is_mapped_and_unmapped_by_ourselves(
    task: Task, allocator: UnlimitedAllocator, caplog: pytest.LogCaptureFixture
) -> None:
    addresses = empty_arenas(allocator)
    client = allocator.inherit(make_task(task, UnusableSyscallInterface()))
    held = [run(client.malloc(10, 8))[1]]
    assert [mapped(address) for address in addresses].count(True) == len(allocator.arenas) == 2
    held.append(run(client.malloc(1 << 20, 8))[1])
    assert len(allocator.arenas) == 3
    assert not caplog.records
    check(allocator.space, allocator.arenas, held)


# ---- Freeing at any moment


def test_destructors_free_in_the_course_of_a_request(allocator: UnlimitedAllocator) -> None:
    """Making an allocation may run the garbage collector."""
    threshold = gc.get_threshold()
    gc.set_threshold(1)
    held = []
    try:
        for size in range(2000):
            cycle: list[Any] = [run(allocator.malloc(size, 8))[1]]
            cycle.append(cycle)
            held.append(run(allocator.malloc(size, 8))[1])
            if size % 3 == 0:
                held.append(held.pop().split(size // 2)[0])
    finally:
        gc.set_threshold(*threshold)
    del cycle
    gc.collect()
    check(allocator.space, allocator.arenas, held)


def test_freeing_in_another_thread(allocator: UnlimitedAllocator) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    queue: list[Allocation] = []
    ended = False

    def free() -> None:
        while not ended or queue:
            if queue:
                queue.pop().free()

    thread = threading.Thread(target=free)
    thread.start()
    try:
        chooser = random.Random(2)
        for _ in range(3000):
            _, allocation = run(allocator.malloc(chooser.randrange(5000), 8))
            queue.append(allocation.split(allocation.size() // 2)[chooser.randrange(2)])
    finally:
        ended = True
        thread.join()
        sys.setswitchinterval(interval)
    del allocation
    check(allocator.space, allocator.arenas, [])


def test_cycles_are_freed_by_the_garbage_collector(allocator: UnlimitedAllocator) -> None:
    for _ in range(50):
        cycle: list[Any] = [run(allocator.malloc(3000, 8))[1] for _ in range(20)]
        cycle.append(cycle)
        del cycle
    gc.collect()
    check(allocator.space, allocator.arenas, [])


# ---- Cost


def test_cost_does_not_grow_with_the_number_of_live_allocations(task: Task) -> None:
    """Counted in holes that are looked at, not in time."""
    costs = {}
    for live in (100, 10000):
        allocator = UnlimitedAllocator(task)
        client = allocator.inherit(task)
        chooser = random.Random(live)
        held = [run(client.malloc(chooser.randrange(3000), 8))[1] for _ in range(live)]
        # Many holes of many sizes between them.
        for _ in range(live):
            where = chooser.randrange(live)
            held[where].free()
            held[where] = run(client.malloc(chooser.randrange(3000), 8))[1]
        single = []
        for _ in range(400):
            where, size = chooser.randrange(live), chooser.randrange(3000)

            before = allocator.space.looked_at
            held[where].free()
            held[where] = run(client.malloc(size, 8))[1]
            single.append(allocator.space.looked_at - before)
        costs[live] = sum(single) / len(single), sorted(single)[len(single) * 9 // 10]
        held.clear()
        run(allocator.close())
    assert costs[10000][0] > 0.1, "nothing was counted"
    for few, many in zip(costs[100], costs[10000], strict=True):
        assert many < 1.5 * few + 20, costs
