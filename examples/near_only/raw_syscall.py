"""System calls by number, with rsyscall-near and rsyscall-native alone: no handles, no event loop."""

from __future__ import annotations

import ctypes
import os

from rsyscall.near import SYS, FileDescriptor, LocalSyscall, Syscall, raise_if_error


async def main() -> None:
    sysif = LocalSyscall()

    # Memory is our own business here.
    message = ctypes.create_string_buffer(b"written by number\n")
    stdout = FileDescriptor(1)
    await sysif.syscall(SYS.write, stdout, ctypes.addressof(message), len(message.value))

    # Several calls in one submission: what the kernel returned, unchanged, for each.
    pid, failure = await sysif.syscalls([Syscall(SYS.getpid), Syscall(SYS.close, -1)])
    print("it is us:", pid == os.getpid())
    try:
        raise_if_error(failure)
    except OSError as error:
        print("and close(-1) says:", error)


if __name__ == "__main__":
    try:
        main().send(None)  # its calls never suspend
    except StopIteration:
        pass
