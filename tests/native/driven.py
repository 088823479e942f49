"""Processes that share our memory, made by hand, and what the tests need to talk to them."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rsyscall.native import Hub, Ring, fast, symbols, syscall

_X86_64 = {
    "getpid": 39, "getppid": 110, "umask": 95, "close": 3, "clone3": 435, "nanosleep": 35, "exit": 60,
    "read": 0, "write": 1, "mmap": 9, "munmap": 11, "execve": 59, "eventfd2": 290, "prctl": 157,
    "setresuid": 117, "close_range": 436, "clone": 56, "poll": 7, "ppoll": 271, "unshare": 272,
    "fcntl": 72,
}  # fmt: skip
_GENERIC = {
    "getpid": 172, "getppid": 173, "umask": 166, "close": 57, "clone3": 435, "nanosleep": 101, "exit": 93,
    "read": 63, "write": 64, "mmap": 222, "munmap": 215, "execve": 221, "eventfd2": 19, "prctl": 167,
    "setresuid": 147, "close_range": 436, "clone": 220, "ppoll": 73, "unshare": 97, "fcntl": 25,
}  # fmt: skip
NR = _X86_64 if os.uname().machine == "x86_64" else _GENERIC
"""Numbers of system calls; this layer has no table of them."""

CLONE_VM = 0x100
CLONE_FILES = 0x400
CLONE_PIDFD = 0x1000
CLONE_CHILD_CLEARTID = 0x200000
CLONE_CLEAR_SIGHAND = 0x100000000
CLONE_ARGS_SIZE = 88
FLAGS = CLONE_VM | CLONE_PIDFD | CLONE_CHILD_CLEARTID | CLONE_CLEAR_SIGHAND


def drain(hub: Hub) -> list[Ring]:
    """The rings that are announced, which are not after that."""
    rings = hub.announced()
    for ring in rings:
        hub.delivered(ring)
    return rings


class Driven:
    """One such process.

    Args:
        hub: what it shares with others.
        completion: the end of a pipe by which it announces answers; -1 for none.
        prepare: called with the ring before the process is made.
        flags: for clone3, in addition to the usual ones.
    """

    def __init__(
        self,
        hub: Hub,
        completion: int = -1,
        prepare: Callable[[Ring], None] | None = None,
        flags: int = 0,
    ) -> None:
        self.ring = hub.ring()
        self.ring.configure(-1, os.getpid(), completion, 0, 0)
        if prepare is not None:
            prepare(self.ring)
        args = self.ring.prepare(
            FLAGS | flags,
            signal.SIGCHLD,
            symbols.rsyscall_trampoline,
            symbols.rsyscall_ring_server,
            self.ring.address,
        )
        self.pid = syscall(NR["clone3"], args, CLONE_ARGS_SIZE)
        assert self.pid > 0, os.strerror(-self.pid)
        self.ring.started(self.pid)
        self.reaped = False

    def result(self) -> int:
        """The next answer, however long it takes."""
        while (result := self.ring.next_result()) == fast.PENDING:
            os.sched_yield()
        return result

    def call(self, name: str, *args: int) -> int:
        """Make a call and wait for the answer, however long it takes."""
        result = self.ring.call(NR[name], *args)
        return self.result() if result == fast.PENDING else result

    def wait_until_in(self, name: str) -> None:
        """Wait until the process is in this call."""
        deadline = time.monotonic() + 60
        while not Path(f"/proc/{self.pid}/syscall").read_text().startswith(f"{NR[name]} "):
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def wait_until_parked(self) -> None:
        """Wait until the process sleeps for want of a request."""
        deadline = time.monotonic() + 60
        while not Path(f"/proc/{self.pid}/wchan").read_text().startswith(("futex", "do_poll", "poll")):
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def wait(self) -> int:
        """Wait for the exit; returns what waitstatus_to_exitcode makes of the status."""
        self.reaped = True
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        assert self.ring.left
        return code

    def kill(self) -> None:
        """kill -9, and wait."""
        os.kill(self.pid, signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL

    def close(self) -> None:
        """End it, if it still runs, and close the descriptors."""
        if not self.reaped:
            self.kill()
        os.close(self.ring.pidfd)


@contextmanager
def driven(
    hub: Hub | None = None,
    completion: int = -1,
    prepare: Callable[[Ring], None] | None = None,
    flags: int = 0,
) -> Iterator[Driven]:
    """A `Driven` that ends with the block, with a hub of its own unless one is given."""
    child = Driven(hub or Hub(-1, 100.0, 100.0), completion, prepare, flags)
    try:
        yield child
    finally:
        child.close()


def wait_readable(fd: int) -> None:
    """Wait until a descriptor is readable, but not for ever."""
    assert select.select([fd], [], [], 20)[0], "nothing happened"


class Buffer:
    """Memory of ours, with its address."""

    def __init__(self, size: int) -> None:
        self._memory = ctypes.create_string_buffer(size)
        self.address = ctypes.addressof(self._memory)

    def __bytes__(self) -> bytes:
        return self._memory.raw


def timespec(seconds: float) -> Buffer:
    """A struct timespec."""
    buffer = Buffer(16)
    nanoseconds = int(seconds * 1e9)
    ctypes.c_int64.from_address(buffer.address).value = nanoseconds // 10**9
    ctypes.c_int64.from_address(buffer.address + 8).value = nanoseconds % 10**9
    return buffer
