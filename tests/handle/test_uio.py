"""Tests of `rsyscall.sys.uio`."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsyscall.far import AddressSpaceMismatchError
from rsyscall.fcntl import O
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.handle.fd import InvalidHandleError
from rsyscall.handle.pointer import Pointer
from rsyscall.handle.task import Task
from rsyscall.near import types as near
from rsyscall.struct import BytesSerializer
from rsyscall.sys.uio import RWF, UIO_MAXIOV, IovecList, split_iovec

from .support import Local, run


async def pipe(task: Task) -> tuple[Any, Any]:
    """Both ends of a pipe which does not block."""
    read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    return task.make_fd_handle(near.FileDescriptor(read)), task.make_fd_handle(near.FileDescriptor(write))


async def buffers(local: Local, *sizes: int) -> IovecList:
    return IovecList([await local.malloc(bytes, size) for size in sizes])


async def contents(pointers: list[Pointer[Any]]) -> list[bytes]:
    return [await ptr.read() for ptr in pointers]


async def test_everything_fits(local: Local, task: Task) -> None:
    read, write = await pipe(task)
    out = IovecList([await local.ptr(b"hello "), await local.ptr(b"world")])
    done, partial, untouched = await write.writev(await local.ptr(out))
    assert partial is None
    assert done.value == out
    assert untouched.value == []
    done, partial, untouched = await read.readv(await local.ptr(await buffers(local, 6, 5)))
    assert partial is None
    assert await contents(done.value) == [b"hello ", b"world"]
    assert untouched.value == []


async def test_the_piece_at_the_boundary_is_split(local: Local, task: Task) -> None:
    read, write = await pipe(task)
    await write.write(await local.ptr(b"hello world"))
    pieces = await buffers(local, 6, 10, 3)
    iov = await local.ptr(pieces)
    done, partial, untouched = await read.readv(iov)
    assert await contents(done.value) == [b"hello "]
    assert partial is not None
    assert await partial[0].read() == b"world"
    assert partial[1].size() == 5
    assert untouched.value == [pieces[2]]
    # the entry of the split piece belongs to the first array
    assert done.size() == 32
    assert untouched.size() == 16
    with pytest.raises(UseAfterFreeError):
        iov.near  # noqa: B018 (it is a property that raises)
    with pytest.raises(UseAfterFreeError):
        pieces[1].near  # noqa: B018
    # what is left can be used for the next read
    await write.write(await local.ptr(b"abc"))
    done, partial, untouched = await read.readv(untouched)
    assert await contents(done.value) == [b"abc"]


async def test_nothing_left_at_end_of_file(local: Local, task: Task) -> None:
    read, write = await pipe(task)
    await write.close()
    pieces = await buffers(local, 4, 4)
    done, partial, untouched = await read.readv(await local.ptr(pieces))
    assert (done.value, partial, untouched.value) == ([], None, pieces)


async def test_partial_write(local: Local, task: Task) -> None:
    _, write = await pipe(task)
    size = 1 << 20
    done, partial, untouched = await write.writev(
        await local.ptr(IovecList([await local.malloc(bytes, size) for _ in range(2)]))
    )
    sent = sum(ptr.size() for ptr in done.value) + (partial[0].size() if partial else 0)
    assert 0 < sent < size
    assert partial is not None
    assert partial[1].size() == size - sent
    assert len(untouched.value) == 1
    with pytest.raises(BlockingIOError) as info:
        await write.writev(untouched)
    assert info.value.filename is write


async def test_at_an_offset(local: Local, task: Task, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    fd = await task.open(await local.ptr(os.fspath(path)), O.RDWR)
    done, _, _ = await fd.preadv(await local.ptr(await buffers(local, 2, 2)), 3)
    assert await contents(done.value) == [b"34", b"56"]
    await fd.pwritev(await local.ptr(IovecList([await local.ptr(b"x"), await local.ptr(b"y")])), 8, RWF.SYNC)
    assert path.read_bytes() == b"01234567xy"
    await fd.pwritev(await local.ptr(IovecList([await local.ptr(b"z")])), 0, RWF.APPEND)
    assert path.read_bytes() == b"01234567xyz"
    # the position of the file is where it was
    done, _, _ = await fd.readv(await local.ptr(await buffers(local, 3)))
    assert await contents(done.value) == [b"012"]


async def test_nowait_is_handed_on(local: Local, task: Task) -> None:
    read, _ = await pipe(task)
    with pytest.raises(BlockingIOError):
        await read.readv(await local.ptr(await buffers(local, 1)), RWF.NOWAIT)


async def test_too_many_pieces(local: Local, task: Task) -> None:
    read, _ = await pipe(task)
    with pytest.raises(OSError) as info:
        await read.readv(await local.ptr(await buffers(local, *[1] * (UIO_MAXIOV + 1))))
    assert info.value.errno == errno.EINVAL


async def test_misuse_is_caught_before_the_call(local: Local, task: Task) -> None:
    read, write = await pipe(task)
    await write.write(await local.ptr(b"data"))
    elsewhere = Local.make()
    with pytest.raises(AddressSpaceMismatchError):
        await read.readv(await elsewhere.ptr(await buffers(elsewhere, 4)))
    mixed = IovecList([await local.malloc(bytes, 2), await elsewhere.malloc(bytes, 2)])
    with pytest.raises(AddressSpaceMismatchError):
        await read.readv(await local.ptr(mixed))
    freed = await buffers(local, 2, 2)
    iov = await local.ptr(freed)
    freed[1].free()
    with pytest.raises(UseAfterFreeError):
        await read.readv(iov)
    with pytest.raises(UseAfterFreeError):
        await write.writev(iov)
    grown = await buffers(local, 2)
    iov = await local.ptr(grown)
    grown.append(await local.malloc(bytes, 2))
    with pytest.raises(BufferTooSmallError):
        await read.readv(iov)
    valid, _ = await read.read(await local.malloc(bytes, 10))
    assert await valid.read() == b"data"
    good = await local.ptr(await buffers(local, 4))
    for fd in read, write:
        await fd.close()
    with pytest.raises(InvalidHandleError):
        await read.readv(good)
    with pytest.raises(InvalidHandleError):
        await write.writev(good)


async def test_all_memory_comes_back(local: Local, task: Task) -> None:
    read, write = await pipe(task)
    before = local.arena.live_bytes()
    await write.write(await local.ptr(b"hello"))
    result = await read.readv(await local.ptr(await buffers(local, 2, 5, 9)))
    del result
    assert local.arena.live_bytes() == before


@given(st.lists(st.integers(0, 20), max_size=6), st.data())
def test_splitting_keeps_every_byte(sizes: list[int], data: st.DataObject) -> None:
    local = Local.make()
    try:
        total = sum(sizes)
        n = data.draw(st.integers(0, total))
        content = bytes(i % 251 for i in range(total))

        async def check() -> None:
            pieces, rest = IovecList(), content
            for size in sizes:
                ptr = local.malloc_serializer(BytesSerializer(), size, bytes)
                pieces.append(await ptr.write(rest[:size]))
                rest = rest[size:]
            if data.draw(st.booleans()):
                before, after = pieces.split(n)
                assert b"".join(await contents(before)) == content[:n]
                assert b"".join(await contents(after)) == content[n:]
            else:
                done, partial, untouched = split_iovec(await local.ptr(pieces), n)
                middle = await contents(list(partial or ()))
                assert b"".join(await contents(done.value) + middle[:1]) == content[:n]
                assert b"".join(middle[1:] + await contents(untouched.value)) == content[n:]
                assert all(map(len, middle))

        run(check())
    finally:
        local.arena.memory.close()


async def test_cannot_split_what_is_not_there(local: Local) -> None:
    pieces = await buffers(local, 3, 4)
    for n in -1, 8:
        with pytest.raises(ValueError):
            pieces.split(n)
    assert pieces.size() == 7


def test_is_never_read_back() -> None:
    with pytest.raises(NotImplementedError):
        IovecList.from_bytes(bytes(16))
