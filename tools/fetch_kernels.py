"""Fetch Debian's kernels of other architectures, for tests that drive processes in emulated machines.

`fetch_kernels.py DIRECTORY` writes `vmlinux-aarch64` and `vmlinux-riscv64`, those that are not there yet. apt
works on lists and caches in a temporary directory: the settings of this machine are neither used nor changed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

MIRROR = "http://deb.debian.org/debian"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# The kernels have the drivers of virtio ports built in: no modules need to be loaded.
KERNELS = {
    "aarch64": ("arm64", "bookworm-backports", "linux-image-cloud-arm64"),
    "riscv64": ("riscv64", "trixie", "linux-image-riscv64"),
}


def fetch(machine: str, target: Path, directory: Path) -> None:
    """Write the kernel for a machine to `target`; `directory` is for what is needed meanwhile."""
    architecture, suite, metapackage = KERNELS[machine]
    for name in ("lists/partial", "cache/archives/partial", "state"):
        (directory / name).mkdir(parents=True)
    (directory / "status").touch()
    source = f"deb [arch={architecture} signed-by={KEYRING}] {MIRROR} {suite} main\n"
    (directory / "sources.list").write_text(source)
    settings = {
        "Dir::State": directory / "state",
        "Dir::State::lists": directory / "lists",
        "Dir::State::status": directory / "status",
        "Dir::Cache": directory / "cache",
        "Dir::Etc::sourcelist": directory / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
    }
    options = [f"-o{name}={value}" for name, value in settings.items()]

    def run(*command: str) -> str:
        result = subprocess.run(
            [*command[:1], *options, *command[1:]], cwd=directory, capture_output=True, text=True, check=False
        )
        if result.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{result.stdout}{result.stderr}")
        return result.stdout

    run("apt-get", "-q", "update")
    found = re.search(r"Depends: (linux-image-\S+)", run("apt-cache", "depends", metapackage))
    if found is None:
        raise SystemExit(f"{metapackage} depends on no kernel")
    run("apt-get", "-q", "download", found[1])
    [package] = directory.glob("*.deb")
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as archive:
        only_kernel = ["tar", "--extract", "--wildcards", "./boot/vmlinu*"]
        subprocess.run(only_kernel, stdin=archive.stdout, cwd=directory, check=True)
    [kernel] = (directory / "boot").glob("vmlinu*")
    # Complete or not there.
    shutil.copy(kernel, target.with_suffix(".part"))
    os.replace(target.with_suffix(".part"), target)


def main() -> None:
    """Fetch what is missing."""
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for machine in KERNELS:
        kernel = target / f"vmlinux-{machine}"
        if not kernel.exists():
            with tempfile.TemporaryDirectory() as directory:
                fetch(machine, kernel, Path(directory))
        print(kernel)


if __name__ == "__main__":
    main()
