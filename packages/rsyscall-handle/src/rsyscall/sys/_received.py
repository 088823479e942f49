"""Taking over file descriptors whose numbers the kernel has left in memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rsyscall.handle.fd import ManipulatingFDTableError
from rsyscall.near.types import FileDescriptor as NearFileDescriptor

if TYPE_CHECKING:
    from rsyscall.handle.fd import FileDescriptorTask, T_fd

__all__ = ["take_over", "take_over_all"]


def take_over(task: FileDescriptorTask[T_fd], numbers: Iterable[int]) -> list[T_fd]:
    """Handles for fds that the kernel has just opened in the table of `task`.

    If one of them cannot be made, the others still are, so that they get closed when dropped instead of being
    forgotten.
    """
    handles = []
    failure: Exception | None = None
    for number in numbers:
        try:
            handles.append(task._adopt(NearFileDescriptor(number), None))
        except Exception as exn:
            failure = failure or exn
    if failure is not None:
        raise failure
    return handles


def take_over_all(task: FileDescriptorTask[T_fd], numbers: Iterable[int]) -> list[T_fd]:
    """The same, for all of the fds or, when it raises, for none: it can be tried again then."""
    if task.manipulating_fd_table:
        # Before any of them is left as garbage.
        raise ManipulatingFDTableError(f"can't take over {list(numbers)}: {task} is changing its table")
    return task._adopt_all([NearFileDescriptor(number) for number in numbers])
