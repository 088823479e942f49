"""Other parts of the same program go on working: threads, asyncio, subprocess, signal handlers, fork."""

from __future__ import annotations

import subprocess
import sys

import pytest
from drivers import Programs

pytestmark = pytest.mark.usefixtures("transport")


@pytest.mark.parametrize("what", ["subprocess", "asyncio", "busy"])
def test_others_make_children_too(programs: Programs, what: str) -> None:
    programs.run("coexistence_drivers:others", what=what)


@pytest.mark.parametrize("how", ["waitpid", "ignore"])
def test_stolen_children(programs: Programs, how: str) -> None:
    """Reaped by the program's own `os.waitpid(-1)`, or by the kernel since SIGCHLD is ignored."""
    programs.run("coexistence_drivers:stolen", how=how)


def test_fork_before_use(programs: Programs, transport: str) -> None:
    programs.run("coexistence_drivers:fork_before_use")


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_fork(programs: Programs, where: str) -> None:
    programs.run("coexistence_drivers:fork", where=where)


@pytest.mark.parametrize(
    "program",
    [
        "unchanged",
        pytest.param("use_multiprocessing", marks=pytest.mark.slow),
        pytest.param("signal_storm", marks=pytest.mark.slow),
        "sigchld_handler",
        "watcher_is_not_stolen",
        "several_runs",
        "other_thread",
        "worker_thread",
        "fork_and_exit",
    ],
)
def test_program(programs: Programs, program: str) -> None:
    programs.run(f"coexistence_drivers:{program}")


_IMPORT = """
import os, signal, sys, threading
def facts():
    kept = ("SigBlk", "SigIgn", "SigCgt", "Threads", "NoNew")
    status = [line for line in open("/proc/self/status") if line.startswith(kept)]
    return (
        sorted(os.listdir("/proc/self/fd")), status, [signal.getsignal(n) for n in signal.valid_signals()],
        dict(os.environ), os.getcwd(), sys.getswitchinterval(), signal.set_wakeup_fd(-1),
        open(f"/proc/self/task/{os.getpid()}/children").read(),
    )
import trio, logging, select, struct, subprocess
before = facts()
import rsyscall.local
after = facts()
assert before == after, (before, after)
thread = rsyscall.local.LocalThread()
after = facts()
assert before == after, (before, after)
"""


def test_import_changes_nothing() -> None:
    """Nor does making the local thread: nothing is opened before it is needed."""
    subprocess.run([sys.executable, "-c", _IMPORT], check=True)
