"""Orphans of an init and of a subreaper that we drive: reaped, told of, and never confused with children."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from support import local_thread, sh
from waiting import wait_until

from rsyscall.command import Command
from rsyscall.sched import CLONE
from rsyscall.signal import SIG
from rsyscall.sys.wait import CLD, ChildState, W
from rsyscall.thread import ChildThread

pytestmark = pytest.mark.needs("pid namespaces")

NAMESPACE = CLONE.NEWPID | CLONE.NEWUSER

# A daemon as they are made: two forks and a session of its own. Its first argument is how long it lives, and
# the second its status.
DAEMON = """
import os, sys, time
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
time.sleep(float(sys.argv[1]))
os._exit(int(sys.argv[2]))
"""


def daemon(seconds: float, status: int = 0) -> Command:
    return Command(sys.executable, ["python", "-ISc", DAEMON, str(seconds), str(status)], {})


async def init() -> ChildThread:
    return await local_thread.clone(NAMESPACE)


async def init_with_own_memory() -> ChildThread:
    return await local_thread.clone(NAMESPACE, own_memory=True)


async def subreaper() -> ChildThread:
    child = await local_thread.clone()
    await child.adopt_orphans()
    return child


async def subreaper_with_own_memory() -> ChildThread:
    child = await local_thread.clone(own_memory=True)
    await child.adopt_orphans()
    return child


KINDS: dict[str, Callable[[], Awaitable[ChildThread]]] = {
    function.__name__: function
    for function in (init, init_with_own_memory, subreaper, subreaper_with_own_memory)
}
every_kind = pytest.mark.parametrize("kind", KINDS)


@contextlib.asynccontextmanager
async def adopting(kind: str) -> AsyncIterator[ChildThread]:
    with trio.fail_after(60):
        parent = await KINDS[kind]()
        async with parent.process:
            yield parent


def outer_pid(parent: ChildThread) -> int:
    assert parent.process.pidfd is not None
    return parent.process.pidfd.pid()


def children_of(parent: ChildThread) -> list[int]:
    pid = outer_pid(parent)
    return [int(number) for number in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 # the kernel does not tell
        await trio.sleep(0.005)


@every_kind
async def test_daemons_leave_no_zombies(kind: str, transport: str) -> None:
    async with adopting(kind) as parent:
        assert parent.reaper is not None
        for _ in range(5):
            await parent.run(daemon(0))
        await until(lambda: not children_of(parent))
        # Of each: what it was forked by, too, if that was an orphan when it exited.
        assert 5 <= parent.reaper.reaped <= 10


@every_kind
async def test_ends_are_told(kind: str, transport: str) -> None:
    async with adopting(kind) as parent:
        assert parent.reaper is not None
        with parent.reaper.ends() as ends:
            for status in (7, 8):
                await parent.run(daemon(0, status))
            await parent.run(sh("(exec sleep 1000 &) ; exit 0"))
            await until(lambda: len(children_of(parent)) == 1)
            os.kill(children_of(parent)[0], SIG.TERM)
            told: list[ChildState] = []
            async for state in ends:
                told += [] if state.clean() else [state]
                if len(told) == 3:
                    break
            assert sorted(state.exit_status or 0 for state in told) == [0, 7, 8]
            assert [state.killed_with() for state in told if state.code == CLD.KILLED] == [SIG.TERM]
            await until(lambda: not children_of(parent))
            await parent.process.kill()
            assert [state async for state in ends if not state.clean()] == []


@every_kind
async def test_orphan_of_a_command_that_goes_on(kind: str, transport: str) -> None:
    """No child of ours exits; and the orphan exits before we have looked."""
    async with adopting(kind) as parent:
        child = await (await parent.clone()).exec(sh("(sleep 0.01 & sleep 0.01 & exit 0); exec sleep 1000"))
        async with child:
            assert parent.reaper is not None
            with trio.fail_after(60):
                await until(lambda: parent.reaper is not None and parent.reaper.reaped == 2)
            assert len(children_of(parent)) == 1


@every_kind
async def test_status_of_a_child_that_is_not_waited_for_yet_is_kept(kind: str, transport: str) -> None:
    """A zombie of ours, which is the first of all, hides no orphan, and is not taken for one."""
    async with adopting(kind) as parent:
        assert parent.reaper is not None
        child = await (await parent.clone()).exec(sh("exit 9"))
        await child.wait_exited()
        await parent.run(daemon(0))
        await until(
            lambda: parent.reaper is not None and parent.reaper.reaped and len(children_of(parent)) == 1
        )
        assert (await child.waitpid(W.EXITED)).exit_status == 9
        assert not children_of(parent)


@every_kind
async def test_child_that_no_handle_knows_any_more(kind: str, transport: str) -> None:
    async with adopting(kind) as parent:
        child = await (await parent.clone()).exec(sh("exit 3"))
        await child.wait_exited()
        assert len(children_of(parent)) == 1
        del child
        # What is done in the background may hold a reference for a moment.
        await wait_until(lambda: not children_of(parent), collecting=True)


@pytest.mark.slow
@every_kind
async def test_children_and_orphans_at_once(kind: str, transport: str) -> None:
    """Each child of ours has its own status, whatever orphans come and go meanwhile."""
    rounds = 12 if "own_memory" in kind else 20
    async with adopting(kind) as parent:

        async def run(number: int) -> None:
            for turn in range(rounds):
                status = (number * 31 + turn) % 256
                script = f"(true & true & exit 0); (true & exit 0) & exit {status}"
                if turn % 2:
                    state: ChildState = await parent.run(sh(script), check=False)
                else:
                    child = await (await parent.clone()).exec(sh(script))
                    state = await child.waitpid(W.EXITED)
                assert state.exit_status == status

        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(run, number)
        await until(lambda: not children_of(parent))
        assert parent.reaper is not None
        assert parent.reaper.reaped >= 6 * rounds


async def test_init_executes_a_program() -> None:
    """Orphans that we watched are those of the program then."""
    async with adopting("init") as parent:
        assert parent.reaper is not None
        with parent.reaper.ends() as ends:
            await parent.run(daemon(1000))
            await until(lambda: len(children_of(parent)) == 1)
            await trio.sleep(0.05)
            await parent.exec(sh("exec sleep 1000"))
            assert [state async for state in ends if not state.clean()] == []


async def test_only_what_adopts_has_a_reaper() -> None:
    async with adopting("init") as parent:
        assert parent.reaper is await parent.adopt_orphans()
        child = await parent.clone()
        async with child.process:
            assert child.reaper is None
    child = await local_thread.clone()
    async with child.process:
        assert child.reaper is None


# ---- waiting without reaping


@pytest.mark.parametrize("inside", [False, True])
async def test_waiting_without_reaping(inside: bool, transport: str) -> None:
    async with adopting("init") as parent:
        cloner: Any = parent if inside else local_thread
        child = await (await cloner.clone()).exec(sh("exit 5"))
        for _ in range(2):
            state = await child.waitpid(W.EXITED | W.NOWAIT)
            assert (state.exit_status, child.process.death_state) == (5, None)
            await child.kill()
        assert child.pidfd is not None
        pid = child.pidfd.pid()
        assert Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
        assert await child.waitpid(W.EXITED) == state
        assert not Path(f"/proc/{pid}").exists()
        assert await child.waitpid(W.EXITED | W.NOWAIT) == state
        with pytest.raises(ValueError, match="without reaping"):
            await child.waitpid(W.STOPPED | W.NOWAIT)


# ---- without /proc

WITHOUT_PROC = """
import os, trio
from rsyscall.command import Command
from rsyscall.sched import CLONE
from rsyscall.sys.mount import MS
from rsyscall.sys.wait import W
from rsyscall.local import LocalThread

