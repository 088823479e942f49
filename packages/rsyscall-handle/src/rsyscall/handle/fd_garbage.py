"""Closing the descriptors whose handles were dropped without being closed.

A destructor cannot make system calls, so a number without handles becomes *garbage* of its table. Code that
can await then closes it through a task that is in the table: `fd_collector.py` of the thread layer does that
in the background, and several calls do it on the way. C code moves numbers between handles, records and the
garbage, each in one step (`native/src/handles.c` and `garbage.c`). While a close is under way a `CallRecord`
owns the number, so that an exception at any moment makes it garbage again, and never closes it twice.
"""

from __future__ import annotations

import abc
import gc
import logging
import os
from collections import deque
from collections.abc import Callable, Iterator

import rsyscall.far
import rsyscall.near
from rsyscall.near import Syscall, SyscallError, SyscallHangup, SyscallInterface, nr
from rsyscall.near.naming import naming
from rsyscall.near.record import CallRecord, abandon, became_garbage, take_garbage
from rsyscall.near.sysif import error_of

__all__ = ["GarbageFDTable"]

logger: logging.Logger = logging.getLogger(__name__)


class GarbageFDTable(rsyscall.far.FDTable):
    """The part of `FDTable` that closes numbers without handles.

    Attributes:
        garbage_hook: see `FDTable`.
    """

    garbage_hook: Callable[[], None] | None

    def __init__(self, creator_pid: int) -> None:
        super().__init__(creator_pid)
        # The entries without handles, which C code appends.
        self._garbage: deque[set[object]] = deque()
        # Closes in destructors that failed: number and error code.
        self._failed_closes: deque[tuple[int, int]] = deque()
        self.garbage_hook = None

    @abc.abstractmethod
    def _usable_tasks(self) -> Iterator[rsyscall.far.Task]:
        """The tasks that are in this table and are not changing that right now."""

    @property
    def garbage_pending(self) -> bool:
        """Whether handles were dropped whose numbers `gc_using_task` would now close."""
        return bool(self._garbage)

    def _became_garbage(self, entry: set[object]) -> None:
        """Make the number of an entry without handles garbage, unless it is that already."""
        became_garbage(self, entry)

    def _abandon(self, number: int) -> None:
        """Make `number` garbage: open without a handle. Does nothing if it has been opened again."""
        abandon(self, number)

    async def _close_fd(
        self, sysif: SyscallInterface, fd: rsyscall.near.FileDescriptor, record: CallRecord
    ) -> None:
        """Close a number that `record` owns; if the call is not made it becomes garbage again.

        After a hang-up the process behind `sysif` is dead, and it is unknown whether the call was made. If no
        other process shares the table, no other close can do harm. If one does, we close the number once
        more: usually that fails with EBADF, and a descriptor that stays open for ever would be worse, since
        the reader of a pipe, for example, would never see its end.
        """
        try:
            with naming(fd):
                await sysif.recorded_syscall(record, nr.close, fd)
        except OSError:
            raise
        except SyscallHangup:
            self._abandon(fd.number)
            raise
        except BaseException:
            # Now, and not when the traceback is freed, which refers to this frame.
            record.give_up()
            raise

    async def gc_using_task(
        self,
        task: rsyscall.far.Task,
        collect: bool = True,
        *,
        only_own: bool = False,
        detached: bool = False,
    ) -> None:
        """Close every number of this table whose handles are all gone, through `task`.

        If the process behind `task` turns out to be dead, the remaining numbers stay garbage for another task
        of the table; the same happens when the caller is cancelled. A close that fails is logged.

        Args:
            task: a task in this table.
            collect: first run Python's garbage collector, so that handles in reference cycles are found too.
            only_own: close only numbers whose last handle was of this task.
            detached: whether the end of an event loop may abandon the caller after a call has been sent. Then
                numbers that may have been closed are not closed a second time.

        manpage: close(2)
        """
        if collect:
            gc.collect()
        self.log_failed_closes()
        if not self._garbage:
            return
        # First, since a failure later would give the numbers back, which calls the hook, which calls this.
        task.sysif.check_owner()
        # It owns the numbers that are not closed yet.
        record = CallRecord(self)
        closer = task if only_own else None
        numbers: list[int] = []
        try:
            while (number := take_garbage(self, record, closer)) is not None:
                numbers.append(number)
            alone = type(task.sysif).syscalls is not SyscallInterface.syscalls and not any(
                other is not task for other in self._usable_tasks()
            )
            if len(numbers) > 1 and alone:
                await self._close_together(task, record, numbers, detached)
            else:
                for number in numbers:
                    try:
                        await task.sysif.recorded_syscall(record, nr.close, number)
                    except SyscallHangup:
                        record.own(number)  # as in _close_fd
                        raise
                    except OSError as exn:
                        if not record.refused:
                            raise  # of a signal handler
                        self._log_failed_close(number, exn)
        except SyscallError as exn:
            logger.debug("%s: %s cannot collect garbage: %s", self, task, exn)
            # Without the hook, which would make the same attempt again.
            record.give_up(True)
        except BaseException:
            record.give_up()
            raise

    async def _close_together(
        self, task: rsyscall.far.Task, record: CallRecord, numbers: list[int], detached: bool
    ) -> None:
        """Close what `record` owns in one submission, in a table that only `task` is in.

        That is safe: if only some of the closes were made, the table is gone with its only task.
        """
        calls = [Syscall(nr.close, number) for number in numbers]
        record.release()
        try:
            results = await task.sysif.syscalls(calls)
        except SyscallError:
            for number in numbers:
                record.own(number)
            raise
        except (KeyboardInterrupt, Exception):
            raise  # from a signal handler: they may have been closed
        except BaseException:
            # Cancelled, before they were sent.
            if not detached:
                for number in numbers:
                    record.own(number)
            raise
        for number, result in zip(numbers, results, strict=True):
            if result < 0:
                self._log_failed_close(number, error_of(result))

    def log_failed_closes(self) -> None:
        """Log the closes that failed in destructors, which cannot log themselves."""
        while self._failed_closes:
            number, code = self._failed_closes.popleft()
            self._log_failed_close(number, OSError(code, os.strerror(code)))

    def _log_failed_close(self, number: int, exn: OSError) -> None:
        logger.warning("%s: collecting the garbage descriptor %d: %s", self, number, exn)

    async def run_gc(self, collect: bool = True, *, detached: bool = False) -> None:
        """Close every number whose handles are all gone, through a task of this table that can do it.

        The task of the last handle comes first: another one may be blocked, perhaps until this very number is
        closed. Without tasks there is nothing to do: a table without processes is gone.

        Args:
            collect: first run Python's garbage collector.
            detached: as for `gc_using_task`.

        manpage: close(2)
        """
        if collect:
            gc.collect()
        for only_own in (True, False):
            for task in self._usable_tasks():
                if not self._garbage:
                    return
                await self.gc_using_task(task, collect=False, only_own=only_own, detached=detached)
