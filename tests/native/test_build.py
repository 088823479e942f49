"""The tests of the C code, run from a checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NATIVE = Path(__file__).resolve().parents[2] / "native"


@pytest.fixture(scope="module")
def make() -> list[str]:
    """The command that builds in the checkout; skips without the tools."""
    for tool in ("make", "gcc", "nm", "readelf"):
        if shutil.which(tool) is None:
            pytest.skip(f"package: {tool} is not installed")
    if not (NATIVE / "Makefile").exists():
        pytest.skip("package: the sources of the C code are not here")
    return ["make", "-C", str(NATIVE)]


def test_a_free_threaded_python_is_refused(make: list[str]) -> None:
    # As one would find itself: nothing else of such a build is looked at.
    program = """
import sys, sysconfig
sysconfig.get_config_vars()["Py_GIL_DISABLED"] = 1
sys.argv = ["setup.py", "--version"]
exec(compile(open("setup.py").read(), "setup.py", "exec"))
"""
    process = subprocess.run(
        [sys.executable, "-c", program], cwd=NATIVE, capture_output=True, text=True, check=False
    )
    assert process.returncode == 1
    assert "free-threaded build, which is not supported" in process.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_make_check(make: list[str], tmp_path: Path) -> None:
    where = [f"BUILD={tmp_path / 'build'}", f"OUT={tmp_path / 'out'}"]
    process = subprocess.run(
        [*make, "-s", "check", *where], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.returncode == 0, process.stdout
    assert "ok stream calls" in process.stdout
    assert "ok ring calls" in process.stdout
    assert "ok watcher words_are_announced" in process.stdout
    # Driven processes have no C library to call.
    symbols = subprocess.run(
        ["nm", "-u", tmp_path / "build" / "server.o"], capture_output=True, text=True, check=True
    )
    assert set(symbols.stdout.split()) <= {"U", "_GLOBAL_OFFSET_TABLE_"}
    # Nor is there thread-local storage, nor data of their own that two of them could disturb.
    sections = subprocess.run(
        ["readelf", "-WS", tmp_path / "build" / "server.o"], capture_output=True, text=True, check=True
    ).stdout
    for section in (".tdata", ".tbss"):
        assert section not in sections
    sizes = {
        fields[1]: int(fields[5], 16)
        for line in sections.replace("[ ", "[").splitlines()
        if len(fields := line.split()) > 6 and fields[1] in (".data", ".bss")
    }
    assert set(sizes.values()) <= {0}
