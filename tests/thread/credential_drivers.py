"""Programs whose children change who they are; see `test_credentials.py`."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import struct
import sys
from collections.abc import Callable

import trio
import trio.testing
from support import sh
from waiting import wait_for_call

from rsyscall.local import LocalThread
from rsyscall.near import SYS, Syscall
from rsyscall.sched import CLONE
from rsyscall.sys.prctl import PR
from rsyscall.sys.wait import W
from rsyscall.thread import ChildThread, Thread

NOBODY = 65534
OTHER = 65533


def dumpable() -> int:
    """The flag of our memory, as the kernel has it."""
    return ctypes.CDLL(None).prctl(int(PR.GET_DUMPABLE), 0, 0, 0, 0)


async def become(thread: ChildThread, user: int = NOBODY) -> None:
    """Change user and group irrevocably."""
    await thread.task.setresgid(user, user, user)
    await thread.task.setresuid(user, user, user)


async def settled(value: int) -> None:
    """Wait until the flag has this value."""
    with trio.fail_after(60):
        while dumpable() != value:  # no event tells
            # What was dropped goes with the next collection after the last reference to it.
            gc.collect()
            await trio.sleep(0.001)


async def stays(value: int) -> None:
    """Check that the flag has this value, and keeps it."""
    for _ in range(2):
        assert dumpable() == value
        # A change comes within this time on an idle machine; there is no event that does not come.
        await trio.sleep(0.02)
    assert dumpable() == value


def _run(main: Callable[[Thread], object]) -> None:
    trio.run(main, LocalThread())


def until_it_has_left(how: str) -> None:
    """The flag goes back when the child is gone, and not before."""

    async def main(thread: Thread) -> None:
        assert dumpable() == 1
        child = await thread.clone()
        await become(child)
        assert dumpable() == 0
        assert await child.task.getuid() == NOBODY
        for _ in range(3):
            # Others may come and go meanwhile.
            other = await thread.clone()
            await other.exit(0)
            await other.process.waitpid(W.EXITED)
            await thread.run(sh("true"))
            assert dumpable() == 0
        if how == "exit":
            await child.exit(0)
            await child.process.waitpid(W.EXITED)
            await settled(1)
        elif how == "exec":
            process = await child.exec(sh("exec sleep 1000"))
            await settled(1)
            async with process:
                pass
        elif how == "kill":
            await child.process.kill()
            await child.process.waitpid(W.EXITED)
            await settled(1)
        elif how == "failed exec":
            try:
                await child.execv("/nonexistent", ["program"])
            except FileNotFoundError:
                pass
            else:
                raise AssertionError
            assert dumpable() == 0
            async with child.process:
                pass
            await settled(1)
        else:
            assert how == "dropped"
            del child
            await settled(1)

    _run(main)


def several() -> None:
    """Only the last one to go counts, in any order of coming and going."""

    async def main(thread: Thread) -> None:
        first, second, third = [await thread.clone() for _ in range(3)]
        await become(first)
        await become(second, OTHER)
        await first.exit(0)
        await first.process.waitpid(W.EXITED)
        assert dumpable() == 0
        await become(third)
        process = await second.exec(sh("exec sleep 1000"))
        await stays(0)
        await third.process.kill()
        await third.process.waitpid(W.EXITED)
        await settled(1)
        async with process:
            pass
        # And once more from the beginning.
        again = await thread.clone()
        await become(again)
        assert dumpable() == 0
        await again.exit(0)
        await settled(1)

    _run(main)


def grandchildren() -> None:
    """Children of a child with other credentials have these credentials, too."""

    async def main(thread: Thread) -> None:
        child = await thread.clone()
        await become(child)
        below = await child.clone()
        assert await below.task.getuid() == NOBODY
        await child.exit(0)
        await child.process.waitpid(W.EXITED)
        # It has not changed its credentials: it was made with them.
        await stays(0)
        async with below.process:
            pass
        await settled(1)

    _run(main)


def on_its_way() -> None:
    """A call that has been sent and not been made: the flag must not come back just before it."""

    async def main(thread: Thread) -> None:
        pipe = await thread.pipe()
        leaving, changing = await thread.clone(), await thread.clone()
        await become(leaving)
        blocked = changing.inherit_fd(pipe.read)
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                await blocked.read(await changing.malloc(bytes, 1))

            nursery.start_soon(read)
            await wait_for_call(changing.process.process.near.id, SYS.read, int(blocked))
            nursery.start_soon(changing.task.setresuid, NOBODY, NOBODY, NOBODY)
            await trio.testing.wait_all_tasks_blocked()
            await leaving.exit(0)
            await leaving.process.waitpid(W.EXITED)
            # A child is about to change its user.
            await stays(0)
            await pipe.write.write(await thread.ptr(b"x"))
        assert await changing.task.getuid() == NOBODY
        assert dumpable() == 0
        await changing.exit(0)
        await changing.process.waitpid(W.EXITED)
        await settled(1)

    _run(main)


def batches() -> None:
    """Several calls in one go, and calls of a process that does not exist yet."""

    async def main(thread: Thread) -> None:
        child = await thread.clone()
        await child.task.sysif.syscalls(
            [
                Syscall(SYS.setresgid, NOBODY, NOBODY, NOBODY),
                Syscall(SYS.setresuid, NOBODY, NOBODY, NOBODY),
                Syscall(SYS.getuid),
            ]
        )
        assert dumpable() == 0
        prepared = thread.prepare()
        await prepared.task.setresgid(NOBODY, NOBODY, NOBODY)
        await prepared.task.setresuid(NOBODY, NOBODY, NOBODY)
        process = await prepared.exec(sh("exec sleep 1000"))
        assert dumpable() == 0
        await child.exit(0)
        await settled(1)
        uid = os.stat(f"/proc/{process.process.near.id}").st_uid
        assert uid in (NOBODY, 0)  # 0 while the program may not be traced
        async with process:
            pass
        prepared = thread.prepare()
        await prepared.task.setresuid(NOBODY, NOBODY, NOBODY)
        await (await prepared.exec(sh("exit 0"))).check()
        await settled(1)

    _run(main)


def without_effect(value: int) -> None:
    """Calls that change nothing, or fail, or make a user namespace that no other process is in; and a flag
    that was off before.
    """

    async def main(thread: Thread) -> None:
        ctypes.CDLL(None).prctl(int(PR.SET_DUMPABLE), value, 0, 0, 0)
        child = await thread.clone()
        await child.task.unshare(CLONE.NEWUSER)
        assert dumpable() == value
        pidns = await child.clone(CLONE.NEWPID)
        await pidns.exit(0)
        await pidns.process.waitpid(W.EXITED)
        try:
            await child.task.setresuid(NOBODY, NOBODY, NOBODY)
        except OSError:
            pass  # not mapped in this namespace
        else:
            raise AssertionError
        await child.exit(0)
        await child.process.waitpid(W.EXITED)
        await stays(value)
        child = await thread.clone()
        await become(child)
        assert dumpable() == 0
        await child.exit(0)
        await child.process.waitpid(W.EXITED)
        await stays(value)

    _run(main)


def restored() -> None:
    """As `until_it_has_left`, whatever the kernel makes of the flag."""

    async def main(thread: Thread) -> None:
        for _ in range(2):
            first, second = await thread.clone(), await thread.clone()
            await become(first)
            assert dumpable() == int(os.environ["EXPECTED"])
            await become(second)
            for child in (first, second):
                await child.exit(0)
                await child.process.waitpid(W.EXITED)
            await settled(1)

    _run(main)


def in_pid_namespace() -> None:
    """The usual thing in a container: an init that drops its privileges and executes a program."""

    async def main(thread: Thread) -> None:
        init = await thread.clone(CLONE.NEWPID)
        inner = await init.clone()
        await become(inner)
        assert dumpable() == 0
        process = await inner.exec(sh("exec sleep 1000"))
        await settled(1)
        async with process:
            pass
        await become(init)
        assert dumpable() == 0
        process = await init.exec(sh("exec sleep 1000"))
        await settled(1)
        async with process:
            pass

    _run(main)


def death_signal_stays() -> None:
    """PDEATHSIG is set again after every call that makes the kernel clear it."""

    async def main(thread: Thread) -> None:
        number = await thread.ptr(bytes(4))
        address = int(number.near)

        async def death_signal(child: ChildThread) -> int:
            await child.task.sysif.syscall(SYS.prctl, PR.GET_PDEATHSIG, address)
            return int(struct.unpack("i", await thread.ram.transport.read(number))[0])

        calls = [
            Syscall(SYS.setresgid, NOBODY, NOBODY, NOBODY),
            Syscall(SYS.setgid, NOBODY),
            Syscall(SYS.setregid, NOBODY, NOBODY),
            Syscall(SYS.setfsgid, NOBODY),
            Syscall(SYS.setfsuid, NOBODY),
            Syscall(SYS.setuid, NOBODY),
            Syscall(SYS.setreuid, NOBODY, NOBODY),
            Syscall(SYS.setresuid, NOBODY, NOBODY, NOBODY),
            Syscall(SYS.unshare, CLONE.NEWUSER),
        ]
        for call in calls:
            child = await thread.clone()
            await child.task.sysif.syscall(*call)
            assert await death_signal(child) == 9, call
            async with child.process:
                pass
        await settled(1)

    _run(main)


# ---- being watched ----


def victim(change: bool) -> None:
    """Have a child that is the user `nobody` and shares our memory, say where a secret is, and wait."""
    secret = ctypes.create_string_buffer(b"a secret of the program")

    async def main(thread: Thread) -> None:
        child = await thread.clone()
        pid = child.process.process.near.id
        if change:
            await become(child)
        print(json.dumps([os.getpid(), pid, ctypes.addressof(secret)]), flush=True)
        command = await trio.to_thread.run_sync(sys.stdin.readline)
        if command == "exec\n":
            process = await child.exec(sh("exec sleep 1000"))
            await settled(1)
            print(json.dumps("done"), flush=True)
            await trio.to_thread.run_sync(sys.stdin.readline)
            async with process:
                pass
        assert secret.value == b"a secret of the program", secret.value
        async with child.process:
            pass

    _run(main)


class _Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


def attacker(pid: int, address: int, uid: int) -> None:
    """As another user, try to get at the memory of a process; say which ways succeeded."""
    os.setresgid(uid, uid, uid)
    os.setgroups([])
    os.setresuid(uid, uid, uid)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    succeeded = []
    for name in ("mem", "maps", "environ", "auxv", "syscall"):
        for mode in (os.O_RDONLY, os.O_RDWR):
            try:
                fd = os.open(f"/proc/{pid}/{name}", mode)
                if os.pread(fd, 8, address if name == "mem" else 0):
                    succeeded.append(name)
                os.close(fd)
            except OSError:
                continue
    try:
        os.listdir(f"/proc/{pid}/fd")
        succeeded.append("fd")
    except OSError:
        pass
    buffer = ctypes.create_string_buffer(b"overwritten", 16)
    ours = _Iovec(ctypes.addressof(buffer), 8)
    theirs = _Iovec(address, 8)
    for name in ("process_vm_readv", "process_vm_writev"):
        call = getattr(libc, name)
        if call(pid, ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0) > 0:
            succeeded.append(name)
    attach, seize, detach = 16, 0x4206, 17
    for request in (attach, seize):
        if libc.ptrace(request, pid, None, None) == 0:
            succeeded.append("ptrace")
            if request == attach:
                os.waitpid(pid, 0x40000000)
            libc.ptrace(detach, pid, None, None)
            break
    pidfd = libc.syscall(int(SYS.pidfd_open), pid, 0)
    if pidfd >= 0 and libc.syscall(int(SYS.pidfd_getfd), pidfd, 0, 0) >= 0:
        succeeded.append("pidfd_getfd")
    print(json.dumps(succeeded), flush=True)
