"""Files of a thread: short forms of what takes several calls."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, overload

import trio

from rsyscall.epoller import AsyncFileDescriptor
from rsyscall.fcntl import FD, F, O
from rsyscall.handle import FileDescriptor, Pointer, Task
from rsyscall.near import Syscall, nr
from rsyscall.near import types as near
from rsyscall.open_files import descriptor_flags
from rsyscall.sys.socket import AF, SOCK, Sockbuf, Socketpair
from rsyscall.unistd import Pipe
from rsyscall.with_memory import WithMemory

if TYPE_CHECKING:
    from rsyscall.command import StrPath
    from rsyscall.epoller import Epoller
    from rsyscall.network.connection import Connection
    from rsyscall.path import Path
    from rsyscall.sys.mount import MS
    from rsyscall.sys.socket import T_sockaddr

__all__ = ["WithFiles", "do_cloexec_except"]

# Bytes that `read_to_eof` asks for: doubled while that many come.
_FIRST_READ = 4096
_LARGEST_READ = 1 << 20


async def _wait_readable(fd: FileDescriptor) -> bool:
    """Wait in trio for a descriptor of our own process.

    Returns False if epoll cannot wait for it: regular files are always ready, and if there is an error the
    read will report it.
    """
    with fd.borrow(fd.task) as number:
        try:
            await trio.lowlevel.wait_readable(int(number))
        except OSError:
            return False
    return True


class WithFiles(WithMemory):
    """Files, directories, pipes and sockets of a process.

    Attributes:
        task: makes system calls in it.
        connection: makes channels between it and the local thread.
        epoller: waits for its descriptors.
    """

    task: Task
    connection: Connection
    epoller: Epoller

    async def make_afd(self, fd: FileDescriptor, set_nonblock: bool = False) -> AsyncFileDescriptor:
        """Make a descriptor usable without blocking the process.

        Args:
            fd: a descriptor of this process, which must be non-blocking.
            set_nonblock: set O_NONBLOCK first. It is a property of the open file, so all other processes that
                have it open see it too; other status flags are kept.

        Raises:
            ValueError: it is blocking, and `set_nonblock` is not given.
        """
        flags = await fd.fcntl(F.GETFL)
        if not flags & O.NONBLOCK:
            if not set_nonblock:
                raise ValueError(
                    f"{fd} is blocking, so a read or write that has to wait would block its whole process; "
                    "open it with O.NONBLOCK, or give set_nonblock=True"
                )
            await fd.fcntl(F.SETFL, flags | O.NONBLOCK)
        return await AsyncFileDescriptor.make(self.epoller, self.ram, fd)

    async def open_async_channels(self, count: int) -> list[tuple[AsyncFileDescriptor, FileDescriptor]]:
        """Make connected stream sockets: (our end, non-blocking; this process' end, blocking)."""
        return await self.connection.open_async_channels(count)

    async def open_channels(self, count: int) -> list[tuple[FileDescriptor, FileDescriptor]]:
        """Make connected stream sockets: (our end, this process' end), both blocking."""
        return await self.connection.open_channels(count)

    @overload
    async def spit(self, path: FileDescriptor, text: str | bytes) -> None: ...
    @overload
    async def spit(self, path: Path, text: str | bytes, mode: int = 0o644) -> Path: ...
    async def spit(self, path: Path | FileDescriptor, text: str | bytes, mode: int = 0o644) -> Path | None:
        """Write a whole file: open, truncate, write all, close. Blocks the process while a pipe is full.

        Args:
            path: of the file; or an open descriptor, which is closed.
            text: the contents.
            mode: permissions, if the file is created.

        Returns:
            The path, or None for a descriptor.
        """
        if isinstance(path, FileDescriptor):
            fd, result = path, None
        else:
            fd = await self.task.open(await self.ram.ptr(path), O.WRONLY | O.TRUNC | O.CREAT, mode)
            result = path
        async with fd:
            rest: Pointer[Any] = await self.ram.ptr(os.fsencode(text))
            while rest.size() > 0:
                _, rest = await fd.write(rest)
        return result

    async def bind_getsockname(self, sock: FileDescriptor, addr: T_sockaddr) -> T_sockaddr:
        """Bind a socket and return the address that the kernel gave it."""
        written = await self.ram.ptr(addr)
        await sock.bind(written)
        sockbuf = await sock.getsockname(await self.ram.ptr(Sockbuf(written)))
        return await (await sockbuf.read()).buf.read()

    async def mkdir(self, path: Path, mode: int = 0o755) -> Path:
        """Make a directory and return its path."""
        await self.task.mkdir(await self.ram.ptr(path), mode)
        return path

    async def read_to_eof(self, fd: FileDescriptor) -> bytes:
        """Read up to the end of the file.

        A read that has to wait blocks the process of `fd`. In our own process, where that would block the
        program, we wait in trio until there is data to read. The program is blocked only if another reader of
        the same file takes that data first.

        Args:
            fd: the file; it may be non-blocking if it is of our own process.

        Raises:
            OSError: EISDIR, EIO, ECONNRESET and others; `filename` is the descriptor. The data read so far is
                lost, also when this is cancelled.

        manpage: read(2)
        """
        pieces: list[bytes] = []
        size = _FIRST_READ
        buf: Pointer[bytes] = await self.ram.malloc(bytes, size)
        # The other end of a pipe would never become readable.
        in_trio = fd.task.sysif.immediate and await fd.fcntl(F.GETFL) & O.ACCMODE != O.WRONLY
        while True:
            # Either is a checkpoint.
            if in_trio:
                in_trio = await _wait_readable(fd)
            else:
                await trio.lowlevel.checkpoint()
            try:
                valid, rest = await fd.read(buf)
            except BlockingIOError:
                if not in_trio:
                    raise
                continue
            count = valid.size()
            if count == 0:
                return b"".join(pieces)
            pieces.append(await valid.read())
            if count == size < _LARGEST_READ:
                size = min(2 * size, _LARGEST_READ)
                buf = await self.ram.malloc(bytes, size)
            else:
                buf = valid + rest

    async def mount(
        self, source: StrPath, target: StrPath, filesystemtype: str, mountflags: MS, data: str
    ) -> None:
        """Mount a file system.

        Raises:
            OSError: filename is the source, filename2 the rest.

        manpage: mount(2)
        """
        ptr = self.ram.ptr
        await self.task.mount(
            await ptr(os.fspath(source)),
            await ptr(os.fspath(target)),
            await ptr(filesystemtype),
            mountflags,
            await ptr(data),
        )

    async def socket(self, domain: AF, type: SOCK, protocol: int = 0) -> FileDescriptor:
        """Make a socket. manpage: socket(2)."""
        return await self.task.socket(domain, type, protocol)

    # Protected: a KeyboardInterrupt between the call and the making of the handles would lose both of them.

    @trio.lowlevel.enable_ki_protection
    async def pipe(self, flags: O = O(0)) -> Pipe[FileDescriptor]:
        """Make a pipe. manpage: pipe2(2)."""
        return await (await self.task.pipe(await self.ram.malloc(Pipe), flags)).read()

    @trio.lowlevel.enable_ki_protection
    async def socketpair(self, domain: AF, type: SOCK, protocol: int = 0) -> Socketpair[FileDescriptor]:
        """Make a pair of connected sockets. manpage: socketpair(2)."""
        from rsyscall.sys.socket import Socketpair

        return await (
            await self.task.socketpair(domain, type, protocol, await self.ram.malloc(Socketpair))
        ).read()

    async def chroot(self, path: StrPath) -> None:
        """Change the root directory. manpage: chroot(2)."""
        await self.task.chroot(await self.ram.ptr(os.fspath(path)))

    def inherit_fd(self, fd: FileDescriptor) -> FileDescriptor:
        """Make a handle, for this process, of a descriptor that it inherited from its parent."""
        return self.task.inherit_fd(fd)


async def do_cloexec_except(thr: WithFiles, excluded_fds: set[near.FileDescriptor]) -> None:
    """Close every descriptor of `thr` that exec would close, except those given.

    For a process with a table of its own that does not exec: as long as it has copies of the ends of a pipe,
    the other end sees no end of file. Needs /proc.

    Args:
        thr: the process.
        excluded_fds: numbers to keep. The set is changed: the descriptors by which we drive the process are
            added.

    manpage: proc(5)
    """
    task = thr.task
    # What is closed here behind the table's back cannot be inherited any more.
    task.fd_table.remove_inherited()
    flags = await descriptor_flags(task, thr.ram)
    for sharer in task.fd_table.tasks:
        if isinstance(sharer, Task):
            excluded_fds.update(fd.near for fd in sharer.infrastructure_fds if fd.valid)
    doomed = [number for number, flag in flags.items() if flag & FD.CLOEXEC]
    await task.sysif.syscalls(
        [Syscall(nr.close, number) for number in doomed if near.FileDescriptor(number) not in excluded_fds]
    )
