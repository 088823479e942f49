"""Futexes, rings, requests, faults of memory, accesses to files, the clock and messages of the kernel."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import platform
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rsyscall.fcntl import O
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.linux.aio_abi import IOCB_CMD, Iocb, IocbList, IoEventList
from rsyscall.linux.futex import FUTEX, FUTEX2, FutexWaitv
from rsyscall.linux.io_uring import (
    IORING_ENTER,
    IORING_OP,
    IORING_REGISTER,
    IORING_SETUP,
    IoUringParams,
    IoUringSqe,
)
from rsyscall.linux.membarrier import MEMBARRIER_CMD
from rsyscall.linux.userfaultfd import (
    UFFD,
    UFFD_EVENT,
    UFFDIO,
    UffdioApi,
    UffdioRange,
    UffdioRegister,
    UffdioZeropage,
    UffdMsg,
)
from rsyscall.near import types as near
from rsyscall.signal import Sigset
from rsyscall.struct import Int32, Int64, StructList
from rsyscall.sys.fanotify import FAN, FAN_INIT, FAN_MARK, FanotifyEventMetadata
from rsyscall.sys.klog import SYSLOG_ACTION
from rsyscall.sys.mman import MAP, PROT
from rsyscall.sys.personality import Persona
from rsyscall.sys.select import SigmaskArg
from rsyscall.sys.timex import ADJ, Timex
from rsyscall.sys.uio import IovecList
from rsyscall.time import CLOCK, Timespec

from .helpers import forked, no_calls
from .support import Local


@contextlib.contextmanager
def what_the_kernel_has(name: str, *denied: int) -> Iterator[None]:
    """Skip where the kernel does not have the call, or denies it."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSYS, *denied):
            pytest.skip(f"kernel: {name} is missing or denied")
        raise


async def test_a_word_is_waited_for(local: Local) -> None:
    word, other = await local.ptr(Int32(5)), await local.ptr(Int32(6))
    assert await local.task.futex(word, FUTEX.WAKE, 1) == 0
    soon = await local.ptr(Timespec(0, 1_000_000))
    with pytest.raises(BlockingIOError) as caught:
        await local.task.futex(word, FUTEX.WAIT, 4, soon)
    assert caught.value.filename == (word, FUTEX.WAIT)
    with pytest.raises(TimeoutError):
        await local.task.futex(word, FUTEX.WAIT | FUTEX.PRIVATE_FLAG, 5, soon)
    assert await local.task.futex(word, FUTEX.CMP_REQUEUE, 1, 1, other, 5) == 0
    woken = threading.Timer(0.05, wake, [int(word.near)])
    woken.start()
    waiters = StructList(FutexWaitv, [FutexWaitv(6, other), FutexWaitv(5, word)])
    assert await local.task.futex_waitv(await local.ptr(waiters)) == 1
    woken.join()
    past = await local.ptr(Timespec(1, 0))
    with pytest.raises(TimeoutError):
        await local.task.futex_waitv(await local.ptr(waiters), past)
    small, _ = word.split(3)
    with no_calls(local.task), pytest.raises(BufferTooSmallError):
        await local.task.futex(small, FUTEX.WAKE, 1)


async def test_words_that_are_larger_need_more_memory(local: Local) -> None:
    """The number of a node is behind the word, and the kernel may set it."""
    word, _ = (await local.malloc(bytes, 16)).split(4)
    numa = FUTEX2.SIZE_U32 | FUTEX2.NUMA
    assert [flags.word_size for flags in (FUTEX2.SIZE_U8, FUTEX2.SIZE_U64, numa)] == [1, 8, 8]
    one = StructList(FutexWaitv, [FutexWaitv(0, word, numa)])
    two = StructList(FutexWaitv, [FutexWaitv(0, word), FutexWaitv(0, word, FUTEX2.SIZE_U64)])
    for call in (
        local.task.futex_wake(word, flags=numa),
        local.task.futex_wait(word, 1, flags=numa),
        local.task.futex_waitv(await local.ptr(one)),
        local.task.futex_requeue(await local.ptr(two), 1, 1),
    ):
        with no_calls(local.task), pytest.raises(BufferTooSmallError) as caught:
            await call
        assert caught.value.args == (4, 8)
    with no_calls(local.task), pytest.raises(ValueError, match="two words"):
        await local.task.futex_requeue(await local.ptr(one), 1, 1)


async def test_a_timeout_is_in_memory(local: Local) -> None:
    word, soon = await local.ptr(Int32(5)), await local.ptr(Timespec(0, 1))
    for call in (
        local.task.futex(word, FUTEX.WAIT, 5, int(soon.near)),
        local.task.futex(word, FUTEX.WAIT_BITSET_PRIVATE, 5, int(soon.near), None, 1),
        local.task.futex(word, FUTEX.REQUEUE, 1, soon, word),
    ):
        with no_calls(local.task), pytest.raises(TypeError, match="timeout"):
            await call


