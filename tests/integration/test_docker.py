"""A thread in a container of Docker, by `docker exec -i`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path as LocalPath
from typing import Literal

import pytest
import trio
from waiting import wait_until

from rsyscall.command import Command
from rsyscall.near import SyscallError
from rsyscall.tasks.local import local_thread
from rsyscall.tasks.stdio import BootstrapError, stdio_bootstrap

from .far_ways import command
from .test_stdio import nothing_left, use

__all__ = ["nothing_left"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.needs(
        "CAP_SYS_ADMIN", "all capabilities", "mounts", "privileged network namespaces", "cgroups"
    ),
]

IMAGE = "busybox-and-no-more"
# Nothing of this machine: no bridge, no rules of a firewall, no socket where another daemon has one.
SETTINGS = ("--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=vfs")


def docker(*words: str) -> str:
    """Run it and return what it says."""
    done = subprocess.run(["docker", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def make_image(directory: LocalPath) -> None:
    """One with a root in which there are busybox and its links."""
    busybox = command("busybox")
    names = subprocess.run([busybox.executable_path, "--list"], check=True, capture_output=True, text=True)
    archive = directory / "root.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(busybox.executable_path, "bin/busybox")
        for name in set(names.stdout.split()) - {"busybox"}:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        tmp = tarfile.TarInfo("tmp")
        tmp.type, tmp.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(tmp)
    docker("import", str(archive), IMAGE)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    if shutil.which("docker") is None or (dockerd := shutil.which("dockerd")) is None:
        pytest.skip("docker is not installed")
    directory = tmp_path_factory.mktemp("docker")
    # Paths of sockets are short.
    places = [f"--{name}={directory / name}" for name in ("data-root", "exec-root", "pidfile")]
    (directory / "daemon.json").write_text(json.dumps({"deprecated-key-path": str(directory / "key.json")}))
    words = [dockerd, *SETTINGS, *places, f"--config-file={directory / 'daemon.json'}"]
    with pytest.MonkeyPatch.context() as patch, open(directory / "log", "wb") as log:
        patch.setenv("DOCKER_HOST", f"unix://{directory / 'socket'}")
        patch.setenv("DOCKER_CONFIG", str(directory))
        words += ["--host", os.environ["DOCKER_HOST"]]
        with subprocess.Popen(words, stdout=log, stderr=log) as process:
            try:
                deadline = time.monotonic() + 60
                while subprocess.run(["docker", "info"], capture_output=True).returncode:
                    if process.poll() is not None:
                        pytest.skip(f"place: {(directory / 'log').read_text().splitlines()[-1]}")
                    assert time.monotonic() < deadline, (directory / "log").read_text()
                    time.sleep(0.05)
                make_image(directory)
                yield
            finally:
                process.terminate()


@pytest.fixture
def container(daemon: None, request: pytest.FixtureRequest) -> Iterator[str]:
    """One that has no network, and an init process that does not know of children of others.

    The parameter is an option of it.
    """
    options = ["--network=none", *([request.param] if hasattr(request, "param") else [])]
    name = docker("run", "--detach", *options, IMAGE, "sleep", "1000000")
    try:
        yield name
    finally:
        docker("rm", "--force", "--volumes", name)


def inside(container: str, *words: str) -> list[str]:
    return docker("exec", container, *words).splitlines()


def processes(container: str) -> list[str]:
    """Those beside the init process, zombies too."""
    return docker("top", container, "-eo", "pid,args").splitlines()[2:]


def into(container: str) -> Command:
    return command("docker", "exec", "-i", container, "sh", "-c")


@pytest.mark.parametrize("by", ["argument", "line"])
async def test_all_of_it(container: str, by: Literal["argument", "line"]) -> None:
    files = inside(container, "find", "/", "-xdev")
    for _ in range(3):
        async with await stdio_bootstrap(local_thread, into(container), by=by) as thread:
            await use(thread)
            hostname = await thread.run(Command("/bin/hostname", ["hostname"], {}), capture=True)
            assert hostname.stdout.decode().strip() == container[:12]
            assert (await thread.read_file("/proc/1/cmdline")).split(b"\0")[0] == b"sleep"
    assert processes(container) == []
    assert inside(container, "find", "/", "-xdev") == files


@pytest.mark.parametrize("container", ["--pid=host"], indirect=True)
async def test_beside_processes_of_the_host(container: str) -> None:
    """The process that has put ours into the container exits, and then ours has another parent."""
    for _ in range(10):
        async with await stdio_bootstrap(local_thread, into(container)) as thread:
            await thread.run(Command("/bin/true", ["true"], {}))


async def test_the_container_is_killed(container: str) -> None:
    async with await stdio_bootstrap(local_thread, into(container)) as thread:
        child = await thread.clone()
        docker("kill", container)
        with trio.fail_after(60):
            for task in (child.task, thread.task):
                with pytest.raises(SyscallError):
                    while True:
                        await task.getpid()


PROGRAM = """
import sys, trio
from rsyscall.command import Command
from rsyscall.tasks.local import local_thread
from rsyscall.tasks.stdio import stdio_bootstrap

async def main():
    thread = await stdio_bootstrap(local_thread, Command(sys.argv[1], sys.argv[1:], {}))
    await thread.run(Command("/bin/true", ["true"], {}))
    print("used", flush=True)
    await trio.sleep_forever()

trio.run(main)
"""


async def test_the_program_is_killed(container: str) -> None:
    carrier = into(container)
    words = [sys.executable, "-c", PROGRAM, os.fsdecode(carrier.executable_path), *carrier.arguments[1:]]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert await trio.to_thread.run_sync(program.stdout.readline) == b"used\n"
        assert len(processes(container)) == 2, "the root and its relay"
        program.kill()
    await wait_until(lambda: not processes(container))


@pytest.mark.parametrize(
    ("words", "message"),
    [(("-t",), "not a TTY"), (("-u", "nobody"), "nobody"), (("-w", "/missing"), "/missing")],
    ids=["a terminal", "a user", "a directory"],
)
async def test_what_docker_says(container: str, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(BootstrapError, match=message):
        await stdio_bootstrap(local_thread, command("docker", "exec", "-i", *words, container, "sh", "-c"))


async def test_the_command_line(container: str, tmp_path: LocalPath) -> None:
    via = ["--via", f"docker exec -i {container} sh -c"]
    (tmp_path / "here").write_text("copied")
    rsyscall = [sys.executable, "-m", "rsyscall"]
    subprocess.run([*rsyscall, "copy", *via, tmp_path / "here", ":/tmp/there"], check=True)
    run = [*rsyscall, "run", *via, "--", "cat", "/tmp/there"]
    assert subprocess.run(run, check=True, capture_output=True).stdout == b"copied"
    assert processes(container) == []
