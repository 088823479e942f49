"""`<sys/cachectl.h>`: the caches of the processors, on riscv64 alone."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

import rsyscall.far
from rsyscall.handle.arguments import ADDRESS, call, flags
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import types as near
from rsyscall.near.naming import naming

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["SYS_RISCV_FLUSH_ICACHE", "CacheTask"]


class SYS_RISCV_FLUSH_ICACHE(enum.IntFlag):
    """`SYS_RISCV_FLUSH_ICACHE_*`: flags of `riscv_flush_icache`."""

    ALL = 0
    LOCAL = 1


class CacheTask(rsyscall.far.Task):
    """Caches. On architectures other than riscv64 the call raises UnsupportedSyscallError."""

    async def riscv_flush_icache(
        self, code: Pointer[Any], flags: SYS_RISCV_FLUSH_ICACHE = SYS_RISCV_FLUSH_ICACHE.ALL
    ) -> None:
        """`riscv_flush_icache(start, end, flags)`: have the processors see instructions that were written.

        Args:
            code: where they are; not consumed. The kernel flushes all that the processors have cached.
            flags: with `SYS_RISCV_FLUSH_ICACHE.LOCAL` only for the thread that makes the call.

        Raises:
            OSError: EINVAL; `filename` is `code`.
            UnsupportedSyscallError: the process is not of riscv64.

        manpage: riscv_flush_icache(2)
        """
        check_pointers(code)
        with code.borrow(self) as start, naming(code):
            await _riscv_flush_icache(self.sysif, start, start + code.size(), flags)


@call("riscv_flush_icache", ADDRESS, ADDRESS, flags(SYS_RISCV_FLUSH_ICACHE, "SYS_RISCV_FLUSH_ICACHE_"))
async def _riscv_flush_icache(
    sysif: SyscallInterface, start: near.Address, end: near.Address, flags: SYS_RISCV_FLUSH_ICACHE
) -> None:
    """The raw call."""
    await sysif.syscall(sysif.abi.call("riscv_flush_icache"), start, end, flags)
