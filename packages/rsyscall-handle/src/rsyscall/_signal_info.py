"""The less common structures of `<signal.h>`: what comes with a signal, and the stack of handlers."""

from __future__ import annotations

import enum

from rsyscall.cstruct import CStruct, i32, known, u32, u64

__all__ = ["SI", "SIGEV", "SS", "QueuedSiginfo", "Sigevent", "StackT"]


class SIGEV(enum.IntEnum):
    """`SIGEV_*`: what happens when a timer expires or a message comes.

    manpage: sigevent(3type)
    """

    SIGNAL = 0
    NONE = 1
    THREAD = 2
    THREAD_ID = 4


class SI(enum.IntEnum):
    """`SI_*`: why a signal was sent, where that does not depend on the signal.

    manpage: sigaction(2)
    """

    USER = 0
    KERNEL = 0x80
    QUEUE = -1
    TIMER = -2
    MESGQ = -3
    ASYNCIO = -4
    SIGIO = -5
    TKILL = -6
    DETHREAD = -7
    ASYNCNL = -60


class SS(enum.IntFlag):
    """`SS_*`: the state of an alternate stack for signal handlers.

    manpage: sigaltstack(2)
    """

    NONE = 0
    ONSTACK = 1
    DISABLE = 2
    AUTODISARM = 0x80000000


_ASM_SIGINFO = ("#include <linux/types.h>", "asm/siginfo.h")


class Sigevent(CStruct, c="struct sigevent", headers=_ASM_SIGINFO, size=64):
    """`struct sigevent`: what the kernel does when a timer expires or a message comes.

    Args:
        value: a number that the kernel sends with the signal.
        signo: the signal; SIGALRM by default.
        notify: whether to send it, and to which thread. `SIGEV.THREAD` is for the C library.
        tid: the thread that gets the signal, with `SIGEV.THREAD_ID`.

    manpage: sigevent(3type)
    """

    value: int = u64("sigev_value.sival_ptr", default=0)
    signo: int = i32("sigev_signo", default=14)
    notify: SIGEV | int = i32("sigev_notify", known(SIGEV), default=SIGEV.SIGNAL)
    tid: int = i32("_sigev_un._tid", default=0)


class QueuedSiginfo(CStruct, c="siginfo_t", headers=_ASM_SIGINFO, size=128):
    """The members of `siginfo_t` for signals from processes and timers.

    Args:
        signo: the signal.
        code: why it was sent; negative for a queued signal.
        errno: an error, or 0.
        pid: the sender; for `SI.TIMER` the id of the timer.
        uid: the real user of the sender; for `SI.TIMER` how often the timer has expired in addition.
        value: the number that was sent with the signal.

    manpage: sigaction(2)
    """

    signo: int = i32("si_signo", default=0)
    errno: int = i32("si_errno", default=0)
    code: SI | int = i32("si_code", known(SI), default=SI.QUEUE)
    pid: int = i32("si_pid", offset=16, default=0)
    uid: int = u32("si_uid", default=0)
    value: int = u64("si_ptr", default=0)


class StackT(CStruct, c="stack_t", headers=("#include <linux/types.h>", "asm/signal.h")):
    """`stack_t`: an alternate stack for signal handlers.

    Args:
        sp: the lowest address of the stack.
        flags: the state of the stack, or how to set it.
        size: bytes.

    manpage: sigaltstack(2)
    """

    sp: int = u64("ss_sp", default=0)
    flags: SS = i32(
        "ss_flags",
        lambda number: SS(number & 0xFFFFFFFF),
        # The member is signed, so the highest flag makes it negative.
        encode=lambda flags: (int(flags) ^ 0x80000000) - 0x80000000,
        default=SS.DISABLE,
    )
    size: int = u64("ss_size", default=0)
