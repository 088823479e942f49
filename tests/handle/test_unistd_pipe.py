"""`rsyscall.unistd.pipe`."""

from __future__ import annotations

import gc
import logging
import os

import pytest

from rsyscall.far import AddressSpaceMismatchError, FDTableMismatchError
from rsyscall.fcntl import F, O
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.handle.fd import ManipulatingFDTableError, SharedHandleError
from rsyscall.handle.pointer import LinearPointer, LinearReadError
from rsyscall.near import types as near
from rsyscall.unistd import Pipe
from rsyscall.unistd.pipe import PipeSerializer

from .helpers import no_calls, sharer, stranger
from .support import Local, forget, open_fds


async def test_what_is_written_can_be_read(local: Local) -> None:
    pipe = await (await local.task.pipe(await local.malloc(Pipe))).read()
    await pipe.write.write(await local.ptr(b"through"))
    valid, _ = await pipe.read.read(await local.malloc(bytes, 100))
    assert await valid.read() == b"through"
    await pipe.write.close()
    valid, _ = await pipe.read.read(await local.malloc(bytes, 100))
    assert valid.size() == 0


async def test_ends_by_name_index_and_iteration(local: Local) -> None:
    pipe = await (await local.task.pipe(await local.malloc(Pipe))).read()
    assert pipe[0] is pipe.read
    assert pipe[1] is pipe.write
    assert list(pipe) == [pipe.read, pipe.write]
    read, write = pipe
    assert (read, write) == (pipe.read, pipe.write)


async def test_close_on_exec_is_forced_and_flags_are_kept(local: Local) -> None:
    pipe = await (await local.task.pipe(await local.malloc(Pipe), O.NONBLOCK | O.DIRECT)).read()
    for end in pipe:
        assert not os.get_inheritable(int(end))
        assert O(await end.fcntl(F.GETFL)) & O.NONBLOCK
    assert O(await pipe.write.fcntl(F.GETFL)) & O.DIRECT


async def test_handles_are_made_once(local: Local) -> None:
    buf = await local.task.pipe(await local.malloc(Pipe))
    assert isinstance(buf, LinearPointer)
    pipe = await buf.read()
    with pytest.raises(LinearReadError):
        await buf.read()
    await pipe.read.close()
    await pipe.write.close()


@pytest.mark.parametrize("taken", [0, 1])
async def test_both_ends_are_taken_over_or_none(
    local: Local, caplog: pytest.LogCaptureFixture, taken: int
) -> None:
    """What was not taken over can be read when whatever was in the way is gone."""
    caplog.set_level(logging.ERROR)
    before = open_fds()
    buf = await local.task.pipe(await local.malloc(Pipe))
    numbers = sorted(set(open_fds()) - set(before))
    thief = local.task.make_fd_handle(near.FileDescriptor(numbers[taken]))
    for _again in range(2):
        with pytest.raises(SharedHandleError):
            await buf.read()
        gc.collect()
        await local.task.run_fd_table_gc()
        assert set(open_fds()) - set(before) == set(numbers)
    forget(thief)
    pipe = await buf.read()
    assert [int(end) for end in pipe] == numbers
    assert pipe.read.is_only_handle()
    del buf
    await pipe.read.close()
    await pipe.write.close()
    assert open_fds() == before
    assert not caplog.records


async def test_ends_can_be_had_when_the_table_has_been_changed(
    local: Local, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    buf = await local.task.pipe(await local.malloc(Pipe))
    local.task.manipulating_fd_table = True
    with pytest.raises(ManipulatingFDTableError):
        await buf.read()
    local.task.manipulating_fd_table = False
    pipe = await buf.read()
    await pipe.read.close()
    await pipe.write.close()
    assert not caplog.records


async def test_memory_can_be_used_again(local: Local) -> None:
    first, memory = await (await local.task.pipe(await local.malloc(Pipe))).linear_read()
    second, _ = await (await local.task.pipe(memory)).linear_read()
    assert len({int(fd) for fd in (*first, *second)}) == 4


async def test_handles_belong_to_the_task_of_the_memory(local: Local) -> None:
    other = sharer(local, fds=True)
    memory = local.malloc_serializer(PipeSerializer(Pipe, other), Pipe.sizeof(), Pipe)
    pipe = await (await local.task.pipe(memory)).read()
    assert pipe.read.task is other
    assert pipe.write.task is other


async def test_memory_of_a_task_with_another_table_is_refused(local: Local) -> None:
    """The handles would be for whatever has those numbers in the other table."""
    other = sharer(local, fds=False)
    memory = local.malloc_serializer(PipeSerializer(Pipe, other), Pipe.sizeof(), Pipe)
    before = open_fds()
    with no_calls(local.task), pytest.raises(FDTableMismatchError):
        await local.task.pipe(memory)
    assert open_fds() == before
    assert memory.valid


async def test_misuse_raises_before_any_call(local: Local) -> None:
    foreign = await stranger().malloc(bytes, 8)
    freed = await local.malloc(Pipe)
    freed.free()
    small, _ = (await local.malloc(Pipe)).split(7)
    with no_calls(local.task):
        with pytest.raises(AddressSpaceMismatchError):
            await local.task.pipe(foreign)  # type: ignore[arg-type]  # its type does not matter
        with pytest.raises(UseAfterFreeError):
            await local.task.pipe(freed)
        with pytest.raises(ValueError, match="8 bytes"):
            await local.task.pipe(small)


async def test_flags_that_do_not_exist_raise(local: Local) -> None:
    buf = await local.malloc(Pipe)
    with pytest.raises(OSError, match="Invalid argument"):
        await local.task.pipe(buf, O.APPEND)
    assert buf.valid


async def test_ends_that_have_been_closed_are_not_called_lost(
    local: Local, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception in a call gives up what it has made, before the memory is dropped."""
    caplog.set_level(logging.ERROR)
    before = open_fds()
    unread = await local.task.pipe(await local.malloc(Pipe))
    # As the call itself does, when an exception comes between it and its caller.
    assert unread._record is not None
    unread._record.give_up()
    await local.task.fd_table.gc_using_task(local.task)
    assert open_fds() == before
    del unread
    assert caplog.text == ""
