"""Turns: one task at a time, whatever interrupts."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from every_place import Interruption, Trier, try_every_place

from rsyscall.turns import Turns


async def test_one_task_at_a_time_in_the_order_of_asking() -> None:
    turns = Turns()
    order: list[int] = []
    inside = 0

    async def work(number: int) -> None:
        nonlocal inside
        async with turns.next():
            inside += 1
            assert inside == 1
            order.append(number)
            await trio.testing.wait_all_tasks_blocked()
            inside -= 1

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(work, number)
            await trio.lowlevel.checkpoint()
    assert order == [0, 1, 2]
    assert not turns.taken


async def test_one_that_is_cancelled_does_not_keep_others_waiting() -> None:
    turns = Turns()
    first, second = trio.Event(), trio.Event()

    async def wait(event: trio.Event) -> None:
        async with turns.next():
            event.set()

    async with trio.open_nursery() as nursery:
        async with turns.next():
            async with trio.open_nursery() as inner:
                inner.start_soon(wait, first)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(wait, second)
                await trio.testing.wait_all_tasks_blocked()
                inner.cancel_scope.cancel()
        await second.wait()
    assert not first.is_set()
    assert not turns.taken


async def test_what_is_awaited_before_keeps_no_other_task_waiting() -> None:
    turns = Turns()
    ready = trio.Event()
    order: list[str] = []

    async def slow() -> None:
        async with turns.next(ready.wait):
            order.append("slow")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(slow)
        await trio.testing.wait_all_tasks_blocked()
        async with turns.next():
            order.append("fast")
        ready.set()
    assert order == ["fast", "slow"]


@pytest.mark.slow
def test_no_exception_leaves_it_taken() -> None:
    turns = Turns()

    async def enter() -> None:
        async with turns.next():
            await trio.lowlevel.checkpoint()

    async def scenario(trier: Trier) -> None:
        with trier.armed():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(enter)
                nursery.start_soon(enter)

    async def see_that_it_is_free() -> None:
        with trio.fail_after(60):
            await enter()
        assert not turns.taken

    def check() -> None:
        trio.run(see_that_it_is_free)
        assert not turns.waiting

    tried = try_every_place(lambda trier: trio.run(scenario, trier), check, kind=Interruption)
    assert not tried.wrong, str(tried)
    assert not tried.lost, str(tried)
    assert len(tried.places) > 100
