"""Unix sockets with a path, to which only processes of our own user and of root can connect."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import trio

from rsyscall.path import Path
from rsyscall.sys.socket import AF, SO, SOCK, SOL, Sockbuf, Ucred
from rsyscall.sys.un import SockaddrUn

if TYPE_CHECKING:
    from rsyscall.handle import FileDescriptor
    from rsyscall.memory.ram import RAM
    from rsyscall.thread import Thread

__all__ = ["MAX_PATH", "absolute", "bind", "peer"]

MAX_PATH = 4095
"""How many bytes a path may have for the kernel, without the NUL behind it."""


async def absolute(thread: Thread, path: Path) -> Path:
    """Return the path from the root, for one that is relative to the working directory of the thread."""
    if os.path.isabs(path):
        return path
    where, _ = await thread.task.getcwd(await thread.ram.malloc(str, MAX_PATH + 1))
    return Path(os.path.join(await where.read(), path))


async def bind(thread: Thread, path: Path) -> FileDescriptor:
    """Bind a new socket to a path. Nothing can connect before it listens.

    Raises:
        OSError: EADDRINUSE (there is such a file), ENOENT, EACCES...

    manpage: unix(7)
    """
    sock = await thread.socket(AF.UNIX, SOCK.STREAM | SOCK.NONBLOCK | SOCK.CLOEXEC)
    try:
        # `bind` makes the file with this mode, so there is no moment in which others could connect.
        await sock.fchmod(0o600)
        address = await SockaddrUn.from_path(thread, path)
        try:
            await sock.bind(await thread.ram.ptr(address))
        finally:
            with trio.CancelScope(shield=True):
                await address.close()
    except BaseException:
        with trio.CancelScope(shield=True):
            await sock.invalidate()
        raise
    return sock


async def peer(ram: RAM, sock: FileDescriptor) -> Ucred:
    """Who was at the other end of a socket when it connected. manpage: unix(7)."""
    result = await sock.getsockopt(SOL.SOCKET, SO.PEERCRED, await ram.ptr(Sockbuf(await ram.malloc(Ucred))))
    return await (await result.read()).buf.read()
