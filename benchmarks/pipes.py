"""What it costs to feed a command and to take its output at the same time."""

from __future__ import annotations

import gc
import os
import subprocess
import time
from pathlib import Path

from benchmarks.machine import resident_bytes
from benchmarks.measure import Outcome, Value, interleave
from rsyscall.command import Command
from rsyscall.running import PIPE
from rsyscall.tasks.local import local_thread

__all__ = ["both_ways"]

SIZE = 64 << 20
CAT = Command("/bin/cat", ["cat"], {})


def peak_resident_bytes() -> int:
    """The most memory that this process has occupied since `reset_peak`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this kernel does not tell the peak of resident memory")


def reset_peak() -> None:
    """Begin to count anew. manpage: proc_pid_clear_refs(5)."""
    Path("/proc/self/clear_refs").write_text("5")


async def both_ways(repetitions: int) -> Outcome:
    """As much through `cat` as makes the memory for it visible."""
    data = os.urandom(1 << 20) * (SIZE >> 20)

    async def run() -> float:
        start = time.perf_counter()
        result = await local_thread.run(CAT, stdin=data, stdout=PIPE)
        seconds = time.perf_counter() - start
        assert result.stdout == data
        return seconds

    async def communicate() -> float:
        start = time.perf_counter()
        with subprocess.Popen(CAT.executable_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            output, _ = process.communicate(data)
        seconds = time.perf_counter() - start
        assert output == data
        return seconds

    samples = await interleave({"run": run, "communicate": communicate}, repetitions)
    ours, theirs = samples["run"].typical, samples["communicate"].typical
    gc.collect()
    reset_peak()
    before = resident_bytes()
    result = await local_thread.run(CAT, stdin=data, stdout=PIPE)
    beyond = peak_resident_bytes() - before - SIZE
    assert result.stdout == data
    return Outcome(
        {
            "both-ways": Value(ours / theirs, f"{1e3 * ours:.0f} ms ÷ {1e3 * theirs:.0f} ms"),
            "both-ways-memory": Value(
                max(beyond, 0) / 2**20, f"{(before + beyond + SIZE) >> 20} MiB; {before >> 20} MiB before"
            ),
        }
    )
