"""A parent process of its own: `python -m benchmarks.worker PROGRAM`.

Answers questions on stdin, one JSON object per line, on stdout:

* `{"spawn": n}`: run PROGRAM n times, one after another; seconds for each.
* `{"occupy": n}`: use n bytes of memory, in small pages.
* `{"resident": 1}`: the bytes of memory in use.
"""

from __future__ import annotations

import gc
import json
import mmap
import sys
import time
from pathlib import Path

import trio

from benchmarks.machine import resident_bytes
from benchmarks.spawns import Spawner


async def serve(program: Path) -> None:
    """Answer until the end of the input. Reading blocks the event loop; there is nothing else to do."""
    spawner = await Spawner.make(program)
    occupied = []
    for line in sys.stdin:
        question = json.loads(line)
        answer: float = 0
        if "occupy" in question:
            memory = mmap.mmap(-1, question["occupy"], mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            memory.madvise(mmap.MADV_NOHUGEPAGE)
            for offset in range(0, len(memory), mmap.PAGESIZE):
                memory[offset] = 1
            occupied.append(memory)
        elif "resident" in question:
            gc.collect()
            answer = resident_bytes()
        else:
            start = time.perf_counter()
            for _ in range(question["spawn"]):
                await spawner.prepared()
            answer = (time.perf_counter() - start) / question["spawn"]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    trio.run(serve, Path(sys.argv[1]))
