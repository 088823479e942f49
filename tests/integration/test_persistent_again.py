"""What stays in a persistent process of the threads that have driven it."""

from __future__ import annotations

import errno
import gc
import os
import resource
import signal
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path as LocalPath

import pytest
import trio
import trio.testing

from rsyscall.tasks.local import local_thread
from rsyscall.tasks.persistent import PersistentThread, clone_persistent, connect_persistent


@pytest.fixture
def path(tmp_path: LocalPath) -> Iterator[LocalPath]:
    yield tmp_path / "socket"
    assert os.listdir(tmp_path) == [], "nothing is left"


@asynccontextmanager
async def persistent(path: LocalPath, seconds: float = 60) -> AsyncIterator[PersistentThread]:
    """A process that is ended after this, which takes at most so many seconds."""
    thread = await clone_persistent(local_thread, path)
    try:
        with trio.fail_after(seconds):
            yield thread
    finally:
        await thread.end()


def holdings(pid: int) -> tuple[set[str], int, int]:
    """The descriptors of a process, and how many mappings and children it has."""
    directory = LocalPath(f"/proc/{pid}")
    children = (directory / "task" / str(pid) / "children").read_text().split()
    maps = (directory / "maps").read_text().splitlines()
    return set(os.listdir(directory / "fd")), len(maps), len(children)


async def use(thread: PersistentThread) -> None:
    """Wait there for a descriptor, over which something is sent."""
    pipe = await thread.pipe()
    reading = await thread.make_afd(pipe.read, set_nonblock=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reading.read_some_bytes)
        await trio.testing.wait_all_tasks_blocked()
        await pipe.write.write(await thread.ram.ptr(b"x"))
    await reading.close()
    await pipe.write.invalidate()


def virtual(pid: int) -> int:
    """The size of the memory of a process, in pages."""
    return int(LocalPath(f"/proc/{pid}/statm").read_text().split()[0])


async def test_the_memory_of_a_thread_that_disconnects_is_unmapped(path: LocalPath) -> None:
    async with persistent(path) as thread:
        await use(thread)
        pid = int(await thread.task.getpid())
        before = virtual(pid)
        for _ in range(10):
            other = await connect_persistent(local_thread, path, take_over=True)
            await use(other)
            assert virtual(pid) > before
            await other.disconnect()
            assert virtual(pid) == before
        # It can go on, with new memory.
        await other.reconnect(local_thread)
        await use(other)
        kept = await other.ram.ptr(b"for the next one")
        await other.disconnect()
        await thread.reconnect(local_thread)
        assert await thread.task.sysif.read_memory(kept.near.address, 16) == b"for the next one"


async def test_disconnecting_does_not_wait_for_a_process_that_is_blocked(path: LocalPath) -> None:
    async with persistent(path) as thread:
        await use(thread)
        pid = int(await thread.task.getpid())
        other = await connect_persistent(local_thread, path, take_over=True)
        await use(other)
        os.kill(pid, signal.SIGSTOP)
        try:
            await other.disconnect()
        finally:
            os.kill(pid, signal.SIGCONT)
        # Once the connection is lost there is nothing to wait for.
        await other.disconnect()
        await thread.reconnect(local_thread)
        await use(thread)


@pytest.mark.parametrize("way", ["disconnected", "dropped"])
async def test_one_program_connects_again_and_again(path: LocalPath, way: str) -> None:
    async with persistent(path, 100) as thread:
        await use(thread)
        pid = int(await thread.task.getpid())
        before, held = holdings(pid), len(os.listdir("/proc/self/fd"))
        for number in range(200):
            other = await connect_persistent(local_thread, path, take_over=True)
            if number % 50 == 0:
                await use(other)
            await other.task.getpid()
            if way == "disconnected":
                await other.disconnect()
            del other
        gc.collect()
        await thread.reconnect(local_thread, take_over=True)
        assert holdings(pid) == before
        # Others may have been dropped by earlier tests.
        assert len(os.listdir("/proc/self/fd")) <= held
        await use(thread)


async def test_many_threads_of_one_process_take_turns(path: LocalPath) -> None:
    """The kernel would not have as many epoll instances watch one file."""
    async with persistent(path, 100) as thread:
        pid = int(await thread.task.getpid())
        # As many as there can be need four descriptors each.
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (2048, 2048))
        others: list[PersistentThread] = []
        with pytest.raises(OSError, match="drop those") as many:
            while len(others) < 300:
                others.append(await connect_persistent(local_thread, path, take_over=True))
        assert many.value.errno == errno.EUSERS
        assert len(others) == 255
        # The one that is connected stays so.
        await use(others[-1])
        for number in (0, 100, 200):
            await others[number].reconnect(local_thread, take_over=True)
            await use(others[number])
        del others[100:110]
        gc.collect()
        for _ in range(10):
            others.append(await connect_persistent(local_thread, path, take_over=True))
        await use(others[-1])
        await thread.reconnect(local_thread, take_over=True)
        await use(thread)


async def test_a_thread_that_is_dropped_takes_nothing_along(path: LocalPath) -> None:
    async with persistent(path) as thread:
        pid = int(await thread.task.getpid())
        before = set(os.listdir(f"/proc/{pid}/fd"))
        other = await connect_persistent(local_thread, path, take_over=True)
        await other.task.getpid()
        during = set(os.listdir(f"/proc/{pid}/fd"))
        # Dropped before its task, through which the descriptors of dropped handles are closed.
        task = other.task
        del other
        await trio.testing.wait_all_tasks_blocked()
        await task.getpid()
        assert set(os.listdir(f"/proc/{pid}/fd")) == during
        await thread.reconnect(local_thread, take_over=True)
        assert set(os.listdir(f"/proc/{pid}/fd")) == before
        await use(thread)


@pytest.mark.parametrize("count", [1, 2, 100])
async def test_descriptors_that_nobody_asked_for_do_not_stay(path: LocalPath, count: int) -> None:
    async with persistent(path) as thread:
        pid = int(await thread.task.getpid())
        before = set(os.listdir(f"/proc/{pid}/fd"))
        for knock in (
            b"x",
            struct.pack("8sII", b"RSYSDOOR", 0, 0),
            struct.pack("8sII", b"RSYSDOOR", 2, 0),
        ):
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.settimeout(60)
                stranger.connect(str(path))
                socket.send_fds(stranger, [knock], [0] * count)
                while stranger.recv(100):
                    pass
        assert await thread.task.getpid() == thread.task.near_process
        assert set(os.listdir(f"/proc/{pid}/fd")) == before
