"""Commands from OS threads, synchronous code and asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from waiting import eventually

from rsyscall.command import Command
from rsyscall.completed import CommandTimeoutError
from rsyscall.handle import FileDescriptor
from rsyscall.tasks.portal import Portal, PortalClosedError, run_sync
from rsyscall.thread import Thread

TRUE = Command("/bin/true", ["true"], {})


def sh(script: str) -> Command:
    return Command("/bin/sh", ["sh", "-c", script], {})


@pytest.fixture
def portal() -> Iterator[Portal]:
    with Portal() as portal:
        yield portal
    gc.collect()


def test_commands_from_many_threads(portal: Portal) -> None:
    results: list[bytes | None] = []

    def work(number: int) -> None:
        for _ in range(25):
            # Cyclic garbage, collected in whatever thread comes to it.
            circle: list[object] = []
            circle.append(circle)
            results.append(portal.run(sh(f"echo {number}"), capture=True).stdout)

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(result for result in results if result) == sorted(b"%d\n" % (n % 4) for n in range(100))


def resident() -> int:
    """Bytes of memory that are in use."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def children_of_ours() -> int:
    """How many children this program has, zombies included, whichever of its OS threads has made them."""
    count = 0
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it ends
            count += len((task / "children").read_text().split())
    return count


@pytest.mark.slow
def test_three_thousand_commands_with_cyclic_garbage(portal: Portal) -> None:
    """Descriptors, children and memory are as at the start."""

    async def spawn(garbage: list[object]) -> None:
        # Handles of ours and of a child, in circles that any of the threads may come to collect.
        pipe = await portal.thread.pipe()
        child = await portal.thread.clone()
        garbage += [pipe.read, pipe.write, child.inherit_fd(pipe.read), garbage]
        await (await child.exec(TRUE)).check()

    def work(count: int) -> None:
        for turn in range(count):
            garbage: list[object] = []
            if turn % 2:
                portal.call(spawn, garbage)
            else:
                garbage += [portal.run(sh("echo x"), capture=True), garbage]

    def from_four(count: int) -> None:
        threads = [threading.Thread(target=work, args=[count // 4]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    from_four(200)
    gc.collect()
    descriptors, memory, children = len(os.listdir("/proc/self/fd")), resident(), children_of_ours()
    from_four(3000)
    gc.collect()
    assert eventually(lambda: children_of_ours() <= children)
    assert eventually(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)
    assert resident() - memory < 8 << 20


def is_gone(path: str) -> bool:
    return not os.path.lexists(path)


def test_descriptors_dropped_in_another_os_thread_are_closed(portal: Portal) -> None:
    async def make(own_table: bool) -> tuple[list[FileDescriptor], int]:
        await portal.thread.run(TRUE)
        thread: Thread = await portal.thread.clone() if own_table else portal.thread
        kept.append(thread)
        pipe = await thread.pipe()
        return [pipe.write], int(pipe.write)

    kept: list[Thread] = []
    for own_table in (False, True):
        handles, number = portal.call(make, own_table)
        pid = kept[-1].task.process.near.id
        path = f"/proc/{pid}/fd/{number}"
        assert os.path.lexists(path)
        handles.clear()
        assert eventually(partial(is_gone, path))

    async def drop() -> None:
        kept.clear()

    portal.call(drop)


def test_errors_and_results_come_back(portal: Portal) -> None:
    async def divide(one: int, two: int) -> float:
        await trio.sleep(0)
        return one / two

    assert portal.call(divide, 1, two=2) == 0.5
    with pytest.raises(ZeroDivisionError):
        portal.call(divide, 1, 0)
    with pytest.raises(CommandTimeoutError):
        portal.run(sh("exec sleep 100"), timeout=0.05)

    async def handles() -> bytes:
        pipe = await portal.thread.pipe()
        await portal.thread.spit(pipe.write, "through a pipe")
        return await portal.thread.read_to_eof(pipe.read)

    assert portal.call(handles) == b"through a pipe"

    async def inside() -> None:
        portal.run(TRUE)

    with pytest.raises(RuntimeError, match="OS thread of the portal"):
        portal.call(inside)


def test_misuse_comes_back_and_leaves_the_portal_as_it_was(portal: Portal) -> None:
    wrong: Any = 3
    for options, words in (
        ({"timeout": -1}, "timeout"),
        ({"limit": 1}, "limit"),
        ({"stdin": 3}, "stdin"),
        ({"limits": 3}, "limits"),
        ({"shell": True}, "shell"),
    ):
        arguments: Any = options
        with pytest.raises((TypeError, ValueError), match=words):
            portal.run(TRUE, **arguments)
    with pytest.raises(TypeError, match="expected a Command, not 3"):
        portal.run(wrong)
    with pytest.raises(TypeError, match="check"):
        portal.run(TRUE, wrong)
    with pytest.raises(TypeError, match="async function"):
        portal.call(wrong)
    with pytest.raises(TypeError, match="async function"):
        portal.call(len, "abc")  # type: ignore[arg-type] # the mistake
    with pytest.raises(RuntimeError, match="open already"):
        portal.open()
    closed = Portal()
    with pytest.raises(PortalClosedError, match="not open"):
        closed.run(TRUE)
    closed.close()
    assert portal.run(TRUE).clean()


def test_closing_ends_what_goes_on() -> None:
    portal = Portal()
    with pytest.raises(PortalClosedError):
        portal.run(TRUE)
    portal.open()
    errors: list[BaseException] = []
    running = threading.Event()

    async def long() -> None:
        running.set()
        await portal.thread.run(sh("exec sleep 100"))

    def work() -> None:
        try:
            portal.call(long)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    running.wait()
    portal.close()
    thread.join()
    assert [type(error) for error in errors] == [PortalClosedError]
    with pytest.raises(PortalClosedError):
        portal.run(TRUE)
    portal.close()
    gc.collect()


def test_asyncio(portal: Portal, tmp_path: Path) -> None:
    async def main() -> None:
        async def run(script: str) -> bytes | None:
            return (await portal.call_from_asyncio(portal.thread.run, sh(script), capture=True)).stdout

        assert await asyncio.gather(*(run(f"echo {n}") for n in range(5))) == [b"%d\n" % n for n in range(5)]
        started = tmp_path / "started"
        task = asyncio.create_task(run(f"echo >{started}; exec sleep 100"))
        assert await asyncio.to_thread(eventually, started.exists)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 50)

    asyncio.run(main())


@pytest.mark.allow_leaks("the portal of the program stays")
def test_run_sync() -> None:
    assert run_sync(sh("cat"), stdin=b"text", capture=True).stdout == b"text"
    assert run_sync(sh("exit 3"), check=False).exit_status == 3
    # In a copy of the program, too.
    pid = os.fork()
    if not pid:
        try:
            os._exit(0 if run_sync(sh("exit 3"), check=False).exit_status == 3 else 1)
        finally:
            os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0

    async def main() -> None:
        run_sync(TRUE)

    with pytest.raises(RuntimeError, match="event loop"):
        trio.run(main)
