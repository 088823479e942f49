"""File descriptor handles: which object owns which number, and when it is closed.

A *handle* is one Python object for one file descriptor number, used through one task. Several tasks may share
a file descriptor table, so several handles may exist for one open number. The number is closed when its last
handle goes: explicitly with `close` or `invalidate`, or because the handle was dropped and the garbage was
collected.

The table keeps one `_Entry` per open number that it knows, with weak references to the handles. These rules
ensure that we never close a number that the kernel has reused for another file:

* We remove an entry from its table *before* we send the close. A call that opens a file before the answer
  comes may get the same number, and makes a new entry for it.
* A handle that is dropped without being closed leaves an empty entry, which becomes garbage of the table. A
  destructor cannot make system calls; code that can await closes the garbage with `gc_using_task`.
* While a task changes its table (unshare, exec, exit) it makes no new handles: nothing would tell which of
  the two tables they belong to.

Inheritance. A table made by copying another (clone without CLONE.FILES) starts empty; `inherit_fd` makes
handles for copied numbers. We do not record the copied numbers one by one: then it would take longer to make
a child, the more files are open. Instead one counter gives each event a serial number: opening a number,
closing it, copying a table. A handle can be inherited if its entry is older than the copy, and the number has
not been closed in the copy since.

Table, handle and the task's part of both are one mechanism, and so one module: every step in the life of a
handle changes all three.
"""

from __future__ import annotations

import abc
import itertools
import logging
import weakref
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import rsyscall.far
import rsyscall.near
from rsyscall.far import FDTableMismatchError, SaidError
from rsyscall.handle.arguments import FDNUM, call
from rsyscall.handle.fd_garbage import GarbageFDTable
from rsyscall.near import SyscallHangup, SyscallInterface, nr
from rsyscall.near.record import (
    CallRecord,
    forget,
    inherit,
    leave,
    new_entry,
    set_handle_types,
    take_garbage,
    track,
    track_all,
    untrack,
)

__all__ = [
    "BaseFileDescriptor",
    "FDTable",
    "FileDescriptorTask",
    "InvalidHandleError",
    "ManipulatingFDTableError",
    "SharedHandleError",
    "T_fd",
    "T_held",
    "close_along",
]

logger: logging.Logger = logging.getLogger(__name__)

T_fd = TypeVar("T_fd", bound="BaseFileDescriptor")
# The class of the handles that a structure such as `Pipe` owns. Without one they are not type-checked.
if TYPE_CHECKING:
    import typing_extensions

    T_held = typing_extensions.TypeVar("T_held", bound="BaseFileDescriptor", default=Any)
else:
    T_held = TypeVar("T_held", bound="BaseFileDescriptor")

STANDARD = range(3)
"""The numbers of standard input, output and error."""

_CLONE_FILES = 0x400
_INT_MAX = 2**31 - 1
_next_serial = itertools.count(1).__next__


class InvalidHandleError(SaidError):
    """A file descriptor handle was used after it was closed, invalidated or moved away.

    Or it was for standard input, output or error: other code closed that, and now a file that we opened has
    the number.
    """


class SharedHandleError(SaidError):
    """An operation that needs the only handle of a file descriptor was called while there are others."""


class ManipulatingFDTableError(Exception):
    """A task cannot make file descriptor handles, or change its table, while it is changing its table."""


class _Entry(set["_HandleRef"]):
    """One open number of one table: weak references to its handles.

    A number that is closed and opened again gets another entry. `new_entry` makes them.
    """

    __slots__ = ("_table", "closer", "number", "origins", "serial")

    # Weak, so that tables of children are not left to the garbage collector.
    _table: weakref.ref[FDTable]
    number: int
    serial: int
    origins: tuple[_Origin, ...]
    # The task of the last handle to go: it can probably make a call.
    closer: weakref.ref[FileDescriptorTask[Any]] | None

    @property
    def table(self) -> FDTable:
        """The table, which a handle keeps alive."""
        table = self._table()
        assert table is not None
        return table


# (table, serial of the entry there, serial of the moment when its handles left that table)
_Origin = tuple["FDTable", int, int]


class _HandleRef(weakref.ref["BaseFileDescriptor"]):
    """Weak reference to a handle which knows the entry that it is listed in."""

    __slots__ = ("entry", "task")
    entry: _Entry
    task: weakref.ref[FileDescriptorTask[Any]]


set_handle_types(_Entry, _HandleRef, _next_serial)


