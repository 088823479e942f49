"""What mitogen executes on the other host, to which it sends this module; so it imports nothing else."""

from __future__ import annotations

import os
import subprocess

__all__ = ["run_true", "stat_many", "write_file"]


def run_true() -> int:
    """Run a command that does nothing."""
    return subprocess.call(["/bin/true"])


def write_file(path: str, data: bytes) -> None:
    """Write a file."""
    with open(path, "wb") as file:
        file.write(data)


def stat_many(path: str, count: int) -> int:
    """Ask for the status of a file that often."""
    for _ in range(count):
        os.stat(path)
    return count
