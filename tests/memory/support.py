"""A task for this very process, running coroutines without an event loop, and looking into allocators."""

from __future__ import annotations

import os
from collections.abc import Collection, Coroutine, Generator, Iterable
from types import coroutine
from typing import Any, SupportsInt, TypeVar

from rsyscall import far
from rsyscall.handle.fd import FDTable
from rsyscall.handle.task import Task
from rsyscall.memory.allocator import Allocation, Arena
from rsyscall.native.fast import FreeSpace
from rsyscall.near import SYS, LocalSyscall, SyscallInterface
from rsyscall.near import types as near

T = TypeVar("T")


def run(coro: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, and return its result."""
    try:
        coro.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coro.close()
    raise AssertionError("the coroutine suspended, which it must not do without an event loop")


def make_task(parent: Task | None = None, sysif: SyscallInterface | None = None) -> Task:
    """A task that makes its calls in this process, or through `sysif`.

    Args:
        parent: share the namespaces of this task.
        sysif: instead of `LocalSyscall`.
    """
    pid = os.getpid()
    if parent is None:
        task = Task(near.Process(pid), FDTable(pid), far.AddressSpace(pid), far.PidNamespace(pid))
    else:
        task = Task(near.Process(pid), parent.fd_table, parent.address_space, parent.pidns)
    task.sysif = LocalSyscall() if sysif is None else sysif
    return task


@coroutine
def suspend() -> Generator[None, None, None]:
    """Give control back to the code that drives the coroutine."""
    yield


class SuspendingSyscall(LocalSyscall):
    """Makes calls in this process, but suspends once before each, as a connection does."""

    immediate = False

    __slots__ = ("numbers",)

    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[SYS] = []

    async def syscall(
        self,
        number: SYS,
        arg1: SupportsInt = 0,
        arg2: SupportsInt = 0,
        arg3: SupportsInt = 0,
        arg4: SupportsInt = 0,
        arg5: SupportsInt = 0,
        arg6: SupportsInt = 0,
    ) -> int:
        await suspend()
        self.numbers.append(number)
        return await super().syscall(number, arg1, arg2, arg3, arg4, arg5, arg6)


class Cancelled(BaseException):
    """What an event loop throws into a coroutine to cancel it."""


def mapped(start: int, length: int = 1) -> bool:
    """Whether something is mapped in this process at one of the addresses."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            first, _, end = line.split(None, 1)[0].partition("-")
            if int(first, 16) < start + length and start < int(end, 16):
                return True
    return False


def check(space: FreeSpace[Allocation], arenas: Collection[Arena], live: Iterable[Allocation]) -> None:
    """Check that every byte of all arenas belongs to one owner."""
    assert set(space.arenas) == set(arenas)
    for arena in arenas:
        ranges = [(start, end, "hole") for start, end in space.holes(arena)]
        for allocation in live:
            if allocation.arena is arena and allocation.valid:
                assert allocation.start <= allocation.end <= allocation.limit
                ranges.append((allocation.start, allocation.limit, "live"))
        position = 0
        previous = ""
        ranges = sorted(one for one in ranges if one[0] < one[1])  # what is empty may be anywhere
        for start, end, what in ranges:
            assert start == position, f"{ranges} of {arena.size}"
            assert not previous == what == "hole", "neighbouring holes were not joined"
            position, previous = end, what
        assert position == arena.size
        # An allocation of no bytes keeps its arena, too.
        in_use = any(allocation.valid and allocation.arena is arena for allocation in live)
        assert (arena in space.empty) == (not in_use)
