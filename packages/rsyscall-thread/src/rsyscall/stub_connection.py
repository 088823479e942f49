"""The way to a process with memory of its own: a stream to the program `rsyscall-stub` that it runs."""

from __future__ import annotations

import contextlib
import logging
import os
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import trio

from rsyscall.background import RunLoop, weakly
from rsyscall.handle import Task
from rsyscall.native import destructor, fast
from rsyscall.near import Syscall, SyscallError, SyscallHangup, as_syscalls, native_abi, nr
from rsyscall.near.calls import Fact, having
from rsyscall.stream import SyscallConnection
from rsyscall.sys.socket import MSG, SHUT

if TYPE_CHECKING:
    from rsyscall.epoller import AsyncFileDescriptor
    from rsyscall.handle import FileDescriptor
    from rsyscall.hub import ProgramHub
    from rsyscall.monitor import AsyncChildProcess
    from rsyscall.near.record import CallRecord
    from rsyscall.pidfd import Pidfd

__all__ = ["Exited", "LifelineConnection", "StubConnection", "begin_driving", "drive", "pidfd_of"]

logger: logging.Logger = logging.getLogger(__name__)

_LEAVING = having(Fact.LEAVES)
_KCMP_FILES = 2
# Between two looks at a process that executes a program, in seconds.
_PAUSE = 0.001
# How long it may take to close its descriptors then.
_TIME_TO_LEAVE = 5.0


class SharedTableConnection(SyscallConnection):
    """The stream to a process that may share its table with others.

    Where it does, an exec does not end the stream: the others keep the process' end of it open.
    """

    def __init__(self, afd: AsyncFileDescriptor, server_fd: FileDescriptor) -> None:
        # Before the rest: the destructor needs them.
        # One for each call under way that may be an exec, while others share the table.
        self._leaving: set[object] = set()
        self._watcher = RunLoop(weakly(self, SharedTableConnection._watch_table), f"exec by {server_fd}")
        super().__init__(logger, afd, afd, server_fd, server_fd)

    async def _call(self, call: Syscall, record: CallRecord | None) -> int:
        if call.number not in _LEAVING or not self._sharers():
            return await super()._call(call, record)
        leaving = self._begin_leaving()
        try:
            return await super()._call(call, record)
        finally:
            self._leaving.discard(leaving)

    @trio.lowlevel.enable_ki_protection
    async def syscalls(self, calls: Sequence[Syscall], linked: bool = False) -> list[int]:
        calls = as_syscalls(calls)
        if _LEAVING.isdisjoint(call.number for call in calls) or not self._sharers():
            return await super().syscalls(calls, linked)
        leaving = self._begin_leaving()
        try:
            return await super().syscalls(calls, linked)
        finally:
            self._leaving.discard(leaving)

    def _begin_leaving(self) -> object:
        leaving = object()
        self._leaving.add(leaving)
        self._watcher.ensure_running()
        return leaving

    def _sharers(self) -> list[Task]:
        """Other processes in our table: they keep our end of the stream open."""
        ours = self.server_infd.task
        others = [task for task in ours.fd_table.tasks if task is not ours and not task.departed]
        return [task for task in others if isinstance(task, Task)]

    async def _watch_table(self) -> None:
        """While a call may execute a program, look whether the process still shares its table: exec ends
        that.
        """
        while self._leaving and not self._state.ended:
            await trio.sleep(_PAUSE)
            sharers = self._sharers()
            if not sharers:
                continue
            try:
                differs = await self._has_other_table(sharers)
            except OSError:
                continue  # one of them has just exited; or a filter denies the call
            if differs:
                self.process_left()

    async def _has_other_table(self, sharers: list[Task]) -> bool:
        """Whether the process has another table than these, which shared one with it.

        manpage: kcmp(2)
        """
        raise NotImplementedError


async def has_other_table(task: Task, pid: int, other: int) -> bool:
    """Whether two processes have different tables. manpage: kcmp(2)."""
    return await task.sysif.syscall(nr.kcmp, pid, other, _KCMP_FILES, 0, 0) != 0


