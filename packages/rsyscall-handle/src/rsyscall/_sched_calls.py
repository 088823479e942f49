"""The policies of `<sched.h>`, of a task and of other processes; the CPU that a task runs on."""

from __future__ import annotations

import errno
from contextlib import ExitStack
from typing import TYPE_CHECKING

import rsyscall.far
from rsyscall._sched_policy import SCHED, SchedAttr, SchedParam
from rsyscall.handle.arguments import NUMBER, OUT_INT, PID, SIZE, call, choice, given, out
from rsyscall.handle.base_process import BaseProcess
from rsyscall.handle.buffers import require_size, require_size_if_given, resized_on
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.sched import CpuSet, _sched_getaffinity, _sched_setaffinity
from rsyscall.struct import Int32
from rsyscall.time import Timespec

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer, WrittenPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["SchedPolicyTask", "SchedProcess"]


# Of `struct sched_attr` in Linux 3.14; the kernel takes 0 for it.
_FIRST_SIZE = 48


def _size_in(attr: WrittenPointer[SchedAttr] | WrittenPointer[bytes]) -> int:
    """How many bytes the kernel will read, as the structure itself says."""
    value = attr.value
    said = value.size if isinstance(value, SchedAttr) else int.from_bytes(value[:4], "little")
    return max(said, _FIRST_SIZE)


