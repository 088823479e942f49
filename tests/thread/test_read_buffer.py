"""Reading lines and records from a stream, in whatever pieces it arrives."""

from __future__ import annotations

import contextlib
import itertools
import os
import struct
import typing as t

import bare
import cffi  # type: ignore[import-untyped]  # has none
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from rsyscall.epoller import AsyncFileDescriptor, AsyncReadBuffer
from rsyscall.handle import Pointer, Task
from rsyscall.memory.ram import RAM
from rsyscall.memory.transport import MemoryTransport
from rsyscall.struct import Int32, Int64


@contextlib.asynccontextmanager
async def stream() -> t.AsyncIterator[tuple[AsyncReadBuffer, AsyncFileDescriptor]]:
    """A buffer, and the other end of the pipe that it reads from."""
    async with bare.local_epoller() as epoller:
        pipe = await bare.pipe()
        reader, writer = await bare.make_afd(epoller, pipe.read), await bare.make_afd(epoller, pipe.write)
        async with bare.closing(reader, writer):
            with trio.fail_after(60):
                yield AsyncReadBuffer(reader), writer


@contextlib.asynccontextmanager
async def sent(*pieces: bytes) -> t.AsyncIterator[AsyncReadBuffer]:
    """A buffer on a stream that brings these pieces, one by one, and ends."""
    async with stream() as (buffer, writer), trio.open_nursery() as nursery:

        async def send() -> None:
            for piece in pieces:
                await writer.write_all_bytes(piece)
                await trio.testing.wait_all_tasks_blocked()
            await writer.close()

        nursery.start_soon(send)
        yield buffer


async def test_length() -> None:
    async with sent(b"abc", b"defg") as buffer:
        assert await buffer.read_length(2) == b"ab"
        assert await buffer.read_length(3, remove=False) == b"cde"
        assert await buffer.read_length(0) == b""
        assert await buffer.read_length(3) == b"cde"
        with pytest.raises(EOFError) as caught:
            await buffer.read_length(3)
        assert caught.value.args[1:] == (3, b"fg")
        assert await buffer.read_length(2) == b"fg"


async def test_struct_and_cffi() -> None:
    ffi = cffi.FFI()
    ffi.cdef("struct point { int x; int y; }; typedef unsigned short number_t;")
    async with sent(Int32(7).to_bytes() + b"\x01\x00\x00", b"\x00\x02\x00\x00\x00\xff\x00") as buffer:
        assert await buffer.read_struct(Int32) == 7
        with pytest.raises(ValueError, match="parsing_ffi"):
            await buffer.read_cffi("struct point")
        buffer.parsing_ffi = ffi
        for remove in (False, True):
            point = await buffer.read_cffi("struct point", remove)
            assert (point.x, point.y) == (1, 2)
        assert await buffer.read_cffi("number_t") == 255
        with pytest.raises(EOFError, match="Int64"):
            await buffer.read_struct(Int64)


def prefixed(*strings: bytes) -> bytes:
    return b"".join(struct.pack("=Q", len(string)) + string for string in strings)


async def test_length_prefixed() -> None:
    data = prefixed(b"hello", b"", b"a=b=c", b"x=")
    async with sent(data[:10], data[10:20], data[20:], prefixed(b"abc")[:9]) as buffer:
        assert await buffer.read_length_prefixed_string() == b"hello"
        assert await buffer.read_length_prefixed_array(1) == [b""]
        assert await buffer.read_length_prefixed_array(0) == []
        assert await buffer.read_envp(2) == {"a": "b=c", "x": ""}
        # The end in the middle is an EOFError, and the part stays in the stream.
        with pytest.raises(EOFError):
            await buffer.read_length_prefixed_string()
        assert await buffer.read_length(9) == prefixed(b"abc")[:9]
        with pytest.raises(EOFError):
            await buffer.read_length_prefixed_string()


async def test_environment_entry_without_equals() -> None:
    async with sent(prefixed(b"nonsense")) as buffer:
        with pytest.raises(ValueError, match="no ="):
            await buffer.read_envp(1)


