"""Reading a file up to its end."""

from __future__ import annotations

import os
from pathlib import Path as LocalPath

import pytest
import trio
import trio.testing
from support import local_thread, sh

from rsyscall.fcntl import O
from rsyscall.handle import FileDescriptor
from rsyscall.near import types as near
from rsyscall.path import Path
from rsyscall.thread import Thread
from rsyscall.trace import Tracer
from rsyscall.unistd import Pipe


async def open_file(thread: Thread, path: LocalPath) -> FileDescriptor:
    return await thread.task.open(await thread.ptr(Path(path)), O.RDONLY)


async def close(pipe: Pipe) -> None:
    for fd in (pipe.read, pipe.write):
        if fd.valid:
            await fd.close()


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 1_000_000, 16 << 20])
async def test_reads_grow(tmp_path: LocalPath, size: int) -> None:
    data = os.urandom(min(size, 65536)) * (size // 65536 or 1)
    path = tmp_path / "file"
    path.write_bytes(data)
    lines: list[str] = []
    fd = await open_file(local_thread, path)
    async with fd:
        with Tracer(lines.append).tracing(local_thread.task, "program"):
            assert await local_thread.read_to_eof(fd) == data
    reads = [line for line in lines if " read(" in line]
    # Doubled from 4 KiB to 1 MiB, then 1 MiB each, and one that finds the end.
    assert len(reads) <= 10 + (len(data) >> 20)


async def test_a_long_output_in_a_child(tmp_path: LocalPath, transport: str) -> None:
    path = tmp_path / "file"
    data = os.urandom(65536) * 48
    path.write_bytes(data)
    child = await local_thread.clone()
    async with child.process:
        fd = await open_file(child, path)
        assert await child.read_to_eof(fd) == data
        await fd.close()


@pytest.mark.parametrize("flags", [O(0), O.NONBLOCK])
async def test_the_program_goes_on_while_it_waits(flags: O) -> None:
    """Another task of the same OS thread writes while this one reads."""
    pipe = await local_thread.pipe(flags)
    data = b""

    async def read() -> None:
        nonlocal data
        data = await local_thread.read_to_eof(pipe.read)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            for text in (b"one ", b"two ", b"three"):
                await trio.testing.wait_all_tasks_blocked()
                await pipe.write.write(await local_thread.ptr(text))
            await pipe.write.close()
    assert data == b"one two three"
    await close(pipe)


async def test_waiting_can_be_cancelled() -> None:
    pipe = await local_thread.pipe()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(local_thread.read_to_eof, pipe.read)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    await pipe.write.write(await local_thread.ptr(b"later"))
    await pipe.write.close()
    assert await local_thread.read_to_eof(pipe.read) == b"later"
    await close(pipe)


async def test_the_output_of_a_command_that_we_end() -> None:
    """The program waits for its output and ends it, which it could not do if it were blocked."""
    pipe = await local_thread.pipe()
    child = await local_thread.clone()
    await child.inherit_fd(pipe.write).dup2(child.stdout)
    await pipe.write.close()
    process = await child.exec(sh("echo hello; exec sleep 1000"))
    output = b""

    async def read() -> None:
        nonlocal output
        output = await local_thread.read_to_eof(pipe.read)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            async with process:
                pass
    assert output in (b"hello\n", b"")  # it may have been ended before it said so
    await close(pipe)


async def test_errors_are_those_of_read(tmp_path: LocalPath) -> None:
    directory = await open_file(local_thread, tmp_path)
    with pytest.raises(IsADirectoryError) as caught:
        await local_thread.read_to_eof(directory)
    assert caught.value.filename is directory
    await directory.close()
    pipe = await local_thread.pipe()
    with pytest.raises(OSError, match="Bad file descriptor"):
        await local_thread.read_to_eof(pipe.write)
    await close(pipe)


async def test_devices_that_cannot_be_waited_for() -> None:
    fd = local_thread.task.make_fd_handle(near.FileDescriptor(os.open("/dev/null", os.O_RDONLY)))
    assert await local_thread.read_to_eof(fd) == b""
    await fd.close()
