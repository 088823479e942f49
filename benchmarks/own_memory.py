"""What processes with memory of their own cost, beside children that share ours."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import trio

from benchmarks.calls import PAGE, SLEEPERS, us, used_by
from benchmarks.measure import Outcome, Side, Value, interleave, repeat
from rsyscall.tasks.local import local_thread
from rsyscall.thread import ChildThread

__all__ = ["calls", "idle", "making"]

CALLS = 1000


@asynccontextmanager
async def _child(own_memory: bool) -> AsyncIterator[ChildThread]:
    child = await local_thread.clone(own_memory=own_memory)
    async with child.process:
        yield child


async def calls(repetitions: int) -> Outcome:
    """One call, and a page written and read, in one of each."""
    data = os.urandom(PAGE)
    sides: dict[str, Side] = {}

    def writing(child: ChildThread) -> Side:
        async def write() -> float:
            pointer = await child.ram.malloc(bytes, PAGE)
            start = time.perf_counter()
            for _ in range(CALLS):
                pointer = await pointer.write(data)
            return (time.perf_counter() - start) / CALLS

        return write

    async with AsyncExitStack() as stack:
        for name in ("own", "sharing"):
            child = await stack.enter_async_context(_child(name == "own"))
            written = await child.ram.ptr(data)
            if await written.read() != data:
                raise AssertionError("what was read is not what was written")
            sides[f"{name} call"] = repeat(child.task.getuid, CALLS, 10)
            sides[f"{name} write"] = writing(child)
            sides[f"{name} read"] = repeat(written.read, CALLS)
        samples = await interleave(sides, repetitions)

    def ratio(what: str) -> Value:
        own, sharing = samples[f"own {what}"].best, samples[f"sharing {what}"].best
        return Value(own / sharing, f"{us(own)} ÷ {us(sharing)}")

    return Outcome(
        {f"own-{what}": ratio(what) for what in ("call", "write", "read")},
        {"child with memory of its own": samples["own call"]},
    )


async def making(program: Path, repetitions: int) -> Outcome:
    """Making one, until it has answered; without its end."""
    path = str(program)

    def timed(make: Callable[[], Awaitable[AsyncExitStack]]) -> Side:
        async def side() -> float:
            start = time.perf_counter()
            stack = await make()
            seconds = time.perf_counter() - start
            await stack.aclose()
            return seconds

        return side

    async def own() -> AsyncExitStack:
        stack = AsyncExitStack()
        child = await stack.enter_async_context(_child(True))
        await child.task.getuid()
        return stack

    async def posix_spawn() -> AsyncExitStack:
        os.waitpid(os.posix_spawn(path, [path], os.environ), 0)
        return AsyncExitStack()

    samples = await interleave({"own": timed(own), "posix_spawn": timed(posix_spawn)}, repetitions)
    made, spawned = samples["own"].typical, samples["posix_spawn"].typical
    return Outcome(
        {"own-make": Value(made / spawned, f"{1e6 * made:.0f} us ÷ {1e6 * spawned:.0f} us")},
        {"making one": samples["own"]},
    )


async def idle(seconds: float) -> Outcome:
    """The processor time that they use while the program asks nothing of them."""
    async with AsyncExitStack() as stack:
        pids = []
        for _ in range(SLEEPERS):
            child = await stack.enter_async_context(_child(True))
            await child.task.getuid()
            pids.append(int(child.process.process.near))
        await trio.sleep(0.5)
        before = used_by(pids)
        await trio.sleep(seconds)
        used = used_by(pids) - before
    return Outcome({"own-idle": Value(used, f"{SLEEPERS} processes, {seconds:g} s, {1e6 * used:.0f} us")})
