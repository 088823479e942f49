"""`rsyscall repl` at a real terminal."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
import trio
from sshd import SSHD, serving
from waiting import wait_for_call

from rsyscall import Command, local_thread
from rsyscall.cli import parse
from rsyscall.cli_options import ReplOptions
from rsyscall.near import SYS
from rsyscall.terminal import TerminalSession
from rsyscall.termios import LFLAG

from .conftest import MARK, Programs

pytestmark = [pytest.mark.slow, pytest.mark.needs("/dev/ptmx")]

_PROMPT = re.compile(rb"(.*?)(>>> |\.\.\. )", re.DOTALL)

BUSY = r"""exec("print('begun')\nwhile 1: pass")"""


class Prompt:
    """A person at the prompt."""

    def __init__(self, session: TerminalSession) -> None:
        self.session = session

    @property
    def pid(self) -> int:
        return self.session.process.process.near.id

    async def seen(self) -> str:
        """What is written up to the next prompt."""
        with trio.fail_after(30):
            found = await self.session.expect(_PROMPT)
        return found[1].decode()

    async def enter(self, *lines: str) -> str:
        """Type lines; returns what is written after the last of them up to the next prompt."""
        for line in lines:
            await self.session.write(f"{line}\r")
            text = await self.seen()
        echo, _, output = text.partition("\r\n")
        assert echo == lines[-1]
        return output.replace("\r\n", "\n")

    async def start(self, line: str) -> None:
        """Type a line whose input says "begun"."""
        await self.session.write(f"{line}\r")
        with trio.fail_after(30):
            await self.session.expect("begun\r\n")

    async def interrupt(self) -> str:
        """Type Ctrl-C; returns what is written up to the next prompt."""
        await self.session.write("\x03")
        return await self.seen()

    async def end(self, text: str) -> tuple[int | None, str]:
        """Type what ends it; returns the status and the rest of the output."""
        await self.session.write(text)
        with trio.fail_after(30):
            result = await self.session.wait(check=False)
        assert result.stdout is not None
        return result.returncode, result.stdout.decode().replace("\r\n", "\n")


def absolute(path: str) -> str:
    return os.pathsep.join(map(os.path.abspath, path.split(os.pathsep)))


@asynccontextmanager
async def terminal(cli: Programs, *arguments: str, **variables: str) -> AsyncIterator[Prompt]:
    """`rsyscall repl` on a terminal."""
    environment = {
        MARK: cli.mark,
        "TERM": "dumb",
        "RSYSCALL_HISTORY": "",
        "INPUTRC": "/dev/null",
        **variables,
    }
    if (path := os.environ.get("PYTHONPATH")) and "PYTHONPATH" not in variables:
        environment["PYTHONPATH"] = absolute(path)
    words = [sys.executable, "-m", "rsyscall", "repl", *arguments]
    command = Command(sys.executable, words, environment)
    async with local_thread.run_on_terminal(command, size=(50, 200)) as session:
        yield Prompt(session)


@asynccontextmanager
async def prompt(cli: Programs, *arguments: str, **variables: str) -> AsyncIterator[Prompt]:
    """Likewise without IPython; the first prompt has been shown."""
    async with terminal(cli, "--plain", *arguments, **variables) as typing:
        assert "exit or Ctrl-D ends this" in await typing.seen()
        yield typing


async def test_inputs_and_what_is_shown(cli: Programs) -> None:
    async with prompt(cli) as typing:
        assert await typing.enter("1 + 1") == "2\n"
        assert await typing.enter("_ * 21") == "42\n"
        assert await typing.enter("None") == ""
        assert await typing.enter("here = await thread.getcwd()") == ""
        assert await typing.enter("str(here)") == f"{os.getcwd()!r}\n"
        assert await typing.enter("def f(x):", "    return x + 1", "") == ""
        assert await typing.enter("for i in range(2):", "    await trio.sleep(0)", "    f(i)", "") == "1\n2\n"
        assert await typing.enter("child = await thread.clone()") == ""
        assert await typing.enter("await child.getcwd() == here") == "True\n"
        assert await typing.enter("thread is local_thread") == "True\n"
        assert await typing.enter("import sys; sys.displayhook = lambda v: print('<', v, '>')") == ""
        assert await typing.enter("5") == "< 5 >\n"
        assert await typing.enter("import dataclasses") == ""
        assert await typing.enter("@dataclasses.dataclass", "class C:", "    x: 'int' = 3", "", "C()") == (
            "< C(x=3) >\n"
        )
        assert await typing.end("exit\r") == (0, "exit\n")


async def test_wrong_inputs(cli: Programs) -> None:
    async with prompt(cli) as typing:
        await typing.enter("def f():", "    return 1 / 0", "")
        said = await typing.enter("await trio.sleep(0); f()")
        assert said.startswith('Traceback (most recent call last):\n  File "<input ')
        assert "    await trio.sleep(0); f()\n" in said
        assert "    return 1 / 0\n" in said
        assert said.endswith("ZeroDivisionError: division by zero\n")
        assert "cli_repl" not in said
        assert "arepl" not in said
        said = await typing.enter("x = = 1")
        assert "    x = = 1\n" in said
        assert said.endswith("SyntaxError: invalid syntax\n")
        assert "outside function" in await typing.enter("return 1")
        assert "outside function" in await typing.enter("yield 1")
        assert "No such file" in await typing.enter("await thread.task.open(await thread.ptr('/nothing'), 0)")
        assert "E: <exception str() failed>" in await typing.enter(
            "class E(Exception): __str__ = 1", "", "raise E"
        )
        assert "hooked E" in await typing.enter(
            "import sys; sys.excepthook = lambda t, *_: print('hooked', t.__name__)", "raise E"
        )
        assert await typing.enter("1") == "1\n"
        assert await typing.end("\x04") == (0, "\n")


async def test_interrupts(cli: Programs) -> None:
    async with prompt(cli) as typing:
        # Of what is typed.
        await typing.session.write("abc")
        await typing.session.expect("abc")
        assert "KeyboardInterrupt" in await typing.interrupt()
        await typing.session.write("if 1:\r    x = 1\r")
        await typing.seen()
        await typing.seen()
        assert "KeyboardInterrupt" in await typing.interrupt()
        assert await typing.enter("x = 3", "x") == "3\n"
        # Of what runs.
        await typing.start("print('begun'); await trio.sleep_forever()")
        said = await typing.interrupt()
        assert "await trio.sleep_forever()" in said
        assert said.endswith("KeyboardInterrupt\r\n")
        await typing.start(BUSY)
        assert "KeyboardInterrupt" in await typing.interrupt()
        await typing.start("import time; print('begun'); time.sleep(1000)")
        assert "KeyboardInterrupt" in await typing.interrupt()
        # Otherwise its end by SIGINT may come first.
        sleeping = """sh.args("-c", "trap '' INT; echo begun; exec sleep 1000")"""
        await typing.start(f"await thread.run(thread.environ.{sleeping})")
        assert "KeyboardInterrupt" in await typing.interrupt()
        group = [
            "async with trio.open_nursery() as n:",
            "    n.start_soon(trio.sleep_forever)",
            "    print('begun')",
        ]
        await typing.enter(*group)
        await typing.start("")
        assert "KeyboardInterrupt" in await typing.interrupt()
        # It can be caught.
        await typing.enter(
            "try:", "    print('begun'); await trio.sleep_forever()", "except BaseException as e: y = e"
        )
        await typing.start("")
        await typing.interrupt()
        assert await typing.enter("y") == "KeyboardInterrupt()\n"
        for _ in range(5):
            assert "KeyboardInterrupt" in await typing.interrupt()
        assert await typing.enter("x") == "3\n"
        # To the REPL alone.
        for _ in range(5):
            os.kill(typing.pid, signal.SIGINT)
            assert "KeyboardInterrupt" in await typing.seen()
        assert await typing.enter("x") == "3\n"
        assert (await typing.end("exit()\r"))[0] == 0


CHILDREN = [
    "child = await thread.clone()",
    "own = await thread.clone(own_memory=True)",
    "inner = [await child.clone(), await own.clone(), await child.clone(own_memory=True)]",
    "threads = [child, own, *inner]",
]


async def test_an_interrupt_is_not_for_inert_children(cli: Programs) -> None:
    async with prompt(cli) as typing:
        await typing.enter(*CHILDREN, "sh = thread.environ.sh")
        for _ in range(3):
            assert "KeyboardInterrupt" in await typing.interrupt()
        for _ in range(3):
            await typing.start("print('begun'); await trio.sleep_forever()")
            assert "KeyboardInterrupt" in await typing.interrupt()
        assert await typing.enter("{await t.getcwd() for t in threads}") == f"{{{os.getcwd()!r}}}\n"
        # They do not have the default action until they execute a program.
        await typing.enter("process = await child.exec(sh.args('-c', 'sleep 1000'))")
        await typing.start("print('begun'); await process.check()")
        await typing.interrupt()
        assert "SIGINT" in await typing.enter("(await process.wait()).describe()")


async def test_programs_do_not_ignore_what_inert_children_do(cli: Programs) -> None:
    async with prompt(cli) as typing:
        await typing.enter(
            *CHILDREN, "sh = thread.environ.sh", "show = sh.args('-c', 'grep SigIgn /proc/self/status')"
        )
        ways = [
            "await t.run(show)",
            "await (await t.prepare().exec(show)).check()",
            "await (await t.exec(show)).check()",
        ]
        for way in ways:
            # A child executes a program once, and those that share its memory stay.
            for name in ("inner[0]", "inner[1]", "inner[2]", "own", "child"):
                await typing.enter(f"t = {name}")
                shown = await typing.enter(f"result = {way}")
                assert int(shown.split()[1], 16) >> 1 & 1 == 0, (way, name)
        # One that is told to ignore it goes on doing so.
        await typing.enter(
            "t = await thread.clone()",
            "from rsyscall.signal import Sigaction, Sighandler",
            "await t.task.sigaction(SIG.INT, await t.ptr(Sigaction(Sighandler.IGN)), None)",
        )
        shown = await typing.enter("result = await (await t.exec(show)).check()")
        assert int(shown.split()[1], 16) >> 1 & 1 == 1


async def test_a_second_interrupt_ends_a_call_that_does_not_return(cli: Programs) -> None:
    async with prompt(cli) as typing:
        await typing.enter(*CHILDREN)
        for name in ("child", "own"):
            await typing.enter(f"t = await {name}.clone()", "pipe = await t.pipe()")
            await typing.enter("buffer = await t.malloc(bytes, 1)")
            pid = int(await typing.enter("t.process.process.near.id"))
            await typing.start("print('begun'); await pipe.read.read(buffer)")
            await wait_for_call(pid, SYS.read)
            await typing.session.write("\x03")
            with trio.move_on_after(0.5):
                await typing.session.expect(_PROMPT)
                raise AssertionError("the call has not returned")
            assert "SyscallHangup" in await typing.interrupt()
            await typing.enter(*CHILDREN[:2])
            # No interrupt is left over.
            assert await typing.enter(
                "await trio.sleep(0.01); await child.getcwd() == await own.getcwd()"
            ) == ("True\n")
        assert await typing.enter("1") == "1\n"


async def test_ends(cli: Programs) -> None:
    async with prompt(cli) as typing:
        # In a block, it closes the block.
        await typing.session.write("if 1:\r")
        await typing.seen()
        await typing.session.write("    'in the block'\r\x04")
        await typing.seen()
        assert "in the block" in await typing.seen()
        await typing.session.write("x = (\r\x04")
        await typing.seen()
        await typing.seen()
        assert await typing.enter("3)") == ""
        assert await typing.enter("repr(exit)") == "'exit, exit(status) or Ctrl-D ends this'\n"
        assert await typing.enter("exit = 5", "exit") == "5\n"
        assert (await typing.end("quit\r"))[0] == 0
    for text, status, said in [
        ("exit(3)", 3, ""),
        ("raise SystemExit", 0, ""),
        ("import sys; sys.exit('a reason')", 1, "a reason\n"),
        ("async with trio.open_nursery() as n: exit(4)\r", 4, ""),
    ]:
        async with prompt(cli) as typing:
            result = await typing.end(f"{text}\r")
            assert result[0] == status
            assert result[1].endswith(f"\n{said}")


async def test_tasks_run_while_the_prompt_waits(cli: Programs) -> None:
    async with prompt(cli) as typing:
        await typing.enter("event, found = trio.Event(), []")
        await typing.enter("async def task():", "    await event.wait(); print('task ran')", "")
        await typing.enter("nursery.start_soon(task)")
        await typing.enter("async def later():", "    await trio.sleep(0.05); event.set()", "")
        await typing.session.write("nursery.start_soon(later)\r")
        await typing.session.expect("task ran\r\n")
        # One that fails ends the others, and not the prompt.
        await typing.enter("async def fail():", "    await trio.sleep(0.05); 1 / 0", "")
        await typing.session.write("nursery.start_soon(fail)\r")
        await typing.session.expect("ZeroDivisionError: division by zero")
        await typing.session.write("\r")
        await typing.seen()
        await typing.session.write("nursery.start_soon(later)\r")
        await typing.seen()
        assert await typing.enter("nursery.cancel_scope.cancel_called") == "False\n"
        assert (await typing.end("\x04"))[0] == 0


async def test_pasted_lines_after_the_end_are_dropped(cli: Programs) -> None:
    async with prompt(cli, TERM="xterm") as typing:
        paste = "\x1b[200~{}\x1b[201~\r".format
        await typing.session.write(
            paste("print('be' + 'gun'); await trio.sleep_forever()\nprint('mo' + 're')")
        )
        with trio.fail_after(30):
            await typing.session.expect("begun\r\n")
        assert "more" not in await typing.interrupt()
        await typing.session.write(paste("1 / 0\nprint('mo' + 're')"))
        assert "more" in await typing.seen()
        status, text = await typing.end(paste("exit(3)\nprint('mo' + 're')"))
        assert status == 3
        assert "more" not in text


def test_interrupt_that_is_lost() -> None:
    # As far as `input` is concerned, standard error cannot be flushed.
    program = """if True:
        import os, signal, sys
        from rsyscall import cli_prompt
        class File:
            def flush(self): os.kill(os.getpid(), signal.SIGINT)
        sys.stderr = File()
        cli_prompt.main([sys.argv[1], ""])
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        words = [sys.executable, "-c", program, str(theirs.fileno())]
        with subprocess.Popen(words, stdin=subprocess.PIPE, pass_fds=[theirs.fileno()]) as process:
            theirs.close()
            ours.settimeout(0.05)
            ours.sendall(b'{"prompt": ""}\n')
            answer, end = b"", time.monotonic() + 10
            time.sleep(1)
            while not answer and time.monotonic() < end:
                process.send_signal(signal.SIGINT)
                with suppress(TimeoutError):
                    answer = ours.recv(100)
            process.kill()
    assert answer == b'{"interrupted": true}\n'


