"""Mounting a file system that the program serves, and the messages of the kernel about it.

    device = await FuseDevice.mount(thread, "/mnt/point")
    async with device:
        while requests := await device.read():
            ...

/dev/fuse is open in one process only, which is made for it and has a descriptor table of its own. When that
process ends, for whatever reason, the kernel fails all requests with ENOTCONN. If another process had a copy
of the descriptor, they would wait forever instead. They would also if this process used the files itself:
it makes no call that could.
"""

from __future__ import annotations

import errno
import logging
import os
from typing import TYPE_CHECKING

import trio

from rsyscall.async_fd import finish
from rsyscall.child_process import end_process
from rsyscall.closing import ClosedAtEnd
from rsyscall.fcntl import AT, O
from rsyscall.linux.fuse import (
    FUSE_MIN_READ_BUFFER,
    FuseErrorResponse,
    FuseInHeader,
    FuseInList,
    FuseNotify,
    FuseOutHeader,
)
from rsyscall.near.sysif import SyscallError
from rsyscall.sched import CLONE
from rsyscall.sys.mount import MS, UMOUNT
from rsyscall.sys.stat import STATX, Statx

if TYPE_CHECKING:
    from rsyscall.async_fd import AsyncFileDescriptor
    from rsyscall.command import StrOrBytesPath
    from rsyscall.handle import FileDescriptor, Pointer
    from rsyscall.thread import ChildThread, Thread

__all__ = ["FuseDevice"]

logger: logging.Logger = logging.getLogger(__name__)

_OVER = (errno.ENODEV, errno.ECONNABORTED)


