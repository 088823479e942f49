"""SyscallInterface: its helpers, its defaults, its errors."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any, SupportsInt

import pytest

from rsyscall.near import (
    SYS,
    Address,
    FileDescriptor,
    LocalSyscall,
    MemoryRead,
    MemoryWrite,
    Syscall,
    SyscallError,
    SyscallHangup,
    SyscallInterface,
    SyscallSendError,
    UnusableSyscallInterface,
    native_abi,
    raise_if_error,
)
from rsyscall.near.along import Along, bytes_of, number_of
from rsyscall.near.calls import BOOK
from rsyscall.near.record import CallRecord
from rsyscall.near.sysif import error_of, error_of_call

Run = Callable[..., Any]


@pytest.mark.parametrize("name", [name for name in BOOK if name in SYS.__members__])
def test_a_missing_call_is_named_with_the_kernel_that_has_it(name: str) -> None:
    error = error_of_call(-errno.ENOSYS, SYS[name])
    assert error.errno == errno.ENOSYS
    since = f", in Linux since {BOOK[name].since}" if BOOK[name].since else ""
    assert error.strerror == f"{os.strerror(errno.ENOSYS)}: {name}{since}"
    assert error_of_call(-errno.ENOENT, SYS[name]).strerror == os.strerror(errno.ENOENT)


def test_a_call_that_is_only_a_number_is_missing_without_a_name() -> None:
    assert str(error_of_call(-errno.ENOSYS, 4000)) == str(OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)))


class Minimal(SyscallInterface):
    """Has only what an implementation must have; makes its calls through another interface."""

    def __init__(self) -> None:
        self.inner = LocalSyscall()
        self.made: list[SYS] = []

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
        self.made.append(number)
        return await self.inner.syscall(number, arg1, arg2, arg3, arg4, arg5, arg6)

    async def close_interface(self) -> None:
        pass

    def get_activity_fd(self) -> None:
        return None


# ---- raise_if_error


@pytest.mark.parametrize("result", [0, 1, 2**63 - 1, -4096, -(2**63)])
def test_results_are_not_errors(result: int) -> None:
    raise_if_error(result)


@pytest.mark.parametrize("result", [-1, -2, -133, -4095])
def test_errors_are_raised(result: int) -> None:
    with pytest.raises(OSError) as caught:
        raise_if_error(result)
    assert caught.value.errno == -result
    assert caught.value.strerror == os.strerror(-result)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOENT, FileNotFoundError),
        (errno.EINTR, InterruptedError),
        (errno.ECHILD, ChildProcessError),
        (errno.EAGAIN, BlockingIOError),
        (errno.ESRCH, ProcessLookupError),
    ],
)
def test_errors_have_the_class_of_their_number(number: int, kind: type[OSError]) -> None:
    with pytest.raises(kind):
        raise_if_error(-number)


# ---- Syscall


def test_an_error_that_no_kernel_returns() -> None:
    """A process that lies may say any number."""
    assert (error_of(-errno.ENOENT).errno, type(error_of(-errno.ENOENT))) == (errno.ENOENT, FileNotFoundError)
    for result in (-4096, -(2**31) - 1, -(2**63)):
        assert error_of(result).errno == errno.EPROTO
        assert str(result) in str(error_of(result))


def test_syscall_prints_without_trailing_zeros() -> None:
    assert str(Syscall(SYS.getpid)) == "getpid()"
    assert str(Syscall(SYS.dup3, 1, 2, 0)) == "dup3(1, 2)"
    assert str(Syscall(SYS.dup3, 0, 2)) == "dup3(0, 2)"
    assert str(Syscall(SYS.mmap, 0, 4096, 3, 34, -1, 0)) == "mmap(0, 4096, 3, 34, -1)"


def test_syscall_prints_identifiers_even_if_they_are_zero() -> None:
    assert str(Syscall(SYS.close, FileDescriptor(0))) == "close(FD(0))"
    assert str(Syscall(SYS.read, FileDescriptor(3), Address(0x1000), 8)) == "read(FD(3), Address(0x1000), 8)"


def test_syscall_is_a_value_with_integer_arguments() -> None:
    call = Syscall(SYS.read, FileDescriptor(3), Address(0x1000), 8)
    assert call == Syscall(SYS.read, FileDescriptor(3), Address(0x1000), 8)
    assert call.args() == (3, 0x1000, 8, 0, 0, 0)
    assert not hasattr(call, "__dict__")


# ---- The interface


def test_interface_is_abstract() -> None:
    kind: Any = SyscallInterface
    with pytest.raises(TypeError, match="abstract"):
        kind()


def test_interface_has_the_native_abi_unless_it_says_otherwise() -> None:
    assert Minimal().abi is native_abi()


def test_default_syscalls_makes_every_call_in_order_and_returns_raw_results(run: Run) -> None:
    sysif = Minimal()
    calls = [Syscall(SYS.getpid), Syscall(SYS.close, -1), Syscall(SYS.getuid)]
    assert run(sysif.syscalls(calls)) == [os.getpid(), -errno.EBADF, os.getuid()]
    assert sysif.made == [SYS.getpid, SYS.close, SYS.getuid]
    assert run(sysif.syscalls([])) == []


def test_default_syscalls_ends_a_linked_submission_at_the_first_error(run: Run) -> None:
    sysif = Minimal()
    calls = [Syscall(SYS.getpid), Syscall(SYS.close, -1), Syscall(SYS.getuid), Syscall(SYS.getgid)]
    canceled = -errno.ECANCELED
    assert run(sysif.syscalls(calls, linked=True)) == [os.getpid(), -errno.EBADF, canceled, canceled]
    assert sysif.made == [SYS.getpid, SYS.close]


class WithMemory(Minimal):
    """Has memory of its own, from address 0 on."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = bytearray(8)

    async def read_memory(self, address: SupportsInt, length: int) -> bytes:
        if int(address) + length > len(self.memory):
            raise OSError(errno.EFAULT, "outside")
        return bytes(self.memory[int(address) :][:length])

    async def write_memory(self, address: SupportsInt, data: bytes) -> None:
        await self.read_memory(address, len(data))
        self.memory[int(address) : int(address) + len(data)] = data


