"""Generate rsyscall/handle/_later_calls.py and _later_process.py: methods whose module is imported when used.

    python3 tools/abigen/later_calls.py --write     write them
    python3 tools/abigen/later_calls.py --check     exit 1, with a diff, if one is not what would be written

They are those of the public classes `...FileDescriptor`, `...Task` and `...Process` of the header modules
that are no bases of `FileDescriptor`, `Task` and `Process`, and of those that are `late`; see
`rsyscall.handle._later`. To make a base late, decorate it, let `rsyscall.handle.task` import it from the
generated file, and run this.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType

import generated

from rsyscall import far
from rsyscall.handle._later import late_classes
from rsyscall.handle.base_process import BaseProcess
from rsyscall.handle.fd import BaseFileDescriptor, FileDescriptorTask, T_fd

SOURCES = Path(__file__).resolve().parents[2] / "packages/rsyscall-handle/src/rsyscall"
FILE = SOURCES / "handle/_later_calls.py"
PROCESS_FILE = FILE.with_name("_later_process.py")
COMMAND = "python3 tools/abigen/later_calls.py --write"
LINE_LENGTH = 110

HEAD = '''\
# Made by: {command}
"""The methods of `FileDescriptor` and `Task` of less common headers; see `rsyscall.handle._later`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsyscall import far
from rsyscall.handle._later import Later, stand_in
from rsyscall.handle.fd import BaseFileDescriptor, FileDescriptorTask, T_fd

__all__ = [
    "LaterFileDescriptor",
    "LaterTask",
{late_names}
]

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

{stand_ins}\
'''

STAND_IN = """\
    @stand_in("{module}")
    class {name}({base}):
{body}
"""


PROCESS_HEAD = '''\
# Made by: {command}
"""The methods of `Process` of less common headers; see `rsyscall.handle._later`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsyscall.handle._later import Later
from rsyscall.handle.base_process import BaseProcess

__all__ = ["LaterProcess"]

if TYPE_CHECKING:
{imports}

    class LaterProcess(
{bases}
        BaseProcess,
    ):
        """Calls about a process."""

else:

    class LaterProcess(BaseProcess):
        """Calls about a process."""

{methods}
'''


def module_of(path: Path) -> str:
    """The name of the module in a file."""
    parts = ["rsyscall", *path.relative_to(SOURCES).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules() -> Iterator[str]:
    """The modules of the layer."""
    return map(module_of, sorted(SOURCES.rglob("*.py")))


class Ungenerated(ModuleType):
    """In place of a file that this generates: it may not be there, or not fit the sources."""

    class LaterFileDescriptor(BaseFileDescriptor):
        """Without the methods."""

        __slots__ = ()

    class LaterTask(FileDescriptorTask[T_fd]):
        """Without the methods."""

    class LaterProcess(BaseProcess):
        """Without the methods."""

    def __getattr__(self, name: str) -> type:
        for path in SOURCES.rglob("*.py"):
            if f"@late\nclass {name}(" in path.read_text():
                cls: type = getattr(importlib.import_module(module_of(path)), name)
                return cls
        raise AttributeError(f"there is no class {name} that is late")


for file in (FILE, PROCESS_FILE):
    sys.modules[module_of(file)] = Ungenerated(module_of(file))
from rsyscall.handle.process import Process  # noqa: E402  # with these
from rsyscall.handle.task import FileDescriptor, Task  # noqa: E402


def later(base: type, suffix: str, whole: type) -> list[type]:
    """The classes of the layer that belong to `whole` and are no base of it."""
    found = []
    for name in modules():
        for attribute, cls in vars(importlib.import_module(name)).items():
            if (
                inspect.isclass(cls)
                and cls.__module__ == name
                and attribute.endswith(suffix)
                and attribute not in {"LaterFileDescriptor", "LaterTask", "LaterProcess"}
                and cls not in late_classes()
                and issubclass(cls, base)
                and not issubclass(cls, whole)
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
        else:
            # It is there when the module has been imported, so that methods of the class can use it.
            assert name.startswith("_"), f"{cls.__name__}.{name} is no method"


def stand_in_class(cls: type) -> str:
    """The text of what stands for a class that is late."""
    if issubclass(cls, FileDescriptorTask):
        base = "FileDescriptorTask[T_fd]"
    else:
        base = "BaseFileDescriptor" if issubclass(cls, BaseFileDescriptor) else "far.Task"
    parts = ["        __slots__ = ()"] if base == "BaseFileDescriptor" else []
    named = [f'        {name} = Later("{cls.__module__}", "{cls.__name__}")' for name in methods(cls)]
    if named:
        parts.append("\n".join(named))
    return STAND_IN.format(module=cls.__module__, name=cls.__name__, base=base, body="\n\n".join(parts))


def imports(classes: list[type]) -> str:
    """The lines that import classes."""
    names: dict[str, list[str]] = {}
    for cls in classes:
        names.setdefault(cls.__module__, []).append(cls.__name__)
    lines = []
    for module, found in sorted(names.items()):
        ordered = sorted(found, key=str.lower)
        line = f"    from {module} import {', '.join(ordered)}"
        if len(line) > LINE_LENGTH:
            line = "\n".join(
                [f"    from {module} import (", *(f"        {name}," for name in ordered), "    )"]
            )
        lines.append(line)
    return "\n".join(lines)


def bases(classes: list[type]) -> str:
    """The lines that name classes as bases."""
    generic = {cls for cls in classes if issubclass(cls, FileDescriptorTask)}
    return "\n".join(f"        {cls.__name__}{'[T_fd]' if cls in generic else ''}," for cls in classes)


def stand_ins(classes: list[type]) -> str:
    """The lines that stand for the methods."""
    return "\n".join(
        f'        {name} = Later("{cls.__module__}", "{cls.__name__}")'
        for cls in classes
        for name in methods(cls)
    )


def process_text() -> str:
    """The text of the file for processes."""
    classes = later(BaseProcess, "Process", Process)
    return PROCESS_HEAD.format(
        command=COMMAND, imports=imports(classes), bases=bases(classes), methods=stand_ins(classes)
    )


def text() -> str:
    """The text of the file."""
    descriptors = later(BaseFileDescriptor, "FileDescriptor", FileDescriptor)
    tasks = later(far.Task, "Task", Task)
    late = sorted(late_classes(), key=lambda cls: (cls.__module__, cls.__name__))
    return HEAD.format(
        command=COMMAND,
        late_names="\n".join(f'    "{name}",' for name in sorted(cls.__name__ for cls in late)),
        imports=imports([*descriptors, *tasks, *late]),
        descriptor_bases=bases(descriptors),
        task_bases=bases(tasks),
        descriptor_methods=stand_ins(descriptors),
        task_methods=stand_ins(tasks),
        stand_ins="\n".join(map(stand_in_class, late)),
    )


def main() -> int:
    """See the module."""
    return max(
        generated.main(PROCESS_FILE, process_text, COMMAND, __doc__),
        generated.main(FILE, text, COMMAND, __doc__),
    )


if __name__ == "__main__":
    sys.exit(main())
