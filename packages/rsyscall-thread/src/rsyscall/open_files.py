"""Which descriptors a process has, by its /proc."""

from __future__ import annotations

import typing as t

from rsyscall.fcntl import FD, F, O
from rsyscall.linux.dirent import DirentList
from rsyscall.near import Syscall, nr
from rsyscall.path import Path

if t.TYPE_CHECKING:
    from rsyscall.handle import Task
    from rsyscall.memory.ram import RAM

__all__ = ["descriptor_flags"]


async def descriptor_flags(task: Task, ram: RAM) -> dict[int, FD]:
    """Return the open descriptors of a process: number -> flags of the descriptor.

    Raises:
        OSError: ENOENT, there is no /proc.

    manpage: proc_pid_fd(5), fcntl(2)
    """
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
