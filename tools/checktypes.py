"""Run mypy --strict and pyright over the packages, the typing tests, the examples and the tools.

`python tools/checktypes.py` checks the packages that are installed for this Python; with `--tree` the
development tree (`tools/devtree.py`), for daily work. The last part finds out whether the types of all public
names are known; `--public` does only that.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import checkpublic

ROOT = Path(__file__).resolve().parent.parent
# Packages beside `rsyscall`.
OTHERS = ("arepl", "nixdeps", "wish")
# Programs that use the packages, next to the packages themselves.
PROGRAMS = ["tests/typing", "examples", "benchmarks", "tools/*.py", "noxfile.py", "tests/native/test_stub.py"]


def installed() -> Path:
    """Return the directory that the package `rsyscall` is in."""
    spec = importlib.util.find_spec("rsyscall")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("rsyscall is not installed; use --tree for the development tree")
    return Path(next(iter(spec.submodule_search_locations))).parent


def programs() -> list[str]:
    """Return those of PROGRAMS that have Python in them, relative to the root."""
    paths = [path for pattern in PROGRAMS for path in sorted(ROOT.glob(pattern))]
    return [str(path.relative_to(ROOT)) for path in paths if path.is_file() or list(path.rglob("*.py"))]


def run_mypy(packages: Path, tree: bool) -> int:
    """Check the packages by name, then the programs; returns how many of the two runs found errors."""
    # Tools import each other by name, as they do when they run.
    path = [str(packages)] if tree else []
    environment = {**os.environ, "MYPYPATH": os.pathsep.join([*path, str(ROOT / "tools")])}
    base = [sys.executable, "-m", "mypy", "--strict"]
    failures = 0
    for what in (["-p", "rsyscall", *(word for name in OTHERS for word in ("-p", name))], programs()):
        print("mypy --strict", *what, flush=True)
        failures += subprocess.run([*base, *what], cwd=ROOT, env=environment, check=False).returncode != 0
    return failures


def run_pyright(packages: Path) -> int:
    """Check everything with one configuration file; returns 1 if there are errors."""
    config = ROOT / ".nox" / "pyright" / "pyrightconfig.json"
    # One by one: links below a directory, as in the development tree, are not followed.
    own = sorted(path for path in (packages / "rsyscall").iterdir() if path.name != "__pycache__")
    own += [packages / name for name in OTHERS]
    checked = [*own, *(ROOT / name for name in programs())]
    settings = {
        "include": [os.path.relpath(path, config.parent) for path in checked],
        # Not the default, which leaves out what is below directories that start with a dot.
        "exclude": ["**/__pycache__"],
        # The others for `benchmarks`, and for tools that import each other.
        "extraPaths": [str(packages), str(ROOT), str(ROOT / "tools")],
        "pythonVersion": "3.10",
        "pythonPlatform": "Linux",
        "typeCheckingMode": "standard",
        # A handle narrows the type of its task, a field that its base has with a wider one.
        "reportIncompatibleVariableOverride": False,
        "reportMissingModuleSource": False,
    }
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(json.dumps(settings, indent=2))
    print("pyright", packages / "rsyscall", *programs(), flush=True)
    command = [sys.executable, "-m", "pyright", "-p", str(config), "--pythonpath", sys.executable]
    return int(subprocess.run(command, cwd=ROOT, check=False).returncode != 0)


def main(arguments: list[str]) -> int:
    """Return a process exit status."""
    tree = "--tree" in arguments
    packages = ROOT / ".dev" if tree else installed()
    failures = 0 if "--public" in arguments else run_mypy(packages, tree) + run_pyright(packages)
    failures += checkpublic.main(packages, ["rsyscall", *OTHERS], tree)
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
