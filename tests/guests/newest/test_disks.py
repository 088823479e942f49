"""Disks for swapping, and for a file system with quotas."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator

import pytest

from rsyscall.fcntl import O
from rsyscall.stdlib import mkdtemp
from rsyscall.struct import Int32
from rsyscall.sys.mount import MS
from rsyscall.sys.quota import IIF, QFMT, QIF, QUOTA, IfDqblk, IfDqinfo, IfNextdqblk, Q
from rsyscall.sys.swap import SWAP_FLAG
from rsyscall.sys.sysinfo import Sysinfo
from rsyscall.thread import Thread

from .machine import DISK_BYTES
from .support import child_of, contents, drop_capabilities, opened

pytestmark = pytest.mark.slow

USER = 1234


async def test_swapon_and_swapoff(thread: Thread, disks: list[str]) -> None:
    task, disk = thread.task, await thread.ptr(disks[0])

    async def space() -> int:
        info = await (await task.sysinfo(await thread.malloc(Sysinfo))).read()
        return info.totalswap * info.mem_unit

    with pytest.raises(OSError, match="Invalid argument") as caught:
        await task.swapon(disk)
    assert caught.value.filename == disks[0]
    await thread.run((await thread.environ.which("mkswap")).args(disks[0]))
    await task.swapon(disk, SWAP_FLAG.PREFER | 5)
    try:
        assert await space() == DISK_BYTES - 4096
        [line] = (await contents(thread, "/proc/swaps")).splitlines()[1:]
        assert (line.split()[0], line.split()[-1]) == (disks[0], "5")
        with pytest.raises(OSError, match="busy"):
            await task.swapon(disk)
    finally:
        await task.swapoff(disk)
    assert await space() == 0
    with pytest.raises(OSError, match="Invalid argument"):
        await task.swapoff(disk)


async def fill(thread: Thread, path: str) -> int:
    """Write a file as the user until that is denied, or to 128 KiB; returns how many bytes there were."""
    async with child_of(thread) as child:
        file = await opened(child, path, O.WRONLY | O.CREAT)
        await file.fchown(USER, USER)
        # A process with CAP_SYS_RESOURCE is not limited.
        await drop_capabilities(child)
        size = 0
        try:
            while size < 128 << 10:
                written, _ = await file.write(await child.ptr(bytes(16384)))
                size += written.size()
        except OSError as error:
            assert error.errno == errno.EDQUOT  # noqa: PT017 (or none)
        return size


@pytest.fixture
async def limited(thread: Thread, disks: list[str]) -> AsyncIterator[str]:
    """Where a file system with quotas is mounted, which is on a disk. It counts, and limits nothing yet."""
    disk = await thread.ptr(disks[1])
    async with await opened(thread, "/ext4") as image, await opened(thread, disks[1], O.WRONLY) as to:
        while await to.sendfile(image, None, DISK_BYTES):
            pass
    async with await mkdtemp(thread) as directory:
        where = await thread.ptr(directory)
        await thread.task.mount(disk, where, await thread.ptr("ext4"), MS.NONE, await thread.ptr(""))
        try:
            await thread.task.chmod(where, 0o777)
            yield str(directory)
        finally:
            await thread.task.umount(where)


async def test_quotactl(thread: Thread, disks: list[str], limited: str) -> None:
    """The file system is named by its disk."""
    task, disk = thread.task, await thread.ptr(disks[1])
    room = await thread.malloc(IfDqblk)
    kind = await task.quotactl(Q.GETFMT, QUOTA.USR, disk, 0, await thread.malloc(Int32))
    assert int(await kind.read()) == QFMT.VFS_V1
    limits = IfDqblk(bhardlimit=64, valid=QIF.BLIMITS)
    await task.quotactl(Q.SETQUOTA, QUOTA.USR, disk, USER, await thread.ptr(limits))
    await task.quotactl(Q.QUOTAON, QUOTA.USR, disk, QFMT.VFS_V1)
    assert await fill(thread, f"{limited}/limited") == 64 << 10
    await task.quotactl(Q.SYNC, QUOTA.USR, disk)
    found = await (await task.quotactl(Q.GETQUOTA, QUOTA.USR, disk, USER, room)).read()
    assert (found.bhardlimit, found.curspace, found.curinodes) == (64, 64 << 10, 1)
    following = await task.quotactl(Q.GETNEXTQUOTA, QUOTA.USR, disk, 1, await thread.malloc(IfNextdqblk))
    assert (await following.read()).id == USER
    await task.quotactl(Q.QUOTAOFF, QUOTA.USR, disk)
    assert await fill(thread, f"{limited}/unlimited") == 128 << 10
    with pytest.raises(OSError, match="No such device") as caught:
        await task.quotactl(Q.GETQUOTA, QUOTA.USR, await thread.ptr(disks[0]), USER, room)
    assert caught.value.filename == (disks[0], Q.GETQUOTA, USER)


async def test_quotactl_fd(thread: Thread, limited: str) -> None:
    """The file system is named by a file in it."""
    async with await opened(thread, limited) as fd:
        await fd.quotactl_fd(Q.QUOTAON, QUOTA.USR, QFMT.VFS_V1)
        limits = await thread.ptr(IfDqblk(bhardlimit=16, valid=QIF.BLIMITS))
        await fd.quotactl_fd(Q.SETQUOTA, QUOTA.USR, USER, limits)
        assert await fill(thread, f"{limited}/file") == 16 << 10
        room = await fd.quotactl_fd(Q.GETQUOTA, QUOTA.USR, USER, await thread.malloc(IfDqblk))
        found = await room.read()
        assert (found.bhardlimit, found.curspace, found.valid) == (16, 16 << 10, QIF.ALL)
        times = await thread.ptr(IfDqinfo(bgrace=100, valid=IIF.BGRACE))
        await fd.quotactl_fd(Q.SETINFO, QUOTA.USR, 0, times)
        info = await (await fd.quotactl_fd(Q.GETINFO, QUOTA.USR, 0, await thread.malloc(IfDqinfo))).read()
        assert info.bgrace == 100
        with pytest.raises(OSError, match="No such process") as caught:
            await fd.quotactl_fd(Q.GETINFO, QUOTA.GRP, 0, await thread.malloc(IfDqinfo))
        assert caught.value.filename == (fd, Q.GETINFO, 0)
