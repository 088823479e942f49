"""`<sys/fanotify.h>`: being told of, and deciding about, accesses to files of whole file systems."""

from __future__ import annotations

import enum
import os
import struct
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, SupportsInt, TypeVar

from rsyscall.cstruct import CStruct, i32, u8, u16, u32, u64
from rsyscall.fcntl import O, encode_open_flags
from rsyscall.handle.arguments import DIRFD, FDNUM, OPEN_FLAGS, PATH, call, directory, flags
from rsyscall.handle.fd import BaseFileDescriptor, FileDescriptorTask, T_fd, T_held
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.near.record import CallRecord
from rsyscall.sys._owned_events import EventSerializer, read_events

if TYPE_CHECKING:
    from rsyscall.handle.pointer import LinearPointer, Pointer, WrittenPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = [
    "FAN",
    "FAN_INIT",
    "FAN_MARK",
    "FAN_RESPONSE",
    "FanotifyEvent",
    "FanotifyEventList",
    "FanotifyEventMetadata",
    "FanotifyFileDescriptor",
    "FanotifyResponse",
    "FanotifyTask",
]

T = TypeVar("T")


class FAN(enum.IntFlag):
    """`FAN_*`: what happens to files.

    manpage: fanotify_mark(2)
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
    OPEN_EXEC = 0x1000
    Q_OVERFLOW = 0x4000
    FS_ERROR = 0x8000
    OPEN_PERM = 0x10000
    ACCESS_PERM = 0x20000
    OPEN_EXEC_PERM = 0x40000
    PRE_ACCESS = 0x100000  # since Linux 6.14
    MNT_ATTACH = 0x1000000  # since Linux 6.15
    MNT_DETACH = 0x2000000  # since Linux 6.15
    EVENT_ON_CHILD = 0x8000000
    RENAME = 0x10000000
    ONDIR = 0x40000000


class FAN_INIT(enum.IntFlag):
    """`FAN_*`: flags of `fanotify_init`.

    manpage: fanotify_init(2)
    """

    CLASS_NOTIF = 0
    CLOEXEC = 0x1
    NONBLOCK = 0x2
    CLASS_CONTENT = 0x4
    CLASS_PRE_CONTENT = 0x8
    UNLIMITED_QUEUE = 0x10
    UNLIMITED_MARKS = 0x20
    ENABLE_AUDIT = 0x40
    REPORT_PIDFD = 0x80
    REPORT_TID = 0x100
    REPORT_FID = 0x200
    REPORT_DIR_FID = 0x400
    REPORT_NAME = 0x800
    REPORT_TARGET_FID = 0x1000
    REPORT_FD_ERROR = 0x2000  # since Linux 6.13
    REPORT_MNT = 0x4000  # since Linux 6.14


class FAN_MARK(enum.IntFlag):
    """`FAN_MARK_*`: flags of `fanotify_mark`.

    manpage: fanotify_mark(2)
    """

    NONE = 0
    ADD = 0x1
    REMOVE = 0x2
    DONT_FOLLOW = 0x4
    ONLYDIR = 0x8
    MOUNT = 0x10
    IGNORED_MASK = 0x20
    IGNORED_SURV_MODIFY = 0x40
    FLUSH = 0x80
    FILESYSTEM = 0x100
    MNTNS = 0x110  # since Linux 6.14
    EVICTABLE = 0x200
    IGNORE = 0x400
    IGNORE_SURV = 0x440


class FAN_RESPONSE(enum.IntFlag):
    """`FAN_ALLOW` and others: the answer to an event that asks.

    manpage: fanotify(7)
    """

    ALLOW = 0x1
    DENY = 0x2
    AUDIT = 0x10


_HEADERS = ("linux/types.h", "linux/fanotify.h")


class FanotifyEventMetadata(CStruct, c="struct fanotify_event_metadata", headers=_HEADERS):
    """`struct fanotify_event_metadata`: an event; information about it may follow.

    An event carries a new descriptor in the table of the process that reads it, unless the group was made
    with `FAN_INIT.REPORT_FID` or the like; with `FAN_INIT.REPORT_PIDFD` the information that follows has
    another one. `fanotify_read` makes handles for them. After any other `read` nothing owns them.

    Args:
        event_len: bytes of the event with what follows.
        metadata_len: bytes of this structure.
        mask: what happened.
        fd: the number of a new descriptor for the file; -1 for none. With `FAN_INIT.REPORT_FD_ERROR` another
            negative number says why there is none.
        pid: the process, or the thread.

    manpage: fanotify(7)
    """

    event_len: int = u32("event_len", default=24)
    vers: int = u8("vers", default=3)
    reserved: int = u8("reserved", default=0)
    metadata_len: int = u16("metadata_len", default=24)
    mask: FAN = u64("mask", FAN, default=FAN.NONE)
    fd: int = i32("fd", default=-1)
    pid: int = i32("pid", default=0)


class FanotifyResponse(CStruct, c="struct fanotify_response", headers=_HEADERS):
    """`struct fanotify_response`: the answer to an event that asks, to be written.

    Args:
        fd: that of the event.
        response: whether to allow it.

    manpage: fanotify(7)
    """

    fd: SupportsInt = i32("fd", encode=int)
    response: FAN_RESPONSE = u32("response", FAN_RESPONSE)


@dataclass(eq=False)
class FanotifyEvent(Generic[T_held]):
    """An event, as `fanotify_read` gives it.

    Args:
        metadata: what happened.
        fd: the file; None if the event has none.
        pidfd: the process, with `FAN_INIT.REPORT_PIDFD`; None if the event has none.
        info: the information that follows in memory, as bytes: `struct fanotify_event_info_header` and what
            belongs to it, one after another.
    """

    metadata: FanotifyEventMetadata
    fd: T_held | None
    pidfd: T_held | None
    info: bytes


class FanotifyEventList(list[FanotifyEvent[T_held]], Generic[T_held]):
    """What one `fanotify_read` has got."""


_INFO_PIDFD = 4
_INFO = struct.Struct("=BxH")
_PIDFD = struct.Struct("=i")


def _events(data: bytes) -> list[tuple[FanotifyEventMetadata, bytes]]:
    """The events in the bytes, each with the information that follows."""
    found = []
    while len(data) >= FanotifyEventMetadata.sizeof():
        metadata = FanotifyEventMetadata.from_bytes(data)
        # Never endless, whatever the bytes say.
        length = max(metadata.event_len, FanotifyEventMetadata.sizeof())
        found.append((metadata, data[max(metadata.metadata_len, FanotifyEventMetadata.sizeof()) : length]))
        data = data[length:]
    return found


def _pidfd_in(info: bytes) -> int:
    """The number of the pidfd in the information about an event; a negative number for none."""
    while len(info) >= _INFO.size:
        kind, length = _INFO.unpack_from(info)
        if kind == _INFO_PIDFD and len(info) >= _INFO.size + _PIDFD.size:
            (number,) = _PIDFD.unpack_from(info, _INFO.size)
            return int(number)
        info = info[max(length, _INFO.size) :]
    return -1


def _numbers(data: bytes) -> list[int]:
    """The descriptors in the bytes."""
    numbers = [number for event, info in _events(data) for number in (event.fd, _pidfd_in(info))]
    return [number for number in numbers if number >= 0]


def _with_handles(data: bytes, handles: list[T_fd]) -> FanotifyEventList[T_fd]:
    """The events in the bytes, with the handles for their descriptors."""
    left = iter(handles)

    def handle(number: int) -> T_fd | None:
        return next(left) if number >= 0 else None

    return FanotifyEventList(
        FanotifyEvent(metadata, handle(metadata.fd), handle(_pidfd_in(info)), info)
        for metadata, info in _events(data)
    )


class FanotifyFileDescriptor(BaseFileDescriptor):
    """Watching."""

    __slots__ = ()

    async def fanotify_read(
        self: T_fd, buf: Pointer[T]
    ) -> tuple[LinearPointer[FanotifyEventList[T_fd]], Pointer[T]]:
        """`read(fanotify_fd, buf, size)`: read events; each descriptor in them gets an owner.

        Args:
            buf: where to put them; consumed.

        Returns:
            The memory with the events, and the rest. Read it exactly once: this makes the handles. What is
            dropped without having been read is closed if our own memory has it.

        Raises:
            OSError: EAGAIN, EINVAL (`buf` is too small for an event), EMFILE, ENFILE, ETXTBSY; `filename` is
                this descriptor.

        manpage: fanotify(7)
        """
        self._validate()
        events: type[FanotifyEventList[T_fd]] = FanotifyEventList
        return await read_events(self, buf, EventSerializer(self.task, _numbers, _with_handles), events)

    async def fanotify_mark(
        self,
        flags: FAN_MARK,
        mask: FAN,
        dirfd: BaseFileDescriptor | None,
        pathname: WrittenPointer[str | os.PathLike[str]] | None,
    ) -> None:
        """`fanotify_mark(fanotify_fd, flags, mask, dirfd, pathname)`: watch a file, a directory, a mount or a
        file system.

        Args:
            flags: what to do, and with what.
            mask: the events.
            dirfd: what `pathname` is relative to; None for the working directory.
            pathname: None for `dirfd` itself; not consumed.

        Raises:
            OSError: EBADF, EINVAL, ENODEV, ENOENT, ENOSPC, EOPNOTSUPP, EPERM, EXDEV; `filename` is
                (directory, path).

        manpage: fanotify_mark(2)
        """
        self._validate()
        with ExitStack() as stack:
            dirfd_near = None if dirfd is None else stack.enter_context(dirfd.borrow(self.task))
            pathname_addr = self.task._borrow_optional(stack, pathname)
            with naming((dirfd, pathname if pathname is None else pathname.value)):
                await _fanotify_mark(self.task.sysif, self.near, flags, mask, dirfd_near, pathname_addr)


class FanotifyTask(FileDescriptorTask[T_fd]):
    """Making descriptors that tell of accesses."""

    async def fanotify_init(
        self, flags: FAN_INIT = FAN_INIT.CLASS_NOTIF, event_f_flags: O = O.RDONLY
    ) -> T_fd:
        """`fanotify_init(flags | FAN_CLOEXEC, event_f_flags | O_CLOEXEC)`: make a descriptor that tells of
        accesses.

        Args:
            flags: `FAN_INIT.CLOEXEC` is always added.
            event_f_flags: how descriptors of events are opened; `O.CLOEXEC` is always added.

        Returns:
            A new descriptor.

        Raises:
            OSError: EINVAL, EMFILE, EPERM (most flags need CAP_SYS_ADMIN), ENOSYS; `filename` is the flags.

        manpage: fanotify_init(2)
        """
        record = CallRecord(self.fd_table)
        with naming(flags):
            fd = await _fanotify_init(self.sysif, record, flags | FAN_INIT.CLOEXEC, event_f_flags | O.CLOEXEC)
        return self._adopt(fd, record)


@call("fanotify_mark", FDNUM, flags(FAN_MARK, "FAN_MARK_"), flags(FAN, "FAN_"), DIRFD, PATH)
async def _fanotify_mark(
    sysif: SyscallInterface,
    fanotify_fd: near.FileDescriptor,
    flags: FAN_MARK,
    mask: FAN,
    dirfd: near.FileDescriptor | None,
    pathname: near.Address | None,
) -> None:
    """The raw call."""
    await sysif.syscall(nr.fanotify_mark, fanotify_fd, flags, mask, directory(dirfd), pathname or 0)


@call("fanotify_init", flags(FAN_INIT, "FAN_"), OPEN_FLAGS)
async def _fanotify_init(
    sysif: SyscallInterface, record: CallRecord, flags: FAN_INIT, event_f_flags: O
) -> near.FileDescriptor:
    """The raw call."""
    return near.FileDescriptor(
        await sysif.recorded_syscall(
            record, nr.fanotify_init, flags, encode_open_flags(sysif.abi, event_f_flags)
        )
    )
