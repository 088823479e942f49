"""Mounts as descriptors, and which mounts there are; each test in a mount namespace of its own."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from rsyscall.fcntl import AT, O
from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.linux.mount import (
    LISTMOUNT,
    LSMT_ROOT,
    STATMOUNT,
    MntIdReq,
    MountIdList,
    Statmount,
    StatmountHeader,
)
from rsyscall.sys.mount import FSCONFIG, FSPICK, MOUNT_ATTR, MOVE_MOUNT, MS, OPEN_TREE, MountAttr
from rsyscall.sys.stat import STATX, Statx

from .helpers import no_calls
from .support import Local
from .test_mount import in_mount_namespace, is_mount, mount_tmpfs


async def new_tmpfs(local: Local, **options: str) -> Any:
    """A tmpfs that is attached nowhere."""
    fs = await local.task.fsopen(await local.ptr("tmpfs"))
    for key, value in options.items():
        await fs.fsconfig(FSCONFIG.SET_STRING, await local.ptr(key), await local.ptr(value))
    await fs.fsconfig(FSCONFIG.CMD_CREATE)
    return await fs.fsmount(attr_flags=MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV)


async def attach(local: Local, mount: Any, path: Path) -> None:
    await mount.move_mount(await local.ptr(""), None, await local.ptr(path), MOVE_MOUNT.F_EMPTY_PATH)


async def unique_id(local: Local, path: Path) -> int:
    buf = await local.malloc(Statx)
    await local.task.statx(await local.ptr(path), AT.NONE, STATX.MNT_ID_UNIQUE, buf)
    found = await buf.read()
    if not found.mask & STATX.MNT_ID_UNIQUE:
        pytest.skip("kernel: mounts have no ids of their own")
    return found.mnt_id


async def described(local: Local, path: Path, wanted: STATMOUNT) -> Statmount:
    req = await local.ptr(MntIdReq(mnt_id=await unique_id(local, path), param=wanted))
    buf = local.malloc_serializer(Statmount, 4096, Statmount)
    try:
        await local.task.statmount(req, buf)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            pytest.skip("kernel: no statmount")
        raise
    return await buf.read()


@in_mount_namespace
async def test_a_file_system_is_made_attached_and_moved(local: Local, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    (one / "below").touch()
    mount = await new_tmpfs(local, size="16k", mode="0711")
    assert not is_mount(one)
    await attach(local, mount, one)
    assert is_mount(one)
    assert os.listdir(one) == []
    assert one.stat().st_mode & 0o777 == 0o711
    found = os.statvfs(one)
    assert (found.f_blocks * found.f_frsize, found.f_flag & os.ST_NOSUID) == (16384, os.ST_NOSUID)
    directory = await local.task.open(await local.ptr(tmp_path), O.PATH)
    await directory.move_mount(await local.ptr("one"), directory, await local.ptr("other"))
    assert (is_mount(one), is_mount(other)) == (False, True)
    await local.task.move_mount(await local.ptr(other), None, await local.ptr(one))
    assert (is_mount(one), is_mount(other)) == (True, False)
    with pytest.raises(OSError, match="Invalid argument") as caught:
        await local.task.move_mount(await local.ptr(other), None, await local.ptr(one))
    assert (caught.value.filename, caught.value.filename2) == (other, one)


@in_mount_namespace
async def test_errors_of_options_are_explained(local: Local, tmp_path: Path) -> None:
    fs = await local.task.fsopen(await local.ptr("tmpfs"))
    key = await local.ptr("size")
    with pytest.raises(OSError, match="Invalid argument") as caught:
        await fs.fsconfig(FSCONFIG.SET_STRING, key, await local.ptr("much"))
    assert caught.value.filename == (fs, FSCONFIG.SET_STRING, "size")
    assert b"Bad value for 'size'" in os.read(int(fs.near), 200)
    with no_calls(local.task):
        with pytest.raises(TypeError, match=r"SET_FLAG.* needs a key"):
            await fs.fsconfig(FSCONFIG.SET_FLAG)
        with pytest.raises(TypeError, match=r"SET_STRING.* needs a value"):
            await fs.fsconfig(FSCONFIG.SET_STRING, key)
        with pytest.raises(TypeError, match=r"SET_FD.* needs a descriptor"):
            await fs.fsconfig(FSCONFIG.SET_FD, key)
    with pytest.raises(OSError, match="Invalid argument") as caught:
        await fs.fsmount()
    assert caught.value.filename is fs
    with pytest.raises(OSError, match="No such device") as caught:
        await local.task.fsopen(await local.ptr("no such type"))
    assert caught.value.filename == "no such type"


@in_mount_namespace
async def test_an_overlay_of_descriptors_and_paths(local: Local, tmp_path: Path) -> None:
    await attach(local, await new_tmpfs(local), tmp_path)
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    (tmp_path / "lower/file").write_text("below")
    fs = await local.task.fsopen(await local.ptr("overlay"))
    for name in ("lowerdir", "upperdir", "workdir"):
        path = await local.ptr(tmp_path / name.removesuffix("dir"))
        await fs.fsconfig(FSCONFIG.SET_STRING, await local.ptr(name), path)
    await fs.fsconfig(FSCONFIG.CMD_CREATE)
    await attach(local, await fs.fsmount(), tmp_path / "merged")
    (tmp_path / "merged/file").write_text("changed")
    assert (tmp_path / "lower/file").read_text() == "below"
    assert (tmp_path / "upper/file").read_text() == "changed"


@in_mount_namespace
async def test_a_copy_of_a_tree_is_changed_and_attached(local: Local, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    await mount_tmpfs(local, source)
    (source / "inner").mkdir()
    await mount_tmpfs(local, source / "inner")
    directory = await local.task.open(await local.ptr(tmp_path), O.PATH)
    copy = await directory.open_tree(await local.ptr("source"), OPEN_TREE.CLONE | AT.RECURSIVE)
    attr = await local.ptr(MountAttr(MOUNT_ATTR.RDONLY, propagation=MS.PRIVATE))
    await copy.mount_setattr(await local.ptr(""), AT.EMPTY_PATH | AT.RECURSIVE, attr)
    await attach(local, copy, target)
    (source / "file").touch()
    with pytest.raises(OSError, match="Read-only"):
        (target / "file").touch()
    with pytest.raises(OSError, match="Read-only"):
        (target / "inner/file").touch()
    back = await local.ptr(MountAttr(attr_clr=MOUNT_ATTR.RDONLY))
    await local.task.mount_setattr(await local.ptr(target), AT.NONE, back)
    (target / "new").touch()
    assert (source / "new").exists()
    plain = await local.task.open_tree(await local.ptr(target))
    assert os.listdir(f"/proc/self/fd/{int(plain)}") == os.listdir(target)
    (target / "sub").mkdir()
    for call in (
        local.task.mount_setattr(await local.ptr(target / "sub"), AT.NONE, back),
        local.task.mount_setattr(
            await local.ptr(target / "sub"), AT.NONE, await local.ptr(MountAttr(MOUNT_ATTR(1 << 40)))
        ),
    ):
        with pytest.raises(OSError, match="Invalid argument") as caught:
            await call
        assert caught.value.filename == target / "sub"
    small, _ = (await local.malloc(MountAttr)).split(31)
    with no_calls(local.task):
        for refused in (
            local.task.mount_setattr(await local.ptr("/"), AT.NONE, small),
            local.task.open_tree_attr(await local.ptr("/"), OPEN_TREE.NONE, small),
        ):
            with pytest.raises(BufferTooSmallError):
                await refused


@in_mount_namespace
async def test_a_copy_is_changed_in_the_same_call(local: Local, tmp_path: Path) -> None:
    attr = await local.ptr(MountAttr(MOUNT_ATTR.RDONLY))
    try:
        copy = await local.task.open_tree_attr(await local.ptr(tmp_path), OPEN_TREE.CLONE, attr)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            pytest.skip("kernel: no open_tree_attr")
        raise
    (tmp_path / "target").mkdir()
    await attach(local, copy, tmp_path / "target")
    with pytest.raises(OSError, match="Read-only"):
        (tmp_path / "target/file").touch()
    directory = await local.task.open(await local.ptr(tmp_path), O.PATH)
    with pytest.raises(FileNotFoundError) as caught:
        await directory.open_tree_attr(await local.ptr("nothing"), OPEN_TREE.CLONE, attr)
    assert caught.value.filename == "nothing"


@in_mount_namespace
async def test_a_file_system_is_changed_where_it_is_attached(local: Local, tmp_path: Path) -> None:
    await mount_tmpfs(local, tmp_path, "size=16k")
    fs = await local.task.fspick(await local.ptr(tmp_path))
    await fs.fsconfig(FSCONFIG.SET_STRING, await local.ptr("size"), await local.ptr("32k"))
    await fs.fsconfig(FSCONFIG.CMD_RECONFIGURE)
    assert os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize == 32768
    directory = await local.task.open(await local.ptr(tmp_path), O.PATH)
    again = await directory.fspick(await local.ptr(""), FSPICK.EMPTY_PATH)
    await again.fsconfig(FSCONFIG.SET_FLAG, await local.ptr("ro"))
    await again.fsconfig(FSCONFIG.CMD_RECONFIGURE)
    with pytest.raises(OSError, match="Read-only"):
        (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError) as caught:
        await directory.fspick(await local.ptr("nothing"))
    assert caught.value.filename == "nothing"


@in_mount_namespace
async def test_a_mount_is_described(local: Local, tmp_path: Path) -> None:
    await mount_tmpfs(local, tmp_path, "size=16k")
    wanted = (
        STATMOUNT.SB_BASIC
        | STATMOUNT.MNT_BASIC
        | STATMOUNT.MNT_ROOT
        | STATMOUNT.MNT_POINT
        | STATMOUNT.FS_TYPE
        | STATMOUNT.MNT_OPTS
        | STATMOUNT.OPT_ARRAY
        | STATMOUNT.SB_SOURCE
    )
    found = await described(local, tmp_path, wanted)
    assert (found.mnt_root, found.mnt_point, found.fs_type) == ("/", str(tmp_path), "tmpfs")
    assert found.header.mnt_id == await unique_id(local, tmp_path)
    assert found.header.sb_magic == 0x01021994
    assert os.makedev(found.header.sb_dev_major, found.header.sb_dev_minor) == tmp_path.stat().st_dev
    assert found.header.mnt_attr & (MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.RDONLY) == (
        MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV
    )
    assert found.header.mnt_propagation == MS.PRIVATE
    if found.header.mask & STATMOUNT.OPT_ARRAY:
        assert found.sb_source == "scratch"
        assert found.opts is not None
        assert "size=16k" in found.opts
        assert found.mnt_opts is not None
        assert "size=16k" in found.mnt_opts.split(",")
    assert (found.fs_subtype, found.mnt_uidmap, found.sec_opts) == (None, None, None)
    req = await local.ptr(MntIdReq(mnt_id=found.header.mnt_id, param=wanted))
    with pytest.raises(OSError, match="too large") as caught:
        await local.task.statmount(req, local.malloc_serializer(Statmount, 512, Statmount))
    assert caught.value.filename == "statmount"


@in_mount_namespace
async def test_mounts_are_listed_in_parts(local: Local, tmp_path: Path) -> None:
    await mount_tmpfs(local, tmp_path)
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
        await mount_tmpfs(local, tmp_path / name)
    top = await unique_id(local, tmp_path)
    below = [await unique_id(local, tmp_path / name) for name in ("one", "two", "three")]
    await described(local, tmp_path, STATMOUNT.NONE)
    found: list[int] = []
    while True:
        req = await local.ptr(MntIdReq(mnt_id=top, param=found[-1] if found else 0))
        # Memory for two ids, and a part of one.
        ids, rest = await local.task.listmount(req, local.malloc_serializer(MountIdList, 20, MountIdList))
        found += await ids.read()
        if rest.size() >= 8:
            break
    assert found == below
    req = await local.ptr(MntIdReq(mnt_id=LSMT_ROOT))
    ids, _ = await local.task.listmount(
        req, local.malloc_serializer(MountIdList, 8000, MountIdList), LISTMOUNT.REVERSE
    )
    assert [number for number in await ids.read() if number in {top, *below}] == [*reversed(below), top]
    nothing = await local.ptr(MntIdReq(mnt_id=2**63))
    with pytest.raises(FileNotFoundError) as caught:
        await local.task.listmount(nothing, local.malloc_serializer(MountIdList, 8, MountIdList))
    assert caught.value.filename == "listmount"


async def test_memory_for_descriptions_is_checked(local: Local) -> None:
    req, small = await local.ptr(MntIdReq(mnt_id=1)), (await local.malloc(MntIdReq)).split(31)[0]
    with no_calls(local.task):
        for call in (
            local.task.statmount(req, local.malloc_serializer(Statmount, 511, Statmount)),
            local.task.statmount(small, local.malloc_serializer(Statmount, 4096, Statmount)),
            local.task.listmount(req, local.malloc_serializer(MountIdList, 7, MountIdList)),
            local.task.listmount(small, local.malloc_serializer(MountIdList, 80, MountIdList)),
        ):
            with pytest.raises(BufferTooSmallError):
                await call
        # The kernel believes what the structure says about its size.
        large = await local.ptr(MntIdReq(size=64, mnt_id=1))
        with pytest.raises(BufferTooSmallError):
            await local.task.statmount(large, await local.malloc(Statmount, 1024))


def test_strings_of_a_liar_are_refused() -> None:
    header = StatmountHeader.from_bytes(bytes(512))
    header.mask, header.fs_type, header.size = STATMOUNT.FS_TYPE | STATMOUNT.OPT_ARRAY, 3, 518
    header.opt_array, header.opt_num = 0, 2**32 - 1
    found = Statmount.from_bytes(Statmount(header, b"ab\0cd\0").to_bytes())
    assert found == Statmount(header, b"ab\0cd\0")
    assert found.fs_type == "cd"
    with pytest.raises(ValueError, match="no string at 6 in the 6 bytes"):
        print(found.opts)
    header.fs_type = 100
    with pytest.raises(ValueError, match="no string at 100"):
        print(found.fs_type and Statmount(header, b"ab\0cd\0").fs_type)
    with pytest.raises(ValueError, match="no whole number"):
        MountIdList.from_bytes(bytes(9))
