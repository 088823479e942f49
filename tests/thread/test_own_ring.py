"""Processes with memory of their own behind a ring: their memory, when there is none, and those that lie."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import os
import random
import resource
import signal
import struct
import subprocess
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing
from liar import EVERY_LIE
from support import assert_thread_works, local_thread, pid_of, sh
from test_hostile_peer import operations, outcome
from waiting import wait_until

from rsyscall.near import SYS, SyscallError
from rsyscall.own_ring import OwnRingConnection
from rsyscall.sched import CLONE
from rsyscall.settings import spin_budgets
from rsyscall.sys.mman import MAP, PROT
from rsyscall.sys.wait import W
from rsyscall.thread import ChildThread, Thread

POLLFD = struct.Struct("=ihh")
POLLIN = 1


async def with_ring(parent: Thread = local_thread, flags: CLONE = CLONE.NONE) -> ChildThread:
    child = await parent.clone(flags, own_memory=True)
    assert isinstance(child.task.sysif, OwnRingConnection)
    return child


async def test_memory_beyond_the_arena() -> None:
    child = await with_ring()
    async with child.process:
        data = os.urandom(5 << 20)
        written = await child.ptr(data)
        assert await written.read() == data
        sums = await child.malloc(bytes, 20)
        assert await (await sums.write(b"x" * 20)).read() == b"x" * 20


async def test_bad_addresses() -> None:
    child = await with_ring()
    async with child.process:
        sysif = child.task.sysif
        mapping = await child.task.mmap(8192, PROT.READ | PROT.WRITE, MAP.PRIVATE)
        start = mapping.near.address
        await child.task.sysif.syscall(SYS.munmap, start + 4096, 4096)
        await sysif.write_memory(start, b"abc")
        assert await sysif.read_memory(start, 3) == b"abc"
        for address in (0, 8, start + 4096, start + 4000, 2**63, 2**64 - 8):
            with pytest.raises(OSError, match="Bad address") as caught:
                await sysif.read_memory(address, 200)
            assert caught.value.errno == errno.EFAULT
            with pytest.raises(OSError, match="Bad address"):
                await sysif.write_memory(address, bytes(200))
        assert await sysif.read_memory(start, 3) == b"abc"
        await assert_thread_works(child)


async def test_children_share_its_memory_and_have_rings_in_its_file() -> None:
    parent = await with_ring()
    async with parent.process:
        child = await parent.clone()
        async with child.process:
            grandchild = await child.clone()
            async with grandchild.process:
                for thread in (child, grandchild):
                    assert isinstance(thread.task.sysif, OwnRingConnection)
                    assert thread.task.address_space is parent.task.address_space
                    assert await thread.task.getpid() == thread.process.process.near
                for size in (20, 5 << 20):
                    data = os.urandom(size)
                    written = await child.ptr(data)
                    assert await grandchild.task.sysif.read_memory(written.near, size) == data
                    assert await parent.task.sysif.read_memory(written.near, size) == data
                await assert_thread_works(grandchild)
            await assert_thread_works(child)
        await assert_thread_works(parent)


async def test_children_with_memory_of_their_own_are_copies() -> None:
    parent = await with_ring()
    async with parent.process:
        child = await parent.clone(own_memory=True)
        async with child.process:
            assert child.task.address_space is not parent.task.address_space
            await assert_thread_works(child)
        await assert_thread_works(parent)


async def test_children_outlive_it() -> None:
    parent = await with_ring()
    child = await parent.clone()
    async with child.process:
        async with parent.process:
            pass
        vars(parent).clear()
        gc.collect()
        await assert_thread_works(child)
        data = os.urandom(5 << 20)
        assert await (await child.ptr(data)).read() == data


async def test_what_a_child_runs_on_is_not_allocated_again_before_it_has_left() -> None:
    parent = await with_ring()
    async with parent.process:
        children = [await parent.clone() for _ in range(3)]
        for size in (100, 16384, 60000):
            await parent.ptr(b"\xff" * size)
        for child in children:
            assert await child.task.getpid() == child.process.process.near
            async with child.process:
                pass


@pytest.mark.slow
async def test_the_memory_of_children_that_have_left_is_free() -> None:
    """Many more than there is room for at once, the programs of which go on."""
    parent = await with_ring()
    async with parent.process, contextlib.AsyncExitStack() as stack:
        for _ in range(200):
            child = await parent.clone()
            assert isinstance(child.task.sysif, OwnRingConnection)
            await stack.enter_async_context(await child.exec(sh("read line")))
        for _ in range(200):
            child = await parent.clone()
            async with child.process:
                assert isinstance(child.task.sysif, OwnRingConnection)


async def test_children_without_room_in_the_file_are_copies() -> None:
    parent = await with_ring()
    async with parent.process:
        filling = [await parent.malloc(bytes, 32000) for _ in range(140)]
        child = await parent.clone()
        async with child.process:
            assert not isinstance(child.task.sysif, OwnRingConnection)
            await assert_thread_works(child)
        del filling
        child = await parent.clone()
        async with child.process:
            assert isinstance(child.task.sysif, OwnRingConnection)


@pytest.mark.parametrize("spin", [True, False])
async def test_calls_behind_one_that_waits_for_them(spin: bool) -> None:
    """The activity fd ends the call that waits when there is another one, and is silent after that."""
    hub = local_thread.loader.hub
    assert hub is not None
    if not spin:
        hub.set_spin(0, 0)
    child = await with_ring()
    async with child.process:
        sysif = child.task.sysif
        assert isinstance(sysif, OwnRingConnection)
        ring, number = sysif.ring, int(sysif.get_activity_fd().near)
        fds = await child.ptr(POLLFD.pack(number, POLLIN, 0))
        results = []

        async def poll(seconds: int, nanoseconds: int) -> None:
            time = await child.ptr(struct.pack("qq", seconds, nanoseconds))
            results.append(await child.task.sysif.syscall(SYS.ppoll, fds.near, 1, time.near, 0, 8))

        with trio.fail_after(60):
            for turn in range(100):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(poll, 10, 0)
                    if turn % 2:
                        await trio.testing.wait_all_tasks_blocked()
                    # Otherwise as soon as it has been sent.
                    while not ring.outstanding:
                        await trio.lowlevel.checkpoint()
                    assert await child.task.getpid() == child.process.process.near
                # One byte may have come after the look for it.
                for _ in range(3):
                    await poll(0, 100000)
        assert results[3::4] == [0] * 100, results
    hub.set_spin(*spin_budgets())


async def test_no_room_for_the_file_makes_it_a_stream() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, hard))
    try:
        child = await local_thread.clone(own_memory=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    async with child.process:
        assert not isinstance(child.task.sysif, OwnRingConnection)
        await assert_thread_works(child)


async def test_one_that_cannot_map_the_file_uses_the_stream() -> None:
    """Its address space is too small."""
    parent = await local_thread.clone()
    async with parent.process:
        # The limit is checked when memory is mapped, and exec frees what there was.
        limit = await parent.ptr(struct.pack("QQ", 3 << 20, resource.RLIM_INFINITY & (2**64 - 1)))
        await parent.task.sysif.syscall(SYS.prlimit64, 0, resource.RLIMIT_AS, limit.near, 0)
        child = await parent.clone(own_memory=True)
        async with child.process:
            assert not isinstance(child.task.sysif, OwnRingConnection)
            await assert_thread_works(child)


async def test_exec_and_exit_are_noticed() -> None:
    for _ in range(5):
        child = await with_ring()
        process = await child.exec(sh("exit 3"))
        assert (await process.waitpid(W.EXITED)).exit_status == 3
        child = await with_ring()
        async with child.process:
            with pytest.raises(SyscallError):
                await child.task.sysif.syscall(SYS.exit, 0)
            with pytest.raises(SyscallError):
                await child.task.getpid()
        vars(child).clear()


async def test_the_file_cannot_be_changed() -> None:
    child = await with_ring()
    async with child.process:
        file = child.task.sysif.file  # type: ignore[attr-defined] # what a process would find
        for size in (0, 1 << 30):
            with pytest.raises(OSError, match="not permitted"):
                await file.ftruncate(size)
        await assert_thread_works(child)


# ---- hostile ones


def taken(child: ChildThread, number: int) -> int:
    """A descriptor of another process, in our table."""
    pidfd = os.pidfd_open(pid_of(child))
    found = ctypes.CDLL(None).syscall(int(SYS.pidfd_getfd), pidfd, number, 0)
    os.close(pidfd)
    assert found >= 0
    return int(found)


@contextlib.asynccontextmanager
async def hostile(
    liar: str, seed: int, lies: str, ms: int, flags: CLONE = CLONE.NONE
) -> AsyncIterator[tuple[ChildThread, subprocess.Popen[bytes]]]:
    """A process in whose place the program lies."""
    child = await with_ring(flags=flags)
    os.kill(pid_of(child), signal.SIGSTOP)
    sysif = child.task.sysif
    assert isinstance(sysif, OwnRingConnection)
    numbers = [taken(child, int(fd.near)) for fd in (sysif.file, sysif._server_fd)]
    del sysif
    arguments = [liar, *map(str, numbers), str(seed), lies, str(ms)]
    with subprocess.Popen(arguments, pass_fds=numbers) as process:
        for number in numbers:
            os.close(number)
        try:
            yield child, process
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                async with child.process:
                    pass
    vars(child).clear()


NAMES = ["name", "where", "link", "read", "stat", "clone", "listen", "run", "channel"]


@pytest.mark.slow
@pytest.mark.needs("pidfd_getfd")
@pytest.mark.parametrize("lies", ["a", "aaaw", "apm", "aaat", "ahd", "asr", EVERY_LIE, EVERY_LIE + "l"])
async def test_lies(liar: str, lies: str) -> None:
    """Each of these operations returns or raises, or waits until the process is killed."""
    innocent = await local_thread.clone()
    async with innocent.process:
        for seed, operation in enumerate(NAMES):
            async with hostile(liar, seed, lies, 2000) as (child, _):
                work = (await operations(child))[operation]
                with trio.move_on_after(0.2):
                    await outcome(work)
                del work
                await assert_thread_works(innocent)
        gc.collect()
        await assert_thread_works(innocent)
        await assert_thread_works(local_thread)


@pytest.mark.needs("pidfd_getfd")
async def test_pretended_progress_holds_up_no_other_task(liar: str) -> None:
    async with hostile(liar, 0, "p", 20000) as (child, _):
        results = []

        async def call() -> None:
            results.append(await outcome(child.task.getppid))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await trio.testing.wait_all_tasks_blocked()
            await assert_thread_works(local_thread)
            assert not results
            await child.process.kill()
        assert isinstance(results[0], SyscallError)


@pytest.mark.needs("pidfd_getfd")
async def test_one_that_tells_of_answers_all_the_time_is_not_listened_to(liar: str) -> None:
    async with hostile(liar, 0, "t", 20000) as (child, _):
        with trio.fail_after(60):
            with pytest.raises(SyscallError):
                while True:
                    await child.task.getppid()
        await assert_thread_works(local_thread)


@pytest.mark.needs("pidfd_getfd")
async def test_one_that_says_it_is_dead(liar: str) -> None:
    async with hostile(liar, 0, "l", 60000) as (child, _):
        # First: a call would not be answered, and nothing would wake its caller.
        await wait_until(
            lambda: isinstance(child.task.sysif, OwnRingConnection) and child.task.sysif.ring.left
        )
        with trio.fail_after(60), pytest.raises(SyscallError):
            await child.task.getppid()


async def test_the_number_of_a_socket_is_used_again() -> None:
    """It was closed when its process executed a program. The exit of that is not about the next one's."""

    def socket(child: ChildThread) -> int:
        assert isinstance(child.task.sysif, OwnRingConnection)
        return child.task.sysif.ring.socket

    child = await with_ring()
    number = socket(child)
    program = await child.exec(sh("exec sleep 1000"))
    others = [await with_ring()]
    while socket(others[-1]) != number and len(others) < 20:
        others.append(await with_ring())
    assert socket(others[-1]) == number
    async with program:
        pass
    pause = await others[-1].ptr(struct.pack("qq", 0, 50_000_000))
    # Longer than a spin: its answer is announced.
    await others[-1].task.sysif.syscall(SYS.nanosleep, pause.near, 0)
    for other in others:
        async with other.process:
            pass


async def test_nothing_is_left() -> None:
    """The tests count descriptors, mappings and children around this; here are many at once."""
    children = [await with_ring() for _ in range(10)]
    random.Random(0).shuffle(children)
    for child in children:
        async with child.process:
            await child.ptr("x" * 1000)
