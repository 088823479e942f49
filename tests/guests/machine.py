"""A machine of another architecture, which qemu emulates, and a byte stream to a process in it.

The kernel is Debian's, and the root file system holds two static programs: init.c and `rsyscall-stub`. There
is no network. The stream is a virtio port in the guest and a Unix socket here.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rsyscall.native import stub_path

HERE = Path(__file__).parent
KERNELS = Path(os.environ.get("RSYSCALL_GUEST_KERNELS", HERE.parent.parent / ".nox" / "kernels"))
"""Where `tools/fetch_kernels.py` has put `vmlinux-MACHINE`."""
BOOT_SECONDS = 120


@dataclass(frozen=True)
class Machine:
    """What qemu emulates.

    Attributes:
        name: as `uname -m` prints it there.
        options: for qemu: the board, the processor, the firmware.
        console: where the kernel prints its messages.
    """

    name: str
    options: tuple[str, ...]
    console: str

    @property
    def emulator(self) -> str:
        return f"qemu-system-{self.name}"

    @property
    def compiler(self) -> str:
        return f"{self.name}-linux-gnu-gcc"

    @property
    def kernel(self) -> Path:
        return KERNELS / f"vmlinux-{self.name}"

    def missing(self) -> str | None:
        """What is not there and has to be, or None."""
        for program in (self.emulator, self.compiler, "cpio"):
            if shutil.which(program) is None:
                return f"{program} is not installed"
        try:
            stub_path(self.name)
        except FileNotFoundError as error:
            return str(error)
        if not self.kernel.exists():
            return f"there is no {self.kernel}: run tools/fetch_kernels.py"
        return None


MACHINES = (
    Machine("aarch64", ("-machine", "virt", "-cpu", "cortex-a57"), "ttyAMA0"),
    Machine("riscv64", ("-machine", "virt", "-bios", "default"), "ttyS0"),
)


# For qemu. What is at the port is the character device "stream".
COMMON_OPTIONS = (
    *("-smp", "2", "-m", "512", "-display", "none", "-nodefaults", "-no-reboot"),
    *("-device", "virtio-serial-pci,romfile=", "-device", "virtserialport,chardev=stream"),
)


def boot_options(kernel: Path, root: Path, console: str, printed: Path) -> list[str]:
    """For qemu: what to boot, and the file for what the kernel prints at its console of that name."""
    return [
        *("-kernel", str(kernel), "-initrd", str(root)),
        *("-append", f"console={console} quiet panic=-1", "-serial", f"file:{printed}"),
    ]


def make_root(machine: Machine, directory: Path) -> Path:
    """Make the root file system, as an archive that the kernel unpacks."""
    root = directory / "root"
    (root / "bin").mkdir(parents=True)
    compile_init = [machine.compiler, "-static", "-O1", "-Wall", "-o", root / "init", HERE / "init.c"]
    subprocess.run(compile_init, check=True)
    shutil.copy(stub_path(machine.name), root / "bin" / "rsyscall-stub")
    result = directory / "root.cpio.gz"
    result.write_bytes(gzip.compress(packed(root), 1))
    return result


def packed(root: Path) -> bytes:
    """A directory as an archive that the kernel unpacks; all of it belongs to root."""
    names = "\n".join(str(path.relative_to(root)) for path in (root, *sorted(root.rglob("*"))))
    return subprocess.run(
        ["cpio", "--create", "--format=newc", "--quiet", "--owner=0:0"],
        cwd=root,
        input=names.encode(),
        stdout=subprocess.PIPE,
        check=True,
    ).stdout


@contextlib.contextmanager
def running(machine: Machine) -> Iterator[socket.socket]:
    """Run the machine; gives the stream, of which nothing has been read. It is switched off in the end.

    Raises:
        RuntimeError: it ended, or nothing came over the stream; with what it printed.
    """
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="guest-")))
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(directory / "stream"))
        listener.listen(1)
        console = directory / "console"
        command = [
            *(machine.emulator, *machine.options, *COMMON_OPTIONS),
            *boot_options(machine.kernel, make_root(machine, directory), machine.console, console),
            *("-chardev", f"socket,id=stream,path={directory / 'stream'}"),
        ]
        qemu = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        stack.callback(_end, qemu)
        listener.settimeout(BOOT_SECONDS)
        try:
            stream = stack.enter_context(listener.accept()[0])
            stream.settimeout(BOOT_SECONDS)
            arrived = bool(stream.recv(1, socket.MSG_PEEK))
        except OSError:
            arrived = False
        if not arrived:
            qemu.kill()
            said = qemu.communicate()[0]
            printed = console.read_bytes() if console.exists() else b""
            raise RuntimeError(
                f"the guest did not start: {said.decode()}\n{printed.decode(errors='replace')}"
            )
        stream.settimeout(None)
        yield stream


def _end(qemu: subprocess.Popen[bytes]) -> None:
    """The stream has been closed: the stub ends, and init switches the machine off."""
    try:
        qemu.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        qemu.kill()
        qemu.communicate()
