"""Running a command with everything around it: `Thread.run` with options.

A run has four steps.

1. The files and pipes of the command are opened in the process of the thread, and all options checked.
2. A process is prepared (`rsyscall.spawn`), or cloned where that is not possible. Its calls first put every
   descriptor in its place, then apply the other options, and last come those that `setup` adds.
3. The process executes the command. One task per pipe moves bytes (`rsyscall.pump`), and the task of the
   caller waits for the command to exit, and then for the end of its output.
4. If the caller is cancelled, the timeout expires, a pump fails or there is too much output, the command gets
   SIGTERM, and SIGKILL after the grace period. All this is shielded from cancellation. The pumps go on
   meanwhile, so that a command that exits in time can write its last output. We do not wait then for pipes
   that a descendant of the command holds open.
"""

from __future__ import annotations

import os
import select
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast

import trio
from outcome import Outcome, acapture

from rsyscall.child_process import end_process
from rsyscall.command import Command, StrOrBytesPath
from rsyscall.completed import CommandTimeoutError, CompletedCommand, OutputLimitError
from rsyscall.ending import GRACE, end_command, wait_for_end
from rsyscall.exec_image import check_command, check_strings, make_image
from rsyscall.handle import FileDescriptor
from rsyscall.launch import start_spawn
from rsyscall.near import Syscall, nr
from rsyscall.open_files import mark_calls
from rsyscall.run_checks import (
    check_awaitable,
    check_env,
    check_number,
    check_setup,
    check_switches,
    check_whole,
)
from rsyscall.run_files import ClonedThread, ErrorOutput, Files, Input, Output, Pump, RunningThread, Stdio
from rsyscall.run_limits import Limits
from rsyscall.run_tree import Tree, TreeKind, make_tree
from rsyscall.sched import CLONE
from rsyscall.spawn import PreparedThread, UndumpableMemoryError
from rsyscall.sys.wait import CalledProcessError, ChildState

if TYPE_CHECKING:
    from rsyscall.launch import Spawning
    from rsyscall.monitor import AsyncChildProcess
    from rsyscall.pty import Pty
    from rsyscall.relay import Relay

__all__ = ["DEVNULL", "GRACE", "PIPE", "STDOUT", "RunOptions", "Stdio", "end_command", "mark_calls", "run"]

PIPE: Literal[Stdio.PIPE] = Stdio.PIPE
"""A pipe to the program. See `RunOptions`."""
STDOUT: Literal[Stdio.STDOUT] = Stdio.STDOUT
"""For `stderr`: where `stdout` goes."""
DEVNULL: Literal[Stdio.DEVNULL] = Stdio.DEVNULL
"""/dev/null."""


_TREES = ("group", "cgroup", "pidns")

# How long the kernel may take for the rest of an exec, in seconds.
_EXEC_TIME = 5.0

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
        timeout: in seconds, from the start of the command. When it expires, the command is ended, and
            CommandTimeoutError, which is a TimeoutError, is raised. It has the output so far.
        grace: the seconds between SIGTERM and SIGKILL when a command is ended.
        cwd: the working directory: a path, or a handle of a directory.
        env: environment variables to set; None as a value unsets one.
        clear_env: whether to begin with an empty environment, in which `Command.env` and `env` set variables.
        pass_fds: descriptors that the command gets beside 0, 1 and 2: handles, which keep their numbers, or a
            mapping from numbers to handles.
        close_fds: whether all other descriptors are closed, also those that the program made inheritable;
            the default.
        tree: whether the descendants of the command end with it, however it ends. "cgroup": by a cgroup below
            that of the thread (Linux 5.14; needs the right to make one); "pidns": by a pid namespace (without
            privileges in a new user namespace); "group": by a process group, which they can leave. True means
            the first of these that is possible without a user namespace. SIGTERM goes to the command alone,
            or to all of its group.
        limits: what the command may do and use. The cgroup of `tree` is made below a `cgroup` given there.
        terminal: a pseudoterminal, from `Thread.pty`. It becomes the controlling terminal of the command,
            which leads a new session, and its stdin, stdout and stderr unless these are given.
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
    tree: bool | TreeKind
    limits: Limits | None
    terminal: Pty | None
    setup: Setup | None


