"""Temporary directories."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import stat
import subprocess
import sys
import tempfile
import traceback
import types
import typing as t
from pathlib import Path as LocalPath

import bare
import pytest
import trio
from place import Place
from support import local_thread

from rsyscall.environ import Environment
from rsyscall.fcntl import O
from rsyscall.handle import Task
from rsyscall.memory.allocator import AllocatorClient
from rsyscall.memory.local import LocalMemoryTransport
from rsyscall.memory.ram import RAM
from rsyscall.near import SYS, LocalSyscall
from rsyscall.path import Path
from rsyscall.sched import CLONE
from rsyscall.stdlib import TemporaryDirectory, mkdtemp, random_string, update_symlink
from rsyscall.stdlib import _remove_tree as remove_tree
from rsyscall.sys.mount import MS
from rsyscall.sys.wait import W


def thread(tmpdir: LocalPath, task: Task | None = None) -> t.Any:
    """The parts of a thread that `mkdtemp` needs."""
    if task is None:
        task, ram = bare.task, bare.ram
    else:
        ram = RAM(task, LocalMemoryTransport(task), AllocatorClient.make_allocator(task))
    environ = Environment.make_from_environ(task, ram, {"TMPDIR": str(tmpdir)})
    return types.SimpleNamespace(task=task, ram=ram, environ=environ)


def test_random_string() -> None:
    assert random_string(0) == ""
    assert len(random_string()) == 8
    assert random_string(20).isalnum()
    assert random_string(20) != random_string(20)


async def test_made_and_removed(tmp_path: LocalPath) -> None:
    async with await mkdtemp(thread(tmp_path), "prefix") as path:
        assert isinstance(path, TemporaryDirectory)
        local = LocalPath(path)
        assert local.parent == tmp_path
        assert local.name.startswith("prefix.")
        assert len(local.name) == len("prefix.") + 8
        assert stat.S_IMODE(local.stat().st_mode) == 0o700
        assert type(path / "x") is Path
        assert os.fspath(path / "x") == str(local / "x")
        (local / "file").write_text("hello")
    assert list(tmp_path.iterdir()) == []
    await path.cleanup()


async def test_default_prefix(tmp_path: LocalPath) -> None:
    async with await mkdtemp(thread(tmp_path)) as path:
        assert path.name.startswith("mkdtemp.")


async def test_no_such_tmpdir(tmp_path: LocalPath) -> None:
    with pytest.raises(FileNotFoundError):
        await mkdtemp(thread(tmp_path / "nowhere"))


async def test_removes_everything_and_nothing_else(tmp_path: LocalPath) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("stays")
    where = tmp_path / "inside"
    where.mkdir()
    async with await mkdtemp(thread(where)) as path:
        local = LocalPath(path)
        deep = local
        for i in range(30):
            deep = deep / f"{i}"
            deep.mkdir()
            (deep / "file").write_text("x")
        for i in range(1000):
            (local / f"file with a long name {i}").touch()
        (local / "link").symlink_to(outside)
        (local / "dangling").symlink_to("nowhere")
        os.mkfifo(local / "fifo")
        (local / os.fsdecode(b"not unicode \xff")).touch()
    assert list(where.iterdir()) == []
    assert (outside / "file").read_text() == "stays"


async def test_when_cancelled(tmp_path: LocalPath) -> None:
    with trio.move_on_after(0.01):
        async with await mkdtemp(thread(tmp_path)) as path:
            (LocalPath(path) / "file").touch()
            await trio.sleep_forever()
    assert list(tmp_path.iterdir()) == []


def as_nobody(function: t.Callable[[], None]) -> None:
    """Do something in a process that may do only what its owner may; as root, in one of another user."""
    if os.getuid() != 0:
        function()
        return
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            function()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


def test_permissions_are_no_obstacle(place: Place) -> None:
    if os.getuid() == 0:
        place.need("other users")
    with tempfile.TemporaryDirectory() as tmp:
        os.chmod(tmp, 0o777)

        def make_and_remove() -> None:
            # A copy of a process cannot use the task of the original.
            thr = thread(LocalPath(tmp), bare.make_local_task())
            path = bare.run_now(mkdtemp(thr))
            local = LocalPath(path)
            for name, mode in (("unwritable", 0o555), ("unreadable", 0o333), ("closed", 0)):
                (local / name).mkdir()
                (local / name / "file").touch()
                (local / name / "subdirectory").mkdir()
                (local / name / "subdirectory" / "file").touch()
                (local / name / "subdirectory").chmod(mode)
                (local / name).chmod(mode)
            local.chmod(0o500)
            trio.run(path.cleanup)

        as_nobody(make_and_remove)
        assert os.listdir(tmp) == []


async def test_what_cannot_be_removed_is_named(tmp_path: LocalPath) -> None:
    path = await mkdtemp(thread(tmp_path))
    (LocalPath(path) / "sub").mkdir()
    (LocalPath(path) / "sub" / "file").touch()
    (LocalPath(path) / "sub").rename(tmp_path / "file")
    os.rmdir(path)
    (tmp_path / "file" / "file").rename(path)
    with pytest.raises(NotADirectoryError) as caught:
        await path.cleanup()
    assert os.fspath(caught.value.filename) == os.fspath(path)


async def test_update_symlink(tmp_path: LocalPath) -> None:
    thr = thread(tmp_path)
    path = await bare.ram.ptr(Path(tmp_path / "link"))
    assert await update_symlink(thr, path, "one") is path
    assert os.readlink(tmp_path / "link") == "one"
    await update_symlink(thr, path, Path("two"))
    assert os.readlink(tmp_path / "link") == "two"
    assert len(list(tmp_path.iterdir())) == 1
    (tmp_path / "directory").mkdir()
    with pytest.raises(OSError):
        await update_symlink(thr, await bare.ram.ptr(Path(tmp_path / "directory")), "three")
    assert len(list(tmp_path.iterdir())) == 2


async def test_through_a_child() -> None:
    child = await local_thread.clone()
    async with await mkdtemp(child) as path:
        assert LocalPath(path).is_dir()
        await child.mkdir(path / "sub")
        await child.spit(path / "sub" / "file", "hello")
    assert not LocalPath(path).exists()
    await child.exit(0)
    await child.process.waitpid(W.EXITED)


@pytest.mark.needs("mount namespaces")
@pytest.mark.parametrize("where", ["", "deep/down"])
@pytest.mark.parametrize("what", ["bind", "tmpfs"])
async def test_what_is_mounted_below_stays(
    where: str, what: str, tmp_path: LocalPath, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    """It may be a user's home directory."""
    monkeypatch.setitem(local_thread.environ, "TMPDIR", str(tmp_path))
    source = tmp_path / "source"
    source.mkdir(0o555)
    child = await local_thread.clone(CLONE.NEWUSER | CLONE.NEWNS)
    async with child.process:
        directory = await mkdtemp(child)
        target = LocalPath(directory) / where
        target.mkdir(parents=True, exist_ok=True)
        if what == "bind":
            # The same file system, so that only the mount tells them apart.
            await child.mount(source, target, "none", MS.BIND, "")
            os.chmod(source, 0o755)
            (source / "data").mkdir()
            (source / "data/file").write_text("precious")
            os.chmod(source, 0o555)
        else:
            await child.mount("none", target, "tmpfs", MS.NONE, "")
            await child.mkdir(Path(target) / "data")
            await child.spit(Path(target) / "data/file", "precious")
        with pytest.raises(OSError) as caught:
            await directory.cleanup()
        assert caught.value.errno == errno.EBUSY
        assert os.fspath(caught.value.filename) == str(target)
        file = await child.task.open(await child.ptr(Path(target) / "data/file"), O.RDONLY)
        assert await child.read_to_eof(file) == b"precious"
        await file.close()
        if what == "bind":
            assert stat.S_IMODE(source.stat().st_mode) == 0o555
        await child.task.umount(await child.ptr(os.fspath(target)))
        await directory.cleanup()
        assert not LocalPath(directory).exists()
    assert (source / "data/file").exists() == (what == "bind")


