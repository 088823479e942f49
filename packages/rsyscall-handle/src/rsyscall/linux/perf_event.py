"""`<linux/perf_event.h>`: counting what the processor and the kernel do."""

from __future__ import annotations

import enum
import errno
from contextlib import ExitStack
from typing import TYPE_CHECKING, ClassVar

from rsyscall.cstruct import CStruct, constant, i32, known, u16, u32, u64
from rsyscall.handle.arguments import INT, PID, call, flags, given
from rsyscall.handle.buffers import require_size, resized_on
from rsyscall.handle.fd import BaseFileDescriptor, FileDescriptorTask, T_fd
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.near.record import CallRecord

if TYPE_CHECKING:
    from rsyscall.handle.pointer import WrittenPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = [
    "PERF_ATTR",
    "PERF_COUNT_HW",
    "PERF_COUNT_SW",
    "PERF_EVENT_IOC",
    "PERF_FLAG",
    "PERF_TYPE",
    "PerfEventAttr",
    "PerfTask",
]


class PERF_TYPE(enum.IntEnum):
    """`PERF_TYPE_*`: kinds of events; those of devices have other numbers.

    manpage: perf_event_open(2)
    """

    HARDWARE = 0
    SOFTWARE = 1
    TRACEPOINT = 2
    HW_CACHE = 3
    RAW = 4
    BREAKPOINT = 5


class PERF_COUNT_SW(enum.IntEnum):
    """`PERF_COUNT_SW_*`: events of the kernel, for `config`.

    manpage: perf_event_open(2)
    """

    CPU_CLOCK = 0
    TASK_CLOCK = 1
    PAGE_FAULTS = 2
    CONTEXT_SWITCHES = 3
    CPU_MIGRATIONS = 4
    PAGE_FAULTS_MIN = 5
    PAGE_FAULTS_MAJ = 6
    ALIGNMENT_FAULTS = 7
    EMULATION_FAULTS = 8
    DUMMY = 9
    BPF_OUTPUT = 10
    CGROUP_SWITCHES = 11


class PERF_COUNT_HW(enum.IntEnum):
    """`PERF_COUNT_HW_*`: events of the processor, for `config`.

    manpage: perf_event_open(2)
    """

    CPU_CYCLES = 0
    INSTRUCTIONS = 1
    CACHE_REFERENCES = 2
    CACHE_MISSES = 3
    BRANCH_INSTRUCTIONS = 4
    BRANCH_MISSES = 5
    BUS_CYCLES = 6
    STALLED_CYCLES_FRONTEND = 7
    STALLED_CYCLES_BACKEND = 8
    REF_CPU_CYCLES = 9


class PERF_FLAG(enum.IntFlag):
    """`PERF_FLAG_*`: flags of `perf_event_open`.

    manpage: perf_event_open(2)
    """

    NONE = 0
    FD_NO_GROUP = 1 << 0
    FD_OUTPUT = 1 << 1
    PID_CGROUP = 1 << 2
    FD_CLOEXEC = 1 << 3


class PERF_ATTR(enum.IntFlag):
    """The members of `struct perf_event_attr` that have one bit, from the lowest; there are more.

    manpage: perf_event_open(2)
    """

    NONE = 0
    DISABLED = 1 << 0
    INHERIT = 1 << 1
    PINNED = 1 << 2
    EXCLUSIVE = 1 << 3
    EXCLUDE_USER = 1 << 4
    EXCLUDE_KERNEL = 1 << 5
    EXCLUDE_HV = 1 << 6
    EXCLUDE_IDLE = 1 << 7
    MMAP = 1 << 8
    COMM = 1 << 9
    FREQ = 1 << 10
    INHERIT_STAT = 1 << 11
    ENABLE_ON_EXEC = 1 << 12
    TASK = 1 << 13
    WATERMARK = 1 << 14


class PERF_EVENT_IOC(enum.IntEnum):
    """`PERF_EVENT_IOC_*`: requests of `ioctl` without an argument, or with a flag.

    manpage: perf_event_open(2)
    """

    ENABLE = 0x2400
    DISABLE = 0x2401
    REFRESH = 0x2402
    RESET = 0x2403


# The bits have names in C, so their place has none.
_ATTR = """
struct rsyscall_perf_attr {
    __u32 type, size; __u64 config, sample_period, sample_type, read_format, flags;
    __u32 wakeup_events, bp_type;
    __u64 config1, config2, branch_sample_type, sample_regs_user; __u32 sample_stack_user; __s32 clockid;
    __u64 sample_regs_intr; __u32 aux_watermark; __u16 sample_max_stack, reserved_2;
    __u32 aux_sample_size, reserved_3; __u64 sig_data;
};
_Static_assert(
    __builtin_offsetof(struct rsyscall_perf_attr, wakeup_events)
    == __builtin_offsetof(struct perf_event_attr, wakeup_events), "");
_Static_assert(
    __builtin_offsetof(struct rsyscall_perf_attr, sig_data)
    == __builtin_offsetof(struct perf_event_attr, sig_data), "");
"""


