"""Threads at the other end of commands: what carries them, what goes wrong, and that nothing is left."""

from __future__ import annotations

import errno
import gc
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path as LocalPath
from typing import Literal

import pytest
import trio
from waiting import wait_until

from rsyscall.command import Command
from rsyscall.completed import CommandTimeoutError
from rsyscall.near import SyscallError
from rsyscall.path import Path
from rsyscall.run_limits import Limits
from rsyscall.sched import CLONE
from rsyscall.stdlib import mkdtemp
from rsyscall.sys.socket import AF, SOCK
from rsyscall.sys.wait import W
from rsyscall.tasks._script import MACHINES, STALE_MINUTES
from rsyscall.tasks.local import local_thread
from rsyscall.tasks.stdio import BootstrapError, StdioThread, stdio_bootstrap

from .far_ways import command
from .support import sh

By = Literal["argument", "line", "shell"]

_DIRECTORY = re.compile("rsyscall-[0-9a-f]{16}")


def script(text: str) -> Command:
    """A command that runs a shell script, whose first argument is what the bootstrap adds."""
    return Command("/bin/sh", ["sh", "-c", text, "script"], {})


def descendants(pid: int) -> list[int]:
    """All processes that descend from this one, but those that exit meanwhile."""
    try:
        children = LocalPath(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [each for child in map(int, children) for each in (child, *descendants(child))]


def children(thread: StdioThread) -> list[int]:
    """All processes that descend from that of a thread, but the relay."""
    assert thread.carrier.pid is not None
    return [pid for pid in descendants(thread.carrier.pid) if name_of(pid) != "rsyscall-relay"]


def parent_of(pid: int) -> int:
    try:
        return int(LocalPath(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (ProcessLookupError, FileNotFoundError):
        return 0


def name_of(pid: int) -> str:
    try:
        return LocalPath(f"/proc/{pid}/comm").read_text().strip()
    except (ProcessLookupError, FileNotFoundError):
        return ""


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No directory with the program stays that a test has made; other runs may make some beside it."""

    def found() -> set[str]:
        places = ["/tmp", "/dev/shm", "/var/tmp", os.environ["TMPDIR"]]
        return {name for place in places for name in os.listdir(place) if _DIRECTORY.fullmatch(name)}

    before = found()
    yield
    made = found() - before
    deadline = time.monotonic() + 10
    while made := made & found():
        assert time.monotonic() < deadline, made
        time.sleep(0.01)


async def use(thread: StdioThread) -> None:
    """Do a bit of everything."""
    assert (await thread.task.getpid()).id == thread.task.near_process.id
    async with await mkdtemp(thread) as directory:
        path = Path(directory / "file")
        await thread.spit(path, "written there")
        output = await thread.run(Command("/bin/cat", ["cat", path], {}), stdin=b"", capture=True)
        assert output.stdout == b"written there"
    async with (child := await thread.clone()).process:
        assert await child.task.getpid() != await thread.task.getpid()
    counted = await thread.run(sh("cat; ls /proc/self/fd | wc -l"), capture=True)
    assert counted.stdout == b"4\n", "0 to 2, and that of the directory; input is empty"


CARRIERS = {
    "dash": ("dash", "-c"),
    "bash": ("bash", "-c"),
    "busybox": ("busybox", "sh", "-c"),
    "env": ("env", "-i", "/bin/sh", "-c"),
    "setsid": ("setsid", "sh", "-c"),
}
PRIVILEGED = {
    "sudo": ("sudo", "-n", "sh", "-c"),
    "sudo-user": ("sudo", "-n", "-u", "nobody", "sh", "-c"),
    "su": ("su", "-s", "/bin/sh", "nobody", "-c"),
    "nsenter": ("nsenter", "--target", "self", "--net", "sh", "-c"),
    "unshare": ("unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "sh", "-c"),
    "chroot": ("chroot", "/", "sh", "-c"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CARRIERS)
async def test_shells(name: str) -> None:
    async with await stdio_bootstrap(local_thread, command(*CARRIERS[name])) as thread:
        await use(thread)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRIVILEGED)
@pytest.mark.needs("CAP_SYS_ADMIN")
async def test_carriers_of_root(name: str) -> None:
    words = [str(os.getpid()) if word == "self" else word for word in PRIVILEGED[name]]
    async with await stdio_bootstrap(local_thread, command(*words)) as thread:
        await use(thread)
        assert (await thread.task.getuid() != os.getuid()) is ("nobody" in words)


@pytest.mark.needs("CAP_SYS_ADMIN", "mount namespaces", "network namespaces")
async def test_network_namespace_with_a_name() -> None:
    command("ip")
    # Names are files in /run/netns: of a file system that ends with the command.
    carrier = script(
        "exec unshare --mount sh -c 'mount -t tmpfs none /run && ip netns add own && "
        'exec ip netns exec own sh -c "$1"\' x "$1"'
    )
    async with await stdio_bootstrap(local_thread, carrier) as thread:
        await use(thread)
        assert (await thread.read_file("/proc/net/dev")).count(b":") == 1, "only the loopback device"


@pytest.mark.needs("user namespaces")
async def test_unshare_of_an_ordinary_user() -> None:
    carrier = command("unshare", "--user", "--map-root-user", "sh", "-c")
    async with await stdio_bootstrap(local_thread, carrier) as thread:
        await use(thread)
        assert await thread.task.getuid() == 0


@pytest.mark.slow
@pytest.mark.parametrize("by", ["argument", "line"])
@pytest.mark.parametrize("shell", ["bash --restricted", "tcsh", "fish", "mksh", "zsh"])
async def test_login_shells(shell: str, by: By) -> None:
    """Some do not understand the script, and one allows neither exec nor redirection nor paths."""
    carrier = command(*shell.split(), "-c")
    async with await stdio_bootstrap(local_thread, carrier, by=by, login_shell=True) as thread:
        assert (await thread.task.getpid()).id == thread.task.near_process.id


@pytest.mark.slow
@pytest.mark.parametrize("words", [("dash",), ("bash",), ("bash", "--restricted")], ids=" ".join)
async def test_shell_that_reads_its_input(words: tuple[str, ...]) -> None:
    async with await stdio_bootstrap(local_thread, command(*words), by="shell") as thread:
        await use(thread)


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["dash", "bash", "busybox sh"])
async def test_program_in_one_line(shell: str) -> None:
    carrier = command(*shell.split(), "-c")
    async with await stdio_bootstrap(local_thread, carrier, by="line") as thread:
        await use(thread)


async def test_noise_is_skipped() -> None:
    noisy = script('echo Welcome; echo "rsyscall-0123456789abcdef start"; echo RSYSCALL; exec sh -c "$1"')
    async with await stdio_bootstrap(local_thread, noisy) as thread:
        await use(thread)


@pytest.mark.parametrize("name", ["runc", "crun"])
async def test_a_parent_that_exits(name: str, tmp_path: LocalPath) -> None:
    """Runtimes of containers exit when the command of `docker exec` runs, which then has another parent."""
    runtime, staying, using = tmp_path / name, tmp_path / "staying", tmp_path / "using"
    runtime.write_text(f'#!/bin/sh\nsh -c "$1" <&3 &\nwhile [ -e {staying} ]; do sleep 0.01; done\n')
    runtime.chmod(0o755)
    staying.touch()
    using.touch()
    carrier = script(f'{runtime} "$1" 3<&0; while [ -e {using} ]; do sleep 0.01; done')
    async with await stdio_bootstrap(local_thread, carrier) as thread:
        root = thread.task.process.near.id
        parent = parent_of(root)
        assert name_of(parent) == name
        staying.unlink()
        await wait_until(lambda: parent_of(root) != parent)
        await use(thread)
        using.unlink()


async def test_flags_that_only_clone3_takes() -> None:
    """clone takes no notice of them."""
    async with await stdio_bootstrap(local_thread, command("sh", "-c")) as thread:
        child = await thread.clone(CLONE.CLEAR_SIGHAND)
        assert await child.task.getpid() == child.task.process.near
        await child.exit(0)
        try:
            child = await thread.clone(CLONE.NNP)
        except OSError as error:
            # Before Linux 7.3.
            assert (error.errno, error.filename) == (errno.EINVAL, CLONE.NNP)  # noqa: PT017 (it may work)
        else:
            assert await child.task.prctl_get_no_new_privs()
            await child.exit(0)


@pytest.mark.slow
async def test_nested() -> None:
    carrier = command("sh", "-c")
    async with await stdio_bootstrap(local_thread, carrier) as outer:
        async with await stdio_bootstrap(outer, carrier) as inner:
            assert inner.carrier.pid == inner.task.near_process.id
            await use(inner)
        assert (await inner.carrier.waitpid(W.EXITED)).clean()
        with pytest.raises(BootstrapError, match=r"exited with status 3.*standard error: no way"):
            await stdio_bootstrap(outer, script("echo no way >&2; exit 3"))


@pytest.mark.needs("CAP_SYS_CHROOT")
async def test_busybox_alone(tmp_path: LocalPath) -> None:
    """A root with one program, under the names that are listed as needed."""
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox is not installed")
    (tmp_path / "bin").mkdir()
    (tmp_path / "tmp").mkdir()
    shutil.copy(busybox, tmp_path / "bin/busybox")
    for name in ("sh", "uname", "mkdir", "chmod", "rm"):
        (tmp_path / "bin" / name).symlink_to("busybox")
    carrier = command("chroot", str(tmp_path), "/bin/sh", "-c")
    async with await stdio_bootstrap(local_thread, carrier) as thread:
        done = await thread.run(Command("/bin/busybox", ["busybox", "echo", "here"], {}), capture=True)
        assert done.stdout == b"here\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "tmp"]
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.needs("CAP_SYS_ADMIN", "mount namespaces")
async def test_directory_without_exec() -> None:
    carrier = script(
        'exec unshare --mount sh -c \'mount -t tmpfs -o noexec none "$TMPDIR" && exec sh -c "$1"\' x "$1"'
    )
    async with await stdio_bootstrap(local_thread, carrier) as thread:
        await use(thread)
        link, _ = await thread.task.readlink(
            await thread.ptr(Path("/proc/self/exe")), await thread.malloc(Path, 4096)
        )
        name = os.fspath(await link.read())
        assert "/rsyscall-" in name
        assert not name.startswith(os.environ["TMPDIR"] + "/")


async def test_what_killed_shells_left_is_removed() -> None:
    """If it is old enough, and ours."""
    place = LocalPath(os.environ["TMPDIR"])
    names = [f"rsyscall-{digit * 16}" for digit in "01"]
    try:
        for name in names:
            (place / name).mkdir(0o700)
            (place / name / "rsyscall-stub").write_text("half of it")
        past = time.time() - 60 * (STALE_MINUTES + 2)
        os.utime(place / names[0], (past, past))
        async with await stdio_bootstrap(local_thread, command("sh", "-c")):
            assert [name for name in names if (place / name).exists()] == names[1:]
    finally:
        for name in names:
            shutil.rmtree(place / name, ignore_errors=True)


@pytest.mark.parametrize("flags", [CLONE.NONE, CLONE.NEWUSER | CLONE.NEWPID], ids=["subreaper", "init"])
@pytest.mark.needs("user namespaces", "pid namespaces")
async def test_orphans(flags: CLONE) -> None:
    """An init on the far side, and a subreaper there, reap what they adopt."""
    async with await stdio_bootstrap(local_thread, command("sh", "-c")) as thread:
        async with (child := await thread.clone(flags)).process:
            reaper = await child.adopt_orphans()
            with reaper.ends() as ends:
                await child.run(sh("(exit 7) & exec true"))
                await child.run(sh("(sleep 0.1; exit 7) & exit 0"))
                assert (await ends.receive()).exit_status == 7
            async with (grandchild := await child.clone()).process:
                assert await grandchild.task.getpid() != await child.task.getpid()
                assert await grandchild.task.getppid() == await child.task.getpid()


# ---- What goes wrong


@pytest.mark.parametrize(
    ("carrier", "message"),
    [
        (
            script('printf "no file %s" "$1" >&2; exit 2'),
            "status 2.: it took the script .* is -c missing .*[?]$",
        ),
        (script("exit 0"), r"ended before it ran the script \(it exited with status 0\)$"),
        (script("echo This account is not available.; exit 1"), "standard output: This account is not"),
        (script("echo Permission denied >&2; exit 255"), "status 255.*standard error: Permission denied"),
        (script("kill -9 $$"), r"ended before it ran the script \(it was killed by KILL"),
        (script("exec head -c 100000 /dev/zero"), "more than 65536 bytes"),
        (script('PATH=/nowhere; exec /bin/sh -c "$1"'), "architecture ''.*uname: not found"),
        (script('uname() { echo vax; }; eval "$1"'), "leads to the architecture 'vax', .* for .*x86_64"),
        (script('mkdir() { return 1; }; eval "$1"'), r"no directory .* of \$TMPDIR, /tmp"),
        (script('chmod() { return 1; }; eval "$1"'), r"no directory .* of \$TMPDIR, /tmp"),
        (
            script('sh -c "$1" </dev/null | head -c 100'),
            "ended before the hello was complete, after [0-9]+ bytes",
        ),
        (script('sh -c "$1" | sed -u "s/$/\\r/"'), "a terminal in between"),
    ],
)
async def test_failures(carrier: Command, message: str) -> None:
    with pytest.raises(BootstrapError, match=re.compile(message, re.DOTALL)) as caught:
        await stdio_bootstrap(local_thread, carrier)
    assert caught.value.command is carrier


_TOKEN = 'token=$(expr "$1" : \'.*rsyscall-""\\([0-9a-f]*\\)\'); echo "rsyscall-$token start"; '


@pytest.mark.parametrize(
    ("then", "message"),
    [
        ("", "ended before the hello was complete, before its first byte"),
        ("printf RSYSC", "ended before the hello was complete, after 5 bytes"),
        ("echo I am a hostile machine", "not send a hello of this protocol but b'I am a"),
        ("head -c 5000 /dev/urandom", "not send a hello"),
    ],
)
async def test_lies(then: str, message: str) -> None:
    with pytest.raises(BootstrapError, match=message):
        await stdio_bootstrap(local_thread, script(_TOKEN + then))


async def test_misuse() -> None:
    with pytest.raises(ValueError, match="no program for vax, only for"):
        await stdio_bootstrap(local_thread, command("sh", "-c"), machines=["vax"])
    with pytest.raises(ValueError, match='by: expected "argument", "line" or "shell", not 5'):
        await stdio_bootstrap(local_thread, command("sh", "-c"), by=5)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match="/nonexistent"):
        await stdio_bootstrap(local_thread, Command("/nonexistent", ["x"], {}))
    assert os.uname().machine in MACHINES


async def test_cancelled() -> None:
    with trio.move_on_after(0.2) as scope:
        await stdio_bootstrap(local_thread, script("exec sleep inf"))
    assert scope.cancelled_caught


# ---- The end


async def test_carrier_is_killed() -> None:
    """The process that it carried us to, and what that has made, end with it."""
    carrier = script('sh -c "$1"; exit')
    async with await stdio_bootstrap(local_thread, carrier) as thread:
        child = await thread.clone()
        async with trio.open_nursery() as nursery:
            running = await nursery.start(run_until_lost, thread)
            # Not of ours: other tests may have left a helper behind, such as a resource tracker.
            pids = [thread.carrier.pid, *descendants(thread.carrier.pid)]
            assert running.pid in pids
            os.kill(thread.carrier.pid, signal.SIGKILL)
        with pytest.raises(SyscallError):
            await child.task.getpid()
        with pytest.raises(SyscallError):
            await thread.task.getpid()
        await wait_until(lambda: not [pid for pid in pids if os.path.exists(f"/proc/{pid}/fd/2")])


async def run_until_lost(thread: StdioThread, task_status: trio.TaskStatus[object]) -> None:
    with pytest.raises(SyscallError):
        await thread.run(Command("/bin/sleep", ["sleep", "inf"], {}), task_status=task_status)


async def test_dropped() -> None:
    """Without being closed."""
    thread = await stdio_bootstrap(local_thread, command("sh", "-c"))
    await thread.run(sh("true"))
    pid = thread.carrier.pid
    del thread
    gc.collect()
    await wait_until(lambda: not os.path.exists(f"/proc/{pid}/fd/2"))


async def test_input_that_is_not_read() -> None:
    """A broken pipe is an error of the write. SIGPIPE would end the process that we drive."""
    async with await stdio_bootstrap(local_thread, command("sh", "-c")) as thread:
        for _ in range(3):
            await thread.run(sh("true"), stdin=bytes(1_000_000))
        read, write = await thread.pipe()
        await read.close()
        with pytest.raises(BrokenPipeError):
            await write.write(await thread.ptr(b"x"))
        state = await thread.run(sh("kill -PIPE $$"), check=False)
        assert state.sig == signal.SIGPIPE, "a command has the default action"


async def test_a_cancelled_pipe_is_not_lost(caplog: pytest.LogCaptureFixture) -> None:
    """At whatever moment the cancellation comes: the numbers are read, or the call was not made."""
    async with await stdio_bootstrap(local_thread, command("sh", "-c")) as thread:
        await thread.run(sh("true"))
        descriptors = f"/proc/{thread.carrier.pid}/fd"
        # What the command had may still be open; then there are fewer in the end.
        before = len(os.listdir(descriptors))
        for step in range(40):
            with trio.move_on_after(step * 0.0002):
                pipe = await thread.pipe()
                await pipe.read.close()
                await pipe.write.close()
        pipe = None
        # A task of its own closes descriptors whose handles are gone.
        await wait_until(lambda: len(os.listdir(descriptors)) <= before, collecting=True)
        await thread.run(sh("true"))
        assert [record.message for record in caplog.records] == []
        await wait_until(lambda: len(os.listdir(descriptors)) <= before, collecting=True)


async def test_a_cancelled_message_is_not_lost() -> None:
    """It is received, or it is there for the next one."""
    async with await stdio_bootstrap(local_thread, command("sh", "-c")) as thread:
        pair = await thread.socketpair(AF.UNIX, SOCK.SEQPACKET)
        for step in range(40):
            await thread.send_fds(pair.first, b"data", [thread.stdin])
            received = None
            with trio.move_on_after(step * 0.0001):
                received = await thread.recv_fds(pair.second, 100, 1)
            if received is None:
                with trio.fail_after(10):
                    received = await thread.recv_fds(pair.second, 100, 1)
            data, [fd] = received
            assert data == b"data"
            await fd.close()


@pytest.mark.slow
async def test_timeout_and_dropped_children() -> None:
    async with await stdio_bootstrap(local_thread, command("sh", "-c")) as thread:
        await thread.run(sh("true"))
        descriptors = f"/proc/{thread.carrier.pid}/fd"
        before = len(os.listdir(descriptors))
        with pytest.raises(CommandTimeoutError):
            await thread.run(sh("sleep inf"), timeout=0.1)
        child = await thread.clone()
        del child
        child = await thread.clone()
        process = await child.exec(sh("exit 5"))
        del child, process
        for _ in range(5):
            assert (await thread.run(sh("echo out"), capture=True)).stdout == b"out\n"
        gc.collect()
        await wait_until(lambda: not children(thread))
        await wait_until(lambda: len(os.listdir(descriptors)) <= before)


def test_several_runs_of_trio() -> None:
    thread = trio.run(stdio_bootstrap, local_thread, command("sh", "-c"))
    for _ in range(2):
        trio.run(use, thread)
    trio.run(thread.close)


def test_a_child_is_dropped_when_the_run_ends() -> None:
    thread = trio.run(stdio_bootstrap, local_thread, command("sh", "-c"))

    async def drop() -> None:
        child = await thread.clone()
        assert await child.task.getpid() == child.task.near_process

    async def all_gone() -> None:
        await thread.run(sh("exit 0"))
        await wait_until(lambda: not children(thread), collecting=True)

    # The order in which trio ends what is left of a run is random.
    for _ in range(40):
        trio.run(drop)
    trio.run(all_gone)
    trio.run(thread.close)


async def test_limits() -> None:
    async with await stdio_bootstrap(local_thread, command("sh", "-c")) as thread:
        shown = await thread.run(
            sh("sleep 0.2; cat /proc/self/oom_score_adj; ulimit -n"),
            capture=True,
            limits=Limits(oom_score_adj=500, rlimits={"nofile": 100}),
        )
        assert shown.stdout == b"500\n100\n"


async def test_errors_are_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    async with await stdio_bootstrap(local_thread, script('echo warning >&2; exec sh -c "$1"')) as thread:
        await thread.run(sh("echo output; echo error >&2"))
    assert capfd.readouterr().err == "warning\noutput\nerror\n"
