"""Fetch kernels of Debian for tests that drive processes in emulated machines: those of other architectures,
and the newest one for x86_64.

`fetch_kernels.py DIRECTORY` writes `vmlinux-aarch64`, `vmlinux-riscv64`, `vmlinux-x86_64` and
`modules-x86_64`, those that are not there yet. apt works on lists and caches in a temporary directory: the
settings of this machine are neither used nor changed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

MIRROR = "http://deb.debian.org/debian"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class Kernel(NamedTuple):
    """Where a kernel is.

    Attributes:
        architecture, suite: as Debian names them.
        metapackage: depends on the newest image of its kind, `linux-image-VERSION`.
        packages: what holds its files.
        modules: those that tests load. What reaches a virtio port is built in everywhere.
    """

    architecture: str
    suite: str
    metapackage: str
    packages: tuple[str, ...] = ("linux-image-{}",)
    modules: tuple[str, ...] = ()


KERNELS = {
    "aarch64": Kernel("arm64", "bookworm-backports", "linux-image-cloud-arm64"),
    "riscv64": Kernel("riscv64", "trixie", "linux-image-riscv64"),
    "x86_64": Kernel(
        "amd64",
        "trixie-backports",
        "linux-image-cloud-amd64",
        ("linux-binary-{}", "linux-modules-{}"),
        ("af_alg", "algif_hash", "brd", "quota_tree", "quota_v2"),
    ),
}


def fetch(kernel: Kernel, target: Path, directory: Path) -> None:
    """Write the files of a kernel to the directory `target`; what is needed meanwhile to `directory`."""
    for name in ("lists/partial", "cache/archives/partial", "state"):
        (directory / name).mkdir(parents=True)
    (directory / "status").touch()
    source = f"deb [arch={kernel.architecture} signed-by={KEYRING}] {MIRROR} {kernel.suite} main\n"
    (directory / "sources.list").write_text(source)
    settings = {
        "Dir::State": directory / "state",
        "Dir::State::lists": directory / "lists",
        "Dir::State::status": directory / "status",
        "Dir::Cache": directory / "cache",
        "Dir::Etc::sourcelist": directory / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "APT::Architecture": kernel.architecture,
        "APT::Architectures": kernel.architecture,
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
    found = re.search(r"Depends: linux-image-(\S+)", run("apt-cache", "depends", kernel.metapackage))
    if found is None:
        raise SystemExit(f"{kernel.metapackage} depends on no kernel")
    run("apt-get", "-q", "download", *(name.format(found[1]) for name in kernel.packages))
    for package in directory.glob("*.deb"):
        with (
            subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as archive,
            tarfile.open(fileobj=archive.stdout, mode="r|") as members,
        ):
            for member in members:
                name = Path(member.name).name
                if name.startswith("vmlinu"):
                    name = "vmlinux"
                elif name.partition(".ko")[0] not in kernel.modules:
                    continue
                if (content := members.extractfile(member)) is not None:
                    (target / name).write_bytes(content.read())


def main() -> None:
    """Fetch what is missing."""
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for machine, kernel in KERNELS.items():
        image, modules = target / f"vmlinux-{machine}", target / f"modules-{machine}"
        wanted = set(kernel.modules)
        there = {file.name.partition(".ko")[0] for file in modules.glob("*")}
        if not image.exists() or not wanted <= there:
            with (
                tempfile.TemporaryDirectory(dir=target) as files,
                tempfile.TemporaryDirectory() as directory,
            ):
                fetch(kernel, Path(files), Path(directory))
                # Complete or not there; the modules are for this very image.
                shutil.rmtree(modules, ignore_errors=True)
                os.replace(Path(files, "vmlinux"), image)
                if wanted:
                    shutil.copytree(files, modules)
        print(image)


if __name__ == "__main__":
    main()
