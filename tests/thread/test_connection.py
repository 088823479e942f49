"""Channels to other processes."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
import typing as t
from pathlib import Path

import bare
import pytest
import trio
import trio.testing
from other import Other, other
from support import local_thread, pid_of
from waiting import wait_for_call

import rsyscall.network.connection
from rsyscall.epoller import AsyncFileDescriptor
from rsyscall.handle import FileDescriptor
from rsyscall.near import SYS
from rsyscall.near.sysif import SyscallError, SyscallHangup
from rsyscall.network.connection import Connection, FDPassConnection, ListeningConnection
from rsyscall.sched import CLONE
from rsyscall.sys.socket import AF, SOCK
from rsyscall.sys.un import SockaddrUn
from rsyscall.sys.wait import W
from rsyscall.thread import ChildThread, Thread
from rsyscall.unistd import Pipe


@contextlib.asynccontextmanager
async def connection_to_ourselves() -> t.AsyncIterator[FDPassConnection]:
    async with bare.local_epoller() as epoller:
        connection = await FDPassConnection.make(bare.task, bare.ram, epoller)
        async with bare.closing(connection.access_fd, connection.fd):
            yield connection


async def talk(local: FileDescriptor, process: Other | None, remote: FileDescriptor) -> None:
    """Send something from the process to us."""
    ram = bare.ram if process is None else process.ram
    message = f"from {remote}".encode()
    await remote.write(await ram.ptr(message))
    valid, _ = await local.read(await bare.ram.malloc(bytes, 1000))
    assert await valid.read() == message


def table_of(process: Other) -> str:
    """Where the kernel shows the file descriptors of a process that has a table of its own."""
    return f"/proc/self/task/{process.sysif.thread.native_id}/fd"


async def test_within_one_table() -> None:
    async with connection_to_ourselves() as connection:
        assert await connection.open_channels(0) == []
        channels = [*await connection.open_channels(2), await connection.open_channel()]
        for local, remote in channels:
            async with bare.closing(local, remote):
                await talk(local, None, remote)
                assert os.get_blocking(int(local.near))
                assert os.get_blocking(int(remote.near))
                assert not os.get_inheritable(int(local.near))
                assert not os.get_inheritable(int(remote.near))


async def test_async_channels() -> None:
    async with connection_to_ourselves() as connection:
        [first] = await connection.open_async_channels(1)
        for local, remote in (first, await connection.open_async_channel()):
            async with bare.closing(local, remote):
                assert not os.get_blocking(int(local.handle.near))
                assert os.get_blocking(int(remote.near))
                os.write(int(remote.near), b"hello")
                with trio.fail_after(60):
                    assert await local.read_some_bytes() == b"hello"


async def test_a_process_that_shares_our_table() -> None:
    async with connection_to_ourselves() as connection, other() as process:
        child = connection.inherit(process.task, process.ram)
        local, remote = await child.open_channel()
        assert remote.task is process.task
        assert SYS.recvmsg not in process.sysif.calls
        async with bare.closing(local, remote):
            await talk(local, process, remote)
        await child.fd.invalidate()


async def test_a_process_with_a_table_of_its_own() -> None:
    async with connection_to_ourselves() as connection, other(share_files=False) as process:
        child = connection.inherit(process.task, process.ram)
        before = os.listdir("/proc/self/fd")
        before_there = os.listdir(table_of(process))
        channels = await child.open_channels(3)
        for local, remote in channels:
            assert remote.task is process.task
            await talk(local, process, remote)
        # The copies that were sent are closed here: the end there is the only one left.
        assert len(os.listdir("/proc/self/fd")) == len(before) + 3
        assert len(os.listdir(table_of(process))) == len(before_there) + 3
        for local, remote in channels:
            await remote.close()
            valid, _ = await local.read(await bare.ram.malloc(bytes, 1))
            assert valid.size() == 0
            await local.close()


async def test_more_than_fit_into_one_message() -> None:
    async with connection_to_ourselves() as connection, other(share_files=False) as process:
        child = connection.inherit(process.task, process.ram)
        fds = [bare.adopt(os.open("/dev/null", os.O_RDONLY)) for _ in range(300)]
        moved = await child.move_fds(fds)
        assert len({int(fd.near) for fd in moved}) == 300
        assert process.sysif.calls.count(SYS.recvmsg) == 2
        assert not any(fd.valid for fd in fds)


async def test_grandchildren() -> None:
    async with connection_to_ourselves() as connection, other(share_files=False) as child:
        first = connection.inherit(child.task, child.ram)
        async with other(share_files=False, parent=child) as grandchild:
            second = first.inherit(grandchild.task, grandchild.ram)
            for process, to in ((child, first), (grandchild, second)):
                local, remote = await to.open_channel()
                async with bare.closing(local):
                    await talk(local, process, remote)


async def test_prep_fd_transfer() -> None:
    async with connection_to_ourselves() as connection, other(share_files=False) as process:
        fd, make = await connection.prep_fd_transfer()
        made = make(process.task, process.ram, process.task.inherit_fd(fd))
        assert isinstance(made, FDPassConnection)
        local, remote = await made.open_channel()
        async with bare.closing(local):
            await talk(local, process, remote)


async def test_channels_are_not_crossed() -> None:
    """Many at once to several processes which all receive from one socket."""
    async with connection_to_ourselves() as connection, contextlib.AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(other(share_files=False)) for _ in range(3)]

        async def open_and_talk(process: Other, child: Connection) -> None:
            local, remote = await child.open_channel()
            assert remote.task is process.task
            await talk(local, process, remote)
            await remote.invalidate()
            await local.invalidate()

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for process in processes:
                    child = connection.inherit(process.task, process.ram)
                    for _ in range(10):
                        nursery.start_soon(open_and_talk, process, child)


async def test_a_blocked_process_gets_its_own_and_delays_nobody() -> None:
    async with connection_to_ourselves() as connection:
        async with other(share_files=False) as blocked, other(share_files=False) as free:
            to_blocked = connection.inherit(blocked.task, blocked.ram)
            to_free = connection.inherit(free.task, free.ram)
            pipe = await (await blocked.task.pipe(await blocked.ram.malloc(Pipe))).read()
            opened = []

            async def open_blocked() -> None:
                opened.append(await to_blocked.open_channel())

            async def block() -> None:
                await pipe.read.read(await blocked.ram.malloc(bytes, 1))

            with trio.fail_after(60):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(block)
                    await trio.testing.wait_all_tasks_blocked()
                    nursery.start_soon(open_blocked)
                    await trio.testing.wait_all_tasks_blocked()
                    for _ in range(3):
                        local, remote = await to_free.open_channel()
                        assert remote.task is free.task
                        await talk(local, free, remote)
                        await local.invalidate()
                    assert not opened
                    # (The pipe is in the table of the blocked process, which is a thread of this one.)
                    with open(f"{table_of(blocked)}/{int(pipe.write.near)}", "wb") as write:
                        write.write(b"x")
                [(local, remote)] = opened
                await talk(local, blocked, remote)
                await local.invalidate()


@pytest.mark.slow
async def test_cancelled_while_under_way() -> None:
    """Descriptors that were sent are received, and closed for want of a caller; the next transfer works."""
    async with connection_to_ourselves() as connection, other(share_files=False) as process:
        child = connection.inherit(process.task, process.ram)
        before = os.listdir("/proc/self/fd")
        there = table_of(process)
        before_there = len(os.listdir(there))
        with trio.fail_after(60):
            for step in range(16):
                with trio.CancelScope() as scope:
                    sysif = process.sysif
                    count = len(sysif.calls)

                    async def cancel(scope: trio.CancelScope = scope, at: int = count + step % 8) -> None:
                        while len(process.sysif.calls) < at:
                            await trio.lowlevel.checkpoint()
                        scope.cancel()

                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(cancel)
                        local, remote = await child.open_channel()
                        await talk(local, process, remote)
                        await remote.invalidate()
                        await local.invalidate()
                        nursery.cancel_scope.cancel()
                await bare.task.run_fd_table_gc()
                await process.task.run_fd_table_gc()
        assert len(os.listdir("/proc/self/fd")) == len(before)
        assert len(os.listdir(there)) == before_there


async def test_a_receiver_that_is_lost_leaves_nothing_to_the_next() -> None:
    """Descriptors sent to it are closed: their other ends see it, and the next receiver does not get them."""
    async with connection_to_ourselves() as connection:
        async with other(share_files=False) as lost, other(share_files=False) as next_one:
            to_lost = connection.inherit(lost.task, lost.ram)
            to_next = connection.inherit(next_one.task, next_one.ram)
            before = os.listdir("/proc/self/fd")
            original = lost.sysif.syscall
            second = False

            async def syscall(number: SYS, *args: t.Any) -> int:
                if number is SYS.recvmsg:
                    lost.sysif.closed = True
                result = await original(number, *args)
                if number is SYS.sendmsg and not second:
                    lost.sysif.closed = True
                    raise SyscallHangup
                return result

            lost.sysif.syscall = syscall  # type: ignore[method-assign]  # dies at the worst moment
            with trio.fail_after(60):
                with pytest.raises(SyscallError):
                    await to_lost.open_channel()
                assert len(os.listdir("/proc/self/fd")) == len(before)
                watched, sent = socket.socketpair()
                with watched:
                    lost.sysif.closed = False
                    second = True
                    with pytest.raises(SyscallError):
                        await to_lost.move_fds([fd := bare.adopt(sent.detach())])
                    # Really dead, it would have nothing open.
                    lost.sysif.closed = False
                    await lost.task.run_fd_table_gc()
                    # A failed move leaves what it was given.
                    await fd.close()
                    watched.setblocking(False)
                    assert watched.recv(1) == b""
                local, remote = await to_next.open_channel()
                await talk(local, next_one, remote)
                await local.invalidate()


async def test_a_message_of_somebody_who_was_lost_is_recognised() -> None:
    async with connection_to_ourselves() as connection, other(share_files=False) as process:
        child = connection.inherit(process.task, process.ram)
        watched, stale = socket.socketpair()
        with watched:
            sender = socket.socket(fileno=os.dup(int(connection.fd.near)))
            with sender, stale:
                socket.send_fds(sender, [b"\0" * 8], [stale.fileno()])
            with trio.fail_after(60):
                local, remote = await child.open_channel()
                await talk(local, process, remote)
            watched.setblocking(False)
            assert watched.recv(1) == b""
            await local.invalidate()


@pytest.mark.parametrize("moment", [SYS.socketpair, SYS.sendmsg, SYS.recvmsg, SYS.close])
async def test_blocked_at_the_worst_moment_it_delays_nobody(moment: SYS) -> None:
    """Before each call of the transfer another task may have the process make a call that blocks."""
    async with connection_to_ourselves() as connection:
        async with other(share_files=False) as blocked, other(share_files=False) as free:
            to_blocked = connection.inherit(blocked.task, blocked.ram)
            to_free = connection.inherit(free.task, free.ram)
            pipe = await (await blocked.task.pipe(await blocked.ram.malloc(Pipe))).read()
            original = blocked.sysif.syscall
            asked = trio.Event()
            fd = bare.adopt(os.open("/dev/null", os.O_RDONLY))
            moved = []

            async def syscall(number: SYS, *args: t.Any) -> int:
                if not asked.is_set() and number is moment:
                    asked.set()
                    buffer = await blocked.ram.malloc(bytes, 1)
                    await original(SYS.read, pipe.read.near, buffer.near, 1)
                return await original(number, *args)

            blocked.sysif.syscall = syscall  # type: ignore[method-assign]  # between two calls of ours

            async def move_to_blocked() -> None:
                moved.extend(await to_blocked.move_fds([fd]))

            with trio.fail_after(60):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(move_to_blocked)
                    await asked.wait()
                    for _ in range(3):
                        local, remote = await to_free.open_channel()
                        await talk(local, free, remote)
                        await local.invalidate()
                    assert not moved
                    with open(f"{table_of(blocked)}/{int(pipe.write.near)}", "wb") as write:
                        write.write(b"x")
            assert [each.task for each in moved] == [blocked.task]


async def test_no_room_in_the_table() -> None:
    """The kernel leaves out what does not fit; then all of it is given up."""
    async with connection_to_ourselves() as connection, other(share_files=False) as process:
        child = connection.inherit(process.task, process.ram)
        fds = [bare.adopt(os.open("/dev/null", os.O_RDONLY)) for _ in range(20)]
        there = table_of(process)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        before = sorted(map(int, os.listdir(there)))
        # Numbers below the limit can be given out, and five of those below this one are free.
        limit = next(n for n in range(soft) if n - sum(fd < n for fd in before) == 5)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        try:
            with pytest.raises(OSError) as caught:
                await child.move_fds(fds)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert caught.value.errno == errno.EMFILE
        assert sorted(map(int, os.listdir(there))) == before
        assert all(fd.valid for fd in fds)
        for fd in fds:
            await fd.close()


@contextlib.asynccontextmanager
async def listening_connection(path: Path) -> t.AsyncIterator[tuple[ListeningConnection, Other]]:
    """A process that listens, and the connection to it."""
    address = SockaddrUn(os.fsencode(path))
    async with bare.local_epoller() as epoller, other() as process:
        fd = await process.task.socket(AF.UNIX, SOCK.STREAM | SOCK.NONBLOCK)
        await fd.bind(await process.ram.ptr(address))
        await fd.listen(10)
        its_epoller = epoller.inherit(process.ram)
        listening = await AsyncFileDescriptor.make(its_epoller, process.ram, fd)
        async with bare.closing(listening, its_epoller.epfd):
            with trio.fail_after(60):
                yield (
                    ListeningConnection(
                        bare.task,
                        bare.ram,
                        epoller,
                        await bare.ram.ptr(address),
                        process.task,
                        process.ram,
                        listening,
                    ),
                    process,
                )


async def test_a_listening_socket(tmp_path: Path) -> None:
    """Connections that were given up, or come from other programs, are not taken for ours."""
    path = os.fspath(tmp_path / "sock")
    async with listening_connection(tmp_path / "sock") as (connection, process):
        for _ in range(2):
            with socket.socket(socket.AF_UNIX) as gone:
                gone.connect(path)
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(path)
            stranger.sendall(b"x" * 100)
            channels = await connection.open_channels(3)
            with pytest.raises(ConnectionResetError):
                stranger.recv(1)
        for local, remote in channels:
            async with bare.closing(local, remote):
                assert remote.task is process.task
                assert os.get_blocking(int(local.near))
                assert os.get_blocking(int(remote.near))
                await talk(local, process, remote)

        async def open_and_talk() -> None:
            [(async_local, remote)] = await connection.open_async_channels(1)
            async with bare.closing(async_local, remote):
                await remote.write(await process.ram.ptr(str(remote.near).encode()))
                assert await async_local.read_some_bytes() == str(remote.near).encode()

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(open_and_talk)


async def test_silent_strangers_delay_nobody(tmp_path: Path) -> None:
    """Each connects before us, and says nothing, or too little."""
    async with listening_connection(tmp_path / "sock") as (connection, process):
        strangers = []
        with contextlib.ExitStack() as stack:
            for i in range(5):
                stranger = stack.enter_context(socket.socket(socket.AF_UNIX))
                stranger.connect(os.fspath(tmp_path / "sock"))
                stranger.sendall(b"x" * (i // 4))
                strangers.append(stranger)
            with trio.fail_after(60):
                for local, remote in await connection.open_channels(2):
                    async with bare.closing(local, remote):
                        assert os.get_blocking(int(remote.near))
                        await talk(local, process, remote)
            for stranger in strangers:
                stranger.settimeout(5)
                try:
                    assert stranger.recv(1) == b""
                except ConnectionResetError:
                    pass


async def test_waiting_for_the_secret_can_be_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is not blocked, and nothing is left open, neither ours nor a stranger's."""
    async with listening_connection(tmp_path / "sock") as (connection, process):

        async def send_nothing(*args: object) -> None:
            pass

        monkeypatch.setattr(AsyncFileDescriptor, "send_all_bytes", send_nothing)
        before = os.listdir("/proc/self/fd")
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(os.fspath(tmp_path / "sock"))
            with trio.fail_after(60):
                with trio.move_on_after(0.1) as scope:
                    await connection.open_channel()
                await process.task.getpid()
            assert scope.cancelled_caught
        assert len(os.listdir("/proc/self/fd")) == len(before)
        monkeypatch.undo()
        with trio.fail_after(60):  # it lets the next one in
            async with bare.closing(*await connection.open_async_channel()):
                pass


