"""Requests as this kernel makes them: what a program asks for arrives, and it gets what is answered."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path as LocalPath
from typing import Any

import pytest
import trio

from rsyscall.command import Command
from rsyscall.fcntl import O
from rsyscall.fuse_filesystem import Filesystem
from rsyscall.fuse_server import serve
from rsyscall.linux import fuse
from rsyscall.linux.dirent import DT
from rsyscall.linux.fuse import FUSE_INIT, FUSE_ROOT_ID, FuseAttr
from rsyscall.sched import CLONE
from rsyscall.sys.stat import StatxTimestamp, TypeMode
from rsyscall.tasks.local import local_thread
from rsyscall.time import Timespec

from .support import cloned

pytestmark = pytest.mark.needs("/dev/fuse", "privileged mount namespaces")

SECONDS = 60
NEVER = Timespec(0, 0)
FH = 0xFEDCBA9876543210


class Recorder(Filesystem):
    """A directory with the files `one` and `two`. It notes the requests that it answers."""

    def __init__(self, *wanted: FUSE_INIT) -> None:
        for flag in wanted:
            self.wanted |= flag
        self.ops: dict[str, Any] = {}
        self.lookups = 0
        self.forgotten: list[tuple[int, int]] = []

    def attr(self, nodeid: int) -> FuseAttr:
        mode = TypeMode.from_int(0o40755 if nodeid == FUSE_ROOT_ID else 0o100644)
        return FuseAttr(nodeid, 1 << 20, 0, Timespec(-5, 7), NEVER, NEVER, mode, 1, 0, 0, 0, 4096)

    def entry(self, nodeid: int) -> fuse.FuseEntryOut:
        return fuse.FuseEntryOut(nodeid, 0, NEVER, NEVER, self.attr(nodeid))

    def note(self, op: fuse.FuseIn) -> None:
        self.ops[op.opcode.name] = op

    def forget(self, nodeid: int, nlookup: int) -> None:
        self.forgotten.append((nodeid, nlookup))

    async def lookup(self, op: fuse.FuseLookupOp) -> fuse.FuseEntryOut:
        self.lookups += 1
        if op.name not in ("one", "two"):
            raise FileNotFoundError(errno.ENOENT, op.name)
        return self.entry(2 if op.name == "one" else 3)

    async def getattr(self, op: fuse.FuseGetattrOp) -> fuse.FuseAttrOut:
        return fuse.FuseAttrOut(NEVER, self.attr(op.hdr.nodeid))

    async def open(self, op: fuse.FuseOpenOp) -> fuse.FuseOpenOut:
        self.note(op)
        return fuse.FuseOpenOut(FH + op.hdr.nodeid, fuse.FOPEN.DIRECT_IO)

    async def opendir(self, op: fuse.FuseOpendirOp) -> fuse.FuseOpenOut:
        return fuse.FuseOpenOut(FH)

    async def readdirplus(self, op: fuse.FuseReaddirplusOp) -> list[fuse.FuseDirentplus]:
        self.note(op)
        names = {FUSE_ROOT_ID: ".", 2: "one", 3: "two"}
        entries = []
        for node, name in names.items():
            entry = self.entry(node) if name != "." else fuse.FuseEntryOut(0, 0, NEVER, NEVER, self.attr(1))
            entries.append(fuse.FuseDirentplus(entry, fuse.FuseDirent(node, node, DT.UNKNOWN, name)))
        return op.fitting(entry for entry in entries if entry.dirent.off > op.msg.offset)

    async def access(self, op: fuse.FuseAccessOp) -> None:
        self.note(op)
        if op.msg.mask == 2:
            raise PermissionError(errno.EACCES, "no")

    async def setattr(self, op: fuse.FuseSetattrOp) -> fuse.FuseAttrOut:
        self.note(op)
        return fuse.FuseAttrOut(NEVER, self.attr(op.hdr.nodeid))

    async def rename2(self, op: fuse.FuseRename2Op) -> None:
        self.note(op)

    async def fallocate(self, op: fuse.FuseFallocateOp) -> None:
        self.note(op)

    async def lseek(self, op: fuse.FuseLseekOp) -> fuse.FuseLseekOut:
        self.note(op)
        return fuse.FuseLseekOut(4096)

    async def copy_file_range(self, op: fuse.FuseCopyFileRangeOp) -> fuse.FuseWriteOut:
        self.note(op)
        return fuse.FuseWriteOut(77)

    async def copy_file_range_64(self, op: fuse.FuseCopyFileRange64Op) -> fuse.FuseCopyFileRangeOut:
        self.ops["COPY_FILE_RANGE"] = op
        return fuse.FuseCopyFileRangeOut(77)

    async def setlk(self, op: fuse.FuseSetlkOp) -> None:
        self.note(op)

    async def getlk(self, op: fuse.FuseGetlkOp) -> fuse.FuseLkOut:
        self.note(op)
        return fuse.FuseLkOut(fuse.FuseFileLock(5, 9, 1, 0))

    async def ioctl(self, op: fuse.FuseIoctlOp) -> tuple[fuse.FuseIoctlOut, bytes]:
        self.note(op)
        return fuse.FuseIoctlOut(11), b"answered"

    async def poll(self, op: fuse.FusePollOp) -> fuse.FusePollOut:
        self.note(op)
        return fuse.FusePollOut(1)

    async def fsyncdir(self, op: fuse.FuseFsyncOp | fuse.FuseFsyncdirOp) -> None:
        self.note(op)

    async def tmpfile(self, op: fuse.FuseTmpfileOp) -> tuple[fuse.FuseEntryOut, fuse.FuseOpenOut]:
        self.note(op)
        return self.entry(4), fuse.FuseOpenOut(4)

    async def setxattr(self, op: fuse.FuseSetxattrOp) -> None:
        self.note(op)

    async def getxattr(self, op: fuse.FuseGetxattrOp) -> bytes:
        self.note(op)
        if op.msg.data != "user.name":
            raise OSError(errno.ENODATA, "no such attribute", op.msg.data)
        return b"a\0value"

    async def listxattr(self, op: fuse.FuseListxattrOp) -> bytes:
        self.note(op)
        return b"user.name\0user.other\0"

    async def removexattr(self, op: fuse.FuseRemovexattrOp) -> None:
        self.note(op)

    async def statx(self, op: fuse.FuseStatxOp) -> fuse.FuseStatxOut:
        self.note(op)
        mode = TypeMode.from_int(0o100644)
        times = StatxTimestamp(1, 6), StatxTimestamp(2, 6), StatxTimestamp(3, 6), StatxTimestamp(4, 6)
        stat = fuse.FuseStatx(op.msg.sx_mask, 512, 0, 1, 0, 0, mode, 2, 9, 0, 0, *times, 0, 0, 0, 0)
        return fuse.FuseStatxOut(NEVER, 0, stat)


async def outcome(filesystem: Recorder, where: LocalPath, script: str, options: str = "") -> Any:
    """Run a Python script in the file system; return what it prints, which is JSON."""
    with trio.fail_after(SECONDS):
        async with cloned(local_thread, CLONE.NEWNS) as user:
            await user.make_rprivate()
            async with serve(user, where, filesystem, options=options):
                source = "import ctypes, fcntl, json, os, select\n" + script
                python = Command(sys.executable, [sys.executable, "-I", "-c", source], {})
                done = await user.run(python, cwd=where, capture=True)
                assert done.stderr == b""
                return json.loads(done.stdout or b"")


async def test_requests_about_an_open_file(tmp_path: LocalPath) -> None:
    script = """
