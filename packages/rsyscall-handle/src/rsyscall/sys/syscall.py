"""`<sys/syscall.h>`: the numbers of the system calls of the running architecture."""

from __future__ import annotations

from rsyscall.near import SYS

__all__ = ["SYS"]
