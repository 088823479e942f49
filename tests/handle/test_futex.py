"""Futex words and robust lists."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsyscall.far import AddressSpaceMismatchError
from rsyscall.handle.pointer import UseAfterFreeError
from rsyscall.linux.futex import (
    FUTEX,
    FUTEX_OWNER_DIED,
    FUTEX_TID_MASK,
    FUTEX_WAITERS,
    FutexNode,
    RobustListHead,
)
from rsyscall.near import types as near

from .processes import forked_task, kill_behind_the_back
from .support import Local, make_task, run


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
def test_node_round_trip(address: int, futex: int) -> None:
    node = FutexNode(near.Address(address) if address else None, futex)
    assert len(node.to_bytes()) == FutexNode.sizeof() == 16
    assert FutexNode.from_bytes(node.to_bytes()) == node
    assert node.to_bytes()[FutexNode.FUTEX_OFFSET :][:4] == futex.to_bytes(4, "little")
    with pytest.raises(ValueError, match="16 bytes"):
        FutexNode.from_bytes(bytes(15))


def test_operations_are_numbers_or_ed_with_flags() -> None:
    assert FUTEX.CMP_REQUEUE_PI_PRIVATE.command is FUTEX.CMP_REQUEUE_PI
    assert (FUTEX.WAIT_BITSET | FUTEX.CLOCK_REALTIME | FUTEX.PRIVATE_FLAG).command is FUTEX.WAIT_BITSET
    assert (FUTEX.WAIT | FUTEX.PRIVATE_FLAG) == FUTEX.WAIT_PRIVATE
    assert FUTEX.WAIT_PRIVATE.command == FUTEX.WAIT


async def test_list(local: Local) -> None:
    last = await local.ptr(FutexNode(None, 1))
    first = await local.ptr(FutexNode(last, 2))
    assert (await first.read()).next == last.near
    head = RobustListHead(first)
    data = head.to_bytes()
    assert len(data) == RobustListHead.sizeof() == 24
    assert data == int(first.near).to_bytes(8, "little") + (8).to_bytes(8, "little") + bytes(8)
    with pytest.raises(NotImplementedError):
        RobustListHead.from_bytes(data)
    assert FUTEX_WAITERS | FUTEX_OWNER_DIED | FUTEX_TID_MASK == 0xFFFFFFFF


def test_robust_list(local: Local) -> None:
    """The kernel marks the futexes of a process that dies, those of others it leaves alone."""
    with forked_task(local) as task:
        others = run(local.ptr(FutexNode(None, 1)))
        owned = run(local.ptr(FutexNode(others, task.near_process.id | FUTEX_WAITERS)))
        head = run(local.ptr(RobustListHead(owned)))
        run(task.set_robust_list(head))
        kill_behind_the_back(task)
        assert run(owned.read()).futex == FUTEX_OWNER_DIED | FUTEX_WAITERS
        assert run(others.read()).futex == 1


async def test_robust_list_checks_its_arguments(local: Local) -> None:
    node = await local.ptr(FutexNode(None, 0))
    head = await local.ptr(RobustListHead(node))
    with pytest.raises(AddressSpaceMismatchError):
        await make_task().set_robust_list(head)
    node.free()
    with pytest.raises(UseAfterFreeError):
        await local.task.set_robust_list(head)
