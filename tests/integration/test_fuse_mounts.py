"""Mounting file systems that are served, and their end: `rsyscall.fuse_device`, `rsyscall.fuse_server`."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path as LocalPath

import pytest
import trio
import trio.testing

from rsyscall.fuse_device import FuseDevice
from rsyscall.fuse_server import serve
from rsyscall.linux import fuse
from rsyscall.linux.fuse import FUSE_INIT, FuseAttr
from rsyscall.near.sysif import SyscallError
from rsyscall.run_limits import Limits
from rsyscall.sched import CLONE
from rsyscall.sys.stat import TypeMode
from rsyscall.tasks.local import local_thread
from rsyscall.thread import ChildThread

from .fuse_files import NEVER, SECONDS, Files, failing, mounts, namespace, openers
from .support import cloned, sh

pytestmark = pytest.mark.needs("/dev/fuse", "privileged mount namespaces")


@pytest.fixture
async def user() -> AsyncIterator[ChildThread]:
    """Uses the files, and mounts them."""
    with trio.fail_after(SECONDS):
        async with namespace() as child:
            yield child


@pytest.mark.parametrize("flags", [CLONE.NEWNS, CLONE.NEWNS | CLONE.NEWUSER])
async def test_files_are_listed_and_read(transport: str, flags: CLONE, tmp_path: LocalPath) -> None:
    big = os.urandom(1_000_000)
    files = Files(one=b"1", big=big, **{f"file{i}": b"" for i in range(500)})
    with trio.fail_after(SECONDS):
        async with namespace(flags) as user:
            async with serve(user, tmp_path, files, subtype="files", source="a name") as server:
                assert set(await user.listdir(tmp_path)) == set(files.contents)
                assert await user.read_file(tmp_path / "big") == big
                done = await user.run(
                    sh(f"cat {tmp_path}/one; cat {tmp_path}/none"), capture=True, check=False
                )
                assert done.stdout == b"1"
                assert (done.stderr or b"").endswith(b"No such file or directory\n")
                mountinfo = (await user.read_file("/proc/self/mountinfo")).decode()
                [line] = [line for line in mountinfo.splitlines() if f" {tmp_path} " in line]
                assert " - fuse.files a\\040name rw,user_id=0,group_id=0,default_permissions" in line
                assert server.init is not None
                assert server.init.major == 7
                assert FUSE_INIT.PARALLEL_DIROPS in server.init.features
                assert openers() == [server.device.server.process.pid]
            assert not await mounts(user, tmp_path)
            assert openers() == []
            assert (server.ended.is_set(), files.destroyed) == (True, 1)
    assert os.listdir(tmp_path) == []


@pytest.mark.needs("other users")
async def test_by_an_ordinary_user(tmp_path: LocalPath, tmp_path_factory: pytest.TempPathFactory) -> None:
    """In a user namespace, with a device that they may open."""
    device = tmp_path_factory.mktemp("dev") / "fuse"
    status = os.stat("/dev/fuse")
    os.mknod(device, status.st_mode, status.st_rdev)
    for path in (device, *device.parents[:2], tmp_path, *tmp_path.parents[:2]):
        if path != LocalPath("/tmp"):
            path.chmod(0o777)
    with trio.fail_after(SECONDS):
        async with cloned(local_thread) as user:
            await Limits(user=65534, group=65534, extra_groups=()).apply(user)
            with pytest.raises(PermissionError):
                await FuseDevice.mount(user, tmp_path, device=str(device))
            await user.unshare(CLONE.NEWUSER | CLONE.NEWNS)
            files = Files(one=b"1")
            async with serve(user, tmp_path, files, device=str(device)):
                assert await user.read_file(tmp_path / "one") == b"1"
            assert not await mounts(user, tmp_path)


async def test_in_a_process_with_memory_of_its_own(tmp_path: LocalPath) -> None:
    big = os.urandom(1_000_000)
    with trio.fail_after(SECONDS):
        child = await local_thread.clone(CLONE.NEWNS, own_memory=True)
        async with child.process:
            await child.make_rprivate()
            async with serve(child, tmp_path, Files(big=big)):
                assert await child.read_file(tmp_path / "big") == big


@pytest.mark.needs("mounts")
async def test_in_our_own_mount_namespace(tmp_path: LocalPath) -> None:
    with trio.fail_after(SECONDS):
        async with cloned(local_thread) as user:
            async with serve(local_thread, tmp_path, Files(one=b"1")):
                assert await user.read_file(tmp_path / "one") == b"1"
            assert not await mounts(user, tmp_path)


SERVES_FOR_EVER = """
import sys, trio
from rsyscall.fuse_filesystem import Filesystem
from rsyscall.fuse_server import serve
from rsyscall.tasks.local import local_thread

