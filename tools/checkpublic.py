"""Whether the types of all public names are known; `checktypes.py` calls it.

A program that uses a name whose type is not known is not checked where it does so, and does not learn of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def public_modules(packages: Path, package: str) -> set[str]:
    """Return the modules of a package that have public names, with links followed."""
    found = set()
    for directory, _, files in os.walk(packages / package, followlinks=True):
        for file in files:
            name, ending = os.path.splitext(os.path.relpath(os.path.join(directory, file), packages))
            parts = [part for part in name.split(os.sep) if part != "__init__"]
            private = any(part.startswith("_") and part != "__main__" for part in parts)
            if ending in (".py", ".pyi") and not private:
                found.add(".".join(parts))
    return found


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
    print(*found, f"{len(found)} problems with the types of public names", sep="\n", flush=True)
    return int(bool(found))
