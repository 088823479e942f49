"""`<sys/time.h>`: times in microseconds."""

from __future__ import annotations

from rsyscall.cstruct import CStruct, i64

__all__ = ["Timeval"]


class Timeval(CStruct, c="struct timeval", headers=("linux/time.h",)):
    """`struct timeval`: `sec` seconds and `usec` microseconds."""

    sec: int = i64("tv_sec", default=0)
    usec: int = i64("tv_usec", default=0)

    def __float__(self) -> float:
        """Return the whole time in seconds."""
        return self.sec + self.usec / 1_000_000
