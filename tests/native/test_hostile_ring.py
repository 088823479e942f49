"""The client of a ring in a memory file, and a process there that lies.

Whatever it writes: each method returns in a bounded time, or raises what it says, and the state of the client
stays its own.
"""

from __future__ import annotations

import faulthandler
import fcntl
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from liar import EVERY_LIE

from rsyscall.native import Hub, Ring, fast

from .driven import NR

SEALS = 0x1 | 0x2 | 0x4  # F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW
# Under a load the client may lose the processor for long.
LONGEST = 20.0


@pytest.fixture(autouse=True)
def no_loop_without_end() -> Iterator[None]:
    """Ends the tests where a loop in C holds the interpreter lock: no other time limit would."""
    faulthandler.dump_traceback_later(5 * LONGEST, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


class Lying:
    """A ring, and what lies at its other end."""

    def __init__(self, liar: str, seed: int, lies: str, ms: int) -> None:
        reading, self.completion = os.pipe()
        os.close(reading)
        self.hub = Hub(self.completion, 100.0, 100.0)
        self.ring: Ring = self.hub.ring()
        self.file = os.memfd_create("liar", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
        os.ftruncate(self.file, fast.SHARED_SIZE)
        fcntl.fcntl(self.file, fcntl.F_ADD_SEALS, SEALS)
        self.base = 0  # what the liar says
        self.ours, self.theirs = socket.socketpair()
        self.ring.share(self.file, self.ours.fileno())
        numbers = self.file, self.theirs.fileno()
        self.process = subprocess.Popen(
            [liar, *map(str, numbers), str(seed), lies, str(ms)], pass_fds=numbers
        )

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.ours.close()
        self.theirs.close()
        os.close(self.file)
        os.close(self.completion)


@contextmanager
def lying(liar: str, seed: int, lies: str, ms: int = 300) -> Iterator[Lying]:
    made = Lying(liar, seed, lies, ms)
    try:
        greeting = made.ring.greeted(20e6, 0)
        assert greeting is not None
        made.base = greeting[1]
        made.ours.send(b"x")
        yield made
    finally:
        made.close()


class Sleeper:
    """Takes any answer."""

    def __init__(self) -> None:
        self.told = 0

    def answer(self, index: int, result: int) -> None:
        self.told += 1

    def fail(self, error: BaseException) -> None:
        raise AssertionError


def do_something(ring: Ring, chosen: random.Random, sleeper: Sleeper) -> None:
    """One thing that a connection does."""
    call = (NR["getpid"], 1, 2)
    kind = chosen.randrange(12)
    if kind <= 2:
        ring.call(*call)
    elif kind == 3:
        ring.recorded_call(fast.CallRecord(), NR["close"], 2**31)
    elif kind == 4:
        ring.call_many([call] * chosen.choice([1, 10, 200]), chosen.random() < 0.5)
    elif kind == 5:
        if ring.outstanding:
            ring.sleep(sleeper, 1, 0)
    elif kind == 6:
        ring.deliver()
    elif kind == 7:
        ring.next_result()
    elif kind == 8:
        backlog: deque[Any] = deque([(sleeper, 0, call, None)] * 20)
        ring.put_backlog(backlog)
    elif kind == 9:
        ring.put(NR["ppoll"], 0)
        ring.wait(50.0)
        ring.kick()
    elif kind == 10:
        ring.heard()
    else:
        assert None not in (ring.mute, ring.deaf, ring.left, ring.parks)
    # The largest number that there can be; more would be a number of the liar's.
    assert 0 <= ring.outstanding < fast.RING_SLOTS


@pytest.mark.parametrize(
    "lies", ["a", "ap", "aw", "g", "p", "o", "ao", "aaam", "aaat", "ah", "asr", EVERY_LIE, EVERY_LIE + "l"]
)
@pytest.mark.parametrize("seed", range(2))
def test_every_method_returns(liar: str, lies: str, seed: int) -> None:
    chosen = random.Random(seed)
    with lying(liar, seed, lies) as made:
        ring, sleeper = made.ring, Sleeper()
        end = time.monotonic() + 0.2
        while (start := time.monotonic()) < end:
            do_something(ring, chosen, sleeper)
            assert time.monotonic() - start < LONGEST
            if ring.outstanding > 100 or ring.left:
                ring.forget()
        assert made.process.poll() in (None, 0), "it could truncate the file"


def test_a_spin_ends_although_much_seems_to_be_done(liar: str) -> None:
    """The budget is renewed for each call that is out, and no more."""
    with lying(liar, 0, "p", 20000) as made:
        for _ in range(3):
            start = time.monotonic()
            assert made.ring.call(NR["getpid"]) == fast.PENDING
            assert time.monotonic() - start < LONGEST
            made.ring.forget()
        results = made.ring.call_many([(NR["getpid"],)] * 1000, False)
        assert results == ([], fast.PENDING)


def test_answers_out_of_order(liar: str) -> None:
    """The last of several calls has been answered, and the first never is."""
    with lying(liar, 0, "o", 20000) as made:
        for _ in range(3):
            results, code = made.ring.call_many([(NR["getpid"],)] * 5, False)
            assert (len(results), code) in {(0, fast.PENDING), (1, fast.PENDING)}
            made.ring.forget()


def test_too_many_announcements(liar: str) -> None:
    with lying(liar, 0, "t", 20000) as made:
        end = time.monotonic() + 60
        while made.ring.heard():
            assert time.monotonic() < end


def test_one_that_is_dead_stays_dead(liar: str) -> None:
    with lying(liar, 0, "l", 20000) as made:
        end = time.monotonic() + 60
        while not made.ring.left:
            assert time.monotonic() < end
        for _ in range(1000):
            assert made.ring.left
            assert made.ring.call(NR["getpid"]) == fast.UNSENT


def test_the_arena_is_bounded() -> None:
    """By the address that the file has in the process, which may be anything."""
    for base in (0, 4096, 2**47, 2**63, 2**64 - 4096, 2**64 - fast.SHARED_SIZE):
        made = Lying(sys.executable, 0, "", 0)
        try:
            made.process.wait()
            os.pwrite(made.file, base.to_bytes(8, "little"), OFFSET_OF_BASE)
            os.pwrite(made.file, b"\1\0\0\0", OFFSET_OF_READY)
            greeting = made.ring.greeted(0.0, 0)
            assert greeting is not None
            assert greeting[1] == base
            ring, size = made.ring, fast.SHARED_SIZE

            def at(offset: int, base: int = base) -> int:
                return (base + offset) % 2**64

            assert ring.write(at(size - 3), b"abc")
            assert ring.read(at(size - 3), 3) == b"abc"
            assert ring.read(at(size), 0) == b""
            for offset, length in [
                (0, 1), (fast.BOUNCE_OFFSET - 1, 1), (fast.BOUNCE_OFFSET - 1, 10), (size, 1), (size - 3, 4),
                (size + 4096, 1), (-1, 1), (-4096, 8192), (fast.ARENA_OFFSET, size),
                (fast.ARENA_OFFSET, 2**62),
            ]:  # fmt: skip
                assert ring.read(at(offset), length) is None
                if length < 2**20:
                    assert not ring.write(at(offset), bytes(length))
            assert ring.read(at(size - 3), -1) is None
        finally:
            made.close()


OFFSET_OF_READY, OFFSET_OF_BASE = 16960, 16968


def test_after_unshare_nothing_is_reached() -> None:
    made = Lying(sys.executable, 0, "", 0)
    try:
        made.process.wait()
        os.pwrite(made.file, b"\1\0\0\0", OFFSET_OF_READY)
        greeting = made.ring.greeted(0.0, 0)
        assert greeting is not None
        address = greeting[1] + fast.ARENA_OFFSET
        assert made.ring.read(address, 1) == b"\0"
        made.ring.unshare()
        made.ring.unshare()
        assert made.ring.read(address, 1) is None
        assert not made.ring.write(address, b"x")
        assert made.ring.left
        assert made.ring.call(NR["getpid"]) == fast.UNSENT
        assert not made.ring.heard()
        assert made.ring.socket == -1
    finally:
        made.close()


def test_a_peer_that_is_gone_does_not_kill_us() -> None:
    """Neither by SIGPIPE nor by SIGBUS."""
    assert signal.getsignal(signal.SIGBUS) == signal.SIG_DFL
    made = Lying(sys.executable, 0, "", 0)
    made.process.wait()
    os.pwrite(made.file, b"\1\0\0\0", OFFSET_OF_READY)
    assert made.ring.greeted(0.0, 0) is not None
    made.close()
    # Of the socket the ring has a copy, and nothing else has.
    assert made.ring.call(NR["getpid"]) == fast.PENDING
    made.ring.kick()
    assert not made.ring.heard()


@pytest.mark.parametrize("lies", ["a", EVERY_LIE])
def test_a_ring_in_the_arena_of_a_liar(liar: str, lies: str) -> None:
    """Only memory in the arena becomes a ring, which the liar may write into, too."""
    with lying(liar, 0, lies) as made:
        ring, number = made.ring, made.ours.fileno()
        arena = made.base + fast.ARENA_OFFSET
        end = arena + fast.ARENA_SIZE
        for address in (
            0,
            made.base,
            arena - fast.ARENA_OFFSET,
            end - fast.NESTED_SIZE + 64,
            end,
            2**64 - 64,
        ):
            assert not made.hub.ring().nest(ring, address, number)
        with pytest.raises(ValueError, match="aligned"):
            made.hub.ring().nest(ring, arena + 8, number)
        with pytest.raises(RuntimeError, match="not in a file"):
            made.hub.ring().nested(1, 0)
        nested = made.hub.ring()
        assert nested.nest(ring, arena, number)
        with pytest.raises(RuntimeError, match="in use"):
            nested.nest(ring, arena, number)
        nested.nested(1234, 0)
        ring.unshare()
        nested.call(NR["getppid"], 0, 0, 0, 0, 0, 0)
        assert nested.write(arena + fast.NESTED_SIZE, b"data")
        assert not made.hub.ring().nest(ring, arena, number)
        nested.exited()
        nested.unshare()
        assert nested.read(arena, 1) is None
