"""LocalSyscall: against what the os module says, and where it refuses to be used."""

from __future__ import annotations

import ctypes
import errno
import gc
import logging
import os
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from rsyscall.near import SYS, Address, FileDescriptor, LocalSyscall, Syscall, native_abi
from rsyscall.near.local import ForkedProcessError, WrongThreadError

Run = Callable[..., Any]

AT_FDCWD = -100


@pytest.fixture
def local() -> LocalSyscall:
    return LocalSyscall()


def on_thread(function: Callable[[], None]) -> None:
    """Run a function to its end on a thread of its own."""
    thread = threading.Thread(target=function, name="worker")
    thread.start()
    thread.join()


# ---- Calls


def test_calls_agree_with_the_os_module(run: Run, local: LocalSyscall) -> None:
    assert run(local.syscall(SYS.getpid)) == os.getpid()
    assert run(local.syscall(SYS.getppid)) == os.getppid()
    assert run(local.syscall(SYS.getuid)) == os.getuid()
    assert run(local.syscall(SYS.getgid)) == os.getgid()
    assert run(local.syscall(SYS.gettid)) == threading.get_native_id()
    assert run(local.syscall(SYS.getpgid, os.getpid())) == os.getpgid(0)


def test_failing_calls_raise_the_error_of_the_kernel(run: Run, local: LocalSyscall) -> None:
    with pytest.raises(OSError) as caught:
        run(local.syscall(SYS.close, -1))
    assert caught.value.errno == errno.EBADF
    assert caught.value.strerror == os.strerror(errno.EBADF)

    path = ctypes.create_string_buffer(b"/nonexistent/file")
    with pytest.raises(FileNotFoundError):
        run(local.syscall(SYS.openat, AT_FDCWD, ctypes.addressof(path), os.O_RDONLY))


def test_bad_address_is_an_error_of_the_kernel(run: Run, local: LocalSyscall) -> None:
    with pytest.raises(OSError) as caught:
        run(local.syscall(SYS.openat, AT_FDCWD, 8, os.O_RDONLY))
    assert caught.value.errno == errno.EFAULT


def test_arguments_are_anything_that_is_an_integer(run: Run, local: LocalSyscall) -> None:
    class Handle:
        def __int__(self) -> int:
            return write_end

    read_end, write_end = os.pipe()
    data = ctypes.create_string_buffer(b"hello")
    address = Address(ctypes.addressof(data))
    try:
        assert run(local.syscall(SYS.write, FileDescriptor(write_end), address, 5)) == 5
        assert run(local.syscall(SYS.write, Handle(), address + 1, 4)) == 4
        assert os.read(read_end, 100) == b"helloello"
    finally:
        os.close(read_end)
        os.close(write_end)


def test_arguments_that_do_not_fit_are_refused(run: Run, local: LocalSyscall) -> None:
    with pytest.raises(OverflowError):
        run(local.syscall(SYS.close, 2**64))
    with pytest.raises(TypeError):
        wrong: Any = "0"
        run(local.syscall(SYS.close, wrong))


def test_huge_results_are_unsigned(run: Run, local: LocalSyscall) -> None:
    # offsets in /proc/self/mem are addresses, and those of the kernel's half are negative to the call
    offset = 0xFFFF_FFFF_FF60_0000
    with open("/proc/self/mem", "rb") as memory:
        assert run(local.syscall(SYS.lseek, memory.fileno(), offset, os.SEEK_SET)) == offset


def test_several_calls_return_raw_results(run: Run, local: LocalSyscall) -> None:
    calls = [Syscall(SYS.getpid), Syscall(SYS.close, -1), Syscall(SYS.getuid)]
    assert run(local.syscalls(calls)) == [os.getpid(), -errno.EBADF, os.getuid()]
    assert run(local.syscalls([])) == []


