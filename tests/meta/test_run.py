"""`rsyscall run`: the command, its surroundings and its status."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from reach import let_others_reach

from rsyscall.native import stub_path

from .conftest import NOBODY, Programs

pytestmark = pytest.mark.slow

UNSHARE = ["--user", "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup"]
NAMESPACED = pytest.mark.needs(
    *("pid namespaces", "network namespaces", "uts namespaces", "ipc namespaces"),
    *("cgroup namespaces", "mounts of proc"),
)
NAMES = {"--mount": "mnt"}


def namespaces(path: str = "/proc/self/ns") -> dict[str, str]:
    return {
        name: os.readlink(f"{path}/{name}") for name in ("user", "mnt", "pid", "net", "uts", "ipc", "cgroup")
    }


# ---------------------------------------------------------------------------------- statuses and streams


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -TERM $$", 143),
        ("kill -KILL $$", 137),
        ("kill -INT $$", -signal.SIGINT),
        ("ulimit -c 0; kill -QUIT $$", -signal.SIGQUIT),
    ],
)
def test_status(cli: Programs, script: str, status: int) -> None:
    assert cli.run("--", "sh", "-c", script) == (status, "", "")


def test_streams_are_those_of_the_command(cli: Programs) -> None:
    result = cli.run("--", "sh", "-c", "cat; echo oops >&2", input="in and out\n")
    assert result == (0, "in and out\n", "oops\n")


def test_other_descriptors_are_handed_on(cli: Programs, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from descriptor nine\n")
    result = cli.run(prefix=["sh", "-c", f'exec "$@" sh -c "cat <&9" 9<{tmp_path}/file', "sh"])
    assert result == (0, "from descriptor nine\n", "")


@NAMESPACED
def test_none_of_ours_are_handed_on(cli: Programs) -> None:
    result = cli.run("--user", "--pid", "--net", "--", "ls", "/proc/self/fd")
    assert result.out.split() == ["0", "1", "2", "3"], "the last is that of the directory"


def test_closed_descriptors_stay_closed(cli: Programs) -> None:
    script = "for n in 0 1 2; do test -e /proc/self/fd/$n && echo $n is open >&9; done; true"
    result = cli.run("sh", "-c", script, prefix=["sh", "-c", 'exec "$@" 9>&1 <&- 2>&- >&-', "sh"])
    assert result == (0, "", "")


def test_signals_of_the_command_are_as_it_expects(cli: Programs) -> None:
    """Python ignores SIGPIPE, and we block the signals that we pass on: the command inherits neither."""
    result = cli.run("--", "grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status")
    blocked, ignored = (int(mask, 16) for mask in re.findall(r"\t(\w+)", result.out))
    assert blocked == 0
    # posix_spawn of glibc, which may have started us, ignores the two signals that glibc uses itself.
    assert ignored & 0x7FFFFFFF == 0


def test_what_is_ignored_stays_ignored(cli: Programs) -> None:
    """As with nohup."""
    script = 'trap "" HUP; exec "$@"'
    result = cli.run("--", "grep", "^SigIgn", "/proc/self/status", prefix=["sh", "-c", script, "sh"])
    assert int(result.out.split()[1], 16) == 1


# ---------------------------------------------------------------------------------- the environment


def test_setenv(cli: Programs) -> None:
    result = cli.run("--setenv", "A=1", "--setenv", "HOME=x=y", "--", "sh", "-c", 'echo "$A $HOME"')
    assert result == (0, "1 x=y\n", "")


def test_clearenv_and_unsetenv(cli: Programs) -> None:
    options = ["--clearenv", "--setenv", "A=1", "--setenv", "PATH=/usr/bin:/bin"]
    assert cli.run(*options, "--", "env") == (0, "A=1\nPATH=/usr/bin:/bin\n", "")
    result = cli.run(
        "--unsetenv", "B", "--unsetenv", "NONE", "--", "sh", "-c", "echo ${B-none}", env={"B": "1"}
    )
    assert result == (0, "none\n", "")


# ---------------------------------------------------------------------------------- limits


def test_limits(cli: Programs) -> None:
    options = ["--rlimit", "nofile=20:30", "--nice", "19", "--umask", "027", "--no-new-privs"]
    script = "ulimit -Sn; ulimit -Hn; nice; umask; grep NoNewPrivs /proc/self/status"
    assert cli.run(*options, "--", "sh", "-c", script) == (0, "20\n30\n19\n0027\nNoNewPrivs:\t1\n", "")


def test_a_umask_of_0_is_a_umask(cli: Programs) -> None:
    assert cli.run("--umask", "0", "--", "sh", "-c", "umask") == (0, "0000\n", "")


@pytest.mark.needs("other users")
def test_a_limit_that_cannot_be_set(cli: Programs) -> None:
    assert cli.run("--nice", "-20", "--", "true", uid=NOBODY) == (
        125,
        "",
        "rsyscall run: set nice: Permission denied (-20)\n",
    )


def test_a_timeout(cli: Programs) -> None:
    assert cli.run("--timeout", "90", "--", "sh", "-c", "exit 3").status == 3
    script = 'trap "echo ended; exit 5" TERM; echo begun; while :; do sleep 0.01; done'
    result = cli.run("--timeout", "0.5", "--", "sh", "-c", script)
    assert result == (124, "begun\nended\n", "rsyscall run: the command took longer than 0.5 s\n")


@pytest.mark.slow
def test_a_timeout_of_a_command_that_ignores_sigterm(cli: Programs) -> None:
    script = 'trap "" TERM; exec sleep 1000'
    assert cli.run("--timeout", "0.2", "--", "sh", "-c", script).status == 124


@NAMESPACED
def test_a_timeout_of_a_process_1(cli: Programs) -> None:
    assert cli.run("--map-root", "--pid", "--timeout", "0.2", "--", "sleep", "1000").status == 124


# ---------------------------------------------------------------------------------- the command


def test_the_command_is_looked_up_in_the_path_that_it_gets(cli: Programs, tmp_path: Path) -> None:
    program = tmp_path / "program-of-the-test"
    program.write_text("#!/bin/sh\necho found $0\n")
    program.chmod(0o755)
    assert cli.run("--setenv", f"PATH=/nowhere:{tmp_path}", program.name).out == f"found {program}\n"
    assert cli.run(program.name).status == 127
    assert cli.run(f"./{program.name}", cwd=tmp_path).out == f"found ./{program.name}\n"
    assert cli.run("--chdir", tmp_path, f"./{program.name}").out == f"found ./{program.name}\n"


def test_chdir(cli: Programs, tmp_path: Path) -> None:
    assert cli.run("--chdir", tmp_path, "--", "pwd").out == f"{tmp_path}\n"
    (tmp_path / "below").mkdir()
    assert cli.run("--chdir", "below", "--", "pwd", cwd=tmp_path).out == f"{tmp_path}/below\n"


def test_names_that_are_no_text(cli: Programs, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\xfe"
    os.mkdir(name)
    result = cli.run(
        "--chdir",
        os.fsdecode(name),
        "--setenv",
        "A=\udcff",
        "--",
        "sh",
        "-c",
        'test "$A" && pwd',
        encoding="utf-8",
        errors="surrogateescape",
    )
    assert result == (0, os.fsdecode(name) + "\n", "")


# ---------------------------------------------------------------------------------- namespaces


def test_nothing_is_new_that_was_not_asked_for(cli: Programs) -> None:
    result = cli.run("--", "sh", "-c", "cd /proc/self/ns; readlink user mnt pid net uts ipc cgroup")
    assert result.out.split() == list(namespaces().values())


@NAMESPACED
@pytest.mark.parametrize("option", UNSHARE)
def test_each_namespace_is_new_and_the_others_are_not(cli: Programs, option: str, user: int | None) -> None:
    name = NAMES.get(option, option.removeprefix("--"))
    options = {option, "--user"} if user is not None or os.geteuid() else {option}
    result = cli.run(
        *options, "--", "sh", "-c", "cd /proc/self/ns; readlink user mnt pid net uts ipc cgroup", uid=user
    )
    assert result.err == ""
    inside = dict(zip(namespaces(), result.out.split(), strict=True))
    changed = {key for key, value in namespaces().items() if inside[key] != value}
    assert changed == {name} | ({"user"} if "--user" in options else set())


@NAMESPACED
def test_users(cli: Programs, user: int | None) -> None:
    uid = os.geteuid() if user is None or os.geteuid() else user
    assert cli.run("--user", "--", "id", "-u", uid=user) == (0, f"{uid}\n", "")
    assert cli.run("--map-root", "--", "sh", "-c", "id -u; id -g", uid=user) == (0, "0\n0\n", "")
    result = cli.run("--map-root", "--", "cat", "/proc/self/uid_map", uid=user)
    assert result.out.split() == ["0", str(uid), "1"]


@NAMESPACED
def test_everything_at_once(cli: Programs, user: int | None) -> None:
    script = "echo $$; uname -n; id -u; sleep 100 & ls -d /proc/[0-9]*"
    result = cli.run(*UNSHARE, "--map-root", "--hostname", "box", "--", "sh", "-c", script, uid=user)
    assert result.err == ""
    pid, name, uid, *processes = result.out.split()
    assert (pid, name, uid) == ("1", "box", "0")
    assert processes[0] == "/proc/1"
    assert len(processes) == 2, "the shell and sleep"
    assert socket.gethostname() != "box"


@NAMESPACED
def test_the_mounts_of_others_are_not_touched(cli: Programs) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    script = "mount -t tmpfs none /mnt && touch /mnt/x && ls /mnt"
    assert cli.run("--map-root", "--mount", "--", "sh", "-c", script).out == "x\n"
    assert Path("/proc/self/mountinfo").read_text() == before


@NAMESPACED
def test_mounts(cli: Programs, tmp_path: Path) -> None:
    """They are made in their order, and are gone afterwards."""
    script = f"cd {tmp_path}; echo new > t/x; cat t/x t/f; echo no > ro/file; cat ro/file"
    for name in ("from", "ro", "t"):
        (tmp_path / name).mkdir()
    (tmp_path / "from" / "file").write_text("contents\n")
    options = [
        *("--map-root", "--ro-bind", f"{tmp_path}/from:{tmp_path}/ro", "--tmpfs", f"{tmp_path}/t"),
        *("--", "sh", "-c", f"touch {tmp_path}/t/f; {script}"),
    ]
    result = cli.run(*options)
    assert (result.status, result.out) == (0, "new\ncontents\n")
    assert "Read-only file system" in result.err
    assert os.listdir(tmp_path / "t") == []


@NAMESPACED
@pytest.mark.parametrize("kind", ["--ro-bind", "--tmpfs"])
def test_a_mount_over_the_working_directory(cli: Programs, tmp_path: Path, kind: str) -> None:
    """The command is in what was mounted, not below it."""
    (tmp_path / "file").write_text("contents\n")
    script = "ls; touch made 2>/dev/null; pwd"
    result = cli.run("--map-root", kind, str(tmp_path), "--", "sh", "-c", script, cwd=tmp_path)
    assert result == (0, f"{'' if kind == '--tmpfs' else 'file' + chr(10)}{tmp_path}\n", "")
    assert os.listdir(tmp_path) == ["file"]


@NAMESPACED
@pytest.mark.parametrize("target", [".", "./", "inner/.."])
def test_the_working_directory_is_mounted_read_only(cli: Programs, tmp_path: Path, target: str) -> None:
    """And nothing else is."""
    for name in ("source", "place", "place/inner", "beside"):
        (tmp_path / name).mkdir()
    script = f"touch new || touch {tmp_path}/beside/new && echo right"
    option = f"{tmp_path}/source:{target}"
    result = cli.run("--user", "--ro-bind", option, "--", "sh", "-c", script, cwd=tmp_path / "place")
    assert (result.status, result.out) == (0, "right\n"), result
    assert os.listdir(tmp_path / "source") == []


@NAMESPACED
@pytest.mark.parametrize(
    "option", ["--bind=/tmp:/", "--ro-bind=/tmp:/", "--tmpfs=/", "--tmpfs=.", "--bind=/tmp:../.."]
)
def test_a_mount_over_the_root(cli: Programs, option: str) -> None:
    result = cli.run("--user", *option.split("="), "--", "true", cwd="/")
    assert (result.status, result.out) == (125, "")
    assert "what is mounted over the root directory is not seen; try --chroot" in result.err


@NAMESPACED
def test_the_root_itself_read_only(cli: Programs, tmp_path: Path) -> None:
    result = cli.run("--user", "--ro-bind", "/", "--", "touch", str(tmp_path / "new"))
    assert (result.status, os.listdir(tmp_path)) == (1, [])


@NAMESPACED
def test_a_mount_that_fails(cli: Programs) -> None:
    result = cli.run("--user", "--bind", "/missing:/mnt", "--", "true")
    assert result == (
        125,
        "",
        "rsyscall run: mount by --bind: No such file or directory (/missing at /mnt)\n",
    )


@pytest.mark.needs("other users")
def test_another_user(cli: Programs) -> None:
    assert cli.run("--run-as", "65534:7", "--", "sh", "-c", "id -u; id -g; id -G").out == "65534\n7\n7\n"
    result = cli.run("--run-as", "missing", "--", "true")
    assert (result.status, result.out) == (125, "")
    assert result.err.startswith("rsyscall run: change the user: user: there is no 'missing'")


@pytest.mark.needs("other users", "mount namespaces")
def test_another_user_of_the_new_root(cli: Programs, tmp_path: Path) -> None:
    """Names are those of the root directory that the command gets, whose files may be anything."""
    tmp_path.chmod(0o755)
    (tmp_path / "etc").mkdir()
    for name in ("bin", "lib", "lib64", "usr"):
        if os.path.isdir(f"/{name}"):
            (tmp_path / name).mkdir()
    binds = [word for name in os.listdir(tmp_path) if name != "etc" for word in ("--bind", f"/{name}:{name}")]

    def said(who: str) -> tuple[int, str, str]:
        script = "id -u; id -g; id -G"
        options = [*binds, "--chroot", str(tmp_path), "--run-as", who]
        return cli.run(*options, "--", "/bin/sh", "-c", script, cwd=tmp_path)

    status, out, err = said("inside")
    assert (status, out) == (125, "")
    assert "/etc/passwd there: No such file or directory; give numbers" in err
    (tmp_path / "etc" / "passwd").write_text(
        "nonsense\n\ninside:x:-1:5:\ninside:x:4294967295:5:\ninside:x:1234:55:::\nlast:x:99:\n"
    )
    (tmp_path / "etc" / "group").write_text("team:x:77:\nbroken:x:\n")
    assert said("inside") == (0, "1234\n55\n55\n", "")
    assert said("inside:team") == (0, "1234\n77\n77\n", "")
    assert said("1234") == (0, "1234\n55\n55\n", "")
    assert said("7:8") == (0, "7\n8\n8\n", "")
    for who, text in (
        ("root", "there is no 'root' in /etc/passwd there"),
        ("last", "there is no 'last' in /etc/passwd there"),
        ("inside:root", "there is no 'root' in /etc/group there"),
        ("7", "7 has no entry in /etc/passwd there, so give its group, too"),
    ):
        status, out, err = said(who)
        assert (status, out) == (125, "")
        assert text in err
    (tmp_path / "etc" / "passwd").unlink()
    os.mkfifo(tmp_path / "etc" / "passwd")
    assert "it is no regular file" in said("inside")[2]


@NAMESPACED
def test_loopback_is_up(cli: Programs, user: int | None) -> None:
    script = """
