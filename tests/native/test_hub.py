"""The parts that the rings of a program share: the pool of their memory, and the watcher."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import mmap
import os
import signal
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rsyscall.native import Hub, Ring, fast, read_memory, symbols, syscall, write_memory

from .driven import (
    CLONE_ARGS_SIZE,
    CLONE_CLEAR_SIGHAND,
    CLONE_FILES,
    FLAGS,
    NR,
    Buffer,
    Driven,
    drain,
    driven,
    timespec,
    wait_readable,
)

BLOCKS_PER_ARENA = 64


def test_arguments() -> None:
    with pytest.raises(TypeError):
        Hub()  # type: ignore[call-arg]  # on purpose
    with pytest.raises(TypeError):
        Hub("x", 1.0, 1.0)  # type: ignore[arg-type]  # on purpose
    for budgets in ((-1.0, 1.0), (1.0, -1.0)):
        with pytest.raises(ValueError, match="microseconds"):
            Hub(-1, *budgets)
    assert Hub(completion=-1, client_spin_us=0, server_spin_us=0.5).blocks == 0


@pytest.mark.parametrize(("client", "server"), [(0.0, 0.0), (0.0, 100.0), (100.0, 0.0), (10.0, 10.0)])
def test_every_budget_works(client: float, server: float) -> None:
    news, completion = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    hub = Hub(completion, client, server)
    with driven(hub, completion) as child:
        for _ in range(200):
            result = child.ring.call(NR["getpid"])
            while result == fast.PENDING:
                wait_readable(news)
                os.read(news, 4096)
                assert drain(hub) in ([child.ring], [])
                result = child.ring.next_result()
            assert result == child.pid
    os.close(news)
    os.close(completion)


def test_budgets_can_be_changed() -> None:
    hub = Hub(-1, 1e6, 1e6)
    with driven(hub) as child:
        assert child.call("getpid") == child.pid
        hub.set_spin(0.0, 0.0)
        # Without a budget hardly any answer is there at once.
        assert any(child.ring.call(NR["getpid"]) == fast.PENDING and child.result() for _ in range(100))
        for budgets in ((-1.0, 1.0), (1.0, -1.0)):
            with pytest.raises(ValueError, match="microseconds"):
                hub.set_spin(*budgets)


# ---- The pool


def test_memory_is_used_again() -> None:
    hub = Hub(-1, 0.0, 0.0)
    for _ in range(500):
        with driven(hub) as child:
            assert child.call("getpid") == child.pid
        del child
    assert hub.blocks <= BLOCKS_PER_ARENA


def test_process_that_nobody_can_reach_exits() -> None:
    hub = Hub(-1, 0.0, 0.0)
    child = Driven(hub)
    pid, pidfd = child.pid, child.ring.pidfd
    del child
    gc.collect()
    _, status = os.waitpid(pid, 0)
    assert status == 0
    os.close(pidfd)


def test_memory_of_a_living_process_is_not_used_again() -> None:
    hub = Hub(-1, 0.0, 0.0)
    child = Driven(hub)
    address = child.ring.address
    pid, pidfd = child.pid, child.ring.pidfd
    # A process whose Ring is gone is told to exit; this one does not hear it.
    assert child.ring.call(NR["ppoll"]) == fast.PENDING
    del child
    gc.collect()
    # The Ring is gone, and what runs on its memory is not.
    rings = [hub.ring() for _ in range(BLOCKS_PER_ARENA)]
    assert address not in [ring.address for ring in rings]
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    rings.append(hub.ring())
    assert rings[-1].address != address  # the new arena is used first
    before = hub.blocks
    while hub.blocks == before and rings[-1].address != address:
        rings.append(hub.ring())
    assert rings[-1].address == address
    os.close(pidfd)


def test_a_ring_that_was_never_started_is_free_at_once() -> None:
    hub = Hub(-1, 0.0, 0.0)
    for _ in range(1000):
        ring = hub.ring()
        assert ring.put(NR["getpid"]) == 1
        assert not ring.left
    assert hub.blocks == BLOCKS_PER_ARENA


def test_many_at_once() -> None:
    news, completion = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    hub = Hub(completion, 0.0, 0.0)
    pause = timespec(0.1)
    children = [Driven(hub, completion) for _ in range(100)]
    for child in children:
        assert child.ring.call(NR["nanosleep"], pause.address) == fast.PENDING
        assert child.ring.call(NR["getpid"]) == fast.PENDING
    waiting = {child.ring: child for child in children}
    while waiting:
        wait_readable(news)
        os.read(news, 4096)
        for ring in drain(hub):
            while ring.outstanding and (result := ring.next_result()) != fast.PENDING:
                assert result == (waiting[ring].pid if ring.outstanding == 0 else 0)
            if not ring.outstanding:
                del waiting[ring]
    for child in children:
        child.ring.shutdown()
    for child in children:
        assert child.wait() == 0
        child.close()
    assert hub.blocks <= 2 * BLOCKS_PER_ARENA
    os.close(news)
    os.close(completion)


def test_a_ring_that_is_gone_is_not_drained() -> None:
    news, completion = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    hub = Hub(completion, 0.0, 0.0)
    child = Driven(hub, completion)
    pause = timespec(0.1)
    assert child.ring.call(NR["nanosleep"], pause.address) == fast.PENDING
    wait_readable(news)
    pid, pidfd = child.pid, child.ring.pidfd
    del child
    gc.collect()
    assert drain(hub) == []
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert drain(hub) == []
    for fd in (pidfd, news, completion):
        os.close(fd)


# ---- The watcher


@contextmanager
def watcher(hub: Hub) -> Iterator[int]:
    """Start the watcher of a hub; its pid."""
    ring: Ring = hub.ring()
    hub.configure_watcher(os.getpid())
    args = ring.prepare(
        FLAGS,
        signal.SIGCHLD,
        symbols.rsyscall_trampoline,
        symbols.rsyscall_futex_helper,
        hub.address,
        ring.address,
    )
    pid = syscall(NR["clone3"], args, CLONE_ARGS_SIZE)
    assert pid > 0
    ring.started(pid)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(ring.pidfd)


@contextmanager
def watched_hub() -> Iterator[tuple[Hub, int, int]]:
    """A hub with a watcher; the hub and both ends of its pipe."""
    news, completion = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        hub = Hub(completion, 100.0, 100.0)
        with watcher(hub):
            yield hub, news, completion
    finally:
        os.close(news)
        os.close(completion)


def test_processes_that_leave_are_announced() -> None:
    with watched_hub() as (hub, news, _):
        for _ in range(20):
            with driven(hub) as child:
                index = hub.watch_word(child.ring.ctid_address)
                assert index == 0
                assert child.ring.call(NR["exit"], 0) in (fast.PENDING, fast.HANGUP)
                wait_readable(news)
                os.read(news, 4096)
                assert child.ring.left
                assert child.wait() == 0


def test_words_that_are_not_watched_any_more_are_quiet() -> None:
    with watched_hub() as (hub, news, _), driven(hub) as child, driven(hub) as other:
        index = hub.watch_word(child.ring.ctid_address)
        assert hub.watch_word(other.ring.ctid_address) == index + 1
        # The address of another word than the index: nothing happens.
        hub.unwatch_word(index, other.ring.ctid_address)
        hub.unwatch_word(-1, 0)
        hub.unwatch_word(10**6, 0)
        hub.unwatch_word(index, child.ring.ctid_address)
        child.kill()
        # It would be told in this time; no event tells that it is not.
        time.sleep(0.02)
        with pytest.raises(BlockingIOError):
            os.read(news, 4096)
        # The entry is free again.
        assert hub.watch_word(child.ring.ctid_address) == index
        wait_readable(news)
        os.read(news, 4096)
        other.kill()
        wait_readable(news)


def test_a_deaf_process_is_spoken_for() -> None:
    with watched_hub() as (hub, news, completion), driven(hub, completion) as child:
        assert child.call("close_range", 0, 2**32 - 1, 0) == 0
        for _ in range(20):
            pause = timespec(0.1)
            result = child.ring.call(NR["nanosleep"], pause.address)
            assert result == fast.PENDING
            # More than once, if the answer to the call before was told when it had been taken already.
            while result == fast.PENDING:
                wait_readable(news)
                os.read(news, 4096)
                drain(hub)
                result = child.ring.next_result()
            assert result == 0


def test_replaced_pipe_is_left_alone() -> None:
    """A process that shares the table may open another file under its number, at any moment."""
    with watched_hub() as (hub, news, completion), driven(hub, completion, flags=CLONE_FILES) as child:
        assert child.ring.deaf
        saved = os.dup(completion)
        theirs = os.eventfd(7, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        os.dup2(theirs, completion)
        for _ in range(20):
            pause = timespec(0.1)
            result = child.ring.call(NR["nanosleep"], pause.address)
            while result == fast.PENDING:
                wait_readable(news)
                os.read(news, 4096)
                drain(hub)
                result = child.ring.next_result()
            assert result == 0
        assert os.eventfd_read(theirs) == 7
        os.dup2(saved, completion)
        # In a table of its own it finds the pipe again.
        assert child.call("unshare", CLONE_FILES) == 0
        assert not child.ring.deaf
        os.close(saved)
        os.close(theirs)


def test_process_that_shares_its_own_table_is_deaf() -> None:
    news, completion = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    with driven(Hub(completion, 100.0, 100.0), completion) as child:
        assert not child.ring.deaf
        assert child.call("clone3", 4096, CLONE_ARGS_SIZE) == -errno.EFAULT
        assert not child.ring.deaf
        # One that fails; the kernel tells before it looks at a table.
        arguments = struct.pack("11Q", CLONE_FILES | CLONE_CLEAR_SIGHAND | 0x800, *[0] * 10)
        buffer = Buffer(len(arguments))
        write_memory(buffer.address, arguments)
        assert child.call("clone3", buffer.address, CLONE_ARGS_SIZE) == -errno.EINVAL
        assert child.ring.deaf
    os.close(news)
    os.close(completion)


def test_all_entries_taken() -> None:
    word = Buffer(8)
    address = word.address + -word.address % 4
    write_memory(address, b"\1\0\0\0")
    hub = Hub(-1, 0.0, 0.0)
    indices = [hub.watch_word(address) for _ in range(1024)]
    assert indices == list(range(1024))
    assert hub.watch_word(address) == -1
    hub.unwatch_word(77, address)
    assert hub.watch_word(address) == 77


def test_addresses_that_cannot_be_waited_for() -> None:
    hub = Hub(-1, 0.0, 0.0)
    for address in (0, 4097, 4098):
        with pytest.raises(ValueError, match="no futex word"):
            hub.watch_word(address)
    with pytest.raises((OverflowError, TypeError)):
        hub.watch_word(2**64)
    with pytest.raises(TypeError):
        hub.watch_word("x")  # type: ignore[arg-type]  # on purpose


def test_announcements_found_while_blocks_are_reclaimed_are_passed_on() -> None:
    """A process that has lost the pipe relies on others to look; reclaiming must not hide its answers."""
    news, completion = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    hub = Hub(completion, 0.0, 0.0)
    pause = timespec(0.1)
    with driven(hub, completion) as deaf:
        assert deaf.call("close_range", 0, 2**32 - 1, 0) == 0
        assert deaf.ring.deaf
        dead = Driven(hub, completion)
        spare = [hub.ring() for _ in range(hub.blocks - 2)]  # no block is free
        dead.close()
        del dead
        drain(hub)
        with contextlib.suppress(BlockingIOError):
            os.read(news, 4096)
        assert deaf.ring.call(NR["nanosleep"], pause.address) == fast.PENDING
        deaf.wait_until_parked()
        spare.append(hub.ring())
        wait_readable(news)
        assert drain(hub) == [deaf.ring]
        assert deaf.ring.next_result() == 0
        del spare
    os.close(news)
    os.close(completion)


def test_budgets_can_be_changed_at_any_time() -> None:
    def processor_time(child: Driven) -> int:
        return int(Path(f"/proc/{child.pid}/schedstat").read_text().split()[0])

    hub = Hub(-1, 0.0, 50_000.0)
    with driven(hub) as child:
        child.call("getpid")
        hub.set_spin(0.0, 0.0)
        child.wait_until_parked()
        before = processor_time(child)
        for _ in range(5):
            child.call("getpid")
            child.wait_until_parked()
        assert processor_time(child) - before < 20_000_000
    hub = Hub(-1, 0.0, 0.0)
    with driven(hub) as child:
        child.call("getpid")
        child.wait_until_parked()
        parks = child.ring.parks
        hub.set_spin(0.0, 20_000.0)
        for _ in range(100):
            child.call("getpid")
        # It is woken once, and a few times if it does not get the processor in time.
        assert child.ring.parks - parks < 50


# ---- The stacks


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="architecture: the function is machine code")
def test_stack_that_overflows_ends_the_process_and_nothing_else() -> None:
    """Below each stack is a page that faults on access: the memory behind it belongs to other processes."""
    with mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as code:
        code.write(b"\xe8\xfb\xff\xff\xff")  # call rip - 5: it calls itself, for ever
        start = ctypes.c_char.from_buffer(code)
        hub = Hub(-1, 0.0, 0.0)
        below, ring = hub.ring(), hub.ring()
        assert below.address < ring.address
        before = read_memory(below.address, 8192)
        args = ring.prepare(FLAGS, signal.SIGCHLD, symbols.rsyscall_trampoline, ctypes.addressof(start))
        pid = syscall(NR["clone3"], args, CLONE_ARGS_SIZE)
        assert pid > 0
        ring.started(pid)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGSEGV
        assert read_memory(below.address, 8192) == before
        os.close(ring.pidfd)
        del start
