"""Driving a process over a byte stream: a pair of sockets, or whatever carries bytes both ways.

The codec is `rsyscall.near.protocol`. Here is what goes around it: any number of requests are on the way, and
answers come in the order of the requests. So the requests whose answers are awaited are one queue, and those
whose bytes have not all been sent are the end of it.

Sending and receiving are done by two loops, each in a task of its own, so that neither holds up the other: a
process that cannot get rid of an answer does not read, and who only writes to it waits for ever. The loops
belong to the current run of trio and run while there is something to do. What they have achieved (how much of
a request has been sent, which bytes of an answer have come) belongs to the connection, and the next run goes
on from there.

How a connection ends: whoever meets the broken stream first ends it. Answers that have arrived by then are
still delivered; then every request of which a part was sent is a `SyscallHangup`, and all others are a
`SyscallSendError`.
"""

from __future__ import annotations

import errno
import logging
import os
import struct
from _thread import get_ident
from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, SupportsInt, TypeVar

import trio

from rsyscall.async_fd import finish
from rsyscall.background import RunLoop, Waiter
from rsyscall.native import _fast
from rsyscall.near import (
    SYS,
    Syscall,
    SyscallError,
    SyscallHangup,
    SyscallInterface,
    SyscallSendError,
    as_syscalls,
    native_abi,
    nr,
)
from rsyscall.near.local import ForkedProcessError, WrongThreadError
from rsyscall.near.protocol import (
    REQUEST_SIZE,
    RESPONSE_SIZE,
    ProtocolError,
    ResponseParser,
    encode_call,
    encode_read,
    encode_response,
    encode_write,
    split_transfer,
)
from rsyscall.near.sysif import MAX_ERRNO
from rsyscall.struct import Struct
from rsyscall.sys.epoll import EPOLL
from rsyscall.sys.socket import MSG, SHUT

if TYPE_CHECKING:
    from rsyscall.epoller import AsyncFileDescriptor
    from rsyscall.handle import FileDescriptor, Pointer

__all__ = ["RsyscallSyscall", "SyscallConnection", "SyscallResponse"]

T = TypeVar("T")

# How many bytes are sent or received in one go: with memory transfers, and without.
_LARGE = 128 * 1024
_SMALL = 4096

_WOULD_BLOCK = (errno.EAGAIN, errno.EWOULDBLOCK)
_READ_EVENTS = EPOLL.IN | EPOLL.RDHUP | EPOLL.HUP | EPOLL.ERR
_WRITE_EVENTS = EPOLL.OUT | EPOLL.ERR

_SHUTDOWN = native_abi().number(nr.shutdown)

_REQUEST = struct.Struct("=IIQ6Q")
_OP_CALL = 1
# The flags of a request are its second word. Linked: if this call fails, the next one is not made.
_LINKED = struct.pack("=I", 1)
_FLAGS = slice(4, 8)


# ---- The wire, in the terms of this library


class RsyscallSyscall(Struct, Syscall):
    """A system call in the form that it has on the stream, with its number on our own architecture."""

    __slots__ = ()

    def to_bytes(self) -> bytes:
        """The request."""
        return encode_call(int(self.number), self.args())

    @classmethod
    def from_bytes(cls, data: bytes) -> RsyscallSyscall:
        """The call that a request asks for; its arguments are not negative.

        Raises:
            ValueError: this is another kind of request, or a call that we do not know.
        """
        op, flags, number, *args = _REQUEST.unpack(data)
        if (op, flags) != (_OP_CALL, 0):
            raise ValueError(f"a request of kind {op} with flags {flags} is not a single system call")
        return cls(SYS(number), *args)

    @classmethod
    def sizeof(cls) -> int:
        """The size of a request without the bytes that follow some, in bytes."""
        return REQUEST_SIZE


@dataclass
class SyscallResponse(Struct):
    """The answer to a system call in the form that it has on the stream."""

    value: int
    """What the kernel returned: -4095 to -1 is an error number, negated."""

    def to_bytes(self) -> bytes:
        """The answer."""
        return encode_response(self.value)

    @classmethod
    def from_bytes(cls, data: bytes) -> SyscallResponse:
        """Decode the answer to a call.

        Raises:
            ValueError: it is no such answer.
        """
        try:
            [(value, _)] = ResponseParser().feed(data[:RESPONSE_SIZE])
        except (ProtocolError, ValueError):
            raise ValueError(f"this is not the answer to a system call: {data!r}") from None
        return cls(value)

    @classmethod
    def sizeof(cls) -> int:
        """The size of an answer without the bytes that follow some, in bytes."""
        return RESPONSE_SIZE


