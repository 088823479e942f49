"""Have setuptools write modules with the closures of packages: the keyword `nixdeps` of `setup`.

    setup(
        name="watcher",
        packages=["watcher", "watcher._nixdeps"],
        setup_requires=["rsyscall-tasks"],
        nixdeps={"watcher._nixdeps": ["openssh", "coreutils"]},
    )

The package `watcher._nixdeps` then has, in what is built, the modules `openssh` and `coreutils`. Each has one
name, `closure`, a `nixdeps.PackageClosure`. The names are those of `exportReferencesGraph`, see
`nixdeps.load`; a name that is no identifier gets underscores.
"""

from __future__ import annotations

import keyword
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from nixdeps.load import load_closure

__all__ = ["nixdeps", "write_module"]


class _Distribution(Protocol):
    """What is used of setuptools here, which does not have to be installed."""

    cmdclass: dict[str, Any]

    def get_command_class(self, command: str) -> Any:
        """The class that carries out a command."""


def nixdeps(dist: _Distribution, attr: str, value: object) -> None:
    """Check the keyword, and write the modules when Python code is built. For setuptools alone.

    Raises:
        TypeError: `value` is no mapping of packages to lists of names.
    """
    wanted = _checked(attr, value)
    base = dist.get_command_class("build_py")

    def run(self: Any) -> None:
        base.run(self)
        for package, names in wanted.items():
            directory = pathlib.Path(self.build_lib, *package.split("."))
            for name in names:
                write_module(directory, name)

    dist.cmdclass["build_py"] = type("build_py", (base,), {"run": run})


def _checked(attr: str, value: object) -> Mapping[str, Sequence[str]]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{attr}: expected a mapping of packages to lists of names, not {value!r}")
    for package, names in value.items():
        if not isinstance(package, str) or not all(part.isidentifier() for part in package.split(".")):
            raise TypeError(f"{attr}: expected the name of a package, not {package!r}")
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise TypeError(f"{attr}: expected a list of names for {package}, not {names!r}")
    return value


def write_module(directory: pathlib.Path, name: str) -> pathlib.Path:
    """Write the module with one closure, and return its path.

    Args:
        directory: of the package that it belongs to; made, with an empty `__init__.py`, if it is not there.
        name: of the closure: see `load_closure`.

    Raises:
        LookupError, ValueError, OSError: see `load_closure`.
    """
    closure = load_closure(name)
    module = re.sub(r"\W", "_", name)
    if not module.isidentifier() or keyword.iskeyword(module):
        module = f"_{module}"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "__init__.py").touch()
    path = directory / f"{module}.py"
    lines = "".join(f"        {store_path!r},\n" for store_path in closure.closure)
    path.write_text(
        f'"""The closure of the package {name}, as it was when this was built."""\n\n'
        "import pathlib\n\n"
        "from nixdeps import PackageClosure\n\n"
        "closure = PackageClosure(\n"
        f"    pathlib.Path({str(closure.path)!r}),\n"
        f"    [\n{lines}    ],\n"
        ")\n"
    )
    return path
