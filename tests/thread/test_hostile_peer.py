"""A process with memory of its own that lies: a process that may trace it can give any answer in its place.

The test stops the process, takes its end of the stream, and answers itself. Whatever it answers, a caller
gets an error or a wrong value, and that within a bounded time; nothing else in the program changes.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import random
import signal
import socket
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing
from streams import REQUEST
from support import assert_thread_works, local_thread, pid_of

from rsyscall.command import Command
from rsyscall.fcntl import O
from rsyscall.near import SYS, SyscallError
from rsyscall.path import Path
from rsyscall.sched import CLONE
from rsyscall.sys.socket import AF, SOCK
from rsyscall.sys.stat import Stat
from rsyscall.sys.utsname import Utsname
from rsyscall.thread import ChildThread

pytestmark = [pytest.mark.needs("pidfd_getfd"), pytest.mark.usefixtures("by_stream")]

CALL, WRITE, READ = 1, 2, 3
RESPONSE = struct.Struct("=qQ")
Liar = Callable[[int, int, tuple[int, ...]], bytes]


@pytest.fixture
def by_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSYSCALL_TRANSPORT", "stream")


class Peer:
    """The stream of a stopped process, which we serve.

    Args:
        child: the process.
        lie: told operation, number and arguments of a request; returns the bytes of an answer.
    """

    def __init__(self, child: ChildThread, lie: Liar) -> None:
        os.kill(pid_of(child), signal.SIGSTOP)
        end = child.task.sysif.get_activity_fd()
        pidfd = os.pidfd_open(pid_of(child))
        number = ctypes.CDLL(None).syscall(int(SYS.pidfd_getfd), pidfd, int(end.near), 0)
        assert number >= 0
        os.close(pidfd)
        self.socket = socket.socket(fileno=number)
        self.requests = 0
        self._lie = lie

    async def serve(self) -> None:
        """Answer, until the stream ends."""
        try:
            while True:
                op, _, number, *args = REQUEST.unpack(await self._receive(REQUEST.size))
                if op == WRITE:
                    await self._receive(args[0])
                self.requests += 1
                answer = self._lie(op, number, tuple(args))
                while answer:
                    await trio.lowlevel.wait_writable(self.socket)
                    answer = answer[self.socket.send(answer, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL) :]
        except (OSError, EOFError):
            pass

    async def _receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            await trio.lowlevel.wait_readable(self.socket)
            part = self.socket.recv(min(size - len(data), 1 << 16), socket.MSG_DONTWAIT)
            if not part:
                raise EOFError
            data += part
        return data


@contextlib.asynccontextmanager
async def hostile(lie: Liar, flags: CLONE = CLONE.NONE) -> AsyncIterator[ChildThread]:
    """A process with memory of its own for which `lie` answers."""
    child = await local_thread.clone(flags, own_memory=True)
    async with trio.open_nursery() as nursery:
        peer = Peer(child, lie)
        nursery.start_soon(peer.serve)
        try:
            yield child
        finally:
            with trio.CancelScope(shield=True):
                async with child.process:
                    pass
            nursery.cancel_scope.cancel()
            peer.socket.close()
    vars(child).clear()


async def outcome(operation: Callable[[], Awaitable[Any]]) -> Any:
    """What it returns, or its exception, which comes in time."""
    with trio.fail_after(60):
        try:
            return await operation()
        except Exception as error:
            return error


def answer(result: int, payload: bytes = b"", length: int | None = None) -> bytes:
    result = (result + 2**63) % 2**64 - 2**63
    return RESPONSE.pack(result, len(payload) if length is None else length) + payload


BROKEN: dict[str, bytes] = {
    "bytes that were not asked for": answer(0, b"surplus"),
    "a length that never ends": answer(0, length=2**64 - 1),
    "half an answer, and garbage": b"\x00" * 8 + b"\xff" * 100,
    "answers that were not asked for": answer(1) * 3,
}


@pytest.mark.parametrize("what", BROKEN)
async def test_broken_answers_to_a_call(what: str) -> None:
    async with hostile(lambda op, number, args: BROKEN[what]) as child:
        first = await outcome(child.task.getppid)
        second = await outcome(child.task.getppid)
        assert isinstance(second, SyscallError), (first, second)
        # Also what has been under way all the time.
        await assert_thread_works(local_thread)


@pytest.mark.parametrize("length", [0, 1, 4097, 1 << 40, 2**64 - 1])
async def test_broken_answers_to_a_read_of_memory(length: int) -> None:
    def lie(op: int, number: int, args: tuple[int, ...]) -> bytes:
        if op == READ:
            return answer(length, b"x" * min(length, 5000), length)
        return answer(args[0] if op == WRITE else 1 << 32)

    async with hostile(lie) as child:
        pointer = await child.ptr(b"x" * 4096)
        result = await outcome(pointer.read)
        assert isinstance(result, SyscallError | OSError), result


async def test_an_innocent_process_is_not_killed_by_a_lie_about_a_clone() -> None:
    """The answer to a clone names another child of ours, which is not touched."""
    with subprocess.Popen(["/bin/sleep", "1000"]) as innocent:

        def lie(op: int, number: int, args: tuple[int, ...]) -> bytes:
            if op == READ:
                return answer(args[0], bytes(args[0]))
            if op == WRITE:
                return answer(args[0])
            if number in (SYS.clone, SYS.clone3):
                return answer(innocent.pid)
            if number == SYS.recvmsg:
                return answer(-11)
            return answer(1 << 32)

        async with hostile(lie) as child:
            # Up to its clone nothing is wrong: the descriptors have been received.
            child.connection.open_async_channels = fake_channels  # type: ignore[method-assign]
            child.connection.move_fds = fake_move  # type: ignore[attr-defined]
            global _task
            _task = child.task
            try:
                result = await outcome(child.clone)
            finally:
                _task = None
            assert isinstance(result, SyscallError), result
            assert "none of its children" in str(result)
        assert innocent.poll() is None
        innocent.kill()


_task: Any = None


async def fake_channels(count: int) -> list[Any]:
    [(ours, theirs)] = await local_thread.open_async_channels(1)
    await theirs.close()
    return [(ours, _task.make_fd_handle(type(theirs.near)(1000)))]


async def fake_move(fds: list[Any]) -> list[Any]:
    for fd in fds:
        await fd.close()
    return [_task.make_fd_handle(type(fd.near)(1001 + index)) for index, fd in enumerate(fds)]


async def operations(child: ChildThread) -> dict[str, Callable[[], Awaitable[Any]]]:
    """What a program does with a process."""
    task = child.task

    async def name() -> Any:
        return await (await task.uname(await child.malloc(Utsname))).read()

    async def where() -> Any:
        path, _ = await task.getcwd(await child.malloc(str, 100))
        return await path.read()

    async def link() -> Any:
        path, _ = await task.readlink(await child.ptr(Path("/proc/self/exe")), await child.malloc(Path, 100))
        return await path.read()

    async def read() -> Any:
        fd = await task.open(await child.ptr(Path("/dev/zero")), O.RDONLY)
        valid, _ = await fd.read(await child.malloc(bytes, 100))
        return await valid.read()

    async def stat() -> Any:
        return await (await task.stat(await child.ptr(Path("/")), await child.malloc(Stat))).read()

    async def clone() -> Any:
        async with (await child.clone()).process:
            pass

    async def listen() -> Any:
        pair = await child.socketpair(AF.UNIX, SOCK.STREAM)
        return await (await child.make_afd(pair.first, True)).read_some_bytes()

    async def run() -> Any:
        return await child.run(Command("/bin/true", ["true"], {}))

    async def channel() -> Any:
        [(ours, _)] = await child.open_async_channels(1)
        await ours.close()

    return {
        f.__name__: f
        for f in (name, where, link, read, stat, clone, listen, run, channel)  # type: ignore[attr-defined]
    }


@pytest.mark.parametrize(
    "flags",
    [
        CLONE.NONE,
        pytest.param(
            CLONE.NEWUSER | CLONE.NEWPID, marks=pytest.mark.needs("user namespaces", "pid namespaces")
        ),
    ],
)
@pytest.mark.parametrize("seed", range(6))
async def test_random_answers(seed: int, flags: CLONE) -> None:
    """In the right form: every result and all memory is random."""
    chosen = random.Random(seed)
    innocent = await local_thread.clone()

    def lie(op: int, number: int, args: tuple[int, ...]) -> bytes:
        if op == READ:
            return answer(args[0], chosen.choice([bytes(args[0]), chosen.randbytes(args[0])]))
        if op == WRITE:
            return answer(args[0])
        small = chosen.choice([0, 1, 3, 8, 100, os.getpid(), pid_of(innocent), -1, -11, -9, -4095])
        large = chosen.choice([1 << 12, 1 << 31, 1 << 63, (1 << 64) - 1, chosen.getrandbits(64)])
        return answer(chosen.choice([small, small, large]))

    async with innocent.process:
        for operation in ("name", "where", "link", "read", "stat", "clone", "listen", "run", "channel"):
            async with hostile(lie, flags) as child:
                work = (await operations(child))[operation]
                with trio.move_on_after(0.3):
                    await outcome(work)
                del work
        gc.collect()
        await assert_thread_works(innocent)
        await assert_thread_works(local_thread)


async def test_a_process_that_does_not_answer_is_killed() -> None:
    async with hostile(lambda op, number, args: b"") as child:
        result: list[Any] = []

        async def call() -> None:
            result.append(await outcome(child.task.getppid))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await trio.testing.wait_all_tasks_blocked()
            await child.process.kill()
        assert isinstance(result[0], SyscallError)
