"""What the tests of the near layer share: running a coroutine without an event loop."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import hypothesis
import pytest

T = TypeVar("T")

# A busy machine must not fail a property.
hypothesis.settings.register_profile("rsyscall", deadline=None)
hypothesis.settings.load_profile("rsyscall")


def run_coroutine(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends to its end."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise AssertionError("the coroutine suspended; near coroutines do not")


@pytest.fixture(scope="session")
def run() -> Callable[[Coroutine[Any, Any, T]], T]:
    """The function `run(coroutine)`."""
    return run_coroutine