class Slow(Filesystem):
    async def getattr(self, op):
        print("asked", flush=True)
        await trio.sleep_forever()

async def main():
    async with serve(local_thread, sys.argv[1], Slow()):
        print("mounted", flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@pytest.mark.needs("mounts")
def test_the_program_is_killed(tmp_path: LocalPath) -> None:
    """A process that waits for an answer gets an error."""
    command = [sys.executable, "-c", SERVES_FOR_EVER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        try:
            assert program.stdout.readline() == "mounted\n"
            with subprocess.Popen(["stat", tmp_path], stderr=subprocess.PIPE, text=True) as stat:
                assert program.stdout.readline() == "asked\n"
                program.kill()
                _, errors = stat.communicate(timeout=SECONDS)
                assert "not connected" in errors or "abort" in errors
        finally:
            program.kill()
            subprocess.run(["umount", "-l", tmp_path], check=True)


async def test_a_file_system_that_is_a_file(user: ChildThread, tmp_path: LocalPath) -> None:
    class OneFile(Files):
        def attr(self, nodeid: int) -> FuseAttr:
            return FuseAttr(1, 4, 0, NEVER, NEVER, NEVER, TypeMode.from_int(0o100644), 1, 0, 0, 0, 4096)

        async def read(self, op: fuse.FuseReadOp) -> bytes:
            return b"text"

    (tmp_path / "file").touch()
    async with serve(user, tmp_path / "file", OneFile()):
        assert await user.read_file(tmp_path / "file") == b"text"
    assert (tmp_path / "file").read_bytes() == b""


async def test_relative_path(user: ChildThread, tmp_path: LocalPath) -> None:
    (tmp_path / "there").mkdir()
    await user.chdir(tmp_path)
    async with serve(user, "there", Files(one=b"1")):
        await user.chdir("/")
        assert await user.read_file(tmp_path / "there" / "one") == b"1"
    assert not await mounts(user, tmp_path / "there")


async def test_it_is_unmounted_by_another_process(user: ChildThread, tmp_path: LocalPath) -> None:
    files = Files(one=b"1")
    async with serve(user, tmp_path, files) as server:
        await user.read_file(tmp_path / "one")
        await user.run(sh(f"umount {tmp_path}"))
        await server.ended.wait()
        assert files.destroyed == 1
        # What is mounted there now is left alone.
        await user.mount_tmpfs(tmp_path)
    assert await mounts(user, tmp_path)


async def test_something_else_is_mounted_over_it(user: ChildThread, tmp_path: LocalPath) -> None:
    async with serve(user, tmp_path, Files(one=b"1")):
        await user.mount_tmpfs(tmp_path)
    mountinfo = (await user.read_file("/proc/self/mountinfo")).decode()
    assert [" - tmpfs " in line for line in mountinfo.splitlines() if f" {tmp_path} " in line][-1]


async def test_it_is_mounted_elsewhere_too(user: ChildThread, tmp_path: LocalPath) -> None:
    async with serve(user, tmp_path, Files(one=b"1")):
        async with cloned(user, CLONE.NEWNS) as other:
            await user.umount(tmp_path)
            assert await other.read_file(tmp_path / "one") == b"1"
            await user.mount_tmpfs(tmp_path)
    assert openers() == []


async def test_it_is_in_use_at_the_end(user: ChildThread, tmp_path: LocalPath) -> None:
    async with serve(user, tmp_path, Files(one=b"1" * 100_000)):
        fd = await user.open(tmp_path / "one")
        assert await user.read(fd, 10) == b"1" * 10
    assert not await mounts(user, tmp_path)
    assert openers() == []
    with pytest.raises(OSError, match=r"not connected|aborted") as caught:
        await fd.fsync()
    assert caught.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    await fd.close()


async def test_the_block_is_cancelled(user: ChildThread, tmp_path: LocalPath) -> None:
    """A process that waits for an answer gets an error."""
    files = Files(slow=b"1")
    begun = trio.Event()

    async def on_read(op: fuse.FuseReadOp, data: bytes) -> bytes:
        begun.set()
        await trio.sleep_forever()
        return data

    files.on_read = on_read
    errors = []
    async with cloned(user) as reader, trio.open_nursery() as nursery:

        async def read() -> None:
            errors.append(await failing(reader, tmp_path / "slow"))

        with trio.CancelScope() as scope:
            async with serve(user, tmp_path, files):
                nursery.start_soon(read)
                await begun.wait()
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert not await mounts(user, tmp_path)
        assert openers() == []
        assert files.destroyed == 1
    assert errors in ([errno.ENOTCONN], [errno.ECONNABORTED])


async def test_the_block_waits_for_an_answer_when_it_is_cancelled(
    user: ChildThread, tmp_path: LocalPath
) -> None:
    """The call is not left alone, and has an answer as soon as the kernel aborts the request."""
    files = Files(slow=b"1")

    with trio.CancelScope() as scope:

        async def on_read(op: fuse.FuseReadOp, data: bytes) -> bytes:
            scope.cancel()
            await trio.sleep_forever()
            return data

        files.on_read = on_read
        async with serve(user, tmp_path, files):
            with pytest.raises(OSError, match=r"not connected|aborted"):
                await user.read_file(tmp_path / "slow")
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert not await mounts(user, tmp_path)


async def test_an_exception_in_the_block_is_no_group(user: ChildThread, tmp_path: LocalPath) -> None:
    with pytest.raises(KeyError, match="of the block"):
        async with serve(user, tmp_path, Files()):
            raise KeyError("of the block")
    assert not await mounts(user, tmp_path)
    assert openers() == []


@pytest.mark.needs("mounts")
async def test_the_process_that_serves_has_no_pipes_of_others(tmp_path: LocalPath) -> None:
    """Their readers would not see the end."""
    read, write = os.pipe()
    try:
        async with serve(local_thread, tmp_path, Files()):
            os.close(write)
            with trio.fail_after(5):
                await trio.lowlevel.wait_readable(read)
            assert os.read(read, 1) == b""
    finally:
        os.close(read)


@pytest.mark.parametrize("waits", [False, True])
async def test_the_process_that_serves_is_killed(
    user: ChildThread, tmp_path: LocalPath, transport: str, waits: bool
) -> None:
    files = Files(one=b"1")
    with pytest.raises(SyscallError):
        async with serve(user, tmp_path, files) as server:
            if waits:
                await trio.testing.wait_all_tasks_blocked()
            os.kill(server.device.server.process.pid, signal.SIGKILL)
            await trio.sleep_forever()
    assert files.destroyed == 1
    assert not await mounts(user, tmp_path)


async def test_the_process_that_serves_is_killed_while_tasks_of_the_block_wait(
    user: ChildThread, tmp_path: LocalPath
) -> None:
    """They are all cancelled, and what is raised says why; no cancellation leaves the block."""
    raised: BaseException | None = None
    # Not pytest.raises: cancellations that leave a test are no failure of it.
    try:
        async with serve(user, tmp_path, Files()) as server, trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(trio.sleep_forever)
            os.kill(server.device.server.process.pid, signal.SIGKILL)
    except BaseException as error:
        raised = error
    assert isinstance(raised, SyscallError)
    assert not await mounts(user, tmp_path)


@pytest.mark.parametrize("options", ["fd=3", "allow_other,rootmode=40000", "user_id=5"])
async def test_options_that_are_ours(user: ChildThread, tmp_path: LocalPath, options: str) -> None:
    with pytest.raises(ValueError, match="options"):
        await FuseDevice.mount(user, tmp_path, options=options)


async def test_mounting_fails(user: ChildThread, tmp_path: LocalPath) -> None:
    """No process and no mount are left."""
    with pytest.raises(ValueError, match="8192"):
        await FuseDevice.mount(user, tmp_path, buffer_size=8191)
    with pytest.raises(ValueError, match="source"):
        await FuseDevice.mount(user, tmp_path, source="")
    with pytest.raises(FileNotFoundError):
        await FuseDevice.mount(user, tmp_path / "nothing")
    with pytest.raises(FileNotFoundError):
        await FuseDevice.mount(user, tmp_path, device="/dev/no-such-device")
    with pytest.raises(OSError, match="Invalid argument"):
        await FuseDevice.mount(user, tmp_path, options="no_such_option")
    with pytest.raises(OSError, match="Invalid argument"):
        await FuseDevice.mount(user, tmp_path, device="/dev/null")
    assert not await mounts(user, tmp_path)
    assert openers() == []


async def test_a_kernel_that_is_too_old(
    user: ChildThread, tmp_path: LocalPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuse, "OLDEST_VERSION", (7, 1000))
    with pytest.raises(OSError, match="version") as caught:
        async with serve(user, tmp_path, Files()):
            await trio.sleep_forever()
    assert caught.value.errno == errno.EPROTO
    assert not await mounts(user, tmp_path)
