"""Objects with a destructor whose constructor is left by an exception, as one of a signal handler."""

from __future__ import annotations

import gc
import importlib
import pkgutil
import sys
from typing import Any

import pytest
from support import local_thread

import rsyscall
from rsyscall.child_stream import ChildStream
from rsyscall.monitor import AsyncChildProcess
from rsyscall.ring import RingConnection


class InterruptedConstructorError(Exception):
    """The exception of a signal handler."""


def _classes_with_destructors() -> list[type]:
    for module in pkgutil.walk_packages(rsyscall.__path__, "rsyscall."):
        if not module.name.rpartition(".")[2].startswith("__"):
            importlib.import_module(module.name)
    found = []
    unseen: list[type] = [object]
    while unseen:
        for cls in type.__subclasses__(unseen.pop()):
            if not any(cls is known for known in found):  # some classes do not like to be compared
                found.append(cls)
                unseen.append(cls)
    ours = [cls for cls in found if cls.__module__.startswith("rsyscall.")]
    return [
        cls for cls in ours if "__del__" in vars(cls) and not cls.__module__.startswith("rsyscall.native")
    ]


@pytest.fixture
def ignored(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The exceptions that destructors have raised."""
    raised: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: raised.append(what.exc_value))
    return raised


def test_destructors_of_empty_objects(ignored: list[Any]) -> None:
    classes = _classes_with_destructors()
    assert {ChildStream, RingConnection, AsyncChildProcess} <= set(classes)
    for cls in classes:
        cls.__new__(cls)
        assert not ignored, cls


@pytest.mark.parametrize(
    ("transport", "cls"),
    [
        ("stream", ChildStream),
        ("ring", RingConnection),
        ("ring", AsyncChildProcess),
        ("stream", AsyncChildProcess),
    ],
)
async def test_constructors_left_at_every_attribute(
    transport: str, cls: type, ignored: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RSYSCALL_TRANSPORT", transport)
    left = 0
    allowed = 0

    def set_attribute(self: object, name: str, value: object) -> None:
        nonlocal left
        if left == 0:
            raise InterruptedConstructorError
        left -= 1
        object.__setattr__(self, name, value)

    while True:
        left = allowed
        with monkeypatch.context() as patch:
            patch.setattr(cls, "__setattr__", set_attribute)
            try:
                child = await local_thread.clone()
            except InterruptedConstructorError:
                child = None
            left = -1
        gc.collect()
        assert not ignored, allowed
        if child is not None:
            break
        allowed += 1
    assert allowed > 5
    await child.exit(0)
    await child.process.check()
