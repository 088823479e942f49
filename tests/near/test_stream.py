"""The state machine of the stream: tables of events, and the outcome that every caller gets."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsyscall.near import SYS, MemoryRead, MemoryWrite, Syscall, SyscallHangup, SyscallSendError, native_abi
from rsyscall.near.protocol import (
    REQUEST_SIZE,
    ProtocolError,
    encode_call,
    encode_read,
    encode_response,
    encode_write,
)
from rsyscall.near.record import CallRecord
from rsyscall.near.stream import Exchange, StreamState

EVERYTHING = 1 << 30


class Client:
    """A stream without a transport: the test plays the transport and the peer.

    Attributes:
        exchanges: by name.
        finished: names of those whose callback was called.
    """

    def __init__(self) -> None:
        self.state = StreamState("the peer")
        self.exchanges: dict[str, Exchange] = {}
        self.finished: list[str] = []
        self.offered = b""

    # ---- events

    def calls(self, name: str, count: int = 1) -> None:
        calls = [Syscall(SYS.getpid)] * count
        self._submit(name, Exchange.calls(lambda: self.finished.append(name), native_abi(), calls))

    def read(self, name: str, length: int) -> None:
        self._submit(name, Exchange.read(lambda: self.finished.append(name), 4096, length))

    def write(self, name: str, length: int) -> None:
        self._submit(name, Exchange.write(lambda: self.finished.append(name), 4096, bytes(length)))

    def _submit(self, name: str, exchange: Exchange) -> None:
        assert not self.state.holds(exchange)
        self.state.submit(exchange)
        self.exchanges[name] = exchange

    def offer(self, limit: int = EVERYTHING) -> None:
        self.offered = self.state.data_to_send(limit)

    def sent(self, count: int | None = None) -> None:
        self.state.sent(len(self.offered) if count is None else count)

    def unsent(self) -> None:
        self.state.unsent()

    def send(self) -> None:
        self.offer()
        self.sent()

    def answer(self, *results: int) -> None:
        self.bytes(b"".join(encode_response(result) for result in results))

    def bytes(self, data: bytes) -> None:
        self.state.received(data, self.state.received_total)

    def eof(self) -> None:
        self.state.received(b"", self.state.received_total)

    def stop(self) -> None:
        self.state.stop(ConnectionResetError())

    def end(self) -> None:
        self.state.end(None)

    # ---- what has come of it

    def outcomes(self) -> dict[str, Any]:
        """Of each exchange: its results; or "waits", "unsent" or ("hangup", results)."""
        return {name: self._outcome(name) for name in self.exchanges}

    def _outcome(self, name: str) -> Any:
        exchange = self.exchanges[name]
        assert exchange.finished == (name in self.finished)
        assert exchange.finished != self.state.holds(exchange)
        if not exchange.finished:
            return "waits"
        try:
            return exchange.check()
        except SyscallHangup as hangup:
            return "hangup", list(hangup.results)
        except SyscallSendError:
            return "unsent"


TABLE: dict[str, tuple[list[tuple[Any, ...]], dict[str, Any]]] = {
    "nothing happens": ([("calls", "a")], {"a": "waits"}),
    "answered": ([("calls", "a"), ("send",), ("answer", 7)], {"a": [7]}),
    "errors are results": ([("calls", "a"), ("send",), ("answer", -9)], {"a": [-9]}),
    "answers come in order": (
        [("calls", "a"), ("calls", "b"), ("send",), ("answer", 1), ("answer", 2)],
        {"a": [1], "b": [2]},
    ),
    "several answers at once": (
        [("calls", "a", 2), ("calls", "b"), ("send",), ("answer", 1, 2, 3)],
        {"a": [1, 2], "b": [3]},
    ),
    # ---- several answers of one exchange are taken at once
    "some of several": (
        [("calls", "a", 4), ("send",), ("answer", 1, 2), ("eof",)],
        {"a": ("hangup", [1, 2])},
    ),
    "more than were offered": (
        [("calls", "a", 3), ("offer", 2 * REQUEST_SIZE + 1), ("sent",), ("answer", 1, 2, 3)],
        {"a": ("hangup", [1, 2])},
    ),
    "bytes among numbers": (
        [("calls", "a", 3), ("send",), ("bytes", encode_response(1) + encode_response(2, b"ab"))],
        {"a": ("hangup", [1])},
    ),
    "the next exchange gets none of them": (
        [("calls", "a", 3), ("read", "b", 2), ("send",), ("answer", 1, 2, 3)],
        {"a": [1, 2, 3], "b": "waits"},
    ),
    # ---- the end, by how far a request has come
    "queued": ([("calls", "a"), ("eof",)], {"a": "unsent"}),
    "refused by the transport": ([("calls", "a"), ("offer",), ("unsent",), ("end",)], {"a": "unsent"}),
    "nothing of it was taken": ([("calls", "a"), ("offer",), ("sent", 0), ("end",)], {"a": "unsent"}),
    "on offer": ([("calls", "a"), ("offer",), ("end",)], {"a": ("hangup", [])}),
    "on offer, and then the stream ends": ([("calls", "a"), ("offer",), ("eof",)], {"a": ("hangup", [])}),
    "one byte of it was sent": ([("calls", "a"), ("offer",), ("sent", 1), ("end",)], {"a": ("hangup", [])}),
    "sent": ([("calls", "a"), ("send",), ("eof",)], {"a": ("hangup", [])}),
    "answered, and then the stream ends": (
        [("calls", "a"), ("send",), ("answer", 3), ("eof",)],
        {"a": [3]},
    ),
    "half an answer": (
        [("calls", "a"), ("send",), ("bytes", encode_response(3)[:9]), ("eof",)],
        {"a": ("hangup", [])},
    ),
    "only what was offered is in doubt": (
        [("calls", "a"), ("calls", "b"), ("offer", REQUEST_SIZE), ("end",)],
        {"a": ("hangup", []), "b": "unsent"},
    ),
    "sent in part, the rest taken back": (
        [("calls", "a"), ("calls", "b"), ("offer",), ("sent", REQUEST_SIZE), ("end",)],
        {"a": ("hangup", []), "b": "unsent"},
    ),
    "an offer that was left open ends the connection": (
        [("calls", "a"), ("calls", "b"), ("offer", REQUEST_SIZE), ("offer",)],
        {"a": ("hangup", []), "b": "unsent"},
    ),
    "answered while the transport has not said that it was sent": (
        [("calls", "a"), ("offer",), ("answer", 5), ("sent",), ("calls", "b"), ("send",), ("answer", 6)],
        {"a": [5], "b": [6]},
    ),
    "answered, and the process that was to send it dies": (
        [("calls", "a"), ("offer",), ("answer", 5), ("end",)],
        {"a": [5]},
    ),
    # ---- batches
    "a batch of which nothing was sent": ([("calls", "a", 3), ("eof",)], {"a": "unsent"}),
    "a batch of which one was answered": (
        [("calls", "a", 3), ("offer", REQUEST_SIZE), ("sent",), ("answer", 1), ("eof",)],
        {"a": ("hangup", [1])},
    ),
    "a batch of which one was sent": (
        [("calls", "a", 3), ("offer", REQUEST_SIZE), ("sent",), ("eof",)],
        {"a": ("hangup", [])},
    ),
    # ---- memory
    "memory is read": (
        [("read", "a", 3), ("send",), ("bytes", encode_response(3, b"abc"))],
        {"a": [3]},
    ),
    "a bad address": ([("read", "a", 3), ("send",), ("answer", -errno.EFAULT)], {"a": [-errno.EFAULT]}),
    "memory is written": ([("write", "a", 3), ("send",), ("answer", 3)], {"a": [3]}),
    # ---- a peer that lies
    "an answer to nothing": ([("answer", 5), ("calls", "a")], {}),
    "an answer to what was not sent": ([("calls", "a"), ("answer", 5)], {"a": "unsent"}),
    "an answer to what was sent in part": (
        [("write", "a", 100), ("offer", 70), ("answer", 100)],
        {"a": ("hangup", [])},
    ),
    "two answers to one request": (
        [("calls", "a"), ("calls", "b"), ("offer", REQUEST_SIZE), ("sent",), ("answer", 1, 2)],
        {"a": [1], "b": "unsent"},
    ),
    "more memory than was asked for": (
        [("read", "a", 3), ("send",), ("bytes", encode_response(4, b"abcd"))],
        {"a": ("hangup", [])},
    ),
    "less memory than was written": ([("write", "a", 3), ("send",), ("answer", 2)], {"a": ("hangup", [])}),
    "memory with a call": (
        [("calls", "a"), ("send",), ("bytes", encode_response(3, b"abc"))],
        {"a": ("hangup", [])},
    ),
    # ---- stop
    "what was sent is still answered": (
        [("calls", "a"), ("send",), ("calls", "b"), ("stop",), ("answer", 5), ("eof",)],
        {"a": [5], "b": "unsent"},
    ),
    "nothing is offered any more": (
        [("calls", "a"), ("stop",), ("offer",), ("end",)],
        {"a": "unsent"},
    ),
    "what was on offer is in doubt": (
        [("calls", "a"), ("offer",), ("stop",), ("end",)],
        {"a": ("hangup", [])},
    ),
    "what was on offer is told to have been refused": (
        [("calls", "a"), ("offer",), ("stop",), ("unsent",), ("end",)],
        {"a": "unsent"},
    ),
    # ---- twice
    "ended twice": ([("calls", "a"), ("send",), ("end",), ("eof",)], {"a": ("hangup", [])}),
    "an answer after the end": ([("calls", "a"), ("send",), ("end",), ("answer", 1)], {"a": ("hangup", [])}),
    "told twice what was sent": (
        [
            ("calls", "a"),
            ("calls", "b"),
            ("offer", REQUEST_SIZE),
            ("sent",),
            ("sent",),
            ("unsent",),
            ("end",),
        ],
        {"a": ("hangup", []), "b": "unsent"},
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_events(name: str) -> None:
    events, expected = TABLE[name]
    client = Client()
    for event, *arguments in events:
        if (event, client.state.stopped) == ("calls", True):
            with pytest.raises(SyscallSendError):
                client.calls(*arguments)
        else:
            getattr(client, event)(*arguments)
    assert client.outcomes() == expected


def test_an_answer_that_is_told_twice_is_taken_once() -> None:
    client = Client()
    client.calls("a")
    client.calls("b")
    client.send()
    data = encode_response(1)
    client.state.received(data, 0)
    client.state.received(data, 0)
    assert client.outcomes() == {"a": [1], "b": "waits"}
    client.state.received(encode_response(2), len(data))
    assert client.outcomes() == {"a": [1], "b": [2]}


@given(st.lists(st.integers(1, 5), min_size=1), st.data())
def test_answers_in_pieces_of_any_size_come_to_the_same(counts: list[int], data: st.DataObject) -> None:
    client, expected = Client(), {}
    stream = b""
    for index, count in enumerate(counts):
        results = data.draw(st.lists(st.integers(-4095, 2**63 - 1), min_size=count, max_size=count))
        client.calls(str(index), count)
        expected[str(index)] = results
        stream += b"".join(map(encode_response, results))
    client.send()
    while stream:
        size = data.draw(st.integers(1, 40))
        client.bytes(stream[:size])
        stream = stream[size:]
    assert client.outcomes() == expected


def test_the_cause_is_in_the_error() -> None:
    client = Client()
    client.calls("a")
    client.send()
    client.calls("b")
    client.stop()
    client.end()
    for name in "ab":
        with pytest.raises((SyscallHangup, SyscallSendError), match="the peer") as caught:
            client.exchanges[name].check()
        assert isinstance(caught.value.__cause__, ConnectionResetError)
    with pytest.raises(SyscallSendError) as refused:
        client.calls("c")
    assert isinstance(refused.value.__cause__, ConnectionResetError)


def test_a_violation_is_the_cause() -> None:
    client = Client()
    client.calls("a")
    client.send()
    client.bytes(encode_response(7)[:15])
    client.eof()
    with pytest.raises(SyscallHangup) as caught:
        client.exchanges["a"].check()
    assert isinstance(caught.value.__cause__, ProtocolError)


def test_transfers_are_put_together() -> None:
    client = Client()
    length = (1 << 20) + 3
    client.read("a", length)
    assert client.state.expects_memory
    client.send()
    assert len(client.offered) == 2 * REQUEST_SIZE
    client.bytes(encode_response(1 << 20, b"x" * (1 << 20)))
    client.bytes(encode_response(3, b"end"))
    assert client.exchanges["a"].check_transfer() == b"x" * (1 << 20) + b"end"
    assert not client.state.expects_memory
    client.read("b", 3)
    client.send()
    client.answer(-errno.EFAULT)
    with pytest.raises(OSError) as caught:
        client.exchanges["b"].check_transfer()
    assert caught.value.errno == errno.EFAULT


def test_steps_are_one_exchange() -> None:
    state, record = StreamState("a peer"), CallRecord()
    steps = [
        MemoryWrite(8, b"ab"),
        Syscall(SYS.getpid),
        MemoryRead(8, 3),
        Syscall(SYS.getuid),
        MemoryRead(9, 2),
    ]
    exchange = Exchange.steps(lambda: None, native_abi(), steps, linked=True, record=record, recorded=1)
    state.submit(exchange)
    number = native_abi().number
    data = state.data_to_send(1 << 20)
    assert data == b"".join(
        [
            encode_write(8, b"ab", linked=True),
            encode_call(number(SYS.getpid), linked=True),
            encode_read(8, 3),
            # The last call: nothing behind it is skipped.
            encode_call(number(SYS.getuid)),
            encode_read(9, 2),
        ]
    )
    state.sent(len(data))
    answers = [(2, b""), (7, b""), (3, b"abc"), (-1, b""), (-14, b"")]
    state.received(b"".join(encode_response(*answer) for answer in answers), 0)
    assert exchange.check_steps() == [2, 7, b"abc", -1, -14]
    assert record.result == 7


def test_what_is_sent_is_every_request_once() -> None:
    client = Client()
    client.write("a", 200)
    client.calls("b", 3)
    whole = b"".join(request.data for name in "ab" for request in client.exchanges[name]._requests)
    seen = b""
    while client.state.wants_to_send:
        client.offer(77)
        taken = min(50, len(client.offered))
        seen += client.offered[:taken]
        client.sent(taken)
    assert seen == whole


def test_an_answer_before_the_news_that_the_request_was_sent_stays_in_its_record() -> None:
    client = Client()
    made, closed = CallRecord(), CallRecord()
    for name, call, record in (
        ("open", Syscall(SYS.openat), made),
        ("close", Syscall(SYS.close, 7), closed),
    ):
        client._submit(name, Exchange.calls(lambda: None, native_abi(), [call], record=record))
    client.calls("slow")  # so that the queue stays
    client.offer()
    client.answer(5)
    client.sent()
    assert (made.sent, made.result) == (True, 5)
    client.answer(0)
    assert (closed.sent, closed.result) == (True, 0)


def test_a_request_that_is_sent_in_pieces_is_begun_once() -> None:
    client = Client()
    record = CallRecord()
    close = Syscall(SYS.close, 7)
    client._submit("close", Exchange.calls(lambda: None, native_abi(), [close], record=record))
    for taken in (0, 10, 0):
        client.offer(50)
        client.sent(taken)
        assert record.sent == (client.state._wire[0] > 0)
    client.offer()
    client.unsent()
    client.send()
    client.answer(0)
    assert (record.sent, record.result) == (True, 0)


def test_a_queue_that_is_never_empty_does_not_grow() -> None:
    client = Client()
    client.calls("0")
    for number in range(1, 5000):
        client.calls(str(number))
        client.send()
        client.answer(number - 1)
        del client.exchanges[str(number - 1)]
        client.finished.clear()
    assert client.state.under_way == 1
    # Of 5000: what was answered is not kept. No caller sees the queue.
    assert len(client.state._answers.queue) < 2500


EVENTS = st.one_of(
    st.tuples(st.just("calls"), st.integers(1, 4)),
    st.tuples(st.just("write"), st.integers(1, 300)),
    st.tuples(st.just("offer"), st.integers(1, 500)),
    st.tuples(st.just("sent"), st.floats(0, 1)),
    st.tuples(st.just("serve"), st.integers(1, 5)),
    st.tuples(st.just("deliver"), st.integers(1, 50)),
    st.tuples(st.just("stop")),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(EVENTS, max_size=60), st.booleans())
def test_nothing_that_was_executed_is_called_unsent(
    events: list[tuple[Any, ...]], peer_is_fast: bool
) -> None:
    """The peer executes the requests that it has, at any moment, and the stream may end at any moment.

    Args:
        events: what happens.
        peer_is_fast: it gets the bytes on offer at once, before the transport reports them as sent.
    """
    client = Client()
    arrived, on_offer, answers = bytearray(), b"", b""
    executed = 0
    order: list[tuple[str, int]] = []  # which exchange, and which request of it
    for number, (event, *arguments) in enumerate(events):
        if event in ("calls", "write") and not client.state.stopped:
            getattr(client, event)(str(number), *arguments)
            order += [(str(number), index) for index in range(arguments[0] if event == "calls" else 1)]
        elif event == "offer" and not on_offer:
            client.offer(arguments[0])
            on_offer = client.offered
            if peer_is_fast:
                arrived += on_offer
        elif event == "sent" and on_offer:
            count = len(on_offer) if peer_is_fast else int(arguments[0] * len(on_offer))
            if not peer_is_fast:
                arrived += on_offer[:count]
            client.sent(count)
            on_offer = b""
        elif event == "serve":
            for _ in range(arguments[0]):
                requests = client.exchanges[order[executed][0]]._requests if executed < len(order) else []
                size = len(requests[order[executed][1]].data) if requests else 0
                if not requests or len(arrived) < size:
                    break
                del arrived[:size]
                written = requests[order[executed][1]].written
                answers += encode_response(executed if written is None else written)
                executed += 1
        elif event == "deliver" and answers:
            client.bytes(answers[: arguments[0]])
            answers = answers[arguments[0] :]
        elif event == "stop":
            client.stop()
    client.end()
    done = {name: sum(1 for owner, _ in order[:executed] if owner == name) for name in client.exchanges}
    for name, outcome in client.outcomes().items():
        assert outcome != "waits"
        if outcome == "unsent":
            assert done[name] == 0
        elif isinstance(outcome, tuple):
            assert len(outcome[1]) <= done[name]
        else:
            assert len(outcome) == done[name]
