"""Records of calls: an owner for a new descriptor or mapping, even if an exception comes at any moment.

A signal handler may raise between any two instructions of Python code: between the answer of the kernel and
the statement that would have kept it, for example. So C code keeps the result of a call that makes a
descriptor or mapping, and whether a call that destroys one was made, in a `CallRecord` that exists before the
call is made. `SyscallInterface.recorded_syscall` takes one:

    record = CallRecord(table)
    await sysif.recorded_syscall(record, nr.openat, ...)   # from its answer on, the record owns it
    handle = ...
    track(table, handle, record)                           # now the handle does

A record that is dropped while it owns a descriptor makes it garbage of its table, which is closed at once in
our own process and soon in another one. `native/src/record.c` and `handles.c` have the whole story.
"""

from __future__ import annotations

from rsyscall.native._fast import (
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
    "take_garbage",
    "track",
    "track_all",
    "untrack",
]
