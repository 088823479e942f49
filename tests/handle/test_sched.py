"""Namespaces, CPU sets and the arguments of clone."""

from __future__ import annotations

import os
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsyscall.far import AddressSpaceMismatchError, FDTableMismatchError
from rsyscall.fcntl import O
from rsyscall.handle.fd import InvalidHandleError
from rsyscall.near import types as near
from rsyscall.sched import CLONE, Borrowable, CloneArgs, CpuSet, Stack, _clone3
from rsyscall.signal import SIG
from rsyscall.struct import Serializer

from .processes import forked_task
from .support import Local, make_task, retyped, run


@given(st.sets(st.integers(0, 1023)))
def test_cpu_set_round_trip(cpus: set[int]) -> None:
    data = CpuSet(cpus).to_bytes()
    assert len(data) == CpuSet.sizeof() == 128
    assert CpuSet.from_bytes(data) == cpus


def test_cpus_beyond_the_first_word() -> None:
    """They are not reported modulo 64."""
    assert CpuSet.from_bytes(CpuSet([70]).to_bytes()) == {70}
    assert CpuSet([64]).to_bytes() == bytes(8) + b"\1" + bytes(119)
    for cpu in (-1, 1024):
        with pytest.raises(ValueError, match="numbered 0 to 1023"):
            CpuSet([cpu]).to_bytes()
    assert repr(CpuSet([1])) == "CpuSet({1})"
    assert repr(CpuSet()) == "CpuSet({})"


async def test_getaffinity_into_a_dirty_buffer(local: Local) -> None:
    """The kernel fills in only part of the buffer; the rest must not show as CPUs."""
    dirty = retyped(await local.ptr(b"\xff" * 128), CpuSet.get_serializer(local.task), CpuSet)
    mask = await local.task.sched_getaffinity(dirty)
    assert await mask.read() == os.sched_getaffinity(0)


async def test_getaffinity_into_a_small_buffer(local: Local) -> None:
    small = local.malloc_serializer(CpuSet.get_serializer(local.task), 8, CpuSet)
    if (os.cpu_count() or 1) > 64:
        pytest.skip("kernel: has more CPUs than fit")
    assert await (await local.task.sched_getaffinity(small)).read() == os.sched_getaffinity(0)


def test_setaffinity(local: Local) -> None:
    with forked_task(local) as task:
        cpu = min(os.sched_getaffinity(0))
        run(task.sched_setaffinity(run(local.ptr(CpuSet([cpu])))))
        assert os.sched_getaffinity(task.near_process.id) == {cpu}
        with pytest.raises(OSError, match="Invalid") as caught:
            run(task.sched_setaffinity(run(local.ptr(CpuSet()))))
        assert caught.value.filename == set()


@pytest.mark.needs("privileged uts namespaces", "all capabilities")
def test_setns(local: Local) -> None:
    with forked_task(local) as task:
        path = run(local.ptr(f"/proc/{os.getpid()}/ns/uts"))
        namespace = run(task.open(path, O.RDONLY))
        run(task.unshare(CLONE.NEWUTS))
        theirs = f"/proc/{task.near_process.id}/ns/uts"
        assert os.readlink(theirs) != os.readlink("/proc/self/ns/uts")
        with pytest.raises(OSError, match="Invalid") as caught:
            run(task.setns(namespace, CLONE.NEWNET))
        assert caught.value.filename is namespace
        run(task.setns(namespace, CLONE.NEWUTS))
        assert os.readlink(theirs) == os.readlink("/proc/self/ns/uts")


async def test_setns_checks_its_argument(local: Local) -> None:
    stranger = make_task()
    namespace = await local.task.open(await local.ptr("/proc/self/ns/uts"), O.RDONLY)
    with pytest.raises(FDTableMismatchError):
        await stranger.setns(namespace, CLONE.NEWUTS)
    await namespace.close()
    with pytest.raises(InvalidHandleError):
        await local.task.setns(namespace, CLONE.NEWUTS)


@given(st.lists(st.integers(0, 2**64 - 1), min_size=10, max_size=10), st.integers(0, 2**34 - 1))
def test_clone_args_round_trip(numbers: list[int], flags: int) -> None:
    args = CloneArgs(CLONE(flags), *numbers)
    assert len(args.to_bytes()) == CloneArgs.sizeof() == 88
    assert CloneArgs.from_bytes(args.to_bytes()) == args
    with pytest.raises(ValueError, match="88 bytes"):
        CloneArgs.from_bytes(args.to_bytes()[:-1])


async def test_clone3_with_a_pidfd(local: Local) -> None:
    """Without a stack of its own, and without sharing memory, the child is a copy, as with fork."""
    pidfd = await local.ptr(bytes(4))
    args = await local.ptr(CloneArgs(CLONE.PIDFD | CLONE.CLEAR_SIGHAND, pidfd.near, exit_signal=SIG.CHLD))
    pid = (await _clone3(local.task.sysif, args.near, args.size())).id
    if not pid:
        os._exit(7)
    number = int.from_bytes(await pidfd.read(), "little")
    handle = local.task.make_fd_handle(near.FileDescriptor(number))
    result = os.waitid(os.P_PIDFD, number, os.WEXITED)
    assert result is not None
    assert (result.si_pid, result.si_status) == (pid, 7)
    await handle.close()


def test_flags_do_not_overlap() -> None:
    values = [value.value for value in CLONE.__members__.values() if value]
    assert len(values) == len(set(values))
    assert all(value & (value - 1) == 0 for value in values)
    assert CLONE.CLEAR_SIGHAND == 1 << 32
    assert CLONE(1 << 60) == 1 << 60


class Data(Borrowable):
    def __init__(self, pointer: object) -> None:
        self.pointer = pointer

    def borrow_with(self, stack: ExitStack, task: object) -> None:
        stack.enter_context(self.pointer.borrow(task))  # type: ignore[attr-defined]  # it is a pointer


class DataSerializer(Serializer[Data]):
    def to_bytes(self, val: Data) -> bytes:
        return b"data"


async def test_stack(local: Local) -> None:
    function, data = await local.ptr(b"f"), await local.ptr(b"d")
    stack = Stack(function, Data(data), DataSerializer())
    assert stack.to_bytes() == int(function.near).to_bytes(8, "little") + b"data"
    with pytest.raises(NotImplementedError):
        Stack.from_bytes(b"")
    with ExitStack() as exit_stack:
        stack.borrow_with(exit_stack, local.task)
        data.free()
        assert local.arena.live_bytes() == 2
    assert local.arena.live_bytes() == 1
    with pytest.raises(AddressSpaceMismatchError), ExitStack() as exit_stack:
        stack.borrow_with(exit_stack, make_task())
    with pytest.raises(NotImplementedError):
        Borrowable().borrow_with(ExitStack(), local.task)
