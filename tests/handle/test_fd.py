"""File descriptor handles and tables."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import time
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, SupportsInt

import pytest

from rsyscall import far
from rsyscall.far import FDTableMismatchError
from rsyscall.fcntl import O
from rsyscall.handle.fd import (
    BaseFileDescriptor,
    FDTable,
    InvalidHandleError,
    ManipulatingFDTableError,
    SharedHandleError,
)
from rsyscall.handle.task import FileDescriptor, Task
from rsyscall.near import (
    SYS,
    LocalSyscall,
    Syscall,
    SyscallError,
    SyscallHangup,
    SyscallInterface,
    SyscallSendError,
)
from rsyscall.near import (
    types as near,
)
from rsyscall.near.abi import ABI, ABIS
from rsyscall.near.record import CallRecord
from rsyscall.near.stream import Exchange, StreamState
from rsyscall.sched import CLONE
from rsyscall.unistd import SEEK

from .processes import forked_task, has_open, kill_behind_the_back, thread_task
from .support import Local, is_open, make_task, null_fds, run


async def open_null(local: Local, task: Task | None = None) -> FileDescriptor:
    return await (task or local.task).open(await local.ptr("/dev/null"), O.RDWR)


class Watching(LocalSyscall):
    """The calls are made; before each, `before` is called, and `failure` may be raised instead."""

    __slots__ = ("batches", "before", "calls", "failure")

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, int]] = []
        self.batches = 0
        self.before: Any = None
        self.failure: BaseException | None = None

    async def syscall(self, number: SYS, arg1: SupportsInt = 0, *args: SupportsInt) -> int:
        self.calls.append((number.name, int(arg1)))
        if self.before is not None:
            before, self.before = self.before, None
            await before()
        if self.failure is not None:
            # a new one each time: the traceback of an exception keeps everything in its frames alive
            raise type(self.failure)(*self.failure.args)
        return await super().syscall(number, arg1, *args)

    async def syscalls(self, calls: Sequence[Syscall], linked: bool = False) -> list[int]:
        self.batches += 1
        if self.failure is not None:
            # a new one each time: the traceback of an exception keeps everything in its frames alive
            raise type(self.failure)(*self.failure.args)
        return await super().syscalls(calls, linked)


# One task


async def test_two_handles_and_close(local: Local) -> None:
    """Scenario 1."""
    fd = await open_null(local)
    other = fd.for_task(local.task)
    assert not fd.is_only_handle()
    with pytest.raises(SharedHandleError, match="other handles"):
        await fd.close()
    assert await other.invalidate() is False
    assert fd.is_only_handle()
    await fd.close()
    assert not is_open(int(fd))
    for handle in (fd, other):
        for use in (
            handle.is_only_handle,
            lambda handle=handle: handle.for_task(local.task),
        ):
            with pytest.raises(InvalidHandleError, match="no longer valid"):
                use()
        with pytest.raises(InvalidHandleError, match="no longer valid"):
            await handle.close()
        with pytest.raises(InvalidHandleError):
            await handle.lseek(0, SEEK.SET)
        assert await handle.invalidate() is False
    assert local.task.fd_table.near_to_handles == {}


async def test_invalidating_the_last_handle_closes(local: Local) -> None:
    fd = await open_null(local)
    assert await fd.invalidate() is True
    assert not is_open(int(fd))


async def test_dropped_handles_are_garbage(local: Local) -> None:
    """Scenario 2."""
    table = local.task.fd_table
    fd = await open_null(local)
    number = int(fd)
    other = fd.for_task(local.task)
    assert not table.garbage_pending
    del fd
    assert not table.garbage_pending
    del other
    assert table.garbage_pending
    assert table.near_to_handles == {near.FileDescriptor(number): set()}
    assert is_open(number)
    await local.task.run_fd_table_gc()
    assert not is_open(number)
    assert not table.garbage_pending
    assert table.near_to_handles == {}


async def test_garbage_in_cycles_is_found(local: Local) -> None:
    class Holder:
        pass

    holder: Any = Holder()
    holder.itself = holder
    holder.fd = await open_null(local)
    number = int(holder.fd)
    gc.disable()
    try:
        del holder
        assert not local.task.fd_table.garbage_pending
        await local.task.fd_table.gc_using_task(local.task, collect=False)
        assert is_open(number)
        await local.task.fd_table.gc_using_task(local.task)
        assert not is_open(number)
    finally:
        gc.enable()


async def test_a_number_opened_during_the_close_is_not_garbage(local: Local) -> None:
    """Scenario 2: the entry goes before the close is submitted."""
    task, watching = local.task, Watching()
    fd = await open_null(local)
    number = int(fd)
    task.sysif = watching
    opened: list[FileDescriptor] = []

    async def open_while_closing() -> None:
        # the number is free from now on, and the kernel gives the lowest free one
        os.close(number)
        opened.append(await open_null(local))
        assert int(opened[0]) == number
        watching.failure = OSError(5, "as if the close had been made")

    watching.before = open_while_closing
    del fd
    await task.run_fd_table_gc()
    watching.failure = None
    assert opened[0].is_only_handle()
    assert is_open(number)
    assert not task.fd_table.garbage_pending
    await opened[0].close()


async def test_closing_removes_the_entry_first(local: Local) -> None:
    fd = await open_null(local)
    task, watching = local.task, Watching()
    task.sysif = watching
    seen: list[Any] = []

    async def look() -> None:
        seen.append((fd.valid, task.fd_table.near_to_handles))

    watching.before = look
    await fd.close()
    assert seen == [(False, {})]


async def test_known_numbers_are_refused(local: Local) -> None:
    fd = await open_null(local)
    with pytest.raises(SharedHandleError, match="already tracked"):
        local.task.make_fd_handle(fd.near)
    # the last handle of a number which is not closed yet can be replaced
    number = fd.near
    del fd
    again = local.task.make_fd_handle(number)
    await local.task.run_fd_table_gc()
    assert is_open(number.number)
    await again.close()


async def test_close_error_names_the_number(local: Local) -> None:
    fd = await open_null(local)
    os.close(int(fd))
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        await fd.close()
    assert caught.value.filename == fd.near
    assert local.task.fd_table.near_to_handles == {}


async def test_context_manager(local: Local) -> None:
    async with await open_null(local) as fd:
        assert is_open(int(fd))
    assert not fd.valid
    assert not is_open(int(fd))
    async with await open_null(local) as fd:
        await fd.close()


async def test_cloexec(local: Local) -> None:
    fd = await open_null(local)
    assert not os.get_inheritable(int(fd))
    assert await fd.as_argument() == int(fd)
    assert os.get_inheritable(int(fd))
    await fd.enable_cloexec()
    assert not os.get_inheritable(int(fd))
    other = fd.for_task(local.task)
    with pytest.raises(SharedHandleError, match="close-on-exec"):
        await fd.disable_cloexec()
    await other.invalidate()
    assert str(fd.as_proc_path()) == f"/proc/{os.getpid()}/fd/{int(fd)}"
    assert os.readlink(str(fd.as_proc_path())) == "/dev/null"
    await fd.close()


async def test_repr(local: Local) -> None:
    fd = await open_null(local)
    assert repr(fd) == f"FD({local.task}, {int(fd)})"
    await fd.close()
    assert repr(fd) == str(fd) == f"FD({local.task}, {int(fd)}, valid=False)"
    assert repr(FileDescriptor.__new__(FileDescriptor)) == "FD(None, None, valid=False)"


async def test_handles_are_light(local: Local) -> None:
    fd = await open_null(local)
    assert not hasattr(fd, "__dict__")
    assert weakref.ref(fd)() is fd
    assert fd != fd.for_task(local.task)
    assert {fd: 1}[fd] == 1
    await local.task.run_fd_table_gc()
    await fd.close()


async def test_handles_are_cheap(local: Local) -> None:
    """Making and dropping a handle must not cost a noticeable part of a system call."""
    task, count = local.task, 2000

    class Nowhere(SyscallInterface):
        async def syscall(self, number: SYS, *args: SupportsInt) -> int:
            return 0

        async def close_interface(self) -> None:
            pass

        def get_activity_fd(self) -> None:
            return None

    before, task.sysif = task.sysif, Nowhere()
    number = near.FileDescriptor(1000)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(count):
            await task.make_fd_handle(number).close()
        times.append((time.perf_counter() - start) / count)
    task.sysif = before
    # about 3 us on a slow machine; the limit is for machines that are busy with something else
    assert min(times) < 50e-6


async def test_hook_is_told_about_garbage(local: Local) -> None:
    task, table = local.task, local.task.fd_table
    told: list[bool] = []
    table.garbage_hook = lambda: told.append(table.garbage_pending)
    [fd] = null_fds(task, 1)
    other = fd.for_task(task)
    del fd
    assert told == []
    del other
    assert told == [True]
    await task.run_fd_table_gc()
    # other code is not told of explicit closes, unless they fail
    [fd] = null_fds(task, 1)
    await fd.close()
    assert told == [True]
    dead = make_task(task)
    watching = dead.sysif = Watching()
    watching.failure = SyscallHangup("dead")
    [fd] = null_fds(dead, 1)
    with pytest.raises(SyscallHangup):
        await fd.close()
    assert told == [True, True]
    # a failed collection would only be tried again
    await table.gc_using_task(dead)
    assert told == [True, True]
    assert table.garbage_pending
    # what an exec leaves behind
    [fd] = null_fds(dead, 1)
    dead.did_exec(None)
    assert told == [True, True, True]
    table.garbage_hook = None
    await task.run_fd_table_gc()
    assert not is_open(int(fd))


async def test_hook_that_closes_at_once(local: Local) -> None:
    """As the local thread's does: from within the destructor."""
    task, table = local.task, local.task.fd_table
    table.garbage_hook = lambda: run(table.gc_using_task(task, collect=False))
    numbers = [int(fd) for fd in null_fds(task, 3)]
    assert not any(map(is_open, numbers))
    assert table.near_to_handles == {}
    with thread_task(local) as other:
        [fd] = null_fds(other, 1)
        run(other.unshare_files())
        assert not is_open(int(fd))
        assert has_open(other, int(fd))
        run(fd.close())
    table.garbage_hook = None


