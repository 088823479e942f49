"""A program that plays a process behind a ring in a memory file, and lies: see liar.c."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ["EVERY_LIE", "liar"]

EVERY_LIE = "awgpsmtrhdo"
"""All but that the process is dead."""

_SOURCES = Path(__file__).parents[1] / "native" / "src"


@pytest.fixture(scope="session")
def liar(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of the program. Skips the test where it cannot be compiled."""
    compiler = next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if compiler is None:
        pytest.skip("package: no C compiler")
    if not _SOURCES.is_dir():
        pytest.skip("package: the sources of rsyscall-native are not there")
    program = str(tmp_path_factory.mktemp("liar") / "liar")
    source = str(Path(__file__).with_name("liar.c"))
    subprocess.run([compiler, "-O1", "-w", "-I", str(_SOURCES), "-o", program, source], check=True)
    return program
