"""A system call and its answer as the structures that go over a stream.

`rsyscall.stream` does not need them to move its bytes: the codec is `rsyscall.near.protocol`.
"""

from __future__ import annotations

from dataclasses import dataclass

from rsyscall.near import SYS, Syscall
from rsyscall.near.protocol import (
    REQUEST_SIZE,
    RESPONSE_SIZE,
    ProtocolError,
    decode_call,
    encode_call,
    encode_response,
    parse_response,
)
from rsyscall.struct import Struct

__all__ = ["RsyscallSyscall", "SyscallResponse"]


class RsyscallSyscall(Struct, Syscall):
    """A system call as a request on a stream, with its number on our own architecture."""

    __slots__ = ()

    def to_bytes(self) -> bytes:
        """The request."""
        return encode_call(int(self.number), self.args())

    @classmethod
    def from_bytes(cls, data: bytes) -> RsyscallSyscall:
        """Decode a request; the arguments of the call are not negative.

        Raises:
            ValueError: this is another kind of request, or we do not know the call.
        """
        number, args = decode_call(data)
        return cls(SYS(number), *args)

    @classmethod
    def sizeof(cls) -> int:
        """The size of a request in bytes, without the data that follows some kinds."""
        return REQUEST_SIZE


@dataclass
class SyscallResponse(Struct):
    """The answer to a system call on a stream."""

    value: int
    """What the kernel returned: -4095 to -1 is an error number, negated."""

    def to_bytes(self) -> bytes:
        """The answer."""
        return encode_response(self.value)

    @classmethod
    def from_bytes(cls, data: bytes) -> SyscallResponse:
        """Decode the answer to a call.

        Raises:
            ValueError: this is not the answer to a call.
        """
        try:
            response = parse_response(data[:RESPONSE_SIZE], 0)
        except ProtocolError:
            response = None
        if response is None:
            raise ValueError(f"this is not the answer to a system call: {data!r}")
        return cls(response[0])

    @classmethod
    def sizeof(cls) -> int:
        """The size of an answer in bytes, without the data that follows some kinds."""
        return RESPONSE_SIZE
