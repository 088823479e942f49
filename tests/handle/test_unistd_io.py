"""`rsyscall.unistd.io`: reading, writing and seeking."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from rsyscall.far import AddressSpaceMismatchError
from rsyscall.fcntl import O
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.handle.fd import InvalidHandleError
from rsyscall.near import SYS, SyscallInterface
from rsyscall.struct import Int64
from rsyscall.unistd import SEEK, Pipe

from .helpers import no_calls, stranger
from .support import Local


async def make_file(local: Local) -> Any:
    return await local.task.memfd_create(await local.ptr("data"))


async def test_buffer_comes_back_in_two_parts(local: Local) -> None:
    fd = await make_file(local)
    written, rest = await fd.write(await local.ptr(b"hello world"))
    assert (written.size(), rest.size()) == (11, 0)
    await fd.lseek(0, SEEK.SET)
    buf = await local.malloc(bytes, 32)
    valid, rest = await fd.read(buf)
    assert await valid.read() == b"hello world"
    assert rest.size() == 21
    assert not buf.valid
    assert (valid + rest).size() == 32


async def test_less_is_written_after_a_split(local: Local) -> None:
    fd = await make_file(local)
    first, second = (await local.ptr(b"abcdef")).split(4)
    await fd.write(first)
    assert await fd.lseek(0, SEEK.CUR) == 4
    await fd.write(second)
    valid, _ = await fd.pread(await local.malloc(bytes, 10), 0)
    assert await valid.read() == b"abcdef"


async def test_loop_adds_parts_up(local: Local) -> None:
    fd = await make_file(local)
    await fd.write(await local.ptr(b"0123456789"))
    await fd.lseek(0, SEEK.SET)
    data: Any = None
    rest: Any = await local.malloc(bytes, 10)
    while rest.size():
        part, rest = rest.split(min(3, rest.size()))
        valid, empty = await fd.read(part)
        assert empty.size() == 0
        data += valid
    assert await data.read() == b"0123456789"


async def test_end_of_file_is_an_empty_part(local: Local) -> None:
    fd = await make_file(local)
    valid, rest = await fd.read(await local.malloc(bytes, 5))
    assert (valid.size(), rest.size()) == (0, 5)


async def test_typed_values(local: Local) -> None:
    fd = await make_file(local)
    await fd.write(await local.ptr(Int64(-42)))
    valid, _ = await fd.pread(await local.malloc(Int64), 0)
    assert await valid.read() == -42


async def test_pread_and_pwrite_leave_the_position(local: Local) -> None:
    fd = await make_file(local)
    written, rest = await fd.pwrite(await local.ptr(b"foo"), 1)
    assert (written.size(), rest.size()) == (3, 0)
    assert os.fstat(int(fd)).st_size == 4
    assert await fd.lseek(0, SEEK.CUR) == 0
    valid, rest = await fd.pread(await local.malloc(bytes, 16), 0)
    assert await valid.read() == b"\0foo"
    assert rest.size() == 12
    valid, _ = await fd.pread(await local.malloc(bytes, 16), 3)
    assert await valid.read() == b"o"
    valid, _ = await fd.pread(await local.malloc(bytes, 16), 100)
    assert valid.size() == 0


async def test_seeking(local: Local, tmp_path: Path) -> None:
    fd = await local.task.open(await local.ptr(tmp_path / "sparse"), O.RDWR | O.CREAT)
    await fd.pwrite(await local.ptr(b"x"), 1 << 20)
    assert await fd.lseek(0, SEEK.END) == (1 << 20) + 1
    assert await fd.lseek(-1, SEEK.CUR) == 1 << 20
    assert await fd.lseek(0, SEEK.HOLE) == 0
    assert 0 < await fd.lseek(0, SEEK.DATA) <= 1 << 20
    with pytest.raises(OSError, match="No such device") as info:
        await fd.lseek(1 << 21, SEEK.DATA)
    assert info.value.errno == errno.ENXIO
    assert info.value.filename is fd
    with pytest.raises(OSError, match="Invalid argument"):
        await fd.lseek(-1, SEEK.SET)


async def test_errors_name_the_descriptor_and_leave_the_buffer(local: Local) -> None:
    pipe = await (await local.task.pipe(await local.malloc(Pipe), O.NONBLOCK)).read()
    buf = await local.malloc(bytes, 4)
    with pytest.raises(BlockingIOError) as info:
        await pipe.read.read(buf)
    assert info.value.filename is pipe.read
    assert buf.valid
    with pytest.raises(OSError, match="Bad file descriptor"):
        await pipe.write.read(buf)
    with pytest.raises(OSError, match="Illegal seek") as info:
        await pipe.read.pread(buf, 0)
    assert info.value.filename is pipe.read
    with pytest.raises(OSError, match="Illegal seek"):
        await pipe.write.pwrite(buf, 0)
    with pytest.raises(OSError, match="Illegal seek"):
        await pipe.write.lseek(0, SEEK.CUR)
    await pipe.read.close()
    with pytest.raises(BrokenPipeError) as info:
        await pipe.write.write(buf)
    assert info.value.filename is pipe.write
    assert buf.valid


async def test_buffer_freed_during_the_call_stays_until_it_ends(local: Local) -> None:
    """The kernel must not write into memory that the allocator has given to another pointer since."""
    fd = await make_file(local)
    await fd.pwrite(await local.ptr(b"late"), 0)
    buf = await local.malloc(bytes, 4)
    allocation = buf.allocation

    class FreesBuffer(SyscallInterface):
        abi = local.task.sysif.abi

        async def syscall(self, number: SYS, *args: Any) -> int:
            buf.free()
            assert allocation.offset() >= 0, "given back while the kernel was using it"
            return await sysif.syscall(number, *args)

        async def close_interface(self) -> None: ...

        def get_activity_fd(self) -> None: ...

    sysif = local.task.sysif
    local.task.sysif = FreesBuffer()
    try:
        with pytest.raises(UseAfterFreeError):
            await fd.read(buf)
    finally:
        local.task.sysif = sysif
    with pytest.raises(UseAfterFreeError):
        allocation.offset()


@pytest.mark.parametrize("method", ["read", "write", "pread", "pwrite"])
async def test_misuse_raises_before_any_call(local: Local, method: str) -> None:
    fd = await make_file(local)
    call = getattr(fd, method)
    arguments = (0,) if method.startswith("p") else ()
    foreign = await stranger().malloc(bytes, 8)
    freed = await local.malloc(bytes, 8)
    freed.free()
    consumed = await local.malloc(bytes, 8)
    parts = consumed.split(3)
    with no_calls(local.task):
        with pytest.raises(AddressSpaceMismatchError):
            await call(foreign, *arguments)
        with pytest.raises(UseAfterFreeError):
            await call(freed, *arguments)
        with pytest.raises(UseAfterFreeError):
            await call(consumed, *arguments)
    assert foreign.valid
    await fd.close()
    with no_calls(local.task), pytest.raises(InvalidHandleError):
        await call(parts[0], *arguments)


async def test_lseek_of_a_closed_descriptor_raises(local: Local) -> None:
    fd = await make_file(local)
    await fd.close()
    with no_calls(local.task), pytest.raises(InvalidHandleError):
        await fd.lseek(0, SEEK.SET)
