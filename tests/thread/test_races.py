"""Known traps for a program of this kind, each with its number in our list of them.

A: children and waiting. B: exec and exit. C: death. D: descriptor tables. L: defects of earlier
implementations. Tests of lower layers cover those that show there, too.
"""

from __future__ import annotations

import errno
import gc
import os
import random
import re
import resource
import signal
import subprocess
from contextlib import nullcontext
from decimal import Decimal
from functools import partial
from pathlib import Path as LocalPath
from typing import Any

import pytest
import trio
import trio.testing
from drivers import Programs
from support import blocked, children, is_running, local_thread, pid_of, sh
from waiting import eventually, wait_for_call, wait_until

from rsyscall.command import Command
from rsyscall.epoller import AsyncFileDescriptor, Epoller
from rsyscall.epoller_state import FDStatus
from rsyscall.far import FDTableMismatchError
from rsyscall.fcntl import AT, FD, F, O
from rsyscall.handle.fd import ManipulatingFDTableError
from rsyscall.monitor import AsyncSignalfd
from rsyscall.native import read_memory
from rsyscall.near import SYS, Syscall, SyscallError, SyscallHangup, SyscallSendError, raise_if_error
from rsyscall.near import types as near
from rsyscall.path import Path
from rsyscall.ring import RingConnection
from rsyscall.sched import CLONE, CpuSet
from rsyscall.signal import SIG, Sigset
from rsyscall.sys.epoll import EPOLL
from rsyscall.sys.wait import CLD, W
from rsyscall.thread import ChildThread, do_cloexec_except
from rsyscall.time import Itimerspec, Timespec
from rsyscall.unistd import ArgList

pytestmark = pytest.mark.usefixtures("transport")


async def finish(*threads: ChildThread) -> None:
    """Exit and reap."""
    for thread in threads:
        await thread.exit(0)
        assert (await thread.process.waitpid(W.EXITED)).clean()


async def kill(*threads: ChildThread) -> None:
    """Kill and reap processes in any state."""
    for thread in threads:
        async with thread.process:
            pass


# ---- A: child processes and waiting ----


async def test_a1_only_known_children_are_waited_for() -> None:
    """A child of subprocess, and one that died before a wait for it, are both dead while we wait."""
    foreign = subprocess.Popen(["true"])
    dead = await local_thread.clone()
    os.kill(pid_of(dead), signal.SIGKILL)
    assert eventually(lambda: not is_running(foreign.pid) and not is_running(pid_of(dead)))
    process = await (await local_thread.clone()).exec(sh("exit 3"))
    assert (await process.waitpid(W.EXITED)).exit_status == 3
    assert (await dead.process.waitpid(W.EXITED)).killed_with() == SIG.KILL
    assert foreign.wait() == 0


async def test_a2_news_of_many_children_at_once() -> None:
    """Signals coalesce, and a wait for one child may consume the signal that announces another."""
    processes = [await (await local_thread.clone()).exec(sh("exec sleep 1000")) for _ in range(8)]
    seen = 0

    async def wait(index: int) -> None:
        nonlocal seen
        assert (await processes[index].waitpid(W.STOPPED)).code == CLD.STOPPED
        seen += 1
        assert (await processes[index].waitpid(W.CONTINUED)).code == CLD.CONTINUED
        seen += 1
        assert (await processes[index].waitpid(W.EXITED)).killed_with() == SIG.TERM
        seen += 1

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for index in range(len(processes)):
                nursery.start_soon(wait, index)
            for turn, sig in enumerate((SIG.STOP, SIG.CONT, SIG.TERM), 1):
                for process in processes:
                    os.kill(process.process.near.id, sig)
                # A stop that is over is not told any more.
                expected = turn * len(processes)
                await wait_until(lambda expected=expected: seen >= expected)  # type: ignore[misc]


async def test_a3_a4_nothing_is_missed_between_asking_and_sleeping() -> None:
    process = await (await local_thread.clone()).exec(sh("exec sleep 1000"))
    with trio.fail_after(60):
        for turn in range(30):
            for sig, option in ((SIG.STOP, W.STOPPED), (SIG.CONT, W.CONTINUED)):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(process.waitpid, option)
                    for _ in range(turn % 5):
                        await trio.lowlevel.checkpoint()
                    os.kill(process.process.near.id, sig)
    async with process:
        pass


async def test_a5_cancelled_waits_lose_no_state() -> None:
    dice = random.Random("a5")
    with trio.fail_after(60):
        for turn in range(25):
            child = await local_thread.clone()
            options = W.EXITED if turn % 2 else W.EXITED | W.STOPPED | W.CONTINUED
            async with trio.open_nursery() as nursery:
                nursery.start_soon(child.exit, 7)
                for _ in range(4):
                    with trio.move_on_after(dice.random() * 0.0005):
                        await child.process.waitpid(options)
            assert (await child.process.waitpid(options)).exit_status == 7


async def test_a6_kill_and_reaping_at_the_same_time() -> None:
    for _ in range(15):
        child = await local_thread.clone()
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(child.exit, 0)
                for _ in range(3):
                    nursery.start_soon(child.process.waitpid, W.EXITED)
                    nursery.start_soon(child.process.kill, SIG.CONT)
        await child.process.kill()
        await child.process.killpg()


