"""The byte stream protocol by which a process is driven, as pure encoding and decoding without any I/O.

There is one reliable byte stream in each direction. The server, the process that executes the calls, first
sends a hello that describes it. After that it answers requests strictly in order, and any number of them may
be on the way. A request is 64 bytes and makes a system call, writes bytes to the memory of the server (they
follow the request), or reads them. A response is 16 bytes, and bytes that were read follow it. Numbers are in
the byte order of the machine, which is little-endian on all that are supported.

No bytes from the stream are trusted: those that break the rules raise a `ProtocolError`, and the stream is
unusable from then on.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import SupportsInt

from rsyscall.near.abi import ABI, abi_by_machine

__all__ = [
    "HELLO_SIZE",
    "MAGIC",
    "MAX_HELLO",
    "MAX_TRANSFER",
    "REQUEST_SIZE",
    "RESPONSE_SIZE",
    "VERSION",
    "Hello",
    "HelloParser",
    "ProtocolError",
    "ResponseParser",
    "decode_call",
    "encode_call",
    "encode_read",
    "encode_response",
    "encode_write",
    "parse_response",
    "parse_results",
    "split_transfer",
]

MAGIC = b"RSYSCALL"
VERSION = 1
MAX_TRANSFER = 1 << 20
"""The most bytes that one request may write or read; larger transfers are split (`split_transfer`)."""
MAX_HELLO = 16 << 20
"""The longest hello that is accepted, in bytes. (An environment ends at 6 MiB, usually.)"""

_HELLO = struct.Struct("=8sIIIIiIIIQ8Q2i")
_REQUEST = struct.Struct("=IIQ6Q")
_RESPONSE = struct.Struct("=qQ")
_U32 = struct.Struct("=I")
_MAGIC_VERSION_LENGTH = struct.Struct("=8sII")

HELLO_SIZE = _HELLO.size
"""Bytes in a hello before the environment."""
REQUEST_SIZE = _REQUEST.size
RESPONSE_SIZE = _RESPONSE.size

_OP_CALL = 1
_OP_WRITE = 2
_OP_READ = 3
_LINKED = 1
_MORE = 2

_pack_request = _REQUEST.pack
_unpack_response = _RESPONSE.unpack_from


class ProtocolError(Exception):
    """The other side sent something that the protocol does not allow."""

    def __init__(self, message: str, responses: Sequence[tuple[int, bytes]] = ()) -> None:
        super().__init__(message)
        self.responses: list[tuple[int, bytes]] = list(responses)
        """Responses that were complete before the error; they are valid. See `ResponseParser.feed`."""


# ---- Hello


@dataclass(frozen=True)
class Hello:
    """The description of itself that a server sends first."""

    machine: int
    """The architecture, as `e_machine` of ELF files."""
    page_size: int
    """In bytes."""
    pid: int
    """As the server itself sees it."""
    uid: int
    gid: int
    sigmask: int
    """The signals that are blocked: bit n-1 is signal n."""
    symbols: tuple[int, ...]
    """Addresses of eight native functions in the memory of the server, 0 for those it does not have."""
    environment: tuple[bytes, ...] = ()
    """The environment, each as `NAME=value`."""
    infd: int = 0
    """The descriptor from which the server reads requests."""
    outfd: int = 1
    """The descriptor to which it writes responses."""

    @property
    def server(self) -> int:
        """Address of the function that serves a byte stream."""
        return self.symbols[0]

    @property
    def persistent_server(self) -> int:
        """Address of the function that serves one connection after another."""
        return self.symbols[1]

    @property
    def futex_helper(self) -> int:
        """Address of the function that waits for futexes."""
        return self.symbols[2]

    @property
    def trampoline(self) -> int:
        """Address of the code where a cloned process starts."""
        return self.symbols[3]

    @property
    def abi(self) -> ABI:
        """The ABI of the server, with its page size.

        Raises:
            ProtocolError: the server runs on an architecture that is not known here.
        """
        try:
            return abi_by_machine(self.machine).with_page_size(self.page_size)
        except KeyError:
            raise ProtocolError(
                f"the server runs on an unknown architecture, ELF machine {self.machine}"
            ) from None

    def to_bytes(self) -> bytes:
        """The hello as it goes over the stream."""
        strings = b"".join(_U32.pack(len(string)) + string for string in self.environment)
        numbers = (
            self.machine,
            self.page_size,
            self.pid,
            self.uid,
            self.gid,
            len(self.environment),
            self.sigmask,
        )
        length = HELLO_SIZE + len(strings)
        fds = self.infd, self.outfd
        return _HELLO.pack(MAGIC, VERSION, length, *numbers, *self.symbols, *fds) + strings


class HelloParser:
    """Takes the hello out of a stream that arrives in pieces of any size.

    Nothing is skipped before the hello: a stream that begins with anything else (a password prompt, the
    greeting of a shell) is refused at its first wrong byte, and the error shows what arrived.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._done = False

    @property
    def missing(self) -> int:
        """How many more bytes certainly belong to the hello; it is safe to read that many."""
        if self._done:
            return 0
        if len(self._buffer) < HELLO_SIZE:
            return HELLO_SIZE - len(self._buffer)
        return self._length() - len(self._buffer)

    @property
    def rest(self) -> bytes:
        """The bytes that came after the hello, the beginning of the responses."""
        return bytes(self._buffer) if self._done else b""

    def feed(self, data: bytes) -> Hello | None:
        """Take the next bytes of the stream.

        Returns:
            The hello, once it is complete; None if more is needed.

        Raises:
            ProtocolError: this is not a hello, or not one of this version, or its lengths contradict each
                other.
            RuntimeError: the hello was complete before.
        """
        if self._done:
            raise RuntimeError("the hello is complete; what follows belongs to a ResponseParser")
        buffer = self._buffer
        buffer += data
        if not MAGIC.startswith(buffer[: len(MAGIC)]):
            raise ProtocolError(
                f"the peer did not send a hello of this protocol but {_excerpt(bytes(buffer))}"
            )
        if len(buffer) >= _MAGIC_VERSION_LENGTH.size:
            self._length()
        if len(buffer) < HELLO_SIZE or len(buffer) < self._length():
            return None
        length = self._length()
        hello = _parse_hello(bytes(buffer[:length]))
        del buffer[:length]
        self._done = True
        return hello

    def finish(self) -> None:
        """Say that the stream has ended.

        Raises:
            ProtocolError: the hello is not complete.
        """
        if not self._done:
            got = f"after {len(self._buffer)} bytes of it" if self._buffer else "before its first byte"
            raise ProtocolError(f"the stream ended before the hello was complete, {got}")

    def _length(self) -> int:
        _, version, length = _MAGIC_VERSION_LENGTH.unpack_from(self._buffer)
        if version != VERSION:
            raise ProtocolError(
                f"the server speaks version {version} of the protocol, this program version {VERSION}"
            )
        if not HELLO_SIZE <= length <= MAX_HELLO:
            raise ProtocolError(
                f"the server says its hello has {length} bytes; allowed are {HELLO_SIZE} to {MAX_HELLO}"
            )
        assert isinstance(length, int)
        return length


