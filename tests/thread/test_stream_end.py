"""Byte streams that break, peers that misbehave, connections that are closed, and runs of trio that end."""

from __future__ import annotations

import errno
import gc
import logging
import os
import signal
import struct
import traceback
import weakref
from typing import Any

import pytest
import trio
import trio.testing
from streams import Target, background, finish, pretend, pretender, program, start, using
from support import local_thread
from waiting import wait_for_call

from rsyscall.near import SYS, Syscall, SyscallHangup, SyscallSendError
from rsyscall.near.protocol import MAX_TRANSFER, ProtocolError, encode_response
from rsyscall.sched import CLONE
from rsyscall.stream import RsyscallSyscall, SyscallResponse
from rsyscall.sys.wait import W
from rsyscall.thread import ChildThread, Thread

# ---- Several runs


@pytest.mark.parametrize("where", ["local", "child"])
def test_several_runs(where: str) -> None:
    async def first() -> tuple[Target, Thread]:
        thread = await local_thread.clone(CLONE.FILES) if where == "child" else local_thread
        return await start(thread), thread

    target, thread = trio.run(first)

    async def use() -> None:
        assert await target.call(SYS.getpid) == target.pid
        address = await target.map(MAX_TRANSFER)
        await target.conn.write_memory(address, b"x" * MAX_TRANSFER)
        assert await target.conn.read_memory(address, MAX_TRANSFER) == b"x" * MAX_TRANSFER

    for _ in range(3):
        trio.run(use)

    async def last() -> None:
        await finish(target)
        if isinstance(thread, ChildThread):
            await thread.exit(0)
            await thread.process.waitpid(W.EXITED)

    trio.run(last)
    assert target.process.returncode == 0


def test_an_answer_that_comes_in_the_next_run_goes_to_nobody_else() -> None:
    async def first() -> Target:
        target = await start()
        await background(lambda: target.sleep(0.3))
        return target

    target = trio.run(first)
    for _ in range(2):
        assert trio.run(target.call, SYS.getpid) == target.pid
    trio.run(finish, target)


def test_a_request_that_is_sent_in_part_is_finished_in_the_next_run() -> None:
    size = 4 * MAX_TRANSFER
    data = os.urandom(size)

    async def first() -> tuple[Target, int]:
        target = await start()
        address = await target.map(size)
        target.process.send_signal(signal.SIGSTOP)
        await background(lambda: target.conn.write_memory(address, data))
        return target, address

    target, address = trio.run(first)
    # Else the test tests nothing: the write was abandoned after all of it had been sent.
    assert target.conn._state.wants_to_send

    async def second() -> None:
        target.process.send_signal(signal.SIGCONT)
        assert await target.conn.read_memory(address, size) == data
        assert await target.call(SYS.getpid) == target.pid

    trio.run(second)
    trio.run(finish, target)


def test_an_answer_that_has_come_in_part_is_finished_in_the_next_run() -> None:
    async def first() -> Target:
        target = await pretend()
        await background(lambda: target.call(SYS.getpid))
        target.peer.send(encode_response(10)[:5])
        await trio.testing.wait_all_tasks_blocked()
        return target

    target = trio.run(first)

    async def second() -> None:
        target.peer.send(encode_response(10)[5:] + encode_response(11))
        assert await target.call(SYS.getpid) == 11

    trio.run(second)
    trio.run(finish, target)


# ---- A peer that misbehaves


GARBAGE = {
    "http": b"HTTP/1.0 400 Bad Request\r\n\r\n".ljust(32),
    "too long": struct.pack("=qQ", MAX_TRANSFER + 1, MAX_TRANSFER + 1),
    "lengths differ": struct.pack("=qQ", 5, 6) + b"123456",
    "memory for a call": struct.pack("=qQ", 6, 6) + b"123456",
    "memory with an error": struct.pack("=qQ", -5, 6) + b"123456",
}


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_garbage_ends_the_connection(garbage: str) -> None:
    async with pretender() as target:
        await target.begin(*(target.call(SYS.getpid) for _ in range(3)))
        await target.requests(3)
        target.peer.send(encode_response(10) + GARBAGE[garbage])
        outcomes = await target.outcomes()
        assert outcomes[0] == 10
        for outcome in outcomes[1:]:
            assert isinstance(outcome, SyscallHangup)
            assert isinstance(outcome.__cause__, ProtocolError)
        with pytest.raises(SyscallSendError) as caught:
            await target.call(SYS.getpid)
        assert isinstance(caught.value.__cause__, ProtocolError)
        with trio.fail_after(60):
            await trio.lowlevel.wait_readable(target.peer)
        assert target.peer.recv(1) == b""


@pytest.mark.parametrize(
    ("answer", "call"),
    [
        (encode_response(3, b"123"), lambda conn: conn.read_memory(4096, 4)),
        (encode_response(4), lambda conn: conn.read_memory(4096, 4)),
        (encode_response(3), lambda conn: conn.write_memory(4096, b"1234")),
        (encode_response(4, b"1234"), lambda conn: conn.write_memory(4096, b"1234")),
    ],
)
async def test_answers_that_do_not_fit_the_request(answer: bytes, call: Any) -> None:
    async with pretender() as target:
        await target.begin(call(target.conn))
        await target.requests(1)
        target.peer.send(answer)
        [outcome] = await target.outcomes()
        assert isinstance(outcome, SyscallHangup)
        assert isinstance(outcome.__cause__, ProtocolError)