async def test_a7_waiting_for_the_end_leaves_stops_to_others() -> None:
    process = await (await local_thread.clone()).exec(sh("exec sleep 1000"))
    states = []

    async def wait(options: W) -> None:
        states.append((await process.waitpid(options)).code)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, W.EXITED)
            await trio.testing.wait_all_tasks_blocked()
            pid = process.process.near.id
            os.kill(pid, signal.SIGSTOP)
            os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
            await trio.testing.wait_all_tasks_blocked()
            await wait(W.STOPPED)
            await process.kill()
    assert states == [CLD.STOPPED, CLD.KILLED]


async def test_a8_everybody_who_waits_is_told() -> None:
    process = await (await local_thread.clone()).exec(sh("exec sleep 1000"))
    states: list[CLD] = []

    async def wait(options: W) -> None:
        states.append((await process.waitpid(options)).code)

    with trio.fail_after(60):
        for sig, option in ((SIG.STOP, W.STOPPED), (SIG.CONT, W.CONTINUED), (SIG.KILL, W.EXITED)):
            states.clear()
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(wait, option)
                    nursery.start_soon(wait, W.EXITED | W.STOPPED | W.CONTINUED)
                await trio.testing.wait_all_tasks_blocked()
                os.kill(process.process.near.id, sig)
            assert len(set(states)) == 1, states


async def test_a9_signalfd_must_be_watched_by_its_own_process() -> None:
    child = await local_thread.clone()
    with pytest.raises(ValueError, match="must be watched by that process"):
        await AsyncSignalfd.make(child.ram, child.task, local_thread.epoller, Sigset({SIG.INT}))
    await finish(child)


async def test_a10_grandchildren_are_children_of_the_one_who_waits() -> None:
    middle = await local_thread.clone()
    below = await middle.clone()
    leaf = await below.clone()
    assert int(await leaf.task.getppid()) == os.getpid()
    await kill(leaf, below, middle)


@pytest.mark.needs("pid namespaces")
async def test_a11_init_reaps_its_children_itself() -> None:
    """The kernel does not let it give them away."""
    init = await local_thread.clone(CLONE.NEWUSER | CLONE.NEWPID)
    child = await init.clone()
    assert int(await child.task.getppid()) == 1
    process = await child.exec(sh("exit 3"))
    with trio.fail_after(60):
        assert (await process.waitpid(W.EXITED)).exit_status == 3
    await finish(init)


@pytest.mark.needs("pid namespaces")
async def test_a12_end_of_init_is_the_end_of_all_and_said_at_once() -> None:
    init = await local_thread.clone(CLONE.NEWUSER | CLONE.NEWPID)
    inner = await init.clone()
    pipe = await inner.pipe()
    told = []

    async def wait() -> None:
        with pytest.raises(SyscallError):
            await inner.process.waitpid(W.EXITED)
        told.append("wait")

    async def read() -> None:
        with pytest.raises(SyscallHangup):
            await pipe.read.read(await inner.malloc(bytes, 1))
        told.append("read")

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            nursery.start_soon(read)
            # An ordinary user may not ask which call a process of another user namespace is in.
            await trio.testing.wait_all_tasks_blocked()
            await init.process.kill()
            assert (await init.process.waitpid(W.EXITED)).killed_with() == SIG.KILL
    assert sorted(told) == ["read", "wait"]
    with pytest.raises(SyscallSendError):
        await inner.task.getpid()


@pytest.mark.needs("pid namespaces")
async def test_a13_killing_an_init_leaves_sigchld_alone() -> None:
    before = signal.getsignal(signal.SIGCHLD)
    init = await local_thread.clone(CLONE.NEWUSER | CLONE.NEWPID)
    inner = await init.clone()
    await kill(init)
    assert signal.getsignal(signal.SIGCHLD) == before
    status = LocalPath("/proc/self/status").read_text()
    ignored = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn")), 16)
    assert not ignored & 1 << (signal.SIGCHLD - 1)
    process = await (await local_thread.clone()).exec(sh("exit 3"))
    assert (await process.waitpid(W.EXITED)).exit_status == 3
    del inner


@pytest.mark.needs("pid namespaces")
async def test_a14_first_process_of_a_namespace_is_the_child_itself() -> None:
    """No helper of ours takes a number, neither the first nor any later one."""
    init = await local_thread.clone(CLONE.NEWUSER | CLONE.NEWPID)
    threads = [await init.clone() for _ in range(3)]
    assert [int(await thread.task.getpid()) for thread in (init, *threads)] == [1, 2, 3, 4]
    await finish(init)


async def test_a16_a15_joining_the_group_of_another_child() -> None:
    leader = await local_thread.clone()
    member = await local_thread.clone()
    await leader.process.process.setpgid(None)
    await member.process.process.setpgid(leader.process.process)
    assert os.getpgid(pid_of(member)) == pid_of(leader) != os.getpgrp()
    await leader.process.killpg(SIG.KILL)
    for thread in (leader, member):
        assert (await thread.process.waitpid(W.EXITED)).killed_with() == SIG.KILL


