"""Handles for processes.

The kernel can reuse the id of a process as soon as the process is gone. But a dead child of ours keeps its id
until we *reap* it, by waiting for it. So no call may use the id of a child while another one reaps it, which
`ChildProcess.borrow` ensures; and once the child has been reaped, no call ever uses the id again.

Reaping takes two steps, since the kernel writes the result to memory: the call itself, after which the child
may be gone, and reading the memory, which may take a while or be cancelled. In between the child has an
unread siginfo, and no call uses its id.
"""

from __future__ import annotations

import weakref
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any

import rsyscall.far
import rsyscall.near
from rsyscall.far import NamespaceMismatchError
from rsyscall.handle._later_process import LaterProcess
from rsyscall.handle.arguments import PID, call
from rsyscall.handle.base_process import BaseProcess
from rsyscall.handle.buffers import require_size
from rsyscall.handle.pointer import Pointer, PointerMergeError, WrittenPointer
from rsyscall.near import nr
from rsyscall.near.naming import naming
from rsyscall.path import Path
from rsyscall.sched import CLONE, Stack, _clone
from rsyscall.signal import SIG, Siginfo, _kill, _pidfd_send_signal
from rsyscall.sys.wait import ChildState, Rusage, W, _waitid

if TYPE_CHECKING:
    from rsyscall.command import Command
    from rsyscall.handle.fd import BaseFileDescriptor
    from rsyscall.linux.futex import FutexNode
    from rsyscall.near import SyscallInterface

__all__ = ["ChildProcess", "DeadProcessError", "Process", "ProcessInUseError", "ProcessTask", "ThreadProcess"]


class DeadProcessError(Exception):
    """A child was used after it had been reaped; the kernel may have reused its id."""


class ProcessInUseError(Exception):
    """A child cannot be used because another call is using it, or its siginfo has not been read."""


class Process(LaterProcess, BaseProcess):
    """A process that may not be our child, so the kernel may reuse its id at any time.

    Compares equal to another `Process` with the same task and id.

    Args:
        task: the task that calls are made in.
        near: the id, in the process id namespace of the task.
    """

    def __init__(self, task: rsyscall.far.Task, near: rsyscall.near.Process) -> None:
        self.task = task
        self.near = near

    def __eq__(self, other: object) -> bool:
        if type(self) is not Process or type(other) is not Process:
            return self is other
        return self.task is other.task and self.near == other.near

    def __hash__(self) -> int:
        return hash(self.near)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({getattr(self, 'task', None)}, {getattr(self, 'near', None)})"

    def as_proc_path(self) -> Path:
        """Return the directory of this process, in a proc file system of the task's pid namespace."""
        return Path(f"/proc/{self.near.id}")

    def _as_process_group(self) -> rsyscall.near.ProcessGroup:
        """The group that this process leads, if it leads one."""
        return rsyscall.near.ProcessGroup(self.near.id)

    async def kill(self, sig: SIG | int) -> None:
        """Send a signal to the process that has the id now.

        manpage: kill(2)
        """
        await _kill(self.task.sysif, self.near, sig)

    async def killpg(self, sig: SIG | int) -> None:
        """Send a signal to all processes of the process group with the same number.

        manpage: kill(2)
        """
        await _kill(self.task.sysif, self._as_process_group(), sig)

    async def getpgid(self) -> rsyscall.near.ProcessGroup:
        """Return the process group which the process is in.

        manpage: getpgid(2)
        """
        return await _getpgid(self.task.sysif, self.near)

    async def setpriority(self, prio: int) -> None:
        """Set the nice value.

        Args:
            prio: -20 (gets most of the CPU) to 19; lowering it needs privileges.

        manpage: setpriority(2)
        """
        from rsyscall.sys.resource import PRIO, _setpriority

        with naming(self.near):
            await _setpriority(self.task.sysif, PRIO.PROCESS, self.near.id, prio)

    async def getpriority(self) -> int:
        """Return the priority as the kernel reports it, which is 20 minus the nice value: 1 to 40.

        manpage: getpriority(2)
        """
        from rsyscall.sys.resource import PRIO, _getpriority

        with naming(self.near):
            return await _getpriority(self.task.sysif, PRIO.PROCESS, self.near.id)


