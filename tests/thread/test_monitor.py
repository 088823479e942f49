"""Children: waiting for them, signalling them, and reaping all of them."""

from __future__ import annotations

import gc
import os
import random
import signal
from functools import partial

import pytest
import trio
from drivers import Programs
from support import children, is_running, local_thread, sh
from waiting import eventually, wait_until

from rsyscall.fcntl import O
from rsyscall.handle import FileDescriptor, Pointer
from rsyscall.handle.process import ChildProcess
from rsyscall.linux.dirent import DirentList
from rsyscall.loader import Trampoline
from rsyscall.monitor import AsyncChildProcess
from rsyscall.near import SYS, SyscallHangup
from rsyscall.near import types as near
from rsyscall.path import Path
from rsyscall.sched import CLONE, Stack
from rsyscall.signal import SIG, Siginfo
from rsyscall.sys.socket import AF, SOCK
from rsyscall.sys.wait import CLD, W
from rsyscall.thread import ChildThread, Thread
from rsyscall.time import Timespec

pytestmark = pytest.mark.usefixtures("transport")


def pid_of(thread: Thread) -> int:
    """The process id in our namespace."""
    pidfd = local_thread.loader.hub.pidfds[thread.task]  # type: ignore[union-attr] # it has one
    return pidfd.pid()


async def kill(*threads: ChildThread) -> None:
    """Kill and reap."""
    for thread in threads:
        async with thread.process:
            pass


# ---- stops and continues ----


@pytest.mark.slow
@pytest.mark.parametrize("how", ["threads", "worker", "ignored", "blocked"])
def test_stops_are_told_whoever_gets_sigchld(programs: Programs, how: str) -> None:
    programs.run("monitor_drivers:stops", how=how)


@pytest.mark.parametrize("what", ["handler", "mask"])
def test_a_wait_for_a_stop_leaves_sigchld_to_the_program(programs: Programs, what: str) -> None:
    programs.run("monitor_drivers:during_a_wait", what=what)


def test_interrupt_of_a_wait_for_a_stop(programs: Programs) -> None:
    assert programs.run("monitor_drivers:interrupted_wait") == "KeyboardInterrupt\n"


@pytest.mark.parametrize(
    "parent", ["program", pytest.param("init", marks=pytest.mark.needs("pid namespaces"))]
)
async def test_everybody_hears_of_every_stop(parent: str) -> None:
    """Also if some of those who wait are cancelled all the time."""
    dice = random.Random(parent)
    init = await local_thread.clone(CLONE.NEWUSER | CLONE.NEWPID) if parent == "init" else None
    child = await (init or local_thread).clone()
    heard: dict[int, list[CLD]] = {number: [] for number in range(3)}
    done = trio.Event()

    def all_have_heard(count: int) -> bool:
        return all(len(codes) >= count for codes in heard.values())

    async def listen(codes: list[CLD]) -> None:
        for _ in range(10):
            codes.append((await child.process.waitpid(W.STOPPED | W.CONTINUED)).code)

    async def give_up() -> None:
        while not done.is_set():
            # A stop that only this one is told of would be lost to the others.
            with trio.move_on_after(dice.random() * 0.002):
                await child.process.waitpid(W.STOPPED | W.CONTINUED)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(give_up)
            async with trio.open_nursery() as listeners:
                for codes in heard.values():
                    listeners.start_soon(listen, codes)
                for turn in range(10):
                    # A task that has been told is not waiting until it waits again. Nothing public tells how
                    # many wait: one of them gives up all the time.
                    await wait_until(lambda: len(child.process._news) == 4)
                    await child.process.kill(SIG.CONT if turn % 2 else SIG.STOP)
                    await wait_until(partial(all_have_heard, turn + 1))
            done.set()
    assert all(codes == [CLD.STOPPED, CLD.CONTINUED] * 5 for codes in heard.values())
    await kill(child)
    if init is not None:
        await kill(init)


async def test_a_stop_found_through_the_handle_is_told() -> None:
    """`waitid` of the handle leaves its news unread; a wait for the exit must not take that for an exit."""
    child = await local_thread.clone()
    process = child.process.process
    await child.process.kill(SIG.STOP)
    os.waitid(os.P_PID, process.near.id, os.WSTOPPED | os.WNOWAIT)
    await process.waitid(W.STOPPED | W.ALL, await local_thread.ptr(Siginfo(0, 0, 0, 0)))
    told = []

    async def wait(options: W) -> None:
        told.append((await child.process.waitpid(options)).code)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, W.STOPPED)
            await wait_until(lambda: bool(told))
            assert told == [CLD.STOPPED]
            nursery.start_soon(wait, W.EXITED)
            await child.process.kill(SIG.KILL)
    assert told == [CLD.STOPPED, CLD.KILLED]


async def test_stops_of_a_program_that_runs_and_ends() -> None:
    """One that waits for stops hears of the end, too."""
    process = await local_thread.prepare().exec(sh("exec sleep 1000"))
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(process.waitpid, W.STOPPED)
            await trio.testing.wait_all_tasks_blocked()
            os.kill(process.process.near.id, signal.SIGTERM)
        assert (await process.waitpid(W.STOPPED)).killed_with() == SIG.TERM


# ---- signalfds ----


def test_a_signalfd_goes_on_in_the_next_run(programs: Programs) -> None:
    programs.run("monitor_drivers:signalfd_in_several_runs")


def test_a_signalfd_unblocks_only_what_it_has_blocked(programs: Programs) -> None:
    programs.run("monitor_drivers:signalfd_of_blocked")


