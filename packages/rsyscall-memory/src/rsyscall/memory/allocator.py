"""Allocating memory in an address space, inside anonymous mappings made with mmap.

An `Arena` is one mapping, cut into allocations. An `UnlimitedAllocator` makes arenas as they are needed, for
all the tasks of one address space; each task has its own `AllocatorClient`, through which it allocates and in
whose name it gets the mappings. `rsyscall.memory._freespace` says how free bytes are found.

Facts a user may rely on:

* Every allocation starts at a multiple of 16, or of the alignment asked for, if that is more.
* A request is served at once, without suspending, when there is room. Otherwise the requester makes one
  `mmap` itself; several requesters that find no room at the same time each make their own, and none waits for
  another.
* The cost of a request or of a release does not grow with the number of live allocations.
* `free` never makes a system call and takes no lock. It may be called at any point, in any thread, by the
  garbage collector too. An allocation that is dropped without `free` is freed when it is collected. Requests,
  `split` and `merge`, on the other hand, are for one thread at a time.
* Memory goes back to the kernel: when more than one arena is empty, the next request unmaps all but one.
* Our own process maps and unmaps its memory itself, whichever task asks: it costs least, and a child that is
  killed in the course of an munmap would leave nobody who knows whether it was made. In any other address
  space, where the process that an allocator was made with may be blocked, the task that asks does it.

The mappings are private. Processes that share the address space (all children that a thread makes by default)
share them in any case, and the futexes in them can be woken by the kernel: for private anonymous memory it
identifies a futex by the address space and the address. What private mappings change is `fork` of the whole
program, which shares nothing: the copy gets memory of its own, and neither side sees the other's scratch
space change under its feet, as both would with `MAP_SHARED`.
"""

from __future__ import annotations

import gc
import logging
import os
import weakref
from _thread import get_ident
from typing import TYPE_CHECKING

from rsyscall.handle.allocation import (
    AllocationInterface,
    AllocatorInterface,
    OutOfSpaceError,
    UseAfterFreeError,
)
from rsyscall.memory._freespace import GRANULE, QUICK_COUNT, QUICK_LIMIT, FreeSpace, Hole, round_up
from rsyscall.near.sysif import SyscallError, SyscallSendError
from rsyscall.sys.mman import MAP, PROT, MemoryMapping

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsyscall.handle.task import Task
    from rsyscall.memory._freespace import Block

__all__ = [
    "Allocation",
    "AllocatorClient",
    "AllocatorInterface",
    "Arena",
    "OutOfSpaceError",
    "UnlimitedAllocator",
    "align",
]

LARGEST_ALIGNMENT = 4096
"""Mappings start at a page, and this is the smallest page size there is."""
SMALLEST_ARENA = 64 * 1024
"""The length in bytes of the first arena; the ones after it double what is mapped already.

All mappings are multiples of it, and so of the page size of any machine.
"""
LARGEST_ARENA = 4 * 1024 * 1024
"""The length in bytes that arenas grow to; a request for more gets a mapping of its own."""

logger = logging.getLogger(__name__)

# Alignments that every block has.
_COMMON_ALIGNMENTS = frozenset({1, 2, 4, 8, 16})


def align(num: int, alignment: int) -> int:
    """Round `num` up to the next multiple of `alignment`, which may be any positive number."""
    return num + -num % alignment


def _check_request(size: int, alignment: int) -> None:
    if size < 0:
        raise ValueError(f"cannot allocate a negative number of bytes: {size}")
    if alignment <= 0 or alignment & (alignment - 1):
        raise ValueError(f"alignment is not a power of two: {alignment}")
    if alignment > LARGEST_ALIGNMENT:
        raise ValueError(f"alignment {alignment} is more than {LARGEST_ALIGNMENT}")


