"""`printf ... | sort | uniq -c`, without a shell: three processes and two pipes."""

from __future__ import annotations

from functools import partial

import trio

from rsyscall import Command, FileDescriptor, local_thread


async def pipeline(*commands: Command) -> None:
    """Connect the commands, run them at the same time, and see that all succeed."""
    async with trio.open_nursery() as nursery:
        stdin: FileDescriptor | None = None
        for command in commands[:-1]:
            pipe = await local_thread.pipe()
            await nursery.start(partial(local_thread.run, command, stdin=stdin, stdout=pipe.write))
            # The reader sees end of file once every copy of the write end is closed, ours too.
            await pipe.write.close()
            if stdin is not None:
                await stdin.close()
            stdin = pipe.read
        await nursery.start(partial(local_thread.run, commands[-1], stdin=stdin))
        if stdin is not None:
            await stdin.close()


async def main() -> None:
    which = local_thread.environ.which
    await pipeline(
        (await which("printf")).args("pear\napple\npear\nfig\napple\npear\n"),
        await which("sort"),
        (await which("uniq")).args("-c"),
    )


if __name__ == "__main__":
    trio.run(main)
