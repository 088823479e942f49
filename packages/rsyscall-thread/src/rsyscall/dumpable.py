"""The dumpable flag of our memory, while other users may trace children that share it.

A process that may trace another may write to its memory, and a child's memory is ours. Tracing undumpable
memory takes CAP_SYS_PTRACE in the user namespace to which the memory belongs: the one in which our program
was executed. So the flag has to be off in two cases:

* A child changes its user or group. The kernel turns the flag off itself: processes of the new user must not
  read secrets that are still in the child's memory.
* A child is in another user namespace, beside programs that we do not control. Root of that namespace could
  trace the child. We turn the flag off when the user mapping has been written: only then do programs there
  have ids, without which they can do little. At the latest the child itself turns it off, right before it
  executes a program or enters a namespace in which other processes may be already (native/src/execute.c). A
  process that opened `/proc/<pid>/mem` while the flag was on can still write to it afterwards, so later is
  too late. Before the mapping is written it is too early: `/proc/<pid>/uid_map` of undumpable memory belongs
  to root.

While the flag is off, `/proc/<our pid>` belongs to root and debuggers cannot attach, so it must not stay off.
It goes back to its old value when all such children have left our memory, and not an instant earlier. The
kernel clears the word of a process that leaves a moment too soon: the process has not dropped the memory yet.
So we ask once more: by kcmp(2), which waits for an exec under way, and where that is denied by looking at
/proc/<pid>/stat, which every user may read.

It does not go back to 1 if that would undo what the program or the kernel did for another reason: if the
program's own ids or capabilities are no longer those with which the memory was last seen dumpable, or if
`task.prctl` was told to turn the flag off. The bare system call, made while the flag is off anyway, leaves no
trace.
"""

from __future__ import annotations

import os
from array import array
from typing import TYPE_CHECKING

import trio

from rsyscall.background import RunLoop, run_now
from rsyscall.native.fast import syscall as local_syscall
from rsyscall.near import nr
from rsyscall.near.calls import Fact, having
from rsyscall.sched import CLONE

if TYPE_CHECKING:
    from rsyscall.handle import Task
    from rsyscall.native import Ring

__all__ = ["CREDENTIAL_CALLS", "DumpableGuard"]

# As in rsys_may_change_credentials of the native part.
CREDENTIAL_CALLS = having(Fact.CREDENTIALS)

_KCMP_VM = 1
_NEWUSER = int(CLONE.NEWUSER)
# As in `rsyscall.sys.prctl`, which is large, and which most programs do not need.
_GET_DUMPABLE, _SET_DUMPABLE = 3, 4
_CAPABILITY_VERSION_3 = 0x20080522
# PF_FORKNOEXEC, among the flags in /proc/<pid>/stat: since it was made the process has executed nothing.
_NOT_EXECUTED = 0x40
_FIRST_PAUSE = 0.001
_LAST_PAUSE = 1.0


