"""The same with pexpect."""

from __future__ import annotations

import os

import pexpect


def main() -> None:
    env = {**os.environ, "PS1": "> ", "ENV": ""}
    shell = pexpect.spawn("/bin/sh", ["-i"], env=env, dimensions=(30, 90), timeout=60, encoding="utf-8")
    try:
        shell.expect_exact("> ")
        shell.sendline("stty size")
        shell.expect(r"\d+ \d+\r\n")
        print("size:", shell.after.strip())
        shell.setwinsize(40, 100)
        shell.sendline("stty size")
        shell.expect(r"\d+ \d+\r\n")
        print("size:", shell.after.strip())
        shell.expect_exact("> ")
        shell.sendline("cat")
        shell.sendline("text")
        shell.expect_exact("text\r\ntext\r\n")
        shell.sendintr()
        shell.expect_exact("> ")
        shell.sendline("exit 5")
        shell.expect(pexpect.EOF)
    finally:
        shell.close()
    print("the shell exited with status", shell.exitstatus)


if __name__ == "__main__":
    main()
