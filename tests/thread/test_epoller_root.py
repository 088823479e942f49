"""An epoll loop in a process other than ours, which blocks in epoll_wait."""

from __future__ import annotations

import gc
import os
import typing as t

import bare
import pytest
import trio
import trio.testing
from other import Other, other
from support import local_thread, pid_of
from waiting import is_in_call, wait_until

from rsyscall.epoll_loop import EpollWaiter
from rsyscall.epoller import AsyncFileDescriptor, Epoller, RemovedFromEpollError
from rsyscall.fcntl import F, O
from rsyscall.handle import FileDescriptor, Pointer
from rsyscall.memory.allocator import Allocation
from rsyscall.near import SYS, SyscallError, SyscallHangup, SyscallInterface, SyscallSendError
from rsyscall.near import types as near
from rsyscall.sys.epoll import EPOLL
from rsyscall.sys.wait import W
from rsyscall.thread import ChildThread
from rsyscall.unistd import Pipe


async def make_afd(epoller: Epoller, process: Other, number: int) -> AsyncFileDescriptor:
    fd = process.task.make_fd_handle(near.FileDescriptor(number))
    return await AsyncFileDescriptor.make(epoller, process.ram, fd)


async def until_it_polls(process: Other) -> None:
    """Wait until the last call made by the process is the one that waits for events."""
    await wait_until(lambda: process.sysif.calls[-1] is SYS.epoll_pwait)


async def do_async_things(epoller: Epoller, process: Other, i: int = 0) -> None:
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    reader, writer = await make_afd(epoller, process, read), await make_afd(epoller, process, write)
    data = f"hello, {i}".encode()
    received = []

    async def read_it() -> None:
        received.append(await reader.read_some_bytes())

    async with bare.closing(reader, writer), trio.open_nursery() as nursery:
        nursery.start_soon(read_it)
        await trio.testing.wait_all_tasks_blocked()
        await writer.write_all_bytes(data)
    assert received == [data]


async def test_one_and_several() -> None:
    """Calls are made while the process waits for events: the activity fd gets it out of there."""
    async with other() as process:
        epoller = await process.make_root()
        with trio.fail_after(60):
            await do_async_things(epoller, process)
            async with trio.open_nursery() as nursery:
                for i in range(5):
                    nursery.start_soon(do_async_things, epoller, process, i)
        assert "root" in repr(epoller.epoll_waiter)
        await epoller.epfd.invalidate()


async def test_blocks_only_while_somebody_waits() -> None:
    """A process in epoll_wait has to be woken for each call; so it is not there without a waiter."""
    async with other() as process:
        epoller = await process.make_root()
        with trio.fail_after(60):
            await do_async_things(epoller, process)
            # What the end of the last wait still asks of it.
            await trio.testing.wait_all_tasks_blocked(0.01)
            process.sysif.calls.clear()
            for _ in range(10):
                await process.task.getpid()
        assert process.sysif.calls == [SYS.getpid] * 10
        await epoller.epfd.invalidate()


async def test_activity_does_not_spin() -> None:
    """The loop wakes up for a call, and goes on waiting."""
    async with other() as process:
        epoller = await process.make_root()
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        reader = await make_afd(epoller, process, read)
        with trio.fail_after(60):
            async with bare.closing(reader), trio.open_nursery() as nursery:
                nursery.start_soon(reader.epolled.wait_for, EPOLL.HUP)
                await until_it_polls(process)
                process.sysif.calls.clear()
                for _ in range(10):
                    await process.task.getpid()
                # It would spin in this time.
                await trio.sleep(0.02)
                assert len(process.sysif.calls) < 40
                os.close(write)
        await epoller.epfd.invalidate()


def test_events_of_an_abandoned_wait_are_not_lost() -> None:
    """A run ends while the process waits; the event comes; the next run hears of it."""
    process = Other()
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    epoller: Epoller
    reader: AsyncFileDescriptor

    async def begin() -> None:
        nonlocal epoller, reader
        epoller = await process.make_root()
        reader = await make_afd(epoller, process, read)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.read_some_bytes)
            await until_it_polls(process)
            nursery.cancel_scope.cancel()
        # The loop does not know yet that the waiter has gone.
        assert process.sysif.calls[-1] is SYS.epoll_pwait

    async def wait(expected: bytes) -> None:
        with trio.fail_after(60):
            assert await reader.read_some_bytes() == expected

    try:
        trio.run(begin)
        assert epoller.epoll_waiter._unsettled  # else the test tests nothing
        # The abandoned call reports this edge, and no waiter hears it.
        os.write(write, b"one")
        while process.sysif.queue.qsize():
            pass

        async def wait_for_edge() -> None:
            with trio.fail_after(60):
                await reader.epolled.wait_for(EPOLL.IN)

        reader.epolled.status.clear()
        trio.run(wait_for_edge)
        trio.run(wait, b"one")

        # And once more, across runs that do nothing about it.
        async def abandon() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(reader.read_some_bytes)
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()

        for _ in range(3):
            trio.run(abandon)
        os.write(write, b"two")
        trio.run(wait, b"two")

        async def close() -> None:
            await reader.close()
            await epoller.epfd.invalidate()

        trio.run(close)
    finally:
        os.close(write)
        process.close()


