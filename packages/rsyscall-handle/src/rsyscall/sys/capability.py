"""`<sys/capability.h>`, `<linux/capability.h>`: the privileges of root, one by one."""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import rsyscall.far
from rsyscall.cstruct import CStruct, constant, i32, u32
from rsyscall.handle._later import late
from rsyscall.handle.arguments import call, given, out
from rsyscall.handle.buffers import require_size
from rsyscall.near import nr
from rsyscall.near.naming import naming
from rsyscall.struct import Struct

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer, WrittenPointer
    from rsyscall.near import SyscallInterface
    from rsyscall.near import types as near

__all__ = ["CAP", "CapData", "CapHeader", "CapabilityTask", "from_uint32s", "to_uint32s"]


class CAP(enum.IntEnum):
    """`CAP_*`: the capabilities, by their numbers.

    manpage: capabilities(7)
    """

    CHOWN = 0
    DAC_OVERRIDE = 1
    DAC_READ_SEARCH = 2
    FOWNER = 3
    FSETID = 4
    KILL = 5
    SETGID = 6
    SETUID = 7
    SETPCAP = 8
    LINUX_IMMUTABLE = 9
    NET_BIND_SERVICE = 10
    NET_BROADCAST = 11
    NET_ADMIN = 12
    NET_RAW = 13
    IPC_LOCK = 14
    IPC_OWNER = 15
    SYS_MODULE = 16
    SYS_RAWIO = 17
    SYS_CHROOT = 18
    SYS_PTRACE = 19
    SYS_PACCT = 20
    SYS_ADMIN = 21
    SYS_BOOT = 22
    SYS_NICE = 23
    SYS_RESOURCE = 24
    SYS_TIME = 25
    SYS_TTY_CONFIG = 26
    MKNOD = 27
    LEASE = 28
    AUDIT_WRITE = 29
    AUDIT_CONTROL = 30
    SETFCAP = 31
    MAC_OVERRIDE = 32
    MAC_ADMIN = 33
    SYSLOG = 34
    WAKE_ALARM = 35
    BLOCK_SUSPEND = 36
    AUDIT_READ = 37
    PERFMON = 38
    BPF = 39
    CHECKPOINT_RESTORE = 40


_KNOWN = {int(cap): cap for cap in CAP}


def to_uint32s(caps: Iterable[CAP | int]) -> tuple[int, int]:
    """Return two words with a bit for each of the capabilities; ValueError for what can be none."""
    bits = 0
    for cap in caps:
        if not 0 <= cap < 64:
            raise ValueError(f"{cap!r} is not a capability; they are numbered 0 to 63")
        bits |= 1 << cap
    return bits & 0xFFFFFFFF, bits >> 32


def from_uint32s(one: int, two: int) -> set[CAP | int]:
    """Return the capabilities whose bits are set; those of newer kernels are plain numbers."""
    bits = one | two << 32
    return {_KNOWN.get(number, number) for number in range(64) if bits >> number & 1}


class CapHeader(CStruct, c="struct __user_cap_header_struct", headers=("linux/capability.h",)):
    """`struct __user_cap_header_struct`: whose capabilities. The version is the third, and the last.

    Args:
        pid: 0 for the process itself; for `capget` also another one.
    """

    version: ClassVar[int] = constant(u32("version"), 0x20080522)
    pid: int = i32("pid", default=0)


_DATA = struct.Struct("=6I")


@dataclass
class CapData(Struct):
    """Two `struct __user_cap_data_struct`: the capability sets of a process.

    Args:
        effective: those that count now.
        permitted: those that it can make effective.
        inheritable: those that it can pass on to programs that ask for them.

    manpage: capget(2)
    """

    effective: set[CAP | int] = field(default_factory=set)
    permitted: set[CAP | int] = field(default_factory=set)
    inheritable: set[CAP | int] = field(default_factory=set)

    def to_bytes(self) -> bytes:
        """Return 24 bytes."""
        words = [to_uint32s(caps) for caps in (self.effective, self.permitted, self.inheritable)]
        return _DATA.pack(*(low for low, _ in words), *(high for _, high in words))

    @classmethod
    def from_bytes(cls, data: bytes) -> CapData:
        """Return the sets."""
        words = _DATA.unpack_from(data)
        return cls(*(from_uint32s(words[index], words[index + 3]) for index in range(3)))

    @classmethod
    def sizeof(cls) -> int:
        """Return 24."""
        return _DATA.size


@late
class CapabilityTask(rsyscall.far.Task):
    """Capabilities of processes."""

    async def capset(self, hdrp: WrittenPointer[CapHeader], datap: WrittenPointer[CapData]) -> None:
        """`capset(hdrp, datap)`: set the capability sets of this process.

        Raises:
            OSError: EPERM (a capability would be added to the permitted ones, or one would be effective that
                is not permitted); `filename` is the sets.

        manpage: capset(2)
        """
        with hdrp.borrow(self) as header, datap.borrow(self) as data, naming(datap.value):
            require_size(hdrp, CapHeader.sizeof())
            require_size(datap, CapData.sizeof())
            await _capset(self.sysif, header, data)

    async def capget(self, hdrp: Pointer[CapHeader], datap: Pointer[CapData]) -> Pointer[CapData]:
        """`capget(hdrp, datap)`: the capability sets of a process.

        Args:
            datap: not consumed; the same memory is returned.

        Raises:
            OSError: ESRCH (there is no such process); `filename` is the pointer.

        manpage: capget(2)
        """
        with hdrp.borrow(self) as header, datap.borrow(self) as data, naming(datap):
            require_size(hdrp, CapHeader.sizeof())
            require_size(datap, CapData.sizeof())
            await _capget(self.sysif, header, data)
        return datap


@call("capset", given(CapHeader), given(CapData))
async def _capset(sysif: SyscallInterface, hdrp: near.Address, datap: near.Address) -> None:
    """The raw call."""
    await sysif.syscall(nr.capset, hdrp, datap)


@call("capget", given(CapHeader), out(CapData))
async def _capget(sysif: SyscallInterface, hdrp: near.Address, datap: near.Address) -> None:
    """The raw call."""
    await sysif.syscall(nr.capget, hdrp, datap)
