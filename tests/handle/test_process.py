"""Handles for processes: signalling, waiting, and never doing either to a stranger."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NoReturn, SupportsInt

import pytest

from rsyscall import far
from rsyscall.command import Command
from rsyscall.far import AddressSpaceMismatchError, NamespaceMismatchError
from rsyscall.handle.allocation import AllocationInterface
from rsyscall.handle.pointer import MemoryGateway, Pointer, UseAfterFreeError, WrittenPointer
from rsyscall.handle.process import (
    ChildProcess,
    DeadProcessError,
    Process,
    ProcessInUseError,
    ThreadProcess,
)
from rsyscall.linux.futex import FutexNode
from rsyscall.native import symbols
from rsyscall.near import SYS, LocalSyscall
from rsyscall.near import types as near
from rsyscall.sched import CLONE, Borrowable, Stack
from rsyscall.signal import SIG, Siginfo
from rsyscall.struct import BytesSerializer, Serializer
from rsyscall.sys.mman import MemoryMapping
from rsyscall.sys.wait import CLD, ChildState, W

from .support import Local, make_task, retyped, run


def pause_forever() -> NoReturn:
    while True:
        signal.pause()


Fork = Callable[..., ChildProcess]


@pytest.fixture(params=["pid", "pidfd"])
def fork(local: Local, request: pytest.FixtureRequest) -> Iterator[Fork]:
    """Makes a child of the task, which runs the function and exits; with and without a pidfd."""
    made: list[ChildProcess] = []
    task = local.task

    def fork(body: Callable[[], Any] = pause_forever) -> ChildProcess:
        pid = os.fork()
        if not pid:
            try:
                body()
            finally:
                os._exit(0)
        pidfd = None
        if request.param == "pidfd":
            pidfd = task.make_fd_handle(near.FileDescriptor(os.pidfd_open(pid)))
        made.append(ChildProcess(local.task, near.Process(pid), pidfd=pidfd))
        return made[-1]

    yield fork
    task.sysif = LocalSyscall()
    for child in made:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(child.near.id, signal.SIGKILL)
            os.waitpid(child.near.id, 0)
        if child.pidfd is not None:
            run(child.pidfd.close())


async def wait(local: Local, child: ChildProcess, options: W = W.EXITED) -> ChildState | None:
    await child.waitid(options, await local.malloc(Siginfo))
    return await child.read_siginfo()


class Failing(LocalSyscall):
    __slots__ = ()

    async def syscall(self, number: SYS, *args: SupportsInt) -> int:
        raise AssertionError(f"{number.name} was called")


# Any process


async def test_process(local: Local) -> None:
    process = local.task.process
    assert process is local.task.pid
    assert process == Process(local.task, near.Process(os.getpid()))
    assert hash(process) == hash(Process(local.task, near.Process(os.getpid())))
    assert process != Process(make_task(), process.near)
    assert process != Process(local.task, near.Process(1))
    assert str(process.as_proc_path()) == f"/proc/{os.getpid()}"
    assert await process.getpgid() == near.ProcessGroup(os.getpgrp())
    await process.kill(SIG.NONE)
    assert await process.getpriority() == 20 - os.getpriority(os.PRIO_PROCESS, 0)
    nobody = Process(local.task, near.Process(2**22 + 1))
    for call in (
        nobody.kill(SIG.NONE),
        nobody.killpg(SIG.NONE),
        nobody.getpgid(),
        nobody.getpriority(),
        nobody.setpriority(1),
    ):
        with pytest.raises(ProcessLookupError) as caught:
            await call
        assert int(caught.value.filename) == 2**22 + 1


# Children


async def test_exit_is_reported_once(local: Local, fork: Fork) -> None:
    child = fork(lambda: os._exit(4))
    assert child.alive
    state = await wait(local, child)
    assert state == ChildState(CLD.EXITED, child.near.id, os.getuid(), 4, None)
    assert child.death_state == state
    assert not child.alive
    for call in (
        child.kill(SIG.KILL),
        child.killpg(SIG.KILL),
        child.getpgid(),
        child.setpgid(None),
        child.getpriority(),
        child.setpriority(1),
        child.waitid(W.EXITED, await local.malloc(Siginfo)),
    ):
        with pytest.raises(DeadProcessError, match="exited with status 4"):
            await call


async def test_priority_of_a_child(local: Local, fork: Fork) -> None:
    child = fork()
    # Without privileges no less than it is.
    nice = min(os.getpriority(os.PRIO_PROCESS, 0) + 7, 19)
    await child.setpriority(nice)
    assert await child.getpriority() == 20 - nice
    assert os.getpriority(os.PRIO_PROCESS, child.near.id) == nice


async def test_kill(local: Local, fork: Fork) -> None:
    child = fork()
    await child.kill(SIG.TERM)
    state = await wait(local, child)
    assert state is not None
    assert state.killed_with() is SIG.TERM


async def test_nohang_finds_nothing(local: Local, fork: Fork) -> None:
    child = fork()
    assert await wait(local, child, W.EXITED | W.NOHANG) is None
    assert child.alive
    await child.waitid(W.EXITED | W.NOHANG, await local.malloc(Siginfo))
    with pytest.raises(ValueError, match="nothing happened"):
        await child.read_state_change()
    # a stale buffer does not count as an event
    dirty = retyped(await local.ptr(b"\xff" * 128), Siginfo.get_serializer(local.task), Siginfo)
    await child.waitid(W.EXITED | W.NOHANG, dirty)
    assert await child.read_siginfo() is None


async def test_stop_and_continue(local: Local, fork: Fork) -> None:
    child = fork()
    for sig, options, code in (
        (SIG.STOP, W.STOPPED, CLD.STOPPED),
        (SIG.CONT, W.CONTINUED, CLD.CONTINUED),
    ):
        await child.kill(sig)
        state = await wait(local, child, options)
        assert state is not None
        assert (state.code, state.sig) == (code, sig)
        assert child.alive
    await child.kill(40)
    state = await wait(local, child)
    assert state is not None
    assert state.killed_with() == 40


async def test_nowait_leaves_the_child(local: Local, fork: Fork) -> None:
    """A death that was seen with NOWAIT has to be reaped still."""
    child = fork(lambda: os._exit(1))
    state = await wait(local, child, W.EXITED | W.NOWAIT)
    assert state is not None
    assert state.died()
    assert child.alive
    await child.kill(SIG.NONE)
    assert await wait(local, child) == state
    assert not child.alive


async def test_unread_siginfo_protects_the_id(local: Local, fork: Fork) -> None:
    """Scenario 17."""
    child = fork(lambda: os._exit(1))
    infop = await local.malloc(Siginfo)
    await child.waitid(W.EXITED, infop)
    assert child.unread_siginfo is infop
    for call in (
        child.kill(SIG.KILL),
        child.killpg(SIG.KILL),
        child.getpgid(),
        child.setpgid(None),
        child.getpriority(),
        child.setpriority(1),
        child.waitid(W.EXITED, await local.malloc(Siginfo)),
    ):
        with pytest.raises(ProcessInUseError, match="unread siginfo"):
            await call
    assert child.alive
    state = await child.read_siginfo()
    assert state is not None
    assert state.exit_status == 1
    assert child.unread_siginfo is None
    with pytest.raises(ValueError, match="waitid comes first"):
        await child.read_siginfo()


async def test_a_cancelled_read_loses_nothing(local: Local, fork: Fork) -> None:
    class Cancelled(MemoryGateway):
        async def read(self, src: Pointer[Any]) -> bytes:
            raise asyncio.CancelledError

        async def write(self, dest: Pointer[Any], data: bytes) -> None:
            raise NotImplementedError

    child = fork(lambda: os._exit(1))
    infop = await local.malloc(Siginfo)
    await child.waitid(W.EXITED, infop)
    infop.transport = Cancelled()
    with pytest.raises(asyncio.CancelledError):
        await child.read_siginfo()
    infop.transport = local.gateway
    assert (await child.read_state_change()).exit_status == 1


async def test_borrow_is_exclusive(local: Local, fork: Fork) -> None:
    child = fork()
    with child.borrow():
        assert child.in_use
        for call in (
            child.killpg(SIG.KILL),
            child.getpgid(),
            child.setpgid(None),
            child.getpriority(),
            child.setpriority(1),
            child.waitid(W.EXITED, await local.malloc(Siginfo)),
        ):
            with pytest.raises(ProcessInUseError, match="in use"):
                await call
        if child.pidfd is None:
            with pytest.raises(ProcessInUseError):
                await child.kill(SIG.NONE)
        else:
            # cannot hit another process
            await child.kill(SIG.NONE)
    assert not child.in_use
    with contextlib.suppress(ZeroDivisionError), child.borrow():
        raise ZeroDivisionError
    await child.kill(SIG.NONE)


async def test_borrow_that_was_interrupted_before_the_block_ends(fork: Fork) -> None:
    """As when a signal handler raises after `__enter__`: nothing calls `__exit__`."""
    child = fork()
    borrow = child.borrow()
    borrow.__enter__()
    assert child.in_use
    del borrow
    assert not child.in_use
    await child.kill(SIG.NONE)


async def test_somebody_else_reaps(local: Local, fork: Fork) -> None:
    child = fork(lambda: os._exit(0))
    os.waitpid(child.near.id, 0)
    with pytest.raises(ChildProcessError) as caught:
        await child.waitid(W.EXITED, await local.malloc(Siginfo))
    assert caught.value.filename == child.near
    assert child.unread_siginfo is None
    assert not child.in_use
    if child.pidfd is not None:
        with pytest.raises(ProcessLookupError) as caught_lookup:
            await child.kill(SIG.KILL)
        assert caught_lookup.value.filename == child.near


async def test_waitid_checks_its_pointers(local: Local, fork: Fork) -> None:
    child = fork()
    freed = await local.malloc(Siginfo)
    freed.free()
    stranger = Local.make()
    foreign = await stranger.malloc(Siginfo)
    local.task.sysif = Failing()
    for infop, rusage, error in (
        (freed, None, UseAfterFreeError),
        (foreign, None, AddressSpaceMismatchError),
        (await local.malloc(Siginfo), foreign, AddressSpaceMismatchError),
    ):
        with pytest.raises(error):
            await child.waitid(W.EXITED | W.NOHANG, infop, rusage=rusage)
        assert not child.in_use
        assert child.unread_siginfo is None
    stranger.arena.memory.close()


async def test_rusage(local: Local, fork: Fork) -> None:
    child = fork(lambda: sum(range(10**6)))
    infop, rusage = await local.malloc(Siginfo), await local.malloc(bytes, 144)
    await child.waitid(W.EXITED, infop, rusage=rusage)  # type: ignore[arg-type]  # there is no type for rusage yet
    assert await child.read_siginfo() is not None
    assert any(await rusage.read())


async def test_dead_from_the_start(local: Local) -> None:
    child = ChildProcess(local.task, near.Process(1), alive=False)
    with pytest.raises(DeadProcessError, match="has been reaped"):
        await child.kill(SIG.TERM)


# Process groups


async def test_own_group(local: Local, fork: Fork) -> None:
    child = fork()
    await child.setpgid(None)
    assert await child.getpgid() == near.ProcessGroup(child.near.id)
    await child.setpgid(child)
    await child.killpg(SIG.KILL)
    assert await wait(local, child) is not None


async def test_group_of_another_child(local: Local, fork: Fork) -> None:
    """It is the other's number that counts, not our own."""
    leader, member = fork(), fork()
    await leader.setpgid(None)
    await member.setpgid(leader)
    assert await member.getpgid() == near.ProcessGroup(leader.near.id)
    await leader.killpg(SIG.KILL)
    for child in (leader, member):
        state = await wait(local, child)
        assert state is not None
        assert state.killed_with() is SIG.KILL