async def test_what_cannot_be_removed_is_left_alone(tmp_path: LocalPath) -> None:
    """A file in place of a directory is not what was made."""
    path = await mkdtemp(thread(tmp_path))
    os.rmdir(path)
    LocalPath(path).write_text("of another program")
    with pytest.raises(NotADirectoryError) as caught:
        await path.cleanup()
    assert caught.value.filename == path
    os.unlink(path)


def make_deep(path: LocalPath, depth: int) -> None:
    """A chain of directories with a file in each; deeper than any path can say."""
    fd = os.open(path, os.O_RDONLY)
    for _ in range(depth):
        os.close(os.open("file", os.O_CREAT, dir_fd=fd))
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)


@contextlib.contextmanager
def few_descriptors(count: int) -> t.Iterator[None]:
    """No more than `count` descriptors can be opened."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + count, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("depth", [15, 16, 17, 33, 100])
async def test_any_depth_in_twenty_descriptors(tmp_path: LocalPath, depth: int) -> None:
    path = await mkdtemp(thread(tmp_path))
    make_deep(LocalPath(path), depth)
    with few_descriptors(20):
        await path.cleanup()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
async def test_a_tree_deeper_than_python_recurses(tmp_path: LocalPath) -> None:
    child = await local_thread.clone()
    async with child.process:
        child.environ["TMPDIR"] = str(tmp_path)
        path = await mkdtemp(child)
        make_deep(LocalPath(path), sys.getrecursionlimit() + 100)
        await path.cleanup()
    assert list(tmp_path.iterdir()) == []


async def test_many_deep_branches(tmp_path: LocalPath) -> None:
    """More than one place below the limit, which all come to the top."""
    path = await mkdtemp(thread(tmp_path))
    fork = LocalPath(path, *("d" * (remove_tree.HELD - 1)))
    fork.mkdir(parents=True)
    for name in "abc":
        (fork / name).mkdir()
        make_deep(fork / name, 20)
        (fork / name / "link").symlink_to(tmp_path)
    await path.cleanup()
    assert list(tmp_path.iterdir()) == []


WRITERS = {
    "files": "open(str(i), 'w').close()",
    "directories": "os.makedirs(f'{i}/sub'); time.sleep(0.0003)",
    "deeper": "os.mkdir('d'); os.chdir('d'); time.sleep(0.0003)",
}


@pytest.mark.slow
@pytest.mark.parametrize("what", WRITERS)
async def test_others_who_go_on_writing(
    tmp_path: LocalPath, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The removal ends: new files come too late, or an error says where they are."""
    monkeypatch.setattr(remove_tree, "LIMIT", 0.3)
    path = await mkdtemp(thread(tmp_path))
    script = f"import os, time\nprint(flush=True)\nfor i in range(30_000): {WRITERS[what]}"
    error: OSError | None = None
    with subprocess.Popen([sys.executable, "-c", script], cwd=path, stdout=-1, stderr=-3) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        try:
            with trio.fail_after(60):
                await path.cleanup()
        except OSError as caught:
            error = caught
        finally:
            writer.kill()
    if error is not None:
        assert error.errno == errno.ENOTEMPTY
        assert os.fspath(error.filename).startswith(os.fspath(path))
    assert LocalPath(path).exists() == (error is not None)
    await path.cleanup()
    assert list(tmp_path.iterdir()) == []


