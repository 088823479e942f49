"""`rsyscall repl`: a Python prompt with top-level `await`, in a running trio.

Inputs run in the main task of trio, where SIGINT raises a KeyboardInterrupt: in the code of the input, or out
of what it awaits. Everything else here is protected against that.
"""

from __future__ import annotations

import ast
import builtins
import linecache
import os
import signal
import sys
import termios
import traceback
import types
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import trio

import rsyscall
from arepl.acompile import execute
from arepl.aeval import without_our_frames
from arepl.repl import PureREPL
from rsyscall import cli_ipython
from rsyscall.cli_far import BootstrapError, carrier
from rsyscall.cli_interrupts import Interrupts
from rsyscall.cli_lines import TerminalLines
from rsyscall.cli_options import ReplOptions, innermost, readable, say
from rsyscall.environ import ExecutableNotFound
from rsyscall.fcntl import O
from rsyscall.near import SyscallError
from rsyscall.sched import CLONE
from rsyscall.signal import SIG, Sigaction, Sighandler
from rsyscall.tasks.local import local_thread
from rsyscall.tasks.stdio import StdioThread, stdio_bootstrap
from rsyscall.thread import Thread

if TYPE_CHECKING:
    from typing import Literal

__all__ = ["repl"]

_FAILED = 1
# What a terminal sends to all its programs, and what must not end the way to the other place.
_OF_TERMINALS = (SIG.INT, SIG.QUIT)
_LEAVING = ("exit", "quit")


