"""Moving a process into new namespaces one call at a time, and asking it after each where it is."""

from __future__ import annotations

import trio

from rsyscall import ChildThread, local_thread
from rsyscall.sched import CLONE


async def describe(thread: ChildThread, where: str) -> None:
    """Print which user the process is, its host name, and whether there is a note in /mnt."""
    uid = await thread.task.getuid()
    host = (await thread.uname()).nodename
    note = "a note" if await thread.exists("/mnt/note") else "no note"
    print(f"{where + ':':<28} user {uid}, host {host}, {note} in /mnt")


async def main() -> None:
    child = await local_thread.clone()
    async with child.process:
        await describe(child, "at first")

        # From here on, until it executes cat, the program's memory is undumpable: see SECURITY.md.
        await child.unshare_user(in_namespace_uid=0, in_namespace_gid=0)
        await describe(child, "in a new user namespace")

        await child.unshare(CLONE.NEWUTS)
        await child.sethostname("elsewhere")
        await describe(child, "in a new uts namespace")

        await child.unshare(CLONE.NEWNS)
        await child.make_rprivate()
        await child.mount_tmpfs("/mnt")
        await child.write_file("/mnt/note", "only we see this\n")
        await describe(child, "in a new mount namespace")

        # What a command sees that is executed now.
        cat = await child.environ.which("cat")
        process = await child.exec(cat.args("/mnt/note"))
        await process.check()


if __name__ == "__main__":
    trio.run(main)
