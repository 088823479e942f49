"""The calls of `<sys/mman.h>` that few programs use."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rsyscall.far import AddressSpaceMismatchError
from rsyscall.fcntl import O
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.native import read_memory, write_memory
from rsyscall.near import types as near
from rsyscall.struct import StructList
from rsyscall.sys.mman import (
    MADV,
    MAP,
    MCL,
    MLOCK,
    MREMAP,
    MS,
    PKEY,
    PROT,
    Cachestat,
    CachestatRange,
    MemoryMapping,
)
from rsyscall.sys.uio import Iovec

from .helpers import forked, no_calls
from .support import Local

PAGE = mmap.PAGESIZE


@contextlib.asynccontextmanager
async def pages(local: Local, count: int) -> AsyncIterator[MemoryMapping]:
    mapping = await local.task.mmap(count * PAGE, PROT.READ | PROT.WRITE, MAP.PRIVATE)
    yield mapping
    with contextlib.suppress(UseAfterFreeError):
        await mapping.munmap()


def smaps(mapping: MemoryMapping) -> dict[str, str]:
    """What the kernel says of the mapping."""
    found: dict[str, str] = {}
    for line in Path("/proc/self/smaps").read_text().splitlines():
        key, _, value = line.partition(" ")
        if not key.endswith(":"):
            if found:
                break
            first, _, last = key.partition("-")
            inside = int(first, 16) <= mapping.near.address < int(last, 16)
        elif inside:
            found[key[:-1]] = value.strip()
    return found


async def test_mremap_moves_and_changes_the_size(local: Local) -> None:
    mapping = await local.task.mmap(2 * PAGE, PROT.READ | PROT.WRITE, MAP.PRIVATE)
    write_memory(mapping.near.address, b"contents")
    larger = await mapping.mremap(64 * PAGE, MREMAP.MAYMOVE)
    assert (larger.near.length, larger.near.pages, larger.file) == (64 * PAGE, 64, mapping.file)
    assert read_memory(larger.near.address, 8) == b"contents"
    for old in (mapping, mapping[0]):
        with no_calls(local.task), pytest.raises(UseAfterFreeError):
            await old.munmap()
    part = await larger[0:2].mremap(PAGE, MREMAP.NONE)
    assert part.near.address == larger.near.address
    with pytest.raises(UseAfterFreeError):
        await larger.munmap()
    await larger[2:64].munmap()
    moved = await part.mremap(PAGE, MREMAP.MAYMOVE | MREMAP.DONTUNMAP)
    assert read_memory(moved.near.address, 8) == b"contents"
    assert read_memory(part.near.address, 8) == bytes(8)
    await part.munmap()
    with no_calls(local.task):
        for length, flags in ((PAGE + 1, MREMAP.MAYMOVE), (0, MREMAP.MAYMOVE), (PAGE, MREMAP.FIXED)):
            with pytest.raises(ValueError, match=r"length|fixed"):
                await moved.mremap(length, flags)
    with pytest.raises(OSError, match="Invalid argument") as caught:
        await moved.mremap(PAGE, MREMAP(0x100))
    assert caught.value.filename is moved
    # It is as it was.
    await moved.munmap()


async def test_pages_are_locked(local: Local) -> None:
    async with pages(local, 2) as mapping:
        await mapping.mlock2(MLOCK.ONFAULT)
        assert "lo" in smaps(mapping)["VmFlags"].split()
        assert smaps(mapping)["Rss"] == "0 kB"
        await mapping.munlock()
        assert "lo" not in smaps(mapping)["VmFlags"].split()
        await mapping.mlock()
        assert "lo" in smaps(mapping)["VmFlags"].split()
        assert smaps(mapping)["Rss"] == f"{2 * PAGE // 1024} kB"
        with pytest.raises(OSError, match="Invalid argument") as caught:
            await mapping.mlock2(MLOCK(8))
        assert caught.value.filename is mapping


@forked
async def test_the_whole_address_space_is_locked(local: Local, tmp_path: Path) -> None:
    await local.task.mlockall(MCL.FUTURE | MCL.ONFAULT)
    async with pages(local, 1) as mapping:
        assert "lo" in smaps(mapping)["VmFlags"].split()
        await local.task.munlockall()
        assert "lo" not in smaps(mapping)["VmFlags"].split()
    with pytest.raises(OSError, match="Invalid argument") as caught:
        await local.task.mlockall(MCL.NONE)
    assert caught.value.filename == MCL.NONE


async def test_mincore_says_which_pages_there_are(local: Local) -> None:
    async with pages(local, 3) as mapping:
        write_memory(mapping.near.address + PAGE, b"x")
        vec = await local.malloc(bytes, 3 * PAGE // 4096)
        found = await (await mapping.mincore(vec)).read()
        assert [byte & 1 for byte in found[:3]] == [0, 1, 0]
        with no_calls(local.task), pytest.raises(BufferTooSmallError):
            await mapping.mincore(await local.malloc(bytes, 2))
        with no_calls(local.task), pytest.raises(AddressSpaceMismatchError):
            await mapping.mincore(await Local.make().malloc(bytes, 3 * PAGE // 4096))


async def test_msync_writes_to_the_file(local: Local, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(PAGE))
    fd = await local.task.open(await local.ptr(tmp_path / "file"), O.RDWR)
    mapping = await fd.mmap(PAGE, PROT.READ | PROT.WRITE, MAP.SHARED)
    write_memory(mapping.near.address, b"contents")
    await mapping.msync(MS.SYNC)
    assert (tmp_path / "file").read_bytes()[:8] == b"contents"
    with pytest.raises(OSError, match="Invalid argument") as caught:
        await mapping.msync(MS.SYNC | MS.ASYNC)
    assert caught.value.filename is mapping
    await mapping.munmap()


@forked
async def test_sealed_pages_stay(local: Local, tmp_path: Path) -> None:
    mapping = await local.task.mmap(PAGE, PROT.READ, MAP.PRIVATE)
    try:
        await mapping.mseal()
    except OSError as error:
        if error.errno == errno.ENOSYS:
            pytest.skip("kernel: no mseal")
        raise
    for call in (
        mapping.munmap(),
        mapping.mprotect(PROT.NONE),
        mapping.mremap(2 * PAGE, MREMAP.MAYMOVE),
    ):
        with pytest.raises(PermissionError) as caught:
            await call
        assert caught.value.filename is mapping
    assert read_memory(mapping.near.address, 1) == b"\0"


@forked
async def test_protection_keys(local: Local, tmp_path: Path) -> None:
    mapping = await local.task.mmap(PAGE, PROT.READ | PROT.WRITE, MAP.PRIVATE)
    with pytest.raises(OSError, match=r"Invalid argument|not implemented") as caught:
        await mapping.pkey_mprotect(PROT.READ, 15)
    assert caught.value.filename == (mapping, 15)
    with pytest.raises(OSError, match=r"Invalid argument|not implemented") as caught:
        await local.task.pkey_free(15)
    assert caught.value.filename == 15
    try:
        key = await local.task.pkey_alloc(PKEY.DISABLE_WRITE)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.ENOSYS, errno.EINVAL}:
            assert error.filename == PKEY.DISABLE_WRITE  # noqa: PT017 (or else it is another error)
            pytest.skip("architecture: the CPU has no protection keys")
        raise
    await mapping.pkey_mprotect(PROT.READ | PROT.WRITE, key)
    assert smaps(mapping)["ProtectionKey"] == str(key)
    # The kernel respects the key where it writes for the thread.
    receiver, sender = os.pipe()
    os.write(sender, b"x")
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.read(receiver, ctypes.c_void_p(mapping.near.address), 1) == -1
    assert ctypes.get_errno() == errno.EFAULT
    await mapping.pkey_mprotect(PROT.READ | PROT.WRITE, 0)
    assert libc.read(receiver, ctypes.c_void_p(mapping.near.address), 1) == 1
    await local.task.pkey_free(key)


async def test_memory_that_no_other_process_reads(local: Local) -> None:
    try:
        fd = await local.task.memfd_secret()
    except OSError as error:
        if error.errno == errno.ENOSYS:
            assert error.filename == "memfd_secret"  # noqa: PT017 (or else it is another error)
            pytest.skip("kernel: memfd_secret is switched off")
        raise
    assert not os.get_inheritable(int(fd))
    await fd.ftruncate(PAGE)
    mapping = await fd.mmap(PAGE, PROT.READ | PROT.WRITE, MAP.SHARED)
    ctypes.memmove(mapping.near.address, b"secret", 6)
    assert ctypes.string_at(mapping.near.address, 6) == b"secret"
    with pytest.raises(OSError, match="Invalid argument"):
        os.read(int(fd), 6)
    buf = ctypes.create_string_buffer(6)
    ours, theirs = (
        (ctypes.c_uint64 * 2)(ctypes.addressof(buf), 6),
        (ctypes.c_uint64 * 2)(mapping.near.address, 6),
    )
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.process_vm_readv(os.getpid(), ours, 1, theirs, 1, 0) == -1
    assert ctypes.get_errno() == errno.EFAULT
    await mapping.munmap()


async def test_cachestat_counts_pages(local: Local, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(10 * PAGE))
    fd = await local.task.open(await local.ptr(tmp_path / "file"), O.RDONLY)
    cstat, part = await local.malloc(Cachestat), await local.ptr(CachestatRange(PAGE, 3 * PAGE))
    try:
        await fd.cachestat(await local.ptr(CachestatRange()), cstat)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            pytest.skip("kernel: no cachestat")
        raise
    assert (await cstat.read()).nr_cache == 10
    assert (await (await fd.cachestat(part, cstat)).read()).nr_cache == 3
    with no_calls(local.task):
        for call in (
            fd.cachestat(part, (await local.malloc(Cachestat)).split(39)[0]),
            fd.cachestat(part.split(15)[0], cstat),
        ):
            with pytest.raises(BufferTooSmallError):
                await call


@contextlib.contextmanager
def sleeping_child() -> Any:
    """A child that does nothing, and a descriptor of it."""
    child = os.fork()
    if not child:
        while True:
            signal.pause()
    pidfd = os.pidfd_open(child)
    try:
        yield pidfd
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.needs("CAP_SYS_NICE")
async def test_advice_for_another_process(local: Local) -> None:
    async with pages(local, 4) as mapping:
        write_memory(mapping.near.address, b"x" * 4 * PAGE)
        with sleeping_child() as number:
            pidfd = local.task.make_fd_handle(near.FileDescriptor(number))
            start = mapping.near.address
            pieces = StructList(Iovec, [Iovec(start, PAGE), Iovec(start + 2 * PAGE, PAGE)])
            iovec = await local.ptr(pieces)
            assert await pidfd.process_madvise(iovec, MADV.COLD) == 2 * PAGE
            with pytest.raises(OSError, match="Invalid argument") as caught:
                await pidfd.process_madvise(iovec, MADV.DONTNEED)
            assert caught.value.filename == (pidfd, MADV.DONTNEED)
            with no_calls(local.task), pytest.raises(BufferTooSmallError):
                await pidfd.process_madvise(iovec.split(31)[0].wrote(pieces), MADV.COLD)
            await pidfd.close()


async def test_the_memory_of_a_dying_process_is_freed(local: Local) -> None:
    with sleeping_child() as number:
        pidfd = local.task.make_fd_handle(near.FileDescriptor(number))
        with pytest.raises(OSError, match=r"Invalid argument|not implemented") as caught:
            await pidfd.process_mrelease()
        assert caught.value.filename is pidfd
        if caught.value.errno == errno.ENOSYS:
            pytest.skip("kernel: no process_mrelease")
        signal.pidfd_send_signal(number, signal.SIGKILL)  # type: ignore[attr-defined,unused-ignore]
        # It may have freed the memory itself by now.
        with contextlib.suppress(ProcessLookupError):
            await pidfd.process_mrelease()
        await pidfd.close()
