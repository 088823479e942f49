"""A thread in a service of systemd, by `systemd-run --pipe`."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path as LocalPath

import pytest

from rsyscall.command import Command
from rsyscall.tasks.local import local_thread
from rsyscall.tasks.stdio import stdio_bootstrap

from .far_ways import command
from .test_stdio import nothing_left, use

__all__ = ["nothing_left"]

SYSTEMD = "/lib/systemd/systemd"
# It has no units but these, and writes nothing but what is mounted here: else it would set up the machine.
INIT = f"""
set -e
mount -t proc proc /proc
lib=/usr/lib/systemd
for place in $lib/system-generators $lib/system /etc/systemd /run /tmp /sys/fs/cgroup; do
    mount -t tmpfs tmpfs $place
done
mkdir -p /run/dbus /sys/fs/cgroup/systemd /etc/systemd/system
mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
unit() {{
    printf '%s\\n' '[Unit]' DefaultDependencies=no "$@" >"/etc/systemd/system/$name"
}}
for name in sysinit.target basic.target shutdown.target; do unit; done
name=test.target unit Wants=dbus.socket
name=dbus.socket unit '[Socket]' ListenStream=/run/dbus/system_bus_socket
name=dbus.service unit '[Service]' Type=notify NotifyAccess=main \\
    'ExecStart=dbus-daemon --system --address=systemd: --nofork --nopidfile --systemd-activation'
mount -o remount,bind,ro /
exec env -i container=other "PATH=$PATH" {SYSTEMD} --system --unit=test.target --log-target=console
"""
NAMESPACES = ("--mount", "--pid", "--ipc", "--uts", "--cgroup", "--net")


def entering(pid: str) -> list[str]:
    """The beginning of a command that runs in the namespaces of a process."""
    return ["nsenter", f"--target={pid}", *NAMESPACES]


@pytest.fixture
def systemd(tmp_path: LocalPath) -> Iterator[str]:
    """One that is the init process of namespaces of its own; gives its pid."""
    if not os.path.exists(SYSTEMD) or shutil.which("dbus-daemon") is None:
        pytest.skip("systemd or dbus-daemon is not installed")
    hierarchy = LocalPath("/sys/fs/cgroup/systemd")
    if not hierarchy.exists():
        pytest.skip("place: there is no cgroup hierarchy for systemd")
    group = hierarchy / f"rsyscall-test-{os.getpid()}"
    group.mkdir()
    script = f'echo $$ >"{group}/cgroup.procs"; exec unshare {" ".join(NAMESPACES)} --fork sh -c "$0"'
    with open(tmp_path / "log", "wb") as log:
        outside = subprocess.Popen(["sh", "-c", script, INIT], stdout=log, stderr=log)
    children = LocalPath(f"/proc/{outside.pid}/task/{outside.pid}/children")
    try:
        deadline = time.monotonic() + 60
        while True:
            assert outside.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            if pids := children.read_text().split():
                words = [*entering(pids[0]), "systemctl", "is-system-running"]
                if subprocess.run(words, capture_output=True, text=True).stdout == "running\n":
                    break
            time.sleep(0.01)
        yield pids[0]
    finally:
        with contextlib.suppress(FileNotFoundError):
            for pid in children.read_text().split():
                os.kill(int(pid), signal.SIGKILL)
        outside.wait()
        for directory, _, _ in os.walk(group, topdown=False):
            os.rmdir(directory)


@pytest.mark.slow
@pytest.mark.needs(
    "CAP_SYS_ADMIN", "all capabilities", "mounts", "privileged pid namespaces", "cgroup namespaces"
)
async def test_service(systemd: str) -> None:
    enter = entering(systemd)
    for _ in range(3):
        carrier = command(*enter, "systemd-run", "--pipe", "--quiet", "--unit=own", "sh", "-c")
        async with await stdio_bootstrap(local_thread, carrier) as thread:
            await use(thread)
            assert (await thread.task.getppid()).id == 1
            group = await thread.run(Command("/bin/cat", ["cat", "/proc/self/cgroup"], {}), capture=True)
            assert b"/system.slice/own.service\n" in group.stdout
        status = [*enter, "systemctl", "show", "--property=ActiveState", "own"]
        assert subprocess.run(status, capture_output=True, text=True).stdout == "ActiveState=inactive\n"
