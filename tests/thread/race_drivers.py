"""Programs for `test_races.py`."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
import warnings
from typing import Any

import trio
import trio.testing

from rsyscall.command import Command
from rsyscall.fcntl import O
from rsyscall.local import LocalThread
from rsyscall.near import SYS, Syscall
from rsyscall.path import Path


def interrupts() -> None:
    """Be interrupted again and again, in the middle of calls, and check the answers."""
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
    # Or in a destructor of trio, which loses it. So it is sent again.
    sys.unraisablehook = lambda about: (
        None if isinstance(about.exc_value, KeyboardInterrupt) else sys.__unraisablehook__(about)
    )
    signal.signal(signal.SIGALRM, lambda number, frame: signal.raise_signal(signal.SIGINT))
    deadline = time.monotonic() + 8
    interrupted = 0
    while interrupted < 400 and time.monotonic() < deadline:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.0007 + interrupted % 50 * 0.00005, 0.2)
            trio.run(program)
        except KeyboardInterrupt:
            interrupted += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    assert interrupted > 1, interrupted


def drops_at_the_end() -> None:
    """Descriptors of a child that are dropped before the event loop comes to its end."""
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
    """When its thread object is dropped, the program keeps its standard streams."""
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


def closes_once() -> None:
    """A close that was sent when the run ended is not sent again: the number may be reused by then."""
    thread = LocalThread()
    child: Any = None
    other: Any = None

    async def drop() -> None:
        nonlocal child, other
        child = await thread.clone()
        other = await child.task.open(await child.ptr(Path("/dev/null")), O.RDONLY)
        fd = await child.task.open(await child.ptr(Path("/dev/null")), O.RDONLY)
        os.kill(child.process.process.near.id, signal.SIGSTOP)
        del fd
        await trio.testing.wait_all_tasks_blocked()

    async def reopen() -> None:
        nonlocal other
        opened = []

        async def open_file() -> None:
            opened.append(await child.task.open(await child.ptr(Path("/dev/zero")), O.RDONLY))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_file)
            await trio.testing.wait_all_tasks_blocked()
            other = None
            await trio.testing.wait_all_tasks_blocked()
            os.kill(child.process.process.near.id, signal.SIGCONT)
        await opened[0].read(await child.malloc(bytes, 1))
        async with child.process:
            pass

    trio.run(drop)
    trio.run(reopen)
