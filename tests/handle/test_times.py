"""Clocks, sleeping and timers: what the kernel does with them."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

import pytest

from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.signal import SI, SIG, SIGEV, HowSIG, QueuedSiginfo, Sigevent, Sigset
from rsyscall.struct import Int32
from rsyscall.sys.time import Itimerval, Timeval, Timezone
from rsyscall.sys.times import Tms
from rsyscall.time import CLOCK, ITIMER, TIMER, Itimerspec, Timespec

from .helpers import forked, no_calls
from .support import Local


async def test_a_clock_shows_the_time(local: Local) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    now = await local.task.clock_gettime(CLOCK.MONOTONIC, await local.malloc(Timespec))
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    assert before <= (await now.read()).to_nanos() <= after
    resolution = await local.task.clock_getres(CLOCK.REALTIME_COARSE, now)
    assert (await resolution.read()).to_nanos() == round(time.clock_getres(5) * 1e9)
    with pytest.raises(OSError, match="Invalid") as caught:
        await local.task.clock_gettime(99, now)
    assert caught.value.filename == 99
    small, _ = now.split(15)
    with no_calls(local.task), pytest.raises(BufferTooSmallError):
        await local.task.clock_gettime(CLOCK.MONOTONIC, small)


async def test_a_clock_that_cannot_be_set(local: Local) -> None:
    with pytest.raises(OSError, match="Invalid") as caught:
        await local.task.clock_settime(CLOCK.MONOTONIC, await local.ptr(Timespec(1, 0)))
    assert caught.value.errno == errno.EINVAL
    with pytest.raises(OSError, match=r"Invalid|not permitted") as caught:
        await local.task.settimeofday(await local.ptr(Timeval(0, 1_000_000)))
    assert caught.value.errno in (errno.EINVAL, errno.EPERM)


async def test_sleeping(local: Local) -> None:
    before = time.monotonic()
    await local.task.nanosleep(await local.ptr(Timespec.from_float(0.01)))
    assert time.monotonic() - before >= 0.01
    until = Timespec.from_nanos(time.monotonic_ns() + 10_000_000)
    await local.task.clock_nanosleep(CLOCK.MONOTONIC, TIMER.ABSTIME, await local.ptr(until))
    assert time.monotonic_ns() >= until.to_nanos()
    bad = await local.ptr(Timespec(0, 1_000_000_000))
    with pytest.raises(OSError, match="Invalid") as caught:
        await local.task.nanosleep(bad)
    assert caught.value.filename == Timespec(0, 1_000_000_000)


@forked
async def test_a_signal_ends_a_sleep(local: Local, tmp_path: Path) -> None:
    signal.signal(signal.SIGALRM, lambda *_: None)
    await local.task.setitimer(ITIMER.REAL, await local.ptr(Itimerval(value=Timeval(0, 20_000))))
    rest = await local.malloc(Timespec)
    with pytest.raises(InterruptedError):
        await local.task.clock_nanosleep(CLOCK.MONOTONIC, TIMER.NONE, await local.ptr(Timespec(100, 0)), rest)
    assert 0 < (await rest.read()).to_nanos() < 100_000_000_000


@forked
async def test_a_timer_sends_signals(local: Local, tmp_path: Path) -> None:
    signals = await local.ptr(Sigset({SIG.USR1}))
    await local.task.sigprocmask((HowSIG.BLOCK, signals))
    event = await local.ptr(Sigevent(value=1234, signo=SIG.USR1))
    timer = int(
        await (await local.task.timer_create(CLOCK.MONOTONIC, event, await local.malloc(Int32))).read()
    )
    old = await local.malloc(Itimerspec)
    await local.task.timer_settime(timer, TIMER.NONE, await local.ptr(Itimerspec(0, 50)), old)
    assert (await old.read()).value == Timespec(0, 0)
    left = await (await local.task.timer_gettime(timer, old)).read()
    assert 0 < left.value.to_nanos() <= 50_000_000_000
    await local.task.timer_settime(timer, TIMER.NONE, await local.ptr(Itimerspec(0, 0.001)))
    info = await local.malloc(QueuedSiginfo)
    assert await local.task.sigtimedwait(signals, info, await local.ptr(Timespec(10, 0))) == SIG.USR1
    got = await info.read()
    assert (got.signo, got.code, got.pid, got.value) == (SIG.USR1, SI.TIMER, timer, 1234)
    assert await local.task.timer_getoverrun(timer) == 0
    await local.task.timer_delete(timer)
    for gone in (local.task.timer_delete(timer), local.task.timer_getoverrun(timer)):
        with pytest.raises(OSError, match="Invalid") as caught:
            await gone
        assert caught.value.filename == timer


async def test_a_timer_that_does_nothing(local: Local) -> None:
    event = await local.ptr(Sigevent(notify=SIGEV.NONE))
    number = await local.task.timer_create(CLOCK.BOOTTIME, event, await local.malloc(Int32))
    timer = int(await number.read())
    far = await local.ptr(Itimerspec(0, Timespec.from_nanos(time.monotonic_ns() + 10**13)))
    await local.task.timer_settime(timer, TIMER.ABSTIME, far)
    left = await (await local.task.timer_gettime(timer, await local.malloc(Itimerspec))).read()
    assert left.interval == Timespec(0, 0)
    assert left.value.sec > 1000
    await local.task.timer_delete(timer)


@forked
async def test_an_interval_timer(local: Local, tmp_path: Path) -> None:
    signals = await local.ptr(Sigset({SIG.ALRM}))
    await local.task.sigprocmask((HowSIG.BLOCK, signals))
    setting = Itimerval(interval=Timeval(7, 8), value=Timeval(0, 1000))
    old = await local.malloc(Itimerval)
    await local.task.setitimer(ITIMER.REAL, await local.ptr(setting), old)
    assert await old.read() == Itimerval()
    assert await local.task.sigtimedwait(signals, None, await local.ptr(Timespec(10, 0))) == SIG.ALRM
    now = await (await local.task.getitimer(ITIMER.REAL, old)).read()
    assert now.interval == Timeval(7, 8)
    assert 0 < float(now.value) <= 7.1


async def test_the_time_of_day(local: Local) -> None:
    tv, tz = await local.malloc(Timeval), await local.malloc(Timezone)
    before = time.time_ns() // 1000
    await local.task.gettimeofday(tv, tz)
    now = await tv.read()
    assert before <= now.sec * 1_000_000 + now.usec <= time.time_ns() // 1000
    assert abs((await tz.read()).minuteswest) < 24 * 60


async def test_how_long_it_has_run(local: Local) -> None:
    used = await (await local.task.times(await local.malloc(Tms))).read()
    same = os.times()
    assert used.utime <= round(same.user * 100)
    assert used.utime + used.stime > 0
    assert used.cutime >= 0
