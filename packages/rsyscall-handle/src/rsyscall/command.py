"""Commands: what to execute, with which arguments and changes to the environment."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import TypeVar

__all__ = ["Command"]

T_command = TypeVar("T_command", bound="Command")
StrPath = str | os.PathLike[str]


class Command:
    """An executable with its arguments and changes to the environment. Only a description; nothing is run.

    Objects are not changed: `args` and `env` return new ones, of the same class.

    Args:
        executable_path: file to execute.
        arguments: all arguments, beginning with the name the program is called by (argv[0]).
        env_updates: environment variables to be set in addition to, or instead of, those that are inherited.
    """

    def __init__(
        self, executable_path: StrPath, arguments: list[StrPath], env_updates: Mapping[str, StrPath]
    ) -> None:
        self.executable_path = executable_path
        self.arguments = arguments
        self.env_updates = env_updates

    def args(self: T_command, *args: StrPath) -> T_command:
        """Return a command with more arguments behind the ones there are."""
        return type(self)(self.executable_path, [*self.arguments, *args], self.env_updates)

    def env(
        self: T_command,
        env_updates: Mapping[str, StrPath] = {},  # it is not modified
        **updates: StrPath,
    ) -> T_command:
        """Return a command with more environment variables.

        Args:
            env_updates: variables and their values.
            updates: the same, for names that are identifiers; these win.
        """
        return type(self)(
            self.executable_path, self.arguments, {**self.env_updates, **env_updates, **updates}
        )

    def in_shell_form(self) -> str:
        """Return the command as one would type it, without any quoting; for people to read.

        It is not safe to give to a shell. `str()` quotes.
        """
        return " ".join(
            [
                *(f"{key}={os.fspath(value)}" for key, value in self.env_updates.items()),
                os.fspath(self.executable_path),
                *(os.fspath(arg) for arg in self.arguments[1:]),
            ]
        )

    def __str__(self) -> str:
        """Return the command quoted for a POSIX shell; argv[0] is left out, as it cannot be said there."""
        return " ".join(
            [
                *(f"{key}={shlex.quote(os.fspath(value))}" for key, value in self.env_updates.items()),
                shlex.quote(os.fspath(self.executable_path)),
                *(shlex.quote(os.fspath(arg)) for arg in self.arguments[1:]),
            ]
        )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.executable_path!r}, {self.arguments!r}, {dict(self.env_updates)!r})"
        )
