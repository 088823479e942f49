"""Channels to a process that passes its ends of them to us, over a Unix socket.

**Messages must not be mixed up.** A child inherits its parent's socket, so several processes have the same
end. No process may get or take a message for another one, or wait for one that is blocked by a call of its
own. A message that many can receive from the same socket cannot be addressed to one of them. So:

* We send no message to the end that the processes share: only they send. Only the access side receives there,
  without ever waiting for a message that has not been sent. Every message has a number by which its receiver
  finds it.
* Descriptors for the process go over a pair that the process has made for them. If the process is blocked,
  only this transfer waits; if it fails, the pair is closed, and with it the descriptors not received.
* After the sending, the receiving is done even if the caller is cancelled: otherwise the file descriptors
  would arrive and have no owner.
"""

from __future__ import annotations

import abc
import errno
import itertools
import os
import struct
import typing as t
from array import array
from functools import partial

import trio

from rsyscall.async_fd import AsyncFileDescriptor, finish
from rsyscall.background import run_now
from rsyscall.denied import any_answer
from rsyscall.fcntl import F, O
from rsyscall.near import Syscall, nr
from rsyscall.network.channels import Connection, _close_all
from rsyscall.sys import socket
from rsyscall.sys.socket import AF, SOCK
from rsyscall.turns import Turns

if t.TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from rsyscall.epoller import Epoller
    from rsyscall.handle import FileDescriptor, Task, WrittenPointer
    from rsyscall.memory.ram import RAM
    from rsyscall.sys.socket import RecvmsgFlags, RecvMsghdr, SendMsghdr

__all__ = ["FDPassConnection", "Offer", "PassingConnection"]

MAX_FDS = 253
"""As many file descriptors as fit into one message (the kernel's SCM_MAX_FD)."""

_NUMBER = struct.Struct("=Q")
_OFFER = struct.Struct("@QxxxxxxxxQQQQQ QQ Qiii4x 8s")


class _Passage:
    """The access side's end of a pair of sockets, to which processes send file descriptors.

    Args:
        receiver: receives there, and never waits.
    """

    __slots__ = ("_arrived", "_expected", "_numbers", "_receiver", "_turns")

    def __init__(self, receiver: _Receiver) -> None:
        self._receiver = receiver
        self._turns = Turns()
        self._numbers = itertools.count(1)
        self._expected: set[bytes] = set()
        # Received by a task that was waiting for another message.
        self._arrived: dict[bytes, list[FileDescriptor]] = {}

    def expect(self) -> bytes:
        """Return the number for another message."""
        number = _NUMBER.pack(next(self._numbers))
        self._expected.add(number)
        return number

    async def take(self, number: bytes) -> list[FileDescriptor]:
        """Receive the message with this number, which has been sent."""
        if self._receiver.immediate:
            return self.take_now(number)
        async with self._turns.next():
            while number not in self._arrived:
                await self._receive()
        return self._arrived.pop(number)

    def take_now(self, number: bytes) -> list[FileDescriptor]:
        """As `take`, if the access side is in our own process: no call suspends there."""
        while number not in self._arrived:
            run_now(self._receive())
        return self._arrived.pop(number)

    async def _receive(self) -> None:
        received = await self._receiver.receive(socket.RecvmsgFlags.DONTWAIT)
        if received is None:
            raise OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET), self._receiver.fd)
        received_number, fds = received
        if received_number in self._expected:
            self._arrived[received_number] = fds
        else:
            # Its sender was lost.
            await _close_all(fds)

    async def forget(self, number: bytes) -> None:
        """Close the descriptors that come, or have come, with this number, unless they were taken."""
        self._expected.discard(number)
        await _close_all(self._arrived.pop(number, []))


