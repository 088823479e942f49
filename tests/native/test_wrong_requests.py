"""Requests with a byte wrong, missing or too much at every position, sent to the real program.

What they ask for by mistake it may do, since its client may have it do anything. But it answers no more than
the client asked, it ends, and nothing is left that holds its stream.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator

import pytest

from .driven import NR
from .test_stub import CALL, READ, REQUEST, RESPONSE, WRITE, Client, request

LINKED = 1
PATIENCE = 20
"""Seconds without a sign of it after which the program hangs."""
PRIVATE_ANONYMOUS = 0x22
PAYLOAD = b"what the client writes"

# Of the numbers of the calls below, these changes make ones that do nothing without good arguments.
CHANGES: dict[str, Callable[[bytes, int], bytes]] = {
    "other": lambda data, at: data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :],
    "low bit": lambda data, at: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :],
    "high bit": lambda data, at: data[:at] + bytes([data[at] ^ 0x80]) + data[at + 1 :],
    "cut": lambda data, at: data[:at],
    "twice": lambda data, at: data[: at + 1] + data[at:],
    "missing": lambda data, at: data[:at] + data[at + 1 :],
    "garbage": lambda data, at: data[:at] + b"\xa5" * REQUEST.size,
}
IN_STEP = ("other", "low bit", "high bit")
"""Changes after which the next request is where it was."""
KINDS: dict[str, Callable[[int], bytes]] = {
    "call": lambda _: request(CALL, NR["getpid"]),
    "read": lambda address: request(READ, address, 16),
    "write": lambda address: request(WRITE, address, len(PAYLOAD)) + PAYLOAD,
    "linked": lambda _: request(CALL, NR["close"], -1, flags=LINKED) + request(CALL, NR["getpid"]),
}


def answers_to(client: Client, stream: bytes) -> list[int]:
    """Send this and the end of the stream; returns the results of all answers, after which the end comes."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        client.write(stream)
    client.end()
    results = []
    while header := client.read(RESPONSE.size):
        assert len(header) == RESPONSE.size
        result, length = RESPONSE.unpack(header)
        assert length in (0, result)
        assert len(client.read(length)) == length
        results.append(result)
    return results


@contextlib.contextmanager
def greeted() -> Iterator[Client]:
    """A client that has been greeted, and that does not wait for ever."""
    client = Client("stdio")
    with socket.socket(fileno=os.dup(client.source)) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", PATIENCE, 0))
    try:
        client.hello()
        yield client
    finally:
        client.process.kill()
        client.close()


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_byte(kind: str, change: str) -> None:
    after = request(CALL, NR["getpid"])
    for at in range(len(KINDS[kind](0))):
        with greeted() as client:
            pid = client.process.pid
            address, _ = client.ask(CALL, NR["mmap"], 0, 1 << 21, 3, PRIVATE_ANONYMOUS, -1, 0)
            assert address > 0
            right = KINDS[kind](address + (1 << 20))
            stream = CHANGES[change](right, at)
            if change in IN_STEP:
                stream += after
            results = answers_to(client, stream)
            assert client.process.wait(PATIENCE) == 0
        asked = len(stream) // REQUEST.size
        assert len(results) <= asked
        if -errno.EPROTO in results:
            assert results.index(-errno.EPROTO) == len(results) - 1
        elif change in IN_STEP:
            # Only where the payload begins and ends can a wrong byte mean something else.
            assert len(results) == asked or kind in ("read", "write")
            assert len(results) < asked or results[-1] in (pid, -errno.ECANCELED)