class _Run:
    """A command that runs, with its pumps."""

    def __init__(self, timeout: float | None, grace: float, limited: bool, on_limit: str) -> None:
        self.timeout = timeout
        self.limited = limited
        self.grace = grace
        self.on_limit = on_limit
        self.tree: Tree | None = None
        # Cancelled when there is a reason to end the command, if there can be one.
        self.scope: trio.CancelScope | None = None
        self.ended = False
        self.failure: BaseException | None = None
        self.exceeded: str | None = None

    def exceed(self, stream: str) -> None:
        """Record that `stream` has more output than is allowed, and end the command."""
        self.exceeded = self.exceeded or stream
        self._cancel()

    def _cancel(self) -> None:
        if self.scope is not None:
            self.scope.cancel()

    async def _pump(self, pump: Pump) -> None:
        with pump.scope:
            try:
                await pump.body()
            except trio.Cancelled:
                raise
            except BaseException as error:
                # Raised to the caller when the command has been ended.
                self.failure = self.failure or error
                self._cancel()

    async def supervise(self, child: AsyncChildProcess, files: Files) -> tuple[ChildState, bool]:
        """Wait until the command has exited and its output has ended, or end it.

        Returns:
            How it ended, and whether that was because of the timeout.
        """
        pumps, relay = files.pumps, files.relay
        alone = not pumps and self.tree is None
        if self.timeout is not None:
            self.scope = trio.CancelScope(deadline=trio.current_time() + self.timeout)
        elif not alone or self.limited:
            # Only where needed: a scope costs as much as the rest of a short wait.
            self.scope = trio.CancelScope()
        if alone:
            return await self._until_the_end(child, None, relay)
        if not relay.done:
            pumps = [*pumps, Pump("pipes", relay.run, trio.CancelScope(shield=True))]
        async with trio.open_nursery() as nursery:
            try:
                done = trio.Event()
                left = len(pumps)

                async def pump_and_count(pump: Pump) -> None:
                    nonlocal left
                    await self._pump(pump)
                    left -= 1
                    if not left:
                        done.set()

                for pump in pumps:
                    nursery.start_soon(pump_and_count, pump, name=f"rsyscall: {pump.name} of a command")
                return await self._until_the_end(child, done if pumps else None, None)
            finally:
                for pump in pumps:
                    pump.scope.cancel()
        raise AssertionError("this nursery is not cancelled")

    async def _until_the_end(
        self, child: AsyncChildProcess, pumped: trio.Event | None, relay: Relay | None
    ) -> tuple[ChildState, bool]:
        """As `supervise`.

        Args:
            pumped: set when the tasks of the pumps are done.
            relay: moves bytes in this task.
        """
        try:
            with self.scope or nullcontext():
                if relay is not None and not relay.done:
                    await relay.run(child)
                state = await wait_for_end(child, self.tree)
                if relay is not None and not relay.done:
                    await relay.run()
                if pumped is not None:
                    await pumped.wait()
                return state, False
        except BaseException:
            await self._end(child, self.grace, relay)
            raise
        self.ended = True
        now = self.exceeded is not None and self.on_limit == "kill"
        timed_out = self.failure is None and self.exceeded is None
        return await self._end(child, 0 if now else self.grace, relay), timed_out

    async def _end(self, child: AsyncChildProcess, grace: float, relay: Relay | None) -> ChildState:
        """End the command, and move its last output meanwhile."""
        if relay is None or relay.done:
            return await end_command(child, grace, self.tree)
        pump = Pump("pipes", relay.run, trio.CancelScope(shield=True))
        outcome: Outcome[ChildState]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pump, pump, name="rsyscall: pipes of a command")
            outcome = await acapture(end_command, child, grace, self.tree)
            pump.scope.cancel()
        return outcome.unwrap()


def changed_command(
    command: Command, env: Mapping[str, StrOrBytesPath | None] | None, clear_env: bool
) -> Command:
    """The command with the changes to its environment that the options make."""
    if clear_env:
        command = command.clear_env().env(command.env_updates)
    if env:
        command = command.unset(*(name for name, value in env.items() if value is None))
        command = command.env({name: value for name, value in env.items() if value is not None})
    return command