async def test_a17_no_zombies_of_what_nobody_waits_for() -> None:
    before = children()
    process = await (await local_thread.clone()).exec(sh("exit 3"))
    pid = process.process.near.id
    assert pid in children()
    del process
    await wait_until(lambda: pid not in children(), collecting=True)
    assert children() == before


# ---- B: detecting exec and exit ----


async def test_b3_child_that_dies_at_once_is_noticed() -> None:
    with trio.fail_after(60):
        for _ in range(20):
            child = await local_thread.clone()
            os.kill(pid_of(child), signal.SIGKILL)
            with pytest.raises(SyscallError):
                while True:
                    await child.task.getpid()
            assert (await child.process.waitpid(W.EXITED)).killed_with() == SIG.KILL


async def test_b5_exec_is_noticed_although_others_hold_the_connection_open() -> None:
    """Children that were made later have copies of every descriptor that was ours at the time."""
    child = await local_thread.clone()
    siblings = [await local_thread.clone() for _ in range(3)]
    grandchild = await child.clone()
    with trio.fail_after(60):
        process = await child.exec(sh("exec sleep 1000"))
    async with process:
        pass
    with trio.fail_after(60):
        await grandchild.exit(0)
        await grandchild.process.waitpid(W.EXITED)
    await finish(*siblings)


async def test_b6_answers_given_before_the_end_are_delivered() -> None:
    for _ in range(10):
        child = await local_thread.clone()
        with pytest.raises(SyscallHangup) as caught:
            await child.task.sysif.syscalls(
                [Syscall(SYS.getuid), Syscall(SYS.getpid), Syscall(SYS.exit_group, 3), Syscall(SYS.getuid)]
            )
        assert caught.value.results == [os.getuid(), pid_of(child)]
        assert (await child.process.waitpid(W.EXITED)).exit_status == 3


async def test_b7_interface_is_closed_by_exec() -> None:
    child = await local_thread.clone()
    process = await child.exec(sh("exec sleep 1000"))
    with pytest.raises(SyscallSendError):
        await child.task.sysif.syscall(SYS.getpid)
    with pytest.raises(SyscallSendError):
        await child.task.sysif.syscalls([Syscall(SYS.getpid)])
    async with process:
        pass


async def test_b8_death_on_the_way_to_exec_is_told_by_the_state() -> None:
    """From here it looks like success."""
    pipe = await local_thread.pipe()
    prepared = local_thread.prepare()
    await prepared.inherit_fd(pipe.write).dup2(prepared.stdout)
    spawning = await prepared.start(Command("/bin/sleep", ["sleep", "1000"], {}))
    os.kill(spawning.process.process.near.id, signal.SIGKILL)
    with trio.fail_after(60):
        await spawning.wait()
        assert (await spawning.process.waitpid(W.EXITED)).killed_with() == SIG.KILL


async def test_b9_l7_death_of_the_helper_is_not_the_death_of_a_child() -> None:
    hub = local_thread.monitor.hub
    hub.ensure_watcher()
    assert hub.watcher is not None
    child = await local_thread.clone()
    watcher = hub.watcher
    os.kill(watcher.pid, signal.SIGKILL)
    with trio.fail_after(60):
        await wait_until(lambda: watcher.left)
        assert int(await child.task.getpid()) == pid_of(child)
        process = await child.exec(sh("exit 4"))
        assert (await process.waitpid(W.EXITED)).exit_status == 4
        # It is reaped, and another one takes its place.
        await wait_until(lambda: watcher.pid not in children())
        hub.ensure_watcher()


async def test_b12_l4_failed_exec_changes_nothing() -> None:
    child = await local_thread.clone()
    status = LocalPath(f"/proc/{pid_of(child)}/status")

    def signals() -> list[str]:
        # Not SigQ, which counts what is queued for all processes of the user.
        return [line for line in status.read_text().splitlines() if re.match("Sig[A-Z][a-z]", line)]

    before = signals()
    for path, error in (("/nonexistent", FileNotFoundError), ("/dev/null", PermissionError)):
        with pytest.raises(error):
            await child.execv(path, ["program"])
    assert signals() == before
    fd = await child.task.open(await child.ptr(Path("/dev/null")), O.RDONLY)
    await fd.close()
    await child.unshare_files()
    await finish(child)


async def test_b13_stacks_are_not_shared() -> None:
    """Memory of a process is reused when the process has left, not when Python has dropped it."""
    before = children()
    child = await local_thread.clone()
    async with blocked(child):
        for _ in range(100):
            dropped = await local_thread.clone()
            await dropped.task.getpid()
            del dropped
        gc.collect()
        others = [await local_thread.clone() for _ in range(20)]
        for other in others:
            assert int(await other.task.getpid()) == pid_of(other)
    assert int(await child.task.getpid()) == pid_of(child)
    await finish(child, *others)
    await wait_until(lambda: children() == before, collecting=True)


