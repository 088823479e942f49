"""Waiting for real files, in the local process."""

from __future__ import annotations

import errno
import gc
import os
import socket
import threading
import typing as t

import bare
import pytest
import trio
import trio.testing
from drivers import Programs
from support import local_thread
from waiting import wait_until

from rsyscall.background import RunLoop
from rsyscall.epoller import AsyncFileDescriptor, Epoller, RemovedFromEpollError
from rsyscall.fcntl import O
from rsyscall.handle import FileDescriptor
from rsyscall.near import LocalSyscall
from rsyscall.near.local import WrongThreadError
from rsyscall.netinet.in_ import SockaddrIn
from rsyscall.struct import Int64
from rsyscall.sys.epoll import EPOLL
from rsyscall.sys.socket import AF, MSG, SHUT, SOCK, Sockbuf, Socketpair
from rsyscall.sys.syscall import SYS
from rsyscall.sys.un import SockaddrUn
from rsyscall.thread import ChildThread


async def do_async_things(epoller: Epoller, i: int = 0) -> None:
    """A reader that waits before the writer writes, on a pipe of their own."""
    pipe = await bare.pipe()
    reader, writer = await bare.make_afd(epoller, pipe.read), await bare.make_afd(epoller, pipe.write)
    data = f"hello, {i}".encode()
    received = []

    async def read() -> None:
        received.append(await reader.read_some_bytes())

    async with bare.closing(reader, writer), trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        assert not received
        await writer.write_all_bytes(data)
    assert received == [data]


async def test_one() -> None:
    async with bare.local_epoller() as epoller:
        await do_async_things(epoller)


async def test_several_at_once() -> None:
    async with bare.local_epoller() as epoller:
        await do_async_things(epoller)
        async with trio.open_nursery() as nursery:
            for i in range(5):
                nursery.start_soon(do_async_things, epoller, i)


async def test_more_than_fit_in_one_call() -> None:
    """Events that epoll_wait had no room for are collected by the next one."""
    async with bare.local_epoller() as epoller, trio.open_nursery() as nursery:
        for i in range(100):
            nursery.start_soon(do_async_things, epoller, i)


def test_several_runs_with_one_epoller() -> None:
    """The loop belongs to a run; registrations stay."""
    epoller = trio.run(bare.make_epoller)
    pipe = bare.run_now(bare.pipe())
    reader = bare.run_now(bare.make_afd(epoller, pipe.read))
    try:
        for i in range(3):
            trio.run(do_async_things, epoller, i)

            async def read_across_runs() -> None:
                with trio.move_on_after(0.01):
                    await reader.read_some_bytes()

            async def read_after_write(data: bytes) -> None:
                with trio.fail_after(60):
                    assert await reader.read_some_bytes() == data

            # Cancelled by a deadline; then an event comes while no loop runs, and is not lost.
            trio.run(read_across_runs)
            os.write(int(pipe.write.near), b"x")
            trio.run(read_after_write, b"x")
    finally:
        for fd in (reader, pipe.write, epoller.epfd):
            bare.run_now(fd.close() if isinstance(fd, AsyncFileDescriptor) else fd.invalidate())


def test_a_run_that_fails_leaves_the_epoller_usable() -> None:
    epoller = trio.run(bare.make_epoller)

    async def fail() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(do_async_things, epoller)
            nursery.cancel_scope.cancel()
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        trio.run(fail)
    trio.run(do_async_things, epoller)
    bare.run_now(epoller.epfd.invalidate())


async def test_with_handle() -> None:
    async with bare.local_epoller() as epoller:
        pipe = await bare.pipe()
        reader, writer = await bare.make_afd(epoller, pipe.read), await bare.make_afd(epoller, pipe.write)
        second = pipe.write.for_task(bare.task)
        async with bare.closing(reader, writer, second):
            await writer.with_handle(second).write_all_bytes(b"data")
            assert await reader.read_some_bytes() == b"data"


async def test_wrong_direction_fails_at_once() -> None:
    async with bare.local_epoller() as epoller:
        pipe = await bare.pipe()
        reader, writer = await bare.make_afd(epoller, pipe.read), await bare.make_afd(epoller, pipe.write)
        async with bare.closing(reader, writer):
            with trio.fail_after(60), pytest.raises(OSError) as caught:
                await writer.read_some_bytes()
            assert caught.value.errno == errno.EBADF
            with trio.fail_after(60), pytest.raises(OSError) as caught:
                await reader.write_all_bytes(b"x")
            assert caught.value.errno == errno.EBADF


