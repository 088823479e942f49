"""Wish for a number, at the terminal: `python -m rsyscall.scripts.local_repl`."""

from __future__ import annotations

import trio

import rsyscall.wish  # the terminal grants wishes
from wish import Wish, wish

__all__ = ["main"]


async def main() -> None:
    """Ask for a number, and print it."""
    assert rsyscall.wish
    hint = "it is the answer"
    number = await wish(Wish(int, "which number is it?", hint))
    print(f"got {number}")


if __name__ == "__main__":
    trio.run(main)
