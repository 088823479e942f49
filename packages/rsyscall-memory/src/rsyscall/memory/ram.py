"""Typed memory: room for values of some type, and values where a system call can read them."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from rsyscall import far
from rsyscall.handle.allocation import AllocationInterface
from rsyscall.handle.pointer import Pointer, WrittenPointer
from rsyscall.memory.allocation_interface import AllocatorInterface
from rsyscall.memory.transport import MemoryTransport, write_all
from rsyscall.near import types as near
from rsyscall.near.record import NothingToFree
from rsyscall.near.sysif import UnusableSyscallInterface
from rsyscall.struct import (
    BytesSerializer,
    FixedSerializer,
    FixedSize,
    HasSerializer,
    PathLikeSerializer,
    Serializable,
    Serializer,
    StrSerializer,
    T_fixed_serializer,
    T_fixed_size,
    T_has_serializer,
    T_pathlike,
    strpath_to_null_terminated_bytes,
)
from rsyscall.sys.mman import MemoryMapping

if TYPE_CHECKING:
    from rsyscall.handle.task import Task

__all__ = [
    "RAM",
    "BatchWriteSemantics",
    "BytesSerializer",
    "LaterAllocator",
    "NoopTransport",
    "NullAllocation",
    "PrefilledAllocator",
    "perform_batch",
]

T = TypeVar("T")

ALIGNMENT = 8
"""Everything is aligned to this many bytes: enough for every struct, and for futex words."""

_BYTES = BytesSerializer()
_STR = StrSerializer()
_GET_SERIALIZER = getattr(Serializable.get_serializer, "__func__", object())


class RAM:
    """The memory of a task.

    Attributes:
        task: whose memory it is. File descriptors in what is read become handles of this task.
        transport: moves the bytes.
        allocator: says where there is room.
    """

    def __init__(self, task: Task, transport: MemoryTransport, allocator: AllocatorInterface) -> None:
        self.task = task
        self.transport = transport
        self.allocator = allocator
        # Types that are their own serializers for any task, and the size of their values if it is fixed.
        self._plain: dict[type[Any], int | None] = {}

    @property
    def allocator(self) -> AllocatorInterface:
        """Says where there is room."""
        return self._allocator

    @allocator.setter
    def allocator(self, allocator: AllocatorInterface) -> None:
        self._allocator = allocator
        # Our own allocators have a method that finds room without a coroutine.
        self._allocate_now = getattr(allocator, "allocate_now", _never)

    # True in subclasses that override _write_to_pointer, which the short path in ptr() does not call.
    _overrides_write = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._overrides_write = cls._write_to_pointer is not RAM._write_to_pointer

    @overload
    async def malloc(self, cls: type[T_fixed_size]) -> Pointer[T_fixed_size]: ...
    @overload
    async def malloc(self, cls: type[T_fixed_serializer], size: int) -> Pointer[T_fixed_serializer]: ...
    @overload
    async def malloc(self, cls: type[T_pathlike], size: int) -> Pointer[T_pathlike]: ...
    @overload
    async def malloc(self, cls: type[str], size: int) -> Pointer[str]: ...
    @overload
    async def malloc(self, cls: type[bytes], size: int) -> Pointer[bytes]: ...

    async def malloc(self, cls: type[Any], size: int | None = None) -> Pointer[Any]:
        """Allocate memory for a value of type `cls`. Its contents are undefined.

        Args:
            cls: a type whose values all have the same size; or, with `size`, another type that has a
                serializer, `str`, `bytes` or a path type.
            size: bytes, for types whose values vary in size; 0 is allowed. For `str` and paths the
                terminating NUL counts.

        Returns:
            a pointer to uninitialised memory of the size asked for, at an address that is a multiple of 8.
            The memory is freed when the pointer is dropped or `free` is called.

        Raises:
            TypeError: `cls` has no serializer; `size` is missing, or given for a type with a fixed size.
            ValueError: `size` is negative.
            OSError: ENOMEM.
            SyscallError: the process was lost while memory was being mapped in it.
        """
        serializer: Any
        if size is None:
            size = self._plain.get(cls)
            if size is not None:
                serializer = cls
            else:
                if not issubclass(cls, FixedSize):
                    raise TypeError(
                        f"values of type {cls.__name__} vary in size: malloc needs the number of bytes"
                    )
                size = cls.sizeof()
                serializer = cls.get_serializer(self.task)
                self._remember(cls)
        else:
            serializer = self._serializer_for(cls)
        mapping, allocation = self._allocate_now(size, ALIGNMENT) or await self._allocator.malloc(
            size, ALIGNMENT
        )
        return Pointer(mapping, self.transport, serializer, allocation, cls)

    def allocate_here(self, size: int) -> tuple[int, object] | None:
        """Allocate memory of this very program without the cost of a pointer; the caller writes there.

        Returns:
            the address, and an object that keeps the memory; None if this is not memory of this program, or
            if that takes a system call, which `malloc` makes.
        """
        found = self._allocate_now(size, ALIGNMENT) if self.transport.is_here else None
        if found is None:
            return None
        mapping, allocation = found
        return mapping.near.address + allocation.start, allocation

    def _remember(self, cls: type[HasSerializer]) -> None:
        """Remember the type if it is its own serializer. One that needs a task, to make handles, is not."""
        if (
            issubclass(cls, Serializable)
            and cls.get_self_serializer is Serializable.get_self_serializer
            and getattr(cls.get_serializer, "__func__", None) is _GET_SERIALIZER
        ):
            self._plain[cls] = cls.sizeof() if issubclass(cls, FixedSize) else None

    def _serializer_for(self, cls: type[Any]) -> Serializer[Any]:
        """A serializer for a type whose values vary in size."""
        if cls is bytes:
            return _BYTES
        if issubclass(cls, FixedSize):
            raise TypeError(f"the size of {cls.__name__} is fixed: malloc takes no number of bytes for it")
        if issubclass(cls, FixedSerializer):
            return cls.get_serializer(self.task)
        if hasattr(cls, "__fspath__"):
            return PathLikeSerializer(cls)
        if issubclass(cls, str):
            return _STR
        if issubclass(cls, bytes):
            return _BYTES
        raise TypeError(f"no serializer is known for the type {cls.__name__}")

    @overload
    async def ptr(self, data: T_has_serializer) -> WrittenPointer[T_has_serializer]: ...
    @overload
    async def ptr(self, data: T_pathlike) -> WrittenPointer[T_pathlike]: ...
    @overload
    async def ptr(self, data: str) -> WrittenPointer[str]: ...
    @overload
    async def ptr(self, data: bytes) -> WrittenPointer[bytes]: ...

    async def ptr(self, data: Any) -> WrittenPointer[Any]:
        """Put a value in memory.

        Args:
            data: a value that has a serializer; a path or a string, which get a terminating NUL; or bytes,
                which are written as they are.

        Returns:
            a pointer to memory of exactly the size of the serialised value, at an address that is a multiple
            of 8.

        Raises:
            TypeError: no serializer is known for the value.
            ValueError: a path or string contains a NUL character.
            OSError: ENOMEM, EFAULT.
            SyscallError: the process was lost.

        If it fails or is cancelled, the memory has been given back.
        """
        cls = type(data)
        serializer: Any
        if cls is bytes:
            serializer = _BYTES
            encoded = data
        elif cls is str:
            serializer = _STR
            encoded = strpath_to_null_terminated_bytes(data)
        elif cls in self._plain:
            serializer = cls
            encoded = data.to_bytes()
        else:
            serializer = self._serializer_of(data)
            encoded = serializer.to_bytes(data)
        size = len(encoded)
        mapping, allocation = self._allocate_now(size, ALIGNMENT) or await self._allocator.malloc(
            size, ALIGNMENT
        )
        if self._overrides_write:
            return await self._write_new(
                Pointer(mapping, self.transport, serializer, allocation, cls), data, encoded
            )
        transport = self.transport
        pointer = WrittenPointer(mapping, transport, data, serializer, allocation, cls)
        try:
            await transport.write(pointer, encoded)
        except BaseException:
            pointer.free()
            raise
        return pointer

    def _serializer_of(self, data: Any) -> Serializer[Any]:
        """A serializer for this very value."""
        if isinstance(data, HasSerializer):
            self._remember(type(data))
            return data.get_self_serializer(self.task)
        if isinstance(data, os.PathLike):
            return PathLikeSerializer(type(data))
        if isinstance(data, str):
            return _STR
        if isinstance(data, bytes):
            return _BYTES
        raise TypeError(f"no serializer is known for a value of type {type(data).__name__}: {data!r}")

    async def perform_batch(
        self, op: Callable[[RAM], Awaitable[T]], allocator: AllocatorInterface | None = None
    ) -> T:
        """Make several pointers with one allocation, and write them together.

        See the function `perform_batch` for what `op` may do and what can be raised.

        Args:
            op: makes the pointers with the `RAM` it is given.
            allocator: where to allocate instead of in `self.allocator`.
        """
        return await perform_batch(self.task, self.transport, allocator or self._allocator, op)

    async def malloc_serializer(self, serializer: Serializer[T], size: int, typ: type[T]) -> Pointer[T]:
        """Allocate `size` bytes for a value of type `typ`, which `serializer` reads and writes.

        Raises:
            ValueError: `size` is negative.
            OSError: ENOMEM.
            SyscallError: the process was lost while memory was being mapped in it.
        """
        mapping, allocation = self._allocate_now(size, ALIGNMENT) or await self._allocator.malloc(
            size, ALIGNMENT
        )
        return Pointer(mapping, self.transport, serializer, allocation, typ)

    async def _write_to_pointer(self, ptr: Pointer[T], data: T, data_bytes: bytes) -> WrittenPointer[T]:
        """Write a serialised value, consuming `ptr`. Subclasses may override it."""
        await ptr.transport.write(ptr, data_bytes)
        return ptr.wrote(data)

    async def _write_new(self, ptr: Pointer[T], data: T, data_bytes: bytes) -> WrittenPointer[T]:
        try:
            return await self._write_to_pointer(ptr, data, data_bytes)
        except BaseException:
            ptr.free()
            raise


def _never(size: int, alignment: int) -> None:
    """The `allocate_now` of allocators that have none."""


# Batches. Several pointers that are needed together, such as the arguments of execve, could be made one by
# one, each with an allocation and a write. A batch makes them with one allocation, so that they lie next to
# each other, and with one transfer. How much memory is needed is known only after the code that makes the
# pointers has run; and since a value may contain the addresses of others, that code needs addresses to run.
# So it runs twice: once with null pointers, to learn the sizes, and once more with the real memory.


class NullAllocation(NothingToFree, AllocationInterface):
    """Stands for memory that does not exist, of any size. Freeing it does nothing."""

    __slots__ = ("_offset", "_size")

    def __init__(self, n: int, _offset: int = 0) -> None:
        self._size = n
        self._offset = _offset

    def offset(self) -> int:
        """0, or where in the allocation that was split this part begins."""
        return self._offset

    def size(self) -> int:
        """The number of bytes this stands for."""
        return self._size

    def split(self, size: int) -> tuple[NullAllocation, NullAllocation]:
        """One for the first `size` bytes and one for the rest; ValueError if there are not as many."""
        if not 0 <= size <= self._size:
            raise ValueError(f"cannot split {size} bytes off an allocation of {self._size}")
        return NullAllocation(size, self._offset), NullAllocation(self._size - size, self._offset + size)

    def merge(self, other: AllocationInterface) -> NullAllocation:
        """One for both; ValueError if `other` does not begin where this one ends."""
        if not isinstance(other, NullAllocation) or other._offset != self._offset + self._size:
            raise ValueError(f"cannot merge {self} with {other}")
        return NullAllocation(self._size + other._size, self._offset)

    def __repr__(self) -> str:
        return f"NullAllocation({self._size}, {self._offset})"


class LaterAllocator(AllocatorInterface):
    """Hands out null allocations, and records the requests.

    Attributes:
        allocations: the (size, alignment) of each request, in order.
    """

    def __init__(self, task: Task | None = None) -> None:
        """Hand out null allocations in a mapping of `task`, or else of a task that cannot do anything."""
        self.allocations: list[tuple[int, int]] = []
        owner = task if task is not None else cast("Task", _nobody())
        self._mapping = MemoryMapping(owner, near.MemoryMapping(0, 0, 1), far.File())

    async def malloc(self, size: int, alignment: int) -> tuple[MemoryMapping, NullAllocation]:
        """Record the request. Never suspends."""
        if size < 0:
            raise ValueError(f"cannot allocate a negative number of bytes: {size}")
        self.allocations.append((size, alignment))
        return self._mapping, NullAllocation(size)


def _nobody() -> far.Task:
    return far.Task(
        UnusableSyscallInterface(), near.Process(0), far.FDTable(0), far.AddressSpace(0), far.PidNamespace(0)
    )


class NoopTransport(MemoryTransport):
    """Drops what is written. There is nothing to read."""

    __slots__ = ()

    async def read(self, src: Pointer[Any]) -> bytes:
        """Raise RuntimeError."""
        raise RuntimeError("memory cannot be read in a batch: nothing has been written yet")

    async def write(self, dest: Pointer[Any], data: bytes) -> None:
        """Do nothing."""

    def inherit(self, task: Task) -> NoopTransport:
        """Return this very transport."""
        return self


class PrefilledAllocator(AllocatorInterface):
    """Hands out the allocations that it was given, in their order.

    Attributes:
        allocations: those that have not been handed out yet, in reverse order.
    """

    def __init__(self, allocations: Sequence[tuple[MemoryMapping, AllocationInterface]]) -> None:
        self.allocations: list[tuple[MemoryMapping, AllocationInterface]] = list(reversed(allocations))

    async def malloc(self, size: int, alignment: int) -> tuple[MemoryMapping, AllocationInterface]:
        """Hand out the next allocation. Never suspends.

        Raises:
            RuntimeError: it is not of this size or alignment, or there is none left.
        """
        if not self.allocations:
            raise RuntimeError(f"the batch asked for more memory the second time it ran: {size} bytes")
        mapping, allocation = self.allocations[-1]
        if allocation.size() != size or (mapping.near.address + allocation.offset()) % alignment:
            raise RuntimeError(
                f"the batch asked for {allocation.size()} bytes the first time it ran, "
                f"and the second time for {size} aligned to {alignment}"
            )
        self.allocations.pop()
        return mapping, allocation

    def free(self) -> None:
        """Free the allocations that have not been handed out."""
        while self.allocations:
            self.allocations.pop()[1].free()


class BatchWriteSemantics(RAM):
    """Makes the writes of `ptr` later, all together.

    Attributes:
        writes: the bytes to write, and where.
    """

    def __init__(self, task: Task, transport: MemoryTransport, allocator: AllocatorInterface) -> None:
        super().__init__(task, transport, allocator)
        self.writes: list[tuple[Pointer[Any], bytes]] = []

    async def _write_to_pointer(self, ptr: Pointer[T], data: T, data_bytes: bytes) -> WrittenPointer[T]:
        """Record the write. Never suspends."""
        written = ptr.wrote(data)
        self.writes.append((written, data_bytes))
        return written


async def perform_batch(
    task: Task,
    transport: MemoryTransport,
    allocator: AllocatorInterface,
    batch: Callable[[RAM], Awaitable[T]],
) -> T:
    """Make several pointers with one allocation, next to each other, and write their values together.

    `batch` is run twice: first to find out how much memory it needs, with pointers to address 0, and then
    with the memory. The result of the second run is returned. So it must do the same both times: it may call
    the methods of the `RAM` it is given, and use what these return; it must have no other effect (such as
    opening a file), and its allocations must not depend on addresses, time or chance. The values are written
    only after `batch` has returned, so `batch` cannot read them, and has to keep the pointers until then.

    Raises:
        RuntimeError: `batch` did not do the same both times, or read from memory.
        Exception: whatever `batch` raises.
        OSError, SyscallError: as `RAM.malloc` and `RAM.ptr`.

    If it fails or is cancelled, all memory is freed, except pointers that `batch` itself stored elsewhere.
    """
    later = LaterAllocator(task)
    await batch(RAM(task, NoopTransport(), later))
    prefilled = PrefilledAllocator(await allocator.bulk_malloc(later.allocations))
    try:
        semantics = BatchWriteSemantics(task, transport, prefilled)
        result = await batch(semantics)
        if prefilled.allocations:
            raise RuntimeError("the batch asked for less memory the second time it ran")
        await write_all(transport, semantics.writes)
    except BaseException:
        prefilled.free()
        raise
    return result
