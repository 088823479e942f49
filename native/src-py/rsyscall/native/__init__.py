"""The C part of rsyscall, as Python sees it.

This layer is dangerous by nature: addresses are plain integers and nothing is checked. It holds

* `syscall`, `read_memory`, `write_memory`: calls and memory of our own process;
* `Hub` and `Ring`: driving a process that shares our memory through a ring in that memory;
* `destructor`: makes a `__del__` of a function, of which exceptions of signal handlers are not lost;
* `WrongThreadError`, `ForkedProcessError`: what all of it raises for others than its owner;
* `symbols`: addresses of the functions that a new process can be started on;
* `stub_path()`: the static program `rsyscall-stub`, for processes that do not share our memory;
* `relay_path()`: the static program `rsyscall-relay`, for several streams over one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from rsyscall.native import fast
from rsyscall.native._raw import ffi, lib
from rsyscall.native.fast import (
    ForkedProcessError,
    Hub,
    Ring,
    WrongThreadError,
    destructor,
    read_memory,
    syscall,
    write_memory,
)

__all__ = [
    "ForkedProcessError",
    "Hub",
    "Ring",
    "Symbols",
    "WrongThreadError",
    "destructor",
    "ffi",
    "lasting_trampoline",
    "lib",
    "read_memory",
    "relay_path",
    "stub_path",
    "symbols",
    "syscall",
    "write_memory",
]


class Symbols(NamedTuple):
    """Addresses of native functions in one address space."""

    rsyscall_server: int
    "`int (int infd, int outfd, struct rsys_origin *)`: serve the stream protocol."
    rsyscall_persistent_server: int
    "`int (int infd, int outfd, int listenfd)`: the same, reconnecting."
    rsyscall_futex_helper: int
    "`int (struct rsys_hub *, struct rsys_ring *)`: the watcher, whose ring is the second."
    rsyscall_trampoline: int
    "Where a new process starts; see `struct trampoline_stack`."
    rsyscall_ring_server: int
    "`int (struct rsys_ring *)`: serve a ring in shared memory."
    rsyscall_shared_ring_server: int
    "`int (struct rsys_shared *, int socket, uint32_t page_size)`: serve one in a memory file."


symbols: Symbols = Symbols(*(lib.rsyscall_symbol(which) for which in range(6)))
"""The functions in our own address space."""

lasting_trampoline: int = lib.rsyscall_symbol(6)
"""Where a new process starts that is not killed when its parent dies, not even in its first instants."""

fast.set_raw_syscall(int(ffi.cast("uintptr_t", ffi.addressof(lib, "rsyscall_raw_syscall"))))


def stub_path(machine: str | None = None) -> Path:
    """Path of the static program `rsyscall-stub` that this distribution carries.

    Args:
        machine: the architecture, as `uname -m` has it: `aarch64`, `riscv64`, `x86_64`; by default our own.

    Raises:
        FileNotFoundError: the distribution was built without it: there was no compiler for that architecture.
    """
    return _program("rsyscall-stub", machine)


def relay_path(machine: str | None = None) -> Path:
    """Path of the static program `rsyscall-relay`; as `stub_path`."""
    return _program("rsyscall-relay", machine)


def _program(name: str, machine: str | None) -> Path:
    path = Path(__file__).with_name(name if machine in (None, os.uname().machine) else f"{name}-{machine}")
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}: rsyscall-native was built without this program")
    return path
