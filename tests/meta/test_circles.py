"""`tools/checkcircles.py` finds circles among C files, and reports no others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"
LOW = "int low(int a,\n\tint b)\n{\n\treturn a + b;\n}\n"
HIGH = "int high(void)\n{\n\treturn low(1, 2);\n}\n"


def check(place: Path, **texts: str) -> subprocess.CompletedProcess[str]:
    """Run the tool in a checkout with these C files alone."""
    for path in ["native/src", "tools"]:
        (place / path).mkdir(parents=True)
    for name in ["checkcircles.py", "checkimports.py"]:
        (place / "tools" / name).write_text((TOOLS / name).read_text())
    for name, text in texts.items():
        (place / "native/src" / f"{name}.c").write_text(text)
    command = [sys.executable, str(place / "tools/checkcircles.py")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("more", ["/* see high() */\n", "// high()\n", "int highest;\n"])
def test_downwards_only(tmp_path: Path, more: str) -> None:
    process = check(tmp_path, low=LOW + more, high=HIGH)
    assert (process.returncode, process.stderr) == (0, "")


def test_a_circle(tmp_path: Path) -> None:
    process = check(tmp_path, low=LOW + "int (*taken)(void) = high;\n", high=HIGH, top="int top;\n")
    assert process.returncode == 1
    assert process.stderr.splitlines() == [
        "2 C files call each other:",
        "  high.c -> low.c",
        "  low.c -> high.c",
    ]
