"""What every connection to a process can do: open channels to it."""

from __future__ import annotations

import abc
import typing as t

import trio

from rsyscall.async_fd import AsyncFileDescriptor
from rsyscall.near.sysif import SyscallError

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rsyscall.handle import FileDescriptor, Task
    from rsyscall.hub import Offer
    from rsyscall.memory.ram import RAM

__all__ = ["Connection"]


class Connection(abc.ABC):
    """A way to open channels to one process."""

    @abc.abstractmethod
    async def open_channels(self, count: int) -> list[tuple[FileDescriptor, FileDescriptor]]:
        """Open channels; if one cannot be opened, none is.

        Args:
            count: how many.

        Returns:
            For each, a connected pair of stream sockets: ours, and the one in the process. Both block.

        Raises:
            OSError: EMFILE, ENFILE; ETOOMANYREFS.
            SyscallError: one of the processes is gone.
        """

    async def open_channel(self) -> tuple[FileDescriptor, FileDescriptor]:
        """Open one channel; see `open_channels`."""
        [channel] = await self.open_channels(1)
        return channel

    @abc.abstractmethod
    async def open_async_channels(self, count: int) -> list[tuple[AsyncFileDescriptor, FileDescriptor]]:
        """Like `open_channels`, but our ends are asynchronous. Those in the process block all the same."""

    async def open_async_channel(self) -> tuple[AsyncFileDescriptor, FileDescriptor]:
        """Open one channel whose end here is asynchronous; see `open_async_channels`."""
        [channel] = await self.open_async_channels(1)
        return channel

    @abc.abstractmethod
    async def prep_fd_transfer(
        self,
    ) -> tuple[FileDescriptor, Callable[[Task, RAM, FileDescriptor], Connection]]:
        """Prepare for a process that will get a file descriptor by another way than inheritance.

        Returns:
            The file descriptor that it needs, and a function that makes its connection: call it with the
            task, the memory, and the process's copy of the file descriptor.
        """

    @abc.abstractmethod
    def inherit(self, task: Task, ram: RAM) -> Connection:
        """Return a connection to a child of our process.

        Args:
            task: the child, whose file descriptor table is ours or a copy of it.
            ram: memory of `task`.
        """

    def offer(self, number: int) -> Offer | None:
        """Prepare a call by which the process, which shares our memory, sends us a copy of a descriptor.

        Args:
            number: of the descriptor, in the table of the process.

        Returns:
            None if no descriptor can be sent by this connection.
        """
        return None


async def _close_all(things: Iterable[FileDescriptor | AsyncFileDescriptor]) -> None:
    """Close the remaining descriptors after a failure, even when cancelled; ignores further failures."""
    with trio.CancelScope(shield=True):
        for thing in things:
            try:
                if isinstance(thing, AsyncFileDescriptor):
                    await thing.close()
                else:
                    await thing.invalidate()
            except (OSError, SyscallError):
                pass
