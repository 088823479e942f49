"""`rsyscall.unistd.fds`: copying descriptors and closing many, without harm to handles."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from rsyscall.far import FDTableMismatchError
from rsyscall.fcntl import F, O
from rsyscall.handle.fd import InvalidHandleError, ManipulatingFDTableError, SharedHandleError
from rsyscall.unistd import CLOSE_RANGE, Pipe

from .helpers import forked, no_calls, sharer
from .processes import forked_task
from .support import Local, forget, is_open, null_fds, run


async def test_dup(local: Local) -> None:
    pipe = await (await local.task.pipe(await local.malloc(Pipe))).read()
    copy = await pipe.write.dup()
    assert copy.near != pipe.write.near
    assert not os.get_inheritable(int(copy))
    assert os.path.sameopenfile(int(copy), int(pipe.write))
    await pipe.write.close()
    await copy.write(await local.ptr(b"still open"))
    high = await copy.dup(200)
    assert int(high) >= 200
    with pytest.raises(OSError, match="Invalid argument") as info:
        await copy.dup(-1)
    assert info.value.filename is copy


async def test_dup2_replaces_what_a_descriptor_refers_to(local: Local) -> None:
    pipe = await (await local.task.pipe(await local.malloc(Pipe))).read()
    (target,) = null_fds(local.task, 1)
    number = target.near
    assert await pipe.write.dup2(target) is target
    assert target.near == number
    assert target.valid
    assert os.path.sameopenfile(int(target), int(pipe.write))
    assert os.get_inheritable(int(target))
    await target.write(await local.ptr(b"x"))
    valid, _ = await pipe.read.read(await local.malloc(bytes, 10))
    assert await valid.read() == b"x"


async def test_dup3_with_close_on_exec(local: Local) -> None:
    first, second = null_fds(local.task, 2)
    assert await first.dup3(second, O.CLOEXEC) is second
    assert not os.get_inheritable(int(second))
    with pytest.raises(OSError, match="Invalid argument") as info:
        await first.dup3(second, O.APPEND)
    assert (info.value.filename, info.value.filename2) == (first, second)


async def test_dup2_onto_itself_keeps_it_open_over_exec(local: Local) -> None:
    (fd,) = null_fds(local.task, 1)
    twin = fd.for_task(local.task)
    for target in (fd, twin):
        assert await fd.dup3(target, O.CLOEXEC) is target
        assert not os.get_inheritable(int(fd))
        assert await fd.dup2(target) is target
        assert os.get_inheritable(int(fd))
    await twin.invalidate()


async def test_dup2_onto_a_shared_descriptor_is_refused(local: Local) -> None:
    fd, target = null_fds(local.task, 2)
    other = target.for_task(local.task)
    with no_calls(local.task):
        with pytest.raises(SharedHandleError):
            await fd.dup2(target)
        with pytest.raises(SharedHandleError):
            await fd.dup3(other, O.CLOEXEC)
    await other.invalidate()
    await fd.dup2(target)


async def test_dup2_onto_a_descriptor_of_another_task_of_the_table(local: Local) -> None:
    (target,) = null_fds(local.task, 1)
    other = sharer(local, fds=True)
    target = target.move(other)
    pipe = await (await local.task.pipe(await local.malloc(Pipe))).read()
    assert await pipe.read.dup2(target) is target
    assert target.task is other
    assert target.is_only_handle()
    assert os.path.sameopenfile(int(target), int(pipe.read))


async def test_dup2_onto_a_number_of_another_table_is_refused(local: Local) -> None:
    other = sharer(local, fds=False)
    fd, target = null_fds(local.task, 2)
    theirs = other.make_fd_handle(target.near)
    with no_calls(local.task, other):
        with pytest.raises(FDTableMismatchError):
            await fd.dup2(theirs)
        with pytest.raises(FDTableMismatchError):
            await target.dup2(theirs)  # although the numbers are the same
    forget(theirs)


async def test_dup2_of_closed_handles_is_refused(local: Local) -> None:
    fd, closed = null_fds(local.task, 2)
    await closed.close()
    with no_calls(local.task):
        with pytest.raises(InvalidHandleError):
            await fd.dup2(closed)
        with pytest.raises(InvalidHandleError):
            await closed.dup2(fd)
        with pytest.raises(InvalidHandleError):
            await closed.dup()


@forked
async def test_close_range_closes_what_nobody_owns(local: Local, tmp_path: Path) -> None:
    (fd,) = null_fds(local.task, 1)
    strays = [os.dup(int(fd)) for _ in range(3)]
    high = int(await (await fd.dup(100)).fcntl(F.DUPFD_CLOEXEC, 150))
    await local.task.close_range(strays[0], strays[-1])
    assert not any(is_open(number) for number in strays)
    assert is_open(high)
    assert is_open(int(fd))


@forked
async def test_close_range_spares_handles(local: Local, tmp_path: Path) -> None:
    (fd,) = null_fds(local.task, 1)
    stray = os.dup(int(fd))
    with no_calls(local.task), pytest.raises(SharedHandleError, match=str(int(fd))):
        await local.task.close_range(int(fd), 2**32 - 1)
    assert is_open(stray)
    await local.task.close_range(stray, 2**32 - 1)
    assert not is_open(stray)
    assert is_open(int(fd))


@forked
async def test_close_range_takes_garbage_with_it(local: Local, tmp_path: Path) -> None:
    """Otherwise collecting it later would close whatever has the number by then."""
    (fd,) = null_fds(local.task, 1)
    number = int(fd)
    del fd
    await local.task.close_range(number, number)
    assert not is_open(number)
    (again,) = null_fds(local.task, 1)
    assert int(again) == number
    await local.task.run_fd_table_gc()
    assert is_open(number)


async def test_failed_close_range_keeps_garbage(local: Local) -> None:
    (fd,) = null_fds(local.task, 1)
    number = int(fd)
    del fd
    with pytest.raises(OSError, match="Invalid argument") as info:
        await local.task.close_range(number, number, CLOSE_RANGE(1 << 20))
    assert info.value.filename == (number, number, 1 << 20)
    with pytest.raises(OSError, match="Invalid argument"):
        await local.task.close_range(number + 1, number)
    assert is_open(number)
    await local.task.run_fd_table_gc()
    assert not is_open(number)


@forked
async def test_close_range_marks_close_on_exec(local: Local, tmp_path: Path) -> None:
    (fd,) = null_fds(local.task, 1)
    stray = os.dup(int(fd))
    for number in (stray, int(fd)):
        os.set_inheritable(number, True)
    await local.task.close_range(int(fd), 2**32 - 1, CLOSE_RANGE.CLOEXEC)
    assert not os.get_inheritable(stray)
    assert not os.get_inheritable(int(fd))
    assert fd.valid


@forked
async def test_close_range_with_a_table_of_its_own(local: Local, tmp_path: Path) -> None:
    other = sharer(local, fds=True)
    (theirs,) = null_fds(other, 1)
    (ours,) = null_fds(local.task, 1)
    # In truth the two tasks are one process; this second handle keeps the descriptor open in the table that
    # stands for the old one.
    also_theirs = ours.for_task(other)
    with pytest.raises(SharedHandleError):
        await local.task.close_range(int(ours), int(ours), CLOSE_RANGE.UNSHARE)
    assert local.task.fd_table is other.fd_table
    # The other task's handle is in the range, but not in our own table.
    await local.task.close_range(int(theirs), int(theirs), CLOSE_RANGE.UNSHARE)
    assert local.task.fd_table is not other.fd_table
    assert theirs.valid
    assert not is_open(int(theirs))
    assert is_open(int(ours))
    assert also_theirs.valid


def test_a_failed_close_range_spoils_nothing(local: Local) -> None:
    (fd,) = null_fds(local.task, 1)
    with forked_task(local) as child:
        with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
            run(child.close_range(1000, 2000, CLOSE_RANGE(1 << 20)))
        run(child.inherit_fd(fd).close())
    run(fd.close())


async def test_close_range_while_the_table_is_changed_is_refused(local: Local) -> None:
    local.task.manipulating_fd_table = True
    try:
        with no_calls(local.task), pytest.raises(ManipulatingFDTableError):
            await local.task.close_range(1000, 2000)
    finally:
        local.task.manipulating_fd_table = False