async def test_a_directory_that_fills_again_each_time(
    tmp_path: LocalPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remove_tree, "LIMIT", 0.1)

    class Refilling(LocalSyscall):
        async def syscall(self, number: SYS, *args: t.SupportsInt) -> int:
            if number == SYS.unlinkat:
                (LocalPath(path) / "sub" / "again").touch()
            return await super().syscall(number, *args)

    path = await mkdtemp(thread(tmp_path))
    (LocalPath(path) / "sub").mkdir()
    task = bare.make_local_task()
    task.sysif = Refilling()
    other = TemporaryDirectory(thread(tmp_path, task), Path(tmp_path), path.name)
    with pytest.raises(OSError, match="not empty") as caught:
        await other.cleanup()
    assert caught.value.filename == path / "sub"
    await path.cleanup()
    assert list(tmp_path.iterdir()) == []


async def test_what_others_write_for_a_moment(tmp_path: LocalPath) -> None:
    """As a process does that has just been killed."""
    path = await mkdtemp(thread(tmp_path))
    local = LocalPath(path)
    (local / "sub").mkdir()

    async def write() -> None:
        for number in range(20):
            with contextlib.suppress(FileNotFoundError):
                (local / "sub" / str(number)).mkdir()
                (local / "sub" / str(number) / "file").touch()
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await path.cleanup()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["held", "top"])
async def test_what_others_move_out_is_left_alone(tmp_path: LocalPath, what: str) -> None:
    path = await mkdtemp(thread(tmp_path))
    local = LocalPath(path)
    held = local / "held"
    outside = tmp_path / "outside"
    (held / "deep" / "deeper").mkdir(parents=True)
    for number in range(50):
        (held / "deep" / "deeper" / str(number)).mkdir()
        (held / "deep" / "deeper" / str(number) / "file").touch()

    async def move() -> None:
        while len(os.listdir(held / "deep" / "deeper")) > 45:
            await trio.lowlevel.checkpoint()
        (held if what == "held" else local).rename(outside)
        for number in range(100, 110):
            (outside / str(number)).write_text("precious")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(move)
        await path.cleanup()
    deep = outside / ("deep" if what == "held" else "held/deep") / "deeper"
    # One may have been at work when it was moved.
    assert len([entry for entry in deep.iterdir() if (entry / "file").exists()]) >= 44
    assert len(list(outside.glob("1??"))) == 10
    assert not local.exists()


