"""The program `rsyscall-relay`: its frames, its windows, and what it does with those that no relay sends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rsyscall.native import relay_path

HEADER = struct.Struct("<II")
MESSAGE = struct.Struct("=Ii")
DATA, CREDIT, END, STOP, RESET = range(1, 6)
WINDOW = 1 << 20
FRAME = 32768
PROTOCOL = 76
TIME = 20.0


def frame(channel: int, kind: int, amount: int = 0) -> bytes:
    return HEADER.pack(channel, kind << 24 | amount)


def data(channel: int, payload: bytes) -> bytes:
    return frame(channel, DATA, len(payload)) + payload


class Relay:
    """The program, and the other side of its carrier and of its channels.

    Args:
        wait: how many bytes the first channel says before the carrier is read.
        pipes: the carrier is two pipes.
        program: the relay.
    """

    def __init__(self, wait: int = 0, pipes: bool = False, program: Path | None = None) -> None:
        self.channels: dict[int, socket.socket] = {}
        self.control, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if pipes:
            theirs_in, self.to = os.pipe()
            self.source, theirs_out = os.pipe()
        else:
            ours, theirs = (end.detach() for end in socket.socketpair())
            self.to, self.source = ours, os.dup(ours)
            theirs_in, theirs_out = theirs, os.dup(theirs)
        with control:
            self.process = subprocess.Popen(
                [program or relay_path()], stdin=theirs_in, stdout=theirs_out, stderr=control.fileno()
            )
        os.close(theirs_in)
        os.close(theirs_out)
        self.control.settimeout(TIME)
        assert self.open(0, wait) == 0

    def open(self, number: int, wait: int = 0) -> int:
        """Make a channel; returns what the relay says: 0 or an error."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self.control, [MESSAGE.pack(number, wait)], [theirs.fileno()])
        channel, result = MESSAGE.unpack(self.control.recv(64))
        assert channel == number
        if result:
            ours.close()
        else:
            ours.settimeout(TIME)
            self.channels[number] = ours
        return int(result)

    def write(self, *frames: bytes) -> None:
        """To the carrier."""
        rest = b"".join(frames)
        while rest:
            rest = rest[os.write(self.to, rest) :]

    def read(self, length: int) -> bytes:
        """From the carrier: so many bytes, or fewer if it ends."""
        got = b""
        while len(got) < length:
            part = os.read(self.source, length - len(got))
            if not part:
                break
            got += part
        return got

    def expect(self, expected: bytes) -> None:
        assert self.read(len(expected)) == expected

    def read_frame(self) -> tuple[int, int, int, bytes]:
        channel, word = HEADER.unpack(self.read(HEADER.size))
        kind, amount = word >> 24, word & 0xFFFFFF
        return channel, kind, amount, self.read(amount) if kind == DATA else b""

    def end_carrier(self) -> None:
        for fd in {self.to, self.source}:
            os.close(fd)
        self.to = self.source = -1

    def status(self) -> int:
        return self.process.wait(TIME)

    def close(self) -> None:
        if self.to >= 0:
            self.end_carrier()
        for channel in self.channels.values():
            channel.close()
        self.control.close()
        try:
            self.process.wait(TIME)
        finally:
            self.process.kill()
            self.process.wait()


@pytest.fixture(params=["sockets", "pipes"])
def relay(request: pytest.FixtureRequest) -> Iterator[Relay]:
    with contextlib.closing(Relay(pipes=request.param == "pipes")) as relay:
        yield relay


def receive(channel: socket.socket, length: int) -> bytes:
    got = b""
    while len(got) < length and (part := channel.recv(length - len(got))):
        got += part
    return got


# ---- Ordinary work

