"""Channels to a process that is not trusted.

We take no descriptor out of such a process: it could be of a file whose calls never return, such as one of a
FUSE file system that the process serves itself. So we make both ends of every channel and send it one. It has
a socket for that which no other process receives from. Messages are numbered: one that the process did not
receive when it was told to is skipped the next time.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import trio

from rsyscall.epoll_loop import EpollWaiter
from rsyscall.network.channels import Connection, _close_all
from rsyscall.network.passing import (
    _NUMBER,
    MAX_FDS,
    PassingConnection,
    _all_of,
    _by_messages,
    _make_message,
    _make_pair,
    _make_pairs,
    _Receiver,
)
from rsyscall.sys.epoll import EpollFlag
from rsyscall.sys.socket import SOCK, RecvmsgFlags, SendmsgFlags
from rsyscall.turns import Turns

if TYPE_CHECKING:
    from rsyscall.handle import FileDescriptor, Task
    from rsyscall.memory.ram import RAM

__all__ = [
    "PassingConnection",
    "PrivateConnection",
    "epoll_waiter",
    "make_passage",
    "make_private",
    "open_epoll",
    "passing",
]

# That were not received before, and are skipped.
_MOST_MESSAGES = 16


class PrivateConnection(PassingConnection):
    """See the module; `make_private` makes it.

    Args:
        access: the connection of the parent, which has the same access side.
        ours: our end of the socket: see `make_passage`.
        task: the process.
        ram: its memory.
        fd: its end. No other process has it.
    """

    def __init__(
        self, access: PassingConnection, ours: FileDescriptor, task: Task, ram: RAM, fd: FileDescriptor
    ) -> None:
        super().__init__(access.access_task, access.access_ram, access.access_epoller, ours, task, ram, fd)
        self._turns = Turns()
        self._numbers = itertools.count(1)

    async def move_fds(self, fds: list[FileDescriptor]) -> list[FileDescriptor]:
        """Move file descriptors to the process: see `PassingConnection.move_fds`.

        Raises:
            OSError: also EPROTO, the process did not receive them.
        """
        moved = await _by_messages(fds, self._pass_fds)
        await _close_all(fds)
        return moved

    async def _pass_fds(self, fds: Sequence[FileDescriptor]) -> list[FileDescriptor]:
        number = _NUMBER.pack(next(self._numbers))
        message = await _make_message(self.access_ram, number, fds)
        async with self._turns.next():
            receiver = _Receiver(self.task, self.ram, self.fd, MAX_FDS)
            # So that nothing but the call itself can fail once the message is under way.
            await receiver.prepare()
            with trio.CancelScope(shield=True):
                # A process that never receives must not block us.
                await self.access_fd.sendmsg(message, SendmsgFlags.NOSIGNAL | SendmsgFlags.DONTWAIT)
                for _ in range(_MOST_MESSAGES):
                    received = await receiver.receive(RecvmsgFlags.DONTWAIT)
                    if received is None:
                        break
                    if received[0] == number:
                        return await _all_of(received[1], len(fds), self.task)
                    await _close_all(received[1])
        raise OSError(errno.EPROTO, "the process did not receive the descriptors that it was sent", self.fd)

    async def open_channels(self, count: int) -> list[tuple[FileDescriptor, FileDescriptor]]:
        """Open channels: see `Connection.open_channels`.

        manpage: socketpair(2)
        """
        ours, theirs = await _make_pairs(self.access_task, self.access_ram, SOCK.STREAM, count)
        try:
            moved = await self.move_fds(theirs)
        except BaseException:
            await _close_all([*ours, *theirs])
            raise
        return list(zip(ours, moved, strict=True))

    async def prep_fd_transfer(
        self,
    ) -> tuple[FileDescriptor, Callable[[Task, RAM, FileDescriptor], PrivateConnection]]:
        """As `make_private`: no two processes receive from one socket."""
        return await make_private(self)

    def inherit(self, task: Task, ram: RAM) -> PrivateConnection:
        """Raise: a child needs a connection of its own."""
        raise TypeError(f"{task} cannot receive what is sent to {self.task}: use make_private")


async def make_private(
    connection: Connection,
) -> tuple[FileDescriptor, Callable[[Task, RAM, FileDescriptor], PrivateConnection]]:
    """Prepare the connection of a process that is about to be cloned.

    Args:
        connection: to its parent.

    Returns:
        A descriptor of the parent, of which only the child is to have a copy in the end, and a function that
        makes the connection: call it with the task, the memory, and the child's copy of the descriptor.
    """
    access = passing(connection)
    ours, theirs = await make_passage(access)
    return theirs, partial(PrivateConnection, access, ours)


async def make_passage(access: PassingConnection) -> tuple[FileDescriptor, FileDescriptor]:
    """A pair of sockets for descriptors: ours, and the one in the process of `access`.

    manpage: socketpair(2)
    """
    pair = await _make_pair(access.access_task, access.access_ram, SOCK.SEQPACKET)
    try:
        [theirs] = await access.move_fds([pair.second])
    except BaseException:
        await _close_all([pair.first, pair.second])
        raise
    return pair.first, theirs


async def open_epoll(access: PassingConnection) -> tuple[FileDescriptor, FileDescriptor]:
    """An epoll instance: ours, and its copy in the process of `access`.

    manpage: epoll_create1(2)
    """
    ours = await access.access_task.epoll_create(EpollFlag.CLOEXEC)
    try:
        [theirs] = await access.move_fds([await ours.dup()])
    except BaseException:
        await _close_all([ours])
        raise
    return ours, theirs


def epoll_waiter(access: PassingConnection, ours: FileDescriptor) -> EpollWaiter:
    """What waits for an epoll instance of a process, by our copy of it."""
    watched = int(ours)

    async def wait_readable() -> None:
        await trio.lowlevel.wait_readable(watched)

    return EpollWaiter(access.access_ram, ours, wait_readable, 0)


def passing(connection: Connection) -> PassingConnection:
    """`connection`, if it passes descriptors; OSError otherwise."""
    if isinstance(connection, PassingConnection):
        return connection
    raise OSError(
        errno.EOPNOTSUPP, f"{os.strerror(errno.EOPNOTSUPP)}: no descriptors can be sent", connection
    )
