"""Processes that outlive the program which has made them, and are driven again by another one.

A persistent process has memory of its own, executes `rsyscall-stub`, and listens on a Unix socket. When the
program that drives it ends, killed or not, it keeps its descriptors, its memory and its children, and waits.
The next program connects, lists what is there and adopts it.

**Who can connect.** The file of the socket has mode 0600, and the process asks the kernel who connects: its
own user, or root; others are closed at once. One program drives it at a time: another one is refused, or
takes over if it asks for that. What connects and says nothing, or something else, keeps no other out.

**Not trusted.** As with any process of its kind, what it answers is bounded, and believed by nothing but the
calls that are made in it.

**Blocked.** A process makes one call after the other. While one blocks, no program gets in: connecting takes
until it returns. Waiting for descriptors by the epoller of the thread does not keep others out.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import weakref
from typing import TYPE_CHECKING, Any

import trio

from rsyscall.child_process import AsyncChildProcess, end_process
from rsyscall.command import Command
from rsyscall.epoller import AsyncFileDescriptor, Epoller
from rsyscall.far_children import FarMonitor
from rsyscall.fcntl import FD, F, O
from rsyscall.handle.process import ChildProcess
from rsyscall.linux.dirent import DirentList
from rsyscall.linux.memfd import MFD
from rsyscall.memory.allocator import AllocatorClient
from rsyscall.near import Syscall, SyscallError, nr
from rsyscall.near import types as near
from rsyscall.near.protocol import Hello
from rsyscall.network.connection import FDPassConnection
from rsyscall.path import Path
from rsyscall.stream import SyscallConnection
from rsyscall.stub_program import NAME, stub_descriptor
from rsyscall.sys.prctl import PR
from rsyscall.sys.socket import AF, SOCK
from rsyscall.sys.wait import W
from rsyscall.tasks._door import EQUIP, KITS, NO_KIT, TAKE_OVER, Kits, Said, Welcome, close, connect, receive
from rsyscall.tasks._far import make_equipped_thread, make_far_task
from rsyscall.tasks._listening import absolute, bind
from rsyscall.tasks._replaceable import PersistentSyscallConnection
from rsyscall.thread import Thread
from rsyscall.unistd import SEEK

if TYPE_CHECKING:
    from rsyscall.command import StrPath
    from rsyscall.handle import FileDescriptor, Pointer
    from rsyscall.memory.ram import RAM

__all__ = [
    "MAX_STORE",
    "PersistentSyscallConnection",
    "PersistentThread",
    "clone_persistent",
    "connect_persistent",
]

logger: logging.Logger = logging.getLogger(__name__)

MAX_STORE = 1 << 20
"""How many bytes the store of a process may have."""

# How long a process that does not answer can delay the end of a connection to it, in seconds.
_TIME_TO_UNMAP = 1.0
# What a listing may have, in bytes: about a million descriptors, or children.
_MAX_LISTING = 1 << 25


class PersistentThread(Thread):
    """A process that goes on when this program ends, if `make_persistent` was called once.

    Dropping it ends the connection, and not the process.

    Args:
        thread: the process, connected.
        persistent_path: of the socket where it listens, from the root directory.
        persistent_sock: its listening socket.

    Attributes:
        process: to wait for it, in the program that has made it; None in others.
        prepped_for_reconnect: whether calls wait for `reconnect` when the connection is lost.
    """

    def __init__(self, thread: Thread, persistent_path: Path, persistent_sock: FileDescriptor) -> None:
        self._init_from(thread)
        self.persistent_path = persistent_path
        self.persistent_sock = persistent_sock
        self.prepped_for_reconnect: bool = False
        self.process: AsyncChildProcess | None = None
        self._sysif: PersistentSyscallConnection | None = None
        self._welcome: Welcome | None = None
        self._kits: Kits | None = None
        self._store: FileDescriptor | None = None
        # Its end of the stream.
        self._end: FileDescriptor | None = None
        # When it is closed, with the last handle, the process closes what it has made for this thread.
        self._life: FileDescriptor | None = None
        self._children: weakref.WeakValueDictionary[int, AsyncChildProcess] = weakref.WeakValueDictionary()

    # ---- the connection

    async def prep_for_reconnect(self) -> None:
        """Have calls wait for `reconnect` from now on when the connection is lost."""
        if self._sysif is None:
            raise ValueError(f"{self} was not made by clone_persistent or connect_persistent")
        self._sysif.keeps_calls = True
        self.prepped_for_reconnect = True

    async def make_persistent(self) -> None:
        """Have the process go on when its parent ends, or the process group of that is killed.

        It becomes the leader of a session of its own. It keeps standard input, output and error.

        manpage: setsid(2), PR_SET_PDEATHSIG(2const)
        """
        await self.prep_for_reconnect()
        try:
            await self.task.setsid()
        except PermissionError:
            pass  # it leads a process group already: done before
        await self.task.prctl(PR.SET_PDEATHSIG, 0)

    async def reconnect(self, thread: Thread, take_over: bool = False) -> None:
        """Drive the process over a new connection, made by `thread`. Calls wait meanwhile.

        Args:
            thread: on the same host, in whose root directory the socket is found.
            take_over: also from another program that drives the process now.

        Raises:
            ConnectionRefusedError: the process has ended.
            OSError: EBUSY, another program drives it; ESTALE, this is another process; as connect(2).

        Cancellation: there is no connection, and calls wait, until this is called again.
        """
        await self.prep_for_reconnect()
        assert self._sysif is not None
        assert self._welcome is not None
        await self._sysif.shutdown_current_connection()
        kit = self._kits.own + 1 if self._kits is not None else 0
        stream, (welcome, _, _), hello = await connect(
            thread, self.persistent_path, TAKE_OVER if take_over else 0, kit
        )
        try:
            if welcome != self._welcome or hello.pid != self.task.process.near.id:
                raise OSError(errno.ESTALE, "another process listens there", self.persistent_path)
        except BaseException:
            await close(stream)
            raise
        old = self._end
        assert old is not None
        # Another handle for the number, which is open all the time.
        end = old.for_task(self.task)
        monitor = self.monitor
        assert isinstance(monitor, FarMonitor)
        monitor.side.private.add(end)
        self.task.infrastructure_fds += (end,)
        self._end = end
        self._sysif.set_new_conn(_make_connection(end, stream, hello))
        self.task.infrastructure_fds = tuple(fd for fd in self.task.infrastructure_fds if fd is not old)
        await old.invalidate()

    async def disconnect(self) -> None:
        """End the connection: the process waits for the next program. It is done even when cancelled.

        If nothing is allocated there any more for this thread, its memory is unmapped. While the process is
        blocked, it is waited for up to a second, and its memory stays.
        """
        with trio.CancelScope(shield=True):
            if self._sysif is not None and self._sysif.connected:
                self._sysif.check_owner()
                await self._unmap()
            await self.task.sysif.close_interface()

    async def _unmap(self) -> None:
        """Unmap what was mapped for this thread, if none of it is used. It may end the connection."""
        allocator = self.ram.allocator
        if not isinstance(allocator, AllocatorClient):
            return
        unmapping = trio.CancelScope()

        async def unmap() -> None:
            # ValueError: some is used.
            with contextlib.suppress(OSError, SyscallError, ValueError):
                await allocator.allocator.close()
            unmapping.cancel()

        self.epoller.epoll_waiter.release_buffer()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(unmap)
            with unmapping:
                await trio.sleep(_TIME_TO_UNMAP)
                # The calls that are not answered end with it.
                await self.task.sysif.close_interface()

    async def end(self) -> None:
        """End the process, its children that have not left it, and remove its socket. Done even when
        cancelled.

        Raises:
            SyscallError: the connection is lost, and the process is no child of this program.
        """
        if self._sysif is not None:
            self._sysif.keep_no_calls()
        with trio.CancelScope(shield=True):
            try:
                with contextlib.suppress(OSError):
                    await self.task.unlink(await self.ram.ptr(self.persistent_path))
                await self.exit()
            except SyscallError:
                if self.process is None:
                    raise
                async with self.process:
                    pass
            finally:
                await self.task.sysif.close_interface()
            if self.process is not None:
                await self.process.waitpid(W.EXITED)

    # ---- what it holds

    async def descriptors(self) -> list[int]:
        """The numbers of its open descriptors which have no handle in this program.

        They are what earlier programs have left, and what they had made for themselves. No other task should
        use the thread meanwhile: what that opens just now may be among them.

        Raises:
            OSError: /proc is not mounted there.
        """
        numbers = await self._list_descriptors()
        # So that tasks which have just got one can make a handle of it.
        await trio.lowlevel.checkpoint()
        known = self.task.fd_table.near_to_handles
        return [number for number in numbers if near.FileDescriptor(number) not in known]

    async def _list_descriptors(self) -> list[int]:
        numbers: list[int] = []
        path = await self.ram.ptr(Path("/proc/self/fd"))
        async with await self.task.open(path, O.RDONLY | O.DIRECTORY | O.CLOEXEC) as directory:
            own = int(directory.near)
            while len(numbers) < _MAX_LISTING // 32:
                valid, _ = await directory.getdents(await self.ram.malloc(DirentList, 1 << 15))
                if not valid.size():
                    break
                names = [entry.name for entry in await valid.read()]
                numbers += [int(name) for name in names if name.isdecimal() and len(name) < 10]
        return sorted({number for number in numbers if number != own})

    async def adopt_descriptor(self, number: int) -> FileDescriptor:
        """A handle for a descriptor that an earlier program has left.

        Raises:
            ValueError: this program has a handle for it, or has made it for itself.
            OSError: EBADF, it is not open.
        """
        if near.FileDescriptor(number) in self.task.fd_table.near_to_handles:
            raise ValueError(
                f"descriptor {number} of {self} was not left by an earlier program: it is in use"
            )
        await self.task.sysif.syscall(nr.fcntl, number, F.GETFD)
        return self.task.make_fd_handle(near.FileDescriptor(number))

    async def close_unadopted(self) -> None:
        """Close all that `descriptors` lists.

        That ends children which an earlier program drove, and which execute no program: adopt before what
        has to stay. It need not close what the library had made there for a thread of a program that has
        ended, or has dropped the thread, an epoll instance and three sockets: the process does, when the next
        program connects. Threads that are not connected now, of whatever program, cannot be used again.
        """
        numbers = await self.descriptors()
        if self._kits is not None:
            # Other files may get these numbers.
            for index in set(range(KITS)) - {self._kits.own}:
                await self.task.sysif.write_memory(self._kits.address(index), NO_KIT)
        await self.task.sysif.syscalls([Syscall(nr.close, number) for number in numbers])

    async def children(self) -> list[int]:
        """The process ids of its children, also those that have exited and have not been reaped.

        Raises:
            OSError: /proc is not mounted there, or the kernel has no lists of children.

        manpage: proc_pid_task(5)
        """
        path = await self.ram.ptr(Path("/proc/thread-self/children"))
        async with await self.task.open(path, O.RDONLY | O.CLOEXEC) as file:
            data = await self._read(file, _MAX_LISTING)
        return [int(word) for word in data.split() if word.isdigit() and len(word) < 10]

    @trio.lowlevel.enable_ki_protection
    async def adopt_child(self, pid: int) -> AsyncChildProcess:
        """A child that an earlier program has made, to be waited for and signalled.

        Raises:
            ChildProcessError: it is no child of this process, or has been reaped.
        """
        known = self._children.get(pid)
        if known is not None:
            return known
        if pid not in await self.children():
            raise ChildProcessError(errno.ECHILD, f"{pid} is no child of {self}")
        monitor = self.monitor
        assert isinstance(monitor, FarMonitor)
        adopted = await monitor.side.adopt(monitor, ChildProcess(self.task, near.Process(pid)))
        self._children[pid] = adopted
        return adopted

    # ---- the store

    async def read_store(self) -> bytes:
        """What was last written to the store of the process; nothing in the beginning.

        Raises:
            OSError: also EFBIG, it is larger than it can be.
        """
        store = self._store_fd()
        await store.lseek(0, SEEK.SET)
        data = await self._read(store, MAX_STORE + 1)
        if len(data) > MAX_STORE:
            raise OSError(errno.EFBIG, f"the store of {self} has more than {MAX_STORE} bytes")
        return data

    async def write_store(self, data: bytes) -> None:
        """Replace what is in the store, for the next program to read: what to make of all that is there.

        It has either the old or the new content, whenever this program is killed.

        Args:
            data: `MAX_STORE` bytes at most.
        """
        if len(data) > MAX_STORE:
            raise ValueError(f"the store takes {MAX_STORE} bytes, and not {len(data)}")
        store = self._store_fd()
        name = await self.ram.ptr("rsyscall-store")
        async with await self.task.memfd_create(name, MFD.CLOEXEC) as file:
            rest: Pointer[Any] = await self.ram.ptr(data)
            while rest.size():
                _, rest = await file.write(rest)
            await self.task.sysif.syscall(nr.dup3, file.near, store.near, O.CLOEXEC)

    def _store_fd(self) -> FileDescriptor:
        if self._store is None:
            raise OSError(errno.ENOSYS, f"{self} has no store: memory files were denied to it")
        return self._store

    async def _read(self, file: FileDescriptor, most: int) -> bytes:
        """Read a file up to its end, or until there are `most` bytes."""
        pieces: list[bytes] = []
        count = 0
        while count < most:
            valid, _ = await file.read(await self.ram.malloc(bytes, min(1 << 16, most - count)))
            if not valid.size():
                break
            pieces.append(await valid.read())
            count += len(pieces[-1])
        return b"".join(pieces)


# ---- making one


@trio.lowlevel.enable_ki_protection
async def clone_persistent(parent: Thread, path: StrPath) -> PersistentThread:
    """Make a process that can be made persistent: a child of `parent`, with memory of its own.

    At first it ends with its parent, as other children do: see `PersistentThread.make_persistent`. It has
    copies of those descriptors of the parent that programs inherit.

    Args:
        parent: of the process.
        path: of the socket where it will listen. There must be nothing; remove what a process that was
            killed has left, which refuses connections. In a directory where others cannot rename files.

    Raises:
        OSError: EADDRINUSE, there is such a file; as clone(2), execve(2), bind(2).
        SyscallError: the process was lost.
    """
    where = await absolute(parent, Path(path))
    program = await stub_descriptor(parent, parent.monitor.hub)
    listening = await bind(parent, where)
    stream: AsyncFileDescriptor | None = None
    process: AsyncChildProcess | None = None
    try:
        [(stream, theirs)] = await parent.open_async_channels(1)
        try:
            child = await parent.clone()
            process = child.process
            own = [child.inherit_fd(fd) for fd in (theirs, listening)]
            for fd in own:
                await fd.fcntl(F.SETFD, FD(0))
            numbers = [str(int(fd.near)) for fd in own]
            # A handle that is dropped is closed, with the next calls.
            executed = child.inherit_fd(program)
            image = Path(f"/proc/self/fd/{int(executed.near)}")
            await child.exec(Command(image, [NAME, "persist", *numbers], {}))
        finally:
            with trio.CancelScope(shield=True):
                await theirs.invalidate()
                await listening.invalidate()
        thread = _make_thread(parent, where, stream, *await receive(stream, where, EQUIP))
        # Otherwise it would be called as the number of the descriptor.
        await thread.task.sysif.syscall(nr.prctl, PR.SET_NAME, (await thread.ram.ptr(NAME)).near)
    except BaseException:
        with trio.CancelScope(shield=True):
            if process is not None:
                await end_process(process)
            if stream is not None:
                await close(stream)
            with contextlib.suppress(OSError, SyscallError):
                await parent.task.unlink(await parent.ram.ptr(where))
        raise
    thread.process = process
    return thread


@trio.lowlevel.enable_ki_protection
async def connect_persistent(thread: Thread, path: StrPath, take_over: bool = False) -> PersistentThread:
    """Drive a process that another program has made, and that listens at `path`.

    Args:
        thread: makes the connection.
        path: of the socket, in its root directory.
        take_over: also from another program that drives it now.

    Raises:
        FileNotFoundError: there is no such socket.
        ConnectionRefusedError: the process has ended, and left the file.
        OSError: EBUSY, another program drives it; EPROTO, it is something else; EUSERS, there are 256 threads
            which may still be connected again, as programs that go on have not dropped them; as connect(2).
        SyscallError: it was lost.

    It takes until a call has returned that blocks the process: use `trio.fail_after`.
    """
    where = await absolute(thread, Path(path))
    flags = EQUIP | (TAKE_OVER if take_over else 0)
    life = await thread.socketpair(AF.UNIX, SOCK.STREAM | SOCK.CLOEXEC)
    try:
        try:
            stream, said, hello = await connect(thread, where, flags, life=life.second)
        finally:
            with trio.CancelScope(shield=True), contextlib.suppress(SyscallError):
                await life.second.invalidate()
        try:
            made = _make_thread(thread, where, stream, said, hello)
        except BaseException:
            await close(stream)
            raise
    except BaseException:
        with trio.CancelScope(shield=True), contextlib.suppress(SyscallError):
            await life.first.invalidate()
        raise
    made._life = life.first
    return made


def _make_connection(end: FileDescriptor, stream: AsyncFileDescriptor, hello: Hello) -> SyscallConnection:
    connection = SyscallConnection(logger, stream, stream, end, end)
    connection.abi = hello.abi
    return connection


def _make_thread(
    reaching: Thread, path: Path, stream: AsyncFileDescriptor, said: Said, hello: Hello
) -> PersistentThread:
    """Make the thread of a process that has let us in."""
    welcome, made, kits = said
    task = make_far_task(hello)
    end = task.make_fd_handle(near.FileDescriptor(hello.infd))
    sysif = PersistentSyscallConnection(_make_connection(end, stream, hello))
    task.sysif = reaching.task.sysif.wrap_child(sysif, f"persistent process {hello.pid}")
    listening, door, activity, *store = (
        task.make_fd_handle(near.FileDescriptor(number)) for number in welcome if number >= 0
    )
    epfd, access, passing, *life = (
        task.make_fd_handle(near.FileDescriptor(number)) for number in made if number >= 0
    )
    sysif.activity_fd = activity

    def connect(ram: RAM) -> tuple[Epoller, FDPassConnection]:
        epoller = Epoller.make_prepared(ram, epfd, activity)
        return epoller, FDPassConnection(task, ram, epoller, access, task, ram, passing)

    own = [end, listening, door, activity, *store, *life]
    thread = PersistentThread(
        make_equipped_thread(Thread, reaching, task, hello, own, connect), path, listening
    )
    thread._sysif, thread._welcome, thread._end = sysif, welcome, end
    thread._store = store[0] if store else None
    thread._kits = kits
    # If the thread is dropped and its task is not yet, handles of the thread alone would be closed there: the
    # process needs its own, and closes itself what it has made for us.
    task.infrastructure_fds += (epfd, access, passing, thread.stdin, thread.stdout, thread.stderr)
    return thread