def wake(address: int) -> None:
    """Wake one waiter of a word of this process."""
    numbers = {"x86_64": 202, "aarch64": 98, "riscv64": 98}
    ctypes.CDLL(None).syscall(numbers[platform.machine()], ctypes.c_long(address), 1, 1, None, None, 0)


async def test_a_word_is_waited_for_by_the_new_calls(local: Local) -> None:
    word, other = await local.ptr(Int32(5)), await local.ptr(Int32(6))
    with what_the_kernel_has("futex_wake"):
        assert await local.task.futex_wake(word) == 0
    with pytest.raises(BlockingIOError) as caught:
        await local.task.futex_wait(word, 4)
    assert caught.value.filename is word
    with pytest.raises(TimeoutError):
        await local.task.futex_wait(word, 5, timeout=await local.ptr(Timespec(1, 0)))
    waiters = StructList(FutexWaitv, [FutexWaitv(5, word), FutexWaitv(0, other)])
    assert await local.task.futex_requeue(await local.ptr(waiters), 1, 1) == 0
    waiters.elems[0].val = 4
    with pytest.raises(BlockingIOError):
        await local.task.futex_requeue(await local.ptr(waiters), 1, 1)


async def test_memory_barriers(local: Local) -> None:
    with what_the_kernel_has("membarrier"):
        known = MEMBARRIER_CMD(await local.task.membarrier(MEMBARRIER_CMD.QUERY))
    assert known & MEMBARRIER_CMD.PRIVATE_EXPEDITED
    assert await local.task.membarrier(MEMBARRIER_CMD.REGISTER_PRIVATE_EXPEDITED) == 0
    assert await local.task.membarrier(MEMBARRIER_CMD.PRIVATE_EXPEDITED) == 0
    with pytest.raises(OSError, match="Invalid") as caught:
        await local.task.membarrier(MEMBARRIER_CMD(1 << 30))
    assert caught.value.filename == 1 << 30


@forked
async def test_behaving_like_an_older_system(local: Local, tmp_path: Path) -> None:
    before = await local.task.personality()
    assert await local.task.personality(before | Persona.ADDR_NO_RANDOMIZE | Persona.UNAME26) == before
    assert await local.task.personality() == before | Persona.ADDR_NO_RANDOMIZE | Persona.UNAME26
    assert os.uname().release.startswith("2.6.")


async def test_how_the_clock_is_kept(local: Local) -> None:
    written = await local.ptr(Timex())
    state, memory = await local.task.adjtimex(written)
    assert 0 <= state <= 5
    # What it was known to hold is there no longer.
    assert not written.valid
    clock = await memory.read()
    assert abs(clock.time_sec - time.time()) < 5
    assert clock.tick > 0
    again, memory = await local.task.clock_adjtime(CLOCK.REALTIME, await memory.write(Timex()))
    assert again == state
    assert (await memory.read()).tick == clock.tick
    with pytest.raises(OSError, match=r"Invalid|not supported") as caught:
        await local.task.clock_adjtime(CLOCK.MONOTONIC, await local.ptr(Timex(modes=ADJ.NONE)))
    assert caught.value.filename == CLOCK.MONOTONIC


async def test_the_messages_of_the_kernel(local: Local) -> None:
    try:
        size = await local.task.klogctl(SYSLOG_ACTION.SIZE_BUFFER)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):
            pytest.skip("kernel: its messages are missing or denied")
        raise
    assert size > 0
    memory = await local.malloc(bytes, 4096)
    count = await local.task.klogctl(SYSLOG_ACTION.READ_ALL, memory)
    assert 0 <= count <= 4096
    with pytest.raises(OSError, match="Invalid") as caught:
        await local.task.klogctl(SYSLOG_ACTION.CONSOLE_LEVEL, None, 99)
    assert caught.value.filename == SYSLOG_ACTION.CONSOLE_LEVEL


