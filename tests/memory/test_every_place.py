"""An exception of a signal handler at every place of the layers below the event loop.

After each, descriptors and mappings are what they were before, and the next calls give right answers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from every_place import Interruption, Tried, Trier, holdings, try_every_place
from memory.support import check, make_task, run

from rsyscall.fcntl import O
from rsyscall.memory.allocator import LARGEST_ARENA, AllocatorClient
from rsyscall.memory.local import LocalMemoryTransport
from rsyscall.memory.ram import RAM
from rsyscall.near import SYS, LocalSyscall
from rsyscall.near.record import Closer
from rsyscall.sys.eventfd import EFD
from rsyscall.unistd.pipe import Pipe


class World:
    """A task of this process, whose dropped descriptors are closed at once, and its memory."""

    def __init__(self) -> None:
        self.task = make_task()
        run(self.task.sysif.syscall(SYS.getpid))  # now it belongs to this thread
        self.task.fd_table.garbage_hook = Closer(self.task, LocalSyscall, self.later)
        self.allocator = AllocatorClient.make_allocator(self.task)
        self.ram = RAM(self.task, LocalMemoryTransport(self.task), self.allocator)

    def later(self) -> None:
        raise AssertionError("everything can be closed at once")

    def check(self) -> None:
        """Nothing is left, and all is well."""
        assert not self.task.fd_table.garbage_pending
        assert self.task.fd_table.near_to_handles == {}
        assert not self.task.manipulating_fd_table
        space = self.allocator.allocator.space
        for arena in space.arenas:
            assert mapped(arena.mapping.near.address, arena.size)
        check(space, space.arenas, [])
        pointer = run(self.ram.ptr(b"as before"))
        assert run(pointer.read()) == b"as before"
        path = run(self.ram.ptr("/dev/null"))
        fd = run(self.task.open(path, O.RDONLY))
        assert os.readlink(f"/proc/self/fd/{int(fd)}") == "/dev/null"
        run(fd.close())


def mapped(start: int, length: int) -> bool:
    """Whether all of it is mapped."""
    with open("/proc/self/maps") as maps:
        ends = [tuple(int(part, 16) for part in line.split(None, 1)[0].split("-")) for line in maps]
    position = start
    for first, end in sorted(ends):
        if first <= position < end:
            position = end
    return position >= start + length


Scenario = Callable[[World], Coroutine[Any, Any, None]]


async def open_and_close(world: World) -> None:
    fd = await world.task.open(await world.ram.ptr("/dev/null"), O.RDONLY)
    await fd.close()


async def open_and_drop(world: World) -> None:
    fd = await world.task.open(await world.ram.ptr("/dev/null"), O.RDONLY)
    del fd
    await world.task.eventfd(0, EFD.NONBLOCK)


async def duplicate(world: World) -> None:
    fd = await world.task.open(await world.ram.ptr("/dev/null"), O.RDONLY)
    copy = await fd.dup()
    other = await world.task.eventfd(0, EFD.NONBLOCK)
    await other.dup2(copy)
    await copy.invalidate()
    await fd.close()


async def pipe(world: World) -> None:
    pipe = await (await world.task.pipe(await world.ram.malloc(Pipe))).read()
    await pipe.write.write(await world.ram.ptr(b"x"))
    await pipe.read.read(await world.ram.malloc(bytes, 1))
    await pipe.read.close()


async def allocate(world: World) -> None:
    ram = world.ram
    first = await ram.malloc(bytes, 100)
    written = await first.write(b"x" * 100)
    left, right = written.split(30)
    whole = left + right
    await whole.read()
    whole.free()
    await ram.ptr(b"dropped")


async def arenas_come_and_go(world: World) -> None:
    # More than is kept: the next request unmaps it.
    large = await world.ram.malloc(bytes, LARGEST_ARENA + 1)
    small = await world.ram.malloc(bytes, 60000)
    large.free()
    await world.ram.malloc(bytes, 60000)
    small.free()


async def batch(world: World) -> None:
    async def op(ram: RAM) -> Any:
        return await ram.ptr(b"one"), await ram.ptr("two"), await ram.malloc(bytes, 10)

    one, _, _ = await world.ram.perform_batch(op)
    assert await one.read() == b"one"


SCENARIOS: dict[Scenario, int] = {
    open_and_close: 200,
    open_and_drop: 200,
    duplicate: 300,
    pipe: 400,
    allocate: 400,
    arenas_come_and_go: 300,
    batch: 500,
}


def try_scenario(world: World, scenario: Scenario, kind: type[BaseException]) -> Tried:
    def once(trier: Trier) -> None:
        with trier.armed():
            run(scenario(world))

    world.check()
    before = holdings()

    def after() -> None:
        world.check()
        assert holdings() == before

    return try_every_place(once, after, kind=kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Interruption, TimeoutError])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_an_exception_at_every_place(scenario: Scenario, kind: type[BaseException]) -> None:
    world = World()
    tried = try_scenario(world, scenario, kind)
    assert not tried.wrong, tried
    assert not tried.lost, tried
    assert len(tried.places) >= SCENARIOS[scenario], len(tried.places)
    run(world.allocator.allocator.close())
