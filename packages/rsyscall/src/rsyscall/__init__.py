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
* `run_sync`, `Portal`: commands, and anything else, from other OS threads, synchronous code and asyncio.
* `PIPE`, `STDOUT`, `DEVNULL`, `Limits`: for `Thread.run`; `CompletedCommand`, `ChildState`: how it ended;
  `CalledProcessError`, `CommandTimeoutError`, `OutputLimitError`, `ExecutableNotFound`: what went wrong.

`docs/calls.md` of the source lists every system call: the method that makes it, its structures, the first
kernel that has it. `docs/README.md` begins with what you want to do.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rsyscall.command import Command as Command
    from rsyscall.completed import CommandTimeoutError as CommandTimeoutError
    from rsyscall.completed import CompletedCommand as CompletedCommand
    from rsyscall.completed import OutputLimitError as OutputLimitError
    from rsyscall.environ import ExecutableNotFound as ExecutableNotFound
    from rsyscall.epoller import AsyncFileDescriptor as AsyncFileDescriptor
    from rsyscall.handle import FileDescriptor as FileDescriptor
    from rsyscall.handle import LinearPointer as LinearPointer
    from rsyscall.handle import Pointer as Pointer
    from rsyscall.handle import ReadablePointer as ReadablePointer
    from rsyscall.handle import Task as Task
    from rsyscall.handle import WrittenPointer as WrittenPointer
    from rsyscall.monitor import AsyncChildProcess as AsyncChildProcess
    from rsyscall.path import Path as Path
    from rsyscall.run_limits import Limits as Limits
    from rsyscall.running import DEVNULL as DEVNULL
    from rsyscall.running import PIPE as PIPE
    from rsyscall.running import STDOUT as STDOUT
    from rsyscall.struct import Int32 as Int32
    from rsyscall.struct import Int64 as Int64
    from rsyscall.sys.mman import MemoryMapping as MemoryMapping
    from rsyscall.sys.wait import CalledProcessError as CalledProcessError
    from rsyscall.sys.wait import ChildState as ChildState
    from rsyscall.tasks.local import local_thread as local_thread
    from rsyscall.tasks.portal import Portal as Portal
    from rsyscall.tasks.portal import run_sync as run_sync
    from rsyscall.thread import ChildThread as ChildThread
    from rsyscall.thread import Thread as Thread

# The layers are distributions of their own and may be installed in another directory than this file.
__path__ = pkgutil.extend_path(__path__, __name__)

_OWNERS = {
    "AsyncChildProcess": "rsyscall.monitor",
    "AsyncFileDescriptor": "rsyscall.epoller",
    "CalledProcessError": "rsyscall.sys.wait",
    "ChildState": "rsyscall.sys.wait",
    "ChildThread": "rsyscall.thread",
    "Command": "rsyscall.command",
    "CommandTimeoutError": "rsyscall.completed",
    "CompletedCommand": "rsyscall.completed",
    "DEVNULL": "rsyscall.running",
    "ExecutableNotFound": "rsyscall.environ",
    "FileDescriptor": "rsyscall.handle",
    "Int32": "rsyscall.struct",
    "Int64": "rsyscall.struct",
    "Limits": "rsyscall.run_limits",
    "LinearPointer": "rsyscall.handle",
    "MemoryMapping": "rsyscall.sys.mman",
    "OutputLimitError": "rsyscall.completed",
    "PIPE": "rsyscall.running",
    "Path": "rsyscall.path",
    "Pointer": "rsyscall.handle",
    "Portal": "rsyscall.tasks.portal",
    "ReadablePointer": "rsyscall.handle",
    "STDOUT": "rsyscall.running",
    "Task": "rsyscall.handle",
    "Thread": "rsyscall.thread",
    "WrittenPointer": "rsyscall.handle",
    "local_thread": "rsyscall.tasks.local",
    "run_sync": "rsyscall.tasks.portal",
}

__all__ = [
    "AsyncChildProcess",
    "AsyncFileDescriptor",
    "CalledProcessError",
    "ChildState",
    "ChildThread",
    "Command",
    "CommandTimeoutError",
    "CompletedCommand",
    "DEVNULL",
    "ExecutableNotFound",
    "FileDescriptor",
    "Int32",
    "Int64",
    "Limits",
    "LinearPointer",
    "MemoryMapping",
    "OutputLimitError",
    "PIPE",
    "Path",
    "Pointer",
    "Portal",
    "ReadablePointer",
    "STDOUT",
    "Task",
    "Thread",
    "WrittenPointer",
    "local_thread",
    "run_sync",
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
