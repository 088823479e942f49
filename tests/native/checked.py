"""Programs of the C code with sanitizers, for tests that send them what they like."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

NATIVE = Path(__file__).resolve().parents[2] / "native"


def build(name: str, directory: Path) -> Path:
    """Build the program of native/tests/checked/NAME.c in a directory; skips without the tools for it."""
    for tool in ("make", "gcc"):
        if shutil.which(tool) is None:
            pytest.skip(f"package: {tool} is not installed")
    if not (NATIVE / "Makefile").exists():
        pytest.skip("package: the sources of the C code are not here")
    program = directory / f"checked-{name}"
    command = ["make", "-s", "-C", str(NATIVE), f"BUILD={directory}", f"OUT={directory}", str(program)]
    subprocess.run(command, check=True)
    return program
