"""Run a command on many hosts at once, in one program. One that is slow or dead delays no other.

`20_many_hosts.py COMMAND HOST...`; a HOST may have options of ssh, in the same word.
"""

from __future__ import annotations

import shlex
import sys

import trio

from rsyscall import Command, local_thread
from rsyscall.completed import CommandTimeoutError
from rsyscall.near import SyscallError
from rsyscall.tasks.ssh import make_ssh_host
from rsyscall.tasks.stdio import BootstrapError

# Most of the work is that of ssh, which encrypts: this many connections are being made at a time.
AT_ONCE = 16
# In seconds, for a connection, and for the command.
PATIENCE = 60
FAILURES = (BootstrapError, CommandTimeoutError, OSError, SyscallError, trio.TooSlowError)


async def ask(host: str, command: Command, connecting: trio.CapacityLimiter) -> str:
    """Run the command on a host; returns its output, and how it ended unless it succeeded."""
    try:
        ssh = await make_ssh_host(local_thread, lambda ssh: ssh.args(*shlex.split(host)))
        async with connecting:
            with trio.fail_after(PATIENCE):
                _, there = await ssh.ssh(local_thread)
        async with there:
            done = await there.run(command, stdin=b"", capture=True, check=False, timeout=PATIENCE)
    except FAILURES as error:
        return f"{type(error).__name__} {error}".strip()
    output = b"".join(filter(None, [done.stdout, done.stderr])).decode(errors="replace").strip()
    return output if done.clean() else f"{output} ({done.describe()})"


async def main(script: str, hosts: list[str]) -> None:
    command = Command("/bin/sh", ["sh", "-c", script], {})
    connecting = trio.CapacityLimiter(AT_ONCE)

    async def show(host: str) -> None:
        answer = await ask(host, command, connecting)
        print(f"{host.split()[-1]}: {answer}", flush=True)

    async with trio.open_nursery() as nursery:
        for host in hosts:
            nursery.start_soon(show, host)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2:])
