"""`<sched.h>`: making processes, moving them between namespaces, and the CPUs they run on."""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, SupportsInt, TypeVar

import rsyscall.far
from rsyscall.cstruct import CStruct, u64
from rsyscall.handle.arguments import ADDRESS, FDNUM, PID, SIZE, Kind, Memory, call, flags
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.struct import Serializable, Serializer, Struct, bits

if TYPE_CHECKING:
    from rsyscall.handle.fd import BaseFileDescriptor
    from rsyscall.handle.pointer import Pointer, WrittenPointer
    from rsyscall.near import SyscallInterface

__all__ = [
    "CLONE",
    "Borrowable",
    "CloneArgs",
    "CpuSet",
    "SchedTask",
    "Stack",
    "T_borrowable",
]


class CLONE(enum.IntFlag):
    """Flags of clone, unshare and setns. From `CLEAR_SIGHAND` on they are understood by clone3
    only.

    manpage: clone(2), unshare(2), setns(2)
    """

    NONE = 0
    NEWTIME = 0x80
    VM = 0x100
    FS = 0x200
    FILES = 0x400
    SIGHAND = 0x800
    PIDFD = 0x1000
    PTRACE = 0x2000
    VFORK = 0x4000
    PARENT = 0x8000
    THREAD = 0x10000
    NEWNS = 0x20000
    SYSVSEM = 0x40000
    SETTLS = 0x80000
    PARENT_SETTID = 0x100000
    CHILD_CLEARTID = 0x200000
    DETACHED = 0x400000
    UNTRACED = 0x800000
    CHILD_SETTID = 0x1000000
    NEWCGROUP = 0x2000000
    NEWUTS = 0x4000000
    NEWIPC = 0x8000000
    NEWUSER = 0x10000000
    NEWPID = 0x20000000
    NEWNET = 0x40000000
    IO = 0x80000000
    CLEAR_SIGHAND = 0x1_0000_0000
    INTO_CGROUP = 0x2_0000_0000
    AUTOREAP = 0x4_0000_0000  # since Linux 7.3
    NNP = 0x8_0000_0000  # since Linux 7.3
    PIDFD_AUTOKILL = 0x10_0000_0000  # since Linux 7.3
    EMPTY_MNTNS = 0x20_0000_0000  # since Linux 7.3


class Borrowable:
    """Something that refers to memory and file descriptors of a task."""

    __slots__ = ()

    def borrow_with(self, stack: ExitStack, task: rsyscall.far.Task) -> None:
        """Borrow everything this refers to for `task`, until `stack` is left."""
        raise NotImplementedError(f"{type(self).__name__} does not know how to be borrowed")


T_borrowable = TypeVar("T_borrowable", bound=Borrowable)

_POINTER = struct.Struct("=Q")


@dataclass(eq=False)
class Stack(Serializable, Borrowable, Generic[T_borrowable]):
    """The first contents of the stack of a new process: a function to return to, and what that finds on the
    stack.

    Args:
        function: native function; the process starts with returning to it.
        data: arguments, in the form the function wants them.
        serializer: converts the arguments.
    """

    function: Pointer[Any]
    data: T_borrowable
    serializer: Serializer[T_borrowable]

    def borrow_with(self, stack: ExitStack, task: rsyscall.far.Task) -> None:
        """Borrow the function and the pointers in its arguments."""
        stack.enter_context(self.function.borrow(task))
        self.data.borrow_with(stack, task)

    def to_bytes(self) -> bytes:
        """Return the address of the function followed by the data."""
        return _POINTER.pack(int(self.function.near)) + self.serializer.to_bytes(self.data)

    @classmethod
    def from_bytes(cls, data: bytes) -> Stack[T_borrowable]:
        """Raise: the function cannot be found from its address."""
        raise NotImplementedError("a stack cannot be read back: it consists of addresses")


_CPU_COUNT = 1024
_CPU_BYTES = _CPU_COUNT // 8


class CpuSet(Struct, set[int]):
    """A set of CPUs, numbered from 0; as `cpu_set_t`, it has room for 1024.

    Args:
        cpus: the numbers.

    manpage: CPU_SET(3)
    """

    __slots__ = ()

    def __init__(self, cpus: Iterable[int] = ()) -> None:
        super().__init__(cpus)

    def to_bytes(self) -> bytes:
        """Return 128 bytes; ValueError for a CPU that there is no bit for."""
        mask = 0
        for cpu in self:
            if not 0 <= cpu < _CPU_COUNT:
                raise ValueError(f"CPU {cpu} cannot be in a CpuSet; they are numbered 0 to {_CPU_COUNT - 1}")
            mask |= 1 << cpu
        # the kernel has an array of longs; on little endian machines, which all of ours are, that is one
        # number
        return mask.to_bytes(_CPU_BYTES, "little")

    @classmethod
    def from_bytes(cls, data: bytes) -> CpuSet:
        """Read a set of any length."""
        return cls(bits(int.from_bytes(data, "little"), one_indexed=False))

    @classmethod
    def sizeof(cls) -> int:
        """Return 128."""
        return _CPU_BYTES

    def __repr__(self) -> str:
        return f"CpuSet({set(self) or '{}'})"


