"""`<sys/sysinfo.h>`: how much memory the machine has, and how busy it is."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import rsyscall.far
from rsyscall.cstruct import CStruct, array, i64, u16, u32, u64
from rsyscall.handle.arguments import call, out
from rsyscall.handle.buffers import require_size
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["Sysinfo", "SysinfoTask"]

_LOADS = struct.Struct("=3Q")
_ONE = 65536


def _loads(data: bytes) -> tuple[float, float, float]:
    one, five, fifteen = (number / _ONE for number in _LOADS.unpack(data))
    return one, five, fifteen


def _to_loads(loads: tuple[float, float, float]) -> bytes:
    return _LOADS.pack(*(round(load * _ONE) for load in loads))


class Sysinfo(
    CStruct, c="struct sysinfo", headers=("linux/types.h", "linux/sysinfo.h"), brief=("uptime", "loads")
):
    """`struct sysinfo`: memory, load and age of the machine.

    Args:
        uptime: seconds since it started.
        loads: how many processes wanted to run on average, over 1, 5 and 15 minutes.
        totalram, freeram, sharedram, bufferram, totalswap, freeswap, totalhigh, freehigh: in units of
            `mem_unit` bytes.
        procs: how many processes and threads there are.
        mem_unit: bytes.

    manpage: sysinfo(2)
    """

    uptime: int = i64("uptime", default=0)
    loads: tuple[float, float, float] = array(
        "loads", _LOADS.size, _loads, encode=_to_loads, default=(0.0, 0.0, 0.0)
    )
    totalram: int = u64("totalram", default=0)
    freeram: int = u64("freeram", default=0)
    sharedram: int = u64("sharedram", default=0)
    bufferram: int = u64("bufferram", default=0)
    totalswap: int = u64("totalswap", default=0)
    freeswap: int = u64("freeswap", default=0)
    procs: int = u16("procs", default=0)
    totalhigh: int = u64("totalhigh", default=0)
    freehigh: int = u64("freehigh", default=0)
    mem_unit: int = u32("mem_unit", default=1)


class SysinfoTask(rsyscall.far.Task):
    """How much memory the machine has, and how busy it is."""

    async def sysinfo(self, info: Pointer[Sysinfo]) -> Pointer[Sysinfo]:
        """`sysinfo(info)`: memory, load and age of the machine.

        Args:
            info: not consumed; the same memory is returned.

        Raises:
            BufferTooSmallError: the memory is too small.

        manpage: sysinfo(2)
        """
        check_pointers(info)
        require_size(info, Sysinfo.sizeof())
        with info.borrow(self) as addr, naming(info):
            await _sysinfo(self.sysif, addr)
        return info


@call("sysinfo", out(Sysinfo))
async def _sysinfo(sysif: SyscallInterface, info: near.Address) -> None:
    """The raw call."""
    await sysif.syscall(nr.sysinfo, info)
