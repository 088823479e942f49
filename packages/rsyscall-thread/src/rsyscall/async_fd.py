"""Operations on a file descriptor that wait, in trio, until they can be done.

Every operation is the same loop: wait until the file is believed ready for it, make the system call, and if
that says EAGAIN, note it and start again. The beliefs are kept by `rsyscall.epoller_state`, the waiting is
done by `rsyscall.epoll_loop`.

An operation that can be done at once is not a checkpoint of trio: a loop that may go on for long needs one of
its own. A cancelled operation has either been done or it has not; when it has, its result is returned, and
trio cancels at the next checkpoint.
"""

from __future__ import annotations

import errno
import typing as t

import trio

from rsyscall.background import run_is_over
from rsyscall.near.sysif import SyscallError
from rsyscall.struct import HasSerializer
from rsyscall.sys.epoll import EPOLL
from rsyscall.sys.socket import MSG, SOCK

if t.TYPE_CHECKING:
    from rsyscall.epoll_loop import EpolledFileDescriptor, Epoller
    from rsyscall.handle import FileDescriptor, Pointer, WrittenPointer
    from rsyscall.memory.ram import RAM
    from rsyscall.sys.socket import Sockaddr, Sockbuf

__all__ = ["AsyncFileDescriptor", "finish"]

P = t.ParamSpec("P")
T = t.TypeVar("T")
T_sockaddr = t.TypeVar("T_sockaddr", bound="Sockaddr")

EVENTS = EPOLL.IN | EPOLL.OUT | EPOLL.RDHUP | EPOLL.PRI | EPOLL.ERR | EPOLL.HUP | EPOLL.ET
"""What an `AsyncFileDescriptor` is registered for."""

# What each operation listens to, as plain integers: see FDStatus.
_IN = EPOLL.IN.value
_OUT = EPOLL.OUT.value
_READ = int(EPOLL.IN | EPOLL.RDHUP | EPOLL.HUP | EPOLL.ERR)
_WRITE = int(EPOLL.OUT | EPOLL.ERR)
_ACCEPT = int(EPOLL.IN | EPOLL.HUP | EPOLL.ERR)
_CONNECT = int(EPOLL.OUT | EPOLL.HUP | EPOLL.ERR)


async def finish(step: t.Callable[[], t.Awaitable[T]]) -> T:
    """Run the last step of something that has had effects; when it is cancelled, run it again, shielded.

    Costs nothing without a cancellation, unlike a cancel scope around it. Returns the result even if
    cancelled, since no other task has it.

    Args:
        step: may be run twice, the first time up to any of its awaits.
    """
    try:
        return await step()
    except trio.Cancelled:
        with trio.CancelScope(shield=True):
            return await step()
        raise AssertionError("this scope is not cancelled") from None


