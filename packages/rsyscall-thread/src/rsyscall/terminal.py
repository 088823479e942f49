"""`TerminalSession`: a command on a terminal of its own, and the program at the other end of that."""

from __future__ import annotations

import os
import re
import signal
import termios
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from rsyscall.command import Command
from rsyscall.completed import CompletedCommand
from rsyscall.pty import Pty, Size, open_pty
from rsyscall.running import run
from rsyscall.sys.wait import CalledProcessError
from rsyscall.termios import Termios

if TYPE_CHECKING:
    from rsyscall.handle import FileDescriptor
    from rsyscall.monitor import AsyncChildProcess
    from rsyscall.run_files import RunningThread
    from rsyscall.running import RunOptions

__all__ = ["TerminalSession", "run_on_terminal"]

_READ_SIZE = 4096


class TerminalSession:
    """A command that runs on a terminal. Made by `Thread.run_on_terminal`.

    Attributes:
        pty: our end of the terminal.
        process: the command, which leads the session and is in the foreground at first.
    """

    def __init__(self, pty: Pty, command: Command) -> None:
        self.pty = pty
        self.process: AsyncChildProcess
        self._command = command
        # Read by `expect` and not used yet.
        self._rest = b""
        self._ended = trio.Event()
        self._result: CompletedCommand | None = None
        self._failure: BaseException | None = None
        # Around the block of the caller.
        self._scope = trio.CancelScope()

    async def read(self, count: int = _READ_SIZE) -> bytes:
        """Read what the command has written, up to `count` bytes; b"" at the end."""
        if self._rest:
            data, self._rest = self._rest[:count], self._rest[count:]
            return data
        return await self.pty.read_some_bytes(count)

    async def write(self, data: bytes | str) -> None:
        """Type something. `"\\r"` is the key Enter, `"\\x03"` is Ctrl-C, `"\\x04"` Ctrl-D."""
        await self.pty.write_all_bytes(os.fsencode(data))

    async def expect(self, pattern: bytes | str | re.Pattern[bytes]) -> re.Match[bytes]:
        """Read until a pattern has come. What comes after it is left to be read.

        Args:
            pattern: bytes or a string as they are, or a regular expression.

        Returns:
            The match; `match.string[:match.start()]` came before it.

        Raises:
            EOFError: the end came first; says what was read.

        Cancellation, by `trio.fail_after` for example: what was read is left to be read.
        """
        if not isinstance(pattern, re.Pattern):
            pattern = re.compile(re.escape(os.fsencode(pattern)))
        while not (found := pattern.search(self._rest)):
            # A checkpoint, also if there is always more.
            await trio.lowlevel.checkpoint()
            data = await self.pty.read_some_bytes(_READ_SIZE)
            if not data:
                raise EOFError(f"{pattern.pattern!r} has not come up to the end: {self._rest!r}")
            self._rest += data
        self._rest = self._rest[found.end() :]
        return found

    async def wait(self, check: bool = True) -> CompletedCommand:
        """Wait for the end of the command.

        Args:
            check: raise CalledProcessError if it does not exit with status 0.

        Returns:
            How it ended, with what it wrote and was not read yet as `stdout`.
        """
        while data := await self.pty.read_some_bytes(1 << 16):
            self._rest += data
        await self._ended.wait()
        if self._result is None:
            # It could not be waited for. The block is cancelled, and raises what has failed.
            await trio.sleep_forever()
        assert self._result is not None
        result = CompletedCommand.of(self._result, self._command, stdout=self._rest)
        self._rest = b""
        if check and not result.clean():
            raise CalledProcessError(result, self._command)
        return result

    async def interact(self, stdin: FileDescriptor, stdout: FileDescriptor) -> None:
        """Connect the terminal to that of our own program, until the command has ended.

        Meanwhile ours is raw: every key goes to the command, Ctrl-C too; and the size of its window is the
        size of ours. Afterwards it is as it was before.

        Args:
            stdin: our terminal, to read from.
            stdout: the same, or another file, to write to.

        Raises:
            OSError: ENOTTY; `filename` is `stdin`.
            RuntimeError: this is not the main OS thread, which alone receives SIGWINCH.
        """
        if not (stdin.task.sysif.immediate and stdout.task.sysif.immediate):
            raise ValueError("stdin, stdout: expected descriptors of our own process")
        number = int(stdin)
        try:
            before = termios.tcgetattr(number)
        except termios.error as error:
            raise OSError(*error.args, stdin) from None
        # Signals are received around everything else, so that their error is raised as it is.
        with trio.open_signal_receiver(signal.SIGWINCH) as changes:
            try:
                tty.setraw(number, termios.TCSANOW)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.pty.follow_changes, stdin, changes)
                    nursery.start_soon(self._type, number)
                    while data := await self.read():
                        await _write_all(int(stdout), data)
                    nursery.cancel_scope.cancel()
            finally:
                termios.tcsetattr(number, termios.TCSANOW, before)

    async def _type(self, number: int) -> None:
        while True:
            await trio.lowlevel.wait_readable(number)
            data = os.read(number, _READ_SIZE)
            if not data:
                return
            await self.write(data)

    async def _run(
        self, thread: RunningThread, options: RunOptions, task_status: trio.TaskStatus[None]
    ) -> None:
        try:
            status = _Status(self, task_status)
            self._result = await run(thread, self._command, False, status, **options)
        except trio.Cancelled:
            raise
        except BaseException as error:
            # The caller gets it, as it is and not in a group.
            self._failure = error
            self._scope.cancel()
            if not hasattr(self, "process"):
                task_status.started()
        finally:
            self._ended.set()


class _Status:
    """Notes that the command runs."""

    def __init__(self, session: TerminalSession, task_status: trio.TaskStatus[None]) -> None:
        self._session = session
        self._task_status = task_status

    def started(self, value: AsyncChildProcess | None = None) -> None:
        assert value is not None
        self._session.process = value
        self._task_status.started()


async def _write_all(number: int, data: bytes) -> None:
    """Write to a file of our own process, which may be blocking, as terminals are."""
    with memoryview(data) as view:
        start = 0
        while start < len(view):
            await trio.lowlevel.wait_writable(number)
            start += os.write(number, view[start : start + _READ_SIZE])


@asynccontextmanager
async def run_on_terminal(
    thread: RunningThread,
    command: Command,
    size: Size | None,
    attributes: Termios | None,
    path: str,
    options: RunOptions,
) -> AsyncIterator[TerminalSession]:
    """Run a command on a terminal of its own: `Thread.run_on_terminal`."""
    if "terminal" in options:
        raise TypeError(
            "terminal: run_on_terminal makes one; to use a Pty that exists, pass it to Thread.run"
        )
    pty = await open_pty(thread, size, attributes, path)
    options = {**options, "terminal": pty}
    session = TerminalSession(pty, command)
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                await nursery.start(session._run, thread, options)
                if session._failure is not None:
                    raise session._failure
                with session._scope:
                    yield session
            except trio.Cancelled:
                raise
            except BaseException as error:
                # Raised below, so that the nursery makes no group of it.
                failure = error
            finally:
                await pty.close()
                nursery.cancel_scope.cancel()
    finally:
        await pty.close()
    failure = failure or session._failure
    if failure is not None:
        raise failure
