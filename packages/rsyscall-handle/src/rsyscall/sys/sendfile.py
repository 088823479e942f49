"""`<sys/sendfile.h>`: writing what another file has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsyscall._fcntl_copy import OFFSET, borrow_offset
from rsyscall.handle.arguments import FDNUM, SIZE, call
from rsyscall.handle.fd import BaseFileDescriptor
from rsyscall.near import nr
from rsyscall.near.naming import naming

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer
    from rsyscall.near import types as near
    from rsyscall.near.sysif import SyscallInterface
    from rsyscall.struct import Int64

__all__ = ["SendfileFileDescriptor"]


class SendfileFileDescriptor(BaseFileDescriptor):
    """Writing what another file has.

    An offset in memory is where the call starts in that file, and is moved on by what it has moved, in place
    of the position of the file.
    """

    __slots__ = ()

    async def sendfile(self, in_fd: BaseFileDescriptor, offset: Pointer[Int64] | None, count: int) -> int:
        """`sendfile(fd, in_fd, offset, count)`: write here what `in_fd` has.

        Args:
            in_fd: a file, not a socket or a pipe.
            offset: where to start in `in_fd`; or None, for its position. Not consumed.
            count: bytes, at most.

        Returns:
            How many bytes were moved; 0 at the end of `in_fd`.

        Raises:
            OSError: EAGAIN, EINVAL (`in_fd` cannot do that, or this descriptor is for appending), EPIPE...;
                `filename` is this descriptor, `filename2` is `in_fd`.

        manpage: sendfile(2)
        """
        self._validate()
        task = self.task
        with (
            in_fd.borrow(task) as in_near,
            borrow_offset(offset, task) as offset_addr,
            naming(self, in_fd),
        ):
            return await _sendfile(task.sysif, self.near, in_near, offset_addr, count)


@call("sendfile", FDNUM, FDNUM, OFFSET, SIZE)
async def _sendfile(
    sysif: SyscallInterface,
    out_fd: near.FileDescriptor,
    in_fd: near.FileDescriptor,
    offset: near.Address | None,
    count: int,
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.sendfile, out_fd, in_fd, offset or 0, count)
