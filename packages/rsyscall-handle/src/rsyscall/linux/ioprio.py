"""`<linux/ioprio.h>`: priority of input and output."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import rsyscall.far
from rsyscall.handle._later import late
from rsyscall.handle.arguments import INT, call, choice
from rsyscall.near import nr
from rsyscall.near.naming import naming

if TYPE_CHECKING:
    from rsyscall.near import SyscallInterface

__all__ = ["IOPRIO_CLASS", "IOPRIO_WHO", "IoprioTask", "ioprio_value"]

_CLASS_SHIFT = 13


class IOPRIO_CLASS(enum.IntEnum):
    """`IOPRIO_CLASS_*`: which queue of the disk.

    manpage: ioprio_set(2)
    """

    NONE = 0
    RT = 1
    BE = 2
    IDLE = 3


class IOPRIO_WHO(enum.IntEnum):
    """`IOPRIO_WHO_*`: whose priority.

    manpage: ioprio_set(2)
    """

    PROCESS = 1
    PGRP = 2
    USER = 3


def ioprio_value(cls: IOPRIO_CLASS, level: int = 0) -> int:
    """`IOPRIO_PRIO_VALUE(class, data)`: a priority.

    Args:
        cls: the class; `RT` needs CAP_SYS_ADMIN or CAP_SYS_NICE.
        level: in the class; 0, the most important, to 7. `NONE` and `IDLE` have only 0.
    """
    return int(cls) << _CLASS_SHIFT | level


@late
class IoprioTask(rsyscall.far.Task):
    """The priority of input and output of processes."""

    async def ioprio_set(self, which: IOPRIO_WHO, who: int, ioprio: int) -> None:
        """`ioprio_set(which, who, ioprio)`: set it.

        Args:
            who: 0 for this process, its process group, or its user; or a number in its pid namespace.
            ioprio: from `ioprio_value`.

        Raises:
            OSError: EPERM, ESRCH, EINVAL; `filename` is (which, who, ioprio).

        manpage: ioprio_set(2)
        """
        with naming((which, who, ioprio)):
            await _ioprio_set(self.sysif, which, who, ioprio)

    async def ioprio_get(self, which: IOPRIO_WHO, who: int) -> int:
        """`ioprio_get(which, who)`: the highest priority of these; see `ioprio_value`.

        manpage: ioprio_set(2)
        """
        with naming((which, who)):
            return await _ioprio_get(self.sysif, which, who)


_WHICH = choice(IOPRIO_WHO, "IOPRIO_WHO_")


@call("ioprio_set", _WHICH, INT, INT)
async def _ioprio_set(sysif: SyscallInterface, which: IOPRIO_WHO, who: int, ioprio: int) -> None:
    """The raw call."""
    await sysif.syscall(nr.ioprio_set, which, who, ioprio)


@call("ioprio_get", _WHICH, INT)
async def _ioprio_get(sysif: SyscallInterface, which: IOPRIO_WHO, who: int) -> int:
    """The raw call."""
    return await sysif.syscall(nr.ioprio_get, which, who)