def test_a_buffer_the_kernel_may_write_to_is_not_given_back() -> None:
    process = Other()
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    async def abandon() -> tuple[int, int]:
        epoller = await process.make_root()
        reader = await make_afd(epoller, process, read)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.read_some_bytes)
            await until_it_polls(process)
            nursery.cancel_scope.cancel()
        # Where the kernel may still write: no public name tells the address.
        buffer = epoller.epoll_waiter._buffer
        assert buffer is not None
        return address_range(buffer)

    start, end = trio.run(abandon)
    gc.collect()
    pointers = [bare.run_now(bare.ram.malloc(bytes, end - start)) for _ in range(100)]
    for new_start, new_end in map(address_range, pointers):
        assert new_end <= start or end <= new_start
    # (So that the process leaves epoll_wait.)
    os.close(write)
    process.close()


def address_range(pointer: Pointer[t.Any]) -> tuple[int, int]:
    start = pointer.mapping.near.address + t.cast(Allocation, pointer.allocation).start
    return start, start + pointer.size()


async def test_lost_process_is_told_to_all_who_wait() -> None:
    async with other() as process:
        epoller = await process.make_root()
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        reader = await make_afd(epoller, process, read)
        errors: list[BaseException] = []

        async def wait() -> None:
            try:
                await reader.epolled.wait_for(EPOLL.HUP)
            except SyscallError as exn:
                errors.append(exn)

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                nursery.start_soon(wait)
                await until_it_polls(process)
                process.sysif.broken = process.sysif.calls[-1]
                os.close(write)
            assert [type(exn) for exn in errors] == [SyscallSendError] * 2
            assert errors[0] is not errors[1]
            with pytest.raises(SyscallSendError):
                await reader.epolled.wait_for(EPOLL.HUP)
            # Deregistering is impossible and unnecessary; closing is left to those who share the table.
            await reader.close()
            await reader.close()
            with pytest.raises(RemovedFromEpollError):
                await reader.epolled.wait_for(EPOLL.HUP)
            # The file may be open elsewhere, so its number is not used again.
            assert epoller.epoll_waiter.allocate_number(read) == read + 1_0000000000
        await epoller.epfd.move(bare.task).close()