async def test_tasks_that_fail_in_the_end(cli: Programs) -> None:
    async with prompt(cli) as typing:
        lines = [
            "async def f():",
            "    try: await trio.sleep_forever()",
            "    finally: raise OSError(2, 'why')",
            "",
        ]
        await typing.enter(*lines, "nursery.start_soon(f)")
        status, text = await typing.end("exit(5)\r")
        assert status == 5
        assert "FileNotFoundError: [Errno 2] why\n" in text
        assert "runpy" not in text


async def test_tasks_that_do_not_end(cli: Programs) -> None:
    async with prompt(cli) as typing:
        await typing.enter("import time")
        await typing.enter("nursery.start_soon(trio.to_thread.run_sync, time.sleep, 1000)")
        await typing.session.write("exit\r")
        await typing.session.expect("exit\r\n")
        await trio.sleep(0.2)
        assert (await typing.end("\x03"))[0] == -signal.SIGINT


async def test_interrupt_while_names_are_completed(cli: Programs) -> None:
    async with prompt(cli) as typing:
        await typing.enter("import os, signal")
        await typing.enter(
            "class C:", "    def __dir__(self): os.kill(os.getpid(), signal.SIGINT); return []", ""
        )
        await typing.enter("c = C()")
        await typing.session.write("c.\t")
        assert (await typing.seen()).endswith("KeyboardInterrupt\r\n")
        assert await typing.enter("1") == "1\n"


