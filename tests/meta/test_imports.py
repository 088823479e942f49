"""`tools/checkimports.py` finds all circles, and reports no others."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools/checkimports.py"


@pytest.fixture(scope="module")
def tool() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("checkimports", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("checkimports", None)


def circles(tool: ModuleType, root: Path, **texts: str) -> Any:
    """The circles among modules of a package `p` with these texts."""
    for name, text in texts.items():
        path = root.joinpath(*name.split("__")).with_suffix(".py")
        if path.stem == "init":
            path = path.with_name("__init__.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tool.find_circles(tool.import_graph(tool.find_modules({"p": root})))


def test_no_circle(tool: ModuleType, tmp_path: Path) -> None:
    assert (
        circles(tool, tmp_path, a="import p.b\nfrom p import c", b="from p.c import x", c="import os") == []
    )


@pytest.mark.parametrize(
    "text",
    [
        "import p.a",
        "from p import a",
        "from p.a import x",
        "from . import a",
        "from .a import x",
        "def f():\n    from p.a import x",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.a import x",
    ],
)
def test_circle_of_two(tool: ModuleType, tmp_path: Path, text: str) -> None:
    assert circles(tool, tmp_path, a="from p.b import y", b=text, c="import p.a") == [{"p.a", "p.b"}]


def test_circles_apart(tool: ModuleType, tmp_path: Path) -> None:
    texts = {
        "a": "import p.b",
        "b": "import p.c",
        "c": "import p.a, p.d",
        "d": "import p.e",
        "e": "import p.d",
    }
    assert circles(tool, tmp_path, **texts) == [{"p.a", "p.b", "p.c"}, {"p.d", "p.e"}]


def test_name_from_a_package_is_an_import_of_its_module(tool: ModuleType, tmp_path: Path) -> None:
    face = "from p.face.low import x\nfrom p.face.high import y"
    texts = {"face__init": face, "face__low": "", "face__high": "import p.user"}
    assert circles(tool, tmp_path, user="from p.face import x", **texts) == []
    assert circles(tool, tmp_path, user="from p.face import y", **texts) == [{"p.face.high", "p.user"}]


def test_circle_through_what_a_package_itself_has(tool: ModuleType, tmp_path: Path) -> None:
    texts = {"face__init": "from p.face.low import x\nz = 1", "face__low": "from p.face import z"}
    assert circles(tool, tmp_path, **texts) == [{"p.face", "p.face.low"}]


def test_package_as_it_is(tool: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main() == 0, capsys.readouterr().err


LATE = """
import ast, sys
from pathlib import Path

import rsyscall
from rsyscall.handle import import_headers

import_headers()


def imports(tree):
    for function in ast.walk(tree):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    yield from (alias.name for alias in node.names)
                elif isinstance(node, ast.ImportFrom):
                    assert node.level == 0, node
                    yield node.module
                    for alias in node.names:
                        name = f"{node.module}.{alias.name}"
                        if Path(root, *name.split(".")[1:]).with_suffix(".py").exists():
                            yield name


for root in rsyscall.__path__:
    for path in Path(root).rglob("*.py"):
        for name in imports(ast.parse(path.read_text())):
            if name not in sys.modules:
                print(name, path.name)
"""


def printed_by(text: str) -> str:
    return subprocess.run([sys.executable, "-c", text], check=True, capture_output=True, text=True).stdout


def test_nothing_of_ours_is_imported_late() -> None:
    """For a program that cannot read the files of its Python any more."""
    # A program that uses it has imported it.
    assert set(printed_by(LATE).splitlines()) <= {"asyncio portal.py"}


@pytest.mark.parametrize("first", ["", "import rsyscall.tasks.local"])
def test_everything_can_be_imported_in_any_order(first: str) -> None:
    assert printed_by(f"{first}\nfrom rsyscall.handle import import_headers\nimport_headers()") == ""
