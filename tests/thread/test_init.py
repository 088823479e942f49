"""The init of a pid namespace exits, executes a program or is killed, while tasks wait for its children.

It is the parent of the processes that are cloned from it, and makes the calls that wait for them.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from functools import partial

import pytest
import trio
import trio.testing
from support import local_thread, pid_of, sh

from rsyscall.epoller import AsyncFileDescriptor, Epoller
from rsyscall.fcntl import O
from rsyscall.handle.fd import ManipulatingFDTableError
from rsyscall.monitor import AsyncSignalfd
from rsyscall.near import SyscallError
from rsyscall.sched import CLONE
from rsyscall.signal import SIG, Sigset
from rsyscall.sys.wait import W
from rsyscall.thread import ChildThread

pytestmark = [pytest.mark.usefixtures("transport"), pytest.mark.needs("pid namespaces")]

ROUNDS = 64


async def exit_(init: ChildThread) -> None:
    await init.exit(0)


async def exec_(init: ChildThread) -> None:
    await init.exec(sh("exec sleep 1000"))


async def kill(init: ChildThread) -> None:
    await init.process.kill(SIG.KILL)


WAYS = {"exit": exit_, "exec": exec_, "kill": kill}


Wait = Callable[[], Awaitable[object]]


async def read(init: ChildThread, child: ChildThread) -> Wait:
    epoller = await Epoller.make_root(init.ram, init.task)
    pipe = await init.pipe(O.NONBLOCK)
    reader = await AsyncFileDescriptor.make(epoller, init.ram, pipe.read)

    async def read() -> None:
        await reader.read_some_bytes()
        assert pipe.write.valid

    return read


async def next_signal(init: ChildThread, child: ChildThread) -> Wait:
    epoller = await Epoller.make_root(init.ram, init.task)
    sigfd = await AsyncSignalfd.make(init.ram, init.task, epoller, Sigset({SIG.USR1}))
    return lambda: sigfd.next_signal.wait()


async def change(init: ChildThread, child: ChildThread) -> Wait:
    return child.process.wait


async def death(init: ChildThread, child: ChildThread) -> Wait:
    return partial(child.process.waitpid, W.EXITED)


async def stop(init: ChildThread, child: ChildThread) -> Wait:
    return partial(child.process.waitpid, W.STOPPED)


WAITS: dict[str, Callable[[ChildThread, ChildThread], Awaitable[Wait]]] = {
    function.__name__: function for function in (change, death, stop, next_signal, read)
}


@contextlib.asynccontextmanager
async def family(flags: CLONE) -> AsyncGenerator[tuple[ChildThread, ChildThread], None]:
    """An init and a child of it; leaving the block is what must work."""
    init = await local_thread.clone(CLONE.NEWUSER | CLONE.NEWPID | flags)
    async with init.process:
        child = await init.clone(flags)
        async with child.process:
            yield init, child


async def go(way: str, waits: list[str], flags: CLONE, turns: int) -> Counter[str]:
    """Have the init go `turns` turns of the scheduler after the beginning of the waits; count their ends."""
    ends: Counter[str] = Counter()
    with trio.fail_after(60):
        async with family(flags) as (init, child):
            begin = {name: await WAITS[name](init, child) for name in waits}

            async def wait(name: str) -> None:
                try:
                    await begin[name]()
                    ends["status"] += 1
                except SyscallError:
                    ends["SyscallError"] += 1

            async with trio.open_nursery() as nursery:
                for name in waits:
                    nursery.start_soon(wait, name)
                for _ in range(turns):
                    await trio.lowlevel.checkpoint()
                await WAYS[way](init)
                # Promptly: the one that has executed a program does not exit, and nor does its child.
    return ends


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_init_goes_at_any_moment(way: str) -> None:
    """No run ends with an error, and each waiter has its answer."""
    for turns in range(ROUNDS):
        flags = CLONE.FILES if turns % 4 == 3 else CLONE.NONE
        ends = trio.run(go, way, ["change"], flags, turns % 32)
        assert sum(ends.values()) == 1, (turns, ends)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("flags", [CLONE.NONE, CLONE.FILES], ids=["private", "shared"])
def test_everybody_hears_of_it(way: str, flags: CLONE) -> None:
    for turns in (0, 1, 2, 3, 5, 8, 13, 21, 34, 200):
        ends = trio.run(go, way, list(WAITS), flags, turns)
        assert sum(ends.values()) == len(WAITS), (turns, ends)


@pytest.mark.slow
@pytest.mark.parametrize("name", WAITS)
@pytest.mark.parametrize("way", WAYS)
async def test_wait_under_an_init_that_goes(way: str, name: str) -> None:
    async with family(CLONE.NONE) as (init, child), trio.open_nursery() as nursery:
        begin = await WAITS[name](init, child)

        async def wait() -> None:
            with pytest.raises(SyscallError):
                await begin()

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked(0.01)
        await WAYS[way](init)


@pytest.mark.parametrize("way", WAYS)
async def test_child_of_an_init_that_is_gone(way: str) -> None:
    async with family(CLONE.NONE) as (init, child):
        waits = [await make(init, child) for make in WAITS.values()]
        await WAYS[way](init)
        if way != "exec":
            await init.process.waitpid(W.EXITED)
        for begin in waits:
            with pytest.raises(SyscallError), trio.fail_after(60):
                await begin()
        for make in WAITS.values():
            with pytest.raises(SyscallError), trio.fail_after(60):
                await (await make(init, child))()
        with pytest.raises(SyscallError):
            await init.clone()
        with pytest.raises(SyscallError):
            await init.task.chdir(await init.ptr("/"))


async def test_exec_that_fails_is_nothing_to_who_waits() -> None:
    """While it is under way no descriptors are made; the waits begin in the middle of it."""
    async with family(CLONE.NONE) as (init, child):
        stops = 0

        async def wait() -> None:
            nonlocal stops
            await child.process.waitpid(W.STOPPED)
            stops += 1

        async def fail_to_exec() -> None:
            for _ in range(3):
                with pytest.raises(FileNotFoundError):
                    await init.execv("/no/such/program", ["program"])

        for turns in range(8):
            with trio.fail_after(60):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(fail_to_exec)
                    for _ in range(turns):
                        await trio.lowlevel.checkpoint()
                    nursery.start_soon(wait)
                    nursery.start_soon(child.process.kill, SIG.STOP)
            assert stops == turns + 1
            await child.process.kill(SIG.CONT)


# ---- cloning from a process that goes ----


def kept() -> tuple[int, int]:
    """How many rings are taken, and how much memory there is for them."""
    hub = local_thread.loader.hub
    assert hub is not None
    return len(hub.dumpable.sharing), hub.native.blocks


async def none_kept(before: tuple[int, int]) -> None:
    with trio.fail_after(60):
        while True:
            gc.collect()
            now = kept()
            if now[0] <= before[0]:
                break
            await trio.sleep(0.01)
    assert now[1] <= before[1] + 128


KILLER = """
import os, sys, time
for line in sys.stdin:
    pid, seconds = line.split()
    time.sleep(float(seconds))
    os.kill(int(pid), 9)
    print("killed", flush=True)
