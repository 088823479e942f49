"""What pointers need of an allocator. It is defined in `rsyscall.handle.allocation`."""

from __future__ import annotations

from rsyscall.handle.allocation import (
    AllocationInterface,
    AllocatorInterface,
    OutOfSpaceError,
    UseAfterFreeError,
)

__all__ = ["AllocationInterface", "AllocatorInterface", "OutOfSpaceError", "UseAfterFreeError"]
