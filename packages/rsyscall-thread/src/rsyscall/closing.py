"""Objects that the end of an `async with` closes."""

from __future__ import annotations

from typing import TypeVar

__all__ = ["ClosedAtEnd"]

T_self = TypeVar("T_self", bound="ClosedAtEnd")


class ClosedAtEnd:
    """A base of classes with `close`: as an async context manager, the object is closed in the end."""

    async def close(self) -> None:
        """Close it; the end of an `async with` calls this, in whatever way the block ends."""
        raise NotImplementedError

    async def __aenter__(self: T_self) -> T_self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()
