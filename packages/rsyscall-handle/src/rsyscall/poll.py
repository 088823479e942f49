"""`<poll.h>`: waiting for several file descriptors, given anew each time."""

from __future__ import annotations

import enum
from contextlib import ExitStack
from typing import TYPE_CHECKING

import rsyscall.far
from rsyscall.cstruct import CStruct, i16, i32
from rsyscall.handle.arguments import SIZE, array, call, given
from rsyscall.handle.buffers import require_size, require_size_if_given
from rsyscall.handle.fd import BaseFileDescriptor
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.signal import Sigset
from rsyscall.struct import Serializable
from rsyscall.time import Timespec

if TYPE_CHECKING:
    from rsyscall.handle.pointer import WrittenPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["POLL", "PollTask", "Pollfd", "PollfdList"]


class POLL(enum.IntFlag):
    """`POLL*`: events. `ERR`, `HUP` and `NVAL` are reported even if they are not asked for.

    manpage: poll(2)
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
    REMOVE = 0x1000
    RDHUP = 0x2000


class Pollfd(CStruct, c="struct pollfd", headers=("#include <linux/poll.h>",)):
    """`struct pollfd`: a descriptor, what to wait for, and what has happened.

    Args:
        fd: the descriptor; read back, it is a number. A negative number is left out.
        events: what to wait for.
        revents: what has happened.

    manpage: poll(2)
    """

    fd: BaseFileDescriptor | int = i32("fd", encode=int)
    events: POLL = i16("events", POLL, prefix="POLL")
    revents: POLL = i16("revents", POLL, prefix="POLL", default=POLL.NONE)


class PollfdList(list[Pollfd], Serializable):
    """An array of `struct pollfd`.

    manpage: poll(2)
    """

    def to_bytes(self) -> bytes:
        """All of them, one after another."""
        return b"".join([entry.to_bytes() for entry in self])

    @classmethod
    def from_bytes(cls, data: bytes) -> PollfdList:
        """As many as there are; a rest too short for another is ignored."""
        size = Pollfd.sizeof()
        starts = range(0, len(data) - size + 1, size)
        return cls(Pollfd.from_bytes(data[start : start + size]) for start in starts)


class PollTask(rsyscall.far.Task):
    """Waiting for descriptors."""

    async def ppoll(
        self,
        fds: WrittenPointer[PollfdList],
        timeout: WrittenPointer[Timespec] | None = None,
        sigmask: WrittenPointer[Sigset] | None = None,
    ) -> int:
        """`ppoll(fds, nfds, timeout, sigmask, 8)`: wait until something happens with one of the descriptors.

        Waits in the process, which can make no other calls meanwhile.

        Args:
            fds: the descriptors; not consumed. Read it again to see what has happened.
            timeout: how long to wait; 0 does not wait, None waits for ever. The kernel puts what is left
                there.
            sigmask: the signals that are blocked meanwhile.

        Returns:
            With how many descriptors something has happened; 0 if the time is over.

        Raises:
            BufferTooSmallError: the memory is too small.
            FDTableMismatchError: a descriptor is of another table.             OSError: EINTR, EINVAL;
                `filename` is the array.

        manpage: ppoll(2)
        """
        check_pointers(fds)
        require_size(fds, len(fds.value) * Pollfd.sizeof())
        require_size_if_given(timeout, Timespec.sizeof())
        require_size_if_given(sigmask, Sigset.sizeof())
        with ExitStack() as stack:
            fds_addr = stack.enter_context(fds.borrow(self))
            for entry in fds.value:
                if isinstance(entry.fd, BaseFileDescriptor):
                    stack.enter_context(entry.fd.borrow(self))
            timeout_addr = self._borrow_optional(stack, timeout)
            sigmask_addr = self._borrow_optional(stack, sigmask)
            with naming(fds.value):
                return await _ppoll(
                    self.sysif, fds_addr, len(fds.value), timeout_addr, sigmask_addr, Sigset.sizeof()
                )


@call("ppoll", array(Pollfd, 1), SIZE, given(Timespec), given(Sigset), SIZE)
async def _ppoll(
    sysif: SyscallInterface,
    fds: near.Address,
    nfds: int,
    timeout: near.Address | None,
    sigmask: near.Address | None,
    sigsetsize: int,
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.ppoll, fds, nfds, timeout or 0, sigmask or 0, sigsetsize)
