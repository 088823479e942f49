"""Processes that outlive the program which has made them."""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path as LocalPath

import pytest
import trio
import trio.testing
from reach import let_others_reach
from waiting import wait_until

from rsyscall.command import Command
from rsyscall.near import SyscallError, nr
from rsyscall.sched import CLONE
from rsyscall.signal import SIG, Sigaction, Sighandler
from rsyscall.sys.socket import AF, SOCK
from rsyscall.sys.wait import W
from rsyscall.tasks.local import local_thread
from rsyscall.tasks.persistent import MAX_STORE, PersistentThread, clone_persistent, connect_persistent
from rsyscall.tasks.stdio import stdio_bootstrap

from .support import sh

MAKER = """
import os, sys
import trio
import trio.testing
from rsyscall.command import Command
from rsyscall.fcntl import O
from rsyscall.sys.socket import AF, SOCK
from rsyscall.netinet.in_ import SockaddrIn
from rsyscall.tasks.local import local_thread
from rsyscall.tasks.persistent import clone_persistent

async def main():
    thread = await clone_persistent(local_thread, sys.argv[1])
    if sys.argv[2] == "persistent":
        await thread.make_persistent()
    sock = await thread.socket(AF.INET, SOCK.STREAM)
    address = await thread.bind_getsockname(sock, SockaddrIn(0, "127.0.0.1"))
    await sock.listen(5)
    worker = await thread.clone()
    process = await worker.exec(Command("/bin/sleep", ["sleep", "inf"], {}))
    idle = await thread.clone()
    memory = await thread.ram.ptr(b"in memory")
    await thread.write_store(
        f"{int(sock.near)} {process.pid} {address.port} {int(memory.near.address)}".encode()
    )
    print(int(await thread.task.getpid()), flush=True)
    async with trio.open_nursery() as nursery:
        # Waits for descriptors, as most programs do.
        afd = await thread.make_afd(sock, set_nonblock=True)
        nursery.start_soon(afd.accept)
        await trio.sleep(0.05)
        if sys.argv[2] == "persistent":
            os.kill(os.getpid(), 9)
        await trio.sleep_forever()

trio.run(main)
"""


# Makes programs, one after another, each of which connects, opens a file and is killed or ends.
PROGRAMS = """
import os, signal, sys
import trio
import rsyscall.tasks.persistent

async def connect(killed):
    from rsyscall.tasks.local import local_thread
    thread = await rsyscall.tasks.persistent.connect_persistent(local_thread, sys.argv[1], True)
    kept = await thread.open("/dev/null")
    await thread.task.sysif.syscall(rsyscall.near.nr.dup, kept.near)
    if killed:
        os.kill(os.getpid(), signal.SIGKILL)

for number in range(int(sys.argv[2])):
    pid = os.fork()
    if not pid:
        status = 1
        try:
            trio.run(connect, number % 2)
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert status == (signal.SIGKILL if number % 2 else 0), status
"""