@pytest.mark.parametrize("wrong", [5, None, [SYS.getpid], (), (SYS.getpid,) * 8])
def test_what_is_no_call_is_refused(run: Run, local: LocalSyscall, wrong: Any) -> None:
    with pytest.raises(TypeError, match="a system call"):
        run(local.syscalls([Syscall(SYS.getpid), wrong]))


def test_linked_calls_end_at_the_first_error(run: Run, local: LocalSyscall) -> None:
    calls = [Syscall(SYS.getpid), Syscall(SYS.close, -1), Syscall(SYS.getuid)]
    assert run(local.syscalls(calls, linked=True)) == [os.getpid(), -errno.EBADF, -errno.ECANCELED]
    assert run(local.syscalls(calls[::2], linked=True)) == [os.getpid(), os.getuid()]


def test_memory_is_our_own(run: Run, local: LocalSyscall) -> None:
    buffer = ctypes.create_string_buffer(b"abcdef")
    address = Address(ctypes.addressof(buffer))
    assert run(local.read_memory(address + 1, 3)) == b"bcd"
    run(local.write_memory(address + 2, b"XY"))
    assert buffer.value == b"abXYef"
    assert run(local.read_memory(address, 0)) == b""


def test_abi_is_native_and_nobody_else_wakes_us(run: Run, local: LocalSyscall) -> None:
    assert local.abi is native_abi()
    assert local.get_activity_fd() is None
    run(local.close_interface())
    assert run(local.syscall(SYS.getpid)) == os.getpid()


# ---- Threads


def test_other_threads_are_refused_before_the_call(run: Run, local: LocalSyscall) -> None:
    run(local.syscall(SYS.getpid))
    read_end, write_end = os.pipe()
    caught: list[WrongThreadError] = []
    tids: list[int] = []

    def use() -> None:
        tids.append(threading.get_native_id())
        data = ctypes.create_string_buffer(b"x")
        uses = [
            local.syscall(SYS.write, write_end, ctypes.addressof(data), 1),
            local.syscalls([Syscall(SYS.write, write_end, ctypes.addressof(data), 1)]),
            local.read_memory(ctypes.addressof(data), 1),
            local.write_memory(ctypes.addressof(data), b"y"),
        ]
        for coroutine in uses:
            try:
                run(coroutine)
            except WrongThreadError as error:
                caught.append(error)
        assert data.value == b"x"

    try:
        on_thread(use)
        os.set_blocking(read_end, False)
        with pytest.raises(BlockingIOError):
            os.read(read_end, 1)
    finally:
        os.close(read_end)
        os.close(write_end)
    assert len(caught) == 4
    message = str(caught[0])
    assert f"{threading.get_native_id()} ({threading.current_thread().name})" in message
    assert f"{tids[0]} (worker)" in message
    assert run(local.syscall(SYS.getpid)) == os.getpid()


def test_first_use_decides_the_thread(run: Run, local: LocalSyscall) -> None:
    assert "not used yet" in repr(local)
    results: list[int] = []
    on_thread(lambda: results.append(run(local.syscall(SYS.gettid))))
    with pytest.raises(WrongThreadError):
        run(local.syscall(SYS.gettid))
    assert str(results[0]) in repr(local)


def test_a_later_thread_with_the_same_ident_is_another_thread(run: Run, local: LocalSyscall) -> None:
    idents: list[int] = []
    outcomes: list[str] = []

    def use() -> None:
        idents.append(threading.get_ident())
        try:
            run(local.syscall(SYS.gettid))
            outcomes.append("done")
        except WrongThreadError as error:
            outcomes.append(str(error))

    for _ in range(5):
        on_thread(use)
    # the C library hands out the identifiers of threads that ended again
    assert len(set(idents)) < len(idents)
    assert outcomes[0] == "done"
    assert all("which has ended" in outcome for outcome in outcomes[1:])


def test_each_thread_can_have_its_own(run: Run, local: LocalSyscall) -> None:
    run(local.syscall(SYS.getpid))
    tids: list[int] = []
    on_thread(lambda: tids.append(run(LocalSyscall().syscall(SYS.gettid))))
    assert tids[0] != run(local.syscall(SYS.gettid))