class FuseDevice(ClosedAtEnd):
    """A mounted file system, and the descriptor of /dev/fuse by which it is served. See `mount`.

    Attributes:
        thread: whose mount namespace it is mounted in.
        server: the process that has /dev/fuse open.
        path: where it is mounted.
    """

    def __init__(
        self,
        thread: Thread,
        server: ChildThread,
        path: str,
        afd: AsyncFileDescriptor,
        mount_id: int | None,
        buf: Pointer[bytes],
    ) -> None:
        self.thread = thread
        self.server = server
        self.path = path
        self._afd = afd
        self._mount_id = mount_id
        self._buf = buf
        # A process that shares the table of the server, for calls that wait until requests are answered.
        self._notifier: tuple[ChildThread, FileDescriptor] | None = None
        self._notifying = trio.Lock()
        self._closed = False

    @staticmethod
    async def mount(
        thread: Thread,
        path: StrOrBytesPath,
        *,
        source: str = "rsyscall",
        subtype: str = "",
        options: str = "default_permissions",
        flags: MS = MS.NOSUID | MS.NODEV,
        buffer_size: int = (1 << 17) + 4096,
        device: str = "/dev/fuse",
    ) -> FuseDevice:
        """Make a process that serves, and mount the file system.

        The kernel begins with a request, `FuseInitOp`; until that is answered, other processes wait.

        Args:
            thread: in whose mount namespace to mount. It needs CAP_SYS_ADMIN in the user namespace to which
                that belongs; root of a new one has it.
            path: a directory, or a file for a file system that is only a file.
            source: a name for people.
            subtype: for people, too: the type is then `fuse.` and this.
            options: of the file system, separated by commas: `default_permissions`, with which the kernel
                checks permissions; `allow_other`, with which users other than the one who mounts can use the
                files; `max_read=`.
            flags: of the mount.
            buffer_size: bytes; requests that are larger fail. 4096 more than the `max_write` that is
                negotiated.
            device: where /dev/fuse is.

        Raises:
            ValueError: the buffer is too small, there is no source, or an option is set here.
            OSError: ENOENT or ENODEV (no FUSE), EACCES, EPERM (no CAP_SYS_ADMIN), ENOTDIR, EINVAL.

        manpage: fuse(4), mount(2)
        """
        if buffer_size < FUSE_MIN_READ_BUFFER:
            raise ValueError(f"the buffer needs {FUSE_MIN_READ_BUFFER} bytes", buffer_size)
        if not source:
            raise ValueError("the source needs a name, for people")
        own = {"fd", "rootmode", "user_id", "group_id"}
        given = [option.partition("=")[0] for option in options.split(",") if option]
        if not own.isdisjoint(given):
            raise ValueError("options that are set here", options)
        where = os.fsdecode(path)
        if not where.startswith("/"):
            where = f"{(await thread.getcwd()).rstrip('/')}/{where}"
        mounted = False
        server = await thread.clone()
        try:
            await _close_copies(server)
            fd = await server.open(device, O.RDWR | O.NONBLOCK)
            kind = (await server.stat(where)).mode.type
            options = ",".join(
                [
                    f"fd={int(fd)},rootmode={int(kind):o}",
                    f"user_id={await server.task.getuid()},group_id={await server.task.getgid()}",
                    *([options] if options else []),
                ]
            )
            buf = await server.malloc(bytes, buffer_size)
            kind_name = f"fuse.{subtype}" if subtype else "fuse"
            await server.mount(source, where, kind_name, flags, options)
            mounted = True
            # Only now: before, the kernel has nothing to wait for.
            afd = await server.make_afd(fd)
            mount_id = await _mount_id(server, where)
        except BaseException:
            await end_process(server.process)
            if mounted:
                with trio.CancelScope(shield=True):
                    await _unmount(thread, where, None, UMOUNT.DETACH)
            raise
        return FuseDevice(thread, server, where, afd, mount_id, buf)

    async def read(self) -> FuseInList:
        """Wait for a request. One task at a time can do that; cancellation loses none.

        Returns:
            The request; nothing when the file system is mounted nowhere any more, or was aborted. One that is
            not understood is logged and fails with EIO.

        manpage: fuse(4)
        """
        while True:
            try:
                valid, rest = await self._afd.read(self._buf)
            except OSError as error:
                if error.errno in _OVER:
                    return FuseInList()
                # Of a request that was interrupted before it was read.
                if error.errno in (errno.ENOENT, errno.EINTR):
                    continue
                raise
            data = await finish(valid.read)
            self._buf = valid + rest
            try:
                return FuseInList.from_bytes(data)
            except ValueError:
                logger.exception("a request of the kernel is not understood")
                # The process that waits is told, at least.
                unique = FuseInHeader.from_bytes(data).unique
                await self.write(FuseErrorResponse(FuseOutHeader(-errno.EIO, unique)).to_bytes())

    async def write(self, out: bytes) -> None:
        """Answer a request.

        An answer that came too late is no error: the request was interrupted, or the file system is gone.

        Args:
            out: a whole `FuseOut`, as bytes.

        Raises:
            OSError: EINVAL: the kernel does not take it, and the request has failed with EIO.

        manpage: fuse(4)
        """
        try:
            await self._afd.handle.write(await self.server.ptr(out))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EPERM, *_OVER):
                raise

    async def notify(self, notice: FuseNotify) -> None:
        """Tell the kernel something. It may wait until requests about the same file are answered.

        No signal ends that wait: if our program is killed while such a request has no answer, both processes
        wait until a user aborts the connection, in /sys/fs/fuse, or unmounts with `UMOUNT.FORCE`.

        Raises:
            OSError: ENOENT (the kernel does not know that node or name), ENOTEMPTY, EINVAL.

        manpage: fuse(4)
        """
        async with self._notifying:
            if self._notifier is None:
                child = await self.server.clone(CLONE.FILES)
                self._notifier = child, self._afd.handle.for_task(child.task)
            child, fd = self._notifier
            await fd.write(await child.ptr(notice.to_bytes()))

    async def unmount(self, *, detach: bool = False) -> None:
        """Unmount it, unless something else is mounted there now, or it is not mounted any more.

        Without `detach` the kernel first writes out what it still has, and the requests for that have to be
        answered meanwhile.

        Args:
            detach: unmount it also while it is in use; it ends when it is not in use any more, or when this
                is closed.

        Raises:
            OSError: EBUSY: it is in use.

        manpage: umount(2)
        """
        await _unmount(self.thread, self.path, self._mount_id, UMOUNT.DETACH if detach else UMOUNT.NONE)

    async def close(self) -> None:
        """End the process that serves, and take the mount away. Done even when cancelled.

        What was asked and not answered fails with ENOTCONN or ECONNABORTED.
        """
        if self._closed:
            return
        self._closed = True
        with trio.CancelScope(shield=True):
            if self._notifier is not None:
                # The notifier may wait for an answer, which no signal ends, and while it waits it has
                # /dev/fuse open: so the kernel has to abort first.
                try:
                    await _unmount(self.thread, self.path, self._mount_id, UMOUNT.FORCE | UMOUNT.DETACH)
                except (OSError, SyscallError):
                    pass  # what follows tries again without force
                await end_process(self._notifier[0].process)
                self._notifier = None
            try:
                await self._afd.epolled.delete()
            except (OSError, SyscallError):
                pass  # the process is gone
            await end_process(self.server.process)
            try:
                await self.unmount(detach=True)
            except SyscallError:
                pass  # its process is gone, and its mount namespace


async def _close_copies(server: ChildThread) -> None:
    """Close the copies of the program's descriptors: of pipes whose readers wait for the end, say."""
    try:
        await server.unshare_files(going_to_exec=False)
    except FileNotFoundError:
        pass  # there is no /proc to find them by


async def _mount_id(thread: Thread, path: str) -> int | None:
    """Which mount a path leads to; None before Linux 5.8. Makes no request about a mounted file."""
    flags = AT.NO_AUTOMOUNT | AT.STATX_DONT_SYNC
    wanted = STATX.MNT_ID | STATX.MNT_ID_UNIQUE
    found = await thread.task.statx(await thread.ram.ptr(path), flags, wanted, await thread.malloc(Statx))
    statx = await found.read()
    return statx.mnt_id if statx.mask & wanted else None


async def _unmount(thread: Thread, path: str, mount_id: int | None, flags: UMOUNT) -> None:
    """Unmount the path, if it is that mount; None for any."""
    # By a process of its own, since the call may wait for answers of the server, and for our own thread.
    helper = await thread.clone()
    async with helper.process:
        try:
            if mount_id in (None, await _mount_id(helper, path)):
                await helper.umount(path, flags)
        except OSError as error:
            # It is not mounted there any more.
            if error.errno not in (errno.EINVAL, errno.ENOENT, errno.ENOTDIR):
                raise
