"""`rsyscall.limits`: the numbers are those that the kernel enforces."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rsyscall import limits


def test_all_names_exist_and_are_numbers() -> None:
    assert all(isinstance(getattr(limits, name), int) for name in limits.__all__)


def test_agrees_with_pathconf() -> None:
    assert os.pathconf("/", "PC_NAME_MAX") == limits.NAME_MAX
    assert os.pathconf("/", "PC_PATH_MAX") == limits.PATH_MAX
    assert os.pathconf("/", "PC_PIPE_BUF") == limits.PIPE_BUF


def test_longer_names_and_paths_are_refused(tmp_path: Path) -> None:
    (tmp_path / ("a" * limits.NAME_MAX)).touch()
    with pytest.raises(OSError, match="File name too long"):
        (tmp_path / ("a" * (limits.NAME_MAX + 1))).touch()
    dots = "/" * (limits.PATH_MAX - 2) + "."
    os.stat(dots)
    with pytest.raises(OSError, match="File name too long"):
        os.stat("/" + dots)
