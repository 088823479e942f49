"""The calls of `<fcntl.h>` that name a file by a handle. It stays valid as long as the file exists, and in
all processes.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, TypeVar

from rsyscall._fcntl_handle import HANDLE_HEADER, FileHandle
from rsyscall.fcntl import AT, O, encode_open_flags
from rsyscall.handle.arguments import ADDRESS, DIRFD, FDNUM, OPEN_FLAGS, PATH, call, directory, flags
from rsyscall.handle.buffers import require_size, resized_on
from rsyscall.handle.fd import BaseFileDescriptor, FileDescriptorTask, T_fd
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.near.record import CallRecord
from rsyscall.struct import Int32, Int64

if TYPE_CHECKING:
    from typing import Any

    from rsyscall.handle.pointer import PathPointer, Pointer, ReadablePointer, WrittenPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["HandleFileDescriptor", "HandleTask"]

_CLOEXEC = O.CLOEXEC.value

T_id = TypeVar("T_id", Int32, Int64)


async def _name(
    task: FileDescriptorTask[Any],
    dirfd: near.FileDescriptor | None,
    path: PathPointer,
    handle: WrittenPointer[FileHandle],
    mount_id: Pointer[T_id],
    flags: AT,
) -> tuple[ReadablePointer[FileHandle], Pointer[T_id]]:
    check_pointers(path, handle, mount_id)
    require_size(handle, HANDLE_HEADER.size + len(handle.value.handle))
    require_size(mount_id, 8 if flags & AT.HANDLE_MNT_ID_UNIQUE else 4)
    with (
        resized_on(errno.EOVERFLOW, handle),
        path.borrow(task) as path_addr,
        handle.borrow(task) as handle_addr,
        mount_id.borrow(task) as id_addr,
        naming(path.value),
    ):
        await _name_to_handle_at(task.sysif, dirfd, path_addr, handle_addr, id_addr, flags)
    return handle.readable_split(handle.size())[0], mount_id


class HandleFileDescriptor(BaseFileDescriptor):
    """Handles of files below a directory, and files by their handles."""

    __slots__ = ()

    async def name_to_handle_at(
        self,
        path: PathPointer,
        handle: WrittenPointer[FileHandle],
        mount_id: Pointer[T_id],
        flags: AT = AT.NONE,
    ) -> tuple[ReadablePointer[FileHandle], Pointer[T_id]]:
        """`name_to_handle_at(fd, path, handle, mount_id, flags)`: make a handle of a file below this
        directory.

        Args:
            path: empty for this file itself, with `AT.EMPTY_PATH`; not consumed.
            handle: room for it, `FileHandle.room()`; consumed.
            mount_id: where to write the id of the mount, with 32 bits; with 64 bits if there is the flag
                `AT.HANDLE_MNT_ID_UNIQUE`.
            flags: `AT.EMPTY_PATH`, `AT.SYMLINK_FOLLOW`, `AT.HANDLE_FID`, `AT.HANDLE_MNT_ID_UNIQUE`,
                `AT.HANDLE_CONNECTABLE`.

        Returns:
            The memory with the handle, and `mount_id`.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EOVERFLOW (it is longer; consumes `handle`), EOPNOTSUPP (the file system has no handles),
                ENOENT...; `filename` is the path.

        manpage: open_by_handle_at(2)
        """
        self._validate()
        return await _name(self.task, self.near, path, handle, mount_id, flags)

    async def open_by_handle_at(self: T_fd, handle: WrittenPointer[FileHandle], flags: O) -> T_fd:
        """`open_by_handle_at(fd, handle, flags | O_CLOEXEC)`: open the file that a handle names.

        This descriptor may refer to any file in the same file system. The call needs CAP_DAC_READ_SEARCH.

        Args:
            handle: not consumed.

        Returns:
            A new descriptor.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EPERM, ESTALE (the file has been removed), EINVAL; `filename` is (fd, handle).

        manpage: open_by_handle_at(2)
        """
        self._validate()
        check_pointers(handle)
        require_size(handle, HANDLE_HEADER.size + len(handle.value.handle))
        task = self.task
        record = CallRecord(task.fd_table)
        with handle.borrow(task) as handle_addr, naming((self, handle.value)):
            fd = await _open_by_handle_at(task.sysif, record, self.near, handle_addr, int(flags) | _CLOEXEC)
        adopted: T_fd = task._adopt(fd, record)
        return adopted


class HandleTask(FileDescriptorTask[T_fd]):
    """Handles of files by their paths."""

    async def name_to_handle_at(
        self,
        path: PathPointer,
        handle: WrittenPointer[FileHandle],
        mount_id: Pointer[T_id],
        flags: AT = AT.NONE,
    ) -> tuple[ReadablePointer[FileHandle], Pointer[T_id]]:
        """`name_to_handle_at(AT_FDCWD, path, handle, mount_id, flags)`: see
        `FileDescriptor.name_to_handle_at`.

        manpage: open_by_handle_at(2)
        """
        return await _name(self, None, path, handle, mount_id, flags)


_NAME_FLAGS = flags(
    AT, "AT_", ["EMPTY_PATH", "SYMLINK_FOLLOW", "HANDLE_FID", "HANDLE_MNT_ID_UNIQUE", "HANDLE_CONNECTABLE"]
)


@call("name_to_handle_at", DIRFD, PATH, ADDRESS, ADDRESS, _NAME_FLAGS)
async def _name_to_handle_at(
    sysif: SyscallInterface,
    dirfd: near.FileDescriptor | None,
    path: near.Address,
    handle: near.Address,
    mount_id: near.Address,
    flags: AT,
) -> None:
    """The raw call; None is the working directory."""
    await sysif.syscall(nr.name_to_handle_at, directory(dirfd), path, handle, mount_id, flags)


@call("open_by_handle_at", FDNUM, ADDRESS, OPEN_FLAGS)
async def _open_by_handle_at(
    sysif: SyscallInterface,
    record: CallRecord,
    mount_fd: near.FileDescriptor,
    handle: near.Address,
    flags: int,
) -> near.FileDescriptor:
    """The raw call; `record` owns the number that comes back."""
    encoded = encode_open_flags(sysif.abi, flags)
    return near.FileDescriptor(
        await sysif.recorded_syscall(record, nr.open_by_handle_at, mount_fd, handle, encoded)
    )
