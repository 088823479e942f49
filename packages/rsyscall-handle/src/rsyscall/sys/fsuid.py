"""`<sys/fsuid.h>`: the user and the group for access to files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rsyscall.far
from rsyscall.handle.arguments import ID, call
from rsyscall.near import nr
from rsyscall.near.naming import naming

if TYPE_CHECKING:
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["FsuidTask"]


class FsuidTask(rsyscall.far.Task):
    """The user and the group for access to files; of one OS thread in the program itself."""

    async def setfsuid(self, fsuid: int) -> int:
        """`setfsuid(fsuid)`: set the user for access to files, if it is one of the three or there is
        CAP_SETUID.

        It never fails: call it again with -1 to see whether it has been set.

        Returns:
            The user before.

        manpage: setfsuid(2)
        """
        with naming(fsuid):
            return await _setfsuid(self.sysif, fsuid)

    async def setfsgid(self, fsgid: int) -> int:
        """`setfsgid(fsgid)`: set the group for access to files, if it is one of the three or there is
        CAP_SETGID.

        It never fails: call it again with -1 to see whether it has been set.

        Returns:
            The group before.

        manpage: setfsgid(2)
        """
        with naming(fsgid):
            return await _setfsgid(self.sysif, fsgid)


@call("setfsuid", ID)
async def _setfsuid(sysif: SyscallInterface, fsuid: int) -> int:
    """The raw call."""
    return await sysif.syscall(nr.setfsuid, fsuid)


@call("setfsgid", ID)
async def _setfsgid(sysif: SyscallInterface, fsgid: int) -> int:
    """The raw call."""
    return await sysif.syscall(nr.setfsgid, fsgid)