class Allocation(AllocationInterface):
    """A range of bytes of an arena, owned by whoever holds this object.

    Attributes:
        arena: where the bytes are.
        start: offset in the arena of the first byte.
        end: offset in the arena after the last byte.
        valid: False once the allocation was freed, split or merged. Do not set.
    """

    # _block is what goes back to the arena: from start to a limit that is at least end. _home is the list it
    # is appended to then, unless that is long; the append is all that free does (see _freespace).
    __slots__ = ("_block", "_home", "arena", "end", "start", "valid")

    def __init__(
        self,
        arena: Arena,
        start: int,
        end: int,
        valid: bool = True,
        _block: Block | None = None,
        _home: list[Block] | None = None,
    ) -> None:
        self.valid = valid
        self.arena = arena
        self.start = start
        self.end = end
        self._block = (arena, start, end) if _block is None else _block
        self._home = arena.space.returned if _home is None else _home

    def offset(self) -> int:
        """The offset in bytes of this allocation from the start of its mapping.

        Raises:
            UseAfterFreeError: the allocation was freed, or consumed by `split` or `merge`.
        """
        if not self.valid:
            raise UseAfterFreeError(f"allocation was freed, or consumed by split or merge: {self}")
        return self.start

    def size(self) -> int:
        """The size of this allocation in bytes."""
        return self.end - self.start

    def slack(self) -> int:
        """How many bytes behind the end are nobody else's, because sizes are rounded up."""
        return self._block[2] - self.end

    def split(self, size: int) -> tuple[Allocation, Allocation]:
        """Consume this allocation; return one of its first `size` bytes and one of the rest, maybe empty.

        Raises:
            UseAfterFreeError: the allocation is not valid any more.
            ValueError: `size` is negative or more than the allocation has; the allocation stays as it is.
        """
        start = self.offset()
        middle = start + size
        if not start <= middle <= self.end:
            raise ValueError(f"cannot split {size} bytes off an allocation of {self.size()}")
        arena, _, limit = self._block
        # Made invalid, so that a failure before the end frees nothing twice.
        left = Allocation(arena, start, middle, False, (arena, start, middle))
        right = Allocation(arena, middle, self.end, False, (arena, middle, limit))
        self.valid = False
        left.valid = right.valid = True
        return left, right

    def merge(self, other: AllocationInterface) -> Allocation:
        """Consume this allocation and the one that begins where it ends, giving one that covers both.

        Raises:
            UseAfterFreeError: one of the two is not valid any more.
            ValueError: the two are not neighbours in the same arena, in this order; both stay as they are.
        """
        start = self.offset()
        if not isinstance(other, Allocation) or other.arena is not self.arena:
            raise ValueError(f"allocations are not of the same arena: {self} and {other}")
        # The second condition tells empty parts in the right order from those in the wrong one.
        if other is self or other.offset() != self.end or self.slack():
            raise ValueError(
                f"the second allocation does not begin where the first one ends: {self} and {other}"
            )
        arena, _, limit = other._block
        home = arena.space.returned
        if not (start | limit) & (GRANULE - 1):
            # Most often this undoes a split: the whole block can be handed out again as it is.
            home = arena.space.quick.get(limit - start, home)
        merged = Allocation(arena, start, other.end, False, (arena, start, limit), home)
        self.valid = other.valid = False
        merged.valid = True
        return merged

    def free(self, _quick_count: int = QUICK_COUNT) -> None:
        """Give the bytes back. Does nothing if this allocation is not valid any more."""
        # The limit is bound here because this also runs when the interpreter has cleared our globals.
        if self.valid:
            self.valid = False
            home = self._home
            (home if len(home) < _quick_count else self.arena.space.returned).append(self._block)

    def __del__(self) -> None:
        if self.valid:
            self.free()

    def __repr__(self) -> str:
        return f"Allocation({self.start}, {self.end}{'' if self.valid else ', valid=False'})"


