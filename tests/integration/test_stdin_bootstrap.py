"""Threads at the other end of commands that keep their standard input."""

from __future__ import annotations

import os
import shutil

import pytest
from waiting import wait_until

from rsyscall.command import Command
from rsyscall.native import stub_path
from rsyscall.near import SYS, SyscallError
from rsyscall.tasks.local import local_thread
from rsyscall.tasks.stdin_bootstrap import BootstrapError, stdin_bootstrap

from .support import sh


@pytest.mark.needs("any user id")
async def test_sudo() -> None:
    sudo = shutil.which("sudo")
    if sudo is None:
        pytest.skip("sudo is not installed")
    carrier, thread = await stdin_bootstrap(
        local_thread, Command(sudo, ["sudo", "-n", stub_path(), "stdin"], {})
    )
    async with thread:
        assert thread.carrier is carrier
        assert await thread.read_to_eof(thread.stdin) == b""
        pipe = await local_thread.pipe()
        [theirs] = await thread.connection.move_fds([pipe.write])  # type: ignore[attr-defined] # it passes them
        await thread.spit(theirs, "passed")
        assert await local_thread.read_to_eof(pipe.read) == b"passed"
        await pipe.read.close()
        pid = (await thread.task.getpid()).id
    assert not os.path.exists(f"/proc/{pid}")


@pytest.mark.parametrize("script", ["exit 3", "read line; exit 3", "kill -9 $$"])
async def test_commands_that_do_not_get_there(script: str) -> None:
    with pytest.raises(BootstrapError, match=r"did not lead to rsyscall-stub: .*the stream ended"):
        await stdin_bootstrap(local_thread, sh(script))


async def test_the_command_is_killed() -> None:
    command = Command("/bin/sh", ["sh", "-c", '"$0" stdin; exit', stub_path()], {})
    carrier, thread = await stdin_bootstrap(local_thread, command)
    async with thread:
        pid = (await thread.task.getpid()).id
        async with carrier:
            pass
        with pytest.raises(SyscallError):
            await thread.task.sysif.syscall(SYS.pause)
        await wait_until(lambda: not os.path.exists(f"/proc/{pid}"))
