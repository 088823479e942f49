"""`rsyscall.unistd.cwd`."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from rsyscall.far import AddressSpaceMismatchError, FDTableMismatchError
from rsyscall.fcntl import O
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.handle.fd import InvalidHandleError

from .helpers import forked, no_calls, sharer, stranger
from .support import Local


@forked
async def test_chdir(local: Local, tmp_path: Path) -> None:
    await local.task.chdir(await local.ptr(tmp_path))
    assert os.getcwd() == str(tmp_path)


@forked
async def test_fchdir(local: Local, tmp_path: Path) -> None:
    fd = await local.task.open(await local.ptr(tmp_path), O.PATH)
    await local.task.fchdir(fd)
    assert os.getcwd() == str(tmp_path)


@forked
async def test_fchdir_to_a_descriptor_of_another_task(local: Local, tmp_path: Path) -> None:
    other = sharer(local, fds=True)
    fd = await other.open(await local.ptr(tmp_path), O.PATH)
    await local.task.fchdir(fd)
    assert os.getcwd() == str(tmp_path)
    assert fd.is_only_handle()


async def test_getcwd(local: Local) -> None:
    expected = os.getcwd()
    valid, rest = await local.task.getcwd(await local.malloc(str, 4096))
    assert await valid.read() == expected
    assert valid.size() == len(os.fsencode(expected)) + 1
    small, _ = rest.split(1)
    with pytest.raises(OSError, match="out of range"):
        await local.task.getcwd(small)
    assert small.valid


@pytest.mark.needs("CAP_SYS_CHROOT")
@forked
async def test_chroot(local: Local, tmp_path: Path) -> None:
    (tmp_path / "inside").touch()
    await local.task.chroot(await local.ptr(tmp_path))
    assert os.listdir("/") == ["inside"]


@pytest.mark.needs("CAP_SYS_CHROOT")
@forked
async def test_fchroot(local: Local, tmp_path: Path) -> None:
    (tmp_path / "inside").touch()
    file = await local.task.open(await local.ptr(tmp_path / "inside"), O.RDONLY)
    fd = await local.task.open(await local.ptr(tmp_path), O.PATH)
    for wrong, flags, error in (fd, 1 << 31, errno.EINVAL), (file, 0, errno.ENOTDIR):
        with pytest.raises(OSError, match=r"Invalid|Not a directory|not implemented") as caught:
            await local.task.fchroot(wrong, flags)
        assert caught.value.errno in (error, errno.ENOSYS)
        assert caught.value.filename is wrong
    if caught.value.errno == errno.ENOSYS:
        assert os.listdir("/") != ["inside"]
    else:
        await local.task.fchroot(fd)
        assert os.listdir("/") == ["inside"]


@forked
async def test_umask(local: Local, tmp_path: Path) -> None:
    os.umask(0o022)
    assert await local.task.umask(0o077) == 0o022
    assert await local.task.umask(0o027) == 0o077
    await local.task.open(await local.ptr(tmp_path / "file"), O.WRONLY | O.CREAT, 0o666)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


async def test_errors_name_the_path_or_the_descriptor(local: Local) -> None:
    with pytest.raises(FileNotFoundError) as info:
        await local.task.chdir(await local.ptr("/nonexistent"))
    assert info.value.filename == "/nonexistent"
    with pytest.raises(NotADirectoryError) as info:
        await local.task.chdir(await local.ptr("/dev/null"))
    assert info.value.filename == "/dev/null"
    with pytest.raises(FileNotFoundError) as info:
        await local.task.chroot(await local.ptr("/nonexistent"))
    assert info.value.filename == "/nonexistent"
    fd = await local.task.open(await local.ptr("/dev/null"), O.RDONLY)
    with pytest.raises(NotADirectoryError) as info:
        await local.task.fchdir(fd)
    assert info.value.filename is fd


async def test_misuse_raises_before_any_call(local: Local) -> None:
    foreign = await stranger().ptr("/")
    freed = await local.ptr("/")
    freed.free()
    other = sharer(local, fds=False)
    fd = await local.task.open(await local.ptr("/"), O.PATH)
    closed = await local.task.open(await local.ptr("/"), O.PATH)
    await closed.close()
    with no_calls(local.task, other):
        for bad, error in ((foreign, AddressSpaceMismatchError), (freed, UseAfterFreeError)):
            for call in (local.task.chdir, local.task.chroot, local.task.getcwd):
                with pytest.raises(error):
                    await call(bad)
        with pytest.raises(FDTableMismatchError):
            await other.fchdir(fd)
        with pytest.raises(InvalidHandleError):
            await local.task.fchdir(closed)