class DumpableGuard:
    """Knows which processes share our memory, and gives the flag back.

    Args:
        task: the local task.
        pid: our process id.
    """

    def __init__(self, task: Task, pid: int) -> None:
        self._task = task
        self._pid = pid
        self.sharing: set[Ring] = set()
        # They have changed credentials, or may, in a way that their ring does not know of.
        self._announced: set[Ring] = set()
        # The flag before each change of credentials, in order; empty when there is nothing to undo.
        self._before: list[int] = []
        # They had changed credentials and are leaving.
        self._leaving: list[Ring] = []
        # Our program itself has moved to another user namespace, which it cannot leave.
        self._moved = False
        # Our ids and capabilities when the memory was last seen dumpable.
        self._identity: tuple[object, ...] = ()
        # The flag for a child that could not ask for it.
        self._original = self.look()
        self._loop = RunLoop(self._watch, "rsyscall: giving back the dumpable flag")

    def started(self, ring: Ring, parent: Ring | None = None) -> None:
        """A process has been made that shares our memory.

        Args:
            ring: of the process.
            parent: of the one that cloned it, whose credentials it has; None if that was ourselves.
        """
        self.sharing.add(ring)
        if parent is not None and (parent in self._announced or parent.may_change_credentials):
            self._announced.add(ring)

    def look(self) -> int:
        """Return the flag; if our memory is dumpable, remember our ids and capabilities.

        Call this before any step that may turn the flag off. To rely on ids remembered earlier is safe, too:
        at worst the flag does not come back although the program, having changed its ids, wanted it on.
        """
        dumpable = self._get()
        if dumpable == 1:
            self._identity = _identity()
        return dumpable

    def _get(self) -> int:
        """The flag as it is.

        manpage: prctl(2) (PR_GET_DUMPABLE)
        """
        dumpable = local_syscall(nr.prctl, _GET_DUMPABLE)
        # If a filter denies it: this is how programs are.
        return dumpable if dumpable >= 0 else 1

    def _set(self, dumpable: int) -> None:
        run_now(self._task.sysif.syscall(nr.prctl, _SET_DUMPABLE, dumpable))

    def will_be_in_user_namespace(self, flags: int, parent: Ring | None) -> bool:
        """Whether a process that is about to be cloned will be in another user namespace than our memory.

        Args:
            flags: of the clone.
            parent: as in `started`.
        """
        if flags & _NEWUSER:
            inside = True
        elif parent is None:
            inside = self._moved
        else:
            # A call that has been sent and not answered may take the parent there before it clones.
            inside = (
                parent.in_user_namespace
                or parent in self._announced
                or (parent.outstanding > 0 and parent.may_change_credentials)
            )
        if inside:
            self.look()
        return inside

    def protect(self, ring: Ring | None) -> None:
        """Turn the flag off: the user mapping of a process in another user namespace has been written.

        Args:
            ring: of the process; None if it is our own, or one that was made by other means.
        """
        if ring is None:
            self._moved = True
        elif ring in self.sharing:
            ring.in_user_namespace = True
        else:
            return  # it is gone
        if self.look() == 1:
            self._before.append(1)
            self._set(0)

    def is_dumpable(self) -> bool:
        """Whether our memory is dumpable at the moment."""
        return self._get() == 1

    def announce(self, ring: Ring) -> None:
        """A process is about to be sent a call that may change its credentials, other than by its ring."""
        if ring in self.sharing:
            self._announced.add(ring)
        self.look()

    def left(self, ring: Ring) -> None:
        """The kernel has cleared the word of a process; may be told more than once."""
        if self._forget(ring):
            self._leaving.append(ring)
        if self._before:
            self._restore()

    def _forget(self, ring: Ring) -> bool:
        """A process is leaving; returns whether it may have had other credentials than we."""
        if ring not in self.sharing:
            return False
        self.sharing.discard(ring)
        before = ring.dumpable_before
        if before is not None:
            self._before.append(before if before >= 0 else self._original)
        if ring in self._announced:
            self._announced.discard(ring)
            return True
        return self._may_be_traced(ring)

    def exited(self, ring: Ring) -> None:
        """A process has exited; may be told before, after or instead of `left`."""
        ring.exited()
        self._forget(ring)
        if ring in self._leaving:
            self._leaving.remove(ring)
        if self._before:
            self._restore()

    def _restore(self) -> None:
        """Set the flag if none of the processes is left because of which it was changed.

        manpage: prctl(2) (PR_SET_DUMPABLE)
        """
        self._leaving = [ring for ring in self._leaving if not self._has_let_go(ring)]
        if self._leaving:
            if trio.lowlevel.in_trio_run():
                self._loop.ensure_running()
            return
        # Nothing can be sent to them between this and the call.
        if self._moved or self._announced:
            return
        if any(self._may_be_traced(ring) for ring in self.sharing):
            return
        values, self._before = self._before, []
        now = self._get()
        for value in values:
            # The kernel set it to what /proc/sys/fs/suid_dumpable says, so the other value is ours. 2 cannot
            # be set.
            if value not in (now, 2):
                if not value or self._may_be_dumpable():
                    try:
                        self._set(value)
                    except OSError:
                        pass  # a filter denies it: there is no other way
                return

    def _may_be_dumpable(self) -> bool:
        """Whether nothing but our children was a reason to turn the flag off."""
        return self._task.address_space.dumpable is not False and self._identity == _identity()

    @staticmethod
    def _may_be_traced(ring: Ring) -> bool:
        """Whether others than we may be able to trace a process if our memory is dumpable."""
        return ring.in_user_namespace or ring.may_change_credentials

    def _has_let_go(self, ring: Ring) -> bool:
        """Whether a process whose word is cleared has other memory than we, or none.

        manpage: kcmp(2)
        """
        if not ring.pid:
            return False  # it cannot be known before it exits
        try:
            return run_now(self._task.sysif.syscall(nr.kcmp, self._pid, ring.pid, _KCMP_VM, 0, 0)) != 0
        except ProcessLookupError:
            return True
        except OSError:
            # Not yet: our memory, undumpable, protects that process from us too. Or it is a program with more
            # privileges than we have; or a filter, such as those of containers, denies the call; or the
            # kernel was built without.
            return _has_executed(ring.pid)

    async def _watch(self) -> None:
        pause = _FIRST_PAUSE
        while self._leaving and pause <= _LAST_PAUSE:
            await trio.sleep(pause)
            pause *= 2
            self._restore()


def _identity() -> tuple[object, ...]:
    """The ids and capabilities of our program by which the kernel decides whether another may trace it.

    manpage: credentials(7), setfsuid(2), capget(2)
    """
    # An invalid id changes nothing, and the answer is the present one.
    file_system = local_syscall(nr.setfsuid, -1), local_syscall(nr.setfsgid, -1)
    header = array("I", (_CAPABILITY_VERSION_3, 0))
    capabilities = array("I", bytes(24))
    local_syscall(nr.capget, header.buffer_info()[0], capabilities.buffer_info()[0])
    return os.getresuid(), os.getresgid(), file_system, capabilities.tobytes()


def _has_executed(pid: int) -> bool:
    """Whether a process of ours has executed a program or exited: both happen after it let go of our memory.

    manpage: proc_pid_stat(5)
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The second field, which others choose, ends with the last parenthesis.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return False  # its exit will be told
    return fields[0] in (b"Z", b"X") or not int(fields[6]) & _NOT_EXECUTED
