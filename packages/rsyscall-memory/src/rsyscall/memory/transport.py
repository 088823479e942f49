"""Transports: they move bytes between Python and the memory of a task.

A `MemoryGateway`, defined in `rsyscall.handle.pointer`, reads and writes the memory of a `Pointer`. A
`MemoryTransport` can also be passed on to another task of the same address space.

Which one to use:

* `rsyscall.memory.local.LocalMemoryTransport` for our own address space, which all children share that were
  not made with memory of their own: one copy and no system call, for the pointers of any task.
* `rsyscall.memory.socket_transport.StreamMemoryTransport` for any other: it asks the task's
  `SyscallInterface`.
* `rsyscall.memory.process_vm.ProcessVMTransport` on top of that, where the process is on this host and the
  kernel lets us: one system call of ours.

The rules for an implementation:

* A transport uses its pointer and does not consume it; `rsyscall.memory.span.to_span` helps where a system
  call takes a pointer of its own.
* Everything is checked before the first byte moves: the pointer is valid, it points into the address space
  that the transport reaches, the data is not longer than what it points to.
* A transfer of no bytes touches nothing, but is checked all the same.
* When `write` returns, the bytes are there, for every process that shares the memory.
* A cancelled transfer may have been made whole, in part or not at all. It waits for the parts that have been
  sent, so that the bytes do not change later.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, ClassVar

from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.handle.pointer import MemoryGateway

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsyscall.far import AddressSpace
    from rsyscall.handle.pointer import Pointer
    from rsyscall.handle.task import Task

__all__ = ["BatchMemoryTransport", "MemoryGateway", "MemoryTransport", "locate", "write_all"]


class MemoryTransport(MemoryGateway):
    """A gateway that can be passed on to other tasks which share the memory.

    Attributes:
        is_here: whether it is the memory of this very program, where bytes can be copied to addresses.
    """

    __slots__ = ()

    is_here: ClassVar[bool] = False

    @abc.abstractmethod
    def inherit(self, task: Task) -> MemoryTransport:
        """Return a transport to the memory of `task`, a child that shares the address space."""


class BatchMemoryTransport(MemoryTransport):
    """A transport for which several writes together cost less than one after another."""

    __slots__ = ()

    @abc.abstractmethod
    async def write_batch(self, writes: Sequence[tuple[Pointer[Any], bytes]]) -> None:
        """Write each of the data to its pointer, in any order. On failure some may have been written."""


async def write_all(transport: MemoryTransport, writes: Sequence[tuple[Pointer[Any], bytes]]) -> None:
    """Write each of the data to its pointer, together if the transport can do that.

    Raises:
        UseAfterFreeError, AddressSpaceMismatchError, ValueError, OSError, SyscallError: as
            `MemoryTransport.write`; some of the writes may have been made.
    """
    if isinstance(transport, BatchMemoryTransport):
        await transport.write_batch(writes)
    else:
        for dest, data in writes:
            await transport.write(dest, data)


def locate(pointer: Pointer[Any], length: int, address_space: AddressSpace) -> int:
    """Return the address of a pointer, for a copy that does not check anything itself.

    Raises:
        UseAfterFreeError: `pointer` was freed or consumed.
        AddressSpaceMismatchError: `pointer` points into another address space.
        ValueError: `pointer` has less than `length` bytes, or is not inside its mapping.
    """
    mapping = pointer.mapping
    allocation = pointer.allocation
    offset = allocation.offset()
    if not pointer.valid:
        raise UseAfterFreeError(f"handle is no longer valid: {pointer}")
    mapping.task.check_address_space(address_space)
    size = allocation.size()
    pages = mapping.near
    if length > size or offset < 0 or offset + size > pages.length:
        raise ValueError(f"{length} bytes do not fit at {pointer}, which has {size} bytes in {pages}")
    return pages.address + offset