fd, other = os.open("one", os.O_RDWR), os.open("two", os.O_RDWR)
os.posix_fallocate(fd, 5, 7)
buf = bytearray(b"question")
print(json.dumps([
    os.lseek(fd, 100, os.SEEK_DATA), os.copy_file_range(fd, other, 1000, 10, 20),
    fcntl.ioctl(fd, 0xC0085801, buf), buf.decode(), select.select([fd], [], [], 0)[0] == [fd],
]))
"""
    recorder = Recorder()
    assert await outcome(recorder, tmp_path, script) == [4096, 77, 11, "answered", True]
    ops = recorder.ops
    one = FH + 2
    assert ops["OPEN"].msg.flags & O.ACCMODE == O.RDWR
    fallocate = ops["FALLOCATE"].msg
    assert (fallocate.fh, fallocate.offset, fallocate.length, fallocate.mode) == (one, 5, 7, 0)
    lseek = ops["LSEEK"].msg
    assert (lseek.fh, lseek.offset, lseek.whence) == (one, 100, os.SEEK_DATA)
    copy = ops["COPY_FILE_RANGE"].msg
    assert (copy.fh_in, copy.off_in, copy.nodeid_out, copy.fh_out) == (one, 10, 3, one + 1)
    assert (copy.off_out, copy.len, copy.flags) == (20, 1000, 0)
    ioctl = ops["IOCTL"]
    assert (ioctl.msg.fh, ioctl.msg.cmd, ioctl.msg.in_size, ioctl.msg.out_size) == (one, 0xC0085801, 8, 8)
    assert ioctl.data == b"question"
    assert (ops["POLL"].msg.fh, ops["POLL"].msg.events & 1) == (one, 1)


async def test_locks(tmp_path: LocalPath) -> None:
    script = """
