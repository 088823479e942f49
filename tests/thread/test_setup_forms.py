"""Short forms of the calls that set up a process: in one that exists, and in one that is being prepared."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path as LocalPath
from typing import TYPE_CHECKING

import pytest
from support import local_thread, sh

from rsyscall.netinet.in_ import SockaddrIn
from rsyscall.sched import CLONE
from rsyscall.sys.mount import MS, UMOUNT
from rsyscall.sys.socket import AF, MSG, SOCK
from rsyscall.thread import ChildThread
from rsyscall.with_setup import WithSetup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SANDBOX = CLONE.NEWUSER | CLONE.NEWNS | CLONE.NEWUTS


@asynccontextmanager
async def sandbox(flags: CLONE = SANDBOX) -> AsyncIterator[ChildThread]:
    """A process that may mount what it likes; the mounts are private already."""
    child = await local_thread.clone(flags)
    async with child.process:
        await child.make_rprivate()
        yield child


async def output_after(kind: str, parent: ChildThread, set_up: Setup, script: str) -> str:
    """What a script prints in a process that was set up."""
    if kind == "prepared":
        result = await parent.run(sh(script), setup=set_up, capture=True, check=False)
    else:
        await set_up(parent)
        result = await parent.run(sh(script), capture=True, check=False)
    return (result.stdout + result.stderr).decode()


Setup = Callable[[WithSetup], Awaitable[None]]


@pytest.fixture(params=["existing", "prepared"])
def kind(request: pytest.FixtureRequest) -> str:
    """How the process is set up."""
    return str(request.param)


@pytest.mark.needs("mount namespaces", "uts namespaces")
async def test_mounts_and_names(kind: str, transport: str, tmp_path: LocalPath) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_text("from outside\n")

    async def set_up(process: WithSetup) -> None:
        await process.sethostname("box")
        await process.mount_tmpfs("/mnt", size=1 << 20, mode=0o711)
        await process.bind_mount(tmp_path / "source", os.fsencode(tmp_path))
        await process.chdir(tmp_path)

    script = (
        "uname -n; stat -c %a /mnt; stat -f -c %T /mnt; df -k --output=size /mnt | tail -n 1; pwd; cat file"
    )
    async with sandbox() as child:
        printed = await output_after(kind, child, set_up, script)
    assert printed.split() == ["box", "711", "tmpfs", "1024", str(tmp_path), "from", "outside"]
    assert os.listdir(tmp_path) == ["source"]
    assert os.uname().nodename != "box"


@pytest.mark.needs("mount namespaces")
async def test_mount_for_reading_only(kind: str, tmp_path: LocalPath) -> None:
    """The mounts below it, too; and the original is as it was."""

    async def set_up(process: WithSetup) -> None:
        await process.bind_mount(tmp_path / "from", tmp_path / "to", readonly=True)

    for name in ("from", "to"):
        (tmp_path / name).mkdir()
    (tmp_path / "from" / "below").mkdir()
    async with sandbox() as child:
        await child.mount_tmpfs(tmp_path / "from" / "below")
        script = f"cd {tmp_path}; touch from/a from/below/b && ls to to/below; touch to/x; touch to/below/x"
        printed = await output_after(kind, child, set_up, script)
    words = printed.split()
    assert words[:5] == ["to:", "a", "below", "to/below:", "b"]
    assert printed.count("Read-only file system") == 2


@pytest.mark.needs("mount namespaces")
async def test_single_mount(tmp_path: LocalPath) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "to").mkdir()
    async with sandbox() as child:
        await child.mount_tmpfs(tmp_path / "from")
        await child.mkdir(tmp_path / "from" / "below")
        await child.mount_tmpfs(tmp_path / "from" / "below")
        await child.write_file(tmp_path / "from" / "below" / "file", "")
        await child.bind_mount(tmp_path / "from", tmp_path / "to", recursive=False)
        assert await child.listdir(tmp_path / "to" / "below") == []
        await child.umount(tmp_path / "to")
        assert await child.listdir(tmp_path / "to") == []
        with pytest.raises(OSError, match="Invalid argument") as caught:
            await child.umount(tmp_path / "to", UMOUNT.DETACH)
        assert caught.value.filename == tmp_path / "to"


@pytest.mark.needs("mount namespaces")
async def test_other_root(kind: str, transport: str, tmp_path: LocalPath) -> None:
    async def set_up(process: WithSetup) -> None:
        for name in ("usr", "proc"):
            await process.bind_mount(f"/{name}", tmp_path / name, readonly=name == "usr")
        await process.switch_root(tmp_path)

    for name in ("usr", "proc"):
        (tmp_path / name).mkdir()
    for name in ("bin", "lib", "lib64"):
        (tmp_path / name).symlink_to(f"usr/{name}")
    async with sandbox() as child:
        script = "pwd; ls /; cut -d' ' -f 5 /proc/self/mountinfo | grep -v ^/proc/"
        printed = await output_after(kind, child, set_up, script)
    assert printed.split() == ["/", "bin", "lib", "lib64", "proc", "usr", "/", "/usr", "/proc"]


@pytest.mark.needs("mount namespaces")
async def test_chroot_and_a_directory_by_its_handle(kind: str, tmp_path: LocalPath) -> None:
    (tmp_path / "usr").mkdir()
    for name in ("bin", "lib", "lib64"):
        (tmp_path / name).symlink_to(f"usr/{name}")
    async with sandbox() as child:
        await child.bind_mount("/usr", tmp_path / "usr")
        async with await child.open(tmp_path / "usr") as directory:

            async def set_up(process: WithSetup) -> None:
                inside = directory if process is child else process.task.inherit_fd(directory)
                await process.chdir(inside)
                await process.chroot(tmp_path)

            assert (await output_after(kind, child, set_up, "pwd; ls -d /*")).split() == [
                *("/usr", "/bin", "/lib", "/lib64", "/usr")
            ]


@pytest.mark.needs("pid namespaces", "mounts of proc")
async def test_proc_of_a_pid_namespace() -> None:
    async with sandbox(CLONE.NEWUSER | CLONE.NEWNS | CLONE.NEWPID) as child:
        await child.mount_proc()
        assert await child.readlink("/proc/self") == "1"


@pytest.mark.needs("mount namespaces")
async def test_directories_on_top_of_each_other() -> None:
    """Also those whose names have the characters that separate options."""
    async with sandbox() as child:
        await child.mount_tmpfs("/mnt")
        names = ["/mnt/first,one", "/mnt/second:one\\", "/mnt/upper,:\\x", "/mnt/work", "/mnt/all"]
        for name in names:
            await child.mkdir(name)
        *lower, upper, work, target = names
        for number, name in enumerate(lower):
            await child.write_file(f"{name}/both", f"{number}")
            await child.write_file(f"{name}/only{number}", "")
        try:
            await child.mount_overlay(lower, target, upper=upper, work=work, options="userxattr")
        except OSError as error:
            if error.errno == errno.ENODEV:
                pytest.skip("kernel: there is no overlayfs")
            raise
        assert sorted(await child.listdir(target)) == ["both", "only0", "only1"]
        assert await child.read_file(f"{target}/both") == b"0"
        await child.write_file(f"{target}/both", "new")
        assert (await child.read_file(f"{upper}/both"), await child.read_file(f"{lower[0]}/both")) == (
            *(b"new", b"0"),
        )
        await child.umount(target)
        await child.mount_overlay([*lower, "/usr"], target)
        with pytest.raises(OSError, match="Read-only"):
            await child.write_file(f"{target}/both", "")


async def test_misuse_of_an_overlay() -> None:
    child = local_thread.prepare()
    for lower in ("/usr", []):
        with pytest.raises(ValueError, match="lower: expected at least one directory, in a list"):
            await child.mount_overlay(lower, "/mnt")
    with pytest.raises(ValueError, match="upper, work"):
        await child.mount_overlay(["/usr"], "/mnt", upper="/tmp")


@pytest.mark.needs("other users")
async def test_groups(kind: str, transport: str) -> None:
    child = await local_thread.clone()
    async with child.process:

        async def set_up(process: WithSetup) -> None:
            await process.setgroups({1, 7})

        assert await output_after(kind, child, set_up, "id -G") in ("0 1 7\n", "0 7 1\n")
        if kind == "existing":
            assert sorted(await child.getgroups()) == [1, 7]
            await child.setgroups([])
            assert await child.getgroups() == []


async def test_error_names_the_path(kind: str) -> None:
    child = await local_thread.clone()
    async with child.process:

        async def set_up(process: WithSetup) -> None:
            await process.chdir("/proc/missing")

        with pytest.raises(FileNotFoundError) as caught:
            await output_after(kind, child, set_up, "true")
        assert "/proc/missing" in str(caught.value) or "chdir" in str(caught.value)
        with pytest.raises(TypeError, match="not int"):
            await child.chdir(5)  # type: ignore[arg-type] # this is what is tested
        with pytest.raises(TypeError, match="not NoneType"):
            await child.mount("none", None, "", MS.NONE)  # type: ignore[arg-type] # this is what is tested


@pytest.mark.needs("network namespaces")
async def test_network_interface() -> None:
    child = await local_thread.clone(CLONE.NEWUSER | CLONE.NEWNET)
    async with child.process:
        async with await child.socket(AF.INET, SOCK.DGRAM) as sock:
            with pytest.raises(OSError, match="unreachable"):
                await sock.connect(await child.ptr(SockaddrIn(9, "127.0.0.1")))
        await child.bring_up()
        async with await child.socket(AF.INET, SOCK.DGRAM) as sock:
            address = await child.bind_getsockname(sock, SockaddrIn(0, "127.0.0.1"))
            await sock.connect(await child.ptr(address))
            await sock.send(await child.ptr(b"x"), MSG.NONE)
            assert await child.read(sock) == b"x"
        with pytest.raises(OSError, match="No such device"):
            await child.bring_up("missing0")
