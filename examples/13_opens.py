"""Which files does a command open? Trace its system calls, as `strace` does, and print the paths."""

from __future__ import annotations

import os
import tempfile

import trio

from rsyscall import Command, Pointer, local_thread
from rsyscall.handle import ChildProcess
from rsyscall.near import SYS
from rsyscall.sys.ptrace import PTRACE_O, PTRACE_SYSCALL_INFO, PtraceStop, PtraceSyscallInfo
from rsyscall.sys.wait import W

OPTIONS = PTRACE_O.TRACESYSGOOD | PTRACE_O.TRACEEXEC | PTRACE_O.EXITKILL


async def string_at(process: ChildProcess, address: int, word: Pointer[bytes]) -> str:
    """Read a string of the process, a word at a time."""
    text = b""
    while b"\0" not in text:
        text += await (await process.ptrace_peekdata(address + len(text), word)).read()
    return os.fsdecode(text.split(b"\0")[0])


async def show_opens(command: Command, directory: str) -> None:
    """Run the command, and print what becomes of each file in the directory that it opens."""
    word, info = await local_thread.malloc(bytes, 8), await local_thread.malloc(PtraceSyscallInfo)
    child = await local_thread.clone()
    process = child.process.process
    # It runs until it executes the command; from then on it stops at each call.
    await process.ptrace_seize(OPTIONS)
    running = await child.exec(command)
    async with running:
        path = ""
        while not (state := await running.waitpid(W.STOPPED | W.EXITED)).died():
            stop = PtraceStop.of(state)
            if stop.syscall:
                call = await (await process.ptrace_get_syscall_info(info)).read()
                if call.op == PTRACE_SYSCALL_INFO.EXIT and path.startswith(directory):
                    result = os.strerror(-call.rval) if call.is_error else "was opened"
                    print(f"{os.path.basename(path)}: {result}")
                opens = call.op == PTRACE_SYSCALL_INFO.ENTRY and call.nr == SYS.openat
                path = await string_at(process, call.args[1], word) if opens else ""
            await process.ptrace_syscall(stop.delivery)


async def main() -> None:
    grep = await local_thread.environ.which("grep")
    with tempfile.TemporaryDirectory() as directory:
        with open(f"{directory}/note", "w") as note:
            note.write("a note\n")
        files = (f"{directory}/note", f"{directory}/nothing")
        await show_opens(grep.args("-s", "-h", "note", *files), directory)


if __name__ == "__main__":
    trio.run(main)
