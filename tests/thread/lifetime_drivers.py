"""Programs with processes in every possible state; see `test_lifetime.py`."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from support import children, is_running, sh
from waiting import eventually, wait_for_call

from rsyscall.command import Command
from rsyscall.epoller import AsyncFileDescriptor, Epoller
from rsyscall.fcntl import F, O
from rsyscall.handle import FileDescriptor
from rsyscall.local import LocalThread
from rsyscall.near import SYS, SyscallHangup, SyscallSendError
from rsyscall.sched import CLONE
from rsyscall.settings import transport_name
from rsyscall.signal import SIG
from rsyscall.sys.wait import W
from rsyscall.thread import ChildThread, do_cloexec_except
from rsyscall.time import Timespec

NOBODY = 65534
SOMEBODY = 65533


class Owner:
    """Shared by the states: the local thread, and a nursery for calls that do not return."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.thread = LocalThread()
        self.nursery = nursery
        self.kept: list[object] = []
        self.blocked: list[ChildThread] = []

    async def clone(self, flags: CLONE = CLONE.NONE) -> ChildThread:
        child = await self.thread.clone(flags)
        self.kept.append(child)
        return child

    async def block(self, child: ChildThread, call: Callable[[], Awaitable[object]]) -> None:
        """Have a child in a call that does not return."""
        self.blocked.append(child)

        async def run() -> None:
            try:
                await call()
            except (OSError, RuntimeError):
                raise
            except Exception:
                # The process is gone; that happens when the program ends in an orderly way.
                return

        self.nursery.start_soon(run)

    async def block_in_read(self, child: ChildThread) -> None:
        pipe = await child.pipe()
        self.kept.append(pipe)
        buf = await child.malloc(bytes, 1)
        await self.block(child, lambda: pipe.read.read(buf))


async def idle(owner: Owner) -> None:
    await owner.clone()


async def shared(owner: Owner) -> None:
    await owner.clone(CLONE.FILES | CLONE.FS)


async def read(owner: Owner) -> None:
    await owner.block_in_read(await owner.clone())


async def nanosleep(owner: Owner) -> None:
    child = await owner.clone()
    request = await child.ptr(Timespec(1000, 0))
    owner.kept.append(request)
    await owner.block(child, lambda: child.task.sysif.syscall(SYS.nanosleep, request.near, 0))


async def queue(owner: Owner) -> None:
    """Blocked, with more calls behind than there is room for."""
    child = await owner.clone()
    await owner.block_in_read(child)
    for _ in range(150):
        await owner.block(child, child.task.getpid)


async def polling(owner: Owner) -> None:
    """In epoll_wait on behalf of a task that waits."""
    child = await owner.clone()
    epoller = await Epoller.make_root(child.ram, child.task)
    pipe = await child.pipe(O.NONBLOCK)
    afd = await AsyncFileDescriptor.make(epoller, child.ram, pipe.read)
    owner.kept.append(pipe)
    owner.nursery.start_soon(afd.read_some_bytes)


async def nested(owner: Owner) -> None:
    child = await owner.clone()
    grandchild = await child.clone()
    last = await grandchild.clone()
    owner.kept += [grandchild, last]
    await owner.block_in_read(await last.clone())


async def nested_without_parents(owner: Owner) -> None:
    child = await owner.thread.clone()
    grandchild = await child.clone()
    owner.kept += [grandchild, await grandchild.clone()]
    await child.exit(0)


async def pid_namespace(owner: Owner) -> None:
    init = await owner.clone(CLONE.NEWUSER | CLONE.NEWPID)
    child = await init.clone()
    owner.kept += [child, await child.clone()]
    owner.kept.append(await (await init.clone()).exec(sh("exec sleep 1000")))
    await owner.block_in_read(child)


async def pid_namespace_in_another(owner: Owner) -> None:
    outer = await owner.clone(CLONE.NEWUSER | CLONE.NEWPID)
    inner = await outer.clone(CLONE.NEWPID)
    owner.kept += [inner, await inner.clone()]