def gone(pid: int) -> bool:
    """Whether there is no such process, or it only waits to be reaped."""
    try:
        return LocalPath(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def make(path: LocalPath, how: str) -> tuple[subprocess.Popen[bytes], int]:
    """Have another program make a process; returns the program, and the process id."""
    program = subprocess.Popen(
        [sys.executable, "-c", MAKER, str(path), how], stdout=subprocess.PIPE, start_new_session=True
    )
    assert program.stdout is not None
    with program.stdout:
        return program, int(program.stdout.readline())


@pytest.fixture
def path(tmp_path: LocalPath) -> Iterator[LocalPath]:
    yield tmp_path / "socket"
    assert os.listdir(tmp_path) == [], "nothing is left"


@pytest.mark.slow
async def test_it_outlives_a_killed_program_which_another_one_continues(path: LocalPath) -> None:
    program, pid = make(path, "persistent")
    assert program.wait(60) == -signal.SIGKILL
    with trio.fail_after(60):
        thread = await connect_persistent(local_thread, path)
        try:
            assert int(await thread.task.getpid()) == pid
            number, worker_pid, port, address = map(int, (await thread.read_store()).split())
            # A worker, and a child that executes nothing.
            assert worker_pid in await thread.children()
            assert len(await thread.children()) == 2
            assert number in await thread.descriptors()
            assert await thread.task.sysif.read_memory(address, 9) == b"in memory"
            listening = await thread.adopt_descriptor(number)
            with pytest.raises(ValueError, match="in use"):
                await thread.adopt_descriptor(number)
            with pytest.raises(OSError, match="Bad file"):
                await thread.adopt_descriptor(999)
            await thread.close_unadopted()
            assert await thread.descriptors() == []
            # The listening socket has not noticed.
            with socket.create_connection(("127.0.0.1", port)):
                await (await listening.accept()).invalidate()
            # The child that executed nothing ends with its stream.
            [other] = set(await thread.children()) - {worker_pid}
            await (await thread.adopt_child(other)).waitpid(W.EXITED)
            worker = await thread.adopt_child(worker_pid)
            assert await thread.adopt_child(worker_pid) is worker
            await worker.kill()
            assert (await worker.waitpid(W.EXITED)).sig == signal.SIGKILL
            assert await thread.children() == []
            with pytest.raises(ChildProcessError):
                await thread.adopt_child(1)
        finally:
            await thread.end()
        await wait_until(lambda: gone(pid))


@pytest.mark.slow
async def test_of_programs_that_have_ended_only_their_own_files_stay(path: LocalPath) -> None:
    count = 300
    thread = await clone_persistent(local_thread, path)
    try:
        with trio.fail_after(100):
            before = set(await thread.descriptors())
            await thread.prep_for_reconnect()
            await trio.run_process([sys.executable, "-c", PROGRAMS, str(path), str(count)])
            await thread.reconnect(local_thread)
            left = set(await thread.descriptors()) - before
            pid = int(await thread.task.getpid())
            targets = [os.readlink(f"/proc/{pid}/fd/{number}") for number in left]
            assert sorted(targets) == ["/dev/null"] * 2 * count
            await thread.close_unadopted()
            assert not set(await thread.descriptors()) - before
            done = await thread.run(sh("echo works"), capture=True)
            assert done.stdout == b"works\n"
    finally:
        await thread.end()


@pytest.mark.slow
async def test_it_ends_with_its_parent_unless_told_to_stay(path: LocalPath) -> None:
    program, pid = make(path, "ordinary")
    os.killpg(program.pid, signal.SIGKILL)
    program.wait(60)
    await wait_until(lambda: gone(pid))
    with pytest.raises(ConnectionRefusedError):
        await connect_persistent(local_thread, path)
    with pytest.raises(OSError, match="in use"):
        await clone_persistent(local_thread, path)
    os.unlink(path)


async def test_one_program_at_a_time(path: LocalPath) -> None:
    first = await clone_persistent(local_thread, path)
    try:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                # Refused both while the process is idle and while it waits for descriptors.
                with pytest.raises(OSError, match="another program") as busy:
                    await connect_persistent(local_thread, path)
                assert busy.value.errno == errno.EBUSY
                pipe = await first.pipe()
                reading = await first.make_afd(pipe.read, set_nonblock=True)
                nursery.start_soon(_suppressing, reading.read_some_bytes)
                await trio.testing.wait_all_tasks_blocked()
                with pytest.raises(OSError, match="another program"):
                    await connect_persistent(local_thread, path)
                second = await connect_persistent(local_thread, path, take_over=True)
                assert await second.task.getpid() == first.task.near_process
                with pytest.raises(SyscallError):
                    await first.task.getpid()
                nursery.cancel_scope.cancel()
            await second.disconnect()
            # The first one gets it back.
            await first.reconnect(local_thread)
            assert await first.task.getpid() == first.task.near_process
    finally:
        await first.end()


async def test_connecting_makes_no_call_there(path: LocalPath) -> None:
    """Each would be a round trip, and there are long ways."""
    first = await clone_persistent(local_thread, path)
    try:
        with trio.fail_after(60):
            # What an earlier program may have done, and what the next one need not undo.
            await first.task.sigaction(SIG.PIPE, await first.ram.ptr(Sigaction(Sighandler.DFL)), None)
            second = await connect_persistent(local_thread, path, take_over=True)
            # There is no public name for the stream below, whose answers are counted.
            state = second._sysif._conn._state
            assert state.received_total == 0
            assert await second.task.getpid() == first.task.near_process
            assert state.received_total == 16
            pipe = await second.pipe()
            await pipe.read.invalidate()
            with pytest.raises(BrokenPipeError):
                await pipe.write.write(await second.ram.ptr(b"x"))
            # Waiting, and what it sends and receives, is equipment that the process has made.
            sockets = await second.socketpair(AF.UNIX, SOCK.STREAM)
            reading = await second.make_afd(sockets.first, set_nonblock=True)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(reading.read_some_bytes)
                await trio.testing.wait_all_tasks_blocked()
                await sockets.second.write(await second.ram.ptr(b"x"))
            [(ours, theirs)] = await second.open_channels(1)
            await theirs.write(await second.ram.ptr(b"over a channel"))
            valid, _ = await ours.read(await second.ram.malloc(bytes, 100))
            assert await valid.read() == b"over a channel"
            await ours.invalidate()
            await second.disconnect()
            await first.reconnect(local_thread)
    finally:
        await first.end()


async def test_one_for_which_nothing_can_be_made_disturbs_nobody(path: LocalPath) -> None:
    first = await clone_persistent(local_thread, path)
    try:
        with trio.fail_after(60):
            pid = int(await first.task.getpid())
            before = {int(number) for number in os.listdir(f"/proc/{pid}/fd")}
            # For the connection, the epoll instance, and one of two sockets.
            most = max(before) + 4
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, most + 4))
            for _ in set(range(max(before))) - before:
                await first.task.sysif.syscall(nr.dup, 0)
            held = set(os.listdir(f"/proc/{pid}/fd"))
            with pytest.raises(OSError, match="Too many") as full:
                await connect_persistent(local_thread, path, take_over=True)
            assert full.value.errno == errno.EMFILE
            assert await first.task.getpid() == first.task.near_process
            assert set(os.listdir(f"/proc/{pid}/fd")) == held
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (most + 4, most + 4))
            second = await connect_persistent(local_thread, path, take_over=True)
            await second.disconnect()
            await first.reconnect(local_thread)
    finally:
        await first.end()


