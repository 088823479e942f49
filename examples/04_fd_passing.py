"""A file that only one process can reach, handed to another one, which does not see where it is."""

from __future__ import annotations

import trio

from rsyscall import ChildThread, FileDescriptor, Path, local_thread
from rsyscall.fcntl import O
from rsyscall.sched import CLONE
from rsyscall.sys.mount import MS
from rsyscall.sys.socket import (
    AF,
    CMSG_SPACE,
    SOCK,
    CmsgList,
    CmsgSCMRights,
    RecvmsgFlags,
    RecvMsghdr,
    SendmsgFlags,
    SendMsghdr,
)
from rsyscall.sys.uio import IovecList


async def send(thread: ChildThread, sock: FileDescriptor, file: FileDescriptor) -> None:
    """Send a descriptor of this process; a stream wants a byte of data with it."""
    data = await thread.ptr(IovecList([await thread.ptr(b"x")]))
    rights = await thread.ptr(CmsgList([CmsgSCMRights([file])]))
    await sock.sendmsg(await thread.ptr(SendMsghdr(None, data, rights)), SendmsgFlags.NONE)


async def receive(thread: ChildThread, sock: FileDescriptor) -> FileDescriptor:
    """Receive a descriptor into this process, which owns it from then on."""
    data = await thread.ptr(IovecList([await thread.malloc(bytes, 1)]))
    room = await thread.malloc(CmsgList, CMSG_SPACE(4))
    _, _, message = await sock.recvmsg(await thread.ptr(RecvMsghdr(None, data, room)), RecvmsgFlags.NONE)
    control = (await message.read()).control
    assert control is not None
    [rights] = await control.read()
    assert isinstance(rights, CmsgSCMRights)
    [file] = rights
    return file


async def main() -> None:
    pair = await local_thread.socketpair(AF.UNIX, SOCK.STREAM)
    # It stays beside a command: so it has memory of its own, and of our descriptors only this one.
    keeper = await local_thread.clone(CLONE.NEWUSER | CLONE.NEWNS, own_memory=True, inherit=[pair.first])
    reader = await local_thread.clone()
    async with keeper.process, reader.process:
        await keeper.mount("none", "/", "", MS.REC | MS.PRIVATE, "")
        await keeper.mount("tmpfs", "/mnt", "tmpfs", MS.NONE, "")
        path = await keeper.spit(Path("/mnt/secret"), "from a file system that only the keeper has mounted\n")
        try:
            await reader.task.open(await reader.ptr(path), O.RDONLY)
        except FileNotFoundError as error:
            print("the reader cannot open it:", error.strerror)

        file = await keeper.task.open(await keeper.ptr(path), O.RDONLY)
        await send(keeper, keeper.inherit_fd(pair.first), file)
        received = await receive(reader, reader.inherit_fd(pair.second))
        await received.dup2(reader.stdin)
        process = await reader.exec(await reader.environ.which("cat"))
        await process.check()


if __name__ == "__main__":
    trio.run(main)
