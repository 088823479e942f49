"""`<sys/resource.h>`: what processes use, how much of it they may use, and their priority."""

from __future__ import annotations

import enum
from contextlib import ExitStack
from typing import TYPE_CHECKING

import rsyscall.far
from rsyscall.cstruct import CStruct, u64
from rsyscall.handle._later import late
from rsyscall.handle.arguments import INT, PID, call, choice, given, out
from rsyscall.handle.buffers import require_size
from rsyscall.near import nr
from rsyscall.near.naming import naming
from rsyscall.sys._rusage import Rusage

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer, WrittenPointer
    from rsyscall.near import SyscallInterface
    from rsyscall.near import types as near

__all__ = ["PRIO", "RLIMIT", "RLIM_INFINITY", "RUSAGE", "ResourceTask", "Rlimit", "Rusage"]

RLIM_INFINITY = 0xFFFFFFFFFFFFFFFF
"""No limit."""


class PRIO(enum.IntFlag):
    """`PRIO_*`: whose nice value, for `getpriority` and `setpriority`. One of them is given; `PROCESS` is 0.

    manpage: getpriority(2)
    """

    NONE = 0
    PROCESS = 0
    PGRP = 1
    USER = 2


class RLIMIT(enum.IntFlag):
    """`RLIMIT_*`: what is limited. One of them is given; `CPU` is 0.

    manpage: getrlimit(2)
    """

    NONE = 0
    CPU = 0
    FSIZE = 1
    DATA = 2
    STACK = 3
    CORE = 4
    RSS = 5
    NPROC = 6
    NOFILE = 7
    MEMLOCK = 8
    AS = 9
    LOCKS = 10
    SIGPENDING = 11
    MSGQUEUE = 12
    NICE = 13
    RTPRIO = 14
    RTTIME = 15


class RUSAGE(enum.IntEnum):
    """`RUSAGE_*`: whose use, for `getrusage`.

    manpage: getrusage(2)
    """

    SELF = 0
    CHILDREN = -1
    THREAD = 1


class Rlimit(CStruct, c="struct rlimit64", headers=("linux/resource.h",)):
    """`struct rlimit`: a limit, as the kernel enforces it, and how far the process may raise that.

    Args:
        cur: the soft limit; `RLIM_INFINITY` for none.
        max: the hard limit.

    manpage: getrlimit(2)
    """

    cur: int = u64("rlim_cur")
    max: int = u64("rlim_max")


@late
class ResourceTask(rsyscall.far.Task):
    """Limits and priority of the process itself."""

    async def setpriority(self, which: PRIO, prio: int) -> None:
        """`setpriority(which, 0, prio)`: set the nice value of this process, of its process group, or of all
        processes of its user.

        Args:
            prio: -20 (gets most of the CPU) to 19.

        Raises:
            OSError: EACCES (lowering it needs CAP_SYS_NICE or RLIMIT_NICE), EPERM; `filename` is `which`.

        manpage: setpriority(2)
        """
        with naming(which):
            await _setpriority(self.sysif, which, 0, prio)

    async def getpriority(self, which: PRIO) -> int:
        """`getpriority(which, 0)`: the highest priority of these processes.

        Returns:
            What the kernel reports, 20 minus the nice value: 1 to 40.

        manpage: getpriority(2)
        """
        with naming(which):
            return await _getpriority(self.sysif, which, 0)

    async def setrlimit(self, resource: RLIMIT, rlim: WrittenPointer[Rlimit]) -> None:
        """`setrlimit(resource, rlim)`: limit what this process, and its children to come, may use.

        Raises:
            OSError: EPERM (raising a hard limit needs CAP_SYS_RESOURCE), EINVAL (the soft limit is above the
                hard one); `filename` is the resource.

        manpage: setrlimit(2)
        """
        await self.prlimit(resource, rlim)

    async def getrlimit(self, resource: RLIMIT, rlim: Pointer[Rlimit]) -> Pointer[Rlimit]:
        """`getrlimit(resource, rlim)`: the limits of this process.

        Args:
            rlim: not consumed; the same memory is returned.

        manpage: getrlimit(2)
        """
        await self.prlimit(resource, None, rlim)
        return rlim

    async def prlimit(
        self,
        resource: RLIMIT,
        new_limit: Pointer[Rlimit] | None = None,
        old_limit: Pointer[Rlimit] | None = None,
    ) -> None:
        """`prlimit(0, resource, new_limit, old_limit)`: set a limit, and get the one before.

        Args:
            new_limit: to be set, if it is given.
            old_limit: where to put the limit before, if it is given. Neither is consumed.

        Raises:
            BufferTooSmallError: for a limit.
            OSError: as for `setrlimit`.

        manpage: prlimit(2)
        """
        with ExitStack() as stack:
            addresses = []
            for limit in (new_limit, old_limit):
                if limit is not None:
                    require_size(limit, Rlimit.sizeof())
                addresses.append(self._borrow_optional(stack, limit))
            with naming(resource):
                await _prlimit(self.sysif, None, resource, *addresses)

    async def getrusage(self, who: RUSAGE, usage: Pointer[Rusage]) -> Pointer[Rusage]:
        """`getrusage(who, usage)`: what this process, or its children that were waited for, have used.

        Args:
            usage: not consumed; the same memory is returned.

        Raises:
            BufferTooSmallError: the memory is too small.

        manpage: getrusage(2)
        """
        with usage.borrow(self) as address, naming(usage):
            require_size(usage, Rusage.sizeof())
            await _getrusage(self.sysif, who, address)
        return usage


_WHICH = choice(PRIO, "PRIO_")


@call("setpriority", _WHICH, INT, INT)
async def _setpriority(sysif: SyscallInterface, which: PRIO, who: int, prio: int) -> None:
    """The raw call."""
    await sysif.syscall(nr.setpriority, which, who, prio)


@call("getpriority", _WHICH, INT)
async def _getpriority(sysif: SyscallInterface, which: PRIO, who: int) -> int:
    """The raw call."""
    return await sysif.syscall(nr.getpriority, which, who)


@call("prlimit64", PID, choice(RLIMIT, "RLIMIT_"), given(Rlimit), out(Rlimit))
async def _prlimit(
    sysif: SyscallInterface,
    pid: near.Process | None,
    resource: RLIMIT,
    new_limit: near.Address | None = None,
    old_limit: near.Address | None = None,
) -> None:
    """The raw call; None for `pid` is the caller."""
    await sysif.syscall(nr.prlimit64, 0 if pid is None else pid, resource, new_limit or 0, old_limit or 0)


@call("getrusage", choice(RUSAGE, "RUSAGE_"), out(Rusage))
async def _getrusage(sysif: SyscallInterface, who: RUSAGE, usage: near.Address) -> None:
    """The raw call."""
    await sysif.syscall(nr.getrusage, who, usage)
