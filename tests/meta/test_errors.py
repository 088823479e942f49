"""An error names the failed step in one line, the status says its kind, and no process is left behind."""

from __future__ import annotations

import errno
import os
import re
import sys
from pathlib import Path

import pytest

from .conftest import NOBODY, Programs, Result

pytestmark = pytest.mark.slow

DENY = Path(__file__).parents[1] / "integration" / "filters.py"


def assert_one_line(result: Result, status: int, pattern: str) -> None:
    assert result.out == ""
    assert result.err.count("\n") == 1, result.err
    assert re.fullmatch(f"rsyscall run: {pattern}\n", result.err), result.err
    assert result.status == status


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Files that cannot be executed, each for another reason."""
    (tmp_path / "plain").write_text("no program\n")
    (tmp_path / "no-format").write_text("no program\n")
    (tmp_path / "no-interpreter").write_text("#!/does/not/exist\n")
    (tmp_path / "empty-line").write_text("#!\n")
    header = b"\x7fELF\x02\x01\x01" + bytes(11) + b"\x00\x00"
    (tmp_path / "elsewhere").write_bytes(header + bytes(44))
    for name in ("no-format", "no-interpreter", "empty-line", "elsewhere"):
        (tmp_path / name).chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "status", "pattern"),
    [
        (["no-such-command"], 127, r"find the command: there is none in PATH \(no-such-command\)"),
        (["/no/such/file"], 127, r"execute: No such file or directory \(/no/such/file\)"),
        (["./plain/x"], 127, r"execute: Not a directory \(\./plain/x\)"),
        (["./plain"], 126, r"execute: Permission denied \(\./plain\)"),
        (["."], 127, r"find the command: there is none in PATH \(\.\)"),
        (["./"], 126, r"execute: Is a directory \(\./\)"),
        (["/tmp"], 126, r"execute: Is a directory \(/tmp\)"),
        (["./no-format"], 126, r"execute: Exec format error; it has no #! line \(\./no-format\)"),
        (["./empty-line"], 126, r"execute: Exec format error; its #! line names .* \(\./empty-line\)"),
        (["./elsewhere"], 126, r"execute: Exec format error; .* for another machine \(\./elsewhere\)"),
        (["./no-interpreter"], 126, r"execute: the interpreter or .* does not exist \(\./no-interpreter\)"),
        (["--setenv", "PATH=.", "plain"], 126, r"execute: Permission denied \(plain\)"),
        (["--chdir", "nowhere", "ls"], 125, r"chdir: No such file or directory \(nowhere\)"),
        (["--trace-file", "no/x", "ls"], 125, r"open the trace file: No such file or directory \(no/x\)"),
        (["--chdir", "plain", "ls"], 125, r"chdir: Not a directory \(plain\)"),
    ],
)
def test_without_privileges(
    cli: Programs, files: Path, arguments: list[str], status: int, pattern: str
) -> None:
    assert_one_line(cli.run(*arguments, cwd=files), status, pattern)


@pytest.mark.parametrize("namespaces", [[], ["--pid", "--mount", "--net", "--uts"]])
@pytest.mark.parametrize(
    ("arguments", "status", "pattern"),
    [
        (["--chroot", "plain", "--", "ls"], 125, r"chroot: Not a directory \(plain\)"),
        (["--chroot", "nowhere", "--", "ls"], 125, r"chroot: No such file or directory \(nowhere\)"),
        (["--chroot", ".", "--", "/bin/ls"], 127, r"execute: No such file or directory \(/bin/ls\)"),
        (["--chroot", ".", "--", "ls"], 127, r"find the command: there is none in PATH below \. \(ls\)"),
        (["--chroot", ".", "--chdir", "x", "--", "ls"], 125, r"chdir: No such file or directory \(x\)"),
        (["--hostname", "x" * 65, "--", "ls"], 125, r"set the host name: Invalid argument \(x{65}\)"),
        (["--", "no-such-command"], 127, r"find the command: there is none in PATH \(no-such-command\)"),
    ],
)
def test_with_namespaces(
    cli: Programs, files: Path, namespaces: list[str], arguments: list[str], status: int, pattern: str
) -> None:
    assert_one_line(cli.run("--map-root", *namespaces, *arguments, cwd=files), status, pattern)


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        (["--mount"], r"make a process: Operation not permitted; try --user \(new namespaces: mount\)"),
        (["--pid", "--net"], r"make a process: Operation not permitted; try --user \(.*: pid, net\)"),
        (["--hostname", "h"], r"make a process: Operation not permitted; try --user \(.*: uts\)"),
        (["--chroot", "/"], r"chroot: Operation not permitted; try --user \(/\)"),
        # Nor would --user help.
        (["--chroot", "/nowhere"], r"chroot: No such file or directory \(/nowhere\)"),
    ],
)
def test_what_is_not_permitted(cli: Programs, arguments: list[str], pattern: str) -> None:
    assert_one_line(cli.run(*arguments, "--", "true", uid=NOBODY), 125, pattern)


@pytest.mark.parametrize("error", ["EPERM", "ENOSYS"])
@pytest.mark.parametrize(
    ("denied", "arguments", "pattern"),
    [
        ("clone,clone3", [], r"a seccomp filter or a security module denies it, .* \(no new namespaces\)"),
        # What containers deny; --user would not help.
        ("clone/0x7e020000,clone3", ["--mount"], "new namespaces are restricted here, as in containers .*"),
        ("clone/0x7e020000,clone3", ["--user"], "new namespaces are restricted here, as in containers .*"),
    ],
)
def test_what_a_filter_denies(
    cli: Programs, error: str, denied: str, arguments: list[str], pattern: str
) -> None:
    result = cli.run(*arguments, "--", "true", prefix=[sys.executable, str(DENY), error, denied])
    strerror = os.strerror(getattr(errno, error))
    assert_one_line(result, 125, f"make a process: {strerror}; {pattern}")


def test_no_more_namespaces(cli: Programs) -> None:
    """Where the administrator has forbidden them, here root of a user namespace."""
    script = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"'
    inner = [sys.executable, "-m", "rsyscall", "run", "--user", "--", "true"]
    result = cli.run("--map-root", "--", "sh", "-c", script, "sh", *inner)
    pattern = r"make a process: no more namespaces are allowed; see /proc/sys/user \(new namespaces: user\)"
    assert_one_line(result, 125, pattern)


def test_no_more_processes(cli: Programs) -> None:
    """The limit holds for ordinary users; the test becomes one without other processes."""
    result = cli.run("--", "true", uid=54321, prefix=["prlimit", "--nproc=0"])
    assert_one_line(result, 125, r"make a process: no more processes .*; see ulimit -u \(no new namespaces\)")


def test_a_masked_proc(cli: Programs) -> None:
    """In many containers mounts cover parts of /proc; then the kernel refuses to mount a new one."""
    script = 'mount -t tmpfs none /proc/sys && exec "$@"'
    inner = [sys.executable, "-m", "rsyscall", "run", "--map-root", "--mount", "--pid", "--", "true"]
    result = cli.run("--map-root", "--mount", "--", "sh", "-c", script, "sh", *inner)
    assert_one_line(result, 125, r"mount proc: Operation not permitted \(/proc\)")


@pytest.mark.parametrize("limit", [6, 8, 9, 14])
def test_too_few_descriptors(cli: Programs, limit: int) -> None:
    result = cli.run("--pid", "--", "true", prefix=["sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh"])
    assert_one_line(result, 125, r"(.*: )?Too many open files; see ulimit -n( \(.*\))?")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("RSYSCALL_SPIN_US", "abc", "expected one or two numbers of microseconds below 1e6"),
        ("RSYSCALL_SPIN_US", "-1", "expected one or two numbers of microseconds below 1e6"),
        ("RSYSCALL_TRANSPORT", "pigeon", "expected 'ring' or 'stream'"),
    ],
)
def test_variables_that_are_not_understood(cli: Programs, name: str, value: str, expected: str) -> None:
    for option in ("--user", "--trace", "--verbose"):
        result = cli.run(option, "--", "true", env={name: value})
        assert_one_line(result, 125, f"{name} is '{value}'; {expected}")


@pytest.mark.parametrize("name", ["RSYSCALL_SPIN_US", "RSYSCALL_TRANSPORT"])
def test_an_empty_variable_is_as_good_as_none(cli: Programs, name: str) -> None:
    script = f'echo "${{{name}-unset}}"'
    assert cli.run("--", "sh", "-c", script, env={name: ""}) == (0, "\n", "")
    assert cli.run("--setenv", f"{name}=x", "--", "sh", "-c", script, env={name: ""}) == (0, "x\n", "")


def test_an_error_is_the_same_in_verbose_and_traced_runs(cli: Programs) -> None:
    result = cli.run("--verbose", "--trace", "--chdir", "/nowhere", "--", "true")
    assert result.status == 125
    assert "rsyscall run: chdir: No such file or directory (/nowhere)\n" in result.err
    assert 'chdir("/nowhere") = -1 ENOENT (No such file or directory)\n' in result.err
    assert "Traceback" not in result.err


def test_temporary_files_are_not_made(cli: Programs, tmp_path: Path) -> None:
    env = {"TMPDIR": str(tmp_path)}
    assert cli.run("--user", "--pid", "--", "true", env=env).status == 0
    assert cli.run("--user", "--pid", "--", "no-such-command", env=env).status == 127
    assert os.listdir(tmp_path) == []
