"""A program that forks programs: Python with this library imported, and nothing of it used yet.

To see what becomes of a program when it is killed, or how it lives with few descriptors, tests need many
programs; starting each anew would take most of their time. Requests come through a socket that is our
standard input, each with the descriptors that become 0, 1 and 2 of the new program. It does not stay our
child: it is reparented to the nearest subreaper, the test.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1]))

import rsyscall.local  # the reason for all this: it takes most of the time


def _become(request: dict[str, Any], fds: list[int]) -> Callable[[], None]:
    """In the new process: turn into the program that was asked for."""
    signal.pthread_sigmask(signal.SIG_SETMASK, request.get("mask", []))
    for number, fd in enumerate(fds):
        os.dup2(fd, number, inheritable=True)
    os.closerange(3, 256)
    os.environ.update(request["environ"])
    sys.argv = [request["function"]]
    module, _, name = request["function"].partition(":")
    function = getattr(importlib.import_module(module), name)
    return lambda: function(**request["arguments"])


def main() -> Callable[[], None] | None:
    """Serve requests; returns in every new program, with what that is to run, and here in the end."""
    connection = socket.socket(fileno=os.dup(0))
    while True:
        data, fds, _, _ = socket.recv_fds(connection, 1 << 16, 3)
        if not data:
            return None
        read, write = os.pipe()
        intermediate = os.fork()
        if intermediate == 0:
            if os.fork():
                os._exit(0)
            # Only now are we the child of the test, which death signals and getppid() depend on.
            os.close(write)
            os.read(read, 1)
            connection.send(json.dumps(os.getpid()).encode())
            connection.close()
            return _become(json.loads(data), fds)
        os.waitpid(intermediate, 0)
        for fd in (read, write, *fds):
            os.close(fd)


if __name__ == "__main__":
    assert rsyscall.local.LocalThread
    gc.freeze()
    program = main()
    if program is not None:
        program()
