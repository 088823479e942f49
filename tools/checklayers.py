"""Check what packaging says about the layers against the code: `python tools/checklayers.py`.

* A distribution requires the layer below it, with a compatible range; the meta package pins the present
  versions of all.
* A distribution requires a third-party package exactly if its modules import it.
* Every module has one owner; every package directory has `__init__.py` and `py.typed`; the root `py.typed` is
  in rsyscall-near and the root `__init__.py` in the meta package, each only there.
* No layer imports a name of the meta package, nor a name of another one that begins with an underscore.
* `.importlinter` has every module of every distribution, on the line of its layer, and every module of the
  handle and the thread layer on a line of its own.
* Licences are the same text, and every changelog has an entry for the present version.
"""

from __future__ import annotations

import ast
import configparser
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent

# From the bottom to the top; distribution -> (directory, directory of its modules).
DISTRIBUTIONS = {
    "rsyscall-native": (ROOT / "native", "src-py/rsyscall"),
    "rsyscall-near": (ROOT / "packages/rsyscall-near", "src/rsyscall"),
    "rsyscall-handle": (ROOT / "packages/rsyscall-handle", "src/rsyscall"),
    "rsyscall-memory": (ROOT / "packages/rsyscall-memory", "src/rsyscall"),
    "rsyscall-thread": (ROOT / "packages/rsyscall-thread", "src/rsyscall"),
    "rsyscall-tasks": (ROOT / "packages/rsyscall-tasks", "src/rsyscall"),
    "rsyscall": (ROOT / "packages/rsyscall", "src/rsyscall"),
}
META = "rsyscall"
# Compiled code needs this one without an import statement that says so.
IMPLIED = {"rsyscall-native": {"cffi"}}
# Type checkers bring this one with them, and it is imported for them alone.
BUILT_IN = {"typing_extensions"}


def project(directory: Path) -> dict[str, Any]:
    """Return the [project] table of a distribution."""
    with open(directory / "pyproject.toml", "rb") as file:
        table: dict[str, Any] = tomllib.load(file)["project"]
    return table


def requirement_name(requirement: str) -> str:
    """Return the name in a requirement such as `trio >= 0.25`."""
    name = requirement
    for separator in "<>=~!;[ ":
        name = name.partition(separator)[0]
    return name.replace("_", "-").lower()


def third_party_imports(source: Path) -> set[str]:
    """Return the packages outside the standard library and ours that the modules below a directory import."""
    found: set[str] = set()
    for path in source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(), str(path))):
            if isinstance(node, ast.Import):
                found.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                found.add(node.module.partition(".")[0])
    others = found - set(sys.stdlib_module_names) - BUILT_IN - {"rsyscall", "arepl", "nixdeps", "wish"}
    return {name.replace("_", "-").lower() for name in others}


def check_requirements() -> Iterator[str]:
    """Compare the requirements of each distribution with its place and with its imports."""
    names = list(DISTRIBUTIONS)
    versions = {name: project(directory)["version"] for name, (directory, _) in DISTRIBUTIONS.items()}
    for index, (name, (directory, source)) in enumerate(DISTRIBUTIONS.items()):
        table = project(directory)
        if table["name"] != name:
            yield f"{directory}: is called {table['name']}, not {name}"
        requirements = table["dependencies"]
        own = [r for r in requirements if requirement_name(r).startswith("rsyscall")]
        if name == META:
            expected = [f"{lower} == {versions[lower]}" for lower in names[:index]]
        else:
            expected = [f"{lower} ~= {versions[lower].rpartition('.')[0]}" for lower in names[:index][-1:]]
        if own != expected:
            yield f"{name}: requires {own}, should be {expected}"
        others = {requirement_name(r) for r in requirements} - {requirement_name(r) for r in own}
        imported = third_party_imports(directory / source) | IMPLIED.get(name, set())
        for missing in sorted(imported - others):
            yield f"{name}: imports {missing} and does not require it"
        for unused in sorted(others - imported):
            yield f"{name}: requires {unused} and does not import it"


def check_modules() -> Iterator[str]:
    """Check that modules have one owner, and that packages are complete."""
    owners: dict[str, str] = {}
    for name, (directory, source) in DISTRIBUTIONS.items():
        root = directory / source
        for entry in sorted(root.iterdir()):
            if entry.name == "__pycache__":
                continue
            if entry.name in owners:
                yield f"rsyscall/{entry.name}: owned by {owners[entry.name]} and by {name}"
            owners[entry.name] = name
        for package in sorted(
            path for path in root.rglob("*") if path.is_dir() and path.name != "__pycache__"
        ):
            if not list(package.glob("*.py")):
                continue
            for file in ("__init__.py", "py.typed"):
                # A private package of tables inherits the marker of the package it is in.
                if not (package / file).exists() and not (
                    file == "py.typed" and package.name.startswith("_")
                ):
                    yield f"{package.relative_to(ROOT)}: has no {file}"
    for file, owner in (("py.typed", "rsyscall-near"), ("__init__.py", META)):
        if owners.get(file) != owner:
            yield f"rsyscall/{file}: owned by {owners.get(file)}, should be by {owner}"


