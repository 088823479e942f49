"""A close that lasts and is interrupted, while another OS thread gets the number that it has made free.

The kernel takes the number out of the table at the beginning of a close; a socket with SO_LINGER then waits
until its peer has taken all that was sent. If the exception of a signal handler made the library close the
number once more, it would close the file of the other thread.
"""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
import trio
from support import local_thread

from rsyscall.handle import FileDescriptor
from rsyscall.near import SYS, Syscall
from rsyscall.near import types as near
from rsyscall.sched import CLONE

PATIENCE = 20
CONTENTS = b"of the other thread"


class Interrupt(Exception):
    """What a signal handler of the program raises."""


class Other:
    """Another OS thread of the program, which opens a file as soon as a number is free.

    Args:
        path: of the file.
        number: that it is to get.
        peer: of the socket that is being closed.
        interrupts: whether it interrupts the main thread when it has the number.
    """

    def __init__(self, path: Path, number: int, peer: socket.socket, interrupts: bool) -> None:
        self.number = number
        self.has_number = threading.Event()
        self.raised = threading.Event()
        # Opened now, lest it takes the number itself.
        self._file = path.open("rb")
        self._peer = peer
        self._interrupts = interrupts
        self._main = threading.get_ident()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Other:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        if self.has_number.is_set() and self.still_has_it():
            os.close(self.number)

    def _run(self) -> None:
        deadline = time.monotonic() + PATIENCE
        with self._file:
            while time.monotonic() < deadline:
                # The number, or the next one that is free: no file of other code is replaced.
                got = fcntl.fcntl(self._file, fcntl.F_DUPFD_CLOEXEC, self.number)
                if got == self.number:
                    self.has_number.set()
                    break
                os.close(got)
                time.sleep(0.001)
        if self._interrupts:
            signal.pthread_kill(self._main, signal.SIGUSR1)
        self.raised.wait(PATIENCE)
        # Now the close may end.
        self._peer.settimeout(PATIENCE)
        while self._peer.recv(1 << 20):
            pass

    def still_has_it(self) -> bool:
        """Whether its number is still open, and still stands for its file."""
        try:
            return os.pread(self.number, 100, 0) == CONTENTS
        except OSError:
            return False


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENTS)
    return path


@pytest.fixture
def peer_and_number() -> Iterator[tuple[socket.socket, int]]:
    """A connection one of whose ends has sent more than the other end takes; and the number of that end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        peer, _ = server.accept()
    ours.setblocking(False)
    try:
        while True:
            ours.send(bytes(1 << 16))
    except BlockingIOError:
        pass
    ours.setblocking(True)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0" + PATIENCE.to_bytes(4, "little"))
    with peer:
        yield peer, ours.detach()


@pytest.fixture(params=[Interrupt, KeyboardInterrupt])
def exception(request: pytest.FixtureRequest) -> type[BaseException]:
    kind: type[BaseException] = request.param
    return kind


def raise_on_signal(request: pytest.FixtureRequest, kind: type[BaseException], other: Other) -> None:
    """Have the handler of SIGUSR1 raise, for the rest of the test."""

    def handler(_number: int, _frame: FrameType | None) -> None:
        other.raised.set()
        raise kind

    before = signal.signal(signal.SIGUSR1, handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGUSR1, before))


async def settle() -> None:
    """Give everything that might close a number late the opportunity to do so."""
    gc.collect()
    await local_thread.task.run_fd_table_gc()
    for _ in range(10):
        await trio.lowlevel.checkpoint()


async def test_local(
    request: pytest.FixtureRequest,
    path: Path,
    peer_and_number: tuple[socket.socket, int],
    exception: type[BaseException],
) -> None:
    peer, number = peer_and_number
    fd = local_thread.task.make_fd_handle(near.FileDescriptor(number))
    with Other(path, number, peer, interrupts=True) as other:
        raise_on_signal(request, exception, other)
        with pytest.raises(exception):
            await fd.close()
        assert other.has_number.is_set()
        assert not fd.valid
        del fd
        await settle()
        assert other.still_has_it()


async def test_in_a_child_that_shares_the_table(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    path: Path,
    peer_and_number: tuple[socket.socket, int],
    exception: type[BaseException],
) -> None:
    peer, number = peer_and_number
    hub = local_thread.monitor.hub
    child = await local_thread.clone(CLONE.FILES)
    fd = local_thread.task.make_fd_handle(near.FileDescriptor(number)).move(child.task)
    with Other(path, number, peer, interrupts=False) as other:
        raise_on_signal(request, exception, other)
        waiting = hub.waiting

        def interrupted(*args: object) -> None:
            # The call has been sent, and its caller goes to sleep.
            monkeypatch.setattr(hub, "waiting", waiting)
            assert other.has_number.wait(PATIENCE)
            signal.raise_signal(signal.SIGUSR1)

        monkeypatch.setattr(hub, "waiting", interrupted)
        with pytest.raises(exception):
            await fd.close()
        assert not fd.valid
        del fd
        await settle()
        assert other.still_has_it()
        assert await child.task.sysif.syscall(SYS.getppid) == os.getpid()
        async with child.process:
            pass
        await settle()
        assert other.still_has_it()


async def test_a_second_close_would_be_noticed(
    request: pytest.FixtureRequest, path: Path, peer_and_number: tuple[socket.socket, int]
) -> None:
    peer, number = peer_and_number
    fd: FileDescriptor = local_thread.task.make_fd_handle(near.FileDescriptor(number))
    with Other(path, number, peer, interrupts=True) as other:
        raise_on_signal(request, Interrupt, other)
        with pytest.raises(Interrupt):
            await fd.close()
        await local_thread.task.sysif.syscalls([Syscall(SYS.close, number)])
        assert not other.still_has_it()
