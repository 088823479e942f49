"""`<asm/prctl.h>`: attributes of a process that only x86_64 has."""

from __future__ import annotations

import enum
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import rsyscall.far
from rsyscall.handle.arguments import Kind, buffer, by, call, choice, each
from rsyscall.handle.buffers import require_size
from rsyscall.handle.pointer import Pointer
from rsyscall.near import types as near
from rsyscall.near.naming import naming

if TYPE_CHECKING:
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["ARCH", "ARCH_SHSTK", "ARCH_XCOMP", "ArchPrctlTask"]


class ARCH(enum.IntEnum):
    """`ARCH_*`: options of `arch_prctl`.

    manpage: arch_prctl(2)
    """

    SET_GS = 0x1001
    SET_FS = 0x1002
    GET_FS = 0x1003
    GET_GS = 0x1004
    GET_CPUID = 0x1011
    SET_CPUID = 0x1012
    GET_XCOMP_SUPP = 0x1021
    GET_XCOMP_PERM = 0x1022
    REQ_XCOMP_PERM = 0x1023
    GET_XCOMP_GUEST_PERM = 0x1024
    REQ_XCOMP_GUEST_PERM = 0x1025
    MAP_VDSO_X32 = 0x2001
    MAP_VDSO_32 = 0x2002
    MAP_VDSO_64 = 0x2003
    GET_UNTAG_MASK = 0x4001  # since Linux 6.4
    ENABLE_TAGGED_ADDR = 0x4002  # since Linux 6.4
    GET_MAX_TAG_BITS = 0x4003  # since Linux 6.4
    FORCE_TAGGED_SVA = 0x4004  # since Linux 6.4
    SHSTK_ENABLE = 0x5001  # since Linux 6.6
    SHSTK_DISABLE = 0x5002  # since Linux 6.6
    SHSTK_LOCK = 0x5003  # since Linux 6.6
    SHSTK_UNLOCK = 0x5004  # since Linux 6.6
    SHSTK_STATUS = 0x5005  # since Linux 6.6


class ARCH_XCOMP(enum.IntEnum):
    """`ARCH_XCOMP_*`: features for `ARCH.REQ_XCOMP_PERM`.

    manpage: arch_prctl(2)
    """

    TILECFG = 17  # since Linux 6.4
    TILEDATA = 18  # since Linux 6.4


class ARCH_SHSTK(enum.IntFlag):
    """`ARCH_SHSTK_*`: features of shadow stacks, for `ARCH.SHSTK_ENABLE` and its like.

    manpage: arch_prctl(2)
    """

    NONE = 0
    SHSTK = 1  # since Linux 6.6
    WRSS = 2  # since Linux 6.6


def _arguments() -> dict[int, Kind]:
    """The options that write a number to memory."""
    return each(
        (
            *(ARCH.GET_FS, ARCH.GET_GS, ARCH.GET_XCOMP_SUPP, ARCH.GET_XCOMP_PERM, ARCH.GET_XCOMP_GUEST_PERM),
            *(ARCH.GET_UNTAG_MASK, ARCH.GET_MAX_TAG_BITS, ARCH.SHSTK_STATUS),
        ),
        buffer(8),
    )


_ARGUMENT = by(0, _arguments)


class ArchPrctlTask(rsyscall.far.Task):
    """Attributes that only x86_64 has. On other architectures the call raises UnsupportedSyscallError."""

    async def arch_prctl(self, option: ARCH | int, addr: Pointer[Any] | int = 0) -> int:
        """`arch_prctl(option, addr)`: look at or change an attribute of this process.

        In the thread of our own program `ARCH.SET_FS` and the options of shadow stacks end the program. What
        becomes of a program, `ARCH.SET_CPUID` for one, is lost when the process executes another.

        Args:
            addr: memory for an `Int64`, for an option that gets one, not consumed: read the pointer to see
                what was written. A number for others.

        Returns:
            For `ARCH.GET_CPUID` whether the cpuid instruction works; for `ARCH.MAP_VDSO_64` and its like how
            many bytes were mapped; 0 for others.

        Raises:
            BufferTooSmallError: there is no room for the number.
            TypeError: the option gets a number, and there is no memory for it.
            OSError: EINVAL (the kernel does not know the option), ENODEV (the processor cannot), EPERM,
                EBUSY, EEXIST, EFAULT, EOPNOTSUPP; `filename` is (option, addr).
            UnsupportedSyscallError: the process is not of x86_64.

        manpage: arch_prctl(2)
        """
        size = _ARGUMENT.size(option)
        with ExitStack() as stack:
            if isinstance(addr, Pointer):
                number: near.Address | int = stack.enter_context(addr.borrow(self))
                require_size(addr, size)
            elif not size:
                number = addr
            else:
                raise TypeError(f"{ARCH(option)!r} takes memory for an Int64, not {addr!r}")
            with naming((option, addr)):
                return await _arch_prctl(self.sysif, option, number)


@call("arch_prctl", choice(ARCH, "ARCH_"), _ARGUMENT)
async def _arch_prctl(sysif: SyscallInterface, option: ARCH | int, addr: near.Address | int) -> int:
    """The raw call."""
    return await sysif.syscall(sysif.abi.call("arch_prctl"), option, addr)
