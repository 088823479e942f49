"""Programs for `test_races.py`."""

from __future__ import annotations

import gc
import os
import signal
import time
import warnings

import trio

from rsyscall.command import Command
from rsyscall.fcntl import O
from rsyscall.local import LocalThread
from rsyscall.near import SYS, Syscall
from rsyscall.path import Path


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


def drops_at_the_end() -> None:
    """Descriptors of a child that nobody has any more when the event loop comes to its end."""
    thread = LocalThread()
    children = []

    async def program() -> None:
        child = await thread.clone()
        children.append(child)
        # Dropped with this frame, which is the last thing that happens in the run; the child cannot answer.
        _fd = await child.task.open(await child.ptr(Path("/dev/null")), O.RDONLY)
        os.kill(child.process.process.near.id, signal.SIGSTOP)

    async def check() -> None:
        for child in children:
            assert int(await child.task.getpid()) == child.process.process.near.id
            async with child.process:
                pass

    for _ in range(20):
        trio.run(program)
    for child in children:
        os.kill(child.process.process.near.id, signal.SIGCONT)
    trio.run(check)


def dropped_thread() -> None:
    """What becomes of the program when its thread object is dropped: it keeps its standard streams."""
    before = [os.fstat(number) for number in range(3)]
    thread = LocalThread()
    trio.run(thread.run, Command("/bin/true", ["true"], {}))
    assert thread.stdout.near.number == 1
    del thread
    gc.collect()
    for number in range(3):
        after = os.fstat(number)
        assert (after.st_dev, after.st_ino) == (before[number].st_dev, before[number].st_ino)
    print("still here")
