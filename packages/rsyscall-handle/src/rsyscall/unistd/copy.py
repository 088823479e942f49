"""Copying from file to file, from `<unistd.h>`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsyscall._fcntl_copy import OFFSET, borrow_offset
from rsyscall.handle.arguments import FDNUM, LONG, SIZE, call
from rsyscall.handle.fd import BaseFileDescriptor
from rsyscall.near import nr
from rsyscall.near.naming import naming

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer
    from rsyscall.near import types as near
    from rsyscall.near.sysif import SyscallInterface
    from rsyscall.struct import Int64

__all__ = ["CopyRangeFileDescriptor"]


class CopyRangeFileDescriptor(BaseFileDescriptor):
    """Copying from file to file.

    If there is an offset in memory for a file, the call starts there and adds to it how many bytes it has
    moved. The position of the file then stays as it is.
    """

    __slots__ = ()

    async def copy_file_range(
        self,
        off_in: Pointer[Int64] | None,
        fd_out: BaseFileDescriptor,
        off_out: Pointer[Int64] | None,
        len: int,
        flags: int = 0,
    ) -> int:
        """`copy_file_range(fd, off_in, fd_out, off_out, len, flags)`: copy a part of this file to another.

        File systems that can do it share the data instead of copying it.

        Args:
            off_in, off_out: where to start in each file; None for its position. Not consumed.
            len: how many bytes to copy at most.
            flags: 0; the kernel defines none yet.

        Returns:
            How many bytes were copied; 0 at the end of this file.

        Raises:
            OSError: EXDEV, EINVAL (ranges of one file that overlap, no regular file), EBADF (`O.APPEND`),
                EISDIR, ENOSPC...; `filename` is this descriptor, `filename2` is `fd_out`.

        manpage: copy_file_range(2)
        """
        self._validate()
        task = self.task
        with (
            fd_out.borrow(task) as out_near,
            borrow_offset(off_in, task) as in_addr,
            borrow_offset(off_out, task) as out_addr,
            naming(self, fd_out),
        ):
            return await _copy_file_range(task.sysif, self.near, in_addr, out_near, out_addr, len, flags)


@call("copy_file_range", FDNUM, OFFSET, FDNUM, OFFSET, SIZE, LONG)
async def _copy_file_range(
    sysif: SyscallInterface,
    fd_in: near.FileDescriptor,
    off_in: near.Address | None,
    fd_out: near.FileDescriptor,
    off_out: near.Address | None,
    len: int,
    flags: int,
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.copy_file_range, fd_in, off_in or 0, fd_out, off_out or 0, len, flags)
