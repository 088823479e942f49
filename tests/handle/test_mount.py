"""`rsyscall.sys.mount`, each test in a mount namespace of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from rsyscall.far import AddressSpaceMismatchError
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.near import SYS
from rsyscall.sys.mount import MS, UMOUNT

from .helpers import forked, no_calls, stand_for, stranger
from .support import Local

CLONE_NEWNS = 0x20000
CLONE_NEWUSER = 0x10000000


def in_mount_namespace(
    test: Callable[[Local, Path], Coroutine[Any, Any, None]],
) -> Callable[[Path], None]:
    """Run the test in a child with a private mount namespace (and a user namespace, if it takes that)."""

    async def inner(local: Local, tmp_path: Path) -> None:
        try:
            await local.task.sysif.syscall(SYS.unshare, CLONE_NEWNS)
        except PermissionError:
            uid, gid = os.getuid(), os.getgid()
            await local.task.sysif.syscall(SYS.unshare, CLONE_NEWNS | CLONE_NEWUSER)
            # Who has no id there cannot make files.
            for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
                Path("/proc/self", name).write_text(text)
        empty = await local.ptr("")
        await local.task.mount(
            await local.ptr("none"), await local.ptr("/"), empty, MS.REC | MS.PRIVATE, empty
        )
        await test(local, tmp_path)

    stand_for(test, inner)
    return pytest.mark.needs("mounts")(forked(inner))


def is_mount(path: Path) -> bool:
    return any(line.split()[4] == str(path) for line in Path("/proc/self/mountinfo").read_text().splitlines())


def propagation(path: Path) -> set[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[4] == str(path):
            return {field.split(":")[0] for field in fields[6 : fields.index("-")]}
    raise AssertionError(f"{path} is not a mount point")


async def mount_tmpfs(local: Local, target: Path, data: str = "") -> None:
    kind = await local.ptr("tmpfs")
    await local.task.mount(
        await local.ptr("scratch"), await local.ptr(target), kind, MS.NOSUID | MS.NODEV, await local.ptr(data)
    )


@in_mount_namespace
async def test_mount_and_umount(local: Local, tmp_path: Path) -> None:
    (tmp_path / "below").touch()
    await mount_tmpfs(local, tmp_path, "size=16k,mode=0711")
    assert is_mount(tmp_path)
    assert os.listdir(tmp_path) == []
    assert tmp_path.stat().st_mode & 0o777 == 0o711
    assert os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize == 16384
    await local.task.umount(await local.ptr(tmp_path))
    assert not is_mount(tmp_path)
    assert os.listdir(tmp_path) == ["below"]


@in_mount_namespace
async def test_bind_and_remount_read_only(local: Local, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    (source / "file").write_text("seen")
    empty = await local.ptr("")
    source_ptr, target_ptr = await local.ptr(source), await local.ptr(target)
    await local.task.mount(source_ptr, target_ptr, empty, MS.BIND, empty)
    assert (target / "file").read_text() == "seen"
    await local.task.mount(empty, target_ptr, empty, MS.BIND | MS.REMOUNT | MS.RDONLY, empty)
    with pytest.raises(OSError, match="Read-only"):
        (target / "other").touch()
    (source / "other").touch()
    await local.task.umount(target_ptr, UMOUNT.DETACH)


@in_mount_namespace
async def test_propagation(local: Local, tmp_path: Path) -> None:
    await mount_tmpfs(local, tmp_path)
    empty, target = await local.ptr(""), await local.ptr(tmp_path)
    for flag, expected in [
        (MS.SHARED, {"shared"}),
        (MS.SLAVE, set()),
        (MS.UNBINDABLE, {"unbindable"}),
        (MS.PRIVATE, set()),
    ]:
        await local.task.mount(empty, target, empty, flag, empty)
        assert propagation(tmp_path) == expected, flag


@in_mount_namespace
async def test_busy_mounts_need_detaching(local: Local, tmp_path: Path) -> None:
    await mount_tmpfs(local, tmp_path)
    held = os.open(tmp_path, os.O_RDONLY)
    target = await local.ptr(tmp_path)
    with pytest.raises(OSError, match="busy") as info:
        await local.task.umount(target)
    assert info.value.filename == tmp_path
    await local.task.umount(target, UMOUNT.DETACH)
    os.close(held)


@in_mount_namespace
async def test_expire_takes_two_calls(local: Local, tmp_path: Path) -> None:
    await mount_tmpfs(local, tmp_path)
    target = await local.ptr(tmp_path)
    with pytest.raises(BlockingIOError):
        await local.task.umount(target, UMOUNT.EXPIRE)
    await local.task.umount(target, UMOUNT.EXPIRE)
    assert not is_mount(tmp_path)


@in_mount_namespace
async def test_nofollow(local: Local, tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    (tmp_path / "link").symlink_to("mnt")
    await mount_tmpfs(local, tmp_path / "mnt")
    with pytest.raises(OSError, match="Invalid argument"):
        await local.task.umount(await local.ptr(tmp_path / "link"), UMOUNT.NOFOLLOW)
    await local.task.umount(await local.ptr(tmp_path / "link"))


@in_mount_namespace
async def test_pivot_root(local: Local, tmp_path: Path) -> None:
    await mount_tmpfs(local, tmp_path)
    await local.task.chdir(await local.ptr(tmp_path))
    dot = await local.ptr(".")
    await local.task.pivot_root(dot, dot)
    await local.task.umount(dot, UMOUNT.DETACH)
    assert os.listdir("/") == [], "it is the new file system"


@in_mount_namespace
async def test_errors_name_what_was_to_be_mounted(local: Local, tmp_path: Path) -> None:
    source, kind, data = await local.ptr("dev"), await local.ptr("nosuchfs"), await local.ptr("opt")
    target = await local.ptr(tmp_path)
    with pytest.raises(OSError, match="No such device") as info:
        await local.task.mount(source, target, kind, MS.NONE, data)
    assert info.value.filename == "dev"
    assert info.value.filename2 == (tmp_path, "nosuchfs", "opt")
    with pytest.raises(FileNotFoundError) as info:
        await local.task.mount(source, await local.ptr(tmp_path / "none"), kind, MS.BIND, data)
    assert info.value.filename == "dev"
    with pytest.raises(OSError, match="Invalid argument") as info:
        await local.task.umount(target)
    assert info.value.filename == tmp_path
    # It is on the file system that is the root (busy), and in a user namespace the root is locked (invalid).
    with pytest.raises(OSError, match=r"busy|Invalid argument") as info:
        await local.task.pivot_root(target, await local.ptr("/tmp"))
    assert (info.value.filename, info.value.filename2) == (tmp_path, "/tmp")


async def test_misuse_raises_before_any_call(local: Local) -> None:
    good = await local.ptr("good")
    foreign = await stranger().ptr("foreign")
    freed = await local.ptr("freed")
    freed.free()
    for bad, error in ((foreign, AddressSpaceMismatchError), (freed, UseAfterFreeError)):
        with no_calls(local.task):
            for position in range(4):
                strings = [good] * 4
                strings[position] = bad
                source, target, kind, data = strings
                with pytest.raises(error):
                    await local.task.mount(source, target, kind, MS.BIND, data)
            with pytest.raises(error):
                await local.task.umount(bad)
            with pytest.raises(error):
                await local.task.pivot_root(bad, good)
            with pytest.raises(error):
                await local.task.pivot_root(good, bad)
