"""Processes of others that receive, over a Unix socket, the sockets by which we drive them.

The process runs `rsyscall-stub`, which receives three sockets from us: the stream of the calls, a passage for
descriptors, and one that tells it of our end. It says with which arguments it was executed, then the hello
(`rsyscall.near.protocol`) follows.

**Not trusted.** It may be another program that knows our socket. What it says is bounded, and believed by
nothing but the calls that are made in it.

**No child of ours.** We can neither wait for it nor signal it. The end of its stream tells of an exec or
exit. The kernel kills it when our end of the third socket is closed (native/src/received.c).
"""

from __future__ import annotations

import contextlib
import logging
import struct
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import trio

from rsyscall.async_fd import finish
from rsyscall.closing import ClosedAtEnd
from rsyscall.handle.fd import STANDARD
from rsyscall.near import SyscallError
from rsyscall.near import types as near
from rsyscall.near.protocol import MAX_HELLO, Hello, HelloParser, ProtocolError
from rsyscall.network.private import PassingConnection, PrivateConnection, make_passage, passing
from rsyscall.stub_connection import LifelineConnection
from rsyscall.sys.socket import CmsgList, CmsgSCMRights, SendmsgFlags, SendMsghdr
from rsyscall.sys.uio import IovecList
from rsyscall.tasks._far import make_far_task, make_far_thread
from rsyscall.thread import Thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from rsyscall.epoller import AsyncFileDescriptor, Epoller
    from rsyscall.handle import FileDescriptor, Task
    from rsyscall.memory.ram import RAM

__all__ = ["Offer", "PeerError", "ReceivedThread", "close_all"]

logger = logging.getLogger(__name__)

T_thread = TypeVar("T_thread", bound="ReceivedThread")

_MAGIC = b"RSYSARGV"
_HEADER = struct.Struct("=8sIIii")
_LENGTH = struct.Struct("=I")
# As `struct rsys_received` has it: nothing of it is looked at.
_PAYLOAD = bytes(8)


class PeerError(Exception):
    """The process did not do what `rsyscall-stub` does; or it is gone."""


class ReceivedThread(Thread, ClosedAtEnd):
    """A process of others. As an async context manager it is closed in the end.

    Its descriptors, environment and signal mask are those it was executed with.
    """

    async def close(self) -> None:
        """Kill the process, unless it has exited or executes another program. Done even when cancelled."""
        with trio.CancelScope(shield=True):
            await self.task.sysif.close_interface()


