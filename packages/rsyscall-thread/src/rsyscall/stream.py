"""Driving a process over a byte stream: a pair of sockets, or any files that carry bytes both ways.

`rsyscall.near.stream` knows the form of requests and answers, which call an answer belongs to, and the
outcome of each call when the connection ends. Here are the two loops that move its bytes, one in each
direction, so that neither holds up the other: a process that cannot write its answer does not read, and a
client that only writes to it would wait for ever. The loops belong to the current run of trio and run while
there is something to do. Their state belongs to the connection, and the next run goes on from there.

A caller does the first step of each loop itself where it can: it sends if there is room, and if it is the
only one, it waits for its answer and reads it (see `rsyscall.stream_wait`). Whenever anything is left to do,
it starts the loop.

Our end of the stream may be in another process than ours. Then sending is a call in that process, which takes
a while, and which may be lost with the process.
"""

from __future__ import annotations

import errno
import logging
import os
import weakref
from _thread import get_ident
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, SupportsInt

import trio

from rsyscall.async_fd import finish
from rsyscall.background import RunLoop, run_now, weakly
from rsyscall.denied import any_answer
from rsyscall.handle.fd import InvalidHandleError
from rsyscall.native import destructor, fast
from rsyscall.near import (
    SYS,
    Step,
    Syscall,
    SyscallError,
    SyscallHangup,
    SyscallInterface,
    as_syscalls,
    native_abi,
    nr,
)
from rsyscall.near.local import ForkedProcessError, WrongThreadError
from rsyscall.near.naming import naming
from rsyscall.near.record import CallRecord
from rsyscall.near.stream import Exchange, StreamState
from rsyscall.near.sysif import MAX_ERRNO, error_of_call
from rsyscall.stream_structs import RsyscallSyscall, SyscallResponse
from rsyscall.stream_wait import Reader, is_local, leave, wait_readable, wait_writable
from rsyscall.sys.socket import MSG, SHUT

if TYPE_CHECKING:
    from rsyscall.epoller import AsyncFileDescriptor
    from rsyscall.handle import FileDescriptor, Pointer

__all__ = ["RsyscallSyscall", "SyscallConnection", "SyscallResponse"]

# How many bytes are sent or received in one go: with memory transfers, and without.
_LARGE = 128 * 1024
_SMALL = 4096

_SHUTDOWN = native_abi().number(nr.shutdown)
_NOSIGNAL = int(MSG.NOSIGNAL)


