"""`<sys/time.h>`: times in microseconds."""

from __future__ import annotations

from rsyscall.cstruct import CStruct, i32, i64, nested

__all__ = ["Itimerval", "Timeval", "Timezone"]


class Timeval(CStruct, c="struct timeval", headers=("linux/time.h",)):
    """`struct timeval`: `sec` seconds and `usec` microseconds."""

    sec: int = i64("tv_sec", default=0)
    usec: int = i64("tv_usec", default=0)

    def __float__(self) -> float:
        """Return the whole time in seconds."""
        return self.sec + self.usec / 1_000_000


class Itimerval(CStruct, c="struct itimerval", headers=("linux/time.h",)):
    """`struct itimerval`: first expiry after `value`, then every `interval`; a `value` of 0 stops the timer.

    manpage: getitimer(2)
    """

    interval: Timeval = nested("it_interval", Timeval, default_factory=Timeval)
    value: Timeval = nested("it_value", Timeval, default_factory=Timeval)


class Timezone(CStruct, c="struct timezone", headers=("linux/time.h",)):
    """`struct timezone`: what the kernel takes for the time of clocks and file systems that have local time.

    Args:
        minuteswest: minutes west of Greenwich.
        dsttime: not used.

    manpage: gettimeofday(2)
    """

    minuteswest: int = i32("tz_minuteswest", default=0)
    dsttime: int = i32("tz_dsttime", default=0)
