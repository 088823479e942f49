"""Packages of the Nix store that a program needs, as they were when it was built.

A package in the Nix store is of use only with everything that it refers to: its closure. A build knows the
closure, so it writes modules with one `PackageClosure` each, which the program imports later, and gives to
`rsyscall.nix.deploy`. `nixdeps.setuptools` has a build with setuptools write them.
"""

from __future__ import annotations

import pathlib
from dataclasses import dataclass

__all__ = ["PackageClosure"]


@dataclass
class PackageClosure:
    """A package in the Nix store, and all that it needs.

    Args:
        path: of the package: `/nix/store/HASH-NAME`.
        closure: the paths of the package and of everything that it refers to.
    """

    path: pathlib.Path
    closure: list[str]
