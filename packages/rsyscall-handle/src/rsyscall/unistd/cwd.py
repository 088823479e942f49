"""The working directory, the root directory and the umask of a process, from `<unistd.h>` and `<sys/stat.h>`.

Each process has its own, but a process made with `CLONE.FS` shares all three with its parent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from rsyscall.handle.arguments import FDNUM, INT, MODE, OUT_STRING, PATH, SIZE, call
from rsyscall.handle.fd import FileDescriptorTask
from rsyscall.handle.pointer import Pointer, not_a_pointer
from rsyscall.near import nr
from rsyscall.near.naming import naming

if TYPE_CHECKING:
    from rsyscall.handle.fd import BaseFileDescriptor
    from rsyscall.handle.pointer import PathPointer, ReadablePointer
    from rsyscall.near import SyscallInterface
    from rsyscall.near import types as near

__all__ = ["CWDTask"]

T = TypeVar("T")


class CWDTask(FileDescriptorTask[Any]):
    """Working directory, root directory, umask."""

    async def chdir(self, path: PathPointer) -> None:
        """`chdir(path)`: change the working directory.

        Raises:
            OSError: ENOENT, ENOTDIR, EACCES...; `filename` is the path.

        manpage: chdir(2)
        """
        if not isinstance(path, Pointer):
            raise not_a_pointer(path)
        with path.borrow(self) as path_addr, naming(path.value):
            await _chdir(self.sysif, path_addr)

    async def fchdir(self, fd: BaseFileDescriptor) -> None:
        """`fchdir(fd)`: change the working directory to an open directory.

        Raises:
            FDTableMismatchError: the descriptor is in another table.
            OSError: ENOTDIR, EACCES; `filename` is the descriptor.

        manpage: fchdir(2)
        """
        with fd.borrow(self) as fd_near, naming(fd):
            await _fchdir(self.sysif, fd_near)

    async def getcwd(self, buf: Pointer[T]) -> tuple[ReadablePointer[T], Pointer[T]]:
        """`getcwd(buf, size)`: path of the working directory.

        Args:
            buf: room for the path and a NUL. Consumed.

        Returns:
            The part that holds the path and its NUL, and the rest. A path that begins with "(unreachable)" is
            not below the root directory.

        Raises:
            OSError: ERANGE (does not fit), ENOENT (the directory was removed). `buf` is still valid then.

        manpage: getcwd(2)
        """
        with buf.borrow(self) as buf_addr, naming(buf):
            count = await _getcwd(self.sysif, buf_addr, buf.size())
        return buf.readable_split(count)

    async def chroot(self, path: PathPointer) -> None:
        """`chroot(path)`: change the root directory. The working directory stays the same, even if it is not
        below the new root.

        Raises:
            OSError: EPERM (needs CAP_SYS_CHROOT), ENOENT, ENOTDIR...; `filename` is the path.

        manpage: chroot(2)
        """
        if not isinstance(path, Pointer):
            raise not_a_pointer(path)
        with path.borrow(self) as path_addr, naming(path.value):
            await _chroot(self.sysif, path_addr)

    async def fchroot(self, fd: BaseFileDescriptor, flags: int = 0) -> None:
        """`fchroot(fd, flags)`: change the root directory to an open directory, as `chroot` does.

        Args:
            flags: none is defined yet.

        Raises:
            FDTableMismatchError: the descriptor is in another table.
            OSError: EPERM (needs CAP_SYS_CHROOT), ENOTDIR, EINVAL, ENOSYS (before Linux 7.3); `filename` is
                the descriptor.

        manpage: chroot(2)
        """
        with fd.borrow(self) as fd_near, naming(fd):
            await _fchroot(self.sysif, fd_near, flags)

    async def umask(self, mask: int) -> int:
        """`umask(mask)`: set the permission bits that new files do not get. Never fails.

        Returns:
            The mask until now.

        manpage: umask(2)
        """
        return await _umask(self.sysif, mask)


@call("chdir", PATH)
async def _chdir(sysif: SyscallInterface, path: near.Address) -> None:
    """The raw call."""
    await sysif.syscall(nr.chdir, path)


@call("fchdir", FDNUM)
async def _fchdir(sysif: SyscallInterface, fd: near.FileDescriptor) -> None:
    """The raw call."""
    await sysif.syscall(nr.fchdir, fd)


@call("getcwd", OUT_STRING, SIZE)
async def _getcwd(sysif: SyscallInterface, buf: near.Address, size: int) -> int:
    """The raw call. Unlike the function of C libraries it returns the length, with the NUL."""
    return await sysif.syscall(nr.getcwd, buf, size)


@call("chroot", PATH)
async def _chroot(sysif: SyscallInterface, path: near.Address) -> None:
    """The raw call."""
    await sysif.syscall(nr.chroot, path)


@call("fchroot", FDNUM, INT)
async def _fchroot(sysif: SyscallInterface, fd: near.FileDescriptor, flags: int) -> None:
    """The raw call."""
    await sysif.syscall(nr.fchroot, fd, flags)


@call("umask", MODE)
async def _umask(sysif: SyscallInterface, mask: int) -> int:
    """The raw call."""
    return await sysif.syscall(nr.umask, mask)
