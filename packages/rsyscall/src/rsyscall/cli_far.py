"""`rsyscall run --via` and `--ssh`: the place where the process is made, and the streams of its command.

The command gets pipes there. We move what comes through them to our own streams. These are blocking, and
other programs have them, too: so OS threads read and write them.
"""

from __future__ import annotations

import errno
import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, cast

import trio

from rsyscall.cli_options import FAILED, CopyOptions, ReplOptions, RunOptions, say
from rsyscall.command import Command
from rsyscall.fcntl import O
from rsyscall.near import SyscallError
from rsyscall.path import Path
from rsyscall.pump import PIPE_SIZE, RemoteEnd
from rsyscall.signal import SIG, Sigaction, Sighandler
from rsyscall.tasks.local import local_thread
from rsyscall.tasks.stdio import BootstrapError, StdioThread, stdio_bootstrap

if TYPE_CHECKING:
    from typing import Literal, TypeVar

    T = TypeVar("T")

    from rsyscall.handle import FileDescriptor
    from rsyscall.thread import ChildThread

__all__ = ["BootstrapError", "Elsewhere", "carrier"]

# What a terminal sends to all of its programs. What leads to the command has to outlive it.
_OF_TERMINALS = (SIG.HUP, SIG.INT, SIG.QUIT)
# What a pipe may have in it when the command ends. Descendants of it may go on writing.
_MOST_LEFT = 1 << 20
# How long what is left of the output is offered to a reader that does not take it when a signal has come, in
# seconds.
_PATIENCE = 1.0
_STREAMS = ("read standard input", "write standard output", "write standard error")


async def carrier(options: RunOptions | CopyOptions | ReplOptions) -> Command:
    """The command that leads there, without the script that is added.

    Raises:
        ExecutableNotFound: there is none in PATH.
    """
    if options.ssh is not None:
        ssh = await local_thread.environ.which("ssh")
        # A terminal would change the bytes.
        return ssh.args("-o", "RequestTTY=no", *options.ssh)
    assert options.via is not None
    name, *arguments = options.via
    if "/" in name:
        return Command(Path(name), [name, *arguments], {})
    return (await local_thread.environ.which(name)).args(*arguments)


