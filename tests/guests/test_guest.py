"""Ordinary work of a process of another architecture, driven from here.

System call numbers, flags and structures must be those of the process. The imported tests are those of the
conformance suite that need neither this machine's files nor child processes.
"""

from __future__ import annotations

import os
import stat

import pytest
from integration.support import bring_up_loopback, pipe_of, read_exactly, send_through, write_all
from integration.test_conformance import (  # noqa: F401
    test_async_pipe,
    test_batch_of_memory,
    test_dropped_descriptors_are_closed,
    test_errors,
    test_eventfd_and_timerfd,
    test_many_callers,
    test_mappings,
    test_memory_of_any_size,
    test_pipe,
    test_socketpair_and_passing_of_descriptors,
    test_submission_of_many,
    test_submission_of_what_is_no_call,
    test_the_process_itself_sees_the_memory,
    test_values,
    test_wrong_direction_fails_at_once,
)

from rsyscall.fcntl import AT, F, O
from rsyscall.linux.dirent import DirentList
from rsyscall.near import SYS, Syscall, UnsupportedSyscallError
from rsyscall.netinet.in_ import SockaddrIn
from rsyscall.path import Path
from rsyscall.signal import SA, SIG, HowSIG, Sigaction, Sighandler, Sigset
from rsyscall.stdlib import mkdtemp
from rsyscall.sys.epoll import EPOLL, EPOLL_CTL, EpollEvent, EpollEventList
from rsyscall.sys.socket import AF, SOCK
from rsyscall.sys.stat import STATX, Stat, Statx
from rsyscall.sys.un import SockaddrUn
from rsyscall.sys.utsname import Utsname
from rsyscall.thread import Thread

from .guest import GuestThread
from .machine import Machine

pytestmark = pytest.mark.slow


async def test_it_is_another_machine(machine: Machine, thread: GuestThread) -> None:
    name = await (await thread.task.uname(await thread.malloc(Utsname))).read()
    assert name.machine == machine.name != os.uname().machine
    assert thread.task.sysif.abi.name == machine.name
    assert await thread.task.getpid() == thread.task.process.near


async def test_calls_that_the_architecture_lacks(thread: GuestThread) -> None:
    """Refused before anything is sent, by name."""
    with pytest.raises(UnsupportedSyscallError, match="access"):
        await thread.task.sysif.syscall(SYS.access, 0, 0)
    with pytest.raises(UnsupportedSyscallError, match="access"):
        await thread.task.sysif.syscalls([Syscall(SYS.getpid), Syscall(SYS.access, 0, 0)])
    assert await thread.task.getpid() == thread.task.process.near


async def test_files(thread: GuestThread) -> None:
    """`struct stat` and four of the flags of `open` differ between architectures."""
    async with await mkdtemp(thread) as directory:
        path = await thread.ptr(directory / "file")
        await thread.spit(directory / "file", "contents\n", 0o640)
        await thread.task.symlink(await thread.ptr("file"), await thread.ptr(directory / "link"))
        async with await thread.task.open(path, O.RDWR | O.APPEND) as file:
            status = await (await file.fstat(await thread.malloc(Stat))).read()
            assert (status.size, status.uid, int(status.mode)) == (9, 0, stat.S_IFREG | 0o640)
            assert (status.nlink, status.blksize, status.blocks) == (1, 4096, 8)
            more = await thread.task.statx(path, AT.NONE, STATX.BASIC_STATS, await thread.malloc(Statx))
            assert (await more.read()).ino == status.ino
            assert O(await file.fcntl(F.GETFL)) & ~O.LARGEFILE == O.RDWR | O.APPEND
            assert await read_exactly(thread, file, 100) == b"contents\n"
        with pytest.raises(NotADirectoryError):
            await thread.task.open(path, O.RDONLY | O.DIRECTORY)
        with pytest.raises(OSError, match="symbolic links"):
            await thread.task.open(await thread.ptr(directory / "link"), O.RDONLY | O.NOFOLLOW)
        where = await thread.ptr(directory)
        async with await thread.task.open(where, O.RDWR | O.TMPFILE) as unnamed:
            await write_all(thread, unnamed, b"nameless")
            await unnamed.fcntl(F.SETFL, O.NONBLOCK)
            assert O(await unnamed.fcntl(F.GETFL)) & O.NONBLOCK
        async with await thread.task.open(where, O.RDONLY | O.DIRECTORY) as opened:
            assert O(await opened.fcntl(F.GETFL)) & O.DIRECTORY
            valid, _ = await opened.getdents(await thread.malloc(DirentList, 4096))
            assert sorted(entry.name for entry in await valid.read()) == [".", "..", "file", "link"]
    with pytest.raises(FileNotFoundError):
        await thread.task.open(where, O.RDONLY)


