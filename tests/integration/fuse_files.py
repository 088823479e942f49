"""A file system for tests, and what processes see of one."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path as LocalPath

import trio

from rsyscall.fuse_filesystem import Filesystem
from rsyscall.linux import fuse
from rsyscall.linux.dirent import DT
from rsyscall.linux.fuse import FUSE_ROOT_ID, FuseAttr
from rsyscall.sched import CLONE
from rsyscall.sys.stat import TypeMode
from rsyscall.tasks.local import local_thread
from rsyscall.thread import ChildThread, Thread
from rsyscall.time import Timespec

from .support import cloned

SECONDS = 100
NEVER, LONG = Timespec(0, 0), Timespec(1000, 0)


class Files(Filesystem):
    """Files with given contents, in one directory. What reads them can be replaced."""

    def __init__(self, **contents: bytes) -> None:
        self.contents = contents
        self.names = dict(enumerate(contents, FUSE_ROOT_ID + 1))
        self.valid = NEVER
        self.forgotten: list[tuple[int, int]] = []
        self.has_forgotten = trio.Event()
        self.destroyed = 0
        self.on_read: Callable[[fuse.FuseReadOp, bytes], Awaitable[bytes]] | None = None

    def attr(self, nodeid: int) -> FuseAttr:
        root = nodeid == FUSE_ROOT_ID
        mode = TypeMode.from_int(0o40755 if root else 0o100644)
        size = 0 if root else len(self.contents[self.names[nodeid]])
        return FuseAttr(nodeid, size, 0, NEVER, NEVER, NEVER, mode, 1, 0, 0, 0, 4096)

    async def lookup(self, op: fuse.FuseLookupOp) -> fuse.FuseEntryOut:
        for nodeid, name in self.names.items():
            if name == op.name:
                return fuse.FuseEntryOut(nodeid, 0, self.valid, self.valid, self.attr(nodeid))
        raise FileNotFoundError(errno.ENOENT, "no such name", op.name)

    async def getattr(self, op: fuse.FuseGetattrOp) -> fuse.FuseAttrOut:
        return fuse.FuseAttrOut(self.valid, self.attr(op.hdr.nodeid))

    async def readdir(self, op: fuse.FuseReaddirOp) -> list[fuse.FuseDirent]:
        entries = [fuse.FuseDirent(n, n, DT.REG, name) for n, name in self.names.items()]
        return op.fitting(entry for entry in entries if entry.off > op.msg.offset)

    async def read(self, op: fuse.FuseReadOp) -> bytes:
        data = self.contents[self.names[op.hdr.nodeid]][op.msg.offset :][: op.msg.size]
        return data if self.on_read is None else await self.on_read(op, data)

    def forget(self, nodeid: int, nlookup: int) -> None:
        self.forgotten.append((nodeid, nlookup))
        self.has_forgotten.set()

    async def destroy(self) -> None:
        self.destroyed += 1


@asynccontextmanager
async def namespace(flags: CLONE = CLONE.NEWNS) -> AsyncIterator[ChildThread]:
    """A child with mounts of its own."""
    async with cloned(local_thread, flags) as child:
        await child.make_rprivate()
        yield child


async def mounts(thread: Thread, path: LocalPath) -> bool:
    return f" {path} " in (await thread.read_file("/proc/self/mountinfo")).decode()


def _is_ours(pid: str) -> bool:
    """Whether a process descends from this one."""
    while pid not in ("0", "1"):
        if int(pid) == os.getpid():
            return True
        # Behind the name, which may have anything in it.
        pid = (LocalPath("/proc") / pid / "stat").read_text().rpartition(")")[2].split()[1]
    return False


def openers() -> list[int]:
    """The processes of ours that have /dev/fuse open."""
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        # Processes and descriptors may go meanwhile.
        with contextlib.suppress(OSError):
            for number in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    if os.readlink(f"/proc/{pid}/fd/{number}") == "/dev/fuse" and _is_ours(pid):
                        found.add(int(pid))
    return sorted(found)


async def failing(user: Thread, path: LocalPath) -> int | None:
    """The error of reading a file; 0 if there is none."""
    try:
        await user.read_file(path)
    except OSError as error:
        return error.errno
    return 0
