"""Programs without standard descriptors, or with some that change while they run."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Iterator

import pytest
import trio
from support import sh

from rsyscall.handle.fd import InvalidHandleError
from rsyscall.local import LocalThread
from rsyscall.near import types as near
from rsyscall.sched import CLONE
from rsyscall.sys.socket import AF, SOCK
from rsyscall.thread import Thread
from rsyscall.unistd import Pipe


def open_fds() -> set[int]:
    """The numbers of open descriptors; without pidfds, which a background task closes after an exit."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the directory
            if "pidfd" not in os.readlink(f"/proc/self/fd/{name}"):
                found.add(int(name))
    return found


@contextlib.contextmanager
def without(*numbers: int) -> Iterator[None]:
    """Close standard descriptors; they come back at the end, so that errors can be shown."""
    kept = {number: os.dup(number) for number in numbers}
    for number in numbers:
        os.close(number)
    try:
        yield
    finally:
        for number, copy in kept.items():
            os.dup2(copy, number)
            os.close(copy)


async def used(thread: Thread) -> None:
    """Make everything that the library makes on demand."""
    await thread.run(sh("true"))
    async with (await thread.clone()).process:
        pass
    gc.collect()


def gone() -> None:
    """Its number goes to something that we open."""

    async def main() -> None:
        thread = LocalThread()
        await used(thread)
        for make in (thread.pipe, lambda: thread.socketpair(AF.UNIX, SOCK.STREAM)):
            with without(0):
                before = open_fds()
                stdin = thread.stdin
                pair = await make()
                assert 0 in open_fds()
                with pytest.raises(InvalidHandleError):
                    await stdin.read(await thread.ptr(b"x"))
                with pytest.raises(InvalidHandleError):
                    await thread.stdin.read(await thread.ptr(b"x"))
                # What we opened is closed when it is dropped, whatever its number.
                del pair
                gc.collect()
                # The end of an earlier stream may be closed only now.
                assert open_fds() <= before
                # Not open; and then open again.
                with pytest.raises(OSError, match="Bad file descriptor"):
                    await thread.stdin.read(await thread.ptr(b"x"))
                os.open("/dev/zero", os.O_RDONLY)
                valid, _ = await thread.stdin.read(await thread.ptr(b"x"))
                assert await valid.read() == b"\0"
                # It is the program's: dropping the handle does not close it.
                thread.stdin = thread.stderr
                del stdin
                gc.collect()
                os.fstat(0)
                thread.stdin = thread.task.make_fd_handle(near.FileDescriptor(0))

    trio.run(main)


def closed_by_us() -> None:
    """Through its handle, as a daemon does."""

    async def main() -> None:
        thread = LocalThread()
        await used(thread)
        kept = os.dup(0)
        before = open_fds()
        await thread.stdin.close()
        pipe = await thread.pipe()
        assert int(pipe.read) == 0
        del pipe
        gc.collect()
        assert open_fds() == before - {0}
        os.dup2(kept, 0)
        os.close(kept)
        assert (await thread.stdin.fcntl(1)) >= 0  # F_GETFD

    trio.run(main)


def follows() -> None:
    """The program replaces it by another file."""

    async def main() -> None:
        thread = LocalThread()
        read, write = os.pipe()
        os.write(write, b"new")
        os.dup2(read, 0)
        valid, _ = await thread.stdin.read(await thread.ptr(b"..."))
        assert await valid.read() == b"new"
        os.write(write, b"again")
        os.close(write)
        os.close(read)
        assert await thread.read_to_eof(thread.stdin) == b"again"

    trio.run(main)


def commands(closed: list[int]) -> None:
    """The pipes for the output of a command have the numbers of standard descriptors."""

    async def output_of(thread: Thread, run: Callable[[Pipe], object]) -> bytes:
        pipe = await thread.pipe()
        await run(pipe)  # type: ignore[misc]  # a coroutine function
        await pipe.write.close()
        data = await thread.read_to_eof(pipe.read)
        await pipe.read.close()
        return data

    async def main() -> None:
        thread = LocalThread()
        await used(thread)

        async def by_clone(pipe: Pipe) -> None:
            child = await thread.clone()
            await child.inherit_fd(pipe.write).dup2(child.stdout)
            await (await child.exec(sh("echo hello"))).check()

        async def by_prepare(pipe: Pipe) -> None:
            child = thread.prepare()
            await child.inherit_fd(pipe.write).dup2(child.stdout)
            await (await child.exec(sh("echo hello"))).check()

        async def in_a_grandchild(pipe: Pipe) -> None:
            child = await thread.clone()
            output = child.inherit_fd(pipe.write)
            own = await child.pipe()
            grandchild = await child.clone()
            await grandchild.inherit_fd(output).dup2(grandchild.stdout)
            await (await grandchild.exec(sh("echo hello"))).check()
            await own.read.close()
            await own.write.close()
            await child.exit(0)
            async with child.process:
                pass

        with without(*closed):
            before = open_fds()
            for run in (by_clone, by_prepare, in_a_grandchild):
                if run is by_prepare and os.environ["RSYSCALL_TRANSPORT"] != "ring":
                    continue
                assert await output_of(thread, run) == b"hello\n", run
                await thread.run(sh("true"))
                gc.collect()
                # The end of an earlier stream may be closed only now.
                assert open_fds() <= before

    trio.run(main)


def shared() -> None:
    """A child that shares our table sees what we see: the number of its stdin is that of a pipe."""

    async def main() -> None:
        thread = LocalThread()
        await used(thread)
        with without(0):
            pipe = await thread.pipe()
            assert int(pipe.read) == 0
            child = await thread.clone(CLONE.FILES)
            async with child.process:
                with pytest.raises(InvalidHandleError):
                    await pipe.write.dup2(child.stdin)
                own = child.inherit_fd(pipe.read)
                await pipe.write.write(await thread.ptr(b"x"))
                valid, _ = await own.read(await child.ptr(b"."))
                assert await valid.read() == b"x"
            await pipe.write.close()
            await pipe.read.invalidate()

    trio.run(main)
