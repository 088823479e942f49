"""Mounts behind descriptors: made, copied and attached by the short forms."""

from __future__ import annotations

import errno
import os
from contextlib import asynccontextmanager
from pathlib import Path as LocalPath
from typing import TYPE_CHECKING, Any

import pytest
from support import local_thread

from rsyscall.far import FDTableMismatchError
from rsyscall.handle import FileDescriptor
from rsyscall.id_maps import IdMaps, IdRange
from rsyscall.sched import CLONE
from rsyscall.sys.mount import MOUNT_ATTR
from rsyscall.thread import ChildThread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.needs("mount namespaces")


@asynccontextmanager
async def sandbox() -> AsyncIterator[ChildThread]:
    child = await local_thread.clone(CLONE.NEWUSER | CLONE.NEWNS)
    async with child.process:
        await child.make_rprivate()
        await child.mount_tmpfs("/mnt")
        for name in ("at", "one", "two"):
            await child.mkdir(f"/mnt/{name}")
        yield child


async def test_made_with_options_and_attributes() -> None:
    async with sandbox() as child:
        mount = await child.make_mount(
            "tmpfs", {"size": 1 << 20, "mode": "751", "source": "a name"}, attributes=MOUNT_ATTR.NOEXEC
        )
        assert await child.listdir("/mnt/at") == []
        await child.attach_mount(mount, "/mnt/at")
        await mount.close()
        assert (await child.stat("/mnt/at")).mode.mode == 0o751
        [line] = [
            line
            for line in (await child.read_file("/proc/self/mounts")).decode().splitlines()
            if line.split()[1] == "/mnt/at"
        ]
        assert line.startswith("a\\040name ")
        assert {"size=1024k", "noexec"} <= set(line.split()[3].split(","))


async def test_the_file_system_explains_the_error() -> None:
    async with sandbox() as child:
        with pytest.raises(OSError, match=r"Invalid argument \(.*Unknown parameter 'nonsense'\)") as caught:
            await child.make_mount("tmpfs", {"nonsense": True})
        assert caught.value.errno == errno.EINVAL
        assert caught.value.filename[2] == "nonsense"
        with pytest.raises(OSError, match="No such device"):
            await child.make_mount("no such type")


@pytest.mark.parametrize("value", [False, None, 1.5, [None], [["a"]]])
async def test_values_of_other_types_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="options: name: expected"):
        await local_thread.make_mount("tmpfs", {"name": value})


async def test_options_that_are_given_several_times_and_descriptors() -> None:
    async with sandbox() as child:
        await child.write_file("/mnt/one/file", "of the first")
        await child.write_file("/mnt/two/file", "of the second")
        await child.write_file("/mnt/two/other", "other")
        async with await child.open("/mnt/two") as two:
            first: list[str | FileDescriptor] = ["/mnt/one", two]
            try:
                mount = await child.make_mount("overlay", {"lowerdir+": first})
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                pytest.skip("kernel: overlayfs takes no descriptors, as before Linux 6.13")
        await child.attach_mount(mount, "/mnt/at")
        assert await child.read_file("/mnt/at/file") == b"of the first"
        assert await child.read_file(b"/mnt/at/other") == b"other"


async def test_copies(tmp_path: LocalPath) -> None:
    async with sandbox() as child:
        await child.mount_tmpfs("/mnt/one")
        await child.write_file("/mnt/one/file", "text")
        async with await child.copy_mount("/mnt") as shallow:
            await child.attach_mount(shallow, "/mnt/two")
        assert await child.listdir("/mnt/two/one") == []
        await child.umount("/mnt/two")
        async with await child.copy_mount("/mnt", recursive=True, attributes=MOUNT_ATTR.RDONLY) as deep:
            await child.attach_mount(deep, "/mnt/two")
        assert await child.read_file("/mnt/two/one/file") == b"text"
        for path in ("/mnt/two/new", "/mnt/two/one/new"):
            with pytest.raises(OSError, match="Read-only") as caught:
                await child.write_file(path, "")
            assert caught.value.errno == errno.EROFS
        await child.write_file("/mnt/one/new", "")


async def test_id_mapped_copies() -> None:
    async with sandbox() as child:
        uid = os.geteuid()
        await child.write_file("/mnt/one/file", "text")
        assert (await child.stat("/mnt/one/file")).uid == uid
        # Users of the file system with this number, and no others, are seen as ours.
        maps = IdMaps([IdRange(uid + 7, uid)], [IdRange(os.getegid(), os.getegid())])
        other = await child.clone(CLONE.NEWUSER | CLONE.FILES, id_maps=maps)
        async with other.process:
            userns = await other.open("/proc/self/ns/user")
            try:
                copy = await child.copy_mount("/mnt/one", userns=userns)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                pytest.skip("kernel: tmpfs knows no id-mapped mounts, as before Linux 6.3")
            await child.attach_mount(copy, "/mnt/at")
        found = await child.stat("/mnt/at/file")
        assert found.uid == int((await child.read_file("/proc/sys/kernel/overflowuid")).decode())
        assert found.gid == os.getegid()
        # The user namespace of the file system itself maps nothing.
        async with await child.open("/proc/self/ns/user") as own:
            with pytest.raises(OSError, match=r"Invalid argument|not permitted"):
                await child.copy_mount("/mnt/one", userns=own)


async def test_errors_of_copies_and_attaching() -> None:
    async with sandbox() as child:
        with pytest.raises(FileNotFoundError) as caught:
            await child.copy_mount("/mnt/nothing")
        assert caught.value.filename == "/mnt/nothing"
        mount = await child.make_mount("tmpfs")
        with pytest.raises(FileNotFoundError):
            await child.attach_mount(mount, "/mnt/nothing")
        other = await child.clone()
        async with other.process:
            with pytest.raises(FDTableMismatchError):
                await other.attach_mount(mount, "/mnt/at")
        sharer = await child.clone(CLONE.FILES)
        async with sharer.process:
            await sharer.attach_mount(mount, "/mnt/at")
        await mount.close()
        assert await child.listdir("/mnt/at") == []
