"""`rsyscall run --via` and `--ssh`: what the command is and does in another place."""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sshd import SSHD, Server, serving
from waiting import eventually

from .conftest import Programs
from .test_signals import ON_A_TERMINAL

pytestmark = pytest.mark.slow

VIA = ["--via", "sh -c"]
READY = "echo ready; while :; do sleep 0.02; done"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """An sshd that lets us in."""
    with serving(tmp_path) as server:
        yield server


def wait_ready(started: subprocess.Popen[str]) -> None:
    assert started.stdout is not None
    line = started.stdout.readline()
    assert line == "ready\n", started.communicate()


@pytest.mark.parametrize("by", ["argument", "line"])
def test_streams_and_status(cli: Programs, by: str) -> None:
    script = "cat; echo oops >&2; exit 7"
    result = cli.run(*VIA, "--by", by, "--", "sh", "-c", script, input="in and out\n")
    assert result == (7, "in and out\n", "oops\n")


def test_typed_into_a_shell(cli: Programs) -> None:
    assert cli.run("--via", "sh", "--by", "shell", "--", "echo", "a b") == (0, "a b\n", "")


@pytest.mark.parametrize(
    ("script", "status"), [("kill -TERM $$", 143), ("kill -INT $$", -signal.SIGINT), ("exit 130", 130)]
)
def test_signals_of_the_command(cli: Programs, script: str, status: int) -> None:
    assert cli.run(*VIA, "--", "sh", "-c", script) == (status, "", "")


def test_much_in_both_directions(cli: Programs, tmp_path: Path) -> None:
    data = os.urandom(5_000_000)
    (tmp_path / "in").write_bytes(data)
    with open(tmp_path / "in", "rb") as source, open(tmp_path / "out", "wb") as sink:
        assert cli.run(*VIA, "--", "cat", stdin=source, stdout=sink).status == 0
    assert (tmp_path / "out").read_bytes() == data


