"""Taking a stream of bytes apart into lines, structures and other pieces."""

from __future__ import annotations

import os
import struct
import typing as t

from rsyscall.struct import T_fixed_size

if t.TYPE_CHECKING:
    from rsyscall.async_fd import AsyncFileDescriptor
    from rsyscall.handle import Pointer

__all__ = ["AsyncReadBuffer"]

_SIZE_T = struct.Struct("=Q")
_READ_SIZE = 4096


class AsyncReadBuffer:
    """Reads a stream piece by piece. One task at a time may use it.

    Bytes that have been read and not yet been returned stay in the buffer; in particular, a method that is
    cancelled, or that meets the end of the stream in the middle of a piece, leaves them there.

    The methods raise `EOFError` if the stream ends before the piece is complete, and the errors of
    `AsyncFileDescriptor.read`.

    Args:
        fd: where to read from.
        parsing_ffi: a cffi FFI object that knows the types for `read_cffi`.
    """

    def __init__(self, fd: AsyncFileDescriptor, parsing_ffi: t.Any = None) -> None:
        self.fd = fd
        self.parsing_ffi = parsing_ffi
        self.buf: bytearray = bytearray()
        # Memory to read into. When a read was cancelled before its bytes were fetched, they are in `_unread`.
        self._memory: Pointer[bytes] | None = None
        self._unread: tuple[Pointer[bytes], Pointer[bytes]] | None = None

    async def _fill(self) -> bool:
        """Read once into the buffer; returns False at the end of the stream."""
        if self._unread is None:
            if self._memory is None:
                self._memory = await self.fd.ram.malloc(bytes, _READ_SIZE)
            self._unread = await self.fd.read(self._memory)
            self._memory = None
        valid, rest = self._unread
        data = await valid.read()
        self._unread = None
        self._memory = valid + rest
        self.buf += data
        return bool(data)

    async def _fill_to(self, length: int, what: str) -> None:
        while len(self.buf) < length:
            if not await self._fill():
                raise EOFError(f"the stream ended in the middle of {what}", length, bytes(self.buf))

    def _take(self, length: int, remove: bool = True) -> bytes:
        data = bytes(self.buf[:length])
        if remove:
            del self.buf[:length]
        return data

    async def read_length(self, length: int, remove: bool = True) -> bytes:
        """Return exactly `length` bytes.

        Args:
            remove: False leaves them in the stream, to be read again.
        """
        await self._fill_to(length, f"{length} bytes")
        return self._take(length, remove)

    async def read_cffi(self, name: str, remove: bool = True) -> t.Any:
        """Return a value of the C type called `name`, which `parsing_ffi` knows.

        Args:
            remove: False leaves it in the stream, to be read again.
        """
        ffi = self.parsing_ffi
        if ffi is None:
            raise ValueError("this AsyncReadBuffer was made without a parsing_ffi")
        size = ffi.sizeof(name)
        await self._fill_to(size, name)
        # A copy: a pointer into the bytes would not keep them alive. The item of a new struct does keep it
        # alive.
        value = ffi.new(name + "*")
        ffi.memmove(value, self._take(size, remove), size)
        return value[0]

    async def read_struct(self, cls: type[T_fixed_size]) -> T_fixed_size:
        """Return a structure, given by its class."""
        size = cls.sizeof()
        await self._fill_to(size, cls.__name__)
        return cls.get_serializer(self.fd.handle.task).from_bytes(self._take(size))

    async def read_length_prefixed_string(self) -> bytes:
        """Return a string in front of which its length is sent, as an unsigned number of 8 bytes in native
        order.
        """
        return (await self.read_length_prefixed_array(1))[0]

    async def read_length_prefixed_array(self, length: int) -> list[bytes]:
        """Return `length` length-prefixed strings."""
        strings = []
        start = 0
        for _ in range(length):
            await self._fill_to(start + _SIZE_T.size, "the length of a string")
            (size,) = _SIZE_T.unpack_from(self.buf, start)
            start += _SIZE_T.size
            await self._fill_to(start + size, f"a string of {size} bytes")
            strings.append(bytes(self.buf[start : start + size]))
            start += size
        del self.buf[:start]
        return strings

    async def read_envp(self, length: int) -> dict[str, str]:
        """Return an environment, sent as `length` length-prefixed strings of the form KEY=VALUE.

        Raises:
            ValueError: a string has no "=".
        """
        environment = {}
        for entry in await self.read_length_prefixed_array(length):
            key, equals, value = entry.partition(b"=")
            if not equals:
                raise ValueError("an entry of the environment has no =", entry)
            environment[os.fsdecode(key)] = os.fsdecode(value)
        return environment

    async def read_until_delimiter(self, delim: bytes) -> bytes | None:
        """Return everything up to the next `delim`, which is taken off the stream but not returned.

        Args:
            delim: one byte or more.

        Returns:
            The bytes, or None if the stream ended and there were none left.

        Raises:
            EOFError: the stream ended in the middle; the beginning of the piece is the last argument, and
                still in the stream.
        """
        if not delim:
            raise ValueError("delim: expected at least one byte, not an empty string")
        searched = 0
        while True:
            # A delimiter may begin in what was searched before and end in what came since.
            end = self.buf.find(delim, max(0, searched - len(delim) + 1))
            if end >= 0:
                data = self._take(end)
                del self.buf[: len(delim)]
                return data
            searched = len(self.buf)
            if not await self._fill():
                if not self.buf:
                    return None
                raise EOFError(f"the stream ended before the delimiter {delim!r}", delim, bytes(self.buf))

    async def read_line(self) -> bytes:
        """Return the next line, without its newline.

        Raises:
            EOFError: the stream ended, in the middle of a line or before it.
        """
        line = await self.read_until_delimiter(b"\n")
        if line is None:
            raise EOFError("the stream ended where a line was expected", b"\n", b"")
        return line

    async def read_netstring(self) -> bytes:
        """Return a netstring: a decimal length, a colon, that many bytes, a comma.

        Raises:
            ValueError: it is not a netstring. The stream is of no use any more then.
        """
        digits = await self.read_until_delimiter(b":")
        if digits is None:
            raise EOFError("the stream ended where a netstring was expected", b":", b"")
        if not digits.isdigit():
            raise ValueError("a netstring does not begin with its length", digits)
        length = int(digits)
        try:
            await self._fill_to(length + 1, f"a netstring of {length} bytes")
        except BaseException:
            # Back to the start of the netstring, which is all there or all taken.
            self.buf[:0] = digits + b":"
            raise
        data = self._take(length)
        if self._take(1) != b",":
            raise ValueError("a netstring does not end with a comma", data)
        return data
