"""The command that leads to a process of ours, and the error when it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from rsyscall.near import SyscallError
from rsyscall.signal import SIG
from rsyscall.sys.wait import W

if TYPE_CHECKING:
    from rsyscall.command import Command
    from rsyscall.monitor import AsyncChildProcess
    from rsyscall.sys.wait import ChildState

__all__ = ["BootstrapError", "describe_end", "end_carrier", "kill_carrier"]

# How long a command may take to exit when the process that it carried us to is gone, in seconds.
_TIME_TO_EXIT = 5.0


class BootstrapError(Exception):
    """A command did not lead to a process that we could drive.

    Attributes:
        command: the command, as it was given.
        reason: why, with what it said.
        output: what came from its standard output.
        errors: the end of what came from its standard error.
    """

    def __init__(self, command: Command, reason: str, output: bytes, errors: bytes) -> None:
        self.command = command
        self.output = output
        self.errors = errors
        said = [
            f"{name}: {_quote(data)}"
            for name, data in (("standard error", errors), ("standard output", output))
            if data.strip()
        ]
        self.reason: str = "; ".join([reason, *said])
        super().__init__(f"{command}: {self.reason}")


def _quote(data: bytes) -> str:
    text = data.decode(errors="backslashreplace").strip()
    shown = "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text)
    return shown if len(shown) <= 1000 else "..." + shown[-1000:]


async def end_carrier(carrier: AsyncChildProcess) -> ChildState | None:
    """Wait until a command has exited, whose input has ended; kill it if that takes too long."""
    with trio.CancelScope(shield=True):
        try:
            with trio.move_on_after(_TIME_TO_EXIT):
                return await carrier.waitpid(W.EXITED)
            async with carrier:
                pass
        except (SyscallError, PermissionError):
            pass  # its parent is gone; or it is root's, and we are not
    return None


async def kill_carrier(carrier: AsyncChildProcess) -> None:
    """Kill a command, if we may, and wait for it."""
    try:
        async with carrier:
            pass
    except PermissionError:
        await end_carrier(carrier)  # the end of its input tells it


def describe_end(state: ChildState) -> str:
    """How a command ended, in words that follow "it"."""
    if state.exit_status is not None:
        return f"exited with status {state.exit_status}"
    return f"was killed by {state.sig.name if isinstance(state.sig, SIG) else state.sig}"
