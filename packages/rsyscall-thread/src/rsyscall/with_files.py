"""Descriptors of a thread: short forms of what takes several calls."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import trio

from rsyscall.async_fd import finish
from rsyscall.epoller import AsyncFileDescriptor
from rsyscall.fcntl import FD, F, O
from rsyscall.handle import FileDescriptor, Pointer, Task
from rsyscall.near import Syscall, nr
from rsyscall.near import types as near
from rsyscall.open_files import descriptor_flags
from rsyscall.with_setup import WithSetup

if TYPE_CHECKING:
    from rsyscall.command import StrOrBytesPath
    from rsyscall.epoller import Epoller
    from rsyscall.interfaces import Interfaces
    from rsyscall.linux.memfd import MFD
    from rsyscall.mounts import MountOptions
    from rsyscall.multiplexed import Multiplexer
    from rsyscall.network.connection import Connection
    from rsyscall.sys.mount import MOUNT_ATTR
    from rsyscall.sys.socket import AF, SOCK, Socketpair, T_sockaddr
    from rsyscall.unistd import Pipe

__all__ = ["Data", "WithFiles", "as_bytes", "do_cloexec_except"]

Data = str | bytes | bytearray | memoryview
"""What is written to a file. Text is encoded as `os.fsencode` does it."""


# Bytes that `read_to_eof` asks for: doubled while that many come.
_FIRST_READ = 4096
_LARGEST_READ = 1 << 20


def as_bytes(data: Data) -> bytes:
    """What is written to a file."""
    if isinstance(data, str):
        return os.fsencode(data)
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"data: expected bytes or text, not {data!r}")
    return bytes(data)


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


class WithFiles(WithSetup):
    """Open files, pipes and sockets of a process.

    Attributes:
        connection: makes channels between it and the local thread.
        epoller: waits for its descriptors.
    """

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
        """Make connected stream sockets: (our end, non-blocking; this process' end, blocking).

        If the process is reached only over a stream, they go over that: see `rsyscall.multiplexed`. Where
        that is not possible, our end is in another process there.
        """
        multiplexer = self._multiplexer()
        if multiplexer is None:
            return await self.connection.open_async_channels(count)
        return await multiplexer.open_async_channels(self.connection, count)

    async def open_channels(self, count: int) -> list[tuple[FileDescriptor, FileDescriptor]]:
        """Make connected stream sockets: (our end, this process' end), both blocking; see
        `open_async_channels`.
        """
        multiplexer = self._multiplexer()
        if multiplexer is None:
            return await self.connection.open_channels(count)
        return await multiplexer.open_channels(self.connection, count)

    def _multiplexer(self) -> Multiplexer | None:
        """What makes channels over the stream to a process elsewhere."""
        return None

    async def unshare_files(self, going_to_exec: bool = True) -> None:
        """Get a descriptor table of our own.

        Args:
            going_to_exec: leave the copies of descriptors without a handle open, since exec will close them;
                otherwise close them now.
        """
        await self.task.unshare_files()
        if not going_to_exec:
            await do_cloexec_except(self, {fd.near for fd in self.task.fd_handles if fd.valid})

    async def bind_getsockname(self, sock: FileDescriptor, addr: T_sockaddr) -> T_sockaddr:
        """Bind a socket and return the address that the kernel gave it."""
        from rsyscall.sys.socket import Sockbuf

        written = await self.ram.ptr(addr)
        await sock.bind(written)
        sockbuf = await sock.getsockname(await self.ram.ptr(Sockbuf(written)))
        return await (await sockbuf.read()).buf.read()

    async def read(self, fd: FileDescriptor, count: int = 4096) -> bytes:
        """Read once.

        Args:
            fd: a descriptor of this process. If it has to wait, it blocks the process: `make_afd` does not.
            count: how many bytes at most.

        Returns:
            What was there; nothing at the end of the file.

        Raises:
            OSError: EAGAIN, EISDIR, EIO and others; `filename` is the descriptor.

        manpage: read(2)
        """
        filled, _ = await fd.read(await self.ram.malloc(bytes, count))
        return await filled.read()

    async def write_all(self, fd: FileDescriptor, data: Data) -> None:
        """Write all of some data.

        Args:
            fd: a descriptor of this process. If it has to wait, it blocks the process: `make_afd` does not.
            data: bytes, or text.

        Raises:
            OSError: EAGAIN, EPIPE, ENOSPC and others; `filename` is the descriptor. A part of the data may
                have been written.

        manpage: write(2)
        """
        await self._write_pointer(fd, await self.ram.ptr(as_bytes(data)))

    async def _write_pointer(self, fd: FileDescriptor, rest: Pointer[Any]) -> None:
        """Write all of what is in the memory of this process."""
        while rest.size() > 0:
            _, rest = await fd.write(rest)

    async def memfd_create(self, name: str, flags: MFD | int = 0) -> FileDescriptor:
        """Make an empty file in memory, with a name for people. manpage: memfd_create(2)."""
        from rsyscall.linux.memfd import MFD

        return await self.task.memfd_create(await self.ram.ptr(name), MFD(flags))

    async def send_fds(self, sock: FileDescriptor, data: bytes, fds: Sequence[FileDescriptor]) -> int:
        """Send descriptors to another process, over a Unix socket.

        Args:
            sock: of this process.
            data: what goes with them: at least a byte, for a stream.
            fds: descriptors of this process, at most 253. They stay open here.

        Returns:
            How many bytes of the data were sent.

        Raises:
            FDTableMismatchError: one of the descriptors is not of this process.
            OSError: EAGAIN, EPIPE, EINVAL (too many, or no Unix socket); `filename` is the socket.

        manpage: SCM_RIGHTS in unix(7)
        """
        from rsyscall.sys.socket import CmsgList, CmsgSCMRights, SendmsgFlags, SendMsghdr
        from rsyscall.sys.uio import IovecList

        parts = await self.ram.ptr(IovecList([await self.ram.ptr(data)]))
        rights = await self.ram.ptr(CmsgList([CmsgSCMRights(fds)]))
        header = await self.ram.ptr(SendMsghdr(None, parts, rights))
        sent, _ = await sock.sendmsg(header, SendmsgFlags.NONE)
        return sent.size()

    # Protected: a KeyboardInterrupt between the call and the making of the handles would lose them.

    @trio.lowlevel.enable_ki_protection
    async def recv_fds(
        self, sock: FileDescriptor, count: int, maxfds: int
    ) -> tuple[bytes, list[FileDescriptor]]:
        """Receive descriptors, over a Unix socket.

        Args:
            sock: of this process. If there is nothing to receive, it blocks the process.
            count: how many bytes of data at most.
            maxfds: how many descriptors at most; the kernel drops others.

        Returns:
            The data, empty at the end of the stream; and the descriptors, which are now of this process.

        Raises:
            OSError: EAGAIN, ECONNRESET; `filename` is the socket.

        manpage: SCM_RIGHTS in unix(7)
        """
        from rsyscall.sys.socket import CMSG_SPACE, CmsgList, CmsgSCMRights, RecvmsgFlags, RecvMsghdr
        from rsyscall.sys.uio import IovecList

        parts = await self.ram.ptr(IovecList([await self.ram.malloc(bytes, count)]))
        room = await self.ram.malloc(CmsgList, CMSG_SPACE(4 * maxfds))
        header = await self.ram.ptr(RecvMsghdr(None, parts, room))
        filled, _, message = await sock.recvmsg(header, RecvmsgFlags.NONE)
        # From here on the descriptors are there: a cancellation must not lose them.
        control = (await finish(message.read)).control
        fds: list[FileDescriptor] = []
        for cmsg in [] if control is None else await finish(control.read):
            if isinstance(cmsg, CmsgSCMRights):
                fds += cmsg
        return b"".join([await finish(part.read) for part in filled]), fds

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

    async def socket(self, domain: AF, type: SOCK, protocol: int = 0) -> FileDescriptor:
        """Make a socket. manpage: socket(2)."""
        return await self.task.socket(domain, type, protocol)

    @property
    def net(self) -> Interfaces:
        """The network namespace of the process: its interfaces, their addresses, and routes.

        await thread.net.add_link("veth0", "veth", peer="veth1")
        await thread.net.add_address("veth0", "10.0.0.1/24")
        """
        from rsyscall.interfaces import Interfaces

        return Interfaces(self.task, self.ram)

    async def bring_up(self, interface: str = "lo") -> None:
        """Put a network interface into use. A new network namespace has only loopback, and that is down.

        Args:
            interface: its name, in the network namespace that this process is in.

        Raises:
            OSError: ENODEV, EPERM (needs CAP_NET_ADMIN).

        manpage: netdevice(7)
        """
        from rsyscall.net.if_ import IFF, SIOC, Ifreq
        from rsyscall.sys.socket import AF, SOCK

        async with await self.socket(AF.INET, SOCK.DGRAM) as sock:
            request = await self.ram.ptr(Ifreq(interface))
            await sock.ioctl(SIOC.GIFFLAGS, request)
            found = await request.read()
            await sock.ioctl(SIOC.SIFFLAGS, await self.ram.ptr(Ifreq(interface, flags=found.flags | IFF.UP)))

    # Protected: a KeyboardInterrupt between the call and the making of the handles would lose both of them.

    @trio.lowlevel.enable_ki_protection
    async def pipe(self, flags: O = O(0)) -> Pipe[FileDescriptor]:
        """Make a pipe. manpage: pipe2(2)."""
        from rsyscall.unistd import Pipe

        written = await self.task.pipe(await self.ram.malloc(Pipe), flags)
        return await finish(written.read)

    @trio.lowlevel.enable_ki_protection
    async def socketpair(self, domain: AF, type: SOCK, protocol: int = 0) -> Socketpair[FileDescriptor]:
        """Make a pair of connected sockets. manpage: socketpair(2)."""
        from rsyscall.sys.socket import Socketpair

        written = await self.task.socketpair(domain, type, protocol, await self.ram.malloc(Socketpair))
        return await finish(written.read)

    async def make_mount(
        self, filesystemtype: str, options: MountOptions = {}, *, attributes: MOUNT_ATTR | int = 0
    ) -> FileDescriptor:
        """Make a file system, and a mount of it that is attached nowhere yet.

            overlay = await thread.make_mount("overlay", {"lowerdir+": ["/top", "/bottom"]})
            await thread.attach_mount(overlay, "/mnt")

        Args:
            filesystemtype: "tmpfs", for example.
            options: of the file system, by their names: text, numbers, paths and descriptors; True for an
                option that has no value; a list for one that is given several times. The device of a file
                system on one is the option "source".
            attributes: members of MOUNT_ATTR, such as `MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV`.

        Returns:
            The mount. It goes with its last descriptor, unless `attach_mount` attaches it.

        Raises:
            TypeError: an option has a value of another type.
            OSError: EPERM (needs CAP_SYS_ADMIN), ENODEV (no such type), EINVAL and others; ENOSYS before
                Linux 5.2. Its text has what the file system says about it.

        manpage: fsopen(2), fsconfig(2), fsmount(2)
        """
        from rsyscall.mounts import make_mount

        return await make_mount(self.task, self.ram, filesystemtype, options, attributes)

    async def copy_mount(
        self,
        path: StrOrBytesPath,
        *,
        recursive: bool = False,
        attributes: MOUNT_ATTR | int = 0,
        userns: FileDescriptor | None = None,
    ) -> FileDescriptor:
        """Copy a mount, from a directory or file on, and attach the copy nowhere yet.

        Args:
            path: what is the root of the copy.
            recursive: with the mounts below it.
            attributes: members of MOUNT_ATTR that the copy gets, such as `MOUNT_ATTR.RDONLY`.
            userns: a user namespace, `/proc/self/ns/user` of a process in it: the copy is id-mapped. A file
                of a user whose number is `inside` in the namespace belongs, in the copy, to the user that is
                `outside` of it; see `IdRange`. So the files of root belong to the root of that namespace.
                A descriptor of this process or of one that shares its table.

        Returns:
            The copy. It goes with its last descriptor, unless `attach_mount` attaches it.

        Raises:
            OSError: EPERM (needs CAP_SYS_ADMIN; for `userns` in the user namespace of the file system),
                ENOENT, EINVAL (the file system, or one of those below, knows no id-mapped mounts); ENOSYS
                before Linux 5.12.

        manpage: open_tree(2), mount_setattr(2)
        """
        from rsyscall.mounts import copy_mount

        pointer = await self._path(path)
        return await copy_mount(self.task, self.ram, pointer, recursive, attributes, userns)

    async def attach_mount(self, mount: FileDescriptor, target: StrOrBytesPath) -> None:
        """Attach a mount that `make_mount` or `copy_mount` has made, perhaps in another process.

        Args:
            mount: the mount, a descriptor of this process or of one that shares its table.
            target: where; a directory, unless the mount is of a file.

        Raises:
            FDTableMismatchError: the descriptor is of another process.
            OSError: EPERM (needs CAP_SYS_ADMIN), ENOENT, ENOTDIR, EINVAL (it is attached already).

        manpage: move_mount(2)
        """
        from rsyscall.mounts import attach_mount

        await attach_mount(self.task, self.ram, mount, await self._path(target))

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
