"""The same calls with every kind of thread: however the test got the thread, the outcome is the same."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import stat
from pathlib import Path as LocalPath
from typing import Any

import pytest
import trio
import trio.testing

from rsyscall.command import Command
from rsyscall.environ import ExecutableNotFound
from rsyscall.epoller import AsyncFileDescriptor, Epoller
from rsyscall.fcntl import FD, F, O
from rsyscall.handle import FileDescriptor, Pointer, WrittenPointer
from rsyscall.linux.dirent import DirentList
from rsyscall.linux.memfd import MFD
from rsyscall.memory.ram import RAM
from rsyscall.monitor import AsyncSignalfd
from rsyscall.near import SYS, Syscall, SyscallError, SyscallSendError
from rsyscall.near.record import CallRecord
from rsyscall.netinet.in_ import SockaddrIn
from rsyscall.path import Path
from rsyscall.sched import CLONE
from rsyscall.signal import SIG, HowSIG, Sigaction, Sighandler, Sigset
from rsyscall.stdlib import mkdtemp
from rsyscall.struct import Int32, Int64
from rsyscall.sys.eventfd import EFD
from rsyscall.sys.mman import MAP, PROT
from rsyscall.sys.prctl import PR
from rsyscall.sys.socket import (
    AF,
    CMSG_SPACE,
    SOCK,
    CmsgList,
    CmsgSCMRights,
    RecvMmsghdrList,
    RecvmsgFlags,
    RecvMsghdr,
    SendMmsghdrList,
    SendMsghdr,
    Sockbuf,
)
from rsyscall.sys.stat import Stat
from rsyscall.sys.timerfd import TFD, TFD_TIMER
from rsyscall.sys.uio import IovecList
from rsyscall.sys.un import SockaddrUn
from rsyscall.sys.utsname import Utsname
from rsyscall.sys.wait import CLD, CalledProcessError, W
from rsyscall.thread import ChildThread, Thread, do_cloexec_except
from rsyscall.time import CLOCK, Itimerspec
from rsyscall.unistd import OK, SEEK

from .support import (
    bring_up_loopback,
    cloned,
    close,
    do_async_things,
    exec_with,
    finish,
    pipe_of,
    read_exactly,
    send_through,
    sh,
    write_all,
)
from .ways import Way

# ---- Calls


async def test_typed_calls(way: Way, thread: Thread) -> None:
    task = thread.task
    assert await task.getuid() == os.getuid()
    assert await task.getgid() == os.getgid()
    pid = int(await task.getpid())
    assert (pid == os.getpid()) is way.is_local
    if way.flags & CLONE.NEWPID:
        assert pid < 10
    elif isinstance(thread, ChildThread):
        assert pid == int(thread.process.process.near)
        parent = thread.process.process.task
        assert int(await task.getppid()) == parent.near_process.id, "not of the child that cloned it"
    name = await (await task.uname(await thread.malloc(Utsname))).read()
    assert name.release == os.uname().release


async def test_state_of_the_process(way: Way, thread: Thread) -> None:
    """Later calls of the process see what a call has changed; other processes do not."""
    before = os.getcwd()
    async with cloned(thread) as child:
        await child.task.chdir(await child.ptr("/proc"))
        where, _ = await child.task.getcwd(await child.malloc(str, 100))
        assert await where.read() == "/proc"
        await child.task.umask(0o123)
        assert await child.task.umask(0o22) == 0o123
        await child.task.prctl(PR.SET_NAME, await child.ptr("conformance"))
        got = await child.task.prctl(PR.GET_NAME, await child.malloc(str, 16))
        assert await got.read() == "conformance"
    where, _ = await thread.task.getcwd(await thread.malloc(str, 4096))
    assert await where.read() == before == os.getcwd()


async def test_errors(thread: Thread) -> None:
    path = await thread.ptr(Path("/nonexistent/file"))
    with pytest.raises(FileNotFoundError) as caught:
        await thread.task.open(path, O.RDONLY)
    assert os.fspath(caught.value.filename) == "/nonexistent/file"
    with pytest.raises(NotADirectoryError):
        await thread.task.chdir(await thread.ptr("/dev/null"))
    async with pipe_of(thread) as pipe:
        with pytest.raises(OSError) as error:
            await pipe.write.read(await thread.malloc(bytes, 1))
        assert error.value.errno == errno.EBADF
        assert error.value.filename is pipe.write
    assert await thread.task.getuid() == os.getuid()


async def test_a_call_that_the_kernel_lacks_is_named(thread: Thread) -> None:
    sysif = thread.task.sysif
    missing = f"{os.strerror(errno.ENOSYS)}: fchroot, in Linux since 7.3"
    for call in (
        sysif.syscall(SYS.fchroot, -1, 0),
        sysif.recorded_syscall(CallRecord(None), SYS.fchroot, -1, 0),
    ):
        with pytest.raises(OSError) as caught:
            await call
        assert caught.value.strerror in (missing, os.strerror(errno.EBADF))


async def test_submission_of_many(thread: Thread) -> None:
    calls = [Syscall(SYS.getuid), Syscall(SYS.close, 9999), Syscall(SYS.getgid)]
    expected = [os.getuid(), -errno.EBADF, os.getgid()]
    sysif = thread.task.sysif
    assert await sysif.syscalls([]) == []
    assert await sysif.syscalls(calls) == expected
    assert await sysif.syscalls(calls * 200) == expected * 200
    assert await sysif.syscalls(calls, linked=True) == [os.getuid(), -errno.EBADF, -errno.ECANCELED]
    assert await sysif.syscalls(calls[:1] * 300 + calls, linked=True) == (
        [os.getuid()] * 301 + [-errno.EBADF, -errno.ECANCELED]
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (5, "a system call is a Syscall, .* not 5"),
        (None, "a system call is a Syscall, .* not None"),
        ([SYS.getpid], "a system call is a Syscall, .* not .*getpid"),
        ((), "a number and up to 6 arguments, got 0"),
        ((SYS.getpid,) * 8, "a number and up to 6 arguments, got 8"),
        (Syscall(SYS.close, 1.5), "an argument of a system call is an integer .* not 1.5"),
        (Syscall(SYS.close, "1"), "an argument of a system call is an integer .* not '1'"),
    ],
)
async def test_submission_of_what_is_no_call(thread: Thread, wrong: Any, message: str) -> None:
    sysif = thread.task.sysif
    for linked in (False, True):
        with pytest.raises(TypeError, match=message):
            await sysif.syscalls([wrong], linked)
        with pytest.raises(TypeError, match=message):
            await sysif.syscalls([Syscall(SYS.getuid), wrong, Syscall(SYS.getuid)], linked)
    plain: Any = (SYS.close, 9999)
    assert await sysif.syscalls([Syscall(SYS.getuid), plain]) == [os.getuid(), -errno.EBADF]


async def test_many_callers(thread: Thread) -> None:
    """More than there are slots, all at once; each gets the answer to its own call."""
    answers: dict[int, int] = {}

    async def ask(number: int) -> None:
        # Its result depends on its argument.
        with pytest.raises(OSError) as caught:
            await thread.task.sysif.syscall(SYS.close, 100000 + number)
        assert caught.value.errno == errno.EBADF
        answers[number] = await thread.task.sysif.syscall(SYS.personality, 0xFFFFFFFF)

    async with trio.open_nursery() as nursery:
        for number in range(150):
            nursery.start_soon(ask, number)
    assert len(answers) == 150
    assert set(answers.values()) == {0}


# ---- Memory


async def test_values(thread: Thread) -> None:
    values: list[object] = [
        "",
        "text",
        "ümläut \udcff",
        Path("/a/b"),
        b"",
        b"\0\xff",
        Int32(-1),
        Int64(2**62),
    ]
    values += [Sigset({SIG.INT, 64}), SockaddrIn(80, 0x7F000001), SockaddrUn(b"/path")]
    pointers: list[WrittenPointer[object]] = [await thread.ram.ptr(value) for value in values]  # type: ignore[call-overload] # each of them is fine
    for value, pointer in zip(values, pointers, strict=True):
        read = await pointer.read()
        assert read == value
        assert type(read) is type(value)
        assert pointer.value == value


async def test_memory_of_any_size(thread: Thread) -> None:
    for size in (1, 4095, 4096, 100_000, (1 << 20) + 7):
        data = os.urandom(size)
        pointer = await thread.ptr(data)
        assert await pointer.read() == data
        left, right = pointer.split(size // 2)
        right = await right.write(bytes(right.size()))
        assert await left.read() == data[: size // 2]
        whole = left + right
        assert await whole.read() == data[: size // 2] + bytes(size - size // 2)


async def test_the_process_itself_sees_the_memory(thread: Thread) -> None:
    """Its calls read the bytes that we write, and we read those that its calls write."""
    data = os.urandom(5000)
    memfd = await thread.task.memfd_create(await thread.ptr("conformance"), MFD.NONE)
    async with memfd:
        await write_all(thread, memfd, data)
        await memfd.lseek(0, SEEK.SET)
        assert await read_exactly(thread, memfd, 6000) == data
        with pytest.raises(OSError) as caught:
            await thread.task.sysif.syscall(SYS.write, memfd.near, 8, 100)
        assert caught.value.errno == errno.EFAULT


async def test_batch_of_memory(thread: Thread) -> None:
    async def op(ram: RAM) -> list[WrittenPointer[str]]:
        return [await ram.ptr(f"string {i}") for i in range(100)]

    pointers = await thread.ram.perform_batch(op)
    assert [await pointer.read() for pointer in pointers] == [f"string {i}" for i in range(100)]


async def test_mappings(thread: Thread) -> None:
    memfd = await thread.task.memfd_create(await thread.ptr("mapped"), MFD.NONE)
    async with memfd:
        await memfd.ftruncate(8192)
        mapping = await memfd.mmap(8192, PROT.READ | PROT.WRITE, MAP.SHARED)
        # The kernel copies into the mapping, and so into the file.
        async with pipe_of(thread) as pipe:
            await write_all(thread, pipe.write, b"through a mapping")
            address = int(mapping.near.address) + 4096
            assert await thread.task.sysif.syscall(SYS.read, pipe.read.near, address, 100) == 17
        valid, _ = await memfd.pread(await thread.malloc(bytes, 17), 4096)
        assert await valid.read() == b"through a mapping"
        await mapping.munmap()


# ---- Pipes, files, descriptors


async def test_pipe(thread: Thread) -> None:
    async with pipe_of(thread) as pipe:
        written, rest = await pipe.write.write(await thread.ptr(b"hello"))
        assert (written.size(), rest.size()) == (5, 0)
        valid, rest = await pipe.read.read(await thread.malloc(bytes, 4096))
        assert await valid.read() == b"hello"
        assert rest.size() == 4091
        # Several pieces at once.
        pieces = [await thread.ptr(data) for data in (b"ab", b"cdef", b"g")]
        await pipe.write.writev(await thread.ptr(IovecList(pieces)))
        room: list[Pointer[bytes]] = [await thread.malloc(bytes, size) for size in (3, 100)]
        full, partial, untouched = await pipe.read.readv(await thread.ptr(IovecList(room)))
        assert [await pointer.read() for pointer in full.value] == [b"abc"]
        assert partial is not None
        assert await partial[0].read() == b"defg"
        assert untouched.value == []
        await pipe.write.close()
        assert await read_exactly(thread, pipe.read, 1) == b""


async def test_files(thread: Thread, tmp_path: LocalPath) -> None:
    path = Path(tmp_path / "file")
    assert await thread.spit(path, "contents\n", 0o640) == path
    assert (tmp_path / "file").read_text() == "contents\n"
    async with await thread.task.open(await thread.ptr(path), O.RDWR) as file:
        status = await (await file.fstat(await thread.malloc(Stat))).read()
        assert (status.size, status.uid, int(status.mode)) == (9, os.getuid(), stat.S_IFREG | 0o640)
        assert await file.lseek(3, SEEK.SET) == 3
        assert await read_exactly(thread, file, 100) == b"tents\n"
        await file.pwrite(await thread.ptr(b"CON"), 0)
        await file.ftruncate(8)
    assert (tmp_path / "file").read_bytes() == b"CONtents"
    await thread.task.symlink(await thread.ptr("file"), await thread.ptr(Path(tmp_path / "link")))
    target, _ = await thread.task.readlink(
        await thread.ptr(Path(tmp_path / "link")), await thread.malloc(str, 100)
    )
    assert await target.read() == "file"
    await thread.task.access(await thread.ptr(path), OK.R)
    await thread.mkdir(Path(tmp_path / "directory"))
    async with await thread.task.open(await thread.ptr(Path(tmp_path)), O.RDONLY | O.DIRECTORY) as directory:
        names = []
        while True:
            valid, _ = await directory.getdents(await thread.malloc(DirentList, 4096))
            if not valid.size():
                break
            names += [entry.name for entry in await valid.read()]
        assert sorted(names) == [".", "..", "directory", "file", "link"]
        await directory.rmdirat(await thread.ptr("directory"))
        await directory.unlinkat(await thread.ptr("file"))
        await directory.unlinkat(await thread.ptr("link"))
    assert list(tmp_path.iterdir()) == []


async def test_mkdtemp(thread: Thread) -> None:
    async with await mkdtemp(thread) as path:
        local = LocalPath(path)
        assert local.is_dir()
        await thread.spit(path / "file", "x")
        (local / "directory").mkdir()
        await thread.spit(path / "directory/file", b"y")
        assert (local / "file").read_text() == "x"
    assert not local.exists()


async def test_descriptors(way: Way, thread: Thread) -> None:
    async with pipe_of(thread) as pipe:
        assert await pipe.read.fcntl(F.GETFD) == FD.CLOEXEC
        copy = await pipe.write.dup()
        assert copy.near != pipe.write.near
        await write_all(thread, copy, b"x")
        await copy.close()
        again = pipe.read.for_task(thread.task)
        assert await read_exactly(thread, again, 1) == b"x"
        await again.invalidate()
        assert pipe.read.valid
        onto = await thread.task.eventfd(0)
        number = onto.near
        onto = await pipe.write.dup2(onto)
        assert onto.near == number
        await write_all(thread, onto, b"y")
        await onto.close()
        assert await read_exactly(thread, pipe.read, 1) == b"y"
        with pytest.raises(Exception, match="no longer valid"):
            await onto.fcntl(F.GETFD)


async def test_dropped_descriptors_are_closed(thread: Thread) -> None:
    """The lowest number is free again."""
    fd = await thread.task.eventfd(0)
    number = int(fd)
    del fd
    gc.collect()
    with trio.fail_after(60):
        while True:
            await thread.task.run_fd_table_gc()
            fd = await thread.task.eventfd(0)
            if int(fd) == number:
                break
            await fd.close()
            await trio.sleep(0.001)
    await fd.close()


async def test_what_is_inherited(way: Way, thread: Thread) -> None:
    async with pipe_of(thread) as pipe, cloned(thread) as child:
        theirs = child.inherit_fd(pipe.write)
        await write_all(child, theirs, b"from a child")
        assert await read_exactly(thread, pipe.read, 12) == b"from a child"
        await pipe.write.close()
        assert theirs.valid
        await write_all(child, theirs, b"again")
        await theirs.close()
        assert await thread.read_to_eof(pipe.read) == b"again"
    async with pipe_of(thread) as pipe, cloned(thread, CLONE.FILES) as child:
        made = await child.task.eventfd(0)
        ours = made.for_task(thread.task)
        await made.invalidate()
        await write_all(thread, ours, (1).to_bytes(8, "little"))
        await ours.close()


async def test_unshare_files(thread: Thread) -> None:
    async with pipe_of(thread) as pipe, cloned(thread, CLONE.FILES) as child:
        theirs = child.inherit_fd(pipe.write)
        assert child.task.fd_table is thread.task.fd_table
        await child.unshare_files()
        assert child.task.fd_table is not thread.task.fd_table
        await pipe.write.close()
        await write_all(child, theirs, b"x")
        await do_async_things(child)
        await theirs.close()
        assert await thread.read_to_eof(pipe.read) == b"x"


async def test_closing_what_exec_would_close(thread: Thread) -> None:
    async with pipe_of(thread) as pipe, cloned(thread) as child:
        mine = child.inherit_fd(pipe.read)
        lost = child.inherit_fd(pipe.write)
        await do_cloexec_except(child, {fd.near for fd in child.task.fd_handles if fd is not lost})
        with pytest.raises(OSError) as caught:
            await lost.close()
        assert caught.value.errno == errno.EBADF
        await write_all(thread, pipe.write, b"x")
        assert await read_exactly(child, mine, 1) == b"x"
        await do_async_things(child)


# ---- Waiting for descriptors


async def test_async_pipe(thread: Thread) -> None:
    await do_async_things(thread)
    await do_async_things(thread, size=200_000)
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(do_async_things, thread)


async def test_root_epoller(thread: Thread) -> None:
    """A process that waits in epoll_wait does other things meanwhile."""
    async with cloned(thread) as child:
        epoller = await Epoller.make_root(child.ram, child.task)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(do_async_things, child, epoller)
        pipe = await child.pipe(O.NONBLOCK)
        reader = await AsyncFileDescriptor.make(epoller, child.ram, pipe.read)
        received = []
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                received.append(await reader.read_some_bytes())

            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(20):
                assert await child.task.getuid() == os.getuid()
            await write_all(child, pipe.write, b"x")
        assert received == [b"x"]


async def test_eventfd_and_timerfd(thread: Thread) -> None:
    event = await thread.make_afd(await thread.task.eventfd(0, EFD.NONBLOCK))
    timer = await thread.make_afd(await thread.task.timerfd_create(CLOCK.MONOTONIC, TFD.NONBLOCK))
    got = {}

    async def read(name: str, afd: AsyncFileDescriptor) -> None:
        got[name] = int.from_bytes(await afd.read_some_bytes(8), "little")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read, "event", event)
        nursery.start_soon(read, "timer", timer)
        await timer.handle.timerfd_settime(TFD_TIMER.NONE, await thread.ptr(Itimerspec(0, 0.002)))
        await event.write_all_bytes(Int64(7))
    assert got == {"event": 7, "timer": 1}
    await event.close()
    await timer.close()


async def test_wrong_direction_fails_at_once(thread: Thread) -> None:
    async with pipe_of(thread, O.NONBLOCK) as pipe:
        reader, writer = await thread.make_afd(pipe.read), await thread.make_afd(pipe.write)
        with trio.fail_after(60):
            for attempt in (reader.write_all_bytes(b"x"), writer.read_some_bytes()):
                with pytest.raises(OSError) as caught:
                    await attempt
                assert caught.value.errno == errno.EBADF
        await reader.close()
        await writer.close()


# ---- Sockets


async def test_socketpair_and_passing_of_descriptors(thread: Thread) -> None:
    pair = await thread.socketpair(AF.UNIX, SOCK.STREAM)
    async with pipe_of(thread) as pipe:

        async def message(ram: RAM) -> WrittenPointer[SendMsghdr]:
            iov = await ram.ptr(IovecList([await ram.ptr(b"here")]))
            return await ram.ptr(SendMsghdr(None, iov, await ram.ptr(CmsgList([CmsgSCMRights([pipe.read])]))))

        _, rest = await pair.first.sendmsg(await thread.ram.perform_batch(message))
        assert rest.size() == 0

        async def room(ram: RAM) -> WrittenPointer[RecvMsghdr]:
            iov = await ram.ptr(IovecList([await ram.malloc(bytes, 10)]))
            return await ram.ptr(RecvMsghdr(None, iov, await ram.malloc(CmsgList, CMSG_SPACE(4))))

        valid, _, out = await pair.second.recvmsg(await thread.ram.perform_batch(room))
        assert [await piece.read() for piece in valid] == [b"here"]
        header = await out.read()
        assert header.control is not None
        [rights] = await header.control.read()
        assert isinstance(rights, CmsgSCMRights)
        [received] = rights
        assert received.near != pipe.read.near
        await write_all(thread, pipe.write, b"passed")
        assert await read_exactly(thread, received, 6) == b"passed"
        await close(received)
    await close(pair.first, pair.second)


async def test_several_messages_with_descriptors(thread: Thread) -> None:
    pair = await thread.socketpair(AF.UNIX, SOCK.DGRAM)
    async with pipe_of(thread) as pipe:

        async def messages(ram: RAM) -> WrittenPointer[SendMmsghdrList]:
            hdrs = SendMmsghdrList()
            for data, fd in (b"read", pipe.read), (b"written", pipe.write):
                iov = await ram.ptr(IovecList([await ram.ptr(data)]))
                hdrs.append(SendMsghdr(None, iov, await ram.ptr(CmsgList([CmsgSCMRights([fd])]))))
            return await ram.ptr(hdrs)

        lengths, unsent = await pair.first.sendmmsg(await thread.ram.perform_batch(messages))
        assert await lengths.read() == [4, 7]
        assert unsent.value == []

        async def room(ram: RAM) -> WrittenPointer[RecvMmsghdrList]:
            hdrs = RecvMmsghdrList()
            for _ in range(3):
                iov = await ram.ptr(IovecList([await ram.malloc(bytes, 10)]))
                hdrs.append(RecvMsghdr(None, iov, await ram.malloc(CmsgList, CMSG_SPACE(4))))
            return await ram.ptr(hdrs)

        out, unused = await pair.second.recvmmsg(
            await thread.ram.perform_batch(room), RecvmsgFlags.WAITFORONE
        )
        assert len(unused.value) == 1
        ends = []
        for message, data in zip(await out.read(), [b"read", b"written"], strict=True):
            assert [await piece.read() for piece in message.valid] == [data]
            assert message.hdr.control is not None
            [rights] = await message.hdr.control.read()
            assert isinstance(rights, CmsgSCMRights)
            ends += rights
        read, write = ends
        await write_all(thread, write, b"passed")
        assert await read_exactly(thread, read, 6) == b"passed"
        await close(read, write)
    await close(pair.first, pair.second)


async def test_unix_sockets(thread: Thread, tmp_path: LocalPath) -> None:
    address = await thread.ptr(await SockaddrUn.from_path(thread, Path(tmp_path / "sock")))
    listener = await thread.make_afd(await thread.socket(AF.UNIX, SOCK.STREAM | SOCK.NONBLOCK))
    await listener.bind(address)
    await listener.handle.listen(10)
    client = await thread.make_afd(await thread.socket(AF.UNIX, SOCK.STREAM | SOCK.NONBLOCK))
    await client.connect(address)
    server = await thread.make_afd(await listener.accept(SOCK.NONBLOCK))
    await client.write_all_bytes(b"hello")
    assert await server.read_some_bytes() == b"hello"
    await client.close()
    assert await server.read_some_bytes() == b""
    await server.close()
    await listener.close()


async def test_internet_sockets(way: Way, thread: Thread) -> None:
    if way.flags & CLONE.NEWNET:
        await bring_up_loopback(thread)
    listener = await thread.make_afd(await thread.socket(AF.INET, SOCK.STREAM | SOCK.NONBLOCK))
    bound = await thread.bind_getsockname(listener.handle, SockaddrIn(0, "127.0.0.1"))
    assert bound.port != 0
    await listener.handle.listen(10)
    client = await thread.make_afd(await thread.socket(AF.INET, SOCK.STREAM | SOCK.NONBLOCK))
    accepted: list[FileDescriptor] = []
    async with trio.open_nursery() as nursery:

        async def accept() -> None:
            fd, address = await listener.accept_addr(SOCK.NONBLOCK)
            accepted.append(fd)
            assert isinstance(address, SockaddrIn)
            name = await client.handle.getsockname(await thread.ptr(Sockbuf(await thread.ptr(bound))))
            assert address == await (await name.read()).buf.read()

        nursery.start_soon(accept)
        await client.connect(await thread.ptr(bound))
    server = await thread.make_afd(accepted[0])
    await send_through(client, server, 100_000)
    for afd in (client, server, listener):
        await afd.close()


async def test_channels(thread: Thread) -> None:
    """Ours and theirs are connected with each other, one to one."""
    channels = await thread.open_async_channels(3)
    for index, (ours, theirs) in enumerate(channels):
        await ours.write_all_bytes(b"%d" % index)
        assert await read_exactly(thread, theirs, 1) == b"%d" % index
    for ours, theirs in channels:
        await theirs.close()
        with trio.fail_after(60):
            assert await ours.read_some_bytes() == b""
        await ours.close()


# ---- Children


async def test_clone_and_exit(thread: Thread) -> None:
    child = await thread.clone()
    await do_async_things(child)
    await child.exit(7)
    state = await child.process.waitpid(W.EXITED)
    assert (state.code, state.exit_status) == (CLD.EXITED, 7)
    assert await child.process.waitpid(W.EXITED) == state
    with pytest.raises(SyscallSendError):
        await child.task.getuid()


async def test_nested_children(thread: Thread) -> None:
    async with contextlib.AsyncExitStack() as stack:
        threads: list[ChildThread] = []
        for flags in (CLONE.FILES, CLONE.NONE, CLONE.FILES):
            parent = threads[-1] if threads else thread
            threads.append(await stack.enter_async_context(cloned(parent, flags)))
        for one in threads:
            await do_async_things(one)
        await finish(threads[1])
        await do_async_things(threads[2])


async def test_command_with_other_standard_streams(thread: Thread) -> None:
    async with pipe_of(thread) as stdin, pipe_of(thread) as stdout:
        child = await thread.clone()
        process = await exec_with(child, Command("/bin/cat", ["cat"], {}), stdin.read, stdout.write)
        async with process:
            for data in (b"one", b"two"):
                await write_all(thread, stdin.write, data)
                assert await read_exactly(thread, stdout.read, 3) == data
            await stdin.write.close()
            with trio.fail_after(60):
                await process.check()
        await stdout.write.close()
        assert await thread.read_to_eof(stdout.read) == b""


async def test_exec_that_fails(thread: Thread) -> None:
    async with cloned(thread) as child:
        for _ in range(2):
            with pytest.raises(FileNotFoundError) as caught:
                await child.execv("/nonexistent/program", ["program"])
            assert caught.value.filename == "/nonexistent/program"
        with pytest.raises(PermissionError):
            await child.execv("/dev/null", ["null"])
        await do_async_things(child)
        await (await child.exec(sh("true"))).check()


async def test_status_of_a_command(thread: Thread) -> None:
    process = await (await thread.clone()).exec(sh("exit 3"))
    with pytest.raises(CalledProcessError) as caught:
        await process.check()
    assert caught.value.state.exit_status == 3
    assert (await thread.run(sh("exit 4"), check=False)).exit_status == 4
    assert (await thread.run(sh("kill -TERM $$"), check=False)).killed_with() == SIG.TERM
    assert (await thread.run(sh("true"))).clean()
    with pytest.raises(FileNotFoundError):
        await thread.run(Command("/nonexistent/program", ["program"], {}))


async def test_commands_that_fail_at_once(thread: Thread) -> None:
    """They may exit before we hear that their processes exist."""
    for _ in range(20):
        with pytest.raises(FileNotFoundError):
            await thread.run(Command("/nonexistent/program", ["program"], {}))
        with pytest.raises(FileNotFoundError):
            await thread.prepare().exec(Command("/nonexistent/program", ["program"], {}))


async def test_environment_of_a_command(thread: Thread) -> None:
    async with pipe_of(thread) as pipe:
        child = await thread.clone()
        child.environ["CONFORMANCE"] = "one"
        process = await exec_with(child, sh("echo $CONFORMANCE $MORE").env(MORE="two"), stdout=pipe.write)
        await pipe.write.close()
        assert await thread.read_to_eof(pipe.read) == b"one two\n"
        await process.check()
    assert "CONFORMANCE" not in thread.environ


async def test_which(thread: Thread) -> None:
    command = await thread.environ.which("sh")
    assert command.arguments == ["sh"]
    assert os.access(command.executable_path, os.X_OK)
    await thread.run(command.args("-c", "true"))
    for _ in range(2):
        with pytest.raises(ExecutableNotFound):
            await thread.environ.which("no such program")


async def test_prepared_spawn(thread: Thread, tmp_path: LocalPath) -> None:
    async with pipe_of(thread) as pipe:
        prepared = thread.prepare()
        await prepared.task.chdir(await prepared.ptr(Path(tmp_path)))
        await prepared.inherit_fd(pipe.write).dup2(prepared.stdout)
        process = await prepared.exec(sh("pwd; exit 5"))
        await pipe.write.close()
        assert await thread.read_to_eof(pipe.read) == os.fsencode(tmp_path) + b"\n"
        with trio.fail_after(60):
            assert (await process.waitpid(W.EXITED)).exit_status == 5
    prepared = thread.prepare()
    await prepared.task.chdir(await prepared.ptr(Path("/nonexistent")))
    with pytest.raises(FileNotFoundError):
        await prepared.exec(sh("true"))
    with pytest.raises(FileNotFoundError) as caught:
        await thread.prepare().exec(Command("/nonexistent/program", ["program"], {}))
    assert caught.value.filename == "/nonexistent/program"


async def test_several_commands_at_once(thread: Thread) -> None:
    states = {}

    async def run(number: int) -> None:
        states[number] = (await thread.run(sh(f"exit {number}"), check=False)).exit_status

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(run, number)
    assert states == {number: number for number in range(8)}


async def test_exec_in_the_middle(thread: Thread) -> None:
    """A process becomes a program; what it has cloned before is still there."""
    middle = await thread.clone()
    leaf = await middle.clone()
    outer = await middle.exec(sh("exit 3"))
    inner = await leaf.exec(sh("exit 4"))
    with trio.fail_after(60):
        assert (await inner.waitpid(W.EXITED)).exit_status == 4
        assert (await outer.waitpid(W.EXITED)).exit_status == 3


async def test_kill(thread: Thread) -> None:
    process = await (await thread.clone()).exec(sh("exec sleep inf"))
    with trio.move_on_after(0.01) as scope:
        await process.waitpid(W.EXITED)
    assert scope.cancelled_caught
    await process.kill(SIG.TERM)
    with trio.fail_after(60):
        assert (await process.waitpid(W.EXITED)).killed_with() == SIG.TERM
    await process.kill()


async def test_kill_during_a_call(thread: Thread) -> None:
    async with pipe_of(thread) as pipe, cloned(thread) as child:
        theirs = child.inherit_fd(pipe.read)
        buf = await child.malloc(bytes, 10)
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                with pytest.raises(SyscallError):
                    await theirs.read(buf)

            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            await child.process.kill()
        with pytest.raises(SyscallSendError):
            await child.task.getuid()
        with trio.fail_after(60):
            assert (await child.process.waitpid(W.EXITED)).killed_with() == SIG.KILL


async def test_stop_and_continue(thread: Thread) -> None:
    process = await (await thread.clone()).exec(sh("exec sleep inf"))
    async with process:
        with trio.fail_after(60):
            await process.kill(SIG.STOP)
            assert (await process.waitpid(W.STOPPED)).code == CLD.STOPPED
            await process.kill(SIG.CONT)
            assert (await process.waitpid(W.CONTINUED)).code == CLD.CONTINUED


async def test_blocking_call_does_not_block_others(thread: Thread) -> None:
    async with pipe_of(thread) as pipe, cloned(thread) as child, cloned(thread) as other:
        theirs = child.inherit_fd(pipe.read)
        results = []
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                results.append(await read_exactly(child, theirs, 5))

            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(10):
                assert await other.task.getuid() == os.getuid()
                assert await thread.task.getuid() == os.getuid()
            assert not results
            await write_all(thread, pipe.write, b"hello")
        assert results == [b"hello"]


async def test_cancelled_call_is_not_lost(thread: Thread) -> None:
    async with pipe_of(thread) as pipe, cloned(thread) as child:
        theirs = child.inherit_fd(pipe.read)
        buffer = await child.malloc(bytes, 10)
        results = []
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def read() -> None:
                    valid, _ = await theirs.read(buffer)
                    results.append(valid.size())

                nursery.start_soon(read)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
                with trio.CancelScope(shield=True):
                    await trio.testing.wait_all_tasks_blocked()
                    assert not results, "a call that was sent is waited for"
                    await write_all(thread, pipe.write, b"abc")
        assert results == [3]
        assert await child.task.getuid() == os.getuid()


# ---- Signals


async def test_blocking_signals(thread: Thread) -> None:
    async with cloned(thread) as child:
        oldset = await child.malloc(Sigset)
        block = await child.task.sigmask_block(await child.ptr(Sigset({SIG.USR1, SIG.INT})), oldset)
        await child.task.read_oldset_and_check()
        await child.process.kill(SIG.USR1)
        assert await child.task.getuid() == os.getuid(), "it is not delivered"
        await child.task.sigprocmask((HowSIG.BLOCK, await child.ptr(Sigset({SIG.USR2}))), oldset)
        await child.task.read_oldset_and_check()
        assert await oldset.read() == {SIG.USR1, SIG.INT}
        # Now it is, in the middle of this call.
        with pytest.raises(SyscallError):
            await block.unblock()
            await child.task.getuid()
        with trio.fail_after(60):
            assert (await child.process.waitpid(W.EXITED)).killed_with() == SIG.USR1


async def test_signal_queue(thread: Thread) -> None:
    async with cloned(thread) as child:
        epoller = await Epoller.make_root(child.ram, child.task)
        sigfd = await AsyncSignalfd.make(child.ram, child.task, epoller, Sigset({SIG.INT}))
        for _ in range(2):
            event = sigfd.next_signal
            await child.process.kill(SIG.INT)
            with trio.fail_after(60):
                await event.wait()


async def test_actions_and_masks_do_not_reach_programs(thread: Thread) -> None:
    async with pipe_of(thread) as pipe, cloned(thread) as child:
        await child.task.sigaction(SIG.USR2, await child.ptr(Sigaction(Sighandler.IGN)), None)
        old = await child.malloc(Sigaction)
        await child.task.sigaction(SIG.USR2, None, old)
        assert (await old.read()).handler == Sighandler.IGN
        await child.task.sigaction(SIG.USR2, await child.ptr(Sigaction(Sighandler.DFL)), None)
        block = await child.task.sigmask_block(await child.ptr(Sigset({SIG.USR1})))
        await child.inherit_fd(pipe.write).dup2(child.stdout)
        process = await child.exec(Command("/bin/cat", ["cat", "/proc/self/status"], {}), [block])
        await pipe.write.close()
        text = (await thread.read_to_eof(pipe.read)).decode()
        await process.check()
        fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        assert int(fields["SigBlk"], 16) == 1 << (SIG.USR1 - 1), "blocked on purpose"
        # What posix_spawn of glibc has made ignores two signals that glibc uses itself.
        own = 3 << (32 - 1)
        assert int(fields["SigIgn"], 16) & ~own == int(fields["SigCgt"], 16) == 0