async def test_group_of_a_child_that_cannot_be_used(local: Local, fork: Fork) -> None:
    leader, member = fork(), fork()
    await leader.setpgid(None)
    with leader.borrow(), pytest.raises(ProcessInUseError):
        await member.setpgid(leader)
    await leader.kill(SIG.KILL)
    await wait(local, leader)
    with pytest.raises(DeadProcessError):
        await member.setpgid(leader)
    elsewhere = make_task(local.task)
    elsewhere.pidns = far.PidNamespace(1)
    foreign = ChildProcess(elsewhere, near.Process(os.getpid()))
    with pytest.raises(NamespaceMismatchError):
        await member.setpgid(foreign)
    assert not member.in_use
    with pytest.raises(PermissionError):
        await member.setpgid(ChildProcess(local.task, near.Process(1)))


# clone


class Arguments(Borrowable):
    """What the trampoline pops: six arguments, and the function."""

    def __init__(self, function: int, *arguments: int) -> None:
        self.values = [*arguments, *[0] * (6 - len(arguments)), function]
        self.borrowed = 0

    def borrow_with(self, stack: ExitStack, task: far.Task) -> None:
        self.borrowed += 1


class ArgumentsSerializer(Serializer[Arguments]):
    def to_bytes(self, val: Arguments) -> bytes:
        return struct.pack("=7Q", *val.values)


