"""Channels over the one stream to a process elsewhere: they are independent, and nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path as LocalPath

import pytest
import trio
import trio.testing
from sshd import SSHD, serving
from waiting import wait_until

from rsyscall.async_fd import AsyncFileDescriptor
from rsyscall.command import Command
from rsyscall.fcntl import O
from rsyscall.handle import FileDescriptor
from rsyscall.multiplexed import Multiplexer
from rsyscall.near import SyscallError, nr
from rsyscall.sys.prctl import PR
from rsyscall.sys.socket import SHUT
from rsyscall.sys.wait import W
from rsyscall.tasks.local import local_thread
from rsyscall.tasks.ssh import make_ssh_host
from rsyscall.tasks.stdio import StdioThread, stdio_bootstrap
from rsyscall.thread import Thread

from .far_ways import command
from .filters import deny_in
from .support import cloned, sh
from .test_stdio import name_of, nothing_left, parent_of

__all__ = ["nothing_left"]

MIB = 1 << 20
WINDOW = MIB
CARRIERS = {
    "sh": ("sh", "-c"),
    "pipes": ("sh", "-c", 'cat | sh -c "$0" | cat'),
    "sudo": ("sudo", "-n", "sh", "-c"),
}
WITH_SSH = pytest.param("ssh", marks=[pytest.mark.skipif(SSHD is None, reason="sshd is not installed")])


@asynccontextmanager
async def opened(name: str, directory: LocalPath) -> AsyncIterator[StdioThread]:
    """A thread that is reached over one stream."""
    if name != "ssh":
        async with await stdio_bootstrap(local_thread, command(*CARRIERS[name])) as thread:
            yield thread
        return
    with serving(directory) as server:
        host = await make_ssh_host(local_thread, lambda ssh: ssh.args(*server.words()))
        _, thread = await host.ssh(local_thread)
        async with thread:
            yield thread


def multiplexer_of(thread: Thread) -> Multiplexer:
    multiplexer = thread._multiplexer()
    assert multiplexer is not None
    return multiplexer


def relays_of(thread: StdioThread) -> list[int]:
    """The relays: that of this side, and that of the other one if it is on this machine."""
    near = multiplexer_of(thread).relay
    assert near is not None
    assert near.pid is not None
    root = thread.task.near_process.id
    return [
        near.pid,
        *(pid for pid in all_pids() if parent_of(pid) == root and name_of(pid) == "rsyscall-relay"),
    ]


def all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def is_running(pid: int) -> bool:
    try:
        return LocalPath(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def memory_of(pid: int) -> int:
    fields = LocalPath(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGESIZE")


async def ask(ours: AsyncFileDescriptor, thread: Thread, theirs: FileDescriptor) -> None:
    """Something there and back over a channel."""
    await ours.write_all_bytes(b"request")
    assert await thread.read(theirs) == b"request"
    await theirs.write(await thread.ram.ptr(b"answer"))
    assert await ours.read_some_bytes() == b"answer"


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CARRIERS, WITH_SSH])
async def test_blocked_root(name: str, tmp_path: LocalPath) -> None:
    """While the root blocks, calls in its children go on, and so do channels to them."""
    async with opened(name, tmp_path) as there:
        assert not multiplexer_of(there).running, "not before it is needed"
        pipe = await there.pipe(O.CLOEXEC)
        async with cloned(there) as child:
            assert multiplexer_of(there).running
            [(ours, theirs)] = await child.open_async_channels(1)
            assert ours.handle.task is local_thread.task
            assert theirs.task is child.task
            await ask(ours, child, theirs)
            write = child.task.inherit_fd(pipe.write)
            word = await child.ptr(b"x")
            async with trio.open_nursery() as nursery:
                ended = False

                async def block() -> None:
                    nonlocal ended
                    assert await there.read(pipe.read) == b"x"
                    ended = True

                nursery.start_soon(block)
                try:
                    for _ in range(100):
                        assert await child.task.getpid() == child.task.near_process
                        await ask(ours, child, theirs)
                    assert not ended
                finally:
                    await write.write(word)
            await ours.close()
            assert await child.read(theirs) == b""


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CARRIERS, WITH_SSH])
async def test_channels(name: str, tmp_path: LocalPath) -> None:
    """Sockets like any others: either half ends, either end is closed, and other processes use them."""
    async with opened(name, tmp_path) as there:
        channels = await there.open_async_channels(20)
        for ours, theirs in reversed(channels):
            await ask(ours, there, theirs)
        ours, theirs = channels[0]
        await ours.handle.shutdown(SHUT.WR)
        assert await there.read(theirs) == b""
        await theirs.write(await there.ram.ptr(b"still"))
        assert await ours.read_some_bytes() == b"still"
        await theirs.close()
        assert await ours.read_some_bytes() == b""
        ours, theirs = channels[1]
        await ours.close()
        assert await there.read(theirs) == b""
        # The one that is closed: a writer over there hears of it.
        with pytest.raises(BrokenPipeError):
            for _ in range(1000):
                await theirs.write(await there.ram.ptr(b"lost"))
                await trio.sleep(0.005)
        # A command here talks to a command there. Our end blocks, and that blocks nothing.
        [(mine, theirs)] = await there.open_channels(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_with, there, theirs, "read line; echo got $line")
            nursery.start_soon(
                run_with, local_thread, mine, 'echo word; read line; test "$line" = "got word"'
            )


async def run_with(thread: Thread, fd: FileDescriptor, script: str) -> None:
    """Run a script whose standard input and output is a descriptor, which is closed here."""
    child = await thread.clone()
    inside = child.inherit_fd(fd)
    await fd.close()
    await inside.dup2(child.stdin)
    await inside.dup2(child.stdout)
    process = await child.exec(sh(script))
    async with process:
        assert (await process.waitpid(W.EXITED)).clean()


@pytest.mark.slow
async def test_slow_reader(tmp_path: LocalPath) -> None:
    """A child that writes 64 MiB which we do not read stops no other, and needs no memory for it."""
    async with opened("sh", tmp_path) as there, cloned(there) as child:
        writer = await there.clone()
        [(ours, theirs)] = await writer.open_async_channels(1)
        [(other, others)] = await there.open_async_channels(1)
        size = 64 * MIB
        await theirs.dup2(writer.stdout)
        command = Command("/bin/sh", ["sh", "-c", f"exec head -c {size} /dev/zero"], {})
        process = await writer.exec(command)
        async with process:
            for _ in range(200):
                await ask(other, there, others)
                assert await child.task.getpid() == child.task.near_process
            assert all(memory_of(pid) < 4 * WINDOW for pid in relays_of(there))
            got = 0
            while data := await ours.read_some_bytes(MIB):
                got += len(data)
            assert got == size
            assert (await process.waitpid(W.EXITED)).clean()
        assert all(memory_of(pid) < 4 * WINDOW for pid in relays_of(there))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sh", "pipes", WITH_SSH])
async def test_much_both_ways(name: str, tmp_path: LocalPath) -> None:
    """256 MiB through `cat` on the other side and back, with buffers of a bounded size."""
    size = 256 * MIB
    async with opened(name, tmp_path) as there:
        [(ours, theirs)] = await there.open_async_channels(1)
        [(other, others)] = await there.open_async_channels(1)
        child = await there.clone()
        inside = child.inherit_fd(theirs)
        await theirs.close()
        await inside.dup2(child.stdin)
        await inside.dup2(child.stdout)
        relays, most = relays_of(there), 0
        process = await child.exec(Command("/bin/cat", ["cat"], {}))
        async with process:
            async with trio.open_nursery() as nursery:

                async def send() -> None:
                    piece = bytes(range(256)) * 4096
                    for _ in range(size // MIB):
                        await ours.write_all_bytes(piece)
                        await trio.lowlevel.checkpoint()
                    await ours.handle.shutdown(SHUT.WR)

                async def others_go_on() -> None:
                    while True:
                        with trio.fail_after(20):
                            await ask(other, there, others)
                        await trio.sleep(0.01)

                nursery.start_soon(send)
                nursery.start_soon(others_go_on)
                got = 0
                while data := await ours.read_some_bytes(MIB):
                    assert (data[0], data[-1]) == (got % 256, (got + len(data) - 1) % 256)
                    got += len(data)
                    most = max(most, *map(memory_of, relays))
                    await trio.lowlevel.checkpoint()
                assert got == size
                nursery.cancel_scope.cancel()
            assert (await process.waitpid(W.EXITED)).clean()
        assert most < 6 * WINDOW


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sh", WITH_SSH])
@pytest.mark.parametrize("victim", ["near", "far", "root", "carrier"])
async def test_kill(name: str, victim: str, tmp_path: LocalPath) -> None:
    """If any of the processes dies: calls fail, channels end, and no process is left on either side."""
    async with opened(name, tmp_path) as there, cloned(there) as child:
        [(ours, _theirs)] = await child.open_async_channels(1)
        near, far = relays_of(there)
        root = there.task.near_process.id
        assert there.carrier.pid is not None
        pids = {"near": near, "far": far, "root": root, "carrier": there.carrier.pid}
        inside = child.task.near_process.id
        os.kill(pids[victim], signal.SIGKILL)
        with trio.fail_after(20):
            with pytest.raises(SyscallError):
                while True:
                    await child.task.getpid()
            with pytest.raises(SyscallError):
                while True:
                    await there.task.getpid()
            try:
                assert await ours.read_some_bytes() == b""
            except ConnectionResetError:
                pass  # there was something that it had not read
        await wait_until(lambda: not any(map(is_running, [near, far, root, inside])))


@pytest.mark.slow
async def test_child_is_killed(tmp_path: LocalPath) -> None:
    """Its channels end, and no others."""
    async with opened("sh", tmp_path) as there:
        async with cloned(there) as child, cloned(there) as sibling:
            [(ours, theirs)] = await child.open_async_channels(1)
            await theirs.write(await child.ram.ptr(b"last"))
            await child.process.kill(signal.SIGKILL)
            assert await ours.read_some_bytes() == b"last"
            assert await ours.read_some_bytes() == b""
            with pytest.raises(SyscallError):
                await child.task.getpid()
            assert await sibling.task.getpid() == sibling.task.near_process
            assert await there.task.getpid() == there.task.process.near


PROGRAM = """
import trio, sys
from rsyscall.command import Command
from rsyscall.tasks.local import local_thread
from rsyscall.tasks.stdio import stdio_bootstrap

