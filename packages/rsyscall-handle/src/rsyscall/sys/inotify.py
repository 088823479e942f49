"""`<sys/inotify.h>`: being told of changes of files and directories."""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rsyscall import limits
from rsyscall.cstruct import CStruct, i32, u32
from rsyscall.handle._later import late
from rsyscall.handle.arguments import FDNUM, INT, PATH, call, flags
from rsyscall.handle.fd import BaseFileDescriptor, FileDescriptorTask, T_fd
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.near.record import CallRecord
from rsyscall.near.types import WatchDescriptor
from rsyscall.struct import Serializable

if TYPE_CHECKING:
    from rsyscall.handle.pointer import PathPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = [
    "IN",
    "InotifyEvent",
    "InotifyEventHeader",
    "InotifyEventList",
    "InotifyFileDescriptor",
    "InotifyFlag",
    "InotifyTask",
    "WatchDescriptor",
]


class InotifyFlag(enum.IntFlag):
    """`IN_NONBLOCK`, `IN_CLOEXEC`: flags of `inotify_init1`.

    manpage: inotify_init(2)
    """

    NONE = 0
    NONBLOCK = 0x800
    CLOEXEC = 0x80000


class IN(enum.IntFlag):
    """`IN_*`: what happened to a file or in a directory, and how to watch it.

    `IGNORED`, `ISDIR`, `Q_OVERFLOW` and `UNMOUNT` are only in events; those from `ONLYDIR` to `ONESHOT`,
    without `ISDIR`, only in what is given to `inotify_add_watch`.

    manpage: inotify(7)
    """

    NONE = 0
    ACCESS = 0x1
    MODIFY = 0x2
    ATTRIB = 0x4
    CLOSE_WRITE = 0x8
    CLOSE_NOWRITE = 0x10
    CLOSE = 0x18
    OPEN = 0x20
    MOVED_FROM = 0x40
    MOVED_TO = 0x80
    MOVE = 0xC0
    CREATE = 0x100
    DELETE = 0x200
    DELETE_SELF = 0x400
    MOVE_SELF = 0x800
    ALL_EVENTS = 0xFFF
    UNMOUNT = 0x2000
    Q_OVERFLOW = 0x4000
    IGNORED = 0x8000
    ONLYDIR = 0x1000000
    DONT_FOLLOW = 0x2000000
    EXCL_UNLINK = 0x4000000
    MASK_CREATE = 0x10000000  # since Linux 4.18
    MASK_ADD = 0x20000000
    ISDIR = 0x40000000
    ONESHOT = 0x80000000


class InotifyEventHeader(CStruct, c="struct inotify_event", headers=("linux/inotify.h",)):
    """What is in front of the name in `struct inotify_event`; `len` counts the name and its NULs."""

    wd: int = i32("wd")
    mask: IN = u32("mask", IN)
    cookie: int = u32("cookie")
    len: int = u32("len")


_HEADER = InotifyEventHeader.layout().codec


