"""`<sys/swap.h>`: files and devices that memory is moved to."""

from __future__ import annotations

import enum
import os
from typing import TYPE_CHECKING

import rsyscall.far
from rsyscall.handle.arguments import PATH, call, flags
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming

if TYPE_CHECKING:
    from rsyscall.handle.pointer import WrittenPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["SWAP_FLAG", "SwapTask"]


class SWAP_FLAG(enum.IntFlag):
    """`SWAP_FLAG_*`: flags of `swapon`; the lowest 15 bits are a priority, with `PREFER`.

    manpage: swapon(2)
    """

    NONE = 0
    PREFER = 0x8000
    DISCARD = 0x10000


class SwapTask(rsyscall.far.Task):
    """Swapping."""

    async def swapon(
        self, path: WrittenPointer[str | os.PathLike[str]], swap_flags: SWAP_FLAG | int = SWAP_FLAG.NONE
    ) -> None:
        """`swapon(path, swap_flags)`: let memory be moved there.

        Args:
            path: a file or a device that mkswap has prepared; not consumed.

        Raises:
            OSError: EPERM (needs CAP_SYS_ADMIN), EBUSY, EINVAL, ENOENT; `filename` is the path.

        manpage: swapon(2)
        """
        check_pointers(path)
        with path.borrow(self) as path_addr, naming(path.value):
            await _swapon(self.sysif, path_addr, swap_flags)

    async def swapoff(self, path: WrittenPointer[str | os.PathLike[str]]) -> None:
        """`swapoff(path)`: move everything back, and use it no more.

        Raises:
            OSError: EPERM (needs CAP_SYS_ADMIN), EINVAL (it is not used), ENOENT, ENOMEM; `filename` is the
                path.

        manpage: swapon(2)
        """
        check_pointers(path)
        with path.borrow(self) as path_addr, naming(path.value):
            await _swapoff(self.sysif, path_addr)


@call("swapon", PATH, flags(SWAP_FLAG, "SWAP_FLAG_"))
async def _swapon(sysif: SyscallInterface, path: near.Address, swap_flags: SWAP_FLAG | int) -> None:
    """The raw call."""
    await sysif.syscall(nr.swapon, path, swap_flags)


@call("swapoff", PATH)
async def _swapoff(sysif: SyscallInterface, path: near.Address) -> None:
    """The raw call."""
    await sysif.syscall(nr.swapoff, path)
