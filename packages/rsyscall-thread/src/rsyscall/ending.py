"""Ending a command, and waiting for its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio

from rsyscall.signal import SIG
from rsyscall.sys.wait import W

if TYPE_CHECKING:
    from rsyscall.monitor import AsyncChildProcess
    from rsyscall.sys.wait import ChildState

__all__ = ["GRACE", "end_command", "wait_for_end"]

GRACE = 5.0
"""How long a command that is to end has between SIGTERM and SIGKILL, in seconds, unless `grace` says it."""


class Descendants(Protocol):
    """The processes that a command becomes: a `Tree` of run_tree.py."""

    async def terminate(self, child: AsyncChildProcess) -> None:
        """Send SIGTERM."""
        ...

    async def exited(self, child: AsyncChildProcess) -> None:
        """End the others: the command has exited, and has not been reaped."""
        ...

    async def reaped(self) -> None:
        """End the others: the command has been reaped."""
        ...


async def end_command(child: AsyncChildProcess, grace: float, tree: Descendants | None = None) -> ChildState:
    """Send SIGTERM, wait for the grace, send SIGKILL, and reap the child; shielded from cancellation.

    Raises:
        PermissionError: we may not signal it.
        ChildProcessError: other code reaped it.
        SyscallError: the process whose child it is has gone.
    """
    with trio.CancelScope(shield=True):
        if grace > 0:
            await (child.kill(SIG.TERM) if tree is None else tree.terminate(child))
            with trio.move_on_after(grace):
                return await wait_for_end(child, tree)
        await child.kill(SIG.KILL)
        return await wait_for_end(child, tree)
    raise AssertionError("this scope is not cancelled")


async def wait_for_end(child: AsyncChildProcess, tree: Descendants | None) -> ChildState:
    """Wait until the command has exited, end its descendants, if they are to end with it, and reap it."""
    if tree is None:
        return await child.waitpid(W.EXITED)
    if child.process.death_state is None:
        await child.wait_exited()
        with trio.CancelScope(shield=True):
            await tree.exited(child)
            await child.waitpid(W.EXITED)
    with trio.CancelScope(shield=True):
        state = await child.waitpid(W.EXITED)
        await tree.reaped()
        return state
    raise AssertionError("this scope is not cancelled")
