"""What it costs to create a process, set it up, execute a program in it, and wait for its end."""

from __future__ import annotations

import cProfile
import functools
import gc
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import trio

from benchmarks.machine import memory_available
from benchmarks.measure import Outcome, Side, Value, interleave, repeat
from rsyscall.command import Command
from rsyscall.fcntl import O
from rsyscall.handle import FileDescriptor
from rsyscall.handle.process import ChildProcess
from rsyscall.near import types as near
from rsyscall.path import Path as RPath
from rsyscall.signal import SIG
from rsyscall.sys.wait import W
from rsyscall.tasks.local import local_thread
from rsyscall.unistd import CLOSE_RANGE

__all__ = ["Spawner", "big_parent", "command_line", "function_calls", "growth", "reaping", "spawns"]

AT_ONCE = 30
BIG = 4 << 30
LAST_DESCRIPTOR = 2**32 - 1


class Spawner:
    """Ways to run the tiny program.

    Args:
        program: its path.
        null: /dev/null, open in the local thread.
    """

    def __init__(self, program: Path, null: FileDescriptor) -> None:
        self.path = str(program)
        self.command = Command(self.path, [self.path], {})
        self.writing = self.command.args("write", "it")
        self.null = null

    @staticmethod
    async def make(program: Path) -> Spawner:
        """Make one."""
        return Spawner(
            program, await local_thread.task.open(await local_thread.ptr(RPath("/dev/null")), O.RDWR)
        )

    async def prepared(self) -> None:
        """Eight set-up calls, exec and wait, prepared before the process is made."""
        child = local_thread.prepare()
        task = child.task
        await task.chdir(await child.ptr("/"))
        await task.setpgid()
        null = child.inherit_fd(self.null)
        await null.dup2(child.stdin)
        await null.dup2(child.stdout)
        await null.dup2(child.stderr)
        await task.umask(0o22)
        await task.prctl_set_no_new_privs()
        await task.close_range(3, LAST_DESCRIPTOR, CLOSE_RANGE.CLOEXEC)
        process = await child.exec(self.command)
        await process.check()

    async def stepwise(self) -> None:
        """The same calls one after another in a process that is there already."""
        child = await local_thread.clone()
        task = child.task
        await task.chdir(await child.ptr("/"))
        await task.setpgid()
        null = child.inherit_fd(self.null)
        await null.dup2(child.stdin)
        await null.dup2(child.stdout)
        await null.dup2(child.stderr)
        await task.umask(0o22)
        await task.prctl_set_no_new_privs()
        await task.close_range(3, LAST_DESCRIPTOR, CLOSE_RANGE.CLOEXEC)
        process = await child.exec(self.command)
        await process.check()

    async def each(self) -> None:
        """Nothing but exec, one step after another."""
        child = await local_thread.clone()
        process = await child.exec(self.command)
        await process.waitpid(W.EXITED)

    async def run(self) -> None:
        """`Thread.run`."""
        await local_thread.run(self.command)

    async def capture(self) -> None:
        """`Thread.run`, with what the program writes."""
        await local_thread.run(self.writing, capture=True)

    async def subprocess_capture(self) -> None:
        """Blocking."""
        subprocess.run([self.path, "write", "it"], check=True, capture_output=True)

    async def run_at_once(self) -> float:
        """Many at the same time; seconds for each."""
        start = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE):
                nursery.start_soon(local_thread.run, self.command)
        return (time.perf_counter() - start) / AT_ONCE

    async def posix_spawn(self) -> None:
        """Blocking."""
        pid = os.posix_spawn(self.path, [self.path], os.environ)
        os.waitpid(pid, 0)

    async def subprocess_run(self) -> None:
        """Blocking."""
        subprocess.run([self.path], check=True)

    async def trio_run_process(self) -> None:
        """What trio has for it."""
        await trio.run_process([self.path])


async def spawns(program: Path, repetitions: int) -> Outcome:
    """One after another and many at once, compared with what others do."""
    spawner = await Spawner.make(program)
    sides: dict[str, Side] = {
        "posix_spawn": repeat(spawner.posix_spawn, 10),
        "prepared": repeat(spawner.prepared, 10),
        "run": repeat(spawner.run, 10),
        "each": repeat(spawner.each, 10),
        "stepwise": repeat(spawner.stepwise, 5),
        "capture": repeat(spawner.capture, 5),
        "subprocess capture": repeat(spawner.subprocess_capture, 5),
        "at once": spawner.run_at_once,
        "subprocess": repeat(spawner.subprocess_run, 5),
        "trio.run_process": repeat(spawner.trio_run_process, 5),
    }
    samples = await interleave(sides, repetitions)
    typical = {name: sample.typical for name, sample in samples.items()}

    def ratio(above: str, below: str) -> Value:
        return Value(
            typical[above] / typical[below], f"{1e6 * typical[above]:.0f} us ÷ {1e6 * typical[below]:.0f} us"
        )

    return Outcome(
        {
            "spawn": ratio("prepared", "posix_spawn"),
            "at-once": ratio("at once", "posix_spawn"),
            "run-process": ratio("run", "trio.run_process"),
            "spawn-each": ratio("each", "posix_spawn"),
            "run-subprocess": ratio("run", "subprocess"),
            "capture": ratio("capture", "subprocess capture"),
        },
        samples,
    )


COUNTED = 100