class _ChildBorrow:
    """Context manager of `ChildProcess.borrow`.

    The child refers to it weakly: from Python 3.14 on a signal handler may raise between `__enter__` and the
    block, and `__exit__` is not called then. The borrow ends nevertheless, with its context manager.
    """

    __slots__ = ("__weakref__", "_child")

    def __init__(self, child: ChildProcess) -> None:
        self._child = child

    def __enter__(self) -> None:
        child = self._child
        child._check_usable()
        if child.in_use:
            raise ProcessInUseError(f"{child} is in use by another call")
        child._borrow = weakref.ref(self)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._child._borrow = None


class ChildProcess(Process):
    """A child of the process behind `task`, which no other code reaps. Compared by identity.

    With a pidfd, signals and waits use that. Then they cannot hit another process even if other code reaps
    the child, and `kill` can be used during a wait.

    Args:
        task: the task that calls are made in; the parent of the child.
        near: the id, in the process id namespace of the task.
        alive: False for a child that has been reaped.
        pidfd: a handle of `task` for a pidfd of the child; the caller owns it.

    Attributes:
        death_state: how it died, once that is known.
        unread_siginfo: where `waitid` has stored its result, until that is read.
        command: what it has executed, if we know.
    """

    def __init__(
        self,
        task: rsyscall.far.Task,
        near: rsyscall.near.Process,
        alive: bool = True,
        pidfd: BaseFileDescriptor | None = None,
    ) -> None:
        super().__init__(task, near)
        self.pidfd = pidfd
        self.death_state: ChildState | None = None
        self.unread_siginfo: Pointer[Siginfo] | None = None
        self._borrow: weakref.ref[_ChildBorrow] | None = None
        self.command: Command | None = None
        self._reaped = not alive
        if task.children is not None and alive:
            task.children.handles[near.id] = self
        # Whether the child is still a zombie, although unread_siginfo may say that it died.
        self._unread_left_waitable = False

    @property
    def alive(self) -> bool:
        """Whether the child has not been reaped, as far as we know; it may have died."""
        return not self._reaped

    @property
    def in_use(self) -> bool:
        """Whether a call about the child is going on."""
        return self._borrow is not None and self._borrow() is not None

    def mark_dead(self, state: ChildState) -> None:
        """Record that the child has been reaped. No call uses its id from now on."""
        self._reaped = True
        self.death_state = state

    def did_exec(self, command: Command | None) -> ChildProcess:
        """Record that the child has executed another program; return the child."""
        self.command = command
        return self

    def _check_not_reaped(self) -> None:
        if self._reaped:
            how = "has been reaped" if self.death_state is None else self.death_state.describe()
            raise DeadProcessError(f"{self} is dead: it {how}")

    def _check_usable(self) -> None:
        self._check_not_reaped()
        if self.unread_siginfo is not None:
            raise ProcessInUseError(
                f"{self} has an unread siginfo, which may say that it is dead: read_siginfo() first"
            )

    def borrow(self) -> _ChildBorrow:
        """Context manager to use the id of the child: meanwhile no other call reaps or uses it.

        Raises (on entry):
            DeadProcessError: the child has been reaped.
            ProcessInUseError: another borrow is going on, or there is an unread siginfo.
        """
        return _ChildBorrow(self)

    def _using(self) -> _ChildBorrow:
        """The same as `borrow`."""
        return self.borrow()

    async def kill(self, sig: SIG | int) -> None:
        """Send a signal to the child.

        Raises:
            DeadProcessError, ProcessInUseError: see `borrow`; with a pidfd the child may be in use.

        manpage: kill(2), pidfd_send_signal(2)
        """
        if self.pidfd is not None:
            self._check_usable()
            with self.pidfd.borrow(self.task) as pidfd, naming(self.near):
                await _pidfd_send_signal(self.task.sysif, pidfd, sig)
            return
        with self.borrow():
            await super().kill(sig)

    async def killpg(self, sig: SIG | int) -> None:
        """Send a signal to the process group that the child leads.

        The child itself must be in that group: otherwise the number could belong to a group of other
        processes, which is not checked.

        Raises:
            DeadProcessError, ProcessInUseError: see `borrow`.

        manpage: kill(2)
        """
        with self.borrow():
            await super().killpg(sig)

    async def getpgid(self) -> rsyscall.near.ProcessGroup:
        """Return the process group which the child is in. Raises like `borrow`.

        manpage: getpgid(2)
        """
        with self.borrow():
            return await super().getpgid()

    async def setpriority(self, prio: int) -> None:
        """Set the nice value. Raises like `borrow`.

        Args:
            prio: -20 (gets most of the CPU) to 19; lowering it needs privileges.

        manpage: setpriority(2)
        """
        with self.borrow():
            await super().setpriority(prio)

    async def getpriority(self) -> int:
        """Return the priority as the kernel reports it, 20 minus the nice value. Raises like `borrow`.

        manpage: getpriority(2)
        """
        with self.borrow():
            return await super().getpriority()

    async def setpgid(self, pgid: ChildProcess | None) -> None:
        """Move the child into another process group. Possible until it executes a program.

        Args:
            pgid: the leader of the group; None, or the child itself, to make it the leader of a new one.

        Raises:
            NamespaceMismatchError: the leader's id is from another process id namespace.
            DeadProcessError, ProcessInUseError: see `borrow`; for the leader, too.

        manpage: setpgid(2)
        """
        with self.borrow():
            if pgid is None or pgid is self:
                await _setpgid(self.task.sysif, self.near, None)
                return
            if pgid.task.pidns is not self.task.pidns:
                raise NamespaceMismatchError(pgid.task.pidns, self.task.pidns)
            with pgid.borrow():
                await _setpgid(self.task.sysif, self.near, pgid._as_process_group())

    async def waitid(
        self, options: W, infop: Pointer[Siginfo], *, rusage: Pointer[Any] | None = None
    ) -> None:
        """Wait until the child changes its state. Read the new state with `read_siginfo`.

        Args:
            options: which kinds of events to wait for. With `W.NOHANG` the call returns at once; otherwise it
                blocks the process behind the task, which can make no other calls meanwhile.
            infop: where to store the siginfo. It is kept as `unread_siginfo` and must stay valid until it is
                read.
            rusage: where to store the resource usage (a `struct rusage`).

        Raises:
            BufferTooSmallError: there is no room for the siginfo or the resource usage.
            ChildProcessError: other code has reaped the child.
            DeadProcessError, ProcessInUseError: see `borrow`.

        manpage: waitid(2)
        """
        pidfd = self.pidfd
        with ExitStack() as stack:
            stack.enter_context(self.borrow())
            infop_address = stack.enter_context(infop.borrow(self.task))
            rusage_address = self.task._borrow_optional(stack, rusage)
            require_size(infop, Siginfo.sizeof())
            if rusage is not None:
                require_size(rusage, Rusage.sizeof())
            waited = self.near if pidfd is None else stack.enter_context(pidfd.borrow(self.task))
            with naming(self.near):
                await _waitid(self.task.sysif, waited, infop_address, options, rusage_address)
            # Directly after the call: the child may have been reaped.
            self.unread_siginfo = infop
            self._unread_left_waitable = bool(options & W.NOWAIT)

    def parse_waitid_siginfo(self, siginfo: Siginfo) -> ChildState | None:
        """Return what `waitid` has reported, recording it if the child died; None if nothing happened."""
        # With NOHANG and nothing to report the kernel stores zeros.
        if siginfo.pid == 0:
            return None
        state = ChildState.make_from_siginfo(siginfo)
        if state.died() and not self._unread_left_waitable:
            self.mark_dead(state)
        return state

    async def read_siginfo(self) -> ChildState | None:
        """Return the result of the last `waitid`, or None if it found nothing. Call it once after each.

        If cancelled, the siginfo stays unread.
        """
        infop = self.unread_siginfo
        if infop is None:
            raise ValueError(f"{self} has no siginfo to read; waitid comes first")
        siginfo = await infop.read()
        if self.unread_siginfo is not infop:
            raise ProcessInUseError(f"the siginfo of {self} was read twice at the same time")
        self.unread_siginfo = None
        return self.parse_waitid_siginfo(siginfo)

    async def read_state_change(self) -> ChildState:
        """Return the result of the last `waitid`, one without `W.NOHANG`."""
        state = await self.read_siginfo()
        if state is None:
            raise ValueError(f"the siginfo of {self} says that nothing happened")
        return state