@dataclass
class Offer:
    """What a process is to receive, and our ends of it."""

    parent: Thread
    access: PassingConnection
    stream: AsyncFileDescriptor | None = None
    # Of the access side.
    ours: list[FileDescriptor] = field(default_factory=list)
    # Of the parent.
    theirs: list[FileDescriptor] = field(default_factory=list)

    @classmethod
    @trio.lowlevel.enable_ki_protection
    async def make(cls, parent: Thread) -> Offer:
        """Make the sockets.

        Args:
            parent: sends them.

        Raises:
            OSError: also EOPNOTSUPP, no descriptors can be sent to `parent`.
        """
        offer = cls(parent, passing(parent.connection))
        try:
            [(offer.stream, theirs)] = await parent.open_async_channels(1)
            offer.theirs.append(theirs)
            for _ in range(2):
                mine, theirs = await make_passage(offer.access)
                offer.ours.append(mine)
                offer.theirs.append(theirs)
        except BaseException:
            await offer.close()
            raise
        return offer

    @trio.lowlevel.enable_ki_protection
    async def send(self, sock: FileDescriptor) -> None:
        """Send them over a socket of the parent, which is closed.

        Raises:
            OSError: the peer is gone.
        """
        try:
            ram = self.parent.ram
            message = SendMsghdr(
                None,
                await ram.ptr(IovecList([await ram.ptr(_PAYLOAD)])),
                await ram.ptr(CmsgList([CmsgSCMRights(self.theirs)])),
            )
            await sock.sendmsg(await ram.ptr(message), SendmsgFlags.NOSIGNAL | SendmsgFlags.DONTWAIT)
        finally:
            # While any of this is open, the end of the process would not be noticed.
            await close_all([sock, *self.theirs])

    async def receive(self) -> tuple[list[bytes], Hello, list[int]]:
        """Wait for what the process says of itself.

        Returns:
            its arguments, its hello, and its descriptors of the passage and of the third socket.

        Raises:
            PeerError: it says something else, or nothing.
        """
        try:
            header = await self._read(_HEADER.size)
            length, count, *fds = _parse_header(header)
            arguments = _parse_arguments(await self._read(length - _HEADER.size), count)
            parser = HelloParser()
            hello = None
            while hello is None:
                hello = parser.feed(await self._read(parser.missing))
            numbers = {hello.infd, *fds}
            if hello.infd != hello.outfd or len(numbers) != 1 + len(fds) or min(numbers) <= max(STANDARD):
                raise ProtocolError(f"it says that it has received the descriptors {sorted(numbers)}")
            _ = hello.abi
        except ProtocolError as error:
            raise PeerError(f"the process did not greet: {error}") from error
        except OSError as error:
            raise PeerError(f"the process did not greet: the stream broke: {error}") from error
        return arguments, hello, fds

    async def _read(self, count: int) -> bytes:
        assert self.stream is not None
        pieces: list[bytes] = []
        while count:
            data = await self.stream.read_some_bytes(min(count, 1 << 16))
            if not data:
                raise ProtocolError("the stream ended")
            pieces.append(data)
            count -= len(data)
        return b"".join(pieces)

    @trio.lowlevel.enable_ki_protection
    async def make_thread(self, kind: type[T_thread], hello: Hello, fds: list[int]) -> T_thread:
        """Make the thread, which has our ends from now on.

        Args:
            kind: of thread.
            hello, fds: what the process has said.

        Raises:
            PeerError: the process is gone, or cannot be equipped.
        """
        assert self.stream is not None
        task = make_far_task(hello)
        stream, passage, life = (
            task.make_fd_handle(near.FileDescriptor(number)) for number in (hello.infd, *fds)
        )
        connection = LifelineConnection(logger, self.stream, self.stream, stream, stream)
        connection.abi = hello.abi
        sysif = self.parent.task.sysif
        task.sysif = sysif.wrap_child(connection, f"process {hello.pid} of others")
        our_passage, connection.life = self.ours

        async def connect(task: Task, ram: RAM) -> Callable[[Epoller], PassingConnection]:
            return lambda epoller: PrivateConnection(self.access, our_passage, task, ram, passage)

        try:
            return await make_far_thread(kind, self.parent, task, hello, [stream, life], connect)
        except (OSError, SyscallError, ProtocolError) as error:
            raise PeerError(f"the process could not be equipped: {error}") from error

    async def close(self) -> None:
        """Give it up: what the process has received of it is of no use any more."""
        if self.stream is not None:
            await finish(partial(_close_stream, self.stream))
        await close_all([*self.ours, *self.theirs])


async def close_all(fds: list[FileDescriptor]) -> None:
    """Close descriptors, whatever becomes of their processes. It is done even when cancelled."""
    with trio.CancelScope(shield=True):
        for fd in fds:
            with contextlib.suppress(OSError, SyscallError):
                await fd.invalidate()


async def _close_stream(stream: AsyncFileDescriptor) -> None:
    with contextlib.suppress(OSError, SyscallError):
        await stream.close()


def _parse_header(data: bytes) -> tuple[int, int, int, int]:
    magic, length, count, passage, life = _HEADER.unpack(data)
    if magic != _MAGIC:
        raise ProtocolError(f"it said {data!r}")
    if not _HEADER.size <= length <= MAX_HELLO:
        raise ProtocolError(f"it says that its arguments have {length} bytes")
    return length, count, passage, life


def _parse_arguments(data: bytes, count: int) -> list[bytes]:
    """Decode arguments, each of which follows its length.

    Raises:
        ProtocolError: there are not as many as `count`, or their lengths are wrong.
    """
    arguments: list[bytes] = []
    position = 0
    while position < len(data):
        start = position + _LENGTH.size
        if start > len(data):
            break
        (length,) = _LENGTH.unpack_from(data, position)
        position = start + length
        argument = data[start:position]
        if len(argument) != length or b"\0" in argument:
            raise ProtocolError(f"argument {len(arguments)} is not as long as it says")
        arguments.append(argument)
    if len(arguments) != count or position != len(data):
        raise ProtocolError(f"it announced {count} arguments, and sent {len(arguments)}")
    return arguments