class NativeFunction:
    """Stands for native code in types of pointers."""


async def make_stack(local: Local, exit_status: int) -> tuple[Pointer[Any], WrittenPointer[Stack[Arguments]]]:
    """A stack on which a new process exits at once."""
    exit_function = ctypes.cast(ctypes.CDLL(None)._exit, ctypes.c_void_p).value
    assert exit_function is not None
    trampoline: Pointer[Any] = Pointer(
        local.arena.mapping, local.gateway, BytesSerializer(), FixedAllocation(local), NativeFunction
    )
    stack: Stack[Arguments] = Stack(trampoline, Arguments(exit_function, exit_status), ArgumentsSerializer())
    memory: Pointer[Any] = local.malloc_serializer(stack.get_self_serializer(local.task), 8192, Stack)
    return await memory.write_to_end(stack, 16)


class FixedAllocation(AllocationInterface):
    """The trampoline, as if it were in the mapping."""

    def __init__(self, local: Local) -> None:
        self.start = symbols.rsyscall_trampoline - local.arena.mapping.near.address

    def offset(self) -> int:
        return self.start

    def size(self) -> int:
        return 0

    def split(self, size: int) -> NoReturn:
        raise NotImplementedError

    def merge(self, other: AllocationInterface) -> NoReturn:
        raise NotImplementedError

    def free(self) -> None:
        pass


