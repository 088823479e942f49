"""What changes a task: unshare, exec, exit; and how tasks are put together."""

from __future__ import annotations

import asyncio
import os
import shutil
from typing import Any, SupportsInt

import pytest

from rsyscall import far, handle
from rsyscall.command import Command
from rsyscall.far import AddressSpaceMismatchError, FDTableMismatchError
from rsyscall.fcntl import AT, O
from rsyscall.handle.fd import FDTable, InvalidHandleError, ManipulatingFDTableError
from rsyscall.handle.pointer import UseAfterFreeError, WrittenPointer
from rsyscall.handle.process import ChildProcess, Process
from rsyscall.handle.task import FileDescriptor, Task
from rsyscall.near import (
    SYS,
    LocalSyscall,
    SyscallError,
    SyscallHangup,
    SyscallSendError,
    UnusableSyscallInterface,
)
from rsyscall.near import (
    types as near,
)
from rsyscall.sched import CLONE
from rsyscall.signal import SIG, Siginfo, Sigset
from rsyscall.struct import BytesSerializer
from rsyscall.sys.wait import ChildState, W
from rsyscall.unistd import SEEK
from rsyscall.unistd.exec import ArgList

from .processes import StreamSyscall, forked_task, has_open, kill_behind_the_back, thread_task
from .support import Local, make_task, null_fds, run


def program(name: str) -> str:
    path = shutil.which(name)
    assert path is not None
    return os.path.realpath(path)


def arg_list(local: Local, *strings: str) -> WrittenPointer[ArgList]:
    return run(local.ptr(ArgList([run(local.ptr(string)) for string in strings])))


def reap(local: Local, task: Task) -> ChildState:
    """Wait for the process behind the task, which has been made by `forked_task`."""
    process = task.process
    assert isinstance(process, ChildProcess)
    run(process.waitid(W.EXITED, run(local.malloc(Siginfo))))
    return run(process.read_state_change())


# Construction


def test_construction() -> None:
    table, space, pidns = FDTable(5), far.AddressSpace(5), far.PidNamespace(5)
    task = Task(near.Process(5), table, space, pidns)
    assert (task.near_process, task.fd_table, task.address_space, task.pidns) == (
        near.Process(5),
        table,
        space,
        pidns,
    )
    assert isinstance(task.sysif, UnusableSyscallInterface)
    assert task.mountns.creator_pid == 5
    assert task.parent_task is None
    assert type(task.process) is Process
    assert task.process.task is task
    assert task.sigmask == task.old_sigmask == set()
    assert task.sigmask_oldset_ptr is None
    assert not task.manipulating_fd_table
    assert task in table.tasks
    assert task.fd_handles == set()
    assert repr(task) == "Task(Process(5))"
    with pytest.raises(SyscallSendError):
        run(task.getpid())
    mountns = far.MountNamespace(1)
    assert Task(near.Process(5), table, space, pidns, mountns).mountns is mountns


def test_construction_as_a_child() -> None:
    parent = make_task()
    process = ChildProcess(parent, near.Process(6))
    task = Task(process, FDTable(6), parent.address_space, parent.pidns)
    assert task.process is process
    assert task.parent_task is parent
    assert task.near_process == near.Process(6)


def test_order_of_the_bases() -> None:
    names = [cls.__name__ for cls in Task.__mro__]
    wanted = [
        "EventfdTask",
        "TimerfdTask",
        "EpollTask",
        "SignalfdTask",
        "MemfdTask",
        "FSTask",
        "SocketTask",
        "PipeTask",
        "MemoryMappingTask",
        "CWDTask",
        "FileDescriptorTask",
        "PrctlTask",
        "MountTask",
        "CredentialsTask",
        "ProcessTask",
        "SchedTask",
        "FutexTask",
        "SignalTask",
    ]
    assert [name for name in names if name in wanted] == wanted
    names = [cls.__name__ for cls in FileDescriptor.__mro__]
    wanted = [
        f"{name}FileDescriptor"
        for name in [
            "Event",
            "Timer",
            "Epoll",
            "Signal",
            "Ioctl",
            "Getdents",
            "Uio",
            "Seekable",
            "IO",
            "FS",
            "Socket",
            "Mappable",
            "Stat",
            "Fcntl",
            "Base",
        ]
    ]
    assert [name for name in names if name in wanted] == wanted