def _without_session(limits: Limits) -> Limits:
    """The limits for a command with a terminal, which leads a session anyway."""
    if limits.process_group:
        raise ValueError("process_group: a command with a terminal leads a process group anyway")
    return replace(limits, session=False)


async def _note_cwd(child: PreparedThread, stack: ExitStack, cwd: object, thread: RunningThread) -> None:
    if isinstance(cwd, FileDescriptor):
        number = stack.enter_context(cwd.borrow(thread.task))
        await child.task.sysif.syscall(nr.fchdir, number)
    elif isinstance(cwd, str | os.PathLike):
        await child.task.chdir(await child.ptr(os.fspath(cwd)))
    else:
        raise TypeError(f"cwd: expected a path or the handle of a directory, not {cwd!r}")


def _has_exited(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


async def _set_oom_score_adj(child: AsyncChildProcess, value: int) -> None:
    """Set it for a command. Until that has been reaped, no other process has its pid."""
    deadline = trio.current_time() + _EXEC_TIME
    while child.pidfd is not None and child.process.death_state is None:
        try:
            file = os.open(f"/proc/{child.pidfd.pid()}/oom_score_adj", os.O_WRONLY)
        except FileNotFoundError:
            return  # it has exited
        except PermissionError:
            # The file belongs to root after the process has exited, and until its exec is complete.
            if _has_exited(child.pidfd.number):
                return
            if trio.current_time() > deadline:
                raise
        else:
            try:
                os.write(file, b"%d" % value)
            except ProcessLookupError:
                pass
            finally:
                os.close(file)
            return
        await trio.sleep(0.001)


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
    tree: bool | TreeKind = False,
    limits: Limits | None = None,
    terminal: Pty | None = None,
    setup: Setup | None = None,
) -> CompletedCommand:
    """Run a command: `Thread.run`, which describes the options in `RunOptions`."""
    # Before anything is made. Options about files are checked when the files are placed.
    if timeout is not None:
        check_number("timeout", timeout, 0)
    if grace is not GRACE:
        check_number("grace", grace, 0)
    if limit is not None:
        check_whole("limit", limit)
    if on_limit not in ("error", "truncate", "kill"):
        raise ValueError(f'on_limit: expected "error", "truncate" or "kill", not {on_limit!r}')
    if limit is None and on_limit != "error":
        raise ValueError(f"on_limit: {on_limit!r} is for output with a limit, and there is none")
    check_switches(check=check, capture=capture, clear_env=clear_env, close_fds=close_fds)
    if env is not None:
        check_env(env)
    if limits is not None and not isinstance(limits, Limits):
        raise TypeError(f"limits: expected Limits, not {limits!r}")
    if setup is not None:
        check_setup(setup)
    if capture:
        stdout = PIPE if stdout is None else stdout
        stderr = PIPE if stderr is None else stderr
    check_command(command)
    command = changed_command(command, env, clear_env)
    check_strings(command)
    if not (tree is True or tree is False or (isinstance(tree, str) and tree in _TREES)):
        raise ValueError(f'tree: expected True, "cgroup", "pidns" or "group", not {tree!r}')
    running = _Run(timeout, grace, limit is not None, on_limit)
    # The oom_score_adj of the command, if it can be set only after the exec.
    too_early: list[int] = []
    give = task_status is not trio.TASK_STATUS_IGNORED and not capture
    files = Files(thread, limit, running.exceed if on_limit != "truncate" else None)
    try:
        if terminal is not None:
            await files.place_terminal(terminal)
        await files.place_input(stdin, task_status is not trio.TASK_STATUS_IGNORED)
        await files.place_output("stdout", 1, stdout, give)
        await files.place_output("stderr", 2, stderr, give)
        if limit is not None and not files.captured:
            raise ValueError("limit: it limits captured output, but this run captures none")
        if pass_fds:
            files.pass_on(pass_fds)
        with ExitStack() as stack:
            calls = [
                *(await mark_calls(thread.task, thread.ram) if close_fds else ()),
                *await files.dup_calls(stack),
            ]
            if terminal is not None:
                # Before dup2 puts another descriptor on its number.
                calls = [*files.terminal_calls(stack), *calls]
                limits = None if limits is None else _without_session(limits)
            if tree:
                leads = terminal is not None or (
                    limits is not None and (limits.session or limits.process_group)
                )
                cgroup = None if limits is None else limits.cgroup
                running.tree = await make_tree(thread, tree, leads, cgroup)
                if limits is not None and running.tree.is_cgroup:
                    # The cgroup of the tree is below it.
                    limits = replace(limits, cgroup=None)
            child, spawning = await _start(
                thread, running.tree, command, calls, cwd, limits, setup, stack, too_early
            )
        try:
            if running.tree is not None:
                await running.tree.started(files.numbers())
            await files.close_theirs()
            if too_early:
                assert spawning is not None
                await spawning.wait()
                await _set_oom_score_adj(child, *too_early)
            if task_status is not trio.TASK_STATUS_IGNORED:
                if spawning is not None:
                    await spawning.wait()
                child.stdin, child.stdout, child.stderr = map(files.given.get, ("stdin", "stdout", "stderr"))
                task_status.started(child)
            state, timed_out = await running.supervise(child, files)
        except BaseException:
            if child.process.death_state is None:
                await end_command(child, grace, running.tree)
            raise
        finally:
            # A process that could not execute the command exits; its status says nothing about the command.
            if spawning is not None and spawning.error is not None:
                raise spawning.error
        if running.ended:
            await files.take_rest()
    finally:
        if not files.close_pipes() or running.tree is not None:
            with trio.CancelScope(shield=True):
                if running.tree is not None:
                    await running.tree.reaped()
                await files.close()
    if running.failure is not None:
        raise running.failure
    output: dict[str, Any] = {}
    truncated = False
    for name, collector in files.captured.items():
        output[name] = collector.value()
        truncated = truncated or collector.truncated
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
    tree: Tree | None,
    command: Command,
    calls: Sequence[Syscall],
    cwd: object,
    limits: Limits | None,
    setup: Setup | None,
    stack: ExitStack,
    too_early: list[int],
) -> tuple[AsyncChildProcess, Spawning | None]:
    """Make a process that makes these calls and those of the options, and executes the command."""
    if thread.loader.hub is not None and tree is None and cwd is None and limits is None and setup is None:
        image = await make_image(thread, command)
        spawning = await start_spawn(thread, CLONE.NONE, calls, image, command)
        return spawning.process, spawning
    if setup is not None:
        setup = trio.lowlevel.disable_ki_protection(setup)

    async def set_up(child: PreparedThread | ClonedThread) -> None:
        child = cast("PreparedThread", child)  # a clone has the methods that are used here
        if tree is not None:
            await tree.note(child)
        for call in calls:
            await child.task.sysif.syscall(*call)
        if cwd is not None:
            await _note_cwd(child, stack, cwd, thread)
        if limits is not None:
            try:
                await limits.apply(child)
            except UndumpableMemoryError:
                assert limits.oom_score_adj is not None
                too_early.append(limits.oom_score_adj)
                await replace(limits, oom_score_adj=None).apply(child)
        if setup is not None:
            await check_awaitable(setup, setup(child))

    starter = thread if tree is None else tree.starter
    id_maps = None
    if limits is not None and limits.id_maps is not None:
        id_maps, limits = limits.id_maps, replace(limits, id_maps=None)
    if starter.loader.hub is not None:
        if id_maps is None:
            return await _start_prepared(starter, set_up, command)
        # The mapping has to be written before the command runs. So the parent of the command is a process in
        # the new namespace, for which it has been written.
        namespace = await starter.clone(CLONE.NEWUSER, id_maps=id_maps)
        try:
            return await _start_prepared(namespace, set_up, command)
        finally:
            await end_process(namespace.process)
    # A thread with memory of its own cannot prepare a process.
    cloned = await (starter.clone() if id_maps is None else starter.clone(CLONE.NEWUSER, id_maps=id_maps))
    try:
        await set_up(cloned)
        return await cloned.exec(command), None
    except BaseException:
        await end_process(cloned.process)
        raise


async def _start_prepared(
    parent: RunningThread, set_up: Callable[[PreparedThread], Awaitable[None]], command: Command
) -> tuple[AsyncChildProcess, Spawning]:
    prepared = parent.prepare()
    await set_up(prepared)
    spawning = await prepared.start(command)
    return spawning.process, spawning
