"""What goes wrong on the way to a process elsewhere, at each step: the error says where; nothing is left."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
from pathlib import Path as LocalPath

import pytest
import trio
from sshd import SSHD, serving
from waiting import wait_until

from rsyscall.near import SyscallError
from rsyscall.tasks.local import local_thread
from rsyscall.tasks.ssh import make_ssh_host
from rsyscall.tasks.stdio import BootstrapError, stdio_bootstrap

from .far_ways import command
from .support import errors_by_limit, sh
from .test_stdio import descendants, name_of, nothing_left, script

__all__ = ["nothing_left"]

pytestmark = pytest.mark.slow

# Ends before its command of this number, which is every one that the script executes.
_ENDS_AT = """
set -T
count=0
trap 'if [ $((count += 1)) -gt %d ]; then trap - DEBUG; kill -KILL $$; fi' DEBUG
eval "$1"
"""

_KILLED = re.compile("ended (before it ran the script|while .*|before the hello.*) .it was killed by KILL")


async def test_the_shell_is_killed_at_each_step() -> None:
    """Its directory is left, and a later connection would remove it."""
    place = LocalPath(os.environ["TMPDIR"])
    said: set[str] = set()
    for step in range(1000):
        carrier = command("bash", "-c", _ENDS_AT % step, "bash")
        try:
            with trio.fail_after(20):
                async with await stdio_bootstrap(local_thread, carrier) as thread:
                    assert (await thread.task.getpid()).id == thread.task.near_process.id
                break
        except BootstrapError as error:
            message = str(error)
        found = _KILLED.search(message)
        assert found, message
        said.add(found[1])
        for left in place.glob("rsyscall-" + 16 * "?"):
            assert {path.name for path in left.iterdir()} <= {"rsyscall-stub"}
            shutil.rmtree(left)
    assert {"before it ran the script", "while the script placed the program"} < said


@pytest.mark.skipif(SSHD is None, reason="package: sshd is not installed")
async def test_ssh_is_killed_at_any_time(tmp_path: LocalPath) -> None:
    with serving(tmp_path) as server:
        host = await make_ssh_host(local_thread, lambda ssh: ssh.args(*server.words()))

        def clients() -> list[int]:
            others = {server.process.pid, *descendants(server.process.pid)}
            return [pid for pid in descendants(os.getpid()) if pid not in others and name_of(pid) == "ssh"]

        async def kill_after(seconds: float) -> None:
            await wait_until(lambda: bool(clients()))
            await trio.sleep(seconds)
            os.kill(clients()[0], signal.SIGKILL)

        said: list[str] = []
        for step in range(12):
            with trio.fail_after(60):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(kill_after, step * 0.04)
                    try:
                        _, thread = await host.ssh(local_thread)
                    except BootstrapError as error:
                        said.append(str(error))
                    else:
                        async with thread:
                            with pytest.raises(SyscallError):
                                while True:
                                    await thread.task.getpid()
        assert said
        assert all("it was killed by KILL" in message for message in said), said
        await wait_until(lambda: not descendants(server.process.pid))


@pytest.mark.skipif(SSHD is None, reason="package: sshd is not installed")
async def test_a_host_that_falls_silent(tmp_path: LocalPath) -> None:
    """Nothing says that the connection is lost. By ssh's own option it is noticed."""
    with serving(tmp_path) as server:
        options = {"ServerAliveInterval": "1", "ServerAliveCountMax": "1"}
        host = await make_ssh_host(local_thread, lambda ssh: ssh.args(*server.words(**options)))
        _, thread = await host.ssh(local_thread)
        async with thread:
            child = await thread.clone()
            sessions = descendants(server.process.pid)
            for pid in sessions:
                os.kill(pid, signal.SIGSTOP)
            try:
                with trio.fail_after(60):
                    for task in (thread.task, child.task):
                        with pytest.raises(SyscallError):
                            await task.getpid()
            finally:
                for pid in sessions:
                    os.kill(pid, signal.SIGCONT)
        await wait_until(lambda: not descendants(server.process.pid))


# Every place where the program may be written is on the file system `$small`.
_FULL_DISK = """
exec unshare --mount sh -c '
    mkdir -p "$TMPDIR/small" && mount -t tmpfs -o size=%s none "$TMPDIR/small" && cd "$TMPDIR/small" || exit 9
    head -c %d /dev/zero >rest
    for place in %s; do mount --bind . "$place"; done
    export TMPDIR="$PWD" HOME="$PWD" XDG_RUNTIME_DIR=
    sh -c "$1"; status=$?
    echo "left:" * >&2
    exit $status
' sh "$1"
"""


@pytest.mark.needs("CAP_SYS_ADMIN", "mount namespaces")
@pytest.mark.parametrize("room", [0, 4096, 8192])
async def test_disk_is_full(room: int) -> None:
    """At the directory, and within the program: another place is tried, and what was written is removed."""
    places = "/dev/shm /var/tmp /tmp"
    with pytest.raises(BootstrapError, match="found no directory to write") as caught:
        await stdio_bootstrap(local_thread, script(_FULL_DISK % ("16k", 16384 - room, places)))
    assert re.search("left: rest$", str(caught.value), re.MULTILINE)
    full = script(_FULL_DISK % ("16k", 16384 - room, "/dev/shm /var/tmp"))
    async with await stdio_bootstrap(local_thread, full) as thread:
        assert (await thread.run(sh("exit 0"))).clean()
    LocalPath(os.environ["TMPDIR"], "small").rmdir()


async def test_no_descriptors_are_left_there() -> None:
    """Whatever the limit is: it works, or an error says that."""
    works = 0
    errors: set[int | None] = set()
    for limit in range(3, 24):
        carrier = script(f'ulimit -n {limit} && exec sh -c "$1"')
        try:
            with trio.fail_after(30):
                async with await stdio_bootstrap(local_thread, carrier) as thread:
                    assert (await thread.run(sh("echo out"), capture=True)).stdout == b"out\n"
                    worked = True
        except BootstrapError:
            worked = False
        except OSError as error:
            worked = False
            errors.add(error.errno)
        assert worked or not works
        works += worked
    assert works > 3
    assert errors == {errno.EMFILE}


async def test_no_descriptors_are_left_here() -> None:
    """The error says so, and the next one works. The check for leaks says that nothing is left."""

    async def go() -> None:
        async with await stdio_bootstrap(local_thread, command("sh", "-c")) as thread:
            await thread.task.getpid()

    errors = await errors_by_limit(go, 12)
    assert len(errors) > 5
    assert set(errors) == {errno.EMFILE}
    async with await stdio_bootstrap(local_thread, command("sh", "-c")) as thread:
        assert (await thread.run(sh("echo out"), capture=True)).stdout == b"out\n"