import socket
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
print(len(socket.if_nameindex()))
"""
    python = os.path.realpath("/usr/bin/python3") if user is not None else sys.executable
    if not os.path.exists(python):
        python = sys.executable
    result = cli.run("--user", "--net", "--", python, "-c", script, uid=user)
    assert (result.status, result.err) == (0, "")


@NAMESPACED
def test_the_command_is_the_init_that_takes_all_with_it(cli: Programs) -> None:
    result = cli.run("--user", "--pid", "--", "sh", "-c", "sleep 1000 & (setsid sleep 1000 &); echo $$")
    assert result == (0, "1\n", ""), "the pipe is at its end, so they are gone"
    assert cli.alive() == {}


# ---------------------------------------------------------------------------------- chroot


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory with one static program and nothing else."""
    (tmp_path / "bin").mkdir()
    shutil.copy(stub_path(), tmp_path / "bin" / "stub")
    tmp_path.chmod(0o755)
    return tmp_path


@NAMESPACED
def test_chroot(cli: Programs, root: Path) -> None:
    result = cli.run("--chroot", root, "--", "/bin/stub", "--help")
    assert (result.status, result.out) == (0, "")
    assert result.err.startswith("usage: rsyscall-stub")


@NAMESPACED
def test_the_command_is_looked_up_in_the_new_root(cli: Programs, root: Path) -> None:
    assert cli.run("--chroot", root, "--setenv", "PATH=/bin", "stub", "--help").status == 0
    result = cli.run("--chroot", root, "--setenv", "PATH=/bin", "sh")
    assert result == (127, "", f"rsyscall run: find the command: there is none in PATH below {root} (sh)\n")


