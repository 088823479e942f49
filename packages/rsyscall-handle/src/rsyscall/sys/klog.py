"""`<sys/klog.h>`: the messages of the kernel."""

from __future__ import annotations

import enum
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeVar

import rsyscall.far
from rsyscall.handle.arguments import ADDRESS, SIZE, call, choice
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["KlogTask", "SYSLOG_ACTION"]

T = TypeVar("T")


class SYSLOG_ACTION(enum.IntEnum):
    """`SYSLOG_ACTION_*`: what to do with the messages.

    manpage: syslog(2)
    """

    CLOSE = 0
    OPEN = 1
    READ = 2
    READ_ALL = 3
    READ_CLEAR = 4
    CLEAR = 5
    CONSOLE_OFF = 6
    CONSOLE_ON = 7
    CONSOLE_LEVEL = 8
    SIZE_UNREAD = 9
    SIZE_BUFFER = 10


class KlogTask(rsyscall.far.Task):
    """The messages of the kernel."""

    async def klogctl(self, type: SYSLOG_ACTION, bufp: Pointer[T] | None = None, len: int = 0) -> int:
        """`syslog(type, bufp, len)`: read the messages of the kernel, or say what becomes of them.

        `READ` waits in the process until there are messages.

        Args:
            bufp: where to put messages; not consumed.
            len: the level for `CONSOLE_LEVEL`; not for memory, of which the size counts.

        Returns:
            How many bytes were put into the memory, or what was asked for; 0 for others.

        Raises:
            OSError: EPERM (needs CAP_SYSLOG for most), EINVAL, EINTR; `filename` is `type`.

        manpage: syslog(2)
        """
        with ExitStack() as stack:
            bufp_addr = self._borrow_optional(stack, bufp)
            with naming(type):
                return await _syslog(self.sysif, type, bufp_addr, len if bufp is None else bufp.size())


@call("syslog", choice(SYSLOG_ACTION, "SYSLOG_ACTION_"), ADDRESS, SIZE)
async def _syslog(sysif: SyscallInterface, type: SYSLOG_ACTION, bufp: near.Address | None, len: int) -> int:
    """The raw call."""
    return await sysif.syscall(nr.syslog, type, bufp or 0, len)
