"""Fixtures of the tests of the memory layer."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from rsyscall.handle.task import Task
from rsyscall.memory.allocator import UnlimitedAllocator
from rsyscall.memory.local import LocalMemoryTransport
from rsyscall.memory.ram import RAM

from .support import make_task, run


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run `async def` tests without an event loop: nothing in this layer suspends by itself."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments: dict[str, Any] = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    run(pyfuncitem.obj(**arguments))
    return True


@pytest.fixture
def task() -> Task:
    """A task for this process."""
    return make_task()


@pytest.fixture
def allocator(task: Task) -> Iterator[UnlimitedAllocator]:
    """An allocator for this process; fails the test if something is still allocated at its end."""
    allocator = UnlimitedAllocator(task)
    yield allocator
    gc.collect()  # caught exceptions keep frames, and with them pointers, alive
    run(allocator.close())
    assert not allocator.arenas


@pytest.fixture
def ram(task: Task, allocator: UnlimitedAllocator) -> RAM:
    """The memory of this process."""
    return RAM(task, LocalMemoryTransport(task), allocator.inherit(task))