# What happens, in this order: ("in", frames) from the carrier, ("out", frames) to it; ("say", channel, bytes)
# and ("hear", channel, bytes) at the other end of a channel; "half" closes that for writing, and "close".
CASES = {
    "both ways": [
        ("in", data(7, b"request")),
        ("hear", 7, b"request"),
        ("say", 7, b"answer"),
        ("out", data(7, b"answer")),
    ],
    "several in one piece": [
        ("in", data(7, b"a") + data(0, b"b") + data(8, b"cc") + data(7, b"d")),
        ("hear", 7, b"ad"),
        ("hear", 0, b"b"),
        ("hear", 8, b"cc"),
    ],
    "a frame in pieces": [
        *[("in", data(7, b"abc")[at : at + 1]) for at in range(HEADER.size + 3)],
        ("hear", 7, b"abc"),
    ],
    "the end of one direction": [
        ("half", 7),
        ("out", frame(7, END)),
        ("in", data(7, b"still")),
        ("hear", 7, b"still"),
        ("in", frame(7, END)),
        ("hear", 7, b""),
    ],
    "an end from there": [
        ("in", data(7, b"last") + frame(7, END)),
        ("hear", 7, b"last"),
        ("hear", 7, b""),
        ("say", 7, b"answer"),
        ("out", data(7, b"answer")),
        ("close", 7),
        ("out", frame(7, END)),
    ],
    "a channel that is over": [
        ("close", 7),
        ("out", frame(7, END)),
        ("in", frame(7, END)),
        ("in", frame(7, CREDIT, 5) + frame(7, STOP) + frame(7, RESET)),
        ("in", data(7, b"late") + frame(7, END)),
        ("out", frame(7, RESET)),
        ("in", data(8, b"on")),
        ("hear", 8, b"on"),
    ],
    "closed while it is written to": [
        ("close", 7),
        ("out", frame(7, END)),
        ("in", data(7, b"lost")),
        ("out", frame(7, STOP)),
        ("in", data(7, b"on the way") + frame(7, END)),
        ("in", data(8, b"on")),
        ("hear", 8, b"on"),
    ],
    "a reader that is gone there": [
        ("in", frame(7, STOP)),
        ("out", frame(7, END)),
        ("broken", 7),
        ("in", data(7, b"still")),
        ("hear", 7, b"still"),
    ],
    "unknown there": [
        ("say", 7, b"hello"),
        ("out", data(7, b"hello")),
        ("in", frame(7, RESET)),
        ("hear", 7, b""),
    ],
    "unknown here": [
        ("in", data(99, b"x" * 100)),
        ("out", frame(99, RESET)),
        ("in", frame(98, END) + frame(97, CREDIT, 1) + frame(96, STOP) + frame(95, RESET)),
        ("out", frame(98, RESET)),
    ],
    "the end of the first channel": [
        ("say", 7, b"last"),
        ("out", data(7, b"last")),
        ("close", 0),
        ("out", frame(0, END)),
        ("exits", 0),
    ],
    "the first one is unwanted": [("in", frame(0, STOP)), ("out", frame(0, END)), ("exits", 0)],
    "the first one is unknown": [("in", frame(0, RESET)), ("exits", 0)],
    "the end of the carrier": [
        ("in", data(7, b"last")),
        ("cut",),
        ("hear", 7, b"last"),
        ("hear", 7, b""),
        ("hear", 0, b""),
        ("exits", 0),
    ],
    "the end of the carrier in a header": [("in", b"1234567"), ("cut",), ("exits", 0)],
    "the end of the carrier in a frame": [
        ("in", frame(7, DATA, 100) + b"part"),
        ("cut",),
        ("hear", 7, b"part"),
        ("hear", 7, b""),
        ("exits", 0),
    ],
    # What no relay sends.
    "no such kind": [("in", frame(7, 6)), ("exits", PROTOCOL)],
    "no kind": [("in", frame(7, 0, 5)), ("exits", PROTOCOL)],
    "a frame without bytes": [("in", frame(7, DATA, 0)), ("exits", PROTOCOL)],
    "credit of nothing": [("in", frame(7, CREDIT, 0)), ("exits", PROTOCOL)],
    "an end that says how much": [("in", frame(7, END, 1)), ("exits", PROTOCOL)],
    "more than a window in one frame": [("in", frame(7, DATA, WINDOW + 1)), ("exits", PROTOCOL)],
    "credit for what was not sent": [("in", frame(7, CREDIT, 1)), ("exits", PROTOCOL)],
    "too much credit": [
        ("say", 7, b"four"),
        ("out", data(7, b"four")),
        ("in", frame(7, CREDIT, 4)),
        ("in", frame(7, CREDIT, 1)),
        ("exits", PROTOCOL),
    ],
    "bytes after the end": [("in", frame(7, END) + data(7, b"more")), ("exits", PROTOCOL)],
    "a second end": [("in", frame(7, END) + frame(7, END)), ("exits", PROTOCOL)],
    "unknown channels without end": [
        ("in", b"".join(frame(1000 + number, END) for number in range(4000))),
        ("exits", PROTOCOL),
    ],
    "a greeting": [("in", b"Welcome to this host\n"), ("exits", PROTOCOL)],
}


