"""`rsyscall.sys.ioctl`."""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from rsyscall.far import AddressSpaceMismatchError
from rsyscall.fcntl import F, O
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.handle.fd import InvalidHandleError
from rsyscall.near import SyscallSendError
from rsyscall.near import types as near
from rsyscall.net.if_ import SIOC, TUN
from rsyscall.struct import Int32
from rsyscall.sys.ioctl import FIO, IO, IOR, IOW, IOWR, TC, TIOC, _argument_size
from rsyscall.unistd import Pipe

from .abi_probe import compiler
from .helpers import no_calls, stranger
from .support import Local


def test_numbers_agree_with_the_c_library() -> None:
    for prefix, numbers in (("FIO", FIO), ("TC", TC), ("TIOC", TIOC)):
        for name, number in numbers.__members__.items():
            assert getattr(termios, prefix + name, number) == number, prefix + name


def test_numbers_are_made_as_in_c() -> None:
    assert IOR("T", 0x30, 4) == TIOC.GPTN
    assert IOW("T", 0x31, 4) == TIOC.SPTLCK
    assert IO("T", 0x41) == TIOC.GPTPEER
    assert IOWR("T", 0x43, 40) == TIOC.SISO7816
    assert IO(0x12, 96) == 0x1260  # BLKGETSIZE
    with pytest.raises(ValueError, match="16384"):
        IOR("T", 1, 1 << 14)


async def test_kernel_fills_in_the_argument(local: Local) -> None:
    pipe = await (await local.task.pipe(await local.malloc(Pipe))).read()
    await pipe.write.write(await local.ptr(b"seven b"))
    count = await local.malloc(Int32)
    assert await pipe.read.ioctl(FIO.NREAD, count) == 0
    assert count.valid
    assert await count.read() == 7


async def test_kernel_reads_the_argument(local: Local) -> None:
    pipe = await (await local.task.pipe(await local.malloc(Pipe))).read()
    await pipe.read.ioctl(FIO.NBIO, await local.ptr(Int32(1)))
    assert O(await pipe.read.fcntl(F.GETFL)) & O.NONBLOCK


async def test_argument_may_be_a_number_or_nothing(local: Local) -> None:
    pipe = await (await local.task.pipe(await local.malloc(Pipe))).read()
    await pipe.read.ioctl(FIO.NCLEX)
    assert os.get_inheritable(int(pipe.read))
    await pipe.read.ioctl(FIO.CLEX, 0)
    assert not os.get_inheritable(int(pipe.read))


@pytest.mark.needs("/dev/ptmx")
async def test_pseudoterminal(local: Local) -> None:
    leader = await local.task.open(await local.ptr("/dev/ptmx"), O.RDWR | O.NOCTTY)
    await leader.ioctl(TIOC.SPTLCK, await local.ptr(Int32(0)))
    number = await leader.ioctl(TIOC.GPTPEER, O.RDWR | O.NOCTTY | O.CLOEXEC)
    follower = local.task.make_fd_handle(near.FileDescriptor(number))
    await leader.ioctl(TIOC.SWINSZ, await local.ptr(struct.pack("HHHH", 24, 80, 0, 0)))
    size = await local.malloc(bytes, 8)
    await follower.ioctl(TIOC.GWINSZ, size)
    assert struct.unpack("HHHH", await size.read()) == (24, 80, 0, 0)


SIZES = {
    **dict.fromkeys((FIO.NREAD, FIO.NBIO, FIO.ASYNC), "int"),
    FIO.QSIZE: "loff_t",
    **dict.fromkeys((TC.GETS, TC.SETS, TC.SETSW, TC.SETSF), "struct termios"),
    **dict.fromkeys((TC.GETA, TC.SETA, TC.SETAW, TC.SETAF), "struct termio"),
    **dict.fromkeys((TC.GETS2, TC.SETS2, TC.SETSW2, TC.SETSF2), "struct termios2"),
    **dict.fromkeys((TIOC.GPGRP, TIOC.SPGRP, TIOC.GSID, TIOC.OUTQ, TIOC.GETD, TIOC.SETD), "int"),
    **dict.fromkeys((TIOC.MGET, TIOC.MBIS, TIOC.MBIC, TIOC.MSET, TIOC.PKT, TIOC.GPTN), "int"),
    **dict.fromkeys((TIOC.GSOFTCAR, TIOC.SSOFTCAR), "int"),
    **dict.fromkeys((TIOC.GWINSZ, TIOC.SWINSZ), "struct winsize"),
    **dict.fromkeys((TIOC.GSERIAL, TIOC.SSERIAL), "struct serial_struct"),
    **dict.fromkeys((TIOC.GRS485, TIOC.SRS485), "struct serial_rs485"),
    TIOC.GICOUNT: "struct serial_icounter_struct",
    TIOC.STI: "char",
    **dict.fromkeys((SIOC.SPGRP, SIOC.GPGRP, SIOC.ATMARK, SIOC.OUTQNSD), "int"),
    **dict.fromkeys((SIOC.GSTAMP, SIOC.GSTAMPNS), "struct { long seconds, fraction; }"),
    **dict.fromkeys((SIOC.GIFNAME, SIOC.GIFADDR, SIOC.SIFNETMASK, SIOC.ETHTOOL), "struct ifreq"),
    **dict.fromkeys((TUN.SETIFF, TUN.GETIFF, TUN.SETQUEUE), "struct ifreq"),
    **dict.fromkeys((TUN.ATTACHFILTER, TUN.GETFILTER), "struct sock_fprog"),
    TUN.GETFEATURES: "int",
    IOWR("X", 1, 300): "char[300]",
    IO("X", 1): "char[0]",
}
HEADERS = (
    *("asm/termbits.h", "asm/termios.h", "linux/serial.h", "sys/types.h"),
    *("sys/socket.h", "linux/if.h", "linux/filter.h"),
)


