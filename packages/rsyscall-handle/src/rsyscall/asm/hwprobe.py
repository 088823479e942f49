"""`<asm/hwprobe.h>`: what the processors can, on riscv64 alone."""

from __future__ import annotations

import enum
from contextlib import ExitStack
from typing import TYPE_CHECKING

import rsyscall.far
from rsyscall.cstruct import CStruct, i64, u64
from rsyscall.handle.arguments import ADDRESS, SIZE, call, flags
from rsyscall.handle.buffers import require_size
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.struct import StructList

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer, ReadablePointer, WrittenPointer
    from rsyscall.near.sysif import SyscallInterface
    from rsyscall.sched import CpuSet

__all__ = ["HwprobeTask", "RISCV_HWPROBE", "RISCV_HWPROBE_KEY", "RiscvHwprobe"]


class RISCV_HWPROBE(enum.IntFlag):
    """`RISCV_HWPROBE_*`: flags of `riscv_hwprobe`."""

    NONE = 0
    WHICH_CPUS = 1 << 0  # since Linux 6.8


class RISCV_HWPROBE_KEY(enum.IntEnum):
    """`RISCV_HWPROBE_KEY_*`: what can be asked."""

    MVENDORID = 0  # since Linux 6.4
    MARCHID = 1  # since Linux 6.4
    MIMPID = 2  # since Linux 6.4
    BASE_BEHAVIOR = 3  # since Linux 6.4
    IMA_EXT_0 = 4  # since Linux 6.4
    CPUPERF_0 = 5  # since Linux 6.4
    ZICBOZ_BLOCK_SIZE = 6  # since Linux 6.7
    HIGHEST_VIRT_ADDRESS = 7  # since Linux 6.11
    TIME_CSR_FREQ = 8  # since Linux 6.11
    MISALIGNED_SCALAR_PERF = 9  # since Linux 6.12
    MISALIGNED_VECTOR_PERF = 10  # since Linux 6.13
    VENDOR_EXT_THEAD_0 = 11  # since Linux 6.14
    ZICBOM_BLOCK_SIZE = 12  # since Linux 6.16
    VENDOR_EXT_SIFIVE_0 = 13  # since Linux 6.16
    VENDOR_EXT_MIPS_0 = 14  # since Linux 6.18
    ZICBOP_BLOCK_SIZE = 15  # since Linux 6.19


_HEADERS = (
    "linux/types.h",
    # Only riscv64 has it, and not in all versions.
    "#if __has_include(<asm/hwprobe.h>)\n#include <asm/hwprobe.h>\n#endif",
)


class RiscvHwprobe(CStruct, c="struct riscv_hwprobe", headers=_HEADERS):
    """`struct riscv_hwprobe`: a question, and its answer.

    Args:
        key: what is asked; -1 in the answer if the kernel does not know the key. A `RISCV_HWPROBE_KEY`.
        value: what all of the processors have in common.
    """

    key: int = i64("key")  # since Linux 6.4
    value: int = u64("value", default=0)  # since Linux 6.4


class HwprobeTask(rsyscall.far.Task):
    """What the processors can. Where these are not of riscv64 the call raises UnsupportedSyscallError."""

    async def riscv_hwprobe(
        self,
        pairs: WrittenPointer[StructList[RiscvHwprobe]],
        cpus: Pointer[CpuSet] | None = None,
        flags: RISCV_HWPROBE = RISCV_HWPROBE.NONE,
    ) -> ReadablePointer[StructList[RiscvHwprobe]]:
        """`riscv_hwprobe(pairs, pair_count, cpusetsize, cpus, flags)`: what the processors can.

        Args:
            pairs: the questions; consumed.
            cpus: the processors that are meant; None for all. With `RISCV_HWPROBE.WHICH_CPUS` it gets those
                that have the values in `pairs`. Not consumed.

        Returns:
            `pairs`, with the answers.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EINVAL, EFAULT; ENOSYS before Linux 6.4; `filename` is `pairs`.
            UnsupportedSyscallError: the process is not of riscv64.

        manpage: riscv_hwprobe(2)
        """
        check_pointers(pairs)
        count = len(pairs.value.elems)
        require_size(pairs, count * RiscvHwprobe.sizeof())
        with ExitStack() as stack:
            address = stack.enter_context(pairs.borrow(self))
            cpus_addr = self._borrow_optional(stack, cpus)
            size = 0 if cpus is None else cpus.size()
            with naming(pairs):
                await _riscv_hwprobe(self.sysif, address, count, size, cpus_addr, flags)
        readable, rest = pairs.readable_split(count * RiscvHwprobe.sizeof())
        rest.free()
        return readable


@call("riscv_hwprobe", ADDRESS, SIZE, SIZE, ADDRESS, flags(RISCV_HWPROBE, "RISCV_HWPROBE_"))
async def _riscv_hwprobe(
    sysif: SyscallInterface,
    pairs: near.Address,
    pair_count: int,
    cpusetsize: int,
    cpus: near.Address | None,
    flags: RISCV_HWPROBE,
) -> None:
    """The raw call."""
    await sysif.syscall(sysif.abi.call("riscv_hwprobe"), pairs, pair_count, cpusetsize, cpus or 0, flags)
