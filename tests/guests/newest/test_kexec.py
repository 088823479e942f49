"""Kernels are loaded and unloaded, and one is started."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from pathlib import Path as LocalPath

import pytest
import trio

from rsyscall.linux.kexec import KEXEC, KEXEC_FILE, KexecSegment
from rsyscall.near import SyscallError
from rsyscall.path import Path
from rsyscall.stdlib import mkdtemp
from rsyscall.struct import StructList
from rsyscall.sys.reboot import LINUX_REBOOT_CMD
from rsyscall.sys.wait import W
from rsyscall.thread import Thread

from .machine import start
from .support import child_of, contents, drop_capabilities, opened

pytestmark = pytest.mark.slow

WORDS = b"started by reboot"
MEMORY = 256 << 20
"""Of 512 MB, which begin at 0."""


async def kernel_is_loaded(thread: Thread) -> bool:
    return await contents(thread, "/sys/kernel/kexec/loaded") == "1\n"


async def test_kexec_load(thread: Thread) -> None:
    task, part = thread.task, await thread.ptr(bytes(4096))

    async def load(where: int, flags: KEXEC = KEXEC.ARCH_X86_64) -> None:
        segments = StructList(KexecSegment, [KexecSegment(part, 4096, where, 4096)])
        await task.kexec_load(where, await thread.ptr(segments), flags)

    with pytest.raises(OSError, match="assign requested address") as caught:
        await load(MEMORY + 1)
    assert caught.value.filename == MEMORY + 1
    with pytest.raises(OSError, match="Invalid argument"):
        await load(MEMORY, KEXEC.ARCH_AARCH64)
    assert not await kernel_is_loaded(thread)
    await load(MEMORY)
    assert await kernel_is_loaded(thread)
    await task.kexec_load(0, None)
    assert not await kernel_is_loaded(thread)
    with pytest.raises(OSError, match="Invalid argument") as nothing:
        await task.reboot(LINUX_REBOOT_CMD.KEXEC)
    assert nothing.value.filename == LINUX_REBOOT_CMD.KEXEC


def code() -> bytes:
    """Prints `WORDS`, as the kernel does, and ends the machine by a fault for which there is no handler."""
    printing = b"\x66\xba\xf8\x03"  # mov dx, 0x3f8
    for character in WORDS:
        printing += b"\xb0" + bytes([character]) + b"\xee"  # mov al, character; out dx, al
    # lidt [behind the code]; int3; there is a table without entries
    return printing + b"\x0f\x01\x1d" + struct.pack("<i", 1) + b"\xcc" + bytes(10)


def image() -> bytes:
    """A file that looks like a kernel of x86_64, which may be loaded anywhere."""
    fields = {
        0x1F1: b"\x01",  # the kernel begins after 2 sectors of 512 bytes
        0x1FE: b"\x55\xaa",
        0x200: b"\xeb\x6a",  # a jump across these fields
        0x202: b"HdrS" + struct.pack("<H", 0x20F),
        0x211: b"\x01",  # to be loaded high
        0x230: struct.pack("<IB", 2 << 20, 1),  # the alignment; it can be moved
        # Entered in 64 bits, above 4 GB as well, with page tables of 5 levels; the length of the command.
        0x236: struct.pack("<HI", 0x63, 255),
        0x258: struct.pack("<QI", 16 << 20, 1 << 16),  # where it would like to be, and how much it needs
    }
    file = bytearray(8192)
    # The processor begins behind the first 512 bytes of the kernel.
    fields[0x600] = code()
    for offset, field in fields.items():
        file[offset : offset + len(field)] = field
    return bytes(file)


@pytest.fixture
async def directory(thread: Thread) -> AsyncIterator[Path]:
    async with await mkdtemp(thread) as directory:
        await thread.spit(directory / "kernel", image(), 0o644)
        yield directory


async def test_kexec_file_load(thread: Thread, directory: Path) -> None:
    path = str(directory / "kernel")
    async with await opened(thread, path) as kernel, await opened(thread, "/init") as other:
        with pytest.raises(OSError, match="Exec format error") as caught:
            await other.kexec_file_load(None, await thread.ptr("quiet"))
        assert caught.value.filename is other
        # Any file will do as the first file system.
        await kernel.kexec_file_load(other, await thread.ptr("quiet"))
        assert await kernel_is_loaded(thread)
        await kernel.kexec_file_load(None, None, KEXEC_FILE.UNLOAD)
        assert not await kernel_is_loaded(thread)
    async with child_of(thread) as child:
        kernel = await opened(child, path)
        await drop_capabilities(child)
        with pytest.raises(PermissionError):
            await kernel.kexec_file_load(None, None)


async def test_reboot_into_a_kernel(tmp_path: LocalPath) -> None:
    """In a machine of its own, of which it is the end."""
    async with await start(tmp_path) as thread:
        path = "/tmp/kernel"
        await thread.spit(Path(path), image(), 0o644)
        async with await opened(thread, path) as kernel:
            await kernel.kexec_file_load(None, await thread.ptr("quiet"))
        assert WORDS not in (tmp_path / "console").read_bytes()
        with trio.fail_after(60), pytest.raises(SyscallError):
            await thread.task.reboot(LINUX_REBOOT_CMD.KEXEC)
        assert (await thread.carrier.waitpid(W.EXITED)).clean()
    assert WORDS in (tmp_path / "console").read_bytes()
