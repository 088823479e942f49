"""`python -m rsyscall`."""

from __future__ import annotations

from rsyscall.cli import program

if __name__ == "__main__":
    program()
