"""`rsyscall.nix`, with the Nix of this machine and stores that the tests build, offline."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path as LocalPath

import pytest
from sshd import SSHD, Server, serving

from nixdeps import PackageClosure
from rsyscall.environ import ExecutableNotFound
from rsyscall.nix import (
    PackagePath,
    add_to_store,
    bootstrap_nix_database,
    copy_tree,
    deploy,
    deploy_nix_bin,
    enter_nix_container,
    local_package,
)
from rsyscall.path import Path
from rsyscall.sched import CLONE
from rsyscall.stdlib import mkdtemp
from rsyscall.sys.mount import MS
from rsyscall.sys.wait import CalledProcessError
from rsyscall.tasks.local import local_thread
from rsyscall.tasks.ssh import make_ssh_host
from rsyscall.thread import ChildThread, Thread

from .support import cloned, sh

# As Debian installs it: the tests hide what is in the store of this machine.
INSTALLED = os.path.exists("/usr/bin/nix-store") and os.path.isdir("/nix")

pytestmark = [
    pytest.mark.skipif(not INSTALLED, reason="nix is not installed"),
    pytest.mark.needs("user namespaces", "mount namespaces"),
    pytest.mark.slow,
]

# `nix` stands for the package of Nix itself: its closure is two paths, its programs those of this machine.
EXPRESSION = """
let
  package = name: script: derivation {
    inherit name;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    PATH = "/usr/bin:/bin";
    args = [ "-c" "mkdir -p $out/bin && cd $out/bin && ${script}" ];
  };
  greeting = builtins.toFile "greeting" "hello from the store\\n";
  hello = package "hello" "printf '#!/bin/sh\\\\nexec /bin/cat ${greeting}\\\\n' > hello && chmod +x hello";
  nix = package "nix" "ln -s /usr/bin/nix-store nix-store && ln -s ${greeting} greeting";