async def other_namespaces(owner: Owner) -> None:
    await owner.clone(CLONE.NEWUSER | CLONE.NEWNS | CLONE.NEWNET | CLONE.NEWUTS | CLONE.NEWIPC)


async def prepared(owner: Owner) -> None:
    """Between clone and exec, in a step that blocks."""
    full = await owner.thread.pipe(O.NONBLOCK)
    owner.kept.append(full)
    data = await owner.thread.ptr(bytes(4096))
    while True:
        try:
            await full.write.write(data)
        except BlockingIOError:
            break
        data = await owner.thread.ptr(bytes(4096))
    await full.write.fcntl(F.SETFL, 0)
    thread = owner.thread.prepare()
    await thread.inherit_fd(full.write).write(await thread.ptr(b"x"))
    owner.kept.append(await thread.start(Command("/bin/true", ["true"], {})))


async def spawning(owner: Owner) -> None:
    """Ever new processes on their way to exec."""

    async def storm() -> None:
        while True:
            await owner.thread.run(Command("/bin/true", ["true"], {}))

    for _ in range(4):
        owner.nursery.start_soon(storm)


async def cloning(owner: Owner) -> None:
    """Ever new processes which are driven for a while."""

    async def storm() -> None:
        while True:
            child = await owner.thread.clone()
            await child.task.getpid()
            await child.exit(0)
            async with child.process:
                await trio.lowlevel.checkpoint()

    for _ in range(2):
        owner.nursery.start_soon(storm)


async def executed(owner: Owner) -> None:
    owner.kept.append(await (await owner.clone()).exec(sh("exec sleep 1000")))


async def executed_below(owner: Owner) -> None:
    child = await owner.clone()
    owner.kept.append(await (await child.clone()).exec(sh("exec sleep 1000")))


async def run(owner: Owner) -> None:
    owner.nursery.start_soon(owner.thread.run, sh("exec sleep 1000"))


async def credentials(owner: Owner) -> None:
    for blocked in (False, True):
        child = await owner.clone()
        await child.task.setresgid(NOBODY, NOBODY, NOBODY)
        await child.task.setresuid(NOBODY, NOBODY, NOBODY)
        if blocked:
            await owner.block_in_read(child)
    child = await owner.clone()
    await child.task.setresuid(NOBODY, NOBODY, NOBODY)
    owner.kept.append(await child.exec(sh("exec sleep 1000")))


async def new_user_namespace(owner: Owner) -> None:
    child = await owner.clone()
    await child.unshare_user(0, 0)
    owner.kept.append(await child.clone(CLONE.NEWPID))


async def without_descriptors(owner: Owner) -> None:
    """Has closed all descriptors that it could, also the one by which we wake it."""
    child = await owner.clone()
    await do_cloexec_except(child, set())
    if transport_name() == "ring":
        await child.task.sysif.syscall(SYS.close_range, 0, 0xFFFFFFFF, 0)


async def own_session(owner: Owner) -> None:
    await (await owner.clone()).task.setsid()


async def stopped(owner: Owner) -> None:
    """It may have been stopped before it could set PDEATHSIG."""
    child = await owner.clone()
    await child.process.kill(SIG.STOP)


async def stopped_program(owner: Owner) -> None:
    owner.kept.append(stopping := await (await owner.clone()).exec(sh("exec sleep 1000")))
    await stopping.kill(SIG.STOP)


async def standard_output(owner: Owner) -> None:
    """Our standard output has been inherited by all; here it is also used as something else."""
    child = await owner.clone()
    fd: FileDescriptor = child.stdout
    await fd.dup2(child.stdin)
    owner.kept.append(await child.exec(sh("exec sleep 1000")))


async def own_memory(owner: Owner) -> None:
    """A process with memory of its own, a child of it, and a child of that which is in a call."""
    child = await owner.thread.clone(own_memory=True)
    below = await child.clone()
    at_the_bottom = await below.clone()
    owner.kept += [child, below, at_the_bottom]
    await owner.block_in_read(at_the_bottom)


