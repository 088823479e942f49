"""Programs for `test_monitor.py`."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
import warnings
from collections.abc import Awaitable, Callable
from functools import partial

import trio
import trio.testing
from support import is_running, sh
from waiting import wait_until

from rsyscall.local import LocalThread
from rsyscall.monitor import AsyncSignalfd
from rsyscall.near import SYS, SyscallError
from rsyscall.sched import CLONE
from rsyscall.signal import SIG, Sigset
from rsyscall.sys.wait import W
from rsyscall.thread import ChildThread

NOBODY = 65534


def blocked() -> set[int]:
    """The signals that are blocked in this OS thread."""
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, []))


async def stop_and_continue(child: ChildThread) -> None:
    """Wait for a stop and a continue; the wait begins before they happen."""
    for sig, option in ((SIG.STOP, W.STOPPED), (SIG.CONT, W.CONTINUED)):
        states = []

        async def wait(option: W = option, states: list[object] = states) -> None:
            states.append(await child.process.waitpid(option))

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                await trio.testing.wait_all_tasks_blocked()
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
    """While a task waits for a stop, SIGCHLD is the program's as always."""
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
            await wait_until(partial(handled, before))
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
            await trio.testing.wait_all_tasks_blocked()
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


def signalfd_in_several_runs() -> None:
    """A signalfd goes on in the next run of trio, as soon as it is told to."""
    thread = LocalThread()
    sigfd: AsyncSignalfd | None = None

    async def main() -> None:
        nonlocal sigfd
        if sigfd is None:
            sigfd = await AsyncSignalfd.make(thread.ram, thread.task, thread.epoller, Sigset({SIG.USR1}))
        sigfd.ensure_running()
        for _ in range(3):
            event = sigfd.next_signal
            os.kill(os.getpid(), signal.SIGUSR1)
            with trio.fail_after(60):
                await event.wait()

    async def close() -> None:
        assert sigfd is not None
        await sigfd.close()

    for _ in range(3):
        trio.run(main)
    assert blocked() == {signal.SIGUSR1}
    trio.run(close)
    assert blocked() == set()
    assert thread.task.sigmask == set()


def signalfd_of_blocked() -> None:
    """Signals that the program itself had blocked stay blocked, and a signalfd can take them again."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGHUP})
    thread = LocalThread()

    async def main() -> None:
        for _ in range(2):
            mask = Sigset({SIG.USR1, SIG.USR2})
            sigfd = await AsyncSignalfd.make(thread.ram, thread.task, thread.epoller, mask)
            assert sigfd.signal_block.mask == mask
            assert blocked() == {signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP}
            # Cancellation does not leave anything either.
            with trio.CancelScope() as scope:
                scope.cancel()
                await sigfd.close()
            assert blocked() == {signal.SIGUSR1, signal.SIGHUP}
            assert thread.task.sigmask == set()
        # A block belongs to the code that made it: closing the signalfd leaves it.
        newset = await thread.ptr(Sigset({SIG.USR2}))
        block = await thread.task.sigmask_block(newset)
        for _ in range(2):
            sigfd = await AsyncSignalfd.make(
                thread.ram, thread.task, thread.epoller, block.mask, signal_block=block
            )
            await sigfd.close()
            assert signal.SIGUSR2 in blocked()
        await block.unblock()
        assert blocked() == {signal.SIGUSR1, signal.SIGHUP}

    trio.run(main)


def interrupted_waits_in_an_init() -> None:
    """However a wait for a stop is interrupted: the init has SIGCHLD blocked only while a task waits."""
    thread = LocalThread()
    init: ChildThread | None = None
    child: ChildThread | None = None
    dice = random.Random("init")

    async def begin() -> None:
        nonlocal init, child
        init = await thread.clone(CLONE.NEWUSER | CLONE.NEWPID)
        child = await init.clone()

    async def main() -> None:
        assert child is not None
        while True:
            await child.process.kill(SIG.STOP)
            await child.process.waitpid(W.STOPPED)
            await child.process.kill(SIG.CONT)
            await child.process.waitpid(W.CONTINUED)

    async def end() -> None:
        assert init is not None
        async with init.process:
            pass

    # An interrupt may come when a coroutine has been made and not been begun: then nothing has been done.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    signal.signal(signal.SIGALRM, lambda number, frame: signal.raise_signal(signal.SIGINT))
    trio.run(begin)
    interrupted = 0
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.002 + dice.random() * 0.004)
            trio.run(main)
        except KeyboardInterrupt:
            interrupted += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        assert init is not None
        with open(f"/proc/{init.process.process.near.id}/status") as status:
            [mask] = [line.split()[1] for line in status if line.startswith("SigBlk")]
        assert int(mask, 16) == 0, mask
        assert init.monitor.sigfd is None
    trio.run(end)
    assert interrupted > 10, interrupted


def not_permitted(how: str) -> None:
    """A program that gives up its privileges may not signal the children that have kept theirs."""
    thread = LocalThread()

    async def cancelled() -> None:
        process = await thread.prepare().exec(sh("exec sleep 1000"))
        give_up()
        with trio.move_on_after(0.02) as scope:
            await process.check()
        assert scope.cancelled_caught

    async def executed() -> None:
        process = await thread.prepare().exec(sh("exec sleep 1000"))
        give_up()
        refused: OSError | None = None
        try:
            async with process:
                pass
        except PermissionError as error:
            refused = error
        assert refused is not None
        assert refused.filename == process.process.near
        # What is on its way is more important.
        with trio.move_on_after(0.02) as scope:
            async with process:
                await trio.sleep_forever()
        assert scope.cancelled_caught

    async def driven() -> None:
        child = await thread.clone()
        give_up()
        with trio.fail_after(60):
            async with child.process:
                pass
        assert child.process.process.death_state is not None
        assert child.process.process.death_state.clean()

    async def in_a_call() -> None:
        child = await thread.clone()
        give_up()

        async def pause() -> None:
            try:
                await child.task.sysif.syscall(SYS.pause)
            except SyscallError:
                return
            raise AssertionError("nothing has interrupted it")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pause)
            await trio.testing.wait_all_tasks_blocked()
            refused = False
            try:
                async with child.process:
                    pass
            except PermissionError:
                refused = True
            os.setresuid(0, 0, 0)
            async with child.process:
                pass
        assert refused

    async def dead() -> None:
        process = await thread.prepare().exec(sh("exit 3"))
        await wait_until(lambda: not is_running(process.process.near.id))
        give_up()
        await process.kill()
        async with process:
            pass
        assert process.process.death_state is not None
        assert process.process.death_state.exit_status == 3

    def give_up() -> None:
        os.setresuid(NOBODY, NOBODY, 0)

    bodies = {
        "cancelled": cancelled, "executed": executed, "driven": driven, "in a call": in_a_call, "dead": dead
    }  # fmt: skip
    trio.run(bodies[how])
    # The signal that its children get when a program dies has to be permitted, too.
    os.setresuid(0, 0, 0)