in { inherit hello nix; }
"""
# No substituters, and no users for builds, of which a namespace has none.
CONFIG = "substituters =\nsandbox = false\nbuild-users-group =\n"


@pytest.fixture(autouse=True)
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: LocalPath) -> None:
    """What Nix is told; the files that it keeps beside its store are temporary."""
    settings = {"NIX_CONFIG": CONFIG, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setitem(local_thread.environ.data, name, value)


@asynccontextmanager
async def own_store() -> AsyncIterator[ChildThread]:
    """A process with an empty store, in memory."""
    async with cloned(local_thread, CLONE.NEWUSER | CLONE.NEWNS) as thread:
        text = [await thread.ptr(word) for word in ("none", "/nix", "tmpfs", "")]
        await thread.task.mount(text[0], text[1], text[2], MS.NONE, text[3])
        yield thread
    vars(thread).clear()


async def build(thread: Thread, directory: LocalPath) -> dict[str, PackageClosure]:
    """Build the packages of the expression in the store of the thread."""
    file = directory / "packages.nix"
    file.write_text(EXPRESSION)
    found = {}
    for name in ("hello", "nix"):
        nix_build = (await thread.environ.which("nix-build")).args("--no-out-link", "-A", name, file)
        path = (await thread.run(nix_build, capture=True)).stdout
        assert path is not None
        query = (await thread.environ.which("nix-store")).args("--query", "--requisites", path.strip())
        closure = (await thread.run(query, capture=True)).stdout
        assert closure is not None
        found[name] = PackageClosure(LocalPath(os.fsdecode(path).strip()), os.fsdecode(closure).split())
        assert len(found[name].closure) == 2
    return found


async def registered(thread: Thread, package: PackageClosure) -> bool:
    """Whether the store of the thread has the package, with the contents that its database says."""
    verify = (await thread.environ.which("nix-store")).args("--verify-path", *package.closure)
    return (await thread.run(verify, check=False, capture=True)).clean()


async def greet(thread: Thread, package: PackagePath) -> bytes | None:
    return (await thread.run(package.bin("hello"), capture=True)).stdout


async def test_deploy(tmp_path: LocalPath) -> None:
    async with own_store() as source, own_store() as thread:
        hello = (await build(source, tmp_path))["hello"]
        assert not await registered(thread, hello)
        path = await deploy(thread, hello, source=source)
        assert (type(path), str(path)) == (PackagePath, str(hello.path))
        assert await registered(thread, hello)
        assert await greet(thread, path) == b"hello from the store\n"
        # It is there: nothing is copied, from where there would be nothing to copy.
        async with own_store() as empty:
            assert await deploy(thread, hello, source=empty) == path
            # For the source itself nothing is checked.
            assert await deploy(empty, hello, source=empty) == path


async def test_deploy_fails(tmp_path: LocalPath, capfd: pytest.CaptureFixture[str]) -> None:
    async with own_store() as source, own_store() as thread:
        packages = await build(source, tmp_path)
        nowhere = PackageClosure(LocalPath("/nix/store/none"), [f"/nix/store/{'0' * 32}-none"])
        with pytest.raises(CalledProcessError, match="--export"):
            await deploy(thread, nowhere, source=source)
        thread.environ["PATH"] = str(tmp_path)
        with pytest.raises(ExecutableNotFound, match="nix-store"):
            await deploy(thread, packages["hello"], source=source)
        (tmp_path / "nix-store").write_text("#!/bin/sh\nexec /bin/false\n")
        (tmp_path / "nix-store").chmod(0o755)
        with pytest.raises(CalledProcessError, match="--import"):
            await deploy(thread, packages["hello"], source=source)
    assert "is not valid" in capfd.readouterr().err


async def test_container(tmp_path: LocalPath) -> None:
    async with (
        own_store() as source,
        cloned(local_thread) as thread,
        await mkdtemp(local_thread) as directory,
    ):
        packages = await build(source, tmp_path)
        thread.environ["NIX_REMOTE"] = "daemon"
        before = thread.environ["PATH"]
        await enter_nix_container(source, packages["nix"], thread, Path(directory))
        assert "NIX_REMOTE" not in thread.environ
        assert thread.environ["PATH"] == f"{before}:{packages['nix'].path}/bin"
        assert local_thread.environ["PATH"] == before
        assert await registered(thread, packages["nix"])
        # In the store of the container alone.
        for store_path in packages["nix"].closure:
            assert LocalPath(f"{directory}{store_path}").exists()
            assert not LocalPath(store_path).exists()
        path = await deploy(thread, packages["hello"], source=source)
        assert await greet(thread, path) == b"hello from the store\n"
        assert not LocalPath(path).exists()
    vars(thread).clear()


async def test_container_with_a_daemon(tmp_path: LocalPath) -> None:
    """Programs of the container may use a daemon; deploying does not ask it."""
    async with (
        own_store() as source,
        cloned(local_thread) as thread,
        await mkdtemp(local_thread) as directory,
    ):
        packages = await build(source, tmp_path)
        await enter_nix_container(source, packages["nix"], thread, Path(directory))
        daemon = await (await thread.clone()).exec(await thread.environ.which("nix-daemon"))
        async with daemon:
            socket = directory / "nix/var/nix/daemon-socket/socket"
            await local_thread.run(sh(f"until test -S {socket}; do sleep 0.01; done"), timeout=20)
            thread.environ["NIX_REMOTE"] = "daemon"
            path = await deploy(thread, packages["hello"], source=source)
            assert await greet(thread, path) == b"hello from the store\n"
            assert await registered(thread, packages["hello"])
    vars(thread).clear()


async def test_nix_for_a_store_that_has_none(tmp_path: LocalPath) -> None:
    async with own_store() as source, own_store() as thread:
        packages = await build(source, tmp_path)
        await deploy_nix_bin(source, packages["nix"], thread)
        assert await registered(thread, packages["nix"])
        assert str((await thread.environ.which("nix-store")).executable_path) == "/usr/bin/nix-store"
        thread.environ["PATH"] = f"{packages['nix'].path}/bin"
        path = await deploy(thread, packages["hello"], source=source)
        assert await greet(thread, path) == b"hello from the store\n"


async def test_the_database_says_what_the_files_do_not(tmp_path: LocalPath) -> None:
    """Files in the store that the database does not know are no packages."""
    async with own_store() as source, own_store() as thread:
        hello = (await build(source, tmp_path))["hello"]
        nix_store = await local_thread.environ.which("nix-store")
        await copy_tree(source, hello.closure, thread, "/")
        assert not await registered(thread, hello)
        await bootstrap_nix_database(source, nix_store, hello.closure, thread, nix_store)
        assert await registered(thread, hello)


async def test_copy_tree(tmp_path: LocalPath) -> None:
    tree = tmp_path / "from"
    (tree / "below").mkdir(parents=True)
    (tree / "below" / "large").write_bytes(data := os.urandom(3_000_000))
    (tree / "program").write_text("#!/bin/sh\n")
    (tree / "program").chmod(0o700)
    (tree / "link").symlink_to("below/large")
    (tree / "-file").write_text("hyphen")
    (tmp_path / "to").mkdir()
    await copy_tree(local_thread, [tree, tree / "-file"], local_thread, tmp_path / "to")
    copied = tmp_path / "to" / tree.relative_to("/")
    assert (copied / "below" / "large").read_bytes() == data
    assert (copied / "program").stat().st_mode & 0o777 == 0o744
    assert os.readlink(copied / "link") == "below/large"
    assert (copied / "-file").read_text() == "hyphen"
    await copy_tree(local_thread, [], local_thread, tmp_path / "nowhere")


async def test_copy_tree_fails(tmp_path: LocalPath, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="x: expected an absolute path"):
        await copy_tree(local_thread, ["x"], local_thread, tmp_path)
    with pytest.raises(CalledProcessError, match="tar --create"):
        await copy_tree(local_thread, [tmp_path / "nothing"], local_thread, tmp_path)
    (tmp_path / "large").write_bytes(bytes(3_000_000))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        await copy_tree(local_thread, [tmp_path / "large"], local_thread, tmp_path / "nowhere")
    assert "nothing" in capfd.readouterr().err


@pytest.fixture
def server(tmp_path: LocalPath) -> Iterator[Server]:
    """A server on the loopback device."""
    with serving(tmp_path) as server:
        yield server


@pytest.mark.skipif(SSHD is None, reason="sshd is not installed")
async def test_container_on_another_host(server: Server, tmp_path: LocalPath) -> None:
    host = await make_ssh_host(local_thread, lambda ssh: ssh.args(*server.words()))
    async with own_store() as source:
        packages = await build(source, tmp_path)
        _, there = await host.ssh(local_thread)
        async with there, await mkdtemp(there) as directory:
            there.environ["NIX_CONFIG"] = CONFIG
            thread = await there.clone()
            await enter_nix_container(source, packages["nix"], thread, Path(directory))
            path = await deploy(thread, packages["hello"], source=source)
            assert await greet(thread, path) == b"hello from the store\n"
            await thread.exit(0)


PROGRAM = """
    import sys, trio
    from nixdeps import PackageClosure
    from pathlib import Path as LocalPath
    from rsyscall.command import Command
    from rsyscall.nix import add_to_store, deploy, enter_nix_container, local_package
    from rsyscall.path import Path
    from rsyscall.stdlib import mkdtemp
    from rsyscall.tasks.local import local_thread
    from rsyscall.tasks.ssh import SSHDExecutables, SSHExecutables
    from rsyscall.tasks.stdin_bootstrap import stdin_bootstrap, stdin_bootstrap_path_with_nix

    async def main() -> None:
        # A package with programs of these names, and Nix.
        tools = await add_to_store(sys.argv[1])
        assert len(tools.closure) == 1
        for name in ("ssh", "sshd", "ssh-keygen", "nix-store"):
            assert (await local_package(f"{tools.path}/bin/{name}")) == tools
        async with await mkdtemp(local_thread) as directory:
            thread = await local_thread.clone()
            await enter_nix_container(local_thread, tools, thread, Path(directory))
            path = await stdin_bootstrap_path_with_nix(thread)
            assert str(path).startswith("/nix/store/"), path
            process, behind = await stdin_bootstrap(thread, Command(path, [path, "stdin"], {}))
            async with behind:
                print((await behind.run(Command("/bin/echo", ["echo", "behind"], {}), capture=True)).stdout)
            # From the store, since they are in PATH.
            local_thread.environ["PATH"] = f"{tools.path}/bin:{local_thread.environ['PATH']}"
            ssh = await SSHExecutables.with_nix(thread)
            assert str(ssh.base_ssh.executable_path) == f"{tools.path}/bin/ssh"
            print((await thread.run(ssh.base_ssh, capture=True)).stdout)
            server = await SSHDExecutables.with_nix(thread)
            assert str(server.sshd.executable_path) == f"{tools.path}/bin/sshd"
            assert server.sshd.arguments == [server.sshd.executable_path]
            assert str(server.ssh_keygen.executable_path) == f"{tools.path}/bin/ssh-keygen"
            await thread.exit(0)

    trio.run(main)
"""


def test_programs_of_the_store_of_this_machine(tmp_path: LocalPath) -> None:
    """In a process of its own, whose local thread has a store for this test alone."""
    programs = tmp_path / "tools" / "bin"
    programs.mkdir(parents=True)
    for name in ("ssh", "sshd", "ssh-keygen"):
        (programs / name).write_text(f"#!/bin/sh\necho {name}\n")
    (programs / "nix-store").write_text('#!/bin/sh\nexec /usr/bin/nix-store "$@"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    script = 'mount -t tmpfs none /nix && exec "$0" -c "$1" "$2"'
    words = [sys.executable, textwrap.dedent(PROGRAM), str(programs.parent)]
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "b'behind\\n'\nb'ssh\\n'\n"


async def test_programs_that_are_not_from_a_store() -> None:
    with pytest.raises(OSError, match="not from a Nix store"):
        await local_package("sh")
    with pytest.raises(ExecutableNotFound):
        await local_package("no-such-program")
    with pytest.raises(CalledProcessError):
        await add_to_store("/no/such/file")
