"""Threads on other hosts, by ssh.

One ssh process per host, and the calls go over its standard input and output: see `rsyscall.tasks.stdio`.
There are no forwarded sockets and no files on either side, and nothing has to be installed on the other host.

The caller gives a function that completes an ssh command up to and including the host. So every feature of
ssh works as it is: its configuration, jump hosts, a shared connection (ControlMaster), agents.

A connection that is silently lost is noticed by ssh if it is told to: `ServerAliveInterval=15` in its
configuration or with `ssh_options`. It exits then, and so the thread ends.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeVar

from rsyscall.command import Command
from rsyscall.fcntl import O
from rsyscall.path import Path
from rsyscall.stdlib import mkdtemp
from rsyscall.tasks.stdio import StdioThread, stdio_bootstrap

if TYPE_CHECKING:
    from rsyscall.handle import FileDescriptor
    from rsyscall.monitor import AsyncChildProcess
    from rsyscall.signal import SIG
    from rsyscall.thread import Thread

__all__ = [
    "SSHCommand",
    "SSHDCommand",
    "SSHDExecutables",
    "SSHExecutables",
    "SSHHost",
    "make_local_ssh",
    "make_local_ssh_from_executables",
    "make_ssh_host",
]

T_ssh_command = TypeVar("T_ssh_command", bound="SSHCommand")
Options = Mapping[str, "str | bytes | os.PathLike[str] | os.PathLike[bytes]"]


def _words(options: Options) -> list[str]:
    return [word for name, value in options.items() for word in ("-o", f"{name}={os.fsdecode(value)}")]


class SSHCommand(Command):
    """An ssh command. manpage: ssh(1), ssh_config(5)."""

    def ssh_options(self, config: Options) -> SSHCommand:
        """Return a command with more options, as they are named in ssh_config(5)."""
        return self.args(*_words(config))

    def proxy_command(self, command: Command) -> SSHCommand:
        """Return a command that reaches the host through the standard input and output of another one."""
        # In it, ssh replaces what begins with a percent sign.
        return self.ssh_options({"ProxyCommand": str(command).replace("%", "%%")})

    def local_forward(self, local_socket: str, remote_socket: str) -> SSHCommand:
        """Return a command that forwards a Unix socket here to one there."""
        return self.args("-L", f"{local_socket}:{remote_socket}")

    @classmethod
    def make(cls: type[T_ssh_command], executable_path: Path) -> T_ssh_command:
        """Return the command without arguments."""
        return cls(executable_path, ["ssh"], {})


class SSHDCommand(Command):
    """An sshd command. manpage: sshd(8), sshd_config(5)."""

    def sshd_options(self, config: Options) -> SSHDCommand:
        """Return a command with more options, as they are named in sshd_config(5)."""
        return self.args(*_words(config))

    @classmethod
    def make(cls, executable_path: Path) -> SSHDCommand:
        """Return the command without arguments. It has to be executed by an absolute path."""
        return cls(executable_path, [executable_path], {})


async def _with_nix(thread: Thread, program: str) -> Command:
    """A program of this machine's Nix store, deployed; or the one that the thread has."""
    # Not with the module: few programs use it.
    from rsyscall.nix import deploy, local_package

    try:
        package = await local_package(program)
    except OSError as error:
        # Not installed, or not from a store.
        if error.errno not in (errno.ENOENT, errno.EINVAL):
            raise
        return await thread.environ.which(program)
    return (await deploy(thread, package)).bin(program)


@dataclass
class SSHExecutables:
    """What it takes to connect.

    Attributes:
        base_ssh: the ssh command, without a host.
    """

    base_ssh: SSHCommand

    @classmethod
    async def with_nix(cls, thread: Thread) -> SSHExecutables:
        """The ssh of this machine, deployed to where the thread is if it is from a Nix store.

        If it is from elsewhere, or there is none, it is the ssh that the thread has in PATH.

        Raises:
            ExecutableNotFound: the thread has none either.
            OSError, CalledProcessError: see `rsyscall.nix.deploy`.
        """
        return cls(SSHCommand.make(Path((await _with_nix(thread, "ssh")).executable_path)))

    def host(self, to_host: Callable[[SSHCommand], SSHCommand]) -> SSHHost:
        """A host to connect to; see `SSHHost`."""
        return SSHHost(self, to_host)


