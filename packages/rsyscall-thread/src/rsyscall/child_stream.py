"""The byte stream to a child that shares our memory."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, SupportsInt

import trio

from rsyscall.dumpable import CREDENTIAL_CALLS
from rsyscall.native import Ring, destructor
from rsyscall.near import SYS, Syscall, as_syscalls
from rsyscall.near.address_space import call_error
from rsyscall.near.calls import Fact, having
from rsyscall.near.record import CallRecord
from rsyscall.stream import SyscallConnection

if TYPE_CHECKING:
    from rsyscall.epoller import AsyncFileDescriptor
    from rsyscall.handle import FileDescriptor
    from rsyscall.hub import ProgramHub
    from rsyscall.pidfd import Pidfd

__all__ = ["ChildStream"]

logger: logging.Logger = logging.getLogger(__name__)

_LEAVING = having(Fact.LEAVES)


class ChildStream(SyscallConnection):
    """The stream to a process that shares our memory.

    Exec and exit are noticed by the word that the kernel clears.

    The end of the stream is no sign of them: copies of its other end may be open in other processes.
    """

    borrows_memory = True

    def __init__(
        self,
        hub: ProgramHub,
        ring: Ring,
        pidfd: Pidfd,
        afd: AsyncFileDescriptor,
        server_fd: FileDescriptor,
    ) -> None:
        # Before the rest: the destructor needs them.
        self._hub = hub
        self._ring = ring
        self._pidfd = pidfd
        # One for each call under way that makes the process leave our memory.
        self._leaving: set[object] = set()
        super().__init__(logger, afd, afd, server_fd, server_fd)

    @destructor
    def __del__(self) -> None:
        super().__del__()
        # No task can reach the process any more. The end of the stream does not tell it, for it has a copy of
        # our end.
        if not getattr(self, "_closed", True) and os.getpid() == self._hub.pid and self._pidfd.number >= 0:
            # (Unless ours was closed before us.)
            if not self._ring.left:
                self._pidfd.kill()
            self._hub.dismissed(self._ring)

    @trio.lowlevel.enable_ki_protection
    async def close_interface(self) -> None:
        """As `SyscallConnection.close_interface`; a process that is in a call is killed.

        Its callers hear of the hang-up when it has left our memory, which it may be about to write into.
        """
        if self._state.under_way and not self._state.stopped:
            self.check_owner()  # or a forked copy would kill the child of the original
            if self._pidfd.kill():
                with trio.CancelScope(shield=True):
                    while not self._ring.left:  # noqa: ASYNC110 # all that the kernel does is to clear a word
                        await trio.sleep(0.001)
        await super().close_interface()

    async def _call(self, call: Syscall, record: CallRecord | None) -> int:
        if call.number in CREDENTIAL_CALLS:
            self._hub.dumpable.announce(self._ring)
        if call.number not in _LEAVING or self._ring.left:
            return await super()._call(call, record)
        leaving = object()
        try:
            self._begin_leaving(leaving)
            return await super()._call(call, record)
        finally:
            self._end_leaving(leaving)

    @trio.lowlevel.enable_ki_protection
    async def syscalls(self, calls: Sequence[Syscall], linked: bool = False) -> list[int]:
        calls = as_syscalls(calls)
        numbers = {call[0] for call in calls}
        if numbers & CREDENTIAL_CALLS:
            self._hub.dumpable.announce(self._ring)
        if self._ring.left or not numbers & _LEAVING:
            return await super().syscalls(calls, linked)
        leaving = object()
        try:
            self._begin_leaving(leaving)
            return await super().syscalls(calls, linked)
        finally:
            self._end_leaving(leaving)

    def _call_error(self, result: int, number: SYS, *args: SupportsInt) -> OSError:
        return call_error(result, f"process {self.server_infd.task.near_process.id}", number, *args)

    def _begin_leaving(self, leaving: object) -> None:
        self._leaving.add(leaving)
        # An exception may keep us from taking that back, and must not keep us, and so the process, alive.
        reference = weakref.ref(self)

        def left() -> None:
            alive = reference()
            if alive is not None:
                alive._left()

        self._hub.watch_leave(self._ring, left)

    def _end_leaving(self, leaving: object) -> None:
        self._leaving.discard(leaving)
        if not self._leaving:
            self._hub.unwatch_leave(self._ring)
        if self._ring.left:
            # The end of the stream can be seen before the word is looked at.
            self._hub.left(self._ring)

    def _left(self) -> None:
        self.process_left()
        self._hub.left(self._ring)
