"""Temporary directories and links, made in any process."""

from rsyscall.stdlib.mktemp import TemporaryDirectory, mkdtemp, random_string, update_symlink

__all__ = ["TemporaryDirectory", "mkdtemp", "random_string", "update_symlink"]
