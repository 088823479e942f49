"""`rsyscall.fcntl`: flags, and fcntl on real files."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsyscall.far import AddressSpaceMismatchError
from rsyscall.fcntl import (
    AT,
    DN,
    F_LCK,
    F_OWNER,
    F_SEAL,
    FD,
    FD_ROOT,
    PIDFD_SELF,
    Delegation,
    F,
    Flock,
    O,
    OwnerEx,
    decode_open_flags,
    encode_open_flags,
)
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.handle.fd import InvalidHandleError
from rsyscall.linux.memfd import MFD
from rsyscall.near import SyscallSendError, native_abi
from rsyscall.near.abi import ABIS
from rsyscall.sched import CLONE, UNSHARE_EMPTY_MNTNS
from rsyscall.unistd import Pipe

from .helpers import forked, no_calls, stranger
from .support import Local, null_fds


def test_values_agree_with_the_c_library() -> None:
    for name, flag in O.__members__.items():
        if hasattr(os, f"O_{name}") and name != "LARGEFILE":
            assert getattr(os, f"O_{name}") == flag, name
    assert AT.FDCWD == -100
    assert int(AT.REMOVEDIR | AT.SYMLINK_NOFOLLOW) == 0x300


def test_no_member_of_o_hides_rdonly() -> None:
    assert "NONE" not in O.__members__
    assert O(0) is O.RDONLY


# Flags of open(2): three exclusive values, and bits.
open_flags = st.sets(st.sampled_from(sorted(set(O) - {O.ACCMODE}))).map(
    lambda flags: O(sum(set().union(*({1 << b for b in range(32) if f >> b & 1} for f in flags))))
)


@pytest.mark.parametrize("name", list(ABIS))
@given(flags=open_flags)
def test_flags_survive_translation(name: str, flags: O) -> None:
    abi = ABIS[name]
    assert decode_open_flags(abi, encode_open_flags(abi, flags)) == flags


def test_flags_are_translated_to_other_architectures() -> None:
    aarch64, x86_64 = ABIS["aarch64"], ABIS["x86_64"]
    assert encode_open_flags(aarch64, O.DIRECTORY | O.CLOEXEC | O.RDWR) == 0o40000 | 0o2000000 | 2
    assert encode_open_flags(aarch64, O.TMPFILE) == 0o20040000
    assert encode_open_flags(aarch64, O.NOFOLLOW | O.DIRECT | O.LARGEFILE) == 0o100000 | 0o200000 | 0o400000
    assert encode_open_flags(x86_64, O.DIRECTORY | O.NOFOLLOW) == 0o200000 | 0o400000
    # one architecture's O_DIRECTORY is another one's O_DIRECT
    assert decode_open_flags(aarch64, 0o40000) == O.DIRECTORY
    assert encode_open_flags(native_abi(), O.DIRECT) == O.DIRECT


async def test_descriptor_flags(local: Local) -> None:
    (fd,) = null_fds(local.task, 1)
    assert await fd.fcntl(F.GETFD) == FD.CLOEXEC
    await fd.fcntl(F.SETFD, 0)
    assert os.get_inheritable(int(fd))
    await fd.fcntl(F.SETFD, FD.CLOEXEC)
    assert not os.get_inheritable(int(fd))


async def test_file_flags(local: Local) -> None:
    (fd,) = null_fds(local.task, 1)
    assert O(await fd.fcntl(F.GETFL)) & O.ACCMODE == O.RDWR
    await fd.fcntl(F.SETFL, O.NONBLOCK | O.APPEND)
    flags = O(await fd.fcntl(F.GETFL))
    assert flags & O.NONBLOCK
    assert flags & O.APPEND


async def test_dupfd_returns_a_number_that_can_be_owned(local: Local) -> None:
    (fd,) = null_fds(local.task, 1)
    number = await fd.fcntl(F.DUPFD_CLOEXEC, 100)
    assert number >= 100
    assert not os.get_inheritable(number)
    os.close(number)


async def test_pipe_size(local: Local) -> None:
    pipe = await (await local.task.pipe(await local.malloc(Pipe))).read()
    assert await pipe.write.fcntl(F.SETPIPE_SZ, 4096) == 4096
    assert await pipe.read.fcntl(F.GETPIPE_SZ) == 4096


async def test_seals(local: Local) -> None:
    fd = await local.task.memfd_create(await local.ptr("sealed"), MFD.ALLOW_SEALING)
    assert await fd.fcntl(F.GET_SEALS) & ~F_SEAL.EXEC == 0
    await fd.fcntl(F.ADD_SEALS, F_SEAL.GROW | F_SEAL.SEAL)
    assert await fd.fcntl(F.GET_SEALS) & ~F_SEAL.EXEC == F_SEAL.GROW | F_SEAL.SEAL
    with pytest.raises(PermissionError) as info:
        await fd.fcntl(F.ADD_SEALS, F_SEAL.WRITE)
    assert info.value.filename == (fd, F.ADD_SEALS, F_SEAL.WRITE)
    with pytest.raises(PermissionError):
        await fd.ftruncate(100)


async def test_locks_through_memory(local: Local, tmp_path: Path) -> None:
    path = await local.ptr(tmp_path / "locked")
    first = await local.task.open(path, O.RDWR | O.CREAT)
    second = await local.task.open(path, O.RDWR)
    lock = await local.ptr(Flock(F_LCK.WR, 0, 10, 5))
    await first.fcntl(F.OFD_SETLK, lock)
    with pytest.raises(OSError, match="unavailable") as info:
        await second.fcntl(F.OFD_SETLK, lock)
    assert info.value.errno == errno.EAGAIN
    assert info.value.filename == (second, F.OFD_SETLK, lock)
    question = await local.ptr(Flock(F_LCK.RD, 0, 0, 0))
    await second.fcntl(F.OFD_GETLK, question)
    found = await question.read()
    assert (found.type, found.start, found.len, found.pid) == (F_LCK.WR, 10, 5, -1)
    await first.fcntl(F.OFD_SETLK, await local.ptr(Flock(F_LCK.UN)))
    await second.fcntl(F.OFD_SETLK, lock)


async def test_owner_of_signals(local: Local) -> None:
    pipe = await (await local.task.pipe(await local.malloc(Pipe))).read()
    await pipe.read.fcntl(F.SETOWN_EX, await local.ptr(OwnerEx(F_OWNER.PID, os.getpid())))
    buf = await local.malloc(OwnerEx)
    await pipe.read.fcntl(F.GETOWN_EX, buf)
    assert await buf.read() == OwnerEx(F_OWNER.PID, os.getpid())
    assert await pipe.read.fcntl(F.GETOWN) == os.getpid()
    await pipe.read.fcntl(F.SETOWN, 0)


async def test_a_process_group_that_gets_the_signals(local: Local) -> None:
    pipe = await (await local.task.pipe(await local.malloc(Pipe))).read()
    assert await pipe.read.fcntl(F.GETOWN) == 0
    await pipe.read.fcntl(F.SETOWN, -os.getpgrp())
    assert await pipe.read.fcntl(F.GETOWN) == -os.getpgrp()
    await pipe.read.fcntl(F.SETOWN, 0)


@pytest.mark.needs("privileged pid namespaces")
@forked
async def test_groups_whose_numbers_are_errors(local: Local, tmp_path: Path) -> None:
    await local.task.unshare(CLONE.NEWPID)
    low_numbers(tmp_path)


@forked
async def low_numbers(local: Local, tmp_path: Path) -> None:
    assert os.getpid() == 1
    pipe = await (await local.task.pipe(await local.malloc(Pipe))).read()
    while (pid := os.fork()) < errno.EBADF + 2:
        if not pid:
            signal.pause()
        os.setpgid(pid, pid)
        await pipe.read.fcntl(F.SETOWN, -pid)
        assert await pipe.read.fcntl(F.GETOWN) == -pid
        await pipe.read.fcntl(F.SETOWN, pid)
        assert await pipe.read.fcntl(F.GETOWN) == pid
    # real errors stay errors
    path_only = await local.task.open(await local.ptr("/"), O.PATH)
    with pytest.raises(OSError, match="Bad file descriptor") as info:
        await path_only.fcntl(F.GETOWN)
    assert info.value.filename == (path_only, F.GETOWN, None)


@pytest.mark.parametrize(
    ("command", "size"),
    [
        *((command, 32) for command in (F.GETLK, F.SETLK, F.SETLKW)),
        *((command, 32) for command in (F.OFD_GETLK, F.OFD_SETLK, F.OFD_SETLKW)),
        *((command, 8) for command in (F.SETOWN_EX, F.GETOWN_EX, F.GETOWNER_UIDS)),
        *((command, 8) for command in (F.GET_RW_HINT, F.SET_RW_HINT)),
        *((command, 8) for command in (F.GET_FILE_RW_HINT, F.SET_FILE_RW_HINT)),
    ],
)
async def test_memory_that_is_too_small_is_refused(local: Local, command: F, size: int) -> None:
    (fd,) = null_fds(local.task, 1)
    room = await local.malloc(bytes, size - 1)
    with no_calls(local.task):
        with pytest.raises(BufferTooSmallError) as info:
            await fd.fcntl(command, room)
        assert info.value.args == (size - 1, size)
        with pytest.raises(SyscallSendError):
            await fd.fcntl(command, await local.malloc(bytes, size))


@given(st.builds(Flock, st.sampled_from(F_LCK), st.integers(0, 4), st.integers(0), st.integers(0, 2**62)))
def test_flock_survives_serialisation(lock: Flock) -> None:
    if lock.start < 2**63:
        assert Flock.from_bytes(lock.to_bytes()) == lock
        assert len(lock.to_bytes()) == Flock.sizeof() == 32


async def test_errors_name_descriptor_command_and_argument(local: Local) -> None:
    (fd,) = null_fds(local.task, 1)
    with pytest.raises(OSError, match="Invalid argument") as info:
        await fd.fcntl(F.GET_SEALS)
    assert info.value.errno == errno.EINVAL
    assert info.value.filename == (fd, F.GET_SEALS, None)
    with pytest.raises(OSError, match="Not a directory") as info:
        await fd.fcntl(F.NOTIFY, DN.CREATE)
    assert info.value.filename == (fd, F.NOTIFY, DN.CREATE)


async def test_misuse_raises_before_any_call(local: Local) -> None:
    (fd,) = null_fds(local.task, 1)
    foreign = await stranger().ptr(Flock(F_LCK.WR))
    freed = await local.ptr(Flock(F_LCK.WR))
    freed.free()
    with no_calls(local.task):
        with pytest.raises(AddressSpaceMismatchError):
            await fd.fcntl(F.SETLK, foreign)
        with pytest.raises(UseAfterFreeError):
            await fd.fcntl(F.SETLK, freed)
    await fd.close()
    with no_calls(local.task), pytest.raises(InvalidHandleError):
        await fd.fcntl(F.GETFD)


def test_flags_of_the_newest_kernels() -> None:
    assert O(0x4000000) is O.EMPTYPATH is O.FMODE_NONOTIFY
    assert (F.GETDELEG, F.SETDELEG) == (1039, 1040)


async def test_delegation(local: Local, tmp_path: Path) -> None:
    directory = await local.task.open(await local.ptr(tmp_path), O.RDONLY | O.DIRECTORY)
    for cmd in (F.GETDELEG, F.SETDELEG):
        with pytest.raises(BufferTooSmallError):
            await directory.fcntl(cmd, await local.malloc(bytes, Delegation.sizeof() - 1))
    buf = await local.ptr(Delegation())
    if tuple(map(int, os.uname().release.split(".")[:2])) < (6, 19):
        with pytest.raises(OSError, match="Invalid argument") as caught:
            await directory.fcntl(F.GETDELEG, buf)
        assert caught.value.filename == (directory, F.GETDELEG, buf)
    else:
        await directory.fcntl(F.GETDELEG, buf)
        assert await buf.read() == Delegation(type=F_LCK.UN)
        await directory.fcntl(F.SETDELEG, await local.ptr(Delegation(type=F_LCK.RD)))
        await directory.fcntl(F.GETDELEG, buf)
        assert await buf.read() == Delegation(type=F_LCK.RD)
    await directory.close()


def test_numbers_in_the_place_of_a_descriptor() -> None:
    """They are neither AT_FDCWD nor an error, and no two are the same."""
    numbers = [*FD_ROOT, *PIDFD_SELF]
    assert sorted(numbers) == list(range(-10004, -9999))
    assert UNSHARE_EMPTY_MNTNS == 0x100000
