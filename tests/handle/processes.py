"""Other processes and threads for tests to make system calls in, without the layers that are made for that.

Each serves system calls over a socket, one at a time. The caller blocks until the answer is there, so that
its coroutines never suspend.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from typing import SupportsInt

from rsyscall.handle.fd import FDTable
from rsyscall.handle.process import ChildProcess
from rsyscall.handle.task import Task
from rsyscall.native import fast
from rsyscall.near import SYS, SyscallHangup, SyscallInterface, SyscallSendError
from rsyscall.near import types as near

from .support import Local

_REQUEST = struct.Struct("=7q")
_ANSWER = struct.Struct("=q")


class StreamSyscall(SyscallInterface):
    """Makes calls in the process or thread that serves the other end of the socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.calls: list[str] = []

    async def syscall(
        self,
        number: SYS,
        arg1: SupportsInt = 0,
        arg2: SupportsInt = 0,
        arg3: SupportsInt = 0,
        arg4: SupportsInt = 0,
        arg5: SupportsInt = 0,
        arg6: SupportsInt = 0,
    ) -> int:
        self.calls.append(SYS(number).name)
        arguments = [_signed(int(arg)) for arg in (number, arg1, arg2, arg3, arg4, arg5, arg6)]
        try:
            self.sock.sendall(_REQUEST.pack(*arguments))
        except OSError as exn:
            raise SyscallSendError("the process does not listen") from exn
        try:
            answer = self.sock.recv(_ANSWER.size, socket.MSG_WAITALL)
        except OSError:
            answer = b""
        if len(answer) < _ANSWER.size:
            # a request in the buffer of a dead process cannot be told from one that it was executing
            raise SyscallHangup("the process does not answer")
        result: int = _ANSWER.unpack(answer)[0]
        if -4095 <= result < 0:
            raise OSError(-result, os.strerror(-result))
        return result

    async def close_interface(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def get_activity_fd(self) -> None:
        return None


def _signed(number: int) -> int:
    number &= 0xFFFFFFFFFFFFFFFF
    return number - (1 << 64) if number >> 63 else number


def _serve(sock: socket.socket) -> None:
    while True:
        request = sock.recv(_REQUEST.size, socket.MSG_WAITALL)
        if len(request) < _REQUEST.size:
            return
        sock.sendall(_ANSWER.pack(fast.syscall(*_REQUEST.unpack(request))))


@contextlib.contextmanager
def forked_task(local: Local) -> Iterator[Task]:
    """A child made by fork: the file descriptor table is a copy, the memory of the test allocator is shared.

    The rest of the memory is not shared; but pointers to the memory of `local` are good in both, so both
    tasks get the same address space.
    """
    ours, theirs = socket.socketpair()
    # what happens to a table from now on happens to one of the two
    table = FDTable(os.getpid(), local.task.fd_table)
    pid = os.fork()
    if not pid:
        try:
            ours.close()
            _serve(theirs)
        finally:
            os._exit(0)
    theirs.close()
    process = ChildProcess(local.task, near.Process(pid))
    task = Task(process, table, local.task.address_space, local.task.pidns, local.task.mountns)
    task.sysif = StreamSyscall(ours)
    try:
        yield task
    finally:
        if process.alive:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        ours.close()


@contextlib.contextmanager
def thread_task(local: Local) -> Iterator[Task]:
    """An OS thread of this process: it shares the file descriptor table, and can stop doing so."""
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=_serve, args=(theirs,), daemon=True)
    thread.start()
    pid = thread.native_id
    assert pid is not None
    task = Task(near.Process(pid), local.task.fd_table, local.task.address_space, local.task.pidns)
    task.sysif = StreamSyscall(ours)
    try:
        yield task
    finally:
        with contextlib.suppress(OSError):
            ours.shutdown(socket.SHUT_RDWR)
        thread.join()
        ours.close()
        theirs.close()


def has_open(task: Task, number: int) -> bool:
    """Whether the process behind the task has the number open."""
    try:
        os.readlink(f"/proc/{task.near_process.id}/fd/{number}")
    except FileNotFoundError:
        return False
    return True


def kill_behind_the_back(task: Task) -> None:
    """Kill the process behind the task without any task knowing; it stays a zombie."""
    os.kill(task.near_process.id, signal.SIGKILL)
    os.waitid(os.P_PID, task.near_process.id, os.WEXITED | os.WNOWAIT)


@contextlib.contextmanager
def sleeping_child() -> Iterator[int]:
    """The id of a child made by os.fork, which waits until it is killed at the end."""
    pid = os.fork()
    if not pid:
        try:
            while True:
                signal.pause()
        finally:
            os._exit(1)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