@pytest.mark.parametrize("step", ["_take", "_clear"])
@pytest.mark.parametrize("error", [ZeroDivisionError, TimeoutError])
async def test_an_exception_of_a_signal_handler_ends_no_later_wait(
    step: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def interrupted(*_: object) -> None:
        raise error("from a signal handler")

    async with other() as process:
        epoller = await process.make_root()
        with trio.fail_after(60):
            with monkeypatch.context() as patch:
                patch.setattr(EpollWaiter, step, interrupted)
                with pytest.raises(BaseException) as caught:  # perhaps in a group
                    await do_async_things(epoller, process)
                assert error.__name__ in repr(caught.value)
            # With its traceback it keeps what is closed below.
            del caught
            await do_async_things(epoller, process)
            del epoller
            gc.collect()


async def test_a_process_that_gets_a_new_connection_goes_on() -> None:
    """The call is lost with the old connection; its events are not."""
    async with other() as process:
        epoller = await process.make_root()
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        reader = await make_afd(epoller, process, read)
        received = []

        async def read_it() -> None:
            received.append(await reader.read_some_bytes())

        sysif = process.sysif

        class Reconnected(SyscallInterface):
            """Passes all calls on; replaces a lost connection at once."""

            abi = sysif.abi

            async def syscall(self, number: SYS, *args: t.SupportsInt) -> int:
                try:
                    return await sysif.syscall(number, *args)
                except SyscallHangup:
                    sysif.closed, sysif.broken = False, None
                    raise

            async def close_interface(self) -> None:
                await sysif.close_interface()

            def get_activity_fd(self) -> t.Any:
                return sysif.get_activity_fd()

        process.task.sysif = Reconnected()
        with trio.fail_after(60):
            async with bare.closing(reader):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(read_it)
                    await until_it_polls(process)
                    sysif.broken = sysif.calls[-1]
                    os.write(write, b"data")
                assert received == [b"data"]
            await epoller.epfd.invalidate()
        os.close(write)
        process.task.sysif = sysif


async def test_inherited_epoller() -> None:
    """A process with a copy of our table registers its own files with our instance."""
    async with bare.local_epoller() as epoller, other(share_files=False) as process:
        inherited = epoller.inherit(process.ram)
        assert inherited.epoll_waiter is epoller.epoll_waiter
        with trio.fail_after(60):
            reading, writing = await process_pipe(process)
            reader = await AsyncFileDescriptor.make(inherited, process.ram, reading)
            writer = await AsyncFileDescriptor.make(inherited, process.ram, writing)
            async with bare.closing(reader, writer), trio.open_nursery() as nursery:

                async def read_it() -> None:
                    assert await reader.read_some_bytes() == b"data"

                nursery.start_soon(read_it)
                await trio.testing.wait_all_tasks_blocked()
                await writer.write_all_bytes(b"data")


async def process_pipe(process: Other) -> tuple[FileDescriptor, FileDescriptor]:
    pipe = await (await process.task.pipe(await process.ram.malloc(Pipe), O.NONBLOCK)).read()
    return pipe.read, pipe.write


@pytest.mark.usefixtures("transport")
def test_a_child_across_runs() -> None:
    """The second run hears of events between two runs, while the child is blocked in epoll_wait."""

    async def begin() -> tuple[ChildThread, Epoller, AsyncFileDescriptor, FileDescriptor]:
        child = await local_thread.clone()
        epoller = await Epoller.make_root(child.ram, child.task)
        [(local, remote)] = await child.open_channels(1)
        await remote.fcntl(F.SETFL, O.NONBLOCK)
        reader = await AsyncFileDescriptor.make(epoller, child.ram, remote)
        with trio.move_on_after(0.05):
            await reader.read_some_bytes()
        return child, epoller, reader, local

    async def go_on() -> None:
        with trio.fail_after(60):
            # Not even optimism helps: the state has been told EAGAIN.
            await reader.epolled.wait_for(EPOLL.IN)
            assert await reader.read_some_bytes() == b"between the runs"
            with trio.move_on_after(0.02):
                await reader.read_some_bytes()

    async def end() -> None:
        with trio.fail_after(60):
            await reader.close()
            await child.exit(0)
            await child.process.waitpid(W.EXITED)
        await local.invalidate()

    child, _, reader, local = trio.run(begin)
    for _ in range(3):
        assert not reader.epolled.status.ready(EPOLL.IN)
        os.write(int(local.near), b"between the runs")
        trio.run(go_on)
    trio.run(end)


@pytest.mark.usefixtures("transport")
async def test_a_child_does_other_things_while_it_waits() -> None:
    child = await local_thread.clone()
    epoller = await Epoller.make_root(child.ram, child.task)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for i in range(10):
                nursery.start_soon(child_async_things, epoller, child, i)
        for _ in range(100):
            await child.task.getpid()
        await child.exit(0)
        await child.process.waitpid(W.EXITED)


async def child_async_things(epoller: Epoller, child: ChildThread, i: int) -> None:
    pipe = await child.pipe(O.NONBLOCK)
    reader = await AsyncFileDescriptor.make(epoller, child.ram, pipe.read)
    writer = await AsyncFileDescriptor.make(epoller, child.ram, pipe.write)
    async with bare.closing(reader, writer), trio.open_nursery() as nursery:

        async def read_it() -> None:
            assert await reader.read_some_bytes() == str(i).encode()

        nursery.start_soon(read_it)
        await trio.sleep(0.001 * i)
        await writer.write_all_bytes(str(i).encode())


async def test_killed_while_it_waits() -> None:
    child = await local_thread.clone()
    epoller = await Epoller.make_root(child.ram, child.task)
    pipe = await child.pipe(O.NONBLOCK)
    reader = await AsyncFileDescriptor.make(epoller, child.ram, pipe.read)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:

            async def read_it() -> None:
                with pytest.raises(SyscallError):
                    await reader.read_some_bytes()

            nursery.start_soon(read_it)
            await wait_until(
                lambda: any(is_in_call(pid_of(child), call) for call in (SYS.epoll_wait, SYS.epoll_pwait))
            )
            await child.process.kill()
        await child.process.waitpid(W.EXITED)
        await reader.close()
