"""What a process elsewhere says, with a byte wrong, missing or too much at every position.

An error of the documented kinds follows, or none if the byte does not matter; and nothing is left. A process
may always let us wait, as it does when a length is wrong: a time limit has to end that at once.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path as LocalPath

import pytest
import trio

from rsyscall.command import Command
from rsyscall.near import SyscallError
from rsyscall.near.protocol import HelloParser
from rsyscall.path import Path
from rsyscall.tasks import stub
from rsyscall.tasks.local import local_thread
from rsyscall.tasks.persistent import clone_persistent, connect_persistent
from rsyscall.tasks.stdio import BootstrapError, StdioThread, stdio_bootstrap
from rsyscall.tasks.stub import StubServer

from .test_stdio import nothing_left
from .test_stub import HELLO, arguments

__all__ = ["nothing_left"]

pytestmark = pytest.mark.slow

# How long a process may let us wait, in seconds: enough for one that does not, on a busy machine.
PATIENCE = 1.5
# From then on it is a failure of ours.
TOO_LONG = 40.0

Change = Callable[[bytes, int], bytes]
CHANGES: dict[str, Change] = {
    "other": lambda data, at: data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :],
    "one bit": lambda data, at: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :],
    "cut": lambda data, at: data[:at],
    "twice": lambda data, at: data[: at + 1] + data[at:],
    "missing": lambda data, at: data[:at] + data[at + 1 :],
    "garbage": lambda data, at: data[:at] + b"\xa5" * 64,
}


async def at_every_position(
    count: int, attempt: Callable[[int], Awaitable[object]], allowed: tuple[type[Exception], ...]
) -> dict[str, int]:
    """Make an attempt for each position, some at a time; returns how often which end came."""
    ends: dict[str, int] = {}
    positions = iter(range(count))

    async def work() -> None:
        for position in positions:
            end = "no error"
            with trio.fail_after(TOO_LONG):
                with trio.move_on_after(PATIENCE) as patience:
                    try:
                        await attempt(position)
                    except allowed as error:
                        end = type(error).__name__
                if patience.cancelled_caught:
                    end = "waits"
            ends[end] = ends.get(end, 0) + 1

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(work)
    return ends


# Passes on what the script says, with a change: arguments are where, which, and the script.
RELAY = """
import os, sys
at, change, script = int(sys.argv[1]), sys.argv[2], sys.argv[3]
reading, writing = os.pipe()
if not os.fork():
    os.dup2(writing, 1)
    os.close(reading)
    os.close(writing)
    os.execve("/bin/sh", ["sh", "-c", script], {"PATH": "/usr/bin:/bin"})
os.close(writing)
os.close(0)
passed = 0
while data := os.read(reading, 65536):
    here = at - passed
    passed += len(data)
    if 0 <= here < len(data):
        before, byte, after = data[:here], data[here], data[here + 1:]
        data = {
            "other": before + bytes([byte ^ 255]) + after,
            "one bit": before + bytes([byte ^ 1]) + after,
            "cut": before,
            "twice": data[:here + 1] + data[here:],
            "missing": before + after,
            "garbage": before + b"\\xa5" * 64,
        }[change]
    while data:
        data = data[os.write(1, data):]
    if passed > at and change in ("cut", "garbage"):
        break
"""


def relay(at: int, change: str) -> Command:
    return Command(sys.executable, ["python", "-I", "-S", "-c", RELAY, str(at), change], {})


async def close_later(thread: StdioThread) -> None:
    """A call that was sent is waited for, even when cancelled: unless the thread is closed."""
    try:
        await trio.sleep(PATIENCE)
    finally:
        await thread.close()


@pytest.mark.parametrize("change", CHANGES)
async def test_behind_a_command(change: str) -> None:
    async def attempt(position: int) -> None:
        thread = await stdio_bootstrap(local_thread, relay(position, change))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(close_later, thread)
            error: Exception | None = None
            try:
                await thread.task.getpid()
                await thread.ram.ptr(b"some bytes")
            except (OSError, SyscallError) as raised:
                error = raised
            nursery.cancel_scope.cancel()
        if error is not None:
            raise error

    # Two lines of the script and the hello, then answers.
    step = 1 if change == "other" else 7
    ends = await at_every_position(
        (64 + len(HELLO) + 200) // step,
        lambda position: attempt(position * step),
        (BootstrapError, SyscallError, OSError),
    )
    assert ends.get("BootstrapError", 0) >= 20 // step, ends


KNOCK = struct.pack("8sII", b"RSYSDOOR", 2, 0)


async def welcome_of(path: LocalPath) -> bytes:
    """What a persistent process says to the program that it lets in, and for which it makes something."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(KNOCK)
        said = sock.recv(56)
        parser = HelloParser()
        while parser.feed(data := sock.recv(parser.missing)) is None:
            said += data
        return said + data


