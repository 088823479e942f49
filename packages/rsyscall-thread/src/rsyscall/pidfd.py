"""A pidfd of a child in our own table."""

from __future__ import annotations

import signal

from rsyscall.denied import pid_behind, reap_by_pidfd, send_signal
from rsyscall.native.fast import OwnedPidfd

__all__ = ["Pidfd"]


class Pidfd(OwnedPidfd):
    """A pidfd in our own table. It is not a handle: only code that watches children uses it."""

    __slots__ = ()

    def kill(self) -> bool:
        """Send SIGKILL; returns whether that was possible. manpage: pidfd_send_signal(2)."""
        try:
            send_signal(self.number, signal.SIGKILL)
        except OSError:
            return False  # dead already, or a process that we may not kill
        return True

    def reap(self) -> None:
        """Reap the child if it has exited; manpage: waitid(2)."""
        if self.number >= 0:
            try:
                reap_by_pidfd(self.number)
            except ChildProcessError:
                pass  # other code has reaped it; or we are a copy of the program

    def pid(self) -> int:
        """The process id in the namespace of our /proc; 0 if it is unknown."""
        return max(pid_behind(self.number), 0)
