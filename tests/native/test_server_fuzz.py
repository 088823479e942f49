"""The server behind a stream, with sanitizers: requests, whole and damaged, and a model of the answers."""

from __future__ import annotations

import contextlib
import errno
import random
import select
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .checked import build
from .test_stub import CALL, MAX_TRANSFER, READ, REQUEST, RESPONSE, WRITE, request

LINKED, MORE = 1, 2
KNOWN = {CALL: LINKED | MORE, WRITE: LINKED, READ: 0}
MEMORY, MEMORY_SIZE = 0x10000000, 0x30000
"""What the checked program has for its clients."""
MOST_ANSWERS = 64
"""That the server keeps for one write."""
PATIENCE = 20
"""Seconds without a sign of it after which the server hangs."""
PATTERN = (bytes(range(251)) * (MEMORY_SIZE // 251 + 1))[:MEMORY_SIZE]


class Model:
    """What comes back for a stream, byte for byte.

    Args:
        stream: all that is sent.
    """

    def __init__(self, stream: bytes) -> None:
        self.stream = stream
        self.memory = bytearray(PATTERN)
        self.answers = b""
        self.kept: list[bytes] = []
        self.failed = False
        self.ended = False
        """Whether the server has closed the stream; otherwise it waits for more requests."""
        at = 0
        while not self.ended and len(stream) - at >= REQUEST.size:
            op, flags, number, *args = REQUEST.unpack_from(stream, at)
            at += REQUEST.size
            if flags & ~KNOWN.get(op, 0) or op not in KNOWN or (op != CALL and args[0] > MAX_TRANSFER):
                self.say(-errno.EPROTO)
                self.ended = True
            elif op == CALL:
                self.call(flags, number, args)
            elif op == READ:
                self.read(number, args[0])
            else:
                payload = stream[at : at + args[0]]
                at += args[0]
                self.write(flags, number, payload, at <= len(stream))

    def say(self, result: int, payload: bytes = b"") -> None:
        self.answers += b"".join(self.kept) + RESPONSE.pack(result, len(payload)) + payload
        self.kept.clear()

    def call(self, flags: int, number: int, args: list[int]) -> None:
        result = -errno.ECANCELED
        if not self.failed:
            value = number
            for arg in args:
                value = (value * 31 + arg) % 2**64
            (result,) = struct.unpack("=q", struct.pack("=Q", value))
            if not value % 4:
                result = -(1 + value // 4 % 4095)
        self.failed = bool(flags & LINKED) and -4096 < result < 0
        if flags & MORE and len(self.kept) < MOST_ANSWERS - 1:
            self.kept.append(RESPONSE.pack(result, 0))
        else:
            self.say(result)

    def flush(self) -> None:
        self.answers += b"".join(self.kept)
        self.kept.clear()

    def read(self, address: int, length: int) -> None:
        start = address - MEMORY
        if length and not 0 <= start <= MEMORY_SIZE - length:
            self.say(-errno.EFAULT)
        else:
            self.say(length, bytes(self.memory[start : start + length]) if length else b"")

    def write(self, flags: int, address: int, payload: bytes, whole: bool) -> None:
        self.flush()
        start = address - MEMORY
        room = MEMORY_SIZE - start if 0 <= start < MEMORY_SIZE else 0
        written = min(len(payload), room)
        self.memory[start : start + written] = payload[:written]
        if whole:
            wrong = written < len(payload)
            self.say(-errno.EFAULT if wrong else len(payload))
            self.failed = bool(flags & LINKED) and (self.failed or wrong)


class Server:
    """The running program.

    Args:
        program: where it is.
        reports: a directory for what the sanitizers say.
        hard: have the program meet all that can go wrong.
    """

    def __init__(self, program: Path, reports: Path, hard: bool) -> None:
        self.reports = reports
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(b"")  # an abstract name that nothing else has
        self.listening.listen()
        self.process = subprocess.Popen(
            [str(program), *(["hard"] if hard else [])],
            stdin=self.listening.fileno(),
            env={"ASAN_OPTIONS": f"log_path={reports}/report"},
        )

    def connect(self) -> socket.socket:
        end = socket.socket(socket.AF_UNIX)
        end.connect(self.listening.getsockname())
        end.settimeout(PATIENCE)
        return end

    def exchange(self, stream: bytes) -> None:
        """Send a stream. What comes back has to be right, and the server has to end when it should."""
        model = Model(stream)
        with self.connect() as end:
            got = b""
            while len(got) < len(model.answers) or stream:
                readable, writable, _ = select.select([end], [end] if stream else [], [], PATIENCE)
                assert readable or writable, "nothing happens"
                if writable:
                    try:
                        stream = stream[end.send(stream, socket.MSG_DONTWAIT) :]
                    except (BrokenPipeError, ConnectionResetError):
                        assert model.ended
                        stream = b""
                if readable:
                    piece = self.receive(end)
                    got += piece
                    if not piece:
                        break
            if not model.ended:
                end.shutdown(socket.SHUT_WR)
            while piece := self.receive(end):
                got += piece
        assert got == model.answers
        self.check()

    @staticmethod
    def receive(end: socket.socket) -> bytes:
        try:
            return end.recv(1 << 20)
        except ConnectionResetError:  # it has left something unread
            return b""

    def check(self) -> None:
        """It still runs, and the sanitizers are content."""
        assert self.process.poll() is None, [path.read_text() for path in self.reports.iterdir()]

    def close(self) -> None:
        self.check()
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        assert self.process.wait(60) == 0
        assert [path.read_text() for path in self.reports.iterdir()] == []


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program; skips without the tools to build it."""
    return build("stream_server", tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module", params=["plain", "hard"])
def server(
    program: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """One that runs, which is content in the end."""
    server = Server(program, tmp_path_factory.mktemp("reports"), request.param == "hard")
    try:
        yield server
        server.close()
    finally:
        server.listening.close()
        if server.process.poll() is None:
            server.process.kill()
        server.process.wait(60)


NUMBERS = st.integers(0, 500) | st.integers(0, 2**64 - 1)
ADDRESSES = st.one_of(
    st.integers(MEMORY, MEMORY + MEMORY_SIZE),
    st.sampled_from([MEMORY, MEMORY - 1, MEMORY + MEMORY_SIZE - 1, 0, 1, 2**64 - 1, 2**63]),
)
LENGTHS = st.one_of(
    st.integers(0, 3000),
    st.sampled_from([2047, 2048, 2049, 32768, 32769, 65536, 65537, MEMORY_SIZE, MAX_TRANSFER + 1, 2**64 - 1]),
)
CALLS = st.builds(
    lambda number, args, flags: request(CALL, number, *args, flags=flags),
    NUMBERS,
    st.lists(NUMBERS, max_size=6),
    st.integers(0, LINKED | MORE),
)
WRITES = st.builds(
    lambda address, payload, flags: request(WRITE, address, len(payload), flags=flags) + payload,
    ADDRESSES,
    st.binary(max_size=200) | st.integers(0, 100_000).map(lambda length: PATTERN[:length]),
    st.integers(0, LINKED),
)
READS = st.builds(lambda address, length: request(READ, address, length), ADDRESSES, LENGTHS)
STREAMS = st.lists(CALLS | WRITES | READS, max_size=12).map(b"".join)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A stream that went wrong somewhere: cut, repeated, with bytes lost, replaced or put in between."""
    stream = draw(STREAMS)
    for _ in range(draw(st.integers(1, 3))):
        start, end = sorted(draw(st.tuples(*[st.integers(0, len(stream))] * 2)))
        stream = draw(
            st.sampled_from(
                [
                    stream[:end],
                    stream[:end] + stream[start:],
                    stream[:start] + stream[end:],
                    stream[:start] + draw(st.binary(max_size=80)) + stream[start:],
                    stream[:start] + draw(st.binary(min_size=1, max_size=8)) + stream[start + 1 :],
                ]
            )
        )
    return stream


@settings(deadline=None)
@given(STREAMS)
def test_whole_requests(server: Server, stream: bytes) -> None:
    server.exchange(stream)


@settings(deadline=None)
@given(damaged())
def test_damaged_requests(server: Server, stream: bytes) -> None:
    server.exchange(stream)


@settings(deadline=None)
@given(st.binary(max_size=1000))
def test_garbage(server: Server, stream: bytes) -> None:
    server.exchange(stream)


def each_kind() -> bytes:
    """A request of each kind, chains of linked ones that fail among them."""
    failing = next(number for number in range(4) if number * 31**6 % 4 == 0)
    return b"".join(
        [
            request(CALL, 39, 1, 2, 3, 4, 5, 6),
            request(WRITE, MEMORY + 100, 21) + b"what is read later on",
            request(CALL, failing, flags=LINKED | MORE),
            request(CALL, 7, flags=LINKED),
            request(WRITE, MEMORY + MEMORY_SIZE - 2, 5, flags=LINKED) + b"edges",
            request(CALL, 8),
            request(READ, MEMORY + 90, 40),
        ]
    )


def test_the_model_knows_each_kind() -> None:
    """It is damaged requests that the other tests are about, which mean something."""
    model = Model(each_kind())
    assert not model.ended
    answers, results = model.answers, []
    while answers:
        result, length = RESPONSE.unpack_from(answers)
        results.append(result)
        answers = answers[RESPONSE.size + length :]
    assert results[1:] == [21, -1, -errno.ECANCELED, -errno.EFAULT, -errno.ECANCELED, 40]
    assert b"what is read later on" in model.answers


def test_every_byte(server: Server) -> None:
    """Cut off, repeated from the start, said twice, left out, and replaced."""
    stream, source = each_kind(), random.Random(0)
    server.exchange(stream)
    for at in range(len(stream)):
        before, after = stream[:at], stream[at + 1 :]
        server.exchange(before)
        server.exchange(before + stream)
        server.exchange(stream[: at + 1] + stream[at:])
        server.exchange(before + after)
        for value in (stream[at] ^ 1, stream[at] ^ 0x80, 0, 0xFF, source.randrange(256)):
            server.exchange(before + bytes([value]) + after)


def test_answers_that_are_kept(server: Server) -> None:
    """More of them than there is room for, and the end of the stream before the last of them are sent."""
    for count in (63, 64, 65, 130):
        stream = request(CALL, 39, flags=MORE) * count
        server.exchange(stream)
        server.exchange(stream + request(CALL, 39))
        server.exchange(stream + request(WRITE, MEMORY, 3) + b"ab")
        server.exchange(stream + request(0, 0) + stream)


def test_clients_that_leave(server: Server) -> None:
    """The server ends with each of them, though it cannot send what it has to say."""
    stream = each_kind() + request(READ, MEMORY, MEMORY_SIZE) * 8
    for at in range(len(stream)):
        with server.connect() as end, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            end.sendall(stream[:at])
    server.exchange(each_kind())
