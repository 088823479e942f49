"""Processes that are prepared, made, set up and executed in one go."""

from __future__ import annotations

import gc
import os
import signal
import weakref
from collections.abc import Awaitable, Callable

import pytest
import trio
from support import children, local_thread, sh
from waiting import wait_until

import rsyscall.exits
from rsyscall.command import Command
from rsyscall.fcntl import F, O
from rsyscall.handle.fd import InvalidHandleError
from rsyscall.near import SYS
from rsyscall.path import Path
from rsyscall.sched import CLONE
from rsyscall.signal import SIG, Sigset
from rsyscall.spawn import PreparedThread
from rsyscall.sys.prctl import PR
from rsyscall.sys.wait import W

TRUE = Command("/bin/true", ["true"], {})


async def output_of(prepared: PreparedThread, command: Command) -> str:
    """Run a command in the prepared process, and return its output."""
    read_end, write_end = os.pipe()
    try:
        # Not one of our handles: the child's handle is made for the number that it copies.
        theirs = prepared.task.make_fd_handle(type(prepared.stdout.near)(write_end))
        await theirs.dup2(prepared.stdout)
        process = await prepared.exec(command)
        os.close(write_end)
        write_end = -1
        await process.check()
        with os.fdopen(read_end) as file:
            read_end = -1
            return file.read()
    finally:
        for fd in (read_end, write_end):
            if fd >= 0:
                os.close(fd)


async def test_calls_are_made_before_exec() -> None:
    child = local_thread.prepare()
    await child.task.chdir(await child.ptr(Path("/usr")))
    await child.task.setsid()
    await child.task.umask(0o27)
    await child.task.prctl(PR.SET_NO_NEW_PRIVS, True)
    shown = await output_of(
        child, sh("pwd; umask; ps -o sid= -p $$; echo $$; grep NoNewPrivs /proc/self/status")
    )
    directory, umask, session, pid, privs = shown.split("\n")[:5]
    assert (directory, umask) == ("/usr", "0027")
    assert session.strip() == pid
    assert privs.split() == ["NoNewPrivs:", "1"]
    assert os.getcwd() != "/usr"


async def test_first_step_that_fails_is_named() -> None:
    before = children()
    child = local_thread.prepare()
    await child.task.chdir(await child.ptr(Path("/usr")))
    await child.task.chdir(await child.ptr(Path("/nonexistent/directory")))
    with pytest.raises(FileNotFoundError, match=r'chdir\("/nonexistent/directory"\) before exec of /bin/sh'):
        await child.exec(sh("touch /should-not-exist"))
    assert not os.path.exists("/should-not-exist")
    assert children() == before


async def test_missing_program() -> None:
    before = children()
    missing = Command("/nonexistent/program", ["program"], {})
    for _ in range(20):
        with pytest.raises(FileNotFoundError) as caught:
            await local_thread.prepare().exec(missing)
        assert caught.value.filename == "/nonexistent/program"
        with pytest.raises(FileNotFoundError):
            await local_thread.run(missing)
    assert children() == before


async def test_program_that_is_not_executable() -> None:
    with pytest.raises(PermissionError):
        await local_thread.run(Command("/etc/passwd", ["passwd"], {}))


async def test_calls_whose_result_is_needed_are_refused() -> None:
    child = local_thread.prepare()
    with pytest.raises(ValueError, match="openat cannot be prepared"):
        await child.task.open(await child.ptr(Path("/dev/null")), O.RDONLY)
    with pytest.raises(ValueError, match="NEWUSER"):
        local_thread.prepare(CLONE.NEWUSER)


async def test_is_used_once() -> None:
    child = local_thread.prepare()
    await (await child.exec(sh("true"))).check()
    with pytest.raises(ValueError, match="already"):
        await child.exec(sh("true"))


async def test_memory_of_noted_calls_is_kept() -> None:
    child = local_thread.prepare()
    await child.task.chdir(await child.ptr(Path("/usr/lib")))
    # The pointer is gone; others must not get its memory.
    others = [await local_thread.ptr(b"x" * 16) for _ in range(200)]
    assert await output_of(child, sh("pwd")) == "/usr/lib\n"
    assert len(others) == 200


async def test_memory_of_a_noted_call_without_a_method_is_kept() -> None:
    child = local_thread.prepare()
    await child.task.sysif.syscall(SYS.chdir, (await child.ptr("/usr/lib")).near)
    others = [await local_thread.ptr(b"x" * 16) for _ in range(200)]
    assert await output_of(child, sh("pwd")) == "/usr/lib\n"
    assert len(others) == 200


