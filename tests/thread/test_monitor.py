"""Children: being told of what happens to them, signalling them, and leaving nothing of them behind."""

from __future__ import annotations

import os
import random
import signal
from functools import partial

import pytest
import trio
from drivers import Programs
from monitor_drivers import until
from support import local_thread, sh

from rsyscall.sched import CLONE
from rsyscall.signal import SIG, Siginfo
from rsyscall.sys.wait import CLD, W
from rsyscall.thread import ChildThread

pytestmark = pytest.mark.usefixtures("transport")


async def kill(*threads: ChildThread) -> None:
    """Kill and reap."""
    for thread in threads:
        async with thread.process:
            pass


# ---- stops and continues ----


@pytest.mark.parametrize("how", ["threads", "worker", "ignored", "blocked"])
def test_stops_are_told_whoever_gets_sigchld(programs: Programs, how: str) -> None:
    programs.run("monitor_drivers:stops", how=how)


@pytest.mark.parametrize("what", ["handler", "mask"])
def test_a_wait_for_a_stop_leaves_sigchld_to_the_program(programs: Programs, what: str) -> None:
    programs.run("monitor_drivers:during_a_wait", what=what)


def test_interrupt_of_a_wait_for_a_stop(programs: Programs) -> None:
    assert programs.run("monitor_drivers:interrupted_wait") == "KeyboardInterrupt\n"


@pytest.mark.parametrize("parent", ["program", "init"])
async def test_everybody_hears_of_every_stop(parent: str) -> None:
    """Also if some of those who wait are cancelled all the time."""
    dice = random.Random(parent)
    init = await local_thread.clone(CLONE.NEWUSER | CLONE.NEWPID) if parent == "init" else None
    child = await (init or local_thread).clone()
    heard: dict[int, list[CLD]] = {number: [] for number in range(3)}
    done = trio.Event()

    def all_have_heard(count: int) -> bool:
        return all(len(codes) >= count for codes in heard.values())

    async def listen(codes: list[CLD]) -> None:
        for _ in range(10):
            codes.append((await child.process.waitpid(W.STOPPED | W.CONTINUED)).code)

    async def give_up() -> None:
        while not done.is_set():
            # A stop that only this one is told of would be lost to the others.
            with trio.move_on_after(dice.random() * 0.002):
                await child.process.waitpid(W.STOPPED | W.CONTINUED)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(give_up)
            async with trio.open_nursery() as listeners:
                for codes in heard.values():
                    listeners.start_soon(listen, codes)
                await trio.sleep(0.005)
                for turn in range(10):
                    await child.process.kill(SIG.CONT if turn % 2 else SIG.STOP)
                    await until(partial(all_have_heard, turn + 1))
            done.set()
    assert all(codes == [CLD.STOPPED, CLD.CONTINUED] * 5 for codes in heard.values())
    await kill(child)
    if init is not None:
        await kill(init)


async def test_a_stop_found_through_the_handle_is_told() -> None:
    """`waitid` of the handle leaves what it found; who waits for the end must not take it for that."""
    child = await local_thread.clone()
    process = child.process.process
    await child.process.kill(SIG.STOP)
    os.waitid(os.P_PID, process.near.id, os.WSTOPPED | os.WNOWAIT)
    await process.waitid(W.STOPPED | W.ALL, await local_thread.ptr(Siginfo(0, 0, 0, 0)))
    told = []

    async def wait(options: W) -> None:
        told.append((await child.process.waitpid(options)).code)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, W.STOPPED)
            await trio.sleep(0.03)
            assert told == [CLD.STOPPED]
            nursery.start_soon(wait, W.EXITED)
            await child.process.kill(SIG.KILL)
    assert told == [CLD.STOPPED, CLD.KILLED]


async def test_stops_of_a_program_that_runs_and_ends() -> None:
    """One that waits for stops hears of the end, too."""
    process = await local_thread.prepare().exec(sh("exec sleep 1000"))
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(process.waitpid, W.STOPPED)
            await trio.sleep(0.03)
            os.kill(process.process.near.id, signal.SIGTERM)
        assert (await process.waitpid(W.STOPPED)).killed_with() == SIG.TERM


# ---- signalfds ----


def test_a_signalfd_goes_on_in_the_next_run(programs: Programs) -> None:
    programs.run("monitor_drivers:signalfd_in_several_runs")


def test_a_signalfd_unblocks_only_what_it_has_blocked(programs: Programs) -> None:
    programs.run("monitor_drivers:signalfd_of_blocked")


def test_interrupts_leave_no_signal_blocked_in_an_init(programs: Programs) -> None:
    programs.run("monitor_drivers:interrupted_waits_in_an_init", seconds=20)
