"""The environment, and finding programs."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import bare
import pytest
from support import local_thread

from rsyscall import far
from rsyscall.command import Command
from rsyscall.environ import Environment, ExecutableNotFound, ExecutablePathCache, chunks, environment_strings
from rsyscall.local import LocalThread
from rsyscall.memory.ram import RAM
from rsyscall.near import SYS
from rsyscall.near.sysif import Syscall
from rsyscall.path import Path as RPath
from rsyscall.sched import CLONE
from rsyscall.sys.mount import MS, UMOUNT
from rsyscall.sys.wait import CalledProcessError, W
from rsyscall.thread import ChildThread, Thread
from rsyscall.unistd import ArgList


def make_executable(path: Path, mode: int = 0o755) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


def make_directories(where: Path, count: int) -> list[Path]:
    directories = [where / f"{i:03}" for i in range(count)]
    for directory in directories:
        directory.mkdir()
    return directories


def cache_of(directories: t.Sequence[Path]) -> ExecutablePathCache:
    return ExecutablePathCache(bare.task, bare.ram, list(map(str, directories)))


async def test_what_is_not_found_is_not_remembered(tmp_path: Path) -> None:
    directories = make_directories(tmp_path, 5)
    cache = cache_of(directories)
    for _ in range(2):
        with pytest.raises(ExecutableNotFound) as caught:
            await cache.which("foo")
        assert caught.value.name == "foo"
        assert str(directories[3]) in str(caught.value)
    path = make_executable(directories[2] / "foo")
    command = await cache.which("foo")
    assert os.fspath(command.executable_path) == str(path)
    assert command.arguments == ["foo"]
    assert await cache.which("foo") is command
    path.unlink()
    with pytest.raises(ExecutableNotFound):
        await cache.which("foo")
    # An earlier one counts from when it is there.
    make_executable(path)
    assert os.fspath((await cache.which("foo")).executable_path) == str(path)
    make_executable(directories[1] / "foo")
    assert os.fspath((await cache.which("foo")).executable_path) == str(directories[1] / "foo")


async def test_what_is_known_is_only_asked_for(tmp_path: Path) -> None:
    directories = make_directories(tmp_path, 5)
    make_executable(directories[3] / "foo")
    calls: list[SYS] = []

    class Recording(type(bare.task.sysif)):  # type: ignore[misc]  # whatever class it is
        async def syscall(self, number: SYS, *args: t.SupportsInt) -> int:
            calls.append(number)
            return await super().syscall(number, *args)  # type: ignore[no-any-return]

        async def syscalls(self, batch: t.Sequence[Syscall]) -> list[int]:
            calls.extend(call.number for call in batch)
            return await super().syscalls(batch)  # type: ignore[no-any-return]

    task = bare.make_local_task()
    task.address_space = bare.task.address_space
    task.fd_table = bare.task.fd_table
    task.sysif = Recording()
    cache = ExecutablePathCache(task, RAM(task, bare.ram.transport, bare.ram.allocator), directories)
    command = await cache.which("foo")
    calls.clear()
    assert await cache.which("foo") is command
    # Up to the directory that has it.
    assert calls == [SYS.faccessat2] * 4


async def test_a_directory_that_comes_later(tmp_path: Path) -> None:
    cache = cache_of([tmp_path / "bin"])
    with pytest.raises(ExecutableNotFound):
        await cache.which("foo")
    (tmp_path / "bin").mkdir()
    make_executable(tmp_path / "bin/foo")
    await cache.which("foo")


async def test_first_in_order_wins(tmp_path: Path) -> None:
    directories = make_directories(tmp_path, 200)
    for new, first in ((180, 180), (70, 70), (65, 65), (199, 65)):
        make_executable(directories[new] / "foo")
        command = await cache_of(directories).which("foo")
        assert os.fspath(command.executable_path) == str(directories[first] / "foo")


async def test_what_cannot_be_executed_does_not_count(tmp_path: Path) -> None:
    directories = make_directories(tmp_path, 5)
    (directories[0] / "foo").mkdir()
    make_executable(directories[1] / "foo", 0o644)
    (directories[2] / "foo").symlink_to("nowhere")
    os.mkfifo(directories[3] / "foo", 0o755)
    cache = cache_of(directories)
    with pytest.raises(ExecutableNotFound):
        await cache.which("foo")
    (directories[4] / "foo").symlink_to(make_executable(tmp_path / "real"))
    command = await cache.which("foo")
    assert os.fspath(command.executable_path) == str(directories[4] / "foo")


async def test_names_with_slashes_are_paths(tmp_path: Path) -> None:
    cache = cache_of([])
    path = make_executable(tmp_path / "foo")
    assert os.fspath((await cache.which(str(path))).executable_path) == str(path)
    with pytest.raises(ExecutableNotFound, match="no such program"):
        await cache.which(str(tmp_path / "bar"))
    with pytest.raises(ExecutableNotFound):
        await cache.which("")
    with pytest.raises(ExecutableNotFound):
        await cache.which("foo")


@pytest.mark.parametrize(("is_far", "expected"), [(True, [40]), (False, [1] * 31)])
async def test_only_a_process_far_away_is_asked_for_all_directories_at_once(
    tmp_path: Path, is_far: bool, expected: list[int]
) -> None:
    directories = make_directories(tmp_path, 40)
    make_executable(directories[30] / "foo")
    submissions: list[int] = []

    class Counting(type(bare.task.sysif)):  # type: ignore[misc]  # whatever class it is
        async def syscalls(self, calls: t.Sequence[Syscall]) -> list[int]:
            assert {call.number for call in calls} == {SYS.faccessat2}
            submissions.append(len(calls))
            return await super().syscalls(calls)  # type: ignore[no-any-return]

    task = bare.make_local_task()
    task.address_space = bare.task.address_space
    task.fd_table = bare.task.fd_table
    task.sysif = Counting()
    task.sysif.immediate = not is_far
    ram = RAM(task, bare.ram.transport, bare.ram.allocator)
    await ExecutablePathCache(task, ram, directories).which("foo")
    assert submissions == expected


async def test_another_mount_namespace_has_a_cache_of_its_own(tmp_path: Path) -> None:
    environ = Environment.make_from_environ(bare.task, bare.ram, {"PATH": str(tmp_path)})
    make_executable(tmp_path / "foo")
    command = await environ.which("foo")
    task = bare.make_local_task()
    task.address_space = bare.task.address_space
    task.fd_table = bare.task.fd_table
    ram = RAM(task, bare.ram.transport, bare.ram.allocator)
    child = environ.inherit(task, ram)
    assert child.path is not environ.path
    assert child.path.paths == environ.path.paths
    assert await child.which("foo") is not command
    task.mountns = bare.task.mountns
    sibling = environ.inherit(task, ram)
    assert sibling.path.task is task
    assert await sibling.which("foo") is command
    # It moves to another one later.
    task.mountns = far.MountNamespace(1)
    assert await sibling.which("foo") is not command
    assert await environ.which("foo") is command


async def strings_of(arglist: t.Any) -> list[t.Any]:
    assert isinstance(arglist.value, ArgList)
    return [await string.read() for string in arglist.value]


async def test_arglist_is_kept_until_the_environment_changes() -> None:
    environ = Environment.make_from_environ(bare.task, bare.ram, {"A": "1", "B": "2=3"})
    first = await environ.as_arglist(bare.ram)
    assert await strings_of(first) == ["A=1", "B=2=3"]
    assert await environ.as_arglist(bare.ram) is first
    environ["A"] = "one"
    second = await environ.as_arglist(bare.ram)
    assert await strings_of(second) == ["A=one", "B=2=3"]
    del environ["B"]
    assert await strings_of(await environ.as_arglist(bare.ram)) == ["A=one"]
    # Behind its back, too.
    environ.data["C"] = "3"
    assert await strings_of(await environ.as_arglist(bare.ram)) == ["A=one", "C=3"]


async def test_children_share_the_arglist_and_nothing_else() -> None:
    environ = Environment.make_from_environ(bare.task, bare.ram, {"A": "1"})
    assert "A" in environ.inherit(bare.task, bare.ram)
    arglist = await environ.as_arglist(bare.ram)
    child = environ.inherit(bare.task, bare.ram)
    assert await child.as_arglist(bare.ram) is arglist
    child["A"] = "2"
    assert environ["A"] == "1"
    assert await environ.as_arglist(bare.ram) is arglist
    assert await strings_of(await child.as_arglist(bare.ram)) == ["A=2"]
    # Memory of another address space is of no use.
    task = bare.make_local_task()
    stranger = environ.inherit(task, RAM(task, bare.ram.transport, bare.ram.allocator))
    assert stranger._in_memory is None  # it is only called one: memory there cannot be written
    environ.data["B"] = "2"
    changed = environ.inherit(bare.task, bare.ram)
    assert await strings_of(await changed.as_arglist(bare.ram)) == ["A=1", "B=2"]


def test_mapping() -> None:
    environ = Environment.make_from_environ(bare.task, bare.ram, {"A": "1"})
    assert environ["A"] == "1"
    assert environ.get("B", "default") == "default"
    assert "A" in environ
    assert "B" not in environ
    assert len(environ) == 1
    assert dict(environ) == {"A": "1"}
    environ.update({"C": "3"})
    assert list(environ) == ["A", "C"]
    with pytest.raises(KeyError):
        del environ["B"]
    assert "2 variables" in repr(environ)


def test_well_known_places() -> None:
    environ = Environment.make_from_environ(bare.task, bare.ram, {"TMPDIR": "/elsewhere", "PATH": "/a::/b"})
    assert os.fspath(environ.tmpdir) == "/elsewhere"
    assert environ.sh.executable_path == RPath("/bin/sh")
    assert environ.sh.arguments == ["sh"]
    # As everywhere, an empty entry is the working directory.
    assert [os.fspath(path) for path in environ.path.paths] == ["/a", ".", "/b"]
    empty = Environment({}, ExecutablePathCache(bare.task, bare.ram, []), None)
    assert os.fspath(empty.tmpdir) == "/tmp"
    assert Environment.make_from_environ(bare.task, bare.ram, {}).path.paths


async def test_names_that_would_mean_something_else() -> None:
    with pytest.raises(ValueError, match="not the name"):
        environment_strings({"A=B": "C"})
    environ = Environment.make_from_environ(bare.task, bare.ram, {"A": "nul\0"})
    with pytest.raises(ValueError, match="null"):
        await environ.as_arglist(bare.ram)


WRONG = [
    {"A=B": "c"},
    {"": "c"},
    {"A": "nul\0"},
    {"nul\0": "a"},
    {"A": b"nul\0"},
    {b"A=B": b"c"},
    {"A": "\ud800"},
]


@pytest.mark.parametrize("updates", WRONG, ids=repr)
async def test_no_way_leads_a_wrong_variable_into_the_environment(
    updates: dict[str, str], transport: str
) -> None:
    before = dict(local_thread.environ)
    for environ in (local_thread.environ, Environment({}, bare_cache())):
        with pytest.raises(ValueError):
            environ.update(updates)
    assert dict(local_thread.environ) == before
    # A dictionary that is shown is not checked until it is used.
    environ = Environment({}, bare_cache())
    environ.data.update(updates)
    with pytest.raises(ValueError):
        await environ.as_arglist(bare.ram)
    true = Command("/bin/true", ["true"], {}).env(updates)
    with pytest.raises(ValueError):
        await local_thread.run(true)
    if transport == "ring":
        with pytest.raises(ValueError):
            await local_thread.prepare().exec(true)
    child = await local_thread.clone()
    with pytest.raises(ValueError):
        await child.exec(true)
    with pytest.raises(ValueError):
        await child.execve("/bin/true", ["true"], updates)
    await end(child)


def bare_cache() -> ExecutablePathCache:
    return ExecutablePathCache(bare.task, bare.ram, [])


async def test_bytes_arrive_as_they_are(transport: str, tmp_path: Path) -> None:
    """In arguments, names and values; and a name means the same variable as text and as bytes."""
    out = tmp_path / "out"
    script = 'printf "%s|%s|%s|%s" "$1" "$A" "$B" "$C" >"$2"'
    command = (
        Command("/bin/sh", ["sh", "-c", script], {"A": b"\xff", "B": "text"})
        .args(b"sh", b"\xfe arg", bytes(out))
        .env({b"B": b"bytes"})
        .env(C="\udcfd")
    )
    assert command.env_updates == {"A": b"\xff", "B": b"bytes", "C": "\udcfd"}
    await local_thread.run(command)
    assert out.read_bytes() == b"\xfe arg|\xff|bytes|\xfd"
    child = await local_thread.clone()
    child.environ["A"] = b"set \xfc"
    assert child.environ["A"] == "set \udcfc"
    command = Command("/bin/sh", ["sh", "-c", script, "sh", b"", os.fspath(out)], {})
    await (await child.exec(command)).check()
    assert out.read_bytes() == b"|set \xfc||"


async def test_an_error_about_a_command_of_bytes_can_be_printed() -> None:
    command = Command("/bin/sh", ["sh", "-c", b"exit 3", b"\xff"], {"A": b"\xfe"})
    with pytest.raises(CalledProcessError) as caught:
        await local_thread.run(command)
    assert str(caught.value) == "command `A='\udcfe' /bin/sh -c 'exit 3' '\udcff'` exited with status 3"
    assert repr(caught.value)


def test_a_variable_without_a_name_may_be_inherited() -> None:
    """Some programs leave one for their children; subprocess gives it on, and the kernel does not care."""
    environ = Environment.make_from_environ(bare.task, bare.ram, {"": "x", "A": "1"})
    assert dict(environ) == {"A": "1"}


async def test_the_local_thread_follows_os_environ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environ = LocalThread().environ
    monkeypatch.setenv("RSYSCALL_TEST", "1")
    assert environ["RSYSCALL_TEST"] == "1"
    before = environ.data
    # What is changed here is not changed there, and stays until it is changed there.
    environ["RSYSCALL_TEST"] = "2"
    assert os.environ["RSYSCALL_TEST"] == "1"
    monkeypatch.setenv("RSYSCALL_OTHER", "x")
    assert (environ["RSYSCALL_TEST"], environ["RSYSCALL_OTHER"]) == ("2", "x")
    monkeypatch.setenv("RSYSCALL_TEST", "3")
    assert environ["RSYSCALL_TEST"] == "3"
    del environ["RSYSCALL_TEST"]
    assert "RSYSCALL_TEST" not in environ
    monkeypatch.delenv("RSYSCALL_OTHER")
    assert "RSYSCALL_OTHER" not in environ
    assert environ.data is before


async def test_what_is_executed_gets_the_environment_of_now(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, transport: str
) -> None:
    test = Command("/bin/sh", ["sh", "-c", 'test "$RSYSCALL_TEST" = now'], {})
    await local_thread.environ.as_arglist(local_thread.ram)
    monkeypatch.setenv("RSYSCALL_TEST", "now")
    await local_thread.run(test)
    child = await local_thread.clone()
    # A child has the environment of when it was made.
    monkeypatch.setenv("RSYSCALL_TEST", "later")
    await (await child.exec(test)).check()


async def test_programs_are_found_by_the_path_of_now(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one, two = make_directories(tmp_path, 2)
    make_executable(two / "foo")
    monkeypatch.setenv("PATH", str(one))
    with pytest.raises(ExecutableNotFound):
        await find(local_thread, "foo")
    monkeypatch.setenv("PATH", f"{one}:{two}")
    assert await find(local_thread, "foo") == str(two / "foo")
    child = await local_thread.clone()
    assert await find(child, "foo") == str(two / "foo")
    child.environ["PATH"] = str(one)
    with pytest.raises(ExecutableNotFound):
        await find(child, "foo")
    await end(child)
    monkeypatch.setenv("TMPDIR", str(one))
    assert os.fspath(local_thread.environ.tmpdir) == str(one)


def test_chunks() -> None:
    assert [list(chunk) for chunk in chunks([1, 2, 3, 4, 5], 2)] == [[1, 2], [3, 4], [5]]
    assert list(chunks([], 2)) == []


def test_far_is_what_tells_namespaces_apart() -> None:
    assert far.MountNamespace(1) != far.MountNamespace(1)


@pytest.mark.needs("mount namespaces")
async def test_a_child_with_mounts_of_its_own(tmp_path: Path) -> None:
    """It finds what it sees, not what its parent sees."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "other").mkdir()
    make_executable(tmp_path / "bin" / "old")
    make_executable(tmp_path / "other" / "new")
    environ = Environment.make_from_environ(
        local_thread.task, local_thread.ram, {"PATH": str(tmp_path / "bin")}
    )
    await environ.which("old")
    child = await local_thread.clone(CLONE.NEWUSER | CLONE.NEWNS)
    inherited = environ.inherit(child.task, child.ram)
    await child.mount(tmp_path / "other", tmp_path / "bin", "none", MS.BIND, "")
    await inherited.which("new")
    with pytest.raises(ExecutableNotFound):
        await inherited.which("old")
    with pytest.raises(ExecutableNotFound):
        await environ.which("new")
    await child.exit(0)
    await child.process.waitpid(W.EXITED)