async def test_completion(cli: Programs) -> None:
    async with prompt(cli) as typing:
        await typing.session.write("await thread.getcw\t")
        await typing.session.expect("getcwd")
        await typing.session.write("()\r")
        assert os.getcwd() in await typing.seen()
        await typing.enter("some_name = [1]; class_ = 2")
        await typing.session.write("some_n\t.cle\t")
        await typing.session.expect("some_name.clear")
        await typing.session.write("()\r")
        await typing.seen()
        assert await typing.enter("some_name") == "[]\n"
        # Attributes that raise, names that are not there.
        await typing.enter("class Odd:", "    @property", "    def x(self): raise OSError", "")
        await typing.enter("odd = Odd()")
        await typing.session.write("odd.x.y\t\x15nothing.a\t\x155\r")
        with trio.fail_after(30):
            await typing.session.expect("\r\n5\r\n>>> ")
        # An indentation.
        await typing.session.write("if 1:\r")
        await typing.seen()
        await typing.session.write("\t6\r\r")
        await typing.seen()
        assert (await typing.seen()).endswith("\r\n6\r\n")
        assert (await typing.end("\x04"))[0] == 0


async def test_history(cli: Programs, tmp_path: Path) -> None:
    path = tmp_path / "history"
    async with prompt(cli, RSYSCALL_HISTORY=str(path)) as typing:
        await typing.enter("x = 'é'", "x = 'é'", "", "y = 2")
        assert (await typing.end("\x04"))[0] == 0
    assert path.read_text() == "x = 'é'\ny = 2\n"
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    async with prompt(cli, RSYSCALL_HISTORY=str(path)) as typing:
        assert path.stat().st_mode & 0o777 == 0o600
        await typing.session.write("\x10\x10\r")
        await typing.seen()
        assert await typing.enter("x") == "'é'\n"
        assert (await typing.end("\x04"))[0] == 0
    assert path.read_text() == "x = 'é'\ny = 2\nx = 'é'\nx\n"