async def test_delimiters() -> None:
    async with sent(b"one\ntwo\r", b"\nthree-", b"->four\n", b"rest") as buffer:
        assert await buffer.read_line() == b"one"
        assert await buffer.read_until_delimiter(b"\r\n") == b"two"
        assert await buffer.read_until_delimiter(b"-->") == b"three"
        assert await buffer.read_line() == b"four"
        with pytest.raises(EOFError) as caught:
            await buffer.read_line()
        assert caught.value.args[-1] == b"rest"
        assert await buffer.read_length(4) == b"rest"
        assert await buffer.read_until_delimiter(b"\n") is None
        with pytest.raises(EOFError):
            await buffer.read_line()
        with pytest.raises(ValueError, match="empty"):
            await buffer.read_until_delimiter(b"")


async def test_netstrings() -> None:
    async with sent(b"5:he", b"llo,0:,", b"3:ab") as buffer:
        assert await buffer.read_netstring() == b"hello"
        assert await buffer.read_netstring() == b""
        with pytest.raises(EOFError):
            await buffer.read_netstring()
        assert await buffer.read_length(4) == b"3:ab"
        with pytest.raises(EOFError):
            await buffer.read_netstring()


@pytest.mark.parametrize("data", [b"x:abc,", b"-1:,", b":,", b"3:abcd"])
async def test_not_netstrings(data: bytes) -> None:
    async with sent(data) as buffer:
        with pytest.raises(ValueError, match="netstring"):
            await buffer.read_netstring()


async def test_cancelled_reads_lose_nothing() -> None:
    """Byte by byte, with every wait cancelled: the piece comes out whole."""
    async with stream() as (buffer, writer):
        data = prefixed(b"hello", b"world") + b"11:netstringed,line\r\n"
        results: list[t.Any] = []

        async def parse() -> None:
            if not results:
                results.append(await buffer.read_length_prefixed_array(2))
            if len(results) == 1:
                results.append(await buffer.read_netstring())
            if len(results) == 2:
                results.append(await buffer.read_until_delimiter(b"\r\n"))

        for i in range(len(data)):
            await writer.write_all_bytes(data[i : i + 1])
            with trio.move_on_after(0.001):
                await parse()
        await parse()
        assert results == [[b"hello", b"world"], b"netstringed", b"line"]


async def test_cancelled_between_the_read_and_its_bytes() -> None:
    """The next read fetches the bytes that a slow memory transport had not fetched yet."""

    class SlowTransport(MemoryTransport):
        cancel: trio.CancelScope | None = None

        async def read(self, src: Pointer[t.Any]) -> bytes:
            scope, type(self).cancel = type(self).cancel, None
            if scope is not None:
                scope.cancel()
                await trio.sleep_forever()
            return await bare.ram.transport.read(src)

        async def write(self, dest: Pointer[t.Any], data: bytes) -> None:
            await bare.ram.transport.write(dest, data)

        def inherit(self, task: Task) -> MemoryTransport:
            return self

    async with stream() as (buffer, writer):
        buffer.fd.ram = RAM(bare.task, SlowTransport(), bare.ram.allocator)
        await writer.write_all_bytes(b"abc")
        with trio.CancelScope() as SlowTransport.cancel:
            await buffer.read_length(3)
        assert SlowTransport.cancel is None
        assert not buffer.buf
        assert await buffer.read_length(3) == b"abc"
        # An AsyncFileDescriptor has nowhere to put it, so it returns it all the same.
        await writer.write_all_bytes(b"def")
        with trio.CancelScope() as SlowTransport.cancel:
            assert await buffer.fd.read_some_bytes() == b"def"
        assert SlowTransport.cancel is None


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(
    lines=st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"ab", b"-"))),
    cuts=st.lists(st.integers(0, 400), max_size=8),
)
def test_lines_survive_any_cuts(lines: list[bytes], cuts: list[int]) -> None:
    # A line must not end with the first byte of the delimiter either.
    lines = [line.rstrip(b"a") for line in lines]
    data = b"".join(line + b"ab" for line in lines)
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]

    async def main() -> None:
        async with stream() as (buffer, writer):
            received = []

            async def read() -> None:
                while (line := await buffer.read_until_delimiter(b"ab")) is not None:
                    received.append(line)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                for start, end in itertools.pairwise(places):
                    os.write(int(writer.handle.near), data[start:end])
                    await trio.testing.wait_all_tasks_blocked()
                await writer.close()
            assert received == lines

    trio.run(main)
