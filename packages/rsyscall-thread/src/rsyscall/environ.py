"""The environment of a process: its variables, and the programs in the directories of its PATH."""

from __future__ import annotations

import errno
import os
import stat
import typing as t
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from itertools import accumulate

from rsyscall.command import Command, StrOrBytesPath, StrPath
from rsyscall.fcntl import AT
from rsyscall.near import nr
from rsyscall.near.sysif import Syscall
from rsyscall.path import Path
from rsyscall.struct import strpath_to_null_terminated_bytes
from rsyscall.unistd import OK, ArgList

if t.TYPE_CHECKING:
    from rsyscall.far import AddressSpace
    from rsyscall.handle import Task, WrittenPointer
    from rsyscall.memory.ram import RAM

__all__ = ["Environment", "ExecutableNotFound", "ExecutablePathCache"]

T = t.TypeVar("T")

PROBES_AT_ONCE = 64
"""How many directories are looked into with one submission."""


def chunks(lst: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield the elements in pieces of `size`; the last one may be shorter."""
    for start in range(0, len(lst), size):
        yield lst[start : start + size]


class ExecutableNotFound(FileNotFoundError):
    """No directory of the PATH has a program of this name.

    Args:
        name: what was looked for.
        directories: where.
    """

    def __init__(self, name: str, directories: Sequence[StrPath] = ()) -> None:
        super().__init__(errno.ENOENT, "no such program", name)
        self.name = name
        self.directories = directories

    def __str__(self) -> str:
        if not self.directories:
            return f"{self.name}: no such program"
        return f"{self.name}: no such program in {':'.join(map(str, self.directories))}"


class ExecutablePathCache:
    """Finds programs in a list of directories, as its task sees them at that moment.

    The file of a path depends on much that changes: mounts, the root directory, the working directory, the
    credentials of the process, and the files. So each search asks the kernel, with one submission, which
    candidates can be executed. The cache only remembers absolute paths that led to a regular file.

    Args:
        task: makes the system calls.
        ram: memory of `task`.
        paths: directories, the first that has the program wins. An empty string is the working directory, as
            it is in PATH.
    """

    def __init__(self, task: Task, ram: RAM, paths: Sequence[StrPath]) -> None:
        self.task = task
        self.ram = ram
        # Most tasks never look for a program.
        self._given: tuple[StrPath, ...] = tuple(paths)
        self._paths: list[Path] | None = None
        # The programs found in this mount namespace. Shared with caches for the same directories there.
        self._found: dict[str, Command] = {}
        self._mountns = task.mountns

    @property
    def paths(self) -> list[Path]:
        """The directories."""
        if self._paths is None:
            self._paths = [Path(path) for path in self._given]
        return self._paths

    def for_task(self, task: Task, ram: RAM) -> ExecutablePathCache:
        """Return a cache for the same directories that looks through `task`; this one if it does so already.
        They know the same if they look in the same mount namespace.
        """
        if task is self.task:
            return self
        cache = ExecutablePathCache(task, ram, self._given)
        cache._paths = self._paths
        if task.mountns is self._mountns:
            cache._found = self._found
        return cache

    async def which(self, name: str) -> Command:
        """Find a program.

        Args:
            name: of the program. One that contains a slash is a path, and is not looked for in the
                directories.

        Returns:
            A command without arguments (other than its own name). Its path is relative if the directory is,
            or if the name is a relative path.

        Raises:
            ExecutableNotFound: there is no regular file of this name that we may execute.
            SyscallError: the process of `task` is gone.

        manpage: faccessat(2)
        """
        if self.task.mountns is not self._mountns:
            self._found = {}
            self._mountns = self.task.mountns
        found = self._found
        if not isinstance(name, str):
            raise TypeError(f"expected the name of a program, not {name!r}")
        if not name:
            raise ExecutableNotFound(name, self.paths)
        known = found.get(name)
        candidates = [Path(name)] if "/" in name else [path / name for path in self.paths]
        # A directory behind the first hit may be on a server that does not answer. Where a question takes the
        # way to another process and back, it is better to ask all of them at once.
        at_once = 1 if self.task.sysif.immediate else PROBES_AT_ONCE
        for some in chunks(candidates, at_once):
            for candidate in await self._accessible(some):
                if known is not None and candidate == known.executable_path:
                    return known
                # A user who may enter a directory may "execute" it.
                if await self._is_regular(candidate):
                    command = Command(candidate, [name], {})
                    if candidate.is_absolute():
                        found[name] = command
                    return command
        found.pop(name, None)
        raise ExecutableNotFound(name, [] if "/" in name else self.paths)

    async def _accessible(self, paths: Sequence[Path]) -> list[Path]:
        """Those of the paths that the task may execute by its effective ids, as exec does: one transfer of
        memory, one submission.
        """
        strings = [strpath_to_null_terminated_bytes(path) for path in paths]
        memory = await self.ram.ptr(b"".join(strings))
        with memory.borrow(self.task) as address:
            addresses = [address + offset for offset in accumulate(map(len, strings[:-1]), initial=0)]
            calls = [Syscall(nr.faccessat2, AT.FDCWD, where, OK.X, AT.EACCESS) for where in addresses]
            results = await self.task.sysif.syscalls(calls)
            if results[0] in (-errno.EPERM, -errno.ENOSYS):
                # Before Linux 5.8, or where a filter denies it: by the real ids.
                calls = [Syscall(nr.faccessat, AT.FDCWD, where, OK.X) for where in addresses]
                results = await self.task.sysif.syscalls(calls)
        # Where a filter denies the question, exec gives the answer: these are not errors of the file.
        possible = (0, -errno.EPERM, -errno.ENOSYS)
        return [path for path, result in zip(paths, results, strict=True) if result in possible]

    async def _is_regular(self, path: Path) -> bool:
        # Not `Task.stat`: its module, with all that can be known of a file, takes longer to import than
        # everything that this module does.
        layout = self.task.sysif.abi.stat
        memory = await self.ram.ptr(bytes(layout.size) + strpath_to_null_terminated_bytes(path))
        with memory.borrow(self.task) as address:
            try:
                await self.task.sysif.syscall(nr.newfstatat, AT.FDCWD, address + layout.size, address)
            except OSError:
                return False
        return stat.S_ISREG(layout.unpack(await memory.read())["st_mode"])

    def __repr__(self) -> str:
        return f"ExecutablePathCache({self.task}, {':'.join(map(str, self.paths))})"


_SH = Command(Path("/bin/sh"), ["sh"], {})


class Environment(MutableMapping[str, str]):
    """The environment variables of a process, as a mapping, and the settings that depend on them.

    Programs that are executed later get the changed environment; the process itself does not change.

    Args:
        environment: variables and their values; copied.
        path: where `which` looks, until PATH changes.
        arglist_ptr: the same environment as it is in memory.

    Attributes:
        sh: the shell that every system has.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        path: ExecutablePathCache,
        arglist_ptr: WrittenPointer[ArgList] | None = None,
    ) -> None:
        self._data: dict[str, str] = dict(environment)
        self._path = path
        self._path_is_for = self._data.get("PATH")
        self._tmpdir: Path | None = None
        self.sh = _SH
        # The variables as they are in memory, and the memory. Kept as a copy, so that every change is
        # noticed.
        self._in_memory: tuple[dict[str, str], WrittenPointer[ArgList]] | None = (
            None if arglist_ptr is None else (dict(self._data), arglist_ptr)
        )
        self._parent: tuple[Environment, RAM] | None = None
        self._ram: RAM | None = None

    @staticmethod
    def make_from_environ(task: Task, ram: RAM, environment: Mapping[str, str]) -> Environment:
        """Make an environment whose programs are found by its PATH.

        Args:
            task: used to look for programs.
            ram: memory of `task`.
            environment: variables and their values, such as `os.environ`. One without a name, which can be
                inherited although no program can look it up, is left out.
        """
        variables = {name: value for name, value in environment.items() if name}
        directories = directories_of(variables.get("PATH"))
        made = Environment(variables, ExecutablePathCache(task, ram, directories))
        made._ram = ram
        return made

    @property
    def data(self) -> dict[str, str]:
        """The variables."""
        return self._data

    @property
    def path(self) -> ExecutablePathCache:
        """Where `which` looks: the directories of PATH, as this variable is now."""
        return self._path_of(self.data)

    @path.setter
    def path(self, path: ExecutablePathCache) -> None:
        self._path = path
        self._path_is_for = self.data.get("PATH")

    def _path_of(self, data: dict[str, str]) -> ExecutablePathCache:
        path = data.get("PATH")
        if path != self._path_is_for:
            self._path = ExecutablePathCache(self._path.task, self._path.ram, directories_of(path))
            self._path_is_for = path
        return self._path

    @property
    def tmpdir(self) -> Path:
        """Where temporary files go: TMPDIR, or else /tmp, unless another place has been set here."""
        return self._tmpdir or Path(self.data.get("TMPDIR") or "/tmp")

    @tmpdir.setter
    def tmpdir(self, path: Path) -> None:
        self._tmpdir = path

    def __getitem__(self, key: str) -> str:
        return self.data[key]

    def __setitem__(self, key: str | bytes, val: StrOrBytesPath) -> None:
        name, value = checked_variable(key, val)
        self.data[name] = value

    def __delitem__(self, key: str) -> None:
        del self.data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)

    def __contains__(self, key: object) -> bool:
        return key in self.data

    async def which(self, name: str) -> Command:
        """Find a program in the directories of PATH, as the process sees them now.

        Raises:
            ExecutableNotFound: there is none.
            SyscallError: the process is gone.
        """
        return await self.path.which(name)

    def inherit(self, task: Task, ram: RAM) -> Environment:
        """Return a copy for a child: changes of either do not show in the other.

        Args:
            task: the child; it will be used to look for programs.
            ram: memory of `task`.
        """
        data = self.data
        child = Environment(data, self._path_of(data).for_task(task, ram))
        child._ram = ram
        # It will most likely be the same still when the child execs; then it need not be written again.
        if self._ram is not None and self._ram.task.address_space is task.address_space:
            child._parent = self, self._ram
        return child

    async def for_exec(
        self,
        ram: RAM,
        updates: Mapping[str, StrOrBytesPath],
        unset: frozenset[str] = frozenset(),
        cleared: bool = False,
    ) -> WrittenPointer[ArgList] | list[str]:
        """Return the environment for a program: as `as_arglist` if there are no updates, else as strings.

        Args:
            ram: memory of the process that will call execve.
            updates: variables in addition to, or instead of, the ones here.
            unset: names of variables to leave out.
            cleared: whether to leave out all that are here.

        Raises:
            ValueError: see `checked_variable`.
        """
        if not (updates or unset or cleared):
            return await self.as_arglist(ram)
        variables: dict[str, StrOrBytesPath] = {} if cleared else dict(self.data)
        for name in unset:
            variables.pop(name, None)
        # Decoded before they are merged: a name given as bytes is the name that is there as text.
        variables.update(checked_variable(*item) for item in updates.items())
        return environment_strings(variables)

    async def as_arglist(self, ram: RAM) -> WrittenPointer[ArgList]:
        """Return the environment as execve(2) takes it. It is kept, and used again until the environment
        changes.

        Args:
            ram: memory of the process that will call execve.

        Raises:
            ValueError: see `checked_variable`.
        """
        # Comparing the variables is most of the work.
        now = self.data
        address_space = ram.task.address_space
        written = self._written(now, address_space)
        if written is not None:
            return written
        if self._parent is not None:
            parent, parent_ram = self._parent
            theirs = parent.data
            if theirs == now and parent_ram.task.address_space is address_space:
                return parent._written(theirs, address_space) or await parent.as_arglist(parent_ram)
        data = dict(now)
        strings = environment_strings(data)

        async def make(ram: RAM) -> WrittenPointer[ArgList]:
            return await ram.ptr(ArgList([await ram.ptr(string) for string in strings]))

        arglist = await ram.perform_batch(make)
        self._in_memory = data, arglist
        return arglist

    def _written(self, data: dict[str, str], address_space: AddressSpace) -> WrittenPointer[ArgList] | None:
        """What is in memory, if that is these variables in this address space."""
        if self._in_memory is None:
            return None
        written, arglist = self._in_memory
        if written == data and arglist.mapping.task.address_space is address_space:
            return arglist
        return None

    def __repr__(self) -> str:
        return f"Environment({len(self.data)} variables, {self.path})"


