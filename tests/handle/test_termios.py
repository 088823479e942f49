"""`rsyscall.termios`."""

from __future__ import annotations

import os
import signal
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rsyscall.fcntl import F, O
from rsyscall.handle import FileDescriptor
from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.struct import Int32
from rsyscall.sys.ioctl import TC, TCFLOW, TCFLUSH, TIOC
from rsyscall.termios import (
    BAUD,
    CFLAG,
    IFLAG,
    LFLAG,
    NCCS,
    OFLAG,
    TCSA,
    Termios,
    Termios2,
    V,
    Winsize,
    cfgetospeed,
    cfmakeraw,
    cfsetspeed,
)

from .helpers import forked, no_calls
from .support import Local

pytestmark = pytest.mark.needs("/dev/ptmx")


@asynccontextmanager
async def pty(local: Local) -> AsyncIterator[tuple[FileDescriptor, FileDescriptor]]:
    """A pseudoterminal: the end of the program that drives it, and the terminal."""
    path = await local.ptr("/dev/ptmx")
    async with await local.task.open(path, O.RDWR | O.NOCTTY) as ours:
        await ours.ioctl(TIOC.SPTLCK, await local.ptr(Int32(0)))
        async with await ours.tiocgptpeer(O.RDWR | O.NOCTTY) as terminal:
            yield ours, terminal


async def read(local: Local, fd: FileDescriptor) -> bytes:
    data, _ = await fd.read(await local.malloc(bytes, 100))
    return await data.read()


async def test_attributes_are_those_that_python_sees(local: Local) -> None:
    async with pty(local) as (_, terminal):
        room = await local.malloc(Termios)
        assert await terminal.tcgetattr(room) is room
        attributes = await room.read()
        iflag, oflag, cflag, lflag, _, ospeed, cc = termios.tcgetattr(int(terminal))
        assert (attributes.iflag, attributes.oflag, attributes.lflag) == (iflag, oflag, lflag)
        # The C library may add the input speed.
        assert attributes.cflag == cflag & ~CFLAG.CIBAUD
        # Which since glibc 2.42 has numbers of its own for speeds.
        assert ospeed == termios.B38400
        assert cfgetospeed(attributes) == BAUD.B38400
        assert attributes.cc == b"".join(value for value in cc[:NCCS] if isinstance(value, bytes))
        assert attributes.cc[V.INTR] == 3
        assert attributes.lflag & LFLAG.ECHO
        assert attributes.iflag & IFLAG.ICRNL

        attributes.lflag &= ~(LFLAG.ECHO | LFLAG.ICANON)
        attributes.cc[V.QUIT] = 7
        cfsetspeed(attributes, BAUD.B115200)
        await terminal.tcsetattr(TCSA.NOW, await local.ptr(attributes))
        _, _, cflag, lflag, _, ospeed, cc = termios.tcgetattr(int(terminal))
        assert not lflag & (termios.ECHO | termios.ICANON)
        assert cc[termios.VQUIT] == b"\x07"
        assert ospeed == termios.B115200
        assert cflag & ~CFLAG.CIBAUD == attributes.cflag


async def test_a_raw_terminal_passes_on_every_byte(local: Local) -> None:
    async with pty(local) as (ours, terminal):
        attributes = await (await terminal.tcgetattr(await local.malloc(Termios))).read()
        cfmakeraw(attributes)
        await terminal.tcsetattr(TCSA.FLUSH, await local.ptr(attributes))
        await terminal.tcsetattr(TCSA.DRAIN, await local.ptr(attributes))
        await terminal.write(await local.ptr(b"a\nb"))
        assert await read(local, ours) == b"a\nb"
        await ours.write(await local.ptr(b"\r\x03\x04"))
        assert await read(local, terminal) == b"\r\x03\x04"
        assert not attributes.oflag & OFLAG.OPOST
        assert attributes.cflag & CFLAG.CSIZE == CFLAG.CS8


