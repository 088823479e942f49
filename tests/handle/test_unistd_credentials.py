"""`rsyscall.unistd.credentials`: ids, and what happens around a change of credentials."""

from __future__ import annotations

import os
import signal
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsyscall.far import AddressSpaceMismatchError, NamespaceMismatchError, PidNamespace
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.handle.process import ChildProcess
from rsyscall.near import types as near
from rsyscall.unistd import GroupList, ResIds

from .helpers import forked, no_calls, stranger
from .support import Local

NOBODY = 65534


async def test_ids_agree_with_python(local: Local) -> None:
    task = local.task
    assert await task.getuid() == os.getuid()
    assert await task.geteuid() == os.geteuid()
    assert await task.getgid() == os.getgid()
    assert await task.getegid() == os.getegid()
    assert await task.getpid() == near.Process(os.getpid())
    assert await task.gettid() == near.Process(os.getpid())
    assert await task.getppid() == near.Process(os.getppid())
    assert await task.getpgid() == near.ProcessGroup(os.getpgid(0))
    assert await task.getsid() == os.getsid(0)
    assert await task.getsid(near.Process(os.getpid())) == os.getsid(0)


async def test_three_ids(local: Local) -> None:
    assert await (await local.task.getresuid(await local.malloc(ResIds))).read() == ResIds(*os.getresuid())
    buf = await local.malloc(ResIds)
    assert await local.task.getresgid(buf) is buf
    assert await buf.read() == ResIds(*os.getresgid())


@forked
async def test_session(local: Local, tmp_path: Path) -> None:
    assert await local.task.setsid() == os.getpid() == os.getsid(0) == os.getpgid(0)
    with pytest.raises(PermissionError):
        await local.task.setsid()


@forked
async def test_own_process_group(local: Local, tmp_path: Path) -> None:
    await local.task.setpgid()
    assert os.getpgid(0) == os.getpid()


@forked
async def test_process_group_of_a_child(local: Local, tmp_path: Path) -> None:
    """The group that is joined is the child's, not our own."""
    receiver, sender = os.pipe()
    pid = os.fork()
    if not pid:
        os.setpgid(0, 0)
        os.write(sender, b"x")
        signal.pause()
    os.read(receiver, 1)
    child = ChildProcess(local.task, near.Process(pid))
    await local.task.setpgid(child)
    assert os.getpgid(0) == pid
    os.kill(pid, signal.SIGKILL)


@forked
async def test_process_group_errors(local: Local, tmp_path: Path) -> None:
    child = ChildProcess(local.task, near.Process(1))
    with pytest.raises(PermissionError) as info:
        await local.task.setpgid(child)
    assert info.value.filename is child
    with pytest.raises(ProcessLookupError) as info:
        await local.task.getsid(2**22)
    assert info.value.filename == 2**22


async def test_process_group_of_another_pid_namespace_is_refused(local: Local) -> None:
    other = Local.make()
    other.task.pidns = PidNamespace(0)
    child = ChildProcess(other.task, near.Process(1))
    with no_calls(local.task), pytest.raises(NamespaceMismatchError):
        await local.task.setpgid(child)


async def test_process_group_of_a_dead_child_is_refused(local: Local) -> None:
    """The kernel may have reused its number by now."""
    child = ChildProcess(local.task, near.Process(1), alive=False)
    with no_calls(local.task), pytest.raises(Exception, match="dead"):
        await local.task.setpgid(child)


@pytest.mark.needs("any user id")
@forked
async def test_groups(local: Local, tmp_path: Path) -> None:
    await local.task.setgroups(await local.ptr(GroupList([5, 4_000_000_000])))
    assert os.getgroups() == [5, 4_000_000_000]
    assert await local.task.getgroups() == 2
    valid, rest = await local.task.getgroups(await local.malloc(GroupList, 100))
    assert await valid.read() == [5, 4_000_000_000]
    assert (valid.size(), rest.size()) == (8, 92)
    small, _ = (valid + rest).split(4)
    with pytest.raises(OSError, match="Invalid argument"):
        await local.task.getgroups(small)
    none, _ = small.split(3)
    with pytest.raises(OSError, match="Invalid argument"):
        await local.task.getgroups(none)
    await local.task.setgroups(await local.ptr(GroupList()))
    assert os.getgroups() == []
    valid, rest = await local.task.getgroups(none)
    assert (valid.size(), rest.size()) == (0, 3)


