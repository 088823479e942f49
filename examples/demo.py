"""A container in a hundred lines, without privileges, and with every call of every process printed.

Where namespaces are denied, it is still a pipeline of processes that are built call by call.
"""

from __future__ import annotations

import contextlib
import errno
import sys
from collections.abc import Iterator

import trio

from rsyscall import ChildThread, FileDescriptor, Thread, local_thread
from rsyscall.sched import CLONE
from rsyscall.sys.prctl import PR
from rsyscall.trace import Tracer
from rsyscall.unistd import SEEK

NAMESPACES = CLONE.NEWUSER | CLONE.NEWNS | CLONE.NEWPID | CLONE.NEWNET | CLONE.NEWUTS

# What clone, mount and the others say where a container, a limit or the kernel's configuration denies them.
DENIALS = {errno.EPERM, errno.EACCES, errno.ENOSPC, errno.ENOSYS, errno.EINVAL}


def show(*lines: str) -> None:
    """Print lines in one write: what the commands print comes before or behind them."""
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


@contextlib.contextmanager
def unless_denied(what: str) -> Iterator[None]:
    """Do without what this place does not permit, and say so."""
    try:
        yield
    except OSError as error:
        if error.errno not in DENIALS:
            raise
        show(f"# This place does not permit {what} ({errno.errorcode[error.errno]}).")


async def memory_file(text: str) -> FileDescriptor:
    """A file without a name in any directory: who wants to read it has to be given the descriptor."""
    file = await local_thread.memfd_create("message")
    await local_thread.write_all(file, text)
    await file.lseek(0, SEEK.SET)
    return file


async def first_process(message: FileDescriptor) -> tuple[ChildThread, bool]:
    """A process in new namespaces, or, where these are denied, in our own; says which.

    It has memory of its own, since it stays beside commands, and nothing of ours but this descriptor.
    """
    with unless_denied("new namespaces"):
        return await local_thread.clone(NAMESPACES, own_memory=True, inherit=[message]), True
    return await local_thread.clone(own_memory=True, inherit=[message]), False


async def furnish(init: ChildThread) -> None:
    """Make calls in the new process until its namespaces look like a small machine of their own."""
    with unless_denied("mounting /proc"):
        await init.make_rprivate()
        await init.mount_proc()
    with unless_denied("setting the host name"):
        await init.sethostname("demo")
    with unless_denied("bringing up loopback"):
        await init.bring_up("lo")


async def processes(thread: Thread) -> list[str]:
    """What `ps` does, for a process and its children, which may have another /proc than we do."""
    children = (await thread.read_file("/proc/thread-self/children")).decode()
    lines = [f"{'PID':>5} {'PPID':>5}  NAME"]
    for name in ["self", *children.split()]:
        status = await thread.read_file(f"/proc/{name}/stat")
        pid, comm, _state, ppid, *_ = status.decode().split()
        lines.append(f"{pid:>5} {ppid:>5}  {comm.strip('()')}")
    return lines


async def demo(tracer: Tracer) -> None:
    message = await memory_file("a pipe has two ends\nand a file descriptor\nneeds no name\n")

    show("\n# A process, inert, in new user, mount, pid, net and uts namespaces.")
    init, contained = await first_process(message)
    tracer.name(init.task, "init")
    message_inside = init.inherit_fd(message)
    async with init.process:  # killed at the end of the block, and everything in its pid namespace with it
        await init.task.prctl(PR.SET_NAME, await init.ptr("init"))
        if contained:
            show("\n# Calls in it: /proc mounted, host name set, loopback brought up.")
            await furnish(init)

        show("\n# A child of it: its standard input is a pipe, and then it is tr.")
        pipe = await init.pipe()
        upper = await init.clone()
        tracer.name(upper.task, "tr")
        await upper.inherit_fd(pipe.read).dup2(upper.stdin)
        upper_process = await upper.exec((await upper.environ.which("tr")).args("a-z", "A-Z"))
        await pipe.read.close()

        show("\n# Another one: standard input is the file, standard output the pipe. Not yet a command.")
        cat = await init.clone()
        tracer.name(cat.task, "cat")
        await cat.inherit_fd(message_inside).dup2(cat.stdin)
        await cat.inherit_fd(pipe.write).dup2(cat.stdout)
        await pipe.write.close()

        if contained:
            show("\n# Who is there, seen from inside?")
            listing = await processes(init)
            show(f"\n# {(await init.uname()).nodename}:", *listing)

        show("\n# Now it is cat, and the text flows.")
        cat_process = await cat.exec(await cat.environ.which("cat"))
        await cat_process.check()
        await upper_process.check()

        show("\n# The end of init, and of its namespaces.")
    show(f"\n# {sum(count.calls for count in tracer.counts.values())} system calls in 4 processes.")


async def main() -> None:
    tracer = Tracer(show)
    with tracer.tracing(local_thread.task, "demo"):
        await demo(tracer)


if __name__ == "__main__":
    trio.run(main)