async def test_clone(local: Local) -> None:
    task = local.task
    free_part, used_part = await make_stack(local, 6)
    ctid = await local.ptr(FutexNode(None, 1))
    ptid = await local.malloc(bytes, 4)
    before = local.arena.live_bytes()
    child = await task.clone(
        CLONE.VM | CLONE.CHILD_CLEARTID | CLONE.PARENT_SETTID | SIG.CHLD,
        (free_part, used_part),
        ptid,
        ctid,
        None,
    )
    assert isinstance(child, ThreadProcess)
    assert repr(child).startswith("ThreadProcess(")
    assert child.task is task
    assert int.from_bytes(await ptid.read(), "little") == child.near.id
    assert not free_part.valid
    assert not used_part.valid
    assert child.used_stack.size() == 8192
    assert child.stack_data is not None
    assert child.stack_data.data.borrowed == 1
    state = await wait(local, child)
    assert state is not None
    assert state.exit_status == 6
    # the kernel has cleared the word, so the child has left our memory before it was given back
    assert local.arena.live_bytes() == before - 8192 - 16
    assert not ctid.valid
    assert repr(child) == f"ChildProcess({task}, {child.near})"
    child.free_everything()


async def test_memory_is_given_back_on_exec(local: Local) -> None:
    free_part, used_part = await make_stack(local, 0)
    stack = used_part.value
    ctid, tls = await local.malloc(FutexNode), await local.malloc(bytes, 64)
    child = ThreadProcess(local.task, near.Process(1), free_part + used_part, stack, ctid, tls)
    command = Command("/bin/true", ["true"], {})
    assert child.did_exec(command) is child
    assert child.command is command
    assert local.arena.live_bytes() == 0
    assert repr(child).startswith("ChildProcess(")