async def own_memory_blocked(owner: Owner) -> None:
    child = await owner.thread.clone(own_memory=True)
    owner.kept.append(child)
    await owner.block_in_read(child)


async def own_memory_init(owner: Owner) -> None:
    """The init of a pid namespace, and a child of it."""
    child = await owner.thread.clone(CLONE.NEWUSER | CLONE.NEWPID, own_memory=True)
    owner.kept += [child, await child.clone()]


STATES = {
    state.__name__: state
    for state in (
        idle, shared, read, nanosleep, queue, polling, nested, nested_without_parents, pid_namespace,
        pid_namespace_in_another, other_namespaces, prepared, spawning, cloning, executed, executed_below,
        run, credentials, new_user_namespace, without_descriptors, own_session, stopped,
        stopped_program, standard_output, own_memory, own_memory_blocked, own_memory_init,
    )
}  # fmt: skip

# What the place has to permit for some of them; see tests/place.py.
NEEDS = {
    "pid_namespace": ["pid namespaces"],
    "pid_namespace_in_another": ["pid namespaces"],
    "other_namespaces": [f"{name} namespaces" for name in ("mount", "network", "uts", "ipc")],
    "credentials": ["other users"],
    "new_user_namespace": ["pid namespaces"],
    "own_memory_init": ["user namespaces", "pid namespaces"],
}


# States with running programs that only their parent ends, and how many programs.
PROGRAMS = {"executed": 1, "executed_below": 1, "credentials": 1, "stopped_program": 1, "standard_output": 1}


class ProgramFailed(Exception):
    """Leaves `trio.run`."""


def execute_shell() -> None:
    """Become a program that prints a line, and ends when it is told to."""
    os.execv("/bin/sh", ["sh", "-c", "echo '\"executed\"'; read line"])


def outlive(states: list[str], drop: bool, end: str, late: bool = False) -> None:
    """Make processes in these states, and end in a way in which no signal of ours may reach them.

    Args:
        states: names.
        drop: give up our privileges before.
        end: "killed", "os._exit", "executed" (another program), "executed by a thread", "copied" (by fork,
            and the copy goes on).
        late: none of the processes comes to run before we end.
    """
    if late:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))

    async def program() -> None:
        async with trio.open_nursery() as nursery:
            owner = Owner(nursery)
            for state in states:
                await STATES[state](owner)
            await trio.testing.wait_all_tasks_blocked()
            if drop:
                os.setresgid(SOMEBODY, SOMEBODY, SOMEBODY)
                os.setresuid(SOMEBODY, SOMEBODY, SOMEBODY)
            if end == "copied" and os.fork() == 0:
                # Only what tells the test of the copy is closed.
                os.closerange(0, 3)
                signal.pause()
            print(json.dumps("ready"), flush=True)
            if end == "os._exit":
                os._exit(0)
            if end == "executed":
                execute_shell()
            if end == "executed by a thread":
                await trio.to_thread.run_sync(execute_shell)
            await trio.sleep_forever()

    trio.run(program)


def out_of_reach() -> None:
    """Children of a user whom neither the program nor the watcher may signal; one is in a call."""
    libc, cap_kill = ctypes.CDLL(None), 5
    header, data = struct.pack("Ii", 0x20080522, 0), ctypes.create_string_buffer(24)
    assert libc.capget(header, data) == 0
    effective, permitted, *others = struct.unpack("6I", data.raw)
    kept = struct.pack("6I", effective & ~(1 << cap_kill), permitted & ~(1 << cap_kill), *others)
    assert libc.capset(header, kept) == 0

    async def program() -> None:
        thread = LocalThread()
        children = [await thread.clone() for _ in range(3)]
        for child in children:
            await child.task.setresgid(NOBODY, NOBODY, NOBODY)
            await child.task.setresuid(NOBODY, NOBODY, NOBODY)
        byte = await children[0].malloc(bytes, 1)
        async with trio.open_nursery() as nursery:
            # It returns when the test writes to our standard input.
            nursery.start_soon(children[0].stdin.read, byte)
            await wait_for_call(children[0].process.process.near.id, SYS.read, 0)
            print(json.dumps(children[0].process.process.near.id), flush=True)
            await trio.sleep_forever()

    trio.run(program)