class Arena(AllocatorInterface):
    """An allocator that has one mapping and never makes another.

    Attributes:
        mapping: the mapping that the allocations are in.
        size: its length in bytes.
    """

    __slots__ = ("_alone", "hole_at", "hole_before", "mapping", "size", "space")

    def __init__(self, mapping: MemoryMapping, _space: FreeSpace | None = None) -> None:
        """Hand out pieces of `mapping`; the mapping stays the caller's to unmap, or `close` does it."""
        self.mapping = mapping
        self.size = mapping.near.length
        # Bookkeeping of the free space: the hole that starts, and the one that ends, at an offset.
        self.hole_at: dict[int, Hole] = {}
        self.hole_before: dict[int, Hole] = {}
        # Whether no other arena has its holes in the same space.
        self._alone = _space is None
        self.space = FreeSpace() if _space is None else _space
        self.space.add(self)

    @property
    def allocations(self) -> list[Allocation]:
        """The live allocations, by offset. Slow: for tests and debugging."""
        return sorted(
            (
                found
                for found in gc.get_objects()
                if type(found) is Allocation and found.valid and found.arena is self
            ),
            key=lambda allocation: (allocation.start, allocation.end),
        )

    def allocate(self, size: int, alignment: int) -> Allocation:
        """Take `size` bytes at an offset that is a multiple of `alignment`, at least 16.

        Raises:
            OutOfSpaceError: there is no room.
            ValueError: the size is negative, or the alignment not a power of two up to 4096.
        """
        _check_request(size, alignment)
        taken = round_up(size)
        block = self.space.reserve(taken, alignment) if self._alone else None
        if block is None:
            block = self._search(taken, alignment)
        return Allocation(self, block[1], block[1] + size, True, block)

    def _search(self, size: int, alignment: int) -> Block:
        """Look at every hole of this arena, until one fits."""
        self.space.consolidate()
        for offset in sorted(self.hole_at):
            block = self.space.take_from(self.hole_at[offset], size, alignment)
            if block is not None:
                return block
        raise OutOfSpaceError(f"no room for {size} bytes aligned to {alignment} in {self}")

    async def malloc(self, size: int, alignment: int) -> tuple[MemoryMapping, Allocation]:
        """As `allocate`, with the mapping. Never suspends."""
        return self.mapping, self.allocate(size, alignment)

    async def close(self) -> None:
        """Unmap the mapping. The arena cannot be used any more.

        Raises:
            ValueError: there are live allocations.

        manpage: munmap(2)
        """
        self.space.consolidate()
        if self not in self.space.empty:
            raise ValueError(f"cannot close an arena that is in use: {self}")
        self.space.remove(self)
        await self.mapping.munmap()

    def __str__(self) -> str:
        live = self.allocations
        shown = [str(allocation) for allocation in live]
        if len(shown) > 10:
            shown[5:-5] = [f"... {len(shown) - 10} more ..."]
        return f"Arena({self.mapping.near}, [{', '.join(shown)}])"


