"""The codec against the real server: the program rsyscall-stub over a socket pair."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
from collections.abc import Iterator

import pytest

from rsyscall.native import stub_path
from rsyscall.near import SYS, native_abi
from rsyscall.near.protocol import (
    MAX_TRANSFER,
    Hello,
    HelloParser,
    ResponseParser,
    encode_call,
    encode_read,
    encode_write,
    split_transfer,
)

PROT_READ_WRITE = 3
MAP_PRIVATE_ANONYMOUS = 0x22


class Server:
    """A running stub and what has been received from it."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            [str(stub_path()), "stdio"],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            env={"GREETING": "hello=world", "EMPTY": ""},
        )
        theirs.close()
        self.socket.settimeout(20)
        parser = HelloParser()
        hello = None
        while hello is None:
            hello = parser.feed(self.socket.recv(parser.missing))
        self.hello: Hello = hello
        self.parser = ResponseParser()

    def receive(self, count: int) -> list[tuple[int, bytes]]:
        responses: list[tuple[int, bytes]] = []
        while len(responses) < count:
            data = self.socket.recv(65536)
            assert data, "the server went away"
            responses += self.parser.feed(data)
        return responses

    def ask(self, request: bytes) -> tuple[int, bytes]:
        self.socket.sendall(request)
        (response,) = self.receive(1)
        return response

    def call(self, number: SYS, *args: int) -> int:
        return self.ask(encode_call(self.hello.abi.number(number), args))[0]

    def map(self, length: int) -> int:
        return self.call(SYS.mmap, 0, length, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0)

    def close(self) -> None:
        self.socket.close()
        self.process.wait(40)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def test_hello_describes_the_server(server: Server) -> None:
    hello = server.hello
    assert hello.abi == native_abi()
    assert (hello.pid, hello.uid, hello.gid) == (server.process.pid, os.getuid(), os.getgid())
    assert dict(entry.split(b"=", 1) for entry in hello.environment) == {
        b"GREETING": b"hello=world",
        b"EMPTY": b"",
    }
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert hello.sigmask == sum(1 << (number - 1) for number in blocked)
    assert all([hello.server, hello.persistent_server, hello.futex_helper, hello.trampoline])


def test_calls_are_executed_in_the_server(server: Server) -> None:
    assert server.call(SYS.getpid) == server.process.pid
    assert server.call(SYS.close, -1) == -errno.EBADF


def test_many_requests_are_answered_in_order(server: Server) -> None:
    number = native_abi().number(SYS.umask)
    count = 500
    server.socket.sendall(b"".join(encode_call(number, [mask % 0o777]) for mask in range(count)))
    results = [result for result, _ in server.receive(count)]
    # each returns the mask that the one before has set
    assert results[1:] == [mask % 0o777 for mask in range(count - 1)]


def test_memory_is_written_and_read(server: Server) -> None:
    address = server.map(4096)
    assert server.ask(encode_write(address + 1, b"abc")) == (3, b"")
    assert server.ask(encode_read(address, 5)) == (5, b"\0abc\0")
    assert server.ask(encode_write(address, b"")) == (0, b"")
    assert server.ask(encode_read(address, 0)) == (0, b"")


def test_large_transfers_are_split(server: Server) -> None:
    length = 2 * MAX_TRANSFER + 12345
    data = os.urandom(length)
    address = server.map((length + 4095) // 4096 * 4096)
    for offset, count in split_transfer(length):
        part = data[offset : offset + count]
        assert server.ask(encode_write(address + offset, part)) == (count, b"")
    parts: list[bytes] = []
    for offset, count in split_transfer(length):
        result, part = server.ask(encode_read(address + offset, count))
        assert result == count
        parts.append(part)
    assert b"".join(parts) == data


def test_bad_addresses_are_errors_and_the_stream_stays_in_step(server: Server) -> None:
    assert server.ask(encode_read(8, 10)) == (-errno.EFAULT, b"")
    assert server.ask(encode_write(8, b"x" * 10_000)) == (-errno.EFAULT, b"")
    assert server.call(SYS.getpid) == server.process.pid


def test_a_linked_write_that_fails_lets_no_call_be_made(server: Server) -> None:
    getpid, address = native_abi().number(SYS.getpid), server.map(4096)
    umask = native_abi().number(SYS.umask)
    before = server.call(SYS.umask, 0o22)
    chain = [
        encode_write(8, b"abc", linked=True),
        encode_call(umask, [0o77], linked=True),
        encode_write(address, b"abc", linked=True),
        encode_read(address, 3),
        encode_call(umask, [0o77]),
        encode_call(getpid),
    ]
    server.socket.sendall(b"".join(chain))
    results = [result for result, _ in server.receive(len(chain))]
    canceled = -errno.ECANCELED
    assert results == [-errno.EFAULT, canceled, 3, 3, canceled, server.process.pid]
    assert server.call(SYS.umask, before) == 0o22
    server.socket.sendall(encode_write(address, b"x", linked=True) + encode_call(getpid))
    assert [result for result, _ in server.receive(2)] == [1, server.process.pid]


def test_exit_is_never_answered(server: Server) -> None:
    server.socket.sendall(encode_call(native_abi().number(SYS.exit), [7]))
    assert server.socket.recv(1) == b""
    assert server.process.wait(40) == 7


def test_malformed_request_ends_the_server(server: Server) -> None:
    assert server.ask(b"\xff" * 64) == (-errno.EPROTO, b"")
    assert server.socket.recv(1) == b""


def test_end_of_stream_ends_the_server(server: Server) -> None:
    server.socket.shutdown(socket.SHUT_WR)
    assert server.socket.recv(1) == b""
    server.process.wait(40)
