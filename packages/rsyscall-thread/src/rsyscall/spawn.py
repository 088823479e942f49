"""Preparing a process: its calls are noted down, and made by the process as soon as it exists.

A `PreparedThread` has a `task` like any thread, which notes calls down instead of making them. `launch.py`
says how the process then makes them, and why that is the cheapest way to execute a command.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, SupportsInt

from rsyscall.child_process import end_process
from rsyscall.clone import NEW_MOUNTNS
from rsyscall.clone_call import Clone3Missing
from rsyscall.command import Command
from rsyscall.exec_image import exec_after, make_image
from rsyscall.far import FDTableMismatchError, SharedAddressSpaceError
from rsyscall.fcntl import AT, FD, F, O
from rsyscall.handle import FDTable, FileDescriptor, Task, WrittenPointer
from rsyscall.handle.fd import InvalidHandleError
from rsyscall.launch import Spawning, SpawningThread, launch, start_spawn
from rsyscall.memory.ram import RAM
from rsyscall.native.fast import inherit, note
from rsyscall.near import SYS, Syscall, SyscallInterface, nr
from rsyscall.near import types as near
from rsyscall.near.address_space import REFUSABLE, refusal, refused_effect
from rsyscall.near.calls import Fact, having
from rsyscall.near.record import CallRecord
from rsyscall.sched import CLONE
from rsyscall.signal import SIG, HowSIG, Sigaction, Sighandler, Sigset
from rsyscall.with_setup import WithSetup

if TYPE_CHECKING:
    from rsyscall.monitor import AsyncChildProcess
    from rsyscall.signal import SignalBlock

__all__ = [
    "PreparedThread",
    "SpawningThread",
    "Spawning",
    "UndumpableMemoryError",
    "inherit_standard_fd",
    "launch",
    "start_spawn",
]

_PREPARABLE = having(Fact.PREPARABLE)
# Those that are prepared whatever their arguments are.
_ALWAYS_PREPARABLE = _PREPARABLE - REFUSABLE

_NEWUSER = int(CLONE.NEWUSER)
_FILES = int(CLONE.FILES)

_AT_FDCWD = int(AT.FDCWD)
# What clone3 says of a cgroup that it cannot make a process in.
_WHY_NOT_INTO_CGROUP = {
    errno.EBADF: ": this is not the directory of a cgroup of version 2",
    errno.EBUSY: ": a cgroup that gives controllers to those below it takes no processes",
    errno.EOPNOTSUPP: ": this cgroup is invalid, since those above it are threaded",
}
_OOM_SCORE_ADJ = "/proc/self/oom_score_adj"
_NO_PROCESS = near.Process(0)


class UndumpableMemoryError(PermissionError):
    """A file of a process in /proc belongs to root, because memory that it shares is undumpable."""


class _NotingInterface(SyscallInterface):
    """Notes calls down, and answers each with 0."""

    borrows_memory = True

    def __init__(self) -> None:
        self.calls: list[Syscall] = []
        self.used = False

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
        if self.used or number not in _ALWAYS_PREPARABLE:
            self._check(number, arg1, arg2)
        note(self.calls, Syscall, number, arg1, arg2, arg3, arg4, arg5, arg6)
        return 0

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
        if self.used or number not in _ALWAYS_PREPARABLE:
            self._check(number, arg1, arg2)
        record.begin(number, arg1, arg2, arg3, arg4, arg5, arg6)
        note(self.calls, Syscall, number, arg1, arg2, arg3, arg4, arg5, arg6)
        record.answer(0)
        return 0

    def _check(self, number: SYS, arg1: SupportsInt, arg2: SupportsInt) -> None:
        if self.used:
            raise ValueError(
                "exec has been called on this prepared thread already, and its calls have been made"
            )
        effect = refused_effect(number, arg1, arg2)
        if effect is not None:
            raise SharedAddressSpaceError(refusal(effect, "a process that is being prepared"))
        if number not in _PREPARABLE:
            raise ValueError(
                f"{SYS(number).name} cannot be prepared: there is no result before the process exists; "
                "clone the process and make the call there"
            )

    async def close_interface(self) -> None:
        pass

    def get_activity_fd(self) -> None:
        raise ValueError("a prepared thread has no process yet, so no activity fd")


def inherit_standard_fd(task: Task, fd: FileDescriptor) -> FileDescriptor:
    """The handle, in a child, for a standard descriptor of its parent.

    Args:
        task: the child.
        fd: of the parent. If the parent has closed it, the child has a copy of the file that has the number
            now, or none. In a shared table that file has a handle already, so this one is returned, which is
            invalid.
    """
    if task.fd_table is fd.task.fd_table:
        return task.inherit_fd(fd) if fd.valid else fd
    try:
        return task.inherit_fd(fd)
    except (InvalidHandleError, FDTableMismatchError):
        # What has the number may have been inherited by its own name, too.
        for other in task.fd_table.near_to_handles.get(fd.near, ()):
            return task.inherit_fd(other)
        return task.make_fd_handle(fd.near)


class PreparedTask(Task):
    """The task of a process that does not exist yet."""

    def _add_to_active_fd_table_tasks(self) -> None:
        pass  # it makes no calls in the table


class PreparedThread(WithSetup):
    """A child that does not exist yet. It notes calls down, and makes them when `exec` has created it.

    You can make only calls whose result you do not need: chdir, dup2 onto existing descriptors, setsid,
    credentials, mounts and the like, but not open; the methods of `WithSetup` are short forms of some. A
    pointer that is an argument of one stays allocated until the call has been made.

    Made by `Thread.prepare`.

    Attributes:
        task: notes calls down.
        ram: memory for them.
    """

    def __init__(self, parent: SpawningThread, flags: CLONE) -> None:
        # In a plain number: members of a flag class are combined by Python code.
        numeric = int(flags)
        if numeric & _NEWUSER:
            raise ValueError(
                "prepare cannot write the user mappings of a new user namespace: clone with NEWUSER instead"
            )
        self._parent = parent
        self._flags = flags
        self._sysif = _NotingInterface()
        task = parent.task
        table = task.fd_table if numeric & _FILES else FDTable(0, task.fd_table)
        mountns = None if numeric & NEW_MOUNTNS else task.mountns
        self.task: Task = PreparedTask(_NO_PROCESS, table, task.address_space, task.pidns, mountns)
        self.task.sysif = self._sysif
        # Of the memory that noted calls refer to. It has to stay until they have been made.
        self.task.borrowed = []
        # Out of the parent's memory, since only the parent can map more.
        self.ram: RAM = RAM(self.task, parent.ram.transport, parent.ram.allocator)
        self._inherited: dict[str, FileDescriptor] = {}
        # The noted calls contain the numbers of these, so they must stay open.
        self._originals: list[FileDescriptor] = []
        self._cgroup: FileDescriptor | None = None
        self._cgroup_name: object = None

    if not TYPE_CHECKING:  # where the types are those of WithMemory

        async def ptr(self, data: Any) -> WrittenPointer[Any]:
            """As `Thread.ptr`; the memory is kept until the calls have been made."""
            # Typed calls borrow their pointers, but a raw one has nothing but an address.
            pointer = await self.ram.ptr(data)
            self.task.borrowed.append(pointer)
            return pointer

    @property
    def stdin(self) -> FileDescriptor:
        """The child's descriptor 0."""
        return self._standard("stdin")

    @property
    def stdout(self) -> FileDescriptor:
        """The child's descriptor 1."""
        return self._standard("stdout")

    @property
    def stderr(self) -> FileDescriptor:
        """The child's descriptor 2."""
        return self._standard("stderr")

    def _standard(self, name: str) -> FileDescriptor:
        fd = self._inherited.get(name)
        if fd is None:
            original: FileDescriptor = getattr(self._parent, name)
            # At once in the usual case, that it is open.
            fd = inherit(self.task, original) or inherit_standard_fd(self.task, original)
            self._inherited[name] = fd
            if original.valid:
                self._originals.append(original)
        return fd

    def inherit_fd(self, fd: FileDescriptor) -> FileDescriptor:
        """Make a handle, for the child that `exec` will create, of a descriptor of its parent.

        Keep the parent's handle open until `exec` has returned; for a child that exists already you need not.
        """
        inherited = self.task.inherit_fd(fd)
        self._originals.append(fd)
        return inherited

    async def set_oom_score_adj(self, value: int) -> None:
        """Have the process set its `oom_score_adj` before it executes the command.

        The kernel keeps the value alike for all processes that share memory, so that a child would set ours,
        too. It makes an exception for a child that was made with CLONE_VFORK, and that is what this one
        becomes: the process that makes it is suspended until the command is executed.

        Args:
            value: -1000 to 1000, by which the kernel finds what to kill when memory is short.

        Raises:
            ValueError: the child is to share our descriptor table.
            UndumpableMemoryError: the child could not open the file.

        manpage: proc_pid_oom_score_adj(5)
        """
        if int(self._flags) & _FILES:
            raise ValueError("oom_score_adj: not with CLONE.FILES, since the child opens a file for it")
        parent = self._parent
        self._flags |= CLONE.VFORK
        # The file can be opened by the process alone: the file of a process has no name before there is one.
        # The number of its descriptor has to be known before, and is, if it is the lowest: so 0 is moved away
        # meanwhile, to the number of a descriptor that has been opened for that: our own file, which shows
        # that the child can open its one.
        try:
            slot = await parent.task.open(await parent.ram.ptr(_OOM_SCORE_ADJ), O.WRONLY | O.CLOEXEC)
        except PermissionError as error:
            message = (
                f"{error.strerror}: our memory is undumpable while a child in another user namespace, or "
                "with another user, shares it, so this file belongs to root; clone(own_memory=True) has "
                "its own"
            )
            raise UndumpableMemoryError(error.errno, message, _OOM_SCORE_ADJ) from None
        self._originals.append(slot)
        path, text = await self.ptr(_OOM_SCORE_ADJ), await self.ptr(b"%d" % value)
        number = slot.near.number
        calls = [
            Syscall(nr.openat, _AT_FDCWD, path.near, O.WRONLY),
            Syscall(nr.write, 0, text.near, text.size()),
            Syscall(nr.close, 0),
        ]
        flags = await self._flags_of_stdin()
        if flags is not None:
            saving = [Syscall(nr.dup3, 0, number, O.CLOEXEC), Syscall(nr.close, 0)]
            calls = [*saving, *calls, Syscall(nr.dup3, number, 0, O.CLOEXEC if flags & FD.CLOEXEC else 0)]
        self._sysif.calls += calls

    async def _flags_of_stdin(self) -> int | None:
        """The flags of descriptor 0 after the calls so far; None if it is closed."""
        for call in reversed(self._sysif.calls):
            if call[0] == nr.dup3 and call[2] == 0:
                return int(FD.CLOEXEC) if int(call[3]) & O.CLOEXEC else 0
        try:
            return await self._parent.task.sysif.syscall(nr.fcntl, 0, F.GETFD)
        except OSError:
            return None

    def enter_cgroup(self, cgroup: FileDescriptor, name: object = None) -> None:
        """Have the process be made in a cgroup. That costs nothing, unlike moving a process there.

        Args:
            cgroup: the directory of the cgroup, of version 2, opened by the parent, O_PATH or not. It has to
                stay open until `exec` has made the child.
            name: for the errors of `exec`, instead of the handle.

        Raises:
            FDTableMismatchError: the parent does not have this descriptor.

        manpage: CLONE_INTO_CGROUP in clone3(2)
        """
        if not isinstance(cgroup, FileDescriptor):
            raise TypeError(f"cgroup: expected a handle of its directory, not {cgroup!r}")
        task = self._parent.task
        if cgroup.task.fd_table is not task.fd_table:
            cgroup = task.inherit_fd(cgroup)
        self._cgroup = cgroup
        self._cgroup_name = cgroup if name is None else name
        self._originals.append(cgroup)

    async def exec(
        self, command: Command, inherited_signal_blocks: Sequence[SignalBlock] = ()
    ) -> AsyncChildProcess:
        """Make the process, have it make the calls, and execute the command.

        Args:
            command: the command.
            inherited_signal_blocks: signals that stay blocked in the program.

        Returns:
            The child, which runs the program.

        Raises:
            InvalidHandleError: a descriptor that was inherited has been closed since.
            OSError: the process could not be made (filename is the flags), a call failed (the message names
                it and its place), or the program could not be executed (filename is its path). No process is
                left.

        Cancellation: the process is killed.

        manpage: clone3(2), execve(2)
        """
        if self._parent.loader.hub is None:
            return await self._exec_in_copy(command, inherited_signal_blocks)
        spawning = await self.start(command, inherited_signal_blocks)
        await spawning.wait_or_kill()
        return spawning.process

    async def _exec_in_copy(
        self, command: Command, inherited_signal_blocks: Sequence[SignalBlock]
    ) -> AsyncChildProcess:
        """As `exec`, for a parent with memory of its own: its children are copies of it (own_memory.py).

        What the calls refer to is in the copy, too.
        """
        self._check_unused()
        self._sysif.used = True
        parent = self._parent
        image = await make_image(parent, command)
        mask = await parent.ram.ptr(
            Sigset(Sigset().union(*(block.mask for block in inherited_signal_blocks)))
        )
        default = await parent.ram.ptr(Sigaction(Sighandler.DFL))
        size = Sigset.sizeof()
        calls = [
            Syscall(nr.rt_sigaction, SIG.PIPE, default.near, 0, size),
            Syscall(nr.rt_sigaction, SIG.XFSZ, default.near, 0, size),
            Syscall(nr.rt_sigprocmask, HowSIG.SETMASK, mask.near, 0, size),
            *([] if self._cgroup is None else [await self._entry(self._cgroup)]),
            *self._sysif.calls,
        ]
        child = await parent.clone(self._flags & ~CLONE.VFORK)
        changed = [
            Syscall(nr.rt_sigaction, sig, default.near, 0, size) for sig in child.task.ignored_until_exec
        ]
        try:
            await exec_after(child.task, [*changed, *calls], image, command)
        except BaseException:
            await end_process(child.process)
            raise
        self.task.borrowed = []
        return child.process

    def _check_unused(self) -> None:
        if self._sysif.used:
            raise ValueError("exec has been called on this prepared thread already; prepare another one")
        for fd in self._originals:
            if not fd.valid:
                raise InvalidHandleError(
                    f"{fd} was given to this prepared thread by inherit_fd, and closed before exec", fd
                )

    async def start(self, command: Command, inherited_signal_blocks: Sequence[SignalBlock] = ()) -> Spawning:
        """As `exec`, without waiting for the outcome: see `Spawning.wait`."""
        self._check_unused()
        self._sysif.used = True
        parent = self._parent
        mask: WrittenPointer[Sigset] | None = None
        if inherited_signal_blocks:
            signals = Sigset().union(*(block.mask for block in inherited_signal_blocks))
            mask = await self.ram.ptr(Sigset(signals))
        image = await make_image(parent, command)
        image.keep += (mask, self.task.borrowed)
        calls = self._sysif.calls
        if self._cgroup is not None:
            try:
                return await start_spawn(parent, self._flags, calls, image, command, mask, self._cgroup)
            except Clone3Missing:
                calls = [await self._entry(self._cgroup), *calls]
            except OSError as error:
                if error.filename is self._flags:
                    error.strerror = f"{error.strerror}{_WHY_NOT_INTO_CGROUP.get(error.errno or 0, '')}"
                    error.filename2 = self._cgroup_name
                raise
        return await start_spawn(parent, self._flags, calls, image, command, mask)

    async def _entry(self, cgroup: FileDescriptor) -> Syscall:
        """The call by which the process enters the cgroup itself: a process that writes 0 moves there."""
        procs = await cgroup.openat(await self._parent.ram.ptr("cgroup.procs"), O.WRONLY | O.CLOEXEC)
        # Both stay until the process has been made, with a copy of the descriptor.
        self._originals.append(procs)
        return Syscall(nr.write, procs.near, (await self.ptr(b"0")).near, 1)
