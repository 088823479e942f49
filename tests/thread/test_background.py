"""`rsyscall.background.together`: several steps at the same time."""

from __future__ import annotations

import pytest
import trio

from rsyscall.background import together


async def test_the_results_are_in_the_order_of_the_steps() -> None:
    first = trio.Event()

    async def last() -> str:
        await first.wait()
        return "last to end"

    async def soon() -> str:
        first.set()
        return "first to end"

    assert await together(last, soon) == ["last to end", "first to end"]
    assert await together() == []


@pytest.mark.parametrize("cancel_others", [False, True])
async def test_when_one_fails(cancel_others: bool) -> None:
    """The first exception comes when all have finished or were cancelled."""
    started = trio.Event()
    ends = []

    async def fail() -> None:
        await started.wait()
        raise ValueError("the first")

    async def go_on() -> None:
        started.set()
        try:
            await trio.sleep(0.05)
            ends.append("finished")
        except trio.Cancelled:
            ends.append("cancelled")
            raise KeyError("the second") from None

    with pytest.raises(ValueError, match="the first"):
        await together(go_on, fail, cancel_others=cancel_others)
    assert ends == ["cancelled" if cancel_others else "finished"]
