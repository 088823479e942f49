"""What the command line understands."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rsyscall.cli import RunOptions, parse

from .conftest import Programs


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["ls"], RunOptions(["ls"])),
        (["--", "ls", "-l"], RunOptions(["ls", "-l"])),
        (["ls", "-l", "--user"], RunOptions(["ls", "-l", "--user"])),
        (["--user", "ls", "--", "x"], RunOptions(["ls", "--", "x"], user=True)),
        (["--", "--", "x"], RunOptions(["--", "x"])),
        (["--", "ls", "--help"], RunOptions(["ls", "--help"])),
        (["--pid", "--mount", "--net", "x"], RunOptions(["x"], pid=True, mount=True, net=True)),
        (["--ipc", "--cgroup", "--uts", "x"], RunOptions(["x"], ipc=True, cgroup=True, uts=True)),
        (["--trace-file", "f", "x"], RunOptions(["x"], trace=True, trace_file="f")),
        (["--map-root", "x"], RunOptions(["x"], user=True, map_root=True)),
        (["--hostname", "h", "x"], RunOptions(["x"], uts=True, hostname="h")),
        (["--chroot", "/a", "--chdir=b", "x"], RunOptions(["x"], chroot="/a", chdir="b")),
        (["--setenv", "A=b=c", "--setenv", "D=", "x"], RunOptions(["x"], setenv=[("A", "b=c"), ("D", "")])),
        (["--unsetenv", "A", "--clearenv", "x"], RunOptions(["x"], unsetenv=["A"], clearenv=True)),
        (
            ["--bind", "/a:/b:c", "--tmpfs", "/t:u", "--ro-bind", "/usr", "x"],
            RunOptions(
                ["x"],
                mount=True,
                mounts=[("bind", "/a", "/b:c"), ("tmpfs", "tmpfs", "/t:u"), ("ro-bind", "/usr", "/usr")],
            ),
        ),
        (["--run-as", "daemon:7", "x"], RunOptions(["x"], run_as=("daemon", 7))),
        (["--run-as", "65534", "x"], RunOptions(["x"], run_as=(65534, None))),
        (
            ["--rlimit", "nofile=64:128", "--rlimit", "CORE=unlimited", "x"],
            RunOptions(["x"], rlimit={"nofile": (64, 128), "core": (None, None)}),
        ),
        (["--nice", "-5", "--umask", "027", "x"], RunOptions(["x"], nice=-5, umask=0o27)),
        (["--no-new-privs", "--timeout", "1.5", "x"], RunOptions(["x"], no_new_privs=True, timeout=1.5)),
        (["--via", "sudo -u 'a b' sh -c", "x"], RunOptions(["x"], via=["sudo", "-u", "a b", "sh", "-c"])),
        (
            ["--ssh", "-p 22 me@host", "--by", "line", "x"],
            RunOptions(["x"], ssh=["-p", "22", "me@host"], by="line"),
        ),
        (
            ["--trace", "--verbose", "--summary", "x"],
            RunOptions(["x"], trace=True, summary=True, verbose=True),
        ),
    ],
)
def test_options(arguments: list[str], expected: RunOptions) -> None:
    assert parse(["run", *arguments]) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "rsyscall: the following arguments are required: ACTION"),
        (["--bogus"], "rsyscall: unknown option --bogus"),
        (["--bogus", "run", "ls"], "rsyscall: unknown option --bogus"),
        (["walk"], "rsyscall: argument ACTION: invalid choice: 'walk'"),
        (["run"], "rsyscall run: no command is given"),
        (["run", "--user"], "rsyscall run: no command is given"),
        (["run", "--"], "rsyscall run: no command is given"),
        (["run", ""], "rsyscall run: the name of the command is empty"),
        (["run", "--frobnicate", "--", "ls"], "rsyscall run: unknown option --frobnicate"),
        (["run", "--mou", "--", "ls"], "rsyscall run: unknown option --mou"),
        (
            ["run", "--setenv", "A", "ls"],
            "rsyscall run: argument --setenv: 'A' is not of the form NAME=VALUE",
        ),
        (["run", "--via", "", "ls"], "rsyscall run: argument --via: '' is no command"),
        (["run", "--via", "'", "ls"], 'rsyscall run: argument --via: "\'": No closing quotation'),
        (["run", "--via", "a", "--ssh", "b", "ls"], "rsyscall run: argument --ssh: not allowed with"),
        (["run", "--by", "line", "ls"], "rsyscall run: --by is for --via and --ssh"),
        (["run", "--via", "a", "--by", "x", "ls"], "rsyscall run: argument --by: invalid choice: 'x'"),
        (["run", "--setenv", "=b", "ls"], "rsyscall run: argument --setenv: '=b' is not of the form"),
        (["run", "--unsetenv", "A=b", "ls"], "rsyscall run: argument --unsetenv: 'A=b' is not the name of"),
        (
            ["run", "--rlimit", "speed=1", "ls"],
            "rsyscall run: argument --rlimit: 'speed=1' is not of the form",
        ),
        (["run", "--bind", "/a:", "ls"], "rsyscall run: argument --bind: '/a:' is not of the form SOURCE"),
        (["run", "--ro-bind", ":/a", "ls"], "rsyscall run: argument --ro-bind: ':/a' is not of the form"),
        (["run", "--tmpfs", "", "ls"], "rsyscall run: argument --tmpfs: '' is not of the form"),
        (["run", "--run-as", "a:", "ls"], "rsyscall run: argument --run-as: 'a:' is not of the form USER"),
        (["run", "--rlimit", "as=-1", "ls"], "rsyscall run: argument --rlimit: '-1' in 'as=-1' is neither"),
        (
            ["run", "--rlimit", f"as={2**64 - 1}", "ls"],
            f"rsyscall run: argument --rlimit: '{2**64 - 1}' in 'as={2**64 - 1}' is above",
        ),
        (["run", "--rlimit", f"as={'9' * 5000}", "ls"], "rsyscall run: argument --rlimit: '999"),
        (["run", "--rlimit", "as=1:", "ls"], "rsyscall run: argument --rlimit: '' in 'as=1:' is neither"),
        (
            ["run", "--rlimit", "as=2:1", "ls"],
            "rsyscall run: argument --rlimit: in 'as=2:1' the soft limit is",
        ),
        (
            ["run", "--rlimit", "as=unlimited:1", "ls"],
            "rsyscall run: argument --rlimit: in 'as=unlimited:1' the",
        ),
        (["run", "--nice", "20", "ls"], "rsyscall run: argument --nice: '20' is no number from -20 to 19"),
        (["run", "--umask", "8", "ls"], "rsyscall run: argument --umask: '8' is no number from 0 to 777"),
        (["run", "--timeout", "0", "ls"], "rsyscall run: argument --timeout: '0' is no number of seconds"),
        (["run", "--timeout", "nan", "ls"], "rsyscall run: argument --timeout: 'nan' is no number of"),
        (["run", "--chroot"], "rsyscall run: argument --chroot: expected one argument"),
        (["run", "--user=1", "ls"], "rsyscall run: argument --user: ignored explicit argument '1'"),
    ],
)
def test_mistakes_are_one_line_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exited:
        parse(arguments)
    assert exited.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(message)
    assert err.count("\n") == 1
    assert "; see rsyscall" in err


def test_help_has_examples_and_statuses(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as exited:
        parse(["run", "--help"])
    assert exited.value.code == 0
    text = capsys.readouterr().out
    assert "usage: rsyscall run [OPTION]... [--] COMMAND" in text
    assert "  rsyscall run -- echo hello\n" in text
    assert "125 if a step failed" in text
    assert max(map(len, text.splitlines())) <= 80


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        parse(["--version"])
    assert exited.value.code == 0
    assert capsys.readouterr().out.startswith("rsyscall ")


def test_mistakes_cost_no_event_loop() -> None:
    """Parsing the command line does not import trio."""
    script = "import sys, rsyscall.cli; rsyscall.cli.parse(['run', 'ls']); print('trio' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["run", "--help"]])
def test_what_cannot_be_printed_is_one_line(cli: Programs, arguments: list[str], unbuffered: str) -> None:
    with open("/dev/full", "w") as full:
        result = cli(*arguments, stdout=full, env={"PYTHONUNBUFFERED": unbuffered})
    assert result == (1, "", "rsyscall: standard output: No space left on device\n")
