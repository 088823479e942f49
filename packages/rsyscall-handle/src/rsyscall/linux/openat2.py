"""`<linux/openat2.h>`: opening files with limits on how the path is looked up."""

from __future__ import annotations

import dataclasses
import enum
from typing import TYPE_CHECKING, Any, cast

from rsyscall.cstruct import CStruct, u64
from rsyscall.fcntl import O, decode_open_flags, encode_open_flags
from rsyscall.handle.arguments import DIRFD, PATH, SIZE, call, directory, given
from rsyscall.handle.buffers import require_size
from rsyscall.handle.fd import BaseFileDescriptor, FileDescriptorTask, T_fd
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import native_abi, nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.near.record import CallRecord
from rsyscall.struct import Serializer

if TYPE_CHECKING:
    from rsyscall.handle.pointer import PathPointer, Pointer
    from rsyscall.near.abi import ABI
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["OPENAT2", "RESOLVE", "OpenHow", "Openat2FileDescriptor", "Openat2Task"]


class RESOLVE(enum.IntFlag):
    """`RESOLVE_*`: what `openat2` refuses, or does otherwise, while it looks up a path.

    manpage: openat2(2)
    """

    NONE = 0
    NO_XDEV = 0x1
    NO_MAGICLINKS = 0x2
    NO_SYMLINKS = 0x4
    BENEATH = 0x8
    IN_ROOT = 0x10
    CACHED = 0x20  # since Linux 5.12


class OPENAT2(enum.IntFlag):
    """`OPENAT2_*`: flags of a file that only `openat2` takes, to be or-ed with those of `O`.

    manpage: openat2(2)
    """

    NONE = 0
    REGULAR = 1 << 32  # since Linux 7.2


class OpenHow(CStruct, c="struct open_how", headers=("linux/openat2.h",), frozen=True):
    """`struct open_how`: how `openat2` opens a file.

    Args:
        flags: those of `open`; `O.CLOEXEC` is always added.
        mode: permissions of a file that is created, less the umask; 0 if none may be created.
        resolve: limits on how the path is looked up.

    manpage: openat2(2)
    """

    flags: O = u64("flags", O, prefix="O_")
    mode: int = u64("mode", default=0)
    resolve: RESOLVE = u64("resolve", RESOLVE, default=RESOLVE.NONE)

    def __post_init__(self) -> None:
        object.__setattr__(self, "flags", O(self.flags | O.CLOEXEC))

    @classmethod
    def get_serializer(cls, task: FileDescriptorTask[Any]) -> Serializer[OpenHow]:
        """Return the serializer for the architecture of the task."""
        return cls.serializer_for(task.sysif.abi)

    @classmethod
    def serializer_for(cls, abi: ABI) -> Serializer[OpenHow]:
        """Return the serializer for an architecture: the numbers of some flags differ."""
        return cast("Serializer[OpenHow]", cls) if abi is native_abi() else _ForeignOpenHow(abi)


class _ForeignOpenHow(Serializer[OpenHow]):
    """The structure as it is on another architecture."""

    def __init__(self, abi: ABI) -> None:
        self.abi = abi

    def to_bytes(self, val: OpenHow) -> bytes:
        return dataclasses.replace(val, flags=O(encode_open_flags(self.abi, val.flags))).to_bytes()

    def from_bytes(self, data: bytes) -> OpenHow:
        found = OpenHow.from_bytes(data)
        return dataclasses.replace(found, flags=decode_open_flags(self.abi, found.flags))


async def _open(
    task: FileDescriptorTask[T_fd],
    dirfd: near.FileDescriptor | None,
    path: PathPointer,
    how: Pointer[OpenHow],
) -> T_fd:
    check_pointers(path, how)
    require_size(how, OpenHow.sizeof())
    record = CallRecord(task.fd_table)
    with path.borrow(task) as path_addr, how.borrow(task) as how_addr, naming(path.value):
        fd = await _openat2(task.sysif, record, dirfd, path_addr, how_addr, how.size())
    return task._adopt(fd, record)


class Openat2FileDescriptor(BaseFileDescriptor):
    """Opening files below a directory."""

    __slots__ = ()

    async def openat2(self: T_fd, path: PathPointer, how: Pointer[OpenHow]) -> T_fd:
        """`openat2(fd, path, how, size)`: open a file below this directory.

        Args:
            path, how: not consumed.

        Returns:
            A new descriptor.

        Raises:
            BufferTooSmallError: the memory of `how` is too small.
            OSError: EXDEV (`RESOLVE.BENEATH`: the path leads out), ELOOP (`RESOLVE.NO_SYMLINKS`), EAGAIN
                (`RESOLVE.CACHED`, or a rename while a ".." was looked up: try again), EINVAL (unknown flags,
                or a mode for nothing), those of `openat`; ENOSYS before Linux 5.6; `filename` is the path.

        manpage: openat2(2)
        """
        self._validate()
        return await _open(self.task, self.near, path, how)


class Openat2Task(FileDescriptorTask[T_fd]):
    """Opening files by their paths."""

    async def openat2(self, path: PathPointer, how: Pointer[OpenHow]) -> T_fd:
        """`openat2(AT_FDCWD, path, how, size)`: open a file; see `FileDescriptor.openat2`.

        manpage: openat2(2)
        """
        return await _open(self, None, path, how)


@call("openat2", DIRFD, PATH, given(OpenHow, 3), SIZE)
async def _openat2(
    sysif: SyscallInterface,
    record: CallRecord,
    dirfd: near.FileDescriptor | None,
    path: near.Address,
    how: near.Address,
    size: int,
) -> near.FileDescriptor:
    """The raw call; `record` owns the number that comes back. None is the working directory."""
    return near.FileDescriptor(
        await sysif.recorded_syscall(record, nr.openat2, directory(dirfd), path, how, size)
    )