def directories_of(path: str | None) -> list[str]:
    """Return the directories of PATH, or those that are usual where it is not set."""
    return (os.defpath if path is None else path).split(":")


def checked_variable(name: str | bytes, value: StrOrBytesPath) -> tuple[str, str]:
    """Return a name and a value as text, after refusing what an environment cannot express.

    All variables that anyone sets pass here, whichever way.

    Raises:
        ValueError: the name is empty or contains "=", so that the program would see another variable; or a
            NUL character is in it or in the value, or something that `os.fsencode` cannot encode.
    """
    name_bytes, value_bytes = os.fsencode(name), os.fsencode(value)
    if not name_bytes or b"=" in name_bytes:
        raise ValueError(f"not the name of an environment variable: {name!r}")
    if b"\0" in name_bytes or b"\0" in value_bytes:
        raise ValueError(f"an environment variable cannot contain a null character: {name!r}: {value!r}")
    return os.fsdecode(name_bytes), os.fsdecode(value_bytes)


def environment_strings(variables: Mapping[str, StrOrBytesPath]) -> list[str]:
    """Return the variables as strings of the form NAME=VALUE.

    Raises:
        ValueError: see `checked_variable`.
    """
    strings = []
    for name, value in variables.items():
        # The common case, inlined: there are dozens. NUL characters are found when the string is encoded.
        if not (type(name) is type(value) is str and name and "=" not in name):
            name, value = checked_variable(name, value)
        strings.append(f"{name}={value}")
    return strings