async def test_history_is_not_kept_where_it_cannot_be(cli: Programs, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "home").mkdir()
    paths = [
        "",
        f"{tmp_path}/none/history",
        str(tmp_path),
        f"{tmp_path}/fifo",
        "/proc/self/status",
        "/dev/full",
    ]
    for path in paths:
        async with prompt(cli, RSYSCALL_HISTORY=path, HOME=str(tmp_path / "home")) as typing:
            assert await typing.enter("1", "2") == "2\n"
            await typing.session.write("\x10\x10\r")
            assert (await typing.seen()).endswith("\r\n1\r\n")
            assert await typing.end("\x04") == (0, "\n")
    assert sorted(os.listdir(tmp_path)) == ["fifo", "home"]
    assert os.listdir(tmp_path / "home") == []


async def test_history_with_what_cannot_be_typed(cli: Programs, tmp_path: Path) -> None:
    path = tmp_path / "history"
    # As a file may be after a crash of the system, or in another locale.
    path.write_bytes(b"1\n\0\0\n\xff\n'\xc3\xa9'\n2\n")
    for variables in ({}, {"LC_ALL": "POSIX"}):
        async with prompt(cli, RSYSCALL_HISTORY=str(path), **variables) as typing:
            await typing.session.write("\x10\r")
            assert (await typing.seen()).endswith("\r\n2\r\n")
            assert await typing.end("\x04") == (0, "\n")


