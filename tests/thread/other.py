"""Another process, in its smallest form: an OS thread of this one, which makes the calls that are sent to it.

Like a child that shares our memory it can be blocked, is told of waiting calls by an activity fd, and may
have a file descriptor table of its own. Nothing about the kernel is pretended.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import typing as t

import bare
import outcome
import trio

from rsyscall import far
from rsyscall.background import Waiter
from rsyscall.epoller import Epoller
from rsyscall.handle import FDTable, FileDescriptor, Task
from rsyscall.memory.allocator import AllocatorClient
from rsyscall.memory.ram import RAM
from rsyscall.native import fast
from rsyscall.near import SYS, SyscallHangup, SyscallInterface, SyscallSendError
from rsyscall.near import types as near
from rsyscall.near.sysif import raise_if_error

CLONE_FILES = 0x400
EFD_SEMAPHORE = 1


class OtherSyscall(SyscallInterface):
    """Sends calls to an OS thread. `broken` makes it look as if the connection were lost."""

    def __init__(self, share_files: bool) -> None:
        self.calls: list[SYS] = []
        self.broken: SYS | None = None
        self.closed = False
        self.activity_fd: FileDescriptor | None = None
        self.activity = os.eventfd(0, EFD_SEMAPHORE | os.EFD_CLOEXEC)
        self.queue: queue.SimpleQueue[tuple[t.Any, ...] | None] = queue.SimpleQueue()
        self._started = threading.Event()
        self.thread = threading.Thread(target=self._serve, args=(share_files,), daemon=True)
        self.thread.start()
        # The table is copied now, and not at some time later.
        self._started.wait()

    def _serve(self, share_files: bool) -> None:
        if not share_files:
            raise_if_error(fast.syscall(SYS.unshare, CLONE_FILES))
        self._started.set()
        while (item := self.queue.get()) is not None:
            os.read(self.activity, 8)
            args, done = item
            done(fast.syscall(*args))

    async def syscall(self, number: SYS, *args: t.Any) -> int:
        await trio.lowlevel.checkpoint_if_cancelled()
        if self.closed:
            raise SyscallSendError("closed")
        self.calls.append(number)
        waiter: Waiter[int] = Waiter()
        token = trio.lowlevel.current_trio_token()

        def done(result: int) -> None:
            # The run that wanted it may be over.
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(waiter.resume, outcome.Value(result))

        self.queue.put(((int(number), *map(int, args)), done))
        os.write(self.activity, (1).to_bytes(8, "little"))
        result = await waiter.wait(cancellable=False)
        if self.broken is number:
            self.closed = True
            raise SyscallHangup("broken on purpose")
        raise_if_error(result)
        return result

    async def close_interface(self) -> None:
        self.closed = True

    def get_activity_fd(self) -> FileDescriptor | None:
        return self.activity_fd

    def stop(self) -> None:
        """End the thread, when it has made the calls it was sent."""
        self.queue.put(None)
        os.write(self.activity, (1).to_bytes(8, "little"))
        self.thread.join()


class Other:
    """The other process with its task and its memory, which is ours."""

    def __init__(self, share_files: bool = True, parent: Other | None = None) -> None:
        self.sysif = OtherSyscall(share_files)
        self.share_files = share_files
        pid = near.Process(os.getpid())
        table: FDTable = bare.task.fd_table if parent is None else parent.task.fd_table
        if not share_files:
            table = FDTable(pid.id, parent=table)
        self.task: Task = Task(pid, table, bare.task.address_space, far.PidNamespace(pid.id))
        self.task.sysif = self.sysif
        allocator = t.cast(AllocatorClient, bare.ram.allocator)
        self.ram = RAM(self.task, bare.ram.transport, allocator.inherit(self.task))
        if share_files:
            self.sysif.activity_fd = self.task.make_fd_handle(near.FileDescriptor(self.sysif.activity))

    async def make_root(self) -> Epoller:
        return await Epoller.make_root(self.ram, self.task)

    def close(self) -> None:
        """End it. Its file descriptors end with it, or are closed by us if they are ours too."""
        self.sysif.stop()
        if self.sysif.activity_fd is not None:
            bare.run_now(self.sysif.activity_fd.move(bare.task).close())
        else:
            os.close(self.sysif.activity)
        bare.run_now(bare.task.run_fd_table_gc())


@contextlib.asynccontextmanager
async def other(share_files: bool = True, parent: Other | None = None) -> t.AsyncIterator[Other]:
    """Another process, which is ended afterwards.

    Args:
        share_files: whether it has our table of file descriptors, or a copy.
        parent: whose table it is to look like a copy of, if not ours.
    """
    process = Other(share_files, parent)
    try:
        yield process
    finally:
        process.close()
