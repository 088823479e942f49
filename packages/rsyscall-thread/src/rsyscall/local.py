"""A thread object for the OS thread that runs this program.

It belongs to the OS thread that first uses it: in Linux the signal mask and credentials belong to a thread,
as does the duty to reap children, and children die with the thread that made them. It outlives a `trio.run`
and serves the next one.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Any

import trio

from rsyscall.background import run_now
from rsyscall.environ import Environment, ExecutablePathCache, directories_of
from rsyscall.epoller import Epoller
from rsyscall.far import AddressSpace, PidNamespace
from rsyscall.fd_collector import close_dropped
from rsyscall.handle import FDTable, FileDescriptor, Task
from rsyscall.handle.fd import STANDARD
from rsyscall.hub import ProgramHub
from rsyscall.loader import NativeLoader
from rsyscall.memory.allocator import AllocatorClient
from rsyscall.memory.local import LocalMemoryTransport
from rsyscall.memory.ram import RAM
from rsyscall.monitor import ChildProcessMonitor
from rsyscall.native import symbols
from rsyscall.near import LocalSyscall
from rsyscall.near import types as near
from rsyscall.thread import Thread

if TYPE_CHECKING:
    from rsyscall.network.passing import FDPassConnection

__all__ = ["LocalThread"]


class _StandardDescriptor:
    """An attribute for descriptor 0, 1 or 2; see `LocalThread`."""

    __slots__ = ("_number",)

    def __init__(self, number: int) -> None:
        self._number = number

    def __get__(self, thread: LocalThread, cls: type[LocalThread]) -> FileDescriptor:
        fd = thread._standard[self._number]
        if not fd.valid:
            table = thread.task.fd_table
            if fd.near not in table.near_to_handles:
                table.keep_open |= {self._number}
                fd = thread._standard[self._number] = thread.task.make_fd_handle(fd.near)
        return fd

    def __set__(self, thread: LocalThread, fd: FileDescriptor) -> None:
        thread._standard[self._number] = fd


class LocalThread(Thread):
    """The running program's own thread. A program needs one; `rsyscall.tasks.local` has it.

    Making it opens no files and does not change the program; its parts are made when they are first used. In
    a copy of the program, made by `os.fork`, it is a thread of the copy if it was not used before; if it was,
    it refuses every call with `ForkedProcessError`: make another one then.

    `stdin`, `stdout` and `stderr` stand for the files that have the numbers 0, 1 and 2, as they do for the
    rest of the program. While a number is closed, using its handle raises EBADF. While it is a file that we
    opened, a pipe perhaps, that file has a handle of its own, and the standard one is invalid until it is
    closed.
    """

    def __init__(self) -> None:
        # Not Thread.__init__: epoller, monitor, connection and loader.hub are made when first asked for.
        pid = os.getpid()
        self.task: Task = Task(near.Process(pid), FDTable(pid), AddressSpace(pid), PidNamespace(pid))
        self.task.sysif = LocalSyscall()
        close_dropped(self.task.fd_table, self.task)
        # Python itself uses them, whatever becomes of this object.
        self.task.fd_table.keep_open = frozenset(STANDARD)
        self.ram: RAM = RAM(
            self.task, LocalMemoryTransport(self.task), AllocatorClient.make_allocator(self.task)
        )
        self.environ: ProgramEnvironment = ProgramEnvironment(self.task, self.ram)
        self._standard = [self.task.make_fd_handle(near.FileDescriptor(number)) for number in STANDARD]
        _threads.add(self)

    def _after_fork(self) -> None:
        """In a copy of the program: be a thread of the copy, unless this was used in the original."""
        task = self.task
        if not getattr(task.sysif, "unused", False):
            return
        pid = os.getpid()
        task.near_process = task.process.near = near.Process(pid)
        for identity in (task.fd_table, task.address_space, task.pidns, task.mountns):
            identity.creator_pid = pid

    def close(self) -> None:
        """End what was made for this thread, and close its descriptors; in its OS thread, outside of trio.

        A thread object that lasts as long as the program needs no closing.
        """
        loader = self.__dict__.get("loader")
        if loader is not None and loader.hub is not None:
            loader.hub.discard()

    stdin: _StandardDescriptor = _StandardDescriptor(0)
    stdout: _StandardDescriptor = _StandardDescriptor(1)
    stderr: _StandardDescriptor = _StandardDescriptor(2)

    # Hidden from type checkers, for which every name would be an attribute.
    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            make = _MADE_ON_DEMAND.get(name)
            if make is None:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            value = make(self)
            setattr(self, name, value)
            return value


class ProgramEnvironment(Environment):
    """The environment of the program: the variables of `os.environ`, and the changes made here.

    A variable that is changed in `os.environ` is changed here too; one that is changed here is not changed
    there. The later of two changes counts.

    Args:
        task, ram: of the local thread.
    """

    def __init__(self, task: Task, ram: RAM) -> None:
        path = ExecutablePathCache(task, ram, directories_of(os.environ.get("PATH")))
        super().__init__({}, path)
        self._ram = ram
        self._seen: dict[bytes, bytes] = {}
        self._path_is_for = self.data.get("PATH")

    @property
    def data(self) -> dict[str, str]:
        """The variables."""
        # Every exec comes here. The dictionary behind os.environ is compared in a microsecond; a copy of
        # os.environ takes 30, and fails when another OS thread deletes a variable meanwhile.
        now = vars(os.environ).get("_data")
        if not isinstance(now, dict):
            now = dict(os.environb)
        if now != self._seen:
            now = now.copy()
            for name in [*(name for name in self._seen if name not in now), *now]:
                # One without a name can be inherited, although no program can look it up.
                if name and now.get(name) != self._seen.get(name):
                    self._follow(os.fsdecode(name), now.get(name))
            self._seen = now
        return self._data

    def _follow(self, name: str, value: bytes | None) -> None:
        if value is None:
            self._data.pop(name, None)
        else:
            self._data[name] = os.fsdecode(value)


_threads: weakref.WeakSet[LocalThread] = weakref.WeakSet()


def _after_fork() -> None:
    for thread in list(_threads):
        thread._after_fork()


os.register_at_fork(after_in_child=_after_fork)


def _make_epoller(thread: LocalThread) -> Epoller:
    epfd = run_now(thread.task.epoll_create())
    number = int(epfd)

    async def wait_readable() -> None:
        await trio.lowlevel.wait_readable(number)

    return Epoller.make_subsidiary(thread.ram, epfd, wait_readable)


def _make_loader(thread: LocalThread) -> NativeLoader:
    loader = NativeLoader.make_from_symbols(thread.task, symbols)
    loader.hub = ProgramHub(thread.task)
    return loader


def _make_monitor(thread: LocalThread) -> ChildProcessMonitor:
    hub = thread.loader.hub
    assert hub is not None
    return ChildProcessMonitor(thread.ram, thread.task, thread.task, False, thread.epoller, hub)


def _make_connection(thread: LocalThread) -> FDPassConnection:
    from rsyscall.network.passing import FDPassConnection

    return run_now(FDPassConnection.make(thread.task, thread.ram, thread.epoller))


_MADE_ON_DEMAND = {
    "epoller": _make_epoller,
    "loader": _make_loader,
    "monitor": _make_monitor,
    "connection": _make_connection,
}