class UnlimitedAllocator(AllocatorInterface):
    """Allocates as much as the kernel gives, mapping arenas when they are needed and unmapping what is empty.

    There is one for an address space. Tasks use it through clients of their own (`AllocatorClient`); used
    directly, it works through the task it was made with.

    Attributes:
        task: the task it was made with.
        arenas: the arenas there are.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.address_space = task.address_space
        self.arenas: dict[Arena, None] = {}
        self._space = FreeSpace()
        _spaces.add(self._space)
        self._own_client: AllocatorClient | None = None

    async def malloc(self, size: int, alignment: int) -> tuple[MemoryMapping, Allocation]:
        """As `AllocatorClient.malloc`, through the task that this allocator was made with."""
        return await self._client().malloc(size, alignment)

    async def bulk_malloc(self, sizes: Sequence[tuple[int, int]]) -> list[tuple[MemoryMapping, Allocation]]:
        """As `AllocatorClient.bulk_malloc`, through the task that this allocator was made with."""
        return await self._client().bulk_malloc(sizes)

    def inherit(self, task: Task) -> AllocatorClient:
        """A client of this allocator for another task of the same address space.

        Raises:
            AddressSpaceMismatchError: `task` is in another address space.
        """
        return AllocatorClient(task, self)

    async def close(self) -> None:
        """Unmap all arenas, through the task that this allocator was made with.

        The allocator stays usable: it begins anew with the next request.

        Raises:
            ValueError: there are live allocations; nothing was unmapped.

        manpage: munmap(2)
        """
        self._space.consolidate()
        for arena in self.arenas:
            if arena not in self._space.empty:
                raise ValueError(f"cannot close an allocator that is in use: {arena}")
        await self._unmap(self.task, self._space.retire(largest_kept=-1))

    def __str__(self) -> str:
        return f"UnlimitedAllocator([{', '.join(str(arena) for arena in self.arenas)}])"

    def _client(self) -> AllocatorClient:
        if self._own_client is None:
            self._own_client = AllocatorClient(self.task, self)
        return self._own_client

    def check_owner(self, task: Task) -> None:
        """Raise unless the running OS thread may allocate for `task`; if so, remember it.

        Only what comes back may come from any thread: the bookkeeping of a request must not be entered twice.

        Raises:
            WrongThreadError, ForkedProcessError: as a call of the task would.
        """
        self._mapper(task).sysif.check_owner()
        self._space.owner = get_ident()

    def _mapper(self, task: Task) -> Task:
        """Who makes the calls for `task`."""
        own = self.task
        return own if own.sysif.immediate and own.address_space is self.address_space else task

    async def _obtain(self, task: Task, size: int, alignment: int) -> Block:
        """A block of `size` bytes, in a new arena if there is no room; unmaps surplus empty arenas."""
        task = self._mapper(task)
        space = self._space
        block = space.reserve(size, alignment)
        if block is None:
            # Nothing is held while we wait for the kernel: a cancelled or refused requester leaves no trace.
            arena = await self._map(task, size)
            block = space.take_from(arena.hole_at[0], size, alignment)
            assert block is not None
        if space.surplus(LARGEST_ARENA):
            try:
                await self._unmap(task, space.retire(LARGEST_ARENA))
            except BaseException:
                space.returned.append(block)
                raise
        return block

    async def _map(self, task: Task, size: int) -> Arena:
        mapped = sum(arena.size for arena in self.arenas)
        length = max(align(size, SMALLEST_ARENA), min(align(mapped, SMALLEST_ARENA), LARGEST_ARENA))
        mapping = await task.mmap(length, PROT.READ | PROT.WRITE, MAP.PRIVATE | MAP.ANONYMOUS)
        if task is not self.task and self.task.address_space is self.address_space:
            # The arena will outlive the task that happened to ask for it.
            mapping = mapping.for_task(self.task)
        arena = Arena(mapping, self._space)
        self.arenas[arena] = None
        return arena

    async def _unmap(self, task: Task, retired: list[Arena]) -> None:
        """Unmap detached arenas. One that could not be unmapped is used again."""
        for arena in retired:
            del self.arenas[arena]
        while retired:
            arena = retired.pop()
            try:
                # A mapping object of its own, since one that was asked to go away cannot be asked again.
                await MemoryMapping(task, arena.mapping.near, arena.mapping.file).munmap()
            except (OSError, SyscallSendError):
                self._readopt([arena])
            except SyscallError:
                # Perhaps it is unmapped, perhaps not: it must not be used, and not be unmapped again either.
                logger.warning(
                    "lost track of whether %s is still mapped: the process that unmapped it is gone", arena
                )
            except (KeyboardInterrupt, SystemExit, GeneratorExit):
                # Not known either.
                self._readopt(retired)
                raise
            except BaseException:
                # Cancelled: then the call was not made.
                self._readopt([arena, *retired])
                raise

    def _readopt(self, arenas: list[Arena]) -> None:
        for arena in arenas:
            self.arenas[arena] = None
            self._space.add(arena)


# In the copy of a program that was made by fork(2), every thread is a stranger.
_spaces: weakref.WeakSet[FreeSpace] = weakref.WeakSet()


def _after_fork() -> None:
    for space in _spaces:
        space.owner = 0


os.register_at_fork(after_in_child=_after_fork)


class AllocatorClient(AllocatorInterface):
    """The view that one task has of the allocator of its address space.

    Several clients share the memory; each returns mappings that belong to its own task.
    """

    __slots__ = ("_address_space", "_mappings", "_shared", "_space", "task")

    def __init__(self, task: Task, shared_allocator: UnlimitedAllocator) -> None:
        """Use `shared_allocator` through `task`.

        Raises:
            AddressSpaceMismatchError: they are in different address spaces.
        """
        self.task = task
        self._shared = shared_allocator
        self._address_space = shared_allocator.address_space
        self._space = shared_allocator._space
        self._mappings: dict[Arena, MemoryMapping] = {}
        self._check_address_space()

    @staticmethod
    def make_allocator(task: Task) -> AllocatorClient:
        """A client of a new allocator, with no memory yet, for the address space of `task`."""
        return AllocatorClient(task, UnlimitedAllocator(task))

    def inherit(self, task: Task) -> AllocatorClient:
        """A client of the same allocator for another task of the same address space.

        Raises:
            AddressSpaceMismatchError: `task` is in another address space.
        """
        return AllocatorClient(task, self._shared)

    def allocate_now(self, size: int, alignment: int) -> tuple[MemoryMapping, Allocation] | None:
        """As `malloc`, without suspending; None if that is not possible because a system call is due."""
        if self.task.address_space is not self._address_space:
            self._check_address_space()
        space = self._space
        if get_ident() != space.owner:
            self._shared.check_owner(self.task)
        if space.returned or space.countdown <= 0:
            space.collect()
        if size > 0 and alignment in _COMMON_ALIGNMENTS:
            blocks = space.quick.get((size + 15) & -16)
            if blocks:
                # The short way: a block of this size came back a moment ago.
                space.countdown -= 1
                block = blocks.pop()
                arena, start, _ = block
                allocation = Allocation(arena, start, start + size, True, block, blocks)
                return self._mappings.get(arena) or self._mapping(arena), allocation
        _check_request(size, alignment)
        found = space.reserve(round_up(size), alignment)
        if found is None:
            return None
        if space.surplus(LARGEST_ARENA):
            space.returned.append(found)
            return None
        allocation = self._make(found, size)
        return self._mapping(found[0]), allocation

    async def malloc(self, size: int, alignment: int) -> tuple[MemoryMapping, Allocation]:
        """Allocate memory. Suspends only if memory has to be mapped, or is unmapped on this occasion.

        Args:
            size: bytes; 0 is allowed.
            alignment: a power of two up to 4096; the address is a multiple of it, and of 16.

        Returns:
            a mapping that belongs to the task of this client, and the allocation in it, which the caller
            owns.

        Raises:
            ValueError: `size` is negative or `alignment` not a power of two up to 4096.
            OSError: ENOMEM, the kernel gives no more; nothing was allocated.
            SyscallError: the process has left the address space (by exec or exit), or is gone; nothing was
                allocated.

        If the caller is cancelled, nothing was allocated.

        manpage: mmap(2)
        """
        done = self.allocate_now(size, alignment)
        if done is not None:
            return done
        block = await self._shared._obtain(self.task, round_up(size), alignment)
        # First the allocation, which owns the block: making a mapping can fail.
        allocation = self._make(block, size)
        return self._mapping(allocation.arena), allocation

    async def bulk_malloc(self, sizes: Sequence[tuple[int, int]]) -> list[tuple[MemoryMapping, Allocation]]:
        """Allocate memory for several (size, alignment) at once, with at most one mmap.

        The allocations are next to each other, in the order of `sizes`. Either all are made or none;
        otherwise as `malloc`.

        manpage: mmap(2)
        """
        self._check_address_space()
        self._shared.check_owner(self.task)
        starts = []
        total = 0
        largest_alignment = GRANULE
        for size, alignment in sizes:
            _check_request(size, alignment)
            largest_alignment = max(largest_alignment, alignment)
            total = align(total, max(alignment, GRANULE))
            starts.append(total)
            total += round_up(size)
        if not starts:
            return []
        arena, base, limit = await self._shared._obtain(self.task, total, largest_alignment)
        limits = [*(base + start for start in starts[1:]), limit]
        allocations = [
            self._make((arena, base + start, limit), size)
            for start, limit, (size, _) in zip(starts, limits, sizes, strict=True)
        ]
        mapping = self._mapping(arena)
        return [(mapping, allocation) for allocation in allocations]

    def _make(self, block: Block, size: int) -> Allocation:
        """An allocation of the first `size` bytes of a block."""
        arena, start, limit = block
        length = limit - start
        home = None
        if length <= QUICK_LIMIT:
            home = self._space.quick.get(length)
            if home is None:
                home = self._space.quick[length] = []
        return Allocation(arena, start, start + size, True, block, home)

    def _mapping(self, arena: Arena) -> MemoryMapping:
        """The mapping of an arena as our task's."""
        mapping = self._mappings.get(arena)
        if mapping is None:
            mappings = self._mappings
            if len(mappings) >= len(self._shared.arenas):
                for gone in mappings.keys() - self._shared.arenas.keys():
                    del mappings[gone]
            mapping = mappings[arena] = arena.mapping.for_task(self.task)
        return mapping

    def _check_address_space(self) -> None:
        if self.task.address_space is not self._address_space:
            self.task.check_address_space(self._address_space)