@pytest.mark.parametrize("how", ["exit", "exec"])
async def test_b14_nobody_keeps_the_table_of_a_creator_alive(how: str) -> None:
    """The end of a pipe that a process had opened is closed when it goes, while what it cloned lives on."""
    creator = await local_thread.clone()
    pipe = await creator.pipe()
    # Our copy of the read end comes by way of /proc: no other process of this program has either end.
    number = os.open(f"/proc/{pid_of(creator)}/fd/{int(pipe.read)}", os.O_RDONLY | os.O_NONBLOCK)
    survivor = await creator.clone()
    await do_cloexec_except(survivor, set())
    with pytest.raises(BlockingIOError):
        os.read(number, 1)
    if how == "exit":
        await creator.exit(0)
    else:
        await creator.exec(sh("exec sleep 1000"))
    assert eventually(lambda: is_at_end(number), 1.0)
    os.close(number)
    assert int(await survivor.task.getpid()) == pid_of(survivor)
    await kill(survivor, creator)


def is_at_end(number: int) -> bool:
    """Whether a non-blocking pipe has come to its end."""
    try:
        return os.read(number, 1) == b""
    except BlockingIOError:
        return False


async def test_exec_behind_other_calls_is_noticed() -> None:
    """Queued behind a call that takes long, alone or as the last of several."""
    for alone in (True, False):
        child = await local_thread.clone()
        program = await child.ptr(Path("/bin/sleep"))
        args = await child.ptr(ArgList([await child.ptr("sleep"), await child.ptr("1000")]))
        execve = Syscall(SYS.execve, program.near, args.near, 0)
        told = []

        async def run(
            child: ChildThread = child, execve: Syscall = execve, alone: bool = alone, told: list[int] = told
        ) -> None:
            with pytest.raises(SyscallHangup):
                if alone:
                    await child.task.sysif.syscall(*execve)
                else:
                    await child.task.sysif.syscalls([Syscall(SYS.getpid), execve], linked=True)
            told.append(1)

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery, blocked(child):
                nursery.start_soon(run)
                await trio.testing.wait_all_tasks_blocked()
        assert told
        await kill(child)


async def test_failed_exec_beside_one_that_succeeds() -> None:
    """The answer to the first must not end the watch for the second."""
    child = await local_thread.clone()
    results = []

    async def execute(path: str) -> None:
        program = await child.ptr(Path(path))
        args = await child.ptr(ArgList([await child.ptr("sleep"), await child.ptr("1000")]))
        try:
            await child.task.sysif.syscall(SYS.execve, program.near, args.near, 0)
        except SyscallHangup:
            results.append("hangup")
        except FileNotFoundError:
            results.append("missing")

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery, blocked(child):
            nursery.start_soon(execute, "/nonexistent")
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(execute, "/bin/sleep")
            await trio.testing.wait_all_tasks_blocked()
    assert sorted(results) == ["hangup", "missing"]
    await kill(child)


# ---- C: death ----


async def test_c5_copies_of_our_end_keep_nobody_alive() -> None:
    """A dropped child exits although siblings have copies of the descriptors through which it is driven."""
    child = await local_thread.clone()
    sibling = await local_thread.clone()
    pid = pid_of(child)
    await child.task.sysif.close_interface()
    # It goes without a wait for it.
    await wait_until(lambda: not is_running(pid))
    await child.process.waitpid(W.EXITED)
    await finish(sibling)


async def test_c6_children_that_live_on_give_up_what_they_have_copied() -> None:
    pipe = await local_thread.pipe()
    bystanders = [await local_thread.clone(), await local_thread.clone(CLONE.FILES)]
    await do_cloexec_except(bystanders[0], set())
    await pipe.write.close()
    with trio.fail_after(60):
        assert await local_thread.read_to_eof(pipe.read) == b""
    for bystander in bystanders:
        assert int(await bystander.task.getpid()) == pid_of(bystander)
    await finish(*bystanders)


# ---- D: file descriptor tables ----


async def test_d1_closing_and_opening_at_the_same_time() -> None:
    """Three processes of one table; closing a number twice would close a file of another process."""
    threads = [local_thread, await local_thread.clone(CLONE.FILES), await local_thread.clone(CLONE.FILES)]
    path = {thread: await thread.ptr(Path("/dev/null")) for thread in threads}
    sentinels = [os.open("/dev/zero", os.O_RDONLY)]

    async def storm(thread: ChildThread) -> None:
        dice = random.Random(id(thread))
        held = []
        for _ in range(60):
            held.append(await thread.task.open(path[thread], O.RDONLY))
            fd = held.pop(dice.randrange(len(held)))
            if dice.random() < 0.5:
                await fd.close()
            # Otherwise it is dropped, and the next process of the table that makes a call closes it.
            if dice.random() < 0.1:
                sentinels.append(os.open("/dev/zero", os.O_RDONLY))
                await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for thread in threads:
            nursery.start_soon(storm, thread)
    gc.collect()
    await local_thread.task.fd_table.run_gc()
    for sentinel in sentinels:
        assert os.readlink(f"/proc/self/fd/{sentinel}") == "/dev/zero"
        os.close(sentinel)
    await finish(*threads[1:])


