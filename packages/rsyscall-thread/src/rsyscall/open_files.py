"""Which descriptors a process has, and closing those that a program is not to have."""

from __future__ import annotations

import typing as t
from collections.abc import Sequence

from rsyscall.fcntl import FD, F, O
from rsyscall.near import Syscall, nr
from rsyscall.path import Path

if t.TYPE_CHECKING:
    from rsyscall.handle import Task
    from rsyscall.memory.ram import RAM

__all__ = ["descriptor_flags", "mark_calls"]


async def descriptor_flags(task: Task, ram: RAM) -> dict[int, FD]:
    """Return the open descriptors of a process: number -> flags of the descriptor.

    Raises:
        OSError: ENOENT, there is no /proc.

    manpage: proc_pid_fd(5), fcntl(2)
    """
    from rsyscall.linux.dirent import DirentList

    directory = await task.open(await ram.ptr(Path("/proc/self/fd")), O.RDONLY | O.DIRECTORY)
    async with directory:
        numbers: list[int] = []
        buf = await ram.malloc(DirentList, 4096)
        while True:
            valid, rest = await directory.getdents(buf)
            if valid.size() == 0:
                break
            numbers += [int(entry.name) for entry in await valid.read() if entry.name.isdigit()]
            buf = valid + rest
        # Open only for this; its number may soon be that of another file.
        numbers.remove(int(directory))
        flags = await task.sysif.syscalls([Syscall(nr.fcntl, number, F.GETFD) for number in numbers])
    return {number: FD(flag) for number, flag in zip(numbers, flags, strict=True) if flag >= 0}


_LAST = 0x7FFFFFFF
_CLOEXEC_RANGE = 4
# The standard descriptors are not among them.
_MARK = (Syscall(nr.close_range, 3, _LAST, _CLOEXEC_RANGE),)
# Whether our own kernel, and the filter that we are under, let us do that.
_can_mark: bool | None = None


async def mark_calls(task: Task, ram: RAM) -> Sequence[Syscall]:
    """The calls by which a child marks all descriptors but the standard ones to be closed by exec.

    close_range(2) is one call for all of them. Without it (Linux before 5.11, filters) the thread looks for
    those that exec would keep now, and a descriptor that another OS thread makes later is missed.
    """
    global _can_mark
    ours = task.sysif.immediate
    if _can_mark and ours:
        return _MARK
    try:
        await task.sysif.syscall(nr.close_range, _LAST, _LAST, _CLOEXEC_RANGE)
    except OSError:
        possible = False
    else:
        possible = True
    if ours:
        _can_mark = possible
    if possible:
        return _MARK
    flags = await descriptor_flags(task, ram)
    kept = [number for number, flag in flags.items() if number > 2 and not flag & FD.CLOEXEC]
    return [Syscall(nr.fcntl, number, F.SETFD, FD.CLOEXEC) for number in kept]
