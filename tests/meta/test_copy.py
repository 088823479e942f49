"""`rsyscall copy`."""

from __future__ import annotations

import os
import pty
import shlex
import signal
import time
from pathlib import Path

import pytest
from sshd import SSHD, serving
from waiting import eventually

from rsyscall.cli import CopyOptions, parse

from .conftest import Programs

pytestmark = pytest.mark.slow

VIA = ["--via", "sh -c"]


def test_options() -> None:
    assert parse(["copy", "--ssh", "-p 22 host", ":a", "b"]) == CopyOptions(
        "a", "b", "source", ssh=["-p", "22", "host"]
    )
    assert parse(["copy", "--via", "sh", "--by", "shell", "--quiet", "a", ":b c"]) == CopyOptions(
        "a", "b c", "destination", via=["sh"], by="shell", quiet=True
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*VIA, "a", "b"], "has to begin with a colon"),
        ([*VIA, ":a", ":b"], "has to begin with a colon"),
        ([*VIA, ":", "b"], "a path is empty"),
        (["a", ":b"], "one of --ssh and --via is required"),
        ([*VIA, "--frobnicate", "a", ":b"], "unknown option --frobnicate"),
        ([*VIA, "a"], "required: DESTINATION"),
    ],
)
def test_wrong_command_lines(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        parse(["copy", *arguments])
    assert exited.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("rsyscall copy: ")
    assert message in said


def test_files_and_directories(cli: Programs, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "script").write_text("#!/bin/sh\n")
    (tmp_path / "tree" / "script").chmod(0o751)
    (tmp_path / "tree" / "link").symlink_to("script")
    there = f":{tmp_path}"
    assert cli("copy", *VIA, f"{there}/tree", "copy", cwd=tmp_path) == (0, "", "")
    assert (tmp_path / "copy" / "script").stat().st_mode & 0o7777 == 0o751
    assert os.readlink(tmp_path / "copy" / "link") == "script"
    # Into a directory, under its name; and in place of a file.
    assert cli("copy", *VIA, "copy/", f"{there}/tree", cwd=tmp_path) == (0, "", "")
    assert sorted(os.listdir(tmp_path / "tree" / "copy")) == ["link", "script"]
    (tmp_path / "file").write_text("new")
    assert cli("copy", *VIA, "file", f"{there}/copy/script", cwd=tmp_path) == (0, "", "")
    assert (tmp_path / "copy" / "script").read_text() == "new"


def test_errors(cli: Programs, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "in" / "tree").mkdir(parents=True)

    def said(*arguments: str) -> str:
        result = cli("copy", *arguments, cwd=tmp_path)
        assert result[:2] == (1, "")
        return result.err

    there = f":{tmp_path}"
    assert said(*VIA, "nothing", f"{there}/x") == "rsyscall copy: No such file or directory (nothing)\n"
    assert said(*VIA, "tree", f"{there}/in") == f"rsyscall copy: File exists ({tmp_path}/in/tree)\n"
    assert said(*VIA, "/dev/null", f"{there}/x") == "rsyscall copy: it is no regular file (/dev/null)\n"
    assert (
        said("--via", "no-such-program", "tree", ":/x")
        == "rsyscall copy: there is no no-such-program in PATH\n"
    )
    assert "status 3" in said("--via", "sh -c 'exit 3'", "tree", ":/x")
    assert sorted(os.listdir(tmp_path)) == ["in", "tree"]


@pytest.mark.parametrize("options", [[], ["--quiet"]])
def test_progress_on_a_terminal(cli: Programs, tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "odd\x1bname").write_bytes(bytes(1_000_000))
    leader, follower = pty.openpty()
    try:
        source = f":{tmp_path}/odd\x1bname"
        result = cli("copy", *VIA, *options, source, str(tmp_path / "copy"), stderr=follower)
        assert result.status == 0
        os.set_blocking(leader, False)
        try:
            shown = os.read(leader, 10000)
        except BlockingIOError:
            shown = b""
    finally:
        os.close(leader)
        os.close(follower)
    if options:
        assert shown == b""
    else:
        assert b"odd?name" in shown
        assert b"%" in shown
        assert shown.endswith(b" \r")


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT"])
@pytest.mark.parametrize("there", ["source", "destination"])
def test_ended_by_a_signal(cli: Programs, tmp_path: Path, name: str, there: str) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "to").mkdir()
    with open(tmp_path / "from" / "large", "wb") as file:
        file.truncate(20_000_000_000)
    paths = {"source": str(tmp_path / "from"), "destination": str(tmp_path / "to")}
    paths[there] = ":" + paths[there]
    started = cli.start("copy", *VIA, *paths.values())
    assert eventually(lambda: bool(list((tmp_path / "to").rglob("large"))))
    sig = signal.Signals[f"SIG{name}"]
    started.send_signal(sig)
    assert started.wait(60) == -sig
    assert os.listdir(tmp_path / "to") == []


