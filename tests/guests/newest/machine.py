"""A machine of x86_64 with the newest kernel of Debian, which qemu emulates, and a process in it that has all
privileges.

qemu is the command that leads to it: its standard input and output are a virtio port, at which a shell reads.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from guests.machine import COMMON_OPTIONS, KERNELS, boot_options, packed
from rsyscall.command import Command
from rsyscall.tasks.local import local_thread
from rsyscall.tasks.stdio import StdioThread, stdio_bootstrap

HERE = Path(__file__).parent
KERNEL = KERNELS / "vmlinux-x86_64"
MODULES = KERNELS / "modules-x86_64"
"""Modules of this kernel. They are in /modules of the machine."""
DISK_BYTES = 8 << 20
"""Of each of its disks, and of its file /ext4, the contents of one that has a file system with quotas."""


def missing() -> str | None:
    """What is not there and has to be, or None."""
    if os.uname().machine != "x86_64":
        return "architecture: the shell in the machine is the one of this machine, and not for x86_64"
    for program in ("qemu-system-x86_64", "busybox", "cpio", "mkfs.ext4"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    for path in (KERNEL, MODULES):
        if not path.exists():
            return f"there is no {path}: run tools/fetch_kernels.py"
    return None


def make_root(directory: Path) -> Path:
    """Make the root file system, as an archive that the kernel unpacks."""
    root = directory / "root"
    for name in ("bin", "dev", "proc", "sys", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy(HERE / "init", root)
    shutil.copy(os.path.realpath(str(shutil.which("busybox"))), root / "bin" / "busybox")
    shutil.copytree(MODULES, root / "modules")
    # As large as a disk of the module brd.
    image = root / "ext4"
    image.touch()
    os.truncate(image, DISK_BYTES)
    make = ["mkfs.ext4", "-q", "-O", "quota,^has_journal", "-E", "quotatype=usrquota", str(image)]
    subprocess.run(make, check=True)
    # Not compressed: the emulated processor would take longer to unpack it.
    result = directory / "root.cpio"
    result.write_bytes(packed(root))
    return result


async def start(directory: Path) -> StdioThread:
    """Start the machine, which is switched off when the thread is closed; what it prints is in `console`."""
    qemu = Command(
        str(shutil.which("qemu-system-x86_64")),
        [
            *("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-cpu", "max"),
            *COMMON_OPTIONS,
            *boot_options(KERNEL, make_root(directory), "ttyS0", directory / "console"),
            *("-chardev", "stdio,id=stream,signal=off"),
        ],
        {},
    )
    return await stdio_bootstrap(local_thread, qemu, by="shell", machines=["x86_64"])
