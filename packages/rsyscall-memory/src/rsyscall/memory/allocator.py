"""Allocating memory in an address space, inside anonymous mappings made with mmap.

An `Arena` is one mapping, cut into allocations. An `UnlimitedAllocator` makes arenas as they are needed, for
all the tasks of one address space; each task allocates through its own `AllocatorClient`, and gets mappings
that belong to the task. The native part (`src/holes.c`, `src/space.c`) finds free bytes: in C, an exception
of a signal handler cannot interrupt a change halfway.

Facts a user may rely on:

* Every allocation starts at a multiple of 16, or of the alignment asked for, if that is more.
* A request is served at once, without suspending, when there is room. Otherwise the caller makes one `mmap`
  itself. Several callers that find no room at the same time each make their own, and none waits for another.
* The cost of a request or of a release does not grow with the number of live allocations.
* `free` never makes a system call and takes no lock. Any thread may call it at any time, and so may the
  garbage collector. An allocation that is dropped without `free` is freed when it is collected.
* Memory goes back to the kernel: when more than one arena is empty, the next request unmaps all but one.
* Our own process maps and unmaps its memory itself, for every task: that costs least, and after a child was
  killed during an munmap we could not know whether it was made. In any other address space the task that asks
  makes the call, since the process that the allocator was made with may be blocked.

The mappings are private. Processes that share the address space (all children that a thread makes by default)
share them in any case, and the kernel can wake the futexes in them: in private anonymous memory it identifies
a futex by the address space and the address. Private mappings make a difference for `fork` of the whole
program: the copy gets memory of its own. With `MAP_SHARED` each side would see the other one change its
scratch space.
"""

from __future__ import annotations

import gc
import logging
import os
import weakref
from _thread import get_ident
from typing import TYPE_CHECKING

from rsyscall.handle.allocation import AllocationInterface, OutOfSpaceError, UseAfterFreeError
from rsyscall.memory.allocation_interface import AllocatorInterface
from rsyscall.native import fast
from rsyscall.near.record import CallRecord
from rsyscall.near.sysif import SyscallError, SyscallSendError
from rsyscall.sys.mman import MAP, PROT, MemoryMapping

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsyscall.far import AddressSpace
    from rsyscall.handle.task import Task

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

logger: logging.Logger = logging.getLogger(__name__)

GRANULE = 16
"""Allocations start at a multiple of this many bytes: enough for structs, futex words, iovecs and stacks."""

fast.set_memory_errors(UseAfterFreeError)


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


class Allocation(fast.Allocation, AllocationInterface):
    """A range of bytes of an arena, owned by the holder of this object. Made by arenas.

    Attributes:
        arena: where the bytes are.
        start: offset in the arena of the first byte.
        end: offset in the arena after the last byte.
        valid: False once the allocation was freed, split or merged. Do not set.
    """

    __slots__ = ()

    # offset, size, slack, split, merge and free come from the C class, which stands before the interface
    # where they are abstract. Type checkers do not know the names of its parameters.
    if TYPE_CHECKING:
        arena: Arena

        def split(self, size: int) -> tuple[Allocation, Allocation]: ...
        def merge(self, other: AllocationInterface) -> Allocation: ...

    def __repr__(self) -> str:
        return f"Allocation({self.start}, {self.end}{'' if self.valid else ', valid=False'})"