async def test_faults_are_handled(local: Local) -> None:
    with what_the_kernel_has("userfaultfd", errno.EPERM):
        fd = await local.task.userfaultfd(UFFD.USER_MODE_ONLY | UFFD.NONBLOCK)
    assert not os.get_inheritable(int(fd))
    api = await local.ptr(UffdioApi())
    await fd.ioctl(UFFDIO.API, api)
    assert (await api.read()).ioctls & 1
    pages = await local.task.mmap(2 * mmap.PAGESIZE, PROT.READ | PROT.WRITE, MAP.PRIVATE)
    whole = UffdioRange(pages.near.address, pages.near.length)
    await fd.ioctl(UFFDIO.REGISTER, await local.ptr(UffdioRegister(whole)))
    zeros = await local.ptr(UffdioZeropage(whole))
    await fd.ioctl(UFFDIO.ZEROPAGE, zeros)
    assert (await zeros.read()).zeropage == 2 * mmap.PAGESIZE
    with pytest.raises(FileExistsError) as caught:
        await fd.ioctl(UFFDIO.ZEROPAGE, zeros)
    assert caught.value.filename == UFFDIO.ZEROPAGE
    await fd.ioctl(UFFDIO.UNREGISTER, await local.ptr(whole))
    await pages.munmap()
    await fd.close()
    with pytest.raises(OSError, match="Invalid") as bad:
        await local.task.userfaultfd(UFFD(0x40))
    assert int(bad.value.filename) == 0x40


def test_a_fork_makes_a_descriptor() -> None:
    message = UffdMsg.from_bytes(bytes([UFFD_EVENT.FORK]) + bytes(7) + b"\5\0\0\0" + b"\xff" * 20)
    assert message.fork_ufd == 5
    with pytest.raises(ValueError, match="no descriptor"):
        _ = UffdMsg(UFFD_EVENT.PAGEFAULT).fork_ufd


async def test_a_ring_does_nothing(local: Local) -> None:
    params = await local.ptr(IoUringParams())
    with what_the_kernel_has("io_uring", errno.EPERM):
        ring, answer = await local.task.io_uring_setup(4, params)
    assert not params.valid
    made = await answer.read()
    assert (made.sq_entries, made.cq_entries) == (4, 8)
    assert not os.get_inheritable(int(ring))
    size = made.cq_off.cqes + 16 * made.cq_entries
    rings = mmap.mmap(int(ring), max(size, made.sq_off.array + 16), mmap.MAP_SHARED, offset=0)
    entries = mmap.mmap(int(ring), 64 * 4, mmap.MAP_SHARED, offset=0x10000000)
    entries[:64] = IoUringSqe(opcode=IORING_OP.NOP, user_data=1234).to_bytes()
    rings[made.sq_off.array : made.sq_off.array + 4] = bytes(4)
    rings[made.sq_off.tail : made.sq_off.tail + 4] = b"\1\0\0\0"
    assert await ring.io_uring_enter(1, 1, IORING_ENTER.GETEVENTS) == 1
    answer = rings[made.cq_off.cqes : made.cq_off.cqes + 16]
    assert int.from_bytes(answer[:8], "little") == 1234
    assert answer[8:12] == bytes(4)
    event = await local.task.eventfd(0)
    await ring.io_uring_register(IORING_REGISTER.EVENTFD, await local.ptr(Int32(int(event))), 1)
    assert await ring.io_uring_register(IORING_REGISTER.UNREGISTER_EVENTFD, None, 0) == 0
    with pytest.raises(OSError, match="No such device") as caught:
        await ring.io_uring_register(IORING_REGISTER.UNREGISTER_EVENTFD, None, 0)
    assert caught.value.filename == (ring, IORING_REGISTER.UNREGISTER_EVENTFD)
    with no_calls(local.task):
        with pytest.raises(ValueError, match="REGISTERED_RING"):
            await ring.io_uring_enter(0, flags=IORING_ENTER.REGISTERED_RING)
        with pytest.raises(ValueError, match="REGISTERED_RING"):
            await ring.io_uring_register(1 << 31 | IORING_REGISTER.EVENTFD, await local.ptr(Int32(0)), 1)
        with pytest.raises(BufferTooSmallError) as small:
            await ring.io_uring_register(IORING_REGISTER.PROBE, await local.malloc(bytes, 32), 3)
        assert small.value.args == (32, 40)
        with pytest.raises(BufferTooSmallError):
            await ring.io_uring_register(IORING_REGISTER.FILES, await local.ptr(Int32(int(event))), 2)
    probe = await local.ptr(bytes(40))
    await ring.io_uring_register(IORING_REGISTER.PROBE, probe, 3)
    assert (await probe.read())[1] == 3
    entries.close()
    rings.close()
    await event.close()
    await ring.close()


async def test_a_ring_without_a_descriptor_is_refused(local: Local) -> None:
    """The kernel would answer with an index, which is not the number of a descriptor."""
    flags = IORING_SETUP.REGISTERED_FD_ONLY | IORING_SETUP.NO_MMAP
    params = await local.ptr(IoUringParams(flags=flags))
    with no_calls(local.task), pytest.raises(ValueError, match="REGISTERED_FD_ONLY"):
        await local.task.io_uring_setup(4, params)