async def function_calls(program: Path) -> Outcome:
    """How many functions one spawn calls, of Python and built-in ones; more if it sleeps and is woken."""
    spawner = await Spawner.make(program)

    async def count(operation: Callable[[], Awaitable[None]]) -> Value:
        for _ in range(COUNTED // 2):
            await operation()
        counts = []
        for _ in range(COUNTED):
            profile = cProfile.Profile()
            profile.enable()
            await operation()
            profile.disable()
            counts.append(sum(entry.callcount for entry in profile.getstats()))
        counts.sort()
        return Value(counts[COUNTED // 2], f"median of {COUNTED}; {counts[0]} to {counts[-1]}")

    gc.collect()
    gc.disable()
    try:
        return Outcome({"spawn-calls": await count(spawner.each), "run-calls": await count(spawner.run)})
    finally:
        gc.enable()


async def command_line(repetitions: int) -> Outcome:
    """From the start of an interpreter to its end, with compiled modules, as where they are installed."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)

        async def run(*arguments: str) -> None:
            subprocess.run([sys.executable, *arguments], check=True, env=environment)

        samples = await interleave(
            {
                "rsyscall run": repeat(functools.partial(run, "-m", "rsyscall", "run", "--", "true"), 1, 0),
                "import trio": repeat(functools.partial(run, "-c", "import trio"), 1, 0),
            },
            repetitions,
        )
    ours, theirs = samples["rsyscall run"].best, samples["import trio"].best
    return Outcome({"command-line": Value(ours / theirs, f"{1e3 * ours:.0f} ms ÷ {1e3 * theirs:.0f} ms")})


class Worker:
    """A parent of its own; see `benchmarks.worker`."""

    def __init__(self, program: Path) -> None:
        root = Path(__file__).resolve().parent.parent
        path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def _ask(self, **question: int) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def occupy(self, size: int) -> None:
        """Have the parent use that many bytes of memory."""
        self._ask(occupy=size)

    def resident(self) -> int:
        """The bytes of memory that it uses."""
        return int(self._ask(resident=1))

    def spawn(self, count: int) -> float:
        """Have the parent run the tiny program so many times; seconds for each."""
        return float(self._ask(spawn=count))

    def side(self, count: int) -> Side:
        """Measure `spawn`, after one that does not count."""

        async def side() -> float:
            self.spawn(1)
            return self.spawn(count)

        return side


async def big_parent(program: Path, repetitions: int) -> Outcome:
    """A parent with much memory, compared with one that has little."""
    if memory_available() < 2 * BIG:
        have = memory_available() / 2**30
        return Outcome(skipped={"big-parent": f"needs 8 GiB of free memory, there are {have:.1f}"})
    with Worker(program) as small, Worker(program) as big:
        big.occupy(BIG)
        samples = await interleave({"small": small.side(20), "big": big.side(20)}, repetitions)
        sizes = [f"{worker.resident() / 2**20:.0f} MiB" for worker in (big, small)]
    ours, theirs = samples["big"].best, samples["small"].best
    detail = f"{1e6 * ours:.0f} us ({sizes[0]}) ÷ {1e6 * theirs:.0f} us ({sizes[1]})"
    return Outcome({"big-parent": Value(ours / theirs, detail)})


async def growth(program: Path, repetitions: int) -> Outcome:
    """A parent that has made thousands of children, compared with one that has made a few."""
    with Worker(program) as old, Worker(program) as young:
        old.spawn(500)
        early = old.resident()
        old.spawn(4500)
        late = old.resident()
        young.spawn(45)
        # Each slice makes six more, so the young one stays young.
        samples = await interleave({"old": old.side(5), "young": young.side(5)}, repetitions)
    ours, theirs = samples["old"].best, samples["young"].best
    return Outcome(
        {
            "late": Value(ours / theirs, f"{1e6 * ours:.0f} us ÷ {1e6 * theirs:.0f} us"),
            "resident": Value(late / early, f"{late / 2**20:.2f} MiB ÷ {early / 2**20:.2f} MiB"),
        }
    )


COUNTS = (10, 100, 1000)


async def reaping(program: Path, repetitions: int) -> Outcome:
    """Children that the monitor did not make: registering them, and reaping them when they have died."""
    path = str(program)

    async def register_and_reap(count: int) -> float:
        pids = [os.posix_spawn(path, [path, "sleep"], {}) for _ in range(count)]
        task, monitor = local_thread.task, local_thread.monitor
        start = time.perf_counter()
        children = [monitor.add_child_process(ChildProcess(task, near.Process(pid))) for pid in pids]
        seconds = time.perf_counter() - start
        for pid in pids:
            os.kill(pid, SIG.KILL)
        for pid in pids:
            # Wait until it is dead, without reaping it: the time that dying takes is not measured.
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        start = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for child in children:
                nursery.start_soon(child.waitpid, W.EXITED)
        return (seconds + time.perf_counter() - start) / count

    async def clone_and_kill(count: int) -> float:
        start = time.perf_counter()
        children = [await local_thread.clone() for _ in range(count)]
        async with trio.open_nursery() as nursery:
            for child in children:
                await child.process.kill()
                nursery.start_soon(child.process.waitpid, W.EXITED)
        return (time.perf_counter() - start) / count

    sides: dict[str, Side] = {}
    for count in COUNTS:
        sides[f"reap {count}"] = functools.partial(register_and_reap, count)
        sides[f"clone {count}"] = functools.partial(clone_and_kill, count)
    samples = await interleave(sides, repetitions)
    costs = [samples[f"reap {count}"].best for count in COUNTS]
    growth = max(late / early for early, late in itertools.combinations(costs, 2))
    clones = ", ".join(f"{1e6 * samples[f'clone {count}'].best:.0f}" for count in COUNTS)
    each = ", ".join(f"{1e6 * cost:.1f}" for cost in costs)
    return Outcome(
        {
            "reaping": Value(
                growth,
                f"{each} us each at 10, 100, 1000; made by clone, and killed: {clones} us",
            )
        }
    )
