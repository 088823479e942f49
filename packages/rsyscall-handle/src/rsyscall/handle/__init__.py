"""Handles: owning objects for file descriptors, memory and processes, and the tasks they are used through.

This package is a facade: each name is imported when it is first asked for. Header modules such as
`rsyscall.sys.socket` need the base classes in `rsyscall.handle.fd`, while `rsyscall.handle.task` needs all
header modules to assemble `FileDescriptor` and `Task`; loading everything here at once would make that a
cycle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsyscall.handle._facade import facade

if TYPE_CHECKING:
    from rsyscall.handle._later import import_headers
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
    "import_headers",
]


if not TYPE_CHECKING:
    __getattr__ = facade(
        __name__,
        {
            "rsyscall.handle.fd": [
                "BaseFileDescriptor",
                "FDTable",
                "FileDescriptorTask",
                "InvalidHandleError",
                "ManipulatingFDTableError",
                "SharedHandleError",
            ],
            "rsyscall.handle.process": ["ChildProcess", "Process", "ProcessTask", "ThreadProcess"],
            "rsyscall.handle.task": ["FileDescriptor", "Task"],
            "rsyscall.handle.pointer": [
                "LinearPointer",
                "LinearReadError",
                "Pointer",
                "PointerMergeError",
                "ReadablePointer",
                "WrittenPointer",
            ],
            "rsyscall.handle.mapping": ["MemoryMapping"],
            "rsyscall.handle.allocation": ["UseAfterFreeError"],
            "rsyscall.handle._later": ["import_headers"],
        },
    )


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
