"""`rsyscall.linux.dirent`: reading directories."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsyscall.far import AddressSpaceMismatchError
from rsyscall.fcntl import O
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.handle.fd import InvalidHandleError
from rsyscall.linux.dirent import DT, Dirent, DirentList

from .helpers import no_calls, stranger
from .support import Local

names = st.binary(min_size=1, max_size=255).filter(lambda b: b"\0" not in b).map(os.fsdecode)
entries = st.builds(
    Dirent, st.integers(0, 2**64 - 1), st.integers(-(2**63), 2**63 - 1), st.sampled_from(DT), names
)


async def read_all(local: Local, fd: Any, size: int = 4096) -> list[Dirent]:
    found: list[Dirent] = []
    buf: Any = await local.malloc(DirentList, size)
    while True:
        valid, rest = await fd.getdents(buf)
        assert valid.size() + rest.size() == size
        if not valid.size():
            return found
        found += await valid.read()
        buf = valid + rest


async def test_kinds_and_inodes(local: Local, tmp_path: Path) -> None:
    (tmp_path / "reg").touch()
    (tmp_path / "dir").mkdir()
    (tmp_path / "lnk").symlink_to("reg")
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "sock"))
    fd = await local.task.open(await local.ptr(tmp_path), O.DIRECTORY)
    found = {entry.name: entry for entry in await read_all(local, fd)}
    assert {name: entry.type for name, entry in found.items()} == {
        ".": DT.DIR,
        "..": DT.DIR,
        "reg": DT.REG,
        "dir": DT.DIR,
        "lnk": DT.LNK,
        "fifo": DT.FIFO,
        "sock": DT.SOCK,
    }
    assert found["reg"].inode == (tmp_path / "reg").stat().st_ino


async def test_devices(local: Local) -> None:
    fd = await local.task.open(await local.ptr("/dev"), O.DIRECTORY)
    kinds = {entry.name: entry.type for entry in await read_all(local, fd)}
    assert kinds["null"] == DT.CHR
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


async def test_long_and_undecodable_names_over_several_calls(local: Local, tmp_path: Path) -> None:
    expected = {"n" * length + str(length) for length in range(1, 250, 7)} | {os.fsdecode(b"\xff\xfe")}
    for name in expected:
        (tmp_path / name).touch()
    fd = await local.task.open(await local.ptr(tmp_path), O.DIRECTORY)
    found = await read_all(local, fd, size=300)
    assert {entry.name for entry in found} == expected | {".", ".."}
    assert len(found) == len(expected) + 2


async def test_buffer_too_small_for_an_entry(local: Local) -> None:
    fd = await local.task.open(await local.ptr("/"), O.DIRECTORY)
    buf = await local.malloc(DirentList, 16)
    with pytest.raises(OSError, match="Invalid argument") as info:
        await fd.getdents(buf)
    assert info.value.filename is fd
    assert buf.valid


async def test_removed_directory(local: Local, tmp_path: Path) -> None:
    directory = tmp_path / "gone"
    directory.mkdir()
    fd = await local.task.open(await local.ptr(directory), O.DIRECTORY)
    directory.rmdir()
    with pytest.raises(FileNotFoundError) as info:
        await fd.getdents(await local.malloc(DirentList, 100))
    assert info.value.filename is fd


async def test_not_a_directory(local: Local) -> None:
    fd = await local.task.open(await local.ptr("/dev/null"), O.RDONLY)
    with pytest.raises(NotADirectoryError):
        await fd.getdents(await local.malloc(DirentList, 100))


async def test_misuse_raises_before_any_call(local: Local) -> None:
    fd = await local.task.open(await local.ptr("/"), O.DIRECTORY)
    foreign = await stranger().malloc(DirentList, 100)
    freed = await local.malloc(DirentList, 100)
    freed.free()
    with no_calls(local.task):
        with pytest.raises(AddressSpaceMismatchError):
            await fd.getdents(foreign)
        with pytest.raises(UseAfterFreeError):
            await fd.getdents(freed)
    await fd.close()
    with no_calls(local.task), pytest.raises(InvalidHandleError):
        await fd.getdents(await local.malloc(DirentList, 100))


@given(st.lists(entries, max_size=6))
def test_list_survives_serialisation(listed: list[Dirent]) -> None:
    data = DirentList(listed).to_bytes()
    assert DirentList.from_bytes(data) == listed
    assert len(data) % 8 == 0


@given(st.lists(entries, min_size=1, max_size=3), st.data())
def test_cut_data_raises(listed: list[Dirent], data: st.DataObject) -> None:
    whole = DirentList(listed).to_bytes()
    cut = data.draw(st.integers(1, len(listed[-1].to_bytes()) - 1))
    with pytest.raises(ValueError, match=r"entry|entries"):
        DirentList.from_bytes(whole[:-cut])


def test_entry_that_claims_no_length_raises() -> None:
    """It would be parsed for ever."""
    with pytest.raises(ValueError, match="claims 0"):
        DirentList.from_bytes(bytes(48))


def test_type_that_has_no_name_is_kept() -> None:
    entry = Dirent(1, 2, DT(9), "x")
    assert DirentList.from_bytes(entry.to_bytes()) == [entry]
    assert isinstance(DT(9), DT)
    assert DT(9) == 9
    assert "9" in repr(DT(9))
    with pytest.raises(ValueError, match="nonsense"):
        DT("nonsense")
