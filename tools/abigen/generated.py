"""The command line of a script that generates one file."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable
from pathlib import Path

__all__ = ["main"]


def main(file: Path, text: Callable[[], str], command: str, usage: str | None) -> int:
    """Do what the arguments of the program say: `--write` the file, or `--check` it.

    Args:
        file: the file.
        text: makes what belongs in it.
        command: writes it.
        usage: printed for any other arguments.

    Returns:
        The exit status; that of `--check` is 1, with a diff, if the file is not what would be written.
    """
    if sys.argv[1:] == ["--write"]:
        file.write_text(text())
        return 0
    if sys.argv[1:] == ["--check"]:
        old, new = file.read_text() if file.exists() else "", text()
        if old == new:
            return 0
        sys.stderr.writelines(
            difflib.unified_diff(old.splitlines(True), new.splitlines(True), "now", "new", n=0)
        )
        print(f"{file} is not what the code says; run {command}", file=sys.stderr)
        return 1
    print(usage, file=sys.stderr)
    return 2