class DelayedResults(LocalSyscall):
    """Makes calls at once and returns their results later, as a remote process does."""

    def __init__(self) -> None:
        super().__init__()
        self.delayed: SYS | None = None
        self.made = trio.Event()
        self.go_on = trio.Event()

    async def syscall(self, number: SYS, *args: t.Any) -> int:
        try:
            return await super().syscall(number, *args)
        finally:
            if number is self.delayed:
                self.delayed = None
                self.made.set()
                await self.go_on.wait()


async def test_delayed_eagain() -> None:
    """An EAGAIN that arrives after a newer event does not erase it."""
    async with bare.local_epoller() as epoller:
        pipe = await bare.pipe()
        writer = pipe.write
        sysif = DelayedResults()
        task = bare.make_local_task()
        # The same process under another name, so that only the reads are delayed.
        task.fd_table = bare.task.fd_table
        task.address_space = bare.task.address_space
        task.sysif = sysif
        registered = await bare.make_afd(epoller, pipe.read)
        handle = pipe.read.for_task(task)
        reader = registered.with_handle(handle)
        other = await bare.pipe()
        received = []

        async def read() -> None:
            received.append(await reader.read_some_bytes())

        async with bare.closing(registered, handle, writer, other.read, other.write):
            with trio.fail_after(60):
                async with trio.open_nursery() as nursery:
                    sysif.delayed = SYS.read
                    nursery.start_soon(read)
                    # The kernel has said EAGAIN,
                    await sysif.made.wait()
                    # data arrives and epoll tells us (it is asked only while a task waits),
                    nursery.start_soon(reader.epolled.wait_for, EPOLL.HUP | EPOLL.IN)
                    os.write(int(writer.near), b"data")
                    while reader.epolled.status.now == 0:
                        nursery.start_soon(do_async_things, epoller)
                        await trio.sleep(0)
                    await trio.testing.wait_all_tasks_blocked()
                    # and only now the EAGAIN gets to us.
                    sysif.go_on.set()
        assert received == [b"data"]


async def test_many_bytes_through_a_small_pipe() -> None:
    """Both directions wait in turn, and no wake-up is lost."""
    data = os.urandom(1 << 20)
    async with bare.local_epoller() as epoller:
        pipe = await bare.pipe()
        reader, writer = await bare.make_afd(epoller, pipe.read), await bare.make_afd(epoller, pipe.write)
        received = bytearray()

        async def write() -> None:
            await writer.write_all_bytes(data)
            await writer.close()

        with trio.fail_after(60):
            async with bare.closing(reader, writer), trio.open_nursery() as nursery:
                nursery.start_soon(write)
                while chunk := await reader.read_some_bytes(10000):
                    received += chunk
        assert bytes(received) == data


async def test_two_readers_share_what_comes() -> None:
    async with bare.local_epoller() as epoller:
        pipe = await bare.pipe()
        reader = await bare.make_afd(epoller, pipe.read)
        received: list[bytes] = []

        async def read() -> None:
            while chunk := await reader.read_some_bytes(1):
                received.append(chunk)
                await trio.lowlevel.checkpoint()

        async with bare.closing(reader, pipe.write):
            with trio.fail_after(60):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(read)
                    nursery.start_soon(read)
                    for i in range(20):
                        await trio.testing.wait_all_tasks_blocked()
                        os.write(int(pipe.write.near), b"%02d" % i)
                    await trio.testing.wait_all_tasks_blocked()
                    await pipe.write.invalidate()
        assert sorted(received) == sorted(b"%d" % int(c) for i in range(20) for c in f"{i:02}")


async def test_cancelled_waiters_lose_nothing() -> None:
    """A waiter is cancelled, with or without a wake-up on its way: the data is there for the next."""
    async with bare.local_epoller() as epoller:
        pipe = await bare.pipe()
        reader = await bare.make_afd(epoller, pipe.read)
        scope = trio.CancelScope()
        received: list[bytes] = []

        async def read() -> None:
            with scope:
                received.append(await reader.read_some_bytes())

        async with bare.closing(reader, pipe.write):
            for wake_first in (False, True):
                scope = trio.CancelScope()
                received.clear()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(read)
                    await trio.testing.wait_all_tasks_blocked()
                    os.write(int(pipe.write.near), b"data")
                    if wake_first:
                        # Between the event and the wake-up, which nothing else can stop there.
                        reader.epolled._told(EPOLL.IN)
                    scope.cancel()
                if not received:
                    with trio.fail_after(60):
                        received.append(await reader.read_some_bytes())
                assert received == [b"data"]
            assert not reader.epolled._waits
            assert not epoller.epoll_waiter._sleepers


