"""All descendants of a command: how they are found and ended, for `Thread.run`.

There are three ways. None of them lists the processes, so none misses a process that is just being forked:

* a process group: one signal reaches all processes that have not left it (shells with job control and
  daemons do leave);
* a cgroup: `cgroup.kill` ends all that are in it, and only a process that may write to another cgroup can
  leave;
* a pid namespace: they all end with its init, which is a child that we drive, and no process can leave.

A group has the number of its leader. No other group gets the number before the leader has been reaped and all
others are gone, so we end a group before we reap the command. A command in a namespace is a child of the
init, through which we wait for it, so we end a namespace after we have reaped the command.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol, cast

import trio

from rsyscall.fcntl import O
from rsyscall.handle import FileDescriptor
from rsyscall.near import Syscall, nr
from rsyscall.sched import CLONE
from rsyscall.signal import SIG
from rsyscall.spawn import PreparedThread

if TYPE_CHECKING:
    from rsyscall.monitor import AsyncChildProcess
    from rsyscall.run_files import ClonedThread, RunningThread

__all__ = ["Tree", "TreeKind", "join_cgroup", "make_tree"]

TreeKind = Literal["group", "cgroup", "pidns"]

# How long killed processes may take to leave a cgroup, in seconds.
_TIME_TO_DIE = 10.0
_serial = itertools.count()


class Tree(Protocol):
    """The command and its descendants."""

    @property
    def starter(self) -> RunningThread:
        """The thread that starts the command."""
        ...

    @property
    def is_cgroup(self) -> bool:
        """Whether it is a cgroup."""
        ...

    async def note(self, child: PreparedThread) -> None:
        """Prepare the calls by which the new process joins the tree."""
        ...

    async def started(self, numbers: Sequence[int]) -> None:
        """Called when the command runs; `numbers` are its descriptors, and our ends of its pipes."""
        ...

    async def terminate(self, child: AsyncChildProcess) -> None:
        """Send SIGTERM."""
        ...

    async def exited(self, child: AsyncChildProcess) -> None:
        """End the descendants; called when the command has exited and has not been reaped."""
        ...

    async def reaped(self) -> None:
        """End the descendants; called, maybe twice, when the command has been reaped or was never started."""
        ...


class _Alone:
    """The command, without its descendants."""

    is_cgroup = False

    def __init__(self, thread: RunningThread) -> None:
        self.starter = thread

    async def note(self, child: PreparedThread) -> None:
        pass

    async def started(self, numbers: Sequence[int]) -> None:
        pass

    async def terminate(self, child: AsyncChildProcess) -> None:
        await child.kill(SIG.TERM)

    async def exited(self, child: AsyncChildProcess) -> None:
        pass

    async def reaped(self) -> None:
        pass


class _Group(_Alone):
    """A process group that the command leads.

    Args:
        leads_anyway: whether the command becomes the leader of a group by other calls.
    """

    def __init__(self, thread: RunningThread, leads_anyway: bool) -> None:
        super().__init__(thread)
        self._leads_anyway = leads_anyway

    async def note(self, child: PreparedThread) -> None:
        if not self._leads_anyway:
            await child.task.sysif.syscall(nr.setpgid, 0, 0)

    async def terminate(self, child: AsyncChildProcess) -> None:
        await _kill_group(child, SIG.TERM)

    async def exited(self, child: AsyncChildProcess) -> None:
        await _kill_group(child, SIG.KILL)


async def _kill_group(child: AsyncChildProcess, sig: SIG) -> None:
    try:
        await child.killpg(sig)
    except ProcessLookupError:
        # It has not made the group yet; or it is a zombie, and the only member.
        await child.kill(sig)


class _Namespace(_Alone):
    """A pid namespace with an init of ours, of which the command is a child.

    The init shares our memory: the command is prepared in it, and may be given any descriptor of ours. In a
    user namespace our memory is undumpable meanwhile. Without one, a command that may trace the init may
    trace the program itself. SECURITY.md tells users what to do about that.
    """

    def __init__(self, init: ClonedThread) -> None:
        super().__init__(init)
        self._init = init

    @staticmethod
    async def make(thread: RunningThread, may_use_user_namespace: bool) -> _Namespace:
        """Make it. Without privileges it gets a user namespace of its own, if that is allowed."""
        try:
            return _Namespace(await thread.clone(CLONE.NEWPID))
        except PermissionError:
            if not may_use_user_namespace:
                raise
        return _Namespace(await thread.clone(CLONE.NEWPID | CLONE.NEWUSER))

    async def started(self, numbers: Sequence[int]) -> None:
        # The init has copies of all our descriptors. While it has our end of a pipe open, the reader or
        # writer at the other end does not notice that we close ours.
        self._init.task.fd_table.remove_inherited()
        await self._init.task.sysif.syscalls([Syscall(nr.close, number) for number in numbers])

    async def reaped(self) -> None:
        async with self._init.process:
            pass


class _Cgroup(_Alone):
    """A new cgroup for the command, below that of the thread.

    Args:
        thread: makes and removes it.
        path: of its directory.
        directory: a handle for the directory.
        kill: a handle for its `cgroup.kill`.
    """

    is_cgroup = True

    def __init__(
        self, thread: RunningThread, path: str, directory: FileDescriptor, kill: FileDescriptor
    ) -> None:
        super().__init__(thread)
        self._path = path
        self._directory = directory
        self._kill = kill
        self._gone = False

    @staticmethod
    async def make(thread: RunningThread, above: object) -> _Cgroup:
        """Make it.

        Args:
            thread: makes it.
            above: its parent, a path or a handle; None for the cgroup of the thread.

        Raises:
            OSError: the thread may not make one; or the kernel is older than 5.14.

        manpage: cgroups(7)
        """
        if above is None:
            base = await _own_cgroup(thread)
        elif isinstance(above, FileDescriptor):
            link = await thread.ram.ptr(f"/proc/self/fd/{int(above)}")
            with above.borrow(thread.task):
                found, _ = await thread.task.readlink(link, await thread.ram.malloc(str, 4096))
                base = await found.read()
        else:
            base = os.fspath(cast("str", above))
        path = f"{base}/rsyscall-{os.getpid()}-{next(_serial)}"
        await thread.task.mkdir(await thread.ram.ptr(path))
        try:
            directory = await thread.task.open(await thread.ram.ptr(path), O.PATH | O.CLOEXEC)
            kill = await thread.task.open(await thread.ram.ptr(f"{path}/cgroup.kill"), O.WRONLY)
        except BaseException:
            with trio.CancelScope(shield=True):
                await thread.task.rmdir(await thread.ram.ptr(path))
            raise
        return _Cgroup(thread, path, directory, kill)

    async def note(self, child: PreparedThread | ClonedThread) -> None:
        if isinstance(child, PreparedThread):
            child.enter_cgroup(self._directory)
        else:
            await join_cgroup(child, self._path)

    async def reaped(self) -> None:
        if self._gone:
            return
        thread = self.starter
        one = await thread.ram.ptr(b"1")
        await self._kill.write(one)
        path = await thread.ram.ptr(self._path)
        deadline = trio.current_time() + _TIME_TO_DIE
        pause = 0.0005
        while True:
            try:
                await thread.task.rmdir(path)
            except OSError as error:
                # Killed processes stay in it until they have exited.
                if error.errno != errno.EBUSY or trio.current_time() > deadline:
                    raise
            else:
                break
            await trio.sleep(pause)
            pause = min(2 * pause, 0.01)
        self._gone = True
        await self._directory.invalidate()
        await self._kill.invalidate()


async def join_cgroup(
    child: PreparedThread | ClonedThread, cgroup: str | os.PathLike[str] | FileDescriptor
) -> None:
    """Have a process join a cgroup; a prepared process starts in it.

    Args:
        child: the process.
        cgroup: of version 2: the path of its directory, or a handle of that.
    """
    if isinstance(child, PreparedThread):
        if not isinstance(cgroup, FileDescriptor):
            # A process that does not exist yet cannot open files, so its parent does.
            parent = child._parent
            path = await parent.ram.ptr(os.fspath(cgroup))
            handle = await parent.task.open(path, O.PATH | O.DIRECTORY | O.CLOEXEC)
            child.enter_cgroup(handle, cgroup)
        else:
            child.enter_cgroup(cgroup)
        return
    if isinstance(cgroup, FileDescriptor):
        # The process has a copy of the descriptor, with the same number.
        if cgroup.task.fd_table is not child.task.fd_table:
            cgroup = child.task.inherit_fd(cgroup)
        procs = await cgroup.openat(await child.ram.ptr("cgroup.procs"), O.WRONLY | O.CLOEXEC)
    else:
        path = await child.ram.ptr(f"{os.fspath(cgroup)}/cgroup.procs")
        procs = await child.task.open(path, O.WRONLY | O.CLOEXEC)
    async with procs:
        # The process that writes 0 moves itself.
        await procs.write(await child.ram.ptr(b"0"))


async def _own_cgroup(thread: RunningThread) -> str:
    """The directory of the cgroup that the thread is in, in the hierarchy of version 2."""
    own = None
    for line in (await _read_file(thread, "/proc/self/cgroup")).splitlines():
        if line.startswith("0::"):
            own = line[3:]
    if own is not None:
        for line in (await _read_file(thread, "/proc/self/mountinfo")).splitlines():
            before, _, after = line.partition(" - ")
            if after.startswith("cgroup2 "):
                root, where = before.split()[3:5]
                if root == "/":
                    return f"{where}/{own.strip('/')}".rstrip("/")
                if own == root or own.startswith(f"{root}/"):
                    return f"{where}/{own[len(root) :].strip('/')}".rstrip("/")
    message = "no mounted cgroup2 hierarchy has the cgroup of this process"
    raise FileNotFoundError(errno.ENOENT, message, "/proc/self/cgroup")


async def _read_file(thread: RunningThread, path: str) -> str:
    async with await thread.task.open(await thread.ram.ptr(path), O.RDONLY) as file:
        return os.fsdecode(await thread.read_to_eof(file))


async def make_tree(
    thread: RunningThread, kind: bool | TreeKind, leads_anyway: bool = False, cgroup: object = None
) -> Tree:
    """Make the group, cgroup or namespace that contains the descendants of a command.

    Args:
        thread: the parent of the command, or of the init.
        kind: which of these; True for a cgroup if possible, or else a pid namespace, or else a process group;
            False to leave the descendants alone.
        leads_anyway: whether the command leads a process group even without a tree.
        cgroup: the parent of a new cgroup, a path or a handle; None for the cgroup of the thread.

    Raises:
        OSError: it cannot be made. With True this does not happen.
        ValueError: there is no such kind.
    """
    if kind is False:
        return _Alone(thread)
    if kind == "group":
        return _Group(thread, leads_anyway)
    if kind == "cgroup":
        return await _Cgroup.make(thread, cgroup)
    if kind == "pidns":
        return await _Namespace.make(thread, True)
    if kind is not True:
        raise ValueError(f'tree: expected True, "cgroup", "pidns" or "group", not {kind!r}')
    try:
        return await _Cgroup.make(thread, cgroup)
    except OSError:
        pass
    try:
        return await _Namespace.make(thread, False)
    except OSError:
        return _Group(thread, leads_anyway)
