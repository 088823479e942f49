"""Nothing outlives its owner, and the death of a process is news at once."""

from __future__ import annotations

import gc
import os
import random
import signal
import time
from pathlib import Path

import pytest
import trio
from drivers import Programs
from lifetime_drivers import NEEDS, STATES
from place import Place
from support import is_running, local_thread, pid_of, sh
from waiting import eventually, wait_for_call, wait_until

from rsyscall.epoller import AsyncFileDescriptor, Epoller
from rsyscall.fcntl import O
from rsyscall.monitor import AsyncSignalfd
from rsyscall.near import SYS, Syscall, SyscallError, SyscallHangup, SyscallSendError
from rsyscall.sched import CLONE
from rsyscall.signal import SIG, Sigset
from rsyscall.sys.wait import W
from rsyscall.thread import ChildThread

pytestmark = pytest.mark.usefixtures("transport")


def end_of(programs: Programs, states: list[str], end: str, delay: float = 0.0) -> int:
    """Have a program make processes in these states and end; return its exit status.

    For the end "early" the program is killed while it makes them, `delay` seconds after its start.
    """
    program = programs.start("lifetime_drivers:main", states=states, end=end)
    if end == "early":
        time.sleep(delay)
        program.kill()
    else:
        assert program.read_json() == "ready", states
        if end == "killed":
            time.sleep(delay)
            program.kill()
        else:
            program.tell("")
    status = program.wait()
    # Soon after it all processes are gone, and with them all copies of the pipe to us.
    programs.assert_nothing_left()
    with pytest.raises(AssertionError, match="ended early"):
        while True:
            program.read_line()
    if end in ("killed", "early", "os._exit"):
        assert program.errors() == ""
    program.close()
    programs.forget(program)
    return status


@pytest.mark.slow
def test_what_is_left_is_seen(programs: Programs) -> None:
    """A process that does outlive its owner, so that the other tests can be believed."""
    program = programs.start("lifetime_drivers:leave_something")
    program.wait()
    left = programs.left()
    assert len(left) == 1
    os.kill(next(iter(left)), signal.SIGKILL)
    programs.assert_nothing_left()


@pytest.fixture
def states(place: Place) -> list[str]:
    """The states that the place permits."""
    return [state for state in STATES if place.permits(*NEEDS.get(state, []))]


@pytest.mark.slow
@pytest.mark.parametrize(
    "state", [pytest.param(state, marks=pytest.mark.needs(*NEEDS.get(state, []))) for state in STATES]
)
def test_kill_of_owner(programs: Programs, state: str) -> None:
    assert end_of(programs, [state], "killed") == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize("round", range(5))
def test_kills_at_random(programs: Programs, states: list[str], round: int) -> None:
    """Ten kills each: when all processes are made and rest, and while they are being made."""
    dice = random.Random(f"lifetime {round} {os.environ['RSYSCALL_TRANSPORT']}")
    for _ in range(5):
        some = dice.sample(sorted(states), 6)
        assert end_of(programs, some, "killed", dice.random() * 0.005) == -signal.SIGKILL
        assert end_of(programs, some, "early", dice.random() * 0.05) == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "status"),
    [("exit", 3), ("exception", 1), ("exception later", 1), ("os._exit", 3), ("return", 0)],
)
def test_other_ends_of_owner(programs: Programs, states: list[str], end: str, status: int) -> None:
    half = len(states) // 2
    for some in (states[:half], states[half:]):
        assert end_of(programs, some, end) == status


@pytest.mark.slow
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT, signal.SIGSEGV])
def test_owner_ended_by_signal(programs: Programs, states: list[str], signal_number: int) -> None:
    program = programs.start("lifetime_drivers:main", states=states, end="killed")
    assert program.read_json() == "ready"
    if signal_number == signal.SIGINT:
        # A KeyboardInterrupt does not get out of a run in which a call is not answered. An impatient user
        # then presses Ctrl-C again, and at last closes the terminal.
        program.kill(signal_number)
        time.sleep(0.02)
        program.kill(signal.SIGHUP)
        signal_number = signal.SIGHUP
    else:
        program.kill(signal_number)
    assert program.wait() == -signal_number
    programs.assert_nothing_left()


@pytest.mark.slow
@pytest.mark.needs("pid namespaces")
def test_thread_that_ends_takes_its_processes_along(programs: Programs) -> None:
    """Death of the OS thread that runs trio is what counts, not that of the program."""
    programs.run("lifetime_drivers:run_in_thread", states=["idle", "nested", "executed", "pid_namespace"])


# ---- death of a child ----


async def test_death_is_told_at_once() -> None:
    """The calls under way, those that wait behind, later ones, and a task that waits for the child."""
    child = await local_thread.clone()
    pipe = await child.pipe()
    told: list[str] = []

    async def read() -> None:
        with pytest.raises(SyscallHangup):
            await pipe.read.read(await child.malloc(bytes, 1))
        told.append("read")

    async def behind() -> None:
        with pytest.raises(SyscallError):
            await child.task.getpid()
        told.append("behind")

    async def batch() -> None:
        with pytest.raises(SyscallError):
            await child.task.sysif.syscalls([Syscall(SYS.getpid)] * 200)
        told.append("batch")

    async def wait() -> None:
        state = await child.process.waitpid(W.EXITED)
        assert state.killed_with() == SIG.KILL
        told.append("wait")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await wait_for_call(pid_of(child), SYS.read, int(pipe.read))
        for _ in range(200):
            nursery.start_soon(behind)
        for _ in range(3):
            nursery.start_soon(batch)
            nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert not told
        os.kill(child.process.process.near.id, signal.SIGKILL)
    assert len(told) == 207
    for _ in range(2):
        with pytest.raises(SyscallSendError):
            await child.task.getpid()
        with pytest.raises(SyscallSendError):
            await child.task.sysif.syscalls([Syscall(SYS.getpid)] * 3)