@NAMESPACED
def test_the_working_directory_is_in_the_new_root(cli: Programs, root: Path) -> None:
    assert cli.run("--chroot", "/", "--", "pwd", cwd=root).out == "/\n"
    assert cli.run("--chroot", root, "--", "./bin/stub", "--help").status == 0
    assert cli.run("--chroot", root, "--chdir", "/bin", "./stub", "--help").status == 0
    assert cli.run("--chroot", root, "--chdir", "bin", "./stub", "--help").status == 0


@NAMESPACED
def test_chroot_with_a_relative_path(cli: Programs, root: Path) -> None:
    assert cli.run("--chroot", root.name, "--", "/bin/stub", "--help", cwd=root.parent).status == 0


@NAMESPACED
def test_proc_is_mounted_in_the_new_root_if_it_has_a_place(cli: Programs, root: Path) -> None:
    options = ["--map-root", "--mount", "--pid", "--verbose", "--chroot"]
    result = cli.run(*options, root, "--", "/bin/stub", "--help")
    assert result.status == 0
    assert f"no /proc in {root}: not mounted" in result.err
    (root / "proc").mkdir()
    result = cli.run(*options, root, "--", "/bin/stub", "--help")
    assert result.status == 0
    assert "not mounted" not in result.err
    assert cli.run(*options, "/", "--", "sh", "-c", "ls -d /proc/[0-9]*").out.split()[0] == "/proc/1"


