"""Make any Linux system call in any of your processes, from one program.

The names below are what most programs need; each is imported from its layer when it is first used, so
importing one layer stays as cheap with everything installed as it is alone:

* `local_thread`: the thread that runs this program, and the start of every other one.
* `Thread`, `ChildThread`: a process that calls can be made in, with memory, an epoll loop and an environment.
* `Task`: the bare process context; the calls that take no handle are its methods.
* `FileDescriptor`, `AsyncFileDescriptor`: an owned file descriptor; the same with reads and writes that wait
  in trio.
* `AsyncChildProcess`: a child to wait for or to signal.
* `Pointer`, `WrittenPointer`, `ReadablePointer`, `LinearPointer`: owned, typed memory in some process.
* `MemoryMapping`: an owned mapping. `Int32`, `Int64`: integers as the kernel stores them.
* `Command`, `Path`: a program with its arguments; a path in some process.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rsyscall.command import Command as Command
    from rsyscall.epoller import AsyncFileDescriptor as AsyncFileDescriptor
    from rsyscall.handle import FileDescriptor as FileDescriptor
    from rsyscall.handle import LinearPointer as LinearPointer
    from rsyscall.handle import Pointer as Pointer
    from rsyscall.handle import ReadablePointer as ReadablePointer
    from rsyscall.handle import Task as Task
    from rsyscall.handle import WrittenPointer as WrittenPointer
    from rsyscall.monitor import AsyncChildProcess as AsyncChildProcess
    from rsyscall.path import Path as Path
    from rsyscall.struct import Int32 as Int32
    from rsyscall.struct import Int64 as Int64
    from rsyscall.sys.mman import MemoryMapping as MemoryMapping
    from rsyscall.tasks.local import local_thread as local_thread
    from rsyscall.thread import ChildThread as ChildThread
    from rsyscall.thread import Thread as Thread

# The layers are distributions of their own and may be installed in another directory than this file.
__path__ = pkgutil.extend_path(__path__, __name__)

_OWNERS = {
    "AsyncChildProcess": "rsyscall.monitor",
    "AsyncFileDescriptor": "rsyscall.epoller",
    "ChildThread": "rsyscall.thread",
    "Command": "rsyscall.command",
    "FileDescriptor": "rsyscall.handle",
    "Int32": "rsyscall.struct",
    "Int64": "rsyscall.struct",
    "LinearPointer": "rsyscall.handle",
    "MemoryMapping": "rsyscall.sys.mman",
    "Path": "rsyscall.path",
    "Pointer": "rsyscall.handle",
    "ReadablePointer": "rsyscall.handle",
    "Task": "rsyscall.handle",
    "Thread": "rsyscall.thread",
    "WrittenPointer": "rsyscall.handle",
    "local_thread": "rsyscall.tasks.local",
}

__all__ = [
    "AsyncChildProcess",
    "AsyncFileDescriptor",
    "ChildThread",
    "Command",
    "FileDescriptor",
    "Int32",
    "Int64",
    "LinearPointer",
    "MemoryMapping",
    "Path",
    "Pointer",
    "ReadablePointer",
    "Task",
    "Thread",
    "WrittenPointer",
    "local_thread",
]


if not TYPE_CHECKING:  # a type checker that saw this would take any name for one of ours

    def __getattr__(name: str) -> object:
        """Import a documented name from the layer that owns it (PEP 562)."""
        owner = _OWNERS.get(name)
        if owner is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(owner), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
