"""Signals of one process, announced in trio: a signalfd, and events that happen once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import trio

from rsyscall.async_fd import finish
from rsyscall.background import RunLoop, Waiter
from rsyscall.denied import any_answer
from rsyscall.epoller import AsyncFileDescriptor, Epoller
from rsyscall.native import destructor
from rsyscall.near import SyscallError
from rsyscall.opener import opener
from rsyscall.signal import SignalBlock, SignalTask, Sigset

if TYPE_CHECKING:
    from rsyscall.handle import Pointer, Task
    from rsyscall.memory.ram import RAM
    from rsyscall.sys.signalfd import SignalfdSiginfo

__all__ = ["AsyncSignalfd", "SignalEvent", "first_of", "mask_settled"]


class SignalEvent:
    """Something that happens once; each waiter is woken, or gets the error that ended the waiting."""

    __slots__ = ("_error", "_set", "_waiters")

    def __init__(self) -> None:
        self._waiters: list[Waiter[None]] = []
        self._set = False
        self._error: BaseException | None = None

    def set(self) -> None:
        """Wake all waiters, now and later."""
        self._set = True
        # Each is forgotten when it has been woken: if an exception comes in between, this is done again.
        while self._waiters:
            self._waiters[-1].send(None)
            self._waiters.pop()

    def close(self, error: BaseException) -> None:
        """Fail all waiters, now and later."""
        self._error = error
        while self._waiters:
            self._waiters[-1].throw(error)
            self._waiters.pop()

    def is_set(self) -> bool:
        """Return whether it has happened."""
        return self._set

    def add(self, waiter: Waiter[None]) -> None:
        """Wake this waiter when it happens, or now if it has happened."""
        if self._error is not None:
            waiter.throw(self._error)
        elif self._set:
            waiter.send(None)
        else:
            self._waiters.append(waiter)

    def remove(self, waiter: Waiter[None]) -> None:
        """Undo `add`."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)

    async def wait(self) -> None:
        """Wait until it happens; a checkpoint."""
        if self._set and self._error is None:
            await trio.lowlevel.checkpoint()
            return
        # Not first_of: this is how most wait for a child, and a cancel scope costs more than all the rest.
        waiter: Waiter[None] = Waiter()
        try:
            self.add(waiter)
            await waiter.wait(cancellable=True)
        finally:
            self.remove(waiter)


async def first_of(events: Sequence[SignalEvent], seconds: float = math.inf) -> None:
    """Wait until one of the events happens, or the time is over; a checkpoint unless one has happened."""
    waiter: Waiter[None] = Waiter()
    try:
        for event in events:
            event.add(waiter)
        with trio.move_on_after(seconds):
            await waiter.wait(cancellable=True)
    finally:
        for event in events:
            event.remove(waiter)