async def _suppressing(call: object) -> None:
    try:
        await call()  # type: ignore[operator]
    except (OSError, SyscallError):
        pass


async def test_calls_wait_for_the_next_connection_in_their_order(path: LocalPath) -> None:
    thread = await clone_persistent(local_thread, path)
    try:
        with trio.fail_after(60):
            await thread.prep_for_reconnect()
            pipe = await thread.pipe()
            digits = await thread.ram.ptr(b"0123456789")

            async def call(number: int) -> None:
                address = int(digits.near.address) + number
                await thread.task.sysif.syscall(nr.write, pipe.write.near, address, 1)

            other = await connect_persistent(local_thread, path, take_over=True)

            async with trio.open_nursery() as nursery:
                for number in range(10):
                    nursery.start_soon(call, number)
                    await trio.testing.wait_all_tasks_blocked()
                await other.disconnect()
                await thread.reconnect(local_thread)
            valid, _ = await pipe.read.read(await thread.ram.malloc(bytes, 20))
            assert await valid.read() == b"0123456789"
    finally:
        await thread.end()


async def test_steps_travel_together_and_wait_for_the_next_connection(path: LocalPath) -> None:
    """Without `steps` of its own the calls and transfers of `read_file` would be made one by one."""
    thread = await clone_persistent(local_thread, path)
    sent: list[int] = []
    file = path.with_name("file")
    file.write_bytes(b"contents")
    try:
        with trio.fail_after(60):
            await thread.prep_for_reconnect()
            await thread.read_file(file)  # memory has been mapped
            # There is no public name for the stream below, whose round trips are counted.
            connection = thread._sysif._conn

            class Counting:
                async def steps(self, steps: list[object], *args: object) -> list[int | bytes]:
                    sent.append(len(steps))
                    return await connection.steps(steps, *args)

                def __getattr__(self, name: str) -> object:
                    return getattr(connection, name)

            thread._sysif._conn = Counting()
            assert await thread.read_file(file) == b"contents"
            assert len(sent) == 2
            assert sum(sent) > 4
            other = await connect_persistent(local_thread, path, take_over=True)
            contents: list[bytes] = []

            async def read() -> None:
                contents.append(await thread.read_file(file))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                await trio.testing.wait_all_tasks_blocked()
                assert not contents
                await other.disconnect()
                await thread.reconnect(local_thread)
            assert contents == [b"contents"]
    finally:
        file.unlink()
        await thread.end()


