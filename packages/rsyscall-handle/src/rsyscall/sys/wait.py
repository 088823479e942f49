"""`<sys/wait.h>`: how children end, stop and go on."""

from __future__ import annotations

import enum
import os
from typing import TYPE_CHECKING

from rsyscall.handle.arguments import ADDRESS, INT, call, choice, flags, out
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.light_dataclass import light_dataclass
from rsyscall.signal import SIG, Siginfo, signal_number
from rsyscall.sys._rusage import Rusage as Rusage

if TYPE_CHECKING:
    from rsyscall.command import Command
    from rsyscall.near import SyscallInterface

__all__ = [
    "CLD",
    "CalledProcessError",
    "ChildState",
    "IdType",
    "UncleanExit",
    "W",
]


class IdType(enum.IntEnum):
    """What `waitid` waits for.

    manpage: waitid(2)
    """

    ALL = 0
    PID = 1
    PGID = 2
    PIDFD = 3


class CLD(enum.IntEnum):
    """What happened to a child.

    manpage: waitid(2)
    """

    EXITED = 1
    KILLED = 2
    DUMPED = 3
    TRAPPED = 4
    STOPPED = 5
    CONTINUED = 6


class W(enum.IntFlag):
    """What kinds of events of which children to wait for, and how.

    manpage: waitid(2)
    """

    NONE = 0
    NOHANG = 0x1
    STOPPED = 0x2
    UNTRACED = 0x2
    EXITED = 0x4
    CONTINUED = 0x8
    NOWAIT = 0x01000000
    NOTHREAD = 0x20000000
    ALL = 0x40000000
    CLONE = 0x80000000


class CalledProcessError(Exception):
    """A child process did not end with exit status 0.

    Args:
        state: how it ended.
        command: the command that it was executing, if known.
    """

    def __init__(self, state: ChildState, command: Command | None = None) -> None:
        super().__init__(state, command)
        self.state = state
        self.command = command

    @property
    def stdout(self) -> bytes | None:
        """Its output, if that was captured."""
        output: bytes | None = getattr(self.state, "stdout", None)
        return output

    @property
    def stderr(self) -> bytes | None:
        """Its error output, if that was captured."""
        output: bytes | None = getattr(self.state, "stderr", None)
        return output

    def __str__(self) -> str:
        what = f"process {self.state.pid}" if self.command is None else f"command `{self.command}`"
        return f"{what} {self.state.describe()}"


UncleanExit = CalledProcessError


_CODES = {int(code): code for code in CLD}
_DEAD = (CLD.EXITED, CLD.KILLED, CLD.DUMPED)


