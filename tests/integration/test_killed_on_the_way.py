"""A process that is killed on its way to us: an error says so, promptly, and nothing is left on either side.

strace kills it before each of its system calls in turn, until it gets far enough to answer one of ours.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path as LocalPath

import pytest
import trio
from waiting import wait_until

from rsyscall.command import Command
from rsyscall.native import stub_path
from rsyscall.near import SyscallError
from rsyscall.path import Path
from rsyscall.tasks.local import local_thread
from rsyscall.tasks.persistent import clone_persistent
from rsyscall.tasks.stdin_bootstrap import BootstrapError, stdin_bootstrap
from rsyscall.tasks.stub import StubServer, StubThread
from rsyscall.thread import Thread

from .support import sh
from .test_stdio import descendants

STRACE = shutil.which("strace")
# More system calls than it makes until it has answered one of ours.
MOST = 200

needs_strace = [
    pytest.mark.skipif(STRACE is None, reason="package: strace is not installed"),
    pytest.mark.needs("ptrace"),
]

pytestmark = pytest.mark.slow


def killed_at(step: int, *command: str) -> list[str]:
    """The words of a command that runs another one, and kills it before its system call of this number."""
    return [STRACE or "", "-qq", "-o", "/dev/null", "-e", f"inject=all:signal=KILL:when={step}", *command]


def decided(process: subprocess.Popen[bytes], accepted: dict[str, StubThread]) -> bool:
    """Whether it is killed, or waits for what we ask of it."""
    return bool(accepted) or process.poll() is not None


async def accept_until(server: StubServer, last: str, accepted: dict[str, StubThread]) -> None:
    """Accept processes, and list them by their last argument, until that is `last`."""
    while last not in accepted:
        arguments, thread = await server.accept()
        accepted[arguments[-1]] = thread


async def answers(thread: Thread) -> bool:
    """Whether the process lives long enough to answer."""
    try:
        await thread.task.getppid()
    except SyscallError:
        return False
    return True


@pytest.fixture(autouse=True)
async def no_process_left() -> AsyncIterator[None]:
    before = descendants(os.getpid())
    yield
    await wait_until(lambda: set(descendants(os.getpid())) <= set(before))


class TestBeforeEachCall:
    pytestmark = needs_strace

    async def test_behind_a_command_that_keeps_its_input(self) -> None:
        said: list[str] = []
        lost = 0
        for step in range(1, MOST):
            words = killed_at(step, str(stub_path()), "stdin")
            with trio.fail_after(30):
                try:
                    _, thread = await stdin_bootstrap(local_thread, Command(words[0], words, {}))
                except BootstrapError as error:
                    said.append(str(error))
                    continue
                async with thread:
                    if await answers(thread):
                        break
                    lost += 1
        else:
            raise AssertionError("it never answered")
        assert len(said) > 5
        assert all("it was killed by KILL" in message for message in said)
        assert lost

    async def test_in_the_place_of_a_program(self, tmp_path: LocalPath) -> None:
        """The next one that is executed is accepted; one that is killed holds up nothing."""
        gone = 0
        async with await StubServer.make(local_thread, Path(tmp_path), "program") as server:
            program = str(tmp_path / "program")
            for step in range(1, MOST):
                accepted: dict[str, StubThread] = {}
                with subprocess.Popen(killed_at(step, program, "killed")) as killed:
                    with trio.fail_after(30):
                        async with trio.open_nursery() as nursery:
                            nursery.start_soon(accept_until, server, "next", accepted)
                            await wait_until(partial(decided, killed, accepted))
                            following = subprocess.Popen([program, "next"])
                    async with accepted["next"] as thread:
                        assert await answers(thread)
                        await thread.exit(7)
                    assert following.wait(20) == 7
                    answered = False
                    if "killed" in accepted:
                        async with accepted["killed"] as thread:
                            answered = await answers(thread)
                if answered:
                    break
                gone += 1
            else:
                raise AssertionError("it never answered")
        assert gone > 5
        assert os.listdir(tmp_path) == []


async def test_one_that_would_be_persistent(tmp_path: LocalPath) -> None:
    """At any time, from the clone on."""
    path = tmp_path / "socket"
    failed = 0

    async def kill_after(turns: int, before: set[int]) -> None:
        while not (made := set(descendants(os.getpid())) - before):  # noqa: ASYNC110 # nothing tells of it
            await trio.sleep(0)
        for _ in range(turns):
            await trio.sleep(0)
        for pid in made:
            os.kill(pid, signal.SIGKILL)

    for step in range(100):
        before = set(descendants(os.getpid()))
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(kill_after, step, before)
                try:
                    thread = await clone_persistent(local_thread, path)
                except (OSError, SyscallError):
                    failed += 1
                    continue
                assert thread.process is not None
                async with thread.process:
                    with pytest.raises(SyscallError):
                        while True:
                            await thread.task.getppid()
        path.unlink(missing_ok=True)
    assert failed
    assert os.listdir(tmp_path) == []
    # Where they were, the next one can be.
    thread = await clone_persistent(local_thread, path)
    assert thread.process is not None
    async with thread.process:
        assert (await thread.run(sh("exit 0"))).clean()