async def test_requests_are_answered(local: Local, tmp_path: Path) -> None:
    memory = await local.ptr(Int64(0))
    with what_the_kernel_has("io_setup"):
        identified = await local.task.io_setup(4, memory)
    assert not memory.valid
    context = near.Address(int(await identified.read()))
    (tmp_path / "file").write_bytes(b"contents")
    file = await local.task.open(await local.ptr(tmp_path / "file"), O.RDONLY)
    buffer = await local.malloc(bytes, 5)
    request = Iocb(data=77, lio_opcode=IOCB_CMD.PREAD, fildes=int(file), buf=buffer, nbytes=5, offset=3)
    entry = await local.ptr(request)
    assert await local.task.io_submit(context, await local.ptr(IocbList([entry]))) == 1
    done, rest = await local.task.io_getevents(context, 1, await local.malloc(IoEventList, 64))
    [event] = await done.read()
    assert (event.data, event.obj, event.res) == (77, int(entry.near), 5)
    assert await buffer.read() == b"tents"
    mask = await local.ptr(SigmaskArg(await local.ptr(Sigset())))
    none, _ = await local.task.io_pgetevents(context, 0, rest, await local.ptr(Timespec(0, 0)), mask)
    assert await none.read() == IoEventList()
    with pytest.raises(OSError, match="Invalid") as caught:
        await local.task.io_cancel(context, entry, await local.malloc(IoEventList, 32))  # type: ignore[arg-type]  # of the same size
    assert caught.value.filename == context
    pieces = IovecList([await local.malloc(bytes, 3), await local.malloc(bytes, 2)])
    array = await local.ptr(pieces)
    request = Iocb(lio_opcode=IOCB_CMD.PREADV, fildes=int(file), buf=array, nbytes=2, offset=1)
    vector = await local.ptr(IocbList([await local.ptr(request)]))
    assert await local.task.io_submit(context, vector) == 1
    done, _ = await local.task.io_getevents(context, 1, await local.malloc(IoEventList, 32))
    assert [event.res for event in await done.read()] == [5]
    assert [await piece.read() for piece in pieces] == [b"ont", b"en"]
    pieces[1].free()
    with no_calls(local.task), pytest.raises(UseAfterFreeError):
        await local.task.io_submit(context, vector)
    await local.task.io_destroy(context)
    with pytest.raises(OSError, match="Invalid"):
        await local.task.io_destroy(context)
    await file.close()


async def test_requests_stay_within_their_memory(local: Local) -> None:
    buffer = await local.malloc(bytes, 5)
    array = await local.ptr(IovecList([buffer]))
    for request, error in (
        (Iocb(lio_opcode=IOCB_CMD.PREAD, buf=buffer, nbytes=6), BufferTooSmallError),
        (Iocb(lio_opcode=IOCB_CMD.PWRITE, buf=buffer, nbytes=6), BufferTooSmallError),
        (Iocb(lio_opcode=IOCB_CMD.PREADV, buf=array, nbytes=2), ValueError),
        (Iocb(lio_opcode=IOCB_CMD.PWRITEV, buf=buffer, nbytes=0), TypeError),
    ):
        requests = await local.ptr(IocbList([await local.ptr(request)]))
        with no_calls(local.task), pytest.raises(error):
            await local.task.io_submit(near.Address(0), requests)


async def test_accesses_are_told(local: Local, tmp_path: Path) -> None:
    with what_the_kernel_has("fanotify", errno.EPERM):
        fd = await local.task.fanotify_init(FAN_INIT.REPORT_FID | FAN_INIT.NONBLOCK)
    assert not os.get_inheritable(int(fd))
    (tmp_path / "file").touch()
    directory = await local.task.open(await local.ptr(tmp_path), O.DIRECTORY)
    try:
        await fd.fanotify_mark(FAN_MARK.ADD, FAN.MODIFY, directory, await local.ptr("file"))
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENODEV, errno.EXDEV):
            pytest.skip("kernel: the file system of temporary files has no handles")
        raise
    (tmp_path / "file").write_text("x")
    [event, *_] = [os.read(int(fd), 4096)]
    found = FanotifyEventMetadata.from_bytes(event)
    assert (found.mask, found.pid, found.vers) == (FAN.MODIFY, os.getpid(), 3)
    await fd.fanotify_mark(FAN_MARK.FLUSH, FAN.NONE, None, None)
    missing = await local.ptr("missing")
    with pytest.raises(FileNotFoundError) as caught:
        await fd.fanotify_mark(FAN_MARK.ADD, FAN.MODIFY, directory, missing)
    assert caught.value.filename == (directory, "missing")
    await directory.close()
    await fd.close()
