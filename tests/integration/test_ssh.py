"""Threads by ssh, with a real sshd on the loopback device."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path as LocalPath

import pytest
import trio
from sshd import SSHD, Server, serving
from waiting import wait_until

from rsyscall.command import Command
from rsyscall.near import SyscallError
from rsyscall.path import Path
from rsyscall.stdlib import mkdtemp
from rsyscall.tasks.local import local_thread
from rsyscall.tasks.ssh import SSHCommand, SSHHost, make_local_ssh, make_ssh_host
from rsyscall.tasks.stdio import BootstrapError

from .far_ways import command
from .support import sh
from .test_stdio import descendants, nothing_left, use

__all__ = ["nothing_left"]

pytestmark = [pytest.mark.skipif(SSHD is None, reason="sshd is not installed"), pytest.mark.slow]


@pytest.fixture
def server(tmp_path: LocalPath) -> Iterator[Server]:
    """A server as it usually is."""
    with serving(tmp_path) as server:
        yield server


async def host_of(server: Server, **options: str) -> SSHHost:
    return await make_ssh_host(local_thread, lambda ssh: ssh.args(*server.words(**options)))


async def test_work(server: Server) -> None:
    host = await host_of(server)
    process, thread = await host.ssh(local_thread)
    async with thread:
        assert thread.carrier is process
        assert thread.environ["SSH_CONNECTION"].startswith("127.0.0.1 ")
        await use(thread)
        data = os.urandom(3_000_000)
        async with await mkdtemp(thread) as directory:
            path = Path(directory / "large")
            await thread.spit(path, data)
            assert LocalPath(path).read_bytes() == data
            done = await thread.run(Command("/bin/cat", ["cat", path], {}), capture=True)
            assert done.stdout == data
    assert process.process.death_state is not None
    await wait_until(lambda: not descendants(server.process.pid))


async def test_ssh_from_ssh(server: Server) -> None:
    host = await host_of(server)
    _, first = await host.ssh(local_thread)
    async with first:
        _, second = await host.ssh(first)
        async with second:
            assert (await second.run(sh("echo far away"), capture=True)).stdout == b"far away\n"
    await wait_until(lambda: not descendants(server.process.pid))


@pytest.mark.parametrize("victim", ["client", "server", "process"])
async def test_kill(server: Server, victim: str) -> None:
    """Whichever end dies: the calls fail, and nothing is left on either side."""
    _, thread = await (await host_of(server)).ssh(local_thread)
    async with thread:
        child = await thread.clone()
        await child.exec(Command("/bin/sleep", ["sleep", "inf"], {}))
        far = thread.task.near_process.id
        assert far in descendants(server.process.pid)
        # One of the server's: the parent of what it has executed.
        parent = int(LocalPath(f"/proc/{far}/stat").read_text().rpartition(")")[2].split()[1])
        victims = {"client": thread.carrier.pid, "server": parent, "process": far}
        os.kill(victims[victim], signal.SIGKILL)
        with pytest.raises(SyscallError):
            while True:
                await thread.task.getpid()
        await wait_until(lambda: not os.path.exists(f"/proc/{far}/fd/2"))
        await wait_until(lambda: not descendants(server.process.pid))


async def test_refusals(server: Server, tmp_path: LocalPath) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    host = await host_of(server, IdentityFile=str(tmp_path / "other"))
    with pytest.raises(BootstrapError, match=r"status 255.*Permission denied"):
        await host.ssh(local_thread)
    with pytest.raises(BootstrapError, match=r"status 255.*Host key verification failed"):
        await (await host_of(server, UserKnownHostsFile="/dev/null")).ssh(local_thread)
    server.process.terminate()
    server.process.wait()
    with pytest.raises(BootstrapError, match=r"status 255.*Connection refused"):
        await (await host_of(server)).ssh(local_thread)


async def test_forced_commands(tmp_path: LocalPath) -> None:
    with serving(tmp_path, "ForceCommand=/bin/sh") as server:
        _, thread = await (await host_of(server)).ssh(local_thread, by="shell")
        async with thread:
            await use(thread)
    with serving(tmp_path, "ForceCommand=echo You may not. >&2; exit 7") as server:
        with pytest.raises(BootstrapError, match=re.compile("status 7.*You may not", re.DOTALL)):
            await (await host_of(server)).ssh(local_thread)


async def test_server_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin")
    host = await make_local_ssh(local_thread)
    process, thread = await host.ssh(local_thread)
    async with thread:
        await use(thread)
    assert process.process.death_state is not None
    monkeypatch.undo()


async def test_a_hundred_hosts(tmp_path: LocalPath) -> None:
    """Connected at once, a few at a time; one that never answers delays no other, and can be given up."""
    hosts, started, dead = 100, trio.CapacityLimiter(8), 0
    answered: list[int] = []
    all_connected = trio.Event()
    with (
        serving(tmp_path, "MaxStartups=200") as server,
        socket.create_server(("127.0.0.1", 0)) as silent,
    ):

        async def ask(host: SSHHost) -> None:
            async with started:
                _, thread = await host.ssh(local_thread)
            async with thread:
                answered.append(thread.task.near_process.id)
                if len(answered) == hosts:
                    all_connected.set()
                await all_connected.wait()
                assert await thread.task.getpid() == thread.task.near_process

        async def ask_the_dead(host: SSHHost) -> None:
            nonlocal dead
            async with started:
                with trio.move_on_after(2):
                    await host.ssh(local_thread)
            dead += 1

        ordinary = await host_of(server)
        port = str(silent.getsockname()[1])
        with trio.fail_after(300):
            async with trio.open_nursery() as nursery:
                for number in range(hosts):
                    if number % 40 == 0:
                        nursery.start_soon(ask_the_dead, await host_of(server, Port=port))
                    nursery.start_soon(ask, ordinary)
        assert len(set(answered)) == hosts
        assert dead == 3
        await wait_until(lambda: not descendants(server.process.pid))


async def test_commands() -> None:
    ssh = SSHCommand.make(Path("/usr/bin/ssh"))
    assert ssh.ssh_options({"Port": "5", "User": b"me"}).arguments == ["ssh", "-o", "Port=5", "-o", "User=me"]
    proxied = ssh.proxy_command(command("printf", "100 %d"))
    assert proxied.arguments[-1] == f"ProxyCommand={shutil.which('printf')} '100 %%d'"
    assert ssh.local_forward("/a", "/b").arguments == ["ssh", "-L", "/a:/b"]