async def test_epoll(thread: GuestThread) -> None:
    """`struct epoll_event` is packed on x86_64 alone."""
    epfd = await thread.task.epoll_create()
    async with epfd, pipe_of(thread) as first, pipe_of(thread) as second:
        for data, pipe in (((1 << 63) + 1, first), (2, second)):
            event = await thread.ptr(EpollEvent(data, EPOLL.IN))
            await epfd.epoll_ctl(EPOLL_CTL.ADD, pipe.read, event)
        await write_all(thread, first.write, b"x")
        await write_all(thread, second.write, b"x")
        events = await thread.malloc(EpollEventList, 10 * EpollEvent.sizeof())
        valid, _ = await epfd.epoll_wait(events, 0)
        found = {(event.data, event.events) for event in await valid.read()}
        assert found == {((1 << 63) + 1, EPOLL.IN), (2, EPOLL.IN)}


async def test_signals(thread: GuestThread) -> None:
    """`struct sigaction` has no restorer on riscv64."""
    task = thread.task
    old = await thread.malloc(Sigaction)
    action = Sigaction(Sighandler.IGN, SA.RESTART, Sigset({SIG.INT, 40}))
    await task.sigaction(SIG.USR2, await thread.ptr(action), None)
    await task.sigaction(SIG.USR2, await thread.ptr(Sigaction(Sighandler.DFL)), old)
    found = await old.read()
    assert (found.handler, found.flags & SA.RESTART, found.mask) == (Sighandler.IGN, SA.RESTART, action.mask)
    oldset = await thread.malloc(Sigset)
    await task.sigprocmask((HowSIG.BLOCK, await thread.ptr(Sigset({SIG.USR1}))), oldset)
    await task.read_oldset_and_check()
    await task.sigprocmask((HowSIG.UNBLOCK, await thread.ptr(Sigset({SIG.USR1}))), oldset)
    await task.read_oldset_and_check()
    assert await oldset.read() == {SIG.USR1}


async def _talk(thread: Thread, family: AF, address: SockaddrIn | SockaddrUn) -> None:
    listener = await thread.make_afd(await thread.socket(family, SOCK.STREAM | SOCK.NONBLOCK))
    bound = await thread.bind_getsockname(listener.handle, address)
    await listener.handle.listen(10)
    client = await thread.make_afd(await thread.socket(family, SOCK.STREAM | SOCK.NONBLOCK))
    await client.connect(await thread.ptr(bound))
    server = await thread.make_afd(await listener.accept(SOCK.NONBLOCK))
    await send_through(client, server, 100_000)
    for afd in (client, server, listener):
        await afd.close()


async def test_internet_sockets(thread: GuestThread) -> None:
    await bring_up_loopback(thread)
    await _talk(thread, AF.INET, SockaddrIn(0, "127.0.0.1"))


async def test_unix_sockets(thread: GuestThread) -> None:
    async with await mkdtemp(thread) as directory:
        await _talk(thread, AF.UNIX, await SockaddrUn.from_path(thread, Path(directory / "socket")))
