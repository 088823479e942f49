"""Protection keys, which the emulated processor has."""

from __future__ import annotations

import pytest
from integration.support import pipe_of

from rsyscall.near import SYS
from rsyscall.sys.mman import MAP, PKEY, PROT
from rsyscall.thread import Thread

from .support import child_of

pytestmark = pytest.mark.slow

PAGE = 4096


async def test_pkey_alloc_pkey_mprotect_and_pkey_free(thread: Thread) -> None:
    """The kernel respects the key where it reads and writes for the process that may not."""
    async with child_of(thread) as child, pipe_of(child) as pipe:
        task, both = child.task, PROT.READ | PROT.WRITE
        mapping = await task.mmap(PAGE, both, MAP.PRIVATE)
        key = await task.pkey_alloc(PKEY.DISABLE_WRITE)
        await mapping.pkey_mprotect(both, key)
        address = mapping.near.address
        assert await task.sysif.syscall(SYS.write, pipe.write.near, address, 10) == 10
        with pytest.raises(OSError, match="Bad address"):
            await task.sysif.syscall(SYS.read, pipe.read.near, address, 5)
        await mapping.pkey_mprotect(both, 0)
        assert await task.sysif.syscall(SYS.read, pipe.read.near, address, 5) == 5
        await task.pkey_free(key)
        hidden = await task.pkey_alloc(PKEY.DISABLE_ACCESS)
        await mapping.pkey_mprotect(both, hidden)
        with pytest.raises(OSError, match="Bad address"):
            await task.sysif.syscall(SYS.write, pipe.write.near, address, 10)
        with pytest.raises(OSError, match="Invalid argument") as caught:
            await task.pkey_free(15)
        assert caught.value.filename == 15