async def test_d2_d3_handles_while_the_table_changes() -> None:
    """They must belong to one of the two tables: none is made meanwhile, and old ones stay usable."""
    child = await local_thread.clone(CLONE.FILES)
    fd = await child.task.open(await child.ptr(Path("/dev/null")), O.RDONLY)
    await child.unshare_files()
    assert await fd.fcntl(F.GETFD) == FD.CLOEXEC
    await fd.close()
    async with trio.open_nursery() as nursery, blocked(child):
        nursery.start_soon(child.unshare_files)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ManipulatingFDTableError):
            child.task.make_fd_handle(near.FileDescriptor(1000))
    await finish(child)


async def test_d4_somebody_else_closes_for_a_dead_process() -> None:
    child = await local_thread.clone(CLONE.FILES)
    fd = await child.task.open(await child.ptr(Path("/dev/null")), O.RDONLY)
    number = int(fd)
    os.kill(pid_of(child), signal.SIGKILL)
    await child.process.waitpid(W.EXITED)
    assert os.readlink(f"/proc/self/fd/{number}") == "/dev/null"
    del fd
    gc.collect()
    await local_thread.task.fd_table.run_gc()
    assert not os.path.exists(f"/proc/self/fd/{number}")


def is_gone(path: str) -> bool:
    """Whether there is no such file."""
    return not os.path.exists(path)


async def test_d5_dropped_handles_are_closed() -> None:
    for thread in (await local_thread.clone(), await local_thread.clone(CLONE.FILES)):
        fd = await thread.task.open(await thread.ptr(Path("/dev/null")), O.RDONLY)
        link = f"/proc/{pid_of(thread)}/fd/{int(fd)}"
        assert os.path.exists(link)
        del fd
        gc.collect()
        await wait_until(partial(is_gone, link))
        await finish(thread)


async def test_d6_listing_descriptors_while_closing_them() -> None:
    child = await local_thread.clone()
    fds = [await child.task.open(await child.ptr(Path("/dev/null")), O.RDONLY) for _ in range(30)]
    await do_cloexec_except(child, {fds[3].near})
    links = [f"/proc/{pid_of(child)}/fd/{int(fd)}" for fd in fds]
    assert [os.path.exists(link) for link in links] == [index == 3 for index in range(30)]
    with pytest.raises(FDTableMismatchError, match="inherit"):
        child.inherit_fd(local_thread.monitor.hub.completion)
    await finish(child)


async def test_d10_l6_channels_of_two_processes_are_not_crossed() -> None:
    """Also when one of them is blocked, and both receive from the same socket."""
    slow, fast = await local_thread.clone(), await local_thread.clone()
    opened = {}

    async def open_channels(thread: ChildThread) -> None:
        opened[thread] = await thread.open_channels(2)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery, blocked(slow):
            for thread in (slow, fast):
                nursery.start_soon(open_channels, thread)
            await wait_until(lambda: fast in opened)
            assert slow not in opened
        for index, (thread, channels) in enumerate(opened.items()):
            for ours, theirs in channels:
                assert theirs.task is thread.task
                await theirs.write(await thread.ptr(b"%d" % index))
                valid, _ = await ours.read(await local_thread.malloc(bytes, 10))
                assert await valid.read() == b"%d" % index
    for channels in opened.values():
        for ours, theirs in channels:
            await ours.close()
            await theirs.close()
    await finish(slow, fast)


async def test_d12_what_cannot_be_inherited() -> None:
    before = await local_thread.pipe()
    child = await local_thread.clone()
    after = await local_thread.pipe()
    await before.read.close()
    for fd in (before.read, after.read, after.write):
        with pytest.raises(Exception, match=r"inherit|no longer valid"):
            child.inherit_fd(fd)
    assert await child.inherit_fd(before.write).fcntl(F.GETFD) == FD.CLOEXEC
    await finish(child)
    for fd in (before.write, after.read, after.write):
        await fd.close()


async def test_descriptors_of_the_connection_closed_by_a_sharer(transport: str) -> None:
    """A server must not write to a number under which another file has been opened meanwhile."""
    if transport == "stream":
        return  # then the sharer is cut off, which is its own business
    one = await local_thread.clone()
    two = await one.clone(CLONE.FILES)
    await one.task.sysif.syscall(SYS.close_range, 3, 0xFFFFFFFF, 0)
    path = await one.ptr(Path("/dev/shm"))
    files = []
    for _ in range(40):
        number = await one.task.sysif.syscall(SYS.openat, AT.FDCWD, path.near, O.TMPFILE | O.RDWR, 0o600)
        files.append(f"/proc/{pid_of(one)}/fd/{number}")
    request = await two.ptr(Timespec(0, 2_000_000))
    with trio.fail_after(60):
        for _ in range(5):
            # Naps, long enough for both sides to go to sleep.
            await two.task.sysif.syscall(SYS.nanosleep, request.near, 0)
            await trio.sleep(0.002)
            assert int(await two.task.getpid()) == pid_of(two)
    assert [os.stat(file).st_size for file in files] == [0] * 40
    await kill(one, two)


# ---- L: defects of earlier implementations ----


def test_l1_time_from_a_decimal() -> None:
    assert Timespec.from_float(Decimal("4.1")) == Timespec(4, 100_000_000)
    spec = Itimerspec(Timespec(1, 0), Timespec(2, 0))
    assert Itimerspec.from_bytes(spec.to_bytes()) == spec
    assert spec.interval != spec.value