async def test_speeds_of_any_number(local: Local) -> None:
    async with pty(local) as (_, terminal):
        room = await local.malloc(Termios2)
        await terminal.ioctl(TC.GETS2, room)
        attributes = await room.read()
        assert attributes.ospeed == 38400
        cfsetspeed(attributes, BAUD.BOTHER)
        attributes.ispeed = attributes.ospeed = 31250
        await terminal.ioctl(TC.SETS2, await local.ptr(attributes))
        await terminal.ioctl(TC.GETS2, room := await local.malloc(Termios2))
        assert (await room.read()).ospeed == 31250


async def test_size_of_the_window(local: Local) -> None:
    async with pty(local) as (ours, terminal):
        await ours.tcsetwinsize(await local.ptr(Winsize(40, 100)))
        assert os.get_terminal_size(int(terminal)) == (100, 40)
        room = await local.malloc(Winsize)
        assert await (await terminal.tcgetwinsize(room)).read() == Winsize(40, 100, 0, 0)


async def test_queues(local: Local) -> None:
    async with pty(local) as (ours, terminal):
        await ours.write(await local.ptr(b"discarded\n"))
        # The kernel moves it in the background, and is done when it has come back as the echo.
        echo = b""
        while not echo.endswith(b"\n"):
            echo += await read(local, ours)
        await terminal.tcflush(TCFLUSH.IFLUSH)
        await ours.write(await local.ptr(b"kept\n"))
        assert await read(local, terminal) == b"kept\n"
        await terminal.tcflow(TCFLOW.OOFF)
        await terminal.tcflow(TCFLOW.OON)
        await terminal.tcdrain()
        await terminal.tcsendbreak()
        await terminal.tcsendbreak(1)


@forked
async def test_controlling_terminal(local: Local, tmp_path: Path) -> None:
    async with pty(local) as (_, terminal):
        for sig in (signal.SIGTTOU, signal.SIGHUP):
            signal.signal(sig, signal.SIG_IGN)
        await local.task.setsid()
        with pytest.raises(OSError, match="Inappropriate ioctl") as caught:
            await terminal.tcgetpgrp(await local.malloc(Int32))
        assert caught.value.filename is terminal
        await terminal.ioctl(TIOC.SCTTY, 0)
        assert await (await terminal.tcgetsid(await local.malloc(Int32))).read() == os.getpid()
        assert await (await terminal.tcgetpgrp(await local.malloc(Int32))).read() == os.getpid()
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
        os.waitpid(child, os.WUNTRACED)
        await terminal.tcsetpgrp(await local.ptr(Int32(child)))
        assert os.tcgetpgrp(int(terminal)) == child
        await terminal.tcsetpgrp(await local.ptr(Int32(os.getpid())))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with pytest.raises(PermissionError):
            await terminal.tcsetpgrp(await local.ptr(Int32(os.getpgid(os.getppid()))))


async def test_peer(local: Local) -> None:
    async with await local.task.open(await local.ptr("/dev/ptmx"), O.RDWR | O.NOCTTY) as ours:
        with pytest.raises(OSError, match="Input/output error") as caught:
            await ours.tiocgptpeer(O.RDWR | O.NOCTTY)
        assert caught.value.filename is ours
    async with pty(local) as (ours, terminal):
        assert await terminal.fcntl(F.GETFD)  # FD_CLOEXEC
        number = await local.malloc(Int32)
        await ours.ioctl(TIOC.GPTN, number)
        assert os.ttyname(int(terminal)) == f"/dev/pts/{await number.read()}"


async def test_misuse(local: Local) -> None:
    async with pty(local) as (_, terminal):
        small = await local.malloc(bytes, 35)
        with no_calls(local.task):
            with pytest.raises(BufferTooSmallError):
                await terminal.tcgetattr(small)  # type: ignore[arg-type]  # on purpose
            with pytest.raises(ValueError, match="9 is not a valid TCSA"):
                await terminal.tcsetattr(9, await local.ptr(Termios()))  # type: ignore[arg-type]  # on purpose
    async with await local.task.open(await local.ptr("/dev/null"), O.RDWR) as null:
        with pytest.raises(OSError, match="Inappropriate ioctl") as caught:
            await null.tcgetwinsize(await local.malloc(Winsize))
        assert caught.value.filename is null
