"""Typed, owned pointers to memory in some address space.

A pointer owns an allocation. Operations that change what is known about the memory *consume* the pointer: it
becomes invalid, and they return new pointers which own the allocation, or parts of it. For example `read`
returns its buffer as two pointers, to the part that it has filled and to the rest.

The class of a pointer tells what is in the memory:

* `Pointer`: nothing is known about the contents (it can be read all the same);
* `ReadablePointer`: the kernel has put a value there;
* `LinearPointer`: the same, where reading the value creates resources, so it must be read exactly once;
* `WrittenPointer`: a value that we have written.

A system call takes the address with `borrow`, which pins the memory: when a pointer is freed while a call
uses it (by another coroutine, say), the pointer becomes invalid at once, but the memory is given back only
after the call.

The four classes are one module, since the operations of each class make objects of the others.
"""

from __future__ import annotations

import abc
import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import rsyscall.near
from rsyscall.far import AddressSpaceMismatchError
from rsyscall.handle.allocation import (
    AllocationInterface,
    UseAfterFreeError,
    WouldWaitError,
)
from rsyscall.handle.fd import ManipulatingFDTableError
from rsyscall.handle.mapping import MemoryMapping
from rsyscall.near.record import Borrow, DroppedPointer, borrow_pointer, successor
from rsyscall.struct import Serializer

if TYPE_CHECKING:
    import rsyscall.far
    from rsyscall.near.record import CallRecord

__all__ = [
    "LinearPointer",
    "LinearReadError",
    "MemoryGateway",
    "PathPointer",
    "Pointer",
    "PointerMergeError",
    "ReadablePointer",
    "UseAfterFreeError",
    "WrittenPointer",
]

logger: logging.Logger = logging.getLogger(__name__)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
U = TypeVar("U")


def not_a_pointer(value: object) -> TypeError:
    """The error for a path that is not a pointer; says how to make one."""
    return TypeError(f"expected a pointer to a path, not {value!r}: await thread.ptr({value!r}) makes one")


def check_pointers(*values: object) -> None:
    """Refuse strings of Python where a call takes several pointers.

    Raises:
        TypeError: says how to make a pointer.
    """
    for value in values:
        if not isinstance(value, Pointer):
            raise TypeError(f"expected a pointer, not {value!r}: await thread.ptr({value!r}) makes one")


class PointerMergeError(Exception):
    """Two pointers cannot be merged because the second does not begin where the first ends."""


class LinearReadError(Exception):
    """The value behind a `LinearPointer` was read a second time."""


class MemoryGateway(abc.ABC):
    """Moves bytes between our own memory and the memory that a pointer points to.

    An implementation takes the address with `pointer.borrow(task)` or `pointer.near`, which raise if the
    pointer is not usable. Transfers of zero bytes do nothing. Once a transfer has been sent, the caller waits
    for its end even when it is cancelled.

    Attributes:
        read_now, write_now: the same as plain functions, for a gateway that never waits; None for others.
            Pointers prefer them: most transfers are so short that a coroutine would take most of the time.
            They may raise `WouldWaitError`.
    """

    __slots__ = ()

    read_now: Callable[[Pointer[Any]], bytes] | None = None
    write_now: Callable[[Pointer[Any], bytes], None] | None = None

    @abc.abstractmethod
    async def read(self, src: Pointer[Any]) -> bytes:
        """Return all `src.size()` bytes."""

    @abc.abstractmethod
    async def write(self, dest: Pointer[Any], data: bytes) -> None:
        """Put `data`, which is no longer than `dest`, at its start; the bytes behind it stay as they were."""


