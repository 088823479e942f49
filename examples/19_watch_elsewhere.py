"""Watch a directory on another host, and all directories below it. Nothing is installed there.

`19_watch_elsewhere.py DIRECTORY HOST` watches until it is interrupted. HOST may be several arguments of ssh.
"""

from __future__ import annotations

import contextlib
import sys

import trio

from rsyscall import Path, Thread, local_thread
from rsyscall.inotify_watch import Inotify, Watch, WatchRemovedError
from rsyscall.linux.dirent import DT
from rsyscall.sys.inotify import IN
from rsyscall.tasks.ssh import make_ssh_host

CHANGES = IN.CREATE | IN.DELETE | IN.CLOSE_WRITE | IN.MOVED_FROM | IN.MOVED_TO


async def watch_tree(there: Thread, top: Path, lines: trio.MemorySendChannel[str]) -> None:
    """Send a line for each change below a directory of that host; the first says that it is watched."""
    async with await Inotify.make(there) as inotify, trio.open_nursery() as nursery:

        async def add(directory: Path) -> None:
            with contextlib.suppress(FileNotFoundError):  # it is gone already
                nursery.start_soon(follow, await inotify.add(directory, CHANGES | IN.ONLYDIR), directory)
                for entry in await there.scandir(directory):
                    if entry.type == DT.DIR:
                        await add(directory / entry.name)

        async def follow(watch: Watch, directory: Path) -> None:
            with contextlib.suppress(WatchRemovedError):  # the directory is deleted
                while True:
                    for event in await watch.wait():
                        path = directory / (event.name or "")
                        if event.mask & IN.ISDIR and event.mask & (IN.CREATE | IN.MOVED_TO):
                            await add(path)
                        await lines.send(f"{(event.mask & CHANGES).name} {path.relative_to(top)}")

        await add(top)
        await lines.send(f"watching {top.name}")


async def main(directory: str, host: list[str]) -> None:
    ssh_host = await make_ssh_host(local_thread, lambda ssh: ssh.args(*host))
    _, there = await ssh_host.ssh(local_thread)
    send, lines = trio.open_memory_channel[str](100)
    async with there, trio.open_nursery() as nursery:
        nursery.start_soon(watch_tree, there, Path(directory), send)
        async for line in lines:
            print(line, flush=True)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2:])
