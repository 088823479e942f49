"""The calls that take the id of a process: its memory, its signals, what it shares."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest

from rsyscall.far import NamespaceMismatchError
from rsyscall.handle.process import ChildProcess, DeadProcessError, Process
from rsyscall.linux.kcmp import KCMP
from rsyscall.near import types as near
from rsyscall.signal import SI, SIG, HowSIG, QueuedSiginfo, Siginfo, Sigset
from rsyscall.struct import Int64, StructList
from rsyscall.sys.pidfd import PIDFD
from rsyscall.sys.uio import Iovec, IovecList
from rsyscall.sys.wait import W
from rsyscall.time import Timespec

from .helpers import forked, stranger
from .processes import sleeping_child
from .support import Local


async def test_memory_is_copied(local: Local) -> None:
    theirs = ctypes.create_string_buffer(b"before", 16)
    with sleeping_child() as pid:
        child = ChildProcess(local.task, near.Process(pid))
        remote = await local.ptr(StructList(Iovec, [Iovec(ctypes.addressof(theirs), 6)]))
        pieces = IovecList([await local.ptr(b"after!")])
        done, partial, rest = await child.process_vm_writev(await local.ptr(pieces), remote)
        assert (len(done.value), partial, len(rest.value)) == (1, None, 0)
        room = IovecList([await local.malloc(bytes, 4), await local.malloc(bytes, 8)])
        done, partial, rest = await child.process_vm_readv(await local.ptr(room), remote)
        assert await done.value[0].read() == b"afte"
        assert partial is not None
        assert await partial[0].read() == b"r!"
        assert partial[1].size() == 6
        assert theirs.value == b"before"
        nowhere = await local.ptr(StructList(Iovec, [Iovec(0, 1)]))
        with pytest.raises(OSError, match="address") as caught:
            await child.process_vm_readv(await local.ptr(IovecList([await local.malloc(bytes, 1)])), nowhere)
        assert caught.value.filename == child.near


async def test_what_two_processes_share(local: Local) -> None:
    ours = local.task.process
    assert await ours.kcmp(ours, KCMP.VM) == 0
    assert await ours.kcmp(ours, KCMP.FILE, 0, 0) == 0
    with sleeping_child() as pid:
        child = ChildProcess(local.task, near.Process(pid))
        assert await child.kcmp(ours, KCMP.VM) in (1, 2, 3)
        with pytest.raises(OSError, match="Bad file") as caught:
            await child.kcmp(ours, KCMP.FILE, 9999, 0)
        assert caught.value.filename == (child.near, ours.near, KCMP.FILE)
        elsewhere = Process(stranger().task, near.Process(pid))
        with pytest.raises(NamespaceMismatchError):
            await child.kcmp(elsewhere, KCMP.VM)
        with pytest.raises(NamespaceMismatchError):
            await local.task.pidfd_open(elsewhere)


async def test_a_descriptor_of_another_process(local: Local, tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, sleeping_child() as pid:
        number = os.dup2(file.fileno(), 650, inheritable=False)
        ours = await local.task.pidfd_open(local.task.process)
        child = await local.task.pidfd_open(ChildProcess(local.task, near.Process(pid)), PIDFD.NONBLOCK)
        copy = await ours.pidfd_getfd(number)
        os.close(number)
        assert os.path.samestat(os.fstat(int(copy)), os.fstat(file.fileno()))
        with pytest.raises(OSError, match="Bad file") as caught:
            await child.pidfd_getfd(650)
        assert caught.value.filename == (child, 650)
        for fd in (copy, ours, child):
            assert not os.get_inheritable(int(fd))
            await fd.close()


@forked
async def test_a_number_comes_with_a_signal(local: Local, tmp_path: Path) -> None:
    signals = await local.ptr(Sigset({SIG.USR1}))
    await local.task.sigprocmask((HowSIG.BLOCK, signals))
    ours, info = local.task.process, await local.malloc(QueuedSiginfo)
    sent = await local.ptr(QueuedSiginfo(SIG.USR1, code=SI.QUEUE, pid=1, uid=2, value=77))
    thread = await local.task.gettid()
    now = await local.ptr(Timespec(0, 0))
    for sending in (
        ours.rt_sigqueueinfo(SIG.USR1, sent),
        ours.rt_tgsigqueueinfo(thread, SIG.USR1, sent),
    ):
        await sending
        assert await local.task.sigtimedwait(signals, info, now) == SIG.USR1
        assert await info.read() == sent.value
    await ours.tgkill(thread, SIG.USR1)
    assert await local.task.sigtimedwait(signals, info, now) == SIG.USR1
    assert (await info.read()).code == SI.TKILL
    await ours.tkill(SIG.USR1)
    assert await local.task.sigtimedwait(signals, info, now) == SIG.USR1
    assert (await info.read()).code == SI.TKILL
    with pytest.raises(ProcessLookupError) as caught:
        await Process(local.task, near.Process(2**22)).tkill(SIG.USR1)
    assert caught.value.filename == near.Process(2**22)
    with pytest.raises(ProcessLookupError) as caught:
        await ours.tgkill(near.Process(1), SIG.USR1)
    assert caught.value.filename == (ours.near, near.Process(1))


async def test_where_the_robust_futexes_are(local: Local) -> None:
    head, size = await local.malloc(Int64), await local.malloc(Int64)
    await local.task.process.get_robust_list(head, size)
    assert int(await size.read()) == 24
    with pytest.raises(ProcessLookupError):
        await Process(local.task, near.Process(2**22)).get_robust_list(head, size)


async def test_a_child_that_is_gone_is_refused(local: Local) -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    child = ChildProcess(local.task, near.Process(pid))
    await child.waitid(W.EXITED, await local.malloc(Siginfo))
    await child.read_siginfo()
    with pytest.raises(DeadProcessError):
        await child.tgkill(child.near, SIG.TERM)
    with pytest.raises(DeadProcessError):
        await local.task.process.kcmp(child, KCMP.VM)
