"""The helpers of the tests of this layer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from .helpers import forked
from .support import Local
from .test_mount import in_mount_namespace

Decorator = Callable[[Callable[[Local, Path], Coroutine[Any, Any, None]]], Callable[[Path], None]]


@pytest.mark.parametrize("decorator", [forked, in_mount_namespace])
def test_marks_may_stand_above_a_decorator_and_below(decorator: Decorator) -> None:
    @pytest.mark.slow
    @decorator
    @pytest.mark.needs("something")
    async def example(local: Local, tmp_path: Path) -> None:
        """Does nothing."""

    marks: list[pytest.Mark] = getattr(example, "pytestmark", [])
    assert {"needs", "slow"} <= {mark.name for mark in marks}
    assert ("something",) in [mark.args for mark in marks]
    assert (example.__name__, example.__doc__) == ("example", "Does nothing.")
    assert list(inspect.signature(example).parameters) == ["tmp_path"]
