"""Asking a C compiler for the values of expressions, for this architecture or another.

Nothing that is compiled is ever run: the values are the contents of an array in an object file. So a cross
compiler and its headers are all that is needed for another architecture.
"""

from __future__ import annotations

import functools
import platform
import re
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

ARCHITECTURES = ("x86_64", "aarch64", "riscv64")
NATIVE = platform.machine()

_SECTION = ".rsyscall"
_UNDECLARED = re.compile(r"error: (?:'(\w+)' undeclared|.* has no member named '(\w+)')")


def compiler(architecture: str) -> str | None:
    """The compiler for an architecture; None if it is not installed."""
    return shutil.which("gcc" if architecture == NATIVE else f"{architecture}-linux-gnu-gcc")


class ProbeError(Exception):
    """The generated program does not compile; the message has it and what the compiler says."""


@functools.cache
def evaluate(
    architecture: str, headers: tuple[str, ...], expressions: tuple[str, ...]
) -> dict[str, tuple[int, int]]:
    """The value and the size in bytes of each expression that is known.

    Args:
        headers: names of headers, or whole lines of C.
        expressions: constant expressions of an integer or pointer type.

    Returns:
        expression -> (value, size). Those with a name that the headers do not declare are left out.

    Raises:
        ProbeError: for any other reason that the compiler objects to.
    """
    wanted = list(dict.fromkeys(expressions))
    while True:
        source = _program(headers, wanted)
        with tempfile.TemporaryDirectory() as directory:
            output = Path(directory) / "probe.o"
            command = compiler(architecture)
            assert command is not None
            result = subprocess.run(
                [command, "-x", "c", "-c", "-w", "-std=gnu11", "-fmax-errors=0", "-o", output, "-"],
                input=source,
                capture_output=True,
                text=True,
                env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
            )
            if result.returncode == 0:
                numbers = _read_section(output.read_bytes())
                pairs = zip(numbers[::2], numbers[1::2], strict=True)
                return dict(zip(wanted, pairs, strict=True))
        # The compiler names each undeclared identifier: drop what uses it, and try again.
        undeclared = {name for names in _UNDECLARED.findall(result.stderr) for name in names}
        absent = [e for e in wanted if undeclared.intersection(re.findall(r"\w+", e))]
        others = [
            line for line in result.stderr.splitlines() if "error:" in line and not _UNDECLARED.search(line)
        ]
        if not absent or others:
            raise ProbeError(f"{result.stderr}\n{source}")
        wanted = [e for e in wanted if e not in absent]


@functools.cache
def macros(architecture: str, headers: tuple[str, ...]) -> frozenset[str]:
    """The names of all macros without parameters that the headers define to be something."""
    command = compiler(architecture)
    assert command is not None
    result = subprocess.run(
        [command, "-x", "c", "-E", "-dM", "-std=gnu11", "-"],
        input="\n".join([*_preamble(headers), ""]),
        capture_output=True,
        text=True,
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
    )
    if result.returncode:
        raise ProbeError(result.stderr)
    return frozenset(re.findall(r"^#define (\w+) \S", result.stdout, re.MULTILINE))


def _preamble(headers: tuple[str, ...]) -> list[str]:
    lines = ["#define _GNU_SOURCE 1", "#include <stddef.h>"]
    return lines + [f"#include <{header}>" if header.endswith(".h") else header for header in headers]


def _program(headers: tuple[str, ...], expressions: list[str]) -> str:
    lines = _preamble(headers)
    lines.append(f'__attribute__((section("{_SECTION}"), used)) const long long rsyscall_probe[] = {{')
    lines += [f"(long long)({e}), (long long)sizeof({e})," for e in expressions]
    lines += ["};", ""]
    return "\n".join(lines)


_ELF_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")


def _read_section(data: bytes) -> list[int]:
    """The numbers in our section of an object file (ELF, 64 bits, little-endian: all our architectures)."""
    assert data[:6] == b"\x7fELF\x02\x01"
    *_, sections_at, _, _, _, _, entry_size, count, names_index = _ELF_HEADER.unpack_from(data)
    headers = [_SECTION_HEADER.unpack_from(data, sections_at + i * entry_size) for i in range(count)]
    names_at = headers[names_index][4]
    for name, _, _, _, offset, size, *_ in headers:
        start = names_at + name
        if data[start : data.index(b"\0", start)] == _SECTION.encode():
            return list(struct.unpack_from(f"<{size // 8}q", data, offset))
    return []
