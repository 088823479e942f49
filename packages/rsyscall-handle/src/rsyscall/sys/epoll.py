"""`<sys/epoll.h>`: waiting for many file descriptors at once."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from rsyscall.cstruct import CLayout, CStruct, u32, u64
from rsyscall.handle._later import late
from rsyscall.handle.arguments import ADDRESS, FDNUM, INT, SIZE, Memory, call, choice, flags, given
from rsyscall.handle.buffers import BufferTooSmallError, require_size
from rsyscall.handle.fd import BaseFileDescriptor, FileDescriptorTask, T_fd
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.light_dataclass import light_dataclass
from rsyscall.near.naming import naming
from rsyscall.near.record import CallRecord
from rsyscall.struct import Serializable, Serializer

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer, ReadablePointer, WrittenPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = [
    "EPOLL",
    "EPOLL_CTL",
    "EpollEvent",
    "EpollEventList",
    "EpollEventListSerializer",
    "EpollFileDescriptor",
    "EpollFlag",
    "EpollTask",
]


class EpollFlag(enum.IntFlag):
    """`EPOLL_CLOEXEC`: flags of `epoll_create`.

    manpage: epoll_create1(2)
    """

    NONE = 0
    CLOEXEC = 0x80000


class EPOLL_CTL(enum.IntEnum):
    """`EPOLL_CTL_*`: what `epoll_ctl` is to do.

    manpage: epoll_ctl(2)
    """

    ADD = 1
    DEL = 2
    MOD = 3


class EPOLL(enum.IntFlag):
    """`EPOLL*`: events, and how to report them. Iterating over a value yields the flags that are set in it.

    manpage: epoll_ctl(2)
    """

    NONE = 0
    IN = 0x1
    PRI = 0x2
    OUT = 0x4
    ERR = 0x8
    HUP = 0x10
    NVAL = 0x20
    RDNORM = 0x40
    RDBAND = 0x80
    WRNORM = 0x100
    WRBAND = 0x200
    MSG = 0x400
    RDHUP = 0x2000
    URING_WAKE = 0x8000000
    EXCLUSIVE = 0x10000000
    WAKEUP = 0x20000000
    ONESHOT = 0x40000000
    ET = 0x80000000

    def __iter__(self) -> Iterator[EPOLL]:
        """Yield each named flag that is set."""
        # Enumerations do this themselves since Python 3.11, but not before.
        return iter([flag for flag in EPOLL if flag and self & flag])


class EpollEvent(
    CStruct,
    c="struct epoll_event",
    headers=("typedef unsigned __poll_t;", "linux/eventpoll.h"),
    variant="epoll_event",
    brief=("events", "data"),
):
    """`struct epoll_event`: what to report, or what was reported, about one registered file descriptor.

    Args:
        data: any number of 64 bits; it comes back with every event for the file descriptor that it was
            registered with.
        events: which events.

    manpage: epoll_event(3type)
    """

    # 12 bytes on x86_64, where it is packed, 16 elsewhere.
    data: int = u64("data")
    events: EPOLL = u32("events", EPOLL, prefix="EPOLL")


class EpollEventList(list[EpollEvent], Serializable):
    """An array of `struct epoll_event`.

    manpage: epoll_wait(2)
    """

    def to_bytes(self) -> bytes:
        """The events one after another, as they are on the running architecture."""
        return b"".join([event.to_bytes() for event in self])

    @classmethod
    def from_bytes(cls, data: bytes) -> EpollEventList:
        """Parse as many whole events as there are."""
        return _events_from_bytes(_NATIVE_LAYOUT, data)

    @classmethod
    def get_serializer(cls, task: FileDescriptorTask[Any]) -> Serializer[EpollEventList]:
        """The serializer for the architecture of the task."""
        layout = EpollEvent.layout(task.sysif.abi)
        if layout is _NATIVE_LAYOUT:
            return cast("Serializer[EpollEventList]", cls)
        return EpollEventListSerializer(layout)


_NATIVE_LAYOUT = EpollEvent.layout()


def _events_from_bytes(layout: CLayout, data: bytes) -> EpollEventList:
    whole = len(data) - len(data) % layout.size
    # A memoryview, so that cutting off the rest copies nothing.
    return EpollEventList(
        [
            EpollEvent(value, EPOLL(events))
            for events, value in layout.codec.iter_unpack(memoryview(data)[:whole])
        ]
    )


@light_dataclass
class EpollEventListSerializer(Serializer[EpollEventList]):
    """Writes and parses an array of events as they are laid out on some architecture."""

    layout: CLayout

    def to_bytes(self, val: EpollEventList) -> bytes:
        """The events one after another."""
        return b"".join([self.layout.codec.pack(event.events, event.data) for event in val])

    def from_bytes(self, data: bytes) -> EpollEventList:
        """Parse as many whole events as there are."""
        return _events_from_bytes(self.layout, data)


@late
class EpollFileDescriptor(BaseFileDescriptor):
    """Calls on an epoll instance."""

    __slots__ = ()

    async def epoll_wait(
        self, events: Pointer[EpollEventList], timeout: int
    ) -> tuple[ReadablePointer[EpollEventList], Pointer[EpollEventList]]:
        """`epoll_pwait(epfd, events, maxevents, timeout, NULL)`: wait for registered file descriptors.

        Waits in the process, which can make no other calls meanwhile, unless `timeout` is 0.

        Args:
            events: where to put them, as many as fit; consumed.
            timeout: milliseconds; 0 does not wait, -1 waits for ever.

        Returns:
            The events, none if the time is over, and the rest of the buffer.

        Raises:
            BufferTooSmallError: there is not room for a single event.
            OSError: EINTR; EINVAL (not an epoll instance).

        manpage: epoll_wait(2)
        """
        self._validate()
        size = self.task.sysif.abi.epoll_event.size
        maxevents = events.size() // size
        if not maxevents:
            raise BufferTooSmallError(events.size(), size)
        with events.borrow(self.task) as events_near, naming(self):
            count = await _epoll_wait(self.task.sysif, self.near, events_near, maxevents, timeout)
        return events.readable_split(count * size)

    async def epoll_ctl(
        self, op: EPOLL_CTL, fd: BaseFileDescriptor, event: WrittenPointer[EpollEvent] | None = None
    ) -> None:
        """`epoll_ctl(epfd, op, fd, event)`: register a file descriptor, or change or end its registration.

        It is the open file that is registered, together with the number: as long as another descriptor for
        the same file exists, in any process, closing `fd` does not remove it, and afterwards nothing does.

        Args:
            event: what to wait for, and the number to report with it; for `EPOLL_CTL.DEL` nothing.

        Raises:
            OSError: EEXIST (ADD, but it is registered), ENOENT (MOD or DEL, but it is not), EPERM (a file
                that is always ready), ELOOP, ENOSPC; `filename` is `fd`.

        manpage: epoll_ctl(2)
        """
        self._validate()
        task = self.task
        with naming(fd):
            if event is None:
                if op != EPOLL_CTL.DEL:
                    raise ValueError("this operation takes an event", op)
                with fd.borrow(task) as fd_near:
                    await _epoll_ctl(task.sysif, self.near, op, fd_near)
            else:
                require_size(event, task.sysif.abi.epoll_event.size)
                with fd.borrow(task) as fd_near, event.borrow(task) as event_near:
                    await _epoll_ctl(task.sysif, self.near, op, fd_near, event_near)


@late
class EpollTask(FileDescriptorTask[T_fd]):
    """Creating epoll instances."""

    async def epoll_create(self, flags: EpollFlag = EpollFlag.NONE) -> T_fd:
        """`epoll_create1(flags | EPOLL_CLOEXEC)`: make an epoll instance with nothing registered.

        Args:
            flags: `EpollFlag.CLOEXEC` is always added.

        Returns:
            A new file descriptor.

        Raises:
            OSError: EMFILE, ENFILE, ENOMEM.

        manpage: epoll_create1(2)
        """
        record = CallRecord(self.fd_table)
        return self._adopt(await _epoll_create(self.sysif, record, flags | EpollFlag.CLOEXEC), record)


@call("epoll_create1", flags(EpollFlag, "EPOLL_"))
async def _epoll_create(sysif: SyscallInterface, record: CallRecord, flags: EpollFlag) -> near.FileDescriptor:
    """The raw call; `record` owns the number that comes back."""
    return near.FileDescriptor(await sysif.recorded_syscall(record, nr.epoll_create1, flags))


@call("epoll_ctl", FDNUM, choice(EPOLL_CTL, "EPOLL_CTL_"), FDNUM, given(EpollEvent))
async def _epoll_ctl(
    sysif: SyscallInterface,
    epfd: near.FileDescriptor,
    op: EPOLL_CTL,
    fd: near.FileDescriptor,
    event: near.Address | None = None,
) -> None:
    """The raw call."""
    await sysif.syscall(nr.epoll_ctl, epfd, op, fd, 0 if event is None else event)


@call("epoll_pwait", FDNUM, Memory("epoll_events", after=True), INT, INT, ADDRESS, SIZE)
async def _epoll_wait(
    sysif: SyscallInterface, epfd: near.FileDescriptor, events: near.Address, maxevents: int, timeout: int
) -> int:
    """The raw call."""
    # Newer architectures do not have epoll_wait. Without a mask epoll_pwait is the same.
    return await sysif.syscall(nr.epoll_pwait, epfd, events, maxevents, timeout, 0, 8)
