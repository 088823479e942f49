"""Doing without calls that are denied.

A seccomp filter, such as those of containers, answers calls that it denies with EPERM, ENOSYS or EACCES; a
kernel without the call says ENOSYS. The kernel itself also answers EPERM or EACCES to a process that lacks a
privilege. So if a call that we make for ourselves fails with any of them, we make another one that does the
same; if that fails too, its error counts.

docs/denied-calls.md lists the calls and their replacements.
"""

from __future__ import annotations

import errno
import os
import signal
from typing import TYPE_CHECKING

from rsyscall.native import read_memory
from rsyscall.near import nr
from rsyscall.sys.wait import ChildState, W

if TYPE_CHECKING:
    from rsyscall.near import SyscallInterface

__all__ = ["any_answer", "fdinfo", "is_denied", "pid_behind", "reap", "reap_by_pidfd", "send_signal", "wait4"]

_DENIED = frozenset({errno.EPERM, errno.ENOSYS, errno.EACCES})
_WAIT_ALL = int(W.ALL)
# What waitid takes and wait4 does not: it always reports exits.
_WAITID_ONLY = int(W.EXITED)


def is_denied(error: OSError) -> bool:
    """Whether this may be the answer of a filter, or of a kernel that has no such call."""
    return error.errno in _DENIED


async def any_answer(sysif: SyscallInterface) -> None:
    """Wait until the process has made all calls that were sent before.

    Raises:
        SyscallError: the process has gone.
    """
    try:
        await sysif.syscall(nr.getpid)
    except OSError:
        pass  # that is an answer, too


def pid_behind(pidfd: int) -> int:
    """The process id that a pidfd stands for, in the namespace of our /proc.

    Returns:
        -1 when the process has been reaped; 0 when it is unknown.

    manpage: pidfd_open(2)
    """
    return next(iter(fdinfo(pidfd, b"Pid:")), 0)


def fdinfo(pidfd: int, field: bytes) -> list[int]:
    """The numbers in a field of /proc/self/fdinfo for a pidfd; none if we cannot read it.

    manpage: proc_pid_fdinfo(5)
    """
    try:
        # Not `open`: it is gone when the interpreter shuts down, and destructors still call this.
        file = os.open(f"/proc/self/fdinfo/{pidfd}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            lines = os.read(file, 4096).splitlines()
        finally:
            os.close(file)
        return next((list(map(int, line.split()[1:])) for line in lines if line.startswith(field)), [])
    except (OSError, ValueError):
        return []


def send_signal(pidfd: int, sig: int) -> None:
    """Send a signal to the process of a pidfd.

    Where pidfd_send_signal is denied, it is sent by number, which is safe if only we reap the process.

    Raises:
        ProcessLookupError: it has been reaped.
        OSError: as kill(2).

    manpage: pidfd_send_signal(2), kill(2)
    """
    try:
        signal.pidfd_send_signal(pidfd, sig)
    except OSError as error:
        pid = pid_behind(pidfd) if is_denied(error) else 0
        if pid == -1:
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH)) from None
        if not pid:
            raise
        os.kill(pid, sig)


def reap(pid: int, *, wait: bool) -> None:
    """Reap a child of our own.

    Args:
        pid: of the child.
        wait: until it has exited; otherwise it is reaped only if it has.

    Raises:
        ChildProcessError: it has been reaped already, or is not a child of ours.

    manpage: waitid(2), wait4(2)
    """
    flags = _WAIT_ALL if wait else _WAIT_ALL | os.WNOHANG
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | flags)
    except ChildProcessError:
        raise
    except OSError as error:
        if not is_denied(error):
            raise
        os.waitpid(pid, flags)


def reap_by_pidfd(pidfd: int) -> None:
    """Reap a child of our own if it has exited. Errors as for `reap`."""
    try:
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | _WAIT_ALL)
    except ChildProcessError:
        raise
    except OSError as error:
        pid = pid_behind(pidfd)
        if not is_denied(error) or pid <= 0:
            raise
        os.waitpid(pid, os.WNOHANG | _WAIT_ALL)


async def wait4(sysif: SyscallInterface, pid: int, address: int, options: int) -> ChildState | None:
    """The new state of a child of a process that shares our memory, if it has changed.

    Args:
        sysif: of the process whose child it is.
        pid: of the child, as that process knows it.
        address: of four bytes for the status.
        options: as for waitid(2); NOHANG among them.

    manpage: wait4(2)
    """
    if not await sysif.syscall(nr.wait4, pid, address, options & ~_WAITID_ONLY, 0):
        return None
    return ChildState.make_from_wait_status(pid, int.from_bytes(read_memory(address, 4), "little"))
