"""Run a shell script without its commands: record them, and say which pipelines it makes of them.

    $ python -m rsyscall.scripts.symsh exec -- sh -c 'for x in a b; do fetch $x | unpack -q; done'
    fetch a | unpack -q
    fetch b | unpack -q

The only directory in PATH is a file system in which every name exists. Each is a symbolic link to a program
by which we get the process that the shell makes for the command, with its arguments and descriptors. We ask
what the standard descriptors are, and let it exit with status 0. Two commands are in one pipeline if the
output of one is the pipe that the other reads.

What the shell does itself is done, such as `cd`, `echo` and redirections, and a command by its path is run.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from rsyscall.command import Command
from rsyscall.fuse_device import FuseDevice
from rsyscall.fuse_filesystem import Filesystem
from rsyscall.fuse_server import FuseServer
from rsyscall.linux.fuse import (
    FUSE_ROOT_ID,
    FuseAttr,
    FuseAttrOut,
    FuseEntryOut,
    FuseGetattrOp,
    FuseInList,
    FuseLookupOp,
    FuseOut,
    FuseReadlinkOp,
)
from rsyscall.near.sysif import SyscallError
from rsyscall.path import Path
from rsyscall.sched import CLONE
from rsyscall.stdlib.mktemp import mkdtemp
from rsyscall.sys.stat import S_IF, Stat, TypeMode
from rsyscall.tasks.stub import StubServer, StubThread
from rsyscall.time import Timespec

if TYPE_CHECKING:
    from types import TracebackType

    from rsyscall.handle import FileDescriptor
    from rsyscall.thread import ChildThread, Thread

__all__ = ["CommandData", "FuseFS", "Symlinks", "amain", "main", "reconstruct", "symsh_main"]

EXAMPLE = """
for name in one two; do
    fetch "http://host/$name file" | unpack -q 2>&1 | tee "$name.log"