# Dead tasks and cancellation


@pytest.mark.parametrize("error", [SyscallHangup, SyscallSendError])
async def test_close_in_a_dead_task_leaves_the_number_to_others(
    local: Local, error: type[SyscallError]
) -> None:
    dead = make_task(local.task)
    watching = dead.sysif = Watching()
    watching.failure = error("dead")
    for method in ("close", "invalidate"):
        fd = await open_null(local)
        fd = fd.move(dead)
        with pytest.raises(error):
            await getattr(fd, method)()
        assert not fd.valid
        assert is_open(int(fd))
        assert local.task.fd_table.garbage_pending
        await local.task.run_fd_table_gc()
        assert not is_open(int(fd))


async def test_number_reopened_during_a_failed_close_is_not_garbage(local: Local) -> None:
    dead = make_task(local.task)
    watching = dead.sysif = Watching()
    fd = (await open_null(local)).move(dead)
    opened: list[FileDescriptor] = []

    async def close_and_reopen() -> None:
        os.close(int(fd))
        opened.append(await open_null(local))

    watching.before = close_and_reopen
    watching.failure = SyscallHangup("executed, and dead after that")
    with pytest.raises(SyscallHangup):
        await fd.close()
    assert int(opened[0]) == int(fd)
    await local.task.run_fd_table_gc()
    assert is_open(int(fd))
    await opened[0].close()


