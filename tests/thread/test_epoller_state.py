"""The state machine of one registration, against models: no I/O here."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rsyscall.epoller_state import FDStatus
from rsyscall.sys.epoll import EPOLL

IN, OUT, HUP, RDHUP, ERR = EPOLL.IN, EPOLL.OUT, EPOLL.HUP, EPOLL.RDHUP, EPOLL.ERR
READ = IN | RDHUP | HUP | ERR


def test_starts_with_the_mask_it_is_given() -> None:
    assert not FDStatus(EPOLL.NONE).ready(READ)
    status = FDStatus(IN | OUT)
    assert status.ready(IN)
    assert status.ready(OUT | ERR)
    assert not status.ready(HUP)
    assert status.mask == IN | OUT
    assert status == FDStatus(IN | OUT)
    assert status != FDStatus(IN)
    assert status != 5


def test_edges_set_and_clear() -> None:
    status = FDStatus(EPOLL.NONE)
    status.posedge(IN)
    assert status.ready(IN)
    status.negedge(IN)
    assert not status.ready(IN)


def test_eagain_forgets_all_flags_of_the_operation() -> None:
    """A stale HUP of an unconnected socket does not make its reads spin."""
    status = FDStatus(IN | OUT)
    status.told(OUT | HUP)
    status.would_block(READ, status.now)
    assert not status.ready(READ)
    assert status.ready(OUT)


def test_eagain_keeps_an_event_newer_than_the_operation() -> None:
    status = FDStatus(IN)
    started = status.now
    status.told(IN)
    status.would_block(READ, started)
    assert status.ready(READ)
    status.would_block(READ, status.now)
    assert not status.ready(READ)


def test_eagain_keeps_what_a_later_success_showed() -> None:
    status = FDStatus(EPOLL.NONE)
    slow = status.now
    status.told(IN)
    assert not status.succeeded(READ, status.now, IN)
    status.would_block(READ, slow)
    assert status.ready(READ)


def test_success_is_an_event_for_those_who_did_not_believe_it() -> None:
    status = FDStatus(EPOLL.NONE)
    assert status.succeeded(READ, status.now, IN)
    assert status.ready(IN)


def test_success_keeps_a_hangup() -> None:
    """A read of the last bytes does not hide the hang-up from a task that waits for it."""
    status = FDStatus(EPOLL.NONE)
    status.told(IN | RDHUP)
    status.succeeded(READ, status.now, IN)
    assert status.ready(RDHUP)


def test_failure_makes_the_next_operation_be_tried() -> None:
    status = FDStatus(EPOLL.NONE)
    status.told(IN)
    status.failed(READ, status.now)
    status.negedge(IN)
    assert status.ready(READ)
    assert status.ready(OUT | ERR)


def test_consume_takes_only_what_was_seen() -> None:
    status = FDStatus(EPOLL.NONE)
    assert status.current_events(IN | HUP) == {IN: 0, HUP: 0}
    status.told(IN)
    seen = status.current_events(IN)
    status.told(IN)
    status.consume(seen)
    status.negedge(IN)
    assert status.ready(IN)
    status.consume(status.current_events(IN))
    assert not status.ready(IN)


def test_clear() -> None:
    status = FDStatus(IN)
    status.told(HUP)
    status.clear()
    assert not status.ready(READ | OUT)


@dataclasses.dataclass
class Read:
    """A read: sent at a time, executed by the kernel later, its result delivered later still."""

    started: int
    executed: bool = False
    size: int = 0


@dataclasses.dataclass
class World:
    """A pipe, an edge-triggered epoll, and readers of several processes, with every step at any time.

    Readers of different processes are not ordered among themselves, and neither is epoll_wait among them.
    """

    status: FDStatus = dataclasses.field(default_factory=lambda: FDStatus(IN))
    # the kernel
    available: int = 0
    listed: bool = False
    # on the way to us
    undelivered: bool = False
    reads: list[Read] = dataclasses.field(default_factory=list)

    def steps(self) -> list[tuple[str, Callable[[World], None]]]:
        """All possible next steps."""
        steps: list[tuple[str, Callable[[World], None]]] = []
        if self.available < 2:
            steps.append(("write", World.write))
        if self.listed and not self.undelivered:
            steps.append(("epoll_wait", World.epoll_wait))
        if self.undelivered:
            steps.append(("event", World.deliver_event))
        if len(self.reads) < 2:
            steps.append(("start", World.start))
        for i, read in enumerate(self.reads):
            if read.executed:
                steps.append((f"deliver {i}", functools.partial(World.deliver_read, i=i)))
            else:
                steps.append((f"read 1 by {i}", functools.partial(World.execute, i=i, size=1)))
                steps.append((f"read 2 by {i}", functools.partial(World.execute, i=i, size=2)))
        return steps

    def write(self) -> None:
        self.available += 1
        self.listed = True

    def epoll_wait(self) -> None:
        """The kernel looks again at what is on the list: a file that is not ready any more is dropped."""
        self.listed = False
        self.undelivered = self.available > 0

    def deliver_event(self) -> None:
        self.undelivered = False
        self.status.told(IN)

    def start(self) -> None:
        self.reads.append(Read(self.status.now))

    def execute(self, i: int, size: int) -> None:
        read = self.reads[i]
        read.executed = True
        read.size = min(size, self.available)
        self.available -= read.size

    def deliver_read(self, i: int) -> None:
        read = self.reads.pop(i)
        if read.size:
            self.status.succeeded(READ, read.started, IN)
        else:
            self.status.would_block(READ, read.started)

    def check(self) -> None:
        """When everything has been delivered, data that is there is known to be there."""
        if self.available and not (self.reads or self.listed or self.undelivered):
            assert self.status.ready(READ)

    def key(self) -> object:
        """The same for worlds that differ only in how much time has passed."""
        latest = self.status.current_events(IN)[IN]
        times = sorted({latest, self.status.now, *(read.started for read in self.reads)})
        reads = sorted((times.index(read.started), read.executed, read.size) for read in self.reads)
        here = (
            self.available,
            self.listed,
            self.undelivered,
            bool(self.status.mask),
            self.status.ready(READ),
        )
        return (here, times.index(latest), times.index(self.status.now), tuple(reads))


def test_no_order_of_steps_loses_an_event() -> None:
    """All of them, breadth first: an error comes with the shortest way to it."""
    seen = set()
    worlds: list[tuple[World, tuple[str, ...]]] = [(World(), ())]
    for world, way in worlds:
        for name, step in world.steps():
            after = copy.deepcopy(world)
            step(after)
            try:
                after.check()
            except AssertionError:
                raise AssertionError(", ".join((*way, name))) from None
            key = after.key()
            if key not in seen:
                seen.add(key)
                worlds.append((after, (*way, name)))
    assert len(seen) > 1000


class AgainstCounters(RuleBasedStateMachine):
    """The same as a mask and, for every flag, how often it was told and how much of that was consumed."""

    flags = st.lists(st.sampled_from([IN, OUT, HUP, RDHUP, ERR]), min_size=1, unique=True)

    def __init__(self) -> None:
        super().__init__()
        self.status = FDStatus(EPOLL.NONE)
        self.mask: set[EPOLL] = set()
        self.total = dict.fromkeys([IN, OUT, HUP, RDHUP, ERR], 0)
        self.consumed = dict(self.total)
        self.snapshots: list[tuple[int, dict[EPOLL, int], dict[EPOLL, int]]] = []

    @staticmethod
    def union(flags: list[EPOLL]) -> EPOLL:
        result = EPOLL.NONE
        for flag in flags:
            result |= flag
        return result

    @rule(flags=flags)
    def told(self, flags: list[EPOLL]) -> None:
        self.status.told(self.union(flags))
        self.mask.update(flags)
        for flag in flags:
            self.total[flag] += 1

    @rule(flags=flags)
    def posedge(self, flags: list[EPOLL]) -> None:
        self.status.posedge(self.union(flags))
        self.mask.update(flags)

    @rule(flags=flags)
    def negedge(self, flags: list[EPOLL]) -> None:
        self.status.negedge(self.union(flags))
        self.mask.difference_update(flags)

    @rule()
    def snapshot(self) -> None:
        everything = self.union(list(self.total))
        self.snapshots.append((self.status.now, self.status.current_events(everything), dict(self.total)))

    @precondition(lambda self: self.snapshots)
    @rule(flags=flags, data=st.data())
    def consume(self, flags: list[EPOLL], data: st.DataObject) -> None:
        _, times, totals = data.draw(st.sampled_from(self.snapshots))
        self.status.consume({flag: times[flag] for flag in flags})
        for flag in flags:
            self.consumed[flag] = max(self.consumed[flag], totals[flag])

    @precondition(lambda self: self.snapshots)
    @rule(flags=flags, data=st.data())
    def fail(self, flags: list[EPOLL], data: st.DataObject) -> None:
        now, _, totals = data.draw(st.sampled_from(self.snapshots))
        self.status.failed(self.union(flags), now)
        for flag in flags:
            self.consumed[flag] = max(self.consumed[flag], totals[flag])
        self.mask.add(ERR)

    @invariant()
    def agree(self) -> None:
        for flag, total in self.total.items():
            assert self.status.ready(flag) == (flag in self.mask or total > self.consumed[flag])
            assert bool(self.status.mask & flag) == (flag in self.mask)


TestAgainstCounters = pytest.mark.slow(AgainstCounters.TestCase)
TestAgainstCounters.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
