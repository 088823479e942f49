"""A way to a process that can be replaced by another one, while calls wait for that."""

from __future__ import annotations

import bisect
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, SupportsInt, TypeVar

import trio

from rsyscall.background import Waiter
from rsyscall.denied import any_answer
from rsyscall.near import (
    SYS,
    Step,
    Syscall,
    SyscallError,
    SyscallHangup,
    SyscallInterface,
    SyscallSendError,
)

if TYPE_CHECKING:
    from rsyscall.handle import FileDescriptor
    from rsyscall.near.abi import ABI
    from rsyscall.near.record import CallRecord
    from rsyscall.stream import SyscallConnection

__all__ = ["PersistentSyscallConnection"]

T = TypeVar("T")


class PersistentSyscallConnection(SyscallInterface):
    """The way to a process that serves one connection after another.

    Between two connections calls wait, if `keeps_calls`, and are sent over the next one in the order in which
    they were made. A call that was under way when a connection was lost raises `SyscallHangup`: it may have
    been made.

    Args:
        conn: the first connection.

    Attributes:
        keeps_calls: whether calls wait for the next connection when this one is lost; otherwise they raise
            `SyscallSendError`.
        activity_fd: the descriptor of the process that is readable when there is work for it, if that is the
            same one for all connections.
    """

    pipelines = True

    def __init__(self, conn: SyscallConnection) -> None:
        self.abi: ABI = conn.abi
        self.keeps_calls: bool = False
        self.activity_fd: FileDescriptor | None = None
        # The last one, and whether it can be used.
        self._conn = conn
        self._usable = True
        self._closed = False
        self._serials = itertools.count()
        # Calls that wait, in the order in which they were made. While there are any, others wait behind them.
        self._waiting: list[tuple[int, Waiter[None]]] = []
        self._watchers: list[Waiter[SyscallSendError]] = []

    def __repr__(self) -> str:
        state = "connected" if self._usable else f"{len(self._waiting)} calls wait for a connection"
        return f"PersistentSyscallConnection({self._conn.server_infd}, {state})"

    # ---- the connection

    @property
    def connected(self) -> bool:
        """Whether calls are sent at once, as far as is known."""
        return self._usable and not self._conn.ended

    def set_new_conn(self, conn: SyscallConnection) -> None:
        """Use this connection from now on, and send over it what has waited."""
        self._conn = conn
        self._usable = True
        self._wake_next()

    def _wake_next(self) -> None:
        # One after the other: the next one is woken when this one has submitted its call.
        while self._waiting and self._usable:
            waiter = self._waiting[0][1]
            if not waiter.abandoned:
                waiter.send(None)
                return
            del self._waiting[0]

    def keep_no_calls(self) -> None:
        """Calls that wait for a connection raise `SyscallSendError`, and so do later ones."""
        self.keeps_calls = False
        if not self._usable:
            for _, waiter in self._waiting:
                waiter.throw(SyscallSendError(f"{self} is given up"))

    async def shutdown_current_connection(self) -> None:
        """Give up the connection when all calls under way have been answered; others wait for the next one.

        A call that waits for descriptors, as `epoll_wait` of the thread, is ended by that. Other calls that
        block are waited for.
        """
        conn, self._usable = self._conn, False
        if self._closed:
            return
        try:
            with contextlib.suppress(SyscallError):
                await any_answer(conn)
        except BaseException:
            self._usable = not conn.ended
            self._wake_next()
            raise
        await conn.close_interface()

    def _broken(self, conn: SyscallConnection, error: SyscallError) -> None:
        """A call over this connection has failed; it is possibly not the last one any more."""
        if conn is not self._conn or not conn.ended:
            return
        self._usable = False
        news = error if isinstance(error, SyscallSendError) else SyscallSendError(str(error))
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            watcher.send(news)

    async def wait_for_break(self) -> SyscallSendError:
        """Wait until a call has found out that the connection is lost."""
        watcher: Waiter[SyscallSendError] = Waiter()
        self._watchers.append(watcher)
        try:
            return await watcher.wait(cancellable=True)
        finally:
            if watcher in self._watchers:
                self._watchers.remove(watcher)

    @trio.lowlevel.enable_ki_protection
    async def close_interface(self) -> None:
        """Give up the process: what waits raises `SyscallSendError`."""
        self._closed = True
        self._usable = False
        self.keep_no_calls()
        await self._conn.close_interface()

    def get_activity_fd(self) -> FileDescriptor:
        """The descriptor of the process that is readable when there is work for it."""
        return self._conn.get_activity_fd() if self.activity_fd is None else self.activity_fd

    def check_owner(self) -> None:
        """Raise unless this is the program, and the OS thread, whose connection this is."""
        self._conn.check_owner()

    # ---- calls

    async def _over(self, call: Callable[[SyscallConnection], Awaitable[T]]) -> T:
        """Do this with a connection that can be used."""
        serial: int | None = None
        while True:
            if self._waiting or not self._usable:
                if serial is None:
                    serial = next(self._serials)
                await self._wait(serial)
            conn = self._conn
            try:
                return await call(conn)
            except SyscallSendError as error:
                self._broken(conn, error)
                if self._closed or not self.keeps_calls:
                    raise
                # Certainly not made. It was made before all that wait now but those which were with it.
                if serial is None:
                    serial = next(self._serials)
            except SyscallHangup as error:
                self._broken(conn, error)
                raise

    async def _wait(self, serial: int) -> None:
        """Wait for a connection, and for the turn of this call."""
        if self._closed or not (self.keeps_calls or self._waiting or self._usable):
            raise SyscallSendError(f"the connection to {self._conn.server_infd} is lost; reconnect")
        waiter: Waiter[None] = Waiter()
        entry = serial, waiter
        bisect.insort(self._waiting, entry, key=lambda entry: entry[0])
        try:
            await waiter.wait(cancellable=True)
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)
            # It runs after this task, which submits its call without another step in between.
            self._wake_next()

    async def syscall(
        self,
        number: SYS,
        arg1: SupportsInt = 0,
        arg2: SupportsInt = 0,
        arg3: SupportsInt = 0,
        arg4: SupportsInt = 0,
        arg5: SupportsInt = 0,
        arg6: SupportsInt = 0,
    ) -> int:
        """Make a call in the process; see `SyscallInterface.syscall`."""
        return await self._over(lambda conn: conn.syscall(number, arg1, arg2, arg3, arg4, arg5, arg6))

    async def recorded_syscall(
        self,
        record: CallRecord,
        number: SYS,
        arg1: SupportsInt = 0,
        arg2: SupportsInt = 0,
        arg3: SupportsInt = 0,
        arg4: SupportsInt = 0,
        arg5: SupportsInt = 0,
        arg6: SupportsInt = 0,
    ) -> int:
        """As `syscall`; see `SyscallInterface.recorded_syscall`."""
        return await self._over(
            lambda conn: conn.recorded_syscall(record, number, arg1, arg2, arg3, arg4, arg5, arg6)
        )

    async def syscalls(self, calls: Sequence[Syscall], linked: bool = False) -> list[int]:
        """Make several calls in one go; see `SyscallInterface.syscalls`."""
        return await self._over(lambda conn: conn.syscalls(calls, linked))

    async def steps(
        self, steps: Sequence[Step], linked: bool = False, record: CallRecord | None = None, recorded: int = 0
    ) -> list[int | bytes]:
        """Make calls and move memory in one go; see `SyscallInterface.steps`."""
        return await self._over(lambda conn: conn.steps(steps, linked, record, recorded))

    async def read_memory(self, address: SupportsInt, length: int) -> bytes:
        """Copy `length` bytes out of the memory of the process; see `SyscallInterface.read_memory`."""
        return await self._over(lambda conn: conn.read_memory(address, length))

    async def write_memory(self, address: SupportsInt, data: bytes) -> None:
        """Copy `data` into the memory of the process; see `SyscallInterface.write_memory`."""
        return await self._over(lambda conn: conn.write_memory(address, data))
