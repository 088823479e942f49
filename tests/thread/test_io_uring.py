"""An io_uring of another process, which we fill and read through pointers into its memory."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import re
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support import assert_thread_works, local_thread, pid_of

from rsyscall.fcntl import AT, O
from rsyscall.handle import FileDescriptor, ReadablePointer, UseAfterFreeError
from rsyscall.linux.io_uring import (
    IORING_ENTER,
    IORING_FEAT,
    IORING_OP,
    IORING_SETUP,
    IoUringParams,
    IoUringRings,
    IoUringSqe,
)
from rsyscall.near import types as near
from rsyscall.struct import Int32
from rsyscall.thread import ChildThread


@pytest.fixture(params=["sharing", "own"])
def own_memory(request: pytest.FixtureRequest) -> bool:
    """Whether the child has memory of its own."""
    return bool(request.param == "own")


async def set_up(
    child: ChildThread, entries: int, flags: IORING_SETUP = IORING_SETUP.NONE
) -> tuple[FileDescriptor, ReadablePointer[IoUringParams]]:
    params = await child.ptr(IoUringParams(flags=flags))
    try:
        return await child.task.io_uring_setup(entries, params)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):
            pytest.skip("kernel: io_uring is missing or denied")
        raise


@contextlib.asynccontextmanager
async def with_rings(
    own_memory: bool, entries: int
) -> AsyncIterator[tuple[ChildThread, FileDescriptor, IoUringRings]]:
    child = await local_thread.clone(own_memory=own_memory)
    async with child.process:
        ring, answer = await set_up(child, entries)
        rings = await IoUringRings.mmap(ring, answer)
        yield child, ring, rings
        await rings.munmap()
        await ring.close()
        await assert_thread_works(child)


def mappings_of_rings(pid: int) -> int:
    return Path(f"/proc/{pid}/maps").read_text().count("[io_uring]")


async def test_single_members(own_memory: bool) -> None:
    """By hand, as the manual page says: entry, place in the array, tail, call, completion."""
    async with with_rings(own_memory, 4) as (child, ring, rings):
        assert (rings.params.sq_entries, rings.params.cq_entries) == (4, 8)
        assert rings.params.features & IORING_FEAT.SINGLE_MMAP
        pipe = await child.pipe()
        data = await child.ptr(b"through a ring")
        entry = IoUringSqe(
            opcode=IORING_OP.WRITE, fd=int(pipe.write), addr=int(data.near), len=data.size(), user_data=77
        )
        written = await rings.sqe(3).write(entry)
        assert await rings.sqe(3).read() == entry == await written.read()
        await rings.sq_array(0).write(Int32(3))
        await rings.sq_tail().write(Int32(1))
        assert await rings.cq_tail().read() == 0
        assert await ring.io_uring_enter(1, 1, IORING_ENTER.GETEVENTS) == 1
        assert (await rings.sq_head().read(), await rings.cq_tail().read()) == (1, 1)
        done = await rings.cqe(0).read()
        assert (done.user_data, done.res) == (77, 14)
        await rings.cq_head().write(Int32(1))
        arrived, _ = await pipe.read.read(await child.malloc(bytes, 20))
        assert await arrived.read() == b"through a ring"
        assert await rings.reap() == []


async def call(ring: FileDescriptor, rings: IoUringRings, *entries: IoUringSqe) -> dict[int, int]:
    """Queue, submit and wait for the entries; the results by `user_data`."""
    count = await rings.queue(*entries)
    assert await ring.io_uring_enter(count, count, IORING_ENTER.GETEVENTS) == count
    return {done.user_data: done.res for done in await rings.reap()}


async def test_files_and_failures(own_memory: bool, tmp_path: Path) -> None:
    async with with_rings(own_memory, 4) as (child, ring, rings):
        path = await child.ptr(tmp_path / "file")
        opening = IoUringSqe(
            opcode=IORING_OP.OPENAT,
            fd=AT.FDCWD,
            addr=int(path.near),
            len=0o600,
            rw_flags=O.RDWR | O.CREAT | O.CLOEXEC,
            user_data=1,
        )
        failing = IoUringSqe(opcode=IORING_OP.CLOSE, fd=100_000, user_data=2)
        results = await call(ring, rings, opening, failing)
        assert results[2] == -errno.EBADF
        assert results[1] >= 0
        file = child.task.make_fd_handle(near.FileDescriptor(results[1]))
        data, buffer = await child.ptr(b"contents"), await child.malloc(bytes, 5)
        writing = IoUringSqe(opcode=IORING_OP.WRITE, fd=int(file), addr=int(data.near), len=8, user_data=3)
        assert await call(ring, rings, writing) == {3: 8}
        assert (tmp_path / "file").read_bytes() == b"contents"
        reading = IoUringSqe(
            opcode=IORING_OP.READ, fd=int(file), addr=int(buffer.near), len=5, off=3, user_data=4
        )
        assert await call(ring, rings, reading) == {4: 5}
        assert await buffer.read() == b"tents"
        await file.close()


async def test_more_than_the_ring_has_room_for(own_memory: bool) -> None:
    """Positions go round, and what has no room is refused whole."""
    async with with_rings(own_memory, 2) as (_, ring, rings):
        for round in range(5):
            numbers = [10 * round, 10 * round + 1]
            entries = [IoUringSqe(opcode=IORING_OP.NOP, user_data=number) for number in numbers]
            assert await rings.queue(entries[0]) == 1
            with pytest.raises(ValueError, match="no room for 2 entries: 1 of 2 wait"):
                await rings.queue(*entries)
            assert await call(ring, rings, entries[1]) == dict.fromkeys(numbers, 0)


async def test_counts_wrap(own_memory: bool) -> None:
    """Heads and tails are unsigned in 32 bits; a Python number is neither."""
    async with with_rings(own_memory, 2) as (_, _, rings):
        for count in (2**31 - 1, 2**32 - 1):
            signed = Int32(count - 2**32 if count >= 2**31 else count)
            await rings.sq_head().write(signed)
            await rings.sq_tail().write(signed)
            assert await rings.queue(*[IoUringSqe(opcode=IORING_OP.NOP)] * 2) == 2
            assert (int(await rings.sq_tail().read()) - count) % 2**32 == 2
            assert [await rings.sq_array(count + i).read() for i in range(2)] == [1, 0]


async def test_counts_that_contradict_each_other(own_memory: bool) -> None:
    async with with_rings(own_memory, 2) as (_, _, rings):
        await rings.sq_tail().write(Int32(3))
        with pytest.raises(ValueError, match="head 0 and tail 3 are of no ring with 2 entries"):
            await rings.queue(IoUringSqe())
        await rings.cq_head().write(Int32(1))
        with pytest.raises(ValueError, match="head 1 and tail 0 are of no ring with 4 entries"):
            await rings.reap()


async def test_nothing_is_used_after_munmap(own_memory: bool) -> None:
    child = await local_thread.clone(own_memory=own_memory)
    async with child.process:
        pid = pid_of(child)
        before = mappings_of_rings(pid)
        ring, answer = await set_up(child, 2)
        rings = await IoUringRings.mmap(ring, answer)
        assert mappings_of_rings(pid) == before + 2
        pointers = [rings.sq_head(), rings.sq_array(1), rings.cq_tail()]
        await rings.munmap()
        assert mappings_of_rings(pid) == before
        for pointer in pointers:
            with pytest.raises(UseAfterFreeError):
                await pointer.read()
            with pytest.raises(UseAfterFreeError):
                await pointer.write(Int32(1))
        with pytest.raises(UseAfterFreeError):
            await rings.sqe(0).read()
        with pytest.raises(UseAfterFreeError):
            await rings.queue(IoUringSqe())
        with pytest.raises(UseAfterFreeError):
            await rings.reap()
        with pytest.raises(UseAfterFreeError):
            await rings.munmap()


async def test_parts_stay_within_the_mapping(own_memory: bool) -> None:
    async with with_rings(own_memory, 2) as (_, _, rings):
        left, right = rings.sqe(1).split(16)
        assert (int(left.near) + 16, left.size(), right.size()) == (int(right.near), 16, 48)
        assert (left + right).size() == 64
        with pytest.raises(ValueError, match="not fit"):
            await rings.sq_array(0).split(2)[0].write(Int32(1))
        beyond = dataclasses.replace(rings.params.sq_off, array=rings.ring.near.length - 2)
        lying = IoUringRings(
            dataclasses.replace(rings.params, sq_off=beyond),
            rings.ring,
            rings.sqes,
            rings.sq_head().transport,
        )
        with pytest.raises(ValueError, match="not inside"):
            lying.sq_array(0)


async def test_what_is_not_supported(own_memory: bool) -> None:
    child = await local_thread.clone(own_memory=own_memory)
    async with child.process:
        ring, answer = await set_up(child, 2)
        good = await answer.read()
        before = mappings_of_rings(pid_of(child))
        for bad, why in (
            (dataclasses.replace(good, flags=IORING_SETUP.SQE128), "rings of this kind"),
            (dataclasses.replace(good, features=IORING_FEAT.NONE), "SINGLE_MMAP"),
            (dataclasses.replace(good, sq_entries=0), "power of two"),
            (dataclasses.replace(good, cq_entries=3), "power of two"),
        ):
            with pytest.raises(ValueError, match=why):
                await IoUringRings.mmap(ring, (await child.ptr(bad)).unsafe())
        assert mappings_of_rings(pid_of(child)) == before
        await ring.close()


async def test_the_first_mapping_goes_when_the_second_fails(own_memory: bool) -> None:
    child = await local_thread.clone(own_memory=own_memory)
    async with child.process:
        pid = pid_of(child)
        ring, answer = await set_up(child, 2)
        good = await answer.read()
        # 4 GiB for the ring, for which there is room, and 64 GiB for the entries. Nothing touches either.
        large = dataclasses.replace(good, sq_entries=1 << 30)
        used = int(re.findall(r"VmSize:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[0]) << 10
        before = mappings_of_rings(pid)
        limits = resource.prlimit(pid, resource.RLIMIT_AS)
        params = (await child.ptr(large)).unsafe()
        resource.prlimit(pid, resource.RLIMIT_AS, (used + (16 << 30), limits[1]))
        try:
            with pytest.raises(OSError) as caught:
                await IoUringRings.mmap(ring, params)
        finally:
            resource.prlimit(pid, resource.RLIMIT_AS, limits)
        # Older kernels refuse the first one, which is larger than the ring.
        assert caught.value.errno in (errno.ENOMEM, errno.EINVAL)
        assert mappings_of_rings(pid) == before
        await ring.close()
