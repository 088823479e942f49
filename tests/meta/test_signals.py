"""Signals reach the command, and it does not survive us."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from waiting import eventually

from .conftest import Programs

pytestmark = pytest.mark.slow

PID = ["--user", "--pid"]
READY = "echo ready; while :; do sleep 0.02; done"


def start(cli: Programs, *arguments: str) -> subprocess.Popen[str]:
    """Start a script, and wait until it says that it is ready."""
    started = cli.start("run", *arguments)
    assert started.stdout is not None
    line = started.stdout.readline()
    assert line == "ready\n", started.communicate()
    return started


@pytest.mark.parametrize("options", [[], PID], ids=["", "pid 1"])
@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2"])
def test_a_signal_ends_the_command(cli: Programs, options: list[str], name: str) -> None:
    number = signal.Signals[f"SIG{name}"]
    started = start(cli, *options, "--", "sh", "-c", f"ulimit -c 0; {READY}")
    started.send_signal(number)
    # Shells end a script only if a command of it dies of one of these two, and exit with 128 + N then.
    assert started.wait(40) == (-number if name in ("INT", "QUIT") else 128 + number)
    assert started.communicate() == ("", "")


@pytest.mark.parametrize("options", [[], PID], ids=["", "pid 1"])
def test_the_command_may_handle_a_signal(cli: Programs, options: list[str]) -> None:
    started = start(cli, *options, "--", "sh", "-c", f"trap 'echo got it; exit 3' TERM; {READY}")
    started.send_signal(signal.SIGTERM)
    assert started.communicate(timeout=40) == ("got it\n", "")
    assert started.returncode == 3


@pytest.mark.parametrize("options", [[], PID], ids=["", "pid 1"])
def test_the_command_may_ignore_a_signal(cli: Programs, options: list[str]) -> None:
    script = f"trap '' TERM; trap 'exit 4' USR1; {READY}"
    started = start(cli, *options, "--", "sh", "-c", script)
    started.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        started.wait(0.3)
    started.send_signal(signal.SIGUSR1)
    assert started.wait(40) == 4


IGNORING_SIGCHLD = """
import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.parametrize("options", [[], PID], ids=["", "pid 1"])
def test_sigchld_may_be_ignored(cli: Programs, options: list[str]) -> None:
    """Some service managers start programs like that. The command inherits it as it would without us."""
    ignoring = [sys.executable, "-c", IGNORING_SIGCHLD]
    assert cli.run(*options, "--", "sh", "-c", "exit 5", prefix=ignoring) == (5, "", "")
    result = cli.run(*options, "--", "grep", "^SigIgn", "/proc/self/status", prefix=ignoring)
    assert int(result.out.split()[1], 16) >> (signal.SIGCHLD - 1) & 1


@pytest.mark.parametrize("options", [[], PID], ids=["", "pid 1"])
def test_nothing_survives_us(cli: Programs, options: list[str]) -> None:
    started = start(cli, *options, "--", "sh", "-c", READY)
    assert len(cli.alive()) >= 2
    started.kill()
    started.wait()
    # Without a pid namespace the sleep that the shell had started is on its own, for its 20 ms.
    assert eventually(lambda: cli.alive() == {}), cli.alive()


ON_A_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.parametrize("options", [[], PID], ids=["", "pid 1"])
@pytest.mark.parametrize(
    ("script", "status", "printed"),
    [
        # The terminal signals both of us: the command must not get the signal twice.
        (f"n=0; trap 'n=$((n+1)); echo int $n; sleep 0.3; exit 6' INT; {READY}", 6, "int 1"),
        (READY, -signal.SIGINT, ""),
    ],
    ids=["handled", "not handled"],
)
def test_interrupt_from_the_terminal(
    cli: Programs, options: list[str], script: str, status: int, printed: str
) -> None:
    leader, follower = os.openpty()
    try:
        started = cli.start(
            *["run", *options, "--", "sh", "-c", script],
            prefix=[sys.executable, "-c", ON_A_TERMINAL],
            stdin=follower,
            stdout=follower,
            stderr=follower,
        )
        output = b""
        while b"ready" not in output:
            output += os.read(leader, 1000)
        os.write(leader, b"\x03")
        assert started.wait(40) == status
        os.set_blocking(leader, False)
        output += os.read(leader, 1000)
    finally:
        os.close(follower)
        os.close(leader)
    text = output.decode().replace("\r\n", "\n").replace("^C", "").split("ready\n")[1]
    assert text.strip() == printed


def test_interrupt_from_the_terminal_ends_a_script(cli: Programs) -> None:
    """A shell waits for its command, and goes on unless the command has died of the signal."""
    leader, follower = os.openpty()
    bash = shutil.which("bash")
    assert bash is not None
    try:
        started = cli.start(
            *["run", "--", "sh", "-c", READY],
            prefix=[sys.executable, "-c", ON_A_TERMINAL, bash, "-c", 'for n in 1 2; do "$@"; done', "bash"],
            stdin=follower,
            stdout=follower,
            stderr=follower,
        )
        output = b""
        while b"ready" not in output:
            output += os.read(leader, 1000)
        os.write(leader, b"\x03")
        assert started.wait(40) == -signal.SIGINT
    finally:
        os.close(follower)
        os.close(leader)


def test_an_interrupt_at_any_moment(cli: Programs) -> None:
    """Until signals are passed on, Python has its own way with this one."""
    begin = time.monotonic()
    assert cli.run("--map-root", "--pid", "--", "true").status == 0
    needed = time.monotonic() - begin
    for step in range(12):
        started = cli.start("run", "--map-root", "--pid", "--", "sleep", "100")
        time.sleep(needed * (0.4 + step / 12))
        started.send_signal(signal.SIGINT)
        assert started.wait(40) == -signal.SIGINT, started.communicate()


INTERRUPTED_IN_A_CALLBACK = """
import signal, sys, weakref
from rsyscall.cli import main

class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == "rsyscall.cli_run":
            something = Interrupt()
            reference = weakref.ref(something, lambda _: signal.raise_signal(signal.SIGINT))
            del something

sys.meta_path.insert(0, Interrupt())
sys.exit(main())
"""


def test_an_interrupt_in_a_callback() -> None:
    """Python would ignore what is raised there."""
    command = [sys.executable, "-c", INTERRUPTED_IN_A_CALLBACK, "run", "--", "true"]
    assert subprocess.run(command, check=False).returncode == -signal.SIGINT


def test_a_signal_at_any_moment(cli: Programs) -> None:
    """Before, during and after set-up: a status that says so, and nothing left."""
    begin = time.monotonic()
    assert cli.run("--map-root", "--pid", "--mount", "--net", "--", "true").status == 0
    needed = time.monotonic() - begin
    seen = set()
    for step in range(12):
        started = cli.start("run", "--map-root", "--pid", "--mount", "--net", "--", "sleep", "100")
        time.sleep(needed * (0.4 + step / 12))
        started.send_signal(signal.SIGTERM)
        status = started.wait(40)
        out, err = started.communicate()
        assert (out, err) == ("", ""), step
        # The first is what becomes of a Python that has not come to our code.
        assert status in (-signal.SIGTERM, 128 + signal.SIGTERM), step
        seen.add(status)
        assert eventually(lambda: cli.alive() == {}), cli.alive()
    assert 128 + signal.SIGTERM in seen
