"""`<time.h>`: clocks and times.

A `Timespec` is exact: conversions go through integers and `decimal.Decimal`, never through a second rounding
in floating point.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, TypeVar

from rsyscall.cstruct import CStruct, i64, nested

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = [
    "CLOCK",
    "ITIMER",
    "TIMER",
    "Itimerspec",
    "Timespec",
]

_NANOS = 1_000_000_000
# Digits of a decimal: enough for any 64-bit number of seconds with nanoseconds, and for the exact value of a
# float in that range.
_DIGITS = 100

T = TypeVar("T", bound="Timespec")


class CLOCK(enum.IntEnum):
    """`CLOCK_*`: which clock a call is about.

    manpage: clock_gettime(2)
    """

    REALTIME = 0
    MONOTONIC = 1
    PROCESS_CPUTIME_ID = 2
    THREAD_CPUTIME_ID = 3
    MONOTONIC_RAW = 4
    REALTIME_COARSE = 5
    MONOTONIC_COARSE = 6
    BOOTTIME = 7
    REALTIME_ALARM = 8
    BOOTTIME_ALARM = 9
    SGI_CYCLE = 10
    TAI = 11
    AUX = 16  # since Linux 6.17: the first of eight auxiliary clocks
    AUX_LAST = 23  # since Linux 6.17


class TIMER(enum.IntFlag):
    """`TIMER_*`: flags of `clock_nanosleep` and `timer_settime`.

    manpage: clock_nanosleep(2)
    """

    NONE = 0
    ABSTIME = 1


class ITIMER(enum.IntEnum):
    """`ITIMER_*`: which of the three interval timers of a process.

    manpage: setitimer(2)
    """

    REAL = 0
    VIRTUAL = 1
    PROF = 2


class Timespec(CStruct, c="struct __kernel_timespec", headers=("linux/time_types.h",)):
    """`struct timespec`: `sec` seconds and `nsec` nanoseconds.

    A time before 0 has a negative `sec`; `nsec` counts up from there and stays within 0 and 999 999 999,
    except that `utimensat` gives other values a meaning of their own, which is why nothing is checked here.
    """

    sec: int = i64("tv_sec")
    nsec: int = i64("tv_nsec")

    @classmethod
    def from_float(cls: type[T], value: float | Decimal | Timespec) -> T:
        """The time nearest to a number of seconds; another `Timespec` is copied.

        Args:
            value: seconds; a `Decimal` keeps every nanosecond, a float only about 16 digits.

        Raises:
            OverflowError, ValueError: for infinities and NaN.
        """
        if isinstance(value, Timespec):
            return cls(value.sec, value.nsec)
        # Not with the module: to import it takes longer than the module does.
        from decimal import Context, Decimal

        # The exact value of the float is taken apart before it is scaled: scaling first would round twice.
        return cls.from_nanos(int(Context(prec=_DIGITS).multiply(Decimal(value), _NANOS).to_integral_value()))

    @classmethod
    def from_nanos(cls: type[T], nsec: int) -> T:
        """The time that is `nsec` nanoseconds, which may be more than a second, or negative."""
        return cls(*divmod(nsec, _NANOS))

    def to_nanos(self) -> int:
        """The whole time in nanoseconds."""
        return self.sec * _NANOS + self.nsec

    def to_decimal(self) -> Decimal:
        """The whole time in seconds, exactly."""
        from decimal import Context, Decimal

        return Decimal(self.to_nanos()).scaleb(-9, Context(prec=_DIGITS))


class Itimerspec(CStruct, c="struct __kernel_itimerspec", headers=("linux/time_types.h",)):
    """`struct itimerspec`: first expiry after `value`, then every `interval`.

    Both take a number of seconds or a `Timespec`. A `value` of 0 disarms the timer, an `interval` of 0 lets
    it expire once.
    """

    interval: Timespec = nested("it_interval", Timespec)
    value: Timespec = nested("it_value", Timespec)

    def __init__(self, interval: float | Decimal | Timespec, value: float | Decimal | Timespec) -> None:
        self.interval = Timespec.from_float(interval)
        self.value = Timespec.from_float(value)