class AsyncFileDescriptor:
    """A non-blocking file descriptor on which operations wait in trio instead of failing with EAGAIN.

    It owns its handle. Anything that is not here is done with `handle`.

    Args:
        ram: memory that the task of `handle` can use.
        handle: what the system calls are made on; must be non-blocking.
        epolled: the registration of the same open file.
    """

    __slots__ = ("__weakref__", "epolled", "handle", "ram")

    def __init__(self, ram: RAM, handle: FileDescriptor, epolled: EpolledFileDescriptor) -> None:
        self.ram: RAM = ram
        self.handle: FileDescriptor = handle
        self.epolled: EpolledFileDescriptor = epolled

    @staticmethod
    async def make(epoller: Epoller, ram: RAM, fd: FileDescriptor) -> AsyncFileDescriptor:
        """Register a file descriptor.

        Args:
            epoller: whose task has the same file descriptor table as `fd`.
            ram: memory that the task of `fd` can use.
            fd: non-blocking; belongs to the returned object if this succeeds.

        Raises:
            OSError: EPERM if this kind of file cannot be waited for, EEXIST if it has been registered
                already.

        manpage: epoll_ctl(2)
        """
        epolled = await epoller.register(fd, EVENTS)
        epolled.status.posedge(_IN | _OUT)
        return AsyncFileDescriptor(ram, fd, epolled)

    async def make_new_afd(self, fd: FileDescriptor) -> AsyncFileDescriptor:
        """Register another file descriptor with the same epoller; it is used with the same memory."""
        return await AsyncFileDescriptor.make(self.epolled.epoller, self.ram, fd)

    def with_handle(self, fd: FileDescriptor) -> AsyncFileDescriptor:
        """Return the same registration with system calls made through another handle, perhaps of another
        task.

        Args:
            fd: refers to the same open file. Closing either of the two objects ends the registration of both.
        """
        return AsyncFileDescriptor(self.ram, fd, self.epolled)

    async def wait_for_rdhup(self) -> None:
        """Wait until the other end has closed, or has shut down its sending side.

        What it sent before may still be waiting to be read.
        """
        await self.epolled.wait_for(EPOLL.RDHUP | EPOLL.HUP)

    async def read(self, ptr: Pointer[T]) -> tuple[Pointer[T], Pointer[T]]:
        """Read once, as much as there is and as fits.

        Args:
            ptr: where to; consumed, unless this is cancelled or raises.

        Returns:
            (what was read, the rest of the buffer). Nothing was read: the end of the file.

        Raises:
            OSError: EBADF at once if it is not open for reading; ECONNRESET; EIO.

        manpage: read(2)
        """
        return await self._retry(_READ, _IN, self.handle.read, ptr)

    async def read_some_bytes(self, count: int = 4096) -> bytes:
        """Read once, up to `count` bytes; returns b"" at the end of the file. Errors as for `read`.

        manpage: read(2)
        """
        valid, _ = await self.read(await self.ram.malloc(bytes, count))
        return await finish(valid.read)

    async def write(self, buf: Pointer[T]) -> tuple[Pointer[T], Pointer[T]]:
        """Write once, as much as there is room for.

        Args:
            buf: what to write; consumed, unless this is cancelled or raises.

        Returns:
            (what was written, what is left).

        Raises:
            OSError: EBADF at once if it is not open for writing; EPIPE; ECONNRESET; ENOSPC.

        manpage: write(2)
        """
        return await self._retry(_WRITE, _OUT, self.handle.write, buf)

    async def write_all(self, to_write: Pointer[t.Any]) -> None:
        """Write everything, waiting for room as often as needed.

        When this is cancelled or raises, a part may have been written, and it is unknown how much.

        Args:
            to_write: consumed.

        manpage: write(2)
        """
        while to_write.size():
            _, to_write = await self.write(to_write)

    async def write_all_bytes(self, buf: bytes | HasSerializer) -> None:
        """Write all of the bytes, or of a value in the form it has in memory; see `write_all`.

        manpage: write(2)
        """
        await self.write_all(await self.ram.ptr(buf))

    async def send(self, buf: Pointer[T], flags: MSG = MSG.NONE) -> tuple[Pointer[T], Pointer[T]]:
        """Like `write`, on a socket, with flags. MSG.NOSIGNAL spares the process the SIGPIPE.

        manpage: send(2)
        """
        return await self._retry(_WRITE, _OUT, self.handle.send, buf, flags)

    async def send_all(self, to_write: Pointer[t.Any], flags: MSG = MSG.NONE) -> None:
        """Like `write_all`, on a socket, with flags.

        manpage: send(2)
        """
        while to_write.size():
            _, to_write = await self.send(to_write, flags)

    async def send_all_bytes(self, buf: bytes | HasSerializer, flags: MSG = MSG.NONE) -> None:
        """Like `write_all_bytes`, on a socket, with flags.

        manpage: send(2)
        """
        await self.send_all(await self.ram.ptr(buf), flags)

    @t.overload
    async def accept(self, flags: SOCK = SOCK.NONE) -> FileDescriptor: ...

    @t.overload
    async def accept(
        self, flags: SOCK, addr: WrittenPointer[Sockbuf[T_sockaddr]]
    ) -> tuple[FileDescriptor, WrittenPointer[Sockbuf[T_sockaddr]]]: ...

    async def accept(
        self, flags: SOCK = SOCK.NONE, addr: WrittenPointer[Sockbuf[T_sockaddr]] | None = None
    ) -> FileDescriptor | tuple[FileDescriptor, WrittenPointer[Sockbuf[T_sockaddr]]]:
        """Wait for a connection and accept it.

        Args:
            flags: SOCK.NONBLOCK if you will make an `AsyncFileDescriptor` of the new socket.
            addr: where to put the address of the peer.

        Returns:
            The new socket, an ordinary handle; with `addr`, also the buffer, filled.

        Raises:
            OSError: EINVAL if it does not listen, EMFILE, ENFILE, ECONNABORTED.

        manpage: accept4(2)
        """
        if addr is None:
            return await self._retry(_ACCEPT, _IN, self.handle.accept, flags)
        return await self._retry(_ACCEPT, _IN, self.handle.accept, flags, addr)

    async def accept_addr(self, flags: SOCK = SOCK.NONE) -> tuple[FileDescriptor, Sockaddr]:
        """Wait for a connection and accept it; returns the new socket and the address of the peer. See
        `accept`.

        manpage: accept4(2)
        """
        # Only now: most programs need no addresses.
        from rsyscall.sys.socket import SockaddrStorage, Sockbuf

        buffer = await self.ram.ptr(Sockbuf(await self.ram.malloc(SockaddrStorage)))
        fd, buffer = await self.accept(flags, buffer)

        async def read_address() -> Sockaddr:
            return (await (await buffer.read()).buf.read()).parse()

        try:
            return fd, await finish(read_address)
        except BaseException:
            await finish(fd.invalidate)
            raise

    async def bind(self, addr: WrittenPointer[Sockaddr]) -> None:
        """Give the socket a name.

        manpage: bind(2)
        """
        await self.handle.bind(addr)

    async def connect(self, addr: WrittenPointer[Sockaddr]) -> None:
        """Connect, and wait until that has succeeded or failed.

        If it is cancelled while it waits, the kernel goes on connecting; calling this again with the same
        address waits for that.

        Raises:
            OSError: ECONNREFUSED, ETIMEDOUT, ENOENT and others, with the handle as `filename` and the address
                as `filename2`. EAGAIN from a Unix socket says that the backlog of the listener is full:
                nothing tells when that changes.

        manpage: connect(2)
        """
        status = self.epolled.status
        waited = False
        while True:
            started = status.now
            try:
                await self.handle.connect(addr)
                break
            except OSError as exn:
                if waited and exn.errno == errno.EISCONN:
                    break
                if exn.errno not in (errno.EINPROGRESS, errno.EALREADY):
                    status.failed(_CONNECT, started)
                    raise
            # Being told OUT does not mean being connected: a socket that is not connected reports OUT and HUP
            # when it is registered, and that may reach us only now. So the kernel is asked by connecting
            # again: 0 or EISCONN is success, EALREADY means that it still tries, anything else is why it
            # failed. SO_ERROR, which is 0 both for success and while it still tries, does not tell.
            status.would_block(_CONNECT, started)
            await self.epolled.wait_for(_CONNECT)
            waited = True
        self._succeeded(_CONNECT, started, _OUT)

    async def close(self) -> None:
        """Deregister, and close the file descriptor unless it has other handles. Does nothing the second
        time.

        Tasks that wait for the file get a `RemovedFromEpollError`. It is done even when cancelled, and when
        the process of the file is dead already.

        manpage: close(2)
        """
        handle = self.handle
        # In this order: closed while another descriptor refers to the file, it could never be deregistered.
        try:
            await self.epolled.delete()
        except trio.Cancelled:
            if self._is_cut_off():
                raise
            with trio.CancelScope(shield=True):
                await self.epolled.delete()
        try:
            await handle.invalidate()
        except SyscallError:
            pass  # a dead process has no file descriptors; those it shared belong to the other processes
        except trio.Cancelled:
            if self._is_cut_off():
                raise
            # The handle is invalid, but the number is not closed yet: it is garbage now.
            with trio.CancelScope(shield=True):
                await handle.task.fd_table.gc_using_task(handle.task, collect=False)

    def _is_cut_off(self) -> bool:
        """Whether the process cannot answer the current task any more."""
        return run_is_over() and not self.handle.task.sysif.immediate

    async def __aenter__(self) -> None:
        """Close when the block is left."""

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def when_readable(self, call: t.Callable[[], t.Coroutine[t.Any, t.Any, T]]) -> T:
        """Await `call`, which reads from the file, until it does not fail with EAGAIN."""
        return await self._retry(_READ, _IN, call)

    async def when_writable(self, call: t.Callable[[], t.Coroutine[t.Any, t.Any, T]]) -> T:
        """Await `call`, which writes to the file, until it does not fail with EAGAIN."""
        return await self._retry(_WRITE, _OUT, call)

    async def _retry(
        self,
        flags: int,
        proved: int,
        call: t.Callable[P, t.Coroutine[t.Any, t.Any, T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Make a call until it does not say EAGAIN.

        Args:
            flags: what the call listens to: any of these is a reason to try it.
            proved: what is ready when it succeeds.
            call: makes the system call once.
        """
        epolled = self.epolled
        status = epolled.status
        while True:
            if not status.ready(flags):
                await epolled.wait_for(flags)
            started = status.now
            try:
                result = await call(*args, **kwargs)
            except OSError as exn:
                if exn.errno != errno.EAGAIN:
                    status.failed(flags, started)
                    raise
                status.would_block(flags, started)
            else:
                self._succeeded(flags, started, proved)
                return result

    def _succeeded(self, flags: int, started: int, proved: int) -> None:
        if self.epolled.status.succeeded(flags, started, proved):
            # A task may sleep for the readiness that this operation has shown, and the edge may be used up.
            self.epolled._wake(proved)

    def __repr__(self) -> str:
        return f"AsyncFileDescriptor({self.handle})"