async def test_strangers_disturb_nobody(path: LocalPath) -> None:
    thread = await clone_persistent(local_thread, path)
    silent: list[socket.socket] = []
    try:
        with trio.fail_after(60):
            assert os.stat(path).st_mode & 0o777 == 0o600
            for data in [b""] * 6 + [b"x", b"GET / HTTP/1.1\r\n", struct.pack("8sII", b"RSYSDOOR", 4, 0)]:
                stranger = socket.socket(socket.AF_UNIX)
                silent.append(stranger)
                stranger.connect(str(path))
                stranger.send(data)
                assert await thread.task.getpid() == thread.task.near_process
            # Those who said something wrong are sent away.
            for stranger in silent[6:]:
                stranger.settimeout(60)
                assert stranger.recv(1) == b""
            other = await connect_persistent(local_thread, path, take_over=True)
            assert await other.task.getpid() == thread.task.near_process
            await other.disconnect()
            await thread.reconnect(local_thread)
    finally:
        for stranger in silent:
            stranger.close()
        await thread.end()


@pytest.mark.needs("other users")
async def test_another_user_is_sent_away(path: LocalPath) -> None:
    thread = await clone_persistent(local_thread, path)
    try:
        with trio.fail_after(60):
            # Whatever the files permit, the process asks who it is.
            os.chmod(path, 0o666)
            let_others_reach(path)
            code = (
                "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
                "s.settimeout(60); sys.exit(len(s.recv(100)))"
            )
            status = await trio.run_process(
                ["setpriv", "--reuid=65534", "--clear-groups", "/usr/bin/python3", "-c", code, str(path)],
                check=False,
            )
            assert status.returncode == 0
            assert await thread.task.getpid() == thread.task.near_process
    finally:
        await thread.end()


@pytest.mark.parametrize("flags", [CLONE.FILES, CLONE.NONE])
async def test_children_work_over_the_next_connection(path: LocalPath, flags: CLONE) -> None:
    thread = await clone_persistent(local_thread, path)
    try:
        with trio.fail_after(60):
            child = await thread.clone(flags)
            async with child.process:
                pid = await child.task.getpid()
                for _ in range(3):
                    await thread.reconnect(local_thread)
                    assert await child.task.getpid() == pid
                done = await thread.run(Command("/bin/echo", ["echo", "there"], {}), capture=True)
                assert done.stdout == b"there\n"
    finally:
        await thread.end()


async def test_the_store_is_bounded(path: LocalPath) -> None:
    thread = await clone_persistent(local_thread, path)
    try:
        with trio.fail_after(60):
            assert await thread.read_store() == b""
            await thread.write_store(b"x" * MAX_STORE)
            with pytest.raises(ValueError, match="1048576"):
                await thread.write_store(bytes(MAX_STORE + 1))
            assert await thread.read_store() == b"x" * MAX_STORE
            await thread.write_store(b"short")
            assert await thread.read_store() == b"short"
    finally:
        await thread.end()


async def test_ended_it_refuses(path: LocalPath) -> None:
    thread = await clone_persistent(local_thread, path)
    await thread.prep_for_reconnect()
    await thread.end()
    assert isinstance(thread, PersistentThread)
    with pytest.raises(FileNotFoundError):
        await connect_persistent(local_thread, path)


async def test_in_a_child_and_from_a_child(path: LocalPath) -> None:
    child = await local_thread.clone()
    async with child.process:
        thread = await clone_persistent(child, path)
        try:
            with trio.fail_after(60):
                await thread.reconnect(child)
                done = await thread.run(sh("echo $PPID"), capture=True)
                assert int(done.stdout) == int(await thread.task.getpid())
        finally:
            await thread.end()


async def test_calls_elsewhere_do_not_wait_for_the_process_that_has_connected(path: LocalPath) -> None:
    """Its socket is a channel over the stream of the command, over the first and over the next connection."""
    async with await stdio_bootstrap(local_thread, Command("/bin/sh", ["sh", "-c"], {})) as there:
        pipe = await there.pipe()
        write_end = f"/proc/{there.task.near_process.id}/fd/{int(pipe.write.near)}"
        thread = await clone_persistent(there, path)
        try:
            await thread.make_persistent()
            for take_over in (False, True):
                await thread.reconnect(there, take_over)
                answered = trio.Event()

                async def call(answered: trio.Event = answered) -> None:
                    assert await thread.task.getpid() == thread.task.near_process
                    answered.set()

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(there.read, pipe.read)
                    await trio.testing.wait_all_tasks_blocked()
                    nursery.start_soon(call)
                    with trio.move_on_after(20):
                        await answered.wait()
                    in_time = answered.is_set()
                    LocalPath(write_end).write_text("x")
                assert in_time
            child = await there.clone()
            async with child.process:
                # Not of the process that has the stream: no channel, but it works.
                await thread.reconnect(child, take_over=True)
                assert await thread.task.getpid() == thread.task.near_process
                await thread.reconnect(there)
        finally:
            await thread.end()
