"""The users and groups of a new user namespace: `IdMaps`, for `Thread.clone` and `Limits`.

A process without privileges may map its own user and group, and nothing else. The administrator gives users
further ids, subordinate ones, in /etc/subuid and /etc/subgid, which the set-user-ID programs newuidmap and
newgidmap map for them. Our process writes the map itself, if it is privileged, and runs these programs
otherwise.

Both go by the files of a process in the namespace, `/proc/<pid>/uid_map` and `gid_map`. Those of a process
whose memory is undumpable belong to root, and newuidmap refuses them. That may be the memory of this program
(`rsyscall.dumpable`), so then a process with memory of its own enters the namespace for this.

manpage: user_namespaces(7), newuidmap(1), subuid(5)
"""

from __future__ import annotations

import errno
import os
import pwd
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import trio

from rsyscall.fcntl import O

if TYPE_CHECKING:
    from rsyscall.completed import CompletedCommand
    from rsyscall.environ import Environment
    from rsyscall.handle import FileDescriptor, Task
    from rsyscall.loader import NativeLoader
    from rsyscall.memory.ram import RAM
    from rsyscall.monitor import AsyncChildProcess

    class _Reader(Protocol):
        """The parts of a `Thread` by which files are read."""

        @property
        def task(self) -> Task: ...
        @property
        def ram(self) -> RAM: ...
        async def read_to_eof(self, fd: FileDescriptor) -> bytes: ...

    class _Parent(_Reader, Protocol):
        """A `Thread`."""

        @property
        def environ(self) -> Environment: ...
        @property
        def run(self) -> Callable[..., Awaitable[CompletedCommand]]: ...

    class _Child(Protocol):
        """A `ChildThread`."""

        @property
        def task(self) -> Task: ...
        @property
        def loader(self) -> NativeLoader: ...
        @property
        def process(self) -> AsyncChildProcess: ...
        async def clone(self, *, own_memory: bool = ...) -> _Child: ...


__all__ = ["IdMaps", "IdRange", "subordinate_id_maps", "write_id_maps"]

# What the kernel takes.
_MOST_RANGES = 340
_ALL_IDS = (1 << 32) - 1


@dataclass(frozen=True)
class IdRange:
    """Successive ids inside of a user namespace, and those outside that they stand for.

    Args:
        inside: the first one inside.
        outside: the first one outside, in the namespace of the process that makes the new one.
        count: how many.
    """

    inside: int
    outside: int
    count: int = 1

    def __post_init__(self) -> None:
        """Refuse what is no range."""
        for name, value, lowest in (
            ("inside", self.inside, 0),
            ("outside", self.outside, 0),
            ("count", self.count, 1),
        ):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"IdRange: {name}: expected a number, not {value!r}")
            if value < lowest:
                raise ValueError(f"IdRange: {name}: expected at least {lowest}, not {value!r}")
        if max(self.inside, self.outside) + self.count > _ALL_IDS:
            raise ValueError(f"IdRange: there are no ids above {_ALL_IDS - 1}: {self!r}")


@dataclass(frozen=True)
class IdMaps:
    """The users and the groups of a new user namespace.

    Args:
        uids: the users.
        gids: the groups.
    """

    uids: Sequence[IdRange]
    gids: Sequence[IdRange]

    def __post_init__(self) -> None:
        """Refuse what the kernel refuses without a word."""
        for name in ("uids", "gids"):
            ranges = getattr(self, name)
            if not isinstance(ranges, Sequence) or not all(isinstance(one, IdRange) for one in ranges):
                raise TypeError(f"IdMaps: {name}: expected a list of IdRange, not {ranges!r}")
            if not 1 <= len(ranges) <= _MOST_RANGES:
                raise ValueError(f"IdMaps: {name}: expected 1 to {_MOST_RANGES} ranges, not {len(ranges)}")
            for side in ("inside", "outside"):
                end = 0
                for first, count in sorted((getattr(one, side), one.count) for one in ranges):
                    if first < end:
                        raise ValueError(f"IdMaps: {name}: two ranges have the id {first} {side}")
                    end = first + count


async def subordinate_id_maps(thread: _Reader) -> IdMaps:
    """All ids that the user of a process may map: itself as root, and its subordinate ids from 1 on.

    Args:
        thread: reads /etc/subuid and /etc/subgid.

    Raises:
        ValueError: the user has no subordinate ids.
        OSError: there is no such file.

    manpage: subuid(5), subgid(5)
    """
    uid, gid = await thread.task.geteuid(), await thread.task.getegid()
    uids = await _subordinate(thread, "/etc/subuid", uid, uid)
    gids = await _subordinate(thread, "/etc/subgid", uid, gid)
    return IdMaps(uids, gids)