class Elsewhere:
    """A process in another place, which makes that of the command.

    Attributes:
        thread: the process.
        name: what leads to it.
    """

    def __init__(self, thread: StdioThread, name: str, ignored: list[SIG]) -> None:
        self.thread = thread
        self.name = name
        self._ignored = ignored
        # Our ends of the pipes: we write to the first.
        self._ends: list[RemoteEnd] = []
        self._theirs: list[FileDescriptor] = []
        self._scopes: set[trio.CancelScope] = set()
        self._ended = False
        self._feeding = trio.CancelScope()
        self._moving: trio.CancelScope | None = None
        self._hurried = False
        # What has gone wrong with our own streams, by their numbers.
        self._errors: dict[int, OSError] = {}

    @classmethod
    async def make(cls, command: Command, options: RunOptions) -> Elsewhere:
        """Get there.

        Raises:
            BootstrapError: the command does not lead there.
            OSError: it cannot be executed.
        """
        ignored = [sig for sig in _OF_TERMINALS if signal.getsignal(sig) is not signal.SIG_IGN]
        thread = await stdio_bootstrap(
            local_thread,
            command,
            by=cast("Literal['argument', 'line', 'shell']", options.by or "argument"),
            login_shell=options.ssh is not None,
            ignore_signals=ignored,
        )
        elsewhere = cls(thread, str(command), ignored)
        try:
            await elsewhere._prepare()
        except BaseException:
            await elsewhere.close()
            raise
        return elsewhere

    async def _prepare(self) -> None:
        # If it has our terminal. The command must not get a signal twice.
        with suppress(PermissionError):
            await self.thread.task.setsid()
        # Before the process of the command is made: it gets copies.
        for number in range(3):
            pipe = await self.thread.pipe(O.CLOEXEC)
            ours, theirs = (pipe.write, pipe.read) if number == 0 else (pipe.read, pipe.write)
            self._theirs.append(theirs)
            self._ends.append(RemoteEnd(await self.thread.make_afd(ours, set_nonblock=True)))

    async def place(self, child: ChildThread) -> None:
        """Give a process pipes as its standard streams, and the signals as they should be."""
        streams = (child.stdin, child.stdout, child.stderr)
        for number, (theirs, standard) in enumerate(zip(self._theirs, streams, strict=True)):
            await child.inherit_fd(theirs).dup2(standard)
            await theirs.invalidate()
            if not os.get_inheritable(number):
                # Ours was closed, and `main` has put something into its place.
                await standard.close()
        for sig in self._ignored:
            await child.task.sigaction(sig, await child.ptr(Sigaction(Sighandler.DFL)), None)

    def start_moving(self, nursery: trio.Nursery) -> None:
        """Move what goes through the pipes, in both directions."""
        self._moving = nursery.cancel_scope
        source, *outputs = self._ends
        nursery.start_soon(self._feed, source)
        for number, end in enumerate(outputs, 1):
            nursery.start_soon(self._take, end, number)

    def stop_moving(self) -> None:
        """The command has ended: move what is in the pipes now, and no more."""
        self._ended = True
        self._feeding.cancel()
        for scope in self._scopes:
            scope.cancel()
        if self._hurried:
            self.hurry()

    def hurry(self) -> None:
        """Once the command has ended, wait no longer than a moment for those who read our output."""
        self._hurried = True
        if self._ended and self._moving is not None:
            self._moving.deadline = min(self._moving.deadline, trio.current_time() + _PATIENCE)

    def settle(self, status: int) -> int:
        """Say what was lost, which a command that has ended cannot have learned; returns what to exit with.

        Args:
            status: with which the command has exited.
        """
        for number, error in sorted(self._errors.items()):
            # The command has learned of a pipe that has no reader, as it would here.
            if status == 0 or error.errno != errno.EPIPE:
                say(f"{_STREAMS[number]}: {error.strerror}")
        cut = self._moving is not None and self._moving.cancelled_caught
        if cut:
            say("write standard output: it was not read in time")
        return FAILED if (self._errors or cut) and status == 0 else status

    async def _in_thread(self, number: int, function: Callable[[], T]) -> T:
        """Call what uses one of our own streams and may wait."""
        try:
            return await trio.to_thread.run_sync(function, abandon_on_cancel=True)
        except OSError as error:
            # Not for reading, as nohup has it: so it has nothing in it.
            if (number, error.errno) != (0, errno.EBADF):
                self._errors[number] = error
            raise

    async def _feed(self, end: RemoteEnd) -> None:
        """From our standard input."""
        with self._feeding, suppress(OSError, SyscallError):
            while data := await self._in_thread(0, _read):
                await end.afd.write_all_bytes(data)
        await _close(end)

    async def _take(self, end: RemoteEnd, number: int) -> None:
        """To our standard output or error."""
        with suppress(OSError, SyscallError):
            while data := await self._read(end):
                await self._in_thread(number, partial(_write, number, data))
            left = 0
            while self._ended and left < _MOST_LEFT and (data := await end.read_now(PIPE_SIZE)):
                await self._in_thread(number, partial(_write, number, data))
                left += len(data)
        # If it is ours that is closed, the command learns of that.
        await _close(end)

    async def _read(self, end: RemoteEnd) -> bytes:
        """b"" at the end, and when the command has ended."""
        data = b""
        if not self._ended:
            with trio.CancelScope() as scope:
                self._scopes.add(scope)
                data = await end.read(PIPE_SIZE)
            self._scopes.discard(scope)
        return data

    async def why_lost(self) -> str:
        """Close, and say what has become of what led there."""
        await self.close()
        state = self.thread.carrier.process.death_state
        return "the connection was lost" + (f": {self.name.split()[0]} ended ({state})" if state else "")

    async def close(self) -> None:
        """End everything there."""
        await self.thread.close()


async def _close(end: RemoteEnd) -> None:
    with trio.CancelScope(shield=True), suppress(OSError, SyscallError):
        await end.close()


def _read() -> bytes:
    while True:
        try:
            return os.read(0, PIPE_SIZE)
        except BlockingIOError:
            _wait_for(0, select.POLLIN)


def _write(number: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(number, data) :]
        except BlockingIOError:
            _wait_for(number, select.POLLOUT)


def _wait_for(number: int, event: int) -> None:
    """Another program has made it non-blocking for all that have it."""
    poll = select.poll()
    poll.register(number, event)
    poll.poll()