class PerfEventAttr(
    CStruct,
    c="struct rsyscall_perf_attr",
    headers=("linux/types.h", "linux/perf_event.h", _ATTR),
    brief=("type", "config", "flags"),
):
    """`struct perf_event_attr`: what to count, and what to record of it.

    Args:
        type, config: the event.
        size: of the structure.
        sample_period: after how many events to record one; or how often in a second, with `PERF_ATTR.FREQ`.
        sample_type: what to record.
        read_format: what `read` gives.
        flags: how to count.

    manpage: perf_event_open(2)
    """

    type: PERF_TYPE | int = u32("type", known(PERF_TYPE), default=PERF_TYPE.SOFTWARE)
    size: int = u32("size", default=128)
    config: int = u64("config", default=0)
    sample_period: int = u64("sample_period", default=0)
    sample_type: int = u64("sample_type", default=0)
    read_format: int = u64("read_format", default=0)
    flags: PERF_ATTR = u64("flags", PERF_ATTR, default=PERF_ATTR.NONE)
    wakeup_events: int = u32("wakeup_events", default=0)
    bp_type: int = u32("bp_type", default=0)
    config1: int = u64("config1", default=0)
    config2: int = u64("config2", default=0)
    branch_sample_type: int = u64("branch_sample_type", default=0)
    sample_regs_user: int = u64("sample_regs_user", default=0)
    sample_stack_user: int = u32("sample_stack_user", default=0)
    clockid: int = i32("clockid", default=0)
    sample_regs_intr: int = u64("sample_regs_intr", default=0)
    aux_watermark: int = u32("aux_watermark", default=0)
    sample_max_stack: int = u16("sample_max_stack", default=0)
    reserved_2: ClassVar[int] = constant(u16("reserved_2"), 0)
    aux_sample_size: int = u32("aux_sample_size", default=0)
    reserved_3: ClassVar[int] = constant(u32("reserved_3"), 0)
    sig_data: int = u64("sig_data", default=0)


class PerfTask(FileDescriptorTask[T_fd]):
    """Counting."""

    async def perf_event_open(
        self,
        attr: WrittenPointer[PerfEventAttr],
        pid: near.Process | int,
        cpu: int,
        group_fd: BaseFileDescriptor | None = None,
        flags: PERF_FLAG = PERF_FLAG.NONE,
    ) -> T_fd:
        """`perf_event_open(attr, pid, cpu, group_fd, flags | PERF_FLAG_FD_CLOEXEC)`: count events.

        Args:
            attr: what to count; not consumed.
            pid: of which process: 0 for this one, -1 for all.
            cpu: on which CPU; -1 for any.
            group_fd: the first of the group that this one joins.
            flags: `PERF_FLAG.FD_CLOEXEC` is always added.

        Returns:
            A new descriptor; `read` gives the count.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EACCES, EPERM (`/proc/sys/kernel/perf_event_paranoid` says who may), EINVAL, ENOENT,
                EOPNOTSUPP, ESRCH, E2BIG (the kernel does not know structures of this size; consumes `attr`);
                `filename` is the attributes.

        manpage: perf_event_open(2)
        """
        check_pointers(attr)
        require_size(attr, max(PerfEventAttr.sizeof(), attr.value.size))
        record = CallRecord(self.fd_table)
        with ExitStack() as stack:
            stack.enter_context(resized_on(errno.E2BIG, attr))
            attr_addr = stack.enter_context(attr.borrow(self))
            group_fd_near = None if group_fd is None else stack.enter_context(group_fd.borrow(self))
            with naming(attr.value):
                fd = await _perf_event_open(
                    self.sysif, record, attr_addr, pid, cpu, group_fd_near, flags | PERF_FLAG.FD_CLOEXEC
                )
        return self._adopt(fd, record)


@call("perf_event_open", given(PerfEventAttr), PID, INT, INT, flags(PERF_FLAG, "PERF_FLAG_"))
async def _perf_event_open(
    sysif: SyscallInterface,
    record: CallRecord,
    attr: near.Address,
    pid: near.Process | int,
    cpu: int,
    group_fd: near.FileDescriptor | None,
    flags: PERF_FLAG,
) -> near.FileDescriptor:
    """The raw call."""
    return near.FileDescriptor(
        await sysif.recorded_syscall(
            record, nr.perf_event_open, attr, pid, cpu, -1 if group_fd is None else group_fd, flags
        )
    )
