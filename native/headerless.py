"""Take the section headers off programs: `headerless.py FILE...`

No kernel reads them, and rsyscall-stub, which travels in a command line, is a twentieth shorter without
them. (ld leaves them out itself since 2.41, with `-z nosectionheader`.)
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

__all__ = ["headerless"]

# Of ELF64: in the header of the file, where the program headers start, where the section headers do, and the
# sizes and numbers of both; of a program header, the offset in the file and the size there.
PROGRAM_HEADERS, SECTION_HEADERS, COUNTS = 0x20, 0x28, 0x36
SEGMENT = struct.Struct("=8xQ16xQ16x")


def headerless(program: bytes) -> bytes:
    """The program, up to the end of what is loaded.

    Args:
        program: an ELF file of 64 bits, in our own byte order.
    """
    (start,) = struct.unpack_from("=Q", program, PROGRAM_HEADERS)
    size, count = struct.unpack_from("=2H", program, COUNTS)
    assert size == SEGMENT.size, f"a program header has {size} bytes"
    segments = [SEGMENT.unpack_from(program, start + index * size) for index in range(count)]
    loaded = bytearray(program[: max(offset + length for offset, length in segments)])
    struct.pack_into("=Q", loaded, SECTION_HEADERS, 0)
    # The size of a section header stays; there are none, and none of them has the names.
    struct.pack_into("=2H", loaded, COUNTS + 6, 0, 0)
    return bytes(loaded)


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_bytes(headerless(path.read_bytes()))
