"""Handles: owning objects for file descriptors, memory and processes, and the tasks they are used through.

This package is a facade: each name is imported when it is first asked for. Header modules such as
`rsyscall.sys.socket` need the base classes in `rsyscall.handle.fd`, while `rsyscall.handle.task` needs all
header modules to assemble `FileDescriptor` and `Task`; loading everything here at once would make that a
cycle.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rsyscall.handle.allocation import UseAfterFreeError
    from rsyscall.handle.fd import (
        BaseFileDescriptor,
        FDTable,
        FileDescriptorTask,
        InvalidHandleError,
        ManipulatingFDTableError,
        SharedHandleError,
    )
    from rsyscall.handle.mapping import MemoryMapping
    from rsyscall.handle.pointer import (
        LinearPointer,
        LinearReadError,
        Pointer,
        PointerMergeError,
        ReadablePointer,
        WrittenPointer,
    )
    from rsyscall.handle.process import ChildProcess, Process, ProcessTask, ThreadProcess
    from rsyscall.handle.task import FileDescriptor, Task

_HOMES = {
    "BaseFileDescriptor": "rsyscall.handle.fd",
    "ChildProcess": "rsyscall.handle.process",
    "FDTable": "rsyscall.handle.fd",
    "FileDescriptor": "rsyscall.handle.task",
    "FileDescriptorTask": "rsyscall.handle.fd",
    "InvalidHandleError": "rsyscall.handle.fd",
    "LinearPointer": "rsyscall.handle.pointer",
    "LinearReadError": "rsyscall.handle.pointer",
    "ManipulatingFDTableError": "rsyscall.handle.fd",
    "MemoryMapping": "rsyscall.handle.mapping",
    "Pointer": "rsyscall.handle.pointer",
    "PointerMergeError": "rsyscall.handle.pointer",
    "Process": "rsyscall.handle.process",
    "ProcessTask": "rsyscall.handle.process",
    "ReadablePointer": "rsyscall.handle.pointer",
    "SharedHandleError": "rsyscall.handle.fd",
    "Task": "rsyscall.handle.task",
    "ThreadProcess": "rsyscall.handle.process",
    "UseAfterFreeError": "rsyscall.handle.allocation",
    "WrittenPointer": "rsyscall.handle.pointer",
}

__all__ = [
    # files
    "FileDescriptor",
    "BaseFileDescriptor",
    "FDTable",
    "FileDescriptorTask",
    "InvalidHandleError",
    "SharedHandleError",
    "ManipulatingFDTableError",
    # memory
    "MemoryMapping",
    "Pointer",
    "WrittenPointer",
    "ReadablePointer",
    "LinearPointer",
    "UseAfterFreeError",
    "LinearReadError",
    "PointerMergeError",
    # processes
    "Process",
    "ChildProcess",
    "ThreadProcess",
    "ProcessTask",
    "Task",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