async def test_collection_falls_back_on_another_task(local: Local) -> None:
    """Scenario 20."""
    dead = make_task(local.task)
    watching = dead.sysif = Watching()
    watching.failure = SyscallSendError("dead")
    fds = null_fds(local.task, 3)
    numbers = [int(fd) for fd in fds]
    handle = fds[0].for_task(dead)
    del fds
    await local.task.fd_table.gc_using_task(dead)
    assert all(map(is_open, numbers))
    assert local.task.fd_table.garbage_pending
    assert handle.valid
    with pytest.raises(SyscallError):
        await handle.lseek(0, SEEK.SET)
    await dead.run_fd_table_gc(use_self=False)
    assert [is_open(number) for number in numbers] == [True, False, False]
    assert await handle.for_task(local.task).invalidate() is False
    del handle
    await dead.run_fd_table_gc(use_self=False)
    assert not is_open(numbers[0])


async def test_collection_is_one_submission_when_nobody_shares_the_table(local: Local) -> None:
    task, watching = local.task, Watching()
    task.sysif = watching
    fds = null_fds(task, 5)
    numbers = [int(fd) for fd in fds]
    del fds
    watching.failure = SyscallHangup("not now")
    await task.run_fd_table_gc()
    assert watching.batches == 1
    assert task.fd_table.garbage_pending
    watching.failure = None
    await task.run_fd_table_gc()
    assert watching.batches == 2
    assert watching.calls == []
    assert not any(map(is_open, numbers))


