"""A command in another root directory, such as debootstrap makes, in a process with mounts of its own.

`08_other_root.py [--bind DIRECTORY]... ROOT COMMAND [ARGUMENT]...` runs a command there, with our network and
these directories of ours. Without arguments it runs one in a root that has nothing but our /usr.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import trio

from rsyscall import ChildThread, Path, local_thread
from rsyscall.sched import CLONE
from rsyscall.stdlib import mkdtemp
from rsyscall.sys.wait import ChildState, W

# Directories that programs expect, and that a root unpacked from packages does not contain.
OF_THE_KERNEL = [Path("/dev"), Path("/proc"), Path("/sys")]


async def in_root(root: Path, directories: Sequence[Path]) -> ChildThread:
    """Make a process whose root is `root`, with some directories of ours mounted below it.

    The mounts are in a mount namespace of its own: processes outside do not see them, and they go when the
    last process inside ends. An ordinary user gets a user namespace, too. The process shares our memory, but
    only until it executes the command itself: beside that command there is none.
    """
    namespaces = CLONE.NEWNS if os.geteuid() == 0 else CLONE.NEWNS | CLONE.NEWUSER
    child = await local_thread.clone(namespaces)
    # Nothing that we mount reaches the namespace that we come from.
    await child.make_rprivate()
    for directory in directories:
        inside = await child.mkdir(Path(root, *directory.parts[1:]), parents=True, exist_ok=True)
        await child.bind_mount(directory, inside)
    await child.switch_root(root)
    return child


async def run_in(root: Path, directories: Sequence[Path], command: Sequence[str]) -> ChildState:
    """Run a command whose root is `root`; it is looked for there."""
    child = await in_root(root, directories)
    async with child.process:
        found = await child.environ.which(command[0])
        process = await child.exec(found.args(*command[1:]))
        return await process.waitpid(W.EXITED)


async def enter(arguments: Sequence[str]) -> int:
    """Do what the command line says; returns an exit status as a shell's."""
    parser = argparse.ArgumentParser(description="run a command in another root directory")
    parser.add_argument("--bind", action="append", default=[], help="a directory of ours that is there, too")
    parser.add_argument("root", help="the directory")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="and its arguments")
    options = parser.parse_args(arguments)
    directories = [*(Path(os.path.abspath(name)) for name in options.bind), *OF_THE_KERNEL]
    state = await run_in(Path(os.path.abspath(options.root)), directories, options.command or ["sh"])
    return state.exit_status if state.exit_status is not None else 128 + int(state.sig or 0)


async def main(arguments: Sequence[str]) -> int:
    if arguments:
        return await enter(arguments)
    async with await mkdtemp(local_thread) as root:
        for name in ("bin", "lib", "lib64", "sbin"):
            os.symlink(f"usr/{name}", root / name)
        await run_in(root, [Path("/usr")], ["ls", "/"])
    return 0


if __name__ == "__main__":
    sys.exit(trio.run(main, sys.argv[1:]))
