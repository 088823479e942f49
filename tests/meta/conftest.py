"""Running the command line and the examples from outside, and checking that they leave no process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

NOBODY = 65534
MARK = "RSYSCALL_TEST_MARK"

# Runs the command line or a script as another user. What it imports is imported first: the other user need
# not be able to read it. A program that its user has started may look at itself, so this one may, too.
AS_USER = """
import ast, ctypes, encodings.idna, importlib.readers, locale, multiprocessing.popen_fork, os, sys, tty
uid, program = int(sys.argv[1]), sys.argv[2]
sys.argv = sys.argv[2:]
text = "import sys, rsyscall.cli, rsyscall.cli_run, rsyscall.trace; sys.exit(rsyscall.cli.main())"
if program != "rsyscall":
    text = open(program).read()
imports = [node for node in ast.parse(text).body if isinstance(node, (ast.Import, ast.ImportFrom))]
imports = [node for node in imports if getattr(node, "module", "") != "__future__"]
exec(compile(ast.Module(imports, []), program, "exec"), {})
os.setgroups([])
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE
exec(compile(text, program, "exec"), {"__name__": "__main__", "__file__": program})
"""


class Result(NamedTuple):
    """How a program ended and what it printed."""

    status: int
    out: str
    err: str


def _marked(mark: str) -> dict[int, str]:
    """All processes that a program with this mark in its environment has started."""
    found = {}
    wanted = f"{MARK}={mark}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found[int(entry.name)] = (entry / "comm").read_text().strip()
        except OSError:
            continue
    return found


class Programs:
    """Starts programs, and checks that all their processes are gone in the end."""

    def __init__(self) -> None:
        self.mark = uuid.uuid4().hex
        self._started: list[subprocess.Popen[str]] = []

    def start(
        self,
        *arguments: str | os.PathLike[str],
        uid: int | None = None,
        program: str | os.PathLike[str] = "rsyscall",
        prefix: Sequence[str] = (),
        env: dict[str, str] | None = None,
        **options: Any,
    ) -> subprocess.Popen[str]:
        """Start `python -m rsyscall`, or an example, perhaps as another user, with pipes for its output."""
        environment = {**os.environ, "PYTHONFAULTHANDLER": "1", MARK: self.mark, **(env or {})}
        if path := environment.get("PYTHONPATH"):  # the development tree, usually given relative to the root
            environment["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, path.split(os.pathsep)))
        if uid is not None and os.geteuid() == 0:
            command = [sys.executable, "-c", AS_USER, str(uid), program]
        elif program == "rsyscall":
            command = [sys.executable, "-m", "rsyscall"]
        else:
            command = [sys.executable, program]
        options = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            **options,
        }
        started = subprocess.Popen(
            [*prefix, *map(str, command), *map(str, arguments)], env=environment, text=True, **options
        )
        self._started.append(started)
        return started

    def __call__(self, *arguments: str | os.PathLike[str], **options: Any) -> Result:
        """Start, and wait until it has ended."""
        text = options.pop("input", None)
        if text is not None:
            options["stdin"] = subprocess.PIPE
        started = self.start(*arguments, **options)
        try:
            out, err = started.communicate(text, timeout=90)
        except subprocess.TimeoutExpired:
            # Says where it is; see PYTHONFAULTHANDLER.
            started.send_signal(signal.SIGABRT)
            out, err = started.communicate()
            pytest.fail(f"{arguments} does not end:\n{out}\n{err}")
        return Result(started.returncode, out or "", err or "")

    def run(self, *arguments: str | os.PathLike[str], **options: Any) -> Result:
        """`rsyscall run` with these arguments."""
        return self("run", *arguments, **options)

    def alive(self) -> dict[int, str]:
        """What is still there."""
        return _marked(self.mark)

    def finish(self) -> dict[int, str]:
        """Wait a moment for everything to go; returns what has not, and kills it."""
        for started in self._started:
            if started.poll() is None:
                started.kill()
                started.wait()
            for stream in (started.stdin, started.stdout, started.stderr):
                if stream is not None:
                    stream.close()
        deadline = time.monotonic() + 60
        while (left := self.alive()) and time.monotonic() < deadline:
            time.sleep(0.01)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        return left


@pytest.fixture
def cli() -> Iterator[Programs]:
    """Run the command line; nothing of it may stay."""
    programs = Programs()
    yield programs
    left = programs.finish()
    assert not left, f"left behind: {left}"


@pytest.fixture(params=["as we are", pytest.param("as another", marks=pytest.mark.needs("other users"))])
def user(request: pytest.FixtureRequest) -> int | None:
    """Run a test as the user that we are, and, if that is root, as an ordinary one, too."""
    return None if request.param == "as we are" else NOBODY
