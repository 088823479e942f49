"""`<sys/timex.h>`: keeping the clock of the machine right."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import rsyscall.far
from rsyscall.cstruct import CStruct, i32, i64, u32
from rsyscall.handle.arguments import call, changed, choice
from rsyscall.handle.buffers import require_size
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.time import CLOCK

if TYPE_CHECKING:
    from rsyscall.handle.pointer import ReadablePointer, WrittenPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["ADJ", "STA", "TIME", "Timex", "TimexTask"]


class ADJ(enum.IntFlag):
    """`ADJ_*`: what to set.

    manpage: adjtimex(2)
    """

    NONE = 0
    OFFSET = 0x1
    FREQUENCY = 0x2
    MAXERROR = 0x4
    ESTERROR = 0x8
    STATUS = 0x10
    TIMECONST = 0x20
    TAI = 0x80
    SETOFFSET = 0x100
    MICRO = 0x1000
    NANO = 0x2000
    TICK = 0x4000
    OFFSET_SINGLESHOT = 0x8001
    OFFSET_SS_READ = 0xA001


class STA(enum.IntFlag):
    """`STA_*`: the state of the clock.

    manpage: adjtimex(2)
    """

    NONE = 0
    PLL = 0x1
    PPSFREQ = 0x2
    PPSTIME = 0x4
    FLL = 0x8
    INS = 0x10
    DEL = 0x20
    UNSYNC = 0x40
    FREQHOLD = 0x80
    PPSSIGNAL = 0x100
    PPSJITTER = 0x200
    PPSWANDER = 0x400
    PPSERROR = 0x800
    CLOCKERR = 0x1000
    NANO = 0x2000
    MODE = 0x4000
    CLK = 0x8000
    RONLY = 0xFF00


class TIME(enum.IntEnum):
    """`TIME_*`: whether the clock is right, or has a leap second.

    manpage: adjtimex(2)
    """

    OK = 0
    INS = 1
    DEL = 2
    OOP = 3
    WAIT = 4
    ERROR = 5


class Timex(
    CStruct,
    c="struct __kernel_timex",
    headers=("linux/types.h", "linux/time_types.h", "linux/timex.h"),
    size=208,
    brief=("modes", "offset", "freq", "status"),
):
    """`struct timex`: how the clock is kept right.

    Args:
        modes: what to set; `ADJ.NONE` only asks.
        offset: from the right time, in microseconds, or nanoseconds with `STA.NANO`.
        freq: millionths, times 65536.
        maxerror, esterror: microseconds.
        time_sec, time_usec: now; the latter in nanoseconds with `STA.NANO`.
        tick: microseconds between ticks.
        tai: seconds between the time of atoms and UTC.

    manpage: adjtimex(2)
    """

    modes: ADJ = u32("modes", ADJ, default=ADJ.NONE)
    offset: int = i64("offset", default=0)
    freq: int = i64("freq", default=0)
    maxerror: int = i64("maxerror", default=0)
    esterror: int = i64("esterror", default=0)
    status: STA = i32("status", STA, default=STA.NONE)
    constant: int = i64("constant", default=0)
    precision: int = i64("precision", default=0)
    tolerance: int = i64("tolerance", default=0)
    time_sec: int = i64("time.tv_sec", default=0)
    time_usec: int = i64("time.tv_usec", default=0)
    tick: int = i64("tick", default=0)
    ppsfreq: int = i64("ppsfreq", default=0)
    jitter: int = i64("jitter", default=0)
    shift: int = i32("shift", default=0)
    stabil: int = i64("stabil", default=0)
    jitcnt: int = i64("jitcnt", default=0)
    calcnt: int = i64("calcnt", default=0)
    errcnt: int = i64("errcnt", default=0)
    stbcnt: int = i64("stbcnt", default=0)
    tai: int = i32("tai", default=0)


class TimexTask(rsyscall.far.Task):
    """Keeping the clock of the machine right."""

    async def adjtimex(self, buf: WrittenPointer[Timex]) -> tuple[TIME, ReadablePointer[Timex]]:
        """`adjtimex(buf)`: ask how the clock is kept right, or change it.

        Args:
            buf: what to set, and where to put all of it; consumed.

        Returns:
            Whether the clock is right, and `buf` with the answer.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EPERM (to set needs CAP_SYS_TIME), EINVAL; `filename` is the memory.

        manpage: adjtimex(2)
        """
        check_pointers(buf)
        require_size(buf, Timex.sizeof())
        with buf.borrow(self) as buf_addr, naming(buf):
            state = await _adjtimex(self.sysif, buf_addr)
        return TIME(state), buf.unsafe()

    async def clock_adjtime(
        self, clockid: CLOCK | int, buf: WrittenPointer[Timex]
    ) -> tuple[TIME, ReadablePointer[Timex]]:
        """`clock_adjtime(clockid, buf)`: the same for any clock.

        Args:
            buf: what to set, and where to put all of it; consumed.

        Returns:
            Whether the clock is right, and `buf` with the answer.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EPERM (to set needs CAP_SYS_TIME), EINVAL, EOPNOTSUPP; `filename` is the clock.

        manpage: adjtimex(2)
        """
        check_pointers(buf)
        require_size(buf, Timex.sizeof())
        with buf.borrow(self) as buf_addr, naming(clockid):
            state = await _clock_adjtime(self.sysif, clockid, buf_addr)
        return TIME(state), buf.unsafe()


@call("adjtimex", changed(Timex))
async def _adjtimex(sysif: SyscallInterface, buf: near.Address) -> int:
    """The raw call."""
    return await sysif.syscall(nr.adjtimex, buf)


@call("clock_adjtime", choice(CLOCK, "CLOCK_"), changed(Timex))
async def _clock_adjtime(sysif: SyscallInterface, clockid: CLOCK | int, buf: near.Address) -> int:
    """The raw call."""
    return await sysif.syscall(nr.clock_adjtime, clockid, buf)
