"""What a row of docs/calls.md says beside the method: its structures, and the tests that make the call."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from types import FunctionType

from rsyscall.struct import HasSerializer

__all__ = ["structures_of", "test_of"]

ROOT = Path(__file__).resolve().parent.parent.parent
# How much it says about a test that its function, or its file, has the name of the call.
FUNCTION, FILE = 100, 50


@functools.cache
def names_for_types(module: str) -> dict[str, object]:
    """What a module imports from ours for type checkers alone."""
    tree = ast.parse(Path(inspect.getfile(sys.modules[module])).read_text())
    return {
        alias.asname or alias.name: getattr(importlib.import_module(node.module), alias.name, None)
        for block in tree.body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("rsyscall.")
        for alias in node.names
    }


def structures_of(functions: Iterable[FunctionType]) -> list[str]:
    """The structures in the signatures of these methods, by name."""
    found: dict[str, None] = {}
    for function in functions:
        names = {**names_for_types(function.__module__), **function.__globals__}
        for annotation in inspect.get_annotations(function).values():
            for name in re.findall(r"\w+", str(annotation)):
                value = names.get(name)
                if not isinstance(value, type) or not issubclass(value, HasSerializer):
                    continue
                if value.__module__ != HasSerializer.__module__:  # integers, and base classes
                    found[name] = None
    return list(found)


@functools.cache
def uses() -> dict[str, list[tuple[Path, str]]]:
    """For each name of an attribute, the functions of tests that use it: their file and their name."""
    found = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if path.is_relative_to(ROOT / "tests/typing"):
            continue  # never executed
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for name in {inner.attr for inner in ast.walk(node) if isinstance(inner, ast.Attribute)}:
                    found[name].append((path, node.name))
    return found


def test_of(call: str, methods: Iterable[str], header: str) -> Path | None:
    """The file with the tests that say most about a call, relative to the project.

    Args:
        call: its name.
        methods: their names, without that of the class.
        header: the last part of the name of its module.
    """
    scores: dict[Path, int] = defaultdict(int)
    for method in methods:
        for path, function in uses().get(method, ()):
            names = {call, method, header}
            scores[path] += 1
            scores[path] += FUNCTION * any(name in function for name in names)
            scores[path] += FILE * any(name in path.stem for name in names)
    if not scores:
        return None
    # What is not called test_ is a program that a test runs, and says less.
    best = max(scores, key=lambda path: (path.name.startswith("test_"), scores[path]))
    return best.relative_to(ROOT)
