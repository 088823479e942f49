"""Programs for `test_races.py`."""

from __future__ import annotations

import os
import signal
import time
import warnings

import trio

from rsyscall.local import LocalThread
from rsyscall.near import SYS, Syscall


def interrupts() -> None:
    """Be interrupted again and again, in the middle of calls, and look whether the answers are right."""
    thread = LocalThread()
    child = None
    count = 0

    async def program() -> None:
        nonlocal child, count
        if child is None:
            child = await thread.clone()
        pid = child.process.process.near.id
        uid = os.getuid()
        sysif = child.task.sysif
        while True:
            for _ in range(20):
                assert int(await child.task.getpid()) == pid
                assert await child.task.getuid() == uid
            # One that does not answer in time.
            try:
                await sysif.syscall(SYS.poll, 0, 0, 1)
            except InterruptedError:
                pass
            assert await sysif.syscalls([Syscall(SYS.getpid), Syscall(SYS.getuid)] * 3) == [pid, uid] * 3
            count += 1

    # An interrupt may come when a coroutine has been made and not been begun: then nothing has been done.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, lambda number, frame: signal.raise_signal(signal.SIGINT))
    deadline = time.monotonic() + 1.5
    interrupted = 0
    while time.monotonic() < deadline:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.0007 + interrupted % 50 * 0.00005)
            trio.run(program)
        except KeyboardInterrupt:
            interrupted += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    assert interrupted > 20, interrupted
