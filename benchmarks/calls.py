"""What one system call costs, where and how it is made."""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from benchmarks.measure import Outcome, Side, Value, interleave, repeat
from benchmarks.peers import answer, echo
from rsyscall.native import lib
from rsyscall.near import SYS, Syscall
from rsyscall.tasks.local import local_thread
from rsyscall.thread import ChildThread
from rsyscall.time import Timespec

__all__ = ["blocking", "busy", "calls", "idle", "memory", "stream", "us", "used_by"]

BATCH = 512
SLEEPERS = 100
PAGE = 4096
# Bytes, in the stream, of a call and of its answer.
REQUEST = 64
RESPONSE = 16


@asynccontextmanager
async def child_thread(transport: str = "ring") -> AsyncIterator[ChildThread]:
    """A child, gone afterwards."""
    os.environ["RSYSCALL_TRANSPORT"] = transport
    try:
        child = await local_thread.clone()
    finally:
        del os.environ["RSYSCALL_TRANSPORT"]
    async with child.process:
        yield child


def getuid_side(count: int) -> Side:
    """`os.getuid()`."""

    async def side() -> float:
        getuid = os.getuid
        start = time.perf_counter()
        for _ in range(count):
            getuid()
        return (time.perf_counter() - start) / count

    return side


def cffi_side(count: int) -> Side:
    """The plain call through cffi, without anything of ours."""

    async def side() -> float:
        call, number = lib.rsyscall_raw_syscall, int(SYS.getuid)
        start = time.perf_counter()
        for _ in range(count):
            call(0, 0, 0, 0, 0, 0, number)
        return (time.perf_counter() - start) / count

    return side


async def calls(repetitions: int) -> Outcome:
    """Short calls one after another, in children and elsewhere."""
    ours, theirs = multiprocessing.Pipe()
    peer = multiprocessing.get_context("spawn").Process(target=echo, args=(theirs,), daemon=True)
    peer.start()
    theirs.close()

    async def pipe_round_trip() -> None:
        ours.send(None)
        ours.recv()

    async def in_helper_thread() -> None:
        await trio.to_thread.run_sync(os.getuid)

    getuid = [Syscall(SYS.getuid)] * BATCH
    async with child_thread() as child:

        async def batch() -> None:
            await child.task.sysif.syscalls(getuid)

        async def batch_per_call(side: Side = repeat(batch, 4)) -> float:
            return await side() / BATCH

        sides = {
            "os.getuid": getuid_side(2000),
            "cffi": cffi_side(2000),
            "local": repeat(local_thread.task.getuid, 1000),
            "child": repeat(child.task.getuid, 1000, warm_up=100),
            "batch": batch_per_call,
            "to_thread": repeat(in_helper_thread, 20),
            "pipe": repeat(pipe_round_trip, 50),
        }
        samples = await interleave(sides, repetitions)
    ours.close()
    peer.join()

    best = {name: sample.best for name, sample in samples.items()}

    def ratio(above: str, below: str) -> Value:
        return Value(best[above] / best[below], f"{us(best[above])} ÷ {us(best[below])}")

    return Outcome(
        {
            "call": ratio("child", "cffi"),
            "call-local": ratio("child", "local"),
            "pipe": ratio("pipe", "child"),
            "batch": ratio("batch", "os.getuid"),
        },
        samples,
    )


async def stream(repetitions: int) -> Outcome:
    """Short calls in a child that is driven over a byte stream, and as many bytes between two processes."""
    ours, theirs = socket.socketpair()
    arguments = theirs, REQUEST, RESPONSE
    peer = multiprocessing.get_context("spawn").Process(target=answer, args=arguments, daemon=True)
    peer.start()
    theirs.close()
    request = bytes(REQUEST)
    with trio.socket.from_stdlib_socket(ours) as sock:

        async def round_trip() -> None:
            await sock.send(request)
            await sock.recv(RESPONSE)

        async with child_thread("stream") as child:
            sides = {
                "stream": repeat(child.task.getuid, 50, 10),
                "round trip": repeat(round_trip, 50, 10),
            }
            samples = await interleave(sides, repetitions)
    peer.join()
    call, plain = samples["stream"].best, samples["round trip"].best
    return Outcome({"stream": Value(call / plain, f"{us(call)} ÷ {us(plain)}")}, samples)