@pytest.mark.parametrize("shared", [False, True])
async def test_failing_closes_do_not_stop_the_collection(
    local: Local, caplog: pytest.LogCaptureFixture, shared: bool
) -> None:
    caplog.set_level(logging.WARNING)
    other = make_task(local.task) if shared else None
    fds = null_fds(local.task, 3)
    numbers = [int(fd) for fd in fds]
    os.close(numbers[0])
    del fds
    await local.task.run_fd_table_gc()
    assert not any(map(is_open, numbers))
    assert f"garbage descriptor {numbers[0]}" in caplog.text
    assert caplog.text.count("garbage descriptor") == 1
    del other


async def test_cancelled_close_leaves_garbage(local: Local) -> None:
    task, watching = local.task, Watching()
    task.sysif = watching
    fd = await open_null(local)
    watching.failure = asyncio.CancelledError()
    with pytest.raises(asyncio.CancelledError):
        await fd.close()
    watching.failure = None
    assert is_open(int(fd))
    assert not fd.valid
    await task.run_fd_table_gc()
    assert not is_open(int(fd))


async def test_cancelled_collection_leaves_garbage(local: Local) -> None:
    task, watching = local.task, Watching()
    task.sysif = watching
    other = make_task(task)
    fds = null_fds(task, 3)
    numbers = [int(fd) for fd in fds]
    del fds

    async def cancel_the_next() -> None:
        async def cancel() -> None:
            watching.failure = asyncio.CancelledError()

        watching.before = cancel

    watching.before = cancel_the_next
    with pytest.raises(asyncio.CancelledError):
        await task.run_fd_table_gc()
    watching.failure = None
    assert sum(map(is_open, numbers)) == 2
    await task.run_fd_table_gc()
    assert not any(map(is_open, numbers))
    del other


async def test_a_table_without_tasks_has_nothing_to_collect(local: Local) -> None:
    table = FDTable(1)
    await table.run_gc()


# Several tasks in one table


async def test_shared_table(local: Local) -> None:
    """Scenario 3."""
    child = make_task(local.task)
    fd = await open_null(local)
    other = fd.for_task(child)
    assert other.task is child
    assert await fd.invalidate() is False
    assert is_open(int(other))
    await other.close()
    assert not is_open(int(other))


async def test_the_oldest_task_closes_what_one_that_is_gone_has_left(local: Local) -> None:
    """When a younger one is killed meanwhile, the number may be that of another file already."""
    others = [make_task(local.task) for _ in range(8)]
    watching = [Watching() for _ in others]
    for task, sysif in zip(others, watching, strict=True):
        task.sysif = sysif
    gone = make_task(local.task)
    numbers = [int(fd) for fd in null_fds(gone, 2)]
    del gone
    gc.collect()
    await local.task.fd_table.run_gc()
    assert not any(map(is_open, numbers))
    assert not any(sysif.calls for sysif in watching)


async def test_move(local: Local) -> None:
    """Scenario 10."""
    child = make_task(local.task)
    fd = await open_null(local)
    moved = fd.move(child)
    assert moved.task is child
    assert not fd.valid
    assert is_open(int(moved))
    with pytest.raises(InvalidHandleError):
        fd.move(child)
    stranger = make_task()
    with pytest.raises(FDTableMismatchError):
        moved.move(stranger)
    assert moved.valid
    await moved.close()