class ThreadProcess(ChildProcess):
    """A child that was made by `clone` and shares our memory. The handle owns the child's stack.

    Args:
        task, near, pidfd: as for `ChildProcess`.
        used_stack: its stack.
        stack_data: the contents of the stack at the beginning.
        ctid: the futex that the kernel clears when the child leaves our memory.
        tls: its thread-local storage.
    """

    def __init__(
        self,
        task: rsyscall.far.Task,
        near: rsyscall.near.Process,
        used_stack: Pointer[Stack[Any]],
        stack_data: Stack[Any],
        ctid: Pointer[FutexNode] | None,
        tls: Pointer[Any] | None,
        pidfd: BaseFileDescriptor | None = None,
    ) -> None:
        super().__init__(task, near, pidfd=pidfd)
        self.used_stack = used_stack
        self.stack_data: Stack[Any] | None = stack_data
        self.ctid = ctid
        self.tls = tls

    def free_everything(self) -> None:
        """Give back the memory of the child, which must have left our address space by exec or exit."""
        if self.used_stack.valid:
            self.used_stack.free()
        self.stack_data = None
        if self.ctid is not None and self.ctid.valid:
            self.ctid.free()
        if self.tls is not None and self.tls.valid:
            self.tls.free()

    def mark_dead(self, state: ChildState) -> None:
        """Record that the child has been reaped, and give back its memory."""
        super().mark_dead(state)
        self.free_everything()

    def did_exec(self, command: Command | None) -> ChildProcess:
        """Record that the child has executed another program, and give back its memory; return the child."""
        self.free_everything()
        return super().did_exec(command)

    def __repr__(self) -> str:
        # Once it has left our memory it is a child like any other.
        name = "ThreadProcess" if getattr(self, "stack_data", None) is not None else "ChildProcess"
        return f"{name}({getattr(self, 'task', None)}, {getattr(self, 'near', None)})"