def test_facade() -> None:
    for name in handle.__all__:
        assert getattr(handle, name).__name__ == name
    assert set(handle.__all__) <= set(dir(handle))
    assert handle.FileDescriptor is FileDescriptor
    with pytest.raises(AttributeError, match="nothing"):
        handle.nothing  # noqa: B018


# Namespaces


@pytest.mark.needs("privileged mount namespaces")
def test_unshare(local: Local) -> None:
    with forked_task(local) as task:
        mountns = task.mountns
        assert mountns is local.task.mountns
        run(task.unshare(CLONE.NONE))
        run(task.unshare(CLONE.FS))
        assert task.mountns is mountns
        table = task.fd_table
        run(task.unshare(CLONE.FILES | CLONE.FS))
        assert task.fd_table is not table
        assert task.sysif.calls == ["unshare"] * 3  # type: ignore[attr-defined]  # a StreamSyscall
        with pytest.raises(OSError, match="Invalid") as caught:
            run(task.unshare(CLONE.NEWNS | CLONE.DETACHED))
        assert caught.value.filename == CLONE.NEWNS | CLONE.DETACHED
        assert task.mountns is mountns
        run(task.unshare(CLONE.NEWNS))
        assert task.mountns is not mountns
        assert local.task.mountns is mountns


class MeanwhileAnother(LocalSyscall):
    """Refuses the first call, after it has had another change of the mount namespace made."""

    __slots__ = ("task",)

    task: Task

    async def syscall(self, number: SYS, *args: SupportsInt) -> int:
        self.task.sysif = succeeding = Succeeding()
        await self.task.unshare(CLONE.NEWNS)
        assert succeeding.calls == [SYS.unshare]
        raise OSError(1, "no")


class Succeeding(LocalSyscall):
    """Makes no calls, and says that they succeeded."""

    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls: list[SYS] = []

    async def syscall(self, number: SYS, *args: SupportsInt) -> int:
        self.calls.append(number)
        return 0


@pytest.mark.parametrize("nstype", [CLONE.NEWNS, CLONE.NONE, CLONE.NEWNS | CLONE.NEWUTS])
async def test_setns_records_a_mount_namespace(local: Local, nstype: CLONE) -> None:
    task = local.task
    [fd] = null_fds(task, 1)
    before = task.mountns
    task.sysif = Succeeding()
    await task.setns(fd, CLONE.NEWUTS)
    assert task.mountns is before
    await task.setns(fd, nstype)
    assert task.mountns is not before
    entered = task.mountns
    task.sysif = LocalSyscall()
    with pytest.raises(OSError) as caught:
        await task.setns(fd, nstype)
    assert caught.value.filename is fd
    assert task.mountns is entered
    await fd.close()
    with pytest.raises(InvalidHandleError):
        await task.setns(fd, nstype)
    assert task.mountns is entered


async def test_a_failed_change_of_the_mount_namespace_does_not_undo_a_later_one(local: Local) -> None:
    task = local.task
    [fd] = null_fds(task, 1)
    before = task.mountns
    for change in (lambda: task.setns(fd, CLONE.NEWNS), lambda: task.unshare(CLONE.NEWNS)):
        task.mountns = before
        task.sysif = sysif = MeanwhileAnother()
        sysif.task = task
        with pytest.raises(OSError, match="no"):
            await change()
        assert task.mountns is not before
    task.sysif = LocalSyscall()


