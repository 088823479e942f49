"""The assembled `FileDescriptor` and `Task`.

They have every call that the header modules define, and the calls that change the namespaces of a task:
unshare, exec and exit.

Nothing that this module imports may import it, except while type checking.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import rsyscall.far
import rsyscall.near
from rsyscall.fcntl import AT, FD, F, FcntlFileDescriptor
from rsyscall.handle._later_calls import (
    CapabilityTask,
    CredentialsTask,
    EpollFileDescriptor,
    EpollTask,
    EventfdTask,
    EventFileDescriptor,
    FutexTask,
    GetdentsFileDescriptor,
    InotifyFileDescriptor,
    InotifyTask,
    IoctlFileDescriptor,
    IoprioTask,
    LaterFileDescriptor,
    LaterTask,
    MemfdTask,
    MountTask,
    PipeTask,
    PrctlTask,
    ResourceTask,
    SignalfdTask,
    SignalFileDescriptor,
    SocketFileDescriptor,
    SocketTask,
    StatFileDescriptor,
    StatTask,
    TermiosFileDescriptor,
    TimerfdTask,
    TimerFileDescriptor,
    UioFileDescriptor,
    UtsnameTask,
)
from rsyscall.handle.fd import BaseFileDescriptor, FDTable, FileDescriptorTask
from rsyscall.handle.pointer import PathPointer, Pointer, WrittenPointer, check_pointers
from rsyscall.handle.process import ChildProcess, Process, ProcessTask
from rsyscall.near import UnusableSyscallInterface
from rsyscall.near.naming import naming
from rsyscall.path import Path
from rsyscall.sched import CLONE, SchedTask, _unshare
from rsyscall.signal import SignalTask
from rsyscall.sys.mman import MappableFileDescriptor, MemoryMappingTask
from rsyscall.unistd import FSFileDescriptor, FSTask
from rsyscall.unistd.cwd import CWDTask
from rsyscall.unistd.exec import ArgList, _execve, _execveat, _exit
from rsyscall.unistd.io import IOFileDescriptor, SeekableFileDescriptor

if TYPE_CHECKING:
    from rsyscall.command import Command

__all__ = ["FileDescriptor", "Task"]

T_self = TypeVar("T_self", bound="FileDescriptor")


class FileDescriptor(
    EventFileDescriptor,
    TimerFileDescriptor,
    EpollFileDescriptor,
    InotifyFileDescriptor,
    SignalFileDescriptor,
    TermiosFileDescriptor,
    IoctlFileDescriptor,
    GetdentsFileDescriptor,
    UioFileDescriptor,
    SeekableFileDescriptor,
    IOFileDescriptor,
    FSFileDescriptor,
    SocketFileDescriptor,
    MappableFileDescriptor,
    StatFileDescriptor,
    FcntlFileDescriptor,
    LaterFileDescriptor,
    BaseFileDescriptor,
):
    """A file descriptor, with all the calls that take one. Which of them work depends on what it is open for.

    As an asynchronous context manager it is invalidated on exit, so closed unless there are other handles.

    Args:
        task: the task that calls are made in.
        near: the number, in the file descriptor table of the task.
        valid: whether the handle still owns the number.
    """

    __slots__ = ()

    task: Task

    def as_proc_path(self) -> Path:
        """Return `/proc/<pid>/fd/<number>`, by which others can open the same file.

        It means this file only in a proc file system of the process id namespace of our task's id.
        """
        return self.task.process.as_proc_path() / "fd" / str(self.near.number)

    async def disable_cloexec(self) -> None:
        """Let programs that this process executes have the file descriptor.

        This must be the only handle. If other tasks share the table, programs that they execute get it too.

        manpage: fcntl(2)
        """
        self._require_only_handle("disable close-on-exec of")
        await self.fcntl(F.SETFD, 0)

    async def enable_cloexec(self) -> None:
        """Close the file descriptor when a program is executed. Files that we open are like this from the
        start.

        manpage: fcntl(2)
        """
        await self.fcntl(F.SETFD, FD.CLOEXEC)

    async def as_argument(self) -> int:
        """Do `disable_cloexec` and return the number, to be told to the program that gets it."""
        await self.disable_cloexec()
        return int(self.near)

    async def __aenter__(self: T_self) -> T_self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.invalidate()


class Task(
    EventfdTask[FileDescriptor],
    TimerfdTask[FileDescriptor],
    EpollTask[FileDescriptor],
    InotifyTask[FileDescriptor],
    SignalfdTask[FileDescriptor],
    MemfdTask[FileDescriptor],
    FSTask[FileDescriptor],
    SocketTask[FileDescriptor],
    PipeTask[FileDescriptor],
    MemoryMappingTask,
    CWDTask,
    LaterTask[FileDescriptor],
    FileDescriptorTask[FileDescriptor],
    CapabilityTask,
    PrctlTask,
    MountTask,
    CredentialsTask,
    UtsnameTask,
    StatTask,
    ProcessTask,
    SchedTask,
    ResourceTask,
    IoprioTask,
    FutexTask,
    SignalTask,
    rsyscall.far.Task,
):
    """A process as a place to make system calls: all the calls that are not about a particular file
    descriptor.

    It starts unusable: the code that constructs it assigns `sysif` afterwards.

    Args:
        process: the process: its id, or, if it is a child of another task of ours, the handle for that.
        fd_table: its file descriptor table.
        address_space: its memory.
        pidns: the process id namespace of its id.
        mountns: its mount namespace; a fresh one if not given.

    Attributes:
        infrastructure_fds: descriptors in its table that its `sysif` needs; kept open while the task exists.
    """

    infrastructure_fds: tuple[FileDescriptor, ...] = ()
    _handle_class = FileDescriptor

    def __init__(
        self,
        process: rsyscall.near.Process | Process,
        fd_table: FDTable,
        address_space: rsyscall.far.AddressSpace,
        pidns: rsyscall.far.PidNamespace,
        mountns: rsyscall.far.MountNamespace | None = None,
    ) -> None:
        ProcessTask.__init__(
            self, UnusableSyscallInterface(), process, fd_table, address_space, pidns, mountns
        )

    def _file_descriptor_constructor(self, fd: rsyscall.near.FileDescriptor) -> FileDescriptor:
        return FileDescriptor(self, fd, True)

    def _make_fresh_address_space(self) -> None:
        """Record that the process has memory of its own now."""
        self.address_space: rsyscall.far.AddressSpace = rsyscall.far.AddressSpace(self.near_process.id)

    def _make_fresh_mount_namespace(self) -> None:
        """Record that the process has a mount namespace of its own now."""
        self.mountns: rsyscall.far.MountNamespace = rsyscall.far.MountNamespace(self.near_process.id)

    async def unshare(self, flags: CLONE) -> None:
        """Stop sharing things with other processes, or make new namespaces and enter them.

        `CLONE.FILES` is what `unshare_files` does, and is done first. After `CLONE.NEWNS` paths may mean
        something else than for other tasks. `CLONE.NEWPID` is discouraged: the namespace is one for future
        children, and which of the two namespaces an id belongs to is not tracked; make a child with
        `CLONE.NEWPID` instead.

        If the call fails, everything is as before, except that the files may be unshared.

        Raises:
            OSError: EPERM, EINVAL and others.

        manpage: unshare(2)
        """
        if flags & CLONE.FILES:
            await self.unshare_files()
            flags &= ~CLONE.FILES
        if not flags:
            return
        with self._changing_mount_namespace(bool(flags & CLONE.NEWNS)):
            await _unshare(self.sysif, flags)

    async def setns(self, fd: BaseFileDescriptor, nstype: CLONE) -> None:
        """Move this task into a namespace.

        We cannot know which mount namespace it is. So if it may be one, because `nstype` says so or allows
        any kind, we treat it as one that no other task is in. Namespaces of other kinds are not recorded. A
        task that shares memory with others cannot enter a time namespace (EUSERS), and one that shares file
        system information cannot enter a user or mount namespace (EINVAL; see `setns_user`).

        Args:
            fd: a file of /proc/<pid>/ns, or a pidfd.
            nstype: which kind of namespace it must be, `CLONE.NONE` for any; for a pidfd, which to enter.

        Raises:
            OSError: EINVAL, EPERM, EUSERS and others; `filename` is the descriptor.

        manpage: setns(2)
        """
        with self._changing_mount_namespace(not nstype or bool(nstype & CLONE.NEWNS)):
            await super().setns(fd, nstype)

    @contextmanager
    def _changing_mount_namespace(self, changing: bool) -> Iterator[None]:
        """Record another mount namespace while the call is made that changes it, and stay with it if that
        succeeds.

        Before the call, because code that runs at the same time must not take the old namespace for ours once
        the call has been made.
        """
        before = self.mountns
        if changing:
            self._make_fresh_mount_namespace()
        fresh = self.mountns
        try:
            yield
        except BaseException:
            # unless another change has begun since
            if self.mountns is fresh:
                self.mountns = before
            raise

    async def setns_user(self, fd: FileDescriptor) -> None:
        """Enter a user namespace: `unshare(CLONE.FS)`, which the kernel demands, then `setns(fd,
        CLONE.NEWUSER)`.

        manpage: setns(2)
        """
        await self.unshare(CLONE.FS)
        await self.setns(fd, CLONE.NEWUSER)

    async def execve(
        self,
        filename: PathPointer,
        argv: WrittenPointer[ArgList],
        envp: WrittenPointer[ArgList],
        command: Command | None = None,
    ) -> None:
        """Execute a program. When it succeeds, this task and its handles cannot be used any more.

        The file descriptor table and the address space of the task are its own from then on, and its
        interface is closed. If it fails, the task stays as usable as it was.

        Args:
            filename: file to execute.
            argv: arguments; the first is the name of the program.
            envp: environment, as strings `NAME=value`.
            command: the same for people to read; `ChildProcess.command` is set to it.

        Raises:
            OSError: the program could not be executed; `filename` is the path.
            SyscallSendError: the process was dead already.
            TypeError: an argument is no pointer.

        manpage: execve(2)
        """
        self.check_not_manipulating()
        check_pointers(filename)
        with ExitStack() as stack:
            filename_address = stack.enter_context(filename.borrow(self))
            argv_address, envp_address = self._borrow_arguments(stack, argv, envp)
            self.manipulating_fd_table: bool = True
            try:
                with naming(filename.value):
                    await _execve(self.sysif, filename_address, argv_address, envp_address)
            finally:
                self.manipulating_fd_table = False
        self.did_exec(command)
        await self.sysif.close_interface()

    async def execveat(
        self,
        fd: FileDescriptor | None,
        pathname: PathPointer,
        argv: WrittenPointer[ArgList],
        envp: WrittenPointer[ArgList],
        flags: AT = AT.NONE,
        command: Command | None = None,
    ) -> None:
        """Execute a program as `execve` does, given by a file descriptor.

        Args:
            fd: the directory that `pathname` is relative to, or, with `AT.EMPTY_PATH` and an empty path, the
                file itself; None for the current directory.
            pathname: file to execute.
            argv, envp, command: as for `execve`.
            flags: `AT.EMPTY_PATH`, `AT.SYMLINK_NOFOLLOW`.

        Raises:
            OSError: the program could not be executed; `filename` is (fd, path).
            SyscallSendError: the process was dead already.

        manpage: execveat(2)
        """
        self.check_not_manipulating()
        check_pointers(pathname)
        with ExitStack() as stack:
            near_fd = None if fd is None else stack.enter_context(fd.borrow(self))
            pathname_address = stack.enter_context(pathname.borrow(self))
            argv_address, envp_address = self._borrow_arguments(stack, argv, envp)
            self.manipulating_fd_table = True
            try:
                with naming((fd, pathname.value)):
                    await _execveat(self.sysif, near_fd, pathname_address, argv_address, envp_address, flags)
            finally:
                self.manipulating_fd_table = False
        self.did_exec(command)
        await self.sysif.close_interface()

    def _borrow_arguments(
        self, stack: ExitStack, argv: WrittenPointer[ArgList], envp: WrittenPointer[ArgList]
    ) -> tuple[rsyscall.near.Address, rsyscall.near.Address]:
        """Borrow the lists and every string in them; return the addresses of the lists."""
        for name, value in (("argv", argv), ("envp", envp)):
            if not isinstance(value, Pointer):
                raise TypeError(f"{name}: expected a pointer to an ArgList, not {value!r}")
        addresses = stack.enter_context(argv.borrow(self)), stack.enter_context(envp.borrow(self))
        for strings in (argv.value, envp.value):
            for string in strings:
                stack.enter_context(string.borrow(self))
        return addresses

    def did_exec(self, command: Command | None) -> None:
        """Record that the process has executed a program: nothing is shared with it any more.

        For code that learns of a successful exec in another way than by making the call.
        """
        self._depart()
        if isinstance(self.process, ChildProcess):
            self.process.did_exec(command)

    async def exit(self, status: int) -> None:
        """End the process. When it succeeds, this task and its handles cannot be used any more.

        Args:
            status: exit status, 0 to 255.

        Raises:
            SyscallSendError: the process was dead already.

        manpage: _exit(2)
        """
        self.check_not_manipulating()
        self.manipulating_fd_table = True
        try:
            await _exit(self.sysif, status)
        finally:
            self.manipulating_fd_table = False
        self.did_exit()
        await self.sysif.close_interface()

    def did_exit(self) -> None:
        """Record that the process is gone; the other tasks keep what it shared with them."""
        self._depart()

    def _depart(self) -> None:
        # Later calls fail with a SyscallError, and not as a mistake of their caller.
        self.departed = True
        self._departed_from = self._make_fresh_fd_table()
        # They refer to this task.
        self.infrastructure_fds = ()
        self._make_fresh_address_space()
