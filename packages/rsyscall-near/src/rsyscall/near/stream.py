"""The client's side of the stream protocol as a state machine, without any I/O.

The transport tells the machine one event at a time, and asks it for bytes to send. The machine decides the
outcome of each call: its answer, or whether it was executed. There are three outcomes, and a wrong one does
harm: a caller that believes that its call was not executed repeats it.

* `SyscallSendError`: certainly not executed. No byte of the request can have reached the peer.
* `SyscallHangup`: unknown. A byte of it was sent, or may have been, and no answer will come.
* The answer itself, if it came before the end.

"May have been" is the delicate part, because sending is not one moment. Bytes are *offered* to a transport
(`data_to_send`), and some time later it says how many it took (`sent`) or that it took none (`unsent`). If
the connection ends in between, the bytes on offer may have arrived: the process that was to send them for us
was killed, say, and perhaps it was killed after that. So they count as sent. An answer to a request that was
only offered is right, too: the peer can be faster than the news that it was served.

The queue. All requests without an answer are one list in the order in which they were made, and that is the
order of the answers. Positions in the stream of bytes say the rest: each request has the position where it
starts and where it ends, and `_sent` and `_offered` are positions. Nothing else records how far a request has
come, so that no two records can disagree.

Exceptions. A signal handler may raise between any two bytecodes. Each event therefore computes first and then
changes the state by one assignment, or one call of a built-in; a step that is repeated after an interruption
has no effect the second time. Incoming bytes are kept until the answer of which they are part has been
delivered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from rsyscall.near.abi import ABI, SYS
from rsyscall.near.calls import Fact, having
from rsyscall.near.protocol import (
    REQUEST_SIZE,
    ProtocolError,
    decode_call,
    encode_call,
    encode_read,
    encode_write,
    parse_response,
    parse_results,
    split_transfer,
)
from rsyscall.near.record import CallRecord
from rsyscall.near.sysif import (
    MemoryRead,
    MemoryWrite,
    Step,
    Syscall,
    SyscallError,
    SyscallHangup,
    SyscallSendError,
    error_of,
)

__all__ = ["Exchange", "StreamState"]

# One of these holds up no answer to the call before it.
_QUICK = having(Fact.QUICK)
# After so many answers the queue is shortened although it is not empty.
_LONG_QUEUE = 1024


class _Request:
    """A request, and the form of its answer.

    Attributes:
        data: the bytes of it.
        start: where it starts in the stream of all requests.
        end: where it ends.
        read: how many bytes of memory the answer brings, if it is not an error.
        written: the only result that is not an error, of a request to write memory.
        record: of a call, the object that records its outcome; or None.
        number: the call, by its number on our own architecture: a record knows no other.
    """

    __slots__ = ("data", "end", "exchange", "index", "number", "read", "record", "start", "written")

    def __init__(
        self,
        exchange: Exchange,
        index: int,
        data: bytes,
        read: int = 0,
        written: int | None = None,
    ) -> None:
        self.exchange = exchange
        self.record: CallRecord | None = None
        self.number = -1
        self.index = index
        self.data = data
        self.read = read
        self.written = written
        self.start = self.end = 0

    def report_to(self, record: CallRecord, number: int) -> None:
        """Have the outcome recorded."""
        self.record, self.number = record, number

    def check(self, result: int, payload: bytes) -> None:
        """Raise a ProtocolError if this cannot be an answer."""
        length = 0 if result < 0 else self.read
        if len(payload) != length or (result >= 0 and self.written not in (None, result)):
            raise ProtocolError(f"{result} with {len(payload)} bytes does not answer the request")


def _number(abi: ABI, call: int) -> int:
    """The number of a call on the architecture of the peer, to which one without a name belongs already."""
    return abi.number(call) if isinstance(call, SYS) else int(call)


def _our_number(abi: ABI, call: int) -> int:
    """The number on our own architecture of a call to a process of `abi`, -1 if it has none here."""
    if isinstance(call, SYS):
        return int(call)
    try:
        return int(SYS[abi.syscalls(call).name])
    except (KeyError, ValueError):
        return -1


class Exchange:
    """Requests of one caller that go out together, and what comes of them.

    Use `calls`, `read`, `write` or `steps`.

    Attributes:
        results: of the requests that have been answered, in order: what the kernel returned.
        payloads: likewise, the bytes that were read.
        error: why there are no more; None if all were answered, or may still be.
        on_finish: called when nothing more will come, possibly more than once.
        finished: nothing more will come.
    """

    __slots__ = ("_plain", "_requests", "error", "finished", "on_finish", "payloads", "results")

    def __init__(self, on_finish: Callable[[], None]) -> None:
        self.on_finish: Callable[[], None] = on_finish
        self._requests: list[_Request] = []
        # Whether any numbers are the right answers.
        self._plain = False
        self.results: list[int] = []
        self.payloads: list[bytes] = []
        self.error: SyscallError | None = None
        self.finished: bool = False

    @classmethod
    def calls(
        cls,
        on_finish: Callable[[], None],
        abi: ABI,
        calls: Sequence[Syscall],
        linked: bool = False,
        record: CallRecord | None = None,
    ) -> Exchange:
        """System calls.

        Args:
            on_finish: called when nothing more will come, possibly more than once.
            abi: of the peer.
            calls: one or more.
            linked: after one that fails, do not make the others.
            record: of the only call.

        Raises:
            TypeError, ValueError, OverflowError: one of them cannot be encoded.
        """
        self = cls(on_finish)
        self._plain = record is None
        last = len(calls) - 1
        for index, call in enumerate(calls):
            more = index < last and calls[index + 1][0] in _QUICK
            data = encode_call(_number(abi, call[0]), call[1:], linked and index < last, more)
            self._requests.append(_Request(self, index, data))
        if record is not None:
            self._requests[0].report_to(record, _our_number(abi, calls[0][0]))
        return self

    @classmethod
    def read(cls, on_finish: Callable[[], None], address: int, length: int) -> Exchange:
        """Read `length` bytes, more than none, at an address of the peer."""
        self = cls(on_finish)
        self._requests = [
            _Request(self, index, encode_read(address + at, size), read=size)
            for index, (at, size) in enumerate(split_transfer(length))
        ]
        return self

    @classmethod
    def write(cls, on_finish: Callable[[], None], address: int, data: bytes) -> Exchange:
        """Write bytes, more than none, to an address of the peer."""
        self = cls(on_finish)
        self._requests = [
            _Request(self, index, encode_write(address + at, data[at : at + size]), written=size)
            for index, (at, size) in enumerate(split_transfer(len(data)))
        ]
        return self

    @classmethod
    def steps(
        cls,
        on_finish: Callable[[], None],
        abi: ABI,
        steps: Sequence[Step],
        linked: bool = False,
        record: CallRecord | None = None,
        recorded: int = 0,
    ) -> Exchange:
        """Calls and transfers of at most `MAX_TRANSFER` bytes each; arguments as `SyscallInterface.steps`.

        Raises:
            TypeError, ValueError, OverflowError: one of them cannot be encoded.
        """
        self = cls(on_finish)
        # With it ends what the server skips.
        last = max(
            (index for index, step in enumerate(steps) if not isinstance(step, MemoryRead)), default=-1
        )
        for index, step in enumerate(steps):
            if isinstance(step, MemoryRead):
                data = encode_read(*step)
                request = _Request(self, index, data, read=step.length)
            elif isinstance(step, MemoryWrite):
                data = encode_write(*step, linked=linked and index < last)
                request = _Request(self, index, data, written=len(step.data))
            else:
                data = encode_call(_number(abi, step[0]), step[1:], linked=linked and index < last)
                request = _Request(self, index, data)
                if record is not None and index == recorded:
                    request.report_to(record, _our_number(abi, step[0]))
            self._requests.append(request)
        self.finished = not steps
        return self

    def _answer(self, index: int, results: Sequence[int], payload: bytes) -> None:
        """Take the answers to some requests; the second time nothing happens.

        Args:
            index: the first of them.
            results: theirs.
            payload: that of the only one; there is none with several results.
        """
        if len(self.payloads) == index:
            self.payloads.extend([payload] * len(results))
        if len(self.results) == index:
            self.results.extend(results)
        if len(self.results) == len(self._requests):
            self.finished = True
            self.on_finish()

    def _fail(self, error: SyscallError) -> None:
        """The oldest request without an answer will get none; the second time nothing happens."""
        if self.error is None:
            if self.results and not isinstance(error, SyscallHangup):
                cause = error.__cause__
                error = SyscallHangup("the process was lost in the course of several calls")
                error.__cause__ = cause
            if isinstance(error, SyscallHangup):
                error.results = self.results
            self.error = error
        self.finished = True
        self.on_finish()

    def check(self) -> list[int]:
        """Return the results.

        Raises:
            SyscallError: not all requests were answered.
        """
        if self.error is not None:
            raise self.error
        return self.results

    def check_steps(self) -> list[int | bytes]:
        """Return what came of each step; see `SyscallInterface.steps`.

        Raises:
            SyscallError: not all requests were answered.
        """
        return [
            payload if request.read and result >= 0 else result
            for request, result, payload in zip(self._requests, self.check(), self.payloads, strict=True)
        ]

    def check_transfer(self) -> bytes:
        """Return the bytes that were read.

        Raises:
            OSError: EFAULT.
            SyscallError: not all requests were answered.
        """
        for result in self.check():
            if result < 0:
                raise error_of(result)
        return self.payloads[0] if len(self.payloads) == 1 else b"".join(self.payloads)


class _Answers(NamedTuple):
    """What has arrived and whose it is. It changes by replacing the whole.

    Attributes:
        data: bytes that have arrived; those before `position` have been taken.
        total: how many bytes have ever arrived.
        queue: requests; grows at its end.
        answered: how many requests at its head have been answered, or have failed.
    """

    data: bytes
    position: int
    total: int
    queue: list[_Request]
    answered: int


class StreamState:
    """What one client knows of its stream; see the module.

    Args:
        peer: what the other side is called in errors.

    Attributes:
        stopped: nothing more is sent; what has arrived is still taken.
        ended: every caller has been told, and what arrives now is for none of them.
        cause: why, if that is known.
    """

    __slots__ = ("_answers", "_unsent", "_wire", "cause", "ended", "peer", "stopped")

    def __init__(self, peer: str) -> None:
        self.peer: str = peer
        self._answers = _Answers(b"", 0, 0, [], 0)
        # Positions in the stream of requests: up to where bytes have been sent, and up to where offered.
        self._wire = (0, 0)
        # A hint: all requests before this one in the queue have been sent. 0 is never wrong.
        self._unsent = 0
        self.stopped: bool = False
        self.ended: bool = False
        self.cause: BaseException | None = None

    # ---- requests

    @property
    def under_way(self) -> int:
        """How many requests have neither been answered nor failed."""
        answers = self._answers
        return len(answers.queue) - answers.answered

    @property
    def not_sent(self) -> int:
        """How many of them the transport has not yet taken whole."""
        sent, _ = self._wire
        return sum(request.end > sent for request in self._answers.queue)

    def submit(self, exchange: Exchange) -> None:
        """Queue the requests of an exchange, one right behind the other.

        Raises:
            SyscallSendError: nothing can be sent any more.
        """
        if self.stopped:
            raise self._send_error()
        queue = self._answers.queue
        end = queue[-1].end if queue else self._wire[1]
        for request in exchange._requests:
            request.start = end
            end += len(request.data)
            request.end = end
        queue.extend(exchange._requests)

    def holds(self, exchange: Exchange) -> bool:
        """Whether an exchange has been submitted and is not finished."""
        return exchange._requests[-1] in self._answers.queue and not exchange.finished

    @property
    def offering(self) -> bool:
        """Whether `sent` or `unsent` is due."""
        sent, offered = self._wire
        return sent != offered

    @property
    def wants_to_send(self) -> bool:
        """Whether `data_to_send` has something."""
        queue = self._answers.queue
        return not self.stopped and bool(queue) and queue[-1].end > self._wire[0]

    def data_to_send(self, limit: int) -> bytes:
        """Offer the next bytes, at most `limit`, to a transport. `sent` or `unsent` must follow.

        If neither followed the last time, it is unknown what the peer has got: that ends the connection, and
        there is nothing to send.
        """
        sent, offered = self._wire
        if sent != offered:
            self.end(None)
        if not self.wants_to_send:
            return b""
        queue = self._answers.queue
        index = self._unsent if self._unsent < len(queue) and queue[self._unsent].start <= sent else 0
        while queue[index].end <= sent:
            index += 1
        self._unsent = index
        first = queue[index]
        alone = index + 1 == len(queue) and first.start == sent and len(first.data) <= limit
        if alone:
            data = first.data
        else:
            pieces = [memoryview(first.data)[sent - first.start :][:limit]]
            room = limit - len(pieces[0])
            while room and (index := index + 1) < len(queue):
                pieces.append(memoryview(queue[index].data)[:room])
                room -= len(pieces[-1])
            data = b"".join(pieces)
        self._wire = (sent, sent + len(data))
        # Only now: interrupted before, the offer is taken back, and with it what the records have been told.
        for request in (first,) if alone else self._requests_from(sent, sent + len(data)):
            if request.record is not None:
                _, args = decode_call(request.data)
                request.record.begin(request.number, *args)
        return data

    def _requests_from(self, start: int, end: int) -> Iterator[_Request]:
        """Those of the queue whose first byte lies between two positions."""
        queue = self._answers.queue
        for index in range(self._unsent, len(queue)):
            request = queue[index]
            if request.start >= end:
                break
            if request.start >= start:
                yield request

    def sent(self, count: int) -> None:
        """The transport has taken the first `count` bytes of what it was offered, and will not take the rest.

        The second time nothing happens.
        """
        sent, offered = self._wire
        if sent != offered:
            sent += count
            self._wire = (sent, sent)
            if sent == offered:
                return
            # Others have been told. One may have its answer already, which can be faster than this news.
            for request in self._requests_from(sent, offered):
                if request.record is not None:
                    request.record.unsent()

    def unsent(self) -> None:
        """The transport has taken nothing of what it was offered."""
        self.sent(0)

    # ---- answers

    @property
    def received_total(self) -> int:
        """How many bytes have arrived so far; see `received`."""
        return self._answers.total

    @property
    def expects_memory(self) -> bool:
        """Whether the next answer may bring more than a number."""
        answers = self._answers
        return answers.answered < len(answers.queue) and answers.queue[answers.answered].read > 0

    def received(self, data: bytes, at: int) -> None:
        """Bytes have arrived.

        Args:
            data: the bytes; none is the end of the stream.
            at: `received_total` before they arrived. If it has grown since, they have been told already, and
                only what is left to do with them is done.
        """
        answers = self._answers
        if at == answers.total:
            # They are kept with the first answer taken out of them, or at the end.
            rest = answers.data[answers.position :]
            answers = _Answers(rest + data, 0, at + len(data), answers.queue, answers.answered)
        if not data:
            self._answers = answers
            self._end_of_stream()
            return
        try:
            while not self.ended and (response := parse_response(answers.data, answers.position)) is not None:
                answers = self._take(answers, *response)
            self._answers = answers
        except ProtocolError as violation:
            self.end(violation)

    def _take(self, answers: _Answers, result: int, payload: bytes, position: int) -> _Answers:
        """Give the next answer to its exchange, and the answers behind it that are easily taken with it.

        Returns:
            What `_answers` is now.

        Raises:
            ProtocolError: it cannot be an answer to anything.
        """
        queue, answered = answers.queue, answers.answered
        if answered == len(queue) or queue[answered].end > self._wire[1]:
            raise ProtocolError(f"an answer to no request: {result}")
        request = queue[answered]
        request.check(result, payload)
        if request.record is not None:
            request.record.answer(result)
        exchange = request.exchange
        results = [result]
        if exchange._plain:
            # The following ones of the same exchange, of those that were offered.
            offered = (self._wire[1] - request.end) // REQUEST_SIZE
            limit = min(offered, len(exchange._requests) - request.index - 1)
            position = parse_results(answers.data, position, limit, results)
        exchange._answer(request.index, results, payload)
        answered += len(results)
        if answered == len(queue) or answered >= _LONG_QUEUE:
            queue, answered = queue[answered:], 0
            self._unsent = 0
        following = _Answers(answers.data, position, answers.total, queue, answered)
        self._answers = following
        return following

    def _end_of_stream(self) -> None:
        answers = self._answers
        missing = len(answers.data) - answers.position
        if missing and self.cause is None:
            self.end(ProtocolError(f"the stream ended after {missing} bytes of a response"))
        else:
            self.end(self.cause)

    # ---- the end

    def stop(self, cause: BaseException | None) -> None:
        """Send nothing more. What has been sent may still be answered, until `end`."""
        if not self.stopped:
            self.cause = cause
            self.stopped = True

    def end(self, cause: BaseException | None) -> None:
        """Tell every caller that is still waiting what has become of its requests."""
        self.stop(cause)
        self.ended = True
        while self.under_way:
            answers = self._answers
            request = answers.queue[answers.answered]
            request.exchange._fail(self._hangup() if request.start < self._wire[1] else self._send_error())
            self._answers = answers._replace(answered=answers.answered + 1)

    def _hangup(self) -> SyscallHangup:
        error = SyscallHangup(
            f"{self.peer} was lost before it answered: it has exited, been killed, or executed a program, or "
            "the connection is broken"
        )
        error.__cause__ = self.cause
        return error

    def _send_error(self) -> SyscallSendError:
        error = SyscallSendError(f"{self.peer} cannot be reached: the connection has ended or was closed")
        error.__cause__ = self.cause
        return error
