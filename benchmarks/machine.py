"""Facts about the machine, and the program that is started over and over."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

__all__ = [
    "build_tiny",
    "facts",
    "memory_available",
    "processor_times",
    "raise_descriptor_limit",
    "resident_bytes",
    "steal_share",
]


ENOUGH_DESCRIPTORS = 16384


def _first_line_after(path: str, key: str) -> str:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return "unknown"
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return "unknown"


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "a source tree"


def facts() -> dict[str, str]:
    """The facts on which the numbers depend."""
    cpus = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": _first_line_after("/proc/cpuinfo", "model name"),
        "processors": f"{cpus} usable of {os.cpu_count()}, {platform.machine()}",
        "memory": f"{memory / 2**30:.0f} GiB",
        "kernel": platform.release(),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "trio": _version("trio"),
        "rsyscall": _version("rsyscall"),
        "load": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def processor_times() -> list[int]:
    """The first line of /proc/stat: the time of all processors together by use, in clock ticks."""
    return [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]


def steal_share(before: list[int], after: list[int]) -> float:
    """The share of time between two `processor_times` that the host gave to others."""
    passed = [late - early for early, late in zip(before, after, strict=True)]
    return passed[7] / max(sum(passed), 1)


def memory_available() -> int:
    """Bytes that could be used without swapping."""
    return int(_first_line_after("/proc/meminfo", "MemAvailable").split()[0]) * 1024


def resident_bytes() -> int:
    """The memory that this process occupies."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def raise_descriptor_limit() -> None:
    """Allow as many descriptors as the measurements need: every child takes a pidfd."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = hard if hard != resource.RLIM_INFINITY and hard < ENOUGH_DESCRIPTORS else ENOUGH_DESCRIPTORS
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def build_tiny(directory: Path) -> Path:
    """Compile the static do-nothing program.

    A dynamic loader would take ten times as long as everything that is measured here.
    """
    program = directory / "tiny"
    compiler = os.environ.get("CC", "gcc")
    options = ["-O2", "-static", "-nostdlib", "-nostartfiles", "-fno-stack-protector"]
    source = Path(__file__).with_name("tiny.c")
    try:
        subprocess.run([compiler, *options, "-o", str(program), str(source)], check=True)
    except FileNotFoundError:
        sys.exit(f"the benchmarks need a C compiler, and there is no {compiler}")
    return program