async def test_cancelled_again_and_again_leaves_nothing_behind() -> None:
    async with bare.local_epoller() as epoller:
        pipe = await bare.pipe()
        reader = await bare.make_afd(epoller, pipe.read)
        async with bare.closing(reader, pipe.write):
            for _ in range(10):
                with trio.move_on_after(0):
                    await reader.read_some_bytes()
            assert not reader.epolled._waits


async def test_close_wakes_who_waits() -> None:
    async with bare.local_epoller() as epoller:
        pipe = await bare.pipe()
        reader = await bare.make_afd(epoller, pipe.read)
        errors = []

        async def read() -> None:
            try:
                await reader.read_some_bytes()
            except RemovedFromEpollError as exn:
                errors.append(exn)

        async with bare.closing(reader, pipe.write):
            with trio.fail_after(60):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(read)
                    nursery.start_soon(read)
                    await trio.testing.wait_all_tasks_blocked()
                    await reader.close()
            assert len(errors) == 2
            with pytest.raises(RemovedFromEpollError):
                await reader.read_some_bytes()


async def test_close_is_idempotent_and_closes() -> None:
    async with bare.local_epoller() as epoller:
        pipe = await bare.pipe()
        async with bare.closing(pipe.write):
            reader = await bare.make_afd(epoller, pipe.read)
            await reader.close()
            await reader.close()
            assert not pipe.read.valid
            with pytest.raises(BrokenPipeError):
                os.write(int(pipe.write.near), b"x")


async def test_context_manager_closes_even_when_cancelled() -> None:
    async with bare.local_epoller() as epoller:
        pipe = await bare.pipe()
        async with bare.closing(pipe.write):
            reader = await bare.make_afd(epoller, pipe.read)
            with trio.move_on_after(0.01):
                async with reader as entered:
                    assert entered is None
                    await reader.read_some_bytes()
            assert not pipe.read.valid


async def test_close_deregisters_although_the_file_stays_open() -> None:
    """Another descriptor keeps the file open; without the deregistration it would haunt the epoll
    instance.
    """
    async with bare.local_epoller() as epoller:
        pipe = await bare.pipe()
        copy = bare.adopt(os.dup(int(pipe.read.near)))
        async with bare.closing(copy, pipe.write):
            reader = await bare.make_afd(epoller, pipe.read)
            await reader.close()
            os.write(int(pipe.write.near), b"x")
            with open(f"/proc/self/fdinfo/{int(epoller.epfd.near)}") as info:
                assert "tfd" not in info.read()


# The tables of the loop are private, and what stays in them has no other effect than to take memory.


async def test_numbers_are_freed() -> None:
    async with bare.local_epoller() as epoller:
        waiter = epoller.epoll_waiter
        for _ in range(5):
            await do_async_things(epoller)
        assert not waiter._receivers
        assert waiter.allocate_number(7) == 7
        assert waiter.allocate_number(7) == 1_0000000007
        assert waiter.allocate_number(7) == 2_0000000007
        waiter.remove_number_after_next_epoll_wait(7)
        waiter.remove_number_after_next_epoll_wait(1_0000000007)
        assert waiter.allocate_number(7) == 7


async def test_a_dropped_registration_keeps_its_number() -> None:
    """The file may still be open: no other registration may get its events. Only the number is kept."""
    async with bare.local_epoller() as epoller:
        pipe = await bare.pipe()
        number = int(pipe.read.near)
        copy = bare.adopt(os.dup(number))
        async with bare.closing(pipe.write, copy):
            reader = await bare.make_afd(epoller, pipe.read)
            handle = reader.handle
            del reader
            await handle.invalidate()
            os.write(int(pipe.write.near), b"x")
            await do_async_things(epoller)
            assert not epoller.epoll_waiter._receivers
            assert epoller.epoll_waiter.allocate_number(number) % 1_0000000000 == number
            assert epoller.epoll_waiter.allocate_number(number) != number


async def test_files_that_cannot_be_watched_are_refused() -> None:
    async with bare.local_epoller() as epoller:
        fd = bare.adopt(os.open("/", os.O_DIRECTORY))
        async with bare.closing(fd):
            with pytest.raises(PermissionError):
                await bare.make_afd(epoller, fd)
            assert fd.valid
        assert not epoller.epoll_waiter._receivers


