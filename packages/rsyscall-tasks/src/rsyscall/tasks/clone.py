"""Making child processes."""

from rsyscall.clone import clone_child_task, clone_ring_task

__all__ = ["clone_child_task", "clone_ring_task"]