async def test_history_of_others_is_left_alone(cli: Programs, tmp_path: Path) -> None:
    lines = "".join(f"{number}\n" for number in range(5000))
    other, link, linked = tmp_path / "other", tmp_path / "link", tmp_path / "linked"
    other.write_text(lines)
    other.chmod(0o644)
    link.symlink_to(other)
    linked.hardlink_to(other)
    for path in (link, linked):
        async with prompt(cli, RSYSCALL_HISTORY=str(path)) as typing:
            assert await typing.enter("5") == "5\n"
            assert (await typing.end("\x04"))[0] == 0
        assert other.read_text() == lines
        assert other.stat().st_mode & 0o777 == 0o644


@pytest.mark.needs("other users")
async def test_history_of_another_user_is_left_alone(cli: Programs, tmp_path: Path) -> None:
    path = tmp_path / "history"
    path.write_text("1\n")
    os.chown(path, 65534, -1)
    async with prompt(cli, RSYSCALL_HISTORY=str(path)) as typing:
        assert await typing.enter("5") == "5\n"
        assert (await typing.end("\x04"))[0] == 0
    assert path.read_text() == "1\n"


async def test_long_history_is_cut(cli: Programs, tmp_path: Path) -> None:
    path = tmp_path / "history"
    path.write_text("".join(f"{number}\n" for number in range(5000)))
    async with prompt(cli, RSYSCALL_HISTORY=str(path)) as typing:
        await typing.enter("'last'")
        assert (await typing.end("\x04"))[0] == 0
    lines = path.read_text().splitlines()
    assert (len(lines), lines[0], lines[-1]) == (2001, "3000", "'last'")


