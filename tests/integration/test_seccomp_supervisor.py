"""`rsyscall.seccomp_supervisor`."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path as LocalPath

import pytest
import trio

from rsyscall.far import FDTableMismatchError
from rsyscall.fcntl import O
from rsyscall.linux.seccomp import SECCOMP_RET
from rsyscall.near import SYS, SyscallError
from rsyscall.sched import CLONE
from rsyscall.seccomp_supervisor import SeccompSupervisor, SupervisedCall
from rsyscall.signal import SIG
from rsyscall.sys.wait import W
from rsyscall.tasks.local import local_thread
from rsyscall.thread import ChildThread

SECONDS = 60
NOTIF = SECCOMP_RET.USER_NOTIF

Answer = Callable[[SupervisedCall], Awaitable[object]]


@asynccontextmanager
async def supervised(*calls: SYS) -> AsyncIterator[tuple[ChildThread, SeccompSupervisor]]:
    """A process whose calls of these kinds wait for an answer."""
    with trio.fail_after(SECONDS):
        child = await local_thread.clone(CLONE.FILES)
        async with child.process:
            supervisor = await SeccompSupervisor.make(local_thread, child, dict.fromkeys(calls, NOTIF))
            async with supervisor:
                yield child, supervisor


async def answered(supervisor: SeccompSupervisor, call: Awaitable[object], *answers: Answer) -> object:
    """Answer what comes of a call; returns its result, or the error."""
    results: list[object] = []

    async def make() -> None:
        try:
            results.append(await call)
        except OSError as error:
            results.append(error.errno)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(make)
        for answer in answers:
            waiting = await supervisor.receive()
            assert waiting is not None
            await answer(waiting)
    return results[0]


async def test_answers(transport: str) -> None:
    async with supervised(SYS.getppid, SYS.umask) as (child, supervisor):
        seen: list[SupervisedCall] = []

        async def note(call: SupervisedCall) -> None:
            seen.append(call)
            await call.check_waits()
            await call.go_on()

        assert await answered(supervisor, child.task.umask(0o31), note) == 0o22
        assert (seen[0].nr, seen[0].args[0], seen[0].pid) == (SYS.umask, 0o31, child.process.pid)
        assert repr(seen[0]) == f"<umask(0x19{', 0x0' * 5}) in {child.process.pid}>"
        assert await answered(supervisor, child.task.umask(0o77), lambda call: call.succeed(5)) == 5
        assert await answered(supervisor, child.task.umask(0o77), lambda call: call.fail(errno.EXDEV)) == (
            errno.EXDEV
        )
        assert await answered(supervisor, child.task.umask(0o22), note) == 0o31
        for error in (0, -errno.EXDEV, 4096):
            with pytest.raises(ValueError, match="errno"):
                await seen[0].fail(error)
        # It has been answered.
        with pytest.raises(FileNotFoundError):
            await seen[0].check_waits()
        with pytest.raises(FileNotFoundError):
            await seen[0].succeed()


async def test_descriptors_and_memory(tmp_path: LocalPath) -> None:
    (tmp_path / "real").write_text("real")
    async with supervised(SYS.openat) as (child, supervisor):
        path = str(tmp_path / ("a" * 200) / ("b" * 200) / "name")
        for flags in (O.RDONLY | O.CLOEXEC, O.RDONLY):

            async def give(call: SupervisedCall, flags: O = flags) -> None:
                assert await call.read_string(call.args[1]) == path.encode()
                assert await call.read_memory(call.args[1], 5) == path[:5].encode()
                with pytest.raises(OSError, match="more than 10 bytes") as caught:
                    await call.read_string(call.args[1], 10)
                assert caught.value.errno == errno.ENAMETOOLONG
                with pytest.raises(OSError, match=r"Input/output|Bad address"):
                    await call.read_string(0)
                async with await local_thread.open(tmp_path / "real") as real:
                    number = await call.give(real, flags)
                assert os.get_inheritable(number) == (not flags & O.CLOEXEC)

            # A raw call: the handle's method always asks for close-on-exec.
            where = await child.ptr(path)
            call = child.task.sysif.syscall(SYS.openat, -100, int(where.near), int(flags), 0)
            number = await answered(supervisor, call, give)
            assert isinstance(number, int)
            # The two share a table.
            assert os.read(number, 10) == b"real"
            os.close(number)


@pytest.mark.parametrize(
    ("address", "count"), [(1 << 63, 1), ((1 << 64) - 1, 1), (4096, 1 << 63), ((1 << 64) - 1, (1 << 64) - 1)]
)
async def test_memory_that_no_process_has(address: int, count: int) -> None:
    """A process says what it likes: that is an error of the call, whatever it says."""
    async with supervised(SYS.umask) as (child, supervisor):
        caught: list[Exception] = []

        async def read(call: SupervisedCall) -> None:
            for reading in (call.read_memory(address, count), call.read_string(max(address, 1 << 63))):
                try:
                    await reading
                except Exception as error:
                    caught.append(error)
            await call.succeed()

        await answered(supervisor, child.task.umask(0), read)
        assert [getattr(error, "errno", None) for error in caught] == [errno.EIO, errno.EIO]


async def test_a_command_and_its_end() -> None:
    async with supervised(SYS.getppid, SYS.uname) as (child, supervisor):
        names = []

        async def answer_all() -> None:
            async for call in supervisor:
                names.append(call.nr)
                await call.fail(errno.EPERM)
            names.append("no process is left")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_all)
            process = await child.exec(child.environ.sh.args("-c", "uname 2>/dev/null; exit 3"))
            assert (await process.waitpid(W.EXITED)).exit_status == 3
        assert names[-1] == "no process is left"
        assert SYS.uname in names


async def test_a_process_that_is_killed_while_it_waits() -> None:
    async with supervised(SYS.umask) as (child, supervisor):

        async def make() -> None:
            with pytest.raises(SyscallError):
                await child.task.umask(0)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(make)
            call = await supervisor.receive()
            assert call is not None
            await child.process.kill(SIG.KILL)
            await child.process.waitpid(W.EXITED)
            for answer in (call.go_on(), call.fail(errno.EPERM), call.check_waits()):
                with pytest.raises(FileNotFoundError):
                    await answer
            assert await supervisor.receive() is None


async def test_a_supervisor_that_is_closed_and_one_that_is_cancelled() -> None:
    async with supervised(SYS.umask) as (child, supervisor):
        with trio.move_on_after(0.05) as scope:
            await supervisor.receive()
        assert scope.cancelled_caught
        assert await answered(supervisor, child.task.umask(0), lambda call: call.succeed(7)) == 7
        await supervisor.close()
        with pytest.raises(OSError, match="not implemented"):
            await child.task.umask(0)


async def test_other_actions_and_the_default() -> None:
    with trio.fail_after(SECONDS):
        child = await local_thread.clone(CLONE.FILES)
        async with child.process:
            actions = {SYS.umask: SECCOMP_RET.ERRNO | errno.EXDEV, SYS.getppid: NOTIF}
            async with await SeccompSupervisor.make(local_thread, child, actions):
                with pytest.raises(OSError, match="cross-device"):
                    await child.task.umask(0)
                assert await child.task.getuid() == os.getuid()
                assert b"NoNewPrivs:\t1" in await child.read_file("/proc/thread-self/status")
                # One listener is all there may be.
                with pytest.raises(OSError, match="busy"):
                    await SeccompSupervisor.make(local_thread, child, actions)


async def test_the_supervisor_needs_the_table_of_the_process() -> None:
    child = await local_thread.clone()
    async with child.process:
        with pytest.raises(FDTableMismatchError, match=r"CLONE\.FILES"):
            await SeccompSupervisor.make(local_thread, child, {SYS.umask: NOTIF})
        await child.task.umask(0o22)