async def test_other_tasks_go_on_and_it_can_be_cancelled(tmp_path: LocalPath) -> None:
    path = await mkdtemp(thread(tmp_path))
    local = LocalPath(path)
    for number in range(100):
        (local / str(number) / "sub").mkdir(parents=True)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def cancel() -> None:
                while len(os.listdir(local)) > 90:
                    await trio.lowlevel.checkpoint()
                scope.cancel()

            nursery.start_soon(cancel)
            await path.cleanup()
    assert scope.cancelled_caught
    assert len(os.listdir(local)) > 50
    await path.cleanup()
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_place_of_an_unreadable_directory(place: Place) -> None:
    """The target of the link keeps its permissions."""
    if os.getuid() == 0:
        place.need("other users")
    with tempfile.TemporaryDirectory() as tmp:
        os.chmod(tmp, 0o777)

        def replace_while_opening() -> None:
            outside = LocalPath(tmp) / "outside"
            outside.mkdir(0o755)

            class Replacing(LocalSyscall):
                async def syscall(self, number: SYS, *args: t.SupportsInt) -> int:
                    try:
                        return await super().syscall(number, *args)
                    except PermissionError:
                        if number == SYS.openat and not (local / "moved").exists():
                            os.rename(local / "closed", local / "moved")
                            (local / "closed").symlink_to(outside)
                        raise

            task = bare.make_local_task()
            task.sysif = Replacing()
            thr = thread(LocalPath(tmp), task)
            path = bare.run_now(mkdtemp(thr))
            local = LocalPath(path)
            (local / "closed" / "file").parent.mkdir()
            (local / "closed" / "file").touch()
            (local / "closed").chmod(0)
            trio.run(path.cleanup)
            assert not local.exists()
            assert stat.S_IMODE(outside.stat().st_mode) == 0o755

        as_nobody(replace_while_opening)
