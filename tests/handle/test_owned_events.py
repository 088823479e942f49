"""Events that carry descriptors: each descriptor has an owner, or is closed."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from rsyscall.handle.pointer import LinearReadError
from rsyscall.handle.task import FileDescriptor
from rsyscall.linux.userfaultfd import (
    UFFD,
    UFFD_EVENT,
    UFFDIO,
    UffdioApi,
    UffdioRange,
    UffdioRegister,
    UffdMsg,
)
from rsyscall.near import SYS
from rsyscall.sys.fanotify import (
    FAN,
    FAN_INIT,
    FAN_MARK,
    FanotifyEventMetadata,
    _events,
    _numbers,
    _pidfd_in,
)
from rsyscall.sys.mman import MAP, PROT

from .helpers import forked
from .support import Local


def open_numbers() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


async def watch(local: Local, path: Path, flags: FAN_INIT) -> FileDescriptor:
    try:
        fd = await local.task.fanotify_init(FAN_INIT.NONBLOCK | flags)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOSYS, errno.EINVAL):
            pytest.skip(f"kernel: fanotify is missing or denied ({error})")
        raise
    path.touch()
    await fd.fanotify_mark(FAN_MARK.ADD, FAN.OPEN, None, await local.ptr(path))
    return fd


@forked
async def test_files_and_processes_in_events_have_owners(local: Local, tmp_path: Path) -> None:
    path = tmp_path / "file"
    fd = await watch(local, path, FAN_INIT.REPORT_PIDFD)
    for _ in range(2):
        path.read_bytes()
    before = open_numbers()
    filled, rest = await fd.fanotify_read(await local.malloc(bytes, 4096))
    assert filled.size() + rest.size() == 4096
    events = await filled.read()
    with pytest.raises(LinearReadError):
        await filled.read()
    assert events
    assert all(event.metadata.pid == os.getpid() for event in events)
    for event in events:
        assert os.readlink(f"/proc/self/fd/{int(event.fd)}") == str(path)
        assert f"Pid:\t{os.getpid()}" in Path(f"/proc/self/fdinfo/{int(event.pidfd)}").read_text()
        assert not os.get_inheritable(int(event.fd))
        assert not os.get_inheritable(int(event.pidfd))
        await event.fd.close()
        await event.pidfd.close()
    assert open_numbers() == before


@forked
async def test_events_that_nothing_looks_at_are_closed(local: Local, tmp_path: Path) -> None:
    path = tmp_path / "file"
    fd = await watch(local, path, FAN_INIT.REPORT_PIDFD)
    for way in ("dropped", "freed", "overwritten"):
        before = open_numbers()
        path.read_bytes()
        filled, _ = await fd.fanotify_read(await local.malloc(bytes, 4096))
        assert len(open_numbers()) == len(before) + 2
        if way == "freed":
            filled.free()
        elif way == "overwritten":
            filled.wrote(None)  # type: ignore[arg-type]
        del filled
        await local.task.run_fd_table_gc()
        assert open_numbers() == before, way


@forked
async def test_the_other_memory_of_a_fork_has_an_owner(local: Local, tmp_path: Path) -> None:
    task = local.task
    try:
        fd = await task.userfaultfd(UFFD.NONBLOCK)
        # UFFD_FEATURE_EVENT_FORK
        await fd.ioctl(UFFDIO.API, await local.ptr(UffdioApi(features=1 << 1)))
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOSYS):
            pytest.skip(f"kernel: userfaultfd is missing or denied ({error})")
        raise
    pages = await task.mmap(mmap.PAGESIZE, PROT.READ | PROT.WRITE, MAP.PRIVATE)
    whole = UffdioRange(pages.near.address, pages.near.length)
    await fd.ioctl(UFFDIO.REGISTER, await local.ptr(UffdioRegister(whole)))
    before = open_numbers()
    for looked_at in (True, False):
        # The fork waits until the message has been read, so another thread makes it.
        forking = threading.Thread(target=fork)
        forking.start()
        room = await local.malloc(bytes, 4 * UffdMsg.sizeof())
        while True:
            try:
                filled, _ = await fd.userfaultfd_read(room)
                break
            except BlockingIOError:
                time.sleep(0.001)
        forking.join()
        if looked_at:
            [event] = await filled.read()
            assert event.msg.event == UFFD_EVENT.FORK
            assert os.readlink(f"/proc/self/fd/{int(event.fork)}") == "anon_inode:[userfaultfd]"
            assert not os.get_inheritable(int(event.fork))
            del event
        del filled
        await task.run_fd_table_gc()
        assert open_numbers() == before


def fork() -> None:
    # Not by fork(3), which would hold the locks of malloc(3) until the message has been read; the reader may
    # need them. The child waits for the lock of the interpreter for ever.
    child = ctypes.CDLL(None).syscall(int(SYS.clone), int(signal.SIGCHLD), 0, 0, 0, 0)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_what_the_bytes_say_is_not_believed() -> None:
    size = FanotifyEventMetadata.sizeof()
    for lengths in ({"event_len": 0}, {"event_len": 2**32 - 1, "metadata_len": 0xFFFF}, {"metadata_len": 0}):
        data = FanotifyEventMetadata(fd=5, **lengths).to_bytes()
        assert [event.fd for event, _ in _events(data)] == [5]
        assert _numbers(data + bytes(size - 1)) == [5]
    assert _pidfd_in(b"\1\0\0\0" * 4 + b"\4\0\0\0") == -1
    assert _pidfd_in(b"\1\0\0\0\4\0\x08\0\7\0\0\0") == 7
    assert _pidfd_in(b"\4\0\x08\0\xfe\xff\xff\xff") == -2