class Pointer(DroppedPointer, Generic[T]):
    """Owned memory with room for a `T`. Compared by identity.

    Usually made by `malloc` or `ptr` of the memory layer, not directly.

    Args:
        mapping: the mapping that the memory is in.
        transport: moves bytes to and from the memory.
        serializer: converts values.
        allocation: the range inside the mapping; owned by the pointer from now on.
        typ: the type of the value, for people and for the memory layer.
    """

    __slots__ = ("__weakref__",)

    # The fields are those of DroppedPointer, which has set what `__init__` does not.
    mapping: MemoryMapping
    transport: MemoryGateway
    serializer: Serializer[T]
    allocation: AllocationInterface
    typ: type[T]
    valid: bool
    _address: rsyscall.near.Address | None
    # How many borrows of this very object are going on.
    _pins: int
    # Consumed pointers to (parts of) the same memory that are still borrowed.
    _pinned_by: tuple[Pointer[Any], ...]
    # Freed when the last borrow of this object ends: each allocation, and the pointers that also pin it.
    _waiting: list[tuple[AllocationInterface, tuple[Pointer[Any], ...]]] | None

    def __init__(
        self,
        mapping: MemoryMapping,
        transport: MemoryGateway,
        serializer: Serializer[T],
        allocation: AllocationInterface,
        typ: type[T],
    ) -> None:
        self.mapping = mapping
        self.transport = transport
        self.serializer = serializer
        self.allocation = allocation
        self.typ = typ

    # Validity and addresses

    def _validate(self) -> None:
        """Raise UseAfterFreeError unless this pointer owns its memory."""
        if not self.valid:
            raise UseAfterFreeError(
                f"handle is no longer valid: {self!r} was freed or consumed by an operation"
            )

    @property
    def near(self) -> rsyscall.near.Address:
        """The address, in the address space of the mapping's task; UseAfterFreeError if invalid."""
        if not self.valid:
            self._validate()
        # Each time, since it raises if the allocation is gone.
        offset = self.allocation.offset()
        address = self._address
        if address is None:
            address = self._address = rsyscall.near.Address(self.mapping.near.address + offset)
        return address

    def size(self) -> int:
        """Return the size of the memory in bytes."""
        return self.allocation.size()

    def check_address_space(self, task: rsyscall.far.Task) -> None:
        """Raise AddressSpaceMismatchError(task's, ours) unless `task` has our address space; SyscallSendError
        if its process has exited or executed a program.
        """
        task.check_address_space(self.mapping.task.address_space)

    def borrow(self, task: rsyscall.far.Task) -> Borrow[rsyscall.near.Address]:
        """Context manager giving the address for use in a system call of `task`; the memory stays until it is
        left.

        Raises (on entry):
            UseAfterFreeError: this pointer was freed or consumed.
            AddressSpaceMismatchError: `task` has another address space.
            SyscallSendError: the process of `task` has exited or executed a program.
        """
        return borrow_pointer(self, task)

    # Freeing

    def free(self) -> None:
        """Give the memory back; when a borrow is going on, as soon as that ends. Harmless when done twice."""
        if self.valid:
            self.valid = False
            if self._pins or self._pinned_by:
                _free_when_unpinned(self.allocation, (self, *self._pinned_by))
            else:
                self.allocation.free()

    # The destructor of DroppedPointer frees a pointer that is dropped. This tells it that the contents of the
    # memory need no owner.
    _gone = True

    def _free_waiting(self) -> None:
        waiting, self._waiting = self._waiting, None
        for allocation, pinned_by in waiting or ():
            _free_when_unpinned(allocation, pinned_by)

    def _consume(self) -> tuple[Pointer[Any], ...]:
        """Become invalid without freeing; return the pointers that pin the memory, for its new owner."""
        self._validate()
        self.valid = False
        if self._pins or self._pinned_by:
            pinned_by = tuple(ptr for ptr in (self, *self._pinned_by) if ptr._pins)
            self._pinned_by = ()
            return pinned_by
        return ()

    def _make(
        self,
        allocation: AllocationInterface,
        pinned_by: tuple[Pointer[Any], ...],
        mapping: MemoryMapping | None = None,
    ) -> Pointer[T]:
        new = Pointer(mapping or self.mapping, self.transport, self.serializer, allocation, self.typ)
        new._pinned_by = pinned_by
        return new

    # Moving values

    def _to_bytes(self, value: T) -> bytes:
        data = self.serializer.to_bytes(value)
        if len(data) > self.size():
            raise ValueError(
                f"{len(data)} bytes of {value!r} do not fit into the {self.size()} bytes of {self!r}"
            )
        return data

    async def write(self, value: T) -> WrittenPointer[T]:
        """Put `value` into the memory. Consumes this pointer, unless it fails.

        Raises:
            ValueError: the serialised value is longer than the memory.
            UseAfterFreeError: this pointer was freed or consumed, possibly while the value was on its way.

        If cancelled, the contents are undefined and the pointer stays valid.
        """
        transport = self.transport
        if transport.write_now is not None:
            # No other code runs during the write, so nothing is pinned; the transport makes all checks.
            try:
                transport.write_now(self, self.serializer.to_bytes(value))
            except WouldWaitError:
                pass
            else:
                return self.wrote(value)
        self._validate()
        data = self._to_bytes(value)
        with borrow_pointer(self, None):  # for no particular task
            await transport.write(self, data)
        return self.wrote(value)

    async def read(self) -> T:
        """Return the value in the memory, all `size()` bytes of it. Does not consume the pointer."""
        transport = self.transport
        if transport.read_now is not None:
            try:
                data = transport.read_now(self)
            except WouldWaitError:
                pass
            else:
                return self.serializer.from_bytes(data)
        self._validate()
        with borrow_pointer(self, None):  # for no particular task
            data = await transport.read(self)
        return self.serializer.from_bytes(data)

    # Taking apart and putting together

    def split(self, size: int) -> tuple[Pointer[T], Pointer[T]]:
        """Return pointers to the first `size` bytes and to the rest. Consumes this pointer.

        Raises:
            ValueError: `size` is negative or more than there is; the pointer stays valid.
        """
        left, right, pinned_by = self._split(size)
        return self._make(left, pinned_by), self._make(right, pinned_by)

    def _split(self, size: int) -> tuple[AllocationInterface, AllocationInterface, tuple[Pointer[Any], ...]]:
        """Consume this pointer; return the two parts of the allocation, and what pins them."""
        self._validate()
        allocation = self.allocation
        if not 0 <= size <= allocation.size():
            raise ValueError(f"can't split {size} bytes off the {self.size()} bytes of {self!r}")
        left, right = allocation.split(size)
        return left, right, self._consume()

    def readable_split(self, size: int) -> tuple[ReadablePointer[T], Pointer[T]]:
        """Split, where the kernel has filled the first `size` bytes. Consumes this pointer."""
        left, right, pinned_by = self._split(size)
        filled = ReadablePointer(self.mapping, self.transport, self.serializer, left, self.typ)
        filled._pinned_by = pinned_by
        return filled, self._make(right, pinned_by)

    def merge(self, ptr: Pointer[T]) -> Pointer[T]:
        """Join with `ptr`, which must begin where this pointer ends, in the same piece of memory. Consumes
        both.

        Raises:
            PointerMergeError: they are not neighbours in this order; both stay valid.
        """
        self._validate()
        ptr._validate()
        if self is ptr:
            raise PointerMergeError(f"can't merge {self!r} with itself")
        mapping, other = self.mapping, ptr.mapping
        if mapping is not other and (mapping.file is not other.file or mapping.near != other.near):
            raise PointerMergeError(f"{self!r} and {ptr!r} are not in the same mapping")
        ours, theirs = self.allocation, ptr.allocation
        if ours.offset() + ours.size() != theirs.offset():
            raise PointerMergeError(f"{ptr!r} does not begin where {self!r} ends")
        allocation = ours.merge(theirs)
        pinned_by = self._consume()
        also = ptr._consume()
        if also:
            pinned_by = (*pinned_by, *(pin for pin in also if pin not in pinned_by))
        return self._make(allocation, pinned_by)

    def _unmerge(self, left: Pointer[T], right: Pointer[T], size: int) -> None:
        """Undo `left.merge(right)`, which returned this pointer. Consumes this pointer; both are valid again.

        Args:
            size: that of `left`.
        """
        *parts, pinned_by = self._split(size)
        for ptr, allocation in zip((left, right), parts, strict=True):
            ptr.allocation = allocation
            ptr._pinned_by = tuple(pin for pin in pinned_by if pin is not ptr)
            ptr.valid = True

    def __add__(self, right: Pointer[T]) -> Pointer[T]:
        """`left + right` is `left.merge(right)`."""
        if not isinstance(right, Pointer):
            return NotImplemented
        return self.merge(right)

    def __radd__(self, left: Pointer[T] | None) -> Pointer[T]:
        """`None + ptr` is `ptr`, so that a loop can start with None and add what it got."""
        if left is None:
            return self
        return NotImplemented

    def split_from_end(self, size: int, alignment: int) -> tuple[Pointer[T], Pointer[T]]:
        """Split so that the second part begins at an aligned address and holds at least `size` bytes.
        Consumes this pointer.

        Args:
            size: bytes; as few more as the alignment demands are split off.
            alignment: the absolute address of the second part is a multiple of this.

        Raises:
            ValueError: there is not enough room; the pointer stays valid.
        """
        if size < 0 or alignment < 1:
            raise ValueError(f"size {size} must not be negative, alignment {alignment} must be positive")
        start = int(self.near)
        wanted = start + self.size() - size
        wanted -= wanted % alignment
        if wanted < start:
            raise ValueError(
                f"{self!r} has no room for {size} bytes at an address that is a multiple of {alignment}"
            )
        return self.split(wanted - start)

    async def write_to_end(self, value: T, alignment: int) -> tuple[Pointer[T], WrittenPointer[T]]:
        """Put `value` near the end of the memory, at an aligned address. Consumes this pointer.

        Up to `alignment - 1` bytes behind the value may be left over; they are freed.

        Returns:
            The memory in front of the value, and the value.

        Raises:
            ValueError: there is not enough room; the pointer stays valid.
        """
        data = self._to_bytes(value)
        rest, end = self.split_from_end(len(data), alignment)
        if end.size() > len(data):
            end, surplus = end.split(len(data))
            surplus.free()
        return rest, await end.write(value)

    # Changing what is known about the memory

    def unsafe(self) -> ReadablePointer[T]:
        """Claim that the memory holds a proper value. Consumes this pointer."""
        pinned_by = self._consume()
        new = ReadablePointer(self.mapping, self.transport, self.serializer, self.allocation, self.typ)
        new._pinned_by = pinned_by
        return new

    def _linearize(self, record: CallRecord | None = None) -> LinearPointer[T]:
        """Mark the memory as holding resources, which `record` owns, if it knows them."""
        pinned_by = self._consume()
        new = LinearPointer(self.mapping, self.transport, self.serializer, self.allocation, self.typ, record)
        new._pinned_by = pinned_by
        return new

    def wrote(self, value: T) -> WrittenPointer[T]:
        """Claim that the memory holds `value`. Consumes this pointer."""
        new: WrittenPointer[T] | None = successor(self, WrittenPointer, value)
        if new is None:
            pinned_by = self._consume()
            new = WrittenPointer(
                self.mapping, self.transport, value, self.serializer, self.allocation, self.typ
            )
            new._pinned_by = pinned_by
        return new

    def _reinterpret(self, serializer: Serializer[U], typ: type[U]) -> Pointer[U]:
        """Mark the memory as being for another type of value. Consumes this pointer."""
        pinned_by = self._consume()
        new = Pointer(self.mapping, self.transport, serializer, self.allocation, typ)
        new._pinned_by = pinned_by
        return new

    def with_allocation(self, allocation: AllocationInterface) -> Pointer[T]:
        """Return a pointer to another allocation of the same mapping. Does not consume this pointer."""
        return self._make(allocation, ())

    def _describe(self) -> str:
        """What is in the parentheses of repr; must not raise, whatever the state."""
        try:
            return f"{self.near}, {self.size()}"
        except TypeError:
            # Of a native function only the address is known.
            return str(self.near)
        except UseAfterFreeError:
            return "freed" if not self.valid else "allocation freed"

    def __repr__(self) -> str:
        try:
            name = getattr(self.typ, "__name__", self.typ)
            return f"{type(self).__name__}[{name}]({self._describe()})"
        except Exception as exn:
            return f"<{type(self).__name__}, {type(exn).__name__} in repr>"


