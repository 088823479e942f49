"""What differs between the architectures a process can run on.

A `SyscallInterface` says with its `abi` which architecture is behind it. Almost everything in the kernel's
interface is the same on all of them. The rest is here: the numbers of the system calls, a few `O_*`
flags, the layouts of three structures, one order of arguments, and the page size.
"""

from __future__ import annotations

import enum
import importlib
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from typing import cast

from rsyscall.near._layout import StructField, StructLayout
from rsyscall.near._tables import ARCHITECTURES, SYS, nr, running_architecture
from rsyscall.near.light_dataclass import light_dataclass

__all__ = [
    "ABI",
    "ABIS",
    "SYS",
    "StructField",
    "StructLayout",
    "UnsupportedSyscallError",
    "abi_by_machine",
    "native_abi",
    "nr",
]


class UnsupportedSyscallError(LookupError):
    """The architecture of the target has no system call of this name. Raised before any call is made."""

    def __init__(self, name: str, abi_name: str) -> None:
        super().__init__(f"{abi_name} has no system call {name}")
        self.name = name
        self.abi_name = abi_name


@light_dataclass(frozen=True)
class ABI:
    """The binary interface between the kernel and the processes of one architecture.

    The `O_*` attributes are the values that the kernel of that architecture gives to the flags that differ;
    all other flags are the same everywhere.
    """

    name: str
    """The machine as uname(2) names it: x86_64, aarch64 or riscv64."""
    machine: int
    """The same as a number, `e_machine` of ELF files."""
    page_size: int
    """Bytes in a page; on aarch64 this depends on how the kernel was built."""
    O_DIRECT: int
    O_DIRECTORY: int
    O_LARGEFILE: int
    O_NOFOLLOW: int
    O_TMPFILE: int
    clone_tls_first: bool
    """clone(2) takes its last two arguments as (tls, ctid) rather than (ctid, tls)."""
    stat: StructLayout
    """`struct stat` as fstat(2) of the kernel fills it, which is not that of every C library."""
    epoll_event: StructLayout
    sigaction: StructLayout
    """`struct sigaction` as rt_sigaction(2) takes it, with a mask of 8 bytes."""
    syscalls: type[enum.IntEnum] = field(repr=False)
    """The numbers of the calls, an enumeration like `SYS`."""

    def number(self, call: SYS | str) -> int:
        """The number of a system call on this architecture.

        Args:
            call: a member of `SYS`, translated by its name, or a name.

        Raises:
            UnsupportedSyscallError: this architecture has no such call.
        """
        if type(call) is self.syscalls:
            return int(call)
        name = call if isinstance(call, str) else call.name
        try:
            return int(self.syscalls[name])
        except KeyError:
            raise UnsupportedSyscallError(name, self.name) from None

    def call(self, name: str) -> SYS:
        """The call of that name, for `SyscallInterface.syscall`: for those that not every architecture has.

        Raises:
            UnsupportedSyscallError: this architecture has no such call.
        """
        try:
            # A member of `SYS` only on the running architecture; its number is right for this one.
            return cast("SYS", self.syscalls[name])
        except KeyError:
            raise UnsupportedSyscallError(name, self.name) from None

    def supports(self, call: SYS | str) -> bool:
        """Whether this architecture has a call of that name. (The kernel in use may be too old for it.)"""
        name = call if isinstance(call, str) else call.name
        return name in self.syscalls.__members__

    def with_page_size(self, page_size: int) -> ABI:
        """The same ABI with another page size, in bytes."""
        return self if page_size == self.page_size else replace(self, page_size=page_size)


class _ABIs(Mapping[str, ABI]):
    """ABIs by name; each is built when it is first asked for, since a program seldom needs more than one."""

    def __init__(self) -> None:
        self._built: dict[str, ABI] = {}

    def __getitem__(self, name: str) -> ABI:
        if name not in self._built:
            if name not in ARCHITECTURES:
                raise KeyError(name)
            self._built[name] = _build_abi(name)
        return self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(ARCHITECTURES)

    def __len__(self) -> int:
        return len(ARCHITECTURES)


def _build_abi(name: str) -> ABI:
    table = importlib.import_module(f"rsyscall.near._tables.{name}")
    return ABI(
        name=name,
        machine=table.MACHINE,
        page_size=mmap.PAGESIZE if name == running_architecture() else 4096,
        O_DIRECT=table.O_DIRECT,
        O_DIRECTORY=table.O_DIRECTORY,
        O_LARGEFILE=table.O_LARGEFILE,
        O_NOFOLLOW=table.O_NOFOLLOW,
        O_TMPFILE=table.O_TMPFILE,
        clone_tls_first=table.CLONE_TLS_FIRST,
        stat=table.STAT,
        epoll_event=table.EPOLL_EVENT,
        sigaction=table.SIGACTION,
        syscalls=table.SYS,
    )


ABIS: Mapping[str, ABI] = _ABIs()
"""Every known ABI by the name of its architecture."""

_NATIVE = ABIS[running_architecture()]


def native_abi() -> ABI:
    """The ABI of the running interpreter, with the page size of the running kernel."""
    return _NATIVE


def abi_by_machine(machine: int) -> ABI:
    """The ABI with this `e_machine` number (62 x86_64, 183 aarch64, 243 riscv64).

    Raises:
        KeyError: none has it.
    """
    for abi in ABIS.values():
        if abi.machine == machine:
            return abi
    raise KeyError(f"no known architecture has the ELF machine number {machine}")
