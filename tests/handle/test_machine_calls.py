"""Loading kernels, namespaces by their ids, and what only x86_64 has."""

from __future__ import annotations

import errno
import platform
from pathlib import Path

import pytest

from rsyscall.asm.hwprobe import RISCV_HWPROBE_KEY, RiscvHwprobe
from rsyscall.asm.ldt import LDT, USER_DESC, UserDesc
from rsyscall.asm.prctl import ARCH
from rsyscall.fcntl import O
from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.linux.kexec import KEXEC, KEXEC_FILE, KexecSegment
from rsyscall.linux.nsfs import LISTNS_CURRENT_USER, NamespaceIdList, NsIdReq
from rsyscall.near import UnsupportedSyscallError
from rsyscall.sched import CLONE
from rsyscall.struct import Int64, StructList
from rsyscall.sys.capability import CapData, CapHeader
from rsyscall.sys.mman import SHADOW_STACK

from .helpers import forked, no_calls, refused
from .support import Local

# A kernel that runs in a machine, and one that is locked down, refuse with other errors.
NO_KEXEC = (errno.ENOSYS, errno.EPERM)
x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="kernel: it is not for x86_64")


async def drop_capabilities(local: Local) -> None:
    header = await local.ptr(CapHeader())
    await local.task.capset(header, await local.ptr(CapData(set(), set(), set())))


@forked
async def test_kernels_are_loaded_by_none_without_the_capability(local: Local, tmp_path: Path) -> None:
    await drop_capabilities(local)
    part = await local.malloc(bytes, 64)
    segments = await local.ptr(StructList(KexecSegment, [KexecSegment(part, 64, 0x100000, 4096)]))
    error = await refused(local.task.kexec_load(0x100000, segments, KEXEC.ON_CRASH), *NO_KEXEC)
    assert error is not None
    assert error.filename == 0x100000
    error = await refused(local.task.kexec_load(0, None), *NO_KEXEC)
    assert error is not None
    async with await local.task.open(await local.ptr("/dev/null"), O.RDONLY) as fd:
        for initrd in (None, fd):
            command = await local.ptr("quiet")
            error = await refused(fd.kexec_file_load(initrd, command, KEXEC_FILE.ON_CRASH), *NO_KEXEC)
            assert error is not None
            assert error.filename is fd


async def test_a_segment_that_is_too_small_is_refused(local: Local) -> None:
    part = await local.malloc(bytes, 63)
    segments = await local.ptr(StructList(KexecSegment, [KexecSegment(part, 64, 0, 4096)]))
    with no_calls(local.task), pytest.raises(BufferTooSmallError) as caught:
        await local.task.kexec_load(0, segments)
    assert caught.value.args == (63, 64)
    small, _ = segments.split(31)
    with no_calls(local.task), pytest.raises(BufferTooSmallError):
        await local.task.kexec_load(0, small.wrote(segments.value))


async def test_namespaces_have_ids(local: Local) -> None:
    req = await local.ptr(NsIdReq(ns_type=CLONE.NEWUSER, user_ns_id=LISTNS_CURRENT_USER))
    room = await local.malloc(NamespaceIdList, 800)
    try:
        ids, _ = await local.task.listns(req, room)
    except OSError as error:
        assert (error.errno, error.filename) == (errno.ENOSYS, "listns")  # noqa: PT017 (it may work)
        assert "listns, in Linux since 6.19" in str(error)  # noqa: PT017
    else:
        found = await ids.read()
        assert found == sorted(set(found))
    with no_calls(local.task), pytest.raises(BufferTooSmallError):
        await local.task.listns(await local.ptr(NsIdReq(size=40)), await local.malloc(NamespaceIdList, 80))


async def test_ids_of_namespaces_are_numbers() -> None:
    ids = NamespaceIdList([1, 2**64 - 1])
    assert NamespaceIdList.from_bytes(ids.to_bytes()) == ids
    with pytest.raises(ValueError, match="no whole number"):
        NamespaceIdList.from_bytes(bytes(9))


async def test_shadow_stacks(local: Local) -> None:
    documented = (errno.ENOSYS, errno.EOPNOTSUPP)
    try:
        mapping = await local.task.map_shadow_stack(4096, SHADOW_STACK.SET_TOKEN)
    except OSError as error:
        assert error.errno in documented  # noqa: PT017 (it may work)
        assert error.filename == 4096  # noqa: PT017
    else:
        assert mapping.near.length == 4096
        await mapping.munmap()
    for size in (0, 4095, -4096):
        with no_calls(local.task), pytest.raises(ValueError, match="multiple"):
            await local.task.map_shadow_stack(size)


@x86_64
@forked
async def test_attributes_of_x86(local: Local, tmp_path: Path) -> None:
    task, room = local.task, await local.ptr(Int64(-1))
    assert await task.arch_prctl(ARCH.GET_FS, room) == 0
    assert int(await room.read()) not in (0, -1), "where the thread keeps its variables"
    await task.arch_prctl(ARCH.SET_GS, 0x1000)
    await task.arch_prctl(ARCH.GET_GS, room)
    assert int(await room.read()) == 0x1000
    assert await task.arch_prctl(ARCH.GET_CPUID) == 1
    if await refused(task.arch_prctl(ARCH.SET_CPUID, 0), errno.ENODEV) is None:
        assert await task.arch_prctl(ARCH.GET_CPUID) == 0
    with pytest.raises(OSError, match="Invalid argument") as caught:
        await task.arch_prctl(0x9999, 5)
    assert caught.value.filename == (0x9999, 5)
    small, _ = (await local.malloc(bytes, 8)).split(7)
    with no_calls(task), pytest.raises(BufferTooSmallError):
        await task.arch_prctl(ARCH.GET_FS, small)
    with no_calls(task), pytest.raises(TypeError, match="GET_GS"):
        await task.arch_prctl(ARCH.GET_GS)


@x86_64
@forked
async def test_the_table_of_segments(local: Local, tmp_path: Path) -> None:
    task = local.task
    if await refused(task.modify_ldt(await local.ptr(UserDesc(0))), errno.ENOSYS):
        pytest.skip("kernel: it was built without modify_ldt")
    bits = USER_DESC.SEG_32BIT | USER_DESC.LIMIT_IN_PAGES | USER_DESC.USEABLE
    await task.modify_ldt(await local.ptr(UserDesc(3, 0x12345678, 0xFFFFF, bits)))
    table, rest = await task.modify_ldt_read(await local.malloc(bytes, 64))
    assert (table.size(), rest.size()) == (64, 0)
    entry = (await table.read())[24:32]
    assert entry[2:5] == b"\x78\x56\x34"
    assert entry[7] == 0x12
    with pytest.raises(OSError, match="Invalid argument") as caught:
        await task.modify_ldt(wrong := await local.ptr(UserDesc(8192)))
    assert caught.value.filename == (LDT.WRITE, wrong)
    with pytest.raises(OSError, match="not implemented"):
        await task.modify_ldt(wrong, 99)


@x86_64
async def test_calls_of_riscv64_are_refused(local: Local) -> None:
    questions = StructList(RiscvHwprobe, [RiscvHwprobe(RISCV_HWPROBE_KEY.MVENDORID)])
    with no_calls(local.task), pytest.raises(UnsupportedSyscallError, match="riscv_hwprobe"):
        await local.task.riscv_hwprobe(await local.ptr(questions))
    with no_calls(local.task), pytest.raises(UnsupportedSyscallError, match="riscv_flush_icache"):
        await local.task.riscv_flush_icache(await local.malloc(bytes, 8))