def test_interfaces_are_not_kept_alive(run: Run) -> None:
    local = LocalSyscall()
    run(local.syscall(SYS.getpid))
    reference = weakref.ref(local)
    del local
    gc.collect()
    assert reference() is None


# ---- Fork


def in_forked_child(report: Callable[[], str]) -> str:
    """The result of a function in a child made by os.fork, which does nothing else."""
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        # newer Pythons warn of a fork with threads; this child only makes calls and exits
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            os.write(write_end, report().encode())
            os._exit(0)
        except BaseException as error:
            os.write(write_end, repr(error).encode())
        finally:
            os._exit(1)
    os.close(write_end)
    with open(read_end) as stream:
        text = stream.read()
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, text
    return text


def test_forked_copy_is_refused(run: Run, local: LocalSyscall) -> None:
    run(local.syscall(SYS.getpid))

    def use() -> str:
        messages: list[str] = []
        for coroutine in [local.syscall(SYS.getpid), local.syscalls([Syscall(SYS.getpid)])]:
            try:
                run(coroutine)
            except ForkedProcessError as error:
                messages.append(str(error))
        return "\n".join(messages)

    messages = in_forked_child(use).splitlines()
    assert len(messages) == 2
    assert f"thread {threading.get_native_id()}" in messages[0]
    # the original is not affected
    assert run(local.syscall(SYS.getpid)) == os.getpid()


def test_forked_copy_is_refused_in_grandchildren(run: Run, local: LocalSyscall) -> None:
    run(local.syscall(SYS.getpid))

    def use() -> str:
        try:
            run(local.syscall(SYS.getpid))
        except ForkedProcessError:
            return "refused"
        return "made"

    assert in_forked_child(lambda: in_forked_child(use)) == "refused"


def test_forked_copy_is_refused_whichever_thread_it_belonged_to(run: Run, local: LocalSyscall) -> None:
    used, done = threading.Event(), threading.Event()

    def use_and_wait() -> None:
        run(local.syscall(SYS.getpid))
        used.set()
        done.wait()

    def use() -> str:
        try:
            run(local.syscall(SYS.getpid))
        except ForkedProcessError as error:
            return str(error)
        return "made"

    thread = threading.Thread(target=use_and_wait, name="worker")
    thread.start()
    try:
        used.wait()
        assert f"{thread.native_id} (worker)" in in_forked_child(use)
    finally:
        done.set()
        thread.join()


def test_new_and_unused_interfaces_work_in_a_forked_copy(run: Run, local: LocalSyscall) -> None:
    def use() -> str:
        new = run(LocalSyscall().syscall(SYS.getpid)) == os.getpid()
        unused = run(local.syscall(SYS.getpid)) == os.getpid()
        return f"{new} {unused}"

    assert in_forked_child(use) == "True True"
    assert run(local.syscall(SYS.getpid)) == os.getpid()


# ---- Logging


def test_calls_are_logged_when_asked_for(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="rsyscall.near.local"):
        local = LocalSyscall()
        assert local.log_calls
        assert run(local.syscall(SYS.getpid)) == os.getpid()
        with pytest.raises(OSError):
            run(local.syscall(SYS.close, -1))
        run(local.syscalls([Syscall(SYS.getuid)]))
    text = caplog.text
    assert f"getpid() -> {os.getpid()}" in text
    assert "close(-1) -> -9" in text
    assert f"getuid() -> {os.getuid()}" in text


def test_nothing_is_formatted_when_not_logging(run: Run) -> None:
    class Unprintable:
        def __int__(self) -> int:
            return -1

        def __str__(self) -> str:
            raise AssertionError("formatted")

        __repr__ = __str__

    local = LocalSyscall()
    assert not local.log_calls
    with pytest.raises(OSError):
        run(local.syscall(SYS.close, Unprintable()))
    run(local.syscalls([Syscall(SYS.close, Unprintable())]))