class FDTable(GarbageFDTable):
    """A file descriptor table: which numbers are open, as far as we know, and which handles they have.

    Args:
        creator_pid: id of the process that the table was made for; for people reading logs only.
        parent: the table from which this one has just been copied. Its handles can be inherited.

    Attributes:
        garbage_hook: called after a number has become garbage, maybe from a destructor and in any thread. It
            has `gc_using_task` called soon, or at once if that cannot suspend.
        keep_open: numbers that other code in the process also uses: not closed when their handles are
            dropped.
    """

    keep_open: frozenset[int] = frozenset()

    def __init__(self, creator_pid: int, parent: FDTable | None = None) -> None:
        super().__init__(creator_pid)
        self._tasks: weakref.WeakSet[FileDescriptorTask[Any]] | None = None
        self._entries: dict[int, _Entry] = {}
        self._parent = parent
        self._copied_at = _next_serial()
        # number -> serial of the first close here; says which of the copied numbers are gone
        self._first_closed: dict[int, int] = {}

    @property
    def tasks(self) -> weakref.WeakSet[FileDescriptorTask[Any]]:
        """The tasks that are in this table, possibly with some that have left it."""
        tasks = self._tasks
        if tasks is None:
            tasks = self._tasks = weakref.WeakSet()
        return tasks

    @property
    def near_to_handles(self) -> dict[rsyscall.near.FileDescriptor, set[BaseFileDescriptor]]:
        """A snapshot of the known open numbers and their living handles; numbers without any are garbage."""
        return {
            rsyscall.near.FileDescriptor(number): {
                handle for ref in list(entry) if (handle := ref()) is not None
            }
            for number, entry in list(self._entries.items())
        }

    def remove_inherited(self) -> None:
        """Forget which handles of the parent table can be inherited.

        Call this before closing, without the table, numbers that have no handle here.
        """
        self._parent = None
        self._first_closed.clear()

    def _track(self, handle: BaseFileDescriptor, record: CallRecord | None = None) -> None:
        """List a new handle under its number, which it takes over from `record`."""
        track(self, handle, record)

    def _forget(self, entry: _Entry) -> None:
        """Remove the entry of a number that is about to be closed."""
        forget(entry)

    def _replaced(self, handle: BaseFileDescriptor) -> None:
        """Record that the number of `handle`, which is its only handle, is another file from now on."""
        # At every moment either the handle or the record owns the number.
        record = CallRecord(self)
        if not untrack(handle, record):
            raise AssertionError(f"{handle} was the only handle")
        handle.valid = True
        track(self, handle, record)

    def _can_inherit(self, fd: BaseFileDescriptor) -> bool:
        """Whether `fd`, a valid handle of another table, was copied into this one and is still open here."""
        ref = fd._ref
        if ref is None:
            return False
        number = fd.near.number
        entry = ref.entry
        lifetimes = [(entry.table, entry.serial, None), *entry.origins]
        table: FDTable = self
        until = None
        while table._parent is not None:
            closed_at = table._first_closed.get(number)
            if closed_at is not None and (until is None or closed_at < until):
                return False
            until = table._copied_at
            table = table._parent
            for owner, start, end in lifetimes:
                if owner is table and start < until and (end is None or until <= end):
                    return True
        return False

    def _usable_tasks(self) -> Iterator[FileDescriptorTask[Any]]:
        """The tasks that are in this table and are not changing that right now, the oldest first.

        That is the one of the process which has made the others. When a child is killed while it closes a
        number, that is closed once more, and may be another file's by then.
        """
        for task in sorted(self.tasks, key=lambda task: task._joined):
            if task.fd_table is not self:
                self.tasks.discard(task)
            elif not task.manipulating_fd_table:
                yield task


class _Borrow:
    """Context manager of `BaseFileDescriptor.borrow`."""

    __slots__ = ("_fd", "_task", "_temporary")

    def __init__(self, fd: BaseFileDescriptor, task: rsyscall.far.Task) -> None:
        self._fd = fd
        self._task = task
        self._temporary: BaseFileDescriptor | None = None

    def __enter__(self) -> rsyscall.near.FileDescriptor:
        fd = self._fd
        if fd.task is self._task:
            fd._validate()
        else:
            # A task of this library can share our table; `for_task` rejects any other.
            self._temporary = fd.for_task(cast("FileDescriptorTask[Any]", self._task))
        return fd.near

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        temporary = self._temporary
        if temporary is None or not temporary.valid:
            return
        record = CallRecord(temporary._entry().table)
        if temporary._invalidate(record):
            # We cannot close the number here, so it becomes garbage. (If the original is valid, the borrower
            # has left the table during the borrow, and the garbage is the copy in its new table.)
            record.give_up()
            if exc_type is None and not self._fd.valid:
                raise InvalidHandleError(
                    f"{self._fd} was invalidated while borrowed for {self._task}", self._fd
                )


