"""`rsyscall.wish`: prompts over sockets and at consoles, for a person who fulfils a wish."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path as LocalPath
from typing import Any

import pytest
import trio
from waiting import wait_until

from arepl.repl import FromREPL
from rsyscall.command import Command
from rsyscall.environ import ExecutableNotFound
from rsyscall.epoller import AsyncFileDescriptor
from rsyscall.netinet.in_ import SockaddrIn
from rsyscall.path import Path
from rsyscall.sys.socket import AF, SOCK
from rsyscall.tasks._listening import bind
from rsyscall.tasks.local import local_thread
from rsyscall.terminal import TerminalSession
from rsyscall.wish import ConsoleGenie, ConsoleServerGenie, run_repl, serve_repls
from wish import Wish, my_wish_granter, wish

from .support import cloned

# What socat does with `- UNIX-CONNECT:path`.
CONNECT = r"""
import os, re, socket, sys, threading
sock = socket.socket(socket.AF_UNIX)
sock.connect(re.sub(r"\\(.)", r"\1", sys.argv[2].partition(":")[2]))
def send():
    while data := os.read(0, 4096):
        sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)
threading.Thread(target=send, daemon=True).start()
while data := sock.recv(4096):
    os.write(1, data)
"""


@asynccontextmanager
async def listening(path: LocalPath) -> AsyncIterator[AsyncFileDescriptor]:
    sock = await bind(local_thread, Path(path))
    await sock.listen(10)
    listener = await local_thread.make_afd(sock)
    async with listener:
        yield listener


class Person:
    """Connected to a prompt."""

    def __init__(self, path: LocalPath) -> None:
        self.path = path
        self.seen = ""

    async def __aenter__(self) -> Person:
        with trio.fail_after(20):
            while True:
                try:
                    self.stream = await trio.open_unix_socket(self.path)
                    return self
                except ConnectionRefusedError:  # it does not listen yet
                    await trio.sleep(0.01)

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stream.aclose()

    async def expect(self, text: str) -> None:
        with trio.fail_after(20):
            while text not in self.seen:
                data = await self.stream.receive_some(4096)
                assert data, self.seen
                self.seen += data.decode()
        self.seen = self.seen.partition(text)[2]

    async def type(self, text: str) -> None:
        await self.stream.send_all(text.encode())

    async def is_cut_off(self) -> bool:
        with trio.fail_after(20):
            try:
                while await self.stream.receive_some(4096):
                    pass
            except trio.BrokenResourceError:
                pass
        return True


async def serve(listener: AsyncFileDescriptor, names: dict[str, Any], results: list[Any]) -> None:
    try:
        results.append(await serve_repls(listener, names, int, "hello\n"))
    except Exception as error:
        results.append(error)


async def test_first_value_counts(tmp_path: LocalPath) -> None:
    results: list[Any] = []
    path = tmp_path / "sock"
    async with listening(path) as listener, trio.open_nursery() as nursery:
        nursery.start_soon(serve, listener, {"a": 20}, results)
        async with Person(path) as one, Person(path) as two:
            await one.expect("hello\n>")
            await two.expect("hello\n>")
            # Each has names of its own.
            await one.type("a += 1; a\n")
            await one.expect("21\n>")
            await two.type("a\n")
            await two.expect("20\n>")
            await two.type("sorted(each['a'] for each in __repls__), __repl_stdin__ is __repl_stdout__\n")
            await two.expect("([20, 21], True)\n>")
            await two.type("return 'a'\n")
            await two.expect("not str\n>")
            # One that fails, and one that hangs up.
            async with Person(path) as three:
                await three.expect(">")
                await three.type("x" * (1 << 20 | 1))
                assert await three.is_cut_off()
            async with Person(path) as four:
                await four.expect(">")
            await one.type("return await __import__('trio').to_thread.run_sync(lambda: a + 1)\n")
            assert await one.is_cut_off()
            assert await two.is_cut_off()
    assert results == [22]


async def test_exception_for_the_program(tmp_path: LocalPath) -> None:
    results: list[Any] = []
    async with listening(tmp_path / "sock") as listener, trio.open_nursery() as nursery:
        nursery.start_soon(serve, listener, {"FromREPL": FromREPL}, results)
        async with Person(tmp_path / "sock") as one:
            await one.type("raise FromREPL(KeyError('x'))\n")
            assert await one.is_cut_off()
    assert isinstance(results[0], FromREPL)
    assert isinstance(results[0].exn, KeyError)


async def test_what_was_sent_before_the_end_counts(tmp_path: LocalPath) -> None:
    results: list[Any] = []
    async with listening(tmp_path / "sock") as listener, trio.open_nursery() as nursery:
        nursery.start_soon(serve, listener, {"trio": trio}, results)
        async with Person(tmp_path / "sock") as one:
            await one.type("await trio.sleep(0.05)\nreturn 5\n")
            await one.stream.send_eof()
            assert await one.is_cut_off()
    assert results == [5]


async def test_hangup_while_an_input_waits(tmp_path: LocalPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rsyscall.wish._GRACE", 0.05)
    fd = await local_thread.socketpair(AF.UNIX, SOCK.STREAM | SOCK.NONBLOCK)
    first = await local_thread.make_afd(fd.first)
    second = await local_thread.make_afd(fd.second)
    entered = trio.Event()
    await second.write_all_bytes(b"entered.set(); await trio.sleep_forever()\n")
    async with trio.open_nursery() as nursery:

        async def hang_up() -> None:
            await entered.wait()
            await second.close()

        nursery.start_soon(hang_up)
        with pytest.raises(EOFError, match="REPL connection hangup"):
            await run_repl(first, first, {"trio": trio, "entered": entered}, int, "")
    await first.close()


async def test_end_of_the_input() -> None:
    pair = await local_thread.socketpair(AF.UNIX, SOCK.STREAM | SOCK.NONBLOCK)
    first = await local_thread.make_afd(pair.first)
    await pair.second.close()
    with pytest.raises((Exception, OSError)):
        await run_repl(first, first, {}, int, "")
    await first.close()


@pytest.mark.needs("other users")
async def test_other_users_are_refused(tmp_path: LocalPath, caplog: pytest.LogCaptureFixture) -> None:
    results: list[Any] = []
    path = tmp_path / "sock"
    for parent in path.parents[:-1]:
        if parent.stat().st_uid == os.geteuid() and not parent.stat().st_mode & 1:
            parent.chmod(0o755)
    async with listening(path) as listener, trio.open_nursery() as nursery:
        # Even if they may open it.
        path.chmod(0o666)
        nursery.start_soon(serve, listener, {}, results)
        script = "import os, socket, sys; os.setuid(65534); s = socket.socket(socket.AF_UNIX); "
        script += "s.connect(sys.argv[1]); s.sendall(b'return 5\\n'); print(s.recv(100))"
        command = Command(sys.executable, ["python", "-I", "-S", "-c", script, str(path)], {})
        done = await local_thread.run(command, check=False, capture=True)
        assert b"hello" not in (done.stdout or b"")
        assert "of user 65534" in caplog.text
        assert results == []
        nursery.cancel_scope.cancel()


async def test_sockets_of_others_are_refused() -> None:
    sock = await local_thread.socket(AF.INET, SOCK.STREAM | SOCK.NONBLOCK)
    await sock.bind(await local_thread.ptr(SockaddrIn(0, "127.0.0.1")))
    await sock.listen(1)
    listener = await local_thread.make_afd(sock)
    async with listener:
        with pytest.raises(ValueError, match="expected a Unix socket"):
            await serve_repls(listener, {}, int, "")


async def test_cancellation(tmp_path: LocalPath) -> None:
    async with listening(tmp_path / "sock") as listener:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, listener, {}, [])
            async with Person(tmp_path / "sock") as one:
                await one.expect(">")
                nursery.cancel_scope.cancel()


# ---- consoles ----


@pytest.mark.needs("/dev/ptmx")
async def test_local_repl() -> None:
    words = [sys.executable, "-m", "rsyscall.scripts.local_repl"]
    environment = {}
    if path := os.environ.get("PYTHONPATH"):
        environment["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, path.split(os.pathsep)))
    async with local_thread.run_on_terminal(Command(sys.executable, words, environment)) as session:
        await check_console(session)


async def check_console(session: TerminalSession) -> None:
    with trio.fail_after(60):
        await session.expect("which number is it?")
        await session.expect("Wished for: int. Give it by: return VALUE\r\n>")
        await session.write("hint\r")
        await session.expect("'it is the answer'\r\n>")
        await session.write("1 / 0\r")
        await session.expect("ZeroDivisionError: division by zero\r\n>")
        await session.write("return hint\r")
        await session.expect("not str\r\n>")
        await session.write("return 42\r")
        await session.expect("got 42\r\n")
        assert (await session.wait()).returncode == 0


async def test_console_of_a_thread() -> None:
    """One wish after another, with a socket as the console."""
    console = await local_thread.socketpair(AF.UNIX, SOCK.STREAM)
    async with cloned(local_thread) as child:
        for standard in (child.stdin, child.stdout):
            await child.inherit_fd(console.second).dup2(standard)
        await console.second.close()
        ours = await local_thread.make_afd(console.first, set_nonblock=True)
        genie = await ConsoleGenie.make(child)
        token = my_wish_granter.set(genie)
        results = []

        async def ask(number: int) -> None:
            results.append(await wish(Wish(int, "please")) + number)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, 10)
            nursery.start_soon(ask, 10)
            for _ in range(2):
                seen = b""
                while not seen.endswith(b"return VALUE\n>"):
                    seen += await ours.read_some_bytes()
                assert seen.count(b"Wished for") == 1
                await ours.write_all_bytes(b"return number\n")
        assert results == [20, 20]
        my_wish_granter.reset(token)
        await ours.close()


async def test_console_server(tmp_path: LocalPath) -> None:
    directory = tmp_path / "a,b:c d"
    directory.mkdir()
    connect = Command(sys.executable, ["python", "-c", CONNECT], {})
    console = await local_thread.socketpair(AF.UNIX, SOCK.STREAM)
    async with cloned(local_thread) as child:
        for standard in (child.stdin, child.stdout):
            await child.inherit_fd(console.second).dup2(standard)
        await console.second.close()
        ours = await local_thread.make_afd(console.first, set_nonblock=True)
        genie = ConsoleServerGenie(child, Path(directory), connect)
        results = []

        async def ask() -> None:
            token = my_wish_granter.set(genie)
            secret = 17
            results.append(await wish(Wish(int, "please")) + secret)
            my_wish_granter.reset(token)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            seen = b""
            while not seen.endswith(b"return VALUE\n>"):
                seen += await ours.read_some_bytes()
            (name,) = os.listdir(directory)
            assert name.startswith("ask-")
            assert (directory / name).stat().st_mode & 0o777 == 0o600
            # A second wish at the same place.
            nursery.start_soon(ask)
            await wait_until(lambda: len(os.listdir(directory)) == 2)
            assert sorted(os.listdir(directory)) == [name, f"{name}.1"]
            async with Person(directory / f"{name}.1") as one:
                await one.expect(">")
                await one.type("return secret\n")
                assert await one.is_cut_off()
            await ours.write_all_bytes(b"return 1\n")
        assert sorted(results) == [18, 34]
        assert os.listdir(directory) == []
        await ours.close()


async def test_socat_may_be_missing(tmp_path: LocalPath) -> None:
    async with cloned(local_thread) as child:
        child.environ["PATH"] = str(tmp_path)
        with pytest.raises(ExecutableNotFound):
            await ConsoleServerGenie.make(child, Path(tmp_path))
        with pytest.raises(ExecutableNotFound):
            await ConsoleGenie.make(child)
