"""What the command line can be asked for, and how it says what is wrong.

Imports nothing of the layers, so that `--help` and a wrong command line are answered at once.
"""

from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

__all__ = [
    "ENDING",
    "FAILED",
    "TIMED_OUT",
    "CopyOptions",
    "ReplOptions",
    "RunOptions",
    "innermost",
    "print_error",
    "readable",
    "reason_of",
    "say",
]

FAILED = 125
"""The exit status if a step failed."""
TIMED_OUT = 124
"""The exit status if the command took longer than it may."""
ENDING: tuple[int, ...] = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
"""The signals that ask a program to end."""
# What is quoted may have several lines.
_LAYOUT = "\n\t"


def print_error(text: str) -> None:
    """Write to standard error, if that is open and can be written."""
    # None if it was closed when the program started: `print` would take standard output then.
    if sys.stderr is not None:
        try:
            print(text, file=sys.stderr, end="", flush=True)
        except OSError:
            pass


def readable(text: str, kept: str = "") -> str:
    """A text whose characters do nothing to a terminal: others are shown as in a Python string.

    Args:
        text: perhaps what another process says, or the name of a file.
        kept: characters that stay as they are.
    """
    return "".join(
        char if char.isprintable() or char in kept else char.encode("unicode_escape").decode()
        for char in text
    )


def say(message: str, action: str = "run") -> None:
    """Print a message to standard error, if that is open and can be written."""
    print_error(f"rsyscall {action}: {readable(message, kept=_LAYOUT)}\n")


def reason_of(error: OSError) -> str:
    """Why the kernel refused something, in words."""
    reason = error.strerror or str(error)
    return f"{reason}; see ulimit -n" if error.errno == errno.EMFILE else reason


def innermost(error: BaseException) -> BaseException:
    """What went wrong, out of groups that have nothing else in them."""
    inner: Sequence[BaseException]
    # By its attribute: the class is no builtin of Python 3.10.
    while len(inner := getattr(error, "exceptions", ())) == 1:
        error = inner[0]
    return error


class _Options:
    """Their methods are written once: `dataclass` takes its time to generate them."""

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if type(other) is type(self) else NotImplemented

    __hash__: ClassVar[None] = None  # type: ignore[assignment] # as for any class whose instances change

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"
        )


@dataclass(repr=False, eq=False)
class RunOptions(_Options):
    """What `rsyscall run` was asked for."""

    command: list[str]
    via: list[str] | None = None
    ssh: list[str] | None = None
    by: str | None = None
    user: bool = False
    map_root: bool = False
    mount: bool = False
    pid: bool = False
    net: bool = False
    uts: bool = False
    ipc: bool = False
    cgroup: bool = False
    hostname: str | None = None
    mounts: list[tuple[str, str, str]] = field(default_factory=list)
    chroot: str | None = None
    chdir: str | None = None
    setenv: list[tuple[str, str]] = field(default_factory=list)
    unsetenv: list[str] = field(default_factory=list)
    clearenv: bool = False
    rlimit: dict[str, tuple[int | None, int | None]] = field(default_factory=dict)
    nice: int | None = None
    umask: int | None = None
    no_new_privs: bool = False
    run_as: tuple[int | str, int | str | None] | None = None
    timeout: float | None = None
    trace: bool = False
    trace_file: str | None = None
    summary: bool = False
    verbose: bool = False


@dataclass(repr=False, eq=False)
class CopyOptions(_Options):
    """What `rsyscall copy` was asked for. One of the paths is there, and the other one here."""

    source: str
    destination: str
    there: str
    """Which of them is there: "source" or "destination"."""
    via: list[str] | None = None
    ssh: list[str] | None = None
    by: str | None = None
    quiet: bool = False


@dataclass
class ReplOptions:
    """What `rsyscall repl` was asked for."""

    via: list[str] | None = None
    ssh: list[str] | None = None
    by: str | None = None
    plain: bool = False