fd = os.open("one", os.O_RDWR)
fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 30, 20)
import struct
lock = fcntl.fcntl(fd, fcntl.F_GETLK, struct.pack("hhqqi", fcntl.F_WRLCK, 0, 0, 0, 0))
print(json.dumps(struct.unpack("hhqqi", lock)[:4]))
"""
    recorder = Recorder(FUSE_INIT.POSIX_LOCKS)
    assert await outcome(recorder, tmp_path, script) == [1, 0, 5, 5]
    message = recorder.ops["SETLK"].msg
    assert (message.fh, message.lk.start, message.lk.end, message.lk.type) == (FH + 2, 20, 49, 1)
    assert message.lk_flags == fuse.FUSE_LK.NONE
    flock = Recorder(FUSE_INIT.FLOCK_LOCKS)
    script = 'fcntl.flock(os.open("one", os.O_RDWR), fcntl.LOCK_SH | fcntl.LOCK_NB); print(1)'
    assert await outcome(flock, tmp_path, script) == 1
    message = flock.ops["SETLK"].msg
    assert (message.lk_flags, message.lk.type) == (fuse.FUSE_LK.FLOCK, 0)


@pytest.mark.parametrize("wanted", [FUSE_INIT.NONE, FUSE_INIT.SETXATTR_EXT])
async def test_extended_attributes(tmp_path: LocalPath, wanted: FUSE_INIT) -> None:
    script = """
os.setxattr("one", "user.name", b"v\\0w", os.XATTR_CREATE)
os.removexattr("one", "user.gone")
print(json.dumps([os.getxattr("one", "user.name").decode(), os.listxattr("one")]))
"""
    recorder = Recorder()
    recorder.wanted = recorder.wanted & ~FUSE_INIT.SETXATTR_EXT | wanted
    assert await outcome(recorder, tmp_path, script) == ["a\0value", ["user.name", "user.other"]]
    op = recorder.ops["SETXATTR"]
    assert (op.name, op.data, op.msg.flags) == ("user.name", b"v\0w", os.XATTR_CREATE)
    assert recorder.ops["REMOVEXATTR"].name == "user.gone"
    assert recorder.ops["GETXATTR"].msg.data == "user.name"


async def test_attributes_of_a_value_that_is_too_long(tmp_path: LocalPath) -> None:
    script = """
