"""Waiting for an end of a stream that is a descriptor of our own process.

The epoll instance of a thread wakes its own loop, which wakes the task that waits. For a call over a stream
that is most of the cost, so trio's own epoll waits for the stream. The epoll instance of the thread would be
woken as well, so the descriptor is deregistered there.

A caller waits for its answer itself as long as it is the only one: one task is woken then, not a second one
that wakes it. trio lets one task at a time wait for a descriptor. When there are several callers, the loop
that receives takes the place of the one that waits.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import outcome
import trio

from rsyscall.background import Waiter

if TYPE_CHECKING:
    from rsyscall.epoller import AsyncFileDescriptor

__all__ = ["Reader", "is_local", "leave", "wait_readable", "wait_writable"]


def is_local(afd: AsyncFileDescriptor) -> bool:
    """Whether a descriptor is one of our own process."""
    return afd.handle.task.sysif.immediate


async def wait_readable(afd: AsyncFileDescriptor) -> None:
    """Wait until there is something to read, perhaps; takes the place of a caller that waits for that."""
    await afd.epolled.delete()
    number = int(afd.handle.near)
    try:
        try:
            await trio.lowlevel.wait_readable(number)
        except trio.BusyResourceError:
            trio.lowlevel.notify_closing(number)
            await trio.lowlevel.wait_readable(number)
    except trio.ClosedResourceError:
        pass  # the descriptor is closed, or a caller was to be woken that waited before us


async def wait_writable(afd: AsyncFileDescriptor) -> None:
    """Wait until there is room to write, perhaps."""
    await afd.epolled.delete()
    try:
        await trio.lowlevel.wait_writable(int(afd.handle.near))
    except trio.ClosedResourceError:
        pass


def leave(afd: AsyncFileDescriptor) -> None:
    """Wake the tasks that wait for a descriptor: it is about to be closed."""
    if is_local(afd) and afd.handle.valid:
        trio.lowlevel.notify_closing(int(afd.handle.near))


class Reader(Waiter[None]):
    """A caller that may wait for the stream itself."""

    __slots__ = ("_number",)

    def __init__(self) -> None:
        super().__init__()
        # The descriptor for which it waits, or -1.
        self._number = -1

    async def wait_readable(self, afd: AsyncFileDescriptor) -> bool:
        """Wait until there is something to read; returns whether it is for this caller to read it.

        It is not when the caller has been woken, is cancelled, or when the loop that receives does it.
        """
        await afd.epolled.delete()
        self._run = trio.lowlevel.current_trio_token()
        try:
            self._number = int(afd.handle.near)
            await trio.lowlevel.wait_readable(self._number)
            return True
        except (trio.BusyResourceError, trio.ClosedResourceError, trio.Cancelled):
            return False
        except KeyboardInterrupt:
            # trio raises it where the main task sleeps, although it is protected here: the call is under way,
            # and its result would be lost. Have trio raise it later, where the task can bear it.
            if not callable(signal.getsignal(signal.SIGINT)):
                raise  # of a handler for another signal: this one is ignored, or would end the program
            signal.raise_signal(signal.SIGINT)
            return False
        finally:
            self._number = -1

    def resume(self, value: outcome.Outcome[None]) -> None:
        """Wake the task with this outcome. Harmless when repeated."""
        # A run that has crashed leaves its tasks behind.
        if self._number >= 0 and not self.done and trio.lowlevel.current_trio_token() is self._run:
            trio.lowlevel.notify_closing(self._number)
        super().resume(value)