@dataclass
class SSHDExecutables:
    """What it takes to run a server.

    Attributes:
        ssh_keygen: makes keys.
        sshd: the server.
    """

    ssh_keygen: Command
    sshd: SSHDCommand

    @classmethod
    async def with_nix(cls, thread: Thread) -> SSHDExecutables:
        """As `SSHExecutables.with_nix`."""
        keygen = await _with_nix(thread, "ssh-keygen")
        return cls(keygen, SSHDCommand.make(Path((await _with_nix(thread, "sshd")).executable_path)))


@dataclass
class SSHHost:
    """A host to connect to.

    Attributes:
        executables: the ssh command.
        to_host: completes it, up to and including the name of the host.
    """

    executables: SSHExecutables
    to_host: Callable[[SSHCommand], SSHCommand]
    _keys: tuple[FileDescriptor, ...] = field(default=(), repr=False)

    async def ssh(
        self,
        thread: Thread,
        *,
        by: Literal["argument", "line", "shell"] = "argument",
        ignore_signals: Collection[SIG] = (),
    ) -> tuple[AsyncChildProcess, StdioThread]:
        """Connect, and make a thread of a process on the host. Close the thread in the end.

        Args:
            thread: executes ssh.
            by: how the program gets there; see `stdio_bootstrap`. "shell" is for a server that runs a shell
                whatever it is asked for (`ForceCommand`).
            ignore_signals: that ssh ignores.

        Returns:
            The ssh process, and the thread.

        Raises:
            BootstrapError: ssh did not get there, as when the host key is not known or the user is refused;
                or the shell of the user on the host does not run commands. It quotes what they said.

        Cancellation: ssh is ended.
        """
        # No terminal, whatever the configuration says: it would change the bytes.
        command = self.to_host(self.executables.base_ssh.ssh_options({"RequestTTY": "no"}))
        there = await stdio_bootstrap(thread, command, by=by, login_shell=True, ignore_signals=ignore_signals)
        return there.carrier, there


async def make_ssh_host(thread: Thread, to_host: Callable[[SSHCommand], SSHCommand]) -> SSHHost:
    """A host to connect to with the ssh in PATH.

    Args:
        thread: where ssh is looked for.
        to_host: completes an ssh command, up to and including the name of the host:
            `lambda ssh: ssh.args("-p", "2222", "user@host")`.
    """
    found = await thread.environ.which("ssh")
    return SSHExecutables(SSHCommand.make(Path(found.executable_path))).host(to_host)


async def make_local_ssh_from_executables(
    thread: Thread, executables: SSHExecutables, sshd_executables: SSHDExecutables
) -> SSHHost:
    """A host that is this one: an sshd of our own, started by ssh, with a key that nothing else has.

    It listens nowhere, and ends with the connection. For tests and experiments.

    Args:
        thread: makes the key, and executes ssh; it has to live as long as the host is used.
    """
    async with await mkdtemp(thread, "ssh") as directory:
        key = Path(directory / "key")
        await thread.run(
            sshd_executables.ssh_keygen.args("-t", "ed25519", "-q", "-N", "", "-C", "", "-f", key)
        )
        private = await thread.task.open(await thread.ptr(key), O.RDONLY | O.CLOEXEC)
        public = await thread.task.open(await thread.ptr(Path(f"{key}.pub")), O.RDONLY | O.CLOEXEC)
    pid = (await thread.task.getpid()).id
    # Both files are gone but for their descriptors.
    private_path, public_path = (f"/proc/{pid}/fd/{int(fd.near)}" for fd in (private, public))
    sshd = sshd_executables.sshd.args("-i", "-e", "-f", "/dev/null").sshd_options(
        {
            "LogLevel": "ERROR",
            "HostKey": private_path,
            "AuthorizedKeysFile": public_path,
            "StrictModes": "no",
            "PrintLastLog": "no",
            "PrintMotd": "no",
        }
    )

    def to_host(ssh: SSHCommand) -> SSHCommand:
        options = {
            "LogLevel": "ERROR",
            "IdentityFile": private_path,
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
        }
        return ssh.args("-F", "/dev/null").ssh_options(options).proxy_command(sshd).args("localhost")

    return SSHHost(executables, to_host, (private, public))


async def make_local_ssh(thread: Thread) -> SSHHost:
    """As `make_local_ssh_from_executables`, with the ssh, ssh-keygen and sshd that are installed."""
    ssh = await thread.environ.which("ssh")
    keygen = await thread.environ.which("ssh-keygen")
    sshd = await thread.environ.which("sshd")
    return await make_local_ssh_from_executables(
        thread,
        SSHExecutables(SSHCommand.make(Path(ssh.executable_path))),
        SSHDExecutables(keygen, SSHDCommand.make(Path(sshd.executable_path))),
    )