@pytest.mark.parametrize("change", CHANGES)
async def test_persistent(tmp_path: LocalPath, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in set(os.environ) - {"PATH", "TMPDIR", "RSYSCALL_TRANSPORT"}:
        monkeypatch.delenv(name)
    path, lying = tmp_path / "socket", tmp_path / "liar"
    thread = await clone_persistent(local_thread, path)
    try:
        await thread.disconnect()
        said = await welcome_of(path)
        await thread.prep_for_reconnect()
        await thread.reconnect(local_thread)
    finally:
        await thread.end()

    async def attempt(position: int) -> None:
        own = lying.with_name(f"{lying.name}{position}")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(own))
            listening.listen()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lie, listening, CHANGES[change](said, position))
                error: Exception | None = None
                try:
                    with trio.move_on_after(PATIENCE):
                        there = await connect_persistent(local_thread, own)
                        try:
                            await there.task.getpid()
                        finally:
                            await there.disconnect()
                except (OSError, SyscallError) as raised:
                    error = raised
                nursery.cancel_scope.cancel()
        own.unlink()
        if error is not None:
            raise error

    async def lie(listening: socket.socket, data: bytes) -> None:
        await trio.lowlevel.wait_readable(listening)
        with listening.accept()[0] as sock:
            await trio.lowlevel.wait_readable(sock)
            assert sock.recv(100) == KNOCK
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            # The client may still send requests: read and drop them until it closes.
            while True:
                await trio.lowlevel.wait_readable(sock)
                try:
                    if not sock.recv(4096):
                        break
                except ConnectionResetError:
                    break

    ends = await at_every_position(len(said), attempt, (OSError, SyscallError))
    # Nothing behind the hello is answered.
    assert set(ends) <= {"OSError", "SyscallHangup", "SyscallSendError", "SyscallError", "BrokenPipeError"}, (
        ends
    )
    assert ends.get("OSError", 0) > 20, ends
    assert os.listdir(tmp_path) == []


async def test_knocking(tmp_path: LocalPath) -> None:
    """The process goes on for the program that is connected, and no other is let in by a wrong word."""
    path = tmp_path / "socket"
    thread = await clone_persistent(local_thread, path)
    knock = b"RSYSDOOR" + bytes(8)
    try:
        for name, change in CHANGES.items():
            for position in range(len(knock)):
                if (position, name) in {(8, "one bit"), (12, "one bit"), (12, "other"), (13, "one bit")}:
                    continue  # it asks to take over, or says what it had
                said = change(knock, position)
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.settimeout(TOO_LONG)
                    sock.connect(str(path))
                    sock.sendall(said)
                    sock.shutdown(socket.SHUT_WR)
                    try:
                        answer = sock.recv(100)
                    except ConnectionResetError:
                        answer = b""  # it did not read all of it
                    if not answer or len(said) < len(knock) or said[: len(knock)] != knock:
                        assert answer == b"", (name, position)
                    else:
                        assert int.from_bytes(answer[8:12], "little", signed=True) == -errno.EBUSY
                assert await thread.task.getpid() == thread.task.near_process
    finally:
        with trio.move_on_after(TOO_LONG):
            await thread.end()


@pytest.mark.parametrize("change", CHANGES)
async def test_in_the_place_of_a_program(
    tmp_path: LocalPath, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stub, "_TIME_TO_GREET", PATIENCE)
    right = arguments(b"name", b"an argument") + HELLO
    async with await StubServer.listen_on(local_thread, Path(tmp_path / "socket")) as server:

        async def lie(position: int) -> None:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(tmp_path / "socket"))
                sock.setblocking(False)
                await trio.lowlevel.wait_readable(sock)
                _, fds, _, _ = socket.recv_fds(sock, 100, 10)
                for fd in fds[1:]:
                    os.close(fd)
                with socket.socket(fileno=fds[0]) as stream:
                    stream.sendall(CHANGES[change](right, position))
                    stream.shutdown(socket.SHUT_WR)
                    await trio.lowlevel.wait_readable(sock)

        async with trio.open_nursery() as nursery:
            accepted: list[object] = []

            async def accept() -> None:
                while True:
                    accepted.append(await server.accept())

            nursery.start_soon(accept)
            ends = await at_every_position(len(right), lie, ())
            nursery.cancel_scope.cancel()
    assert ends == {"no error": len(right)}
    assert not accepted
