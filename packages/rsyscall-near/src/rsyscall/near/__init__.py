"""System calls with bare numbers: identifiers, `SYS`, and the interface through which calls are made.

The same number means different things in different processes. File descriptor 3 here is one file and file
descriptor 3 in a child is another; address 0x1000 is different memory; pid 7 inside a container is some other
process than pid 7 outside. Each of these numbers is looked up in something that belongs to a process: its
file descriptor table, its address space, its pid namespace. The processor manual has the same distinction: a
*near* pointer is an offset into the segment that happens to be selected, a *far* pointer names its segment.
Here too:

* a **near** identifier is only the number, as the kernel takes it. It means nothing without its process.
* a **far** identifier is the number together with the table that gives it meaning. Those are in
  `rsyscall.far`, with the layer above.
* a **handle** is a far identifier that also knows a process through which to use it, and owns the descriptor,
  memory or process that it names.

This layer is the near one. It consists of the identifiers (`FileDescriptor`, `Address`, `Process`, ...), the
numbers of the system calls (`SYS`, with `ABI` for processes of another architecture; `nr` has the members of
`SYS` as attributes of a plain object, which Python finds faster), and `SyscallInterface`: make this call in
that process. Each implementation reaches its process in its own way; `LocalSyscall`, which is here, makes the
calls in the running thread.

**Nothing is checked here.** A `SyscallInterface` passes on all numbers as they are. It does not notice a
descriptor of another process, an address that was freed, or a pid that the kernel has reused; the call acts
on the file, memory or process that the number names in the process that executes it, which may be the memory
of this very interpreter. Nothing is closed or freed for you either. The handle layer exists to make such
mistakes impossible; use this one for calls that it does not cover, and with the care of a C programmer.
"""

from __future__ import annotations

from rsyscall.near.abi import ABI, SYS, UnsupportedSyscallError, native_abi, nr
from rsyscall.near.local import LocalSyscall
from rsyscall.near.sysif import (
    MemoryRead,
    MemoryWrite,
    Step,
    Syscall,
    SyscallError,
    SyscallHangup,
    SyscallInterface,
    SyscallSendError,
    UnusableSyscallInterface,
    as_syscalls,
    raise_if_error,
)
from rsyscall.near.types import (
    Address,
    FileDescriptor,
    MemoryMapping,
    Pgid,
    Pid,
    Process,
    ProcessGroup,
    WatchDescriptor,
)

__all__ = [
    # identifiers
    "FileDescriptor",
    "WatchDescriptor",
    "Address",
    "MemoryMapping",
    "Process",
    "ProcessGroup",
    "Pid",
    "Pgid",
    # making calls
    "SYS",
    "nr",
    "MemoryRead",
    "MemoryWrite",
    "Step",
    "Syscall",
    "SyscallInterface",
    "SyscallError",
    "SyscallHangup",
    "SyscallSendError",
    "UnusableSyscallInterface",
    "as_syscalls",
    "raise_if_error",
    "LocalSyscall",
    # architectures
    "ABI",
    "native_abi",
    "UnsupportedSyscallError",
]
