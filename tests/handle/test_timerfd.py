"""Tests of `rsyscall.sys.timerfd`."""

from __future__ import annotations

import fcntl
import time

import pytest

from rsyscall.far import AddressSpaceMismatchError
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.handle.fd import InvalidHandleError
from rsyscall.handle.task import Task
from rsyscall.struct import Int64
from rsyscall.sys.timerfd import CLOCK, TFD, TFD_IOC_SET_TICKS, TFD_TIMER, Itimerspec, Timespec

from .support import Local


async def test_expires_again_and_again(local: Local, task: Task) -> None:
    fd = await task.timerfd_create(CLOCK.MONOTONIC)
    await fd.timerfd_settime(TFD_TIMER.NONE, await local.ptr(Itimerspec(0.001, 0.002)))
    valid, _ = await fd.read(await local.malloc(Int64))
    assert await valid.read() >= 1


async def test_interval_and_value_are_told_apart(local: Local, task: Task) -> None:
    fd = await task.timerfd_create(CLOCK.MONOTONIC)
    await fd.timerfd_settime(TFD_TIMER.NONE, await local.ptr(Itimerspec(10, 1000)))
    current = await (await fd.timerfd_gettime(await local.malloc(Itimerspec))).read()
    assert current.interval == Timespec(10, 0)
    assert 990 < current.value.sec <= 1000


async def test_settime_returns_the_old_setting(local: Local, task: Task) -> None:
    fd = await task.timerfd_create(CLOCK.BOOTTIME)
    await fd.timerfd_settime(TFD_TIMER.NONE, await local.ptr(Itimerspec(7, 500)))
    old = await local.malloc(Itimerspec)
    result = await fd.timerfd_settime(TFD_TIMER.NONE, await local.ptr(Itimerspec(0, 0)), old)
    assert result is old
    assert (await old.read()).interval == Timespec(7, 0)
    current = await (await fd.timerfd_gettime(await local.malloc(Itimerspec))).read()
    assert current == Itimerspec(0, 0)


async def test_absolute_time(local: Local, task: Task) -> None:
    fd = await task.timerfd_create(CLOCK.REALTIME, TFD.NONBLOCK)
    await fd.timerfd_settime(TFD_TIMER.ABSTIME, await local.ptr(Itimerspec(0, time.time() - 100)))
    valid, _ = await fd.read(await local.malloc(Int64))
    assert await valid.read() == 1


async def test_set_ticks_is_an_ioctl(local: Local, task: Task) -> None:
    fd = await task.timerfd_create(CLOCK.MONOTONIC, TFD.NONBLOCK)
    await fd.timerfd_settime(TFD_TIMER.NONE, await local.ptr(Itimerspec(0, 1000)))
    try:
        await fd.ioctl(TFD_IOC_SET_TICKS, await local.ptr(Int64(5)))
    except OSError:
        pytest.skip("kernel: without CONFIG_CHECKPOINT_RESTORE, timerfd has no ioctl")
    valid, _ = await fd.read(await local.malloc(Int64))
    assert await valid.read() == 5


async def test_is_always_cloexec(task: Task) -> None:
    fd = await task.timerfd_create(CLOCK.MONOTONIC)
    assert fcntl.fcntl(int(fd), fcntl.F_GETFD) & fcntl.FD_CLOEXEC


async def test_errors_say_what_they_are_about(local: Local, task: Task) -> None:
    with pytest.raises(OSError) as create:
        await task.timerfd_create(CLOCK.TAI)
    assert create.value.filename == CLOCK.TAI
    eventfd = await task.eventfd(0)
    with pytest.raises(OSError) as gettime:
        await eventfd.timerfd_gettime(await local.malloc(Itimerspec))
    assert gettime.value.filename is eventfd


async def test_misuse_is_caught_before_the_call(local: Local, task: Task) -> None:
    fd = await task.timerfd_create(CLOCK.MONOTONIC)
    foreign = await Local.make().malloc(Itimerspec)
    with pytest.raises(AddressSpaceMismatchError):
        await fd.timerfd_gettime(foreign)
    small, _ = (await local.malloc(Itimerspec)).split(31)
    with pytest.raises(BufferTooSmallError):
        await fd.timerfd_gettime(small)
    new = await local.ptr(Itimerspec(0, 0))
    with pytest.raises(BufferTooSmallError):
        await fd.timerfd_settime(TFD_TIMER.NONE, new, small)
    with pytest.raises(AddressSpaceMismatchError):
        await fd.timerfd_settime(TFD_TIMER.NONE, new, foreign)
    freed = await local.malloc(Itimerspec)
    freed.free()
    with pytest.raises(UseAfterFreeError):
        await fd.timerfd_gettime(freed)
    await fd.close()
    with pytest.raises(InvalidHandleError):
        await fd.timerfd_gettime(await local.malloc(Itimerspec))
    with pytest.raises(InvalidHandleError):
        await fd.timerfd_settime(TFD_TIMER.NONE, new)
