"""A file that only one process can reach, handed to another one, which does not see where it is."""

from __future__ import annotations

import trio

from rsyscall import local_thread
from rsyscall.sched import CLONE
from rsyscall.sys.socket import AF, SOCK

PATH = "/mnt/secret"


async def main() -> None:
    pair = await local_thread.socketpair(AF.UNIX, SOCK.STREAM)
    # It stays beside a command: so it has memory of its own, and of our descriptors only this one.
    keeper = await local_thread.clone(CLONE.NEWUSER | CLONE.NEWNS, own_memory=True, inherit=[pair.first])
    reader = await local_thread.clone()
    async with keeper.process, reader.process:
        await keeper.make_rprivate()
        await keeper.mount_tmpfs("/mnt")
        await keeper.write_file(PATH, "from a file system that only the keeper has mounted\n")
        try:
            await reader.open(PATH)
        except FileNotFoundError as error:
            print("the reader cannot open it:", error.strerror)

        file = await keeper.open(PATH)
        # A stream wants a byte of data with the descriptor.
        await keeper.send_fds(keeper.inherit_fd(pair.first), b"x", [file])
        # The reader owns what it receives.
        _, [received] = await reader.recv_fds(reader.inherit_fd(pair.second), 1, 1)
        await received.dup2(reader.stdin)
        process = await reader.exec(await reader.environ.which("cat"))
        await process.check()


if __name__ == "__main__":
    trio.run(main)
