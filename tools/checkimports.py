"""Check that no modules import each other in a circle: `python tools/checkimports.py`.

An import counts wherever it stands: also in a function, and also for a type checker alone. A name that is
imported from a package counts as an import of the module of that package in which it is defined. Python
itself loads the package of a module first; this does not count: otherwise every package that re-exports the
names of its modules would be a circle.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

Graph = dict[str, set[str]]


def find_modules(sources: Mapping[str, Path]) -> dict[str, Path]:
    """Return the files of the modules.

    Args:
        sources: for each directory of modules, the name of the package that it is a part of.
    """
    modules = {}
    for package, source in sources.items():
        for path in source.rglob("*.py"):
            parts = [package, *path.relative_to(source).with_suffix("").parts]
            modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


def _imported_names(module: str, path: Path) -> Iterator[tuple[str, str | None, str | None]]:
    """Yield each import: the module, the name taken from it and the name given to that, if any."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, None, None
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                source = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                yield source, alias.name, alias.asname or alias.name


def import_graph(modules: Mapping[str, Path]) -> Graph:
    """Return what each of the modules imports of the others."""
    imports = {module: list(_imported_names(module, path)) for module, path in modules.items()}
    # package -> name -> where the package has the name from
    given_out: dict[str, dict[str, tuple[str, str]]] = {
        module: {given: (source, name) for source, name, given in imports[module] if name and given}
        for module, path in modules.items()
        if path.name == "__init__.py"
    }

    def home(source: str, name: str | None, seen: frozenset[tuple[str, str]] = frozenset()) -> str | None:
        while source not in modules and "." in source:
            source = source.rpartition(".")[0]
        if name is not None and f"{source}.{name}" in modules:
            return f"{source}.{name}"
        origin = given_out.get(source, {}).get(name) if name is not None else None
        if origin is not None and origin not in seen:
            return home(*origin, seen | {origin}) or source
        return source if source in modules else None

    graph: Graph = {}
    for module, found in imports.items():
        homes = {home(source, name) for source, name, _ in found}
        graph[module] = {other for other in homes if other is not None and other != module}
    return graph


def find_circles(graph: Graph) -> list[set[str]]:
    """Return the largest sets of modules of which each imports, by way of others perhaps, all others."""
    reached: Graph = {}
    for module in graph:
        found: set[str] = set()
        waiting = [module]
        while waiting:
            for other in graph.get(waiting.pop(), ()):
                if other not in found:
                    found.add(other)
                    waiting.append(other)
        reached[module] = found
    circles = []
    seen: set[str] = set()
    for module, found in sorted(reached.items()):
        if module in found and module not in seen:
            circle = {other for other in found if module in reached.get(other, ())}
            seen |= circle
            circles.append(circle)
    return circles


def main() -> int:
    """Print the circles and the imports in them; returns a process exit status."""
    sources = [ROOT / "native/src-py/rsyscall", *sorted(ROOT.glob("packages/*/src/rsyscall"))]
    modules: dict[str, Path] = {}
    for source in sources:
        modules |= find_modules({"rsyscall": source})
    graph = import_graph(modules)
    circles = find_circles(graph)
    for circle in circles:
        print(f"{len(circle)} modules import each other:", file=sys.stderr)
        for module in sorted(circle):
            print(f"  {module} -> {', '.join(sorted(graph[module] & circle))}", file=sys.stderr)
    print(f"{len(circles)} circles among {len(graph)} modules")
    return 1 if circles else 0


if __name__ == "__main__":
    sys.exit(main())