async def busy(repetitions: int) -> Outcome:
    """Short calls in a child while another thread of ours runs Python code."""
    seconds = 0.1  # many turns of the interpreter lock, which changes hands every 5 ms

    stop = threading.Event()

    def compute() -> None:
        number = 0
        while not stop.is_set():
            for _ in range(1000):
                number += 1

    async with child_thread() as child:

        async def in_child() -> float:
            getuid = child.task.getuid
            for _ in range(100):
                await getuid()
            count = 0
            start = time.perf_counter()
            while (passed := time.perf_counter() - start) < seconds:
                for _ in range(100):
                    await getuid()
                count += 100
            return passed / count

        async def here() -> float:
            getuid = os.getuid
            count = 0
            start = time.perf_counter()
            while (passed := time.perf_counter() - start) < seconds:
                for _ in range(100):
                    getuid()
                count += 100
            return passed / count

        def beside_a_busy_thread(side: Side) -> Side:
            async def wrapped() -> float:
                stop.clear()
                thread = threading.Thread(target=compute)
                thread.start()
                try:
                    return await side()
                finally:
                    stop.set()
                    thread.join()

            return wrapped

        sides = {
            "quiet": in_child,
            "busy": beside_a_busy_thread(in_child),
            "os.getuid quiet": here,
            "os.getuid busy": beside_a_busy_thread(here),
        }
        samples = await interleave(sides, repetitions)
    best = {name: sample.best for name, sample in samples.items()}
    reference = best["os.getuid busy"] / best["os.getuid quiet"]
    return Outcome(
        {
            "busy": Value(
                best["busy"] / best["quiet"],
                f"{us(best['busy'])} ÷ {us(best['quiet'])}; os.getuid() likewise {reference:.2f}",
            )
        },
        {"child, busy thread": samples["busy"]},
    )


async def blocking(repetitions: int) -> Outcome:
    """Calls that block, in many children at once."""
    children: list[ChildThread] = []
    async with trio.open_nursery() as nursery:
        stop = trio.Event()

        async def hold(task_status: trio.TaskStatus[None]) -> None:
            async with child_thread() as child:
                children.append(child)
                task_status.started()
                await stop.wait()

        for _ in range(SLEEPERS):
            await nursery.start(hold)
        duration = await local_thread.ptr(Timespec.from_float(0.001))

        async def in_children() -> None:
            async with trio.open_nursery() as sleepers:
                for child in children:
                    sleepers.start_soon(child.task.sysif.syscall, SYS.nanosleep, duration.near, 0)

        async def in_trio() -> None:
            async with trio.open_nursery() as sleepers:
                for _ in range(SLEEPERS):
                    sleepers.start_soon(trio.sleep, 0.001)

        sides = {"nanosleep": repeat(in_children, 3), "trio.sleep": repeat(in_trio, 3)}
        samples = await interleave(sides, repetitions)
        stop.set()
    children.clear()
    ours, theirs = samples["nanosleep"].best, samples["trio.sleep"].best
    return Outcome({"sleepers": Value(ours / theirs, f"{ours * 1e3:.2f} ms ÷ {theirs * 1e3:.2f} ms")})


async def memory(repetitions: int) -> Outcome:
    """A page written into the memory of a child, and read from it."""
    count = 1000
    buffer = bytearray(os.urandom(4 * PAGE))

    async def copy() -> float:
        start = time.perf_counter()
        for _ in range(count):
            buffer[PAGE : 2 * PAGE]
        return (time.perf_counter() - start) / count

    async with child_thread() as child:
        data = os.urandom(PAGE)

        async def write() -> float:
            pointer = await child.ram.malloc(bytes, PAGE)
            start = time.perf_counter()
            for _ in range(count):
                pointer = await pointer.write(data)
            return (time.perf_counter() - start) / count

        written = await child.ram.ptr(data)
        read = repeat(written.read, count)
        if await written.read() != data:
            raise AssertionError("what was read is not what was written")
        samples = await interleave({"copy": copy, "write": write, "read": read}, repetitions)
    best = {name: sample.best for name, sample in samples.items()}
    return Outcome(
        {
            name: Value(best[name] / best["copy"], f"{us(best[name])} ÷ {us(best['copy'])}")
            for name in ("write", "read")
        },
        {"write 4 KiB": samples["write"], "read 4 KiB": samples["read"], "copy 4 KiB": samples["copy"]},
    )


async def idle(seconds: float) -> Outcome:
    """The processor time that children use while the program asks nothing of them."""
    async with trio.open_nursery() as nursery:
        stop = trio.Event()
        pids: list[int] = []

        async def hold(task_status: trio.TaskStatus[None]) -> None:
            async with child_thread() as child:
                await child.task.getuid()
                pids.append(int(child.process.process.near))
                task_status.started()
                await stop.wait()

        for _ in range(SLEEPERS):
            await nursery.start(hold)
        await trio.sleep(0.5)
        before = used_by(pids)
        await trio.sleep(seconds)
        used = used_by(pids) - before
        stop.set()
    return Outcome({"idle": Value(used, f"{SLEEPERS} children, {seconds:g} s, {1e6 * used:.0f} us")})


def used_by(pids: list[int]) -> float:
    """Processor time of these processes, in seconds."""
    ticks = nanoseconds = 0
    for pid in pids:
        # The name, in parentheses, may contain anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
        nanoseconds += int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
    return max(nanoseconds / 1e9, ticks / os.sysconf("SC_CLK_TCK"))


def us(seconds: float) -> str:
    """As text, in microseconds."""
    digits = 2 if seconds < 1e-5 else 0
    return f"{1e6 * seconds:.{digits}f} us"
