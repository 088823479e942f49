"""Whether the types of all public names are known; `checktypes.py` calls it.

A program that uses a name whose type is not known is not checked where it does so, and does not learn of it.
That is so, too, for a result or an attribute that is declared to be `Any`, or to consist of `Any`.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# These have to be: a member of a structure is assigned where its class says the type, as with
# `dataclasses.field`.
_MEMBERS = ("u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64", "be16", "array", "string", "nested")
UNTYPED = {
    *(f"rsyscall.cstruct.{member}" for member in _MEMBERS),
    # C code, which knows no class that is above it.
    "rsyscall.native.fast.Allocation.arena",
    "rsyscall.native.fast.FreeSpace.arenas",
    "rsyscall.native.fast.FreeSpace.empty",
    "rsyscall.native.fast.inherit",
    "rsyscall.native.fast.new_entry",
    # A function, of which type checkers see the original.
    "rsyscall.handle._later.Later.__get__",
    # The results of different functions, in their order.
    "rsyscall.background.together",
    # Types that only a declaration in C gives.
    "rsyscall.read_buffer.AsyncReadBuffer.read_cffi",
}
# What is made of these is as unknown as what is in them.
_CONTAINERS = {
    "Optional",
    "Union",
    "ClassVar",
    "Final",
    "list",
    "tuple",
    "dict",
    "set",
    "frozenset",
    "Sequence",
}
_CONTAINERS |= {"Mapping", "Iterable", "Iterator", "AsyncIterator", "Awaitable"}


def files_of(packages: Path, package: str) -> Iterator[tuple[str, Path]]:
    """Yield the modules of a package with their files; links are followed."""
    for directory, _, files in os.walk(packages / package, followlinks=True):
        for file in sorted(files):
            path = Path(directory, file)
            if path.suffix in (".py", ".pyi"):
                parts = path.relative_to(packages).with_suffix("").parts
                yield ".".join(part for part in parts if part != "__init__"), path


def public_modules(packages: Path, package: str) -> set[str]:
    """Return the modules of a package that have public names, with links followed."""
    return {
        name
        for name, _ in files_of(packages, package)
        if not any(_is_private(part) for part in name.split("."))
    }


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def is_untyped(annotation: ast.expr | None) -> bool:
    """Return whether it is `Any`, or a union or container of that; of `Pointer[Any]` something is known."""
    if isinstance(annotation, ast.BinOp):
        return is_untyped(annotation.left) or is_untyped(annotation.right)
    if isinstance(annotation, ast.Subscript):
        arguments = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        return _name(annotation.value) in _CONTAINERS and any(map(is_untyped, arguments))
    return _name(annotation) == "Any"


def _name(expression: ast.expr | None) -> str:
    return getattr(expression, "attr", "") or getattr(expression, "id", "")


def untyped(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    """Yield the public functions and attributes in a module or class whose results or values are untyped."""
    overloaded = {
        node.name
        for node in body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and "overload" in map(_name, node.decorator_list)
    }
    for node in body:
        if isinstance(node, ast.ClassDef) and not _is_private(node.name):
            yield from untyped(node.body, f"{prefix}.{node.name}")
        elif isinstance(node, ast.If):
            # `if not TYPE_CHECKING` is hidden from programs.
            hidden = isinstance(node.test, ast.UnaryOp) and _name(node.test.operand) == "TYPE_CHECKING"
            yield from untyped(node.orelse if hidden else node.body + node.orelse, prefix)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not _is_private(node.name):
            seen = node.name not in overloaded or "overload" in map(_name, node.decorator_list)
            if seen and is_untyped(node.returns):
                yield f"{prefix}.{node.name}"
            if node.name == "__init__":
                assigned = [inner for inner in ast.walk(node) if isinstance(inner, ast.AnnAssign)]
                attributes = [inner for inner in assigned if isinstance(inner.target, ast.Attribute)]
                yield from _untyped_attributes(attributes, prefix)
        elif isinstance(node, ast.AnnAssign):
            yield from _untyped_attributes([node], prefix)


def _untyped_attributes(nodes: list[ast.AnnAssign], prefix: str) -> Iterator[str]:
    for node in nodes:
        name = _name(node.target)
        if is_untyped(node.annotation) and not _is_private(name):
            yield f"{prefix}.{name}"


def completeness(packages: Path, package: str, tree: bool) -> dict[str, Any]:
    """Return what pyright finds out about the types of a package's public names."""
    # It looks for the package where this Python does. Types that others leave open are not ours to mend:
    # those of the numbers in the standard library are.
    environment = {**os.environ, "PYTHONPATH": str(packages)} if tree else dict(os.environ)
    command = [sys.executable, "-m", "pyright", "--verifytypes", package, "--ignoreexternal", "--outputjson"]
    command += ["--pythonpath", sys.executable]
    run = subprocess.run(command, cwd=packages, env=environment, stdout=subprocess.PIPE, check=False)
    report: dict[str, Any] = json.loads(run.stdout)
    return report


def problems(packages: Path, package: str, tree: bool) -> list[str]:
    """Return a line for each public name of the package whose type is unknown or has to be guessed."""
    report = completeness(packages, package, tree)
    found = [f"{package}: {problem['message']}" for problem in report["generalDiagnostics"]]
    types = report.get("typeCompleteness")
    if types is None:
        return found or [f"{package}: pyright does not say anything about it"]
    if not types.get("pyTypedPath"):
        return [f"{package}: no py.typed"]
    directory = Path(types.get("packageRootDirectory", "/"))
    if directory.resolve() != (packages / package).resolve():
        found.append(f"{package}: found in {directory.parent}, not in {packages}")
    checked = {module["name"] for module in types["modules"]}
    found += [f"{name}: not checked" for name in sorted(public_modules(packages, package) - checked)]
    unknown = [symbol for symbol in types["symbols"] if not symbol["isTypeKnown"]]
    causes = [line for symbol in unknown for line in _causes(symbol)]
    return found + (causes or [f"{symbol['name']}: type unknown" for symbol in unknown])


def _causes(symbol: dict[str, Any]) -> list[str]:
    """Return what is wrong with a name itself, not what follows from it for others that mention it."""
    messages = [" ".join(diagnostic["message"].split()) for diagnostic in symbol["diagnostics"]]
    # Missing docstrings are reported, too.
    others = ("is partially unknown", "docstring", "default value")
    return [f"{symbol['name']}: {text}" for text in messages if not any(other in text for other in others)]


def main(packages: Path, names: list[str], tree: bool) -> int:
    """Print the problems of the packages; returns 1 if there are any."""
    print("pyright --verifytypes", *names, flush=True)
    found = [problem for name in names for problem in problems(packages, name, tree)]
    # In modules of private names, too: public modules have from there what they export.
    modules = [module for name in names for module in files_of(packages, name)]
    anys = {name for module, path in modules for name in untyped(ast.parse(path.read_bytes()).body, module)}
    found += [f"{name}: Any" for name in sorted(anys - UNTYPED)]
    found += [f"{name}: not Any, but in the list of those" for name in sorted(UNTYPED - anys)]
    print(*found, f"{len(found)} problems with the types of public names", sep="\n", flush=True)
    return int(bool(found))
