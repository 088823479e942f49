"""Threads in the place of programs that others execute: what they are given, who is refused, how all ends."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path as LocalPath
from typing import Any

import pytest
import trio
from reach import let_others_reach
from waiting import eventually, is_in_call, wait_for_call, wait_until

from rsyscall.command import Command
from rsyscall.far import FDTableMismatchError
from rsyscall.near import SYS, SyscallError
from rsyscall.near.protocol import MAX_HELLO, Hello
from rsyscall.path import Path
from rsyscall.signal import SIG
from rsyscall.tasks import stub
from rsyscall.tasks.local import local_thread
from rsyscall.tasks.stdio import stdio_bootstrap
from rsyscall.tasks.stub import StubServer, StubThread
from rsyscall.thread import Thread

from .support import cloned, sh

ODD = "a b'c\"d$e\\f"


@pytest.fixture
async def server(tmp_path: LocalPath) -> AsyncIterator[StubServer]:
    """A server whose program has an odd name in an odd directory."""
    directory = tmp_path / ODD
    directory.mkdir()
    async with await StubServer.make(local_thread, Path(directory), ODD) as server:
        yield server
    assert os.listdir(directory) == []


def program(tmp_path: LocalPath) -> LocalPath:
    """The program of `server`."""
    return tmp_path / ODD / ODD


def start(path: LocalPath, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """Execute it without waiting."""
    return subprocess.Popen([path, *arguments], **options)


async def status(process: subprocess.Popen[bytes]) -> int:
    """Wait for it, while trio goes on."""
    await wait_until(lambda: process.poll() is not None)
    return process.returncode


async def test_what_it_is_given(server: StubServer, tmp_path: LocalPath) -> None:
    arguments = ["-x", "", "two words", 'it\'s "$HOME"', "\udcff\n", "--help"]

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, 40})
        os.chdir("/proc")

    process = subprocess.Popen(
        [b"NAME", *map(os.fsencode, arguments)],
        executable=program(tmp_path),
        env={"WORD": "two words", "EMPTY": ""},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=prepare,
    )
    argv, thread = await server.accept()
    assert argv == ["NAME", *arguments]
    assert (await thread.task.getpid()).id == thread.task.near_process.id == process.pid
    assert thread.task.sigmask == {SIG.USR1, 40}
    assert thread.environ["WORD"] == "two words"
    assert thread.environ["EMPTY"] == ""
    assert process.stdin is not None
    process.stdin.write(b"to it")
    process.stdin.close()
    process.stdin = None
    assert await thread.read_to_eof(thread.stdin) == b"to it"
    await thread.spit(await thread.stdout.dup(), "from it")
    await thread.run(sh("pwd >&2; echo $WORD >&2; echo /proc/self/fd/* >&2"))
    await thread.exit(7)
    assert await status(process) == 7
    assert process.communicate() == (
        b"from it",
        b"/proc\ntwo words\n/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3\n",
    )
    await thread.close()


async def test_in_a_pipeline_under_many_names(server: StubServer, tmp_path: LocalPath) -> None:
    """Found in PATH, by a symbolic link, by a hard link; without a standard input or output."""
    names = tmp_path / "names"
    names.mkdir()
    (names / "soft").symlink_to(program(tmp_path))
    (names / "hard").hardlink_to(program(tmp_path))
    script = 'echo in | soft 1 | cat; soft 2 <&- >&-; cd /; exec "$0" 3'
    with start(
        LocalPath("/bin/sh"),
        "-c",
        script,
        str(names / "hard"),
        stdout=subprocess.PIPE,
        env={"PATH": f"{names}:/bin"},
    ) as shell:
        argv, thread = await server.accept()
        assert argv == ["soft", "1"]
        await thread.spit(await thread.stdout.dup(), (await thread.read_to_eof(thread.stdin)) * 2)
        await thread.exit()
        argv, thread = await server.accept()
        assert argv == ["soft", "2"]
        assert await thread.read_to_eof(thread.stdin) == b""
        await thread.spit(await thread.stdout.dup(), "into /dev/null")
        async with cloned(thread) as child:
            assert await child.task.getuid() == os.getuid()
        await thread.exit()
        argv, thread = await server.accept()
        assert argv == [str(names / "hard"), "3"]
        await thread.exit(3)
        assert await status(shell) == 3
        assert shell.stdout is not None
        assert shell.stdout.read() == b"in\nin\n"
    await thread.close()


async def test_many_at_once(server: StubServer, tmp_path: LocalPath) -> None:
    processes = {str(number): start(program(tmp_path), str(number)) for number in range(40)}

    async def serve() -> None:
        [_, number], thread = await server.accept()
        async with thread:
            assert (await thread.task.getpid()).id == processes[number].pid
            await thread.exit(int(number))

    async with trio.open_nursery() as nursery:
        for _ in processes:
            nursery.start_soon(serve)
    for number, process in processes.items():
        assert await status(process) == int(number)


async def test_descriptors_are_passed_and_programs_executed(server: StubServer, tmp_path: LocalPath) -> None:
    for number in range(10):
        process = start(program(tmp_path), "argument")
        _, thread = await server.accept()
        pipe = await local_thread.pipe()
        [theirs] = await thread.connection.move_fds([pipe.write])  # type: ignore[attr-defined] # it passes them
        await theirs.dup2(thread.stdout)
        if number == 0:
            with pytest.raises(FileNotFoundError):
                await thread.exec(Command("/nonexistent/program", ["program"], {}))
        # Neither killed in the moment of the exec nor later.
        await thread.exec(sh(f"echo $PPID; exit {number}"))
        with pytest.raises(SyscallError):
            await thread.task.getpid()
        await thread.close()
        assert await status(process) == number
        assert await local_thread.read_to_eof(pipe.read) == b"%d\n" % os.getpid()
        await pipe.read.close()


async def test_long_paths(tmp_path: LocalPath) -> None:
    directory = tmp_path / ("d" * 120) / ("e" * 120)
    directory.mkdir(parents=True)
    name = "n" * 250
    async with await StubServer.make(local_thread, Path(directory), name) as server:
        process = start(directory / name)
        argv, thread = await server.accept()
        assert argv == [str(directory / name)]
        await thread.exit()
        assert await status(process) == 0
        await thread.close()
    for wrong in ("", ".", "..", "a/b", "a\0"):
        with pytest.raises(ValueError, match="expected that of a file"):
            await StubServer.make(local_thread, Path(tmp_path), wrong)


async def test_servers_elsewhere(tmp_path: LocalPath) -> None:
    """In a child with a table of its own, in one with memory of its own, and behind a command."""

    async def use(thread: Thread) -> None:
        await thread.task.chdir(await thread.ptr(str(tmp_path)))
        async with await StubServer.make(thread, Path("."), "relative") as server:
            process = start(tmp_path / "relative")
            _, there = await server.accept()
            async with there, cloned(there) as child:
                assert (await there.task.getpid()).id == process.pid
                assert int(await child.task.getppid()) == there.task.near_process.id
                done = await there.run(sh("echo out"), capture=True)
                assert done.stdout == b"out\n"
            assert await status(process) == -signal.SIGKILL
            if thread.task.fd_table is not local_thread.task.fd_table:
                with pytest.raises(FDTableMismatchError):
                    await server.accept(local_thread)

    async with cloned(local_thread) as child:
        await use(child)
    async with (owning := await local_thread.clone(own_memory=True)).process:
        await use(owning)
    async with await stdio_bootstrap(local_thread, Command("/bin/sh", ["sh", "-c"], {})) as thread:
        await use(thread)


async def test_nobody_listens(tmp_path: LocalPath) -> None:
    async with await StubServer.make(local_thread, Path(tmp_path), "program") as server:
        waiting = start(tmp_path / "program", stderr=subprocess.PIPE)
        path = tmp_path / "program.sock"
        os.link(tmp_path / "program", tmp_path / "kept")
        # It has connected, and the server ends without having accepted it.
        await wait_for_call(waiting.pid, SYS.recvmsg)
        await server.listening_sock.close()
        assert await status(waiting) == 69
        said = f"the program that listens at {path} has ended, or refused this process\n"
        assert waiting.communicate()[1].decode() == f"{tmp_path / 'program'}: {said}"
        # A socket that nothing listens on, as after a crash, and then none.
        done = subprocess.run([tmp_path / "kept"], capture_output=True)
        assert (done.returncode, done.stdout) == (69, b"")
        assert done.stderr.decode() == f"{tmp_path / 'kept'}: no program listens at {path}\n"
        path.unlink()
        assert subprocess.run([tmp_path / "kept"], capture_output=True).stderr == done.stderr
    # What was left is replaced; and a server that was replaced does not remove the files of its successor.
    async with await StubServer.make(local_thread, Path(tmp_path), "program"):
        async with await StubServer.make(local_thread, Path(tmp_path), "program") as second:
            process = start(tmp_path / "program")
            _, thread = await second.accept()
            await thread.exit(5)
            assert await status(process) == 5
            await thread.close()
            path.rename(tmp_path / "aside")
        assert sorted(os.listdir(tmp_path)) == ["aside", "kept", "program"]


@pytest.mark.parametrize("name", ["program", "program.sock"])
async def test_nothing_is_left_if_a_directory_is_there(tmp_path: LocalPath, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(IsADirectoryError):
        await StubServer.make(local_thread, Path(tmp_path), "program")
    assert os.listdir(tmp_path) == [name]


async def test_one_that_makes_no_file(tmp_path: LocalPath) -> None:
    async with await StubServer.listen_on(local_thread, Path(tmp_path / "socket")) as server:
        assert (tmp_path / "socket").stat().st_mode & 0o777 == 0o600
        with pytest.raises(OSError, match="Address already in use"):
            await StubServer.listen_on(local_thread, Path(tmp_path / "socket"))
        with trio.move_on_after(0.01) as scope:
            await server.accept()
        assert scope.cancelled_caught
    assert os.listdir(tmp_path) == []


@pytest.mark.needs("any user id")
async def test_other_users_are_refused(
    server: StubServer, tmp_path: LocalPath, caplog: pytest.LogCaptureFixture
) -> None:
    path = program(tmp_path)
    path.chmod(0o755)
    let_others_reach(path)
    done = subprocess.run([path], capture_output=True, user=1000, group=1000, extra_groups=[])
    assert done.returncode == 69
    assert done.stderr.endswith(b"it belongs to another user\n")
    # With a mode that lets them connect, too.
    path.with_name(f"{ODD}.sock").chmod(0o666)
    async with trio.open_nursery() as nursery:
        accepted: list[tuple[list[str], StubThread]] = []

        async def accept() -> None:
            accepted.append(await server.accept())

        nursery.start_soon(accept)
        other = start(path, stderr=subprocess.PIPE, user=1000, group=1000, extra_groups=[])
        assert await status(other) == 69
        assert b"refused this process" in other.communicate()[1]
        assert f"refused process {other.pid} of user 1000" in caplog.text
        assert not accepted
        ours = start(path, "ours")
    [(argv, thread)] = accepted
    assert argv[1:] == ["ours"]
    await thread.exit()
    assert await status(ours) == 0
    await thread.close()


def arguments(
    *values: bytes, count: int | None = None, length: int | None = None, fds: tuple[int, int] = (11, 12)
) -> bytes:
    """What a process says of its arguments; by default nothing of it is wrong."""
    data = b"".join(struct.pack("=I", len(value)) + value for value in values)
    return (
        struct.pack(
            "=8sIIii",
            b"RSYSARGV",
            24 + len(data) if length is None else length,
            len(values) if count is None else count,
            *fds,
        )
        + data
    )


HELLO = Hello(62, 4096, 4321, 0, 0, 0, (1,) * 8, (), 10, 10).to_bytes()
LIES: dict[str, bytes] = {
    "nothing": b"",
    "something else": b"GET / HTTP/1.1\r\n\r\n" + bytes(100),
    "too long": arguments(length=MAX_HELLO + 1),
    "too short": arguments(length=3),
    "more arguments": arguments(b"a", count=2) + HELLO,
    "fewer arguments": arguments(b"a", b"b", count=1) + HELLO,
    "argument that does not end": arguments(length=28) + struct.pack("=I", 1 << 31),
    "argument with a zero byte": arguments(b"a\0b") + HELLO,
    "no hello": arguments(b"a"),
    "other hello": arguments(b"a") + b"x" * 200,
    "descriptors of others": arguments(b"a", fds=(1, 12)) + HELLO,
    "negative descriptor": arguments(b"a", fds=(-1, 12)) + HELLO,
    "one descriptor twice": arguments(b"a", fds=(10, 12)) + HELLO,
    "hello and no more": arguments(b"a") + HELLO,
}


async def test_what_is_sent_is_not_trusted(
    server: StubServer, tmp_path: LocalPath, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    accepted: list[StubThread] = []
    fd = os.open(program(tmp_path).with_name(f"{ODD}.sock"), os.O_PATH)
    address = f"/proc/self/fd/{fd}"

    async def accept() -> None:
        accepted.append((await server.accept())[1])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        for name, data in LIES.items():
            caplog.clear()
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(address)
                sock.setblocking(False)
                await trio.lowlevel.wait_readable(sock)
                _, fds, _, _ = socket.recv_fds(sock, 100, 10)
                assert len(fds) == 3
                with socket.socket(fileno=fds[0]) as stream:
                    stream.sendall(data)
                for other in fds[1:]:
                    os.close(other)
            await wait_until(lambda: "refused a process" in caplog.text)
            assert not accepted, name
        # One that keeps silent keeps others waiting only for a while.
        monkeypatch.setattr(stub, "_TIME_TO_GREET", 0.01)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(address)
            caplog.clear()
            await wait_until(lambda: "refused a process" in caplog.text)
        monkeypatch.undo()
        process = start(program(tmp_path))
    os.close(fd)
    async with accepted[0]:
        assert (await accepted[0].task.getpid()).id == process.pid
    assert await status(process) == -signal.SIGKILL
    del accepted[:]


def silent(path: LocalPath) -> socket.socket:
    """Connect to the server of a program, and say nothing."""
    sock = socket.socket(socket.AF_UNIX)
    fd = os.open(path.with_name(f"{path.name}.sock"), os.O_PATH)
    try:
        sock.connect(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
    return sock


@pytest.mark.parametrize("accepting", [1, 4])
async def test_silent_ones_keep_nobody_waiting(
    server: StubServer, tmp_path: LocalPath, accepting: int
) -> None:
    path = program(tmp_path)
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(silent(path))
        processes = {str(number): start(path, str(number)) for number in range(8)}

        async def serve() -> None:
            for _ in range(8 // accepting):
                [_, number], thread = await server.accept()
                async with thread:
                    await thread.exit(int(number))

        # Much less than the time that they have.
        with trio.fail_after(stub._TIME_TO_GREET / 2):
            async with trio.open_nursery() as nursery:
                for _ in range(accepting):
                    nursery.start_soon(serve)
            for number, process in processes.items():
                assert await status(process) == int(number)
            # They do not keep it from closing either.
            await server.close()


async def test_a_slow_one_is_for_whoever_accepts_then(
    server: StubServer, tmp_path: LocalPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stub, "_PATIENCE", 0.001)
    process = start(program(tmp_path), "slow")
    with silent(program(tmp_path)):
        # Cancelled before it has connected and while it is about to greet: it is never lost.
        for _ in range(10000):
            with trio.move_on_after(0.0005):
                argv, thread = await server.accept()
                break
    async with thread:
        assert argv[1:] == ["slow"]
        await thread.exit(4)
    assert await status(process) == 4


async def test_many_silent_ones_and_then_none(
    server: StubServer, tmp_path: LocalPath, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stub, "_TIME_TO_GREET", 0.5)
    monkeypatch.setattr(stub, "_PATIENCE", 0.001)
    path = program(tmp_path)
    most = 0
    with contextlib.ExitStack() as stack:
        for _ in range(stub._MOST_GREETING + 10):
            stack.enter_context(silent(path))
        process = start(path)
        async with trio.open_nursery() as nursery:

            async def look() -> None:
                nonlocal most
                while True:
                    most = max(most, len(server._greetings))
                    await trio.sleep(0.001)

            nursery.start_soon(look)
            _, thread = await server.accept()
            nursery.cancel_scope.cancel()
        assert 10 < most <= stub._MOST_GREETING
        async with thread:
            await thread.exit(3)
        assert await status(process) == 3
        assert "it did not greet" in caplog.text


@pytest.mark.parametrize("accepting", [1, 3])
async def test_more_silent_ones_than_there_is_room_for(
    server: StubServer, tmp_path: LocalPath, accepting: int
) -> None:
    """They keep the others waiting for a moment, and not for all the time that they have."""
    path = program(tmp_path)
    with contextlib.ExitStack() as stack:
        for _ in range(stub._MOST_GREETING + 10):
            stack.enter_context(silent(path))
        processes = [start(path, str(number)) for number in range(3)]

        async def serve() -> None:
            for _ in range(3 // accepting):
                [_, number], thread = await server.accept()
                async with thread:
                    await thread.exit(int(number))

        with trio.fail_after(stub._TIME_TO_GREET / 2):
            async with trio.open_nursery() as nursery:
                for _ in range(accepting):
                    nursery.start_soon(serve)
        assert [await status(process) for process in processes] == [0, 1, 2]


@pytest.mark.parametrize("where", ["here", "in a child", "in a child over a stream"])
def test_the_run_ends_while_one_greets(
    tmp_path: LocalPath, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "stream" in where:
        monkeypatch.setenv("RSYSCALL_TRANSPORT", "stream")
    monkeypatch.setattr(stub, "_PATIENCE", 0.001)

    async def main() -> None:
        thread: Thread = local_thread if where == "here" else await local_thread.clone()
        server = await StubServer.make(thread, Path(tmp_path), "program")
        stack.enter_context(silent(tmp_path / "program"))
        with trio.move_on_after(1):
            while not server._greetings:
                with trio.move_on_after(0.05):
                    await server.accept()
        assert server._greetings

    with contextlib.ExitStack() as stack:
        trio.run(main)


async def _close(thread: StubThread) -> None:
    await thread.close()


async def _drop(thread: StubThread) -> None:
    vars(thread).clear()


@pytest.mark.parametrize("end", [_close, _drop])
@pytest.mark.parametrize("busy", [False, True])
async def test_it_ends_with_the_thread(
    server: StubServer, tmp_path: LocalPath, end: Callable[[StubThread], Any], busy: bool
) -> None:
    process = start(program(tmp_path))
    _, thread = await server.accept()
    if busy:
        async with trio.open_nursery() as nursery:

            async def sleep() -> None:
                with contextlib.suppress(SyscallError):
                    await thread.task.sysif.syscall(SYS.pause)

            if end is _close:
                nursery.start_soon(sleep)
                await wait_for_call(process.pid, SYS.pause)
                await end(thread)
            else:
                # No task waits for its answer any more.
                nursery.start_soon(sleep)
                await wait_for_call(process.pid, SYS.pause)
                os.kill(process.pid, signal.SIGKILL)
    else:
        child = await thread.clone()
        pid = (await child.task.getpid()).id
        del child
        await end(thread)
        await wait_until(lambda: not os.path.exists(f"/proc/{pid}"), collecting=True)
    await wait_until(lambda: process.poll() is not None, collecting=True)
    assert process.returncode == -signal.SIGKILL


PROGRAM = """
import os, sys
import trio
from rsyscall.near import SYS
from rsyscall.path import Path
from rsyscall.tasks.local import local_thread
from rsyscall.tasks.stub import StubServer

