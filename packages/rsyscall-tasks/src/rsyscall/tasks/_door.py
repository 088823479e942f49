"""Being let in by a persistent process: what is said at its door, before it can be driven.

What it says of itself is bounded and checked, and followed by nothing but the calls that are made in it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from typing import TYPE_CHECKING, NamedTuple

import trio

from rsyscall.async_fd import finish
from rsyscall.epoller import AsyncFileDescriptor
from rsyscall.far_children import FarMonitor
from rsyscall.handle.fd import STANDARD
from rsyscall.near import SyscallError
from rsyscall.near.protocol import Hello, HelloParser, ProtocolError
from rsyscall.sys.socket import AF, SOCK, CmsgList, CmsgSCMRights, SendmsgFlags, SendMsghdr
from rsyscall.sys.uio import IovecList
from rsyscall.sys.un import SockaddrUn

if TYPE_CHECKING:
    from rsyscall.handle import FileDescriptor
    from rsyscall.path import Path
    from rsyscall.thread import Thread

__all__ = [
    "EQUIP",
    "KITS",
    "NO_KIT",
    "TAKE_OVER",
    "Kits",
    "Made",
    "Said",
    "Welcome",
    "close",
    "connect",
    "receive",
]

_MAGIC = b"RSYSDOOR"
_KNOCK = struct.Struct("=8sII")
TAKE_OVER = 1
EQUIP = 2
_WELCOME = struct.Struct("=8s10iQ")
_USERS = "too many threads of programs that go on may come back; drop those that do not"
# How many bytes of it are read at once: with most environments, all of it.
_GREETING = 8192
# What was made there for one thread: the process id of the program, and four descriptors.
_KIT = struct.Struct("=5i")
KITS = 256
NO_KIT = _KIT.pack(-1, -1, -1, -1, -1)
# Between two attempts to connect to a process whose queue is full, in seconds.
_PAUSE = 0.01


class Welcome(NamedTuple):
    """The descriptors that belong to the server."""

    listening: int
    door: int
    """Readable when there is something to do for others who connect."""
    activity: int
    """The same, or for us."""
    store: int
    """-1: there is none."""


class Made(NamedTuple):
    """The descriptors that the server has made for this program; all are -1 if that was not asked for."""

    epfd: int
    """An epoll instance that watches `activity`."""
    access: int
    passing: int
    """Connected to `access`."""
    life: int
    """Connected to a socket of ours that we sent; -1: there is none."""


class Kits(NamedTuple):
    """Where the server keeps what it has made for programs: it closes that when they have no use for it."""

    start: int
    own: int
    """Which one is ours; -1: none is."""

    def address(self, index: int) -> int:
        return self.start + index * _KIT.size


class Said(NamedTuple):
    """What the server says before its hello."""

    welcome: Welcome
    made: Made
    kits: Kits


async def connect(
    thread: Thread, path: Path, flags: int, kit: int = 0, life: FileDescriptor | None = None
) -> tuple[AsyncFileDescriptor, Said, Hello]:
    """Connect, and be let in.

    Args:
        thread: makes the connection.
        path: where the process listens.
        flags: what to ask for.
        kit: one more than the number of what was made there for us before; 0 for none.
        life: sent along, which tells the process when we have no use any more for what it makes.
    """
    end = await thread.socket(AF.UNIX, SOCK.STREAM | SOCK.NONBLOCK | SOCK.CLOEXEC)
    sock = await AsyncFileDescriptor.make(thread.epoller, thread.ram, end)
    try:
        address = await SockaddrUn.from_path(thread, path)
        try:
            while True:
                try:
                    await sock.connect(await thread.ram.ptr(address))
                    break
                except BlockingIOError:
                    # Its queue is full, and nothing tells when that changes.
                    await trio.sleep(_PAUSE)
        finally:
            await finish(address.close)
        knock = _KNOCK.pack(_MAGIC, flags, kit)
        if life is None:
            await sock.send_all_bytes(knock)
        else:
            # There is room: nothing was sent before.
            message = SendMsghdr(
                None,
                await thread.ram.ptr(IovecList([await thread.ram.ptr(knock)])),
                await thread.ram.ptr(CmsgList([CmsgSCMRights([life])])),
            )
            await end.sendmsg(await thread.ram.ptr(message), SendmsgFlags.NOSIGNAL)
        said = await receive(sock, path, flags)
        multiplexer = thread.monitor.side.multiplexer if isinstance(thread.monitor, FarMonitor) else None
        if multiplexer is not None:
            # Otherwise each call would take as many round trips as the calls that send and receive it.
            sock = await multiplexer.take(sock)
    except BaseException:
        await close(sock)
        raise
    return sock, *said


async def receive(stream: AsyncFileDescriptor, path: Path, flags: int) -> tuple[Said, Hello]:
    """What the process says of itself.

    Args:
        stream: nothing has been read from it.
        path: for errors.
        flags: what we have asked for.

    Raises:
        OSError: it does not let us in, or is no such process.
    """
    # Nothing follows until it is asked for something.
    rest = bytearray()
    try:
        said = _parse_welcome(await _take(stream, rest, _WELCOME.size), path, flags)
        parser = HelloParser()
        hello = None
        while hello is None:
            hello = parser.feed(await _take(stream, rest, parser.missing))
        if rest:
            raise ProtocolError(f"it says {len(rest)} bytes more than its hello")
        known = [hello.infd, *(number for number in (*said.welcome, *said.made) if number != -1)]
        if hello.infd != hello.outfd or min(known) <= max(STANDARD) or len(set(known)) != len(known):
            raise ProtocolError(f"it says that it serves the descriptors {known}")
        _ = hello.abi
    except ProtocolError as error:
        raise OSError(errno.EPROTO, f"{os.strerror(errno.EPROTO)}: {error}", path) from error
    return said, hello


def _parse_welcome(data: bytes, path: Path, flags: int) -> Said:
    magic, status, listening, door, activity, store, *made, kit, life, kits = _WELCOME.unpack(data)
    if magic != _MAGIC or not -4096 < status <= 0:
        raise ProtocolError("it is no persistent process")
    if status == -errno.EBUSY:
        raise OSError(errno.EBUSY, "another program drives this process", path)
    if status == -errno.EUSERS:
        raise OSError(errno.EUSERS, _USERS, path)
    if status:
        raise OSError(-status, os.strerror(-status), path)
    if not -1 <= kit < KITS or kits >= 1 << 63:
        raise ProtocolError(f"it says that kit {kit} of those at {kits:#x} is for us")
    if {number == -1 for number in made} != {not flags & EQUIP}:
        raise ProtocolError(f"it says that it has made the descriptors {made}")
    return Said(Welcome(listening, door, activity, store), Made._make([*made, life]), Kits(kits, kit))


async def _take(stream: AsyncFileDescriptor, rest: bytearray, count: int) -> bytes:
    """The next bytes; `rest` is what has been read too much."""
    while len(rest) < count:
        more = await stream.read_some_bytes(_GREETING)
        if not more:
            raise ProtocolError("the stream ended")
        rest += more
    data = bytes(rest[:count])
    del rest[:count]
    return data


async def close(stream: AsyncFileDescriptor) -> None:
    with trio.CancelScope(shield=True), contextlib.suppress(OSError, SyscallError):
        await stream.close()
