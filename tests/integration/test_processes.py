"""Children, the programs that they become, and calls that ask a process about itself."""

from __future__ import annotations

import os
import signal

import pytest
import trio
import trio.testing

from rsyscall.command import Command
from rsyscall.epoller import Epoller
from rsyscall.fcntl import O
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.monitor import AsyncSignalfd
from rsyscall.sched import CLONE, CpuSet
from rsyscall.signal import SIG, Sigaction, Sighandler, Sigset
from rsyscall.stdlib import mkdtemp
from rsyscall.sys.prctl import PR
from rsyscall.sys.timerfd import TFD_TIMER
from rsyscall.sys.wait import CalledProcessError, W
from rsyscall.tasks.local import local_thread
from rsyscall.thread import ChildThread
from rsyscall.time import CLOCK, Itimerspec, Timespec

from .support import cloned, close, do_async_things, exec_with, finish, pipe_of, read_exactly, sh, write_all

pytestmark = pytest.mark.usefixtures("transport")

CAT = Command("/bin/cat", ["cat"], {})


async def test_a_program_between_two_pipes() -> None:
    """No other process has copies of its ends: it sees the end of its input, and we that of its output."""
    async with pipe_of(local_thread) as stdin, pipe_of(local_thread) as stdout:
        child = await local_thread.clone()
        process = await exec_with(child, CAT, stdin.read, stdout.write)
        await close(stdin.read, stdout.write)
        for data in (b"hello", b"world"):
            await write_all(local_thread, stdin.write, data)
            assert await read_exactly(local_thread, stdout.read, 5) == data
        await stdin.write.close()
        assert await read_exactly(local_thread, stdout.read, 1) == b""
        await process.check()


async def test_a_program_between_two_pipes_that_we_wait_for() -> None:
    async with pipe_of(local_thread) as stdin, pipe_of(local_thread) as stdout:
        child = await local_thread.clone()
        process = await exec_with(child, CAT, stdin.read, stdout.write)
        await close(stdin.read, stdout.write)
        writer = await local_thread.make_afd(stdin.write, set_nonblock=True)
        reader = await local_thread.make_afd(stdout.read, set_nonblock=True)
        received = []
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                received.append(await reader.read_some_bytes())

            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            await writer.write_all_bytes(b"hello")
        assert received == [b"hello"]
        # The handle is still a handle.
        await stdin.write.close()
        assert await reader.read_some_bytes() == b""
        await reader.close()
        await process.check()


async def test_children_of_a_child() -> None:
    async with cloned(local_thread, CLONE.FILES) as child:
        grandchild = await child.clone(CLONE.FILES)
        await finish(grandchild)
        for _ in range(5):
            grandchild = await child.clone(CLONE.FILES)
            await do_async_things(grandchild)
            await finish(grandchild)


async def test_two_programs_at_once() -> None:
    """Two deaths may make one signal."""
    first = await (await local_thread.clone()).exec(sh("true"))
    second = await (await local_thread.clone()).exec(sh("true"))
    with trio.fail_after(60):
        await first.check()
        await second.check()


@pytest.mark.parametrize("flags", [CLONE.FILES, CLONE.NONE], ids=["shared", "private"])
async def test_event_loops_in_children(flags: CLONE) -> None:
    async with cloned(local_thread, flags) as child, cloned(child, flags) as grandchild:
        for thread in (child, grandchild):
            await do_async_things(thread, await Epoller.make_root(thread.ram, thread.task))


async def test_event_loop_in_a_table_that_is_unshared() -> None:
    async with cloned(local_thread, CLONE.FILES) as child:
        await child.unshare_files()
        async with cloned(child, CLONE.FILES) as grandchild:
            epoller = await Epoller.make_root(grandchild.ram, grandchild.task)
            await grandchild.unshare_files()
            await do_async_things(grandchild, epoller)
            await do_async_things(child)


async def test_a_program_that_fails() -> None:
    process = await (await local_thread.clone()).exec(sh("false"))
    with pytest.raises(CalledProcessError) as caught:
        await process.check()
    assert caught.value.state.exit_status == 1
    assert caught.value.command is not None


async def test_check_in_a_nursery_that_is_cancelled() -> None:
    process = await (await local_thread.clone()).exec(sh("exec sleep inf"))
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(process.check)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert (await process.waitpid(W.EXITED)).killed_with() == SIG.TERM


async def test_programs_of_a_family() -> None:
    """The memory in which the grandchild was prepared is no longer that of its parent."""
    child = await local_thread.clone()
    grandchild = await child.clone()
    await (await child.exec(sh("true"))).check()
    await (await grandchild.exec(sh("true"))).check()


