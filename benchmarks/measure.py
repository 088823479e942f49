"""Measuring several things side by side.

On a machine with other users, only ratios of measurements that were taken together mean anything: a virtual
machine is twice as fast at one time as at another. So the sides to compare take turns in short slices, in
both orders, and the time of a side is the minimum or the 25th percentile over at least 15 slices.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import trio

__all__ = ["Outcome", "Samples", "Side", "Value", "interleave", "repeat"]

Side = Callable[[], Awaitable[float]]
"""Measures one slice; returns seconds per operation."""

MINIMAL_REPETITIONS = 15
# Longer than any side spins before it sleeps: one child must not take the processor from the next side.
_SETTLE_SECONDS = 0.0005


@dataclass
class Samples:
    """The times of one side, in seconds per operation, slice by slice."""

    seconds: list[float] = field(default_factory=list)

    def quantile(self, fraction: float) -> float:
        """The sample below which this fraction of all samples lies; 0 gives the minimum."""
        ordered = sorted(self.seconds)
        return ordered[min(int(fraction * len(ordered)), len(ordered) - 1)]

    @property
    def best(self) -> float:
        """The minimum: for measures of microseconds, to which other processes only ever add."""
        return self.quantile(0)

    @property
    def typical(self) -> float:
        """The 25th percentile: for ways to make a process, whose cost depends on the processor on which the
        process starts."""
        return self.quantile(0.25)

    def summary(self) -> dict[str, float]:
        """Microseconds, for the file of results."""
        names = {"min": 0.0, "p25": 0.25, "median": 0.5, "p75": 0.75}
        return {name: round(1e6 * self.quantile(fraction), 4) for name, fraction in names.items()}


@dataclass
class Value:
    """The number of one row of the table, and in words the numbers from which it was computed."""

    number: float
    detail: str = ""


@dataclass
class Outcome:
    """The results of a group of measurements.

    Attributes:
        values: by name of row.
        samples: by name of side, for the table and the picture of absolute times.
        skipped: why rows could not be measured, by name of row.
    """

    values: dict[str, Value] = field(default_factory=dict)
    samples: dict[str, Samples] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


async def interleave(sides: Mapping[str, Side], repetitions: int) -> dict[str, Samples]:
    """Let the sides take turns.

    Args:
        sides: what to measure, by name.
        repetitions: how many slices of each; one more of each comes first and does not count.
    """
    if repetitions < MINIMAL_REPETITIONS:
        raise ValueError(f"{repetitions} repetitions; {MINIMAL_REPETITIONS} are the least")
    samples = {name: Samples() for name in sides}
    for repetition in range(repetitions + 1):
        names = list(sides)
        if repetition % 2:
            names.reverse()
        for name in names:
            # Tasks of the side before finish; then children go to sleep while nothing at all happens.
            await trio.lowlevel.checkpoint()
            time.sleep(_SETTLE_SECONDS)
            seconds = await sides[name]()
            if repetition:
                samples[name].seconds.append(seconds)
    return samples


def repeat(operation: Callable[[], Awaitable[object]], count: int, warm_up: int = 1) -> Side:
    """Make a side of an operation that takes long enough for the loop around it not to matter.

    Args:
        operation: what to measure.
        count: how many times per slice.
        warm_up: how many times before each slice, without counting.
    """

    async def side() -> float:
        for _ in range(warm_up):
            await operation()
        start = time.perf_counter()
        for _ in range(count):
            await operation()
        return (time.perf_counter() - start) / count

    return side
