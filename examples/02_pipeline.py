"""`printf ... | sort | uniq -c`, without a shell: three processes and two pipes."""

from __future__ import annotations

import trio

from rsyscall import AsyncChildProcess, Command, FileDescriptor, local_thread


async def start(
    command: Command, stdin: FileDescriptor | None, stdout: FileDescriptor | None
) -> AsyncChildProcess:
    """Run a command with these descriptors of ours as its standard input and output."""
    child = await local_thread.clone()
    if stdin is not None:
        await child.inherit_fd(stdin).dup2(child.stdin)
    if stdout is not None:
        await child.inherit_fd(stdout).dup2(child.stdout)
    return await child.exec(command)


async def pipeline(*commands: Command) -> None:
    """Connect the commands, run them at the same time, and see that all succeed."""
    processes = []
    stdin: FileDescriptor | None = None
    for command in commands[:-1]:
        pipe = await local_thread.pipe()
        processes.append(await start(command, stdin, pipe.write))
        # The reader sees end of file once every copy of the write end is closed, ours too.
        await pipe.write.close()
        if stdin is not None:
            await stdin.close()
        stdin = pipe.read
    processes.append(await start(commands[-1], stdin, None))
    if stdin is not None:
        await stdin.close()
    for process in processes:
        await process.check()


async def main() -> None:
    which = local_thread.environ.which
    await pipeline(
        (await which("printf")).args("pear\napple\npear\nfig\napple\npear\n"),
        await which("sort"),
        (await which("uniq")).args("-c"),
    )


if __name__ == "__main__":
    trio.run(main)