class BaseFileDescriptor:
    """A handle for an open file descriptor, used through one task; the base for every kind of file.

    Not to be constructed directly; see `FileDescriptorTask.make_fd_handle`. Compared by identity.

    Args:
        task: the task that calls on this handle are made in.
        near: the number, in the file descriptor table of the task.
        valid: whether the handle still owns the number.
    """

    __slots__ = ("__weakref__", "_ref", "near", "task", "valid")

    task: FileDescriptorTask[Any]
    near: rsyscall.near.FileDescriptor
    valid: bool

    def __init__(
        self, task: FileDescriptorTask[Any], near: rsyscall.near.FileDescriptor, valid: bool = True
    ) -> None:
        self.task = task
        self.near = near
        self.valid = valid
        self._ref: _HandleRef | None = None

    def _validate(self) -> None:
        """Raise InvalidHandleError unless this handle can be used."""
        if not self.valid:
            raise InvalidHandleError(f"handle is no longer valid: {self}", self)

    def _entry(self) -> _Entry:
        ref = self._ref
        if not self.valid or ref is None:
            self._validate()
            raise InvalidHandleError(f"handle is not tracked by a table: {self}", self)
        return ref.entry

    def is_tracked(self) -> bool:
        """Return whether the number is still ours, for use in destructors.

        When Python collects a cycle of objects, the table learns that a handle is gone, and may close its
        number, before the destructors of the objects that refer to the handle run.
        """
        ref = self._ref
        return self.valid and ref is not None and ref in ref.entry

    def is_only_handle(self) -> bool:
        """Return whether no other handle exists for this number in this table."""
        return len(self._entry()) == 1

    def _require_only_handle(self, action: str) -> _Entry:
        """Raise SharedHandleError if another handle exists; `action` is for the message."""
        entry = self._entry()
        if len(entry) != 1:
            raise SharedHandleError(
                f"can't {action} {self}: {len(entry) - 1} other handles exist for it; "
                "invalidate() drops just this one",
                self,
            )
        return entry

    def _invalidate(self, record: CallRecord | None = None) -> bool:
        """Drop this handle without closing; return whether it was the last one.

        If it was, the number is no longer known to the table, and `record` owns it; without a record, the
        caller must close it.
        """
        if not self.valid or self._ref is None:
            self._validate()
            raise InvalidHandleError(f"handle is not tracked by a table: {self}", self)
        return untrack(self, record)

    async def invalidate(self) -> bool:
        """Stop using this handle, and close the file descriptor if there is no other handle for it.

        Returns:
            Whether the file descriptor was closed. False for a handle that is invalid already.

        Raises:
            OSError: the close reported an error, for example EIO; the number is closed nevertheless.
            SyscallError: the process is dead. The number is left to other tasks of the table.
            WrongThreadError, ForkedProcessError: the process cannot be driven from here; nothing was done.

        If cancelled, the handle is invalid and the number is left as garbage.
        manpage: close(2)
        """
        if not self.valid:
            return False
        self.task.sysif.check_owner()
        table = self._entry().table
        record = CallRecord(table)
        if self._invalidate(record):
            await table._close_fd(self.task.sysif, self.near, record)
            return True
        return False

    @call("close", FDNUM)
    async def close(self) -> None:
        """Close the file descriptor. There must be no other handle for it.

        Raises:
            SharedHandleError: other handles for this number exist; nothing was done.
            InvalidHandleError: this handle has been closed, invalidated or moved away.
            OSError: the close reported an error, for example EIO; the number is closed nevertheless.
            SyscallError: the process is dead. The number is left to other tasks of the table.
            WrongThreadError, ForkedProcessError: the process cannot be driven from here; nothing was done.

        If cancelled, the handle is invalid and the number is left as garbage.
        manpage: close(2)
        """
        await close_along(self, self.task.sysif)

    def inherit(self, task: FileDescriptorTask[T_fd]) -> T_fd:
        """Return a handle in `task` for the same open file; see `FileDescriptorTask.inherit_fd`."""
        return task.inherit_fd(self)

    def for_task(self, task: FileDescriptorTask[T_fd]) -> T_fd:
        """Return another handle for the same file descriptor, to be used through `task`.

        Raises:
            FDTableMismatchError: the tasks do not share a file descriptor table.
            SyscallSendError: the process of `task` has exited or executed a program.
        """
        self._validate()
        if self.task.fd_table is not task.fd_table:
            task.check_not_departed()
            raise FDTableMismatchError(
                f"{self} is of another file descriptor table than {task}; if that is a copy, inherit_fd() of "
                "the task makes a handle for what it has copied",
                self.task.fd_table,
                task.fd_table,
            )
        return task._make_fd_handle_from_near(self.near)

    def move(self, task: FileDescriptorTask[T_fd]) -> T_fd:
        """Return a handle for the same file descriptor, to be used through `task`; this one becomes invalid.

        Raises:
            FDTableMismatchError: the tasks do not share a file descriptor table; this handle stays valid.
        """
        moved = self.for_task(task)
        if self._invalidate():
            raise AssertionError(f"{moved} was just made, but {self} was the last handle")
        return moved

    def borrow(self, task: rsyscall.far.Task) -> _Borrow:
        """Context manager giving the number for use in a system call of `task`.

        If `task` is another task than that of the handle, a second handle exists for the duration.

        Raises (on entry):
            InvalidHandleError: this handle has been closed, invalidated or moved away.
            FDTableMismatchError: `task` has another file descriptor table.
            SyscallSendError: the process of `task` has exited or executed a program.
        """
        return _Borrow(self, task)

    def __int__(self) -> int:
        """Return the number, whether or not the handle is valid."""
        return self.near.number

    def __repr__(self) -> str:
        # Tracebacks show handles that are half constructed, or whose tasks are.
        task = getattr(self, "task", None)
        number = getattr(getattr(self, "near", None), "number", None)
        suffix = "" if getattr(self, "valid", False) else ", valid=False"
        return f"FD({task}, {number}{suffix})"