def test_default_steps_are_taken_in_order(run: Run) -> None:
    sysif = WithMemory()
    steps = [
        MemoryRead(0, 2),
        MemoryWrite(1, b"ab"),
        Syscall(SYS.close, -1),
        Syscall(SYS.getpid),
        MemoryRead(0, 3),
    ]
    assert run(sysif.steps(steps)) == [bytes(2), 2, -errno.EBADF, os.getpid(), b"\0ab"]
    assert sysif.made == [SYS.close, SYS.getpid]


def test_default_steps_that_are_linked_make_no_call_after_a_failure(run: Run) -> None:
    sysif = WithMemory()
    steps = [
        MemoryRead(7, 2),
        Syscall(SYS.getpid),
        MemoryWrite(7, b"ab"),
        Syscall(SYS.getuid),
        MemoryWrite(0, b"c"),
    ]
    failed = [-errno.EFAULT, os.getpid(), -errno.EFAULT, -errno.ECANCELED, 1]
    assert run(sysif.steps(steps, linked=True)) == failed
    assert sysif.made == [SYS.getpid]


def test_a_call_with_steps_along(run: Run) -> None:
    sysif = WithMemory()
    along = Along(sysif, [MemoryWrite(0, b"ab")], [MemoryRead(0, 2)], linked=True)
    assert run(along.syscall(SYS.getpid)) == os.getpid()
    assert along.results == [2, b"ab"]
    with pytest.raises(RuntimeError, match="one call"):
        run(along.syscall(SYS.getpid))
    failing = Along(sysif, [MemoryWrite(7, b"ab")], linked=True)
    with pytest.raises(OSError) as caught:
        run(failing.syscall(SYS.getuid))
    assert caught.value.errno == errno.EFAULT
    assert sysif.made == [SYS.getpid]


def test_what_steps_have_given() -> None:
    assert number_of(5) == 5
    assert number_of(-5000) == 2**64 - 5000
    assert bytes_of(b"x") == b"x"
    assert bytes_of(0) == b""
    for of in (number_of, bytes_of):
        with pytest.raises(FileNotFoundError):
            of(-errno.ENOENT)
    with pytest.raises(TypeError):
        number_of(b"x")


def test_the_call_of_several_steps_is_recorded(run: Run) -> None:
    fd, other = os.pipe()
    record = CallRecord(None)
    along = Along(WithMemory(), [Syscall(SYS.getpid)], [Syscall(SYS.getuid)])
    assert run(along.recorded_syscall(record, SYS.close, fd)) == 0
    os.close(other)
    assert record.sent
    assert record.result == 0


@pytest.mark.parametrize("wrong", [5, None, [SYS.getpid], (), (SYS.getpid,) * 8])
def test_default_syscalls_makes_none_if_one_is_no_call(run: Run, wrong: Any) -> None:
    sysif = Minimal()
    with pytest.raises(TypeError, match="a system call"):
        run(sysif.syscalls([Syscall(SYS.getpid), wrong]))
    assert sysif.made == []


def test_default_syscalls_keeps_the_results_before_the_loss(run: Run) -> None:
    class Breaks(Minimal):
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
            if number == SYS.exit:
                raise SyscallHangup
            return await super().syscall(number, arg1, arg2, arg3, arg4, arg5, arg6)

    with pytest.raises(SyscallHangup) as caught:
        run(Breaks().syscalls([Syscall(SYS.getpid), Syscall(SYS.close, -1), Syscall(SYS.exit)]))
    assert caught.value.results == [os.getpid(), -errno.EBADF]


def test_default_syscalls_stops_when_the_target_is_lost(run: Run) -> None:
    with pytest.raises(SyscallSendError):
        run(UnusableSyscallInterface().syscalls([Syscall(SYS.getpid)]))


def test_memory_is_refused_clearly_by_default(run: Run) -> None:
    with pytest.raises(NotImplementedError, match="Minimal cannot read the memory"):
        run(Minimal().read_memory(Address(0x1000), 1))
    with pytest.raises(NotImplementedError, match="Minimal cannot write the memory"):
        run(Minimal().write_memory(Address(0x1000), b"x"))


def test_child_interfaces_are_left_alone_by_default() -> None:
    child = UnusableSyscallInterface()
    assert Minimal().wrap_child(child, "child") is child


def test_errors_form_a_hierarchy_apart_from_oserror() -> None:
    assert issubclass(SyscallHangup, SyscallError)
    assert issubclass(SyscallSendError, SyscallError)
    assert not issubclass(SyscallHangup, SyscallSendError)
    assert not issubclass(SyscallError, OSError)


def test_unusable_interface_refuses_everything_but_closing(run: Run) -> None:
    sysif = UnusableSyscallInterface()
    with pytest.raises(SyscallSendError):
        run(sysif.syscall(SYS.getpid))
    with pytest.raises(SyscallError):
        sysif.get_activity_fd()
    run(sysif.close_interface())
    run(sysif.close_interface())
