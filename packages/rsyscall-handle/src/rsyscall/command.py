"""Commands: what to execute, with which arguments and changes to the environment."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import TypeVar

__all__ = ["Command"]

T_command = TypeVar("T_command", bound="Command")
StrPath = str | os.PathLike[str]
StrOrBytesPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]


class Command:
    """An executable with its arguments and changes to the environment. Only a description; nothing is run.

    Objects are not changed: `args` and `env` return new ones, of the same class.

    Arguments and variables may be bytes; text stands for the bytes that `os.fsencode` makes of it. Nothing is
    checked here: an argument or variable that execve cannot pass raises ValueError when the command is
    executed.

    Args:
        executable_path: file to execute.
        arguments: all arguments, beginning with the name the program is called by (argv[0]).
        env_updates: environment variables to be set in addition to, or instead of, those that are inherited.
            A name is not empty and contains no "=".
    """

    def __init__(
        self,
        executable_path: StrPath,
        arguments: Sequence[StrOrBytesPath],
        env_updates: Mapping[str, StrOrBytesPath] | Mapping[bytes, StrOrBytesPath],
    ) -> None:
        self.executable_path = executable_path
        self.arguments: list[StrOrBytesPath] = list(arguments)
        # Under one name each, whether it was given as text or as bytes.
        self.env_updates = {os.fsdecode(name): value for name, value in env_updates.items()}

    def args(self: T_command, *args: StrOrBytesPath) -> T_command:
        """Return a command with more arguments behind the present ones."""
        return type(self)(self.executable_path, [*self.arguments, *args], self.env_updates)

    def env(
        self: T_command,
        env_updates: Mapping[str, StrOrBytesPath] | Mapping[bytes, StrOrBytesPath] = {},  # it is not modified
        **updates: StrOrBytesPath,
    ) -> T_command:
        """Return a command with more environment variables.

        Args:
            env_updates: variables and their values.
            updates: the same, for names that are identifiers; these win.
        """
        given = {os.fsdecode(name): value for name, value in env_updates.items()}
        return type(self)(self.executable_path, self.arguments, {**self.env_updates, **given, **updates})

    def in_shell_form(self) -> str:
        """Return the command as one would type it, without any quoting; for people to read.

        It is not safe to give to a shell. `str()` quotes.
        """
        return " ".join(
            [
                *(f"{key}={os.fsdecode(value)}" for key, value in self.env_updates.items()),
                os.fsdecode(self.executable_path),
                *(os.fsdecode(arg) for arg in self.arguments[1:]),
            ]
        )

    def __str__(self) -> str:
        """Return the command quoted for a POSIX shell; argv[0] is left out, as it cannot be said there.

        Bytes are shown as `os.fsdecode` decodes them, so `os.fsencode` gives them back.
        """
        return " ".join(
            [
                *(f"{key}={shlex.quote(os.fsdecode(value))}" for key, value in self.env_updates.items()),
                shlex.quote(os.fsdecode(self.executable_path)),
                *(shlex.quote(os.fsdecode(arg)) for arg in self.arguments[1:]),
            ]
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.executable_path!r}, {self.arguments!r}, {self.env_updates!r})"
