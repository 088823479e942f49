"""Every program in examples/ runs to its end without complaint; the README shows the demo as it is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYER = os.environ.get("RSYSCALL_LAYER")
# Those below near_only want nothing but that layer; the others want everything.
DIRECTORIES = {
    "near": [ROOT / "examples/near_only"],
    "meta": [ROOT / "examples"],
    None: [ROOT / "examples", ROOT / "examples/near_only"],
}
# They need arguments: see the tests of the meta package.
WITH_ARGUMENTS = {"19_watch_elsewhere", "20_many_hosts"}
EXAMPLES = [
    path
    for directory in DIRECTORIES.get(LAYER, [])
    for path in sorted(directory.glob("*.py"))
    if path.stem not in WITH_ARGUMENTS
]


# What the place has to permit; the demo does without.
NEEDS = {
    "03_namespaces": ["uts namespaces", "mount namespaces"],
    "04_fd_passing": ["mount namespaces"],
    "06_untrusted_programs": ["pid namespaces"],
    "08_other_root": ["mount namespaces"],
    "09_terminal": ["/dev/ptmx"],
    "13_opens": ["ptrace"],
    "14_landlocked_tool": ["landlock"],
    "15_overlay_root": ["mount namespaces", "all capabilities"],
    "16_networks": ["network namespaces", "settings of namespaces"],
}

if EXAMPLES:  # most layers have none of their own

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "example",
        [
            pytest.param(path, id=path.stem, marks=pytest.mark.needs(*NEEDS.get(path.stem, [])))
            for path in EXAMPLES
        ],
    )
    def test_example_runs(example: Path, tmp_path: Path) -> None:
        environment = dict(os.environ)
        if path := environment.get("PYTHONPATH"):  # the development tree, usually given relative to the root
            environment["PYTHONPATH"] = os.pathsep.join(
                os.path.abspath(entry) for entry in path.split(os.pathsep)
            )
        result = subprocess.run(
            [sys.executable, "-W", "error", example],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert (result.stderr, result.returncode) == ("", 0)
        assert result.stdout


def test_readme_shows_the_demo_as_it_is() -> None:
    text = (ROOT / "README.md").read_text().partition("\n## The demo\n")[2]
    block = re.search(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert block, "the README has no program"
    demo = (ROOT / "examples/demo.py").read_text()
    functions = block[1].strip("\n").split("\n\n\n")
    assert len(functions) >= 2
    for function in functions:
        assert function in demo, f"not in examples/demo.py as it is here:\n{function}"
