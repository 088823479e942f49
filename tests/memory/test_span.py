"""Looking at memory without owning it."""

from __future__ import annotations

import pytest

from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.memory import socket_transport, span
from rsyscall.memory.ram import RAM
from rsyscall.memory.span import SpanAllocation, to_span


def test_documented_names() -> None:
    assert socket_transport.SpanAllocation is SpanAllocation
    assert socket_transport.to_span is span.to_span


async def test_a_span_reads_and_writes_the_memory_of_its_owner(ram: RAM) -> None:
    owner = await ram.ptr(b"hello world")
    view = to_span(owner)
    assert view.near == owner.near
    assert await view.read() == b"hello world"
    await view.write(b"HELLO")
    assert await owner.read() == b"HELLO world"


async def test_a_span_can_be_consumed_without_effect_on_its_owner(ram: RAM) -> None:
    owner = await ram.ptr(b"hello world")
    left, right = to_span(owner).split(5)
    assert int(right.near) - int(owner.near) == 5
    assert await right.read() == b" world"
    middle, end = right.split(2)
    assert await (left + middle).read() == b"hello w"
    end.free()
    del left, middle, end, right
    assert owner.valid
    assert await owner.read() == b"hello world"


async def test_a_span_dies_with_its_owner(ram: RAM) -> None:
    owner = await ram.ptr(b"hello world")
    views = [to_span(owner), *to_span(owner).split(3)]
    owner.free()
    for view in views:
        with pytest.raises(UseAfterFreeError):
            view.near  # noqa: B018
        with pytest.raises(UseAfterFreeError):
            await view.read()
        str(view)
        view.free()


async def test_spans_do_not_reach_outside(ram: RAM) -> None:
    owner = await ram.malloc(bytes, 10)
    for offset, size in [(-1, 5), (0, -1), (0, 11), (10, 1), (6, 5)]:
        with pytest.raises(ValueError):
            SpanAllocation(owner.allocation, offset, size)
    whole = SpanAllocation(owner.allocation, 0, 10)
    for size in (-1, 11):
        with pytest.raises(ValueError):
            whole.split(size)
    left, right = whole.split(4)
    assert (left.offset(), left.size(), right.size()) == (owner.allocation.offset(), 4, 6)
    assert left.merge(right) == whole
    with pytest.raises(ValueError):
        right.merge(left)
    with pytest.raises(ValueError):
        left.merge(owner.allocation)
    whole.free()
    assert whole.offset() == owner.allocation.offset()
