"""The parts of the higher layers that tests of the handle layer need, in their smallest form.

Everything runs in this very process, through `LocalSyscall`, whose coroutines never suspend; so tests need no
event loop.

    local = Local.make()
    path = run(local.ptr("/etc"))
    fd = run(local.task.open(path, O.DIRECTORY))
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast, overload

from rsyscall import far
from rsyscall.handle.allocation import AllocationInterface, UseAfterFreeError
from rsyscall.handle.fd import BaseFileDescriptor, FDTable
from rsyscall.handle.pointer import LinearPointer, MemoryGateway, Pointer, WrittenPointer
from rsyscall.handle.task import Task
from rsyscall.native import fast
from rsyscall.near import LocalSyscall
from rsyscall.near import types as near
from rsyscall.struct import (
    BytesSerializer,
    FixedSerializer,
    FixedSize,
    HasSerializer,
    PathLikeSerializer,
    Serializer,
    StrSerializer,
    T_fixed_serializer,
    T_fixed_size,
    T_has_serializer,
    T_pathlike,
)
from rsyscall.sys.mman import MemoryMapping

T = TypeVar("T")


def run(coro: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, and return its result."""
    try:
        coro.send(None)
    except StopIteration as exn:
        return cast(T, exn.value)
    coro.close()
    raise AssertionError("the coroutine suspended, which it must not do without an event loop")


class BumpAllocation(AllocationInterface):
    """A range of the arena. Knows what is in use so that tests can look for leaks and for use after free."""

    def __init__(self, arena: Arena, start: int, end: int) -> None:
        self.arena = arena
        self.start = start
        self.end = end
        self.valid = True
        arena.live.add(self)

    def _invalidate(self) -> None:
        if not self.valid:
            raise UseAfterFreeError("allocation is no longer valid")
        self.valid = False
        self.arena.live.discard(self)

    def offset(self) -> int:
        if not self.valid:
            raise UseAfterFreeError("allocation is no longer valid")
        return self.start

    def size(self) -> int:
        return self.end - self.start

    def split(self, size: int) -> tuple[BumpAllocation, BumpAllocation]:
        assert 0 <= size <= self.size()
        self._invalidate()
        middle = self.start + size
        return BumpAllocation(self.arena, self.start, middle), BumpAllocation(self.arena, middle, self.end)

    def merge(self, other: AllocationInterface) -> BumpAllocation:
        assert isinstance(other, BumpAllocation)
        assert other.arena is self.arena
        assert other.start == self.end
        self._invalidate()
        other._invalidate()
        return BumpAllocation(self.arena, self.start, other.end)

    def free(self) -> None:
        if self.valid:
            self._invalidate()


