"""Waiting for a condition, where a pause of some milliseconds would only mostly suffice.

On a busy machine a task or a process may need a hundred times as long as usual. A test that has to know
that another task waits calls `trio.testing.wait_all_tasks_blocked`; one that has to know what a process
does, or that something has changed, uses the functions below.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from pathlib import Path


async def wait_until(
    condition: Callable[[], bool], seconds: float = 60.0, *, collecting: bool = False
) -> None:
    """Wait until a condition holds; fail if it never does.

    Args:
        condition: of which no event tells.
        seconds: a bound that a busy machine does not reach.
        collecting: collect garbage before each look. Once is not enough: a background task may hold the last
            reference until it has run, and a process and its descriptors are a circle.
    """
    import trio  # the lower layers are tested without it

    with trio.fail_after(seconds):
        while True:
            if collecting:
                gc.collect()
            if condition():
                return
            await trio.sleep(0.001)


def eventually(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Wait, blocking, until a condition holds, and return whether it does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def is_in_call(pid: int, number: int, *arguments: int) -> bool:
    """Whether a process is blocked in this call, whose first arguments are these."""
    words = Path(f"/proc/{pid}/syscall").read_text().split()
    # A process that runs has one word there, "running".
    expected = [str(int(number)), *(f"{argument:#x}" for argument in arguments)]
    return words[: len(expected)] == expected


async def wait_for_call(pid: int, number: int, *arguments: int) -> None:
    """Wait until a process is blocked in this call, whose first arguments are these."""
    await wait_until(lambda: is_in_call(pid, number, *arguments))
