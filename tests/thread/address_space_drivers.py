"""Programs whose children act on the address space that they share; see `test_address_space.py`."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from pathlib import Path

import pytest
import trio
from support import sh
from waiting import wait_until

from rsyscall.command import Command
from rsyscall.far import SharedAddressSpaceError
from rsyscall.local import LocalThread
from rsyscall.near import SYS, Syscall, nr
from rsyscall.near.address_space import EFFECTS, FILES
from rsyscall.path import Path as RsyscallPath
from rsyscall.sys.prctl import PR, PR_FUTEX_HASH
from rsyscall.thread import ChildThread, Thread
from rsyscall.trace import Tracer

REFUSED = [effect for effect in EFFECTS if effect.lasting and effect.call in SYS.__members__]
CALLS = [Syscall(SYS[effect.call], *effect.first) for effect in REFUSED]


def attribute(option: PR) -> int:
    """The flags of the program, asked for without the library."""
    return ctypes.CDLL(None).prctl(int(option), 0, 0, 0, 0)


def memory_can_be_made_executable() -> bool:
    """Memory that becomes executable: PR_SET_MDWE denies it, and callbacks of cffi need it."""
    try:
        mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()
    except PermissionError:
        return False
    return True


def assert_untouched() -> None:
    assert attribute(PR.GET_MDWE) in (0, -1)  # or the kernel has no such option
    assert memory_can_be_made_executable()


async def end(child: ChildThread) -> None:
    await child.exit(0)
    await child.process.check()


def typed() -> None:
    """Refused before anything is sent, in children and in their children; traced or not."""

    async def main() -> None:
        local_thread = LocalThread()
        lines: list[str] = []
        tracer = Tracer(lines.append)
        child = await local_thread.clone()
        grandchild = await child.clone()
        for thread in (child, grandchild):
            pid = thread.process.process.near.id
            match = rf"SET_MDWE is refused in process {pid}: .*program that the process executes"
            with pytest.raises(SharedAddressSpaceError, match=match):
                await thread.task.prctl(PR.SET_MDWE, 1)
            with tracer.tracing(thread.task), pytest.raises(SharedAddressSpaceError, match=match):
                await thread.task.prctl(PR.SET_MDWE, 1)
            with pytest.raises(SharedAddressSpaceError, match="PR_FUTEX_HASH_SET_SLOTS"):
                await thread.task.prctl(PR.FUTEX_HASH, PR_FUTEX_HASH.SET_SLOTS, 16)
            assert lines == []
            # To ask is no change.
            assert await asks(thread, PR.GET_MDWE) == attribute(PR.GET_MDWE)
            assert await asks(thread, PR.FUTEX_HASH, PR_FUTEX_HASH.GET_SLOTS) in (-1, 0, *range(16, 1 << 20))
        assert_untouched()
        await end(grandchild)
        await end(child)

    trio.run(main)


async def asks(thread: Thread, option: PR, arg2: int = 0) -> int:
    """The answer of the kernel in a process; -1 if it has no such option."""
    try:
        return await thread.task.prctl(option, arg2)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return -1


def bare() -> None:
    """The process itself refuses the call, whichever way it comes."""

    async def main() -> None:
        local_thread = LocalThread()
        child = await local_thread.clone()
        sysif = child.task.sysif
        for effect, call in zip(REFUSED, CALLS, strict=True):
            with pytest.raises(PermissionError, match=f"{effect.title} is refused in process") as raised:
                await sysif.syscall(*call)
            assert raised.value.errno == errno.EPERM
        # The kernel takes an int.
        with pytest.raises(PermissionError, match="PR_SET_MDWE is refused"):
            await sysif.syscall(nr.prctl, 1 << 32 | PR.SET_MDWE, 1)
        others = [Syscall(nr.getpid), Syscall(nr.prctl, PR.GET_DUMPABLE)]
        pid = child.process.process.near.id
        assert await sysif.syscalls([*CALLS, *others]) == [-errno.EPERM] * len(CALLS) + [pid, 1]
        results = await sysif.syscalls([CALLS[0], *others], linked=True)
        assert results == [-errno.EPERM, -errno.ECANCELED, -errno.ECANCELED]
        assert_untouched()
        await end(child)

    trio.run(main)


def prepared() -> None:
    """A prepared process refuses it at once; its other steps are not affected."""

    async def main() -> None:
        local_thread = LocalThread()
        child = local_thread.prepare()
        with pytest.raises(
            SharedAddressSpaceError, match="PR_SET_MDWE is refused in a process that is being"
        ):
            await child.task.prctl(PR.SET_MDWE, 1)
        for effect, call in zip(REFUSED, CALLS, strict=True):
            with pytest.raises(SharedAddressSpaceError, match=effect.title):
                await child.task.sysif.syscall(*call)
        await child.task.prctl(PR.SET_NO_NEW_PRIVS, 1)
        process = await child.exec(sh("grep -q 'NoNewPrivs:.*1' /proc/self/status"))
        await process.check()
        assert_untouched()

    trio.run(main)


def on_the_local_thread() -> None:
    """On the local thread Linux alone decides; children can be made all the same."""

    async def main() -> None:
        local_thread = LocalThread()
        assert await local_thread.task.prctl(PR.SET_MDWE, 1) == 0
        assert attribute(PR.GET_MDWE) == 1
        assert not memory_can_be_made_executable()
        child = await local_thread.clone()
        assert int(await child.task.getpid()) == child.process.process.near.id
        await end(child)
        await local_thread.run(sh("true"))

    trio.run(main)


def by_the_executed_program(python: str) -> None:
    """The way that the message advises: the executed program has the attribute; ours does not."""
    script = (
        "import ctypes, os, sys; libc = ctypes.CDLL(None);"
        f"assert libc.prctl({int(PR.SET_MDWE)}, 1, 0, 0, 0) == 0;"
        "os.execv(sys.executable, [sys.executable, '-c', sys.argv[1]])"
    )
    inner = f"import ctypes; assert ctypes.CDLL(None).prctl({int(PR.GET_MDWE)}, 0, 0, 0, 0) == 1"

    async def main() -> None:
        child = await LocalThread().clone()
        process = await child.exec(Command(python, [python, "-c", script, inner], {}))
        await process.check()
        assert_untouched()

    trio.run(main)


def reversible(name: str, setter: int, getter: int, value: int) -> None:
    """An attribute that is not refused is the program's, too, until it is put back."""

    async def main() -> None:
        child = await LocalThread().clone()
        before = attribute(PR(getter))
        assert before != value
        await child.task.prctl(PR(setter), value)
        assert attribute(PR(getter)) == value, f"{name} does not belong to the address space"
        await child.task.prctl(PR(setter), before)
        assert attribute(PR(getter)) == before
        await end(child)

    trio.run(main)


