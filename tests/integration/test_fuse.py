"""Serving file systems: `rsyscall.fuse_server` and `rsyscall.fuse_device`."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path as LocalPath

import pytest
import trio

from rsyscall.fcntl import O
from rsyscall.fuse_device import FuseDevice
from rsyscall.fuse_filesystem import Filesystem
from rsyscall.fuse_server import serve
from rsyscall.linux import fuse
from rsyscall.linux.dirent import DT
from rsyscall.linux.fuse import FUSE_INIT, FUSE_ROOT_ID, FuseAttr, FuseNotify
from rsyscall.near.sysif import SyscallError
from rsyscall.run_limits import Limits
from rsyscall.sched import CLONE
from rsyscall.signal import SIG
from rsyscall.sys.stat import TypeMode
from rsyscall.tasks.local import local_thread
from rsyscall.thread import ChildThread, Thread
from rsyscall.time import Timespec

from .support import cloned, sh

pytestmark = pytest.mark.needs("/dev/fuse", "privileged mount namespaces")

SECONDS = 20
NEVER, LONG = Timespec(0, 0), Timespec(1000, 0)


class Files(Filesystem):
    """Files with given contents, in one directory. What reads them can be replaced."""

    def __init__(self, **contents: bytes) -> None:
        self.contents = contents
        self.names = dict(enumerate(contents, FUSE_ROOT_ID + 1))
        self.valid = NEVER
        self.forgotten: list[tuple[int, int]] = []
        self.has_forgotten = trio.Event()
        self.destroyed = 0
        self.on_read: Callable[[fuse.FuseReadOp, bytes], Awaitable[bytes]] | None = None

    def attr(self, nodeid: int) -> FuseAttr:
        root = nodeid == FUSE_ROOT_ID
        mode = TypeMode.from_int(0o40755 if root else 0o100644)
        size = 0 if root else len(self.contents[self.names[nodeid]])
        return FuseAttr(nodeid, size, 0, NEVER, NEVER, NEVER, mode, 1, 0, 0, 0, 4096)

    async def lookup(self, op: fuse.FuseLookupOp) -> fuse.FuseEntryOut:
        for nodeid, name in self.names.items():
            if name == op.name:
                return fuse.FuseEntryOut(nodeid, 0, self.valid, self.valid, self.attr(nodeid))
        raise FileNotFoundError(errno.ENOENT, "no such name", op.name)

    async def getattr(self, op: fuse.FuseGetattrOp) -> fuse.FuseAttrOut:
        return fuse.FuseAttrOut(self.valid, self.attr(op.hdr.nodeid))

    async def readdir(self, op: fuse.FuseReaddirOp) -> list[fuse.FuseDirent]:
        entries = [fuse.FuseDirent(n, n, DT.REG, name) for n, name in self.names.items()]
        return op.fitting(entry for entry in entries if entry.off > op.msg.offset)

    async def read(self, op: fuse.FuseReadOp) -> bytes:
        data = self.contents[self.names[op.hdr.nodeid]][op.msg.offset :][: op.msg.size]
        return data if self.on_read is None else await self.on_read(op, data)

    def forget(self, nodeid: int, nlookup: int) -> None:
        self.forgotten.append((nodeid, nlookup))
        self.has_forgotten.set()

    async def destroy(self) -> None:
        self.destroyed += 1


@asynccontextmanager
async def namespace(flags: CLONE = CLONE.NEWNS) -> AsyncIterator[ChildThread]:
    """A child with mounts of its own."""
    async with cloned(local_thread, flags) as child:
        await child.make_rprivate()
        yield child


@pytest.fixture
async def user() -> AsyncIterator[ChildThread]:
    """Uses the files, and mounts them."""
    with trio.fail_after(SECONDS):
        async with namespace() as child:
            yield child


async def mounts(thread: Thread, path: LocalPath) -> bool:
    return f" {path} " in (await thread.read_file("/proc/self/mountinfo")).decode()


def openers() -> list[int]:
    """The processes that have /dev/fuse open."""
    found = set()
    for link in LocalPath("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(link) == "/dev/fuse":
                found.add(int(link.parts[2]))
        except OSError:
            pass
    return sorted(found)


async def failing(user: Thread, path: LocalPath) -> int | None:
    """The error of reading a file; 0 if there is none."""
    try:
        await user.read_file(path)
    except OSError as error:
        return error.errno
    return 0


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
    assert openers() == []


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


async def test_requests_are_answered_concurrently(user: ChildThread, tmp_path: LocalPath) -> None:
    files = Files(first=b"1", second=b"2")
    second = trio.Event()

    async def on_read(op: fuse.FuseReadOp, data: bytes) -> bytes:
        if data == b"1":
            await second.wait()
        elif data == b"2":
            second.set()
        return data

    files.on_read = on_read
    got = {}

    async def read(name: str) -> None:
        async with cloned(user) as child:
            got[name] = await child.read_file(tmp_path / name)

    async with serve(user, tmp_path, files):
        async with trio.open_nursery() as nursery:
            for name in ("first", "second"):
                nursery.start_soon(read, name)
    assert got == {"first": b"1", "second": b"2"}


@pytest.mark.parametrize("sig", [SIG.TERM, SIG.KILL])
async def test_interrupt_cancels(user: ChildThread, tmp_path: LocalPath, sig: SIG) -> None:
    class Direct(Files):
        """Each read is a request that the reader waits for, and no page of the cache."""

        async def open(self, op: fuse.FuseOpenOp) -> fuse.FuseOpenOut:
            return fuse.FuseOpenOut(0, fuse.FOPEN.DIRECT_IO)

    files = Direct(slow=b"1", quick=b"2")
    begun, cancelled = trio.Event(), trio.Event()

    async def on_read(op: fuse.FuseReadOp, data: bytes) -> bytes:
        if data == b"1":
            try:
                begun.set()
                await trio.sleep_forever()
            finally:
                cancelled.set()
        return data

    files.on_read = on_read
    async with serve(user, tmp_path, files):
        child = await user.clone()
        process = await child.exec(sh(f"exec cat {tmp_path}/slow"))
        async with process:
            await begun.wait()
            assert not cancelled.is_set()
            await process.kill(sig)
            await cancelled.wait()
            assert (await process.wait()).sig == sig
        assert await user.read_file(tmp_path / "quick") == b"2"


async def test_what_is_not_implemented(user: ChildThread, tmp_path: LocalPath) -> None:
    async with serve(user, tmp_path, Files(one=b"1")):
        for call in (user.mkdir(tmp_path / "x"), user.symlink("a", tmp_path / "x"), user.chmod(tmp_path, 0)):
            with pytest.raises(OSError, match="Function not implemented"):
                await call
        assert await failing(user, tmp_path / "one") == 0


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.EDQUOT, "full"), errno.EDQUOT),
        (OSError("without a number"), errno.EIO),
        (OSError(512, "not one of an error"), errno.EIO),
        (OSError(-1, "negative"), errno.EIO),
        (ValueError("a bug"), errno.EIO),
        (NotImplementedError(), errno.EIO),
        (b"more than was asked for" * 100_000, errno.EIO),
        ("no bytes", errno.EIO),
        (None, errno.EIO),
        ((1, 2, 3), errno.EIO),
    ],
)
async def test_whatever_a_method_does_is_an_errno(
    user: ChildThread,
    tmp_path: LocalPath,
    error: object,
    expected: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    files = Files(bad=b"1", good=b"2")

    async def on_read(op: fuse.FuseReadOp, data: bytes) -> bytes:
        if data == b"1":
            if isinstance(error, Exception):
                raise error
            return error  # type: ignore[return-value]  # this is what is tested
        return data

    files.on_read = on_read
    caplog.set_level(logging.ERROR)
    async with serve(user, tmp_path, files):
        assert await failing(user, tmp_path / "bad") == expected
        assert await failing(user, tmp_path / "good") == 0
    assert bool(caplog.records) is (expected == errno.EIO)


async def test_a_value_that_no_field_can_have(
    user: ChildThread, tmp_path: LocalPath, caplog: pytest.LogCaptureFixture
) -> None:
    class TooLarge(Files):
        def attr(self, nodeid: int) -> FuseAttr:
            attr = super().attr(nodeid)
            if nodeid != FUSE_ROOT_ID:
                attr.nlink = 1 << 32
            return attr

    async with serve(user, tmp_path, TooLarge(one=b"1")):
        assert await failing(user, tmp_path / "one") == errno.EIO
        assert await user.listdir(tmp_path) == ["one"]
    assert "FuseEntryOut.attr.nlink" in caplog.text


async def test_names_that_are_paths(user: ChildThread, tmp_path: LocalPath) -> None:
    """The kernel sends none."""
    async with serve(user, tmp_path, Files(one=b"1")) as server:
        header = fuse.FuseInHeader(1, FUSE_ROOT_ID, 0, 0, 0)
        for name in ("..", ".", "", "a/../one", "/one"):
            for op in (
                fuse.FuseLookupOp(header, name),
                fuse.FuseRenameOp(header, fuse.FuseRenameIn(1), "one", name),
            ):
                assert (await server._call(op)).hdr.error == -errno.EINVAL
        assert (await server._call(fuse.FuseLookupOp(header, "one"))).hdr.error == 0
        newer = fuse.FuseUnknownOp(header, 4000, b"")
        assert (await server._call(newer)).hdr.error == -errno.ENOSYS


async def test_a_request_that_is_not_understood(
    user: ChildThread, tmp_path: LocalPath, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The process that waits for the answer gets an error, and others are answered."""

    def fail(*args: object) -> fuse.FuseReadOp:
        raise ValueError("this is not understood")

    async with serve(user, tmp_path, Files(one=b"1")):
        monkeypatch.setattr(fuse.FuseReadOp, "from_header", fail)
        assert await failing(user, tmp_path / "one") == errno.EIO
        assert await user.listdir(tmp_path) == ["one"]
    assert "this is not understood" in caplog.text


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


