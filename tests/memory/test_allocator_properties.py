"""Any sequence of operations on an allocator keeps its promises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rsyscall.memory import allocator as allocator_module
from rsyscall.memory.allocator import Allocation, UnlimitedAllocator
from rsyscall.native import fast
from rsyscall.sys.mman import MemoryMapping

from .support import check, make_task, mapped, run

SIZES = st.one_of(
    st.integers(0, 40),
    st.integers(0, 3000),
    st.sampled_from([0, 1, 15, 16, 17, 511, 512, 513, 4095, 4096, 4097, 8192, 8193, 16384, 40000]),
)
ALIGNMENTS = st.sampled_from([1, 2, 4, 8, 8, 8, 16, 16, 32, 64, 256, 1024, 4096])
WHICH = st.integers(0, 10**6)


@contextmanager
def small_arenas() -> Iterator[None]:
    """Have arenas of 4 to 16 KiB, so that mapping and unmapping is frequent."""
    before = allocator_module.SMALLEST_ARENA, allocator_module.LARGEST_ARENA
    allocator_module.SMALLEST_ARENA, allocator_module.LARGEST_ARENA = 4096, 16384
    try:
        yield
    finally:
        allocator_module.SMALLEST_ARENA, allocator_module.LARGEST_ARENA = before


class Memory:
    """An allocation and what has been written to it."""

    def __init__(self, mapping: MemoryMapping, allocation: Allocation, content: bytes) -> None:
        self.mapping = mapping
        self.allocation = allocation
        self.content = content

    @property
    def address(self) -> int:
        return self.mapping.near.address + self.allocation.offset()

    def fill(self, number: int) -> None:
        size = self.allocation.size()
        self.content = (number.to_bytes(4, "little") * (size // 4 + 1))[:size]
        fast.write_memory(self.address, self.content)

    def check(self) -> None:
        assert self.allocation.valid
        assert self.allocation.size() == len(self.content)
        assert self.allocation.offset() + self.allocation.size() <= self.mapping.near.length
        assert fast.read_memory(self.address, len(self.content)) == self.content


class AllocatorMachine(RuleBasedStateMachine):
    """An allocator with two clients, and everything that is allocated in it."""

    @initialize()
    def make(self) -> None:
        self.patched = small_arenas()
        self.patched.__enter__()
        self.allocator = UnlimitedAllocator(make_task())
        self.clients = [self.allocator.inherit(make_task(self.allocator.task)) for _ in range(2)]
        self.live: list[Memory] = []
        self.ranges: set[tuple[int, int]] = set()
        self.count = 0
        self.peak = 0

    def pick(self, which: int) -> Memory:
        return self.live[which % len(self.live)]

    def add(self, mapping: MemoryMapping, allocation: Allocation, size: int, alignment: int) -> None:
        assert allocation.size() == size
        assert (mapping.near.address + allocation.offset()) % max(alignment, 16) == 0
        memory = Memory(mapping, allocation, b"")
        self.count += 1
        memory.fill(self.count)
        self.live.append(memory)

    @rule(size=SIZES, alignment=ALIGNMENTS, client=st.booleans())
    def malloc(self, size: int, alignment: int, client: bool) -> None:
        mapping, allocation = run(self.clients[client].malloc(size, alignment))
        assert mapping.task is self.clients[client].task
        self.add(mapping, allocation, size, alignment)

    @rule(requests=st.lists(st.tuples(SIZES, ALIGNMENTS), max_size=6))
    def bulk_malloc(self, requests: list[tuple[int, int]]) -> None:
        results = run(self.clients[0].bulk_malloc(requests))
        for (mapping, allocation), (size, alignment) in zip(results, requests, strict=True):
            self.add(mapping, allocation, size, alignment)

    @precondition(lambda self: self.live)
    @rule(which=WHICH, twice=st.booleans())
    def free(self, which: int, twice: bool) -> None:
        memory = self.pick(which)
        memory.check()
        self.live.remove(memory)
        memory.allocation.free()
        if twice:
            memory.allocation.free()

    @precondition(lambda self: self.live)
    @rule(start=WHICH, count=st.integers(1, 20))
    def free_many(self, start: int, count: int) -> None:
        for _ in range(min(count, len(self.live))):
            self.free(start, twice=False)

    @precondition(lambda self: self.live)
    @rule(which=WHICH)
    def drop(self, which: int) -> None:
        self.live.remove(self.pick(which))

    @precondition(lambda self: self.live)
    @rule(which=WHICH, at=WHICH)
    def split(self, which: int, at: int) -> None:
        memory = self.pick(which)
        at %= memory.allocation.size() + 1
        left, right = memory.allocation.split(at)
        assert not memory.allocation.valid
        index = self.live.index(memory)
        self.live[index : index + 1] = [
            Memory(memory.mapping, left, memory.content[:at]),
            Memory(memory.mapping, right, memory.content[at:]),
        ]

    @precondition(lambda self: self.live)
    @rule(which=WHICH)
    def merge(self, which: int) -> None:
        """Merge with the one behind, where there is one (most often one that was split off)."""
        left = self.pick(which)
        for right in self.live:
            if (
                right is not left
                and right.allocation.arena is left.allocation.arena
                and right.allocation.start == left.allocation.end
            ):
                break
        else:
            return
        if left.allocation.slack():
            # What seems to be behind it is an empty part from before the slack.
            assert right.allocation.size() == 0
            with pytest.raises(ValueError):
                left.allocation.merge(right.allocation)
            return
        merged = left.allocation.merge(right.allocation)
        assert not left.allocation.valid
        assert not right.allocation.valid
        self.live.remove(right)
        self.live[self.live.index(left)] = Memory(left.mapping, merged, left.content + right.content)

    @precondition(lambda self: self.live)
    @rule(which=WHICH, at=WHICH)
    def split_and_merge(self, which: int, at: int) -> None:
        memory = self.pick(which)
        before = memory.allocation
        left, right = before.split(at % (before.size() + 1))
        memory.allocation = left.merge(right)
        assert (memory.allocation.start, memory.allocation.end) == (before.start, before.end)
        assert memory.allocation.slack() == before.slack()

    @invariant()
    def nothing_overlaps_and_nothing_is_lost(self) -> None:
        check(self.allocator.space, self.allocator.arenas, [memory.allocation for memory in self.live])
        for memory in self.live:
            memory.check()

    @invariant()
    def mappings_are_few(self) -> None:
        used = {memory.allocation.arena for memory in self.live}
        assert used <= set(self.allocator.arenas)
        self.ranges |= {(one.mapping.near.address, one.size) for one in self.allocator.arenas}
        self.peak = max(self.peak, sum(len(memory.content) + 4096 for memory in self.live))
        # Every arena but the last that was made could not hold some request at the time.
        assert len(self.allocator.arenas) <= 4 + self.peak // 2048

    def teardown(self) -> None:
        if not hasattr(self, "allocator"):
            return
        while self.live:
            self.live.pop().allocation.free()
        run(self.allocator.close())
        check(self.allocator.space, [], [])
        assert not self.allocator.arenas
        assert not self.allocator.space.empty
        self.patched.__exit__(None, None, None)


TestAllocator = AllocatorMachine.TestCase
TestAllocator.settings = settings(
    max_examples=60, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_memory_is_unmapped_once_all_is_freed() -> None:
    with small_arenas():
        allocator = UnlimitedAllocator(make_task())
        held = [run(allocator.malloc(size, 8)) for size in range(0, 3000, 7)]
        ranges = [arena.mapping.near for arena in allocator.arenas]
        held.clear()
        run(allocator.close())
        assert not any(mapped(one.address, one.length) for one in ranges)


def test_a_part_without_bytes_keeps_its_arena() -> None:
    """Its address is that of an arena, which may be joined with what is beside it again."""
    with small_arenas():
        allocator = UnlimitedAllocator(make_task())
        _mapping, whole = run(allocator.malloc(0, 1))
        empty, rest = whole.split(0)
        rest.free()
        with pytest.raises(ValueError, match="in use"):
            run(allocator.close())
        # More than there is room for: what is empty would be unmapped.
        others = [run(allocator.malloc(40000, 1))[1] for _ in range(3)]
        assert empty.arena in allocator.arenas
        del others
        empty.free()
        run(allocator.close())
        assert not allocator.arenas
