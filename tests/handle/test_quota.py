"""Quotas: for real where the kernel has them for tmpfs, and otherwise the errors that the man page has."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from place import Place

from rsyscall.fcntl import O
from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.linux.dqblk_xfs import FsDiskQuota, FsQuotaStat, FsQuotaStatv
from rsyscall.sched import CLONE
from rsyscall.struct import Int32
from rsyscall.sys.mount import MS
from rsyscall.sys.quota import QFMT, QIF, QUOTA, IfDqblk, IfDqinfo, IfNextdqblk, Q

from .helpers import forked, no_calls, refused
from .support import Local


async def test_all_file_systems_are_synced(local: Local) -> None:
    error = await refused(local.task.quotactl(Q.SYNC, QUOTA.USR), errno.ENOSYS)
    assert error is None or error.filename == (None, Q.SYNC, 0)


async def test_what_is_no_file_system_with_quotas(local: Local) -> None:
    task, room = local.task, await local.malloc(IfDqblk)
    null, missing = await local.ptr("/dev/null"), await local.ptr("/no/such/device")
    for special, documented in ((null, errno.ENOTBLK), (missing, errno.ENOENT)):
        error = await refused(
            task.quotactl(Q.GETQUOTA, QUOTA.USR, special, 7, room), documented, errno.ENOSYS
        )
        assert error is not None
        assert error.filename == (special.value, Q.GETQUOTA, 7)
    async with await task.memfd_create(await local.ptr("file")) as fd:
        error = await refused(fd.quotactl_fd(Q.GETQUOTA, QUOTA.GRP, 7, room), errno.ENOSYS, errno.ESRCH)
        assert error is not None
        assert error.filename == (fd, Q.GETQUOTA, 7)
        error = await refused(fd.quotactl_fd(Q.GETFMT, 3, 0, await local.malloc(Int32)), errno.EINVAL)
        assert error is not None


async def test_memory_that_is_too_small_or_missing_is_refused(local: Local) -> None:
    task, path = local.task, await local.ptr("/dev/null")
    fd = await task.open(path, O.RDONLY)
    sizes = {
        Q.GETFMT: Int32.sizeof(),
        **dict.fromkeys((Q.GETINFO, Q.SETINFO), IfDqinfo.sizeof()),
        **dict.fromkeys((Q.GETQUOTA, Q.SETQUOTA), IfDqblk.sizeof()),
        Q.GETNEXTQUOTA: IfNextdqblk.sizeof(),
        **dict.fromkeys((Q.XQUOTAON, Q.XQUOTAOFF, Q.XQUOTARM), 4),
        **dict.fromkeys((Q.XGETQUOTA, Q.XSETQLIM, Q.XGETNEXTQUOTA), FsDiskQuota.sizeof()),
        Q.XGETQSTAT: FsQuotaStat.sizeof(),
        Q.XGETQSTATV: FsQuotaStatv.sizeof(),
    }
    assert sizes.keys() == set(Q) - {Q.SYNC, Q.QUOTAON, Q.QUOTAOFF, Q.XQUOTASYNC}
    for cmd, size in sizes.items():
        for type in QUOTA:
            small = await local.malloc(bytes, size - 1)
            for call in (task.quotactl(cmd, type, path, 0, small), fd.quotactl_fd(cmd, type, 0, small)):
                with no_calls(task), pytest.raises(BufferTooSmallError) as caught:
                    await call
                assert caught.value.args == (size - 1, size)
            for call in (task.quotactl(cmd, type, path, 0), fd.quotactl_fd(cmd, type)):
                with no_calls(task), pytest.raises(TypeError, match=cmd.name):
                    await call
    await fd.close()


def test_quotas(place: Place, tmp_path: Path) -> None:
    place.need("privileged mount namespaces")
    limited_tmpfs(tmp_path)


@forked
async def limited_tmpfs(local: Local, tmp_path: Path) -> None:
    task, where = local.task, await local.ptr(tmp_path)
    await task.unshare(CLONE.NEWNS)
    empty, root = await local.ptr(""), await local.ptr("/")
    await task.mount(empty, root, empty, MS.REC | MS.PRIVATE, empty)
    tmpfs, option = await local.ptr("tmpfs"), await local.ptr("usrquota")
    if await refused(task.mount(tmpfs, where, tmpfs, MS.NONE, option), errno.EINVAL):
        pytest.skip("kernel: it has no quotas for tmpfs")
    async with await task.open(where, O.RDONLY | O.DIRECTORY) as fd:
        kind = await fd.quotactl_fd(Q.GETFMT, QUOTA.USR, 0, await local.malloc(Int32))
        assert int(await kind.read()) == QFMT.SHMEM
        limits = IfDqblk(bhardlimit=64, valid=QIF.BLIMITS)
        await fd.quotactl_fd(Q.SETQUOTA, QUOTA.USR, 1234, await local.ptr(limits))
        found = await (await fd.quotactl_fd(Q.GETQUOTA, QUOTA.USR, 1234, await local.malloc(IfDqblk))).read()
        assert (found.bhardlimit, found.curspace, found.valid) == (64, 0, QIF.ALL)
        following = await fd.quotactl_fd(Q.GETNEXTQUOTA, QUOTA.USR, 1, await local.malloc(IfNextdqblk))
        assert (await following.read()).id == 1234
        info = await (await fd.quotactl_fd(Q.GETINFO, QUOTA.USR, 0, await local.malloc(IfDqinfo))).read()
        assert info.bgrace > 0
        (tmp_path / "file").write_bytes(b"")
        await task.chown(await local.ptr(tmp_path / "file"), 1234, 0)
        await task.setfsuid(1234)
        async with await task.open(await local.ptr(tmp_path / "file"), O.WRONLY) as file:
            with pytest.raises(OSError, match="quota exceeded"):
                while True:
                    await file.write(await local.ptr(bytes(16384)))
