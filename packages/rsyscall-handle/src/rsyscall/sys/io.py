"""`<sys/io.h>`: the use of I/O ports, on x86_64 alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rsyscall.far
from rsyscall.handle.arguments import INT, UNSIGNED, call
from rsyscall.near.naming import naming

if TYPE_CHECKING:
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["PortTask"]


class PortTask(rsyscall.far.Task):
    """The use of I/O ports. Only x86_64 has these calls: elsewhere they raise UnsupportedSyscallError."""

    async def ioperm(self, from_: int, num: int, turn_on: bool) -> None:
        """`ioperm(from, num, turn_on)`: let the code of this process use I/O ports, or no longer.

        What is allowed stays so when it executes a program, and is inherited by its children.

        Args:
            from_: the first port, 0 to 65535.
            num: how many.

        Raises:
            OSError: EPERM (to allow it needs CAP_SYS_RAWIO, and a kernel that is not locked down), EINVAL (no
                such ports), ENOSYS (the kernel was built without it); `filename` is (first port, how many).
            UnsupportedSyscallError: the process is not of x86_64.

        manpage: ioperm(2)
        """
        with naming((from_, num)):
            await _ioperm(self.sysif, from_, num, turn_on)

    async def iopl(self, level: int) -> None:
        """`iopl(level)`: let the code of this process use all I/O ports, or no longer.

        Args:
            level: 3 allows it, 0 to 2 end that. Since Linux 5.5 no level allows to disable interrupts.

        Raises:
            OSError: EPERM (as for `ioperm`), EINVAL (no such level), ENOSYS (the kernel was built without
                it); `filename` is the level.
            UnsupportedSyscallError: the process is not of x86_64.

        manpage: iopl(2)
        """
        with naming(level):
            await _iopl(self.sysif, level)


@call("ioperm", UNSIGNED, UNSIGNED, INT)
async def _ioperm(sysif: SyscallInterface, from_: int, num: int, turn_on: bool) -> None:
    """The raw call."""
    await sysif.syscall(sysif.abi.call("ioperm"), from_, num, turn_on)


@call("iopl", UNSIGNED)
async def _iopl(sysif: SyscallInterface, level: int) -> None:
    """The raw call."""
    await sysif.syscall(sysif.abi.call("iopl"), level)