@NAMESPACED
def test_chroot_as_somebody_else(cli: Programs, root: Path) -> None:
    let_others_reach(root)
    result = cli.run("--user", "--chroot", root, "--", "/bin/stub", "--help", uid=NOBODY)
    assert result.status == 0, result


# ---------------------------------------------------------------------------------- seeing


@NAMESPACED
def test_verbose_says_the_steps(cli: Programs) -> None:
    result = cli.run("--verbose", "--map-root", "--net", "--hostname", "h", "--chdir", "/", "--", "true")
    uid, gid = os.geteuid(), os.getegid()
    lines = result.err.splitlines()
    assert re.fullmatch(r"rsyscall run: process \d+", lines.pop(1))
    assert lines == [
        "rsyscall run: make a process (new namespaces: user, net, uts)",
        f"rsyscall run: map users (user {uid} is 0, group {gid} is 0)",
        "rsyscall run: bring up the network interface (lo)",
        "rsyscall run: set the host name (h)",
        "rsyscall run: chdir (/)",
        "rsyscall run: find the command (true)",
        f"rsyscall run: execute ({shutil.which('true')})",
    ]


@NAMESPACED
def test_trace(cli: Programs) -> None:
    result = cli.run("--trace", "--user", "--mount", "--pid", "--net", "--hostname", "h", "--", "echo", "hi")
    assert (result.status, result.out) == (0, "hi\n")
    lines = result.err.splitlines()
    assert all(re.match(r"\[pid \d+( rsyscall)?\] (<\.\.\. )?\w+", line) for line in lines), result.err
    [clone] = [line for line in lines if "CLONE_NEWUSER" in line]
    assert {"CLONE_NEWNS", "CLONE_NEWPID", "CLONE_NEWNET", "CLONE_NEWUTS"} <= set(
        re.findall(r"CLONE_\w+", clone)
    )
    pid = clone.rpartition(" = ")[2]
    made = [line.partition("] ")[2] for line in lines if line.startswith(f"[pid {pid}]")]
    in_order = [
        'openat(AT_FDCWD, "/proc/self/uid_map", O_WRONLY|O_CLOEXEC) = ',
        'mount("none", "/", "", MS_REC|MS_PRIVATE, "") = 0',
        'SIOCSIFFLAGS, {ifr_name="lo", ifr_flags=IFF_UP|IFF_LOOPBACK}) = 0',
        'sethostname("h", 1) = 0',
        'mount("proc", "/proc", "proc", MS_NOSUID|MS_NODEV|MS_NOEXEC, "") = 0',
        f'execve("{shutil.which("echo")}", ["echo", "hi"], 0x',
    ]
    places = [next(i for i, line in enumerate(made) if text in line) for text in in_order]
    assert places == sorted(places)
    assert "si_status=0}" in result.err


