"""Queues, semaphores and shared memory of System V; queues of POSIX."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from rsyscall.fcntl import O
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.mqueue import MqAttr
from rsyscall.signal import SI, SIG, HowSIG, QueuedSiginfo, Sigevent, Sigset
from rsyscall.struct import Int32, StructList
from rsyscall.sys.ipc import IPC, IPC_PRIVATE
from rsyscall.sys.mman import MS
from rsyscall.sys.msg import MSG, MSGCTL, Msgbuf, MsqidDs
from rsyscall.sys.sem import SEM, SEMCTL, Sembuf, SemidDs, SemValues
from rsyscall.sys.shm import SHM, SHMCTL, ShmidDs
from rsyscall.time import Timespec

from .helpers import forked, no_calls
from .support import Local

MAKE = IPC.CREAT | IPC.EXCL | IPC(0o600)


async def test_messages_go_through_a_queue(local: Local) -> None:
    task = local.task
    queue = await task.msgget(IPC_PRIVATE, MAKE)
    try:
        for mtype, text in ((1, b"one"), (2, b"two!"), (1, b"three")):
            await task.msgsnd(queue, await local.ptr(Msgbuf(mtype, text)), IPC.NOWAIT)
        info = await local.malloc(MsqidDs)
        assert await task.msgctl(queue, MSGCTL.STAT, info) == 0
        state = await info.read()
        assert (state.qnum, state.cbytes, state.lspid) == (3, 12, os.getpid())
        assert (state.perm.uid, state.perm.mode) == (os.geteuid(), 0o600)
        room = await local.malloc(Msgbuf, 64)
        message, rest = await task.msgrcv(queue, room, 2)
        assert await message.read() == Msgbuf(2, b"two!")
        message, rest = await task.msgrcv(queue, message + rest)
        assert await message.read() == Msgbuf(1, b"one")
        with pytest.raises(OSError, match="long") as caught:
            await task.msgrcv(queue, await local.malloc(Msgbuf, 10))
        assert (caught.value.errno, caught.value.filename) == (errno.E2BIG, queue)
        message, _ = await task.msgrcv(queue, await local.malloc(Msgbuf, 10), 0, MSG.NOERROR)
        assert await message.read() == Msgbuf(1, b"th")
        with pytest.raises(OSError, match="No message"):
            await task.msgrcv(queue, rest, 0, IPC.NOWAIT)
        small, _ = (await local.malloc(Msgbuf, 16)).split(7)
        with no_calls(task), pytest.raises(BufferTooSmallError):
            await task.msgrcv(queue, small)
    finally:
        await task.msgctl(queue, MSGCTL.RMID)
    with pytest.raises(OSError, match=r"Invalid|removed") as caught:
        await task.msgctl(queue, MSGCTL.RMID)
    assert caught.value.filename == queue


async def test_semaphores_are_taken_and_given(local: Local) -> None:
    task = local.task
    semaphores = await task.semget(IPC_PRIVATE, 2, MAKE)
    try:
        await task.semctl(semaphores, 0, SEMCTL.SETALL, await local.ptr(SemValues([3, 7])))
        take = StructList(Sembuf, [Sembuf(0, -2), Sembuf(1, 1, SEM.UNDO)])
        await task.semop(semaphores, await local.ptr(take))
        assert await task.semctl(semaphores, 0, SEMCTL.GETVAL) == 1
        assert await task.semctl(semaphores, 0, SEMCTL.GETPID) == os.getpid()
        values = await local.malloc(SemValues, 4)
        await task.semctl(semaphores, 0, SEMCTL.GETALL, values)
        assert await values.read() == SemValues([1, 8])
        wait = await local.ptr(StructList(Sembuf, [Sembuf(0, -2)]))
        with pytest.raises(BlockingIOError) as caught:
            await task.semtimedop(semaphores, wait, await local.ptr(Timespec(0, 1000)))
        assert caught.value.filename == semaphores
        await task.semctl(semaphores, 0, SEMCTL.SETVAL, 2)
        await task.semtimedop(semaphores, wait, await local.ptr(Timespec(1, 0)))
        state = await local.malloc(SemidDs)
        await task.semctl(semaphores, 0, SEMCTL.STAT, state)
        assert (await state.read()).otime > 0
        assert (await state.read()).perm.cuid == os.geteuid()
        small, _ = state.split(103)
        with no_calls(task), pytest.raises(BufferTooSmallError):
            await task.semctl(semaphores, 0, SEMCTL.STAT, small)
        with no_calls(task), pytest.raises(TypeError, match="pointer"):
            await task.semctl(semaphores, 0, SEMCTL.STAT, int(small.near))
    finally:
        await task.semctl(semaphores, 0, SEMCTL.RMID)


async def test_the_values_of_all_semaphores_need_room_for_all(local: Local) -> None:
    """The kernel reads and writes as many as the set has, whatever room there is."""
    task = local.task
    semaphores = await task.semget(IPC_PRIVATE, 3, MAKE)
    memory = await local.ptr(SemValues([1, 2, 77]))
    try:
        values, behind = memory.split(4)
        for cmd in (SEMCTL.GETALL, SEMCTL.SETALL):
            with pytest.raises(BufferTooSmallError) as caught:
                await task.semctl(semaphores, 0, cmd, values)
            assert caught.value.args == (4, 6)
        assert await behind.read() == SemValues([77])
        assert await task.semctl(semaphores, 0, SEMCTL.GETVAL) == 0
        memory = values + behind
        await task.semctl(semaphores, 0, SEMCTL.SETALL, memory)
        assert await task.semctl(semaphores, 2, SEMCTL.GETVAL) == 77
    finally:
        await task.semctl(semaphores, 0, SEMCTL.RMID)
    with pytest.raises(OSError, match=r"Invalid|removed") as gone:
        await task.semctl(semaphores, 0, SEMCTL.GETALL, memory)
    assert gone.value.filename == semaphores


async def test_memory_is_attached(local: Local) -> None:
    task = local.task
    segment = await task.shmget(IPC_PRIVATE, 5000, MAKE)
    try:
        state = await local.malloc(ShmidDs)
        await task.shmctl(segment, SHMCTL.STAT, state)
        assert (await state.read()).segsz == 5000
        first = await task.shmat(segment, state)
        second = await task.shmat(segment, state, SHM.RDONLY)
        assert first.near.length == second.near.length == 8192
        assert first.near != second.near
        await first.msync(MS.SYNC)
        with no_calls(task), pytest.raises(ValueError, match="power of two"):
            await task.shmat(segment, state, page_size=5000)
        small, _ = (await local.malloc(ShmidDs)).split(111)
        with no_calls(task), pytest.raises(BufferTooSmallError):
            await task.shmat(segment, small)
        await task.shmctl(segment, SHMCTL.STAT, state)
        assert (await state.read()).nattch == 2
        await task.shmdt(first)
        await second.munmap()
        await task.shmctl(segment, SHMCTL.STAT, state)
        assert (await state.read()).nattch == 0
        with no_calls(task), pytest.raises(UseAfterFreeError):
            await task.shmdt(first)
        with pytest.raises(OSError, match="Invalid") as caught:
            await task.shmdt(local.arena.mapping)
        assert caught.value.filename is local.arena.mapping
        assert (await local.ptr(b"still there")).valid
    finally:
        await task.shmctl(segment, SHMCTL.RMID)
    with pytest.raises(OSError, match=r"Invalid|removed") as caught:
        await task.shmat(segment, state)
    assert caught.value.filename == segment


@forked
async def test_a_queue_of_posix(local: Local, tmp_path: Path) -> None:
    signals = await local.ptr(Sigset({SIG.USR1}))
    await local.task.sigprocmask((HowSIG.BLOCK, signals))
    name = await local.ptr(f"rsyscall-test-{os.getpid()}")
    attr = await local.ptr(MqAttr(maxmsg=2, msgsize=16))
    flags = O.RDWR | O.NONBLOCK | O.CREAT | O.EXCL
    try:
        queue = await local.task.mq_open(name, flags, 0o600, attr)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            pytest.skip("kernel: no queues of POSIX")
        raise
    with pytest.raises(FileExistsError) as caught:
        await local.task.mq_open(name, flags)
    assert caught.value.filename == name.value
    await local.task.mq_unlink(name)
    with pytest.raises(FileNotFoundError):
        await local.task.mq_unlink(name)
    assert not os.get_inheritable(int(queue))
    await queue.mq_notify(await local.ptr(Sigevent(value=9, signo=SIG.USR1)))
    await queue.mq_timedsend(await local.ptr(b"low"), 1)
    info = await local.malloc(QueuedSiginfo)
    assert await local.task.sigtimedwait(signals, info, await local.ptr(Timespec(5, 0))) == SIG.USR1
    assert ((await info.read()).code, (await info.read()).value) == (SI.MESGQ, 9)
    await queue.mq_notify(None)
    await queue.mq_timedsend(await local.ptr(b"high"), 5)
    with pytest.raises(BlockingIOError) as blocked:
        await queue.mq_timedsend(await local.ptr(b"full"), 5)
    assert blocked.value.filename is queue
    now = await local.malloc(MqAttr)
    await queue.mq_getsetattr(await local.ptr(MqAttr()), now)
    assert await now.read() == MqAttr(O.NONBLOCK, 2, 16, 2)
    with pytest.raises(TimeoutError):
        await queue.mq_timedsend(await local.ptr(b"late"), 0, await local.ptr(Timespec(0, 0)))
    priority = await local.malloc(Int32)
    message, rest = await queue.mq_timedreceive(await local.malloc(bytes, 16), priority)
    assert (await message.read(), int(await priority.read())) == (b"high", 5)
    message, _ = await queue.mq_timedreceive(message + rest)
    assert await message.read() == b"low"