libc, buf = ctypes.CDLL(None, use_errno=True), ctypes.create_string_buffer(3)
print(json.dumps([libc.getxattr(b"one", b"user.name", None, 0),
                  libc.getxattr(b"one", b"user.name", buf, 3), ctypes.get_errno()]))
"""
    assert await outcome(Recorder(), tmp_path, script) == [7, -1, errno.ERANGE]


async def test_requests_about_names(tmp_path: LocalPath) -> None:
    script = """
libc = ctypes.CDLL(None, use_errno=True)
found = [os.access("one", os.R_OK), os.access("one", os.W_OK)]
found.append(libc.renameat2(-100, b"one", -100, b"two", 2))
os.utime("one", ns=(-3_000_000_001, 4_000_000_005))
os.fsync(os.open(".", os.O_RDONLY))
os.open(".", os.O_TMPFILE | os.O_RDWR, 0o640)
print(json.dumps(found + [os.stat("one").st_atime_ns]))
"""
    recorder = Recorder()
    assert await outcome(recorder, tmp_path, script) == [True, False, 0, -4_999_999_993]
    ops = recorder.ops
    assert ops["ACCESS"].msg.mask == os.W_OK
    rename = ops["RENAME2"]
    assert (rename.name, rename.newname) == ("one", "two")
    assert (rename.msg.newdir, rename.msg.flags) == (FUSE_ROOT_ID, 2)
    change = ops["SETATTR"].msg
    assert (change.atime, change.mtime) == (Timespec(-4, 999_999_999), Timespec(4, 5))
    assert fuse.FATTR.ATIME | fuse.FATTR.MTIME in change.valid
    assert ops["FSYNCDIR"].msg.fh == FH
    tmpfile = ops["TMPFILE"]
    assert (int(tmpfile.msg.mode), tmpfile.hdr.nodeid) == (0o100640, FUSE_ROOT_ID)


async def test_entries_with_attributes(tmp_path: LocalPath) -> None:
    """One request has all, and counts as a lookup of each file."""
    recorder = Recorder(FUSE_INIT.DO_READDIRPLUS)
    script = "print(json.dumps(sorted(os.listdir('.'))))"
    assert await outcome(recorder, tmp_path, script) == ["one", "two"]
    assert recorder.lookups == 0
    assert recorder.ops["READDIRPLUS"].msg.fh == FH


async def test_attributes_of_statx(tmp_path: LocalPath) -> None:
    """A kernel that asks for them gets the time of birth."""
    script = """
libc, buf = ctypes.CDLL(None, use_errno=True), ctypes.create_string_buffer(256)
result = libc.statx(-100, b"one", 0, 0xfff, buf)
print(json.dumps([result, int.from_bytes(buf[40:48], "little"), int.from_bytes(buf[80:88], "little")]))
"""
    recorder = Recorder()
    found = await outcome(recorder, tmp_path, script)
    if "STATX" in recorder.ops:  # since Linux 6.6
        assert found == [0, 9, 2]
        assert recorder.ops["STATX"].msg.sx_mask & 0x800
    else:
        assert found == [0, 1 << 20, 0]


async def test_several_nodes_are_forgotten_at_once(tmp_path: LocalPath) -> None:
    recorder = Recorder()
    with trio.fail_after(SECONDS):
        async with cloned(local_thread, CLONE.NEWNS) as user:
            await user.make_rprivate()
            async with serve(user, tmp_path, recorder) as server, trio.open_nursery() as nursery:
                header = fuse.FuseInHeader(0, 0, 0, 0, 0)
                nodes = [fuse.FuseForgetOne(5, 6), fuse.FuseForgetOne(7, 8)]
                await server._begin(nursery, fuse.FuseBatchForgetOp(header, nodes))
    assert recorder.forgotten[:2] == [(5, 6), (7, 8)]
