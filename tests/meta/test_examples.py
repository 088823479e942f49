"""The examples run as they are, and print what their descriptions promise."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import signal
import socket
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from sshd import SSHD, serving

from .conftest import Programs, Result

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

PRINTED: dict[str, str | re.Pattern[str]] = {
    "01_hello.py": "hello from a process that runs no code of its own\nand hello from echo\nstatus 0\n",
    "02_pipeline.py": "      2 apple\n      1 fig\n      3 pear\n",
    "03_namespaces.py": re.compile(
        r"at first: +user \d+, host (.*), no note in /mnt\n"
        r"in a new user namespace: +user 0, host \1, no note in /mnt\n"
        r"in a new uts namespace: +user 0, host elsewhere, no note in /mnt\n"
        r"in a new mount namespace: +user 0, host elsewhere, a note in /mnt\n"
        r"only we see this\n"
    ),
    "04_fd_passing.py": (
        "the reader cannot open it: No such file or directory\n"
        "from a file system that only the keeper has mounted\n"
    ),
    "05_preexec_replacement.py": (
        "20 programs have run\nin /usr\nNoNewPrivs:\t1\n"
        'which step failed: No such file or directory: chdir("/does/not/exist") before exec of /bin/sh\n'
    ),
    "06_untrusted_programs.py": (
        "quick: succeeded b'hello\\n'\nslow: took too long b'started\\n'\n"
        "greedy: failed \nnoisy: wrote too much b''\n"
    ),
    "07_supervisor.py": (
        "hello from number 1\nhello from number 2\nhello from number 2\n"
        "started, oops, exited with status 3, started, stopping\n"
    ),
    "08_other_root.py": "bin\nlib\nlib64\nsbin\nusr\n",
    "09_terminal.py": "size: 30 90\nsize: 40 100\nthe shell exited with status 5\n",
    "10_both_ways.py": "50000000 bytes, 9f82cb31843fb6ce\n",
    "11_not_trio.py": (
        "one call: b'input\\n/usr\\n'\nfailed: 3 b'oops\\n'\ntoo slow: b'begun\\n'\n"
        "from OS threads: [b'0\\n', b'1\\n', b'2\\n']\nfrom asyncio: [b'0\\n', b'1\\n', b'2\\n']\n"
    ),
    "12_outliving.py": (
        "the supervisor is killed, and the service answers: True\n"
        "another supervisor finds the service: True\n"
        "the service is killed, and a new one answers: True\n"
    ),
    "13_opens.py": "note: was opened\na note\nnothing: No such file or directory\n",
    "14_landlocked_tool.py": (
        "write in its directory: done\nread a file of its user: denied\n"
        "write a file of its user: denied\nsignal our program: denied\n"
    ),
    "15_overlay_root.py": "owner: 0\nof the image\nchanged\noutside: of the image\n",
    "16_networks.py": (
        "router: to-10.0.1 has 10.0.1.1/24\nrouter: to-10.0.2 has 10.0.2.1/24\n"
        "router: 10.0.1.0/24 by to-10.0.1\nrouter: 10.0.2.0/24 by to-10.0.2\n"
        "left: eth0 has 10.0.1.2/24\nleft: 0.0.0.0/0 by 10.0.1.1\nleft: 10.0.1.0/24 by eth0\n"
        "right: eth0 has 10.0.2.2/24\nright: 0.0.0.0/0 by 10.0.2.1\nright: 10.0.2.0/24 by eth0\n"
        "right received b'hello'\n"
    ),
    "17_passthrough.py": "one\nall.tar\n",
    "18_seccomp_supervisor.py": "hello from the supervisor\ncat: /etc/passwd: Permission denied\n",
    "near_only/raw_syscall.py": (
        "written by number\nit is us: True\nand close(-1) says: [Errno 9] Bad file descriptor\n"
    ),
}

# What the place has to permit.
NEEDS = {
    "03_namespaces.py": ["uts namespaces", "mount namespaces"],
    "04_fd_passing.py": ["mount namespaces"],
    "06_untrusted_programs.py": ["pid namespaces"],
    "08_other_root.py": ["mount namespaces"],
    "09_terminal.py": ["/dev/ptmx"],
    "13_opens.py": ["ptrace"],
    "14_landlocked_tool.py": ["landlock"],
    "15_overlay_root.py": ["mount namespaces", "all capabilities"],
    "16_networks.py": ["network namespaces", "settings of namespaces"],
    "17_passthrough.py": ["/dev/fuse", "privileged mount namespaces"],
}
# What an ordinary user cannot do.
PRIVILEGED = {"17_passthrough.py", "15_overlay_root.py"}


def run(cli: Programs, name: str, user: int | None) -> Result:
    # Lines in the order in which a terminal shows them, also beside those of commands.
    result = cli(program=EXAMPLES / name, uid=user, env={"PYTHONUNBUFFERED": "1"})
    assert (result.status, result.err) == (0, "")
    return result


def joined(printed: str) -> str:
    """Join the two lines of each call that the trace shows as unfinished and resumed."""
    lines: list[str] = []
    # Of those with one name the first is answered first.
    unfinished: dict[tuple[str, str], list[int]] = {}
    for line in printed.splitlines():
        prefix, _, text = line.partition("] ")
        if text.endswith(" <unfinished ...>"):
            unfinished.setdefault((prefix, text.partition("(")[0]), []).append(len(lines))
            lines.append(line.removesuffix(" <unfinished ...>"))
        elif text.startswith("<... "):
            name, rest = text.removeprefix("<... ").split(" resumed>", 1)
            lines[unfinished[prefix, name].pop(0)] += rest
        else:
            lines.append(line)
    assert not any(unfinished.values())
    return "\n".join(lines)


def test_there_is_a_test_for_each() -> None:
    found = {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*.py")}
    assert found == {*PRINTED, "demo.py", "19_watch_elsewhere.py", "20_many_hosts.py"}


def parameters(names: Collection[str]) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.needs(*NEEDS.get(name, []))) for name in sorted(names)]


@pytest.mark.slow
@pytest.mark.parametrize("name", parameters(PRINTED.keys() - PRIVILEGED))
def test_example(cli: Programs, name: str, user: int | None) -> None:
    check(name, run(cli, name, user).out)


@pytest.mark.slow
@pytest.mark.parametrize("name", parameters(PRIVILEGED))
def test_example_for_root(cli: Programs, name: str) -> None:
    check(name, run(cli, name, None).out)


def check(name: str, printed: str) -> None:
    expected = PRINTED[name]
    if isinstance(expected, str):
        assert sorted(printed.splitlines()) == sorted(expected.splitlines())
    else:
        assert expected.fullmatch(printed), printed


def test_near_only_needs_only_near() -> None:
    imported = set()
    for path in (EXAMPLES / "near_only").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module)
    assert {name for name in imported if name.startswith("rsyscall")} == {"rsyscall.near"}


@pytest.mark.slow
@pytest.mark.skipif(SSHD is None, reason="package: sshd is not installed")
def test_watching_on_the_far_side_of_ssh(cli: Programs, tmp_path: Path) -> None:
    directory = tmp_path / "there"
    (directory / "old").mkdir(parents=True)
    with serving(tmp_path) as server:
        environment = {"PYTHONUNBUFFERED": "1"}
        arguments = [str(directory), *server.words()]
        watching = cli.start(*arguments, program=EXAMPLES / "19_watch_elsewhere.py", env=environment)
        assert watching.stdout is not None

        def printed(count: int) -> set[str]:
            assert watching.stdout is not None
            return {watching.stdout.readline().rstrip("\n") for _ in range(count)}

        assert printed(1) == {"watching there"}, watching.communicate()
        (directory / "new" / "below").mkdir(parents=True)
        assert "CREATE new" in printed(1)
        # It is watched by the time that the line comes; what was in it then may or may not have a line.
        (directory / "new" / "file").touch()
        while "CREATE new/file" not in printed(1):
            pass
        assert printed(1) == {"CLOSE_WRITE new/file"}
        (directory / "new" / "below" / "deep").touch()
        assert printed(2) == {"CREATE new/below/deep", "CLOSE_WRITE new/below/deep"}
        (directory / "new" / "file").rename(directory / "old" / "moved")
        assert printed(2) == {"MOVED_FROM new/file", "MOVED_TO old/moved"}
        shutil.rmtree(directory / "old")
        assert printed(2) == {"DELETE old/moved", "DELETE old"}
        (directory / "last").mkdir()
        assert printed(1) == {"CREATE last"}
        watching.send_signal(signal.SIGINT)
        out, err = watching.communicate(timeout=60)
        assert (out, "KeyboardInterrupt" in err) == ("", True)


@pytest.mark.slow
@pytest.mark.skipif(SSHD is None, reason="package: sshd is not installed")
def test_a_hundred_hosts_and_a_dead_one(cli: Programs, tmp_path: Path) -> None:
    """The others answer while the dead one says nothing."""
    with (
        serving(tmp_path, "MaxStartups=200") as server,
        socket.create_server(("127.0.0.1", 0)) as silent,
    ):
        host = shlex.join(server.words())
        dead = shlex.join(server.words(Port=str(silent.getsockname()[1])))
        script = "echo $PPID; exit 3"
        asking = cli.start(script, dead, *[host] * 100, program=EXAMPLES / "20_many_hosts.py")
        assert asking.stdout is not None
        lines = [asking.stdout.readline() for _ in range(100)]
        assert all(
            re.fullmatch(r"\w+@127\.0\.0\.1: \d+ \(exited with status 3\)\n", line) for line in lines
        ), lines
        assert len(set(lines)) == 100, "each from a process of its own"
        silent.accept()[0].close()
        out, err = asking.communicate(timeout=60)
        # A hundred shells that log in at once may have something to say.
        assert (asking.returncode, "Traceback" in err) == (0, False), err
        assert re.match(r"\w+@127\.0\.0\.1: (BootstrapError|TooSlowError)", out), out


# Late in execve the kernel gives a process the name of its program: exec has returned by then, perhaps.
EXECUTED = ("tr", "init")


@pytest.mark.needs("network namespaces", "mounts of proc")
def test_demo(cli: Programs, user: int | None) -> None:
    printed = run(cli, "demo.py", user).out
    lines = printed.splitlines()
    start = lines.index("# demo:")
    listing = lines[start + 1 : start + 5]
    assert listing[0].split() == ["PID", "PPID", "NAME"]
    assert listing[1].split() == ["1", "0", "init"]
    assert listing[2].split()[:2] == ["2", "1"]
    assert listing[2].split()[2] in EXECUTED
    assert [line.split()[:2] for line in listing[3:]] == [["3", "1"]]
    text = "A PIPE HAS TWO ENDS\nAND A FILE DESCRIPTOR\nNEEDS NO NAME\n"
    assert text in printed
    calls = [
        r"CLONE_NEWNS\|.*CLONE_NEWUTS\|.*CLONE_NEWUSER\|.*CLONE_NEWPID\|.*CLONE_NEWNET",
        r'init\] mount\("proc", "/proc", "proc", MS_NOSUID\|MS_NODEV\|MS_NOEXEC, ""\) = 0',
        r'init\] sethostname\("demo", 4\) = 0',
        r'init\] ioctl\(\d+, SIOCSIFFLAGS, \{ifr_name="lo", ifr_flags=IFF_UP\|IFF_LOOPBACK\}\) = 0',
        r"init\] pipe2\(\[\d+, \d+\], O_CLOEXEC\) = 0",
        r"tr\] dup3\(\d+, 0, 0\) = 0",
        r'tr\] execve\("[^"]+/tr", \["tr", "a-z", "A-Z"\], .*\) = \? \(executed\)',
        r"cat\] dup3\(\d+, 0, 0\) = 0",
        r"cat\] dup3\(\d+, 1, 0\) = 1",
        r'init\] openat\(AT_FDCWD, "/proc/self/stat", O_RDONLY\|O_CLOEXEC\) = \d+',
        r'cat\] execve\("[^"]+/cat", \["cat"\], .*\) = \? \(executed\)',
        r"pidfd_send_signal\(\d+, SIGKILL, NULL, 0\) = 0",
    ]
    place, printed = 0, joined(printed)
    for pattern in calls:
        found = re.compile(pattern).search(printed, place)
        assert found, f"{pattern} is missing after:\n{printed[:place]}"
        place = found.start()
    assert lines[-1].startswith("# ")
    assert lines[-1].endswith(" system calls in 4 processes.")


@pytest.mark.needs("settings of namespaces")
def test_demo_where_namespaces_are_denied(cli: Programs) -> None:
    """The demo then is a process built call by call, and the pipeline."""
    deny = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'
    prefix = ["unshare", "--user", "--map-root-user", "sh", "-c", deny, "sh"]
    result = cli(program=EXAMPLES / "demo.py", prefix=prefix)
    assert (result.status, result.err) == (0, "")
    lines = result.out.splitlines()
    assert [line for line in lines if line.startswith("# This place")] == [
        "# This place does not permit new namespaces (ENOSPC)."
    ]
    assert lines[-1].endswith(" system calls in 4 processes.")
    assert "A PIPE HAS TWO ENDS\nAND A FILE DESCRIPTOR\nNEEDS NO NAME\n" in result.out
    assert not re.search(r"mount\(|sethostname|SIOCSIFFLAGS", result.out), "that would be done to the machine"


@pytest.mark.needs("mounts of proc")
def test_demo_where_proc_is_masked(cli: Programs) -> None:
    mask = 'mount --bind /dev/null /proc/timer_list; exec "$@"'
    prefix = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mask, "sh"]
    result = cli(program=EXAMPLES / "demo.py", prefix=prefix)
    assert (result.status, result.err) == (0, "")
    lines = result.out.splitlines()
    assert [line for line in lines if line.startswith("# This place")] == [
        "# This place does not permit mounting /proc (EPERM)."
    ]
    start = lines.index("# demo:")
    first, second = (line.split()[2] for line in lines[start + 2 : start + 4])
    assert first == "init"
    assert second in EXECUTED
    assert "A PIPE HAS TWO ENDS\nAND A FILE DESCRIPTOR\nNEEDS NO NAME\n" in result.out


def test_demo_without_capabilities(cli: Programs) -> None:
    """With no way to get any: root cannot even map itself in a new user namespace."""
    prefix = ["setpriv", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"]
    if os.geteuid() == 0:
        prefix.append("--bounding-set=-all")
    result = cli(program=EXAMPLES / "demo.py", prefix=prefix)
    assert (result.status, result.err) == (0, "")
    assert "A PIPE HAS TWO ENDS\nAND A FILE DESCRIPTOR\nNEEDS NO NAME\n" in result.out
