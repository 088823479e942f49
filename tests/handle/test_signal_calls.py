"""Waiting for signals, and the stack of signal handlers."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from rsyscall.signal import SI, SIG, SS, HowSIG, QueuedSiginfo, Sigset, StackT
from rsyscall.time import Timespec

from .helpers import forked
from .support import Local


@forked
async def test_a_pending_signal_is_taken(local: Local, tmp_path: Path) -> None:
    signals = await local.ptr(Sigset({SIG.USR1, SIG.USR2}))
    await local.task.sigprocmask((HowSIG.BLOCK, signals))
    pending = await local.malloc(Sigset)
    assert await (await local.task.sigpending(pending)).read() == Sigset()
    os.kill(os.getpid(), signal.SIGUSR2)
    assert await (await local.task.sigpending(pending)).read() == Sigset({SIG.USR2})
    info, at_once = await local.malloc(QueuedSiginfo), await local.ptr(Timespec(0, 0))
    assert await local.task.sigtimedwait(signals, info, at_once) is SIG.USR2
    got = await info.read()
    assert (got.signo, got.code, got.pid, got.uid) == (SIG.USR2, SI.USER, os.getpid(), os.getuid())
    with pytest.raises(BlockingIOError) as caught:
        await local.task.sigtimedwait(signals, None, at_once)
    assert caught.value.filename == Sigset({SIG.USR1, SIG.USR2})


@forked
async def test_a_stack_for_handlers(local: Local, tmp_path: Path) -> None:
    stack = await local.malloc(bytes, 65536)
    old = await local.malloc(StackT)
    await local.task.sigaltstack(None, old)
    before = await old.read()
    await local.task.sigaltstack(await local.ptr(StackT(int(stack.near), SS.AUTODISARM, stack.size())), old)
    assert await old.read() == before
    await local.task.sigaltstack(await local.ptr(StackT()), old)
    assert await old.read() == StackT(int(stack.near), SS.AUTODISARM, stack.size())
    small = await local.ptr(StackT(int(stack.near), SS.NONE, 16))
    with pytest.raises(OSError, match="memory") as caught:
        await local.task.sigaltstack(small)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOMEM, (small, None))