@pytest.mark.parametrize("name", CASES)
def test_events(relay: Relay, name: str) -> None:
    for number in (7, 8):
        assert relay.open(number) == 0
    for what, *about in CASES[name]:
        match what, about:
            case "in", [bytes() as frames]:
                relay.write(frames)
            case "out", [bytes() as frames]:
                relay.expect(frames)
            case "say", [int() as channel, bytes() as said]:
                relay.channels[channel].sendall(said)
            case "hear", [int() as channel, bytes() as heard]:
                with contextlib.suppress(ConnectionResetError):
                    assert receive(relay.channels[channel], len(heard) or 1) == heard
            case "half", [int() as channel]:
                relay.channels[channel].shutdown(socket.SHUT_WR)
            case "close", [int() as channel]:
                relay.channels[channel].close()
            case "broken", [int() as channel]:
                with pytest.raises(BrokenPipeError):
                    relay.channels[channel].sendall(b"lost")
            case "cut", []:
                relay.end_carrier()
            case "exits", [int() as status]:
                assert relay.status() == status
            case _:
                raise AssertionError(what)


def test_start(relay: Relay) -> None:
    """The carrier is not read before the first channel has said what it was to say."""
    with contextlib.closing(Relay(wait=32)) as waiting:
        waiting.write(data(0, b"request"))
        waiting.channels[0].sendall(b"a" * 31)
        waiting.expect(data(0, b"a" * 31))
        waiting.channels[0].settimeout(0.05)
        with pytest.raises(TimeoutError):
            waiting.channels[0].recv(1)
        waiting.channels[0].settimeout(TIME)
        waiting.channels[0].sendall(b"a")
        waiting.expect(data(0, b"a"))
        assert receive(waiting.channels[0], 7) == b"request"


def test_numbers(relay: Relay) -> None:
    assert relay.open(1) == 0
    assert relay.open(1) < 0
    results = [relay.open(number) for number in range(2, 600)]
    made = results.index(next(result for result in results if result))
    assert made + 2 == 512
    # One that is over makes room.
    relay.channels.pop(5).close()
    relay.expect(frame(5, END))
    relay.write(frame(5, END))
    for _ in range(100):
        if relay.open(1000) == 0:
            break
        time.sleep(0.01)
    else:
        raise AssertionError("no room")
    relay.write(data(1000, b"there"))
    assert receive(relay.channels[1000], 5) == b"there"


# ---- Windows