class _Leave:
    """`exit` and `quit`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"{self._name}, {self._name}(status) or Ctrl-D ends this"

    def __call__(self, status: object = None) -> None:
        raise SystemExit(status)


def _names(thread: Thread) -> dict[str, Any]:
    """The global variables of the prompt, which are those of the main module."""
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    names = vars(module)
    names.update({name: getattr(rsyscall, name) for name in rsyscall.__all__})
    names.update(
        rsyscall=rsyscall, trio=trio, thread=thread, __builtins__=builtins, CLONE=CLONE, O=O, SIG=SIG
    )
    names.update({name: _Leave(name) for name in _LEAVING})
    if thread is not local_thread:
        names["far"] = thread
    return names


def _has(error: BaseException, kind: type[BaseException]) -> bool:
    """Whether it is of this class, or a group with such a one in it."""
    return isinstance(error, kind) or any(_has(inner, kind) for inner in getattr(error, "exceptions", ()))


def _show(error: BaseException) -> None:
    """Print an exception, as the hook for that does."""
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, error.__traceback__
    try:
        sys.stdout.flush()
        if sys.excepthook is sys.__excepthook__:
            traceback.print_exception(type(error), error, error.__traceback__)
        else:
            sys.excepthook(type(error), error, error.__traceback__)
    except (Exception, KeyboardInterrupt) as another:
        with suppress(OSError, ValueError):
            print(f"{type(error).__qualname__}, which cannot be shown: {another!r}", file=sys.stderr)


class _Repl:
    """One prompt.

    Args:
        names: the global variables.
    """

    def __init__(self, names: dict[str, Any]) -> None:
        self._names = names
        self._engine = PureREPL(names)
        self._leaving: object = None
        self._left = False
        self._nursery: trio.Nursery
        self._interrupts = signal.getsignal(signal.SIGINT)

    def _leave(self) -> None:
        """End what goes on in the background. From now on SIGINT ends us, should that take long."""
        self._left = True
        if callable(self._interrupts) and signal.getsignal(signal.SIGINT) is self._interrupts:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        self._nursery.cancel_scope.cancel()

    # ---- typed at a terminal ----

    @trio.lowlevel.enable_ki_protection
    async def interact(self, interrupts: Interrupts) -> int:
        """Take inputs until the end; returns the exit status."""
        lines = await TerminalLines.start(self._names)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lines.serve)
                async with trio.open_nursery() as background:
                    await background.start(self._keep_nursery)
                    while not self._left:
                        await self._step(lines, interrupts)
                    self._leave()
                nursery.cancel_scope.cancel()
        finally:
            await lines.close()
        return _status(self._leaving)

    @trio.lowlevel.enable_ki_protection
    async def interact_with_ipython(self, terminal: Any, interrupts: Interrupts) -> int:
        """Have IPython take inputs until the end; returns the exit status."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._keep_nursery)
            await cli_ipython.interact(terminal, sys.modules["__main__"], interrupts)
            self._leave()
        return 0

    async def _step(self, lines: TerminalLines, interrupts: Interrupts) -> None:
        """Have one line typed, and do what it asks for."""
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        try:
            line = await lines.read("... " if self._engine.is_continued else ">>> ")
        except KeyboardInterrupt:
            self._engine.forget_lines()
            print("\nKeyboardInterrupt")
            return
        if line is None:
            print()
            if not self._engine.is_continued:
                self._left = True
                return
            # As if the block had been closed.
            line = ""
        elif not self._engine.is_continued and self._leaves(line):
            self._left = True
            return
        for part in line.split("\n"):
            parsed = self._engine.parse_line(f"{part}\n")
            if isinstance(parsed, Exception):
                _show(parsed)
            elif parsed is not None and not await self._run(parsed, interrupts):
                # Several lines were pasted: the others are dropped.
                return

    def _leaves(self, line: str) -> bool:
        name = line.strip()
        return name in _LEAVING and isinstance(self._names.get(name), _Leave)

    async def _run(self, tree: ast.Interactive, interrupts: Interrupts) -> bool:
        """Run an input; returns False if it has ended the prompt, or was interrupted."""
        with interrupts.of_input():
            goes_on = await self._run_input(tree)
        try:
            await trio.lowlevel.checkpoint()
        except KeyboardInterrupt:  # it came too late for the input
            return False
        return goes_on

    async def _run_input(self, tree: ast.Interactive) -> bool:
        try:
            await self._execute(tree)
        except BaseException as error:
            if _has(error, trio.Cancelled):
                raise
            if isinstance(inner := innermost(error), SystemExit):
                self._leaving, self._left = inner.code, True
                return False
            _show(error.with_traceback(without_our_frames(error.__traceback__, self._engine.filename)))
            return not _has(error, KeyboardInterrupt)
        return True

    @trio.lowlevel.disable_ki_protection
    async def _execute(self, tree: ast.Interactive) -> None:
        await self._engine.execute(tree)

    @trio.lowlevel.enable_ki_protection
    async def _keep_nursery(self, task_status: trio.TaskStatus[None]) -> None:
        """Have `nursery` at the prompt be one that runs: an exception of a task ends its other tasks only."""
        started = False
        while not self._left:
            try:
                async with trio.open_nursery() as nursery:
                    self._nursery = self._names["nursery"] = nursery
                    if not started:
                        task_status.started()
                    started = True
                    await trio.sleep_forever()
            except BaseException as error:
                if _has(error, trio.Cancelled) or not started:
                    raise
                _show(error)

    # ---- from a file or a pipe ----

    @trio.lowlevel.enable_ki_protection
    async def run_script(self) -> int:
        """Run what standard input has, as Python does; returns the exit status."""
        name = "<stdin>"
        if sys.stdin is None:
            return 0
        try:
            text = await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
            # Some editors begin a file so; Python ignores it.
            text = text.removeprefix("\ufeff")
            linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
            tree = ast.parse(text, name)
        except (OSError, ValueError, SyntaxError, RecursionError, MemoryError) as error:
            _show(error.with_traceback(None))
            return _FAILED
        status = 0
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = self._names["nursery"] = nursery
                try:
                    await self._execute_script(tree, name)
                except BaseException as error:
                    if _has(error, trio.Cancelled):
                        raise
                    status = _end(error.with_traceback(without_our_frames(error.__traceback__, name)))
                self._leave()
        except BaseException as error:
            # Of its tasks.
            if _has(error, trio.Cancelled):
                raise
            error = innermost(error)
            status = _end(error.with_traceback(without_our_frames(error.__traceback__, name)))
        return status

    @trio.lowlevel.disable_ki_protection
    async def _execute_script(self, tree: ast.Module, name: str) -> None:
        await execute(tree, self._names, name)


def _end(error: BaseException) -> int:
    """The exit status of a program that has ended with an exception, which is shown."""
    if isinstance(inner := innermost(error), SystemExit):
        return _status(inner.code)
    _show(error)
    return -signal.SIGINT if _has(error, KeyboardInterrupt) else _FAILED


