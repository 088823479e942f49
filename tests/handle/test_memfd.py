"""`rsyscall.linux.memfd`."""

from __future__ import annotations

import os

import pytest

from rsyscall.far import AddressSpaceMismatchError
from rsyscall.fcntl import F
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.linux.memfd import MFD
from rsyscall.path import Path

from .helpers import no_calls, stranger
from .support import Local


async def test_file_in_memory(local: Local) -> None:
    fd = await local.task.memfd_create(await local.ptr("scratch"))
    assert os.readlink(f"/proc/self/fd/{int(fd)}") == "/memfd:scratch (deleted)"
    assert not os.get_inheritable(int(fd))
    assert fd.task is local.task


async def test_name_may_be_a_path(local: Local) -> None:
    fd = await local.task.memfd_create(await local.ptr(Path("a") / "b"))
    assert "memfd:a/b" in os.readlink(f"/proc/self/fd/{int(fd)}")


async def test_sealing_must_be_allowed(local: Local) -> None:
    name = await local.ptr("x")
    assert await (await local.task.memfd_create(name)).fcntl(F.GET_SEALS) & 1
    assert not await (await local.task.memfd_create(name, MFD.ALLOW_SEALING)).fcntl(F.GET_SEALS) & 1


async def test_errors_name_the_file(local: Local) -> None:
    name = await local.ptr("n" * 250)
    with pytest.raises(OSError, match="Invalid argument") as info:
        await local.task.memfd_create(name)
    assert info.value.filename == "n" * 250


async def test_misuse_raises_before_any_call(local: Local) -> None:
    foreign = await stranger().ptr("x")
    freed = await local.ptr("x")
    freed.free()
    with no_calls(local.task):
        with pytest.raises(AddressSpaceMismatchError):
            await local.task.memfd_create(foreign)
        with pytest.raises(UseAfterFreeError):
            await local.task.memfd_create(freed)


def test_sizes_are_encoded_logarithms() -> None:
    for name, flag in MFD.__members__.items():
        if name.startswith("HUGE_"):
            digits = name[5:-2]
            unit = {"KB": 10, "MB": 20, "GB": 30}[name[-2:]]
            assert flag >> 26 == (int(digits) << unit).bit_length() - 1
