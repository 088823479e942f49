"""Threads in the place of programs that others execute.

A `StubServer` puts an executable file somewhere, under any name. Whatever executes that, a mail server or a
shell in a pipeline, gets a process that connects to the server, which makes a `Thread` of it: with the
arguments, environment, descriptors, working directory and signal mask that it was executed with. What it does
is up to us, and its exit status is what `thread.exit` says. It may also execute a real program.

The file is a copy of `rsyscall-stub` in which the path of a socket is written. It is no script: nothing
quotes or interprets paths and arguments.

**Who may connect.** Processes of the effective user of the server alone: the socket has mode 0600, and the
kernel tells whose the process at the other end is (SO_PEERCRED in unix(7)). What they send is not trusted.

**Ends.** The process is killed when the thread is closed or dropped and when this program ends, killed or
not. Where no program listens, the file says so on its standard error and exits with status 69
(EX_UNAVAILABLE).
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import trio

from rsyscall.background import start_background
from rsyscall.closing import ClosedAtEnd
from rsyscall.epoller import AsyncFileDescriptor
from rsyscall.exec_image import exec_after, make_image
from rsyscall.far import FDTableMismatchError
from rsyscall.fcntl import O
from rsyscall.near import SyscallError
from rsyscall.path import Path
from rsyscall.stub_program import stub_bytes
from rsyscall.sys.socket import SOCK
from rsyscall.sys.stat import Stat
from rsyscall.sys.utsname import Utsname
from rsyscall.tasks._listening import MAX_PATH, absolute, bind, peer
from rsyscall.tasks._received import Offer, PeerError, ReceivedThread, close_all
from rsyscall.thread import Thread

if TYPE_CHECKING:
    from rsyscall.command import Command
    from rsyscall.handle import FileDescriptor

__all__ = ["StubServer", "StubThread"]

logger: logging.Logger = logging.getLogger(__name__)

# Of processes that have connected and are not accepted yet, if the sysctl net.core.somaxconn permits; others
# wait.
_BACKLOG = 4096
# How long a process that has connected may take to greet, in seconds.
_TIME_TO_GREET = 30.0
# How long a task that accepts waits for a process to greet before it looks for the next one, in seconds.
_PATIENCE = 0.05
# How many processes may be about to greet at a time: each takes some descriptors of ours.
_MOST_GREETING = 64
# How long each of them may take when there is no room for others, in seconds.
_TIME_WITHOUT_ROOM = 1.0
_MARK = b"RSYSCALL ADDRESS"


class StubThread(ReceivedThread):
    """A process that another program has executed. As an async context manager it is closed in the end.

    It is no child of ours: `exit` gives the program that waits for it a status. When it is closed or lost
    before, that program sees it killed by SIGKILL.
    """

    async def exec(self, command: Command) -> None:
        """Execute a command in this process, which is out of our hands then.

        It gets the descriptors, the working directory and the signal mask that the process has.

        Raises:
            OSError: it could not be executed, and the thread stays usable; filename is the path.
            SyscallError: the process has gone.

        manpage: execve(2)
        """
        await exec_after(self.task, [], await make_image(self, command), command)


@dataclass(eq=False)
class _Greeting:
    """A process that has connected, until it has greeted or is refused."""

    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ended: trio.Event = field(default_factory=trio.Event)
    # Why it could not be accepted, for the task that waits; None when it is gone.
    error: Exception | None = None
    awaited: bool = True
    since: float = field(default_factory=trio.current_time)


@dataclass
class StubServer(ClosedAtEnd):
    """Accepts processes that execute the stub. As an async context manager it is closed in the end.

    Attributes:
        listening_sock: where they connect.
        thread: has that socket.
    """

    listening_sock: AsyncFileDescriptor
    thread: Thread
    # What it has made, the file of the socket last.
    _files: tuple[Path, ...] = field(default=(), repr=False)
    _socket: tuple[int, int] | None = field(default=None, repr=False)
    # Of processes that have greeted, and that no task has taken yet.
    _ready: deque[tuple[list[str], StubThread]] = field(default_factory=deque, init=False, repr=False)
    _greetings: set[_Greeting] = field(default_factory=set, init=False, repr=False)
    _room: trio.Semaphore = field(
        default_factory=partial(trio.Semaphore, _MOST_GREETING), init=False, repr=False
    )
    # Of tasks that wait for a connection: cancelled when there is something else for them.
    _waiting: list[trio.CancelScope] = field(default_factory=list, init=False, repr=False)

    @classmethod
    async def listen_on(cls, thread: Thread, path: Path) -> StubServer:
        """Listen on a socket at `path`, without making an executable file.

        Raises:
            OSError: also EADDRINUSE, `path` exists.

        manpage: unix(7)
        """
        sock = await _listen(thread, path)
        return cls(sock, thread, (path,), await _identity(thread, path))

    @classmethod
    async def make(cls, thread: Thread, dir: Path, name: str) -> StubServer:
        """Make the executable file `name` in a directory, and the socket `name`.sock beside it.

        What an earlier server has left there, or one that still listens, is replaced.

        Args:
            thread: makes them, and accepts processes.
            dir: exists, on a file system on which programs can be executed. Users who can write to it can
                take the place of this program.
            name: of the file. Links to it work, too.

        Raises:
            ValueError: this is no name of a file.
            FileNotFoundError: there is no directory; or no program for the architecture of `thread`.
            OSError: see open(2), bind(2), rename(2).
        """
        if not name or name in (".", "..") or "/" in name or "\0" in name:
            raise ValueError(f"name: expected that of a file in {dir}, not {name!r}")
        directory = await absolute(thread, dir)
        machine = await (await thread.task.uname(await thread.ram.malloc(Utsname))).read()
        program, socket = Path(directory / name), Path(directory / f"{name}.sock")
        image = _with_address(stub_bytes(machine.machine), os.fsencode(socket))
        token = secrets.token_hex(4)
        # In the same directory: renamed, they replace what is there in one go.
        fresh = Path(directory / f".{token}"), Path(directory / f".{token}.sock")
        made = list(fresh)
        listening: AsyncFileDescriptor | None = None
        try:
            listening = await _listen(thread, fresh[1])
            await _write_program(thread, fresh[0], image)
            identity = await _identity(thread, fresh[1])
            await _rename(thread, fresh[1], socket)
            made.append(socket)
            await _rename(thread, fresh[0], program)
        except BaseException:
            with trio.CancelScope(shield=True):
                await _remove(thread, made)
                if listening is not None:
                    await listening.close()
            raise
        return cls(listening, thread, (program, socket), identity)

    # A process that has connected must not get lost because of a KeyboardInterrupt.
    @trio.lowlevel.enable_ki_protection
    async def accept(self, thread: Thread | None = None) -> tuple[list[str], StubThread]:
        """Wait until a process executes the stub, and make a thread of it.

        Any number of tasks may do that at once. A process of another user is closed and logged, and so is one
        that does not greet within 30 seconds; within one second while there are many of them and others wait.

        Args:
            thread: reaches processes that connect now; one that shares the table of `self.thread`, which is
                the default.

        Returns:
            The arguments, of which the first is the name under which it was executed; and the thread.

        Raises:
            OSError: as accept(2), socketpair(2).
            FDTableMismatchError: `thread` has another table.

        Cancellation: a process that is about to greet waits for the next call in this `trio.run`, or for
        `close`.
        """
        reaching = self.thread if thread is None else thread
        if reaching.task.fd_table is not self.thread.task.fd_table:
            raise FDTableMismatchError(f"{reaching} has another table than {self.thread}, which accepts")
        try:
            while not self._ready:
                greeting = await self._next(reaching)
                if greeting is None:
                    continue
                try:
                    with trio.move_on_after(_PATIENCE):
                        await greeting.ended.wait()
                finally:
                    greeting.awaited = False
                if greeting.error is not None:
                    raise greeting.error
            return self._ready.popleft()
        finally:
            if self._ready:
                self._wake()

    async def _next(self, reaching: Thread) -> _Greeting | None:
        """The next process that connects. None if another one has greeted meanwhile."""
        await self._find_room()
        greeting: _Greeting | None = None
        try:
            with trio.CancelScope() as scope:
                self._waiting.append(scope)
                try:
                    if not self._ready:
                        sock = await self.listening_sock.accept(SOCK.CLOEXEC)
                        greeting = _Greeting()
                        self._greetings.add(greeting)
                        body = partial(self._greet, greeting, sock, reaching)
                        start_background(body, f"a process greets {self}")
                finally:
                    self._waiting.remove(scope)
        finally:
            if greeting is None:
                self._room.release()
        return greeting

    async def _find_room(self) -> None:
        """Wait until one more may greet, at the cost of the one that has not done so for longest."""
        while True:
            slow = [each for each in self._greetings if each.scope.deadline > trio.current_time()]
            if not slow:
                await self._room.acquire()
                return
            oldest = min(slow, key=lambda each: each.since)
            with trio.move_on_at(oldest.since + _TIME_WITHOUT_ROOM):
                await self._room.acquire()
                return
            # This program may have been busy, and not have looked at what they said.
            with trio.move_on_after(_PATIENCE):
                await self._room.acquire()
                return
            oldest.scope.deadline = trio.current_time()

    def _wake(self) -> None:
        """Have a task that waits for a connection look at what is ready."""
        for scope in self._waiting:
            if not scope.cancel_called:
                scope.cancel()
                break

    async def _greet(self, greeting: _Greeting, sock: FileDescriptor, reaching: Thread) -> None:
        """Make a thread of a process that has connected, in the background."""
        try:
            with greeting.scope:
                greeting.scope.deadline = greeting.since + _TIME_TO_GREET
                who = await peer(self.thread.ram, sock)
                if who.uid != await self.thread.task.geteuid():
                    logger.warning("%s: refused process %d of user %d", self, who.pid, who.uid)
                else:
                    self._ready.append(await _setup_stub(reaching, sock.move(reaching.task)))
                    self._wake()
            if greeting.scope.cancelled_caught and greeting.scope.deadline <= trio.current_time():
                logger.warning("%s: refused a process: it did not greet", self)
        except PeerError as error:
            logger.warning("%s: refused a process: %s", self, error)
        except Exception as error:
            if greeting.awaited:
                greeting.error = error
            else:
                logger.warning("%s: lost a process: %s", self, error)
        finally:
            if sock.valid:
                await close_all([sock])
            self._greetings.discard(greeting)
            self._room.release()
            greeting.ended.set()

    async def close(self) -> None:
        """Listen no more, and remove the files, unless another server has replaced them.

        Processes that have connected and were not accepted are killed. Threads that `accept` has returned
        stay. It is done even when cancelled.
        """
        with trio.CancelScope(shield=True):
            # Before it is closed: until then no other file gets its number.
            ours = await _identity(self.thread, self._files[-1]) if self._files else None
            await self.listening_sock.close()
            if ours == self._socket:
                await _remove(self.thread, self._files)
            for greeting in list(self._greetings):
                greeting.scope.cancel()
                await greeting.ended.wait()
            while self._ready:
                await self._ready.popleft()[1].close()


@trio.lowlevel.enable_ki_protection
async def _setup_stub(thread: Thread, bootstrap_sock: FileDescriptor) -> tuple[list[str], StubThread]:
    """Make a thread of the process at the other end of this socket of `thread`, which is closed.

    Raises:
        PeerError: it is no such process; or it is gone.
    """
    offer: Offer | None = None
    try:
        offer = await Offer.make(thread)
        try:
            await offer.send(bootstrap_sock)
        except OSError as error:
            raise PeerError(f"the process does not receive: {error}") from error
        arguments, hello, fds = await offer.receive()
        made = await offer.make_thread(StubThread, hello, fds)
    except BaseException:
        if bootstrap_sock.valid:
            await close_all([bootstrap_sock])
        if offer is not None:
            await offer.close()
        raise
    return [os.fsdecode(argument) for argument in arguments], made


async def _listen(thread: Thread, path: Path) -> AsyncFileDescriptor:
    sock = await bind(thread, path)
    try:
        await sock.listen(_BACKLOG)
        return await thread.make_afd(sock)
    except BaseException:
        with trio.CancelScope(shield=True):
            await _remove(thread, [path])
            await sock.invalidate()
        raise


def _with_address(program: bytes, path: bytes) -> bytes:
    """A copy of the program that connects to this path: see `struct rsys_stamp`."""
    if len(path) > MAX_PATH:
        raise ValueError(f"the path of the socket has {len(path)} bytes, and {MAX_PATH} are possible")
    before, mark, after = program.partition(_MARK)
    assert mark
    assert _MARK not in after
    where = len(program).to_bytes(8, "little")
    return before + mark + where + after[len(where) :] + path + b"\0"


async def _write_program(thread: Thread, path: Path, image: bytes) -> None:
    flags = O.WRONLY | O.CREAT | O.EXCL | O.CLOEXEC
    fd = await thread.task.open(await thread.ram.ptr(path), flags, 0o700)
    async with fd:
        # Whatever the umask.
        await fd.fchmod(0o700)
        await thread.spit(fd, image)


async def _rename(thread: Thread, old: Path, new: Path) -> None:
    await thread.task.rename(await thread.ram.ptr(old), await thread.ram.ptr(new))


async def _identity(thread: Thread, path: Path) -> tuple[int, int] | None:
    """The device and number of a file; None if there is none. manpage: stat(2)."""
    try:
        found = await (
            await thread.task.lstat(await thread.ram.ptr(path), await thread.ram.malloc(Stat))
        ).read()
    except (OSError, SyscallError):
        return None
    return found.dev, found.ino


async def _remove(thread: Thread, paths: tuple[Path, ...] | list[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError, SyscallError):
            await thread.task.unlink(await thread.ram.ptr(path))