async def end(*threads: ChildThread) -> None:
    for thread in threads:
        async with thread.process:
            pass


async def find(thread: Thread, name: str) -> str:
    return os.fspath((await thread.environ.which(name)).executable_path)


@pytest.fixture
def path_of_local_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that the local thread, and its children with it, has as its PATH."""
    directory = tmp_path / "bin"
    directory.mkdir()
    set_path(monkeypatch, str(directory))
    return directory


def set_path(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    task, ram = local_thread.task, local_thread.ram
    monkeypatch.setattr(local_thread, "environ", Environment.make_from_environ(task, ram, {"PATH": path}))


@pytest.mark.needs("mount namespaces")
async def test_a_child_whose_mounts_become_its_own(
    tmp_path: Path, path_of_local_thread: Path, transport: str
) -> None:
    """It was made with our mounts, and its children come after the change."""
    old = make_executable(path_of_local_thread / "old")
    (tmp_path / "other").mkdir()
    make_executable(tmp_path / "other" / "new")
    await find(local_thread, "old")
    child = await local_thread.clone()
    assert await find(child, "old") == str(old)
    await child.unshare(CLONE.NEWUSER | CLONE.NEWNS)
    await child.mount(tmp_path / "other", path_of_local_thread, "none", MS.BIND, "")
    grandchild = await child.clone()
    for thread in (child, grandchild):
        await find(thread, "new")
        with pytest.raises(ExecutableNotFound):
            await find(thread, "old")
    # And once more in the same namespace.
    await child.task.umount(await child.ptr(os.fspath(path_of_local_thread)), UMOUNT.NONE)
    await find(child, "old")
    with pytest.raises(ExecutableNotFound):
        await find(local_thread, "new")
    await end(grandchild, child)


@pytest.mark.needs("user namespaces")
async def test_a_child_with_another_root(tmp_path: Path, path_of_local_thread: Path, transport: str) -> None:
    make_executable(path_of_local_thread / "foo")
    await find(local_thread, "foo")
    root = tmp_path / "root"
    root.mkdir()
    child = await local_thread.clone(CLONE.NEWUSER)
    await find(child, "foo")
    await child.chroot(root)
    with pytest.raises(ExecutableNotFound):
        await find(child, "foo")
    inside = root / path_of_local_thread.relative_to("/")
    inside.mkdir(parents=True)
    make_executable(inside / "foo")
    await find(child, "foo")
    await end(child)


@pytest.mark.needs("mount namespaces")
async def test_the_process_that_looked_first_is_gone(path_of_local_thread: Path, transport: str) -> None:
    """It has executed a program; its child has not."""
    make_executable(path_of_local_thread / "foo")
    middle = await local_thread.clone(CLONE.NEWUSER | CLONE.NEWNS)
    await find(middle, "foo")
    child = await middle.clone()
    process = await middle.exec(Command("/bin/true", ["true"], {}))
    await process.check()
    await find(child, "foo")
    with pytest.raises(ExecutableNotFound):
        await find(child, "bar")
    await end(child)


async def test_relative_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transport: str) -> None:
    """They are those of the process that asks, and where it is now."""
    here, there = make_directories(tmp_path, 2)
    (here / "bin").mkdir()
    (here / "prog").write_text("#!/bin/sh\nexit 3\n")
    (here / "bin" / "sub").write_text("#!/bin/sh\nexit 4\n")
    for path in (here / "prog", here / "bin" / "sub"):
        path.chmod(0o755)
    set_path(monkeypatch, ":bin:/nowhere")
    monkeypatch.chdir(there)
    for name, status in (("prog", 3), ("sub", 4)):
        with pytest.raises(ExecutableNotFound):
            await find(local_thread, name)
        child = await local_thread.clone()
        await child.task.chdir(await child.ptr(os.fspath(here)))
        process = await child.exec(await child.environ.which(name))
        assert (await process.waitpid(W.EXITED)).exit_status == status
        # Not remembered, neither by it nor by us.
        sibling = await local_thread.clone()
        await sibling.task.chdir(await sibling.ptr(os.fspath(here)))
        await find(sibling, name)
        await sibling.task.chdir(await sibling.ptr("/"))
        for thread in (sibling, local_thread):
            with pytest.raises(ExecutableNotFound):
                await find(thread, name)
        await end(sibling)


async def test_changes_reach_what_is_executed() -> None:
    child = await local_thread.clone()
    await child.environ.as_arglist(child.ram)
    child.environ["RSYSCALL_TEST"] = "changed"
    status = await (await child.execv("/bin/sh", ["sh", "-c", 'test "$RSYSCALL_TEST" = changed'])).waitpid(
        W.EXITED
    )
    assert status.clean()
    assert "RSYSCALL_TEST" not in local_thread.environ