def test_l2_cpus_beyond_64() -> None:
    assert CpuSet.from_bytes(CpuSet([70]).to_bytes()) == {70}


async def test_l3_mkdir_has_a_mode(tmp_path: LocalPath) -> None:
    child = await local_thread.clone()
    for mode in (0o700, 0o711):
        path = await child.mkdir(Path(str(tmp_path)) / oct(mode), mode)
        assert os.stat(path).st_mode & 0o777 == mode
    await finish(child)


async def test_l5_changed_environment_reaches_programs() -> None:
    pipe = await local_thread.pipe()
    for value in ("one", "two"):
        child = await local_thread.clone()
        child.environ["RSYSCALL_L5"] = value
        await child.inherit_fd(pipe.write).dup2(child.stdout)
        await (await child.exec(sh("echo $RSYSCALL_L5"))).check()
    await pipe.write.close()
    assert await local_thread.read_to_eof(pipe.read) == b"one\ntwo\n"


def test_l10_success_counts_as_an_event() -> None:
    """An operation that succeeds may have used up an edge that will not be told again."""
    status = FDStatus(EPOLL.IN)
    started = 0
    status.would_block(EPOLL.IN, started)
    assert not status.ready(EPOLL.IN)
    status.succeeded(EPOLL.IN, started, EPOLL.IN)
    assert status.ready(EPOLL.IN)


async def test_l12_execveat_without_a_directory() -> None:
    child = await local_thread.clone()
    args = await child.ptr(ArgList([await child.ptr("sh"), await child.ptr("-c"), await child.ptr("exit 5")]))
    envp = await child.environ.as_arglist(child.ram)
    await child.task.execveat(None, await child.ptr(Path("/bin/sh")), args, envp)
    assert (await child.process.waitpid(W.EXITED)).exit_status == 5


async def test_l13_group_of_the_other_process() -> None:
    """See also A16: it must be the leader's number that is passed on."""
    leader, member = await local_thread.clone(), await local_thread.clone()
    await leader.process.process.setpgid(None)
    await member.process.process.setpgid(leader.process.process)
    assert (await member.process.process.getpgid()).id == pid_of(leader)
    await finish(leader, member)


def test_l14_bounds_of_error_numbers() -> None:
    with pytest.raises(OSError) as caught:
        raise_if_error(-4095)
    assert caught.value.errno == 4095
    raise_if_error(-4096)
    raise_if_error(0)


def test_l15_mappings_are_whole_pages() -> None:
    with pytest.raises(ValueError):
        near.MemoryMapping(4096, 100, 4096)
    with pytest.raises(ValueError):
        near.MemoryMapping(100, 4096, 4096)


# ---- Order and completeness of answers ----


async def test_calls_keep_their_order_behind_others() -> None:
    """Several in one go behind a call that takes long, and single ones behind those."""
    child = await local_thread.clone()
    pipe = await child.pipe(O.NONBLOCK)
    data = {name: await child.ptr(name.encode()) for name in ("a", "b", "c", "d")}

    def write(name: str) -> Syscall:
        return Syscall(SYS.write, pipe.write.near, data[name].near, 1)

    async def many() -> None:
        assert await child.task.sysif.syscalls([write("a"), write("b"), write("c")]) == [1, 1, 1]

    async def one() -> None:
        assert await child.task.sysif.syscall(*write("d")) == 1

    async with trio.open_nursery() as nursery, blocked(child):
        nursery.start_soon(many)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(one)
        await trio.testing.wait_all_tasks_blocked()
    valid, _ = await pipe.read.read(await child.malloc(bytes, 10))
    assert await valid.read() == b"abcd"
    await finish(child)


async def test_linked_calls_behind_others() -> None:
    child = await local_thread.clone()
    calls = [Syscall(SYS.getuid), Syscall(SYS.close, 9999), Syscall(SYS.getuid), Syscall(SYS.getpid)]
    results: dict[bool, list[int]] = {}

    async def many(linked: bool) -> None:
        results[linked] = await child.task.sysif.syscalls(calls, linked)

    async with trio.open_nursery() as nursery, blocked(child):
        nursery.start_soon(many, True)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(many, False)
        await trio.testing.wait_all_tasks_blocked()
    uid = os.getuid()
    assert results[True] == [uid, -errno.EBADF, -errno.ECANCELED, -errno.ECANCELED]
    assert results[False] == [uid, -errno.EBADF, uid, pid_of(child)]
    await finish(child)


async def test_batches_larger_than_the_ring() -> None:
    child = await local_thread.clone()
    pid, uid = pid_of(child), os.getuid()
    calls = [Syscall(SYS.getpid), Syscall(SYS.getuid)] * 200
    assert await child.task.sysif.syscalls(calls) == [pid, uid] * 200
    assert await child.task.sysif.syscalls(calls, linked=True) == [pid, uid] * 200
    bad = [*calls[:150], Syscall(SYS.close, 9999), *calls[:150]]
    expected = [*([pid, uid] * 75), -errno.EBADF]
    assert await child.task.sysif.syscalls(bad, linked=True) == expected + [-errno.ECANCELED] * 150
    behind: dict[bool, list[int]] = {}

    async def run(linked: bool) -> None:
        behind[linked] = await child.task.sysif.syscalls(bad, linked)

    async with trio.open_nursery() as nursery, blocked(child):
        nursery.start_soon(run, True)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(run, False)
        await trio.testing.wait_all_tasks_blocked()
    assert behind[True] == expected + [-errno.ECANCELED] * 150
    assert behind[False] == expected + [pid, uid] * 75
    await finish(child)