@dataclass
class InotifyEvent:
    """`struct inotify_event`: what happened.

    Args:
        wd: the watch; -1 for `IN.Q_OVERFLOW`.
        mask: what happened, `IN.ISDIR` if to a directory.
        cookie: the same number in the `IN.MOVED_FROM` and the `IN.MOVED_TO` of a rename; or 0.
        name: of the file in the directory that is watched; None for events of the watched file itself.

    manpage: inotify(7)
    """

    wd: WatchDescriptor
    mask: IN
    cookie: int = 0
    name: str | None = None

    MINIMUM_SIZE_TO_READ_ONE_EVENT: ClassVar[int] = _HEADER.size + limits.NAME_MAX + 1
    """Bytes of memory in which one event fits, however long its name is."""

    def to_bytes(self) -> bytes:
        """The event as the kernel would write it: the name has at least one NUL, up to a multiple of 16."""
        name = b""
        if self.name is not None:
            name = os.fsencode(self.name) + b"\0"
            name = name.ljust(-(-len(name) // _HEADER.size) * _HEADER.size, b"\0")
        return _HEADER.pack(int(self.wd), self.mask, self.cookie, len(name)) + name

    @classmethod
    def from_bytes(cls, data: bytes) -> InotifyEvent:
        """Parse the first event; raises ValueError when it does not fit in `data`."""
        return cls._from_bytes_at(data, 0)[0]

    @classmethod
    def _from_bytes_at(cls, data: bytes, start: int) -> tuple[InotifyEvent, int]:
        """Parse the event that begins there; return also where it ends."""
        end = start + _HEADER.size
        if end > len(data):
            raise ValueError(f"only {len(data) - start} bytes for an inotify event at {start}")
        wd, mask, cookie, length = _HEADER.unpack_from(data, start)
        if end + length > len(data):
            raise ValueError(f"inotify event at {start}: only {len(data) - end} bytes of a name of {length}")
        name = os.fsdecode(data[end : end + length].split(b"\0", 1)[0]) if length else None
        return cls(WatchDescriptor(wd), IN(mask), cookie, name), end + length


class InotifyEventList(list[InotifyEvent], Serializable):
    """What one `read` returned: events packed one after another."""

    def to_bytes(self) -> bytes:
        """All events."""
        return b"".join(event.to_bytes() for event in self)

    @classmethod
    def from_bytes(cls, data: bytes) -> InotifyEventList:
        """Parse all events; raises ValueError when one does not fit in `data`."""
        events = cls()
        position = 0
        while position < len(data):
            event, position = InotifyEvent._from_bytes_at(data, position)
            events.append(event)
        return events


@late
class InotifyFileDescriptor(BaseFileDescriptor):
    """Watching; `read` into an `InotifyEventList` returns what has happened."""

    __slots__ = ()

    async def inotify_add_watch(self, pathname: PathPointer, mask: IN) -> WatchDescriptor:
        """`inotify_add_watch(fd, pathname, mask)`: watch a file or a directory, or change how it is watched.

        Args:
            pathname: what to watch; not consumed.
            mask: of which events to tell, at least one; and `IN.DONT_FOLLOW`, `IN.EXCL_UNLINK`,
                `IN.MASK_ADD`, `IN.MASK_CREATE`, `IN.ONESHOT`, `IN.ONLYDIR`.

        Returns:
            The number of the watch. It is the same one for the same file, by whatever name; the later mask
            counts.

        Raises:
            OSError: ENOENT, EACCES, ENOTDIR, EEXIST (`IN.MASK_CREATE`), EINVAL (no event, or not an inotify
                descriptor), ENOSPC (too many watches); `filename` is the path.

        manpage: inotify_add_watch(2)
        """
        self._validate()
        check_pointers(pathname)
        with pathname.borrow(self.task) as pathname_addr, naming(pathname.value):
            return await _inotify_add_watch(self.task.sysif, self.near, pathname_addr, mask)

    async def inotify_rm_watch(self, wd: WatchDescriptor) -> None:
        """`inotify_rm_watch(fd, wd)`: stop watching. The last event of the watch is an `IN.IGNORED`.

        Raises:
            OSError: EINVAL (no such watch, or not an inotify descriptor); `filename` is (fd, wd).

        manpage: inotify_rm_watch(2)
        """
        self._validate()
        with naming((self, wd)):
            await _inotify_rm_watch(self.task.sysif, self.near, wd)


@late
class InotifyTask(FileDescriptorTask[T_fd]):
    """Creating inotify instances."""

    async def inotify_init(self, flags: InotifyFlag = InotifyFlag.NONE) -> T_fd:
        """`inotify_init1(flags | IN_CLOEXEC)`: make an inotify instance, without any watch.

        Args:
            flags: `InotifyFlag.CLOEXEC` is always added.

        Raises:
            OSError: EMFILE (also: the limit of instances of the user), ENFILE, ENOMEM.

        manpage: inotify_init(2)
        """
        record = CallRecord(self.fd_table)
        fd = await _inotify_init(self.sysif, record, flags | InotifyFlag.CLOEXEC)
        return self._adopt(fd, record)


@call("inotify_init1", flags(InotifyFlag, "IN_"))
async def _inotify_init(
    sysif: SyscallInterface, record: CallRecord, flags: InotifyFlag
) -> near.FileDescriptor:
    """The raw call; `record` owns the number that comes back."""
    return near.FileDescriptor(await sysif.recorded_syscall(record, nr.inotify_init1, flags))


@call("inotify_add_watch", FDNUM, PATH, flags(IN, "IN_"))
async def _inotify_add_watch(
    sysif: SyscallInterface, fd: near.FileDescriptor, pathname: near.Address, mask: IN
) -> WatchDescriptor:
    """The raw call."""
    return WatchDescriptor(await sysif.syscall(nr.inotify_add_watch, fd, pathname, mask))


@call("inotify_rm_watch", FDNUM, INT)
async def _inotify_rm_watch(sysif: SyscallInterface, fd: near.FileDescriptor, wd: WatchDescriptor) -> None:
    """The raw call."""
    await sysif.syscall(nr.inotify_rm_watch, fd, wd)
