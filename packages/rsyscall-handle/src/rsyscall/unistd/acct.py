"""Accounting, and hanging up the terminal, from `<unistd.h>`."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

import rsyscall.far
from rsyscall.handle.arguments import PATH, call
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming

if TYPE_CHECKING:
    from rsyscall.handle.pointer import WrittenPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["AcctTask"]


class AcctTask(rsyscall.far.Task):
    """Accounting, and hanging up the terminal."""

    async def acct(self, filename: WrittenPointer[str | os.PathLike[str]] | None) -> None:
        """`acct(filename)`: write a record of each process that ends into a file.

        Args:
            filename: the file, which is there; None to write no more.

        Raises:
            OSError: EPERM (needs CAP_SYS_PACCT), EACCES, ENOENT, ENOSYS; `filename` is the path, or "acct".

        manpage: acct(2)
        """
        with ExitStack() as stack:
            filename_addr = self._borrow_optional(stack, filename)
            with naming("acct" if filename is None else filename.value):
                await _acct(self.sysif, filename_addr)

    async def vhangup(self) -> None:
        """`vhangup()`: hang up the terminal of this process: for all processes, it is closed.

        Raises:
            OSError: EPERM (needs CAP_SYS_TTY_CONFIG); `filename` is "vhangup".

        manpage: vhangup(2)
        """
        with naming("vhangup"):
            await _vhangup(self.sysif)


@call("acct", PATH)
async def _acct(sysif: SyscallInterface, filename: near.Address | None) -> None:
    """The raw call."""
    await sysif.syscall(nr.acct, filename or 0)


@call("vhangup")
async def _vhangup(sysif: SyscallInterface) -> None:
    """The raw call."""
    await sysif.syscall(nr.vhangup)