def test_a_second_signal_ends_at_once(cli: Programs, tmp_path: Path) -> None:
    """What is there does not answer any more, so it cannot be told to remove the copy."""
    (tmp_path / "to").mkdir()
    with open(tmp_path / "large", "wb") as file:
        file.truncate(20_000_000_000)
    started = cli.start("copy", *VIA, str(tmp_path / "large"), f":{tmp_path}/to")
    assert eventually(lambda: os.listdir(tmp_path / "to") != [])
    there = [pid for pid, name in cli.alive().items() if not name.startswith("python")]
    assert there
    for pid in there:
        os.kill(pid, signal.SIGSTOP)
    started.send_signal(signal.SIGTERM)
    # It would not take long to end.
    time.sleep(0.5)
    assert started.poll() is None

    def ended_by_another() -> bool:
        # On a busy machine the first one may not have been noticed, and be one with the next.
        started.send_signal(signal.SIGTERM)
        return started.poll() is not None

    assert eventually(ended_by_another)
    assert started.returncode == -signal.SIGTERM


def test_signals_that_are_ignored(cli: Programs, tmp_path: Path) -> None:
    """As nohup does it."""
    with open(tmp_path / "large", "wb") as file:
        file.truncate(300_000_000)
    prefix = ["sh", "-c", """trap "" HUP; exec "$@" """, "sh"]
    started = cli.start("copy", *VIA, str(tmp_path / "large"), f":{tmp_path}/copy", prefix=prefix)
    assert eventually(lambda: any(name.startswith(".") for name in os.listdir(tmp_path)))
    started.send_signal(signal.SIGHUP)
    assert started.wait(60) == 0
    assert (tmp_path / "copy").stat().st_size == 300_000_000


def test_names_do_nothing_to_a_terminal(cli: Programs, tmp_path: Path) -> None:
    name = "odd\x1b[31m\nname\x9b\u202e"
    os.mkfifo(tmp_path / name)
    for source in (f"{tmp_path}/{name}", f"{tmp_path}/{name}missing"):
        result = cli("copy", *VIA, f":{source}", str(tmp_path / "copy"))
        assert (result.status, result.out) == (1, "")
        assert r"odd\x1b[31m\nname\x9b\u202e" in result.err
        assert result.err.count("\n") == 1
        assert result.err.rstrip("\n").isprintable()
    # And what is said there.
    result = cli(
        "copy", "--via", "sh -c 'printf \"\\033[31mred\" >&2; exit 3'", ":/a", str(tmp_path / "copy")
    )
    assert "red" in result.err
    assert "\x1b" not in result.err


@pytest.mark.parametrize("arguments", [["/missing", ":/x"], ["/missing"]])
def test_standard_error_is_closed(cli: Programs, arguments: list[str]) -> None:
    prefix = ["sh", "-c", """exec "$@" 2>&-""", "sh"]
    assert cli("copy", *VIA, *arguments, prefix=prefix) == (3 - len(arguments), "", "")


@pytest.mark.skipif(SSHD is None, reason="sshd is not installed")
def test_ssh(cli: Programs, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(3_000_000))
    with serving(tmp_path) as server:
        result = cli("copy", "--ssh", shlex.join(server.words()), f":{tmp_path}/file", str(tmp_path / "copy"))
    assert result == (0, "", "")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "file").read_bytes()
