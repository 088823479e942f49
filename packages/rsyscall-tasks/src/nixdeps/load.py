"""Find the closures of packages, while something is built.

A derivation says which closures it wants to know, with a name for each:

    exportReferencesGraph = [ "openssh" openssh "coreutils" coreutils ];

For the builder, Nix writes a file of that name, with the references of every path of the closure. In a
`nix-shell` it does not, and the store is asked. A build without Nix has no packages of a store.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
from collections.abc import Mapping

from nixdeps import PackageClosure

__all__ = ["load_closure", "read_references_graph"]

_WANTED = "exportReferencesGraph"
# Of a package that there is not: nothing can be below it.
_NOWHERE = pathlib.Path("/dev/null")


def load_closure(name: str, environ: Mapping[str, str] | None = None) -> PackageClosure:
    """Return the closure that the derivation which is being built gives this name.

    Args:
        name: as in `exportReferencesGraph`.
        environ: the environment variables of the build; by default our own.

    Returns:
        The closure. Without Nix, a path below `/dev/null`, where no package can be: so that the same
        program can be built, and says what is missing when it looks for the package.

    Raises:
        LookupError: the derivation has no such name.
        ValueError: Nix wrote something else than a graph of references.
        OSError: `nix-store` cannot be executed.
        subprocess.CalledProcessError: `nix-store` failed.
    """
    environ = os.environ if environ is None else environ
    if _WANTED not in environ:
        return PackageClosure(_NOWHERE / name, [str(_NOWHERE / name)])
    words = environ[_WANTED].split()
    paths = dict(zip(words[::2], words[1::2], strict=True))
    if name not in paths:
        raise LookupError(f"{name}: not in exportReferencesGraph, which has {', '.join(paths) or 'nothing'}")
    path = paths[name]
    graph = pathlib.Path(environ.get("NIX_BUILD_TOP", "."), name)
    if graph.is_file():
        return PackageClosure(pathlib.Path(path), read_references_graph(graph.read_text()))
    command = ["nix-store", "--query", "--requisites", path]
    listing = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return PackageClosure(pathlib.Path(path), listing.split())


def read_references_graph(text: str) -> list[str]:
    """Return the paths of a closure from what Nix writes for `exportReferencesGraph`.

    Args:
        text: for each path a line with it, one with what it was built from, which may be empty, one with the
            number of its references, and one with each of these.

    Raises:
        ValueError: it is something else, or not whole.
    """
    lines = iter(text.splitlines())
    closure = []
    for path in lines:
        try:
            _built_from, count = next(lines), int(next(lines))
            references = [next(lines) for _ in range(count)]
        except StopIteration:
            raise ValueError(f"the references of {path} are cut off") from None
        if count < 0 or not all(found.startswith("/") for found in (path, *references)):
            raise ValueError(f"{path!r} is not followed by its references")
        closure.append(path)
    return closure
