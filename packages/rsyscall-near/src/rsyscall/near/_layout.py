"""Layouts of the kernel structures that differ from one architecture to the next."""

from __future__ import annotations

import struct
from functools import cached_property
from typing import NamedTuple

from rsyscall.near.light_dataclass import light_dataclass

_FORMATS = {1: "b", 2: "h", 4: "i", 8: "q"}


class StructField(NamedTuple):
    """One member of a structure: its offset and size in bytes, and whether it is a signed number."""

    name: str
    offset: int
    size: int
    signed: bool


@light_dataclass(frozen=True)
class StructLayout:
    """Size in bytes and members, in order of offset, of a kernel structure on one architecture.

    Padding and reserved space are left out. Values are little-endian, as on every
    architecture that has a table. A member is signed when the kernel headers of that architecture say so:
    `st_mtime`, for one, is unsigned on x86_64.
    """

    name: str
    size: int
    fields: tuple[StructField, ...]

    @cached_property
    def format(self) -> str:
        """The format for `struct.Struct` that packs the members in the order of `fields`, gaps as zeros."""
        parts = ["<"]
        position = 0
        for field in self.fields:
            if field.offset > position:
                parts.append(f"{field.offset - position}x")
            code = _FORMATS[field.size]
            parts.append(code if field.signed else code.upper())
            position = field.offset + field.size
        if self.size > position:
            parts.append(f"{self.size - position}x")
        return "".join(parts)

    @cached_property
    def codec(self) -> struct.Struct:
        """A compiled `struct.Struct` for `format`."""
        return struct.Struct(self.format)

    def field(self, name: str) -> StructField:
        """The member called `name`.

        Raises:
            KeyError: the structure has no such member on this architecture.
        """
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(f"struct {self.name} has no member {name}")

    def pack(self, **values: int) -> bytes:
        """The bytes of the structure with these members; members not named are zero."""
        numbers = [int(values.pop(field.name, 0)) for field in self.fields]
        if values:
            raise KeyError(f"struct {self.name} has no member {', '.join(sorted(values))}")
        return self.codec.pack(*numbers)

    def unpack(self, data: bytes) -> dict[str, int]:
        """The members found in the first `size` bytes of `data`: name = number."""
        numbers = self.codec.unpack_from(data)
        return {field.name: number for field, number in zip(self.fields, numbers, strict=True)}
