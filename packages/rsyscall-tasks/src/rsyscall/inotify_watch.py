"""Waiting for changes of files and directories.

    inotify = await Inotify.make(thread)
    watch = await inotify.add(directory, IN.CREATE)
    event = await watch.wait_until_event(IN.CREATE, "ready")

No task reads in the background: of the tasks that wait for one of the watches, one reads, and gives the
others their events. When it is cancelled, the next one goes on. While no task waits, the events stay in the
kernel, which keeps a limited number of them (/proc/sys/fs/inotify/max_queued_events) and then says that it
has lost some. Every watch gets this `IN.Q_OVERFLOW`, since the events may have been of any.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from rsyscall.closing import ClosedAtEnd
from rsyscall.epoller import RemovedFromEpollError
from rsyscall.sys.inotify import IN, InotifyEvent, InotifyEventList, InotifyFlag

if TYPE_CHECKING:
    from rsyscall.async_fd import AsyncFileDescriptor
    from rsyscall.handle import Pointer
    from rsyscall.memory.ram import RAM
    from rsyscall.near.types import WatchDescriptor
    from rsyscall.path import Path
    from rsyscall.thread import Thread

__all__ = ["Inotify", "InotifyOverflowError", "Watch", "WatchRemovedError"]

_BUFFER_SIZE = 4096


class WatchRemovedError(Exception):
    """The watch is gone: it was removed, its file was deleted, or its file system was unmounted."""


class InotifyOverflowError(Exception):
    """The kernel has lost events, so the one that is waited for may have been."""


@dataclass(eq=False)
class Watch:
    """What `Inotify.add` returns: a file or a directory that is watched.

    Args:
        inotify: the instance.
        wd: the number of the watch there.
        pending_events: those that have been read and not been returned.
    """

    inotify: Inotify
    wd: WatchDescriptor
    pending_events: list[InotifyEvent] = field(default_factory=list, init=False)
    _removed: bool = field(default=False, init=False, repr=False)

    async def wait(self) -> list[InotifyEvent]:
        """Wait until something has happened, and return all of it that is known, the first first.

        Cancellation loses no event.

        Raises:
            WatchRemovedError: the watch is gone, and all its events have been returned.

        manpage: inotify(7)
        """
        while not self.pending_events:
            if self._removed:
                raise WatchRemovedError("watch was removed", self.wd)
            try:
                await self.inotify._read_or_wait()
            except RemovedFromEpollError:
                if not self._removed:  # the instance was not closed by us
                    raise
        events, self.pending_events = self.pending_events, []
        return events

    async def wait_until_event(self, mask: IN, name: str | None = None) -> InotifyEvent:
        """Wait for an event, and discard those before it. Later ones stay.

        Args:
            mask: any of these.
            name: of the file in the directory that is watched; None for any.

        Raises:
            InotifyOverflowError: the kernel has lost events; not if `mask` has `IN.Q_OVERFLOW`.
            WatchRemovedError: the watch is gone.

        manpage: inotify(7)
        """
        while True:
            if not self.pending_events:
                self.pending_events = await self.wait()
            event = self.pending_events.pop(0)
            if event.mask & mask and name in (None, event.name):
                return event
            if event.mask & IN.Q_OVERFLOW:
                raise InotifyOverflowError("the kernel has lost events", self.wd)

    async def remove(self) -> None:
        """Stop watching. Tasks that wait get a `WatchRemovedError`, after the events until now.

        Raises:
            OSError: EINVAL if the watch is gone already.

        manpage: inotify_rm_watch(2)
        """
        await self.inotify.asyncfd.handle.inotify_rm_watch(self.wd)


class Inotify(ClosedAtEnd):
    """An inotify instance with any number of watches. See `make`.

    Args:
        asyncfd: the instance; owned.
        ram: memory of its task.
        buf: where to read events; owned.
    """

    def __init__(self, asyncfd: AsyncFileDescriptor, ram: RAM, buf: Pointer[InotifyEventList]) -> None:
        self.asyncfd = asyncfd
        self.ram = ram
        self._buf = buf
        # What has been read and is still in memory, and the rest of the memory.
        self._unread: tuple[Pointer[InotifyEventList], Pointer[InotifyEventList]] | None = None
        self._undelivered: deque[InotifyEvent] = deque()
        self._watches: dict[WatchDescriptor, Watch] = {}
        # Events of watches that `add` has made and does not know yet.
        self._early: dict[WatchDescriptor, list[InotifyEvent]] = {}
        # Happens when the task that reads stops reading; None if there is no such task.
        self._reading: trio.Event | None = None

    @staticmethod
    async def make(thread: Thread) -> Inotify:
        """Make an instance in that thread, whose files it will watch.

        Raises:
            OSError: EMFILE (the limit of the user), ENFILE, ENOMEM.

        manpage: inotify_init(2)
        """
        buf = await thread.ram.malloc(InotifyEventList, _BUFFER_SIZE)
        fd = await thread.task.inotify_init(InotifyFlag.NONBLOCK)
        try:
            return Inotify(await thread.make_afd(fd), thread.ram, buf)
        except BaseException:
            with trio.CancelScope(shield=True):
                await fd.invalidate()
            raise

    async def add(self, path: Path, mask: IN) -> Watch:
        """Watch a file or a directory.

        Args:
            path: what to watch.
            mask: for which events; and `IN.ONLYDIR`, `IN.DONT_FOLLOW`, `IN.MASK_ADD`...

        Returns:
            The watch; the same one for the same file, and the later mask counts.

        Raises:
            OSError: ENOENT, EACCES, ENOTDIR, ENOSPC (too many watches)...

        manpage: inotify_add_watch(2)
        """
        pathname = await self.ram.ptr(path)
        wd = await self.asyncfd.handle.inotify_add_watch(pathname, mask)
        watch = self._watches.get(wd)
        if watch is None:
            watch = self._watches[wd] = Watch(self, wd)
            for event in self._early.pop(wd, ()):
                self._deliver(event)
        return watch

    async def close(self) -> None:
        """Close the instance, and end all watches. Done even when cancelled; does nothing the second time.

        Tasks that wait get a `WatchRemovedError`.
        """
        watches, self._watches = self._watches, {}
        for watch in watches.values():
            watch._removed = True
        await self.asyncfd.close()

    async def _read_or_wait(self) -> None:
        """Read once, or wait until the task that reads has done so."""
        if self._reading is not None:
            await self._reading.wait()
            return
        done = self._reading = trio.Event()
        try:
            await self._read()
        finally:
            self._reading = None
            done.set()

    async def _read(self) -> None:
        if self._undelivered:
            self._deliver_all()
            return
        if self._unread is None:
            self._unread = await self.asyncfd.read(self._buf)
        valid, rest = self._unread
        # An exception may come at any point: then some of it is done again, so that no event is lost.
        events = await valid.read()
        self._undelivered += events
        self._unread, self._buf = None, valid + rest
        self._deliver_all()

    def _deliver_all(self) -> None:
        while self._undelivered:
            self._deliver(self._undelivered[0])
            self._undelivered.popleft()

    def _deliver(self, event: InotifyEvent) -> None:
        if event.mask & IN.Q_OVERFLOW:
            for watch in self._watches.values():
                watch.pending_events.append(event)
            return
        found = self._watches.get(event.wd)
        if found is None:
            self._early.setdefault(event.wd, []).append(event)
        elif event.mask & IN.IGNORED:
            found._removed = True
            del self._watches[event.wd]
        else:
            found.pending_events.append(event)
