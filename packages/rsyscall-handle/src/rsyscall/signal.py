"""`<signal.h>`: signals, sets of signals, dispositions, and the signal mask.

The realtime signals (34 to 64) and the two signals that C libraries reserve (32 and 33) have no names here:
functions that return a `SIG` return a plain integer for them.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import field
from typing import TYPE_CHECKING, overload

import rsyscall.far
from rsyscall.cstruct import CStruct, i32, u32, u64
from rsyscall.handle._later import later_names
from rsyscall.handle.arguments import ADDRESS, FDNUM, PID, SIGNAL, SIZE, UNSIGNED, call, choice, given, out
from rsyscall.handle.buffers import require_size, require_size_if_given
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.light_dataclass import light_dataclass
from rsyscall.near.naming import naming
from rsyscall.struct import Struct, bits

if TYPE_CHECKING:
    from rsyscall._signal_info import SI as SI
    from rsyscall._signal_info import SIGEV as SIGEV
    from rsyscall._signal_info import SS as SS
    from rsyscall._signal_info import QueuedSiginfo as QueuedSiginfo
    from rsyscall._signal_info import Sigevent as Sigevent
    from rsyscall._signal_info import StackT as StackT
    from rsyscall.handle.pointer import Pointer, WrittenPointer
    from rsyscall.near import SyscallInterface
else:
    __getattr__ = later_names(__name__, "rsyscall._signal_info")

__all__ = [
    "SA",
    "SIG",
    "HowSIG",
    "SigmaskError",
    "Sigaction",
    "Sighandler",
    "Siginfo",
    "SignalBlock",
    "SignalTask",
    "Sigset",
    "signal_number",
]


class SIG(enum.IntEnum):
    """`SIG*`: signal numbers.

    manpage: signal(7)
    """

    NONE = 0
    HUP = 1
    INT = 2
    QUIT = 3
    ILL = 4
    TRAP = 5
    ABRT = 6
    IOT = 6
    BUS = 7
    FPE = 8
    KILL = 9
    USR1 = 10
    SEGV = 11
    USR2 = 12
    PIPE = 13
    ALRM = 14
    TERM = 15
    STKFLT = 16
    CHLD = 17
    CLD = 17
    CONT = 18
    STOP = 19
    TSTP = 20
    TTIN = 21
    TTOU = 22
    URG = 23
    XCPU = 24
    XFSZ = 25
    VTALRM = 26
    PROF = 27
    WINCH = 28
    IO = 29
    POLL = 29
    PWR = 30
    SYS = 31
    UNUSED = 31


class SA(enum.IntFlag):
    """`SA_*`: flags of a signal action.

    manpage: sigaction(2)
    """

    NOCLDSTOP = 0x1
    NOCLDWAIT = 0x2
    SIGINFO = 0x4
    UNSUPPORTED = 0x400
    EXPOSE_TAGBITS = 0x800
    RESTORER = 0x04000000
    ONSTACK = 0x08000000
    STACK = 0x08000000
    RESTART = 0x10000000
    INTERRUPT = 0x20000000  # does nothing
    NODEFER = 0x40000000
    NOMASK = 0x40000000
    RESETHAND = 0x80000000
    ONESHOT = 0x80000000


class HowSIG(enum.IntEnum):
    """`SIG_BLOCK`, `SIG_UNBLOCK`, `SIG_SETMASK`: how a set of signals changes the signal mask.

    manpage: sigprocmask(2)
    """

    BLOCK = 0
    UNBLOCK = 1
    SETMASK = 2


class Sighandler(enum.IntEnum):
    """`SIG_DFL`, `SIG_IGN`: the dispositions of a signal that are no functions.

    manpage: signal(7)
    """

    DFL = 0
    IGN = 1


_LAST_SIGNAL = 64
_INT = struct.Struct("=i")


def signal_number(number: int) -> SIG | int:
    """Return the `SIG` for a number, or the number if there is none."""
    try:
        return SIG(number)
    except ValueError:
        return number


class Siginfo(CStruct, c="siginfo_t", headers=("#include <linux/types.h>", "asm/siginfo.h"), size=128):
    """The members of `siginfo_t` that `waitid` fills.

    Args:
        code: why the signal was sent (a `CLD` for `waitid`).
        pid: the child; 0 if `waitid` with `W.NOHANG` found nothing.
        uid: real user id of the child.
        status: exit status, or the signal.

    manpage: sigaction(2)
    """

    # In front of it are si_signo and si_errno.
    code: int = i32("si_code", offset=8)
    pid: int = i32("si_pid", offset=16)
    uid: int = u32("si_uid")
    status: int = i32("si_status")

    def to_bytes(self) -> bytes:
        """Return 128 bytes; si_signo in them is SIGCHLD, or 0 if `pid` is 0."""
        signo = SIG.CHLD if self.pid else 0
        return _INT.pack(signo) + super().to_bytes()[_INT.size :]


_SIGSET = struct.Struct("=Q")


class Sigset(set[SIG | int], Struct):
    """A set of signals.

    Args:
        signals: `SIG` members, or numbers from 1 to 64.

    manpage: sigsetops(3)
    """

    __slots__ = ()

    def __init__(self, signals: Iterable[SIG | int] = ()) -> None:
        super().__init__(signals)

    def to_int(self) -> int:
        """Return a number in which bit n-1 stands for signal n; ValueError for a number that is no signal."""
        mask = 0
        for signal in self:
            if not 1 <= signal <= _LAST_SIGNAL:
                raise ValueError(
                    f"{signal!r} cannot be in a set of signals; they are numbered 1 to {_LAST_SIGNAL}"
                )
            mask |= 1 << (signal - 1)
        return mask

    @classmethod
    def from_int(cls, mask: int) -> Sigset:
        """Return the set for a number in which bit n-1 stands for signal n."""
        return cls(map(signal_number, bits(mask)))

    def to_bytes(self) -> bytes:
        """Return 8 bytes."""
        return _SIGSET.pack(self.to_int())

    @classmethod
    def from_bytes(cls, data: bytes) -> Sigset:
        """Read a set from the first 8 bytes."""
        if len(data) < _SIGSET.size:
            raise ValueError(f"a sigset takes {_SIGSET.size} bytes, there are {len(data)}")
        return cls.from_int(_SIGSET.unpack_from(data)[0])

    @classmethod
    def sizeof(cls) -> int:
        """Return 8."""
        return _SIGSET.size

    def __repr__(self) -> str:
        signals = ", ".join(getattr(signal_number(signal), "name", str(signal)) for signal in sorted(self))
        return f"Sigset({{{signals}}})"


# The kernel removes them from every mask.
_NEVER_BLOCKED = frozenset({SIG.KILL, SIG.STOP})


def _handler(address: int) -> Sighandler | near.Address:
    known = address in (Sighandler.DFL, Sighandler.IGN)
    return Sighandler(address) if known else near.Address(address)


def _address(address: int) -> near.Address | None:
    return near.Address(address) if address else None


def _number(address: near.Address | None) -> int:
    return 0 if address is None else int(address)


class Sigaction(
    CStruct,
    c="struct sigaction",
    headers=("#include <linux/types.h>", "asm/signal.h"),
    variant="sigaction",
    brief=("handler", "mask", "flags", "restorer"),
    size=32,
):
    """What to do when a signal arrives: the kernel's `struct sigaction`, not that of the C library.

    Args:
        handler: a disposition, or the address of a function in the address space of the process. A function
            in a process made by clone needs much care: it runs without thread-local storage.
        flags: see `SA`. On x86_64 a function needs `SA.RESTORER`.
        mask: signals blocked while the function runs.
        restorer: address of the code that the function returns to, and that calls `rt_sigreturn`.

    manpage: sigaction(2)
    """

    handler: Sighandler | near.Address = u64("sa_handler", _handler, prefix="SIG_")
    flags: SA = u64("sa_flags", SA, default=SA(0))
    mask: Sigset = u64("sa_mask", Sigset.from_int, encode=Sigset.to_int, default_factory=Sigset)
    # riscv64 has no such member.
    restorer: near.Address | None = u64("sa_restorer", _address, encode=_number, default=None)


class SigmaskError(Exception):
    """The signal mask is not what we have recorded, or would not be any more after the operation."""


class SignalTask(rsyscall.far.Task):
    """Calls about signals of the task itself.

    Attributes:
        sigmask: the signals that we have blocked. The process may have inherited others that are blocked.
        old_sigmask: `sigmask` as it was before the last `sigprocmask` that stored the old mask.
        sigmask_oldset_ptr: where that call stored the old mask; see `read_oldset_and_check`.
        sigprocmask_running: whether a `sigprocmask` is under way.
        ignored_until_exec: signals that the process ignores, and a program that it executes is not to ignore.
            Your own `sigaction` takes a signal out of these.
    """

    sigmask: Sigset
    old_sigmask: Sigset
    sigmask_oldset_ptr: Pointer[Sigset] | None
    sigprocmask_running: bool
    ignored_until_exec: frozenset[SIG] = frozenset()

    def __post_init__(self) -> None:
        super().__post_init__()
        self.sigmask = Sigset()
        self.old_sigmask = Sigset()
        self.sigmask_oldset_ptr = None
        self.sigprocmask_running = False

    async def sigaction(
        self, signum: SIG | int, act: Pointer[Sigaction] | None, oldact: Pointer[Sigaction] | None
    ) -> None:
        """`rt_sigaction(signum, act, oldact, 8)`: set what happens when a signal arrives.

        Args:
            signum: the signal.
            act: the new action; None to leave it as it is.
            oldact: where to store the old action, for you to read; None to not store it.

        Raises:
            BufferTooSmallError: the memory of one of the two is too small.
            OSError: EINVAL for a signal whose action cannot be changed.

        manpage: sigaction(2)
        """
        require_size_if_given(act, Sigaction.sizeof())
        require_size_if_given(oldact, Sigaction.sizeof())
        with ExitStack() as stack:
            await _rt_sigaction(
                self.sysif,
                signum,
                self._borrow_optional(stack, act),
                self._borrow_optional(stack, oldact),
                Sigset.sizeof(),
            )
        if act is not None and self.ignored_until_exec:
            self.ignored_until_exec -= {signum}

    async def _sigprocmask(
        self, newset: tuple[HowSIG, WrittenPointer[Sigset]] | None, oldset: Pointer[Sigset] | None = None
    ) -> Pointer[Sigset] | None:
        if self.sigprocmask_running:
            raise SigmaskError(
                f"{self} is changing its signal mask already; the order of two changes would not be known"
            )
        if newset is not None:
            require_size(newset[1], Sigset.sizeof())
        require_size_if_given(oldset, Sigset.sizeof())
        self.sigprocmask_running = True
        try:
            with ExitStack() as stack:
                how = None
                if newset is not None:
                    how = (newset[0], stack.enter_context(newset[1].borrow(self)))
                oldset_address = self._borrow_optional(stack, oldset)
                with naming((newset, oldset)):
                    await _rt_sigprocmask(self.sysif, how, oldset_address, Sigset.sizeof())
            believed = self.sigmask
            if newset is not None:
                change = newset[1].value - _NEVER_BLOCKED
                if newset[0] == HowSIG.BLOCK:
                    self.sigmask = Sigset(believed | change)
                elif newset[0] == HowSIG.UNBLOCK:
                    self.sigmask = Sigset(believed - change)
                else:
                    self.sigmask = Sigset(change)
            if oldset is not None:
                self.old_sigmask = believed
                self.sigmask_oldset_ptr = oldset
        finally:
            self.sigprocmask_running = False
        return oldset

    @overload
    async def sigprocmask(self, newset: tuple[HowSIG, WrittenPointer[Sigset]]) -> None: ...

    @overload
    async def sigprocmask(
        self, newset: tuple[HowSIG, WrittenPointer[Sigset]] | None, oldset: Pointer[Sigset]
    ) -> Pointer[Sigset]: ...

    async def sigprocmask(
        self, newset: tuple[HowSIG, WrittenPointer[Sigset]] | None, oldset: Pointer[Sigset] | None = None
    ) -> Pointer[Sigset] | None:
        """`rt_sigprocmask(how, newset, oldset, 8)`: change which signals are blocked, or read it, or both.

        Args:
            newset: how to change the mask, and the signals; None to leave it as it is. `SIG.KILL` and
                `SIG.STOP` are never blocked, even if they are among the signals.
            oldset: where to store the old mask.

        Returns:
            `oldset`, which stays valid.

        Raises:
            BufferTooSmallError: the memory of one of the two is too small.
            SigmaskError: another change is under way.

        manpage: sigprocmask(2)
        """
        return await self._sigprocmask(newset, oldset)

    async def sigmask_block(
        self, newset: WrittenPointer[Sigset], oldset: Pointer[Sigset] | None = None
    ) -> SignalBlock:
        """Block signals, and return an object that can unblock them.

        Each signal that we block has one owner, so that no two owners unblock it.

        Raises:
            SigmaskError: one of the signals has an owner; or another change is under way.

        manpage: sigprocmask(2)
        """
        already = self.sigmask & newset.value
        if already:
            raise SigmaskError(
                f"{self} has blocked {Sigset(already)} already; a blocked signal has one owner"
            )
        await self._sigprocmask((HowSIG.BLOCK, newset), oldset)
        return SignalBlock(self, newset)

    async def read_oldset_and_check(self) -> None:
        """Read the old mask that the last `sigprocmask` stored, and check that it has the signals we had
        blocked.

        It may have others, which a parent or a library has blocked.

        Raises:
            SigmaskError: no old mask was stored, or a signal that we had blocked was not blocked.
        """
        pointer, believed = self.sigmask_oldset_ptr, self.old_sigmask
        if pointer is None:
            raise SigmaskError(f"no old signal mask of {self} has been stored")
        actual = await pointer.read()
        if not believed <= actual:
            raise SigmaskError(
                f"our idea of the signal mask of {self} is out of sync: "
                f"we believed that {believed} was blocked, but it was {actual}"
            )


@light_dataclass(eq=False)
class SignalBlock:
    """The owner of signals that are blocked in a task until `unblock` is called.

    `SIG.KILL` and `SIG.STOP` may be among the signals, but the kernel does not block these two.

    Args:
        task: where they are blocked.
        newset: the signals, in memory of the task.
    """

    task: SignalTask
    newset: WrittenPointer[Sigset]
    _unblocked: bool = field(default=False, init=False, repr=False)

    @property
    def mask(self) -> Sigset:
        """The signals."""
        return self.newset.value

    async def unblock(self, oldset: Pointer[Sigset] | None = None) -> None:
        """Unblock the signals. Do it only once: afterwards another owner may block them.

        Args:
            oldset: where to store the old mask; see `SignalTask.read_oldset_and_check`.

        Raises:
            SigmaskError: this has unblocked them already, or another change of the mask is under way.

        manpage: sigprocmask(2)
        """
        if self._unblocked:
            raise SigmaskError(f"{self.mask} of {self.task} has been unblocked by its owner already")
        await self.task._sigprocmask((HowSIG.UNBLOCK, self.newset), oldset)
        self._unblocked = True


@call("rt_sigaction", SIGNAL, given(Sigaction), out(Sigaction), SIZE)
async def _rt_sigaction(
    sysif: SyscallInterface,
    signum: SIG | int,
    act: near.Address | None,
    oldact: near.Address | None,
    size: int,
) -> None:
    """`rt_sigaction`; `size` is that of a set of signals."""
    with naming(signal_number(signum)):
        await sysif.syscall(nr.rt_sigaction, signum, act or 0, oldact or 0, size)


@call("rt_sigprocmask", choice(HowSIG, "SIG_"), given(Sigset), out(Sigset), SIZE)
async def _rt_sigprocmask(
    sysif: SyscallInterface,
    newset: tuple[HowSIG, near.Address] | None,
    oldset: near.Address | None,
    sigsetsize: int,
) -> None:
    """`rt_sigprocmask`."""
    how, address = (0, near.Address(0)) if newset is None else newset
    await sysif.syscall(nr.rt_sigprocmask, how, address, oldset or 0, sigsetsize)


@call("kill", PID, SIGNAL)
async def _kill(sysif: SyscallInterface, pid: near.Process | near.ProcessGroup, sig: SIG | int) -> None:
    """`kill` for one process or one process group.

    Raises:
        ValueError: for this id, the kernel would signal our own group, or all processes.
    """
    if isinstance(pid, near.ProcessGroup):
        if pid.id <= 1:
            raise ValueError(f"refusing to signal {pid}: kill(-{pid.id}) is not about a process group")
        target = -pid.id
    else:
        if pid.id <= 0:
            raise ValueError(f"refusing to signal {pid}: it is not the id of one process")
        target = pid.id
    with naming(pid):
        await sysif.syscall(nr.kill, target, sig)


@call("pidfd_send_signal", FDNUM, SIGNAL, ADDRESS, UNSIGNED)
async def _pidfd_send_signal(sysif: SyscallInterface, pidfd: near.FileDescriptor, sig: SIG | int) -> None:
    """`pidfd_send_signal`, with the `siginfo_t` that `kill` sends."""
    with naming(pidfd):
        await sysif.syscall(nr.pidfd_send_signal, pidfd, sig, 0, 0)
