"""Several channels over the one stream to a process elsewhere.

No descriptor gets to the other side of a stream. So at either end of it a small program, `rsyscall-relay`,
puts several streams into one: see `native/src/relay.c`, which has the format and its reasons. A channel is a
pair of sockets on either side; the two relays have one end of each and move the bytes in between.

* **Started when it is needed.** The first channel starts both relays. A process that needs none is driven as
  before, and costs no more. The program gets to the other side over the stream: it is copied into the memory
  of the process there, and a copy of the process runs it. So no file has to be placed, and the program in the
  command line does not grow.
* **Changing over.** When no call is under way, the process there replaces its end of the stream by a socket
  that leads to its relay, and we replace ours in the same way, under the same numbers. The requests that do
  so are the last ones outside of any channel; their answers are the first bytes inside of one.
* **Independent.** A call that blocks a process blocks its channel. A channel whose reader is slow or dead
  takes no more than its window.
* **Not trusted.** What comes from the other side is parsed in a process of its own, which has none of our
  memory and no descriptors but those that it relays. It ends when the format is violated.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, MutableSet, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import trio

from rsyscall.async_fd import AsyncFileDescriptor
from rsyscall.background import together
from rsyscall.denied import any_answer
from rsyscall.fcntl import F, O
from rsyscall.loader import Trampoline, function_at
from rsyscall.native import relay_path
from rsyscall.near import Syscall, SyscallError, nr
from rsyscall.near.stream import Exchange
from rsyscall.network.channels import _close_all
from rsyscall.network.passing import _make_message, _make_pair, _make_pairs
from rsyscall.network.private import passing
from rsyscall.sched import Stack
from rsyscall.stream import SyscallConnection
from rsyscall.stream_wait import Reader, is_local, leave, wait_writable
from rsyscall.sys.mman import MAP, PROT
from rsyscall.sys.socket import SOCK, SendmsgFlags
from rsyscall.turns import Turns

if TYPE_CHECKING:
    from rsyscall.epoll_loop import EpollWaiter
    from rsyscall.handle import FileDescriptor, Pointer, Task
    from rsyscall.loader import NativeLoader
    from rsyscall.memory.ram import RAM
    from rsyscall.monitor import AsyncChildProcess
    from rsyscall.network.channels import Connection

__all__ = ["Multiplexer", "SharedStream", "relay_path"]

logger: logging.Logger = logging.getLogger(__name__)

_MESSAGE = struct.Struct("=Ii")
_STAMP = struct.Struct("=16s4i")
_MAGIC = b"RSYSCALL RELAYS\0"
_ELF = struct.Struct("=16xHHIQQ")
_STACK_SIZE = 16384
_TRAMPOLINE_SIZE = 64
_ANSWER = 16
_MACHINES = {62: "x86_64", 183: "aarch64", 243: "riscv64"}


# Set in the tasks that have a stream for themselves.
_holder: ContextVar[object] = ContextVar("rsyscall_holder", default=None)


class SharedStream(SyscallConnection):
    """A stream to a process that can become one channel of several."""

    # Whose tasks have it for themselves, and what the others wait for.
    _alone: tuple[object, trio.Event] | None = None

    async def _exchange(self, exchange: Exchange, waiter: Reader) -> None:
        while self._alone is not None and self._alone[0] is not _holder.get():
            await self._alone[1].wait()
        await super()._exchange(exchange, waiter)

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Have only calls of the running task, and of tasks that it starts, under way; the others wait."""
        holder, freed = object(), trio.Event()
        self._alone = holder, freed
        token = _holder.set(holder)
        try:
            # Also one that waits for events returns because of this. Answers come in order.
            await any_answer(self)
            yield
        finally:
            _holder.reset(token)
            self._alone = None
            freed.set()

    async def change_over(self, calls: Sequence[Syscall], to: FileDescriptor) -> None:
        """Send these as the last calls over this stream, and go on with `to`, over which the answers come.

        To be called in `alone`. If it fails, the connection ends.

        Args:
            calls: the first one that fails is the last one that is made.
            to: non-blocking, of the same process as our end of the stream. It stays open.

        Raises:
            OSError: of one of the calls.
            SyscallError: the process is gone.

        manpage: dup(2)
        """
        handle, state = self.tofd.handle, self._state
        with trio.CancelScope(shield=True):
            # No loop of ours may wait for what is replaced.
            leave(self.fromfd)
            while self._receiver.is_running or self._sender.is_running:
                await trio.lowlevel.checkpoint()
            await self.tofd.epolled.delete()
            exchange = Exchange.calls(lambda: None, self.abi, calls, True)
            try:
                state.submit(exchange)
                while state.wants_to_send:
                    try:
                        await self._send_once()
                    except BlockingIOError:
                        await wait_writable(self.tofd)
                await handle.task.sysif.syscall(nr.dup3, to.near, handle.near, O.CLOEXEC)
                await self._outlast(exchange)
                _check(exchange.check())
            except BaseException:
                await self.close_interface()
                raise