async def test_register_modify_delete() -> None:
    async with bare.local_epoller() as epoller:
        pipe = await bare.pipe()
        async with bare.closing(pipe.read, pipe.write):
            registered = await epoller.register(pipe.read, EPOLL.PRI | EPOLL.ET)
            os.write(int(pipe.write.near), b"x")
            with trio.move_on_after(0.01) as scope:
                await registered.wait_for(EPOLL.IN)
            assert scope.cancelled_caught
            await registered.modify(EPOLL.IN | EPOLL.ET)
            with trio.fail_after(60):
                await registered.wait_for(EPOLL.IN)
            events = registered.get_current_events(EPOLL.IN | EPOLL.HUP)
            assert events[EPOLL.IN] > events[EPOLL.HUP] == 0
            registered.consume(events)
            await registered.delete()
            await registered.delete()
            with pytest.raises(RemovedFromEpollError):
                await registered.modify(EPOLL.IN)
            with pytest.raises(RemovedFromEpollError):
                await registered.wait_for(EPOLL.IN)


async def test_closed_behind_our_back() -> None:
    async with bare.local_epoller() as epoller:
        pipe = await bare.pipe()
        reader = await bare.make_afd(epoller, pipe.read)
        async with bare.closing(pipe.write):
            os.close(int(pipe.read.near))
            await reader.epolled.delete()
            with pytest.raises(OSError) as caught:
                await reader.close()
            assert caught.value.errno == errno.EBADF


async def test_wait_for_rdhup() -> None:
    async with bare.local_epoller() as epoller:
        pair = await bare.socketpair()
        first = await bare.make_afd(epoller, pair.first)
        async with bare.closing(first, pair.second):
            os.write(int(pair.second.near), b"last words")
            with trio.move_on_after(0.01) as scope:
                await first.wait_for_rdhup()
            assert scope.cancelled_caught
            await pair.second.invalidate()
            with trio.fail_after(60):
                await first.wait_for_rdhup()
                assert await first.read_some_bytes() == b"last words"
                # Reading the last words does not make the hang-up forgotten.
                await first.wait_for_rdhup()
                assert await first.read_some_bytes() == b""


async def test_shutdown_for_writing_is_the_end_for_the_reader() -> None:
    async with bare.local_epoller() as epoller:
        pair = await bare.socketpair()
        first = await bare.make_afd(epoller, pair.first)
        async with bare.closing(first, pair.second):
            await pair.second.shutdown(SHUT.WR)
            with trio.fail_after(60):
                assert await first.read_some_bytes() == b""
                await first.wait_for_rdhup()


async def test_send() -> None:
    async with bare.local_epoller() as epoller:
        pair = await bare.socketpair()
        first, second = await bare.make_afd(epoller, pair.first), await bare.make_afd(epoller, pair.second)
        data = os.urandom(1 << 20)
        received = bytearray()
        async with bare.closing(first, second):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(first.send_all_bytes, data, MSG.NOSIGNAL)
                while len(received) < len(data):
                    received += await second.read_some_bytes(1 << 16)
            assert bytes(received) == data
            await first.write_all_bytes(Int64(42))
            await first.send_all_bytes(Int64(43), MSG.NONE)
            assert await second.read_some_bytes() == Int64(42).to_bytes() + Int64(43).to_bytes()
            sent, rest = await first.send(await bare.ram.ptr(b"abc"), MSG.NONE)
            assert (sent.size(), rest.size()) == (3, 0)
            await first.write_all_bytes(b"")
            await second.close()
            with pytest.raises(BrokenPipeError):
                await first.send_all_bytes(b"x", MSG.NOSIGNAL)


