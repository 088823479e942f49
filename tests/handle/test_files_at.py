"""The calls that open, name and describe files below a directory: openat2, handles, attributes."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from place import Place

from rsyscall.fcntl import AT, MAX_HANDLE_SZ, FileHandle, O
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.linux.fs import FS_XFLAG, FileAttr
from rsyscall.linux.openat2 import RESOLVE, OpenHow
from rsyscall.near.abi import ABIS
from rsyscall.struct import Int32, Int64
from rsyscall.sys.stat import STATX, Statx
from rsyscall.sys.xattr import XATTR, XattrArgs, XattrList

from .helpers import no_calls
from .support import Local


@contextlib.contextmanager
def new_call(name: str) -> Iterator[None]:
    """Skip where the kernel does not have the call."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSYS:
            pytest.skip(f"kernel: no {name}")
        raise


async def opened(local: Local, path: Path) -> Any:
    return await local.task.open(await local.ptr(path), O.PATH)


async def test_openat2_limits_the_lookup(local: Local, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "secret").write_text("outside")
    (tmp_path / "root/secret").write_text("inside")
    (tmp_path / "root/link").symlink_to("/secret")
    root = await opened(local, tmp_path / "root")
    link, up = await local.ptr("link"), await local.ptr("../secret")
    for path, resolve, error in (
        (up, RESOLVE.BENEATH, errno.EXDEV),
        (link, RESOLVE.BENEATH, errno.EXDEV),
        (link, RESOLVE.NO_SYMLINKS, errno.ELOOP),
    ):
        with pytest.raises(OSError) as caught:
            await root.openat2(path, await local.ptr(OpenHow(O.RDONLY, resolve=resolve)))
        assert (caught.value.errno, caught.value.filename) == (error, path.value)
    for path, resolve, text in (
        (up, RESOLVE.NONE, b"outside"),
        (up, RESOLVE.IN_ROOT, b"inside"),
        (link, RESOLVE.IN_ROOT, b"inside"),
    ):
        fd = await root.openat2(path, await local.ptr(OpenHow(O.RDONLY, resolve=resolve)))
        assert os.read(int(fd), 20) == text
        assert not os.get_inheritable(int(fd))
    how = await local.ptr(OpenHow(O.CREAT | O.EXCL | O.WRONLY, 0o600))
    fd = await local.task.openat2(await local.ptr(tmp_path / "new"), how)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        await local.task.openat2(await local.ptr(tmp_path / "new"), how)
    small, _ = (await local.malloc(OpenHow)).split(23)
    with no_calls(local.task), pytest.raises(BufferTooSmallError):
        await root.openat2(up, small)


def test_how_to_open_is_translated_for_other_architectures() -> None:
    how = OpenHow(O.DIRECTORY | O.NOFOLLOW, resolve=RESOLVE.BENEATH)
    assert how.flags == O.DIRECTORY | O.NOFOLLOW | O.CLOEXEC
    encoded = {name: OpenHow.serializer_for(abi).to_bytes(how) for name, abi in ABIS.items()}
    assert encoded["x86_64"] == encoded["riscv64"] != encoded["aarch64"]
    for name, abi in ABIS.items():
        assert OpenHow.serializer_for(abi).from_bytes(encoded[name]) == how