@pytest.mark.needs("user namespaces")
def test_setns_user(local: Local) -> None:
    with forked_task(local) as task, forked_task(local) as other:
        run(other.unshare(CLONE.NEWUSER))
        path = run(local.ptr(f"/proc/{other.near_process.id}/ns/user"))
        namespace = run(task.open(path, O.RDONLY))
        run(task.setns_user(namespace))
        assert os.readlink(f"/proc/{task.near_process.id}/ns/user") == os.readlink(
            f"/proc/{other.near_process.id}/ns/user"
        )


# exec


def test_execve(local: Local) -> None:
    with forked_task(local) as task:
        [fd] = null_fds(local.task, 1)
        own = run(task.open(run(local.ptr("/dev/null")), O.RDWR))
        before = (task.fd_table, task.address_space, task.mountns)
        path = program("sh")
        command = Command(path, ["sh", "-c", "exit $STATUS"], {"STATUS": "42"})
        run(
            task.execve(
                run(local.ptr(path)),
                arg_list(local, "sh", "-c", "exit $STATUS"),
                arg_list(local, "STATUS=42"),
                command,
            )
        )
        assert task.fd_table is not before[0]
        assert task.address_space is not before[1]
        assert task.mountns is before[2]
        assert not task.manipulating_fd_table
        assert isinstance(task.process, ChildProcess)
        assert task.process.command is command
        # the handle still counts as one, but nothing can be done with it
        assert own.valid
        assert task.fd_handles == {own}
        with pytest.raises(SyscallError):
            run(own.lseek(0, SEEK.SET))
        with pytest.raises(SyscallSendError), run(local.ptr(b"")).borrow(task):
            raise AssertionError("borrowed")
        assert reap(local, task).exit_status == 42
        run(fd.close())


def test_pointers_of_a_task_after_its_exec(local: Local) -> None:
    """Scenario 16."""
    with forked_task(local) as task:
        mapping, allocation = local.arena.mapping.for_task(task), local.arena.allocate(3, 1)
        pointer = WrittenPointer(mapping, local.gateway, b"abc", BytesSerializer(), allocation, bytes)
        path = program("true")
        run(task.execve(run(local.ptr(path)), arg_list(local, "true"), arg_list(local)))
        assert reap(local, task).clean()
        with pytest.raises(AddressSpaceMismatchError):
            run(local.task.chdir(pointer))  # type: ignore[arg-type]  # a path of bytes
        # giving back the memory is another matter
        before = local.arena.live_bytes()
        pointer.free()
        assert local.arena.live_bytes() == before - 3


def check_usable(local: Local, task: Task) -> None:
    """The task can do everything, among it making handles, which a half-finished exec prevents."""
    assert not task.manipulating_fd_table
    fd = run(task.open(run(local.ptr("/dev/null")), O.RDWR))
    run(fd.close())
    run(task.unshare_files())
    assert task in task.fd_table.tasks


def test_failed_execve(local: Local) -> None:
    """Scenario 19."""
    with forked_task(local) as task:
        fd = run(task.open(run(local.ptr("/dev/null")), O.RDWR))
        run(task.sigmask_block(run(local.ptr(Sigset({SIG.INT})))))
        before = (task.fd_table, task.address_space, task.sysif)
        with pytest.raises(FileNotFoundError) as caught:
            run(task.execve(run(local.ptr("/no/such")), arg_list(local, "such"), arg_list(local)))
        assert caught.value.filename == "/no/such"
        assert (task.fd_table, task.address_space, task.sysif) == before
        assert task.sigmask == {SIG.INT}
        assert isinstance(task.process, ChildProcess)
        assert task.process.command is None
        assert task.process.alive
        run(fd.close())
        check_usable(local, task)


def test_execveat(local: Local) -> None:
    path = program("sh")
    for way in ("directory", "file", "current"):
        with forked_task(local) as task:
            argv, envp = arg_list(local, "sh", "-c", "exit 9"), arg_list(local)
            if way == "directory":
                fd = run(task.open(run(local.ptr(os.path.dirname(path))), O.DIRECTORY | O.PATH))
                run(task.execveat(fd, run(local.ptr(os.path.basename(path))), argv, envp))
            elif way == "file":
                fd = run(task.open(run(local.ptr(path)), O.RDONLY))
                run(task.execveat(fd, run(local.ptr("")), argv, envp, AT.EMPTY_PATH))
            else:
                run(task.chdir(run(local.ptr(os.path.dirname(path)))))
                run(task.execveat(None, run(local.ptr(os.path.basename(path))), argv, envp))
            assert reap(local, task).exit_status == 9


