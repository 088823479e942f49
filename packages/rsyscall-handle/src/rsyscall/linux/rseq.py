"""`<linux/rseq.h>`: memory in which the kernel tells a process on which processor it runs.

Critical sections, for which it was made, need code of their own in the process. From outside, the memory says
where the process has last run, without a call.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

import rsyscall.far
from rsyscall.cstruct import CStruct, u32, u64
from rsyscall.handle.arguments import ADDRESS, SIZE, Kind, call, flags
from rsyscall.handle.buffers import require_size
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near.naming import naming

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer
    from rsyscall.near import types as near
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["RSEQ_CPU_ID", "RSEQ_CS_FLAG", "RSEQ_FLAG", "Rseq", "RseqTask"]


class RSEQ_CPU_ID(enum.IntEnum):
    """`RSEQ_CPU_ID_*`: what stands in place of a processor while the kernel has not told one."""

    UNINITIALIZED = -1
    REGISTRATION_FAILED = -2


def _cpu_id(number: int) -> RSEQ_CPU_ID | int:
    names = {_unsigned(member): member for member in RSEQ_CPU_ID}
    return names.get(number, number)


def _unsigned(number: int) -> int:
    return number & 0xFFFFFFFF


class RSEQ_FLAG(enum.IntFlag):
    """`RSEQ_FLAG_*`: flags of `rseq`."""

    NONE = 0
    UNREGISTER = 1 << 0
    SLICE_EXT_DEFAULT_ON = 1 << 1  # since Linux 7.0


class RSEQ_CS_FLAG(enum.IntFlag):
    """`RSEQ_CS_FLAG_*`: flags in the memory."""

    NONE = 0
    NO_RESTART_ON_PREEMPT = 1 << 0
    NO_RESTART_ON_SIGNAL = 1 << 1
    NO_RESTART_ON_MIGRATE = 1 << 2
    SLICE_EXT_AVAILABLE = 1 << 4  # since Linux 7.0
    SLICE_EXT_ENABLED = 1 << 5  # since Linux 7.0


class Rseq(CStruct, c="struct rseq", headers=("linux/rseq.h",), size=32):
    """`struct rseq`, as far as all kernels have room for it.

    Args:
        cpu_id_start: a processor that exists.
        cpu_id: the processor on which the process runs, or a `RSEQ_CPU_ID`.
        rseq_cs: the address of the critical section that the process is in; or 0.
        flags: `RSEQ_CS_FLAG`.
        node_id: the node on which the process runs; set since Linux 6.3.
        mm_cid: a number that no other process has which runs with the same memory; set since Linux 6.3.
        slice_ctrl: the request for more time and its answer, since Linux 7.0.
    """

    cpu_id_start: int = u32("cpu_id_start", default=0)
    cpu_id: RSEQ_CPU_ID | int = u32("cpu_id", _cpu_id, encode=_unsigned, default=RSEQ_CPU_ID.UNINITIALIZED)
    rseq_cs: int = u64("rseq_cs", default=0)
    flags: RSEQ_CS_FLAG = u32("flags", RSEQ_CS_FLAG, default=RSEQ_CS_FLAG.NONE)
    node_id: int = u32("node_id", default=0)  # since Linux 6.3
    mm_cid: int = u32("mm_cid", default=0)  # since Linux 6.3
    slice_ctrl: int = u32("slice_ctrl", default=0)  # since Linux 7.0


class RseqTask(rsyscall.far.Task):
    """Being told on which processor this process runs."""

    async def rseq(self, rseq: Pointer[Any], flags: RSEQ_FLAG = RSEQ_FLAG.NONE, sig: int = 0) -> None:
        """`rseq(rseq, size, flags, sig)`: have the kernel write into this memory where the process runs.

        The kernel keeps the address, and writes there whenever it has moved the process: the memory must stay
        allocated until it is given with `RSEQ_FLAG.UNREGISTER`, or the process executes a program or ends.
        For the program's own process that is usually refused, since the C library has memory registered.

            room = await thread.malloc(bytes, 64)
            _, area = room.split_from_end(Rseq.sizeof(), 32)
            await thread.task.rseq(area)
            print(Rseq.from_bytes(await area.read()).cpu_id)

        Args:
            rseq: 32 bytes at an address that is a multiple of 32; or as many as the kernel says that it uses
                (`AT_RSEQ_FEATURE_SIZE`), at a multiple of `AT_RSEQ_ALIGN`. Not consumed.
            flags: `RSEQ_FLAG.UNREGISTER` to end it.
            sig: the number that stands in front of the code for an aborted critical section; the same for
                `RSEQ_FLAG.UNREGISTER`.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EBUSY (this memory is registered), EINVAL (other memory is, this one is not, or its
                address is not a multiple), EPERM (another `sig`); `filename` is the memory.

        manpage: rseq(2)
        """
        check_pointers(rseq)
        require_size(rseq, Rseq.sizeof())
        with rseq.borrow(self) as address, naming(rseq):
            await _rseq(self.sysif, address, rseq.size(), flags, sig)


@call("rseq", ADDRESS, SIZE, flags(RSEQ_FLAG, "RSEQ_FLAG_"), Kind("hex"))
async def _rseq(sysif: SyscallInterface, rseq: near.Address, size: int, flags: RSEQ_FLAG, sig: int) -> None:
    """The raw call."""
    await sysif.syscall(nr.rseq, rseq, size, flags, sig)
