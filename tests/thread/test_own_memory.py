"""Processes with memory of their own: what they keep, what they do not have, and what becomes of them."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import signal
import struct
from collections.abc import AsyncIterator
from pathlib import Path as LocalPath

import pytest
import trio
from support import assert_thread_works, is_running, local_thread, pid_of, sh
from waiting import wait_until

from rsyscall.command import Command
from rsyscall.fcntl import FD, F, O
from rsyscall.near import SYS, SyscallError
from rsyscall.path import Path
from rsyscall.sched import CLONE
from rsyscall.sys.mount import MS
from rsyscall.sys.prctl import PR
from rsyscall.sys.wait import W
from rsyscall.thread import ChildThread, Thread

CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
CAP_CHOWN, CAP_SYS_ADMIN = 0, 21


def status_of(pid: int) -> dict[str, str]:
    """The fields of /proc/PID/status."""
    lines = LocalPath(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def capabilities_of(pid: int) -> list[int]:
    status = status_of(pid)
    return [int(status[name], 16) for name in CAPABILITIES]


def files_of(pid: int) -> set[str]:
    """What it has open, besides what the tests were started with."""
    found = set()
    for number in os.listdir(f"/proc/{pid}/fd"):
        name = os.readlink(f"/proc/{pid}/fd/{number}")
        if not os.path.exists(f"/proc/self/fd/{number}") or not os.get_inheritable(int(number)):
            found.add(name.partition(":")[0] if name.startswith(("socket", "pipe")) else name)
    return found


@contextlib.asynccontextmanager
async def parent_for(level: str) -> AsyncIterator[Thread]:
    if level == "child":
        yield local_thread
        return
    parent = await local_thread.clone()
    async with parent.process:
        yield parent


async def end(child: ChildThread) -> None:
    async with child.process:
        pass


async def test_it_runs_the_program_and_has_nothing_of_ours(transport: str) -> None:
    child = await local_thread.clone(own_memory=True)
    async with child.process:
        pid = pid_of(child)
        assert "rsyscall-stub" in os.readlink(f"/proc/{pid}/exe")
        assert int(status_of(pid)["VmRSS"].split()[0]) < 1000, "kB"
        assert child.task.address_space is not local_thread.task.address_space
        ring = {"/memfd:rsyscall-ring (deleted)"} if transport == "ring" else set()
        assert files_of(pid) == {"socket", "anon_inode:[eventpoll]"} | ring
        await assert_thread_works(child)


async def test_descriptors_are_named() -> None:
    named, other = await local_thread.pipe(), await local_thread.pipe()
    plain = await local_thread.task.memfd_create(await local_thread.ptr("plain"))
    await plain.disable_cloexec()
    child = await local_thread.clone(own_memory=True, inherit=[named.write, plain])
    async with child.process:
        theirs = child.inherit_fd(named.write)
        assert FD(await theirs.fcntl(F.GETFD)) == FD.CLOEXEC
        assert FD(await child.inherit_fd(plain).fcntl(F.GETFD)) == FD(0)
        with pytest.raises(Exception, match="inherit"):
            child.inherit_fd(other.write)
        await named.write.close()
        await child.spit(theirs, "through the child")
        assert await local_thread.read_to_eof(named.read) == b"through the child"
    for fd in (named.read, other.read, other.write, plain):
        await fd.close()


async def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="FILES"):
        await local_thread.clone(CLONE.FILES, own_memory=True)
    pipe = await local_thread.pipe()
    with pytest.raises(ValueError, match="inherit: it goes with own_memory=True"):
        await local_thread.clone(inherit=[pipe.read])
    child = await local_thread.clone()
    async with child.process:
        with pytest.raises(ValueError, match="not a descriptor of"):
            await child.clone(own_memory=True, inherit=[pipe.read])
    await pipe.read.close()
    await pipe.write.close()


@pytest.mark.parametrize("level", ["child", "grandchild"])
async def test_capabilities_stay(level: str) -> None:
    async with parent_for(level) as parent:
        before = capabilities_of(os.getpid())
        child = await parent.clone(own_memory=True)
        async with child.process:
            assert capabilities_of(pid_of(child)) == before


@pytest.mark.needs("all capabilities", "other users")
async def test_capabilities_of_an_ordinary_user_stay() -> None:
    """Inheritable and ambient ones included, as few as there are; exec would drop the others."""
    sharing = await local_thread.clone()
    async with sharing.process:
        task = sharing.task
        await task.prctl(PR.SET_KEEPCAPS, 1)
        await task.setresuid(1000, 1000, 1000)
        await set_capabilities(sharing, 1 << CAP_CHOWN, 1 << CAP_CHOWN | 1 << CAP_SYS_ADMIN, 0)
        before = capabilities_of(pid_of(sharing))
        child = await sharing.clone(own_memory=True)
        async with child.process:
            assert capabilities_of(pid_of(child)) == before
            assert await child.task.getuid() == 1000


@pytest.mark.needs("all capabilities")
async def test_root_does_not_get_back_what_it_gave_up() -> None:
    sharing = await local_thread.clone()
    async with sharing.process:
        await set_capabilities(sharing, 1 << CAP_CHOWN, 1 << CAP_CHOWN, 0)
        before = capabilities_of(pid_of(sharing))
        child = await sharing.clone(own_memory=True)
        async with child.process:
            assert capabilities_of(pid_of(child)) == before


async def set_capabilities(thread: Thread, effective: int, permitted: int, inheritable: int) -> None:
    header = await thread.ptr(struct.pack("=Ii", 0x20080522, 0))
    data = await thread.ptr(struct.pack("=6I", effective, permitted, inheritable, 0, 0, 0))
    await thread.task.sysif.syscall(SYS.capset, header.near, data.near)


@pytest.mark.needs("user namespaces", "mount namespaces")
async def test_all_capabilities_in_a_user_namespace() -> None:
    child = await local_thread.clone(CLONE.NEWUSER | CLONE.NEWNS, own_memory=True)
    async with child.process:
        inheritable, permitted, effective, bounding, ambient = capabilities_of(pid_of(child))
        assert permitted == effective == bounding
        assert inheritable == ambient == 0
        await child.mount("none", "/tmp", "tmpfs", MS.NODEV, "")
        assert await child.task.getuid() == os.getuid()


async def test_attributes_of_the_memory_are_its_own() -> None:
    child = await local_thread.clone(own_memory=True)
    async with child.process:
        await child.task.prctl(PR.SET_MDWE, 1)
        assert await child.task.prctl(PR.GET_MDWE) == 1
        assert await local_thread.task.prctl(PR.GET_MDWE) == 0
        await child.task.prctl(PR.SET_THP_DISABLE, 1)
        assert await local_thread.task.prctl(PR.GET_THP_DISABLE) == 0
        before = LocalPath("/proc/self/oom_score_adj").read_text()
        await child.spit(Path("/proc/self/oom_score_adj"), "500")
        assert LocalPath("/proc/self/oom_score_adj").read_text() == before
        assert LocalPath(f"/proc/{pid_of(child)}/oom_score_adj").read_text() == "500\n"


@pytest.mark.needs("other users")
async def test_a_process_that_changes_its_ids_and_stays() -> None:
    child = await local_thread.clone(own_memory=True)
    async with child.process:
        await child.task.setresgid(1000, 1000, 1000)
        await child.task.setresuid(1000, 1000, 1000)
        assert LocalPath("/proc/self").stat().st_uid == os.getuid(), "we are as dumpable as before"
        await assert_thread_works(child)
        await child.run(sh("test $(id -u) = 1000"))


async def test_exec_that_fails_leaves_it_as_it_was() -> None:
    child = await local_thread.clone(own_memory=True)
    with pytest.raises(FileNotFoundError):
        await child.exec(Command("/nonexistent", ["x"], {}))
    await assert_thread_works(child)
    process = await child.exec(sh("exit 3"))
    assert (await process.waitpid(W.EXITED)).exit_status == 3


async def test_a_parent_that_may_not_execute_it(tmp_path: LocalPath) -> None:
    """A failure leaves no process, and says what failed."""
    parent = await local_thread.clone()
    async with parent.process:
        # Nothing may be open, not even for the time of a clone.
        limit = await parent.ptr(struct.pack("QQ", 3, 3))
        await parent.task.sysif.syscall(SYS.prlimit64, 0, 7, limit.near, 0)
        with pytest.raises(OSError) as caught:
            await parent.clone(CLONE.NEWUTS, own_memory=True)
        assert caught.value.errno == errno.EMFILE
        assert caught.value.filename == CLONE.NEWUTS
        assert await parent.task.getuid() == os.getuid()


async def test_exec_while_a_relative_shares_its_table() -> None:
    child = await local_thread.clone(own_memory=True)
    async with child.process:
        sharer = await child.clone(CLONE.FILES)
        async with sharer.process:
            with trio.fail_after(60):
                process = await child.exec(sh("exit 3"))
                assert (await process.waitpid(W.EXITED)).exit_status == 3
            await assert_thread_works(sharer)


async def test_a_process_that_dies_fails_its_callers() -> None:
    child = await local_thread.clone(own_memory=True)
    buffer = await child.malloc(bytes, 1)
    pipe = await child.pipe()

    async def read() -> None:
        with pytest.raises(SyscallError):
            await pipe.read.read(buffer)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await wait_until(lambda: LocalPath(f"/proc/{pid_of(child)}/syscall").read_text() != "running\n")
            os.kill(pid_of(child), signal.SIGKILL)
        with pytest.raises(SyscallError):
            await child.task.getpid()
    await end(child)


async def test_it_ends_with_its_last_reference() -> None:
    child = await local_thread.clone(own_memory=True)
    pid = pid_of(child)
    del child
    gc.collect()
    with trio.fail_after(60):
        await wait_until(lambda: not is_running(pid))


@pytest.mark.needs("CAP_SYS_CHROOT")
async def test_a_root_with_nothing_in_it(tmp_path: LocalPath) -> None:
    parent = await local_thread.clone()
    async with parent.process:
        await parent.chroot(tmp_path)
        child = await parent.clone(own_memory=True)
        async with child.process:
            await assert_thread_works(child)
            with pytest.raises(FileNotFoundError):
                await child.task.open(await child.ptr(Path("/proc")), O.RDONLY)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_five_thousand() -> None:
    """The tests count descriptors, mappings and children around this; here it is memory."""

    async def one() -> None:
        child = await local_thread.clone(own_memory=True)
        assert await child.task.getppid() == await local_thread.task.getpid()
        await end(child)

    for turn in range(500):
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(one)
        if turn == 50:
            gc.collect()
            before = resident()
    gc.collect()
    assert resident() - before < 4 << 20


def resident() -> int:
    """The resident memory of this program, in bytes. manpage: proc_pid_statm(5)"""
    return int(LocalPath("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