class ReadablePointer(Pointer[T]):
    """Memory that the kernel has put a `T` into."""

    __slots__ = ()


class LinearPointer(ReadablePointer[T]):
    """Memory that the kernel has put a `T` into, where `T` contains resources such as file descriptors.

    It must be read exactly once: reading twice would make two owners for the resources. If the pointer is
    dropped before it has been read, or consumed for a pointer of another kind or with other contents,
    descriptors in our own memory are closed. Those in other memory leak then, which is logged as an error.

    Attributes:
        been_read: whether the value has been read.
    """

    __slots__ = ("_gone", "_record", "been_read")

    been_read: bool

    def __init__(
        self,
        mapping: MemoryMapping,
        transport: MemoryGateway,
        serializer: Serializer[T],
        allocation: AllocationInterface,
        typ: type[T],
        _record: CallRecord | None = None,
    ) -> None:
        # Owns the resources in the value, as far as they are known.
        self._record = _record
        self.been_read = False
        super().__init__(mapping, transport, serializer, allocation, typ)
        # Whether the resources in the value need no owner any more: the process has exited or executed a
        # program, or is about to, which closes them; or we have given them up, and logged that.
        self._gone = False

    async def read(self) -> T:
        """Return the value. Can be done once; the pointer stays valid, to reuse the memory.

        If moving the bytes fails or is cancelled, or nothing in the value could be taken over, it counts as
        not read.

        Raises:
            LinearReadError: the value has been read.
        """
        self._validate()
        if self.been_read:
            raise LinearReadError(f"{self!r} has been read already; its contents have an owner")
        # set before waiting, so that of two concurrent reads one fails
        self.been_read = True
        try:
            with borrow_pointer(self, None):  # for no particular task
                data = await self.transport.read(self)
        except BaseException as exn:
            self.been_read = False
            self._gone = self.mapping.task.departed or isinstance(exn, AddressSpaceMismatchError)
            raise
        try:
            return self.serializer.from_bytes(data)
        except BaseException as exn:
            # A task that cannot make handles now has made none of those in the value.
            changing = isinstance(exn, ManipulatingFDTableError)
            if changing or getattr(self.serializer, "all_or_nothing", False):
                self.been_read = False
            # Most likely the task is about to execute a program, which closes it.
            self._gone = changing
            raise

    async def linear_read(self) -> tuple[T, Pointer[T]]:
        """Return the value, and the memory as an empty pointer. Consumes this pointer."""
        value = await self.read()
        return value, self._make(self.allocation, self._consume())

    def free(self) -> None:
        """Give the memory back; logs an error if the value was never read."""
        self._give_up("dropped")
        super().free()

    def _consume(self) -> tuple[Pointer[Any], ...]:
        self._give_up("consumed")
        return super()._consume()

    def wrote(self, value: T) -> WrittenPointer[T]:
        """As for any pointer; logs an error if the value was never read."""
        self._give_up("overwritten")
        return super().wrote(value)

    def _give_up(self, how: str) -> None:
        """Log an error if the resources in the value will never have an owner."""
        if self.valid and not self.been_read and not self._gone:
            self._gone = True
            if self._record is None or not self._record.sees_memory:
                self._log_loss(how)

    def _log_loss(self, how: str) -> None:
        logger.error("%r is %s without having been read: what it contains is leaked", self, how)


