"""The policies of `<sched.h>`: how the kernel chooses what runs next."""

from __future__ import annotations

import enum

from rsyscall.cstruct import CStruct, i32, known, u32, u64

__all__ = ["SCHED", "SCHED_FLAG", "SCHED_RESET_ON_FORK", "SchedAttr", "SchedParam"]

SCHED_RESET_ON_FORK = 0x40000000
"""Or-ed with a policy: children start with the usual one."""


class SCHED(enum.IntEnum):
    """`SCHED_*`: policies.

    manpage: sched(7)
    """

    NORMAL = 0
    OTHER = 0
    FIFO = 1
    RR = 2
    BATCH = 3
    IDLE = 5
    DEADLINE = 6
    EXT = 7  # since Linux 6.12


class SCHED_FLAG(enum.IntFlag):
    """`SCHED_FLAG_*`: flags of `SchedAttr`.

    manpage: sched_setattr(2)
    """

    NONE = 0
    RESET_ON_FORK = 0x1
    RECLAIM = 0x2
    DL_OVERRUN = 0x4
    KEEP_POLICY = 0x8
    KEEP_PARAMS = 0x10
    KEEP_ALL = 0x18
    UTIL_CLAMP_MIN = 0x20
    UTIL_CLAMP_MAX = 0x40
    UTIL_CLAMP = 0x60
    ALL = 0x7F


class SchedParam(CStruct, c="struct sched_param", headers=("sched.h",)):
    """`struct sched_param`: `priority` is 1 to 99 for `SCHED.FIFO` and `SCHED.RR`, and 0 for the others.

    manpage: sched_setscheduler(2)
    """

    priority: int = i32("sched_priority", default=0)


class SchedAttr(CStruct, c="struct sched_attr", headers=("linux/types.h", "linux/sched/types.h")):
    """`struct sched_attr`: a policy with all that belongs to it.

    Args:
        policy: the policy.
        flags: what else to do.
        nice: -20 (gets most of the CPU) to 19; for `SCHED.NORMAL` and `SCHED.BATCH`.
        priority: 1 to 99; for `SCHED.FIFO` and `SCHED.RR`.
        runtime, deadline, period: nanoseconds; for `SCHED.DEADLINE`, the first also for the usual policies.
        util_min, util_max: how much of a CPU it needs and may use, of 1024; with `SCHED_FLAG.UTIL_CLAMP`.
        size: of the structure.

    manpage: sched_setattr(2)
    """

    size: int = u32("size", default=56)
    policy: SCHED | int = u32("sched_policy", known(SCHED), default=SCHED.NORMAL)
    flags: SCHED_FLAG = u64("sched_flags", SCHED_FLAG, default=SCHED_FLAG.NONE)
    nice: int = i32("sched_nice", default=0)
    priority: int = u32("sched_priority", default=0)
    runtime: int = u64("sched_runtime", default=0)
    deadline: int = u64("sched_deadline", default=0)
    period: int = u64("sched_period", default=0)
    util_min: int = u32("sched_util_min", default=0)
    util_max: int = u32("sched_util_max", default=0)
