"""Helpers of the tests of the header modules."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rsyscall.handle.task import Task
from rsyscall.near import SyscallInterface, UnusableSyscallInterface

from .support import Local, make_task, run

_SKIPPED = 77


def forked(test: Callable[[Local, Path], Coroutine[Any, Any, None]]) -> Callable[[Path], None]:
    """Make a test run in a child made by os.fork, if its calls must not change the process of the tests.

    The test gets a `Local` of its own, since one from before the fork refuses to work in the child, and a
    temporary directory. Failures and skips are reported by the parent. Marks may stand above this or below.
    """

    def wrapper(tmp_path: Path) -> None:
        receiver, sender = os.pipe()
        child = os.fork()
        if not child:
            _run_child(test, tmp_path, sender)
        os.close(sender)
        with open(receiver, encoding="utf-8", errors="replace") as report:
            text = report.read()
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code == _SKIPPED:
            pytest.skip(text)
        assert code == 0, f"the child ended with {code}:\n{text}"

    stand_for(test, wrapper)
    return wrapper


def stand_for(test: Callable[..., object], wrapper: Callable[..., object]) -> None:
    """Give the function that runs in the place of a test its name, its description and its marks.

    Not by `functools.wraps`: pytest would look through it, and pass the fixtures that the test has.
    """
    for name in ("__name__", "__qualname__", "__doc__", "__module__"):
        setattr(wrapper, name, getattr(test, name))
    wrapper.__dict__.update(test.__dict__)


def _run_child(test: Callable[[Local, Path], Coroutine[Any, Any, None]], tmp_path: Path, sender: int) -> None:
    code, report = 1, ""
    try:
        run(test(Local.make(), tmp_path))
        code = 0
    except pytest.skip.Exception as exn:
        code, report = _SKIPPED, str(exn)
    except BaseException:
        report = traceback.format_exc()
    finally:
        try:
            os.write(sender, report.encode(errors="replace")[:60000])
        finally:
            os._exit(code)


@contextmanager
def no_calls(*tasks: Task) -> Iterator[None]:
    """Within this, a system call in one of the tasks raises SyscallSendError."""
    before: list[tuple[Task, SyscallInterface]] = [(task, task.sysif) for task in tasks]
    for task in tasks:
        task.sysif = UnusableSyscallInterface()
    try:
        yield
    finally:
        for task, sysif in before:
            task.sysif = sysif


async def refused(call: Coroutine[Any, Any, object], *documented: int) -> OSError | None:
    """Make a call that this kernel or this place may refuse with one of these errors; None if it does not."""
    try:
        await call
    except OSError as error:
        if error.errno not in documented:
            raise
        return error
    return None


def stranger() -> Local:
    """A task with another descriptor table and another address space, with memory of its own."""
    return Local.make()


def sharer(local: Local, *, fds: bool) -> Task:
    """A task that shares the address space of `local`, and with `fds` its descriptor table."""
    return make_task(local.task, share_fd_table=fds)
