"""The base class of file systems that the program serves: one method for each request."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rsyscall.linux.fuse import FUSE_INIT

if TYPE_CHECKING:
    from rsyscall.linux.fuse import (
        FuseAccessOp,
        FuseAttrOut,
        FuseBmapOp,
        FuseBmapOut,
        FuseCopyFileRange64Op,
        FuseCopyFileRangeOp,
        FuseCopyFileRangeOut,
        FuseCreateOp,
        FuseDirent,
        FuseDirentplus,
        FuseEntryOut,
        FuseFallocateOp,
        FuseFlushOp,
        FuseFsyncdirOp,
        FuseFsyncOp,
        FuseGetattrOp,
        FuseGetlkOp,
        FuseGetxattrOp,
        FuseIn,
        FuseInitOut,
        FuseIoctlOp,
        FuseIoctlOut,
        FuseLinkOp,
        FuseListxattrOp,
        FuseLkOut,
        FuseLookupOp,
        FuseLseekOp,
        FuseLseekOut,
        FuseMkdirOp,
        FuseMknodOp,
        FuseNotifyReplyOp,
        FuseOpendirOp,
        FuseOpenOp,
        FuseOpenOut,
        FusePollOp,
        FusePollOut,
        FuseReaddirOp,
        FuseReaddirplusOp,
        FuseReadlinkOp,
        FuseReadOp,
        FuseReleasedirOp,
        FuseReleaseOp,
        FuseRemovemappingOp,
        FuseRemovexattrOp,
        FuseRename2Op,
        FuseRenameOp,
        FuseRmdirOp,
        FuseSetattrOp,
        FuseSetlkOp,
        FuseSetlkwOp,
        FuseSetupmappingOp,
        FuseSetxattrOp,
        FuseStatfsOp,
        FuseStatfsOut,
        FuseStatxOp,
        FuseStatxOut,
        FuseSymlinkOp,
        FuseSyncfsOp,
        FuseTmpfileOp,
        FuseUnlinkOp,
        FuseWriteOp,
        FuseWriteOut,
    )

__all__ = ["Filesystem"]


def _missing(op: FuseIn) -> OSError:
    return OSError(errno.ENOSYS, "the file system does not have this request", type(op).__name__)


class Filesystem:
    """A file system. Override the methods for what it can do; all others fail with ENOSYS.

    A method gets the request, and returns what `op.respond` takes: nothing, one value, or a tuple of several.
    An OSError that it raises is the answer; any other exception is logged and answered with EIO. Methods run
    concurrently. When a signal interrupts the process that waits, the method is cancelled, and the answer is
    EINTR. A method that has made a file by then should remove it: for the kernel, the call has failed.

    Names have been checked: they are no paths. Numbers come from the kernel, on behalf of any process:
    `op.hdr.nodeid` and `op.msg.fh` are numbers that this file system has given to the kernel; sizes are the
    most that an answer may have.

    If one of some requests fails with ENOSYS, the kernel sends no more of that kind: OPEN, FLUSH, FSYNC,
    ACCESS, GETXATTR, FALLOCATE, LSEEK and others.

    Attributes:
        wanted: flags to ask the kernel for. With `FUSE_INIT.ATOMIC_O_TRUNC`, for example, `open` truncates;
            without it, the kernel sends SETATTR for that. With `FUSE_INIT.EXPORT_SUPPORT`, a `lookup` can be
            of "." or "..", also in a node that the kernel has forgotten.
        max_write: the most bytes of one WRITE request.
        time_gran: the resolution of the times of files, in nanoseconds.

    manpage: fuse(4)
    """

    wanted: FUSE_INIT = (
        FUSE_INIT.ASYNC_READ | FUSE_INIT.PARALLEL_DIROPS | FUSE_INIT.ABORT_ERROR | FUSE_INIT.SETXATTR_EXT
    )
    max_write: int = 1 << 17
    time_gran: int = 1

    async def begin(self, init: FuseInitOut) -> None:
        """The kernel has mounted it; `init` is what was negotiated. Called once, before all requests."""

    async def destroy(self) -> None:
        """The file system is gone: close everything. Called once, at the end."""

    def forget(self, nodeid: int, nlookup: int) -> None:
        """The kernel drops `nlookup` of its lookups of a node; each `FuseEntryOut` is one lookup."""

    async def notify_reply(self, op: FuseNotifyReplyOp) -> None:
        """The data that `FuseNotify.retrieve` has asked for. There is no answer."""

    async def lookup(self, op: FuseLookupOp) -> FuseEntryOut:
        """Find `name` in a directory. The kernel counts one more lookup of the node: see `forget`."""
        raise _missing(op)

    async def getattr(self, op: FuseGetattrOp) -> FuseAttrOut:
        """The attributes of a file."""
        raise _missing(op)

    async def statx(self, op: FuseStatxOp) -> FuseStatxOut:
        """The attributes of a file, as `statx` has them."""
        raise _missing(op)

    async def setattr(self, op: FuseSetattrOp) -> FuseAttrOut:
        """Change attributes of a file: chmod, chown, truncate, utimensat."""
        raise _missing(op)

    async def access(self, op: FuseAccessOp) -> None:
        """Whether a file may be used."""
        raise _missing(op)

    async def readlink(self, op: FuseReadlinkOp) -> str | os.PathLike[str]:
        """Where a symbolic link leads to."""
        raise _missing(op)

    async def symlink(self, op: FuseSymlinkOp) -> FuseEntryOut:
        """Make a symbolic link `name` to `target`."""
        raise _missing(op)

    async def mknod(self, op: FuseMknodOp) -> FuseEntryOut:
        """Make a file `name`."""
        raise _missing(op)

    async def mkdir(self, op: FuseMkdirOp) -> FuseEntryOut:
        """Make a directory `name`."""
        raise _missing(op)

    async def unlink(self, op: FuseUnlinkOp) -> None:
        """Remove the file `name`."""
        raise _missing(op)

    async def rmdir(self, op: FuseRmdirOp) -> None:
        """Remove the directory `name`."""
        raise _missing(op)

    async def rename(self, op: FuseRenameOp) -> None:
        """Move `name` to `newname` in another directory."""
        raise _missing(op)

    async def rename2(self, op: FuseRename2Op) -> None:
        """Move `name` to `newname` in another directory, with flags."""
        raise _missing(op)

    async def link(self, op: FuseLinkOp) -> FuseEntryOut:
        """Give a file the name `name` too."""
        raise _missing(op)

    async def open(self, op: FuseOpenOp) -> FuseOpenOut:
        """Open a file."""
        raise _missing(op)

    async def create(self, op: FuseCreateOp) -> tuple[FuseEntryOut, FuseOpenOut]:
        """Make a file `name` and open it."""
        raise _missing(op)

    async def tmpfile(self, op: FuseTmpfileOp) -> tuple[FuseEntryOut, FuseOpenOut]:
        """Make a file without a name and open it (O_TMPFILE). `name` has no meaning."""
        raise _missing(op)

    async def read(self, op: FuseReadOp) -> bytes:
        """Read from an open file."""
        raise _missing(op)

    async def write(self, op: FuseWriteOp) -> FuseWriteOut:
        """Write `data` to an open file."""
        raise _missing(op)

    async def flush(self, op: FuseFlushOp) -> None:
        """A descriptor of an open file is closed."""
        raise _missing(op)

    async def release(self, op: FuseReleaseOp) -> None:
        """An open file is closed."""
        raise _missing(op)

    async def fsync(self, op: FuseFsyncOp) -> None:
        """Write an open file to the disk."""
        raise _missing(op)

    async def opendir(self, op: FuseOpendirOp) -> FuseOpenOut:
        """Open a directory."""
        raise _missing(op)

    async def readdir(self, op: FuseReaddirOp) -> Sequence[FuseDirent]:
        """The entries of a directory, from `msg.offset` on."""
        raise _missing(op)

    async def readdirplus(self, op: FuseReaddirplusOp) -> Sequence[FuseDirentplus]:
        """The entries of a directory with their attributes, from `msg.offset` on."""
        raise _missing(op)

    async def releasedir(self, op: FuseReleasedirOp) -> None:
        """An open directory is closed."""
        raise _missing(op)

    async def fsyncdir(self, op: FuseFsyncdirOp) -> None:
        """Write an open directory to the disk."""
        raise _missing(op)

    async def statfs(self, op: FuseStatfsOp) -> FuseStatfsOut:
        """How large and how full the file system is."""
        raise _missing(op)

    async def syncfs(self, op: FuseSyncfsOp) -> None:
        """Write the file system to the disk."""
        raise _missing(op)

    async def setxattr(self, op: FuseSetxattrOp) -> None:
        """Set the extended attribute `name` to `data`."""
        raise _missing(op)

    async def getxattr(self, op: FuseGetxattrOp) -> str | bytes:
        """The value of an extended attribute."""
        raise _missing(op)

    async def listxattr(self, op: FuseListxattrOp) -> str | bytes:
        """The names of all extended attributes."""
        raise _missing(op)

    async def removexattr(self, op: FuseRemovexattrOp) -> None:
        """Remove the extended attribute `name`."""
        raise _missing(op)

    async def getlk(self, op: FuseGetlkOp) -> FuseLkOut:
        """Which lock is in the way."""
        raise _missing(op)

    async def setlk(self, op: FuseSetlkOp) -> None:
        """Lock or unlock a part of a file, or fail with EAGAIN."""
        raise _missing(op)

    async def setlkw(self, op: FuseSetlkwOp) -> None:
        """Lock or unlock a part of a file, and wait for that."""
        raise _missing(op)

    async def bmap(self, op: FuseBmapOp) -> FuseBmapOut:
        """Where a block is on a device."""
        raise _missing(op)

    async def ioctl(self, op: FuseIoctlOp) -> tuple[FuseIoctlOut, bytes]:
        """An ioctl on an open file, with `data` for it."""
        raise _missing(op)

    async def poll(self, op: FusePollOp) -> FusePollOut:
        """Which events there are."""
        raise _missing(op)

    async def fallocate(self, op: FuseFallocateOp) -> None:
        """Reserve or free a part of an open file."""
        raise _missing(op)

    async def lseek(self, op: FuseLseekOp) -> FuseLseekOut:
        """Where data or a hole begins."""
        raise _missing(op)

    async def copy_file_range(self, op: FuseCopyFileRangeOp) -> FuseWriteOut:
        """Copy from one open file to another."""
        raise _missing(op)

    async def copy_file_range_64(self, op: FuseCopyFileRange64Op) -> FuseCopyFileRangeOut:
        """The same, with a count of 64 bits in the answer."""
        raise _missing(op)

    async def setupmapping(self, op: FuseSetupmappingOp) -> None:
        """Map a part of a file."""
        raise _missing(op)

    async def removemapping(self, op: FuseRemovemappingOp) -> None:
        """End mappings; `data` are as many `FuseRemovemappingOne`."""
        raise _missing(op)