# ---- Requests, and who waits for the answers


class _Sink(Protocol):
    """Who waits for the answer to a request."""

    def answer(self, result: int, payload: bytes, /) -> None: ...
    def fail(self, error: SyscallError, /) -> None: ...


class _One:
    """Somebody who waits for one answer."""

    __slots__ = ("waiter",)

    def __init__(self) -> None:
        self.waiter: Waiter[int] = Waiter()

    def answer(self, result: int, payload: bytes) -> None:
        self.waiter.send(result)

    def fail(self, error: SyscallError) -> None:
        self.waiter.throw(error)


class _Many:
    """Somebody who waits for the answers to all of several requests."""

    __slots__ = ("_missing", "parts", "results", "waiter")

    def __init__(self, count: int) -> None:
        self._missing = count
        self.results: list[int] = []
        self.parts: list[bytes] = []
        self.waiter: Waiter[None] = Waiter()

    def answer(self, result: int, payload: bytes) -> None:
        self.results.append(result)
        self.parts.append(payload)
        self._missing -= 1
        if not self._missing:
            self.waiter.send(None)

    def fail(self, error: SyscallError) -> None:
        # That of the first one counts; the waiter ignores the others.
        if self.results and not isinstance(error, SyscallHangup):
            cause = error.__cause__
            error = SyscallHangup("the process was lost in the course of several calls")
            error.__cause__ = cause
        if isinstance(error, SyscallHangup):
            error.results = self.results
        self.waiter.throw(error)


class _Request:
    """A request whose answer has not come.

    Attributes:
        data: the request.
        read: of a request to read memory, how many bytes.
        written: of a request to write memory, how many bytes.
        started: whether a part of it has been sent.
    """

    __slots__ = ("data", "read", "sink", "started", "written")

    def __init__(self, sink: _Sink, data: bytes, *, read: int = 0, written: int | None = None) -> None:
        self.sink = sink
        self.data = data
        self.read = read
        self.written = written
        self.started = False

    def accepts(self, result: int, payload: bytes) -> bool:
        """Whether this can be an answer."""
        if result < 0:
            return not payload
        return len(payload) == self.read and self.written in (None, result)


class _Reader:
    """Reads a stream. What has been read stays here until somebody has got it, whoever is cancelled."""

    __slots__ = ("_memory", "_unread", "afd")

    def __init__(self, afd: AsyncFileDescriptor) -> None:
        self.afd = afd
        self._memory: Pointer[bytes] | None = None
        self._unread: tuple[Pointer[bytes], Pointer[bytes]] | None = None

    @property
    def has_unread(self) -> bool:
        """Whether the next `read` returns something that has left the stream already."""
        return self._unread is not None

    async def read(self, size: int) -> bytes:
        """Wait for bytes, at most `size`; b"" at the end."""
        if self._unread is None:
            if self._memory is None or self._memory.size() != size:
                self._memory = await self.afd.ram.malloc(bytes, size)
            self._unread = await self.afd.read(self._memory)
            self._memory = None
        valid, rest = self._unread
        data = await valid.read()
        self._unread = None
        self._memory = valid + rest
        return data

    async def read_now(self) -> bytes:
        """Read without waiting, while somebody else may wait in `read`.

        Raises:
            OSError: EAGAIN.
        """
        valid, _ = await self.afd.handle.read(await self.afd.ram.malloc(bytes, _LARGE))
        return await valid.read()


# ---- The connection


