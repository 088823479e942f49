"""The calls that move data between files, and those about parts of a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from rsyscall.fcntl import FALLOC_FL, POSIX_FADV, SPLICE_F, SYNC_FILE_RANGE, O
from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.linux.memfd import MFD
from rsyscall.struct import Int64
from rsyscall.sys.file import LOCK
from rsyscall.sys.statfs import ST, Statfs
from rsyscall.sys.uio import IovecList
from rsyscall.unistd import Pipe

from .helpers import no_calls
from .support import Local


async def file_with(local: Local, data: bytes) -> Any:
    fd = await local.task.memfd_create(await local.ptr("file"), MFD.NONE)
    os.pwrite(int(fd), data, 0)
    return fd


def contents(fd: Any) -> bytes:
    return os.pread(int(fd), 100, 0)


async def test_sendfile(local: Local) -> None:
    source, dest = await file_with(local, b"0123456789"), await file_with(local, b"")
    offset = await local.ptr(Int64(6))
    assert await dest.sendfile(source, offset, 2) == 2
    assert (await offset.read(), contents(dest), os.lseek(int(source), 0, os.SEEK_CUR)) == (8, b"67", 0)
    assert await dest.sendfile(source, None, 100) == 10
    assert contents(dest) == b"670123456789"
    assert await dest.sendfile(source, None, 100) == 0
    closed = await local.task.open(await local.ptr("/dev/null"), O.RDONLY)
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        await closed.sendfile(source, None, 1)
    assert (caught.value.filename, caught.value.filename2) == (closed, source)


async def test_copy_file_range(local: Local) -> None:
    source, dest = await file_with(local, b"0123456789"), await file_with(local, b"abcdef")
    start, end = await local.ptr(Int64(8)), await local.ptr(Int64(1))
    assert await source.copy_file_range(start, dest, end, 100) == 2
    assert (await start.read(), await end.read(), contents(dest)) == (10, 3, b"a89def")
    assert await source.copy_file_range(None, dest, end, 1) == 1
    assert contents(dest) == b"a890ef"
    with pytest.raises(OSError, match="Invalid argument") as caught:
        await source.copy_file_range(None, dest, None, 1, 1 << 20)
    assert (caught.value.filename, caught.value.filename2) == (source, dest)


async def test_data_goes_through_pipes_without_memory(local: Local) -> None:
    first = await (await local.task.pipe(await local.malloc(Pipe), O.NONBLOCK)).read()
    second = await (await local.task.pipe(await local.malloc(Pipe), O.NONBLOCK)).read()
    source, dest = await file_with(local, b"0123456789"), await file_with(local, b"")
    offset = await local.ptr(Int64(7))
    assert await source.splice(offset, first.write, None, 100) == 3
    assert await offset.read() == 10
    assert await first.read.tee(second.write, 2) == 2
    assert await first.read.splice(None, dest, None, 100, SPLICE_F.MOVE) == 3
    assert (contents(dest), os.read(int(second.read), 10)) == (b"789", b"78")
    for call in (
        first.read.tee(second.write, 2, SPLICE_F.NONBLOCK),
        first.read.splice(None, dest, None, 1, SPLICE_F.NONBLOCK),
    ):
        with pytest.raises(BlockingIOError):
            await call
    with pytest.raises(OSError, match="Invalid argument") as caught:
        await source.splice(None, dest, None, 1)
    assert (caught.value.filename, caught.value.filename2) == (source, dest)
    with pytest.raises(OSError, match="Illegal seek"):
        await source.splice(None, first.write, offset, 1)


async def test_vmsplice_puts_memory_into_a_pipe(local: Local) -> None:
    pipe = await (await local.task.pipe(await local.malloc(Pipe), O.NONBLOCK)).read()
    iov = await local.ptr(IovecList([await local.ptr(b"one"), await local.ptr(b"two")]))
    assert await pipe.write.vmsplice(iov) == 6
    assert os.read(int(pipe.read), 10) == b"onetwo"
    dest = await local.malloc(bytes, 3)
    os.write(int(pipe.write), b"abc")
    assert await pipe.read.vmsplice(await local.ptr(IovecList([dest]))) == 3
    assert await local.gateway.read(dest) == b"abc"
    source = await file_with(local, b"")
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        await source.vmsplice(iov)
    assert caught.value.filename is source


async def test_fallocate(local: Local) -> None:
    fd = await file_with(local, b"x" * 100)
    await fd.fallocate(FALLOC_FL.NONE, 0, 10000)
    assert os.fstat(int(fd)).st_size == 10000
    await fd.fallocate(FALLOC_FL.PUNCH_HOLE | FALLOC_FL.KEEP_SIZE, 0, 50)
    assert contents(fd) == b"\0" * 50 + b"x" * 50
    with pytest.raises(OSError, match="not supported") as caught:
        await fd.fallocate(FALLOC_FL.PUNCH_HOLE, 0, 50)
    assert caught.value.filename == (fd, FALLOC_FL.PUNCH_HOLE, 0, 50)


async def test_hints(local: Local, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10000)
    fd = await local.task.open(await local.ptr(tmp_path / "file"), O.RDWR)
    for advice in POSIX_FADV:
        await fd.posix_fadvise(0, 0, advice)
    await fd.readahead(0, 4096)
    await fd.sync_file_range(0, 0, SYNC_FILE_RANGE.WRITE_AND_WAIT)
    pipe = await (await local.task.pipe(await local.malloc(Pipe))).read()
    for call, error in (
        (pipe.read.posix_fadvise(0, 0, POSIX_FADV.NORMAL), "Illegal seek"),
        (pipe.read.sync_file_range(0, 0, SYNC_FILE_RANGE.WRITE), "Illegal seek"),
        (pipe.read.readahead(0, 1), "Invalid argument"),
    ):
        with pytest.raises(OSError, match=error) as caught:
            await call
        assert caught.value.filename is pipe.read


async def test_flock(local: Local, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = await local.ptr(tmp_path / "file")
    one, other = await local.task.open(path, O.RDONLY), await local.task.open(path, O.RDONLY)
    await one.flock(LOCK.SH)
    await other.flock(LOCK.SH | LOCK.NB)
    with pytest.raises(BlockingIOError) as caught:
        await one.flock(LOCK.EX | LOCK.NB)
    assert caught.value.filename == (one, LOCK.EX | LOCK.NB)
    await other.flock(LOCK.UN)
    await one.flock(LOCK.EX | LOCK.NB)


async def test_statfs(local: Local) -> None:
    buf = await local.malloc(Statfs)
    assert await local.task.statfs(await local.ptr("/proc"), buf) is buf
    found, theirs = await buf.read(), os.statvfs("/proc")
    assert found.type == 0x9FA0
    assert (found.bsize, found.namelen) == (theirs.f_bsize, theirs.f_namemax)
    assert found.flags & ~ST.VALID == theirs.f_flag
    fd = await local.task.open(await local.ptr("/dev"), O.PATH)
    found, theirs = await (await fd.fstatfs(buf)).read(), os.statvfs("/dev")
    assert (found.blocks, found.files, found.frsize) == (theirs.f_blocks, theirs.f_files, theirs.f_frsize)
    with pytest.raises(FileNotFoundError) as caught:
        await local.task.statfs(await local.ptr("/no/such/file"), buf)
    assert caught.value.filename == "/no/such/file"


async def test_memory_that_is_too_small_is_refused(local: Local) -> None:
    fd, small = await file_with(local, b""), (await local.malloc(Int64)).split(7)[0]
    short = (await local.malloc(Statfs)).split(119)[0]
    with no_calls(local.task):
        for call in (
            fd.sendfile(fd, small, 1),
            fd.splice(small, fd, None, 1),
            fd.splice(None, fd, small, 1),
            fd.copy_file_range(small, fd, None, 1),
            fd.copy_file_range(None, fd, small, 1),
            fd.fstatfs(short),
            local.task.statfs(await local.ptr("/"), short),
        ):
            with pytest.raises(BufferTooSmallError):
                await call
