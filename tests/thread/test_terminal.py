"""Pseudoterminals, and commands on them: `Thread.pty` and `Thread.run_on_terminal`."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
from place import Place
from support import children, is_running, local_thread, sh
from waiting import wait_until

from rsyscall.command import Command
from rsyscall.completed import CommandTimeoutError
from rsyscall.far import FDTableMismatchError
from rsyscall.handle.fd import InvalidHandleError
from rsyscall.run_limits import Limits
from rsyscall.running import DEVNULL, PIPE
from rsyscall.sched import CLONE
from rsyscall.sys.mount import MS
from rsyscall.sys.wait import CalledProcessError
from rsyscall.termios import LFLAG, Winsize, cfmakeraw
from rsyscall.thread import Thread

pytestmark = pytest.mark.needs("/dev/ptmx")
CAT = Command("/bin/cat", ["cat"], {})


async def check_echo(thread: Thread) -> None:
    async with thread.run_on_terminal(
        sh("stty size; read line; echo got $line; exit 3"), size=(30, 90)
    ) as session:
        await session.expect("30 90\r\n")
        await session.write("hello\r")
        result = await session.wait(check=False)
        assert (result.stdout, result.returncode) == (b"hello\r\ngot hello\r\n", 3)


async def test_echo_and_size(transport: str) -> None:
    await check_echo(local_thread)
    child = await local_thread.clone()
    async with child.process:
        await check_echo(child)


async def test_terminal_of_a_process_with_memory_of_its_own() -> None:
    child = await local_thread.clone(own_memory=True)
    async with child.process:
        await check_echo(child)


@pytest.mark.needs("mount namespaces", "pid namespaces")
async def test_terminal_of_a_devpts_in_a_mount_namespace() -> None:
    child = await local_thread.clone(CLONE.NEWUSER | CLONE.NEWNS | CLONE.NEWPID)
    async with child.process:
        await child.mount("none", "/", "", MS.REC | MS.PRIVATE, "")
        await child.mount("devpts", "/dev/pts", "devpts", MS.NOSUID | MS.NOEXEC, "newinstance,ptmxmode=666")
        async with child.run_on_terminal(sh("tty"), path="/dev/pts/ptmx") as session:
            assert (await session.wait()).stdout == b"/dev/pts/0\r\n"


async def test_session_and_foreground() -> None:
    async with local_thread.run_on_terminal(Command("/bin/cat", ["cat", "/proc/self/stat"], {})) as session:
        stat = (await session.wait()).stdout or b""
        pid = session.process.process.near.id
    # The fields after the name: state, parent, process group, session, terminal, foreground group.
    assert list(map(int, stat.rpartition(b") ")[2].split()[2:4])) == [pid, pid]
    assert int(stat.rpartition(b") ")[2].split()[5]) == pid
    async with local_thread.run_on_terminal(sh("echo in /dev/tty >/dev/tty"), stdout=DEVNULL) as session:
        assert (await session.wait()).stdout == b"in /dev/tty\r\n"


async def test_ctrl_c_reaches_the_command() -> None:
    script = "trap 'echo interrupted; exit 7' INT; echo ready; while :; do sleep 0.01; done"
    async with local_thread.run_on_terminal(sh(script)) as session:
        await session.expect("ready")
        await session.write("\x03")
        await session.expect("interrupted")
        with pytest.raises(CalledProcessError) as caught:
            await session.wait()
        assert caught.value.state.returncode == 7
    async with local_thread.run_on_terminal(CAT) as session:
        await session.write("\x03")
        assert (await session.wait(check=False)).returncode == -signal.SIGINT


async def test_job_control() -> None:
    shell = Command("/bin/sh", ["sh", "-i"], {"PS1": "$ ", "ENV": ""})
    async with local_thread.run_on_terminal(shell) as session:
        await session.expect("$ ")
        await session.write("cat\r")
        await session.expect("cat\r\n")
        shell_group = session.process.process.near.id
        tcgetpgrp = lambda: os.tcgetpgrp(int(session.pty.handle))  # noqa: E731  # for until
        await wait_until(lambda: tcgetpgrp() != shell_group)
        await session.write("\x1a")
        await session.expect("$ ")
        assert tcgetpgrp() == shell_group
        await session.write("fg\r")
        await wait_until(lambda: tcgetpgrp() != shell_group)
        await session.write("\x04")
        await session.expect("$ ")
        await session.write("exit 5\r")
        assert (await session.wait(check=False)).returncode == 5


async def test_end_of_input_and_of_output() -> None:
    async with local_thread.run_on_terminal(CAT) as session:
        await session.write("line\r\x04")
        assert await session.expect(re.compile(rb"line\r\n(l.*)\r\n"))
        await session.wait()
        assert await session.read() == b""
        with pytest.raises(EOFError, match=r"b'more' has not come up to the end: b''"):
            await session.expect("more")


async def test_expect_that_is_cancelled_loses_nothing() -> None:
    async with local_thread.run_on_terminal(sh("echo first; read line")) as session:
        with trio.move_on_after(0.1) as scope:
            await session.expect("second")
        assert scope.cancelled_caught
        assert (await session.expect("first")).string.startswith(b"first")


async def test_hang_up_at_the_end_of_the_block() -> None:
    before = children()
    async with local_thread.run_on_terminal(sh("sleep 1000 & echo $!; wait"), grace=60) as session:
        pid = int((await session.expect(re.compile(rb"(\d+)\r\n")))[1])
        command = session.process
    assert command.process.death_state is not None
    await wait_until(lambda: not is_running(pid))
    assert children() == before


async def test_command_that_survives_a_hang_up_is_killed() -> None:
    script = "trap '' HUP TERM; echo ready; while :; do sleep 0.05; done"
    async with local_thread.run_on_terminal(sh(script), grace=0.05) as session:
        await session.expect("ready")
    state = session.process.process.death_state
    assert state is not None
    assert state.sig == signal.SIGKILL


async def test_errors_are_raised_as_they_are() -> None:
    with pytest.raises(ZeroDivisionError):
        async with local_thread.run_on_terminal(CAT):
            raise ZeroDivisionError
    with pytest.raises(CommandTimeoutError):
        async with local_thread.run_on_terminal(CAT, timeout=0.05):
            await trio.sleep_forever()
    with pytest.raises(FileNotFoundError) as caught:
        async with local_thread.run_on_terminal(Command("/no/such/program", ["program"], {})):
            pytest.fail("the block is not entered")
    assert caught.value.filename == "/no/such/program"
    with trio.move_on_after(0.05) as scope:
        async with local_thread.run_on_terminal(CAT):
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_attributes() -> None:
    pty = await local_thread.pty(size=os.terminal_size((80, 24)))
    async with pty:
        assert await pty.size() == Winsize(24, 80)
        attributes = await pty.attributes()
        assert attributes.lflag & LFLAG.ECHO
        cfmakeraw(attributes)
        await pty.set_attributes(attributes)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: local_thread.run(CAT, terminal=pty))
            await pty.write_all_bytes(b"\r\x03\n")
            got = b""
            while len(got) < 3:
                got += await pty.read_some_bytes()
            assert got == b"\r\x03\n"
            nursery.cancel_scope.cancel()
    async with local_thread.run_on_terminal(CAT, attributes=attributes) as session:
        await session.write(b"\x04")
        await session.expect(b"\x04")


async def test_several_commands_on_one_terminal() -> None:
    pty = await local_thread.pty()
    async with pty:
        for number in range(3):
            await local_thread.run(sh(f"echo {number}; echo error >&2"), terminal=pty, stderr=DEVNULL)
            assert await pty.read_some_bytes() == b"%d\r\n" % number
            assert await pty.read_some_bytes() == b""
        result = await local_thread.run(sh("tty; echo to the terminal >/dev/tty"), terminal=pty, stdout=PIPE)
        assert (result.stdout or b"").startswith(b"/dev/pts/")
        assert await pty.read_some_bytes() == b"to the terminal\r\n"


@pytest.mark.parametrize("tree", ["group", "cgroup", "pidns"])
async def test_with_the_other_options(tree: str, place: Place) -> None:
    if tree != "group":
        place.need({"cgroup": "cgroups", "pidns": "pid namespaces"}[tree])
    limits = Limits(session=True, umask=0o77)
    options: Any = {"tree": tree, "limits": limits, "env": {"A": "b"}, "cwd": "/usr"}
    command = sh("umask; echo $A; pwd; ls /proc/self/fd | wc -l")
    async with local_thread.run_on_terminal(command, **options) as session:
        assert (await session.wait()).stdout == b"0077\r\nb\r\n/usr\r\n4\r\n"


async def test_resize_tells_the_command() -> None:
    script = "trap 'stty size; exit' WINCH; stty size; while :; do sleep 0.01; done"
    async with local_thread.run_on_terminal(sh(script), size=(10, 20)) as session:
        await session.expect("10 20")
        await session.pty.resize((11, 21))
        await session.expect("11 21")


INTERACTIVE = """
import sys, trio
from rsyscall.local import LocalThread
from rsyscall.command import Command
thread = LocalThread()
async def main():
    async with thread.run_on_terminal(Command("/bin/sh", ["sh", "-c", sys.argv[1]], {})) as session:
        await session.interact(thread.stdin, thread.stdout)
        print((await session.wait(check=False)).describe())
