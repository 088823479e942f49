"""`<sys/signalfd.h>`: taking signals by reading a file descriptor.

The signals have to be blocked, or they are delivered in the ordinary way.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from rsyscall.cstruct import CStruct, i32, u16, u32, u64
from rsyscall.handle._later import late
from rsyscall.handle.arguments import FDNUM, SIZE, call, flags, given
from rsyscall.handle.buffers import require_size
from rsyscall.handle.fd import BaseFileDescriptor, FileDescriptorTask, T_fd
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.near.record import CallRecord
from rsyscall.signal import SIG, Sigset, signal_number

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["SFD", "SignalFileDescriptor", "SignalfdSiginfo", "SignalfdTask"]

# The size of the kernel's sigset_t, which is not that of the C library.
_SIGSET_SIZE = 8


class SFD(enum.IntFlag):
    """`SFD_*`: flags of `signalfd`.

    manpage: signalfd(2)
    """

    NONE = 0
    NONBLOCK = 0x800
    CLOEXEC = 0x80000


class SignalfdSiginfo(CStruct, c="struct signalfd_siginfo", headers=("linux/signalfd.h",), size=128):
    """`struct signalfd_siginfo`: a signal as it is read.

    Only the signal counts when two are compared. What the other members mean, and which of them mean
    something, depends on the signal and on `code`.

    Args:
        signo: the signal; a plain number for realtime signals.
        errno: not used by Linux.
        code: why it was sent: 0 for `kill`, a `CLD` for SIGCHLD.
        pid: sender; for SIGCHLD, the child.
        uid: real user of the sender.
        fd: for SIGIO.
        tid: id of a timer.
        band: events, for SIGIO.
        overrun: how often a timer expired in addition.
        trapno: of hardware exceptions.
        status: exit status or signal, for SIGCHLD.
        int_value: integer given to sigqueue(3).
        ptr: pointer given to sigqueue(3).
        utime: user time that a child has used, in clock ticks.
        stime: system time that a child has used, in clock ticks.
        addr: address that a hardware exception is about.
        addr_lsb: least significant bit of that address, for SIGBUS.
        syscall: number of the call that seccomp refused, for SIGSYS.
        call_addr: address of the instruction that made it.
        arch: architecture (`AUDIT_ARCH_*`) of that call.

    manpage: signalfd(2)
    """

    # Realtime signals have no names of their own, and stay numbers.
    signo: SIG = u32("ssi_signo", signal_number)
    errno: int = i32("ssi_errno", default=0, compare=False)
    code: int = i32("ssi_code", default=0, compare=False)
    pid: int = u32("ssi_pid", default=0, compare=False)
    uid: int = u32("ssi_uid", default=0, compare=False)
    fd: int = i32("ssi_fd", default=0, compare=False)
    tid: int = u32("ssi_tid", default=0, compare=False)
    band: int = u32("ssi_band", default=0, compare=False)
    overrun: int = u32("ssi_overrun", default=0, compare=False)
    trapno: int = u32("ssi_trapno", default=0, compare=False)
    status: int = i32("ssi_status", default=0, compare=False)
    int_value: int = i32("ssi_int", default=0, compare=False)
    ptr: int = u64("ssi_ptr", default=0, compare=False)
    utime: int = u64("ssi_utime", default=0, compare=False)
    stime: int = u64("ssi_stime", default=0, compare=False)
    addr: int = u64("ssi_addr", default=0, compare=False)
    addr_lsb: int = u16("ssi_addr_lsb", default=0, compare=False)
    syscall: int = i32("ssi_syscall", default=0, compare=False)
    call_addr: int = u64("ssi_call_addr", default=0, compare=False)
    arch: int = u32("ssi_arch", default=0, compare=False)


@late
class SignalFileDescriptor(BaseFileDescriptor):
    """Calls on a signalfd."""

    __slots__ = ()

    async def signalfd(self, mask: Pointer[Sigset], flags: SFD = SFD.NONE) -> None:
        """`signalfd4(fd, mask, 8, flags)`: change which signals this file descriptor gives out.

        Args:
            mask: the signals, instead of those until now.
            flags: checked by the kernel and otherwise ignored: the flags stay what they were.

        Raises:
            OSError: EINVAL (not a signalfd).

        manpage: signalfd(2)
        """
        self._validate()
        require_size(mask, _SIGSET_SIZE)
        with mask.borrow(self.task) as mask_near, naming(self):
            # It makes none.
            await _signalfd(self.task.sysif, CallRecord(), self.near, mask_near, _SIGSET_SIZE, flags)


@late
class SignalfdTask(FileDescriptorTask[T_fd]):
    """Creating signalfds."""

    async def signalfd(self, mask: Pointer[Sigset], flags: SFD = SFD.NONE) -> T_fd:
        """`signalfd4(-1, mask, 8, flags | SFD_CLOEXEC)`: make a file descriptor to read signals from.

        What is read are the signals of the process that reads, not of the one that made the file descriptor.

        Args:
            mask: the signals; they should be blocked in the process that reads.
            flags: `SFD.CLOEXEC` is always added.

        Returns:
            A new file descriptor, to be read with `SignalfdSiginfo`.

        Raises:
            OSError: EMFILE, ENFILE, ENOMEM, ENODEV.

        manpage: signalfd(2)
        """
        require_size(mask, _SIGSET_SIZE)
        record = CallRecord(self.fd_table)
        with mask.borrow(self) as mask_near, naming(mask):
            fd = await _signalfd(self.sysif, record, None, mask_near, _SIGSET_SIZE, flags | SFD.CLOEXEC)
        return self._adopt(fd, record)


@call("signalfd4", FDNUM, given(Sigset), SIZE, flags(SFD, "SFD_"))
async def _signalfd(
    sysif: SyscallInterface,
    record: CallRecord,
    fd: near.FileDescriptor | None,
    mask: near.Address,
    sizemask: int,
    flags: SFD,
) -> near.FileDescriptor:
    """The raw call; without `fd` it makes a new one, which `record` owns."""
    return near.FileDescriptor(
        await sysif.recorded_syscall(record, nr.signalfd4, -1 if fd is None else fd, mask, sizemask, flags)
    )