async def test_another_place(cli: Programs) -> None:
    async with prompt(cli, "--via", "sh -c") as typing:
        assert await typing.enter("thread is far, thread is local_thread") == "(True, False)\n"
        assert (
            await typing.enter("await thread.task.getpid() == await local_thread.task.getpid()") == "False\n"
        )
        await typing.enter("child = await thread.clone()")
        # What leads there, and what is there, stays.
        await typing.start("print('begun'); await trio.sleep_forever()")
        await typing.interrupt()
        await typing.interrupt()
        assert await typing.enter(
            "(await child.run(child.environ.sh.args('-c', 'echo x'), capture=True)).stdout"
        ) == ("b'x\\n'\n")
        # Commands there can be interrupted, as everywhere.
        await typing.enter("import signal")
        command = "(await child.run(child.environ.sh.args('-c', 'kill -INT $$'), check=False)).returncode"
        assert await typing.enter(command) == "-2\n"
        assert (await typing.end("\x04"))[0] == 0


@pytest.mark.skipif(SSHD is None, reason="sshd is not installed")
async def test_another_host(cli: Programs, tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        async with prompt(cli, "--ssh", shlex.join(server.words())) as typing:
            await typing.enter("await thread.write_file('/tmp/../proc/self/comm', b'far')")
            assert await typing.enter("await thread.read_file('/proc/self/comm')") == "b'far\\n'\n"
            await typing.start("print('begun'); await trio.sleep_forever()")
            await typing.interrupt()
            await typing.interrupt()
            assert await typing.enter("await thread.read_file('/proc/self/comm')") == "b'far\\n'\n"
            # The prompt outlives the way there.
            server.process.terminate()
            await typing.enter("await thread.close()")
            assert "SyscallSendError" in await typing.enter("await thread.task.getpid()")
            assert (await typing.end("\x04"))[0] == 0


def test_options() -> None:
    assert parse(["repl"]) == ReplOptions()
    assert parse(["repl", "--ssh", "-p 22 host"]) == ReplOptions(ssh=["-p", "22", "host"])
    assert parse(["repl", "--via", "sh", "--by", "shell"]) == ReplOptions(via=["sh"], by="shell")
    assert parse(["repl", "--plain"]) == ReplOptions(plain=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--frobnicate"], "unknown option --frobnicate"),
        (["file.py"], "unknown option file.py"),
        (["--by", "shell"], "--by is for --via and --ssh"),
        (["--ssh", "a", "--via", "b"], "not allowed with argument"),
        (["--via", ""], "is no command"),
    ],
)
def test_wrong_command_lines(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        parse(["repl", *arguments])
    assert exited.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("rsyscall repl: ")
    assert message in said


def test_help(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as exited:
        parse(["repl", "--help"])
    assert exited.value.code == 0
    text = capsys.readouterr().out
    assert "RSYSCALL_HISTORY" in text
    assert "  rsyscall repl --ssh user@host\n" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_place_that_cannot_be_reached(cli: Programs) -> None:
    for arguments, message in [
        (["--via", "false"], "rsyscall repl: "),
        (["--via", "no-such-program"], "rsyscall repl: there is no no-such-program in PATH\n"),
        (["--via", "/no/such"], "rsyscall repl: No such file or directory (/no/such)\n"),
    ]:
        status, out, err = cli("repl", *arguments)
        assert (status, out) == (1, "")
        assert err.startswith(message)
        assert "Traceback" not in err


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("busy", [False, True])
async def test_signals_restore_the_terminal(cli: Programs, sig: signal.Signals, busy: bool) -> None:
    async with prompt(cli) as typing:
        if busy:
            await typing.session.write(f"import tty; tty.setraw(0); {BUSY}\r")
            with trio.fail_after(30):
                await typing.session.expect("begun\n")
        assert not (await typing.session.pty.attributes()).lflag & LFLAG.ICANON
        # Kept open, or the terminal would be hung up.
        terminal = await typing.session.pty.open_terminal()
        os.kill(typing.pid, sig)
        with trio.fail_after(30):
            await typing.session._ended.wait()
        attributes = termios.tcgetattr(int(terminal.near))
        assert attributes[3] & (termios.ECHO | termios.ICANON) == termios.ECHO | termios.ICANON
        await terminal.close()
        assert (await typing.end(""))[0] == -sig


async def test_signal_to_a_stopped_job(cli: Programs) -> None:
    words = shlex.join([sys.executable, "-m", "rsyscall", "repl", "--plain"])
    environment = {MARK: cli.mark, "TERM": "dumb", "RSYSCALL_HISTORY": "", "PS1": "", "PS2": ""}
    shell = (await local_thread.environ.which("bash")).args("--norc", "--noediting", "-i")
    async with local_thread.run_on_terminal(shell.env(environment), size=(50, 200)) as session:
        typing = Prompt(session)
        await session.write(f"{words}\r")
        await typing.seen()
        await session.write("\x1a")
        with trio.fail_after(30):
            await session.expect("Stopped")
            # As a job that runs in the background, it would be stopped again.
            await session.write("kill %1; while kill -0 %1 2>/dev/null; do sleep 0.1; done; echo 'g'one\r")
            await session.expect("gone\r\n")
        await typing.end("exit\r")


async def test_end_of_what_reads_the_lines(cli: Programs) -> None:
    async with prompt(cli) as typing:
        children = Path(f"/proc/{typing.pid}/task/{typing.pid}/children").read_text().split()
        readers = [pid for pid in children if b"cli_prompt" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        assert len(readers) == 1
        os.kill(int(readers[0]), signal.SIGKILL)
        assert (await typing.end(""))[0] == 0


async def test_hangup_of_the_terminal(cli: Programs) -> None:
    async with prompt(cli) as typing:
        await typing.enter("child = await thread.clone()")
        await typing.session.pty.close()
        with trio.fail_after(30):
            await typing.session._ended.wait()


# ---- IPython ----


class Cells:
    """A person at the prompt of IPython."""

    def __init__(self, session: TerminalSession) -> None:
        self.session = session
        self.number = 1

    async def expect(self, pattern: bytes) -> bytes:
        """What is written up to what matches."""
        with trio.fail_after(20):
            return (await self.session.expect(re.compile(pattern, re.DOTALL)))[0]

    async def next(self) -> str:
        """What is written up to the prompt of the next cell."""
        self.number += 1
        return (await self.expect(rb".*In \[%d\]: " % self.number)).decode()

    async def run(self, line: str) -> str:
        """Type a cell; returns what is written up to the next prompt."""
        await self.session.write(f"{line}\r")
        return await self.next()


@pytest.mark.skipif(find_spec("IPython") is None, reason="python: IPython is not installed")
async def test_ipython(cli: Programs, tmp_path: Path) -> None:
    async with terminal(cli, "--via", "sh -c", IPYTHONDIR=str(tmp_path)) as typing:
        cells = Cells(typing.session)
        await cells.expect(rb"In \[1\]: ")
        assert "42" in await cells.run("6 * 7")
        assert os.getcwd() in await cells.run("await thread.getcwd()")
        thread = "import threading; threading.current_thread() is threading.main_thread()"
        assert "True" in await cells.run(thread)
        assert "ZeroDivisionError" in await cells.run("1 / 0")
        await cells.run("child = await thread.clone()")
        for line in (
            "print('beg' 'un'); await trio.sleep_forever()",
            "print('beg' 'un')or exec('while 1: 1')",
        ):
            await typing.session.write(f"{line}\r")
            await cells.expect(rb"\nbegun\r?\n")
            await typing.session.write("\x03")
            assert "KeyboardInterrupt" in await cells.next()
        assert os.getcwd() in await cells.run("await child.getcwd()")
        await cells.run("nursery.start_soon(trio.sleep_forever)")
        os.kill(typing.pid, signal.SIGINT)
        assert "(1," in await cells.run("len(nursery.child_tasks), 0")
        assert "__main__" in await cells.run("__name__")
        assert (await typing.end("exit\r"))[0] == 0


async def test_ipython_that_cannot_be_imported(cli: Programs, tmp_path: Path) -> None:
    (tmp_path / "IPython").mkdir()
    (tmp_path / "IPython" / "__init__.py").write_text("import no_such_module")
    path = os.pathsep.join(filter(None, [str(tmp_path), absolute(os.environ.get("PYTHONPATH", ""))]))
    async with terminal(cli, PYTHONPATH=path) as typing:
        said = await typing.seen()
        assert "rsyscall repl: IPython cannot be used: ModuleNotFoundError: No module named 'no_such" in said
        assert await typing.enter("1") == "1\n"
        assert (await typing.end("\x04"))[0] == 0


# ---- without a terminal ----


def test_program_on_standard_input(cli: Programs) -> None:
    text = "import sys\nasync def f():\n  return await thread.getcwd()\nprint(await f())\n'not shown'\n"
    assert cli("repl", input=text) == (0, f"{os.getcwd()}\n", "")
    assert cli("repl", "--via", "sh -c", input="print(far is thread, (await far.task.getpid()).id > 1)") == (
        0,
        "True True\n",
        "",
    )
    assert cli("repl", input="") == (0, "", "")
    assert cli("repl", input="\ufeffprint(1)\n", env={"PYTHONUTF8": "1"}) == (0, "1\n", "")
    assert cli("repl", input="exit(7)") == (7, "", "")
    assert cli("repl", input="raise SystemExit('why')") == (1, "", "why\n")


def test_program_that_fails(cli: Programs) -> None:
    status, out, err = cli("repl", input="x = 1\nawait trio.sleep(0); x / 0\nprint('not reached')")
    assert (status, out) == (1, "")
    assert err.startswith('Traceback (most recent call last):\n  File "<stdin>", line 2, in <module>\n')
    assert "    await trio.sleep(0); x / 0\n" in err
    assert err.endswith("ZeroDivisionError: division by zero\n")
    for text, message in [
        ("if", "invalid syntax"),
        ("return 1", "outside function"),
        ("x = '\0'", "null byte"),
    ]:
        status, out, err = cli("repl", input=text)
        assert (status, out) == (1, "")
        assert message in err
        assert "cli_repl" not in err
    # SIGINT ends it, as it ends Python.
    status, _, err = cli(
        "repl", input="import os, signal; os.kill(os.getpid(), signal.SIGINT); await trio.sleep(9)"
    )
    assert status == -signal.SIGINT
    assert "KeyboardInterrupt" in err


def test_program_whose_task_fails(cli: Programs) -> None:
    start = "nursery.start_soon(f)\nawait trio.sleep(9)\n"
    for error, status, message in [
        ("ValueError('why')", 1, "ValueError: why\n"),
        # Not as if it had been ours.
        ("OSError(2, 'why', 'file')", 1, "FileNotFoundError: [Errno 2] why: 'file'\n"),
        ("SystemExit(7)", 7, ""),
    ]:
        found = cli("repl", input=f"async def f(): raise {error}\n{start}")
        assert (found.status, found.out) == (status, "")
        assert found.err.endswith(message)
        assert "rsyscall" not in found.err
        if message:
            assert found.err.startswith(
                'Traceback (most recent call last):\n  File "<stdin>", line 1, in f\n'
            )


def test_standard_input_that_cannot_be_read(cli: Programs, tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"x = '\xe9'\n")
    with open(tmp_path / "latin") as file:
        status, _, err = cli("repl", stdin=file, env={"PYTHONIOENCODING": "utf-8"})
    assert status == 1
    assert "UnicodeDecodeError" in err
    assert cli("repl", prefix=["sh", "-c", 'exec "$@" <&-', "sh"]) == (0, "", "")
    with open("/proc/self/mem", "rb") as memory:
        assert cli("repl", stdin=memory).status == 1


def test_nothing_of_it_is_imported_for_other_commands(cli: Programs) -> None:
    names = "[name for name in sys.modules if 'repl' in name or name == 'wish']"
    script = f"import sys, rsyscall.cli_run; print({names})"
    assert (
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )
