"""Memory in which the kernel tells where a process runs. For the program's own, the C library has some."""

from __future__ import annotations

import errno

import pytest
from support import local_thread

from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.linux.rseq import RSEQ_CPU_ID, RSEQ_FLAG, Rseq
from rsyscall.sched import CpuSet

SIG = 0x53053053


async def test_the_kernel_tells_where_a_process_runs() -> None:
    child = await local_thread.clone()
    async with child.process:
        room = await child.malloc(bytes, 64)
        _, area = room.split_from_end(Rseq.sizeof(), 32)
        area = await area.write(Rseq().to_bytes())
        await child.task.rseq(area, RSEQ_FLAG.NONE, SIG)
        cpus = await child.task.sched_getaffinity(await child.malloc(CpuSet))
        for cpu in sorted(await cpus.read()):
            await child.task.sched_setaffinity(await child.ptr(CpuSet([cpu])))
            found = Rseq.from_bytes(await area.read())
            assert (found.cpu_id, found.cpu_id_start, found.rseq_cs) == (cpu, cpu, 0)
        for memory, sig, error in ((area, SIG, errno.EBUSY), (area, 1, errno.EPERM)):
            with pytest.raises(OSError) as caught:
                await child.task.rseq(memory, RSEQ_FLAG.NONE, sig)
            assert (caught.value.errno, caught.value.filename) == (error, memory)
        with pytest.raises(OSError) as caught:
            await child.task.rseq(await child.malloc(bytes, 64))
        assert caught.value.errno == errno.EINVAL
        await child.task.rseq(area, RSEQ_FLAG.UNREGISTER, SIG)
        assert Rseq.from_bytes(await area.read()).cpu_id == RSEQ_CPU_ID.UNINITIALIZED
        with pytest.raises(OSError) as caught:
            await child.task.rseq(area, RSEQ_FLAG.UNREGISTER, SIG)
        assert caught.value.errno == errno.EINVAL
        small, _ = area.split(20)
        with pytest.raises(BufferTooSmallError):
            await child.task.rseq(small)
