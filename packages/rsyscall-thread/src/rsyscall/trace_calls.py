"""The arguments of calls that have no method, and the text of results.

The arguments of all other calls are described beside their methods; see `rsyscall.handle.arguments`.
"""

from __future__ import annotations

import errno
import os

import rsyscall.trace_families  # noqa: F401 (it shows arguments)
from rsyscall.fcntl import FD, F
from rsyscall.handle.arguments import (
    ADDRESS,
    FDNUM,
    INT,
    PID,
    SIZE,
    Memory,
    describe,
    flags,
)
from rsyscall.near import Syscall
from rsyscall.near.calls import BOOK, Fact
from rsyscall.sys.wait import W
from rsyscall.trace_decode import WORD, Frame, OwnMemory, flag_names
from rsyscall.trace_structs import open_flags

__all__ = ["describe_call", "format_result"]

# The library makes these without a method.
describe("readv", FDNUM, Memory("iovecs", after=True), SIZE)
describe("writev", FDNUM, Memory("iovecs"), SIZE)
describe("exit_group", INT)
describe(
    "wait4",
    PID,
    ADDRESS,
    flags(W, "W"),
    ADDRESS,
)

# Of two names for one number Python gives the one that the kernel does not use.
_ERRORS = {**errno.errorcode, errno.EDEADLK: "EDEADLK", errno.EOPNOTSUPP: "EOPNOTSUPP"}
_ADDRESS_RESULTS = frozenset(name for name, row in BOOK.items() if row.facts & Fact.ADDRESS)


def describe_call(call: Syscall) -> str:
    """A call that has been made in a process that shares our memory, as it would be in a trace."""
    name = getattr(call.number, "name", f"syscall_{int(call.number):d}")
    frame = Frame(name, call.args(), memory=OwnMemory())
    return f"{name}({frame.text(frame.after(frame.before(), None))})"


def format_result(frame: Frame, result: int) -> str:
    """What a call returned: a number, or -1 with the name of the error and what it means.

    Args:
        frame: the call.
        result: as the kernel returned it, -4095 to -1 being errors.
    """
    if -4096 < result < 0:
        name = _ERRORS.get(-result, f"errno {-result}")
        return f"-1 {name} ({os.strerror(-result)})"
    if frame.name in _ADDRESS_RESULTS or result >= 2**63:
        return f"{result & WORD:#x}"
    if frame.name == "umask":
        return f"0{result:o}"
    if frame.name == "fcntl" and frame.args[1] == F.GETFL:
        return f"{result:#x} (flags {open_flags(frame, result)})"
    if frame.name == "fcntl" and frame.args[1] == F.GETFD and result:
        return f"{result:#x} (flags {'|'.join(flag_names(result, FD, 'FD_'))})"
    return str(result)