async def test_borrow(local: Local) -> None:
    child, stranger = make_task(local.task), make_task()
    fd = await open_null(local)
    with fd.borrow(local.task) as number:
        assert number == fd.near
        assert fd.is_only_handle()
    with fd.borrow(child) as number:
        assert number == fd.near
        assert not fd.is_only_handle()
    assert fd.is_only_handle()
    with pytest.raises(FDTableMismatchError) as caught, fd.borrow(stranger):
        raise AssertionError("borrowed")
    assert caught.value.args[1:] == (local.task.fd_table, stranger.fd_table)
    assert "inherit_fd" in caught.value.args[0]
    with pytest.raises(FDTableMismatchError), fd.borrow(far_task()):
        raise AssertionError("borrowed")
    await fd.close()
    for task in (local.task, child):
        with pytest.raises(InvalidHandleError), fd.borrow(task):
            raise AssertionError("borrowed")


def far_task() -> far.Task:
    return far.Task(LocalSyscall(), near.Process(1), far.FDTable(1), far.AddressSpace(1), far.PidNamespace(1))


async def test_invalidating_during_a_borrow_loses_nothing(local: Local) -> None:
    child = make_task(local.task)
    fd = await open_null(local)
    with pytest.raises(InvalidHandleError, match="while borrowed"), fd.borrow(child):
        assert await fd.invalidate() is False
    assert local.task.fd_table.garbage_pending
    assert is_open(int(fd))
    await local.task.run_fd_table_gc()
    assert not is_open(int(fd))
    fd = await open_null(local)
    with pytest.raises(ZeroDivisionError), fd.borrow(child):
        await fd.invalidate()
        raise ZeroDivisionError("is not hidden")


async def test_dup2(local: Local) -> None:
    """Scenario 11."""
    source, target = await open_null(local), await local.task.open(await local.ptr("/dev/zero"), O.RDONLY)
    result = await source.dup2(target)
    assert result.valid
    assert int(result) == int(target)
    assert os.readlink(f"/proc/self/fd/{int(result)}") == "/dev/null"
    assert await source.dup2(source) is source
    await source.close()
    await result.close()


def test_what_was_replaced_is_not_inherited(local: Local) -> None:
    """After dup2 the number stands for another file than in copies of the table made before, either way."""
    null = run(open_null(local))
    zero = run(local.task.open(run(local.ptr("/dev/zero")), O.RDONLY))
    other = run(local.task.open(run(local.ptr("/dev/zero")), O.RDONLY))
    with forked_task(local) as child:
        copy = child.inherit_fd(other)
        run(child.inherit_fd(null).dup2(copy))
        with pytest.raises(FDTableMismatchError, match="non-inherited"):
            child.inherit_fd(other)
        run(zero.dup2(null))
        with pytest.raises(FDTableMismatchError, match="non-inherited"):
            child.inherit_fd(null)
        # Copies made after it have it.
        with forked_task(local) as younger:
            theirs = younger.inherit_fd(null)
            assert os.readlink(f"/proc/{int(younger.near_process)}/fd/{int(theirs)}") == "/dev/zero"
    for fd in (null, zero, other):
        run(fd.close())


def test_a_borrower_may_get_a_table_of_its_own_meanwhile(local: Local) -> None:
    fd = run(open_null(local))
    with thread_task(local) as sharing:
        with fd.borrow(sharing):
            run(sharing.unshare_files())
        assert fd.valid
        run(sharing.run_fd_table_gc())
        assert not has_open(sharing, int(fd))
        assert is_open(int(fd))
    run(fd.close())


async def test_a_table_keeps_what_others_use(local: Local) -> None:
    table = local.task.fd_table
    fd = await open_null(local)
    number = int(fd)
    table.keep_open = frozenset({number})
    del fd
    await local.task.run_fd_table_gc()
    assert is_open(number)
    # It may be asked for, and closed, by name.
    await local.task.make_fd_handle(near.FileDescriptor(number)).close()
    assert not is_open(number)


