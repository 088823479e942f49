"""The dumpable flag of our memory, while children that share it change who they are.

When a process changes its user or group, the kernel makes its memory *undumpable*: other processes of the new
user must not trace it or read what it still has in memory. A child that shares our memory does that to us.
That is just as well: whoever may trace the child may write to our memory. But it also gives `/proc/<our pid>`
to root and keeps others from tracing us, so it must not stay.

The flag goes back to what it was when all such children have left our memory, and not an instant earlier. The
word that the kernel clears for a process that leaves says so a moment too soon: the process has still to let
go of the memory. So we ask once more, by kcmp(2), which waits for an exec under way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from rsyscall.background import RunLoop, run_now
from rsyscall.near import nr
from rsyscall.sys.prctl import PR

if TYPE_CHECKING:
    from rsyscall.handle import Task
    from rsyscall.native import Ring

__all__ = ["DumpableGuard"]

_KCMP_VM = 1
_FIRST_PAUSE = 0.001
_LAST_PAUSE = 1.0


def _memory_size(pid: int) -> int:
    with open(f"/proc/{pid}/stat", "rb") as stat:
        # The second field, which others choose, ends with the last parenthesis.
        return int(stat.read().rpartition(b")")[2].split()[20])


class DumpableGuard:
    """Knows who shares our memory, and gives the flag back.

    Args:
        task: the local task.
        pid: our process id.
    """

    def __init__(self, task: Task, pid: int) -> None:
        self._task = task
        self._pid = pid
        # Where a child could not ask what the flag was, it was this.
        self._original = self._get()
        self._sharing: set[Ring] = set()
        # They have changed credentials, or may, in a way that their ring does not know of.
        self._announced: set[Ring] = set()
        # What the flag was before each change of credentials, in order; empty when there is nothing to undo.
        self._before: list[int] = []
        # They had changed credentials and are leaving.
        self._leaving: list[Ring] = []
        self._loop = RunLoop(self._watch, "rsyscall: giving back the dumpable flag")

    def started(self, ring: Ring, parent: Ring | None = None) -> None:
        """A process has been made that shares our memory.

        Args:
            ring: of the process.
            parent: of the one that cloned it, whose credentials it has; None if that was ourselves.
        """
        self._sharing.add(ring)
        if parent is not None and (parent in self._announced or parent.may_change_credentials):
            self._announced.add(ring)

    def announce(self, ring: Ring) -> None:
        """A process is about to be sent a call that may change its credentials, other than by its ring."""
        if ring in self._sharing:
            self._announced.add(ring)

    def left(self, ring: Ring) -> None:
        """The kernel has cleared the word of a process; may be told more than once."""
        if self._forget(ring):
            self._leaving.append(ring)
        if self._before:
            self._restore()

    def _forget(self, ring: Ring) -> bool:
        """A process is leaving; returns whether it may have had other credentials than we."""
        if ring not in self._sharing:
            return False
        self._sharing.discard(ring)
        before = ring.dumpable_before
        if before is not None:
            self._before.append(before if before >= 0 else self._original)
        if ring in self._announced:
            self._announced.discard(ring)
            return True
        return before is not None

    def exited(self, ring: Ring) -> None:
        """A process has exited; may be told before, after or instead of `left`."""
        ring.exited()
        self._forget(ring)
        if ring in self._leaving:
            self._leaving.remove(ring)
        if self._before:
            self._restore()

    def _restore(self) -> None:
        """Set the flag if nobody is left of those because of whom it was changed.

        manpage: prctl(2) (PR_SET_DUMPABLE)
        """
        self._leaving = [ring for ring in self._leaving if not self._has_let_go(ring)]
        if self._leaving:
            if trio.lowlevel.in_trio_run():
                self._loop.ensure_running()
            return
        # Nothing can be sent to them between this and the call.
        if self._announced or any(ring.may_change_credentials for ring in self._sharing):
            return
        values, self._before = self._before, []
        now = self._get()
        for value in values:
            # The kernel set it to what /proc/sys/fs/suid_dumpable says, so the other value is ours. 2 cannot
            # be set.
            if value not in (now, 2):
                try:
                    run_now(self._task.sysif.syscall(nr.prctl, PR.SET_DUMPABLE, value))
                except OSError:
                    pass  # a filter denies it: there is no other way
                return

    def _get(self) -> int:
        """The flag as it is.

        manpage: prctl(2) (PR_GET_DUMPABLE)
        """
        try:
            return run_now(self._task.sysif.syscall(nr.prctl, PR.GET_DUMPABLE))
        except OSError:  # a filter denies it; this is how programs are
            return 1

    def _has_let_go(self, ring: Ring) -> bool:
        """Whether a process whose word is cleared has other memory than we, or none.

        manpage: kcmp(2)
        """
        if not ring.pid:
            return False  # nobody can tell before it exits
        try:
            return run_now(self._task.sysif.syscall(nr.kcmp, self._pid, ring.pid, _KCMP_VM, 0, 0)) != 0
        except ProcessLookupError:
            return True
        except OSError:
            # A filter, such as those of containers; a kernel that was built without; a program with more
            # privileges than we have; or our memory, undumpable, protects that process from us too.
            return self._has_other_size(ring.pid)

    def _has_other_size(self, pid: int) -> bool:
        """Whether the memory of a process is of another size than ours: then it is not ours.

        Everybody may know that. If by chance it is of the same size, we look again later.

        manpage: proc_pid_stat(5) (vsize)
        """
        try:
            before, theirs, after = (_memory_size(number) for number in (self._pid, pid, self._pid))
        except OSError:
            return False  # no /proc, or one that hides it: known when it exits
        return before == after != theirs

    async def _watch(self) -> None:
        pause = _FIRST_PAUSE
        while self._leaving and pause <= _LAST_PAUSE:
            await trio.sleep(pause)
            pause *= 2
            self._restore()