async def _subordinate(thread: _Reader, path: str, uid: int, own: int) -> list[IdRange]:
    async with await thread.task.open(await thread.ram.ptr(path), O.RDONLY | O.CLOEXEC) as file:
        text = os.fsdecode(await thread.read_to_eof(file))
    names = {str(uid)}
    try:
        names.add(pwd.getpwuid(uid).pw_name)
    except KeyError:
        pass  # a user without a name
    ranges = [IdRange(0, own)]
    inside = 1
    for line in text.splitlines():
        name, _, rest = line.strip().partition(":")
        first, _, count = rest.partition(":")
        if name in names and first.isdecimal() and count.isdecimal() and int(count) > 0:
            ranges.append(IdRange(inside, int(first), int(count)))
            inside += int(count)
    if inside == 1:
        raise ValueError(
            f"{path} has no ids for user {uid}; usermod --add-subuids and --add-subgids add some"
        )
    return ranges


async def write_id_maps(child: _Child, maps: IdMaps, parent: _Parent) -> None:
    """Map users and groups into the user namespace of a child.

    Args:
        child: has just been made with NEWUSER, and without a map.
        maps: the users and groups.
        parent: made the child.

    Raises:
        OSError: EPERM: the parent may not map these ids; EEXIST: there is a map already.

    manpage: user_namespaces(7), newuidmap(1), newgidmap(1)
    """
    hub = child.loader.hub
    if hub is None or hub.dumpable.is_dumpable():
        try:
            await _write_maps(child.process, maps, parent)
        finally:
            if hub is not None:
                hub.dumpable.protect(hub.rings.get(child.task))
        return
    helper = await child.clone(own_memory=True)
    async with helper.process:
        try:
            await _write_maps(helper.process, maps, parent)
        finally:
            hub.dumpable.protect(hub.rings.get(child.task))


async def _write_maps(process: AsyncChildProcess, maps: IdMaps, parent: _Parent) -> None:
    # In the namespace of our /proc; where there is no pidfd, in that of the parent.
    pid = process.pid if process.pidfd is None else process.pidfd.pid()
    await _write_map(pid, "uid_map", maps.uids, "newuidmap", parent)
    try:
        await _write_map(pid, "gid_map", maps.gids, None, parent)
    except PermissionError:
        if len(maps.gids) == 1 and maps.gids[0].count == 1:
            # One's own group can be mapped, once the namespace has given up setgroups.
            await _write(pid, "setgroups", "deny", parent)
        await _write_map(pid, "gid_map", maps.gids, "newgidmap", parent)


async def _write_map(
    pid: int, name: str, ranges: Sequence[IdRange], program: str | None, parent: _Parent
) -> None:
    numbers = [(one.inside, one.outside, one.count) for one in ranges]
    try:
        await _write(pid, name, "".join("{} {} {}\n".format(*three) for three in numbers), parent)
    except PermissionError as error:
        if program is None:
            raise
        await _run(program, pid, [str(number) for three in numbers for number in three], parent, error)


async def _write(pid: int, name: str, text: str, parent: _Parent) -> None:
    path = f"/proc/{pid}/{name}"
    try:
        async with await parent.task.open(await parent.ram.ptr(path), O.WRONLY | O.CLOEXEC) as file:
            # In one write: the kernel takes nothing less.
            await file.write(await parent.ram.ptr(text.encode()))
    except OSError as error:
        error.filename = path
        raise


async def _run(
    program: str, pid: int, arguments: Sequence[str], parent: _Parent, denied: PermissionError
) -> None:
    try:
        command = await parent.environ.which(program)
    except FileNotFoundError:
        message = f"{denied.strerror}: it takes {program} (package uidmap) to map ids of others"
        raise PermissionError(denied.errno, message, denied.filename) from None
    # The map has to be written, or not, when this returns.
    result = None
    with trio.CancelScope(shield=True):
        result = await parent.run(command.args(str(pid), *arguments), False, capture=True)
    if result is not None and not result.clean():
        said = os.fsdecode(result.stderr or b"").strip().replace("\n", "; ")
        raise PermissionError(errno.EPERM, said or f"{program} {result.describe()}", denied.filename)