def read(name: str, pid: int | str = "self") -> str:
    """A file of /proc."""
    return Path(f"/proc/{pid}/{name}").read_text().strip()


def files_are_ours(name: str, value: str, shown: str) -> None:
    """A value that a child writes there is ours, too, and that of every program that we execute later."""

    async def main() -> None:
        local_thread = LocalThread()
        assert name in FILES
        assert read(name) != shown
        child = await local_thread.clone()
        other = await local_thread.clone()
        await child.spit(RsyscallPath(f"/proc/self/{name}"), value)
        assert read(name) == shown
        # And so have those who share our memory with us.
        assert read(name, other.process.process.near.id) == shown
        await end(other)
        process = await child.exec(sh(f'test "$(cat /proc/self/{name})" = {shown}'))
        await process.check()
        assert read(name) == shown

    trio.run(main)


def set_for_a_program(how: str) -> None:
    """The ways that the documentation names: only the executed program gets the value."""

    async def main() -> None:
        local_thread = LocalThread()
        before = read("oom_score_adj"), read("coredump_filter")
        ours, theirs = os.pipe()
        os.set_inheritable(ours, True)
        os.set_inheritable(theirs, False)
        command = (await local_thread.environ.which("cat")).args(f"/proc/self/fd/{ours}")
        child = await local_thread.clone()
        if how == "choom":
            choom = await local_thread.environ.which("choom")
            process = await child.exec(
                choom.args("-n", "700", "--", command.executable_path, *command.arguments[1:])
            )
        elif how == "sh":
            script = 'echo 700 >/proc/self/oom_score_adj; echo 0x7f >/proc/self/coredump_filter; exec "$@"'
            shell = await local_thread.environ.which("sh")
            process = await child.exec(
                shell.args("-c", script, "sh", command.executable_path, *command.arguments[1:])
            )
        else:
            process = await child.exec(command)
            pid = process.process.near.id
            Path(f"/proc/{pid}/oom_score_adj").write_text("700")
            Path(f"/proc/{pid}/coredump_filter").write_text("0x7f")
        pid = process.process.near.id
        await wait_until(lambda: read("comm", pid) == "cat")
        assert read("oom_score_adj", pid) == "700"
        if how != "choom":
            assert read("coredump_filter", pid) == "0000007f"
        assert (read("oom_score_adj"), read("coredump_filter")) == before
        os.close(theirs)
        await process.check()
        os.close(ours)

    trio.run(main)
