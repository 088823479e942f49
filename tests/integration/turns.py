"""Run a command, and count how often the two sides of its standard input and output take turns.

`python turns.py FILE SECONDS COMMAND...`: what comes is passed on this much later, so that all of
it that is sent without waiting for an answer is in one turn. FILE holds the count, as 8 bytes.
"""

from __future__ import annotations

import mmap
import os
import select
import struct
import subprocess
import sys
import time

__all__ = ["main"]


def main(path: str, seconds: float, command: list[str]) -> int:
    """Pass on bytes both ways until the command has ended."""
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 8) as count:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        theirs, ours = process.stdin.fileno(), process.stdout.fileno()
        turns = 0
        client_spoke = False
        sources = [0, ours]
        while sources:
            ready, _, _ = select.select(sources, [], [])
            time.sleep(seconds)
            if 0 in ready:
                if not client_spoke:
                    turns += 1
                    count[:] = struct.pack("=q", turns)
                client_spoke = True
                if not _pass_on(0, theirs):
                    process.stdin.close()
                    sources.remove(0)
            if ours in ready:
                client_spoke = False
                if not _pass_on(ours, 1):
                    sources.clear()
        return process.wait()


def _pass_on(source: int, sink: int) -> bool:
    """Pass on all that is there; returns whether there may be more."""
    while select.select([source], [], [], 0)[0]:
        data = os.read(source, 1 << 20)
        if not data:
            return False
        while data:
            data = data[os.write(sink, data) :]
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2]), sys.argv[3:]))