async def test_the_process_that_serves_is_killed(user: ChildThread, tmp_path: LocalPath) -> None:
    files = Files(one=b"1")
    with pytest.raises(SyscallError):
        async with serve(user, tmp_path, files) as server:
            os.kill(server.device.server.process.pid, signal.SIGKILL)
            await trio.sleep_forever()
    assert files.destroyed == 1
    assert not await mounts(user, tmp_path)


async def test_notices(user: ChildThread, tmp_path: LocalPath) -> None:
    """The kernel believes what it was told, until it is told something else."""
    files = Files(one=b"old")
    files.valid = LONG
    one = tmp_path / "one"
    async with serve(user, tmp_path, files) as server:
        assert await user.read_file(one) == b"old"
        files.contents["one"] = b"new!"
        assert await user.read_file(one) == b"old"
        await server.notify(FuseNotify.inval_inode(2))
        assert await user.read_file(one) == b"new!"
        assert files.forgotten == []
        await server.notify(FuseNotify.inval_entry(FUSE_ROOT_ID, "one"))
        await files.has_forgotten.wait()
        assert files.forgotten == [(2, 1)]
        with pytest.raises(FileNotFoundError):
            await server.notify(FuseNotify.inval_inode(99))
        assert set(openers()) >= {server.device.server.process.pid}
    assert openers() == []