class Arena:
    """Anonymous shared memory to cut allocations from; nothing is reused, so that stale addresses show."""

    def __init__(self, task: Task, size: int = 1 << 24) -> None:
        self.memory = mmap.mmap(-1, size, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
        self.size = size
        self.used = 0
        self.live: set[BumpAllocation] = set()
        self.mapping = MemoryMapping(
            task, near.MemoryMapping(_address_of(self.memory), size, mmap.PAGESIZE), far.File()
        )

    def live_bytes(self) -> int:
        """How much of the memory is allocated."""
        return sum(allocation.size() for allocation in self.live)

    def allocate(self, size: int, alignment: int) -> BumpAllocation:
        start = -(-self.used // alignment) * alignment
        assert start + size <= self.size, "the arena of the test is too small"
        self.used = start + size
        return BumpAllocation(self, start, self.used)


def _address_of(memory: mmap.mmap) -> int:
    view = ctypes.c_char.from_buffer(memory)
    address = ctypes.addressof(view)
    del view
    return address


class LocalGateway(MemoryGateway):
    """Copies by address, after the checks that every gateway makes."""

    def __init__(self, task: far.Task) -> None:
        self.task = task

    async def read(self, src: Pointer[Any]) -> bytes:
        with src.borrow(self.task) as address:
            return fast.read_memory(int(address), src.size()) if src.size() else b""

    async def write(self, dest: Pointer[Any], data: bytes) -> None:
        assert len(data) <= dest.size()
        with dest.borrow(self.task) as address:
            if data:
                fast.write_memory(int(address), data)


@dataclass
class Local:
    """A task for this process, and memory for it."""

    task: Task
    arena: Arena
    gateway: MemoryGateway

    @classmethod
    def make(cls) -> Local:
        task = make_task()
        return cls(task, Arena(task), LocalGateway(task))

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
        """Memory for a `cls`; the size is given unless the class has one of its own."""
        if issubclass(cls, FixedSize):
            size = cls.sizeof() if size is None else size
        assert size is not None
        return self.malloc_serializer(self.serializer_of(cls), size, cls)

    @overload
    async def ptr(self, data: T_has_serializer) -> WrittenPointer[T_has_serializer]: ...
    @overload
    async def ptr(self, data: T_pathlike) -> WrittenPointer[T_pathlike]: ...
    @overload
    async def ptr(self, data: str) -> WrittenPointer[str]: ...
    @overload
    async def ptr(self, data: bytes) -> WrittenPointer[bytes]: ...
    async def ptr(self, data: Any) -> WrittenPointer[Any]:
        """Memory with the value in it."""
        if isinstance(data, HasSerializer):
            serializer: Serializer[Any] = data.get_self_serializer(self.task)
        else:
            serializer = self.serializer_of(type(data))
        return await self.malloc_serializer(serializer, len(serializer.to_bytes(data)), type(data)).write(
            data
        )

    def malloc_serializer(
        self, serializer: Serializer[T], size: int, typ: type[T], alignment: int = 16
    ) -> Pointer[T]:
        return Pointer(
            self.arena.mapping, self.gateway, serializer, self.arena.allocate(size, alignment), typ
        )

    def serializer_of(self, cls: type[Any]) -> Serializer[Any]:
        if issubclass(cls, FixedSerializer):
            return cls.get_serializer(self.task)
        if issubclass(cls, os.PathLike):
            return PathLikeSerializer(cls)
        if issubclass(cls, str):
            return StrSerializer()
        if issubclass(cls, bytes):
            return BytesSerializer()
        raise TypeError(f"no serializer for {cls}")


def make_task(
    parent: Task | None = None, *, share_fd_table: bool = True, copy_fd_table: bool = False
) -> Task:
    """Return a task that makes its calls in this process.

    Args:
        parent: share the address space, and as told the table, of this task.
        share_fd_table: use the very table of the parent, as with CLONE.FILES.
        copy_fd_table: pretend that the parent's table was copied. (The numbers are those of this process.)
    """
    pid = os.getpid()
    if parent is None:
        table, address_space, pidns = FDTable(pid), far.AddressSpace(pid), far.PidNamespace(pid)
    else:
        address_space, pidns = parent.address_space, parent.pidns
        table = parent.fd_table if share_fd_table and not copy_fd_table else FDTable(pid, parent.fd_table)
    task = Task(near.Process(pid), table, address_space, pidns)
    task.sysif = LocalSyscall()
    return task


def open_fds() -> dict[int, str]:
    """The file descriptors that this process has open."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        # the listing's own descriptor is closed
        with contextlib.suppress(FileNotFoundError):
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def is_open(number: int) -> bool:
    """Whether this process has the number open."""
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def null_fds(task: Task, count: int) -> Sequence[Any]:
    """Open /dev/null several times without a pointer to the path; return the handles."""
    return [
        task.make_fd_handle(near.FileDescriptor(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)))
        for _ in range(count)
    ]


# What the calls of the handle layer do with a pointer or a handle, and no public name does: a test that needs
# the result needs neither the call nor the kernel.


def linearized(pointer: Pointer[T]) -> LinearPointer[T]:
    """The pointer, as one to memory that holds resources."""
    return pointer._linearize()


def retyped(pointer: Pointer[Any], serializer: Serializer[T], typ: type[T]) -> Pointer[T]:
    """The pointer, as one to another type of value."""
    return pointer._reinterpret(serializer, typ)


def forget(handle: BaseFileDescriptor) -> bool:
    """Make a handle invalid without a call; returns whether it was the last one for its descriptor."""
    return handle._invalidate()