def test_slow_reader(relay: Relay) -> None:
    """What may be sent to a channel is bounded, and others go on."""
    relay.open(1)
    relay.open(2)
    sent = bytes(range(256)) * (FRAME // 256)
    for _ in range(WINDOW // FRAME):
        relay.write(data(1, sent))
    for _ in range(100):
        relay.write(data(2, b"request"))
        assert receive(relay.channels[2], 7) == b"request"
    before = memory_of(relay.process.pid)
    assert before < 4 * WINDOW
    # Now it reads: all of it comes, and as much may be sent again.
    assert receive(relay.channels[1], WINDOW) == sent * (WINDOW // FRAME)
    granted = 0
    while granted < WINDOW // 2:
        channel, kind, amount, _ = relay.read_frame()
        assert (channel, kind) == (1, CREDIT)
        granted += amount
    relay.write(*[data(1, sent)] * (granted // FRAME))
    assert receive(relay.channels[1], granted // FRAME * FRAME) == sent * (granted // FRAME)


def test_more_than_the_window(relay: Relay) -> None:
    relay.open(1)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for _ in range(WINDOW // FRAME + 40):
            relay.write(data(1, bytes(FRAME)))
    assert relay.status() == PROTOCOL


def test_slow_peer(relay: Relay) -> None:
    """A relay that gets no credit sends no more of that channel, and reads no more; others go on."""
    relay.open(1)
    relay.open(2)
    talker = relay.channels[1]
    talker.setblocking(False)
    sent = got = 0

    def talk() -> None:
        nonlocal sent
        with contextlib.suppress(BlockingIOError):
            while True:
                sent += talker.send(b"x" * FRAME)

    talk()
    while got < WINDOW:
        channel, kind, amount, payload = relay.read_frame()
        assert (channel, kind, payload) == (1, DATA, b"x" * amount)
        assert amount <= FRAME
        got += amount
        talk()
    assert got == WINDOW
    for _ in range(100):
        relay.channels[2].sendall(b"answer")
        relay.expect(data(2, b"answer"))
        talk()
    assert sent - got < 1 << 20, "what is in the socket"
    relay.write(frame(1, CREDIT, 1000))
    relay.expect(data(1, b"x" * 1000))


def test_carrier_that_is_not_read(relay: Relay) -> None:
    """It reads the carrier all the same, and needs little memory."""
    relay.open(1)
    relay.open(2)
    relay.channels[1].setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            relay.channels[1].send(bytes(FRAME))
    for number in range(100):
        relay.write(data(2, b"request%02d" % number))
        assert receive(relay.channels[2], 9) == b"request%02d" % number
    assert memory_of(relay.process.pid) < 2 * WINDOW


def memory_of(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def test_idle(relay: Relay) -> None:
    """A channel whose peer is gone, or that has no credit, does not make it busy."""
    relay.open(1)
    relay.open(2)
    relay.channels[1].close()
    relay.expect(frame(1, END))
    relay.channels[2].sendall(b"x" * 100000)
    relay.channels[2].close()

    def used() -> int:
        fields = Path(f"/proc/{relay.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = used()
    time.sleep(0.3)
    assert used() - before <= 3  # ticks of 10 ms


@pytest.mark.parametrize("pipes", [False, True])
def test_carrier_that_takes_no_more(pipes: bool) -> None:
    """What has come over it before is passed on, also what is still in it."""
    sent = random.Random(1).randbytes(20 * FRAME)
    with contextlib.closing(Relay(pipes=pipes)) as relay:
        relay.open(1)
        relay.open(2)
        for at in range(0, len(sent), FRAME):
            relay.write(data(1, sent[at : at + FRAME]))
        relay.write(data(2, b"all"))
        assert receive(relay.channels[2], 3) == b"all"
        relay.process.send_signal(signal.SIGSTOP)
        relay.write(data(1, b"last"))
        relay.channels[2].sendall(b"lost")
        relay.end_carrier()
        relay.process.send_signal(signal.SIGCONT)
        assert receive(relay.channels[1], len(sent) + 5) == sent + b"last"
        assert relay.status() == 0


def test_full_pipe_without_reader() -> None:
    """It can never be written to, and is reported for ever."""
    with contextlib.closing(Relay(pipes=True)) as relay:
        relay.open(1)
        fcntl.fcntl(relay.source, fcntl.F_SETPIPE_SZ, 4096)
        relay.channels[1].sendall(bytes(3 * FRAME))
        while held_by(relay.source) < 4096:
            time.sleep(0.001)
        os.close(relay.source)
        relay.source = relay.to
        assert relay.status() == 0


def held_by(fd: int) -> int:
    """How much can be read."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)


# ---- Lies


@pytest.mark.parametrize("seed", range(40))
def test_garbage(seed: int) -> None:
    """Whatever comes, it exits or goes on; it does not crash, hang, or read beyond."""
    source = random.Random(seed)
    with contextlib.closing(Relay(pipes=bool(seed % 2))) as relay:
        for number in range(1, 6):
            relay.open(number)
            relay.channels[number].setblocking(False)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(300):
                kind = source.choice([DATA, DATA, DATA, CREDIT, END, STOP, RESET, source.randrange(256)])
                amount = source.choice([0, 0, 1, source.randrange(100), source.randrange(40000)])
                channel = source.choice([*range(8), source.randrange(1 << 32)])
                relay.write(frame(channel, kind, amount))
                if kind == DATA:
                    relay.write(source.randbytes(max(0, amount + source.choice([0, 0, 0, 0, 0, 0, -1, 1]))))
                if source.random() < 0.3:
                    end = relay.channels[source.randrange(1, 6)]
                    with contextlib.suppress(OSError):
                        end.send(source.randbytes(source.randrange(5000)))
                    with contextlib.suppress(OSError):
                        end.recv(source.randrange(1, 50000))
                if source.random() < 0.02:
                    relay.channels[source.randrange(1, 6)].close()
        relay.end_carrier()
        for channel in relay.channels.values():
            channel.close()
        assert relay.status() in (0, PROTOCOL)


def test_control_socket(relay: Relay) -> None:
    """What is no message with a socket makes no channel; without the control socket, others go on."""
    relay.control.send(MESSAGE.pack(1, 0))
    channel, result = MESSAGE.unpack(relay.control.recv(64))
    assert channel == 1
    assert result < 0
    relay.open(2)
    relay.control.close()
    relay.write(data(2, b"request"))
    assert receive(relay.channels[2], 7) == b"request"


def test_no_first_channel() -> None:
    """It ends with what could give it one."""
    ours, theirs = socket.socketpair()
    control, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, control:
        with other:
            process = subprocess.Popen([relay_path()], stdin=theirs, stdout=theirs, stderr=other.fileno())
        control.close()
        assert process.wait(TIME) == 0


def test_signals(relay: Relay) -> None:
    """Those of a terminal, which are for all that it has started, do not end it."""
    relay.open(1)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGTSTP, signal.SIGPIPE):
        relay.process.send_signal(number)
    relay.write(data(1, b"request"))
    assert receive(relay.channels[1], 7) == b"request"
    assert relay.process.poll() is None


def test_inherits_nothing(relay: Relay) -> None:
    assert sorted(os.listdir(f"/proc/{relay.process.pid}/fd"), key=int) == ["0", "1", "2", "3"]
    relay.process.send_signal(signal.SIGKILL)
    assert receive(relay.channels[0], 1) == b""
