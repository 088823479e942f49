"""Handles of files, of `<fcntl.h>`. `rsyscall.fcntl` has the names, `_fcntl_handle_calls` the calls."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from rsyscall.struct import Serializable

__all__ = ["MAX_HANDLE_SZ", "FileHandle"]

MAX_HANDLE_SZ = 128
"""How many bytes a handle has at most."""

HANDLE_HEADER = struct.Struct("=Ii")
"""What is in front of the bytes of a handle: their number, and the type."""


@dataclass(frozen=True)
class FileHandle(Serializable):
    """`struct file_handle`: names a file in one file system. `name_to_handle_at` takes one as room.

    Args:
        handle: bytes that only the file system understands.
        type: which kind of handle they are, for the file system.

    manpage: open_by_handle_at(2)
    """

    handle: bytes
    type: int = 0

    @classmethod
    def room(cls, size: int = MAX_HANDLE_SZ) -> FileHandle:
        """Return room for a handle of `size` bytes."""
        return cls(bytes(size))

    def to_bytes(self) -> bytes:
        """The structure as the kernel reads it."""
        return HANDLE_HEADER.pack(len(self.handle), self.type) + self.handle

    @classmethod
    def from_bytes(cls, data: bytes) -> FileHandle:
        """Parse the structure; raises ValueError if there are too few bytes."""
        if len(data) < HANDLE_HEADER.size:
            raise ValueError(f"a file handle has {HANDLE_HEADER.size} bytes or more, there are {len(data)}")
        size, handle_type = HANDLE_HEADER.unpack_from(data)
        found = data[HANDLE_HEADER.size : HANDLE_HEADER.size + size]
        if len(found) != size:
            raise ValueError(f"a file handle of {size} bytes, there are only {len(found)}")
        return cls(found, handle_type)
