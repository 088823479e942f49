"""A supervisor that opens files for a command: one that it makes up, some that it allows, and no others."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

import trio

from rsyscall import FileDescriptor, local_thread
from rsyscall.fcntl import O
from rsyscall.linux.seccomp import SECCOMP_RET
from rsyscall.near import SYS
from rsyscall.sched import CLONE
from rsyscall.seccomp_supervisor import SeccompSupervisor
from rsyscall.sys.wait import W

GREETING = b"/etc/greeting"
ALLOWED = (b"/usr/", b"/lib", b"/etc/ld.so.cache")  # what programs need to run


async def open_for(path: bytes, flags: O) -> FileDescriptor:
    """Open a file in place of the command, or raise the error that it gets."""
    if path == GREETING:
        file = await local_thread.memfd_create("greeting")
        await local_thread.write_all(file, "hello from the supervisor\n")
        return await local_thread.open(f"/proc/self/fd/{int(file)}")
    if not os.path.normpath(path).startswith(ALLOWED) or flags & (O.ACCMODE | O.CREAT | O.TRUNC):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    return await local_thread.open(path, flags)


async def answer_all(supervisor: SeccompSupervisor) -> None:
    """Each path is read once, and the file opened by us: the command cannot change the path in between."""
    async for call in supervisor:
        flags = O(call.args[2] & 0xFFFFFFFF)
        try:
            path = await call.read_string(call.args[1])
            async with await open_for(path, flags) as file:
                await call.give(file, flags)
        except OSError as error:
            # The command may have been killed meanwhile: then nothing waits for the error.
            with suppress(FileNotFoundError):
                await call.fail(error.errno or errno.EIO)


async def main() -> None:
    child = await local_thread.clone(CLONE.FILES)
    actions = {SYS.openat: SECCOMP_RET.USER_NOTIF, SYS.openat2: SECCOMP_RET.ERRNO | errno.ENOSYS}
    supervisor = await SeccompSupervisor.make(local_thread, child, actions)
    async with child.process, supervisor, trio.open_nursery() as nursery:
        # It ends with the last process that has the filter.
        nursery.start_soon(answer_all, supervisor)
        shell = local_thread.environ.sh.args("-c", f"cat {GREETING.decode()} /etc/passwd 2>&1")
        await (await child.exec(shell)).waitpid(W.EXITED)


if __name__ == "__main__":
    trio.run(main)