def copied() -> None:
    """When a copy of the program ends, the program's processes go on, whether the copy used them or not."""

    async def program() -> None:
        thread = LocalThread()
        child = await thread.clone()
        pid = await child.task.getpid()
        for end in ("os._exit", "killed", "executed"):
            copy = os.fork()
            if copy == 0:
                if end == "executed":
                    os.execv("/bin/true", ["true"])
                if end == "killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                os._exit(0)
            os.waitpid(copy, 0)
            subprocess.run(["true"], check=True)
            # Were the child told to exit, it would do so in this time; no event tells that it does not.
            await trio.sleep(0.02)
            assert await child.task.getpid() == pid
        await child.exit(0)

    trio.run(program)


def main(states: list[str], end: str) -> None:
    """Make processes in these states, say so, and end in the way that is asked for.

    Args:
        states: names.
        end: "killed", "exit", "exception", "exception later" (after the run), "os._exit", "return".
    """

    kept = []

    async def program() -> None:
        async with trio.open_nursery() as nursery:
            owner = Owner(nursery)
            kept.append(owner)
            for state in states:
                await STATES[state](owner)
            await trio.testing.wait_all_tasks_blocked()
            print(json.dumps("ready"), flush=True)
            if end == "killed":
                await trio.sleep_forever()
            await trio.to_thread.run_sync(sys.stdin.readline)
            if end == "os._exit":
                os._exit(3)
            # No task leaves a run while a call that it has sent is not answered; see `AsyncChildProcess`.
            for child in owner.blocked:
                await child.process.kill()
            nursery.cancel_scope.cancel()
        if end == "exit":
            sys.exit(3)
        if end == "exception":
            raise ProgramFailed

    trio.run(program)
    if end == "exception later":
        raise ProgramFailed


def leave_something() -> None:
    """Leave a process behind that the library must not end."""
    subprocess.Popen(["sleep", "1000"])
    os._exit(0)


def run_in_thread(states: list[str]) -> None:
    """Make processes from a thread which then ends, while the program goes on."""

    def run() -> None:
        async def program() -> None:
            async with trio.open_nursery() as nursery:
                owner = Owner(nursery)
                kept.append(owner)
                for state in states:
                    await STATES[state](owner)
                assert children()
                for child in owner.blocked:
                    await child.process.kill()

        trio.run(program)

    kept: list[Owner] = []
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    # They become zombies of this thread: it is who has to reap them now.
    assert eventually(lambda: not any(map(is_running, children())))
    assert children()

    async def from_here() -> None:
        with pytest.raises(RuntimeError, match="which has ended"):
            await kept[0].thread.clone()

    trio.run(from_here)


def dump_core(sig: int) -> None:
    """Kill a child by a signal that dumps core, which does take place."""
    os.chdir(os.environ["TMPDIR"])
    # The beginning is enough.
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (16384, hard))

    async def program() -> None:
        thread = LocalThread()
        child = await thread.clone()
        pipe = await child.pipe()
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                with pytest.raises(SyscallHangup):
                    await pipe.read.read(await child.malloc(bytes, 1))

            nursery.start_soon(read)
            await wait_for_call(child.process.process.near.id, SYS.read, int(pipe.read))
            await child.process.kill(SIG(sig))
            with trio.fail_after(60):
                state = await child.process.waitpid(W.EXITED)
        assert state.killed_with() == sig
        with pytest.raises(SyscallSendError), trio.fail_after(60):
            await child.task.getpid()
        blocks = thread.loader.hub.native.blocks if thread.loader.hub else 0
        for _ in range(2 * 64):
            child = await thread.clone()
            await child.process.kill(SIG(sig))
            await child.process.waitpid(W.EXITED)
        assert thread.loader.hub is not None
        assert thread.loader.hub.native.blocks == blocks, "memory is used again"

    trio.run(program)
    for name in os.listdir():
        if name.startswith("core"):
            os.unlink(name)
