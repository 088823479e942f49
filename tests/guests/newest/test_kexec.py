"""Kernels are loaded and unloaded, and never started."""

from __future__ import annotations

import pytest

from rsyscall.linux.kexec import KEXEC, KEXEC_FILE, KexecSegment
from rsyscall.struct import StructList
from rsyscall.sys.reboot import LINUX_REBOOT_CMD
from rsyscall.thread import Thread

from .support import child_of, contents, drop_capabilities, opened

pytestmark = pytest.mark.slow

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


async def test_kexec_file_load(thread: Thread) -> None:
    async with await opened(thread, "/vmlinuz") as kernel, await opened(thread, "/init") as other:
        with pytest.raises(OSError, match="Exec format error") as caught:
            await other.kexec_file_load(None, await thread.ptr("quiet"))
        assert caught.value.filename is other
        # Any file will do as the first file system.
        await kernel.kexec_file_load(other, await thread.ptr("quiet"))
        assert await kernel_is_loaded(thread)
        await kernel.kexec_file_load(None, None, KEXEC_FILE.UNLOAD)
        assert not await kernel_is_loaded(thread)
    async with child_of(thread) as child:
        kernel = await opened(child, "/vmlinuz")
        await drop_capabilities(child)
        with pytest.raises(PermissionError):
            await kernel.kexec_file_load(None, None)
