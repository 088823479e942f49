"""Moving a process into new namespaces one call at a time, and asking it after each where it is."""

from __future__ import annotations

import trio

from rsyscall import ChildThread, Path, local_thread
from rsyscall.sched import CLONE
from rsyscall.sys.mount import MS
from rsyscall.sys.utsname import Utsname
from rsyscall.unistd import OK


async def describe(thread: ChildThread, where: str) -> None:
    """Print which user the process is, its host name, and whether there is a note in /mnt."""
    uid = await thread.task.getuid()
    uname = await (await thread.task.uname(await thread.malloc(Utsname))).read()
    try:
        await thread.task.access(await thread.ptr("/mnt/note"), OK.F)
        note = "a note"
    except FileNotFoundError:
        note = "no note"
    print(f"{where + ':':<28} user {uid}, host {uname.nodename}, {note} in /mnt")


async def main() -> None:
    child = await local_thread.clone()
    async with child.process:
        await describe(child, "at first")

        # From here on, until it executes cat, the program's memory is undumpable: see SECURITY.md.
        await child.unshare_user(in_namespace_uid=0, in_namespace_gid=0)
        await describe(child, "in a new user namespace")

        await child.unshare(CLONE.NEWUTS)
        await child.task.sethostname(await child.ptr("elsewhere"))
        await describe(child, "in a new uts namespace")

        await child.unshare(CLONE.NEWNS)
        await child.mount("none", "/", "", MS.REC | MS.PRIVATE, "")
        await child.mount("tmpfs", "/mnt", "tmpfs", MS.NOSUID | MS.NODEV, "")
        await child.spit(Path("/mnt/note"), "only we see this\n")
        await describe(child, "in a new mount namespace")

        # What a command sees that is executed now.
        cat = await child.environ.which("cat")
        process = await child.exec(cat.args("/mnt/note"))
        await process.check()


if __name__ == "__main__":
    trio.run(main)
