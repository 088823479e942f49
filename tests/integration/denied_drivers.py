"""Programs that run with calls denied: `denied_drivers.py NAME [ERROR CALLS]...`; they raise what is wrong.

A filter stays for good, so each has a process of its own.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import time
from pathlib import Path as LocalPath

import pytest
import trio

sys.path.insert(0, str(LocalPath(__file__).parents[2]))

from rsyscall.command import Command
from rsyscall.hub import hub_of
from rsyscall.near import SYS
from rsyscall.sched import CLONE
from rsyscall.sys.wait import W
from rsyscall.tasks.local import local_thread
from rsyscall.time import Timespec
from tests.integration.filters import deny

SLEEP = Command("/bin/sleep", ["sleep", "inf"], {})
_PR_GET_DUMPABLE = 3


async def the_end_of_a_block() -> None:
    """Leaving `async with` ends and reaps what runs, cloned or executed."""
    executed = await (await local_thread.clone()).exec(SLEEP)
    cloned = await local_thread.clone()
    for process in (executed, cloned.process):
        pid = process.process.near.id
        async with process:
            os.kill(pid, 0)
        assert process.process.death_state is not None
        assert process.process.death_state.sig == 9
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            continue
        raise AssertionError(f"{pid} has not been reaped")


async def statuses() -> None:
    """Exits, signals, stops and continues are told apart."""
    state = await local_thread.run(Command("/bin/sh", ["sh", "-c", "exit 3"], {}), check=False)
    assert state.exit_status == 3
    child = await (await local_thread.clone()).exec(SLEEP)
    async with child:
        os.kill(child.process.near.id, 19)
        assert "stopped by SIGSTOP" in (await child.waitpid(W.STOPPED)).describe()
        os.kill(child.process.near.id, 18)
        assert "continued by SIGCONT" in (await child.waitpid(W.CONTINUED)).describe()
        await child.kill()
        assert "killed by SIGKILL" in (await child.waitpid(W.EXITED)).describe()


async def dropped_children() -> None:
    """Children without a reference to them exit, and are reaped."""
    for _ in range(3):
        await local_thread.clone()
    executed = await (await local_thread.clone()).exec(Command("/bin/true", ["true"], {}))
    pid = executed.process.near.id
    del executed
    gc.collect()
    deadline = time.monotonic() + 60
    while os.path.exists(f"/proc/{pid}"):
        assert time.monotonic() < deadline
        await trio.sleep(0.01)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def long_first_calls() -> None:
    """A caller that does not spin sleeps before a new process finds out that it may not wake the caller."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    async with (await local_thread.clone()).process:
        hub_of(local_thread.task).set_spin(0, 0)
    with trio.fail_after(60):
        for _ in range(5):
            child = await local_thread.clone(CLONE.FILES)
            async with child.process:
                time = await child.ptr(Timespec(0, 5_000_000))
                await child.task.sysif.syscall(SYS.clock_nanosleep, 1, 0, time.near, 0)


async def clone_is_refused() -> None:
    """The error says what, and nothing is left."""
    for flags, hint in (
        (CLONE.NONE, "a seccomp filter or a security module allows no clone here"),
        (CLONE.FILES, "a seccomp filter or a security module allows no clone here"),
        (CLONE.NEWUSER, "new user namespaces are not allowed here"),
        (CLONE.NEWNET, "new namespaces want CAP_SYS_ADMIN, or NEWUSER beside them"),
    ):
        with pytest.raises(OSError, match=hint) as caught:
            await local_thread.clone(flags)
        assert caught.value.filename == flags
    with pytest.raises(OSError, match="allows no clone here"):
        await local_thread.run(SLEEP)
    before = _descriptors()
    for _ in range(20):
        with pytest.raises(OSError):
            await local_thread.clone()
        with pytest.raises(OSError):
            await local_thread.run(SLEEP)
    gc.collect()
    assert _descriptors() == before
    hub = local_thread.loader.hub
    assert hub is not None
    assert not hub.rings


async def watcher_is_not_killed_with_us() -> None:
    """Not even in its first instants. The filter ends a process that asks for PDEATHSIG."""
    hub = local_thread.monitor.hub
    hub.ensure_watcher()
    watcher = hub.watcher
    assert watcher is not None
    deadline = time.monotonic() + 60
    while watcher.left or len(os.listdir(f"/proc/{watcher.pid}/fd")) != 1:
        assert not watcher.left, "it has asked for PDEATHSIG"
        assert time.monotonic() < deadline, "it has not begun to work"
        await trio.sleep(0.001)


async def dumpable_again() -> None:
    """A child with another user executes a program: while that runs, ours is dumpable again."""
    prctl = ctypes.CDLL(None).prctl
    child = await local_thread.clone()
    async with child.process:
        await child.task.setresuid(65534, 65534, 65534)
        assert prctl(_PR_GET_DUMPABLE) != 1
        await child.exec(SLEEP)
        deadline = time.monotonic() + 60
        while prctl(_PR_GET_DUMPABLE) != 1:
            assert time.monotonic() < deadline, "undumpable, although no process shares our memory"
            await trio.sleep(0.01)
        os.kill(child.process.process.near.id, 0)


def main() -> None:
    name, *filters = sys.argv[1:]
    for verdict, calls in zip(filters[::2], filters[1::2], strict=True):
        deny(verdict, calls.split(","))

    async def bounded() -> None:
        with trio.fail_after(60):
            await globals()[name]()

    trio.run(bounded)
    # libc aborts in the end of an interpreter where futex is denied.
    os._exit(0)


if __name__ == "__main__":
    main()
