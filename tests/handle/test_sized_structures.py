"""Structures of which the kernel is told the size: with fewer members than ours, and with more.

A program for a newer kernel adds members. The kernel takes those that it does not know if they are 0, and
refuses others with E2BIG; what is missing in a shorter structure counts as 0.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from rsyscall.cstruct import CStruct
from rsyscall.fcntl import AT, O
from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.linux.landlock import LANDLOCK_ACCESS_FS, RulesetAttr
from rsyscall.linux.openat2 import OpenHow
from rsyscall.sched import CLONE, SCHED, CloneArgs, SchedAttr, _clone3
from rsyscall.signal import SIG
from rsyscall.sys.mount import MountAttr
from rsyscall.sys.stat import STATX, Statx

from .helpers import forked, no_calls
from .support import Local

MORE = 64
"""How many bytes a later kernel might add."""


async def longer(local: Local, value: CStruct, tail: bytes = bytes(MORE)) -> Any:
    """Memory with a structure of ours and more behind it, as a class with more members would write it."""
    return await local.ptr(value.to_bytes() + tail)


async def test_openat2(local: Local, tmp_path: Path) -> None:
    path = await local.ptr(tmp_path / "file")
    how = OpenHow(O.RDWR | O.CREAT, 0o600)
    async with await local.task.openat2(path, await longer(local, how)) as file:
        assert os.path.samestat(os.fstat(int(file.near)), (tmp_path / "file").stat())
    with pytest.raises(OSError) as caught:
        await local.task.openat2(path, await longer(local, how, b"\1" * MORE))
    assert caught.value.errno == errno.E2BIG
    # The kernel has never known a shorter one.
    short, _ = (await local.ptr(how.to_bytes())).split(16)
    short_how: Any = short
    with pytest.raises(BufferTooSmallError):
        await local.task.openat2(path, short_how)


async def test_mount_setattr(local: Local) -> None:
    missing = await local.ptr("/does/not/exist")
    for tail, error in ((bytes(MORE), errno.ENOENT), (b"\1" * MORE, errno.E2BIG)):
        with pytest.raises(OSError) as caught:
            await local.task.mount_setattr(missing, AT.NONE, await longer(local, MountAttr(attr_set=1), tail))
        assert caught.value.errno in (error, errno.EPERM)


async def test_landlock_create_ruleset(local: Local) -> None:
    attr = RulesetAttr(LANDLOCK_ACCESS_FS.EXECUTE)
    try:
        await (await local.task.landlock_create_ruleset(await longer(local, attr))).close()
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP):
            pytest.skip("kernel: Landlock is switched off")
        raise
    with pytest.raises(OSError) as caught:
        await local.task.landlock_create_ruleset(await longer(local, attr, b"\1" * MORE))
    assert caught.value.errno == errno.E2BIG
    # As many members as Linux 5.13 had, 6.7 and 6.12.
    for size in 8, 16, 24:
        first, _ = (await local.ptr(attr)).split(size)
        await (await local.task.landlock_create_ruleset(first)).close()
    too_short, _ = (await local.ptr(attr)).split(7)
    with pytest.raises(BufferTooSmallError):
        await local.task.landlock_create_ruleset(too_short)


async def test_statx(local: Local, tmp_path: Path) -> None:
    """The kernel fills all that it knows, 256 bytes; what is behind that is left alone."""
    room: Any = await local.ptr(b"\5" * (Statx.sizeof() + MORE))
    await local.task.statx(await local.ptr(tmp_path), AT.NONE, STATX.BASIC_STATS, room)
    data = await room.read()
    assert Statx.from_bytes(data[: Statx.sizeof()]).ino == tmp_path.stat().st_ino
    assert data[Statx.sizeof() :] == b"\5" * MORE
    # Members without a name here do not disturb those that have one.
    assert Statx.from_bytes(data).ino == tmp_path.stat().st_ino


@forked
async def test_sched_setattr(local: Local, tmp_path: Path) -> None:
    task, process = local.task, local.task.process
    # Linux 3.14 had 48 bytes.
    attr = SchedAttr(size=48, policy=SCHED.BATCH, nice=3)
    short = await local.ptr(attr.to_bytes()[:48])
    await task.sched_setattr(short)
    assert os.getpriority(os.PRIO_PROCESS, 0) == 3
    size = SchedAttr.sizeof() + MORE
    for call, nice in ((task.sched_setattr, 4), (process.sched_setattr, 5)):
        attr = SchedAttr(size=size, policy=SCHED.BATCH, nice=nice)
        await call(await longer(local, attr))
        assert os.getpriority(os.PRIO_PROCESS, 0) == nice
        unknown = await longer(local, attr, b"\1" * MORE)
        with pytest.raises(OSError) as caught:
            await call(unknown)
        assert (caught.value.errno, unknown.valid) == (errno.E2BIG, False)
        # The kernel would read behind it.
        with no_calls(task), pytest.raises(BufferTooSmallError):
            await call(await longer(local, attr, bytes(MORE - 1)))
    with no_calls(task), pytest.raises(BufferTooSmallError):
        await task.sched_setattr(await local.ptr(bytes(47)))
    # A kernel may fill more than we know, too.
    room: Any = await local.malloc(bytes, size)
    data = await (await task.sched_getattr(room)).read()
    assert SchedAttr.from_bytes(data).nice == 5


async def test_clone3(local: Local) -> None:
    """Linux 5.3 had 64 bytes."""
    args = CloneArgs(CLONE.NONE, exit_signal=SIG.CHLD)
    memory = await longer(local, args)
    for size in 64, 80, CloneArgs.sizeof(), CloneArgs.sizeof() + MORE:
        pid = (await _clone3(local.task.sysif, memory.near, size)).id
        if not pid:
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    unknown = await longer(local, args, b"\1" * MORE)
    with pytest.raises(OSError) as caught:
        await _clone3(local.task.sysif, unknown.near, unknown.size())
    assert caught.value.errno == errno.E2BIG