def test_trace_file(cli: Programs, tmp_path: Path) -> None:
    result = cli.run("--trace-file", tmp_path / "trace", "--", "sh", "-c", "echo oops >&2")
    assert result == (0, "", "oops\n")
    text = (tmp_path / "trace").read_text()
    assert re.search(r"^\[pid \d+\] execve\(.*sh.* = \? \(executed\)$", text, re.MULTILINE), text
    assert "write(2, " not in text, "calls of the command are not shown"


def test_a_trace_that_cannot_be_written_is_no_secret(cli: Programs) -> None:
    result = cli.run("--trace-file", "/dev/full", "--", "sh", "-c", "echo done; exit 5")
    said = "rsyscall run: write the trace: No space left on device (/dev/full); it is not whole\n"
    assert result == (5, "done\n", said)


def test_a_trace_that_is_cut_short_is_no_secret(cli: Programs, tmp_path: Path) -> None:
    """A write that takes a part of a line is no error of its own."""
    trace = tmp_path / "trace"
    limit = ["sh", "-c", 'ulimit -f 1; exec "$@"', "sh"]
    result = cli("run", "--trace-file", trace, "--", "true", prefix=limit)
    said = f"rsyscall run: write the trace: File too large ({trace}); it is not whole\n"
    assert result == (0, "", said)
    assert trace.stat().st_size in (512, 1024)


