"""Opening channels to a process: pairs of connected file descriptors, one end here and the other end there.

The end here is on the *access side*: usually in our own process, and used by Python. The end there is in the
table of the process that the `Connection` belongs to.

`FDPassConnection` (`rsyscall.network.passing`) lets the process make the pair and pass one end to us, over a
Unix socket whose other end is here. `ListeningConnection` is for processes to which we cannot pass file
descriptors, on another host: they listen.
"""

from __future__ import annotations

import math
import os
import typing as t
from functools import partial

import trio

from rsyscall.async_fd import AsyncFileDescriptor
from rsyscall.denied import any_answer
from rsyscall.fcntl import F
from rsyscall.network.channels import Connection, _close_all
from rsyscall.network.passing import FDPassConnection
from rsyscall.sys.socket import (
    MSG,
    SOCK,
    Sockaddr,
)
from rsyscall.turns import Turns

if t.TYPE_CHECKING:
    from collections.abc import Callable

    from rsyscall.epoller import Epoller
    from rsyscall.handle import FileDescriptor, Task, WrittenPointer
    from rsyscall.memory.ram import RAM

__all__ = ["Connection", "FDPassConnection", "ListeningConnection"]

# Accepted connections that send nothing: how many seconds they have, how many there may be (then the oldest
# is closed), and how often they are polled.
_PATIENCE = 10.0
_MAX_UNKNOWN = 32
_FIRST_PAUSE = 0.001
_LAST_PAUSE = 0.05


class _Unknown:
    """An accepted connection that has not sent its secret yet.

    Args:
        fd: of the process that has accepted it; blocking.
    """

    __slots__ = ("_deadline", "_received", "fd")

    def __init__(self, fd: FileDescriptor) -> None:
        self.fd = fd
        self._received = b""
        self._deadline = trio.current_time() + _PATIENCE

    async def look(self, ram: RAM, secret: bytes) -> bool | None:
        """Read the data so far; returns whether it is the secret, or None if that is not known yet."""
        try:
            buffer = await ram.malloc(bytes, len(secret) - len(self._received))
            valid, _ = await self.fd.recv(buffer, MSG.DONTWAIT)
            data = await valid.read()
        except BlockingIOError:
            return None if trio.current_time() < self._deadline else False
        except OSError:
            return False  # reset: the client has given up
        self._received += data
        if not data or not secret.startswith(self._received):
            return False
        return True if len(self._received) == len(secret) else None