async def test_an_answer_that_nobody_asked_for() -> None:
    async with pretender() as target:
        await target.begin(target.call(SYS.getpid))
        await target.requests(1)
        target.peer.send(encode_response(10) + encode_response(11))
        assert await target.outcomes() == [10]
        with pytest.raises(SyscallSendError) as caught:
            await target.call(SYS.getpid)
        assert isinstance(caught.value.__cause__, ProtocolError)


async def test_a_stream_that_is_out_of_step() -> None:
    """Another process wrote to it: the program refuses what it reads, and ends."""
    async with program() as target:
        os.write(target.conn.tofd.handle.near.number, b"\xff" * 10)
        with pytest.raises(OSError) as caught:
            await target.call(SYS.getpid)
        assert caught.value.errno == errno.EPROTO
        with pytest.raises((SyscallSendError, SyscallHangup)):
            await target.call(SYS.getpid)


# ---- Our end, in another process


@pytest.mark.parametrize("begun", [False, True])
async def test_the_process_that_has_our_end_dies(begun: bool) -> None:
    """Then no process carries anything to the driven one, which does not know yet."""
    host = await local_thread.clone(CLONE.FILES)
    async with using(await start(host)) as target:
        assert await target.call(SYS.getpid) == target.pid
        if begun:
            await target.begin(target.sleep(1000))
            await wait_for_call(target.pid, SYS.nanosleep)
        await host.process.kill()
        await host.process.waitpid(W.EXITED)
        await target.begin(target.call(SYS.getpid))
        outcomes = await target.outcomes()
        # Nothing was sent of it, for certain.
        assert isinstance(outcomes.pop(), SyscallSendError)
        assert [type(outcome) for outcome in outcomes] == ([SyscallHangup] if begun else [])
        with pytest.raises(SyscallSendError):
            await target.call(SYS.getpid)
        target.process.kill()


# ---- Closing


async def test_close_interface_when_cancelled() -> None:
    target = await start()
    with trio.CancelScope() as scope:
        scope.cancel()
        await target.conn.close_interface()
    assert target.process.wait(40) == 0
    assert not target.conn.tofd.handle.valid


async def test_a_connection_that_is_dropped_lets_the_process_go() -> None:
    target = await start()
    process = target.process
    reference = weakref.ref(target.conn)
    assert await target.call(SYS.getpid) == target.pid
    del target
    gc.collect()
    assert reference() is None
    assert process.wait(40) == 0


async def test_the_forked_copy_does_no_harm() -> None:
    async with program() as target:
        assert await target.call(SYS.getpid) == target.pid
        pid = os.fork()
        if pid == 0:
            try:
                target.conn.__del__()
            finally:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert await target.call(SYS.getpid) == target.pid


async def test_descriptors_are_closed_whatever_the_end() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for round in range(12):
        target = await start()
        assert await target.call(SYS.getpid) == target.pid
        if round % 4 == 0:
            await target.conn.close_interface()
        elif round % 4 == 1:
            with pytest.raises(SyscallHangup):
                await target.call(SYS.exit)
        elif round % 4 == 2:
            target.process.kill()
            target.process.wait()
            with pytest.raises((SyscallHangup, SyscallSendError)):
                await target.call(SYS.getpid)
        else:
            target.process.kill()
            target.process.wait()
            target.conn.process_left()
        target.process.wait()
        for _ in range(5):
            await trio.testing.wait_all_tasks_blocked()
        assert not target.conn.tofd.handle.valid
    del target
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


# ---- Messages and representations


async def test_tracebacks_are_short() -> None:
    async with program() as target:
        with pytest.raises(OSError) as error:
            await target.conn.syscall(SYS.close, -1)
        assert [frame.name for frame in traceback.extract_tb(error.value.__traceback__)[1:]] == ["syscall"]
        assert error.value.__cause__ is None
        assert error.value.__context__ is None
        with pytest.raises(SyscallHangup) as hangup:
            await target.conn.syscall(SYS.exit)
        # Half of them belong to the scheduler.
        assert len(traceback.extract_tb(hangup.value.__traceback__)) <= 6
        assert str(target.conn.server_infd) in str(hangup.value)


async def test_calls_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="test of streams")
    async with program() as target:
        await target.call(SYS.getpid)
        await target.conn.syscalls([Syscall(SYS.close, -1)])
    assert f"getpid() -> {target.pid}" in caplog.messages
    assert f"close(-1) -> {-errno.EBADF}" in caplog.messages


def test_wire_structures() -> None:
    call = RsyscallSyscall(SYS.close, 5)
    assert RsyscallSyscall.sizeof() == 64 == len(call.to_bytes())
    assert RsyscallSyscall.from_bytes(call.to_bytes()) == call
    assert str(call) == "close(5)"
    with pytest.raises(ValueError):
        RsyscallSyscall.from_bytes(b"\2" + call.to_bytes()[1:])
    assert SyscallResponse.sizeof() == 16
    for value in (0, 7, -5):
        assert SyscallResponse.from_bytes(SyscallResponse(value).to_bytes()) == SyscallResponse(value)
    with pytest.raises(ValueError):
        SyscallResponse.from_bytes(b"short")


async def test_representation() -> None:
    async with program() as target:
        assert "0 calls under way" in repr(target.conn)
        await target.conn.close_interface()
        assert "closed" in repr(target.conn)
