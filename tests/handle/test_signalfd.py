"""Tests of `rsyscall.sys.signalfd`."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsyscall.far import AddressSpaceMismatchError
from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.handle.fd import InvalidHandleError
from rsyscall.handle.task import Task
from rsyscall.signal import SIG, Sigset
from rsyscall.sys.signalfd import SFD, SignalfdSiginfo

from .support import Local, retyped

REALTIME = signal.SIGRTMIN + 3


@pytest.fixture
def blocked() -> Iterator[None]:
    """Some signals blocked in this thread, and none of them pending afterwards."""
    signals = {signal.SIGUSR1, signal.SIGUSR2, REALTIME}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    yield
    while signal.sigtimedwait(signals, 0):
        pass
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def send(sig: int) -> None:
    """Send a signal to this very thread."""
    signal.pthread_kill(threading.get_ident(), sig)


async def read(local: Local, fd: Any) -> SignalfdSiginfo:
    valid, rest = await fd.read(await local.malloc(SignalfdSiginfo))
    assert rest.size() == 0
    info: SignalfdSiginfo = await valid.read()
    return info


@pytest.mark.usefixtures("blocked")
async def test_signals_are_read(local: Local, task: Task) -> None:
    fd = await task.signalfd(await local.ptr(Sigset({SIG.USR1})), SFD.NONBLOCK)
    assert fcntl.fcntl(int(fd), fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    send(SIG.USR1)
    info = await read(local, fd)
    assert info == SignalfdSiginfo(SIG.USR1)
    assert info.signo is SIG.USR1
    assert info.pid == os.getpid()
    assert info.uid == os.getuid()
    with pytest.raises(BlockingIOError):
        await read(local, fd)


@pytest.mark.usefixtures("blocked")
async def test_the_mask_can_be_changed(local: Local, task: Task) -> None:
    fd = await task.signalfd(await local.ptr(Sigset({SIG.USR1})), SFD.NONBLOCK)
    await fd.signalfd(await local.ptr(Sigset({SIG.USR2})), SFD.NONE)
    send(SIG.USR1)
    with pytest.raises(BlockingIOError):
        await read(local, fd)
    send(SIG.USR2)
    assert await read(local, fd) == SignalfdSiginfo(SIG.USR2)


@pytest.mark.usefixtures("blocked")
async def test_realtime_signals_have_no_name_but_are_read(local: Local, task: Task) -> None:
    data = await local.ptr((1 << (REALTIME - 1)).to_bytes(8, "little"))
    fd = await task.signalfd(retyped(data, Sigset, Sigset), SFD.NONBLOCK)  # type: ignore[arg-type]  # a class
    send(REALTIME)
    assert (await read(local, fd)).signo == REALTIME


async def test_misuse_is_caught_before_the_call(local: Local, task: Task) -> None:
    mask = await local.ptr(Sigset({SIG.USR1}))
    foreign = await Local.make().ptr(Sigset({SIG.USR1}))
    with pytest.raises(AddressSpaceMismatchError):
        await task.signalfd(foreign)
    fd = await task.signalfd(mask)
    with pytest.raises(AddressSpaceMismatchError):
        await fd.signalfd(foreign, SFD.NONE)
    small, _ = (await local.malloc(Sigset)).split(7)
    with pytest.raises(BufferTooSmallError):
        await fd.signalfd(small, SFD.NONE)
    with pytest.raises(BufferTooSmallError):
        await task.signalfd(small)
    await fd.close()
    with pytest.raises(InvalidHandleError):
        await fd.signalfd(mask, SFD.NONE)


async def test_errors_say_what_they_are_about(local: Local, task: Task) -> None:
    fd = await task.eventfd(0)
    with pytest.raises(OSError) as info:
        await fd.signalfd(await local.ptr(Sigset({SIG.USR1})), SFD.NONE)
    assert info.value.filename is fd


@given(
    st.sampled_from([*SIG, 40]),
    st.integers(0, 2**32 - 1),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(0, 2**64 - 1),
)
def test_round_trip(signo: SIG, pid: int, status: int, ptr: int) -> None:
    info = SignalfdSiginfo(signo, pid=pid, status=status, ptr=ptr)
    data = info.to_bytes()
    assert len(data) == SignalfdSiginfo.sizeof() == 128
    again = SignalfdSiginfo.from_bytes(data)
    assert again == info
    assert (again.pid, again.status, again.ptr, again.arch) == (pid, status, ptr, 0)