class AsyncSignalfd:
    """Signals of one process as events. See `make`."""

    def __init__(
        self, afd: AsyncFileDescriptor, signal_block: SignalBlock, buf: Pointer[SignalfdSiginfo]
    ) -> None:
        self.afd = afd
        self.signal_block = signal_block
        # What to unblock in the end.
        self._blocked: SignalBlock | None = signal_block
        # Without a reference to us: what reads signals in the background must not keep the process alive.
        self._reading = _Reading(afd, buf)
        self._loop = RunLoop(self._reading.run, f"rsyscall signalfd {afd.handle.near}")
        self._loop.ensure_running()

    @destructor
    def __del__(self) -> None:
        loop = getattr(self, "_loop", None)
        if loop is not None:
            loop.stop()

    @property
    def next_signal(self) -> SignalEvent:
        """Happens when the next signal arrives; then there is another one for the one after it."""
        return self._reading.next_signal

    # An interrupt must not come between blocking the signals and the moment when an object can unblock them.
    @classmethod
    @trio.lowlevel.enable_ki_protection
    async def make(
        cls, ram: RAM, task: Task, epoller: Epoller, mask: Sigset, *, signal_block: SignalBlock | None = None
    ) -> AsyncSignalfd:
        """Receive these signals of `task` through a descriptor; they are blocked meanwhile.

        Args:
            ram: memory of `task`.
            task: the process that the signals are sent to.
            epoller: the epoll loop that runs in this very process. Linux looks at the signals of the process
                that calls epoll_wait, and wakes the one that registered: across processes events are lost.
            mask: which signals.
            signal_block: what blocks the signals already, and goes on doing so after `close`; otherwise they
                are blocked here.

        Raises:
            ValueError: the epoller belongs to another process.
            SigmaskError: one of the signals is blocked by us already, and `signal_block` is not given.

        manpage: signalfd(2)
        """
        owner = epoller.epoll_waiter.epfd.task
        if task is not owner:
            raise ValueError(
                f"a signalfd for {task} must be watched by that process, but this epoller runs in {owner}"
            )
        if signal_block is not None:
            sigfd = await cls._open(ram, task, epoller, mask, signal_block)
            sigfd._blocked = None
            return sigfd
        newset = await ram.ptr(mask)
        oldset = await ram.malloc(Sigset)
        await mask_settled(task)
        signal_block = blocked = await task.sigmask_block(newset, oldset)
        try:
            await finish(task.read_oldset_and_check)
            # Some may have been blocked before, by the rest of the program or by a parent of the process.
            before = await finish(oldset.read)
            if before & mask:
                blocked = SignalBlock(task, await ram.ptr(Sigset(mask - before)))
            sigfd = await cls._open(ram, task, epoller, mask, signal_block)
            sigfd._blocked = blocked
            return sigfd
        except BaseException:
            with trio.CancelScope(shield=True):
                await _unblock(signal_block, blocked)
            raise

    @classmethod
    async def _open(
        cls, ram: RAM, task: Task, epoller: Epoller, mask: Sigset, signal_block: SignalBlock
    ) -> AsyncSignalfd:
        from rsyscall.sys.signalfd import SFD, SignalfdSiginfo

        buf = await ram.malloc(SignalfdSiginfo)
        fd = (await opener(task).signalfd(await ram.ptr(mask), SFD.NONBLOCK)).move(task)
        try:
            return cls(await AsyncFileDescriptor.make(epoller, ram, fd), signal_block, buf)
        except BaseException:
            with trio.CancelScope(shield=True):
                await fd.invalidate()
            raise

    def ensure_running(self) -> None:
        """Read signals in the current trio run too."""
        self._loop.ensure_running()

    def fire(self) -> None:
        """Wake each waiter of `next_signal`."""
        self._reading.fire()

    @trio.lowlevel.enable_ki_protection
    async def close(self) -> None:
        """Close the descriptor and unblock those of the signals that were not blocked before.

        Does nothing the second time. It is done even when cancelled.
        """
        self.next_signal.close(RuntimeError("the signalfd was closed"))
        await self.afd.close()
        if self._blocked is not None:
            with trio.CancelScope(shield=True):
                await _unblock(self.signal_block, self._blocked)
            self._blocked = None


class _Reading:
    """What the loop of an `AsyncSignalfd` needs."""

    __slots__ = ("_afd", "_buf", "next_signal")

    def __init__(self, afd: AsyncFileDescriptor, buf: Pointer[SignalfdSiginfo]) -> None:
        self._afd = afd
        self._buf = buf
        self.next_signal = SignalEvent()

    async def run(self) -> None:
        try:
            while True:
                valid, rest = await self._afd.read(self._buf)
                # For the next run of trio, too: this one may end at any time.
                self._buf = valid + rest
                self.fire()
        except Exception as error:
            # Tell any exception to the waiting tasks: if it left the loop it would end the whole run.
            self.next_signal.close(error)

    def fire(self) -> None:
        # A new event before the old one fires: a task that is woken takes the new one at once.
        event, self.next_signal = self.next_signal, SignalEvent()
        event.set()


async def mask_settled(task: SignalTask) -> None:
    """Wait until no task is changing the signal mask: two changes at once are refused."""
    while task.sigprocmask_running:
        # Calls are executed in order.
        await any_answer(task.sysif)
        await trio.lowlevel.checkpoint()


async def _unblock(ours: SignalBlock, blocked: SignalBlock) -> None:
    """Undo `ours`; `blocked` is the part of it that was not blocked before."""
    if blocked.mask:
        await mask_settled(ours.task)
        try:
            await blocked.unblock()
        except SyscallError:
            # The process is gone: the next caller must hear of that, not of the signals that it had blocked.
            ours.task.sigmask = Sigset(ours.task.sigmask - ours.mask)
            raise
    # Signals that other owners have blocked stay blocked, but not on our behalf.
    ours.task.sigmask = Sigset(ours.task.sigmask - ours.mask)
