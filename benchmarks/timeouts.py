"""How late commands that resist are ended, with all their descendants, when their time is over."""

from __future__ import annotations

import os
import statistics

import trio

from benchmarks.measure import Outcome, Value
from rsyscall.command import Command
from rsyscall.completed import CommandTimeoutError
from rsyscall.run_tree import TreeKind
from rsyscall.tasks.local import local_thread

__all__ = ["TREES", "timeouts"]

TREES: tuple[TreeKind, ...] = ("cgroup", "pidns")
TIMEOUT, GRACE = 0.5, 0.05

# It ignores SIGTERM, and so do two descendants in sessions of their own, one of which is an orphan.
RESISTING = "trap '' TERM; setsid sleep {0} & (setsid sleep {0} &); sleep {0} & wait"


class _Started:
    """Notes when a command runs, from which moment on its time counts."""

    def __init__(self) -> None:
        self.at = 0.0

    def started(self, value: object = None) -> None:
        self.at = trio.current_time()


def _count(argument: str) -> int:
    """How many processes there are with this argument."""
    wanted, found = argument.encode(), 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    found += wanted in file.read().split(b"\0")
            except OSError:
                continue
    return found


async def _overruns(kind: TreeKind, total: int, at_once: int) -> list[float]:
    """The times in seconds, sorted, from the end of the grace until a run has ended."""
    # A number that no other process has.
    argument = f"86400.{os.getpid()}"
    command = Command("/bin/sh", ["sh", "-c", RESISTING.format(argument)], {})
    overruns: list[float] = []

    async def time_out_in_turn() -> None:
        while len(overruns) < total:
            started = _Started()
            try:
                await local_thread.run(command, task_status=started, timeout=TIMEOUT, grace=GRACE, tree=kind)
            except CommandTimeoutError:
                overruns.append(trio.current_time() - started.at - TIMEOUT - GRACE)

    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(time_out_in_turn)
    if left := _count(argument):
        raise AssertionError(f"{left} processes are left")
    return sorted(overruns)


async def timeouts(total: int = 1000, at_once: int = 50) -> Outcome:
    """Many timeouts, several at once, by both ways that reach every descendant."""
    outcome = Outcome()
    for kind in TREES:
        row = f"timeouts-{kind}"
        try:
            await local_thread.run(Command("/bin/true", ["true"], {}), tree=kind)
        except OSError as error:
            outcome.skipped[row] = str(error)
            continue
        times = {}
        for count, width in ((20, 1), (total, at_once)):
            overruns = await _overruns(kind, count, width)
            times[width] = 1e3 * statistics.median(overruns), 1e3 * overruns[-1]
        alone, crowd = times[1], times[at_once]
        outcome.values[row] = Value(
            crowd[0],
            f"maximum {crowd[1]:.0f} ms; one at a time: median {alone[0]:.1f} ms, maximum {alone[1]:.0f} ms",
        )
    return outcome