async def test_results_of_a_batch_that_is_cut_short() -> None:
    """Killed while the process is in one of the calls, in the ring or still waiting for room."""
    for before in (1, 50, 300):
        child = await local_thread.clone()
        request = await child.ptr(Timespec(1000, 0))
        calls = (
            [Syscall(SYS.getpid)] * before
            + [Syscall(SYS.nanosleep, request.near)]
            + [Syscall(SYS.getpid)] * 200
        )
        caught: list[SyscallHangup] = []

        async def run(
            child: ChildThread = child, calls: list[Syscall] = calls, caught: list[SyscallHangup] = caught
        ) -> None:
            with pytest.raises(SyscallHangup) as info:
                await child.task.sysif.syscalls(calls)
            caught.append(info.value)

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)
                await wait_for_call(pid_of(child), SYS.nanosleep)
                os.kill(pid_of(child), signal.SIGKILL)
        assert caught[0].results == [pid_of(child)] * before
        await child.process.waitpid(W.EXITED)


async def test_arguments_that_are_none() -> None:
    """Refused before anything is sent, whatever is under way; what came before is not disturbed."""
    child = await local_thread.clone()
    for busy in (False, True):
        async with blocked(child) if busy else nullcontext():
            for bad in (None, object(), 2**64):
                with pytest.raises((TypeError, OverflowError, ValueError)):
                    await child.task.sysif.syscall(SYS.getpid, bad)  # type: ignore[arg-type] # that is the point
                with pytest.raises((TypeError, OverflowError, ValueError)):
                    await child.task.sysif.syscalls(
                        [Syscall(SYS.getpid), Syscall(SYS.getpid, bad)]  # type: ignore[arg-type] # likewise
                    )
        assert int(await child.task.getpid()) == pid_of(child)
    await finish(child)


@pytest.mark.slow
def test_interrupt_loses_no_answer(programs: Programs) -> None:
    """KeyboardInterrupt in the middle of a call: later callers get their own answers, not earlier ones."""
    programs.run("race_drivers:interrupts")


def test_descriptors_dropped_at_the_end_of_a_run(programs: Programs) -> None:
    programs.run("race_drivers:drops_at_the_end")


def test_a_close_that_was_sent_is_not_sent_again(programs: Programs) -> None:
    programs.run("race_drivers:closes_once")


def test_a_dropped_thread_leaves_the_standard_streams_open(programs: Programs) -> None:
    assert programs.run("race_drivers:dropped_thread") == "still here\n"


async def test_a_child_that_cannot_be_completed_leaves_no_pidfd() -> None:
    """The kernel makes it in the table of the process that clones, which here is not ours."""
    parent = await local_thread.clone()

    def pidfds() -> int:
        directory = f"/proc/{pid_of(parent)}/fd"
        return sum("pidfd" in os.readlink(f"{directory}/{number}") for number in os.listdir(directory))

    await kill(await parent.clone())
    before, existing = pidfds(), children()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for _ in range(10):
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                await parent.clone()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert pidfds() <= before
    assert children() <= existing
    await kill(parent)


async def test_closing_the_way_to_a_process_that_is_in_a_call() -> None:
    """The call must not write into memory that another pointer has got meanwhile."""
    pipe = await local_thread.pipe()
    child = await local_thread.clone()
    theirs = child.inherit_fd(pipe.read)
    # Allocated before the buffer: the allocator may reuse the memory of the buffer once it is given back.
    data = await local_thread.ptr(b"X" * 64)
    address = 0

    async def read() -> None:
        nonlocal address
        buf = await child.malloc(bytes, 64)
        address = int(buf.near)
        with pytest.raises(SyscallHangup):
            await theirs.read(buf)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        await child.task.sysif.close_interface()
    with pytest.raises(SyscallSendError):
        await child.task.getpid()
    await pipe.write.write(data)
    with trio.fail_after(60):
        await child.process.waitpid(W.EXITED)
    assert b"X" * 16 not in read_memory(address, 64)
    await pipe.read.close()
    await pipe.write.close()


async def test_dropped_descriptors_are_closed_by_who_had_them() -> None:
    """Another process of the table may be blocked, and may be waiting for this very close."""
    for _ in range(5):
        child = await local_thread.clone()
        sharer = await child.clone(CLONE.FILES)
        pipe = await child.pipe()
        ends = [pipe.read.move(sharer.task), pipe.write]
        del pipe
        async with child.process, sharer.process:
            with trio.fail_after(60):
                async with trio.open_nursery() as nursery:

                    async def read(sharer: ChildThread = sharer, ends: list[Any] = ends) -> None:
                        valid, _ = await ends[0].read(await sharer.malloc(bytes, 10))
                        assert valid.size() == 0

                    nursery.start_soon(read)
                    await trio.testing.wait_all_tasks_blocked()
                    ends.pop()
        ends.clear()


