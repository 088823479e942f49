"""A command with a time limit that takes everything it has started with it, in a pid namespace."""

from __future__ import annotations

import trio

from rsyscall import Command, FileDescriptor, local_thread
from rsyscall.sched import CLONE
from rsyscall.sys.wait import ChildState, W


async def run(command: Command, seconds: float, stdout: FileDescriptor) -> ChildState | None:
    """Run a command as process 1 of a pid namespace; returns None if it took too long.

    At the end of the block it is killed, and the kernel kills all that is left in the namespace, daemons and
    processes in sessions of their own included.

    The command is process 1 itself, so nothing that shares our memory stays beside it. It keeps our user id:
    outside of its namespaces it may do what we may.
    """
    child = await local_thread.clone(CLONE.NEWUSER | CLONE.NEWPID)
    async with child.process:
        await child.inherit_fd(stdout).dup2(child.stdout)
        process = await child.exec(command)
        with trio.move_on_after(seconds):
            return await process.waitpid(W.EXITED)
    return None


async def main() -> None:
    sh = local_thread.environ.sh
    for script in ("echo quick", "echo slow; (setsid sleep 1000 &) ; sleep 1000 & wait"):
        pipe = await local_thread.pipe()
        state = await run(sh.args("-c", script), 0.5, pipe.write)
        await pipe.write.close()
        # The end of the file comes when the last process of the tree is gone.
        output = await local_thread.read_to_eof(pipe.read)
        await pipe.read.close()
        print(output.decode().strip(), "->", "took too long" if state is None else state.describe())


if __name__ == "__main__":
    trio.run(main)
