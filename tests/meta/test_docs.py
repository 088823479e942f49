"""Fragments of the pages in docs/ that are not in a whole program; `tests/layers` runs those."""

from __future__ import annotations

import resource
import struct

from rsyscall import Command, local_thread
from rsyscall.near import SYS


async def test_a_call_that_has_no_method() -> None:
    """In a child, and in a prepared one, where it is made by exec."""
    limit = struct.pack("QQ", 64, 64)
    child = await local_thread.clone()
    written = await child.ptr(limit)
    await child.task.sysif.syscall(SYS.prlimit64, 0, resource.RLIMIT_NOFILE, written.near, 0)
    prepared = local_thread.prepare()
    # This pointer is not kept: the prepared thread does that.
    address = (await prepared.ptr(limit)).near
    await prepared.task.sysif.syscall(SYS.prlimit64, 0, resource.RLIMIT_NOFILE, address, 0)
    for thread in (child, prepared):
        await (await thread.exec(Command("/bin/sh", ["sh", "-c", "test $(ulimit -n) = 64"], {}))).check()