trio.run(main)
"""


@pytest.mark.slow
async def test_interaction_with_our_own_terminal() -> None:
    """Another program of ours, on a terminal that we drive, passes on keys and sizes."""
    traps = "trap 'stty size' WINCH; trap 'echo interrupted' INT"
    script = f"{traps}; stty size; while :; do read -r l && echo got $l && test $l = quit && exit 4; done"
    program = Command(sys.executable, [sys.executable, "-c", INTERACTIVE, script], {})
    async with local_thread.run_on_terminal(program, size=(12, 34)) as session:
        before = await session.pty.attributes()
        await session.expect("12 34\r\n")
        await session.write("key\r")
        await session.expect("got key\r\n")
        await session.pty.resize((13, 35))
        await session.expect("13 35\r\n")
        await session.write("\x03")
        await session.expect("interrupted")
        await session.write("quit\r")
        await session.expect("exited with status 4")
        await session.wait()
        assert await session.pty.attributes() == before


async def test_misuse(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"size: expected \(lines, columns\), not 80"):
        await local_thread.pty(size=80)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ValueError, match=r"size: expected numbers from 0 to 65535, not \(-1, 80\)"):
        await local_thread.pty(size=(-1, 80))
    with pytest.raises(OSError, match="Inappropriate ioctl") as caught:
        await local_thread.pty(path="/dev/null")
    assert caught.value.filename == "/dev/null"
    with pytest.raises(FileNotFoundError) as missing:
        await local_thread.pty(path=str(tmp_path / "ptmx"))
    assert missing.value.filename == str(tmp_path / "ptmx")
    with pytest.raises(TypeError, match=r"terminal: expected a Pty, from Thread.pty\(\), not True"):
        await local_thread.run(CAT, terminal=True)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(TypeError, match="terminal: run_on_terminal makes one"):
        async with local_thread.run_on_terminal(CAT, terminal=None):
            pytest.fail("the block is not entered")
    with pytest.raises(ValueError, match="process_group: a command with a terminal leads"):
        async with local_thread.run_on_terminal(CAT, limits=Limits(process_group=True)):
            pytest.fail("the block is not entered")
    pipe = await local_thread.pipe()
    async with pipe.read, pipe.write:
        with pytest.raises(OSError, match="Inappropriate ioctl") as refused:
            async with local_thread.run_on_terminal(CAT) as session:
                await session.interact(pipe.read, pipe.write)
        assert refused.value.filename is pipe.read
        async with local_thread.run_on_terminal(CAT) as session:
            with pytest.raises(OSError, match="Inappropriate ioctl") as refused:
                await session.pty.follow_size(pipe.read)
            assert refused.value.filename is pipe.read
    pty = await local_thread.pty()
    await pty.close()
    with pytest.raises(InvalidHandleError):
        await local_thread.run(CAT, terminal=pty)
    child = await local_thread.clone()
    async with child.process:
        pty = await child.pty()
        with pytest.raises(FDTableMismatchError, match="terminal: "):
            await local_thread.run(CAT, terminal=pty)
        await pty.close()
