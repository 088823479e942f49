"""Running programs that drive processes, to see whether these end with the programs.

A program is a function of some module in this directory. While one runs, the test is a *subreaper*: processes
that lose their parent become its children, so that none can get away unseen.

This module has two fixtures, which `conftest.py` imports, and the classes of their values.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import children, is_running
from waiting import eventually

_HERE = Path(__file__).parent
_PR_SET_CHILD_SUBREAPER = 36
_WALL = 0x40000000
_MARK = "RSYSCALL_TESTS_ZYGOTE"


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


# A bound that a busy machine does not reach; pytest's own is longer.
PATIENCE = 90.0


class Program:
    """One running program, our child.

    Attributes:
        pid: its process id.
        stdin: where it reads from.
    """

    def __init__(self, pid: int, stdin: int, stdout: int, stderr: int) -> None:
        self.pid = pid
        self.stdin = stdin
        self.status: int | None = None
        self._stdout = stdout
        self._stderr = stderr
        self._buffer = b""

    def read_line(self, seconds: float = PATIENCE) -> str:
        """The next line of its output, without the end of line; fails if there is none."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self._buffer:
            timeout = max(0.0, deadline - time.monotonic())
            readable, _, _ = select.select([self._stdout], [], [], timeout)
            if not readable:
                raise AssertionError(f"no output within {seconds} s; errors: {self.errors()}")
            data = os.read(self._stdout, 65536)
            if not data:
                raise AssertionError(f"the program ended early; errors: {self.errors()}")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()

    def read_json(self, seconds: float = PATIENCE) -> Any:
        """The next line of its output, decoded."""
        return json.loads(self.read_line(seconds))

    def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        os.write(self.stdin, line.encode() + b"\n")

    def errors(self) -> str:
        """What it has written to its standard error so far."""
        size = os.fstat(self._stderr).st_size
        return os.pread(self._stderr, size, 0).decode(errors="replace")

    def kill(self, sig: int = signal.SIGKILL) -> None:
        """Send it a signal."""
        os.kill(self.pid, sig)

    def wait(self, seconds: float = PATIENCE) -> int:
        """Wait for its end and return the exit status, or minus the signal that killed it."""
        if self.status is None:
            assert eventually(self._reaped, seconds), f"still running after {seconds} s: {self.errors()}"
        assert self.status is not None
        return self.status

    def finish(self, seconds: float = PATIENCE) -> str:
        """Wait for its end, which must be a success without error output, and return its output."""
        with open(self._stdout, "rb", closefd=False, buffering=0) as stdout:
            deadline = time.monotonic() + seconds
            while True:
                readable, _, _ = select.select([stdout], [], [], max(0.0, deadline - time.monotonic()))
                if not readable:
                    raise AssertionError(f"still running after {seconds} s: {self.errors()}")
                data = stdout.read(65536)
                if not data:
                    break
                self._buffer += data
        status = self.wait(seconds)
        assert status == 0, f"exit status {status}; errors: {self.errors()}"
        assert not self.errors(), self.errors()
        return self._buffer.decode()

    def _reaped(self) -> bool:
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            self.status = os.waitstatus_to_exitcode(status)
        return bool(pid)

    def close(self) -> None:
        """End it, and close our descriptors for it."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        for fd in (self.stdin, self._stdout, self._stderr):
            os.close(fd)


class Programs:
    """Starts programs, and looks for processes that they have left behind."""

    def __init__(self, connection: socket.socket, zygote: int, mark: str) -> None:
        self._connection = connection
        self._zygote = zygote
        self._mark = mark
        self._running: list[Program] = []
        self.before = children()

    def start(self, function: str, *, environ: dict[str, str] | None = None, **arguments: Any) -> Program:
        """Start a program.

        Args:
            function: module:name.
            environ: added to its environment.
            arguments: of the function; what JSON can express.
        """
        stdin, stdin_write = os.pipe()
        stdout_read, stdout = os.pipe()
        stderr = os.memfd_create("stderr")
        transport = os.environ.get("RSYSCALL_TRANSPORT", "ring")
        request = {
            "function": function,
            "environ": {"RSYSCALL_TRANSPORT": transport, **(environ or {})},
            "arguments": arguments,
        }
        socket.send_fds(self._connection, [json.dumps(request).encode()], [stdin, stdout, stderr])
        os.close(stdin)
        os.close(stdout)
        pid = json.loads(self._connection.recv(100))
        program = Program(pid, stdin_write, stdout_read, stderr)
        self._running.append(program)
        return program

    def run(
        self,
        function: str,
        *,
        environ: dict[str, str] | None = None,
        seconds: float = PATIENCE,
        **arguments: Any,
    ) -> str:
        """Run a program to its end, which must be a success; return its output."""
        program = self.start(function, environ=environ, **arguments)
        output = program.finish(seconds)
        self.assert_nothing_left()
        return output

    def left(self) -> dict[int, str]:
        """Running processes of programs that have ended, each with its description."""
        found = {}
        known = {self._zygote, *(program.pid for program in self._running)} | self.before
        for pid in children() - known:
            # Nothing but what the programs made can become our child.
            if is_running(pid):
                found[pid] = "a child"
        mark = f"{_MARK}={self._mark}".encode()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) in known:
                continue
            try:
                environ = (entry / "environ").read_bytes()
            except OSError:
                continue
            if mark in environ.split(b"\0") and is_running(int(entry.name)):
                found[int(entry.name)] = "its environment"
        return {pid: f"known by {how}: {_describe(pid)}" for pid, how in found.items()}

    def reap(self) -> None:
        """Reap dead processes that programs have left."""
        for pid in children() - self.before - {self._zygote, *(program.pid for program in self._running)}:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG | _WALL)

    def assert_nothing_left(self) -> None:
        """Everything that ended programs have made must be gone, or go soon."""
        assert eventually(lambda: not self.left()), self.left()
        self.reap()

    def forget(self, program: Program) -> None:
        """A program has ended and been closed."""
        self._running.remove(program)

    def close(self) -> None:
        """End everything."""
        for program in self._running:
            program.close()
        for pid in self.left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: not self.left())
        self.reap()


def _describe(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
        call = Path(f"/proc/{pid}/syscall").read_text().strip()
    except OSError:
        return f"{pid}, gone meanwhile"
    kept = [line for line in status if line.startswith(("Name", "State", "PPid", "Uid", "Sig"))]
    return f"{pid} {b' '.join(words).decode()} {kept} in {call}"


@pytest.fixture(scope="session")
def zygote() -> Iterator[tuple[socket.socket, int, str]]:
    """The program that makes programs; see `zygote.py`."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    mark = f"{os.getpid()}.{time.monotonic_ns()}"
    process = subprocess.Popen(
        [sys.executable, str(_HERE / "zygote.py")],
        stdin=theirs,
        env={**os.environ, _MARK: mark},
    )
    theirs.close()
    yield ours, process.pid, mark
    ours.close()
    assert process.wait(40) == 0


@pytest.fixture
def programs(zygote: tuple[socket.socket, int, str]) -> Iterator[Programs]:
    """Starts programs for a test, and ends them with it."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    programs = Programs(*zygote)
    try:
        yield programs
    finally:
        programs.close()
        _prctl(_PR_SET_CHILD_SUBREAPER, 0)