class PassingConnection(Connection):
    """Passes descriptors to the process, over a Unix socket.

    Args:
        access_task: where our ends are made.
        access_ram: memory of `access_task`.
        access_epoller: for our ends.
        access_fd: Unix socket of `access_task`, connected to `fd`.
        task: the process at the other end of the channels.
        ram: memory of `task`.
        fd: the peer of `access_fd`, in `task`.
    """

    def __init__(
        self,
        access_task: Task,
        access_ram: RAM,
        access_epoller: Epoller,
        access_fd: FileDescriptor,
        task: Task,
        ram: RAM,
        fd: FileDescriptor,
    ) -> None:
        self.access_task = access_task
        self.access_ram = access_ram
        self.access_epoller = access_epoller
        self.access_fd = access_fd
        self.task = task
        self.ram = ram
        self.fd = fd

    @abc.abstractmethod
    async def move_fds(self, fds: list[FileDescriptor]) -> list[FileDescriptor]:
        """Move file descriptors from the access side to the process.

        Args:
            fds: of the access side; closed, unless this fails.

        Returns:
            The same files as file descriptors of the process, in the same order.

        Raises:
            OSError: EMFILE if the process cannot have that many; ETOOMANYREFS.
            SyscallError: the process is gone.

        manpage: unix(7)
        """

    async def open_async_channels(self, count: int) -> list[tuple[AsyncFileDescriptor, FileDescriptor]]:
        """Open channels whose ends here are asynchronous: see `Connection.open_async_channels`.

        manpage: socketpair(2)
        """
        channels: list[tuple[AsyncFileDescriptor, FileDescriptor]] = []
        pairs = await self.open_channels(count)
        try:
            for ours, theirs in pairs:
                await ours.fcntl(F.SETFL, O.NONBLOCK)
                afd = await AsyncFileDescriptor.make(self.access_epoller, self.access_ram, ours)
                channels.append((afd, theirs))
        except BaseException:
            await _close_all(afd for afd, _ in channels)
            await _close_all(fd for pair in pairs for fd in pair)
            raise
        return channels


class FDPassConnection(PassingConnection):
    """Passes one end of each channel to the process.

    Nothing needs to be passed to a process that shares the file descriptor table of the access side.

    Args:
        access_task, access_ram, access_epoller, task, ram: see `PassingConnection`.
        access_fd: connected to `fd` in both directions.
        fd: blocking.
    """

    def __init__(
        self,
        access_task: Task,
        access_ram: RAM,
        access_epoller: Epoller,
        access_fd: FileDescriptor,
        task: Task,
        ram: RAM,
        fd: FileDescriptor,
    ) -> None:
        super().__init__(access_task, access_ram, access_epoller, access_fd, task, ram, fd)
        # Shared by all connections that send to the same socket.
        self._passage = _Passage(_Receiver(access_task, access_ram, access_fd, MAX_FDS))

    @staticmethod
    async def make(task: Task, ram: RAM, epoller: Epoller) -> FDPassConnection:
        """Make the connection of a process to itself, from which those of its children are made.

        Args:
            task: the process.
            ram: its memory.
            epoller: for the ends of the channels in it.

        manpage: socketpair(2)
        """
        return (await FDPassConnection.prepare(task, ram))(epoller)

    @staticmethod
    async def prepare(task: Task, ram: RAM) -> Callable[[Epoller], FDPassConnection]:
        """As `make`, for a process whose epoller is made meanwhile."""
        pair = await _make_pair(task, ram, SOCK.SEQPACKET)
        return lambda epoller: FDPassConnection(task, ram, epoller, pair.first, task, ram, pair.second)

    async def move_fds(self, fds: list[FileDescriptor]) -> list[FileDescriptor]:
        """Move file descriptors to the process: see `PassingConnection.move_fds`."""
        if self.access_task.fd_table is self.task.fd_table:
            return [fd.move(self.task) for fd in fds]
        # Packets, so that one message is never received together with the next.
        [(ours, theirs)] = await self._make_pairs(1, SOCK.SEQPACKET)
        try:
            moved = await _by_messages(fds, partial(self._pass_fds, ours, theirs))
        finally:
            await _close_all([ours, theirs])
        await _close_all(fds)
        return moved

    async def _make_pairs(
        self, count: int, type: SOCK = SOCK.STREAM
    ) -> list[tuple[FileDescriptor, FileDescriptor]]:
        """Make pairs of sockets; returns the ends for the access side and for the process."""
        if not count:
            return []
        if self.access_task.fd_table is self.task.fd_table:
            # Then we make them, because the process may be blocked.
            kept, given = await _make_pairs(self.access_task, self.access_ram, type, count)
            return [(ours, theirs.move(self.task)) for ours, theirs in zip(kept, given, strict=True)]
        # One that is gone is to say so, before anything else finds that it has no memory any more.
        await any_answer(self.task.sysif)
        sent, theirs = await _make_pairs(self.task, self.ram, type, count)
        received: list[FileDescriptor] = []
        try:
            received = await _by_messages(sent, self._send_up)
            await _close_all(sent)
        except BaseException:
            await _close_all([*received, *theirs, *sent])
            raise
        return list(zip(received, theirs, strict=True))

    async def _send_up(self, fds: Sequence[FileDescriptor]) -> list[FileDescriptor]:
        """Send copies of up to MAX_FDS file descriptors from the process to the access side."""
        passage = self._passage
        number = passage.expect()
        received: list[FileDescriptor] = []
        try:
            message = await _make_message(self.ram, number, fds)
            await self.fd.sendmsg(message, socket.SendmsgFlags.NOSIGNAL)
            with trio.CancelScope(shield=True):
                received = await passage.take(number)
        finally:
            await passage.forget(number)
        return await _all_of(received, len(fds), self.access_task)

    async def _pass_fds(
        self, ours: FileDescriptor, theirs: FileDescriptor, fds: Sequence[FileDescriptor]
    ) -> list[FileDescriptor]:
        """Send copies of up to MAX_FDS file descriptors and receive them in the process."""
        message = await _make_message(self.access_ram, bytes(_NUMBER.size), fds)
        receiver = _Receiver(self.task, self.ram, theirs, len(fds))
        # So that nothing but the call itself can fail once the message is under way.
        await receiver.prepare()
        received = None
        with trio.CancelScope(shield=True):
            try:
                await ours.sendmsg(message, socket.SendmsgFlags.NOSIGNAL)
            except (BrokenPipeError, ConnectionResetError):
                # Gone, most likely. This says so.
                await any_answer(self.task.sysif)
                raise
            received = await receiver.receive()
        if received is None:
            raise OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET), theirs)
        return await _all_of(received[1], len(fds), self.task)

    async def open_channels(self, count: int) -> list[tuple[FileDescriptor, FileDescriptor]]:
        """Open channels: see `Connection.open_channels`.

        manpage: socketpair(2)
        """
        return await self._make_pairs(count)

    async def prep_fd_transfer(
        self,
    ) -> tuple[FileDescriptor, Callable[[Task, RAM, FileDescriptor], FDPassConnection]]:
        """Return our socket, of which the new process needs a copy, and `for_task_with_fd`."""
        return self.fd, self.for_task_with_fd

    def for_task_with_fd(self, task: Task, ram: RAM, fd: FileDescriptor) -> FDPassConnection:
        """Return a connection to another process, which sends to the same socket.

        Args:
            task: the other process.
            ram: its memory.
            fd: a copy, in `task`, of our socket.
        """
        connection = FDPassConnection(
            self.access_task, self.access_ram, self.access_epoller, self.access_fd, task, ram, fd
        )
        connection._passage = self._passage
        return connection

    def inherit(self, task: Task, ram: RAM) -> FDPassConnection:
        """Return a connection to a child: see `Connection.inherit`."""
        return self.for_task_with_fd(task, ram, task.inherit_fd(self.fd))

    def offer(self, number: int) -> Offer:
        """Prepare a call by which the process sends us a copy of a descriptor: see `Connection.offer`."""
        return Offer(self._passage, self.fd, number)


