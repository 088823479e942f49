"""`rsyscall.unistd.fs`: files by name."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import rsyscall.path
from rsyscall.far import AddressSpaceMismatchError, FDTableMismatchError
from rsyscall.fcntl import AT, O
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.handle.fd import InvalidHandleError
from rsyscall.handle.pointer import ReadablePointer
from rsyscall.near import SYS, SyscallInterface
from rsyscall.near import types as near
from rsyscall.near.abi import ABIS
from rsyscall.near.record import CallRecord
from rsyscall.unistd import OK, RENAME, Pipe, _openat

from .helpers import forked, no_calls, sharer, stranger
from .support import Local, forget, null_fds, open_fds


async def open_directory(local: Local, path: Any, flags: O = O.PATH | O.DIRECTORY) -> Any:
    return await local.task.open(await local.ptr(path), flags)


def permissions(path: Path) -> int:
    return path.stat().st_mode & 0o7777


# Opening


async def test_open(local: Local, tmp_path: Path) -> None:
    path = await local.ptr(tmp_path / "file")
    fd = await local.task.open(path, O.WRONLY | O.CREAT | O.EXCL, 0o640)
    assert fd.task is local.task
    assert not os.get_inheritable(int(fd))
    assert permissions(tmp_path / "file") == 0o640
    assert path.valid
    with pytest.raises(FileExistsError) as info:
        await local.task.open(path, O.WRONLY | O.CREAT | O.EXCL)
    assert info.value.filename == tmp_path / "file"


async def test_open_takes_strings_and_paths(local: Local, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (str(tmp_path / "file"), tmp_path / "file", rsyscall.path.Path(str(tmp_path)) / "file"):
        fd = await local.task.open(await local.ptr(path), O.RDONLY)
        assert os.readlink(f"/proc/self/fd/{int(fd)}") == str(tmp_path / "file")


async def test_openat(local: Local, tmp_path: Path) -> None:
    directory = await open_directory(local, tmp_path)
    fd = await directory.openat(await local.ptr("below"), O.RDWR | O.CREAT)
    assert not os.get_inheritable(int(fd))
    assert permissions(tmp_path / "below") == 0o644
    with pytest.raises(FileNotFoundError) as info:
        await directory.openat(await local.ptr("missing"), O.RDONLY)
    assert info.value.filename == "missing"


async def test_open_names_the_path_whatever_the_errno(local: Local, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for path, flags, code in [
        ("/nonexistent", O.RDONLY, errno.ENOENT),
        ("/dev/null/x", O.RDONLY, errno.ENOTDIR),
        ("/dev/null", O.DIRECTORY, errno.ENOTDIR),
        ("/", O.RDWR, errno.EISDIR),
        (str(tmp_path / "loop"), O.RDONLY, errno.ELOOP),
        ("x" * 300, O.RDONLY, errno.ENAMETOOLONG),
        ("", O.RDONLY, errno.ENOENT),
    ]:
        with pytest.raises(OSError, match="Errno") as info:
            await local.task.open(await local.ptr(path), flags)
        assert (info.value.errno, info.value.filename) == (code, path)


async def test_no_descriptor_is_left_when_opening_fails(local: Local) -> None:
    before = open_fds()
    with pytest.raises(FileNotFoundError):
        await local.task.open(await local.ptr("/nonexistent"), O.RDONLY)
    assert open_fds() == before


async def test_open_flags_are_those_of_the_target(local: Local) -> None:
    """What is O_DIRECTORY here is O_DIRECT there."""
    seen: list[Any] = []

    class Recorder(SyscallInterface):
        abi = ABIS["aarch64"]

        async def syscall(self, *args: Any) -> int:
            seen.append(args)
            return 5

        async def close_interface(self) -> None: ...

        def get_activity_fd(self) -> None: ...

    await _openat(Recorder(), CallRecord(), None, near.Address(0), O.DIRECTORY | O.NOFOLLOW | O.CREAT, 0)
    assert seen[0][:5] == (SYS.openat, AT.FDCWD, near.Address(0), 0o40000 | 0o100000 | 0o100, 0)


# Making and removing names


async def test_directories(local: Local, tmp_path: Path) -> None:
    path = await local.ptr(tmp_path / "made")
    await local.task.mkdir(path, 0o700)
    assert permissions(tmp_path / "made") == 0o700
    with pytest.raises(FileExistsError) as info:
        await local.task.mkdir(path)
    assert info.value.filename == tmp_path / "made"
    with pytest.raises(IsADirectoryError) as info:
        await local.task.unlink(path)
    assert info.value.filename == tmp_path / "made"
    (tmp_path / "made" / "child").touch()
    with pytest.raises(OSError, match="not empty") as info:
        await local.task.rmdir(path)
    assert info.value.filename == tmp_path / "made"
    await local.task.unlink(await local.ptr(tmp_path / "made" / "child"))
    await local.task.rmdir(path)
    assert not (tmp_path / "made").exists()
    await local.task.mkdir(path)
    assert permissions(tmp_path / "made") == 0o755 & ~_umask()


def _umask() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    raise AssertionError


async def test_directories_below_a_descriptor(local: Local, tmp_path: Path) -> None:
    directory = await open_directory(local, tmp_path)
    name = await local.ptr("made")
    await directory.mkdirat(name, 0o711)
    assert permissions(tmp_path / "made") == 0o711
    with pytest.raises(IsADirectoryError):
        await directory.unlinkat(name)
    await directory.rmdirat(name)
    await directory.mkdirat(name)
    await directory.unlinkat(name, AT.REMOVEDIR)
    for call in (directory.rmdirat, directory.unlinkat):
        with pytest.raises(FileNotFoundError) as info:
            await call(name)
        assert info.value.filename == "made"


async def test_links(local: Local, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("same")
    a, b = await local.ptr(tmp_path / "a"), await local.ptr(tmp_path / "b")
    await local.task.link(a, b)
    assert (tmp_path / "a").stat().st_ino == (tmp_path / "b").stat().st_ino
    with pytest.raises(FileExistsError) as info:
        await local.task.link(a, b)
    assert (info.value.filename, info.value.filename2) == (tmp_path / "a", tmp_path / "b")


async def test_links_between_directories(local: Local, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one" / "a").touch()
    one, two = [await open_directory(local, tmp_path / name) for name in ("one", "two")]
    a, b = await local.ptr("a"), await local.ptr("b")
    await one.linkat(a, two, b)
    await one.linkat(a, None, await local.ptr(tmp_path / "c"))
    await local.task.linkat(None, await local.ptr(tmp_path / "c"), one, b)
    await local.task.linkat(two, b, None, await local.ptr(tmp_path / "d"))
    assert (tmp_path / "d").stat().st_nlink == 5
    for call in (one.linkat(a, two, b), local.task.linkat(one, a, two, b)):
        with pytest.raises(FileExistsError) as info:
            await call
        assert (info.value.filename, info.value.filename2) == ("a", "b")


@pytest.mark.needs("CAP_DAC_READ_SEARCH")
@forked
async def test_link_to_a_file_without_a_name(local: Local, tmp_path: Path) -> None:
    fd = await local.task.open(await local.ptr(tmp_path), O.TMPFILE | O.RDWR, 0o600)
    await fd.write(await local.ptr(b"was nameless"))
    await fd.linkat(await local.ptr(""), None, await local.ptr(tmp_path / "named"), AT.EMPTY_PATH)
    assert (tmp_path / "named").read_text() == "was nameless"


async def test_renaming(local: Local, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    a, b = await local.ptr(tmp_path / "a"), await local.ptr(tmp_path / "b")
    await local.task.rename(a, b)
    assert (tmp_path / "b").read_text() == "a"
    with pytest.raises(FileNotFoundError) as info:
        await local.task.rename(a, b)
    assert (info.value.filename, info.value.filename2) == (tmp_path / "a", tmp_path / "b")


async def test_renaming_between_directories(local: Local, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text(name)
    one, two = [await open_directory(local, tmp_path / name) for name in ("one", "two")]
    f = await local.ptr("f")
    with pytest.raises(FileExistsError) as info:
        await one.renameat(f, two, f, RENAME.NOREPLACE)
    assert (info.value.filename, info.value.filename2) == ("f", "f")
    await one.renameat(f, two, f, RENAME.EXCHANGE)
    assert (tmp_path / "one" / "f").read_text() == "two"
    await local.task.renameat(two, f, one, f)
    assert (tmp_path / "one" / "f").read_text() == "one"
    await one.renameat(f, None, await local.ptr(tmp_path / "g"))
    await local.task.renameat(None, await local.ptr(tmp_path / "g"), two, f)
    assert (tmp_path / "two" / "f").read_text() == "one"


async def test_symbolic_links(local: Local, tmp_path: Path) -> None:
    link = await local.ptr(tmp_path / "link")
    await local.task.symlink(await local.ptr("to/where"), link)
    valid, rest = await local.task.readlink(link, await local.malloc(str, 100))
    assert isinstance(valid, ReadablePointer)
    assert await valid.read() == "to/where"
    assert rest.size() == 92
    cut, _ = (valid + rest).split(3)
    valid, rest = await local.task.readlink(link, cut)
    assert (await valid.read(), rest.size()) == ("to/", 0)
    with pytest.raises(FileExistsError) as info:
        await local.task.symlink(await local.ptr("again"), link)
    assert (info.value.filename, info.value.filename2) == ("again", tmp_path / "link")


async def test_symbolic_links_below_a_descriptor(local: Local, tmp_path: Path) -> None:
    directory = await open_directory(local, tmp_path)
    name = await local.ptr("link")
    await directory.symlinkat(await local.ptr("target"), name)
    valid, _ = await directory.readlinkat(name, await local.malloc(rsyscall.path.Path, 100))
    assert await valid.read() == rsyscall.path.Path("target")
    itself = await directory.openat(name, O.PATH | O.NOFOLLOW)
    valid, rest = await itself.readlinkat(await local.ptr(""), await local.malloc(str, 100))
    assert await valid.read() == "target"
    with pytest.raises(FileNotFoundError) as info:
        await directory.readlinkat(await local.ptr(""), rest)
    assert info.value.filename == ""
    with pytest.raises(OSError, match="Invalid argument") as info:
        await directory.readlinkat(await local.ptr("."), rest)
    assert info.value.filename == "."
    assert rest.valid
    with pytest.raises(FileExistsError) as info:
        await directory.symlinkat(await local.ptr("target"), name)
    assert (info.value.filename, info.value.filename2) == ("target", "link")


# Permissions, owners, sizes


@forked
async def test_access(local: Local, tmp_path: Path) -> None:
    (tmp_path / "file").touch(mode=0o640)
    tmp_path.chmod(0o755)
    directory = await open_directory(local, tmp_path)
    path, name = await local.ptr(tmp_path / "file"), await local.ptr("file")
    await local.task.access(path, OK.R | OK.W)
    await directory.faccessat(name, OK.F)
    with pytest.raises(PermissionError) as info:
        await local.task.access(path, OK.X)
    assert info.value.filename == tmp_path / "file"
    with pytest.raises(FileNotFoundError) as info:
        await directory.faccessat(await local.ptr("none"), OK.F)
    assert info.value.filename == "none"


@pytest.mark.needs("other users")
@forked
async def test_access_obeys_its_flags(local: Local, tmp_path: Path) -> None:
    """The plain call ignores them."""
    (tmp_path / "dangling").symlink_to("nowhere")
    directory = await open_directory(local, tmp_path)
    for call, path in [
        (directory.faccessat, await local.ptr("dangling")),
        (local.task.access, await local.ptr(tmp_path / "dangling")),
    ]:
        with pytest.raises(FileNotFoundError):
            await call(path, OK.F)
        await call(path, OK.F, AT.SYMLINK_NOFOLLOW)
    (tmp_path / "secret").touch(mode=0o600)
    for parent in [tmp_path, *tmp_path.parents]:
        if parent.stat().st_uid == 0 and not parent.stat().st_mode & 1:
            parent.chmod(parent.stat().st_mode | 0o5)
    os.setresuid(65534, 0, 0)
    secret = await local.ptr("secret")
    await directory.faccessat(secret, OK.R, AT.EACCESS)
    with pytest.raises(PermissionError):
        await directory.faccessat(secret, OK.R)


async def test_permissions(local: Local, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = await local.ptr(tmp_path / "file")
    fd = await local.task.open(path, O.RDONLY)
    await fd.fchmod(0o4700)
    assert permissions(tmp_path / "file") == 0o4700
    await local.task.chmod(path, 0o611)
    assert permissions(tmp_path / "file") == 0o611
    directory = await open_directory(local, tmp_path)
    await directory.fchmodat(await local.ptr("file"), 0o622)
    assert permissions(tmp_path / "file") == 0o622
    with pytest.raises(FileNotFoundError) as info:
        await directory.fchmodat(await local.ptr("none"), 0)
    assert info.value.filename == "none"
    with pytest.raises(FileNotFoundError) as info:
        await local.task.chmod(await local.ptr("/nonexistent"), 0)
    assert info.value.filename == "/nonexistent"
    with pytest.raises(OSError, match="Bad file descriptor") as info:
        await directory.fchmod(0o755)  # it is open with O.PATH
    assert info.value.filename is directory


async def test_permissions_with_flags(local: Local, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    directory = await open_directory(local, tmp_path)
    link = await local.ptr("link")
    with pytest.raises(OSError, match="Errno") as info:
        await directory.fchmodat(link, 0o600, AT.SYMLINK_NOFOLLOW)
    if info.value.errno == errno.ENOSYS:
        pytest.skip("kernel: no fchmodat2 before Linux 6.6")
    assert info.value.errno == errno.EOPNOTSUPP  # so the link was not followed
    assert info.value.filename == "link"


@pytest.mark.needs("other users")
@forked
async def test_owners(local: Local, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    path, link = await local.ptr(tmp_path / "file"), await local.ptr(tmp_path / "link")

    def owner(name: str) -> tuple[int, int]:
        stat = (tmp_path / name).lstat()
        return stat.st_uid, stat.st_gid

    await local.task.chown(path, 1, 2)
    assert owner("file") == (1, 2)
    await local.task.chown(link, -1, 3)
    assert owner("file") == (1, 3)
    await local.task.lchown(link, 4, 5)
    assert (owner("file"), owner("link")) == ((1, 3), (4, 5))
    fd = await local.task.open(path, O.RDONLY)
    await fd.fchown(6, -1)
    assert owner("file") == (6, 3)
    directory = await open_directory(local, tmp_path)
    await directory.fchownat(await local.ptr("link"), 7, 8, AT.SYMLINK_NOFOLLOW)
    assert (owner("file"), owner("link")) == ((6, 3), (7, 8))
    os.setresuid(65534, 65534, 65534)
    with pytest.raises(PermissionError) as info:
        await fd.fchown(0, 0)
    assert info.value.filename is fd
    for call in (local.task.chown, local.task.lchown):
        with pytest.raises(OSError, match="Errno") as info:
            await call(link, 0, 0)
        assert info.value.filename == tmp_path / "link"
    with pytest.raises(OSError, match="Errno") as info:
        await directory.fchownat(await local.ptr("file"), 0, 0)
    assert info.value.filename == "file"


async def test_sizes(local: Local, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    path = await local.ptr(tmp_path / "file")
    fd = await local.task.open(path, O.RDWR)
    await fd.ftruncate(4)
    assert (tmp_path / "file").read_bytes() == b"0123"
    await local.task.truncate(path, 6)
    assert (tmp_path / "file").read_bytes() == b"0123\0\0"
    with pytest.raises(OSError, match="Invalid argument") as info:
        await fd.ftruncate(-1)
    assert info.value.filename is fd
    with pytest.raises(FileNotFoundError) as info:
        await local.task.truncate(await local.ptr("/nonexistent"), 0)
    assert info.value.filename == "/nonexistent"


async def test_syncing(local: Local, tmp_path: Path) -> None:
    fd = await local.task.open(await local.ptr(tmp_path / "file"), O.RDWR | O.CREAT)
    await fd.write(await local.ptr(b"kept"))
    await fd.fsync()
    await fd.fdatasync()
    pipe = await (await local.task.pipe(await local.malloc(Pipe))).read()
    for call in (pipe.read.fsync, pipe.read.fdatasync):
        with pytest.raises(OSError, match="Invalid argument") as info:
            await call()
        assert info.value.filename is pipe.read
    nowhere = await local.task.open(await local.ptr("/proc"), O.PATH)
    with pytest.raises(OSError, match="Bad file descriptor") as info:
        await nowhere.syncfs()
    assert info.value.filename is nowhere
    # Nothing has to be written there, so it does not take long.
    proc = await local.task.open(await local.ptr("/proc"), O.DIRECTORY)
    await proc.syncfs()
    await local.task.sync()


# Misuse

Call = Callable[..., Awaitable[Any]]

# name of the method: the arguments, of which "path" and "buf" are pointers and "dir" a descriptor
DESCRIPTOR_CALLS: dict[str, tuple[Any, ...]] = {
    "readlinkat": ("path", "buf"),
    "faccessat": ("path", OK.F),
    "openat": ("path", O.RDONLY),
    "mkdirat": ("path",),
    "unlinkat": ("path",),
    "rmdirat": ("path",),
    "linkat": ("path", "dir", "path"),
    "renameat": ("path", "dir", "path"),
    "symlinkat": ("path", "path"),
    "fchmodat": ("path", 0),
    "fchownat": ("path", 0, 0),
    "fchmod": (0,),
    "fchown": (0, 0),
    "ftruncate": (0,),
    "fsync": (),
    "fdatasync": (),
    "syncfs": (),
}
TASK_CALLS: dict[str, tuple[Any, ...]] = {
    "readlink": ("path", "buf"),
    "access": ("path", 0),
    "open": ("path", O.RDONLY),
    "mkdir": ("path",),
    "unlink": ("path",),
    "rmdir": ("path",),
    "link": ("path", "path"),
    "linkat": ("dir", "path", "dir", "path"),
    "rename": ("path", "path"),
    "renameat": ("dir", "path", "dir", "path"),
    "symlink": ("path", "path"),
    "chmod": ("path", 0),
    "chown": ("path", 0, 0),
    "lchown": ("path", 0, 0),
    "truncate": ("path", 0),
}


@pytest.mark.parametrize("name", [*DESCRIPTOR_CALLS, *(f"task.{name}" for name in TASK_CALLS)])
async def test_misuse_raises_before_any_call(local: Local, name: str) -> None:
    other_table, other_memory = sharer(local, fds=False), stranger()
    fd, closed, foreign = null_fds(local.task, 3)
    foreign = other_table.make_fd_handle(foreign.near) if forget(foreign) else None
    await closed.close()
    good = {"path": await local.ptr("path"), "buf": await local.malloc(bytes, 8), "dir": fd}
    freed = {"path": await local.ptr("path"), "buf": await local.malloc(bytes, 8)}
    for ptr in freed.values():
        ptr.free()
    strange = {"path": await other_memory.ptr("path"), "buf": await other_memory.malloc(bytes, 8)}
    if name.startswith("task."):
        form, call = TASK_CALLS[name[5:]], getattr(local.task, name[5:])
    else:
        form, call = DESCRIPTOR_CALLS[name], getattr(fd, name)
    cases: list[tuple[type[Exception], Call, list[Any]]] = []
    arguments = [good.get(argument, argument) if isinstance(argument, str) else argument for argument in form]
    for index, argument in enumerate(form):
        bad: list[tuple[type[Exception], Any]] = []
        if argument in ("path", "buf"):
            bad = [(UseAfterFreeError, freed[argument]), (AddressSpaceMismatchError, strange[argument])]
        elif argument == "dir":
            bad = [(InvalidHandleError, closed), (FDTableMismatchError, foreign)]
        cases += [(error, call, [*arguments[:index], value, *arguments[index + 1 :]]) for error, value in bad]
    if not name.startswith("task."):
        cases.append((InvalidHandleError, getattr(closed, name), arguments))
    with no_calls(local.task, other_table):
        for error, method, values in cases:
            with pytest.raises(error):
                await method(*values)
    assert all(ptr.valid for key, ptr in good.items() if key != "dir")
    forget(foreign)
    os.close(int(foreign))