async def test_a_handle_names_a_file(local: Local, tmp_path: Path, place: Place) -> None:
    (tmp_path / "file").write_text("contents")
    directory = await opened(local, tmp_path)
    name, room = await local.ptr("file"), await local.ptr(FileHandle.room())
    assert room.size() == 8 + MAX_HANDLE_SZ
    try:
        handle, mount_id = await directory.name_to_handle_at(name, room, await local.malloc(Int32))
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            pytest.skip("kernel: the file system of temporary files has no handles")
        raise
    found = await handle.read()
    assert 0 < len(found.handle) < MAX_HANDLE_SZ
    ids = [int(line.split()[0]) for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    assert int(await mount_id.read()) in ids
    again, _ = await local.task.name_to_handle_at(
        await local.ptr(tmp_path / "file"), await local.ptr(FileHandle.room()), mount_id
    )
    assert await again.read() == found
    small = await local.ptr(FileHandle.room(0))
    with pytest.raises(OSError, match="too large") as caught:
        await directory.name_to_handle_at(name, small, mount_id)
    assert caught.value.filename == "file"
    # The memory says now that there is room for the handle.
    with no_calls(local.task), pytest.raises(UseAfterFreeError):
        await directory.name_to_handle_at(name, small, mount_id)
    with no_calls(local.task):
        for call in (
            directory.name_to_handle_at(
                name, await local.ptr(FileHandle.room()), mount_id, AT.HANDLE_MNT_ID_UNIQUE
            ),
            directory.name_to_handle_at(
                name,
                (await local.malloc(Int64)).wrote(FileHandle.room()),
                mount_id,  # type: ignore[arg-type]  # too small
            ),
        ):
            with pytest.raises(BufferTooSmallError):
                await call
    place.need("CAP_DAC_READ_SEARCH")
    (tmp_path / "file").rename(tmp_path / "moved")
    mount = await local.task.open(await local.ptr(tmp_path), O.DIRECTORY)
    fd = await mount.open_by_handle_at(await local.ptr(found), O.RDONLY)
    assert os.read(int(fd), 20) == b"contents"
    assert not os.get_inheritable(int(fd))
    (tmp_path / "moved").unlink()
    await fd.close()
    with pytest.raises(OSError, match="Stale") as caught:
        await mount.open_by_handle_at(await local.ptr(found), O.RDONLY)
    assert caught.value.filename == (mount, found)


async def test_the_id_of_the_mount_of_a_handle(local: Local, tmp_path: Path) -> None:
    room, long_id = await local.ptr(FileHandle.room()), await local.malloc(Int64)
    try:
        _, mount_id = await local.task.name_to_handle_at(
            await local.ptr(tmp_path), room, long_id, AT.HANDLE_MNT_ID_UNIQUE
        )
    except OSError as error:
        if error.errno in {errno.EINVAL, errno.EOPNOTSUPP}:
            pytest.skip("kernel: no such flag, or no handles")
        raise
    buf = await local.malloc(Statx)
    await local.task.statx(await local.ptr(tmp_path), AT.NONE, STATX.MNT_ID_UNIQUE, buf)
    assert int(await mount_id.read()) == (await buf.read()).mnt_id


def test_handles_of_a_liar_are_refused() -> None:
    handle = FileHandle(b"abcd", -1)
    assert FileHandle.from_bytes(handle.to_bytes() + b"rest") == handle
    for data in (b"", bytes(7), b"\5\0\0\0\0\0\0\0abcd"):
        with pytest.raises(ValueError, match="a file handle"):
            FileHandle.from_bytes(data)


async def test_extended_attributes_below_a_directory(local: Local, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    try:
        os.setxattr(tmp_path / "file", "user.a", b"one")
    except OSError as exn:
        pytest.skip(f"kernel: the file system of temporary files has no attributes of users ({exn.strerror})")
    directory = await opened(local, tmp_path)
    name, path = await local.ptr("user.b"), await local.ptr("file")
    value = await local.ptr(XattrArgs(await local.ptr(b"two"), XATTR.CREATE))
    with new_call("setxattrat"):
        await directory.setxattrat(path, name, value)
    assert os.getxattr(tmp_path / "file", "user.b") == b"two"
    with pytest.raises(FileExistsError) as caught:
        await directory.setxattrat(path, name, value)
    assert (caught.value.filename, caught.value.filename2) == ("file", "user.b")
    args = await local.ptr(XattrArgs(await local.malloc(bytes, 100)))
    data, rest = await directory.getxattrat(path, name, args)
    assert (await data.read(), rest.size()) == (b"two", 97)
    names, _ = await directory.listxattrat(path, await local.malloc(XattrList, 1000))
    assert set(await names.read()) >= {"user.a", "user.b"}
    await directory.removexattrat(path, name)
    whole = await local.ptr(tmp_path / "file")
    with pytest.raises(OSError, match="No data") as caught:
        await local.task.removexattrat(whole, name)
    assert (caught.value.filename, caught.value.filename2) == (tmp_path / "file", "user.b")
    await local.task.setxattrat(whole, name, value)
    data, _ = await local.task.getxattrat(
        whole, name, await local.ptr(XattrArgs(await local.malloc(bytes, 3)))
    )
    assert await data.read() == b"two"
    names, _ = await local.task.listxattrat(whole, await local.malloc(XattrList, 1000))
    assert "user.b" in await names.read()
    fd = await local.task.open(whole, O.RDONLY)
    names, _ = await fd.listxattrat(await local.ptr(""), await local.malloc(XattrList, 1000), AT.EMPTY_PATH)
    assert "user.b" in await names.read()
    with no_calls(local.task):
        with pytest.raises(BufferTooSmallError):
            await directory.getxattrat(path, name, await local.ptr(XattrArgs(await local.malloc(bytes, 0))))
        with pytest.raises(NotImplementedError):
            await args.read()


async def test_attributes_that_the_file_system_keeps(local: Local, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    directory, path, buf = (
        await opened(local, tmp_path),
        await local.ptr("file"),
        await local.malloc(FileAttr),
    )
    with new_call("file_getattr"):
        try:
            await directory.file_getattr(path, buf)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            pytest.skip("kernel: the file system of temporary files has no such attributes")
    attr = await buf.read()
    assert not attr.xflags & FS_XFLAG.NODUMP
    changed = await local.ptr(FileAttr(attr.xflags | FS_XFLAG.NODUMP, attr.extsize, 0, attr.projid))
    await directory.file_setattr(path, changed)
    whole = await local.ptr(tmp_path / "file")
    assert (await (await local.task.file_getattr(whole, buf)).read()).xflags & FS_XFLAG.NODUMP
    with pytest.raises(OSError, match=r"Invalid argument|not supported") as caught:
        await local.task.file_setattr(whole, await local.ptr(FileAttr(FS_XFLAG(1 << 40))))
    assert caught.value.filename == tmp_path / "file"
    small, _ = (await local.malloc(FileAttr)).split(23)
    with no_calls(local.task):
        for call in (directory.file_getattr(path, small), local.task.file_setattr(whole, small)):
            with pytest.raises(BufferTooSmallError):
                await call
