"""`rsyscall copy`: a file or a directory, from or to the place that a command leads to."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from typing import TYPE_CHECKING, cast

import trio

from rsyscall.cli_far import BootstrapError, carrier
from rsyscall.cli_options import ENDING, CopyOptions, innermost, readable, say
from rsyscall.environ import ExecutableNotFound
from rsyscall.near import SyscallError
from rsyscall.path import Path
from rsyscall.signal import SIG
from rsyscall.stdlib import CopyProgress, copy_file, copy_tree
from rsyscall.sys.stat import S_IF, Stat
from rsyscall.tasks.local import local_thread
from rsyscall.tasks.stdio import stdio_bootstrap
from rsyscall.thread import Thread

if TYPE_CHECKING:
    from typing import Literal

__all__ = ["copy"]

_FAILED = 1
# Seconds between two lines that say how far it is.
_PAUSE = 0.1


class _Bar:
    """Says on a terminal how far a copy is."""

    def __init__(self, shown: bool) -> None:
        self._shown = shown
        self._next = 0.0
        self._length = 0

    def __call__(self, progress: CopyProgress) -> None:
        now = time.monotonic()
        if self._shown and now >= self._next:
            self._next = now + _PAUSE
            width = shutil.get_terminal_size().columns - 1
            # A name may have anything in it.
            name = "".join(char if char.isprintable() else "?" for char in progress.path.name)
            share = 100 * progress.copied // progress.size if progress.size else 100
            text = f"{_bytes(progress.copied)} {share:3d}% {progress.files} files {name}"[:width]
            self._write("\r" + text + " " * (self._length - len(text)))
            self._length = len(text)

    def end(self) -> None:
        """Remove what was shown."""
        if self._length:
            self._write("\r" + " " * self._length + "\r")

    def _write(self, text: str) -> None:
        if not self._shown:
            return
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, UnicodeError):
            self._shown = False


def _bytes(count: int) -> str:
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} TiB"


async def _is_directory(thread: Thread, path: str) -> bool:
    status = await thread.task.stat(await thread.ptr(Path(path)), await thread.malloc(Stat))
    return (await status.read()).mode.type == S_IF.DIR


async def _copy_until_a_signal(options: CopyOptions, bar: _Bar) -> int:
    """Copy; returns the number of the signal that has ended it, or 0."""
    # They end us when nothing of the copy is left.
    signals = [SIG(sig) for sig in ENDING if signal.getsignal(sig) is not signal.SIG_IGN]
    if not signals:
        await _copy(options, bar, [])
        return 0
    ended_by = 0
    with trio.open_signal_receiver(*signals) as received:
        async with trio.open_nursery() as nursery:

            async def wait_for_one() -> None:
                nonlocal ended_by
                async for sig in received:
                    ended_by = sig
                    # If what is there does not answer, and so cannot be removed.
                    signal.signal(sig, signal.SIG_DFL)
                    nursery.cancel_scope.cancel()

            nursery.start_soon(wait_for_one)
            await _copy(options, bar, signals)
            nursery.cancel_scope.cancel()
    return ended_by


async def _copy(options: CopyOptions, bar: _Bar, signals: list[SIG]) -> None:
    there = await stdio_bootstrap(
        local_thread,
        await carrier(options),
        by=cast("Literal['argument', 'line', 'shell']", options.by or "argument"),
        login_shell=options.ssh is not None,
        # It has to stay until nothing is left there. A terminal sends them to it, too.
        ignore_signals=signals,
    )
    async with there:
        threads = (there, local_thread) if options.there == "source" else (local_thread, there)
        source, destination = threads
        to = Path(options.destination)
        try:
            if await _is_directory(destination, options.destination):
                to = Path(to, os.path.basename(options.source.rstrip("/")))
        except FileNotFoundError:
            pass
        copy = copy_tree if await _is_directory(source, options.source) else copy_file
        await copy(source, options.source, destination, to, progress=bar)


def copy(options: CopyOptions) -> int:
    """Copy as the options say.

    Returns:
        The exit status, or the number of a signal, negative, of which this program is to die.
    """
    bar = _Bar(not options.quiet and sys.stderr is not None and sys.stderr.isatty())
    try:
        try:
            ended_by = trio.run(_copy_until_a_signal, options, bar)
        except BaseException as error:
            raise innermost(error) from None
        finally:
            bar.end()
    except ExecutableNotFound:
        name = options.via[0] if options.via else "ssh"
        say(f"there is no {name} in PATH", "copy")
    except (BootstrapError, SyscallError, ValueError) as error:
        say(str(error), "copy")
    except OSError as error:
        name = error.filename
        path = str(os.fspath(name) if isinstance(name, os.PathLike) else name)
        where = "" if name is None else f" ({readable(path)})"
        say(f"{error.strerror or error}{where}", "copy")
    else:
        return -ended_by
    return _FAILED