async def test_memory_of_others_is_kept() -> None:
    """Also if the caller drops it, or gives it back, before the calls are made."""
    child = local_thread.prepare()
    directory = await local_thread.ptr("/usr")
    await child.task.chdir(directory)
    directory.free()
    await child.task.chdir(await local_thread.ptr("/usr/bin"))
    # What was free would be written over.
    others = [await local_thread.ptr(b"/nowhere" + bytes(size)) for size in range(8, 64)]
    process = await child.exec(Command("/bin/sh", ["sh", "-c", "test $(pwd) = /usr/bin"], {}))
    await process.check()
    del others


async def test_memory_that_is_kept_goes_with_a_prepared_thread() -> None:
    gc.collect()
    gc.disable()
    try:
        child = local_thread.prepare()
        directory = await local_thread.ptr("/usr")
        kept = weakref.ref(directory)
        await child.task.chdir(directory)
        del directory
        assert kept() is not None
        del child
        assert kept() is None
    finally:
        gc.enable()


async def test_blocked_signals_stay_blocked() -> None:
    block = await local_thread.task.sigmask_block(await local_thread.ptr(Sigset({SIG.USR2})))
    try:
        child = local_thread.prepare()
        command = Command("/bin/grep", ["grep", "SigBlk", "/proc/self/status"], {})
        read_end, write_end = os.pipe()
        theirs = child.task.make_fd_handle(type(child.stdout.near)(write_end))
        await theirs.dup2(child.stdout)
        process = await child.exec(command, [block])
        os.close(write_end)
        await process.check()
        with os.fdopen(read_end) as file:
            assert int(file.read().split()[1], 16) == 1 << (SIG.USR2 - 1)
    finally:
        await block.unblock()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()


async def test_many_at_once() -> None:
    async def one(status: int) -> None:
        state = await local_thread.run(sh(f"exit {status}"), check=False)
        assert state.exit_status == status

    async with trio.open_nursery() as nursery:
        for status in range(200):
            nursery.start_soon(one, status)


async def test_runs_from_a_child_too() -> None:
    child = await local_thread.clone()
    assert (await child.run(sh("exit 3"), check=False)).exit_status == 3
    prepared = child.prepare()
    await prepared.task.setsid()
    await (await prepared.exec(sh("true"))).check()
    await child.exit(0)
    await child.process.waitpid(W.EXITED)


async def test_start_tells_that_it_runs() -> None:
    async with trio.open_nursery() as nursery:
        sleep = Command("/bin/sleep", ["sleep", "1000"], {})
        process = await nursery.start(local_thread.run, sleep)
        # The kernel tells that it has left our memory a moment before it has that of the program.
        await wait_until(lambda: os.readlink(f"/proc/{process.pid}/exe").endswith("sleep"))
        nursery.cancel_scope.cancel()
    state = await process.waitpid(W.EXITED)
    assert state.killed_with() == SIG.TERM


async def test_memory_does_not_grow() -> None:
    hub = local_thread.loader.hub
    assert hub is not None
    for _ in range(20):
        await local_thread.run(sh("true"))
    blocks = hub.native.blocks
    for _ in range(100):
        await local_thread.run(TRUE)
    assert hub.native.blocks == blocks


async def test_memory_is_mapped_by_the_parent() -> None:
    """Preparing may need more memory than is free at the moment."""
    child = local_thread.prepare()
    path = Path("/" + "./" * 2000)
    for _ in range(100):
        await child.task.chdir(await child.ptr(path))
    await (await child.exec(sh("true"))).check()


async def test_handles_of_the_child_are_its_own() -> None:
    pipe = await local_thread.pipe()
    child = local_thread.prepare()
    theirs = child.inherit_fd(pipe.write)
    await theirs.dup2(child.stdout)
    process = await child.exec(sh("echo here"))
    await pipe.write.close()
    with pytest.raises(InvalidHandleError):
        await pipe.write.fcntl(F.GETFD)
    assert await local_thread.read_to_eof(pipe.read) == b"here\n"
    await process.check()