async def main():
    server = await StubServer.make(local_thread, Path(sys.argv[1]), "program")
    print("ready", flush=True)
    _, thread = await server.accept()
    child = await thread.clone()
    print((await child.task.getpid()).id, flush=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(child.task.sysif.syscall, SYS.pause)
        nursery.start_soon(thread.task.sysif.syscall, SYS.pause)

trio.run(main)
"""


def test_nothing_is_left_of_a_program_that_is_killed(tmp_path: LocalPath) -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM, tmp_path], stdout=subprocess.PIPE) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == b"ready\n"
        with start(tmp_path / "program") as process:
            child = int(driver.stdout.readline())
            for pid in (process.pid, child):
                assert eventually(partial(is_in_call, pid, SYS.pause))
            driver.kill()
            assert process.wait(20) == -signal.SIGKILL
            assert eventually(lambda: not os.path.exists(f"/proc/{child}"))
    assert sorted(os.listdir(tmp_path)) == ["program", "program.sock"]


async def test_the_process_is_killed(server: StubServer, tmp_path: LocalPath) -> None:
    process = start(program(tmp_path))
    _, thread = await server.accept()
    child = await thread.clone()
    pid = (await child.task.getpid()).id
    process.kill()
    with pytest.raises(SyscallError):
        await thread.task.sysif.syscall(SYS.pause)
    with pytest.raises(SyscallError):
        await thread.run(sh("true"))
    assert await status(process) == -signal.SIGKILL
    await wait_until(lambda: not os.path.exists(f"/proc/{pid}"))
    await thread.close()
    del child
    gc.collect()
