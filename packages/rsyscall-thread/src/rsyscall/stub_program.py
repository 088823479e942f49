"""Executing `rsyscall-stub` in a process of ours: the program, in a descriptor, and the capabilities to take
along.

Over an exec, a process with a user id other than 0 keeps only those capabilities that are inheritable and
ambient (capabilities(7)). A process in a user namespace of its own, whose ids are not mapped yet, would lose
all of them. So it makes its permitted ones inheritable and ambient before the exec. Root gets all that its
bounding set permits. The program is told which sets the process had before, and sets them again.
"""

from __future__ import annotations

import errno
import functools
import os
import struct
import weakref
from array import array
from typing import TYPE_CHECKING, Any, Protocol

from rsyscall.denied import is_denied
from rsyscall.fcntl import F_SEAL, F, O
from rsyscall.linux.memfd import MFD
from rsyscall.native import stub_path
from rsyscall.near import Syscall, nr
from rsyscall.path import Path
from rsyscall.sys.prctl import PR, PR_CAP_AMBIENT

if TYPE_CHECKING:
    from rsyscall.handle import FileDescriptor, Pointer, Task
    from rsyscall.hub import ProgramHub
    from rsyscall.memory.ram import RAM

    class HasMemory(Protocol):
        """A `Thread`."""

        task: Task
        ram: RAM


__all__ = [
    "NAME",
    "get_capabilities",
    "keep_capabilities",
    "last_capability",
    "stub_bytes",
    "stub_descriptor",
    "stub_path",
]

NAME = "rsyscall-stub"

_CAPABILITY_VERSION_3 = 0x20080522
_CAPABILITIES = struct.Struct("=6I")
_HEADER = 8  # bytes


@functools.cache
def stub_bytes(machine: str | None = None) -> bytes:
    """The program.

    Args:
        machine: for which architecture, as `uname -m` has it; by default our own.

    Raises:
        FileNotFoundError: it was not built for that.
    """
    return stub_path(machine).read_bytes()


async def stub_descriptor(thr: HasMemory, hub: ProgramHub) -> FileDescriptor:
    """A descriptor of `thr` from which it can execute the program; made once per table.

    manpage: memfd_create(2), fcntl(2)
    """
    task = thr.task
    known = hub.stubs.get(task.fd_table)
    fd = known() if known is not None else None
    if fd is not None and fd.valid and fd.task.fd_table is task.fd_table:
        return fd
    fd = await _inherited_stub(task, hub)
    if fd is None:
        fd = await _make_stub(thr)
    # It lives as long as the task, and not only until it is used.
    task.infrastructure_fds += (fd,)
    hub.stubs[task.fd_table] = weakref.ref(fd)
    return fd


async def _inherited_stub(task: Task, hub: ProgramHub) -> FileDescriptor | None:
    """The copy that a process has of ours."""
    known = hub.stubs.get(hub.task.fd_table)
    ours = known() if known is not None else None
    if ours is not None and ours.valid and task.fd_table._can_inherit(ours):
        return task.inherit_fd(ours)
    return None


async def _make_stub(thr: HasMemory) -> FileDescriptor:
    task, ram = thr.task, thr.ram
    name = await ram.ptr(NAME)
    try:
        try:
            fd = await task.memfd_create(name, MFD.CLOEXEC | MFD.ALLOW_SEALING | MFD.EXEC)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # Before Linux 6.3 all memory files may be executed.
            fd = await task.memfd_create(name, MFD.CLOEXEC | MFD.ALLOW_SEALING)
    except OSError as error:
        if not is_denied(error):
            raise
        # The sysctl vm.memfd_noexec is 2, or a filter denies it.
        return await task.open(await ram.ptr(Path(os.fspath(stub_path()))), O.RDONLY | O.CLOEXEC)
    rest: Pointer[Any] = await ram.ptr(stub_bytes())
    while rest.size():
        _, rest = await fd.write(rest)
    await fd.fcntl(F.ADD_SEALS, F_SEAL.SEAL | F_SEAL.SHRINK | F_SEAL.GROW | F_SEAL.WRITE)
    return fd


async def get_capabilities(thr: HasMemory) -> tuple[int, int, int]:
    """The effective, permitted and inheritable set of a process that shares our memory.

    manpage: capget(2)
    """
    memory = array("I", (_CAPABILITY_VERSION_3, 0, 0, 0, 0, 0, 0, 0))
    address = memory.buffer_info()[0]
    await thr.task.sysif.syscall(nr.capget, address, address + _HEADER)
    _version, _pid, effective, permitted, inheritable, effective2, permitted2, inheritable2 = memory
    return effective | effective2 << 32, permitted | permitted2 << 32, inheritable | inheritable2 << 32


async def keep_capabilities(ram: RAM, permitted: int, inheritable: int) -> tuple[list[Syscall], object]:
    """The calls after which a process that is not root keeps its permitted set over an exec, and what they
    refer to.

    manpage: capset(2), prctl(2) (PR_CAP_AMBIENT)
    """
    sets = (permitted, permitted, permitted | inheritable)
    header = await ram.ptr(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0))
    data = await ram.ptr(_CAPABILITIES.pack(*(mask % 2**32 for mask in sets), *(mask >> 32 for mask in sets)))
    calls = [Syscall(nr.capset, header.near, data.near)]
    calls += [
        Syscall(nr.prctl, PR.CAP_AMBIENT, PR_CAP_AMBIENT.RAISE, number)
        for number in range(last_capability() + 1)
        if permitted >> number & 1
    ]
    return calls, (header, data)


@functools.cache
def last_capability() -> int:
    """manpage: capabilities(7), proc(5)."""
    try:
        with open("/proc/sys/kernel/cap_last_cap") as file:
            return int(file.read())
    except OSError:
        return 40  # CAP_CHECKPOINT_RESTORE, the last one since Linux 5.9
