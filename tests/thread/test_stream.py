"""Driving a process over a byte stream, with the real program at the other end."""

from __future__ import annotations

import errno
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import trio
import trio.testing
from streams import Target, pretender, program, start, using
from support import local_thread
from waiting import wait_for_call, wait_until

from rsyscall.near import SYS, Syscall, SyscallHangup, SyscallSendError
from rsyscall.near.abi import ABIS
from rsyscall.near.protocol import MAX_TRANSFER, ProtocolError, encode_response
from rsyscall.sched import CLONE
from rsyscall.stream import RsyscallSyscall
from rsyscall.sys.wait import W
from rsyscall.thread import ChildThread

Connect = Callable[[], AbstractAsyncContextManager[Target]]


@pytest.fixture(params=["local", "child", "pipes"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """The program; our end of the stream is in our own process, or calls on it are made by a child."""

    @asynccontextmanager
    async def connect() -> AsyncIterator[Target]:
        # One that has our descriptors, and not copies of them that stay open when we close ours.
        thread = await local_thread.clone(CLONE.FILES) if request.param == "child" else local_thread
        try:
            async with using(await start(thread, pipes=request.param == "pipes")) as target:
                yield target
        finally:
            if isinstance(thread, ChildThread):
                await thread.exit(0)
                await thread.process.waitpid(W.EXITED)

    return connect


# ---- Calls


async def test_calls(connect: Connect) -> None:
    async with connect() as target:
        assert await target.call(SYS.getpid) == target.pid
        assert await target.call(SYS.getppid) == os.getpid()
        for mask in range(100):
            await target.call(SYS.umask, mask)
        assert await target.call(SYS.umask, 0) == 99
        with pytest.raises(OSError) as caught:
            await target.call(SYS.close, -1)
        assert caught.value.errno == errno.EBADF
        with pytest.raises(OSError) as caught:
            await target.conn.syscall(100_000)  # type: ignore[arg-type]  # no call has this number
        assert caught.value.errno == errno.ENOSYS
        assert target.conn.get_activity_fd() is target.conn.server_infd


async def test_arguments_are_checked_before_anything_is_sent() -> None:
    async with pretender() as target:
        with pytest.raises(ValueError):
            await target.call(SYS.close, 2**64)
        with pytest.raises(TypeError):
            await target.conn.syscall(SYS.close, object())  # type: ignore[arg-type]  # on purpose
        with pytest.raises(ValueError):
            await target.conn.syscalls([Syscall(SYS.getpid), Syscall(SYS.close, -(2**64))])
        with pytest.raises(BlockingIOError):
            target.peer.recv(1)


async def test_numbers_are_those_of_the_process() -> None:
    async with pretender() as target:
        target.conn.abi = ABIS["aarch64"]
        await target.begin(target.call(SYS.getpid), target.conn.syscalls([Syscall(SYS.getppid)]))
        assert [number for _, number in await target.requests(2)] == [172, 173]
        target.peer.send(encode_response(5) + encode_response(6))
        assert await target.outcomes() == [5, [6]]


async def test_many_at_once_are_answered_in_order(connect: Connect) -> None:
    count = 300
    async with connect() as target:

        async def call(mask: int) -> None:
            before = await target.call(SYS.umask, mask)
            # Each gets the mask that the one before it has set.
            assert before == mask - 1 or mask == 0

        async with trio.open_nursery() as nursery:
            for mask in range(count):
                nursery.start_soon(call, mask)
                # trio shuffles those that start together.
                await trio.lowlevel.cancel_shielded_checkpoint()


async def test_a_caller_that_is_alone_waits_itself() -> None:
    class Started(trio.abc.Instrument):
        tasks = 0

        def task_spawned(self, task: trio.lowlevel.Task) -> None:
            self.tasks += 1

    async with program() as target:
        await target.call(SYS.getpid)
        started = Started()
        trio.lowlevel.add_instrument(started)
        for _ in range(20):
            assert await target.call(SYS.getpid) == target.pid
        trio.lowlevel.remove_instrument(started)
        assert started.tasks == 0


async def test_callers_that_come_and_go() -> None:
    """The one that waits itself leaves that to the loop, and another takes it back."""
    async with program() as target:
        for others in range(60):
            async with trio.open_nursery() as nursery:
                for _ in range(others % 3):
                    nursery.start_soon(target.call, SYS.getppid)
                with trio.move_on_after(0 if others % 4 else 1):
                    assert await target.call(SYS.getpid) == target.pid
            assert await target.call(SYS.getpid) == target.pid


async def test_batches(connect: Connect) -> None:
    async with connect() as target:
        assert await target.conn.syscalls([]) == []
        calls = [Syscall(SYS.umask, mask % 0o777) for mask in range(5000)]
        results = await target.conn.syscalls(calls)
        assert results[1:] == [call.arg1 for call in calls[:-1]]
        assert await target.conn.syscalls([Syscall(SYS.close, -1), Syscall(SYS.getpid)]) == [
            -errno.EBADF,
            target.pid,
        ]
        assert await target.conn.do_syscall(RsyscallSyscall(SYS.getpid)) == target.pid
        assert await target.conn.do_syscall(RsyscallSyscall(SYS.close, -1)) == -errno.EBADF


async def test_linked_batches_stop_at_a_failure() -> None:
    async with program() as target:
        before = await target.call(SYS.umask, 0o22)
        calls = [Syscall(SYS.umask, 1), Syscall(SYS.close, -1), Syscall(SYS.umask, 2), Syscall(SYS.umask, 3)]
        expected = [0o22, -errno.EBADF, -errno.ECANCELED, -errno.ECANCELED]
        assert await target.conn.syscalls(calls, linked=True) == expected
        assert await target.call(SYS.umask, before) == 1


async def test_a_call_that_blocks_blocks_nobody_else() -> None:
    async with program() as sleeper, program() as other:
        await sleeper.begin(sleeper.sleep(1000))
        await wait_for_call(sleeper.pid, SYS.nanosleep)
        for _ in range(10):
            assert await other.call(SYS.getpid) == other.pid
        assert not sleeper.answered
        sleeper.process.kill()
        assert [type(outcome) for outcome in await sleeper.outcomes()] == [SyscallHangup]


# ---- Memory


@pytest.mark.parametrize("length", [0, 1, 2048, 2049, MAX_TRANSFER, 3 * MAX_TRANSFER + 5])
async def test_memory_round_trips(connect: Connect, length: int) -> None:
    data = os.urandom(length)
    async with connect() as target:
        address = await target.map(length + 4096)
        await target.conn.write_memory(address + 1, data)
        assert await target.conn.read_memory(address + 1, length) == data
        assert await target.conn.read_memory(address, 1) == b"\0"
        assert await target.conn.read_memory(address + 1 + length, 1) == b"\0"


async def test_bad_addresses() -> None:
    async with program() as target:
        for length in (1, 10_000, 2 * MAX_TRANSFER):
            with pytest.raises(OSError) as caught:
                await target.conn.read_memory(8, length)
            assert caught.value.errno == errno.EFAULT
            with pytest.raises(OSError) as caught:
                await target.conn.write_memory(8, bytes(length))
            assert caught.value.errno == errno.EFAULT
        with pytest.raises(ValueError):
            await target.conn.read_memory(8, -1)
        assert await target.call(SYS.getpid) == target.pid


async def test_large_transfers_in_both_directions_at_once(connect: Connect) -> None:
    size = 5 * MAX_TRANSFER + 333
    async with connect() as target:
        data = [os.urandom(size) for _ in range(3)]
        addresses = [await target.map(size) for _ in data]
        await target.conn.write_memory(addresses[0], data[0])

        async def read() -> None:
            for _ in range(3):
                assert await target.conn.read_memory(addresses[0], size) == data[0]

        async def write(index: int) -> None:
            for _ in range(3):
                await target.conn.write_memory(addresses[index], data[index])

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                nursery.start_soon(write, 1)
                nursery.start_soon(write, 2)
                nursery.start_soon(read)
        for index in (1, 2):
            assert await target.conn.read_memory(addresses[index], size) == data[index]


# ---- The end of the process


async def test_killed_with_calls_under_way(connect: Connect) -> None:
    async with connect() as target:
        await target.begin(target.sleep(1000))
        await wait_for_call(target.pid, SYS.nanosleep)
        await target.begin(*(target.call(SYS.getpid) for _ in range(3)))
        await target.begin(target.conn.syscalls([Syscall(SYS.getpid)]), target.conn.read_memory(0, 1))
        await wait_until(lambda: "6 calls under way)" in repr(target.conn))
        target.process.kill()
        outcomes = await target.outcomes()
        assert [type(outcome) for outcome in outcomes] == 6 * [SyscallHangup]
        assert len({id(outcome) for outcome in outcomes}) == 6
        for _ in range(2):
            with pytest.raises(SyscallSendError):
                await target.call(SYS.getpid)
        with pytest.raises(SyscallSendError):
            await target.conn.syscalls([Syscall(SYS.getpid)])
        with pytest.raises(SyscallSendError):
            await target.conn.read_memory(0, 1)


async def test_killed_while_idle(connect: Connect) -> None:
    async with connect() as target:
        assert await target.call(SYS.getpid) == target.pid
        target.process.kill()
        target.process.wait()
        with pytest.raises((SyscallSendError, SyscallHangup)):
            await target.call(SYS.getpid)
        with pytest.raises(SyscallSendError):
            await target.call(SYS.getpid)


async def test_nothing_was_sent_to_a_process_that_is_gone() -> None:
    async with program() as target:
        target.process.kill()
        target.process.wait()
        with pytest.raises(SyscallSendError) as caught:
            await target.call(SYS.getpid)
        assert isinstance(caught.value.__cause__, (BrokenPipeError, ConnectionResetError))


async def test_exit_is_a_hangup(connect: Connect) -> None:
    async with connect() as target:
        with pytest.raises(SyscallHangup):
            await target.call(SYS.exit, 3)
        assert target.process.wait() == 3


async def test_a_batch_that_ends_the_process_tells_what_was_answered() -> None:
    async with program() as target:
        calls = [Syscall(SYS.getpid), Syscall(SYS.close, -1), Syscall(SYS.exit, 4), Syscall(SYS.getpid)]
        with pytest.raises(SyscallHangup) as caught:
            await target.conn.syscalls(calls)
        assert caught.value.results == [target.pid, -errno.EBADF]
        assert target.process.wait() == 4


async def test_answers_that_have_come_are_delivered_before_the_end() -> None:
    async with pretender() as target:
        await target.begin(*(target.call(SYS.getpid) for _ in range(3)))
        await target.requests(3)
        # Two answers and a part of the third, in one piece with the end.
        target.peer.send(encode_response(10) + encode_response(11) + encode_response(12)[:9])
        target.peer.close()
        outcomes = await target.outcomes()
        assert outcomes[:2] == [10, 11]
        assert isinstance(outcomes[2], SyscallHangup)
        assert isinstance(outcomes[2].__cause__, ProtocolError)


async def test_what_was_sent_in_part_may_have_been_executed() -> None:
    async with pretender() as target:
        # More than goes into the stream.
        await target.begin(target.call(SYS.getpid), target.conn.write_memory(4096, bytes(MAX_TRANSFER)))
        await target.begin(target.call(SYS.getpid), target.call(SYS.getpid))
        # The first is answered, and not read before the stream breaks.
        await target.requests(1)
        target.peer.send(encode_response(10))
        target.peer.close()
        outcomes = await target.outcomes()
        assert outcomes[0] == 10
        assert [type(outcome) for outcome in outcomes[1:]] == [SyscallHangup] + 2 * [SyscallSendError]
        for outcome in outcomes[1:]:
            assert isinstance(outcome.__cause__, (BrokenPipeError, ConnectionResetError))


# ---- The creator of the process learns of its end


@pytest.mark.parametrize("calls", [1, 2])
async def test_process_left(connect: Connect, calls: int) -> None:
    async with connect() as target:
        await target.begin(target.sleep(1000))
        await wait_for_call(target.pid, SYS.nanosleep)
        await target.begin(*(target.call(SYS.getpid) for _ in range(calls - 1)))
        await wait_until(lambda: f"{calls} calls under way)" in repr(target.conn))
        target.process.kill()
        target.process.wait()
        target.conn.process_left()
        target.conn.process_left()
        assert [type(outcome) for outcome in await target.outcomes()] == calls * [SyscallHangup]
        with pytest.raises(SyscallSendError):
            await target.call(SYS.getpid)
        target.conn.process_left()


async def test_process_left_while_others_hold_its_end_open() -> None:
    async with pretender() as target:
        await target.begin(*(target.call(SYS.execve) for _ in range(3)))
        await target.requests(3)
        target.peer.send(encode_response(10) + encode_response(11))
        # Without any end of the stream; and what has been answered is delivered.
        target.conn.process_left()
        outcomes = await target.outcomes()
        assert outcomes[:2] == [10, 11]
        assert isinstance(outcomes[2], SyscallHangup)
        # The library closes our end by itself.
        with trio.fail_after(60):
            await trio.lowlevel.wait_readable(target.peer)
        assert target.peer.recv(1) == b""


# ---- Cancellation


async def test_cancelled_before_it_is_sent() -> None:
    async with pretender() as target:
        with trio.CancelScope() as scope:
            scope.cancel()
            await target.call(SYS.getpid)
        assert scope.cancelled_caught
        for use in (
            lambda: target.conn.syscalls([Syscall(SYS.getpid)]),
            lambda: target.conn.read_memory(4096, 1),
            lambda: target.conn.write_memory(4096, b"x"),
        ):
            with trio.CancelScope() as scope:
                scope.cancel()
                await use()
            assert scope.cancelled_caught
        with pytest.raises(BlockingIOError):
            target.peer.recv(1)


async def test_cancelled_after_it_was_sent(connect: Connect) -> None:
    async def cancel_when_sent(scope: trio.CancelScope, target: Target) -> None:
        await wait_until(lambda: "1 calls under way" in repr(target.conn))
        scope.cancel()

    async with connect() as target, trio.open_nursery() as nursery:
        pause = await target.timespec(0.05)
        started = time.monotonic()
        with trio.CancelScope() as scope:
            nursery.start_soon(cancel_when_sent, scope, target)
            result = await target.call(SYS.nanosleep, pause, 0)
        assert scope.cancel_called
        assert not scope.cancelled_caught
        assert result == 0
        assert time.monotonic() - started >= 0.05
        with trio.CancelScope() as scope:
            nursery.start_soon(cancel_when_sent, scope, target)
            await target.call(SYS.nanosleep, pause, 0)
            await trio.lowlevel.checkpoint_if_cancelled()
        assert scope.cancelled_caught
        assert await target.call(SYS.getpid) == target.pid


async def test_cancelled_callers_do_not_shift_answers() -> None:
    async with program() as target:
        results: dict[int, int] = {}

        async def call(index: int) -> None:
            with trio.move_on_after(0.0001 * (index % 7)):
                results[index] = await target.call(SYS.getpid if index % 2 else SYS.getppid)

        async with trio.open_nursery() as nursery:
            for index in range(200):
                nursery.start_soon(call, index)
        for index, result in results.items():
            assert result == (target.pid if index % 2 else os.getpid())
        assert await target.call(SYS.getpid) == target.pid


@pytest.mark.parametrize("calls", [1, 2])
async def test_close_interface(connect: Connect, calls: int) -> None:
    async with connect() as target:
        # It is stopped, so that no answer comes before the connection is closed.
        target.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, target.pid, os.WSTOPPED)
        await target.begin(*(target.call(SYS.getpid) for _ in range(calls)))
        await wait_until(lambda: f"{calls} calls under way)" in repr(target.conn))
        await target.conn.close_interface()
        await target.conn.close_interface()
        assert [type(outcome) for outcome in await target.outcomes()] == calls * [SyscallHangup]
        with pytest.raises(SyscallSendError, match="closed"):
            await target.call(SYS.getpid)
        target.process.send_signal(signal.SIGCONT)
        # The process notices; over a pipe, when it wants to answer.
        assert target.process.wait(40) in (0, -signal.SIGPIPE)
        target.conn.process_left()


async def test_close_interface_when_the_caller_has_been_woken() -> None:
    """A caller that waits itself has been woken, and the connection is closed before it can read."""
    for _ in range(10):
        async with pretender() as target, trio.open_nursery() as nursery:
            await target.begin(target.call(SYS.getpid))
            await target.requests(1)
            # trio wakes, for the same events, the one that closes and the caller, in any order.
            ours, theirs = socket.socketpair()

            async def close(target: Target = target, ours: socket.socket = ours) -> None:
                await trio.lowlevel.wait_readable(ours)
                await target.conn.close_interface()

            nursery.start_soon(close)
            await trio.testing.wait_all_tasks_blocked()
            theirs.send(b"x")
            target.peer.send(encode_response(7))
            [outcome] = await target.outcomes()
            assert outcome == 7 or type(outcome) is SyscallHangup
            ours.close()
            theirs.close()
