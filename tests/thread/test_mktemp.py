"""Temporary directories."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
import types
import typing as t
from pathlib import Path as LocalPath

import bare
import pytest
import trio
from support import local_thread

from rsyscall.environ import Environment
from rsyscall.fcntl import O
from rsyscall.memory.ram import RAM
from rsyscall.path import Path
from rsyscall.sched import CLONE
from rsyscall.stdlib import TemporaryDirectory, mkdtemp, random_string, update_symlink
from rsyscall.sys.mount import MS
from rsyscall.sys.wait import W


def thread(tmpdir: LocalPath) -> t.Any:
    """As much of a thread as is needed here."""
    environ = Environment.make_from_environ(bare.task, bare.ram, {"TMPDIR": str(tmpdir)})
    return types.SimpleNamespace(task=bare.task, ram=bare.ram, environ=environ)


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
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


def test_permissions_are_no_obstacle() -> None:
    with tempfile.TemporaryDirectory() as tmp:
        os.chmod(tmp, 0o777)

        def make_and_remove() -> None:
            # A copy of a process cannot use the task of the original.
            task = bare.make_local_task()
            task.fd_table, task.address_space = bare.task.fd_table, bare.task.address_space
            thr = thread(LocalPath(tmp))
            thr.task, thr.ram = task, RAM(task, bare.ram.transport, bare.ram.allocator)
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
            bare.run_now(path.cleanup())

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


@pytest.mark.parametrize("where", ["", "deep/down"])
@pytest.mark.parametrize("what", ["bind", "tmpfs"])
async def test_what_is_mounted_below_stays(
    where: str, what: str, tmp_path: LocalPath, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    """It may be somebody's home directory."""
    monkeypatch.setattr(local_thread.environ, "tmpdir", Path(tmp_path))
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
    LocalPath(path).write_text("somebody else's")
    with pytest.raises(NotADirectoryError) as caught:
        await path.cleanup()
    assert caught.value.filename == path
    os.unlink(path)