class SchedPolicyTask(rsyscall.far.Task):
    """How the kernel chooses when this process runs."""

    async def sched_setscheduler(self, policy: SCHED | int, param: WrittenPointer[SchedParam]) -> None:
        """`sched_setscheduler(0, policy, param)`: set the policy of this process.

        Args:
            policy: may be or-ed with `SCHED_RESET_ON_FORK`.
            param: the priority.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EPERM (needs CAP_SYS_NICE, or RLIMIT_RTPRIO), EINVAL, ESRCH; `filename` is the policy,
                with the process where that is another one.

        manpage: sched_setscheduler(2)
        """
        check_pointers(param)
        require_size(param, SchedParam.sizeof())
        with param.borrow(self) as param_addr, naming(policy):
            await _sched_setscheduler(self.sysif, None, policy, param_addr)

    async def sched_getscheduler(self) -> int:
        """`sched_getscheduler(0)`: the policy of this process, perhaps with `SCHED_RESET_ON_FORK`.

        manpage: sched_setscheduler(2)
        """
        with naming("sched_getscheduler"):
            return await _sched_getscheduler(self.sysif, None)

    async def sched_setparam(self, param: WrittenPointer[SchedParam]) -> None:
        """`sched_setparam(0, param)`: set the priority of this process.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EPERM (needs CAP_SYS_NICE, or RLIMIT_RTPRIO), EINVAL, ESRCH; `filename` is the priority,
                with the process where that is another one.

        manpage: sched_setparam(2)
        """
        check_pointers(param)
        require_size(param, SchedParam.sizeof())
        with param.borrow(self) as param_addr, naming(param.value):
            await _sched_setparam(self.sysif, None, param_addr)

    async def sched_getparam(self, param: Pointer[SchedParam]) -> Pointer[SchedParam]:
        """`sched_getparam(0, param)`: the priority of this process.

        Args:
            param: not consumed; the same memory is returned.

        Raises:
            BufferTooSmallError: the memory is too small.

        manpage: sched_setparam(2)
        """
        check_pointers(param)
        require_size(param, SchedParam.sizeof())
        with param.borrow(self) as param_addr, naming("sched_getparam"):
            await _sched_getparam(self.sysif, None, param_addr)
        return param

    async def sched_rr_get_interval(self, tp: Pointer[Timespec]) -> Pointer[Timespec]:
        """`sched_rr_get_interval(0, tp)`: how long at once this process may run, with `SCHED.RR` and the
        usual policies.

        Args:
            tp: not consumed; the same memory is returned.

        Raises:
            BufferTooSmallError: the memory is too small.

        manpage: sched_rr_get_interval(2)
        """
        check_pointers(tp)
        require_size(tp, Timespec.sizeof())
        with tp.borrow(self) as tp_addr, naming("sched_rr_get_interval"):
            await _sched_rr_get_interval(self.sysif, None, tp_addr)
        return tp

    async def sched_setattr(self, attr: WrittenPointer[SchedAttr] | WrittenPointer[bytes]) -> None:
        """`sched_setattr(0, attr, 0)`: set the policy of this process and all that belongs to it.

        Args:
            attr: not consumed. As bytes it may have more members, or fewer, than ours: the first 4 bytes are
                its size, 48 or more.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EPERM (needs CAP_SYS_NICE, or RLIMIT_RTPRIO or RLIMIT_NICE), EINVAL, EBUSY, ESRCH,
                E2BIG (the kernel does not know structures of this size; consumes `attr`); `filename` is the
                attributes, with the process where that is another one.

        manpage: sched_setattr(2)
        """
        check_pointers(attr)
        require_size(attr, _size_in(attr))
        with resized_on(errno.E2BIG, attr), attr.borrow(self) as attr_addr, naming(attr.value):
            await _sched_setattr(self.sysif, None, attr_addr)

    async def sched_getattr(self, attr: Pointer[SchedAttr]) -> Pointer[SchedAttr]:
        """`sched_getattr(0, attr, size, 0)`: the policy of this process and all that belongs to it.

        Args:
            attr: not consumed; the same memory is returned.

        Raises:
            BufferTooSmallError: the memory is too small.

        manpage: sched_setattr(2)
        """
        check_pointers(attr)
        require_size(attr, SchedAttr.sizeof())
        with attr.borrow(self) as attr_addr, naming("sched_getattr"):
            await _sched_getattr(self.sysif, None, attr_addr, attr.size())
        return attr

    async def sched_yield(self) -> None:
        """`sched_yield()`: let others run first.

        manpage: sched_yield(2)
        """
        with naming("sched_yield"):
            await _sched_yield(self.sysif)

    async def sched_get_priority_max(self, policy: SCHED | int) -> int:
        """`sched_get_priority_max(policy)`: the highest priority of a policy.

        Raises:
            OSError: EINVAL (no such policy); `filename` is the policy.

        manpage: sched_get_priority_max(2)
        """
        with naming(policy):
            return await _sched_get_priority_max(self.sysif, policy)

    async def sched_get_priority_min(self, policy: SCHED | int) -> int:
        """`sched_get_priority_min(policy)`: the lowest priority of a policy.

        Raises:
            OSError: EINVAL (no such policy); `filename` is the policy.

        manpage: sched_get_priority_max(2)
        """
        with naming(policy):
            return await _sched_get_priority_min(self.sysif, policy)

    async def getcpu(self, cpu: Pointer[Int32] | None, node: Pointer[Int32] | None = None) -> None:
        """`getcpu(cpu, node)`: on which CPU this process runs, and on which NUMA node.

        Args:
            cpu, node: where to put them; not consumed.

        Raises:
            BufferTooSmallError: the memory is too small.

        manpage: getcpu(2)
        """
        require_size_if_given(cpu, Int32.sizeof())
        require_size_if_given(node, Int32.sizeof())
        with ExitStack() as stack:
            cpu_addr = self._borrow_optional(stack, cpu)
            node_addr = self._borrow_optional(stack, node)
            with naming((cpu, node)):
                await _getcpu(self.sysif, cpu_addr, node_addr)