async def test_clone_with_parent(local: Local) -> None:
    """The child belongs to the parent of the task, if that is known."""
    stack = await make_stack(local, 0)
    with pytest.raises(ValueError, match=r"CLONE\.PARENT"):
        await local.task.clone(CLONE.VM | CLONE.PARENT | SIG.CHLD, stack, None, None, None)
    assert stack[1].valid
    parent = make_task()
    task = make_task(local.task)
    task.parent_task = parent

    class Answering(LocalSyscall):
        __slots__ = ()

        async def syscall(self, number: SYS, *args: SupportsInt) -> int:
            assert number is SYS.clone
            return 1234

    task.sysif = Answering()
    child = await task.clone(CLONE.VM | CLONE.PARENT | SIG.CHLD, stack, None, None, None)
    assert child.task is parent
    assert child.near == near.Process(1234)


async def test_clone_checks_the_stack(local: Local) -> None:
    local.task.sysif = Failing()
    free_part, used_part = await make_stack(local, 0)
    other_free, other_used = await make_stack(local, 0)
    with pytest.raises(ValueError, match="not adjacent"):
        await local.task.clone(CLONE.VM, (free_part, other_used), None, None, None)
    with pytest.raises(ValueError, match="only clone3"):
        await local.task.clone(CLONE.VM | CLONE.NNP, (free_part, used_part), None, None, None)
    memory: Pointer[Any] = local.malloc_serializer(other_used.serializer, 8192, Stack)
    memory, _ = memory.split(8192 - 8)
    unaligned = await memory.write_to_end(other_used.value, 8)
    if int(unaligned[1].near) % 16 == 0:
        unaligned = await (unaligned[0] + unaligned[1]).split(8192 - 16)[0].write_to_end(other_used.value, 8)
    with pytest.raises(ValueError, match="multiple of 16"):
        await local.task.clone(CLONE.VM, unaligned, None, None, None)
    stranger = Local.make()
    foreign = await stranger.ptr(FutexNode(None, 1))
    with pytest.raises(AddressSpaceMismatchError):
        await local.task.clone(CLONE.VM, (free_part, used_part), None, foreign, None)
    assert free_part.valid
    assert used_part.valid
    other_free.free()
    stranger.arena.memory.close()


async def test_a_stack_in_two_mappings_is_refused(local: Local) -> None:
    """The mappings may be neighbours by accident; afterwards no one object could own both."""
    local.task.sysif = Failing()
    free_part, used_part = await make_stack(local, 0)
    mapping = local.arena.mapping
    elsewhere = MemoryMapping(local.task, mapping.near, far.File())
    there: Any = WrittenPointer(
        elsewhere, local.gateway, used_part.value, used_part.serializer, used_part.allocation, Stack
    )
    with pytest.raises(ValueError, match="one piece"):
        await local.task.clone(CLONE.VM, (free_part, there), None, None, None)
    there.valid = False

    class OfAnotherArena(FixedAllocation):
        def size(self) -> int:
            return free_part.size()

        def merge(self, other: AllocationInterface) -> NoReturn:
            raise ValueError("not of the same arena")

    unmergeable = OfAnotherArena(local)
    unmergeable.start = free_part.allocation.offset()
    also = free_part.with_allocation(unmergeable)
    with pytest.raises(ValueError, match="one piece"):
        await local.task.clone(CLONE.VM, (also, used_part), None, None, None)
    assert (free_part + used_part).size() == 8192


async def test_a_stack_is_the_childs_from_the_start(local: Local) -> None:
    """While the call is made the parts are consumed; they are valid again if it fails."""

    class Refusing(LocalSyscall):
        __slots__ = ()

        async def syscall(self, number: SYS, *args: SupportsInt) -> int:
            for part in (free_part, used_part):
                assert not part.valid
                part.free()
            assert local.arena.live_bytes() == before
            raise OSError(errno.EAGAIN, "no")

    local.task.sysif = Refusing()
    free_part, used_part = await make_stack(local, 0)
    address, before = used_part.near, local.arena.live_bytes()
    for _again in range(2):
        with pytest.raises(OSError, match="no"):
            await local.task.clone(CLONE.VM, (free_part, used_part), None, None, None)
        assert (free_part.valid, used_part.valid, used_part.near) == (True, True, address)
        assert local.arena.live_bytes() == before
    with used_part.borrow(local.task):
        used_part.free()
        assert local.arena.live_bytes() == before
    assert local.arena.live_bytes() == free_part.size()
    free_part.free()
    assert local.arena.live_bytes() == 0
