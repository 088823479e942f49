"""Programs for `test_epoller.py`."""

from __future__ import annotations

import os

import pytest
import trio
import trio.testing

from rsyscall.epoller import AsyncFileDescriptor
from rsyscall.fcntl import O
from rsyscall.local import LocalThread
from rsyscall.near.local import ForkedProcessError
from rsyscall.unistd import Pipe


def fork() -> None:
    """A copy of the program waits for what the program itself waits for: refused, at once."""
    thread = LocalThread()
    reader: AsyncFileDescriptor
    pipe: Pipe

    async def misuse() -> None:
        with trio.fail_after(60), pytest.raises(ForkedProcessError, match="forked this one"):
            await reader.read_some_bytes()

    def in_copy(refused: bool) -> None:
        """End the copy, and say in the program how it went."""
        os._exit(0 if refused else 1)

    async def copy_of_a_run() -> bool:
        await misuse()
        return True

    def check(pid: int) -> None:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    async def main() -> None:
        nonlocal reader, pipe
        pipe = await thread.pipe(O.NONBLOCK)
        reader = await thread.make_afd(pipe.read)
        received = []

        async def read() -> None:
            received.append(await reader.read_some_bytes())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            pid = os.fork()
            if not pid:
                refused = False
                try:
                    refused = await copy_of_a_run()
                finally:
                    in_copy(refused)
            check(pid)
            os.write(int(pipe.write), b"x")
        assert received == [b"x"]

    trio.run(main)
    pid = os.fork()
    if not pid:
        refused = False
        try:
            refused = trio.run(copy_of_a_run)
        finally:
            in_copy(refused)
    check(pid)

    async def again() -> None:
        os.write(int(pipe.write), b"y")
        with trio.fail_after(60):
            assert await reader.read_some_bytes() == b"y"

    trio.run(again)