def test_summary(cli: Programs) -> None:
    result = cli.run("--summary", "--", "true")
    assert result.status == 0
    assert re.search(r"^ +1 +\d+\.\d+  execve$", result.err, re.MULTILINE)
    assert re.search(r"^ +\d+ +\d* +\d+\.\d+  total$", result.err, re.MULTILINE)


@pytest.mark.parametrize("options", [["--trace"], ["--verbose"], ["--summary"]])
def test_nobody_has_to_read_what_is_said(cli: Programs, options: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    result = cli.run(*options, "--", "sh", "-c", "exit 5", stderr=write)
    os.close(write)
    assert result.status == 5


@pytest.mark.parametrize("options", [["--verbose"], ["--trace"], ["--summary"], ["--help"], ["--wrong"]])
def test_standard_error_is_closed(cli: Programs, options: list[str]) -> None:
    """What would be said there does not come out elsewhere."""
    prefix = ["sh", "-c", 'exec "$@" 2>&-', "sh"]
    result = cli.run(*options, "--", "no such", prefix=prefix)
    assert (result.status, result.err) == ({"--help": 0, "--wrong": 2}.get(options[0], 127), "")
    assert (result.out != "") == (options == ["--help"])


def test_help_cannot_be_shown(cli: Programs) -> None:
    prefix = ["sh", "-c", 'exec "$@" >&-', "sh"]
    assert cli.run("--help", prefix=prefix) == (1, "", "rsyscall: standard output: Bad file descriptor\n")


def test_what_is_said_does_nothing_to_a_terminal(cli: Programs) -> None:
    result = cli.run("--verbose", "--", "/odd\x1b[31m\nname")
    assert result.status == 127
    assert r"/odd\x1b[31m\nname" in result.err
    assert "\x1b" not in result.err
    assert all(line.startswith("rsyscall run: ") for line in result.err.splitlines())


@NAMESPACED
@pytest.mark.parametrize("transport", ["ring", "stream"])
def test_both_transports(cli: Programs, transport: str) -> None:
    result = cli.run(*UNSHARE, "--map-root", "--", "id", "-u", env={"RSYSCALL_TRANSPORT": transport})
    assert result == (0, "0\n", "")


def test_the_program_of_the_package(cli: Programs) -> None:
    """`rsyscall` is also a script, where it is installed."""
    command = [str(Path(sys.executable).with_name("rsyscall"))]
    if not os.path.exists(command[0]):  # in the development tree
        command = [sys.executable, "-c", "import sys; from rsyscall.cli import main; sys.exit(main())"]
    command += ["run", "--", "echo", "hi"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "hi\n", "")
