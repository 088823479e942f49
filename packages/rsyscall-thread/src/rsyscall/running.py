"""Running a command with everything around it: `Thread.run` with options.

A run has four steps.

1. The files and pipes of the command are opened in the process of the thread, and all options checked.
2. A process is prepared (`rsyscall.spawn`), or, where that cannot be, cloned. The calls that put every
   descriptor in its place are noted, then those of the other options, then what `setup` adds.
3. It executes the command. One task per pipe moves bytes (`rsyscall.pump`), and the task of the caller waits
   for the end of the command, and then for the end of its output.
4. If the caller is cancelled, the time is over, a pump fails or there is too much output, the command is
   ended: SIGTERM, and SIGKILL after the grace. All this is shielded from cancellation. The pumps go on
   meanwhile, so that a command that ends properly can say its last words. What a descendant of the command
   holds open is not waited for then.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypedDict, cast

import trio

from rsyscall.command import Command, StrOrBytesPath
from rsyscall.completed import CommandTimeoutError, CompletedCommand, OutputLimitError
from rsyscall.epoller import AsyncFileDescriptor
from rsyscall.far import FDTableMismatchError
from rsyscall.fcntl import FD, F, O
from rsyscall.handle import FileDescriptor
from rsyscall.linux.dirent import DirentList
from rsyscall.near import Syscall, SyscallError, nr
from rsyscall.near import types as near
from rsyscall.path import Path
from rsyscall.pump import Collector, End, Feed, LocalEnd, RemoteEnd, Sink, feed, pump_out
from rsyscall.sched import CLONE
from rsyscall.signal import SIG
from rsyscall.spawn import PreparedThread, SpawningThread, check_strings
from rsyscall.sys.wait import CalledProcessError, ChildState, W
from rsyscall.unistd import Pipe

if TYPE_CHECKING:
    from rsyscall.monitor import AsyncChildProcess
    from rsyscall.spawn import Spawning

__all__ = ["DEVNULL", "GRACE", "PIPE", "STDOUT", "RunOptions", "Stdio", "end_command", "mark_calls", "run"]

GRACE = 5.0
"""How long a command that is to end has between SIGTERM and SIGKILL, in seconds, unless `grace` says it."""


class Stdio(IntEnum):
    """What a standard descriptor of a command can be, besides a file; `subprocess` has the same numbers."""

    PIPE = -1
    STDOUT = -2
    DEVNULL = -3


PIPE: Literal[Stdio.PIPE] = Stdio.PIPE
"""A pipe to the program. See `RunOptions`."""
STDOUT: Literal[Stdio.STDOUT] = Stdio.STDOUT
"""For `stderr`: where `stdout` goes."""
DEVNULL: Literal[Stdio.DEVNULL] = Stdio.DEVNULL
"""/dev/null."""


class HasFileno(Protocol):
    """A file of Python."""

    def fileno(self) -> int:
        """The number of its descriptor."""
        ...


File = FileDescriptor | AsyncFileDescriptor | HasFileno | str | os.PathLike[str]
Input = File | bytes | bytearray | memoryview | Feed | Literal[Stdio.PIPE, Stdio.DEVNULL] | None
Output = File | Sink | Literal[Stdio.PIPE, Stdio.DEVNULL] | None
ErrorOutput = Output | Literal[Stdio.STDOUT]
Setup = Callable[[PreparedThread], Awaitable[object]]


class RunOptions(TypedDict, total=False):
    """The options of `Thread.run`. Where `subprocess.run` or `trio.run_process` has one, it means the same.

    Attributes:
        stdin: what the command reads: bytes; a handle of the thread; a file of Python (in our own process); a
            path, which is opened; DEVNULL; an iterable, also an asynchronous one, of bytes, which is fed to
            the command as it reads; PIPE, with `nursery.start`: a pipe whose other end is `stdin` of the
            child. By default that of the thread.
        stdout: where it writes: a handle, a file of Python, a path, which is created or truncated, DEVNULL;
            an async function, which is awaited with each piece of output; PIPE: the output is captured, or,
            with `nursery.start`, its other end is `stdout` of the child. By default that of the thread.
        stderr: the same for errors; STDOUT: where stdout goes.
        capture: whether to capture stdout and stderr, where nothing else is said about them; the result has
            what came.
        limit: how many bytes of each captured output to keep.
        on_limit: what to do if there are more: "error" (the default): end the command and raise
            OutputLimitError; "truncate": keep the first ones, and let the command go on; "kill": kill the
            command at once, which is no error in itself.
        timeout: in seconds, from the start of the command. When it is over the command is ended, and
            CommandTimeoutError, which is a TimeoutError, is raised. It has the output so far.
        grace: how many seconds a command that is to end has between SIGTERM and SIGKILL.
        cwd: the working directory: a path, or a handle of a directory.
        env: environment variables to set; None as a value unsets one.
        clear_env: whether to begin with an empty environment; what `Command.env` and `env` say is set in it.
        pass_fds: descriptors that the command gets beside 0, 1 and 2: handles, which keep their numbers, or a
            mapping from numbers to handles.
        close_fds: whether all other descriptors are closed, also those that the program made inheritable;
            the default.
        setup: an async function that is awaited with the prepared thread, whose calls are made just before
            the command is executed.
    """

    stdin: Input
    stdout: Output
    stderr: ErrorOutput
    capture: bool
    limit: int | None
    on_limit: Literal["error", "truncate", "kill"]
    timeout: float | None
    grace: float
    cwd: str | os.PathLike[str] | FileDescriptor | None
    env: Mapping[str, StrOrBytesPath | None] | None
    clear_env: bool
    pass_fds: Sequence[FileDescriptor] | Mapping[int, FileDescriptor]
    close_fds: bool
    setup: Setup | None


class RunningThread(SpawningThread, Protocol):
    """The parts of a thread that are needed to run a command."""

    async def pipe(self, flags: O = ...) -> Pipe[FileDescriptor]:
        """Make a pipe."""
        ...

    async def make_afd(self, fd: FileDescriptor, set_nonblock: bool = ...) -> AsyncFileDescriptor:
        """Make a descriptor usable without blocking the process."""
        ...

    def prepare(self, flags: CLONE = ...) -> PreparedThread:
        """Begin to describe a child."""
        ...

    async def clone(self, flags: CLONE = ...) -> ClonedThread:
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


# ---- closing what the command is not to have ----

_LAST = 0x7FFFFFFF
_CLOEXEC_RANGE = 4
# The standard descriptors are not among them.
_MARK = (Syscall(nr.close_range, 3, _LAST, _CLOEXEC_RANGE),)
# Whether our own kernel, and the filter that we are under, let us do that.
_can_mark: bool | None = None


async def mark_calls(thread: SpawningThread) -> Sequence[Syscall]:
    """The calls by which a child marks all descriptors but the standard ones to be closed by exec.

    close_range(2) is one call for all of them. Without it (Linux before 5.11, filters) the thread looks for
    those that exec would keep now, and a descriptor that another OS thread makes later is missed.
    """
    global _can_mark
    ours = thread.task.sysif.immediate
    if _can_mark and ours:
        return _MARK
    try:
        await thread.task.sysif.syscall(nr.close_range, _LAST, _LAST, _CLOEXEC_RANGE)
    except OSError:
        possible = False
    else:
        possible = True
    if ours:
        _can_mark = possible
    if possible:
        return _MARK
    numbers = await _kept_by_exec(thread)
    return [Syscall(nr.fcntl, number, F.SETFD, FD.CLOEXEC) for number in numbers if number > 2]


async def _kept_by_exec(thread: SpawningThread) -> list[int]:
    """The numbers of the descriptors that are not closed by exec, those of /proc permitting."""
    task = thread.task
    directory = await task.open(await thread.ram.ptr(Path("/proc/self/fd")), O.RDONLY | O.DIRECTORY)
    async with directory:
        numbers: list[int] = []
        buf = await thread.ram.malloc(DirentList, 4096)
        while True:
            valid, rest = await directory.getdents(buf)
            if valid.size() == 0:
                break
            numbers += [int(entry.name) for entry in await valid.read() if entry.name.isdigit()]
            buf = valid + rest
        flags = await task.sysif.syscalls([Syscall(nr.fcntl, number, F.GETFD) for number in numbers])
    return [
        number for number, flag in zip(numbers, flags, strict=True) if flag >= 0 and not flag & FD.CLOEXEC
    ]


# ---- the descriptors of the command ----


class _Pump(NamedTuple):
    """One pipe between us and the command.

    Attributes:
        name: "stdin", "stdout" or "stderr".
        end: our end.
        body: moves the bytes.
        collector: of captured output.
        scope: of the task that moves them.
    """

    name: str
    end: End
    body: Callable[[], Awaitable[None]]
    collector: Collector | None
    scope: trio.CancelScope


class _Files:
    """The descriptors of a command, and our ends of its pipes.

    Attributes:
        placed: numbers that the command shall have, and what shall be there: handles, or numbers of our own
            table.
        pumps: one per pipe.
        given: ends of pipes for the caller.
    """

    def __init__(
        self, thread: RunningThread, limit: int | None, on_limit: Callable[[str], None] | None
    ) -> None:
        self.thread = thread
        self.placed: dict[int, FileDescriptor | HasFileno] = {}
        self.pumps: list[_Pump] = []
        self.given: dict[str, AsyncFileDescriptor] = {}
        self.captures = False
        self.error_is_output = False
        self._limit = limit
        self._on_limit = on_limit
        # Closed when the command runs, and when all is over.
        self._theirs: list[FileDescriptor] = []
        self._ends: list[End] = []

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

    async def _end(self, ours: FileDescriptor) -> End:
        end: End
        if self.thread.task.sysif.immediate:
            end = LocalEnd(ours)
        else:
            end = RemoteEnd(await self.thread.make_afd(ours))
        self._ends.append(end)
        return end

    async def _file(self, name: str, value: object, number: int, flags: O) -> bool:
        """Place a file; returns False if `value` is none."""
        if isinstance(value, AsyncFileDescriptor):
            value = value.handle
        if isinstance(value, FileDescriptor):
            self._check_table(name, value)
            self.placed[number] = value
        elif value == Stdio.DEVNULL:
            self.placed[number] = await self._open("/dev/null", O.RDWR)
        elif isinstance(value, str | os.PathLike):
            self.placed[number] = await self._open(value, flags)
        elif hasattr(value, "fileno"):
            if not self.thread.task.sysif.immediate:
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

    async def place_input(self, value: object, give: bool) -> None:
        if value is None:
            return
        if value == Stdio.PIPE:
            if not give:
                raise ValueError(
                    "stdin=PIPE: no task could write to it; give the bytes, or an iterable of them, or start "
                    "it with nursery.start() and use the stdin of the child"
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
            raise TypeError(f"stdin: {_expected(value)}, bytes or an iterable of them")
        else:
            source = cast("bytes | Feed", value)
            end = await self._end(await self._pipe(theirs_reads=True))
            self.placed[0] = self._theirs[-1]
            self.pumps.append(
                _Pump("stdin", end, lambda: feed(end, source), None, trio.CancelScope(shield=True))
            )

    async def place_output(self, name: str, number: int, value: object, give: bool) -> None:
        if value is None:
            return
        if value == Stdio.STDOUT:
            if number != 2:
                raise ValueError("stdout=STDOUT: that is for stderr")
            self.error_is_output = True
            return
        if value != Stdio.PIPE and await self._file(name, value, number, O.WRONLY | O.CREAT | O.TRUNC):
            return
        if value == Stdio.PIPE and give:
            ours = await self._pipe(theirs_reads=False)
            self.placed[number] = self._theirs[-1]
            self.given[name] = await self.thread.make_afd(ours)
            return
        sink: Sink | None = None
        collector = None
        if value == Stdio.PIPE:
            on_limit = self._on_limit
            collector = Collector(self._limit, None if on_limit is None else lambda: on_limit(name))
            self.captures = True
        elif callable(value):
            sink = trio.lowlevel.disable_ki_protection(cast("Sink", value))
        else:
            raise TypeError(f"{name}: {_expected(value)}, or an async function")
        end = await self._end(await self._pipe(theirs_reads=False))
        self.placed[number] = self._theirs[-1]
        take = None if collector is None else collector.take
        self.pumps.append(
            _Pump(name, end, lambda: pump_out(end, take, sink), collector, trio.CancelScope(shield=True))
        )

    def pass_on(self, fds: Sequence[FileDescriptor] | Mapping[int, FileDescriptor]) -> None:
        """Place what `pass_fds` says."""
        numbered = fds.items() if isinstance(fds, Mapping) else [(None, fd) for fd in fds]
        for number, fd in numbered:
            if isinstance(fd, AsyncFileDescriptor):
                fd = fd.handle
            if not isinstance(fd, FileDescriptor):
                raise TypeError(f"pass_fds: expected handles of descriptors, not {fd!r}")
            self._check_table("pass_fds", fd)
            where = int(fd) if number is None else number
            if not isinstance(where, int) or isinstance(where, bool) or where < 0:
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
            else:
                moves[number] = file.fileno()
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

    async def close_theirs(self) -> None:
        """Close the descriptors that were made for the command."""
        while self._theirs:
            await self._theirs[-1].invalidate()
            self._theirs.pop()

    async def close(self) -> None:
        """Close everything that the caller does not have."""
        try:
            await self.close_theirs()
            for end in self._ends:
                await end.close()
        except SyscallError:
            pass  # the process of the thread has gone, and its descriptors with it


def _expected(value: object) -> str:
    return f"expected a handle, a path, a file, PIPE or DEVNULL, not {value!r}"


# ---- ending a command ----


async def end_command(child: AsyncChildProcess, grace: float) -> ChildState:
    """Send SIGTERM, wait for the grace, send SIGKILL, and reap the child; shielded from cancellation.

    Raises:
        PermissionError: we may not signal it.
        ChildProcessError: other code reaped it.
        SyscallError: the process whose child it is has gone.
    """
    with trio.CancelScope(shield=True):
        if grace > 0:
            await child.kill(SIG.TERM)
            with trio.move_on_after(grace):
                return await child.waitpid(W.EXITED)
        await child.kill(SIG.KILL)
        return await child.waitpid(W.EXITED)
    raise AssertionError("this scope is not cancelled")


class _Run:
    """A command that runs, with its pumps."""

    def __init__(self, timeout: float | None, grace: float, on_limit: str) -> None:
        self.timeout = timeout
        self.grace = grace
        self.on_limit = on_limit
        # Cancelled when there is a reason to end the command.
        self.scope = trio.CancelScope()
        self.failure: BaseException | None = None
        self.exceeded: str | None = None

    def exceed(self, stream: str) -> None:
        """There is more output than was allowed."""
        self.exceeded = self.exceeded or stream
        self.scope.cancel()

    async def _pump(self, pump: _Pump) -> None:
        with pump.scope:
            try:
                await pump.body()
            except trio.Cancelled:
                raise
            except BaseException as error:
                # Once the command has been ended, the caller gets it.
                self.failure = self.failure or error
                self.scope.cancel()

    async def supervise(self, child: AsyncChildProcess, pumps: Sequence[_Pump]) -> tuple[ChildState, bool]:
        """Wait for the end of the command and of its output, or end it.

        Returns:
            How it ended, and whether that was because of the timeout.
        """
        if self.timeout is not None:
            self.scope.deadline = trio.current_time() + self.timeout
        if not pumps:
            return await self._until_the_end(child, None)
        async with trio.open_nursery() as nursery:
            try:
                done = trio.Event()
                left = len(pumps)

                async def pump_and_count(pump: _Pump) -> None:
                    nonlocal left
                    await self._pump(pump)
                    left -= 1
                    if not left:
                        done.set()

                for pump in pumps:
                    nursery.start_soon(pump_and_count, pump, name=f"rsyscall: {pump.name} of a command")
                return await self._until_the_end(child, done)
            finally:
                for pump in pumps:
                    pump.scope.cancel()
        raise AssertionError("this nursery is not cancelled")

    async def _until_the_end(
        self, child: AsyncChildProcess, pumped: trio.Event | None
    ) -> tuple[ChildState, bool]:
        try:
            with self.scope:
                state = await child.waitpid(W.EXITED)
                if pumped is not None:
                    await pumped.wait()
                return state, False
        except BaseException:
            await end_command(child, self.grace)
            raise
        now = self.exceeded is not None and self.on_limit == "kill"
        timed_out = self.failure is None and self.exceeded is None
        return await end_command(child, 0 if now else self.grace), timed_out


async def _take_rest(pumps: Sequence[_Pump]) -> None:
    """Take the output that a command left in its pipes when it was ended."""
    for pump in pumps:
        if pump.collector is not None and not pump.collector.truncated:
            try:
                for _ in range(16):  # a descendant may write for ever
                    data = await pump.end.read_now(1 << 16)
                    if not data:
                        break
                    pump.collector.take(data)
            except (OSError, SyscallError):
                pass


def _check_number(name: str, value: object, lowest: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= lowest:
        raise ValueError(f"{name}: expected a number of at least {lowest}, not {value!r}")


def changed_command(
    command: Command, env: Mapping[str, StrOrBytesPath | None] | None, clear_env: bool
) -> Command:
    """The command with the environment that the options say."""
    if clear_env:
        command = command.clear_env().env(command.env_updates)
    if env:
        command = command.unset(*(name for name, value in env.items() if value is None))
        command = command.env({name: value for name, value in env.items() if value is not None})
    return command


async def _note_cwd(child: PreparedThread, stack: ExitStack, cwd: object, thread: RunningThread) -> None:
    if isinstance(cwd, FileDescriptor):
        number = stack.enter_context(cwd.borrow(thread.task))
        await child.task.sysif.syscall(nr.fchdir, number)
    elif isinstance(cwd, str | os.PathLike):
        await child.task.chdir(await child.ptr(os.fspath(cwd)))
    else:
        raise TypeError(f"cwd: expected a path or the handle of a directory, not {cwd!r}")


@trio.lowlevel.enable_ki_protection
async def run(
    thread: RunningThread,
    command: Command,
    check: bool,
    task_status: trio.TaskStatus[AsyncChildProcess],
    *,
    stdin: Input = None,
    stdout: Output = None,
    stderr: ErrorOutput = None,
    capture: bool = False,
    limit: int | None = None,
    on_limit: Literal["error", "truncate", "kill"] = "error",
    timeout: float | None = None,
    grace: float = GRACE,
    cwd: str | os.PathLike[str] | FileDescriptor | None = None,
    env: Mapping[str, StrOrBytesPath | None] | None = None,
    clear_env: bool = False,
    pass_fds: Sequence[FileDescriptor] | Mapping[int, FileDescriptor] = (),
    close_fds: bool = True,
    setup: Setup | None = None,
) -> CompletedCommand:
    """Run a command: `Thread.run`, which describes the options in `RunOptions`."""
    if timeout is not None:
        _check_number("timeout", timeout, 0)
    _check_number("grace", grace, 0)
    if on_limit not in ("error", "truncate", "kill"):
        raise ValueError(f'on_limit: expected "error", "truncate" or "kill", not {on_limit!r}')
    if capture:
        stdout = Stdio.PIPE if stdout is None else stdout
        stderr = Stdio.PIPE if stderr is None else stderr
    command = changed_command(command, env, clear_env)
    check_strings(command)
    running = _Run(timeout, grace, on_limit)
    give = task_status is not trio.TASK_STATUS_IGNORED and not capture
    files = _Files(thread, limit, running.exceed if on_limit != "truncate" else None)
    try:
        await files.place_input(stdin, task_status is not trio.TASK_STATUS_IGNORED)
        await files.place_output("stdout", 1, stdout, give)
        await files.place_output("stderr", 2, stderr, give)
        if limit is not None:
            _check_number("limit", limit, 0)
            if not files.captures:
                raise ValueError("limit: it is for captured output, and none is captured")
        if pass_fds:
            files.pass_on(pass_fds)
        with ExitStack() as stack:
            calls = [*(await mark_calls(thread) if close_fds else ()), *await files.dup_calls(stack)]
            child, spawning = await _start(thread, command, calls, cwd, setup, stack)
        await files.close_theirs()
        if spawning is not None and give:
            await spawning.wait_or_kill()
        if task_status is not trio.TASK_STATUS_IGNORED:
            child.stdin, child.stdout, child.stderr = map(files.given.get, ("stdin", "stdout", "stderr"))
            task_status.started(child)
        try:
            state, timed_out = await running.supervise(child, files.pumps)
        finally:
            # A process that could not execute the command exits; that is not news about the command.
            if spawning is not None and spawning.error is not None:
                raise spawning.error
        if running.scope.cancelled_caught:
            await _take_rest(files.pumps)
    finally:
        with trio.CancelScope(shield=True):
            await files.close()
    if running.failure is not None:
        raise running.failure
    output: dict[str, Any] = {
        pump.name: pump.collector.value() for pump in files.pumps if pump.collector is not None
    }
    truncated = any(pump.collector is not None and pump.collector.truncated for pump in files.pumps)
    completed = CompletedCommand.of(state, command, truncated=truncated, **output)
    if timed_out and timeout is not None:
        raise CommandTimeoutError(completed, timeout)
    if running.exceeded is not None and on_limit == "error" and limit is not None:
        raise OutputLimitError(completed, running.exceeded, limit)
    if check and not completed.clean():
        raise CalledProcessError(completed, command)
    return completed


async def _start(
    thread: RunningThread,
    command: Command,
    calls: Sequence[Syscall],
    cwd: object,
    setup: Setup | None,
    stack: ExitStack,
) -> tuple[AsyncChildProcess, Spawning | None]:
    """Make a process that makes the calls, and those of the options, and executes the command."""
    if setup is not None:
        setup = trio.lowlevel.disable_ki_protection(setup)
    if thread.loader.hub is not None:
        prepared = thread.prepare()
        await prepared.task.sysif.syscalls(calls)
        if cwd is not None:
            await _note_cwd(prepared, stack, cwd, thread)
        if setup is not None:
            await setup(prepared)
        spawning = await prepared.start(command)
        return spawning.process, spawning
    # A process with memory of its own, in which none can be prepared.
    cloned = await thread.clone()
    try:
        child = cast("PreparedThread", cloned)
        for call in calls:
            await child.task.sysif.syscall(*call)
        if cwd is not None:
            await _note_cwd(child, stack, cwd, thread)
        if setup is not None:
            await setup(child)
        return await cloned.exec(command), None
    except BaseException:
        with trio.CancelScope(shield=True):
            async with cloned.process:
                pass
        raise