class SyscallConnection(SyscallInterface):
    """The way to a process at the other end of a byte stream.

    Every call is a cancellation point before it is sent; after that the caller waits for the answer, even if
    it is cancelled.

    Args:
        logger: gets every call and its result, if it is enabled for debug now.
        tofd: our end of the stream, for writing; belongs to the connection.
        fromfd: the same, or another one, for reading.
        server_infd: the process' own end, for reading: its activity fd. Kept open by the connection.
        server_outfd: the same, or another one, for writing.

    Attributes:
        abi: of the process; set it if it is not our own.
    """

    pipelines = True

    def __init__(
        self,
        logger: logging.Logger,
        tofd: AsyncFileDescriptor,
        fromfd: AsyncFileDescriptor,
        server_infd: FileDescriptor,
        server_outfd: FileDescriptor,
    ) -> None:
        self.logger = logger
        self.tofd = tofd
        self.fromfd = fromfd
        self.server_infd = server_infd
        self.server_outfd = server_outfd
        self._log_calls = logger.isEnabledFor(logging.DEBUG)
        name = str(server_infd)
        self._state = StreamState(f"the process of {name}")
        self._is_socket = True
        # There was no room the last time; the loop waits for some.
        self._full = False
        # The call that sends what the state has on offer.
        self._sending: CallRecord | None = None
        # Memory to send from, used again by a call that has returned when the next one is made.
        self._outgoing: Pointer[bytes] | None = None
        # Memory to read into; and the call that reads, until what it has read has been taken, with the
        # position of that in the stream.
        self._memory: Pointer[bytes] | None = None
        self._reading: tuple[CallRecord, int, Pointer[bytes]] | None = None
        self._sender = RunLoop(weakly(self, SyscallConnection._send), f"requests to {name}")
        self._receiver = RunLoop(partial(_receive, weakref.ref(self), fromfd), f"responses to {name}")
        self._shutting_down = RunLoop(weakly(self, SyscallConnection._shut_down), f"shutdown of {name}")
        self._pid = os.getpid()
        self._thread = get_ident()
        # Whether our ends of the stream have been given up.
        self._released = False
        # Last: until then the destructor does nothing.
        self._closed = False

    @property
    def ended(self) -> bool:
        """Whether the stream has ended or broken: no call can be made over it any more."""
        return self._state.stopped

    def __repr__(self) -> str:
        under_way = f"{self._state.under_way} calls under way"
        if not_sent := self._state.not_sent:
            under_way += f" ({not_sent} not sent yet)"
        state = "closed" if self._closed else "ended" if self._state.stopped else under_way
        return f"SyscallConnection({self.server_infd}, {state})"

    @destructor
    def __del__(self) -> None:
        # No caller can reach the process any more, and the end of the stream tells it. Not from a forked copy
        # of our program: the socket belongs to the original as well.
        if getattr(self, "_closed", True) or os.getpid() != self._pid:
            return
        for afd in {self.tofd, self.fromfd}:
            if afd.handle.task.sysif.immediate and afd.handle.is_tracked():
                # Not through the task: this may be any thread.
                fast.syscall(_SHUTDOWN, afd.handle.near, SHUT.RDWR)

    # ---- calls

    # Half a request sent, or an answer that is not taken, would put everything that follows out of step: a
    # KeyboardInterrupt has to wait.
    @trio.lowlevel.enable_ki_protection
    async def syscall(
        self,
        number: SYS,
        arg1: SupportsInt = 0,
        arg2: SupportsInt = 0,
        arg3: SupportsInt = 0,
        arg4: SupportsInt = 0,
        arg5: SupportsInt = 0,
        arg6: SupportsInt = 0,
    ) -> int:
        """Make a call in the process; see `SyscallInterface.syscall`."""
        result = await self._call(Syscall(number, arg1, arg2, arg3, arg4, arg5, arg6), None)
        if 0 > result >= -MAX_ERRNO:
            raise self._call_error(result, number, arg1, arg2)
        return result if result >= 0 else result + 2**64

    @trio.lowlevel.enable_ki_protection
    async def recorded_syscall(
        self,
        record: CallRecord,
        number: SYS,
        arg1: SupportsInt = 0,
        arg2: SupportsInt = 0,
        arg3: SupportsInt = 0,
        arg4: SupportsInt = 0,
        arg5: SupportsInt = 0,
        arg6: SupportsInt = 0,
    ) -> int:
        """As `syscall`; the outcome is in `record`, too, even if an exception comes at any moment."""
        result = await self._call(Syscall(number, arg1, arg2, arg3, arg4, arg5, arg6), record)
        if 0 > result >= -MAX_ERRNO:
            raise error_of_call(result, number)
        return result if result >= 0 else result + 2**64

    def _call_error(self, result: int, number: SYS, *args: SupportsInt) -> OSError:
        """The error of a call; `args` are the first of its arguments."""
        return error_of_call(result, number)

    async def _call(self, call: Syscall, record: CallRecord | None) -> int:
        """Make a call; returns what the kernel returned, where -4095 to -1 is an error number, negated."""
        waiter = Reader()
        exchange = Exchange.calls(partial(waiter.send, None), self.abi, (call,), record=record)
        await self._exchange(exchange, waiter)
        [result] = exchange.check()
        if self._log_calls:
            self.logger.debug("%s -> %d", call, result)
        return result

    async def do_syscall(self, syscall: RsyscallSyscall) -> int:
        """Make a call; returns what the kernel returned, where -4095 to -1 is an error number, negated."""
        [result] = await self.syscalls([syscall])
        return result

    @trio.lowlevel.enable_ki_protection
    async def syscalls(self, calls: Sequence[Syscall], linked: bool = False) -> list[int]:
        """Make several calls in one go, which costs one round trip; see `SyscallInterface.syscalls`."""
        calls = as_syscalls(calls)
        if not calls:
            await trio.lowlevel.checkpoint_if_cancelled()
            return []
        waiter = Reader()
        exchange = Exchange.calls(partial(waiter.send, None), self.abi, calls, linked)
        await self._exchange(exchange, waiter)
        results = exchange.check()
        if self._log_calls:
            for call, result in zip(calls, results, strict=True):
                self.logger.debug("%s -> %d", call, result)
        return results

    @trio.lowlevel.enable_ki_protection
    async def steps(
        self, steps: Sequence[Step], linked: bool = False, record: CallRecord | None = None, recorded: int = 0
    ) -> list[int | bytes]:
        """Make calls and move memory in one go; see `SyscallInterface.steps`."""
        waiter = Reader()
        exchange = Exchange.steps(
            partial(waiter.send, None), self.abi, steps, linked=linked, record=record, recorded=recorded
        )
        await self._exchange(exchange, waiter)
        results = exchange.check_steps()
        if self._log_calls:
            for step, result in zip(steps, results, strict=True):
                if isinstance(step, Syscall):
                    self.logger.debug("%s -> %s", step, result)
        return results

    @trio.lowlevel.enable_ki_protection
    async def read_memory(self, address: SupportsInt, length: int) -> bytes:
        """Copy `length` bytes out of the memory of the process; see `SyscallInterface.read_memory`."""
        if length < 0:
            raise ValueError(f"cannot read {length} bytes")
        if not length:
            return b""
        waiter = Reader()
        exchange = Exchange.read(partial(waiter.send, None), int(address), length)
        await self._exchange(exchange, waiter)
        return exchange.check_transfer()

    @trio.lowlevel.enable_ki_protection
    async def write_memory(self, address: SupportsInt, data: bytes) -> None:
        """Copy `data` into the memory of the process; see `SyscallInterface.write_memory`.

        After an EFAULT any part of the data for valid addresses may have been written.
        """
        if not data:
            return
        waiter = Reader()
        exchange = Exchange.write(partial(waiter.send, None), int(address), data)
        await self._exchange(exchange, waiter)
        exchange.check_transfer()

    async def _exchange(self, exchange: Exchange, waiter: Reader) -> None:
        """Send an exchange, and wait until it is finished.

        Raises:
            SyscallSendError: nothing can be sent any more.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self.check_owner()
        try:
            state = self._state
            state.submit(exchange)
            if self.tofd.handle.task.sysif.immediate and not self._full:
                # What the loop would do first, without the cost of starting it. It does not suspend.
                try:
                    while state.wants_to_send:
                        await self._send_once()
                except Exception as exn:
                    if not _would_block(exn):
                        self._break(exn)
            if state.wants_to_send:
                self._sender.ensure_running()
            if is_local(self.fromfd) and not self._receiver.is_running:
                await self._read_until(exchange, waiter)
            if state.under_way or state.ended:
                self._receiver.ensure_running()
            if not exchange.finished:
                await waiter.wait(cancellable=False)
        except BaseException as error:
            if not isinstance(error, trio.Cancelled):  # a task in the background, at the end of the run
                self._leave_reading()
                await self._outlast(exchange)
            raise

    def _leave_reading(self) -> None:
        """Have the loop that receives take what an exception has kept this caller from taking.

        The loop may be waiting for the stream, where nothing more comes.
        """
        if self._reading is not None and is_local(self.fromfd):
            self._receiver.ensure_running()
            leave(self.fromfd)

    async def _read_until(self, exchange: Exchange, waiter: Reader) -> None:
        """As its caller, read until an exchange is finished, or the loop that receives has to do it."""
        try:
            while not exchange.finished and self._reading is None:
                # The connection may have been closed since the caller was woken.
                if not await waiter.wait_readable(self.fromfd) or exchange.finished:
                    return
                try:
                    await self._read_once()
                except BlockingIOError:
                    pass  # another task has read it
        except (OSError, SyscallError, InvalidHandleError) as exn:
            self._state.end(exn)

    async def _outlast(self, exchange: Exchange) -> None:
        """Wait until an exchange is finished, if its caller was interrupted after it had been submitted.

        Until then the peer may write into memory that the caller lends to it, and takes back when the
        exception goes on.
        """
        while not exchange.finished and self._state.holds(exchange):
            waiter = Reader()
            exchange.on_finish = partial(waiter.send, None)
            if self._state.stopped:
                self._break(self._state.cause)
            self._receiver.ensure_running()
            self._sender.ensure_running()
            await waiter.wait(cancellable=False)

    def check_owner(self) -> None:
        """Raise unless this is the program, and the OS thread, whose connection this is."""
        if os.getpid() != self._pid:
            raise ForkedProcessError(
                f"this connection, to {self.server_infd}, belongs to the process that forked this one"
            )
        if get_ident() != self._thread:
            raise WrongThreadError(f"this connection, to {self.server_infd}, belongs to another OS thread")

    # ---- sending

    async def _send(self) -> None:
        """The loop that sends, until everything has been sent."""
        try:
            while self._state.wants_to_send:
                if not is_local(self.tofd):
                    await self.tofd.when_writable(self._send_once)
                    continue
                try:
                    await self._send_once()
                except BlockingIOError:
                    await wait_writable(self.tofd)
        except SyscallHangup as exn:
            # Of the process that has our end: what it should have sent is in doubt, and no answer is heard.
            self._state.end(exn)
        except Exception as exn:
            self._break(exn)
        if self._state.stopped:
            self._break(self._state.cause)

    async def _send_once(self) -> None:
        """Send the next bytes.

        Raises:
            OSError: EAGAIN, there is no room.
        """
        state = self._state
        if state.offering:
            await self._settle_offer()
        record = self._sending = CallRecord()
        data = state.data_to_send(_LARGE)
        if not data:
            return
        try:
            await self._write(record, await self._in_memory(data), len(data))
        except SyscallHangup:
            raise
        except (OSError, SyscallError) as exn:
            state.unsent()
            self._full = _would_block(exn)
            raise
        state.sent(record.result or 0)
        self._full = False

    async def _in_memory(self, data: bytes) -> Pointer[Any]:
        """Where our end can send these bytes from, the first ones there."""
        ram = self.tofd.ram
        if not self.tofd.handle.task.sysif.immediate or len(data) > _SMALL:
            return await ram.ptr(data)
        memory = self._outgoing
        if memory is None:
            memory = self._outgoing = await ram.malloc(bytes, _SMALL)
        await ram.transport.write(memory, data)
        return memory

    async def _settle_offer(self) -> None:
        """Tell the state how many of the bytes on offer were sent, if an exception kept that from it."""
        record, state = self._sending, self._state
        if record is None or not record.sent:
            state.unsent()
            return
        await _until_answered(record, self.tofd)
        if record.result is not None:
            state.sent(max(record.result, 0))

    async def _write(self, record: CallRecord, buf: Pointer[Any], size: int) -> None:
        handle = self.tofd.handle
        task = handle.task
        with handle.borrow(task) as fd, buf.borrow(task) as address, naming(handle):
            if self._is_socket:
                try:
                    # A peer that went away is an error, and no signal.
                    await task.sysif.recorded_syscall(record, nr.sendto, fd, address, size, _NOSIGNAL, 0, 0)
                    return
                except OSError as exn:
                    if exn.errno != errno.ENOTSOCK:
                        raise
                    self._is_socket = False
            await task.sysif.recorded_syscall(record, nr.write, fd, address, size)

    # ---- receiving

    async def _received_all(self) -> None:
        """All calls have been answered, or no more will be."""
        if self._state.ended:
            await self.close_interface()

    async def _read_once(self) -> None:
        """Read once, and tell the state.

        Raises:
            OSError: EAGAIN, nothing is there.
        """
        state, handle = self._state, self.fromfd.handle
        task = handle.task
        if self._reading is None:
            size = _LARGE if state.expects_memory else _SMALL
            memory = self._memory
            if memory is None or memory.size() != size:
                memory = self._memory = await self.fromfd.ram.malloc(bytes, size)
            record = CallRecord()
            with handle.borrow(task) as fd, memory.borrow(task) as address, naming(handle):
                self._reading = record, state.received_total, memory
                try:
                    await task.sysif.recorded_syscall(record, nr.read, fd, address, size)
                except (OSError, SyscallError):
                    self._reading = None
                    raise
        else:
            await _until_answered(self._reading[0], self.fromfd)
        # Interrupted anywhere from here on, this is done again: the bytes are there until they are taken.
        record, at, memory = self._reading
        count = record.result
        if count is not None and count >= 0:
            state.received((await self.fromfd.ram.transport.read(memory))[:count], at)
        elif record.sent and count is None:
            state.end(None)
        self._reading = None

    # ---- the end

    @trio.lowlevel.enable_ki_protection
    def process_left(self) -> None:
        """The process has left by exec, by exit, or because it was killed.

        What it answered before is delivered, all other calls fail. Does nothing the second time. (The end of
        the stream is no sign of it: other processes may have copies of the process' end.)
        """
        self._break(None)
        if not self._closed and trio.lowlevel.in_trio_run():
            # The peer is gone, and this closes our end.
            self._receiver.ensure_running()

    def _break(self, cause: BaseException | None) -> None:
        """Send nothing any more, take what has arrived, and end.

        If this is interrupted, call it again.
        """
        state = self._state
        if state.ended:
            return
        state.stop(cause)
        if not self.fromfd.handle.task.sysif.immediate:
            # What has arrived can still be read after a shutdown, and then comes the end of the stream.
            self._shutting_down.ensure_running()
            return
        try:
            # The loop that receives may be waiting, which does no harm.
            while not state.ended:
                run_now(self._read_once())
        except Exception as exn:
            if not _would_block(exn) and state.cause is None:
                state.cause = exn
        for afd in {self.tofd, self.fromfd}:
            if afd.handle.task.sysif.immediate:
                run_now(_shutdown(afd))
        state.end(cause)

    async def _shut_down(self) -> None:
        for afd in {self.tofd, self.fromfd}:
            if not await _shutdown(afd):
                # Nothing would ever be read.
                await self.close_interface()
                return
        self._receiver.ensure_running()

    @trio.lowlevel.enable_ki_protection
    async def close_interface(self) -> None:
        """Give up the connection: shut down and close our end of the stream, which ends the process.

        Calls under way raise `SyscallHangup`, later ones `SyscallSendError`. Does nothing the second time. It
        is done even when cancelled.
        """
        if self._released:
            return
        self.check_owner()
        self._closed = True
        self._state.end(None)
        ends = {self.tofd, self.fromfd}
        for afd in ends:
            await finish(partial(_shutdown, afd))
        for afd in ends:
            leave(afd)
            await afd.close()
        self._released = True

    def get_activity_fd(self) -> FileDescriptor:
        """The process' end of the stream: readable when there is work for it."""
        return self.server_infd


async def _until_answered(record: CallRecord, afd: AsyncFileDescriptor) -> None:
    """Wait for the answer to a call on `afd`, if it was sent and its caller did not hear the answer.

    The end of a run, or an exception, made the caller go. A process answers its calls in order.
    """
    if record.sent and record.result is None:
        await any_answer(afd.handle.task.sysif)


async def _receive(reference: weakref.ref[SyscallConnection], fromfd: AsyncFileDescriptor) -> None:
    """The loop that receives, until everything has been answered.

    While it waits it has no reference to the connection: the last answer may be to a call without a waiter,
    and comes only when the connection goes.
    """
    while (connection := reference()) is not None:
        state = connection._state
        try:
            if state.under_way:
                if connection._reading is not None:
                    await connection._read_once()
                    continue
                del connection
                if not is_local(fromfd):
                    await fromfd.when_readable(partial(_read_once, reference))
                    continue
                await wait_readable(fromfd)
                try:
                    await _read_once(reference)
                except BlockingIOError:
                    pass  # a caller has read it
                continue
        except Exception as exn:
            state.end(exn)
            connection = reference()
        if connection is not None:
            await connection._received_all()
        return


async def _read_once(reference: weakref.ref[SyscallConnection]) -> None:
    connection = reference()
    if connection is not None:
        await connection._read_once()


def _would_block(exn: BaseException) -> bool:
    return isinstance(exn, BlockingIOError)


async def _shutdown(afd: AsyncFileDescriptor) -> bool:
    """End both directions of a stream, for all that have it open; returns whether that was possible.

    It is not for pipes, or when the process that has the descriptor is dead.
    """
    try:
        if afd.handle.valid:
            await afd.handle.shutdown(SHUT.RDWR)
            return True
    except (OSError, SyscallError):
        pass
    return False
