"""`./run` in a checkout that is not ours."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from place import Place
from reach import let_others_reach

from .conftest import NOBODY

RUN = Path(__file__).resolve().parents[2] / "run"


@pytest.mark.parametrize("where", [".", ".nox", ".nox/run"])
def test_what_belongs_to_somebody_else_is_one_line(tmp_path: Path, where: str, place: Place) -> None:
    if os.geteuid() == 0:
        place.need("other users")
    shutil.copy(RUN, tmp_path / "run")
    inner = tmp_path / where
    (inner / "bin").mkdir(parents=True)
    (inner / "bin" / "file").touch()
    if os.geteuid() == 0:
        let_others_reach(tmp_path / "run")
        for directory in (tmp_path, tmp_path / ".nox"):
            if directory in inner.parents:
                os.chown(directory, NOBODY, NOBODY)
    inner.chmod(0o555)
    result = subprocess.run(
        ["sh", tmp_path / "run", "demo"],
        user=NOBODY if os.geteuid() == 0 else None,
        capture_output=True,
        text=True,
        check=False,
    )
    inner.chmod(0o755)
    message = "cannot be written, it may belong to another user: use a checkout of your own"
    assert (result.returncode, result.stdout, result.stderr) == (1, "", f"run: {where} {message}\n")
