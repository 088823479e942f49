"""A process with memory of its own, driven over the stream protocol by a small blocking client."""

from __future__ import annotations

import socket
import subprocess
from typing import SupportsInt

from rsyscall import far
from rsyscall.handle.fd import FDTable
from rsyscall.handle.task import Task
from rsyscall.native import stub_path
from rsyscall.near import SYS, SyscallHangup, SyscallInterface, raise_if_error
from rsyscall.near import types as near
from rsyscall.near.protocol import HelloParser, ResponseParser, encode_call, encode_read, encode_write


class StubSyscall(SyscallInterface):
    """The program rsyscall-stub at the other end of a socket pair. Counts requests."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(30)
        with theirs:
            self.process = subprocess.Popen(
                [stub_path(), "stdio"], stdin=theirs.fileno(), stdout=theirs.fileno()
            )
        parser = HelloParser()
        hello = None
        while hello is None:
            hello = parser.feed(self.socket.recv(parser.missing))
        self.hello = hello
        self.abi = hello.abi
        self.parser = ResponseParser()
        self.calls: list[SYS] = []
        self.reads: list[tuple[int, int]] = []
        self.writes: list[tuple[int, int]] = []

    def _ask(self, request: bytes) -> tuple[int, bytes]:
        self.socket.sendall(request)
        while True:
            data = self.socket.recv(1 << 16)
            if not data:
                raise SyscallHangup("the stub is gone")
            responses = self.parser.feed(data)
            if responses:
                (response,) = responses
                raise_if_error(response[0])
                return response

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
        self.calls.append(number)
        return self._ask(encode_call(self.abi.number(number), [arg1, arg2, arg3, arg4, arg5, arg6]))[0]

    async def read_memory(self, address: SupportsInt, length: int) -> bytes:
        self.reads.append((int(address), length))
        return self._ask(encode_read(address, length))[1]

    async def write_memory(self, address: SupportsInt, data: bytes) -> None:
        self.writes.append((int(address), len(data)))
        self._ask(encode_write(address, data))

    async def close_interface(self) -> None:
        self.socket.close()

    def get_activity_fd(self) -> None:
        return None

    def make_task(self) -> Task:
        pid = self.hello.pid
        task = Task(near.Process(pid), FDTable(pid), far.AddressSpace(pid), far.PidNamespace(pid))
        task.sysif = self
        return task

    def stop(self) -> None:
        self.socket.close()
        self.process.wait(40)
