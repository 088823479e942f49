"""Which bytes of a set of arenas are free: the data structure under the allocators.

Everything here is arithmetic on offsets; no system call is made and nothing is awaited.

A *block* is `(arena, start, limit)`: the bytes `[start, limit)` of one arena, owned by somebody. A *hole* is
a maximal run of bytes owned by nobody. Only holes are recorded; live blocks are known to their owners alone,
so no operation ever walks over them.

* Each arena finds the hole that starts or ends at an offset in two dictionaries: a block that comes back is
  joined with its neighbours in constant time.
* All holes, of all arenas, are filed in bins by size. Below 512 bytes there is a bin for every multiple of
  16, above it eight bins to every power of two. A bit set in one integer says which bins have something in
  them, so a hole that certainly fits is found with a shift and a mask.
* A few blocks of each small size that come back are kept aside, uncoalesced, in a list for exactly that
  size (`quick`). Most requests are for a size that was given back a moment ago, and are served by one
  `list.pop`. The lists are emptied into the holes when nothing else fits, and from time to time when they
  hold too much.

Blocks come back through `list.append` alone (onto a quick list, or onto `returned`): that is one atomic
operation, so an allocation may be freed by the garbage collector in the middle of any statement here, or in
another thread. All other bookkeeping happens inside the next request.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rsyscall.memory.allocator import Arena

    Block = tuple[Arena, int, int]

GRANULE = 16
"""Blocks start at a multiple of this many bytes: enough for structs, futex words, iovecs and stacks alike."""
QUICK_LIMIT = 8192
"""Blocks of more bytes than this are never kept aside."""
QUICK_COUNT = 32
"""How many blocks of one size are kept aside; the garbage collector of another thread may add a few more."""
QUICK_TOTAL = 256 * 1024
"""The number of bytes on quick lists above which they are emptied."""
TIDY_INTERVAL = 64
"""How many blocks come back or are taken from quick lists between two looks at how much these hold."""
SCAN_LIMIT = 16
"""How many holes that perhaps fit are looked at before giving up."""


class Hole:
    """A maximal run of free bytes of one arena; `index` is the bin it is filed in, -1 if it is too small."""

    __slots__ = ("arena", "end", "index", "start")

    def __init__(self, arena: Arena, start: int, end: int) -> None:
        self.arena = arena
        self.start = start
        self.end = end
        self.index = -1


def _size(arena: Arena) -> int:
    return arena.size


def round_up(number: int) -> int:
    """The size of a block for `number` bytes; never 0, so that no two blocks begin at the same address."""
    return (number + 15) & -16 or 16


def bin_of(size: int) -> int:
    """The bin in which a hole of `size` usable bytes is filed."""
    if size < 512:
        return size >> 4
    bits = size.bit_length()
    return (bits << 3) + (size >> (bits - 4)) - 56


def first_sufficient_bin(size: int) -> int:
    """The first bin whose holes all have at least `size` bytes; `size` is a multiple of the granule."""
    if size < 512:
        return size >> 4
    bits = size.bit_length()
    shift = bits - 4
    index = (bits << 3) + (size >> shift) - 56
    return index if not size & ((1 << shift) - 1) else index + 1


class FreeSpace:
    """The free bytes of any number of arenas.

    Attributes:
        quick: for each block size in use, blocks of that size that came back and were not coalesced.
        returned: all other blocks that came back and were not coalesced yet.
        empty: the arenas that have no live block, oldest first.
        countdown: how many blocks may come back, or be taken from `quick`, until the latter is looked after.
    """

    __slots__ = (
        "__weakref__", "_arenas", "_bins", "_bits", "_free", "_size", "countdown", "empty", "owner", "quick",
        "returned",
    )  # fmt: skip

    def __init__(self) -> None:
        self._bins: dict[int, dict[Hole, None]] = {}
        self._bits = 0
        # How many arenas there are, how many bytes they have, and how many of these are in holes.
        self._arenas = 0
        self._size = 0
        self._free = 0
        # The ident of the OS thread that allocates here; 0 until one has been found fit to.
        self.owner = 0
        self.countdown = TIDY_INTERVAL
        self.quick: dict[int, list[Block]] = {}
        self.returned: list[Block] = []
        self.empty: dict[Arena, None] = {}

    # Arenas.

    def add(self, arena: Arena) -> None:
        """Take charge of an arena all of whose bytes are free."""
        self._arenas += 1
        self._size += arena.size
        self.give(arena, 0, arena.size)

    def remove(self, arena: Arena) -> None:
        """Forget an arena, which must be empty."""
        del self.empty[arena]
        self._arenas -= 1
        self._size -= arena.size
        self._free -= arena.size
        hole = arena.hole_at.pop(0)
        del arena.hole_before[arena.size]
        if hole.index >= 0:
            self._unfile(hole)

    # Blocks.

    def give(self, arena: Arena, start: int, limit: int) -> None:
        """Make the bytes `[start, limit)` of the arena free, joining them with what is free around them."""
        if start == limit:
            return
        self._free += limit - start
        hole_at = arena.hole_at
        hole_before = arena.hole_before
        hole = hole_before.pop(start, None)
        if hole is not None:
            start = hole.start
            if hole.index >= 0:
                self._unfile(hole)
        right = hole_at.pop(limit, None)
        if right is not None:
            limit = right.end
            if right.index >= 0:
                self._unfile(right)
        if hole is None:
            hole = right if right is not None else Hole(arena, start, limit)
            hole.start = start
            hole_at[start] = hole
        hole.end = limit
        hole_before[limit] = hole
        if limit - start == arena.size:
            self.empty[arena] = None
        self._file(hole)

    def take(self, size: int, alignment: int) -> Block | None:
        """Find a block of `size` bytes (a multiple of the granule) in the holes.

        Args:
            size: bytes, a positive multiple of `GRANULE`.
            alignment: a power of two; the offset of the block is a multiple of it.

        Returns:
            the block, or None if no hole was found to fit. There may be one nevertheless, in a bin with many
            that do not.
        """
        alignment = max(alignment, GRANULE)
        need = size + alignment - GRANULE
        index = first_sufficient_bin(need)
        available = self._bits >> index
        if available:
            index += (available & -available).bit_length() - 1
            bin_ = self._bins[index]
            hole, _ = bin_.popitem()
            hole.index = -1
            if not bin_:
                self._bits ^= 1 << index
            return self._cut(hole, size, alignment)
        for smaller in range(bin_of(size), index):
            for hole in islice(self._bins.get(smaller, ()), SCAN_LIMIT):
                if ((hole.start + alignment - 1) & -alignment) + size <= hole.end:
                    self._unfile(hole)
                    return self._cut(hole, size, alignment)
        return None

    def take_from(self, hole: Hole, size: int, alignment: int) -> Block | None:
        """Cut a block out of this very hole; None if it does not fit."""
        alignment = max(alignment, GRANULE)
        if ((hole.start + alignment - 1) & -alignment) + size > hole.end:
            return None
        if hole.index >= 0:
            self._unfile(hole)
        return self._cut(hole, size, alignment)

    def reserve(self, size: int, alignment: int) -> Block | None:
        """Find a block by all means short of asking the kernel; arguments and result as of `take`."""
        self.collect()
        block = self.take(size, alignment)
        if block is None and any(self.quick.values()):
            self.consolidate()
            block = self.take(size, alignment)
        return block

    def collect(self) -> None:
        """Make holes of the blocks on `returned`; from time to time also of those on the quick lists."""
        returned = self.returned
        self.countdown -= len(returned)
        while returned:
            arena, start, limit = returned.pop()
            self.give(arena, start, limit)
        if self.countdown <= 0:
            self.countdown = TIDY_INTERVAL
            if self._keeps_too_much():
                self.consolidate()

    def consolidate(self) -> None:
        """Make holes of every block that came back, the quick lists included."""
        returned = self.returned
        while returned:
            arena, start, limit = returned.pop()
            self.give(arena, start, limit)
        for blocks in self.quick.values():
            while blocks:
                arena, start, limit = blocks.pop()
                self.give(arena, start, limit)

    def surplus(self, largest_kept: int) -> bool:
        """Whether there are empty arenas besides the one that is kept for the next request."""
        empty = self.empty
        return len(empty) > 1 or (len(empty) == 1 and next(iter(empty)).size > largest_kept)

    def retire(self, largest_kept: int) -> list[Arena]:
        """Detach the surplus of empty arenas and return it; the largest one that may be kept stays."""
        keep = max((arena for arena in self.empty if arena.size <= largest_kept), key=_size, default=None)
        retired = [arena for arena in self.empty if arena is not keep]
        for arena in retired:
            self.remove(arena)
        return retired

    # Inside.

    def _keeps_too_much(self) -> bool:
        """Whether to empty the quick lists: they hold much, or perhaps keep arenas from being empty."""
        if self._arenas - len(self.empty) > 1 and 2 * self._free > self._size:
            return True
        return sum(size * len(blocks) for size, blocks in self.quick.items()) > QUICK_TOTAL

    def _cut(self, hole: Hole, size: int, alignment: int) -> Block:
        """Take `size` bytes out of an unfiled hole in which they are known to fit; file what is left of it.

        `alignment` is a power of two and at least the granule.
        """
        arena = hole.arena
        hole_start, hole_end = hole.start, hole.end
        if hole_end - hole_start == arena.size:
            del self.empty[arena]
        start = (hole_start + alignment - 1) & -alignment
        limit = start + size
        self._free -= size
        if limit == hole_end:
            del arena.hole_before[limit]
            if start == hole_start:
                del arena.hole_at[start]
            else:
                hole.end = start
                arena.hole_before[start] = hole
                self._file(hole)
        else:
            if start == hole_start:
                del arena.hole_at[start]
                rest = hole
                rest.start = limit
            else:
                hole.end = start
                arena.hole_before[start] = hole
                self._file(hole)
                rest = Hole(arena, limit, hole_end)
                arena.hole_before[hole_end] = rest
            arena.hole_at[limit] = rest
            self._file(rest)
        return arena, start, limit

    def _file(self, hole: Hole) -> None:
        usable = hole.end - ((hole.start + 15) & -16)
        if usable < GRANULE:
            hole.index = -1
            return
        if usable < 512:
            index = usable >> 4
        else:
            bits = usable.bit_length()
            index = (bits << 3) + (usable >> (bits - 4)) - 56
        hole.index = index
        bin_ = self._bins.get(index)
        if bin_ is None:
            bin_ = self._bins[index] = {}
        if not bin_:
            self._bits |= 1 << index
        bin_[hole] = None

    def _unfile(self, hole: Hole) -> None:
        index = hole.index
        hole.index = -1
        bin_ = self._bins[index]
        del bin_[hole]
        if not bin_:
            self._bits ^= 1 << index
