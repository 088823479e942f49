"""The ways to get a thread that lead through other programs: shells, `sudo`, containers, ssh."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from sshd import SSHD, serving

from rsyscall.command import Command
from rsyscall.tasks.local import local_thread
from rsyscall.tasks.persistent import clone_persistent
from rsyscall.tasks.ssh import make_ssh_host
from rsyscall.tasks.stdio import stdio_bootstrap
from rsyscall.thread import Thread

__all__ = ["FAR", "command"]

Open = Callable[[], AbstractAsyncContextManager[Thread]]

# A root in which there is nothing but busybox, and what tests look at: /proc, /dev, and two directories.
_BUSYBOX_ROOT = """
set -e
mkdir -p "$0/bin" "$0${1%/*}"
cp "$1" "$0$1"
"$1" --install -s "$0/bin"
for place in /proc /dev "$TMPDIR" "$PWD"; do
    mkdir -p "$0$place"
    mount --bind "$place" "$0$place"
done
exec chroot "$0" /bin/sh -c 'cd "$0" && eval "$1"' "$PWD" "$2"
"""


def command(*words: str) -> Command:
    """A command that is looked up in PATH."""
    path = shutil.which(words[0])
    if path is None:
        pytest.skip(f"{words[0]} is not installed")
    return Command(path, words, {})


def _behind(*words: str) -> Open:
    @contextlib.asynccontextmanager
    async def open() -> AsyncIterator[Thread]:
        carrier = command(*(str(os.getpid()) if word == "self" else word for word in words))
        async with await stdio_bootstrap(local_thread, carrier) as thread:
            yield thread

    return open


@contextlib.asynccontextmanager
async def _in_busybox_alone() -> AsyncIterator[Thread]:
    busybox = command("busybox").executable_path
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        carrier = command("unshare", "--mount", "sh", "-c", _BUSYBOX_ROOT, directory, busybox)
        async with await stdio_bootstrap(local_thread, carrier) as thread:
            yield thread


def _over_ssh(*options: str, hosts: int = 1, persistent: bool = False) -> Open:
    """From this machine to itself.

    Args:
        options: of the server.
        hosts: how often, each time from the last one.
        persistent: whether it is a persistent process there, over its second connection.
    """

    @contextlib.asynccontextmanager
    async def open() -> AsyncIterator[Thread]:
        if SSHD is None:
            pytest.skip("sshd is not installed")
        async with contextlib.AsyncExitStack() as stack:
            directory = stack.enter_context(tempfile.TemporaryDirectory())
            server = stack.enter_context(serving(Path(directory), *options))
            host = await make_ssh_host(local_thread, lambda ssh: ssh.args(*server.words()))
            thread: Thread = local_thread
            for _ in range(hosts):
                _, far = await host.ssh(thread)
                thread = await stack.enter_async_context(far)
            # It begins in the directory of the user.
            await thread.task.chdir(await thread.ptr(os.getcwd()))
            if not persistent:
                yield thread
                return
            process = await clone_persistent(thread, f"{directory}/socket")
            try:
                await process.make_persistent()
                await process.reconnect(thread)
                yield process
            finally:
                await process.end()

    return open


_ROOT = ("CAP_SYS_ADMIN",)

FAR: dict[str, tuple[Open, tuple[str, ...]]] = {
    "stdio-dash": (_behind("dash", "-c"), ()),
    "stdio-busybox": (_behind("busybox", "sh", "-c"), ()),
    "stdio-sudo": (_behind("sudo", "-n", "sh", "-c"), _ROOT),
    "stdio-nsenter": (_behind("nsenter", "--target", "self", "--net", "--uts", "sh", "-c"), _ROOT),
    "stdio-busybox-root": (_in_busybox_alone, (*_ROOT, "CAP_SYS_CHROOT", "mount namespaces")),
    "ssh": (_over_ssh(), ()),
    "ssh-without-forwarding": (_over_ssh("DisableForwarding=yes"), ()),
    "ssh-from-ssh": (_over_ssh(hosts=2), ()),
    "ssh-persistent": (_over_ssh(persistent=True), ()),
}
"""How to open each, and what the place has to permit."""
