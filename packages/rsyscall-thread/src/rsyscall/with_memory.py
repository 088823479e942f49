"""The short names for memory that every object with a `RAM` has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from rsyscall.handle import Pointer, WrittenPointer
from rsyscall.struct import T_fixed_serializer, T_fixed_size, T_has_serializer, T_pathlike

if TYPE_CHECKING:
    from rsyscall.memory.ram import RAM

__all__ = ["WithMemory"]


class WithMemory:
    """`ptr` and `malloc`.

    Attributes:
        ram: the memory of the process.
    """

    ram: RAM

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
        """Allocate memory in this process; see `RAM.malloc`."""
        pointer: Pointer[Any] = await (self.ram.malloc(cls) if size is None else self.ram.malloc(cls, size))
        return pointer

    @overload
    async def ptr(self, data: T_has_serializer) -> WrittenPointer[T_has_serializer]: ...
    @overload
    async def ptr(self, data: T_pathlike) -> WrittenPointer[T_pathlike]: ...
    @overload
    async def ptr(self, data: str) -> WrittenPointer[str]: ...
    @overload
    async def ptr(self, data: bytes) -> WrittenPointer[bytes]: ...
    async def ptr(self, data: Any) -> WrittenPointer[Any]:
        """Put a value into the memory of this process; see `RAM.ptr`."""
        pointer: WrittenPointer[Any] = await self.ram.ptr(data)
        return pointer
