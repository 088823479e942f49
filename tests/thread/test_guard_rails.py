"""Mistakes of the first hour: the error says what was wrong, and what to do."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from support import local_thread, sh

from rsyscall.command import Command
from rsyscall.environ import ExecutableNotFound
from rsyscall.far import FDTableMismatchError
from rsyscall.fcntl import O
from rsyscall.handle.fd import InvalidHandleError
from rsyscall.sys.mount import MS


async def test_blocking_descriptor_for_asynchronous_use() -> None:
    pipe = await local_thread.pipe()
    with pytest.raises(ValueError, match="set_nonblock=True"):
        await local_thread.make_afd(pipe.read)
    afd = await local_thread.make_afd(pipe.read, set_nonblock=True)
    await pipe.write.close()
    assert await afd.read_some_bytes() == b""
    await afd.close()


async def test_text_where_a_pointer_is_wanted() -> None:
    text: Any = "/x"
    task = local_thread.task
    pointer = await local_thread.ptr(Path("/nonexistent"))
    for call in (
        task.open(text, O.RDONLY),
        task.chdir(text),
        task.rename(text, pointer),
        task.rename(pointer, text),
        task.link(pointer, text),
        task.symlink(text, pointer),
        task.pivot_root(pointer, text),
        task.umount(text),
        task.mount(pointer, pointer, text, MS.NONE, pointer),
        task.sethostname(text),
    ):
        with pytest.raises(TypeError, match=r"await thread\.ptr\('/x'\)"):
            await call


async def test_text_where_a_command_is_wanted() -> None:
    child = await local_thread.clone()
    text: Any = "ls"
    async with child.process:
        for call in (
            child.exec(text),
            local_thread.run(text),
            local_thread.run(text, capture=True),
            local_thread.prepare().exec(text),
        ):
            with pytest.raises(TypeError, match=r"expected a Command, not 'ls'.*environ\.which"):
                await call


async def test_number_where_a_handle_is_wanted() -> None:
    number: Any = 3
    with pytest.raises(TypeError, match="pass_fds"):
        await local_thread.stdin.dup2(number)


async def test_descriptor_that_was_opened_after_the_clone() -> None:
    child = await local_thread.clone()
    async with child.process, await local_thread.task.open(await local_thread.ptr("/"), O.PATH) as fd:
        with pytest.raises(FDTableMismatchError) as caught:
            child.inherit_fd(fd)
        assert "open it before the clone" in str(caught.value)
        assert not str(caught.value).startswith("(")


async def test_closed_handle_prints_as_text() -> None:
    fd = await local_thread.task.open(await local_thread.ptr("/"), O.PATH)
    await fd.close()
    with pytest.raises(InvalidHandleError) as caught:
        await fd.fcntl(1)
    assert str(caught.value).startswith("handle is no longer valid: FD(")


def test_asyncio() -> None:
    async def main() -> None:
        await local_thread.run(sh("true"))

    with pytest.raises(RuntimeError, match=r"rsyscall\.Portal"):
        asyncio.run(main())


async def test_missing_program_is_a_missing_file() -> None:
    with pytest.raises(FileNotFoundError) as caught:
        await local_thread.environ.which("no-such-program")
    assert isinstance(caught.value, ExecutableNotFound)
    assert caught.value.filename == "no-such-program"
    assert str(caught.value).startswith("no-such-program: no such program in ")


async def test_search_stops_at_the_first_hit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for directory in (first, second):
        directory.mkdir()
        (directory / "program").write_text("#!/bin/sh\n")
        (directory / "program").chmod(0o755)
    monkeypatch.setenv("PATH", f"{first}:{second}")
    asked: list[bytes] = []
    task = local_thread.task
    syscalls = type(task.sysif).syscalls

    async def counted(self: Any, calls: Any, linked: bool = False) -> list[int]:
        asked.append(b"".join(str(call.number).encode() for call in calls))
        assert len(calls) == 1
        return await syscalls(self, calls, linked)

    monkeypatch.setattr(type(task.sysif), "syscalls", counted)
    command = await local_thread.environ.which("program")
    assert os.fspath(command.executable_path) == str(first / "program")
    assert len(asked) == 1
    assert isinstance(command, Command)


@pytest.mark.needs("other users")
async def test_search_asks_for_the_ids_that_exec_goes_by(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        base.chmod(0o755)
        for name, mode in (("first", 0o700), ("second", 0o755)):
            (base / name).mkdir()
            (base / name / "program").write_text("#!/bin/sh\n")
            (base / name / "program").chmod(mode)
        monkeypatch.setenv("PATH", f"{base}/first:{base}/second")
        child = await local_thread.clone()
        await child.task.setresuid(-1, 65534, -1)
        command = await child.environ.which("program")
        assert os.fspath(command.executable_path) == f"{base}/second/program"
        await (await child.exec(command)).check()
