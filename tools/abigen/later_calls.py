"""Generate rsyscall/handle/_later_calls.py: the methods whose header module is imported when they are used.

    python3 tools/abigen/later_calls.py --write     write it
    python3 tools/abigen/later_calls.py --check     exit 1, with a diff, if it is not what would be written

They are those of the public classes `...FileDescriptor` and `...Task` of the header modules that are no bases
of `FileDescriptor` and `Task`; see `rsyscall.handle._later`.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

import generated

from rsyscall import far
from rsyscall.handle.fd import BaseFileDescriptor, FileDescriptorTask
from rsyscall.handle.task import FileDescriptor, Task

SOURCES = Path(__file__).resolve().parents[2] / "packages/rsyscall-handle/src/rsyscall"
FILE = SOURCES / "handle/_later_calls.py"
COMMAND = "python3 tools/abigen/later_calls.py --write"

HEAD = '''\
# Made by: {command}
"""The methods of `FileDescriptor` and `Task` of less common headers; see `rsyscall.handle._later`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsyscall.handle._later import Later
from rsyscall.handle.fd import BaseFileDescriptor, FileDescriptorTask, T_fd

__all__ = ["LaterFileDescriptor", "LaterTask"]

if TYPE_CHECKING:
{imports}

    class LaterFileDescriptor(
{descriptor_bases}
        BaseFileDescriptor,
    ):
        """Calls on a descriptor."""

        __slots__ = ()

    class LaterTask(
{task_bases}
        FileDescriptorTask[T_fd],
    ):
        """All other calls."""

else:

    class LaterFileDescriptor(BaseFileDescriptor):
        """Calls on a descriptor."""

        __slots__ = ()

{descriptor_methods}

    class LaterTask(FileDescriptorTask[T_fd]):
        """All other calls."""

{task_methods}
'''


def modules() -> Iterator[str]:
    """The modules of the layer."""
    for path in sorted(SOURCES.rglob("*.py")):
        parts = ["rsyscall", *path.relative_to(SOURCES).with_suffix("").parts]
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def later(base: type, suffix: str, whole: type) -> list[type]:
    """The classes of the layer that belong to `whole` and are no base of it."""
    found = []
    for name in modules():
        for attribute, cls in vars(importlib.import_module(name)).items():
            if (
                inspect.isclass(cls)
                and cls.__module__ == name
                and attribute.endswith(suffix)
                and attribute not in {"LaterFileDescriptor", "LaterTask"}
                and issubclass(cls, base)
                and cls not in whole.__mro__
            ):
                found.append(cls)
    return found


def methods(cls: type) -> Iterator[str]:
    """The names of the methods of a class."""
    for name, value in vars(cls).items():
        if isinstance(value, FunctionType):
            # It is called through another class.
            assert "__class__" not in value.__code__.co_freevars, f"{cls.__name__}.{name} uses super()"
            yield name


def text() -> str:
    """The text of the file."""
    descriptors = later(BaseFileDescriptor, "FileDescriptor", FileDescriptor)
    tasks = later(far.Task, "Task", Task)
    imports: dict[str, list[str]] = {}
    for cls in (*descriptors, *tasks):
        imports.setdefault(cls.__module__, []).append(cls.__name__)

    def bases(classes: list[type]) -> str:
        generic = {cls for cls in classes if issubclass(cls, FileDescriptorTask)}
        return "\n".join(f"        {cls.__name__}{'[T_fd]' if cls in generic else ''}," for cls in classes)

    def stand_ins(classes: list[type]) -> str:
        return "\n".join(
            f'        {name} = Later("{cls.__module__}", "{cls.__name__}")'
            for cls in classes
            for name in methods(cls)
        )

    return HEAD.format(
        command=COMMAND,
        imports="\n".join(
            f"    from {module} import {', '.join(sorted(names))}"
            for module, names in sorted(imports.items())
        ),
        descriptor_bases=bases(descriptors),
        task_bases=bases(tasks),
        descriptor_methods=stand_ins(descriptors),
        task_methods=stand_ins(tasks),
    )


def main() -> int:
    """See the module."""
    return generated.main(FILE, text, COMMAND, __doc__)


if __name__ == "__main__":
    sys.exit(main())
