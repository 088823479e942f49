"""What a process has used, in a module of its own: every child that ends is asked for it."""

from __future__ import annotations

from rsyscall.cstruct import CStruct, i64, nested
from rsyscall.sys.time import Timeval

__all__ = ["Rusage"]


class Rusage(CStruct, c="struct rusage", headers=("linux/time.h", "linux/resource.h")):
    """`struct rusage`: what a process has used.

    That of a child whose end was waited for has in it what its own children used, if it waited for those.

    Args:
        utime: processor time in user mode; `float()` makes seconds of it.
        stime: the same in the kernel.
        maxrss: the largest resident set, in KiB.
        ixrss, idrss, isrss, nswap, msgsnd, msgrcv, nsignals: always 0 on Linux.
        minflt: page faults that needed no I/O.
        majflt: page faults that needed I/O.
        inblock: times that the file system had to read.
        oublock: times that the file system had to write.
        nvcsw: voluntary context switches: how often it waited, or yielded the processor.
        nivcsw: how often the kernel took the processor from it.

    manpage: getrusage(2)
    """

    utime: Timeval = nested("ru_utime", Timeval)
    stime: Timeval = nested("ru_stime", Timeval)
    maxrss: int = i64("ru_maxrss", default=0)
    ixrss: int = i64("ru_ixrss", default=0)
    idrss: int = i64("ru_idrss", default=0)
    isrss: int = i64("ru_isrss", default=0)
    minflt: int = i64("ru_minflt", default=0)
    majflt: int = i64("ru_majflt", default=0)
    nswap: int = i64("ru_nswap", default=0)
    inblock: int = i64("ru_inblock", default=0)
    oublock: int = i64("ru_oublock", default=0)
    msgsnd: int = i64("ru_msgsnd", default=0)
    msgrcv: int = i64("ru_msgrcv", default=0)
    nsignals: int = i64("ru_nsignals", default=0)
    nvcsw: int = i64("ru_nvcsw", default=0)
    nivcsw: int = i64("ru_nivcsw", default=0)
