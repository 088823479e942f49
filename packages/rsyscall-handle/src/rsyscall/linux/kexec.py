"""`<linux/kexec.h>`: loading the kernel that the machine restarts into."""

from __future__ import annotations

import enum
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import rsyscall.far
from rsyscall.cstruct import CStruct, u64
from rsyscall.handle.arguments import ADDRESS, FDNUM, SIZE, STRING, call, flags
from rsyscall.handle.buffers import require_size
from rsyscall.handle.fd import BaseFileDescriptor
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.struct import StructList

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer, WrittenPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["KEXEC", "KEXEC_FILE", "KexecFileDescriptor", "KexecSegment", "KexecTask"]


class KEXEC(enum.IntFlag):
    """`KEXEC_*`: flags of `kexec_load`, and the architecture of the kernel.

    manpage: kexec_load(2)
    """

    NONE = 0
    ON_CRASH = 0x1
    PRESERVE_CONTEXT = 0x2
    UPDATE_ELFCOREHDR = 0x4  # since Linux 6.6
    CRASH_HOTPLUG_SUPPORT = 0x8  # since Linux 6.10
    ARCH_DEFAULT = 0
    ARCH_386 = 3 << 16
    ARCH_68K = 4 << 16
    ARCH_PARISC = 15 << 16
    ARCH_X86_64 = 62 << 16
    ARCH_PPC = 20 << 16
    ARCH_PPC64 = 21 << 16
    ARCH_IA_64 = 50 << 16
    ARCH_ARM = 40 << 16
    ARCH_S390 = 22 << 16
    ARCH_SH = 42 << 16
    ARCH_MIPS_LE = 10 << 16
    ARCH_MIPS = 8 << 16
    ARCH_AARCH64 = 183 << 16
    ARCH_RISCV = 243 << 16
    ARCH_LOONGARCH = 258 << 16


class KEXEC_FILE(enum.IntFlag):
    """`KEXEC_FILE_*`: flags of `kexec_file_load`.

    manpage: kexec_load(2)
    """

    NONE = 0
    UNLOAD = 0x1
    ON_CRASH = 0x2
    NO_INITRAMFS = 0x4
    DEBUG = 0x8  # since Linux 6.8
    NO_CMA = 0x10  # since Linux 6.17
    FORCE_DTB = 0x20  # since Linux 6.18


def _number(memory: Pointer[Any] | int) -> int:
    return memory if isinstance(memory, int) else int(memory.near)


class KexecSegment(CStruct, c="struct kexec_segment", headers=("linux/kexec.h",)):
    """`struct kexec_segment`: a part of the kernel.

    Args:
        buf: the bytes; 0 for none. Read back, a number.
        bufsz: how many of them.
        mem: where they go in the physical memory; at the begin of a page.
        memsz: how much memory they get: whole pages. What is behind them is filled with zeros.

    manpage: kexec_load(2)
    """

    buf: Pointer[Any] | int = u64("buf", encode=_number)
    bufsz: int = u64("bufsz")
    mem: int = u64("mem")
    memsz: int = u64("memsz")

    def borrow_with(self, stack: ExitStack, task: rsyscall.far.Task) -> None:
        """Borrow the bytes for `task`, until `stack` is left; `BufferTooSmallError` if there are too few."""
        if not isinstance(self.buf, int):
            stack.enter_context(self.buf.borrow(task))
            require_size(self.buf, self.bufsz)


class KexecFileDescriptor(BaseFileDescriptor):
    """A file with a kernel."""

    __slots__ = ()

    async def kexec_file_load(
        self,
        initrd_fd: BaseFileDescriptor | None,
        cmdline: WrittenPointer[str] | None,
        flags: KEXEC_FILE = KEXEC_FILE.NONE,
    ) -> None:
        """`kexec_file_load(kernel_fd, initrd_fd, cmdline_len, cmdline, flags)`: load the kernel in this file.

        The machine restarts into it by `reboot` with `LINUX_REBOOT_CMD.KEXEC`.

        Args:
            initrd_fd: the first file system; None for none, which adds `KEXEC_FILE.NO_INITRAMFS`.
            cmdline: its command line, with the NUL at its end; None for an empty one. Not consumed.
            flags: with `KEXEC_FILE.UNLOAD` the kernel that was loaded is unloaded, and this file does not
                matter.

        Raises:
            OSError: EPERM (needs CAP_SYS_BOOT), ENOEXEC, EBADF, EBUSY, EINVAL, EKEYREJECTED, ENOMEM, ENOSYS
                (the kernel was built without it); `filename` is this descriptor.

        manpage: kexec_file_load(2)
        """
        self._validate()
        with ExitStack() as stack:
            initrd = None if initrd_fd is None else stack.enter_context(initrd_fd.borrow(self.task))
            address = self.task._borrow_optional(stack, cmdline)
            length = 0 if cmdline is None else cmdline.size()
            if initrd is None:
                flags |= KEXEC_FILE.NO_INITRAMFS
            with naming(self):
                await _kexec_file_load(self.task.sysif, self.near, initrd, length, address, flags)


class KexecTask(rsyscall.far.Task):
    """Loading kernels."""

    async def kexec_load(
        self,
        entry: int,
        segments: WrittenPointer[StructList[KexecSegment]] | None,
        flags: KEXEC = KEXEC.NONE,
    ) -> None:
        """`kexec_load(entry, nr_segments, segments, flags)`: load a kernel.

        The machine restarts into it by `reboot` with `LINUX_REBOOT_CMD.KEXEC`.

        Args:
            entry: the physical address at which it begins.
            segments: at most 16; None unloads the kernel that was loaded. Not consumed.

        Raises:
            BufferTooSmallError: the memory of the segments, or of one of them, is too small.
            OSError: EPERM (needs CAP_SYS_BOOT), EADDRNOTAVAIL (no whole pages, or no memory), EBUSY, EINVAL,
                ENOMEM, ENOSYS (the kernel was built without it); `filename` is the address.

        manpage: kexec_load(2)
        """
        count = 0
        with ExitStack() as stack:
            if segments is not None:
                check_pointers(segments)
                count = len(segments.value.elems)
                require_size(segments, count * KexecSegment.sizeof())
                for segment in segments.value.elems:
                    segment.borrow_with(stack, self)
            address = self._borrow_optional(stack, segments)
            with naming(entry):
                await _kexec_load(self.sysif, entry, count, address, flags)


@call("kexec_file_load", FDNUM, FDNUM, SIZE, STRING, flags(KEXEC_FILE, "KEXEC_FILE_"))
async def _kexec_file_load(
    sysif: SyscallInterface,
    kernel_fd: near.FileDescriptor,
    initrd_fd: near.FileDescriptor | None,
    cmdline_len: int,
    cmdline: near.Address | None,
    flags: KEXEC_FILE,
) -> None:
    """The raw call."""
    initrd = -1 if initrd_fd is None else initrd_fd
    await sysif.syscall(nr.kexec_file_load, kernel_fd, initrd, cmdline_len, cmdline or 0, flags)


@call("kexec_load", ADDRESS, SIZE, ADDRESS, flags(KEXEC, "KEXEC_"))
async def _kexec_load(
    sysif: SyscallInterface, entry: int, nr_segments: int, segments: near.Address | None, flags: KEXEC
) -> None:
    """The raw call."""
    await sysif.syscall(nr.kexec_load, entry, nr_segments, segments or 0, flags)
