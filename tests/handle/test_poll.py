"""Waiting with ppoll, pselect and epoll_pwait2."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from rsyscall.far import FDTableMismatchError
from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.poll import POLL, Pollfd, PollfdList
from rsyscall.signal import SIG, HowSIG, Sigset
from rsyscall.sys.epoll import EPOLL, EPOLL_CTL, EpollEvent, EpollEventList
from rsyscall.sys.select import FdSet, SigmaskArg
from rsyscall.time import Timespec
from rsyscall.unistd.pipe import Pipe

from .helpers import forked, no_calls, sharer
from .support import Local, null_fds


async def test_ppoll_says_what_has_happened(local: Local) -> None:
    pipe = await (await local.task.pipe(await local.malloc(Pipe))).read()
    wanted = PollfdList([Pollfd(pipe.read, POLL.IN), Pollfd(pipe.write, POLL.OUT), Pollfd(-1, POLL.IN)])
    fds = await local.ptr(wanted)
    now = await local.ptr(Timespec(0, 0))
    assert await local.task.ppoll(fds, now) == 1
    assert [entry.revents for entry in await fds.read()] == [POLL.NONE, POLL.OUT, POLL.NONE]
    os.write(int(pipe.write), b"x")
    assert await local.task.ppoll(fds) == 2
    found = await fds.read()
    assert found[0] == Pollfd(int(pipe.read), POLL.IN, POLL.IN)
    small, _ = fds.split(23)
    with no_calls(local.task), pytest.raises(BufferTooSmallError):
        await local.task.ppoll(small.wrote(wanted))
    await pipe.read.close()
    await pipe.write.close()


@forked
async def test_a_signal_ends_a_wait(local: Local, tmp_path: Path) -> None:
    signal.signal(signal.SIGUSR1, lambda *_: None)
    await local.task.sigprocmask((HowSIG.BLOCK, await local.ptr(Sigset({SIG.USR1}))))
    none = await local.ptr(Sigset())
    long = await local.ptr(Timespec(100, 0))
    epoll = await local.task.epoll_create()
    for wait in (
        local.task.ppoll(await local.ptr(PollfdList()), long, none),
        local.task.pselect(None, timeout=long, sigmask=await local.ptr(SigmaskArg(none))),
        epoll.epoll_pwait2(await local.malloc(EpollEventList, 64), long, none),
    ):
        os.kill(os.getpid(), signal.SIGUSR1)
        with pytest.raises(InterruptedError):
            await wait


async def test_pselect_says_what_is_ready(local: Local) -> None:
    pipe = await (await local.task.pipe(await local.malloc(Pipe))).read()
    readable, writable = await local.ptr(FdSet([pipe.read])), await local.ptr(FdSet([pipe.write]))
    assert await local.task.pselect(readable, writable, timeout=await local.ptr(Timespec(0, 0))) == 1
    assert await readable.read() == FdSet()
    ready = await writable.read()
    assert pipe.write in ready
    assert pipe.read not in ready
    assert list(ready.numbers) == [int(pipe.write)]
    with pytest.raises(ValueError, match="1024"):
        FdSet([1024]).to_bytes()
    number = int(pipe.read)
    await pipe.read.close()
    closed = await local.ptr(FdSet([number]))
    with pytest.raises(OSError, match="Bad file") as caught:
        await local.task.pselect(None, closed)
    assert caught.value.filename == (None, closed, None)
    await pipe.write.close()


async def test_descriptors_of_another_table_are_refused(local: Local) -> None:
    [fd] = null_fds(local.task, 1)
    other = sharer(local, fds=False)
    with no_calls(other):
        with pytest.raises(FDTableMismatchError):
            await other.ppoll(await local.ptr(PollfdList([Pollfd(fd, POLL.IN)])))
        with pytest.raises(FDTableMismatchError):
            await other.pselect(await local.ptr(FdSet([fd])))


async def test_epoll_waits_for_nanoseconds(local: Local) -> None:
    epoll, event = await local.task.epoll_create(), await local.task.eventfd(1)
    events = await local.malloc(EpollEventList, 64)
    before = time.monotonic_ns()
    none, rest = await epoll.epoll_pwait2(events, await local.ptr(Timespec(0, 2_000_001)))
    assert time.monotonic_ns() - before >= 2_000_001
    assert await none.read() == EpollEventList()
    await epoll.epoll_ctl(EPOLL_CTL.ADD, event, await local.ptr(EpollEvent(5, EPOLL.IN)))
    found, rest = await epoll.epoll_pwait2(none + rest)
    assert await found.read() == EpollEventList([EpollEvent(5, EPOLL.IN)])
    small, _ = rest.split(3)
    with pytest.raises(BufferTooSmallError):
        await epoll.epoll_pwait2(small)
