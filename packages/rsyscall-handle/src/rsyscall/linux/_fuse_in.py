"""Requests of the kernel, by `<linux/fuse.h>`. `rsyscall.linux.fuse` has the names."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar, TypeVar

from rsyscall.cstruct import CStruct
from rsyscall.linux._fuse_answers import FuseOutHeader
from rsyscall.linux._fuse_constants import FUSE_OPCODE
from rsyscall.linux._fuse_out import FuseErrorResponse
from rsyscall.linux._fuse_structs import FuseInHeader
from rsyscall.struct import Serializable, strpath_to_null_terminated_bytes

T_in = TypeVar("T_in", bound="FuseIn")

opcode_classes: dict[int, type[FuseIn]] = {}
"""The class of each request."""

NAME = "name"
DATA = "data"


@dataclass
class FuseIn(Serializable):
    """A request. What kind of request it is, is its class; `opcode` is the number.

    Args:
        hdr: the header; its `len` and `opcode` are as they were read and are not used to write.
        extensions: what stands behind the message, `hdr.total_extlen` times 8 bytes.
    """

    hdr: FuseInHeader
    extensions: bytes = field(default=b"", kw_only=True, repr=False)

    opcode: ClassVar[FUSE_OPCODE]
    _msg: ClassVar[type[CStruct] | None] = None
    _rest: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(
        cls, opcode: FUSE_OPCODE | None = None, msg: type[CStruct] | None = None, rest: tuple[str, ...] = ()
    ) -> None:
        super().__init_subclass__()
        if opcode is not None:
            cls.opcode, cls._msg, cls._rest = opcode, msg, rest
            opcode_classes[opcode] = cls

    @classmethod
    def from_header(cls: type[T_in], hdr: FuseInHeader, data: bytes, extensions: bytes = b"") -> T_in:
        """Parse what follows the header.

        Args:
            hdr: the header.
            data: the message without it, and without extensions. A newer kernel may send more.
            extensions: what stands behind it.

        Raises:
            ValueError: it is too short, or a name has no end.
        """
        values: list[object] = []
        if cls._msg is not None:
            values.append(cls._msg.from_bytes(data))
            data = data[cls._msg.sizeof() :]
        for kind in cls._rest:
            if kind is DATA:
                values.append(data)
                continue
            name, end, data = data.partition(b"\0")
            if not end:
                raise ValueError(f"{cls.__name__}: a name without an end", name)
            values.append(os.fsdecode(name))
        return cls(hdr, *values, extensions=extensions)

    @classmethod
    def from_bytes(cls: type[T_in], data: bytes) -> T_in:
        """Parse a whole request, of this class or of a class derived from it.

        Raises:
            ValueError: it is another request, or it is too short.
        """
        op, rest = fuse_in_parse_split(data)
        if not isinstance(op, cls) or rest:
            raise ValueError(f"this is not one {cls.__name__}", op)
        return op

    def error(self, error: int) -> FuseErrorResponse:
        """Answer with an error.

        Args:
            error: the number of an error, negative as the kernel has it; -1 to -511.

        Raises:
            ValueError: the kernel would not take this number.
        """
        return FuseErrorResponse(self._answer(error))

    def _answer(self, error: int) -> FuseOutHeader:
        """The header of the answer."""
        if not -512 < error <= 0:
            raise ValueError("not the negative number of an error", error)
        return FuseOutHeader(error, self.hdr.unique)

    def msg_to_bytes(self) -> bytes:
        """What follows the header."""
        parts = []
        own = [item.name for item in fields(self) if item.name not in ("hdr", "extensions")]
        for name in own:
            value = getattr(self, name)
            if isinstance(value, bytes):
                parts.append(value)
            elif isinstance(value, str):
                parts.append(strpath_to_null_terminated_bytes(value))
            else:
                parts.append(value.to_bytes())
        return b"".join(parts)

    def to_bytes(self) -> bytes:
        """The whole request, as the kernel would send it."""
        data = self.msg_to_bytes() + self.extensions
        length = FuseInHeader.sizeof() + len(data)
        words = len(self.extensions) // 8
        return replace(self.hdr, len=length, opcode=self.opcode, total_extlen=words).to_bytes() + data

    @classmethod
    def sizeof(cls) -> int:
        """Return the size in bytes, without names and data behind the structures."""
        return FuseInHeader.sizeof() + (0 if cls._msg is None else cls._msg.sizeof())


@dataclass
class FuseUnknownOp(FuseIn):
    """A request that is newer than this table.

    Args:
        number: its opcode.
        data: what follows the header.
    """

    number: int
    data: bytes

    def to_bytes(self) -> bytes:
        """The whole request, as the kernel sent it."""
        data = self.data + self.extensions
        length = FuseInHeader.sizeof() + len(data)
        words = len(self.extensions) // 8
        return replace(self.hdr, len=length, opcode=self.number, total_extlen=words).to_bytes() + data


def fuse_in_parse_split(data: bytes) -> tuple[FuseIn, bytes]:
    """Parse the first request.

    Args:
        data: one read of /dev/fuse, which never gives a part of a request.

    Returns:
        The request, a `FuseUnknownOp` if it is newer than this library, and the bytes behind it.

    Raises:
        ValueError: the lengths in it are wrong, or it is too short.

    manpage: fuse(4)
    """
    hdr = FuseInHeader.from_bytes(data)
    end = hdr.len - 8 * hdr.total_extlen
    if hdr.len > len(data) or end < FuseInHeader.sizeof():
        raise ValueError(
            f"a request claims {hdr.len} bytes, {8 * hdr.total_extlen} of extensions; there are {len(data)}"
        )
    message, extensions = data[FuseInHeader.sizeof() : end], data[end : hdr.len]
    cls = opcode_classes.get(hdr.opcode)
    op: FuseIn
    if cls is None:
        op = FuseUnknownOp(hdr, hdr.opcode, message, extensions=extensions)
    else:
        op = cls.from_header(hdr, message, extensions)
    return op, data[hdr.len :]


class FuseInList(list[FuseIn], Serializable):
    """Requests, one after another."""

    def to_bytes(self) -> bytes:
        """All of them."""
        return b"".join(op.to_bytes() for op in self)

    @classmethod
    def from_bytes(cls, data: bytes) -> FuseInList:
        """Parse all of them; ValueError as for `fuse_in_parse_split`."""
        found = cls()
        while data:
            op, data = fuse_in_parse_split(data)
            found.append(op)
        return found