async def test_plain_tables_are_rejected() -> None:
    with pytest.raises(TypeError, match="FDTable"):
        Task(
            near.Process(1),
            far.FDTable(1),  # type: ignore[arg-type]  # that is the point
            far.AddressSpace(1),
            far.PidNamespace(1),
        )


# Copied tables


def test_copied_table(local: Local) -> None:
    """Scenario 4."""
    fd = run(open_null(local))
    with forked_task(local) as child:
        with pytest.raises(FDTableMismatchError):
            fd.for_task(child)
        copy = child.inherit_fd(fd)
        assert (copy.task, copy.near) == (child, fd.near)
        second = fd.inherit(child)
        assert not copy.is_only_handle()
        run(second.invalidate())
        run(copy.close())
        assert not has_open(child, int(fd))
        assert is_open(int(fd))
        # the copy is gone for good: the number will be given to something else
        with pytest.raises(FDTableMismatchError, match="non-inherited"):
            child.inherit_fd(fd)
        own = run(open_null(local, child))
        assert int(own) == int(fd)
        with pytest.raises(FDTableMismatchError, match="non-inherited"):
            child.inherit_fd(fd)
    run(fd.close())


def test_closing_the_original_leaves_the_copy(local: Local) -> None:
    fd = run(open_null(local))
    with forked_task(local) as child:
        copy = child.inherit_fd(fd)
        run(fd.close())
        assert has_open(child, int(copy))
        run(copy.close())


def test_what_was_opened_later_is_not_inherited(local: Local) -> None:
    """Scenario 5."""
    with forked_task(local) as child:
        fd = run(open_null(local))
        with pytest.raises(FDTableMismatchError, match="tried to inherit non-inherited fd"):
            child.inherit_fd(fd)
        run(fd.close())


def test_what_was_closed_before_is_not_inherited(local: Local) -> None:
    """Scenario 6, and the same number opened again."""
    fd = run(open_null(local))
    with forked_task(local) as child:
        run(fd.close())
        with pytest.raises(InvalidHandleError, match="no longer valid"):
            child.inherit_fd(fd)
        again = run(open_null(local))
        assert int(again) == int(fd)
        with pytest.raises(FDTableMismatchError):
            child.inherit_fd(again)
        run(again.close())


def test_grandchildren_inherit_from_grandparents(local: Local) -> None:
    """Scenario 7."""
    fd, closed_before, closed_after = null_fds(local.task, 3)
    child = make_task(local.task, copy_fd_table=True)
    pretend_closed(child, closed_before)
    grandchild = make_task(child, copy_fd_table=True)
    pretend_closed(child, closed_after)
    assert int(grandchild.inherit_fd(fd)) == int(fd)
    with pytest.raises(FDTableMismatchError):
        grandchild.inherit_fd(closed_before)
    grandchild.inherit_fd(closed_after)
    own = child.inherit_fd(fd)
    assert int(make_task(child, copy_fd_table=True).inherit_fd(own)) == int(own)
    with pytest.raises(FDTableMismatchError):
        # made from a child of the table, not from the table itself
        grandchild.inherit_fd(own)
    for handle in (fd, closed_before, closed_after):
        run(handle.close())


def pretend_closed(task: Task, fd: BaseFileDescriptor) -> None:
    """Inherit and close, without a process: the numbers of a pretended copy are our own."""
    copy = task.inherit_fd(fd)
    before, watching = task.sysif, Watching()
    task.sysif = watching
    watching.failure = OSError(5, "not really")
    with pytest.raises(OSError, match="not really"):
        run(copy.close())
    task.sysif = before


def test_siblings_do_not_inherit_from_each_other(local: Local) -> None:
    one, two = make_task(local.task, copy_fd_table=True), make_task(local.task, copy_fd_table=True)
    [fd] = null_fds(local.task, 1)
    in_one = one.make_fd_handle(fd.near)
    with pytest.raises(FDTableMismatchError):
        two.inherit_fd(in_one)
    run(fd.close())


