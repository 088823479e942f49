# pyright: reportUnnecessaryTypeIgnoreComment=true
"""Threads, children and the things that wait."""

from __future__ import annotations

from typing_extensions import assert_type

from rsyscall import (
    AsyncChildProcess,
    AsyncFileDescriptor,
    ChildThread,
    Command,
    FileDescriptor,
    Thread,
    local_thread,
)
from rsyscall.completed import CompletedCommand
from rsyscall.epoller import Epoller
from rsyscall.sched import CLONE
from rsyscall.sys.socket import AF, SOCK, Socketpair
from rsyscall.sys.wait import ChildState, W
from rsyscall.unistd.pipe import Pipe


async def cloning(thread: Thread) -> None:
    child = await thread.clone(CLONE.NEWUSER | CLONE.NEWPID)
    assert_type(child, ChildThread)
    assert_type(child.process, AsyncChildProcess)
    assert_type(child.inherit_fd(thread.stdin), FileDescriptor)
    assert_type(await (await child.clone()).exit(0), None)
    assert_type(await child.exec(Command("/bin/true", ["true"], {})), AsyncChildProcess)
    assert_type(await child.process.check(), ChildState)
    assert_type(await child.process.waitpid(W.EXITED), ChildState)
    await thread.exec(Command("/bin/true", ["true"], {}))  # type: ignore[attr-defined]  # only a child can


async def running(thread: Thread) -> None:
    command = await thread.environ.which("true")
    assert_type(command, Command)
    assert_type(command.args("x").env(A="b"), Command)
    assert_type(await thread.run(command), CompletedCommand)
    await thread.run("true")  # type: ignore[arg-type]


async def talking(thread: Thread) -> None:
    assert_type(await thread.pipe(), Pipe[FileDescriptor])
    pair = await thread.socketpair(AF.UNIX, SOCK.STREAM)
    assert_type(pair, Socketpair[FileDescriptor])
    afd = await thread.make_afd(pair.first, set_nonblock=True)
    assert_type(afd, AsyncFileDescriptor)
    assert_type(await afd.read_some_bytes(), bytes)
    assert_type(await thread.open_async_channels(1), list[tuple[AsyncFileDescriptor, FileDescriptor]])
    assert_type(await thread.open_channels(1), list[tuple[FileDescriptor, FileDescriptor]])


async def here() -> None:
    assert_type(local_thread.stdin, FileDescriptor)
    assert_type(local_thread.epoller, Epoller)
    local_thread.nothing  # type: ignore[attr-defined]  # noqa: B018  # not every name is an attribute
