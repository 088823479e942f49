# pyright: reportUnnecessaryTypeIgnoreComment=true
"""Types of pointers, and of the arguments and results of calls."""

from __future__ import annotations

from typing_extensions import assert_type

from rsyscall import (
    FileDescriptor,
    Int32,
    LinearPointer,
    Path,
    Pointer,
    ReadablePointer,
    Task,
    WrittenPointer,
)
from rsyscall.fcntl import O
from rsyscall.handle.process import ChildProcess
from rsyscall.memory.ram import RAM
from rsyscall.signal import Siginfo
from rsyscall.sys.stat import Stat
from rsyscall.sys.wait import W
from rsyscall.unistd.pipe import Pipe


async def allocating(ram: RAM) -> None:
    assert_type(await ram.malloc(Int32), Pointer[Int32])
    assert_type(await ram.malloc(bytes, 4096), Pointer[bytes])
    assert_type(await ram.malloc(str, 4096), Pointer[str])
    assert_type(await ram.malloc(Stat), Pointer[Stat])
    assert_type(await ram.ptr(b"bytes"), WrittenPointer[bytes])
    assert_type(await ram.ptr("text"), WrittenPointer[str])
    assert_type(await ram.ptr(Path("/tmp")), WrittenPointer[Path])
    assert_type(await ram.ptr(Int32(1)), WrittenPointer[Int32])
    assert_type((await ram.ptr("text")).value, str)

    await ram.malloc(bytes)  # type: ignore[type-var]  # bytes have no size of their own
    await ram.malloc(int)  # type: ignore[type-var]  # and an int has no representation
    await ram.ptr(1)  # type: ignore[call-overload]


async def transferring(fd: FileDescriptor, buffer: Pointer[bytes]) -> None:
    filled, rest = await fd.read(buffer)
    assert_type(filled, ReadablePointer[bytes])
    assert_type(rest, Pointer[bytes])
    assert_type(await filled.read(), bytes)
    left, right = filled.split(1)
    left.merge(right)
    await fd.read(b"bytes")  # type: ignore[arg-type]


async def opening(task: Task, ram: RAM, directory: FileDescriptor) -> None:
    path = await ram.ptr("/etc/passwd")
    assert_type(await task.open(path, O.RDONLY), FileDescriptor)
    assert_type(await directory.openat(path, O.RDONLY), FileDescriptor)
    assert_type(await directory.fstat(await ram.malloc(Stat)), Pointer[Stat])
    pipe = await task.pipe(await ram.malloc(Pipe))
    assert_type(pipe, LinearPointer[Pipe[FileDescriptor]])
    assert_type((await pipe.read()).read, FileDescriptor)
    await task.open(await ram.malloc(str, 10), O.RDONLY)  # type: ignore[arg-type]  # nothing was written there


async def waiting(process: ChildProcess, ram: RAM) -> None:
    infop = await ram.malloc(Siginfo)
    await process.waitid(W.EXITED, infop, rusage=await ram.malloc(bytes, 144))
    await process.waitid(W.EXITED, await ram.malloc(bytes, 128))  # type: ignore[arg-type]