def test_remove_inherited(local: Local) -> None:
    [fd] = null_fds(local.task, 1)
    child = make_task(local.task, copy_fd_table=True)
    child.fd_table.remove_inherited()
    with pytest.raises(FDTableMismatchError):
        child.inherit_fd(fd)
    run(fd.close())


# Unsharing


def test_unshare_files(local: Local) -> None:
    """Scenario 8, with a real shared table."""
    with thread_task(local) as child:
        old = local.task.fd_table
        shared, only_parents, only_childs = null_fds(local.task, 3)
        in_child = shared.for_task(child)
        only_childs = only_childs.move(child)
        numbers = {name: int(fd) for name, fd in [("shared", shared), ("child", only_childs)]}
        run(child.unshare_files())
        assert child.fd_table is not old
        assert not child.manipulating_fd_table
        assert child.fd_handles == {in_child, only_childs}
        assert (int(in_child), int(only_childs)) == (numbers["shared"], numbers["child"])
        # what only the child had was closed in the old table
        assert not is_open(int(only_childs))
        assert has_open(child, int(only_childs))
        assert is_open(int(shared))
        with pytest.raises(FDTableMismatchError):
            shared.for_task(child)
        assert shared.is_only_handle()
        assert in_child.is_only_handle()
        run(in_child.close())
        assert is_open(int(shared))
        # what the kernel copied can still be claimed
        copy = child.inherit_fd(only_parents)
        assert has_open(child, int(copy))
        run(shared.close())
        run(only_parents.close())
        assert has_open(child, int(copy))
        run(copy.close())
        run(only_childs.close())
        assert old.near_to_handles == {}
        assert child.fd_table.near_to_handles == {}


def test_handles_can_be_inherited_after_their_task_unshared(local: Local) -> None:
    with thread_task(local) as worker:
        [fd] = null_fds(local.task, 1)
        in_worker = fd.for_task(worker)
        before = make_task(local.task, copy_fd_table=True)
        run(worker.unshare_files())
        after = make_task(local.task, copy_fd_table=True)
        later = make_task(worker, copy_fd_table=True)
        # copied while the worker's handle was in the table
        assert int(before.inherit_fd(in_worker)) == int(fd)
        assert int(before.inherit_fd(fd)) == int(fd)
        with pytest.raises(FDTableMismatchError):
            after.inherit_fd(in_worker)
        assert int(after.inherit_fd(fd)) == int(fd)
        assert int(later.inherit_fd(in_worker)) == int(fd)
        run(worker.unshare_files())
        assert int(before.inherit_fd(in_worker)) == int(fd)
        assert int(later.inherit_fd(in_worker)) == int(fd)
        run(fd.close())
        run(in_worker.close())


def test_no_handles_while_the_table_changes(local: Local) -> None:
    """Scenario 9."""
    task = make_task(local.task)
    [fd] = null_fds(local.task, 1)
    watching = task.sysif = Watching()
    seen: list[str] = []

    async def try_things() -> None:
        assert task.manipulating_fd_table
        for attempt in (
            lambda: task.make_fd_handle(near.FileDescriptor(999)),
            lambda: fd.for_task(task),
            lambda: task.inherit_fd(fd),
        ):
            try:
                attempt()
            except (ManipulatingFDTableError, FDTableMismatchError) as exn:
                seen.append(type(exn).__name__)
        for change in (task.unshare_files, lambda: task.exit(0)):
            try:
                await change()
            except ManipulatingFDTableError as exn:
                seen.append(type(exn).__name__)

    watching.before = try_things
    watching.failure = OSError(24, "no")
    with pytest.raises(OSError, match="no"):
        run(task.unshare_files())
    assert len(seen) == 5
    assert seen[0] == "ManipulatingFDTableError"
    run(fd.close())


