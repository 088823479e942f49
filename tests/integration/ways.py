"""Every way of getting a thread. A test of a thread must give the same outcome for all of them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from rsyscall.command import Command
from rsyscall.native import stub_path
from rsyscall.path import Path
from rsyscall.sched import CLONE
from rsyscall.settings import spin_budgets
from rsyscall.tasks.local import local_thread
from rsyscall.tasks.persistent import clone_persistent
from rsyscall.tasks.stdin_bootstrap import stdin_bootstrap
from rsyscall.tasks.stdio import stdio_bootstrap
from rsyscall.tasks.stub import StubServer
from rsyscall.thread import ChildThread, Thread
from rsyscall.trace import Tracer

from .far_ways import FAR
from .filters import deny_in

EVERYTHING_NEW = CLONE.NEWUSER | CLONE.NEWPID | CLONE.NEWNET | CLONE.NEWNS | CLONE.NEWUTS | CLONE.NEWIPC

_NAMESPACES = {
    CLONE.NEWUSER: "user namespaces",
    CLONE.NEWPID: "pid namespaces",
    CLONE.NEWNET: "network namespaces",
    CLONE.NEWNS: "mount namespaces",
    CLONE.NEWUTS: "uts namespaces",
    CLONE.NEWIPC: "ipc namespaces",
}


@dataclass(frozen=True)
class Way:
    """One way of getting a thread.

    Attributes:
        name: of the way.
        open: gives a thread, whose process is gone when the context is left.
        transport: how processes that share our memory are driven meanwhile.
        flags: what the process does not share with us, or shares although that is not the rule.
        own_memory: whether it has memory of its own.
        also_needs: what the place has to permit, beside what `flags` say.
        slow: whether it takes long to get there.
    """

    name: str
    open: Callable[[], AbstractAsyncContextManager[Thread]]
    transport: str = "ring"
    flags: CLONE = CLONE.NONE
    own_memory: bool = False
    also_needs: tuple[str, ...] = ()
    slow: bool = False

    @property
    def needs(self) -> list[str]:
        """What the place has to permit."""
        return [*self.also_needs, *(name for flag, name in _NAMESPACES.items() if self.flags & flag)]

    @property
    def is_local(self) -> bool:
        """Whether the thread is that of this program: blocking it blocks everything."""
        return self.name == "local"


@contextlib.asynccontextmanager
async def ending(child: ChildThread) -> AsyncIterator[ChildThread]:
    """Kill and reap the process in the end."""
    async with child.process:
        yield child


@contextlib.asynccontextmanager
async def _local() -> AsyncIterator[Thread]:
    yield local_thread


def _clone(*levels: CLONE, own_memory: int = 0) -> Callable[[], AbstractAsyncContextManager[Thread]]:
    """A child, a child of that, and so on: the flags that each is cloned with.

    Args:
        own_memory: from which level on they have memory of their own, where 1 is the first; 0: none has.
    """

    @contextlib.asynccontextmanager
    async def open() -> AsyncIterator[Thread]:
        thread: Thread = local_thread
        async with contextlib.AsyncExitStack() as stack:
            for level, flags in enumerate(levels, 1):
                child = await thread.clone(flags, own_memory=level == own_memory)
                thread = await stack.enter_async_context(ending(child))
            yield thread

    return open


@contextlib.asynccontextmanager
async def _mixed(first: str, second: str) -> AsyncIterator[Thread]:
    """A child that is driven in one way, of a child that is driven in another."""
    os.environ["RSYSCALL_TRANSPORT"] = first
    async with ending(await local_thread.clone()) as child:
        os.environ["RSYSCALL_TRANSPORT"] = second
        async with ending(await child.clone()) as grandchild:
            yield grandchild


@contextlib.asynccontextmanager
async def _orphan() -> AsyncIterator[Thread]:
    """The child of a process that executed another program after it had cloned the child."""
    async with ending(await local_thread.clone()) as middle:
        async with ending(await middle.clone()) as child:
            await middle.execv("/bin/sleep", ["sleep", "inf"])
            yield child


@contextlib.asynccontextmanager
async def _without_spinning(own_memory: bool = False) -> AsyncIterator[Thread]:
    """Every call has to wake the process, and every answer the program."""
    hub = local_thread.loader.hub
    assert hub is not None
    hub.set_spin(0, 0)
    try:
        async with ending(await local_thread.clone(own_memory=own_memory)) as child:
            yield child
    finally:
        hub.set_spin(*spin_budgets())


@contextlib.asynccontextmanager
async def _traced(own_memory: bool = False) -> AsyncIterator[Thread]:
    lines: list[str] = []
    tracer = Tracer(lines.append)
    with tracer.tracing(local_thread.task, "local"):
        async with ending(await local_thread.clone(own_memory=own_memory)) as child:
            tracer.name(child.task, "child")
            yield child
    tracer.enabled = False
    assert tracer.failure is None
    assert lines


def _behind_a_command(levels: int) -> Callable[[], AbstractAsyncContextManager[Thread]]:
    """The process at the other end of a command; or a child of that, and so on."""

    @contextlib.asynccontextmanager
    async def open() -> AsyncIterator[Thread]:
        async with contextlib.AsyncExitStack() as stack:
            thread: Thread
            thread = await stdio_bootstrap(local_thread, Command("/bin/sh", ["sh", "-c"], {}))
            await stack.enter_async_context(thread)
            for _ in range(levels):
                thread = await stack.enter_async_context(ending(await thread.clone()))
            yield thread

    return open


@contextlib.asynccontextmanager
async def _executed_by_another() -> AsyncIterator[Thread]:
    """A process that another program has started, which sees it killed in the end."""
    async with contextlib.AsyncExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        server = await stack.enter_async_context(
            await StubServer.make(local_thread, Path(directory), "program")
        )
        with subprocess.Popen([f"{directory}/program"]) as process:
            _, thread = await server.accept()
            async with thread:
                yield thread
            process.wait(20)


def _persistent(
    reconnected: bool, elsewhere: bool = False
) -> Callable[[], AbstractAsyncContextManager[Thread]]:
    """A persistent process, over its first or its second connection.

    Args:
        elsewhere: whether its parent is reached by nothing but the stream of a command.
    """

    @contextlib.asynccontextmanager
    async def open() -> AsyncIterator[Thread]:
        async with contextlib.AsyncExitStack() as stack:
            directory = stack.enter_context(tempfile.TemporaryDirectory())
            parent: Thread = local_thread
            if elsewhere:
                parent = await stack.enter_async_context(_behind_a_command(0)())
            persistent = await clone_persistent(parent, f"{directory}/socket")
            try:
                await persistent.make_persistent()
                if reconnected:
                    await persistent.reconnect(parent)
                yield persistent
            finally:
                await persistent.end()

    return open


@contextlib.asynccontextmanager
async def _with_the_input_of_a_command() -> AsyncIterator[Thread]:
    command = Command("/bin/sh", ["sh", "-c", '"$0" stdin', stub_path()], {})
    _, thread = await stdin_bootstrap(local_thread, command)
    async with thread:
        yield thread


DENIED_IN_CHILD = "RSYSCALL_TEST_DENIED_IN_CHILD"
"""Variable for `tools/denied.py`: an errno and calls, which processes deny themselves in two more ways."""


@contextlib.asynccontextmanager
async def _denied() -> AsyncIterator[Thread]:
    """A child that has installed a filter of its own."""
    verdict, calls = os.environ[DENIED_IN_CHILD].split()
    async with ending(await local_thread.clone()) as child:
        await deny_in(child, verdict, calls.split(","))
        yield child


def _ways() -> list[Way]:
    ways = [Way("local", _local)]
    if DENIED_IN_CHILD in os.environ:
        ways += [Way(f"{transport}-denied", _denied, transport) for transport in ("ring", "stream")]
    for transport in ("ring", "stream"):

        def add(name: str, *levels: CLONE, transport: str = transport) -> None:
            flags = CLONE.NONE
            for level in levels:
                flags |= level
            ways.append(Way(f"{transport}-{name}", _clone(*levels), transport, flags))

        add("child", CLONE.NONE)
        add("sharing-files", CLONE.FILES | (CLONE.FS if transport == "ring" else CLONE.NONE))
        add("user-namespace", CLONE.NEWUSER)
        add("pid-namespace", CLONE.NEWUSER | CLONE.NEWPID)
        add("all-namespaces", EVERYTHING_NEW)
        add("grandchild", CLONE.NONE, CLONE.NONE)
        add("child-of-init", CLONE.NEWUSER | CLONE.NEWPID, CLONE.NONE)
        ways.append(Way(f"{transport}-without-spinning", _without_spinning, transport))
        ways.append(Way(f"{transport}-traced", _traced, transport))
    add("net-namespace", CLONE.NEWUSER | CLONE.NEWNET, transport="ring")
    add("mount-namespace", CLONE.NEWUSER | CLONE.NEWNS, transport="ring")
    add("uts-namespace", CLONE.NEWUSER | CLONE.NEWUTS, transport="ring")
    add("grandchild-sharing-files", CLONE.FILES, CLONE.FILES, transport="ring")
    add("init-in-init", CLONE.NEWUSER | CLONE.NEWPID, CLONE.NEWPID, transport="ring")
    ways.append(Way("orphan", _orphan))

    def own(name: str, *levels: CLONE, first: int = 1, transport: str = "ring") -> None:
        flags = CLONE.NONE
        for level in levels:
            flags |= level
        ways.append(
            Way(
                f"own-memory-{transport}-{name}",
                _clone(*levels, own_memory=first),
                transport,
                flags,
                own_memory=True,
            )
        )

    own("child", CLONE.NONE)
    own("user-namespace", CLONE.NEWUSER)
    own("all-namespaces", EVERYTHING_NEW)
    own("grandchild", CLONE.NONE, CLONE.NONE)
    own("child-of-init", CLONE.NEWUSER | CLONE.NEWPID, CLONE.NONE)
    own("of-a-child", CLONE.NONE, CLONE.NONE, first=2)
    own("of-an-init", CLONE.NEWUSER | CLONE.NEWPID, CLONE.NONE, first=2)
    own("child", CLONE.NONE, transport="stream")
    own("all-namespaces", EVERYTHING_NEW, transport="stream")
    own("grandchild", CLONE.NONE, CLONE.NONE, transport="stream")
    ways.append(
        Way("own-memory-ring-without-spinning", lambda: _without_spinning(own_memory=True), own_memory=True)
    )
    ways.append(Way("own-memory-traced", lambda: _traced(own_memory=True), own_memory=True))
    ways.append(Way("stdio", _behind_a_command(0), own_memory=True))
    ways.append(Way("stdio-grandchild", _behind_a_command(2), own_memory=True))
    ways.append(Way("stdin", _with_the_input_of_a_command, own_memory=True))
    ways.append(Way("stub", _executed_by_another, own_memory=True))
    ways.append(Way("persistent", _persistent(False), own_memory=True))
    ways.append(Way("persistent-reconnected", _persistent(True), own_memory=True))
    ways.append(Way("persistent-elsewhere", _persistent(True, elsewhere=True), own_memory=True))
    for far, (open, needs) in FAR.items():
        ways.append(Way(far, open, own_memory=True, also_needs=needs, slow=True))
    ways.append(Way("ring-on-stream", lambda: _mixed("stream", "ring")))
    ways.append(Way("stream-on-ring", lambda: _mixed("ring", "stream"), "stream"))
    return ways


# For `tools/denied.py`: the names of the only ways to take.
_only = os.environ.get("RSYSCALL_TEST_WAYS", "").split()
WAYS = [way for way in _ways() if not _only or way.name in _only]
