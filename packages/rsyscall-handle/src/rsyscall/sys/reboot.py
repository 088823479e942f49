"""`<sys/reboot.h>`: ending the machine, or a pid namespace."""

from __future__ import annotations

import enum
from contextlib import ExitStack
from typing import TYPE_CHECKING

import rsyscall.far
from rsyscall.handle.arguments import NUMBER, STRING, call, choice
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming

if TYPE_CHECKING:
    from rsyscall.handle.pointer import WrittenPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["LINUX_REBOOT_CMD", "RebootTask"]


class LINUX_REBOOT_CMD(enum.IntEnum):
    """`LINUX_REBOOT_CMD_*`: what to do.

    manpage: reboot(2)
    """

    RESTART = 0x01234567
    HALT = 0xCDEF0123
    CAD_ON = 0x89ABCDEF
    CAD_OFF = 0x00000000
    POWER_OFF = 0x4321FEDC
    RESTART2 = 0xA1B2C3D4
    SW_SUSPEND = 0xD000FCE2
    KEXEC = 0x45584543


_MAGIC1, _MAGIC2 = 0xFEE1DEAD, 672274793


class RebootTask(rsyscall.far.Task):
    """Ending the machine."""

    async def reboot(self, cmd: LINUX_REBOOT_CMD | int, arg: WrittenPointer[str] | None = None) -> None:
        """`reboot(magic1, magic2, cmd, arg)`: end or restart the machine at once, or a pid namespace but the
        first.

        Nothing is written to disk before: `sync` comes first.

        Args:
            arg: a string for `RESTART2`.

        Raises:
            OSError: EPERM (needs CAP_SYS_BOOT), EINVAL; `filename` is the command.

        manpage: reboot(2)
        """
        with ExitStack() as stack:
            arg_addr = self._borrow_optional(stack, arg)
            with naming(cmd):
                await _reboot(self.sysif, cmd, arg_addr)


@call("reboot", NUMBER, NUMBER, choice(LINUX_REBOOT_CMD, "LINUX_REBOOT_CMD_"), STRING)
async def _reboot(sysif: SyscallInterface, cmd: LINUX_REBOOT_CMD | int, arg: near.Address | None) -> None:
    """The raw call."""
    await sysif.syscall(nr.reboot, _MAGIC1, _MAGIC2, cmd, arg or 0)
