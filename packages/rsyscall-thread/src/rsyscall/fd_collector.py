"""Closing descriptors whose handles have been dropped, soon after that."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import trio

from rsyscall.background import run_now, start_background
from rsyscall.handle import FDTable
from rsyscall.near import LocalSyscall, SyscallError
from rsyscall.near.record import Closer

if TYPE_CHECKING:
    from rsyscall.handle import Task

__all__ = ["close_dropped", "note_run"]

# The run of trio in which the tasks of a table are used. A handle may be dropped in any OS thread, by the
# garbage collector for one; the descriptor is closed in this run.
_runs: weakref.WeakKeyDictionary[FDTable, trio.lowlevel.TrioToken] = weakref.WeakKeyDictionary()


def note_run(table: FDTable) -> None:
    """The current run of trio, if there is one, is where descriptors of `table` are closed from now on."""
    try:
        _runs[table] = trio.lowlevel.current_trio_token()
    except RuntimeError:
        pass  # it is used outside of trio for the time being


def close_dropped(table: FDTable, local: Task | None = None) -> None:
    """From now on close descriptors of `table` whose last handle is dropped.

    Those of our own table are closed at once, in the destructor. A destructor cannot wait for other
    processes; the event loop closes their descriptors later.

    Args:
        table: a new one.
        local: the local task, if it is in that table.
    """
    reference = weakref.ref(table)
    note_run(table)

    def later(finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if finalizing():
            return  # our globals may be gone; the kernel closes what is left
        if _collect_own(reference) or not _has_task(reference):
            return
        table = reference()
        token = None if table is None else _runs.get(table)
        for _ in range(2):
            try:
                if token is None:
                    token = trio.lowlevel.current_trio_token()
                token.run_sync_soon(_collect, reference, idempotent=True)
                return
            except trio.RunFinishedError:
                token = None
            except RuntimeError:
                return  # the next drop within a run takes this one along

    table.garbage_hook = Closer(local, LocalSyscall, later)


def _collect_own(reference: weakref.ref[FDTable]) -> bool:
    """Close what is garbage if that can be done by local calls."""
    table = reference()
    if table is None:
        return True
    table.log_failed_closes()
    if not table.garbage_pending:
        return True
    for task in list(table.tasks):
        if isinstance(task.sysif, LocalSyscall) and not task.manipulating_fd_table:
            try:
                run_now(table.gc_using_task(task, collect=False))
            except (RuntimeError, SyscallError):
                # Another OS thread than the one it belongs to.
                return False
            return True
    return False


def _has_task(reference: weakref.ref[FDTable]) -> bool:
    """Whether any process is left in the table; without one its descriptors are closed already."""
    table = reference()
    return table is not None and any(task.fd_table is table for task in table.tasks)


def _collect(reference: weakref.ref[FDTable]) -> None:
    table = reference()
    if table is not None:
        try:
            start_background(partial(_collect_remote, table), "rsyscall: closing what was dropped")
        except RuntimeError:
            pass  # the end of this run; the next drop, in another one, takes this along


async def _collect_remote(table: FDTable) -> None:
    # Cancelled later than here is torn away from a call that has been sent.
    await trio.lowlevel.checkpoint_if_cancelled()
    try:
        await table.run_gc(collect=False, detached=True)
    except (SyscallError, RuntimeError):
        # The processes of this table are gone, and it with them.
        pass