async def test_strangers_have_to_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When there are too many of them, or when they have said nothing for long."""
    monkeypatch.setattr(rsyscall.network.connection, "_PATIENCE", 0.05)
    monkeypatch.setattr(rsyscall.network.connection, "_MAX_UNKNOWN", 3)
    async with listening_connection(tmp_path / "sock") as (connection, _), trio.open_nursery() as nursery:
        # Private, because the public ways connect a peer at the same moment, and would end.
        nursery.start_soon(connection._accept, b"known to no peer")
        with contextlib.ExitStack() as stack:
            for count in (1, 8):
                strangers = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(count)]
                for stranger in strangers:
                    stranger.connect(os.fspath(tmp_path / "sock"))
                    stranger.setblocking(False)
                with trio.fail_after(60):
                    for stranger in strangers:
                        await trio.lowlevel.wait_readable(stranger)
                        assert stranger.recv(1) == b""
        nursery.cancel_scope.cancel()


async def test_inheriting_a_listening_socket(tmp_path: Path) -> None:
    async with listening_connection(tmp_path / "sock") as (connection, _), other() as child:
        inherited = connection.inherit(child.task, child.ram)
        local, remote = await inherited.open_async_channel()
        async with bare.closing(local, remote):
            assert remote.task is child.task
        fd, make = await connection.prep_fd_transfer()
        assert fd is connection.listening_fd.handle
        made = make(child.task, child.ram, fd.for_task(child.task))
        assert isinstance(made, ListeningConnection)
        local, remote = await made.open_async_channel()
        async with bare.closing(local, remote):
            assert remote.task is child.task
        await inherited.listening_fd.handle.invalidate()
        await made.listening_fd.handle.invalidate()


async def test_nobody_listens(tmp_path: Path) -> None:
    async with listening_connection(tmp_path / "sock") as (connection, _):
        os.unlink(tmp_path / "sock")
        for _ in range(2):  # the first attempt does not keep the second one waiting
            with trio.fail_after(60), pytest.raises(FileNotFoundError):
                await connection.open_async_channels(2)


async def finish(child: ChildThread) -> None:
    await child.exit(0)
    await child.process.waitpid(W.EXITED)


async def talk_to_thread(thread: Thread) -> None:
    """Open an async channel and use it in both directions."""
    [(local, remote)] = await thread.open_async_channels(1)
    async with bare.closing(local):
        assert remote.task is thread.task
        await remote.write(await thread.ptr(b"up"))
        assert await local.read_some_bytes() == b"up"
        await local.write_all_bytes(b"down")
        valid, _ = await remote.read(await thread.malloc(bytes, 100))
        assert await valid.read() == b"down"
        await remote.close()
        assert await local.read_some_bytes() == b""


@pytest.mark.usefixtures("transport")
async def test_children_and_grandchildren() -> None:
    """Processes with and without a table of their own, all at once: each gets its own channel."""
    with trio.fail_after(60):
        child = await local_thread.clone()
        sharing = await local_thread.clone(CLONE.FILES)
        grandchild = await child.clone()
        nephew = await sharing.clone()
        threads = [local_thread, child, sharing, grandchild, nephew]
        for thread in threads:
            await talk_to_thread(thread)
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                for thread in threads:
                    nursery.start_soon(talk_to_thread, thread)
        for thread in (nephew, grandchild, sharing, child):
            await finish(thread)


@pytest.mark.usefixtures("transport")
async def test_a_blocked_child_keeps_nobody_waiting() -> None:
    with trio.fail_after(60):
        blocked, free = await local_thread.clone(), await local_thread.clone()
        [(local, remote)] = await blocked.open_channels(1)

        async def block() -> None:
            await remote.read(await blocked.malloc(bytes, 1))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(block)
            await wait_for_call(pid_of(blocked), SYS.read, int(remote))
            nursery.start_soon(talk_to_thread, blocked)
            await trio.testing.wait_all_tasks_blocked()
            await talk_to_thread(free)
            await talk_to_thread(local_thread)
            await local.write(await local_thread.ptr(b"x"))
        await local.close()
        await finish(free)
        await finish(blocked)


async def open_until_killed(victim: ChildThread) -> None:
    with pytest.raises(SyscallError):
        while True:
            [(local, remote)] = await victim.open_async_channels(1)
            async with bare.closing(local):
                await remote.close()
            await trio.lowlevel.checkpoint()


@pytest.mark.usefixtures("transport")
async def test_a_child_that_is_killed_while_it_is_to_receive() -> None:
    with trio.fail_after(60):
        victim, other_child = await local_thread.clone(), await local_thread.clone()
        for _ in range(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(open_until_killed, victim)
                nursery.start_soon(talk_to_thread, other_child)
                await trio.sleep(0.002)
                await victim.process.kill()
            await victim.process.waitpid(W.EXITED)
            await talk_to_thread(other_child)
            victim = await local_thread.clone()
        await finish(victim)
        await finish(other_child)