def _relay_image(machine: int, descriptors: Sequence[int]) -> tuple[bytes, int]:
    """The program as it is copied into memory, and where it is entered.

    Args:
        machine: the architecture, as `e_machine` of ELF.
        descriptors: where it finds the carrier, for reading and writing, and its control socket.
    """
    program = relay_path(_MACHINES[machine]).read_bytes()
    entry = _ELF.unpack_from(program)[3]
    at = program.index(_MAGIC)
    stamp = _STAMP.pack(_MAGIC, *descriptors, 1)
    return program[:at] + stamp + program[at + len(stamp) :], entry


class Multiplexer:
    """Makes channels between this program and the processes of a far side.

    Args:
        stream: to the root of the far side.
        task: of the root.
        ram: its memory.
        loader: its native functions.
        waiter: of its epoll instance.
        machine: its architecture, as `e_machine` of ELF.
        private: of what the root has open, this is not for its children.
        turns: in which processes are cloned there.
        start: executes the relay in this place: with these descriptors, the carrier as standard input and
            output, and the control socket as standard error.

    Attributes:
        relay: the process of the relay here, once it has been started.
    """

    def __init__(
        self,
        stream: SharedStream,
        task: Task,
        ram: RAM,
        loader: NativeLoader,
        waiter: EpollWaiter,
        machine: int,
        private: MutableSet[FileDescriptor],
        turns: Turns,
        start: Callable[[FileDescriptor, FileDescriptor], Awaitable[AsyncChildProcess]],
    ) -> None:
        self.relay: AsyncChildProcess | None = None
        self._stream = stream
        self._task = task
        self._ram = ram
        self._loader = loader
        self._waiter = waiter
        self._machine = machine
        self._private = private
        self._turns = turns
        self._start_here = start
        self._numbers = itertools.count(1)
        # The control sockets, there and here; and whether there will be none.
        self._controls: tuple[FileDescriptor, AsyncFileDescriptor] | None = None
        self._refused = False

    @property
    def running(self) -> bool:
        """Whether the relays have been started."""
        return self._controls is not None

    @trio.lowlevel.enable_ki_protection
    async def open_channels(
        self, connection: Connection, count: int
    ) -> list[tuple[FileDescriptor, FileDescriptor]]:
        """Open channels: see `Connection.open_channels`.

        Args:
            connection: to the process there. Its access side is the root.
            count: how many.

        Returns:
            As that; where relays cannot be started, our ends are in the root.

        manpage: socketpair(2)
        """
        async with self._turns.next():
            if await self.start():
                return await self.open_in_turn(connection, count)
        return await connection.open_channels(count)

    @trio.lowlevel.enable_ki_protection
    async def open_async_channels(
        self, connection: Connection, count: int
    ) -> list[tuple[AsyncFileDescriptor, FileDescriptor]]:
        """As `open_channels`, with asynchronous ends here."""
        async with self._turns.next():
            if await self.start():
                return await self.make_async(await self.open_in_turn(connection, count))
        return await connection.open_async_channels(count)

    async def make_async(
        self, pairs: list[tuple[FileDescriptor, FileDescriptor]]
    ) -> list[tuple[AsyncFileDescriptor, FileDescriptor]]:
        """Make the ends here asynchronous; if that fails, all are closed."""
        channels: list[tuple[AsyncFileDescriptor, FileDescriptor]] = []
        try:
            for ours, theirs in pairs:
                channels.append((await self._make_async(ours), theirs))
        except BaseException:
            await _close_all(afd for afd, _ in channels)
            await _close_all(fd for pair in pairs for fd in pair)
            raise
        return channels

    async def _make_async(self, fd: FileDescriptor) -> AsyncFileDescriptor:
        await fd.fcntl(F.SETFL, O.NONBLOCK)
        here = self._stream.tofd
        return await AsyncFileDescriptor.make(here.epolled.epoller, here.ram, fd)

    async def open_in_turn(
        self, connection: Connection, count: int
    ) -> list[tuple[FileDescriptor, FileDescriptor]]:
        """As `open_channels`, in a turn of `turns`, when the relays run."""
        channels: list[tuple[FileDescriptor, FileDescriptor]] = []
        try:
            for _ in range(count):
                channels.append(await self._open(connection))
        except BaseException:
            await _close_all(end for channel in channels for end in channel)
            raise
        return channels

    async def _open(self, connection: Connection) -> tuple[FileDescriptor, FileDescriptor]:
        assert self._controls is not None
        here = self._stream.tofd
        number = next(self._numbers)
        opened: list[FileDescriptor] = []
        try:
            [ours], [near_end] = await _make_pairs(here.handle.task, here.ram, SOCK.STREAM, 1)
            opened += ours, near_end
            [theirs], [far_end] = await _make_pairs(self._task, self._ram, SOCK.STREAM, 1)
            opened += theirs, far_end
            [theirs] = await passing(connection).move_fds([theirs])
            opened.append(theirs)
            await self._hand_over(number, near_end, far_end, 0)
        except BaseException:
            await _close_all(opened)
            raise
        return ours, theirs

    @trio.lowlevel.enable_ki_protection
    async def take(self, afd: AsyncFileDescriptor) -> AsyncFileDescriptor:
        """Have the relay there read and write a socket, instead of calls of the root.

        Args:
            afd: a stream socket of a process there, whose peer has sent nothing that was not read. It is used
                no more, unless it is returned.

        Returns:
            Our end of a channel that leads to it. `afd` itself, if it is not of the root, or there are no
            relays.

        Raises:
            OSError, SyscallError: `afd` is closed then, or has to be closed by the caller.

        manpage: socketpair(2), sendmsg(2)
        """
        if afd.handle.task is not self._task:
            return afd
        async with self._turns.next():
            if not await self.start():
                return afd
            here = self._stream.tofd
            [ours], [near_end] = await _make_pairs(here.handle.task, here.ram, SOCK.STREAM, 1)
            try:
                await afd.epolled.delete()
                await self._hand_over(next(self._numbers), near_end, afd.handle, 0)
                return await self._make_async(ours)
            except BaseException:
                await _close_all([ours, near_end])
                raise

    async def _hand_over(
        self, number: int, near_end: FileDescriptor, far_end: FileDescriptor, wait: int
    ) -> None:
        """Give the relays the two ends of a channel, and close them.

        manpage: sendmsg(2), recv(2)
        """
        assert self._controls is not None
        there, here = self._controls
        sysif, ram = self._task.sysif, self._ram
        buffer: Pointer[bytes] = await ram.malloc(bytes, _MESSAGE.size)
        message = await _make_message(ram, _MESSAGE.pack(number, wait), [far_end])
        # The relays answer at once.
        with trio.CancelScope(shield=True):
            with message.borrow(self._task) as address, buffer.borrow(self._task) as place:
                calls = [
                    Syscall(nr.sendmsg, there.near, address, SendmsgFlags.NOSIGNAL),
                    Syscall(nr.recvfrom, there.near, place, _MESSAGE.size),
                ]
                results = await sysif.syscalls(calls, linked=True)
            _check(results)
            answer, _ = await together(lambda: ram.transport.read(buffer), lambda: _close_all([far_end]))
            await _check_answer(self._task, number, answer[: results[1]])
            # From now on, no answer may come over the stream that is not in a frame.
            await here.handle.sendmsg(
                await _make_message(here.ram, _MESSAGE.pack(number, 0), [near_end]), SendmsgFlags.NOSIGNAL
            )
            await _check_answer(self._task, number, await here.read_some_bytes(_MESSAGE.size))
            await _close_all([near_end])

    # ---- the start

    async def start(self) -> bool:
        """Start the relays unless they run; returns whether that is possible there. In a turn of `turns`.

        Raises:
            SyscallError: the process is gone.
        """
        if self._controls is None and not self._refused:
            try:
                await self._start()
            except OSError:
                # A filter or a policy denies it, or this machine has no program for that one.
                logger.debug("no relays for %s", self._task, exc_info=True)
                self._refused = True
        return self._controls is not None

    async def _start(self) -> None:
        stream, task, ram = self._stream, self._task, self._ram
        here = stream.tofd
        if not is_local(here):
            raise OSError(errno.EOPNOTSUPP, "the stream ends in another process", here)
        home, home_ram = here.handle.task, here.ram
        opened: list[FileDescriptor] = []

        async def pair(task: Task, ram: RAM, type: SOCK) -> tuple[FileDescriptor, FileDescriptor]:
            made = await _make_pair(task, ram, type)
            opened.extend([made.first, made.second])
            return made.first, made.second

        control: AsyncFileDescriptor | None = None
        process: AsyncChildProcess | None = None
        await _check_replacing(here.handle)
        try:
            near_stream, near_end = await pair(home, home_ram, SOCK.STREAM)
            near_control, near_relay = await pair(home, home_ram, SOCK.SEQPACKET)
            # Round trips count.
            (far_stream, far_end), (far_control, far_relay) = await together(
                lambda: pair(task, ram, SOCK.STREAM), lambda: pair(task, ram, SOCK.SEQPACKET)
            )
            await near_stream.fcntl(F.SETFL, O.NONBLOCK)
            control = await self._make_async(near_control)
            self._private.add(far_control)
            async with stream.alone():
                await self._start_there(far_relay)
                process = await self._start_here(here.handle, near_relay)
                await _close_all([near_relay])
                await _close_all([far_relay])
                # In this order: the process reads the second request where it has read the first one.
                ends = [stream.server_outfd, stream.server_infd]
                requests = [Syscall(nr.dup3, far_stream.near, end.near, O.CLOEXEC) for end in ends]
                async with self._waiter.changing_activity_fd():
                    self._controls = far_control, control
                    await self._hand_over(0, near_end, far_end, 2 * _ANSWER)
                    await stream.change_over(requests, near_stream)
                self.relay = process
            await _close_all([far_stream, near_stream])
        except BaseException:
            self._controls = None
            if control is not None:
                await _close_all([control])
            await _close_all(opened)
            if process is not None:
                with trio.CancelScope(shield=True), contextlib.suppress(OSError, SyscallError):
                    async with process:
                        pass
            raise

    async def _start_there(self, control: FileDescriptor) -> None:
        """Copy the program into the memory of the root, and have a copy of the root run it.

        It reads nothing before it is given the first channel, and ends if `control` is closed before.

        manpage: mmap(2), mprotect(2), clone(2)
        """
        task, stream, ram = self._task, self._stream, self._ram
        image, entry = _relay_image(
            self._machine, [int(fd.near) for fd in (stream.server_infd, stream.server_outfd, control)]
        )
        page = stream.abi.page_size
        length = -(-len(image) // page) * page
        code = await task.mmap(length, PROT.READ | PROT.WRITE, MAP.PRIVATE, page_size=page)
        try:
            address = int(code.near.address)
            memory: Pointer[Stack[Any]] = await ram.malloc(Stack, _STACK_SIZE)
            _free, rest = memory.split(_STACK_SIZE - _TRAMPOLINE_SIZE)
            start = self._loader.make_trampoline_stack(Trampoline(function_at(task, address + entry), []))
            _, stack, _ = await together(
                lambda: task.sysif.write_memory(address, image),
                lambda: rest.write(start),
                lambda: _check_replacing(control),
            )
            # The relay sends no signal when it exits, so that a wait for any child does not find it.
            calls = [
                Syscall(nr.mprotect, address, length, PROT.READ | PROT.EXEC),
                Syscall(nr.clone, 0, stack.near),
            ]
            _check(await task.sysif.syscalls(calls, linked=True))
        finally:
            # It may be denied, too.
            with contextlib.suppress(OSError, SyscallError):
                await code.munmap()


async def _check_replacing(fd: FileDescriptor) -> None:
    """Raise if descriptors may not be replaced: where we need that first, there is no way back.

    manpage: dup(2)
    """
    try:
        # In place of itself, which the kernel refuses.
        await fd.task.sysif.syscall(nr.dup3, fd.near, fd.near, 0)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


def _check(results: Sequence[int]) -> None:
    """Raise for the first call that failed."""
    for result in results:
        if result < 0:
            raise OSError(-result, os.strerror(-result))


async def _check_answer(task: Task, number: int, answer: bytes) -> None:
    if len(answer) != _MESSAGE.size:
        # The relay is gone, most likely with the stream. This says so.
        await any_answer(task.sysif)
        raise OSError(errno.ECONNRESET, "the relay is gone")
    channel, result = _MESSAGE.unpack(answer)
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    if (channel, result) != (number, 0):
        raise SyscallError(f"the relay answers for channel {channel}, not {number}")
