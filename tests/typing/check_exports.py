# pyright: reportUnnecessaryTypeIgnoreComment=true
"""The names of the top level are the same objects, to a type checker, as in the layers that own them."""

from __future__ import annotations

from typing_extensions import assert_type

import rsyscall
import rsyscall.command
import rsyscall.epoller
import rsyscall.handle
import rsyscall.monitor
import rsyscall.path
import rsyscall.struct
import rsyscall.sys.mman
import rsyscall.thread
from rsyscall import local_thread


def same_classes(
    thread: rsyscall.thread.Thread,
    child: rsyscall.thread.ChildThread,
    task: rsyscall.handle.Task,
    fd: rsyscall.handle.FileDescriptor,
    afd: rsyscall.epoller.AsyncFileDescriptor,
    process: rsyscall.monitor.AsyncChildProcess,
    pointer: rsyscall.handle.Pointer[bytes],
    written: rsyscall.handle.WrittenPointer[bytes],
    readable: rsyscall.handle.ReadablePointer[bytes],
    linear: rsyscall.handle.LinearPointer[bytes],
    mapping: rsyscall.sys.mman.MemoryMapping,
    command: rsyscall.command.Command,
    path: rsyscall.path.Path,
    small: rsyscall.struct.Int32,
    large: rsyscall.struct.Int64,
) -> None:
    assert_type(thread, rsyscall.Thread)
    assert_type(child, rsyscall.ChildThread)
    assert_type(task, rsyscall.Task)
    assert_type(fd, rsyscall.FileDescriptor)
    assert_type(afd, rsyscall.AsyncFileDescriptor)
    assert_type(process, rsyscall.AsyncChildProcess)
    assert_type(pointer, rsyscall.Pointer[bytes])
    assert_type(written, rsyscall.WrittenPointer[bytes])
    assert_type(readable, rsyscall.ReadablePointer[bytes])
    assert_type(linear, rsyscall.LinearPointer[bytes])
    assert_type(mapping, rsyscall.MemoryMapping)
    assert_type(command, rsyscall.Command)
    assert_type(path, rsyscall.Path)
    assert_type(small, rsyscall.Int32)
    assert_type(large, rsyscall.Int64)


def local_thread_is_a_thread() -> rsyscall.Thread:
    return local_thread


def unknown_name() -> None:
    rsyscall.Nothing  # type: ignore[attr-defined]  # noqa: B018