done
(list a; list b) | sort
report
"""

_LINK = 2
_LONG = Timespec(1 << 30, 0)


@dataclass
class CommandData:
    """A command that a shell would have run.

    Args:
        args: its arguments, its name first.
        stdin, stdout, stderr: what its standard descriptors are; None for one that is closed.
    """

    args: list[str]
    stdin: Stat | None
    stdout: Stat | None
    stderr: Stat | None


def _pipe(stat: Stat | None) -> tuple[int, int] | None:
    """Which pipe it is; None if it is none."""
    return (stat.dev, stat.ino) if stat is not None and stat.mode.type == S_IF.FIFO else None


def _text(command: CommandData, inner: set[tuple[int, int] | None]) -> str:
    text = shlex.join(command.args)
    errors = _pipe(command.stderr)
    return f"{text} 2>&1" if errors in inner and errors == _pipe(command.stdout) else text


def reconstruct(commands: list[CommandData]) -> str:
    """Return the pipelines of these commands, a line for each, in the order of their first commands.

    Commands that write to one pipe, or read from one, are a group: `{ a; b; } | c`.

    Args:
        commands: in the order in which they began; those of one pipeline in any order.
    """
    written = {_pipe(command.stdout) for command in commands} - {None}
    read = {_pipe(command.stdin) for command in commands} - {None}
    inner = written & read
    # The commands of a group, by a number: at first each is one of its own.
    groups = {number: [number] for number in range(len(commands))}
    group_of = list(range(len(commands)))
    ends: dict[tuple[bool, tuple[int, int]], int] = {}
    for number, command in enumerate(commands):
        for reads, stat in ((True, command.stdin), (False, command.stdout)):
            pipe = _pipe(stat)
            if pipe is None or pipe not in inner:
                continue
            first = group_of[ends.setdefault((reads, pipe), number)]
            moved = group_of[number]
            if first != moved:
                for member in groups[moved]:
                    group_of[member] = first
                groups[first] = sorted(groups[first] + groups.pop(moved))
    following: dict[int, int] = {}
    for reads, pipe in ends:
        if not reads:
            following[group_of[ends[reads, pipe]]] = group_of[ends[True, pipe]]
    lines, done = [], set[int]()
    # What follows nothing begins a pipeline; the others are left only if pipes make a circle.
    starts = [group for group in sorted(groups) if group not in following.values()]
    order = {group: min(_members(group, groups, following)) for group in starts}
    for start in [*sorted(starts, key=order.__getitem__), *sorted(groups)]:
        parts: list[str] = []
        group: int | None = start
        while group is not None and group not in done:
            done.add(group)
            texts = [_text(commands[member], inner) for member in groups[group]]
            parts.append(texts[0] if len(texts) == 1 else "{ " + "".join(f"{text}; " for text in texts) + "}")
            group = following.get(group)
        if parts:
            lines.append(" | ".join(parts))
    return "\n".join(lines)


def _members(group: int, groups: dict[int, list[int]], following: dict[int, int]) -> set[int]:
    """The commands of the groups of a pipeline."""
    found: set[int] = set()
    current: int | None = group
    while current is not None and not found.issuperset(groups[current]):
        found.update(groups[current])
        current = following.get(current)
    return found


class Symlinks(Filesystem):
    """A directory in which every name exists, and is a symbolic link.

    Args:
        target: where they all lead to.
    """

    max_write = 4096

    def __init__(self, target: str | os.PathLike[str]) -> None:
        self.target: str = os.fspath(target)

    def _attr(self, nodeid: int) -> FuseAttr:
        never = Timespec(0, 0)
        mode = TypeMode.from_int(S_IF.DIR | 0o555 if nodeid == FUSE_ROOT_ID else S_IF.LNK | 0o777)
        size = 0 if nodeid == FUSE_ROOT_ID else len(os.fsencode(self.target))
        return FuseAttr(nodeid, size, 0, never, never, never, mode, 1, 0, 0, 0, 4096)

    async def lookup(self, op: FuseLookupOp) -> FuseEntryOut:
        """Find any name."""
        return FuseEntryOut(_LINK, 0, _LONG, _LONG, self._attr(_LINK))

    async def getattr(self, op: FuseGetattrOp) -> FuseAttrOut:
        """The attributes of the directory or of a link."""
        return FuseAttrOut(_LONG, self._attr(op.hdr.nodeid))

    async def readlink(self, op: FuseReadlinkOp) -> str:
        """Where a link leads to."""
        return self.target


class FuseFS:
    """A mounted file system whose requests are read and answered by hand. See `mount`.

    As an async context manager it is unmounted in the end.

    Attributes:
        device: where it is mounted.
    """

    device: FuseDevice

    def __init__(self) -> None:
        """Make one that is not mounted: use `mount`."""

    @classmethod
    async def mount(cls, thread: Thread, path: Path) -> FuseFS:
        """Mount a file system; errors as of `FuseDevice.mount`.

        Args:
            thread: in whose mount namespace.
            path: where.
        """
        made = cls()
        made.device = await FuseDevice.mount(thread, path)
        return made

    async def read(self) -> FuseInList:
        """Wait for a request; returns nothing when it is not mounted any more."""
        return await self.device.read()

    async def write(self, out: FuseOut) -> None:
        """Answer a request."""
        await self.device.write(out.to_bytes())

    async def cleanup(self) -> None:
        """Unmount it. Done even when cancelled."""
        await self.device.close()

    async def __aenter__(self) -> FuseFS:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.cleanup()


async def _stat(thread: StubThread, fd: FileDescriptor) -> Stat | None:
    try:
        return await (await fd.fstat(await thread.malloc(Stat))).read()
    except OSError:
        return None


async def _record(commands: list[CommandData], stub: StubServer) -> None:
    """Take the processes that execute the stub, note what they are, and let them exit."""
    while True:
        args, thread = await stub.accept()
        async with thread:
            try:
                stats = [await _stat(thread, fd) for fd in (thread.stdin, thread.stdout, thread.stderr)]
                commands.append(CommandData(args, *stats))
                await thread.exit(0)
            except SyscallError:
                pass  # its shell has ended it


async def _clone(thread: Thread) -> ChildThread:
    """Make a child that may mount: in a user namespace, if it may not otherwise."""
    try:
        child = await thread.clone(CLONE.NEWNS)
    except PermissionError:
        child = await thread.clone(CLONE.NEWNS | CLONE.NEWUSER)
    return child


async def symsh_main(thread: Thread, command: Command) -> str:
    """Run a shell without the commands that it runs.

    Args:
        thread: where.
        command: the shell and its script. It gets another PATH.

    Returns:
        The pipelines that it has made; see `reconstruct`.

    Raises:
        OSError: no file system can be mounted, or the shell is not there.
    """
    commands: list[CommandData] = []
    failure: OSError | None = None
    child = await _clone(thread)
    async with child.process, await mkdtemp(thread) as directory:
        await child.make_rprivate()
        await thread.mkdir(directory / "bin")
        async with (
            await StubServer.make(thread, directory, "stub") as stub,
            await FuseFS.mount(child, directory / "bin") as mounted,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(FuseServer(mounted.device, Symlinks(directory / "stub")).run)
            nursery.start_soon(_record, commands, stub)
            try:
                await child.run(command.env(PATH=os.fspath(directory / "bin")), check=False)
            except OSError as error:
                failure = error
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return reconstruct(commands)


async def amain(argv: list[str]) -> None:
    """Run the program with these arguments, without its name."""
    from rsyscall.tasks.local import local_thread

    parser = argparse.ArgumentParser(
        prog="python -m rsyscall.scripts.symsh", description="Record the commands of a shell script."
    )
    subparsers = parser.add_subparsers(dest="what", required=True)
    subparsers.add_parser("example", help="a script that shows what is recorded")
    execute = subparsers.add_parser("exec", help="run a shell")
    execute.add_argument("command", nargs="+", help="the shell, and its arguments")
    args = parser.parse_args(argv)
    if args.what == "example":
        command = local_thread.environ.sh.args("-c", EXAMPLE)
    else:
        command = (await local_thread.environ.which(args.command[0])).args(*args.command[1:])
    print(await symsh_main(local_thread, command))


def main() -> None:
    """Run the program with the arguments of this process."""
    trio.run(amain, sys.argv[1:])


if __name__ == "__main__":
    main()
