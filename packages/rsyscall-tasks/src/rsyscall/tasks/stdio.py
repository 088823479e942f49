"""A thread at the other end of any command whose standard input and output reach a shell.

`sudo`, `su`, `nsenter`, `chroot`, `unshare`, `ip netns exec`, `systemd-run --pipe`, `docker exec -i`,
`kubectl exec -i`, `ssh`: each of them carries bytes to a shell in another place. Here they carry a small
script, which holds the static program `rsyscall-stub`, writes it to a directory, executes it and so becomes a
process that we drive. Neither file nor directory is left after that. Nothing has to be installed on the other
side.

**What comes back is not trusted.** It may be anything: the greeting of a login shell, which is skipped; the
complaint of a shell, which is quoted; or the lies of a hostile machine. Nothing of it is followed here: its
descriptors, addresses and process ids are only ever sent back to it.

**Errors.** What the command writes to its standard error goes to that of the parent, in the background of
trio, and is quoted when the bootstrap fails.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Literal

import trio

from rsyscall.background import RunLoop, weakly
from rsyscall.child_process import end_process
from rsyscall.closing import ClosedAtEnd
from rsyscall.command import Command
from rsyscall.epoller import AsyncFileDescriptor
from rsyscall.far_children import FarMonitor
from rsyscall.fcntl import O
from rsyscall.handle.fd import STANDARD
from rsyscall.multiplexed import Multiplexer, SharedStream, relay_path
from rsyscall.near import SyscallError
from rsyscall.near import types as near
from rsyscall.near.protocol import Hello, HelloParser, ProtocolError
from rsyscall.network.connection import FDPassConnection
from rsyscall.signal import SIG, Sigaction, Sighandler
from rsyscall.sys.wait import W
from rsyscall.tasks._carrier import BootstrapError, describe_end, end_carrier, kill_carrier
from rsyscall.tasks._far import make_far_task, make_far_thread
from rsyscall.tasks._script import DIRECTORIES, available_machines, make_script
from rsyscall.tasks.local import local_thread
from rsyscall.thread import Thread

if TYPE_CHECKING:
    from rsyscall.handle import FileDescriptor
    from rsyscall.monitor import AsyncChildProcess
    from rsyscall.near.stream import Exchange
    from rsyscall.stream_wait import Reader

__all__ = ["BootstrapError", "StdioThread", "stdio_bootstrap"]

logger: logging.Logger = logging.getLogger(__name__)

# As long as one argument of a program may be, with its terminating zero byte (execve(2)).
_MAX_ARGUMENT = 32 * 4096
# How much may come before the hello.
_MOST_NOISE = 1 << 16
# What is kept of the standard error of a command, to be quoted.
_MOST_ERRORS = 4096
# How long we wait for what a command that failed has written.
_TIME_TO_WRITE = 0.5

_READ_LINE = 'IFS= read -r x; eval "$x"'


class _Errors:
    """Standard error of the command: kept until the bootstrap is over, and then passed on."""

    def __init__(self, afd: AsyncFileDescriptor, to: FileDescriptor) -> None:
        self._afd = afd
        self._to = to
        self.kept: bytes = b""
        self.passing_on: bool = False
        self.ended: trio.Event = trio.Event()
        self.loop: RunLoop = RunLoop(weakly(self, _Errors._run), "standard error of a command")

    async def _run(self) -> None:
        try:
            while data := await self._afd.read_some_bytes():
                self.kept = (self.kept + data)[-_MOST_ERRORS:]
                if self.passing_on:
                    await self.pass_on()
        except (OSError, SyscallError):
            pass  # the parent is gone, or nothing takes it
        await self._afd.close()
        self.ended.set()

    async def pass_on(self) -> None:
        """From now on, and with what is kept, write to the standard error of the parent."""
        self.passing_on = True
        data, self.kept = self.kept, b""
        rest = await self._afd.ram.ptr(data)
        while data and self._to.valid:
            written, rest = await self._to.write(rest)  # type: ignore[assignment]
            data = data[written.size() :]


class _StdioConnection(SharedStream):
    """The stream to the process that a command has led to."""

    errors: _Errors | None = None

    async def _exchange(self, exchange: Exchange, waiter: Reader) -> None:
        # They belong to a run of trio, and this may be a new one.
        if self.errors is not None and not self.errors.ended.is_set():
            self.errors.loop.ensure_running()
        await super()._exchange(exchange, waiter)


class StdioThread(Thread, ClosedAtEnd):
    """A process at the other end of a command. As an async context manager it is closed in the end.

    Its standard input is empty, and its standard output is its standard error, so that commands which it runs
    do not touch the stream.

    Attributes:
        carrier: the command, a child of the thread that it was started from.
    """

    carrier: AsyncChildProcess
    errors: _Errors

    async def close(self) -> None:
        """End the process and its children, and wait for the command. It is done even when cancelled."""
        with trio.CancelScope(shield=True):
            await self.task.sysif.close_interface()
            await end_carrier(self.carrier)
            multiplexer = self._multiplexer()
            if multiplexer is not None and multiplexer.relay is not None:
                await end_carrier(multiplexer.relay)
            with trio.move_on_after(_TIME_TO_WRITE):
                # Unless a process that outlives it may still write.
                await self.errors.ended.wait()


# A command that was started must not get lost because of a KeyboardInterrupt.
@trio.lowlevel.enable_ki_protection
async def stdio_bootstrap(
    parent: Thread,
    command: Command,
    *,
    by: Literal["argument", "line", "shell"] = "argument",
    login_shell: bool = False,
    machines: Sequence[str] | None = None,
    ignore_signals: Collection[SIG] = (),
) -> StdioThread:
    """Make a thread of the process that a command leads to.

    The command is given up to the place of a shell script, which is added as one more argument: `sudo sh -c`,
    `su -c`, `nsenter -t 1 -m sh -c`, `docker exec -i NAME sh -c`, or just `ssh HOST`.

    The process ends when the thread is closed, when the command ends, and when this program does. There is no
    limit of time: use `trio.fail_after`. Passwords have to be asked for at a terminal, not over the standard
    input.

    Args:
        parent: starts the command.
        command: up to where the script comes.
        by: how the program gets there. "argument": in the script, about 90 KB. "line": the script is short,
            and reads the program as one line from its standard input; for commands that allow no long
            argument, as `kubectl exec`. "shell": there is no argument; the command is a shell that reads
            commands from its standard input.
        login_shell: the argument goes to the login shell of a user, which may be csh, fish or a restricted
            one: have it do nothing but run `sh`.
        machines: the architectures that the other side may have, named as `uname -m` does; by default all for
            which there is a program.
        ignore_signals: that the command ignores, and perhaps what it executes: those of the terminal, say,
            to outlive an interrupt.

    Raises:
        BootstrapError: the command did not get there. It quotes what it said.
        OSError: the command could not be executed.
        ValueError: there is no program for one of `machines`.

    Cancellation: the command is ended.
    """
    available = available_machines()
    wanted = available if machines is None else list(machines)
    for machine in wanted:
        if machine not in available:
            raise ValueError(f"there is no program for {machine}, only for {', '.join(available)}")
    token = secrets.token_hex(8)
    script = make_script(token, wanted)
    if by == "argument" and len(script) + 64 > _MAX_ARGUMENT:
        by = "line"
    if by not in ("argument", "line", "shell"):
        raise ValueError(f'by: expected "argument", "line" or "shell", not {by!r}')
    argument = script if by == "argument" else _READ_LINE
    if login_shell:
        argument = f"sh -c '{argument}'"
    whole = command if by == "shell" else command.args(argument)
    to_send = {"argument": "", "line": f"{script}\n", "shell": f"sh -c '{script}'\n"}[by]
    carrier, stream, errors = await _start(parent, whole, ignore_signals)
    try:
        bootstrap = _Bootstrap(command, token, stream, errors, carrier, wanted)
        hello = await bootstrap.run(to_send.encode())
        try:
            thread = await _make_thread(parent, stream, hello, errors)
        except (SyscallError, ProtocolError) as error:
            raise await bootstrap.error("the process was lost before it could be driven") from error
        await errors.pass_on()
    except BaseException:
        with trio.CancelScope(shield=True):
            await stream.close()
            await kill_carrier(carrier)
            errors.passing_on = True
        raise
    thread.carrier, thread.errors = carrier, errors
    return thread


async def _start(
    parent: Thread, command: Command, ignore_signals: Collection[SIG]
) -> tuple[AsyncChildProcess, AsyncFileDescriptor, _Errors]:
    """Start the command with a socket as its standard input and output, and a pipe for errors."""
    [(ours, theirs)] = await parent.open_async_channels(1)
    pipe = await parent.pipe(O.CLOEXEC)
    try:
        reading = await parent.make_afd(pipe.read, set_nonblock=True)
        child = await parent.clone()
        try:
            inside = child.inherit_fd(theirs), child.inherit_fd(pipe.write)
            await inside[0].dup2(child.stdin)
            await inside[0].dup2(child.stdout)
            await inside[1].dup2(child.stderr)
            for sig in ignore_signals:
                await child.task.sigaction(sig, await child.ptr(Sigaction(Sighandler.IGN)), None)
            carrier = await child.exec(command)
        except BaseException:
            await end_process(child.process)
            raise
    except BaseException:
        with trio.CancelScope(shield=True):
            await ours.close()
            await pipe.read.invalidate()
        raise
    finally:
        with trio.CancelScope(shield=True):
            await theirs.invalidate()
            await pipe.write.invalidate()
    errors = _Errors(reading, parent.stderr)
    errors.loop.ensure_running()
    return carrier, ours, errors


class _Bootstrap:
    """Waits until the other side has told who it is."""

    def __init__(
        self,
        command: Command,
        token: str,
        stream: AsyncFileDescriptor,
        errors: _Errors,
        carrier: AsyncChildProcess,
        machines: Sequence[str],
    ) -> None:
        self._command = command
        self._token = token.encode()
        self._mark = f"rsyscall-{token} ".encode()
        self._stream = stream
        self._errors = errors
        self._carrier = carrier
        self._machines = machines
        self._output = b""

    async def error(self, reason: str, *, quoted: bool = False) -> BootstrapError:
        """The error that says why, and quotes what came; `quoted` if the script in it was not run."""
        with trio.move_on_after(_TIME_TO_WRITE):
            # Most that fail exit, and have written everything then.
            state = await self._carrier.waitpid(W.EXITED)
            reason += f" (it {describe_end(state)})"
            await self._errors.ended.wait()
        errors = self._errors.kept
        if quoted and self._token in errors:
            # The script is so long that nothing else of the message would be left.
            reason += ": it took the script for something else; is -c missing at the end of the command?"
            errors = b""
        return BootstrapError(self._command, reason, self._output, errors)

    async def run(self, to_send: bytes) -> Hello:
        """Send the program, if it is not in the command, and receive the hello."""
        if not to_send:
            return await self._receive()
        hello: Hello | None = None
        failure: BootstrapError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send, to_send)
            try:
                hello = await self._receive()
            except BootstrapError as error:
                # Raised here, it would be wrapped in a group.
                failure = error
            nursery.cancel_scope.cancel()
        if hello is None:
            assert failure is not None
            raise failure
        return hello

    async def _send(self, data: bytes) -> None:
        try:
            await self._stream.send_all_bytes(data)
        except (OSError, SyscallError):
            pass  # what is received says more

    async def _receive(self) -> Hello:
        word, rest = await self._answer()
        if word.endswith("\r"):
            raise await self.error("there is a terminal in between, which changes bytes; ask for none")
        if word.startswith("machine"):
            raise await self.error(
                f"it leads to the architecture {word[8:]!r}, and the program that was sent is for "
                f"{', '.join(self._machines)}"
            )
        if word == "directory":
            raise await self.error(
                f"found no directory to write a program to and execute it, of {', '.join(DIRECTORIES)}"
            )
        if word != "start":
            raise await self.error(f"it answered {word!r}")
        parser = HelloParser()
        try:
            hello = parser.feed(rest)
            while hello is None:
                data = await self._stream.read_some_bytes(parser.missing)
                if not data:
                    parser.finish()
                hello = parser.feed(data)
            _check(hello, parser)
        except ProtocolError as error:
            raise await self.error(f"the program did not say who it is: {error}") from error
        except OSError as error:
            raise await self.error(f"the stream broke: {error}") from error
        return hello

    async def _answer(self) -> tuple[str, bytes]:
        """The word that the script says in the end, and the bytes after its line."""
        where = "before it ran the script"
        while True:
            before, mark, after = self._output.partition(self._mark)
            line, newline, rest = after.partition(b"\n")
            if mark and newline:
                if line == b"begin":
                    where = "while the script placed the program"
                    self._output = before + rest
                    continue
                self._output = before
                return line.decode("ascii", "backslashreplace"), rest
            if len(self._output) > _MOST_NOISE:
                raise await self.error(f"it said more than {_MOST_NOISE} bytes and did not run the script")
            try:
                data = await self._stream.read_some_bytes()
            except OSError as error:
                raise await self.error(f"the stream broke: {error}") from error
            if not data:
                raise await self.error(f"it ended {where}", quoted=True)
            self._output += data


def _check(hello: Hello, parser: HelloParser) -> None:
    """Refuse what the program would not say."""
    if parser.rest:
        raise ProtocolError(f"{len(parser.rest)} bytes came after the hello, unasked for")
    if hello.infd == hello.outfd or min(hello.infd, hello.outfd) <= max(STANDARD):
        raise ProtocolError(f"it serves the descriptors {hello.infd} and {hello.outfd}")
    _ = hello.abi


async def _make_thread(
    parent: Thread, stream: AsyncFileDescriptor, hello: Hello, errors: _Errors
) -> StdioThread:
    task = make_far_task(hello)
    ends = [task.make_fd_handle(near.FileDescriptor(number)) for number in (hello.infd, hello.outfd)]
    connection = _StdioConnection(logger, stream, stream, *ends)
    connection.abi = hello.abi
    connection.errors = errors
    task.sysif = parent.task.sysif.wrap_child(connection, f"process {hello.pid} behind a command")
    thread = await make_far_thread(StdioThread, parent, task, hello, ends, FDPassConnection.prepare)
    assert isinstance(thread.monitor, FarMonitor)
    side = thread.monitor.side
    side.multiplexer = Multiplexer(
        connection,
        task,
        thread.ram,
        thread.loader,
        thread.epoller.epoll_waiter,
        hello.machine,
        side.private,
        side.turns,
        _start_relay,
    )
    return thread


async def _start_relay(carrier: FileDescriptor, control: FileDescriptor) -> AsyncChildProcess:
    """Execute the relay of this side."""
    child = await local_thread.clone()
    try:
        inside = child.inherit_fd(carrier), child.inherit_fd(control)
        await inside[0].dup2(child.stdin)
        await inside[0].dup2(child.stdout)
        await inside[1].dup2(child.stderr)
        return await child.exec(Command(os.fspath(relay_path()), ["rsyscall-relay"], {}))
    except BaseException:
        await end_process(child.process)
        raise