class ProcessTask(rsyscall.far.Task):
    """The part of a task that is about processes.

    Args:
        sysif, fd_table, address_space, pidns, mountns: as for `rsyscall.far.Task`.
        process: the process behind the task: its id, or, if it is a child of another task, a handle for it.

    Attributes:
        parent_task: the task of the parent, if that is known.
    """

    parent_task: rsyscall.far.Task | None
    # Made when it is first needed: it refers to us, and only the garbage collector frees such a circle.
    _process: Process | None

    def __init__(
        self,
        sysif: SyscallInterface,
        process: rsyscall.near.Process | Process,
        fd_table: rsyscall.far.FDTable,
        address_space: rsyscall.far.AddressSpace,
        pidns: rsyscall.far.PidNamespace,
        mountns: rsyscall.far.MountNamespace | None = None,
    ) -> None:
        if isinstance(process, Process):
            near_process = process.near
            self._process = process
            self.parent_task = process.task
        else:
            near_process = process
            self._process = None
            self.parent_task = None
        super().__init__(sysif, near_process, fd_table, address_space, pidns, mountns)

    @property
    def process(self) -> Process:
        """A handle for the process itself."""
        process = self._process
        if process is None:
            process = self._process = Process(self, self.near_process)
        return process

    @property
    def pid(self) -> Process:
        """Another name of `process`."""
        return self.process

    async def clone(
        self,
        flags: CLONE,
        child_stack: tuple[Pointer[Stack[Any]], WrittenPointer[Stack[Any]]],
        ptid: Pointer[Any] | None,
        ctid: Pointer[FutexNode] | None,
        newtls: Pointer[Any] | None,
    ) -> ThreadProcess:
        """Make a child process which starts on the given stack.

        Args:
            flags: what to share, what to make new; or-ed with the exit signal, normally `SIG.CHLD`.
            child_stack: free memory for the stack to grow into, and directly behind it in the same piece of
                memory, at a multiple of 16, the initial contents of the stack. Consumed, unless it fails.
            ptid: where the kernel stores the id of the child, with `CLONE.PARENT_SETTID`.
            ctid: whose futex word the kernel clears when the child leaves our memory, with
                `CLONE.CHILD_CLEARTID`. Owned by the child from now on.
            newtls: thread-local storage, with `CLONE.SETTLS`. Owned by the child from now on.

        Returns:
            The child; with `CLONE.PARENT` it is a child of our parent.

        Raises:
            ValueError: the two parts of the stack are not adjacent, not of one piece of memory, or not
                aligned; or our parent, which is to get the child, is not known; or a flag is only for clone3,
                and clone would take no notice of it.

        manpage: clone(2)
        """
        if int(flags) >> 32:
            raise ValueError(f"flags: clone does not take {CLONE(flags & ~0xFFFFFFFF)!r}, only clone3 does")
        free_stack, used_stack = child_stack
        owner: rsyscall.far.Task = self
        if flags & CLONE.PARENT:
            if self.parent_task is None:
                raise ValueError(
                    f"the parent of {self} is not known, so it cannot be given a child with CLONE.PARENT"
                )
            owner = self.parent_task
        # Until the child has a handle, the reaper of the owner must not take it for an orphan.
        beginning = owner.children.begin() if owner.children is not None else None
        with ExitStack() as stack:
            free_address = stack.enter_context(free_stack.borrow(self))
            stack_address = stack.enter_context(used_stack.borrow(self))
            free_size = free_stack.size()
            if int(free_address) + free_size != int(stack_address):
                raise ValueError(f"the parts of the stack are not adjacent: {free_stack}, {used_stack}")
            if int(stack_address) % 16:
                raise ValueError(f"the contents of the stack are not at a multiple of 16 bytes: {used_stack}")
            stack_data = used_stack.value
            stack_data.borrow_with(stack, self)
            ptid_address = self._borrow_optional(stack, ptid)
            ctid_address = self._borrow_optional(stack, ctid)
            if ctid_address is not None:
                # Not with the module: few processes have one.
                from rsyscall.linux.futex import FutexNode

                ctid_address += FutexNode.FUTEX_OFFSET
            newtls_address = self._borrow_optional(stack, newtls)
            # Before the call, since after it is too late to find out that they are in different mappings; and
            # so that no task can free the child's stack during the call.
            try:
                whole_stack = free_stack.merge(used_stack)
            except (PointerMergeError, ValueError) as exn:
                raise ValueError(
                    f"the parts of the stack are not of one piece of memory: {free_stack}, {used_stack}"
                ) from exn
            try:
                process = await _clone(
                    self.sysif,
                    flags,
                    stack_address,
                    ptid_address,
                    ctid_address,
                    newtls_address,
                )
            except BaseException:
                whole_stack._unmerge(free_stack, used_stack, free_size)
                raise
        child = ThreadProcess(owner, process, whole_stack, stack_data, ctid, newtls)
        del beginning
        return child


@call("getpgid", PID)
async def _getpgid(sysif: SyscallInterface, pid: rsyscall.near.Process | None) -> rsyscall.near.ProcessGroup:
    """`getpgid`; None is the caller."""
    with naming(pid):
        return rsyscall.near.ProcessGroup(await sysif.syscall(nr.getpgid, 0 if pid is None else pid))


@call("setpgid", PID, PID)
async def _setpgid(
    sysif: SyscallInterface, pid: rsyscall.near.Process | None, pgid: rsyscall.near.ProcessGroup | None
) -> None:
    """`setpgid`; None for `pid` is the caller, None for `pgid` the group which that process leads."""
    with naming(pid, pgid):
        await sysif.syscall(nr.setpgid, 0 if pid is None else pid, 0 if pgid is None else pgid)
