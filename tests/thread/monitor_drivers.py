"""Programs for `test_monitor.py`."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial

import trio
from support import sh

from rsyscall.local import LocalThread
from rsyscall.signal import SIG
from rsyscall.sys.wait import W
from rsyscall.thread import ChildThread


def blocked() -> set[int]:
    """The signals that are blocked in this OS thread."""
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, []))


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    for _ in range(5000):
        if condition():
            return
        await trio.sleep(0.001)
    raise AssertionError("it does not come to that")


async def stop_and_continue(child: ChildThread) -> None:
    """Be told of both, with the wait begun before they happen."""
    for sig, option in ((SIG.STOP, W.STOPPED), (SIG.CONT, W.CONTINUED)):
        states = []

        async def wait(option: W = option, states: list[object] = states) -> None:
            states.append(await child.process.waitpid(option))

        with trio.fail_after(3):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                await trio.sleep(0.01)
                await child.process.kill(sig)
        assert len(states) == 1


def stops(how: str) -> None:
    """Wait for stops in a program that has its own use for SIGCHLD, or other OS threads to take it."""
    before: set[int] = set()
    if how == "threads":
        for _ in range(3):
            threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    elif how == "ignored":
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    elif how == "blocked":
        before = {signal.SIGCHLD, signal.SIGUSR1}
        signal.pthread_sigmask(signal.SIG_BLOCK, before)

    async def main() -> None:
        thread = LocalThread()
        child = await thread.clone()
        if how == "worker":
            await trio.to_thread.run_sync(lambda: None)  # leaves an idle OS thread
        for _ in range(5):
            await stop_and_continue(child)
            assert blocked() == before
        async with child.process:
            pass

    trio.run(main)


def during_a_wait(what: str) -> None:
    """While somebody waits for a stop, SIGCHLD is the program's as always."""
    seen = 0

    def handler(number: int, frame: object) -> None:
        nonlocal seen
        seen += 1

    def handled(before: int) -> bool:
        return seen > before

    async def use_handler() -> None:
        signal.signal(signal.SIGCHLD, handler)
        for _ in range(5):
            before = seen
            process = subprocess.Popen(["true"])
            await until(partial(handled, before))
            assert process.wait() == 0

    async def use_mask() -> None:
        assert blocked() == set()
        status = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True)
        [mask] = [line.split()[1] for line in status.stdout.splitlines() if line.startswith("SigBlk")]
        assert int(mask, 16) == 0

    bodies: dict[str, Callable[[], Awaitable[None]]] = {"handler": use_handler, "mask": use_mask}

    async def main() -> None:
        child = await LocalThread().clone()
        async with child.process, trio.open_nursery() as nursery:
            nursery.start_soon(child.process.waitpid, W.STOPPED)
            await trio.sleep(0.01)
            await bodies[what]()
            nursery.cancel_scope.cancel()

    trio.run(main)


def interrupted_wait() -> None:
    """Ctrl-C during a wait for a stop is a KeyboardInterrupt, and nothing else."""

    async def main() -> None:
        thread = LocalThread()
        child = await thread.clone()
        await thread.prepare().exec(sh(f"sleep 0.05; kill -INT {os.getpid()}"))
        async with child.process:
            await child.process.waitpid(W.STOPPED)

    try:
        trio.run(main)
    except KeyboardInterrupt:
        print("KeyboardInterrupt")