def _parse_hello(data: bytes) -> Hello:
    """Decode a hello whose magic, version and length have been checked."""
    _, _, _, machine, page_size, pid, uid, gid, count, sigmask, *rest = _HELLO.unpack_from(data)
    if page_size == 0 or page_size & (page_size - 1):
        raise ProtocolError(f"the server says its pages have {page_size} bytes, which is not a power of two")
    if pid <= 0:
        raise ProtocolError(f"the server says its pid is {pid}")
    *symbols, infd, outfd = rest
    if infd < 0 or outfd < 0:
        raise ProtocolError(f"the server says its descriptors are {infd} and {outfd}")
    environment = tuple(_parse_environment(data, count))
    return Hello(machine, page_size, pid, uid, gid, sigmask, tuple(symbols), environment, infd, outfd)


def _parse_environment(data: bytes, count: int) -> Iterator[bytes]:
    position = HELLO_SIZE
    for index in range(count):
        if len(data) - position < _U32.size:
            raise ProtocolError(f"the hello announces {count} environment strings and ends after {index}")
        (length,) = _U32.unpack_from(data, position)
        position += _U32.size
        if length > len(data) - position:
            raise ProtocolError(
                f"environment string {index} of the hello claims {length} bytes "
                f"where {len(data) - position} are left"
            )
        string = data[position : position + length]
        if b"\0" in string:
            raise ProtocolError(f"environment string {index} of the hello contains a zero byte")
        yield string
        position += length
    if position != len(data):
        raise ProtocolError(
            f"the hello has {len(data) - position} bytes after its {count} environment strings"
        )