class Arena(AllocatorInterface):
    """An allocator that has one mapping and never makes another.

    Attributes:
        mapping: the mapping that the allocations are in.
        size: its length in bytes.
    """

    __slots__ = ("mapping", "size", "space")

    space: fast.FreeSpace[Allocation]

    def __init__(
        self,
        mapping: MemoryMapping,
        _space: fast.FreeSpace[Allocation] | None = None,
        _record: CallRecord | None = None,
    ) -> None:
        """Hand out pieces of `mapping`, which the caller unmaps, or has `close` unmap."""
        self.mapping: MemoryMapping = mapping
        self.size: int = mapping.near.length
        self.space = fast.FreeSpace(Allocation, LARGEST_ARENA) if _space is None else _space
        # Now the mapping is not its record's any more.
        self.space.add(self, self.size, _record)

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
        allocation = self.space.allocate(size, alignment, self)
        if allocation is None:
            raise OutOfSpaceError(f"no room for {size} bytes aligned to {alignment} in {self}")
        return allocation

    async def malloc(self, size: int, alignment: int) -> tuple[MemoryMapping, Allocation]:
        """As `allocate`, with the mapping. Never suspends."""
        return self.mapping, self.allocate(size, alignment)

    async def close(self) -> None:
        """Unmap the mapping. The arena cannot be used any more.

        Raises:
            ValueError: there are live allocations.

        manpage: munmap(2)
        """
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
        arenas: the arenas there are, oldest first.
        space: what is free in each of them, for diagnosis: `space.holes(arena)`.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.address_space: AddressSpace = task.address_space
        self.space: fast.FreeSpace[Allocation] = fast.FreeSpace(Allocation, LARGEST_ARENA)
        # The ident of the OS thread that allocates here; 0 until `check_owner` has accepted one.
        self._owner = 0
        _allocators.add(self)
        self._own_client: AllocatorClient | None = None

    @property
    def arenas(self) -> tuple[Arena, ...]:
        """The arenas there are, oldest first."""
        return self.space.arenas

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
        empty = self.space.empty
        for arena in self.arenas:
            if arena not in empty:
                raise ValueError(f"cannot close an allocator that is in use: {arena}")
        await self._unmap(self.task, everything=True)

    def __str__(self) -> str:
        return f"UnlimitedAllocator([{', '.join(str(arena) for arena in self.arenas)}])"

    def _client(self) -> AllocatorClient:
        if self._own_client is None:
            self._own_client = AllocatorClient(self.task, self)
        return self._own_client

    def check_owner(self, task: Task) -> None:
        """Raise unless the running OS thread may allocate for `task`; if so, remember it.

        Memory may be freed in any thread.

        Raises:
            WrongThreadError, ForkedProcessError: as a call of the task would.
        """
        self._mapper(task).sysif.check_owner()
        self._owner = get_ident()

    def _mapper(self, task: Task) -> Task:
        """The task that makes the calls for `task`."""
        own = self.task
        return own if own.sysif.immediate and own.address_space is self.address_space else task

    async def _obtain(self, task: Task, size: int, alignment: int) -> Allocation:
        """An allocation, in a new arena if there is no room; unmaps surplus empty arenas."""
        task = self._mapper(task)
        space = self.space
        allocation = space.allocate(size, alignment)
        if allocation is None:
            # We hold nothing while we wait for the kernel: a caller that is cancelled or refused leaves no
            # trace.
            arena = await self._map(task, size)
            allocation = space.allocate(size, alignment, arena)
            assert allocation is not None
        if space.has_surplus():
            await self._unmap(task)
        return allocation

    async def _map(self, task: Task, size: int) -> Arena:
        mapped = sum(arena.size for arena in self.arenas)
        length = max(align(size or 1, SMALLEST_ARENA), min(align(mapped, SMALLEST_ARENA), LARGEST_ARENA))
        record = CallRecord(None, False, length if task.sysif.shares_memory else 0)
        mapping = await task.mmap_recorded(record, length, PROT.READ | PROT.WRITE, MAP.PRIVATE)
        if task is not self.task and self.task.address_space is self.address_space:
            # The arena outlives the task that asked for it.
            mapping = mapping.for_task(self.task)
        return Arena(mapping, self.space, record)

    async def _unmap(self, task: Task, everything: bool = False) -> None:
        """Unmap the surplus of empty arenas. One that could not be unmapped is used again."""
        # Detached and not unmapped yet.
        retired: list[Arena] = []
        record = CallRecord()
        try:
            self.space.retire(retired, everything)
            while retired:
                arena = retired[-1]
                record = CallRecord()
                try:
                    # A mapping object for this call alone: `munmap` works once for each object.
                    await MemoryMapping(task, arena.mapping.near, arena.mapping.file).munmap_recorded(record)
                except (OSError, SyscallSendError):
                    if record.sent and not record.refused:
                        raise  # of a signal handler
                    self.space.add(arena, arena.size)
                except SyscallError:
                    # Perhaps it is unmapped, perhaps not: it must not be used, nor be unmapped again.
                    logger.warning(
                        "lost track of whether %s is still mapped: the process that unmapped it is gone",
                        arena,
                    )
                retired.pop()
        except BaseException:
            if retired and record.sent and not record.refused:
                retired.pop()
            for arena in retired:
                self.space.add(arena, arena.size)
            raise


