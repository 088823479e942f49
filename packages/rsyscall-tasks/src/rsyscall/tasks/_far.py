"""A thread of a process that serves a stream and is no child of ours: what all of these have in common.

Nothing that such a process says of itself is followed here: its descriptors, addresses and process ids are
only ever sent back to it.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import trio

from rsyscall.background import together
from rsyscall.environ import Environment, ExecutablePathCache, directories_of
from rsyscall.epoller import Epoller
from rsyscall.far import AddressSpace, MountNamespace, PidNamespace
from rsyscall.far_children import FarMonitor, FarSide
from rsyscall.fd_collector import close_dropped
from rsyscall.handle import FDTable, Task
from rsyscall.handle.fd import STANDARD
from rsyscall.loader import NativeLoader
from rsyscall.memory.allocator import AllocatorClient
from rsyscall.memory.ram import RAM
from rsyscall.memory.socket_transport import StreamMemoryTransport
from rsyscall.near import SyscallError
from rsyscall.near import types as near
from rsyscall.network.passing import PassingConnection
from rsyscall.signal import SIG, Sigaction, Sighandler, Sigset
from rsyscall.thread import Thread

if TYPE_CHECKING:
    from rsyscall.handle import FileDescriptor
    from rsyscall.near.protocol import Hello

__all__ = ["make_equipped_thread", "make_far_task", "make_far_thread"]

T_thread = TypeVar("T_thread", bound=Thread)


def make_far_task(hello: Hello) -> Task:
    """The task of the process that has sent this hello; nothing drives it yet."""
    pid = hello.pid
    task = Task(near.Process(pid), FDTable(pid), AddressSpace(pid), PidNamespace(pid), MountNamespace(pid))
    task.sigmask = Sigset.from_int(hello.sigmask)
    return task


async def make_far_thread(
    kind: type[T_thread],
    parent: Thread,
    task: Task,
    hello: Hello,
    own: Sequence[FileDescriptor],
    connect: Callable[[Task, RAM], Awaitable[Callable[[Epoller], PassingConnection]]],
) -> T_thread:
    """Give the process of `task`, which can be driven already, the equipment of a thread.

    Args:
        kind: of thread to make.
        parent: reaches it.
        task: from `make_far_task`.
        hello: what it has sent.
        own: descriptors of the process, of which no copy may stay in its children.
        connect: prepares its connection, which is made with its epoller.

    Raises:
        OSError: what it needs was refused there.
        SyscallError: the process is gone, or answers what no kernel does.

    Cancellation: the connection to the process is closed, whether it answers or not.
    """
    made: T_thread | None = None
    failure: Exception | None = None

    @trio.lowlevel.enable_ki_protection
    async def hang_up() -> None:
        try:
            await trio.sleep_forever()
        finally:
            if made is None and failure is None:
                # The calls that wait for answers end with it: a cancellation does not reach them.
                with trio.CancelScope(shield=True):
                    await task.sysif.close_interface()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hang_up)
        try:
            made = await _equip(kind, parent, task, hello, own, connect)
        except Exception as error:
            # Raised here, it would be wrapped in a group.
            failure = error
        nursery.cancel_scope.cancel()
    if made is not None:
        return made
    await trio.lowlevel.checkpoint_if_cancelled()
    assert failure is not None
    if isinstance(failure, OSError | SyscallError):
        raise failure
    # A number that is no descriptor, say, or that of another one.
    raise SyscallError(f"{task} answers what no kernel does: {failure}") from failure


async def _ignore_broken_pipes(task: Task, ram: RAM) -> None:
    """Let a write to a pipe that nothing reads fail, as in a process of Python, not end the process.

    A command that `run` starts has the default action again.
    """
    try:
        await task.sigaction(SIG.PIPE, await ram.ptr(Sigaction(Sighandler.IGN)), None)
    except OSError:
        pass  # a filter denies it


async def _equip(
    kind: type[T_thread],
    parent: Thread,
    task: Task,
    hello: Hello,
    own: Sequence[FileDescriptor],
    connect: Callable[[Task, RAM], Awaitable[Callable[[Epoller], PassingConnection]]],
) -> T_thread:
    ram = _begin(task, own)
    # Its first memory: each of the three would have some mapped.
    await ram.malloc(bytes, 1)
    epoller: Epoller
    prepared: Callable[[Epoller], PassingConnection]
    # They do not depend on each other, and far away each round trip counts.
    _, epoller, prepared = await together(
        partial(_ignore_broken_pipes, task, ram),
        partial(Epoller.make_root, ram, task),
        partial(connect, task, ram),
    )
    return _assemble(kind, parent, task, hello, own, ram, epoller, prepared(epoller))


def _begin(task: Task, own: Sequence[FileDescriptor]) -> RAM:
    task.infrastructure_fds += tuple(own)
    close_dropped(task.fd_table)
    return RAM(task, StreamMemoryTransport(task), AllocatorClient.make_allocator(task))


def _assemble(
    kind: type[T_thread],
    parent: Thread,
    task: Task,
    hello: Hello,
    own: Sequence[FileDescriptor],
    ram: RAM,
    epoller: Epoller,
    connection: PassingConnection,
) -> T_thread:
    standard = [task.make_fd_handle(near.FileDescriptor(number)) for number in STANDARD]
    side = FarSide(task, ram, epoller, parent.monitor.hub)
    side.private.update([*own, connection.access_fd, connection.fd])
    # None of them has a NUL in it.
    entries = os.fsdecode(b"\0".join(hello.environment)).split("\0")
    variables = dict(entry.split("=", 1) for entry in entries if "=" in entry)
    path = ExecutablePathCache(task, ram, directories_of(variables.get("PATH")))
    return kind(
        task,
        ram,
        connection,
        NativeLoader.make_from_addresses(task, hello.symbols),
        epoller,
        FarMonitor(side),
        Environment(variables, path),
        *standard,
    )


def make_equipped_thread(
    kind: type[T_thread],
    parent: Thread,
    task: Task,
    hello: Hello,
    own: Sequence[FileDescriptor],
    connect: Callable[[RAM], tuple[Epoller, PassingConnection]],
) -> T_thread:
    """As `make_far_thread`, of a process that has made itself what a thread needs. It makes no call there.

    Args:
        kind, parent, task, hello, own: as there.
        connect: given the memory of the process, returns its epoller and its connection.
    """
    ram = _begin(task, own)
    return _assemble(kind, parent, task, hello, own, ram, *connect(ram))
