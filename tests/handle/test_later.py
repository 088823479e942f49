"""Bases whose module is imported when a method of theirs is used; see `rsyscall.handle._later`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LATE = {
    "rsyscall.sys.inotify": ("InotifyFileDescriptor", "inotify_add_watch"),
    "rsyscall.sys.socket": ("SocketFileDescriptor", "connect"),
    "rsyscall.termios": ("TermiosFileDescriptor", "tcgetattr"),
}


def printed_by(*lines: str) -> str:
    """What a new interpreter prints, in which nothing has been imported."""
    return subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], stdout=subprocess.PIPE, text=True, check=True
    ).stdout


@pytest.mark.parametrize("module", LATE)
@pytest.mark.parametrize("header_first", [False, True])
def test_the_class_of_the_header_is_a_base(module: str, header_first: bool) -> None:
    """And the same class, whichever of the two is imported first, with the same methods."""
    name, method = LATE[module]
    imports = [f"from {module} import {name}", "from rsyscall.handle import FileDescriptor"]
    assert (
        printed_by(
            *(imports if header_first else reversed(imports)),
            f"assert issubclass(FileDescriptor, {name})",
            f"assert {name}.__module__.startswith('rsyscall.'), {name}.__module__",
            f"assert FileDescriptor.{method} is {name}.{method}",
            f"print(FileDescriptor.{method}.__qualname__, {name}.__doc__ is not None)",
        )
        == f"{name}.{method} True\n"
    )


def test_a_header_is_imported_by_the_first_look_at_a_method() -> None:
    assert (
        printed_by(
            "import sys",
            "from rsyscall.handle import FileDescriptor, Task",
            "print('rsyscall.sys.inotify' in sys.modules, 'rsyscall.sys._msghdr' in sys.modules)",
            "FileDescriptor.inotify_add_watch",
            "print('rsyscall.sys.inotify' in sys.modules, 'rsyscall.sys._msghdr' in sys.modules)",
            "Task.socket",
            "print('rsyscall.sys._msghdr' in sys.modules)",
        )
        == "False False\nTrue False\nFalse\n"
    )


def test_all_headers_can_be_imported_beforehand() -> None:
    assert (
        printed_by(
            "import os, sys",
            "from rsyscall.handle import Task, import_headers",
            "import_headers()",
            "before = set(sys.modules)",
            "for name in dir(Task): getattr(Task, name)",
            "print(set(sys.modules) - before)",
        )
        == "set()\n"
    )


def test_the_arguments_of_every_call_are_described() -> None:
    """For traces, also of a call whose header has not been imported."""
    assert (
        printed_by(
            "from rsyscall.handle import Task",
            "from rsyscall.handle.arguments import CALLS, kinds_of",
            "print('timerfd_settime' in CALLS, len(kinds_of('timerfd_settime', (0, 0, 0, 0))))",
        )
        == "False 4\n"
    )


def test_descriptors_that_arrive_have_an_owner() -> None:
    """Though the header has not been imported that their class is in."""
    assert (
        printed_by(
            f"import os, struct, sys; sys.path.insert(0, {str(Path(__file__).parent)!r})",
            "from support import Local",
            "from rsyscall.sys.socket import CmsgList",
            "assert 'rsyscall.sys._cmsg_fds' not in sys.modules",
            "fd = os.dup(0)",
            "serializer = CmsgList.get_serializer(Local.make().task)",
            "[message] = serializer.from_bytes(struct.pack('=Qiii4x', 20, 1, 1, fd))",
            "print(type(message).__name__, int(message[0]) == fd)",
        )
        == "CmsgSCMRights True\n"
    )
