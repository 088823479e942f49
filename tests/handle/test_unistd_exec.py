"""`rsyscall.unistd.exec`: argument lists and the raw calls. What `Task` makes of them is tested with it."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest

import rsyscall.path
from rsyscall.fcntl import AT
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.near import SyscallHangup, SyscallInterface
from rsyscall.near import types as near
from rsyscall.unistd import ArgList, ArgListSerializer
from rsyscall.unistd.exec import _execve, _execveat, _exit

from .helpers import forked
from .support import Local


async def test_argument_list_is_addresses_and_a_zero(local: Local) -> None:
    strings = ArgList([await local.ptr("echo"), await local.ptr(rsyscall.path.Path("/x"))])
    ptr = await local.ptr(strings)
    assert ptr.size() == 24
    data = strings.get_self_serializer(local.task).to_bytes(strings)
    assert struct.unpack("QQQ", data) == (int(strings[0].near), int(strings[1].near), 0)
    assert (await local.ptr(ArgList())).size() == 8


async def test_argument_list_cannot_be_read_back(local: Local) -> None:
    ptr = await local.ptr(ArgList())
    with pytest.raises(NotImplementedError):
        await ptr.read()


async def test_argument_list_with_a_freed_string_is_refused(local: Local) -> None:
    string = await local.ptr("gone")
    string.free()
    serializer: ArgListSerializer[ArgList] = ArgListSerializer()
    with pytest.raises(UseAfterFreeError):
        serializer.to_bytes(ArgList([string]))


@forked
async def test_raw_exec_without_a_directory(local: Local, tmp_path: Path) -> None:
    receiver, sender = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(sender, 1)
        mine = Local.make()
        argv = await mine.ptr(ArgList([await mine.ptr("echo"), await mine.ptr("ran")]))
        envp = await mine.ptr(ArgList())
        path = await mine.ptr("/bin/echo")
        await _execveat(mine.task.sysif, None, path.near, argv.near, envp.near, AT.NONE)
    os.close(sender)
    assert os.read(receiver, 100) == b"ran\n"
    assert os.waitpid(child, 0)[1] == 0


async def test_raw_exec_raises_what_the_kernel_says(local: Local) -> None:
    empty = await local.ptr(ArgList())
    path = await local.ptr("/nonexistent")
    with pytest.raises(FileNotFoundError):
        await _execve(local.task.sysif, path.near, empty.near, empty.near)
    with pytest.raises(FileNotFoundError):
        await _execveat(local.task.sysif, None, path.near, empty.near, empty.near, 0)


async def test_hang_up_is_what_success_looks_like(local: Local) -> None:
    class HangsUp(SyscallInterface):
        async def syscall(self, *args: Any) -> int:
            raise SyscallHangup

        async def close_interface(self) -> None: ...

        def get_activity_fd(self) -> None: ...

    address = near.Address(0)
    await _execve(HangsUp(), address, address, address)
    await _execveat(HangsUp(), None, address, address, address, 0)
    await _exit(HangsUp(), 0)


def test_raw_exit() -> None:
    child = os.fork()
    if not child:
        local = Local.make()
        _exit(local.task.sysif, 23).send(None)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 23
