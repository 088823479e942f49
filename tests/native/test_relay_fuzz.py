"""The relay with sanitizers: a peer that keeps the rules, channels that come and go, and then lies."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import select
import socket
from pathlib import Path

import pytest

from .checked import build
from .test_relay import CREDIT, DATA, END, HEADER, PROTOCOL, RESET, STOP, WINDOW, Relay, data, frame, receive

FRAMES = 100_000
PATTERN = bytes(range(251)) * 512


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program; skips without the tools to build it."""
    return build("relay", tmp_path_factory.mktemp("build"))


class Channel:
    """What a peer knows of one, and what has to come out of it in either direction."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.window = WINDOW
        self.sent = self.heard = self.said = self.got = self.owed = 0
        self.ended = self.stopped = self.half = self.closed = False


def pattern(at: int, length: int) -> bytes:
    at %= 251
    return PATTERN[at : at + length]


class Peer:
    """The other side of a relay, which keeps the rules."""

    def __init__(self, program: Path, source: random.Random) -> None:
        self.random = source
        self.relay = Relay(pipes=source.random() < 0.5, program=program)
        self.numbers = itertools.count(1)
        self.channels: dict[int, Channel] = {}
        self.over: list[int] = [4_000_000_000, 5_000]
        self.rest = b""
        self.frames = 0

    def open(self) -> None:
        number = next(self.numbers)
        if self.relay.open(number) == 0:
            end = self.relay.channels.pop(number)
            end.setblocking(False)
            self.channels[number] = Channel(end)

    def forget(self, number: int) -> None:
        channel = self.channels.pop(number)
        channel.end.close()

    def read(self) -> None:
        """What the relay has sent, which has to be right."""
        if select.select([self.relay.source], [], [], 0)[0]:
            self.rest += os.read(self.relay.source, 1 << 20)
        at = 0
        while len(self.rest) - at >= HEADER.size:
            number, word = HEADER.unpack_from(self.rest, at)
            kind, amount = word >> 24, word & 0xFFFFFF
            body = at + HEADER.size
            channel = self.channels.get(number)
            if kind == DATA:
                if len(self.rest) < body + amount:
                    break
                if channel is not None:
                    assert self.rest[body : body + amount] == pattern(channel.heard, amount)
                    channel.heard += amount
                    channel.owed += amount
                body += amount
            elif kind == CREDIT and channel is not None:
                channel.window += amount
                assert channel.window <= WINDOW
            elif kind == RESET:
                assert channel is None
            else:
                assert kind in (CREDIT, END, STOP)
            at = body
        self.rest = self.rest[at:]

    def some_frames(self) -> bytes:
        source = self.random
        # Some are busy, so that their windows get used up.
        number = source.choice(list(self.channels)[: source.choice([2, 1000])])
        channel = self.channels[number]
        what = source.random()
        if what < 0.75 and not channel.ended and channel.window:
            length = min(
                source.choice([1, source.randrange(1, 50), source.randrange(1, 40_000)]), channel.window
            )
            if what < 0.5:
                length = min(length, 40)
            piece = pattern(channel.sent, length)
            channel.sent += length
            channel.window -= length
            return data(number, piece)
        if what < 0.95 and channel.owed:
            amount = source.randint(1, channel.owed)
            channel.owed -= amount
            return frame(number, CREDIT, amount)
        if what < 0.9503 and not channel.ended:
            channel.ended = True
            return frame(number, END)
        if what < 0.9506:
            channel.stopped = True
            return frame(number, STOP)
        if what < 0.9509:
            self.forget(number)
            self.over.append(number)
            return frame(number, RESET)
        kind = source.choice([DATA, CREDIT, END, STOP, RESET])
        stale = source.choice(self.over[-20:])
        return data(stale, b"late") if kind == DATA else frame(stale, kind, kind == CREDIT)

    def use_ends(self) -> None:
        """Read, write and close the other ends of some channels."""
        source = self.random
        for number, channel in source.sample(list(self.channels.items()), 4):
            with contextlib.suppress(OSError):
                if not channel.half:
                    channel.said += channel.end.send(pattern(channel.said, source.randrange(1, 60_000)))
            with contextlib.suppress(OSError):
                got = channel.end.recv(source.randrange(1, 200_000))
                assert got == pattern_of(channel.got, len(got))
                channel.got += len(got)
            what = source.random()
            if what < 0.01:
                channel.half = True
                with contextlib.suppress(OSError):
                    channel.end.shutdown(socket.SHUT_WR)
            elif what < 0.02:
                self.over.append(number)
                # The relay has to hear from us that it is over; the number is known until then.
                last = b"" if channel.ended else frame(number, END)
                self.forget(number)
                self.relay.write(last + frame(number, STOP) + frame(number, RESET))

    def play(self, frames: int) -> None:
        while self.frames < frames:
            while len(self.channels) < 12 or (len(self.channels) < 200 and self.random.random() < 0.02):
                self.open()
            count = self.random.choice([1, 30, 300])
            self.relay.write(
                *[self.some_frames() for _ in range(min(count, len(self.channels) * 30)) if self.channels]
            )
            self.frames += count
            self.read()
            self.use_ends()
        assert self.relay.process.poll() is None

    def lie(self) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(self.random.randrange(50)):
                kind, amount = (
                    self.random.randrange(8),
                    self.random.choice([0, 1, self.random.randrange(1 << 24)]),
                )
                number = self.random.choice([*self.channels, *self.over[-5:]])
                self.relay.write(
                    frame(number, kind, amount), self.random.randbytes(self.random.randrange(40_000))
                )

    def close(self) -> None:
        for number in list(self.channels):
            self.forget(number)
        self.relay.close()


def pattern_of(at: int, length: int) -> bytes:
    """As `pattern`, of any length."""
    at %= 251
    return (PATTERN * (1 + (at + length) // len(PATTERN)))[at : at + length]


def test_around_the_ring(checked: Path) -> None:
    """A reader that is always behind."""
    with contextlib.closing(Relay(program=checked)) as relay:
        relay.open(1)
        window, sent, heard = WINDOW, 0, 0
        for _ in range(10):
            while window:
                piece = pattern(sent, min(32768, window))
                relay.write(data(1, piece))
                sent, window = sent + len(piece), window - len(piece)
            while not window:
                got = receive(relay.channels[1], 10_000)
                assert got == pattern(heard, len(got))
                heard += len(got)
                # When all has been read, the credit is yet to come.
                if heard == sent or select.select([relay.source], [], [], 0)[0]:
                    number, kind, window, _ = relay.read_frame()
                    assert (number, kind) == (1, CREDIT)
        assert relay.process.poll() is None


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_random(checked: Path, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps its books, what goes in comes out, and no sanitizer complains."""
    monkeypatch.setenv("ASAN_OPTIONS", f"log_path={tmp_path}/report")
    peer = Peer(checked, random.Random(seed))
    try:
        peer.play(FRAMES)
        peer.lie()
    finally:
        peer.close()
    assert [path.read_text() for path in tmp_path.iterdir()] == []
    assert peer.relay.status() in (0, PROTOCOL)