# In the copy of a program that fork(2) made, no thread owns an allocator.
_allocators: weakref.WeakSet[UnlimitedAllocator] = weakref.WeakSet()


def _after_fork() -> None:
    for allocator in _allocators:
        allocator._owner = 0


os.register_at_fork(after_in_child=_after_fork)


class AllocatorClient(AllocatorInterface):
    """The view that one task has of the allocator of its address space.

    Several clients share the memory; each returns mappings that belong to its own task.

    Attributes:
        allocator: what all clients of the address space share.
        task: the task through which this one allocates.
    """

    __slots__ = ("_address_space", "_allocate", "_mappings", "allocator", "task")

    def __init__(self, task: Task, shared_allocator: UnlimitedAllocator) -> None:
        """Use `shared_allocator` through `task`.

        Raises:
            AddressSpaceMismatchError: they are in different address spaces.
        """
        self.task: Task = task
        self.allocator: UnlimitedAllocator = shared_allocator
        self._address_space = shared_allocator.address_space
        self._allocate = shared_allocator.space.allocate
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
        return AllocatorClient(task, self.allocator)

    def allocate_now(self, size: int, alignment: int) -> tuple[MemoryMapping, Allocation] | None:
        """As `malloc`, without suspending; None if a system call is needed first."""
        if self.task.address_space is not self._address_space:
            self._check_address_space()
        if get_ident() != self.allocator._owner:
            self.allocator.check_owner(self.task)
        allocation = self._allocate(size, alignment, None, False)
        if allocation is None:
            return None
        return self._mappings.get(allocation.arena) or self._mapping(allocation.arena), allocation

    async def malloc(self, size: int, alignment: int) -> tuple[MemoryMapping, Allocation]:
        """Allocate memory. Suspends only if it has to map memory, or finds some to unmap.

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
        allocation = await self.allocator._obtain(self.task, size, alignment)
        return self._mapping(allocation.arena), allocation

    async def bulk_malloc(self, sizes: Sequence[tuple[int, int]]) -> list[tuple[MemoryMapping, Allocation]]:
        """Allocate memory for several (size, alignment) at once, with at most one mmap.

        The allocations are next to each other, in the order of `sizes`. Either all are made or none;
        otherwise as `malloc`.

        manpage: mmap(2)
        """
        self._check_address_space()
        self.allocator.check_owner(self.task)
        parts = []
        total = 0
        largest_alignment = GRANULE
        for size, alignment in sizes:
            _check_request(size, alignment)
            largest_alignment = max(largest_alignment, alignment)
            total = align(total, max(alignment, GRANULE))
            parts.append((total, size))
            # So that no two begin at the same address.
            total += align(size, GRANULE) or GRANULE
        if not parts:
            return []
        whole = await self.allocator._obtain(self.task, total, largest_alignment)
        mapping = self._mapping(whole.arena)
        return [(mapping, allocation) for allocation in whole.divide(parts)]

    def _mapping(self, arena: Arena) -> MemoryMapping:
        """The mapping of an arena as our task's."""
        mapping = self._mappings.get(arena)
        if mapping is None:
            mappings = self._mappings
            arenas = self.allocator.arenas
            if len(mappings) >= len(arenas):
                for gone in mappings.keys() - set(arenas):
                    del mappings[gone]
            mapping = mappings[arena] = arena.mapping.for_task(self.task)
        return mapping

    def _check_address_space(self) -> None:
        if self.task.address_space is not self._address_space:
            self.task.check_address_space(self._address_space)
