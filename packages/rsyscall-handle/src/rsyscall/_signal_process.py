"""The calls of `<signal.h>` that send a signal to a thread, or a number with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsyscall._signal_info import QueuedSiginfo
from rsyscall.handle.arguments import PID, SIGNAL, call, given
from rsyscall.handle.base_process import BaseProcess
from rsyscall.handle.buffers import require_size
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming

if TYPE_CHECKING:
    from rsyscall.handle.pointer import WrittenPointer
    from rsyscall.near.sysif import SyscallInterface
    from rsyscall.signal import SIG

__all__ = ["SignalProcess"]


class SignalProcess(BaseProcess):
    """Sending signals to threads, and numbers with them."""

    async def tgkill(self, tid: near.Process, sig: SIG | int) -> None:
        """`tgkill(pid, tid, sig)`: send a signal to one thread of the process.

        Args:
            tid: the thread, by its number in the pid namespace of the task.

        Raises:
            OSError: ESRCH (no such thread in the process), EPERM, EINVAL, EAGAIN; `filename` is (process,
                thread).

        manpage: tgkill(2)
        """
        with self._using(), naming((self.near, tid)):
            await _tgkill(self.task.sysif, self.near, tid, sig)

    async def tkill(self, sig: SIG | int) -> None:
        """`tkill(pid, sig)`: send a signal to the first thread of the process, and to no other one.

        Raises:
            OSError: ESRCH, EPERM, EINVAL, EAGAIN; `filename` is the process.

        manpage: tkill(2)
        """
        with self._using(), naming(self.near):
            await _tkill(self.task.sysif, self.near, sig)

    async def rt_sigqueueinfo(self, sig: SIG | int, info: WrittenPointer[QueuedSiginfo]) -> None:
        """`rt_sigqueueinfo(pid, sig, info)`: send a signal, and a number with it.

        Args:
            info: what the process gets with the signal.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EPERM (from another process only negative codes but `SI.TKILL`), EAGAIN (too many are
                queued), EINVAL, ESRCH; `filename` is the process.

        manpage: rt_sigqueueinfo(2)
        """
        check_pointers(info)
        require_size(info, QueuedSiginfo.sizeof())
        with self._using(), info.borrow(self.task) as info_addr, naming(self.near):
            await _rt_sigqueueinfo(self.task.sysif, self.near, sig, info_addr)

    async def rt_tgsigqueueinfo(
        self, tid: near.Process, sig: SIG | int, info: WrittenPointer[QueuedSiginfo]
    ) -> None:
        """`rt_tgsigqueueinfo(pid, tid, sig, info)`: send a signal to one thread, and a number with it.

        Args:
            tid: the thread, by its number in the pid namespace of the task.
            info: what the thread gets with the signal.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EPERM (from another process only negative codes but `SI.TKILL`), EAGAIN (too many are
                queued), EINVAL, ESRCH; `filename` is (process, thread).

        manpage: rt_sigqueueinfo(2)
        """
        check_pointers(info)
        require_size(info, QueuedSiginfo.sizeof())
        with self._using(), info.borrow(self.task) as info_addr, naming((self.near, tid)):
            await _rt_tgsigqueueinfo(self.task.sysif, self.near, tid, sig, info_addr)


@call("tgkill", PID, PID, SIGNAL)
async def _tgkill(sysif: SyscallInterface, pid: near.Process, tid: near.Process, sig: SIG | int) -> None:
    """The raw call."""
    await sysif.syscall(nr.tgkill, pid, tid, sig)


@call("tkill", PID, SIGNAL)
async def _tkill(sysif: SyscallInterface, tid: near.Process, sig: SIG | int) -> None:
    """The raw call."""
    await sysif.syscall(nr.tkill, tid, sig)


@call("rt_sigqueueinfo", PID, SIGNAL, given(QueuedSiginfo))
async def _rt_sigqueueinfo(
    sysif: SyscallInterface, pid: near.Process, sig: SIG | int, info: near.Address
) -> None:
    """The raw call."""
    await sysif.syscall(nr.rt_sigqueueinfo, pid, sig, info)


@call("rt_tgsigqueueinfo", PID, PID, SIGNAL, given(QueuedSiginfo))
async def _rt_tgsigqueueinfo(
    sysif: SyscallInterface, pid: near.Process, tid: near.Process, sig: SIG | int, info: near.Address
) -> None:
    """The raw call."""
    await sysif.syscall(nr.rt_tgsigqueueinfo, pid, tid, sig, info)
