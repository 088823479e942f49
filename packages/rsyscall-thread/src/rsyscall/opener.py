"""Which task opens a descriptor that the library needs for a process.

A process that is killed in the middle of a system call completes the call, but its result is lost. If the
call opened a descriptor in a table that others share, the descriptor stays open, and no process knows its
number. So what the library opens for a process that shares our table it opens by a call of our own.
"""

from __future__ import annotations

import typing as t

from rsyscall.near import LocalSyscall

if t.TYPE_CHECKING:
    from rsyscall.handle import Task

__all__ = ["opener"]


def opener(task: Task) -> Task:
    """Return the task that opens descriptors for `task`, in the same table and with the same memory: our own
    if it shares both, else `task`.
    """
    for own in list(task.fd_table.tasks):
        if type(own.sysif) is LocalSyscall and own.fd_table is task.fd_table:
            try:
                own.sysif.check_owner()
            except RuntimeError:
                continue  # of another OS thread
            if own.address_space is task.address_space:
                return t.cast("Task", own)
    return task