@light_dataclass(frozen=True)
class ChildState:
    """Something that happened to a child.

    Args:
        code: what it was.
        pid: the child.
        uid: its real user id; -1 if the kernel was not asked for it.
        exit_status: the status of its exit, if it exited.
        sig: the signal that killed, stopped or continued it, if it did not exit; a plain number if it has no
            name.
    """

    code: CLD
    pid: int
    uid: int
    exit_status: int | None
    sig: SIG | int | None

    @staticmethod
    def make(code: CLD | int, pid: int, uid: int, status: int) -> ChildState:
        """Return the state of a siginfo, where `status` is an exit status or a signal.

        Raises:
            ValueError: `code` is no `CLD`.
        """
        code = _CODES.get(code) or CLD(code)
        if code == CLD.EXITED:
            return ChildState(code, pid, uid, status, None)
        return ChildState(code, pid, uid, None, signal_number(status))

    @staticmethod
    def make_from_siginfo(siginfo: Siginfo) -> ChildState:
        """Return the state that `waitid` has reported; ValueError if there is none in it."""
        return ChildState.make(siginfo.code, siginfo.pid, siginfo.uid, siginfo.status)

    @staticmethod
    def make_from_wait_status(pid: int, status: int) -> ChildState:
        """Return the state that `wait4` has reported, which does not tell the user id: it is -1 here.

        manpage: wait(2)
        """
        if os.WIFCONTINUED(status):
            return ChildState.make(CLD.CONTINUED, pid, -1, SIG.CONT)
        if os.WIFSTOPPED(status):
            return ChildState.make(CLD.STOPPED, pid, -1, os.WSTOPSIG(status))
        if os.WIFEXITED(status):
            return ChildState.make(CLD.EXITED, pid, -1, os.WEXITSTATUS(status))
        code = CLD.DUMPED if os.WCOREDUMP(status) else CLD.KILLED
        return ChildState.make(code, pid, -1, os.WTERMSIG(status))

    @property
    def usage(self) -> Rusage | None:
        """What the child has used; None if the kernel was not asked for that."""
        # Not a field: states are equal if the same has happened. Decoded only for callers that ask for it.
        rusage = self.__dict__.get("_rusage")
        return None if rusage is None else Rusage.from_bytes(rusage)

    @property
    def returncode(self) -> int | None:
        """The exit status, or minus the signal that killed it; None if it has not died."""
        if self.code == CLD.EXITED:
            return self.exit_status
        return -self.sig if self.died() and self.sig is not None else None

    def state(self, options: W) -> bool:
        """Return whether this is an event that `options` (`EXITED`, `STOPPED`, `CONTINUED`) asks for."""
        if self.code in _DEAD:
            return bool(options & W.EXITED)
        if self.code == CLD.CONTINUED:
            return bool(options & W.CONTINUED)
        return bool(options & W.STOPPED)

    def died(self) -> bool:
        """Return whether the child is dead: it exited or was killed."""
        return self.code in _DEAD

    def clean(self) -> bool:
        """Return whether the child exited with status 0."""
        return self.code == CLD.EXITED and self.exit_status == 0

    def check(self) -> None:
        """Raise CalledProcessError unless the child exited with status 0."""
        if not self.clean():
            raise CalledProcessError(self)

    def killed_with(self) -> SIG | int:
        """Return the signal that killed the child; ValueError if none did."""
        if self.code not in (CLD.KILLED, CLD.DUMPED) or self.sig is None:
            raise ValueError(f"process {self.pid} was not killed by a signal: it {self.describe()}")
        return self.sig

    def describe(self) -> str:
        """Return what happened in words, for example "was killed by SIGTERM"."""
        if self.code == CLD.EXITED:
            return f"exited with status {self.exit_status}"
        signal = f"SIG{self.sig.name}" if isinstance(self.sig, SIG) else f"signal {self.sig}"
        verb = {
            CLD.KILLED: "was killed by",
            CLD.DUMPED: "was killed, dumping core, by",
            CLD.TRAPPED: "was trapped by",
            CLD.STOPPED: "was stopped by",
            CLD.CONTINUED: "was continued by",
        }[self.code]
        return f"{verb} {signal}"


_OPTIONS = flags(W, "W", renamed={"ALL": "__WALL", "CLONE": "__WCLONE", "NOTHREAD": "__WNOTHREAD"})


@call("waitid", choice(IdType, "P_"), INT, out(Siginfo), _OPTIONS, ADDRESS)
async def _waitid(
    sysif: SyscallInterface,
    id: near.Process | near.ProcessGroup | near.FileDescriptor | None,
    infop: near.Address | None,
    options: int,
    rusage: near.Address | None,
) -> int:
    """`waitid`, for a process, a process group, a pidfd, or (None) any child."""
    if isinstance(id, near.Process):
        idtype = IdType.PID
    elif isinstance(id, near.ProcessGroup):
        idtype = IdType.PGID
    elif isinstance(id, near.FileDescriptor):
        idtype = IdType.PIDFD
    else:
        idtype = IdType.ALL
    return await sysif.syscall(nr.waitid, idtype, 0 if id is None else id, infop or 0, options, rusage or 0)