async def test_what_is_prepared_does_not_take_part_in_closing() -> None:
    child = await local_thread.clone()
    async with child.process:
        prepared = [child.prepare(CLONE.FILES) for _ in range(5)]
        fd = await child.task.open(await child.ptr(Path("/dev/null")), O.RDONLY)
        path = fd.as_proc_path()
        del fd
        await wait_until(partial(is_gone, path))
        del prepared


async def test_signals_are_as_before_when_a_cancelled_exec_fails() -> None:
    child = await local_thread.clone()
    request = await child.ptr(Timespec(0, 100_000_000))
    block = await child.task.sigmask_block(await child.ptr(Sigset({SIG.USR1})))

    def signals() -> list[str]:
        status = LocalPath(f"/proc/{pid_of(child)}/status").read_text()
        return [line for line in status.splitlines() if line.startswith(("SigBlk", "SigIgn"))]

    before = signals()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(child.task.sysif.syscall, SYS.nanosleep, request.near, 0)
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0.01), pytest.raises(FileNotFoundError):
            await child.execv("/nonexistent", ["x"])
    assert signals() == before
    del block
    await kill(child)


@pytest.mark.parametrize("change", ["exec", "unshare"])
async def test_what_is_opened_while_the_table_changes_is_not_lost(change: str) -> None:
    child = await local_thread.clone()
    request = await child.ptr(Timespec(0, 5_000_000))
    path = await child.ptr(Path("/dev/null"))

    def count() -> int:
        return len(os.listdir(f"/proc/{pid_of(child)}/fd"))

    async def open_file() -> None:
        try:
            fd = await child.task.open(path, O.RDONLY)
        except ManipulatingFDTableError:
            pass
        else:
            await fd.close()

    before = count()
    for _ in range(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child.task.sysif.syscall, SYS.nanosleep, request.near, 0)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(open_file)
            await trio.testing.wait_all_tasks_blocked()
            if change == "exec":
                with pytest.raises(FileNotFoundError):
                    await child.execv("/nonexistent", ["x"])
            else:
                await child.task.unshare_files()
        await child.task.run_fd_table_gc()
    # The last one may be under way still, in the background.
    await wait_until(lambda: count() <= before)
    await kill(child)


async def test_activity_fd_of_a_process_that_is_stopped() -> None:
    """The program does not wait for it; the descriptor is there as soon as the process goes on."""
    child = await local_thread.clone()
    os.kill(pid_of(child), signal.SIGSTOP)
    os.waitid(os.P_PID, pid_of(child), os.WSTOPPED | os.WNOWAIT)
    sysif = child.task.sysif
    if isinstance(sysif, RingConnection):
        begin = trio.current_time()
        with pytest.raises(RuntimeError, match="does not answer"):
            sysif.get_activity_fd()
        with pytest.raises(RuntimeError, match="in a call"):
            sysif.get_activity_fd()
        assert trio.current_time() - begin < 20
    os.kill(pid_of(child), signal.SIGCONT)
    assert int(await child.task.getpid()) == pid_of(child)
    fd = sysif.get_activity_fd()
    assert fd is sysif.get_activity_fd()
    assert os.path.exists(f"/proc/{pid_of(child)}/fd/{int(fd.near)}")
    await kill(child)


async def test_activity_fd_under_load() -> None:
    """A process that waits for events hears of calls at any moment, and goes on waiting."""
    child = await local_thread.clone()
    epoller = await Epoller.make_root(child.ram, child.task)
    pipe = await child.pipe(O.NONBLOCK)
    afd = await AsyncFileDescriptor.make(epoller, child.ram, pipe.read)
    received = b""

    async def read() -> None:
        nonlocal received
        while len(received) < 100:
            received += await afd.read_some_bytes()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            for index in range(100):
                assert int(await child.task.getpid()) == pid_of(child)
                if index % 3 == 0:
                    await trio.sleep(0.0005)
                os.kill(pid_of(child), signal.SIGSTOP)
                os.kill(pid_of(child), signal.SIGCONT)
                await pipe.write.write(await child.ptr(b"x"))
    assert received == b"x" * 100
    await kill(child)


async def test_an_error_does_not_wait_for_the_calls_of_others(transport: str) -> None:
    """A mistake of a caller is reported at once, also while the process is blocked in another's call."""
    child = await local_thread.clone()
    pipe = await child.pipe()
    sysif = child.task.sysif
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            with pytest.raises(SyscallHangup):
                await pipe.read.read(await child.malloc(bytes, 1))

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        wrong: Any = "no number"
        with trio.fail_after(60):
            for call in (SYS.getpid, SYS.read):
                with pytest.raises(TypeError):
                    await sysif.syscall(call, wrong)
                with pytest.raises(TypeError):
                    await sysif.syscalls([Syscall(call, wrong)])
            with pytest.raises((OverflowError, ValueError)):
                await sysif.syscall(SYS.getpid, 2**65)
        await child.process.kill()
    await child.process.waitpid(W.EXITED)