class StubConnection(SharedTableConnection):
    """The stream to a process with memory of its own.

    A process that is in a call does not see the end of its stream, so it is killed when no caller can reach
    it.
    """

    def __init__(
        self, hub: ProgramHub, pidfd: Pidfd, afd: AsyncFileDescriptor, server_fd: FileDescriptor
    ) -> None:
        # Before the rest: the destructor needs them.
        self._hub = hub
        self._pidfd = pidfd
        super().__init__(afd, server_fd)

    @destructor
    def __del__(self) -> None:
        super().__del__()
        if not getattr(self, "_closed", True) and os.getpid() == self._hub.pid and self._pidfd.number >= 0:
            if not self._state.ended:
                self._pidfd.kill()
            self._hub.dismissed(self._pidfd)

    async def _has_other_table(self, sharers: list[Task]) -> bool:
        pidfds = [self._hub.pidfds.get(task) for task in sharers]
        pids = [pid for pidfd in pidfds if pidfd is not None and (pid := pidfd.pid())]
        pid = self._pidfd.pid()
        return bool(pids and pid) and await has_other_table(self._hub.task, pid, pids[0])

    @trio.lowlevel.enable_ki_protection
    async def close_interface(self) -> None:
        """As `SyscallConnection.close_interface`; a process that is in a call is killed."""
        if self._state.under_way and not self._state.stopped:
            self.check_owner()  # or a forked copy would kill the child of the original
            self._pidfd.kill()
        await super().close_interface()


class LifelineConnection(SyscallConnection):
    """The stream to a process that is no child of ours, and that the kernel kills when `life` is closed.

    Attributes:
        life: our end of a pair of sockets, the other end of which the process has.
    """

    life: FileDescriptor | None = None

    @destructor
    def __del__(self) -> None:
        super().__del__()
        life = self.life
        if getattr(self, "_closed", True) or os.getpid() != self._pid or life is None:
            return
        if life.task.sysif.immediate and life.is_tracked():
            # In a call it does not see the end of its stream.
            fast.syscall(native_abi().number(nr.shutdown), life.near, SHUT.RDWR)

    @trio.lowlevel.enable_ki_protection
    async def close_interface(self) -> None:
        """As `SyscallConnection.close_interface`; a process that is in a call is killed."""
        left = self._state.ended
        await super().close_interface()
        life = self.life
        if life is None or not life.valid:
            return
        with trio.CancelScope(shield=True), contextlib.suppress(OSError, SyscallError):
            try:
                if left:
                    await self._wait_for_end(life)
            finally:
                await life.invalidate()

    async def _wait_for_end(self, life: FileDescriptor) -> None:
        """Wait until a process that has left by exec has closed its end of `life`, too.

        It does so a moment after that of the stream, and would be killed in between. One that keeps it is.
        """
        ram = self.tofd.ram
        with trio.move_on_after(_TIME_TO_LEAVE):
            while True:
                with contextlib.suppress(BlockingIOError):
                    await life.recv(await ram.malloc(bytes, 1), MSG.DONTWAIT)
                    return
                await trio.sleep(_PAUSE)


def _leaving(reference: weakref.ref[StubConnection] | None) -> None:
    connection = reference() if reference is not None else None
    if connection is not None:
        connection.process_left()


class Exited:
    """Called when the process has exited: passes it on, and keeps nothing alive.

    Args:
        hub: of the program.
    """

    def __init__(self, hub: ProgramHub) -> None:
        self.hub = hub
        self.pidfd: Pidfd | None = None
        self.connection: weakref.ref[StubConnection] | None = None
        # Of the ring, if the process has one.
        self.process_left: Callable[[], None] | None = None

    def __call__(self) -> None:
        _leaving(self.connection)
        if self.process_left is not None:
            self.process_left()
        if self.pidfd is not None:
            self.hub.exits.exited(self.pidfd)


def drive(
    parent: Task,
    hub: ProgramHub,
    child: Task,
    process: AsyncChildProcess,
    exited: Exited,
    access: AsyncFileDescriptor,
    server_fd: FileDescriptor,
) -> None:
    """Make the interface of `child`, whose end of the stream is `server_fd`."""
    pidfd = begin_driving(hub, child, process, exited)
    child.infrastructure_fds += (server_fd,)
    sysif = StubConnection(hub, pidfd, access, server_fd)
    exited.connection = weakref.ref(sysif)
    child.sysif = parent.sysif.wrap_child(sysif, f"process {child.near_process.id}")


def pidfd_of(child: Task, process: AsyncChildProcess) -> Pidfd:
    """The pidfd of a process that we begin to drive.

    Raises:
        SyscallHangup: it has exited.
    """
    pidfd = process.pidfd
    if pidfd is None:
        # It has been reaped, too.
        raise SyscallHangup(f"{child} has exited before it could be driven")
    return pidfd


def begin_driving(hub: ProgramHub, child: Task, process: AsyncChildProcess, exited: Exited) -> Pidfd:
    """Have the hub know `child`; returns its pidfd, whose exit `exited` tells of from now on.

    Raises:
        SyscallHangup: it has exited.
    """
    pidfd = pidfd_of(child, process)
    hub.pidfds[child] = pidfd
    hub.drives(child)
    exited.pidfd = pidfd
    hub.exits.numbers[pidfd] = pidfd.number
    return pidfd