async def main():
    there = await stdio_bootstrap(local_thread, Command("/bin/sh", ["sh", "-c"], {}))
    child = await there.clone()
    channel = await child.open_async_channels(1)
    relay = there._multiplexer().relay
    print(there.task.near_process.id, child.task.near_process.id, relay.pid, flush=True)
    await trio.sleep_forever()

trio.run(main)
"""


@pytest.mark.slow
async def test_program_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = await trio.to_thread.run_sync(process.stdout.readline)
        pids = list(map(int, line.split()))
        pids += [pid for pid in all_pids() if parent_of(pid) == pids[0]]
        assert len(set(pids)) == 4
        assert all(map(is_running, pids))
        process.kill()
        process.wait()
        await wait_until(lambda: not any(map(is_running, pids)))


IDLE_INIT = ("unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", "echo; exec sleep inf")


@pytest.mark.slow
@pytest.mark.needs("privileged pid namespaces", "privileged mount namespaces", "mounts of proc")
async def test_an_init_that_reaps_nothing() -> None:
    """The init process of a container is often a program that knows nothing of the children of others."""
    words = command(*IDLE_INIT).arguments
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as outside:
        assert outside.stdout is not None
        await trio.to_thread.run_sync(outside.stdout.readline)
        [init] = [pid for pid in all_pids() if parent_of(pid) == outside.pid]
        try:
            for _ in range(10):
                carrier = command("nsenter", f"--target={init}", "--mount", "--pid", "sh", "-c")
                async with await stdio_bootstrap(local_thread, carrier) as there:
                    await there.run(sh("true"))
                    assert multiplexer_of(there).running
                assert [name_of(pid) for pid in all_pids() if parent_of(pid) == init] == []
        finally:
            os.kill(init, signal.SIGKILL)


@pytest.mark.slow
async def test_where_it_is_denied(tmp_path: LocalPath) -> None:
    """Where memory cannot become code, the root passes on calls, as before."""
    async with opened("sh", tmp_path) as there:
        try:
            await there.task.sysif.syscall(nr.prctl, PR.SET_MDWE, 1)
        except OSError:
            pytest.skip("place: before Linux 6.3")
        async with cloned(there) as child:
            assert not multiplexer_of(there).running
            assert await child.task.getpid() == child.task.near_process
            [(ours, theirs)] = await there.open_async_channels(1)
            assert ours.handle.task is there.task
            await ask(ours, there, theirs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("denied", "running"),
    [
        ("ppoll", False),
        ("dup3", False),
        ("mprotect", False),
        ("close_range", True),
        ("munmap", True),
        ("prctl", True),
    ],
)
async def test_where_a_filter_denies(denied: str, running: bool, tmp_path: LocalPath) -> None:
    """The relays run, or do not start: never is the thread lost."""
    async with opened("sh", tmp_path) as there:
        await deny_in(there, "EPERM", [denied])
        async with cloned(there) as child:
            assert multiplexer_of(there).running is running
            assert await child.task.getuid() == os.getuid()
            [(ours, theirs)] = await there.open_async_channels(1)
            await ask(ours, there, theirs)


@pytest.mark.slow
async def test_when_calls_are_under_way(tmp_path: LocalPath) -> None:
    """The stream is changed over while many tasks use it, and wait for descriptors there."""
    async with opened("sh", tmp_path) as there:
        pipe = await there.pipe(O.CLOEXEC)
        reading = await there.make_afd(pipe.read, set_nonblock=True)
        done = 0

        async def call() -> None:
            nonlocal done
            for _ in range(50):
                assert await there.task.getpid() == there.task.process.near
            done += 1

        async def wait() -> None:
            nonlocal done
            assert await reading.read_some_bytes() == b"word"
            done += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(20):
                nursery.start_soon(call)
            for _ in range(3):
                [(ours, theirs)] = await there.open_async_channels(1)
                await ask(ours, there, theirs)
            await pipe.write.write(await there.ram.ptr(b"word"))
        assert done == 21


@pytest.mark.slow
async def test_cancelled_start(tmp_path: LocalPath) -> None:
    """Whenever it is cancelled, the thread can be used, and the next one succeeds."""
    for delay in (0.001, 0.004, 0.008, 0.012, 0.016, 0.02, 0.03):
        async with opened("sh", tmp_path) as there:
            with trio.move_on_after(delay):
                await there.open_async_channels(1)
            assert await there.task.getpid() == there.task.process.near
            [(ours, theirs)] = await there.open_async_channels(1)
            await ask(ours, there, theirs)