def test_failed_execveat(local: Local) -> None:
    with forked_task(local) as task:
        directory = run(task.open(run(local.ptr("/")), O.DIRECTORY))
        before = (task.fd_table, task.address_space, task.sysif)
        path = run(local.ptr("no-such"))
        with pytest.raises(FileNotFoundError) as caught:
            run(task.execveat(directory, path, arg_list(local, "x"), arg_list(local)))
        assert caught.value.filename == (directory, "no-such")
        with pytest.raises(FileNotFoundError) as caught:
            run(task.execveat(None, path, arg_list(local, "x"), arg_list(local)))
        assert caught.value.filename == (None, "no-such")
        assert (task.fd_table, task.address_space, task.sysif) == before
        check_usable(local, task)


def test_exec_checks_and_keeps_its_arguments(local: Local) -> None:
    """Each string is borrowed, not only the lists."""
    with forked_task(local) as task:
        path, argv, envp = run(local.ptr("/no/such")), arg_list(local, "a", "b"), arg_list(local, "A=b")
        sysif = task.sysif
        live = []

        class Looking(StreamSyscall):
            async def syscall(self, number: SYS, *args: Any) -> int:
                for pointer in (path, argv, envp, argv.value[1], envp.value[0]):
                    pointer.free()
                live.append(local.arena.live_bytes())
                return await sysif.syscall(number, *args)

        before = local.arena.live_bytes()
        assert isinstance(sysif, StreamSyscall)
        task.sysif = Looking(sysif.sock)
        with pytest.raises(FileNotFoundError):
            run(task.execve(path, argv, envp))
        assert live == [before]
        assert local.arena.live_bytes() == argv.value[0].size()
        task.sysif = sysif
        for attempt in (
            task.execve(path, arg_list(local), arg_list(local)),
            task.execve(run(local.ptr("/no/such")), argv, arg_list(local)),
            task.execve(run(local.ptr("/no/such")), freed_element(local), arg_list(local)),
            task.execveat(None, run(local.ptr("no")), arg_list(local), freed_element(local)),
        ):
            with pytest.raises(UseAfterFreeError):
                run(attempt)
        check_usable(local, task)


def freed_element(local: Local) -> WrittenPointer[ArgList]:
    strings = arg_list(local, "a", "b", "c")
    strings.value[1].free()
    return strings


def test_exec_with_things_of_others(local: Local) -> None:
    stranger = Local.make()
    path = run(local.ptr("/no/such"))
    directory = run(local.task.open(run(local.ptr("/")), O.DIRECTORY))
    with forked_task(local) as task:
        with pytest.raises(AddressSpaceMismatchError):
            run(task.execve(run(stranger.ptr("/no/such")), arg_list(local), arg_list(local)))
        with pytest.raises(AddressSpaceMismatchError):
            run(task.execve(path, arg_list(stranger), arg_list(local)))
        foreign = ArgList([run(stranger.ptr("x"))])
        with pytest.raises(AddressSpaceMismatchError):
            run(task.execve(path, run(local.ptr(foreign)), arg_list(local)))
        with pytest.raises(FDTableMismatchError):
            run(task.execveat(directory, path, arg_list(local), arg_list(local)))
        run(directory.close())
        with pytest.raises((InvalidHandleError, FDTableMismatchError)):
            run(task.execveat(directory, path, arg_list(local), arg_list(local)))
        check_usable(local, task)
    stranger.arena.memory.close()


