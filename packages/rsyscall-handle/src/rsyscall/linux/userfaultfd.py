"""`<linux/userfaultfd.h>`: handling faults of memory in a program."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from rsyscall.cstruct import CStruct, i64, nested, u8, u32, u64
from rsyscall.handle.arguments import call, flags
from rsyscall.handle.fd import BaseFileDescriptor, FileDescriptorTask, T_fd, T_held
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.near.record import CallRecord
from rsyscall.sys._owned_events import EventSerializer, read_events

if TYPE_CHECKING:
    from rsyscall.handle.pointer import LinearPointer, Pointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = [
    "UFFD",
    "UFFDIO",
    "UFFD_API",
    "UFFD_EVENT",
    "UffdEvent",
    "UffdEventList",
    "UffdMsg",
    "UffdioApi",
    "UffdioCopy",
    "UffdioRange",
    "UffdioRegister",
    "UffdioWriteprotect",
    "UffdioZeropage",
    "UserfaultfdFileDescriptor",
    "UserfaultfdTask",
]

T = TypeVar("T")


class UFFD(enum.IntFlag):
    """Flags of `userfaultfd`.

    manpage: userfaultfd(2)
    """

    NONE = 0
    USER_MODE_ONLY = 1
    NONBLOCK = 0x800
    CLOEXEC = 0x80000


class UFFDIO(enum.IntEnum):
    """`UFFDIO_*`: requests of `ioctl`, with the structure that each takes.

    manpage: userfaultfd(2), ioctl_userfaultfd(2)
    """

    API = 0xC018AA3F  # UffdioApi
    REGISTER = 0xC020AA00  # UffdioRegister
    UNREGISTER = 0x8010AA01  # UffdioRange
    WAKE = 0x8010AA02  # UffdioRange
    COPY = 0xC028AA03  # UffdioCopy
    ZEROPAGE = 0xC020AA04  # UffdioZeropage
    WRITEPROTECT = 0xC018AA06  # UffdioWriteprotect


class UFFD_EVENT(enum.IntEnum):
    """`UFFD_EVENT_*`: what has happened.

    manpage: userfaultfd(2)
    """

    PAGEFAULT = 0x12
    FORK = 0x13
    REMAP = 0x14
    REMOVE = 0x15
    UNMAP = 0x16


UFFD_API = 0xAA
"""The version of the interface, for `UffdioApi`."""

_HEADERS = ("linux/types.h", "linux/ioctl.h", "linux/userfaultfd.h")


class UffdioApi(CStruct, c="struct uffdio_api", headers=_HEADERS):
    """`struct uffdio_api`: the first request; answers with the features and requests that there are.

    manpage: UFFDIO_API(2const)
    """

    api: int = u64("api", default=UFFD_API)
    features: int = u64("features", default=0)
    ioctls: int = u64("ioctls", default=0)


class UffdioRange(CStruct, c="struct uffdio_range", headers=_HEADERS):
    """`struct uffdio_range`: whole pages, by their address and their length in bytes.

    manpage: UFFDIO_UNREGISTER(2const)
    """

    start: int = u64("start")
    len: int = u64("len")


class UffdioRegister(CStruct, c="struct uffdio_register", headers=_HEADERS):
    """`struct uffdio_register`: pages whose faults are handled.

    Args:
        mode: 1 for missing pages, 2 for writes to protected ones, 4 for those only without an entry.
        ioctls: which requests there are for them; the answer.

    manpage: UFFDIO_REGISTER(2const)
    """

    range: UffdioRange = nested("range", UffdioRange)
    mode: int = u64("mode", default=1)
    ioctls: int = u64("ioctls", default=0)


class UffdioCopy(CStruct, c="struct uffdio_copy", headers=_HEADERS):
    """`struct uffdio_copy`: make a page of memory of ours.

    Args:
        dst, src: addresses.
        len: bytes.
        mode: 1 not to wake who waits, 2 to protect the page from writes.
        copy: how many bytes were copied, or a negative error.

    manpage: UFFDIO_COPY(2const)
    """

    dst: int = u64("dst")
    src: int = u64("src")
    len: int = u64("len")
    mode: int = u64("mode", default=0)
    copy: int = i64("copy", default=0)


class UffdioZeropage(CStruct, c="struct uffdio_zeropage", headers=_HEADERS):
    """`struct uffdio_zeropage`: make pages of zeros.

    manpage: UFFDIO_ZEROPAGE(2const)
    """

    range: UffdioRange = nested("range", UffdioRange)
    mode: int = u64("mode", default=0)
    zeropage: int = i64("zeropage", default=0)


class UffdioWriteprotect(CStruct, c="struct uffdio_writeprotect", headers=_HEADERS):
    """`struct uffdio_writeprotect`: protect pages from writes, or let them be written.

    manpage: UFFDIO_WRITEPROTECT(2const)
    """

    range: UffdioRange = nested("range", UffdioRange)
    mode: int = u64("mode", default=0)


class UffdMsg(CStruct, c="struct uffd_msg", headers=_HEADERS, size=32):
    """`struct uffd_msg`: what `read` gives: a fault.

    A message about `UFFD_EVENT.FORK` carries a new descriptor in the table of the process that reads:
    `fork_ufd` is its number. `userfaultfd_read` makes a handle for it; after any other `read` nothing owns
    it. The kernel sends such messages only if `UffdioApi.features` asks for them.

    Args:
        event: what has happened; the others are for `UFFD_EVENT.PAGEFAULT`.
        flags: 1 for a write, 2 for a write to a protected page, 4 for a page only without an entry.
        address: where.
        ptid: the thread, if the feature is on.

    manpage: userfaultfd(2)
    """

    event: int = u8("event")
    flags: int = u64("arg.pagefault.flags", default=0)
    address: int = u64("arg.pagefault.address", default=0)
    ptid: int = u32("arg.pagefault.feat.ptid", default=0)

    @property
    def fork_ufd(self) -> int:
        """The number of the new descriptor of a `UFFD_EVENT.FORK`; ValueError for any other event."""
        if self.event != UFFD_EVENT.FORK:
            raise ValueError("no descriptor comes with this event", self.event)
        return self.flags & 0xFFFFFFFF


@dataclass(eq=False)
class UffdEvent(Generic[T_held]):
    """A message, as `userfaultfd_read` gives it.

    Args:
        msg: what has happened.
        fork: for `UFFD_EVENT.FORK` the descriptor for faults of the new process; None for others.
    """

    msg: UffdMsg
    fork: T_held | None


class UffdEventList(list[UffdEvent[T_held]], Generic[T_held]):
    """What one `userfaultfd_read` has got."""


def _messages(data: bytes) -> list[UffdMsg]:
    size = UffdMsg.sizeof()
    return [UffdMsg.from_bytes(data[at : at + size]) for at in range(0, len(data) - size + 1, size)]


def _numbers(data: bytes) -> list[int]:
    return [msg.fork_ufd for msg in _messages(data) if msg.event == UFFD_EVENT.FORK]


def _with_handles(data: bytes, handles: list[T_fd]) -> UffdEventList[T_fd]:
    left = iter(handles)
    return UffdEventList(
        UffdEvent(msg, next(left) if msg.event == UFFD_EVENT.FORK else None) for msg in _messages(data)
    )


class UserfaultfdFileDescriptor(BaseFileDescriptor):
    """Being told of faults."""

    __slots__ = ()

    async def userfaultfd_read(
        self: T_fd, buf: Pointer[T]
    ) -> tuple[LinearPointer[UffdEventList[T_fd]], Pointer[T]]:
        """`read(uffd, buf, size)`: read messages; each descriptor in them gets an owner.

        Args:
            buf: where to put them, 32 bytes each; consumed.

        Returns:
            The memory with the messages, and the rest. Read it exactly once: this makes the handles. What is
            dropped without having been read is closed if our own memory has it.

        Raises:
            OSError: EAGAIN, EINVAL (`UFFDIO.API` comes first, or `buf` is too small); `filename` is this
                descriptor.

        manpage: userfaultfd(2)
        """
        self._validate()
        events: type[UffdEventList[T_fd]] = UffdEventList
        return await read_events(self, buf, EventSerializer(self.task, _numbers, _with_handles), events)


class UserfaultfdTask(FileDescriptorTask[T_fd]):
    """Handling faults of memory."""

    async def userfaultfd(self, flags: UFFD = UFFD.NONE) -> T_fd:
        """`userfaultfd(flags | O_CLOEXEC)`: make a descriptor that tells of faults in this memory.

        Args:
            flags: `UFFD.CLOEXEC` is always added.

        Returns:
            A new descriptor, for `ioctl` with `UFFDIO`.

        Raises:
            OSError: EPERM (without `UFFD.USER_MODE_ONLY` needs CAP_SYS_PTRACE), EMFILE, ENOSYS; `filename` is
                the flags.

        manpage: userfaultfd(2)
        """
        record = CallRecord(self.fd_table)
        with naming(flags):
            fd = await _userfaultfd(self.sysif, record, flags | UFFD.CLOEXEC)
        return self._adopt(fd, record)


@call("userfaultfd", flags(UFFD, "UFFD_"))
async def _userfaultfd(sysif: SyscallInterface, record: CallRecord, flags: UFFD) -> near.FileDescriptor:
    """The raw call."""
    return near.FileDescriptor(await sysif.recorded_syscall(record, nr.userfaultfd, flags))
