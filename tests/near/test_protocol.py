"""The stream protocol codec: round trips, any division into pieces, and any bytes from a foreign peer."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rsyscall.near import FileDescriptor, native_abi
from rsyscall.near.protocol import (
    HELLO_SIZE,
    MAGIC,
    MAX_HELLO,
    MAX_TRANSFER,
    REQUEST_SIZE,
    RESPONSE_SIZE,
    Hello,
    HelloParser,
    ProtocolError,
    ResponseParser,
    encode_call,
    encode_read,
    encode_response,
    encode_write,
    split_transfer,
)

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
REQUEST = struct.Struct("<IIQ6Q")

HELLOS = st.builds(
    Hello,
    machine=U32,
    page_size=st.integers(0, 31).map(lambda shift: 1 << shift),
    pid=st.integers(1, 2**31 - 1),
    uid=U32,
    gid=U32,
    sigmask=U64,
    symbols=st.tuples(*[U64] * 8),
    environment=st.lists(st.binary(max_size=40).filter(lambda s: b"\0" not in s), max_size=8).map(tuple),
    infd=st.integers(0, 2**31 - 1),
    outfd=st.integers(0, 2**31 - 1),
)

SIMPLE = Hello(62, 4096, 10, 0, 0, 0, (1, 2, 3, 4, 5, 6, 7, 8), (b"A=1", b"B="))

RESPONSES = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(lambda result: (result, b"")),
    st.binary(min_size=1, max_size=100).map(lambda data: (len(data), data)),
)


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    """The data divided at the given places."""
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    for start, end in zip([0, *places], [*places, len(data)], strict=True):
        yield data[start:end]


def change(data: bytes, offset: int, new: bytes) -> bytes:
    return data[:offset] + new + data[offset + len(new) :]


# ---- Sizes


def test_sizes_are_those_of_the_protocol() -> None:
    assert (HELLO_SIZE, REQUEST_SIZE, RESPONSE_SIZE) == (120, 64, 16)


# ---- Hello


@given(HELLOS, st.binary(max_size=50), st.lists(st.integers(0, 10_000), max_size=10))
@example(SIMPLE, b"", list(range(200)))
def test_hello_survives_any_division(hello: Hello, after: bytes, cuts: list[int]) -> None:
    parser = HelloParser()
    got = None
    rest = b""
    for piece in pieces(hello.to_bytes() + after, cuts):
        if got is None:
            got = parser.feed(piece)
        else:
            rest += piece
    assert got == hello
    assert parser.rest + rest == after
    parser.finish()


@given(HELLOS, st.binary(max_size=50))
def test_hello_can_be_read_without_reading_too_much(hello: Hello, after: bytes) -> None:
    stream = hello.to_bytes() + after
    parser = HelloParser()
    got = None
    while got is None:
        assert parser.missing > 0
        count = parser.missing
        got = parser.feed(stream[:count])
        stream = stream[count:]
    assert got == hello
    assert parser.missing == 0
    assert parser.rest == b""
    assert stream == after


def test_hello_names_its_symbols_and_its_abi() -> None:
    abi = native_abi()
    hello = Hello(abi.machine, 65536, 10, 0, 0, 0, (1, 2, 3, 4, 0, 0, 0, 0))
    assert (hello.server, hello.persistent_server, hello.futex_helper, hello.trampoline) == (1, 2, 3, 4)
    assert hello.abi.name == abi.name
    assert hello.abi.page_size == 65536


def test_hello_of_an_unknown_architecture_has_no_abi() -> None:
    with pytest.raises(ProtocolError, match="ELF machine 8"):
        _ = Hello(8, 4096, 10, 0, 0, 0, (0,) * 8).abi


def test_stranger_is_refused_at_the_first_wrong_byte() -> None:
    with pytest.raises(ProtocolError, match="b'Password: '"):
        HelloParser().feed(b"Password: ")
    parser = HelloParser()
    assert parser.feed(b"RSYS") is None
    with pytest.raises(ProtocolError, match="b'RSYSLOGD'"):
        parser.feed(b"LOGD")


def test_long_strangers_are_quoted_in_part() -> None:
    with pytest.raises(ProtocolError) as caught:
        HelloParser().feed(b"x" * 100_000)
    assert len(str(caught.value)) < 300


def test_other_version_is_refused_with_both_numbers() -> None:
    data = change(SIMPLE.to_bytes(), 8, struct.pack("<I", 7))
    with pytest.raises(ProtocolError, match=r"version 7 .* version 1"):
        HelloParser().feed(data[:16])


@pytest.mark.parametrize("length", [0, HELLO_SIZE - 1, MAX_HELLO + 1, 2**32 - 1])
def test_unreasonable_length_of_hello_is_refused_at_once(length: int) -> None:
    data = change(SIMPLE.to_bytes(), 12, struct.pack("<I", length))
    with pytest.raises(ProtocolError, match=f"{length} bytes; allowed are {HELLO_SIZE} to {MAX_HELLO}"):
        HelloParser().feed(data[:16])


@pytest.mark.parametrize(
    ("offset", "new", "message"),
    [
        (20, struct.pack("<I", 0), "pages have 0 bytes"),
        (20, struct.pack("<I", 5000), "pages have 5000 bytes"),
        (24, struct.pack("<i", 0), "pid is 0"),
        (24, struct.pack("<i", -5), "pid is -5"),
        (36, struct.pack("<I", 3), "announces 3 environment strings and ends after 2"),
        (36, struct.pack("<I", 1), "has 6 bytes after its 1 environment strings"),
        (36, struct.pack("<I", 2**32 - 1), "announces 4294967295 environment strings"),
        (120, struct.pack("<I", 1000), "string 0 of the hello claims 1000 bytes where 9 are left"),
        (124, b"\0", "string 0 of the hello contains a zero byte"),
    ],
)
def test_contradictions_in_hello_are_refused(offset: int, new: bytes, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        HelloParser().feed(change(SIMPLE.to_bytes(), offset, new))


@given(st.integers(0, len(SIMPLE.to_bytes()) - 1))
def test_hello_cut_short_is_noticed(length: int) -> None:
    parser = HelloParser()
    assert parser.feed(SIMPLE.to_bytes()[:length]) is None
    with pytest.raises(ProtocolError, match="ended before the hello was complete"):
        parser.finish()


def test_parser_of_hello_is_used_once() -> None:
    parser = HelloParser()
    parser.feed(SIMPLE.to_bytes())
    with pytest.raises(RuntimeError):
        parser.feed(b"")


@given(st.binary(max_size=300))
def test_garbage_is_never_a_hello_by_accident(data: bytes) -> None:
    parser = HelloParser()
    try:
        assert parser.feed(data) is None
        assert MAGIC.startswith(data[:8])
    except ProtocolError:
        pass


@given(HELLOS, st.integers(0, 10_000), st.integers(1, 255))
def test_damaged_hello_is_parsed_or_refused(hello: Hello, place: int, flip: int) -> None:
    data = bytearray(hello.to_bytes())
    data[place % len(data)] ^= flip
    with contextlib.suppress(ProtocolError):
        HelloParser().feed(bytes(data))


# ---- Requests


@given(U64, st.lists(st.integers(-(2**63), 2**64 - 1), max_size=6))
def test_call_is_encoded(number: int, args: list[int]) -> None:
    data = encode_call(number, args)
    expected = [arg % 2**64 for arg in args] + [0] * (6 - len(args))
    assert REQUEST.unpack(data) == (1, 0, number, *expected)


def test_call_takes_anything_that_is_an_integer() -> None:
    assert REQUEST.unpack(encode_call(3, [FileDescriptor(7)]))[3] == 7


@pytest.mark.parametrize("args", [[0] * 7, [2**64], [-(2**63) - 1]])
def test_call_that_cannot_be_encoded_is_refused(args: list[int]) -> None:
    with pytest.raises(ValueError):
        encode_call(1, args)


@given(U64, st.binary(max_size=100))
def test_write_is_encoded(address: int, data: bytes) -> None:
    encoded = encode_write(address, data)
    assert REQUEST.unpack(encoded[:64]) == (2, 0, address, len(data), 0, 0, 0, 0, 0)
    assert encoded[64:] == data


@given(U64, st.integers(0, MAX_TRANSFER))
def test_read_is_encoded(address: int, length: int) -> None:
    assert REQUEST.unpack(encode_read(address, length)) == (3, 0, address, length, 0, 0, 0, 0, 0)


def test_transfers_are_bounded() -> None:
    assert len(encode_write(0, bytes(MAX_TRANSFER))) == 64 + MAX_TRANSFER
    with pytest.raises(ValueError):
        encode_write(0, bytes(MAX_TRANSFER + 1))
    with pytest.raises(ValueError):
        encode_read(0, MAX_TRANSFER + 1)
    with pytest.raises(ValueError):
        encode_read(0, -1)


@given(st.integers(0, 5 * MAX_TRANSFER))
@example(MAX_TRANSFER)
@example(MAX_TRANSFER + 1)
def test_split_transfer_covers_everything_once(length: int) -> None:
    position = 0
    for offset, count in split_transfer(length):
        assert offset == position
        assert 0 < count <= MAX_TRANSFER
        position += count
    assert position == length


# ---- Responses


@given(st.lists(RESPONSES, max_size=10), st.lists(st.integers(0, 10_000), max_size=20))
@example([(1, b"x"), (-9, b""), (0, b"")], list(range(60)))
def test_responses_survive_any_division(responses: list[tuple[int, bytes]], cuts: list[int]) -> None:
    parser = ResponseParser()
    stream = b"".join(encode_response(*response) for response in responses)
    got = [response for piece in pieces(stream, cuts) for response in parser.feed(piece)]
    assert got == responses
    assert parser.buffered == 0
    parser.finish()


@given(RESPONSES, st.data())
def test_response_cut_short_is_noticed(response: tuple[int, bytes], data: st.DataObject) -> None:
    encoded = encode_response(*response)
    length = data.draw(st.integers(1, len(encoded) - 1))
    parser = ResponseParser()
    assert parser.feed(encoded[:length]) == []
    assert parser.buffered == length
    with pytest.raises(ProtocolError, match=f"after {length} bytes"):
        parser.finish()


def test_largest_response_is_taken_and_a_larger_one_refused() -> None:
    payload = bytes(MAX_TRANSFER)
    assert ResponseParser().feed(encode_response(MAX_TRANSFER, payload)) == [(MAX_TRANSFER, payload)]
    header = struct.pack("<qQ", MAX_TRANSFER + 1, MAX_TRANSFER + 1)
    with pytest.raises(ProtocolError, match=f"carry {MAX_TRANSFER + 1} bytes; at most {MAX_TRANSFER}"):
        ResponseParser().feed(header)


@pytest.mark.parametrize("result", [-14, 0, 4, 6])
def test_payload_must_be_as_long_as_the_result_says(result: int) -> None:
    with pytest.raises(ProtocolError, match=f"result {result} claims to carry 5 bytes"):
        ResponseParser().feed(struct.pack("<qQ", result, 5))


def test_responses_before_an_error_are_not_lost() -> None:
    with pytest.raises(ProtocolError) as caught:
        ResponseParser().feed(encode_response(7) + encode_response(1, b"x") + struct.pack("<qQ", 0, 5))
    assert caught.value.responses == [(7, b""), (1, b"x")]


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_garbage_responses_are_parsed_or_refused(garbage: list[bytes]) -> None:
    parser = ResponseParser()
    try:
        for piece in garbage:
            for result, payload in parser.feed(piece):
                assert not payload or len(payload) == result
    except ProtocolError:
        pass