async def test_death_of_a_child_that_nobody_talks_to() -> None:
    child = await local_thread.clone()
    os.kill(child.process.process.near.id, signal.SIGKILL)
    with trio.fail_after(60):
        assert (await child.process.waitpid(W.EXITED)).killed_with() == SIG.KILL
    with pytest.raises(SyscallSendError):
        await child.task.getpid()
    with pytest.raises(SyscallSendError):
        await child.clone()
    with pytest.raises(SyscallSendError):
        await child.exit(0)


async def test_death_before_the_first_call() -> None:
    """Killed before any task waits for it: the next call finds out."""
    child = await local_thread.clone()
    pid = child.process.process.near.id
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not is_running(pid))
    with pytest.raises(SyscallError), trio.fail_after(60):
        await child.task.getpid()
    with trio.fail_after(60):
        assert (await child.process.waitpid(W.EXITED)).killed_with() == SIG.KILL


@pytest.mark.slow
@pytest.mark.parametrize("sig", [SIG.ABRT, SIG.SEGV, SIG.QUIT])
def test_core_dump_of_a_child(programs: Programs, sig: SIG) -> None:
    """It does not kill us, and is noticed like any other death, although the kernel clears no futex word."""
    programs.run("lifetime_drivers:dump_core", sig=sig)


# ---- the watcher ----


def watcher_pid() -> int:
    """The process id of the watcher."""
    hub = local_thread.monitor.hub
    assert hub.watcher is not None
    pidfd = hub.watcher.pidfd
    with open(f"/proc/self/fdinfo/{pidfd}") as info:
        return next(int(line.split()[1]) for line in info if line.startswith("Pid:"))


async def test_watcher_holds_nothing_open() -> None:
    pid = watcher_pid()
    fds = os.listdir(f"/proc/{pid}/fd")
    completion = local_thread.monitor.hub.completion.near.number
    pipe = os.readlink(f"/proc/self/fd/{completion}")
    assert [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in fds] == [pipe]
    # And whatever is opened and cloned later stays out of it.
    opened = await local_thread.pipe()
    child = await local_thread.clone()
    assert os.listdir(f"/proc/{pid}/fd") == fds
    await child.exit(0)
    await child.process.waitpid(W.EXITED)
    for fd in (opened.read, opened.write):
        await fd.close()


async def test_watcher_is_replaced() -> None:
    """Also when it is killed while an exec is under way."""
    hub = local_thread.monitor.hub
    for _ in range(5):
        before = watcher_pid()
        os.kill(before, signal.SIGKILL)
        children = [await local_thread.clone() for _ in range(5)]
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for child in children:
                    nursery.start_soon(exec_true, child)

            def is_replaced(before: int = before) -> bool:
                hub.ensure_watcher()
                return hub.watcher is not None and watcher_pid() != before

            await wait_until(is_replaced)


async def exec_true(child: ChildThread) -> None:
    """Execute a program that succeeds."""
    await (await child.exec(sh("true"))).check()


# ---- children that are dropped ----


async def busy_child(flags: CLONE, what: str) -> int:
    """Make a child that waits in an epoll loop of its own, and drop it; return its id."""
    child = await local_thread.clone(flags)
    pid = child.process.process.near.id

    zeros = 0

    def waits() -> bool:
        # "0": it runs, or the place does not let us know.
        nonlocal zeros
        wchan = Path(f"/proc/{pid}/wchan").read_text()
        zeros = zeros + 1 if wchan == "0" else 0
        return wchan in ("ep_poll", "do_epoll_wait") or zeros > 200

    epoller = await Epoller.make_root(child.ram, child.task)
    if what == "signalfd":
        sigfd = await AsyncSignalfd.make(child.ram, child.task, epoller, Sigset({SIG.INT}))
        assert not sigfd.next_signal.is_set()
    else:
        pipe = await child.pipe(O.NONBLOCK)
        reader = await AsyncFileDescriptor.make(epoller, child.ram, pipe.read)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.read_some_bytes)
            await wait_until(waits, collecting=True)
            nursery.cancel_scope.cancel()
    await wait_until(waits, collecting=True)
    return pid


@pytest.mark.parametrize("what", ["signalfd", "reader"])
@pytest.mark.parametrize("flags", [CLONE.NONE, CLONE.FILES], ids=["private", "shared"])
async def test_dropped_child_that_waits_ends(flags: CLONE, what: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    pids = [await busy_child(flags, what) for _ in range(3)]
    await wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), collecting=True)
    await wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before, collecting=True)


@pytest.mark.parametrize("what", ["signalfd", "reader"])
@pytest.mark.parametrize("flags", [CLONE.NONE, CLONE.FILES], ids=["private", "shared"])
def test_child_that_is_dropped_with_the_run_ends(flags: CLONE, what: str) -> None:
    """No other run is needed for that."""
    pids = [trio.run(busy_child, flags, what) for _ in range(3)]
    gc.collect()
    assert eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))
