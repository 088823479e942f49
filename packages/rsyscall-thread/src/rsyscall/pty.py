"""Pseudoterminals: a terminal for a command, and our end of it.

What is written to our end is the input of the terminal, as if it were typed: it is echoed, edited by line,
and Ctrl-C becomes SIGINT, as far as the attributes of the terminal say so. What a command writes to the
terminal is read from our end.

When the last process that has the terminal open closes it, the kernel answers EIO to reads from our end. Here
that is the end of the file, as it is for pipes.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Protocol, TypeVar

import trio

from rsyscall.async_fd import AsyncFileDescriptor
from rsyscall.fcntl import O
from rsyscall.near import SyscallError
from rsyscall.struct import Int32
from rsyscall.sys.ioctl import TIOC
from rsyscall.termios import TCSA, Termios, Winsize

if TYPE_CHECKING:
    from rsyscall.handle import FileDescriptor, Pointer, Task
    from rsyscall.memory.ram import RAM

__all__ = ["Pty", "Size", "open_pty"]

T = TypeVar("T")

Size = Winsize | os.terminal_size | tuple[int, int]
"""The size of a window: (lines, columns), or what the system calls and Python have for it."""


class _Thread(Protocol):
    """The parts of a thread that are needed to open a pseudoterminal."""

    @property
    def task(self) -> Task: ...
    @property
    def ram(self) -> RAM: ...
    async def make_afd(self, fd: FileDescriptor, set_nonblock: bool = ...) -> AsyncFileDescriptor: ...


def winsize_of(size: Size) -> Winsize:
    """The size as the kernel takes it."""
    if isinstance(size, Winsize):
        return size
    if isinstance(size, os.terminal_size):
        return Winsize(size.lines, size.columns)
    if not (isinstance(size, tuple) and len(size) == 2 and all(type(n) is int for n in size)):
        raise TypeError(f"size: expected (lines, columns), not {size!r}")
    lines, columns = size
    if not (0 <= lines < 1 << 16 and 0 <= columns < 1 << 16):
        raise ValueError(f"size: expected numbers from 0 to 65535, not {size!r}")
    return Winsize(lines, columns)


class Pty(AsyncFileDescriptor):
    """Our end of a pseudoterminal. A read returns nothing when no process has the terminal open any more.

    Closing it hangs up the terminal: the session on it gets SIGHUP.

    Made by `Thread.pty`. `Thread.run(command, terminal=pty)` runs a command on it.
    """

    __slots__ = ()

    async def read(self, ptr: Pointer[T]) -> tuple[Pointer[T], Pointer[T]]:
        """Read once, as much as there is and as fits.

        Args:
            ptr: where to; consumed, unless this is cancelled or raises.

        Returns:
            (what was read, the rest of the buffer). Nothing was read: the terminal is hung up.

        manpage: pts(4)
        """
        try:
            return await super().read(ptr)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
        return ptr.split(0)

    async def size(self) -> Winsize:
        """The size of the window.

        manpage: ioctl_tty(2)
        """
        return await (await self.handle.tcgetwinsize(await self.ram.malloc(Winsize))).read()

    async def resize(self, size: Size) -> None:
        """Change the size of the window. The command in the foreground gets SIGWINCH if it is another one.

        Args:
            size: (lines, columns), for example.

        manpage: ioctl_tty(2)
        """
        await self.handle.tcsetwinsize(await self.ram.ptr(winsize_of(size)))

    async def attributes(self) -> Termios:
        """What the terminal does with what is typed and written: a copy, to change and to set again.

        manpage: tcgetattr(3)
        """
        return await (await self.handle.tcgetattr(await self.ram.malloc(Termios))).read()

    async def set_attributes(self, attributes: Termios, when: TCSA = TCSA.NOW) -> None:
        """Change the attributes of the terminal.

        manpage: tcsetattr(3)
        """
        await self.handle.tcsetattr(when, await self.ram.ptr(attributes))

    async def open_terminal(self) -> FileDescriptor:
        """Open the terminal itself, without making it the controlling one of any process.

        As long as this descriptor is open there is no end of the file at our end.

        manpage: ioctl_tty(2)
        """
        return await self.handle.tiocgptpeer(O.RDWR | O.NOCTTY)

    async def follow_size(self, terminal: FileDescriptor) -> None:
        """Keep the size of the window like that of another terminal, until cancelled.

        The kernel tells changes of that by SIGWINCH, which only the main OS thread of Python can receive.

        Args:
            terminal: the controlling terminal of our own process.

        Raises:
            OSError: ENOTTY; `filename` is `terminal`.
            RuntimeError: this is not the main OS thread.
        """
        with trio.open_signal_receiver(signal.SIGWINCH) as changes:
            await self.follow_changes(terminal, changes)

    async def follow_changes(self, terminal: FileDescriptor, changes: AsyncIterable[object]) -> None:
        """As `follow_size`, for a caller that receives the signals."""
        await self.resize(size_of(terminal))
        async for _ in changes:
            await self.resize(size_of(terminal))


def size_of(terminal: FileDescriptor) -> os.terminal_size:
    """The size of a terminal of our own process."""
    if not terminal.task.sysif.immediate:
        raise ValueError(f"{terminal} is no descriptor of our own process, whose terminal this is about")
    try:
        with terminal.borrow(terminal.task) as number:
            return os.get_terminal_size(int(number))
    except OSError as error:
        error.filename = terminal
        raise


async def open_pty(
    thread: _Thread, size: Size | None = None, attributes: Termios | None = None, path: str = "/dev/ptmx"
) -> Pty:
    """Make a pseudoterminal: `Thread.pty`."""
    winsize = None if size is None else winsize_of(size)
    fd = await thread.task.open(await thread.ram.ptr(path), O.RDWR | O.NOCTTY | O.NONBLOCK)
    try:
        try:
            await fd.ioctl(TIOC.SPTLCK, await thread.ram.ptr(Int32(0)))
        except OSError as error:
            error.filename = path
            raise
        afd = await thread.make_afd(fd)
        pty = Pty(afd.ram, afd.handle, afd.epolled)
        if winsize is not None:
            await pty.resize(winsize)
        if attributes is not None:
            await pty.set_attributes(attributes)
    except BaseException:
        with trio.CancelScope(shield=True):
            try:
                await fd.invalidate()
            except SyscallError:
                pass  # the process has gone, and its descriptors with it
        raise
    return pty