@pytest.mark.parametrize(
    "failure", [OSError(24, "no"), SyscallHangup("dead"), SyscallSendError("dead"), asyncio.CancelledError()]
)
def test_failed_unshare_changes_nothing(local: Local, failure: BaseException) -> None:
    task = make_task(local.task)
    old = local.task.fd_table
    fds = null_fds(local.task, 4)
    kept, closed, dropped = (fd.move(task) for fd in fds[:3])
    shared = fds[3].for_task(task)
    watching = task.sysif = Watching()

    async def disturb() -> None:
        nonlocal dropped
        watching.failure = None
        await closed.close()
        del dropped
        watching.failure = failure

    watching.before = disturb
    with pytest.raises(type(failure)):
        run(task.unshare_files())
    watching.failure = None
    assert task.fd_table is old
    assert not task.manipulating_fd_table
    assert task in old.tasks
    assert kept.valid
    assert kept.is_only_handle()
    assert not shared.is_only_handle()
    assert not closed.valid
    assert set(old.near_to_handles) == {kept.near, shared.near, fds[2].near}
    assert old.garbage_pending
    run(task.run_fd_table_gc())
    assert set(old.near_to_handles) == {kept.near, shared.near}
    # fully usable
    run(shared.invalidate())
    run(fds[3].close())
    run(kept.for_task(local.task).invalidate())
    run(kept.close())
    assert old.near_to_handles == {}
    assert not any(is_open(int(fd)) for fd in fds)


def test_garbage_is_not_copied(local: Local) -> None:
    with thread_task(local) as child:
        [fd] = null_fds(local.task, 1)
        moved, number = fd.move(child), int(fd)
        del moved
        run(child.unshare(CLONE.FILES))
        assert not is_open(number)
        assert not has_open(child, number)


def test_others_do_not_collect_what_is_being_copied(local: Local) -> None:
    """The old table keeps the handles until the kernel has copied it."""
    task = make_task(local.task)
    [fd] = null_fds(local.task, 1)
    number = int(fd)
    moved = fd.move(task)
    watching = task.sysif = Watching()

    async def collect_in_the_old_table() -> None:
        await local.task.run_fd_table_gc()
        assert is_open(number)
        watching.failure = OSError(24, "no")

    watching.before = collect_in_the_old_table
    with pytest.raises(OSError, match="no"):
        run(task.unshare_files())
    watching.failure = None
    run(moved.close())


def test_tables_of_dead_processes(local: Local) -> None:
    """Scenario 20, with a real process and a copied table."""
    fd = run(open_null(local))
    with forked_task(local) as child:
        copy = child.inherit_fd(fd)
        kill_behind_the_back(child)
        assert copy.valid
        with pytest.raises(SyscallError):
            run(copy.lseek(0, SEEK.SET))
        with pytest.raises(SyscallError):
            run(copy.close())
        run(child.run_fd_table_gc())
        run(child.run_fd_table_gc(use_self=False))
    run(fd.close())


def test_a_dropped_task_does_not_keep_its_handles(local: Local) -> None:
    """Handles that only a task refers to (its own connection, say) go with the task."""

    def make() -> int:
        task: Any = make_task(local.task)
        task.connection = null_fds(task, 1)[0]
        return int(task.connection)

    number = make()
    gc.collect()
    assert local.task.fd_table.garbage_pending
    run(local.task.run_fd_table_gc())
    assert not is_open(number)


@pytest.fixture(autouse=True)
def check_bookkeeping(local: Local) -> Iterator[None]:
    """Every entry of the table lists handles that know it."""
    yield
    # Private: a handle that the table does not know has no effect until the number is used again.
    for entry in local.task.fd_table._entries.values():
        for ref in entry:
            handle = ref()
            assert handle is None or (handle.valid and handle._ref is ref)


@pytest.mark.parametrize("abi", ABIS.values(), ids=lambda abi: abi.name)
def test_a_close_over_a_stream_is_recorded_whatever_its_number(abi: ABI) -> None:
    """Otherwise it would be made again, of a number that may be in use again by then."""
    for number in (SYS.close, abi.number(SYS.close)):
        record = CallRecord(FDTable(1))
        record.own(5)
        state = StreamState("the peer")
        state.submit(Exchange.calls(lambda: None, abi, [Syscall(number, 5)], record=record))
        state.sent(len(state.data_to_send(1000)))
        assert record.owned == ()
