"""Ports, and other calls that only some architectures have."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from rsyscall.near import LocalSyscall, UnsupportedSyscallError
from rsyscall.near.abi import ABIS, native_abi

from .helpers import forked, refused
from .support import Local


class Foreign(LocalSyscall):
    """Of another architecture, as far as is seen before a call is made."""

    abi = ABIS["aarch64"]


async def test_a_call_that_the_architecture_lacks_is_refused_by_name(local: Local) -> None:
    local.task.sysif = Foreign()
    with pytest.raises(UnsupportedSyscallError, match="aarch64 has no system call ioperm"):
        await local.task.ioperm(0x80, 1, True)
    with pytest.raises(UnsupportedSyscallError, match="aarch64 has no system call iopl"):
        await local.task.iopl(3)


def test_the_number_is_that_of_the_architecture() -> None:
    for abi in ABIS.values():
        assert int(abi.call("openat")) == abi.number("openat")


@forked
async def test_ports(local: Local, tmp_path: Path) -> None:
    if native_abi().name != "x86_64":
        pytest.skip("kernel: it is not for x86_64")
    task = local.task
    error = await refused(task.ioperm(0x80, 1, True), errno.EPERM, errno.ENOSYS)
    assert error is None or error.filename == (0x80, 1)
    error = await refused(task.ioperm(0xFFFF, 2, False), errno.EINVAL, errno.ENOSYS)
    assert error is not None
    error = await refused(task.iopl(3), errno.EPERM, errno.ENOSYS)
    assert error is None or error.filename == 3
    error = await refused(task.iopl(4), errno.EINVAL, errno.ENOSYS)
    assert error is not None
