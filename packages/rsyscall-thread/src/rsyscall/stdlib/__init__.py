"""Temporary directories and links, made in any process; copies from one process to another."""

from rsyscall.stdlib.copying import CopyProgress, copy_file, copy_tree
from rsyscall.stdlib.mktemp import TemporaryDirectory, mkdtemp, random_string, update_symlink

__all__ = [
    "CopyProgress",
    "TemporaryDirectory",
    "copy_file",
    "copy_tree",
    "mkdtemp",
    "random_string",
    "update_symlink",
]
