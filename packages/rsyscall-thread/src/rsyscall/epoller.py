"""Waiting for file descriptors in trio: everything that a user of it needs, in one place.

The operations are in `rsyscall.async_fd`, taking a stream apart in `rsyscall.read_buffer`; both are above
`rsyscall.epoll_loop`, which collects the events and gives them out.
"""

from __future__ import annotations

from rsyscall.async_fd import AsyncFileDescriptor
from rsyscall.epoll_loop import (
    EpolledFileDescriptor,
    Epoller,
    EpollWaiter,
    FDStatus,
    RemovedFromEpollError,
)
from rsyscall.read_buffer import AsyncReadBuffer

__all__ = [
    "AsyncFileDescriptor",
    "AsyncReadBuffer",
    "EpollWaiter",
    "EpolledFileDescriptor",
    "Epoller",
    "FDStatus",
    "RemovedFromEpollError",
]