class Offer:
    """A copy of a descriptor that a process is to send us. Made by `FDPassConnection.offer`.

    Args:
        passage: where it arrives.
        sender: the socket in the process.
        number: the descriptor to copy.

    Attributes:
        call: to be made in the process.
    """

    __slots__ = ("_message", "_number", "_passage", "call")

    def __init__(self, passage: _Passage, sender: FileDescriptor, number: int) -> None:
        self._passage = passage
        self._number = passage.expect()
        # In words: msghdr, iovec, cmsghdr with its data, and what the iovec refers to. Kept until the call
        # has been answered.
        self._message = message = array("Q", bytes(_OFFER.size))
        base = message.buffer_info()[0]
        vector, control, data = base + 56, base + 72, base + 96
        _OFFER.pack_into(
            message,
            0,
            *(0, vector, 1, control, 24, 0),
            *(data, _NUMBER.size),
            *(20, socket.SOL.SOCKET, socket.SCM.RIGHTS, number),
            self._number,
        )
        self.call: Syscall = Syscall(nr.sendmsg, sender.near, base, socket.SendmsgFlags.NOSIGNAL)

    def take(self) -> int:
        """Return our copy, now that the call has succeeded: a number without a handle.

        Raises:
            OSError: EMFILE.
        """
        try:
            received = self._passage.take_now(self._number)
        finally:
            self.forget()
        if not received:
            # The kernel leaves out what does not fit into the table.
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        [fd] = received
        try:
            return os.dup(int(fd.near))
        finally:
            run_now(fd.close())

    def forget(self) -> None:
        """The call has failed, or no task needs the copy any more."""
        run_now(self._passage.forget(self._number))