@pytest.fixture
async def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ways in which exits have been waited for. No other child is left, and none of the ways failed."""
    exits = local_thread.monitor.hub.exits
    # Until the children that other tests have not waited for are gone.
    await wait_until(exits.is_alone, collecting=True)
    monkeypatch.setattr(exits, "spin_us", 100.0)
    for name in ("_blocks", "_spins_failed", "_sleeps", "_blocks_failed"):
        monkeypatch.setattr(exits, name, 0)
    ways: list[str] = []

    def note(way: str, function: Callable[[int, float], bool]) -> Callable[[int, float], bool]:
        def noting(pidfd: int, budget_us: float) -> bool:
            ways.append(way)
            return function(pidfd, budget_us)

        return noting

    for way in ("spin", "block"):
        name = f"{way}_for_exit"
        monkeypatch.setattr(rsyscall.exits, name, note(way, getattr(rsyscall.exits, name)))
    return ways


# Not a program that has exited by the time that other tasks have run.
SLOW = sh("exec sleep 0.1")


async def test_an_exit_is_waited_for_in_the_way_that_pays(
    ways: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def taken(command: Command) -> list[str]:
        ways.clear()
        await local_thread.run(command)
        return ways[:]

    # Without a spin for the exit if that for the exec, before it, has failed.
    assert await taken(SLOW) in (["spin", "block"], ["block"])
    assert await taken(SLOW) == [], "one sleep after a block that failed"
    assert await taken(SLOW) == ["block"], "no spin after one that failed"
    assert [await taken(SLOW) for _ in range(3)] == [[], [], []], "three sleeps after the second failure"


async def test_with_one_processor_an_exit_is_not_spun_for(
    ways: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_thread.monitor.hub.exits, "spin_us", 0.0)
    await local_thread.run(SLOW)
    assert ways == ["block"]


async def test_many_children_are_not_waited_for_one_by_one(ways: list[str]) -> None:
    """Many that spin at once would hold up each other."""
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(local_thread.run, TRUE)
    # The last one may be alone when it begins to wait.
    assert ways in ([], ["spin"], ["block"], ["spin", "block"])


async def test_others_run_before_an_exit_is_waited_for(ways: list[str]) -> None:
    async def other() -> None:
        ways.append("other")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await local_thread.run(SLOW)
    assert ways[0] == "other"
    assert ways[1:] in (["spin", "block"], ["block"])


async def test_what_is_inherited_stays_open_until_exec() -> None:
    pipe = await local_thread.pipe()
    child = local_thread.prepare()
    await child.inherit_fd(pipe.write).dup2(child.stdout)
    number = pipe.write.near.number
    await pipe.write.close()
    with pytest.raises(InvalidHandleError, match=f"{number}.*by inherit_fd, and closed before exec"):
        await child.exec(TRUE)
    await pipe.read.close()


async def test_a_failure_is_heard_from_a_process_that_has_closed_everything() -> None:
    child = local_thread.prepare()
    await child.task.close_range(3, 2**32 - 1)
    spawning = await child.start(Command("/nonexistent", ["x"], {}))
    with trio.fail_after(60):
        state = await spawning.process.waitpid(W.EXITED)
        assert state.died()
        with pytest.raises(FileNotFoundError):
            await spawning.wait()


async def test_calls_after_exec_are_refused() -> None:
    child = local_thread.prepare()
    await (await child.exec(TRUE)).check()
    with pytest.raises(ValueError, match="exec has been called on this prepared thread already"):
        await child.task.setsid()


async def test_a_prepared_call_that_blocks_can_be_cancelled() -> None:
    before = children()
    pipe = await local_thread.pipe()
    child = local_thread.prepare()
    await child.inherit_fd(pipe.write).write(await child.ptr(b"x" * 200_000))  # more than a pipe takes
    with trio.move_on_after(0.05) as scope:
        await child.exec(TRUE)
    assert scope.cancelled_caught
    assert children() <= before
    await pipe.read.close()
    await pipe.write.close()


@pytest.mark.needs("other users")
async def test_memory_is_as_dumpable_as_before_once_the_program_runs() -> None:
    async def dumpable() -> int:
        return await local_thread.task.sysif.syscall(SYS.prctl, PR.GET_DUMPABLE)

    before = await dumpable()
    child = local_thread.prepare()
    await child.task.setresuid(65534, 65534, 65534)
    spawning = await child.start(Command("/bin/sleep", ["sleep", "1000"], {}))
    # Without waiting for it to run.
    async with spawning.process:
        with trio.fail_after(60):
            while await dumpable() != before:  # noqa: ASYNC110 # no event tells
                await trio.sleep(0.001)


async def prepared() -> None:
    child = local_thread.prepare()
    await child.task.chdir(await child.ptr("/"))
    await child.inherit_fd(local_thread.stdin).dup2(child.stdout)
    process = await child.exec(TRUE)
    await process.check()


async def run() -> None:
    await local_thread.run(TRUE)


async def step_by_step() -> None:
    child = await local_thread.clone()
    await child.task.chdir(await child.ptr("/"))
    process = await child.exec(TRUE)
    await process.check()


@pytest.mark.parametrize("spawn", [prepared, run, step_by_step])
async def test_a_spawn_leaves_nothing_to_the_garbage_collector(spawn: Callable[[], Awaitable[None]]) -> None:
    """Its objects do not refer to each other in circles, which would take time to find."""
    await spawn()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        await spawn()
        gc.collect()
        left = [type(found) for found in gc.garbage if type(found).__module__.startswith("rsyscall")]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert not left