def _excerpt(data: bytes) -> str:
    """The beginning of what a stranger sent, for an error message."""
    limit = 120
    return repr(data[:limit]) + ("..." if len(data) > limit else "")


# ---- Requests


# `int()` would round or parse values of these types.
_NO_INTEGERS = (float, str, bytes, bytearray)
_ZEROS = (0,) * 6


def _to_u64(value: SupportsInt) -> int:
    """A number as the kernel gets it in a register; negative ones in two's complement."""
    if isinstance(value, _NO_INTEGERS):
        raise TypeError(f"an argument of a system call is an integer or convertible by int(), not {value!r}")
    number = int(value)
    if number < 0:
        if number < -(2**63):
            raise ValueError(f"{number} does not fit into 64 bits")
        return number + 2**64
    if number >= 2**64:
        raise ValueError(f"{number} does not fit into 64 bits")
    return number


def encode_call(
    number: SupportsInt, args: Sequence[SupportsInt] = (), linked: bool = False, more: bool = False
) -> bytes:
    """The request to make a system call.

    Args:
        number: the number of the call on the architecture of the server (`ABI.number`).
        args: up to six arguments; missing ones are 0, negative ones go in two's complement.
        linked: if this call fails, the server does not make the next one, which then fails with ECANCELED.
        more: another call follows at once, which takes no time, and the answer may come with the one to that.

    Raises:
        ValueError: more than six arguments, or a number that does not fit into 64 bits.
        TypeError: something that `int()` would round or parse, or does not take.
    """
    if len(args) > 6:
        raise ValueError(f"a system call has at most six arguments, not {len(args)}")
    flags = (_LINKED if linked else 0) | (_MORE if more else 0)
    try:
        return _pack_request(_OP_CALL, flags, number, *args, *_ZEROS[len(args) :])
    except struct.error:
        # One of them is negative, has no `__index__`, or is wrong.
        numbers = [_to_u64(arg) for arg in (number, *args, *_ZEROS[len(args) :])]
        return _pack_request(_OP_CALL, flags, *numbers)


def decode_call(data: bytes) -> tuple[int, tuple[int, ...]]:
    """The number and the arguments of an encoded call.

    Raises:
        ValueError: it is another kind of request.
    """
    op, flags, number, *args = _REQUEST.unpack(data)
    if op != _OP_CALL or flags & ~(_LINKED | _MORE):
        raise ValueError(f"a request of kind {op} with flags {flags} is not a system call")
    return number, tuple(args)


def encode_write(address: SupportsInt, data: bytes, *, linked: bool = False) -> bytes:
    """The request to write `data` to `address` in the memory of the server, at most `MAX_TRANSFER` bytes.

    Args:
        linked: if that fails, the server does not make the next call, which then fails with ECANCELED.

    Raises:
        ValueError: too much data; see `split_transfer`.
    """
    _check_transfer(len(data))
    flags = _LINKED if linked else 0
    return _pack_request(_OP_WRITE, flags, _to_u64(address), len(data), 0, 0, 0, 0, 0) + data


