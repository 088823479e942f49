"""Policies of the scheduler, of this process and of a child."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.handle.process import ChildProcess
from rsyscall.near import types as near
from rsyscall.sched import SCHED, SCHED_RESET_ON_FORK, CpuSet, SchedAttr, SchedParam
from rsyscall.struct import Int32
from rsyscall.time import Timespec

from .helpers import forked, no_calls
from .processes import sleeping_child
from .support import Local


@forked
async def test_the_policy_of_this_process(local: Local, tmp_path: Path) -> None:
    task = local.task
    assert await task.sched_getscheduler() == SCHED.OTHER
    await task.sched_setscheduler(SCHED.BATCH | SCHED_RESET_ON_FORK, await local.ptr(SchedParam()))
    assert os.sched_getscheduler(0) == SCHED.BATCH | SCHED_RESET_ON_FORK
    await task.sched_setattr(await local.ptr(SchedAttr(policy=SCHED.BATCH, nice=7)))
    written = await local.ptr(SchedAttr(size=1))
    with pytest.raises(OSError, match="too long"):
        await task.sched_setattr(written)
    # The memory says now that the structure is as large as the kernel's.
    assert not written.valid
    with no_calls(task), pytest.raises(BufferTooSmallError):
        await task.sched_setattr(await local.ptr(SchedAttr(size=4096)))
    attr = await (await task.sched_getattr(await local.malloc(SchedAttr))).read()
    assert (attr.policy, attr.nice, attr.size) == (SCHED.BATCH, 7, SchedAttr.sizeof())
    assert os.nice(0) == 7
    await task.sched_setparam(await local.ptr(SchedParam(0)))
    assert await (await task.sched_getparam(await local.malloc(SchedParam))).read() == SchedParam(0)
    with pytest.raises(OSError, match="Invalid") as caught:
        await task.sched_setparam(await local.ptr(SchedParam(5)))
    assert (caught.value.errno, caught.value.filename) == (errno.EINVAL, SchedParam(5))


async def test_what_policies_there_are(local: Local) -> None:
    task = local.task
    assert await task.sched_get_priority_min(SCHED.RR) == 1
    assert await task.sched_get_priority_max(SCHED.FIFO) == 99
    with pytest.raises(OSError, match="Invalid") as caught:
        await task.sched_get_priority_max(77)
    assert caught.value.filename == 77
    interval = await (await task.sched_rr_get_interval(await local.malloc(Timespec))).read()
    assert 0 <= interval.to_nanos() < 10**9
    await task.sched_yield()


async def test_on_which_cpu_it_runs(local: Local) -> None:
    cpu, node = await local.malloc(Int32), await local.malloc(Int32)
    await local.task.getcpu(cpu, node)
    assert 0 <= int(await cpu.read()) < (os.cpu_count() or 1)
    assert int(await node.read()) >= 0
    await local.task.getcpu(cpu)
    small, _ = cpu.split(3)
    with no_calls(local.task), pytest.raises(BufferTooSmallError):
        await local.task.getcpu(small)


async def test_the_policy_of_a_child(local: Local) -> None:
    with sleeping_child() as pid:
        child = ChildProcess(local.task, near.Process(pid))
        await child.sched_setscheduler(SCHED.BATCH, await local.ptr(SchedParam()))
        assert await child.sched_getscheduler() == os.sched_getscheduler(pid) == SCHED.BATCH
        assert await (await child.sched_getparam(await local.malloc(SchedParam))).read() == SchedParam()
        await child.sched_setparam(await local.ptr(SchedParam()))
        await child.sched_setattr(await local.ptr(SchedAttr(policy=SCHED.IDLE)))
        attr = await (await child.sched_getattr(await local.malloc(SchedAttr))).read()
        assert attr.policy == SCHED.IDLE
        interval = await child.sched_rr_get_interval(await local.malloc(Timespec))
        assert (await interval.read()).sec == 0
        cpus = await (await child.sched_getaffinity(await local.malloc(CpuSet))).read()
        assert cpus == os.sched_getaffinity(pid)
        one = CpuSet([min(cpus)])
        await child.sched_setaffinity(await local.ptr(one))
        assert os.sched_getaffinity(pid) == one
        with pytest.raises(OSError, match="Invalid") as caught:
            await child.sched_setaffinity(await local.ptr(CpuSet([1023])))
        assert caught.value.filename == (child.near, CpuSet([1023]))
