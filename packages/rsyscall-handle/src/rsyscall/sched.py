"""`<sched.h>`: making processes, moving them between namespaces, and the CPUs they run on."""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Generic, SupportsInt, TypeVar

import rsyscall.far
from rsyscall.cstruct import CStruct, u64
from rsyscall.handle._later import later_names
from rsyscall.handle.arguments import ADDRESS, FDNUM, PID, SIZE, Kind, Memory, call, flags, given
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.light_dataclass import light_dataclass
from rsyscall.near.naming import naming
from rsyscall.struct import Serializable, Serializer, Struct, bits

if TYPE_CHECKING:
    from rsyscall._sched_policy import SCHED as SCHED
    from rsyscall._sched_policy import SCHED_FLAG as SCHED_FLAG
    from rsyscall._sched_policy import SCHED_RESET_ON_FORK as SCHED_RESET_ON_FORK
    from rsyscall._sched_policy import SchedAttr as SchedAttr
    from rsyscall._sched_policy import SchedParam as SchedParam
    from rsyscall.handle.fd import BaseFileDescriptor
    from rsyscall.handle.pointer import Pointer, WrittenPointer
    from rsyscall.near import SyscallInterface
else:
    __getattr__ = later_names(__name__, "rsyscall._sched_policy")

__all__ = [
    "CLONE",
    "UNSHARE_EMPTY_MNTNS",
    "Borrowable",
    "CloneArgs",
    "CpuSet",
    "SchedTask",
    "Stack",
    "T_borrowable",
]


class CLONE(enum.IntFlag):
    """`CLONE_*`: flags of clone, unshare and setns. Only clone3 takes those from `CLEAR_SIGHAND` on.

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


UNSHARE_EMPTY_MNTNS = CLONE.PARENT_SETTID
"""For `unshare`, with `CLONE.NEWNS`: the new mount namespace has no mounts, since Linux 7.3. clone3(2) has
`CLONE.EMPTY_MNTNS` for that."""


class Borrowable:
    """A value that refers to memory and file descriptors of a task."""

    __slots__ = ()

    def borrow_with(self, stack: ExitStack, task: rsyscall.far.Task) -> None:
        """Borrow all that this value refers to for `task`, until `stack` is closed."""
        raise NotImplementedError(f"{type(self).__name__} does not define borrow_with")


T_borrowable = TypeVar("T_borrowable", bound=Borrowable)

_POINTER = struct.Struct("=Q")


@light_dataclass(eq=False)
class Stack(Serializable, Borrowable, Generic[T_borrowable]):
    """What is on the stack when a new process starts: the address of a function, and its arguments.

    Args:
        function: native function; the first thing that the process does is to return to its address.
        data: arguments, in the form in which the function expects them on the stack.
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
        """Raise NotImplementedError: an address does not lead back to the pointer of the function."""
        raise NotImplementedError("a stack cannot be read back: it consists of addresses")


_CPU_COUNT = 1024
_CPU_BYTES = _CPU_COUNT // 8


class CpuSet(Struct, set[int]):
    """`cpu_set_t`: a set of CPUs, by their numbers, 0 to 1023.

    Args:
        cpus: the numbers.

    manpage: CPU_SET(3)
    """

    __slots__ = ()

    def __init__(self, cpus: Iterable[int] = ()) -> None:
        super().__init__(cpus)

    def to_bytes(self) -> bytes:
        """Return 128 bytes; ValueError for a number that is not in 0 to 1023."""
        mask = 0
        for cpu in self:
            if not 0 <= cpu < _CPU_COUNT:
                raise ValueError(f"CPU {cpu} cannot be in a CpuSet; they are numbered 0 to {_CPU_COUNT - 1}")
            mask |= 1 << cpu
        # The kernel has an array of longs. On little-endian machines, and we support no others, its bytes are
        # those of one long number.
        return mask.to_bytes(_CPU_BYTES, "little")

    @classmethod
    def from_bytes(cls, data: bytes) -> CpuSet:
        """Read a set of any size."""
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
        flags: what the child shares with its parent, and which new namespaces it gets.
        pidfd: where to store the number of a pidfd, with `CLONE.PIDFD`.
        child_tid: where to store the id of the child in the memory of the child, with `CLONE.CHILD_SETTID`;
            the kernel clears the word there when the child leaves that memory, with `CLONE.CHILD_CLEARTID`.
        parent_tid: where to store the id of the child in the memory of the parent, with
            `CLONE.PARENT_SETTID`.
        exit_signal: the signal that the parent gets when the child exits.
        stack: the lowest address of the stack (clone takes the highest).
        stack_size: bytes.
        tls: thread-local storage, with `CLONE.SETTLS`.
        set_tid: address of an array of 32-bit ids for the child: one for each pid namespace, the innermost
            first.
        set_tid_size: how many ids are in that array.
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
            mask: where to store the set. Its size must be a multiple of 8 bytes, and enough for all CPUs that
                the machine can have.

        Returns:
            `mask`, to be read.

        manpage: sched_getaffinity(2)
        """
        with mask.borrow(self) as address, naming(mask):
            # The kernel writes only the bytes that it needs for its number of CPUs.
            await mask.transport.write(mask, bytes(mask.size()))
            await _sched_getaffinity(self.sysif, 0, mask.size(), address)
        return mask

    async def setns(self, fd: BaseFileDescriptor, nstype: CLONE) -> None:
        """Move this task into a namespace.

        This method only makes the call; `Task.setns` also records which namespaces have changed.

        Args:
            fd: a file of /proc/<pid>/ns, or a pidfd.
            nstype: the kind of namespace that `fd` must stand for, `CLONE.NONE` for any; for a pidfd, the
                kinds of namespaces to enter.

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
    """`clone`; the arguments have the order of x86_64 on every architecture.

    Args:
        flags: `CLONE` flags and, in the lowest 8 bits, the exit signal.
        child_stack: the highest address of the stack, where it begins.
    """
    rest = (newtls, ctid) if sysif.abi.clone_tls_first else (ctid, newtls)
    pid = await sysif.syscall(nr.clone, flags, child_stack or 0, ptid or 0, rest[0] or 0, rest[1] or 0)
    return near.Process(pid)


@call("clone3", given(CloneArgs, 1), SIZE)
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


@call("sched_setaffinity", PID, SIZE, Memory("cpu_set", length_in=1))
async def _sched_setaffinity(sysif: SyscallInterface, pid: int, cpusetsize: int, mask: near.Address) -> None:
    """`sched_setaffinity`; pid 0 is the caller."""
    await sysif.syscall(nr.sched_setaffinity, pid, cpusetsize, mask)


@call("sched_getaffinity", PID, SIZE, Memory("cpu_set", after=True))
async def _sched_getaffinity(sysif: SyscallInterface, pid: int, cpusetsize: int, mask: near.Address) -> int:
    """`sched_getaffinity`; returns how many bytes the kernel has stored."""
    return await sysif.syscall(nr.sched_getaffinity, pid, cpusetsize, mask)
