"""The part of a handle for a process that its calls use."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import rsyscall.far
    import rsyscall.near

__all__ = ["BaseProcess"]

_NOTHING = nullcontext()


class BaseProcess:
    """A process, as the calls of the header modules see it; `rsyscall.handle.process` has the handles.

    Attributes:
        task: the task that calls are made in.
        near: the id, in the process id namespace of the task.
    """

    task: rsyscall.far.Task
    near: rsyscall.near.Process

    def _using(self) -> AbstractContextManager[None]:
        """Context manager for a call that takes the id: the id stays that of this process until it is left.

        Only the handle of a child can see to that.
        """
        return _NOTHING

    def _check_not_reaped(self) -> None:
        """Raise if the process is known to be gone, so that another one may have its id.

        Only the handle of a child knows.
        """
