"""Moving bytes within our own address space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rsyscall.memory.allocator import Allocation
from rsyscall.memory.transport import MemoryTransport, locate
from rsyscall.native import fast

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer
    from rsyscall.handle.task import Task

__all__ = ["LocalMemoryTransport"]

_read_memory = fast.read_memory
_write_memory = fast.write_memory


class LocalMemoryTransport(MemoryTransport):
    """Copies to and from the memory of this very process.

    It serves every task that shares our address space, and no other. A copy is made at once, without a system
    call and without suspending.

    Args:
        local_task: a task of our own address space.
    """

    __slots__ = ("_address_space",)

    is_here = True

    def __init__(self, local_task: Task) -> None:
        self._address_space = local_task.address_space

    def inherit(self, task: Task) -> LocalMemoryTransport:
        """Return this very transport.

        Raises:
            AddressSpaceMismatchError: `task` does not share our address space.
        """
        task.check_address_space(self._address_space)
        return self

    async def read(self, src: Pointer[Any]) -> bytes:
        """Return the bytes that `src` points to.

        Raises:
            UseAfterFreeError: `src` was freed or consumed.
            AddressSpaceMismatchError: `src` points into another address space.
        """
        return self.read_now(src)

    async def write(self, dest: Pointer[Any], data: bytes) -> None:
        """Copy `data` to the start of what `dest` points to.

        Raises:
            ValueError: `data` is longer than what `dest` points to.
            UseAfterFreeError: `dest` was freed or consumed.
            AddressSpaceMismatchError: `dest` points into another address space.
        """
        self.write_now(dest, data)

    # For the kind of allocation that nearly all pointers have, these two make the checks of `locate` inline.

    def read_now(self, src: Pointer[Any]) -> bytes:
        """As `read`."""
        allocation = src.allocation
        if type(allocation) is Allocation and allocation.valid and src.valid:
            mapping = src.mapping
            if mapping.task.address_space is self._address_space:
                start = allocation.start
                end = allocation.end
                pages = mapping.near
                if 0 <= start <= end <= pages.length:
                    return _read_memory(pages.address + start, end - start)
        size = allocation.size()
        return _read_memory(locate(src, size, self._address_space), size)

    def write_now(self, dest: Pointer[Any], data: bytes) -> None:
        """As `write`."""
        allocation = dest.allocation
        if type(allocation) is Allocation and allocation.valid and dest.valid:
            mapping = dest.mapping
            if mapping.task.address_space is self._address_space:
                start = allocation.start
                end = allocation.end
                pages = mapping.near
                if 0 <= start <= end <= pages.length and len(data) <= end - start:
                    _write_memory(pages.address + start, data)
                    return
        _write_memory(locate(dest, len(data), self._address_space), data)