async def test_temporary_directory_of_a_child() -> None:
    async with cloned(local_thread) as child, await mkdtemp(child, "child") as path:
        await child.mkdir(path / "inside")
        assert os.listdir(path) == ["inside"]
    assert not os.path.exists(path)


async def test_signals_as_events() -> None:
    async with cloned(local_thread) as child:
        epoller = await Epoller.make_root(child.ram, child.task)
        sigfd = await AsyncSignalfd.make(child.ram, child.task, epoller, Sigset({SIG.INT}))
        event = sigfd.next_signal
        await child.process.kill(SIG.INT)
        with trio.fail_after(60):
            await event.wait()


async def test_a_descriptor_used_by_two() -> None:
    """Registered by one process, written by another."""
    async with pipe_of(local_thread, O.NONBLOCK) as pipe, cloned(local_thread, CLONE.FILES) as child:
        reader, writer = await local_thread.make_afd(pipe.read), await local_thread.make_afd(pipe.write)
        theirs = pipe.write.for_task(child.task)
        await writer.with_handle(theirs).write_all_bytes(b"data")
        assert await reader.read_some_bytes() == b"data"
        await theirs.invalidate()
        await reader.close()
        await writer.close()


# ---- What a process knows of itself


async def test_name(child: ChildThread) -> None:
    buf = await child.malloc(str, 16)
    name = await child.task.prctl(PR.GET_NAME, buf)
    before = await name.read()
    assert before
    await child.task.prctl(PR.SET_NAME, await child.ptr("integration"))
    name = await child.task.prctl(PR.GET_NAME, name)
    assert await name.read() == "integration"


async def test_affinity(child: ChildThread) -> None:
    before = await (await child.task.sched_getaffinity(await child.malloc(CpuSet))).read()
    assert before == os.sched_getaffinity(0)
    with pytest.raises(OSError):
        await child.task.sched_setaffinity(await child.ptr(CpuSet()))
    one = CpuSet({min(before)})
    await child.task.sched_setaffinity(await child.ptr(one))
    mask = await child.task.sched_getaffinity(await child.malloc(CpuSet))
    assert await mask.read() == one
    await child.task.sched_setaffinity(await child.ptr(before))
    assert await (await child.task.sched_getaffinity(mask)).read() == before


async def test_action_of_a_signal() -> None:
    """In our own process."""
    before = signal.getsignal(signal.SIGWINCH)
    action = Sigaction(Sighandler.DFL)
    old = await local_thread.malloc(Sigaction)
    await local_thread.task.sigaction(SIG.WINCH, await local_thread.ptr(action), old)
    try:
        again = await local_thread.malloc(Sigaction)
        await local_thread.task.sigaction(SIG.WINCH, None, again)
        assert await again.read() == action
    finally:
        await local_thread.task.sigaction(SIG.WINCH, await local_thread.ptr(await old.read()), None)
    assert signal.getsignal(signal.SIGWINCH) == before


async def test_timer(child: ChildThread) -> None:
    timer = await child.task.timerfd_create(CLOCK.MONOTONIC)
    setting = await child.ptr(Itimerspec(Timespec(0, 0), Timespec(1000, 1)))
    await timer.timerfd_settime(TFD_TIMER.NONE, setting)
    now = await (await timer.timerfd_gettime(await child.malloc(Itimerspec))).read()
    assert 990 * 10**9 < now.value.to_nanos() <= 1000 * 10**9 + 1
    await timer.timerfd_settime(TFD_TIMER.NONE, await child.ptr(Itimerspec(0, Timespec(0, 1))))
    assert int.from_bytes(await read_exactly(child, timer, 8), "little") == 1


async def test_pointers_after_their_end(child: ChildThread) -> None:
    freed = await child.malloc(bytes, 10)
    freed.free()
    with pytest.raises(UseAfterFreeError):
        freed.near  # noqa: B018
    assert str(freed)
    for pointer in (await child.malloc(bytes, 10), await child.ptr(b"x")):
        pointer.allocation.free()
        with pytest.raises(UseAfterFreeError):
            pointer.near  # noqa: B018
        assert str(pointer)


async def test_memory_of_a_family(child: ChildThread) -> None:
    """A pointer serves every process that shares the memory."""
    async with pipe_of(local_thread) as pipe:
        await pipe.write.write(await child.ptr(b"from the child"))
        assert await read_exactly(local_thread, pipe.read, 14) == b"from the child"
