"""`destructor`: a `__del__` whose exceptions are not lost."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest

from rsyscall.native import destructor


class Interrupted:
    """Is interrupted `times` times in its destructor."""

    def __init__(self, times: int, log: list[int]) -> None:
        self.times = times
        self.log = log

    @destructor
    def __del__(self) -> None:
        self.log.append(self.times)
        if self.times:
            self.times -= 1
            raise KeyboardInterrupt


class Derived(Interrupted):
    """Has work of its own after that."""

    @destructor
    def __del__(self) -> None:
        super().__del__()
        self.log.append(-1)


def drop(thing: Any) -> None:
    """Drop it and go on: then an exception comes."""
    things = [thing]
    del thing
    things.clear()
    for _ in range(10):
        pass


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What has gone nowhere."""
    found: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda about: found.append(about.exc_value))
    return found


def test_nothing_is_raised_where_nothing_was(unraisable: list[object]) -> None:
    log: list[int] = []
    drop(Interrupted(0, log))
    assert log == [0]
    assert not unraisable


@pytest.mark.parametrize("kind", [Interrupted, Derived])
def test_an_interrupt_comes_after_the_destructor_has_ended(
    kind: type[Interrupted], unraisable: list[object]
) -> None:
    log: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        drop(kind(2, log))
    assert log == [2, 1, 0] if kind is Interrupted else [2, 1, 0, -1]
    assert not unraisable


def test_what_fails_each_time_is_printed(unraisable: list[object]) -> None:
    log: list[int] = []
    drop(Interrupted(1000, log))
    assert 1 < len(log) < 10
    assert [type(error) for error in unraisable] == [KeyboardInterrupt]


def test_in_another_thread_it_is_printed(unraisable: list[object]) -> None:
    log: list[int] = []
    thread = threading.Thread(target=lambda: drop(Interrupted(1, log)))
    thread.start()
    thread.join()
    assert log == [1, 0]
    assert [type(error) for error in unraisable] == [KeyboardInterrupt]


def test_the_function_is_still_there() -> None:
    assert Interrupted.__del__.__wrapped__.__name__ == "__del__"  # type: ignore[attr-defined] # as of functools
    with pytest.raises(TypeError):
        destructor()  # type: ignore[call-arg] # on purpose
