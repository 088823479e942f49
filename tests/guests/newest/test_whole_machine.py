"""What belongs to the whole machine: its clock, its messages, its ports, its accounting and its end."""

from __future__ import annotations

import errno
import struct

import pytest

from rsyscall.command import Command
from rsyscall.fcntl import O
from rsyscall.near import SyscallError
from rsyscall.sched import CLONE
from rsyscall.signal import SIG, Sigaction, Sighandler
from rsyscall.stdlib import mkdtemp
from rsyscall.sys.klog import SYSLOG_ACTION
from rsyscall.sys.reboot import LINUX_REBOOT_CMD
from rsyscall.sys.time import Timeval
from rsyscall.sys.timex import ADJ, Timex
from rsyscall.sys.wait import W
from rsyscall.thread import Thread
from rsyscall.time import CLOCK, Timespec

from .support import child_of, contents, opened

pytestmark = pytest.mark.slow


async def test_clock_settime_settimeofday_and_adjtimex(thread: Thread) -> None:
    task = thread.task

    async def now() -> int:
        return (await (await task.clock_gettime(CLOCK.REALTIME, await thread.malloc(Timespec))).read()).sec

    start = await now()
    await task.clock_settime(CLOCK.REALTIME, await thread.ptr(Timespec(start + 10_000, 0)))
    assert 10_000 <= await now() - start < 10_100
    await task.settimeofday(await thread.ptr(Timeval(start + 20_000, 0)))
    assert 20_000 <= await now() - start < 20_100
    await task.adjtimex(await thread.ptr(Timex(ADJ.TICK, tick=9_990)))
    _, answer = await task.clock_adjtime(CLOCK.REALTIME, await thread.ptr(Timex()))
    assert (await answer.read()).tick == 9_990
    with pytest.raises(OSError, match="Invalid argument"):
        await task.adjtimex(await thread.ptr(Timex(ADJ.TICK, tick=1)))
    await task.clock_adjtime(CLOCK.REALTIME, await thread.ptr(Timex(ADJ.TICK, tick=10_000)))
    await task.clock_settime(CLOCK.REALTIME, await thread.ptr(Timespec(start, 0)))


async def test_acct(thread: Thread) -> None:
    async with await mkdtemp(thread) as directory:
        path = str(directory / "records")
        await (await opened(thread, path, O.WRONLY | O.CREAT)).close()
        await thread.task.acct(await thread.ptr(path))
        try:
            await thread.run(await thread.environ.which("true"))
        finally:
            await thread.task.acct(None)
        async with await opened(thread, path) as file:
            record = await thread.read_to_eof(file)
        # Of each process that has ended meanwhile, its name last.
        names = [record[end - 16 : end].rstrip(b"\0") for end in range(64, len(record) + 1, 64)]
        assert b"true" in names
        with pytest.raises(FileNotFoundError) as caught:
            await thread.task.acct(await thread.ptr("/no/such/file"))
        assert caught.value.filename == "/no/such/file"


async def test_klogctl(thread: Thread) -> None:
    task = thread.task

    async def messages() -> bytes:
        memory = await thread.malloc(bytes, 1 << 15)
        count = await task.klogctl(SYSLOG_ACTION.READ_ALL, memory)
        return (await memory.read())[:count]

    async with await opened(thread, "/dev/kmsg", O.WRONLY) as log:
        await log.write(await thread.ptr(b"<6>said by a test\n"))
    assert b"said by a test" in await messages()
    await task.klogctl(SYSLOG_ACTION.CLEAR)
    assert b"said by a test" not in await messages()
    for level in (3, 4):
        await task.klogctl(SYSLOG_ACTION.CONSOLE_LEVEL, None, level)
        assert (await contents(thread, "/proc/sys/kernel/printk")).split()[0] == str(level)


def program(code: bytes) -> bytes:
    """An executable file of x86_64 that consists of this code."""
    base, size = 0x400000, 64 + 56 + len(code)
    header = struct.pack(
        "=16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 62, 1, base + 120, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    return header + struct.pack("=IIQQQQQQ", 1, 5, 0, base, base, size, size, 4096) + code


async def test_ioperm_and_iopl(thread: Thread) -> None:
    # in al, 0x80; mov edi, 42; mov eax, exit; syscall
    code = b"\xe4\x80\xbf" + struct.pack("<I", 42) + b"\xb8" + struct.pack("<I", 60) + b"\x0f\x05"
    async with await mkdtemp(thread) as directory:
        await thread.spit(directory / "in", program(code), 0o755)
        command = Command(str(directory / "in"), ["in"], {})

        async def ends(allow: str) -> tuple[int | None, SIG | int | None]:
            async with child_of(thread) as child:
                if allow == "ioperm":
                    await child.task.ioperm(0x80, 1, True)
                elif allow == "iopl":
                    await child.task.iopl(3)
                elif allow == "both":
                    await child.task.ioperm(0x80, 1, True)
                    await child.task.ioperm(0x80, 1, False)
                state = await (await child.exec(command)).waitpid(W.EXITED)
                return state.exit_status, state.sig

        assert await ends("nothing") == (None, SIG.SEGV)
        assert await ends("ioperm") == (42, None)
        assert await ends("iopl") == (42, None)
        assert await ends("both") == (None, SIG.SEGV)


async def test_vhangup(thread: Thread) -> None:
    pty = await thread.pty()
    try:
        async with child_of(thread) as child:
            await child.task.setsid()
            # Of the session that loses its terminal, the first process gets it.
            await child.task.sigaction(SIG.HUP, await child.ptr(Sigaction(Sighandler.IGN)), None)
            assert int(await contents(thread, "/proc/sys/kernel/pty/nr")) == 1
            terminal = await opened(child, "/dev/pts/0", O.RDWR)
            await terminal.write(await child.ptr(b"hello"))
            assert await pty.read_some_bytes() == b"hello"
            await child.task.vhangup()
            with pytest.raises(OSError, match="Input/output error") as caught:
                await terminal.write(await child.ptr(b"hello"))
            assert caught.value.errno == errno.EIO
            assert await child.read(terminal, 10) == b""
    finally:
        await pty.close()


async def test_reboot(thread: Thread) -> None:
    task = thread.task
    for command, allowed in ((LINUX_REBOOT_CMD.CAD_OFF, "0"), (LINUX_REBOOT_CMD.CAD_ON, "1")):
        await task.reboot(command)
        assert await contents(thread, "/proc/sys/kernel/ctrl-alt-del") == f"{allowed}\n"
    with pytest.raises(OSError, match="Invalid argument") as caught:
        await task.reboot(0x1234)
    assert caught.value.filename == 0x1234
    # In another pid namespace it is the end of that one.
    for command, signal in ((LINUX_REBOOT_CMD.RESTART, SIG.HUP), (LINUX_REBOOT_CMD.POWER_OFF, SIG.INT)):
        async with child_of(thread, CLONE.NEWPID) as child:
            with pytest.raises(SyscallError):
                await child.task.reboot(command)
            assert (await child.process.waitpid(W.EXITED)).sig == signal