async def test_tcp_accept_and_connect() -> None:
    async with bare.local_epoller() as epoller:
        listener = await bare.task.socket(AF.INET, SOCK.STREAM | SOCK.NONBLOCK)
        client = await bare.task.socket(AF.INET, SOCK.STREAM | SOCK.NONBLOCK)
        async with bare.closing(listener, client):
            await listener.bind(await bare.ram.ptr(SockaddrIn(0, "127.0.0.1")))
            await listener.listen(10)
            port = socket.socket(fileno=os.dup(int(listener.near)))
            with port:
                address = SockaddrIn(port.getsockname()[1], "127.0.0.1")
            async_listener, async_client = (
                await bare.make_afd(epoller, listener),
                await bare.make_afd(epoller, client),
            )
            with trio.fail_after(60):
                accepted: list[FileDescriptor] = []

                async def accept() -> None:
                    fd, peer = await async_listener.accept_addr(SOCK.NONBLOCK)
                    assert isinstance(peer, SockaddrIn)
                    assert str(peer.addr) == "127.0.0.1"
                    accepted.append(fd)

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(accept)
                    await trio.testing.wait_all_tasks_blocked()
                    await async_client.connect(await bare.ram.ptr(address))
                server = await async_client.make_new_afd(accepted[0])
                async with bare.closing(server, async_listener, async_client):
                    await async_client.write_all_bytes(b"there")
                    assert await server.read_some_bytes() == b"there"
                    await server.write_all_bytes(b"and back")
                    assert await async_client.read_some_bytes() == b"and back"
                    with pytest.raises(OSError) as caught:
                        await async_client.connect(await bare.ram.ptr(address))
                    assert caught.value.errno == errno.EISCONN


async def test_tcp_connect_refused() -> None:
    async with bare.local_epoller() as epoller:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            address = SockaddrIn(unused.getsockname()[1], "127.0.0.1")
            client = await bare.make_afd(
                epoller, await bare.task.socket(AF.INET, SOCK.STREAM | SOCK.NONBLOCK)
            )
            async with bare.closing(client):
                with trio.fail_after(60), pytest.raises(ConnectionRefusedError) as caught:
                    await client.connect(await bare.ram.ptr(address))
                assert caught.value.filename is client.handle
                assert caught.value.filename2 == address


async def test_tcp_connect_waits_and_can_be_resumed() -> None:
    """A full backlog keeps the connection from being made; a waiter that was cancelled can wait again."""
    async with bare.local_epoller() as epoller:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            address = await bare.ram.ptr(SockaddrIn(listener.getsockname()[1], "127.0.0.1"))
            first, second = [
                await bare.make_afd(epoller, await bare.task.socket(AF.INET, SOCK.STREAM | SOCK.NONBLOCK))
                for _ in range(2)
            ]
            async with bare.closing(first, second):
                await first.connect(address)
                with trio.move_on_after(0.05) as scope:
                    await second.connect(address)
                assert scope.cancelled_caught
                listener.accept()[0].close()
                with trio.fail_after(60):
                    await second.connect(address)
                    assert await second.write(await bare.ram.ptr(b"x"))


async def test_unix_connect_with_a_full_backlog(tmp_path: t.Any) -> None:
    """The kernel says EAGAIN there, which the caller must handle: no event tells when there is room."""
    async with bare.local_epoller() as epoller:
        address = SockaddrUn(os.fsencode(tmp_path / "sock"))
        listener = await bare.task.socket(AF.UNIX, SOCK.STREAM | SOCK.NONBLOCK)
        await listener.bind(await bare.ram.ptr(address))
        await listener.listen(0)
        clients = [
            await bare.make_afd(epoller, await bare.task.socket(AF.UNIX, SOCK.STREAM | SOCK.NONBLOCK))
            for _ in range(2)
        ]
        async_listener = await bare.make_afd(epoller, listener)
        async with bare.closing(*clients, async_listener):
            with trio.fail_after(60):
                await clients[0].connect(await bare.ram.ptr(address))
                with pytest.raises(BlockingIOError):
                    await clients[1].connect(await bare.ram.ptr(address))
                fd = await async_listener.accept()
                async with bare.closing(fd):
                    await clients[1].connect(await bare.ram.ptr(address))
                fd, buffer = await async_listener.accept(
                    SOCK.NONE, await bare.ram.ptr(Sockbuf(await bare.ram.malloc(SockaddrUn)))
                )
                async with bare.closing(fd):
                    peer = await (await buffer.read()).buf.read()
                    assert peer.path == b""


async def test_bind() -> None:
    async with bare.local_epoller() as epoller:
        fd = await bare.make_afd(epoller, await bare.task.socket(AF.INET, SOCK.DGRAM | SOCK.NONBLOCK))
        async with bare.closing(fd):
            await fd.bind(await bare.ram.ptr(SockaddrIn(0, "127.0.0.1")))
            assert "AsyncFileDescriptor" in repr(fd)
            assert "EpolledFileDescriptor" in repr(fd.epolled)
            assert "subsidiary" in repr(epoller.epoll_waiter)


