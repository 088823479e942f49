"""A thread at the other end of a command that keeps its standard input, such as `sudo`.

The command executes `rsyscall-stub stdin` in the end, with the standard input that it was given. That is a
Unix socket, over which the program gets sockets of ours. So unlike `rsyscall.tasks.stdio` it needs no shell,
writes no file, and descriptors can be passed to the process; its standard output and error are those of the
command. But the program has to be there, and the command may not copy its input, as `ssh` does.

What comes back is not trusted: see `rsyscall.tasks._received`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from rsyscall.child_process import end_process
from rsyscall.path import Path
from rsyscall.stub_program import stub_path
from rsyscall.sys.socket import AF, SOCK
from rsyscall.sys.wait import W
from rsyscall.tasks._carrier import BootstrapError, describe_end, end_carrier, kill_carrier
from rsyscall.tasks._received import Offer, PeerError, ReceivedThread
from rsyscall.tasks.local import local_thread

if TYPE_CHECKING:
    from rsyscall.command import Command
    from rsyscall.handle import FileDescriptor
    from rsyscall.monitor import AsyncChildProcess
    from rsyscall.thread import Thread

__all__ = ["BootstrapError", "StdinThread", "stdin_bootstrap", "stdin_bootstrap_path_with_nix"]

# How long we wait for a command that has closed its input to exit, in seconds.
_TIME_TO_EXIT = 0.5


class StdinThread(ReceivedThread):
    """A process at the other end of a command. As an async context manager it is closed in the end.

    Its standard input is empty.

    Attributes:
        carrier: the command, a child of the thread that it was started from.
    """

    carrier: AsyncChildProcess

    async def close(self) -> None:
        """Kill the process, and wait for the command. It is done even when cancelled."""
        with trio.CancelScope(shield=True):
            await super().close()
            await end_carrier(self.carrier)


async def stdin_bootstrap_path_with_nix(thread: Thread) -> Path:
    """Return the path of `rsyscall-stub` where the thread is; deployed there with Nix, if it is elsewhere.

    Elsewhere has to have the same architecture. `sudo.args(path, "stdin")` is a command for
    `stdin_bootstrap` then.

    Raises:
        ExecutableNotFound: there is no `nix-store`, here or there.
        OSError, CalledProcessError: see `rsyscall.nix.deploy`.
    """
    # Not with the module: few programs use it.
    from rsyscall.nix import add_to_store, deploy

    program = Path(stub_path())
    if thread is local_thread:
        return program
    return Path(await deploy(thread, await add_to_store(program)))


# A command that was started must not get lost because of a KeyboardInterrupt.
@trio.lowlevel.enable_ki_protection
async def stdin_bootstrap(
    parent: Thread, bootstrap_command: Command
) -> tuple[AsyncChildProcess, StdinThread]:
    """Make a thread of the process that a command leads to.

    The process ends when the thread is closed, and when this program or its parent process does. There is no
    limit of time: use `trio.fail_after`. Passwords have to be asked for at a terminal.

    Args:
        parent: starts the command.
        bootstrap_command: executes `rsyscall-stub stdin` in the end, with its own standard input:
            `sudo.args(stub_path(), "stdin")` with `stub_path` from `rsyscall.native`.

    Returns:
        The command, which may be another process than that of the thread; and the thread.

    Raises:
        BootstrapError: the command did not get there. What it said went to the standard error of `parent`.
        OSError: the command could not be executed.

    Cancellation: the command is ended.
    """
    carrier: AsyncChildProcess | None = None
    offer = await Offer.make(parent)
    try:
        carrier = await _start(parent, bootstrap_command, offer)
        try:
            _, hello, fds = await offer.receive()
            thread = await offer.make_thread(StdinThread, hello, fds)
        except PeerError as error:
            reason = f"it did not lead to rsyscall-stub: {error}"
            with trio.move_on_after(_TIME_TO_EXIT):
                reason += f" (it {describe_end(await carrier.waitpid(W.EXITED))})"
            raise BootstrapError(bootstrap_command, reason, b"", b"") from error
    except BaseException:
        with trio.CancelScope(shield=True):
            await offer.close()
            if carrier is not None:
                await kill_carrier(carrier)
        raise
    thread.carrier = carrier
    return carrier, thread


async def _start(parent: Thread, command: Command, offer: Offer) -> AsyncChildProcess:
    """Start the command with a socket as its standard input, in which the offer waits."""
    pair = await parent.socketpair(AF.UNIX, SOCK.STREAM | SOCK.CLOEXEC)
    theirs: FileDescriptor = pair.second
    try:
        # Before the clone: no copy of what is sent may stay elsewhere.
        await offer.send(pair.first)
        child = await parent.clone()
        try:
            await child.inherit_fd(theirs).dup2(child.stdin)
            return await child.exec(command)
        except BaseException:
            await end_process(child.process)
            raise
    finally:
        with trio.CancelScope(shield=True):
            await theirs.invalidate()