def test_exec_in_a_dead_process(local: Local) -> None:
    with forked_task(local) as task:
        path, argv, envp = run(local.ptr("/no/such")), arg_list(local), arg_list(local)
        kill_behind_the_back(task)
        # what is sent first may still get into the buffers of the dead process
        with pytest.raises(SyscallError):
            run(task.getpid())
        before = (task.fd_table, task.address_space)
        with pytest.raises(SyscallSendError):
            run(task.execve(path, argv, envp))
        with pytest.raises(SyscallSendError):
            run(task.execveat(None, path, argv, envp))
        with pytest.raises(SyscallSendError):
            run(task.exit(0))
        assert (task.fd_table, task.address_space) == before
        assert not task.manipulating_fd_table


def test_cancelled_exec(local: Local) -> None:
    task = make_task(local.task)

    class Cancelled(UnusableSyscallInterface):
        async def syscall(self, number: SYS, *args: Any) -> int:
            with pytest.raises(ManipulatingFDTableError):
                task.make_fd_handle(near.FileDescriptor(999))
            raise asyncio.CancelledError

    task.sysif = Cancelled()
    before = (task.fd_table, task.address_space)
    for attempt in (
        task.execve(run(local.ptr("/no")), arg_list(local), arg_list(local)),
        task.execveat(None, run(local.ptr("/no")), arg_list(local), arg_list(local)),
        task.exit(0),
    ):
        with pytest.raises(asyncio.CancelledError):
            run(attempt)
        assert (task.fd_table, task.address_space) == before
        assert not task.manipulating_fd_table


def test_exec_leaves_a_shared_table(local: Local) -> None:
    """Numbers that only the executing task had handles for become garbage of the others."""
    task = make_task(local.task)
    shared, own = null_fds(local.task, 2)
    in_task = shared.for_task(task)
    own = own.move(task)
    task.did_exec(None)
    assert task.fd_handles == {in_task, own}
    assert local.task.fd_table.garbage_pending
    run(local.task.run_fd_table_gc())
    with pytest.raises(FDTableMismatchError):
        own.for_task(local.task)
    run(shared.close())
    assert local.task.fd_table.near_to_handles == {}


# exit


def test_exit(local: Local) -> None:
    with forked_task(local) as task:
        fd = run(task.open(run(local.ptr("/dev/null")), O.RDWR))
        before = (task.fd_table, task.address_space)
        run(task.exit(5))
        assert task.fd_table is not before[0]
        assert task.address_space is not before[1]
        assert not task.manipulating_fd_table
        assert fd.valid
        with pytest.raises(SyscallError):
            run(fd.close())
        assert reap(local, task).exit_status == 5


def test_collection_in_a_table_that_a_task_has_left(local: Local) -> None:
    """An exited task is not chosen for closing what it shared."""
    with thread_task(local) as task:
        [fd] = null_fds(local.task, 1)
        number = int(fd)
        fd = fd.move(task)
        task.did_exit()
        assert local.task.fd_table.garbage_pending
        run(local.task.run_fd_table_gc(use_self=False))
        assert not has_open(local.task, number)
        assert local.task in local.task.fd_table.tasks


@pytest.mark.parametrize("how", ["exec", "exit"])
def test_answer_that_comes_after_the_process_has_gone(local: Local, how: str) -> None:
    """A descriptor opened in a shared table is closed by those who stay."""
    task = make_task(local.task)
    number = run(local.task.sysif.syscall(SYS.eventfd2, 0, 0))
    if how == "exec":
        task.did_exec(None)
    else:
        task.did_exit()
    with pytest.raises(SyscallHangup):
        task.make_fd_handle(near.FileDescriptor(number))
    assert has_open(local.task, number)
    run(local.task.run_fd_table_gc())
    assert not has_open(local.task, number)
    with pytest.raises(SyscallSendError):
        run(task.chdir(run(local.ptr("/"))))
    fd = null_fds(local.task, 1)[0]
    with pytest.raises(SyscallSendError):
        fd.for_task(task)
    with pytest.raises(SyscallSendError):
        task.inherit_fd(fd)
    run(fd.close())