def _status(code: object) -> int:
    """The exit status for what `SystemExit` was given."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    with suppress(OSError, ValueError):
        print(code, file=sys.stderr)
    return _FAILED


async def _go(options: ReplOptions) -> StdioThread:
    thread = await stdio_bootstrap(
        local_thread,
        await carrier(options),
        by=cast("Literal['argument', 'line', 'shell']", options.by or "argument"),
        login_shell=options.ssh is not None,
        ignore_signals=_OF_TERMINALS,
    )
    try:
        # If it has our terminal: Ctrl-C is for the input, and not for what is there.
        with suppress(PermissionError):
            await thread.task.setsid()
        for sig in _OF_TERMINALS:
            await thread.task.sigaction(sig, await thread.ptr(Sigaction(Sighandler.DFL)), None)
    except BaseException:
        await thread.close()
        raise
    return thread


def _greet(options: ReplOptions) -> None:
    python = ".".join(map(str, sys.version_info[:3]))
    what = "this program"
    if options.ssh is not None or options.via is not None:
        what = f"a process that {readable(' '.join(options.via or ['ssh', *(options.ssh or [])]))} leads to"
    print(f"Python {python}, with await at the prompt. thread is {what}; exit or Ctrl-D ends this.")


async def _main(options: ReplOptions, interactive: bool) -> int:
    if options.via is None and options.ssh is None:
        return await _in_place(options, local_thread, interactive)
    there = await _go(options)
    async with there:
        return await _in_place(options, there, interactive)


async def _in_place(options: ReplOptions, thread: Thread, interactive: bool) -> int:
    if not interactive:
        return await _Repl(_names(thread)).run_script()
    with Interrupts(local_thread.monitor.hub) as interrupts:
        return await _interact(options, _Repl(_names(thread)), interrupts)


async def _interact(options: ReplOptions, prompt: _Repl, interrupts: Interrupts) -> int:
    _greet(options)
    if not options.plain:
        terminal = None
        try:
            terminal = cli_ipython.load()
        except Exception as error:
            say(f"IPython cannot be used: {type(error).__name__}: {error}", "repl")
        if terminal is not None:
            return await prompt.interact_with_ipython(terminal, interrupts)
    return await prompt.interact(interrupts)


def _in_background() -> bool:
    try:
        return os.tcgetpgrp(0) != os.getpgrp()
    except OSError:  # it is not our controlling terminal
        return False


class _Terminal:
    """Restores the attributes of the terminal in the end, also when a signal ends the program."""

    def __enter__(self) -> None:
        self._attributes = termios.tcgetattr(0)
        self._signals = [
            sig for sig in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(sig) is signal.SIG_DFL
        ]
        for sig in self._signals:
            signal.signal(sig, self._end)

    def __exit__(self, *exc_info: object) -> None:
        for sig in self._signals:
            signal.signal(sig, signal.SIG_DFL)
        self._restore()

    def _restore(self) -> None:
        # In the background this would stop us, and the terminal is that of others.
        if not _in_background():
            with suppress(termios.error):
                termios.tcsetattr(0, termios.TCSADRAIN, self._attributes)

    def _end(self, sig: int, frame: object) -> None:
        # Even if an input never gives control back to trio.
        self._restore()
        signal.signal(sig, signal.SIG_DFL)
        os.kill(os.getpid(), sig)


def _run(options: ReplOptions) -> int:
    if not (sys.stdin is not None and sys.stdin.isatty() and sys.stdout is not None and sys.stdout.isatty()):
        return trio.run(_main, options, False)
    with _Terminal():
        return trio.run(_main, options, True)


def repl(options: ReplOptions) -> int:
    """Run the prompt as the options say.

    Returns:
        The exit status, or the number of a signal, negative, of which this program is to die.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        try:
            return _run(options)
        except BaseException as error:
            raise innermost(error) from None
    except ExecutableNotFound:
        say(f"there is no {options.via[0] if options.via else 'ssh'} in PATH", "repl")
    except (BootstrapError, SyscallError) as error:
        say(str(error), "repl")
    except OSError as error:
        where = "" if error.filename is None else f" ({readable(str(error.filename))})"
        say(f"{error.strerror or error}{where}", "repl")
    return _FAILED
