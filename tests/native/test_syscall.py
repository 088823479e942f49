"""Calls and memory of our own process: how arguments are converted and checked."""

from __future__ import annotations

import errno
import mmap
import os
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from waiting import eventually

from rsyscall.native import ffi, lib, read_memory, symbols, syscall, write_memory

from .driven import NR, Buffer


class Convertible:
    """Something that is not an int, but int() knows what to do with it."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __int__(self) -> int:
        return self.value


class Index:
    def __index__(self) -> int:
        return NR["getpid"]


class Broken:
    def __int__(self) -> int:
        raise ZeroDivisionError("not now")


class NotInt:
    def __int__(self) -> int:
        return "5"  # type: ignore[return-value]  # on purpose


def test_returns_what_the_kernel_returned() -> None:
    assert syscall(NR["getpid"]) == os.getpid()
    assert syscall(NR["close"], -1) == -errno.EBADF
    assert syscall(10**6) == -errno.ENOSYS


@pytest.mark.parametrize(
    "number", [Convertible(NR["getpid"]), Index(), Decimal(NR["getpid"]), True + NR["getpid"] - 1]
)
def test_takes_what_int_takes(number: Any) -> None:
    assert syscall(number) == os.getpid()
    assert syscall(NR["umask"], Convertible(os.umask(0o22))) == 0o22


def test_all_six_arguments_arrive() -> None:
    fd = os.memfd_create("test")
    try:
        os.ftruncate(fd, 2 * mmap.PAGESIZE)
        os.pwrite(fd, b"second page", mmap.PAGESIZE)
        address = syscall(NR["mmap"], 0, mmap.PAGESIZE, mmap.PROT_READ, mmap.MAP_SHARED, fd, mmap.PAGESIZE)
        assert address > 0
        assert read_memory(address, 11) == b"second page"
        assert syscall(NR["munmap"], address, mmap.PAGESIZE) == 0
    finally:
        os.close(fd)


@pytest.mark.parametrize("value", [2**64 - 1, -1])
def test_64_bits_signed_or_not(value: int) -> None:
    assert syscall(NR["close"], value) == -errno.EBADF
    assert syscall(value) == -errno.ENOSYS


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, 10**30, -(10**30)])
def test_more_than_64_bits_is_an_error(value: int) -> None:
    with pytest.raises(OverflowError):
        syscall(value)
    with pytest.raises(OverflowError):
        syscall(NR["close"], 0, value)
    with pytest.raises(OverflowError):
        syscall(NR["close"], Convertible(value))
    # The kernel looks at the lower half of the first one: -1, no descriptor of ours.
    assert syscall(NR["close"], 2**63 + 2**32 - 1, -(2**63)) == -errno.EBADF


@pytest.mark.parametrize("value", [1.0, "1", b"1", bytearray(b"1"), None, [], object(), NotInt()])
def test_what_is_not_an_integer_is_an_error(value: Any) -> None:
    with pytest.raises(TypeError):
        syscall(value)
    with pytest.raises(TypeError):
        syscall(NR["close"], value)


def test_errors_of_a_conversion_are_passed_on() -> None:
    with pytest.raises(ZeroDivisionError, match="not now"):
        syscall(NR["close"], Broken())


def test_number_of_arguments() -> None:
    with pytest.raises(TypeError):
        syscall()  # type: ignore[call-arg]  # on purpose
    with pytest.raises(TypeError):
        syscall(NR["getpid"], 1, 2, 3, 4, 5, 6, 7)  # type: ignore[call-arg]  # on purpose
    with pytest.raises(TypeError):
        syscall(number=NR["getpid"])  # type: ignore[call-arg]  # on purpose


def test_other_threads_run_during_a_call_that_waits() -> None:
    reading, writing = os.pipe()
    buffer = Buffer(1)

    # The first argument tells this pipe from any other.
    call = f"{NR['read']} {reading:#x} "
    caller = Path(f"/proc/self/task/{threading.get_native_id()}/syscall")

    def write() -> None:
        assert eventually(lambda: caller.read_text().startswith(call))
        os.write(writing, b"x")

    thread = threading.Thread(target=write)
    thread.start()
    assert syscall(NR["read"], reading, buffer.address, 1) == 1
    thread.join()
    assert bytes(buffer) == b"x"
    os.close(reading)
    os.close(writing)


def test_memory_is_read_and_written() -> None:
    buffer = Buffer(16)
    write_memory(buffer.address + 1, b"bytes")
    write_memory(buffer.address + 6, bytearray(b"array"))
    write_memory(buffer.address + 11, memoryview(b"v.i.e.w.")[::2])
    write_memory(Convertible(buffer.address + 15), b"")
    assert bytes(buffer) == b"\0bytesarrayview\0"
    assert read_memory(buffer.address, 16) == bytes(buffer)
    assert read_memory(Convertible(buffer.address + 1), 5) == b"bytes"
    assert read_memory(0, 0) == b""
    write_memory(0, b"")


def test_memory_arguments() -> None:
    buffer = Buffer(16)
    wrong: Any
    for wrong in (1.5, "1", None):
        with pytest.raises(TypeError):
            read_memory(wrong, 1)
        with pytest.raises(TypeError):
            read_memory(buffer.address, wrong)
        with pytest.raises(TypeError):
            write_memory(wrong, b"1")
        with pytest.raises(TypeError):
            write_memory(buffer.address, wrong)
    with pytest.raises(ValueError, match="-1 bytes"):
        read_memory(buffer.address, -1)
    with pytest.raises(OverflowError):
        read_memory(buffer.address, 2**64)
    with pytest.raises(OverflowError):
        write_memory(2**64, b"")
    with pytest.raises(TypeError):
        read_memory(buffer.address)  # type: ignore[call-arg]  # on purpose
    with pytest.raises(TypeError):
        write_memory(buffer.address, b"", 1)  # type: ignore[call-arg]  # on purpose
    assert bytes(buffer) == bytes(16)


def test_the_functions_have_addresses() -> None:
    assert len(set(symbols)) == 6
    assert 0 not in symbols
    assert symbols.rsyscall_server == lib.rsyscall_symbol(0)
    assert lib.rsyscall_symbol(99) == 0
    assert lib.rsyscall_raw_syscall(0, 0, 0, 0, 0, 0, NR["getpid"]) == os.getpid()
    assert int(ffi.cast("uintptr_t", ffi.addressof(lib, "rsyscall_raw_syscall"))) not in symbols
