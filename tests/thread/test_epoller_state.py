"""The state machine of one registration, against models: no I/O here."""

from __future__ import annotations

import dataclasses

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

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
    """A read of the last bytes does not hide the hang-up from who waits for it."""
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


@dataclasses.dataclass(eq=False)
class Operation:
    """A read: sent at a time, executed by the kernel later, its result delivered later still."""

    started: int
    result: int | None = None
    executed: bool = False


class ReadsOfOnePipe(RuleBasedStateMachine):
    """A pipe, an edge-triggered epoll and several readers, with every step delayed and reordered at will.

    Readers of several processes are not ordered among themselves, and neither is epoll_wait among them.
    """

    operations: Bundle[Operation] = Bundle("operations")

    def __init__(self) -> None:
        super().__init__()
        self.status = FDStatus(IN)
        # the kernel
        self.available = 0
        self.on_ready_list = False
        # on the way to us
        self.undelivered_event = False
        self.in_flight: list[Operation] = []
        self.sleeping = False

    @rule(count=st.integers(1, 3))
    def write(self, count: int) -> None:
        self.available += count
        self.on_ready_list = True

    @precondition(lambda self: self.on_ready_list and not self.undelivered_event)
    @rule()
    def epoll_wait(self) -> None:
        """The kernel looks again at what is on the list: a file that is no longer ready is dropped
        silently.
        """
        self.on_ready_list = False
        self.undelivered_event = self.available > 0

    @precondition(lambda self: self.undelivered_event)
    @rule()
    def deliver_event(self) -> None:
        self.undelivered_event = False
        self.status.told(IN)

    @rule(target=operations)
    def start(self) -> Operation:
        operation = Operation(self.status.now)
        self.in_flight.append(operation)
        return operation

    @rule(operation=operations, size=st.integers(1, 4))
    def execute(self, operation: Operation, size: int) -> None:
        if operation.executed:
            return
        operation.executed = True
        if self.available:
            operation.result = min(size, self.available)
            self.available -= operation.result

    @rule(operation=consumes(operations))
    def deliver(self, operation: Operation) -> None:
        self.execute(operation, 1)
        self.in_flight.remove(operation)
        if operation.result is None:
            self.status.would_block(READ, operation.started)
        else:
            self.status.succeeded(READ, operation.started, IN)

    @invariant()
    def no_event_is_lost(self) -> None:
        nothing_on_the_way = not (self.in_flight or self.on_ready_list or self.undelivered_event)
        if self.available and nothing_on_the_way:
            assert self.status.ready(READ)

    @precondition(lambda self: not self.in_flight)
    @rule()
    def a_reader_who_was_not_asked_to_wait_ends_in_waiting_or_data(self) -> None:
        """No spinning: at most one EAGAIN until the reader sleeps."""
        if self.status.ready(READ) and not self.available:
            self.status.would_block(READ, self.status.now)
            assert not self.status.ready(READ)


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


TestReadsOfOnePipe = ReadsOfOnePipe.TestCase
TestReadsOfOnePipe.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestAgainstCounters = AgainstCounters.TestCase
TestAgainstCounters.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
