"""An exception at every place of the library that common operations come through.

Over the ring all places are tried. Over the stream there are three times as many, since the loops that move
its bytes come in, and each takes longer. So every `STREAM_STEP`-th place is tried; all of them, which takes
more than an hour, if the environment variable RSYSCALL_EVERY_PLACE is set.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.testing
from every_place import Interruption, Tried, Trier, holdings, try_every_place
from streams import pretender
from support import local_thread, sh
from waiting import wait_until

from rsyscall.async_fd import AsyncFileDescriptor
from rsyscall.command import Command
from rsyscall.fcntl import O
from rsyscall.handle import FileDescriptor
from rsyscall.near import SYS, Syscall
from rsyscall.near.protocol import encode_response
from rsyscall.sys.mman import MAP, PROT
from rsyscall.sys.wait import W
from rsyscall.thread import ChildThread

KNOWN = b"known bytes"
CAT = Command("/bin/cat", ["cat"], {})


class Surroundings:
    """A child that lives through all exceptions, and the state to compare after each."""

    child: ChildThread
    file: FileDescriptor

    def __init__(self) -> None:
        trio.run(self.open)
        trio.run(self.see_that_it_works)
        gc.collect()
        self.before = holdings()

    async def open(self) -> None:
        self.child = await local_thread.clone()
        task = self.child.task
        fd = await task.memfd_create(await self.child.ptr("known"))
        await fd.write(await self.child.ptr(KNOWN))
        self.file = fd

    async def close(self) -> None:
        async with self.child.process:
            pass

    async def see_that_it_works(self) -> None:
        child, sysif = self.child, self.child.task.sysif
        assert await sysif.syscall(SYS.getppid) == os.getpid()
        assert await sysif.syscall(SYS.getpid) == child.process.process.near.id
        read, _ = await self.file.pread(await child.malloc(bytes, 100), 0)
        assert await read.read() == KNOWN
        assert await sysif.syscalls([Syscall(SYS.getppid), Syscall(SYS.close, -1)]) == [os.getpid(), -9]

    async def serve_and_see(self) -> None:
        """Have the hub reap what has exited, then see that everything works."""
        local_thread.monitor.hub.ensure_running()
        await trio.testing.wait_all_tasks_blocked()
        await self.see_that_it_works()

    def check(self) -> None:
        """Everything works, and nothing is left."""
        deadline = time.monotonic() + 60
        try:
            while True:
                # What exits now is reaped by the hub, whose loop belongs to a run; an interrupt may have kept
                # the loop from being started.
                trio.run(self.serve_and_see)
                now = holdings()
                if now == self.before:
                    return
                # An exit that is heard of only now may have been the last thing to keep a cycle alive.
                gc.collect()
                if time.monotonic() > deadline:
                    raise AssertionError(f"left: {_difference(self.before, now)}")
                time.sleep(0.001)
        except BaseException:
            # The next one begins anew.
            trio.run(self.close)
            self.__init__()
            raise


def _difference(before: tuple[list[str], ...], now: tuple[list[str], ...]) -> str:
    more = [sorted(set(b) - set(a)) for a, b in zip(before, now, strict=True)]
    less = [sorted(set(a) - set(b)) for a, b in zip(before, now, strict=True)]
    return f"descriptors, children, mappings: {more}; and without {less}"


Scenario = Callable[[Trier, Surroundings], Awaitable[None]]
SCENARIOS: list[Scenario] = []


def scenario(body: Scenario) -> Scenario:
    SCENARIOS.append(body)
    return body


@scenario
async def call(trier: Trier, around: Surroundings) -> None:
    with trier.armed():
        await around.child.task.sysif.syscall(SYS.getppid)


@scenario
async def call_that_sleeps(trier: Trier, around: Surroundings) -> None:
    memory = await around.child.ptr((0).to_bytes(8, "little") + (10_000_000).to_bytes(8, "little"))
    with trier.armed():
        await around.child.task.sysif.syscall(SYS.nanosleep, memory.near, 0)


@scenario
async def batch(trier: Trier, around: Surroundings) -> None:
    with trier.armed():
        await around.child.task.sysif.syscalls([Syscall(SYS.getppid)] * 300)


@scenario
async def read(trier: Trier, around: Surroundings) -> None:
    buffer = await around.child.malloc(bytes, 100)
    with trier.armed():
        read, _ = await around.file.pread(buffer, 0)
        await read.read()


@scenario
async def read_that_sleeps(trier: Trier, around: Surroundings) -> None:
    """Memory lent to a call stays lent until the kernel is done with it, even after an interrupt."""
    task = around.child.task
    pipe = await around.child.pipe()
    buffer = await around.child.malloc(bytes, 100)
    proc = Path(f"/proc/{around.child.process.process.near.id}")
    writer = os.open(proc / "fd" / str(pipe.write.near.number), os.O_WRONLY)
    done = threading.Event()

    def reads() -> bool:
        return (proc / "syscall").read_text().startswith(f"{int(SYS.read)} ")

    def write() -> None:
        while not done.is_set() and not reads():
            time.sleep(0.001)
        # Not while the caller still looks for a quick answer.
        time.sleep(0.005)
        os.write(writer, b"word")

    thread = threading.Thread(target=write)
    thread.start()
    interruption = None
    try:
        with trier.armed():
            await task.sysif.syscall(SYS.read, pipe.read.near, buffer.near, 100)
    except Interruption as error:
        interruption = error
    # Either nothing was sent, or it has been answered by now.
    goes_on = reads()
    done.set()
    thread.join()
    os.close(writer)
    assert not goes_on, "the call goes on without its caller"
    if interruption is not None:
        raise interruption


@scenario
async def clone(trier: Trier, around: Surroundings) -> None:
    with trier.armed():
        child = await local_thread.clone()
        await child.task.sysif.syscall(SYS.getpid)
    await child.exit(0)
    await child.process.waitpid(W.EXITED)


@scenario
async def exec(trier: Trier, around: Surroundings) -> None:
    async with (child := await local_thread.clone()).process:
        with trier.armed():
            process = await child.exec(sh("true"))
            await process.check()


@scenario
async def run(trier: Trier, around: Surroundings) -> None:
    with trier.armed():
        await local_thread.run(sh("true"))


@scenario
async def exit_and_wait(trier: Trier, around: Surroundings) -> None:
    child = await local_thread.clone()
    with trier.armed():
        await child.exit(0)
        await child.process.waitpid(W.EXITED)


@scenario
async def clone_and_drop(trier: Trier, around: Surroundings) -> None:
    child = await local_thread.clone()
    pid = child.process.process.near.id
    with trier.armed():
        await child.task.sysif.syscall(SYS.getpid)
        del child
    await wait_until(lambda: str(pid) not in holdings()[1], collecting=True)


@scenario
async def block(trier: Trier, around: Surroundings) -> None:
    with trier.armed():
        async with (await local_thread.clone()).process:
            pass


async def run_with_pipes(trier: Trier, around: Surroundings) -> None:
    with trier.armed():
        await local_thread.run(CAT, stdin=b"x" * 300_000, capture=True)


async def own_memory(trier: Trier, around: Surroundings) -> None:
    with trier.armed():
        child = await local_thread.clone(own_memory=True)
        await child.task.sysif.syscall(SYS.getpid)
    async with child.process:
        pass


async def copy_of_own_memory(trier: Trier, around: Surroundings) -> None:
    async with (child := await local_thread.clone(own_memory=True)).process:
        with trier.armed():
            below = await child.clone()
        async with below.process:
            pass


@scenario
async def epoll(trier: Trier, around: Surroundings) -> None:
    pipe = await around.child.pipe(O.NONBLOCK)
    buffer = await around.child.ptr(b"word")
    reader = await AsyncFileDescriptor.make(around.child.epoller, around.child.ram, pipe.read)
    with trier.armed():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.read_some_bytes)
            await pipe.write.write(buffer)
    await reader.close()
    await pipe.write.close()


@scenario
async def pass_descriptor(trier: Trier, around: Surroundings) -> None:
    fd = await local_thread.task.memfd_create(await local_thread.ptr("passed"))
    with trier.armed():
        (passed,) = await around.child.connection.move_fds([fd])
    await passed.close()


@scenario
async def channel(trier: Trier, around: Surroundings) -> None:
    with trier.armed():
        mine, theirs = await around.child.connection.open_channel()
    await mine.close()
    await theirs.close()


@scenario
async def close(trier: Trier, around: Surroundings) -> None:
    fd = await around.child.task.memfd_create(await around.child.ptr("more"))
    with trier.armed():
        await fd.close()


@scenario
async def open_and_drop(trier: Trier, around: Surroundings) -> None:
    path = await around.child.ptr("/dev/null")
    with trier.armed():
        fd = await around.child.task.open(path, O.RDONLY)
        del fd


@scenario
async def mapping(trier: Trier, around: Surroundings) -> None:
    with trier.armed():
        mapping = await around.child.task.mmap(1 << 16, PROT.READ | PROT.WRITE, MAP.PRIVATE)
        await mapping.munmap()


@scenario
async def memory(trier: Trier, around: Surroundings) -> None:
    with trier.armed():
        pointer = await around.child.malloc(bytes, 1 << 20)
        pointer.free()
        await around.child.malloc(bytes, 100)


def _try(body: Scenario, kind: type[BaseException], step: int, first: int = 0, seconds: float = 100) -> Tried:
    around = Surroundings()
    try:
        return try_every_place(
            lambda trier: trio.run(body, trier, around),
            around.check,
            kind=kind,
            step=step,
            first=first,
            seconds=seconds,
        )
    finally:
        trio.run(around.close)


# Each part of a scenario raises at every `PARTS`-th place.
PARTS = 8

# How many places there are at least, in all parts together: on Python 3.10, on 3.11, and on those that tell
# of instructions by sys.monitoring.
PLACES = {
    "call": (16, 16, 16),
    "call_that_sleeps": (499, 531, 480),
    "batch": (25, 32, 25),
    "read_that_sleeps": (160, 160, 160),
    "read": (320, 339, 300),
    "clone": (1632, 1702, 1491),
    "exec": (2600, 2900, 2450),
    "run": (1990, 2067, 1894),
    "exit_and_wait": (1180, 1250, 1130),
    "clone_and_drop": (20, 80, 60),
    "block": (2650, 3000, 2500),
    "epoll": (510, 640, 480),
    "pass_descriptor": (3398, 3744, 3059),
    "channel": (3353, 3584, 2732),
    "close": (108, 108, 96),
    "open_and_drop": (300, 300, 200),
    "mapping": (240, 240, 240),
    "memory": (200, 200, 200),
}
_VERSION = min(sys.version_info[1] - 10, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "body", [own_memory, copy_of_own_memory, run_with_pipes], ids=lambda body: body.__name__
)
def test_an_exception_at_some_places(body: Scenario) -> None:
    """There are too many for all of them."""
    tried = _try(body, Interruption, 211)
    assert not tried.wrong, str(tried)
    assert len(tried.places) > 20


@pytest.mark.slow
@pytest.mark.parametrize("first", range(PARTS))
@pytest.mark.parametrize("body", SCENARIOS, ids=lambda body: body.__name__)
def test_an_exception_at_every_place(body: Scenario, first: int) -> None:
    tried = _try(body, Interruption, PARTS, first)
    assert not tried.wrong, str(tried)
    assert not tried.lost, str(tried)
    assert len(tried.places) >= PLACES[body.__name__][_VERSION] // PARTS, str(tried)


# Coprime to the length of what is repeated.
STREAM_STEP = 47
_FIRST = range(STREAM_STEP) if os.environ.get("RSYSCALL_EVERY_PLACE") else [5]

# As `PLACES`, over the stream.
STREAM_PLACES = {
    "call": (1500, 1550, 1400),
    "call_that_sleeps": (1500, 1550, 1400),
    "batch": (1500, 1600, 1450),
    "read_that_sleeps": (1500, 1550, 1400),
    "read": (1650, 1750, 1550),
    "clone": (4700, 5000, 4400),
    "exec": (5000, 5300, 4700),
    "run": (3800, 4100, 3500),
    "exit_and_wait": (3000, 3200, 3000),
    "clone_and_drop": (1900, 2100, 1800),
    "block": (4000, 4500, 4000),
    "epoll": (1900, 2000, 1800),
    "pass_descriptor": (4500, 4800, 4200),
    "channel": (4500, 4700, 4100),
    "close": (1650, 1700, 1500),
    "open_and_drop": (1900, 2000, 1700),
    "mapping": (1800, 1900, 1750),
    "memory": (250, 250, 250),
}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("first", _FIRST)
@pytest.mark.parametrize("body", SCENARIOS, ids=lambda body: body.__name__)
def test_an_exception_at_places_over_the_stream(
    body: Scenario, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.version_info < (3, 11) and body is clone_and_drop:
        pytest.skip("python: 3.10 keeps what a coroutine has deleted if it is traced at that moment")
    monkeypatch.setenv("RSYSCALL_TRANSPORT", "stream")
    tried = _try(body, Interruption, STREAM_STEP, first, seconds=250)
    assert not tried.wrong, str(tried)
    assert not tried.lost, str(tried)
    assert len(tried.places) >= STREAM_PLACES[body.__name__][_VERSION] // STREAM_STEP, str(tried)


async def two_callers(trier: Trier, around: Surroundings) -> None:
    """Both answers come when the loop that receives is about to take the place of the first caller."""
    answers = encode_response(1) + encode_response(2)
    async with pretender() as target:

        async def answer() -> None:
            target.peer.send(answers)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(target.call, SYS.getpid)
            await trio.testing.wait_all_tasks_blocked()
            with trier.armed():
                nursery.start_soon(target.call, SYS.getppid)
                nursery.start_soon(answer)
                await trio.testing.wait_all_tasks_blocked()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_exception_at_every_place_of_two_callers() -> None:
    tried = _try(two_callers, Interruption, 1, seconds=250)
    assert not tried.wrong, str(tried)
    assert not tried.lost, str(tried)
    assert len(tried.places) >= 1000, str(tried)


@pytest.mark.parametrize("body", [call, batch], ids=lambda body: body.__name__)
def test_a_keyboard_interrupt_at_every_place_of_a_call(body: Scenario) -> None:
    tried = _try(body, KeyboardInterrupt, 1)
    assert not tried.wrong, str(tried)
    assert not tried.lost, str(tried)
    assert len(tried.places) >= PLACES[body.__name__][_VERSION], str(tried)
