"""Where calls that we make for ourselves are denied. `tools/denied.py` has the rest of it, call by call."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path as LocalPath

import pytest
import trio

from rsyscall.command import Command
from rsyscall.near import SYS, SyscallError
from rsyscall.sched import CLONE
from rsyscall.signal import SIG
from rsyscall.struct import Int64
from rsyscall.sys.wait import W
from rsyscall.tasks.local import local_thread
from rsyscall.thread import ChildThread

from .filters import deny_in
from .support import cloned

SLEEPS = "futex,ppoll,clock_nanosleep,nanosleep,pselect6,rt_sigtimedwait"


def run_driver(name: str, *filters: str, transport: str = "ring") -> None:
    result = subprocess.run(
        [sys.executable, str(LocalPath(__file__).with_name("denied_drivers.py")), name, *filters],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "RSYSCALL_TRANSPORT": transport},
    )
    assert result.returncode == 0, result.stderr


def processor_time(pid: int) -> float:
    """Seconds that a process has run."""
    return int(LocalPath(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


async def comes_to_rest(pid: int) -> None:
    """Wait until a process uses less than a tenth of a processor: it goes to sleep more and more deeply."""
    for _ in range(20):
        before = processor_time(pid)
        await trio.sleep(0.3)
        if processor_time(pid) - before < 0.03:
            return
    raise AssertionError("it never sleeps")


async def sleep_in(child: ChildThread, seconds: float) -> None:
    """A call that takes longer than program and child spin."""
    time = await child.ptr(Int64(0).to_bytes() + Int64(int(seconds * 1e9)).to_bytes())
    await child.task.sysif.syscall(SYS.clock_nanosleep, 1, 0, time.near, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "calls", ["futex", "ppoll", "futex,ppoll", "futex,clock_nanosleep,nanosleep", "futex,sched_yield,getppid"]
)
@pytest.mark.parametrize("verdict", ["EPERM", "ENOSYS"])
async def test_an_idle_child_costs_nothing(child: ChildThread, verdict: str, calls: str) -> None:
    await deny_in(child, verdict, calls.split(","))
    await child.task.getpid()
    await comes_to_rest(child.process.process.near.id)
    assert await child.task.getpid() == child.process.process.near


@pytest.mark.slow
async def test_a_watched_child_costs_nothing(child: ChildThread) -> None:
    """The doorbell, which is polled elsewhere, wakes it from a call; between calls there is the word."""
    epfd = await child.task.epoll_create()
    child.task.sysif.get_activity_fd()
    await deny_in(child, "EPERM", ["ppoll"])
    await comes_to_rest(child.process.process.near.id)
    assert await child.task.getpid() == child.process.process.near
    await epfd.close()


@pytest.mark.parametrize("calls", ["futex", "futex,write", "futex,fstat", "futex,sendto"])
async def test_long_calls_are_answered(child: ChildThread, calls: str) -> None:
    """Even if the child may not wake us."""
    await deny_in(child, "EPERM", calls.split(","))
    with trio.fail_after(60):
        for _ in range(3):
            await sleep_in(child, 0.005)


async def test_the_call_that_makes_it_mute_is_answered(child: ChildThread) -> None:
    """A filter and a long call in one submission: we sleep already when the child is silenced."""
    await deny_in(child, "EPERM", ["futex", "write"])
    with trio.fail_after(60):
        await deny_in(child, "EPERM", ["fstat"])
        await sleep_in(child, 0.005)


@pytest.mark.parametrize("verdict", ["EPERM", "ENOSYS"])
def test_a_child_that_is_mute_from_the_start_is_answered(verdict: str) -> None:
    run_driver("long_first_calls", verdict, "futex")


def test_the_watcher_outlives_the_program() -> None:
    """To end what the kernel does not: a child that was stopped before it could ask for PDEATHSIG."""
    run_driver("watcher_is_not_killed_with_us", "KILL", "prctl=1")


async def test_a_child_that_may_not_sleep_ends() -> None:
    async with cloned(local_thread) as child:
        await deny_in(child, "EPERM", SLEEPS.split(","))
        with trio.fail_after(60):
            state = await child.process.waitpid(4)
        assert state.clean()
        with pytest.raises(SyscallError):
            await child.task.getpid()
    vars(child).clear()


@pytest.mark.parametrize("verdict", ["EPERM", "ENOSYS"])
@pytest.mark.parametrize(
    "calls", ["pidfd_send_signal", "waitid", "pidfd_send_signal,waitid,pidfd_open,clone3"]
)
@pytest.mark.parametrize("name", ["the_end_of_a_block", "statuses", "dropped_children"])
@pytest.mark.slow
def test_children_are_ended_and_reaped(name: str, verdict: str, calls: str, transport: str) -> None:
    run_driver(name, verdict, calls, transport=transport)


@pytest.mark.slow
def test_errors_of_clone_say_what_they_may_be_due_to(transport: str) -> None:
    for verdict in ("EPERM", "ENOSYS"):
        run_driver("clone_is_refused", verdict, "clone,clone3", transport=transport)


@pytest.mark.slow
@pytest.mark.needs("any user id")
def test_the_program_is_dumpable_again(transport: str) -> None:
    for verdict in ("EPERM", "ENOSYS"):
        run_driver("dumpable_again", verdict, "kcmp", transport=transport)


@pytest.mark.needs("pid namespaces")
async def test_what_watches_a_shared_table_is_opened_by_us() -> None:
    """A process that is killed while it opens a descriptor leaves it open; in our table we open it."""
    async with cloned(local_thread, CLONE.NEWUSER | CLONE.NEWPID | CLONE.FILES) as child:
        grandchild = await child.clone(CLONE.FILES)
        async with grandchild.process:
            await deny_in(child, "EPERM", ["epoll_create1", "signalfd4"])
            await grandchild.process.kill(SIG.STOP)
            with trio.fail_after(60):
                assert (await grandchild.process.waitpid(W.STOPPED)).sig == SIG.STOP


# As docs/denied-calls.md has them.
OWN_MEMORY_REFUSED = {"execveat", "fcntl", "capget"}
OWN_MEMORY_WITHOUT = {"memfd_create", "ftruncate", "capset", "set_robust_list", "get_robust_list", "gettid"}


@pytest.mark.parametrize("call", sorted(OWN_MEMORY_REFUSED | OWN_MEMORY_WITHOUT))
async def test_a_child_with_memory_of_its_own(call: str) -> None:
    async with cloned(local_thread) as parent:
        await deny_in(parent, "EPERM", [call])
        if call in OWN_MEMORY_REFUSED:
            for _ in range(3):
                with pytest.raises(PermissionError) as caught:
                    await parent.clone(CLONE.FS, own_memory=True)
                assert caught.value.filename == CLONE.FS
                assert await parent.task.getuid() == os.getuid()
            return
        child = await parent.clone(CLONE.FS, own_memory=True)
        async with child.process:
            assert await child.task.getppid() == await local_thread.task.getpid()


@pytest.mark.parametrize("calls", ["gettid", "gettid,getpid"])
async def test_a_child_of_a_process_with_memory_of_its_own(calls: str) -> None:
    """It holds a robust mutex by its number, which the one who clones it knows, too."""
    child = await local_thread.clone(own_memory=True)
    async with child.process:
        await deny_in(child, "EPERM", calls.split(","))
        grandchild = await child.clone(CLONE.FILES)
        async with grandchild.process:
            assert await grandchild.task.getuid() == os.getuid()
            with trio.fail_after(60):
                process = await grandchild.exec(Command("/bin/true", ["true"], {}))
                assert (await process.waitpid(W.EXITED)).clean()
