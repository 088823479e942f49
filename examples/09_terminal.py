"""An interactive program on a terminal of its own; this one types, waits, and reads what comes."""

from __future__ import annotations

import re

import trio

from rsyscall import Command, local_thread


async def main() -> None:
    shell = Command("/bin/sh", ["sh", "-i"], {"PS1": "> ", "ENV": ""})
    with trio.fail_after(10):
        async with local_thread.run_on_terminal(shell, size=(30, 90)) as session:
            await session.expect("> ")
            await session.write("stty size\r")
            print("size:", (await session.expect(re.compile(rb"\d+ \d+\r\n")))[0].decode().strip())
            await session.pty.resize((40, 100))
            await session.write("stty size\r")
            print("size:", (await session.expect(re.compile(rb"\d+ \d+\r\n")))[0].decode().strip())
            await session.expect("> ")
            # The terminal echoes what is typed, and cat repeats it.
            await session.write("cat\rtext\r")
            await session.expect("text\r\ntext\r\n")
            # Ctrl-C: the terminal sends SIGINT to the process group in the foreground, which is that of cat.
            await session.write("\x03")
            await session.expect("> ")
            await session.write("exit 5\r")
            print("the shell", (await session.wait(check=False)).describe())


if __name__ == "__main__":
    trio.run(main)
