"""The descriptors of a command that `Thread.run` starts: what it gets, and our ends of its pipes."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from enum import IntEnum
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, cast

import trio

from rsyscall.command import Command
from rsyscall.epoller import AsyncFileDescriptor
from rsyscall.far import FDTableMismatchError
from rsyscall.fcntl import F, O
from rsyscall.handle import FileDescriptor
from rsyscall.launch import SpawningThread
from rsyscall.native.fast import OwnedPipe
from rsyscall.near import Syscall, SyscallError, nr
from rsyscall.near import types as near
from rsyscall.pump import Collector, End, Feed, LocalEnd, RemoteEnd, Sink, feed, pump_out
from rsyscall.relay import Relay
from rsyscall.sched import CLONE
from rsyscall.spawn import PreparedThread
from rsyscall.sys.ioctl import TIOC

if TYPE_CHECKING:
    from rsyscall.id_maps import IdMaps
    from rsyscall.monitor import AsyncChildProcess
    from rsyscall.pty import Pty
    from rsyscall.unistd import Pipe

__all__ = [
    "ClonedThread",
    "ErrorOutput",
    "Files",
    "HasFileno",
    "Input",
    "Output",
    "Pump",
    "RunningThread",
    "Stdio",
]


class Stdio(IntEnum):
    """What a standard descriptor of a command can be, besides a file; `subprocess` has the same numbers."""

    PIPE = -1
    STDOUT = -2
    DEVNULL = -3


# An attribute of an enumeration is looked up by Python code.
_PIPE, _STDOUT, _DEVNULL = Stdio


class HasFileno(Protocol):
    """A file of Python."""

    def fileno(self) -> int:
        """The number of its descriptor."""
        ...


File = FileDescriptor | AsyncFileDescriptor | HasFileno | str | os.PathLike[str]
Input = File | bytes | bytearray | memoryview | Feed | Literal[Stdio.PIPE, Stdio.DEVNULL] | None
Output = File | Sink | Literal[Stdio.PIPE, Stdio.DEVNULL] | None
ErrorOutput = Output | Literal[Stdio.STDOUT]


class RunningThread(SpawningThread, Protocol):
    """The parts of a thread that are needed to run a command."""

    async def pipe(self, flags: O = ...) -> Pipe[FileDescriptor]:
        """Make a pipe."""
        ...

    async def make_afd(self, fd: FileDescriptor, set_nonblock: bool = ...) -> AsyncFileDescriptor:
        """Make a descriptor usable without blocking the process."""
        ...

    async def read_to_eof(self, fd: FileDescriptor) -> bytes:
        """Read up to the end of the file."""
        ...

    def prepare(self, flags: CLONE = ...) -> PreparedThread:
        """Begin to describe a child."""
        ...

    async def clone(self, flags: CLONE = ..., *, id_maps: IdMaps | None = ...) -> ClonedThread:
        """Make a child."""
        ...


class ClonedThread(RunningThread, Protocol):
    """A child that can execute a program."""

    @property
    def process(self) -> AsyncChildProcess:
        """The child."""
        ...

    async def exec(self, command: Command) -> AsyncChildProcess:
        """Execute a command."""
        ...


# ---- the descriptors of the command ----


class Pump(NamedTuple):
    """What a task has to move between us and the command.

    Attributes:
        name: "stdin", "stdout" or "stderr", or "pipes".
        body: moves the bytes.
        scope: of the task that moves them.
    """

    name: str
    body: Callable[[], Awaitable[None]]
    scope: trio.CancelScope


class Files:
    """The descriptors of a command, and our ends of its pipes.

    Attributes:
        placed: numbers that the command shall have, and what shall be there: handles, files of our own table,
            or pipes.
        pumps: one per pipe that is not left to `relay`.
        relay: in our own process, moves the input and the captured output.
        captured: by name, the output that is captured.
        given: ends of pipes for the caller.
    """

    def __init__(
        self, thread: RunningThread, limit: int | None, on_limit: Callable[[str], None] | None
    ) -> None:
        self.thread = thread
        self.placed: dict[int, FileDescriptor | HasFileno | OwnedPipe] = {}
        self.pumps: list[Pump] = []
        self.relay: Relay = Relay()
        self.captured: dict[str, Collector] = {}
        self.given: dict[str, AsyncFileDescriptor] = {}
        self.error_is_output: bool = False
        self._immediate = thread.task.sysif.immediate
        self._limit = limit
        self._on_limit = on_limit
        # Closed when the command runs, and when all is over.
        self._theirs: list[FileDescriptor] = []
        self._terminal: FileDescriptor | None = None
        self._pipes: list[OwnedPipe] = []
        self._ends: list[RemoteEnd] = []
        # Captured by a task.
        self._rests: list[tuple[End, Collector]] = []

    async def _open(self, path: str | os.PathLike[str], flags: O) -> FileDescriptor:
        fd = await self.thread.task.open(await self.thread.ram.ptr(os.fspath(path)), flags, 0o666)
        self._theirs.append(fd)
        return fd

    async def _pipe(self, theirs_reads: bool) -> FileDescriptor:
        """Make a pipe; returns our end, non-blocking, and keeps the other one in `_theirs`."""
        pipe = await self.thread.pipe(O.CLOEXEC)
        theirs, ours = (pipe.read, pipe.write) if theirs_reads else (pipe.write, pipe.read)
        self._theirs.append(theirs)
        await ours.fcntl(F.SETFL, O.NONBLOCK)
        return ours

    def _own_pipe(self, number: int) -> OwnedPipe:
        """Make the pipe that becomes this descriptor of the command, in our own process."""
        pipe = OwnedPipe(number != 0)
        self._pipes.append(pipe)
        self.placed[number] = pipe
        return pipe

    async def _end(self, number: int) -> End:
        """Make the pipe that becomes this descriptor of the command; returns our end."""
        if self._immediate:
            return LocalEnd(self._own_pipe(number))
        end = RemoteEnd(await self.thread.make_afd(await self._pipe(number == 0)))
        self.placed[number] = self._theirs[-1]
        self._ends.append(end)
        return end

    async def _file(self, name: str, value: object, number: int, flags: O) -> bool:
        """Place a file; returns False if `value` is none."""
        if isinstance(value, AsyncFileDescriptor):
            value = value.handle
        if isinstance(value, FileDescriptor):
            self._check_table(name, value)
            self.placed[number] = value
        elif value == _DEVNULL:
            self.placed[number] = await self._open("/dev/null", O.RDWR)
        elif isinstance(value, str | os.PathLike):
            self.placed[number] = await self._open(value, flags)
        elif hasattr(value, "fileno"):
            if not self._immediate:
                raise ValueError(
                    f"{name}: {value!r} is a file of this program, but the command is started by "
                    f"{self.thread.task}; give it a handle of that"
                )
            self.placed[number] = cast("HasFileno", value)
        else:
            return False
        return True

    def _check_table(self, name: str, fd: FileDescriptor) -> None:
        fd._validate()
        table = self.thread.task.fd_table
        if fd.task.fd_table is not table:
            raise FDTableMismatchError(
                f"{name}: {fd} is of another descriptor table than {self.thread.task}, which starts the "
                "command",
                fd.task.fd_table,
                table,
            )

    async def place_terminal(self, pty: Pty) -> None:
        """Open the terminal for the command; what is placed later replaces it."""
        if not hasattr(pty, "open_terminal"):
            raise TypeError(f"terminal: expected a Pty, from Thread.pty(), not {pty!r}")
        self._check_table("terminal", pty.handle)
        self._terminal = await pty.open_terminal()
        self._theirs.append(self._terminal)
        self.placed = dict.fromkeys(range(3), self._terminal)

    def terminal_calls(self, stack: ExitStack) -> list[Syscall]:
        """The calls by which a process leads a session on the terminal.

        Args:
            stack: keeps the terminal open until the calls have been made.
        """
        assert self._terminal is not None
        number = stack.enter_context(self._terminal.borrow(self.thread.task))
        return [Syscall(nr.setsid), Syscall(nr.ioctl, number, TIOC.SCTTY, 0)]

    async def place_input(self, value: object, give: bool) -> None:
        if value is None:
            return
        if value == _PIPE:
            if not give:
                raise ValueError(
                    "stdin=PIPE: no task could write to it; pass bytes or an iterable of them, or start the "
                    "command with nursery.start() and use the stdin of the child"
                )
            ours = await self._pipe(theirs_reads=True)
            self.placed[0] = self._theirs[-1]
            self.given["stdin"] = await self.thread.make_afd(ours)
        elif not isinstance(value, bytes | bytearray | memoryview) and await self._file(
            "stdin", value, 0, O.RDONLY
        ):
            pass
        elif isinstance(value, int | float) or (
            not hasattr(value, "__iter__") and not hasattr(value, "__aiter__")
        ):
            raise TypeError(f"stdin: {_expected('bytes, an iterable of bytes', value)}")
        else:
            if isinstance(value, bytes | bytearray | memoryview) and self._immediate:
                self.relay.feed(self._own_pipe(0), value)
                return
            source = cast("bytes | Feed", value)
            end = await self._end(0)
            self._pump("stdin", lambda: feed(end, source))

    async def place_output(self, name: str, number: int, value: object, give: bool) -> None:
        if value is None:
            return
        if value is _PIPE and not give and self._immediate:
            self._capture_own(name, number)
            return
        if value == _STDOUT:
            if number != 2:
                raise ValueError("stdout=STDOUT: that is for stderr")
            self.error_is_output = True
            return
        if value != _PIPE and await self._file(name, value, number, O.WRONLY | O.CREAT | O.TRUNC):
            return
        if value == _PIPE and give:
            ours = await self._pipe(theirs_reads=False)
            self.placed[number] = self._theirs[-1]
            self.given[name] = await self.thread.make_afd(ours)
            return
        if value == _PIPE:
            if self._immediate:
                self._capture_own(name, number)
            else:
                await self._capture(name, number)
        elif callable(value):
            sink = trio.lowlevel.disable_ki_protection(cast("Sink", value))
            end = await self._end(number)
            self._pump(name, lambda: pump_out(end, None, sink))
        else:
            raise TypeError(f"{name}: {_expected('an async function', value)}")

    def _collector(self, name: str) -> Collector:
        on_limit = self._on_limit
        collector = Collector(self._limit, None if on_limit is None else lambda: on_limit(name))
        self.captured[name] = collector
        return collector

    def _capture_own(self, name: str, number: int) -> None:
        self.relay.collect(self._own_pipe(number), self._collector(name))

    async def _capture(self, name: str, number: int) -> None:
        end = await self._end(number)
        collector = self._collector(name)
        self._rests.append((end, collector))
        self._pump(name, lambda: pump_out(end, collector.take, None))

    def _pump(self, name: str, body: Callable[[], Awaitable[None]]) -> None:
        self.pumps.append(Pump(name, body, trio.CancelScope(shield=True)))

    def pass_on(self, fds: Sequence[FileDescriptor] | Mapping[int, FileDescriptor]) -> None:
        """Place what `pass_fds` says."""
        if not isinstance(fds, Iterable):
            raise TypeError(f"pass_fds: expected handles of descriptors, not {fds!r}")
        numbered = fds.items() if isinstance(fds, Mapping) else [(None, fd) for fd in fds]
        for number, fd in numbered:
            if isinstance(fd, AsyncFileDescriptor):
                fd = fd.handle
            if not isinstance(fd, FileDescriptor):
                raise TypeError(f"pass_fds: expected handles of descriptors, not {fd!r}")
            self._check_table("pass_fds", fd)
            where = int(fd) if number is None else number
            if not isinstance(where, int) or isinstance(where, bool):
                raise TypeError(f"pass_fds: expected the number of a descriptor, not {where!r}")
            if where < 0:
                raise ValueError(f"pass_fds: expected the number of a descriptor, not {where!r}")
            if where in self.placed or (where == 2 and self.error_is_output):
                raise ValueError(f"pass_fds: descriptor {where} of the command has been given another file")
            self.placed[where] = fd

    async def dup_calls(self, stack: ExitStack) -> list[Syscall]:
        """The calls that put everything in its place.

        Args:
            stack: keeps the descriptors open until the calls have been made.
        """
        task = self.thread.task
        moves: dict[int, int] = {}
        for number, file in self.placed.items():
            if isinstance(file, FileDescriptor):
                moves[number] = stack.enter_context(file.borrow(task)).number
            elif isinstance(file, OwnedPipe):
                moves[number] = file.theirs
            else:
                moves[number] = file.fileno()
        if moves and max(moves) < min(moves.values()):
            # As usual: nothing is in the way.
            calls = [Syscall(nr.dup3, source, number) for number, source in moves.items()]
            if self.error_is_output:
                calls.append(Syscall(nr.dup3, 1, 2))
            return calls
        calls = []
        # What is put at a number must not be needed there any more.
        waiting = {number: source for number, source in moves.items() if number != source}
        while waiting:
            sources = {**waiting}
            for number in [n for n in waiting if n not in {s for m, s in sources.items() if m != n}]:
                calls.append(Syscall(nr.dup3, waiting.pop(number), number))
            if waiting and len(waiting) == len(sources):
                # They go round in a circle; a copy of one of them opens it.
                number, source = next(iter(waiting.items()))
                lowest = max([*moves, *moves.values(), 2]) + 1
                copy = await task.sysif.syscall(nr.fcntl, source, F.DUPFD_CLOEXEC, lowest)
                self._theirs.append(task.make_fd_handle(near.FileDescriptor(copy)))
                waiting[number] = copy
        calls += [Syscall(nr.fcntl, n, F.SETFD, 0) for n, source in moves.items() if n == source]
        if self.error_is_output:
            calls.append(Syscall(nr.dup3, 1, 2))
        return calls

    async def take_rest(self) -> None:
        """Take the output that a command left in its pipes when it was ended."""
        try:
            self.relay.move()
        except OSError:
            pass
        for end, collector in self._rests:
            if not collector.truncated:
                try:
                    for _ in range(16):  # a descendant may write for ever
                        data = await end.read_now(1 << 16)
                        if not data:
                            break
                        collector.take(data)
                except (OSError, SyscallError):
                    pass

    def numbers(self) -> list[int]:
        """Of all descriptors that were made for the command, at either end."""
        numbers = [int(fd) for fd in (*self._theirs, *(afd.handle for afd in self.given.values()))]
        for pipe in self._pipes:
            numbers += [number for number in (pipe.theirs, pipe.ours) if number >= 0]
        return numbers + [end.number for end in self._ends]

    async def close_theirs(self) -> None:
        """Close the descriptors that were made for the command."""
        for pipe in self._pipes:
            pipe.close_theirs()
        while self._theirs:
            await self._theirs[-1].invalidate()
            self._theirs.pop()

    def close_pipes(self) -> bool:
        """Close both ends of the pipes in our own process, and return whether nothing is left to `close`."""
        for pipe in self._pipes:
            pipe.close_theirs()
            pipe.close_ours()
        return not self._theirs and not self._ends

    async def close(self) -> None:
        """Close everything that the caller does not have."""
        try:
            await self.close_theirs()
            for end in self._ends:
                await end.close()
        except SyscallError:
            pass  # the process of the thread has gone, and its descriptors with it


def _expected(more: str, value: object) -> str:
    return f"expected a handle, a path, a file, {more}, PIPE or DEVNULL, not {value!r}"