local_thread = LocalThread()

def sh(script):
    return Command("/bin/sh", ["sh", "-c", script], {})

async def main():
    await local_thread.unshare(CLONE.NEWNS | CLONE.FS)
    await local_thread.mount("none", "/", "", MS.REC | MS.PRIVATE, "")
    await local_thread.mount("none", "/proc", "tmpfs", MS.NONE, "")
    init = await local_thread.clone(CLONE.NEWPID)
    async with init.process:
        with init.reaper.ends() as ends:
            child = await (await init.clone()).exec(sh("exit 9"))
            await child.wait_exited()
            await init.run(sh("(exit 7 &); exit 0"))
            with trio.move_on_after(0.2):
                print("hidden:", await ends.receive())
            print(await child.waitpid(W.EXITED))
            print((await ends.receive()).exit_status)

trio.run(main)
"""


@pytest.mark.slow
@pytest.mark.needs("privileged mount namespaces")
def test_without_proc() -> None:
    """An orphan behind a zombie of ours waits until that is reaped; neither is mistaken for the other."""
    shown = subprocess.run([sys.executable, "-c", WITHOUT_PROC], capture_output=True, text=True, timeout=100)
    assert shown.stderr == ""
    lines = shown.stdout.splitlines()
    assert "exit_status=9" in lines[0]
    assert lines[1:] == ["7"]