def encode_read(address: SupportsInt, length: int) -> bytes:
    """The request to read `length` bytes, at most `MAX_TRANSFER`, from `address` in the memory of the server.

    Raises:
        ValueError: the length is negative or too large; see `split_transfer`.
    """
    _check_transfer(length)
    return _pack_request(_OP_READ, 0, _to_u64(address), length, 0, 0, 0, 0, 0)


def split_transfer(length: int) -> Iterator[tuple[int, int]]:
    """Divide a transfer of `length` bytes into (offset, length) of parts that one request may carry."""
    for offset in range(0, length, MAX_TRANSFER):
        yield offset, min(MAX_TRANSFER, length - offset)


def _check_transfer(length: int) -> None:
    if not 0 <= length <= MAX_TRANSFER:
        raise ValueError(f"one request carries 0 to {MAX_TRANSFER} bytes, not {length}")


# ---- Responses


def encode_response(result: int, payload: bytes = b"") -> bytes:
    """A response: the raw result of a call, or the number of bytes read and these bytes."""
    return _RESPONSE.pack(result, len(payload)) + payload


def parse_response(data: bytes | bytearray, position: int) -> tuple[int, bytes, int] | None:
    """Take the response at a position.

    Returns:
        The raw result, the bytes that were read, and the position of the next response; None if the response
        is not complete.

    Raises:
        ProtocolError: it claims more bytes than one request may read, or not as many as it says it has read.
    """
    start = position + RESPONSE_SIZE
    if len(data) < start:
        return None
    result, length = _unpack_response(data, position)
    if not length:
        return result, b"", start
    if length > MAX_TRANSFER:
        raise ProtocolError(f"a response claims to carry {length} bytes; at most {MAX_TRANSFER} are allowed")
    if result != length:
        raise ProtocolError(f"a response with the result {result} claims to carry {length} bytes")
    end = start + length
    if len(data) < end:
        return None
    return result, bytes(data[start:end]), end


def parse_results(data: bytes, position: int, limit: int, results: list[int]) -> int:
    """Take responses at a position as long as they are complete and carry no bytes.

    Args:
        data: where they are.
        position: that of the first one.
        limit: the most that are taken.
        results: the raw results are appended.

    Returns:
        The position of the first response that is not taken.
    """
    count = min(limit, (len(data) - position) // RESPONSE_SIZE)
    end = position + max(count, 0) * RESPONSE_SIZE
    for result, length in _RESPONSE.iter_unpack(data[position:end]):
        if length:
            break
        results.append(result)
        position += RESPONSE_SIZE
    return position


class ResponseParser:
    """Takes responses out of a stream that arrives in pieces of any size."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def buffered(self) -> int:
        """How many bytes of a response that is not complete have arrived; 0 between responses."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take the next bytes of the stream.

        Returns:
            The responses that are complete now, in order: the raw result (-4095 to -1 is an error number,
            negated; see `raise_if_error`) and the bytes that were read, if any. A response is returned once.

        Raises:
            ProtocolError: a response claims more bytes than one request may read, or not as many as it says
                it has read. Those that were complete before it are in the `responses` of the error.
        """
        responses: list[tuple[int, bytes]] = []
        if self._buffer:
            self._buffer += data
            source: bytes | bytearray = self._buffer
        else:
            source = data  # the common case: whole responses, nothing left over from before
        position = 0
        try:
            while (response := parse_response(source, position)) is not None:
                result, payload, position = response
                responses.append((result, payload))
        except ProtocolError as error:
            error.responses = responses
            raise
        if source is self._buffer:
            del self._buffer[:position]
        else:
            self._buffer += source[position:]
        return responses

    def finish(self) -> None:
        """Say that the stream has ended.

        Raises:
            ProtocolError: it ended in the middle of a response.
        """
        if self._buffer:
            raise ProtocolError(f"the stream ended after {len(self._buffer)} bytes of a response")
