"""`rsyscall repl` with IPython: its prompt in an OS thread, and its cells in the main task of trio.

The terminal is for that thread while a line is typed. Each cell comes to the main task as a coroutine, and is
awaited there: SIGINT raises a KeyboardInterrupt in it, as in an input of the plain prompt.
"""

from __future__ import annotations

import importlib
import math
import threading
import types
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import trio

from rsyscall.cli_interrupts import Interrupts

__all__ = ["interact", "load"]


def load() -> types.ModuleType | None:
    """The module of IPython with its prompt; None if it is not installed.

    Raises:
        Exception: it is installed, and cannot be imported.
    """
    try:
        return importlib.import_module("IPython.terminal.interactiveshell")
    except ModuleNotFoundError as error:
        if error.name != "IPython":
            raise
        return None


class _Cell:
    """A coroutine that the main task runs for the other thread, which waits for the result."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.coroutine = coroutine
        self.done = threading.Event()
        self._result: Any = None
        self._error: BaseException | None = KeyboardInterrupt()

    async def run(self) -> None:
        """Run it, in the main task; raises nothing."""
        try:
            self._result = await _unprotected(self.coroutine)
            self._error = None
        except BaseException as error:
            self._error = error
        finally:
            self.done.set()

    def wait(self) -> Any:
        """Wait for its end, in the other thread; returns or raises what it has."""
        self.done.wait()
        if self._error is not None:
            raise self._error
        return self._result


def _make_shell(terminal: Any, module: types.ModuleType, runner: Callable[[Any], Any]) -> Any:
    class Shell(terminal.TerminalInteractiveShell):  # type: ignore[misc]  # known at run time alone
        def should_run_async(self, *arguments: Any, **options: Any) -> bool:
            # A cell without await, too, may use what belongs to the main thread.
            return True

    shell = Shell.instance(user_module=module, user_ns=vars(module))
    shell.loop_runner = runner
    shell.autoawait = True
    shell.confirm_exit = False
    return shell


@trio.lowlevel.enable_ki_protection
async def interact(terminal: Any, module: types.ModuleType, interrupts: Interrupts) -> None:
    """Run the prompt of IPython until it ends. Called in the main task.

    Args:
        terminal: from `load`.
        module: its variables are those of the prompt.
        interrupts: what SIGINT does.
    """
    send, receive = trio.open_memory_channel[_Cell](math.inf)
    token = trio.lowlevel.current_trio_token()

    def run_cell(coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Called by IPython, in its thread."""
        cell = _Cell(coroutine)
        token.run_sync_soon(send.send_nowait, cell)
        return cell.wait()

    def run_shell() -> None:
        shell = _make_shell(terminal, module, run_cell)
        shell.mainloop()
        shell.atexit_operations()

    async def run() -> None:
        with send:
            await trio.to_thread.run_sync(run_shell, abandon_on_cancel=True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        while True:
            try:
                cell = await receive.receive()
            except KeyboardInterrupt:
                continue  # not from the keyboard: there it is a key, unless a cell runs
            except trio.EndOfChannel:
                break
            with interrupts.of_input():
                await cell.run()
            # One that came too late for the cell.
            with suppress(KeyboardInterrupt):
                await trio.lowlevel.checkpoint()


@trio.lowlevel.disable_ki_protection
async def _unprotected(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return await coroutine