@pytest.mark.needs("other users")
@forked
async def test_groups_are_as_many_as_the_list_has(local: Local, tmp_path: Path) -> None:
    """The memory may be larger than what is in it, but not smaller."""
    buf = await local.malloc(GroupList, 18)
    await local.task.setgroups(await buf.write(GroupList([1000])))
    assert os.getgroups() == [1000]
    short, _ = (await local.malloc(GroupList, 8)).split(7)
    with no_calls(local.task), pytest.raises(BufferTooSmallError):
        await local.task.setgroups(short.wrote(GroupList([1, 2])))


@pytest.mark.needs("other users")
@forked
async def test_each_way_to_change_users_and_groups(local: Local, tmp_path: Path) -> None:
    task = local.task
    await task.setresgid(10, 20, 30)
    assert os.getresgid() == (10, 20, 30)
    await task.setresgid(-1, 21, -1)
    assert os.getresgid() == (10, 21, 30)
    await task.setregid(-1, 22)
    assert os.getresgid() == (10, 22, 22)
    await task.setgid(40)
    assert os.getresgid() == (40, 40, 40)
    await task.setresuid(0, 0, 10)
    assert os.getresuid() == (0, 0, 10)
    await task.setreuid(0, -1)
    assert os.getresuid() == (0, 0, 0)
    await task.setuid(NOBODY)
    assert os.getresuid() == (NOBODY, NOBODY, NOBODY)


@pytest.mark.needs("other users")
@forked
async def test_refusals_name_the_numbers(local: Local, tmp_path: Path) -> None:
    await local.task.setresuid(NOBODY, NOBODY, NOBODY)
    for call, numbers, filename in [
        (local.task.setuid, (0,), 0),
        (local.task.setgid, (1,), 1),
        (local.task.setreuid, (0, 0), (0, 0)),
        (local.task.setregid, (1, 1), (1, 1)),
        (local.task.setresuid, (0, -1, 0), (0, -1, 0)),
        (local.task.setresgid, (1, 2, 3), (1, 2, 3)),
    ]:
        with pytest.raises(PermissionError) as info:
            await call(*numbers)  # type: ignore[operator]  # methods with different signatures
        assert info.value.filename == filename
    groups = await local.ptr(GroupList([1]))
    with pytest.raises(PermissionError) as info:
        await local.task.setgroups(groups)
    assert info.value.filename == [1]


@pytest.mark.needs("other users")
@forked
async def test_refused_change_is_no_change(local: Local, tmp_path: Path) -> None:
    os.setresuid(NOBODY, NOBODY, NOBODY)
    with pytest.raises(PermissionError):
        await local.task.setuid(0)


@given(st.lists(st.integers(0, 2**32 - 1)))
def test_groups_survive_serialisation(groups: list[int]) -> None:
    assert GroupList.from_bytes(GroupList(groups).to_bytes()) == groups


def test_ids_are_unsigned() -> None:
    ids = ResIds(0, 2**32 - 2, 7)
    assert ResIds.from_bytes(ids.to_bytes()) == ids
    assert ids.to_bytes() == struct.pack("III", 0, 2**32 - 2, 7)
    assert ResIds.sizeof() == 12


async def test_misuse_raises_before_any_call(local: Local) -> None:
    foreign: Any = await stranger().ptr(GroupList([1, 2, 3]))
    freed: Any = await local.ptr(GroupList([1, 2, 3]))
    freed.free()
    task = local.task
    with no_calls(task):
        for bad, error in ((foreign, AddressSpaceMismatchError), (freed, UseAfterFreeError)):
            for call in (task.getresuid, task.getresgid, task.getgroups, task.setgroups):
                with pytest.raises(error):
                    await call(bad)
        small, _ = (await local.malloc(ResIds)).split(11)
        for read in (task.getresuid, task.getresgid):
            with pytest.raises(ValueError, match="12 bytes"):
                await read(small)