@pytest.mark.parametrize("architecture", compiler.ARCHITECTURES)
def test_sizes_of_arguments(architecture: str) -> None:
    if compiler.compiler(architecture) is None:
        pytest.skip(f"package: no C compiler for {architecture} is installed")
    known = compiler.evaluate(architecture, HEADERS, tuple(f"sizeof({typ})" for typ in SIZES.values()))
    assert {request: _argument_size(request) for request in SIZES} == {
        request: known[f"sizeof({typ})"][0] for request, typ in SIZES.items()
    }


async def test_memory_that_is_too_small_is_refused(local: Local) -> None:
    pipe = await (await local.task.pipe(await local.malloc(Pipe))).read()
    for request in SIZES:
        size = _argument_size(request)
        if size:
            with no_calls(local.task):
                with pytest.raises(BufferTooSmallError) as info:
                    await pipe.read.ioctl(request, await local.malloc(bytes, size - 1))
                assert info.value.args == (size - 1, size)
                with pytest.raises(SyscallSendError):
                    await pipe.read.ioctl(request, await local.malloc(bytes, size))
                with pytest.raises(SyscallSendError):
                    await pipe.read.ioctl(request, 1)


async def test_requests_that_say_more_than_they_take(local: Local, tmp_path: Path) -> None:
    """The flags of a file are an int, although the number of the request says that they are a long."""
    file = await local.task.open(await local.ptr(tmp_path), O.DIRECTORY)
    both = await (await local.malloc(bytes, 8)).write(b"u" * 8)
    room, guard = both.split(4)
    fs_ioc_getflags = IOR("f", 1, 8)
    with contextlib.suppress(OSError):  # not every file system has them
        await file.ioctl(fs_ioc_getflags, room)
    assert await guard.read() == b"u" * 4
    with pytest.raises(BufferTooSmallError):
        await file.ioctl(fs_ioc_getflags, room.split(3)[0])


async def test_error_names_the_request_whatever_the_errno(local: Local) -> None:
    pipe = await (await local.task.pipe(await local.malloc(Pipe))).read()
    with pytest.raises(OSError, match="Inappropriate ioctl") as info:
        await pipe.read.ioctl(TIOC.GWINSZ, await local.malloc(bytes, 8))
    assert info.value.errno == errno.ENOTTY
    assert info.value.filename == TIOC.GWINSZ
    with pytest.raises(OSError, match="Bad address") as info:
        await pipe.read.ioctl(FIO.NREAD, 0)
    assert info.value.errno == errno.EFAULT
    assert info.value.filename == FIO.NREAD


async def test_misuse_raises_before_any_call(local: Local) -> None:
    """The address space of the memory is checked: the kernel would write to that address of ours."""
    pipe = await (await local.task.pipe(await local.malloc(Pipe))).read()
    foreign = await stranger().malloc(Int32)
    freed = await local.malloc(Int32)
    freed.free()
    with no_calls(local.task):
        with pytest.raises(AddressSpaceMismatchError):
            await pipe.read.ioctl(FIO.NREAD, foreign)
        with pytest.raises(UseAfterFreeError):
            await pipe.read.ioctl(FIO.NREAD, freed)
    await pipe.read.close()
    with no_calls(local.task), pytest.raises(InvalidHandleError):
        await pipe.read.ioctl(FIO.NREAD, await local.malloc(Int32))


def test_sizes_do_not_depend_on_what_is_imported() -> None:
    text = "import sys; from rsyscall.sys.ioctl import _argument_size as size\n"
    text += "print(size(0x8913), 'rsyscall.net.if_' in sys.modules)  # SIOCGIFFLAGS"
    result = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["40", "False"]