"""


@pytest.fixture
def killer() -> Iterator[subprocess.Popen[str]]:
    """Kills the process of each line that it reads, after a time. A thread would wait for the GIL."""
    command = [sys.executable, "-c", KILLER]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1) as process:
        yield process


@pytest.mark.slow
@pytest.mark.parametrize("flags", [CLONE.NONE, CLONE.FILES], ids=["private", "shared"])
@pytest.mark.parametrize("kind", [CLONE.NEWUSER | CLONE.NEWPID, CLONE.NONE], ids=["init", "child"])
async def test_clone_from_a_process_that_is_killed(
    killer: subprocess.Popen[str], kind: CLONE, flags: CLONE
) -> None:
    assert killer.stdin is not None
    assert killer.stdout is not None
    before = kept()
    ends: Counter[str] = Counter()
    for attempt in range(150):
        cloner = await local_thread.clone(kind | flags)
        killer.stdin.write(f"{pid_of(cloner)} {attempt % 50 * 2e-5}\n")
        cloned = []
        try:
            for _ in range(200):
                cloned.append(await cloner.clone(flags))
            ends["in time"] += 1
        except SyscallError:
            ends["SyscallError"] += 1
        assert killer.stdout.readline() == "killed\n"
        async with cloner.process:
            while cloned:
                async with cloned.pop().process:
                    pass
        del cloner
    assert ends["SyscallError"] > 20, ends
    await none_kept(before)


@pytest.mark.slow
async def test_clone_from_an_init_that_executes() -> None:
    """Another task has it execute a program, perhaps just when the clone has been made."""
    before = kept()
    for turns in range(60):
        init = await local_thread.clone(CLONE.NEWUSER | CLONE.NEWPID)
        async with init.process, trio.open_nursery() as nursery:

            async def clone(init: ChildThread = init) -> None:
                with contextlib.suppress(SyscallError, ManipulatingFDTableError):
                    for _ in range(20):
                        child = await init.clone()
                        async with child.process:
                            await trio.lowlevel.checkpoint()

            nursery.start_soon(clone)
            for _ in range(turns % 20):
                await trio.lowlevel.checkpoint()
            await init.exec(sh("exec sleep 1000"))
    del init
    await none_kept(before)


@pytest.mark.slow
@pytest.mark.parametrize("flags", [CLONE.NONE, CLONE.FILES, CLONE.NEWUSER | CLONE.NEWPID])
async def test_errors_of_clone_are_about_its_flags(flags: CLONE) -> None:
    """No descriptor is left at any of the points that need one."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    cloner = await local_thread.clone()
    cloner_pid = cloner.process.process.near.id
    errors = []
    async with cloner.process:
        for thread, pid in ((local_thread, os.getpid()), (cloner, cloner_pid)):
            highest = max(int(number) for number in os.listdir(f"/proc/{pid}/fd"))
            for limit in range(highest + 2, 2, -1):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, limits[1]))
                try:
                    child = await thread.clone(flags)
                except OSError as error:
                    errors.append((error.errno, error.filename))
                    break
                finally:
                    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
                async with child.process:
                    pass
    assert errors == [(errno.EMFILE, flags)] * 2
