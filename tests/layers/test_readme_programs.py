"""The programs in the README of each distribution, and on each page in docs, print what the text says.

A program is a Python block that is followed by a text block, its output. The first Python block is one.

In the session of one layer (`RSYSCALL_LAYER`) nothing above that layer is installed: it runs the program of
that layer's README alone. Where everything is installed all of them run. The pages belong to the meta layer.
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
# These have no program: an index, and what benchmarks and tools write.
NO_PROGRAM = {"README", "benchmarks", "benchmarks-remote", "calls"}
PAGES = [path for path in sorted((ROOT / "docs").glob("*.md")) if path.stem not in NO_PROGRAM]
# What the place has to permit.
NEEDS = {
    "containers": ["mount namespaces", "pid namespaces", "uts namespaces", "network namespaces"],
    "dropping-privileges": ["other users"],
    "elsewhere": ["user namespaces", "network namespaces"],
    "fuse": ["/dev/fuse", "privileged mount namespaces"],
    "short-forms": ["mount namespaces", "uts namespaces"],
}


_BLOCK = r"((?:(?!```).*\n)*)```"
PROGRAM = re.compile(rf"^```python\n{_BLOCK}\n+```text\n{_BLOCK}$", re.MULTILINE)


def programs_and_outputs(readme: Path) -> list[tuple[str, str]]:
    """Return the Python blocks of a README that have a text block after them: what they print."""
    text = readme.read_text()
    matches = list(PROGRAM.finditer(text))
    assert matches, f"no ```python block followed by a ```text block in {readme}"
    assert text.index("```python") == matches[0].start(), (
        f"the first program of {readme} has no output after it"
    )
    return [(match[1], match[2]) for match in matches]


def _run(text: Path, directory: Path) -> None:
    """Run the programs of a text, and compare what they print."""
    for program, expected in programs_and_outputs(text):
        _run_program(program, expected, directory)


def _run_program(program: str, expected: str, directory: Path) -> None:
    script = directory / "program.py"
    script.write_text(program)
    # Lines in the order in which a terminal shows them, also beside those of commands.
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if path := environment.get("PYTHONPATH"):  # the development tree, usually given relative to the root
        environment["PYTHONPATH"] = os.pathsep.join(
            os.path.abspath(entry) for entry in path.split(os.pathsep)
        )
    command = [sys.executable, "-W", "error", script]
    result = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert (result.stderr, result.returncode) == ("", 0)
    # The files in /proc have tabs; a page shows spaces.
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    same = doctest.OutputChecker().check_output(expected, result.stdout, flags)
    assert same, f"printed:\n{result.stdout}\nexpected:\n{expected}"


@pytest.mark.parametrize("layer", [LAYER] if LAYER else list(READMES))
def test_program_of_readme_prints_what_it_says(layer: str, tmp_path: Path) -> None:
    _run(READMES[layer], tmp_path)


if LAYER in {None, "meta"}:

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "page",
        [
            pytest.param(path, id=path.stem, marks=pytest.mark.needs(*NEEDS.get(path.stem, [])))
            for path in PAGES
        ],
    )
    def test_program_of_page_prints_what_it_says(page: Path, tmp_path: Path) -> None:
        _run(page, tmp_path)
