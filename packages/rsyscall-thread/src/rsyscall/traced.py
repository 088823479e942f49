"""The end of a child that was killed, and may be traced. Most programs do not load this.

With PTRACE_O.TRACEEXIT a process stops even when it is killed, until its tracer resumes it. And the end of a
process that is traced is told to its tracer first: its parent cannot reap it before the tracer has waited.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio

from rsyscall.near import SyscallInterface, nr
from rsyscall.sys.ptrace import PTRACE

__all__ = ["wait_for_end_of_traced"]

# The tracer gets this long, in seconds, before we do its work; and so often before we give up.
_PAUSE = 0.5
_MOST_PAUSES = 10


def _tracer(pid: int) -> int:
    """The OS thread that holds a process, at a stop or as a zombie; 0: there is none, or it is unknown."""
    try:
        with open(f"/proc/{pid}/status") as file:
            fields = dict(line.split(":", 1) for line in file if ":" in line)
        return int(fields["TracerPid"]) if fields["State"].split()[0] in ("t", "Z") else 0
    except (OSError, LookupError, ValueError):
        return 0


async def _resume(sysif: SyscallInterface, pid: int) -> None:
    """End the stops of its OS threads that this OS thread traces."""
    tids = [pid]
    with suppress(OSError):
        tids = [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    for tid in tids:
        # Of those that are not ours, or have not stopped, the kernel says that there is no such process.
        with suppress(OSError):
            await sysif.syscall(nr.ptrace, PTRACE.CONT, tid, 0, 0)


async def wait_for_end_of_traced(
    wait: Callable[[], Awaitable[object]], sysif: SyscallInterface, pid: int, failing: bool
) -> None:
    """Wait until a child has exited. If this OS thread traces it, it is resumed at its stops.

    Args:
        wait: waits for the end of the child, and reaps it; may be cancelled.
        sysif: makes calls in this OS thread.
        pid: of the child, which was killed.
        failing: another exception is on its way: return instead of raising one.

    Raises:
        RuntimeError: another OS thread traces it, and has had five seconds.
    """
    count = 0
    while True:
        with trio.move_on_after(_PAUSE):
            await wait()
            return
        await _resume(sysif, pid)
        count += 1
        tracer = _tracer(pid)
        if count >= _MOST_PAUSES and tracer:
            if failing:
                return
            raise RuntimeError(
                f"process {pid} was killed, but {tracer} traces it, and neither resumes it at its stop"
                " (PTRACE_O.TRACEEXIT) nor waits for its end: have the tracer do that, or end it first"
            )
