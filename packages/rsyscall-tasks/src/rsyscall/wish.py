"""Have a person fulfil the wishes of a program, at a Python prompt in the frame that makes the wish.

* `ConsoleGenie`: at the terminal of a thread.
* `ConsoleServerGenie`: the same over a Unix socket, to which the person can connect from elsewhere, too.
* `run_repl`, `serve_repls`: the prompt alone, over descriptors and for all who connect to a socket.

Importing this module makes the console of the local thread the granter of the current context, unless it has
one: `await wish(Wish(int))` asks there.

**Who may connect.** What is typed runs in this program. So it takes connections over Unix sockets alone, from
processes of its own effective user, for which the kernel vouches (SO_PEERCRED in unix(7)); the sockets that
it makes have mode 0600.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import traceback
from typing import Any, TypeVar

import trio

import arepl.repl
from arepl.repl import FromREPL
from rsyscall.command import Command
from rsyscall.epoller import AsyncFileDescriptor
from rsyscall.handle import FileDescriptor
from rsyscall.near import SyscallError
from rsyscall.path import Path
from rsyscall.running import PIPE
from rsyscall.struct import Int32
from rsyscall.sys.socket import AF, SO, SOCK, SOL, Sockbuf
from rsyscall.tasks._listening import absolute, bind, peer
from rsyscall.tasks.local import local_thread
from rsyscall.thread import Thread
from wish import Wish, WishGranter, my_wish_granter

__all__ = ["ConsoleGenie", "ConsoleServerGenie", "run_repl", "serve_repls"]

T = TypeVar("T")

logger: logging.Logger = logging.getLogger(__name__)

_BACKLOG = 16
# How long an input may go on when the person has hung up, in seconds.
_GRACE = 1.0
# How long to wait before the next attempt, in seconds.
_PAUSE = 0.2
# Too many descriptors are open, or the peer has gone already.
_PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED}


async def run_repl(
    infd: AsyncFileDescriptor,
    outfd: AsyncFileDescriptor,
    global_vars: dict[str, Any],
    wanted_type: type[T],
    message: str,
) -> T:
    """Have a person type Python until there is a value of a type; see `arepl.repl.run_repl`.

    Args:
        infd: what the person types.
        outfd: what the person sees; may be the same.
        global_vars: the names that are known; it is changed.
        wanted_type: of the value.
        message: shown first.

    Raises:
        FromREPL: raised at the prompt.
        EOFError: the input has ended without a value. If that happens while an input runs, the input has a
            second to finish.
        OSError: EPIPE, ECONNRESET: the same.
    """
    error: Exception | None = None
    result: T | None = None
    async with trio.open_nursery() as nursery:

        async def watch() -> None:
            nonlocal error
            await infd.wait_for_rdhup()
            await trio.sleep(_GRACE)
            error = EOFError("REPL connection hangup")
            nursery.cancel_scope.cancel()

        nursery.start_soon(watch)
        try:
            await outfd.write_all_bytes(message.encode(errors="backslashreplace"))
            result = await arepl.repl.run_repl(
                infd.read_some_bytes, outfd.write_all_bytes, global_vars, wanted_type
            )
        except Exception as exception:
            error = exception
        nursery.cancel_scope.cancel()
    if error is not None:
        raise error
    value: Any = result  # may be None, if that is the type
    typed: T = value
    return typed


async def _require_unix(listenfd: AsyncFileDescriptor) -> None:
    ram, sock = listenfd.ram, listenfd.handle
    result = await sock.getsockopt(SOL.SOCKET, SO.DOMAIN, await ram.ptr(Sockbuf(await ram.malloc(Int32))))
    domain = await (await result.read()).buf.read()
    if int(domain) != AF.UNIX:
        raise ValueError("listenfd: expected a Unix socket: who connects to another one is not known")


async def serve_repls(
    listenfd: AsyncFileDescriptor, initial_vars: dict[str, Any], wanted_type: type[T], message: str
) -> T:
    """Give a prompt to each person who connects, until one of them returns a value of a type.

    Each has global variables of its own. Beside `initial_vars`, these are `__repls__`, the list of those of
    all who are connected; and `__repl_stdin__` and `__repl_stdout__`, the connection. Processes of other
    users are refused. A prompt that fails is closed, and the others go on.

    Args:
        listenfd: a Unix socket that listens; the caller closes it.
        initial_vars: the names that are known.
        wanted_type: of the value.
        message: shown first.

    Returns:
        The first value. The other connections are closed.

    Raises:
        FromREPL: raised at one of the prompts.
        ValueError: `listenfd` is no Unix socket.
        OSError: as accept(2).
    """
    await _require_unix(listenfd)
    results: list[T] = []
    errors: list[FromREPL] = []
    repls: list[dict[str, Any]] = []
    async with trio.open_nursery() as nursery:

        async def serve(sock: FileDescriptor) -> None:
            connection = await _connection(listenfd, sock)
            if connection is None:
                return
            names = dict(initial_vars)
            names.update(__repls__=repls, __repl_stdin__=connection, __repl_stdout__=connection)
            repls.append(names)
            try:
                results.append(await run_repl(connection, connection, names, wanted_type, message))
                nursery.cancel_scope.cancel()
            except FromREPL as error:
                errors.append(error)
                nursery.cancel_scope.cancel()
            except Exception as error:
                logger.debug("a prompt has ended: %s", error)
            finally:
                repls[:] = [each for each in repls if each is not names]
                await connection.close()

        while True:
            try:
                sock = await listenfd.accept(SOCK.CLOEXEC | SOCK.NONBLOCK)
            except OSError as error:
                if error.errno not in _PASSING:
                    raise
                await trio.sleep(_PAUSE)
                continue
            nursery.start_soon(serve, sock)
    if not results:
        raise errors[0]
    return results[0]


async def _connection(listenfd: AsyncFileDescriptor, sock: FileDescriptor) -> AsyncFileDescriptor | None:
    """What a process has connected by, which belongs to the caller; None if it may not, and it is closed."""
    try:
        who = await peer(listenfd.ram, sock)
        if who.uid == await sock.task.geteuid():
            return await listenfd.make_new_afd(sock)
        logger.warning("refused process %d of user %d", who.pid, who.uid)
        error = None
    except (OSError, SyscallError) as exception:
        error = exception
        logger.warning("lost a connection: %s", error)
    with trio.CancelScope(shield=True), contextlib.suppress(SyscallError):
        await sock.invalidate()
    return None


def _names(wish: Wish[Any]) -> dict[str, Any]:
    """The variables of the frame that makes a wish; those of its function come first."""
    names: dict[str, Any] = {"FromREPL": FromREPL}
    for frame, _ in traceback.walk_tb(wish.__traceback__):
        names = {"FromREPL": FromREPL, **frame.f_globals, **frame.f_locals}
    return names


def _message(wish: Wish[Any]) -> str:
    wanted = getattr(wish.return_type, "__qualname__", None) or str(wish.return_type)
    text = "".join(traceback.format_exception(type(wish), wish, wish.__traceback__))
    return f"{text}Wished for: {wanted}. Give it by: return VALUE\n"


class ConsoleGenie(WishGranter):
    """Gives a prompt at the standard input and output of a thread, for one wish after another.

    These need not be non-blocking, which all programs on a terminal would notice: two processes move the
    bytes.

    Args:
        thread: has the console.
        cat: the command for that.
    """

    def __init__(self, thread: Thread, cat: Command) -> None:
        self.thread = thread
        self.cat = cat
        self._lock = trio.Lock()

    @classmethod
    async def make(cls, thread: Thread) -> ConsoleGenie:
        """Look for `cat`.

        Raises:
            ExecutableNotFound: there is none in PATH.
        """
        return cls(thread, await thread.environ.which("cat"))

    async def wish(self, wish: Wish[T]) -> T:
        """Ask for the value; see `run_repl` for what it raises."""
        error: Exception | None = None
        results: list[T] = []
        async with self._lock, trio.open_nursery() as nursery:
            reader = await nursery.start(_run, self.thread, self.cat, {"stdout": PIPE})
            async with trio.open_nursery() as writers:
                writer = await writers.start(_run, self.thread, self.cat, {"stdin": PIPE})
                try:
                    results.append(
                        await run_repl(
                            reader.stdout, writer.stdin, _names(wish), wish.return_type, _message(wish)
                        )
                    )
                except Exception as exception:
                    error = exception
                # It shows what is left, and ends.
                await writer.stdin.close()
                writers.cancel_scope.deadline = trio.current_time() + _GRACE
            nursery.cancel_scope.cancel()
        if error is not None:
            raise error
        return results[0]


async def _run(
    thread: Thread,
    command: Command,
    options: Any,
    task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED,
) -> None:
    await thread.run(command, check=False, task_status=task_status, **options)


class ConsoleServerGenie(WishGranter):
    """Gives a prompt to all who connect to a Unix socket, and connects the console of a thread to it.

    The socket has the name of the function and the line that make the wish.

    Args:
        thread: listens, and has the console.
        sockdir: the directory of the sockets.
        socat: connects: gets `-`, for its standard input and output, and `UNIX-CONNECT:` with the path.
    """

    def __init__(self, thread: Thread, sockdir: Path, socat: Command) -> None:
        self.thread = thread
        self.sockdir = sockdir
        self.socat = socat
        self._used: set[str] = set()
        self._console = trio.Lock()

    @classmethod
    async def make(cls, thread: Thread, sockdir: Path) -> ConsoleServerGenie:
        """Look for `socat`.

        Raises:
            ExecutableNotFound: there is none in PATH.
        """
        return cls(thread, sockdir, await thread.environ.which("socat"))

    def _uniquify_name(self, name: str) -> str:
        """The name, or with a number, if a wish of this genie has it; it is taken then."""
        number, unique = 0, name
        while unique in self._used:
            number += 1
            unique = f"{name}.{number}"
        self._used.add(unique)
        return unique

    async def wish(self, wish: Wish[T]) -> T:
        """Ask for the value; see `serve_repls` for what it raises."""
        base, names = _place(wish), []
        try:
            while True:
                names.append(self._uniquify_name(base))
                path = Path(await absolute(self.thread, self.sockdir) / names[-1])
                try:
                    sock = await bind(self.thread, path)
                    break
                except OSError as error:
                    # Left by another program, perhaps, or it listens there.
                    if error.errno != errno.EADDRINUSE:
                        raise
            return await self._ask(wish, sock, path)
        finally:
            self._used.difference_update(names)

    async def _ask(self, wish: Wish[T], sock: FileDescriptor, path: Path) -> T:
        results: list[T] = []
        error: Exception | None = None
        try:
            await sock.listen(_BACKLOG)
            listening = await self.thread.make_afd(sock)
            async with listening, trio.open_nursery() as nursery:
                nursery.start_soon(self._connect_console, path)
                try:
                    found = await serve_repls(listening, _names(wish), wish.return_type, _message(wish))
                    results.append(found)
                except Exception as exception:
                    error = exception
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True), contextlib.suppress(OSError, SyscallError):
                await self.thread.unlink(path)
            with trio.CancelScope(shield=True), contextlib.suppress(SyscallError):
                if sock.valid:
                    await sock.invalidate()
        if error is not None:
            raise error
        return results[0]

    async def _connect_console(self, path: Path) -> None:
        """Connect the console again and again: a prompt that has failed is not the last one."""
        # In addresses of socat these have a meaning.
        address = re.sub(r"([\\,:!'\"()\[\]{}])", r"\\\1", os.fsdecode(path))
        command = self.socat.args("-", f"UNIX-CONNECT:{address}")
        async with self._console:
            while True:
                try:
                    await self.thread.run(command, check=False)
                except OSError as error:
                    logger.warning("%s: %s", command, error)
                    return
                await trio.sleep(_PAUSE)


def _place(wish: Wish[Any]) -> str:
    """The function and the line that make a wish, as the name of a file."""
    place = "wish"
    for frame, line in traceback.walk_tb(wish.__traceback__):
        function = re.sub(r"\W", "", frame.f_code.co_name) or "wish"
        place = f"{function[:64]}-{line}"
    return place


class _LocalConsole(WishGranter):
    """Makes the genie when there is a wish."""

    _genie: ConsoleGenie | None = None

    async def wish(self, wish: Wish[T]) -> T:
        if self._genie is None:
            self._genie = await ConsoleGenie.make(local_thread)
        return await self._genie.wish(wish)


def _initialize_module() -> None:
    if my_wish_granter.get(None) is None:
        my_wish_granter.set(_LocalConsole())


_initialize_module()
