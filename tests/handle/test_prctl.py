"""`rsyscall.sys.prctl`."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from rsyscall.far import AddressSpaceMismatchError
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.handle.pointer import ReadablePointer
from rsyscall.near import SyscallSendError
from rsyscall.signal import SIG
from rsyscall.struct import Int32
from rsyscall.sys.prctl import PR, PR_CAP_AMBIENT

from .helpers import forked, no_calls, stranger
from .support import Local, run

# of <linux/capability.h>
CAP_KILL = 5
CAP_SETPCAP = 8
CAP_NET_RAW = 13


@forked
async def test_name_reusing_the_memory(local: Local, tmp_path: Path) -> None:
    await local.task.prctl(PR.SET_NAME, await local.ptr("worker"))
    buf = await local.task.prctl(PR.GET_NAME, await local.malloc(str, 16))
    assert isinstance(buf, ReadablePointer)
    assert await buf.read() == "worker"
    assert Path("/proc/self/comm").read_text() == "worker\n"
    await local.task.prctl(PR.SET_NAME, await local.ptr("a name of twenty bytes"))
    buf = await local.task.prctl(PR.GET_NAME, buf)
    assert await buf.read() == "a name of twent"


async def test_name_takes_the_first_sixteen_bytes(local: Local) -> None:
    name = await local.task.prctl_get_name(PR.GET_NAME, await local.malloc(str, 100))
    assert name.size() == 16


async def test_name_that_would_not_fit_is_refused(local: Local) -> None:
    """The kernel does not know how much room there is."""
    small = await local.malloc(str, 15)
    with no_calls(local.task), pytest.raises(ValueError, match="16 bytes"):
        await local.task.prctl(PR.GET_NAME, small)
    assert small.valid


@pytest.mark.parametrize(
    ("option", "size"),
    [
        *((option, 4) for option in (PR.GET_UNALIGN, PR.GET_FPEMU, PR.GET_FPEXC, PR.GET_ENDIAN, PR.GET_TSC)),
        (PR.GET_TID_ADDRESS, 8),
        (PR.GET_DUMPABLE, 0),
    ],
)
async def test_memory_that_is_too_small_is_refused(local: Local, option: PR, size: int) -> None:
    with no_calls(local.task):
        if size:
            with pytest.raises(BufferTooSmallError) as info:
                await local.task.prctl(option, await local.malloc(bytes, size - 1))
            assert info.value.args == (size - 1, size)
        with pytest.raises(SyscallSendError):
            await local.task.prctl(option, await local.malloc(bytes, size))


@forked
async def test_pdeathsig(local: Local, tmp_path: Path) -> None:
    await local.task.prctl(PR.SET_PDEATHSIG, SIG.USR1)
    buf = await local.task.prctl(PR.GET_PDEATHSIG, await local.malloc(Int32))
    assert await buf.read() == SIG.USR1
    with pytest.raises(OSError, match="Invalid argument"):
        await local.task.prctl(PR.SET_PDEATHSIG, 1000)  # type: ignore[call-overload]  # wrong on purpose
    await local.task.prctl(PR.SET_PDEATHSIG, 0)


def test_process_with_pdeathsig_dies_with_its_parent() -> None:
    receiver, sender = os.pipe()
    parent = os.fork()
    if not parent:
        try:
            child = os.fork()
            if not child:
                local = Local.make()
                run(local.task.prctl(PR.SET_PDEATHSIG, SIG.KILL))
                os.write(sender, b"set")
                time.sleep(60)
                os.write(sender, b"and alive")
            else:
                os.close(sender)
                os.read(receiver, 3)
        finally:
            os._exit(0)
    os.close(sender)
    os.waitpid(parent, 0)
    assert os.read(receiver, 100) == b""  # once the grandchild is gone
    os.close(receiver)


@forked
async def test_ambient_capabilities(local: Local, tmp_path: Path) -> None:
    async def ambient(action: PR_CAP_AMBIENT, cap: int = 0) -> int:
        return await local.task.prctl(PR.CAP_AMBIENT, action, cap)

    assert await ambient(PR_CAP_AMBIENT.IS_SET, CAP_KILL) == 0
    await ambient(PR_CAP_AMBIENT.LOWER, CAP_KILL)
    await ambient(PR_CAP_AMBIENT.CLEAR_ALL)
    status = dict(line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines())
    if not int(status["CapInh"], 16) >> CAP_KILL & 1:
        with pytest.raises(PermissionError) as info:
            await ambient(PR_CAP_AMBIENT.RAISE, CAP_KILL)
        assert info.value.filename == (PR.CAP_AMBIENT, PR_CAP_AMBIENT.RAISE, CAP_KILL)
    with pytest.raises(OSError, match="Invalid argument"):
        await ambient(PR_CAP_AMBIENT.RAISE, 1000)


@pytest.mark.needs("CAP_SETPCAP")
@forked
async def test_bounding_set(local: Local, tmp_path: Path) -> None:
    assert await local.task.prctl_capbset_read(CAP_NET_RAW)
    await local.task.prctl_capbset_drop(CAP_NET_RAW)
    assert not await local.task.prctl_capbset_read(CAP_NET_RAW)
    with pytest.raises(OSError, match="Invalid argument") as info:
        await local.task.prctl_capbset_read(1000)
    assert info.value.filename == (PR.CAPBSET_READ, 1000)


@forked
async def test_no_new_privs(local: Local, tmp_path: Path) -> None:
    before = "NoNewPrivs:\t1" in Path("/proc/self/status").read_text()  # there is no way back
    assert await local.task.prctl_get_no_new_privs() is before
    await local.task.prctl_set_no_new_privs()
    assert await local.task.prctl_get_no_new_privs()
    assert "NoNewPrivs:\t1" in Path("/proc/self/status").read_text()


@forked
async def test_dumpable(local: Local, tmp_path: Path) -> None:
    await local.task.prctl_set_dumpable(False)
    assert await local.task.prctl_get_dumpable() == 0
    await local.task.prctl_set_dumpable(True)
    assert await local.task.prctl_get_dumpable() == 1


@forked
async def test_keepcaps(local: Local, tmp_path: Path) -> None:
    assert not await local.task.prctl_get_keepcaps()
    await local.task.prctl_set_keepcaps(True)
    assert await local.task.prctl_get_keepcaps()
    await local.task.prctl_set_keepcaps(False)
    assert not await local.task.prctl_get_keepcaps()


@forked
async def test_subreaper_gets_orphans(local: Local, tmp_path: Path) -> None:
    buf = await local.malloc(Int32)
    await local.task.prctl_set_child_subreaper(True)
    assert await (await local.task.prctl(PR.GET_CHILD_SUBREAPER, buf)).read() == 1
    reaper = os.getpid()
    if not os.fork():
        if not os.fork():
            while os.getppid() != reaper:
                time.sleep(0.001)
            os._exit(7)
        os._exit(0)
    statuses = {os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(2)}
    assert statuses == {0, 7}


@forked
async def test_options_without_a_method_of_their_own(local: Local, tmp_path: Path) -> None:
    await local.task.prctl(PR.SET_TIMERSLACK, 123456)
    assert await local.task.prctl(PR.GET_TIMERSLACK) == 123456
    address = await local.malloc(bytes, 8)
    await local.task.prctl(PR.GET_TID_ADDRESS, address)
    assert address.valid
    with pytest.raises(OSError, match="Invalid argument") as info:
        await local.task.prctl(PR.SET_NO_NEW_PRIVS, 2, 3)
    assert info.value.errno == errno.EINVAL
    assert info.value.filename == (PR.SET_NO_NEW_PRIVS, 2, 3, 0, 0)


@pytest.mark.parametrize(
    "option", [PR.GET_NAME, PR.SET_NAME, PR.GET_PDEATHSIG, PR.GET_CHILD_SUBREAPER, PR.GET_TID_ADDRESS]
)
async def test_misuse_raises_before_any_call(local: Local, option: PR) -> None:
    foreign = await stranger().ptr("0123456789abcdef")
    freed = await local.ptr("0123456789abcdef")
    freed.free()
    with no_calls(local.task):
        with pytest.raises(AddressSpaceMismatchError):
            await local.task.prctl(option, foreign)
        with pytest.raises(UseAfterFreeError):
            await local.task.prctl(option, freed)
