"""Short forms for files: by their paths, and by their descriptors."""

from __future__ import annotations

import errno
import os
import signal
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path as LocalPath
from typing import Any

import pytest
import trio
from support import local_thread
from waiting import wait_until

from rsyscall.far import FDTableMismatchError
from rsyscall.fcntl import O
from rsyscall.linux.dirent import DT
from rsyscall.path import Path
from rsyscall.sys.socket import AF, SOCK
from rsyscall.thread import Thread

LATIN = os.fsdecode(b"\xe9t\xe9")


@pytest.fixture(params=["ring", "stream", "own memory", "local"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The program's own process, and a child of each kind."""
    monkeypatch.setenv("RSYSCALL_TRANSPORT", "stream" if request.param == "stream" else "ring")
    return str(request.param)


@asynccontextmanager
async def process_of(kind: str) -> AsyncIterator[Thread]:
    """A process in which the forms are tried."""
    if kind == "local":
        yield local_thread
        return
    child = await local_thread.clone(own_memory=kind == "own memory")
    async with child.process:
        yield child


async def test_whole_files(kind: str, tmp_path: LocalPath) -> None:
    async with process_of(kind) as thread:
        path = tmp_path / "file"
        data = os.urandom(300_000)
        await thread.write_file(path, data, 0o640)
        assert path.read_bytes() == await thread.read_file(path) == data
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        await thread.write_file(str(path), "short")
        await thread.write_file(os.fsencode(path), memoryview(b" and more"), append=True)
        assert await thread.read_file(os.fsencode(path)) == b"short and more"
        assert (await thread.read_file("/proc/self/cmdline")) != b""


async def test_file_is_replaced_in_one_step(kind: str, tmp_path: LocalPath) -> None:
    async with process_of(kind) as thread:
        path = tmp_path / ("long" * 60)
        path.write_text("old")
        with path.open() as opened:
            await thread.write_file(path, b"new", 0o600, atomic=True)
            assert opened.read() == "old"
        assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", 0o600)
        assert os.listdir(tmp_path) == [path.name]


async def test_failed_replacement_leaves_nothing(kind: str, tmp_path: LocalPath) -> None:
    async with process_of(kind) as thread:
        (tmp_path / "directory").mkdir()
        with pytest.raises(IsADirectoryError):
            await thread.write_file(tmp_path / "directory", b"new", atomic=True)
        with pytest.raises(TypeError, match="expected bytes or text, not 5"):
            await thread.write_file(tmp_path / "new", 5, atomic=True)  # type: ignore[arg-type] # what is tested
        assert os.listdir(tmp_path) == ["directory"]


async def test_names_and_kinds(kind: str, tmp_path: LocalPath) -> None:
    async with process_of(kind) as thread:
        (tmp_path / LATIN).write_text("x" * 5)
        (tmp_path / "directory").mkdir()
        await thread.symlink(LATIN, tmp_path / "link")
        await thread.symlink("nowhere", tmp_path / "broken")
        await thread.link(tmp_path / LATIN, tmp_path / "same")
        assert sorted(await thread.listdir(tmp_path)) == sorted(
            ["broken", "directory", "link", "same", LATIN]
        )
        kinds = {entry.name: entry.type for entry in await thread.scandir(tmp_path)}
        assert (kinds["directory"], kinds["link"], kinds[LATIN]) == (DT.DIR, DT.LNK, DT.REG)
        assert await thread.readlink(tmp_path / "link") == LATIN
        assert (
            (await thread.stat(tmp_path / "link")).size,
            (await thread.stat(tmp_path / "same")).nlink,
        ) == (5, 2)
        assert (await thread.lstat(tmp_path / "link")).size == 3

        async def answers(name: str) -> tuple[bool, bool, bool]:
            path = tmp_path / name
            return await thread.exists(path), await thread.is_file(path), await thread.is_dir(path)

        assert await answers("link") == (True, True, False)
        assert await answers("directory") == (True, False, True)
        for name in ("broken", "missing", "same/below"):
            assert await answers(name) == (False, False, False)


async def test_long_target_of_a_link(kind: str, tmp_path: LocalPath) -> None:
    async with process_of(kind) as thread:
        os.symlink("x" * 4000, tmp_path / "link")
        assert await thread.readlink(tmp_path / "link") == "x" * 4000


async def test_large_directory(kind: str, tmp_path: LocalPath) -> None:
    async with process_of(kind) as thread:
        names = {f"{number:0200}" for number in range(400)}
        for name in names:
            (tmp_path / name).touch()
        assert set(await thread.listdir(tmp_path)) == names


async def test_directories_are_made_and_removed(kind: str, tmp_path: LocalPath) -> None:
    async with process_of(kind) as thread:
        deep = Path(tmp_path, "a", "b", "c")
        with pytest.raises(FileNotFoundError):
            await thread.mkdir(deep)
        assert await thread.mkdir(deep, 0o700, parents=True) is deep
        assert stat.S_IMODE(os.stat(deep).st_mode) == 0o700
        assert await thread.mkdir(f"{deep}/", exist_ok=True, parents=True) == f"{deep}/"
        with pytest.raises(FileExistsError):
            await thread.mkdir(deep, parents=True)
        (tmp_path / "file").touch()
        with pytest.raises(FileExistsError):
            await thread.mkdir(tmp_path / "file", exist_ok=True)
        with pytest.raises(NotADirectoryError):
            await thread.mkdir(tmp_path / "file" / "below", parents=True)
        with pytest.raises(OSError, match="not empty"):
            await thread.rmdir(deep.parent)
        await thread.rmdir(deep)
        assert not await thread.exists(deep)


async def test_missing_relative_directory(kind: str) -> None:
    async with process_of(kind) as thread:
        with pytest.raises(FileNotFoundError):
            await thread.mkdir("missing-directory/x")
        with pytest.raises(FileNotFoundError):
            await thread.mkdir("", parents=True)


async def test_tree_is_removed(kind: str, tmp_path: LocalPath) -> None:
    async with process_of(kind) as thread:
        (tmp_path / "tree" / "deep").mkdir(parents=True)
        (tmp_path / "tree" / "deep" / "file").touch()
        (tmp_path / "kept").mkdir()
        (tmp_path / "kept" / "file").touch()
        (tmp_path / "tree" / "link").symlink_to(tmp_path / "kept")
        (tmp_path / "link").symlink_to(tmp_path / "tree")
        with pytest.raises(NotADirectoryError):
            await thread.rmtree(tmp_path / "link")
        await thread.rmtree(f"{tmp_path}/tree/")
        assert sorted(os.listdir(tmp_path)) == ["kept", "link"]
        assert os.listdir(tmp_path / "kept") == ["file"]
        with pytest.raises(FileNotFoundError):
            await thread.rmtree(tmp_path / "tree")
        for path in ("/", ".", tmp_path / "kept" / ".."):
            with pytest.raises(ValueError, match="by its own name"):
                await thread.rmtree(path)


async def test_tree_is_walked(kind: str, tmp_path: LocalPath) -> None:
    async with process_of(kind) as thread:
        for name in ("a/b", "a/c", "d"):
            (tmp_path / name).mkdir(parents=True)
        (tmp_path / "a" / "file").touch()
        (tmp_path / "d" / "up").symlink_to("..")
        seen = {}
        async for directory, subdirectories, others in thread.walk(tmp_path):
            seen[os.path.relpath(directory, tmp_path)] = (sorted(subdirectories), others)
            if "b" in subdirectories:
                subdirectories.remove("b")
        assert seen == {
            ".": (["a", "d"], []),
            "a": (["b", "c"], ["file"]),
            "a/c": ([], []),
            "d": ([], ["up"]),
        }
        with pytest.raises(FileNotFoundError):
            async for _ in thread.walk(tmp_path / "missing"):
                pass


async def test_directory_that_disappears_is_left_out(tmp_path: LocalPath) -> None:
    (tmp_path / "gone").mkdir()
    seen = []
    async for directory, _, _ in local_thread.walk(tmp_path):
        seen.append(directory)
        (tmp_path / "gone").rmdir()
    assert seen == [Path(tmp_path)]


@pytest.mark.parametrize("instead", ["link", "file"])
async def test_what_takes_the_place_of_a_directory_is_not_entered(tmp_path: LocalPath, instead: str) -> None:
    for name in ("top/gone", "top/there", "outside/secret"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to("top")
    seen = []
    # The first one may be a link.
    async for directory, _, _ in local_thread.walk(tmp_path / "link"):
        if not seen:
            (tmp_path / "top" / "gone").rmdir()
            if instead == "link":
                (tmp_path / "top" / "gone").symlink_to("../outside")
            else:
                (tmp_path / "top" / "gone").touch()
        seen.append(directory.name)
    assert seen == ["link", "there"]


async def test_names_are_changed(kind: str, tmp_path: LocalPath) -> None:
    async with process_of(kind) as thread:
        (tmp_path / "old").write_text("old")
        await thread.rename(tmp_path / "old", tmp_path / "new")
        await thread.chmod(tmp_path / "new", 0o400)
        await thread.chown(tmp_path / "new", -1, -1)
        await thread.symlink("missing", tmp_path / "link")
        await thread.chown(tmp_path / "link", -1, -1, follow_symlinks=False)
        with pytest.raises(FileNotFoundError):
            await thread.chown(tmp_path / "link", -1, -1)
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o400
        await thread.unlink(tmp_path / "new")
        await thread.unlink(tmp_path / "new", missing_ok=True)
        with pytest.raises(FileNotFoundError) as caught:
            await thread.unlink(tmp_path / "new")
        assert caught.value.filename == tmp_path / "new"


async def test_descriptors(kind: str, tmp_path: LocalPath) -> None:
    async with process_of(kind) as thread:
        async with await thread.open(tmp_path / "file", O.RDWR | O.CREAT | O.EXCL, 0o600) as file:
            await thread.write_all(file, f"{LATIN} and more")
            await file.lseek(0, 0)
            assert await thread.read(file, 3) == b"\xe9t\xe9"
            assert await thread.read(file) == b" and more"
            assert await thread.read(file) == b""
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
        memory = await thread.memfd_create("memory")
        async with memory:
            await thread.write_all(memory, bytearray(5))
            assert (await thread.readlink(f"/proc/self/fd/{memory.near.number}")).startswith("/memfd:memory")


async def test_the_process_itself(kind: str) -> None:
    async with process_of(kind) as thread:
        assert await thread.getcwd() == os.getcwd()
        assert (await thread.uname()).nodename == os.uname().nodename
        assert await thread.getgroups() == os.getgroups()


async def test_descriptors_are_sent(kind: str, tmp_path: LocalPath) -> None:
    async with process_of(kind) as thread:
        (tmp_path / "file").write_text("contents")
        pair = await thread.socketpair(AF.UNIX, SOCK.STREAM)
        async with pair.first, pair.second, await thread.open(tmp_path / "file") as file:
            assert await thread.send_fds(pair.first, b"two", [file, file]) == 3
            data, received = await thread.recv_fds(pair.second, 100, 2)
            assert (data, len(received)) == (b"two", 2)
            assert await thread.read_to_eof(received[0]) == b"contents"
            for fd in received:
                await fd.close()
            await thread.send_fds(pair.first, b"none", [])
            assert await thread.recv_fds(pair.second, 100, 1) == (b"none", [])
            # The kernel drops what there is no room for.
            await thread.send_fds(pair.first, b"x", [file, file, file])
            _, received = await thread.recv_fds(pair.second, 100, 1)
            assert 1 <= len(received) <= 2
            for fd in received:
                await fd.close()
            await pair.first.close()
            assert await thread.recv_fds(pair.second, 100, 1) == (b"", [])


async def test_descriptor_of_another_process_is_not_sent() -> None:
    pair = await local_thread.socketpair(AF.UNIX, SOCK.STREAM)
    async with pair.first, pair.second, process_of("ring") as child:
        file = await child.open("/dev/null")
        with pytest.raises(FDTableMismatchError):
            await local_thread.send_fds(pair.first, b"x", [file])
        await file.close()


@pytest.mark.parametrize(
    ("method", "arguments", "error", "words"),
    [
        ("open", ("/dev/null", "r"), TypeError, "members of O"),
        ("open", (5,), TypeError, "not int"),
        ("open", ("/dev/null\0x",), ValueError, "null|NUL"),
        ("read_file", (None,), TypeError, "NoneType"),
        ("stat", (3.5,), TypeError, "float"),
        ("write_file", ("/tmp/x", b"", 0o644, True), TypeError, "positional"),
    ],
)
async def test_misuse(method: str, arguments: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        await getattr(local_thread, method)(*arguments)


@pytest.mark.parametrize("data", [None, 5, ["text"], "\ud800"])
@pytest.mark.parametrize("options", [{}, {"append": True}, {"atomic": True}])
async def test_what_cannot_be_written_leaves_the_file_alone(
    kind: str, tmp_path: LocalPath, data: Any, options: dict[str, bool]
) -> None:
    (tmp_path / "file").write_text("contents")
    async with process_of(kind) as thread:
        for name in "file", "missing":
            with pytest.raises((TypeError, UnicodeEncodeError)):
                await thread.write_file(tmp_path / name, data, **options)
    assert (tmp_path / "file").read_text() == "contents"
    assert os.listdir(tmp_path) == ["file"]


async def test_errors_are_about_the_path(kind: str, tmp_path: LocalPath) -> None:
    (tmp_path / "directory").mkdir()
    full = LocalPath("/dev/full")
    async with process_of(kind) as thread:
        for path, use in (
            (tmp_path / "directory", thread.read_file),
            (tmp_path / "directory", lambda path: thread.write_file(path, b"x", atomic=True)),
            (tmp_path / "no" / "file", lambda path: thread.write_file(path, b"x", atomic=True)),
            (full, lambda path: thread.write_file(path, b"x")),
            (tmp_path / "no", lambda path: names_in(thread, path)),
        ):
            with pytest.raises(OSError) as caught:
                await use(path)
            assert (caught.value.filename, caught.value.filename2) == (path, None)
            with pytest.raises(OSError) as caught:
                await use(os.fsencode(path))
            assert (caught.value.filename, caught.value.filename2) == (str(path), None)
        assert sorted(os.listdir(tmp_path)) == ["directory"]
        with pytest.raises(FileNotFoundError):
            await names_in(thread, "")


async def names_in(thread: Thread, top: Any) -> list[str]:
    return [str(directory) async for directory, _, _ in thread.walk(top)]


async def test_owners_and_permissions(kind: str, tmp_path: LocalPath) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    path.touch(0o640)
    link.symlink_to(path)
    async with process_of(kind) as thread:
        for owner, group in ((2**32, 0), (0, 2**32), (-2, 0), (2**32 - 1, 0)):
            with pytest.raises(ValueError, match="32 bits"):
                await thread.chown(path, owner, group)
        names: Any = "root"
        with pytest.raises(TypeError):
            await thread.chown(path, names, names)
        await thread.chown(path, -1, -1)
        try:
            await thread.chmod(path, 0o600, follow_symlinks=False)
        except OSError as error:
            assert error.errno == errno.ENOSYS  # noqa: PT017 (it may work)
        else:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            with pytest.raises(OSError) as caught:
                await thread.chmod(link, 0o644, follow_symlinks=False)
            assert (caught.value.errno, caught.value.filename) == (errno.EOPNOTSUPP, link)


async def test_sizes_and_modes_are_numbers() -> None:
    wrong: Any = "1M"
    for options in ({"size": wrong}, {"mode": wrong}):
        with pytest.raises(TypeError, match=r"(size|mode): expected a number, not '1M'"):
            await local_thread.mount_tmpfs("/does/not/exist", **options)
    with pytest.raises(ValueError, match=r"size: .* not negative"):
        await local_thread.mount_tmpfs("/does/not/exist", size=-1)


async def test_contradictions() -> None:
    with pytest.raises(ValueError, match="append, atomic"):
        await local_thread.write_file("/dev/null", b"", append=True, atomic=True)
    for path in ("/", "/tmp/..", ""):
        with pytest.raises(ValueError, match="expected that of a file"):
            await local_thread.write_file(path, b"", atomic=True)


async def test_large_input_lets_other_tasks_go_on(tmp_path: LocalPath) -> None:
    """A cancelled walk ends; it does not only when it comes to its end."""
    (tmp_path / "a").mkdir()
    with trio.CancelScope() as scope:
        scope.cancel()
        async for _ in local_thread.walk(tmp_path):
            pytest.fail("not cancelled")
    assert scope.cancelled_caught


async def test_a_signal_interrupts_what_waits_here(tmp_path: LocalPath) -> None:
    """In the program's own process; in a child nothing of the program is interrupted."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    handled = []
    before = signal.signal(signal.SIGALRM, lambda *_: handled.append("signal"))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(InterruptedError):
            await local_thread.read_file(fifo)
        assert handled == ["signal"]
        child = await local_thread.clone()
        async with child.process, trio.open_nursery() as nursery:

            async def read() -> None:
                assert await child.read_file(fifo) == b"written"

            signal.setitimer(signal.ITIMER_REAL, 0.1)
            nursery.start_soon(read)
            await wait_until(lambda: len(handled) == 2)
            fifo.write_bytes(b"written")
    finally:
        signal.signal(signal.SIGALRM, before)
