"""Misuse is refused by a specific exception, before any call is made in any process."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, SupportsInt

import pytest
from support import local_thread, sh

from rsyscall.command import Command
from rsyscall.epoller import AsyncFileDescriptor
from rsyscall.far import AddressSpaceMismatchError, FDTableMismatchError, NamespaceMismatchError
from rsyscall.fcntl import F, O
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.handle.fd import InvalidHandleError, SharedHandleError
from rsyscall.handle.pointer import PointerMergeError
from rsyscall.handle.process import DeadProcessError
from rsyscall.near import SYS, Syscall, SyscallInterface, SyscallSendError
from rsyscall.path import Path
from rsyscall.sched import CLONE
from rsyscall.signal import SIG, HowSIG, Sigaction, Siginfo, Sigset
from rsyscall.struct import Int32
from rsyscall.sys.epoll import EPOLL, EPOLL_CTL, EpollEvent, EpollEventList
from rsyscall.sys.prctl import PR
from rsyscall.sys.socket import AF, SOCK, CmsgList, CmsgSCMRights, SendMsghdr, Socketpair
from rsyscall.sys.stat import Stat
from rsyscall.sys.uio import IovecList
from rsyscall.sys.wait import W
from rsyscall.thread import ChildThread, Thread
from rsyscall.time import CLOCK, Itimerspec
from rsyscall.unistd import Pipe
from rsyscall.unistd.credentials import ResIds

pytestmark = pytest.mark.usefixtures("transport")


class Counting(SyscallInterface):
    """Passes calls on, and counts them."""

    def __init__(self, inner: SyscallInterface) -> None:
        self.inner = inner
        self.abi = inner.abi
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    async def syscall(
        self,
        number: SYS,
        arg1: SupportsInt = 0,
        arg2: SupportsInt = 0,
        arg3: SupportsInt = 0,
        arg4: SupportsInt = 0,
        arg5: SupportsInt = 0,
        arg6: SupportsInt = 0,
    ) -> int:
        # The loop that waits for events in the background may come to that at any moment.
        if number != SYS.epoll_pwait:
            self.calls.append(str(Syscall(number, arg1, arg2, arg3, arg4, arg5, arg6)))
        return await self.inner.syscall(number, arg1, arg2, arg3, arg4, arg5, arg6)

    async def syscalls(self, calls: Sequence[Syscall], linked: bool = False) -> list[int]:
        self.calls += map(str, calls)
        return await self.inner.syscalls(calls, linked)

    async def close_interface(self) -> None:
        await self.inner.close_interface()

    def get_activity_fd(self) -> Any:
        return self.inner.get_activity_fd()


@contextlib.contextmanager
def no_calls(*threads: Thread) -> Iterator[None]:
    """Check that no call is made in these processes, nor in our own."""
    every = [local_thread, *threads]
    counters = []
    for thread in every:
        counters.append(counter := Counting(thread.task.sysif))
        thread.task.sysif = counter
    try:
        yield
        assert [counter.calls for counter in counters] == [[] for _ in counters]
    finally:
        for thread, counter in zip(every, counters, strict=True):
            if thread.task.sysif is counter:
                thread.task.sysif = counter.inner


@contextlib.asynccontextmanager
async def children(*flags: CLONE) -> AsyncIterator[list[ChildThread]]:
    """Children which are killed at the end."""
    threads = [await local_thread.clone(flag) for flag in flags]
    try:
        yield threads
    finally:
        for thread in threads:
            async with thread.process:
                pass


async def null(thread: Thread) -> Any:
    """An open descriptor."""
    return await thread.task.open(await thread.ptr(Path("/dev/null")), O.RDWR)


# ---- descriptors ----


async def test_descriptor_of_another_table() -> None:
    async with children(CLONE.NONE, CLONE.NONE) as [one, two]:
        ours, theirs = await null(one), await null(two)
        epfd = await one.task.epoll_create()
        pair = await one.socketpair(AF.UNIX, SOCK.STREAM)
        event = await one.ptr(EpollEvent(1, EPOLL.IN))
        data = await one.ptr(b"x")
        message = await one.ptr(
            SendMsghdr(
                None, await one.ptr(IovecList([data])), await one.ptr(CmsgList([CmsgSCMRights([theirs])]))
            )
        )
        with no_calls(one, two):
            for misuse in (
                lambda: theirs.dup2(ours),
                lambda: ours.dup2(theirs),
                lambda: epfd.epoll_ctl(EPOLL_CTL.ADD, theirs, event),
                lambda: one.task.setns(theirs, CLONE.NEWNS),
                lambda: pair.first.sendmsg(message, 0),
                lambda: one.epoller.register(theirs, EPOLL.IN),
                lambda: AsyncFileDescriptor.make(one.epoller, one.ram, theirs),
            ):
                with pytest.raises(FDTableMismatchError):
                    await misuse()  # type: ignore[no-untyped-call] # they are all alike
            for misuse in (
                lambda: one.inherit_fd(theirs),
                lambda: one.task.inherit_fd(theirs),
                lambda: theirs.for_task(one.task),
                lambda: theirs.move(one.task),
            ):
                with pytest.raises(FDTableMismatchError):
                    misuse()
        assert await ours.fcntl(F.GETFD) >= 0
        assert await theirs.fcntl(F.GETFD) >= 0


async def test_descriptor_of_an_executed_process() -> None:
    async with children(CLONE.NONE, CLONE.FILES) as [private, shared]:
        fds = [(thread, await null(thread), thread.stdin) for thread in (private, shared)]
        for thread, fd, stdin in fds:
            buf = await thread.malloc(bytes, 10)
            await thread.exec(sh("exec sleep 1000"))
            with no_calls():
                for handle in (fd, stdin):
                    for misuse in (
                        functools.partial(handle.fcntl, F.GETFD),
                        functools.partial(handle.read, buf),
                        handle.close,
                    ):
                        # The last one says that it was certainly not sent.
                        with pytest.raises((AddressSpaceMismatchError, InvalidHandleError, SyscallSendError)):
                            await misuse()


async def test_closed_descriptor() -> None:
    async with children(CLONE.NONE) as [child]:
        fd, other = await null(child), await null(child)
        buf = await child.malloc(bytes, 10)
        epfd = await child.task.epoll_create()
        event = await child.ptr(EpollEvent(1, EPOLL.IN))
        await fd.close()
        with no_calls(child):
            for misuse in (
                lambda: fd.fcntl(F.GETFD),
                lambda: fd.read(buf),
                lambda: fd.write(buf),
                fd.close,
                lambda: fd.dup2(other),
                lambda: other.dup2(fd),
                lambda: epfd.epoll_ctl(EPOLL_CTL.ADD, fd, event),
                lambda: child.make_afd(fd),
                fd.as_argument,
            ):
                with pytest.raises(InvalidHandleError):
                    await misuse()
            with pytest.raises(InvalidHandleError):
                fd.for_task(child.task)
        # The buffer was not consumed by any of these.
        await other.write(buf)


async def test_shared_handle() -> None:
    async with children(CLONE.FILES) as [child]:
        fd, other = await null(local_thread), await null(local_thread)
        theirs = fd.for_task(child.task)
        with no_calls(child):
            for misuse in (
                fd.close,
                theirs.close,
                fd.disable_cloexec,
                fd.as_argument,
                lambda: other.dup2(fd),
                lambda: other.dup3(theirs, O.CLOEXEC),
            ):
                with pytest.raises(SharedHandleError):
                    await misuse()
            # This gives up one of two handles, which needs no call.
            assert not await theirs.invalidate()
        await fd.close()
        await other.close()


# ---- memory ----


async def test_memory_of_another_address_space() -> None:
    """A process that has executed a program has memory of its own; our addresses mean nothing there."""
    async with children(CLONE.NONE, CLONE.NONE) as [child, other]:
        ours, theirs = await local_thread.ptr(Path("/")), await child.ptr(Path("/"))
        await child.task.chdir(ours)
        await local_thread.task.chdir(await other.ptr(Path(os.getcwd())))
        await child.exec(sh("exec sleep 1000"))
        with no_calls(child, other):
            for misuse in (
                lambda: child.task.chdir(ours),
                lambda: child.task.chroot(ours),
                lambda: child.task.open(ours, O.RDONLY),
                theirs.read,
            ):
                with pytest.raises(SyscallSendError):
                    await misuse()
            # `theirs` is used through the child, whose address space is another one now.
            with pytest.raises(AddressSpaceMismatchError):
                await other.task.chdir(theirs)
        # For those who still share the memory it is as good as ever.
        await other.task.chdir(ours)


async def test_memory_after_free() -> None:
    async with children(CLONE.NONE) as [child]:
        fd = await null(child)
        buf, path = await child.malloc(bytes, 10), await child.ptr(Path("/"))
        stat = await child.malloc(Stat)
        pipe = await child.malloc(Pipe)
        for pointer in (buf, path, stat, pipe):
            pointer.free()
        with no_calls(child):
            for misuse in (
                lambda: fd.read(buf),
                lambda: fd.write(buf),
                lambda: child.task.chdir(path),
                lambda: child.task.open(path, O.RDONLY),
                lambda: fd.fstat(stat),
                lambda: child.task.pipe(pipe, O.NONE if hasattr(O, "NONE") else O(0)),
                buf.read,
                path.read,
            ):
                with pytest.raises(UseAfterFreeError):
                    await misuse()
            with pytest.raises(UseAfterFreeError):
                _ = buf.near
            with pytest.raises(UseAfterFreeError):
                buf.split(1)
            assert "bytes" in str(buf) or str(buf)


async def test_memory_that_was_consumed_or_split() -> None:
    async with children(CLONE.NONE) as [child]:
        fd = await null(child)
        consumed = await child.ptr(b"0123456789")
        valid, rest = await fd.write(consumed)
        split = await child.malloc(bytes, 10)
        left, right = split.split(4)
        written = await child.malloc(bytes, 4)
        await written.write(b"abcd")
        merged = [await child.malloc(bytes, 4) for _ in range(2)]
        with no_calls(child):
            for pointer in (consumed, split, written):
                for misuse in (
                    functools.partial(fd.read, pointer),
                    functools.partial(fd.write, pointer),
                    pointer.read,
                ):
                    with pytest.raises(UseAfterFreeError):
                        await misuse()
            with pytest.raises(PointerMergeError):
                _ = right + left
            with pytest.raises(PointerMergeError):
                _ = merged[1] + merged[0]
            for size in (-1, 11):
                with pytest.raises((ValueError, IndexError)):
                    valid.split(size)
        assert (left + right).size() == 10
        assert rest.size() == 0


async def test_buffers_that_are_too_small() -> None:
    """The kernel would write behind them, into the memory of other pointers."""
    async with children(CLONE.NONE) as [child]:
        task = child.task
        fd = await null(child)
        epfd = await task.epoll_create()
        timer = await task.timerfd_create(CLOCK.MONOTONIC)
        sock = await child.socket(AF.UNIX, SOCK.STREAM)
        spec, mask = await child.ptr(Itimerspec(0, 0)), await child.ptr(Sigset())

        async def short(kind: Any) -> Any:
            """A pointer to some type, with three bytes of room."""
            start, _ = (await child.malloc(kind)).split(3)
            return start

        pointers = {
            kind: await short(kind)
            for kind in (Stat, Sigset, Sigaction, Siginfo, Pipe, Socketpair, Itimerspec, Int32, ResIds)
        }
        events, _ = (await child.malloc(EpollEventList, 12)).split(3)
        small = await child.malloc(bytes, 4)
        with no_calls(child):
            for misuse in (
                lambda: small.write(b"12345"),
                lambda: fd.fstat(pointers[Stat]),
                lambda: task.sigprocmask(None, pointers[Sigset]),
                lambda: task.sigprocmask((HowSIG.BLOCK, mask), pointers[Sigset]),
                lambda: task.sigaction(SIG.USR1, None, pointers[Sigaction]),
                lambda: task.sigaction(SIG.USR1, pointers[Sigaction], None),
                lambda: task.signalfd(pointers[Sigset], 0),
                lambda: task.pipe(pointers[Pipe]),
                lambda: task.socketpair(AF.UNIX, SOCK.STREAM, 0, pointers[Socketpair]),
                lambda: epfd.epoll_wait(events, 0),
                lambda: timer.timerfd_gettime(pointers[Itimerspec]),
                lambda: timer.timerfd_settime(0, spec, pointers[Itimerspec]),
                lambda: task.prctl(PR.GET_PDEATHSIG, pointers[Int32]),
                lambda: task.prctl(PR.GET_CHILD_SUBREAPER, pointers[Int32]),
                lambda: task.getresuid(pointers[ResIds]),
                lambda: child.process.process.waitid(W.EXITED | W.NOHANG, pointers[Siginfo]),
                lambda: sock.getsockname(pointers[Int32]),
            ):
                with pytest.raises((ValueError, TypeError, AttributeError)) as caught:
                    await misuse()
                assert isinstance(caught.value, ValueError), caught.value
        assert await task.getuid() >= 0


async def test_strings_that_programs_cannot_get() -> None:
    for command in (Command("/bin/true", ["true", "a\0b"], {}), Command("/bin/tr\0ue", ["true"], {})):
        with no_calls(), pytest.raises(ValueError, match=r"NUL|null"):
            await local_thread.run(command)
    async with children(CLONE.NONE) as [child]:
        with no_calls(child), pytest.raises(ValueError, match=r"NUL|null"):
            await child.exec(Command("/bin/true", ["true"], {"A": "b\0c"}))


# ---- processes ----


@pytest.mark.needs("pid namespaces")
async def test_child_of_another_process() -> None:
    async with children(CLONE.NONE, CLONE.NEWUSER | CLONE.NEWPID) as [child, init]:
        inner = await init.clone()
        with no_calls(child, init, inner):
            with pytest.raises(ValueError, match="child of"):
                local_thread.monitor.add_child_process(inner.process.process)
            with pytest.raises(ValueError, match="not a child of"):
                local_thread.monitor.inherit_to_child(inner.task)
            with pytest.raises(NamespaceMismatchError):
                await inner.process.process.setpgid(child.process.process)


async def test_dead_child() -> None:
    async with children(CLONE.NONE, CLONE.NONE) as [dead, child]:
        await dead.exit(0)
        await dead.process.waitpid(W.EXITED)
        with no_calls(child, dead):
            for misuse in (
                lambda: child.process.process.setpgid(dead.process.process),
                dead.process.process.getpgid,
                lambda: dead.process.process.kill(9),
            ):
                with pytest.raises(DeadProcessError):
                    await misuse()
            # Death is what is wanted of it, and known.
            await dead.process.kill()
            await dead.process.killpg()
            assert (await dead.process.waitpid(W.EXITED)).clean()
        with pytest.raises(SyscallSendError):
            await dead.clone()


async def test_executed_child_is_not_a_thread_any_more() -> None:
    async with children(CLONE.NONE) as [child]:
        await child.exec(sh("exec sleep 1000"))
        for misuse in (child.clone, child.task.getpid, lambda: child.exit(0), lambda: child.run(sh("true"))):
            with pytest.raises(
                (SyscallSendError, AddressSpaceMismatchError, FDTableMismatchError, ValueError)
            ):
                await misuse()


async def test_prepared_thread() -> None:
    """Only calls whose result is not needed, and it becomes a process once."""
    with no_calls():
        prepared = local_thread.prepare()
        for misuse in (
            lambda: prepared.task.getpid(),
            lambda: prepared.task.epoll_create(),
            lambda: prepared.stdin.lseek(0, 0),
        ):
            with pytest.raises(ValueError, match="cannot be prepared"):
                await misuse()
        with pytest.raises(ValueError, match="clone with NEWUSER"):
            local_thread.prepare(CLONE.NEWUSER)
    await (await prepared.exec(sh("true"))).check()
    with no_calls(), pytest.raises(ValueError, match="already"):
        await prepared.exec(sh("true"))