class SyscallConnection(SyscallInterface):
    """The way to a process at the other end of a byte stream.

    Every call is a cancellation point before it is sent; after that it is waited for, whatever happens to the
    caller.

    Args:
        logger: is told of every call and its result, if it is enabled for debug now.
        tofd: our end of the stream, for writing; belongs to the connection.
        fromfd: the same, or another one, for reading.
        server_infd: the process' own end, for reading: its activity fd. Kept open by the connection.
        server_outfd: the same, or another one, for writing.

    Attributes:
        abi: of the process; to be set if it is not our own.
    """

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
        # All requests without an answer, in order.
        self._waiting: deque[_Request] = deque()
        # Of those at its end, what is still to be sent.
        self._unsent: deque[tuple[memoryview, _Request]] = deque()
        self._sending = False  # by the loop; only one may
        self._is_socket = True
        # How many bytes of memory the answers will bring.
        self._reading = 0
        self._reader = _Reader(fromfd)
        self._parser = ResponseParser()
        self._requests = RunLoop(self._run_requests, f"requests to {server_infd}")
        self._responses = RunLoop(self._run_responses, f"responses from {server_outfd}")
        self._shutting_down = RunLoop(self._run_shutdown, f"shutdown of {server_infd}")
        # Closing: nothing more is sent. Ended: nobody waits any more. Closed: our end of the stream is.
        self._closing = self._ended = self._closed = False
        self._cause: BaseException | None = None
        self._pid = os.getpid()
        self._thread = get_ident()

    def __repr__(self) -> str:
        state = "ended" if self._closing else f"{len(self._waiting)} calls under way"
        return f"SyscallConnection({self.server_infd}, {'closed' if self._closed else state})"

    def __del__(self) -> None:
        # Nobody can reach the process any more, and the end of the stream tells it. Not from a forked copy of
        # our program: the socket belongs to the original as well.
        if getattr(self, "_closed", True) or os.getpid() != self._pid:
            return
        for afd in {self.tofd, self.fromfd}:
            if afd.handle.task.sysif.immediate and afd.handle._is_tracked():
                # Not through the task: this may be any thread.
                _fast.syscall(_SHUTDOWN, afd.handle.near, SHUT.RDWR)

    # ---- calls

    # Half a request sent, or an answer that nobody takes, would put everything that follows out of step: a
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
        data = encode_call(self._number(number), (arg1, arg2, arg3, arg4, arg5, arg6))
        await trio.lowlevel.checkpoint_if_cancelled()
        sink = _One()
        await self._submit((_Request(sink, data),))
        result = await sink.waiter.wait(cancellable=False)
        if self._log_calls:
            self.logger.debug("%s -> %d", Syscall(number, arg1, arg2, arg3, arg4, arg5, arg6), result)
        if result >= 0:
            return result
        if result >= -MAX_ERRNO:
            raise OSError(-result, os.strerror(-result))
        return result + 2**64

    async def do_syscall(self, syscall: RsyscallSyscall) -> int:
        """Make a call; returns what the kernel returned, where -4095 to -1 is an error number, negated."""
        [result] = await self.syscalls([syscall])
        return result

    @trio.lowlevel.enable_ki_protection
    async def syscalls(self, calls: Sequence[Syscall], linked: bool = False) -> list[int]:
        """Make several calls in one go, which costs one round trip; see `SyscallInterface.syscalls`."""
        calls = as_syscalls(calls)
        sink = _Many(len(calls))
        requests = []
        for index, call in enumerate(calls, 1):
            data = encode_call(self._number(call.number), call[1:])
            if linked and index < len(calls):
                data = data[: _FLAGS.start] + _LINKED + data[_FLAGS.stop :]
            requests.append(_Request(sink, data))
        await trio.lowlevel.checkpoint_if_cancelled()
        if not requests:
            return []
        await self._submit(requests)
        await sink.waiter.wait(cancellable=False)
        if self._log_calls:
            for call, result in zip(calls, sink.results, strict=True):
                self.logger.debug("%s -> %d", call, result)
        return sink.results

    @trio.lowlevel.enable_ki_protection
    async def read_memory(self, address: SupportsInt, length: int) -> bytes:
        """Copy `length` bytes out of the memory of the process; see `SyscallInterface.read_memory`."""
        if length < 0:
            raise ValueError(f"cannot read {length} bytes")
        start = int(address)
        parts = list(split_transfer(length))
        sink = _Many(len(parts))
        await self._transfer(
            sink, [_Request(sink, encode_read(start + at, size), read=size) for at, size in parts]
        )
        return sink.parts[0] if len(parts) == 1 else b"".join(sink.parts)

    @trio.lowlevel.enable_ki_protection
    async def write_memory(self, address: SupportsInt, data: bytes) -> None:
        """Copy `data` into the memory of the process; see `SyscallInterface.write_memory`.

        After an EFAULT any part of what is at good addresses may have been written.
        """
        start = int(address)
        parts = list(split_transfer(len(data)))
        sink = _Many(len(parts))
        await self._transfer(
            sink,
            [
                _Request(sink, encode_write(start + at, data[at : at + size]), written=size)
                for at, size in parts
            ],
        )

    async def _transfer(self, sink: _Many, requests: Sequence[_Request]) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        if not requests:
            return
        await self._submit(requests)
        await sink.waiter.wait(cancellable=False)
        for result in sink.results:
            if result < 0:
                raise OSError(-result, os.strerror(-result))

    def _number(self, number: SYS) -> int:
        # One without a name is that of the process' own architecture.
        return self.abi.number(number) if isinstance(number, SYS) else int(number)

    # ---- sending

    async def _submit(self, requests: Iterable[_Request]) -> None:
        """Queue requests, one right behind the other, and send what can be sent at once. Not a checkpoint.

        Raises:
            SyscallSendError: nothing can be sent any more.
        """
        self.check_owner()
        if self._closing:
            raise self._send_error()
        for request in requests:
            self._waiting.append(request)
            self._unsent.append((memoryview(request.data), request))
            self._reading += request.read
        self._responses.ensure_running()
        if not self._sending and self.tofd.handle.task.sysif.immediate:
            await self._send_now()
        if self._unsent:
            self._requests.ensure_running()

    def check_owner(self) -> None:
        """Raise unless this is the program, and the OS thread, whose connection this is."""
        if os.getpid() != self._pid:
            raise ForkedProcessError(
                f"this connection, to {self.server_infd}, belongs to the process that forked this one"
            )
        if get_ident() != self._thread:
            raise WrongThreadError(f"this connection, to {self.server_infd}, belongs to another OS thread")

    async def _send_now(self) -> None:
        """What the loop would do first, without the cost of starting it. Never suspends."""
        try:
            while self._unsent:
                buf = await self.tofd.ram.ptr(self._next_bytes())
                self._sent((await self._send(self.tofd.handle, buf))[0].size())
        except OSError as exn:
            if exn.errno not in _WOULD_BLOCK:
                self._break(exn)
        except Exception as exn:
            self._break(exn)

    async def _run_requests(self) -> None:
        """The loop that sends, until everything has been sent."""
        if self._sending:
            return
        self._sending = True
        try:
            while self._unsent and not self._closing:
                buf = await self.tofd.ram.ptr(self._next_bytes())
                self._sent((await self._send(self.tofd, buf))[0].size())
        except trio.Cancelled:
            # The end of the run. Who waits for room has sent nothing. Who does not, waits for the answer of
            # another process, which has our end of the stream, and will not hear what it has done.
            if not self.tofd.handle.task.sysif.immediate and self.tofd.epolled.status.ready(_WRITE_EVENTS):
                self._in_doubt(None)
            raise
        except SyscallHangup as exn:
            # That of the process which has our end.
            self._in_doubt(exn)
        except Exception as exn:
            self._break(exn)
        finally:
            self._sending = False

    async def _send(
        self, to: AsyncFileDescriptor | FileDescriptor, buf: Pointer[Any]
    ) -> tuple[Pointer[Any], Pointer[Any]]:
        if self._is_socket:
            try:
                # A peer that went away is an error, and no signal.
                return await to.send(buf, MSG.NOSIGNAL)
            except OSError as exn:
                if exn.errno != errno.ENOTSOCK:
                    raise
                self._is_socket = False
        return await to.write(buf)

    def _next_bytes(self) -> bytes:
        """The next bytes to send."""
        if len(self._unsent) == 1:
            return bytes(self._unsent[0][0][:_LARGE])
        pieces: list[memoryview] = []
        room = _LARGE
        for piece, _ in self._unsent:
            pieces.append(piece[:room])
            room -= len(pieces[-1])
            if not room:
                break
        return b"".join(pieces)

    def _sent(self, count: int) -> None:
        """Account for bytes that have been sent."""
        while count and self._unsent:
            piece, request = self._unsent[0]
            request.started = True
            if count < len(piece):
                self._unsent[0] = (piece[count:], request)
                return
            count -= len(piece)
            self._unsent.popleft()

    # ---- receiving

    async def _run_responses(self) -> None:
        """The loop that receives, until everything has been answered."""
        try:
            while self._waiting:
                data = await self._reader.read(_LARGE if self._reading > _SMALL else _SMALL)
                if data:
                    self._received(data)
                else:
                    self._end_of_stream()
        except trio.Cancelled:
            # As when sending: bytes may have left the stream that we shall not see.
            if (
                not self.fromfd.handle.task.sysif.immediate
                and not self._reader.has_unread
                and self.fromfd.epolled.status.ready(_READ_EVENTS)
            ):
                self._in_doubt(None)
            raise
        except Exception as exn:
            self._end(exn)
        if self._ended:
            await self.close_interface()

    def _received(self, data: bytes) -> None:
        """Hand out the answers that are complete now."""
        violation: ProtocolError | None = None
        try:
            responses = self._parser.feed(data)
        except ProtocolError as exn:
            responses, violation = exn.responses, exn
        for result, payload in responses:
            # One that is being sent may be answered before we hear that it has been sent.
            if not self._waiting or not (self._waiting[0].started or self._sending):
                violation = ProtocolError(f"an answer that nobody has asked for: {result}")
                break
            if not self._waiting[0].accepts(result, payload):
                violation = ProtocolError(f"{result} with {len(payload)} bytes does not answer the request")
                break
            request = self._waiting.popleft()
            self._reading -= request.read
            request.sink.answer(result, payload)
        if violation is not None:
            self._end(violation)

    def _end_of_stream(self) -> None:
        try:
            self._parser.finish()
        except ProtocolError as exn:
            self._end(self._cause or exn)
        else:
            self._end(self._cause)

    # ---- the end

    @trio.lowlevel.enable_ki_protection
    def process_left(self) -> None:
        """The process has left by exec, by exit, or because it was killed.

        What it answered before is delivered, all other calls fail. Does nothing the second time. (The end of
        the stream is no sign of it: other processes may have copies of the process' end.)
        """
        self._break(None)
        if not self._closed and trio.lowlevel.in_trio_run():
            # There is nobody to talk to any more, and this closes our end.
            self._responses.ensure_running()

    def _break(self, cause: BaseException | None) -> None:
        """Send nothing any more, take what has arrived, and end."""
        if self._closing:
            return
        self._closing = True
        self._cause = cause
        if self.fromfd.handle.task.sysif.immediate:
            self._drain()
            self._end(cause)
            for afd in {self.tofd, self.fromfd}:
                if afd.handle.task.sysif.immediate:
                    _run_now(_shutdown(afd))
        else:
            # What has arrived can still be read after a shutdown, and then comes the end of the stream.
            self._shutting_down.ensure_running()

    def _drain(self) -> None:
        """Take the answers that have arrived. The loop that receives may be waiting, which does no harm."""
        try:
            while not self._ended:
                data = _run_now(self._reader.read_now())
                if not data:
                    return
                self._received(data)
        except Exception:
            return  # there is nothing more, or no way to get it

    async def _run_shutdown(self) -> None:
        for afd in {self.tofd, self.fromfd}:
            if not await _shutdown(afd):
                # Nothing would ever be read.
                await self.close_interface()
                return
        self._responses.ensure_running()

    def _in_doubt(self, cause: BaseException | None) -> None:
        """Something was done to the stream, and nobody knows what: the next byte could belong to anything."""
        for _, request in self._unsent:
            request.started = True
        self._end(cause)

    def _end(self, cause: BaseException | None) -> None:
        """Fail everything that has not been answered."""
        self._closing = True
        if self._ended:
            return
        self._ended = True
        self._cause = cause
        self._unsent.clear()
        while self._waiting:
            request = self._waiting.popleft()
            request.sink.fail(self._hangup() if request.started else self._send_error())

    def _hangup(self) -> SyscallHangup:
        error = SyscallHangup(
            f"the process of {self.server_infd} was lost before it answered: it has exited, been killed, or "
            "executed a program, or the connection is broken"
        )
        error.__cause__ = self._cause
        return error

    def _send_error(self) -> SyscallSendError:
        why = "the connection has been closed" if self._closed and not self._cause else "it was lost"
        error = SyscallSendError(f"the process of {self.server_infd} cannot be reached: {why}")
        error.__cause__ = self._cause
        return error

    @trio.lowlevel.enable_ki_protection
    async def close_interface(self) -> None:
        """Give up the connection: shut down and close our end of the stream, which ends the process.

        Calls under way raise `SyscallHangup`, later ones `SyscallSendError`. Does nothing the second time. It
        is done even when cancelled.
        """
        if self._closed:
            return
        self.check_owner()
        self._closed = True
        self._end(self._cause)
        ends = {self.tofd, self.fromfd}
        for afd in ends:
            await finish(partial(_shutdown, afd))
        for afd in ends:
            await afd.close()

    def get_activity_fd(self) -> FileDescriptor:
        """The process' end of the stream: readable when there is work for it."""
        return self.server_infd


def _run_now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise RuntimeError("a call in our own process was expected to finish at once")


async def _shutdown(afd: AsyncFileDescriptor) -> bool:
    """End both directions of a stream, whoever else has it open; returns whether that was possible.

    Pipes have nothing of the kind, and the process that has the descriptor may be dead.
    """
    try:
        if afd.handle.valid:
            await afd.handle.shutdown(SHUT.RDWR)
            return True
    except (OSError, SyscallError):
        pass
    return False
