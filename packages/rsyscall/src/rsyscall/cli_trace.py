"""`rsyscall run --trace`, `--trace-file` and `--summary`: where the trace of a run goes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from io import FileIO

from rsyscall.cli_options import FAILED, RunOptions, print_error, reason_of, say
from rsyscall.tasks.local import local_thread
from rsyscall.trace import Tracer, write_to_stderr

__all__ = ["traced"]


class _TraceFile:
    """Has no buffer: what cannot be written must not come up again at the end."""

    def __init__(self, path: str) -> None:
        self._file = FileIO(path, "w")

    def write(self, line: str) -> None:
        """Write a line, all of it."""
        rest = memoryview(f"{line}\n".encode(errors="backslashreplace"))
        while rest:
            count = self._file.write(rest)
            # So says a FIFO that is full and does not wait.
            if count is None:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            rest = rest[count:]

    def close(self) -> None:
        """Raises OSError: what was written may be lost, as where a file system writes later."""
        self._file.close()


def _lost(error: Exception, path: str | None) -> None:
    why = reason_of(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
    where = "standard error" if path is None else path
    say(f"write the trace: {why} ({where}); it is not whole")


def traced(options: RunOptions, body: Callable[[], int]) -> int:
    """Call this with the trace that the options ask for. That it cannot be written is said at the end.

    Returns:
        What the body does.
    """
    path = options.trace_file
    file = None
    if path is not None:
        try:
            file = _TraceFile(path)
        except OSError as error:
            say(f"open the trace file: {reason_of(error)} ({path})")
            return FAILED
    if file is not None:
        tracer = Tracer(file.write)
    else:
        tracer = Tracer(write_to_stderr if options.trace else lambda line: None)
    try:
        with tracer.tracing(local_thread.task, "rsyscall"):
            status = body()
    finally:
        failure = tracer.failure
        if file is not None:
            try:
                file.close()
            except OSError as error:
                failure = failure or error
        if failure is not None:
            _lost(failure, path)
    if options.summary:
        print_error(f"{tracer.summary()}\n")
    return status
