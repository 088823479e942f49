"""Files, directories and descriptors, in a child and together with programs."""

from __future__ import annotations

import errno
import gc
import os
from pathlib import Path as LocalPath

import pytest
import trio

from rsyscall.command import Command
from rsyscall.environ import ExecutableNotFound, ExecutablePathCache
from rsyscall.fcntl import AT, O
from rsyscall.handle import FileDescriptor
from rsyscall.linux.dirent import DirentList
from rsyscall.linux.memfd import MFD
from rsyscall.path import Path
from rsyscall.sched import CLONE
from rsyscall.struct import Int64
from rsyscall.sys.socket import MSG
from rsyscall.sys.stat import Stat
from rsyscall.sys.uio import IovecList
from rsyscall.tasks.local import local_thread
from rsyscall.thread import ChildThread, do_cloexec_except
from rsyscall.unistd import SEEK

from .support import cloned, exec_with, pipe_of, read_exactly, write_all


async def open_directory(thread: ChildThread, path: LocalPath, flags: O = O.RDONLY) -> FileDescriptor:
    return await thread.task.open(await thread.ptr(Path(path)), flags | O.DIRECTORY)


async def names_in(thread: ChildThread, directory: FileDescriptor) -> list[str]:
    await directory.lseek(0, SEEK.SET)
    valid, _ = await directory.getdents(await thread.malloc(DirentList, 4096))
    return sorted(entry.name for entry in await valid.read())


async def test_a_program_copies_a_file(child: ChildThread, tmp_path: LocalPath) -> None:
    """Offsets belong to the open file: we see the reads and writes of the program."""
    (tmp_path / "source").write_text("hello")
    source = await local_thread.task.open(await local_thread.ptr(Path(tmp_path / "source")), O.RDONLY)
    target = await local_thread.task.open(
        await local_thread.ptr(Path(tmp_path / "target")), O.RDWR | O.CREAT, 0o644
    )
    async with source, target, cloned(local_thread) as cat:
        process = await exec_with(cat, Command("/bin/cat", ["cat"], {}), source, target)
        await process.check()
        assert await target.lseek(0, SEEK.CUR) == await source.lseek(0, SEEK.CUR) == 5
        await target.lseek(0, SEEK.SET)
        assert await read_exactly(local_thread, target, 100) == b"hello"


async def test_listing_a_directory_that_changes(child: ChildThread, tmp_path: LocalPath) -> None:
    directory = await open_directory(child, tmp_path)
    assert await names_in(child, directory) == [".", ".."]
    created = await directory.openat(await child.ptr("new"), O.WRONLY | O.CREAT)
    await created.close()
    assert await names_in(child, directory) == [".", "..", "new"]


