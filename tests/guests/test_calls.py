"""Calls that the kernel of this machine may lack, or that must not be made in it."""

from __future__ import annotations

import errno
import os

import pytest

from rsyscall.asm.hwprobe import RISCV_HWPROBE, RISCV_HWPROBE_KEY, RiscvHwprobe
from rsyscall.fcntl import O
from rsyscall.linux.kexec import KEXEC, KexecSegment
from rsyscall.linux.nsfs import NamespaceIdList, NsIdReq
from rsyscall.near import UnsupportedSyscallError
from rsyscall.path import Path
from rsyscall.sched import CpuSet
from rsyscall.stdlib import mkdtemp
from rsyscall.struct import StructList
from rsyscall.sys.mount import MS

from .guest import GuestThread
from .machine import Machine

pytestmark = pytest.mark.slow


async def kernel_is_loaded(thread: GuestThread) -> bool:
    async with await mkdtemp(thread) as directory:
        where, sysfs = await thread.ptr(directory), await thread.ptr("sysfs")
        await thread.task.mount(sysfs, where, sysfs, MS.NONE, await thread.ptr(""))
        try:
            path = await thread.ptr(Path(directory / "kernel" / "kexec_loaded"))
            async with await thread.task.open(path, O.RDONLY) as file:
                return await thread.read_to_eof(file) == b"1\n"
        finally:
            await thread.task.umount(where)


async def test_a_kernel_is_loaded_and_unloaded(machine: Machine, thread: GuestThread) -> None:
    """It is never started: nothing restarts the machine."""
    task, page = thread.task, thread.task.sysif.abi.page_size
    part = await thread.ptr(bytes(page))
    # Of 512 MB, which begin here.
    memory = {"aarch64": 0x40000000, "riscv64": 0x80000000}[machine.name] + (256 << 20)

    async def load(where: int) -> None:
        segments = StructList(KexecSegment, [KexecSegment(part, page, where, page)])
        await task.kexec_load(where, await thread.ptr(segments), KEXEC.ARCH_DEFAULT)

    with pytest.raises(OSError, match="assign requested address") as caught:
        await load(0x1001)
    assert caught.value.filename == 0x1001
    try:
        await load(memory)
    except OSError as error:
        # There a kernel comes with a description of the machine.
        assert (machine.name, error.errno) == ("riscv64", errno.EINVAL)  # noqa: PT017
    else:
        assert await kernel_is_loaded(thread)
    await task.kexec_load(0, None)
    assert not await kernel_is_loaded(thread)


async def test_what_the_processors_can(machine: Machine, thread: GuestThread) -> None:
    keys = [RISCV_HWPROBE_KEY.MVENDORID, RISCV_HWPROBE_KEY.BASE_BEHAVIOR, 99_999]
    pairs = await thread.ptr(StructList(RiscvHwprobe, [RiscvHwprobe(key) for key in keys]))
    if machine.name != "riscv64":
        with pytest.raises(UnsupportedSyscallError, match="riscv_hwprobe"):
            await thread.task.riscv_hwprobe(pairs)
        return
    answers = (await (await thread.task.riscv_hwprobe(pairs)).read()).elems
    assert [answer.key for answer in answers] == [*keys[:2], -1]
    assert answers[1].value & 1, "the integers of all programs"
    cpus = await thread.ptr(CpuSet({0, 1}))
    question = await thread.ptr(StructList(RiscvHwprobe, answers[1:2]))
    await thread.task.riscv_hwprobe(question, cpus, RISCV_HWPROBE.WHICH_CPUS)
    assert await cpus.read() == {0, 1}
    wrong = await thread.ptr(StructList(RiscvHwprobe, [RiscvHwprobe(0)]))
    with pytest.raises(OSError, match="Invalid argument") as caught:
        await thread.task.riscv_hwprobe(wrong, None, RISCV_HWPROBE(0x80))
    assert caught.value.filename is wrong


async def test_instructions_that_were_written_are_seen(machine: Machine, thread: GuestThread) -> None:
    code = await thread.ptr(b"\x82\x80")
    if machine.name == "riscv64":
        await thread.task.riscv_flush_icache(code)
    else:
        with pytest.raises(UnsupportedSyscallError, match="riscv_flush_icache"):
            await thread.task.riscv_flush_icache(code)


async def test_namespaces_have_ids(thread: GuestThread) -> None:
    req, room = await thread.ptr(NsIdReq()), await thread.malloc(NamespaceIdList, 800)
    try:
        ids, _ = await thread.task.listns(req, room)
    except OSError as error:
        missing = f"{os.strerror(errno.ENOSYS)}: listns, in Linux since 6.19"
        assert error.strerror == missing  # noqa: PT017 (newer kernels have it)
    else:
        assert set(range(1, 9)) & set(await ids.read()), "those of the first process"


async def test_calls_of_x86_64_are_refused(thread: GuestThread) -> None:
    for call in (thread.task.ioperm(0, 1, True), thread.task.iopl(0), thread.task.arch_prctl(0x1001, 0)):
        with pytest.raises(UnsupportedSyscallError):
            await call