@pytest.mark.slow
def test_interrupts_leave_no_signal_blocked_in_an_init(programs: Programs) -> None:
    programs.run("monitor_drivers:interrupted_waits_in_an_init")


# ---- children of the init of a pid namespace ----


@pytest.mark.needs("pid namespaces")
async def test_children_of_an_init_are_killed_while_it_is_in_a_call() -> None:
    init = await local_thread.clone(CLONE.NEWUSER | CLONE.NEWPID)
    child = await init.clone()
    pid = pid_of(child)
    request = await init.ptr(Timespec(1000, 0))

    async def sleep() -> None:
        with pytest.raises(SyscallHangup):
            await init.task.sysif.syscall(SYS.nanosleep, request.near, 0)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sleep)
            # An ordinary user may not ask which call a process of another user namespace is in.
            await trio.testing.wait_all_tasks_blocked()
            await child.process.kill()
            # No process can reap it now, but it is dead.
            dead = eventually(lambda: not is_running(pid))
            await init.process.kill()
    assert dead
    await kill(init)


@pytest.mark.needs("pid namespaces")
async def test_killing_what_has_died_with_its_init_does_nothing() -> None:
    init = await local_thread.clone(CLONE.NEWUSER | CLONE.NEWPID)
    child = await init.clone()
    await kill(init)
    with trio.fail_after(60):
        await child.process.kill()
        async with child.process:
            pass


def server_stack(thread: Thread, sock: FileDescriptor) -> Stack[Trampoline]:
    """What makes a process serve this socket."""
    return thread.loader.make_trampoline_stack(Trampoline(thread.loader.server_func, [sock, sock, 0]))


async def monitor_clone(thread: Thread, sock: FileDescriptor) -> AsyncChildProcess:
    """Make a child through the monitor."""
    memory: Pointer[Stack[Trampoline]] = await thread.ram.malloc(Stack, 8192)
    free, rest = memory.split(8192 - 64)
    stack = await rest.write(server_stack(thread, sock))
    return await thread.monitor.clone(CLONE.VM | CLONE.FILES, (free, stack))


async def open_files(thread: Thread) -> list[set[str]]:
    """Numbers of the descriptors of this program and of a thread."""
    # There, since an ordinary user may not look at it from outside while it is protected (SECURITY.md).
    path = await thread.ptr(Path("/proc/self/fd"))
    async with await thread.task.open(path, O.RDONLY | O.DIRECTORY) as directory:
        entries, _ = await directory.getdents(await thread.malloc(DirentList, 65536))
        theirs = {entry.name for entry in await entries.read()}
    return [set(os.listdir("/proc/self/fd")), theirs]


@pytest.mark.needs("pid namespaces")
@pytest.mark.parametrize("flags", [CLONE.NONE, CLONE.FILES])
async def test_monitor_of_an_init_watches_what_it_has_cloned(flags: CLONE) -> None:
    """Their ids are those of the inner namespace, and in ours they belong to others."""
    init = await local_thread.clone(CLONE.NEWUSER | CLONE.NEWPID | flags)
    below = await init.clone()
    before: list[set[str]] = []
    for thread in (init, below, init, below):
        pair = await thread.socketpair(AF.UNIX, SOCK.STREAM)
        process = await monitor_clone(thread, pair.second)
        assert process.pidfd is not None
        pid = process.pidfd.pid()
        with open(f"/proc/{pid}/status") as status:
            [numbers] = [line.split()[1:] for line in status if line.startswith("NSpid")]
        assert numbers[-2:] == [str(pid), str(process.process.near.id)]
        with trio.fail_after(60):
            async with process:
                pass
        assert process.process.death_state is not None
        await pair.first.close()
        await pair.second.close()
        # What is made once has been made the first time.
        before = before or await open_files(init)
    with trio.fail_after(60):
        # What the library closes in the background may come later.
        while await open_files(init) != before:  # noqa: ASYNC110 # nothing tells of it
            await trio.sleep(0.01)
    await kill(below, init)


@pytest.mark.needs("pid namespaces")
async def test_a_number_of_another_namespace_is_not_watched() -> None:
    init = await local_thread.clone(CLONE.NEWUSER | CLONE.NEWPID)
    with pytest.raises(ValueError, match="in another pid namespace"):
        init.monitor.add_child_process(ChildProcess(init.task, near.Process(1)))
    await kill(init)


# ---- children that are no longer waited for ----


@pytest.mark.parametrize("how", ["prepared", "cloned"])
async def test_no_zombies_of_what_is_collected_in_a_cycle(how: str) -> None:
    """Then the destructors run in any order, that of the pidfd before that of the child too."""
    before = children()
    for _ in range(5):
        if how == "prepared":
            process = await local_thread.prepare().exec(sh("exit 0"))
        else:
            process = await (await local_thread.clone()).exec(sh("exit 0"))
        with trio.fail_after(60):
            # Private, because everything public that waits for an exit also reaps.
            await process._exited.wait()
        cycle: list[object] = [process]
        cycle.append(cycle)
        del process, cycle
    assert children() > before
    gc.collect()
    assert children() == before


# ---- children that may not be signalled ----


@pytest.mark.slow
@pytest.mark.needs("other users")
@pytest.mark.parametrize("how", ["cancelled", "executed", "driven", "in a call", "dead"])
def test_children_that_may_not_be_signalled(programs: Programs, how: str) -> None:
    programs.run("monitor_drivers:not_permitted", how=how)