class SchedProcess(BaseProcess):
    """How the kernel chooses when the process runs."""

    async def sched_setscheduler(self, policy: SCHED | int, param: WrittenPointer[SchedParam]) -> None:
        """`sched_setscheduler(pid, policy, param)`: set the policy of the process.

        Args:
            policy: may be or-ed with `SCHED_RESET_ON_FORK`.
            param: the priority.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EPERM (needs CAP_SYS_NICE, or RLIMIT_RTPRIO), EINVAL, ESRCH; `filename` is the policy,
                with the process where that is another one.

        manpage: sched_setscheduler(2)
        """
        check_pointers(param)
        require_size(param, SchedParam.sizeof())
        with self._using(), param.borrow(self.task) as param_addr, naming((self.near, policy)):
            await _sched_setscheduler(self.task.sysif, self.near, policy, param_addr)

    async def sched_getscheduler(self) -> int:
        """`sched_getscheduler(pid)`: the policy of the process, perhaps with `SCHED_RESET_ON_FORK`.

        manpage: sched_setscheduler(2)
        """
        with self._using(), naming(self.near):
            return await _sched_getscheduler(self.task.sysif, self.near)

    async def sched_setparam(self, param: WrittenPointer[SchedParam]) -> None:
        """`sched_setparam(pid, param)`: set the priority of the process.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EPERM (needs CAP_SYS_NICE, or RLIMIT_RTPRIO), EINVAL, ESRCH; `filename` is the priority,
                with the process where that is another one.

        manpage: sched_setparam(2)
        """
        check_pointers(param)
        require_size(param, SchedParam.sizeof())
        with self._using(), param.borrow(self.task) as param_addr, naming((self.near, param.value)):
            await _sched_setparam(self.task.sysif, self.near, param_addr)

    async def sched_getparam(self, param: Pointer[SchedParam]) -> Pointer[SchedParam]:
        """`sched_getparam(pid, param)`: the priority of the process.

        Args:
            param: not consumed; the same memory is returned.

        Raises:
            BufferTooSmallError: the memory is too small.

        manpage: sched_setparam(2)
        """
        check_pointers(param)
        require_size(param, SchedParam.sizeof())
        with self._using(), param.borrow(self.task) as param_addr, naming(self.near):
            await _sched_getparam(self.task.sysif, self.near, param_addr)
        return param

    async def sched_rr_get_interval(self, tp: Pointer[Timespec]) -> Pointer[Timespec]:
        """`sched_rr_get_interval(pid, tp)`: how long at once the process may run, with `SCHED.RR` and the
        usual policies.

        Args:
            tp: not consumed; the same memory is returned.

        Raises:
            BufferTooSmallError: the memory is too small.

        manpage: sched_rr_get_interval(2)
        """
        check_pointers(tp)
        require_size(tp, Timespec.sizeof())
        with self._using(), tp.borrow(self.task) as tp_addr, naming(self.near):
            await _sched_rr_get_interval(self.task.sysif, self.near, tp_addr)
        return tp

    async def sched_setattr(self, attr: WrittenPointer[SchedAttr] | WrittenPointer[bytes]) -> None:
        """`sched_setattr(pid, attr, 0)`: set the policy of the process and all that belongs to it.

        Args:
            attr: as for `Task.sched_setattr`.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EPERM (needs CAP_SYS_NICE, or RLIMIT_RTPRIO or RLIMIT_NICE), EINVAL, EBUSY, ESRCH,
                E2BIG (the kernel does not know structures of this size; consumes `attr`); `filename` is the
                attributes, with the process where that is another one.

        manpage: sched_setattr(2)
        """
        check_pointers(attr)
        require_size(attr, _size_in(attr))
        with (
            self._using(),
            resized_on(errno.E2BIG, attr),
            attr.borrow(self.task) as attr_addr,
            naming((self.near, attr.value)),
        ):
            await _sched_setattr(self.task.sysif, self.near, attr_addr)

    async def sched_getattr(self, attr: Pointer[SchedAttr]) -> Pointer[SchedAttr]:
        """`sched_getattr(pid, attr, size, 0)`: the policy of the process and all that belongs to it.

        Args:
            attr: not consumed; the same memory is returned.

        Raises:
            BufferTooSmallError: the memory is too small.

        manpage: sched_setattr(2)
        """
        check_pointers(attr)
        require_size(attr, SchedAttr.sizeof())
        with self._using(), attr.borrow(self.task) as attr_addr, naming(self.near):
            await _sched_getattr(self.task.sysif, self.near, attr_addr, attr.size())
        return attr

    async def sched_setaffinity(self, mask: WrittenPointer[CpuSet]) -> None:
        """`sched_setaffinity(pid, size, mask)`: set which CPUs the process may run on.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EINVAL (none of the CPUs exists and is allowed), EPERM, ESRCH; `filename` is (process,
                CPUs).

        manpage: sched_setaffinity(2)
        """
        check_pointers(mask)
        require_size(mask, CpuSet.sizeof())
        with self._using(), mask.borrow(self.task) as mask_addr, naming((self.near, mask.value)):
            await _sched_setaffinity(self.task.sysif, self.near.id, mask.size(), mask_addr)

    async def sched_getaffinity(self, mask: Pointer[CpuSet]) -> Pointer[CpuSet]:
        """`sched_getaffinity(pid, size, mask)`: which CPUs the process may run on.

        Args:
            mask: enough for every CPU of the machine; not consumed; the same memory is returned.

        Raises:
            OSError: EINVAL (not enough), ESRCH; `filename` is the process.

        manpage: sched_setaffinity(2)
        """
        check_pointers(mask)
        # The kernel fills in as many bytes as it has CPUs for, and leaves the others as they are.
        await mask.transport.write(mask, bytes(mask.size()))
        with self._using(), mask.borrow(self.task) as mask_addr, naming(self.near):
            await _sched_getaffinity(self.task.sysif, self.near.id, mask.size(), mask_addr)
        return mask


