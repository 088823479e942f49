"""Answering requests about files: `rsyscall.fuse_server`."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path as LocalPath

import pytest
import trio

from rsyscall.fcntl import FileHandle, O
from rsyscall.fuse_server import FuseServer, serve
from rsyscall.linux import fuse
from rsyscall.linux.fuse import FUSE_ROOT_ID, FuseAttr, FuseNotify
from rsyscall.near import SyscallError
from rsyscall.signal import SIG
from rsyscall.struct import Int32
from rsyscall.thread import ChildThread

from .fuse_files import LONG, NEVER, SECONDS, Files, failing, mounts, namespace, openers
from .support import cloned, sh

pytestmark = pytest.mark.needs("/dev/fuse", "privileged mount namespaces")


@pytest.fixture
async def user() -> AsyncIterator[ChildThread]:
    """Uses the files, and mounts them."""
    with trio.fail_after(SECONDS):
        async with namespace() as child:
            yield child


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
    assert "the answer to FuseLookupOp is refused: FuseLookupResponse" in caplog.text


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


@pytest.mark.needs("CAP_DAC_READ_SEARCH")
async def test_files_are_found_by_their_handles(user: ChildThread, tmp_path: LocalPath) -> None:
    """The kernel then looks up "." in a node that it has forgotten."""

    class Exported(Files):
        wanted = Files.wanted | fuse.FUSE_INIT.EXPORT_SUPPORT

        async def lookup(self, op: fuse.FuseLookupOp) -> fuse.FuseEntryOut:
            if op.name == ".":
                op = fuse.FuseLookupOp(op.hdr, self.names[op.hdr.nodeid])
            return await super().lookup(op)

    files = Exported(one=b"1")
    files.valid = LONG
    async with serve(user, tmp_path, files) as server:
        path, room = await user.ptr(tmp_path / "one"), await user.ptr(FileHandle.room())
        memory, _ = await user.task.name_to_handle_at(path, room, await user.malloc(Int32))
        handle = await user.ptr(await memory.read())
        await server.notify(FuseNotify.inval_entry(FUSE_ROOT_ID, "one"))
        await files.has_forgotten.wait()
        mount = await user.open(tmp_path, O.DIRECTORY)
        fd = await mount.open_by_handle_at(handle, O.RDONLY)
        data, _ = await fd.read(await user.malloc(bytes, 10))
        assert await data.read() == b"1"
        await fd.close()
        await mount.close()


async def test_forgetting_fails(
    user: ChildThread, tmp_path: LocalPath, caplog: pytest.LogCaptureFixture
) -> None:
    class Forgetful(Files):
        def forget(self, nodeid: int, nlookup: int) -> None:
            super().forget(nodeid, nlookup)
            raise KeyError(nodeid)

    files = Forgetful(one=b"1", two=b"2")
    async with serve(user, tmp_path, files) as server:
        assert await failing(user, tmp_path / "one") == 0
        await server.notify(FuseNotify.inval_entry(FUSE_ROOT_ID, "one"))
        await files.has_forgotten.wait()
        assert await failing(user, tmp_path / "two") == 0
    assert "forgetting node 2 failed" in caplog.text


async def test_it_cannot_begin(user: ChildThread, tmp_path: LocalPath) -> None:
    class Unable(Files):
        async def begin(self, init: fuse.FuseInitOut) -> None:
            raise RuntimeError("not now")

    files = Unable(one=b"1")
    with pytest.raises(RuntimeError, match="not now"):
        async with serve(user, tmp_path, files):
            # Nothing answers: the kernel says so, by how far it has come with the error and the end.
            expected = (errno.ENOTCONN, errno.ECONNABORTED, errno.ECONNREFUSED)
            assert await failing(user, tmp_path / "one") in expected
    assert files.destroyed == 1
    assert not await mounts(user, tmp_path)


async def test_a_file_is_truncated(user: ChildThread, tmp_path: LocalPath) -> None:
    """Also by a file system that has no method `open`."""

    class Truncating(Files):
        async def setattr(self, op: fuse.FuseSetattrOp) -> fuse.FuseAttrOut:
            if fuse.FATTR.SIZE in op.msg.valid:
                self.contents["one"] = self.contents["one"][: op.msg.size]
            return fuse.FuseAttrOut(NEVER, self.attr(op.hdr.nodeid))

    files = Truncating(one=b"text")
    async with serve(user, tmp_path, files):
        async with await user.open(tmp_path / "one", O.WRONLY | O.TRUNC):
            assert files.contents["one"] == b""


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


async def test_a_notice_waits_for_a_request_at_the_end(tmp_path: LocalPath) -> None:
    """No signal ends the process that gives the notice; nothing is left of it, nor of the request."""
    files = Files(one=b"1" * 4096)
    begun = trio.Event()

    async def on_read(op: fuse.FuseReadOp, data: bytes) -> bytes:
        begun.set()
        await trio.sleep_forever()
        return data

    files.on_read = on_read
    errors = []
    with trio.fail_after(SECONDS):
        async with namespace() as user, cloned(user) as reader, trio.open_nursery() as nursery:

            async def read() -> None:
                errors.append(await failing(reader, tmp_path / "one"))

            async def notify(server: FuseServer) -> None:
                with suppress(OSError, SyscallError):
                    await server.notify(FuseNotify.inval_inode(2))

            async with serve(user, tmp_path, files) as server:
                nursery.start_soon(read)
                await begun.wait()
                nursery.start_soon(notify, server)
                await trio.sleep(0.3)
            assert not await mounts(user, tmp_path)
    assert openers() == []
    assert errors in ([errno.ENOTCONN], [errno.ECONNABORTED])


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


@pytest.mark.slow
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
