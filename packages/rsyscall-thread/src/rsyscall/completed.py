"""What comes of running a command: `CompletedCommand`, and the errors of `Thread.run`."""

from __future__ import annotations

from rsyscall.command import Command
from rsyscall.near.light_dataclass import light_dataclass
from rsyscall.sys.wait import ChildState

__all__ = ["CommandTimeoutError", "CompletedCommand", "OutputLimitError"]


@light_dataclass(frozen=True)
class CompletedCommand(ChildState):
    """How a command ended, and its output. `describe` says it in words, `usage` is what it has used.

    Args:
        code, pid, uid, exit_status, sig: see `ChildState`.
        command: the command.
        stdout: its output, if that was captured.
        stderr: its error output, if that was captured.
        truncated: whether there was more output than the limit, so that some is missing here.
    """

    command: Command
    stdout: bytes | None = None
    stderr: bytes | None = None
    truncated: bool = False

    @classmethod
    def of(
        cls,
        state: ChildState,
        command: Command,
        stdout: bytes | None = None,
        stderr: bytes | None = None,
        truncated: bool = False,
    ) -> CompletedCommand:
        """The result for a command whose process has ended like this."""
        completed = object.__new__(cls)
        # Every run comes here, and the constructor of a frozen dataclass makes a call for each attribute.
        attributes = completed.__dict__
        attributes |= state.__dict__
        attributes["command"] = command
        attributes["stdout"] = stdout
        attributes["stderr"] = stderr
        attributes["truncated"] = truncated
        return completed


class CommandTimeoutError(TimeoutError):
    """A command took longer than it was given, and has been ended.

    Args:
        result: how it ended then, with the output up to that moment.
        timeout: how long it was given, in seconds.
    """

    def __init__(self, result: CompletedCommand, timeout: float) -> None:
        super().__init__(result, timeout)
        self.result = result
        self.timeout = timeout

    @property
    def command(self) -> Command:
        """The command."""
        return self.result.command

    @property
    def stdout(self) -> bytes | None:
        """Its output so far, if that was captured."""
        return self.result.stdout

    @property
    def stderr(self) -> bytes | None:
        """Its error output so far, if that was captured."""
        return self.result.stderr

    def __str__(self) -> str:
        return (
            f"command `{self.command}` took longer than {self.timeout} seconds; it {self.result.describe()}"
        )


class OutputLimitError(Exception):
    """A command had more output than was allowed, and has been ended.

    Args:
        result: how it ended then, with the output up to the limit.
        stream: which output it was: "stdout" or "stderr".
        limit: how many bytes were allowed.
    """

    def __init__(self, result: CompletedCommand, stream: str, limit: int) -> None:
        super().__init__(result, stream, limit)
        self.result = result
        self.stream = stream
        self.limit = limit

    @property
    def command(self) -> Command:
        """The command."""
        return self.result.command

    def __str__(self) -> str:
        return (
            f"command `{self.command}` wrote more than {self.limit} bytes to {self.stream}; "
            f"it {self.result.describe()}"
        )
