"""The program in the README of each distribution runs as it is printed there, with the output that is printed
there.

In the session of one layer (`RSYSCALL_LAYER`) nothing above that layer is installed, and its own program is
run; where everything is installed all of them are, and that of the project's README.
"""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYER = os.environ.get("RSYSCALL_LAYER")
READMES = {
    "native": ROOT / "native/README.md",
    "near": ROOT / "packages/rsyscall-near/README.md",
    "handle": ROOT / "packages/rsyscall-handle/README.md",
    "memory": ROOT / "packages/rsyscall-memory/README.md",
    "thread": ROOT / "packages/rsyscall-thread/README.md",
    "tasks": ROOT / "packages/rsyscall-tasks/README.md",
    "meta": ROOT / "packages/rsyscall/README.md",
}


def program_and_output(readme: Path) -> tuple[str, str]:
    """Return the first Python block of a README, and the text block after it: what it prints."""
    text = readme.read_text()
    match = re.search(r"^```python\n(.*?)^```\n+```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert match, f"no ```python block followed by a ```text block in {readme}"
    assert text.index("```python") == match.start(), f"the first program of {readme} has no output after it"
    return match[1], match[2]


@pytest.mark.parametrize("layer", [LAYER] if LAYER else list(READMES))
def test_program_of_readme_prints_what_it_says(layer: str, tmp_path: Path) -> None:
    program, expected = program_and_output(READMES[layer])
    script = tmp_path / "program.py"
    script.write_text(program)
    environment = dict(os.environ)
    if path := environment.get("PYTHONPATH"):  # the development tree, usually given relative to the root
        environment["PYTHONPATH"] = os.pathsep.join(
            os.path.abspath(entry) for entry in path.split(os.pathsep)
        )
    command = [sys.executable, "-W", "error", script]
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert (result.stderr, result.returncode) == ("", 0)
    same = doctest.OutputChecker().check_output(expected, result.stdout, doctest.ELLIPSIS)
    assert same, f"printed:\n{result.stdout}\nexpected:\n{expected}"