async def test_blocking_file_is_still_the_callers_fault() -> None:
    """The library does not set O_NONBLOCK: a pipe that is ready works with and without it."""
    async with bare.local_epoller() as epoller:
        pipe = await bare.pipe(O(0))
        reader = await bare.make_afd(epoller, pipe.read)
        async with bare.closing(reader, pipe.write):
            os.write(int(pipe.write.near), b"x")
            assert await reader.read_some_bytes() == b"x"


async def test_another_thread_is_refused_and_disturbs_nothing() -> None:
    """Its epoll_wait would not help the tasks of the right thread, which would wait for ever."""
    async with bare.local_epoller() as epoller:
        pipe = await bare.pipe()
        reader = await bare.make_afd(epoller, pipe.read)
        received = []
        refused: list[BaseException] = []

        async def read() -> None:
            received.append(await reader.read_some_bytes())

        async def misuse() -> None:
            with trio.move_on_after(0.5):
                await reader.read_some_bytes()

        def run() -> None:
            try:
                trio.run(misuse)
            except BaseException as exn:
                refused.append(exn)

        async with bare.closing(reader, pipe.write):
            with trio.fail_after(60):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(read)
                    await trio.testing.wait_all_tasks_blocked()
                    thread = threading.Thread(target=run, name="other")
                    thread.start()
                    await wait_until(lambda: not thread.is_alive())
                    os.write(int(pipe.write.near), b"x")
                    thread.join()
                assert received == [b"x"]
                await do_async_things(epoller)
        [error] = refused
        assert isinstance(error, WrongThreadError)
        assert threading.current_thread().name in str(error)
        assert "(other)" in str(error)


def test_a_loop_serves_run_after_run_in_its_thread() -> None:
    started = []

    async def body() -> None:
        started.append(threading.get_ident())
        await trio.sleep_forever()

    loop = RunLoop(body, "test")

    async def main() -> None:
        for _ in range(2):
            loop.ensure_running()
            await trio.testing.wait_all_tasks_blocked()

    for _ in range(3):
        trio.run(main)
    errors: list[BaseException] = []

    def run() -> None:
        try:
            trio.run(main)
        except BaseException as exn:
            errors.append(exn)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert [type(error) for error in errors] == [WrongThreadError]
    assert started == [threading.get_ident()] * 3


def test_a_forked_copy_is_refused_and_disturbs_nothing(programs: Programs) -> None:
    programs.run("epoller_drivers:fork")


async def test_a_dropped_registration_does_not_keep_others_out() -> None:
    """The kernel still has the old registration when the program watches the same file again."""
    async with bare.local_epoller() as epoller:
        pipe = await bare.pipe()
        async with bare.closing(pipe.read, pipe.write):
            await epoller.register(pipe.read, EPOLL.IN | EPOLL.ET)
            gc.collect()
            registered = await epoller.register(pipe.read, EPOLL.IN | EPOLL.ET)
            registered.status.clear()
            os.write(int(pipe.write.near), b"x")
            with trio.fail_after(60):
                await registered.wait_for(EPOLL.IN)
            # That one is needed.
            with pytest.raises(FileExistsError):
                await epoller.register(pipe.read, EPOLL.IN | EPOLL.ET)
            await registered.delete()


async def make_child_afd(pair: Socketpair) -> tuple[ChildThread, AsyncFileDescriptor]:
    child = await local_thread.clone()
    return child, await child.make_afd(child.inherit_fd(pair.first))


@pytest.mark.parametrize("how", ["closed", "dropped", "kept"])
async def test_a_registration_of_a_dead_child_does_not_keep_us_out(how: str, transport: str) -> None:
    """It had inherited the file with its number, so the kernel takes ours for the same."""
    pair = await local_thread.socketpair(AF.UNIX, SOCK.STREAM | SOCK.NONBLOCK)
    child, theirs = await make_child_afd(pair)
    async with bare.closing(pair.first, pair.second):
        async with child.process:
            # That one is needed.
            with pytest.raises(FileExistsError):
                await local_thread.make_afd(pair.first)
            os.write(int(pair.second.near), b"x")
            with trio.fail_after(60):
                assert await theirs.read_some_bytes() == b"x"
        if how == "closed":
            await theirs.close()
        elif how == "dropped":
            del theirs
            gc.collect()
        ours = await local_thread.make_afd(pair.first)
        received = []

        async def read() -> None:
            received.append(await ours.read_some_bytes())

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                await trio.testing.wait_all_tasks_blocked()
                os.write(int(pair.second.near), b"y")
        assert received == [b"y"]
        await ours.close()
        if how == "kept":
            await theirs.close()