class CloneArgs(
    CStruct, c="struct clone_args", headers=("linux/types.h", "linux/sched.h"), brief=("flags", "exit_signal")
):
    """`struct clone_args`, the argument of clone3. Addresses and file descriptors are plain numbers here.

    Args:
        flags: what to share, what to make new.
        pidfd: address for the number of a pidfd, with `CLONE.PIDFD`.
        child_tid: address for the id in the child's memory, with `CLONE.CHILD_SETTID` and
            `CLONE.CHILD_CLEARTID`.
        parent_tid: address for the id in the parent's memory, with `CLONE.PARENT_SETTID`.
        exit_signal: signal for the parent when the child dies.
        stack: the lowest address of the stack; unlike with clone.
        stack_size: bytes.
        tls: thread-local storage, with `CLONE.SETTLS`.
        set_tid: address of an array of 32-bit ids that the child is to have, innermost namespace first.
        set_tid_size: number of elements of that.
        cgroup: file descriptor of a version 2 cgroup, with `CLONE.INTO_CGROUP`.

    manpage: clone3(2)
    """

    flags: CLONE = u64("flags", CLONE)
    pidfd: SupportsInt = u64("pidfd", encode=int, default=0)
    child_tid: SupportsInt = u64("child_tid", encode=int, default=0)
    parent_tid: SupportsInt = u64("parent_tid", encode=int, default=0)
    exit_signal: SupportsInt = u64("exit_signal", encode=int, default=0)
    stack: SupportsInt = u64("stack", encode=int, default=0)
    stack_size: SupportsInt = u64("stack_size", encode=int, default=0)
    tls: SupportsInt = u64("tls", encode=int, default=0)
    set_tid: SupportsInt = u64("set_tid", encode=int, default=0)
    set_tid_size: SupportsInt = u64("set_tid_size", encode=int, default=0)
    cgroup: SupportsInt = u64("cgroup", encode=int, default=0)


class SchedTask(rsyscall.far.Task):
    """Calls of `<sched.h>` about the task itself."""

    async def sched_setaffinity(self, mask: WrittenPointer[CpuSet]) -> None:
        """Set which CPUs this task may run on.

        Raises:
            OSError: EINVAL if none of the CPUs exists and is allowed.

        manpage: sched_setaffinity(2)
        """
        with mask.borrow(self) as address, naming(mask.value):
            await _sched_setaffinity(self.sysif, 0, mask.size(), address)

    async def sched_getaffinity(self, mask: Pointer[CpuSet]) -> Pointer[CpuSet]:
        """Find out which CPUs this task may run on.

        Args:
            mask: where to store the set; its size is a multiple of 8 bytes and enough for every CPU of the
                machine.

        Returns:
            `mask`, to be read.

        manpage: sched_getaffinity(2)
        """
        with mask.borrow(self) as address, naming(mask):
            # The kernel fills in as many bytes as it has CPUs for, and leaves the others as they are.
            await mask.transport.write(mask, bytes(mask.size()))
            await _sched_getaffinity(self.sysif, 0, mask.size(), address)
        return mask

    async def setns(self, fd: BaseFileDescriptor, nstype: CLONE) -> None:
        """Move this task into a namespace.

        This is the call alone; `Task.setns` records what it changes.

        Args:
            fd: a file of /proc/<pid>/ns, or a pidfd.
            nstype: which kind of namespace it must be, `CLONE.NONE` for any; for a pidfd, which to enter.

        manpage: setns(2)
        """
        with fd.borrow(self) as near_fd, naming(fd):
            await _setns(self.sysif, near_fd, nstype)


_FLAGS = flags(CLONE, "CLONE_")
_REST = Kind("address_if_any")


@call("clone", Kind("clone_flags_signal"), ADDRESS, _REST, _REST, _REST)
async def _clone(
    sysif: SyscallInterface,
    flags: int,
    child_stack: near.Address | None,
    ptid: near.Address | None,
    ctid: near.Address | None,
    newtls: near.Address | None,
) -> near.Process:
    """`clone`; the order of the arguments is that of x86_64, whatever the architecture.

    Args:
        flags: `CLONE` flags and, in the lowest 8 bits, the exit signal.
        child_stack: where the stack begins, which is its highest address.
    """
    rest = (newtls, ctid) if sysif.abi.clone_tls_first else (ctid, newtls)
    pid = await sysif.syscall(nr.clone, flags, child_stack or 0, ptid or 0, rest[0] or 0, rest[1] or 0)
    return near.Process(pid)


@call("clone3", Memory("clone_args"), SIZE)
async def _clone3(sysif: SyscallInterface, args: near.Address, size: int) -> near.Process:
    """`clone3`; `args` is the address of a `CloneArgs`, `size` its size in bytes."""
    return near.Process(await sysif.syscall(nr.clone3, args, size))


@call("unshare", _FLAGS)
async def _unshare(sysif: SyscallInterface, flags: CLONE) -> None:
    """`unshare`."""
    with naming(flags):
        await sysif.syscall(nr.unshare, flags)


@call("setns", FDNUM, _FLAGS)
async def _setns(sysif: SyscallInterface, fd: near.FileDescriptor, nstype: CLONE) -> None:
    """`setns`."""
    await sysif.syscall(nr.setns, fd, nstype)


@call("sched_setaffinity", PID, SIZE, ADDRESS)
async def _sched_setaffinity(sysif: SyscallInterface, pid: int, cpusetsize: int, mask: near.Address) -> None:
    """`sched_setaffinity`; pid 0 is the caller."""
    await sysif.syscall(nr.sched_setaffinity, pid, cpusetsize, mask)


@call("sched_getaffinity", PID, SIZE, ADDRESS)
async def _sched_getaffinity(sysif: SyscallInterface, pid: int, cpusetsize: int, mask: near.Address) -> int:
    """`sched_getaffinity`; returns how many bytes have been stored."""
    return await sysif.syscall(nr.sched_getaffinity, pid, cpusetsize, mask)
