"""`<sys/times.h>`: how long a process and its children have run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rsyscall.far
from rsyscall.cstruct import CStruct, i64
from rsyscall.handle.arguments import call, out
from rsyscall.handle.buffers import require_size
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["TimesTask", "Tms"]


class Tms(CStruct, c="struct tms", headers=("#include <linux/types.h>", "linux/times.h")):
    """`struct tms`: times in ticks, of which there are 100 in a second.

    Args:
        utime, stime: of the process, in its own code and in the kernel.
        cutime, cstime: of its children that were waited for.

    manpage: times(2)
    """

    utime: int = i64("tms_utime")
    stime: int = i64("tms_stime")
    cutime: int = i64("tms_cutime")
    cstime: int = i64("tms_cstime")


class TimesTask(rsyscall.far.Task):
    """How long a process and its children have run."""

    async def times(self, buf: Pointer[Tms]) -> Pointer[Tms]:
        """`times(buf)`: how long this process and its children have run.

        The result of the call itself, ticks since some time in the past, is not given: it may look like an
        error. `clock_gettime` has better clocks.

        Args:
            buf: not consumed; the same memory is returned.

        Raises:
            BufferTooSmallError: the memory is too small.

        manpage: times(2)
        """
        check_pointers(buf)
        require_size(buf, Tms.sizeof())
        with buf.borrow(self) as addr, naming(buf):
            await _times(self.sysif, addr)
        return buf


@call("times", out(Tms))
async def _times(sysif: SyscallInterface, buf: near.Address) -> int:
    """The raw call."""
    return await sysif.syscall(nr.times, buf)