class WrittenPointer(Pointer[T_co]):  # type: ignore[type-var]  # see below
    """Memory that holds a value which we know. Also given as an argument where a system call reads memory.

    It is covariant although `Pointer` is not: the value is there and does not change. Writing another value
    consumes the object and returns a new one of the type of that value.

    Args:
        mapping, transport, serializer, allocation, typ: as for `Pointer`.
        value: what is in the memory.
    """

    __slots__ = ("value",)

    value: T_co

    def __init__(
        self,
        mapping: MemoryMapping,
        transport: MemoryGateway,
        value: T_co,
        serializer: Serializer[T_co],
        allocation: AllocationInterface,
        typ: type[T_co],
    ) -> None:
        self.value = value
        super().__init__(mapping, transport, serializer, allocation, typ)

    def _describe(self) -> str:
        try:
            return f"{self.near}, {self.value!r}"
        except UseAfterFreeError:
            return f"freed, {self.value!r}"


PathPointer: TypeAlias = WrittenPointer[str | os.PathLike[str]]
"""A path in memory, for a call that takes one."""


def _free_when_unpinned(allocation: AllocationInterface, pinned_by: tuple[Pointer[Any], ...]) -> None:
    """Free the allocation when none of the pointers is borrowed any more, at once if that is so now."""
    for ptr in pinned_by:
        if ptr._pins:
            if ptr._waiting is None:
                ptr._waiting = []
            ptr._waiting.append((allocation, pinned_by))
            return
    allocation.free()