_POLICY = choice(SCHED, "SCHED_")


@call("sched_yield")
async def _sched_yield(sysif: SyscallInterface) -> None:
    """The raw call."""
    await sysif.syscall(nr.sched_yield)


@call("sched_get_priority_max", _POLICY)
async def _sched_get_priority_max(sysif: SyscallInterface, policy: SCHED | int) -> int:
    """The raw call."""
    return await sysif.syscall(nr.sched_get_priority_max, policy)


@call("sched_get_priority_min", _POLICY)
async def _sched_get_priority_min(sysif: SyscallInterface, policy: SCHED | int) -> int:
    """The raw call."""
    return await sysif.syscall(nr.sched_get_priority_min, policy)


@call("getcpu", OUT_INT, OUT_INT)
async def _getcpu(sysif: SyscallInterface, cpu: near.Address | None, node: near.Address | None) -> None:
    """The raw call."""
    await sysif.syscall(nr.getcpu, cpu or 0, node or 0)


@call("sched_setscheduler", PID, _POLICY, given(SchedParam))
async def _sched_setscheduler(
    sysif: SyscallInterface, pid: near.Process | None, policy: SCHED | int, param: near.Address
) -> None:
    """The raw call; None for `pid` is the caller."""
    await sysif.syscall(nr.sched_setscheduler, 0 if pid is None else pid, policy, param)


@call("sched_getscheduler", PID)
async def _sched_getscheduler(sysif: SyscallInterface, pid: near.Process | None) -> int:
    """The raw call; None for `pid` is the caller."""
    return await sysif.syscall(nr.sched_getscheduler, 0 if pid is None else pid)


@call("sched_setparam", PID, given(SchedParam))
async def _sched_setparam(sysif: SyscallInterface, pid: near.Process | None, param: near.Address) -> None:
    """The raw call; None for `pid` is the caller."""
    await sysif.syscall(nr.sched_setparam, 0 if pid is None else pid, param)


@call("sched_getparam", PID, out(SchedParam))
async def _sched_getparam(sysif: SyscallInterface, pid: near.Process | None, param: near.Address) -> None:
    """The raw call; None for `pid` is the caller."""
    await sysif.syscall(nr.sched_getparam, 0 if pid is None else pid, param)


@call("sched_rr_get_interval", PID, out(Timespec))
async def _sched_rr_get_interval(sysif: SyscallInterface, pid: near.Process | None, tp: near.Address) -> None:
    """The raw call; None for `pid` is the caller."""
    await sysif.syscall(nr.sched_rr_get_interval, 0 if pid is None else pid, tp)


@call("sched_setattr", PID, given(SchedAttr), NUMBER)
async def _sched_setattr(sysif: SyscallInterface, pid: near.Process | None, attr: near.Address) -> None:
    """The raw call; None for `pid` is the caller."""
    await sysif.syscall(nr.sched_setattr, 0 if pid is None else pid, attr, 0)


@call("sched_getattr", PID, out(SchedAttr), SIZE, NUMBER)
async def _sched_getattr(
    sysif: SyscallInterface, pid: near.Process | None, attr: near.Address, size: int
) -> None:
    """The raw call; None for `pid` is the caller."""
    await sysif.syscall(nr.sched_getattr, 0 if pid is None else pid, attr, size, 0)
