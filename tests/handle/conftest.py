"""Fixtures of the tests of the handle layer."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from rsyscall.handle.task import Task

from .support import Local, run


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run `async def` tests without an event loop: nothing in this layer suspends."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments: dict[str, Any] = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    run(pyfuncitem.obj(**arguments))
    return True


@pytest.fixture
def local() -> Iterator[Local]:
    """A task for this process with memory; file descriptors whose handles the test dropped are closed."""
    local = Local.make()
    yield local
    run(local.task.run_fd_table_gc())
    local.arena.memory.close()


@pytest.fixture
def task(local: Local) -> Task:
    """The task of `local`."""
    return local.task
