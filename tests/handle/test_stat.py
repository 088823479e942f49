"""`rsyscall.sys.stat`."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsyscall.far import AddressSpaceMismatchError
from rsyscall.fcntl import AT, O
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.handle.arguments import CALLS, DIRFD, PATH, Enumeration, Memory
from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.handle.fd import InvalidHandleError
from rsyscall.near import ABI, SYS, SyscallInterface
from rsyscall.near.abi import ABIS
from rsyscall.near.types import Address
from rsyscall.sys.stat import (
    S_I,
    S_IF,
    STATX,
    STATX_ATTR,
    UTIME,
    FileTimes,
    Mode,
    Stat,
    Statx,
    StatxTimestamp,
    TypeMode,
    _statx,
)
from rsyscall.time import Timespec

from .helpers import no_calls, stranger
from .support import Local, forget

u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
size = st.integers(0, 2**63 - 1)
times = st.builds(Timespec, st.integers(-(2**40), 2**40), st.integers(0, 999_999_999))
stats = st.builds(
    Stat,
    dev=u64,
    ino=u64,
    mode=st.integers(0, 0o177777).map(TypeMode.from_int),
    nlink=u32,
    uid=u32,
    gid=u32,
    rdev=u64,
    size=size,
    blksize=st.integers(0, 2**31 - 1),
    blocks=size,
    atime=times,
    mtime=times,
    ctime=times,
)


async def fstat(local: Local, path: Any, flags: O = O.PATH) -> Stat:
    fd = await local.task.open(await local.ptr(path), flags)
    try:
        return await (await fd.fstat(await local.malloc(Stat))).read()
    finally:
        await fd.close()


def assert_same(ours: Stat, theirs: os.stat_result) -> None:
    for name in ("dev", "ino", "mode", "nlink", "uid", "gid", "rdev", "size", "blksize", "blocks"):
        assert getattr(ours, name) == getattr(theirs, f"st_{name}"), name
    for name in ("atime", "mtime", "ctime"):
        assert getattr(ours, name).to_nanos() == getattr(theirs, f"st_{name}_ns"), name


async def test_agrees_with_python(local: Local, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    path.chmod(0o4751)
    assert_same(await fstat(local, path), path.stat())
    assert_same(await fstat(local, "/dev/null"), os.stat("/dev/null"))


async def test_times_before_1970(local: Local, tmp_path: Path) -> None:
    path = tmp_path / "old"
    path.touch()
    os.utime(path, ns=(-1_500_000_000, -1))
    found = await fstat(local, path)
    assert found.atime == Timespec(-2, 500_000_000)
    assert found.mtime == Timespec(-1, 999_999_999)
    assert (found.atim, found.mtim, found.ctim) == (found.atime, found.mtime, found.ctime)


async def test_mode_is_a_kind_and_permissions(local: Local, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo", 0o600)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "socket"))
    tmp_path.chmod(0o1750)
    assert (await fstat(local, tmp_path)).mode == TypeMode(S_IF.DIR, Mode(0o1750))
    assert (await fstat(local, tmp_path / "link", O.PATH | O.NOFOLLOW)).mode.type is S_IF.LNK
    assert (await fstat(local, tmp_path / "fifo")).mode == TypeMode(S_IF.FIFO, Mode(0o600))
    assert (await fstat(local, tmp_path / "socket")).mode.type is S_IF.SOCK
    assert (await fstat(local, "/dev/null")).mode.type is S_IF.CHR
    tmp_path.chmod(0o700)


async def test_file_without_a_kind(local: Local) -> None:
    fd = await local.task.memfd_create(await local.ptr("x"))
    number = await local.task.sysif.syscall(SYS.epoll_create1, os.O_CLOEXEC)
    epoll = local.task.make_fd_handle(type(fd.near)(number))
    found = await (await epoll.fstat(await local.malloc(Stat))).read()
    assert found.mode == 0o600
    assert found.mode.type == 0


@given(st.integers(0, 0o177777))
def test_type_mode_is_the_number(number: int) -> None:
    mode = TypeMode.from_int(number)
    assert int(mode) == number
    assert mode == number
    assert mode == TypeMode(mode.type, mode.mode)
    assert mode != number + 1
    assert isinstance(mode.type, S_IF)


def test_mode_is_shown_in_octal() -> None:
    assert repr(Mode(0o755)) == str(Mode(0o755)) == "0o755"
    assert repr(Mode(0o4)) == "0o004"
    assert "0o644" in repr(TypeMode.from_int(0o100644))
    assert TypeMode(S_IF.REG, Mode(0)) != "REG"


def test_fifo_has_two_names() -> None:
    assert S_IF.FIFO is S_IF.IFO
    assert S_I.RWXU == S_I.RUSR | S_I.WUSR | S_I.XUSR
    assert S_IF(0).name == "0o0"
    with pytest.raises(ValueError, match="text"):
        S_IF("text")


@given(stats)
def test_survives_serialisation(stat: Stat) -> None:
    assert len(stat.to_bytes()) == Stat.sizeof() == 144
    assert Stat.from_bytes(stat.to_bytes()) == stat
    assert isinstance(Stat.from_bytes(stat.to_bytes()).mode, TypeMode)


def test_mode_may_be_given_as_a_number() -> None:
    zero = Timespec(0, 0)
    stat = Stat(0, 0, 0o40755, 0, 0, 0, 0, 0, 0, 0, zero, zero, zero)  # type: ignore[arg-type]  # converted
    assert stat.mode == TypeMode(S_IF.DIR, Mode(0o755))


class OtherArchitecture(SyscallInterface):
    def __init__(self, abi: ABI) -> None:
        self.abi = abi

    async def syscall(self, number: SYS, *args: Any) -> int:
        raise AssertionError

    async def close_interface(self) -> None: ...

    def get_activity_fd(self) -> None: ...


@pytest.mark.parametrize("name", list(ABIS))
@given(stat=stats)
def test_survives_serialisation_for_every_architecture(name: str, stat: Stat) -> None:
    local = Local.make()
    local.task.sysif = OtherArchitecture(ABIS[name])
    serializer = Stat.get_serializer(local.task)
    assert len(serializer.to_bytes(stat)) == 144 >= ABIS[name].stat.size
    assert serializer.from_bytes(serializer.to_bytes(stat)) == stat


def test_layouts_differ_where_the_kernel_says_so() -> None:
    local = Local.make()
    zero = Timespec(0, 0)
    stat = Stat(1, 2, TypeMode.from_int(3), 4, 5, 6, 7, 8, 9, 10, zero, zero, zero)
    images = {}
    for name in ABIS:
        local.task.sysif = OtherArchitecture(ABIS[name])
        images[name] = Stat.get_serializer(local.task).to_bytes(stat)
    assert images["x86_64"][16:28] == (4).to_bytes(8, "little") + (3).to_bytes(4, "little")
    assert images["aarch64"][16:24] == (3).to_bytes(4, "little") + (4).to_bytes(4, "little")
    assert images["aarch64"] == images["riscv64"]


async def test_misuse_raises_before_any_call(local: Local) -> None:
    fd = await local.task.open(await local.ptr("/"), O.PATH)
    foreign = await stranger().malloc(Stat)
    freed = await local.malloc(Stat)
    freed.free()
    small, _ = (await local.malloc(Stat)).split(143)
    with no_calls(local.task):
        with pytest.raises(AddressSpaceMismatchError):
            await fd.fstat(foreign)
        with pytest.raises(UseAfterFreeError):
            await fd.fstat(freed)
        with pytest.raises(ValueError, match="144 bytes"):
            await fd.fstat(small)
    await fd.close()
    with no_calls(local.task), pytest.raises(InvalidHandleError):
        await fd.fstat(await local.malloc(Stat))


async def test_by_path(local: Local, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    buf = await local.malloc(Stat)
    link = await local.ptr(tmp_path / "link")
    assert_same(await (await local.task.stat(link, buf)).read(), (tmp_path / "file").stat())
    assert_same(await (await local.task.lstat(link, buf)).read(), (tmp_path / "link").lstat())
    async with await local.task.open(await local.ptr(tmp_path), O.PATH) as directory:
        link = await local.ptr("link")
        assert_same(await (await directory.fstatat(link, buf)).read(), (tmp_path / "file").stat())
        found = await (await directory.fstatat(link, buf, AT.SYMLINK_NOFOLLOW)).read()
        assert found.mode.type is S_IF.LNK
        itself = await directory.fstatat(await local.ptr(""), buf, AT.EMPTY_PATH)
        assert_same(await itself.read(), tmp_path.stat())
        with pytest.raises(FileNotFoundError) as info:
            await directory.fstatat(await local.ptr("nothing"), buf)
        assert info.value.filename == "nothing"
    with pytest.raises(FileNotFoundError) as info:
        await local.task.stat(await local.ptr(tmp_path / "nothing"), buf)
    assert info.value.filename == tmp_path / "nothing"


async def test_misuse_by_path_raises_before_any_call(local: Local) -> None:
    root = await local.ptr("/")
    buf = await local.malloc(Stat)
    foreign = await stranger().malloc(Stat)
    freed = await local.malloc(Stat)
    freed.free()
    small, _ = (await local.malloc(Stat)).split(143)
    fd = await local.task.open(root, O.PATH)
    await fd.close()
    with no_calls(local.task):
        for call in (local.task.stat, local.task.lstat):
            with pytest.raises(AddressSpaceMismatchError):
                await call(root, foreign)
            with pytest.raises(UseAfterFreeError):
                await call(root, freed)
            with pytest.raises(BufferTooSmallError):
                await call(root, small)
        with pytest.raises(InvalidHandleError):
            await fd.fstatat(root, buf)


async def test_error_names_the_descriptor(local: Local) -> None:
    fd = await local.task.open(await local.ptr("/"), O.PATH)
    os.close(int(fd))  # behind the back of the handle
    with pytest.raises(OSError, match="Bad file descriptor") as info:
        await fd.fstat(await local.malloc(Stat))
    assert info.value.filename is fd
    forget(fd)


async def statx(local: Local, path: Any, flags: AT = AT.NONE, mask: STATX = STATX.BASIC_STATS) -> Statx:
    return await (
        await local.task.statx(await local.ptr(path), flags, mask, await local.malloc(Statx))
    ).read()


def assert_same_as_statx(ours: Statx, theirs: os.stat_result) -> None:
    assert ours.mask & STATX.BASIC_STATS == STATX.BASIC_STATS
    for name in ("ino", "mode", "nlink", "uid", "gid", "size", "blksize", "blocks"):
        assert getattr(ours, name) == getattr(theirs, f"st_{name}"), name
    for name in ("atime", "mtime", "ctime"):
        assert getattr(ours, name).to_nanos() == getattr(theirs, f"st_{name}_ns"), name
    assert (ours.dev_major, ours.dev_minor) == (os.major(theirs.st_dev), os.minor(theirs.st_dev))
    assert (ours.rdev_major, ours.rdev_minor) == (os.major(theirs.st_rdev), os.minor(theirs.st_rdev))


async def test_statx_agrees_with_python(local: Local, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    path.chmod(0o4751)
    (tmp_path / "link").symlink_to("file")
    os.utime(path, ns=(-1_500_000_000, -1))
    for name in (path, "/dev/null", tmp_path / "link"):
        assert_same_as_statx(await statx(local, name), os.stat(name))
    assert_same_as_statx(
        await statx(local, tmp_path / "link", AT.SYMLINK_NOFOLLOW), (tmp_path / "link").lstat()
    )
    async with await local.task.open(await local.ptr(tmp_path), O.PATH) as directory:
        buf = await local.malloc(Statx)
        found = await directory.statx(await local.ptr("file"), AT.STATX_FORCE_SYNC, STATX.BASIC_STATS, buf)
        assert found is buf
        assert_same_as_statx(await found.read(), path.stat())
        await directory.statx(await local.ptr(""), AT.EMPTY_PATH, STATX.BASIC_STATS, buf)
        assert_same_as_statx(await buf.read(), tmp_path.stat())


async def test_statx_knows_when_a_file_was_created(local: Local, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    created = path.stat().st_mtime_ns
    os.utime(path, (1, 1))
    found = await statx(local, path, mask=STATX.BTIME)
    # Not every file system knows.
    if found.mask & STATX.BTIME:
        assert abs(found.btime.to_nanos() - created) < 60_000_000_000
    else:
        assert found.btime == StatxTimestamp(0, 0)


async def test_statx_knows_the_mount(local: Local, tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        info = Path(f"/proc/self/fdinfo/{file.fileno()}").read_text()
    found = await statx(local, tmp_path / "file", mask=STATX.MNT_ID)
    assert found.mask & STATX.MNT_ID
    assert f"mnt_id:\t{found.mnt_id}\n" in info
    assert STATX_ATTR.MOUNT_ROOT in found.attributes_mask
    assert STATX_ATTR.MOUNT_ROOT not in found.attributes
    assert STATX_ATTR.MOUNT_ROOT in (await statx(local, "/proc")).attributes
    unique = await statx(local, tmp_path, mask=STATX.MNT_ID_UNIQUE)
    if unique.mask & STATX.MNT_ID_UNIQUE:
        assert unique.mnt_id >= 2**31


async def test_statx_errors(local: Local, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as info:
        await statx(local, tmp_path / "nothing")
    assert info.value.filename == tmp_path / "nothing"
    for flags, mask in ((AT.STATX_SYNC_TYPE, STATX.NONE), (AT.NONE, STATX._RESERVED)):
        with pytest.raises(OSError, match="Invalid argument"):
            await statx(local, "/", flags, mask)
    root, buf = await local.ptr("/"), await local.malloc(Statx)
    sysif, nowhere = local.task.sysif, Address(1)
    for path, room in ((nowhere, buf.near), (root.near, nowhere)):
        with pytest.raises(OSError, match="Bad address"):
            await _statx(sysif, None, path, AT.NONE, STATX.BASIC_STATS, room)


async def test_statx_misuse_raises_before_any_call(local: Local) -> None:
    root, elsewhere = await local.ptr("/"), await stranger().ptr("/")
    buf, foreign = await local.malloc(Statx), await stranger().malloc(Statx)
    freed, freed_path = await local.malloc(Statx), await local.ptr("/")
    freed.free()
    freed_path.free()
    small, _ = (await local.malloc(Statx)).split(255)
    fd = await local.task.open(root, O.PATH)
    with no_calls(local.task):
        for call in (local.task.statx, fd.statx):
            for path, room, error in (
                (root, foreign, AddressSpaceMismatchError),
                (elsewhere, buf, AddressSpaceMismatchError),
                (root, freed, UseAfterFreeError),
                (freed_path, buf, UseAfterFreeError),
                (root, small, BufferTooSmallError),
            ):
                with pytest.raises(error):
                    await call(path, AT.NONE, STATX.BASIC_STATS, room)
    await fd.close()
    with no_calls(local.task), pytest.raises(InvalidHandleError):
        await fd.statx(root, AT.NONE, STATX.BASIC_STATS, buf)


def test_statx_is_described() -> None:
    """By this a trace shows `statx(AT_FDCWD, "/", 0, STATX_SIZE, {stx_mask=..., ...})`."""
    dirfd, path, flags, mask, buf = CALLS["statx"]
    assert (dirfd, path) == (DIRFD, PATH)
    assert isinstance(flags, Enumeration)
    assert isinstance(mask, Enumeration)
    assert (flags.cls, mask.cls, mask.prefix) == (AT, STATX, "STATX_")
    assert isinstance(buf, Memory)
    assert buf.after
    assert (buf.cls, buf.size) == (Statx, 256)


async def times(local: Local, atime: Timespec, mtime: Timespec) -> Any:
    return await local.ptr(FileTimes(atime, mtime))


async def test_times_of_files(local: Local, tmp_path: Path) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    path.touch()
    link.symlink_to("file")
    omit = Timespec(0, UTIME.OMIT)
    await local.task.utimensat(await local.ptr(path), await times(local, Timespec(1, 2), Timespec(3, 4)))
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (1_000_000_002, 3_000_000_004)
    directory = await local.task.open(await local.ptr(tmp_path), O.DIRECTORY)
    await directory.utimensat(
        await local.ptr("link"), await times(local, omit, Timespec(-5, 6)), AT.SYMLINK_NOFOLLOW
    )
    assert (link.lstat().st_mtime_ns, path.stat().st_mtime_ns) == (-4_999_999_994, 3_000_000_004)
    fd = await local.task.open(await local.ptr(path), O.RDONLY)
    await fd.futimens(await times(local, Timespec(0, UTIME.NOW), omit))
    assert path.stat().st_atime_ns > 2**60
    assert path.stat().st_mtime_ns == 3_000_000_004
    wrong = await times(local, Timespec(0, -1), omit)
    with pytest.raises(OSError, match="Invalid argument") as info:
        await fd.futimens(wrong)
    assert info.value.filename is fd
    with pytest.raises(FileNotFoundError) as info:
        await directory.utimensat(await local.ptr("nothing"), await times(local, omit, Timespec(1, 1)))
    assert info.value.filename == "nothing"
    small, _ = (await local.malloc(FileTimes)).split(31)
    with no_calls(local.task):
        for call in (fd.futimens(small), local.task.utimensat(await local.ptr("/"), small)):
            with pytest.raises(BufferTooSmallError):
                await call


async def test_special_files(local: Local, tmp_path: Path) -> None:
    await local.task.mknod(await local.ptr(tmp_path / "fifo"), S_IF.FIFO | 0o600)
    assert (tmp_path / "fifo").is_fifo()
    directory = await local.task.open(await local.ptr(tmp_path), O.DIRECTORY)
    await directory.mknodat(await local.ptr("file"), S_IF.REG | 0o640)
    assert (tmp_path / "file").stat().st_mode & ~0o7777 == S_IF.REG
    with pytest.raises(FileExistsError) as info:
        await directory.mknodat(await local.ptr("file"), S_IF.REG)
    assert info.value.filename == "file"
    with pytest.raises(PermissionError):
        await directory.mknodat(await local.ptr("directory"), S_IF.DIR | 0o700)