# A KeyboardInterrupt in between would leave two descriptors without an owner.
@trio.lowlevel.enable_ki_protection
async def _make_pair(task: Task, ram: RAM, type: SOCK) -> socket.Socketpair[FileDescriptor]:
    written = await task.socketpair(AF.UNIX, type, 0, await ram.malloc(socket.Socketpair))
    return await finish(written.read)


async def _make_pairs(
    task: Task, ram: RAM, type: SOCK, count: int
) -> tuple[list[FileDescriptor], list[FileDescriptor]]:
    """Make `count` pairs of sockets, or none: the first ones, and those connected to them."""
    first: list[FileDescriptor] = []
    second: list[FileDescriptor] = []
    try:
        for _ in range(count):
            pair = await _make_pair(task, ram, type)
            first.append(pair.first)
            second.append(pair.second)
    except BaseException:
        await _close_all([*first, *second])
        raise
    return first, second


async def _by_messages(
    fds: Sequence[FileDescriptor],
    transfer: Callable[[Sequence[FileDescriptor]], Awaitable[list[FileDescriptor]]],
) -> list[FileDescriptor]:
    """Transfer copies of all `fds`, or of none, by messages of up to MAX_FDS.

    Args:
        transfer: sends one message, and returns what has been received.
    """
    received: list[FileDescriptor] = []
    try:
        for start in range(0, len(fds), MAX_FDS):
            received += await transfer(fds[start : start + MAX_FDS])
    except BaseException:
        await _close_all(received)
        raise
    return received


async def _make_message(ram: RAM, number: bytes, fds: Sequence[FileDescriptor]) -> WrittenPointer[SendMsghdr]:
    from rsyscall.sys.uio import IovecList

    async def make(ram: RAM) -> WrittenPointer[SendMsghdr]:
        return await ram.ptr(
            socket.SendMsghdr(
                None,
                await ram.ptr(IovecList([await ram.ptr(number)])),
                await ram.ptr(socket.CmsgList([socket.CmsgSCMRights(fds)])),
            )
        )

    return await ram.perform_batch(make)


async def _all_of(received: list[FileDescriptor], count: int, task: Task) -> list[FileDescriptor]:
    """Return what was received if it is everything."""
    if len(received) != count:
        # The kernel leaves out what does not fit into the table.
        await _close_all(received)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), task)
    return received


class _Receiver:
    """Receives messages with file descriptors.

    Args:
        task: the receiving process.
        ram: its memory.
        fd: the socket.
        count: how many file descriptors a message may carry.
    """

    __slots__ = ("_count", "_prepared", "_ram", "_task", "fd")

    def __init__(self, task: Task, ram: RAM, fd: FileDescriptor, count: int) -> None:
        self._task = task
        self._ram = ram
        self.fd: FileDescriptor = fd
        self._count = count
        self._prepared: WrittenPointer[RecvMsghdr] | None = None

    @property
    def immediate(self) -> bool:
        """Whether it is in our own process, where no call suspends."""
        return self._task.sysif.immediate

    async def prepare(self) -> WrittenPointer[RecvMsghdr]:
        """Set up the memory for one message."""
        from rsyscall.sys.uio import IovecList

        async def make(ram: RAM) -> WrittenPointer[RecvMsghdr]:
            return await ram.ptr(
                socket.RecvMsghdr(
                    None,
                    await ram.ptr(IovecList([await ram.malloc(bytes, _NUMBER.size)])),
                    await ram.malloc(socket.CmsgList, socket.CMSG_SPACE(4 * self._count)),
                )
            )

        self._prepared = await self._ram.perform_batch(make)
        return self._prepared

    async def receive(self, flags: RecvmsgFlags | None = None) -> tuple[bytes, list[FileDescriptor]] | None:
        """Receive one message; returns its number and its file descriptors, or None at the end of the
        stream.
        """
        header = self._prepared or await self.prepare()
        self._prepared = None
        data, _, result = await self.fd.recvmsg(header, flags or socket.RecvmsgFlags.NONE)
        if not data.size():
            return None
        number = b"".join([await pointer.read() for pointer in data])
        fds: list[FileDescriptor] = []
        control = (await result.read()).control
        if control is not None:
            for message in await control.read():
                if isinstance(message, socket.CmsgSCMRights):
                    fds += message
        return number, fds
