"""`rsyscall.sys.mman`: mappings, and that no mapping of another owner is unmapped by mistake."""

from __future__ import annotations

import dataclasses
import mmap
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rsyscall.near
from rsyscall import far
from rsyscall.fcntl import O
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.handle.fd import InvalidHandleError
from rsyscall.linux import memfd
from rsyscall.native import fast
from rsyscall.near import SYS, SyscallHangup, UnusableSyscallInterface
from rsyscall.sys.mman import MADV, MAP, MFD, PROT, MemoryMapping

from .helpers import forked, no_calls, sharer, stranger
from .support import Local, run

PAGE = mmap.PAGESIZE
RW = PROT.READ | PROT.WRITE


def is_mapped(address: int) -> bool:
    """Whether anything is mapped at an address of this process."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(part, 16) for part in line.split()[0].split("-"))
        if start <= address < end:
            return True
    return False


def permissions(address: int) -> str:
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(part, 16) for part in line.split()[0].split("-"))
        if start <= address < end:
            return line.split()[1]
    raise AssertionError(f"{address:#x} is not mapped")


def test_anon_is_another_name() -> None:
    assert MAP.ANON is MAP.ANONYMOUS


def test_mfd_is_reexported() -> None:
    assert MFD is memfd.MFD


async def test_anonymous_memory(local: Local) -> None:
    mapping = await local.task.mmap(3 * PAGE, RW, MAP.PRIVATE)
    assert mapping.near.length == 3 * PAGE
    assert mapping.near.page_size == PAGE
    address = mapping.near.address
    assert fast.read_memory(address, 16) == bytes(16)
    fast.write_memory(address + 2 * PAGE, b"here")
    assert fast.read_memory(address + 2 * PAGE, 4) == b"here"
    assert permissions(address) == "rw-p"
    await mapping.munmap()
    assert not is_mapped(address)


async def test_mappings_of_a_file_share_its_bytes(local: Local) -> None:
    fd = await local.task.memfd_create(await local.ptr("pages"))
    await fd.ftruncate(2 * PAGE)
    file = far.File()
    first = await fd.mmap(2 * PAGE, RW, MAP.SHARED, file=file)
    second = await fd.mmap(PAGE, PROT.READ, MAP.SHARED, offset=PAGE, file=file)
    assert first.file is second.file is file
    await fd.close()  # the mappings keep the file
    fast.write_memory(first.near.address + PAGE, b"shared")
    assert fast.read_memory(second.near.address, 6) == b"shared"
    await first.munmap()
    await second.munmap()


async def test_files_are_different_unless_said_to_be_the_same(local: Local) -> None:
    first = await local.task.mmap(PAGE, RW, MAP.PRIVATE)
    second = await local.task.mmap(PAGE, RW, MAP.PRIVATE)
    assert first.file is not second.file
    assert first != second
    await first.munmap()
    await second.munmap()


async def test_mapping_is_an_immutable_value(local: Local) -> None:
    mapping = await local.task.mmap(PAGE, RW, MAP.PRIVATE)
    same = MemoryMapping(local.task, mapping.near, mapping.file)
    assert mapping == same
    assert hash(mapping) == hash(same)
    assert mapping != 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        mapping.near = same.near
    with pytest.raises(dataclasses.FrozenInstanceError):
        del mapping.file
    assert hex(mapping.near.address) in repr(mapping)
    await mapping.munmap()


async def test_unmapping_twice_spares_the_next_owner_of_the_address(local: Local) -> None:
    mapping = await local.task.mmap(PAGE, RW, MAP.PRIVATE)
    twin = mapping.for_task(local.task)
    await mapping.munmap()
    for gone in (mapping, twin, twin[0], twin[0:1]):
        with no_calls(local.task):
            with pytest.raises(UseAfterFreeError):
                await gone.munmap()
            with pytest.raises(UseAfterFreeError):
                await gone.madvise(MADV.DONTNEED)
            with pytest.raises(UseAfterFreeError):
                await gone.mprotect(PROT.NONE)


async def test_pages_can_be_unmapped_one_by_one(local: Local) -> None:
    mapping = await local.task.mmap(4 * PAGE, RW, MAP.PRIVATE)
    address = mapping.near.address
    await mapping[1].munmap()
    assert [is_mapped(address + i * PAGE) for i in range(4)] == [True, False, True, True]
    with no_calls(local.task):
        for gone in (mapping, mapping[0:2], mapping[1:3], mapping[1]):
            with pytest.raises(UseAfterFreeError):
                await gone.munmap()
    await mapping[2:4].munmap()
    await mapping[0].munmap()
    assert not any(is_mapped(address + i * PAGE) for i in range(4))


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(1, 8)), max_size=12))
def test_each_page_is_unmapped_at_most_once(ranges: list[tuple[int, int]]) -> None:
    local = Local.make()
    mapping = run(local.task.mmap(8 * PAGE, PROT.NONE, MAP.PRIVATE | MAP.NORESERVE))
    left = set(range(8))
    for start, length in ranges:
        stop = min(8, start + length)
        pages = set(range(start, stop))
        if pages <= left:
            run(mapping[start:stop].munmap())
            left -= pages
        else:
            with pytest.raises(UseAfterFreeError):
                run(mapping[start:stop].munmap())
    for page in left:
        run(mapping[page].munmap())


async def test_slices_that_are_not_inside_raise(local: Local) -> None:
    mapping = await local.task.mmap(2 * PAGE, RW, MAP.PRIVATE)
    assert mapping[0:2] == mapping
    for key in (2, -1, slice(0, 3), slice(1, 0), slice(None, 1), slice(0, None), slice(0, 2, 1)):
        with pytest.raises(ValueError, match="mapping"):
            mapping[key]
    await mapping.munmap()


async def test_iterating_gives_the_pages(local: Local) -> None:
    mapping = await local.task.mmap(3 * PAGE, RW, MAP.PRIVATE)
    assert list(mapping) == [mapping[0], mapping[1], mapping[2]]
    assert mapping[1] in mapping
    assert list(mapping[1:1]) == []
    for page in mapping:
        await page.munmap()


async def test_failed_munmap_leaves_the_mapping(local: Local) -> None:
    real = await local.task.mmap(PAGE, RW, MAP.PRIVATE)
    odd = MemoryMapping(local.task, rsyscall.near.MemoryMapping(real.near.address + 1, 1, 1), far.File())
    for _ in range(2):
        with pytest.raises(OSError, match="Invalid argument") as info:
            await odd.munmap()
        assert info.value.filename is odd
    with no_calls(local.task), pytest.raises(rsyscall.near.SyscallSendError):
        await real.munmap()  # certainly not executed, so it can be tried again
    await real.munmap()


async def test_munmap_that_was_not_sent_can_be_repeated_but_not_one_that_hung_up(local: Local) -> None:
    mapping = await local.task.mmap(PAGE, RW, MAP.PRIVATE)
    sysif = local.task.sysif

    class HangsUp(UnusableSyscallInterface):
        async def syscall(self, *args: Any) -> int:
            raise SyscallHangup

    local.task.sysif = HangsUp()
    with pytest.raises(SyscallHangup):
        await mapping.munmap()
    local.task.sysif = sysif
    with pytest.raises(UseAfterFreeError):
        await mapping.munmap()
    await sysif.syscall(SYS.munmap, mapping.near.address, PAGE)


def test_second_munmap_during_the_first_raises(local: Local) -> None:
    mapping = run(local.task.mmap(PAGE, RW, MAP.PRIVATE))
    sysif = local.task.sysif

    class Suspend:
        def __await__(self) -> Any:
            yield

    class Waits(UnusableSyscallInterface):
        async def syscall(self, *args: Any) -> int:
            await Suspend()
            return await sysif.syscall(*args)

    local.task.sysif = Waits()
    first: Coroutine[Any, Any, None] = mapping.munmap()
    first.send(None)
    with pytest.raises(UseAfterFreeError):
        mapping.munmap().send(None)
    with pytest.raises(StopIteration):
        first.send(None)
    local.task.sysif = sysif
    assert not is_mapped(mapping.near.address)


async def test_cancelled_munmap_leaves_the_mapping(local: Local) -> None:
    mapping = await local.task.mmap(PAGE, RW, MAP.PRIVATE)
    sysif = local.task.sysif

    class Cancelled(BaseException):
        pass

    class Cancels(UnusableSyscallInterface):
        async def syscall(self, *args: Any) -> int:
            raise Cancelled

    local.task.sysif = Cancels()
    with pytest.raises(Cancelled):
        await mapping.munmap()
    local.task.sysif = sysif
    await mapping.munmap()


async def test_for_task_needs_the_same_address_space(local: Local) -> None:
    mapping = await local.task.mmap(PAGE, RW, MAP.PRIVATE)
    other = sharer(local, fds=False)
    through_other = mapping.for_task(other)
    assert through_other.task is other
    assert through_other.near == mapping.near
    assert through_other.file is mapping.file
    with pytest.raises(far.AddressSpaceMismatchError):
        mapping.for_task(stranger().task)
    await through_other.munmap()
    with pytest.raises(UseAfterFreeError):
        await mapping.munmap()


async def test_mapping_does_not_outlive_the_address_space(local: Local) -> None:
    """After exec the same address may be anything."""
    other = sharer(local, fds=False)
    mapping = (await local.task.mmap(PAGE, RW, MAP.PRIVATE)).for_task(other)
    other.address_space = far.AddressSpace(0)
    with no_calls(other):
        with pytest.raises(far.AddressSpaceMismatchError):
            await mapping.munmap()
        with pytest.raises(far.AddressSpaceMismatchError):
            await mapping.madvise(MADV.DONTNEED)
    await mapping.for_task(local.task).munmap()


async def test_mprotect(local: Local) -> None:
    mapping = await local.task.mmap(2 * PAGE, RW, MAP.PRIVATE)
    await mapping[1].mprotect(PROT.READ)
    assert permissions(mapping.near.address) == "rw-p"
    assert permissions(mapping.near.address + PAGE) == "r--p"
    await mapping.munmap()


async def test_mprotect_beyond_what_the_file_is_open_for_names_the_mapping(local: Local) -> None:
    fd = await local.task.open(await local.ptr("/etc/passwd"), O.RDONLY)
    mapping = await fd.mmap(PAGE, PROT.READ, MAP.SHARED)
    with pytest.raises(PermissionError) as info:
        await mapping.mprotect(RW)
    assert info.value.filename is mapping
    await mapping.munmap()


async def test_madvise_removes_pages(local: Local) -> None:
    mapping = await local.task.mmap(2 * PAGE, RW, MAP.SHARED)
    address = mapping.near.address
    fast.write_memory(address, b"a" * 2 * PAGE)
    await mapping[1].madvise(MADV.REMOVE)
    assert fast.read_memory(address, 1) == b"a"
    assert fast.read_memory(address + PAGE, PAGE) == bytes(PAGE)
    with pytest.raises(OSError, match="Invalid argument") as info:
        await mapping.madvise(MADV(77))
    assert info.value.filename is mapping
    await mapping.munmap()


@pytest.mark.parametrize("length", [0, -PAGE, 1, PAGE + 1])
async def test_length_that_is_not_whole_pages_is_refused(local: Local, length: int) -> None:
    fd = await local.task.memfd_create(await local.ptr("x"))
    with no_calls(local.task):
        with pytest.raises(ValueError, match="page size"):
            await local.task.mmap(length, RW, MAP.PRIVATE)
        with pytest.raises(ValueError, match="page size"):
            await fd.mmap(length, RW, MAP.SHARED)


async def test_flags_that_would_make_another_mapping_than_we_believe_are_refused(local: Local) -> None:
    with no_calls(local.task):
        for fixed in (MAP.FIXED, MAP.FIXED_NOREPLACE):
            with pytest.raises(ValueError, match="address"):
                await local.task.mmap(PAGE, RW, MAP.PRIVATE | fixed)
        with pytest.raises(ValueError, match="page_size"):
            await local.task.mmap(2 << 20, RW, MAP.PRIVATE | MAP.HUGETLB | MAP.HUGE_2MB)
        with pytest.raises(ValueError, match="page size"):
            await local.task.mmap(PAGE, RW, MAP.PRIVATE | MAP.HUGETLB | MAP.HUGE_2MB, page_size=2 << 20)


async def test_huge_pages(local: Local) -> None:
    if not Path("/sys/kernel/mm/hugepages/hugepages-2048kB").exists():
        pytest.skip("kernel: it has no huge pages of 2 MB")
    size = 2 << 20
    # Nothing is touched, so no such page has to be available.
    flags = MAP.PRIVATE | MAP.NORESERVE | MAP.HUGETLB | MAP.HUGE_2MB
    mapping = await local.task.mmap(2 * size, PROT.NONE, flags, page_size=size)
    assert mapping.near.pages == 2
    await mapping[1].munmap()
    assert is_mapped(mapping.near.address)
    await mapping[0].munmap()
    assert not is_mapped(mapping.near.address)


async def test_errors_of_file_mappings_name_the_descriptor(local: Local) -> None:
    fd = await local.task.open(await local.ptr("/etc/passwd"), O.RDONLY)
    with pytest.raises(PermissionError) as info:
        await fd.mmap(PAGE, RW, MAP.SHARED)
    assert info.value.filename is fd
    with pytest.raises(OSError, match="Invalid argument"):
        await fd.mmap(PAGE, PROT.READ, MAP.SHARED, offset=1)
    await fd.close()
    with no_calls(local.task), pytest.raises(InvalidHandleError):
        await fd.mmap(PAGE, PROT.READ, MAP.SHARED)


@forked
async def test_shared_mapping_is_shared_with_a_forked_process(local: Local, tmp_path: Path) -> None:
    mapping = await local.task.mmap(PAGE, RW, MAP.SHARED)
    child = os.fork()
    if not child:
        fast.write_memory(mapping.near.address, b"child")
        os._exit(0)
    os.waitpid(child, 0)
    assert fast.read_memory(mapping.near.address, 5) == b"child"