async def test_a_notice_while_a_request_waits(user: ChildThread, tmp_path: LocalPath) -> None:
    """It waits for the pages that the request fills, and the request is still answered."""
    files = Files(one=b"1" * 4096)
    begun, notified = trio.Event(), trio.Event()

    async def on_read(op: fuse.FuseReadOp, data: bytes) -> bytes:
        begun.set()
        with trio.move_on_after(0.3):
            await notified.wait()
        return data

    files.on_read = on_read
    async with serve(user, tmp_path, files) as server, trio.open_nursery() as nursery:

        async def notify() -> None:
            await begun.wait()
            await server.notify(FuseNotify.inval_inode(2))
            notified.set()

        nursery.start_soon(notify)
        assert await user.read_file(tmp_path / "one") == b"1" * 4096
        await notified.wait()


async def test_data_is_stored_and_retrieved(user: ChildThread, tmp_path: LocalPath) -> None:
    class Retrieving(Files):
        async def notify_reply(self, op: fuse.FuseNotifyReplyOp) -> None:
            send.send_nowait(op)

    send, receive = trio.open_memory_channel[fuse.FuseNotifyReplyOp](1)
    files = Retrieving(one=b"of the file system")
    files.valid = LONG

    async with serve(user, tmp_path, files) as server:
        assert (await user.stat(tmp_path / "one")).size == 18
        await server.notify(FuseNotify.store(2, 0, b"what the kernel has"))
        await server.notify(FuseNotify.retrieve(77, 2, 0, 100))
        reply = await receive.receive()
    assert (reply.hdr.unique, reply.data[:19]) == (77, b"what the kernel has")


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


async def test_many_processes_at_once(user: ChildThread, tmp_path: LocalPath) -> None:
    """No request is lost, however many come while others are read."""
    files = Files(**{f"file{i}": os.urandom(300) for i in range(40)})
    script = f"cd {tmp_path}; for i in 1 2 3; do cat file*; done | cksum"
    async with serve(user, tmp_path, files):
        outputs = []

        async def run() -> None:
            outputs.append((await user.run(sh(script), capture=True)).stdout or b"")

        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(run)
    assert len(set(outputs)) == 1
    assert len(outputs) == 6
    assert outputs[0].split()[1] == b"36000"


async def test_large_writes(user: ChildThread, tmp_path: LocalPath) -> None:
    class Writable(Files):
        largest = 0

        async def write(self, op: fuse.FuseWriteOp) -> fuse.FuseWriteOut:
            old = self.contents["one"].ljust(op.msg.offset, b"\0")
            self.contents["one"] = old[: op.msg.offset] + op.data
            self.largest = max(self.largest, len(op.data))
            return fuse.FuseWriteOut(len(op.data))

        async def setattr(self, op: fuse.FuseSetattrOp) -> fuse.FuseAttrOut:
            return fuse.FuseAttrOut(NEVER, self.attr(op.hdr.nodeid))

    files = Writable(one=b"")
    data = os.urandom(3_000_000)
    async with serve(user, tmp_path, files):
        fd = await user.open(tmp_path / "one", O.WRONLY)
        await user.write_all(fd, data)
        await fd.close()
    assert files.contents["one"] == data
    assert files.largest == files.max_write
