"""Records of calls: an owner for a new descriptor or mapping, even if an exception comes at any moment.

A signal handler may raise between any two instructions of Python code: between the answer of the kernel and
the statement that stores it, for example. So C code stores the outcome in a `CallRecord`, which exists before
the call is made: the result of a call that makes a descriptor or mapping, and whether a call that destroys
one was made. `SyscallInterface.recorded_syscall` takes one:

    record = CallRecord(table)
    await sysif.recorded_syscall(record, nr.openat, ...)   # from its answer on, the record owns it
    handle = ...
    track(table, handle, record)                           # now the handle does

If a record is dropped while it owns a descriptor, the descriptor becomes garbage of its table: it is closed
at once in our own process, and soon in another one. `native/src/record.c` and `handles.c` describe all of it.
"""

from __future__ import annotations

from rsyscall.native.fast import (
    Borrow,
    CallRecord,
    Closer,
    DroppedPointer,
    NothingToFree,
    abandon,
    became_garbage,
    borrow_pointer,
    forget,
    inherit,
    leave,
    new_entry,
    set_handle_types,
    successor,
    take_garbage,
    track,
    track_all,
    untrack,
)

__all__ = [
    "Borrow",
    "CallRecord",
    "Closer",
    "DroppedPointer",
    "NothingToFree",
    "abandon",
    "became_garbage",
    "borrow_pointer",
    "forget",
    "inherit",
    "leave",
    "new_entry",
    "set_handle_types",
    "successor",
    "take_garbage",
    "track",
    "track_all",
    "untrack",
]
