"""Which tests are skipped, which skips are failures in CI, and what the closing lines say about it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parents[1]

TESTS = """
import pytest

@pytest.mark.needs("possible")
def test_possible(): pass

@pytest.mark.needs("possible", "impossible")
def test_impossible(): raise AssertionError

def test_in_the_body(place):
    assert place.permits("possible") and not place.permits("impossible")
    place.need("possible")
    place.need("impossible")
    raise AssertionError

@pytest.mark.parametrize("value", [1, pytest.param(2, marks=pytest.mark.needs("impossible"))])
def test_one_of_two(value): assert value == 1

def test_program(): pytest.skip("package: gcc is not installed")

def test_other(): pytest.skip("no reason that is known")

def test_kernel(): pytest.skip("kernel: too old")

async def test_kernel_too(): pytest.skip("kernel: too old")
"""


def run(directory: Path, text: str, **environment: str) -> tuple[int, str]:
    """Run a file of tests with our conftest.py in a place of two things, one of which is denied."""
    tests = directory / "tests"
    tests.mkdir()
    for name in ("conftest.py", "liar.py"):
        shutil.copy(HERE / name, tests)
    shutil.copy(HERE.parent / "pyproject.toml", directory)
    tried = (HERE / "place.py").read_text().partition('\nif __name__ == "__main__":')
    table = "\nTRIALS = {'possible': lambda: None, 'impossible': _device('/')}\n"
    (tests / "place.py").write_text(tried[0] + table + "".join(tried[1:]))
    (tests / "test_some.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests"]
    result = subprocess.run(
        command, cwd=directory, env={**os.environ, "CI": "", **environment}, capture_output=True, text=True
    )
    return result.returncode, result.stdout + result.stderr


@pytest.mark.slow
def test_skips_are_counted_by_their_kind(tmp_path: Path) -> None:
    status, output = run(tmp_path, TESTS)
    assert status == 0, output
    assert "  possible    yes\n  impossible  open /: EISDIR\n" in output
    assert "place: impossible not permitted (open /: EISDIR)" in output
    *_, counted, closing = output.splitlines()
    assert counted == (
        "3 skipped: the place does not permit it; 2 skipped: a package is missing; "
        "2 skipped: not with this kernel, architecture or Python"
    )
    assert "2 passed, 7 skipped" in closing


@pytest.mark.slow
def test_in_ci_a_missing_package_is_a_failure(tmp_path: Path) -> None:
    status, output = run(tmp_path, TESTS, CI="true")
    assert status == 1, output
    assert "but: Skipped: package: gcc is not installed" in output
    *_, counted, closing = output.splitlines()
    assert counted == (
        "3 skipped: the place does not permit it; "
        "0 skipped: a package is missing, and 2 failed for that, since this is CI; "
        "2 skipped: not with this kernel, architecture or Python"
    )
    assert "2 failed, 2 passed, 5 skipped" in closing


@pytest.mark.slow
def test_a_need_that_is_not_tried_is_an_error(tmp_path: Path) -> None:
    status, output = run(tmp_path, "import pytest\n@pytest.mark.needs('luck')\ndef test(): pass\n")
    assert status == 1
    assert "'luck' is not among what is tried: possible, impossible" in output


@pytest.mark.needs("settings of namespaces")
def test_what_is_denied_here_is_found_by_trying() -> None:
    """In a user namespace that must not have others below it."""
    script = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$0" -I "$1"'
    table = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", script, sys.executable, HERE / "place.py"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    lines = dict(line.split(maxsplit=2)[::2] for line in table.splitlines() if " namespaces " in line)
    assert lines["user"] == lines["network"] == "unshare: ENOSPC"
