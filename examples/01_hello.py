"""A process that runs no code of its own: the program writes through it, then it becomes a command."""

from __future__ import annotations

import trio

from rsyscall import local_thread


async def main() -> None:
    child = await local_thread.clone()

    # A call in the child, which has inherited our standard output.
    await child.write_all(child.stdout, "hello from a process that runs no code of its own\n")

    # The same child becomes a program, and is waited for.
    echo = await child.environ.which("echo")
    process = await child.exec(echo.args("and hello from", "echo"))
    state = await process.check()
    print("status", state.exit_status)


if __name__ == "__main__":
    trio.run(main)