def test_input_that_is_not_read(cli: Programs, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(bytes(1_000_000))
    with open(tmp_path / "in", "rb") as source:
        assert cli.run(*VIA, "--", "true", stdin=source) == (0, "", "")
    # And input that never comes.
    reading, writing = os.pipe()
    try:
        assert cli.run(*VIA, "--", "echo", "done", stdin=reading) == (0, "done\n", "")
    finally:
        os.close(reading)
        os.close(writing)


def test_output_that_is_not_read(cli: Programs) -> None:
    """The command learns of it as it would here."""
    started = cli.start("run", *VIA, "--", "sh", "-c", "trap '' PIPE; while echo y; do :; done; exit 9")
    assert started.stdout is not None
    assert started.stdout.readline() == "y\n"
    started.stdout.close()
    assert started.wait(60) == 9
    started.stdout = None


def unread(sock: socket.socket) -> int:
    """How many bytes a socket has received that were not read."""
    count = bytearray(4)
    fcntl.ioctl(sock, termios.FIONREAD, count)
    return int.from_bytes(count, sys.byteorder)


def test_streams_that_do_not_wait(cli: Programs) -> None:
    """Another program may have made them so, as ssh does: nothing is lost."""
    data = "".join(f"{number}\n" for number in range(400_000))
    ours, theirs = socket.socketpair()

    def full() -> bool:
        before = unread(ours)
        time.sleep(0.05)
        return 0 < before == unread(ours)

    with ours, theirs:
        theirs.setblocking(False)
        started = cli.start("run", *VIA, "--", "cat", stdin=theirs, stdout=theirs)
        theirs.close()
        # Nothing is there to read at first, and the output is taken late.
        assert eventually(lambda: "cat" in cli.alive().values())
        sender = threading.Thread(target=lambda: (ours.sendall(data.encode()), ours.shutdown(socket.SHUT_WR)))
        sender.start()
        assert eventually(full)
        with ours.makefile("rb") as output:
            assert output.read() == data.encode()
        sender.join()
    assert started.wait(60) == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the place does not permit it")
def test_output_that_cannot_be_written(cli: Programs) -> None:
    with open("/dev/full", "wb") as full:
        assert cli.run(*VIA, "--", "echo", "lost", stdout=full) == (
            125,
            "",
            "rsyscall run: write standard output: No space left on device\n",
        )
        result = cli.run(*VIA, "--", "sh", "-c", "echo lost; exit 3", stdout=full)
        assert (result.status, result.err.count("No space left")) == (3, 1)
        assert cli.run(*VIA, "--", "sh", "-c", "echo lost >&2", stderr=full).status == 125
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert cli.run(*VIA, "--", "echo", "lost", stdout=writing) == (
            125,
            "",
            "rsyscall run: write standard output: Broken pipe\n",
        )
        script = "while echo y; do :; done"
        assert cli.run(*VIA, "--", "sh", "-c", script, stdout=writing)[::2] == (141, "")
    finally:
        os.close(writing)


def test_input_that_cannot_be_read(cli: Programs) -> None:
    # Nothing is at address 0.
    memory = os.open("/proc/self/mem", os.O_RDONLY)
    null = os.open("/dev/null", os.O_WRONLY)
    try:
        assert cli.run(*VIA, "--", "cat", stdin=memory) == (
            125,
            "",
            "rsyscall run: read standard input: Input/output error\n",
        )
        # As nohup has it.
        assert cli.run(*VIA, "--", "cat", stdin=null) == (0, "", "")
    finally:
        os.close(memory)
        os.close(null)


@pytest.mark.parametrize("script", ["yes", "yes | head -c 100000; echo >&2"])
def test_a_signal_while_output_is_not_read(cli: Programs, script: str) -> None:
    reading, writing = os.pipe()
    try:
        started = cli.start("run", *VIA, "--", "sh", "-c", f"echo ready >&2; {script}", stdout=writing)
        assert started.stderr is not None
        assert started.stderr.readline() == "ready\n"
        if "head" in script:
            assert started.stderr.readline() == "\n"
            time.sleep(0.5)
        started.send_signal(signal.SIGTERM)
        assert started.wait(30) == (125 if "head" in script else 143)
        said = started.stderr.read()
        assert said == (
            "rsyscall run: write standard output: it was not read in time\n" if "head" in script else ""
        )
    finally:
        os.close(reading)
        os.close(writing)


def test_a_timeout_while_output_is_not_read(cli: Programs) -> None:
    reading, writing = os.pipe()
    try:
        assert cli.run(*VIA, "--timeout", "0.5", "--", "yes", stdout=writing).status == 124
    finally:
        os.close(reading)
        os.close(writing)


def test_closed_streams(cli: Programs) -> None:
    """They are closed for the command, as they are here."""
    script = "for fd in 0 1 2; do test -e /proc/self/fd/$fd || n=$n$fd; done; exit 1$n"
    for number in range(3):
        prefix = ["sh", "-c", f'exec "$@" {number}>&-', "sh"]
        result = cli.run(*VIA, "--", "sh", "-c", "ls -l /proc/$$/fd >/dev/null; " + script, prefix=prefix)
        assert result == (10 + number, "", "")


def test_what_descendants_keep_open(cli: Programs) -> None:
    """As without --via, the end of the command is the end."""
    assert cli.run(*VIA, "--", "sh", "-c", "(sleep 1; sleep 3) & echo done")[:2] == (0, "done\n")
    assert eventually(lambda: cli.alive() == {})


def test_the_process_is_made_there(cli: Programs, tmp_path: Path) -> None:
    options = ["--setenv", "A=1", "--unsetenv", "B", "--chdir", str(tmp_path), "--umask", "027"]
    via = ["--via", "env B=2 C=3 sh -c"]
    result = cli.run(*via, *options, "--", "sh", "-c", 'echo "$A $B $C"; pwd; umask')
    assert result == (0, f"1  3\n{tmp_path}\n0027\n", "")
    result = cli.run(*VIA, "--", "grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status")
    blocked, ignored = (int(mask, 16) for mask in re.findall(r"\t(\w+)", result.out))
    assert blocked == 0
    assert ignored & 0x7FFFFFFF == 0


@pytest.mark.needs("pid namespaces", "uts namespaces", "mounts of proc")
def test_namespaces_there(cli: Programs) -> None:
    options = ["--map-root", "--pid", "--mount", "--hostname", "box"]
    result = cli.run(*VIA, *options, "--", "sh", "-c", "echo $$; id -u; uname -n; ls -d /proc/1")
    assert result == (0, "1\n0\nbox\n/proc/1\n", "")


@pytest.mark.needs("other users", "mount namespaces")
def test_another_user_there(cli: Programs, tmp_path: Path) -> None:
    """Names are looked up where the command runs."""
    for name, line in (("passwd", "there:x:1234:55:::"), ("group", "team:x:77:")):
        (tmp_path / name).write_text(f"{line}\n{Path('/etc', name).read_text()}")
    mounts = "; ".join(f"mount --bind {tmp_path}/{name} /etc/{name}" for name in ("passwd", "group"))
    via = ["--via", shlex.join(["unshare", "-m", "sh", "-c", f'{mounts}; exec sh -c "$0"'])]
    script = ["--", "sh", "-c", "id -u; id -g; id -G"]
    assert cli.run(*via, "--run-as", "there", *script) == (0, "1234\n55\n55\n", "")
    assert cli.run(*via, "--run-as", "there:team", *script) == (0, "1234\n77\n77\n", "")
    assert cli.run(*via, "--run-as", "1234", *script) == (0, "1234\n55\n55\n", "")
    assert "there is no 'missing' in /etc/passwd there" in cli.run(*via, "--run-as", "missing", *script).err


@pytest.mark.needs("other users")
@pytest.mark.skipif(shutil.which("sudo") is None, reason="sudo is not installed")
def test_another_user_by_sudo(cli: Programs) -> None:
    result = cli.run("--via", "sudo -n sh -c", "--run-as", "daemon", "--", "sh", "-c", "id -un; id -gn")
    assert result == (0, "daemon\ndaemon\n", "")


def test_errors(cli: Programs, tmp_path: Path) -> None:
    def said(*arguments: str) -> tuple[int, str]:
        result = cli.run(*arguments)
        assert result.out == ""
        return result.status, result.err

    assert said("--via", "no-such-program x", "ls") == (
        125,
        "rsyscall run: find the way: there is none in PATH (no-such-program)\n",
    )
    status, text = said("--via", "/nonexistent/x", "ls")
    assert (status, text) == (125, "rsyscall run: go elsewhere: No such file or directory (/nonexistent/x)\n")
    status, text = said("--via", "sh -c 'echo You may not. >&2; exit 3'", "ls")
    assert status == 125
    assert "it exited with status 3" in text
    assert "You may not." in text
    assert said(*VIA, "no-such-program")[0] == 127
    assert said(*VIA, "/etc/passwd")[0] == 126


@pytest.mark.parametrize("options", [[], ["--user", "--pid"]], ids=["", "pid 1"])
@pytest.mark.parametrize("name", ["HUP", "INT", "TERM", "USR1"])
def test_signals_are_passed_on(cli: Programs, options: list[str], name: str) -> None:
    script = f"trap 'echo got it; exit 3' {name}; {READY}"
    started = cli.start("run", *VIA, *options, "--", "sh", "-c", script)
    wait_ready(started)
    started.send_signal(signal.Signals[f"SIG{name}"])
    assert started.communicate(timeout=60) == ("got it\n", "")
    assert started.returncode == 3


@pytest.mark.parametrize("options", [[], ["--user", "--pid"]], ids=["", "pid 1"])
def test_a_signal_ends_the_command(cli: Programs, options: list[str]) -> None:
    started = cli.start("run", *VIA, *options, "--", "sh", "-c", READY)
    wait_ready(started)
    started.send_signal(signal.SIGTERM)
    assert started.wait(60) == 143


def test_interrupt_from_the_terminal(cli: Programs) -> None:
    """The terminal signals what leads there, too, which must not end; the command gets it once, from us."""
    leader, follower = os.openpty()
    script = f"n=0; trap 'n=$((n+1)); echo int $n; sleep 0.3; exit 6' INT; {READY}"
    try:
        started = cli.start(
            *["run", *VIA, "--", "sh", "-c", script],
            prefix=[sys.executable, "-c", ON_A_TERMINAL],
            stdin=follower,
            stdout=follower,
            stderr=follower,
        )
        output = b""
        while b"ready" not in output:
            output += os.read(leader, 1000)
        os.write(leader, b"\x03")
        assert started.wait(60) == 6
        os.set_blocking(leader, False)
        output += os.read(leader, 1000)
    finally:
        os.close(follower)
        os.close(leader)
    assert output.replace(b"^C", b"").split() == [b"ready", b"int", b"1"]


def test_a_signal_at_any_moment(cli: Programs) -> None:
    for step in range(8):
        started = cli.start("run", *VIA, "--", "sleep", "100")
        with pytest.raises(subprocess.TimeoutExpired):
            started.wait(0.15 * (step + 1))
        started.send_signal(signal.SIGTERM)
        assert started.wait(60) in (-signal.SIGTERM, 143), started.communicate()
        assert started.communicate() == ("", ""), step
        assert eventually(lambda: cli.alive() == {}), cli.alive()
    # A shell that is killed while it writes the program leaves that; a later connection would remove it.
    for left in Path(os.environ["TMPDIR"]).glob("rsyscall-" + 16 * "?"):
        assert {path.name for path in left.iterdir()} <= {"rsyscall-stub"}
        shutil.rmtree(left)


def test_it_is_killed(cli: Programs) -> None:
    started = cli.start("run", *VIA, "--", "sh", "-c", READY)
    wait_ready(started)
    started.kill()
    assert eventually(lambda: cli.alive() == {}), cli.alive()


def test_timeout(cli: Programs) -> None:
    result = cli.run(*VIA, "--timeout", "0.2", "--", "sleep", "100")
    assert result == (124, "", "rsyscall run: the command took longer than 0.2 s\n")


def test_trace(cli: Programs) -> None:
    result = cli.run(*VIA, "--trace", "--", "echo", "hello")
    assert result.out == "hello\n"
    assert re.search(r"behind a command.*pipe2", result.err)
    assert 'execve("/' in result.err.splitlines()[-1] or "execve" in result.err


@pytest.mark.skipif(SSHD is None, reason="sshd is not installed")
def test_ssh(cli: Programs, server: Server) -> None:
    host = ["--ssh", shlex.join(server.words())]
    script = "cat; echo ${SSH_CONNECTION%% *} >&2; exit 4"
    assert cli.run(*host, "--", "sh", "-c", script, input="x\n") == (4, "x\n", "127.0.0.1\n")
    started = cli.start("run", *host, "--", "sh", "-c", f"trap 'echo got it; exit 3' INT; {READY}")
    wait_ready(started)
    started.send_signal(signal.SIGINT)
    assert started.communicate(timeout=60) == ("got it\n", "")
    assert started.returncode == 3
    result = cli.run("--ssh", shlex.join(server.words(UserKnownHostsFile="/dev/null")), "--", "true")
    assert result.status == 125
    assert "Host key verification failed" in result.err


@pytest.mark.skipif(SSHD is None, reason="sshd is not installed")
def test_ssh_is_killed(cli: Programs, server: Server) -> None:
    words = shlex.join(server.words())
    started = cli.start("run", "--ssh", words, "--", "sh", "-c", f"echo ready >&2; {READY}")
    wait_ready(started)
    [client] = [pid for pid, name in cli.alive().items() if name == "ssh"]
    os.kill(client, signal.SIGKILL)
    _, said = started.communicate(timeout=60)
    assert started.returncode == 125
    assert "wait for the command: the connection was lost" in said
