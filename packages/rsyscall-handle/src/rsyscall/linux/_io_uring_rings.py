"""The rings of an io_uring in memory. `rsyscall.linux.io_uring` has the names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from rsyscall.handle.allocation import AllocationInterface
from rsyscall.handle.pointer import Pointer
from rsyscall.linux._io_uring_structs import (
    IORING_FEAT,
    IORING_OFF,
    IORING_SETUP,
    IoUringCqe,
    IoUringParams,
    IoUringSqe,
)
from rsyscall.near.record import NothingToFree
from rsyscall.struct import Int32, Struct
from rsyscall.sys._mman_near import MAP, PROT

if TYPE_CHECKING:
    from rsyscall.handle.mapping import MemoryMapping
    from rsyscall.handle.pointer import MemoryGateway, ReadablePointer

__all__ = ["IoUringRings"]

T_struct = TypeVar("T_struct", bound=Struct)


class _Part(NothingToFree, AllocationInterface):
    """Some bytes of a mapping, which owns them: there may be several of the same bytes."""

    __slots__ = ("_mapping", "_offset", "_size")

    def __init__(self, mapping: MemoryMapping, offset: int, size: int) -> None:
        if not (offset >= 0 and size >= 0 and offset + size <= mapping.near.length):
            raise ValueError(f"{size} bytes at {offset} are not inside {mapping}")
        self._mapping = mapping
        self._offset = offset
        self._size = size

    def offset(self) -> int:
        """Where they begin; UseAfterFreeError once they are unmapped."""
        self._mapping._validate()
        return self._offset

    def size(self) -> int:
        """How many there are."""
        return self._size

    def split(self, size: int) -> tuple[_Part, _Part]:
        """The first `size` bytes, and the rest."""
        if not 0 <= size <= self._size:
            raise ValueError(f"cannot split {size} bytes off {self._size}")
        left = _Part(self._mapping, self._offset, size)
        return left, _Part(self._mapping, self._offset + size, self._size - size)

    def merge(self, other: AllocationInterface) -> _Part:
        """Both; ValueError if `other` does not begin where these end."""
        if (
            not isinstance(other, _Part)
            or other._mapping is not self._mapping
            or other._offset != self._offset + self._size
        ):
            raise ValueError(f"cannot merge {self} with {other}")
        return _Part(self._mapping, self._offset, self._size + other._size)


class _Ring(Protocol):
    """The part of the descriptor of a ring that is used here; the class of it is above this module."""

    async def mmap(
        self, length: int, prot: PROT, flags: MAP, offset: int = 0, page_size: int = 4096
    ) -> MemoryMapping: ...


_WORD = 4
_WRAP = 1 << 32
_OTHER_LAYOUTS = (
    IORING_SETUP.SQPOLL
    | IORING_SETUP.SQE128
    | IORING_SETUP.CQE32
    | IORING_SETUP.NO_MMAP
    | IORING_SETUP.NO_SQARRAY
    | IORING_SETUP.CQE_MIXED
)


class IoUringRings:
    """The rings and entries of an io_uring, mapped in the process that made it, and typed pointers to them.

    `queue` and `reap` are what most programs need; the other methods point to the single members, by the
    names of the kernel. These pointers own nothing: there may be several to the same place, and none is
    usable after `munmap`. Heads and tails are unsigned in the kernel and `Int32` here: take them modulo
    2**32.

    The memory whose address is in an entry must stay allocated until the completion has come. What an
    operation opens has no handle until `Task.make_fd_handle` makes one of the number.

    One coroutine at a time may use `queue`, and one `reap`.

    Example::

        ring, answer = await child.task.io_uring_setup(8, await child.ptr(IoUringParams()))
        rings = await IoUringRings.mmap(ring, answer)
        data = await child.ptr(b"hello")
        entry = IoUringSqe(
            opcode=IORING_OP.WRITE, fd=int(pipe.write), addr=int(data.near), len=data.size(), user_data=1
        )
        await ring.io_uring_enter(await rings.queue(entry), 1, IORING_ENTER.GETEVENTS)
        [done] = await rings.reap()
        assert (done.user_data, done.res) == (1, 5)
        await rings.munmap()
        await ring.close()

    Attributes:
        params: what the rings are like.
        ring: the mapping that has the heads, the tails, the array and the completions.
        sqes: the mapping that has the entries to submit.

    manpage: io_uring(7)
    """

    __slots__ = ("_transport", "params", "ring", "sqes")

    def __init__(
        self, params: IoUringParams, ring: MemoryMapping, sqes: MemoryMapping, transport: MemoryGateway
    ) -> None:
        """Use what `mmap` has mapped; `transport` moves bytes to and from there."""
        self.params: IoUringParams = params
        self.ring: MemoryMapping = ring
        self.sqes: MemoryMapping = sqes
        self._transport = transport

    @classmethod
    async def mmap(
        cls, fd: _Ring, params: ReadablePointer[IoUringParams], page_size: int = 4096
    ) -> IoUringRings:
        """Map what a ring has.

        Args:
            fd, params: what `io_uring_setup` has returned; not consumed. The transport of `params` is used to
                reach the rings.
            page_size: bytes; that of the kernel.

        Raises:
            ValueError: a ring with entries of another size, without an array, in memory of the program's own,
                or polled by the kernel; a kernel before Linux 5.4, which maps both rings apart.
            OSError: as for `mmap` of a descriptor; nothing stays mapped.

        manpage: io_uring_setup(2)
        """
        made = await params.read()
        if made.flags & _OTHER_LAYOUTS:
            raise ValueError("rings of this kind are not supported", made.flags & _OTHER_LAYOUTS)
        if not made.features & IORING_FEAT.SINGLE_MMAP:
            raise ValueError("the kernel has no IORING_FEAT.SINGLE_MMAP", made.features)
        # They come out of the memory of the process: whatever they are, no pointer leaves the mappings.
        for entries in (made.sq_entries, made.cq_entries):
            if entries == 0 or entries & (entries - 1):
                raise ValueError("the number of entries of a ring is a power of two", entries)
        size = max(
            made.sq_off.array + _WORD * made.sq_entries,
            made.cq_off.cqes + IoUringCqe.sizeof() * made.cq_entries,
        )
        ring = await _map_shared(fd, size, IORING_OFF.SQ_RING, page_size)
        try:
            sqes = await _map_shared(fd, IoUringSqe.sizeof() * made.sq_entries, IORING_OFF.SQES, page_size)
        except BaseException:
            await ring.munmap()
            raise
        return cls(made, ring, sqes, params.transport)

    def _pointer(self, mapping: MemoryMapping, offset: int, cls: type[T_struct]) -> Pointer[T_struct]:
        serializer: Any = cls  # which such a class is for its values
        return Pointer(mapping, self._transport, serializer, _Part(mapping, offset, cls.sizeof()), cls)

    def _word(self, offset: int) -> Pointer[Int32]:
        return self._pointer(self.ring, offset, Int32)

    def sq_head(self) -> Pointer[Int32]:
        """How many entries the kernel has taken, ever."""
        return self._word(self.params.sq_off.head)

    def sq_tail(self) -> Pointer[Int32]:
        """How many entries we have queued, ever."""
        return self._word(self.params.sq_off.tail)

    def sq_flags(self) -> Pointer[Int32]:
        """`IORING_SQ_*`, set by the kernel."""
        return self._word(self.params.sq_off.flags)

    def sq_array(self, position: int) -> Pointer[Int32]:
        """The index of the entry that is at this position of the queue, counted from its first, modulo its
        size.
        """
        return self._word(self.params.sq_off.array + _WORD * (position % self.params.sq_entries))

    def sqe(self, index: int) -> Pointer[IoUringSqe]:
        """An entry to submit, modulo how many there are."""
        offset = IoUringSqe.sizeof() * (index % self.params.sq_entries)
        return self._pointer(self.sqes, offset, IoUringSqe)

    def cq_head(self) -> Pointer[Int32]:
        """How many completions we have read, ever."""
        return self._word(self.params.cq_off.head)

    def cq_tail(self) -> Pointer[Int32]:
        """How many completions there have been, ever."""
        return self._word(self.params.cq_off.tail)

    def cqe(self, position: int) -> Pointer[IoUringCqe]:
        """The completion at this position of the queue, counted from its first, modulo its size."""
        offset = self.params.cq_off.cqes + IoUringCqe.sizeof() * (position % self.params.cq_entries)
        return self._pointer(self.ring, offset, IoUringCqe)

    async def queue(self, *entries: IoUringSqe) -> int:
        """Write entries, the array and the tail. The kernel takes them with `io_uring_enter`.

        Returns:
            How many entries wait now: what to give to `io_uring_enter`.

        Raises:
            ValueError: there is no room for all of them, and none is queued; or the head and the tail
                contradict each other.
            UseAfterFreeError: the rings are unmapped.
        """
        tail = await self.sq_tail().read()
        waiting = _distance(await self.sq_head().read(), tail, self.params.sq_entries)
        if waiting + len(entries) > self.params.sq_entries:
            raise ValueError(
                f"no room for {len(entries)} entries: {waiting} of {self.params.sq_entries} wait already"
            )
        for position, entry in enumerate(entries, tail):
            index = position % self.params.sq_entries
            await self.sqe(index).write(entry)
            await self.sq_array(position).write(Int32(index))
        # Only when everything else is there.
        await self.sq_tail().write(_wrapped(tail + len(entries)))
        return waiting + len(entries)

    async def reap(self) -> list[IoUringCqe]:
        """Read the completions that are there, and move the head behind them. Does not wait.

        If cancelled, the head has not moved, unless that was done last.

        Raises:
            ValueError: the head and the tail contradict each other.
            UseAfterFreeError: the rings are unmapped.
        """
        head = await self.cq_head().read()
        count = _distance(head, await self.cq_tail().read(), self.params.cq_entries)
        done = [await self.cqe(head + position).read() for position in range(count)]
        if done:
            await self.cq_head().write(_wrapped(head + count))
        return done

    async def munmap(self) -> None:
        """Unmap both mappings. The ring goes on until its descriptor is closed.

        Raises:
            UseAfterFreeError: they are unmapped already.

        manpage: munmap(2)
        """
        try:
            await self.sqes.munmap()
        finally:
            await self.ring.munmap()


async def _map_shared(fd: _Ring, size: int, offset: IORING_OFF, page_size: int) -> MemoryMapping:
    """Map at least `size` bytes."""
    length = -(-size // page_size) * page_size
    flags = MAP.SHARED
    return await fd.mmap(length, PROT.READ | PROT.WRITE, flags, offset=offset, page_size=page_size)


def _wrapped(count: int) -> Int32:
    """A count of the kernel, which has 32 bits, as the signed number with the same bits."""
    return Int32((count + _WRAP // 2) % _WRAP - _WRAP // 2)


def _distance(head: int, tail: int, entries: int) -> int:
    """How many are between the head and the tail of a ring; ValueError if it has not so many entries."""
    distance = (tail - head) % _WRAP
    if distance > entries:
        raise ValueError(f"head {head} and tail {tail} are of no ring with {entries} entries")
    return distance
