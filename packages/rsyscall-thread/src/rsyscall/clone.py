"""Making a process that does nothing but the calls that we send to it.

The new process shares our memory (CLONE.VM makes exec noticeable, and clone cheap), is killed when we die,
has none of our signal handlers, and waits for calls: in a ring of shared memory, or on a byte stream.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

import trio

from rsyscall import far
from rsyscall.background import run_now
from rsyscall.clone_call import Clone3Missing, clone_block
from rsyscall.denied import is_denied
from rsyscall.far import PidNamespace
from rsyscall.fd_collector import close_dropped
from rsyscall.handle import FDTable, Task
from rsyscall.handle.process import ChildProcess
from rsyscall.hub import ProgramHub, hub_of
from rsyscall.loader import Trampoline
from rsyscall.monitor import AsyncChildProcess, ChildProcessMonitor
from rsyscall.native import Ring, symbols
from rsyscall.near import SyscallError, nr
from rsyscall.near import types as near
from rsyscall.near.calls import Fact, having
from rsyscall.near.naming import naming
from rsyscall.near.record import CallRecord
from rsyscall.pidfd import Pidfd
from rsyscall.ring import RingConnection
from rsyscall.sched import CLONE
from rsyscall.signal import SIG, Sigset
from rsyscall.sys.wait import IdType, W

if TYPE_CHECKING:
    from rsyscall.handle import FileDescriptor
    from rsyscall.loader import NativeLoader
    from rsyscall.memory.ram import RAM
    from rsyscall.network.connection import Connection

__all__ = [
    "NEW_MOUNTNS",
    "abandon",
    "clone_child_task",
    "clone_process",
    "clone_ring_task",
    "make_child_task",
]


# In plain numbers: members of a flag class are combined by Python code.
_FILES = int(CLONE.FILES)
_PARENT = int(CLONE.PARENT)
_NEWPID = int(CLONE.NEWPID)
_SIGCHLD = int(SIG.CHLD)
_LEAVING = having(Fact.LEAVES)

NEW_MOUNTNS = int(CLONE.NEWNS | CLONE.EMPTY_MNTNS)
"""Each of these flags makes a mount namespace; a plain number, too."""


async def clone_process(
    task: Task,
    hub: ProgramHub,
    monitor: ChildProcessMonitor,
    flags: CLONE,
    ring: Ring,
    function: int,
    args: tuple[int, ...],
    cgroup: int = -1,
) -> tuple[ChildProcess, Pidfd]:
    """Clone a process that calls a native function on the stack of `ring`.

    Args:
        task: makes the clone call.
        hub: of our program.
        monitor: that clones from `task`; knows which process becomes the parent.
        flags: namespaces, FILES, FS, ...; the flags for sharing our memory are added.
        ring: a fresh one.
        function: address of a native function.
        args: up to six register arguments.
        cgroup: in which it begins: the number of a descriptor of `task`; -1: in that of `task`.

    Returns:
        The child, and its pidfd in our own table.

    Raises:
        OSError: filename is the flags.
        Clone3Missing: with `cgroup`.

    manpage: clone3(2)
    """
    parent = monitor.task
    numeric = int(flags)
    exit_signal = _SIGCHLD
    if monitor.use_clone_parent:
        numeric |= _PARENT
        exit_signal = 0  # it is that of the caller; clone3 insists that we do not name it
    # Unless the process that clones has lost them.
    completion, watcher_fd = hub.standing_fds(task)
    same_pidns = task.pidns is hub.task.pidns
    cloning_ring = None if task is hub.task else hub.rings.get(task)
    ring.in_user_namespace = hub.dumpable.will_be_in_user_namespace(numeric, cloning_ring)
    if numeric & _NEWPID:
        parent_pid = 0  # outside of what it can see
    elif same_pidns:
        parent_pid = hub.pid if parent is hub.task else int(parent.near_process)
    else:
        parent_pid = -1
    own_table = task.fd_table is hub.task.fd_table
    is_ours = parent is hub.task
    # Until `release` the process exits when the ring goes, even if we are interrupted.
    ring.hold(is_ours and (own_table or same_pidns), None if own_table else task.fd_table)
    pidfd = Pidfd()
    # Until there is a handle, what reaps the orphans of the parent must not take this child for one.
    beginning = parent.children.begin() if parent.children is not None else None
    try:
        pid = await clone_block(
            task,
            ring,
            numeric,
            exit_signal,
            function,
            args,
            watcher_fd=-1 if watcher_fd is None else watcher_fd.near.number,
            parent_pid=parent_pid,
            completion=-1 if completion is None else completion.near.number,
            foreign=not same_pidns,
            cloner=cloning_ring,
            cgroup=cgroup,
        )
    except Clone3Missing:
        raise
    except OSError as error:
        raise clone_error(error, flags) from None
    hub.dumpable.started(ring, cloning_ring)
    process = ChildProcess(parent, near.Process(pid))
    del beginning
    if own_table:
        ring.give_pidfd(pidfd)
    else:
        # The kernel made the pidfd in the table of the process that called clone.
        theirs = CallRecord(task.fd_table)
        try:
            with naming(flags):
                if same_pidns:
                    try:
                        record = CallRecord(hub.task.fd_table)
                        number = run_now(hub.task.sysif.recorded_syscall(record, nr.pidfd_open, pid, 0))
                        pidfd.take(record, number)
                    except OSError as error:
                        if not is_denied(error):
                            raise
                if pidfd.number < 0:
                    pidfd.take(None, await hub.take_new_descriptor(task, ring.pidfd))
        finally:
            ring.give_pidfd(theirs)
            with trio.CancelScope(shield=True):
                try:
                    await task.sysif.recorded_syscall(theirs, nr.close, ring.pidfd)
                except (OSError, SyscallError):
                    pass  # gone, and its table with it
    if not same_pidns:
        ring.set_pid(pidfd.pid())
    return process, pidfd


_NAMESPACES = (
    CLONE.NEWUSER
    | CLONE.NEWPID
    | CLONE.NEWNET
    | CLONE.NEWNS
    | CLONE.EMPTY_MNTNS
    | CLONE.NEWUTS
    | CLONE.NEWIPC
    | CLONE.NEWCGROUP
)


def clone_error(error: OSError, flags: CLONE) -> OSError:
    """The error of a clone, with the flags as filename and the possible reasons.

    For EPERM the manual page knows one reason, the privileges that new namespaces take. In containers there
    is another: their filters.
    """
    reason = error.strerror or str(error)
    if not is_denied(error):
        pass
    elif not flags & _NAMESPACES:
        reason += ": a seccomp filter or a security module allows no clone here"
    elif flags & CLONE.NEWUSER:
        reason += ": new user namespaces are not allowed here"
    else:
        reason += ": new namespaces want CAP_SYS_ADMIN, or NEWUSER beside them"
    return OSError(error.errno, reason, flags)


async def abandon(hub: ProgramHub, ring: Ring, parent: far.Task, process: ChildProcess | None = None) -> None:
    """End and reap a process that was not returned to any caller, if there is one.

    Args:
        parent: the task of its parent.
        process: its id there, if that is known.
    """
    # It may have been made, and we not have heard of it: the ring knows. A child of ours is reaped by that.
    ring.end_process()
    if process is not None and parent is not hub.task:
        with trio.CancelScope(shield=True):
            try:
                pid = process.near.id
                await parent.sysif.syscall(nr.kill, pid, SIG.KILL)
                await parent.sysif.syscall(nr.waitid, IdType.PID, pid, 0, W.EXITED | W.ALL, 0)
            except (OSError, SyscallError):
                pass
            else:
                ring.exited()
    if ring.taken:
        # We have no means to reap it: so its memory stays its own until it leaves it.
        hub.orphaned(ring, parent)
    else:
        hub.exited(ring)


def make_child_task(
    task: Task, process: ChildProcess, flags: int, table: FDTable, address_space: far.AddressSpace
) -> Task:
    """The task of a new process that `task` has cloned; it has no interface yet."""
    pid = process.near.id
    if table is not task.fd_table:
        table.creator_pid = pid
        close_dropped(table)
    child = Task(
        process,
        table,
        address_space,
        PidNamespace(pid) if flags & _NEWPID else task.pidns,
        None if flags & NEW_MOUNTNS else task.mountns,
    )
    child.sigmask = Sigset(task.sigmask)
    if task.ignored_until_exec:
        child.ignored_until_exec = task.ignored_until_exec
    return child


async def _clone(
    task: Task,
    hub: ProgramHub,
    monitor: ChildProcessMonitor,
    flags: CLONE,
    ring: Ring,
    function: int,
    args: tuple[int, ...],
) -> tuple[ChildProcess, Task]:
    """Make the process and the objects for it; no call can be sent to it yet."""
    # Before the call: what is opened while it is made is perhaps not in the copy.
    numeric = int(flags)
    table = task.fd_table if numeric & _FILES else FDTable(0, task.fd_table)
    process, pidfd = await clone_process(task, hub, monitor, flags, ring, function, args)
    try:
        # It may have gone just after the call, and what it shared with us with it.
        task.check_not_departed()
        child_task = make_child_task(task, process, numeric, table, task.address_space)
        hub.pass_on(task, child_task)
    except BaseException:
        # The ring ends children of ours only, and this may be one of an init.
        pidfd.kill()
        await abandon(hub, ring, process.task, process)
        raise
    hub.pidfds[child_task] = pidfd
    hub.rings[child_task] = ring
    return process, child_task


def _watch(
    monitor: ChildProcessMonitor,
    hub: ProgramHub,
    ring: Ring,
    process: ChildProcess,
    child_task: Task,
    left: Callable[[], None],
) -> AsyncChildProcess:
    """Watch for the exit; `left` must not keep the connection alive."""

    def exited() -> None:
        left()
        hub.exited(ring)

    child = monitor.add_child_process(process, hub.pidfds[child_task], exited)
    hub.exits.numbers[ring] = hub.pidfds[child_task].number
    return child


# Between its creation and the moment when an object owns it, a process must not get lost because of a
# KeyboardInterrupt.
@trio.lowlevel.enable_ki_protection
async def clone_ring_task(
    task: Task, loader: NativeLoader, monitor: ChildProcessMonitor, flags: CLONE
) -> tuple[AsyncChildProcess, Task]:
    """Make a child of `task` that is driven through shared memory.

    Args:
        task: makes the clone call.
        loader: of our address space.
        monitor: that clones from `task`, or from which it is a child's.
        flags: namespaces, FILES, FS, ...; VM and what goes with it is added.

    Raises:
        OSError: as clone(2); filename is the flags.

    manpage: clone3(2)
    """
    hub = loader.hub
    if hub is None:
        raise ValueError(f"{task} does not share the memory of this program")
    ring = hub.make_ring()
    process = None
    try:
        process, child_task = await _clone(
            task, hub, monitor, flags, ring, symbols.rsyscall_ring_server, (ring.address,)
        )
        connection = RingConnection(hub, ring, f"process {process.near.id}")
        connection.attach(child_task)
        reference = weakref.ref(connection)

        def left() -> None:
            alive = reference()
            if alive is not None:
                alive.process_left()

        child_task.sysif = task.sysif.wrap_child(connection, connection.name)
        child = _watch(monitor, hub, ring, process, child_task, left)
        ring.release()
        return child, child_task
    except BaseException:
        await abandon(hub, ring, monitor.task, process)
        raise


@trio.lowlevel.enable_ki_protection
async def clone_child_task(
    task: Task,
    ram: RAM,
    connection: Connection,
    loader: NativeLoader,
    monitor: ChildProcessMonitor,
    flags: CLONE,
    trampoline_func: Callable[[FileDescriptor], Trampoline],
) -> tuple[AsyncChildProcess, Task]:
    """Make a child of `task` that is driven over a byte stream.

    Args:
        task: makes the clone call.
        ram: memory of `task`.
        connection: makes the stream between us and `task`.
        loader: of the address space of `task`, which must be ours.
        monitor: that clones from `task`.
        flags: namespaces, FILES, FS, ...; VM and what goes with it is added.
        trampoline_func: called with the process' end of the stream; returns the function that is to serve it.

    Raises:
        OSError: as clone(2); filename is the flags.

    manpage: clone3(2)
    """
    # Only now: most programs drive all children by rings.
    from rsyscall.child_stream import ChildStream

    hub = loader.hub if loader.hub is not None else hub_of(task)
    ring = hub.make_ring()
    [(access, remote)] = await connection.open_async_channels(1)
    process = None
    try:
        trampoline = trampoline_func(remote)
        with ExitStack() as stack:
            trampoline.borrow_with(stack, task)
            words = trampoline.words()
            if len(words) == 2:
                # The third argument of a server, by which it checks that its owner lives.
                words.append(ring.origin_address)
            process, child_task = await _clone(
                task, hub, monitor, flags, ring, int(trampoline.function.near), tuple(words)
            )
        server_fd = child_task.inherit_fd(remote)
        await remote.invalidate()
        child_task.infrastructure_fds += (server_fd,)
        sysif = ChildStream(hub, ring, hub.pidfds[child_task], access, server_fd)
        reference = weakref.ref(sysif)

        def left() -> None:
            alive = reference()
            if alive is not None:
                alive.process_left()

        child_task.sysif = task.sysif.wrap_child(sysif, f"process {process.near.id}")
        child = _watch(monitor, hub, ring, process, child_task, left)
        ring.release()
        return child, child_task
    except BaseException:
        await abandon(hub, ring, monitor.task, process)
        await access.close()
        await remote.invalidate()
        raise
