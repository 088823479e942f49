"""The call of `<sys/epoll.h>` that waits with a time in nanoseconds and a mask."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from rsyscall.handle.arguments import FDNUM, INT, SIZE, Memory, call, given
from rsyscall.handle.buffers import require_size, require_size_if_given
from rsyscall.handle.fd import BaseFileDescriptor
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.signal import Sigset
from rsyscall.time import Timespec

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer, ReadablePointer, WrittenPointer
    from rsyscall.near.sysif import SyscallInterface
    from rsyscall.sys.epoll import EpollEventList

__all__ = ["EpollPwaitFileDescriptor"]


class EpollPwaitFileDescriptor(BaseFileDescriptor):
    """Waiting with an epoll instance."""

    __slots__ = ()

    async def epoll_pwait2(
        self,
        events: Pointer[EpollEventList],
        timeout: WrittenPointer[Timespec] | None = None,
        sigmask: WrittenPointer[Sigset] | None = None,
    ) -> tuple[ReadablePointer[EpollEventList], Pointer[EpollEventList]]:
        """`epoll_pwait2(epfd, events, maxevents, timeout, sigmask, 8)`: wait for registered file descriptors.

        Waits in the process, which can make no other calls meanwhile.

        Args:
            events: where to put them, as many as fit; consumed.
            timeout: how long to wait; 0 does not wait, None waits for ever.
            sigmask: the signals that are blocked meanwhile.

        Returns:
            The events, none if the time is over, and the rest of the buffer.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EINTR, EINVAL (not an epoll instance); `filename` is this descriptor.

        manpage: epoll_wait(2)
        """
        self._validate()
        check_pointers(events)
        size = self.task.sysif.abi.epoll_event.size
        require_size(events, size)
        require_size_if_given(timeout, Timespec.sizeof())
        require_size_if_given(sigmask, Sigset.sizeof())
        with ExitStack() as stack:
            events_addr = stack.enter_context(events.borrow(self.task))
            timeout_addr = self.task._borrow_optional(stack, timeout)
            sigmask_addr = self.task._borrow_optional(stack, sigmask)
            with naming(self):
                count = await _epoll_pwait2(
                    self.task.sysif,
                    self.near,
                    events_addr,
                    events.size() // size,
                    timeout_addr,
                    sigmask_addr,
                    Sigset.sizeof(),
                )
        return events.readable_split(count * size)


@call("epoll_pwait2", FDNUM, Memory("epoll_events", after=True), INT, given(Timespec), given(Sigset), SIZE)
async def _epoll_pwait2(
    sysif: SyscallInterface,
    epfd: near.FileDescriptor,
    events: near.Address,
    maxevents: int,
    timeout: near.Address | None,
    sigmask: near.Address | None,
    sigsetsize: int,
) -> int:
    """The raw call."""
    return await sysif.syscall(
        nr.epoll_pwait2, epfd, events, maxevents, timeout or 0, sigmask or 0, sigsetsize
    )
