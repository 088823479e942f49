"""Namespaces, and the base of tasks."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from rsyscall import far
from rsyscall.near import UnusableSyscallInterface
from rsyscall.near import types as near

from .support import Local


def make_task() -> far.Task:
    return far.Task(
        UnusableSyscallInterface(), near.Process(7), far.FDTable(7), far.AddressSpace(7), far.PidNamespace(7)
    )


@pytest.mark.parametrize("cls", [far.FDTable, far.AddressSpace, far.PidNamespace, far.MountNamespace])
def test_namespaces_are_compared_by_identity(cls: type) -> None:
    one = cls(1)
    assert one == one
    assert one != cls(1)
    assert len({one, cls(1)}) == 2
    assert one.creator_pid == 1


def test_files_are_compared_by_identity() -> None:
    assert far.File() != far.File()


def test_address_space_assert_is() -> None:
    one, other = far.AddressSpace(1), far.AddressSpace(2)
    one.assert_is(one)
    with pytest.raises(far.AddressSpaceMismatchError) as caught:
        one.assert_is(other)
    assert caught.value.args == (one, other)


def test_mismatches_are_namespace_mismatches() -> None:
    assert issubclass(far.FDTableMismatchError, far.NamespaceMismatchError)
    assert issubclass(far.AddressSpaceMismatchError, far.NamespaceMismatchError)


def test_task_has_its_fields() -> None:
    task = make_task()
    assert repr(task) == "Task(Process(7))"
    assert task.near_pid == task.near_process == near.Process(7)
    assert task.mountns.creator_pid == 7
    assert repr(far.Task.__new__(far.Task)) == "Task(None)"


def test_post_init_is_called() -> None:
    class Counting(far.Task):
        calls = 0

        def __post_init__(self) -> None:
            super().__post_init__()
            self.calls += 1

    task = Counting(
        UnusableSyscallInterface(), near.Process(7), far.FDTable(7), far.AddressSpace(7), far.PidNamespace(7)
    )
    assert task.calls == 1


async def test_borrow_optional(local: Local) -> None:
    """What all calls with an optional pointer use; no call shows it alone."""
    pointer = await local.ptr(b"x")
    with ExitStack() as stack:
        assert local.task._borrow_optional(stack, None) is None
        assert local.task._borrow_optional(stack, pointer) == pointer.near
    with ExitStack() as stack, pytest.raises(far.AddressSpaceMismatchError):
        make_task()._borrow_optional(stack, pointer)