class ListeningConnection(Connection):
    """Connects to a socket that the process listens on, and lets the process accept.

    The order of the connections in the queue of the socket says nothing about their origin, since one may be
    given up, or come from another program. So each begins with a secret, which the process reads and
    compares. It closes those that send something else, or nothing for long.

    Args:
        access_task: where our ends are made.
        access_ram: memory of `access_task`.
        access_epoller: for our ends.
        access_address: the address to connect to.
        task: the process at the other end of the channels.
        ram: memory of `task`.
        listening_fd: the listening socket there, non-blocking.
    """

    def __init__(
        self,
        access_task: Task,
        access_ram: RAM,
        access_epoller: Epoller,
        access_address: WrittenPointer[Sockaddr],
        task: Task,
        ram: RAM,
        listening_fd: AsyncFileDescriptor,
    ) -> None:
        self.access_task = access_task
        self.access_ram = access_ram
        self.access_epoller = access_epoller
        self.access_address = access_address
        self.task = task
        self.ram = ram
        self.listening_fd = listening_fd
        # Shared by all connections with the same listening socket.
        self._turns = Turns()

    async def open_async_channels(self, count: int) -> list[tuple[AsyncFileDescriptor, FileDescriptor]]:
        """Open channels whose ends here are asynchronous: see `Connection.open_async_channels`."""
        channels: list[tuple[AsyncFileDescriptor, FileDescriptor]] = []
        try:
            for _ in range(count):
                channels.append(await self.open_async_channel())
        except BaseException:
            await _close_all(end for channel in channels for end in channel)
            raise
        return channels

    async def open_async_channel(self) -> tuple[AsyncFileDescriptor, FileDescriptor]:
        """Open one channel.

        Raises:
            OSError: whatever `connect` and `accept` raise; EAGAIN from a Unix socket with a full queue.
            SyscallError: one of the processes is gone.

        manpage: connect(2), accept4(2)
        """
        access_end = await self._make_socket()
        try:
            # Without keeping others waiting for a process that is blocked. It makes its calls in order, so it
            # is at our disposal when this one has been answered.
            async with self._turns.next(partial(any_answer, self.task.sysif)):
                await access_end.connect(self.access_address)
                secret = os.urandom(16)
                await access_end.send_all_bytes(secret, MSG.NOSIGNAL)
                return access_end, await self._accept(secret)
        except BaseException:
            await _close_all([access_end])
            raise

    async def _make_socket(self) -> AsyncFileDescriptor:
        fd = await self.access_task.socket(
            self.access_address.value.family, SOCK.STREAM | SOCK.NONBLOCK | SOCK.CLOEXEC
        )
        try:
            return await AsyncFileDescriptor.make(self.access_epoller, self.access_ram, fd)
        except BaseException:
            await _close_all([fd])
            raise

    async def _accept(self, secret: bytes) -> FileDescriptor:
        """Accept connections in the process until one begins with the secret.

        Reading never blocks there: other programs may connect, too, and send nothing.
        """
        unknown: list[_Unknown] = []
        pause = _FIRST_PAUSE
        try:
            while True:
                with trio.move_on_after(pause if unknown else math.inf):
                    unknown.append(_Unknown(await self.listening_fd.accept(SOCK.CLOEXEC)))
                    pause = _FIRST_PAUSE
                pause = min(2 * pause, _LAST_PAUSE)
                for one in list(unknown):
                    verdict = await one.look(self.ram, secret)
                    if verdict is None and len(unknown) <= _MAX_UNKNOWN:
                        continue
                    unknown.remove(one)
                    if verdict:
                        return one.fd
                    await _close_all([one.fd])
        finally:
            await _close_all([one.fd for one in unknown])

    async def open_channels(self, count: int) -> list[tuple[FileDescriptor, FileDescriptor]]:
        """Open channels: see `Connection.open_channels`."""
        channels: list[tuple[FileDescriptor, FileDescriptor]] = []
        try:
            for _ in range(count):
                channels.append(await self.open_channel())
        except BaseException:
            await _close_all(end for channel in channels for end in channel)
            raise
        return channels

    async def open_channel(self) -> tuple[FileDescriptor, FileDescriptor]:
        """Open one channel; see `open_async_channel`. Both ends block, but connecting did not block us."""
        access_end, end = await self.open_async_channel()
        try:
            await access_end.epolled.delete()
            await access_end.handle.fcntl(F.SETFL, 0)
        except BaseException:
            await _close_all([access_end, end])
            raise
        return access_end.handle, end

    async def prep_fd_transfer(
        self,
    ) -> tuple[FileDescriptor, Callable[[Task, RAM, FileDescriptor], ListeningConnection]]:
        """Return our listening socket, of which the new process needs a copy, and `for_task_with_fd`."""
        return self.listening_fd.handle, self.for_task_with_fd

    def for_task_with_fd(self, task: Task, ram: RAM, fd: FileDescriptor) -> ListeningConnection:
        """Return a connection to another process, which accepts from the same socket.

        Args:
            task: the other process.
            ram: its memory.
            fd: a copy, in `task`, of our listening socket.
        """
        connection = ListeningConnection(
            self.access_task,
            self.access_ram,
            self.access_epoller,
            self.access_address,
            task,
            ram,
            self.listening_fd.with_handle(fd),
        )
        connection._turns = self._turns
        return connection

    def inherit(self, task: Task, ram: RAM) -> ListeningConnection:
        """Return a connection to a child: see `Connection.inherit`."""
        return self.for_task_with_fd(task, ram, task.inherit_fd(self.listening_fd.handle))