async def test_listing_a_directory_that_is_gone(child: ChildThread, tmp_path: LocalPath) -> None:
    (tmp_path / "gone").mkdir()
    directory = await open_directory(child, tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(FileNotFoundError):
        await directory.getdents(await child.malloc(DirentList, 4096))


async def test_readlink_of_what_is_no_link(child: ChildThread, tmp_path: LocalPath) -> None:
    directory = await open_directory(child, tmp_path, O.PATH)
    with pytest.raises(FileNotFoundError):
        await directory.readlinkat(await child.ptr(""), await child.malloc(str, 100))


async def test_everything_relative_to_a_directory(child: ChildThread, tmp_path: LocalPath) -> None:
    directory = await open_directory(child, tmp_path)
    sub = await child.ptr("sub")
    await directory.mkdirat(sub)
    await directory.rmdirat(sub)
    # A file without a name gets one.
    try:
        nameless = await directory.openat(await child.ptr("."), O.WRONLY | O.TMPFILE)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            pytest.skip(f"kernel: {tmp_path} is on a file system without O_TMPFILE")
        raise
    assert await names_in(child, directory) == [".", ".."]
    await write_all(child, nameless, b"contents")
    one, two = await child.ptr("one"), await child.ptr("two")
    await child.task.linkat(None, await child.ptr(nameless.as_proc_path()), directory, one, AT.SYMLINK_FOLLOW)
    await directory.linkat(one, directory, two)
    assert (tmp_path / "two").read_text() == "contents"
    await directory.renameat(one, directory, one)
    await directory.renameat(two, directory, await child.ptr("three"))
    assert await names_in(child, directory) == [".", "..", "one", "three"]
    await directory.unlinkat(one)
    await directory.symlinkat(await child.ptr("three"), one)
    assert os.readlink(tmp_path / "one") == "three"
    with pytest.raises(FileExistsError):
        await directory.symlinkat(await child.ptr("three"), one)


async def test_descriptors_have_a_path(child: ChildThread, tmp_path: LocalPath) -> None:
    directory = await open_directory(child, tmp_path)
    target, _ = await child.task.readlink(
        await child.ptr(Path(f"/proc/self/fd/{int(directory)}")), await child.malloc(str, 4096)
    )
    assert await target.read() == os.fspath(tmp_path)
    assert os.readlink(directory.as_proc_path()) == os.fspath(tmp_path)


async def test_finding_programs(child: ChildThread, tmp_path: LocalPath) -> None:
    directories = [tmp_path / f"{number}" for number in range(5)]
    for directory in directories:
        directory.mkdir()
    cache = ExecutablePathCache(child.task, child.ram, [Path(directory) for directory in directories])
    for _ in range(2):
        with pytest.raises(ExecutableNotFound):
            await cache.which("program")
    script = await child.spit(Path(directories[2] / "program"), "#!/bin/sh\nexit 3", 0o755)
    command = await cache.which("program")
    assert command.executable_path == script
    assert (await child.run(command, check=False)).exit_status == 3


async def test_reading_and_writing_at_a_position(child: ChildThread) -> None:
    memfd = await child.task.memfd_create(await child.ptr("positions"), MFD.NONE)

    async def size() -> int:
        return (await (await memfd.fstat(await child.malloc(Stat))).read()).size

    assert await size() == 0
    await memfd.pwrite(await child.ptr(b"foo"), 1)
    assert await size() == 4
    assert await memfd.lseek(0, SEEK.CUR) == 0
    valid, rest = await memfd.pread(await child.malloc(bytes, 10), 0)
    assert await valid.read() == b"\0foo"
    assert rest.size() == 6
    valid, _ = await memfd.pread(valid + rest, 4)
    assert valid.size() == 0
    assert await memfd.lseek(-1, SEEK.END) == 3


async def test_pipes(child: ChildThread) -> None:
    pipe = await child.pipe()
    await write_all(child, pipe.write, b"hello")
    valid, _ = await pipe.read.read(await child.malloc(bytes, 100))
    assert await valid.read() == b"hello"
    pieces = [await child.ptr(b"hello "), await child.ptr(b"world")]
    written, partial, untouched = await pipe.write.writev(await child.ptr(IovecList(pieces)))
    assert (written.value, partial, untouched.value) == (pieces, None, [])
    room = [await child.malloc(bytes, 6), await child.malloc(bytes, 5)]
    filled, partial, untouched = await pipe.read.readv(await child.ptr(IovecList(room)))
    assert [await pointer.read() for pointer in filled.value] == [b"hello ", b"world"]
    assert (partial, untouched.value) == (None, [])
    with pytest.raises(OSError) as caught:
        await pipe.read.recv(await child.malloc(bytes, 1), MSG.NONE)
    assert caught.value.errno == errno.ENOTSOCK


async def test_eventfd(child: ChildThread) -> None:
    event = await child.task.eventfd(1)
    await event.write(await child.ptr(Int64(10)))
    valid, _ = await event.read(await child.malloc(Int64))
    assert await valid.read() == 11


@pytest.mark.usefixtures("transport")
async def test_numbers_of_dropped_descriptors_are_used_again() -> None:
    """A process that shares the table closes them, even those of processes that are gone."""

    async def open_one(thread: ChildThread) -> FileDescriptor:
        return await thread.task.open(await thread.ptr(Path("/dev/null")), O.RDONLY)

    async def open_many(parent: ChildThread) -> None:
        async with cloned(parent, CLONE.FILES) as child:
            for _ in range(50):
                await open_one(child)

    async with cloned(local_thread) as parent:
        number = int(await open_one(parent))
        for _ in range(5):
            await open_many(parent)
        again = -1
        with trio.fail_after(60):
            while again != number:
                gc.collect()
                await parent.task.run_fd_table_gc()
                again = int(await open_one(parent))
                await trio.sleep(0.001)


async def test_what_exec_would_close(child: ChildThread) -> None:
    pipe = await child.pipe()
    await do_cloexec_except(child, {fd.near for fd in child.task.fd_handles if fd is not pipe.read})
    with pytest.raises(OSError) as caught:
        await pipe.read.read(await child.malloc(bytes, 1))
    assert caught.value.errno == errno.EBADF
    with pytest.raises(BrokenPipeError):
        await pipe.write.write(await child.ptr(b"x"))
    async with pipe_of(local_thread) as ours:
        # Other processes have lost nothing.
        await write_all(local_thread, ours.write, b"x")
        assert await read_exactly(local_thread, ours.read, 1) == b"x"
