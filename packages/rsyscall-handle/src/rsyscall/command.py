"""Commands: what to execute, with which arguments and changes to the environment."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

__all__ = ["Command"]

T_command = TypeVar("T_command", bound="Command")
StrPath = str | os.PathLike[str]
StrOrBytesPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]


class Command:
    """An executable with its arguments and changes to the environment. This only describes: nothing is run.

    No method changes the object: `args`, `env`, `unset` and `clear_env` return a new one of the same class.

    Arguments and variables may be bytes; text stands for the bytes that `os.fsencode` makes of it. Nothing is
    checked here: an argument or variable that execve cannot pass raises ValueError when the command is
    executed.

    Args:
        executable_path: file to execute.
        arguments: all arguments, beginning with the name the program is called by (argv[0]).
        env_updates: environment variables that the program gets besides the inherited ones, or in their
            place. A name is not empty and contains no "=".

    Attributes:
        env_unset: names of inherited environment variables that the program does not get.
        env_cleared: whether the program inherits no environment variables at all.
    """

    env_unset: frozenset[str] = frozenset()
    env_cleared: bool = False

    def __init__(
        self,
        executable_path: StrPath,
        arguments: Sequence[StrOrBytesPath],
        env_updates: Mapping[str, StrOrBytesPath] | Mapping[bytes, StrOrBytesPath],
    ) -> None:
        self.executable_path = executable_path
        self.arguments: list[StrOrBytesPath] = list(arguments)
        # With names as text: the same name as text and as bytes is one variable.
        self.env_updates: dict[str, StrOrBytesPath] = {
            os.fsdecode(name): value for name, value in env_updates.items()
        }

    def args(self: T_command, *args: StrOrBytesPath) -> T_command:
        """Return a command with more arguments behind the present ones."""
        return self._like_this([*self.arguments, *args], self.env_updates)

    def _like_this(
        self: T_command,
        arguments: Sequence[StrOrBytesPath],
        env_updates: Mapping[str, StrOrBytesPath],
        unset: frozenset[str] | None = None,
    ) -> T_command:
        """Return a command that differs from this one in the arguments given here."""
        command = type(self)(self.executable_path, arguments, env_updates)
        if self.env_cleared:
            command.env_cleared = True
        unset = self.env_unset if unset is None else unset
        if unset:
            command.env_unset = unset
        return command

    def env(
        self: T_command,
        env_updates: Mapping[str, StrOrBytesPath] | Mapping[bytes, StrOrBytesPath] = {},  # it is not modified
        **updates: StrOrBytesPath,
    ) -> T_command:
        """Return a command with more environment variables.

        Args:
            env_updates: variables and their values.
            updates: the same as keyword arguments; they win over `env_updates`.
        """
        given = {os.fsdecode(name): value for name, value in env_updates.items()}
        given.update(updates)
        unset = self.env_unset - given.keys() if self.env_unset else None
        return self._like_this(self.arguments, {**self.env_updates, **given}, unset)

    def unset(self: T_command, *names: str | bytes) -> T_command:
        """Return a command that does not get these environment variables, inherited or set before.

        Args:
            names: of the variables, whether they exist or not.
        """
        gone = frozenset(map(os.fsdecode, names))
        kept = {name: value for name, value in self.env_updates.items() if name not in gone}
        return self._like_this(self.arguments, kept, self.env_unset | gone)

    def clear_env(self: T_command) -> T_command:
        """Return a command that inherits no environment variables and drops those set so far.

        `env` sets new ones.
        """
        command = self._like_this(self.arguments, {}, frozenset())
        command.env_cleared = True
        return command

    def _env_words(self, quote: Callable[[str], str]) -> list[str]:
        """The changes to the environment, as the beginning of a shell command."""
        words = [f"{key}={quote(os.fsdecode(value))}" for key, value in self.env_updates.items()]
        if self.env_cleared:
            return ["env", "-i", *words]
        unset = [word for name in sorted(self.env_unset) for word in ("-u", quote(name))]
        return ["env", *unset, *words] if unset else words

    def in_shell_form(self) -> str:
        """Return the command without any quoting, for people to read.

        Do not give it to a shell; `str()` quotes.
        """
        return " ".join(
            [
                *self._env_words(str),
                os.fsdecode(self.executable_path),
                *(os.fsdecode(arg) for arg in self.arguments[1:]),
            ]
        )

    def __str__(self) -> str:
        """Return the command quoted for a POSIX shell; without argv[0], which a shell does not let one set.

        Bytes are decoded by `os.fsdecode`, so that `os.fsencode` gives them back.
        """
        return " ".join(
            [
                *self._env_words(shlex.quote),
                shlex.quote(os.fsdecode(self.executable_path)),
                *(shlex.quote(os.fsdecode(arg)) for arg in self.arguments[1:]),
            ]
        )

    def __repr__(self) -> str:
        more = ".clear_env()" if self.env_cleared else ""
        if self.env_unset:
            more += f".unset({', '.join(map(repr, sorted(self.env_unset)))})"
        return (
            f"{type(self).__name__}({self.executable_path!r}, {self.arguments!r}, {self.env_updates!r}){more}"
        )