def check_contract() -> Iterator[str]:
    """Check that `.importlinter` knows every module, in the right layer."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / ".importlinter")
    lines = parser["importlinter:contract:layers"]["layers"].split("\n")
    layers = [{module.strip() for module in line.split(":")} for line in lines if line.strip()]
    expected = []
    for directory, source in reversed(DISTRIBUTIONS.values()):
        modules = {
            f"rsyscall.{path.stem}"
            for path in (directory / source).iterdir()
            if path.suffix == ".py" or (path.is_dir() and list(path.glob("*.py")))
        }
        expected.append(modules - {"rsyscall.__init__"})
    for line, modules, name in zip(layers, expected, reversed(DISTRIBUTIONS), strict=False):
        for module in sorted(modules - line):
            yield f".importlinter: {module} of {name} is not on the line of its layer"
        for module in sorted(line - modules):
            yield f".importlinter: {module} is not a module of {name}"
    if len(layers) != len(expected):
        yield f".importlinter: has {len(layers)} layers, there are {len(expected)}"


def check_floors() -> Iterator[str]:
    """Check that `.importlinter` puts the modules inside the two large layers into an order."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / ".importlinter")
    for layer in ("handle", "thread"):
        directory, source = DISTRIBUTIONS[f"rsyscall-{layer}"]
        listed = parser[f"importlinter:contract:inside-{layer}"]["layers"].split()
        paths = [path.relative_to(directory / source) for path in (directory / source).rglob("*.py")]
        modules = {".".join(["rsyscall", *path.with_suffix("").parts]) for path in paths}
        modules = {module for module in modules if not module.endswith(".__init__")}
        for module in sorted(modules - set(listed)):
            yield f".importlinter: {module} has no line inside its layer"
        for module in sorted(set(listed) - modules):
            yield f".importlinter: {module} is not a module of the {layer} layer"
        if len(listed) != len(set(listed)):
            yield f".importlinter: a module has two lines inside the {layer} layer"


def check_root_imports() -> Iterator[str]:
    """Check that no layer imports a name of the meta package."""
    known = {
        path.stem
        for directory, source in DISTRIBUTIONS.values()
        for path in (directory / source).iterdir()
        if path.is_dir() or path.suffix == ".py"
    }
    for name, (directory, source) in DISTRIBUTIONS.items():
        paths = sorted((directory / source).rglob("*.py")) if name != META else []
        for path in paths:
            for node in ast.walk(ast.parse(path.read_text(), str(path))):
                if not isinstance(node, ast.ImportFrom) or node.module != "rsyscall" or node.level:
                    continue
                for alias in node.names:
                    if alias.name not in known:
                        yield f"{path.relative_to(ROOT)}:{node.lineno}: imports {alias.name} of the root"


def private_imports(path: Path, owner: str, owners: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """Yield line and name of each private module or name that a file imports from another distribution.

    Args:
        owner: the distribution of the file.
        owners: the distributions of the names below `rsyscall`.
    """
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            root, *parts = name.split(".")
            private = any(part.startswith("_") and not part.endswith("__") for part in parts)
            if private and root == "rsyscall" and owners.get(parts[0], owner) != owner:
                yield node.lineno, name


def check_private_names() -> Iterator[str]:
    """Check that what has an underscore is used in its own distribution alone."""
    sources = {name: directory / source for name, (directory, source) in DISTRIBUTIONS.items()}
    owners = {entry.stem: name for name, source in sources.items() for entry in source.iterdir()}
    for name, source in sources.items():
        for path in sorted(source.rglob("*.py")):
            for line, private in private_imports(path, name, owners):
                yield f"{path.relative_to(ROOT)}:{line}: imports {private} of another distribution"


def check_texts() -> Iterator[str]:
    """Check licences, changelogs and READMEs."""
    licence = (ROOT / "LICENSE").read_text()
    for name, (directory, _) in DISTRIBUTIONS.items():
        if (directory / "LICENSE").read_text() != licence:
            yield f"{name}: LICENSE differs from the one of the project"
        version = project(directory)["version"]
        if f"\n## {version}" not in (directory / "CHANGELOG.md").read_text():
            yield f"{name}: CHANGELOG.md has no entry for {version}"
        if not (directory / "README.md").read_text().startswith(f"# {name}\n"):
            yield f"{name}: README.md does not start with its name"


def main() -> int:
    """Print what is wrong; returns a process exit status."""
    checks = [
        check_requirements,
        check_modules,
        check_contract,
        check_floors,
        check_root_imports,
        check_private_names,
        check_texts,
    ]
    problems = [problem for check in checks for problem in check()]
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(problems)} problems in {len(DISTRIBUTIONS)} distributions")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