async def close_along(fd: BaseFileDescriptor, sysif: SyscallInterface) -> None:
    """As `fd.close()`, by an interface with which other steps travel; see `rsyscall.near.along`."""
    table = fd._require_only_handle("close").table
    sysif.check_owner()
    record = CallRecord(table)
    fd._invalidate(record)
    await table._close_fd(sysif, fd.near, record)


class FileDescriptorTask(rsyscall.far.Task, Generic[T_fd]):
    """The part of a task that owns file descriptor handles.

    Attributes:
        manipulating_fd_table: the task is changing its table (unshare, exec, exit), so it can make no handles
            and is not chosen to collect garbage.
    """

    fd_table: FDTable
    manipulating_fd_table: bool
    # The class that `_file_descriptor_constructor` makes, if it initialises handles in the usual way.
    _handle_class: type[T_fd] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.fd_table, FDTable):
            raise TypeError(f"a task needs a rsyscall.handle.FDTable, not {self.fd_table!r}")
        self.manipulating_fd_table = False
        # The table that the task was in when it exited or executed a program.
        self._departed_from: FDTable | None = None
        self._add_to_active_fd_table_tasks()

    @abc.abstractmethod
    def _file_descriptor_constructor(self, fd: rsyscall.near.FileDescriptor) -> T_fd:
        """Return a new, untracked handle; to be overridden to have handles of another class."""
        raise NotImplementedError

    def _add_to_active_fd_table_tasks(self) -> None:
        self._joined = _next_serial()
        self.fd_table.tasks.add(self)

    @property
    def fd_handles(self) -> set[BaseFileDescriptor]:
        """A snapshot of all living handles of this task."""
        return {handle for _, handle in self._own_refs()}

    def _own_refs(self) -> list[tuple[_HandleRef, BaseFileDescriptor]]:
        return [
            (ref, handle)
            for entry in list(self.fd_table._entries.values())
            for ref in list(entry)
            if (handle := ref()) is not None and handle.task is self
        ]

    def _make_fd_handle_from_near(
        self, fd: rsyscall.near.FileDescriptor, record: CallRecord | None = None
    ) -> T_fd:
        """Return a new handle for a number which is, or is about to be, known to the table.

        Args:
            record: owns the number so far.
        """
        if self.manipulating_fd_table:
            raise ManipulatingFDTableError(
                f"can't make a handle for {fd}: {self} is changing its file descriptor table, "
                "so it is not certain which table the handle would belong to"
            )
        handle = self._file_descriptor_constructor(fd)
        track(self.fd_table, handle, record)
        return handle

    def make_fd_handle(self, fd: rsyscall.near.FileDescriptor) -> T_fd:
        """Take ownership of a number that has no handle yet, and return a handle for it.

        The result of a system call becomes a handle like this. Nothing checks that the number is open, or
        that no other code uses it. Usually call `enable_cloexec` for a number from elsewhere.

        Raises:
            SharedHandleError: there are handles for this number.
            ManipulatingFDTableError: the task is changing its table. The number is left as garbage.
            SyscallHangup: the process has exited or executed a program, and we noticed that before this
                answer. The number becomes garbage of the table that it shared with other tasks.
        """
        return self._own(fd, None)

    def _adopt(self, fd: rsyscall.near.FileDescriptor, record: CallRecord | None) -> T_fd:
        """As `make_fd_handle`, for a number that was just opened, and that `record` owns so far."""
        if self._departed_from is None:
            self._replace_standard(fd)
        return self._own(fd, record)

    def _own(self, fd: rsyscall.near.FileDescriptor, record: CallRecord | None) -> T_fd:
        if not 0 <= fd.number <= _INT_MAX:
            raise _no_descriptor(fd)
        if self._departed_from is not None:
            if record is not None:
                record.release()
            self._departed_from._abandon(fd.number)
            raise SyscallHangup(f"{self} has exited or executed a program, and {fd} is not in its table")
        self._check_untracked(fd)
        if self.manipulating_fd_table:
            # It was opened before the change. If an exec does not close it, the next collection does.
            if record is not None:
                record.release()
            self.fd_table._abandon(fd.number)
        return self._make_fd_handle_from_near(fd, record)

    def _check_untracked(self, fd: rsyscall.near.FileDescriptor) -> None:
        """Raise SharedHandleError if there are handles for this number."""
        entry = self.fd_table._entries.get(fd.number)
        # An empty entry is garbage that has not been collected. A number that the kernel returns was closed
        # by other code and opened again; one that the user gives must stay open. Either way the new handle
        # owns it now.
        if entry:
            raise SharedHandleError(f"{fd} of {self} is already tracked, by {len(entry)} handles", fd)

    def _replace_standard(self, fd: rsyscall.near.FileDescriptor) -> None:
        """Handle the case that the kernel has just opened the number of a standard descriptor.

        The whole program uses those. Other code has closed this one, so its handles become invalid, and the
        number is ours alone.
        """
        if fd.number not in STANDARD:
            return
        table = self.fd_table
        table.keep_open -= {fd.number}
        for ref in list(table._entries.get(fd.number, ())):
            handle = ref()
            if handle is not None and handle.valid:
                handle._invalidate()

    def _adopt_all(self, fds: Sequence[rsyscall.near.FileDescriptor]) -> list[T_fd]:
        """As `_adopt`, for all of these numbers or, when it raises, for none."""
        for fd in fds:
            if not 0 <= fd.number <= _INT_MAX:
                raise _no_descriptor(fd)
            self._replace_standard(fd)
            self._check_untracked(fd)
        handles = [self._file_descriptor_constructor(fd) for fd in fds]
        track_all(self.fd_table, handles)
        return handles

    def inherit_fd(self, fd: BaseFileDescriptor) -> T_fd:
        """Return a handle, in this task, for the open file of `fd`.

        That is possible if the two tasks share a table, or if this task's table is a copy of the one of `fd`
        made when `fd` was open already. Inherit before closing the original: only a valid handle proves that
        the number is right.

        Raises:
            InvalidHandleError: `fd` has been closed, invalidated or moved away.
            FDTableMismatchError: `fd` was not there when this task's table was copied, or is closed here.
            SyscallSendError: the process of `fd`, or ours, has exited or executed a program.
        """
        handle: T_fd | None = inherit(self, fd)
        if handle is not None:
            return handle
        if not fd.valid:
            fd._validate()
        if fd.task.fd_table is not self.fd_table and not self.fd_table._can_inherit(fd):
            self.check_not_departed()
            fd.task.check_not_departed()
            raise FDTableMismatchError(
                f"tried to inherit non-inherited fd {fd} into {self}: it was opened after the copy of the "
                "table was made, or is of another table; open it before the clone",
                fd.task.fd_table,
                self.fd_table,
            )
        return self._make_fd_handle_from_near(fd.near)

    async def run_fd_table_gc(self, use_self: bool = True) -> None:
        """Close every file descriptor of this task's table whose handles are all gone.

        Only numbers that once had a handle in this table are known; copies made by the kernel are not.

        Args:
            use_self: make the calls in this task; otherwise in any task that shares the table.

        manpage: close(2)
        """
        if use_self:
            await self.fd_table.gc_using_task(self)
        else:
            await self.fd_table.run_gc()

    def _make_fresh_fd_table(self) -> FDTable:
        """Move all handles to a table of the task's own, because an exec or exit made it leave the old one.

        The process makes no more calls, so the new table has no task to collect garbage with.

        Returns:
            The old table. Numbers that only this task had handles for are garbage in it now.
        """
        old = self.fd_table
        fresh = FDTable(self.near_process.id)
        owned = self._own_refs()
        track_all(fresh, [handle for _, handle in owned])
        self.fd_table = fresh
        old.tasks.discard(self)
        _leave(old, [ref for ref, _ in owned])
        return old

    async def unshare_files(self) -> None:
        """Give this task its own copy of the file descriptor table.

        The handles of this task stay valid and keep their numbers. Numbers of the old table for which only
        this task had handles are closed there, through another task which shares it. Everything else that was
        open in the old table is copied by the kernel, and the copies have no owner; see `do_cloexec_except`
        of the thread layer.

        If the call fails, everything is as before.

        Raises:
            ManipulatingFDTableError: this task is changing its table already.
            OSError: EMFILE, ENOMEM.

        manpage: unshare(2)
        """
        self.check_not_manipulating()
        # Numbers that are closed now are not copied.
        await self.run_fd_table_gc()
        # Another caller may have begun a change during the await.
        self.check_not_manipulating()
        old = self.fd_table
        fresh = FDTable(self.near_process.id, parent=old)
        # The old references stay in the old table until the kernel has copied it: without them another task
        # could collect and close a number before the copy is made. So every handle is in both tables during
        # the call.
        refs: list[_HandleRef] = []
        record = CallRecord()
        try:
            self._copy_handles(old, fresh, refs)
            self.manipulating_fd_table = True
            self.fd_table = fresh
            await self.sysif.recorded_syscall(record, nr.unshare, _CLONE_FILES)
        except BaseException:
            if record.result == 0:
                # Done, and then a signal handler raised.
                old.tasks.discard(self)
                _leave(old, refs)
                raise
            self.fd_table = old
            _take_back(old, refs)
            while (number := take_garbage(fresh, None, None)) is not None:
                old._abandon(number)
            raise
        finally:
            self.manipulating_fd_table = False
            self._add_to_active_fd_table_tasks()
        old.tasks.discard(self)
        _leave(old, refs)
        await old.run_gc(collect=False)
        await fresh.gc_using_task(self, collect=False)

    def _copy_handles(self, old: FDTable, fresh: FDTable, refs: list[_HandleRef]) -> None:
        """List the handles of this task in `fresh` too; append the references by which `old` lists them."""
        for ref, handle in self._own_refs():
            number = ref.entry.number
            if number not in fresh._entries:
                origin = (old, ref.entry.serial, fresh._copied_at)
                fresh._entries[number] = new_entry(fresh, number, (origin, *ref.entry.origins))
            refs.append(ref)
            fresh._track(handle)

    def check_not_manipulating(self) -> None:
        """Raise ManipulatingFDTableError if this task is changing its table."""
        if self.manipulating_fd_table:
            raise ManipulatingFDTableError(f"{self} is changing its file descriptor table already")


def _no_descriptor(fd: rsyscall.near.FileDescriptor) -> ValueError:
    """The error for a number that no kernel returns; a process that is not trusted may send one."""
    return ValueError(f"{fd} is not the number of a file descriptor, which is 0 to {_INT_MAX}")


def _leave(table: FDTable, refs: list[_HandleRef]) -> None:
    """Remove the references of handles that have left a table; numbers without any become garbage."""
    leave(table, refs, not table.tasks)


def _take_back(table: FDTable, refs: Iterable[_HandleRef]) -> None:
    """Undo `_copy_handles`: make the references in `table` those of their handles again."""
    for ref in refs:
        entry = ref.entry
        handle = ref()
        if handle is not None and handle.valid:
            handle._ref = ref
        elif ref in entry:
            # Closed during the call: in this table, since the process never left it.
            entry.discard(ref)
            if not entry and table._entries.get(entry.number) is entry:
                table._forget(entry)
